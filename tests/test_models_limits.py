"""What counts as consistent data, how large the random part is, and what names, masks and indices mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from exact_unlearn.errors import ProblemError
from exact_unlearn.models import DiagonalNetwork, Layout, LinearModel, LinearNetwork, Perceptron

MODELS = [
    LinearModel(3),
    LinearNetwork((3, 1)),
    LinearNetwork((3, 2, 1)),
    LinearNetwork((3, 4, 2, 1)),
    DiagonalNetwork(3, 2),
]
FEATURES = [Perceptron(3, 3, "identity"), Perceptron(3, 2, "square")]


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("model", [*MODELS, Perceptron(3, 4)], ids=repr)
def test_equal_inputs_may_have_labels_that_agree_to_a_billionth(model: Any, size: float) -> None:
    x = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    for miss, fits in ((0.5e-9, True), (2e-9, False), (-2e-9, False)):
        y = size * np.array([0.5, 1.0, 0.5 + miss])
        if fits:
            theta = model.interpolating_parameters(x, y, generator())
            np.testing.assert_allclose(model.predict(theta, x)[:, 0], y, rtol=2e-9)
        else:
            with pytest.raises(ProblemError, match="y: samples 0 and 2 have equal inputs but different outputs"):
                model.interpolating_parameters(x, y, generator())
            assert model.interpolating_parameters(x, y, generator(), tolerance=1e-6).size == model.n_parameters


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("model", [*MODELS, *FEATURES], ids=repr)
def test_dependent_inputs_are_consistent_to_a_billionth(model: Any, size: float) -> None:
    """x_1 = 2 x_0: the least residual is sqrt(1/5) of what the labels miss, largest at sample 0 or 1."""
    x = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    degree = 4.0 if isinstance(model, Perceptron) and model.activation == "square" else 2.0
    for miss, fits in ((0.5e-9, True), (1e-8, False), (1e-6, False)):
        y = size * np.array([0.5, 0.5 * degree + miss])
        if fits:
            theta = model.interpolating_parameters(x, y, generator())
            np.testing.assert_allclose(model.predict(theta, x)[:, 0], y, rtol=2e-9)
        else:
            with pytest.raises(ProblemError, match=r"y: no interpolating parameters found, the least residual is"):
                model.interpolating_parameters(x, y, generator())


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_scale_is_that_of_the_kernel_part(scale: float) -> None:
    """Over many draws: |kernel part| / |min-norm part| has root mean square scale, up to the share of the kernel."""
    model = LinearModel(40)
    rng = generator()
    x, y = rng.standard_normal((10, 40)), rng.standard_normal(10)
    least = np.linalg.pinv(x) @ y
    parts = [model.interpolating_parameters(x, y, rng, scale=scale) - least for _ in range(40)]
    np.testing.assert_allclose(x @ np.array(parts).T, 0, atol=1e-11 * (1 + scale))
    ratio = np.sqrt(np.mean([part @ part for part in parts])) / np.linalg.norm(least)
    assert ratio == pytest.approx(scale * np.sqrt(30 / 40), rel=0.1)


def test_hidden_weights_give_pre_activations_of_size_one() -> None:
    for size in (1e-8, 1.0, 1e8):
        model, rng = Perceptron(30, 200), generator()
        x = size * rng.standard_normal((20, 30))
        A = model.split(model.interpolating_parameters(x, rng.standard_normal(20), rng))["A"]
        assert np.sqrt(np.mean(np.square(x @ A.T))) == pytest.approx(1.0, rel=0.1)


def test_upper_layers_of_a_network_are_of_norm_one() -> None:
    """V has norm 1, so that A_1 is of the size of the predictor."""
    for widths in ((6, 4, 3, 2), (6, 1, 1), (6, 5, 5, 5, 1)):
        model, rng = LinearNetwork(widths), generator()
        theta = model.interpolating_parameters(rng.standard_normal((3, 6)), rng.standard_normal((3, widths[-1])), rng)
        assert np.linalg.norm(model.first_layer_factor(theta), 2) == pytest.approx(1.0)


# ---------------------------------------------------------------- layouts

LAYOUT = Layout((("c", (2, 3)), ("A1", (3, 4)), ("A2", (1, 5))))


def test_blocks_lie_one_after_the_other() -> None:
    assert LAYOUT.size == 6 + 12 + 5
    assert LAYOUT.blocks == {"c": slice(0, 6), "A1": slice(6, 18), "A2": slice(18, 23)}
    assert {name: part.tolist() for name, part in LAYOUT.indices().items()}["A1"] == np.arange(6, 18).reshape(
        3, 4
    ).tolist()
    theta = np.arange(23.0)
    assert LAYOUT.join(LAYOUT.split(theta)).tolist() == theta.tolist()
    # only a matrix of one row may come as a vector
    assert LAYOUT.join(LAYOUT.split(theta) | {"A2": np.zeros(5)})[18:].tolist() == [0.0] * 5
    for wrong in (np.zeros(6), np.zeros((3, 2)), np.zeros((2, 3, 1))):
        with pytest.raises(ProblemError, match=r"c: expected shape \(2, 3\)"):
            LAYOUT.join(LAYOUT.split(theta) | {"c": wrong})
    for wrong in (np.zeros(4), np.zeros((5, 1))):
        with pytest.raises(ProblemError, match=r"A2: expected shape \(1, 5\)"):
            LAYOUT.join(LAYOUT.split(theta) | {"A2": wrong})


def test_what_free_may_be() -> None:
    everything = np.ones(23, dtype=bool)
    assert LAYOUT.mask(None).all()
    assert not LAYOUT.mask([]).any()
    assert not LAYOUT.mask(set()).any()
    c = np.arange(23) < 6
    for free in ("c", ["c"], ("c",), {"c"}, range(6), set(range(6)), list(c), c, np.arange(6)):
        assert LAYOUT.mask(free).tolist() == c.tolist()
    assert LAYOUT.mask([22]).sum() == 1
    for wrong in ([23], [-1], [0, 0], np.array([[0, 1]]), [0.0], everything[:-1], np.array([everything])):
        with pytest.raises(ProblemError, match=r"^free: expected"):
            LAYOUT.mask(wrong)
    given = c.copy()
    LAYOUT.mask(given)[:] = True
    assert given.tolist() == c.tolist()


def test_labels_of_groups_by_layer_and_by_neuron() -> None:
    assert LAYOUT.groups("layer").tolist() == [0] * 6 + [1] * 12 + [2] * 5
    assert LAYOUT.groups("neuron").tolist() == [0] * 3 + [1] * 3 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 5
    with pytest.raises(ProblemError, match="groups: expected one of layer, neuron"):
        LAYOUT.groups("head")


def test_every_layer_of_a_network_has_its_neurons() -> None:
    network = LinearNetwork((3, 4, 2, 2))
    assert [len(network.neuron_groups(layer)) for layer in (1, np.int64(2))] == [4, 2]
    for wrong in (True, 0, 3, -1, 1.0):
        with pytest.raises(ProblemError, match="layer: expected a hidden layer from 1 to 2"):
            network.neuron_groups(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [LinearModel(2), LinearNetwork((2, 1)), Perceptron(2, 3), LAYOUT], ids=repr)
def test_models_are_frozen(model: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.__setattr__(dataclasses.fields(model)[0].name, 7)
    assert model == dataclasses.replace(model)
