"""Problems handed to processes of this machine through files, and what is said when a process fails."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError, SolverError
from exact_unlearn.scalable import solve
from exact_unlearn.scalable.launch import run_together, solve_with_processes


class Products:
    """J as products only."""

    shape = (1, 3)

    def matvec(self, drift: np.ndarray) -> np.ndarray:
        return drift[:1]

    def rmatvec(self, nu: np.ndarray) -> np.ndarray:
        return np.concatenate([nu, [0.0, 0.0]])


def test_answers_come_back_whole(rng: np.random.Generator) -> None:
    J, theta = rng.standard_normal((4, 60)), rng.standard_normal(60)
    labels = rng.integers(0, 12, 60)
    problems = [xu.UnlearningProblem(theta, J, R) for R in (xu.L1(), xu.GroupL2(labels))]
    for problem, whole in zip(problems, solve_with_processes(problems), strict=True):
        alone = solve(problem)
        assert whole.gap <= 1e-8
        assert np.abs(J @ (whole.theta - theta)).max() <= 1e-9
        assert problem.regularizer.value(whole.theta) == pytest.approx(alone.value, rel=1e-7)


def test_a_process_that_fails_is_quoted_and_the_others_are_not_waited_for(rng: np.random.Generator) -> None:
    R = xu.NuclearNorm(slice(0, 6), (2, 3))
    problem = xu.UnlearningProblem(rng.standard_normal(6), rng.standard_normal((2, 6)), R)
    with pytest.raises(SolverError, match=r"process [01] failed with status 1: .*ProblemError"):
        solve_with_processes([problem], timeout=120.0)


def test_products_are_not_handed_over() -> None:
    with pytest.raises(ProblemError, match="only dense"):
        solve_with_processes([xu.UnlearningProblem(np.ones(3), Products(), xu.L1())])


def test_one_that_fails_ends_the_others() -> None:
    waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
    broken = [sys.executable, "-c", "import sys; sys.exit('no such shard')"]
    with pytest.raises(SolverError, match="process 1 failed with status 1: no such shard"):
        run_together([waiting, broken], timeout=120.0)
    with pytest.raises(SolverError, match="did not finish within"):
        run_together([waiting], timeout=0.1)
