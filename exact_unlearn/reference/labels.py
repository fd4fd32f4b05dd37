"""Right-hand sides that J cannot reach: refuting the problem as written, answering the one that is meant."""

from __future__ import annotations

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
    """How the rows of J on the free coordinates depend on each other, up to rounding."""
    return row_space(to_float(np.asarray(problem.free_matrix()))).report


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
        found = on_independent_rows(replace(problem, rhs=nearest), rank, solved)
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
    problem: UnlearningProblem, rank: RankReport, solved: Callable[[UnlearningProblem], Solution]
) -> Solution:
    """The answer on the rows that are independent up to rounding; J is dense."""
    rows = list(rank.rows)
    found = solved(replace(problem, jacobian=DenseJacobian(problem.jacobian.matrix[rows]), rhs=problem.rhs[rows]))  # type: ignore[attr-defined]
    nu = np.zeros(problem.n_constraints)
    nu[rows] = found.nu
    return replace(found, problem=problem, nu=nu, rank=rank)


def floats(values: list[Fraction]) -> Array:
    """Nearest floats."""
    return np.array([float(v) for v in values])


def _up(value: Fraction) -> float:
    """Three digits of it are not less."""
    return float(value) * (1 + 5e-3)
