"""Planted optima, found without being told: every regularizer, every sum of drift penalties, frozen or not."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.problem import UnlearningProblem
from tests.certificate_cases import Case, counting, infeasible, planted

IRRATIONAL = ("group_l2", "nuclear_norm")
TO_SIXTY_DIGITS = Fraction(1, 10**60)


def problem_of(case: Case) -> UnlearningProblem:
    return UnlearningProblem.from_tree(codec.from_json(json.loads(json.dumps(case.problem))), case.name)


@pytest.mark.parametrize("case", list(planted()), ids=lambda case: case.name)
def test_the_planted_optimum_is_found_and_proved(case: Case) -> None:
    certificate = xu.certify(problem_of(case), rows="literal")
    assert certificate.proof in ("exact", "enclosure"), certificate.message
    assert case.contains(certificate.lower, certificate.upper)
    assert certificate.gap <= TO_SIXTY_DIGITS
    verdict = certificate.check()
    assert verdict.proved, verdict.sentences
    assert verdict.proof == certificate.proof
    if case.value is not None and certificate.proof == "exact":
        assert certificate.lower == certificate.upper == case.value


@pytest.mark.parametrize("case", list(planted()), ids=lambda case: case.name)
def test_forms_that_are_rational_are_exact(case: Case) -> None:
    """The promise of the documentation: gap 0 for QPs and LPs, for l2 and the predictor norm alone or in a box."""
    problem = problem_of(case)
    name, terms = problem.regularizer.name, {term.name for term in problem.drifts}
    ball = any(term.name == "trust_region" and term.norm == 2 for term in problem.drifts)
    if name in IRRATIONAL or ball or (name in ("l2", "predictor_norm") and terms - {"trust_region"}):
        return
    certificate = xu.certify(problem, rows="literal")
    assert certificate.proof == "exact", certificate.message
    assert certificate.gap == 0


@pytest.mark.parametrize("size", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["l0", "active_neurons"])
def test_planted_counts_are_found_without_a_suggestion(size: int, name: str) -> None:
    case = counting(size, name)
    certificate = xu.certify(problem_of(case))
    assert certificate.proof == "exact"
    assert certificate.lower == certificate.upper == case.value


def test_a_planted_contradiction_is_found() -> None:
    certificate = xu.certify(problem_of(infeasible()))
    assert certificate.proof == "infeasible"
    assert certificate.check().proved
