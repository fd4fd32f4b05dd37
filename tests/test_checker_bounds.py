"""The checker's bounds against a naive second implementation, against feasible points, and against brute force."""

from __future__ import annotations

import copy
import itertools
import random
from fractions import Fraction as Q
from math import isqrt
from typing import Any

import pytest

from exact_unlearn.certify import checker
from tests import certificate_cases as cases
from tests.certificate_cases import DRIFTS, REGULARIZERS, Case, array, inner, text, vec
from tests.test_checker import null_vector, parsed

TINY = Q(1, 10**100)
Numbers = list[Q]


def opened(problem: dict[str, Any], certificate: dict[str, Any]) -> Any:
    """The checker's working of a certificate, before any verdict."""
    head = {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds"}
    return checker.Proof(checker.Problem(problem), {**head, **certificate})


def exactly(vector: checker.Vector) -> Numbers:
    """Its entries."""
    return [Q(n, vector.den) for n in vector.nums]


def near(a: Q, b: Q) -> bool:
    return abs(a - b) <= TINY * max(1, abs(a))


def root(x: Q) -> Q:
    """sqrt(x) rounded down to 2^-600."""
    return Q(isqrt((x.numerator << 1200) // x.denominator), 1 << 600)


def best_value(f: Any, kinks: Numbers, curve: Q, low: Q | None, high: Q | None) -> Q:
    """min f over [low, high] of a convex f that is quadratic with second derivative `curve` between its kinks:
    the vertex of the parabola through three points of every piece.
    """
    inside = sorted({x for x in kinks if (low is None or x > low) and (high is None or x < high)})
    ends: list[Q | None] = [low, *inside, high]
    values = [f(x) for x in ends if x is not None]
    for a, b in itertools.pairwise(ends):
        if a is None and b is None:
            a_, b_ = Q(0), Q(1)
        else:
            a_ = a if a is not None else b - 1
            b_ = b if b is not None else a_ + 1
        if curve == 0:
            continue
        slope = (f(b_) - f(a_)) / (b_ - a_) - curve * (b_ - a_) / 2  # at a_
        vertex = a_ - slope / curve
        if (a is None or vertex > a) and (b is None or vertex < b):
            values.append(f(vertex))
    return min(values)


def naive_lower(case: Case, theta: Numbers, nu: Numbers, g: Numbers | None, kappa: Q) -> Q:
    """The Fenchel bound of docs/certificate_format.md, section 5, written out without any thought of speed."""
    tree = case.problem
    start, free = parsed(tree["theta_star"]), [x == 1 for x in parsed(tree["free"])]
    d, b = len(start), parsed(tree["rhs"])
    flat = parsed(tree["jacobian"]["matrix"])
    z = [sum((nu[i] * flat[i * d + j] for i in range(len(b))), Q(0)) if free[j] else Q(0) for j in range(d)]
    lam = kappa + sum((checker.number(s["lam"]) for s in tree["drift_penalty"] if s["name"] == "squared_drift"), Q(0))
    mu = sum((checker.number(s["lam"]) for s in tree["drift_penalty"] if s["name"] == "l1_drift"), Q(0))
    radii = {
        n: [checker.number(s["radius"]) for s in tree["drift_penalty"] if s.get("norm") == n] for n in ("2", "inf")
    }
    box = min(radii["inf"], default=None)
    spec = tree["regularizer"]
    M = [j for j in range(d) if free[j]]
    total = -kappa / 2 * min(radii["2"], default=Q(0)) ** 2
    if spec["name"] in ("squared_l2", "elastic_net", "l1"):
        w = parsed(spec["weights"]) if spec.get("weights") else [Q(1)] * d
        alpha = w if spec["name"] == "l1" else [checker.number(spec.get("alpha", "0"))] * d
        beta = w if spec["name"] == "squared_l2" else [checker.number(spec.get("beta", "0"))] * d
        limits = [(alpha[j] + mu) / abs(z[j]) for j in M if z[j] and not beta[j] + lam and box is None]
        sigma = min([Q(1), *limits])
        total += sigma * inner(nu, b)
        for j in range(d):

            def f(x: Q, j: int = j) -> Q:
                D = x - start[j]
                return (
                    alpha[j] * abs(x)
                    + beta[j] * x * x / 2
                    + (lam / 2 * D * D + mu * abs(D) - sigma * z[j] * D if free[j] else 0)
                )

            reach = (None, None) if box is None else (start[j] - box, start[j] + box)
            total += best_value(f, [Q(0), start[j]], beta[j] + lam, *reach) if free[j] else f(start[j])
        return total
    assert g is not None
    polar = naive_polar(spec, g)
    rest = [z[j] - g[j] for j in M]
    if not lam and not mu:
        s = sigma = 1 / polar
    elif lam or box is not None:
        s, sigma = min(Q(1), 1 / polar), Q(1)
    else:
        s = sigma = min([Q(1), 1 / polar, *(mu / abs(x) for x in rest if x)])
    total += s * inner(g, start) + sigma * inner(nu, b)
    for j in M:
        h = sigma * z[j] - s * g[j]
        over = max(abs(h) - mu, Q(0))
        ends = ([over / lam] if lam else []) + ([box] if box is not None else []) + ([Q(0)] if not over else [])
        total -= over * min(ends) - lam / 2 * min(ends) ** 2
    return total


def naive_polar(spec: dict[str, Any], g: Numbers) -> Q:
    if spec["name"] == "group_l2":
        labels, weights = [int(x) for x in parsed(spec["labels"])], parsed(spec["weights"])
        return max(
            root(sum((x * x for x, at in zip(g, labels, strict=True) if at == i), Q(0))) / w
            for i, w in enumerate(weights)
        )
    w = parsed(spec["weights"])
    if spec["name"] == "linf":
        return sum((abs(x) / a for x, a in zip(g, w, strict=True)), Q(0))
    return root(sum((x * x / a for x, a in zip(g, w, strict=True)), Q(0)))


def disturbed(case: Case, rng: random.Random) -> tuple[dict[str, Any], Numbers, Numbers, Numbers | None, Q]:
    """The case's certificate with other multipliers and another subgradient: still a proof, of a weaker bound."""
    certificate = copy.deepcopy(case.certificate)
    dual = certificate["dual"]
    k, d = len(case.problem["rhs"]["data"]), len(case.theta)
    nu = [Q(0)] * k
    for part in dual["nu"]:
        for i, n in zip(part["indices"], part["nums"], strict=True):
            nu[i] = Q(int(n, 16), int(part["den"], 16))
    lenient = [
        s for s in case.problem["drift_penalty"] if s["name"] == "squared_drift" or s.get("norm") == "inf"
    ] or "ball" in dual
    nu = (
        [x + Q(rng.randint(-3, 3), 7) for x in nu]
        if lenient or "g" not in dual
        else [x * Q(rng.randint(2, 5), 4) for x in nu]
    )
    dual["nu"] = vec(dict(enumerate(nu)))
    g = None
    if "g" in dual:
        g = [Q(0)] * d
        for part in dual["g"]:
            for j, n in zip(part["indices"], part["nums"], strict=True):
                g[j] = Q(int(n, 16), int(part["den"], 16))
        if lenient:
            g = [x + Q(rng.randint(-2, 2), 5) for x in g]
        else:
            proof = opened(case.problem, {**certificate, "dual": {"nu": dual["nu"]}})
            at = dict(zip(proof.problem.free, exactly(proof.z), strict=True))
            g = [at.get(j, x) for j, x in enumerate(g)] if not proof.problem.mu else g
        dual["g"] = vec(dict(enumerate(g)))
    kappa = checker.number(dual.get("ball", 0))
    if kappa:
        kappa += Q(1, 3)
        dual["ball"] = text(kappa)
    certificate["claims"] = {"proof": "repaired"}
    return certificate, case.theta, nu, g, kappa


CONVEX = [
    (name, drift, frozen)
    for name in REGULARIZERS
    if name != "nuclear_norm"
    for drift in DRIFTS
    for frozen in (False, True)
]


@pytest.mark.parametrize(("name", "drift", "frozen"), CONVEX)
def test_two_implementations_of_the_bound_agree(name: str, drift: str, frozen: bool) -> None:
    rng = random.Random(f"{name} {drift} {frozen}")
    for seed in range(3):
        case = cases.plant(name, drift, frozen, seed)
        certificate, theta, nu, g, kappa = disturbed(case, rng)
        verdict = checker.check(case.problem, certificate)
        assert verdict.proved, verdict.sentences
        expected = naive_lower(case, theta, nu, g, kappa)
        assert near(verdict.lower, max(expected, Q(0))), float(expected)
        assert verdict.lower <= case.value <= verdict.upper


@pytest.mark.parametrize(
    "case",
    [c for c in cases.planted() if c.certificate["kind"] == "bounds" and "dual" in c.certificate][::2],
    ids=lambda c: c.name,
)
def test_no_feasible_point_lies_below_the_bound(case: Case) -> None:
    """Weak duality, tried: random feasible points of the problem itself, valued without the checker's lower bound."""
    rng = random.Random(case.name)
    problem = checker.Problem(case.problem)
    kernel = null_vector([[Q(x, den) for x in row] for row, den in problem.rows])
    lower = checker.check(case.problem, case.certificate).lower
    bare = {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds", "claims": {"proof": "repaired"}}
    tried = 0
    for _ in range(12):
        theta, step = list(case.theta), Q(rng.randint(-8, 8), rng.choice((1, 3, 50, 10**6)))
        for at, j in enumerate(problem.free):
            theta[j] += step * kernel[at]
        primal = {"base": "zero", "parts": vec({j: theta[j] for j in problem.free})}
        verdict = checker.check(case.problem, {**bare, "primal": primal})
        if verdict.proved:  # it may have left the trust region
            tried += 1
            assert verdict.upper >= lower
    assert tried or "box" in case.name or "all" in case.name  # at a corner of the box all of these steps lead outside


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize("name", ["l0", "active_neurons"])
def test_counts_against_brute_force(name: str) -> None:
    """`exhausted` is accepted exactly as long as no set of that size suffices, decided here by Gauss
    elimination over Q.
    """
    for size in (0, 1, 2):
        case = cases.counting(size, name)
        problem = checker.Problem(case.problem)
        groups = sorted(set(problem.pays) - {-1})
        for exhausted in range(4):
            certificate = {**case.certificate, "count": {"exhausted": exhausted}, "claims": {"proof": "repaired"}}
            verdict = checker.check(case.problem, certificate)
            suffices = any(spans(problem, chosen) for chosen in itertools.combinations(groups, exhausted))
            assert verdict.proved == (not suffices), verdict.sentences
            assert suffices or verdict.lower == exhausted + 1


def spans(problem: Any, chosen: tuple[int, ...]) -> bool:
    rows = [[Q(x, den) for x in row] for row, den in problem.rows]
    target = [inner([problem.start[j] for j in problem.free], row) for row in rows]
    columns = [[row[at] for row in rows] for at, j in enumerate(problem.free) if problem.pays[j] in (*chosen, -1)]
    return gauss_rank([*columns, target]) == gauss_rank(columns)


def gauss_rank(vectors: list[Numbers]) -> int:
    left, found = [v[:] for v in vectors], 0
    for c in range(len(left[0]) if left else 0):
        at = next((i for i in range(found, len(left)) if left[i][c]), None)
        if at is not None:
            left[found], left[at] = left[at], left[found]
            for i in range(found + 1, len(left)):
                left[i] = [x - left[i][c] / left[found][c] * y for x, y in zip(left[i], left[found], strict=True)]
            found += 1
    return found


def test_columns_that_cost_nothing_belong_to_every_set() -> None:
    """A neuron with a = 0 is a free bias: without its column the checker would prove a count that is too large."""
    base = {"schema": "exact-unlearn/problem", "version": 1, "drift_penalty": []}
    for dead, needed in ((True, 0), (False, 1)):
        problem = base | {
            "theta_star": array([Q(2), Q(0), Q(0 if dead else 1), Q(1)], 4),
            "jacobian": {"kind": "dense", "matrix": array([Q(1), Q(3), Q(0), Q(0)], 1, 4)},
            "rhs": array([Q(0)], 1),
            "free": array([Q(1), Q(1), Q(0), Q(0)], 4),
            "regularizer": {"name": "active_neurons", "n_inputs": 1, "width": 2, "n_outputs": 1},
        }
        certificate = {
            "schema": "exact-unlearn/certificate",
            "version": 1,
            "kind": "bounds",
            "primal": {"base": "zero", "parts": vec({0: Q(2)})},
            "count": {"exhausted": 0},
            "claims": {"proof": "exact"},
        }
        verdict = checker.check(problem, certificate)
        assert verdict.proved == (needed == 1), verdict.sentences


def test_dependent_columns_are_decided_over_the_integers() -> None:
    """Duplicated and dependent columns, and two that are parallel only modulo 2^61 - 1."""
    prime = (1 << 61) - 1
    J = [[1, 2, 1, 1], [1, 2, 0, 1 + prime], [0, 0, 1, 0], [0, 0, 0, 0]]
    for target, exhausted, possible in (([1, 0, 0, 0], 2, False), ([0, 0, 0, 1], 2, True), ([0, 1, 0, 0], 2, False)):
        problem = {
            "schema": "exact-unlearn/problem",
            "version": 1,
            "theta_star": array([Q(0)] * 4, 4),
            "jacobian": {"kind": "dense", "matrix": array([Q(x) for row in J for x in row], 4, 4)},
            "rhs": array(map(Q, target), 4),
            "free": array([Q(1)] * 4, 4),
            "regularizer": {"name": "l0", "labels": None},
            "drift_penalty": [],
        }
        found = any(
            gauss_rank([[Q(row[j]) for row in J] for j in chosen] + [[Q(x) for x in target]])
            == gauss_rank([[Q(row[j]) for row in J] for j in chosen])
            for chosen in itertools.combinations(range(4), exhausted)
        )
        assert found == (not possible)
        proof = opened(problem, {"count": {"exhausted": exhausted}})
        if possible:
            assert proof.count() == exhausted + 1
        else:
            with pytest.raises(checker.Rejected, match="suffice"):
                proof.count()


def test_groups_that_stay_zero_pay_their_drift() -> None:
    case = cases.counting(1, "l0", drift_name="squared")
    certificate = {**case.certificate, "claims": {"proof": "repaired"}}
    verdict = checker.check(case.problem, certificate)
    costs = sorted(Q(3, 4) * inner(case.theta[2 * g : 2 * g + 2], case.theta[2 * g : 2 * g + 2]) for g in range(5))
    expected = min(i + sum(costs[: 5 - i]) for i in range(2, 6))
    assert verdict.lower == expected
    assert verdict.upper == 2  # theta = theta*


# ---------------------------------------------------------------- uniqueness and distance


@pytest.mark.parametrize(("name", "drift"), [("l1", "none"), ("l1", "box"), ("l1", "slack ball")])
def test_no_second_minimiser_where_uniqueness_is_proved(name: str, drift: str) -> None:
    """Along kernel vectors of J on coordinates that no slack pins there are more minimisers; the verdict must know."""
    seen = 0
    for seed in range(12):
        case = cases.plant(name, drift, False, seed)
        verdict = checker.check(case.problem, case.certificate)
        proof = opened(case.problem, case.certificate)
        proof.place()
        proof.bound()
        if second_minimiser(case, proof, verdict.upper) is not None:
            seen += 1
            assert not verdict.unique
    assert seen


def is_unique(
    name: str, J: list[list[int]], start: list[int], theta: list[int], nu: list[Q], mu: Q | int = 0, g: Any = None
) -> bool:
    """Whether the minimiser of a problem small enough to see through is proved unique; the optimum always is proved."""
    d, dual = len(start), {"nu": vec(dict(enumerate(nu)))}
    problem = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array(map(Q, start), d),
        "jacobian": {"kind": "dense", "matrix": array([Q(x) for row in J for x in row], len(J), d)},
        "rhs": array([Q(0)] * len(J), len(J)),
        "free": array([Q(1)] * d, d),
        "regularizer": {"name": name, "weights": None},
        "drift_penalty": [{"name": "l1_drift", "lam": text(Q(mu))}],
    }
    certificate = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "bounds",
        "primal": {"base": "zero", "parts": vec(dict(enumerate(map(Q, theta))))},
        "dual": dual if g is None else {**dual, "g": vec(dict(enumerate(g)))},
        "claims": {"proof": "exact"},
    }
    verdict = checker.check(problem, certificate)
    assert verdict.proved, verdict.sentences
    return bool(verdict.unique)


def problem_of(regularizer: dict[str, Any], drift: list[dict[str, Any]], rows: list[Numbers]) -> dict[str, Any]:
    """theta* = (1, 1), b = 0, everything free."""
    entries = [entry for row in rows for entry in row]
    return {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array([1, 1], 2),
        "jacobian": {"kind": "dense", "matrix": array(entries, len(rows), 2)},
        "rhs": array([0] * len(rows), len(rows)),
        "free": array([1, 1], 2),
        "regularizer": regularizer,
        "drift_penalty": drift,
    }


def certificate_of(proof: str, **parts: Any) -> dict[str, Any]:
    return {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds", "claims": {"proof": proof}, **parts}


def test_a_root_is_not_mixed_with_another_slack() -> None:
    """theta* = (1, 1), |D|_inf <= 1/2, no rows: the optimum is (1/2)^(1/2), and the bound from theta* attains it.

    Up to the rounding of roots: if only one of two slacks took them as exact, the bound would lie above the optimum.
    """
    box = {"name": "trust_region", "radius": "1/2", "norm": "inf"}
    problem = problem_of({"name": "l2", "weights": None}, [box], [])
    dual = {"nu": [], "g": vec({0: Q(1), 1: Q(1)})}
    certificate = certificate_of("repaired", primal={"base": "theta_star", "parts": []}, dual=dual)
    verdict = checker.check(problem, certificate)
    assert verdict.proved
    assert Q(1, 2) - TINY < verdict.lower**2 <= Q(1, 2)


def test_a_count_says_nothing_about_rows_that_are_nearly_met() -> None:
    """10^-9 theta_1 = 10^-9 needs theta_1; to within 10^-6 nothing is needed."""
    rows, tau = [[Q(1, 10**9), Q(0)]] * 2, Q(1, 10**6)
    problem = problem_of({"name": "l0", "labels": None}, [], rows)
    primal = {"base": "zero", "parts": [{"indices": [0], "nums": ["1"], "den": "1"}]}
    kept = {"kept": [0], "tau": text(tau)}
    verdict = checker.check(problem, certificate_of("exact", rows=kept, count={"exhausted": 0}, primal=primal), tau)
    assert verdict.proved
    assert verdict.lower == 1
    assert verdict.robust_lower == 0


def test_uniqueness_by_hand() -> None:
    half, one, none = Q(1, 2), Q(1), Q(0)
    assert not is_unique("linf", [[1, 0, 0]], [2, 1, 0], [2, 1, 0], [one])  # the others may move within +-2
    assert is_unique("linf", [[1, 0, 0], [0, 1, 0], [0, 0, 1]], [2, 1, 0], [2, 1, 0], [one, none, none])  # one point
    assert is_unique("linf", [[1, 1]], [1, 1], [1, 1], [half])
    assert is_unique("l1", [[1, 2]], [0, 1], [0, 1], [half])
    assert not is_unique("l1", [[1, 1]], [2, 0], [2, 0], [one])  # any split of 2
    assert not is_unique("l1", [[2, 2, 1]], [1, 0, 0], [1, 0, 0], [half])  # a doubled column
    assert is_unique("squared_l2", [[1, 1]], [2, 0], [1, 1], [one])
    assert is_unique("l2", [[1, 1]], [1, -1], [0, 0], [none])  # R(theta) = 0


def test_coordinates_at_the_maximum_may_move_together() -> None:
    """max |theta| + mu |D|_1 along (2, 2) - (t, t): t is gained and 2 mu t is paid."""
    half = [Q(1, 2), Q(1, 2)]
    assert not is_unique("linf", [[1, -1]], [2, 2], [2, 2], [Q(0)], mu=Q(1, 2), g=half)  # for all t in [0, 2] the same
    assert not is_unique("linf", [[1, -1]], [2, 2], [1, 1], [Q(0)], mu=Q(1, 2), g=half)
    assert is_unique("linf", [[1, -1]], [2, 2], [2, 2], [Q(0)], mu=1, g=half)
    assert not is_unique("linf", [[1, 1]], [2, -1], [2, -1], [Q(1, 2)], mu=Q(1, 2), g=[Q(1), Q(0)])  # 2 - t + t
    assert is_unique("linf", [[1, 1]], [2, -1], [2, -1], [Q(1, 4)], mu=Q(3, 4), g=[Q(1), Q(0)])  # a ray that J sees


def second_minimiser(case: Case, proof: Any, value: Q) -> Numbers | None:
    """Another feasible point of the same value along a kernel vector of J on the coordinates with zero slope,
    if one is found.
    """
    loose = [at for at, pin in enumerate(proof.pins) if not pin]
    rows = [[Q(row[at], den) for at in loose] for row, den in proof.problem.rows]
    if len(loose) <= len(rows):
        return None
    kernel = null_vector(rows)
    for step in (Q(1, 100), Q(-1, 100)):
        theta, free = exactly(proof.theta), proof.problem.free
        for at, x in zip(loose, kernel, strict=True):
            theta[free[at]] += step * x
        trial = opened(case.problem, {"primal": {"base": "zero", "parts": vec({j: theta[j] for j in free})}})
        try:
            trial.place()
            trial.bound()
        except checker.Rejected:
            continue
        if trial.upper == value:
            return theta
    return None


@pytest.mark.parametrize("drift", ["none", "l1", "slack ball"])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_distance_of_groups(drift: str, frozen: bool) -> None:
    """With a left inverse the exact certificate proves uniqueness, and a disturbed one a distance that holds."""
    case = cases.plant("group_l2", drift, frozen, k=5)
    problem, active = checker.Problem(case.problem), [0, 1, 3]
    own = [x for triple in cases.TRIPLES for x in triple]
    rows = [[Q(x, den) for x in row] for row, den in problem.rows]
    free = [[(j, problem.at[j]) for j in problem.groups[g] if j in problem.at] for g in active]
    columns = [[sum((row[at] * own[j] for j, at in places), Q(0)) for row in rows] for places in free]
    columns = [[x / cases.LENGTHS[g] for x in column] for column, g in zip(columns, active, strict=True)]
    assert gauss_rank(columns) == len(columns)
    L = cases.left_inverse(columns)
    spec = {"active": active, "L": vec(dict(enumerate(L)))}
    verdict = checker.check(case.problem, {**case.certificate, "distance": spec})
    assert verdict.unique
    assert verdict.distance == 0
    theta, kernel = list(case.theta), null_vector(rows)
    for at, j in enumerate(problem.free):
        theta[j] += kernel[at] / 10**30
    primal = {"base": "zero", "parts": vec({j: theta[j] for j in problem.free})}
    moved = {**case.certificate, "distance": spec, "claims": {"proof": "repaired"}, "primal": primal}
    verdict = checker.check(case.problem, moved)
    true = sum(((x - y) ** 2 for x, y in zip(theta, case.theta, strict=True)), Q(0))
    assert verdict.distance**2 >= true > 0
    assert verdict.distance < Q(1, 10**6)
    for wrong in ({"active": active, "L": vec({i: 2 * x for i, x in enumerate(L)})}, {"active": [0, 1], "L": vec({})}):
        assert not checker.check(case.problem, {**case.certificate, "distance": wrong}).proved
