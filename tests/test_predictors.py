"""Exact problems that are convex in the predictor: values, proofs by two checkers, networks, forgeries, files."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.certify import checker
from exact_unlearn.cli import main
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.jacobian import to_float, to_rational
from exact_unlearn.predictors import Predictor
from exact_unlearn.realisations import measure
from tests.network_cases import second_opinion

RNG = np.random.default_rng(11)
X = RNG.integers(-3, 4, size=(3, 5)).astype(float)
Y = X @ RNG.integers(-2, 3, size=(5, 2))
CASES: list[tuple[Any, str]] = [
    (xu.LinearModel(5), "squared"),
    (xu.LinearModel(5, 2), "squared"),
    (xu.LinearModel(5, 2), "path"),
    (xu.LinearNetwork((5, 1)), "squared"),
    (xu.LinearNetwork((5, 2)), "path"),
    (xu.LinearNetwork((5, 3, 1)), "squared"),
    (xu.LinearNetwork((5, 3, 1, 2, 1)), "squared"),
    (xu.LinearNetwork((5, 4, 2)), "squared"),
    (xu.LinearNetwork((5, 2, 3, 2)), "path"),
    (xu.LinearNetwork((2, 3, 4, 5)), "path"),
    (xu.DiagonalNetwork(5, 1), "squared"),
    (xu.DiagonalNetwork(5, 2), "squared"),
    (xu.DiagonalNetwork(5, 4), "path"),
    (xu.Perceptron(5, 6, "square"), "nuclear"),
]
every_case = pytest.mark.parametrize(("model", "R"), CASES, ids=lambda value: str(value))


def data(model: Any) -> tuple[Any, Any]:
    """Retained samples that the model can fit."""
    if model.n_inputs == 2:
        return X[:2, :2], X[:2, :2] @ np.array([[1.0, 0.0, 2.0, -1.0, 0.0], [0.0, 3.0, 1.0, 1.0, 0.0]])
    return X, Y[:, : model.n_outputs]


def by_hand(model: Any, R: str, x: Any, y: Any) -> float:
    """The least R, without the package."""
    depth = getattr(model, "depth", 1)
    if isinstance(model, xu.Perceptron):
        M = cp.Variable((x.shape[1],) * 2)
        rows = [cp.trace(np.outer(row, row) @ M) == label for row, label in zip(x, y[:, 0], strict=True)]
        return float(cp.Problem(cp.Minimize(cp.normNuc(M)), rows).solve(solver="CLARABEL"))
    W = cp.Variable((x.shape[1], y.shape[1]))
    diagonal = isinstance(model, xu.DiagonalNetwork) and depth == 2
    if R == "path" or diagonal:
        cost = cp.sum(cp.abs(W))
    elif depth == 1:
        cost = cp.sum_squares(W) / 2
    else:
        cost = cp.normNuc(W)  # of one column its length
    value = float(cp.Problem(cp.Minimize(cost), [x @ W == y]).solve(solver="CLARABEL"))
    one_output = isinstance(model, xu.LinearNetwork) and R == "squared" and depth > 2
    return depth / 2 * value ** (2 / depth) if one_output else value


@every_case
def test_solved_proved_checked_twice_and_built(model: Any, R: str, tmp_path: Path) -> None:
    x, y = data(model)
    asked = xu.global_problem(model, x, y, R)
    solution = xu.solve(asked)
    certificate = xu.certify(asked, solution)
    asked.save(tmp_path / "problem.json")
    certificate.save(tmp_path / "certificate.json")
    verdict = checker.check(tmp_path / "problem.json", tmp_path / "certificate.json")
    assert verdict.proved
    assert verdict.proof in ("exact", "enclosure")
    assert second_opinion(tmp_path) == f"proved: {verdict.proof}"
    assert certificate.upper is not None
    least = asked.network_value(float(certificate.upper))
    assert least == pytest.approx(by_hand(model, R, x, y), rel=1e-7)
    for found, digits in ((certificate, 1e-13), (solution, 1e-7)):
        network = xu.global_network(asked, found)
        np.testing.assert_allclose(to_float(network.model.predict(network.theta, x)), y, atol=100 * digits)
        assert measure(network.model, network.theta, R) == pytest.approx(least, rel=digits)
        assert network.value == pytest.approx(least, rel=digits)
        assert network.attained
        assert network.neurons <= certificate.neurons == verdict.neurons
        assert network.model.n_parameters == model.n_parameters


@every_case
def test_other_networks_that_fit_are_no_smaller(model: Any, R: str) -> None:
    x, y = data(model)
    asked = xu.global_problem(model, x, y, R)
    lower = asked.network_value(float(xu.certify(asked).lower))
    for seed in range(20):
        theta = model.interpolating_parameters(x, y, np.random.default_rng(seed), scale=seed / 10)
        assert measure(model, theta, R) >= lower * (1 - 1e-12)


def test_networks_of_certificates_fit_exactly_where_no_eigenvectors_are_needed() -> None:
    for model, R in CASES:
        asked = xu.global_problem(model, *data(model), R)
        if asked.regularizer.name != "nuclear_norm":
            network = xu.global_network(asked, xu.certify(asked))
            x, y = map(to_rational, data(model))
            assert (network.model.predict(network.theta, x) == y).all()


def test_measures_by_hand() -> None:
    network = xu.LinearNetwork((1, 2, 1))
    theta = network.join({"c": [[1.0, -2.0]], "A1": [[3.0], [-4.0]]})
    assert measure(network, theta, "squared") == 15.0
    assert measure(network, theta, "path") == 11.0
    diagonal = xu.DiagonalNetwork(2, 2)
    assert measure(diagonal, np.array([1.0, -2.0, 3.0, 4.0]), "path") == 11.0
    squares = xu.Perceptron(2, 1, "square")
    assert measure(squares, squares.join({"c": [[-2.0]], "A": [[3.0, 4.0]]}), "nuclear") == 50.0


def test_narrow_networks_have_a_lower_bound_only() -> None:
    for model, R in [
        (xu.LinearNetwork((5, 1, 2)), "squared"),
        (xu.LinearNetwork((5, 3, 1, 2)), "path"),
        (xu.Perceptron(5, 1, "square"), "nuclear"),
    ]:
        asked = xu.global_problem(model, *data(model), R)
        certificate = xu.certify(asked)
        network = xu.global_network(asked, certificate)
        assert not network.attained
        assert network.neurons > 1
        np.testing.assert_allclose(
            to_float(network.model.predict(network.theta, data(model)[0])), data(model)[1], atol=1e-9
        )
        assert "at these widths a lower bound" in certificate.summary()
        assert "at these widths it is a lower bound" in certificate.check().sentences[1]


# ---------------------------------------------------------------- degenerate data


@every_case
def test_degenerate_samples(model: Any, R: str) -> None:
    m, l = model.n_inputs, model.n_outputs
    nothing = xu.global_problem(model, np.zeros((0, m)), np.zeros((0, l)), R)
    zero = xu.global_problem(model, np.zeros((2, m)), np.zeros((2, l)), R)
    for asked in (nothing, zero):
        certificate = xu.certify(asked)
        assert (certificate.upper, certificate.check().proved) == (0, True)
        network = xu.global_network(asked, certificate)
        assert not network.theta.any()
    impossible = xu.certify(xu.global_problem(model, np.zeros((1, m)), np.ones((1, l)), R))
    assert impossible.proof == "infeasible"
    assert "no network of any width fits" in impossible.check().sentences[0]
    x, y = data(model)
    twice = xu.global_problem(model, np.concatenate([x, x[:1]]), np.concatenate([y, y[:1]]), R)
    once = xu.certify(xu.global_problem(model, x, y, R))
    assert float(xu.certify(twice).upper) == pytest.approx(float(once.upper), rel=1e-9)


def test_tiny_and_huge_labels() -> None:
    for size in (1e-150, 1e150):
        for model in (xu.LinearNetwork((2, 2, 2, 1)), xu.DiagonalNetwork(2, 2)):
            asked = xu.global_problem(model, np.eye(2), size * np.array([3.0, 4.0]))
            network = xu.global_network(asked, xu.certify(asked))
            fitted = network.model.predict(network.theta, to_rational(np.eye(2)))
            assert (fitted[:, 0] == to_rational(size * np.array([3.0, 4.0]))).all()


def test_products_that_floats_do_not_hold_make_fractions() -> None:
    model = xu.Perceptron(2, 2, "square")
    assert not xu.global_problem(model, [[1.0, 2.0]], [1.0], "nuclear").is_rational
    tenth = xu.global_problem(model, [[0.1, 2.0]], [1.0], "nuclear")
    assert tenth.is_rational
    assert Fraction(0.1) ** 2 in np.asarray(tenth.jacobian)[0]
    assert xu.global_problem(xu.LinearModel(2), to_rational(np.array([[1, 2]])) / 3, [1.0]).is_rational


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("model", "R", "sentence"),
    [
        (
            xu.LinearNetwork((5, 3, 3, 2)),
            "squared",
            "model: 1/2 .theta.* of 3 linear layers with 2 outputs is not convex",
        ),
        (
            xu.Perceptron(5, 3, "square"),
            "squared",
            "regularizer: for two layers of squares sum_j .*, and 1/2 .* is not",
        ),
        (xu.Perceptron(5, 3, "square"), "path", "regularizer: for two layers of squares"),
        (xu.Perceptron(5, 3, "square", 2), "nuclear", "convex for one output only"),
        (xu.LinearModel(5), "nuclear", "regularizer: 'nuclear' is about two layers of squares; linear models have"),
        (xu.LinearModel(5), "l1", "regularizer: expected one of squared, path, nuclear, got 'l1'"),
        (xu.LinearModel(5), None, "regularizer: expected one of squared, path, nuclear, got None"),
        (xu.LinearModel(4), "squared", "x_retain: expected shape"),
        (xu.Perceptron(5, 3), "nuclear", "regularizer: expected one of squared, path, got 'nuclear'"),
    ],
)
def test_what_is_not_convex_is_one_sentence(model: Any, R: Any, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        xu.global_problem(model, X, Y[:, : model.n_outputs], R)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("cubic", (5, 1), X, Y[:, 0], "squared"), "model: expected one of linear, linear_network"),
        (("linear", (5, 2, 1), X, Y[:, 0], "squared"), "widths: .* are not those of linear models"),
        (("diagonal", (5, 4, 1), X, Y[:, 0], "squared"), "are not those of diagonal networks"),
        (("square", (5, 4, 4, 1), X, Y[:, 0], "nuclear"), "are not those of two layers of squares"),
        (("linear", (5,), X, Y[:, 0], "squared"), "widths: expected two or more integers >= 1"),
        (("linear", (5, 0), X, Y[:, :0], "squared"), "widths: expected two or more integers >= 1"),
        (("linear", (5, True), X, Y[:, 0], "squared"), "widths: expected two or more integers >= 1"),
        (("linear", (4, 1), X, Y[:, 0], "squared"), "y: expected shape"),
        (("linear", (5, 2), X, Y[:, 0], "squared"), "y: expected shape"),
    ],
)
def test_origins_that_fit_no_network(arguments: Any, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        Predictor(*arguments)


# ---------------------------------------------------------------- files and forgeries


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
def test_files_bring_the_origin_back(suffix: str, tmp_path: Path) -> None:
    for model, R in CASES[3:]:
        asked = xu.global_problem(model, *data(model), R)
        asked.save(tmp_path / f"problem{suffix}")
        again = xu.UnlearningProblem.load(tmp_path / f"problem{suffix}")
        again.origin.require(again)
        for name, value in asked.origin.to_tree().items():
            assert np.array_equal(again.origin.to_tree()[name], value)
        assert again.version == 2


def forged(tmp_path: Path, change: Any, model: Any = None, R: str = "squared") -> list[Path]:
    """Problem and certificate files of a proof, with a change made to the problem's JSON tree."""
    asked = xu.global_problem(model or xu.LinearNetwork((5, 3, 1)), X, Y[:, 0], R)
    files = [tmp_path / "problem.json", tmp_path / "certificate.json"]
    asked.save(files[0])
    xu.certify(asked).save(files[1])
    assert checker.check(*files).proved
    tree = json.loads(files[0].read_text())
    change(tree)
    files[0].write_text(json.dumps(tree))
    return files


def refused(files: list[Path]) -> bool:
    """Whether neither checker takes the certificate for a proof."""
    try:
        proved = checker.check(*files).proved
    except checker.Rejected:
        proved = False
    return not proved and not second_opinion(files[0].parent).startswith("proved")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "linear"),
        ("model", "diagonal"),
        ("model", "cubic"),
        ("model", ["square"]),
        ("widths", [5, 1]),
        ("widths", []),
        ("widths", [5, 3, "1"]),
        ("widths", [4, 3, 1]),
        ("widths", [5, 3, 0, 1]),
        ("R", "path"),
        ("R", "nuclear"),
        ("R", 2),
        ("kind", "two_layer"),
        ("kind", None),
        ("x", {"shape": [3, 5], "data": ["1"] * 15}),
        ("y", {"shape": [3, 1], "data": ["1"] * 3}),
        ("y", {"shape": [3], "data": ["1"] * 3}),
    ],
    ids=str,
)
def test_another_network_is_refused_by_both_checkers(name: str, value: Any, tmp_path: Path) -> None:
    files = forged(tmp_path, lambda tree: tree["origin"].update({name: value}))
    assert refused(files)


def test_a_deeper_network_has_the_same_convex_problem(tmp_path: Path) -> None:
    """It is no forgery: the proof says what its optimum means for these layers."""
    files = forged(tmp_path, lambda tree: tree["origin"].update(widths=[5, 3, 3, 1]))
    assert "3/2 v^(2/3)" in checker.check(*files).sentences[1]
    assert second_opinion(tmp_path) == "proved: exact"


def _row(tree: Any) -> None:
    tree["jacobian"]["matrix"]["data"][4] = "7"


@pytest.mark.parametrize(
    "change",
    [
        _row,
        lambda tree: tree["rhs"]["data"].__setitem__(0, "7"),
        lambda tree: tree["theta_star"]["data"].__setitem__(0, "1"),
        lambda tree: tree["free"]["data"].__setitem__(0, "0"),
        lambda tree: tree.update(regularizer={"name": "l1", "weights": None}),
        lambda tree: tree["regularizer"].update(weights={"shape": [5], "data": ["2"] * 5}),
        lambda tree: tree.update(at_least={"shape": [3], "data": ["1", "0", "0"]}),
        lambda tree: tree.update(drift_penalty=[{"name": "l1_drift", "lam": "1"}]),
        lambda tree: tree.update(drift_penalty=[{"name": "trust_region", "radius": "64", "norm": "2"}]),
        lambda tree: tree.update(version=1),
    ],
)
def test_another_problem_is_refused_by_both_checkers(change: Any, tmp_path: Path) -> None:
    files = forged(tmp_path, change)
    assert refused(files)


def test_the_matrix_of_a_nuclear_norm_is_that_of_the_origin(tmp_path: Path) -> None:
    model = xu.Perceptron(5, 6, "square")
    for change in (
        lambda tree: tree["regularizer"].update(shape=[25, 1]),
        lambda tree: tree["regularizer"]["indices"].update(data=[str(format(i, "x")) for i in reversed(range(25))]),
    ):
        files = forged(tmp_path, change, model, "nuclear")
        assert refused(files)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rhs": np.ones(3)}, "rhs: it is not that of the origin"),
        ({"jacobian": 2 * X}, "jacobian: it is not"),
        ({"theta_star": np.ones(5)}, "theta_star: it is not"),
        ({"at_least": [True, False, False]}, "at_least: it is not"),
        ({"free": [0]}, "free: it is not"),
        ({"drift_penalty": xu.L1Drift(1.0)}, "drift_penalty: a problem with an origin has none"),
        ({"regularizer": xu.L1()}, "regularizer: it is not that of the origin, l2"),
        ({"regularizer": xu.L2(2 * np.ones(5))}, "regularizer: it is not"),
    ],
)
def test_a_problem_that_is_not_that_of_its_origin_is_not_certified(change: dict[str, Any], sentence: str) -> None:
    asked = xu.global_problem(xu.LinearNetwork((5, 3, 1)), X, Y[:, 0])
    with pytest.raises(ProblemError, match=sentence):
        xu.certify(replace(asked, **change))


def test_files_that_fit_no_network(tmp_path: Path) -> None:
    files = forged(tmp_path, lambda tree: tree["origin"].update(widths=[5, -1]))
    with pytest.raises(FileFormatError, match=r"origin.widths\[1\]: expected a whole number"):
        xu.UnlearningProblem.load(files[0])


def test_the_command_line_takes_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A linear network from its file; two layers of squares from their samples."""
    xu.global_problem(xu.LinearNetwork((5, 3, 2, 1)), X, Y[:, 0]).save(tmp_path / "chain.npz")
    assert main(["solve", str(tmp_path / "chain.npz"), "-o", str(tmp_path / "chain.out.npz")]) == 0
    weights = codec.load_arrays(tmp_path / "chain.out.network.npz")
    product = weights["c"] @ weights["A2"] @ weights["A1"]
    np.testing.assert_allclose(X @ product, Y[:, 0], atol=1e-9)
    np.savez(tmp_path / "squares.npz", x=X, y=Y[:, 0], activation="square", regularizer="nuclear", width=5)
    assert main(["global", str(tmp_path / "squares.npz"), "-o", str(tmp_path / "squares.out.npz")]) == 0
    weights = codec.load_arrays(tmp_path / "squares.out.network.npz")
    np.testing.assert_allclose((X @ weights["A"].T) ** 2 @ weights["c"], Y[:, 0], atol=1e-6)
    assert "two layers of squares" in capsys.readouterr().out
