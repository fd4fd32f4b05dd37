"""sum_g w_g |(x_g, a_g)|: second-order cones, scaled by Nesterov and Todd, with a constant coordinate a_g per group.

a_g is the length of what is frozen in group g (0 if nothing is): its multiplier is free, and is eliminated
group by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn.scalable.interior import Kept


@dataclass(frozen=True, eq=False)
class Segments:
    """n coordinates, sorted by group: index (n,) of the group of each; count G; width if all groups have one
    size, else 0.
    """

    index: Tensor
    count: int
    width: int

    @staticmethod
    def of(index: Tensor, count: int) -> Segments:
        n = index.numel()
        sizes = torch.bincount(index, minlength=count)
        even = count > 0 and n % count == 0 and bool((sizes == n // count).all())
        return Segments(index, count, n // count if even else 0)

    def sum(self, values: Tensor) -> Tensor:
        """Sums over the groups of (n,) or (n, m)."""
        if self.width:
            return values.reshape(self.count, self.width, *values.shape[1:]).sum(1)
        return values.new_zeros(self.count, *values.shape[1:]).index_add_(0, self.index, values)

    def spread(self, values: Tensor) -> Tensor:
        """The value of its group for every coordinate, (n,)."""
        if not self.width:
            return values[self.index]
        return values[:, None].expand(self.count, self.width).reshape(-1)


@dataclass(frozen=True, eq=False)
class Step:
    """Changes of the slacks (t, x) and of the multipliers (z, xi) of x and of the constant coordinate."""

    t: Tensor
    x: Tensor
    z: Tensor
    xi: Tensor


class Groups(Kept):
    """The kinks w_g |(x_g, a_g)| with curvature q around center.

    columns: A.T (n, m), sorted by group.  weights, frozen: w > 0 and a >= 0, (G,).  curvature: a number.
    center, start: (n,). multipliers: z to start from, |z_g| well below w_g.  width: how far t starts above
    |x_g|, (G,) or a number.
    """

    def __init__(
        self,
        columns: Tensor,
        segments: Segments,
        weights: Tensor,
        frozen: Tensor,
        curvature: float,
        center: Tensor,
        start: Tensor,
        multipliers: Tensor,
        width: Tensor | float,
    ) -> None:
        self.columns, self.segments, self.w, self.a, self.q = columns, segments, weights, frozen, curvature
        self.center, self.x, self.z = center, start, multipliers
        self.coupled = curvature > 0
        self.t = (segments.sum(start.square()) + frozen.square()).sqrt() + width
        slack = (weights.square() - segments.sum(multipliers.square())).clamp_min(0).sqrt()
        self.xi = 0.5 * slack * (frozen > 0)
        empty = columns.new_zeros(0)
        self.rd = self.eta = self.w0 = self.w1 = self.wa = self.length = empty
        self.px = self.pt = self.pa = self.ready = self.reduced = empty
        self.unit = self.s0 = self.s1 = self.k0 = self.k1 = empty

    def _dot(self, a: Tensor, b: Tensor) -> Tensor:
        return self.segments.sum(a * b)

    def size(self) -> Tensor:
        return self.x.new_tensor(2.0 * self.segments.count)

    def complementarity(self) -> Tensor:
        """2 sum_g <slack, multiplier>, as two eigenvalues per cone count."""
        return 2.0 * (self.t @ self.w - self.x @ self.z - self.a @ self.xi)

    def point(self) -> Tensor:
        return self.x

    def value(self) -> Tensor:
        moved = self.x - self.center
        return self.w @ self.t + 0.5 * self.q * (moved @ moved)

    def residual(self, pull: Tensor) -> Tensor:
        """Stationarity: A.T y - q (x - center) - z."""
        return pull - self.q * (self.x - self.center) - self.z

    def dual_error(self, pull: Tensor) -> Tensor:
        if not pull.numel():
            return self.x.new_zeros(())
        residual, anchor = self.residual(pull), self.q * self.center
        size = self.w + self._dot(pull, pull).sqrt() + self._dot(anchor, anchor).sqrt()
        return (self._dot(residual, residual).sqrt() / size).max()

    def prepare(self, pull: Tensor) -> Tensor:
        """The scaling W^2 = eta^2 (2 w w.T - J) and K = (I + q H)^-1 H, H = eta^2 (I + 2 w1 w1.T / (1 + 2 wa^2))."""
        self.rd = self.residual(pull)
        seg = self.segments
        size, dual = (
            (self._dot(self.x, self.x) + self.a.square()).sqrt(),
            (self._dot(self.z, self.z) + self.xi.square()).sqrt(),
        )
        det = ((self.t - size) * (self.t + size)).clamp_min(1e-300)
        detz = ((self.w - dual) * (self.w + dual)).clamp_min(1e-300)
        rs, rz = det.rsqrt(), detz.rsqrt()
        cosine = (self.t * self.w - self._dot(self.x, self.z) - self.a * self.xi) * rs * rz
        g = (2.0 * (1.0 + cosine)).rsqrt()  # 1 / (2 gamma)
        self.w0 = g * (self.t * rs + self.w * rz)
        self.w1 = seg.spread(g * rs) * self.x + seg.spread(g * rz) * self.z
        self.wa = g * (self.a * rs + self.xi * rz)
        self.eta = (det / detz) ** 0.25
        self.length = self._dot(self.w1, self.w1).sqrt()
        self.unit = self.w1 / seg.spread(self.length.clamp_min(1e-300))
        e2 = self.eta.square()
        along = e2 * (1.0 + 2.0 * self.length.square() / (1.0 + 2.0 * self.wa.square()))
        self.s0, self.s1 = (1.0 + self.q * e2).reciprocal(), (1.0 + self.q * along).reciprocal()
        self.k0, self.k1 = e2 * self.s0, along * self.s1
        combined = seg.sum(self.columns * self.unit[:, None])
        left = self.columns.T @ (self.columns * seg.spread(self.k0)[:, None])
        return left + combined.T @ (combined * (self.k1 - self.k0)[:, None])

    def split(self, across: Tensor, along: Tensor, v: Tensor) -> Tensor:
        """across * v, but along * v in the direction of w1, group by group: (I + q H)^-1 with s0, s1 and K with
        k0, k1.

        In this form nothing large is subtracted, however flat a cone has become.
        """
        spread = self.segments.spread
        return spread(across) * v + spread((along - across) * self._dot(self.unit, v)) * self.unit

    def _scaled(self, v0: Tensor, v1: Tensor, va: Tensor, inverse: bool) -> tuple[Tensor, Tensor, Tensor]:
        """W v, or W^-1 v."""
        sign = -1.0 if inverse else 1.0
        factor = self.eta.reciprocal() if inverse else self.eta
        inner = self._dot(self.w1, v1) + self.wa * va
        top = self.w0 * v0 + sign * inner
        along = sign * v0 + inner / (1.0 + self.w0)
        spread = self.segments.spread
        return factor * top, spread(factor) * (v1 + spread(along) * self.w1), factor * (va + along * self.wa)

    def right_side(self, target: float, before: Step | None, wanted: None = None) -> Tensor:
        self.pt, self.px, self.pa = -self.t, -self.x, -self.a
        if before is not None:
            self._correct(target, before)
        ratio = self.pa / (1.0 + 2.0 * self.wa.square())
        self.reduced = self.px - self.segments.spread(2.0 * self.wa * ratio) * self.w1
        self.ready = self.split(self.s0, self.s1, self.reduced) + self.split(self.k0, self.k1, self.rd)
        return self.columns.T @ self.ready

    def _correct(self, target: float, before: Step) -> None:
        """p += W (lambda \\ (target e - (W^-1 ds) o (W dz)))."""
        zero = torch.zeros_like(self.t)
        l0, l1, la = self._scaled(self.w, -self.z, -self.xi, False)
        s0, s1, sa = self._scaled(before.t, before.x, zero, True)
        d0, d1, da = self._scaled(zero, -before.z, -before.xi, False)
        spread = self.segments.spread
        r0 = target - (s0 * d0 + self._dot(s1, d1) + sa * da)
        r1 = -(spread(s0) * d1 + spread(d0) * s1)
        ra = -(s0 * da + d0 * sa)
        size = (self._dot(l1, l1) + la.square()).sqrt()
        det = ((l0 - size) * (l0 + size)).clamp_min(1e-300)
        v0 = (l0 * r0 - self._dot(l1, r1) - la * ra) / det
        v1, va = (r1 - spread(v0) * l1) / spread(l0), (ra - v0 * la) / l0
        c0, c1, ca = self._scaled(v0, v1, va, False)
        self.pt, self.px, self.pa = self.pt + c0, self.px + c1, self.pa + ca

    def centring(self, direction: Step, primal: float, dual: float, target: float) -> None:
        """None: the scaled corrector of `_correct` keeps cones central enough."""

    def direction(self, push: Tensor) -> Step:
        dx = self.ready + self.split(self.k0, self.k1, push)
        free = push + self.rd - self.q * self.reduced
        return self._step(dx, self.split(self.s0, self.s1, free), self.s1 * self._dot(self.unit, free))

    def followed(self, dx: Tensor) -> Step:
        """All directions for a dx that is not the model's own: dz = K^-1 (dx - reduced); q = 0."""
        v = dx - self.reduced
        along = self.k1.reciprocal()
        return self._step(dx, self.split(self.k0.reciprocal(), along, v), along * self._dot(self.unit, v))

    def _step(self, dx: Tensor, dz: Tensor, along: Tensor) -> Step:
        """along: the part of dz in the direction of w1, which dz itself knows less accurately than it must be."""
        e2 = self.eta.square()
        inner = self.length * along
        dxi = -(self.pa / e2 + 2.0 * self.wa * inner) / (1.0 + 2.0 * self.wa.square())
        dt = self.pt + 2.0 * e2 * self.w0 * (inner + self.wa * dxi)
        return Step(dt, dx, dz, dxi)

    def reach(self, direction: Step) -> Tensor:
        d, zero = direction, torch.zeros_like(self.t)
        size = (self._dot(self.x, self.x) + self.a.square()).sqrt()
        cross = self.t * d.t - self._dot(self.x, d.x)
        primal = _cone_step((self.t - size) * (self.t + size), cross, d.t.square() - self._dot(d.x, d.x))
        dual = (self._dot(self.z, self.z) + self.xi.square()).sqrt()
        cross = zero - self._dot(self.z, d.z) - self.xi * d.xi
        curve = -self._dot(d.z, d.z) - d.xi.square()
        return torch.stack([primal, _cone_step((self.w - dual) * (self.w + dual), cross, curve)])

    def complementarity_after(self, direction: Step, primal: float, dual: float) -> Tensor:
        d = direction
        inner = (self.x + primal * d.x) @ (self.z + dual * d.z) + self.a @ (self.xi + dual * d.xi)
        return 2.0 * ((self.t + primal * d.t) @ self.w - inner)

    def move(self, direction: Step, primal: float, dual: float) -> None:
        d = direction
        self.t, self.x = self.t + primal * d.t, self.x + primal * d.x
        self.z, self.xi = self.z + dual * d.z, self.xi + dual * d.xi

    def multipliers(self) -> Tensor:
        """z, (n,): the subgradient of the kinks on the movable coordinates, |z_g| <= w_g."""
        return self.z


def _cone_step(constant: Tensor, linear: Tensor, square: Tensor) -> Tensor:
    """The largest s <= 1 with constant + 2 s linear + s^2 square >= 0 throughout, for constant > 0."""
    if not constant.numel():
        return constant.new_ones(())
    root = (linear.square() - constant * square).clamp_min(0).sqrt()
    real = linear.square() >= constant * square
    below = root - linear
    step = torch.where(real & (below > 0), constant.clamp_min(0) / below.clamp_min(1e-300), torch.inf)
    return step.min().clamp_max(1.0)
