"""Limits of time, by a clock that goes on by one whenever it is read: nothing here measures how long anything takes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.cli import main
from exact_unlearn.errors import ProblemError
from exact_unlearn.reference import backends
from exact_unlearn.solution import Status
from exact_unlearn.watch import TimeUpError, finishing, limited, remaining, tick, watched
from tests.cases import drifts, gaussian_problem, regularizers


def clock() -> Callable[[], float]:
    """0, 1, 2, ... one per reading."""
    readings = iter(range(10**9))
    return lambda: float(next(readings))


def test_without_a_limit_nothing_happens() -> None:
    assert not limited()
    assert remaining() == math.inf
    tick("work")


def test_a_limit_ends_what_is_inside_and_nothing_else() -> None:
    with pytest.raises(TimeUpError), watched(5, clock=clock()):
        deque((tick() for _ in range(100)), maxlen=0)
    tick()
    assert not limited()


def test_a_limit_inside_another_is_not_longer() -> None:
    with watched(10, clock=clock()), watched(100):
        assert remaining() <= 10
    with watched(100, clock=clock()), watched(share=0.25):
        assert remaining() < 26
    with watched(share=0.5):
        assert remaining() == math.inf


def test_what_must_be_finished_has_no_limit() -> None:
    with watched(1, clock=clock()):
        with pytest.raises(TimeUpError):
            deque((tick() for _ in range(9)), maxlen=0)
        with finishing():
            deque((tick() for _ in range(9)), maxlen=0)
            assert remaining() == math.inf
        with pytest.raises(TimeUpError):
            tick()


def test_listeners_hear_what_is_done_inside() -> None:
    heard: list[str] = []
    with watched(say=heard.append), watched(1000, clock=clock()):
        tick()
        tick("one")
        with finishing():
            tick("two")
    assert heard == ["one", "two"]


# ---------------------------------------------------------------- certify


LEVELS = ("none", "repaired", "enclosure", "exact")


def limits(problem: Any, solution: Any = None) -> list[Any]:
    """Certificates under growing limits, in readings of the clock."""
    found = []
    for limit in (1, 3, 10, 30, 100, 300, 10**6):
        with watched(clock=clock()):
            found.append(xu.certify(problem, solution, time_limit=limit))
    return found


@pytest.mark.parametrize("drift", ["none", "ball", "squared and l1"])
@pytest.mark.parametrize("name", ["squared l2", "weighted l1", "linf", "group l2", "nuclear norm", "l2"])
def test_whenever_the_time_is_up_there_are_bounds(name: str, drift: str) -> None:
    """However early: theta* fits, and a norm is not negative.  More time never proves less, enough of it everything."""
    problem = gaussian_problem(regularizers()[name], drifts()[drift])
    whole = xu.certify(problem)
    found = limits(problem)
    assert found[0].proof == "repaired"
    assert "the time limit was reached" in found[0].message
    for certificate in found:
        verdict = certificate.check()
        assert verdict.proof == certificate.proof
        assert certificate.lower <= whole.upper
        assert certificate.upper >= whole.lower
    assert [c.gap for c in found] == sorted((c.gap for c in found), reverse=True)
    assert (found[-1].proof, found[-1].lower, found[-1].upper) == (whole.proof, whole.lower, whole.upper)


@pytest.mark.parametrize("name", ["weighted l1", "group l2", "nuclear norm"])
def test_a_solution_at_hand_is_used_first(name: str) -> None:
    """Its theta and nu are worth ten digits before Newton's method or exact pivoting have begun."""
    problem = gaussian_problem(regularizers()[name])
    solution = xu.solve(problem)
    with watched(clock=clock()):
        certificate = xu.certify(problem, solution, time_limit=24)
    assert certificate.proof == "repaired"
    assert certificate.gap < 1e-6
    assert "the time limit was reached" in certificate.message


@pytest.mark.parametrize("drift", ["none", "ball", "squared and l1"])
@pytest.mark.parametrize("name", ["weighted l1", "linf", "group l2", "nuclear norm"])
def test_multipliers_at_hand_are_used_before_any_point_is_made_feasible(name: str, drift: str) -> None:
    """theta* is feasible, so that a lower bound needs no exact solve: it is there before the upper one is better."""
    problem = gaussian_problem(regularizers()[name], drifts()[drift])
    solution, whole = xu.solve(problem), xu.certify(problem)
    found = []
    for limit in (5, 7, 9, 11):
        with watched(clock=clock()):
            found.append(xu.certify(problem, solution, time_limit=limit))
    resting = problem.objective(problem.theta_star)
    early = [c.lower for c in found if c.lower > 0 and float(c.upper) >= float(resting) * (1 - 1e-9)]
    assert early
    assert max(early) >= float(whole.lower) * (1 - 1e-6)


def test_without_a_feasible_point_at_hand_nothing_is_said() -> None:
    problem = gaussian_problem(xu.L1())
    moved = xu.UnlearningProblem(problem.theta_star, problem.jacobian, xu.L1(), rhs=np.ones(5))
    with watched(clock=clock()):
        certificate = xu.certify(moved, time_limit=1)
    assert (certificate.proof, certificate.lower, certificate.upper) == ("none", None, None)
    assert "time limit" in certificate.message


@pytest.mark.parametrize("limit", [1, 20, 100])
@pytest.mark.parametrize("drift", [None, xu.L1Drift(0.1)], ids=["alone", "l1"])
def test_a_count_that_is_cut_short_is_an_interval(limit: int, drift: Any) -> None:
    problem = gaussian_problem(xu.L0(), drift)
    whole = xu.certify(problem)
    with watched(clock=clock()):
        certificate = xu.certify(problem, time_limit=limit)
    assert certificate.proof == "repaired"
    assert certificate.lower <= whole.lower <= whole.upper <= certificate.upper
    assert drift is not None or certificate.upper <= 5  # as many as there are rows, with no search at all
    assert certificate.check().proved
    assert "time limit" in certificate.message


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, math.inf, "soon"])
def test_a_limit_must_be_a_positive_number(limit: Any) -> None:
    with pytest.raises(ProblemError, match="time_limit: expected a positive number"):
        xu.certify(gaussian_problem(xu.L1()), time_limit=limit)


def test_what_is_going_on_can_be_heard() -> None:
    heard: list[str] = []
    with watched(say=heard.append):
        xu.certify(gaussian_problem(xu.L1(), xu.TrustRegion(0.7)))
    assert heard == ["the exact optimum", "Newton's method to hundreds of digits"]


# ---------------------------------------------------------------- solve


def test_without_time_no_back_end_is_asked() -> None:
    problem = gaussian_problem(xu.L1())
    with watched(clock=clock()):
        solution = xu.solve(problem, time_limit=1)
    assert solution.status is Status.TIME_LIMIT
    assert (solution.theta == problem.theta_star).all()
    assert solution.message


def test_with_time_enough_the_answer_is_the_same() -> None:
    problem = gaussian_problem(xu.L1())
    with watched(clock=clock()):
        solution = xu.solve(problem, time_limit=10**6)
    assert solution.status is Status.OPTIMAL
    assert (solution.theta == xu.solve(problem).theta).all()


@pytest.mark.parametrize("limit", [2, 8, 30])
@pytest.mark.parametrize("drift", [None, xu.L1Drift(0.1)], ids=["alone", "l1"])
def test_a_count_under_a_limit_is_an_interval_that_holds(limit: int, drift: Any) -> None:
    """Pruning refits once per group, which took minutes: it ends with the time, and what it has by then counts."""
    problem = gaussian_problem(xu.L0(), drift)
    whole = xu.certify(problem)
    with watched(clock=clock()):
        solution = xu.solve(problem, time_limit=limit)
    assert solution.status is Status.INTERVAL
    assert solution.lower <= float(whole.upper) * (1 + 1e-12)
    assert solution.upper >= float(whole.lower) * (1 - 1e-12)
    assert solution.primal_residual() < 1e-9


def test_a_back_end_is_given_what_is_left() -> None:
    program = xu.explicit_program(gaussian_problem(xu.L1()))
    with watched(100, clock=clock()):
        answer = backends.run(program, "CLARABEL", 1e-9, 1000.0)
    assert 90 < answer.limit < 100
    assert not answer.timed_out
    with watched(1, clock=clock()):
        answer = backends.run(program, "CLARABEL", 1e-9, None)
    assert (answer.z, answer.timed_out) == (None, True)


def test_the_command_line_has_limits_and_says_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem, place = gaussian_problem(xu.L1()), tmp_path / "p.problem.npz"
    problem.save(place)
    command = [str(place), "-o", str(tmp_path / "s.solution.npz"), "--time-limit"]
    with watched(clock=clock()):
        assert main(["solve", *command, "2"]) == 0  # bounds of theta* itself, at least, are proved
    assert "time limit" in capsys.readouterr().out
    certificate = tmp_path / "s.certificate.json"
    assert 0 < xu.Certificate.load(certificate).gap <= 1
    with watched(clock=clock()):
        main(["certify", str(place), str(tmp_path / "s.solution.npz"), "-o", str(certificate), "--time-limit", "3"])
    assert 0 < xu.Certificate.load(certificate).gap <= 1
    assert main(["certify", str(place), str(tmp_path / "s.solution.npz"), "--time-limit", "0"]) == 2
    assert "time_limit: expected a positive number" in capsys.readouterr().err
