"""Counts as programs: the optimum of the exported matrices against every support tried one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import ExplicitProgram
from tests.test_program import solve_with_highs


def least_count(problem: UnlearningProblem, limit: float) -> int:
    """The least number of groups in use over all feasible theta whose entries are at most `limit`.

    Supports in order of size, each a linear system (which has the one solution here, or its least one is short).
    """
    theta, free, J = problem.theta_star, problem.free, problem.jacobian.matrix  # type: ignore[attr-defined]
    labels = problem.regularizer.labels
    labels = np.arange(theta.size) if labels is None else labels
    fixed = np.where(free, 0.0, theta)
    right = J @ theta + problem.rhs - J @ fixed
    groups = range(labels.max() + 1)
    used = {int(g) for g in labels[fixed != 0]}
    for size in range(len(groups) + 1):
        for kept in itertools.combinations(groups, size):
            columns = free & np.isin(labels, kept)
            found = np.linalg.lstsq(J[:, columns], right, rcond=None)[0] if columns.any() else np.zeros(0)
            if used <= set(kept) and np.allclose(J[:, columns] @ found, right) and largest(found) <= limit:
                return size
    raise AssertionError("theta* itself is feasible")


def largest(x: np.ndarray) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def optimum(program: ExplicitProgram) -> float:
    return program.value(solve_with_highs(program))


FREEZINGS = {
    "all free": [1, 1, 1, 1, 1, 1, 1, 1],
    "a frozen half of a group that is in use": [1, 0, 1, 1, 1, 1, 1, 1],
    "frozen halves of two groups": [1, 0, 0, 1, 1, 1, 1, 1],
    "a group frozen whole": [0, 0, 1, 1, 1, 1, 1, 1],
    "a group frozen whole and a half": [0, 0, 0, 1, 1, 1, 1, 1],
    "only one group moves": [0, 0, 0, 0, 0, 0, 1, 1],
    "nothing moves": [0, 0, 0, 0, 0, 0, 0, 0],
}


@pytest.mark.parametrize("zeros", [(), (1,), (0, 1), (2, 3)])
@pytest.mark.parametrize("freezing", FREEZINGS)
@pytest.mark.parametrize("groups", [[0, 0, 1, 1, 2, 2, 3, 3], None])
@pytest.mark.parametrize("rows", [0, 2])
def test_every_group_is_counted_once(zeros: tuple[int, ...], freezing: str, groups: Any, rows: int) -> None:
    """A group with a frozen entry that is not zero is paid for once, whatever else of it may move."""
    rng = np.random.default_rng(3)
    theta = rng.choice([-2.0, -1.0, 1.0, 2.0], 8)
    theta[list(zeros)] = 0.0
    J = rng.standard_normal((rows, 8))
    free = np.array(FREEZINGS[freezing], dtype=bool)
    problem = UnlearningProblem(theta, J, xu.L0(groups), free=free)
    program = xu.explicit_program(problem)
    assert program.exact_up_to == 10 * largest(theta)
    assert optimum(program) == pytest.approx(least_count(problem, program.exact_up_to), abs=1e-6)


def test_the_cut_off_of_a_count_is_ten_times_the_largest_parameter() -> None:
    """Larger entries are cut off, `exact_up_to` says where, and a theta* of zeros has room to move all the same."""
    for theta, limit in (([1.0, -3.0, 2.0], 30.0), ([0.0, 0.0, 0.0], 1.0)):
        program = xu.explicit_program(UnlearningProblem(theta, [[1.0, 1.0, 0.0]], xu.L0(), rhs=[0.5 * limit]))
        assert program.exact_up_to == limit
        z = solve_with_highs(program)
        moved = program.theta(z)
        assert moved @ [1.0, 1.0, 0.0] == pytest.approx(sum(theta[:2]) + 0.5 * limit)
        assert np.count_nonzero(np.abs(moved) > 1e-7) == 1
    program = xu.explicit_program(UnlearningProblem([1.0, 0.0], np.zeros((0, 2)), xu.L1()))
    assert program.exact_up_to == np.inf
