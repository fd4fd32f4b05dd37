"""Indicators of a ball and of a box around the centre: regions in which to stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    is_exact,
    largest,
    load_cvxpy,
    root_sum_squares,
    sum_squares,
    total,
)


@dataclass(frozen=True)
class Region(Term):
    """0 where a norm of x is at most the radius, else inf."""

    radius: Value

    def seen(self, m: int) -> Array:
        return np.ones(m, dtype=bool)

    def value(self, x: Any, tol: float = 0.0) -> Value:
        """0 inside, inf outside; inside means |x| <= radius (1 + tol), decided in the rationals for Fractions."""
        v = as_real(x)
        limit: Any = self.number(v) * (1 + (Fraction(tol) if is_exact(v) else float(tol)))
        nothing: Value = Fraction(0) if is_exact(v) else 0.0
        return nothing if self.holds(v, limit) else math.inf

    def number(self, like: Array) -> Any:
        """The radius in the arithmetic of `like`."""
        return Fraction(self.radius) if is_exact(like) else float(self.radius)

    def holds(self, x: Array, limit: Any) -> bool:
        """|x| <= limit."""
        raise self._without("norm")

    def constraint(self, x: Any) -> Any:
        """|x| <= radius as a CVXPY constraint."""
        raise self._without("constraint")

    def expression(self, x: Any) -> Any:
        cp = load_cvxpy()

        return cp.transforms.indicator([self.constraint(x)])


@dataclass(frozen=True)
class Ball(Region):
    """0 where |x|_2 <= radius, else inf; a second-order cone.  f*(g) = radius |g|_2."""

    kind: ClassVar[str] = "ball"

    def holds(self, x: Array, limit: Any) -> bool:
        if is_exact(x):  # decided on squares, which are rational
            return bool(sum_squares(x) <= limit * limit)
        return bool(root_sum_squares(x) <= limit)

    def constraint(self, x: Any) -> Any:
        return load_cvxpy().norm(x, 2) <= float(self.radius)

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """Finite everywhere, so `tol` changes nothing."""
        return float(self.radius) * root_sum_squares(as_real(g))

    def prox(self, v: Any, step: float) -> Array:
        """The projection, for every step (its limit at step 0); the result satisfies value(x) == 0."""
        as_step(step)
        return onto_ball(as_float(v), rounded_down(self.radius))

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import in_ball

        return in_ball(float(self.radius), moves)


@dataclass(frozen=True)
class Box(Region):
    """0 where |x_i| <= radius for all i, else inf.  f*(g) = radius |g|_1."""

    kind: ClassVar[str] = "box"

    def holds(self, x: Array, limit: Any) -> bool:
        return bool(largest(x) <= limit)

    def constraint(self, x: Any) -> Any:
        return load_cvxpy().norm_inf(x) <= float(self.radius)

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """Finite everywhere, so `tol` changes nothing."""
        z = as_real(g)
        width: Value = self.number(z)
        return width * total(np.abs(z))

    def prox(self, v: Any, step: float) -> Array:
        """The projection, for every step (its limit at step 0); the result satisfies value(x) == 0."""
        as_step(step)
        radius = rounded_down(self.radius)
        return np.clip(as_float(v), -radius, radius)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import in_box

        return in_box(float(self.radius), moves)


def rounded_down(radius: Value) -> float:
    """The largest float <= radius, so that a projection satisfies the literal constraint."""
    x = float(radius)
    return math.nextafter(x, 0.0) if Fraction(x) > radius else x


def onto_ball(x: Array, radius: float) -> Array:
    """x scaled back to |x|_2 <= radius, also after rounding."""
    length = root_sum_squares(x)
    if length <= radius:
        return x.copy()
    unit = x / length
    out = unit * radius
    shrink = float(np.finfo(np.float64).eps)
    while root_sum_squares(out) > radius:
        out = unit * (radius * (1.0 - shrink))
        shrink *= 2.0
    return out
