"""Sums of powers below 1, which are concave on every orthant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import as_float, as_real, indicator

DEEPEST = 64
"""The largest depth that the checkers read."""


@dataclass(frozen=True, eq=False)
class Power(Term):
    """f(x) = L/2 sum |x_i|^(2/L), L = depth >= 3.

    Its conjugate is the indicator of {0}: f grows more slowly than any linear function, so that Fenchel duality gives
    the bound 0 only; the vertices of what is feasible give the optimum.
    """

    depth: int

    kind: ClassVar[str] = "power"
    convex: ClassVar[bool] = False
    rational: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole = isinstance(self.depth, int | np.integer) and not isinstance(self.depth, bool)
        if not whole or not 3 <= self.depth <= DEEPEST:
            raise ProblemError(f"depth: expected an integer from 3 to {DEEPEST}, got {self.depth!r:.60}")
        object.__setattr__(self, "depth", int(self.depth))

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool)

    def value(self, x: Any) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(self.depth / 2 * np.sum(np.abs(as_float(x)) ** (2 / self.depth)))

    def expression(self, x: Any) -> NoReturn:
        raise ProblemError("a sum of powers below 1 is concave and has no convex expression")

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        """0 for g = 0, else inf; nothing to be tolerant about."""
        return indicator(not np.any(as_real(g) != 0))

    def epigraph(self, x_star: Array, moves: Array) -> NoReturn:
        raise ProblemError("power_sum: it is concave on every orthant, so there is no convex program of it; use solve")

    def to_spec(self) -> dict[str, Any]:
        return {"term": self.kind, "depth": self.depth}
