"""Second-order cones for the interior-point method: norms of groups of coordinates.

Group g is the cone tau_g >= |(c_j x_j for j in g, f_g)| at cost w_g tau_g, with c_j^2 the weights inside the
norm and f_g the norm of its frozen part.  Steps are scaled after Nesterov and Todd; there a group adds a
diagonal minus one rank-one term to the Hessian of x, so that nothing larger than the rows of W is ever
factored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exact_unlearn.jacobian import Array


@dataclass(frozen=True)
class ConeProgram:
    """label (n,): group of each coordinate, -1 for none; inner (n,): c_j; weight, frozen (G,): w_g > 0 and f_g.

    origin (n,): where x is counted from.
    """

    label: Array
    inner: Array
    weight: Array
    frozen: Array
    origin: Array


@dataclass(frozen=True)
class Vectors:
    """One vector per cone: heads (C,), and all tails in one array (T,)."""

    head: Array
    tail: Array


class Cones:
    """Fixed structure: which tail entry belongs to which cone and coordinate."""

    def __init__(self, program: ConeProgram) -> None:
        own = np.flatnonzero(program.label >= 0)
        const = np.flatnonzero(program.frozen > 0)
        self.program, self.count, self.n = program, program.weight.size, program.label.size
        self.owner = np.concatenate([program.label[own], const]).astype(int)
        self.index = np.concatenate([own, np.full(const.size, -1)]).astype(int)
        self.coef = np.concatenate([program.inner[own], np.zeros(const.size)])
        self.offset = np.concatenate([(program.inner * program.origin)[own], program.frozen[const]])
        self.moves = self.index >= 0

    def dot(self, a: Array, b: Array) -> Array:
        """Tail products per cone, (C,)."""
        return np.bincount(self.owner, weights=a * b, minlength=self.count)

    def tails(self, x: Array) -> Array:
        return np.asarray(self.coef * np.where(self.moves, x[self.index], 0.0) + self.offset)

    def steps(self, dx: Array) -> Array:
        return self.coef * np.where(self.moves, dx[self.index], 0.0)

    def scatter(self, tail: Array) -> Array:
        """Sum of coef * tail per coordinate, (n,)."""
        return np.bincount(self.index[self.moves], weights=(self.coef * tail)[self.moves], minlength=self.n)

    def rest(self, v: Vectors) -> Array:
        """head - |tail|, (C,)."""
        return np.asarray(v.head - np.sqrt(self.dot(v.tail, v.tail)))

    def least_product(self, s: Vectors, z: Vectors) -> Array:
        """The smaller eigenvalue of the scaled products of each pair, (C,): equal to the mean product on the path."""
        mean = s.head * z.head + self.dot(s.tail, z.tail)
        root = np.sqrt(self.dot(s.tail, s.tail)), np.sqrt(self.dot(z.tail, z.tail))
        det = (s.head - root[0]) * (s.head + root[0]) * (z.head - root[1]) * (z.head + root[1])
        return np.asarray(np.maximum(det, 0.0) / np.maximum(mean + np.sqrt(np.maximum(mean**2 - det, 0.0)), 1e-300))

    def start(self, x: Array) -> tuple[Vectors, Vectors]:
        """Slacks and multipliers in the interior."""
        tail = self.tails(x)
        length = np.sqrt(self.dot(tail, tail))
        head = 1.5 * length + 0.1 * max(1.0, float(np.max(length, initial=0.0)))
        dual = self.program.weight.copy()
        return Vectors(head, tail), Vectors(dual, -0.5 * (dual / head)[self.owner] * tail)

    def longest(self, v: Vectors, d: Vectors) -> float:
        """The largest step in (0, 1] that stays in all cones."""
        a = d.head**2 - self.dot(d.tail, d.tail)
        b = v.head * d.head - self.dot(v.tail, d.tail)
        c = np.maximum(v.head**2 - self.dot(v.tail, v.tail), 0.0)
        # the first positive root of a t^2 + 2 b t + c, and of head + t d.head
        root = np.sqrt(np.maximum(b * b - a * c, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.where(b < 0, c / (-b + root), np.where(a < 0, (-b - root) / a, np.inf))
            first = np.where((b < 0) & (b * b < a * c), np.inf, first)
            heads = np.where(d.head < 0, -v.head / d.head, np.inf)
        return float(min(1.0, np.min(first, initial=np.inf), np.min(heads, initial=np.inf)))


class Scaling:
    """The Nesterov-Todd scaling at one iterate, and the linear algebra that follows from it."""

    def __init__(self, cones: Cones, s: Vectors, z: Vectors) -> None:
        self.cones, self.s, self.z = cones, s, z
        dot = cones.dot
        det_s = np.maximum((s.head - np.sqrt(dot(s.tail, s.tail))) * (s.head + np.sqrt(dot(s.tail, s.tail))), 1e-300)
        det_z = np.maximum((z.head - np.sqrt(dot(z.tail, z.tail))) * (z.head + np.sqrt(dot(z.tail, z.tail))), 1e-300)
        rs, rz = np.sqrt(det_s), np.sqrt(det_z)
        inner = (s.head * z.head + dot(s.tail, z.tail)) / (rs * rz)
        gamma = np.sqrt(np.maximum((1 + inner) / 2, 1e-300))
        own = cones.owner
        self.w0 = (s.head / rs + z.head / rz) / (2 * gamma)
        self.w1 = (s.tail / rs[own] - z.tail / rz[own]) / (2 * gamma)[own]
        self.eta = np.sqrt(rs / rz)
        self.lam = self.scale(z)

    def scale(self, v: Vectors, inverse: bool = False) -> Vectors:
        """W v, or W^-1 v."""
        own, sign = self.cones.owner, -1.0 if inverse else 1.0
        mixed = self.cones.dot(self.w1, v.tail)
        head = self.w0 * v.head + sign * mixed
        tail = v.tail + self.w1 * (sign * v.head + mixed / (1 + self.w0))[own]
        unit = 1 / self.eta if inverse else self.eta
        return Vectors(unit * head, unit[own] * tail)

    def target(self, centre: float, ds: Vectors | None = None, dz: Vectors | None = None) -> Vectors:
        """W^-1 d with d = -lam + lam \\ (centre e - (W^-1 ds) o (W dz)); -z for a pure Newton step."""
        cones, lam, own = self.cones, self.lam, self.cones.owner
        if ds is None or dz is None:
            return Vectors(-self.z.head, -self.z.tail)
        a, b = self.scale(ds, inverse=True), self.scale(dz)
        v0 = centre - (a.head * b.head + cones.dot(a.tail, b.tail))
        v1 = -(a.head[own] * b.tail + b.head[own] * a.tail)
        det = lam.head**2 - cones.dot(lam.tail, lam.tail)
        x0 = (lam.head * v0 - cones.dot(lam.tail, v1)) / np.maximum(det, 1e-300)
        x1 = (v1 - x0[own] * lam.tail) / lam.head[own]
        return self.scale(Vectors(-lam.head + x0, -lam.tail + x1), inverse=True)

    # ------------------------------------------------------------ the Hessian of x

    def diagonal(self) -> Array:
        """The diagonal part, (n,)."""
        return self.cones.scatter(self.cones.coef / self.eta[self.cones.owner] ** 2)

    def rank_one(self, h: Array) -> tuple[Array, Array]:
        """v (n,) and gamma (C,): the inverse of (diag h - groups) is diag(1/h) + sum_g gamma_g (v/h)_g (v/h)_g.T.

        The cancellation in the Sherman-Morrison formula is carried out by hand.
        """
        cones, moves = self.cones, self.cones.moves
        own, index, coef = cones.owner[moves], cones.index[moves], cones.coef[moves]
        v = np.zeros(cones.n)
        v[index] = coef * self.w1[moves]
        extra = np.maximum(h[index] - coef**2 / self.eta[own] ** 2, 0.0)
        left = np.bincount(own, self.w1[moves] ** 2 * extra / h[index], cones.count)
        left += np.bincount(cones.owner[~moves], self.w1[~moves] ** 2, cones.count)
        return v, 2 / self.eta**2 / (1 + 2 * left)

    def right(self, r: Vectors) -> Array:
        """What a target contributes to the stationarity of x, (n,)."""
        lead = 2 * self.w0 * r.head / (2 * self.w0**2 - 1)
        return -self.cones.scatter(r.tail + self.w1 * lead[self.cones.owner])

    def finish(self, dx: Array, r: Vectors) -> tuple[Vectors, Vectors]:
        """Changes of slacks and multipliers that go with dx; the head of a multiplier is the weight, and stays."""
        cones, own = self.cones, self.cones.owner
        ds1 = cones.steps(dx)
        mixed = cones.dot(self.w1, ds1)
        ds0 = (self.eta**2 * r.head + 2 * self.w0 * mixed) / (2 * self.w0**2 - 1)
        across = 2 * (mixed - self.w0 * ds0)[own] * self.w1
        dz1 = r.tail - (across + ds1) / self.eta[own] ** 2
        return Vectors(ds0, ds1), Vectors(np.zeros(cones.count), dz1)
