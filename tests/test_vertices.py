"""Diagonal networks of three layers or more: the best vertex, through every door, against second sides of its own."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.forms import Form, Part, Power
from exact_unlearn.jacobian import to_rational
from exact_unlearn.predictors import Predictor
from exact_unlearn.solution import Status
from exact_unlearn.testing import check_regularizer

Array = np.ndarray[Any, Any]
X, Y = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]), np.array([3.0, 1.0])


def posed(x: Any, y: Any, depth: int = 3) -> Any:
    return xu.global_problem(xu.DiagonalNetwork(np.shape(x)[1], depth), x, y)


def brute_force(x: Array, y: Array, depth: int) -> float:
    """The least sum over all solutions with so many columns as there are rows, in floats."""
    sums = []
    for columns in itertools.combinations(range(x.shape[1]), np.linalg.matrix_rank(x)):
        w, _, rank, _ = np.linalg.lstsq(x[:, columns], y)
        if rank == len(columns) and np.allclose(x[:, columns] @ w, y):
            sums.append(depth / 2 * (np.abs(w) ** (2 / depth)).sum())
    return float(min(sums))


@pytest.mark.parametrize(("n", "m", "depth"), [(1, 4, 3), (2, 5, 4), (3, 7, 3), (4, 9, 6), (3, 6, 64), (5, 5, 3)])
def test_the_optimum_is_that_of_every_other_way(n: int, m: int, depth: int) -> None:
    rng = np.random.default_rng([n, m, depth])
    x, y = rng.standard_normal((n, m)), rng.standard_normal(n)
    problem = posed(x, y, depth)
    solution, proof = xu.solve(problem), xu.certify(problem)
    assert (proof.proof, proof.unique, proof.gap, proof.distance) == ("exact", True, 0, 0)
    assert float(proof.upper) == pytest.approx(brute_force(x, y, depth), rel=1e-10)
    naive = xu.diagonal_minimum(xu.DiagonalNetwork(m, depth), x, y)
    assert (naive.predictors == proof.point).all()
    assert max(naive.lower, proof.lower) <= min(naive.upper, proof.upper)
    assert proof.upper - proof.lower <= proof.upper / 2**390
    assert solution.status is Status.OPTIMAL
    assert solution.is_optimal()
    assert (solution.theta == proof.theta).all()
    assert xu.judge(problem, solution).optimal
    network = xu.global_network(problem, proof)
    assert network.value == pytest.approx(float(proof.upper), rel=1e-13)
    assert (network.model.predict(network.theta, to_rational(x))[:, 0] == to_rational(y)).all()


@pytest.mark.parametrize("depth", [3, 5])
def test_no_descent_on_the_network_itself_is_below(depth: int) -> None:
    """1/2 |theta|^2 under a growing penalty, from random weights, then made to fit; most end at local minima."""
    rng = np.random.default_rng(depth)
    x, y = rng.standard_normal((2, 5)), 3 * rng.standard_normal(2)
    lower = float(xu.certify(posed(x, y, depth)).lower)
    model, ends = xu.DiagonalNetwork(5, depth), []
    for _ in range(12):
        theta = 1.0 + 0.7 * rng.standard_normal(model.n_parameters)
        theta *= rng.choice([-1.0, 1.0], theta.size)
        for weight in (1e3, 1e5):  # the origin is a local minimum of any of them

            def objective(v: Array, weight: float = weight) -> tuple[float, Array]:
                off = model.predict(v, x)[:, 0] - y
                pull = weight * (model.jacobian(v, x).matrix.T @ off)
                return float(v @ v + weight * off @ off) / 2, v + pull

            theta = minimize(objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": 3000}).x
        w = model.predictor(theta)
        large = np.argsort(-np.abs(w))[:2]
        w = np.zeros(5)
        w[large] = np.linalg.solve(x[:, large], y)
        ends.append(depth / 2 * (np.abs(w) ** (2 / depth)).sum())
    assert min(ends) >= lower * (1 - 1e-9)
    assert min(ends) <= lower * 1.05
    assert max(ends) > lower * 1.05  # a local minimum


def test_ties_are_exact_where_they_are_symmetric_and_enclosed_where_they_are_not() -> None:
    tied = xu.certify(posed([[1.0, 1.0, -1.0]], [2.0]))
    assert (tied.proof, tied.unique, tied.distance) == ("exact", None, None)
    assert tied.check().proved
    rational = xu.certify(posed([[1.0, 8.0, 27.0, 1.0]], [216.0]))
    assert (rational.lower, rational.upper, rational.unique) == (6, 6, True)  # 8^(2/3) = 4 by the third column
    two = xu.certify(posed(np.array([[2.0, 0.0, 1.0, 1.0], [0.0, 2.0, 1.0, 1.0]]), np.array([2.0, 2.0])))
    assert (two.proof, two.unique) == ("exact", None)  # columns 2 and 3 are the same, so are their vertices


def test_sums_of_other_roots_that_are_equal_are_enclosed() -> None:
    """sqrt 2 + sqrt 18 = sqrt 32: (2, 18, 0) and (0, 0, 32) have one value at L = 4, which no digits can tell."""
    proof = xu.certify(posed([[16, 0, 1], [0, Fraction(16, 9), 1]], [32, 32], 4))
    assert (proof.proof, proof.unique) == ("enclosure", None)
    assert 0 < proof.gap < Fraction(1, 10**100)
    assert (proof.lower / 2) ** 2 <= 32 <= (proof.upper / 2) ** 2
    assert proof.check().proved
    assert xu.certify(posed([[16, 0, 1], [0, Fraction(16, 9), 1]], [32, 32], 3)).unique


def test_degenerate_data_are_ordinary() -> None:
    for x, y, value in (
        (np.zeros((0, 3)), [], 0.0),  # nothing retained
        (np.zeros((2, 3)), [0.0, 0.0], 0.0),  # samples that are 0
        (X, [0.0, 0.0], 0.0),
        (np.eye(3), [8.0, -1.0, 0.0], 7.5),
        (np.c_[X, X], Y, None),  # the same columns twice
        (np.r_[X, 3 * X[:1], np.zeros((1, 3))], [*Y, 9.0, 0.0], None),  # dependent rows
        (np.c_[X, np.zeros(2)], Y, None),  # a feature that is 0
    ):
        problem = posed(x, y)
        solution, proof = xu.solve(problem), xu.certify(problem)
        expected = float(xu.certify(posed(X, Y)).upper) if value is None else value
        assert float(proof.upper) == pytest.approx(expected, rel=1e-15)
        assert solution.value == pytest.approx(expected, rel=1e-13)
        assert (proof.proof, proof.check().proved, solution.is_optimal()) == ("exact", True, True)
    far = xu.certify(posed([[1e150, 1.0]], [8e-150], 7))
    assert float(far.upper) == pytest.approx(7 / 2 * 8e-300 ** (2 / 7), rel=1e-12)
    fractions = xu.certify(posed([[Fraction(1, 3), Fraction(1, 7)]], [Fraction(9, 8)]))
    assert fractions.upper == Fraction(3, 2) * Fraction(9, 4)  # (27/8)^(2/3)


def test_what_nothing_fits_ends_in_a_farkas_vector() -> None:
    for x, y in (([[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0]), ([[0.0, 0.0]], [1.0])):
        problem = posed(x, y)
        proof = xu.certify(problem)
        assert proof.proof == "infeasible"
        assert "no network of any width fits" in proof.check().sentences[0]
        assert xu.solve(problem).status is Status.INFEASIBLE


def test_rows_that_repeat_others_up_to_rounding_are_a_question() -> None:
    x = np.array([[0.1, 0.7, 0.3], [0.3, 2.1, 0.9]])
    problem = posed(x, [1.0, 3.0])
    with pytest.raises(xu.RankAmbiguityError):
        xu.certify(problem)
    intended = xu.certify(problem, tau=1e-12)
    assert intended.check(tau=1e-12).proved
    assert not intended.check().proved
    assert float(intended.upper) == pytest.approx(1.5 * (1 / 0.7) ** (2 / 3))
    assert xu.solve(problem).value == pytest.approx(1.5 * (1 / 0.7) ** (2 / 3))


def test_too_many_vertices_leave_an_interval() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 20)), rng.standard_normal(8)
    problem = posed(x, y)
    solution, proof = xu.solve(problem), xu.certify(problem)
    assert "125970 sets of 8 of 20 columns are more than the 20000 that are tried" in proof.message
    assert (proof.proof, solution.status, proof.check().proved) == ("repaired", Status.INTERVAL, True)
    shortest = xu.certify(xu.exact_problem(xu.LinearModel(20), np.zeros(20), x, y, xu.L1())).upper
    assert float(proof.lower) == pytest.approx(1.5 * float(shortest) ** (2 / 3), rel=1e-12)
    assert (solution.lower, solution.upper) == (float(proof.lower), float(proof.upper))
    assert solution.value == pytest.approx(solution.upper, rel=1e-14)
    assert xu.judge(problem, solution).outcome == "undecided"
    bounds = xu.judge(problem, solution.theta, xu.solve(xu.exact_problem(
        xu.LinearModel(20), np.zeros(20), x, y, xu.L1())).nu)  # fmt: skip
    assert float(bounds.nu_lower) == pytest.approx(float(proof.lower), rel=1e-6)


def test_a_surrogate_with_frozen_coordinates_and_another_start() -> None:
    """min over theta_0..2 of 2 sum |theta_j|^(1/2) subject to (1, 2, 1) . theta = 3; theta_3 = 4 stays."""
    problem = xu.UnlearningProblem([3.0, 1.0, -2.0, 4.0], [[1.0, 2.0, 1.0, 1.0]], xu.PowerSum(4), free=[0, 1, 2])
    proof = xu.certify(problem, xu.solve(problem))
    assert [str(v) for v in proof.point] == ["0", "3/2", "0", "4"]
    assert float(proof.upper) == pytest.approx(2 * math.sqrt(1.5) + 4)
    assert proof.unique
    nothing = xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.PowerSum(3), free=[])
    assert (xu.certify(nothing).proof, xu.certify(nothing).point.tolist()) == ("exact", [3, 1])


def test_files_say_the_same(tmp_path: Path) -> None:
    for suffix in ("npz", "safetensors", "json"):
        problem = posed(X, Y)
        problem.save(tmp_path / f"problem.{suffix}")
        again = xu.UnlearningProblem.load(tmp_path / f"problem.{suffix}")
        assert (again.regularizer.depth, again.origin.depth, again.version) == (3, 3, 2)
        xu.certify(again).save(tmp_path / "certificate.json")
        assert checker.check(tmp_path / f"problem.{suffix}", tmp_path / "certificate.json").proved
        xu.solve(problem).save(tmp_path / f"solution.{suffix}")
        assert xu.Solution.load(tmp_path / f"solution.{suffix}").is_optimal()


def test_the_regularizer_keeps_the_laws() -> None:
    check_regularizer(xu.PowerSum(3), 6)
    R = xu.PowerSum(5)
    assert (R.convex, R.integer, R.is_norm, R.has_conjugate) == (False, False, False, True)
    assert R.value([32.0, -1.0, 0.0]) == pytest.approx(12.5)
    assert (R.conjugate([0.0, 0.0]), R.conjugate([0.0, 1e-300])) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: xu.PowerSum(2), "depth: expected an integer from 3 to 64, got 2"),
        (lambda: xu.PowerSum(65), "depth: expected an integer from 3 to 64, got 65"),
        (lambda: xu.PowerSum(3.0), "depth: expected an integer from 3 to 64, got 3.0"),
        (lambda: xu.PowerSum(True), "depth: expected an integer from 3 to 64, got True"),
        (lambda: posed(X, Y, 65), "depth: expected an integer from 3 to 64"),
        (lambda: xu.PowerSum(3) + xu.L1(), "enumeration, which knows no sums"),
        (lambda: Form((Part(Power(3), factor=2),)), "enumeration, which knows no maps, centres and factors"),
        (lambda: xu.UnlearningProblem([1.0], [[1.0]], xu.PowerSum(3), xu.L1Drift(1)), "which know no drift penalty"),
        (lambda: xu.UnlearningProblem([1.0], [[1.0]], xu.PowerSum(3), at_least=[True]), "no rows that read >="),
        (lambda: xu.explicit_program(posed(X, Y)), "power_sum: it is concave on every orthant"),
        (lambda: xu.solve(posed(X, Y), solver="HIGHS"), "solver: power_sum is concave, which 'HIGHS' does not solve"),
        (lambda: xu.PowerSum(3).prox([1.0], 1.0), "the term 'power' has no prox"),
        (lambda: xu.unlearn_path(xu.LinearModel(2), [1.0, 2.0], [[1.0, 1.0]], xu.PowerSum(3)), "PowerSum is concave"),
        (lambda: Predictor("diagonal", (3, 3, 3, 3, 1), X, Y, "squared").require(posed(X, Y)), "regularizer: it"),
    ],
)  # fmt: skip
def test_what_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(xu.ProblemError, match=sentence):
        make()


def test_a_time_limit_is_kept() -> None:
    rng = np.random.default_rng(1)
    problem = posed(rng.standard_normal((5, 20)), rng.standard_normal(5))
    assert xu.solve(problem, time_limit=1e-3).status is Status.TIME_LIMIT
    assert xu.certify(problem, time_limit=1e-3).proof in ("none", "repaired")
