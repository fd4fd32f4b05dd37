"""Sums of powers below 1, which no back end takes: the least vertex, proved, is the answer."""

from __future__ import annotations

import time

import numpy as np

from exact_unlearn.certify.ladder import certify
from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.reference.counting import infeasible
from exact_unlearn.reference.labels import rows_of
from exact_unlearn.solution import Solution, Status
from exact_unlearn.watch import TimeUpError


def solve_vertices(problem: UnlearningProblem, solver: str | None) -> Solution:
    """The point that `certify` proves least, or where there are too many vertices the best known and an interval.

    Raises ProblemError where a back end is named.
    """
    if solver is not None:
        raise ProblemError(
            f"solver: {problem.regularizer.name} is concave, which {solver!r:.60} does not solve; leave `solver` out"
        )
    began = time.perf_counter()
    nothing = np.zeros(problem.n_constraints)
    claim = Solution(problem, problem.theta_star, nothing, Status.INTERVAL, "vertices", rank=rows_of(problem))
    certificate = certify(problem, rows="literal")
    if certificate.proof == "infeasible":
        return infeasible(claim, certificate)
    if certificate.theta is None or certificate.lower is None or certificate.upper is None:
        raise TimeUpError("the time is up")
    proved = certificate.proof in ("exact", "enclosure")
    return Solution(
        problem,
        certificate.theta,
        nothing,
        Status.OPTIMAL if proved else Status.INTERVAL,
        "vertices",
        lower=float(certificate.lower),
        upper=float(certificate.upper),
        unique=certificate.unique,
        rank=claim.rank,
        solve_seconds=time.perf_counter() - began,
        message="Every vertex was tried." if proved else f"{certificate.message.capitalize()}.",
    )
