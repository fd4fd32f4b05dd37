"""The truth: optimal predictors from two sides, networks measured honestly, a run that can be taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact_unlearn._validation.experiments import truth  # the name that the verb uses
from scipy.optimize import nnls

import exact_unlearn as xu
from exact_unlearn import sweep
from exact_unlearn.cli import main
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.optima import NUMBERS, OptimalSet, optimal_set
from tests.network_cases import OPTIMA, poisoned
from validation.experiments.truth_figures import points
from validation.experiments.truth_methods import BASELINES, METHODS, Coded, Size, applies, measured, settings
from validation.experiments.truth_tables import brief, collect, spread
from validation.experiments.truth_tasks import TASKS, make_task, module_of, parameters_of, restored, trained

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "truth"
SMALL = Size(width=12, training=40, epochs=6, steps=3, starts=2, axes="first")
PLAN = truth.Plan(
    ("line-class",), (0, 1), ("nothing", "surrogate", "path l2", "minnorm-og", "scrub", "retrained"), SMALL
)


# ---------------------------------------------------------------- optimal predictors


@pytest.fixture(scope="module")
def solved() -> tuple[xu.UnlearningProblem, xu.Solution]:
    problem = xu.global_problem(xu.Perceptron(2, 16), *poisoned(2))
    return problem, xu.solve(problem)


def test_the_set_comes_from_multipliers_and_holds_the_network_of_the_primal(solved: Any) -> None:
    problem, solution = solved
    _, y = poisoned(2)
    found = optimal_set(problem.origin, solution.nu[: len(y)])
    t = nnls(found.features, y)[0]
    assert found.unique
    assert len(found.signs) > np.linalg.matrix_rank(found.features, tol=1e-6)  # but not t: opposite neurons trade
    assert t.sum() == pytest.approx(OPTIMA[2], abs=1e-5)  # a unit vector u costs t: the value again
    for weights in (t, found.weights()):
        np.testing.assert_allclose(found.features @ weights, y, atol=1e-5)
    network = xu.global_network(problem, solution)
    fresh = np.column_stack([np.linspace(-3, 3, 50), np.ones(50)])
    predicted = network.model.predict(network.theta, fresh)[:, 0]
    assert found.distance(fresh, predicted) < 1e-5
    assert found.distance(fresh, predicted + 0.25) == pytest.approx(0.25, abs=1e-5)
    assert found.distance(fresh, np.full(50, np.nan)) == float("inf")


def test_a_face_of_optimal_predictors_is_a_set() -> None:
    # |x| = relu(x) + relu(-x), and on the samples -1 and 1 it is also the constant 1 (neurons of length one)
    neurons, signs = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), np.ones(3)
    x = np.array([[-1.0, 1.0], [1.0, 1.0]])
    found = OptimalSet(neurons, signs, np.maximum(x @ neurons.T, 0.0), np.ones(2))
    assert not found.unique
    fresh = np.array([[-1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    for share in (0.0, 0.3, 1.0):  # at the fresh 0 the predictors of the face say share
        assert found.distance(fresh, np.array([1.0, share, 1.0])) == pytest.approx(0.0, abs=1e-4)
    assert found.distance(fresh, np.array([1.0, 2.0, 1.0])) == pytest.approx(1 / np.sqrt(3), abs=1e-4)
    assert found.distance(fresh, np.array([1.0, -1.0, 1.0])) == pytest.approx(1 / np.sqrt(3), abs=1e-4)


# ---------------------------------------------------------------- tasks and networks


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_functions_of_their_seed(name: str) -> None:
    task, same, other = make_task(name, 0), make_task(name, 0), make_task(name, 1)
    np.testing.assert_array_equal(task.x, same.x)
    assert not np.array_equal(task.x, other.x)
    x, y = task.retained
    assert (task.x[:, -1] == 1).all()
    assert (task.fresh[:, -1] == 1).all()
    assert 0 < task.forget.sum() < len(task.y)
    assert len(x) == len(y) == 7 - (name != "line-poison")
    if task.codes is not None:
        assert set(task.y) <= set(task.codes)


def test_parameters_and_modules_are_the_same_network(rng: np.random.Generator) -> None:
    theta, x = rng.standard_normal(5 * 4), rng.standard_normal((6, 3))
    module = module_of(theta, 3)
    np.testing.assert_array_equal(parameters_of(module), theta)
    expected = xu.Perceptron(3, 5).predict(theta, x)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-12)


def test_labels_are_restored_or_nothing_is_returned() -> None:
    x, y = make_task("line-class", 0).retained
    theta = trained(x, y, 20, 30, 0, 0)
    model = xu.Perceptron(2, 20)
    assert np.abs(model.predict(theta, x)[:, 0] - y).max() < 1e-9
    back = restored(theta + 0.01, x, y)
    assert back is not None
    assert np.abs(model.predict(back, x)[:, 0] - y).max() < 1e-9
    assert restored(np.full_like(theta, np.nan), x, y) is None
    assert restored(np.zeros_like(theta), x, y) is None  # a network without a gradient
    with pytest.raises(ProblemError, match="none of 20 trained networks of width 3"):
        trained(np.ones((2, 2)), np.array([0.0, 1.0]), 3, 0, 0, 0)


def test_classes_have_the_nearest_code_and_the_squared_loss_is_that_of_the_output() -> None:
    coded = Coded(module_of(np.linspace(-1, 1, 4 * 3), 2), (-1.0, 0.0, 2.0))
    x = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    f = coded.module(x)[:, 0]
    codes = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    assert torch.equal(coded(x).argmax(dim=1), (f[:, None] - codes).abs().argmin(dim=1))
    classes = torch.arange(9) % 3
    assert torch.equal(coded.classes(codes[classes][:, None]), classes)
    torch.testing.assert_close(coded.squared_loss(coded(x), classes), ((f - codes[classes]) ** 2).mean())


def test_every_method_has_its_settings_and_ten_baselines_are_there() -> None:
    assert len(BASELINES) == 11
    assert all(settings(method, Size()) for method in METHODS)
    assert len(settings("neggrad+", Size())) == 4
    assert len(settings("neggrad+", SMALL)) == 1
    assert not applies("npo", make_task("line-poison", 0))


def test_what_is_measured() -> None:
    task = make_task("line-class", 0)
    neurons = np.array([[1.0, 0.0], [0.0, 1.0]])
    x, y = task.retained
    optimal = OptimalSet(neurons, np.ones(2), np.maximum(x @ neurons.T, 0.0), y)
    theta = np.array([2.0, 1.0, 3.0, 4.0, 0.0, 0.0])  # f = 2 relu(3 x + 4)
    found = measured(theta, task, optimal)
    assert found["value"] == 15.0
    assert found["balanced"] == 10.0
    predicted = 2 * np.maximum(3 * x[:, 0] + 4, 0)
    assert found["error"] == pytest.approx(np.abs(predicted - y).max())
    assert set(measured(None, task, optimal).values()) == {float("inf")}


# ---------------------------------------------------------------- the experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> truth.Outcome:
    return truth.run(PLAN, folder / "cells", folder / "out")


def test_networks_are_measured_against_proofs(outcome: truth.Outcome) -> None:
    (table,) = outcome.tables
    assert {optimum["proof"] for optimum in table.optima} <= {"exact", "enclosure"}
    assert table.below == 0
    rows = {row.method: row for row in table.rows}
    assert rows["nothing"].feasible.all()
    np.testing.assert_allclose(rows["nothing"].returned["distance"], 1.0)
    assert rows["path l2"].feasible.all()
    assert (rows["path l2"].returned["value"] < rows["nothing"].returned["value"]).all()
    assert {row.setting for row in table.rows if row.method == "retrained"} == {"best of 2", "worst of 2"}
    longest = next(row for row in table.rows if row.setting == "λ 0")
    assert not longest.feasible.any()
    assert longest.texts()[4].startswith("(")  # R of a network that misses its labels is no comparison


def test_a_run_is_taken_up_where_it_was_killed(outcome: truth.Outcome, folder: Path, tmp_path: Path) -> None:
    assert outcome.computed > 0
    lost = PLAN.cells()[3]
    lost.path(folder / "cells").unlink()
    seen: list[sweep.Progress] = []
    again = truth.run(PLAN, folder / "cells", tmp_path, progress=seen.append)
    assert again.computed == 1
    assert {path.name for path in again.files} == {"table.md", "truth.json", "figure.png", "figure_line-class.png"}
    for path in again.files:
        assert path.read_bytes() == (folder / "out" / path.name).read_bytes()


def test_figures_show_medians(outcome: truth.Outcome) -> None:
    found = points(outcome.tables)
    row = next(row for row in outcome.tables[0].rows if row.method == "path l2")
    excess, distance = found["path l2"]["line-class"]
    assert excess == pytest.approx(float(np.median(row.returned["value"])) - 1)
    assert distance == float(np.median(row.returned["distance"]))
    assert "retrained, best of 2" not in found["nothing"]


def test_the_verb(monkeypatch: pytest.MonkeyPatch, folder: Path, outcome: Any, capsys: Any) -> None:
    monkeypatch.setattr(truth, "quick_plan", lambda: PLAN)
    command = ["experiment", "truth", "--quick", "--folder", str(folder / "cells"), "--jobs", "1"]
    assert main([*command, "--output", str(folder / "again"), "--json", "-"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == json.loads((folder / "out" / "truth.json").read_text())
    assert "quick version" in told.err
    assert "QUICK VERSION" in (folder / "again" / "table.md").read_text()
    assert main([*command, "--budgets", "10"]) == 2
    assert "--budgets: is for data-poisoning" in capsys.readouterr().err


def test_plans_are_checked() -> None:
    with pytest.raises(ProblemError, match="seeds: expected at least one"):
        truth.Plan(seeds=())
    with pytest.raises(ProblemError, match="tasks: expected some of line-poison, "):
        truth.Plan(tasks=("magic",))
    with pytest.raises(ProblemError, match="methods: expected 'nothing' among them"):
        truth.Plan(methods=("gd",))
    assert not truth.Plan().quick
    assert not replace(truth.Plan(), seeds=(7,)).quick
    assert truth.quick_plan().quick


def test_numbers_in_few_digits() -> None:
    assert [brief(v) for v in (1.0, 0.01234, 123.4, 1e-5, 1e-13, 3e5, float("inf"))] == [
        "1.00",
        "0.0123",
        "123",
        "1e-5",
        "0",
        "3e5",
        "∞",
    ]
    assert spread([3.0, 1.0, 2.0, None]) == "2.00 [1.00, 3.00]"
    assert spread([2.0, 2.0]) == "2.00"
    assert spread([None]) == "∞"


def test_the_committed_table_is_that_of_the_committed_numbers() -> None:
    tree = json.loads((RESULTS / "truth.json").read_text())
    assert tree["size"] == vars(Size())
    assert not tree["quick"]
    assert {task["task"]: task["seeds"] for task in tree["tasks"]} == {key: [0, 1, 2] for key in TASKS}
    assert truth.tables_text(tree) == (RESULTS / "table.md").read_text()
    for task in tree["tasks"]:
        assert task["below_the_bound"] == 0
        assert all(optimum["gap"] <= 1e-7 for optimum in task["optima"])
        assert {name for row in task["tried"] for name in row["restored"]} == set(NUMBERS)


def test_a_table_needs_its_cells(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        collect("line-class", (0,), ("nothing",), SMALL, tmp_path)
