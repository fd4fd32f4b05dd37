"""The nuclear norm of a matrix whose entries are coordinates of x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import as_float, as_step, indicator, load_cvxpy, without_noise


@dataclass(frozen=True, eq=False)
class Spectral(Term):
    """f(x) = sum of the singular values of X = x[indices] as a (p, q) matrix, row-major.

    Dual norm: the spectral norm of g on the matrix, inf when g does not vanish elsewhere.  indices: (p q,) distinct.
    """

    indices: Array
    shape: tuple[int, int]

    kind: ClassVar[str] = "spectral"
    degree: ClassVar[int | None] = 1
    is_norm: ClassVar[bool] = True
    rational: ClassVar[bool] = False

    def require(self, m: int) -> None:
        if int(self.indices.max(initial=-1)) >= m:
            raise ProblemError(
                f"block of nuclear_norm: coordinate {self.indices.max()} does not exist in {m} parameters"
            )

    def seen(self, m: int) -> Array:
        mask = np.zeros(m, dtype=bool)
        mask[self.indices] = True
        return mask

    def value(self, x: Any) -> float:
        return float(np.sum(self._singular_values(as_float(x))))

    def expression(self, x: Any) -> Any:
        cp = load_cvxpy()

        return cp.normNuc(cp.reshape(x[self.indices], self.shape, order="C"))

    def dual_norm(self, g: Any) -> float:
        z = as_float(g)
        return math.inf if np.any(z[~self.seen(z.size)]) else float(np.max(self._singular_values(z)))

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = as_float(g)
        return indicator(self.dual_norm(without_noise(z, ~self.seen(z.size), tol)) <= 1.0 + tol)

    def prox(self, v: Any, step: float) -> Array:
        """Singular values sigma become max(sigma - step, 0); coordinates off the matrix stay."""
        x, t = as_float(v).copy(), as_step(step)
        A = self._matrix(x)
        if t > 0:
            U, sigma, Vt = np.linalg.svd(A, full_matrices=False)
            x[self.indices] = ((U * np.maximum(sigma - t, 0.0)) @ Vt).reshape(-1)
        return x

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import nuclear

        return nuclear(np.asarray(self.indices), self.shape, x_star.size)

    def to_spec(self) -> dict[str, Any]:
        return {"term": self.kind, "indices": self.indices, "shape": list(self.shape)}

    def _matrix(self, x: Array) -> Array:
        self.require(x.size)
        return x[self.indices].reshape(self.shape)

    def _singular_values(self, x: Array) -> Array:
        return np.linalg.svd(self._matrix(x), compute_uv=False)
