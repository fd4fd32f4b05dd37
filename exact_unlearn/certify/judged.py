"""What a certificate may claim: what the checker finds proved."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from exact_unlearn.certify.encode import Tree, rational_text
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.problem import UnlearningProblem


def judged(problem: UnlearningProblem, tree: Tree, tau: Any = None) -> tuple[str, Tree, dict[str, Any]]:
    """(proof, claims, the same numbers as fields of a Certificate) of a tree with modest claims or none.

    FaceError where it proves nothing.
    """
    from exact_unlearn.certify import checker

    verdict = checker.check(problem, {"claims": {"proof": "repaired"}, **tree}, tau)
    if verdict.proof == "none":
        raise FaceError(" ".join(verdict.sentences))
    fields = {name: getattr(verdict, name) for name in ("lower", "upper", "gap", "square", "distance")}
    fields = {name: value if value is None else _outward(name, value) for name, value in fields.items()}
    unique = True if verdict.unique else None
    claims: Tree = {name: None if value is None else rational_text(value) for name, value in fields.items()}
    claims |= {"proof": verdict.proof, "unique": unique}
    claims |= {} if verdict.neurons is None else {"neurons": verdict.neurons}
    return verdict.proof, claims, {**fields, "unique": unique}


def _outward(name: str, value: Fraction) -> Fraction:
    """Claims of at most 600 digits, rounded so that they stay true; exact values stay exact."""
    if name == "square" or value.denominator.bit_length() < 2000 or not value:
        return value
    shift = 600 + value.denominator.bit_length() - abs(value.numerator).bit_length()
    cut = value * Fraction(2) ** shift
    whole = math.floor(cut) if name == "lower" else math.ceil(cut)
    return Fraction(whole) / Fraction(2) ** shift
