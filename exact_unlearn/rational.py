"""Exact linear algebra over the rationals: rank, solve, kernel, projection.

Matrices are NumPy object arrays of `fractions.Fraction`, shape (k, d); anything `real_array` accepts goes in
(floats are dyadic rationals, so they lose nothing).  Nothing here has a tolerance: a rank is the rank, an
inconsistent system is inconsistent.  Elimination is fraction-free (Bareiss): rows are integers, whose size
stays that of the minors. Cost: O(k d rank) operations on integers of about rank * bits digits; meant for
hundreds of rows, not thousands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, dimensions, real_array, to_rational


def rationals(values: Any, ndim: int | None = None, name: str = "values") -> Array:
    """`values` as Fractions, converted without rounding. Raises ProblemError on NaN, infinities, complex and text."""
    return to_rational(real_array(name, values, dimensions(values) if ndim is None else ndim))


def zeros(shape: int | tuple[int, ...]) -> Array:
    """Fraction(0) everywhere (np.zeros would put the integer 0 there)."""
    return np.full(shape, Fraction(0), dtype=object)


def identity(size: int) -> Array:
    """The unit matrix, shape (size, size)."""
    out = zeros((size, size))
    out[np.arange(size), np.arange(size)] = Fraction(1)
    return out


def matmul(A: Array, B: Array) -> Array:
    """A @ B for 1-D and 2-D operands; an empty sum is Fraction(0), where NumPy would return None or the integer 0."""
    if A.shape[-1] == 0:
        return zeros(A.shape[:-1] + B.shape[1:])
    return np.asarray(A @ B, dtype=object)


def reduced_row_echelon(matrix: Any) -> tuple[Array, tuple[int, ...]]:
    """The reduced row echelon form without its zero rows, and the pivot columns.

    Returns (R, pivots): R has shape (r, d), r = rank, R[:, pivots] = I, and the row space of `matrix`.
    """
    M = rationals(matrix, 2)
    rows, pivots, scale = _eliminate(_integer_rows(M), M.shape[1])
    return _fractions(rows[: len(pivots)], M.shape[1], scale), pivots


def rank(matrix: Any) -> int:
    """The rank over the rationals."""
    M = rationals(matrix, 2)
    return len(_eliminate(_integer_rows(M), M.shape[1])[1])


def independent_rows(matrix: Any) -> tuple[int, ...]:
    """Indices of a row basis: each row that is no combination of the rows before it."""
    return reduced_row_echelon(rationals(matrix, 2).T)[1]


def nullspace(matrix: Any) -> tuple[Array, tuple[int, ...]]:
    """A basis of {v : matrix @ v = 0} in reduced column echelon form.

    Returns (N, pivots): N has shape (d, d - r), and its rows `pivots` (the columns without a pivot in
    `matrix`) are the unit matrix.
    """
    R, bound = reduced_row_echelon(matrix)
    d = R.shape[1]
    taken = set(bound)
    free = tuple(j for j in range(d) if j not in taken)
    N = zeros((d, len(free)))
    N[list(free), list(range(len(free)))] = Fraction(1)
    N[list(bound)] = -R[:, list(free)]
    return N, free


def solve(A: Any, B: Any) -> Array | None:
    """A basic solution X of A X = B (zero outside the pivot columns of A), or None if there is none.

    A: (k, d); B: (k,) or (k, p).  Returns (d,) or (d, p).  Basic solutions have few digits; `min_norm` has
    none to spare.
    """
    A, B = rationals(A, 2, "A"), rationals(B, name="B")
    k, d = A.shape
    if B.ndim not in (1, 2) or B.shape[0] != k:
        raise ProblemError(f"B: expected {k} rows, one per row of A, got shape {B.shape}")
    right = B[:, None] if B.ndim == 1 else B
    rows, pivots, scale = _eliminate(_integer_rows(np.concatenate([A, right], axis=1)), d)
    if any(entry for row in rows[len(pivots) :] for entry in row[d:]):
        return None
    X = zeros((d, right.shape[1]))
    X[list(pivots)] = _fractions([row[d:] for row in rows[: len(pivots)]], right.shape[1], scale)
    return X[:, 0] if B.ndim == 1 else X


def inconsistency(A: Any, b: Any) -> Array | None:
    """A vector z with A.T z = 0 and z.b = 1, which proves that A x = b has no solution; None if it has one.

    A: (k, d), b: (k,).  z has shape (k,).
    """
    A, b = rationals(A, 2, "A"), rationals(b, 1, "b")
    N, _ = nullspace(A.T)
    products = matmul(b, N)
    for j, product in enumerate(products):
        if product:
            return np.asarray(N[:, j] / product, dtype=object)
    return None


def project_onto_rows(matrix: Any, vectors: Any) -> tuple[Array, Array]:
    """The Euclidean projection of `vectors` onto the row space of `matrix`, and multipliers that prove it.

    matrix: (k, d); vectors: (d,) or (d, p).  Returns (P, nu): P = matrix.T nu and matrix (vectors - P) = 0,
    exactly. Dependent rows get multiplier 0, so nu has shape (k,) or (k, p).
    """
    M, v = rationals(matrix, 2, "matrix"), rationals(vectors, name="vectors")
    if v.ndim not in (1, 2) or v.shape[0] != M.shape[1]:
        raise ProblemError(f"vectors: expected {M.shape[1]} rows, one per column of the matrix, got shape {v.shape}")
    return _from_row_space(M, matmul(M, v))


def min_norm(A: Any, B: Any) -> tuple[Array, Array] | None:
    """The solution of A X = B of least Euclidean norm, and its multipliers (Lemma 3); None if there is no
    solution.

    Returns (X, nu) with X = A.T nu: X is feasible and in row(A), hence of minimal norm.  B: (k,) or (k, p).
    """
    A, B = rationals(A, 2, "A"), rationals(B, name="B")
    if B.ndim not in (1, 2) or B.shape[0] != A.shape[0]:
        raise ProblemError(f"B: expected {A.shape[0]} rows, one per row of A, got shape {B.shape}")
    X, nu = _from_row_space(A, B)
    return (X, nu) if (matmul(A, X) == B).all() else None


def pseudo_inverse(matrix: Any) -> Array:
    """The Moore-Penrose inverse, which is rational: with matrix = B R of full rank, R.T (R R.T)^-1 (B.T B)^-1 B.T."""
    M = rationals(matrix, 2)
    R, pivots = reduced_row_echelon(M)
    B = M[:, list(pivots)]
    left = solve(matmul(B.T, B), B.T)
    right = solve(matmul(R, R.T), left)
    assert right is not None, "a Gram matrix of independent rows is invertible"
    return matmul(R.T, right)


def _from_row_space(A: Array, B: Array) -> tuple[Array, Array]:
    """X = A.T nu with A_I X = B_I on independent rows I."""
    basis = list(independent_rows(A))
    nu = zeros(B.shape)
    solution = solve(matmul(A[basis], A[basis].T), B[basis])
    assert solution is not None, "a Gram matrix of independent rows is invertible"
    nu[basis] = solution
    return matmul(A.T, nu), nu


def _integer_rows(M: Array) -> list[list[int]]:
    """Every row times the common denominator of its entries, divided by what its integers have in common."""
    out = []
    for row in M.tolist():
        common = math.lcm(*(entry.denominator for entry in row))
        integers = [entry.numerator * (common // entry.denominator) for entry in row]
        divisor = math.gcd(*integers) or 1
        out.append([entry // divisor for entry in integers])
    return out


def _eliminate(rows: list[list[int]], n_pivot_columns: int) -> tuple[list[list[int]], tuple[int, ...], int]:
    """Gauss-Jordan elimination over the integers with pivots in the first `n_pivot_columns` columns.

    Returns (rows, pivots, scale): the first rows, divided by scale, are the reduced row echelon form.  Every
    division below is exact, because the entries are minors of the original matrix (Bareiss).
    """
    rows = [list(row) for row in rows]
    pivots: list[int] = []
    scale = 1
    for column in range(n_pivot_columns):
        top = len(pivots)
        found = next((i for i in range(top, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        pivot_row = rows[top]
        pivot = pivot_row[column]
        for i, row in enumerate(rows):
            if i != top:
                factor = row[column]
                rows[i] = [(pivot * a - factor * b) // scale for a, b in zip(row, pivot_row, strict=True)]
        pivots.append(column)
        scale = pivot
        if len(pivots) == len(rows):
            break
    return rows, tuple(pivots), scale


def _fractions(rows: Sequence[Sequence[int]], width: int, scale: int) -> Array:
    out = np.empty((len(rows), width), dtype=object)
    for i, row in enumerate(rows):
        out[i] = [Fraction(entry, scale) for entry in row]
    return out
