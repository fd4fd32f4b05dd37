"""max_j |x_j| with a floor: slacks t - x_j, t + x_j, t - floor, and multipliers that sum to 1.

Weights w_j |x_j| are the caller's business: divide column j by w_j.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn.scalable.interior import Kept, far_products, ratio_step
from exact_unlearn.scalable.team import Team


@dataclass(frozen=True, eq=False)
class Step:
    """Changes of x, of the level t, of the slacks and of the multipliers."""

    x: Tensor
    t: Tensor
    s1: Tensor
    s2: Tensor
    z1: Tensor
    z2: Tensor
    z0: Tensor


class Largest(Kept):
    """The kink max(floor, max_j |x_j|) with curvatures q_j (n,) around center_j.

    start: x to start from; pull: A.T y to start from, `share` of the multipliers goes to it, the rest is spread evenly.

    The level t, its slack t - floor and their multiplier are the same on every shard of the team; shard 0
    accounts for them.
    """

    def __init__(
        self,
        columns: Tensor,
        curvature: Tensor,
        center: Tensor,
        floor: float,
        start: Tensor,
        pull: Tensor,
        team: Team,
        share: float = 0.5,
    ) -> None:
        self.columns, self.q, self.center, self.floor, self.team = columns, curvature, center, floor, team
        self.coupled = bool(team.max((curvature > 0).any().to(torch.float64)))
        self.x = start
        peak = team.max(start.abs().max() if start.numel() else start.new_zeros(()))
        self.t = (1.0 + 0.2 * (1.0 - share)) * peak.clamp_min(floor) + 1e-12 * (peak == 0)
        count = float(team.sum(start.new_tensor(float(start.numel()))))
        half = share / (float(team.sum(pull.abs().sum())) or 1.0)
        rest = 1.0 - share
        spread = rest * (1.0 - 1.0 / (2.0 * count + 1.0)) / (2.0 * max(count, 1.0))
        self.z1 = (half * pull).clamp_min(0) + spread
        self.z2 = (-half * pull).clamp_min(0) + spread
        self.z0 = start.new_tensor(rest / (2.0 * count + 1.0))
        self.start_scale = half
        self.first = team.rank == 0
        empty = columns.new_zeros(0)
        self.al = self.be = self.de = self.wt = self.rd = self.e = self.c1 = self.c2 = empty
        self.h = self.ka = self.rt = self.c0 = self.pending = empty

    def _own(self, value: Tensor) -> Tensor:
        """`value` on shard 0, nothing elsewhere, so that sums over shards count it once."""
        return value if self.first else torch.zeros_like(value)

    def size(self) -> Tensor:
        return self.x.new_tensor(2.0 * self.x.numel() + self.first)

    def complementarity(self) -> Tensor:
        return (self.t - self.x) @ self.z1 + (self.t + self.x) @ self.z2 + self._own((self.t - self.floor) * self.z0)

    def point(self) -> Tensor:
        return self.x

    def value(self) -> Tensor:
        moved = self.x - self.center
        return self._own(self.t) + 0.5 * (self.q * moved) @ moved

    def residual(self, pull: Tensor) -> Tensor:
        """Stationarity: A.T y - q (x - center) - (z1 - z2)."""
        return pull - self.q * (self.x - self.center) - (self.z1 - self.z2)

    def dual_error(self, pull: Tensor) -> Tensor:
        """Violations summed, since the multipliers sum to 1."""
        return self.team.sum(self.residual(pull).abs().sum())

    def prepare(self, pull: Tensor) -> Tensor:
        self.rd = self.residual(pull)
        sums = self.team.sum((self.z1 + self.z2).sum())
        self.rt = 1.0 - self.z0 - sums
        self.al, self.be = self.z1 / (self.t - self.x), self.z2 / (self.t + self.x)
        both = self.al + self.be
        self.de, self.wt = self.al - self.be, (both + self.q).reciprocal()
        m = self.columns.shape[1]
        weighted = self.columns * self.wt[:, None]
        level = ((4.0 * self.al * self.be + self.q * both) * self.wt).sum()
        reduced = self.team.sum(torch.cat([weighted.T @ self.de, level[None]]))
        self.h, self.ka = reduced[:m], reduced[m] + self.z0 / (self.t - self.floor)
        return self.columns.T @ weighted + self._own(torch.outer(self.h, self.h) / self.ka)

    def right_side(self, target: float, before: Step | None, wanted: tuple[Tensor, Tensor] | None = None) -> Tensor:
        s0 = self.t - self.floor
        self.c1 = target - (self.t - self.x) * self.z1
        self.c2 = target - (self.t + self.x) * self.z2
        self.c0 = target - s0 * self.z0
        if before is not None:
            self.c1 = self.c1 - before.s1 * before.z1
            self.c2 = self.c2 - before.s2 * before.z2
            self.c0 = self.c0 - before.t * before.z0
        if wanted is not None:
            self.c1, self.c2 = self.c1 + wanted[0], self.c2 + wanted[1]
        a, b = self.c1 / (self.t - self.x), self.c2 / (self.t + self.x)
        self.e = self.rd - (a - b)
        local = (self.de * self.wt) @ self.e + (a + b).sum()
        self.pending = self.team.sum(local) + self.c0 / s0 - self.rt
        return self.columns.T @ (self.wt * self.e) + self._own(self.h * (self.pending / self.ka))

    def centring(self, direction: Step, primal: float, dual: float, target: float) -> tuple[Tensor, Tensor]:
        d = direction
        left = (self.t - self.x + primal * d.s1) * (self.z1 + dual * d.z1)
        right = (self.t + self.x + primal * d.s2) * (self.z2 + dual * d.z2)
        return far_products(left, target), far_products(right, target)

    def direction(self, push: Tensor) -> Step:
        pushed = self.team.sum((self.de * self.wt) @ push)
        dt = (pushed + self.pending) / self.ka
        dx = self.wt * (push + self.e + self.de * dt)
        s1, s2 = dt - dx, dt + dx
        z1 = (self.c1 - self.z1 * s1) / (self.t - self.x)
        z2 = (self.c2 - self.z2 * s2) / (self.t + self.x)
        return Step(dx, dt, s1, s2, z1, z2, (self.c0 - self.z0 * dt) / (self.t - self.floor))

    def reach(self, direction: Step) -> Tensor:
        d = direction
        primal = torch.minimum(ratio_step(self.t - self.x, d.s1), ratio_step(self.t + self.x, d.s2))
        primal = torch.minimum(primal, ratio_step((self.t - self.floor)[None], d.t[None]))
        dual = torch.minimum(ratio_step(self.z1, d.z1), ratio_step(self.z2, d.z2))
        return torch.stack([primal, torch.minimum(dual, ratio_step(self.z0[None], d.z0[None]))])

    def complementarity_after(self, direction: Step, primal: float, dual: float) -> Tensor:
        d = direction
        left = (self.t - self.x + primal * d.s1) @ (self.z1 + dual * d.z1)
        right = (self.t + self.x + primal * d.s2) @ (self.z2 + dual * d.z2)
        return left + right + self._own((self.t - self.floor + primal * d.t) * (self.z0 + dual * d.z0))

    def move(self, direction: Step, primal: float, dual: float) -> None:
        d = direction
        self.x, self.t = self.x + primal * d.x, self.t + primal * d.t
        self.z1, self.z2, self.z0 = self.z1 + dual * d.z1, self.z2 + dual * d.z2, self.z0 + dual * d.z0

    def multipliers(self) -> Tensor:
        """z, (n,): the subgradient of the kink, sum |z_j| <= 1."""
        return self.z1 - self.z2
