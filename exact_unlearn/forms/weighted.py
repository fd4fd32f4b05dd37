"""Terms with a weight for every coordinate, and those of them that are norms."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.vectors import as_real, as_weights, indicator, is_exact, load_cvxpy, matching, without_noise


def cleaned(g: Any, weights: Array | None, tol: float) -> Array:
    """g as a vector, with rounding noise on the null directions of the seminorm removed."""
    z = as_real(g)
    return z if weights is None else without_noise(z, matching(weights, z) == 0, tol)


def bound(z: Array, tol: float) -> Any:
    """1 + tol in the arithmetic of z."""
    return 1 + Fraction(tol) if is_exact(z) else 1.0 + tol


def floats(weights: Array | None, m: int) -> Array:
    """Weights as floats, 1 by default."""
    return np.ones(m) if weights is None else to_float(np.asarray(weights))


class Weighted(Term):
    """weights: (m,), finite and >= 0; None means 1.  A subclass declares the field, after its own if it has more."""

    weights: Array | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    @property
    def size(self) -> int | None:
        return None if self.weights is None else self.weights.size

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool) if self.weights is None else np.asarray(self.weights != 0, dtype=bool)

    def to_spec(self) -> dict[str, Any]:
        return {"term": self.kind, "weights": self.weights}

    def weigh(self, x: Any) -> Any:
        """w_i x_i of a CVXPY expression."""
        return x if self.weights is None else load_cvxpy().multiply(self.weights.astype(np.float64), x)


class WeightedNorm(Weighted):
    """A norm, so that the conjugate is the indicator of the unit ball of the dual norm."""

    degree: ClassVar[int | None] = 1
    is_norm: ClassVar[bool] = True

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = cleaned(g, self.weights, tol)
        return indicator(bool(self.dual_norm(z) <= bound(z, tol)))
