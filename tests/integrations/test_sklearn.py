"""Estimators that forget: scikit-learn's own checks, and fits without the forgotten samples."""

from __future__ import annotations

import re
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from exact_unlearn.errors import ProblemError
from exact_unlearn.integrations.sklearn import MinNormClassifier, MinNormRegressor


@parametrize_with_checks([MinNormRegressor(), MinNormClassifier()])
def test_what_scikit_learn_expects_of_estimators(estimator: Any, check: Any) -> None:
    try:
        check(estimator)
    except SkipTest as reason:  # two checks are about containers that are not installed or not switched on here
        assert re.search("pandas is not installed|SCIPY_ARRAY_API is not set", str(reason))  # noqa: PT017


def wide(seed: int = 0, n: int = 8, d: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=n)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("regularizer", ["squared-l2", "l2", "l1", "linf"])
def test_unlearning_is_the_fit_without_the_samples(regularizer: str, intercept: bool) -> None:
    X, y = wide()
    keep = np.setdiff1d(np.arange(8), [2, 5])
    model = MinNormRegressor(regularizer, fit_intercept=intercept).fit(X, y).unlearn([2, 5])
    again = MinNormRegressor(regularizer, fit_intercept=intercept).fit(X[keep], y[keep])
    np.testing.assert_allclose(model.predict(X[keep]), y[keep], atol=1e-8)
    np.testing.assert_allclose(model.coef_, again.coef_, atol=1e-7)
    assert model.retained_.tolist() == keep.tolist()


def test_the_least_norm_is_that_of_the_pseudo_inverse() -> None:
    X, y = wide()
    model = MinNormRegressor(fit_intercept=False).fit(X, y).unlearn([0])
    np.testing.assert_allclose(model.coef_, np.linalg.pinv(X[1:]) @ y[1:], atol=1e-10)


def test_retained_labels_are_not_read_again() -> None:
    X, y = wide()
    model = MinNormRegressor(fit_intercept=False).fit(X, y)
    model._targets[1:] += 1e-9  # within what counts as interpolation: the predictions are what is kept
    model.unlearn([0])
    np.testing.assert_allclose(X[1:] @ model.coef_, y[1:], atol=1e-12)


def test_one_after_the_other_is_all_at_once() -> None:
    X, y = wide()
    one = MinNormRegressor("l1").fit(X, y).unlearn([1]).unlearn([6]).unlearn([])
    both = MinNormRegressor("l1").fit(X, y).unlearn(np.isin(np.arange(8), [1, 6]))
    np.testing.assert_allclose(one.coef_, both.coef_, atol=1e-7)


@pytest.mark.parametrize("rows", [30, 21])
def test_more_samples_than_features_is_least_squares(rows: int) -> None:
    X, y = wide(n=rows, d=6)
    model = MinNormRegressor().fit(X, y).unlearn([0, 1, 2])
    peer = LinearRegression().fit(X[3:], y[3:])
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-9)
    assert model.intercept_ == pytest.approx(peer.intercept_, abs=1e-9)


def test_dependent_samples_and_columns() -> None:
    X, y = wide()
    X, y = np.vstack([X, X[:2], np.zeros(20)]), np.concatenate([y, y[:2], [0.0]])
    X[:, 3] = X[:, 4]
    model = MinNormRegressor(fit_intercept=False, certify=True).fit(X, y).unlearn([0, 9])
    keep = np.setdiff1d(np.arange(11), [0, 9])
    np.testing.assert_allclose(model.coef_, np.linalg.pinv(X[keep]) @ y[keep], atol=1e-9)
    assert model.certificates_[0].proof == "exact"


def test_everything_forgotten_is_the_simplest_model() -> None:
    X, y = wide()
    model = MinNormRegressor(certify=True).fit(X, y).unlearn(range(8))
    assert not model.coef_.any()
    assert model.certificates_[0].upper == 0
    assert not model.retained_.size


def test_several_targets_are_proved_one_by_one() -> None:
    X, y = wide()
    model = MinNormRegressor("l1", certify=True).fit(X, np.stack([y, -2 * y], axis=1)).unlearn([4])
    assert model.coef_.shape == (2, 20)
    assert [certificate.proof for certificate in model.certificates_] == ["exact", "exact"]
    assert all(certificate.check().proved for certificate in model.certificates_)


def test_classes() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(12, 30))
    labels = np.array(["cat", "dog", "owl"])[np.arange(12) % 3]
    model = MinNormClassifier().fit(X, labels)
    assert (model.predict(X) == labels).all()
    model.unlearn(np.flatnonzero(labels == "owl"))
    kept = X[labels != "owl"]
    assert (model.predict(kept) == labels[labels != "owl"]).all()
    np.testing.assert_allclose(model.decision_function(kept)[:, 2], -1.0, atol=1e-9)


def test_behind_a_pipeline() -> None:
    X, y = wide()
    line = make_pipeline(StandardScaler(), MinNormRegressor()).fit(X, y)
    line[-1].unlearn([3])
    assert abs(line.predict(X)[3] - y[3]) > 1e-3
    np.testing.assert_allclose(np.delete(line.predict(X), 3), np.delete(y, 3), atol=1e-8)


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ([8], r"index: expected distinct positions from 0 to 7, got \[8\]"),
        ([-1], "index: expected distinct positions from 0 to 7"),
        ([1, 1], "index: expected distinct positions"),
        ([0.5], "index: expected integer positions or a boolean mask"),
        (["a"], "index: expected integer positions or a boolean mask"),
        ([True, False], "index: expected a mask of 8 entries"),
        ([2], "index: sample 2 has been forgotten already"),
    ],
)
def test_what_is_no_index_is_one_sentence(index: Any, sentence: str) -> None:
    X, y = wide()
    model = MinNormRegressor().fit(X, y).unlearn([2])
    before = model.coef_.copy()
    with pytest.raises(ProblemError, match=sentence):
        model.unlearn(index)
    np.testing.assert_array_equal(model.coef_, before)


def test_an_unknown_regularizer_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="regularizer: expected one of squared-l2, l2, l1, linf, got 'l3'"):
        MinNormRegressor("l3").fit(*wide())
