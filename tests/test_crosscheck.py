"""The ladder stands where it is told to, and a broken rung is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import crosscheck as ladder
from exact_unlearn.cli import main
from exact_unlearn.errors import NotMeasuredError, ProblemError, SolverError
from exact_unlearn.jacobian import to_float

SAMPLE = [
    "l1, gaussian",
    "linf, square",
    "group l2, zero row",
    "elastic net, ball",
    "squared l2, condition 1e6",
    "l2, no rows",
]


def climbed(processes: bool = False) -> ladder.Ladder:
    return ladder.crosscheck(SAMPLE, processes)


def test_a_sample_of_the_table_on_every_route() -> None:
    found = climbed(processes=True)
    assert found.problems >= len(SAMPLE)
    assert found.right, found.text()
    assert {rung.route for rung in found.rungs} == set(ladder.TOLERANCES)


def test_every_name_is_there_once_and_degenerate_instances_meet_every_norm() -> None:
    table = ladder.problems()
    for instance in ladder.instances():
        for name in ("l2", "l1", "linf", "group l2"):
            assert f"{name}, {instance}" in table
    assert ladder.names(["predictor"]) == [name for name in table if "predictor" in name]


def test_rows_that_read_at_least_are_on_the_table() -> None:
    """On every route that takes them; the closed form and processes do not."""
    found = ladder.crosscheck(["l1, some rows >=", "squared l2, some rows >="], processes=True)
    assert found.problems == 4  # with their weighted sisters
    assert found.right, found.text()
    assert {rung.route for rung in found.rungs} >= {"cvxpy", "torch", "torch, products"}


def test_a_wrong_value_and_an_infeasible_point_are_wrong() -> None:
    problem = ladder.problems()["l1, gaussian"]
    bounds = ladder.proved(problem)
    assert bounds is not None
    optimum = xu.solve(problem).theta
    assert ladder.judge(problem, optimum, bounds) <= 1e-9
    star = to_float(problem.theta_star)
    for theta in (star, 0.0 * star, optimum + 1e-3 * np.ones(12)):
        rung = ladder.climb("l1", "torch", problem, bounds, lambda _, theta=theta: theta)
        assert rung.verdict == "wrong", rung
        assert rung.error > 1e-4


def test_a_value_below_the_proved_bound_is_as_wrong_as_one_above() -> None:
    problem = ladder.problems()["l1, gaussian"]
    bounds = ladder.proved(problem)
    assert bounds is not None
    optimum = xu.solve(problem).theta
    shifted = ladder.Bounds(bounds.lower * 1.01, bounds.upper * 1.01, bounds.proof)
    assert ladder.judge(problem, optimum, shifted) == pytest.approx(
        0.01 * bounds.lower / _scale(problem, bounds), rel=0.1
    )


def _scale(problem: Any, bounds: ladder.Bounds) -> float:
    return max(bounds.upper, float(problem.regularizer.value(to_float(problem.theta_star))))


def test_what_a_route_refuses_breaks_or_cannot_promise_is_said() -> None:
    problem = ladder.problems()["l1, gaussian"]
    bounds = ladder.proved(problem)

    def refuse(_: Any) -> Any:
        raise ProblemError("not mine")

    def fail(_: Any) -> Any:
        raise SolverError("broken")

    assert ladder.climb("a", "torch", problem, bounds, refuse).verdict == "refused"
    assert ladder.climb("a", "torch", problem, bounds, fail).verdict == "wrong"
    assert ladder.climb("a", "torch", problem, None, lambda p: to_float(p.theta_star)).verdict == "not proved"
    hard = ladder.problems()["l1, condition 1e10"]
    assert ladder.climb("a", "torch, float32", hard, bounds, fail).verdict == "beyond precision"


def test_what_came_between_says_nothing_about_a_route() -> None:
    problem = ladder.problems()["l1, gaussian"]
    bounds = ladder.proved(problem)

    def starved(_: Any) -> Any:
        try:
            raise MemoryError
        except MemoryError as error:
            raise SolverError("the back end failed") from error

    def killed(_: Any) -> Any:
        raise NotMeasuredError("process 1 failed")

    rungs = [ladder.climb("a", "torch", problem, bounds, route) for route in (starved, killed)]
    assert [rung.verdict for rung in rungs] == ["not measured"] * 2
    open_ = ladder.Ladder(tuple(rungs), 1, 1)
    assert open_.not_measured
    assert not open_.right
    assert "not measured: torch on a" in open_.text()
    bad = ladder.Rung("case", "cvxpy", "wrong", math.nan, 1e-8, "none")
    assert not ladder.Ladder((*rungs, bad), 1, 1).not_measured


def test_a_ladder_with_one_bad_rung_is_not_right() -> None:
    good = ladder.Rung("case", "torch", "right", 1e-12, 1e-8, "exact")
    for verdict in ("wrong", "not proved"):
        bad = ladder.Rung("case", "cvxpy", verdict, math.nan, 1e-8, "none")
        found = ladder.Ladder((good, bad), 1, 1)
        assert not found.right
        assert f"{verdict}: cvxpy on case" in found.text()
    assert not ladder.Ladder((good,), 2, 1).right
    assert ladder.Ladder((good,), 1, 1).right


@pytest.mark.parametrize("name", ["gaussian", "condition 1e3", "condition 1e6", "condition 1e10"])
def test_conditioning_is_that_of_unit_rows(name: str) -> None:
    J, theta = ladder.instances()[name]
    found = ladder.conditioning(xu.UnlearningProblem(theta, J * np.geomspace(1e-3, 1e3, 5)[:, None], xu.L1()))
    unit = J / np.linalg.norm(J, axis=1, keepdims=True)
    assert found == pytest.approx(np.linalg.cond(unit), rel=1e-3)


def test_command_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main(["crosscheck", "l1, gaussian", "--no-processes", "--quiet", "--json", str(report)]) == 0
    assert "certified" in capsys.readouterr().out
    assert '"right": true' in report.read_text()
    assert main(["crosscheck", "--list", "no rows"]) == 0
    assert "l1, no rows" in capsys.readouterr().out
    assert main(["crosscheck", "nothing like this"]) == 2
