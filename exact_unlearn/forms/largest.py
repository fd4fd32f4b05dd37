"""max w_i |x_i|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.kink import bound, cleaned
from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    as_weights,
    indicator,
    largest,
    linf_prox,
    load_cvxpy,
    quotient,
    times,
    total,
)


@dataclass(frozen=True, eq=False)
class Max(Term):
    """f(x) = max_i w_i |x_i|, 0 of no numbers.  Dual norm sum |g_i| / w_i.

    weights: (m,), finite and >= 0; None means 1.
    """

    weights: Array | None = None

    kind: ClassVar[str] = "max"
    degree: ClassVar[int | None] = 1
    is_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    @property
    def size(self) -> int | None:
        return None if self.weights is None else self.weights.size

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool) if self.weights is None else np.asarray(self.weights != 0, dtype=bool)

    def value(self, x: Any) -> Value:
        return largest(times(self.weights, as_real(x)))

    def expression(self, x: Any) -> Any:
        cp = load_cvxpy()

        return cp.norm_inf(x if self.weights is None else cp.multiply(self.weights.astype(np.float64), x))

    def dual_norm(self, g: Any) -> Value:
        return total(quotient(as_real(g), self.weights))

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = cleaned(g, self.weights, tol)
        return indicator(bool(self.dual_norm(z) <= bound(z, tol)))

    def prox(self, v: Any, step: float) -> Array:
        """v less its projection onto the weighted l1 ball {z : sum |z_i| / w_i <= step}."""
        return linf_prox(as_float(v), as_step(step), self.weights)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import ceiling, floats

        return ceiling(floats(self.weights, x_star.size), x_star, moves)

    def to_spec(self) -> dict[str, Any]:
        return {"term": self.kind, "weights": self.weights}
