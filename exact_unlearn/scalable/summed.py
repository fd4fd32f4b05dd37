"""Forms that come to no named regularizer: sums of terms, maps, centres, Huber; and drifts of every kind.

    minimise  sum_k f_k(M_k theta - c_k)   subject to   J D = b,   D = 0 on frozen coordinates

Terms of single coordinates and one group norm act on theta itself (`Mixed`).  Every other part (behind a map, a second
group norm, a largest entry) gets variables u of its own and rows M theta - u = c, so what is left is a problem of
blocks side by side whose dimension is that of the rows.  A ball around theta* is one more square, whose weight is found
by a root of one variable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Huber, Kink, Max, Norms, Part, Rows, Square
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.scalable.clock import Clock
from exact_unlearn.scalable.cone_groups import Groups, Segments
from exact_unlearn.scalable.cone_largest import Largest
from exact_unlearn.scalable.cone_sum import Box, Kinks, Mixed, Norm, Piece, SideBySide, Squares
from exact_unlearn.scalable.interior import Equations, Progress, interior_point
from exact_unlearn.scalable.radius import on_radius, onto_sphere
from exact_unlearn.scalable.space import Space
from exact_unlearn.solution import Solution, Status

ENTRIES = 200_000_000
"""Largest number of entries of the matrix of all rows, those of maps included."""


@dataclass(frozen=True, eq=False)
class Lifted:
    """A part with variables of its own: index of its summand, model, rows (p, d), and p right-hand sides.

    back: (p,) factors that turn its multipliers into the share of the summand; place: (p,) where they stand there.
    """

    summand: int
    model: Any
    rows: Tensor
    right: Tensor
    back: Tensor
    place: Tensor

    @property
    def size(self) -> int:
        """p."""
        return self.place.numel()


@dataclass(frozen=True, eq=False)
class Answer:
    """theta, multipliers y of Q, one share per summand of the form, and one force per drift penalty."""

    theta: Tensor
    y: Tensor
    shares: list[Tensor]
    forces: list[Tensor]
    progress: Progress
    columns: int


def require_known(problem: UnlearningProblem) -> None:
    """ProblemError for a form with a term that has no cone here."""
    if not all(isinstance(part.term, Square | Kink | Huber | Norms | Max) for part in problem.form.parts):
        got = problem.form if problem.regularizer.name == "form" else problem.regularizer.name
        what = "scalable.solve takes every convex form but nuclear norms"
        raise ProblemError(f"regularizer: {what}, got {got}; use exact_unlearn.solve")


def solve_summed(problem: UnlearningProblem, space: Space, gap: float, ticking: Clock) -> Solution:
    """The answer, measured.  The rows of `space` are those of the problem, and they do not contradict one another."""
    radius = min((float(t.radius) for t in problem.drifts if _is_ball(t)), default=math.inf)
    goal = 0.02 * gap if math.isinf(radius) else max(1e-13, 1e-4 * gap)

    def run(mu: float, before: Answer | None) -> tuple[Answer, float]:
        found = _Task(problem, space, goal, ticking, mu).solve()
        return found, float(torch.linalg.vector_norm(torch.where(space.free, found.theta - task.theta_star, 0.0)))

    task = _Task(problem, space, goal, ticking, 0.0)
    if _nothing_asks(problem, space):
        return task.claim(task.nothing(), 0.0, gap)
    if math.isinf(radius):
        return task.claim(task.solve(), 0.0, gap)
    size = float(torch.linalg.vector_norm(torch.where(space.free, task.theta_star, 0.0)))
    held = on_radius(run, radius, task.weight / max(size, radius), 0.01 * gap, clock=ticking)
    if held.mu:
        theta = onto_sphere(space, space.free, task.theta_star, held.state.theta, radius)
        held = replace(held, state=replace(held.state, theta=torch.where(space.free, theta, task.theta_star)))
    return task.claim(held.state, held.mu, gap)


def nothing_moves(problem: UnlearningProblem) -> UnlearningProblem | None:
    """The problem without rows and free coordinates that is left where a region has the radius 0, or None."""
    if not any(term.name == "trust_region" and not term.radius for term in problem.drifts):
        return None
    d = problem.n_parameters
    bare: dict[str, Any] = {
        "jacobian": np.zeros((0, d)),
        "rhs": None,
        "at_least": None,
        "drift_penalty": None,
        "outputs": None,
    }
    return replace(problem, free=np.zeros(d, dtype=bool), origin=None, **bare)


def held_still(problem: UnlearningProblem, found: Solution, gap: float) -> Solution:
    """The answer to `nothing_moves` as one to the problem: the region holds back whatever the slopes are."""
    forces = [np.zeros(problem.n_parameters) for _ in problem.drifts]
    first = next(i for i, term in enumerate(problem.drifts) if term.name == "trust_region" and not term.radius)
    forces[first] = np.where(problem.free, -to_float(np.asarray(found.subgradient)), 0.0)
    nu = np.zeros(problem.n_constraints)
    return _measured(replace(found, problem=problem, nu=nu, drift_subgradients=tuple(forces)), gap, False)


def _measured(found: Solution, gap: float, late: bool) -> Solution:
    """The answer, called optimal only if its residuals are at most `gap`."""
    worst = max(found.primal_residual(), found.dual_residual(), found.relative_gap())
    if math.isfinite(worst) and worst <= gap:
        return replace(found, status=Status.OPTIMAL)
    status = Status.TIME_LIMIT if late else Status.INACCURATE
    return found.with_message(status, f"{found.message}; reached {worst:.1e} where {gap:.1e} was asked for")


def _nothing_asks(problem: UnlearningProblem, space: Space) -> bool:
    """No row asks for anything, and every part is least where the free coordinates are 0."""
    still = not bool(space.right.any()) and not problem.drifts
    parts = problem.form.parts
    return still and all(p.centre is None and (p.map is None or bool(problem.free.all())) for p in parts)


class _Task:
    """One problem in torch, with mu/2 |D|^2 added.

    index: coordinates that move and cost something by themselves; smooth: those that move and do not, though parts
    behind maps may see them.
    """

    def __init__(self, problem: UnlearningProblem, space: Space, goal: float, ticking: Clock, mu: float) -> None:
        self.problem, self.space, self.goal, self.ticking, self.mu = problem, space, goal, ticking, mu
        self.device = space.free.device
        self.theta_star = self._tensor(problem.theta_star)
        d, summands = self.theta_star.numel(), problem.form.summands
        self.summands = summands
        costs = self._costs(d)
        self.index, self.smooth = ((space.free & mask).nonzero()[:, 0] for mask in (costs, ~costs))
        self.start = self.theta_star[self.index]
        missing = space.right - space.product(torch.where(space.free, self.theta_star, 0.0))
        reach = float(torch.linalg.vector_norm(missing)) / math.sqrt(max(d, 1))
        star = to_float(problem.theta_star)
        lengths = [float(np.sqrt(np.mean(np.square(to_float(part.at(star)))))) for part in problem.form.parts]
        self.width = max([reach, *(length for length in lengths if math.isfinite(length))]) or 1.0
        self.weight = float(problem.regularizer.value(star)) / (self.width * max(d, 1)) or 1.0
        if not (0.0 < self.weight < math.inf and self.width < math.inf):
            self.weight, self.width = 1.0, 1.0

    def _costs(self, d: int) -> Tensor:
        """(d,) mask of the coordinates on which a part without variables of its own depends."""
        if self.mu or any(not _is_ball(term) for term in self.problem.drifts):
            return torch.ones_like(self.space.free)
        seen, normed = np.zeros(d, dtype=bool), False
        for part in (part for summand in self.summands for part in summand.parts if part.map is None):
            if part.term.separable or (isinstance(part.term, Norms) and not normed):
                normed = normed or not part.term.separable
                seen |= part.term.seen(d)
        return torch.from_numpy(seen).to(self.device)

    def _tensor(self, values: Any) -> Tensor:
        return torch.from_numpy(np.array(to_float(np.asarray(values)), dtype=np.float64)).to(self.device)

    def _free(self, values: Any, otherwise: float) -> Tensor:
        """(n,) of a vector (d,), None for a constant."""
        return torch.full_like(self.start, otherwise) if values is None else self._tensor(values)[self.index]

    # ------------------------------------------------------------ solving

    def solve(self) -> Answer:
        """Coordinates that cost nothing are eliminated by the combinations of rows that do not see them."""
        own, norm, lifted = self._split()
        drifts = [self._drift(term) for term in self.problem.drifts]
        pieces = [*(piece for piece, _ in own), *(piece for piece in drifts if piece is not None)]
        if self.mu:
            pieces.append(Squares(torch.full_like(self.start, self.mu), self.start, self.start))
        extra, rank = sum(part.size for part in lifted), self.space.rank
        self._require_small(extra, rank)
        columns, blind = (
            torch.cat([self.space.columns(index), *(part.rows[:, index].T for part in lifted)], 1)
            for index in (self.index, self.smooth)
        )
        mix = _blind(blind)
        blocks: list[Any] = [Mixed(_mixed(columns, mix), self.start, pieces, None if norm is None else norm[0])]
        first = rank
        for part in lifted:
            unit = columns.new_zeros(part.size, rank + extra)
            unit[:, first : first + part.size].diagonal().fill_(-1.0)
            part.model.columns = _mixed(unit, mix)
            first += part.size
            blocks.append(part.model)
        right = torch.cat([self.space.right, *(part.right for part in lifted)])
        asked = right if mix is None else mix.T @ right
        model, equations = SideBySide(blocks), Equations(asked, None, self.space.team, self.ticking)
        progress = interior_point(model, equations, torch.zeros_like(asked), self.goal)
        y = progress.y if mix is None else mix @ progress.y
        theta = self.theta_star.clone()
        theta[self.index] = blocks[0].x
        if mix is not None:
            us = [torch.zeros(rank).to(right), *(part.model.point() for part in lifted)]
            left = right + torch.cat(us) - columns.T @ blocks[0].x - blind.T @ theta[self.smooth]
            theta[self.smooth] += torch.linalg.lstsq(blind.T, left[:, None], driver="gelsd").solution[:, 0]
        return Answer(
            theta,
            y[:rank],
            self._shares(own, norm, lifted, blocks[0]),
            self._forces(drifts),
            progress,
            columns.shape[0] + extra,
        )

    def nothing(self) -> Answer:
        """0 on all free coordinates, without multipliers; a norm is then as steep as it can be on what is frozen."""
        norm = self._split()[1]
        shares = [self.theta_star.new_zeros(summand.size(self.theta_star.numel())) for summand in self.summands]
        if norm is not None:
            norm[0].groups.xi = norm[0].groups.w
            self._frozen_norm(norm[0], norm[1], shares[norm[1]])
        theta = torch.where(self.space.free, 0.0, self.theta_star)
        return Answer(theta, 0.0 * self.space.right, shares, [], Progress(theta, 0.0, 0.0, 0.0, 0), 0)

    def _shares(self, own: Any, norm: Any, lifted: list[Lifted], mixed: Mixed) -> list[Tensor]:
        d = self.theta_star.numel()
        shares = [self.theta_star.new_zeros(summand.size(d)) for summand in self.summands]
        for piece, summand in own:
            shares[summand][self.index] += piece.multipliers()
        if norm is not None:
            shares[norm[1]][self.index] += mixed.norm_multipliers()
            self._frozen_norm(norm[0], norm[1], shares[norm[1]])
        for part in lifted:
            shares[part.summand][part.place] += part.back * part.model.multipliers()
        return shares

    def _forces(self, drifts: list[Piece | None]) -> list[Tensor]:
        forces = [torch.zeros_like(self.theta_star) for _ in drifts]
        for force, drift in zip(forces, drifts, strict=True):
            if drift is not None:
                force[self.index] = drift.multipliers()
        return forces

    def _require_small(self, extra: int, rank: int) -> None:
        if (self.theta_star.numel() + extra) * (rank + extra) > ENTRIES:
            raise ProblemError(
                f"regularizer: {self.problem.form} needs {extra} rows of its own, too many for scalable.solve; "
                "use exact_unlearn.solve"
            )

    def _split(self) -> tuple[list[tuple[Piece, int]], tuple[Norm, int] | None, list[Lifted]]:
        """Pieces with the number of their summand, the group norm on theta, and what has variables of its own."""
        own: list[tuple[Piece, int]] = []
        norm: tuple[Norm, int] | None = None
        lifted: list[Lifted] = []
        for number, summand in enumerate(self.summands):
            for part in summand.parts:
                if part.map is None and part.term.separable:
                    own.append((self._piece(part), number))
                elif part.map is None and isinstance(part.term, Norms) and norm is None:
                    norm = self._norm(part), number
                else:
                    lifted.append(self._lifted(part, number))
        return own, norm, lifted

    def _piece(self, part: Part) -> Piece:
        term: Any = part.term
        weights = float(part.factor) * self._free(term.weights, 1.0)
        centre = self._free(part.centre, 0.0)
        return _separable(term, weights, centre, self.start, self.width)

    def _drift(self, term: Any) -> Piece | None:
        """A drift penalty as a function of theta; None for a ball, which `solve` is told by its multiplier."""
        if _is_ball(term):
            return None
        if term.name == "squared_drift":
            return Squares(torch.full_like(self.start, float(term.lam)), self.start, self.start)
        if term.name == "l1_drift":
            return Kinks(torch.full_like(self.start, float(term.lam)), self.start, self.start, self.width)
        return Box(float(term.radius), self.start, self.weight)

    def _norm(self, part: Part) -> Norm:
        """The group norm on the free coordinates; what is frozen is a constant length per group."""
        lengths = self._held(part)[1]
        labels, outer, root = self._groups(part, self.theta_star.numel())
        moved = (self.theta_star - self._centre(part, self.theta_star.numel()))[self.index]
        return _norm_of(labels[self.index], outer, lengths, root[self.index], moved, self.width)

    def _held(self, part: Part) -> tuple[Tensor, Tensor]:
        """theta - c on the frozen coordinates, (d,), and its length in every group."""
        d = self.theta_star.numel()
        labels, outer, root = self._groups(part, d)
        held = torch.where(self.space.free, 0.0, self.theta_star - self._centre(part, d))
        return held, torch.zeros_like(outer).index_add_(0, labels, (root * held).square()).sqrt()

    def _groups(self, part: Part, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Labels (size,), weights of groups, and square roots of inner weights (size,)."""
        term: Any = part.term
        labels = torch.from_numpy(np.array(term.labels(size))).to(self.device)
        root = labels.new_ones(size, dtype=torch.float64) if term.inner is None else self._tensor(term.inner).sqrt()
        return labels, float(part.factor) * self._tensor(term.outer()), root

    def _centre(self, part: Part, size: int) -> Tensor:
        return self.start.new_zeros(size) if part.centre is None else self._tensor(part.centre)

    def _frozen_norm(self, norm: Norm, summand: int, share: Tensor) -> None:
        """The share on frozen coordinates: along theta - c, as long as the multiplier of the constant length says, and
        as long as it may be in groups that cannot move.
        """
        part = self.summands[summand].parts[0]
        held, lengths = self._held(part)
        labels, size, root = self._groups(part, held.numel())
        size[norm.used] = norm.groups.xi
        share += root.square() * held * torch.where(lengths > 0, size / lengths.clamp_min(1e-300), 0.0)[labels]

    def _lifted(self, part: Part, summand: int) -> Lifted:
        """u = M theta - c, the coordinates without a weight left out."""
        term: Any = part.term
        d = self.theta_star.numel()
        rows = Rows.picking(np.arange(d), d) if part.map is None else part.map
        p = rows.shape[0]
        matrix = self.start.new_zeros(p, d)
        matrix[torch.from_numpy(np.array(rows.row)), torch.from_numpy(np.array(rows.column))] = self._tensor(rows.value)
        still, there = torch.where(self.space.free, 0.0, self.theta_star), matrix @ self.theta_star
        centre, place = self._centre(part, p), torch.arange(p, device=self.device)
        constant, there = matrix @ still - centre, there - centre
        back = torch.ones_like(constant)
        model: Any
        if isinstance(term, Norms):
            labels, outer, root = self._groups(part, p)
            norm = _norm_of(labels, outer, torch.zeros_like(outer), root, there, self.width)
            place, back, model = norm.index, norm.root, norm.groups
        else:
            weights = self.start.new_ones(p) if term.weights is None else self._tensor(term.weights)
            weights = float(part.factor) * weights
            place = (weights > 0).nonzero()[:, 0]
            weights = weights[place]
            if isinstance(term, Max):
                back = weights
                u = back * there[place]
                nothing = torch.zeros_like(u)
                model = Largest(_no_columns(u), nothing, u, 0.0, u, nothing, self.space.team, 0.0)
                model.t = model.t.clamp_min(self.width * float(back.mean()) if back.numel() else 1.0)
            else:
                back = back[place]
                u = there[place]
                piece = _separable(term, weights, torch.zeros_like(u), u, self.width)
                model = Mixed(_no_columns(u), u, [piece])
        return Lifted(summand, model, back[:, None] * matrix[place], -back * constant[place], back, place)

    # ------------------------------------------------------------ from the answer to a claim

    def claim(self, answer: Answer, mu: float, gap: float) -> Solution:
        """theta on the rows, shares within the domains of their conjugates, and all of it measured."""
        problem, space = self.problem, self.space
        theta = answer.theta
        left = space.right - space.product(torch.where(space.free, theta, 0.0))
        theta = theta + space.shortest(left)
        nu, pull = space.nu(answer.y), torch.where(space.free, space.pull(answer.y), 0.0)
        forces = list(answer.forces)
        shares = [_numpy(share) for share in answer.shares]
        point, free = _numpy(theta), problem.free
        self._on_frozen(shares, point)
        total = self._pulled(shares)
        missed = np.where(free, _numpy(pull) - total - sum((_numpy(f) for f in forces), start=0.0 * point), 0.0)
        if mu:  # what the ball holds back is all the rest: mu D, and what rounding made of it
            balls = [float(t.radius) if _is_ball(t) else math.inf for t in problem.drifts]
            forces[int(np.argmin(balls))] = torch.from_numpy(missed)
            missed = np.zeros_like(missed)
        for number, summand in enumerate(self.summands):  # what is missed is the first summand's that takes it
            if summand.map is None and summand.parts:
                shares[number] = summand.into_domain(shares[number] + missed)
                missed = np.zeros_like(missed)
            else:
                shares[number] = summand.into_domain(shares[number])
        subgradient = self._pulled(shares)
        plain = problem.form.plain
        found = Solution(
            problem=problem,
            theta=np.where(free, point, to_float(problem.theta_star)),
            nu=_numpy(nu),
            status=Status.OPTIMAL,
            solver="scalable (sums)",
            subgradient=shares[0] if plain else subgradient,
            drift_subgradients=tuple(_numpy(force) for force in forces),
            shares=None if plain else tuple(shares),
            unique=True if problem.form.strictly_convex else None,
            rank=space.report,
            solve_seconds=self.ticking.seconds,
            message=f"{answer.progress.iterations} iterations, {answer.columns} columns",
        )
        return _measured(found, gap, self.ticking.expired())

    def _pulled(self, shares: list[Array]) -> Array:
        """g = sum M.T g_k, (d,)."""
        pulls = (summand.pull(share) for summand, share in zip(self.summands, shares, strict=True))
        total: Array = sum(pulls, start=np.zeros(self.problem.n_parameters))
        return total

    def _on_frozen(self, shares: list[Array], point: Array) -> None:
        """Slopes of the terms of single coordinates where nothing moves: there g is a free dual variable."""
        frozen = ~self.problem.free
        if not frozen.any():
            return
        for number, summand in enumerate(self.summands):
            for part in summand.parts:
                if part.map is None and part.term.separable:
                    shares[number][frozen] += float(part.factor) * part.term.slope(part.at(point))[frozen]


def _is_ball(term: Any) -> bool:
    return bool(term.name == "trust_region" and term.norm == 2)


def _separable(term: Any, weights: Tensor, centre: Tensor, x: Tensor, width: float) -> Piece:
    if isinstance(term, Square):
        return Squares(weights, centre, x)
    return Kinks(weights, centre, x, width, float(term.delta) if isinstance(term, Huber) else None)


def _norm_of(labels: Tensor, outer: Tensor, frozen: Tensor, root: Tensor, moved: Tensor, width: float) -> Norm:
    """The cones of sum_g outer_g |(root * moved)_g, frozen_g|, without groups and coordinates that cost nothing."""
    index = ((outer[labels] > 0) & (root > 0)).nonzero()[:, 0]
    index = index[torch.argsort(labels[index], stable=True)]
    used, position = torch.unique(labels[index], return_inverse=True)
    x = root[index] * moved[index]
    nothing, segments = torch.zeros_like(x), Segments.of(position, used.numel())
    groups = Groups(_no_columns(x), segments, outer[used], frozen[used], 0.0, nothing, x, nothing, width)
    return Norm(groups, index, root[index], used)


def _blind(columns: Tensor) -> Tensor | None:
    """Orthonormal combinations (rows, r) of the rows whose columns (n, rows) these are that see none of them; None for
    all rows.
    """
    if not columns.numel():
        return None
    _, sigma, right = torch.linalg.svd(columns, full_matrices=True)
    tolerance = 64 * torch.finfo(torch.float64).eps * float(sigma[0])
    mix: Tensor = right[int((sigma > tolerance).sum()) :].T
    return mix


def _mixed(columns: Tensor, mix: Tensor | None) -> Tensor:
    return columns if mix is None else columns @ mix


def _no_columns(like: Tensor) -> Tensor:
    return like.new_zeros(like.numel(), 0)


def _numpy(values: Tensor) -> Array:
    found: Array = values.detach().to("cpu", torch.float64).numpy()
    return found
