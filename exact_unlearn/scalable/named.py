"""Forms that are a named regularizer in other words: with factors in its weights, and with its centre as the origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Kink, Max, Norms, Square
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.regularizers import L1, L2, ElasticNet, GroupL2, LInf, Recipe, SquaredL2
from exact_unlearn.solution import Solution, Status

NAMED = ("squared_l2", "l2", "l1", "linf", "group_l2", "elastic_net", "predictor_norm")
"""Regularizers with a route of their own."""


def comes_to_a_name(problem: UnlearningProblem) -> bool:
    """Whether a named route takes the problem: R in other words, with squared drifts and balls."""
    known = all(t.name == "squared_drift" or (t.name == "trust_region" and t.norm == 2) for t in problem.drifts)
    if problem.regularizer.name != "form":
        return known and problem.regularizer.name in NAMED
    try:
        in_other_words(problem)
    except ProblemError:
        return False
    return known


def in_other_words(problem: UnlearningProblem) -> tuple[UnlearningProblem, Array]:
    """The problem with a named regularizer, about theta - c, and c (d,).  ProblemError where the form has no name."""
    form, d = problem.form, problem.n_parameters
    centre = next((part.centre for part in form.parts if part.centre is not None), None)
    about = np.zeros(d) if centre is None else to_float(centre)
    same = all(np.array_equal(part.centre if part.centre is not None else 0 * about, about) for part in form.parts)
    named = _named(form, d) if same and not any(part.map is not None for part in form.parts) else None
    if named is None:
        raise ProblemError(
            f"regularizer: scalable.solve takes single regularizers and what comes to one, got {form}; "
            "use exact_unlearn.solve"
        )
    start = to_float(problem.theta_star) - about
    return replace(problem, regularizer=named, theta_star=start), about


def by_name(problem: UnlearningProblem, solve: Callable[..., Solution], gap: float, start: Solution | None) -> Solution:
    """The answer of `solve` to the problem in other words, in the words of `problem` and measured against it."""
    named, centre = in_other_words(problem)
    if start is not None:
        start = replace(start, problem=named, theta=to_float(start.theta) - centre, shares=None)
    found = solve(named, start=start)
    own = replace(found, problem=problem, theta=to_float(found.theta) + centre)
    if own.status is not Status.OPTIMAL:
        return own
    worst = max(own.primal_residual(), own.dual_residual(), own.relative_gap())
    if worst <= gap:
        return own
    return own.with_message(Status.INACCURATE, f"{own.message}; reached {worst:.1e} where {gap:.1e} was asked for")


def _named(form: Form, d: int) -> Recipe | None:
    """The regularizer of the same values, its centre being 0; None if there is none."""
    terms = [(part.term, Fraction(part.factor)) for part in form.parts]
    if len(terms) == 1:
        term, factor = terms[0]
        if isinstance(term, Norms):
            if term.groups is None:
                return L2(_times(term.inner, factor**2, d))
            return GroupL2(term.groups.labels, _times(term.outer(), factor, term.groups.n_groups))
        if isinstance(term, Max):
            return LInf(_times(term.weights, factor, d))
    if not all(isinstance(term, Kink | Square) for term, _ in terms):
        return None
    alpha, beta = (_sum(terms, kind, d) for kind in (Kink, Square))
    if not beta.any():
        return L1(alpha)
    if not alpha.any():
        return SquaredL2(beta)
    uniform = bool((alpha == alpha[0]).all() and (beta == beta[0]).all())
    return ElasticNet(float(alpha[0]), float(beta[0])) if uniform else None


def _sum(terms: list[tuple[Any, Fraction]], kind: Any, d: int) -> Array:
    """The weights of all terms of a kind together, (d,) floats."""
    return sum((_times(term.weights, factor, d) for term, factor in terms if isinstance(term, kind)), start=np.zeros(d))


def _times(weights: Array | None, factor: Fraction, size: int) -> Array:
    return float(factor) * (np.ones(size) if weights is None else to_float(np.asarray(weights)))
