"""The exact solution of the optimality conditions on one face of a piecewise linear-quadratic program.

A face says of every coordinate whether it is free on one piece, held at a breakpoint, or held at the ceiling
+-t/w.  What remains is linear:

    K x + c = A_F.T y,    A_F x_F + a s = p,    a.T y = c_s + kappa s        (s: the ceiling in units of lcm(w))

where a = sum of +-(L/w_i) A_i over the coordinates at the ceiling.  Solutions need not be unique: then a nonsingular
principal part is solved exactly, and the other unknowns keep the float values of the interior point, which are
exact rationals too.  (Finite termination of interior-point methods: Ye, Math. Program. 57, 1992.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import Rationals, objects, zeros
from exact_unlearn.certify.kkt import MAX_BITS, FaceError, Kkt, TooManyDigitsError
from exact_unlearn.certify.pieces import Pieces
from exact_unlearn.jacobian import Array

FREE, HELD, TOP, BOTTOM = 0, 1, 2, 3


@dataclass
class Face:
    """where (n,): FREE, HELD, TOP or BOTTOM.  slot (n,): the piece of a coordinate, or its breakpoint while HELD.

    held_t: the value of t where it is known in advance (the floor, or a breakpoint that meets the ceiling), else None.
    owners: HELD coordinates that also touch the ceiling.
    """

    where: Array
    slot: Array
    held_t: int | None = None
    owners: list[int] = field(default_factory=list)

    def key(self) -> tuple[object, ...]:
        return self.where.tobytes(), self.slot.tobytes(), self.held_t

    def copy(self) -> Face:
        return Face(self.where.copy(), self.slot.copy(), self.held_t, list(self.owners))


@dataclass(frozen=True)
class Guess:
    """Float values that unknowns keep where the equations leave them undetermined, as integers over 2^bits.

    x: (n,), y: (r,).
    """

    x: Array
    y: Array
    bits: int


@dataclass(frozen=True)
class Point:
    """x (n,), y (r,), and the ceiling t (None without one)."""

    x: Rationals
    y: Rationals
    t: Fraction | None


def solve_face(program: Pieces, face: Face, guess: Guess) -> Point:
    """Solve the conditions above.  FaceError if they contradict each other, TooManyDigitsError if they are too long."""
    system = _System(program, face, guess)
    return system.assemble(*system.solve())


class _System:
    def __init__(self, program: Pieces, face: Face, guess: Guess) -> None:
        self.program, self.face = program, face
        where = face.where
        self.free = np.flatnonzero(where == FREE)
        self.moving = np.flatnonzero(where >= TOP)
        ceiling = program.ceiling
        self.lcm = math.lcm(1, *(ceiling.weights[i] for i in self.moving)) if ceiling is not None else 1
        self.factor = {
            int(i): (1 if where[i] == TOP else -1) * (self.lcm // ceiling.weights[i])
            for i in self.moving
            if ceiling is not None
        }
        self.has_s = ceiling is not None and face.held_t is None
        if self.has_s and not self.moving.size:
            raise FaceError("a ceiling that nothing touches")
        if self.lcm.bit_length() > MAX_BITS:
            raise TooManyDigitsError(f"weights with {self.lcm.bit_length()} bits in common")
        self.kkt = Kkt(program.A, program.curvature, self.free, (guess.x, guess.y, guess.bits))

    def slope(self, i: int) -> int:
        value = self.program.slopes[i][int(self.face.slot[i])]
        if value is None:
            raise FaceError("beyond a box")
        return value

    # ------------------------------------------------------------ right sides

    def _right(self) -> tuple[Array, int]:
        """p = q - (held columns) - (moving columns, where t is known), as integers over one denominator."""
        program, face = self.program, self.face
        den = 1 if self.has_s else self.lcm
        fixed = zeros(program.size)
        for i in np.flatnonzero(face.where == HELD).tolist():
            fixed[i] = program.breaks[i][face.slot[i]] * den
        if face.held_t is not None:
            for i, f in self.factor.items():
                fixed[i] = f * face.held_t
        used = np.flatnonzero(fixed != 0)
        total = objects(program.q) * den
        if used.size:
            total = total - program.A.columns(used).apply(fixed[used])
        return total, den

    def _ceiling_column(self) -> tuple[Array, int, int]:
        """a, c_s and kappa of the unknown s = t / lcm."""
        program = self.program
        assert program.ceiling is not None
        index = list(self.factor)
        factors = objects([self.factor[i] for i in index])
        a = program.A.columns(index).apply(factors)
        c = self.lcm * program.ceiling.cost + sum(self.factor[i] * self.slope(i) for i in index)
        kappa = sum(self.factor[i] ** 2 * program.curvature[i] for i in index)
        return a, c, kappa

    # ------------------------------------------------------------ the linear system

    def solve(self) -> tuple[Rationals, Rationals, Fraction | None]:
        """y, the flat free coordinates, and s."""
        p, den = self._right()
        slopes = objects([self.slope(i) for i in self.free.tolist()])
        if not self.has_s:
            return *self.kkt.solve(p, slopes * den, den), None
        return self._with_ceiling(p, den, slopes)

    def _with_ceiling(self, p: Array, den: int, slopes: Array) -> tuple[Rationals, Rationals, Fraction]:
        """Eliminate s last: its column may have far more digits than all others (lcm of many weights)."""
        a, c, kappa = self._ceiling_column()
        spare = self.kkt.core.spare_row(a)
        core = self.kkt.core if spare is None else self.kkt.core.with_unit(spare)
        tail = [] if spare is None else [0]
        zero, nothing = zeros(slopes.size), zeros(p.size)
        y0, x0 = self.kkt.solve(p, objects([*(slopes * den), *tail]), den, core)
        y2, x2 = self.kkt.solve(a, objects([*zero, *tail]), 1, core, homogeneous=True)
        if spare is None:
            # a.(y0 - s y2) = c + kappa s
            stiffness = _dot(a, y2) + kappa
            if stiffness == 0:
                raise FaceError("the ceiling is not determined on this face")
            s = (_dot(a, y0) - c) / stiffness
            return _combine(y0, (-s, y2)), _combine(x0, (-s, x2)), s
        y1, x1 = self.kkt.solve(nothing, objects([*zero, 1]), 1, core, homogeneous=True)
        # the last x is the weight of the unit column, which must vanish: u0 + v u1 - s u2 = 0; and a.y = c + kappa s
        u0, u1, u2 = x0[len(x0) - 1], x1[len(x1) - 1], x2[len(x2) - 1]
        g0, g1, g2 = _dot(a, y0) - c, _dot(a, y1), _dot(a, y2) + kappa
        determinant = -u1 * g2 + u2 * g1
        if determinant == 0:
            raise FaceError("the ceiling is not determined on this face")
        v = (u0 * g2 - u2 * g0) / determinant
        s = (u0 * g1 - u1 * g0) / determinant
        y = _combine(y0, (v, y1), (-s, y2))
        x = _combine(x0, (v, x1), (-s, x2))
        return y, Rationals(x.nums[:-1], x.den), s

    # ------------------------------------------------------------ the point

    def assemble(self, y: Rationals, flat_x: Rationals, s: Fraction | None) -> Point:
        """All coordinates over one denominator."""
        program, face = self.program, self.face
        t: Fraction | None = None
        unit = Fraction(0)
        if program.ceiling is not None:
            t = Fraction(face.held_t or 0) if s is None else s * self.lcm
            unit = t / self.lcm
        free_x = self.kkt.expand(y, flat_x, objects([self.slope(i) for i in self.free.tolist()]))
        den = math.lcm(free_x.den, unit.denominator)
        nums = zeros(program.size)
        for i in np.flatnonzero(face.where == HELD).tolist():
            nums[i] = program.breaks[i][face.slot[i]] * den
        level = unit.numerator * (den // unit.denominator)
        for i, f in self.factor.items():
            nums[i] = f * level
        if self.free.size:
            nums[self.free] = free_x.nums * (den // free_x.den)
        return Point(Rationals(nums, den).reduced(), y, t)


def _dot(a: Array, v: Rationals) -> Fraction:
    return Fraction(int((a * v.nums).sum()) if a.size else 0, v.den)


def _combine(first: Rationals, *terms: tuple[Fraction, Rationals]) -> Rationals:
    """first + sum of factor * vector."""
    den = math.lcm(first.den, *(f.denominator * v.den for f, v in terms))
    nums = first.nums * (den // first.den)
    for f, v in terms:
        nums = nums + v.nums * (f.numerator * (den // (f.denominator * v.den)))
    return Rationals(nums, den).reduced()
