"""Rows that read J_i D >= b_i on torch, held against the reference solver and the planted optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import scalable
from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem
from tests.certificate_cases import plant
from tests.row_cases import KINDS, with_rows
from tests.test_at_least import problem_of

NORMS: list[Any] = [xu.SquaredL2(), xu.L2(), xu.L1(), xu.LInf(), xu.GroupL2(np.arange(40) // 8), xu.ElasticNet(0.5, 1)]
DRIFTS = [None, xu.SquaredDrift(0.3), xu.TrustRegion(30.0)]


def instance(seed: int) -> UnlearningProblem:
    rng = np.random.default_rng(seed)
    k, d = int(rng.integers(3, 20)), 40
    rhs, mask = rng.normal(size=k) * rng.choice([0.0, 1.0, 5.0]), rng.random(k) < rng.choice([0.3, 0.7, 1.0])
    R, drift = NORMS[seed % len(NORMS)], DRIFTS[seed % len(DRIFTS)]
    return UnlearningProblem(rng.normal(size=d), rng.normal(size=(k, d)), R, drift, None, rhs, mask)


@pytest.mark.parametrize("seed", range(18))
def test_answers_are_those_of_the_reference_solver(seed: int) -> None:
    problem = instance(seed)
    claim, reference = scalable.solve(problem), xu.solve(problem)
    assert claim.status is xu.Status.OPTIMAL, claim.message
    assert claim.value == pytest.approx(reference.value, rel=1e-6)
    assert (claim.nu[problem.at_least] >= 0).all()
    assert claim.primal_residual() <= 1e-8
    assert claim.dual_residual() <= 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["squared_l2", "l1", "group_l2"])
def test_planted_optima_are_found_or_nothing_is_claimed(name: str, kind: str) -> None:
    """Small integers are as degenerate as rows can be; what is called optimal is optimal."""
    case = with_rows(plant(name, "squared", False), kind)
    claim = scalable.solve(problem_of(case), gap=1e-7)
    if claim.status is xu.Status.OPTIMAL:
        assert claim.value == pytest.approx(float(case.value), rel=1e-6)
    else:
        assert claim.status is xu.Status.INACCURATE
        assert claim.message


def test_the_exact_point_and_a_start() -> None:
    problem = instance(2)
    claim = scalable.solve(problem, polish="exact")
    assert claim.lower is not None
    assert claim.lower <= claim.value * (1 + 1e-12)
    again = scalable.solve(problem, start=claim)
    assert again.value == pytest.approx(claim.value, rel=1e-7)


def test_products_alone_and_processes_are_refused_in_one_sentence() -> None:
    """Rows cannot be left out of a map that is not written out."""
    from exact_unlearn.scalable.launch import solve_with_processes

    model = scalable.ModuleModel(torch.nn.Linear(3, 2).double())
    J = model.jacobian(model.theta(), torch.ones(4, 3, dtype=torch.float64))
    problem = UnlearningProblem(model.theta(), J, xu.SquaredL2(), at_least=np.arange(8) < 4)
    with pytest.raises(ProblemError, match=r"at_least: scalable.solve takes rows that read >= of a matrix only"):
        scalable.solve(problem)
    with pytest.raises(ProblemError, match="at_least: the solve on several processes takes equations J D = b only"):
        solve_with_processes([instance(0)])


def test_equations_that_contradict_each_other_refute_it() -> None:
    J = np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    problem = UnlearningProblem(np.ones(3), J, xu.L1(), rhs=[0.0, 1.0, 0.0], at_least=[False, False, True])
    assert scalable.solve(problem).status is xu.Status.INFEASIBLE
