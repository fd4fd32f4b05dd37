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
    """Changes of x, of the level t, of the slacks and of the multipliers, both (2, n), and of the floor's."""

    x: Tensor
    t: Tensor
    s: Tensor
    z: Tensor
    z0: Tensor


class Largest(Kept):
    """The kink max(floor, max_j |x_j|) with curvatures q_j (n,) around center_j.

    start: x to start from; pull: A.T y to start from, `share` of the multipliers goes to it, the rest is spread evenly.

    s: the slacks (t - x, t + x); z: their multipliers.  Both in one operation, for on few columns the number of
    operations is what takes time.  The level t, its slack t - floor and their multiplier are the same on every shard of
    the team; shard 0 accounts for them.
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
        self.sign = start.new_tensor([[1.0], [-1.0]])
        self.s = self.t - self.sign * start
        self.z = (half * self.sign * pull).clamp_min(0) + spread
        self.z0 = start.new_tensor(rest / (2.0 * count + 1.0))
        self.start_scale = half
        self.first = team.rank == 0
        empty = columns.new_zeros(0)
        self.de = self.wt = self.rd = self.e = self.c = empty
        self.h = self.ka = self.rt = self.c0 = self.pending = empty

    def _own(self, value: Tensor) -> Tensor:
        """`value` on shard 0, nothing elsewhere, so that sums over shards count it once."""
        return value if self.first else torch.zeros_like(value)

    def size(self) -> Tensor:
        return self.x.new_tensor(2.0 * self.x.numel() + self.first)

    def complementarity(self) -> Tensor:
        return (self.s * self.z).sum() + self._own((self.t - self.floor) * self.z0)

    def point(self) -> Tensor:
        return self.x

    def value(self) -> Tensor:
        moved = self.x - self.center
        return self._own(self.t) + 0.5 * (self.q * moved) @ moved

    def residual(self, pull: Tensor) -> Tensor:
        """Stationarity: A.T y - q (x - center) - z."""
        return pull - self.q * (self.x - self.center) - self.multipliers()

    def dual_error(self, pull: Tensor) -> Tensor:
        """Violations summed, since the multipliers sum to 1."""
        return self.team.sum(self.residual(pull).abs().sum())

    def prepare(self, pull: Tensor) -> Tensor:
        self.rd = self.residual(pull)
        sums = self.team.sum(self.z.sum())
        self.rt = 1.0 - self.z0 - sums
        al, be = self.z / self.s
        both = al + be
        self.de, self.wt = al - be, (both + self.q).reciprocal()
        m = self.columns.shape[1]
        weighted = self.columns * self.wt[:, None]
        level = ((4.0 * al * be + self.q * both) * self.wt).sum()
        reduced = self.team.sum(torch.cat([weighted.T @ self.de, level[None]]))
        self.h, self.ka = reduced[:m], reduced[m] + self.z0 / (self.t - self.floor)
        return self.columns.T @ weighted + self._own(torch.outer(self.h, self.h) / self.ka)

    def right_side(self, target: float, before: Step | None, wanted: tuple[Tensor] | None = None) -> Tensor:
        s0 = self.t - self.floor
        self.c, self.c0 = target - self.s * self.z, target - s0 * self.z0
        if before is not None:
            self.c, self.c0 = self.c - before.s * before.z, self.c0 - before.t * before.z0
        if wanted is not None:
            self.c = self.c + wanted[0]
        scaled = self.c / self.s
        self.e = self.rd - (scaled[0] - scaled[1])
        local = (self.de * self.wt) @ self.e + scaled.sum()
        self.pending = self.team.sum(local) + self.c0 / s0 - self.rt
        return self.columns.T @ (self.wt * self.e) + self._own(self.h * (self.pending / self.ka))

    def centring(self, direction: Step, primal: float, dual: float, target: float) -> tuple[Tensor]:
        return (far_products((self.s + primal * direction.s) * (self.z + dual * direction.z), target),)

    def direction(self, push: Tensor) -> Step:
        pushed = self.team.sum((self.de * self.wt) @ push)
        dt = (pushed + self.pending) / self.ka
        dx = self.wt * (push + self.e + self.de * dt)
        ds = dt - self.sign * dx
        return Step(dx, dt, ds, (self.c - self.z * ds) / self.s, (self.c0 - self.z0 * dt) / (self.t - self.floor))

    def reach(self, direction: Step) -> Tensor:
        d = direction
        primal = torch.minimum(ratio_step(self.s, d.s), ratio_step((self.t - self.floor)[None], d.t[None]))
        dual = torch.minimum(ratio_step(self.z, d.z), ratio_step(self.z0[None], d.z0[None]))
        return torch.stack([primal, dual])

    def complementarity_after(self, direction: Step, primal: float, dual: float) -> Tensor:
        d = direction
        both = ((self.s + primal * d.s) * (self.z + dual * d.z)).sum()
        return both + self._own((self.t - self.floor + primal * d.t) * (self.z0 + dual * d.z0))

    def move(self, direction: Step, primal: float, dual: float) -> None:
        d = direction
        self.x, self.t = self.x + primal * d.x, self.t + primal * d.t
        self.s = self.t - self.sign * self.x
        self.z, self.z0 = self.z + dual * d.z, self.z0 + dual * d.z0

    def multipliers(self) -> Tensor:
        """z, (n,): the subgradient of the kink, sum |z_j| <= 1."""
        return self.z[0] - self.z[1]
