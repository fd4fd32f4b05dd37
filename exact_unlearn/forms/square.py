"""1/2 sum w_i x_i^2."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.weighted import Weighted, floats
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    is_exact,
    load_cvxpy,
    matching,
    quotient,
    roots,
    sum_squares,
    threshold,
    times,
    total,
    without_noise,
)


@dataclass(frozen=True, eq=False)
class Square(Weighted):
    """f(x) = 1/2 sum_i w_i x_i^2.  f*(g) = 1/2 sum g_i^2 / w_i, inf where g_i != 0 = w_i.

    weights: (m,), finite and >= 0; None means 1.
    """

    weights: Array | None = None

    kind: ClassVar[str] = "square"
    degree: ClassVar[int | None] = 2
    separable: ClassVar[bool] = True

    @property
    def strictly_convex(self) -> bool:
        return self.weights is None or bool((self.weights > 0).all())

    def value(self, x: Any) -> Value:
        v = as_real(x)
        if is_exact(v):
            return total(times(self.weights, v) * v) / 2
        return sum_squares(times(roots(self.weights), v), 0.5)

    def times(self, factor: Any, x: Array) -> Value:
        if is_exact(x):
            return Fraction(factor) * self.value(x)
        return sum_squares(times(roots(self.weights), x), 0.5 * factor)

    def expression(self, x: Any) -> Any:
        cp = load_cvxpy()

        return 0.5 * cp.sum_squares(x if self.weights is None else cp.multiply(roots(self.weights), x))

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """1/2 sum g_i^2 / w_i; `tol` lets g_i differ from 0 where w_i = 0."""
        z = as_real(g)
        if self.weights is None:
            return sum_squares(z, Fraction(1, 2))
        w = matching(self.weights, z)
        z = without_noise(z, w == 0, tol)
        if is_exact(z):
            return total(quotient(z, w) * abs(z)) / 2
        return sum_squares(quotient(z, np.sqrt(w)), 0.5)

    def conjugate_times(self, factor: Any, g: Array, tol: float) -> Value:
        if is_exact(g) or self.weights is not None:
            return super().conjugate_times(factor, g, tol)
        return sum_squares(g, 1 / (2 * factor))

    def prox(self, v: Any, step: float) -> Array:
        """v_i / (1 + step w_i)."""
        point: Array = as_float(v) / (1.0 + threshold(as_step(step), self.weights))
        return point

    def slope(self, x: Array) -> Array:
        return np.asarray(times(self.weights, x), dtype=np.float64)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import Epigraph

        return Epigraph(curvature=floats(self.weights, x_star.size))
