"""The row space is right to rounding at every conditioning; the truth is exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from exact_unlearn import rational
from exact_unlearn.jacobian import to_rational
from exact_unlearn.rowspace import accurate_residual, row_space
from tests.cases import conditioned, instances


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e10, 1e12])
def test_projection_is_accurate_at_every_conditioning(condition: float, rng: np.random.Generator) -> None:
    J, theta = conditioned(6, 15, condition, seed=3), rng.standard_normal(15)
    exact, _ = rational.project_onto_rows(to_rational(J), to_rational(theta))
    Q = row_space(J).Q
    assert np.abs(Q.T @ (Q @ theta) - exact.astype(float)).max() <= 2e-15 * np.abs(theta).max() * 15


@pytest.mark.parametrize("condition", [1.0, 1e6, 1e12])
def test_multipliers_are_the_rounded_exact_ones(condition: float, rng: np.random.Generator) -> None:
    J, theta = conditioned(6, 15, condition, seed=4), rng.standard_normal(15)
    space = row_space(J)
    z = space.Q.T @ (space.Q @ theta)
    # z is itself rounded, so compare with the exact multipliers of the rounded z on the pivot columns
    columns = np.asarray(space._columns)
    exact = rational.solve(to_rational(J[:, columns].T), to_rational(z[columns])[:, None])
    assert exact is not None
    assert np.allclose(space.multipliers(z), exact.reshape(-1).astype(float), rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("gaussian", 5),
        ("duplicated rows", 3),
        ("dependent integer rows", 4),
        ("zero row", 3),
        ("only zero rows", 0),
        ("single row", 1),
        ("no rows", 0),
        ("square", 12),
        ("more rows than columns", 12),
        ("huge J", 5),
        ("tiny J", 5),
        ("rows of different scale", 5),
        ("condition 1e12", 5),
    ],
)
def test_rank(name: str, rank: int) -> None:
    J = instances()[name][0]
    space = row_space(J)
    assert space.report.rank == rank == len(space.report.rows)
    assert np.allclose(space.Q @ space.Q.T, np.eye(rank), atol=1e-14)
    assert str(rank) in str(space.report)


def test_numerical_rank_drops_what_rounding_alone_makes_independent() -> None:
    J = np.random.default_rng(0).standard_normal((4, 9))
    J = np.vstack([J, 3.1 * J[2]])  # rounded, so independent over the rationals
    assert rational.rank(to_rational(J)) == 5
    report = row_space(J).report
    assert report.rank == 4
    assert report.largest_dropped < report.tolerance < report.smallest_kept


def test_particular_solutions_of_consistent_systems() -> None:
    rng = np.random.default_rng(2)
    J = rng.standard_normal((6, 10))[[0, 1, 2, 0, 1]]
    rhs = J @ rng.standard_normal(10)
    assert np.allclose(J @ row_space(J).particular(rhs), rhs, atol=1e-13)


def test_accurate_residual_against_fractions(rng: np.random.Generator) -> None:
    A, X = rng.standard_normal((7, 7)), rng.standard_normal((7, 3))
    B = A @ X  # so the residual is pure cancellation
    exact = to_rational(B) - rational.matmul(to_rational(A), to_rational(X))
    assert any(entry != Fraction(0) for entry in exact.reshape(-1))
    assert np.allclose(accurate_residual(A, X, B), exact.astype(float), rtol=1e-12, atol=0)
    plain = B - np.matmul(A, X)
    assert not np.allclose(plain, exact.astype(float), rtol=1e-12, atol=0)
