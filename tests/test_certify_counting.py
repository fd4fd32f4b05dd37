"""Counts by exhaustive ranks, against the same by rational elimination of every set."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.certify import counting
from exact_unlearn.problem import UnlearningProblem


def smallest(J: np.ndarray, q: np.ndarray, groups: list[list[int]], free: list[int]) -> int:
    """The least number of groups whose columns, with the free ones, reach q; by elimination over the rationals."""
    for size in range(len(groups) + 1):
        for chosen in combinations(groups, size):
            columns = [*free, *(j for group in chosen for j in group)]
            if (rational.solve(J[:, columns], q) is not None) if columns else not any(q):
                return size
    raise AssertionError("q is not in the range of J")


@pytest.mark.parametrize("seed", range(6))
def test_counts_of_groups_against_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, d = 4, 10
    J = rng.integers(-2, 3, (k, d)).astype(float)
    labels = np.sort(rng.integers(0, 5, d))
    labels = np.unique(labels, return_inverse=True)[1]
    sparse = rng.integers(-3, 4, d) * np.isin(labels, rng.choice(5, 2, replace=False))
    theta = rng.integers(-3, 4, d).astype(float)
    problem = UnlearningProblem(theta, J, xu.L0(labels), rhs=J @ (sparse - theta))
    certificate = xu.certify(problem, rows="literal")
    exact = rational.rationals(J)
    groups = [np.flatnonzero(labels == g).tolist() for g in range(labels.max() + 1)]
    expected = smallest(exact, rational.matmul(exact, rational.rationals(sparse)), groups, [])
    assert certificate.proof == "exact"
    assert certificate.lower == certificate.upper == expected
    assert certificate.check().proved


@pytest.mark.parametrize("seed", range(4))
def test_frozen_groups_are_counted_and_help(seed: int) -> None:
    """A group with a frozen non-zero entry pays anyway, so its other entries cost nothing."""
    rng = np.random.default_rng(seed + 50)
    J, theta = rng.integers(-2, 3, (3, 9)).astype(float), rng.integers(1, 4, 9).astype(float)
    labels, free = np.arange(9) // 3, np.ones(9, dtype=bool)
    free[0] = False
    problem = UnlearningProblem(theta, J, xu.L0(labels), free=free)
    certificate = xu.certify(problem, rows="literal")
    exact = rational.rationals(J)
    q = rational.matmul(exact[:, 1:], rational.rationals(theta[1:]))
    expected = 1 + smallest(exact, q, [[3, 4, 5], [6, 7, 8]], [1, 2])
    assert certificate.lower == certificate.upper == expected
    assert certificate.check().proved


def test_neurons_without_input_cost_nothing() -> None:
    """phi(0) != 0 makes a neuron with a_i = 0 a free bias; a proof that forgets it would claim too much."""
    model = xu.Perceptron(2, 4, activation="sigmoid")
    rng = np.random.default_rng(3)
    theta = rng.standard_normal(model.n_parameters)
    incoming = theta[4:].reshape(4, 2)
    incoming[2] = 0.0
    x = rng.standard_normal((2, 2))
    problem = xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model))
    certificate = xu.certify(problem)
    assert certificate.proof == "exact"
    assert certificate.upper == 1  # the bias takes one of two constraints
    assert certificate.check().proved
    assert problem.regularizer.value(certificate.theta) <= 1


def test_theorem_5_at_most_rank_many_neurons() -> None:
    model = xu.Perceptron(3, 8, activation="relu")
    rng = np.random.default_rng(1)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((3, 3))
    certificate = xu.certify(xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model)))
    assert certificate.proof == "exact"
    assert certificate.upper <= 3


def test_zero_needs_no_group() -> None:
    problem = UnlearningProblem(np.zeros(6), np.ones((2, 6)), xu.L0())
    certificate = xu.certify(problem)
    assert certificate.lower == certificate.upper == 0


def test_too_many_sets_leave_an_honest_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SETS", 50)
    rng = np.random.default_rng(2)
    problem = UnlearningProblem(rng.standard_normal(12), rng.standard_normal((6, 12)), xu.L0())
    certificate = xu.certify(problem)
    assert certificate.proof == "repaired"
    assert certificate.lower == 2  # 12 single coordinates were tried, 66 pairs were not
    assert certificate.upper == 6
    assert certificate.check().proved


def test_a_solution_may_suggest_a_smaller_support(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without exhausting anything, the upper bound can come from anybody; it is refitted exactly."""
    monkeypatch.setattr(counting, "SETS", 0)
    monkeypatch.setattr(counting, "REWEIGHTINGS", 0)
    rng = np.random.default_rng(9)
    J = rng.integers(-9, 10, (5, 20)).astype(float)
    sparse = np.zeros(20)
    sparse[[3, 11]] = [2.0, -1.0]
    theta = rng.integers(-3, 4, 20).astype(float)
    problem = UnlearningProblem(theta, J, xu.L0(), rhs=J @ (sparse - theta))
    alone = xu.certify(problem)
    noisy = sparse + 1e-9 * rng.standard_normal(20)
    helped = xu.certify(problem, xu.Solution(problem, noisy, np.zeros(5), xu.Status.INACCURATE))
    assert helped.upper == 2 <= alone.upper
    assert helped.check().proved


@pytest.mark.parametrize("drift", [xu.SquaredDrift(0.5), xu.L1Drift(0.3), xu.TrustRegion(2.0, np.inf)])
def test_counts_with_a_drift_penalty_are_enclosed(drift: object) -> None:
    rng = np.random.default_rng(6)
    problem = UnlearningProblem(rng.standard_normal(8), rng.standard_normal((3, 8)), xu.L0(), drift)
    certificate = xu.certify(problem)
    assert 0 < certificate.lower <= certificate.upper
    assert certificate.check().proved


@pytest.mark.parametrize("radius", [1.3, 1e4, 1e200])
@pytest.mark.parametrize("norm", [2, np.inf])
def test_counts_in_a_region_meet_their_bound(radius: float, norm: float) -> None:
    """A region that leaves room for the smallest supports costs nothing."""
    rng = np.random.default_rng(4)
    J, theta = rng.standard_normal((3, 8)), rng.uniform(-0.4, 0.4, 8)
    problem = UnlearningProblem(theta, J, xu.L0(), xu.TrustRegion(radius, norm))
    solution = xu.solve(problem)
    certificate = xu.certify(problem, solution)
    assert solution.status is xu.Status.OPTIMAL
    assert certificate.proof == "exact"
    assert certificate.upper == 3
    assert certificate.check().proved
    assert solution.primal_residual() <= 1e-9


@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize("labels", [None, np.arange(8) // 3])
def test_a_region_of_radius_zero_leaves_theta_star(norm: float, labels: np.ndarray | None) -> None:
    rng = np.random.default_rng(4)
    theta = np.where(np.arange(8) < 5, rng.standard_normal(8), 0.0)
    problem = UnlearningProblem(theta, rng.standard_normal((3, 8)), xu.L0(labels), xu.TrustRegion(0.0, norm))
    certificate = xu.certify(problem)
    assert certificate.proof == "exact"
    assert certificate.upper == problem.regularizer.value(theta)
    assert certificate.check().proved


def test_conflicting_counts_are_infeasible() -> None:
    problem = UnlearningProblem(np.ones(4), np.ones((2, 4)), xu.L0(), rhs=[0.0, 1.0])
    certificate = xu.certify(problem)
    assert certificate.proof == "infeasible"
    assert certificate.check().proved


def test_the_gap_of_a_count_is_relative() -> None:
    certificate = xu.certify(UnlearningProblem(np.zeros(3), np.eye(3), xu.L0()))
    assert certificate.gap == Fraction(0)
