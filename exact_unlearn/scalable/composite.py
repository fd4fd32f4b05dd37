"""An unlearning problem in the terms of the norm solvers.

    minimise  sum of kinks(x) + q/2 |x - center|^2   subject to   Q x = c,   x = theta on the free coordinates

The elastic net's square (beta), the squared drift (lam) and the multiplier of a trust region (mu) are one
curvature q = beta + lam + mu around center = (lam + mu) theta* / q.  Frozen coordinates enter as constants: a
length per group for group norms, a floor for the largest entry, nothing for sums over coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import to_float
from exact_unlearn.regularizers import L1, ElasticNet, GroupL2, LInf
from exact_unlearn.scalable.clock import ENDLESS, Clock
from exact_unlearn.scalable.space import Space
from exact_unlearn.scalable.team import total

Kind = Literal["absolute", "groups", "largest"]


@dataclass(frozen=True, eq=False)
class Composite:
    """One norm problem on this shard of the parameters.

    weights: (d,) of coordinates, or (G,) of groups.  labels: (d,) group of each coordinate, for groups only.
    frozen: (G,) lengths of the frozen parts.  floor: the largest w |theta*| over frozen coordinates.  kinked:
    (d,) free coordinates with a positive weight; smooth: free ones without.  beta, pull_back: the two parts of
    the curvature q; the second belongs to the drift.  clock: when to stop.  seen: (d,)
    coordinates that are not a zero column of J, where the entries of J are at hand.
    """

    space: Space
    kind: Kind
    theta_star: Tensor
    weights: Tensor
    kinked: Tensor
    smooth: Tensor
    labels: Tensor | None = None
    frozen: Tensor | None = None
    floor: float = 0.0
    beta: float = 0.0
    pull_back: float = 0.0
    clock: Clock = ENDLESS
    seen: Tensor | None = None

    @property
    def curvature(self) -> float:
        """q."""
        return self.beta + self.pull_back

    @property
    def anchor(self) -> Tensor:
        """q * center = (lam + mu) theta*, (d,)."""
        return self.pull_back * self.theta_star

    def without_dead(self) -> tuple[Composite, Tensor | None]:
        """The problem of the kinked coordinates that some row sees, and the mask of the others; None if there are none,
        if J has products only, or if a square ties them to the rest (partly seen groups, the largest entry).
        """
        if self.seen is None or (self.curvature > 0 and self.kind == "largest"):
            return self, None
        dead = self.kinked & ~self.seen
        if self.curvature > 0 and self.labels is not None:
            alive = torch.zeros_like(self.weights, dtype=torch.bool)
            alive = alive.index_fill_(0, self.labels[self.kinked & self.seen], True)
            dead = dead & ~alive[self.labels]
        if not bool(dead.any()):
            return self, None
        return replace(self, kinked=self.kinked & ~dead), dead

    def with_drift(self, pull_back: float) -> Composite:
        """The same with lam + mu replaced."""
        return replace(self, pull_back=pull_back)

    def eliminated(self) -> tuple[Composite, Tensor | None]:
        """Without the coordinates that cost nothing, by combinations of rows that do not see them.

        Returns the smaller problem and those combinations M (r', r) of the rows of Q, None if there was nothing
        to do.  Multipliers of the larger problem are M.T y.
        """
        if self.curvature > 0 or not self.n_smooth or not self.space.rank:
            return self, None
        columns = self.space.columns(self.smooth.nonzero()[:, 0])
        values, vectors = torch.linalg.eigh(self.space.team.sum(columns.T @ columns))
        unseen = values <= 64 * torch.finfo(torch.float64).eps * max(float(values[-1]), 1e-300)
        mix = vectors[:, unseen].T
        return replace(self, space=self.space.mixed(mix)), mix

    @property
    def n_smooth(self) -> float:
        """Number of free coordinates without a kink, on all shards."""
        return total(self.space.team, self.smooth.to(torch.float64))

    def extra(self) -> tuple[Tensor | None, Tensor]:
        """(E, c): coordinates that cost a square only move by Q_j.T y / q, so they turn into E y and change c."""
        right = self.space.right
        if self.curvature == 0 or not self.n_smooth or not self.space.rank:
            return None, right
        index = self.smooth.nonzero()[:, 0]
        columns = self.space.columns(index)
        gram = self.space.team.sum(columns.T @ columns) / self.curvature
        return gram, right - self.space.team.sum(columns.T @ (self.anchor[index] / self.curvature))


def composite(regularizer: Any, space: Space, theta_star: Tensor, labels: Tensor | None = None) -> Composite:
    """The kinks of L1, LInf, GroupL2 or ElasticNet (alpha > 0) on this shard.

    theta_star (d,) float64 and, for groups, labels (d,) of this shard; weights of the regularizer must be those
    of the shard too. Raises ProblemError for any other regularizer.
    """
    d, device, free, seen = theta_star.numel(), theta_star.device, space.free, space.seen()

    def tensor(values: Any) -> Tensor:
        return torch.from_numpy(np.array(to_float(np.asarray(values)))).to(device)

    if isinstance(regularizer, ElasticNet):
        weights = torch.full((d,), float(regularizer.alpha), dtype=torch.float64, device=device)
        kinked = free & (weights > 0)
        beta = float(regularizer.beta)
        return Composite(space, "absolute", theta_star, weights, kinked, free & ~kinked, beta=beta, seen=seen)
    if isinstance(regularizer, GroupL2):
        index = torch.from_numpy(np.array(regularizer.labels)).to(device) if labels is None else labels
        weights = tensor(regularizer.weights)
        kinked = free & (weights[index] > 0)
        frozen = torch.where(free, 0.0, theta_star)
        peak = float(frozen.abs().max()) if d else 0.0
        squares = torch.zeros_like(weights).index_add_(0, index, (frozen / (peak or 1.0)).square())
        lengths = peak * squares.sqrt()
        return Composite(space, "groups", theta_star, weights, kinked, free & ~kinked, index, lengths, seen=seen)
    if isinstance(regularizer, L1 | LInf):
        given = regularizer.weights
        weights = torch.ones_like(theta_star) if given is None else tensor(given)
        kinked = free & (weights > 0)
        if isinstance(regularizer, L1):
            return Composite(space, "absolute", theta_star, weights, kinked, free & ~kinked, seen=seen)
        still = torch.where(free, 0.0, weights * theta_star.abs())
        floor = float(space.team.max(still.max() if d else still.new_zeros(())))
        return Composite(space, "largest", theta_star, weights, kinked, free & ~kinked, floor=floor, seen=seen)
    raise ProblemError(
        f"regularizer: scalable.solve takes l2, l1, linf, group_l2, elastic_net, squared_l2 and predictor_norm, "
        f"got {regularizer.name}; use exact_unlearn.solve"
    )
