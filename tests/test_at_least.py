"""Rows that read J_i D >= b_i, solved and proved: optima planted in fractions are found without being told."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.certify.exactlin import Rationals
from exact_unlearn.certify.feasible import towards_shortest
from exact_unlearn.certify.image import image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.repair import from_inside, within_rows
from exact_unlearn.certify.terms import difference, drift_of
from exact_unlearn.certify.whiten import whiten
from exact_unlearn.jacobian import to_float, to_rational
from exact_unlearn.problem import UnlearningProblem
from tests.certificate_cases import Case, plant, predictor
from tests.row_cases import KINDS, contradictory, resting, with_rows

FORMS = ("squared_l2", "elastic_net", "l1", "linf", "l2", "group_l2")
TURNS = ("none", "squared", "box", "all", "l1", "ball", "squared+box")
CASES = [
    *(
        with_rows(plant(name, TURNS[(at + turn) % len(TURNS)], turn % 2 == 0), kind)
        for at, name in enumerate(FORMS)
        for turn, kind in enumerate(KINDS)
    ),
    *(resting(name) for name in FORMS),
    *(with_rows(predictor(l, drift), "some", l) for l in (1, 2) for drift in ("none", "box", "slack ball")),
]
IRRATIONAL = ("group_l2",)


def problem_of(case: Case) -> UnlearningProblem:
    return UnlearningProblem.from_tree(codec.from_json(json.loads(json.dumps(case.problem))), case.name)


def rational(case: Case) -> bool:
    """Whether the promise is gap 0: QPs and LPs, l2 and the predictor norm alone or in a box, no active ball."""
    drifts = case.problem["drift_penalty"]
    name = case.problem["regularizer"]["name"]
    ball = any(term.get("norm") == "2" for term in drifts) and "slack" not in case.name
    rooted = name in ("l2", "predictor_norm") and any(term["name"] != "trust_region" for term in drifts)
    return not (name in IRRATIONAL or ball or rooted)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_planted_optima_are_found_and_proved(case: Case) -> None:
    certificate = xu.certify(problem_of(case), rows="literal")
    assert certificate.proof in ("exact", "enclosure"), certificate.message
    assert case.contains(certificate.lower, certificate.upper)
    assert certificate.gap <= Fraction(1, 10**60)
    assert certificate.check().proved
    if rational(case):
        assert certificate.proof == "exact", certificate.message
        assert certificate.gap == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_planted_optima_are_solved(case: Case) -> None:
    """Optimal by residuals that no back end is asked for; multipliers have their sign, and pull only where tight."""
    problem = problem_of(case)
    claim = xu.solve(problem)
    value = float(case.value) if case.value is not None else float(case.square or 0) ** 0.5
    assert claim.status is xu.Status.OPTIMAL, claim.message
    assert claim.value == pytest.approx(value, rel=1e-8, abs=1e-8)
    gaps = to_float(problem.jacobian.matvec(claim.drift)) - to_float(problem.rhs)
    pulls = claim.nu[problem.at_least]
    assert (pulls >= 0).all()
    assert np.abs(pulls * gaps[problem.at_least]).max(initial=0.0) <= 1e-7 * max(1.0, value)
    if problem.free.all():  # floats are no frozen thirds
        assert xu.judge(problem, claim).outcome == "optimal"


@pytest.mark.parametrize("norm", [None, "2", "inf"])
@pytest.mark.parametrize("regularizer", [xu.L1(), xu.L2(), xu.GroupL2([[0, 1, 2], [3, 4, 5, 6], [7, 8]]), xu.LInf()])
def test_what_nothing_meets_is_refuted(norm: str | None, regularizer: Any) -> None:
    problem = replace(problem_of(contradictory(norm)), regularizer=regularizer)
    certificate = xu.certify(problem)
    assert certificate.proof == "infeasible", certificate.message
    assert certificate.check().proved
    claim = xu.solve(problem)
    assert claim.status is xu.Status.INFEASIBLE
    assert (claim.nu >= 0).all()
    assert float(claim.nu @ to_float(problem.rhs)) > 0
    assert xu.judge(problem, problem.theta_star, claim.nu).outcome == "nothing to be optimal"


def test_a_row_without_entries_that_asks_for_more_is_refuted() -> None:
    for free in (None, np.zeros(2, dtype=bool)):
        J = [[0.0, 0.0], [1.0, 2.0]]
        problem = UnlearningProblem([1.0, 1.0], J, xu.L2(), None, free, [0.5, -1.0], [True, True])
        assert xu.certify(problem).proof == "infeasible"
        claim = xu.solve(problem)
        assert claim.status is xu.Status.INFEASIBLE
        assert claim.nu.tolist() == [1.0, 0.0]


def test_a_row_and_its_negative_are_an_equation() -> None:
    """Two inequalities have the optimum of the equation, of which they are the two halves."""
    rng = np.random.default_rng(3)
    J, theta, rhs = rng.normal(size=(4, 9)), rng.normal(size=9), rng.normal(size=4)
    for regularizer in (xu.L1(), xu.SquaredL2(), xu.GroupL2([[0, 1, 2], [3, 4, 5], [6, 7, 8]])):
        plain = xu.certify(UnlearningProblem(theta, J, regularizer, rhs=rhs))
        halves = UnlearningProblem(theta, [*J, *-J], regularizer, None, None, [*rhs, *-rhs], np.ones(8, dtype=bool))
        found = xu.certify(halves)
        assert found.proof == plain.proof
        assert abs(found.upper - plain.upper) <= Fraction(1, 10**60) * plain.upper


def test_rows_that_hold_anyway_change_nothing() -> None:
    """The optimum without them, whose multipliers are 0."""
    rng = np.random.default_rng(4)
    J, theta = rng.normal(size=(3, 8)), rng.normal(size=8)
    plain = UnlearningProblem(theta, J, xu.SquaredL2())
    found = xu.certify(plain)
    more = rng.normal(size=(5, 8))
    low = [float(row @ (found.theta - theta)) - 1.0 for row in more]
    mask = np.arange(8) >= 3
    larger = UnlearningProblem(theta, [*J, *more], xu.SquaredL2(), rhs=[0.0, 0.0, 0.0, *low], at_least=mask)
    assert xu.certify(larger).upper == found.upper
    claim = xu.solve(larger)
    assert claim.nu[3:].tolist() == [0.0] * 5
    assert claim.value == pytest.approx(float(found.upper))


def test_scales_do_not_matter() -> None:
    """A row times a positive number is the same row: the multiplier is divided by it."""
    rng = np.random.default_rng(5)
    J, theta = rng.normal(size=(4, 7)), rng.normal(size=7)
    rhs, mask = rng.normal(size=4), np.array([True, True, False, True])
    plain = xu.solve(UnlearningProblem(theta, J, xu.SquaredL2(), rhs=rhs, at_least=mask))
    scale = np.array([2.0**40, 2.0**-40, 2.0**20, 1.0])
    problem = UnlearningProblem(theta, J * scale[:, None], xu.SquaredL2(), rhs=rhs * scale, at_least=mask)
    scaled = xu.solve(problem)
    assert scaled.value == pytest.approx(plain.value, rel=1e-10)
    assert scaled.nu * scale == pytest.approx(plain.nu, rel=1e-6, abs=1e-9)
    assert xu.certify(problem).proof == "exact"


@pytest.mark.parametrize("unit", [2.0**-300, 2.0**300])
def test_units_do_not_matter(unit: float) -> None:
    rng = np.random.default_rng(6)
    J, theta, rhs, mask = rng.normal(size=(3, 7)), rng.normal(size=7), rng.normal(size=3), [True, False, True]
    plain = xu.solve(UnlearningProblem(theta, J, xu.L1(), rhs=rhs, at_least=mask))
    small = xu.solve(UnlearningProblem(theta * unit, J, xu.L1(), rhs=rhs * unit, at_least=mask))
    assert small.status is xu.Status.OPTIMAL
    assert small.value / unit == pytest.approx(plain.value, rel=1e-9)


def test_equations_alone_are_independent_or_not() -> None:
    """A multiple that reads >= is no dependence, and nothing is asked; a rounded copy of an equation is one."""
    rng = np.random.default_rng(7)
    J, theta = rng.normal(size=(3, 6)), rng.normal(size=6)
    twice = UnlearningProblem(theta, [*J, 3.1 * J[0]], xu.L1(), at_least=[False, False, False, True])
    certificate = xu.certify(twice)
    assert certificate.proof == "exact"
    assert (certificate.rows.rational_rank, certificate.rows.numerical_rank) == (3, 3)
    copied = UnlearningProblem(theta, [*J, 3.1 * J[0], J[1]], xu.L1(), at_least=[False] * 4 + [True])
    with pytest.raises(xu.RankAmbiguityError):
        xu.certify(copied)
    kept = xu.certify(copied, tau=1e-12)
    assert kept.proof == "exact"
    assert kept.check(tau=1e-12).proved
    assert set(kept.tree["rows"]["kept"]) < {0, 1, 2, 3}


def test_distances_of_groups_know_which_rows_are_tight() -> None:
    """A multiplier that is 0 but for rounding would make the difference of two minimisers as long as it likes."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        J, theta, rhs, mask = rng.normal(size=(6, 20)), rng.normal(size=20), 2 * rng.normal(size=6), np.arange(6) > 1
        problem = UnlearningProblem(theta, J, xu.GroupL2(np.arange(20) // 4), rhs=rhs, at_least=mask)
        certificate = xu.certify(problem)
        assert certificate.proof == "enclosure"
        assert certificate.distance is not None
        assert certificate.distance <= Fraction(1, 10**30)


def test_a_point_beyond_the_ball_is_moved_towards_the_shortest_drift() -> None:
    """Where a ball touches what the rows leave at a kink Newton's method ends without a point; a proof with a gap is
    left.  (Found by the attack `inequalities`.)
    """
    case = with_rows(plant("squared_l2", "ball", True, 3, 2), "mixed")
    problem = problem_of(case)
    stated = image(problem)
    whitened, drift = whiten(stated.basis), drift_of(problem)
    far = stated.own(Rationals.of([2 * Fraction(v) for v in case_point(case, problem)]))
    inside = within_rows(stated, whitened, far, np.ones(len(far)), 1e-9)
    moved = towards_shortest(stated, drift, whitened, inside)
    assert not drift.allows(difference(inside, stated.theta[stated.free]))
    assert drift.allows(difference(moved, stated.theta[stated.free]))
    excess = stated.residuals(moved)
    assert all(v >= 0 if row in stated.at_least else v == 0 for row, v in enumerate(excess))


def case_point(case: Case, problem: UnlearningProblem) -> list[Fraction]:
    """The planted optimum on the free coordinates."""
    return [case.theta[j] for j in np.flatnonzero(problem.free)]


@pytest.mark.parametrize("kind", KINDS)
def test_largest_entries_in_an_active_ball_are_enclosed(kind: str) -> None:
    """Slacks that are held are no parameters.  (Found by the attack `inequalities`, seed 2.)"""
    case = with_rows(plant("linf", "ball", False, 939_338, 2), kind, "2.17")
    certificate = xu.certify(problem_of(case), rows="literal")
    assert certificate.proof in ("exact", "enclosure", "repaired"), certificate.message
    assert case.contains(certificate.lower, certificate.upper)


def test_fractions_stay_fractions() -> None:
    J, theta = to_rational(np.array([[1.0, 2.0, 3.0]])) / 7, to_rational(np.array([1.0, -1.0, 2.0])) / 3
    problem = UnlearningProblem(theta, J, xu.SquaredL2(), rhs=[Fraction(1, 11)], at_least=[True])
    assert xu.certify(problem).proof == "exact"
    assert xu.solve(problem).status is xu.Status.OPTIMAL


def test_rows_that_nearly_exclude_one_another_are_met_from_inside() -> None:
    """x_1 + x_2 = 1 with x_1 >= 1/2 and x_2 >= 1/2 - 1e-10: as equations they contradict one another, and there is
    room between them.
    """
    rows = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    rhs = np.array([1.0, 0.5, 0.5 - 1e-10])
    problem = xu.UnlearningProblem(np.zeros(2), rows, xu.L2(), None, None, rhs, [False, True, True])
    stated = image(problem)
    whitened, x = whiten(stated.basis), Rationals.of([Fraction(1, 2), Fraction(1, 2)])
    found = from_inside(stated, whitened, x, np.ones(2)).fractions()
    assert sum(found) == 1
    assert found[0] >= Fraction(1, 2)
    assert found[1] >= Fraction(rhs[2])
    narrow = xu.UnlearningProblem(np.zeros(2), rows, xu.L2(), None, None, [1.0, 0.5, 0.5], [False, True, True])
    with pytest.raises(FaceError, match="no point has slack"):
        from_inside(image(narrow), whitened, x, np.ones(2))
