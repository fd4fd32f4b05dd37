"""Groups that walls separate: the convex program of networks, and ordinary problems of that kind, to the last digit."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import ladder
from exact_unlearn.certify.dense import graded_inverse
from exact_unlearn.certify.exactlin import IntMatrix, Rationals, objects
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.nonneg import shortest, shortest_exactly
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rational import solve
from validation.attack.cells import instance

TO_SIXTY_DIGITS = Fraction(1, 10**60)


# ---------------------------------------------------------------- shortest vectors


def by_trying_all(M: np.ndarray, c: list[Fraction]) -> Fraction:
    """The least |c + M a|^2 with a >= 0, of all sets of columns with a multiplier."""
    rows, columns = M.shape
    best = sum((v * v for v in c), Fraction(0))
    for size in range(1, min(rows, columns) + 1):
        for chosen in combinations(range(columns), size):
            own = np.array([[Fraction(int(v)) for v in row] for row in M[:, list(chosen)]], dtype=object)
            a = solve(own.T @ own, -(own.T @ objects(c)))
            if a is not None and all(v >= 0 for v in a):
                best = min(best, sum(((x + v) ** 2 for x, v in zip(c, own @ a, strict=True)), Fraction(0)))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_shortest_vectors_are_those_of_the_best_set_of_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    M = rng.integers(-3, 4, (int(rng.integers(1, 4)), int(rng.integers(0, 6))))
    M[:, rng.random(M.shape[1]) < 0.2] = 0
    c = [Fraction(int(v), 7) for v in rng.integers(-9, 10, M.shape[0])]
    floats = shortest(M.astype(float), np.array([float(v) for v in c]))
    A = IntMatrix(np.array(M.tolist(), dtype=object).reshape(M.shape))
    for guess in ([Fraction(0)] * M.shape[1], [Fraction(max(float(v), 0.0)) for v in floats]):
        exactly = shortest_exactly(A, Rationals.of(c), guess)
        assert all(v >= 0 for v in exactly)
        vector = [x + sum(int(m) * a for m, a in zip(row, exactly, strict=True)) for x, row in zip(c, M, strict=True)]
        assert sum((v * v for v in vector), Fraction(0)) == by_trying_all(M, c)
    rounded = np.array([float(v) for v in c]) + M @ floats
    np.testing.assert_allclose(rounded @ rounded, float(by_trying_all(M, c)), atol=1e-12)


# ---------------------------------------------------------------- networks


def poisoned(seed: int) -> UnlearningProblem:
    """Eight samples of a sine, one of them poisoned and forgotten."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.sort(rng.uniform(-2, 2, 8)), np.ones(8)])
    retain = np.arange(8) != 4
    return xu.global_problem(xu.Perceptron(2, 8), x[retain], np.sin(2 * x[retain, 0]))


@pytest.mark.parametrize(("seed", "value"), [(0, 8.16034754), (1, 8.05342348), (2, 7.43838794), (3, 6.90953053)])
def test_the_least_network_is_known_to_sixty_digits(seed: int, value: float) -> None:
    problem = poisoned(seed)
    certificate = xu.certify(problem)
    assert certificate.proof == "enclosure", certificate.message
    assert certificate.gap <= TO_SIXTY_DIGITS
    assert certificate.check().proved
    assert abs(certificate.upper - Fraction(value)) <= Fraction(1, 10**8)
    solution = xu.solve(problem)
    assert float(certificate.lower) == pytest.approx(solution.value, rel=1e-5)  # a back end, left alone, does no better
    assert xu.certify(problem, solution).gap <= TO_SIXTY_DIGITS


@pytest.mark.parametrize("family", ["line", "cloud", "integers", "grid", "repeated", "deficient", "nothing", "taught"])
@pytest.mark.parametrize("index", [2, 3])
def test_networks_of_degenerate_samples_are_no_exception(family: str, index: int) -> None:
    certificate = xu.certify(instance(family, index))
    assert certificate.check().proved
    assert certificate.proof == "infeasible" or certificate.gap <= TO_SIXTY_DIGITS, certificate.message


@pytest.mark.parametrize("index", [0, 1, 2])
def test_outputs_that_are_those_of_a_smaller_network_but_for_rounding(index: int) -> None:
    """Neurons of the size of the rounding are part of the answer."""
    problem = instance("taught, rounded", index)
    certificate = xu.certify(problem)
    assert certificate.check().proved
    assert certificate.gap <= TO_SIXTY_DIGITS, certificate.message
    sizes = [np.linalg.norm(v) for v in certificate.theta.reshape(-1, 2) if v.any()]
    assert min(sizes) < 1e-9 * max(sizes)


def test_what_rounding_leaves_is_added_where_no_neurons_are_found_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = instance("taught, rounded", 0)
    best = xu.certify(problem)
    monkeypatch.setattr("exact_unlearn.certify.walls.Walls.finer", lambda _, point, bound: (point, bound))
    certificate = xu.certify(problem)
    assert certificate.proof == "repaired"
    assert "but for rounding" in certificate.message
    assert 0 < certificate.gap <= Fraction(1, 10**9)
    assert certificate.lower <= best.lower <= best.upper <= certificate.upper


@pytest.mark.parametrize("activation", ["relu", "abs"])
def test_values_that_are_known_by_thought(activation: str) -> None:
    """One neuron along each sample: y / |x|.  Opposite samples are one to absolute values, and two to a ReLU."""
    one, two = np.array([[3.0, 4.0]]), np.array([[3.0, 4.0], [-3.0, -4.0]])
    cases: list[tuple[Any, list[float], Fraction]] = [
        (one, [2.0], Fraction(2, 5)),
        (one, [0.0], Fraction(0)),
        (np.vstack([one, one, 0 * one]), [-2.0, -2.0, 0.0], Fraction(2, 5)),
        (two, [2.0, 2.0], Fraction(4 if activation == "relu" else 2, 5)),
    ]
    for x, y, value in cases:
        certificate = xu.certify(xu.global_problem(xu.Perceptron(2, 3, activation), x, y))
        assert certificate.check().proved
        assert certificate.lower <= value <= certificate.upper
        assert certificate.gap <= TO_SIXTY_DIGITS


@pytest.mark.parametrize(
    ("x", "y"), [([[1.0, 2.0], [0.0, 0.0]], [1.0, 1.0]), ([[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0])], ids=["zero", "labels"]
)
def test_what_no_network_fits_is_refuted(x: list[list[float]], y: list[float]) -> None:
    certificate = xu.certify(xu.global_problem(xu.Perceptron(2, 3), np.array(x), y))
    assert (certificate.proof, certificate.check().proved) == ("infeasible", True)


# ---------------------------------------------------------------- ordinary problems

PYTHAGOREAN = [(3, 4, 5), (5, 12, 13), (8, 15, 17), (7, 24, 25), (20, 21, 29)]


def planted(seed: int, walled: bool) -> tuple[UnlearningProblem, Fraction]:
    """A problem of groups of two, J_g^T nu being a Pythagorean vector where x_g is not 0, and its optimum.

    The first group comes several times.  walled: each copy on a side of its own of a wall through x_g, and columns that
    differ by what vanishes there.
    """
    rng = np.random.default_rng(seed)
    r = int(rng.integers(2, 6))
    nu = np.array([1, *rng.integers(-3, 4, r - 1)])
    columns, weights, x, walls, value = [], [], [], [], Fraction(0)
    for g in range(int(rng.integers(1, r + 1))):
        a, b, c = PYTHAGOREAN[rng.integers(len(PYTHAGOREAN))]
        u = np.array([a, b])[rng.permutation(2)] * rng.choice([-1, 1], 2)
        own, length = rng.integers(-3, 4, (r, 2)), int(rng.integers(1, 4))
        own[0] = u - nu[1:] @ own[1:]
        value += c * c * length
        for copy in range(1 + (g == 0) * int(rng.integers(1, 4))):
            normal, bend = np.array([-u[1], u[0]]) * rng.choice([-1, 1]), rng.integers(-2, 3, r)
            walls += [(2 * len(columns), normal)]
            columns.append(own - walled * np.sign(bend @ nu) * np.outer(bend, normal))
            weights.append(c)
            x.append(length * u * (copy == 0))
    J, theta = np.hstack(columns), np.concatenate(x)
    rows = np.zeros((len(walls) * walled, theta.size), dtype=int)
    for row, (at, normal) in zip(rows, walls, strict=False):
        row[at : at + 2] = normal
    A, start = np.vstack([J, rows]).astype(float), (not walled) * rng.integers(-4, 5, theta.size)
    measure = xu.GroupL2(np.repeat(np.arange(len(weights)), 2), np.array(weights, dtype=float))
    rhs, at_least = A @ (theta - start), (np.arange(len(A)) >= r) if walled else None
    return UnlearningProblem(start.astype(float), A, measure, rhs=rhs, at_least=at_least), value


@pytest.mark.parametrize("walled", [False, True], ids=["repeated", "walls"])
@pytest.mark.parametrize("seed", range(8))
def test_groups_whose_columns_depend_on_each_other(monkeypatch: pytest.MonkeyPatch, seed: int, walled: bool) -> None:
    def elsewhere(*_: Any) -> Any:
        raise FaceError("another way is not to be taken")

    problem, value = planted(seed, walled)
    monkeypatch.setattr(ladder, "enclose", elsewhere)
    certificate = xu.certify(problem, rows="literal")
    assert certificate.check().proved
    assert certificate.gap <= TO_SIXTY_DIGITS, certificate.message
    assert certificate.lower <= value <= certificate.upper


def test_without_a_float_solution_another_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Any:
        raise FaceError("no solver is installed")

    monkeypatch.setattr("exact_unlearn.certify.walls.whole", missing)
    certificate = xu.certify(poisoned(1))
    assert certificate.check().proved
    assert certificate.gap <= TO_SIXTY_DIGITS


def test_systems_of_graded_sizes_are_inverted() -> None:
    rng = np.random.default_rng(0)
    K, root = rng.normal(size=(3, 6)), rng.normal(size=(6, 6))
    M = np.block([[root @ root.T, -K.T], [K, np.zeros((3, 3))]])
    np.testing.assert_allclose(graded_inverse(root @ root.T, K) @ M, np.eye(9), atol=1e-9)
    H, K = np.diag([1e-17, 2e-17, 3.0]), np.array([[1.0, 1.0, 0.0]])
    found = graded_inverse(H, K)[:3, :3]
    direction = np.array([1.0, -1.0, 0.0])
    expected = np.outer(direction, direction) / 3e-17 + np.diag([0, 0, 1 / 3])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
