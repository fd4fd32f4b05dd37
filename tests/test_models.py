"""Models: functions and Jacobians against torch, finite differences and exact identities; structure; bad input."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exact_unlearn.activations import KNOWN, Activation
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import DenseJacobian, to_float, to_rational
from exact_unlearn.models import DiagonalNetwork, LinearModel, LinearNetwork, Model, Perceptron

NETWORKS = [
    LinearNetwork((4, 1)),
    LinearNetwork((3, 2)),
    LinearNetwork((4, 5, 1)),
    LinearNetwork((4, 1, 3)),
    LinearNetwork((3, 5, 2, 2)),
    LinearNetwork((2, 3, 1, 4, 3)),
    LinearNetwork((1, 2, 2, 1, 3, 2, 1)),
]
PERCEPTRONS = [Perceptron(3, 4, name, outputs) for name in KNOWN for outputs in (1, 3)] + [
    Perceptron(1, 1),
    Perceptron(2, 3, Activation("leaky_relu", 0.25)),
]
DIAGONAL = [DiagonalNetwork(3, 1), DiagonalNetwork(1, 3), DiagonalNetwork(4, 2), DiagonalNetwork(3, 4)]
MODELS: list[Any] = [LinearModel(1), LinearModel(3), LinearModel(4, 3), *NETWORKS, *PERCEPTRONS, *DIAGONAL]
RATIONAL_MODELS = [m for m in MODELS if not isinstance(m, Perceptron) or m.phi.is_rational]

all_models = pytest.mark.parametrize("model", MODELS, ids=repr)
rational_models = pytest.mark.parametrize("model", RATIONAL_MODELS, ids=repr)
networks = pytest.mark.parametrize("model", NETWORKS, ids=repr)


def torch_predict(model: Any, theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The model written once more, with offsets counted by hand and activations of torch."""
    l, m = model.n_outputs, model.n_inputs
    if isinstance(model, LinearModel):
        return x @ theta.reshape(l, m).T
    if isinstance(model, Perceptron):
        C, A = theta[: l * model.width].reshape(l, model.width), theta[l * model.width :].reshape(model.width, m)
        F = torch.nn.functional
        if model.phi.name == "leaky_relu":
            return F.leaky_relu(x @ A.T, float(model.phi.slope)) @ C.T
        other = {"identity": lambda z: z, "abs": torch.abs, "square": torch.square}
        return (other.get(model.phi.name) or getattr(F, model.phi.name))(x @ A.T) @ C.T
    if isinstance(model, DiagonalNetwork):
        return x @ theta.reshape(model.depth, m).prod(0)[:, None]
    widths = model.widths
    start = widths[-1] * widths[-2]
    for inner, outer in pairwise(widths[:-1]):
        x = torch.nn.functional.linear(x, theta[start : start + outer * inner].reshape(outer, inner))
        start += outer * inner
    assert start == theta.numel()
    return torch.nn.functional.linear(x, theta[: widths[-1] * widths[-2]].reshape(widths[-1], widths[-2]))


def draw(model: Any, rng: np.random.Generator, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal(model.n_parameters), rng.standard_normal((n, model.n_inputs))


def draw_integers(model: Any, rng: np.random.Generator, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    theta = rng.integers(-3, 4, model.n_parameters)
    return to_rational(theta), to_rational(rng.integers(-3, 4, (n, model.n_inputs)))


# ---------------------------------------------------------------- functions and derivatives


@all_models
def test_function_and_jacobian_are_those_of_torch(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw(model, rng)
    t = torch.tensor(theta)
    expected = torch_predict(model, t, torch.tensor(x))
    np.testing.assert_allclose(model.predict(theta, x), expected.numpy(), rtol=1e-13, atol=1e-13)
    rows = torch.autograd.functional.jacobian(lambda t: torch_predict(model, t, torch.tensor(x)).reshape(-1), t)
    J = model.jacobian(theta, x)
    assert isinstance(J, DenseJacobian)
    assert J.shape == (len(x) * model.n_outputs, model.n_parameters)
    np.testing.assert_allclose(J.matrix, rows.numpy(), rtol=1e-12, atol=1e-13)


@all_models
def test_jacobian_is_the_slope_of_the_function(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw(model, rng)
    direction = rng.standard_normal(model.n_parameters)
    step = 1e-6
    slope = (model.predict(theta + step * direction, x) - model.predict(theta - step * direction, x)) / (2 * step)
    np.testing.assert_allclose(model.jacobian(theta, x).matvec(direction), slope.reshape(-1), rtol=1e-6, atol=1e-7)


@all_models
def test_rows_are_ordered_by_sample_and_then_by_output(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw(model, rng, n=3)
    J, l = model.jacobian(theta, x).matrix, model.n_outputs
    for i in range(3):
        np.testing.assert_allclose(J[i * l : (i + 1) * l], model.jacobian(theta, x[i : i + 1]).matrix, rtol=1e-14)


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_kinks_follow_torch(name: str) -> None:
    model = Perceptron(2, 2, name)
    theta, x = np.array([1.0, -2.0, 1.0, 1.0, 0.0, 0.0]), np.array([[1.0, -1.0], [2.0, 1.0]])
    rows = torch.autograd.functional.jacobian(
        lambda t: torch_predict(model, t, torch.tensor(x)).reshape(-1), torch.tensor(theta)
    )
    np.testing.assert_array_equal(model.jacobian(theta, x).matrix, rows.numpy())


@rational_models
def test_fractions_agree_with_floats(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw_integers(model, rng)
    theta = theta / Fraction(7)
    exact, J = model.predict(theta, x), model.jacobian(theta, x).matrix
    assert all(isinstance(entry, Fraction) for entry in [*exact.reshape(-1), *J.reshape(-1)])
    np.testing.assert_allclose(to_float(exact), model.predict(to_float(theta), to_float(x)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(to_float(J), model.jacobian(to_float(theta), to_float(x)).matrix, rtol=1e-12, atol=1e-12)


@rational_models
def test_euler_identity_holds_exactly(model: Any, rng: np.random.Generator) -> None:
    """f is homogeneous in each layer, of degree 1 (2 in A for the square): J_block theta_block = degree * f."""
    theta, x = draw_integers(model, rng)
    J, f = model.jacobian(theta, x).matrix, model.predict(theta, x).reshape(-1)
    for name, block in model.blocks.items():
        degree = 2 if name == "A" and model.phi.name == "square" else 1
        assert (J[:, block] @ theta[block] == degree * f).all(), name


def test_mixed_arithmetic_is_exact() -> None:
    model = LinearModel(2)
    value = model.predict([Fraction(1, 3), Fraction(1)], np.array([[0.1, 0.5]]))
    assert value[0, 0] == Fraction(0.1) / 3 + Fraction(1, 2)


@all_models
def test_inputs_of_any_memory_layout_are_left_alone(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw(model, rng)
    strided = np.asfortranarray(np.repeat(x, 2, axis=0))[::2]
    before = theta.copy(), x.copy()
    np.testing.assert_array_equal(model.jacobian(theta, x).matrix, model.jacobian(theta, strided).matrix)
    np.testing.assert_array_equal(theta, before[0])
    np.testing.assert_array_equal(x, before[1])


@all_models
def test_no_samples_and_narrow_floats(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw(model, rng)
    assert model.predict(theta, x[:0]).shape == (0, model.n_outputs)
    assert model.jacobian(theta, x[:0]).shape == (0, model.n_parameters)
    narrow = theta.astype(np.float32), x.astype(np.float32)
    wide = narrow[0].astype(np.float64), narrow[1].astype(np.float64)
    np.testing.assert_array_equal(model.predict(*narrow), model.predict(*wide))


@rational_models
def test_no_samples_in_fractions(model: Any, rng: np.random.Generator) -> None:
    theta, x = draw_integers(model, rng)
    assert model.predict(theta, x[:0]).shape == (0, model.n_outputs)
    assert model.jacobian(theta, x[:0]).shape == (0, model.n_parameters)


# ---------------------------------------------------------------- structure


@all_models
def test_split_and_join_are_inverse_and_copy(model: Any, rng: np.random.Generator) -> None:
    assert isinstance(model, Model)
    theta, _ = draw(model, rng)
    matrices = model.split(theta)
    assert list(matrices) == list(model.blocks)
    np.testing.assert_array_equal(model.join(matrices), theta)
    for name, block in model.blocks.items():
        np.testing.assert_array_equal(matrices[name].reshape(-1), theta[block])
        matrices[name][:] = np.nan
    assert np.isfinite(theta).all()
    assert sum(block.stop - block.start for block in model.blocks.values()) == model.n_parameters


@all_models
def test_groups_partition_the_parameters(model: Any) -> None:
    for groups in (model.layer_groups(), model.neuron_groups()):
        np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(model.n_parameters))
    assert [group.size for group in model.layer_groups()] == [b.stop - b.start for b in model.blocks.values()]


def test_blocks_of_each_class() -> None:
    assert LinearModel(3, 2).blocks == {"theta": slice(0, 6)}
    assert LinearNetwork((3, 2)).blocks == {"c": slice(0, 6)}
    assert LinearNetwork((3, 5, 4, 2)).blocks == {"c": slice(0, 8), "A1": slice(8, 23), "A2": slice(23, 43)}
    assert Perceptron(3, 5, n_outputs=2).blocks == {"c": slice(0, 10), "A": slice(10, 25)}


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_neuron_group_is_the_whole_neuron(outputs: int, rng: np.random.Generator) -> None:
    """Without group i a perceptron computes what the perceptron without neuron i computes, even where phi(0) != 0."""
    model, smaller = Perceptron(3, 4, "sigmoid", outputs), Perceptron(3, 3, "sigmoid", outputs)
    theta, x = draw(model, rng)
    C, A = theta[: 4 * outputs].reshape(outputs, 4), theta[4 * outputs :].reshape(4, 3)
    for i, group in enumerate(model.neuron_groups()):
        assert group.size == outputs + 3
        cut = theta.copy()
        cut[group] = 0.0
        rest = smaller.join({"c": np.delete(C, i, axis=1), "A": np.delete(A, i, axis=0)})
        np.testing.assert_allclose(model.predict(cut, x), smaller.predict(rest, x), rtol=1e-13, atol=1e-13)


def test_hidden_neurons_of_one_layer(rng: np.random.Generator) -> None:
    model = LinearNetwork((3, 4, 2, 2))
    theta, _ = draw(model, rng)
    A1, A2, C = (model.split(theta)[name] for name in ("A1", "A2", "c"))
    for j, group in enumerate(model.neuron_groups(layer=1)):
        assert sorted(theta[group]) == sorted([*A1[j], *A2[:, j]])
    for j, group in enumerate(model.neuron_groups(layer=2)):
        assert sorted(theta[group]) == sorted([*A2[j], *C[:, j]])
    # the partition: neurons of the last hidden layer with their outputs, the others with their inputs
    sizes = [group.size for group in model.neuron_groups()]
    assert sizes == [4 + 2, 4 + 2, 3, 3, 3, 3]
    assert [g.tolist() for g in LinearNetwork((3, 4, 2)).neuron_groups()] == [
        g.tolist() for g in Perceptron(3, 4, n_outputs=2).neuron_groups()
    ]


def test_active_neurons_need_both_sides() -> None:
    model = Perceptron(2, 4, n_outputs=2)
    C = [[0, 1, 0, 5], [0, 0, 2, 0]]
    A = [[1, 1], [0, 0], [0, 3], [1, 0]]
    assert model.active_neurons(model.join({"c": C, "A": A})).tolist() == [False, False, True, True]


@networks
def test_predictor_is_the_network(model: LinearNetwork, rng: np.random.Generator) -> None:
    theta, x = draw_integers(model, rng)
    W, V = model.predictor(theta), model.first_layer_factor(theta)
    assert W.shape == (model.n_inputs, model.n_outputs)
    assert V.shape == (model.widths[1], model.n_outputs)
    assert (x @ W == model.predict(theta, x)).all()
    assert (model.split(theta)[model.first_block].T @ V == W).all()


def test_linear_predictor(rng: np.random.Generator) -> None:
    model = LinearModel(3, 2)
    theta, x = draw(model, rng)
    np.testing.assert_allclose(x @ model.predictor(theta), model.predict(theta, x), rtol=1e-14)


@networks
def test_product_jacobian_is_the_first_block_of_the_dense_one(model: LinearNetwork, rng: np.random.Generator) -> None:
    theta, x = draw_integers(model, rng)
    product, dense = model.product_jacobian(theta, x), model.jacobian(theta, x)
    block = model.blocks[model.first_block]
    restricted = to_rational(np.zeros(dense.shape))
    restricted[:, block] = dense.matrix[:, block]
    assert product.shape == dense.shape
    drift, nu = draw_integers(model, rng)[0], to_rational(rng.integers(-3, 4, dense.shape[0]))
    assert (product.matvec(drift) == restricted @ drift).all()
    assert (product.rmatvec(nu) == restricted.T @ nu).all()


AFFINITY_MODELS = [
    LinearModel(3, 2),
    LinearNetwork((3, 2)),
    LinearNetwork((2, 3, 2)),
    LinearNetwork((2, 2, 3, 1)),
    LinearNetwork((2, 1, 2, 2)),
    Perceptron(2, 3, "square", 2),
    Perceptron(2, 3, "identity", 2),
    Perceptron(2, 3, Activation("leaky_relu", 1)),
    DiagonalNetwork(3, 2),
    DiagonalNetwork(2, 3),
]


def is_affine_by_experiment(model: Any, mask: np.ndarray) -> bool:
    """Second differences of f along free integer directions vanish exactly (frozen values generic, hence non-zero)."""
    rng = np.random.default_rng(7)
    for _ in range(3):
        theta, a, b = (to_rational(rng.integers(1, 50, model.n_parameters)) for _ in range(3))
        a[~mask], b[~mask] = Fraction(0), Fraction(0)
        x = to_rational(rng.integers(1, 50, (3, model.n_inputs)))
        f = [model.predict(theta + s * a + t * b, x) for s, t in ((0, 0), (1, 0), (0, 1), (1, 1))]
        if (f[3] - f[2] - f[1] + f[0] != 0).any():
            return False
    return True


@given(st.sampled_from(AFFINITY_MODELS), st.data())
def test_is_affine_in_agrees_with_experiment(model: Any, data: st.DataObject) -> None:
    d = model.n_parameters
    free = data.draw(st.lists(st.integers(0, d - 1), max_size=data.draw(st.sampled_from([2, 3, d])), unique=True))
    mask = np.zeros(d, dtype=bool)
    mask[free] = True
    assert model.is_affine_in(mask) == model.is_affine_in(free) == is_affine_by_experiment(model, mask)


@all_models
def test_affine_blocks(model: Any) -> None:
    assert all(model.is_affine_in(name) for name in model.affine_blocks())
    others = set(model.blocks) - set(model.affine_blocks())
    assert not any(model.is_affine_in(name) for name in others)
    assert model.is_affine_in([])
    assert model.is_affine_in() == (len(model.blocks) == 1) == model.is_affine_in(list(model.blocks))


def test_affine_in_c_only_for_a_perceptron() -> None:
    assert Perceptron(2, 3, "relu").affine_blocks() == ("c",)
    assert Perceptron(2, 3, "identity").affine_blocks() == ("c", "A")
    assert LinearNetwork((2, 3, 3, 1)).affine_blocks() == ("c", "A1", "A2")


# ---------------------------------------------------------------- bad input

NAN = float("nan")
LINEAR, NET, PERCEPTRON = LinearModel(2), LinearNetwork((2, 3, 2)), Perceptron(2, 3)
GENERATOR = np.random.default_rng(0)
ONE_SENTENCE: list[tuple[Callable[[], Any], str]] = [
    (lambda: LinearModel(0), "n_inputs: expected an integer >= 1, got 0"),
    (lambda: LinearModel(2.0), r"n_inputs: expected an integer >= 1, got 2\.0"),  # type: ignore[arg-type]
    (lambda: LinearModel(2, True), "n_outputs: expected an integer >= 1, got True"),
    (lambda: LinearNetwork((3,)), r"widths: expected \(n_inputs, hidden widths ..., n_outputs\), got \(3,\)"),
    (lambda: LinearNetwork("32"), "widths: expected .* got '32'"),  # type: ignore[arg-type]
    (lambda: LinearNetwork(7), "widths: expected .* got 7"),  # type: ignore[arg-type]
    (lambda: LinearNetwork((3, 0, 1)), r"widths\[1\]: expected an integer >= 1, got 0"),
    (lambda: DiagonalNetwork(2, 0), "depth: expected an integer >= 1, got 0"),
    (lambda: Perceptron(2, -1), "width: expected an integer >= 1, got -1"),
    (lambda: Perceptron(2, 3, "swish"), "activation: expected one of relu, .* got 'swish'"),
    (lambda: LINEAR.predict([1.0], [[1.0, 2.0]]), "theta: expected 2 parameters, got 1"),
    (lambda: LINEAR.predict([[1.0, 2.0]], [[1.0, 2.0]]), "theta: expected 1 dimension"),
    (lambda: LINEAR.predict([1.0, NAN], [[1.0, 2.0]]), "theta: expected finite numbers, got nan at index 1"),
    (lambda: LINEAR.predict([1.0, 1j], [[1.0, 2.0]]), "theta: expected real numbers"),
    (lambda: LINEAR.predict([1.0, 2.0], [1.0, 2.0]), r"x: expected shape \(n, 2\), got \(2,\); write x\[None, :\]"),
    (lambda: LinearModel(1).predict([1.0], [1.0, 2.0]), r"x: expected shape \(n, 1\), got \(2,\); write x\[:, None\]"),
    (lambda: LINEAR.predict([1.0, 2.0], [[1.0]]), r"x: expected shape \(n, 2\), got \(1, 1\)"),
    (lambda: LINEAR.jacobian([1.0, 2.0], [[1.0, np.inf]]), "x: expected finite numbers, got inf"),
    (lambda: LINEAR.jacobian([1.0, 2.0], [["a", "b"]]), "x: expected real numbers"),
    (lambda: NET.predict(np.ones(12), None), "x: expected 2 dimensions"),
    (lambda: NET.jacobian(np.ones(11), np.ones((1, 2))), "theta: expected 12 parameters, got 11"),
    (lambda: NET.split([1.0]), "theta: expected 12 parameters, got 1"),
    (lambda: NET.join({"c": np.ones((2, 3))}), "matrices: expected c, A1, got c"),
    (lambda: NET.join({"c": np.ones((2, 2)), "A1": np.ones((3, 2))}), r"c: expected shape \(2, 3\), got \(2, 2\)"),
    (lambda: NET.join({"c": np.ones(3), "A1": np.ones((3, 2))}), r"c: expected shape \(2, 3\), got \(3,\)"),
    (lambda: NET.neuron_groups(2), "layer: expected a hidden layer from 1 to 1, got 2"),
    (lambda: NET.neuron_groups(0), "layer: expected a hidden layer from 1 to 1, got 0"),
    (lambda: NET.is_affine_in("A2"), "free: unknown block 'A2'; the model has c, A1"),
    (lambda: NET.is_affine_in(["c", 3]), "free: unknown block 3; the model has c, A1"),
    (lambda: NET.is_affine_in([0, 12]), "free: expected distinct indices from 0 to 11"),
    (lambda: NET.is_affine_in([1, 1]), "free: expected distinct indices from 0 to 11"),
    (lambda: NET.is_affine_in(np.ones(11, dtype=bool)), "free: expected block names, a boolean mask of 12 entries"),
    (lambda: NET.is_affine_in([0.5]), "free: expected block names, a boolean mask"),
    (lambda: PERCEPTRON.features(np.ones(9), np.ones((2, 3))), r"x: expected shape \(n, 2\), got \(2, 3\)"),
    (
        lambda: Perceptron(1, 1, "tanh").predict([Fraction(1), Fraction(1)], [[1.0]]),
        "activation: tanh has no exact values on Fractions",
    ),
    (lambda: LINEAR.interpolating_parameters([[1.0, 2.0]], [1.0], 0), "rng: expected a numpy.random.Generator, got 0"),  # type: ignore[arg-type]
    (lambda: LINEAR.interpolating_parameters([[1.0, 2.0]], [1.0, 2.0], GENERATOR), r"y: expected shape \(1, 1\)"),
    (lambda: NET.interpolating_parameters([[1.0, 2.0]], [1.0], GENERATOR), r"y: expected shape \(1, 2\), got \(1,\)"),
    (
        lambda: NET.interpolating_parameters([[1.0, 2.0]], [[1.0, NAN]], GENERATOR),
        "y: expected finite numbers, got nan",
    ),
    (lambda: LINEAR.interpolating_parameters([[1.0, 2.0]], [1.0], GENERATOR, scale=-1), "scale: expected one finite"),
    (lambda: LINEAR.interpolating_parameters([[1.0, 2.0]], [1.0], GENERATOR, tolerance=NAN), "tolerance: expected one"),
    (
        lambda: PERCEPTRON.interpolating_parameters([[1.0, 2.0]], [1.0], GENERATOR, A=np.ones((2, 3))),
        r"A: expected shape \(3, 2\), got \(2, 3\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), ONE_SENTENCE, ids=[message for _, message in ONE_SENTENCE])
def test_bad_input_gets_one_sentence(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_models_are_values() -> None:
    assert LinearNetwork([3, 2, 1]) == LinearNetwork((3, np.int64(2), 1))  # type: ignore[arg-type]
    assert hash(Perceptron(2, 3)) == hash(Perceptron(2, 3, "relu"))
    with pytest.raises(AttributeError):
        LinearModel(2).n_inputs = 3  # type: ignore[misc]
