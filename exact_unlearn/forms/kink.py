"""sum w_i |x_i|."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    as_weights,
    indicator,
    is_exact,
    largest,
    load_cvxpy,
    matching,
    quotient,
    soft,
    threshold,
    times,
    total,
    without_noise,
)


def cleaned(g: Any, weights: Array | None, tol: float) -> Array:
    """g as a vector, with rounding noise on the null directions of the seminorm removed."""
    z = as_real(g)
    return z if weights is None else without_noise(z, matching(weights, z) == 0, tol)


def bound(z: Array, tol: float) -> Any:
    """1 + tol in the arithmetic of z."""
    return 1 + Fraction(tol) if is_exact(z) else 1.0 + tol


@dataclass(frozen=True, eq=False)
class Kink(Term):
    """f(x) = sum_i w_i |x_i|.  Dual norm max |g_i| / w_i.

    weights: (m,), finite and >= 0; None means 1.
    """

    weights: Array | None = None

    kind: ClassVar[str] = "kink"
    degree: ClassVar[int | None] = 1
    is_norm: ClassVar[bool] = True
    separable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    @property
    def size(self) -> int | None:
        return None if self.weights is None else self.weights.size

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool) if self.weights is None else np.asarray(self.weights != 0, dtype=bool)

    def value(self, x: Any) -> Value:
        return total(times(self.weights, np.abs(as_real(x))))

    def expression(self, x: Any) -> Any:
        cp = load_cvxpy()

        return cp.norm1(x if self.weights is None else cp.multiply(self.weights.astype(np.float64), x))

    def dual_norm(self, g: Any) -> Value:
        return largest(quotient(as_real(g), self.weights))

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = cleaned(g, self.weights, tol)
        return indicator(bool(self.dual_norm(z) <= bound(z, tol)))

    def prox(self, v: Any, step: float) -> Array:
        """sign(v_i) max(|v_i| - step w_i, 0)."""
        return soft(as_float(v), threshold(as_step(step), self.weights))

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import absolute_values, floats

        w = floats(self.weights, x_star.size)
        return absolute_values(x_star.size, np.flatnonzero((w > 0) & (moves | (x_star != 0))), w)

    def to_spec(self) -> dict[str, Any]:
        return {"term": self.kind, "weights": self.weights}
