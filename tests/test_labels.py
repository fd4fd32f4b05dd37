"""Labels that J cannot reach: the literal problem and the intended one, and one story about both."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import rows
from exact_unlearn.certify.image import image
from exact_unlearn.cli import main
from exact_unlearn.errors import RankAmbiguityError
from exact_unlearn.jacobian import to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Status


def one_ulp() -> UnlearningProblem:
    """.1 + .2 is not .3."""
    return xu.exact_problem(xu.LinearModel(2), [0, 0], [[1, 0], [0, 1], [1, 1]], [0.1, 0.2, 0.3], xu.L2())


def duplicate() -> UnlearningProblem:
    """One sample, labelled .3 and .1 + .2."""
    return xu.exact_problem(xu.LinearModel(2), [0, 0], [[1, 0.5], [1, 0.5]], [0.3, 0.1 + 0.2], xu.L1())


def tall(dtype: Any = np.float64, theta_star: Any = None) -> UnlearningProblem:
    """More samples than parameters, with labels of a linear model, kept in `dtype`."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 4))
    y = (x @ rng.standard_normal(4)).astype(dtype)
    return xu.exact_problem(xu.LinearModel(4), np.zeros(4) if theta_star is None else theta_star, x, y, xu.L1())


def predicted() -> UnlearningProblem:
    """Labels that the network predicted itself, so off by rounding only."""
    rng = np.random.default_rng(1)
    x, theta = rng.standard_normal((9, 5)), rng.standard_normal(5)
    return xu.exact_problem(xu.LinearModel(5), theta, x, np.einsum("ij,j->i", x, theta), xu.SquaredL2())


def nothing_moves() -> UnlearningProblem:
    """A label that differs by rounding from what frozen parameters predict."""
    J = [[1.0, 2.0], [3.0, 1.0]]
    return UnlearningProblem([0.1, 0.7], J, xu.L1(), free=np.zeros(2, dtype=bool), rhs=[1e-17, 0.0])


INTENDED = [one_ulp, duplicate, tall, predicted, nothing_moves]


@pytest.mark.parametrize("make", INTENDED, ids=lambda make: make.__name__)
def test_rounding_is_never_answered_silently(make: Any) -> None:
    problem = make()
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert "contradict each other as written" in solution.message
    with pytest.raises(RankAmbiguityError, match="contradict each other as written") as asked:
        xu.certify(problem, solution)
    assert "\n" not in str(asked.value)
    literal = xu.certify(problem, rows="literal")
    assert literal.proof == "infeasible"
    assert literal.check().proved
    intended = xu.certify(problem, solution, tau=1e-9)
    assert intended.proof == "exact", intended.message
    assert not intended.check().proved
    assert intended.check(tau=1e-9).proved
    assert intended.rows.residual <= Fraction(1, 10**9)
    assert abs(Fraction(solution.value) - intended.upper) <= Fraction(1, 10**12) * intended.upper


def test_labels_in_single_precision() -> None:
    """Off by 6e-8: not by the rounding of doubles, so the claim is measured, until tau allows for it."""
    for theta_star in (None, np.array([1.0, -2.0, 0.5, 3.0])):
        problem = tall(np.float32, theta_star)
        assert xu.solve(problem).status is Status.INACCURATE
        assert xu.solve(problem, accuracy=1e-6).status is Status.OPTIMAL
        solution = xu.solve(problem, tau=1e-6)
        assert solution.status is Status.OPTIMAL, solution.message
        certificate = xu.certify(problem, solution, tau=1e-6)
        assert certificate.check(tau=1e-6).proved
        assert abs(Fraction(solution.value) - certificate.upper) <= Fraction(1, 10**12) * certificate.upper
        with pytest.raises(RankAmbiguityError):
            xu.certify(problem)


def test_tau_too_small_or_conflicts_too_large_are_refuted() -> None:
    problem = tall(np.float32)
    for tau in (None, 1e-12):
        conflicting = replace(problem, rhs=problem.rhs + np.eye(7)[3] * 0.1) if tau is None else problem
        solution = xu.solve(conflicting, tau=tau)
        assert solution.status is Status.INFEASIBLE
        assert solution.value == np.inf
        assert solution.nu @ conflicting.rhs > 0
        assert np.abs(conflicting.jacobian.matrix.T @ solution.nu).max() <= 1e-12
        certificate = xu.certify(conflicting, tau=tau)
        assert certificate.proof == "infeasible"
        assert certificate.check(tau=tau).proved
    wide = xu.certify(conflicting := replace(problem, rhs=problem.rhs + np.eye(7)[3] * 0.1), tau=0.2)
    assert wide.check(tau=0.2).proved  # the caller's standard, however wide
    assert xu.solve(conflicting, tau=0.2).status is Status.OPTIMAL


def test_the_nearest_labels_are_the_orthogonal_projection_and_untouched_rows_keep_theirs() -> None:
    J = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0], [4.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    problem = UnlearningProblem(np.zeros(3), to_rational(J), xu.L1(), rhs=np.array([1.0, 1.0, 2.5, 0.3]))
    found = rows.conflict(problem)
    assert found is not None
    assert found.rows == [0, 1, 2]
    assert not found.rounding  # fractions have none
    # b - label is orthogonal to the range of J in units of the rows (2^2, 2^2, 2^3): a multiple of (1, 1, -1) / units^2
    moves = [float(b - label) for b, label in zip(to_rational(problem.rhs), found.labels, strict=True)]
    units = np.array([4.0, 4.0, 8.0])
    direction = np.array([1.0, 1.0, -1.0]) * units**2
    assert np.allclose(moves[:3], direction * (-0.5 / (units**2).sum()), rtol=1e-14)
    assert moves[3] == 0
    assert found.missed == Fraction(1, 6)  # .5 = <nu, b> and |nu|_1 = 3


@pytest.mark.parametrize("size", [0.75, 1.5, 2.0**-40, 2.0**70])
def test_what_the_labels_move_by_is_never_less_than_what_every_drift_misses(size: float) -> None:
    """Rows of every size, among them those of entries between 1/2 and 1, whose unit is 2^0."""
    rng = np.random.default_rng(11)
    J = rng.uniform(0.5, 1.0, (7, 4)) * rng.choice([1.0, size], (7, 1))
    problem = UnlearningProblem(np.zeros(4), J, xu.L1(), rhs=np.einsum("ij,j->i", J, rng.standard_normal(4)))
    found = rows.conflict(problem)
    assert found is not None
    assert found.rounding
    assert found.missed <= found.moved
    for nu, excess in image(problem).dependencies():
        moved = sum((v * (b - label) for v, b, label in zip(nu, to_rational(problem.rhs), found.labels, strict=True)))
        assert abs(moved - excess) <= excess / 10**10
    tau = float(found.moved) * 1.01
    assert xu.certify(problem, tau=tau).check(tau=tau).proved


def test_tau_is_met_where_it_can_be() -> None:
    """The shortest move, in units of rows, has its largest entry on the largest row; another move is more even."""
    J = np.array([[1.0, 2.0], [3.0, 1.0], [40.0, 30.0]])
    problem = UnlearningProblem(np.zeros(2), J, xu.L1(), rhs=[1.0, 1.0, 20.5])
    found = rows.conflict(problem)
    assert found is not None
    tau = found.missed * (1 + Fraction(1, 10**6))
    assert found.moved > tau
    certificate = xu.certify(problem, tau=tau)
    assert certificate.proof == "exact"
    assert certificate.check(tau=tau).proved


def test_a_row_says_the_same_at_every_scale() -> None:
    rng = np.random.default_rng(5)
    J, theta = rng.standard_normal((3, 8)), rng.standard_normal(8)
    usual = xu.certify(UnlearningProblem(theta, J, xu.L1()))
    for factor in (2.0**-53, 2.0**-500, 2.0**400):
        scaled = UnlearningProblem(theta, J * [[1.0], [1.0], [factor]], xu.L1(), rhs=[0.0, 0.0, 0.0])
        solution, certificate = xu.solve(scaled), xu.certify(scaled)
        assert certificate.upper == usual.upper
        assert certificate.rows.numerical_rank == 3
        assert solution.status is Status.OPTIMAL
        assert solution.value == pytest.approx(float(usual.upper), rel=1e-12)


def test_other_kinds_of_problems_with_labels_in_single_precision() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((4, 6))[[0, 1, 2, 3, 1]]
    y = (x @ rng.standard_normal(6)).astype(np.float32).astype(float)
    y[4] += 2.0**-25
    for R in (xu.GroupL2(np.arange(6) // 2), xu.L0(), xu.NuclearNorm(slice(0, 6), (2, 3)), xu.LInf()):
        problem = UnlearningProblem(np.zeros(6), x, R, rhs=y)
        solution = xu.solve(problem, tau=1e-6)
        certificate = xu.certify(problem, solution, tau=1e-6)
        assert certificate.check(tau=1e-6).proved
        assert solution.status is Status.OPTIMAL, solution.message
        assert solution.value == pytest.approx(float(certificate.upper), rel=1e-8)


def test_the_command_line_tells_the_same_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    duplicate().save(tmp_path / "p.npz")
    given, out = str(tmp_path / "p.npz"), str(tmp_path / "s.npz")
    assert main(["solve", given, "-o", out, "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "contradict each other as written" in said
    assert "none yet" in said
    assert main(["solve", given, "-o", out, "--quiet", "--tau", "1e-9", "--json", str(tmp_path / "r.json")]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["certificate"]["proof"] == "exact"
    assert "labels that J can reach" in capsys.readouterr().out
    assert main(["check", given, str(tmp_path / "s.certificate.json"), "--tau", "1e-9"]) == 0
    assert main(["check", given, str(tmp_path / "s.certificate.json")]) == 3
    capsys.readouterr()
    assert main(["solve", given, "-o", out, "--quiet", "--rows", "literal"]) == 1
    assert "no parameters satisfy the constraints" in capsys.readouterr().out


def test_a_count_is_not_optimal_where_a_dependent_row_is_missed() -> None:
    """Rows that agree to 2^-50 and labels that do not: two coordinates are needed, and no float point has both rows."""
    J = [[1.0, 1.0, 0.0], [1.0, 1.0 + 2.0**-50, 0.0]]
    problem = UnlearningProblem([0.1, 0.3, 0.7], J, xu.L0(), rhs=[0.125, 1.7])
    solution = xu.solve(problem)
    assert solution.primal_residual() > 0.1
    assert solution.status is Status.INACCURATE
    assert (solution.lower, solution.upper) == (1.0, None)
    proved = xu.certify(problem, solution, rows="literal")
    assert proved.lower == proved.upper == 2
