"""The certified truth beside the image experiments, and the runtime table: exact features, exact points, real rows."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import sweep
from exact_unlearn.algorithms import unlearn
from exact_unlearn.cli import main
from exact_unlearn.errors import ProblemError
from exact_unlearn.rational import solve as solve_exactly
from validation.experiments import images_first_step, images_truth_report, runtime
from validation.experiments.data import load
from validation.experiments.images_features import filters, scale_for, whole_features
from validation.experiments.images_networks import small
from validation.experiments.images_rows import METHODS
from validation.experiments.images_sets import data_cell
from validation.experiments.images_truth import LOGITS, MARGINS, Scene, _scene
from validation.experiments.runtime import PUBLISHED_RATIOS, PUBLISHED_SECONDS


@functools.cache
def scene(reading: str, n: int = 20, count: int = 10, seed: int = 1) -> Scene:
    data = data_cell(load("digits"), 400, 100).function({}, {})
    return _scene({"reading": reading, "seed": seed, "filters": count, "retain": n, "test": 40}, data)


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 17])
def test_features_are_those_of_plain_loops_in_whole_numbers(side: int) -> None:
    bank = filters(3, side, seed=2)
    size, stride = (3, 1) if side == 8 else (5, 2)
    assert bank.shape == (3, 3, size, size)
    assert set(np.unique(bank)) <= {-2, -1, 0, 1, 2}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    found = whole_features(pixels, bank)
    places = range(0, side - size + 1, stride)
    half = len(places) // 2
    for i in range(2):
        for f in range(3):
            parts = [0, 0, 0, 0]
            for a, row in enumerate(places):
                for b, column in enumerate(places):
                    window = pixels[i, :, row : row + size, column : column + size].astype(int)
                    parts[2 * (a >= half) + (b >= half)] += max(0, int((window * bank[f]).sum()))
            assert [int(found[i, 3 * part + f]) for part in range(4)] == parts
    assert (found[:, -1] == 1).all()
    scale = scale_for(found)
    assert 0.5 <= scale * found[:, :-1].max() < 1
    assert Fraction(scale).numerator == 1


# --- T1 -------------------------------------------------------------------------------------------------------------


def test_interpolated_logits_are_the_closed_form_in_fractions() -> None:
    """W' = X' (X X')^{-1} Y, solved in Fractions by other code, rounds to the certified points."""
    found = scene(LOGITS)
    assert found.proof["proofs"] == "exact"
    assert found.proof["problems"] == 13
    assert found.proof["rows"] == 13 * 20
    assert float(found.proof["gap"][0]) == 0
    X = np.array([[Fraction(value) for value in row] for row in found.x_retain], dtype=object)
    gram = X @ X.T
    targets = np.concatenate([np.eye(k, dtype=int)[t] for k, t in zip((10, 3), found.retain.targets, strict=True)], 1)
    for output in (0, 4, 10):
        multipliers = solve_exactly(gram, np.array([Fraction(int(v)) for v in targets[:, output]], dtype=object))
        exact = X.T @ multipliers
        assert [float(value) for value in exact] == found.truth[output].tolist()


def test_thirteen_small_problems_are_the_one_large_one() -> None:
    """J = X (x) I: the value of the problem of all outputs is the sum of theirs."""
    found = scene(LOGITS, n=10, count=3)
    targets = np.concatenate([np.eye(k)[t] for k, t in zip((10, 3), found.retain.targets, strict=True)], axis=1)
    model = xu.LinearModel(found.x_retain.shape[1], 13)
    problem = xu.exact_problem(model, np.zeros(model.n_parameters), found.x_retain, targets, xu.SquaredL2())
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.proof == "exact"
    assert float(certificate.lower) == pytest.approx(0.5 * float((found.truth**2).sum()), rel=1e-12)
    assert certificate.theta.reshape(13, -1) == pytest.approx(found.truth, abs=1e-12)


def test_truth_and_start_of_label_erasure() -> None:
    found = scene(LOGITS)
    x = np.concatenate([found.x_retain, found.x_forget])
    targets = [np.concatenate(pair) for pair in zip(found.retain.targets, found.forget.targets, strict=True)]
    wanted = np.concatenate([np.eye(k)[t] for k, t in zip((10, 3), targets, strict=True)], axis=1)
    assert np.abs(x @ found.start.T - wanted).max() < 1e-9
    assert np.abs(found.x_retain @ found.truth.T - wanted[:20]).max() < 1e-9
    assert set(found.forget.targets[1].tolist()) == {1, 2}
    assert not set(found.retain.index) & set(found.forget.index)
    before, after = found.judge(found.start), found.judge(found.truth)
    assert (before["distance"], before["parameters"]) == (1, 1)
    assert (after["distance"], after["parameters"], after["called_gray"]) == (0, 0, 1)
    half = found.judge((found.start + found.truth) / 2)
    assert half["distance"] == pytest.approx(0.5)
    assert found.judge(np.full_like(found.truth, np.nan)) == {
        "distance": np.inf, "parameters": np.inf, "gray": 0, "red": 0, "green": 0, "called_gray": 0,
    }  # fmt: skip


def test_too_few_features_are_named() -> None:
    with pytest.raises(ProblemError, match="filters: 4 are too few for 26 samples to be interpolated"):
        scene(LOGITS, count=4)


def test_one_full_projection_is_the_truth_to_rounding() -> None:
    """Where MinNorm-OG is exact (Theorem 2), and gradient descent is not."""
    found = scene(LOGITS)
    setting = {"learning_rate": 0.0, "strength": 1.0, "decay": 1.0, "final_epochs": 49}  # one epoch that projects
    assert found.judge(found.unlearned("minnorm-og", setting))["distance"] < 1e-9
    assert found.judge(found.unlearned("gd", {"learning_rate": 1e-3}))["distance"] > 0.5


# --- T2 -------------------------------------------------------------------------------------------------------------


def test_hard_margins_hold_exactly_and_a_kernel_says_the_same() -> None:
    """Every margin is at least 1, and the truth is a combination of its own support vectors' differences, all >= 0."""
    found = scene(MARGINS)
    assert found.proof["proofs"] == "exact"
    assert found.proof["rows"] == 20 * 9
    outputs = found.x_retain @ found.truth.T
    labels = found.retain.targets[0]
    own = outputs[np.arange(20), labels]
    outputs[np.arange(20), labels] = -np.inf
    assert (own - outputs.max(1)).min() == pytest.approx(1, abs=1e-9)
    # Stationarity by non-negative least squares, which knows nothing of our solvers.
    from scipy.optimize import nnls

    rows = []
    for x, y in zip(found.x_retain, labels, strict=True):
        for other in range(10):
            if other != y:
                row = np.zeros_like(found.truth)
                row[y], row[other] = x, -x
                rows.append(row.reshape(-1))
    _, residual = nnls(np.array(rows).T, found.truth.reshape(-1))
    assert residual < 1e-8 * np.linalg.norm(found.truth)


def test_samples_of_collapse() -> None:
    found = scene(MARGINS)
    assert np.array_equal(found.retain.colours, found.retain.targets[0])
    assert (found.forget.colours != found.forget.targets[0]).all()
    assert len(found.forget) == 5
    (test,) = found.tests.values()
    assert len(test) == 400
    assert np.bincount(test.colours).tolist() == [40] * 10
    assert found.judge(found.truth)["cosine"] == pytest.approx(1)
    assert found.judge(3 * found.truth)["cosine"] == pytest.approx(1)
    assert found.judge(0 * found.truth)["cosine"] == 0
    assert found.judge(np.full_like(found.truth, np.inf)) == {
        "cosine": -1, "colour_accuracy": 0, "content_accuracy": 0,
    }  # fmt: skip


# --- the first step -------------------------------------------------------------------------------------------------


def test_the_certified_move_is_the_projection_onto_what_the_largest_logits_do_not_see() -> None:
    """J by plain backward passes, sample by sample and head by head; the projection by least squares in floats."""
    torch.manual_seed(0)
    module = small(1, (10, 3)).double().eval()
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    certified, proof = images_first_step.certify_move(module, x)
    rows, parameters = [], list(module.parameters())
    for one in x:
        for head in range(2):
            parts = torch.autograd.grad(module(one[None])[head].max(), parameters, materialize_grads=True)
            rows.append(torch.cat([part.reshape(-1) for part in parts]).numpy())
    J = np.array(rows)
    assert np.abs(certified.J - J).max() < 1e-12
    shortest = np.linalg.lstsq(J, J @ certified.theta, rcond=None)[0]
    assert np.abs(certified.theta + certified.move - shortest).max() < 1e-9
    assert (proof["proofs"], proof["rows"], proof["parameters"]) == ("exact", 12, certified.theta.size)


def test_the_first_step_of_minnorm_og_is_the_certified_move() -> None:
    torch.manual_seed(0)
    module = small(1, (10, 3)).double().eval()
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    certified, _ = images_first_step.certify_move(module, x)
    targets = torch.arange(6), torch.zeros(6, dtype=torch.int64)
    found = {}
    for strength in (1.0, 0.5):
        moved, _ = unlearn(module, (x, targets), (x, targets), strength=strength, epochs=1, learning_rate=0.0)
        pairs = zip(moved.parameters(), module.parameters(), strict=True)
        move = torch.cat([(after - before).detach().reshape(-1) for after, before in pairs])
        found[strength] = certified.compared(move.numpy())
    assert found[1.0] == {
        "distance": pytest.approx(0, abs=1e-9),
        "cosine": pytest.approx(1),
        "length": pytest.approx(1),
        "outputs": pytest.approx(0, abs=1e-9),
    }
    assert found[0.5]["distance"] == pytest.approx(0.5)
    assert found[0.5]["length"] == pytest.approx(0.5)


def test_moves_are_compared() -> None:
    certified = images_first_step.Certified(np.array([3.0, 4.0]), np.array([[0.0, 1.0]]), np.array([-3.0, 0.0]))
    shrink = certified.compared(-certified.theta)
    assert shrink == {
        "distance": pytest.approx(4 / 3), "cosine": pytest.approx(0.6), "length": pytest.approx(5 / 3), "outputs": 1.0,
    }  # fmt: skip
    nothing = {"distance": 1.0, "cosine": 0.0, "length": 0.0, "outputs": 0.0}
    assert certified.compared(np.zeros(2)) == nothing
    assert certified.compared(np.array([np.nan, 0.0])) == nothing


# --- the verb -------------------------------------------------------------------------------------------------------


def test_truth_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from exact_unlearn._validation.experiments import images_first_step as first  # what the verb uses
    from exact_unlearn._validation.experiments import images_truth
    from exact_unlearn._validation.experiments import images_truth_report as verb

    plan = verb.make_plan(load("digits"), seeds=(1,), filters=(5, 4), retain=10, test=20, width=1, quick=True)
    few: Any = {"rates": (1e-2,), "strengths": (0.1,), "ascents": (0.01,), "decays": (1.0,), "epochs": 1}
    short = {reading: replace(row, **few) for reading, row in images_truth.SEARCH.items()}
    monkeypatch.setattr(images_truth, "SEARCH", short)
    monkeypatch.setattr(verb, "SEARCH", short)
    monkeypatch.setattr(images_truth, "EPOCHS", 1)
    monkeypatch.setattr(first, "SEARCH", replace(first.SEARCH, **few))
    monkeypatch.setattr(first, "SAMPLES", 5)
    recipe = verb.recipe
    monkeypatch.setattr(verb, "recipe", lambda *names: replace(recipe(*names), epochs=1, drops=()))
    monkeypatch.setattr(verb, "make_plan", lambda *_, **__: plan)
    command = ["experiment", "image-truth", "--quick", "--folder", str(tmp_path), "--jobs", "1", "--quiet"]
    assert main([*command, "--output", str(tmp_path / "out"), "--json", str(tmp_path / "truth.json")]) == 0
    told = capsys.readouterr().out
    assert "Proved for every trial: 13 problem(s) with 130 rows in all, proof exact, gap 0, unique" in told
    assert "1 problem(s) with 90 rows in all" in told
    assert "1 problem(s) with 10 rows in all" in told
    tree = json.loads((tmp_path / "truth.json").read_text())
    assert set(tree["readings"][LOGITS]["methods"]) == set(METHODS)
    assert tree["readings"][MARGINS]["truth"][0]["cosine"] == [pytest.approx(1)]
    assert tree["readings"]["first-step"]["shrink"][0]["outputs"] == [pytest.approx(1)]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".md", ".json", ".png"}
    assert sweep.is_present(plan.cells(LOGITS)[0], tmp_path)


def test_wrong_plans_of_the_truth() -> None:
    with pytest.raises(ProblemError, match="seeds: expected at least one"):
        images_truth_report.make_plan(load("digits"), seeds=())


# --- runtime --------------------------------------------------------------------------------------------------------


def test_published_ratios_are_those_of_the_published_seconds() -> None:
    for method, ratio in PUBLISHED_RATIOS.items():
        assert PUBLISHED_SECONDS[method] / PUBLISHED_SECONDS["gd"] == pytest.approx(ratio, abs=0.02)


def test_runtime_forms_its_rows_and_tells_ratios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from exact_unlearn._validation.experiments import runtime as verb  # the module that the verb uses

    monkeypatch.setattr(verb, "QUICK", {"width": 2, "side": 8, "batch": 60, "batches": 1, "rounds": 1, "memory": False})
    assert main(["experiment", "runtime", "--quick", "--folder", str(tmp_path), "--quiet", "--json", "-"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["rows"] == {method: 100 if method == "minnorm-og" else 0 for method in METHODS}
    assert tree["ratios"]["gd"] == 1
    assert all(value[0] > 0 for value in tree["seconds"].values())
    assert "| GD |" in (tmp_path / "runtime_resnet18_2_cpu.md").read_text()


def test_the_peak_rises_with_what_is_held() -> None:
    before = runtime.peak_of_this_process()
    held = np.ones(before // 8 + 2**22)  # more than everything so far
    assert runtime.peak_of_this_process() - before >= 2**25
    assert len(held)


def test_ratios_are_taken_within_rounds() -> None:
    plan = runtime.Plan(methods=("gd", "ga"), memory=False)
    seconds = {"gd": np.array([1.0, 2.0, 10.0]), "ga": np.array([2.0, 2.0, 30.0])}
    outcome = runtime.Outcome(plan, seconds, {"gd": 0, "ga": 0}, {})
    assert outcome.ratio("ga") == 2.0
    assert outcome.table()[1][2:4] == ["2.00", "1.00–3.00"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"methods": ("ga",)}, "methods: expected gd among them"),
        ({"methods": ("gd", "x")}, "methods: expected some of retrain, "),
        ({"width": 0}, "width: expected a positive number, got 0"),
        ({"network": "vgg"}, "network: expected one of small, resnet18, resnet50, got 'vgg'"),
    ],
)
def test_wrong_plans_of_the_runtime(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        runtime.make_plan(**fields)


def test_a_gpu_gets_the_papers_sizes() -> None:
    plan = runtime.make_plan(device="cuda")
    assert (plan.network, plan.width, plan.classes, plan.batch, plan.batches, plan.side) == (
        "resnet50",
        64,
        200,
        512,
        4,
        64,
    )
