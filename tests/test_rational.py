"""Exact linear algebra: laws that hold without tolerance, and SymPy as the other route."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from exact_unlearn import rational
from exact_unlearn.errors import ProblemError


@st.composite
def matrices(draw: st.DrawFn, rows: int | None = None) -> np.ndarray:
    """Small rational matrices, often rank-deficient: products of thin ones, some of them empty."""
    k = draw(st.integers(0, 5)) if rows is None else rows
    r, d = draw(st.integers(0, 4)), draw(st.integers(1, 6))
    entries = st.fractions(-4, 4, max_denominator=5)
    left = np.array(draw(st.lists(entries, min_size=k * r, max_size=k * r)), dtype=object).reshape(k, r)
    right = np.array(draw(st.lists(entries, min_size=r * d, max_size=r * d)), dtype=object).reshape(r, d)
    return rational.matmul(left, right)


def as_sympy(matrix: np.ndarray) -> sympy.Matrix:
    return sympy.Matrix(*matrix.shape, [sympy.Rational(a.numerator, a.denominator) for a in matrix.reshape(-1)])


def from_sympy(matrix: sympy.Matrix) -> np.ndarray:
    out = rational.zeros(matrix.shape)
    out.reshape(-1)[:] = [Fraction(int(a.p), int(a.q)) for a in matrix]
    return out


@given(matrices())
def test_echelon_form_is_that_of_sympy(M: np.ndarray) -> None:
    R, pivots = rational.reduced_row_echelon(M)
    expected, expected_pivots = as_sympy(M).rref()
    assert pivots == tuple(int(column) for column in expected_pivots)
    assert (from_sympy(expected)[: len(pivots)] == R).all()
    assert rational.rank(M) == len(pivots) == len(rational.independent_rows(M))


@given(matrices())
def test_nullspace_is_in_column_echelon_form_and_complete(M: np.ndarray) -> None:
    N, pivots = rational.nullspace(M)
    assert not rational.matmul(M, N).any()
    assert (N[list(pivots)] == rational.identity(len(pivots))).all()
    assert N.shape == (M.shape[1], M.shape[1] - rational.rank(M))


@given(matrices(rows=4), st.data())
def test_solve_min_norm_and_inconsistency_agree(A: np.ndarray, data: st.DataObject) -> None:
    b = rational.rationals(data.draw(st.lists(st.integers(-2, 2), min_size=4, max_size=4)))
    solvable = as_sympy(A).row_join(as_sympy(b[:, None])).rank() == as_sympy(A).rank()
    basic, least, witness = rational.solve(A, b), rational.min_norm(A, b), rational.inconsistency(A, b)
    assert (basic is not None) == (least is not None) == (witness is None) == solvable
    if witness is not None:
        assert not rational.matmul(A.T, witness).any()
        assert witness @ b == 1
        return
    theta, nu = least
    assert (rational.matmul(A, basic) == b).all()
    assert (rational.matmul(A, theta) == b).all()
    assert (rational.matmul(A.T, nu) == theta).all()
    assert theta @ theta <= basic @ basic
    assert np.count_nonzero(basic) <= rational.rank(A)


@given(matrices())
def test_pseudo_inverse_obeys_penrose(M: np.ndarray) -> None:
    P = rational.pseudo_inverse(M)
    MP, PM = rational.matmul(M, P), rational.matmul(P, M)
    assert P.shape == M.T.shape
    assert (rational.matmul(MP, M) == M).all()
    assert (rational.matmul(PM, P) == P).all()
    assert (MP.T == MP).all()
    assert (PM.T == PM).all()


@given(matrices(), st.data())
def test_projection_is_orthogonal_and_proves_itself(M: np.ndarray, data: st.DataObject) -> None:
    d = M.shape[1]
    v = rational.rationals(data.draw(st.lists(st.integers(-9, 9), min_size=d, max_size=d)))
    P, nu = rational.project_onto_rows(M, v)
    assert (rational.matmul(M.T, nu) == P).all()
    assert not rational.matmul(M, v - P).any()
    columns, _ = rational.project_onto_rows(M, np.stack([v, 2 * v], axis=1))
    assert (columns == np.stack([P, 2 * P], axis=1)).all()


def test_floats_are_taken_at_their_exact_value() -> None:
    # 0.1 * 3 != 0.3 in float64, so these rows are independent; in decimals they are not.
    assert rational.rank([[0.1, 0.3], [0.1 * 3, 0.9]]) == 2
    assert rational.rank([[Fraction(1, 10), Fraction(3, 10)], [Fraction(3, 10), Fraction(9, 10)]]) == 1


def test_large_systems_keep_integers_exact(rng: np.random.Generator) -> None:
    A = rng.standard_normal((25, 40))
    x = rational.rationals(rng.integers(-5, 6, 40))
    b = rational.matmul(rational.rationals(A), x)
    theta, _ = rational.min_norm(A, b)
    assert (rational.matmul(rational.rationals(A), theta) == b).all()
    np.testing.assert_allclose(theta.astype(float), np.linalg.pinv(A) @ b.astype(float), atol=1e-12)


def test_empty_sides() -> None:
    none = np.zeros((0, 3))
    assert rational.rank(none) == 0
    assert rational.rank(np.zeros((3, 0))) == 0
    assert rational.solve(none, np.zeros(0)).tolist() == [0, 0, 0]
    assert rational.min_norm(none, np.zeros((0, 2)))[0].shape == (3, 2)
    assert rational.pseudo_inverse(none).shape == (3, 0)
    assert (rational.nullspace(none)[0] == rational.identity(3)).all()
    zero = rational.matmul(np.zeros((2, 0), dtype=object), np.zeros((0, 2), dtype=object))
    assert all(isinstance(entry, Fraction) for entry in zero.reshape(-1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rational.rank([[1.0, np.nan]]), "values: expected finite numbers, got nan"),
        (lambda: rational.rank([1.0, 2.0]), "values: expected 2 dimensions"),
        (lambda: rational.solve(np.eye(2), np.ones(3)), r"B: expected 2 rows, one per row of A, got shape \(3,\)"),
        (lambda: rational.min_norm(np.eye(2), np.ones(3)), r"B: expected 2 rows, one per row of A, got shape \(3,\)"),
        (lambda: rational.project_onto_rows(np.eye(2), np.ones(3)), "vectors: expected 2 rows, one per column"),
    ],
)
def test_bad_arguments_get_one_sentence(call: object, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        call()
