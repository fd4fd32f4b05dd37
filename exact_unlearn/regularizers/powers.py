"""What 1/2 |theta|^2 of a diagonal network is in terms of its predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from exact_unlearn.forms import Form, Power, Space
from exact_unlearn.regularizers.recipe import Recipe


@dataclass(frozen=True, eq=False)
class PowerSum(Recipe):
    """R(theta) = L/2 sum |theta_i|^(2/L), L = depth >= 3: the least 1/2 |w|^2 of L layers w_1 * ... * w_L = theta.

    It is concave on every orthant, so that some theta with J theta = q and independent columns of J where it is not 0
    has the least value: `solve` and `certify` try all of these, and the checkers do so again.  No other regularizer and
    no drift penalty can stand beside it, and no row may read >=.  Raises ProblemError on another depth.

    >>> import exact_unlearn as xu
    >>> xu.PowerSum(3).value([8.0, -1.0])
    7.5
    """

    depth: int

    name: ClassVar[str] = "power_sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", Power(self.depth).depth)

    def form(self, space: Space) -> Form:
        return Form((Power(self.depth),))

    def to_spec(self) -> dict[str, Any]:
        """{"name": "power_sum", "depth": L}."""
        return {"name": self.name, "depth": self.depth}
