"""sum_j w_j |x_j|: x = u - v with u, v >= 0 and multipliers w - z, w + z of the bounds, |z_j| <= w_j."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn.scalable.interior import Kept, far_products, ratio_step


@dataclass(frozen=True, eq=False)
class Step:
    """Changes of x's halves and of the two multipliers."""

    u: Tensor
    v: Tensor
    zu: Tensor
    zv: Tensor


class Absolute(Kept):
    """The kinks w_j |x_j| with curvature q_j around center_j.

    columns: A.T (n, m).  weights: w > 0, (n,).  curvature: q >= 0, a number.  center, start: (n,).
    multipliers: z to start from, well inside |z| < w.  width: how far u + v starts above |x|, (n,) or a number.
    """

    def __init__(
        self,
        columns: Tensor,
        weights: Tensor,
        curvature: float,
        center: Tensor,
        start: Tensor,
        multipliers: Tensor,
        width: Tensor | float,
    ) -> None:
        self.columns, self.weights, self.curvature, self.center = columns, weights, curvature, center
        self.coupled = curvature > 0
        self.u = start.clamp_min(0) + width
        self.v = (-start).clamp_min(0) + width
        self.zu = weights - multipliers
        self.zv = weights + multipliers
        self.rd = self.slope = self.shrink = self.cu = self.cv = self.e = columns.new_zeros(0)

    def size(self) -> Tensor:
        return self.u.new_tensor(2.0 * self.u.numel())

    def complementarity(self) -> Tensor:
        return self.u @ self.zu + self.v @ self.zv

    def point(self) -> Tensor:
        return self.u - self.v

    def value(self) -> Tensor:
        moved = self.u - self.v - self.center
        return self.weights @ (self.u + self.v) + 0.5 * self.curvature * (moved @ moved)

    def residual(self, pull: Tensor) -> Tensor:
        """Stationarity: A.T y - q (x - center) - z."""
        return pull - self.curvature * (self.u - self.v - self.center) - 0.5 * (self.zv - self.zu)

    def dual_error(self, pull: Tensor) -> Tensor:
        if not pull.numel():
            return self.u.new_zeros(())
        size = self.weights + pull.abs() + self.curvature * self.center.abs()
        return (self.residual(pull).abs() / size).max()

    def prepare(self, pull: Tensor) -> Tensor:
        self.rd = self.residual(pull)
        self.slope = self.u / self.zu + self.v / self.zv
        self.shrink = (1.0 + self.curvature * self.slope).reciprocal()
        return self.columns.T @ (self.columns * (self.slope * self.shrink)[:, None])

    def right_side(self, target: float, before: Step | None, wanted: tuple[Tensor, Tensor] | None = None) -> Tensor:
        self.cu, self.cv = target - self.u * self.zu, target - self.v * self.zv
        if before is not None:
            self.cu, self.cv = self.cu - before.u * before.zu, self.cv - before.v * before.zv
        if wanted is not None:
            self.cu, self.cv = self.cu + wanted[0], self.cv + wanted[1]
        self.e = self.cu / self.zu - self.cv / self.zv + self.slope * self.rd
        return self.columns.T @ (self.shrink * self.e)

    def centring(self, direction: Step, primal: float, dual: float, target: float) -> tuple[Tensor, Tensor]:
        d = direction
        left = (self.u + primal * d.u) * (self.zu + dual * d.zu)
        right = (self.v + primal * d.v) * (self.zv + dual * d.zv)
        return far_products(left, target), far_products(right, target)

    def direction(self, push: Tensor) -> Step:
        dx = self.shrink * (self.e + self.slope * push)
        dz = push - self.curvature * dx + self.rd
        return Step((self.cu + self.u * dz) / self.zu, (self.cv - self.v * dz) / self.zv, -dz, dz)

    def reach(self, direction: Step) -> Tensor:
        d = direction
        primal = torch.minimum(ratio_step(self.u, d.u), ratio_step(self.v, d.v))
        dual = torch.minimum(ratio_step(self.zu, d.zu), ratio_step(self.zv, d.zv))
        return torch.stack([primal, dual])

    def complementarity_after(self, direction: Step, primal: float, dual: float) -> Tensor:
        d = direction
        left = (self.u + primal * d.u) @ (self.zu + dual * d.zu)
        return left + (self.v + primal * d.v) @ (self.zv + dual * d.zv)

    def move(self, direction: Step, primal: float, dual: float) -> None:
        d = direction
        self.u, self.v = self.u + primal * d.u, self.v + primal * d.v
        self.zu, self.zv = self.zu + dual * d.zu, self.zv + dual * d.zv

    def multipliers(self) -> Tensor:
        """z, (n,): the subgradient of the kinks, |z_j| <= w_j."""
        return 0.5 * (self.zv - self.zu)
