"""Exact problems of two-layer networks as convex ones: values, proofs, networks, degenerate samples, files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.activations import Activation
from exact_unlearn.certify import checker
from exact_unlearn.convexity import pruned
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.jacobian import to_rational
from tests.network_cases import ACTIVATIONS, IMPOSSIBLE, OPTIMA, SAMPLES, by_hand, poisoned, problem, second_opinion


@pytest.mark.parametrize("seed", range(4))
def test_the_four_seeds_by_a_program_of_another_hand(seed: int) -> None:
    assert by_hand(*poisoned(seed), 0.0, "squared") == pytest.approx(OPTIMA[seed], abs=2e-8)


@pytest.mark.parametrize("seed", range(4))
def test_the_four_seeds_are_certified(seed: int) -> None:
    x, y = poisoned(seed)
    asked = xu.global_problem(xu.Perceptron(2, 16), x, y)
    certificate = xu.certify(asked)
    assert certificate.proof == "enclosure"
    assert certificate.gap is not None
    assert certificate.lower is not None
    assert certificate.gap <= Fraction(1, 10**60)
    assert float(certificate.lower) == pytest.approx(OPTIMA[seed], abs=1e-8)
    assert certificate.check().proved
    network = xu.global_network(asked, certificate)
    assert network.model == xu.Perceptron(2, 16, network.model.phi)
    assert network.neurons <= 7
    assert network.attained
    assert (network.model.predict(network.theta, to_rational(x))[:, 0] == to_rational(y)).all()
    half_square = sum(v * v for v in network.theta) / 2
    assert certificate.lower <= half_square + Fraction(1, 10**30)
    assert abs(half_square - certificate.lower) < Fraction(1, 10**30)


CASES = [
    *itertools.product(SAMPLES, ("relu", "abs"), ("squared", "path")),
    *itertools.product(
        ("plain", "one column", "a label at zero"), ("leaky_relu, 1/4", "leaky_relu"), ("squared", "path")
    ),
]


@pytest.mark.parametrize(("name", "activation", "R"), CASES)
def test_every_case_is_solved_proved_and_checked_twice(name: str, activation: str, R: str, tmp_path: Path) -> None:
    asked = problem(name, activation, R)
    certificate = xu.certify(asked, xu.solve(asked))
    asked.save(tmp_path / "problem.json")
    certificate.save(tmp_path / "certificate.json")
    verdict = checker.check(tmp_path / "problem.json", tmp_path / "certificate.json")
    assert verdict.proved
    assert second_opinion(tmp_path) == f"proved: {verdict.proof}"
    if (name, activation == "abs") in IMPOSSIBLE:
        assert verdict.proof == "infeasible"
        assert "no network of any width fits" in verdict.sentences[0]
        return
    x, y = (np.asarray(values, dtype=float) for values in SAMPLES[name])
    assert verdict.proof in (("exact",) if R == "path" else ("exact", "enclosure"))
    slope = float(ACTIVATIONS[activation].slope or 0) if activation != "abs" else -1.0
    if len(x):
        assert by_hand(x, y, slope, R) == pytest.approx(float(verdict.upper), abs=1e-7)
    network = xu.global_network(asked, certificate)
    assert (network.model.predict(network.theta, to_rational(x))[:, 0] == to_rational(y)).all()
    assert network.neurons <= certificate.neurons == verdict.neurons <= len(x)
    c, A = network.model.split(network.theta).values()
    cost = sum(v * v for v in network.theta) / 2 if R == "squared" else abs(c[0]) @ abs(A).sum(axis=1)
    assert abs(cost - verdict.upper) <= Fraction(1, 10**30) * verdict.upper
    assert network.value == pytest.approx(float(verdict.upper), rel=1e-14)


def test_random_networks_that_fit_cost_no_less(rng: np.random.Generator) -> None:
    for activation, R in itertools.product(ACTIVATIONS, ("squared", "path")):
        x = rng.standard_normal((4, 2))
        model = xu.Perceptron(2, 9, ACTIVATIONS[activation])
        y = rng.standard_normal(4)
        asked = xu.global_problem(model, x, y, R)
        lower = xu.certify(asked).lower
        assert lower is not None
        for _ in range(20):
            theta = model.interpolating_parameters(x, y, rng, scale=rng.random())
            c, A = model.split(theta).values()
            cost = theta @ theta / 2 if R == "squared" else abs(c[0]) @ abs(A).sum(axis=1)
            assert cost >= float(lower)


def test_narrow_networks_have_a_lower_bound_only() -> None:
    x, y = poisoned(2)
    asked = xu.global_problem(xu.Perceptron(2, 2), x, y, "path")
    certificate = xu.certify(asked)
    assert certificate.neurons is not None
    assert certificate.neurons > 2
    assert "at the width 2 a lower bound" in certificate.summary()
    assert "at the width 2 it is a lower bound" in certificate.check().sentences[1]
    network = xu.global_network(asked, certificate)
    assert not network.attained
    assert network.model.width == network.neurons > 2
    assert "lower bound" in network.summary()


def test_the_network_of_a_solution_is_in_floats() -> None:
    x, y = poisoned(3)
    asked = xu.global_problem(xu.Perceptron(2, 16), x, y, "path")
    solution = xu.solve(asked)
    network = xu.global_network(asked, solution)
    assert network.theta.dtype == np.float64
    assert network.value == pytest.approx(solution.value, rel=1e-9)
    np.testing.assert_allclose(network.model.predict(network.theta, x)[:, 0], y, atol=1e-9)
    assert asked.network_value(solution.value) == solution.value


def test_pruning_keeps_the_sum_and_never_costs_more(rng: np.random.Generator) -> None:
    for _ in range(100):
        columns = [to_rational(rng.integers(-2, 3, 3)) for _ in range(8)]
        costs = [Fraction(int(c), 7) for c in rng.integers(1, 9, 8)]
        t = pruned(columns, costs)
        assert all(s >= 0 for s in t)
        assert sum(s > 0 for s in t) <= np.linalg.matrix_rank(np.array(columns, dtype=float))
        assert (sum((s * v for s, v in zip(t, columns, strict=True)), 0 * columns[0]) == sum(columns)).all()
        assert sum(s * c for s, c in zip(t, costs, strict=True)) <= sum(costs)


# --- what is refused ------------------------------------------------------------------------------------------------

X, Y = np.array([[1.0, 1.0], [2.0, 1.0]]), np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((xu.Perceptron(2, 3, "tanh"), X, Y), "positively homogeneous, and not for tanh"),
        ((xu.Perceptron(2, 3, "relu", 2), X, Y), "one output only, and the model has 2"),
        ((None, X, Y), "model: expected one of Perceptron, .*got NoneType"),
        ((xu.Perceptron(2, 3), X[:, :1], Y), "x_retain: expected shape"),
        ((xu.Perceptron(2, 3), X, Y[:1]), "y_retain: expected shape"),
        ((xu.Perceptron(2, 3), X * np.nan, Y), "x_retain: expected finite numbers"),
        ((xu.Perceptron(2, 3), X, Y, "l1"), "regularizer: expected one of squared, path, got 'l1'"),
        ((xu.Perceptron(2, 3), X, Y, None), "regularizer: expected one of squared, path, got None"),
        ((xu.Perceptron(3, 3), np.random.default_rng(0).standard_normal((40, 3)), np.ones(40)), "more than 256 pat"),
        (
            (xu.Perceptron(12, 3), np.eye(8, 12), np.ones(8)),
            "of 255 patterns of signs has 4088 rows and 6120 variables",
        ),
    ],
)
def test_what_is_not_convex_is_one_sentence(arguments: Any, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        xu.global_problem(*arguments)


def test_networks_need_an_origin_and_a_point() -> None:
    plain = xu.UnlearningProblem(np.zeros(2), X, xu.L1(), rhs=Y)
    asked = xu.global_problem(xu.Perceptron(2, 3), X, Y)
    impossible = problem("two labels", "relu", "path")
    with pytest.raises(ProblemError, match="problem: it has no origin"):
        xu.global_network(plain, xu.solve(plain))
    with pytest.raises(ProblemError, match="problem: it has no origin"):
        plain.network_value(1.0)
    with pytest.raises(ProblemError, match="found: expected a Solution or a Certificate, got ndarray"):
        xu.global_network(asked, np.zeros(4))  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match="found: it has no point"):
        xu.global_network(impossible, xu.certify(impossible))
    with pytest.raises(ProblemError, match="found: it has 2 parameters, the problem 12"):
        xu.global_network(asked, xu.solve(plain))
    with pytest.raises(ProblemError, match=r"origin: expected one of .* or None, got dict"):
        xu.UnlearningProblem(np.zeros(2), X, xu.L1(), origin={})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rhs": 2.0}, "rhs: it is not that of the origin"),
        ({"jacobian": 2.0}, "jacobian: it is not"),
        ({"theta_star": 1.0}, "theta_star: it is not"),
        ({"at_least": None}, "at_least: it is not"),
        ({"free": [0]}, "free: it is not"),
        ({"drift_penalty": xu.L1Drift(1.0)}, "drift_penalty: a problem with an origin has none"),
        ({"regularizer": xu.L1()}, "regularizer: it is not that of the origin, 1/2"),
        ({"regularizer": xu.GroupL2(np.arange(12) // 3)}, "regularizer: it is not"),
    ],
)
def test_a_problem_that_is_not_that_of_its_origin_is_not_certified(change: dict[str, Any], sentence: str) -> None:
    asked = xu.global_problem(xu.Perceptron(2, 3), X, Y)
    name, value = next(iter(change.items()))
    if name in ("rhs", "theta_star"):
        value = getattr(asked, name) + value
    elif name == "jacobian":
        value = np.asarray(asked.jacobian) * value
    with pytest.raises(ProblemError, match=sentence):
        xu.certify(replace(asked, **{name: value}))


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu, 1/4", "abs"])
def test_files_bring_the_origin_back(activation: str, suffix: str, tmp_path: Path) -> None:
    asked = problem("three columns", activation, "squared", width=5)
    assert asked.version == 2
    asked.save(tmp_path / f"problem{suffix}")
    again = xu.UnlearningProblem.load(tmp_path / f"problem{suffix}")
    again.origin.require(again)
    assert again.origin.to_tree().keys() == asked.origin.to_tree().keys()
    for name, value in asked.origin.to_tree().items():
        assert np.array_equal(again.origin.to_tree()[name], value)
    xu.certify(asked).save(tmp_path / "certificate.json")
    assert checker.check(tmp_path / f"problem{suffix}", tmp_path / "certificate.json").proved
    loaded = xu.Certificate.load(tmp_path / "certificate.json", again)
    assert loaded.neurons == xu.certify(asked).neurons
    assert "about" in loaded.summary()


def test_slopes_that_floats_do_not_hold_make_fractions() -> None:
    assert problem("plain", "leaky_relu", "path").is_rational
    assert not problem("plain", "leaky_relu, 1/4", "path").is_rational
    exact = xu.global_problem(xu.Perceptron(1, 2, Activation("leaky_relu", 0.3)), [[0.1], [-0.7]], [1.0, 2.0], "path")
    assert exact.is_rational
    assert Fraction(0.3) * Fraction(-0.7) in np.asarray(exact.jacobian)[1]


def test_version_1_has_no_origins(tmp_path: Path) -> None:
    problem("plain", "relu", "path").save(tmp_path / "problem.json")
    tree = json.loads((tmp_path / "problem.json").read_text())
    del tree["at_least"]
    (tmp_path / "problem.json").write_text(json.dumps(tree | {"version": 1}))
    with pytest.raises(FileFormatError, match="origin: version 1 has no origins"):
        xu.UnlearningProblem.load(tmp_path / "problem.json")
    with pytest.raises(checker.Rejected, match="origin: version 1 has no origins"):
        checker.check(tmp_path / "problem.json", {})
