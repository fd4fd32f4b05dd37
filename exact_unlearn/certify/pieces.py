"""Piecewise linear-quadratic programs over the integers: the form in which optima are found exactly.

Every sum of {1/2 sum w x^2, elastic net, weighted l1, linf} and {squared, l1, box} drifts is, up to a constant,

    minimise  sum_i phi_i(X_i) + c t   subject to   A X = q,   w_i |X_i| <= t,   t >= floor,

where phi_i is convex with curvature K_i and one slope per interval between its breakpoints (0, theta*_i,
theta*_i +- r).  After a change of units all of these numbers are integers:

    x = X * x_unit,    slopes = integers * y_unit,    nu_i = Y_i * y_units[i],    t_true = t * t_unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import IntMatrix, ratio
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.interior import FloatProgram
from exact_unlearn.certify.whiten import Whitened


@dataclass(frozen=True)
class Separable:
    """The objective as rationals, one entry per column of A:

    quadratic x^2/2 + kink |x| + lam/2 (x - theta)^2 + mu |x - theta|,  |x - theta| <= box (None: no box),
    and of forms also tilt x + sum weight |x - place| over `kinks`, pairs (place, weight).

    ceiling: the weights of linf, or None; floor: what t must reach anyway (max w |theta*| over frozen coordinates).
    """

    theta: list[Fraction]
    quadratic: list[Fraction]
    kink: list[Fraction]
    lam: list[Fraction]
    mu: list[Fraction]
    box: list[Fraction | None]
    ceiling: list[Fraction] | None = None
    floor: Fraction = Fraction(0)
    tilt: list[Fraction] | None = None
    kinks: list[list[tuple[Fraction, Fraction]]] | None = None


@dataclass(frozen=True)
class Ceiling:
    """w_i |X_i| <= t (no condition where w_i = 0), t >= floor, at cost * t; integers."""

    weights: list[int]
    cost: int
    floor: int


@dataclass(frozen=True, eq=False)
class Pieces:
    """The integer program of this module.

    breaks[i] is ascending; slopes[i] has one entry more, and its first or last entry is None beyond a bound.  The
    derivative of phi_i on piece s, between breaks[i][s-1] and breaks[i][s], is curvature[i] * X + slopes[i][s].
    """

    A: IntMatrix
    q: list[int]
    curvature: list[int]
    breaks: list[tuple[int, ...]]
    slopes: list[tuple[int | None, ...]]
    ceiling: Ceiling | None
    theta: list[int]
    x_unit: Fraction
    y_unit: Fraction
    y_units: list[Fraction]
    t_unit: Fraction

    @property
    def size(self) -> int:
        return len(self.breaks)

    @cached_property
    def linear_program(self) -> bool:
        return not any(self.curvature)


def pieces(image: Image, terms: Separable) -> Pieces:
    """Choose units in which everything is an integer.  Slacks, the last columns, cost nothing from 0 on."""
    slacks = image.A.shape[1] - len(terms.theta)
    q = [image.q[i] for i in image.rows]
    boxes = [b for b in terms.box if b is not None]
    weights = terms.ceiling or []
    w_den = math.lcm(1, *(w.denominator for w in weights))
    more = terms.kinks or [[]] * len(terms.theta)
    places = [place for own in more for place, _ in own]
    x_den = math.lcm(1, *(v.denominator for v in (*terms.theta, *q, *boxes, *places, terms.floor * w_den)))
    x_unit = Fraction(1, x_den)
    curvature = [k + lam for k, lam in zip(terms.quadratic, terms.lam, strict=True)]
    tilt = [-lam * v for lam, v in zip(terms.lam, terms.theta, strict=True)]
    tilt = tilt if terms.tilt is None else [a + b for a, b in zip(tilt, terms.tilt, strict=True)]
    numbers = [k * x_unit for k in curvature] + tilt + terms.kink + terms.mu + [Fraction(1, w_den)]
    y_den = math.lcm(1, *(v.denominator for v in numbers), *(w.denominator for own in more for _, w in own))
    rows = [_coordinate(*row) for row in zip(terms.theta, tilt, terms.kink, terms.mu, terms.box, more, strict=True)]
    ceiling = None
    if terms.ceiling is not None:
        # t_true = t / (x_den w_den); the stationarity of t is multiplied by y_den like every slope
        whole = [*(_whole(w * w_den) for w in weights), *([0] * slacks)]
        ceiling = Ceiling(whole, y_den // w_den, _whole(terms.floor * x_den * w_den))
    return Pieces(
        A=image.basis,
        q=[_whole(v * x_den) for v in q],
        curvature=[*(_whole(k * x_unit * y_den) for k in curvature), *([0] * slacks)],
        breaks=[*(tuple(_whole(b * x_den) for b in breaks) for breaks, _ in rows), *([(0,)] * slacks)],
        slopes=[
            *(tuple(None if s is None else _whole(s * y_den) for s in slopes) for _, slopes in rows),
            *([(None, 0)] * slacks),
        ],
        ceiling=ceiling,
        theta=[*(_whole(v * x_den) for v in terms.theta), *([0] * slacks)],
        x_unit=x_unit,
        y_unit=Fraction(1, y_den),
        y_units=[1 / (y_den * image.scales[i]) for i in image.rows],
        t_unit=Fraction(1, x_den * w_den),
    )


def _whole(value: Fraction) -> int:
    assert value.denominator == 1
    return value.numerator


def _coordinate(
    theta: Fraction,
    tilt: Fraction,
    kink: Fraction,
    mu: Fraction,
    box: Fraction | None,
    more: list[tuple[Fraction, Fraction]],
) -> tuple[list[Fraction], list[Fraction | None]]:
    """Breakpoints and slopes of tilt x + kink |x| + mu |x - theta| + sum of `more` within |x - theta| <= box."""
    jumps: dict[Fraction, Fraction] = {}
    kinks = [(Fraction(0), kink), (theta, mu), *more]
    for place, jump in kinks:
        if jump and (box is None or abs(place - theta) < box):
            jumps[place] = jumps.get(place, Fraction(0)) + 2 * jump
    if box is None:
        first = tilt - sum((jump for _, jump in kinks), Fraction(0))
    else:
        left = theta - box
        first = tilt + sum((j if left >= place else -j for place, j in kinks), Fraction(0))
    places = sorted(jumps)
    slopes: list[Fraction | None] = [first]
    for place in places:
        last = slopes[-1]
        assert last is not None
        slopes.append(last + jumps[place])
    if box is None:
        return list(places), slopes
    return [theta - box, *places, theta + box], [None, *slopes, None]


# ---------------------------------------------------------------- the same in floats


@dataclass(frozen=True)
class Scale:
    """Float units: X = x_float * x, slopes = y_float * slope, so that typical numbers are near 1.

    shifted: floats count from theta*, because a trust region keeps X so near that floats from 0 could not tell.
    """

    x: Fraction
    y: Fraction
    shifted: bool = False


FAR = 2.0**34
"""A breakpoint so many typical sizes away is no place where a solution in this scale could be."""


def scales(
    program: Pieces, whitened: Whitened, slope: Fraction = Fraction(0), radius: Fraction | None = None
) -> list[Scale]:
    """Units in which typical entries are near 1.  Two, where least-norm points are much shorter than everything
    else; and one that counts from theta* where a ball of that radius is much smaller than theta*.

    slope: a further typical slope, of terms that the program does not know.
    """
    candidates = [Fraction(abs(b)) for row in program.breaks for b in row]
    for k, row in zip(program.curvature, program.slopes, strict=True):
        candidates += [Fraction(abs(s), k) for s in row if s is not None and k]
    if radius is not None:
        candidates += [Fraction(abs(t)) for t in program.theta]
    largest, near = max(candidates, default=Fraction(0)), _least_norm(program, whitened)
    cost = 0 if program.ceiling is None else program.ceiling.cost * max(program.ceiling.weights, default=0)

    def of(length: Fraction, shifted: bool = False) -> Scale:
        x = power_of_two(length)
        bend = max((k * x for k in program.curvature), default=Fraction(0))
        start = program.theta if shifted else [0] * program.size
        rows = zip(program.slopes, program.curvature, start, strict=True)
        steep = max((abs(s + k * t) for row, k, t in rows for s in row if s is not None), default=0)
        return Scale(x, power_of_two(max(Fraction(steep), bend, Fraction(cost), slope) or Fraction(1)), shifted)

    found = [of(max(largest, near) or Fraction(1))]
    if near and near < largest / 2**20:
        found.append(of(near))
    if radius and radius < largest / 2**16:
        found.insert(0, of(radius, shifted=True))
    return found


def _least_norm(program: Pieces, whitened: Whitened) -> Fraction:
    """The largest entry of the shortest x with A x = q, nearly."""
    peak = max((abs(v) for v in program.q), default=0)
    if not peak:
        return Fraction(0)
    unit = Fraction(2) ** peak.bit_length()
    size = float(np.max(np.abs(whitened.W.T @ whitened.right(program.q, 1 / unit)), initial=0.0))
    return unit * Fraction(2) ** math.frexp(size)[1] if size else Fraction(0)


def float_program(program: Pieces, whitened: Whitened, scale: Scale) -> FloatProgram:
    """The program with orthonormal rows, in floats; kinks are ordered by coordinate, then by place.  What is
    FAR is left out.
    """
    x_down, y_down = 1 / scale.x, 1 / scale.y

    def by(value: int, factor: Fraction) -> float:
        return ratio(value * factor.numerator, factor.denominator)

    bend = scale.x / scale.y
    origin = program.theta if scale.shifted else [0] * program.size
    linear = np.zeros(program.size)
    kinks: list[tuple[int, float, float, int]] = []
    boxes: list[tuple[int, float, float]] = []
    for i, (places, slopes) in enumerate(zip(program.breaks, program.slopes, strict=True)):
        inner = [s for s in slopes if s is not None]
        offset = int(slopes[0] is None)
        at = [by(b - origin[i], x_down) for b in places]
        bounded = slopes[-1] is None
        if offset and max(abs(at[0]), abs(at[-1] if bounded else 0.0)) < FAR:
            boxes.append((i, at[0], at[-1] if bounded else math.inf))
        start, total = inner[0], 0
        for k, (before, after) in enumerate(pairwise(inner)):
            place = at[k + offset]
            if abs(place) < FAR:
                kinks.append((i, place, by(after - before, y_down / 2), k + offset))
                total += after - before
            elif place < 0:
                start += after - before
        linear[i] = by(2 * (start + program.curvature[i] * origin[i]) + total, y_down / 2)
    extra: dict[str, Any] = {}
    if program.ceiling is not None:
        w_max = max(program.ceiling.weights, default=1) or 1
        extra["ceiling"] = np.array([ratio(w, w_max) for w in program.ceiling.weights])
        extra["ceiling_cost"] = by(program.ceiling.cost * w_max, y_down)
        extra["floor"] = by(program.ceiling.floor, x_down / w_max)
    if scale.shifted:
        extra["origin"] = np.array([by(t, x_down) for t in program.theta])
    start_values = program.A.apply(origin).tolist() if any(origin) else [0] * len(program.q)
    return FloatProgram(
        W=whitened.W,
        q=whitened.right([v - s for v, s in zip(program.q, start_values, strict=True)], x_down),
        curvature=np.array([by(k, bend) for k in program.curvature]),
        linear=linear,
        kink_index=np.array([k[0] for k in kinks], dtype=int),
        kink_at=np.array([k[1] for k in kinks]),
        kink_slope=np.array([k[2] for k in kinks]),
        kink_slot=np.array([k[3] for k in kinks], dtype=int),
        box_index=np.array([b[0] for b in boxes], dtype=int),
        box_low=np.array([b[1] for b in boxes]),
        box_high=np.array([b[2] for b in boxes if b[2] < math.inf]),
        high_index=np.array([b[0] for b in boxes if b[2] < math.inf], dtype=int),
        **extra,
    )


def power_of_two(value: Fraction) -> Fraction:
    """A power of two within a factor of two of a positive value."""
    return Fraction(2) ** (value.numerator.bit_length() - value.denominator.bit_length())


def interval_at_zero(pieces: Pieces, i: int) -> tuple[Fraction | None, Fraction | None]:
    """Slopes of phi_i just below and just above 0 (None: beyond a box)."""
    places, slopes = pieces.breaks[i], pieces.slopes[i]
    below, above = sum(b < 0 for b in places), sum(b <= 0 for b in places)
    low, high = slopes[below], slopes[above]
    return (None if low is None else Fraction(low)), (None if high is None else Fraction(high))
