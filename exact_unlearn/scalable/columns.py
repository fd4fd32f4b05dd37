"""Column generation: an interior point on the few columns that matter, and proof that the others do not.

At an optimum of a norm with r rows about r coordinates (or groups) are not zero, or, for the largest entry, are
not at its level.  The solver works on such a set only, and multiplies its multipliers y with all of J once per
round: that yields a dual bound for the whole problem and names the columns to add.  Rounds end when value and
bound agree, so a wrong guess costs time, never accuracy.  With curvature q > 0 most columns may matter, and
then all of them are taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from exact_unlearn.scalable.composite import Composite
from exact_unlearn.scalable.cone_absolute import Absolute
from exact_unlearn.scalable.cone_groups import Groups, Segments
from exact_unlearn.scalable.cone_largest import Largest
from exact_unlearn.scalable.interior import Equations, Progress, interior_point
from exact_unlearn.scalable.prox import kinks
from exact_unlearn.scalable.team import agreed, largest, leading, total

FIRST = 5
"""Columns taken at first, per row."""
ROUND = 2
"""Columns added per round at most, per row."""
WARM = 0.97
"""How much of the multipliers comes from the round before."""
FEW = 600
"""Problems with at most this many columns are not worth choosing from."""


@dataclass(frozen=True, eq=False)
class Answer:
    """x (d,) on the free coordinates (0 elsewhere), y (r,), z (d,) the subgradient of the kinks where it is
    known to the solver (else nan), relative gap as the solver sees it, rounds and interior-point iterations.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    gap: float
    rounds: int
    iterations: int
    columns: int


@dataclass(eq=False)
class Working:
    """The chosen columns and what was computed for them: index (n,) into the parameters, columns Q_j (n, r)."""

    index: Tensor
    columns: Tensor
    chosen: Tensor = field(repr=False)

    def add(self, task: Composite, atoms: Tensor) -> None:
        """Take in more atoms (coordinates, or groups with all of their kinked coordinates)."""
        fresh = atoms[~self.chosen[atoms]]
        if not fresh.numel():
            return
        self.chosen[fresh] = True
        if task.labels is not None:
            position = self.chosen.new_full(self.chosen.shape, -1, dtype=torch.int64)
            position[fresh] = torch.arange(fresh.numel(), device=fresh.device)
            place = torch.where(task.kinked, position[task.labels], -1)
            members = (place >= 0).nonzero()[:, 0]
            fresh = members[place[members].argsort(stable=True)]
        self.index = torch.cat([self.index, fresh])
        self.columns = torch.cat([self.columns, task.space.columns(fresh)])


def start_working(task: Composite) -> Working:
    count = task.weights.numel()
    none = torch.zeros(count, dtype=torch.bool, device=task.weights.device)
    empty = task.theta_star.new_zeros(0, task.space.rank)
    return Working(torch.zeros(0, dtype=torch.int64, device=none.device), empty, none)


def atoms_of(task: Composite) -> Tensor:
    """Mask of the atoms with a kinked coordinate."""
    if task.labels is None:
        return task.kinked
    return torch.zeros_like(task.weights, dtype=torch.bool).index_fill_(0, task.labels[task.kinked], True)


def tightness(task: Composite, pull: Tensor) -> Tensor:
    """|pull + q center| / weight per atom, 0 for atoms without a kink: at most 1 where the kink holds x at 0."""
    v = torch.where(task.kinked, pull + task.anchor if task.pull_back else pull, 0.0)
    if task.labels is None:
        return torch.where(task.kinked, v.abs() / task.weights.clamp_min(1e-300), 0.0)
    lengths = torch.zeros_like(task.weights).index_add_(0, task.labels, v.square()).sqrt()
    return torch.where(task.weights > 0, lengths / task.weights.clamp_min(1e-300), 0.0)


def solve_sum(task: Composite, gap: float, hint: Tensor | None = None, y: Tensor | None = None) -> Answer:
    """Sums of kinks: l1 and group norms, with or without curvature.  hint: mask of atoms expected to matter; y:
    multipliers to start from.
    """
    space, team = task.space, task.space.team
    extra, right = task.extra()
    equations = Equations(right, extra, team, task.clock)
    working, live = start_working(task), atoms_of(task)
    y, tight = _first_multipliers(task, right, y)
    spare = _choose_first(task, working, live, tight, hint)
    x = task.theta_star.new_zeros(working.index.numel() + spare.count)
    goal, iterations, rounds = (0.3 * gap if spare.everything else 3e-2), 0, 0
    width = None
    while True:
        rounds += 1
        model, progress = _run(task, working, spare, equations, x, y, goal, width)
        iterations += progress.iterations
        y, x = progress.y, model.point()
        pull = space.pull(y)
        tight = tightness(task, pull)
        bound = _sum_bound(task, working, spare, model, pull, tight, y, right)
        value = float(team.sum(model.value()))
        (seen,) = agreed(team, (value - bound) / max(abs(value), 1e-300))
        n_new = float(total(team, ((tight > 1.0) & ~working.chosen & live).to(torch.float64)))
        task.clock.tell(f"round {rounds}, {working.index.numel()} columns", seen)
        if seen <= gap or rounds >= 40 or (goal <= 0.3 * gap and not n_new) or task.clock.expired():
            break
        added = leading(team, torch.where(live & ~working.chosen & (tight > 1.0), tight, -torch.inf), spare.batch)
        before = working.index.numel()
        working.add(task, added)
        n_added = working.index.numel() - before
        x = torch.cat([x[:before], x.new_zeros(n_added), x[before:]])
        counts = team.sum(torch.tensor([n_added, before], dtype=torch.float64, device=right.device)).tolist()
        few = counts[0] <= 0.05 * counts[1]
        goal = 0.3 * gap if few else max(0.3 * gap, min(goal, 0.1 * seen))
        peak = largest(team, tight)
        y = y * (0.9 / max(peak, 1.0)) if task.curvature == 0 else y
        width = max(min(seen, 0.1), 1e-6)
    return _sum_answer(task, working, spare, model, pull, tight, y, seen, rounds, iterations)


def _first_multipliers(task: Composite, right: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where y starts, and how tight it is: what the squares alone would ask for, or c itself well inside the
    dual ball.
    """
    space, team = task.space, task.space.team
    if task.curvature > 0:
        if y is None:
            y = task.curvature * right - space.product(torch.where(task.kinked, task.anchor, 0.0))
        tight = tightness(task, space.pull(y))
        if largest(team, tight) > 0.5:
            return y, tight
    y = right if y is None else y
    tight = tightness(task, space.pull(y))
    peak = largest(team, tight)
    return (y * (0.5 / peak) if peak > 0.5 else y), tight


@dataclass(eq=False)
class Spare:
    """One artificial column, the shortest feasible point, that keeps every restricted problem feasible (q = 0
    only).
    """

    count: int
    point: Tensor
    column: Tensor
    weight: float
    batch: int
    everything: bool


def _choose_first(task: Composite, working: Working, live: Tensor, tight: Tensor, hint: Tensor | None) -> Spare:
    """Fill `working` for the first time; atoms that a restricted problem cannot do without are always in."""
    space, team = task.space, task.space.team
    n_live = total(team, live.to(torch.float64))
    n_columns = total(team, task.kinked.to(torch.float64))
    width = max(1.0, n_columns / max(n_live, 1.0))
    batch = math.ceil(ROUND * space.rank / width)
    first = math.ceil(FIRST * space.rank / width)
    always = torch.zeros_like(live) if task.frozen is None else live & (task.frozen > 0)
    if hint is not None:
        always = always | (live & hint)
    many = n_columns <= FEW or 2 * first >= n_live or task.curvature > 0
    if many or total(team, always.to(torch.float64)) > 0.5 * n_live:
        working.add(task, live.nonzero()[:, 0])
        return Spare(0, tight, space.right, 0.0, batch, True)
    chosen = always.clone()
    chosen[leading(team, torch.where(live, tight, -torch.inf), first)] = True
    working.add(task, chosen.nonzero()[:, 0])
    held = always if task.labels is None else always[task.labels]
    shortest = torch.where(task.kinked & ~held, space.pull(space.right), 0.0)
    column = space.product(shortest)
    if task.labels is None:
        weight = total(team, task.weights * shortest.abs())
    else:
        squares = torch.zeros_like(task.weights).index_add_(0, task.labels, shortest.square())
        weight = total(team, task.weights * squares.sqrt())
    count = (
        1 if task.labels is None else max(1, round(width))
    )  # a group of the common size: equal sizes are summed faster
    return Spare(count * (team.rank == 0), shortest, column, weight, batch, False)


def _run(
    task: Composite,
    working: Working,
    spare: Spare,
    equations: Equations,
    x: Tensor,
    y: Tensor,
    goal: float,
    width: float | None,
) -> tuple[Absolute | Groups, Progress]:
    """Interior point on the working set (and the spare column, if it is ours)."""
    team, index = equations.team, working.index
    columns, weights = working.columns, task.weights[index] if task.labels is None else task.weights
    if spare.count:
        padding = columns.new_zeros(spare.count - 1, columns.shape[1])
        columns = torch.cat([columns, spare.column[None], padding])
    q = task.curvature
    center = task.anchor[index] / q if q else x.new_zeros(index.numel())
    center = torch.cat([center, x.new_zeros(spare.count)])
    pull = columns @ y
    if width is None and q == 0:
        gram = team.sum(columns.T @ columns)
        gram.diagonal().add_(1e-12 * float(gram.diagonal().max()))
        lower, _ = torch.linalg.cholesky_ex(gram)
        x = columns @ torch.cholesky_solve(equations.right[:, None], lower)[:, 0]
    mean = total(team, x.abs()) / max(total(team, torch.ones_like(x)), 1.0)
    lift = (1.0 if width is None else width) * (mean or 1.0)
    tail = x.new_full((min(spare.count, 1),), spare.weight)
    if task.labels is None:
        weights = torch.cat([weights, tail])
        z = pull + q * center
        v, z = z, z / (z.abs() / (0.9 * weights)).clamp_min(1.0)
        x = (v - z) / q if q else x
        model: Absolute | Groups = Absolute(columns, weights, q, center, x, z, lift)
    else:
        labels = torch.cat([task.labels[index], task.labels.new_full((spare.count,), task.weights.numel())])
        groups, place = torch.unique_consecutive(labels, return_inverse=True)
        segments = Segments.of(place, groups.numel())
        weights = torch.cat([task.weights, tail])[groups]
        frozen = x.new_zeros(1) if task.frozen is None else task.frozen
        frozen = torch.cat([frozen, torch.zeros_like(tail)])[groups]
        z = pull + q * center
        v, z = z, z / segments.spread((segments.sum(z.square()).sqrt() / (0.9 * weights)).clamp_min(1.0))
        x = (v - z) / q if q else x
        size = max(1.0, x.numel() / max(groups.numel(), 1)) ** 0.5
        model = Groups(columns, segments, weights, frozen, q, center, x, z, lift * size)
    return model, interior_point(model, equations, y, goal)


def _sum_bound(
    task: Composite,
    working: Working,
    spare: Spare,
    model: Absolute | Groups,
    pull: Tensor,
    tight: Tensor,
    y: Tensor,
    right: Tensor,
) -> float:
    """A lower bound on the whole problem from y: Fenchel duality with subgradients scaled or clipped into their
    domain.
    """
    team, q = task.space.team, task.curvature
    peak = max(1.0, largest(team, tight))
    if q == 0:
        bound = float(right @ y) / peak
        if task.frozen is not None:
            inside = (1.0 - (tight / peak).square()).clamp_min(0).sqrt()
            bound += total(team, task.weights * task.frozen * torch.where(task.weights > 0, inside, 0.0))
        return bound
    z = model.multipliers()[: working.index.numel()]
    v = pull[working.index] + task.anchor[working.index]
    bound = -0.5 * float(((v - z).square()).sum()) / q
    bound += 0.5 * float(task.anchor[working.index].square().sum()) / q
    if isinstance(model, Groups):
        slack = (model.w.square() - model.segments.sum(model.z.square())).clamp_min(0).sqrt()
        bound += float(model.a @ slack)
    bound = float(team.sum(right.new_tensor(bound))) + float(right @ y)
    extra, _ = task.extra()
    return bound if extra is None else bound - 0.5 * float(y @ (extra @ y))


def _sum_answer(
    task: Composite,
    working: Working,
    spare: Spare,
    model: Absolute | Groups,
    pull: Tensor,
    tight: Tensor,
    y: Tensor,
    seen: float,
    rounds: int,
    iterations: int,
) -> Answer:
    n, x = working.index.numel(), torch.zeros_like(task.theta_star)
    point = model.point()
    x[working.index] = point[:n]
    if not spare.everything:
        share = (
            task.space.team.sum(point[n:].sum()) if point.numel() > n or task.space.team.size > 1 else point.sum() * 0
        )
        x = x + float(share) * spare.point
    if task.curvature == 0:
        x = _cleaned(task, working, point[:n], tight, x, seen)
    z = torch.where(task.kinked, pull + task.anchor, 0.0)
    z[working.index] = model.multipliers()[:n]
    if task.curvature > 0:
        smooth = task.smooth
        x = torch.where(smooth, (pull + task.anchor) / task.curvature, x)
    return Answer(x, y, z, seen, rounds, iterations, n)


def _cleaned(task: Composite, working: Working, point: Tensor, tight: Tensor, x: Tensor, gap: float) -> Tensor:
    """x with exact zeros where the multipliers have more slack than x has size, the rest moved as little as Q x
    = c needs.

    An interior point leaves dust on every column.  Returned is x itself if the smaller support cannot carry the
    constraints or costs more than half of the gap.
    """
    team, right, index = task.space.team, task.space.right, working.index
    if task.labels is None:
        size, slack = point.abs(), 1.0 - tight[index]
    else:
        squares = torch.zeros_like(task.weights).index_add_(0, task.labels[index], point.square())
        size, slack = squares.sqrt()[task.labels[index]], 1.0 - tight[task.labels[index]]
        if task.frozen is not None:  # a group that is partly frozen has no kink at zero
            slack = torch.where(task.frozen[task.labels[index]] > 0, -1.0, slack)
    alive = size > slack * largest(team, size)
    columns, kept = working.columns[alive], point[alive]
    gram = team.agree(torch.linalg.pinv(team.sum(columns.T @ columns), rtol=1e-13, hermitian=True))
    for _ in range(3):
        kept = kept + columns @ (gram @ (right - team.sum(columns.T @ kept)))
    clean = torch.zeros_like(x)
    clean[index[alive]] = kept
    miss = float(torch.linalg.vector_norm(right - team.sum(columns.T @ kept)) / torch.linalg.vector_norm(right))
    before, after = kinks(task, x), kinks(task, clean)
    (good,) = agreed(team, float(miss <= 1e-13 and after <= before * (1.0 + 0.5 * abs(gap))))
    return clean if good else x


def solve_largest(task: Composite, gap: float, hint: Tensor | None = None, y: Tensor | None = None) -> Answer:
    """The largest entry: columns whose sign is settled are one column together, and the others are the working
    set.
    """
    space, team = task.space, task.space.team
    extra, right = task.extra()
    equations = Equations(right, extra, team, task.clock)
    live = task.kinked
    y = right.clone() if y is None else y
    pull = torch.where(live, space.pull(y), 0.0)
    n_live = total(team, live.to(torch.float64))
    least = (FIRST + 1) * space.rank
    working, signs = _partition(task, pull, right, n_live, least, hint)
    everything = total(team, working.chosen.to(torch.float64)) == n_live
    goal, rounds, iterations = (0.3 * gap if everything else 1e-3), 0, 0
    x: Tensor | None = None
    while True:
        rounds += 1
        settled = live & ~working.chosen
        model, progress = _run_largest(task, working, settled, signs, equations, (x, y), goal)
        x = _whole_point(task, working, settled, signs, model)
        iterations += progress.iterations
        y = progress.y
        pull = space.pull(y)
        value, bound = float(team.sum(model.value())), _largest_bound(task, working, model, pull, y, right)
        (seen,) = agreed(team, (value - bound) / max(abs(value), 1e-300))
        wrong = settled & (signs * pull < 0)
        n_wrong = total(team, wrong.to(torch.float64))
        task.clock.tell(f"round {rounds}, {working.index.numel()} columns", seen)
        if seen <= gap or rounds >= 40 or (goal <= 0.3 * gap and not n_wrong) or task.clock.expired():
            break
        size = total(team, working.chosen.to(torch.float64))
        if goal > 0.3 * gap and rounds < 4 and size > 2 * least:
            working, signs = _partition(task, torch.where(live, pull, 0.0), right, n_live, least, None)
        else:
            working.add(task, (wrong if n_wrong < 0.25 * n_live else settled).nonzero()[:, 0])
        shrunk = total(team, working.chosen.to(torch.float64)) < 0.5 * size
        goal = 1e-3 if shrunk and rounds < 3 else 0.3 * gap
    return _largest_answer(task, working, settled, signs, model, pull, y, seen, rounds, iterations)


def _partition(
    task: Composite, pull: Tensor, right: Tensor, n_live: float, least: int, hint: Tensor | None
) -> tuple[Working, Tensor]:
    """Working set and signs from multipliers: the further c is from Q (signs), the more signs are unsure."""
    space, team, working = task.space, task.space.team, start_working(task)
    signs, scores = (
        torch.sign(pull),
        torch.where(task.kinked, -(pull.abs() / task.weights.clamp_min(1e-300)), -torch.inf),
    )
    if task.curvature > 0 or n_live <= max(FEW, 2 * least):
        working.add(task, task.kinked.nonzero()[:, 0])
        return working, signs
    reached = space.product(torch.where(task.kinked, signs / task.weights.clamp_min(1e-300), 0.0))
    level = (reached @ right) / (reached @ reached).clamp_min(1e-300)
    distance = float(torch.linalg.vector_norm(right - level * reached) / torch.linalg.vector_norm(right))
    (distance,) = agreed(team, distance)
    count = int(min(n_live, max(least, 2.5 * distance * n_live)))
    if count > 0.5 * n_live:
        working.add(task, task.kinked.nonzero()[:, 0])
        return working, signs
    chosen = torch.zeros_like(task.kinked) if hint is None else task.kinked & hint
    chosen[leading(team, scores, count)] = True
    working.add(task, chosen.nonzero()[:, 0])
    return working, signs


def _largest_answer(
    task: Composite,
    working: Working,
    settled: Tensor,
    signs: Tensor,
    model: Largest,
    pull: Tensor,
    y: Tensor,
    seen: float,
    rounds: int,
    iterations: int,
) -> Answer:
    weights = task.weights
    x, n = _whole_point(task, working, settled, signs, model), working.index.numel()
    z = torch.where(task.kinked, pull, 0.0)
    z[working.index] = model.multipliers()[:n] * weights[working.index]
    if task.curvature > 0:
        x = torch.where(task.smooth, (pull + task.anchor) / task.curvature, x)
    return Answer(x, y, z, seen, rounds, iterations, n)


def _whole_point(task: Composite, working: Working, settled: Tensor, signs: Tensor, model: Largest) -> Tensor:
    """x (d,) from the working set and the level that the settled columns share."""
    team, weights = task.space.team, task.weights.clamp_min(1e-300)
    x, point, n = torch.zeros_like(task.theta_star), model.point(), working.index.numel()
    x[working.index] = point[:n] / weights[working.index]
    level = float(team.sum(point[n:].sum() if team.rank == 0 else point.new_zeros(())))
    return torch.where(settled, level * signs / weights, x)


def _run_largest(
    task: Composite,
    working: Working,
    settled: Tensor,
    signs: Tensor,
    equations: Equations,
    before: tuple[Tensor | None, Tensor],
    goal: float,
) -> tuple[Largest, Progress]:
    """Interior point on the working set and the level column; before: x (d,) and y of the round before."""
    (x, y), team, index = before, equations.team, working.index
    weights = task.weights[index]
    columns, q = working.columns / weights[:, None], task.curvature / weights.square()
    center = weights * task.anchor[index] / task.curvature if task.curvature else weights.new_zeros(index.numel())
    if total(team, settled.to(torch.float64)):
        level = task.space.product(torch.where(settled, signs / task.weights.clamp_min(1e-300), 0.0))
        if team.rank == 0:
            columns, q, center = (
                torch.cat([part, tail])
                for part, tail in ((columns, level[None]), (q, q.new_zeros(1)), (center, q.new_zeros(1)))
            )
    if x is None:
        gram = team.sum(columns.T @ columns)
        gram.diagonal().add_(1e-12 * float(gram.diagonal().max()) if gram.numel() else 0.0)
        lower, _ = torch.linalg.cholesky_ex(gram)
        start = columns @ torch.cholesky_solve(equations.right[:, None], lower)[:, 0]
    else:
        tail = columns.shape[0] - index.numel()
        level = team.max((weights * x[index].abs()).max() if index.numel() else x.new_zeros(()))
        start = torch.cat([weights * x[index], level.expand(tail)])
    model = Largest(columns, q, center, task.floor, start, columns @ y, team, 0.5 if x is None else WARM)
    return model, interior_point(model, equations, y * model.start_scale, goal)


def _largest_bound(task: Composite, working: Working, model: Largest, pull: Tensor, y: Tensor, right: Tensor) -> float:
    team, q = task.space.team, task.curvature
    if q == 0:
        used = total(team, torch.where(task.kinked, pull.abs() / task.weights.clamp_min(1e-300), 0.0))
        size = max(1.0, used)
        return float(right @ y) / size + task.floor * (1.0 - used / size)
    index = working.index
    z = model.multipliers() * task.weights[index]
    used = total(team, model.z)
    z = z / max(1.0, used)
    v = pull[index] + task.anchor[index]
    local = -0.5 * (v - z).square().sum() / q + 0.5 * task.anchor[index].square().sum() / q
    bound = float(team.sum(local)) + float(right @ y) + task.floor * (1.0 - min(1.0, used))
    extra, _ = task.extra()
    return bound if extra is None else bound - 0.5 * float(y @ (extra @ y))
