"""Rows that read J_i D >= b_i in problems, in their files, and in what measures a claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.jacobian import to_rational
from exact_unlearn.problem import UnlearningProblem, exact_problem, surrogate_problem

J, THETA = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]), np.array([1.0, -1.0, 2.0])


def problem(at_least: Any, rational: bool = False) -> UnlearningProblem:
    theta, matrix = (to_rational(THETA) / 3, to_rational(J)) if rational else (THETA, J)
    return UnlearningProblem(theta, matrix, xu.L1(), rhs=[0.5, -0.25], at_least=at_least)


def test_no_row_is_the_plain_problem_and_its_files_are_of_version_1(tmp_path: Path) -> None:
    for name, mask in [("absent", None), ("false", [False, False])]:
        problem(mask).save(tmp_path / f"{name}.json")
    assert (tmp_path / "absent.json").read_bytes() == (tmp_path / "false.json").read_bytes()
    assert json.loads((tmp_path / "false.json").read_text())["version"] == 1
    assert "at_least" not in problem([False, False]).to_tree()


@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
@pytest.mark.parametrize("mask", [[True, False], [True, True]])
def test_files_of_version_2_come_back(suffix: str, mask: list[bool], tmp_path: Path) -> None:
    path = tmp_path / f"problem{suffix}"
    problem(mask).save(path)
    assert codec.load_object(path, "exact-unlearn/problem")["version"] == 2
    assert UnlearningProblem.load(path).at_least.tolist() == mask
    claim = xu.Solution(problem(mask), THETA, np.array([1.0, 2.0]), xu.Status.INACCURATE)
    claim.save(path)
    assert codec.load_object(path, "exact-unlearn/solution")["version"] == 2
    assert xu.Solution.load(path).problem.at_least.tolist() == mask


def test_fractions_come_back(tmp_path: Path) -> None:
    problem([False, True], rational=True).save(tmp_path / "problem.json")
    found = UnlearningProblem.load(tmp_path / "problem.json")
    assert found.is_rational
    assert found.at_least.tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 1}, "at_least: version 1 has no rows that read >=, so this must be version 2"),
        ({"version": 3}, "version 3 of exact-unlearn/problem is not known to this release .it knows 1 and 2."),
        ({"at_least": {"shape": [2], "data": ["1", "2"]}}, "at_least: expected an array of 0 and 1"),
        ({"at_least": {"shape": [1], "data": ["1"]}}, "at_least: expected a boolean mask of 2 entries"),
        ({"at_least": None}, "at_least: expected an array of 0 and 1 in one dimension, got null"),
    ],
)
def test_damaged_files_are_one_sentence(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    problem([True, False]).save(tmp_path / "problem.json")
    tree = json.loads((tmp_path / "problem.json").read_text()) | change
    (tmp_path / "problem.json").write_text(json.dumps(tree))
    with pytest.raises(FileFormatError, match=sentence):
        UnlearningProblem.load(tmp_path / "problem.json")


def test_an_empty_mask_is_a_mask_of_no_rows() -> None:
    found = UnlearningProblem(THETA, np.zeros((0, 3)), xu.L1(), at_least=[])
    assert found.at_least.shape == (0,)
    assert found.version == 1


def test_masks_of_samples_and_of_outputs() -> None:
    model, rng = xu.LinearModel(3, 2), np.random.default_rng(0)
    x, y, theta = rng.normal(size=(2, 3)), rng.normal(size=(2, 2)), rng.normal(size=6)
    outputs = [[True, False], [False, False]]
    assert exact_problem(model, theta, x, y, xu.L1(), at_least=outputs).at_least.tolist() == [True, False, False, False]
    found = surrogate_problem(model, theta, x, xu.L1(), at_least=[False, True])
    assert found.at_least.tolist() == [False, False, True, True]
    assert not surrogate_problem(model, theta, x, xu.L1()).at_least.any()
    for bad in ([True], [1, 0], [True] * 4):
        with pytest.raises(ProblemError, match=r"at_least: expected a boolean mask of shape \(2,\) or \(2, 2\)"):
            surrogate_problem(model, theta, x, xu.L1(), at_least=bad)


def test_residuals_count_what_falls_short_only() -> None:
    """J D - b = (0.5, -0.25): of rows that read >= the first is met."""
    theta = THETA + np.array([1.0, 0.0, 0.5])
    assert (J @ (theta - THETA) - [0.5, -0.25]).tolist() == [0.5, -0.25]
    reach = np.linalg.norm(theta) + np.linalg.norm(THETA)
    scale = np.linalg.norm(J, axis=1) * reach + [0.5, 0.25]
    for mask, missed in [([True, False], [0.0, 0.25]), ([False, True], [0.5, 0.25]), ([True, True], [0.0, 0.25])]:
        claim = xu.Solution(problem(mask), theta, np.zeros(2), xu.Status.INACCURATE)
        assert claim.primal_residual() == pytest.approx(np.max(missed / scale), rel=1e-12)
    inside = xu.Solution(problem([True, True]), THETA + np.array([1.0, 0.0, 0.0]), np.zeros(2), xu.Status.INACCURATE)
    assert inside.primal_residual() == 0.0


def test_negative_multipliers_are_no_dual_point() -> None:
    """(nu, g) fit J.T nu = g exactly: only the first multiplier has the wrong sign, and pulls by 0.25 |J_1| = 0.5."""
    nu = np.array([-0.25, 0.25])
    g = J.T @ nu
    claim: dict[str, Any] = {"theta": THETA, "nu": nu, "status": xu.Status.INACCURATE, "subgradient": g}
    claim["drift_subgradients"] = ()
    assert xu.Solution(problem([False, True]), **claim).dual_residual() == 0.0
    worst = max(np.abs(g).max(), np.abs(THETA).sum() / 2.0)
    assert xu.Solution(problem([True, False]), **claim).dual_residual() == pytest.approx(0.5 / worst)


def test_a_row_of_zeros_with_a_negative_multiplier_is_no_dual_point() -> None:
    stated = UnlearningProblem(THETA, np.zeros((1, 3)), xu.L1(), rhs=[-1.0], at_least=[True])
    claim = xu.Solution(stated, THETA, np.array([-1e-3]), xu.Status.INACCURATE, "caller", np.zeros(3), ())
    assert claim.dual_residual() == 1.0


def test_complementarity_is_in_the_gap() -> None:
    """min |theta|_1, J D >= b at theta = 0: a multiplier of a row with a gap costs its product with that gap."""
    nu = np.array([0.25, 0.0])
    stated = UnlearningProblem(THETA, J, xu.L1(), rhs=J @ -THETA - [0.5, 1.0], at_least=[True, True])
    claim = xu.Solution(stated, np.zeros(3), nu, xu.Status.INACCURATE, "caller", J.T @ nu, ())
    assert claim.dual_residual() == 0.0
    assert claim.primal_residual() == 0.0
    assert claim.duality_gap() == pytest.approx(0.25 * 0.5)
