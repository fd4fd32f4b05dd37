"""Literal or intended: which rows of J a certificate is about, and which right-hand side.

Floats have one exact meaning, and it need not be the one that was meant.  A row that repeats another up to rounding is
independent of it over the rationals, and the literal problem may then have quite another optimum; a label that repeats
another up to rounding contradicts it, and the literal problem then has no solution at all.  So ranks of J, and
contradictions between J and b, are compared with what rounding explains, and where it explains them the caller decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import integer_rows, ratio, row_basis
from exact_unlearn.certify.image import Image, image
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.jacobian import Array, ProductJacobian, to_float, to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import in_row_units

EPS = float(np.finfo(np.float64).eps)

ROUNDING = Fraction(1, 10**9)
"""Rows that contradict each other by no more than this part of |b_i| + |J_i| |theta*| do so by rounding ..."""

SINGLE = Fraction(1, 1 << 20)
"""... and so do rows that contradict each other by no more than this part of |b_i|: labels are often kept in single
precision, whose unit is 2^-24.
"""


@dataclass(frozen=True)
class Conflict:
    """Rows that contradict each other as written.

    nu: (k,) with J.T nu = 0 on the free coordinates and <nu, b> > 0, a Farkas vector.  missed: <nu, b> / |nu|_1, for
    every drift misses some row by at least that.  rounding: whether rounding explains it.  labels: (k,) the right-hand
    side nearest to b that J can reach, as far as independent rows decide it.  moved: the largest |label - b|.
    """

    nu: list[Fraction]
    missed: Fraction
    rounding: bool
    labels: list[Fraction]
    moved: Fraction

    @property
    def rows(self) -> list[int]:
        """The rows that are involved."""
        return [i for i, v in enumerate(self.nu) if v]

    def __str__(self) -> str:
        """Which rows, and by how much."""
        names = f"row {self.rows[-1]} contradicts " + (f"rows {self.rows[:-1]}" if self.rows[:-1] else "its zeros")
        return f"{names:.160}; every drift misses one of them by at least {_figure(self.missed, -1)}"


@dataclass(frozen=True)
class RowReport:
    """What was decided about the rows of J on the free coordinates, and about b.

    rational_rank: of the equations as written.  numerical_rank: singular values above tolerance = max(m, d) * eps *
    sigma_1, of rows scaled to largest entries near 1 (equal to rational_rank for Fractions, which have no rounding).
    conflict: how rows contradict each other as written, or None.  kept: the rows proved about, None for all.  tau: as
    given.  labels: the right-hand side proved about where it is not b.  residual: the largest |J_i D - b_i|, of all
    rows as written.  robust_lower: a bound on min R + Rhat over |J D - b| <= tau.
    """

    rational_rank: int
    numerical_rank: int
    tolerance: float
    conflict: Conflict | None = None
    kept: tuple[int, ...] | None = None
    tau: Fraction | None = None
    labels: dict[int, Fraction] | None = None
    residual: Fraction | None = None
    robust_lower: Fraction | None = None

    @property
    def ambiguous(self) -> bool:
        """Rounding makes a difference: the literal problem and the intended one are two."""
        return self.rational_rank != self.numerical_rank or (self.conflict is not None and self.conflict.rounding)


def check_rows(
    problem: UnlearningProblem, rows: str | None, tau: Any, full: Image, pinned: bool = False
) -> tuple[RowReport, UnlearningProblem]:
    """What is to be proved: the report, and the problem with the labels that were moved for `tau`.

    full: the exact image of the problem.  RankAmbiguityError, one sentence, where rounding makes a difference and the
    caller has not decided.
    """
    if rows is not None and (not isinstance(rows, str) or rows != "literal"):
        raise ProblemError(f"rows: expected 'literal' or None, got {rows!r}")
    if tau is not None and (rows is not None or not is_tolerance(tau)):
        raise ProblemError(f"tau: expected a finite number >= 0, and not together with rows, got {tau!r}")
    rank = len(full.rows) - len(full.at_least)
    report, kept = RowReport(rank, rank, 0.0), full.rows
    if not (problem.is_rational or pinned):
        numerical, tolerance, independent = numerical_rank(problem)
        kept = sorted([*independent, *full.at_least])
        report = RowReport(rank, numerical, tolerance)
    report = replace(report, conflict=conflict(problem, full))
    if tau is not None:
        return _within(problem, report, Fraction(tau if isinstance(tau, int | Fraction) else float(tau)), kept)
    refuted = report.conflict is not None and not report.conflict.rounding  # in every reading
    if report.ambiguous and rows is None and not refuted:
        raise RankAmbiguityError(_question(report))
    return report, problem


def is_tolerance(tau: Any) -> bool:
    """Whether tau is a finite number >= 0."""
    try:
        return bool(0 <= tau < float("inf"))
    except (TypeError, ValueError, RuntimeError):  # of a tensor
        return False


def _question(report: RowReport) -> str:
    """What the caller is asked."""
    if report.rational_rank != report.numerical_rank:
        return (
            f"the rows of the jacobian have rank {report.rational_rank} as written but {report.numerical_rank} up to "
            'rounding, so the literal and the intended problem differ: pass rows="literal", or tau for a certified '
            "subset of rows"
        )
    assert report.conflict is not None
    return (
        f"the rows contradict each other as written ({report.conflict}), but not up to rounding, so the literal "
        'problem has no solution and the intended one has: pass rows="literal" for the proof of the former, or tau, at '
        f"least {_figure(report.conflict.moved)}, for the labels nearest to the range of the jacobian"
    )


def _within(
    problem: UnlearningProblem, report: RowReport, tau: Fraction, independent: list[int]
) -> tuple[RowReport, UnlearningProblem]:
    """Independent rows instead of all, and labels on them that J can reach, where that takes no more than tau."""
    found = None if report.conflict is None else allowed(problem, report.conflict, tau)
    if found is None and report.conflict is not None:
        return replace(report, tau=tau), problem
    if not report.ambiguous and found is None:
        return replace(report, tau=tau, kept=tuple(range(problem.n_constraints))), problem
    report = replace(report, tau=tau, kept=tuple(independent))
    if found is None:
        return report, problem
    given = to_rational(problem.rhs).tolist()
    labels = {i: found.labels[i] for i in independent if found.labels[i] != given[i]}
    moved = [found.labels[i] if i in labels else given[i] for i in range(len(given))]
    return replace(report, labels=labels), replace(problem, rhs=np.array(moved, dtype=object))


def allowed(problem: UnlearningProblem, found: Conflict, tau: Fraction | float | None) -> Conflict | None:
    """The conflict with labels that J reaches, no further away than tau; None: no more than rounding explains.

    None if there are no such labels.
    """
    if tau is None:
        return found if found.rounding else None
    if found.moved > tau >= found.missed:
        found = _least_moved(problem, found)
    return found if found.moved <= tau else None


def conflict(problem: UnlearningProblem, full: Image | None = None) -> Conflict | None:
    """How rows of the problem contradict each other as written: the worst of the contradictions; None if none does."""
    if not any(problem.rhs.tolist()):
        return None
    dependencies = (full or image(problem)).dependencies()
    if not any(excess for _, excess in dependencies):
        return None
    given = to_rational(problem.rhs).tolist()
    reach = _reach(problem)
    shares: list[tuple[Fraction, Fraction]] = []
    for nu, excess in dependencies:
        labels = sum((abs(v * b) for v, b in zip(nu, given, strict=True) if v), Fraction(0))
        terms = labels + sum((abs(v) * r for v, r in zip(nu, reach, strict=True) if v), Fraction(0))
        shares.append((excess / labels if labels else Fraction(0), excess / terms if terms else Fraction(0)))
    explained = [
        not excess or (share <= ROUNDING or 0 < of_labels <= SINGLE)
        for (of_labels, share), (_, excess) in zip(shares, dependencies, strict=True)
    ]
    worst = max(range(len(shares)), key=lambda at: (not explained[at], shares[at]))
    nu, excess = dependencies[worst]
    exact = problem.is_rational
    labels = _nearest(problem, dependencies)
    moved = max(abs(label - b) for label, b in zip(labels, given, strict=True))
    missed = excess / sum(map(abs, nu), Fraction(0))
    return Conflict(nu, missed, all(explained) and not exact, labels, moved)


def _reach(problem: UnlearningProblem) -> list[Fraction]:
    """sum_j |J_ij| |theta*_j|: what a label was compared with."""
    if isinstance(problem.jacobian, ProductJacobian):
        J, theta = to_float(problem.free_matrix()), to_float(problem.theta_star)[problem.free]
    else:
        everything = replace(problem, free=np.ones(problem.n_parameters, dtype=bool))
        J, theta = to_float(everything.free_matrix()), to_float(problem.theta_star)
    unit, exponents = in_row_units(J)
    size = int(np.frexp(np.max(np.abs(theta), initial=0.0))[1])
    products = np.abs(unit) @ np.abs(np.ldexp(theta, -size))
    return [Fraction(float(p)) * Fraction(2) ** (int(e) + size) for p, e in zip(products, exponents, strict=True)]


def _dependence(problem: UnlearningProblem, dependencies: list[tuple[list[Fraction], Fraction]]) -> Any:
    """(C, e, scales): C r = e for r = (b - label) / scale, rows of C of largest entry 1, e in units of its largest."""
    unit, exponents = in_row_units(to_float(np.asarray(problem.free_matrix())))
    peak = max((abs(b) for b in to_rational(problem.rhs).tolist()), default=Fraction(1))
    # a row of zeros has no scale of its own: that of the labels
    scales = [Fraction(2) ** int(e) if row.any() else peak for row, e in zip(unit, exponents, strict=True)]
    rows, right = [], []
    for nu, excess in dependencies:
        row = [v * scale for v, scale in zip(nu, scales, strict=True)]
        size = max(map(abs, row))
        rows.append([float(v / size) for v in row])
        right.append(excess / size)
    largest = max(right)
    return np.array(rows), np.array([float(v / largest) for v in right]), [scale * largest for scale in scales]


def _nearest(problem: UnlearningProblem, dependencies: list[tuple[list[Fraction], Fraction]]) -> list[Fraction]:
    """b - r for the shortest r, every row in its own unit, without which the rows agree: orthogonal to range J.

    Made from the contradiction alone, so that rows which take no part in it keep their labels, and the others move by
    no more than it takes.  Exact on independent rows; the others follow from them.
    """
    C, right, scales = _dependence(problem, dependencies)
    shortest = np.linalg.lstsq(C, right, rcond=None)[0]
    return _moved(problem, shortest, scales)


def _least_moved(problem: UnlearningProblem, found: Conflict) -> Conflict:
    """With labels whose largest move is least, where the shortest move is too long."""
    C, right, scales = _dependence(problem, image(problem).dependencies())
    m, k = C.shape
    unit = max(scales)
    cost, sizes = np.append(np.zeros(k), 1.0), np.array([float(scale / unit) for scale in scales])
    above = np.vstack([np.hstack([s * np.diag(sizes), -np.ones((k, 1))]) for s in (1.0, -1.0)])
    from scipy.optimize import linprog

    answer = linprog(
        cost, A_ub=above, b_ub=np.zeros(2 * k), A_eq=np.hstack([C, np.zeros((m, 1))]), b_eq=right, bounds=(None, None)
    )
    if answer.x is None:
        return found
    labels = _moved(problem, answer.x[:k], scales)
    moved = max(abs(label - b) for label, b in zip(labels, to_rational(problem.rhs).tolist(), strict=True))
    return replace(found, labels=labels, moved=moved) if moved < found.moved else found


def _moved(problem: UnlearningProblem, steps: Array, scales: list[Fraction]) -> list[Fraction]:
    given = to_rational(problem.rhs).tolist()
    return [b - Fraction(float(step)) * scale for b, step, scale in zip(given, steps, scales, strict=True)]


def _figure(value: Fraction, direction: int = 1) -> str:
    """Three digits, rounded up, or down for -1."""
    size = ratio(value.numerator, value.denominator)
    return f"{size * (1 + direction * 5e-3):.2e}" if size else "0"


def numerical_rank(problem: UnlearningProblem) -> tuple[int, float, list[int]]:
    """Rank, tolerance max(m, d) * eps * sigma_1, and well-conditioned rows, of the equations on the free coordinates.

    The rows are in units of their own, as in `rowspace`: an equation does not depend on its scale.
    """
    jacobian, equations = problem.jacobian, problem.equations
    if isinstance(jacobian, ProductJacobian) and not problem.at_least.any() and problem.free[jacobian.block].all():
        # the rows are Kronecker products, and so are their singular values
        return _product_rank(to_float(jacobian.V), to_float(jacobian.X))
    rank, tolerance, rows = _matrix_rank(to_float(np.asarray(problem.free_matrix())[equations]))
    return rank, tolerance, equations[rows].tolist()


def _matrix_rank(matrix: Array) -> tuple[int, float, list[int]]:
    if not matrix.any():
        return 0, 0.0, []
    unit, _ = in_row_units(matrix)
    sigma = np.linalg.svd(unit, compute_uv=False)
    tolerance = max(matrix.shape) * EPS * float(sigma[0])
    rank = int((sigma > tolerance).sum())
    return rank, tolerance, _well_conditioned_rows(unit, rank)


def _product_rank(V: Array, X: Array) -> tuple[int, float, list[int]]:
    n, l = X.shape[0], V.shape[1]
    V, X = in_row_units(V.T)[0].T, in_row_units(X)[0]
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
    """The rank of the equations as written."""
    return len(row_basis(integer_rows(np.asarray(problem.free_matrix())[problem.equations])[0]))
