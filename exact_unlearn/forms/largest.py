"""max w_i |x_i|."""

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

    def slope(self, x: Array) -> Array:
        """All of it at the first of the largest entries."""
        w, out = floats(self.weights, x.size), np.zeros(x.size)
        if x.size and (size := w * np.abs(x)).any():
            top = int(np.argmax(size))
            out[top] = w[top] * np.sign(x[top])
        return out

    def completed(self, g: Array, x: Array, frozen: Array) -> Array:
        """What the others leave of the dual ball goes to the largest entry that is frozen."""
        w, out = floats(self.weights, x.size), np.where(frozen, 0.0, g)
        used = np.divide(np.abs(out), w, out=np.zeros(x.size), where=(w > 0) & ~frozen)
        top = int(np.argmax(np.where(frozen, w * np.abs(x), -1.0)))
        if frozen[top]:
            out[top] = max(0.0, 1.0 - float(used.sum())) * w[top] * np.sign(x[top])
        return out

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import ceiling

        return ceiling(floats(self.weights, x_star.size), x_star, moves)
