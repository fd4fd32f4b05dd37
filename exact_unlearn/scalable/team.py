"""Who shares the parameter dimension: nobody, or the processes of a group.

Solvers are written once, against a `Team`: every number that depends on all parameters passes through `sum`, `max` or
`min`, which are the identity for one process.  What is not reduced is local to a shard or of the size of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Team(Protocol):
    """Reductions over the shards of the parameter dimension; all members must call them in the same order."""

    @property
    def rank(self) -> int:
        """0 .. size - 1."""
        ...

    @property
    def size(self) -> int:
        """How many shards there are."""
        ...

    @property
    def device(self) -> torch.device:
        """Where collectives of numbers take place."""
        ...

    def sum(self, value: Tensor) -> Tensor:
        """Entry-wise sum over the shards."""
        ...

    def max(self, value: Tensor) -> Tensor:
        """Entry-wise maximum over the shards."""
        ...

    def gather(self, value: Tensor) -> Tensor:
        """The tensors of all shards (of one shape), stacked by rank."""
        ...

    def agree(self, value: Tensor) -> Tensor:
        """The value of shard 0: what every process computed for itself may differ in the last bit, and
        decisions must not.
        """
        ...


@dataclass(frozen=True)
class Alone:
    """One process holds every parameter."""

    rank: int = 0
    size: int = 1

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def sum(self, value: Tensor) -> Tensor:
        return value

    def max(self, value: Tensor) -> Tensor:
        return value

    def gather(self, value: Tensor) -> Tensor:
        return value[None]

    def agree(self, value: Tensor) -> Tensor:
        return value


ALONE = Alone()


def team_of(jacobian: Any) -> Team:
    """The team that a sharded Jacobian belongs to; `ALONE` for every other."""
    team: Team = getattr(jacobian, "team", ALONE)
    return team


def number(value: Tensor) -> float:
    """A zero-dimensional tensor as a float (one synchronisation with the device)."""
    return float(value)


def agreed(team: Team, *values: float) -> tuple[float, ...]:
    """Numbers of shard 0, for decisions that all shards must take alike."""
    if team.size == 1:
        return values
    return tuple(team.agree(torch.tensor(values, dtype=torch.float64, device=team.device)).tolist())


def largest(team: Team, values: Tensor) -> float:
    """max over all shards of the entries, 0 where there are none."""
    local = values.max() if values.numel() else values.new_zeros(())
    return float(team.max(local))


def total(team: Team, values: Tensor) -> float:
    """Sum over all shards of the entries."""
    return float(team.sum(values.sum()))


def leading(team: Team, scores: Tensor, count: int) -> Tensor:
    """Indices of this shard's members of the `count` largest scores of all shards; -inf never belongs.

    Every shard offers its own best, all of them find the same threshold, so the choice does not depend on the
    sharding (up to ties).
    """
    local = torch.topk(scores, min(count, scores.numel())).values
    offer = scores.new_full((count,), -torch.inf)
    offer[: local.numel()] = local
    offers = team.gather(offer).reshape(-1)
    threshold = torch.topk(offers, min(count, offers.numel())).values[-1] if count else scores.new_tensor(torch.inf)
    return ((scores >= threshold) & (scores > -torch.inf)).nonzero()[:, 0]
