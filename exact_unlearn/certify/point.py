"""A point of a problem, measured exactly: what the checker measures of a proof, for points that need not be feasible.

Standard library only, on the checker's own reading of a problem, so that `judge` and the golden fixtures use the same
numbers and neither needs more than the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import starmap
from operator import mul

from exact_unlearn.certify import checker

ZERO = Fraction(0)

Interval = tuple[Fraction, Fraction]
"""A number from below and from above; equal where it is rational and known."""

Matrices = Callable[[Sequence[Fraction], int, int], Interval]
"""The nuclear norm of entries in row-major order as a matrix of so many rows and columns."""


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """<a, b>."""
    return checker.dot(a, b) if len(a) else ZERO


def length(x: Sequence[Fraction]) -> Interval:
    """The Euclidean norm."""
    return checker.roots(dot(x, x)) if len(x) else (ZERO, ZERO)


def residuals(proof: checker.Proof, theta: Sequence[Fraction]) -> list[Fraction]:
    """J D - b, all rows as written, D on the free coordinates."""
    steps, den = checker.common([theta[j] - proof.start[j] for j in proof.free] or [ZERO])
    if not proof.free:
        return [-Fraction(b) for b in proof.rhs]
    return [
        Fraction(sum(map(mul, row, steps)), unit * den) - Fraction(b)
        for (row, unit), b in zip(proof.rows, proof.rhs, strict=True)
    ]


def sizes(proof: checker.Proof, reach: Fraction) -> list[Fraction]:
    """|J_i| reach + |b_i|, from below: what the residual of a row is relative to."""
    lengths = [length([Fraction(x, unit) for x in row if x])[0] for row, unit in proof.rows]
    return [norm * reach + abs(Fraction(b)) for norm, b in zip(lengths, proof.rhs, strict=True)]


def predictor(proof: checker.Proof, theta: Sequence[Fraction]) -> list[Fraction]:
    """A^T V, row-major (m, l)."""
    A = [theta[j] for j in proof.block]
    columns = [[Fraction(x) for x in proof.V[o :: proof.l]] for o in range(proof.l)]
    return [dot(A[c :: proof.m], column) for c in range(proof.m) for column in columns]


def regularizer(
    proof: checker.Proof, theta: Sequence[Fraction], matrices: Matrices, least: Fraction = ZERO
) -> Interval:
    """R(theta).  least: of counts, entries no larger than this are 0."""
    name = proof.name
    if name in checker.SEPARABLE:
        terms = zip(proof.alpha, proof.beta, theta, strict=True)
        value = sum(starmap(_separable, terms), ZERO)
        return value, value
    if name in checker.COUNTS:
        count = Fraction(len({proof.pays[j] for j, x in enumerate(theta) if abs(x) > least} - {-1}))
        return count, count
    if name == "nuclear_norm":
        return matrices([theta[j] for j in proof.indices], *proof.shape)
    above, below, _ = proof.norm(predictor(proof, theta) if name == "predictor_norm" else list(theta), False)
    return Fraction(below), Fraction(above)


def _separable(alpha: Fraction, beta: Fraction, x: Fraction) -> Fraction:
    return alpha * abs(x) + beta * x * x / 2


def penalty(proof: checker.Proof, theta: Sequence[Fraction]) -> Fraction:
    """lam/2 |D|^2 + mu |D|_1; trust regions are measured, not added."""
    drift = [x - y for x, y in zip(theta, proof.start, strict=True)]
    squares = proof.lam / 2 * dot(drift, drift) if proof.lam else ZERO
    return Fraction(squares + proof.mu * sum(map(abs, drift)))
