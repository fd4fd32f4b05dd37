"""Diagonal networks: the least network of two layers is a certified linear program, of more the best vertex."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.concave import _integer_root, diagonal_minimum
from exact_unlearn.jacobian import to_rational

RNG = np.random.default_rng(5)


def data(seed: int, n: int = 3, m: int = 6) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, size=(n, m)).astype(float)
    return x, x @ rng.integers(-3, 4, size=m)


@pytest.mark.parametrize("seed", range(4))
def test_two_layers_are_the_certified_linear_program(seed: int) -> None:
    x, y = data(seed)
    found = diagonal_minimum(xu.DiagonalNetwork(6, 2), x, y)
    certificate = xu.certify(xu.exact_problem(xu.LinearModel(6), np.zeros(6), x, y, xu.L1()))
    assert (found.lower, found.upper) == (certificate.lower, certificate.upper)
    assert all(abs(w).sum() == certificate.upper for w in found.predictors)


@pytest.mark.parametrize("depth", [2, 3, 4, 7])
def test_the_network_has_the_value_and_no_other_one_is_below(depth: int) -> None:
    x, y = data(depth)
    model = xu.DiagonalNetwork(6, depth)
    found = diagonal_minimum(model, x, y)
    assert np.allclose(model.predict(found.theta, x)[:, 0], y, atol=1e-12)
    assert (found.theta**2).sum() / 2 == pytest.approx(found.value, rel=1e-13)
    exact = to_rational(x)
    for w in found.predictors:
        assert (exact.dot(w) == to_rational(y)).all()
    assert found.upper - found.lower <= Fraction(1, 10**100)
    for seed in range(40):
        theta = model.interpolating_parameters(x, y, np.random.default_rng(seed))
        assert (theta**2).sum() / 2 > found.value
        w = model.predictor(theta)
        assert depth / 2 * (np.abs(w) ** (2 / depth)).sum() >= found.value * (1 - 1e-12)


@pytest.mark.parametrize("depth", [3, 5])
def test_descent_ends_at_no_smaller_network(depth: int) -> None:
    """Along the kernel of X every line through the orthants: the sum is concave between the kinks."""
    x, y = data(depth + 10)
    found = diagonal_minimum(xu.DiagonalNetwork(6, depth), x, y)
    kernel = np.linalg.svd(x)[2][np.linalg.matrix_rank(x) :]
    least = np.linalg.lstsq(x, y)[0]
    for _ in range(30):
        w = least + RNG.normal(size=len(kernel)) @ kernel
        for _ in range(60):
            line = RNG.normal(size=len(kernel)) @ kernel
            steps = np.append(-w / line, 0.0)
            sums = (np.abs(w + steps[:, None] * line) ** (2 / depth)).sum(axis=1)
            w = w + steps[np.argmin(sums)] * line
        assert depth / 2 * (np.abs(w) ** (2 / depth)).sum() >= found.value * (1 - 1e-9)


def test_ties_are_told() -> None:
    found = diagonal_minimum(xu.DiagonalNetwork(2, 3), [[1.0, 1.0]], [1.0])
    assert found.predictors.tolist() == [[1, 0], [0, 1]]
    assert repr(found) == ("<DiagonalMinimum: 1/2 |theta|^2 = 1.5, the least of 2 vertices, 2 of them with this value>")


def test_degenerate_data() -> None:
    model = xu.DiagonalNetwork(3, 3)
    assert diagonal_minimum(model, np.zeros((0, 3)), []).value == 0.0
    assert diagonal_minimum(model, np.zeros((2, 3)), [0.0, 0.0]).value == 0.0
    x, y = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), np.array([1.0, -2.0])
    once = diagonal_minimum(model, x, y)
    again = diagonal_minimum(model, [*x, *x, 3 * x[0]], [*y, *y, 3 * y[0]])
    assert once.upper == again.upper
    assert once.upper == diagonal_minimum(model, to_rational(x), to_rational(y)).upper
    full = diagonal_minimum(model, np.eye(3), [8.0, -1.0, 0.0])
    assert (full.lower, full.upper, full.vertices) == (Fraction(15, 2), Fraction(15, 2), 1)
    far = diagonal_minimum(model, 1e-150 * np.eye(3), [1e150, 0.0, 0.0])
    assert far.value == pytest.approx(1.5e200)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((xu.LinearModel(3), np.eye(3), np.ones(3)), "model: expected a DiagonalNetwork, got LinearModel"),
        ((xu.DiagonalNetwork(3, 1), np.eye(3), np.ones(3)), "model: a network of depth 1 is the linear model"),
        ((xu.DiagonalNetwork(3, 3), np.ones((2, 3)), [0.0, 1.0]), "y_retain: X w = y has no solution"),
        ((xu.DiagonalNetwork(3, 3), np.eye(2), np.ones(2)), "x_retain: expected shape"),
        ((xu.DiagonalNetwork(3, 3), np.eye(3), np.ones(2)), "y_retain: expected shape"),
        ((xu.DiagonalNetwork(3, 3), np.full((1, 3), np.nan), [0.0]), "x_retain: expected finite numbers"),
        (
            (xu.DiagonalNetwork(40, 3), RNG.normal(size=(20, 40)), np.ones(20)),
            "sets of columns are more than the 20000",
        ),
        ((xu.DiagonalNetwork(3, 3), np.eye(3), np.ones(3), 0), "limit: expected an integer >= 1, got 0"),
    ],
)
def test_what_is_refused(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(xu.ProblemError, match=sentence):
        diagonal_minimum(*arguments)


def test_integer_roots() -> None:
    for degree in (2, 3, 5, 8):
        for base in (0, 1, 2, 3, 10**20, 2**64):
            for value in {max(0, base**degree + step) for step in (-1, 0, 1)}:
                root = _integer_root(value, degree)
                assert root**degree <= value < (root + 1) ** degree
