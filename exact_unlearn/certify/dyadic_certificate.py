"""When an enclosure of short numbers takes the place of an exact proof, and the certificate that it becomes."""

from __future__ import annotations

from typing import Any

import numpy as np

from exact_unlearn import report
from exact_unlearn.blocks import split
from exact_unlearn.certify.certificate import SCHEMA, Certificate
from exact_unlearn.certify.dyadic_proof import Enclosed, enclose_nearby
from exact_unlearn.certify.encode import Tree, rational_text
from exact_unlearn.certify.forms import EXACT
from exact_unlearn.certify.judged import judged
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.terms import kind_of, nearest_floats
from exact_unlearn.problem import UnlearningProblem

DEAR, DEAR_REPAIR = 150_000, 50_000
"""Entries of J from which on an exact optimum, or an exact repair of an approximate one, costs more than a second."""

CHEAP = 200_000
"""Entries of J up to which the checker is asked, so that what it finds is claimed, to the last digit."""


def wanted(problem: UnlearningProblem, rows: Any, proof: str) -> bool:
    """Whether an enclosure of short numbers is to be tried first."""
    if rows is not None and not (isinstance(rows, str) and rows == "literal"):
        return False
    if proof != "auto":
        return proof == "enclosure"
    limit = DEAR if kind_of(problem) in EXACT else DEAR_REPAIR
    if problem.n_constraints * int(problem.free.sum()) <= limit:
        return False
    sizes = [block.problem.n_constraints * int(block.problem.free.sum()) for block in split(problem)]
    return max(sizes, default=limit + 1) > limit  # a problem that falls apart is no dearer than its blocks


def short_enclosure(problem: UnlearningProblem) -> tuple[Certificate | None, str]:
    """The certificate; or None, and why there is none."""
    try:
        if problem.origin is not None:
            raise FaceError("the problem stands for a network")
        return _certificate(problem, enclose_nearby(problem)), ""
    except (np.linalg.LinAlgError, ZeroDivisionError, OverflowError):
        return None, "no enclosure of short numbers: the optimum is degenerate, or beyond the range of floats"
    except FaceError as error:
        return None, f"no enclosure of short numbers: {error}"


def _certificate(problem: UnlearningProblem, found: Enclosed) -> Certificate:
    gap = (found.upper - found.lower) / found.upper
    fields: dict[str, Any] = {"lower": found.lower, "upper": found.upper, "gap": gap, "distance": found.distance}
    tree: Tree = {"schema": SCHEMA, "version": problem.version, "kind": "bounds"}
    tree |= {"primal": found.primal, "dual": found.dual}
    proof, unique = "enclosure", True if found.unique else None
    claims: Tree = {name: None if value is None else rational_text(value) for name, value in fields.items()}
    claims |= {"proof": proof, "unique": unique}
    fields["unique"] = unique
    if problem.n_constraints * problem.n_parameters <= CHEAP:
        proof, claims, fields = judged(problem, tree)
        if proof not in ("enclosure", "exact"):
            raise FaceError(f"its gap is {report.small(fields['gap'])}")
    tree["claims"] = claims
    theta = nearest_floats(found.theta)
    return Certificate(problem, proof, theta=theta, rows=found.rows, tree=tree, **fields)
