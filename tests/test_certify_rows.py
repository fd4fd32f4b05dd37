"""Literal or intended: rows that depend on each other only up to rounding, and rows that contradict each other."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import Certificate
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.problem import UnlearningProblem


def rounded_copy(regularizer: Any, drift: Any = None) -> UnlearningProblem:
    """Row 6 is 3.1 times row 3, rounded: 12 independent rows as written, 11 as meant."""
    rng = np.random.default_rng(3)
    J = rng.standard_normal((12, 40))
    J[6] = 3.1 * J[3]
    return UnlearningProblem(rng.standard_normal(40), J, regularizer, drift)


FORMS = [xu.SquaredL2(), xu.L1(), xu.LInf(), xu.L2(), xu.GroupL2(np.arange(40) // 4)]


@pytest.mark.parametrize("regularizer", FORMS, ids=lambda r: r.name)
def test_ranks_that_differ_are_never_answered_silently(regularizer: Any) -> None:
    with pytest.raises(RankAmbiguityError, match="rank 12 as written but 11 up to rounding"):
        xu.certify(rounded_copy(regularizer))


@pytest.mark.parametrize("regularizer", FORMS, ids=lambda r: r.name)
def test_both_readings_are_proved_on_request(regularizer: Any) -> None:
    problem = rounded_copy(regularizer)
    literal = xu.certify(problem, rows="literal")
    intended = xu.certify(problem, tau=1e-9)
    assert literal.check().proved
    assert not intended.check().proved
    assert intended.check(tau=1e-9).proved
    assert (literal.rows.rational_rank, literal.rows.numerical_rank, literal.rows.kept) == (12, 11, None)
    assert len(intended.rows.kept) == 11
    assert {3, 6} - set(intended.rows.kept)
    # fewer rows, lower optimum; and here by far, which is why nobody may answer silently
    assert intended.upper < literal.lower * Fraction(24, 25)
    without = UnlearningProblem(
        problem.theta_star, problem.jacobian.matrix[list(intended.rows.kept)], problem.regularizer
    )
    assert xu.certify(without).upper == intended.upper


@pytest.mark.parametrize("regularizer", FORMS, ids=lambda r: r.name)
def test_the_robust_bound_holds_for_points_within_tau(regularizer: Any) -> None:
    problem, tau = rounded_copy(regularizer), 1e-3
    certificate = xu.certify(problem, tau=tau)
    assert 0 <= certificate.rows.residual <= Fraction(1, 10**12)
    assert certificate.rows.robust_lower <= certificate.lower
    rng = np.random.default_rng(0)
    J = problem.jacobian.matrix
    for _ in range(20):
        wish = rng.uniform(-tau, tau, 12)
        wish[6] = 3.1 * wish[3]
        shorter = certificate.theta * (1 - 1e-4) - problem.theta_star
        D = shorter + np.linalg.lstsq(J[:6], wish[:6] - J[:6] @ shorter, rcond=None)[0]
        if np.max(np.abs(J @ D)) <= tau:
            assert float(regularizer.value(problem.theta_star + D)) >= float(certificate.rows.robust_lower)


def test_a_proof_for_some_rows_says_so(tmp_path: Any) -> None:
    problem = rounded_copy(xu.L1())
    certificate = xu.certify(problem, tau=1e-9)
    assert "11 rows that were kept" in certificate.claim
    certificate.save(tmp_path / "c.json")
    problem.save(tmp_path / "p.npz")
    from exact_unlearn.certify import checker

    files = [str(tmp_path / "p.npz"), str(tmp_path / "c.json")]
    assert checker.main(list(files)) == 3  # proved, but not for all rows
    assert checker.main([*files, "--tau", "1e-8"]) == 0
    assert checker.main([*files, "--tau", "1e-30"]) != 0
    assert Certificate.load(tmp_path / "c.json", problem).check(tau=1e-9).proved


def test_exact_dependence_is_no_ambiguity() -> None:
    """Duplicated and integer-dependent rows are dependent as written, and fractions have no rounding."""
    rng = np.random.default_rng(1)
    J, theta = rng.integers(-5, 6, (4, 9)).astype(float), rng.standard_normal(9)
    for rows in (np.vstack([J, J]), np.vstack([J, J[0] - 3 * J[1]])):
        certificate = xu.certify(UnlearningProblem(theta, rows, xu.L1()))
        assert certificate.rows.rational_rank == certificate.rows.numerical_rank == 4
    third = np.array([[Fraction(1, 3), Fraction(1)], [Fraction(1), Fraction(3)]], dtype=object)
    rational = UnlearningProblem(np.array([Fraction(1), Fraction(2)], dtype=object), third, xu.L1())
    assert xu.certify(rational).rows.rational_rank == 1


def test_frozen_columns_do_not_count_for_the_rank() -> None:
    J = np.array([[1.0, 1.0, 0.0], [1.0 + 1e-16, 1.0, 1.0]])
    free = np.array([True, True, False])
    problem = UnlearningProblem(np.ones(3), J, xu.L1(), free=free)
    assert xu.certify(problem).rows.rational_rank == 1


@pytest.mark.parametrize("regularizer", [*FORMS, xu.NuclearNorm(slice(0, 40), (8, 5))], ids=lambda r: r.name)
def test_contradicting_rows_get_a_farkas_vector(regularizer: Any) -> None:
    problem = rounded_copy(regularizer)
    J = np.vstack([problem.jacobian.matrix[:3], problem.jacobian.matrix[0]])
    wrong = UnlearningProblem(problem.theta_star, J, regularizer, rhs=[0.0, 0.0, 0.0, 1.0])
    certificate = xu.certify(wrong)
    assert certificate.proof == "infeasible"
    assert certificate.lower is None
    assert certificate.check().proved


@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize("regularizer", FORMS, ids=lambda r: r.name)
def test_regions_that_exclude_every_solution(regularizer: Any, norm: float) -> None:
    problem = rounded_copy(regularizer)
    far = UnlearningProblem(
        problem.theta_star, problem.jacobian.matrix[:3], regularizer, xu.TrustRegion(0.01, norm), rhs=[5.0, 0.0, 1.0]
    )
    certificate = xu.certify(far)
    assert certificate.proof == "infeasible", certificate.message
    assert "trust region" in certificate.message
    assert certificate.check().proved


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"rows": "all"}, "rows: expected 'literal'"),
        ({"tau": -1.0}, "tau: expected"),
        ({"tau": float("inf")}, "tau: expected"),
        ({"tau": 1e-9, "rows": "literal"}, "tau: expected"),
        ({"tau": "1e-9"}, "tau: expected"),
        ({"solution": xu.solve(UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], xu.L1()))}, "about another problem"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ProblemError, match=complaint):
        xu.certify(rounded_copy(xu.L1()), **arguments)
