"""Numbers that decide: ranks, contradictions, residuals, balls; tests using the same number would miss a wrong one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.scalable import project, solve
from exact_unlearn.scalable.claims import Raw, claim, primal_residual
from exact_unlearn.solution import Solution, Status


@pytest.mark.parametrize(
    ("dtype", "apart", "rank"),
    [(np.float64, 1e-14, 2), (np.float64, 1e-16, 1), (np.float32, 4e-6, 2), (np.float32, 1e-7, 1)],
)
def test_ranks_are_decided_a_few_units_above_rounding(dtype: Any, apart: float, rank: int) -> None:
    J = np.array([[1.0, 0.0, 1.0], [1.0, apart, 1.0]], dtype=dtype)
    assert project(J, np.ones(3, dtype=dtype)).rank == rank


@pytest.mark.parametrize("off", [1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("R", [xu.L1(), xu.L2(), xu.LInf(), xu.SquaredL2()])
def test_labels_that_contradict_each_other_by_little(R: Any, off: float, rng: np.random.Generator) -> None:
    """A duplicated row with two labels: nothing that fits one to rounding may be called optimal."""
    J, theta = rng.standard_normal((3, 20)), rng.standard_normal(20)
    found = solve(xu.UnlearningProblem(theta, np.vstack([J, J[:1]]), R, rhs=[1.0, 0.5, 0.2, 1.0 + off]))
    assert found.status in (Status.INFEASIBLE, Status.INACCURATE)
    assert project(np.vstack([J, J[:1]]), theta, rhs=[1.0, 0.5, 0.2, 1.0 + off]).inconsistency > 0.1 * off


def test_the_residual_of_claims_is_that_of_solutions(rng: np.random.Generator) -> None:
    J, theta, b = rng.standard_normal((4, 9)), rng.standard_normal(9), rng.standard_normal(4)
    problem = xu.UnlearningProblem(theta, J, xu.L1(), free=np.arange(9) > 1, rhs=b)
    for _ in range(5):
        point = np.where(problem.free, rng.standard_normal(9), theta)
        told = Solution(problem, point, np.zeros(4), Status.OPTIMAL).primal_residual()
        assert primal_residual(problem, point) == pytest.approx(told, rel=1e-12)


@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(0.3), xu.TrustRegion(0.8)])
@pytest.mark.parametrize("R", [xu.L1(), xu.LInf(), xu.GroupL2(np.arange(12) // 3)])
def test_a_claim_is_no_better_than_its_numbers(R: Any, drift: Any, rng: np.random.Generator) -> None:
    """A right answer is optimal; the same with theta, nu or the ball off by 1e-6, or in doubt by it, is not."""
    problem = xu.UnlearningProblem(rng.standard_normal(12), rng.standard_normal((3, 12)), R, drift)
    good = solve(problem, gap=1e-9)
    pull = np.asarray(problem.jacobian.rmatvec(good.nu))
    raw = Raw(good.theta, good.nu, pull, None if drift is None else good.subgradient, "test", "test")

    def status(changed: Raw, gap: float = 1e-8) -> Status:
        return claim(problem, changed, primal_residual(problem, changed.theta), gap, (0.0, 0.0)).status

    assert status(raw) is Status.OPTIMAL
    assert status(replace(raw, doubt=1e-6 * good.value)) is Status.INACCURATE
    assert status(replace(raw, doubt=1e-9 * good.value)) is Status.OPTIMAL
    assert status(replace(raw, theta=good.theta * (1.0 + 1e-6))) is Status.INACCURATE
    assert status(replace(raw, nu=good.nu * 0.999, pull=pull * 0.999)) is Status.INACCURATE
    if drift is not None and drift.name == "trust_region":
        moved = np.asarray(problem.theta_star) + good.drift * (1.0 + 1e-6)
        assert status(replace(raw, theta=moved), 1e-7) is Status.INACCURATE
