"""Where the closed forms decide: what counts as consistent, and what counts as rank."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import closed_form as cf
from exact_unlearn import rational
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import to_rational
from exact_unlearn.models import LinearNetwork, Perceptron

EPS = float(np.finfo(np.float64).eps)


@pytest.mark.parametrize("size", [1e-100, 1.0, 1e100])
@pytest.mark.parametrize("columns", [None, 2])
def test_systems_are_consistent_up_to_a_billionth_of_the_right_hand_side(size: float, columns: int | None) -> None:
    """Two copies of a row with labels that differ: the least residual is half of the difference."""
    X = np.array([[3.0, 4.0], [3.0, 4.0]])
    for miss, fits in ((2e-11, True), (1e-9, True), (4e-9, False), (1e-6, False)):
        y = size * np.array([1.0, 1.0 + miss])
        y = y if columns is None else np.stack([np.zeros(2), y], axis=1)
        if fits:
            theta = cf.lemma_3_min_norm(X, y).theta
            np.testing.assert_allclose(X @ theta, y, rtol=1e-8, atol=0)
        else:
            with pytest.raises(ProblemError, match="y: X theta = y has no solution, X has rank 1"):
                cf.lemma_3_min_norm(X, y)
        # the caller's tolerance is relative to max |y| as well
        assert cf.lemma_3_min_norm(X, y, tolerance=1e-3).rank == 1


def test_zero_labels_are_consistent_with_anything_and_others_with_no_row_of_zeros() -> None:
    assert not cf.lemma_3_min_norm(np.ones((3, 2)), np.zeros(3)).theta.any()
    with pytest.raises(ProblemError, match="least residual is 1e-300"):
        cf.lemma_3_min_norm(np.zeros((1, 2)), [1e-300])
    assert cf.lemma_3_min_norm(np.zeros((0, 2)), np.zeros(0)).theta.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("largest", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("shape", [(2, 2), (2, 50), (50, 2)])
def test_the_rank_is_decided_at_the_rounding_of_the_largest_singular_value(
    largest: float, shape: tuple[int, int]
) -> None:
    """max(k, d) eps sigma_1 of rows of one size: a singular value twice that is data, half of that is rounding."""
    limit = max(shape) * EPS
    for share, rank in ((2.0, 2), (0.5, 1)):
        X = np.zeros(shape)
        X[:2, 0], X[:2, 1] = largest, [largest * limit * share, -largest * limit * share]
        assert len(cf.row_space_basis(X)) == rank
        y = np.zeros(shape[0])
        y[:2] = 3.0 * largest
        least = cf.lemma_3_min_norm(X, y)
        assert least.rank == rank
        assert least.theta[0] == pytest.approx(3.0)
        v = np.ones(shape[1])
        kept = cf.project_onto_span(X, v)
        assert np.count_nonzero(np.abs(kept) > 0.5) == rank
        np.testing.assert_allclose(cf.project_off_span(X, v), v - kept, atol=1e-15)


def test_the_rank_of_a_predictor_decides_its_width_and_value() -> None:
    """Theorem 4 takes roots: a singular value of rounding must not count, one of data must."""
    for share, rank in ((4.0, 2), (0.25, 1)):
        small = 2 * EPS * share
        W = np.diag([1.0, small])
        value = 1.0 + (small**0.5 if rank == 2 else 0.0)
        assert cf.theorem_4_value(W, 4) == pytest.approx(4 * value, rel=1e-12)
        narrow = LinearNetwork((2, 1, 2))
        if rank == 1:
            assert narrow.predictor(cf.theorem_4_parameters(narrow, W))[0, 0] == pytest.approx(1.0)
        else:
            with pytest.raises(ProblemError, match="a layer of width 1 does not pass a predictor of rank 2"):
                cf.theorem_4_parameters(narrow, W)


def test_lemma_1_cuts_the_factor_at_rounding_only() -> None:
    """V = diag(1, small): the drift divides by `small` where it is data, and not where it is rounding."""
    for share, cut in ((4.0, False), (0.25, True)):
        small = 2 * EPS * share
        network = LinearNetwork((2, 2, 2))
        theta = network.join({"c": np.diag([1.0, small]), "A1": np.eye(2)})
        drift = cf.lemma_1_drift(network, theta, np.zeros((0, 2)))
        expected = -np.diag([1.0, 0.0 if cut else 1.0])
        np.testing.assert_allclose(drift[network.blocks["A1"]].reshape(2, 2), expected, atol=1e-12)


# ---------------------------------------------------------------- what is accepted, and what comes back


@pytest.mark.parametrize("depth", [True, 0, -1, 2.0, "2", None])
def test_depths_are_positive_integers(depth: object) -> None:
    with pytest.raises(ProblemError, match="depth: expected an integer >= 1"):
        cf.theorem_4_value([3.0, 4.0], depth)  # type: ignore[arg-type]
    assert cf.theorem_4_value([3.0, 4.0], np.int64(1)) == pytest.approx(25.0)
    assert cf.theorem_4_value([3.0, 4.0], 2) == pytest.approx(10.0)


@pytest.mark.parametrize("n", [True, 2, 0, 3.0, "3", None])
def test_the_counterexample_needs_three_inputs(n: object) -> None:
    with pytest.raises(ProblemError, match="n_inputs: expected an integer >= 3"):
        cf.counterexample_d41(n)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [None, 3, np.int64(4), 6])
def test_the_counterexample_solves_the_relaxed_problem_and_fits_nothing(n: int | None) -> None:
    """J drift = 0 on the retained sample, and the predictor is 0 although the label is 1 (paper, D.4.1)."""
    found = cf.counterexample_d41() if n is None else cf.counterexample_d41(n)
    network, theta = found.network, found.theta_star
    assert network.widths == (n or 3, n or 3, 1)
    assert (network.predict(theta, found.x) == found.y).all()
    assert found.x_retain.tolist() == found.x[:1].tolist()
    assert found.y_retain.tolist() == found.y[:1].tolist() == [[1]]
    assert not rational.matmul(network.jacobian(theta, found.x_retain).matrix, found.drift).any()
    assert not network.predictor(theta + found.drift).any()
    assert (network.predict(theta + found.drift, found.x_retain) != found.y_retain).all()
    # the drift of the paper, entry by entry
    moved = network.split(found.drift)
    expected = np.zeros((n or 3, n or 3))
    expected[2, 0], expected[1, 1], expected[2, 2] = 1, -1, -1
    assert moved["A1"].astype(float).tolist() == expected.tolist()
    assert moved["c"].astype(float).tolist() == [[0.0, 0.0, -1.0] + [0.0] * ((n or 3) - 3)]


@pytest.mark.parametrize("exact", [False, True])
def test_pruned_neurons_are_zero_in_the_arithmetic_of_the_rest(exact: bool) -> None:
    model = Perceptron(2, 4, "relu", 2)
    matrices = {"c": np.array([[1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 3.0, 1.0]]), "A": np.arange(1.0, 9.0).reshape(4, 2)}
    theta = model.join(matrices)
    theta = to_rational(theta) if exact else theta
    before = theta.copy()
    pruned = model.split(cf.proposition_1_prune(model, theta))
    assert pruned["A"].astype(float).tolist() == [[1.0, 2.0], [0.0, 0.0], [5.0, 6.0], [7.0, 8.0]]
    assert pruned["c"].astype(float).tolist() == matrices["c"].tolist()
    assert {type(entry) for entry in pruned["A"].reshape(-1).tolist()} == {Fraction if exact else float}
    assert theta.tolist() == before.tolist()


def test_directions_of_a_predictor_that_is_zero() -> None:
    """Rank 0 takes no direction; vectors of the right length are still welcome, others are not."""
    deep, nothing = LinearNetwork((4, 2, 3, 1)), np.zeros(4)
    assert not cf.theorem_4_parameters(deep, nothing, [np.array([1.0, 0.0]), np.array([0.0, 1.0, 0.0])]).any()
    with pytest.raises(ProblemError, match=r"directions\[1\]: expected 0 orthonormal columns of length 3"):
        cf.theorem_4_parameters(deep, nothing, [np.array([1.0, 0.0]), np.array([0.0, 1.0])])


@pytest.mark.parametrize("off", [1e-11, 1e-13])
def test_directions_are_orthonormal_to_a_trillionth(off: float) -> None:
    network = LinearNetwork((3, 2, 1))
    direction = np.array([1.0 + off / 2, 0.0])
    if off > 1e-12:
        with pytest.raises(ProblemError, match=r"directions\[0\]: expected 1 orthonormal columns"):
            cf.theorem_4_parameters(network, np.ones(3), [direction])
    else:
        np.testing.assert_allclose(network.predictor(cf.theorem_4_parameters(network, np.ones(3), [direction])), 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_near_copies_of_a_column_are_no_second_choice(seed: int) -> None:
    """Clusters of one, two and six columns that are parallel up to 1e-12: one of each is kept.

    In an orthonormal basis of the row space the columns of a cluster share its length, so those of the pair are
    longer than any of the six: without deflation both of them would be chosen.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    cluster = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2])
    columns = directions[:, cluster] * (1 - 0.01 * rng.random(9)) + 1e-12 * rng.standard_normal((3, 9))
    order = rng.permutation(9)
    rows, c = columns[:, order], rng.standard_normal(9)
    sparse = c + cf.lemma_6_sparse_drift(c, rows)
    kept = np.flatnonzero(sparse)
    assert sorted(cluster[order[kept]]) == [0, 1, 2]
    np.testing.assert_allclose(rows @ sparse, rows @ c, atol=1e-13)


def test_results_are_frozen_and_compared_by_identity() -> None:
    for result in (cf.lemma_3_min_norm(np.eye(2), np.ones(2)), cf.counterexample_d41()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.__setattr__(dataclasses.fields(result)[0].name, None)
        assert len({result, dataclasses.replace(result)}) == 2


@pytest.mark.parametrize("factor", [2.0**-70, 2.0**90])
@pytest.mark.parametrize("columns", [None, 2])
def test_ranks_do_not_depend_on_the_scale_of_rows(factor: float, columns: int | None) -> None:
    """A row 2^-70 times as long is still an equation, as it is for `solve`."""
    rng = np.random.default_rng(0)
    X, v = rng.standard_normal((3, 7)), rng.standard_normal(7)
    y = rng.standard_normal(3 if columns is None else (3, columns))
    units = np.array([1.0, factor, 1.0])
    scaled, label = X * units[:, None], (y.T * units).T
    assert cf.row_space_basis(scaled).shape == (3, 7)
    assert np.allclose(cf.project_onto_span(scaled, v), cf.project_onto_span(X, v), atol=1e-14)
    usual, found = cf.lemma_3_min_norm(X, y), cf.lemma_3_min_norm(scaled, label)
    assert found.rank == usual.rank == 3
    assert np.allclose(found.theta, usual.theta, rtol=1e-13)
    assert np.allclose((found.nu.T * units).T, usual.nu, rtol=1e-12)
    problem = xu.UnlearningProblem(v, scaled, xu.SquaredL2())
    assert np.allclose(xu.solve(problem).theta, cf.project_onto_span(scaled, v), atol=1e-12)
