"""Integer programs: as few groups (or neurons) as possible, without believing a big-M.

The back end solves |theta_i| <= M b_g with binary b.  Its optimum is a suggestion: with a large M a solver's
integrality tolerance lets coordinates slip through, and the count comes out too small; with a small M it cuts
solutions off.  Here only the *support* it suggests is used: the point is refitted on
that support and must satisfy the constraints there, supports are pruned, and the count is called optimal only
when certify() proves that no smaller one exists.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from exact_unlearn.certify.certificate import Certificate
from exact_unlearn.certify.encode import entries
from exact_unlearn.certify.ladder import certify
from exact_unlearn.drift import DriftSum
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import Assembly, Cones, ExplicitProgram, assemble
from exact_unlearn.reference import backends
from exact_unlearn.regularizers import SquaredL2
from exact_unlearn.solution import Solution, Status
from exact_unlearn.vectors import largest
from exact_unlearn.watch import note, remaining, watched

TIME_LIMIT = 30.0
"""Seconds for the back end when the caller sets no limit: branch and bound on such programs may never end."""

SHARE = 0.5
"""Of what is left of a time limit, for each step."""

FITTED = 1e-9
"""A support fits when the constraints can be met on it to this accuracy, relative to |Q theta*|."""


def solve_counting(
    problem: UnlearningProblem, assembly: Assembly, solver: str, time_limit: float | None, compile_seconds: float
) -> Solution:
    """The best point found, and the interval in which the optimum is proved to lie.

    Supports are suggested by theta*, by a vertex of the l1 relaxation and by the MILP, each pruned and
    refitted.  Then certify() decides: a support that fits only up to rounding is none, and the lower bound is a
    matter of ranks of all smaller supports, exact.  Status.OPTIMAL only if the bounds meet.  Under a time limit each of
    these steps may take half of what is left; what it has by then counts.
    """
    began = time.perf_counter()
    support = _Support(problem, assembly)
    relaxation, linear = _relaxation(assembly.program, support), _linear_part(problem, assembly)
    suggestions = [support.groups]
    note("HIGHS solves the l1 relaxation")
    with watched(share=SHARE):
        z = backends.run(relaxation, "HIGHS", 1e-9, time_limit).z
    suggestions += [] if z is None else [support.used(relaxation.theta(z))]
    note(f"{solver} solves the integer program")
    with watched(share=SHARE):
        answer = backends.run(linear, solver, 1e-9, TIME_LIMIT if time_limit is None else time_limit)
    suggestions += [] if answer.z is None else [support.used(linear.theta(answer.z))]
    candidates = []
    for groups in reversed(suggestions):  # those of theta* are the most, and cost the most
        with watched(share=SHARE):
            found = support.pruned(groups)
        candidates += [] if found is None else [found]
    theta = min(candidates, key=support.cost) if candidates else to_float(problem.theta_star)
    claim = Solution(problem, theta, np.zeros(problem.n_constraints), Status.INTERVAL, solver)
    certificate = certify(problem, claim, rows="literal")
    if certificate.proof == "infeasible" and claim.primal_residual() > FITTED:
        return infeasible(claim, certificate)
    lower, upper, theta = _proved(claim, certificate)
    fits = replace(claim, theta=theta).primal_residual() <= FITTED
    status = Status.OPTIMAL if lower >= upper and fits else Status.INTERVAL if fits else Status.INACCURATE
    return replace(
        claim,
        theta=theta,
        status=status,
        lower=lower,
        upper=upper,
        rank=assembly.rows.report,
        compile_seconds=compile_seconds,
        solve_seconds=time.perf_counter() - began,
        message=f"{solver} said {answer.claim!r}; the optimum lies in [{lower:g}, {upper:g}].",
    )


class _Support:
    """Which groups pay, and how to fit the constraints with a few of them."""

    def __init__(self, problem: UnlearningProblem, assembly: Assembly) -> None:
        free = np.flatnonzero(problem.free)
        program, zero = assembly.program, assembly.program.cones.zero
        stated = program.A[: program.nu_map.shape[1]].toarray()[:, : free.size]
        self.problem, self.free, self.Q, self.c = problem, free, assembly.rows.Q, program.b[:zero]
        self.above, self.least = -stated[zero:], -program.b[zero : len(stated)]  # above theta >= least
        self.offset = assembly.program.theta_offset
        charge = problem.regularizer.charge(problem.theta_star)
        stuck = charge[~problem.free & (to_float(problem.theta_star) != 0) & (charge >= 0)]
        # groups with a frozen non-zero coordinate pay whatever happens, so their other coordinates are free of charge
        self.labels = np.where(np.isin(charge, stuck), -1, charge)[free]
        self.groups = sorted({int(g) for g in self.labels if g >= 0})
        self.size = float(np.linalg.norm(self.c)) or float(np.linalg.norm(to_float(problem.theta_star)))

    def cost(self, theta: Array) -> float:
        """R + Rhat, a trust region counting as 0 inside the slack that a float point needs."""
        return Solution(self.problem, theta, np.zeros(self.problem.n_constraints), Status.INTERVAL).value

    def used(self, theta: Array) -> list[int]:
        """The groups with an entry above the rounding of theta."""
        moving = theta[self.free]
        large = np.abs(moving) > 1e-9 * largest(moving)
        return sorted({int(g) for g in self.labels[large] if g >= 0})

    def fitted(self, groups: Iterable[int]) -> Array | None:
        """The best theta on these groups and the coordinates free of charge, exactly 0 elsewhere.

        None if the constraints cannot be met there.
        """
        kept = (self.labels < 0) | np.isin(self.labels, list(groups))
        plain = not self.problem.drifts and not self.least.size
        theta = self._least_norm(kept) if plain else self._least_drift(kept)
        return theta if theta is not None and self._fits(theta) else None

    def pruned(self, groups: list[int]) -> Array | None:
        """A point on a subset of the groups from which leaving any one out makes it worse; None if nothing fits."""
        theta = self.fitted(groups)
        if theta is None:
            return None
        sizes = {g: float(np.linalg.norm(theta[self.free][self.labels == g])) for g in groups}
        for left, group in enumerate(sorted(groups, key=lambda g: sizes[g])):
            if not remaining():
                break
            note(f"a support without one of its groups, {left + 1} of {len(groups)}")
            candidate = self.fitted(g for g in self.used(theta) if g != group)
            if candidate is not None and self.cost(candidate) < self.cost(theta):
                theta = candidate
        return theta

    def _fits(self, theta: Array) -> bool:
        miss = self.Q @ theta[self.free] - self.c
        claim = Solution(self.problem, theta, np.zeros(self.problem.n_constraints), Status.INTERVAL)
        return bool(largest(miss) <= FITTED * self.size and claim.primal_residual() <= FITTED)

    def _least_norm(self, kept: Array) -> Array:
        columns, theta = np.flatnonzero(kept), self.offset.copy()
        if columns.size:
            theta[self.free[columns]] = np.linalg.lstsq(self.Q[:, columns], self.c, rcond=None)[0]
        return theta

    def _least_drift(self, kept: Array) -> Array | None:
        """The least drift penalty on the support, or the least norm if there is none: a convex program, with further
        equations theta_j = 0 off the support.
        """
        from exact_unlearn.reference.solver import claimed  # the convex case of the function that called us

        problem, d = self.problem, self.problem.n_parameters
        off, stated = self.free[~kept], np.vstack([self.Q, self.above])
        matrix, start = np.zeros((len(stated) + off.size, d)), to_float(problem.theta_star)
        matrix[: len(stated), self.free] = stated
        matrix[np.arange(len(stated), len(matrix)), off] = 1.0
        rhs = np.concatenate([self.c, self.least, np.zeros(off.size)]) - matrix[:, self.free] @ start[self.free]
        at_least = np.isin(np.arange(len(matrix)), len(self.Q) + np.arange(self.least.size))
        costs = SquaredL2(None if not problem.drifts else np.zeros(d))
        posed = (start, DenseJacobian(matrix), costs, problem.drift_penalty, problem.free, rhs, at_least)
        solution = claimed(UnlearningProblem(*posed))
        if solution.status in (Status.INFEASIBLE, Status.BACKEND_FAILED):
            return None
        theta = solution.theta.copy()
        theta[off] = 0.0
        return theta


def _linear_part(problem: UnlearningProblem, assembly: Assembly) -> ExplicitProgram:
    """The program without the drift penalties that a MILP cannot state; a support is only a suggestion anyway."""
    linear = [term for term in problem.drifts if term.name == "l1_drift" or getattr(term, "norm", 2) == math.inf]
    if len(linear) == len(problem.drifts):
        return assembly.program
    penalty = DriftSum(tuple(linear)) if linear else None
    return assemble(replace(problem, drift_penalty=penalty)).program


def _relaxation(program: ExplicitProgram, support: _Support) -> ExplicitProgram:
    """min sum over paying coordinates of |theta_i|: a vertex has at most rank J non-zeros."""
    n = support.free.size
    paying = np.flatnonzero(support.labels >= 0)
    pick = sp.csr_array((np.ones(paying.size), (np.arange(paying.size), paying)), shape=(paying.size, n))
    above = sp.csr_array(-sp.eye_array(paying.size))
    rows = np.vstack([support.Q, -support.above])
    stated = sp.hstack([sp.csr_array(rows), sp.csr_array((len(rows), paying.size))])
    A = sp.vstack([stated, sp.hstack([pick, above]), sp.hstack([-pick, above])], format="csc")
    d, size = program.theta_offset.size, n + paying.size
    return ExplicitProgram(
        P=sp.csc_array((size, size)),
        q=np.concatenate([np.zeros(n), np.ones(paying.size)]),
        A=sp.csc_array(A),
        b=np.concatenate([support.c, -support.least, np.zeros(2 * paying.size)]),
        cones=Cones(support.Q.shape[0], support.least.size + 2 * paying.size),
        integer=np.zeros(0, dtype=np.int64),
        constant=0.0,
        theta_map=sp.csc_array((np.ones(n), (support.free, np.arange(n))), shape=(d, size)),
        theta_offset=program.theta_offset,
        nu_map=program.nu_map,
    )


def infeasible(claim: Solution, certificate: Certificate) -> Solution:
    """The claim that no parameters fit, with the Farkas vector of the certificate that proves it."""
    nu = np.zeros(claim.problem.n_constraints)
    for i, value in entries(certificate.tree["dual"]["nu"], range(nu.size)).items():
        nu[i] = float(value)
    return replace(claim, nu=nu, status=Status.INFEASIBLE, message=f"Proved: {certificate.message}.")


def _proved(claim: Solution, certificate: Certificate) -> tuple[float, float, Array]:
    """Lower and upper bound, and the point that attains the upper one.

    With a drift penalty the claim may be better than the feasible point that certify() finds; it is kept then.  A claim
    below the lower bound is feasible up to rounding only, and the bound, which is about the rows as written, not its.
    """
    lower = 0.0 if certificate.lower is None else float(certificate.lower)
    unproved = certificate.upper is None or certificate.theta is None
    better = claim.problem.drifts and claim.value < float(certificate.upper or 0)
    if unproved or (better and claim.primal_residual() <= FITTED):
        return min(lower, claim.value), claim.value, claim.theta
    assert certificate.upper is not None
    assert certificate.theta is not None
    return lower, float(certificate.upper), certificate.theta
