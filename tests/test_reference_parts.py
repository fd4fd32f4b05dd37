"""What the reference solver does in its corners: optima of 0, time that is up, bad arguments, failing back ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import reference
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Status

# ---------------------------------------------------------------- optima of 0

BLIND = [
    xu.SquaredL2([1, 1, 0]),
    xu.L1([1, 1, 0]),
    xu.LInf([1, 1, 0]),
    xu.L2([1, 1, 0]),
    xu.GroupL2([0, 0, 1], [1, 0]),
    xu.NuclearNorm([0, 1], (1, 2)),
]


@pytest.mark.parametrize("R", BLIND, ids=lambda R: R.name)
@pytest.mark.parametrize("theta", [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [1e6, -2e6, 5.0]])
@pytest.mark.parametrize("free", [[0, 1, 2], [1, 2]])
def test_an_intercept_that_costs_nothing_pays_for_everything(R: Any, theta: list[float], free: list[int]) -> None:
    """theta = (0, 0, q / 3) where both weights are free: optimum 0, multipliers 0."""
    start = np.array(theta)
    start[np.setdiff1d(np.arange(3), free)] = 0.0
    problem = UnlearningProblem(start, [[1.0, 2.0, 3.0]], R, free=free, rhs=[1.0])
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert solution.value <= 1e-12
    assert solution.is_optimal(1e-9)
    assert solution.theta[2] == pytest.approx((start @ [1, 2, 3] + 1) / 3, rel=1e-12)


@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize(("radius", "nothing"), [(3.0, True), (1.9, False)])
@pytest.mark.parametrize("R", [xu.GroupL2([0, 1, 1, 1], [10, 0]), xu.L1([10, 0, 0, 0])], ids=lambda R: R.name)
def test_what_costs_nothing_stays_within_the_regions(R: Any, radius: float, nothing: bool, norm: float) -> None:
    """theta_0 has to fall by 2, and the rest to rise by 3 in sum: 2.65 away; the shortest theta is 1732 away."""
    start = np.array([2.0, 1e3, -1e3, 1e3])
    problem = UnlearningProblem(start, [[0.5, 1.0, 1.0, 1.0]], R, xu.TrustRegion(radius, norm), rhs=[2.0])
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert (solution.value == 0) == nothing
    assert solution.primal_residual() <= reference.ACCURACY


# ---------------------------------------------------------------- back ends


def staircase(size: int, seed: int) -> UnlearningProblem:
    """Integer rows, each of six neighbouring columns; their orthonormal basis is dense, with entries down to 1e-17."""
    rng, k, d = np.random.default_rng(seed), size, size * 3 // 2
    J = np.zeros((k, d))
    for i, start in enumerate(np.arange(k) * (d - 6) // k):
        J[i, start : start + 6] = rng.integers(-3, 4, 6)
        J[i, start + 1] = rng.integers(1, 4)
    return UnlearningProblem(np.random.default_rng(1 + seed).integers(-5, 6, d).astype(float), J, xu.LInf())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("solver", ["HIGHS", "CLARABEL"])
def test_a_staircase_of_integers_is_solved_by_either(solver: str, seed: int) -> None:
    problem = staircase(100, seed)
    solution = xu.solve(problem, solver=solver)
    assert solution.status is Status.OPTIMAL, solution.message
    assert solution.relative_gap() <= 1e-12
