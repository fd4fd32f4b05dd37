"""The number of groups that are not zero."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, NoReturn

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import Value, as_real, indicator, is_exact


@dataclass(frozen=True, eq=False)
class Count(Term):
    """f(x) = number of labels with a non-zero coordinate; a mixed-integer program.

    charge: (m,) int64, the group that pays for a coordinate, -1 where nobody does.  Its conjugate is the indicator of
    {0}: bounded along no direction, so that Fenchel duality gives the bound 0 only; ranks give better ones.
    """

    charge: Array

    kind: ClassVar[str] = "count"
    degree: ClassVar[int | None] = 0
    convex: ClassVar[bool] = False

    @property
    def size(self) -> int | None:
        return int(self.charge.size)

    def seen(self, m: int) -> Array:
        return np.asarray(self.charge >= 0, dtype=bool)

    def value(self, x: Any) -> Value:
        v = as_real(x)
        self.require(v.size)
        used = self.charge[(v != 0).astype(bool) & (self.charge >= 0)]
        number = int(np.unique(used).size)
        return Fraction(number) if is_exact(v) else float(number)

    def expression(self, x: Any) -> NoReturn:
        raise ProblemError("a count is an integer program and has no convex expression")

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        """0 for g = 0, else inf; nothing to be tolerant about."""
        return indicator(not np.any(as_real(g) != 0))

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import counting

        return counting(self.charge, x_star, moves)

    def to_spec(self) -> dict[str, Any]:
        return {"term": self.kind, "charge": self.charge}
