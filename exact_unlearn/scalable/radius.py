"""Trust regions: the multiplier mu of |D| <= radius is one more curvature, found by a root of one variable.

|D(mu)| falls as mu grows.  Bracketing and the Illinois rule need about ten steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from exact_unlearn.scalable.clock import ENDLESS, Clock
from exact_unlearn.scalable.space import Space
from exact_unlearn.scalable.team import total

State = TypeVar("State")


@dataclass(frozen=True)
class Found(Generic[State]):
    """mu, what was computed there, and |D| of it."""

    mu: float
    state: State
    length: float


def on_radius(
    run: Callable[[float, State | None], tuple[State, float]],
    radius: float,
    first: float,
    close: float,
    limit: int = 60,
    clock: Clock = ENDLESS,
) -> Found[State]:
    """The smallest mu >= 0 with |D(mu)| <= radius (up to `close`, relatively), by bracketing and the Illinois
    rule on 1/|D| - 1/radius.

    run(mu, previous state) -> (state, |D|).  first: a positive guess of mu.
    """
    state, length = run(0.0, None)
    if length <= radius * (1.0 + close):
        return Found(0.0, state, length)
    low, f_low = 0.0, 1.0 / length - 1.0 / radius
    mu, high, f_high = first, math.inf, math.inf
    side = 0
    for _ in range(limit):
        state, length = run(mu, state)
        value = (1.0 / length if length else math.inf) - 1.0 / radius
        if abs(length - radius) <= close * radius or clock.expired():
            break
        if value > 0:
            if side == 1:
                f_low *= 0.5
            high, f_high, side = mu, value, 1
        else:
            if side == -1 and math.isfinite(f_high):
                f_high *= 0.5
            low, f_low, side = mu, value, -1
        if not math.isfinite(high):
            guess = 4.0 * mu
        elif not math.isfinite(f_high):
            guess = 0.5 * (low + high)
        else:
            guess = (low * f_high - high * f_low) / (f_high - f_low)
        if math.isfinite(high) and high - low <= 1e-13 * high:
            break
        mu = guess
    return Found(mu, state, length)


def onto_sphere(space: Space, movable: Tensor, theta_star: Tensor, x: Tensor, radius: float) -> Tensor:
    """x (d,) with |D| = radius: D moves along its difference from the shortest feasible drift, which keeps J D = b."""
    team = space.team
    start = torch.where(movable, theta_star, 0.0)
    moved = torch.where(movable, x, 0.0) - start
    base = torch.zeros_like(moved)
    residual = space.right - space.product(start)
    if float(torch.linalg.vector_norm(residual)) > 1e-12 * float(torch.linalg.vector_norm(space.right)):
        base = space.shortest(residual)
    rest = moved - base
    b2, r2, cross = (total(team, part) for part in (base.square(), rest.square(), base * rest))
    inner = max(cross * cross - r2 * (b2 - radius * radius), 0.0)
    share = max(0.0, (-cross + math.sqrt(inner)) / r2) * (1.0 - 1e-15) if r2 else 0.0
    return start + base + share * rest
