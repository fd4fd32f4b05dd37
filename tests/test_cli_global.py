"""``exact-unlearn global``: samples in, a proved network out; and what is wrong with samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.cli import main

X, Y = np.array([[-1.0, 1.0], [0.0, 1.0], [2.0, 1.0], [3.0, 1.0]]), np.array([1.0, 0.0, 0.0, 1.0])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def network(path: str, x: np.ndarray, phi: Any) -> np.ndarray:
    """The outputs of the written weights."""
    weights = np.load(path)
    return np.asarray(phi(x @ weights["A"].T) @ weights["c"])


def test_what_the_file_says_is_solved_and_proved(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("samples.npz", x=X, y=Y, activation="relu", width=8, regularizer="squared")
    assert main(["global", "samples.npz", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "two layers of relu, width 8" in shown
    assert "at every width of 3 neurons or more" in shown
    assert checker.check("samples.problem.npz", "samples.certificate.json").proved
    np.testing.assert_allclose(network("samples.network.npz", X, lambda z: np.maximum(z, 0)), Y, atol=1e-14)
    problem = xu.UnlearningProblem.load("samples.problem.npz")
    assert problem.origin.width == 8
    assert main(["check", "samples.problem.npz", "samples.certificate.json"]) == 0
    assert "this is the least 1/2 |theta|^2 of two layers of relu that fit 4 samples" in capsys.readouterr().out
    assert main(["solve", "samples.problem.npz", "-o", "again.npz", "--quiet", "--no-certify"]) == 0
    np.testing.assert_allclose(network("again.network.npz", X, lambda z: np.maximum(z, 0)), Y, atol=1e-9)


def test_a_diagonal_network_is_decided_by_its_vertices(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("samples.npz", x=[[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], y=[3.0, 1.0], diagonal=3)
    assert main(["global", "samples.npz", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "the optimum is that of theta, ≈ 2.91049683307783, a sum of roots, at a unique minimiser" in shown.lower()
    assert "diagonal networks of 3 layers" in shown
    assert main(["check", "samples.problem.npz", "samples.certificate.json"]) == 0
    weights = np.load("samples.network.npz")
    np.testing.assert_allclose((weights["w1"] * weights["w2"] * weights["w3"])[0], [0.0, 1.5, -0.5], atol=1e-14)
    assert main(["judge", "samples.problem.npz", "samples.solution.npz", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["global", "samples.npz", "--diagonal", "4", "--json", "-", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["value"] == pytest.approx(3.86370330515627)
    assert main(["global", "samples.npz", "--width", "4"]) == 2
    assert capsys.readouterr().err.endswith("diagonal: a diagonal network has no width\n")
    assert main(["global", "samples.npz", "--diagonal", "65"]) == 2
    assert "depth: expected an integer from 3 to 64, got 65" in capsys.readouterr().err


def test_options_go_before_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("samples.npz", x=X, y=Y, activation="relu", width=8, regularizer="squared", more=1)
    options = ["--activation", "leaky_relu", "--slope", "1/100", "-r", "path", "--width", "1"]
    assert main(["global", "samples.npz", *options, "-o", "low.json", "--json", "-", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["certificate"]["proof"] == "exact"
    assert told["network"]["attained"] is False
    assert told["network"]["neurons"] > 1
    origin = xu.UnlearningProblem.load("low.problem.json").origin
    assert (origin.activation, origin.slope, origin.width, origin.R) == ("leaky_relu", xu.Perceptron(
        1, 1, "leaky_relu").phi.slope, 1, "path")  # fmt: skip
    assert (
        "at the width 1 it is a lower bound" in checker.check("low.problem.json", "low.certificate.json").sentences[1]
    )
    assert main(["global", "samples.npz", "--no-certify", "--quiet"]) == 0
    assert "more: in the file, but nothing asked for it" in capsys.readouterr().out


def test_samples_that_no_network_fits_are_refuted(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("samples.npz", x=[[1.0, 1.0], [1.0, 1.0]], y=[1.0, 2.0])
    assert main(["global", "samples.npz", "--quiet"]) == 1
    assert not Path("samples.network.npz").exists()
    assert main(["check", "samples.problem.npz", "samples.certificate.json"]) == 0
    assert "so no network of any width fits" in capsys.readouterr().out


WRONG: list[tuple[dict[str, Any], list[str], str]] = [
    ({"y": Y}, [], "the array 'x' is missing; the file holds y"),
    ({"x": X}, [], "the array 'y' is missing; the file holds x"),
    ({"x": X[0], "y": Y}, [], "x: expected 2 dimensions, got shape (2,)"),
    ({"x": X[:, :0], "y": Y}, [], "x_retain: expected shape (n, 1), got (4, 0)"),
    ({"x": X, "y": Y[:2]}, [], "y_retain: expected shape (4, 1), got (2,)"),
    ({"x": X, "y": Y * np.nan}, [], "y_retain: expected finite numbers"),
    ({"x": X, "y": Y, "activation": "tanh"}, [], "positively homogeneous, and not for tanh"),
    ({"x": X, "y": Y, "activation": ["relu", "abs"]}, [], "activation: expected one text or number, got an array of"),
    ({"x": X, "y": Y, "activation": 3}, [], "activation: expected one of"),
    ({"x": X, "y": Y, "slope": 0.5}, [], "slope: relu has none"),
    (
        {"x": X, "y": Y, "slope": "1/0"},
        ["--activation", "leaky_relu"],
        "slope: expected a number such as 0.25 or 1/100",
    ),
    ({"x": X, "y": Y, "width": 2.5}, [], "width: expected an integer >= 1, got 2.5"),
    ({"x": X, "y": Y}, ["--width", "0"], "width: expected an integer >= 1, got 0"),
    ({"x": X, "y": Y}, ["-r", "l1"], "regularizer: expected one of squared, path, got 'l1'"),
]


@pytest.mark.parametrize(("arrays", "options", "sentence"), WRONG)
def test_a_mistake_is_one_sentence(
    arrays: dict[str, Any], options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("samples.npz", **arrays)
    assert main(["global", "samples.npz", *options]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.out == ""
    assert [path.name for path in Path().iterdir()] == ["samples.npz"]
