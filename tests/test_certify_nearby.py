"""Enclosures of short numbers: true, sharp, checked by both checkers; and where they do not apply, the other way."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import checker, dyadic_certificate, near
from exact_unlearn.certify.dyadic_certificate import short_enclosure
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.slices import Slices
from exact_unlearn.errors import ProblemError, RankAmbiguityError
from exact_unlearn.jacobian import to_rational
from tests import near_cases
from tests.cases import drifts, freezings, gaussian_problem, regularizers
from tests.test_second_checker import second_opinions

SHARP = Fraction(1, 10**60)
NAMES = [name for name in regularizers() if "nuclear" not in name]

ELSEWHERE = {
    ("squared l2 with zero weights", "none", None), ("squared l2 with zero weights", "ball", None),
    ("l1 with zero weights", "none", None), ("l1 with zero weights", "ball", None),
    ("linf", "none", "some frozen"), ("linf", "l1", "all free"), ("linf", "squared and l1", "all free"),
    ("linf", "box", None), ("weighted linf", "box", "all free"), ("linf", "all", None),
}  # fmt: skip
"""What is proved in another way on twelve coordinates: nothing penalises some of them, or the ceiling is touched where
something else holds; None: however many are free."""


def elsewhere(*names: str) -> bool:
    return names in ELSEWHERE or (*names[:2], None) in ELSEWHERE


def medium(kind: str, m: int = 30, d: int = 200) -> xu.UnlearningProblem:
    """Gaussian, of a size at which every form is nondegenerate."""
    rng = np.random.default_rng(5)
    J, theta, labels = rng.standard_normal((m, d)), rng.standard_normal(d), np.arange(d) // 5
    R, drift = {
        "squared": (xu.SquaredL2(rng.uniform(0.5, 2, d)), None),
        "elastic": (xu.ElasticNet(1.0, 0.5), None),
        "l1": (xu.L1(), None),
        "l1, squared": (xu.L1(), xu.SquaredDrift(0.5)),
        "l1, l1": (xu.L1(rng.uniform(0.5, 2, d)), xu.L1Drift(0.5)),
        "l1, box": (xu.L1(), xu.TrustRegion(0.9, np.inf)),
        "l1, ball": (xu.L1(), xu.TrustRegion(8.0)),
        "linf": (xu.LInf(rng.uniform(0.5, 2, d)), None),
        "linf, squared": (xu.LInf(), xu.SquaredDrift(0.02)),
        "l2": (xu.L2(), None),
        "l2, squared": (xu.L2(), xu.SquaredDrift(0.02)),
        "l2, l1": (xu.L2(rng.uniform(0.5, 2, d)), xu.L1Drift(0.02)),
        "groups": (xu.GroupL2(labels), None),
        "groups, ball": (xu.GroupL2(labels), xu.TrustRegion(11.0)),
        "groups, l1": (xu.GroupL2(labels), xu.L1Drift(0.1)),
    }[kind]
    return xu.UnlearningProblem(theta, J, R, drift)


KINDS = (
    "squared", "elastic", "l1", "l1, squared", "l1, l1", "l1, box", "l1, ball", "linf", "linf, squared", "l2",
    "l2, squared", "l2, l1", "groups", "groups, ball", "groups, l1",
)  # fmt: skip


@pytest.mark.parametrize("regularizer", NAMES)
def test_short_enclosures_agree_with_exact_proofs(regularizer: str) -> None:
    slow = regularizer.endswith("l2") and "squared" not in regularizer  # norms, whose enclosures are exactly repaired
    for index, (drift, freezing) in enumerate(product(drifts(), ("all free", "some frozen"))):
        problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()[freezing])
        found, why = short_enclosure(problem)
        assert (found is None) == elsewhere(regularizer, drift, freezing), (drift, freezing, why)
        if found is not None:
            assert found.gap <= SHARP
            assert found.check().proved
        if found is not None and index % (5 if slow else 2) == 0:
            exact = xu.certify(problem, proof="exact")
            assert found.lower <= exact.upper
            assert exact.lower <= found.upper
            assert np.allclose(found.theta, exact.theta, rtol=1e-9, atol=1e-12) or not exact.unique


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_claimed_without_the_checker_is_less_than_it_finds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = medium(kind)
    monkeypatch.setattr(dyadic_certificate, "CHEAP", 0)
    found, why = short_enclosure(problem)
    assert found is not None, why
    verdict = found.check()
    assert verdict.proved, verdict.sentences
    assert verdict.proof == found.proof == "enclosure"
    assert found.lower <= verdict.lower
    assert verdict.upper <= found.upper
    assert found.gap <= SHARP
    assert verdict.unique == bool(found.unique)
    assert (verdict.distance is None) == (found.distance is None)
    missed = to_rational(problem.jacobian.matrix) @ (found.point - to_rational(problem.theta_star))
    assert 0 < max(map(abs, missed)) < Fraction(1, 10**75)  # so a point nearby is needed, and it is near


def test_both_checkers_read_them(tmp_path: Path) -> None:
    pairs = []
    for index, kind in enumerate(KINDS[::3]):
        problem = medium(kind, 8, 40)
        pairs.append((tmp_path / f"{index}.json", tmp_path / f"{index}.certificate.json"))
        problem.save(pairs[-1][0])
        certificate = xu.certify(problem, proof="enclosure")
        assert "near" in certificate.tree["primal"]
        certificate.save(pairs[-1][1])
    assert second_opinions(pairs) == ["proved: enclosure"] * len(pairs)


def test_files_do_not_grow_with_the_product() -> None:
    """Exact multipliers of a maximum are as long as m, on each of d coordinates."""
    problem = medium("linf", 60, 300)
    sizes = {proof: len(json.dumps(xu.certify(problem, proof=proof).tree)) for proof in ("exact", "enclosure")}
    assert sizes["enclosure"] < 150 * 300 + 5 * 60**2 < sizes["exact"] / 4


# ---------------------------------------------------------------- which proof


def test_auto_is_exact_while_that_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = medium("l1", 10, 50)
    assert json.dumps(xu.certify(problem).tree) == json.dumps(xu.certify(problem, proof="exact").tree)
    assert xu.certify(problem).proof == "exact"
    assert "near" not in xu.certify(problem).tree["primal"]
    monkeypatch.setattr(dyadic_certificate, "DEAR", 10 * 50 - 1)
    dear = xu.certify(problem)
    assert dear.proof == "enclosure"
    assert "near" in dear.tree["primal"]
    assert xu.certify(problem, proof="exact").proof == "exact"


@pytest.mark.parametrize("method", ["fast", "", None, 1, ["exact"]])
def test_another_method_is_an_error(method: Any) -> None:
    with pytest.raises(ProblemError, match="proof: expected one of 'auto', 'exact', 'enclosure'"):
        xu.certify(medium("l1", 3, 9), proof=method)


RNG = np.random.default_rng(3)
J0, THETA = RNG.standard_normal((3, 12)), RNG.standard_normal(12)
I0 = np.rint(9 * J0)
OTHERWISE = {
    "a sum of rows": (xu.UnlearningProblem(THETA, np.vstack([I0, I0[0] + I0[1]]), xu.L1()), "exact", "dependent"),
    "nothing but zeros": (xu.UnlearningProblem(THETA, 0 * J0, xu.L1()), "exact", "no rows"),
    "no rows": (xu.UnlearningProblem(THETA, J0[:0], xu.L1()), "exact", "no rows"),
    "more rows than columns": (xu.UnlearningProblem(THETA[:2], J0[:, :2], xu.L1()), "exact", "more than coordinates"),
    "rows that read >=": (xu.UnlearningProblem(THETA, J0, xu.L1(), at_least=np.arange(3) < 1), "exact", "read >="),
    "fractions": (
        xu.UnlearningProblem([Fraction(1, 3), 2, 5], [[Fraction(1, 7), 1, 2]], xu.L1()), "exact", "no matrix of floats",
    ),
    "a count": (xu.UnlearningProblem(THETA, J0, xu.L0()), "exact", "another way"),
    "a matrix": (xu.UnlearningProblem(THETA, J0, xu.NuclearNorm(slice(0, 12), (3, 4))), "enclosure", "another way"),
    "a sum": (xu.UnlearningProblem(THETA, J0, xu.L1() + xu.LInf()), "exact", "another way"),
    "nothing free": (xu.UnlearningProblem(THETA, J0, xu.L1(), free=np.zeros(12, bool)), "exact", "no rows"),
    "theta* of zeros": (xu.UnlearningProblem(0 * THETA, J0, xu.L1()), "exact", "are 0"),
    "a tiny box": (xu.UnlearningProblem(THETA, J0, xu.L1(), xu.TrustRegion(1e-30, np.inf)), "exact", "narrower"),
    "no room": (xu.UnlearningProblem(THETA, J0, xu.L1(), xu.TrustRegion(0)), "exact", "another way"),
    "no cost": (xu.UnlearningProblem(THETA, J0, xu.L1(np.zeros(12))), "exact", "penalises"),
    "magnitudes": (
        xu.UnlearningProblem(THETA, np.where(np.arange(12) == 4, 1e-200, J0), xu.SquaredL2()), "exact", "magnitudes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_where_it_does_not_apply_the_other_way_does_the_work(name: str) -> None:
    problem, proof, reason = OTHERWISE[name]
    found, why = short_enclosure(problem)
    assert found is None
    assert reason in why
    certificate = xu.certify(problem, proof="enclosure")
    assert certificate.proof == proof
    assert certificate.check().proved
    assert proof == "exact" or "no enclosure of short numbers" in certificate.message


@pytest.mark.parametrize("kind", ["squared", "l1", "linf", "groups"])
def test_rows_that_repeat_others_are_implied(kind: str, tmp_path: Path) -> None:
    problem = medium(kind, 6, 40)
    J = problem.jacobian.matrix
    J = np.vstack([J[:3], J[1:2], 0 * J[:1], J[3:], -4 * J[5:]])
    problem = xu.UnlearningProblem(problem.theta_star, J, problem.regularizer, rhs=J @ np.zeros(40))
    found, why = short_enclosure(problem)
    assert found is not None, why
    exact = xu.certify(problem, proof="exact")
    assert found.gap <= SHARP
    assert found.lower <= exact.upper
    assert exact.lower <= found.upper
    assert [item["row"] for item in found.tree["primal"]["near"]["implied"]] == [3, 4, 8]
    assert (found.rows.rational_rank, found.rows.numerical_rank) == (6, 6)
    problem.save(tmp_path / "p.json")
    found.save(tmp_path / "c.json")
    assert second_opinions([(tmp_path / "p.json", tmp_path / "c.json")]) == ["proved: enclosure"]
    apart = xu.UnlearningProblem(problem.theta_star, J, problem.regularizer, rhs=np.arange(9) == 4)
    assert xu.certify(apart, proof="enclosure").proof == "infeasible"


def test_infeasible_and_ambiguous_rows_stay_what_they_are() -> None:
    apart = xu.UnlearningProblem(THETA, J0[[0, 1, 1]], xu.L1(), rhs=[0.0, 0.0, 1.0])
    assert xu.certify(apart, proof="enclosure").proof == "infeasible"
    nearly = np.vstack([J0, 3.1 * J0[:1]])
    with pytest.raises(RankAmbiguityError):
        xu.certify(xu.UnlearningProblem(THETA, nearly, xu.L1()), proof="enclosure")
    far = xu.UnlearningProblem(THETA, J0, xu.L1(), xu.TrustRegion(0.1), rhs=[9.0, 9.0, 9.0])
    assert xu.certify(far, proof="enclosure").proof == "infeasible"


@pytest.mark.parametrize(("rows", "columns"), [(1e-200, 1.0), (1.0, 1e-3), (1e150, 1e3)])
def test_units_do_not_matter(rows: float, columns: float) -> None:
    for kind in ("squared", "l1", "groups", "linf, squared"):
        problem = medium(kind, 6, 30)
        rng = np.random.default_rng(1)
        J = problem.jacobian.matrix * rows ** rng.uniform(0, 1, (6, 1)) * columns ** rng.uniform(0, 1, 30)
        scaled = xu.UnlearningProblem(problem.theta_star, J, problem.regularizer, problem.drift_penalty)
        found, why = short_enclosure(scaled)
        assert found is not None, (kind, why)
        assert found.gap <= SHARP
        exact = xu.certify(scaled, proof="exact")
        assert found.lower <= exact.upper
        assert exact.lower <= found.upper


def test_a_limit_of_time_ends_it() -> None:
    certificate = xu.certify(medium("groups"), proof="enclosure", time_limit=1e-4)
    assert certificate.proof in ("none", "repaired")


# ---------------------------------------------------------------- parts


def test_slices_multiply_exactly() -> None:
    rng, rand = np.random.default_rng(2), random.Random(2)
    for _ in range(12):
        m, n = rng.integers(1, 9, 2)
        M = rng.uniform(-1, 1, (m, n)) * 10.0 ** -rng.integers(0, 30, (m, n))
        for x, matrix, times in ((n, M, Slices(M).apply), (m, M.T, Slices(M).pull)):
            v = [rand.randrange(-(2**b), 2**b) for b in (rand.randrange(1, 400) for _ in range(x))]
            want = [sum(Fraction(a) * b for a, b in zip(row, v, strict=True)) / 2**50 for row in matrix.tolist()]
            assert [Fraction(g, 2**900) for g in times(v, 50, 900)] == want
            assert times(v, 50, 7) == [g >> 893 for g in times(v, 50, 900)]  # rounded down
            assert times([0] * x, 50, 7) == [0] * len(want)


def test_a_right_inverse_is_found_among_the_columns_that_may_move() -> None:
    rng = np.random.default_rng(4)
    J = rng.standard_normal((5, 40)) / 4
    allowed = np.arange(7, 30)
    found = near.inverse(J, allowed)
    assert set(found.columns) <= set(allowed)
    assert found.width == 2
    with pytest.raises(FaceError, match="fewer coordinates"):
        near.inverse(J, allowed[:4])
    J[:, 3] = 0.0
    for bad in (np.vstack([J, J[0]]), np.vstack([J, 0 * J[0]])):
        with pytest.raises(FaceError, match="depend"):
            near.inverse(bad, np.arange(40))
    skew = np.vstack([J, J[0] + 2.0**-50 * rng.standard_normal(40)])
    with pytest.raises(FaceError, match="depend"):
        near.inverse(skew, np.arange(40))
    assert near.inverse(np.vstack([J, J[0] + 1e-7 * rng.standard_normal(40)]), np.arange(40)).width >= 4


@pytest.mark.parametrize("seed", range(25))
def test_planted_optima_lie_between_the_bounds(seed: int) -> None:
    """Points of few digits, dependent rows and rows that read >=, made by hand; what is proved is true."""
    rng = random.Random(f"planted {seed}")
    found = None
    while found is None:
        case = near_cases.draw(rng)
        found = near_cases.nearby(case, rng, rng.choice((4, 10, 60)), rng.choice((1, 2)))
    verdict = checker.check(found.problem, found.certificate)
    assert verdict.proved
    assert case.contains(verdict.lower, verdict.upper)
    if verdict.distance is not None:
        theta = xu.Certificate.point.func(_loaded(found))
        assert sum((x - y) ** 2 for x, y in zip(theta, case.theta, strict=True)) <= verdict.distance**2


def test_minimisers_are_unique_only_where_an_exact_proof_says_so() -> None:
    rng, known = random.Random("vertices"), [0, 0]
    for _ in range(40):
        case = near_cases.vertex(rng)
        found = near_cases.nearby(case, rng, rng.choice((3, 12, 80)), rng.choice((1, 3)))
        assert found is not None
        unique = checker.check(found.problem, found.certificate).unique
        known[unique] += 1
        assert not unique or checker.check(case.problem, case.certificate).unique
    assert min(known) > 5


def _loaded(case: Any) -> Any:
    problem = xu.UnlearningProblem.from_tree(xu.codec.from_json(case.problem, "case"), "case")
    fields = dict.fromkeys(("lower", "upper", "gap", "distance", "unique"))
    return xu.Certificate(problem, "repaired", **fields, tree=case.certificate)
