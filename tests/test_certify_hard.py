"""Kinds of problems on which proofs were once weak, or took minutes: what made them so is asserted, not the time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.certify.image import image
from exact_unlearn.certify.interior import SOLVED
from exact_unlearn.certify.smooth import float_guesses, program_of, smooth_terms
from exact_unlearn.certify.terms import drift_of
from exact_unlearn.certify.whiten import whiten
from exact_unlearn.problem import UnlearningProblem

TO_SIXTY_DIGITS = Fraction(1, 10**60)


def random_problem(shape: tuple[int, int], seed: int, regularizer: Any, *drift: Any) -> UnlearningProblem:
    """regularizer: of random weights; drift: terms, a number being the radius of a ball in units of |theta*|."""
    rng = np.random.default_rng(seed)
    theta, J = rng.normal(size=shape[1]), rng.normal(size=shape)
    weights = rng.uniform(0.5, 2, shape[1])
    terms = [xu.TrustRegion(d * np.linalg.norm(theta)) if isinstance(d, float) else d for d in drift]
    return UnlearningProblem(theta, J, regularizer(weights), sum(terms[1:], start=terms[0]) if terms else None)


def test_one_large_cone_among_many_kinks_is_solved_in_floats() -> None:
    """Its steps once ended so near the boundary of the cone that the next ones were blocked, until nothing moved."""
    problem = random_problem((30, 200), 0, xu.L2, xu.L1Drift(0.1), 0.6)
    own, drift = image(problem), drift_of(problem)
    program = program_of(own, *smooth_terms(problem, own, drift), drift)
    _, guess = next(float_guesses(program, whiten(own.basis)))
    assert not guess.ball  # a solution of error above SOLVED says that the ball is touched, and it is not
    assert SOLVED <= 1e-8
    certificate = xu.certify(problem)
    assert (certificate.proof, certificate.check().proof) == ("enclosure", "enclosure")
    assert certificate.gap <= TO_SIXTY_DIGITS


def test_a_ceiling_of_many_weights_asks_for_no_division_by_its_sum() -> None:
    """sum |g| / w has as many digits as all weights together; as long as it is at most 1, nothing is scaled by it."""
    problem = random_problem((6, 60), 0, xu.LInf, 0.3)
    certificate = xu.certify(problem)
    assert certificate.proof == "enclosure"
    assert certificate.gap <= TO_SIXTY_DIGITS
    listed = checker.entries(certificate.tree["dual"]["g"], range(60))
    spent = sum(abs(g) / Fraction(float(problem.regularizer.weights[j])) for j, g in listed.items())
    assert 1 - Fraction(1, 10**80) < spent < 1
    assert certificate.check().proof == "enclosure"
