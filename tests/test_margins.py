"""The maximum-margin problem: its rows by definition, its optimum by trying every set of tight rows, and bad labels."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.jacobian import to_rational

RNG = np.random.default_rng(12)
X = RNG.integers(-4, 5, size=(7, 4)).astype(float)
SIGNS, KINDS = np.array([1, -1, 1, -1, 1, -1, -1]), np.array([0, 1, 2, 0, 1, 2, 2])


def by_hand(x: Any, y: Any, k: int | None, theta: Any) -> list[Any]:
    """1 minus the margins, one by one, from theta as a matrix of one row per output; at most 0 where they are kept."""
    W = np.asarray(theta).reshape(k or 1, -1)
    if k is None:
        return [1 - int(label) * row.dot(W[0]) for row, label in zip(x, y, strict=True)]
    rows = zip(x, y, strict=True)
    return [1 - row.dot(W[int(label)] - W[j]) for row, label in rows for j in range(k) if j != label]


def with_one(x: Any) -> Any:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
@pytest.mark.parametrize(("labels", "k"), [(SIGNS, None), (KINDS, 3)])
def test_rows_are_the_margins(bias: Any, labels: Any, k: int | None) -> None:
    x = X if bias == "none" else with_one(X)
    theta_star, theta = RNG.normal(size=(2, x.shape[1] * (k or 1)))
    problem = xu.margin_problem(X, labels, bias, theta_star=theta_star)
    shortfall = problem.rhs - problem.jacobian.matvec(theta - theta_star)
    assert np.allclose(shortfall, by_hand(x, labels, k, theta))
    assert problem.at_least.all()
    counted = np.tile(np.arange(x.shape[1]) < 4, k or 1) if bias == "free" else np.ones(theta.size)
    assert problem.objective(theta) == pytest.approx((counted * theta**2).sum() / 2)


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
@pytest.mark.parametrize(("labels", "k"), [(np.array([1, 1, -1, 1, -1, -1, 1]), None), (KINDS, 3)])
def test_the_optimum_by_a_program_of_another_hand(bias: Any, labels: Any, k: int | None) -> None:
    """Weights and biases as variables of their own, margins as sentences about outputs."""
    W, b = cp.Variable((k or 1, 4)), cp.Variable(k or 1)
    rows = [b == 0] if bias == "none" else []
    for x, label in zip(X, labels, strict=True):
        f = W @ x + b
        rows += [label * f[0] >= 1] if k is None else [f[label] - f[j] >= 1 for j in range(k) if j != label]
    cost = cp.sum_squares(W) / 2 + (cp.sum_squares(b) / 2 if bias == "penalized" else 0)
    value = cp.Problem(cp.Minimize(cost), rows).solve(solver="CLARABEL")
    certificate = xu.certify(xu.margin_problem(X, labels, bias))
    if np.isinf(value):
        assert certificate.proof == "infeasible"
    else:
        assert float(certificate.upper) == pytest.approx(float(value), rel=1e-6)


def shortest(rows: Any) -> Fraction | None:
    """The least 1/2 |theta|^2 with rows.theta >= 1, by trying every set of tight rows; None if nothing fits."""
    best: Fraction | None = None
    for size in range(len(rows) + 1):
        for tight in combinations(range(len(rows)), size):
            chosen = rows[list(tight)].reshape(size, rows.shape[1])
            found = rational.min_norm(chosen, rational.rationals([1] * size, 1))
            if found is not None and all(rational.matmul(rows, found[0]) >= 1):
                value = sum((t * t for t in found[0]), start=Fraction(0)) / 2
                best = value if best is None else min(best, value)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_the_certified_optimum_is_the_shortest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-3, 4, size=(5, 3)).astype(float), rng.choice([-1, 1], size=5)
    certificate = xu.certify(xu.margin_problem(x, y))
    truth = shortest(to_rational(y[:, None] * x))
    assert certificate.check().proved
    if truth is None:
        assert certificate.proof == "infeasible"
    else:
        assert (certificate.lower, certificate.upper) == (truth, truth)


def test_fractions_stay_fractions() -> None:
    third = xu.margin_problem(to_rational(X) / 3, KINDS)
    assert third.is_rational
    assert xu.certify(third).upper == 9 * xu.certify(xu.margin_problem(X, KINDS)).upper
    free = xu.margin_problem(to_rational(X) / 3, KINDS, bias="free")
    assert free.is_rational


@pytest.mark.parametrize("labels", [SIGNS, KINDS])
def test_only_support_vectors_hold_theta(labels: Any) -> None:
    certificate = xu.certify(problem := xu.margin_problem(X, labels, bias="penalized"))
    per_sample = problem.n_constraints // len(X)
    support = (xu.solve(problem).nu > 0).reshape(len(X), per_sample).any(axis=1)
    assert not support.all()
    classes = None if per_sample == 1 else 3
    less = xu.certify(xu.margin_problem(X[support], labels[support], bias="penalized", classes=classes))
    assert np.array_equal(less.point, certificate.point)


def test_two_classes_as_such_and_as_signs_are_one_problem() -> None:
    """Of two outputs only the difference matters: at the optimum w_1 = -w_0, and 1/2 (|w_0|^2 + |w_1|^2) is half of
    1/2 |w_1 - w_0|^2.
    """
    signs = xu.certify(xu.margin_problem(X, SIGNS, bias="free"))
    both = xu.certify(xu.margin_problem(X, (SIGNS + 1) // 2, bias="free"))
    assert both.upper == signs.upper / 2


def test_any_model_that_is_affine_in_what_moves() -> None:
    """The last layer of a perceptron is the linear model on its features; the frozen part adds a constant."""
    model = xu.Perceptron(4, 6, "relu", 3)
    theta = RNG.integers(-2, 3, size=model.n_parameters).astype(float)
    problem = xu.margin_problem(X, KINDS, model=model, theta_star=theta, free="c")
    plain = xu.margin_problem(model.features(theta, X), KINDS)
    constant = Fraction((theta[model.blocks["A"]] ** 2).sum()) / 2
    assert xu.certify(problem).upper == xu.certify(plain).upper + constant
    assert np.array_equal(problem.free, np.arange(theta.size) < 18)
    with pytest.raises(xu.ProblemError, match="convex only where the model is affine"):
        xu.margin_problem(X, KINDS, model=model, theta_star=theta)


def test_other_regularizers_and_drift_penalties() -> None:
    sparse = xu.certify(xu.margin_problem(X, SIGNS, "penalized", regularizer=xu.L1()))
    assert sparse.proof == "exact"
    assert max(by_hand(with_one(to_rational(X)), SIGNS, None, sparse.point)) <= 0
    start = np.ones(15)
    near = xu.certify(xu.margin_problem(X, KINDS, "penalized", theta_star=start, drift_penalty=xu.SquaredDrift(9.0)))
    far = xu.certify(xu.margin_problem(X, KINDS, "penalized", theta_star=start))
    assert near.proof == far.proof == "exact"
    moved = [sum((t - 1) ** 2 for t in found.point) for found in (near, far)]
    assert moved[0] < moved[1] - Fraction(1, 100)


def test_degenerate_data() -> None:
    nothing = xu.margin_problem(np.zeros((0, 3)), [])
    assert xu.certify(nothing).upper == 0
    zero = xu.margin_problem([[0.0, 0.0], [1.0, 2.0]], [1, -1])
    assert xu.certify(zero).proof == "infeasible", "an input of 0 has no margin"
    assert xu.certify(xu.margin_problem([[0.0, 0.0], [1.0, 2.0]], [1, -1], bias="free")).upper == Fraction(2, 5)
    twice = np.concatenate([X, X[:2]]), np.concatenate([KINDS, KINDS[:2]])
    assert xu.certify(xu.margin_problem(*twice)).upper == xu.certify(xu.margin_problem(X, KINDS)).upper
    both = xu.certify(xu.margin_problem(np.concatenate([X, X[:1]]), [*SIGNS, -SIGNS[0]], bias="free"))
    assert both.proof == "infeasible"
    assert both.check().proved
    assert xu.solve(both.problem).status is xu.Status.INFEASIBLE
    alone = xu.certify(xu.margin_problem(X[:2], [1, 1], bias="free"))
    assert (alone.upper, alone.check().proved) == (0, True), "one class: the bias does it"
    absent = xu.margin_problem(X[:3], [1, 2, 2], classes=4)
    assert absent.jacobian.shape == (9, 16)


def test_files(tmp_path: Path) -> None:
    problem = xu.margin_problem(X, KINDS, bias="free")
    problem.save(tmp_path / "margins.json")
    again = xu.UnlearningProblem.load(tmp_path / "margins.json")
    assert xu.certify(again).upper == xu.certify(problem).upper


MODEL = xu.LinearModel(4, 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": [1, 2, 0]}, "labels: expected 7 entries, one per row of features, got 3"),
        ({"labels": [0.5] * 7}, "labels: expected -1 and 1, or 0 to k - 1, got 0.5"),
        ({"labels": [-1, 0, 1, 0, 1, 0, 1]}, "labels: expected -1 and 1, or 0 to k - 1, got -1"),
        ({"labels": [1, 2, 1, 2, 1, 2, 2]}, "labels: expected every class from 0 up to the largest, none is 0"),
        ({"labels": [0, 10**15] * 3 + [0]}, "none is 1; say how many `classes`"),
        ({"labels": KINDS, "classes": 2}, "labels: expected whole numbers from 0 on, for 2 classes, got 2"),
        ({"labels": SIGNS, "classes": 2}, "labels: expected whole numbers from 0 on, for 2 classes, got -1"),
        ({"labels": [0] * 7}, "classes: expected at least 2, got 1"),
        (
            {"labels": KINDS, "classes": 10**9},
            "features: a jacobian for 7 samples of 4 features and 1000000000 outputs",
        ),
        ({"labels": KINDS, "classes": 2.5}, "classes: expected an integer >= 1, got 2.5"),
        ({"labels": [np.nan] * 7}, "labels: expected finite numbers"),
        ({"labels": KINDS[:, None]}, "labels: expected 1 dimension"),
        ({"features": X[0]}, "features: expected 2 dimensions"),
        ({"features": X[:, :0]}, "features: expected at least one column"),
        ({"bias": "yes"}, "bias: expected one of none, penalized, free, got 'yes'"),
        ({"bias": "free", "regularizer": xu.L1()}, "bias: 'free' is about 1/2 .theta..2; give other regularizers"),
        ({"bias": "free", "model": MODEL, "theta_star": np.zeros(12)}, "bias: expected 'none' beside a model"),
        ({"model": MODEL}, "theta_star: needed, for a LinearModel holds no parameters"),
        ({"model": MODEL, "theta_star": np.zeros(12), "labels": SIGNS}, "from 0 on, for 3 classes, got -1"),
        ({"model": MODEL, "theta_star": np.zeros(12), "classes": 4}, "model: expected 4 outputs, one per class, got 3"),
        ({"model": xu.LinearModel(4), "theta_star": np.zeros(4)}, "model: expected 3 outputs, one per class, got 1"),
        ({"model": torch.nn.Linear(4, 3)}, "model: a torch module cannot say what it is affine in"),
        ({"regularizer": xu.PredictorNorm(xu.LinearNetwork((4, 2, 3)), np.ones(14))}, "regularizer: PredictorNorm"),
    ],
)
def test_what_is_refused(change: dict[str, Any], sentence: str) -> None:
    arguments: dict[str, Any] = {"features": X, "labels": KINDS, **change}
    with pytest.raises(xu.ProblemError, match=sentence):
        xu.margin_problem(**arguments)
