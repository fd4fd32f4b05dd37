"""sum_j w_j |x_j|: x = u - v with u, v >= 0 and multipliers w - z, w + z of the bounds, |z_j| <= w_j."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn.scalable.interior import Kept, far_products, ratio_step


@dataclass(frozen=True, eq=False)
class Step:
    """Changes of x's halves and of the two multipliers, (2, n) each."""

    s: Tensor
    z: Tensor


class Absolute(Kept):
    """The kinks w_j |x_j| with curvature q_j around center_j.

    columns: A.T (n, m).  weights: w > 0, (n,).  curvature: q >= 0, a number.  center, start: (n,).
    multipliers: z to start from, well inside |z| < w.  width: how far u + v starts above |x|, (n,) or a number.

    s: the halves (u, v); z: the multipliers (w - z, w + z) of their bounds.  Both halves in one operation, for on few
    columns the number of operations is what takes time.
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
        self.sign = columns.new_tensor([[1.0], [-1.0]])
        self.s = (self.sign * start).clamp_min(0) + width
        self.z = weights - self.sign * multipliers
        self.rd = self.slope = self.shrink = self.c = self.e = columns.new_zeros(0)

    def size(self) -> Tensor:
        return self.s.new_tensor(float(self.s.numel()))

    def complementarity(self) -> Tensor:
        return torch.dot(self.s.view(-1), self.z.view(-1))

    def point(self) -> Tensor:
        return self.s[0] - self.s[1]

    def value(self) -> Tensor:
        cost = self.weights @ self.s.sum(0)
        if not self.curvature:
            return cost
        moved = self.point() - self.center
        return cost + 0.5 * self.curvature * (moved @ moved)

    def residual(self, pull: Tensor) -> Tensor:
        """Stationarity: A.T y - q (x - center) - z."""
        pull = pull - self.multipliers()
        return pull - self.curvature * (self.point() - self.center) if self.curvature else pull

    def dual_error(self, pull: Tensor) -> Tensor:
        if not pull.numel():
            return self.s.new_zeros(())
        size = self.weights + pull.abs() + self.curvature * self.center.abs()
        return (self.residual(pull).abs() / size).max()

    def prepare(self, pull: Tensor) -> Tensor:
        self.rd = self.residual(pull)
        self.slope = (self.s / self.z).sum(0)
        self.shrink = (1.0 + self.curvature * self.slope).reciprocal()
        return self.columns.T @ (self.columns * (self.slope * self.shrink)[:, None])

    def right_side(self, target: float, before: Step | None, wanted: tuple[Tensor] | None = None) -> Tensor:
        self.c = target - self.s * self.z
        if before is not None:
            self.c = self.c - before.s * before.z
        if wanted is not None:
            self.c = self.c + wanted[0]
        scaled = self.c / self.z
        self.e = scaled[0] - scaled[1] + self.slope * self.rd
        return self.columns.T @ (self.shrink * self.e)

    def centring(self, direction: Step, primal: float, dual: float, target: float) -> tuple[Tensor]:
        return (far_products((self.s + primal * direction.s) * (self.z + dual * direction.z), target),)

    def direction(self, push: Tensor) -> Step:
        dx = self.shrink * (self.e + self.slope * push)
        dz = self.sign * (push - self.curvature * dx + self.rd)
        return Step((self.c + self.s * dz) / self.z, -dz)

    def reach(self, direction: Step) -> Tensor:
        return torch.stack([ratio_step(self.s, direction.s), ratio_step(self.z, direction.z)])

    def complementarity_after(self, direction: Step, primal: float, dual: float) -> Tensor:
        return ((self.s + primal * direction.s) * (self.z + dual * direction.z)).sum()

    def move(self, direction: Step, primal: float, dual: float) -> None:
        self.s, self.z = self.s + primal * direction.s, self.z + dual * direction.z

    def multipliers(self) -> Tensor:
        """z, (n,): the subgradient of the kinks, |z_j| <= w_j."""
        return 0.5 * (self.z[1] - self.z[0])
