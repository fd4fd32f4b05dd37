"""Paths at their corners: nothing to retain, nothing to win, contradictory labels; files and interrupts."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.jacobian import Array
from exact_unlearn.path import walk
from exact_unlearn.path.control import Control

RNG = np.random.default_rng(5)
X = RNG.standard_normal((8, 3))
Y = RNG.standard_normal(8)
TANH = xu.Perceptron(3, 10, "tanh")
START = TANH.interpolating_parameters(X, Y, RNG)
RETAIN = X[:6]
FAST: dict[str, Any] = {"solver": "scalable"}


def test_nothing_retained_ends_at_zero() -> None:
    path = xu.unlearn_path(TANH, START, np.zeros((0, 3)), xu.SquaredL2(), **FAST)
    assert path.status is xu.PathStatus.CONVERGED
    assert np.linalg.norm(path.theta) < 1e-5 * np.linalg.norm(START)
    assert path.effect.kept


def test_a_linear_model_ends_at_the_least_norm() -> None:
    """Where the model is linear, so that the exact problem has a formula."""
    model = xu.LinearModel(6)
    x = RNG.standard_normal((3, 6))
    theta_star = RNG.standard_normal(6)
    path = xu.unlearn_path(model, theta_star, x, xu.SquaredL2(), tol=1e-9)
    assert path.status is xu.PathStatus.CONVERGED
    np.testing.assert_allclose(path.theta, np.linalg.pinv(x) @ x @ theta_star, atol=1e-8)


def test_a_point_that_is_optimal_already_is_left_alone() -> None:
    model = xu.LinearModel(6)
    x = RNG.standard_normal((3, 6))
    least = np.linalg.pinv(x) @ np.ones(3)
    for theta_star in (least, np.zeros(6)):
        path = xu.unlearn_path(model, theta_star, x, xu.SquaredL2())
        assert path.status is xu.PathStatus.CONVERGED
        assert not path.accepted
        assert path.effect.retained_change < 1e-12


def test_contradictory_labels_are_a_status() -> None:
    twice = np.vstack([RETAIN, RETAIN[:1]])
    path = xu.unlearn_path(TANH, START, twice, xu.SquaredL2(), np.append(Y[:6], Y[0] + 1.0))
    assert path.status is xu.PathStatus.NOT_INTERPOLATING
    assert path.error >= 0.5 - 1e-9
    assert not path.steps
    assert "max |f - y| stays at" in path.summary()
    assert "contradict" in path.advice


def test_samples_that_occur_twice_cost_nothing() -> None:
    once = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=6, **FAST)
    twice = xu.unlearn_path(TANH, START, np.vstack([RETAIN, RETAIN]), xu.SquaredL2(), steps=6, **FAST)
    np.testing.assert_allclose(twice.theta, once.theta, atol=1e-6)


def test_frozen_parameters_stay_and_zeros_are_kept() -> None:
    path = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), free="c", steps=40)
    block = TANH.blocks["A"]
    np.testing.assert_array_equal(path.theta[block], START[block])
    exact = xu.solve(xu.exact_problem(TANH, START, RETAIN, TANH.predict(START, RETAIN), xu.SquaredL2(), free="c"))
    assert path.value == pytest.approx(exact.value, rel=1e-7)  # affine in c, so the surrogate is the exact problem
    sparse = xu.unlearn_path(TANH, START, RETAIN, xu.L1(), steps=40, **FAST)
    assert np.sum(sparse.theta == 0) > 10


@pytest.mark.parametrize("R", [xu.ActiveNeurons(TANH), xu.L0()], ids=["neurons", "l0"])
def test_counts_are_refused(R: Any) -> None:
    with pytest.raises(xu.ProblemError, match="counts, and a count does not change along short steps"):
        xu.unlearn_path(TANH, START, RETAIN, R)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"theta_star": np.full(40, np.nan)}, "theta_star: expected finite"),
        ({"theta_star": START[:-1]}, "theta_star: expected 40 parameters"),
        ({"theta_star": None}, "theta_star: needed"),
        ({"x_retain": X[:, :2]}, "x_retain: expected 3 columns"),
        ({"x_forget": X[:, :2]}, "x_forget: expected 3 columns"),
        ({"x_forget": X * np.nan}, "x_forget: expected finite"),
        ({"y_retain": Y}, r"y_retain: expected shape \(6, 1\)"),
        ({"radius": 1.0, "lam": 1.0}, "radius: expected radius or lam, got both"),
        ({"radius": 0.0}, "radius: expected a number > 0"),
        ({"lam": -1.0}, "lam: expected one finite number >= 0"),
        ({"tol": np.nan}, "tol: expected one finite number"),
        ({"steps": 1.5}, "steps: expected a whole number"),
        ({"solver": 3}, "solver: expected 'scalable'"),
        ({"resume": 3}, "resume: expected a Path"),
    ],
)
def test_bad_arguments_are_one_sentence(change: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"model": TANH, "theta_star": START, "x_retain": RETAIN, "regularizer": xu.SquaredL2()}
    with pytest.raises(xu.ProblemError, match=said):
        xu.unlearn_path(**{**right, "steps": 1, **change})


def test_steps_become_shorter_where_they_lose_much() -> None:
    for control in (Control("lam", 1.0, 1.0), Control("radius", 1.0, 1.0)):
        shorter, longer = control.refused(10.0), control.after(1e-6, 1.0)
        assert (shorter.at > control.at) is (control.kind == "lam")
        assert (longer.at < control.at) is (control.kind == "lam")
        assert control.after(0.1, 0.5).at == pytest.approx(control.at)  # a fair one stays
        assert control.after(1e-6, 0.1).at == control.stretched(0.5).at  # a poor gain, though little was lost
    stuck = Control("lam", 1.0, 1.0)
    for _ in range(40):
        stuck = stuck.refused(np.inf)
    assert stuck.stuck


# --- what was done is kept --------------------------------------------------------------------------------------------


def same(a: xu.Path, b: xu.Path) -> bool:
    numbers = [[(s.accepted, s.value, s.moved, s.error, s.at, s.note) for s in path.steps] for path in (a, b)]
    return numbers[0] == numbers[1] and np.array_equal(a.theta, b.theta) and a.control == b.control


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".json"])
def test_a_path_goes_on_from_its_file_as_if_it_had_never_ended(suffix: str, tmp_path: Path) -> None:
    at_once = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=9, **FAST)
    part = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=4, **FAST)
    part.save(tmp_path / f"path{suffix}")
    loaded = xu.Path.load(tmp_path / f"path{suffix}")
    assert same(part, loaded)
    assert loaded.summary() == part.summary()
    assert loaded.status is xu.PathStatus.STEPS_USED_UP
    assert same(at_once, xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=5, resume=loaded, **FAST))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"theta_star": START + 1.0}, "theta_star is another"),
        ({"y_retain": Y[:6] + 1.0}, "y_retain is another"),
        ({"free": "c"}, "free is another"),
        ({"regularizer": xu.L1()}, "regularizer is another"),
        ({"regularizer": xu.SquaredL2(np.full(40, 2.0))}, "regularizer is another"),
        ({"lam": 1.0}, "leave out radius and lam"),
    ],
)
def test_only_the_same_problem_is_resumed(change: dict[str, Any], said: str) -> None:
    part = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=2, **FAST)
    right: dict[str, Any] = {"theta_star": START, "x_retain": RETAIN, "regularizer": xu.SquaredL2(), "resume": part}
    with pytest.raises(xu.ProblemError, match=said):
        xu.unlearn_path(TANH, **{**right, **change})


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    part = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=2, **FAST)
    part.save(tmp_path / "path.json")
    good = json.loads((tmp_path / "path.json").read_text())
    for change in (
        {"schema": "exact-unlearn/solution"}, {"version": 7}, {"theta": None}, {"status": "done"}, {"steps": {}},
        {"control": {"kind": "speed", "at": "1", "unit": "1"}}, {"effect": None}, {"value": None},
        {"start": {"shape": [1], "data": ["1"]}},
    ):  # fmt: skip
        (tmp_path / "bad.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(xu.FileFormatError) as caught:
            xu.Path.load(tmp_path / "bad.json")
        assert "bad.json" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_interrupt_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    honest = walk.tried

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(walk, "tried", interrupted)
    path = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=9, **FAST)
    assert path.status is xu.PathStatus.INTERRUPTED
    assert len(path.steps) == 3
    assert path.error < 1e-12
    monkeypatch.setattr(walk, "tried", honest)
    whole = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=9, **FAST)
    assert same(whole, xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=6, resume=path, **FAST))


def test_time_that_is_up_keeps_what_was_done() -> None:
    path = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), time_limit=1e-9)
    assert path.status is xu.PathStatus.TIME_LIMIT
    assert not path.accepted
    assert np.max(np.abs(TANH.predict(path.theta, RETAIN) - TANH.predict(START, RETAIN))) < 1e-12


def test_every_surrogate_can_be_proved() -> None:
    path = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=3, certify=True)
    assert [step.proof for step in path.steps] == ["exact"] * 3
    assert [step.gap for step in path.steps] == [0.0] * 3
    for step in path.steps:
        assert step.solution is not None
        assert step.certificate is not None
        assert step.certificate.check(step.solution.problem).proved
    assert "3 surrogates" in path.summary()


def test_the_picture(tmp_path: Path) -> None:
    path = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=8, **FAST)
    path.plot(tmp_path / "one.png")
    path.plot(tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    empty = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty.plot(tmp_path / "empty.png")
    assert repr(empty).startswith("<Path: steps_used_up, R ")
    assert "no step was tried" in empty.summary()
    assert path.steps[0].summary().startswith("step  taken: R ")


def test_a_path_is_frozen() -> None:
    path = xu.unlearn_path(TANH, START, RETAIN, xu.SquaredL2(), steps=1, **FAST)
    array: Array = path.theta
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
    with pytest.raises(AttributeError):
        path.theta = START  # type: ignore[misc]
