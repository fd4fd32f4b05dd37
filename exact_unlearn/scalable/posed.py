"""Optima so far below R(theta*) that they drown in the rounding of theta*, or 0.

Where nothing but regions holds theta near theta*, the problem is R subject to J theta = q with q = J theta* + b.  With
q to more than twice the precision of floats, everything that follows is in units of the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from exact_unlearn.jacobian import DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import accurate_residual
from exact_unlearn.solution import Solution, Status

NOTHING = 1e-4
"""Values below this part of R(theta*) are looked at again."""

ENTRIES = 4_000_000
"""Largest number of entries of J for which q is computed in extended precision."""


def posed_anew(
    problem: UnlearningProblem, found: Solution, solve: Callable[[UnlearningProblem], Solution], gap: float
) -> Solution:
    """A better answer than `found` by the problem posed in q, or `found` itself."""
    R, free, J = problem.regularizer, problem.free, problem.jacobian
    start = to_float(problem.theta_star)
    if found.status is not Status.INACCURATE or not all(term.name == "trust_region" for term in problem.drifts):
        return found
    if not isinstance(J, DenseJacobian) or problem.n_constraints * problem.n_parameters > ENTRIES:
        return found
    if not start[free].any() or not found.value <= NOTHING * float(R.value(np.where(free, start, 0.0))):
        return found
    matrix = to_float(J.matrix)
    if not 1e-100 < np.max(np.abs(matrix), initial=0.0) < 1e100:
        return found
    q = accurate_residual(matrix, -np.where(free, start, 0.0)[:, None], to_float(problem.rhs)[:, None])[:, 0]
    frozen = np.where(free, 0.0, start)
    again = solve(replace(problem, theta_star=frozen, drift_penalty=None, rhs=q))
    if again.status is not Status.OPTIMAL:
        return found
    still = tuple(np.zeros(problem.n_parameters) for _ in problem.drifts)
    again = replace(again, problem=problem, drift_subgradients=still)
    return again if again.primal_residual() <= gap else found
