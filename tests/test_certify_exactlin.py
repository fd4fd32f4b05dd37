"""Exact linear algebra: digits, ranks, p-adic solving, whitening; with python-flint and without."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from exact_unlearn import rational
from exact_unlearn.certify import exactlin
from exact_unlearn.certify.exactlin import (
    IntMatrix,
    Rationals,
    SingularMatrixError,
    integer_rows,
    objects,
    product,
    rational_reconstruction,
    row_basis,
    solve,
    split,
)
from exact_unlearn.certify.whiten import whiten
from tests.cases import conditioned

Generator = np.random.Generator


@pytest.fixture(params=["flint", "no flint"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the accelerator where it is installed, and without."""
    if request.param == "no flint":
        monkeypatch.setattr(exactlin, "flint", None)


def integers(rng: Generator, shape: tuple[int, ...], bits: int) -> np.ndarray[Any, Any]:
    count = int(np.prod(shape))
    values = [int.from_bytes(rng.bytes(bits // 8 + 1), "big", signed=True) for _ in range(count)]
    return objects(values).reshape(shape)


@pytest.mark.parametrize("bits", [1, 20, 21, 22, 61, 62, 63, 64, 100, 2000])
def test_digits_add_up_and_stay_small(rng: Generator, bits: int) -> None:
    values = integers(rng, (3, 4), bits)
    digits = split(values)
    total = sum(d.astype(np.int64).astype(object) << (21 * k) for k, d in enumerate(digits))
    assert (total == values).all()
    assert all(np.max(np.abs(d)) <= 2**20 for d in digits)


@pytest.mark.parametrize("bits", [3, 60, 300])
def test_products_are_exact(rng: Generator, bits: int) -> None:
    A, B = integers(rng, (4, 7), bits), integers(rng, (7, 3), bits)
    assert (product(IntMatrix(A), IntMatrix(B)).ints == A @ B).all()


@pytest.mark.usefixtures("either")
def test_applying_a_matrix_to_long_integers_is_exact(rng: Generator) -> None:
    A, v = integers(rng, (70, 80), 60), integers(rng, (80,), 5000)
    assert (IntMatrix(A).apply(v) == A @ v).all()


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300, 5e-324])
def test_rows_of_floats_lose_nothing(rng: Generator, scale: float) -> None:
    matrix = rng.standard_normal((3, 5)) * scale
    matrix[1] = 0.0
    ints, scales = integer_rows(matrix)
    for row, factor, given in zip(ints.ints, scales, matrix, strict=True):
        assert [int(v) * factor for v in row] == [Fraction(v) for v in given.tolist()]


def test_rows_of_fractions_lose_nothing() -> None:
    matrix = rational.rationals([[Fraction(1, 3), Fraction(-5, 6)], [0, 0], [Fraction(4), Fraction(6)]], 2)
    ints, scales = integer_rows(matrix)
    assert [[int(v) * s for v in row] for row, s in zip(ints.ints, scales, strict=True)] == matrix.tolist()
    assert ints.ints.tolist() == [[2, -5], [0, 0], [2, 3]]


@pytest.mark.parametrize("rank", [0, 1, 3, 5])
def test_row_bases_have_the_rational_rank(rng: Generator, rank: int) -> None:
    left, right = rng.integers(-9, 10, (6, rank)), rng.integers(-9, 10, (rank, 30))
    A = IntMatrix((left.astype(object) @ right.astype(object)) if rank else exactlin.zeros((6, 30)))
    rows = row_basis(A)
    assert len(rows) == rational.rank(A.ints)
    assert rational.rank(A.ints[rows]) == len(rows) if rows else rank == 0


def test_rows_that_differ_in_the_last_bit_are_independent(rng: Generator) -> None:
    row = rng.standard_normal(10)
    other = row.copy()
    other[4] = np.nextafter(other[4], 9.0)
    assert row_basis(integer_rows(np.array([row, row, other]))[0]) == [0, 2]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(("n", "bits"), [(1, 5), (3, 2), (7, 60), (25, 64), (6, 900)])
def test_solutions_solve_the_equations(rng: Generator, n: int, bits: int) -> None:
    A = IntMatrix(integers(rng, (n, n), bits) + np.eye(n, dtype=int).astype(object) * 3)
    right = integers(rng, (n,), 90), integers(rng, (n,), 2), exactlin.zeros(n)
    for b, x in zip(right, solve(A, *right), strict=True):
        assert (A.apply(x.nums) == b * x.den).all()
        assert x.den > 0
    assert not solve(A, right[2])[0].nums.any()


@pytest.mark.usefixtures("either")
def test_a_hilbert_matrix_is_no_harder_than_any_other() -> None:
    """Condition 1e28 at n = 20; the inverse of the Hilbert matrix is made of integers."""
    hilbert = rational.rationals([[Fraction(1, i + j + 1) for j in range(20)] for i in range(20)], 2)
    ints, scales = integer_rows(hilbert)
    unit = objects([1 / scales[0] if i == 0 else Fraction(0) for i in range(20)])
    (x,) = solve(ints, Rationals.of(unit.tolist()).nums)
    column = [v / Rationals.of(unit.tolist()).den for v in x.fractions()]
    assert all(v.denominator == 1 for v in column)
    assert column[0] == 400  # n^2


@pytest.mark.usefixtures("either")
def test_singular_matrices_are_refused() -> None:
    with pytest.raises(SingularMatrixError):
        solve(IntMatrix(objects([1, 2, 2, 4]).reshape(2, 2)), [1, 1])


def test_rational_reconstruction_finds_the_fraction_and_only_it() -> None:
    modulus = 10**40 + 121
    for value in (Fraction(0), Fraction(-7, 3), Fraction(123456789, 987654321)):
        residue = value.numerator * pow(value.denominator, -1, modulus) % modulus
        assert rational_reconstruction(residue, modulus) == (value.numerator, value.denominator)
    assert rational_reconstruction(10**20 + 3, 10**40 + 121) is None


@pytest.mark.parametrize("condition", [1.0, 1e6, 1e12, 1e15])
def test_whitened_rows_are_orthonormal_and_span_the_same(condition: float) -> None:
    matrix = conditioned(5, 12, condition) * np.array([1e6, 1, 1e-6, 1e3, 1e-300])[:, None]
    A, _ = integer_rows(matrix)
    white = whiten(A)
    assert pytest.approx(np.eye(5), abs=1e-14) == white.W @ white.W.T
    exact = product(white.T, A).ints
    scaled = np.array([[float(v * s) for v in row] for row, s in zip(exact, white.scales, strict=True)])
    assert pytest.approx(scaled, abs=1e-14) == white.W


@pytest.mark.parametrize("exponent", [-100, -500, -1060])
def test_an_entry_near_the_smallest_float_costs_no_digits(exponent: int, rng: Generator) -> None:
    """It makes the integers of its row longer than those of the others by as many bits."""
    matrix = rng.standard_normal((3, 8))
    matrix[1:] = matrix[0] + 1e-4 * matrix[1:]
    matrix[0, 0] = 2.0**exponent
    A, _ = integer_rows(matrix)
    white = whiten(A)
    scaled = [[float(v * s) for v in row] for row, s in zip(product(white.T, A).ints, white.scales, strict=True)]
    assert pytest.approx(np.array(scaled), abs=1e-14) == white.W
    assert pytest.approx(np.eye(3), abs=1e-14) == white.W @ white.W.T


def test_multipliers_of_whitened_rows_pull_back_exactly(rng: Generator) -> None:
    A, _ = integer_rows(conditioned(4, 9, 1e10))
    white, nu = whiten(A), rng.standard_normal(4)
    ints, unit = white.multipliers(nu)
    expected = [
        sum(Fraction(float(v)) * s * int(t) for v, s, t in zip(nu, white.scales, white.T.ints[:, j], strict=True))
        for j in range(4)
    ]
    assert [v * unit for v in ints] == expected
