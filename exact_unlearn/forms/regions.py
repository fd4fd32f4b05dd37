"""Indicators of a ball and of a box around the centre: regions in which to stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import Value


@dataclass(frozen=True, eq=False)
class Ball(Term):
    """0 where |x|_2 <= radius, else inf; a second-order cone."""

    radius: Value

    kind: ClassVar[str] = "ball"

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import in_ball

        return in_ball(float(self.radius), moves)


@dataclass(frozen=True, eq=False)
class Box(Term):
    """0 where |x_i| <= radius for all i, else inf."""

    radius: Value

    kind: ClassVar[str] = "box"

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import in_box

        return in_box(float(self.radius), moves)
