"""Interpolating parameters: every class meets the data, floats to rounding and Fractions exactly, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from exact_unlearn.activations import KNOWN
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import to_rational
from exact_unlearn.models import DiagonalNetwork, LinearModel, LinearNetwork, Perceptron

ROOMY = [  # any outputs of 5 samples with 8 inputs can be interpolated
    LinearModel(8),
    LinearModel(8, 3),
    LinearNetwork((8, 2)),
    LinearNetwork((8, 5, 1)),
    LinearNetwork((8, 1, 1)),
    LinearNetwork((8, 3, 1, 4, 1)),
    LinearNetwork((8, 4, 6, 5, 3)),
    LinearNetwork((8, 9, 9, 9, 9, 4)),
    *(Perceptron(8, 12, name, outputs) for name in KNOWN if name != "identity" for outputs in (1, 2)),
    Perceptron(8, 8, "identity"),
    DiagonalNetwork(8, 2),
    DiagonalNetwork(8, 3),
]
roomy = pytest.mark.parametrize("model", ROOMY, ids=repr)
RATIONAL_ROOMY = [m for m in ROOMY if not isinstance(m, Perceptron) or m.phi.is_rational]
rational_roomy = pytest.mark.parametrize("model", RATIONAL_ROOMY, ids=repr)


def interpolation_error(model: Any, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs(model.predict(theta, x) - y.reshape(len(x), -1)).max())


@roomy
def test_interpolation_in_floats(model: Any, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 8)), rng.standard_normal((5, model.n_outputs))
    first, second = (model.interpolating_parameters(x, y, np.random.default_rng(seed)) for seed in (1, 2))
    assert interpolation_error(model, first, x, y) < 1e-12
    assert np.linalg.norm(first - second) > 1e-3  # the generator decides
    np.testing.assert_array_equal(first, model.interpolating_parameters(x, y, np.random.default_rng(1)))
    assert np.linalg.norm(first) < 1e3


@rational_roomy
@pytest.mark.parametrize("scale", [1, 0])
def test_interpolation_in_fractions(model: Any, scale: int, rng: np.random.Generator) -> None:
    x = to_rational(rng.integers(-3, 4, (5, 8)))
    y = to_rational(rng.integers(-3, 4, (5, model.n_outputs)))
    theta = model.interpolating_parameters(x, y, rng, scale=scale)
    assert all(isinstance(entry, Fraction) for entry in theta)
    assert (model.predict(theta, x) == y).all()
    if scale:
        integers = sum(entry.denominator == 1 and abs(entry) <= 3 for entry in theta)
        corrected = 5 * max(model.n_outputs, model.widths[1] if isinstance(model, LinearNetwork) else 1)
        assert integers >= theta.size - corrected - 4  # all but the entries that had to be solved for
        other = model.interpolating_parameters(x, y, rng)
        assert (theta != other).any()


@roomy
def test_interpolation_survives_degenerate_data(model: Any, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((3, 8)), rng.standard_normal((3, model.n_outputs))
    x, y = np.concatenate([x, x[:1], np.zeros((1, 8))]), np.concatenate([y, y[:1], np.zeros((1, model.n_outputs))])
    constant = isinstance(model, Perceptron) and model.phi.value(0.0) != 0
    y[4] = 0.3 if constant else 0.0  # x = 0 determines f = 0 unless phi(0) != 0
    assert interpolation_error(model, model.interpolating_parameters(x, y, rng), x, y) < 1e-12
    zero = model.interpolating_parameters(x, 0 * y, rng)
    assert np.abs(model.predict(zero, x)).max() < 1e-12
    assert np.linalg.norm(zero) > 0.1
    assert np.isfinite(model.interpolating_parameters(x[:0], y[:0], rng)).all()


@pytest.mark.parametrize("model", [LinearModel(8, 2), LinearNetwork((8, 2)), LinearNetwork((8, 4, 3, 2))], ids=repr)
def test_scale_zero_is_the_min_norm_predictor(model: Any, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 8)), rng.standard_normal((5, 2))
    least = np.linalg.pinv(x) @ y
    theta = model.interpolating_parameters(x, y, rng, scale=0)
    np.testing.assert_allclose(model.predictor(theta), least, rtol=1e-12, atol=1e-12)
    W = model.predictor(model.interpolating_parameters(x, y, rng, scale=1))
    kernel = np.linalg.norm(W - least) / np.linalg.norm(least)
    assert 0.05 < kernel < 20


@pytest.mark.parametrize("factor", [1e-150, 1e150])
@pytest.mark.parametrize("model", [LinearModel(8), LinearNetwork((8, 3, 1)), Perceptron(8, 12)], ids=repr)
def test_interpolation_at_any_scale(model: Any, factor: float, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((5, 8)), rng.standard_normal((5, 1))
    assert interpolation_error(model, model.interpolating_parameters(factor * x, y, rng), factor * x, y) < 1e-11
    large = model.interpolating_parameters(x, factor * y, rng)
    assert interpolation_error(model, large, x, factor * y) < 1e-11 * factor


@pytest.mark.parametrize("widths", [(6, 1, 3), (6, 4, 1, 3), (6, 1, 4, 3), (6, 3, 2, 5, 4), (6, 2, 2)])
@pytest.mark.parametrize("exact", [False, True])
def test_bottlenecks_pass_outputs_of_their_rank(widths: tuple[int, ...], exact: bool, rng: np.random.Generator) -> None:
    model, l, k = LinearNetwork(widths), widths[-1], min(widths[1:])
    for rank in range(k + 1):
        x, left, right = (rng.integers(-3, 4, shape) for shape in ((4, 6), (4, rank), (rank, l)))
        y = left @ right
        if exact:
            x, y = to_rational(x), to_rational(y)
            assert (model.predict(model.interpolating_parameters(x, y, rng), x) == y).all()
        else:
            assert interpolation_error(model, model.interpolating_parameters(x, y, rng), x, y) < 1e-11
    if k < l:
        x, y = rng.integers(-3, 4, (4, 6)), np.eye(4, l, dtype=int)
        x, y = (to_rational(x), to_rational(y)) if exact else (x, y)
        with pytest.raises(ProblemError, match=f"outputs have rank {l if l < 4 else 4}, but a layer of width {k}"):
            model.interpolating_parameters(x, y, rng)


def test_a_given_hidden_layer_is_kept(rng: np.random.Generator) -> None:
    model = Perceptron(3, 5, "square")
    A, x = rng.integers(-2, 3, (5, 3)), rng.integers(-2, 3, (3, 3))
    planted = model.join({"c": [[1, 0, 0, 0, -2]], "A": A})
    y = model.predict(planted, x)
    theta = model.interpolating_parameters(x, y, rng, A=A)
    np.testing.assert_array_equal(model.split(theta)["A"], A)
    assert interpolation_error(model, theta, x, y) < 1e-11


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("model", [LinearModel(3), LinearNetwork((3, 2, 1)), Perceptron(3, 4)], ids=repr)
def test_inconsistent_data_are_refused(model: Any, exact: bool, rng: np.random.Generator) -> None:
    wrap: Callable[[Any], np.ndarray] = (lambda a: to_rational(np.array(a))) if exact else np.array
    conflict = wrap([[1, 2, 3], [0, 1, 0], [1, 2, 3]]), wrap([1, 2, 3])
    with pytest.raises(ProblemError, match="y: samples 0 and 2 have equal inputs but different outputs"):
        model.interpolating_parameters(*conflict, rng)
    dependent = wrap(rng.integers(-5, 6, (6, 3))), wrap(rng.integers(-5, 6, 6))
    limit = 4 if isinstance(model, Perceptron) else 3
    with pytest.raises(ProblemError, match=f"no interpolating parameters found.*have rank [1-{limit}] for 6 samples"):
        model.interpolating_parameters(*dependent, rng)
