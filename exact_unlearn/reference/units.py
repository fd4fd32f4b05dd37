"""A problem in units in which its parameters are near 1, and answers back in the caller's units.

With theta = u t, a norm has R(u t) = u R(t), a sum of squares u^2 R(t), a count R(t), and so has the objective once
the factors of the drift penalties are changed accordingly.  u is a power of two, so nothing is rounded.  Without this,
squares and tolerances of solvers lose parameters of 1e-150.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.drift import DriftSum, L1Drift, SquaredDrift, Term, TrustRegion
from exact_unlearn.forms import Form
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.regularizers import Written
from exact_unlearn.rowspace import in_row_units
from exact_unlearn.solution import Solution
from exact_unlearn.vectors import largest

ORDINARY = 64
"""Parameters between 2^-64 and 2^64 are taken as they are."""

LARGEST = Fraction(2) ** 1000
"""Factors beyond this or its inverse are cut off, for floats hold no others: such penalties forbid to move, or weigh
nothing.
"""


@dataclass(frozen=True, eq=False)
class Rescaled:
    """`problem` in the unit 2^exponent, with an objective in the unit 2^(degree * exponent)."""

    original: UnlearningProblem
    problem: UnlearningProblem
    exponent: int
    degree: int

    def back(self, solution: Solution) -> Solution:
        """`solution` of the rescaled problem as one of the original."""
        slope = (self.degree - 1) * self.exponent

        def pulled(vector: Array) -> Array:
            return _scaled(vector, slope)

        g, forces, shares = solution.subgradient, solution.drift_subgradients, solution.shares
        return replace(
            solution,
            problem=self.original,
            theta=_scaled(solution.theta, self.exponent),
            nu=pulled(solution.nu),
            subgradient=None if g is None else pulled(g),
            drift_subgradients=None if forces is None else tuple(map(pulled, forces)),
            shares=None if shares is None else tuple(map(pulled, shares)),
        )


def rescaled(problem: UnlearningProblem) -> Rescaled | None:
    """The problem in its own unit, or None if that is an ordinary one already."""
    size = largest(to_float(problem.theta_star))
    exponent = math.frexp(max(size, _least_drift(problem)))[1]
    if abs(exponent) <= ORDINARY:
        return None
    R, parts = problem.regularizer, problem.form.parts
    form, degree = problem.form.in_unit(exponent)
    if len(parts) > 1 or any(part.term.degree is None or part.centre is not None for part in parts):
        R = Written(Form(tuple(replace(part, factor=_factor(part.factor, 0)) for part in form.parts)))
    terms = tuple(_term(term, exponent, degree) for term in problem.drifts)
    scaled = UnlearningProblem(
        _scaled(problem.theta_star, -exponent),
        problem.jacobian,
        R,
        DriftSum(terms) if terms else None,
        problem.free,
        _scaled(problem.rhs, -exponent),
        problem.at_least,
    )
    return Rescaled(problem, scaled, exponent, degree)


def _least_drift(problem: UnlearningProblem) -> float:
    """max |b_i| / |J_i|: every solution moves by at least that; 0 where b = 0, or b <= 0 of rows that read >=."""
    rhs = to_float(problem.rhs)
    rhs = np.where(problem.at_least, np.maximum(rhs, 0.0), rhs)
    if not rhs.any():
        return 0.0
    unit, exponents = in_row_units(to_float(np.asarray(problem.free_matrix())))
    lengths = np.linalg.norm(unit, axis=1)
    rows = lengths > 0
    limit = float(np.finfo(np.float64).max) / 4
    with np.errstate(over="ignore"):
        drifts = np.ldexp(np.abs(rhs[rows]) / lengths[rows], -exponents[rows])
    return min(float(largest(drifts)), limit)


def _term(term: Any, exponent: int, degree: int) -> Term:
    if isinstance(term, TrustRegion):
        return TrustRegion(_factor(term.radius, -exponent), term.norm)
    if isinstance(term, SquaredDrift):
        return SquaredDrift(_factor(term.lam, (2 - degree) * exponent))
    return L1Drift(_factor(term.lam, (1 - degree) * exponent))


def _factor(value: Any, exponent: int) -> Fraction:
    factor = min(Fraction(value) * Fraction(2) ** exponent, LARGEST)
    return max(factor, 1 / LARGEST) if value else factor


def _scaled(vector: Array, exponent: int) -> Array:
    """vector * 2^exponent, exact within the range of floats; what lies beyond is cut off."""
    if vector.dtype == object:
        return np.array([v * Fraction(2) ** exponent for v in vector], dtype=object)
    limit = float(np.finfo(np.float64).max)
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(np.ldexp(vector, exponent), -limit, limit))
