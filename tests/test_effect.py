"""What an answer does to the outputs of its network: measured, located, and what would have kept them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import cli
from exact_unlearn.effects import measure
from exact_unlearn.jacobian import Array

RNG = np.random.default_rng(5)
X = RNG.standard_normal((8, 3))
Y = RNG.standard_normal(8)
TANH = xu.Perceptron(3, 10, "tanh")
START = TANH.interpolating_parameters(X, Y, RNG)
RETAIN, FORGET = X[:6], X[6:]


def moved(theta: Array, x: Array = RETAIN) -> float:
    return float(np.max(np.abs(TANH.predict(theta, x) - TANH.predict(START, x))))


def test_outputs_are_compared_with_what_they_were() -> None:
    problem = xu.surrogate_problem(TANH, START, RETAIN, xu.SquaredL2())
    solution = xu.solve(problem)
    seen = xu.effect(TANH, problem, solution, RETAIN, FORGET, y_retain=Y[:6])
    assert seen.retained_change == moved(solution.theta) > 0.1
    assert seen.forgotten_change == moved(solution.theta, FORGET)
    assert seen.retained_error == pytest.approx(np.max(np.abs(TANH.predict(solution.theta, RETAIN)[:, 0] - Y[:6])))
    assert seen.tolerance == pytest.approx(0.01 * np.max(np.abs(Y[:6])))
    assert not seen.kept
    said = seen.summary()
    assert "not kept" in said
    assert f"until t = {seen.holds_until:.3g}" in said
    assert f"SquaredDrift({seen.lam:.3g})" in said


def test_where_it_stops_holding_is_where_the_tolerance_is_reached() -> None:
    solution = xu.solve(xu.surrogate_problem(TANH, START, RETAIN, xu.SquaredL2()))
    seen = xu.effect(TANH, START, solution, RETAIN, tolerance=0.05)
    assert moved(START + seen.holds_until * solution.drift) == pytest.approx(0.05, rel=1e-6)
    assert seen.lam is None  # theta* alone knows no regularizer


@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(0.5)], ids=["free", "held"])
@pytest.mark.parametrize(
    "R", [xu.SquaredL2(), xu.L1(), xu.SquaredL2(np.linspace(1, 2, 40))], ids=["l2", "l1", "weights"]
)
def test_the_penalty_that_would_have_kept_them_does(R: Any, drift: Any) -> None:
    """By a formula or by solves: with that much more penalty the outputs are kept, with less they are not."""
    problem = xu.surrogate_problem(TANH, START, RETAIN, R, drift)
    seen = xu.effect(TANH, problem, xu.solve(problem), RETAIN)
    assert seen.lam is not None
    already = 0.0 if drift is None else 0.5
    for factor, kept in ((1.0 + 1e-6, True), (1 / 1.2, False)):
        held = xu.surrogate_problem(TANH, START, RETAIN, R, xu.SquaredDrift(already + factor * seen.lam))
        assert (moved(xu.solve(held).theta) <= seen.tolerance * (1 + 1e-6)) is kept


def test_a_linear_model_loses_nothing_and_needs_no_penalty() -> None:
    model = xu.LinearModel(4)
    x = RNG.standard_normal((3, 4))
    problem = xu.surrogate_problem(model, np.ones(4), x, xu.L1())
    seen = xu.effect(model, problem, xu.solve(problem), x)
    assert seen.kept
    assert seen.holds_until == 1
    assert seen.lam is None
    assert "linearisation" not in seen.summary()


def test_solve_says_it_where_the_model_is_known() -> None:
    problem = xu.surrogate_problem(TANH, START, RETAIN, xu.SquaredL2())
    solution = xu.solve(problem)
    assert solution.effect is not None
    assert solution.effect.retained_change == moved(solution.theta)
    assert "effect" in solution.summary()
    assert "not kept" in solution._repr_html_()
    plain = xu.solve(xu.UnlearningProblem(START, problem.jacobian, xu.SquaredL2()))
    assert plain.effect is None
    assert "effect" not in plain.summary()
    margins = xu.surrogate_problem(TANH, START, RETAIN, xu.SquaredL2(), at_least=np.ones(6, dtype=bool))
    assert xu.solve(margins).effect is None  # outputs that may rise are no damage


def test_a_module_that_was_changed_since_does_not_spoil_the_summary() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)).eval()
    solution = xu.solve(xu.surrogate_problem(net, None, RETAIN, xu.SquaredL2()))
    net.train()  # with dropout its outputs are random, and refused
    assert solution.effect is None
    assert "effect" not in solution.summary()


def test_fractions_and_nothing_retained() -> None:
    from fractions import Fraction

    model = xu.Perceptron(2, 2, "relu")
    theta = np.array([Fraction(k + 1) for k in range(6)])
    problem = xu.surrogate_problem(model, theta, np.array([[Fraction(1), Fraction(2)]]), xu.L1(), free="c")
    assert xu.solve(problem).effect is not None
    nothing = xu.surrogate_problem(TANH, START, np.zeros((0, 3)), xu.SquaredL2())
    seen = xu.solve(nothing).effect
    assert seen is not None
    assert (seen.retained_change, seen.holds_until, seen.kept) == (0.0, 1.0, True)


def test_outputs_that_overflow_are_infinitely_far() -> None:
    seen = measure(lambda theta: np.exp(1000 * theta[None, :]), np.zeros(1), np.ones(1))
    assert seen.retained_change == np.inf
    assert not seen.kept


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))\n"
    )
    Path("net.py").write_text(source)
    from safetensors.torch import save_file

    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    save_file({name: 3 * part for name, part in net.state_dict().items()}, "net.safetensors")
    np.savez("retain.npz", x=X[:4])
    np.savez("forget.npz", x=X[4:6])
    words = ["solve", "--module", "net.py:make", "--weights", "net.safetensors", "--retain", "retain.npz"]
    words += ["-r", "squared-l2", "--json", "report.json"]
    assert cli.main([*words, "--forget", "forget.npz"]) == 0
    said = capsys.readouterr().out
    assert "retained outputs move by up to" in said
    assert "forgotten outputs move by up to" in said
    assert "would have kept them" in said
    import json

    told = json.loads(Path("report.json").read_text())["effect"]
    assert told["retained_change"] > told["tolerance"]
    assert told["lam"] > 0
    assert cli.main(["solve", "retain.npz", "--forget", "forget.npz"]) == 2
