"""Jacobians of every conditioning and rank, and the SVD in float64 that says what the projection onto their
rows is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from exact_unlearn.jacobian import Array

D = 3000


def with_spectrum(rng: np.random.Generator, sigma: Array, d: int = D) -> Array:
    """A (k, d) matrix with the singular values sigma and random singular vectors."""
    k = len(sigma)
    left = np.linalg.qr(rng.standard_normal((k, k)))[0]
    right = np.linalg.qr(rng.standard_normal((d, k)))[0]
    return (left * sigma) @ right.T


def conditioned(rng: np.random.Generator, k: int, condition: float, d: int = D) -> Array:
    """cond(J) = condition, singular values in geometric progression."""
    return with_spectrum(rng, np.geomspace(1.0, 1.0 / condition, k), d)


def deficient(rng: np.random.Generator) -> Array:
    """Rank 12 of 30, up to the rounding of the product."""
    return with_spectrum(rng, np.concatenate([np.geomspace(1.0, 0.1, 12), np.zeros(18)]))


def duplicated(rng: np.random.Generator) -> Array:
    """Every row twice, and one three times."""
    J = conditioned(rng, 15, 10.0)
    return np.concatenate([J, J, J[:1]])


def with_zero_rows(rng: np.random.Generator) -> Array:
    J = conditioned(rng, 20, 30.0)
    J[[3, 11]] = 0.0
    return J


def sparse(rng: np.random.Generator) -> Array:
    """Rows with one entry each, some on the same column: what a random sketch would confuse."""
    J = np.zeros((40, D))
    J[np.arange(40), rng.integers(0, 35, 40)] = rng.standard_normal(40)
    return J


def badly_scaled_rows(rng: np.random.Generator) -> Array:
    """Rows of lengths 1e-9 to 1e9: the row space does not care."""
    return conditioned(rng, 20, 10.0) * np.geomspace(1e-9, 1e9, 20)[:, None]


def all_positive(rng: np.random.Generator) -> Array:
    """No cancellation anywhere: sums of rounding errors at their largest."""
    return rng.random((30, D))


def square(rng: np.random.Generator) -> Array:
    """Rank J = d: only D = 0 is feasible."""
    return conditioned(rng, 40, 100.0, 40)


def taller_than_wide(rng: np.random.Generator) -> Array:
    return rng.standard_normal((60, 25))


CASES: dict[str, Callable[[np.random.Generator], Array]] = {
    "cond 1": lambda rng: conditioned(rng, 30, 1.0),
    "cond 30": lambda rng: conditioned(rng, 30, 30.0),
    "cond 1e3": lambda rng: conditioned(rng, 30, 1e3),
    "cond 1e6": lambda rng: conditioned(rng, 30, 1e6),
    "cond 1e10": lambda rng: conditioned(rng, 30, 1e10),
    "gaussian": lambda rng: rng.standard_normal((50, D)),
    "deficient": deficient,
    "duplicated": duplicated,
    "zero rows": with_zero_rows,
    "sparse": sparse,
    "scaled rows": badly_scaled_rows,
    "positive": all_positive,
    "square": square,
    "tall": taller_than_wide,
    "one row": lambda rng: rng.standard_normal((1, D)),
    "all zero": lambda rng: np.zeros((4, D)),
    "no rows": lambda rng: np.zeros((0, D)),
}


def truth(J: Array, theta: Array, tolerance: float) -> tuple[Array, int]:
    """P_row(J) theta and the rank, by an SVD of the unit-length rows in float64."""
    J, theta = J.astype(np.float64), theta.astype(np.float64)
    lengths = np.linalg.norm(J, axis=1)
    unit = J / np.where(lengths > 0, lengths, 1.0)[:, None]
    _, sigma, right = np.linalg.svd(unit, full_matrices=False)
    basis = right[sigma > tolerance]
    return basis.T @ (basis @ theta), len(basis)


def relative(found: Array, expected: Array) -> float:
    """|found - expected| / |expected|, and |found| where nothing is expected."""
    size = np.linalg.norm(expected)
    return float(np.linalg.norm(np.asarray(found, dtype=np.float64) - expected) / (size if size > 0 else 1.0))
