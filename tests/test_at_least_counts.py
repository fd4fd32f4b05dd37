"""Counts and matrices with rows that read J_i D >= b_i: counts against all linear programs, in both checkers."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.problem import UnlearningProblem
from tests.certificate_cases import counting, plant
from tests.row_cases import with_rows
from tests.test_at_least import problem_of
from tests.test_at_least_checker import both


def instance(seed: int, **more: Any) -> UnlearningProblem:
    """Small integers, some rows >=, coordinates alone or in pairs."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(4, 8)), int(rng.integers(1, 5))
    J, theta = rng.integers(-4, 5, size=(k, n)).astype(float), rng.integers(-3, 4, size=n).astype(float)
    rhs, mask = rng.integers(-3, 6, size=k).astype(float), rng.random(k) < 0.7
    regularizer = xu.L0() if seed % 2 else xu.L0(np.arange(n) // 2)
    return UnlearningProblem(theta, J, regularizer, rhs=rhs, at_least=mask, **more)


def by_linear_programs(problem: UnlearningProblem) -> int | None:
    """The least number of groups on which a linear program finds a point; None if there is none at all."""
    labels = problem.regularizer.charge(problem.theta_star)  # type: ignore[attr-defined]
    J, least = problem.free_matrix(), problem.at_least
    q = J @ problem.theta_star + problem.rhs
    stated: dict[str, Any] = {"A_ub": -J[least], "b_ub": -q[least], "A_eq": J[~least], "b_eq": q[~least]}
    for size in range(int(labels.max()) + 2):
        for chosen in itertools.combinations(range(int(labels.max()) + 1), size):
            bounds = [(None, None) if label in chosen else (0, 0) for label in labels]
            if linprog(np.zeros(labels.size), **stated, bounds=bounds).status == 0:
                return size
    return None


SOLVED = [seed for seed in range(24) if by_linear_programs(instance(seed)) is not None]


def test_most_instances_have_a_solution() -> None:
    assert len(SOLVED) > 15


@pytest.mark.parametrize("seed", SOLVED)
def test_counts_are_those_of_all_linear_programs(seed: int) -> None:
    problem = instance(seed)
    certificate = xu.certify(problem)
    assert certificate.proof == "exact", certificate.message
    assert certificate.lower == certificate.upper == by_linear_programs(problem)
    assert certificate.check().proved


@pytest.mark.parametrize("seed", SOLVED[:6])
def test_solve_finds_them(seed: int) -> None:
    claim = xu.solve(instance(seed))
    assert claim.status is xu.Status.OPTIMAL
    assert claim.value == by_linear_programs(instance(seed))
    assert claim.primal_residual() <= 1e-9


@pytest.mark.parametrize("penalty", [xu.SquaredDrift(0.125), xu.TrustRegion(2.0, np.inf), xu.TrustRegion(4.0)])
def test_penalties_leave_an_interval_that_is_true(penalty: Any) -> None:
    """Without the penalty the count is at most as large, so that its lower bound holds."""
    for seed in SOLVED[:5]:
        problem = instance(seed, drift_penalty=penalty)
        certificate = xu.certify(problem)
        if certificate.proof in ("none", "infeasible"):
            continue
        assert certificate.check().proved
        assert certificate.lower is not None
        assert certificate.upper >= by_linear_programs(instance(seed))
        claim = xu.solve(problem)
        assert claim.status in (xu.Status.OPTIMAL, xu.Status.INTERVAL)
        assert claim.primal_residual() <= 1e-9
        assert claim.value >= float(certificate.lower) - 1e-9


def test_a_point_that_misses_rows_is_never_called_optimal() -> None:
    """Two rows that read >= leave a strip that is empty but for rounding; a count of theta* is no answer then."""
    J = np.array([[1.0, 2.0, -1.0], [-1.0, -2.0, 1.0 + 2.0**-50]])
    problem = UnlearningProblem(
        np.ones(3), J, xu.L0(), xu.SquaredDrift(1e-3), None, [3.0, -1.0], np.ones(2, dtype=bool)
    )
    claim = xu.solve(problem)
    assert claim.status is not xu.Status.OPTIMAL or claim.primal_residual() <= 1e-9
    certificate = xu.certify(problem, claim)
    assert certificate.lower is not None
    assert certificate.check().proved


def test_what_no_group_reaches_is_refuted() -> None:
    for seed in set(range(24)) - set(SOLVED):
        problem = instance(seed)
        assert xu.certify(problem).proof == "infeasible"
        assert xu.solve(problem).status is xu.Status.INFEASIBLE


def _tree(problem: UnlearningProblem) -> Any:
    return codec.to_json(problem.to_tree())


def test_both_checkers_count(tmp_path: Path) -> None:
    problems = [instance(seed) for seed in SOLVED]
    jobs = [(_tree(problem), dict(xu.certify(problem).tree), None) for problem in problems]
    answers = both(jobs, tmp_path)
    assert [status for status, _ in answers] == [0] * len(jobs)
    assert any("apart" in job[1].get("count", {}) for job in jobs)


def _negated(tree: Any) -> None:
    for part in tree["count"]["apart"][0]:
        part["nums"] = [n[1:] if n.startswith("-") else f"-{n}" for n in part["nums"]]


def _without(tree: Any) -> None:
    tree["count"]["apart"] = []


def _nothing(tree: Any) -> None:
    tree["count"]["apart"].append([])


def _too_many(tree: Any) -> None:
    tree["count"]["exhausted"] += 1


@pytest.mark.parametrize("change", [_negated, _without, _nothing, _too_many])
def test_forged_vectors_are_refused_by_both(change: Any, tmp_path: Path) -> None:
    jobs = []
    for seed in SOLVED:
        problem = instance(seed)
        if not problem.at_least.all():
            continue
        tree = copy.deepcopy(dict(xu.certify(problem).tree))
        if tree.get("count", {}).get("apart"):
            tree["claims"] = {"proof": "repaired"}
            change(tree)
            jobs.append((_tree(problem), tree, None))
    answers = both(jobs, tmp_path)
    assert len(jobs) > 2
    assert [status for status, _ in answers] == [1] * len(jobs)


@pytest.mark.parametrize("name", ["l0", "active_neurons"])
@pytest.mark.parametrize("size", [0, 1])
def test_planted_counts_stay_what_they_are(name: str, size: int) -> None:
    """Rows with a gap change no count; equations alone prove it."""
    case = with_rows(counting(size, name), "inactive")
    certificate = xu.certify(problem_of(case))
    assert certificate.lower == certificate.upper == case.value


@pytest.mark.parametrize("drift", ["none", "squared", "l1"])
@pytest.mark.parametrize("kind", ["active", "inactive", "redundant", "two inequalities"])
def test_planted_matrices_are_enclosed(drift: str, kind: str) -> None:
    case = with_rows(plant("nuclear_norm", drift, False), kind)
    problem = problem_of(case)
    certificate = xu.certify(problem, rows="literal")
    assert certificate.proof == "enclosure", certificate.message
    assert case.contains(certificate.lower, certificate.upper)
    claim = xu.solve(problem)
    assert claim.status is xu.Status.OPTIMAL
    assert claim.value == pytest.approx(float(case.value), rel=1e-8)
