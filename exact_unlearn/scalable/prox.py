"""Proximal maps of the composite kinks in torch, and the dual function that they give for free.

For q > 0 every y proves a bound:  min_x kinks(x) + q/2 |x - center|^2 - <Q.T y, x> + <c, y>, attained at
x^ = prox_{kinks / q}((Q.T y + q center) / q), with subgradient Q.T y + q center - q x^ (Moreau).
"""

from __future__ import annotations

import torch
from torch import Tensor

from exact_unlearn.scalable.composite import Composite
from exact_unlearn.scalable.team import Team, total


def prox(task: Composite, v: Tensor, step: float) -> Tensor:
    """argmin_x step * kinks(x) + 1/2 |x - v|^2 on the kinked coordinates; v elsewhere."""
    if task.kind == "absolute":
        shrunk = torch.sign(v) * (v.abs() - step * task.weights).clamp_min(0)
    elif task.kind == "groups":
        shrunk = _group_prox(task, v, step)
    else:
        level = max(task.floor, clip_level(task, v, step))
        shrunk = torch.sign(v) * torch.minimum(v.abs(), level / task.weights.clamp_min(1e-300))
    return torch.where(task.kinked, shrunk, v)


def full_prox(task: Composite, v: Tensor, step: float) -> Tensor:
    """The same with the curvature: argmin_x step (kinks(x) + q/2 |x - center|^2) + 1/2 |x - v|^2."""
    if task.curvature == 0:
        return prox(task, v, step)
    size = 1.0 + step * task.curvature
    return prox(task, (v + step * task.anchor) / size, step / size)


def kinks(task: Composite, x: Tensor) -> float:
    """The value of the kinks at x, all shards together (frozen parts of sums over coordinates left out)."""
    team, moved = task.space.team, torch.where(task.kinked, x, 0.0)
    if task.kind == "absolute":
        return total(team, task.weights * moved.abs())
    if task.labels is not None:
        squares = torch.zeros_like(task.weights).index_add_(0, task.labels, moved.square())
        frozen = squares.new_zeros(()) if task.frozen is None else task.frozen.square()
        return total(team, task.weights * (squares + frozen).sqrt())
    peak = (task.weights * moved.abs()).max() if moved.numel() else moved.new_zeros(())
    return max(task.floor, float(team.max(peak)))


def objective(task: Composite, x: Tensor) -> float:
    """Kinks and curvature at x (d,); the constant q/2 |center|^2 included, frozen coordinates excluded."""
    q = task.curvature
    if q == 0:
        return kinks(task, x)
    movable = task.kinked | task.smooth
    moved = torch.where(movable, x - task.anchor / q, 0.0)
    return kinks(task, x) + 0.5 * q * total(task.space.team, moved.square())


def dual_value(task: Composite, y: Tensor, pull: Tensor, right: Tensor) -> tuple[float, Tensor]:
    """A lower bound on `objective` over {Q x = right}, and the subgradient of the kinks that proves it; pull = Q.T y.

    q = 0: y and the subgradient are to be divided by max(1, dual norm), and the bound is the one that follows.
    """
    team, q = task.space.team, task.curvature
    movable = task.kinked | task.smooth
    z = torch.where(movable, pull, 0.0)
    if q > 0:
        x = torch.where(movable, prox(task, (z + task.anchor) / q, 1.0 / q), 0.0)
        bound = objective(task, x) - total(team, z * x) + float(right @ y)
        return bound, torch.where(task.kinked, z + task.anchor - q * x, 0.0)
    return _scaled_bound(task, team, z, float(right @ y))


def _scaled_bound(task: Composite, team: Team, z: Tensor, linear: float) -> tuple[float, Tensor]:
    if task.kind == "largest":
        used = total(team, torch.where(task.kinked, z.abs() / task.weights.clamp_min(1e-300), 0.0))
        size = max(1.0, used)
        return linear / size + task.floor * (1.0 - used / size), z / size
    if task.labels is None:
        ratios = torch.where(task.kinked, z.abs() / task.weights.clamp_min(1e-300), 0.0)
    else:
        squares = torch.zeros_like(task.weights).index_add_(0, task.labels, torch.where(task.kinked, z.square(), 0.0))
        ratios = torch.where(task.weights > 0, squares.sqrt() / task.weights.clamp_min(1e-300), 0.0)
    peak = float(team.max(ratios.max() if ratios.numel() else ratios.new_zeros(())))
    size = max(1.0, peak)
    bound = linear / size
    if task.labels is not None and task.frozen is not None:
        inside = (1.0 - (ratios / size).square()).clamp_min(0).sqrt()
        bound += total(team, task.weights * task.frozen * inside)
    return bound, z / size


def clip_level(task: Composite, v: Tensor, step: float) -> float:
    """The t >= 0 with sum_j (|v_j| - t / w_j)_+ / w_j = step, or 0 when the sum at 0 is smaller.

    Newton's method on a convex piecewise linear function from the left; finite.
    """
    team = task.space.team
    u = torch.where(task.kinked, task.weights.clamp_min(1e-300).reciprocal(), 0.0)
    size = torch.where(task.kinked, v.abs(), 0.0)
    level, before = 0.0, -1.0
    for _ in range(200):
        above = size > level * u
        sums = team.sum(torch.stack([(size * u)[above].sum(), u[above].square().sum()]))
        mass, slope = sums.tolist()
        if slope == 0 or (mass <= step and level == 0):
            return 0.0 if level == 0 else level
        before, level = level, (mass - step) / slope
        if level <= before:
            return before
    return level


def _group_prox(task: Composite, v: Tensor, step: float) -> Tensor:
    """v_g scaled by 1 / (1 + step w / rho) with rho = |(x_g, a_g)|, or 0 where nothing is frozen and |v_g| <=
    step w.
    """
    assert task.labels is not None
    moved = torch.where(task.kinked, v, 0.0)
    length = torch.zeros_like(task.weights).index_add_(0, task.labels, moved.square()).sqrt()
    pushed = step * task.weights
    factor = (1.0 - pushed / length.clamp_min(1e-300)).clamp_min(0)
    if task.frozen is not None and bool((task.frozen > 0).any()):
        factor = torch.where(task.frozen > 0, _offset_factor(length, task.frozen, pushed), factor)
    return v * factor[task.labels]


def _offset_factor(length: Tensor, frozen: Tensor, pushed: Tensor) -> Tensor:
    """s in [0, 1] with s |v| + pushed s |v| / sqrt((s |v|)^2 + a^2) = |v|: Newton on r = s |v| within a bracket."""
    low, high = torch.zeros_like(length), length.clone()
    a2 = frozen.square().clamp_min(1e-300)
    r = length / (1.0 + pushed / (length.square() + a2).sqrt())
    for _ in range(100):
        root = (r.square() + a2).sqrt()
        value = r + pushed * r / root - length
        low, high = torch.where(value < 0, r, low), torch.where(value > 0, r, high)
        newton = r - value / (1.0 + pushed * a2 / root.pow(3))
        inside = (newton >= low) & (newton <= high)
        following = torch.where(inside, newton, 0.5 * (low + high))
        if bool(((following - r).abs() <= 1e-16 * length).all()):
            return torch.where(length > 0, following / length.clamp_min(1e-300), 1.0)
        r = following
    return torch.where(length > 0, r / length.clamp_min(1e-300), 1.0)
