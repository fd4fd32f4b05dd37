"""Rows that read J_i D >= b_i: optima planted from multipliers in fractions, and CVXPY on programs written by hand.

The planted optimum is known exactly before anything is solved; the hand-written program, given to two back ends, shares
no line with the package.  Both have to agree with what `certify` proves, what `solve` claims and what `judge` says.
"""

from __future__ import annotations

import json
import math
import random
import warnings
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.jacobian import to_float
from exact_unlearn.problem import UnlearningProblem
from tests import certificate_cases as cases
from tests import row_cases

from .campaign import Outcome

TITLE = "rows that read >=: planted optima are proved, with gap 0 for QPs and LPs, and two back ends agree"
FULL = 300

FORMS = ("squared_l2", "elastic_net", "l1", "linf", "l2", "group_l2", "predictor_norm")
EXACT = ("squared_l2", "elastic_net", "l1", "linf")
ROOTS = ("l2", "predictor_norm")

OFF = 1e-5
"""What the value of a back end at its defaults may be off by, relative to the optimum or 1."""


def run(count: int, seed: int) -> Outcome:
    """`count` instances; a line names the index and the seed from which `instance` makes one again."""
    failures: list[str] = []
    seen: Counter[str] = Counter()
    for index in range(count):
        name = f"instance({seed}, {index})"
        try:
            case = instance(seed, index)
            name = f"{name}, {case.name}"
            faults = list(_faults(case, seen))
        except Exception as error:  # whatever the package lets through
            faults = [f"{type(error).__name__}: {error!s:.200}"]
        failures += [f"{name}: {fault}" for fault in faults]
    return Outcome(count, tuple(failures), (", ".join(f"{number} {what}" for what, number in sorted(seen.items())),))


def instance(seed: int, index: int) -> cases.Case:
    """A planted case; every tenth has nothing but rows with a gap, and every tenth no solution at all."""
    rng = random.Random(f"{seed} {index}")
    if index % 10 == 8:
        return row_cases.resting(rng.choice(FORMS[:-1]), f"{seed}.{index}")
    if index % 10 == 9:
        return row_cases.contradictory(rng.choice((None, "2", "inf")), f"{seed}.{index}")
    name, drift, frozen = FORMS[index % len(FORMS)], rng.choice(tuple(cases.DRIFTS)), rng.random() < 0.4
    if name == "predictor_norm":
        plain = cases.predictor(rng.choice((1, 2)), rng.choice(("none", "box", "slack ball")), rng.randrange(10**6))
    else:
        plain = cases.plant(name, drift, frozen, rng.randrange(10**6), rng.choice((2, 3, 4)))
    return row_cases.with_rows(plain, rng.choice(tuple(row_cases.KINDS)), f"{seed}.{index}")


def problem_of(case: cases.Case) -> UnlearningProblem:
    return UnlearningProblem.from_tree(codec.from_json(json.loads(json.dumps(case.problem))), case.name)


def has_ball(problem: UnlearningProblem) -> bool:
    """Whether the sphere may be touched, by a plan that often leaves one point only to touch it at: Newton's method is
    slow there, with equations as with rows that read >=, and what is left is proved with a gap.
    """
    return any(term.name == "trust_region" and term.norm == 2 for term in problem.drifts)


def is_rational(problem: UnlearningProblem) -> bool:
    """Whether gap 0 is promised: QPs and LPs, and roots without a penalty; a ball may be active, and is left out."""
    if has_ball(problem):
        return False
    alone = all(term.name == "trust_region" for term in problem.drifts)
    return problem.regularizer.name in EXACT or (problem.regularizer.name in ROOTS and alone)


def _faults(case: cases.Case, seen: Counter[str]) -> Iterator[str]:
    problem = problem_of(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certificate, claim = xu.certify(problem, rows="literal"), xu.solve(problem)
    seen[certificate.proof] += 1
    if not certificate.check().proved:
        yield f"the checker refuses it: {certificate.check().sentences}"
    if case.value is None and case.square is None:
        if (certificate.proof, claim.status) != ("infeasible", xu.Status.INFEASIBLE):
            yield f"nothing fits, but {certificate.proof} and {claim.status}"
        if (claim.nu[problem.at_least] < 0).any():
            yield "its Farkas vector has a negative entry"
        return
    if certificate.proof not in ("exact", "enclosure", *(("repaired",) if has_ball(problem) else ())):
        yield f"{certificate.proof}: {certificate.message}"
        return
    if not case.contains(certificate.lower, certificate.upper):  # type: ignore[arg-type]
        yield "the planted optimum lies outside of the bounds"
    if is_rational(problem) and (certificate.proof != "exact" or certificate.gap != 0):
        yield f"gap {float(certificate.gap or 0):.1e} where 0 is promised: {certificate.message}"
    if certificate.proof == "enclosure" and (certificate.gap or 0) > Fraction(1, 10**60):
        yield f"gap {float(certificate.gap or 0):.1e} of an enclosure"
    optimum = float(case.value) if case.value is not None else math.sqrt(float(case.square or 0))
    yield from _claimed(problem, claim, optimum)
    judged = xu.judge(problem, claim, rows="literal", certificate=certificate).outcome
    if bool(problem.free.all()) and judged != "optimal" and certificate.proof != "repaired":
        yield f"judge says {judged}"
    for name, value in by_hand(problem).items():
        seen[name] += 1
        if not abs(value - optimum) <= OFF * max(1.0, optimum):
            yield f"{name} finds {value:.9g}, and {optimum:.9g} is planted"


def _claimed(problem: UnlearningProblem, claim: xu.Solution, optimum: float) -> Iterator[str]:
    if claim.status is not xu.Status.OPTIMAL:
        yield f"solve says {claim.status.value}: {claim.message}"
    if not abs(claim.value - optimum) <= 1e-7 * max(1.0, optimum):
        yield f"solve finds {claim.value:.12g}, and {optimum:.12g} is planted"
    gaps = to_float(problem.jacobian.matvec(claim.drift)) - to_float(problem.rhs)
    pulls = claim.nu[problem.at_least]
    if (pulls < 0).any() or np.abs(pulls * gaps[problem.at_least]).max(initial=0.0) > 1e-6 * max(1.0, optimum):
        yield "multipliers are negative, or pull at rows with a gap"


# ---------------------------------------------------------------- by hand


def by_hand(problem: UnlearningProblem) -> dict[str, float]:
    """The optimum by two back ends of CVXPY on the problem as a reader would write it down."""
    linear = problem.regularizer.name in ("l1", "linf") and not any(
        term.name == "squared_drift" or getattr(term, "norm", 0) == 2 for term in problem.drifts
    )
    found = {}
    for solver in ("CLARABEL", "HIGHS" if linear else "SCS"):
        program, options = written(problem), {"eps": 1e-9, "max_iters": 100_000} if solver == "SCS" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[solver] = float(program.solve(solver=solver, **options))
    return found


def written(problem: UnlearningProblem) -> Any:
    """min R(theta) + Rhat(D), J D = b, J D >= b, theta frozen where it is not free."""
    star, rhs, least = to_float(problem.theta_star), to_float(problem.rhs), problem.at_least
    theta = cp.Variable(star.size)
    D = theta - star
    J = np.array([to_float(problem.jacobian.rmatvec(_unit(row, problem))) for row in range(rhs.size)])
    J = J * problem.free
    held = ~problem.free
    constraints = [theta[held] == star[held]] if held.any() else []
    constraints += [J[~least] @ D == rhs[~least]] if (~least).any() else []
    constraints += [J[least] @ D >= rhs[least]] if least.any() else []
    cost = _norm(problem, theta)
    for term in problem.drifts:
        if term.name == "trust_region":
            constraints.append(cp.norm(D, term.norm) <= float(term.radius))
        elif term.name == "squared_drift":
            cost = cost + float(term.lam) / 2 * cp.sum_squares(D)
        else:
            cost = cost + float(term.lam) * cp.norm1(D)
    return cp.Problem(cp.Minimize(cost), constraints)


def _unit(row: int, problem: UnlearningProblem) -> Any:
    unit = np.zeros(problem.n_constraints)
    unit[row] = 1.0
    return np.array([Fraction(int(x)) for x in unit], dtype=object) if problem.is_rational else unit


def _norm(problem: UnlearningProblem, theta: Any) -> Any:
    R: Any = problem.regularizer
    weights = None if getattr(R, "weights", None) is None else to_float(R.weights)
    w = np.ones(theta.size) if weights is None or R.name == "group_l2" else weights
    if R.name == "squared_l2":
        return cp.sum(cp.multiply(w / 2, cp.square(theta)))
    if R.name == "elastic_net":
        return float(R.alpha) * cp.norm1(theta) + float(R.beta) / 2 * cp.sum_squares(theta)
    if R.name == "l1":
        return cp.norm1(cp.multiply(w, theta))
    if R.name == "linf":
        return cp.norm_inf(cp.multiply(w, theta))
    if R.name == "l2":
        return cp.norm2(cp.multiply(np.sqrt(w), theta))
    if R.name == "predictor_norm":
        V = to_float(np.asarray(R.V))
        block = cp.reshape(theta[R.block], (V.shape[0], -1), order="C")
        return cp.norm(block.T @ V, "fro")
    groups = [np.flatnonzero(R.labels == g) for g in range(int(R.labels.max()) + 1)]
    outer = np.ones(len(groups)) if weights is None else weights
    return sum(outer[g] * cp.norm2(theta[own]) for g, own in enumerate(groups))
