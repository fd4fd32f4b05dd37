"""Rows that read >=, through problems with equations only: those that are tight, and no others.

Rows that the optimum on some tight rows misses join them, and those whose multipliers are negative leave (the
primal-dual active set of Hintermueller, Ito and Kunisch, SIAM J. Optim. 13, 2002); where that comes back to a set that
it has had, one row joins at a time.  At the end no row is missed, and multipliers are not negative: what bounds the
optimum on the tight rows then bounds the optimum of the problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import in_row_units
from exact_unlearn.scalable.clock import Clock
from exact_unlearn.solution import Solution, Status

ROUNDS = 60
"""Sets of tight rows that are tried."""

Solve = Callable[[UnlearningProblem, Solution | None], Solution]


def solve_tight(problem: UnlearningProblem, solve: Solve, gap: float, start: Solution | None, clock: Clock) -> Solution:
    """The answer of `solve`, which takes equations, on the rows that are tight; measured on all rows.

    Raises ProblemError unless J is a matrix.
    """
    if not isinstance(problem.jacobian, DenseJacobian):
        raise ProblemError(
            "at_least: scalable.solve takes rows that read >= of a matrix only, and this jacobian has none; pass a "
            "matrix, or use exact_unlearn.solve"
        )
    J, k = to_float(problem.jacobian.matrix), problem.n_constraints
    unit, exponents = in_row_units(np.where(problem.free, J, 0.0))
    rhs = np.ldexp(to_float(problem.rhs), -exponents)
    tight = problem.at_least & (start.nu > 0 if start is not None and start.nu.size == k else False)
    before, seen, one = start, set[bytes](), False
    for _ in range(ROUNDS):
        chosen = np.flatnonzero(tight | ~problem.at_least)
        seen.add(tight.tobytes())
        posed = replace(problem, jacobian=DenseJacobian(J[chosen]), rhs=to_float(problem.rhs)[chosen], at_least=None)
        found = before = solve(posed, before)
        nu = np.zeros(k)
        nu[chosen] = found.nu
        answer = _of(problem, found, nu)
        if found.status is Status.INFEASIBLE and not tight.any():
            return answer  # equations alone refute it
        if found.status not in (Status.OPTIMAL, Status.INACCURATE):
            break
        short = np.where(problem.at_least & ~tight, rhs - unit @ np.where(problem.free, found.drift, 0.0), 0.0)
        sizes = np.linalg.norm(unit, axis=1) * (
            np.linalg.norm(found.theta) + np.linalg.norm(to_float(problem.theta_star))
        )
        missed, wrong = short > 0.5 * gap * (sizes + np.abs(rhs)), tight & (nu < 0)
        if not missed.any() and not wrong.any():
            return answer
        grown = (tight & ~wrong) | missed
        one = one or grown.tobytes() in seen
        tight = (tight & ~wrong) | (_largest(short) & missed if one else missed)
        if tight.tobytes() in seen or clock.expired():
            break
    late = Status.TIME_LIMIT if clock.expired() else Status.INACCURATE
    return answer.with_message(
        late,
        "Which of the rows that read >= are tight was not found out; exact_unlearn.solve treats all of them at once.",
    )


def _of(problem: UnlearningProblem, found: Solution, nu: Array) -> Solution:
    """The answer on some rows as one on all; multipliers of rows that read >= are not negative."""
    return replace(found, problem=problem, nu=np.where(problem.at_least, np.maximum(nu, 0.0), nu))


def _largest(values: Array) -> Array:
    """Where the largest value is."""
    mask = np.zeros(values.size, dtype=bool)
    mask[int(np.argmax(values))] = True
    return mask
