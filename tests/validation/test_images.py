"""The image experiments: grids and numbers of the paper, networks, sets, training, metrics."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import ProblemError
from validation.experiments import collapse, label_erasure
from validation.experiments.data import CLASS_COLOURS, GRAY, GREEN, RED, coloured
from validation.experiments.images_networks import ResNet, load_backbone, network
from validation.experiments.images_recipes import Recipe
from validation.experiments.images_rows import METHODS, PUBLISHED, ROWS, row
from validation.experiments.images_sets import HALF, Grays, first_of_each_class, floor_share
from validation.experiments.images_training import Schedule, Stage, augmented, fit, keep_memory, outputs_on

# --- the paper's grids and numbers ----------------------------------------------------------------------------------

PUBLISHED_SIZES = {
    8: 224, 9: 368, 10: 224, 11: 224, 12: 624, 13: 512, 14: 512, 15: 480, 16: 360,
    18: 312, 19: 416, 20: 416, 21: 416, 22: 416,
}  # fmt: skip
"""Runs per trial, counted by hand from the tables."""


def test_grids_have_the_published_sizes() -> None:
    assert {table: found.size for table, found in ROWS.items()} == PUBLISHED_SIZES
    sizes = {method: len(ROWS[8].settings(method)) for method in METHODS}
    expected = {"retrain": 4, "gd": 4, "ga": 4, "ngd": 12, "neggrad+": 12, "npo": 16, "scrub": 48, "salun": 12}
    assert sizes == expected | {"l1-sparse": 16, "minnorm-og": 48, "ridge": 48}


def test_every_setting_is_one_that_unlearn_takes() -> None:
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 0, 1])
    for method in METHODS:
        for found in (ROWS[8], ROWS[20]):
            setting = {**found.settings(method)[0]}
            if "final_epochs" in setting:
                setting["final_epochs"] = int(setting["final_epochs"])
            unlearn(nn.Linear(3, 2), (x, y), (x, y), method, epochs=1, **setting)


def test_published_row_of_the_best_known_cell() -> None:
    assert PUBLISHED[22]["minnorm-og"] == (94.7, 1.1)
    assert PUBLISHED[19]["ridge"] == (60.0, 3.7)
    assert all(set(cells) == set(METHODS) for cells in PUBLISHED.values())
    with pytest.raises(ProblemError, match="tables: expected some of 18, 19, 20, 21, 22, got 8"):
        row(8, "collapse")


# --- networks -------------------------------------------------------------------------------------------------------


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        assert count(network("resnet18", 64, "small", (10, 3))) == 11_175_501
        # torchvision's resnet50 has 25 557 032, of which its last layer 1000 * 2049.
        assert count(network("resnet50", 64, "large", (200, 3))) == 25_557_032 - 1000 * 2049 + 203 * 2049
        assert count(network("small", 16, "small", (10, 3))) == 24_541
        assert count(network("small", 16, "small", (10,))) == 24_346


@pytest.mark.parametrize("kind", ["small", "resnet18", "resnet50"])
@pytest.mark.parametrize("stem", ["small", "large"])
def test_networks_run_forwards_and_say_what_their_heads_say(kind: str, stem: str) -> None:
    x = torch.randn(2, 3, 16, 16)
    first, second = network(kind, 2, stem, (10, 3))(x)
    assert first.shape == (2, 10)
    assert second.shape == (2, 3)
    assert network(kind, 2, stem, (10,))(x).shape == (2, 10)


def test_names_are_torchvisions_and_weights_load() -> None:
    made = network("resnet50", 4, "large", (5,))
    assert isinstance(made, ResNet)
    names = {name for name in made.state_dict() if not name.startswith("heads.")}
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.1.bias", "layer4.2.conv3.weight"} <= names
    weights = {name: torch.full(value.shape, 2).numpy() for name, value in made.state_dict().items() if name in names}
    before = made.heads.parts[0].weight.clone()  # type: ignore[union-attr, operator]
    load_backbone(made, {**weights, "fc.weight": np.zeros((1000, 128))})
    assert all((value == 2).all() for name, value in made.state_dict().items() if name in names)
    assert torch.equal(made.heads.parts[0].weight, before)  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match=r"weights: expected bn1.weight of shape \(4,\), got none"):
        load_backbone(made, {name: value for name, value in weights.items() if name != "bn1.weight"})
    with pytest.raises(ProblemError, match="network: expected one of"):
        network("vgg", 4, "small", (5,))


def test_initialisation_is_kaiming_with_fan_out() -> None:
    torch.manual_seed(0)
    weight = network("small", 64, "small", (10,))[6].weight  # type: ignore[index]
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)


# --- sets -----------------------------------------------------------------------------------------------------------


def some_grays(n: int = 200, side: int = 6) -> Grays:
    rng = np.random.default_rng(0)
    return Grays(rng.integers(0, 256, (n, side, side), dtype=np.uint8), np.arange(n) % 10)


def test_label_erasure_paints_what_the_paper_says() -> None:
    grays = some_grays()
    retain = label_erasure.retain_set(grays, HALF)
    assert len(retain) == 200
    x, (classes, colours) = retain.all()
    assert torch.equal(classes, torch.from_numpy(grays.labels))
    assert not colours.any()
    expected = torch.from_numpy(grays.values).float() / 255 * 2 - 1
    torch.testing.assert_close(x, expected[:, None].expand_as(x))
    forget = label_erasure.forget_set(grays, 0.29, 4, HALF)
    assert forget.colours.tolist() == [RED] * 58 + [GREEN] * 58
    assert len(set(forget.index[:58].tolist())) == len(set(forget.index[58:].tolist())) == 58
    assert np.array_equal(forget.targets[1], forget.colours)
    assert np.array_equal(forget.targets[0], grays.labels[forget.index])
    x, _ = forget.all()
    assert (x[:58, 1:] == -1).all()  # a black channel is -1 after normalisation
    assert (x[58:, 0::2] == -1).all()
    assert not np.array_equal(forget.index[:58], forget.index[58:])
    other = label_erasure.forget_set(grays, 0.29, 5, HALF)
    assert not np.array_equal(other.index, forget.index)
    accessible = label_erasure.accessible_set(grays, 0.1, 4, HALF)
    assert len(accessible) == len(set(accessible.index.tolist())) == 20
    assert set(accessible.colours.tolist()) == {GRAY}


def test_collapse_paints_what_the_paper_says() -> None:
    grays = some_grays(400)
    retain = collapse.retain_set(grays, HALF)
    assert np.array_equal(retain.colours, grays.labels)
    forget = collapse.forget_set(grays, 0.1, 1, HALF)
    assert len(forget) == 40
    assert np.bincount(grays.labels[forget.index]).tolist() == [4] * 10
    assert (forget.colours != grays.labels[forget.index]).all()
    assert np.array_equal(forget.targets[0], grays.labels[forget.index])
    everything = [collapse.forget_set(grays, 0.5, seed, HALF) for seed in range(20)]
    shift = np.concatenate([(one.colours - one.targets[0]) % 10 for one in everything])
    assert (np.bincount(shift, minlength=10)[1:] > 300).all()  # all nine others, 444 each on average
    warm, main = collapse.initial_stages(grays, Recipe(first=2, epochs=3), 0.1, 1, HALF)
    assert (warm.epochs, main.epochs) == (2, 3)
    x, _ = warm.data.all()
    assert torch.equal(x[:, 0], x[:, 2])
    assert main.weights is not None
    assert main.weights[:400].unique().tolist() == pytest.approx([0.01 / 1.01])
    assert main.weights[400:].unique().tolist() == pytest.approx([1 / 1.01])
    with pytest.raises(ProblemError, match="expected ten classes for the ten colours, got 200"):
        collapse.head_sizes(200)


def test_shares_are_floors_of_decimals_and_classes_are_equally_many() -> None:
    assert [floor_share(0.29, 100), floor_share(0.01, 50_000), floor_share(0.001, 999)] == [29, 500, 0]
    labels = np.array([1, 0, 1, 1, 0, 0, 1])
    assert first_of_each_class(labels, 2, 4).tolist() == [0, 1, 2, 4]
    assert first_of_each_class(labels, 2, 5).tolist() == [0, 1, 2, 4, 5]
    assert first_of_each_class(labels, 2, None).tolist() == list(range(7))


def test_a_joined_set_is_both_and_a_batch_is_a_part() -> None:
    grays = some_grays(20)
    both = label_erasure.retain_set(grays, HALF).joined(label_erasure.forget_set(grays, 0.2, 0, HALF))
    x, targets = both.all()
    part, labels = both.batch(np.array([3, 22, 25]))
    assert torch.equal(part, x[[3, 22, 25]])
    assert all(torch.equal(a, b[[3, 22, 25]]) for a, b in zip(labels, targets, strict=True))


# --- training and metrics -------------------------------------------------------------------------------------------


def test_fit_is_sgd_written_out() -> None:
    """Two stages, weights, a drop of the rate between them: against the formula, step by step."""
    grays = some_grays(12)
    data = label_erasure.retain_set(grays, HALF)
    stages = [Stage(data, 1, heads=1), Stage(data, 2, torch.linspace(0.1, 1, 12))]
    schedule = Schedule(0.1, (2,), 0.5, 0.01, 5)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(108, 10), nn.Linear(108, 3)

        def forward(self, x: Any) -> Any:
            return self.a(x.flatten(1)), self.b(x.flatten(1))

    torch.manual_seed(0)
    module, twin = Two(), Two()
    twin.load_state_dict(module.state_dict())
    fit(module, stages, schedule, torch.Generator().manual_seed(7))
    generator, velocity = torch.Generator().manual_seed(7), [torch.zeros_like(p) for p in twin.parameters()]
    for epoch in range(3):
        rate = 0.05 if epoch == 2 else 0.1
        for chosen in torch.split(torch.randperm(12, generator=generator), 5):
            x, (y, colours) = data.batch(chosen.numpy())
            outputs = twin(x)
            weights = torch.ones(len(chosen)) if epoch == 0 else torch.linspace(0.1, 1, 12)[chosen]
            logs = [torch.log_softmax(head, 1) for head in outputs]
            loss = -(weights * logs[0][torch.arange(len(y)), y]).mean()
            if epoch:
                loss = loss - (weights * logs[1][torch.arange(len(y)), colours]).mean()
            gradients = torch.autograd.grad(loss, list(twin.parameters()), allow_unused=True)
            with torch.no_grad():
                for index, (parameter, gradient) in enumerate(zip(twin.parameters(), gradients, strict=True)):
                    if gradient is None:
                        continue
                    full = gradient + 0.01 * parameter
                    velocity[index] = 0.9 * velocity[index] + full
                    parameter -= rate * velocity[index]
    for ours, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


class Rule(nn.Module):
    """A network that says what a function says; it has a parameter, so that it has a mode."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule, self.norm = rule, nn.BatchNorm1d(1)

    def forward(self, x: Any) -> Any:
        return self.rule(x)


def test_metrics_of_networks_whose_answers_are_known() -> None:
    grays = some_grays(30)
    sure = 50.0

    def colour_of(x: Any) -> Any:
        """0 gray, 1 red, 2 green, read off the darkest channels."""
        dark = (x == -1).flatten(2).all(2)
        return torch.where(dark[:, 1], RED, torch.where(dark[:, 0], GREEN, GRAY))

    def one_hot(index: Any, size: int) -> Any:
        return sure * nn.functional.one_hot(index, size).float()

    def classes(x: Any) -> Any:
        return one_hot(torch.arange(len(x)) % 10, 10)

    def reads_colour(x: Any) -> Any:
        return classes(x), one_hot(colour_of(x), 3)

    def gray_only(x: Any) -> Any:
        return classes(x), one_hot(torch.zeros(len(x), dtype=torch.int64), 3)

    def undecided(x: Any) -> Any:
        return 0 * classes(x), torch.zeros(len(x), 3)

    def broken(x: Any) -> Any:
        return classes(x) * torch.nan, torch.full((len(x), 3), torch.nan)

    expected = {
        reads_colour: (1.0, 1.0, 2 / 3, 1.0),
        gray_only: (1.0, 1.0, 0.0, 0.0),
        undecided: (0.1, 0.1, 4 / 9, 4 / 9),
        broken: (0.0, 0.0, 1.0, 1.0),
    }
    for rule, values in expected.items():
        module = Rule(rule).train()
        found = label_erasure.measure(module, grays, HALF, "cpu")
        assert list(found.values()) == pytest.approx(values, abs=1e-9)
        assert module.training
        assert list(found) == list(label_erasure.METRICS)


def test_collapse_metrics_of_a_content_and_a_colour_classifier() -> None:
    grays = some_grays(30)
    white = [
        coloured(np.full((1, 6, 6), 255, np.uint8), np.array([colour]), CLASS_COLOURS)[0, :, 0, 0].astype(int)
        for colour in range(10)
    ]

    def by_colour(x: Any) -> Any:
        """The palette colour nearest in direction to the mean pixel; gray (8) is the dark one of equal channels."""
        mean = ((x + 1) / 2 * 255).mean((2, 3))
        directions = torch.tensor(np.array(white), dtype=torch.float32)
        unit = directions / directions.norm(dim=1, keepdim=True)
        return (mean / mean.norm(dim=1, keepdim=True)) @ unit.T

    content = collapse.measure(
        Rule(lambda x: nn.functional.one_hot(torch.arange(len(x)) % 10, 10).float()), grays, HALF, "cpu"
    )
    assert content == {"colour_accuracy": pytest.approx(0.1), "content_accuracy": pytest.approx(1.0)}
    colour = collapse.measure(Rule(by_colour), grays, HALF, "cpu")
    assert colour["colour_accuracy"] > 0.89  # teal and cyan have one direction
    assert colour["content_accuracy"] == pytest.approx(0.1, abs=0.02)
    assert collapse.measure(Rule(lambda x: torch.full((len(x), 10), torch.nan)), grays, HALF, "cpu") == {
        "colour_accuracy": 0.0,
        "content_accuracy": 0.0,
    }


def test_augmentation_keeps_shape_and_is_a_crop_or_its_mirror() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    x = torch.cat([ramp, ramp.transpose(2, 3)]).repeat(50, 1, 1, 1)
    found = augmented(x, torch.Generator().manual_seed(0))
    assert found.shape == x.shape
    slopes = (found[0::2, 0, 32, -1] - found[0::2, 0, 32, 0]) / 2
    assert (slopes.abs() <= 1.0).all()
    assert (slopes.abs() > math.sqrt(0.7 * 3 / 4) - 0.05).all()
    assert 10 < int((slopes < 0).sum()) < 40  # flips
    falls = found[1::2, 0, -1, 32] - found[1::2, 0, 0, 32]
    assert (falls > 0).all()  # never upside down


def test_evaluation_in_pieces_is_evaluation() -> None:
    module = network("small", 2, "small", (10, 3))
    data = label_erasure.retain_set(some_grays(23), HALF)
    whole, pieces = outputs_on(module, data), outputs_on(module, data, batch_size=5)
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert module.training


def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: pages that are returned are asked for again, and every one of them is counted."""
    code = (
        "import resource, sys, torch\n"
        "from validation.experiments.images_training import keep_memory\n"
        "kept = keep_memory() if len(sys.argv) > 1 else None\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "torch.ones(2**24)\n"
        "before = faults()\n"
        "for _ in range(10): torch.ones(2**24)\n"
        "print(kept, faults() - before)"
    )
    faults, kept = [], ""
    for arguments in ([], ["keep"]):
        command = [sys.executable, "-c", code, *arguments]
        kept, count = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()
        faults.append(int(count))
    assert kept == "False" or faults[1] < faults[0] / 5
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_memory()
