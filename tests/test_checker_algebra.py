"""The checker's formulas, one by one, against definitions written out in another way."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction as Q
from typing import Any

import pytest

from exact_unlearn.certify import checker
from exact_unlearn.certify.checker import Coordinates, Exhaustion, Vector, Work
from tests import certificate_cases as cases
from tests.certificate_cases import array, text, vec
from tests.test_checker_bounds import best_value, gauss_rank
from tests.test_checker_forgeries import claim, problem

LARGE = 1 << 80


def work() -> Work:
    return Work(LARGE)


# ---------------------------------------------------------------- linear algebra


def determinant(M: list[list[int]]) -> int:
    """By Laplace's expansion."""
    if not M:
        return 1
    minors = ([row[:c] + row[c + 1 :] for row in M[1:]] for c in range(len(M)))
    return sum((-1) ** c * M[0][c] * determinant(minor) for c, minor in enumerate(minors))


@pytest.mark.parametrize("seed", range(60))
def test_semidefinite_means_that_no_principal_minor_is_negative(seed: int) -> None:
    rng, n = random.Random(seed), 1 + seed % 4
    A = [[rng.randint(-2, 2) for _ in range(n)] for _ in range(rng.choice((n, max(1, n - 1))))]
    M = [[sum(row[i] * row[j] for row in A) for j in range(n)] for i in range(n)]
    for shift in (0, -1, 1) if seed % 2 else (0,):
        S = [[x + shift * (i == j) for j, x in enumerate(row)] for i, row in enumerate(M)]
        subsets = itertools.chain.from_iterable(itertools.combinations(range(n), r) for r in range(1, n + 1))
        expected = all(determinant([[S[i][j] for j in chosen] for i in chosen]) >= 0 for chosen in subsets)
        assert checker.is_psd(S, work()) == expected, S


def test_zero_rows_of_semidefinite_matrices() -> None:
    assert checker.is_psd([[0, 0], [0, 1]], work())
    assert not checker.is_psd([[0, 1], [1, 5]], work())
    assert not checker.is_psd([[1, 0, 0], [0, 0, 0], [0, 0, -1]], work())
    assert checker.is_psd([], work())


@pytest.mark.parametrize("seed", range(40))
def test_ranks(seed: int) -> None:
    rng = random.Random(seed)
    n, m, r = rng.randint(1, 5), rng.randint(1, 5), rng.randint(1, 3)
    L, R = ([[rng.randint(-9, 9) for _ in range(b)] for _ in range(a)] for a, b in ((n, r), (r, m)))
    vectors = [[sum(x * R[t][j] for t, x in enumerate(row)) for j in range(m)] for row in L]
    rank = gauss_rank([[Q(x) for x in v] for v in vectors])
    exact, modulo = checker.basis(vectors, work()), checker.echelon(vectors, checker.P61, work())
    assert len(exact) == len(modulo) == rank
    assert exact == [index for _, _, index in modulo]
    for at, index in enumerate(exact):  # the first that do not depend on those before
        assert gauss_rank([[Q(x) for x in v] for v in vectors[: index + 1]]) == at + 1
    assert all(row[pivot] == 1 for pivot, row, _ in modulo)
    assert checker.spanning(vectors, work()) == [vectors[i] for i in exact]


def test_a_rank_modulo_a_prime_may_be_too_small_and_is_then_not_used() -> None:
    """(p, 0) and (0, 1) depend modulo p only."""
    vectors = [[checker.P61, 0], [0, 1]]
    assert len(checker.echelon(vectors, checker.P61, work())) == 1
    assert checker.basis(vectors, work()) == [0, 1]
    assert checker.spanning(vectors, work()) == vectors
    wide = [[checker.P61, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert checker.spanning(wide, work()) == wide
    Exhaustion([0, 0, 1], [], [[[checker.P61, 0, 0]], [[0, 1, 0]]], work()).try_all(1)
    Exhaustion([0, 0, checker.P61], [], [[[1, 0, 0]], [[0, 1, 0]]], work()).try_all(2)


@pytest.mark.parametrize("seed", range(120))
def test_sets_of_groups_against_brute_force(seed: int) -> None:
    rng, rows = random.Random(seed), 4

    def column() -> list[int]:
        return [rng.choice((0, 0, 1, 2, -1)) for _ in range(rows)]

    base = [column() for _ in range(rng.randint(0, 1))]
    groups = [[column() for _ in range(rng.randint(1, 2))] for _ in range(4)]
    q, size = column(), rng.randint(0, 3)

    def outside(chosen: Any) -> bool:
        columns = [[Q(x) for x in v] for v in (*base, *(v for g in chosen for v in groups[g]))]
        return gauss_rank([*columns, [Q(x) for x in q]]) > gauss_rank(columns)

    expected = all(outside(chosen) for chosen in itertools.combinations(range(4), size))
    try:
        Exhaustion(q, base, groups, work()).try_all(size)
    except checker.Rejected:
        assert not expected
    else:
        assert expected


# ---------------------------------------------------------------- one coordinate


@pytest.mark.parametrize("seed", range(300))
def test_the_slack_of_a_coordinate(seed: int) -> None:
    """Against the least value of a piecewise quadratic function, and the definition of a minimiser that is alone."""
    rng = random.Random(seed)
    unit, den = rng.choice((1, 3)), rng.choice((1, 4))
    alpha, beta, curve, mu = (rng.choice((0, 0, 1, 3)) for _ in range(4))
    box = rng.choice((None, 1, 4))
    D = rng.randint(-4, 4) if box is None else rng.randint(-box, box)
    x, z = rng.randint(-5, 5), rng.randint(-9, 9)
    t = Q(x - D, den)

    def f(u: Q) -> Q:
        smooth = Q(beta, unit) * u * u / 2 + Q(curve, unit) * (u - t) ** 2 / 2
        return Q(alpha, unit) * abs(u) + smooth + Q(mu, unit) * abs(u - t) - Q(z, den) * u

    low, high = (None, None) if box is None else (t - Q(box, den), t + Q(box, den))
    found = Coordinates([alpha], [beta], curve, mu, box, unit, den)
    if box is None and beta + curve == 0 and abs(Q(z, den)) > Q(alpha + mu, unit):
        with pytest.raises(checker.Rejected, match="larger than what could absorb it"):
            found.slack(0, x, D, z)
        return
    best = best_value(f, [Q(0), t], Q(beta + curve, unit), low, high)
    above, pinned = found.slack(0, x, D, z)
    assert above == math.ceil((f(Q(x, den)) - best) * (1 << checker.FINE))
    if above == 0:
        nearby = [Q(x, den) + step for step in (Q(1, 10**9), Q(-1, 10**9))]
        alone = all(f(u) > best for u in nearby if low is None or low <= u <= high)
        assert pinned == alone
    else:
        assert not pinned


@pytest.mark.parametrize("seed", range(20))
def test_the_base_dual_is_the_minimiser(seed: int) -> None:
    """Every coordinate that follows the rule has slack 0: theta is not listed, and not rounded."""
    rng = random.Random(seed)
    name = ("squared_l2", "elastic_net", "l1")[seed % 3]
    start = [Q(rng.randint(-9, 9), 2) for _ in range(5)]
    J = [[Q(rng.randint(-3, 3)) for _ in range(5)] for _ in range(2)]
    spec: dict[str, Any] = {"name": name, "weights": array([Q(rng.randint(1, 5), 3) for _ in range(5)], 5)}
    if name == "elastic_net":
        spec = {"name": name, "alpha": "3/2", "beta": "2/7"}
    drift = [{"name": "squared_drift", "lam": "5/3"}]
    about = problem(start, J, spec, free=[1, 1, 0, 1, 1], drift=drift)
    nu = {0: Q(rng.randint(-5, 5), 4), 1: Q(rng.randint(-5, 5), 3)}
    certificate = claim({}, nu, "exact", rows={"kept": [0, 1], "tau": "0"})
    certificate["primal"] = {"base": "dual", "parts": []}
    certificate["rows"] = {"kept": [0, 1], "tau": "0"}
    parsed = checker.Problem(about, work())
    proof = checker.Proof(parsed, certificate)
    derived = proof._derived(parsed.free)
    weights = [checker.number(x) for x in spec["weights"]["data"]] if "weights" in spec else []
    for j in parsed.free:
        alpha = {"l1": weights[j] if weights else Q(0), "elastic_net": Q(3, 2)}.get(name, Q(0))
        beta = {"squared_l2": weights[j] if weights else Q(0), "elastic_net": Q(2, 7)}.get(name, Q(0))
        y = sum((nu[i] * J[i][j] for i in range(2)), Q(0)) + Q(5, 3) * start[j]
        assert Q(*derived[j]) == max(abs(y) - alpha, Q(0)) * (1 if y > 0 else -1) / (beta + Q(5, 3))


def test_the_base_dual_needs_strict_convexity_everywhere() -> None:
    """Weight 0 in one coordinate: its minimiser is anything."""
    about = problem([1, 1], [[1, 0]], {"name": "squared_l2", "weights": array([1, 0], 2)})
    certificate = claim({}, {0: Q(1)})
    certificate["primal"] = {"base": "dual", "parts": []}
    assert "not strictly convex" in checker.check(about, certificate).sentences[0]
    certificate["primal"]["parts"] = vec({1: Q(1)})
    assert checker.check(about, certificate).proved


# ---------------------------------------------------------------- norms


def test_a_multiplier_of_the_other_sign_is_not_aligned() -> None:
    """(3, 4) is the shortest point with 3 x + 4 y = 25; nu = -1 has the same pairing but for its sign."""
    about = problem([3, 4], [[3, 4]], {"name": "l2", "weights": None})
    assert checker.check(about, claim({0: 3, 1: 4}, {0: Q(1)}, "exact")).upper == 5
    verdict = checker.check(about, claim({0: 3, 1: 4}, {0: Q(-1)}))
    assert verdict.proof == "repaired"
    assert verdict.lower == 0
    flat = problem([1, 1], [[1, 1]], {"name": "linf", "weights": None})
    assert checker.check(flat, claim({0: 1, 1: 1}, {0: Q(1)}, "exact")).upper == 1
    assert checker.check(flat, claim({0: 1, 1: 1}, {0: Q(-1)})).lower == 0


@pytest.mark.parametrize("name", ["l2", "linf", "group_l2"])
@pytest.mark.parametrize("seed", range(8))
def test_norms_and_their_duals(name: str, seed: int) -> None:
    """<g, x> <= R(x) R°(g), with equality for the subgradients of R, all weights included."""
    rng, d = random.Random(seed), 5
    x = [Q(rng.choice((3, 4, 0, -3)) * rng.randint(1, 3)) for _ in range(d)]
    labels, w = [0, 0, 1, 2, 2], [Q(rng.randint(1, 4), 2) for _ in range(5)]
    spec: dict[str, Any] = {"name": name, "weights": array(w, 5)}
    if name == "group_l2":
        spec = {"name": name, "labels": array(labels, d), "weights": array(w[:3], 3)}
    about = checker.Problem(problem([0] * d, [], spec), work())
    sizes = [math.sqrt(sum(float(x[j]) ** 2 for j in range(d) if labels[j] == g)) for g in range(3)]
    value = {
        "l2": math.sqrt(sum(float(a * y * y) for a, y in zip(w, x, strict=True))),
        "linf": max(float(a * abs(y)) for a, y in zip(w, x, strict=True)),
        "group_l2": sum(float(a) * s for a, s in zip(w, sizes, strict=False)),
    }[name]
    dual = {
        "l2": math.sqrt(sum(float(y * y / a) for a, y in zip(w, x, strict=True))),
        "linf": sum(float(abs(y) / a) for a, y in zip(w, x, strict=True)),
        "group_l2": max(s / float(a) for a, s in zip(w, sizes, strict=False)),
    }[name]
    above, below, _ = about.norm(checker.common(x, work()), False)
    assert below <= above
    assert float(above) == pytest.approx(value, rel=1e-13)
    above, below, _ = about.norm(checker.common(x, work()), True)
    assert below <= above
    assert float(above) == pytest.approx(dual, rel=1e-13)


@pytest.mark.parametrize("x", [Q(2), Q(1, 3), Q(10**90, 7), Q(3, 10**400), Q(2**1001)])
def test_roots_enclose_to_400_bits(x: Q) -> None:
    below, above = checker.roots(x)
    assert below**2 < x < above**2
    assert (above - below) / above < Q(1, 2**398)
    assert (above - below) / above > Q(1, 2**403) or x > 2**1000  # large numbers are not shifted down
    assert checker.roots(x * x) == (x, x)


def test_vectors() -> None:
    x, y = Vector([3, -1], 4), Vector([1, 5], 6)
    assert checker.combine(Q(2, 3), x, Q(-1, 2), y, work()) == Vector([5, -7], 12)
    assert checker.dot(x, y, work()) == Q(3 - 5, 24)
    assert checker.length(Vector([3, 4], 2), work()) == Q(5, 2)
    assert (x.at(1), x.of([1]), x.bits) == (Q(-1, 4), Vector([-1], 4), 3)
    assert checker.vector([(1, 4), (5, 6)], work()) == Vector([3, 10], 12)


# ---------------------------------------------------------------- what is near, and how good


def test_distances_by_their_formulas() -> None:
    """Each with its own factor: at theta* instead of the minimiser the slack is known, and so is every bound."""
    square = problem([2, 0], [[0, 1]], {"name": "squared_l2", "weights": array([3, 5], 2)})
    verdict = checker.check(square, claim({0: 2}))  # slack 6 = 3/2 2^2, modulus 3: 2 = |theta - 0|
    assert (verdict.upper, verdict.lower, verdict.distance) == (6, 0, 2)
    drift = problem([2], [], drift=[{"name": "squared_drift", "lam": "1"}])
    verdict = checker.check(drift, claim({0: 2}))  # |x| + (x - 2)^2/2: least at 1, 3/2; slack 1/2
    assert (verdict.upper, verdict.lower, verdict.distance) == (2, Q(3, 2), 1)
    norm = problem([3, 4], [], {"name": "l2", "weights": array([1, 4], 2)})
    verdict = checker.check(norm, claim({0: 3, 1: 4}))
    assert verdict.distance**2 == verdict.upper**2
    assert verdict.unique
    ball = [{"name": "trust_region", "radius": "1", "norm": "2"}]
    region = problem([3], [], drift=ball)
    certificate = claim({0: 2})
    certificate["dual"]["ball"] = "1/2"  # |x| + (x - 3)^2/4 is least at 1, 2; at 2 it is 9/4
    verdict = checker.check(region, certificate)
    assert (verdict.upper, verdict.lower, verdict.distance) == (2, Q(7, 4), 2)
    assert not verdict.unique
    certificate["dual"]["ball"] = "1"  # least at 2
    verdict = checker.check(region, certificate)
    assert (verdict.proof, verdict.distance, verdict.unique) == ("exact", 0, True)


def test_the_distance_of_groups_by_its_formula() -> None:
    """Two active groups of one coordinate, an inactive one: every factor of (8.5), with roots that are rational."""
    spec = {"name": "group_l2", "labels": array([0, 1, 2], 3), "weights": array([1, 1, 2], 3)}
    about = problem([1, 1, 0], [[1, 0, 1], [0, 1, 1]], spec)
    certificate = claim({0: 1, 1: 1, 2: 0}, {0: Q(1), 1: Q(7, 8)})
    certificate["distance"] = {"active": [0, 1], "L": vec({0: Q(1), 3: Q(1)})}
    verdict = checker.check(about, certificate)
    assert verdict.upper == 2
    slack = verdict.upper - verdict.lower  # g = (1, 7/8, 15/8) has R° = 1
    assert slack == Q(1, 8)
    short, spread = 2 * slack / (2 - Q(15, 8)), 2 * checker.roots(2 * slack * 2)[1] * 2
    jacobian = 2  # |J|_F
    assert verdict.distance == (short + spread) * (1 + checker.roots(Q(2))[1] * jacobian)
    certificate["distance"]["L"] = vec({0: Q(1), 3: Q(1, 2)})  # |I - L C|_F = 1/2
    length = checker.roots(Q(5, 4))[1]
    assert checker.check(about, certificate).distance == (short + spread) * (1 + length * jacobian * 2)
    certificate["distance"]["L"] = vec({0: Q(1)})
    assert "no left inverse" in checker.check(about, certificate).sentences[0]


def test_levels_begin_where_the_page_says() -> None:
    """A gap of 10^-30 is an enclosure, a little more is not; and no claim is above what is proved."""
    about = problem([1], [[1]])
    limit = Q((1 << 200) // 10**30, 1 << 200)  # slacks are rounded to powers of 2
    for slack, level in ((Q(0), "exact"), (limit, "enclosure"), (limit + Q(1, 1 << 200), "repaired")):
        nu = {0: 1 - slack}
        verdict = checker.check(about, claim({0: 1}, nu))
        assert verdict.proof == level
        assert verdict.gap == slack
        levels = ["repaired", "enclosure", "exact"]
        for at, claimed in enumerate(levels):
            assert checker.check(about, claim({0: 1}, nu, claimed)).proved == (at <= levels.index(level))


def test_claims_may_be_equal_and_no_better() -> None:
    case = cases.plant("l1", "all", False)
    own = checker.check(case.problem, {**case.certificate, "claims": {"proof": "exact"}})
    tiny = Q(1, 10**99)
    for name, better in (("lower", tiny), ("upper", -tiny), ("gap", -tiny), ("distance", -tiny)):
        value = getattr(own, name)
        for claimed, fair in ((value, True), (value - better, True), (value + better, False)):
            claims = {"proof": "exact", name: text(claimed)}
            assert checker.check(case.problem, {**case.certificate, "claims": claims}).proved == fair, (name, claimed)
    root = cases.plant("l2_irrational", "none", False)
    for square, fair in ((root.square, True), (root.square + tiny, False), (root.square - tiny, False)):
        claims = {"proof": "exact", "square": text(square)}
        assert checker.check(root.problem, {**root.certificate, "claims": claims}).proved == fair


def test_the_ball_has_a_slack_of_its_own() -> None:
    """kappa/2 (rho^2 - |D|^2), with rho^2 and not rho."""
    about = problem([3], [], drift=[{"name": "trust_region", "radius": "2", "norm": "2"}])
    certificate = claim({0: 2})
    certificate["dual"]["ball"] = "1"  # |x| + (x - 3)^2/2 - 2 is least at 2: 2 + 1/2 - 2
    verdict = checker.check(about, certificate)
    assert (verdict.upper, verdict.lower) == (2, Q(1, 2))


def test_groups_that_stay_zero_pay_their_drift() -> None:
    """lam/2 t^2 + mu |t|; or they cannot, where 2 would move farther than 3/2."""
    drift = [{"name": "squared_drift", "lam": "1/8"}, {"name": "l1_drift", "lam": "1/10"}]  # 1/8 and 1/16
    about = problem([1, 2], [], {"name": "l0", "labels": None}, drift=drift)
    verdict = checker.check(about, claim({0: 0, 1: 0}, proof="exact"))
    assert verdict.upper == verdict.lower == Q(1, 16) + Q(1, 16) + Q(1, 4) + Q(1, 8)
    box = [*drift, {"name": "trust_region", "radius": "3/2", "norm": "inf"}]
    about = problem([1, 2], [], {"name": "l0", "labels": None}, drift=box)
    verdict = checker.check(about, claim({0: 0, 1: 2}, proof="exact"))
    assert verdict.upper == verdict.lower == 1 + Q(1, 8)
