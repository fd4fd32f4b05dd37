"""Faults that were once planted in the reference solver and the command line, and nobody noticed."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import splu

import exact_unlearn as xu
from exact_unlearn import reference
from exact_unlearn.cli import main
from exact_unlearn.drift import DriftSum
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import Cones, ExplicitProgram, assemble
from exact_unlearn.reference import backends
from exact_unlearn.reference import polish as polishing
from exact_unlearn.reference.backends import BackendAnswer
from exact_unlearn.reference.counting import FITTED, _Support
from exact_unlearn.reference.units import rescaled
from exact_unlearn.solution import Status
from tests.cases import drifts, gaussian_problem


def disturbed(monkeypatch: pytest.MonkeyPatch, z: float = 0.0, y: float = 0.0, **fields: Any) -> None:
    """Every back end answers with z and y off by these factors, and whatever else it is said to have said."""
    honest = backends.run

    def run(program: Any, *arguments: Any) -> BackendAnswer:
        answer = honest(program, *arguments)
        assert answer.z is not None
        assert answer.y is not None
        return replace(answer, z=answer.z * (1 + z), y=answer.y * (1 + y), **fields)

    monkeypatch.setattr(backends, "run", run)


def test_the_accuracy_of_an_answer_called_optimal(monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-9 where nothing else is asked for: multipliers off by 1e-7 are worth a gap of as much."""
    assert reference.ACCURACY == 1e-9
    disturbed(monkeypatch, y=-1e-7)
    problem = gaussian_problem(xu.GroupL2(np.arange(12) // 3))
    assert xu.solve(problem).status is Status.INACCURATE
    assert 1e-8 < xu.solve(problem).relative_gap() < 1e-6
    assert xu.solve(problem, accuracy=1e-6).status is Status.OPTIMAL


@pytest.mark.parametrize("R", [xu.GroupL2(np.arange(12) // 3), xu.L2(), xu.NuclearNorm(slice(0, 12), (3, 4))])
def test_subgradients_lie_in_the_dual_ball(R: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Multipliers that are too long are scaled back; the bound they prove is then finite, and below the optimum."""
    problem = gaussian_problem(R)
    optimum = xu.certify(problem).lower
    disturbed(monkeypatch, y=1e-6)
    solution = xu.solve(problem)
    assert solution.subgradient is not None
    assert float(R.dual_norm(solution.subgradient)) <= 1
    assert Fraction(solution.dual_value()) <= optimum * (1 + Fraction(1, 10**12))


PENALTIES = [xu.SquaredDrift(0.3), xu.L1Drift(0.2), xu.SquaredDrift(0.3) + xu.L1Drift(0.2)]
FORMS = [xu.SquaredL2(), xu.L1(), xu.LInf(), xu.ElasticNet(0.7, 0.4), xu.L0()]


@pytest.mark.parametrize(("R", "penalty"), list(itertools.product(FORMS, PENALTIES)), ids=str)
@pytest.mark.parametrize("exponent", [-300, 300])
def test_units_change_the_objective_by_one_factor(R: Any, penalty: Any, exponent: int) -> None:
    """R(u t) + Rhat(u (t - t*)) = u^degree times the rescaled objective at t, exactly: in fractions."""
    unit = Fraction(2) ** exponent
    theta = np.array([Fraction(3), Fraction(-2), Fraction(1)]) * unit
    problem = UnlearningProblem(theta, [[Fraction(1), Fraction(2), Fraction(0)]], R, _scaled(penalty, R, unit))
    own = rescaled(problem)
    assert own is not None
    step = Fraction(2) ** own.exponent
    for t in ([Fraction(1), Fraction(0), Fraction(2)], [Fraction(0), Fraction(-1), Fraction(1, 3)]):
        point = np.array(t, dtype=object)
        assert problem.objective(point * step) == own.problem.objective(point) * step**own.degree


def _scaled(penalty: Any, R: Any, unit: Fraction) -> Any:
    """The penalty, weighing as much as R does in this unit."""
    degree = {"squared_l2": 2, "elastic_net": 2, "l0": 0}.get(R.name, 1)
    terms = penalty.terms if isinstance(penalty, DriftSum) else (penalty,)
    powers = [degree - (2 if term.name == "squared_drift" else 1) for term in terms]
    return DriftSum(tuple(type(t)(Fraction(t.lam) * unit**p) for t, p in zip(terms, powers, strict=True)))


@pytest.mark.parametrize(("entry", "rhs"), [(1e-10, 1e308), (1e-300, 1e300), (2.0, 1e308)])
def test_units_of_drifts_beyond_floats_are_floats(entry: float, rhs: float) -> None:
    """max |b| / |J| overflows; the unit is then the largest that a float can be divided by."""
    problem = UnlearningProblem([1.0], [[entry]], xu.L1(), rhs=[rhs])
    own = rescaled(problem)
    assert own is not None
    assert 1000 < own.exponent <= 1024
    assert np.isfinite(own.problem.rhs).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_farkas_vectors_have_their_sign(sign: float) -> None:
    """nu.b > sup <J.T nu, D>, whichever of two rows asks for more; of rows, and of regions."""
    J = np.array([[1.0, 2.0], [1.0, 2.0]])
    rows = UnlearningProblem(np.zeros(2), J, xu.L1(), rhs=sign * np.array([1.0, 2.0]))
    solution = xu.solve(rows)
    assert solution.status is Status.INFEASIBLE
    assert solution.nu @ rows.rhs > 0
    assert not (J.T @ solution.nu).any()
    for region in (xu.TrustRegion(0.1), xu.TrustRegion(0.1, np.inf)):
        far = UnlearningProblem(np.zeros(2), J[:1], xu.L1(), region, rhs=[sign])
        solution = xu.solve(far)
        assert solution.status is Status.INFEASIBLE
        assert solution.nu @ far.rhs > 0.1 * np.abs(J[:1].T @ solution.nu).sum()


def test_only_a_time_limit_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A back end that says "optimal" was not stopped, however long it took and however wrong it is."""
    problem = gaussian_problem(xu.GroupL2(np.arange(12) // 3))
    disturbed(monkeypatch, y=-1e-3, claim="optimal", solve_seconds=10.0)
    assert xu.solve(problem, time_limit=10.0).status is Status.INACCURATE
    disturbed(monkeypatch, claim="user_limit", solve_seconds=10.0)
    assert xu.solve(problem, time_limit=10.0).status is Status.TIME_LIMIT
    assert xu.solve(problem).status is Status.INACCURATE  # nobody set a limit
    assert xu.solve(problem, time_limit=100.0).status is Status.INACCURATE  # nor was it reached


def test_right_answers_are_optimal_however_long_they_took(monkeypatch: pytest.MonkeyPatch) -> None:
    disturbed(monkeypatch, claim="optimal", solve_seconds=10.0)
    for drift in drifts().values():
        assert xu.solve(gaussian_problem(xu.L1(), drift), time_limit=10.0).status is Status.OPTIMAL


@pytest.mark.parametrize(("off", "fits"), [(1e-8, False), (1e-10, True)])
def test_a_support_fits_to_one_part_in_a_thousand_million(off: float, fits: bool) -> None:
    problem = UnlearningProblem([1.0, off, 0.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], xu.L0())
    assert FITTED == 1e-9
    support = _Support(problem, assemble(problem))
    assert (support.fitted([0]) is not None) == fits
    assert support.fitted([0, 1]) is not None
    assert xu.solve(problem).value == 2  # as written


def test_a_support_has_to_fit_in_every_direction_of_the_row_space() -> None:
    """Rows that differ by 1e-6: what the second one adds is missed by 1e-6, which is 1e-12 of that row."""
    problem = UnlearningProblem([1.0, 1e-6, 0.0], [[1.0, 0.0, 0.0], [1.0, 1e-6, 0.0]], xu.L0())
    assert _Support(problem, assemble(problem)).fitted([0]) is None


def test_optima_far_below_theta_star_are_measured_by_themselves() -> None:
    """theta* nearly in the kernel: the optimum is 1e-16 of R(theta*), and known to as many digits as any other."""
    rng = np.random.default_rng(0)
    J, theta = rng.standard_normal((3, 8)), rng.standard_normal(8)
    theta -= np.linalg.pinv(J) @ (J @ theta)
    for R in (xu.L1(), xu.SquaredL2(), xu.LInf(), xu.GroupL2(np.arange(8) // 2)):
        problem = UnlearningProblem(theta, J, R)
        solution, optimum = xu.solve(problem), xu.certify(problem).upper
        assert 0 < optimum < Fraction(1, 10**13)
        assert solution.status is Status.OPTIMAL, solution.message
        assert abs(Fraction(solution.value) - optimum) <= Fraction(1, 10**8) * optimum
        assert solution.relative_gap() <= 1e-8
        wrong = replace(solution, theta=solution.theta * 1.001)
        assert wrong.relative_gap() > 1e-4


@pytest.mark.parametrize(("theta", "rhs"), [([1.0, 2.0], 1e200), ([0.0, 0.0], 1e160), ([0.0, 0.0], -1e300)])
@pytest.mark.parametrize("R", [xu.ElasticNet(1, 1), xu.SquaredL2(), xu.L1(), xu.LInf(), xu.L2()], ids=lambda R: R.name)
def test_optima_beyond_floats_are_no_optima_in_floats(R: Any, theta: list[float], rhs: float) -> None:
    problem = UnlearningProblem(theta, [[1.0, 1.0]], R, rhs=[rhs])
    solution, certificate = xu.solve(problem), xu.certify(problem)
    beyond = certificate.upper > Fraction(np.finfo(float).max)
    assert (solution.status is Status.OPTIMAL) != beyond
    assert (solution.value == np.inf) == beyond
    assert np.allclose(solution.theta.sum() / sum(theta, start=rhs), 1.0)
    if beyond:
        assert "beyond the range of floats" in solution.message
        assert "inf" not in certificate.claim
        assert not solution.is_optimal(1.0)


# ---------------------------------------------------------------- the command line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_infeasible_problem_is_not_proved_optimal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("raw.npz", theta_star=np.zeros(2), jacobian=[[1.0, 0.0], [1.0, 0.0]], rhs=[1.0, 2.0])
    assert main(["solve", "raw.npz", "-r", "l1", "--quiet", "--json", "r.json"]) == 1
    tree = json.loads(Path("r.json").read_text())
    assert (tree["status"], tree["value"], tree["certificate"]["proof"]) == ("infeasible", None, "infeasible")
    assert "value    none" in capsys.readouterr().out
    assert main(["solve", "raw.npz", "-r", "l1", "--quiet", "--no-certify"]) == 1
    for verb in ("certify", "judge"):
        assert main([verb, "raw.problem.npz", "raw.solution.npz", "--quiet"]) == 1
    assert main(["check", "raw.problem.npz", "raw.certificate.json"]) == 0  # what is proved is that nothing fits


@pytest.mark.parametrize(("entry", "optimum"), [(3, Fraction(1, 3)), (10, Fraction(1, 10)), (7, Fraction(1, 7))])
def test_bounds_in_reports_are_rounded_outwards(entry: int, optimum: Fraction, folder: Path) -> None:
    """1/3 and 1/7 lie above and below the nearest float; both bounds have to hold."""
    np.savez("raw.npz", theta_star=[0.0], jacobian=[[float(entry)]], rhs=[1.0])
    assert main(["solve", "raw.npz", "-r", "l1", "--quiet", "--json", "r.json"]) == 0
    solved = json.loads(Path("r.json").read_text())["certificate"]
    assert main(["check", "raw.problem.npz", "raw.certificate.json", "--json", "r.json"]) == 0
    for tree in (solved, json.loads(Path("r.json").read_text())):
        assert Fraction(tree["lower"]) < optimum < Fraction(tree["upper"])
        assert np.nextafter(tree["lower"], 1) == tree["upper"]


@pytest.mark.parametrize(
    ("d", "free", "moving"),
    [(1, [0], [0]), (2, [1, 0], [0, 1]), (2, [0, 1], [0, 1]), (3, [1, 0, 1], [0, 2]), (3, [2, 0, 1], [0, 1, 2])],
)
def test_few_indices_are_no_mask(d: int, free: list[int], moving: list[int], folder: Path) -> None:
    """Whole numbers 0 and 1 are a mask only where they cannot be distinct indices: for d > 2."""
    np.savez("raw.npz", theta_star=np.ones(d), jacobian=np.ones((1, d)), free=np.array(free))
    main(["solve", "raw.npz", "-r", "l1", "--quiet"])
    assert np.flatnonzero(UnlearningProblem.load("raw.problem.npz").free).tolist() == moving


@pytest.mark.parametrize(("curvature", "factors"), [(1.0, 1), (1e-9, 2)])
def test_a_second_factorisation_is_for_curvatures_below_the_first(
    curvature: float, factors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """min c/2 |x|^2 - <1, x> subject to x_1 + x_2 + x_3 = 1: refinement shrinks errors by 1e-8 / (c + 1e-8) a time."""
    made: list[int] = []

    def counted(matrix: Any) -> Any:
        made.append(1)
        return splu(matrix)

    monkeypatch.setattr(polishing, "splu", counted)
    unit, no_theta = sp.csc_array(np.eye(3)), sp.csc_array((1, 1))
    q = -curvature * np.array([3.0, 0.0, 0.0])
    program = ExplicitProgram(
        sp.csc_array(curvature * np.eye(3)), q, sp.csc_array(np.ones((1, 3))), np.ones(1), Cones(1, 0),
        np.zeros(0, dtype=np.int64), 0.0, unit, np.zeros(3), no_theta,
    )  # fmt: skip
    found = polishing._newton(program, np.zeros(3), np.zeros(1), np.ones(1, dtype=bool))
    assert found is not None
    assert np.allclose(found[0], [7 / 3, -2 / 3, -2 / 3], rtol=1e-9)
    assert len(made) == factors


def test_what_polishing_leaves_of_a_zero_is_zero_unless_a_row_needs_it() -> None:
    from exact_unlearn.reference.polish import cleaned

    problem = xu.UnlearningProblem([1.0, 1.0, 0.0], [[1.0, 1.0, 0.0]], xu.L1())
    left = xu.Solution(problem, np.array([2.0, -1e-33, 1e-300]), np.zeros(1), xu.Status.OPTIMAL)
    assert cleaned(left).theta.tolist() == [2.0, 0.0, 0.0]
    needed = xu.UnlearningProblem([1.0, 0.0], [[0.0, 2.0**100]], xu.L1(), rhs=[1.0])
    exact = xu.Solution(needed, np.array([1.0, 2.0**-100]), np.zeros(1), xu.Status.OPTIMAL)
    assert cleaned(exact) is exact
    frozen = xu.UnlearningProblem([1.0, 1e-40], [[1.0, 0.0]], xu.L1(), free=[0])
    kept = xu.Solution(frozen, np.array([1.0, 1e-40]), np.zeros(1), xu.Status.OPTIMAL)
    assert cleaned(kept) is kept
