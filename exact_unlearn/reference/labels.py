"""Right-hand sides that J cannot reach: refuting the problem as written, answering the one that is meant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.rows import Conflict
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import RankReport, row_space
from exact_unlearn.solution import Solution, Status


def rows_of(problem: UnlearningProblem) -> RankReport:
    """How the equations depend on each other, on the free coordinates and up to rounding; `rows` are rows of J."""
    equations = problem.equations
    report = row_space(to_float(np.asarray(problem.free_matrix())[equations])).report
    return replace(report, rows=tuple(equations[list(report.rows)].tolist()))


def without_entries(problem: UnlearningProblem, rank: RankReport) -> Solution | None:
    """No parameters fit where a row that reads >= sees nothing that moves and asks for more than 0."""
    asked = problem.at_least & np.array([b > 0 for b in problem.rhs.tolist()], dtype=bool)
    blind = asked & ~(np.asarray(problem.free_matrix()) != 0).any(axis=1)
    if not blind.any():
        return None
    nu, row = np.zeros(problem.n_constraints), int(np.argmax(blind))
    nu[row] = 1.0
    said = f"Proved: row {row} has no entry on what may move, and reads 0 >= {float(problem.rhs[row]):g}."
    return Solution(problem, problem.theta_star, nu, Status.INFEASIBLE, "row space", rank=rank, message=said)


def contradiction(problem: UnlearningProblem, clash: Conflict, rank: RankReport) -> Solution:
    """No parameters fit: nu is the Farkas vector of the worst contradiction."""
    farkas = floats(clash.nu)
    return Solution(
        problem=problem,
        theta=problem.theta_star,
        nu=farkas,
        status=Status.INFEASIBLE,
        solver="row space",
        rank=rank,
        message=f"Proved: {clash}; tau = {_up(clash.moved):.3g} would allow for the labels nearest to the range of J.",
    )


def for_labels(
    problem: UnlearningProblem,
    clash: Conflict,
    rank: RankReport,
    solved: Callable[[UnlearningProblem], Solution],
    accuracy: float | None,
) -> Solution:
    """The answer for labels that J reaches.  accuracy: of the rows as written, None where the caller allowed for them.

    Independent rows say it all; the others follow, and their multipliers are 0.
    """
    nearest = floats(clash.labels)
    if isinstance(problem.jacobian, DenseJacobian):
        found = on_independent_rows(replace(problem, rhs=nearest), rank, solved, math.inf)
    else:
        found = replace(solved(replace(problem, rhs=nearest)), rank=rank)
    found = replace(found, problem=problem)
    status = found.status
    if accuracy is not None and status is Status.OPTIMAL and found.primal_residual() > accuracy:
        status = Status.INACCURATE
    told = (
        f"The rows contradict each other as written ({clash}); theta is for the labels nearest to the range of J, "
        f"at most {_up(clash.moved):.3g} away."
    )
    return found.with_message(status, f"{found.message} {told}".strip())


def on_independent_rows(
    problem: UnlearningProblem, rank: RankReport, solved: Callable[[UnlearningProblem], Solution], accuracy: float
) -> Solution:
    """The answer on the equations that are independent up to rounding, and the other rows; J is dense.

    Fewer rows have no larger optimum: the lower bound is one for all of them, the upper only where all are met.
    """
    rows = sorted([*rank.rows, *np.flatnonzero(problem.at_least).tolist()])
    matrix: Array = problem.jacobian.matrix[rows]  # type: ignore[attr-defined]
    chosen = {"rhs": problem.rhs[rows], "at_least": problem.at_least[rows]}
    found = solved(replace(problem, jacobian=DenseJacobian(matrix), origin=None, **chosen))
    nu = np.zeros(problem.n_constraints)
    nu[rows] = found.nu
    whole = replace(found, problem=problem, nu=nu, rank=rank)
    if whole.status in (Status.OPTIMAL, Status.INTERVAL) and whole.primal_residual() > accuracy:
        missed = "Rows that depend on the others up to rounding only are missed; certify() takes all as written."
        return replace(whole, status=Status.INACCURATE, upper=None, message=missed)
    return whole


def floats(values: list[Fraction]) -> Array:
    """Nearest floats."""
    return np.array([float(v) for v in values])


def _up(value: Fraction) -> float:
    """Three digits of it are not less."""
    return float(value) * (1 + 5e-3)
