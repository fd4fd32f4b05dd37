"""max w_i |x_i|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from exact_unlearn.forms.weighted import WeightedNorm
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    largest,
    linf_prox,
    load_cvxpy,
    quotient,
    times,
    total,
)


@dataclass(frozen=True, eq=False)
class Max(WeightedNorm):
    """f(x) = max_i w_i |x_i|, 0 of no numbers.  Dual norm sum |g_i| / w_i.

    weights: (m,), finite and >= 0; None means 1.
    """

    weights: Array | None = None

    kind: ClassVar[str] = "max"

    def value(self, x: Any) -> Value:
        return largest(times(self.weights, as_real(x)))

    def expression(self, x: Any) -> Any:
        return load_cvxpy().norm_inf(self.weigh(x))

    def dual_norm(self, g: Any) -> Value:
        return total(quotient(as_real(g), self.weights))

    def prox(self, v: Any, step: float) -> Array:
        """v less its projection onto the weighted l1 ball {z : sum |z_i| / w_i <= step}."""
        return linf_prox(as_float(v), as_step(step), self.weights)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import ceiling, floats

        return ceiling(floats(self.weights, x_star.size), x_star, moves)
