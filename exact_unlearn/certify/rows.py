"""Literal or intended: which rows of J a certificate is about.

Floats have one exact meaning, and it need not be the one that was meant.  A row that repeats another up to
rounding is independent of it over the rationals, and the literal problem may then have quite another optimum.
So the rational rank is compared with the numerical rank, and where they differ the caller decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import integer_rows, row_basis
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.jacobian import Array, ProductJacobian, to_float
from exact_unlearn.problem import UnlearningProblem

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class RowReport:
    """What was decided about the rows of J on the free coordinates.

    rational_rank: of the rows as written.  numerical_rank: singular values above tolerance = max(m, d) * eps *
    sigma_1 (equal to rational_rank for Fractions, which have no rounding).  kept: the rows proved about, None
    for all.  tau: as given.  residual: the largest |J_i D - b_i| on dropped rows.  robust_lower: a bound on min
    R + Rhat over |J D - b| <= tau.
    """

    rational_rank: int
    numerical_rank: int
    tolerance: float
    kept: tuple[int, ...] | None = None
    tau: Fraction | None = None
    residual: Fraction | None = None
    robust_lower: Fraction | None = None

    @property
    def ambiguous(self) -> bool:
        return self.rational_rank != self.numerical_rank


def check_rows(
    problem: UnlearningProblem, rows: str | None, tau: Any, rational_rank: int, pinned: bool = False
) -> RowReport:
    """Compare the ranks; RankAmbiguityError, one sentence, where they differ and the caller has not decided."""
    if rows not in (None, "literal"):
        raise ProblemError(f"rows: expected 'literal' or None, got {rows!r}")
    if tau is not None and (rows is not None or not _is_tolerance(tau)):
        raise ProblemError(f"tau: expected a finite number >= 0, and not together with rows, got {tau!r}")
    if problem.is_rational or pinned:
        report = RowReport(rational_rank, rational_rank, 0.0)
    else:
        numerical, tolerance, _ = numerical_rank(problem)
        report = RowReport(rational_rank, numerical, tolerance)
    if report.ambiguous and rows is None and tau is None:
        raise RankAmbiguityError(
            f"the rows of the jacobian have rank {report.rational_rank} as written but {report.numerical_rank} up to "
            'rounding, so the literal and the intended problem differ: pass rows="literal", or tau for a certified '
            "subset of rows"
        )
    return report


def _is_tolerance(tau: Any) -> bool:
    try:
        return bool(0 <= tau < float("inf"))
    except (TypeError, ValueError):
        return False


def numerical_rank(problem: UnlearningProblem) -> tuple[int, float, list[int]]:
    """Rank, tolerance max(m, d) * eps * sigma_1, and well-conditioned rows of J on the free coordinates."""
    jacobian = problem.jacobian
    if isinstance(jacobian, ProductJacobian) and problem.free[jacobian.block].all():
        # the rows are Kronecker products, and so are their singular values
        return _product_rank(to_float(jacobian.V), to_float(jacobian.X))
    return _matrix_rank(to_float(np.asarray(problem.free_matrix())))


def _matrix_rank(matrix: Array) -> tuple[int, float, list[int]]:
    peak = float(np.max(np.abs(matrix), initial=0.0))
    if peak == 0.0:
        return 0, 0.0, []
    unit = np.ldexp(matrix, -int(np.frexp(peak)[1]))
    sigma = np.linalg.svd(unit, compute_uv=False)
    tolerance = max(matrix.shape) * EPS * float(sigma[0])
    rank = int((sigma > tolerance).sum())
    return rank, float(np.ldexp(tolerance, int(np.frexp(peak)[1]))), _well_conditioned_rows(unit, rank)


def _product_rank(V: Array, X: Array) -> tuple[int, float, list[int]]:
    n, l = X.shape[0], V.shape[1]
    sizes = [np.linalg.svd(M, compute_uv=False) for M in (V, X)]
    sigma = np.outer(*sizes).reshape(-1)
    if not sigma.size or sigma.max() == 0:
        return 0, 0.0, []
    tolerance = max(n * l, V.shape[0] * X.shape[1]) * EPS * float(sigma.max())
    columns = _well_conditioned_rows(V.T, int(np.linalg.matrix_rank(V)))
    samples = _well_conditioned_rows(X, int(np.linalg.matrix_rank(X)))
    return int((sigma > tolerance).sum()), tolerance, sorted(i * l + o for i in samples for o in columns)


def _well_conditioned_rows(matrix: Array, rank: int) -> list[int]:
    """Rows by pivoted Gram-Schmidt: each the one farthest from the span of those before."""
    rest = matrix.copy()
    found: list[int] = []
    for _ in range(rank):
        lengths = np.einsum("ij,ij->i", rest, rest)
        lengths[found] = -1.0
        k = int(np.argmax(lengths))
        found.append(k)
        direction = rest[k] / np.sqrt(lengths[k]) if lengths[k] > 0 else rest[k]
        for _ in range(2):  # once more, against what rounding left
            rest = rest - np.outer(rest @ direction, direction)
    return sorted(found)


def rational_rank(problem: UnlearningProblem) -> int:
    """The rank of the rows as written."""
    return len(row_basis(integer_rows(np.asarray(problem.free_matrix()))[0]))
