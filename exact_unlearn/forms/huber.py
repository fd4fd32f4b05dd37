"""A square near 0 that goes on as a kink."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms.term import Term
from exact_unlearn.forms.weighted import Weighted, floats
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_number,
    as_real,
    as_step,
    is_exact,
    load_cvxpy,
    quotient,
    roots,
    sum_squares,
    threshold,
    times,
    total,
    without_noise,
)


@dataclass(frozen=True, eq=False)
class Huber(Weighted):
    """f(x) = sum_i w_i h(x_i), h(x) = 1/2 x^2 for |x| <= delta, else delta |x| - 1/2 delta^2.

    f*(g) = sum g_i^2 / (2 w_i) where |g_i| <= w_i delta, else inf.  delta: a finite number > 0.  weights: (m,), finite
    and >= 0; None means 1.
    """

    delta: Value
    weights: Array | None = None

    kind: ClassVar[str] = "huber"
    separable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        delta = as_number("delta", self.delta)
        if delta == 0:
            raise ProblemError("delta: expected a finite number > 0, got 0; for a sum of |x_i| use L1")
        object.__setattr__(self, "delta", delta)
        super().__post_init__()

    def value(self, x: Any) -> Value:
        size = np.abs(as_real(x))
        delta: Any = Fraction(self.delta) if is_exact(size) else float(self.delta)
        with np.errstate(over="ignore"):
            near = np.minimum(size, delta)
            return total(times(self.weights, near * (size - near / 2)))

    def expression(self, x: Any) -> Any:
        cp = load_cvxpy()
        return cp.sum(self.weigh(0.5 * cp.huber(x, float(self.delta))))

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """`tol`: |g_i| may exceed w_i delta by so much, relatively."""
        z = as_real(g)
        exact = is_exact(z)
        delta = Fraction(self.delta) * (1 + Fraction(tol)) if exact else float(self.delta) * (1.0 + tol)
        if self.weights is not None:
            z = without_noise(z, np.asarray(self.weights == 0, dtype=bool), tol)
        if any(v > delta for v in quotient(z, self.weights)):
            return math.inf
        if exact:
            return total(quotient(z, self.weights) * np.abs(z)) / 2
        return sum_squares(quotient(z, roots(self.weights)), 0.5)

    def prox(self, v: Any, step: float) -> Array:
        """v_i / (1 + t) where that is at most delta, else v_i - t delta sign(v_i); t = step w_i."""
        x, delta = as_float(v), float(self.delta)
        t = np.broadcast_to(threshold(as_step(step), self.weights), x.shape)
        with np.errstate(invalid="ignore"):
            moved = np.sign(x) * np.maximum(np.abs(x) - t * delta, 0.0)
        return np.where(np.abs(x) <= delta * (1.0 + t), x / (1.0 + t), moved)

    def slope(self, x: Array) -> Array:
        return np.asarray(times(self.weights, np.clip(x, -float(self.delta), float(self.delta))), dtype=np.float64)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import huber

        return huber(floats(self.weights, x_star.size), float(self.delta))

    def in_unit(self, exponent: int) -> tuple[Term, int]:
        """h_delta(u x) = u^2 h_(delta/u)(x)."""
        return Huber(Fraction(self.delta) / Fraction(2) ** exponent, self.weights), 2

    def to_spec(self) -> dict[str, Any]:
        return super().to_spec() | {"delta": self.delta}
