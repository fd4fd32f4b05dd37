"""The reference solver: a problem in, a claimed optimum with multipliers out, by CVXPY on the explicit program."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

from exact_unlearn.certify.ladder import certify
from exact_unlearn.drift import DriftSum
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import Assembly, assemble
from exact_unlearn.reference import backends
from exact_unlearn.reference.backends import BackendAnswer
from exact_unlearn.reference.counting import infeasible, solve_counting
from exact_unlearn.reference.polish import polish
from exact_unlearn.reference.units import rescaled
from exact_unlearn.regularizers import PredictorNorm
from exact_unlearn.rowspace import RowSpace
from exact_unlearn.solution import Solution, Status

ACCURACY = 1e-9
"""Default for the largest of primal residual, dual residual and relative gap of an answer called optimal."""

WIDE = 16.0
"""A trust region this many times wider than the parameters is left out at first."""

INCONSISTENT = 1e-9
"""A dropped row contradicts the kept ones when it misses by more than this, relative to its terms."""


def solve(
    problem: UnlearningProblem,
    solver: str | None = None,
    accuracy: float | None = None,
    time_limit: float | None = None,
) -> Solution:
    """Solve the problem exactly as stated, and measure the answer.

    solver: the name of an installed CVXPY solver, or None for the default of the class of program
    (backends.DEFAULTS; a
    second back end is asked if the first misses the accuracy, and the better answer is kept).
    accuracy: the bound on primal residual, dual residual and relative gap for Status.OPTIMAL (default 1e-9).
    time_limit: seconds for each back end; when it ends a solve, the status says so.

    J is replaced by an orthonormal basis of its numerical row space before any solver sees it; `rank` of the
    solution reports that decision and `nu` refers to the caller's J.  Answers to QPs and LPs are polished on
    their active set. theta* is feasible for every surrogate, so `infeasible` from a back end is recorded as
    Status.BACKEND_FAILED; an exact problem can truly be infeasible, and then `nu` is a Farkas vector.  Raises
    ProblemError for bad arguments only.
    """
    accuracy = _positive("accuracy", ACCURACY if accuracy is None else accuracy)
    if time_limit is not None:
        time_limit = _positive("time_limit", time_limit)
    if not isinstance(problem, UnlearningProblem):
        raise ProblemError(f"problem: expected an UnlearningProblem, got {type(problem).__name__}")
    found = claimed(problem, solver, accuracy, time_limit)
    if found.status is Status.INFEASIBLE and not found.nu.any():  # a back end's word for it
        certificate = certify(problem, rows="literal")
        if certificate.proof == "infeasible":
            return infeasible(found, certificate)
    return found


def claimed(
    problem: UnlearningProblem, solver: str | None = None, accuracy: float = ACCURACY, time_limit: float | None = None
) -> Solution:
    """`solve` for checked arguments, but without a proof where a back end finds no point in the trust regions."""
    own = rescaled(problem)
    if own is not None:
        return own.back(claimed(own.problem, solver, accuracy, time_limit))
    began = time.perf_counter()
    assembly = assemble(problem)
    compiling = time.perf_counter() - began
    program = assembly.program
    names = [backends.check_solver(solver, program)] if solver else backends.default_solvers(program)
    conflict = _conflict(problem, assembly.rows)
    if conflict is not None:
        return conflict
    if any(term.name == "trust_region" and not term.radius for term in problem.drifts):
        return _pinned(problem, solver, accuracy, time_limit)
    slack = _without_wide_regions(problem, assembly, solver, accuracy, time_limit)
    if slack is not None:
        return slack
    if problem.regularizer.integer:
        return solve_counting(problem, assembly, names[0], time_limit, compiling)
    if not problem.rhs.any() and not problem.regularizer.value(problem.theta_star):
        return _at_rest(problem, assembly, compiling)
    best: Solution | None = None
    for name in names:
        candidate = _attempt(problem, assembly, name, accuracy, time_limit, compiling)
        if best is None or _error(candidate, assembly.rows) < _error(best, assembly.rows):
            best = candidate
        if candidate.status is Status.OPTIMAL:
            break
    assert best is not None
    return best


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
    """R(theta*) = 0 and b = 0: every R and every drift penalty is smallest where theta stands."""
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


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0 < number < math.inf):
        raise ProblemError(f"{name}: expected a positive number, got {value!r}")
    return number


def _error(solution: Solution, rows: RowSpace) -> float:
    """The figure by which answers are compared and called optimal.

    It is the largest of the solution's own residuals, except that the multipliers are taken in the basis Q: g +
    sum h_k must lie in the row space.  nu for the caller's J would add its own rounding, cond(J) * eps, which
    says nothing about theta.
    """
    if solution.subgradient is None or solution.drift_subgradients is None:
        return math.inf
    free = solution.problem.free
    total = sum(solution.drift_subgradients, start=solution.subgradient)[free]
    outside = float(np.max(np.abs(total - rows.Q.T @ (rows.Q @ total)), initial=0.0))
    scale = solution.dual_scale()
    return max(solution.primal_residual(), outside / scale if outside else 0.0, solution.relative_gap())


def _attempt(
    problem: UnlearningProblem,
    assembly: Assembly,
    name: str,
    accuracy: float,
    time_limit: float | None,
    compiling: float,
) -> Solution:
    program = assembly.program
    size = max(float(np.max(np.abs(to_float(a)), initial=0.0)) for a in (problem.theta_star, program.b))
    if program.q.size == 0:  # nothing may move and nothing has an epigraph
        answer = BackendAnswer("none", "optimal", np.zeros(0), np.zeros(program.b.size), 0.0, 0.0)
    else:
        answer = backends.run(program, name, accuracy, time_limit, size)
    began = time.perf_counter()
    z, y = answer.z, answer.y
    if z is None or y is None:
        z = _start(problem, assembly) if z is None else z
        solution = _build(problem, assembly, z, None, answer, compiling)
        return solution.with_message(*_failure(answer, time_limit, solution))
    if program.kind in ("QP", "LP"):
        z, y = polish(program, z, y, size)
    solution = _build(problem, assembly, z, y, answer, compiling + time.perf_counter() - began)
    if _error(solution, assembly.rows) <= accuracy:
        return solution
    status = Status.TIME_LIMIT if _timed_out(answer, time_limit) else Status.INACCURATE
    return solution.with_message(status, f"{name} said {answer.claim!r}.")


def _start(problem: UnlearningProblem, assembly: Assembly) -> Array:
    """A feasible z with theta = theta* (surrogates), auxiliary variables zero."""
    z = np.zeros(assembly.program.q.size)
    free = np.flatnonzero(problem.free)
    z[: free.size] = to_float(problem.theta_star)[free] + assembly.rows.particular(to_float(problem.rhs))
    return z


def _timed_out(answer: BackendAnswer, time_limit: float | None) -> bool:
    """Whether the limit that ended the back end was the caller's: its word for that may be "user_limit", which is also
    that of a limit of iterations, or "optimal_inaccurate".
    """
    return time_limit is not None and answer.claim != "optimal" and answer.solve_seconds >= 0.8 * time_limit


def _failure(answer: BackendAnswer, time_limit: float | None, solution: Solution) -> tuple[Status, str]:
    said = f"{answer.solver} said {answer.claim!r}" + (f" ({answer.detail})" if answer.detail else "")
    if _timed_out(answer, time_limit):
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
    subgradient, drift_subgradients, nu = None, None, np.zeros(problem.n_constraints)
    if y is not None:
        parts = assembly.subgradients(theta, y)
        terms = (problem.regularizer, *problem.drifts)
        parts = [_into_domain(term, part) for term, part in zip(terms, parts, strict=True)]
        parts = _absorbed(problem, parts, program.A[: assembly.program.cones.zero].T @ -y[: program.cones.zero])
        subgradient, drift_subgradients, nu = parts[0], tuple(parts[1:]), program.nu(y)
    return Solution(
        problem=problem,
        theta=theta,
        nu=nu,
        status=Status.OPTIMAL,
        solver=answer.solver,
        subgradient=subgradient,
        drift_subgradients=drift_subgradients,
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
    if np.max(np.abs(residual), initial=0.0) > 1e-14 * np.max(np.abs(theta), initial=0.0):
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
    free, start = np.flatnonzero(problem.free), float(np.max(np.abs(to_float(problem.theta_star)), initial=0.0))
    curves = [float(term.lam) if term.name == "squared_drift" else 0.0 for term in problem.drifts]
    size = max((float(np.max(np.abs(part), initial=0.0)) for part in parts), default=0.0)
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


def _conflict(problem: UnlearningProblem, rows: RowSpace) -> Solution | None:
    """An infeasible Solution with a Farkas vector, when a dropped row contradicts the kept ones."""
    rhs = to_float(problem.rhs)
    if not rhs.any():
        return None
    J, kept = to_float(problem.free_matrix()), list(rows.report.rows)
    size = float(np.linalg.norm(to_float(problem.theta_star)))
    for i in sorted(set(range(problem.n_constraints)) - set(kept)):
        weights = rows.multipliers(J[i])
        miss = rhs[i] - weights @ rhs
        scale = abs(rhs[i]) + np.abs(weights) @ np.abs(rhs) + float(np.linalg.norm(J[i])) * size
        if abs(miss) > INCONSISTENT * scale:
            farkas = -weights
            farkas[i] += 1.0
            farkas *= math.copysign(1.0, miss)
            involved = [int(row) for row in np.flatnonzero(np.abs(farkas) > 1e-9)]
            others = [row for row in involved if row != i]
            return Solution(
                problem=problem,
                theta=problem.theta_star,
                nu=farkas,
                status=Status.INFEASIBLE,
                solver="row space",
                rank=rows.report,
                message=f"Row {i} contradicts rows {others}: nu.T J = 0 but nu.b = {abs(miss):.3g}.",
            )
    return None
