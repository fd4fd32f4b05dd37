"""Solutions measure themselves: each residual is the formula of its docstring, and sees what it should."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.errors import FileFormatError, ProblemError, SolverError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution, Status
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers


@pytest.fixture
def solution() -> Solution:
    return xu.solve(gaussian_problem(xu.L1(), drifts()["squared and l1"], freezings()["some frozen"]))


def test_residuals_are_their_formulas(solution: Solution) -> None:
    problem = solution.problem
    J = problem.jacobian.matrix  # type: ignore[attr-defined]
    assert solution.subgradient is not None
    assert solution.drift_subgradients is not None
    parts = [solution.subgradient, *solution.drift_subgradients]
    mismatch = np.abs(J.T @ solution.nu - sum(parts))[problem.free].max()
    scale = max(np.abs(part).max() for part in [J.T @ solution.nu, *parts])
    scale = max(scale, np.abs(problem.theta_star).sum() / np.abs(problem.theta_star).max())
    assert solution.dual_residual() == pytest.approx(mismatch / scale, rel=1e-12)
    dual = solution.subgradient @ problem.theta_star - (solution.drift_subgradients[0] ** 2)[problem.free].sum() / 0.6
    assert solution.dual_value() == pytest.approx(dual, rel=1e-12)
    assert solution.duality_gap() == pytest.approx(solution.value - dual, abs=1e-12)


@pytest.mark.parametrize(
    "claim",
    [{"subgradient": np.zeros(2)}, {"subgradient": "none"}, {"drift_subgradients": (np.zeros(12),)}],
    ids=["too short", "text", "one of two"],
)
def test_subgradients_fit_the_problem(solution: Solution, claim: dict[str, object]) -> None:
    with pytest.raises(ProblemError, match=r"subgradients?: expected"):
        replace(solution, **claim)


def test_weak_duality_holds_at_any_feasible_point(solution: Solution, rng: np.random.Generator) -> None:
    problem = solution.problem
    J = problem.free_matrix()
    for _ in range(50):
        drift = np.zeros(problem.n_parameters)
        move = rng.standard_normal(J.shape[1])
        drift[problem.free] = move - np.linalg.pinv(J) @ (J @ move)
        assert problem.objective(problem.theta_star + drift) >= solution.dual_value() - 1e-12


@pytest.mark.parametrize(
    ("change", "residual"),
    [
        ("move off the constraints", "primal_residual"),
        ("move a frozen coordinate", "primal_residual"),
        ("flip the sign of nu", "dual_residual"),
        ("leave the dual ball", "dual_residual"),
        ("move along the kernel", "relative_gap"),
    ],
)
def test_each_residual_sees_its_fault(solution: Solution, change: str, residual: str) -> None:
    problem, theta = solution.problem, solution.theta.copy()
    assert solution.is_optimal(1e-9)
    assert solution.subgradient is not None
    if change == "move off the constraints":
        theta[np.flatnonzero(problem.free)[0]] += 1e-4
        wrong = replace(solution, theta=theta)
    elif change == "move a frozen coordinate":
        theta[np.flatnonzero(~problem.free)[0]] += 1e-4
        wrong = replace(solution, theta=theta)
    elif change == "flip the sign of nu":
        wrong = replace(solution, nu=-solution.nu)
    elif change == "leave the dual ball":
        wrong = replace(solution, subgradient=solution.subgradient * 1.01)
    else:
        J = problem.free_matrix()
        move = np.ones(J.shape[1])
        theta[problem.free] += 0.1 * (move - np.linalg.pinv(J) @ (J @ move))
        wrong = replace(solution, theta=theta)
    assert getattr(wrong, residual)() > 1e-6
    assert not wrong.is_optimal(1e-9)
    with pytest.raises(SolverError, match=wrong.solver):
        wrong.require_optimal(1e-9)


def test_trust_regions_count_as_feasibility() -> None:
    problem = gaussian_problem(xu.L1(), xu.TrustRegion(0.7))
    inside = xu.solve(problem)
    outside = replace(inside, theta=problem.theta_star + 2 * inside.drift)
    assert inside.primal_residual() <= 1e-9
    assert outside.primal_residual() == pytest.approx(1.0, rel=1e-6)
    assert math.isfinite(outside.value)


def test_claims_without_multipliers_prove_nothing() -> None:
    problem = gaussian_problem(xu.L1())
    claim = Solution(problem, problem.theta_star, np.zeros(5), Status.OPTIMAL)
    assert claim.dual_residual() == math.inf
    assert claim.duality_gap() == math.inf
    assert not claim.is_optimal(1.0)


def test_residuals_do_not_depend_on_the_scale_of_J() -> None:
    J, theta = instances()["gaussian"]
    first, second = (xu.solve(UnlearningProblem(theta, J * s, xu.L1())) for s in (1.0, 2.0**500))
    assert first.theta.tobytes() == second.theta.tobytes()
    wrong = [replace(s, theta=s.theta + 1e-3).primal_residual() for s in (first, second)]
    assert wrong[0] == pytest.approx(wrong[1], rel=1e-12)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
@pytest.mark.parametrize("regularizer", ["l1", "group l2", "nuclear norm"])
def test_files_keep_every_bit(regularizer: str, suffix: str, tmp_path: Path) -> None:
    solution = xu.solve(gaussian_problem(regularizers()[regularizer], drifts()["all"]))
    solution.save(tmp_path / f"s{suffix}")
    loaded = Solution.load(tmp_path / f"s{suffix}")
    assert loaded.theta.tobytes() == solution.theta.tobytes()
    assert loaded.nu.tobytes() == solution.nu.tobytes()
    assert (loaded.status, loaded.solver, loaded.unique) == (solution.status, solution.solver, solution.unique)
    for name in ("primal_residual", "dual_residual", "duality_gap"):
        assert getattr(loaded, name)() == getattr(solution, name)()


def test_damaged_files_are_one_sentence(solution: Solution, tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    solution.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(FileFormatError):
        Solution.load(path)
    solution.problem.save(path)
    with pytest.raises(FileFormatError, match="expected schema 'exact-unlearn/solution'"):
        Solution.load(path)


@pytest.mark.parametrize(
    ("theta", "nu", "sentence"),
    [
        (np.ones(3), np.zeros(5), "theta: expected 12 entries"),
        (np.ones(12), np.zeros(4), "nu: expected 5 entries"),
        (np.full(12, np.nan), np.zeros(5), "theta: expected finite numbers"),
    ],
)
def test_bad_claims_are_refused(theta: np.ndarray, nu: np.ndarray, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        Solution(gaussian_problem(xu.L1()), theta, nu, Status.OPTIMAL)


def test_every_status_gives_advice() -> None:
    assert all(status.advice.endswith(".") for status in Status)
