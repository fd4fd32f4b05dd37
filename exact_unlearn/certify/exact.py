"""Exact optima of piecewise linear-quadratic programs.

1. The interior-point method proposes a face (which kinks, boxes and ceilings hold with equality). 2. The
optimality conditions on that face are linear; they are solved over the rationals. 3. Every inequality is
decided exactly.  If all hold, this is an optimum of the exact problem, with multipliers that prove it. 4.
Otherwise the violated inequalities say how to change the face, and so on.

Inequalities are first evaluated with multipliers cut to some hundred bits and a rigorous error bound; only ties are
decided with all digits.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import Rationals, objects
from exact_unlearn.certify.faces import BOTTOM, FREE, HELD, TOP, Face, Guess, Point, solve_face
from exact_unlearn.certify.interior import FloatPoint, FloatProgram, minimise
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.pieces import Pieces, Scale, float_program, scales
from exact_unlearn.certify.pivot import Start, pivot, without_ceiling
from exact_unlearn.certify.pull import Pull
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

ATTEMPTS = 25
GRAIN = 44
"""Float values are read to this many bits below their scale: plenty for strict inequalities."""


@dataclass(frozen=True)
class ExactOptimum:
    """A minimiser and multipliers with every slack exactly 0, in the integer units of the program.

    face: where every coordinate lies.  ties (n,): coordinates whose inequality is tight by chance: held with
    multiplier 0 to spare, or free at the end of their piece.  ceiling_share: signed multipliers of w_i |x_i| <=
    t for held coordinates that touch the ceiling; floor_share: that of t >= floor.  All multipliers of t
    together make up its cost.
    """

    point: Point
    face: Face
    ties: Array
    ceiling_share: dict[int, Fraction]
    floor_share: Fraction


def optimum(program: Pieces, whitened: Whitened) -> ExactOptimum:
    """An exact optimum.

    Raises InfeasibleError with a Farkas vector, TooManyDigitsError when the optimum is too long to write down, and
    FaceError if even exact pivoting did not reach an optimal face within its limit of steps.
    """
    seen: set[tuple[object, ...]] = set()
    start: tuple[Face, FloatPoint, Scale] | None = None
    for scale in scales(program, whitened):
        floats = float_program(program, whitened, scale)
        for point in minimise(floats):
            face = first_face(program, floats, point, scale)
            start = start or (face, point, scale)
            with suppress(FaceError):
                return _climb(program, face, _guess(whitened, point, scale), seen)
    assert start is not None
    return _pivot(program, *start)


def _pivot(program: Pieces, face: Face, point: FloatPoint, scale: Scale) -> ExactOptimum:
    """Exact pivoting from the face that floats suggest."""
    held = np.where(face.where == HELD, face.slot, -1)
    if program.ceiling is None:
        exact = pivot(program, Start(point.x, held, scale), _limit(program.A.shape))
        return _confirmed(program, exact)
    n, weights = program.size, np.array([float(w) for w in program.ceiling.weights])
    t, own = point.t * weights.max(initial=0.0), np.flatnonzero(weights)
    lifted = without_ceiling(program)
    x = np.concatenate([point.x, [t], (t - weights * point.x)[own], (t + weights * point.x)[own]])
    touch = [np.where(point.ceiling_held[own] == sign, 0, -1) for sign in (1, -1)]
    held = np.concatenate([held, [0 if point.floor_held else -1], *touch])
    exact = pivot(lifted, Start(x, held, scale), _limit(lifted.A.shape))
    x_own = Rationals(exact.x.nums[:n], exact.x.den)
    y_own = Rationals(exact.y.nums[: len(program.q)], exact.y.den)
    return _confirmed(program, Point(x_own.reduced(), y_own.reduced(), exact.x[n]))


def _limit(shape: tuple[int, int]) -> int:
    """Steps worth taking: each costs some solves with as many rows."""
    rows, columns = shape
    return 40 + 6 * columns if rows <= 60 else max(40, 20_000 // rows)


def _confirmed(program: Pieces, point: Point) -> ExactOptimum:
    """The face on which an exact optimum lies, every inequality decided once more."""
    face = Face(np.zeros(program.size, dtype=np.int8), np.zeros(program.size, dtype=np.int64))
    x, ceiling = point.x, program.ceiling
    for i, places in enumerate(program.breaks):
        value = x[i]
        face.slot[i] = sum(b < value for b in places)
        touching = ceiling is not None and ceiling.weights[i] and ceiling.weights[i] * abs(value) == point.t
        if face.slot[i] < len(places) and places[face.slot[i]] == value:
            face.where[i] = HELD
            if touching:
                face.owners.append(i)
        elif touching:
            face.where[i] = TOP if value > 0 else BOTTOM
    if ceiling is not None and (face.owners or point.t == ceiling.floor):
        assert point.t is not None
        face.held_t = int(point.t)
    check = _Check(program, face, point)
    if check.violated or not check.stationary():
        raise FaceError("exact pivoting ended on a face that is not optimal")
    return check.optimum()


def _climb(program: Pieces, face: Face, guess: Guess, seen: set[tuple[object, ...]]) -> ExactOptimum:
    """From face to face until one is optimal."""
    for _ in range(ATTEMPTS):
        tick()
        if face.key() in seen:
            break
        seen.add(face.key())
        point = solve_face(program, face, guess)
        check = _Check(program, face, point)
        if not check.violated:
            return check.optimum()
        face = check.next_face()
    raise FaceError("the float solution does not identify an optimal face")


def first_face(program: Pieces, floats: FloatProgram, point: FloatPoint, scale: Scale) -> Face:
    """Read a face off the float solution."""
    n = program.size
    where, slot = np.zeros(n, dtype=np.int8), np.zeros(n, dtype=np.int64)
    grain = scale.x / (1 << GRAIN)
    for i, value in enumerate(np.rint(np.ldexp(point.x, GRAIN)).tolist()):
        number = int(value) * grain + (program.theta[i] if scale.shifted else 0)
        row = program.slopes[i]
        piece = sum(b < number for b in program.breaks[i])
        slot[i] = piece + (row[0] is None and piece == 0) - (row[-1] is None and piece == len(row) - 1)
    assert floats.kink_slot is not None
    held = np.flatnonzero(point.kink_held)
    where[floats.kink_index[held]] = HELD
    slot[floats.kink_index[held]] = floats.kink_slot[held]
    for j in np.flatnonzero(point.box_held):
        i = int(floats.box_index[j])
        where[i], slot[i] = HELD, (0 if point.box_held[j] < 0 else len(program.breaks[i]) - 1)
    face = Face(where, slot)
    if program.ceiling is not None:
        _touch(program, face, point)
    return face


def _touch(program: Pieces, face: Face, point: FloatPoint) -> None:
    """Which coordinates are at the ceiling, and whether t is known."""
    assert program.ceiling is not None
    weights, floor = program.ceiling.weights, program.ceiling.floor
    touching = np.flatnonzero(point.ceiling_held)
    face.owners = [int(i) for i in touching if face.where[i] == HELD]
    for i in touching:
        if face.where[i] == FREE:
            face.where[i] = TOP if point.ceiling_held[i] > 0 else BOTTOM
    if face.owners:
        face.held_t = max(weights[i] * abs(program.breaks[i][face.slot[i]]) for i in face.owners)
    if point.floor_held or not touching.size:
        face.held_t = max(floor, face.held_t or 0)


def _guess(whitened: Whitened, point: FloatPoint, scale: Scale) -> Guess:
    """The float point in integer units."""
    y, y_unit = whitened.multipliers(point.y)
    y_unit *= scale.y
    x = [int(v) for v in np.rint(np.ldexp(point.x, GRAIN))]
    x_unit = scale.x / (1 << GRAIN)
    bits = max(_exponent(y_unit), _exponent(x_unit), 0)
    return Guess(
        objects([int(v * x_unit * (1 << bits)) for v in x]),
        objects([int(v * y_unit * (1 << bits)) for v in y]),
        bits,
    )


def _exponent(unit: Fraction) -> int:
    """k with unit * 2^k an integer."""
    return unit.denominator.bit_length() - 1


# ---------------------------------------------------------------- deciding inequalities


class _Check:
    """All inequalities at a point; what is violated, and the face to try next."""

    def __init__(self, program: Pieces, face: Face, point: Point) -> None:
        self.program, self.face, self.point = program, face, point
        self.pull = Pull(program.A, point.y)
        self.ties = np.zeros(program.size, dtype=bool)
        self.share: dict[int, Fraction] = {}
        self.floor_share = Fraction(0)
        self.moves: dict[int, tuple[int, int]] = {}  # coordinate -> (where, slot)
        self.held_t: int | None = face.held_t
        self.owners = list(face.owners)
        self._positions()
        self._multipliers()
        if program.ceiling is not None:
            self._ceiling(program.ceiling.cost, program.ceiling.floor)

    @property
    def violated(self) -> bool:
        return bool(self.moves) or self.held_t != self.face.held_t

    def next_face(self) -> Face:
        face = self.face.copy()
        face.held_t, face.owners = self.held_t, [i for i in self.owners if i not in self.moves]
        for i, (where, slot) in self.moves.items():
            face.where[i], face.slot[i] = where, slot
        return face

    def optimum(self) -> ExactOptimum:
        signed = {i: share * self._sign(i) for i, share in self.share.items() if share}
        return ExactOptimum(self.point, self.face, self.ties, signed, self.floor_share)

    def _sign(self, i: int) -> int:
        """The side on which a held coordinate touches the ceiling; where t = 0 it touches both, and its pull
        decides.
        """
        slot = int(self.face.slot[i])
        place = self.program.breaks[i][slot]
        after = self.program.slopes[i][slot + 1]
        return (place > 0) - (place < 0) or (1 if after is not None and self.pull.exact(i) > after else -1)

    def stationary(self) -> bool:
        """The equations of the face, for points that were not found by solving them."""
        program, face, ceiling = self.program, self.face, self.program.ceiling
        free = np.flatnonzero(face.where == FREE).tolist()
        slopes = [(program.slopes[i][face.slot[i]] or 0, program.curvature[i] * self.point.x[i]) for i in free]
        if any(self.pull.exact(i) != c + kx for i, (c, kx) in zip(free, slopes, strict=True)):
            return False
        if ceiling is None or face.held_t is not None:
            return True
        return sum((self._share(i) for i in np.flatnonzero(face.where >= TOP).tolist()), Fraction(0)) == ceiling.cost

    def _positions(self) -> None:
        """Free and moving coordinates must lie on their piece."""
        program, x = self.program, self.point.x
        for i in np.flatnonzero(self.face.where != HELD).tolist():
            places, slot = program.breaks[i], int(self.face.slot[i])
            value = x.nums[i]
            where = int(self.face.where[i])
            if slot > 0 and value <= places[slot - 1] * x.den:
                self._left(i, slot - 1, value < places[slot - 1] * x.den, where)
            elif slot < len(places) and value >= places[slot] * x.den:
                self._left(i, slot, value > places[slot] * x.den, where)

    def _left(self, i: int, place: int, strictly: bool, where: int) -> None:
        if not strictly:
            self.ties[i] = True
        elif where == FREE:
            self.moves[i] = (HELD, place)
        else:  # the ceiling moved it past a kink: onto the next piece, or onto the end of its box
            at_box = self.program.slopes[i][0 if place == 0 else -1] is None and place in (
                0,
                len(self.program.breaks[i]) - 1,
            )
            self.moves[i] = (HELD, place) if at_box else (where, place if self.face.slot[i] > place else place + 1)

    def _multipliers(self) -> None:
        """Held coordinates: slope before <= pull <= slope after."""
        program = self.program
        held = [i for i in np.flatnonzero(self.face.where == HELD).tolist() if i not in self.owners]
        low: list[int | None] = []
        high: list[int | None] = []
        for i in held:
            slot = int(self.face.slot[i])
            base = program.curvature[i] * program.breaks[i][slot]
            before, after = program.slopes[i][slot], program.slopes[i][slot + 1]
            low.append(None if before is None else before + base)
            high.append(None if after is None else after + base)
        below = self.pull.compare(held, low, 1)
        above = self.pull.compare(held, high, -1)
        for i, b, a in zip(held, below, above, strict=True):
            slot = int(self.face.slot[i])
            if b < 0:
                self.moves[i] = (FREE, slot)
            elif a < 0:
                self.moves[i] = (FREE, slot + 1)
            elif b == 0 or a == 0:
                self.ties[i] = True

    def _ceiling(self, cost: int, floor: int) -> None:
        program, t = self.program, self.point.t
        assert program.ceiling is not None
        assert t is not None
        weights, x = program.ceiling.weights, self.point.x
        limit = t * x.den
        for i in np.flatnonzero(self.face.where < TOP).tolist():
            size = weights[i] * abs(x.nums[i])
            if size > limit:
                self._above_ceiling(i, x.nums[i] > 0)
            elif size == limit and i not in self.owners and weights[i]:
                self.ties[i] = True
        if t < floor:
            self.held_t = floor
        self._shares(cost)

    def _above_ceiling(self, i: int, positive: bool) -> None:
        if self.face.where[i] == HELD:  # a held coordinate pushes the ceiling up
            assert self.program.ceiling is not None
            level = self.program.ceiling.weights[i] * abs(self.program.breaks[i][self.face.slot[i]])
            if self.held_t is None or level > self.held_t:
                self.held_t, self.owners = level, [i]
            return
        self.moves[i] = (TOP if positive else BOTTOM, int(self.face.slot[i]))

    def _shares(self, cost: int) -> None:
        """The multipliers of w_i |x_i| <= t: non-negative, with sum `cost`."""
        program, face = self.program, self.face
        assert program.ceiling is not None
        moving = np.flatnonzero(face.where >= TOP).tolist()
        signs = self._ceiling_signs(moving)
        for i, sign in zip(moving, signs, strict=True):
            if sign < 0:
                self.moves.setdefault(i, (FREE, int(face.slot[i])))
            elif sign == 0:
                self.ties[i] = True
        if face.held_t is None:
            return  # t was free: its stationarity, sum of shares = cost, is one of the equations solved
        rest = cost - sum((self._share(i) for i in moving), Fraction(0))
        if rest < 0:
            self.held_t, self.owners = None, []
            return
        rest = self._owners(rest)
        if rest > 0 and face.held_t == program.ceiling.floor:
            self.floor_share, rest = rest, Fraction(0)
        if rest > 0:
            self._release(rest)

    def _ceiling_signs(self, moving: list[int]) -> list[int]:
        """Signs of the multipliers of coordinates at the ceiling."""
        program, face, x = self.program, self.face, self.point.x
        bounds: list[tuple[int, int]] = []
        for i in moving:
            slope = program.slopes[i][face.slot[i]]
            assert slope is not None
            bounds.append((slope * x.den + program.curvature[i] * x.nums[i], x.den))
        signs = [1 if face.where[i] == TOP else -1 for i in moving]
        found = self.pull.compare_ratios(moving, bounds, signs)
        return found if self.point.t else [abs(sign) for sign in found]  # at t = 0 both ends are one point

    def _share(self, i: int) -> Fraction:
        """The multiplier rho_i of a coordinate at the ceiling."""
        program, face = self.program, self.face
        slope = program.slopes[i][face.slot[i]]
        assert slope is not None
        assert program.ceiling is not None
        rest = self.pull.exact(i) - program.curvature[i] * self.point.x[i] - slope
        share = rest * (1 if face.where[i] == TOP else -1) / program.ceiling.weights[i]
        return Fraction(share if self.point.t else abs(share))

    def _owners(self, rest: Fraction) -> Fraction:
        """Let held coordinates at the ceiling take as much of `rest` as their slopes allow; returns what is left."""
        program = self.program
        assert program.ceiling is not None
        spans: list[tuple[int, Fraction, Fraction | None]] = []
        for i in self.owners:
            least, most = self._span(i)
            if most is not None and most < 0:
                slot = int(self.face.slot[i])
                self.moves[i] = (FREE, slot if program.breaks[i][slot] > 0 else slot + 1)
            else:
                spans.append((i, least, most))
        for i, least, _ in spans:
            rest -= least
            self.share[i] = self.share.get(i, Fraction(0)) + least
        if rest < 0:
            self.held_t, self.owners = None, []
            for i, least, _ in spans:
                if least > 0:
                    slot = int(self.face.slot[i])
                    up = program.breaks[i][slot] > 0
                    self.moves[i] = (TOP if up else BOTTOM, slot + 1 if up else slot)
                    break
            return Fraction(0)
        for i, least, most in spans:
            more = rest if most is None else min(rest, most - least)
            self.share[i] += more
            rest -= more
        self.share = {i: s for i, s in self.share.items() if s}
        return rest

    def _span(self, i: int) -> tuple[Fraction, Fraction | None]:
        """Least and largest share of the ceiling that a held coordinate touching it may carry.

        With share s its own slope is pull - sign w s, which must lie between the slopes before and after its
        breakpoint.
        """
        program, slot = self.program, int(self.face.slot[i])
        assert program.ceiling is not None
        place, weight = program.breaks[i][slot], program.ceiling.weights[i]
        pull = self.pull.exact(i) - program.curvature[i] * place
        before, after = program.slopes[i][slot], program.slopes[i][slot + 1]
        over = None if after is None else (pull - after) / weight
        under = None if before is None else (before - pull) / weight
        zero = Fraction(0)
        if place == 0:  # the ceiling is 0 and can pull both ways
            return max(zero, over or zero, under or zero), None
        near, far = (over, under) if place > 0 else (under, over)
        return max(zero, near or zero), None if far is None else -far

    def _release(self, rest: Fraction) -> None:
        """The ceiling would rather come down: an owner follows it inwards."""
        if not self.owners:
            self.held_t = None
            return
        i = self.owners[0]
        slot = int(self.face.slot[i])
        assert self.program.ceiling is not None
        up = self.program.breaks[i][slot] > 0
        self.moves[i] = (TOP if up else BOTTOM, slot if up else slot + 1)
        self.held_t, self.owners = None, []
