"""The maximum-margin problem: what retraining a classifier tends to, with margins in place of labels that are met.

Cross-entropy on data that can be separated has no minimiser; gradient descent on it runs towards the direction of the
shortest theta with margins of 1 (Soudry et al., J. Mach. Learn. Res. 19, 2018).  So this is the answer of retraining
on the retained data alone, and a sample without a multiplier may be forgotten without any change.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from exact_unlearn import modules
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import DENSE_LIMIT, Array, DenseJacobian, real_array, to_rational
from exact_unlearn.models import LinearModel
from exact_unlearn.models.layout import positive_int
from exact_unlearn.problem import UnlearningProblem, exact_problem
from exact_unlearn.regularizers import PredictorNorm, SquaredL2

Bias = Literal["none", "penalized", "free"]


def margin_problem(
    features: Any,
    labels: Any,
    bias: Bias = "none",
    *,
    model: Any = None,
    theta_star: Any = None,
    regularizer: Any = None,
    drift_penalty: Any = None,
    free: Any = None,
    classes: int | None = None,
) -> UnlearningProblem:
    """The least 1/2 |theta|^2 with a margin of 1 on every sample, as a problem whose rows read >=.

    Labels -1 and 1:     y_i f(theta, x_i) >= 1.
    Labels 0 ... k - 1:  f_{y_i}(theta, x_i) - f_j(theta, x_i) >= 1 for every other class j; rows are ordered by sample,
    then by j.

    features: (n_r, m); n_r = 0 is allowed.  labels: (n_r,); if all of them are 1 they are of the first kind.
    bias: "none"; "penalized": a constant input 1, whose weights count in R; "free": one whose weights do not.  The
    constant is the last input, so theta is (w_1, b_1, w_2, b_2, ...), a pair for every output.
    model: None for the linear model, of one output for labels -1 and 1 and of k for k classes; or any model with as
    many outputs that is affine in what `free` lets move (Perceptron with free="c").
    theta_star: (d,), from where drifts are counted; None for 0, with the linear model only.
    regularizer: R; None for 1/2 |theta|^2.  drift_penalty, free: as in surrogate_problem.
    classes: k; None for the outputs of `model`, or as many as there are labels.

    Samples with a multiplier of 0 may be forgotten without any change; the others are the support vectors.  Where no
    parameters separate the data, `solve` and `certify` end with a Farkas vector.

    Raises ProblemError, one sentence, on labels of another kind and on models that are not affine in what moves.

    >>> margin_problem([[2.0, 0.0], [0.0, 1.0]], [1, -1])
    <UnlearningProblem: squared_l2; 2 constraints (2 of them >=), 2 parameters>
    """
    if not isinstance(bias, str) or bias not in get_args(Bias):
        raise ProblemError(f"bias: expected one of {', '.join(get_args(Bias))}, got {bias!r:.80}")
    if isinstance(regularizer, PredictorNorm):
        raise ProblemError("regularizer: PredictorNorm belongs to outputs that are kept; for margins use SquaredL2")
    x, y = real_array("features", features, 2), real_array("labels", labels, 1)
    if not x.shape[1]:
        raise ProblemError(f"features: expected at least one column, got shape {x.shape}")
    if len(x) != y.size:
        raise ProblemError(f"labels: expected {len(x)} entries, one per row of features, got {y.size}")
    k = _classes(y, model, classes)
    if max(y.size, 1) * (k or 1) ** 2 * x.shape[1] > DENSE_LIMIT:
        raise ProblemError(
            f"features: a jacobian for {y.size} samples of {x.shape[1]} features and {k or 1} outputs has more entries "
            f"than the {DENSE_LIMIT} that the reference solver takes"
        )
    if model is None:
        x, model, weights = _linear(x, k or 1, bias)
        theta_star = np.zeros(model.n_parameters) if theta_star is None else theta_star
        regularizer = _regularizer(regularizer, weights)
    elif bias != "none":
        raise ProblemError(f"bias: expected 'none' beside a model, which has its own biases, got {bias!r}")
    regularizer = SquaredL2() if regularizer is None else regularizer
    outputs = exact_problem(model, theta_star, x, np.zeros((len(x), k or 1)), regularizer, free)  # J D = -f(theta*, x)
    rows, rhs = _margins(np.asarray(outputs.jacobian), -outputs.rhs, y, k)
    every = np.ones(len(rows), dtype=bool)
    theta_star, regularizer, free = outputs.theta_star, outputs.regularizer, outputs.free
    return UnlearningProblem(theta_star, DenseJacobian(rows), regularizer, drift_penalty, free, rhs, every)


def _margins(J: Array, f: Array, y: Array, k: int | None) -> tuple[Array, Array]:
    """The rows of the margins, and 1 minus what they are at theta*; J and f sample by sample, output by output."""
    if k is None:
        sign = to_rational(y) if J.dtype == object else y.astype(np.float64)
        return sign[:, None] * J, 1 - sign * f
    first = k * np.arange(y.size)
    own = np.repeat(first + y.astype(np.int64), k - 1)
    others = (first[:, None] + _others(y.astype(np.int64), k)).reshape(-1)
    return J[own] - J[others], 1 - (f[own] - f[others])


def _others(y: Array, k: int) -> Array:
    """(n, k - 1): the classes that a sample is not of, in their order."""
    rest = np.broadcast_to(np.arange(k - 1), (y.size, k - 1))
    return np.asarray(rest + (rest >= y[:, None]))


def _linear(x: Array, outputs: int, bias: Bias) -> tuple[Array, LinearModel, Array | None]:
    """Features with their constant, the model on them, and the weights of R where a bias does not count."""
    if bias == "none":
        return x, LinearModel(x.shape[1], outputs), None
    one = np.ones((len(x), 1))
    x = np.concatenate([x, to_rational(one) if x.dtype == object else one], axis=1)
    weights = np.tile(np.arange(x.shape[1]) < x.shape[1] - 1, outputs).astype(np.float64)
    return x, LinearModel(x.shape[1], outputs), weights if bias == "free" else None


def _regularizer(regularizer: Any, weights: Array | None) -> Any:
    if weights is None:
        return regularizer
    if regularizer is not None:
        raise ProblemError(
            "bias: 'free' is about 1/2 |theta|^2; give other regularizers a weight of 0 at every bias, and 'penalized'"
        )
    return SquaredL2(weights)


def _classes(y: Array, model: Any, classes: Any) -> int | None:
    """k, or None for labels -1 and 1."""
    if modules.is_module(model) or modules.is_module_model(model):
        raise ProblemError(
            "model: a torch module cannot say what it is affine in; give the inputs of its last layer as features"
        )
    given = getattr(model, "n_outputs", 1) if model is not None else 1
    seen = sorted(set(y.tolist()))
    if classes is None and given > 1:
        classes = given
    elif classes is None and set(seen) <= {-1, 1}:
        return None
    k = int(seen[-1]) + 1 if classes is None else positive_int("classes", classes)
    wrong = next((label for label in seen if label != int(label) or not 0 <= label < k), None)
    if wrong is not None:
        expected = "-1 and 1, or 0 to k - 1" if classes is None else f"whole numbers from 0 on, for {k} classes"
        raise ProblemError(f"labels: expected {expected}, got {float(wrong):g}")
    absent = next((label for label in range(k) if label not in seen), None)
    if classes is None and absent is not None:
        raise ProblemError(
            f"labels: expected every class from 0 up to the largest, none is {absent}; say how many `classes` there are"
        )
    if k < 2:
        raise ProblemError("classes: expected at least 2, got 1")
    if model is not None and given != k:
        raise ProblemError(f"model: expected {k} outputs, one per class, got {given}")
    return k
