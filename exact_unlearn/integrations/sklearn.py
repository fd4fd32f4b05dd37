"""Estimators in scikit-learn's manner that can forget, with proofs.

    model = MinNormRegressor("l1").fit(X, y)
    model.unlearn([3, 17])            # as if it had been fitted without these samples
    model.certificates_[0].claim      # proved

A linear model with more features than samples interpolates; among all interpolating coefficients `fit` takes those
of the least R, and `unlearn` takes the fitted coefficients and the retained inputs and minimises R over what predicts
the same on them (the surrogate, which is exact for linear models: Theorem 2 of the paper).  The retained labels are not
read again where the fitted model interpolates them.  With fewer features than samples there is nothing to choose:
`fit` is least squares (of least R where columns depend), and `unlearn` is the same fit without the samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian

REGULARIZERS: dict[str, Any] = {"squared-l2": xu.SquaredL2, "l2": xu.L2, "l1": xu.L1, "linf": xu.LInf}

INTERPOLATES = 1e-8
"""Largest error on the retained labels, relative to them, with which the coefficients count as interpolating."""


class _MinNorm(BaseEstimator):  # type: ignore[misc]
    """What the regressor and the classifier share: columns of targets, one linear model each."""

    def __init__(self, regularizer: str = "squared-l2", fit_intercept: bool = True, certify: bool = False) -> None:
        self.regularizer = regularizer
        self.fit_intercept = fit_intercept
        self.certify = certify

    _kept: Array
    """Which samples of `fit` the model still knows."""

    def unlearn(self, index: Any) -> Any:
        """Forget the samples at `index` (positions in the data of `fit`, or a boolean mask over them); returns self.

        Positions always count in the data of `fit`, however many calls there have been.  A sample that has been
        forgotten already is an error.
        """
        check_is_fitted(self)
        gone = self._positions(index)
        keep = self._kept & ~gone
        X = self._design(self._X[keep])
        theta_star = self._coefficients
        targets = self._targets[keep]
        error = np.abs(X @ theta_star - targets).max(initial=0.0)
        fits = error <= INTERPOLATES * max(1.0, np.abs(targets).max(initial=0.0))
        self._solve(X, X @ theta_star if fits else targets, theta_star)
        self._kept = keep
        return self

    def _positions(self, index: Any) -> Array:
        n = len(self._kept)
        array = np.asarray(index)
        if array.dtype == bool:
            if array.shape != (n,):
                raise ProblemError(f"index: expected a mask of {n} entries, got shape {array.shape}")
            gone = array.copy()
        else:
            flat = array.reshape(-1)
            if flat.size and flat.dtype.kind not in "iu":
                raise ProblemError(f"index: expected integer positions or a boolean mask, got {index!r:.60}")
            if flat.size and (flat.min() < 0 or flat.max() >= n or np.unique(flat).size != flat.size):
                raise ProblemError(f"index: expected distinct positions from 0 to {n - 1}, got {index!r:.60}")
            gone = np.zeros(n, dtype=bool)
            gone[flat.astype(int)] = True
        if (gone & ~self._kept).any():
            raise ProblemError(f"index: sample {int(np.flatnonzero(gone & ~self._kept)[0])} has been forgotten already")
        return gone

    @property
    def retained_(self) -> Array:
        """Positions of the samples that the model still knows, in the data of `fit`."""
        check_is_fitted(self)
        return np.flatnonzero(self._kept)

    def _fit(self, X: Array, targets: Array) -> None:
        if self.regularizer not in REGULARIZERS:
            raise ValueError(f"regularizer: expected one of {', '.join(REGULARIZERS)}, got {self.regularizer!r}")
        self._X, self._targets = X, targets
        self._kept = np.ones(len(X), dtype=bool)
        design = self._design(X)
        self._solve(design, targets, np.zeros((design.shape[1], targets.shape[1])))

    def _design(self, X: Array) -> Array:
        return np.hstack([X, np.ones((len(X), 1))]) if self.fit_intercept else X

    def _solve(self, X: Array, targets: Array, theta_star: Array) -> None:
        """The least R among the least-squares solutions of X theta = targets, column by column.

        J holds an orthonormal basis of the row space of X: with it every problem is feasible, also where rows depend.
        """
        d = X.shape[1]
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
        rank = int((s > max(X.shape) * np.finfo(np.float64).eps * s.max(initial=0.0)).sum())
        J = Vt[:rank]
        goals = (U[:, :rank].T @ targets) / s[:rank, None]
        weights = None if not self.fit_intercept else np.append(np.ones(d - 1), 0.0)
        kind = REGULARIZERS[self.regularizer]
        answers, certificates = [], []
        for column, start in zip(goals.T, theta_star.T, strict=True):
            problem = xu.UnlearningProblem(start, DenseJacobian(J), kind(weights), rhs=column - J @ start)
            solution = xu.solve(problem)
            # Where the optimum is 0 no relative accuracy can be claimed for a float; a proof can still be had.
            proof = xu.certify(problem, solution) if self.certify or not solution.is_optimal() else None
            if proof is not None and proof.proof not in ("exact", "enclosure"):
                solution.require_optimal()
            certificates.append(proof)
            answers.append(solution.theta if proof is None or proof.theta is None else proof.theta)
        self._coefficients = np.array(answers).reshape(-1, d).T
        self.certificates_ = certificates if self.certify else None

    def _linear(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self._design(X) @ self._coefficients)

    def _published(self) -> tuple[Array, Array]:
        coefficients = self._coefficients
        if not self.fit_intercept:
            return coefficients.T, np.zeros(coefficients.shape[1])
        return coefficients[:-1].T, coefficients[-1]


class MinNormRegressor(MultiOutputMixin, RegressorMixin, _MinNorm):  # type: ignore[misc]
    """The linear model of least R among those that fit, and its unlearning.

    regularizer: "squared-l2", "l2" (the same answer), "l1" or "linf", of the coefficients without the intercept.
    certify: also prove every answer; `certificates_` then has one certificate per target.
    Attributes: coef_ (d,) or (l, d), intercept_, certificates_, retained_, n_features_in_.
    """

    def fit(self, X: Any, y: Any) -> MinNormRegressor:
        """Fit; X (n, d), y (n,) or (n, l)."""
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        self._flat = y.ndim == 1
        self._fit(X, np.asarray(y, dtype=np.float64).reshape(len(X), -1))
        return self

    @property
    def coef_(self) -> Array:
        """(d,), or (l, d) where y had l columns."""
        check_is_fitted(self)
        return self._published()[0][0] if self._flat else self._published()[0]

    @property
    def intercept_(self) -> Any:
        """A float, or (l,)."""
        check_is_fitted(self)
        return float(self._published()[1][0]) if self._flat else self._published()[1]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_coefficients")

    def predict(self, X: Any) -> Array:
        """(n,) or (n, l)."""
        values = self._linear(X)
        return values[:, 0] if self._flat else values


class MinNormClassifier(ClassifierMixin, _MinNorm):  # type: ignore[misc]
    """One linear model of least R per class, fitted to targets +1 (its samples) and -1 (the others).

    Two classes share one.  A class all of whose samples are forgotten keeps its place in classes_; its model then
    fits -1 everywhere.  Parameters and attributes as in MinNormRegressor.
    """

    def fit(self, X: Any, y: Any) -> MinNormClassifier:
        """Fit; X (n, d), y (n,) labels of any kind."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected at least two classes, got one class, {self.classes_[0]!r}")
        columns = [1] if len(self.classes_) == 2 else list(range(len(self.classes_)))
        self._fit(X, np.where(labels[:, None] == np.array(columns), 1.0, -1.0))
        return self

    @property
    def coef_(self) -> Array:
        """(1, d) for two classes, else (classes, d)."""
        check_is_fitted(self)
        return self._published()[0]

    @property
    def intercept_(self) -> Array:
        """(1,) for two classes, else (classes,)."""
        check_is_fitted(self)
        return self._published()[1]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_coefficients")

    def decision_function(self, X: Any) -> Array:
        """(n,) for two classes, else (n, classes)."""
        values = self._linear(X)
        return values[:, 0] if len(self.classes_) == 2 else values

    def predict(self, X: Any) -> Array:
        """(n,) labels."""
        values = self.decision_function(X)
        picks = (values > 0).astype(int) if values.ndim == 1 else values.argmax(axis=1)
        return np.asarray(self.classes_[picks])
