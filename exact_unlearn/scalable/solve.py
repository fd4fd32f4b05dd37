"""Norm problems at the size of real networks: one door for every convex regularizer that has a torch solver.

    minimise  R(theta) + lam/2 |D|^2   subject to   J D = b,   |D|_2 <= radius,   D = 0 on frozen coordinates

    squared_l2, l2                     projections (euclidean.py)
    predictor_norm                     closed form up to one root (predictor.py)
    l1, group_l2, linf, elastic_net    interior point in the dimension of the rows on a working set of columns
                                       (columns.py), or restarted PDHG where only products with J exist (pdhg.py)
    every other convex form but        interior point on all columns, terms of the same coordinates side by side and
    nuclear norms, every drift         maps as rows of their own (summed.py)

Everything ends in the same `Solution` as the reference solver, with multipliers and subgradients, measured by
code that the solver does not use (claims.py).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn import blocks
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.regularizers import L2, ElasticNet, PredictorNorm, SquaredL2
from exact_unlearn.scalable.claims import Raw, claim, doubtful, primal_residual
from exact_unlearn.scalable.clock import Clock, Progress, clock
from exact_unlearn.scalable.columns import Answer, atoms_of, solve_largest, solve_sum
from exact_unlearn.scalable.composite import Composite, composite
from exact_unlearn.scalable.euclidean import Euclidean, solve_euclidean
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian
from exact_unlearn.scalable.named import NAMED, by_name, comes_to_a_name
from exact_unlearn.scalable.narrow import narrow_doubt
from exact_unlearn.scalable.pdhg import Products, solve_products
from exact_unlearn.scalable.polish import check_polish, polished
from exact_unlearn.scalable.posed import posed_anew
from exact_unlearn.scalable.predictor import solve_predictor
from exact_unlearn.scalable.prox import kinks, prox
from exact_unlearn.scalable.radius import on_radius, onto_sphere
from exact_unlearn.scalable.running import plainly
from exact_unlearn.scalable.space import Space, build_space
from exact_unlearn.scalable.stored import stored
from exact_unlearn.scalable.summed import held_still, nothing_moves, require_known, solve_summed
from exact_unlearn.scalable.team import total
from exact_unlearn.scalable.tight import solve_tight
from exact_unlearn.solution import Solution, Status

GAP = 1e-8
"""Default relative gap."""

ROUTES = ("auto", "columns", "products")

INCONSISTENT = 1e-6
"""A right-hand side that leaves more than this of itself on vanishing combinations of rows fits no parameters."""


@plainly
def solve(
    problem: UnlearningProblem,
    device: Any = None,
    dtype: torch.dtype | None = None,
    gap: float = GAP,
    *,
    start: Solution | None = None,
    route: str = "auto",
    polish: str | None = None,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Solve the problem on `device` to a relative gap, and measure the answer.

    device: where to work; None for where the Jacobian is (the CPU for arrays).  dtype: precision in which J is
    stored; None for its own.  float32 halves the memory, and the answer is then that of the rounded J: ask for
    a gap of 1e-5.  Arithmetic on the working set is float64 in either case. gap: bound on the primal residual
    and on the gap of an answer with Status.OPTIMAL, relative to the optimum and with all that rounding may have done to
    the bound; what cannot be bounded is Status.INACCURATE. start: the solution of a similar
    problem (another lam, fewer retained rows): its support is tried first. route: "columns" needs J entry by
    entry, "products" only J D and J.T nu; "auto" decides.  polish: "exact" returns the certified point, rounded
    (polish.py), with the proved bounds in `lower` and `upper`.  time_limit: seconds, looked at between iterations; when
    they are over, the answer so far has Status.TIME_LIMIT unless it is optimal all the same.  progress: called as
    progress(what, gap, seconds) between iterations.

    Takes every convex regularizer but the nuclear norm, with every drift penalty, and rows that read >= of a matrix J
    (tight.py).  Those named in this module are fastest, with squared drifts and Euclidean trust regions, and so are
    forms that come to one of them (with factors, with a centre, sums of absolute values or squares).  Raises
    ProblemError, with the way out, for what is not taken; gap outside (0, 1); unknown routes.

    >>> import exact_unlearn as xu
    >>> from exact_unlearn import scalable
    >>> solution = scalable.solve(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> solution.status.value, solution.theta.round(6).tolist()
    ('optimal', [0.0, 2.5])
    """
    if not isinstance(problem, UnlearningProblem):
        raise ProblemError(f"problem: expected an UnlearningProblem, got {type(problem).__name__}")
    if not (isinstance(gap, int | float) and 0 < gap < 1):
        raise ProblemError(f"gap: expected a number between 0 and 1, got {gap!r}")
    if route not in ROUTES:
        raise ProblemError(f"route: expected one of {', '.join(ROUTES)}, got {route!r}")
    named = comes_to_a_name(problem)
    if problem.regularizer.name == "form" and named:
        settings: dict[str, Any] = {"route": route, "polish": polish, "time_limit": time_limit, "progress": progress}
        return by_name(problem, partial(solve, device=device, dtype=dtype, gap=gap, **settings), gap, start)
    if not named:
        require_known(problem)
    check_polish(problem, polish)
    ticking = clock(time_limit, progress)

    def equations(posed: UnlearningProblem, before: Solution | None) -> Solution:
        def once(again: UnlearningProblem) -> Solution:
            if not named:
                return _summed(again, device, dtype, gap, route, ticking)
            return _solved(again, device, dtype, gap, before, route, ticking)

        return posed_anew(posed, once(posed), once, gap)

    if problem.at_least.any():
        found = solve_tight(problem, equations, gap, start, ticking)
    else:
        found = blocks.solved(problem, equations, gap, start) or equations(problem, start)
    return found if polish is None or found.status is Status.INFEASIBLE else polished(found, gap, ticking)


@np.errstate(over="ignore", invalid="ignore")  # what overflows is infinite, and nothing infinite is optimal
def _solved(
    problem: UnlearningProblem,
    device: Any,
    dtype: torch.dtype | None,
    gap: float,
    start: Solution | None,
    route: str,
    ticking: Clock,
) -> Solution:
    lam, radius = drift_numbers(problem)
    R = problem.regularizer
    if isinstance(R, PredictorNorm):
        raw, _ = solve_predictor(problem, lam, radius)
        return _claimed(problem, raw, None, gap, ticking)
    ticking.tell("reading J")
    operator = stored(problem, device, dtype, route)
    theta_star = torch.from_numpy(np.array(to_float(problem.theta_star))).to(operator.device)
    free = torch.from_numpy(problem.free.copy()).to(operator.device)
    rhs = torch.from_numpy(np.array(to_float(problem.rhs))).to(operator.device)
    if _at_rest(problem, radius):
        raw = _resting(problem)
        return _claimed(problem, raw, operator, gap, ticking)
    if isinstance(R, SquaredL2 | L2) or (isinstance(R, ElasticNet) and float(R.alpha) == 0):
        raw = _euclidean(problem, operator, theta_star, free, rhs, lam, radius, gap, ticking)
        return _claimed(problem, raw, operator, gap, ticking)
    space = build_space(operator, theta_star, free, rhs)
    task = replace(composite(R, space, theta_star), clock=ticking)
    compiled = ticking.seconds
    if space.inconsistency > INCONSISTENT:
        return _infeasible(problem, space, compiled)
    answer, mu = minimise(
        task, lam, radius, gap, _hint(task, start), isinstance(operator, Products), _carried(task, start)
    )
    raw = _raw(task, answer, lam + mu)
    return _claimed(problem, raw, operator, gap, ticking, compiled)


def _summed(
    problem: UnlearningProblem, device: Any, dtype: torch.dtype | None, gap: float, route: str, ticking: Clock
) -> Solution:
    """A form without a name, or a named regularizer with drifts that the named routes do not know."""
    if route == "products":
        raise ProblemError("route: sums of terms need the entries of J; use route='columns' or exact_unlearn.solve")
    if (still := nothing_moves(problem)) is not None:
        return held_still(problem, _summed(still, device, dtype, gap, route, ticking), gap)
    ticking.tell("reading J")
    operator = stored(problem, device, dtype, route)
    theta_star = torch.from_numpy(np.array(to_float(problem.theta_star))).to(operator.device)
    free = torch.from_numpy(problem.free.copy()).to(operator.device)
    rhs = torch.from_numpy(np.array(to_float(problem.rhs))).to(operator.device)
    space = build_space(operator, theta_star, free, rhs)
    if space.inconsistency > INCONSISTENT:
        return _infeasible(problem, space, ticking.seconds)
    return solve_summed(problem, space, gap, ticking)


def drift_numbers(problem: UnlearningProblem) -> tuple[float, float]:
    """(lam, radius) of the drift penalties, for regularizers with a route of their own; ProblemError for others."""
    if problem.regularizer.name not in NAMED:
        raise ProblemError(
            f"regularizer: expected one of {', '.join(NAMED)}, got {problem.regularizer.name}; use exact_unlearn.solve"
        )
    lam, radius = 0.0, math.inf
    for term in problem.drifts:
        if term.name == "squared_drift":
            lam += float(term.lam)
        elif term.name == "trust_region" and term.norm == 2:
            radius = min(radius, float(term.radius))
        else:
            kind = "a box" if term.name == "trust_region" else term.name
            raise ProblemError(
                f"drift_penalty: expected squared drifts and Euclidean balls, got {kind}; use exact_unlearn.solve"
            )
    return lam, radius


def minimise(
    task: Composite,
    lam: float,
    radius: float,
    gap: float,
    hint: Tensor | None = None,
    products: bool = False,
    y: Tensor | None = None,
) -> tuple[Answer, float]:
    """The composite problem with squared drift and trust region, on all shards: answer and multiplier mu of the
    ball.
    """

    ball = math.isfinite(radius)
    tight = (
        gap if not ball or products else max(1e-13, 1e-4 * gap)
    )  # |D| is known no better than the square root of a gap

    def run(mu: float, before: Answer | None) -> tuple[Answer, float]:
        part = task.with_drift(lam + mu)
        answer = _one(part, tight, hint, y if before is None else before.y, products)
        moved = torch.where(task.kinked | task.smooth, answer.x - task.theta_star, 0.0)
        return answer, math.sqrt(total(task.space.team, moved.square()))

    if math.isinf(radius):
        return run(0.0, None)[0], 0.0
    size = math.sqrt(total(task.space.team, torch.where(task.space.free, task.theta_star, 0.0).square()))
    found = on_radius(run, radius, 1.0 / max(size, radius), 0.01 * gap, clock=task.clock)
    if not found.mu:
        return found.state, 0.0
    x = onto_sphere(task.space, task.kinked | task.smooth, task.theta_star, found.state.x, radius)
    return replace(found.state, x=x), found.mu


def _one(task: Composite, gap: float, hint: Tensor | None, y: Tensor | None, products: bool) -> Answer:
    """The composite problem without a trust region, on all shards.

    Coordinates that no row sees are settled beforehand: 0 under sums of kinks (or what the square leaves of theta*),
    and theta* itself under the largest entry, cut off at its level.
    """
    live, dead = task.without_dead()
    answer = _alive(live, gap, hint, y, products)
    if dead is None:
        return answer
    still = torch.where(dead, task.anchor, 0.0)
    if task.kind == "largest":
        level = kinks(live, answer.x) / task.weights.clamp_min(1e-300)
        settled = torch.sign(task.theta_star) * torch.minimum(task.theta_star.abs(), level)
    else:
        settled = prox(task, still / task.curvature, 1.0 / task.curvature) if task.curvature else 0.0 * still
    x = torch.where(dead, settled, answer.x)
    return replace(answer, x=x, z=torch.where(dead, still - task.curvature * x, answer.z))


def _alive(task: Composite, gap: float, hint: Tensor | None, y: Tensor | None, products: bool) -> Answer:
    if products:
        if task.curvature == 0 and task.n_smooth:
            raise ProblemError(
                "weights: zero weights need the entries of J; use route='columns', or exact_unlearn.solve"
            )
        return solve_products(task, gap, y)
    reduced, mix = task.eliminated()
    extra, right = reduced.extra()
    still = reduced.curvature == 0 and not bool(right.any())
    if not right.numel() or still or not total(reduced.space.team, reduced.kinked.to(torch.float64)):
        answer = _without_kinks(reduced, extra, right)
    else:
        y = y if y is not None and y.shape == right.shape and bool(y.any()) else None
        solver = solve_largest if reduced.kind == "largest" else solve_sum
        answer = solver(reduced, gap, hint, y)
    return answer if mix is None else _filled(task, mix, answer)


def _without_kinks(task: Composite, extra: Tensor | None, right: Tensor) -> Answer:
    """No rows, rows that ask for 0, or no kink that may move: y is known at once, and x follows from it."""
    if extra is None:
        y = torch.zeros_like(right)
    else:
        y = torch.linalg.lstsq(extra, right[:, None], driver="gelsd" if extra.device.type == "cpu" else None).solution[
            :, 0
        ]
    pull, q, x = task.space.pull(y), task.curvature, torch.zeros_like(task.theta_star)
    if q > 0:
        v = torch.where(task.kinked | task.smooth, pull + task.anchor, 0.0)
        x = prox(task, v / q, 1.0 / q)
        pull = v - q * x
    return Answer(x, y, torch.where(task.kinked, pull, 0.0), 0.0, 0, 0, 0)


def _filled(task: Composite, mix: Tensor, answer: Answer) -> Answer:
    """Coordinates that cost nothing take the shortest move from theta* that meets the rows they were eliminated
    from.
    """
    start = torch.where(task.smooth, task.theta_star, 0.0)
    x = torch.where(task.kinked, answer.x, start)
    left = task.space.right - task.space.product(x)
    columns = task.space.columns(task.smooth.nonzero()[:, 0])
    gram = task.space.team.sum(columns.T @ columns)
    weights = torch.linalg.pinv(gram, rtol=1e-13, hermitian=True) @ left
    x[task.smooth] += columns @ weights
    return replace(answer, x=x, y=mix.T @ answer.y)


def _at_rest(problem: UnlearningProblem, radius: float) -> bool:
    """theta* = 0 and b = 0, or a trust region of radius 0: the answer is theta*."""
    return radius == 0 or not (to_float(problem.theta_star).any() or to_float(problem.rhs).any())


def _resting(problem: UnlearningProblem) -> Raw:
    theta, zero = to_float(problem.theta_star), np.zeros(problem.n_parameters)
    g = problem.form.slope(theta)
    return Raw(theta, np.zeros(problem.n_constraints), zero, g, "scalable (closed form)", "nothing can move")


def _euclidean(
    problem: UnlearningProblem,
    operator: TorchJacobian,
    theta_star: Tensor,
    free: Tensor,
    rhs: Tensor,
    lam: float,
    radius: float,
    gap: float,
    ticking: Clock,
) -> Raw:
    R = problem.regularizer
    weights = getattr(R, "weights", None)
    if isinstance(R, ElasticNet):
        weights = np.full(theta_star.numel(), float(R.beta))
    w = None if weights is None else torch.from_numpy(np.array(to_float(np.asarray(weights)))).to(theta_star.device)
    b = rhs if bool(rhs.any()) else None
    if w is not None and lam == 0 and bool((free & (w == 0)).any()):
        raw = _seminorm(problem, operator, theta_star, free, rhs, w)
        if float(np.linalg.norm(raw.theta - to_float(problem.theta_star))) <= radius:
            return raw
    task = Euclidean(operator, theta_star, w, free, b, square=not isinstance(R, L2))
    found = solve_euclidean(task, lam, radius, ticking)
    nu, pull = found.nu, operator.rmatvec(found.nu)
    if found.error > 0.1 * gap and isinstance(operator, DenseTorchJacobian):
        space = build_space(
            operator, theta_star, free, rhs
        )  # ill-conditioned rows: project in an orthonormal basis of theirs
        if space.T is None:
            demanded = space.right - space.product(torch.where(free, theta_star, 0.0))
            task = replace(task, jacobian=space.operator, rhs=demanded if b is not None else None)
            found = solve_euclidean(task, lam, radius, ticking)
            nu, pull = space.nu(found.nu), space.pull(found.nu)
    theta, pull = _numpy(found.theta), _numpy(pull)
    if task.square or found.tau > 0:
        g = problem.form.slope(theta)
    else:
        g = pull - (lam + found.mu) * (theta - to_float(problem.theta_star))
    story = f"projection; multiplier of the ball {found.mu:.3g}" if math.isfinite(radius) else "projection"
    doubt = doubtful(found.error, theta, pull)
    return Raw(theta, _numpy(nu), pull, g, "scalable (projection)", story, found.rank, doubt=doubt)


def _seminorm(
    problem: UnlearningProblem, operator: TorchJacobian, theta_star: Tensor, free: Tensor, rhs: Tensor, w: Tensor
) -> Raw:
    """l2 norms with coordinates that cost nothing: the others first, in combinations of rows that do not see
    those.
    """
    space = build_space(operator, theta_star, free, rhs)
    task = Composite(space, "absolute", theta_star, w, free & (w > 0), free & (w == 0))
    reduced, mix = task.eliminated()
    if mix is None:  # no rows
        theta = torch.where(task.kinked, 0.0, theta_star)
        return _projected(problem, theta, space, torch.zeros_like(space.right))
    start = torch.where(task.kinked, theta_star, 0.0)
    rows = torch.zeros(mix.shape[0], theta_star.numel(), dtype=torch.float64, device=theta_star.device)
    index = task.kinked.nonzero()[:, 0]
    rows[:, index] = reduced.space.columns(index).T
    demanded = reduced.space.right - rows @ start
    inner = Euclidean(DenseTorchJacobian(rows), start, torch.where(w > 0, w, 1.0), task.kinked, demanded, square=True)
    found = solve_euclidean(inner, 0.0, math.inf)
    answer = _filled(task, mix, Answer(found.theta, found.nu, found.theta, 0.0, 0, 0, 0))
    return _projected(problem, torch.where(free, answer.x, theta_star), space, answer.y)


def _projected(problem: UnlearningProblem, theta: Tensor, space: Space, y: Tensor) -> Raw:
    """Multipliers y of 1/2 sum w theta^2 as those of the regularizer: divided by the norm where R is its root."""
    point = _numpy(theta)
    size = float(problem.regularizer.value(point)) if isinstance(problem.regularizer, L2) else 1.0
    y = y / size if size > 0 else torch.zeros_like(y)
    nu, pull, g = _numpy(space.nu(y)), _numpy(space.pull(y)), problem.form.slope(point)
    doubt = doubtful(space.blur, pull, point - to_float(problem.theta_star))
    return Raw(point, nu, pull, g, "scalable (projection)", "projection", space.report, doubt=doubt)


def _hint(task: Composite, start: Solution | None) -> Tensor | None:
    """The atoms that matter in an earlier solution: what is not zero, or not at the level of the largest entry."""
    if start is None or start.theta.size != task.theta_star.numel():
        return None
    theta = torch.from_numpy(np.array(to_float(start.theta))).to(task.theta_star.device).abs()
    peak = float(theta.max()) if theta.numel() else 0.0
    if task.kind == "largest":
        size = task.weights * theta
        return size < (1.0 - 1e-6) * size.max()
    alive = theta > 1e-8 * peak
    if task.labels is None:
        return alive
    return torch.zeros_like(task.weights, dtype=torch.bool).index_fill_(0, task.labels[alive], True) & atoms_of(task)


def _carried(task: Composite, start: Solution | None) -> Tensor | None:
    """Multipliers of an earlier solution in the rows of this one: what the new row space sees of its J.T nu."""
    if start is None or start.theta.size != task.theta_star.numel():
        return None
    pull = to_float(np.asarray(start.problem.jacobian.rmatvec(to_float(start.nu))))
    seen = torch.from_numpy(np.array(pull)).to(task.theta_star.device)
    return task.space.product(torch.where(task.space.free, seen, 0.0))


def _raw(task: Composite, answer: Answer, kappa: float) -> Raw:
    """The answer in the words of the problem: g is known to the solver where a drift penalty acts, else it is
    J.T nu itself.
    """
    space = task.space
    theta = torch.where(space.free, answer.x, task.theta_star)
    g = None if kappa == 0 else _numpy(torch.where(space.free, answer.z + task.beta * theta, 0.0))
    story = f"{answer.rounds} rounds, {answer.iterations} iterations, {answer.columns} columns"
    solver = "scalable (columns)" if answer.rounds != 1 or answer.columns else "scalable (closed form)"
    pull = torch.where(space.free, space.pull(answer.y), 0.0)
    moved = torch.where(space.free, theta - task.theta_star, 0.0)
    doubt = doubtful(space.blur, _numpy(pull), _numpy(moved))
    return Raw(_numpy(theta), _numpy(space.nu(answer.y)), _numpy(pull), g, solver, story, space.report, doubt=doubt)


def _claimed(
    problem: UnlearningProblem,
    raw: Raw,
    operator: TorchJacobian | None,
    gap: float,
    ticking: Clock,
    compiled: float = 0.0,
) -> Solution:
    """The Solution, its constraint residual measured with the caller's own J, and a J in float32 held to its rank in
    float64.
    """
    if operator is not None and operator.dtype == torch.float32:
        raw = replace(raw, pull=to_float(problem.jacobian.rmatvec(raw.nu)), doubt=narrow_doubt(problem, raw))
    seconds = compiled, ticking.seconds - compiled
    found = claim(problem, raw, primal_residual(problem, raw.theta), gap, seconds)
    if found.status is Status.INACCURATE and ticking.expired():
        return found.with_message(Status.TIME_LIMIT, f"{found.message}; the time limit ended the solve")
    return found


def _infeasible(problem: UnlearningProblem, space: Space, seconds: float) -> Solution:
    nu = np.zeros(problem.n_constraints) if space.farkas is None else _numpy(space.farkas)
    return Solution(
        problem=problem,
        theta=to_float(problem.theta_star),
        nu=nu,
        status=Status.INFEASIBLE,
        solver="scalable (row space)",
        rank=space.report,
        solve_seconds=seconds,
        message=f"No drift reaches {space.inconsistency:.1e} of the right-hand side: dependent rows contradict.",
    )


def _numpy(values: Tensor) -> Array:
    return np.asarray(values.detach().to("cpu", torch.float64).numpy())
