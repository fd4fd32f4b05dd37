"""Certificates of sums of powers before both checkers: what is no proof is refused, what is one is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec, rational
from exact_unlearn.certify import checker
from exact_unlearn.codec import rational_text
from tests.certificate_cases import vec
from tests.test_checker_networks import judged

Trees = tuple[dict[str, Any], dict[str, Any]]


def trees(problem: Any, certificate: Any) -> Trees:
    return json.loads(json.dumps(codec.to_json(problem.to_tree()))), json.loads(json.dumps(dict(certificate.tree)))


def posed(x: Any, y: Any, depth: int = 3) -> Any:
    return xu.global_problem(xu.DiagonalNetwork(np.shape(x)[1], depth), x, y)


PROBLEM = posed([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], [3.0, 1.0])
"""Vertices: (3, 0, 1) costs 4.62, (1, 1, 0) 3, and (0, 3/2, -1/2) 2.910496833."""

MADE = trees(PROBLEM, xu.certify(PROBLEM))


def made() -> Trees:
    return copy.deepcopy(MADE)


def at(certificate: dict[str, Any], *theta: Any) -> dict[str, Any]:
    certificate["primal"] = {"base": "zero", "parts": vec({j: Fraction(v) for j, v in enumerate(theta) if v})}
    return certificate


def test_the_certificate_is_a_proof(tmp_path: Path) -> None:
    said = judged(*made(), tmp_path)
    assert said.startswith("proved (exact): 2.9105 <= optimum <= 2.9105, relative gap 0; the minimiser is unique")
    assert "this is the least 1/2 |theta|^2 of diagonal models, layers: 3, that fit 2 samples" in said


def test_a_local_vertex_is_not_the_global_one(tmp_path: Path) -> None:
    """(1, 1, 0) fits, and every small change of it that fits costs more; it is a proof of an interval, and no more."""
    problem, certificate = made()
    at(certificate, 1, 1, 0)
    assert "not proved: not exact, but repaired" in judged(problem, certificate, tmp_path)
    certificate["claims"] = {"proof": "repaired", "upper": "3", "lower": "2"}
    assert "proved (repaired): 2.9105 <= optimum <= 3" in judged(problem, certificate, tmp_path)
    certificate["claims"]["lower"] = rational_text(Fraction(291050, 100000))
    assert "more is claimed than is proved: lower" in judged(problem, certificate, tmp_path)
    certificate["claims"]["lower"] = rational_text(Fraction(291049, 100000))
    assert "proved (repaired)" in judged(problem, certificate, tmp_path)
    certificate["claims"] = {"proof": "repaired", "unique": True}
    assert "not proved: that the minimiser is unique is claimed" in judged(problem, certificate, tmp_path)
    at(certificate, Fraction(1, 2), Fraction(5, 4), Fraction(-1, 4))  # between two vertices, with more than both
    certificate["claims"] = {"proof": "repaired"}
    assert "proved (repaired): 2.9105 <= optimum <= 3.28081" in judged(problem, certificate, tmp_path)


def claims(**given: Any) -> Callable[[Trees], Any]:
    return lambda pair: pair[1]["claims"].update(given)


def spec(**given: Any) -> Callable[[Trees], Any]:
    return lambda pair: pair[0]["regularizer"].update(given)


FORGED: dict[str, tuple[Callable[[Trees], Any], str]] = {
    "nothing is tried": (lambda p: p[1].pop("vertices"), "not exact, but repaired"),
    "it says that nothing is tried": (lambda p: p[1].update(vertices=False), "not exact, but repaired"),
    "a number for true": (lambda p: p[1].update(vertices=1), "vertices is true or false"),
    "a text for true": (lambda p: p[1].update(vertices="true"), "vertices is true or false"),
    "no point": (lambda p: p[1].pop("primal"), "primal is missing"),
    "a point that does not fit": (lambda p: at(p[1], 1, 1, 1), "J D = b fails in row 1"),
    "0": (lambda p: at(p[1]), "J D = b fails in row 0"),
    "a base of convex measures": (lambda p: p[1]["primal"].update(base="dual"), "this base does not apply"),
    "a larger lower bound": (claims(lower="3"), "more is claimed than is proved: lower"),
    "a smaller upper bound": (claims(upper="2"), "more is claimed than is proved: upper"),
    "a square": (claims(square="8"), "more is claimed than is proved: square"),
    "neurons below": (claims(neurons=-1), "an integer from 0"),
    "another depth": (spec(depth=4), "the regularizer is not that of the origin"),
    "depth of a linear program": (spec(depth=2), "expected an integer from 3 to 64"),
    "depth of none": (spec(depth=0), "expected an integer from 3 to 64"),
    "too deep": (spec(depth=65), "expected an integer from 3 to 64"),
    "depth in words": (spec(depth="3"), "expected an integer from 3 to 64"),
    "depth true": (spec(depth=True), "expected an integer from 3 to 64"),
    "no depth": (lambda p: p[0]["regularizer"].pop("depth"), "depth is missing"),
    "a linear program": (lambda p: p[0].update(regularizer={"name": "l1"}), "the regularizer is not that of the ori"),
    "a deeper network": (lambda p: p[0]["origin"].update(widths=[3, 3, 3, 3, 1]), "is not that of the origin"),
    "a network of two layers": (lambda p: p[0]["origin"].update(widths=[3, 3, 1]), "is not that of the origin"),
    "another sample": (lambda p: p[0]["origin"]["x"]["data"].__setitem__(0, "2"), "row 0 is not that of the origin"),
    "another label": (lambda p: p[0]["origin"]["y"]["data"].__setitem__(0, "2"), "the labels are not those"),
    "a sample left out": (
        lambda p: p[0]["origin"].update(
            x={"shape": [1, 3], "data": ["1", "2", "0"]}, y={"shape": [1, 1], "data": ["3"]}
        ),
        "not as many parameters and rows",
    ),
    "a drift penalty": (
        lambda p: p[0].update(drift_penalty=[{"name": "l1_drift", "lam": "1"}]), "has no drift penalty beside it",
    ),
    "a trust region": (
        lambda p: p[0].update(drift_penalty=[{"name": "trust_region", "radius": "0", "norm": "2"}]),
        "has no drift penalty beside it",
    ),
    "a row that reads >=": (lambda p: p[0].update(at_least={"shape": [2], "data": [0, 1]}), "no rows that read >="),
    "version 1": (lambda p: [tree.update(version=1) for tree in p], "unknown regularizer"),
    "a refutation": (lambda p: p[1].update(kind="infeasible", dual={"nu": vec({0: Fraction(1)})}), "no Farkas vector"),
    "a distance of groups": (lambda p: p[1].update(distance={"active": [], "L": []}), ""),
    "a count": (lambda p: p[1].update(count={"exhausted": 2}), ""),
    "no drift at all": (lambda p: p[0].update(drift_penalty=[{"name": "l1_drift", "lam": "0"}]), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_is_refused(name: str, tmp_path: Path) -> None:
    pair = made()
    change, sentence = FORGED[name]
    change(pair)
    said = judged(*pair, tmp_path)
    assert said.startswith("proved (exact)") if not sentence else sentence in said and "proved (exact)" not in said


def test_multipliers_prove_an_interval(tmp_path: Path) -> None:
    """sum |x|^(2/3) >= |x|_1^(2/3), and |x|_1 >= <nu, y> / |X^T nu|_inf = 2 with nu = (1, -1)."""
    problem, certificate = made()
    certificate |= {"vertices": False, "claims": {"proof": "repaired"}}
    for size in (1, 7, Fraction(1, 9)):  # multipliers count up to a factor
        certificate["dual"] = {"nu": vec({0: Fraction(size), 1: -Fraction(size)})}
        assert "proved (repaired): 2.3811 <= optimum <= 2.9105" in judged(problem, certificate, tmp_path)
    for nu in ({0: Fraction(-1)}, {}):
        certificate["dual"] = {"nu": vec(nu)}
        assert "proved (repaired): 0 <= optimum" in judged(problem, certificate, tmp_path)


def of_powers(start: Any, rows: Any, rhs: Any, depth: int, free: Any = None) -> Trees:
    problem = xu.UnlearningProblem(start, rows, xu.PowerSum(depth), free=free, rhs=rhs)
    return trees(problem, xu.certify(problem, rows="literal"))


def test_frozen_coordinates_and_starts(tmp_path: Path) -> None:
    problem, certificate = of_powers([3.0, 1.0, -2.0, 4.0], [[1.0, 2.0, 1.0, 1.0]], [0.0], 4, [0, 1, 2])
    assert "proved (exact): 6.44949" in judged(problem, certificate, tmp_path)
    certificate |= {"vertices": False, "claims": {"proof": "repaired"}, "dual": {"nu": vec({0: Fraction(1)})}}
    assert "proved (enclosure): 6.44949 <= optimum <= 6.44949" in judged(problem, certificate, tmp_path)
    still = of_powers([3.0, 1.0], [[1.0, 2.0]], [0.0], 3, [])
    assert "proved (exact)" in judged(*still, tmp_path)
    least = of_powers([3.0, 1.0, 5.0], [[1.0, 2.0, 0.0]], [-5.0], 3, [0, 1])  # all that may move is 0
    assert "the minimiser is unique" in judged(*least, tmp_path)


def test_dropped_rows_and_moved_labels(tmp_path: Path) -> None:
    problem, certificate = made()
    certificate["claims"] = {"proof": "repaired"}
    certificate["rows"] = {"kept": [0], "tau": "1"}
    at(certificate, 0, Fraction(3, 2), 0)
    found = checker.check(problem, certificate, Fraction(1))
    assert (found.proved, found.proof, found.robust_lower) == (True, "exact", 0)
    assert found.residual == Fraction(1, 2)
    assert not checker.check(problem, certificate).proved
    certificate["rows"] = {"kept": [0, 1], "tau": "1", "rhs": vec({0: Fraction(2)})}
    at(certificate, 0, 1, 0)
    found = checker.check(problem, certificate, Fraction(1))
    assert (found.proof, found.upper, found.unique) == ("exact", Fraction(3, 2), True)


@pytest.mark.parametrize("seed", range(12))
def test_all_basic_solutions_are_found_once(seed: int) -> None:
    """Against one exact solve for each set of columns."""
    rng = np.random.default_rng(seed)
    r, m = int(rng.integers(1, 4)), int(rng.integers(4, 7))
    A = rng.integers(-2, 3, (r, m)).astype(object)
    A[:, seed % m] = A[:, 0]  # twice the same column, or one that is 0 by chance
    q = A @ rng.integers(-3, 4, m)
    kept = list(rational.independent_rows(np.vectorize(Fraction)(A)))
    rows = [[int(v) for v in [*A[i], q[i]]] for i in kept]
    found = list(checker.basic_solutions(rows, checker.Work()))
    expected = {}
    for columns in combinations(range(m), len(kept)):
        w = rational.solve(np.vectorize(Fraction)(A[np.ix_(kept, columns)]), np.vectorize(Fraction)(q[kept]))
        if w is not None and rational.rank(np.vectorize(Fraction)(A[np.ix_(kept, columns)])) == len(kept):
            expected[columns] = list(w)
    assert {tuple(places): [Fraction(n, den) for n in nums] for places, nums, den in found} == expected
    assert len(found) == len(expected)


def test_roots_of_integers_and_powers_of_fractions() -> None:
    for degree in (2, 3, 5, 64):
        for base in (0, 1, 2, 3, 10**20, 2**64):
            for value in {max(0, base**degree + step) for step in (-1, 0, 1)}:
                root = checker.integer_root(value, degree)
                assert root**degree <= value < (root + 1) ** degree
    work = checker.Work()
    for depth in (3, 5, 64):
        for x in (Fraction(1, 3), Fraction(-8, 27), Fraction(10**300), Fraction(7, 10**300), Fraction(32)):
            low, high = checker.power(x, depth, work)
            assert low**depth <= x * x <= high**depth
            assert high - low <= high / 2**399
    assert checker.power(Fraction(-8, 27), 3, work) == (Fraction(4, 9), Fraction(4, 9))


def test_what_costs_too_much_is_refused() -> None:
    """Forty columns and ten rows: 8 10^8 sets.  (`validation/attack` asks both checkers, and takes their time.)"""
    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, (10, 40)).astype(float), rng.integers(-3, 4, 10).astype(float)
    problem, certificate = trees(posed(x, y), xu.certify(posed(x, y)))
    certificate["vertices"] = True
    about = checker.Problem(problem, checker.Work(10**8))
    with pytest.raises(checker.Rejected, match="refused: checking it takes more work than its size allows"):
        checker.judge(about, certificate, None)


def test_a_tie_is_no_uniqueness(tmp_path: Path) -> None:
    problem = posed([[1.0, 1.0, -1.0]], [2.0])
    tree, certificate = trees(problem, xu.certify(problem))
    assert certificate["claims"]["unique"] is None
    assert "unique" not in judged(tree, certificate, tmp_path)
    for claim in ({"unique": True}, {"distance": "5"}):
        certificate["claims"] |= {"unique": None, "distance": None, **claim}
        assert "not proved" in judged(tree, certificate, tmp_path)


@pytest.mark.parametrize("unit", [Fraction(1, 2**700), Fraction(2**700), Fraction(1, 3**90), Fraction(10**40, 7)])
@pytest.mark.parametrize("depth", [3, 64])
def test_vertices_are_told_apart_at_every_scale(unit: Fraction, depth: int, tmp_path: Path) -> None:
    """Least, second and worst vertex of `PROBLEM`, with labels in another unit; R goes with unit^(2/L)."""
    rows, y = [[1, 2, 0], [0, 1, 1]], [3 * unit, unit]
    problem = posed(np.vectorize(Fraction)(rows), np.array(y, dtype=object), depth)
    least = [(0, Fraction(3, 2), Fraction(-1, 2)), (1, 1, 0), (3, 0, 1)]
    best = least[0] if depth == 3 else min(least, key=lambda w: np.log(np.array([float(v) for v in w if v]) ** 2).sum())
    for w in least:
        tree, certificate = trees(problem, xu.certify(problem))
        at(certificate, *(unit * v for v in w))
        certificate["claims"] = {"proof": "exact", "unique": True}
        said = judged(tree, certificate, tmp_path)
        assert said.startswith("proved (exact)") if w == best else "not exact, but repaired" in said


def test_bounds_are_rounded_outwards() -> None:
    """Of irrational sums, on both ways to a lower bound, and of what is frozen."""
    problem, certificate = made()
    certificate["claims"] = {"proof": "repaired"}
    found = checker.check(problem, certificate)
    low, high = (_cubes(bound) for bound in (found.lower, found.upper))
    assert low < 0 < high
    local = checker.check(problem, at(certificate, 1, 1, 0))  # 3 itself is rational, what is better is not
    assert local.upper == 3
    assert _cubes(local.lower) < 0
    assert local.gap == (3 - local.lower) / 3
    frozen, certificate = of_powers([2.0, 1.0, 3.0], [[1.0, 1.0, 1.0]], [0.0], 3, [0, 1])
    certificate |= {"vertices": False, "claims": {"proof": "repaired"}}
    for nu, free in (({}, 0), ({0: Fraction(1)}, 1)):
        certificate["dual"] = {"nu": vec(nu)}
        found = checker.check(frozen, certificate)
        least = found.lower * 2 / 3  # 9^(1/3), and 9^(1/3) besides where the multiplier says that |x|_1 >= 3
        assert least**3 < 9 * (1 + free) ** 3 < (least + Fraction(1, 2**390)) ** 3


def _cubes(bound: Fraction) -> int:
    """The sign of bound - 3/2 ((3/2)^(2/3) + (1/2)^(2/3)): with a = (9/4)^(1/3) and b = (1/4)^(1/3), s = a + b is the
    real root of s^3 - 3 a b s - (a^3 + b^3), and (a b)^3 = 9/16, so that t = s^3 - 5/2 = 3 a b s has t^3 = 27 9/16 s^3.
    """
    s = bound * 2 / 3
    excess = (s**3 - Fraction(5, 2)) ** 3 - 27 * Fraction(9, 16) * s**3
    return (excess > 0) - (excess < 0)


def test_rivals_are_compared_to_the_last_bit() -> None:
    work, one = checker.Work(), checker.Vector([2, 0, 0], 1)
    for extra in (0, 1, 60, 200, 380):  # 2 + 2^-extra against 2
        rivals = checker.Rivals(one, 5, work)
        assert rivals.excess([1], [(2 << extra) + 1], 1 << extra) <= 0
        assert not rivals.tied
        rivals = checker.Rivals(one, 5, work)
        excess = rivals.excess([1], [(2 << extra) - 1], -(1 << extra))
        assert rivals.tied
        assert 0 < excess < Fraction(1, 2**extra)
    rivals = checker.Rivals(one, 5, work)
    assert rivals.excess([0], [-6], -3) == 0
    assert not rivals.tied  # the point itself
    assert rivals.excess([0], [-2], 1) == 0
    assert rivals.tied  # another one, of the same value
    pair = checker.Rivals(checker.Vector([1, 4, 4], 2), 3, work)  # (1/2, 2, 2) and (2, -2, -1/2): the same roots
    assert pair.excess([0, 1, 2], [4, -4, -1], 2) == 0
    assert pair.excess([0, 1, 2], [4, -4, -2], 2) == 0  # more, which is all that counts
    assert pair.excess([0, 1, 2], [4, -4, 0], 2) > 0
