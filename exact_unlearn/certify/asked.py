"""What `certify` was asked."""

from __future__ import annotations

from typing import Any

from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution
from exact_unlearn.watch import require_limit

METHODS = ("auto", "exact", "enclosure")
"""Values of `proof`."""


def require_arguments(problem: Any, solution: Any, time_limit: float | None, proof: Any) -> None:
    """ProblemError, one sentence, unless they fit each other; an origin must have made the problem."""
    require_limit(time_limit)
    if not isinstance(problem, UnlearningProblem):
        raise ProblemError(f"problem: expected an UnlearningProblem, got {type(problem).__name__}")
    if solution is not None and not isinstance(solution, Solution):
        raise ProblemError(f"solution: expected a Solution or None, got {type(solution).__name__}")
    shape = problem.n_parameters, problem.n_constraints
    if solution is not None and (solution.theta.size, solution.nu.size) != shape:
        raise ProblemError(
            f"solution: it has {solution.theta.size} parameters and {solution.nu.size} multipliers, the problem "
            f"{shape[0]} and {shape[1]}, so it is about another problem"
        )
    if not isinstance(proof, str) or proof not in METHODS:
        raise ProblemError(f"proof: expected one of {', '.join(map(repr, METHODS))}, got {proof!r:.60}")
    if problem.origin is not None:
        problem.origin.require(problem)
