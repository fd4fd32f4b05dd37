"""Integer programs: as few groups (or neurons) as possible, without believing a big-M.

The back end solves |theta_i| <= M b_g with binary b.  Its optimum is a suggestion: with a large M a solver's
integrality tolerance
lets coordinates slip through (M = 1e7: "optimal" with 0 neurons where the truth is 4), with a small M it cuts
solutions off.  Here only the *support* it suggests is used:
the point is refitted on that support and must satisfy the constraints there, supports are pruned, and the count
is called
optimal only when certify() proves that no smaller one exists.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse as sp

from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import Assembly, Cones, ExplicitProgram
from exact_unlearn.reference import backends
from exact_unlearn.reference.backends import BackendAnswer
from exact_unlearn.solution import Solution, Status

TIME_LIMIT = 30.0
"""Seconds for the back end when the caller sets no limit: branch and bound on such programs may never end."""

FITTED = 1e-9
"""A support fits when the constraints can be met on it to this accuracy, relative to |Q theta*|."""


def solve_counting(
    problem: UnlearningProblem, assembly: Assembly, solver: str, time_limit: float | None, compile_seconds: float
) -> Solution:
    """The smallest count found, and the interval in which the optimum is proved to lie.

    Upper bounds: supports suggested by theta*, by a vertex of the l1 relaxation and by the MILP, each pruned
    and refitted.
    Lower bound: certify() (ranks of all smaller supports, exact).  Status.OPTIMAL only if the two meet.
    """
    began = time.perf_counter()
    support = _Support(problem, assembly)
    relaxation = _relaxation(assembly.program, support)
    relaxed = backends.run(relaxation, "HIGHS", 1e-9, time_limit)
    answer = backends.run(assembly.program, solver, 1e-9, TIME_LIMIT if time_limit is None else time_limit)
    suggestions = [support.groups]
    for program, z in ((relaxation, relaxed.z), (assembly.program, answer.z)):
        suggestions += [] if z is None else [support.used(program.theta(z))]
    best = min((support.pruned(groups) for groups in suggestions), key=len)
    theta = support.fitted(best)
    assert theta is not None  # theta* itself is feasible, so the first suggestion always fits
    upper = float(problem.regularizer.value(theta))
    solution = _solution(problem, assembly, theta, upper, answer, compile_seconds)
    lower = _proved_lower_bound(solution)
    status = Status.OPTIMAL if lower >= upper else Status.INTERVAL
    message = f"{solver} said {answer.claim!r}; the count lies in [{lower:g}, {upper:g}]."
    return Solution(
        problem=problem,
        theta=theta,
        nu=solution.nu,
        status=status,
        solver=solver,
        lower=lower,
        upper=upper,
        unique=None,
        rank=assembly.rows.report,
        compile_seconds=compile_seconds,
        solve_seconds=time.perf_counter() - began,
        message=message,
    )


class _Support:
    """Which groups pay, and how to fit the constraints with a few of them."""

    def __init__(self, problem: UnlearningProblem, assembly: Assembly) -> None:
        free = np.flatnonzero(problem.free)
        self.problem, self.free, self.Q = problem, free, assembly.rows.Q
        self.c = assembly.program.b[: assembly.program.cones.zero]
        self.offset = assembly.program.theta_offset
        charge = problem.regularizer.charge(problem.theta_star)  # type: ignore[attr-defined]
        stuck = charge[~problem.free & (to_float(problem.theta_star) != 0) & (charge >= 0)]
        # groups with a frozen non-zero coordinate pay whatever happens, so their other coordinates are free of charge
        self.labels = np.where(np.isin(charge, stuck), -1, charge)[free]
        self.groups = sorted({int(g) for g in self.labels if g >= 0})
        self.size = float(np.linalg.norm(self.c)) or float(np.linalg.norm(to_float(problem.theta_star)))

    def used(self, theta: Array) -> list[int]:
        """The groups with an entry above the rounding of theta."""
        moving = theta[self.free]
        large = np.abs(moving) > 1e-9 * np.max(np.abs(moving), initial=0.0)
        return sorted({int(g) for g in self.labels[large] if g >= 0})

    def fitted(self, groups: Iterable[int]) -> Array | None:
        """theta on these groups and the coordinates free of charge, exactly 0 elsewhere; None if the
        constraints cannot be met.
        """
        columns = np.flatnonzero((self.labels < 0) | np.isin(self.labels, list(groups)))
        theta = self.offset.copy()
        if columns.size:
            values, *_ = np.linalg.lstsq(self.Q[:, columns], self.c, rcond=None)
            theta[self.free[columns]] = values
        miss = self.Q @ theta[self.free] - self.c
        return theta if np.max(np.abs(miss), initial=0.0) <= FITTED * self.size else None

    def pruned(self, groups: list[int]) -> list[int]:
        """A subset that still fits and loses it with any one group less; all groups if these do not fit."""
        kept = list(groups) if self.fitted(groups) is not None else list(self.groups)
        for group in self._by_size(kept):
            fewer = [g for g in kept if g != group]
            if self.fitted(fewer) is not None:
                kept = fewer
        return kept

    def _by_size(self, groups: list[int]) -> Iterator[int]:
        theta = self.fitted(groups)
        assert theta is not None
        moving = theta[self.free]
        return iter(sorted(groups, key=lambda g: float(np.linalg.norm(moving[self.labels == g]))))


def _relaxation(program: ExplicitProgram, support: _Support) -> ExplicitProgram:
    """min sum over paying coordinates of |theta_i|: a vertex has at most rank J non-zeros."""
    n = support.free.size
    paying = np.flatnonzero(support.labels >= 0)
    pick = sp.csr_array((np.ones(paying.size), (np.arange(paying.size), paying)), shape=(paying.size, n))
    above = sp.csr_array(-sp.eye_array(paying.size))
    equations = sp.hstack([sp.csr_array(support.Q), sp.csr_array((support.Q.shape[0], paying.size))])
    A = sp.vstack([equations, sp.hstack([pick, above]), sp.hstack([-pick, above])], format="csc")
    d, size = program.theta_offset.size, n + paying.size
    return ExplicitProgram(
        P=sp.csc_array((size, size)),
        q=np.concatenate([np.zeros(n), np.ones(paying.size)]),
        A=sp.csc_array(A),
        b=np.concatenate([support.c, np.zeros(2 * paying.size)]),
        cones=Cones(support.Q.shape[0], 2 * paying.size),
        integer=np.zeros(0, dtype=np.int64),
        constant=0.0,
        theta_map=sp.csc_array((np.ones(n), (support.free, np.arange(n))), shape=(d, size)),
        theta_offset=program.theta_offset,
        nu_map=program.nu_map,
    )


def _solution(
    problem: UnlearningProblem, assembly: Assembly, theta: Array, upper: float, answer: BackendAnswer, seconds: float
) -> Solution:
    return Solution(
        problem=problem,
        theta=theta,
        nu=np.zeros(problem.n_constraints),
        status=Status.INTERVAL,
        solver=answer.solver,
        upper=upper,
        rank=assembly.rows.report,
        compile_seconds=seconds,
        solve_seconds=answer.solve_seconds,
    )


def _proved_lower_bound(solution: Solution) -> float:
    from exact_unlearn.certify import certify  # lazily: certify builds on what this module's layer provides

    return float(certify(solution.problem, solution, rows="literal").lower)
