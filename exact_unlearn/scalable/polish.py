"""The certified point, rounded: what a norm solver in floats cannot reach, the rationals of `certify` can.

`certify` starts from the answer in floats, finds the face of the optimum and solves on it exactly (or encloses the
optimum to more than 30 digits).  Its point, rounded once, is within rounding of the minimiser, wherever the optimum
lies between 0 and R(theta*).
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.ladder import certify
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.jacobian import DenseJacobian
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.scalable.clock import Clock
from exact_unlearn.solution import Solution, Status

ENTRIES = 2_000_000
"""Largest number of entries of J that are taken into rationals."""


def check_polish(problem: UnlearningProblem, polish: str | None) -> None:
    """ProblemError unless polish is None or "exact", and J one that can be taken into rationals."""
    if polish is None:
        return
    if polish != "exact":
        raise ProblemError(f"polish: expected 'exact' or None, got {polish!r}")
    k, d = problem.n_constraints, problem.n_parameters
    if k * d > ENTRIES:
        raise ProblemError(
            f"polish: 'exact' takes J into rationals, {k} x {d} entries are more than the {ENTRIES} it is meant for; "
            "leave polish out"
        )
    if not isinstance(problem.jacobian, DenseJacobian) and problem.regularizer.name != "predictor_norm":
        raise ProblemError(
            "polish: 'exact' needs the entries of J as they are, and this jacobian only has products; pass a matrix, "
            "or leave polish out"
        )


def polished(solution: Solution, gap: float, clock: Clock) -> Solution:
    """The certified point rounded to floats, with the bounds that are proved; the solution itself where nothing is, or
    where less is proved than its own residuals say.

    Optimal only if the value of the rounded point is within `gap` of the proved lower bound, relatively, and its
    constraint residual too.  Raises ProblemError where rows have another rank as written than up to rounding.
    """
    problem = solution.problem
    left = None if math.isinf(clock.limit) else max(clock.limit - clock.seconds, 1e-3)
    options: dict[str, Any] = {"proof": "exact"} | ({} if left is None else {"time_limit": left})
    clock.tell("certifying")
    try:
        proof = certify(problem, solution, **options)
    except RankAmbiguityError as error:
        raise ProblemError(f"polish: certify would ask first, for {error}") from None
    if proof.proof == "infeasible":
        return solution.with_message(Status.INFEASIBLE, f"certified: {proof.claim}")
    if proof.theta is None or proof.lower is None or proof.upper is None:
        late = Status.TIME_LIMIT if left is not None and clock.expired() else solution.status
        return solution.with_message(late, f"{solution.message}; nothing was certified: {proof.message}".rstrip(": "))
    point = replace(
        solution,
        theta=np.asarray(proof.theta, dtype=np.float64),
        solver=f"{solution.solver}, certified",
        lower=_down(proof.lower),
        upper=-_down(-proof.upper),
        unique=proof.unique if proof.unique is not None else solution.unique,
    )
    value, residual = point.value, point.primal_residual()
    apart = abs(Fraction(value) - proof.lower) / abs(proof.lower) if proof.lower else Fraction(value != 0)
    miss = max(residual, float(apart))
    message = f"certified ({proof.proof}): the optimum lies in [{point.lower!r}, {point.upper!r}]"
    if miss <= gap:
        return point.with_message(Status.OPTIMAL, message)
    if solution.status is Status.OPTIMAL:  # what the floats can bound themselves is not given up for less
        return solution.with_message(solution.status, f"{solution.message}; not polished: {proof.claim}")
    status = Status.TIME_LIMIT if left is not None and clock.expired() else Status.INACCURATE
    return point.with_message(status, f"{message}; reached {miss:.1e} where {gap:.1e} was asked for")


def _down(value: Fraction) -> float:
    """The largest float that is not above `value`."""
    try:
        near = float(value)
    except OverflowError:
        return math.copysign(math.inf, value) if value < 0 else float(np.finfo(np.float64).max)
    return near if Fraction(near) <= value else math.nextafter(near, -math.inf)
