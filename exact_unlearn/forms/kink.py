"""sum w_i |x_i|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.weighted import WeightedNorm, floats
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    largest,
    load_cvxpy,
    quotient,
    soft,
    threshold,
    times,
    total,
)


@dataclass(frozen=True, eq=False)
class Kink(WeightedNorm):
    """f(x) = sum_i w_i |x_i|.  Dual norm max |g_i| / w_i.

    weights: (m,), finite and >= 0; None means 1.
    """

    weights: Array | None = None

    kind: ClassVar[str] = "kink"
    separable: ClassVar[bool] = True

    def value(self, x: Any) -> Value:
        return total(times(self.weights, np.abs(as_real(x))))

    def expression(self, x: Any) -> Any:
        return load_cvxpy().norm1(self.weigh(x))

    def dual_norm(self, g: Any) -> Value:
        return largest(quotient(as_real(g), self.weights))

    def prox(self, v: Any, step: float) -> Array:
        """sign(v_i) max(|v_i| - step w_i, 0)."""
        return soft(as_float(v), threshold(as_step(step), self.weights))

    def slope(self, x: Array) -> Array:
        return np.asarray(times(self.weights, np.sign(x)), dtype=np.float64)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import absolute_values

        w = floats(self.weights, x_star.size)
        return absolute_values(x_star.size, np.flatnonzero((w > 0) & (moves | (x_star != 0))), w)
