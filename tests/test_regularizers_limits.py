"""Where regularizers decide: membership of dual balls, ranks, blocks and what kind of function each is."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

from exact_unlearn.errors import ProblemError
from exact_unlearn.models import LinearNetwork, Perceptron
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
from tests.regularizer_cases import ALL, COUNTS, HOLES, NORMS, SMOOTH, WEIGHTS, D, cases, dual_vector, fractions

EPS = float(np.finfo(float).eps)


# ---------------------------------------------------------------- membership


@cases(NORMS | {"elastic without l2": SMOOTH["elastic without l2"]})
@pytest.mark.parametrize("tol", [1e-9, 1e-3])
def test_the_dual_ball_ends_at_one_plus_the_tolerance(R: Any, tol: float, rng: np.random.Generator) -> None:
    g = dual_vector(R, rng)
    g = g / R.dual_norm(g)
    for sign in (1, -1):
        assert R.conjugate(sign * g * (1 + 0.9 * tol), tol) == 0
        assert R.conjugate(sign * g * (1 + 1.1 * tol), tol) == math.inf


@pytest.mark.parametrize(
    ("R", "null"),
    [(L2(HOLES), 1), (L1(HOLES), 3), (LInf(HOLES), 1), (SquaredL2(HOLES), 1), (GroupL2([0, 1, 0, 1, 1, 1], [1, 0]), 1)],
    ids=["l2", "l1", "linf", "squared l2", "groups"],
)
@pytest.mark.parametrize("exact", [False, True])
def test_noise_on_null_directions_is_forgiven_up_to_the_tolerance(R: Any, null: int, exact: bool) -> None:
    """|g_i| <= tol max |g| where g must vanish: relative to the largest entry, and nothing at all for tol = 0."""
    for size in (1e-100, 1e-2):
        for share, tol, forgiven in ((0.9, 1e-6, True), (1.1, 1e-6, False), (-0.9, 1e-6, True), (1e-200, 0.0, False)):
            g = np.zeros(D)
            g[0], g[null] = 0.1 * size, 0.1 * size * share * (tol or 1.0)
            given = fractions(*g) if exact else g
            before = given.copy()
            assert (R.conjugate(given, tol) < math.inf) == forgiven
            assert (given == before).all()


@pytest.mark.parametrize("exact", [False, True])
def test_conjugates_of_squares_by_hand(exact: bool) -> None:
    wrap = (lambda *v: fractions(*v)) if exact else (lambda *v: np.array(v, dtype=float))
    assert SquaredL2().conjugate(wrap(3, -4)) == 12.5
    assert SquaredL2([4, 1]).conjugate(wrap(2, -4)) == 0.5 + 8
    assert SquaredL2([4, 0]).conjugate(wrap(2, 0)) == 0.5
    assert ElasticNet(1, 2).conjugate(wrap(3, -2, 0.5)) == (4 + 1) / 4
    assert ElasticNet(0, 2).conjugate(wrap(3, -4)) == 25 / 4
    assert ElasticNet(1, 0).conjugate(wrap(1, -1)) == 0
    assert ElasticNet(1, 2).value(wrap(3, -2)) == 5 + 13
    assert SquaredL2([4, 1]).value(wrap(3, -1)) == 18 + 0.5


def test_a_square_is_never_tolerant_of_what_it_bounds() -> None:
    """`tol` is about membership only: the value of a finite conjugate does not depend on it."""
    g = np.array([3.0, -2.0, 0.5])
    for R in (SquaredL2(), ElasticNet(1.0, 2.0), SquaredL2([1.0, 2.0, 3.0])):
        assert R.conjugate(g, 0.5) == R.conjugate(g)


def test_values_and_dual_norms_by_hand() -> None:
    x, w = np.array([3.0, -4.0, 0.0]), [4.0, 1.0, 9.0]
    assert L2(w).value(x) == pytest.approx(math.sqrt(36 + 16))
    assert L1(w).value(x) == 16
    assert LInf(w).value(x) == 12
    assert L2(w).dual_norm(x) == pytest.approx(math.sqrt(9 / 4 + 16))
    assert L1(w).dual_norm(x) == 4
    assert LInf(w).dual_norm(x) == pytest.approx(3 / 4 + 4)
    groups = GroupL2([0, 0, 1], [2.0, 0.5])
    assert groups.value(np.array([3.0, -4.0, 2.0])) == 10 + 1
    assert groups.dual_norm(np.array([3.0, -4.0, 2.0])) == 4
    assert groups.dual_norm(np.array([30.0, -40.0, 2.0])) == 25
    for R in (L1(), L2(), LInf(), SquaredL2()):
        assert R.value(np.zeros(0)) == 0


@pytest.mark.parametrize("weights", [[0.0, 0.0], [0.0, 2.0], [3.0, 0.0], [3.0, 2.0]])
def test_groups_of_weight_0_are_no_part_of_the_expression(weights: list[float]) -> None:
    R, x = GroupL2([0, 0, 1], weights), cp.Variable(3)
    expression = R.expression(x)
    assert expression.is_convex()
    for value in (np.array([3.0, -4.0, 2.0]), np.zeros(3)):
        x.value = value
        assert float(expression.value) == pytest.approx(float(R.value(value)))
        assert R.value(value) == weights[0] * np.hypot(*value[:2]) + weights[1] * value[2]


# ---------------------------------------------------------------- matrices


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_range_of_v_is_decided_at_eight_roundings(share: float) -> None:
    """range_slack = 8 max(h_1, l, m) eps: singular values of V below that are rounding, above they count."""
    for shape, m in (((3, 2), 2), ((2, 3), 7), ((40, 2), 3)):
        slack = 8 * max(*shape, m) * EPS
        V = np.zeros(shape)
        V[0, 0], V[1, 1] = 5.0, 5.0 * slack * share
        R = PredictorNorm.from_product(V, slice(0, shape[0] * m), (shape[0], m))
        assert R.range_slack == pytest.approx(slack)
        G = np.zeros((shape[0], m))
        G[1, 0] = 1.0
        assert (R.dual_norm(G.reshape(-1)) == math.inf) == (share < 1)
        # and a part of G outside of the range counts from there on as well
        G = np.zeros((shape[0], m))
        G[0, 0], G[-1, 1] = 1.0, share * slack
        V[1, 1] = 0.0
        R = PredictorNorm.from_product(V, slice(0, shape[0] * m), (shape[0], m))
        assert (R.dual_norm(G.reshape(-1)) < math.inf) == (share < 1)
        # unless a larger tolerance is asked for
        G[-1, 1] = 1e-5 * share
        assert (R.conjugate(G.reshape(-1), 1e-5) == math.inf) == (share > 1)


def test_forces_off_the_block_are_infinite_on_both_sides() -> None:
    R = PredictorNorm.from_product([[1.0], [-2.0]], slice(1, 5), (2, 2))
    assert R.dual_norm([0.0, 1.0, 2.0, -2.0, -4.0, 0.0]) == pytest.approx(math.sqrt(5))
    for at in (0, 5):
        for size in (1e-300, -1.0):
            g = np.array([0.0, 1.0, 2.0, -2.0, -4.0, 0.0]) / 10
            g[at] = size
            assert R.dual_norm(g) == math.inf
            assert R.conjugate(g) == math.inf
            assert (R.conjugate(g, 1e-9) == 0) == (abs(size) < 1e-10)


def test_the_dual_of_the_predictor_norm_is_the_least_factor() -> None:
    """min |B|_F over G = V B^T: for V of rank 2 with 3 outputs the least-norm one, against the pseudo-inverse."""
    rng = np.random.default_rng(0)
    V, B = rng.standard_normal((4, 2)) @ rng.standard_normal((2, 3)), rng.standard_normal((5, 3))
    R = PredictorNorm.from_product(V, slice(2, 22), (4, 5))
    g = np.zeros(23)
    g[2:22] = (V @ B.T).reshape(-1)
    assert R.dual_norm(g) == pytest.approx(np.linalg.norm(np.linalg.pinv(V) @ V @ B.T), rel=1e-12)
    assert R.predictor(np.arange(23.0)).shape == (5, 3)
    np.testing.assert_allclose(R.predictor(np.arange(23.0)), np.arange(2.0, 22).reshape(4, 5).T @ V)


@pytest.mark.parametrize("exact", [False, True])
def test_predictors_follow_the_arithmetic_of_both(exact: bool) -> None:
    V = np.array([[1.0, 2.0], [3.0, 4.0]])
    R = PredictorNorm.from_product(fractions(*V.reshape(-1)).reshape(2, 2) if exact else V, slice(0, 4), (2, 2))
    for theta in (np.arange(4.0), fractions(0, 1, 2, 3)):
        found = R.predictor(theta)
        assert found.astype(float).tolist() == [[6.0, 8.0], [10.0, 14.0]]
        assert (found.dtype == object) == (exact and theta.dtype == object)
        assert R.value(theta) == pytest.approx(math.sqrt(36 + 64 + 100 + 196), rel=1e-15)


def test_singular_values_of_blocks_in_any_order() -> None:
    R = NuclearNorm([5, 0, 2, 3], (2, 2))
    x = np.array([2.0, 7.0, 0.0, 3.0, 9.0, 1.0])  # the matrix [[1, 2], [0, 3]]
    sigma = np.linalg.svd([[1.0, 2.0], [0.0, 3.0]], compute_uv=False)
    assert R.value(x) == pytest.approx(sigma.sum())
    inside = np.array([2.0, 0.0, 0.0, 3.0, 0.0, 1.0])
    assert R.dual_norm(inside) == pytest.approx(sigma.max())
    assert R.dual_norm(x) == math.inf
    p = R.prox(x, 0.5 * float(sigma.min()))
    assert p[[1, 4]].tolist() == [7.0, 9.0]
    left = np.linalg.svd(p[[5, 0, 2, 3]].reshape(2, 2), compute_uv=False)
    np.testing.assert_allclose(left, sigma - 0.5 * sigma.min(), rtol=1e-12)


@pytest.mark.parametrize(
    ("block", "indices"),
    [
        (slice(2, 6), [2, 3, 4, 5]),
        (slice(None, 4), [0, 1, 2, 3]),
        (slice(1, 8, 2), [1, 3, 5, 7]),
        ((3, 0, 1, 2), [3, 0, 1, 2]),
        (np.array([4, 5, 6, 7], dtype=np.uint8), [4, 5, 6, 7]),
    ],
)
def test_ways_to_name_a_matrix_block(block: Any, indices: list[int]) -> None:
    R = NuclearNorm(block, (2, 2))
    assert R.indices.tolist() == indices
    with pytest.raises(ValueError, match="read-only"):
        R.indices[0] = 1
    R.validate(max(indices) + 1)
    with pytest.raises(ProblemError, match=f"coordinate {max(indices)} does not exist in {max(indices)} parameters"):
        R.validate(max(indices))
    for wrong in (slice(-4, 4), slice(0, -1), [[0, 1, 2, 3]], [], [0, 1, 2, 2], [True] * 4):
        with pytest.raises(ProblemError, match="block of nuclear_norm"):
            NuclearNorm(wrong, (2, 2))
    for empty in ([], np.zeros(0, dtype=np.int64)):
        with pytest.raises(ProblemError, match="block of nuclear_norm: expected a block name, a slice or integer"):
            NuclearNorm(empty, (1, 1))
    assert NuclearNorm([3], (1, 1)).value([0.0, 0.0, 0.0, -2.0]) == 2.0
    for shape in ((0, 4), (4,), (2, 2, 1), (2.0, 2), (-2, -2), None):
        with pytest.raises(ProblemError, match="shape: expected two positive integers"):
            NuclearNorm(slice(0, 4), shape)


def test_blocks_of_predictors_have_explicit_ends_and_the_right_size() -> None:
    V = [[1.0], [2.0]]
    assert PredictorNorm.from_product(V, slice(3, 7, 1), (2, 2)).movable == slice(3, 7, 1)
    for block in (slice(0, 5), slice(0, 3), slice(None, 4), slice(0, None), slice(-4, 0), slice(0, 8, 2), (0, 4)):
        with pytest.raises(ProblemError, match="block of predictor_norm: expected"):
            PredictorNorm.from_product(V, block, (2, 2))  # type: ignore[arg-type]
    R = PredictorNorm.from_product(V, slice(3, 7), (2, 2))
    R.validate(7)
    with pytest.raises(ProblemError, match="does not lie within 6 parameters"):
        R.validate(6)
    network = LinearNetwork((3, 2, 1))
    with pytest.raises(ProblemError, match="network: expected a LinearNetwork"):
        PredictorNorm(LinearNetwork, np.zeros(8))
    assert PredictorNorm(network, np.ones(8)).shape == (2, 3)


# ---------------------------------------------------------------- counts and groups


@pytest.mark.parametrize("exact", [False, True])
def test_counts_by_hand(exact: bool) -> None:
    x = fractions(0, -2, 0, 0, "1/9", 3) if exact else np.array([0.0, -2.0, 0.0, 0.0, 1e-300, 3.0])
    assert L0().value(x) == 3
    assert L0([0, 1, 0, 0, 1, 2]).value(x) == 2
    assert L0([[0, 2], [1], [3], [4, 5]]).value(x) == 2
    assert {type(R.value(x)) for R in (L0(), L0([0, 1, 0, 0, 1, 2]))} == {Fraction if exact else float}
    assert L0([0, 0, 0, 1, 1, 1]).charge(x).tolist() == [0, 0, 0, 1, 1, 1]
    assert L0().charge(x).tolist() == [0, 1, 2, 3, 4, 5]


def test_hard_thresholds_are_at_the_root_of_twice_the_step() -> None:
    v = np.array([2.0, -2.0 * (1 + 4 * EPS), 1.9, 3.0])
    assert L0().prox(v, 2.0).tolist() == [0.0, v[1], 0.0, 3.0]
    assert L0().prox(v, 0.0).tolist() == v.tolist()
    assert not L0().prox(v, math.inf).any()
    grouped = L0([0, 0, 1, 1]).prox(np.array([3.0, 4.0, 3.0, 4.1]), 12.5)
    assert grouped.tolist() == [0.0, 0.0, 3.0, 4.1]


def test_neurons_are_charged_where_both_sides_may_be_in_use() -> None:
    """theta = [C (2, 3); A (3, 2)]: neuron 1 has no incoming weight, so its column of C is free of charge."""
    model = Perceptron(2, 3, n_outputs=2)
    R = ActiveNeurons(model)
    theta = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0])
    assert R.charge(theta).tolist() == [0, -1, 2, 0, -1, 2] + [-1] * 6
    assert R.active(theta).tolist() == [True, False, True]
    assert R.value(theta) == 2.0
    assert R.movable == slice(0, 6)
    assert R.value(fractions(*theta)) == Fraction(2)
    R.validate(12)
    for n in (11, 13):
        with pytest.raises(ProblemError, match="expected 12 entries"):
            R.validate(n)
    for wrong in ((True, 2, 2), (2, np.float64(2), 2), (2, 2, 0)):
        with pytest.raises(ProblemError, match="of active_neurons: expected an integer >= 1"):
            ActiveNeurons.from_shape(*wrong)
    assert ActiveNeurons.from_shape(1, np.int64(1), 1).width == 1


def test_groups_name_the_first_mistake() -> None:
    for groups, sentence in (
        ([0, 3, 1], "labels 0..G-1 without gaps, got 3 for 3 coordinates"),
        ([0, 2, 2], "labels 0..2 all in use, but group 1 is empty"),
        ([2, -1, 1], "expected labels >= 0, got -1 at coordinate 1"),
        ([[0, 1], [1, 2, 1]], "coordinate 1 is in 3 places"),
        ([[0, 1], [3]], "2 is in no group \\(largest index 3\\)"),
        ([[1, 2], [3]], "0 is in no group"),
        ([[0, -2], [1]], "expected coordinates >= 0, got -2"),
        ([[0], []], r"groups\[1\]: expected at least one coordinate"),
    ):
        with pytest.raises(ProblemError, match=sentence):
            GroupL2(groups)
    assert GroupL2([[2, 0], [1]]).labels.tolist() == [0, 1, 0]
    with pytest.raises(ProblemError, match=r"weights of group_l2: expected one per group \(2\), got 3"):
        GroupL2([[0], [1]], [1.0, 1.0, 1.0])


def test_parts_of_a_partition() -> None:
    partition = GroupL2([1, 0, 1, 2, 1]).partition
    assert (partition.n_parameters, partition.n_groups, partition.sizes.tolist()) == (5, 3, [1, 3, 1])
    assert partition.order.tolist() == [1, 0, 2, 4, 3]
    assert partition.starts.tolist() == [0, 1, 4]
    x = np.array([3.0, 7.0, 0.0, 0.0, -4.0])
    assert partition.norms(x).tolist() == [7.0, 5.0, 0.0]
    assert partition.squares(fractions(*x)) == [49, 25, 0]
    assert partition.nonzero(x) == 2
    with np.errstate(invalid="ignore"):
        assert partition.norms(np.array([math.inf, 1.0, 1.0, 2.0, 3.0])).tolist()[1] == math.inf
    for call in (partition.norms, partition.nonzero, partition.squares):
        with pytest.raises(ProblemError, match=r"they cover 5 coordinates, got a vector of shape \(4,\)"):
            call(np.ones(4))


# ---------------------------------------------------------------- kinds and specifications

KINDS: list[tuple[Any, bool, bool, bool, bool]] = [
    # R, is_norm, integer, strictly convex, unique minimiser
    (SquaredL2(), False, False, True, True),
    (SquaredL2(HOLES), False, False, False, False),
    (L2(), True, False, False, True),
    (L2(WEIGHTS), True, False, False, True),
    (L2(HOLES), True, False, False, False),
    (L1(), True, False, False, False),
    (LInf(), True, False, False, False),
    (GroupL2([0, 0]), True, False, False, False),
    (ElasticNet(1, 1), False, False, True, True),
    (ElasticNet(0, 1), False, False, True, True),
    (ElasticNet(1, 0), True, False, False, False),
    (NORMS["nuclear"], True, False, False, False),
    (NORMS["predictor"], True, False, False, False),
    (L0(), False, True, False, False),
    (COUNTS["neurons"], False, True, False, False),
]


@pytest.mark.parametrize(("R", "norm", "integer", "strict", "unique"), KINDS, ids=[type(k[0]).__name__ for k in KINDS])
def test_what_kind_of_function_each_is(R: Any, norm: bool, integer: bool, strict: bool, unique: bool) -> None:
    assert (R.is_norm, R.integer, R.strictly_convex, R.unique_minimiser) == (norm, integer, strict, unique)
    restricted = isinstance(R, PredictorNorm | ActiveNeurons)
    assert (R.movable is not None) == restricted


@cases(ALL)
def test_regularizers_are_frozen_and_compared_by_identity(R: Any) -> None:
    for field in dataclasses.fields(R):
        with pytest.raises(dataclasses.FrozenInstanceError):
            R.__setattr__(field.name, None)
    assert len({R, from_spec(R.to_spec())}) == 2


def test_whole_floats_of_files_are_labels_and_others_are_not() -> None:
    assert from_spec({"name": "l0", "labels": np.array([0.0, 1.0, 0.0])}).labels.tolist() == [0, 1, 0]
    for labels in (np.array([0.0, 0.5, 1.0]), np.array([0.0, np.nan]), [0.0, 1.0]):
        with pytest.raises(ProblemError, match="expected a sequence of integers"):
            from_spec({"name": "l0", "labels": labels})
    assert from_spec({"name": "l0"}).labels is None
    assert from_spec({"name": "group_l2", "labels": [0, 0, 1]}).weights.tolist() == [1.0, 1.0]
    for block in (3, [1], [1, 2, 3], ["a", 2], None):
        with pytest.raises(ProblemError, match=r"block: expected \[start, stop\]"):
            from_spec({"name": "predictor_norm", "V": [[1.0]], "block": block, "shape": [1, 2]})
