"""An enclosure of 60 digits and more at the cost of some products with J: certificates of short numbers.

The point is a multiple of 2^-digits on every coordinate and misses the rows by next to nothing; a right inverse proves
that a feasible one exists beside it (`near`).  What is claimed leaves room for what the checker finds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.dyadic import BITS, FREE, HIGH, LOW, NULL, ONE, START, ZERO, Point, Program, solve
from exact_unlearn.certify.dyadic_start import Rows, Units, first_point, program_of, rows_of
from exact_unlearn.certify.encode import Tree, rational_text, vector, whole_part
from exact_unlearn.certify.exactlin import Rationals, objects
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.near import inverse
from exact_unlearn.certify.rows import RowReport
from exact_unlearn.certify.terms import Drift, drift_of, kind_of, roots, seen, sum_squares, value_of, weights_of
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import tick

GAP = 230
"""Claims are 2^-GAP of the value apart; what is proved is some 2^-290."""

CLEAR = 100
"""Bits to spare in a strict inequality."""

SMALL = 30
"""A value so many bits below its units is left to exact arithmetic."""

LESS = 48
"""Multipliers are made smaller by 2^(LESS - BITS) where |z_j| must not exceed what absorbs it."""

REST = 56
"""Bits of the residual of J D = b that are lost at the end."""


@dataclass(frozen=True, eq=False)
class Enclosed:
    """theta (d,), which misses the rows by next to nothing; the parts of a certificate; what it proves."""

    theta: Rationals
    primal: Tree
    dual: Tree
    lower: Fraction
    upper: Fraction
    distance: Fraction | None
    unique: bool
    rows: RowReport


def enclose_nearby(problem: UnlearningProblem) -> Enclosed:
    """FaceError, one clause, where this way does not apply or leads nowhere."""
    tick("Newton's method with short products")
    drift = drift_of(problem)
    rows = rows_of(problem)
    program, units = program_of(problem, drift, rows)
    with np.errstate(all="ignore"):
        point = solve(program, first_point(program, rows))
    return _Writer(problem, drift, program, units, rows, point).run()


class _Writer:
    def __init__(
        self, problem: UnlearningProblem, drift: Drift, program: Program, units: Units, rows: Rows, point: Point
    ) -> None:
        self.problem, self.drift, self.f, self.units, self.p = problem, drift, program, units, point
        self.rows = rows
        self.digits = BITS - units.x
        if not 0 <= self.digits < 1 << 13:
            raise FaceError("the parameters are beyond the range of short numbers")
        self.kind, self.free = kind_of(problem), units.free
        self.x = self._inside()

    def run(self) -> Enclosed:
        f, m = self.f, len(self.f.q)
        allowed = np.flatnonzero(~np.isin(self.p.where, (LOW, HIGH)))
        if self.f.box is not None:
            room = np.array(
                [abs(a - b) < (f.box or 0) - (1 << (BITS // 2)) for a, b in zip(self.x, f.theta, strict=True)]
            )
            allowed = allowed[room[allowed]]
        if self._is_vertex():
            allowed = np.flatnonzero(self.p.where == FREE)
        near = inverse(f.J, allowed)
        missed = [a - b for a, b in zip(f.slices.apply(self.x, BITS, BITS), f.q, strict=True)]
        if max(map(int.bit_length, missed)) + near.reach + m.bit_length() > REST + 32:
            raise FaceError("the point misses the rows by too much")
        theta = self._everywhere()
        lower, upper = self._claims(theta)
        distance, unique = self._distance(lower, upper)
        found = near.tree(self.free, self.rows.kept, self.digits)
        if self.rows.multiples:
            own = self.rows.multiples.items()
            found["implied"] = [{"row": i, "of": [] if k is None else vector({k: factor})} for i, (k, factor) in own]
        primal = {**self._primal(), "near": found}
        report = RowReport(m, m, self.rows.tolerance)
        return Enclosed(theta, primal, self._dual(), lower, upper, distance, unique, report)

    # ------------------------------------------------------------ the point

    def _inside(self) -> list[int]:
        """x, on the edge of a box rounded inwards."""
        x, f = list(self.p.x), self.f
        for j in np.flatnonzero(np.isin(self.p.where, (LOW, HIGH))).tolist():
            x[j] = f.theta[j] + ((f.box or 0) - 2) * (1 if self.p.where[j] == HIGH else -1)
        return x

    def _everywhere(self) -> Rationals:
        star = [Fraction(v) for v in self.problem.theta_star.tolist()]
        unit = 1 << self.digits
        nums = [(v.numerator << self.digits) // v.denominator for v in star]
        for j, v in zip(self.free.tolist(), self.x, strict=True):
            nums[j] = v
        return Rationals(objects(nums), unit)

    def _primal(self) -> Tree:
        """Free coordinates over 2^digits; those held at theta* are exactly there."""
        where, free = self.p.where, self.free.tolist()
        star = [Fraction(v) for v in self.problem.theta_star[self.free].tolist()]
        still = set(np.flatnonzero(where == START).tolist())
        zero = set(np.flatnonzero(np.isin(where, (ZERO, NULL))).tolist()) - still
        base = "theta_star" if len(still) > len(zero) else "zero"
        skipped = still if base == "theta_star" else zero
        own = [j for j in range(len(free)) if j not in skipped and j not in still]
        den = 1 << self.digits
        parts = [whole_part([free[j] for j in own], [self.x[j] for j in own], den)] if own else []
        if base == "zero" and still:
            parts += vector({free[j]: star[j] for j in sorted(still) if star[j]})
        if len(own) == len(free):
            parts = [{key: value for key, value in parts[0].items() if key != "indices"}]
        return {"base": base, "parts": parts}

    # ------------------------------------------------------------ the multipliers

    def _dual(self) -> Tree:
        p, units = self.p, self.units
        nu = p.nu
        if self._capped():
            nu = [v - (v >> (BITS - LESS)) for v in nu]
        shifts = [units.y - int(e) for e in self.rows.exponents]
        low = min(shifts)
        nums, down = [v << (s - low) for v, s in zip(nu, shifts, strict=True)], BITS - low
        nums = nums if down >= 0 else [v << -down for v in nums]
        dual: Tree = {"nu": [whole_part(self.rows.kept, nums, 1 << max(down, 0))]}
        if not self.rows.multiples:
            del dual["nu"][0]["indices"]
        if p.ball and p.kappa > 0:
            dual["ball"] = rational_text(Fraction(p.kappa) * Fraction(2) ** (units.y - units.x - BITS))
        g = self._subgradient()
        if g:
            dual["g"] = vector(g)
        return dual

    def _capped(self) -> bool:
        """Whether |z_j| has a limit that sigma would have to respect."""
        bounded = self.f.lam or self.f.box is not None or self.p.ball
        return not bounded and self.kind == "separable" and any(self.f.alpha)

    def _subgradient(self) -> dict[int, Fraction]:
        """g where z - Lambda D - mu sign(D) is no subgradient: on held coordinates and on frozen ones."""
        if self.kind == "separable":
            return {}
        f, p, unit = self.f, self.p, Fraction(2) ** (self.units.y - BITS)
        out: dict[int, Fraction] = {}
        held = np.flatnonzero(np.isin(p.where, (START, LOW, HIGH))).tolist()
        if self.kind == "max":
            if p.held_t:
                raise FaceError("what is frozen decides the maximum")
            return {int(self.free[j]): Fraction(0) for j in held}
        square = self.kind == "root" and not f.w
        for j in held:
            if square:
                out[int(self.free[j])] = Fraction((f.beta[j] * self.x[j]) >> BITS) * unit
            elif f.group[j] >= 0 and p.norms[f.group[j]]:
                g = f.group[j]
                out[int(self.free[j])] = Fraction(f.w[g] * f.v[j] // p.norms[g] * self.x[j] >> BITS) * unit
        for j in np.flatnonzero(p.where == NULL).tolist():
            if f.mu or f.box is not None:
                D = self.x[j] - f.theta[j]
                if not D or f.box is not None:
                    raise FaceError("a norm is 0 where a drift does not move")
        return out | self._of_frozen()

    def _of_frozen(self) -> dict[int, Fraction]:
        """The share of frozen coordinates in their norm: w v theta* / n, and theta*/|theta*| where all is frozen."""
        still, star = np.flatnonzero(~self.problem.free).tolist(), self.problem.theta_star
        if not still:
            return {}
        if self.kind == "root" and not self.f.w:
            weights = weights_of(self.problem)
            return {j: weights[j] * Fraction(star[j]) for j in still if weights[j]}
        term: Any = self.problem.form.parts[0].term
        d = self.problem.n_parameters
        labels, outer = np.asarray(term.labels(d)).tolist(), term.outer().tolist()
        inner = [1] * d if term.inner is None else term.inner.tolist()
        unit = Fraction(2) ** (self.units.x - BITS)
        lengths = {}
        for i, j in enumerate(self.free.tolist()):
            if self.f.group[i] >= 0:
                lengths[labels[j]] = self.p.norms[self.f.group[i]] * unit
        for label in {labels[j] for j in still} - lengths.keys():
            square = sum(
                (Fraction(inner[j]) * Fraction(star[j]) ** 2 for j in still if labels[j] == label), Fraction(0)
            )
            lengths[label] = roots(square)[1]
        shares = {}
        for j in still:
            if lengths[labels[j]] and star[j]:
                share = Fraction(outer[labels[j]]) * Fraction(inner[j]) * Fraction(star[j]) / lengths[labels[j]]
                shares[j] = _cut(share, math.floor) if share else share
        return shares

    # ------------------------------------------------------------ what is proved

    def _claims(self, theta: Rationals) -> tuple[Fraction, Fraction]:
        value = self._value(theta)
        size = value / Fraction(2) ** (self.units.x + self.units.y)
        if not size * 2**SMALL > 1:
            raise FaceError("the optimum is 0, or next to it")
        room = value / 2 ** (GAP + 1)
        return _cut(value - room, math.floor), _cut(value + room, math.ceil)

    def _value(self, theta: Rationals) -> Fraction:
        """R(theta) + Rhat(D), nearly."""
        f = self.f
        unit = Fraction(2) ** (self.units.x + self.units.y - 2 * BITS)
        D = [a - b for a, b in zip(self.x, f.theta, strict=True)]
        drift = (f.lam * sum(v * v for v in D) >> (BITS + 1)) + f.mu * sum(map(abs, D))
        return self._regularizer(theta) + drift * unit

    def _regularizer(self, theta: Rationals) -> Fraction:
        if self.kind in ("separable", "max"):
            return value_of(self.problem, theta)
        if self.kind == "root":
            return roots(sum_squares(theta, weights_of(self.problem)))[1]
        term: Any = self.problem.form.parts[0].term
        labels = np.asarray(term.labels(self.problem.n_parameters)).tolist()
        outer = [Fraction(w) for w in term.outer().tolist()]
        squares = [0] * len(outer)
        for label, v in zip(labels, theta.nums.tolist(), strict=True):
            squares[label] += v * v
        return sum((w * math.isqrt(s << 2 * 64) for w, s in zip(outer, squares, strict=True)), Fraction(0)) / (
            theta.den << 64
        )

    def _is_vertex(self) -> bool:
        """Whether as many coordinates are free as there are rows, and everything else is held with room to spare."""
        f, free = self.f, self.p.where == FREE
        bends = f.lam or f.mu or f.box is not None or self.p.ball or any(f.beta)
        if self.kind != "separable" or bends or free.sum() != len(f.q):
            return False
        z, room = f.slices.pull(self.p.nu, BITS, BITS), ONE >> CLEAR
        sides = zip(free.tolist(), self.x, z, f.alpha, strict=True)
        return all(abs(x) > room if own else abs(pull) < alpha - room for own, x, pull, alpha in sides)

    def _distance(self, lower: Fraction, upper: Fraction) -> tuple[Fraction | None, bool]:
        """As the checker bounds it (section 8), with room."""
        gap, every = upper - lower, bool(seen(self.problem)[self.free].all())
        modulus = self.drift.lam
        if self.kind == "separable":
            scale = Fraction(2) ** (self.units.y - self.units.x - BITS)
            modulus += min(self.f.beta) * scale * (1 - Fraction(1, 2**40))
        if modulus:
            return _cut(roots(2 * gap / modulus)[1] * 2, math.ceil, 64), True
        if self.p.ball and self.p.kappa > 0:
            kappa = Fraction(self.p.kappa) * Fraction(2) ** (self.units.y - self.units.x - BITS)
            return _cut(4 * roots(2 * gap / kappa)[1], math.ceil, 64), False
        if self.kind == "root" and every and not self.drift.mu:
            least = min(weights_of(self.problem)[j] for j in self.free.tolist())
            return _cut(2 * roots((upper**2 - lower**2) / least)[1], math.ceil, 64), True
        if self._is_vertex():
            return Fraction(2) ** (self.units.x - GAP), True
        return None, False


def _cut(value: Fraction, whole: object, bits: int = 400) -> Fraction:
    """A dyadic number of so many bits, rounded by `whole`."""
    if not value:
        return value
    shift = bits + value.denominator.bit_length() - abs(value.numerator).bit_length()
    return Fraction(whole(value * Fraction(2) ** shift)) / Fraction(2) ** shift  # type: ignore[operator]
