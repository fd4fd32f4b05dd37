"""judge(): what is true of anybody's point, told apart from what is true of the optimum."""

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
from exact_unlearn.cli import main
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Status
from exact_unlearn.verdict import IMPOSSIBLE, INFEASIBLE, NOT_OPTIMAL, NOTHING, OPTIMAL, UNDECIDED, nuclear
from exact_unlearn.watch import watched
from tests.cases import drifts, freezings, gaussian_problem, regularizers
from tests.test_watch import clock


@pytest.fixture(scope="module")
def problem() -> UnlearningProblem:
    rng = np.random.default_rng(0)
    return UnlearningProblem(rng.normal(size=9), rng.normal(size=(4, 9)), xu.L1())


def by_osqp(problem: UnlearningProblem) -> np.ndarray[Any, Any]:
    """A splitting solver that stops early: it comes from below, where no feasible point is."""
    x = cp.Variable(problem.n_parameters)
    task = cp.Problem(cp.Minimize(cp.sum_squares(x) / 2), [problem.jacobian.matrix @ (x - problem.theta_star) == 0])
    task.solve(solver="OSQP", polishing=False, adaptive_rho=False, rho=1e-4, eps_abs=1e-3, eps_rel=1e-3)
    return np.asarray(x.value)


def test_three_points_of_one_problem(problem: UnlearningProblem) -> None:
    """zeros, theta*, and 100 times random numbers: none of them is optimal."""
    noise = 100 * np.random.default_rng(1).normal(size=9)
    found = [xu.judge(problem, point) for point in (np.zeros(9), problem.theta_star, noise)]
    assert [v.outcome for v in found] == [INFEASIBLE, NOT_OPTIMAL, INFEASIBLE]
    assert [v.optimal for v in found] == [False] * 3
    J, theta = problem.jacobian.matrix, problem.theta_star
    assert float(found[0].residual) == pytest.approx(np.abs(J @ theta).max(), rel=1e-14)
    shares = np.abs(J @ theta) / np.linalg.norm(J, axis=1) / np.linalg.norm(theta)
    assert float(found[0].violation) == pytest.approx(shares.max(), rel=1e-14)
    assert found[1].violation == 0
    optimum, value = xu.certify(problem).upper, sum(map(abs, map(Fraction, theta.tolist())))
    assert found[1].excess == (value - optimum) / optimum


def test_a_point_below_the_optimum(problem: UnlearningProblem) -> None:
    squares = replace(problem, regularizer=xu.SquaredL2())
    theta = by_osqp(squares)
    verdict = xu.judge(squares, theta)
    assert verdict.outcome == INFEASIBLE
    assert verdict.excess < 0
    assert "below the optimum" in str(verdict)
    # a caller who lets so much pass for feasible is told what he would buy
    assert xu.judge(squares, theta, tolerance=2 * float(verdict.violation)).outcome == IMPOSSIBLE


def test_a_value_that_no_feasible_point_has(problem: UnlearningProblem) -> None:
    """A point that misses its rows by less than the tolerance, along the multipliers, for a lower value."""
    solution = xu.solve(problem)
    J = problem.jacobian.matrix
    ill = UnlearningProblem(problem.theta_star, np.vstack([J[:3], J[0] + 1e-7 * J[3]]), xu.L1())
    best = xu.solve(ill)
    cheaper = xu.solve(UnlearningProblem(problem.theta_star, J[:3], xu.L1()))
    verdict = xu.judge(ill, cheaper.theta, tolerance=1e-5)
    assert verdict.outcome == IMPOSSIBLE, str(verdict)
    assert verdict.excess < -1e-5
    assert xu.judge(ill, cheaper.theta).outcome == INFEASIBLE
    assert xu.judge(ill, best).optimal
    assert xu.judge(problem, replace(solution, lower=solution.value + 1)).outcome == IMPOSSIBLE
    assert xu.judge(problem, replace(solution, status=Status.INFEASIBLE)).outcome == IMPOSSIBLE


@pytest.mark.parametrize("drift", ["none", "squared and l1", "all"])
@pytest.mark.parametrize("regularizer", regularizers())
def test_right_answers_are_optimal_and_wrong_ones_are_not(regularizer: str, drift: str) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()["some frozen"])
    solution = xu.solve(problem)
    verdict = xu.judge(problem, solution)
    assert verdict.optimal, str(verdict)
    assert verdict.least <= Fraction(solution.value) * (1 + Fraction(1, 10**12))
    assert Fraction(solution.value) * (1 - Fraction(1, 10**12)) <= verdict.most
    moved = problem.theta_star + 0.9 * solution.drift  # feasible, for b = 0 and regions are convex
    if np.abs(solution.drift).max() < 1e-9:  # theta* itself is optimal; so nothing else is
        J = problem.free_matrix()
        moved[problem.free] += 0.01 * np.linalg.svd(J)[2][-1]
    worse = xu.judge(problem, moved)
    assert worse.outcome == NOT_OPTIMAL, str(worse)
    assert worse.distance is None or worse.distance >= worse.apart >= 0
    off = solution.theta + 1e-3 * problem.free
    assert xu.judge(problem, off).outcome == INFEASIBLE


def test_distances_enclose_the_true_one(problem: UnlearningProblem) -> None:
    squares = UnlearningProblem(problem.theta_star, problem.jacobian, xu.SquaredL2())
    truth = xu.certify(squares).theta
    theta = truth + np.linspace(0, 1, 9)
    verdict = xu.judge(squares, theta)
    length = Fraction(float(np.linalg.norm(theta - truth)))
    assert abs(verdict.distance - length) < Fraction(1, 10**12)
    assert abs(verdict.apart - length) < Fraction(1, 10**12)


def test_exactly_feasible_means_exactly() -> None:
    problem = UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], xu.LInf())
    assert xu.judge(problem, [1.5, 1.5], tolerance=0).optimal
    assert xu.judge(problem, [1.5, np.nextafter(1.5, 2)], tolerance=0).outcome == INFEASIBLE
    verdict = xu.judge(problem, [1.5, np.nextafter(1.5, 2)])
    assert verdict.optimal
    assert verdict.residual == Fraction(1, 2**52)
    assert xu.judge(problem, [Fraction(4, 3), Fraction(5, 3)], tolerance=0).outcome == NOT_OPTIMAL
    third = UnlearningProblem([Fraction(1, 3), 1], [[Fraction(1), Fraction(0)]], xu.L2())
    assert xu.judge(third, [Fraction(1, 3), 0], tolerance=0).optimal


def test_frozen_coordinates_stay() -> None:
    problem = gaussian_problem(xu.L1(), None, freezings()["some frozen"])
    solution = xu.solve(problem)
    theta = solution.theta.copy()
    j = int(np.flatnonzero(~problem.free)[0])
    theta[j] = np.nextafter(theta[j], 9)
    verdict = xu.judge(problem, theta)
    assert verdict.outcome == INFEASIBLE
    assert verdict.frozen == (j,)
    assert f"coordinate {j}" in str(verdict)


@pytest.mark.parametrize("norm", [2, np.inf])
def test_regions_are_measured(norm: float) -> None:
    problem = gaussian_problem(xu.L1(), xu.TrustRegion(0.3, norm))
    solution = xu.solve(problem)
    assert xu.judge(problem, solution).optimal
    outside = xu.judge(problem, problem.theta_star + 1.5 * solution.drift)
    assert outside.outcome == INFEASIBLE
    assert float(outside.violation) == pytest.approx(0.5, rel=1e-6)
    assert "trust region" in str(outside)
    pinned = replace(problem, drift_penalty=xu.TrustRegion(0.0, norm))
    assert xu.judge(pinned, problem.theta_star, tolerance=0).optimal
    assert xu.judge(pinned, solution.theta).outcome == INFEASIBLE


def test_multipliers_are_judged_alone(problem: UnlearningProblem) -> None:
    solution = xu.solve(problem)
    optimum = xu.certify(problem).upper
    right = xu.judge(problem, problem.theta_star, solution.nu)
    assert right.outcome == NOT_OPTIMAL  # whatever the multipliers say
    assert optimum * (1 - Fraction(1, 10**12)) <= right.nu_lower <= optimum
    wrong = xu.judge(problem, solution.theta, -solution.nu)
    assert wrong.optimal
    assert wrong.nu_lower == 0
    assert "prove too little" in str(wrong)
    assert xu.judge(problem, solution.theta).nu_lower is None
    for R in (xu.L2(), xu.LInf(), xu.GroupL2(np.arange(9) // 3), xu.SquaredL2()):
        other = UnlearningProblem(problem.theta_star, problem.jacobian, R, xu.SquaredDrift(0.3))
        answer = xu.solve(other)
        verdict = xu.judge(other, answer.theta, answer.nu)
        assert verdict.nu_lower >= xu.certify(other).lower * (1 - Fraction(1, 10**6))


def test_counts() -> None:
    J = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    problem = UnlearningProblem([1.0, 1.0, 1.0, 1.0], J, xu.L0())
    assert xu.judge(problem, [2.0, 0.0, 0.0, 2.0], tolerance=0).optimal
    assert xu.judge(problem, [1.0, 2.0, 1.0, 0.0]).outcome == NOT_OPTIMAL
    nearly = xu.judge(problem, [2.0, 1e-12, 0.0, 2.0])
    assert nearly.optimal
    assert xu.judge(problem, [2.0, 1e-12, 0.0, 2.0], tolerance=0).outcome == INFEASIBLE


def test_an_interval_decides_only_what_lies_outside_it(problem: UnlearningProblem) -> None:
    """A proof without multipliers knows that the optimum lies in [0, upper]."""
    strong = xu.certify(problem)
    claims = {"proof": "repaired", "lower": "0"}
    tree = {**strong.tree, "dual": {"nu": []}, "claims": claims}
    weak = replace(strong, proof="repaired", lower=Fraction(0), distance=None, unique=None, tree=tree)
    assert weak.check().proved
    verdict = xu.judge(problem, strong.theta, certificate=weak)
    assert (verdict.outcome, verdict.distance) == (UNDECIDED, None)
    assert 0 <= verdict.excess < 1e-15  # rounded, the optimum may lie above itself
    assert "in [0, " in str(verdict)
    assert xu.judge(problem, problem.theta_star, certificate=weak).outcome == NOT_OPTIMAL
    assert xu.judge(problem, 2 * problem.theta_star, certificate=weak).outcome == INFEASIBLE


def test_nothing_is_optimal_where_nothing_fits() -> None:
    problem = UnlearningProblem(np.zeros(2), [[1.0, 0.0], [1.0, 0.0]], xu.L1(), rhs=[1.0, 2.0])
    verdict = xu.judge(problem, [1.0, 0.0])
    assert (verdict.outcome, verdict.optimal, verdict.residual) == (NOTHING, False, 1)
    claim = xu.judge(problem, xu.solve(problem))
    assert "which is right" in str(claim)
    assert "multipliers are a proof" in str(claim)
    assert "no proof" in str(xu.judge(problem, [1.0, 0.0], [1.0, 1.0]))
    within = xu.judge(problem, [1.5, 0.0], tau=0.6)
    assert within.optimal
    assert xu.judge(problem, [1.0, 0.0], tau=0.6).outcome == INFEASIBLE


def test_readings_are_asked_for() -> None:
    problem = UnlearningProblem(np.zeros(2), [[1, 0], [0, 1], [1, 1]], xu.L2(), rhs=[0.1, 0.2, 0.3])
    with pytest.raises(RankAmbiguityError):
        xu.judge(problem, [0.1, 0.2])
    assert xu.judge(problem, [0.1, 0.2], tau=1e-15).optimal
    assert xu.judge(problem, [0.1, 0.2], rows="literal").outcome == NOTHING


def test_a_proof_below_the_standard_of_the_caller_decides_nothing() -> None:
    """Rows that repeat each other up to rounding, with labels that do not."""
    problem = UnlearningProblem([1.0, 2.0], [[0.1, 0.7], [0.1 * 3.1, 0.7 * 3.1]], xu.L1(), rhs=[0.0, 1.0])
    verdict = xu.judge(problem, [1.0, 2.0], tau=1e-6)
    assert verdict.outcome == INFEASIBLE
    assert "nothing was proved" in str(verdict)
    assert "give it to accept" in str(verdict)


def test_an_optimum_of_zero_is_measured_against_theta_star() -> None:
    problem = UnlearningProblem([3.0, 4.0], [[0.0, 0.0]], xu.L2())
    assert xu.judge(problem, [0.0, 0.0], tolerance=0).optimal
    assert xu.judge(problem, [1e-9, 0.0]).optimal
    assert xu.judge(problem, [1e-6, 0.0]).outcome == NOT_OPTIMAL


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([1.0, np.nan],), "theta: expected finite numbers"),
        (([1.0],), "theta: expected 2 entries"),
        (([[1.0, 2.0]],), "theta: expected"),
        (("ab",), "theta"),
        (([1.0, 2.0], [1.0, 2.0]), "nu: expected 1 entries"),
        (([1.0, 2.0], [np.inf]), "nu: expected finite"),
    ],
)
def test_what_is_no_point_is_one_sentence(arguments: tuple[Any, ...], complaint: str) -> None:
    problem = UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], xu.L1())
    with pytest.raises(ProblemError, match=complaint) as caught:
        xu.judge(problem, *arguments)
    assert "\n" not in str(caught.value)


def test_other_arguments_are_checked() -> None:
    problem = UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], xu.L1())
    for wrong in (-1.0, np.nan, "small"):
        with pytest.raises(ProblemError, match="tolerance: expected"):
            xu.judge(problem, [1.0, 2.0], tolerance=wrong)  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match="expected an UnlearningProblem"):
        xu.judge(np.eye(2), [1.0, 2.0])  # type: ignore[arg-type]
    other = xu.certify(UnlearningProblem([1.0, 2.0], [[1.0, 3.0]], xu.L1()))
    with pytest.raises(ProblemError, match="does not prove"):
        xu.judge(problem, [1.0, 2.0], certificate=other)


def test_the_nuclear_norm_is_enclosed() -> None:
    rng = np.random.default_rng(3)
    for shape in ((3, 4), (4, 2), (1, 5)):
        for scale in (1.0, 1e-200, 1e200):
            X = rng.normal(size=shape) * scale
            below, above = nuclear([Fraction(x) for x in X.reshape(-1).tolist()], *shape)
            truth = Fraction(float(np.linalg.norm(X / scale, "nuc")))
            assert below <= above
            for bound in (below, above):
                assert abs(bound / Fraction(scale) - truth) < Fraction(1, 10**13)
    assert nuclear([Fraction(3), Fraction(0), Fraction(0), Fraction(4)], 2, 2)[0] <= 7
    assert nuclear([Fraction(3), Fraction(0), Fraction(0), Fraction(4)], 2, 2)[1] >= 7


def test_the_command_line(problem: UnlearningProblem, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "p.npz"
    problem.save(given)
    xu.solve(problem).save(tmp_path / "right.npz")
    np.savez(tmp_path / "zeros.npz", theta=np.zeros(9))
    np.savez(tmp_path / "start.npz", theta=problem.theta_star)
    np.savez(tmp_path / "short.npz", theta=np.zeros(3))
    report, certificate = tmp_path / "r.json", tmp_path / "c.json"
    expected = {"right": (0, OPTIMAL), "zeros": (1, INFEASIBLE), "start": (1, NOT_OPTIMAL)}
    for name, (status, outcome) in expected.items():
        for verb in (["judge"], ["certify", "-o", str(certificate)]):
            command = [verb[0], str(given), str(tmp_path / f"{name}.npz"), *verb[1:], "--quiet", "--json", str(report)]
            assert main(command) == status
            said = capsys.readouterr().out
            assert outcome in said
            tree = json.loads(report.read_text())["judgement"]
            assert tree["outcome"] == outcome
            assert Fraction(tree["residual"]) >= xu.judge(problem, np.load(tmp_path / f"{name}.npz")["theta"]).residual
        assert certificate.is_file()  # about the problem, whatever the point is worth
        assert main(["check", str(given), str(certificate)]) == 0
        capsys.readouterr()
    assert main(["judge", str(given), str(tmp_path / "start.npz"), "--quiet", "--tolerance", "10"]) == 0
    assert main(["judge", str(given), str(tmp_path / "short.npz"), "--quiet"]) == 2
    assert "theta: expected 9 entries" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "outcome"), [(1, UNDECIDED), (10**6, OPTIMAL)])
def test_a_limit_of_time_leaves_the_measured_and_takes_the_proved(
    problem: UnlearningProblem, limit: float, outcome: str
) -> None:
    """By a clock that goes on by one whenever it is read; multipliers are judged with what is left of the limit."""
    solution, whole = xu.solve(problem), xu.judge(problem, xu.solve(problem))
    with watched(clock=clock()):
        verdict = xu.judge(problem, solution, time_limit=limit)
    assert verdict.outcome == outcome
    assert (verdict.residual, verdict.least, verdict.most) == (whole.residual, whole.least, whole.most)
    assert (verdict.nu_lower is None) == (outcome == UNDECIDED)


@pytest.mark.parametrize("limit", [0, -1.0, np.nan, "soon"])
def test_a_limit_of_time_is_a_positive_number(problem: UnlearningProblem, limit: Any) -> None:
    with pytest.raises(ProblemError, match="time_limit: expected a positive number"):
        xu.judge(problem, problem.theta_star, time_limit=limit)


def test_the_command_line_has_the_limit(problem: UnlearningProblem, tmp_path: Path) -> None:
    given = tmp_path / "p.npz"
    problem.save(given)
    np.savez(tmp_path / "s.npz", theta=xu.solve(problem).theta)
    for limit, status in (("1e-9", 1), ("1000", 0)):
        assert main(["judge", str(given), str(tmp_path / "s.npz"), "--quiet", "--time-limit", limit]) == status
    assert main(["judge", str(given), str(tmp_path / "s.npz"), "--quiet", "--time-limit", "-1"]) == 2


@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize("R", [xu.L1(), xu.L2(), xu.GroupL2([0, 1])], ids=lambda R: R.name)
@pytest.mark.parametrize(("distance", "explained"), [(0.1 + 0.2, True), (0.3 * (1 + 1e-8), False)])
def test_a_region_missed_by_rounding_is_refuted_and_said_to_be(
    distance: float, explained: bool, R: Any, norm: float
) -> None:
    """.1 + .2 is more than .3: nothing fits as written, and the certificate says whose fault that is."""
    region = UnlearningProblem([0.0, 0.0], [[1.0, 0.0]], R, xu.TrustRegion(0.3, norm), rhs=[distance])
    certificate = xu.certify(region)
    assert certificate.proof == "infeasible"
    assert ("by no more than rounding explains" in certificate.message) == explained
    wider = replace(region, drift_penalty=xu.TrustRegion(0.3 * (1 + 1e-9), norm))
    assert (xu.certify(wider).proof != "infeasible") == explained


def test_frozen_entries_count_however_small_they_are() -> None:
    """Beside 2^30 a free entry of 0.001 would be rounding; a frozen one is a parameter that stays."""
    problem = UnlearningProblem([1e-3, 0, 0], [[0, 1, 2.0**-40]], xu.L0(), free=[1, 2], rhs=[2.0**30])
    verdict = xu.judge(problem, [1e-3, 2.0**30, 0.0])
    assert verdict.outcome == "optimal"
    assert verdict.least == verdict.most == 2
    assert xu.judge(problem, [1e-3, 2.0**30, 2.0**-40]).least == 2


def test_an_optimum_that_rounding_makes_of_0_is_measured_by_what_theta_star_costs() -> None:
    """theta* lies in the kernel of J but for a rounding error, so that theta = 0 misses a row by 1e-16 of its size."""
    problem = UnlearningProblem([1.0, -1.0], [[1.0, 1.0 + 2.0**-52]], xu.SquaredL2())
    verdict = xu.judge(problem, [0.0, 0.0])
    assert 0 < verdict.certificate.lower < 1e-31
    assert verdict.outcome == "optimal"
    assert xu.judge(problem, [0.0, 0.0], tolerance=0.0).outcome == "infeasible"
    assert xu.judge(problem, [1e-7, -1e-7]).outcome == "feasible but not optimal"
