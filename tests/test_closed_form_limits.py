"""Where the closed forms decide: what counts as consistent, and what counts as rank."""

from __future__ import annotations

import numpy as np
import pytest

from exact_unlearn import closed_form as cf
from exact_unlearn.errors import ProblemError
from exact_unlearn.models import LinearNetwork

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
    """max(k, d) eps sigma_1: a singular value twice that is data, half of that is rounding."""
    limit = max(shape) * EPS
    for share, rank in ((2.0, 2), (0.5, 1)):
        X = np.zeros(shape)
        X[0, 0], X[1, 1] = largest, largest * limit * share
        assert len(cf.row_space_basis(X)) == rank
        y = np.zeros(shape[0])
        y[0] = 3.0 * largest
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
