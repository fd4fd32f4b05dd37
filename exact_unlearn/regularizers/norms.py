"""Weighted l2, l1 and l-infinity norms.

weights: shape (d,), finite and >= 0; None means 1.  A weight 0 makes a seminorm: its dual norm is inf
wherever g does not vanish there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from exact_unlearn.forms import Form, Kink, Max, Norms, Space
from exact_unlearn.regularizers.recipe import Recipe
from exact_unlearn.vectors import as_weights, require_length


@dataclass(frozen=True, eq=False)
class Weighted(Recipe):
    """A regularizer with one weight per parameter, or none."""

    weights: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    def validate(self, n_parameters: int) -> None:
        if self.weights is not None:
            require_length(f"weights of {self.name}", self.weights.size, n_parameters)

    def to_spec(self) -> dict[str, Any]:
        """{"name": ..., "weights": ...}."""
        return {"name": self.name, "weights": self.weights}


@dataclass(frozen=True, eq=False)
class L2(Weighted):
    """R(theta) = sqrt(sum_i w_i theta_i^2), a second-order cone program.  Dual norm sqrt(sum g_i^2 / w_i).

    Over every affine set it has the minimiser of SquaredL2 with the same weights (Theorem 2 for weights 1).

    >>> import exact_unlearn as xu
    >>> xu.L2().value([3.0, -4.0])
    5.0
    """

    name: ClassVar[str] = "l2"

    def form(self, space: Space) -> Form:
        return Form((Norms(inner=self.weights),))


@dataclass(frozen=True, eq=False)
class L1(Weighted):
    """R(theta) = sum_i w_i |theta_i|, a linear program.  Dual norm max |g_i| / w_i.

    >>> import exact_unlearn as xu
    >>> xu.L1().value([3.0, -4.0]), xu.L1(weights=[1.0, 2.0]).value([3.0, -4.0])
    (7.0, 11.0)
    """

    name: ClassVar[str] = "l1"

    def form(self, space: Space) -> Form:
        return Form((Kink(self.weights),))


@dataclass(frozen=True, eq=False)
class LInf(Weighted):
    """R(theta) = max_i w_i |theta_i|, a linear program with minimisers that are often not unique.  Dual norm
    sum |g_i| / w_i.

    >>> import exact_unlearn as xu
    >>> xu.LInf().value([3.0, -4.0])
    4.0
    """

    name: ClassVar[str] = "linf"

    def form(self, space: Space) -> Form:
        return Form((Max(self.weights),))
