"""The reference solver: a problem in, a claimed optimum with multipliers out, by CVXPY on the explicit program."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from exact_unlearn import blocks
from exact_unlearn.certify.exactlin import ratio
from exact_unlearn.certify.image import image
from exact_unlearn.certify.ladder import certify
from exact_unlearn.certify.rows import allowed, conflict, is_tolerance
from exact_unlearn.drift import DriftSum, SquaredDrift, TrustRegion
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem, require_problem
from exact_unlearn.program import Assembly, assemble
from exact_unlearn.reference import backends, direct, labels
from exact_unlearn.reference.backends import BackendAnswer
from exact_unlearn.reference.counting import infeasible, solve_counting
from exact_unlearn.reference.polish import cleaned, complementary, polish
from exact_unlearn.reference.units import rescaled
from exact_unlearn.reference.vertices import solve_vertices
from exact_unlearn.regularizers import PredictorNorm, SquaredL2
from exact_unlearn.rowspace import RowSpace
from exact_unlearn.solution import Solution, Status
from exact_unlearn.vectors import largest
from exact_unlearn.watch import TimeUpError, note, remaining, watched

ACCURACY = 1e-9
"""Default for the largest of primal residual, dual residual and relative gap of an answer called optimal."""

WIDE = 16.0
"""A trust region this many times wider than the parameters is left out at first."""

INCONSISTENT = 1e-9
"""A back end that says "infeasible" is wrong where theta* misses the constraints by no more than this, relatively."""

NOTHING = 1e-5
"""An optimum this much smaller than R(theta*) drowns in the rounding of theta*, unless it is computed without it."""


def solve(
    problem: UnlearningProblem,
    solver: str | None = None,
    accuracy: float | None = None,
    time_limit: float | None = None,
    tau: float | None = None,
) -> Solution:
    """Solve the problem exactly as stated, and measure the answer.

    solver: the name of an installed CVXPY solver, or None for the default of the class of program (backends.DEFAULTS;
    a second back end is asked if the first misses the accuracy, and the better answer is kept); "direct", or
    "direct:CLARABEL", HIGHS, OSQP or PIQP, hands the same program to a back end's own interface, without CVXPY.
    accuracy: the bound on primal residual, dual residual and relative gap for Status.OPTIMAL (default 1e-9).
    time_limit: seconds for all of it; what is found until then is returned, and the status says so.
    tau: where rows contradict each other as written, labels may be moved by at most this much, as in `certify`.

    J is replaced by an orthonormal basis of its numerical row space before any solver sees it; `rank` of the
    solution reports that decision and `nu` refers to the caller's J.  Rows that contradict each other by no more than
    rounding explains are solved for the labels nearest to the range of J; the message says so, and the status is about
    the labels as written unless tau allows for the difference.  Answers to QPs and LPs are polished on their active
    set. theta* is feasible for every surrogate, so `infeasible` from a back end is recorded as
    Status.BACKEND_FAILED; an exact problem can truly be infeasible, and then `nu` is a Farkas vector.  Raises
    ProblemError for bad arguments only.

    >>> import exact_unlearn as xu
    >>> xu.solve(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    <Solution: optimal (HIGHS), value 2.5>
    """
    accuracy = _positive("accuracy", ACCURACY if accuracy is None else accuracy)
    if time_limit is not None:
        time_limit = _positive("time_limit", time_limit)
    if tau is not None and not is_tolerance(tau):
        raise ProblemError(f"tau: expected a finite number >= 0, got {tau!r}")
    require_problem(problem)
    if solver is not None and not isinstance(solver, str):
        raise ProblemError(f"solver: expected the name of a CVXPY solver, 'direct', or None, got {solver!r:.60}")
    try:
        with watched(time_limit):
            by_blocks = None if tau is not None else _by_blocks(problem, solver, accuracy, time_limit)
            found = by_blocks or _answer(problem, solver, accuracy, time_limit, tau)
            if _doubtful(found, accuracy):  # a back end's word for it
                certificate = certify(problem, rows="literal")
                if certificate.proof == "infeasible":
                    return infeasible(found, certificate)
    except TimeUpError:
        nothing = np.zeros(problem.n_constraints)
        return Solution(
            problem, problem.theta_star, nothing, Status.TIME_LIMIT, message="No back end was asked; theta is theta*."
        )
    if found.status is Status.OPTIMAL and not math.isfinite(found.value):
        return found.with_message(
            Status.INACCURATE, "The optimum lies beyond the range of floats; certify() states it as a fraction."
        )
    return cleaned(found) if found.status is Status.OPTIMAL else found


def _by_blocks(
    problem: UnlearningProblem, solver: str | None, accuracy: float, time_limit: float | None
) -> Solution | None:
    """The answers of independent blocks as one; a Euclidean norm without drift by its square.  None for one block."""
    root = blocks.separates(problem) == blocks.ROOT
    posed = replace(problem, regularizer=SquaredL2(problem.regularizer.weights)) if root else problem
    found = blocks.solved(posed, lambda own, _: _answer(own, solver, accuracy, time_limit, None), accuracy)
    return blocks.of_root(problem, found) if found is not None and root else found


def _answer(
    problem: UnlearningProblem, solver: str | None, accuracy: float, time_limit: float | None, tau: float | None
) -> Solution:
    """`claimed`, for labels that J can reach; or why there are none."""
    pinned = any(term.name == "trust_region" and not term.radius for term in problem.drifts)
    moving = replace(problem, free=np.zeros(problem.n_parameters, dtype=bool)) if pinned else problem
    solved = partial(claimed, solver=solver, accuracy=accuracy, time_limit=time_limit)
    counts = not problem.regularizer.convex and isinstance(problem.jacobian, DenseJacobian)
    if problem.theta_star_fits and not counts:
        return solved(problem)
    rank = labels.rows_of(moving)
    unmet = labels.without_entries(moving, rank)
    if unmet is not None:
        return replace(unmet, problem=problem)
    dependent = rank.rank < problem.equations.size
    if problem.rhs.any() and (problem.is_rational or dependent):
        clash = conflict(moving)
        if clash is not None:
            nearest = allowed(moving, clash, tau)
            if nearest is None:
                return labels.contradiction(problem, clash, rank)
            return labels.for_labels(problem, nearest, rank, solved, accuracy if tau is None else None)
    if counts and dependent and not problem.is_rational:
        # counts and vertices are decided exactly, so the rows that depend on others up to rounding must not take part
        return labels.on_independent_rows(problem, rank, solved, accuracy)
    return solved(problem)


def _doubtful(found: Solution, accuracy: float) -> bool:
    """Whether a proof should decide if any parameters fit: a back end says that none do, without a reason; or its point
    misses rows that read >=, which nothing before has shown to be compatible.
    """
    if found.status is Status.INFEASIBLE:
        return not found.nu.any()
    inaccurate = found.status in (Status.INACCURATE, Status.BACKEND_FAILED) and found.problem.at_least.any()
    return bool(inaccurate and found.primal_residual() > accuracy)


def claimed(
    problem: UnlearningProblem, solver: str | None = None, accuracy: float = ACCURACY, time_limit: float | None = None
) -> Solution:
    """`solve` for checked arguments, but without a proof where a back end finds no point in the trust regions."""
    if not problem.regularizer.convex and not problem.regularizer.integer:
        return solve_vertices(problem, solver)
    own = rescaled(problem)
    if own is not None:
        return own.back(claimed(own.problem, solver, accuracy, time_limit))
    began = time.perf_counter()
    assembly = assemble(problem)
    compiling = time.perf_counter() - began
    program = assembly.program
    names = backends.asked(solver, program, time_limit is not None)
    if any(term.name == "trust_region" and not term.radius for term in problem.drifts):
        return _pinned(problem, solver, accuracy, time_limit)
    slack = _without_wide_regions(problem, assembly, solver, accuracy, time_limit)
    if slack is not None:
        return slack
    if problem.regularizer.integer:
        return solve_counting(problem, assembly, names[0], time_limit, compiling)
    if problem.theta_star_fits and not problem.regularizer.value(problem.theta_star):
        return _at_rest(problem, assembly, compiling)
    best: Solution | None = None
    for name in names:
        note(f"{name} solves the float program")
        candidate = _attempt(problem, assembly, name, accuracy, time_limit, compiling)
        if best is None or _error(candidate, assembly.rows) < _error(best, assembly.rows):
            best = candidate
        if candidate.status is Status.OPTIMAL or not remaining():
            break
    assert best is not None
    with suppress(TimeUpError):
        best = _next_to_nothing(problem, best, solver, accuracy, time_limit) or best
    return best


def _next_to_nothing(
    problem: UnlearningProblem, found: Solution, solver: str | None, accuracy: float, time_limit: float | None
) -> Solution | None:
    """The optimum where it is so far below R(theta*) that it drowns in the rounding of theta*, or 0.

    R subject to J theta = q, with q = J theta* + b.  Only where nothing but regions holds theta near
    theta*, and the optimum lies within them.
    """
    R, start, free = problem.regularizer, to_float(problem.theta_star), problem.free
    if found.status is Status.OPTIMAL or not all(term.name == "trust_region" for term in problem.drifts):
        return None
    before = max(float(R.value(start)), float(R.value(np.full(start.size, largest(found.theta)))))
    if not found.value <= NOTHING * before < math.inf:
        return None
    J = problem.jacobian
    J = DenseJacobian(to_float(J.matrix)) if isinstance(J, DenseJacobian) else J
    posed = replace(
        problem, theta_star=np.where(free, 0.0, start), jacobian=J, drift_penalty=None, rhs=_right_side(problem)
    )
    again = (
        None
        if R.value(posed.theta_star)
        else _for_nothing(problem, direct.PREFIX if direct.is_direct(solver) else None)
    )
    if again is None and start[free].any():
        again = claimed(posed, solver, accuracy, time_limit)
    if again is None or again.status is not Status.OPTIMAL:
        return None
    still = tuple(np.zeros(problem.n_parameters) for _ in problem.drifts)
    again = replace(again, problem=problem, drift_subgradients=still)
    return again if again.primal_residual() <= accuracy else None


def _for_nothing(problem: UnlearningProblem, solver: str | None) -> Solution | None:
    """The solution nearest to theta* among the theta with R(theta) = 0: what R sees is 0, and the rest makes up for it.

    Only regions are left of the drift penalty, and D on what R sees takes up its part of them.
    """
    if any(part.map is not None or part.centre is not None for part in problem.form.parts):
        return None
    start, visible = to_float(problem.theta_star), problem.free & problem.form.seen(problem.n_parameters)
    blind = problem.free & ~visible
    if not blind.any():
        return None
    taken = float(np.linalg.norm(start[visible]))
    balls = [float(term.radius) for term in problem.drifts if term.norm == 2]
    boxes = [term for term in problem.drifts if term.norm == np.inf]
    if any(radius <= taken for radius in balls):
        return None
    left = [TrustRegion(math.sqrt((radius - taken) * (radius + taken))) for radius in balls]
    nearest = replace(
        problem,
        theta_star=np.where(visible, 0.0, start),
        regularizer=SquaredL2(np.zeros(start.size)),
        drift_penalty=DriftSum((SquaredDrift(1.0), *left, *boxes)),
        free=blind,
        rhs=_right_side(replace(problem, free=visible)),
    )
    found = claimed(nearest, solver)
    if found.primal_residual() > ACCURACY:
        return None
    zero = np.zeros(problem.n_parameters)
    return Solution(
        problem=problem,
        theta=found.theta,
        nu=np.zeros(problem.n_constraints),
        status=Status.OPTIMAL,
        solver=found.solver,
        subgradient=zero,
        drift_subgradients=tuple(zero for _ in problem.drifts),
        shares=_no_shares(problem),
        rank=found.rank,
        compile_seconds=found.compile_seconds,
        solve_seconds=found.solve_seconds,
    )


def _right_side(problem: UnlearningProblem) -> Array:
    """J theta*_M + b, computed exactly and rounded once."""
    exact = image(problem)
    q = [a * b for a, b in zip(exact.q, exact.scales, strict=True)]
    return np.array([ratio(v.numerator, v.denominator) for v in q], dtype=float)


def _pinned(problem: UnlearningProblem, solver: str | None, accuracy: float, time_limit: float | None) -> Solution:
    """A region of radius 0 freezes everything; its own multiplier, whatever it is, costs nothing."""
    nothing = np.zeros(problem.n_parameters, dtype=bool)
    found = claimed(replace(problem, drift_penalty=None, free=nothing), solver, accuracy, time_limit)
    forces: tuple[Array, ...] | None = None
    if found.subgradient is not None:
        at = next(i for i, term in enumerate(problem.drifts) if term.name == "trust_region" and not term.radius)
        forces = tuple(found.subgradient * (-1.0 if i == at else 0.0) for i in range(len(problem.drifts)))
        found = replace(found, nu=np.zeros(problem.n_constraints))
    return replace(found, problem=problem, drift_subgradients=forces)


def _without_wide_regions(
    problem: UnlearningProblem, assembly: Assembly, solver: str | None, accuracy: float, time_limit: float | None
) -> Solution | None:
    """The optimum without the trust regions that are far wider than the parameters, if it lies within them.

    A region that the optimum respects changes nothing, but its radius would set the scale to which a back end rounds
    everything else.
    """
    start = np.concatenate([_start(problem, assembly), to_float(problem.theta_star)[~problem.free]])
    lengths = {norm: float(np.linalg.norm(start, norm)) for norm in (2, np.inf)}
    wide = [
        term.name == "trust_region" and float(term.radius) > WIDE * lengths[term.norm] > 0 for term in problem.drifts
    ]
    if not any(wide):
        return None
    narrow = tuple(term for term, leave in zip(problem.drifts, wide, strict=True) if not leave)
    relaxed = replace(problem, drift_penalty=DriftSum(narrow) if narrow else None)
    found = claimed(relaxed, solver, accuracy, time_limit)
    if found.status not in (Status.OPTIMAL, Status.INTERVAL) or any(
        term.value(found.drift) for term, leave in zip(problem.drifts, wide, strict=True) if leave
    ):
        return None
    parts = iter(found.drift_subgradients or ())
    still = np.zeros(problem.n_parameters)
    forces = None if found.drift_subgradients is None else tuple(still if leave else next(parts) for leave in wide)
    return replace(found, problem=problem, drift_subgradients=forces)


def _at_rest(problem: UnlearningProblem, assembly: Assembly, seconds: float) -> Solution:
    """R(theta*) = 0 and theta* fits: every R and every drift penalty is smallest where theta stands."""
    zero = np.zeros(problem.n_parameters)
    return Solution(
        problem=problem,
        theta=problem.theta_star,
        nu=np.zeros(problem.n_constraints),
        status=Status.OPTIMAL,
        solver="closed form",
        subgradient=zero,
        drift_subgradients=tuple(zero for _ in problem.drifts),
        unique=_unique(problem, assembly),
        rank=assembly.rows.report,
        compile_seconds=seconds,
    )


def _no_shares(problem: UnlearningProblem) -> tuple[Array, ...] | None:
    """A subgradient 0 for every summand that has one of its own."""
    if problem.regularizer.has_conjugate:
        return None
    return tuple(np.zeros(summand.size(problem.n_parameters)) for summand in problem.form.summands)


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (0 < number < math.inf):
        raise ProblemError(f"{name}: expected a positive number, got {value!r}")
    return number


def _error(solution: Solution, rows: RowSpace) -> float:
    """The figure by which answers are compared and called optimal.

    It is the largest of the solution's own residuals, except that the multipliers are taken in the basis Q: g +
    sum h_k, less the pulls of rows that read >=, must lie in the row space.  nu for the caller's J would
    add its own rounding, cond(J) * eps, which says nothing about theta.
    """
    if solution.subgradient is None or solution.drift_subgradients is None:
        return math.inf
    free, least = solution.problem.free, solution.problem.at_least
    total = sum(solution.drift_subgradients, start=solution.subgradient)[free]
    if least.any():
        total = total - to_float(np.asarray(solution.problem.free_matrix()))[least].T @ to_float(solution.nu)[least]
    outside = largest(total - rows.Q.T @ (rows.Q @ total))
    scale = solution.dual_scale()
    own = max(solution.primal_residual(), solution.negative_pull(scale), solution.relative_gap())
    if outside and not scale:  # nothing has a slope but a row that should not pull
        return math.inf
    return max(own, outside / scale if outside else 0.0)


def _attempt(
    problem: UnlearningProblem,
    assembly: Assembly,
    name: str,
    accuracy: float,
    time_limit: float | None,
    compiling: float,
) -> Solution:
    program = assembly.program
    size = float(max(largest(to_float(a)) for a in (problem.theta_star, program.b)))
    answer = backends.run(program, name, accuracy, time_limit, size)
    began = time.perf_counter()
    z, y = answer.z, answer.y
    if z is None or y is None:
        z = _start(problem, assembly) if z is None else z
        solution = _build(problem, assembly, z, None, answer, compiling)
        return solution.with_message(*_failure(answer, solution))
    if program.kind in ("QP", "LP"):
        z, y = polish(program, z, y, size)
    solution = _build(problem, assembly, z, y, answer, compiling + time.perf_counter() - began)
    if _error(solution, assembly.rows) <= accuracy:
        return solution
    status = Status.TIME_LIMIT if answer.timed_out else Status.INACCURATE
    return solution.with_message(status, f"{name} said {answer.claim!r}.")


def _start(problem: UnlearningProblem, assembly: Assembly) -> Array:
    """A z with theta = theta* (surrogates) that satisfies the equations, auxiliary variables zero."""
    z, free = np.zeros(assembly.program.q.size), np.flatnonzero(problem.free)
    z[: free.size] = assembly.start
    return z


def _failure(answer: BackendAnswer, solution: Solution) -> tuple[Status, str]:
    said = f"{answer.solver} said {answer.claim!r}" + (f" ({answer.detail})" if answer.detail else "")
    if answer.timed_out:
        return Status.TIME_LIMIT, f"{said}; theta is the point that the solve started from."
    if "infeasible" in answer.claim and not solution.primal_residual() <= INCONSISTENT:
        return (
            Status.INFEASIBLE,
            f"{said}, and theta* is not feasible either; the trust region may be too small for the data.",
        )
    return Status.BACKEND_FAILED, f"{said}, although a feasible point is known; theta is that point."


def _build(
    problem: UnlearningProblem, assembly: Assembly, z: Array, y: Array | None, answer: BackendAnswer, seconds: float
) -> Solution:
    """The claim in the caller's terms: theta, nu for the caller's rows, subgradients per summand."""
    program = assembly.program
    theta = _on_constraints(problem, assembly, program.theta(z))
    subgradient, drift_subgradients, shares, nu = None, None, None, np.zeros(problem.n_constraints)
    if y is not None:
        found, summands = assembly.subgradients(theta, y), problem.form.summands
        own = tuple(s.into_domain(part) for s, part in zip(summands, found, strict=False))
        forces = zip(problem.drifts, found[len(own) :], strict=True)
        parts = [
            sum((s.pull(part) for s, part in zip(summands, own, strict=True)), start=np.zeros(theta.size)),
            *(_into_domain(term, part) for term, part in forces),
        ]
        rows = program.nu_map.shape[1]
        y = complementary(program, z, y, to_float(problem.theta_star))
        parts = _absorbed(problem, parts, program.A[:rows].T @ -y[:rows])
        subgradient, drift_subgradients, nu = parts[0], tuple(parts[1:]), program.nu(y)
        shares = None if problem.regularizer.has_conjugate else own
    return Solution(
        problem=problem,
        theta=theta,
        nu=nu,
        status=Status.OPTIMAL,
        solver=answer.solver,
        subgradient=subgradient,
        drift_subgradients=drift_subgradients,
        shares=shares,
        unique=_unique(problem, assembly),
        rank=assembly.rows.report,
        compile_seconds=seconds + answer.compile_seconds,
        solve_seconds=answer.solve_seconds,
    )


def _on_constraints(problem: UnlearningProblem, assembly: Assembly, theta: Array) -> Array:
    """theta, moved orthogonally onto Q theta = c if the back end left it further away than rounding."""
    free = np.flatnonzero(problem.free)
    Q, c = assembly.rows.Q, assembly.program.b[: assembly.program.cones.zero]
    residual = c - Q @ theta[free]
    if largest(residual) > 1e-14 * largest(theta):
        theta = theta.copy()
        theta[free] += Q.T @ residual
    return theta


def _into_domain(term: Any, part: Array) -> Array:
    """`part` cleaned of rounding: nothing where the (semi)norm is blind, and scaled into the dual ball."""
    if not getattr(term, "is_norm", False):
        return part
    part = part - term.prox(part, math.inf)  # the nearest minimiser of a seminorm: the component in its null space
    excess = float(term.dual_norm(part))
    return part / (excess * (1 + 1e-15)) if 1.0 < excess < math.inf else part


def _absorbed(problem: UnlearningProblem, parts: list[Array], pull: Array) -> list[Array]:
    """Subgradients of which the largest lam D takes what is left of stationarity, J.T nu = g + sum h_k.

    Only where D = theta - theta* has lost so many digits that lam D, as computed, is the least accurate of all parts;
    the duality gap pays for the difference.
    """
    free, start = np.flatnonzero(problem.free), largest(to_float(problem.theta_star))
    curves = [float(term.lam) if term.name == "squared_drift" else 0.0 for term in problem.drifts]
    size = max(map(largest, parts))
    if not curves or max(curves) * start <= size:
        return parts
    out = [part.copy() for part in parts]
    out[1 + int(np.argmax(curves))][free] += pull[: free.size] - sum(part[free] for part in parts)
    return out


def _unique(problem: UnlearningProblem, assembly: Assembly) -> bool | None:
    """Whether the minimiser is unique, where the form alone decides; certify() decides more."""
    R, free = problem.regularizer, int(problem.free.sum())
    if assembly.rows.report.rank == free or R.strictly_convex or any(t.strictly_convex for t in problem.drifts):
        return True
    if R.unique_minimiser and all(term.name == "trust_region" for term in problem.drifts):
        return True
    if isinstance(R, PredictorNorm) and not problem.drifts and free == R.V.shape[0] * R.shape[1]:
        return bool(np.linalg.matrix_rank(to_float(np.asarray(R.V))) == R.V.shape[0])
    return None
