"""Kinds of problems on which proofs were once weak, or took minutes: what made them so is asserted, not the time."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.certify.fallback import candidates, repaired
from exact_unlearn.certify.image import image
from exact_unlearn.certify.interior import SOLVED
from exact_unlearn.certify.smooth import float_guesses, program_of, smooth_terms
from exact_unlearn.certify.terms import drift_of
from exact_unlearn.certify.whiten import whiten
from exact_unlearn.codec import parse_rational
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
    parts = [(part["indices"], part["nums"], part["den"]) for part in certificate.tree["dual"]["g"]]
    listed = {j: parse_rational(f"{num}/{den}") for js, nums, den in parts for j, num in zip(js, nums, strict=True)}
    spent = sum(abs(g) / Fraction(float(problem.regularizer.weights[j])) for j, g in listed.items())
    assert 1 - Fraction(1, 10**80) < spent < 1
    assert certificate.check().proof == "enclosure"


def near_theta_star(seed: int, shape: tuple[int, int], rows: int, radius: float, *more: Any) -> UnlearningProblem:
    """A nuclear norm in a ball of `radius` |theta*|, and more drift terms."""
    rng = np.random.default_rng(seed)
    size = shape[0] * shape[1]
    theta, J = rng.normal(size=size), rng.normal(size=(rows, size))
    drift = sum(more, start=xu.TrustRegion(radius * np.linalg.norm(theta)))
    return UnlearningProblem(theta, J, xu.NuclearNorm(slice(0, size), shape), drift)


@pytest.mark.parametrize("radius", [1e-2, 1e-3, 1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize(("shape", "rows"), [((2, 2), 1), ((3, 4), 4)])
def test_a_matrix_in_a_small_ball_is_enclosed(radius: float, shape: tuple[int, int], rows: int) -> None:
    """Floats that count from 0 do not see what happens in such a ball; those that count from theta* do."""
    certificate = xu.certify(near_theta_star(30, shape, rows, radius))
    assert certificate.proof == "enclosure"
    assert certificate.gap <= TO_SIXTY_DIGITS


@pytest.mark.parametrize("more", [xu.SquaredDrift(0.3), xu.TrustRegion(1e-5, norm=np.inf)], ids=["squared", "box"])
def test_more_than_a_small_ball_around_a_matrix(more: Any) -> None:
    certificate = xu.certify(near_theta_star(1, (3, 3), 2, 1e-5, more))
    assert (certificate.proof, certificate.check().proof) == ("enclosure", "enclosure")


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_singular_values_of_the_size_of_a_small_ball(scale: float) -> None:
    """theta* of rank 1 exactly and of rank 2 by no more than the ball allows: what moves is the small part."""
    rng = np.random.default_rng(5)
    theta = np.outer(rng.normal(size=3), rng.normal(size=4)) + 1e-6 * np.outer(rng.normal(size=3), rng.normal(size=4))
    radius = 2e-6 * scale
    problem = UnlearningProblem(
        theta.ravel() * scale, rng.normal(size=(2, 12)), xu.NuclearNorm(slice(0, 12), (3, 4)), xu.TrustRegion(radius)
    )
    certificate = xu.certify(problem)
    assert (certificate.proof, certificate.check().proof) == ("enclosure", "enclosure")


@pytest.mark.parametrize("radius", [1e-13, 1e-40])
def test_a_ball_too_small_for_newton_still_has_bounds_as_near_as_it_is_small(radius: float) -> None:
    certificate = xu.certify(near_theta_star(30, (2, 2), 1, radius))
    assert certificate.gap <= Fraction(1, 10**12)


@pytest.mark.parametrize("given", ["subgradient and multipliers", "multipliers"])
@pytest.mark.parametrize(
    "regularizer",
    [xu.NuclearNorm(slice(0, 4), (2, 2)), xu.L2(), xu.SquaredL2(), xu.ElasticNet(0.1, 1.0), xu.GroupL2([0, 0, 1, 1])],
    ids=lambda r: r.name,
)
def test_the_fallback_proves_with_what_a_solution_offers(given: str, regularizer: Any) -> None:
    """Its theta and nu are a solver's; the multiplier of the ball, which no solution has, follows from them."""
    problem = replace(near_theta_star(30, (2, 2), 1, 1e-1), regularizer=regularizer)
    solution = xu.solve(problem)
    if given == "multipliers":
        solution = replace(solution, subgradient=None)
    own, drift = image(problem), drift_of(problem)
    whitened = whiten(own.basis)
    first = next(candidates(problem, solution, own, whitened, drift, None))
    found = repaired(problem, own, whitened, drift, first)
    claims = {"proof": "repaired"}
    tree = {"kind": "bounds", "primal": found.primal, "dual": found.dual, "claims": claims}
    verdict = checker.check(problem, {"schema": "exact-unlearn/certificate", "version": 1, **tree})
    assert verdict.gap <= Fraction(1, 10**4)  # theta is as good as the solver's; without the multiplier it is .3 to 1


@pytest.mark.parametrize("regularizer", [xu.L2(), xu.GroupL2(np.arange(12) // 3)], ids=["l2", "group l2"])
def test_a_square_so_steep_that_parameters_hardly_move(regularizer: Any) -> None:
    """theta* of 1e150 and a drift of 1: no number of digits that count from 0 sees both."""
    rng = np.random.default_rng(7)
    theta, J = rng.normal(size=12) * 1e150, rng.normal(size=(5, 12))
    problem = UnlearningProblem(theta, J, regularizer, xu.SquaredDrift(0.3))
    certificate = xu.certify(problem)
    assert (certificate.proof, certificate.check().proof) == ("enclosure", "enclosure")
