"""How many groups must be non-zero: exhaustive ranks, no big M.

At least s + 1 groups are non-zero if q = J theta* + b lies in the range of no s groups (together with the
columns that cost nothing).  All sets of s groups are tried modulo a prime, as one depth-first elimination that
NumPy carries out for all last groups at once.  A rank modulo p never exceeds the rational rank, so a set that
fails modulo p fails; one that seems to fit is solved over the rationals, and if it fits it is an optimum.
Where there are too many sets, the count is enclosed in an interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.checker import BASE
from exact_unlearn.certify.encode import Tree, vector
from exact_unlearn.certify.exactlin import (
    IntMatrix,
    Rationals,
    centred,
    mod_product,
    objects,
    prime_below,
    row_basis,
    solve,
    zeros,
)
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.interior import FloatProgram, minimise
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.repair import dyadic, into_box, into_region, make_feasible
from exact_unlearn.certify.terms import Drift, difference, everywhere
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import TimeUpError, finishing, tick, watched

SETS = 1_000_000
"""Sets of groups worth trying, at most, for one size."""

SEARCHING = 0.8
"""Of a time limit, for the search; the rest is for what has to be solved once for the answer."""

REWEIGHTINGS = 4
"""Rounds of reweighted l1 (Candes, Wakin, Boyd, 2008) in search of a small support."""

PRIME = prime_below(1 << 25)
"""So small that a difference of two products of centred residues is exact in float64."""


@dataclass(frozen=True)
class Count:
    """theta (d,) with `upper` groups (plus its drift penalty), and `exhausted`: no set of that many groups fits
    (-1: nothing was tried).  lower, upper: bounds on the optimum.  ended: by a time limit.  apart: vectors that tell
    sets of groups from those that fit, by rows of the image.
    """

    theta: Rationals
    exhausted: int
    lower: Fraction
    upper: Fraction
    ended: bool = False
    apart: tuple[dict[int, Fraction], ...] = ()

    def tree(self, rows: list[int] | None) -> Tree:
        """As a certificate writes it.  rows: where the rows of the image are in J (None: where they are)."""
        listed = [vector({i if rows is None else rows[i]: v for i, v in nu.items()}) for nu in self.apart]
        return {"exhausted": self.exhausted, **({"apart": listed} if listed else {})}


@dataclass(frozen=True)
class Groups:
    """Columns of A by who pays: `costless` for nobody, and one array per group that may be zero.

    forced: groups that pay whatever happens.  names: labels of the others.  costs: what zero costs in drift,
    None if it is impossible.
    """

    costless: Array
    members: list[Array]
    forced: int
    names: list[int]
    costs: list[Fraction | None]


def count(
    problem: UnlearningProblem, image: Image, drift: Drift, suggestion: Array | None, whitened: Whitened
) -> Count:
    """The least number of groups, or an interval; `suggestion`: theta of anybody, whose support is tried."""
    groups = groups_of(problem, image, drift)
    search = _Search(image, groups)
    found = _Found(len(groups.members))
    ended = False
    try:
        with watched(share=SEARCHING):
            _explore(found, search, groups, _orders(image, groups, suggestion, whitened), drift)
    except TimeUpError:
        ended = True
    with finishing():
        return replace(_summed(problem, image, drift, suggestion, whitened, groups, search, found), ended=ended)


class _Found:
    """What the search knows so far: the smallest set that fits (all groups do), and `exhausted` of Count."""

    def __init__(self, n: int) -> None:
        self.best, self.exhausted = list(range(n)), -1


def _explore(found: _Found, search: _Search, groups: Groups, orders: Iterator[list[int]], drift: Drift) -> None:
    """Smaller sets that fit, then all sets of no group, of one, of two; `found` is right whenever this is ended."""
    if drift.cone:
        for better in _least(search, groups, orders):
            found.best = better
    n = len(groups.members)
    for s in range(len(found.best)):
        if math.comb(n, s) > SETS or _checking(groups, s) > BASE:
            return
        tick(f"all sets of {s} of {n} groups")
        fitting = search.first_fit(s)
        if fitting is not None:
            found.best = fitting if drift.cone else found.best
            return
        found.exhausted = s


def _summed(
    problem: UnlearningProblem,
    image: Image,
    drift: Drift,
    suggestion: Array | None,
    whitened: Whitened,
    groups: Groups,
    search: _Search,
    found: _Found,
) -> Count:
    """The best point on what was found, and the bounds."""
    points = [_point(image, groups, search, found.best if drift.cone else None)]
    if not drift.absent:
        points += [_near_start(image), *_suggested(problem, image, whitened, drift, suggestion)]
    costs = [
        (Fraction(used(theta, problem)) + drift.value(moved), k)
        for k, theta in enumerate(points)
        if drift.allows(moved := difference(theta, image.theta))
    ]
    if not costs:
        raise FaceError("no point within the trust region was found")
    upper, k = min(costs)
    return Count(points[k], found.exhausted, lower_bound(groups, found.exhausted), upper)


def _checking(groups: Groups, size: int) -> int:
    """About the nanoseconds that the checker counts for all sets of this size; it refuses more than `BASE`."""
    c = max(map(len, groups.members), default=0)
    return math.comb(len(groups.members), size) * (2_500 + c * c * (500 + 200 * (size * c + 1)))


def groups_of(problem: UnlearningProblem, image: Image, drift: Drift) -> Groups:
    """Who pays for which columns of the image."""
    regularizer: Any = problem.regularizer
    charge = regularizer.charge(problem.theta_star)
    still = np.setdiff1d(np.arange(charge.size), image.free)  # a region of radius 0 freezes everything
    stuck = {int(charge[j]) for j in still if charge[j] >= 0 and image.theta[j]}
    labels = np.array([-1 if int(g) in stuck else int(g) for g in charge[image.free]], dtype=np.int64)
    names = sorted({int(g) for g in labels if g >= 0})
    members = [np.flatnonzero(labels == g) for g in names]
    theta = image.theta_free
    costs: list[Fraction | None] = []
    for index in members:
        parts = [theta[i] for i in index]
        if drift.box is not None and any(abs(t) > drift.box for t in parts):
            costs.append(None)
        else:
            costs.append(sum((drift.lam / 2 * t * t + drift.mu * abs(t) for t in parts), Fraction(0)))
    return Groups(np.flatnonzero(labels < 0), members, len(stuck), names, costs)


def lower_bound(groups: Groups, exhausted: int) -> Fraction:
    """forced + min over i > exhausted of i + the n - i smallest costs of staying zero."""
    finite = sorted(c for c in groups.costs if c is not None)
    n = len(groups.members)
    sums = [Fraction(0)]
    for cost in finite:
        sums.append(sums[-1] + cost)
    options = [i + sums[n - i] for i in range(max(exhausted + 1, 0), n + 1) if n - i < len(sums)]
    return groups.forced + min(options)


def used(theta: Rationals, problem: UnlearningProblem) -> int:
    """How many groups pay at theta."""
    charge = problem.regularizer.charge(problem.theta_star)
    return len({int(g) for g, value in zip(charge, theta.nums.tolist(), strict=True) if g >= 0 and value})


# ---------------------------------------------------------------- a feasible point


def _orders(image: Image, groups: Groups, suggestion: Array | None, whitened: Whitened) -> Iterator[list[int]]:
    """Groups by decreasing size in the suggested theta, in theta*, and in some reweighted l1 optima."""

    def order(moving: Array) -> list[int]:
        unit = moving / (float(np.max(np.abs(moving), initial=0.0)) or 1.0)
        sizes = [float(np.linalg.norm(unit[index])) for index in groups.members]
        return sorted(range(len(sizes)), key=lambda g: -sizes[g])

    for theta in (suggestion, image.theta):
        if theta is not None:
            yield order(to_float(np.asarray(theta))[image.free])
    weights = np.ones(image.free.size)
    weights[groups.costless] = 0.0
    unit = max((abs(image.q[i]) for i in image.rows), default=Fraction(0)) or Fraction(1)
    right = Rationals.of([image.q[i] / unit for i in image.rows])
    goal = whitened.right(right.nums.tolist(), Fraction(1, right.den))
    size = float(np.max(np.abs(whitened.W.T @ goal), initial=0.0)) or 1.0
    for _ in range(REWEIGHTINGS):
        x = minimise(_weighted_l1(whitened.W, goal / size, weights))[0].x
        yield order(x)
        for index in groups.members:
            weights[index] = 1.0 / (0.05 + np.linalg.norm(x[index]))


def _weighted_l1(W: Array, goal: Array, weights: Array) -> FloatProgram:
    paying = np.flatnonzero(weights > 0)
    none, zero = np.zeros(0, dtype=int), np.zeros(W.shape[1])
    return FloatProgram(
        W, goal, zero, zero, paying, np.zeros(paying.size), weights[paying], none, np.zeros(0), np.zeros(0)
    )


def _least(search: _Search, groups: Groups, orders: Iterator[list[int]]) -> Iterator[list[int]]:
    """Ever smaller sets: the shortest head of an order that fits, less every group it does not need."""
    smallest = len(groups.members)
    for order in orders:
        low, high = 0, len(order)
        while low < high:
            tick()
            middle = (low + high) // 2
            low, high = (low, middle) if search.fits(order[:middle]) else (middle + 1, high)
        kept = order[:high]
        for g in reversed(order[:high]):
            tick()
            fewer = [k for k in kept if k != g]
            if search.fits(fewer):
                kept = fewer
        if len(kept) < smallest:
            smallest = len(kept)
            yield sorted(kept)


def _point(image: Image, groups: Groups, search: _Search, best: list[int] | None) -> Rationals:
    """A feasible theta, exactly zero outside the chosen groups; theta* itself (or a point near it) where none
    is chosen.
    """
    x = None if best is None else search.solution(search.columns(best))
    return _near_start(image) if x is None else everywhere(image.theta, image.free, x)


def _suggested(
    problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift, suggestion: Array | None
) -> Iterator[Rationals]:
    """The suggested theta made feasible in its own support, within the trust regions."""
    if suggestion is None:
        return
    x = to_float(np.asarray(suggestion))[image.free]
    with suppress(FaceError):
        point, held = into_box(dyadic(x), image.theta_free, drift)
        point = make_feasible(image, whitened, point, np.where(held, 0.0, np.abs(x)))
        yield everywhere(image.theta, image.free, into_region(point, image.theta_free, drift, not any(problem.rhs)))


def _near_start(image: Image) -> Rationals:
    """theta* plus a basic solution of A D = rhs."""
    start = Rationals.of(image.theta_free)
    shift = [-v for v in image.residuals(start, image.rows)]
    if not any(shift):
        return everywhere(image.theta, image.free, start)
    columns = row_basis(image.basis.T)
    right = Rationals.of(shift)
    step = solve(image.basis.columns(columns), right.nums)[0]
    values = start.fractions()
    for k, j in enumerate(columns):
        values[j] += Fraction(int(step.nums[k]), step.den * right.den)
    return everywhere(image.theta, image.free, Rationals.of(values))


class _Search:
    """Which sets of groups fit."""

    def __init__(self, image: Image, groups: Groups) -> None:
        self.image, self.groups = image, groups
        self.A = image.basis
        self.q = Rationals.of([image.q[i] for i in image.rows])
        self.zero = not any(self.q.nums.tolist())

    def columns(self, chosen: list[int]) -> list[int]:
        index = [self.groups.costless, *(self.groups.members[g] for g in chosen)]
        return [int(i) for i in np.concatenate(index)]

    def fits(self, chosen: list[int]) -> bool:
        """Whether q is in the range of the chosen groups, over the rationals."""
        return self.solution(self.columns(chosen)) is not None

    def solution(self, columns: list[int]) -> Rationals | None:
        """A basic solution of A x = q on these columns, or None."""
        x = zeros(self.A.shape[1])
        if self.zero:
            return Rationals(x, 1)
        part = self.A.columns(columns)
        basis = row_basis(part.T) if columns else []
        if not basis:
            return None
        square = part.columns(basis)
        rows = row_basis(square)
        found = solve(square.rows(rows), self.q.nums[rows])[0]
        if any(square.apply(found.nums) != self.q.nums * found.den):
            return None
        x[[columns[k] for k in basis]] = found.nums
        return Rationals(x, found.den * self.q.den).reduced()

    def first_fit(self, s: int) -> list[int] | None:
        """A set of s groups that fits, or None if none does.  Every set is tried modulo PRIME."""
        if self.zero:
            return list(range(s))
        widest = max((index.size for index in self.groups.members), default=0)
        start = _Residues(
            self.A, objects(self.q.nums.tolist()), self.groups, s * widest + self.groups.costless.size + 2
        )
        for chosen in start.candidates(s):
            if self.fits(chosen):
                return chosen
        return None


class _Residues:
    """Columns of all groups and q modulo PRIME, rows compressed to as many as any set needs."""

    def __init__(self, A: IntMatrix, q: Array, groups: Groups, rows: int) -> None:
        residues, target = A.mod(PRIME), IntMatrix(q[:, None]).mod(PRIME)
        if rows < A.shape[0]:  # random combinations of rows can only lower ranks: what fails still fails
            mixer = np.random.default_rng(rows).integers(0, PRIME, (rows, A.shape[0])).astype(np.float64)
            residues, target = mod_product(mixer, residues, PRIME), mod_product(mixer, target, PRIME)
        width = max((index.size for index in groups.members), default=0)
        columns = np.zeros((len(groups.members), width, residues.shape[0]))
        for g, index in enumerate(groups.members):
            columns[g, : index.size] = residues[:, index].T
        self.columns, self.target = _without(residues[:, groups.costless].T, columns, target[:, 0])

    def candidates(self, s: int) -> Iterator[list[int]]:
        """Sets of s groups in whose range the target lies modulo PRIME."""
        if s == 0:
            if not self.target.any():
                yield []
            return
        yield from self._deeper(self.columns, self.target, s, 0, [])

    def _deeper(self, columns: Array, target: Array, s: int, first: int, chosen: list[int]) -> Iterator[list[int]]:
        """`columns`: groups from `first` on, reduced by the chosen ones."""
        if s == 1:
            for last in np.flatnonzero(_spans(columns, target)).tolist():
                yield [*chosen, first + last]
            return
        for g in range(columns.shape[0] - s + 1):
            tick()
            rest, goal = _without(columns[g], columns[g + 1 :], target)
            if not goal.any():  # already fits with fewer groups
                yield [*chosen, *range(first + g, first + g + s)]
                return
            yield from self._deeper(rest, goal, s - 1, first + g + 1, [*chosen, first + g])


def _without(own: Array, rest: Array, goal: Array) -> tuple[Array, Array]:
    """`rest` and `goal`, up to factors, less their part along the vectors `own`, modulo PRIME."""
    own = own.copy()
    for k in range(own.shape[0]):
        places = np.flatnonzero(own[k])
        if not places.size:
            continue
        pivot, lead = places[0], own[k, places[0]]
        own[k + 1 :] = centred(own[k + 1 :] * lead - own[k + 1 :, pivot, None] * own[k], PRIME)
        rest = centred(rest * lead - rest[..., pivot, None] * own[k], PRIME)
        goal = centred(goal * lead - goal[pivot] * own[k], PRIME)
    return rest, goal


def _spans(columns: Array, target: Array) -> Array:
    """Per group, whether the target lies in the span of its columns modulo PRIME; all groups at once."""
    work = columns
    goals = np.repeat(target[None], work.shape[0], axis=0)
    every = np.arange(work.shape[0])
    for k in range(work.shape[1]):
        row = work[:, 0]
        pivot = np.argmax(row != 0, axis=1)
        lead = row[every, pivot][:, None]
        lead = np.where(lead == 0, 1.0, lead)  # a zero column changes nothing
        goals = centred(goals * lead - goals[every, pivot][:, None] * row, PRIME)
        if k + 1 < columns.shape[1]:
            work = work[:, 1:]
            work = centred(work * lead[..., None] - work[every, :, pivot][..., None] * row[:, None], PRIME)
    return np.asarray(~goals.any(axis=1))


def primal(image: Image, found: Count) -> Tree:
    """Every free coordinate that is not zero."""
    entries = {int(j): found.theta[int(j)] for j in image.free if found.theta.nums[j]}
    return {"base": "zero", "parts": vector(entries)}
