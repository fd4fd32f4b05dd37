"""Exact pivoting: from any guess of a face to an optimal one, whatever the degeneracy.

When the face that floats suggest is wrong, breakpoints and slopes are shifted so that it is optimal for the
shifted program, and the shift mu is taken back from 1 to 0.  At each critical mu one inequality becomes tight,
and its coordinate moves to the neighbouring piece of its (x, slope) staircase; where that leaves the equations
singular, a ray is followed until another coordinate gives way.  This is the parametric self-dual simplex
method, for convex piecewise linear-quadratic programs; a good guess needs few steps.  All arithmetic is exact,
random shifts break ties, and a ray without end is a proof of infeasibility.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import IntMatrix, Rationals, objects, row_basis, zeros
from exact_unlearn.certify.faces import FREE, HELD, Point
from exact_unlearn.certify.kkt import FaceError, Kkt
from exact_unlearn.certify.pieces import Pieces, Scale
from exact_unlearn.certify.pull import Pull
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

PARK_BITS = 40


class InfeasibleError(ArithmeticError):
    """No X satisfies A X = q within the boxes.  farkas (r,): y.q exceeds the largest y.A X."""

    def __init__(self, farkas: Rationals) -> None:
        super().__init__("no feasible point")
        self.farkas = farkas


@dataclass
class Start:
    """A guess: float x (n,) in the units of `scale`, and which coordinates are held at which breakpoint (-1: free)."""

    x: Array
    held: Array
    scale: Scale


def pivot(program: Pieces, start: Start, limit: int) -> Point:
    """An exact optimum of a program without ceiling.  FaceError after `limit` steps; InfeasibleError."""
    return _Path(program, start).follow(limit)


def without_ceiling(program: Pieces) -> Pieces:
    """The same program with t and the slacks of -t <= w_i X_i <= t as further coordinates, [X, t, t - w X, t + w X]."""
    ceiling = program.ceiling
    assert ceiling is not None
    r, n = program.A.shape
    index = [i for i, w in enumerate(ceiling.weights) if w]
    c = len(index)
    ints = zeros((r + 2 * c, n + 1 + 2 * c))
    ints[:r, :n] = program.A.ints
    for k, i in enumerate(index):
        for row, sign, slack in ((r + k, 1, n + 1 + k), (r + c + k, -1, n + 1 + c + k)):
            ints[row, i], ints[row, n], ints[row, slack] = sign * ceiling.weights[i], -1, 1
    return Pieces(
        A=IntMatrix(ints),
        q=[*program.q, *([0] * (2 * c))],
        curvature=[*program.curvature, *([0] * (1 + 2 * c))],
        breaks=[*program.breaks, (ceiling.floor,), *([(0,)] * (2 * c))],
        slopes=[*program.slopes, (None, ceiling.cost), *([(None, 0)] * (2 * c))],
        ceiling=None,
        theta=[*program.theta, *([0] * (1 + 2 * c))],
        x_unit=program.x_unit,
        y_unit=program.y_unit,
        y_units=program.y_units,
        t_unit=program.t_unit,
    )


class _Path:
    """One run.  Coordinate i is free on piece slot[i], or held at breakpoint slot[i]."""

    def __init__(self, program: Pieces, start: Start) -> None:
        self.n = program.size
        self.random = random.Random(program.size)
        self.held = start.held >= 0
        self.slot = np.where(self.held, start.held, 0)
        grain = start.scale.x / (1 << PARK_BITS)
        self.finer = max(0, grain.denominator.bit_length() - 1)
        unit = grain * (1 << self.finer)
        values = [int(int(v) * unit) for v in np.rint(np.ldexp(start.x, PARK_BITS)).tolist()]
        up = 1 << self.finer
        self.program = replace(
            program,
            q=[v * up for v in program.q],
            breaks=[tuple(b * up for b in row) for row in program.breaks],
            slopes=[tuple(None if s is None else s * up for s in row) for row in program.slopes],
        )
        self.q = objects(self.program.q)
        self.A, self.K = program.A, program.curvature
        self.latest: tuple[Array, Kkt] | None = None
        self.breaks = [list(row) for row in self.program.breaks]
        self.slopes = [list(row) for row in self.program.slopes]
        for i in np.flatnonzero(~self.held).tolist():
            row = self.slopes[i]
            piece = sum(b < values[i] for b in self.breaks[i])
            self.slot[i] = piece + (piece == 0 and row[0] is None) - (piece == len(row) - 1 > 0 and row[-1] is None)
        self._choose_basis(values)
        self.break_shift = [[0] * len(row) for row in self.breaks]
        self.slope_shift = [[0] * len(row) for row in self.slopes]
        self._shift(max(1, int(start.scale.x * up) >> 60), max(1, int(start.scale.y * up) >> 60))

    # ------------------------------------------------------------ the start

    def _choose_basis(self, values: list[int]) -> None:
        """Free exactly as many coordinates as make the equations nonsingular."""

        def freedom(i: int) -> tuple[bool, int]:  # the distance to the nearest kink, the farthest first
            return bool(self.breaks[i]), -min((abs(values[i] - b) for b in self.breaks[i]), default=0)

        free = sorted(np.flatnonzero(~self.held).tolist(), key=freedom)
        flat = [i for i in free if not self.K[i]]
        kept = [flat[k] for k in row_basis(self.A.T.rows(flat))] if flat else []
        for i in set(flat) - set(kept):
            self._park(i, values[i])
        order = [*kept, *(i for i in free if self.K[i]), *np.flatnonzero(self.held).tolist()]
        for k in row_basis(self.A.T.rows(order)):
            i = order[k]
            if self.held[i]:
                self.held[i] = False
                self.slot[i] += self.slopes[i][self.slot[i]] is None

    def _park(self, i: int, value: int) -> None:
        """Hold a coordinate where it is: at an artificial breakpoint, without any change of slope."""
        slot = int(self.slot[i])
        places = self.breaks[i]
        if slot > 0 and value <= places[slot - 1]:
            slot -= 1
        elif not (slot < len(places) and value >= places[slot]):
            places.insert(slot, value)
            self.slopes[i].insert(slot, self.slopes[i][slot])
        self.held[i], self.slot[i] = True, slot

    def _shift(self, grain_x: int, grain_y: int) -> None:
        """Shifts that make the first face strictly optimal."""
        ((y, x),) = self._solve(self._equations(), self._right())
        pull = self.A.T.apply(y.nums)
        for position, i in enumerate(self._free().tolist()):
            slot, value = int(self.slot[i]), x.nums[position] // x.den
            if slot > 0:
                self._push(
                    self.break_shift[i], range(slot), min(0, value - self.breaks[i][slot - 1]) - self._noise(grain_x)
                )
            if slot < len(self.breaks[i]):
                end = range(slot, len(self.breaks[i]))
                self._push(self.break_shift[i], end, max(0, value + 1 - self.breaks[i][slot]) + self._noise(grain_x))
        for i in np.flatnonzero(self.held).tolist():
            slot = int(self.slot[i])
            value = pull[i] // y.den - self.K[i] * self.breaks[i][slot]
            low, high = self.slopes[i][slot], self.slopes[i][slot + 1]
            if low is not None:
                self._push(self.slope_shift[i], range(slot + 1), min(0, value - low) - self._noise(grain_y))
            if high is not None:
                end = range(slot + 1, len(self.slopes[i]))
                self._push(self.slope_shift[i], end, max(0, value + 1 - high) + self._noise(grain_y))

    def _noise(self, grain: int) -> int:
        return grain * self.random.randrange(1, 1 << 20)

    @staticmethod
    def _push(shifts: list[int], index: range, amount: int) -> None:
        for k in index:
            shifts[k] = amount

    # ------------------------------------------------------------ the equations

    def _free(self) -> Array:
        return np.flatnonzero(~self.held)

    def _slope(self, i: int, shifted: bool) -> int:
        value = (self.slope_shift if shifted else self.slopes)[i][int(self.slot[i])]
        assert value is not None
        return int(value)

    def _equations(self, free: Array | None = None) -> Kkt:
        """The matrix, where these coordinates are free; the last one is kept, for a step tries what comes next."""
        chosen = self._free() if free is None else free
        if self.latest is None or not np.array_equal(self.latest[0], chosen):
            self.latest = chosen, Kkt(self.A, self.K, chosen)
        return self.latest[1]

    def _right(self, shifted: bool = False) -> tuple[Array, Array]:
        """p and c of the program (or of its shift)."""
        places = self.break_shift if shifted else self.breaks
        fixed = zeros(self.n)
        for i in np.flatnonzero(self.held).tolist():
            fixed[i] = places[i][self.slot[i]]
        used = np.flatnonzero(fixed != 0)
        p = zeros(self.q.size) if shifted else self.q
        if used.size:
            p = p - self.A.columns(used).apply(fixed[used])
        return p, objects([self._slope(i, shifted) for i in self._free().tolist()])

    @staticmethod
    def _solve(kkt: Kkt, *rights: tuple[Array, Array]) -> list[tuple[Rationals, Rationals]]:
        """y, and x on the free coordinates, for every (p, c)."""
        solved = zip(kkt.solve_all(rights), rights, strict=True)
        return [(y, kkt.expand(y, flat, c)) for (y, flat), (_, c) in solved]

    def follow(self, limit: int) -> Point:
        for step in range(limit):
            tick(f"exact pivoting, step {step + 1} of at most {limit}")
            kkt = self._equations()
            (y, x), (y1, x1) = self._solve(kkt, self._right(), self._right(shifted=True))
            violated = self._violated(y, x)
            if not violated:
                return self._finish(y, x)
            mu, i, side = max((self._critical(y1, x1, *each), *each[:2]) for each in violated)
            now = _Now(mu, y, y1, dict(zip(self._free().tolist(), self._mix(x, x1, mu), strict=True)))
            if self.held[i]:
                self._enter(kkt, i, side, now)
            else:
                self._leave(kkt, i, side, now)
        raise FaceError(f"no optimal face within {limit} exact pivots")

    def _violated(self, y: Rationals, x: Rationals) -> list[tuple[int, int, Fraction]]:
        """(i, side, f0): inequalities with f0 < 0 at mu = 0; side -1 for the lower end, 1 for the upper."""
        out = []
        for position, i in enumerate(self._free().tolist()):
            slot, places = int(self.slot[i]), self.breaks[i]
            if slot > 0 and x.nums[position] < places[slot - 1] * x.den:
                out.append((i, -1, x[position] - places[slot - 1]))
            if slot < len(places) and x.nums[position] > places[slot] * x.den:
                out.append((i, 1, places[slot] - x[position]))
        pull = Pull(self.A, y)
        index = np.flatnonzero(self.held).tolist()
        for side in (-1, 1):
            bounds = [self._end(i, side) for i in index]
            for i, bound, sign in zip(index, bounds, pull.compare(index, bounds, -side), strict=True):
                if sign < 0:
                    assert bound is not None
                    out.append((i, side, -side * (pull.exact(i) - bound)))
        return out

    def _end(self, i: int, side: int) -> int | None:
        """The lower (-1) or upper (1) end of the multipliers of a held coordinate."""
        slot = int(self.slot[i])
        slope = self.slopes[i][slot if side < 0 else slot + 1]
        return None if slope is None else slope + self.K[i] * self.breaks[i][slot]

    def _end_shift(self, i: int, side: int) -> int:
        slot = int(self.slot[i])
        return int(self.slope_shift[i][slot if side < 0 else slot + 1] + self.K[i] * self.break_shift[i][slot])

    def _critical(self, y1: Rationals, x1: Rationals, i: int, side: int, f0: Fraction) -> Fraction:
        """The mu at which f0 + mu f1 = 0."""
        if self.held[i]:
            column = self.A.ints[:, i]
            rate = Fraction(int((column * y1.nums).sum()), y1.den) - self._end_shift(i, side)
        else:
            slot = int(self.slot[i])
            place = self.break_shift[i][slot - 1 if side < 0 else slot]
            rate = x1[int(np.searchsorted(self._free(), i))] - place
        return f0 / (side * rate)

    @staticmethod
    def _mix(x: Rationals, x1: Rationals, mu: Fraction) -> list[Fraction]:
        return [a + mu * b for a, b in zip(x.fractions(), x1.fractions(), strict=True)]

    # ------------------------------------------------------------ the steps

    def _leave(self, kkt: Kkt, i: int, side: int, now: _Now) -> None:
        """Free i reaches the end `side` of its piece, and is held there."""
        place = int(self.slot[i]) - (side < 0)
        free = self._free()
        if self._equations(free[free != i]).determined:
            self.held[i], self.slot[i] = True, place
            return
        unit = zeros(free.size)
        unit[int(np.searchsorted(free, i))] = 1
        dy, _ = kkt.solve(zeros(self.q.size), unit)
        # its multiplier moves from the end it comes from to the other one
        ray = Rationals(dy.nums * side, dy.den)
        self.held[i], self.slot[i] = True, place
        _, j, end = self._dual_ratio(ray, now, i, side)
        if j is None:
            raise InfeasibleError(Rationals(ray.nums[: self.q.size], ray.den))
        self.held[j] = False
        self.slot[j] += end > 0

    def _dual_ratio(
        self, ray: Rationals, now: _Now, own: int, own_side: int
    ) -> tuple[Fraction | None, int | None, int]:
        """The first held coordinate whose multiplier meets an end of its interval along y + step * ray."""
        rates = self.A.T.apply(ray.nums)
        best: tuple[Fraction | None, int | None, int] = (None, None, 0)
        for j in np.flatnonzero(self.held).tolist():
            if not rates[j] or (j == own and (rates[j] > 0) != (own_side > 0)):
                continue
            side = 1 if rates[j] > 0 else -1
            bound = self._end(j, side)
            if bound is None:
                continue
            column = self.A.ints[:, j]
            value = now.pull(column)
            room = side * (bound + now.mu * self._end_shift(j, side) - value)
            step = room / Fraction(abs(rates[j]), ray.den)
            if best[0] is None or step < best[0]:
                best = step, j, side
        return best

    def _enter(self, kkt: Kkt, i: int, side: int, now: _Now) -> None:
        """The multiplier of held i reaches the end `side`, and i becomes free on the piece beyond."""
        place, free = int(self.slot[i]), self._free()
        piece = place + (side > 0)
        if self._equations(np.sort(np.append(free, i))).determined:
            self.held[i], self.slot[i] = False, piece
            return
        ((_, dx),) = self._solve(kkt, (-self.A.ints[:, i] * side, zeros(free.size)))
        own = self.breaks[i]
        room: tuple[Fraction | None, int | None, int] = (None, None, 0)
        ahead = place + side
        if 0 <= ahead < len(own):
            gap = own[ahead] - own[place] + now.mu * (self.break_shift[i][ahead] - self.break_shift[i][place])
            room = side * Fraction(gap), i, ahead
        for rate, j in zip(dx.nums.tolist(), free.tolist(), strict=True):
            if not rate:
                continue
            k = int(self.slot[j]) - (rate < 0)
            if 0 <= k < len(self.breaks[j]):
                end = self.breaks[j][k] + now.mu * self.break_shift[j][k]
                step = (end - now.x[j]) / Fraction(rate, dx.den)
                if room[0] is None or step < room[0]:
                    room = step, j, k
        _, j, k = room
        if j is None:
            raise FaceError("unbounded along an exact ray")
        if j == i:
            self.slot[i] = k
            return
        self.held[i], self.slot[i] = False, piece
        self.held[j], self.slot[j] = True, k

    def _finish(self, y: Rationals, x: Rationals) -> Point:
        """In the units of the caller's program."""
        nums = zeros(self.n)
        for i in np.flatnonzero(self.held).tolist():
            nums[i] = self.breaks[i][self.slot[i]] * x.den
        nums[self._free()] = x.nums
        up = 1 << self.finer
        return Point(Rationals(nums, x.den * up).reduced(), Rationals(y.nums, y.den * up).reduced(), None)


@dataclass(frozen=True)
class _Now:
    """The point at the critical mu."""

    mu: Fraction
    y: Rationals
    y1: Rationals
    x: dict[int, Fraction]

    def pull(self, column: Array) -> Fraction:
        """A_j.T y."""
        first = Fraction(int((column * self.y.nums).sum()), self.y.den)
        return first + self.mu * Fraction(int((column * self.y1.nums).sum()), self.y1.den)


__all__ = ["FREE", "HELD", "InfeasibleError", "Start", "pivot", "without_ceiling"]
