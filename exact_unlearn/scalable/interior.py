"""Primal-dual interior point in the dimension of the rows, whatever the norm.

    minimise  sum of kinks + 1/2 sum_j q_j (x_j - center_j)^2   subject to   A x + E y = c

with A (m, n) whose rows are nearly orthonormal.  A `ConeModel` knows one kind of kink (absolute values, group
norms, the largest absolute value): its slacks, its multipliers and how to eliminate all of them from Newton's
equations, so that what is left is m x m.  E = 0 unless some coordinates cost a square only and were eliminated:
y then pulls them along.

Mehrotra's predictor and corrector; primal and dual steps differ where nothing couples them (q = 0).  Parameters
may be spread over a team: models sum over their own shard, and this file reduces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from exact_unlearn.scalable.clock import ENDLESS, Clock
from exact_unlearn.scalable.team import Team, agreed

CORRECTORS = (1, 3)
"""Centrality correctors per iteration, at most: for few columns, and where the normal matrix is what costs."""

MANY = 40
"""Columns per row that are many."""

PATIENCE = 15
"""Iterations without progress in gap or residuals before giving up."""

STEP = 0.995
"""How far to go towards the boundary of the cones."""


class ConeModel(Protocol):
    """One kind of kink on the columns of this shard.  Directions are opaque to the driver."""

    columns: Tensor
    """A.T, (n, m)."""
    coupled: bool
    """Primal and dual steps must be equal (q is not 0)."""

    def size(self) -> Tensor:
        """Number of complementary pairs."""
        ...

    def complementarity(self) -> Tensor:
        """Sum of slack times multiplier."""
        ...

    def point(self) -> Tensor:
        """x, (n,)."""
        ...

    def prepare(self, pull: Tensor) -> Tensor:
        """Scale at the current point; pull = A.T y.  Returns this shard's part of the normal matrix, (m, m)."""
        ...

    def right_side(self, target: float, before: Any, wanted: Any = None) -> Tensor:
        """This shard's part of what A dx is without dy.

        target: slack times multiplier aimed at; before: the affine direction; wanted: what `centring` asked for.
        """
        ...

    def centring(self, direction: Any, primal: float, dual: float, target: float) -> Any:
        """Corrections of the products that a step would leave far from `target`, or None if the model has none."""
        ...

    def direction(self, push: Tensor) -> Any:
        """All directions, for push = A.T dy and the targets of the last `right_side`."""
        ...

    def reach(self, direction: Any) -> Tensor:
        """(2,): the largest primal and dual steps within the cones, at most 1."""
        ...

    def complementarity_after(self, direction: Any, primal: float, dual: float) -> Tensor:
        """`complementarity` after a step."""
        ...

    def move(self, direction: Any, primal: float, dual: float) -> None:
        """Take the step."""
        ...

    def value(self) -> Tensor:
        """This shard's part of the objective at `point`, with slacks for kinks."""
        ...

    def dual_error(self, pull: Tensor) -> Tensor:
        """The largest violation of stationarity, relative to the multipliers."""
        ...

    def kept(self) -> Any:
        """What `restore` needs to come back here."""
        ...

    def restore(self, kept: Any) -> None:
        """Back to where `kept` was asked for."""
        ...


class Kept:
    """A model whose tensors are replaced and never written to: its attributes are its state."""

    def kept(self) -> dict[str, Any]:
        return dict(vars(self))

    def restore(self, kept: dict[str, Any]) -> None:
        vars(self).update(kept)


@dataclass(frozen=True, eq=False)
class Equations:
    """A x + E y = c; E (m, m) or None for 0.  `team` shares the columns of A; `clock` may end a run early."""

    right: Tensor
    extra: Tensor | None
    team: Team
    clock: Clock = ENDLESS

    def residual(self, model: ConeModel, y: Tensor) -> Tensor:
        """c - A x - E y, (m,)."""
        left = self.team.sum(model.columns.T @ model.point())
        return self.right - left if self.extra is None else self.right - left - self.extra @ y


@dataclass(frozen=True, eq=False)
class Progress:
    """How an interior-point run ended: multipliers, relative complementarity, residuals, iterations."""

    y: Tensor
    gap: float
    primal: float
    dual: float
    iterations: int

    @property
    def error(self) -> float:
        return max(self.gap, self.primal, self.dual)


def interior_point(model: ConeModel, equations: Equations, y: Tensor, goal: float, limit: int = 150) -> Progress:
    """Run until the relative gap and both residuals are at most `goal`, or until nothing improves.

    The model holds x and its slacks and is moved in place; y (m,) is where the multipliers start.
    """
    team, size = equations.team, None
    scale = float(torch.linalg.vector_norm(equations.right)) or 1.0
    best, stalled = [math.inf] * 3, 0
    kept: tuple[Progress, Any] | None = None
    progress = Progress(y, math.inf, math.inf, math.inf, 0)
    for iteration in range(limit + 1):
        pull = model.columns @ y
        residual = equations.residual(model, y)
        sums = team.sum(torch.stack([model.complementarity(), model.value(), model.size()]))
        comp, value, size = sums.tolist()
        dual = float(team.max(model.dual_error(pull)))
        primal, scale = agreed(team, float(torch.linalg.vector_norm(residual)), scale)
        progress = Progress(y, comp / max(abs(value), 1e-300), primal / scale, dual, iteration)
        if math.isfinite(progress.error) and (kept is None or progress.error <= kept[0].error):
            kept = progress, model.kept()
        if not math.isfinite(progress.error) or progress.error <= goal or iteration == limit:
            break
        equations.clock.tell(f"interior point, {model.columns.shape[0]} columns, iteration {iteration}", progress.error)
        if equations.clock.expired():
            break
        parts = [progress.gap, max(progress.primal, 0.1 * goal), max(progress.dual, 0.1 * goal)]
        stalled = 0 if any(part < 0.9 * least for part, least in zip(parts, best, strict=True)) else stalled + 1
        best = [min(pair) for pair in zip(parts, best, strict=True)]
        if stalled >= PATIENCE:
            break
        solver = _Normal(team.sum(model.prepare(pull)), equations.extra)
        affine = _newton(model, team, solver, residual, 0.0, None)[1]
        primal, dual_step = _reach(model, team, affine)
        after = float(team.sum(model.complementarity_after(affine, primal, dual_step)))
        target = min(1.0, max(after, 0.0) / comp) ** 3 * comp / size if comp > 0 else 0.0
        step, direction = _newton(model, team, solver, residual, target, affine)
        primal, dual_step = _reach(model, team, direction)
        step, direction, primal, dual_step = _centred(
            model,
            team,
            solver,
            residual,
            target,
            affine,
            (step, direction, primal, dual_step),
            size > 2 * MANY * y.numel(),
        )
        if max(primal, dual_step) < 1e-9:
            break
        model.move(direction, primal, dual_step)
        y = y + dual_step * step
    if kept is None:
        return progress
    model.restore(kept[1])
    return replace(kept[0], iterations=progress.iterations)


def _newton(
    model: ConeModel, team: Team, solver: _Normal, residual: Tensor, target: float, before: Any, wanted: Any = None
) -> tuple[Tensor, Any]:
    step = team.agree(solver.solve(residual - team.sum(model.right_side(target, before, wanted))))
    return step, model.direction(model.columns @ step)


Move = tuple[Tensor, Any, float, float]


def _centred(
    model: ConeModel, team: Team, solver: _Normal, residual: Tensor, target: float, before: Any, move: Move, many: bool
) -> Move:
    """Gondzio's correctors: while steps are short, aim the worst products at the target again with the same factor."""
    wanted: Any = None
    for _ in range(CORRECTORS[many]):
        primal, dual = move[2:]
        if min(primal, dual) > 0.8:
            break
        wider = min(1.0, 1.5 * primal + 0.1), min(1.0, 1.5 * dual + 0.1)
        more = model.centring(move[1], *wider, target)
        if more is None:
            break
        wanted = more if wanted is None else tuple(a + b for a, b in zip(wanted, more, strict=True))
        step, direction = _newton(model, team, solver, residual, target, before, wanted)
        trial = (step, direction, *_reach(model, team, direction))
        if trial[2] + trial[3] < 1.05 * (primal + dual):
            break
        move = trial
    return move


def _reach(model: ConeModel, team: Team, direction: Any) -> tuple[float, float]:
    primal, dual = (-team.max(-model.reach(direction))).tolist()
    primal, dual = min(1.0, STEP * primal), min(1.0, STEP * dual)
    return (min(primal, dual),) * 2 if model.coupled else (primal, dual)


class _Normal:
    """A factorisation of the normal matrix, regularised just enough to exist, with refinement against the
    matrix itself.
    """

    def __init__(self, matrix: Tensor, extra: Tensor | None) -> None:
        self.matrix = matrix if extra is None else matrix + extra
        diagonal = self.matrix.diagonal()
        ridge = 1e-15 * float(diagonal.max()) if diagonal.numel() else 0.0
        self.scale = diagonal.clamp_min(max(ridge, 1e-300)).rsqrt()
        unit = self.scale[:, None] * self.matrix * self.scale
        ridge = 1e-15
        while True:
            shifted = unit.clone()
            shifted.diagonal().add_(ridge)
            self.lower, info = torch.linalg.cholesky_ex(shifted)
            if int(info) == 0 or ridge > 1.0:
                break
            ridge *= 100.0
        self.rounds = 1 if ridge <= 1e-14 else 4

    def solve(self, right: Tensor) -> Tensor:
        step = self._once(right)
        for _ in range(self.rounds):
            step = step + self._once(right - self.matrix @ step)
        return step

    def _once(self, right: Tensor) -> Tensor:
        return self.scale * torch.cholesky_solve((self.scale * right)[:, None], self.lower)[:, 0]


def far_products(product: Tensor, target: float) -> Tensor:
    """What brings products into [target / 10, 10 target], never by less than -10 target."""
    return (product.clamp(0.1 * target, 10.0 * target) - product).clamp_min(-10.0 * target)


def ratio_step(value: Tensor, change: Tensor) -> Tensor:
    """The largest s <= 1 with value + s change >= 0, for value > 0."""
    if not value.numel():
        return value.new_ones(())
    return (change / value).min().clamp_max(-1.0).neg().reciprocal()
