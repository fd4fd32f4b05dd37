"""Multipliers that a face leaves undetermined, moved to where the inequalities hold.

Where fewer columns are free than there are rows, stationarity fixes y up to nu_0 + N t, and what the float solution
says of t is right to a dozen digits only.  That is not enough where a group is tight but zero, |J_g^T nu| = w_g and
x_g = 0: it would seem to move.  Violated inequalities

    |carried_g(y)| <= w_g  (zero groups),      low_i <= rest_i(y) <= high_i  (coordinates held at a breakpoint)

are linearised, and the shortest t that makes them equations is taken, again and again (Gauss and Newton).  Where there
are too many of them for that, a linear program finds the t that goes farthest into all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from exact_unlearn.certify.exactlin import objects, ratio
from exact_unlearn.certify.faces import FREE, HELD
from exact_unlearn.certify.fixedpoint import BITS, fix
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

if TYPE_CHECKING:
    from exact_unlearn.certify.enclosure import Iteration

ENOUGH = 1 << (BITS // 2 - 40)
"""Excess, in fixed point, that counts as none."""

ROUNDS, STALLS = 240, 3
"""Where a constraint is touched from within, each round halves the distance only; and rounds that gain less."""

GAIN = 10
"""Bits by which the largest excess must fall for a move to be worth it."""

TURNS = 20
"""Of moves and corrections by Newton's method."""

NEAR = 4
"""Constraints are taken in that are as near as so many times the largest excess."""

Limit = tuple[int, Callable[[], Array]]
"""An excess in fixed point, and its gradient in the whitened multipliers."""


def settle(run: Iteration) -> None:
    """Move run.y, converged, within what the free columns leave undetermined; back to where it was if that does not
    help.
    """
    if not run.y.size:
        return
    spare = _spare(run.whitened.W[:, run.face.where == FREE])
    for _ in range(TURNS if spare.shape[1] else 0):
        if not _moved(run, spare):
            return
        run.converge()  # floats leave stationarity to a dozen digits of the move only


def _moved(run: Iteration, spare: Array) -> bool:
    """Whether run.y was moved, to where inequalities that were violated hold, or nearly so."""
    first = best = -1
    before = nearest = run.y
    stalls = 0
    for _ in range(ROUNDS):
        tick()
        limits = list(_limits(run))
        worst = max((excess for excess, _ in limits), default=0)
        if worst <= ENOUGH:
            return run.y is not before
        if best < 0 or worst < best:
            stalls = stalls + 1 if 2 * worst > best >= 0 else 0
            first, best, nearest = max(first, worst), worst, run.y
        else:
            stalls += 1
        if stalls > STALLS:
            break
        run.y = run.y + _change(run, spare, limits, worst, inwards=stalls > 0)
    run.y = nearest if best << GAIN < first else before
    return run.y is not before


def _change(run: Iteration, spare: Array, limits: list[Limit], worst: int, inwards: bool) -> Array:
    """The shortest change of y that makes equations of the violated inequalities, and of those as near; inwards: one
    that makes the largest excess as small as it can be, where they cannot all be equations.
    """
    shift = worst.bit_length()
    near = [(excess, slope()) for excess, slope in limits if excess > -NEAR * worst]
    rows = np.array([slope for _, slope in near]) @ spare
    excess = np.array([ratio(excess, 1 << shift) for excess, _ in near])
    step = _inwards(rows, excess) if inwards else np.linalg.lstsq(rows, -excess, rcond=1e-12)[0]
    ints, unit = run.whitened.multipliers(spare @ step)
    grow = unit * Fraction(2) ** (shift + run.y_bits - BITS)
    return objects([math.floor(v * grow) for v in ints])


def _inwards(rows: Array, excess: Array) -> Array:
    """The t that minimises s >= -1 with rows t + excess <= s; zero where floats find none."""
    from scipy.optimize import linprog

    size = rows.shape[1]
    bounds = [(None, None)] * size + [(-1.0, None)]
    table = np.column_stack([rows, -np.ones(excess.size)])
    found = linprog(np.r_[np.zeros(size), 1.0], A_ub=table, b_ub=-excess, bounds=bounds)
    return np.zeros(size) if found.x is None else np.asarray(found.x[:-1])


def _spare(columns: Array) -> Array:
    """An orthonormal basis of what is orthogonal to `columns`, (r, r - rank)."""
    lengths = np.linalg.norm(columns, axis=0)
    columns = columns[:, lengths > 0] / lengths[lengths > 0]
    if not columns.shape[1]:
        return np.eye(columns.shape[0])
    U, s, _ = np.linalg.svd(columns)
    return np.asarray(U[:, int(np.sum(s > 1e-10 * s[0])) :])


def _limits(run: Iteration) -> Iterator[Limit]:
    """By how much each inequality is violated (fixed point), and its gradient in the whitened multipliers, (r,)."""
    W, gradient, scale = run.whitened.W, run.gradient(), run.f.y_scale
    for group, carried in run.zero_groups(gradient):
        inner = [carry * v.denominator // v.numerator for carry, v in zip(carried, group.inner, strict=True)]
        length = math.isqrt(sum(a * b for a, b in zip(carried, inner, strict=True)))
        if length:
            yield length - fix(group.weight / scale), partial(_outward, W[:, group.index], inner, length)
    for i in np.flatnonzero(run.face.where == HELD).tolist():
        slot = int(run.face.slot[i])
        low, high = run.pieces.slopes[i][slot], run.pieces.slopes[i][slot + 1]
        if high is not None:
            yield -int(gradient[i]) - fix(high / scale), partial(W.__getitem__, (slice(None), i))
        if low is not None:
            yield int(gradient[i]) + fix(low / scale), partial(np.negative, W[:, i])


def _outward(columns: Array, inner: list[int], length: int) -> Array:
    return np.asarray(columns @ np.array([ratio(v, length) for v in inner]))
