"""Enclosures without big rationals: points and multipliers of some 350 bits, and a feasible point that exists nearby.

The optimality conditions on a face have the unknowns nu (m), and one for each flat coordinate, norm, ceiling and ball;
everything else is a function of z = J^T nu, coordinate by coordinate:

    x_j = (z_j - slope_j + Lambda theta*_j) / (beta_j + Lambda + w_g v_j / n_g),      J x = q,     Lambda = lam + kappa
    z_j = slope_j (flat),   sum v_j x_j^2 = n_g^2,   sum of multipliers of the ceiling = its cost,   |x - theta*| = rho

They are solved by Newton's method with a float matrix, inverted once, and residuals in integers over 2^BITS, whose
products with J are those of `slices`.  What comes out is trusted by nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.slices import Slices
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

BITS = 352
ONE = 1 << BITS

FREE, ZERO, START, LOW, HIGH, TOP, BOTTOM, NULL = range(8)
"""Where a coordinate is: free, held at 0, at theta*, at the ends of its box, at the ceiling t/w or -t/w; in a group of
norm 0."""

STEPS, FACES, RENEWALS = 60, 16, 6
FINE = 40
"""Residuals are brought below 2^(FINE - BITS)."""

TINY = 80
"""An inequality that fails by less than 2^(TINY - BITS) holds."""

MARGIN = 64
"""A ball is aimed at so many bits above the last inside its sphere."""


@dataclass(frozen=True, eq=False)
class Program:
    """The objective on n free coordinates in units in which typical numbers are near 1; integers are over 2^BITS.

    J (m, n): rows in units of their own.  q (m,), theta, alpha, beta (n,): integers.  lam, mu, box, rho: integers, box
    and rho None where there is none.  group (n,): the norm of each coordinate, or -1; v (n,): inner weights; w, frozen:
    per norm, frozen in squared units over 2^(2 BITS).  ceiling (n,): weights, or None; cost, floor.
    """

    J: Array
    slices: Slices
    q: list[int]
    theta: list[int]
    alpha: list[int]
    beta: list[int]
    lam: int
    mu: int
    box: int | None
    rho: int | None
    group: Array
    v: list[int]
    w: list[int]
    frozen: list[int]
    ceiling: list[int] | None
    cost: int
    floor: int

    @property
    def n(self) -> int:
        return len(self.theta)


@dataclass
class Point:
    """A face, and the unknowns on it.

    where (n,): see above; side, drifts (n,): signs of x and of x - theta*, which say what slope a kink has.  x (n,),
    nu (m,), norms (G,), t, kappa: integers.  ball: whether the sphere is touched; held_t: whether t is the floor.
    """

    where: Array
    side: Array
    drifts: Array
    x: list[int]
    nu: list[int]
    norms: list[int]
    t: int
    kappa: int
    ball: bool
    held_t: bool = False

    def key(self) -> tuple[Any, ...]:
        return self.where.tobytes(), self.side.tobytes(), self.drifts.tobytes(), self.ball, self.held_t


def fixed(values: Array, exponent: int = 0) -> list[int]:
    """values / 2^exponent over 2^BITS, rounded down."""
    if values.dtype == object:
        unit = Fraction(2) ** (BITS - exponent)
        return [math.floor(Fraction(v) * unit) for v in values.tolist()]
    mantissa, exponents = np.frexp(values.astype(np.float64))
    whole = np.ldexp(mantissa, 53).astype(np.int64).tolist()
    shifts = (exponents + (BITS - exponent - 53)).tolist()
    return [a << s if s >= 0 else a >> -s for a, s in zip(whole, shifts, strict=True)]


def floats(values: list[int], bits: int = BITS) -> Array:
    """Integers over 2^bits as floats."""
    shift = max(max(map(int.bit_length, values), default=0) - 900, 0)
    return np.asarray(np.ldexp(np.array([float(v >> shift) for v in values]), shift - bits))


def solve(program: Program, start: Point) -> Point:
    """The optimum on the face that fits, from a float point.  FaceError where none is found."""
    point, seen = start, set()
    for _ in range(FACES):
        tick()
        if point.key() in seen:
            break
        seen.add(point.key())
        newton = _Newton(program, point)
        newton.converge()
        point, changed = newton.next_face()
        if not changed:
            return point
    raise FaceError("the float solution does not identify an optimal face")


class _Newton:
    """Newton's method on one face."""

    def __init__(self, program: Program, point: Point) -> None:
        self.f, self.p = program, point
        n, where = program.n, point.where
        self.free = np.flatnonzero(where == FREE)
        self.moving = np.flatnonzero(where >= TOP)
        self.moving = self.moving[where[self.moving] != NULL]
        self.t_free = program.ceiling is not None and not point.held_t
        grouped = program.group[self.free] >= 0
        beta = np.array([b != 0 for b in program.beta], dtype=bool)[self.free]
        bent = grouped | beta | bool(program.lam) | point.ball
        self.curved, self.flat = self.free[bent], self.free[~bent]
        live = np.zeros(len(program.w), dtype=bool)
        live[program.group[(program.group >= 0) & (where != NULL)]] = True
        self.live = np.flatnonzero(live)
        if self.flat.size > program.J.shape[0]:
            raise FaceError("more coordinates are free than the rows determine")
        self.members = [np.flatnonzero(program.group == g).tolist() for g in self.live]
        self.slope = [0] * n
        for j in [*self.free.tolist(), *self.moving.tolist()]:
            self.slope[j] = int(point.side[j]) * program.alpha[j] + int(point.drifts[j]) * program.mu
        self.sign = np.where(where == TOP, 1, -1)
        self._hold()
        self.x, self.z = list(point.x), program.slices.pull(point.nu, BITS, BITS)
        self._place()
        self.Jx = program.slices.apply(self.x, BITS, BITS)

    def _hold(self) -> None:
        """Held coordinates are at their places; free ones that only z decides follow in `_place`."""
        f, p = self.f, self.p
        for j, where in enumerate(p.where.tolist()):
            if where in (ZERO, NULL):
                p.x[j] = 0
            elif where == START:
                p.x[j] = f.theta[j]
            elif where in (LOW, HIGH):
                p.x[j] = f.theta[j] + (f.box or 0) * (1 if where == HIGH else -1)
        if p.held_t:
            p.t = f.floor

    def _place(self) -> None:
        """x of z, and of the other unknowns."""
        f, p, x, z = self.f, self.p, self.x, self.z
        curve = f.lam + p.kappa
        norms = dict(zip(self.live.tolist(), (p.norms[g] for g in self.live), strict=True))
        group = f.group.tolist()
        for j in self.curved.tolist():
            u, bend = z[j] - self.slope[j], f.beta[j] + curve
            if curve:
                u += (curve * f.theta[j]) >> BITS
            if group[j] >= 0:
                bend += f.w[group[j]] * f.v[j] // norms[group[j]]
            x[j] = (u << BITS) // bend
        for j in self.moving.tolist():
            assert f.ceiling is not None
            x[j] = int(self.sign[j]) * ((p.t << BITS) // f.ceiling[j])

    # ------------------------------------------------------------ residuals

    def _pressure(self, j: int) -> int:
        """z_j less the slope of everything smooth."""
        f, p = self.f, self.p
        curve = f.lam + p.kappa
        return self.z[j] - self.slope[j] - ((f.beta[j] * self.x[j] + curve * (self.x[j] - f.theta[j])) >> BITS)

    def residual(self) -> list[int]:
        """All conditions, in the order of the unknowns."""
        f, p, x = self.f, self.p, self.x
        out = [a - b for a, b in zip(self.Jx, f.q, strict=True)]
        out += [self.z[j] - self.slope[j] for j in self.flat.tolist()]
        for g, members in zip(self.live.tolist(), self.members, strict=True):
            square = sum(f.v[j] * ((x[j] * x[j]) >> BITS) for j in members) + f.frozen[g]
            out.append((square // p.norms[g] - p.norms[g]) >> 1)
        if self.t_free:
            assert f.ceiling is not None
            force = [int(self.sign[j]) * ((self._pressure(j) << BITS) // f.ceiling[j]) for j in self.moving.tolist()]
            out.append(sum(force) - f.cost)
        if p.ball:
            assert f.rho is not None
            aim = f.rho - (f.rho >> (BITS - MARGIN))
            square = sum((a - b) ** 2 for a, b in zip(x, f.theta, strict=True))
            out.append((square - aim * aim) >> (BITS + 1))
        return out

    def matrix(self) -> Array:
        """The inverse of the derivative of `residual`, in floats."""
        f, p = self.f, self.p
        J, x, m = f.J, floats(self.x), f.J.shape[0]
        curve = math.ldexp(float((f.lam + p.kappa) >> (BITS - 100)), -100)
        D, group = x - floats(f.theta), f.group[self.curved]
        norms = floats(p.norms) if p.norms else np.zeros(0)
        own = self.curved
        beta, v = floats([f.beta[j] for j in own.tolist()]), floats([f.v[j] for j in own.tolist()])
        bend = beta + curve
        inside = group >= 0
        w = floats(f.w)[group[inside]] if inside.any() else np.zeros(0)
        bend[inside] += w * v[inside] / norms[group[inside]]
        h = 1 / bend
        JC = J[:, own]
        more = [J[:, self.flat]]
        by_norm = np.zeros((own.size, self.live.size))
        if self.live.size:
            position = np.full(len(f.w), -1)
            position[self.live] = np.arange(self.live.size)
            at = np.flatnonzero(inside)
            by_norm[at, position[group[inside]]] = (x[own] * h)[inside] * w * v[inside] / norms[group[inside]] ** 2
            more.append(JC @ by_norm)
        size = m + self.flat.size + self.live.size + self.t_free + p.ball
        M = np.zeros((size, size))
        M[:m, :m] = (JC * h) @ JC.T
        lead = m + self.flat.size
        M[m:lead, :m] = J[:, self.flat].T
        if self.live.size:
            part = by_norm * 0.0
            part[at, position[group[inside]]] = (v * x[own])[inside] / norms[group[inside]]
            end = lead + self.live.size
            M[lead:end, :m] = (JC @ (part * h[:, None])).T
            M[lead:end, lead:end] = np.diag(np.sum(part * by_norm, axis=0) - 1.0)
        last = lead + self.live.size
        by_kappa = -D[own] * h
        if self.t_free:
            assert f.ceiling is not None
            share = self.sign[self.moving] / floats([f.ceiling[j] for j in self.moving.tolist()])
            a = J[:, self.moving] @ share
            more.append(a[:, None])
            M[last, :m] = a
            bends = floats([f.beta[j] for j in self.moving.tolist()]) + curve
            M[last, last] = -float(np.sum(bends * share**2))
        if p.ball:
            more.append((JC @ by_kappa)[:, None])
            M[-1, :m] = JC @ (D[own] * h)
            M[-1, -1] = float(D[own] @ by_kappa)
            if self.live.size:
                M[-1, lead:last] = D[own] @ by_norm
                M[lead:last, -1] = part.T @ by_kappa
            if self.t_free:
                M[-1, last] = float(share @ D[self.moving])
                M[last, -1] = -float(share @ D[self.moving])
        M[:m, m:] = np.column_stack(more)
        if not np.isfinite(M).all():
            raise FaceError("the derivative is beyond the range of floats")
        return np.asarray(np.linalg.inv(M))

    def converge(self) -> None:
        """Until the residuals are rounding."""
        inverse, renewed = self.matrix(), 0
        found = self.residual()
        size = max(map(abs, found), default=0)
        for _ in range(STEPS):
            tick()
            if size.bit_length() <= FINE:
                return
            shift = size.bit_length() - 60
            step = -(inverse @ np.array([float(v >> shift if shift > 0 else v << -shift) for v in found]))
            self._move(step, shift)
            found, before = self.residual(), size
            size = max(map(abs, found), default=0)
            gained = before.bit_length() - size.bit_length()
            if gained < 24 and size.bit_length() > FINE:
                if renewed == RENEWALS:
                    raise FaceError("Newton's method gains too little")
                inverse, renewed = self.matrix(), renewed + 1
        raise FaceError("Newton's method does not converge")

    def _move(self, step: Array, shift: int) -> None:
        """Add a step, in units of 2^(shift - BITS)."""
        f, p = self.f, self.p
        if not np.isfinite(step).all():
            raise FaceError("a step of Newton's method is beyond the range of floats")
        peak = int(np.frexp(np.max(np.abs(step), initial=0.0))[1])
        digits = 50 - peak  # of the step, below its unit
        whole = [int(v) for v in np.rint(np.ldexp(step, digits)).tolist()]
        up = shift - digits
        if up < 0:
            whole, up = [v >> -up for v in whole], 0
        m = len(f.q)
        dnu = whole[:m]
        p.nu = [a + (b << up) for a, b in zip(p.nu, dnu, strict=True)]
        dz = f.slices.pull(dnu, -up, 0)
        self.z = [a + b for a, b in zip(self.z, dz, strict=True)]
        before, at = list(self.x), m
        for j in self.flat.tolist():
            self.x[j] += whole[at] << up
            at += 1
        for g in self.live.tolist():
            p.norms[g] += whole[at] << up
            at += 1
            if p.norms[g] <= 0:
                raise FaceError("a norm vanishes that was not 0")
        if self.t_free:
            p.t += whole[at] << up
        if p.ball:
            p.kappa += whole[-1] << up
        self._place()
        moved = f.slices.apply([a - b for a, b in zip(self.x, before, strict=True)], BITS, BITS)
        self.Jx = [a + b for a, b in zip(self.Jx, moved, strict=True)]

    # ------------------------------------------------------------ inequalities

    def next_face(self) -> tuple[Point, bool]:
        """The point, and on which face to go on where an inequality fails."""
        f, p = self.f, self.p
        tiny = 1 << TINY
        p.x = list(self.x)
        new = Point(p.where.copy(), p.side.copy(), p.drifts.copy(), p.x, p.nu, p.norms, p.t, p.kappa, p.ball, p.held_t)
        for j, where in enumerate(p.where.tolist()):
            if where in (ZERO, START, LOW, HIGH):
                self._held(new, j, where, tiny)
            elif where == FREE:
                self._moved(new, j, tiny)
            elif where in (TOP, BOTTOM) and int(self.sign[j]) * self._pressure(j) < -tiny:
                new.where[j] = FREE
        self._null(tiny)
        if self.t_free and p.t < f.floor - tiny:
            new.held_t = True
        if p.ball and p.kappa < -tiny:
            new.ball, new.kappa = False, 0
        elif not p.ball and f.rho is not None:
            square = sum((a - b) ** 2 for a, b in zip(p.x, f.theta, strict=True))
            if square > f.rho**2:
                raise FaceError("the sphere is touched, which floats do not see")
        return new, new.key() != p.key()

    def _held(self, new: Point, j: int, where: int, tiny: int) -> None:
        """Released where its multiplier leaves its interval."""
        f, side, drifts = self.f, [-1, 1], [-1, 1]
        x, theta = self.x[j], f.theta[j]
        if f.ceiling is not None and f.ceiling[j] * abs(x) >> BITS > self.p.t + tiny:
            raise FaceError("a coordinate that is held exceeds the ceiling")
        if f.group[j] >= 0:
            n = self.p.norms[f.group[j]]
            smooth = (f.w[f.group[j]] * f.v[j] // n * x) >> BITS
        else:
            smooth = 0
        if x != 0 and where != ZERO:
            side = [1 if x > 0 else -1] * 2
        if where == ZERO and theta != 0:
            drifts = [-1 if theta > 0 else 1] * 2
        elif where in (LOW, HIGH):
            drifts = [1 if where == HIGH else -1] * 2
        rest = self._pressure(j) - smooth
        low, high = (side[k] * f.alpha[j] + drifts[k] * f.mu for k in (0, 1))
        if rest > high + tiny and where != HIGH:
            new.where[j], new.side[j], new.drifts[j] = FREE, side[1], drifts[1]
        elif rest < low - tiny and where != LOW:
            new.where[j], new.side[j], new.drifts[j] = FREE, side[0], drifts[0]

    def _moved(self, new: Point, j: int, tiny: int) -> None:
        """Held where it leaves its piece."""
        f, x = self.f, self.x[j]
        D = x - f.theta[j]
        if f.box is not None and abs(D) > f.box + tiny:
            new.where[j] = HIGH if D > 0 else LOW
        elif f.alpha[j] and int(self.p.side[j]) * x < -tiny:
            new.where[j] = ZERO
        elif f.mu and int(self.p.drifts[j]) * D < -tiny:
            new.where[j] = START
        elif f.ceiling is not None and f.ceiling[j] * abs(x) >> BITS > self.p.t + tiny:
            new.where[j] = TOP if x > 0 else BOTTOM

    def carried(self, j: int) -> int:
        """Of a coordinate in a group of norm 0: z less what the drift pulls and its kink carries."""
        f = self.f
        rest = self.z[j] + (((f.lam + self.p.kappa) * f.theta[j]) >> BITS)
        if f.mu and f.theta[j]:
            return rest + (f.mu if f.theta[j] > 0 else -f.mu)
        return max(abs(rest) - f.mu, 0) * (1 if rest > 0 else -1)

    def _null(self, tiny: int) -> None:
        f = self.f
        for g in range(len(f.w)):
            members = np.flatnonzero(f.group == g)
            if members.size and (self.p.where[members] == NULL).all():
                square = sum((self.carried(j) ** 2 << BITS) // f.v[j] for j in members.tolist())
                if square > (f.w[g] + tiny) ** 2:
                    raise FaceError("a group is not 0 that floats take for 0")
