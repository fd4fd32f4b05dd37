"""The image experiments: choices of hyper-parameters, cells, and whole runs in small."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact_unlearn._validation.experiments import images as verb_images  # the name that the verb uses

from exact_unlearn import sweep
from exact_unlearn.algorithms import unlearn
from exact_unlearn.cli import main
from exact_unlearn.errors import FileFormatError, ProblemError
from validation.experiments import label_erasure
from validation.experiments.data import load
from validation.experiments.data.images import Images
from validation.experiments.images import Plan, data_cell, make_plan, shortened, stored
from validation.experiments.images_grid import FORWARD_ONLY, fresh, run_cells, start_cell
from validation.experiments.images_networks import network, state_of
from validation.experiments.images_recipes import RECIPES, recipe
from validation.experiments.images_results import Runs, held_out, pareto_front, rank_correlation, reported
from validation.experiments.images_rows import METHODS, ROWS, row
from validation.experiments.images_sets import HALF, Grays, Painted, draws, first_of_each_class
from validation.experiments.images_tables import collapse_score, erasure_score, with_error


def some_grays(n: int = 200, side: int = 6) -> Grays:
    rng = np.random.default_rng(0)
    return Grays(rng.integers(0, 256, (n, side, side), dtype=np.uint8), np.arange(n) % 10)


# --- choices --------------------------------------------------------------------------------------------------------


def test_pareto_front_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y = rng.integers(0, 6, 12) / 5, rng.integers(0, 6, 12) / 5
        front = pareto_front(x, y)
        assert all(x[a] > x[b] and y[a] > y[b] for a, b in itertools.pairwise(front))
        for i in range(12):  # every point is beaten, or equalled, by one of the front
            assert any(x[k] >= x[i] and y[k] <= y[i] for k in front)
    assert pareto_front(np.array([0.5, np.nan]), np.array([0.1, 0.0])) == [0]
    assert pareto_front(np.array([]), np.array([])) == []


def test_choices_on_reported_and_on_other_trials() -> None:
    values = np.array([[0.9, 0.5, 0.1], [0.2, 0.6, 0.1], [0.9, 0.5, 0.1], [0.0, 0.6, 0.2]])
    runs = Runs(
        "gd",
        "frozen",
        ({"learning_rate": 1.0}, {"learning_rate": 2.0}, {"learning_rate": 3.0}),
        {"colour_accuracy": values},
    )
    choice = reported(runs, collapse_score)
    assert choice.picks == (1, 1, 1, 1)
    assert choice.mean("colour_accuracy") == pytest.approx(0.55)
    assert choice.error("colour_accuracy") == pytest.approx(np.std([0.5, 0.6, 0.5, 0.6], ddof=1) / 2)
    other = held_out(runs, collapse_score)
    assert other is not None
    assert other.picks == (1, 0, 1, 0)  # even trials like the first setting, odd ones the second
    assert other.mean("colour_accuracy") == pytest.approx((0.5 + 0.2 + 0.5 + 0.0) / 4)
    alone = Runs("gd", "frozen", runs.combinations, {"colour_accuracy": values[:1]})
    assert held_out(alone, collapse_score) is None
    assert with_error(0.5, reported(alone, collapse_score).error("colour_accuracy")) == "0.500"
    assert float(erasure_score({"both_right": 0.7, "forget_error": 0.4})) == pytest.approx(0.5)


def test_rank_correlation_with_ties() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 2], [1, 2, 3]) == pytest.approx(np.corrcoef([0.5, 0.5, 2], [0, 1, 2])[0, 1])
    assert math.isnan(rank_correlation([1, 1], [1, 2]))


# --- runs in small --------------------------------------------------------------------------------------------------


def small_digits() -> Images:
    found = load("digits")
    chosen = [first_of_each_class(labels, 10, 100) for labels in (found.train_labels, found.test_labels)]
    return Images(
        "digits", found.train[chosen[0]], found.train_labels[chosen[0]], found.test[chosen[1]],
        found.test_labels[chosen[1]], 10, "a part",
    )  # fmt: skip


def tiny_plan(experiment: str, **fields: Any) -> Plan:
    how = replace(recipe(experiment, "digits"), width=2, first=1, epochs=1, p_color=0.1, p_retain=0.2)
    found = shortened(row({"label-erasure": 8, "collapse": 22}[experiment], experiment))
    found = replace(found, epochs=1, rates=found.rates[:2], strengths=(0.1,), ascents=(0.01,), noises=(0.1,), ends=(0,))
    return Plan(found, small_digits(), how, **{"seeds": (1, 2), "quick": True, **fields})


@pytest.mark.parametrize("experiment", ["label-erasure", "collapse"])
def test_a_whole_run_in_small(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """All eleven methods from the command line: table, numbers, figure; again, and nothing is computed."""
    policies = ("frozen",) if experiment == "label-erasure" else ("both-batches",)
    plan = tiny_plan(experiment, buffers=policies)
    monkeypatch.setattr(verb_images, "make_plan", lambda *_, **__: plan)
    command = ["experiment", experiment, "--quick", "--folder", str(tmp_path / "cells"), "--jobs", "1"]
    assert main([*command, "--output", str(tmp_path / "out"), "--json", str(tmp_path / "report.json")]) == 0
    told = capsys.readouterr()
    assert "QUICK VERSION" in told.out
    assert "MinNorm-OG" in told.out
    tree = json.loads((tmp_path / "report.json").read_text())
    assert tree["data"]["digest"] == plan.images.digest
    kinds = [(one["method"], one["buffers"]) for one in tree["runs"]]
    assert kinds == [(FORWARD_ONLY, "both-batches")] + [(m, b) for b in policies for m in METHODS]
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [Path(name).suffix for name in files] == [".json", ".md", ".png"]
    cells = {path.name: path.read_bytes() for path in (tmp_path / "cells").glob("*.npz")}
    # Killed at any moment: what is there stays, what is missing is computed anew, byte for byte.
    for name in list(cells)[::5]:
        (tmp_path / "cells" / name).unlink()
    before = (tmp_path / "out" / files[1]).read_text()
    assert main([*command, "--output", str(tmp_path / "out"), "--quiet", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == tree
    assert {path.name: path.read_bytes() for path in (tmp_path / "cells").glob("*.npz")} == cells
    assert (tmp_path / "out" / files[1]).read_text() == before
    assert str(tmp_path).encode() not in b"".join(cells.values())


def test_forward_passes_alone_change_statistics_and_no_parameter(tmp_path: Path) -> None:
    plan = tiny_plan("label-erasure", seeds=(1,), methods=())
    sweep.run([*plan.inputs, *plan.starts("initial")], tmp_path)
    data, start = plan.inputs[0], plan.starts("initial")[0]
    (cell,) = run_cells(
        plan.row, FORWARD_ONLY, 1, "both-batches", plan.recipe, {"data": stored(data), "initial": start}, {}
    )
    sweep.run([cell], tmp_path)
    module = fresh(plan.recipe, (10, 3), torch.Generator())
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in sweep.load(start, tmp_path)["state"].items()})
    part = sweep.load(data, tmp_path)["train"]
    grays = Grays(np.array(part["values"]), np.array(part["labels"]))
    retain = label_erasure.accessible_set(grays, 0.2, 1, HALF).all()
    forget = label_erasure.forget_set(grays, 0.1, 1, HALF).all()
    generator = draws("label-erasure", "unlearning gd", 1)
    moved, _ = unlearn(
        module.train(), retain, forget, epochs=1, batch_size=36, learning_rate=0.0, buffers="both-batches",
        method="gd", generator=generator,
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(moved.parameters(), module.parameters(), strict=True))
    test = sweep.load(data, tmp_path)["test"]
    found = label_erasure.measure(moved, Grays(np.array(test["values"]), np.array(test["labels"])), HALF, "cpu")
    result = sweep.load(cell, tmp_path)
    assert {name: float(result[name][0]) for name in found} == found


def test_workers_read_the_images_and_never_need_the_copy(tmp_path: Path) -> None:
    cell = data_cell(small_digits(), 50, 20)
    with pytest.raises(ProblemError, match="the images of digits are not in the folder; run the experiment again"):
        sweep.run([stored(cell)], tmp_path)
    assert stored(cell).key == cell.key
    sweep.run([cell], tmp_path)
    found = sweep.load(stored(cell), tmp_path)
    assert found["train"]["values"].shape == (50, 8, 8)
    assert np.bincount(found["test"]["labels"]).tolist() == [2] * 10


def test_pretrained_weights_travel_as_a_cell(tmp_path: Path) -> None:
    how = replace(
        recipe("label-erasure", "digits"), network="resnet18", width=2, epochs=0, first=0, pretrained=True, p_color=0.1
    )
    with pytest.raises(ProblemError, match=r"name a file of torchvision's state with --weights"):
        Plan(row(8, "label-erasure"), small_digits(), how)
    weights = state_of(network("resnet18", 2, "small", (1,)))
    weights["conv1.weight"] = np.full_like(weights["conv1.weight"], 3.0)
    plan = Plan(row(8, "label-erasure"), small_digits(), how, seeds=(1,), weights=weights)
    sweep.run([*plan.inputs, *plan.starts("truth")], tmp_path)
    assert (sweep.load(plan.starts("truth")[0], tmp_path)["state"]["conv1.weight"] == 3.0).all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seeds": ()}, "seeds: expected at least one"),
        ({"buffers": ("thawed",)}, "buffers: expected some of frozen, as-used, both-batches, got 'thawed'"),
        ({"methods": ("magic",)}, "methods: expected some of retrain, minnorm-og, .* got 'magic'"),
        ({"recipe": replace(RECIPES["label-erasure", "digits"], p_retain=0.001)}, "are too few for shares of"),
    ],
)
def test_plans_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    base: dict[str, Any] = {
        "row": row(8, "label-erasure"),
        "images": small_digits(),
        "recipe": RECIPES["label-erasure", "digits"],
    }
    with pytest.raises(ProblemError, match=words):
        Plan(**(base | fields))


def test_the_papers_recipes() -> None:
    cifar, tiny = RECIPES["label-erasure", "cifar10"], RECIPES["label-erasure", "tiny-imagenet"]
    assert [cifar.schedule.at(epoch) for epoch in (0, 49, 50, 99)] == pytest.approx([3e-2, 3e-2, 3e-3, 3e-3])
    assert [tiny.schedule.at(epoch) for epoch in (0, 25, 50, 99)] == pytest.approx([0.1, 0.03, 0.009, 0.0027])
    both = RECIPES["collapse", "cifar10"]
    rates = [both.schedule.at(epoch) for epoch in (0, 19, 20, 39, 40, 59, 60, 69)]
    assert rates == pytest.approx([3e-2, 3e-2, 3e-3, 3e-3, 3e-4, 3e-4, 3e-5, 3e-5])
    assert both.first + both.epochs == 70
    with pytest.raises(ProblemError, match=r"expected one of cifar10, .* for collapse, got 'tiny-imagenet'"):
        recipe("collapse", "tiny-imagenet")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["label-erasure", "--quick", "--table", "18"], "tables: expected some of 8, 9, 10, "),
        (["collapse", "--quick", "--table", "0"], "--table: expected a positive number, got 0"),
        (["collapse", "--data", "cifar10"], "cifar10: name a copy with --data-path"),
        (["collapse", "--quick", "--buffers", "frozen,frozen"], "--buffers: expected different names"),
        (["collapse", "--quick", "--device", "tpu"], "--device: expected cpu or cuda, got 'tpu'"),
        (["label-erasure", "--quick", "--weights", "README.md"], "README.md: expected a state of parameters"),
        (["label-erasure", "--quick", "--weights", "no/such"], "no/such: cannot be read"),
        (["label-erasure", "--quick", "--order", "x"], "--order: expected project-descend or descend-project"),
        (["label-erasure", "--quick", "--network", "vgg"], "network: expected one of small, resnet18, resnet50"),
        (["label-erasure", "--budgets", "10"], "--budgets: is for data-poisoning, not for label-erasure"),
        (
            ["data-poisoning", "--data", "digits"],
            "--data: is for label-erasure, collapse, image-truth, not for data-poisoning",
        ),
    ],
)
def test_wrong_commands_are_one_sentence(arguments: list[str], words: str, capsys: Any) -> None:
    assert main(["experiment", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_quick_plan_is_a_part_of_the_grid() -> None:
    for experiment, table in (("label-erasure", 8), ("collapse", 22)):
        plan = make_plan(experiment, load("digits"), quick=True)
        for method in METHODS:
            everything = ROWS[table].settings(method)
            assert all(setting in everything for setting in plan.row.settings(method))
        assert plan.seeds == (1, 2)
        full = make_plan(experiment, load("digits"))
        assert full.row == ROWS[table]
        assert len(full.seeds) == 5


def test_a_cell_of_another_recipe_is_another_cell() -> None:
    how = RECIPES["label-erasure", "digits"]
    keys = {
        start_cell("initial", "label-erasure", p, seed, one, {}).key
        for p in (0.1, 0.2)
        for seed in (1, 2)
        for one in (how, replace(how, width=3))
    }
    assert len(keys) == 8
    assert isinstance(label_erasure.retain_set(some_grays(4), HALF), Painted)
    with pytest.raises(FileFormatError):
        sweep.load(start_cell("truth", "collapse", 0.1, 1, how, {}), Path("no/such"))
