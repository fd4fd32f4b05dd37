"""Exactly feasible points near approximate ones.

A x = q is restored by an exact correction of a few columns, chosen where x is large and the columns are
independent; the others keep their (dyadic) values, so zeros stay zero.  What leaves a trust region is shrunk
towards theta*, which is feasible where rhs = 0.
"""

from __future__ import annotations

import math
from contextlib import suppress
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import Rationals, objects, ratio, row_basis, solve
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.terms import Drift
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.jacobian import Array

SHRINK_BITS = 300

SHARES = (40, 37, 34, 31, 28, 24, 20)
"""A point is moved by 2^-bits of the way to one that has slack."""


def dyadic(values: Array) -> Rationals:
    """Floats as they are."""
    fractions = [Fraction(float(v)) for v in values]
    return Rationals.of(fractions)


def make_feasible(image: Image, whitened: Whitened, x: Rationals, freedom: Array) -> Rationals:
    """x with A x = q exactly.  freedom (n,) >= 0: how far each coordinate may be moved without harm; 0: not at
    all if possible.

    FaceError if q is not in the range of A, which `Image.conflict` excludes.
    """
    residual = image.residuals(x, image.rows)
    if not any(residual):
        return x
    columns = _columns(image, whitened, freedom)
    square = image.basis.columns(columns)
    right = Rationals.of([-v for v in residual])
    rows = row_basis(square)
    step = solve(square.rows(rows), right.nums[rows])[0]
    if len(rows) < len(image.rows) and any(square.apply(step.nums) != right.nums * step.den):
        raise FaceError("the columns that may move do not span the residual")
    common = math.lcm(x.den, step.den * right.den)
    nums = x.nums * (common // x.den)
    nums[columns] += step.nums * (common // (step.den * right.den))
    return Rationals(nums, common).reduced()


def within_rows(
    image: Image, whitened: Whitened, x: Rationals, freedom: Array, near: float, held: Array | None = None
) -> Rationals:
    """x (n,) with all rows satisfied: those that read >= become equations where x has no slack, or less than `near` of
    the largest entry; and so do those that the correction makes too short.  held: rows to make equations of at first.

    FaceError where that does not end in a point.
    """
    if not image.at_least:
        return make_feasible(image, whitened, x, freedom)
    n, peak = len(x), max((abs(v) for v in x.nums.tolist()), default=0)
    full = image.with_slacks(x)
    slacks = np.array([ratio(int(v) * x.den, max(peak, 1) * full.den) for v in full.nums[n:]])
    tight = slacks <= near if held is None else held | (slacks <= near)
    loose = 1e6 * (float(np.max(freedom, initial=0.0)) or 1.0)
    for _ in range(len(image.at_least) + 1):
        nums = full.nums.copy()
        nums[n:][tight] = 0
        given = np.concatenate([freedom, np.where(tight, 0.0, loose)])
        found = make_feasible(image, whitened, Rationals(nums, full.den), given)
        short = np.array([v < 0 for v in found.nums[n:].tolist()], dtype=bool)
        if not short.any():
            return image.own(found)
        if not (short & ~tight).any():
            break
        tight = tight | short
    raise FaceError("the rows that read >= cannot all be satisfied near the point")


def from_inside(image: Image, whitened: Whitened, x: Rationals, freedom: Array) -> Rationals:
    """x with all rows satisfied, moved a little towards a point with slack in every row that reads >=, where the
    correction that restores the equations does no harm.

    FaceError where no float point has such slack, or none of the moves is enough.
    """
    inside = dyadic(_with_slack(image, x.floats()))
    den = math.lcm(x.den, inside.den)
    start, steps = x.nums * (den // x.den), inside.nums * (den // inside.den) - x.nums * (den // x.den)
    for bits in SHARES:
        moved = Rationals(start * (1 << bits) + steps, den << bits)
        with suppress(FaceError):
            return within_rows(image, whitened, moved, freedom, 0.0)
    raise FaceError("the rows that read >= cannot all be satisfied near the point")


def _with_slack(image: Image, x: Array) -> Array:
    """A point (n,) that satisfies the equations up to rounding, with the largest least slack in units of its rows."""
    from scipy.optimize import linprog

    n, peak = x.size, float(np.max(np.abs(x), initial=0.0)) or 1.0
    heights = [max(map(abs, row), default=0) or 1 for row in image.A.ints[:, :n].tolist()]
    A = np.array(
        [
            [float(Fraction(int(v), h)) for v in row]
            for row, h in zip(image.A.ints[:, :n].tolist(), heights, strict=True)
        ]
    )
    q = np.array([float(v / h) for v, h in zip(image.q, heights, strict=True)])
    least = np.isin(np.arange(len(q)), image.at_least)
    answer = linprog(
        np.r_[np.zeros(n), -1.0],
        A_ub=np.hstack([-A[least], np.ones((int(least.sum()), 1))]),
        b_ub=-q[least],
        A_eq=np.hstack([A[~least], np.zeros((int((~least).sum()), 1))]),
        b_eq=q[~least],
        bounds=[*[(-10 * peak, 10 * peak)] * n, (None, peak)],
    )
    if answer.status != 0 or not answer.x[-1] > 0:
        raise FaceError("no point has slack in all rows that read >=")
    return np.asarray(answer.x[:n])


def _columns(image: Image, whitened: Whitened, freedom: Array) -> list[int]:
    """Independent columns, greedily by length times freedom (pivoted Gram-Schmidt), exactly independent."""
    r = len(image.rows)
    scale = np.maximum(freedom, 0.0)
    peak = float(np.max(scale, initial=0.0)) or 1.0
    rest = whitened.W * np.maximum(scale / peak, 1e-150)
    order: list[int] = []
    lengths = np.einsum("ij,ij->j", rest, rest)
    for _ in range(r):
        k = int(np.argmax(lengths))
        if lengths[k] <= 0:
            break
        order.append(k)
        direction = rest[:, k] / math.sqrt(lengths[k])
        rest = rest - np.outer(direction, direction @ rest)
        lengths = np.einsum("ij,ij->j", rest, rest)
        lengths[order] = -1.0
    taken = set(order)
    order += [int(k) for k in np.argsort(-scale, kind="stable") if int(k) not in taken]
    return [order[k] for k in row_basis(image.basis.T.rows(order))]


def into_box(x: Rationals, theta: list[Fraction], drift: Drift) -> tuple[Rationals, Array]:
    """x moved into the box, and which entries lie on its edge."""
    if drift.box is None:
        return x, np.zeros(len(x), dtype=bool)
    near = drift.box * (1 - Fraction(1, 1 << 30))
    values, held = [], []
    for value, centre in zip(x.fractions(), theta, strict=True):
        edge = abs(value - centre) >= near
        held.append(edge)
        values.append(centre + (drift.box if value > centre else -drift.box) if edge else value)
    return Rationals.of(values), np.array(held, dtype=bool)


def into_region(x: Rationals, theta: list[Fraction], drift: Drift, homogeneous: bool) -> Rationals:
    """theta + s (x - theta) with s <= 1 so that both trust regions hold.  FaceError where rhs != 0 forbids
    shrinking.
    """
    start = Rationals.of(theta)
    common = math.lcm(x.den, start.den)
    steps = x.nums * (common // x.den) - start.nums * (common // start.den)
    factor = Fraction(1)
    if drift.ball is not None:
        square = Fraction(sum(v * v for v in steps.tolist()), common**2)
        if square > drift.ball**2:
            ratio = drift.ball**2 / square
            factor = Fraction(math.isqrt((ratio.numerator << 2 * SHRINK_BITS) // ratio.denominator), 1 << SHRINK_BITS)
    if drift.box is not None:
        largest = Fraction(max((abs(v) for v in steps.tolist()), default=0), common)
        if largest > drift.box:
            factor = min(factor, drift.box / largest)
    if factor == 1:
        return x
    if not homogeneous:
        raise FaceError("the point leaves the trust region, and cannot be shrunk towards theta* because rhs is not 0")
    nums = start.nums * (common // start.den) * factor.denominator + steps * factor.numerator
    return Rationals(objects([int(v) for v in nums]), common * factor.denominator).reduced()


def vanishing_on(image: Image, y: list[Fraction], columns: Array) -> list[Fraction]:
    """y (per independent row) changed in a few entries so that A_columns.T y = 0 exactly; entries 0 of rows that read
    >= stay 0.
    """
    usable = [k for k, row in enumerate(image.rows) if row not in image.at_least or y[k] > 0]
    if not columns.size or not usable:
        return y
    outside = image.basis.columns(columns).rows(usable)
    chosen = row_basis(outside.T)
    part = outside.columns(chosen)
    rows = row_basis(part)
    if not rows:
        return y
    current = Rationals.of([y[k] for k in usable])
    step = solve(part.rows(rows).T, part.T.apply(current.nums))[0]
    out = list(y)
    for k, row in enumerate(usable[at] for at in rows):
        out[row] -= Fraction(int(step.nums[k]), step.den * current.den)
    return out
