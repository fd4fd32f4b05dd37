"""Counts where some rows read >=: sets of groups that fit are found by exact programs, and so is why others do not.

A set of groups that does not fit has a Farkas vector, nu with J.T nu = 0 on its columns and on those that cost nothing,
nu >= 0 on rows that read >=, and <nu, q> > 0.  It excludes every set of groups at which it does not pull, so that few
vectors exclude many sets; the certificate lists them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.counting import Count, Groups, groups_of, lower_bound, used
from exact_unlearn.certify.exact import optimum
from exact_unlearn.certify.exactlin import Rationals, zeros
from exact_unlearn.certify.feasible import farkas
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.pieces import Separable, pieces
from exact_unlearn.certify.pivot import InfeasibleError
from exact_unlearn.certify.terms import Drift, difference, everywhere
from exact_unlearn.certify.whiten import whiten
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import TimeUpError, finishing, tick, watched

SETS, SOLVES = 20_000, 400
"""Sets of groups of one size, and programs in all, that are worth trying."""

SEARCHING = 0.8
"""Of a time limit, for the search."""

Vector = dict[int, Fraction]
NOTHING = Drift(Fraction(0), Fraction(0), None, None)


def count_rows(problem: UnlearningProblem, image: Image, drift: Drift, suggestion: Array | None) -> Count:
    """The least number of groups, or an interval.  FaceError if no point within the regions is found."""
    groups = groups_of(problem, image, drift)
    search = _Search(image, groups, drift)
    with finishing():
        search.start()
    ended = False
    try:
        with watched(share=SEARCHING):
            search.prune(suggestion)
            search.exhaust()
    except TimeUpError:
        ended = True
    costs = []
    for k, x in enumerate(search.points):
        theta = everywhere(image.theta, image.free, x)
        moved = difference(theta, image.theta)
        if drift.allows(moved):
            costs.append((Fraction(used(theta, problem)) + drift.value(moved), k, theta))
    if not costs:
        raise FaceError("no point within the trust region was found")
    upper, _, theta = min(costs, key=lambda each: each[:2])
    apart = tuple(nu for nu, _ in search.apart)
    return Count(theta, search.exhausted, lower_bound(groups, search.exhausted), upper, ended, apart)


class _Search:
    """Points and Farkas vectors found so far, the smallest set that fits, and `exhausted` of Count."""

    def __init__(self, image: Image, groups: Groups, drift: Drift) -> None:
        self.image, self.groups, self.drift = image, groups, drift
        self.points: list[Rationals] = []
        self.apart: list[tuple[Vector, frozenset[int]]] = []
        self.best = list(range(len(groups.members)))
        self.exhausted, self.left = -1, SOLVES

    def start(self) -> None:
        """The point of all groups."""
        if self._fitted(self.best, self.drift) is None:
            raise FaceError("no point was found on all groups together")

    def prune(self, suggestion: Array | None) -> None:
        """Smaller sets that fit: the support of an l1 optimum, and of the suggestion, less every group not needed."""
        for order in self._orders(suggestion):
            kept = order
            if self._fitted(kept, self.drift) is None:
                continue
            for g in reversed(order):
                tick()
                fewer = [k for k in kept if k != g]
                if self.left and self._fitted(fewer, self.drift) is not None:
                    kept = fewer
            if len(kept) < len(self.best):
                self.best = sorted(kept)

    def _orders(self, suggestion: Array | None) -> Iterator[list[int]]:
        """Groups by decreasing size, those without any left out."""
        starts = [self.points[0].floats()]
        if suggestion is not None:
            starts.append(to_float(np.asarray(suggestion))[self.image.free])
        for x in starts:
            peak = float(np.max(np.abs(x), initial=0.0)) or 1.0
            sizes = {g: float(np.linalg.norm(x[own] / peak)) for g, own in enumerate(self.groups.members)}
            yield sorted((g for g, size in sizes.items() if size > 1e-9), key=lambda g: -sizes[g])

    def exhaust(self) -> None:
        """All sets of no group, of one, of two: none fits, or one does and is the smallest."""
        n = len(self.groups.members)
        for s in range(len(self.best)):
            if math.comb(n, s) > SETS:
                return
            for chosen in itertools.combinations(range(n), s):
                if any(own.issuperset(chosen) for _, own in self.apart):
                    continue
                tick()
                if not self.left:
                    return
                if self._fitted(list(chosen), self.drift) is not None:
                    self.best = list(chosen) if self.drift.absent else self.best
                    return
                if not any(own.issuperset(chosen) for _, own in self.apart):
                    return  # it fits outside of the region only
            self.exhausted = s

    def _fitted(self, chosen: list[int], drift: Drift) -> Rationals | None:
        """A point on these groups; or None, and if possible a Farkas vector that says why."""
        self.left = max(self.left - 1, 0)
        own = [self.groups.costless, *(self.groups.members[g] for g in chosen)]
        columns = np.sort(np.concatenate(own)).astype(np.int64)
        found = _solved(self.image, columns, drift)
        if isinstance(found, Rationals):
            self.points.append(found)
            return found
        if not self._remember(found, chosen) and drift.box is not None:
            found = _solved(self.image, columns, NOTHING)
            if not isinstance(found, Rationals):
                self._remember(found, chosen)
        return None

    def _remember(self, nu: list[Fraction], chosen: list[int]) -> bool:
        """Whether this vector excludes the chosen groups; then it excludes all others at which it does not pull."""
        weights = Rationals.of([v * s for v, s in zip(nu, self.image.scales, strict=True)])
        pull = self.image.A.T.apply(weights.nums)
        own = frozenset(g for g, index in enumerate(self.groups.members) if not any(pull[index]))
        excludes = own.issuperset(chosen) and not any(pull[self.groups.costless])
        if excludes:
            self.apart.append(({row: v for row, v in enumerate(nu) if v}, own))
        return excludes


def _solved(image: Image, columns: Array, drift: Drift) -> Rationals | list[Fraction]:
    """A feasible x (n,) that is 0 off these columns, the shortest or the one of least drift penalty; or multipliers of
    all rows that refute there is one.
    """
    n, size = image.free.size, columns.size
    every = [*columns.tolist(), *range(n, n + len(image.at_least))]
    part = Image(image.theta, image.free[columns], image.A.columns(every), image.scales, image.q, image.at_least)
    for nu, excess in part.dependencies():
        if excess:
            return nu
    zero, near = Fraction(0), drift.cone and drift.ball is not None
    terms = Separable(
        theta=part.theta_free,
        quadratic=[Fraction(int(drift.cone and not near))] * size,
        kink=[zero] * size,
        lam=[drift.lam or Fraction(int(near))] * size,
        mu=[drift.mu] * size,
        box=[drift.box] * size,
    )
    program = pieces(part, terms)
    try:
        found = optimum(program, whiten(part.basis)).point.x
    except InfeasibleError as error:
        return farkas(part, error.farkas)
    nums = zeros(n)
    nums[columns] = found.nums[:size] * program.x_unit.numerator
    return Rationals(nums, found.den * program.x_unit.denominator).reduced()
