"""Regularizers of networks, matrices and groups, and what every regularizer refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact_unlearn.errors import ProblemError
from exact_unlearn.models import LinearModel, LinearNetwork, Perceptron
from exact_unlearn.regularizers import (
    L0,
    L1,
    L2,
    ActiveNeurons,
    ElasticNet,
    GroupL2,
    LInf,
    NuclearNorm,
    PredictorNorm,
    SquaredL2,
    from_spec,
)
from tests.regularizer_cases import (
    ALL,
    HOLES,
    NORMS,
    WEIGHTS,
    D,
    cases,
    fractions,
)


@pytest.mark.parametrize("widths", [(4, 3), (4, 5, 1), (4, 3, 2), (3, 4, 2, 1), (3, 4, 5, 2), (2, 3, 2, 3, 2)])
def test_predictor_norm_of_a_network(widths, rng):
    network = LinearNetwork(widths)
    theta = rng.standard_normal(network.n_parameters)
    R = PredictorNorm(network, theta)
    W = network.predict(theta, np.eye(widths[0]))  # (m, l): the predictor, read off the unit inputs
    assert R.value(theta) == pytest.approx(np.linalg.norm(W), rel=1e-13)
    np.testing.assert_allclose(R.predictor(theta), W, atol=1e-13)
    assert R.movable == network.blocks["A1" if len(widths) > 2 else "c"]
    exact = PredictorNorm(network, fractions(*theta))
    assert exact.value(fractions(*theta)) == pytest.approx(R.value(theta), rel=1e-14)
    again = from_spec(R.to_spec())
    assert again.value(theta) == R.value(theta)


def test_predictor_norm_does_not_see_the_complement_of_v(rng):
    network = LinearNetwork((3, 4, 2, 1))
    theta = rng.standard_normal(network.n_parameters)
    R = PredictorNorm(network, theta)
    u = np.linalg.svd(R.V.T)[2][-1]
    moved = theta.copy()
    moved[R.block] += np.outer(u, rng.standard_normal(3)).reshape(-1)
    assert R.value(moved) == pytest.approx(R.value(theta), rel=1e-13)


@pytest.mark.parametrize("widths", [(4, 6, 1), (4, 6, 2), (4, 2, 3), (3, 8, 5, 2)])
def test_gradients_from_the_product_jacobian_lie_in_the_range(widths, rng):
    """J^T nu = V B^T has dual norm |B|_F when V has full column rank, though rounding moves it off range(V)."""
    network = LinearNetwork(widths)
    theta = rng.standard_normal(network.n_parameters)
    x = rng.standard_normal((7, widths[0]))
    R = PredictorNorm(network, theta)
    nu = rng.standard_normal(7 * widths[-1])
    dual = R.dual_norm(network.product_jacobian(theta, x).rmatvec(nu))
    B = nu.reshape(7, -1).T @ x  # (l, m)
    if R.V.shape[0] >= R.V.shape[1]:
        assert dual == pytest.approx(np.linalg.norm(B), rel=1e-11)
    assert dual <= np.linalg.norm(B) * (1 + 1e-11)


def test_predictor_norm_zero_v():
    R = PredictorNorm.from_product(np.zeros((3, 2)), slice(0, 6), (3, 2))
    assert R.value(np.ones(D)) == 0
    assert R.dual_norm(np.zeros(D)) == 0
    assert R.dual_norm(np.ones(D)) == math.inf
    np.testing.assert_array_equal(R.prox(np.arange(6.0), 2.0), np.arange(6.0))


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1e150, 1e200])
def test_predictor_norm_with_extreme_factors(scale, rng):
    """R scales with V, so scale * R at 1/scale of the step is the same prox."""
    V, A = rng.standard_normal((3, 2)), rng.standard_normal(D)
    plain = PredictorNorm.from_product(V, slice(0, 6), (3, 2))
    scaled = PredictorNorm.from_product(V * scale, slice(0, 6), (3, 2))
    assert scaled.value(A / scale) == pytest.approx(plain.value(A), rel=1e-13)
    np.testing.assert_allclose(scaled.prox(A, 0.4 / scale), plain.prox(A, 0.4), atol=1e-13)
    g = plain.V @ rng.standard_normal((2, 2))
    assert scaled.dual_norm(g.reshape(-1)) == pytest.approx(plain.dual_norm(g.reshape(-1)) / scale, rel=1e-12)


def test_nuclear_norm_of_a_named_block(rng):
    network = LinearNetwork((3, 2, 1))
    theta = rng.standard_normal(network.n_parameters)
    named = NuclearNorm("A1", (2, 3))
    with pytest.raises(ProblemError, match="names a block"):
        named.validate(network.n_parameters)
    R = named.resolve(network.blocks)
    A = theta[network.blocks["A1"]].reshape(2, 3)
    assert R.value(theta) == pytest.approx(np.linalg.norm(A, "nuc"), rel=1e-14)
    assert R.resolve(network.blocks) is R
    with pytest.raises(ProblemError, match="'A7'"):
        NuclearNorm("A7", (2, 3)).resolve(network.blocks)


def test_active_neurons_count_both_sides():
    perceptron = Perceptron(2, 3, activation="relu", n_outputs=2)
    R = ActiveNeurons(perceptron)
    C = [[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]
    A = [[0.0, 1.0], [5.0, 0.0], [0.0, 0.0]]  # neuron 1 has no outgoing, neuron 2 no incoming weight
    theta = np.concatenate([np.ravel(C), np.ravel(A)])
    np.testing.assert_array_equal(R.active(theta), [True, False, False])
    assert R.value(theta) == 1
    assert R.movable == perceptron.blocks["c"]


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_labels_and_index_sets_are_the_same_groups(labels):
    labels = np.unique(labels, return_inverse=True)[1]
    sets = [np.flatnonzero(labels == g).tolist() for g in range(labels.max() + 1)]
    x = np.arange(1.0, labels.size + 1)
    expected = sum(math.sqrt(sum(x[i] ** 2 for i in group)) for group in sets)
    for groups in (labels, labels.tolist(), sets, [np.array(group) for group in sets], tuple(map(tuple, sets))):
        assert GroupL2(groups).value(x) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_array_equal(GroupL2(groups).labels, labels)


def test_equal_index_sets_given_as_a_matrix():
    assert GroupL2(np.array([[0, 1], [2, 3]])).labels.tolist() == [0, 0, 1, 1]


def test_uniqueness_flags():
    for R in (SquaredL2(), SquaredL2(WEIGHTS), ElasticNet(1, 1)):
        assert R.strictly_convex
        assert R.unique_minimiser
    assert L2(WEIGHTS).unique_minimiser
    assert not L2().strictly_convex
    for R in (L2(HOLES), SquaredL2(HOLES), ElasticNet(1, 0), L1(), LInf(), NORMS["group"], NORMS["nuclear"], L0()):
        assert not R.unique_minimiser
        assert not R.strictly_convex


def test_weights_are_copied_and_frozen():
    weights = np.array(WEIGHTS)
    R = L1(weights)
    weights[0] = 100
    assert R.value(np.eye(D)[0]) == 0.5
    with pytest.raises(ValueError, match="read-only"):
        R.weights[0] = 1


WEIGHT_TAKERS = [SquaredL2, L2, L1, LInf, lambda w: GroupL2([0, 1, 2], w)]


@pytest.mark.parametrize("make", WEIGHT_TAKERS)
@pytest.mark.parametrize(
    "weights",
    [
        [1, math.nan, 1],
        [1, math.inf, 1],
        [1, -1, 1],
        [1j, 1, 1],
        [[1, 1, 1]],
        1.0,
        "abc",
        ["a", "b", "c"],
        [[1], [1, 2], []],
    ],
)
def test_bad_weights(make, weights):
    with pytest.raises(ProblemError, match="weights") as caught:
        make(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 1], [1, 2]], "overlap"),
        ([[0, 1], []], "empty"),
        ([[0, 1], [3]], "no group"),
        ([[0, -1], [1]], ">= 0"),
        ([0, 2, 2], "empty"),
        ([0, -1, 1], ">= 0"),
        ([0, 1, 17], "17"),
        ([0.0, 1.0], "integers"),
        ([True, False], "integers"),
        ([[0.5], [1]], "integers"),
        ([[[0, 1]], [[2, 3]]], "integers"),
        ([[0, 1], 2], "integers"),
        (["ab", "cd"], "integers"),
        ("0,1", "groups"),
        ([], "groups"),
        (3, "groups"),
    ],
)
@pytest.mark.parametrize("make", [GroupL2, L0])
def test_bad_groups(make, groups, message):
    with pytest.raises(ProblemError, match=message) as caught:
        make(groups)
    assert "groups" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(-1, 0), (1, -1), (math.nan, 1), (1, math.inf), ("1", 1), (1j, 1), ([1], 1), (None, 1)]
)
def test_bad_elastic_net(alpha, beta):
    with pytest.raises(ProblemError, match=r"alpha|beta"):
        ElasticNet(alpha, beta)


@pytest.mark.parametrize(
    "R",
    [
        SquaredL2([1, 1]),
        L2([1, 1]),
        L1([1, 1]),
        LInf([1, 1]),
        GroupL2([0, 1]),
        L0([0, 1]),
        ActiveNeurons.from_shape(2, 2, 2),
    ],
)
def test_wrong_length(R):
    with pytest.raises(ProblemError, match=r"expected (5|8)"):
        R.validate(5)
    with pytest.raises(ProblemError):
        R.value(np.ones(5))


@pytest.mark.parametrize(
    "R", [NuclearNorm(slice(2, 6), (2, 2)), PredictorNorm.from_product([[1.0]], slice(2, 6), (1, 4))]
)
def test_block_beyond_the_parameters(R):
    with pytest.raises(ProblemError, match="5 parameters"):
        R.validate(5)
    with pytest.raises(ProblemError, match="5 parameters"):
        R.value(np.ones(5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NuclearNorm(slice(0, 5), (2, 3)),
        lambda: NuclearNorm(slice(None, None), (2, 3)),
        lambda: NuclearNorm([0, 0, 1, 2], (2, 2)),
        lambda: NuclearNorm([0.0, 1.0], (1, 2)),
        lambda: NuclearNorm([-1, 0], (1, 2)),
        lambda: NuclearNorm(slice(0, 4), (2, 0)),
        lambda: NuclearNorm(slice(0, 4), 4),
        lambda: NuclearNorm(slice(0, 4), "ab"),
        lambda: PredictorNorm(LinearModel(3), np.zeros(3)),
        lambda: PredictorNorm(LinearNetwork((3, 2, 1)), np.zeros(3)),
        lambda: PredictorNorm(LinearNetwork((3, 2, 1)), np.full(8, math.nan)),
        lambda: PredictorNorm.from_product([[1.0], [2.0]], slice(0, 6), (3, 2)),
        lambda: PredictorNorm.from_product([[1.0]], slice(0, 6), (1, 2)),
        lambda: PredictorNorm.from_product([[math.inf]], slice(0, 2), (1, 2)),
        lambda: PredictorNorm.from_product([[1.0]], "A1", (1, 2)),
        lambda: ActiveNeurons(LinearModel(3)),
        lambda: ActiveNeurons.from_shape(0, 1, 1),
        lambda: ActiveNeurons.from_shape(1.5, 1, 1),
    ],
)
def test_bad_structure(make):
    with pytest.raises(ProblemError) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"name": "l3"},
        {"name": 1},
        {"name": ["l1"]},
        {"name": "l1", "weight": None},
        {"name": "elastic_net", "alpha": 1},
        {"name": "predictor_norm", "V": [[1.0]], "block": 3, "shape": [1, 2]},
        {"name": "group_l2", "labels": np.array([0.5, 1.0])},
    ],
)
def test_bad_spec(spec):
    with pytest.raises(ProblemError) as caught:
        from_spec(spec)
    assert "\n" not in str(caught.value)


@cases(ALL)
def test_complex_and_text_vectors_are_refused(R):
    for bad in (np.ones(D) * 1j, ["a"] * D):
        with pytest.raises(ProblemError, match="real"):
            R.value(bad)
