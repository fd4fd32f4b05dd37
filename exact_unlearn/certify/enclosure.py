"""Minimisers that are not rational, to any number of digits: Newton's method in fixed point.

Norms of groups, and the trust region of norm 2, have smooth but irrational optimality conditions on a face:

    K x + c + w_g v x / n_g(x) + kappa (x - theta) = A.T y   (free coordinates),     A x = q,
    sum of multipliers of the ceiling = its cost,            |x - theta| = rho,      n_g(x)^2 = sum v_j x_j^2

Residuals are evaluated over big integers, numbers of BITS binary digits; the Newton matrix is a float64 one of
the well-conditioned (whitened) rows, inverted once.  Every step then gains the digits that the float solution
had.  Neither the digits nor the face are trusted by anybody: the point is made feasible exactly, and the
checker computes what it proves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.dense import graded_inverse, range_basis, robust_inverse
from exact_unlearn.certify.exactlin import Rationals, objects, ratio, zeros
from exact_unlearn.certify.faces import BOTTOM, FREE, HELD, TOP, Face
from exact_unlearn.certify.fixedpoint import BITS, MARGIN, ONE, aim, fix, from_floats, largest, to_floats
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.pieces import Pieces, Scale, interval_at_zero
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

STEPS, HALVINGS = 100, 12
SLOW, RENEWALS = 28, 20
"""The float matrix is renewed, at most 20 times, after a step that gained fewer than 28 bits."""

ZERO = 4
"""where: a coordinate of a group whose norm is zero, held at 0."""


@dataclass(frozen=True)
class Group:
    """weight * (sum v_j x_j^2 + frozen)^(1/2) over the columns `index`; frozen in the squared units of X."""

    index: Array
    inner: list[Fraction]
    weight: Fraction
    frozen: Fraction


@dataclass(frozen=True)
class Smooth:
    """A piecewise linear-quadratic program plus norms of groups, in a ball around theta (radius in the units of
    X; None: no ball).

    drifting (n,): 1 for coordinates that the ball measures, 0 for auxiliary ones.  reach: the least radius of
    ball and box, or None.
    """

    pieces: Pieces
    groups: list[Group]
    radius: Fraction | None
    drifting: Array
    reach: Fraction | None


@dataclass(frozen=True)
class Guess:
    """A float solution: x (n,), or Fractions; y (r,) on whitened rows, t, kappa, and the face it suggests (ZERO for
    zero groups).  graded: some groups are smaller than others by more than floats have digits.
    """

    x: Array
    y: Array
    t: float
    kappa: float
    face: Face
    ball: bool
    graded: bool = False


@dataclass(frozen=True)
class Approximation:
    """x, y (per integer row), kappa and t to about BITS digits, as rationals in the units of the program; where
    (n,) and slot (n,).
    """

    x: Rationals
    y: Rationals
    kappa: Fraction
    t: Fraction
    face: Face


_Residual = tuple[Array, Array, int, int]
"""Stationarity on free coordinates, A x - q, stationarity of t, and the ball; fixed point."""


@dataclass(frozen=True)
class _Move:
    """A change of the unknowns, fixed point."""

    x: Array
    t: int
    y: Array
    kappa: int


class _Fixed:
    """The program in float units, as integers over 2^BITS."""

    def __init__(self, program: Smooth, scale: Scale) -> None:
        pieces = program.pieces
        self.x_scale, self.y_scale = scale.x, scale.y
        bend = scale.x / scale.y
        self.K = objects([fix(k * bend) for k in pieces.curvature])
        self.theta = objects([fix(t / scale.x) for t in pieces.theta])
        self.drifting = objects([int(v) for v in program.drifting])
        self.q = objects([fix(v / scale.x) for v in pieces.q])
        self.radius = None if program.radius is None else program.radius / scale.x
        ceiling = pieces.ceiling
        self.w_max = max(ceiling.weights, default=0) or 1 if ceiling is not None else 1
        self.weights = [] if ceiling is None else [Fraction(w, self.w_max) for w in ceiling.weights]
        self.cost = 0 if ceiling is None else fix(ceiling.cost * self.w_max / scale.y)
        self.floor = 0 if ceiling is None else fix(ceiling.floor / scale.x / self.w_max)


class Iteration:
    """Newton's method on one face."""

    snug = False

    def __init__(
        self,
        program: Smooth,
        whitened: Whitened,
        scale: Scale,
        guess: Guess,
        face: Face,
        ball: bool,
        start: Iteration | None,
    ) -> None:
        self.program, self.pieces, self.whitened = program, program.pieces, whitened
        self.f: _Fixed = _Fixed(program, scale) if start is None else start.f
        self.face, self.ball, self.graded = face, ball, guess.graded
        where = face.where
        self.free = np.flatnonzero(where == FREE)
        self.moving = np.flatnonzero((where == TOP) | (where == BOTTOM))
        self.t_free = self.pieces.ceiling is not None and face.held_t is None
        if start is None:
            self.x = objects([fix(v) for v in guess.x]) if guess.x.dtype == object else from_floats(guess.x)
            if scale.shifted:
                self.x = self.x + self.f.theta
            self.t, self.kappa = int(Fraction(guess.t) * ONE), int(Fraction(guess.kappa) * ONE)
            # multipliers of integer rows are kept with as many more bits as A has
            self.y_bits = BITS + self.pieces.A.bits + 16
            ints, unit = whitened.multipliers(guess.y)
            self.y = objects([math.floor(v * unit * (1 << self.y_bits)) for v in ints])
        else:
            self.x, self.t, self.kappa = start.x.copy(), start.t, start.kappa
            self.y_bits, self.y = start.y_bits, start.y.copy()
        if not ball:
            self.kappa = 0
        self._fix_held()
        self.groups = [g for g in program.groups if not (where[g.index] == ZERO).all() or g.frozen]
        self.slope = zeros(self.x.size)
        for i in [*self.free.tolist(), *self.moving.tolist()]:
            value = self.pieces.slopes[i][face.slot[i]]
            if value is None:
                raise FaceError("beyond a box")
            self.slope[i] = fix(value / self.f.y_scale)
        self.factor = zeros(self.x.size)
        for i in self.moving.tolist():
            self.factor[i] = (1 if where[i] == TOP else -1) * fix(1 / self.f.weights[i])

    def _fix_held(self) -> None:
        face, f = self.face, self.f
        for i in np.flatnonzero(face.where == HELD).tolist():
            self.x[i] = fix(self.pieces.breaks[i][face.slot[i]] / f.x_scale)
        self.x[face.where == ZERO] = 0
        if face.held_t is not None:
            self.t = fix(face.held_t / f.x_scale / f.w_max)

    # ------------------------------------------------------------ residuals

    def norms(self) -> list[int]:
        """n_g, fixed point."""
        out = []
        for g in self.groups:
            square = sum(
                v.numerator * a * a // v.denominator for v, a in zip(g.inner, self.x[g.index].tolist(), strict=True)
            )
            square += int(g.frozen / self.f.x_scale**2 * (ONE**2))
            out.append(math.isqrt(square))
        return out

    def gradient(self) -> Array:
        """K x + c + group terms + kappa (x - theta) - A.T y on all coordinates, fixed point."""
        f, x = self.f, self.x
        total = ((f.K * x) >> BITS) + self.slope
        if self.kappa:
            total = total + ((self.kappa * self._drift()) >> BITS)
        for g, n in zip(self.groups, self.norms(), strict=True):
            if n == 0:
                raise FaceError("a group vanishes that was not held at zero")
            weight = fix(g.weight / f.y_scale)
            inner = objects([v.numerator * weight // v.denominator for v in g.inner])
            total[g.index] += (inner * x[g.index]) // n
        return np.asarray(total - self.pull(), dtype=object)

    def _drift(self) -> Array:
        """x - theta on the coordinates that the ball measures, 0 elsewhere."""
        return np.asarray((self.x - self.f.theta) * self.f.drifting, dtype=object)

    def pull(self) -> Array:
        """A.T y, fixed point."""
        if not self.y.size:
            return zeros(self.x.size)
        return self.pieces.A.T.apply(self.y) >> (self.y_bits - BITS)

    def _place(self) -> None:
        """Coordinates at the ceiling follow t."""
        if self.moving.size:
            self.x[self.moving] = (self.factor[self.moving] * self.t) >> BITS

    def residual(self) -> _Residual:
        self._place()
        gradient = self.gradient()
        primal = (self.pieces.A.apply(self.x) if self.x.size else zeros(self.f.q.size)) - self.f.q
        moving = self.moving
        stationary = self.f.cost + int(((self.factor[moving] * gradient[moving]) >> BITS).sum()) if self.t_free else 0
        ball = 0
        if self.ball:
            assert self.f.radius is not None
            drift, target = self._drift(), aim(self.f.radius, self.snug)
            ball = (int((drift * drift).sum()) - target * target) >> (BITS + 1)
        return gradient[self.free], primal, stationary, ball

    # ------------------------------------------------------------ Newton

    def _matrix(self) -> tuple[Array, Array]:
        """The inverse Newton matrix in floats, and the basis of the whitened multipliers that the free columns
        determine.
        """
        f, free, moving = self.f, self.free, self.moving
        x = to_floats(self.x)
        W = self.whitened.W
        factor = to_floats(self.factor)
        kappa = ratio(self.kappa, ONE)
        columns = W[:, free]
        if self.t_free:
            columns = np.column_stack([columns, W[:, moving] @ factor[moving]])
        basis = range_basis(columns)
        k, r = free.size, basis.shape[1]
        size = k + self.t_free + r + self.ball
        M = np.zeros((size, size))
        M[:k, :k] = self._hessian(x, kappa)
        lead = k + self.t_free
        if self.t_free:
            M[k, k] = float(
                np.sum(factor[moving] ** 2 * (to_floats(f.K)[moving] + kappa * self.program.drifting[moving]))
            )
        M[:lead, lead : lead + r] = -(columns.T @ basis)
        M[lead : lead + r, :lead] = (columns.T @ basis).T
        if self.ball:
            drift = to_floats(self._drift())
            M[:k, -1] = M[-1, :k] = drift[free]
            if self.t_free:
                M[k, -1] = M[-1, k] = float(factor[moving] @ drift[moving])
        if self.graded and lead == k and not self.ball:
            return graded_inverse(M[:k, :k], M[k:, :k]), basis
        return robust_inverse(M), basis

    def _hessian(self, x: Array, kappa: float) -> Array:
        f, free = self.f, self.free
        H = np.diag(to_floats(f.K)[free] + kappa * self.program.drifting[free])
        position = np.full(x.size, -1)
        position[free] = np.arange(free.size)
        for g, n in zip(self.groups, self.norms(), strict=True):
            length = ratio(n, ONE)
            if length == 0:
                raise FaceError("a group vanishes that was not held at zero")
            at = position[g.index]
            own = at >= 0
            inner = np.array([float(v) for v in g.inner])[own]
            weight = float(g.weight / f.y_scale) / length
            u = inner * x[g.index][own] / length
            H[np.ix_(at[own], at[own])] += weight * (np.diag(inner) - np.outer(u, u))
        return H

    def converge(self) -> None:
        """Until the residuals are rounding: damped Newton steps with a matrix that is renewed while they gain little.

        FaceError if no step shrinks the residuals any more before that.
        """
        inverse, basis = self._matrix()
        found, fresh, renewed = self.residual(), True, 0
        for _ in range(STEPS):
            tick()
            size = self._size(found)
            if size.bit_length() <= MARGIN // 2:
                return
            step = self._step(inverse, basis, found)
            new = self._descend(step, size)
            gained = size.bit_length() - self._size(new).bit_length() if new is not None else 0
            if new is None and (fresh or renewed == RENEWALS):
                raise FaceError(f"Newton's method stops {BITS - size.bit_length()} bits after the point")
            found, fresh = new or found, False
            if gained < SLOW and renewed < RENEWALS:
                inverse, basis = self._matrix()  # at a better point, so that every further step gains more
                fresh, renewed = True, renewed + 1
        raise FaceError("Newton's method does not converge")

    def _size(self, found: _Residual) -> int:
        """The largest residual; those of A x - q are divided by the size of A."""
        dual, primal, stationary, ball = found
        return max(largest(dual), largest(primal) >> self.pieces.A.bits, abs(stationary), abs(ball))

    def _descend(self, step: _Move, size: int) -> _Residual | None:
        """Take the step, or half of it, and so on, until the residuals shrink; None (and no move) if they do not."""
        x, t, y, kappa = self.x.copy(), self.t, self.y, self.kappa
        for halvings in range(HALVINGS):
            self.x[self.free] = x[self.free] + (step.x >> halvings)
            self.t, self.y, self.kappa = (
                t + (step.t >> halvings),
                y + (step.y >> halvings),
                kappa + (step.kappa >> halvings),
            )
            with suppress(FaceError):  # a norm that vanishes on the way
                found = self.residual()
                if self._size(found) < size:
                    return found
        self.x, self.t, self.y, self.kappa = x, t, y, kappa
        return None

    def _step(self, inverse: Array, basis: Array, found: _Residual) -> _Move:
        """One chord step.  Residuals are read in units of their largest, so that floats can hold them."""
        dual, primal, stationary, ball = found
        shift = self._size(found).bit_length()
        parts = [to_floats(dual, shift)]
        if self.t_free:
            parts.append(np.array([ratio(stationary, 1 << shift)]))
        parts.append(basis.T @ self.whitened.right(primal.tolist(), Fraction(1, 1 << shift)))
        if self.ball:
            parts.append(np.array([ratio(ball, 1 << shift)]))
        step = -(inverse @ np.concatenate(parts))
        k, r = self.free.size, basis.shape[1]
        nu = basis @ step[k + self.t_free : k + self.t_free + r]
        ints, y_unit = self.whitened.multipliers(nu)
        grow = y_unit * Fraction(2) ** (shift + self.y_bits - BITS)
        return _Move(
            x=from_floats(step[:k], shift),
            t=int(from_floats(step[k : k + 1], shift)[0]) if self.t_free else 0,
            y=objects([math.floor(v * grow) for v in ints]),
            kappa=int(from_floats(step[-1:], shift)[0]) if self.ball else 0,
        )

    # ------------------------------------------------------------ inequalities

    def next_face(self) -> tuple[Face, bool, bool]:
        """The face to try next, and whether it differs."""
        face = self.face.copy()
        ball = self.ball
        tiny = 1 << (BITS // 2)
        gradient = self.gradient()
        for i in range(self.x.size):
            self._judge(face, i, gradient[i], tiny)
        self._judge_groups(face, gradient, tiny)
        if self.t_free and self.t < self.f.floor - tiny:
            assert self.pieces.ceiling is not None
            face.held_t = self.pieces.ceiling.floor
        if ball and self.kappa < -tiny:
            ball = False
        elif not ball and self.f.radius is not None:
            drift = self._drift()
            ball = int((drift * drift).sum()) > (fix(self.f.radius) + tiny) ** 2
        return face, ball, ball != self.ball or face.key() != self.face.key()

    def released(self) -> Face | None:
        """Where the free columns cannot meet the constraints: the face with one more coordinate free, the one that
        helps most; None if that is not what is wrong.
        """
        _, primal, _, _ = self.residual()
        shift = largest(primal).bit_length()
        if shift - self.pieces.A.bits <= MARGIN:
            return None
        missing = self.whitened.right(primal.tolist(), Fraction(1, 1 << shift))
        basis = range_basis(self.whitened.W[:, self.free])
        missing = missing - basis @ (basis.T @ missing)
        gain = self.whitened.W.T @ missing
        gain[self.face.where != HELD] = 0.0
        if not gain.any():
            return None
        i = int(np.argmax(np.abs(gain)))
        piece = int(self.face.slot[i]) + (gain[i] < 0)
        if self.pieces.slopes[i][piece] is None:
            return None
        face = self.face.copy()
        face.where[i], face.slot[i] = FREE, piece
        return face

    def _judge(self, face: Face, i: int, gradient: int, tiny: int) -> None:
        """One coordinate: on its piece, its multiplier within its interval, below the ceiling."""
        f, where, slot = self.f, int(self.face.where[i]), int(self.face.slot[i])
        places, slopes = self.pieces.breaks[i], self.pieces.slopes[i]
        if where == ZERO:
            return
        if where == HELD:
            rest = -gradient * f.y_scale
            low, high = slopes[slot], slopes[slot + 1]
            room = tiny * f.y_scale
            if low is not None and rest < (low << BITS) - room:
                face.where[i] = FREE
            elif high is not None and rest > (high << BITS) + room:
                face.where[i], face.slot[i] = FREE, slot + 1
            return
        value, room = self.x[i] * f.x_scale, tiny * f.x_scale
        if slot > 0 and value < (places[slot - 1] << BITS) - room:
            face.where[i], face.slot[i] = HELD, slot - 1
        elif slot < len(places) and value > (places[slot] << BITS) + room:
            face.where[i] = HELD
        elif where == FREE and f.weights and f.weights[i] and abs(self.x[i]) * f.weights[i] > self.t + tiny:
            face.where[i] = TOP if self.x[i] > 0 else BOTTOM
        elif where in (TOP, BOTTOM) and (gradient if where == TOP else -gradient) > tiny:
            face.where[i] = FREE

    def _judge_groups(self, face: Face, gradient: Array, tiny: int) -> None:
        """A zero group stays zero while the part of its multipliers that its norm must carry is no longer than w_g."""
        for g, carried in self.zero_groups(gradient):
            square = sum(a * a * v.denominator // v.numerator for a, v in zip(carried, g.inner, strict=True))
            weight = fix(g.weight / self.f.y_scale)
            if square > (weight + tiny) ** 2:
                for i, amount in zip(g.index.tolist(), carried, strict=True):
                    face.where[i] = FREE
                    self.x[i] = amount >> 20  # a first step off zero
                    face.slot[i] = sum(b << BITS < self.x[i] * self.f.x_scale for b in self.pieces.breaks[i])

    def zero_groups(self, gradient: Array) -> Iterator[tuple[Group, list[int]]]:
        """The groups held at zero, and what their norms must carry."""
        for g in self.program.groups:
            if (self.face.where[g.index] == ZERO).all():
                yield g, [self._carried(int(i), gradient) for i in g.index]

    def _carried(self, i: int, gradient: Array) -> int:
        """-(gradient) less what the kinks of a coordinate at 0 can carry."""
        low, high = interval_at_zero(self.pieces, i)
        rest = -gradient[i]
        if high is not None and rest > fix(high / self.f.y_scale):
            return int(rest - fix(high / self.f.y_scale))
        if low is not None and rest < fix(low / self.f.y_scale):
            return int(rest - fix(low / self.f.y_scale))
        return 0

    def result(self) -> Approximation:
        """As rationals; what is held at a breakpoint is exactly there."""
        f = self.f
        x = _times(Rationals(objects([int(v) for v in self.x]), ONE), f.x_scale)
        for i in np.flatnonzero(self.face.where == HELD).tolist():
            x.nums[i] = self.pieces.breaks[i][self.face.slot[i]] * x.den
        return Approximation(
            x=x,
            y=_times(Rationals(self.y, 1 << self.y_bits), f.y_scale),
            kappa=Fraction(self.kappa, ONE) * f.y_scale / f.x_scale,
            t=Fraction(self.t, ONE) * f.x_scale * f.w_max,
            face=self.face,
        )


def _times(x: Rationals, unit: Fraction) -> Rationals:
    return Rationals(x.nums * unit.numerator, x.den * unit.denominator)
