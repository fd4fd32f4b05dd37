"""A point of a problem, measured exactly: what the checker measures of a proof, for points that need not be feasible.

Standard library only, on the checker's own reading of a problem, so that `judge` and the golden fixtures use the same
numbers and neither needs more than the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import starmap
from operator import mul
from typing import Any

from exact_unlearn.certify import checker

ZERO = Fraction(0)

Interval = tuple[Fraction, Fraction]
"""A number from below and from above; equal where it is rational and known."""

Matrices = Callable[[Sequence[Fraction], int, int], Interval]
"""The nuclear norm of entries in row-major order as a matrix of so many rows and columns."""


UNLIMITED = 1 << 80
"""Nanoseconds: a point of one's own is worth any work."""


def read(problem: Any) -> checker.Problem:
    """The checker's reading of a problem: a path, a tree, or an object with `to_tree`."""
    return checker.Problem(checker.read_problem(problem), checker.Work(UNLIMITED))


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """<a, b>."""
    work = checker.Work(UNLIMITED)
    return checker.dot(checker.common(a, work), checker.common(b, work), work)


def length(x: Sequence[Fraction]) -> Interval:
    """The Euclidean norm."""
    return checker.roots(dot(x, x)) if len(x) else (ZERO, ZERO)


def residuals(problem: checker.Problem, theta: Sequence[Fraction]) -> list[Fraction]:
    """J D - b, all rows as written, D on the free coordinates; 0 where a row that reads >= is satisfied."""
    steps, den = checker.common([theta[j] - problem.start[j] for j in problem.free], problem.work)
    found = [
        Fraction(sum(map(mul, row, steps)), unit * den) - Fraction(b)
        for (row, unit), b in zip(problem.rows, problem.rhs, strict=True)
    ]
    for i in problem.at_least:
        found[i] = min(found[i], ZERO)
    return found


def sizes(problem: checker.Problem, reach: Fraction) -> list[Fraction]:
    """|J_i| reach + |b_i|, from below: what the residual of a row is relative to."""
    lengths = [length([Fraction(x, unit) for x in row if x])[0] for row, unit in problem.rows]
    return [norm * reach + abs(Fraction(b)) for norm, b in zip(lengths, problem.rhs, strict=True)]


def predictor(problem: checker.Problem, theta: Sequence[Fraction]) -> list[Fraction]:
    """A^T V, row-major (m, l)."""
    A = [theta[j] for j in problem.block]
    columns = [[Fraction(x) for x in problem.V[o :: problem.l]] for o in range(problem.l)]
    return [dot(A[c :: problem.m], column) for c in range(problem.m) for column in columns]


def regularizer(
    problem: checker.Problem, theta: Sequence[Fraction], matrices: Matrices, least: Fraction = ZERO
) -> Interval:
    """R(theta).  least: of counts, entries no larger than this are 0, unless they are frozen: those are no rounding."""
    name = problem.name
    if name in checker.SEPARABLE:
        terms = zip(problem.alpha, problem.beta, theta, strict=True)
        value = sum(starmap(_separable, terms), ZERO)
        return value, value
    if name == checker.POWER:
        return problem.powers(theta)
    if name == "form":
        return _form(problem, theta, matrices)
    if name in checker.COUNTS:
        used = (j for j, x in enumerate(theta) if abs(x) > (least if j in problem.at else ZERO))
        count = Fraction(len({problem.pays[j] for j in used} - {-1}))
        return count, count
    if name == "nuclear_norm":
        return matrices([theta[j] for j in problem.indices], *problem.shape)
    above, below, _ = problem.norm(
        checker.common(predictor(problem, theta) if name == "predictor_norm" else theta, problem.work), False
    )
    return Fraction(below), Fraction(above)


def _form(problem: checker.Problem, theta: Sequence[Fraction], matrices: Matrices) -> Interval:
    """The sum of the values of its parts."""
    x = checker.common(theta, problem.work)
    low = high = Fraction(problem.bent_value(x))
    for part in problem.parts:
        at = part.at(x)
        if part.kind == "spectral":
            below, above = (part.factor * v for v in matrices([at.at(j) for j in part.indices], *part.shape))
        else:
            above, below = part.value(at, [])
        low, high = low + below, high + above
    return low, high


def _separable(alpha: Fraction, beta: Fraction, x: Fraction) -> Fraction:
    return alpha * abs(x) + beta * x * x / 2


def penalty(problem: checker.Problem, theta: Sequence[Fraction]) -> Fraction:
    """lam/2 |D|^2 + mu |D|_1; trust regions are measured, not added."""
    drift = [x - y for x, y in zip(theta, problem.start, strict=True)]
    squares = problem.lam / 2 * dot(drift, drift) if problem.lam else ZERO
    return Fraction(squares + problem.mu * sum(map(abs, drift)))
