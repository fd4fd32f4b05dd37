"""The independent side is right: textbook algorithms against answers known by hand, and against the package."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from exact_unlearn._validation.naive import Series
from scipy.optimize import linprog

import exact_unlearn as xu
from exact_unlearn._validation import instances, naive


def test_projection_and_min_norm_by_hand() -> None:
    rows = [[1, 1, 0], [0, 1, 1]]
    assert naive.project(rows, [3, 0, 0]).tolist() == [2, 1, -1]
    theta = naive.min_norm(rows, [1, 1], 3)
    assert theta is not None
    assert theta.tolist() == [Fraction(1, 3), Fraction(2, 3), Fraction(1, 3)]
    with pytest.raises(ValueError, match="no solution"):
        naive.min_norm([[1, 0], [2, 0]], [1, 3], 2)
    assert naive.rank([[1, 2], [2, 4], [0, 0]]) == 1
    assert naive.project([], [1, 2]).tolist() == [0, 0]


def test_smallest_support_by_hand() -> None:
    columns = instances.fractions([[1, 0, 1, 2], [0, 1, 1, 2]])
    assert naive.smallest_support(columns, [0, 0]) == 0
    assert naive.smallest_support(columns, [3, 3]) == 1
    assert naive.smallest_support(columns, [3, 1]) == 2
    assert naive.smallest_support(columns, [3, 3], [True, True, False, True]) == 0
    with pytest.raises(ValueError, match="not in the span"):
        naive.smallest_support(instances.fractions([[1], [0]]), [0, 1])


def test_shortest_vertices_by_hand() -> None:
    value, vertices = naive.shortest_vertices(instances.fractions([[1, -2, 2]]), [4])
    assert value == 2
    assert vertices == {(0, -2, 0), (0, 0, 2)}


def test_widest_margin_by_hand() -> None:
    solved = naive.widest_margin(instances.fractions([[2, 0], [0, 1], [3, 3]]))
    assert solved is not None
    assert solved[0].tolist() == [Fraction(1, 2), 1]
    assert solved[1] == [Fraction(1, 4), 1, 0], "the third margin is 9/2"
    copies = naive.widest_margin(instances.fractions([[2, 0], [2, 0]]))
    assert copies is not None
    assert sorted(copies[1]) == [0, Fraction(1, 4)], "of two copies one holds"
    assert naive.widest_margin(instances.fractions([[1, 0], [-1, 0]])) is None
    assert naive.widest_margin(instances.fractions([[0, 0]])) is None


def test_vertices_by_hand() -> None:
    found = naive.vertices(instances.fractions([[1, 2]]), [Fraction(2)])
    assert sorted(map(tuple, found)) == [(0, 1), (2, 0)]


def test_cones_by_hand_and_against_linear_programs(rng: np.random.Generator) -> None:
    assert naive.in_cone([[1, 0], [1, 1]], [3, 2])
    assert not naive.in_cone([[1, 0], [1, 1]], [1, 2])
    assert naive.in_cone([], [0, 0])
    assert not naive.in_cone([], [0, 1])
    assert naive.in_cone([[-1, 2]], [Fraction(-1, 3), Fraction(2, 3)])
    found = []
    for _ in range(40):
        edges, target = instances.integers(rng, 5, 3), instances.integers(rng, 3)
        program = linprog(np.zeros(5), A_eq=edges.T.astype(float), b_eq=target.astype(float))
        found.append(naive.in_cone(edges.tolist(), target.tolist()))
        assert found[-1] == program.success
    assert len(set(found)) == 2


def test_least_largest_by_hand_and_against_linear_programs(rng: np.random.Generator) -> None:
    assert naive.least_largest(instances.fractions([[1, -2, 2]]), [4]) == Fraction(4, 5)
    assert naive.least_largest(instances.fractions([[1, 0], [0, 2]]), [3, 4]) == 3
    for _ in range(5):
        x = instances.integers(rng, 3, 6)
        while naive.rank(x) < 3:
            x = instances.integers(rng, 3, 6)
        y = x.dot(instances.integers(rng, 6))
        rows = np.vstack([np.hstack([s * np.eye(6), -np.ones((6, 1))]) for s in (1, -1)])
        found = linprog(
            [0] * 6 + [1],
            A_ub=rows,
            b_ub=np.zeros(12),
            A_eq=np.hstack([x.astype(float), np.zeros((3, 1))]),
            b_eq=y.astype(float),
            bounds=[(None, None)] * 7,
        )
        assert float(naive.least_largest(x, y.tolist())) == pytest.approx(found.fun, rel=1e-9)


def test_rescaled_networks_are_the_same_function_with_another_v(rng: np.random.Generator) -> None:
    network = xu.LinearNetwork((4, 3, 2, 1))
    theta = rng.standard_normal(network.n_parameters)
    moved = instances.rescaled(network, theta, rng)
    assert (network.predictor(moved) == network.predictor(theta)).all()
    assert np.linalg.norm(network.first_layer_factor(moved)) != np.linalg.norm(network.first_layer_factor(theta))


def test_series_are_derivatives() -> None:
    t = Series([Fraction(2), Fraction(1), Fraction(0), Fraction(0)])
    cube = t * t * t - 2 * t + 1
    assert cube.a == (5, 10, 6, 1)
    assert (1 - t).a == (-1, -1, 0, 0)
    assert (t / 2).a == (1, Fraction(1, 2), 0, 0)


def test_gradient_and_taylor_of_a_polynomial() -> None:
    start = instances.fractions([1, 2])
    function = lambda t: np.array([t[0] * t[0] * t[1], t[1] * 3], dtype=object)  # noqa: E731
    assert naive.gradient(function, start).tolist() == [[4, 1], [0, 3]]
    second = naive.taylor(function, start, instances.fractions([1, 1]), 2)[2]
    assert second.tolist() == [4, 0]  # ((1+t)^2 (2+t)) has t^2 coefficient 4


@pytest.mark.parametrize("name", naive.ACTIVATIONS)
def test_activations_and_complex_steps(name: str) -> None:
    """Values against closed formulas of the standard library, derivatives against central differences."""
    phi, h = naive.activation(name), 1e-6
    by_hand = {
        "silu": lambda z: z / (1 + math.exp(-z)),
        "gelu": lambda z: z * 0.5 * math.erfc(-z / math.sqrt(2)),
        "softplus": lambda z: math.log1p(math.exp(z)),
        "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
        "tanh": math.tanh,
        "relu": lambda z: max(z, 0.0),
        "leaky_relu": lambda z: max(z, z / 100),
        "abs": abs,
        "square": lambda z: z * z,
        "identity": lambda z: z,
    }[name]
    for z in (-2.3, -0.4, 0.7, 3.1):
        assert phi(z) == pytest.approx(by_hand(z), rel=1e-14)
        slope = naive.complex_step(lambda t: np.array([phi(v) for v in t]), np.array([z]))[0, 0]
        assert slope == pytest.approx((by_hand(z + h) - by_hand(z - h)) / (2 * h), rel=1e-8)


def test_networks_from_the_definition() -> None:
    network = xu.LinearNetwork((2, 3, 1))
    theta = network.join({"c": [[1.0, 2.0, -1.0]], "A1": [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]})
    assert naive.linear_network((2, 3, 1), theta, np.array([[1.0, 1.0]])).tolist() == [[-1.0]]
    perceptron = naive.perceptron(
        2, 2, 1, naive.activation("relu"), np.array([1.0, 3.0, 1, -1, 1, 1]), np.array([[2.0, 1.0]])
    )
    assert perceptron.tolist() == [[10.0]]


def test_instances_are_what_they_say(rng: np.random.Generator) -> None:
    for size in (1, 2, 5):
        assert naive.square_norm(instances.unit_vector(rng, size)) == 1
    P = instances.positive_semidefinite(rng, 4)
    assert (P == P.T).all()
    assert np.linalg.eigvalsh(P.astype(float)).min() > -1e-12
    groups = instances.random_groups(rng, 9)
    assert sorted(i for group in groups for i in group) == list(range(9))
    model, theta, data = instances.planted_perceptron(rng, "relu", 3, 6, 2, 4)
    assert (naive.perceptron(3, 6, 1, naive.activation("relu"), theta, data.x) == data.y).all()
    assert model.active_neurons(theta).all()
    model, theta, data = instances.taught_perceptron(rng, "square", 3, 6, 2, 1, 2)
    assert (model.predict(theta, data.x) == data.y).all()
    assert len(data.retain[0]) == 2
    assert len(data.forget[0]) == 1
