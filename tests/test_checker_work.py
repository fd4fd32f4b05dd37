"""What a check costs is counted before it is done, and does not change unnoticed: it decides what is refused."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.certify import checker
from tests import certificate_cases as cases
from tests.certificate_cases import Case, array, text

LONG = Q(3**900, 7**400)
OTHER = Q(5**300, 11**500)


def times(values: Any, factor: Q) -> dict[str, Any]:
    """An array, times a number."""
    return {**values, "data": [text(checker.number(x) * factor) for x in values["data"]]}


def parts(vector: Any, factor: Q) -> list[dict[str, Any]]:
    """A VEC, times a number."""
    found = []
    for part in vector:
        nums = [format(int(x, 16) * factor.numerator, "x") for x in part["nums"]]
        found.append({**part, "nums": nums, "den": format(int(part["den"], 16) * factor.denominator, "x")})
    return found


def stretched(case: Case, unit: Q = LONG, row: Q = OTHER, quadratic: bool = False) -> Case:
    """The same case in other units of theta and of the rows: every number is long, and the proof is as good."""
    problem, certificate = copy.deepcopy(case.problem), copy.deepcopy(case.certificate)
    problem["theta_star"], problem["rhs"] = times(problem["theta_star"], unit), times(problem["rhs"], unit * row)
    if problem["jacobian"]["kind"] == "dense":
        problem["jacobian"]["matrix"] = times(problem["jacobian"]["matrix"], row)
    else:
        problem["jacobian"]["X"] = times(problem["jacobian"]["X"], row)
    if "primal" in certificate:
        certificate["primal"]["parts"] = parts(certificate["primal"]["parts"], unit)
        for factor in certificate["primal"].get("factors", []):
            factor["u"] = parts(factor["u"], unit)
    if "dual" in certificate:
        certificate["dual"]["nu"] = parts(certificate["dual"]["nu"], (unit if quadratic else Q(1)) / row)
    certificate["claims"] = {"proof": case.certificate["claims"]["proof"]}
    if "distance" in certificate:
        certificate["distance"]["L"] = parts(certificate["distance"]["L"], 1 / row)
    return Case(case.name, problem, certificate)


def disturbed(case: Case) -> Case:
    """theta* in the place of theta: every coordinate has a slack."""
    problem = {**case.problem, "rhs": array([0] * len(case.problem["rhs"]["data"]), len(case.problem["rhs"]["data"]))}
    primal = {"base": "theta_star", "parts": []}
    return Case(case.name, problem, {**case.certificate, "primal": primal, "claims": {"proof": "repaired"}})


def weighted(case: Case) -> Case:
    """Long weights of a regularizer, which no unit of theta takes away."""
    spec = case.problem["regularizer"]
    long = {**spec, "weights": times(spec["weights"], LONG)}
    claims = {"proof": "repaired"}
    return Case(case.name, {**case.problem, "regularizer": long}, {**case.certificate, "claims": claims})


def by_rule(case: Case) -> Case:
    """theta by the rule of the base dual, which gives the planted one."""
    return Case(case.name, case.problem, {**case.certificate, "primal": {"base": "dual", "parts": []}})


def dependent(last: int) -> checker.Proof:
    """Two groups of a column each that occurs twice, a free coordinate, and a forced group; columns span {1, i}."""
    J = [[Q(i * j + 1, 3**50 + i) for j in (1, 1, 2, 2, 5, 5)] for i in range(4)]
    about = {
        **cases.counting(0).problem,
        "theta_star": array([1, 0, 2, 0, 0, 3], 6),
        "jacobian": {"kind": "dense", "matrix": array([x for row in J for x in row], 4, 6)},
        "rhs": array([0, 0, 0, last], 4),
        "free": array([1, 1, 1, 1, 1, 0], 6),
        "regularizer": {"name": "l0", "labels": array([0, 0, 1, 1, 2, 2], 6)},
    }
    return checker.Proof(checker.Problem(about), {**cases.counting(0).certificate, "count": {"exhausted": 1}})


def of_powers(depth: int, row: Q = Q(1), unit: Q = Q(1), vertices: bool = True) -> Case:
    """Three rows, two of them independent, and seven columns: those of the best vertex again, one of them nearly."""
    J = [[Q(v) for v in own] for own in ([1, 2, 0, -1, 3, 2, 3], [0, 1, 1, 2, -1, 1, -1])]
    J[0][6] += Q(1, 2**70)
    J.append([2 * u - v for u, v in zip(*J, strict=True)])
    J = [[row * v for v in own] for own in J]
    rhs = [row * unit * v for v in (Q(3), Q(1), Q(5))]
    problem = xu.UnlearningProblem(
        [Q(0)] * 6 + [unit / 3], J, xu.PowerSum(depth), rhs=rhs, free=[True] * 6 + [vertices]
    )
    found = dict(xu.certify(problem).tree)
    if not vertices:
        found |= {"vertices": False, "claims": {"proof": "repaired"}, "dual": {"nu": cases.vec({0: Q(2), 1: Q(-1, 7)})}}
    trees = [json.loads(json.dumps(each)) for each in (codec.to_json(problem.to_tree()), found)]
    return Case(f"power_sum {depth}", *trees)


CASES: dict[str, Callable[[], Case]] = {
    "squared_l2": lambda: stretched(cases.plant("squared_l2", "none", False), quadratic=True),
    "squared_l2, dual": lambda: by_rule(stretched(cases.plant("squared_l2", "none", True), quadratic=True)),
    "squared_l2, weights": lambda: weighted(disturbed(cases.plant("squared_l2", "none", False))),
    "elastic_net, dual": lambda: by_rule(cases.plant("elastic_net", "squared", True)),
    "elastic_net": lambda: disturbed(cases.plant("elastic_net", "all", True)),
    "l1": lambda: stretched(cases.plant("l1", "none", True)),
    "l1, disturbed": lambda: disturbed(stretched(cases.plant("l1", "none", True))),
    "linf": lambda: stretched(cases.plant("linf", "none", False)),
    "l2": lambda: stretched(cases.plant("l2", "none", False)),
    "l2, disturbed": lambda: disturbed(cases.plant("l2", "all", False)),
    "l2, irrational": lambda: stretched(cases.plant("l2_irrational", "none", False)),
    "group_l2": lambda: stretched(cases.with_distance("none", True)),
    "nuclear_norm": lambda: stretched(cases.plant("nuclear_norm", "none", True)),
    "nuclear_norm, disturbed": lambda: disturbed(cases.plant("nuclear_norm", "squared", True)),
    "predictor_norm": lambda: stretched(cases.predictor(2)),
    "l0": lambda: stretched(cases.counting(2)),
    "active_neurons": lambda: stretched(cases.counting(1, "active_neurons")),
    "power_sum": lambda: of_powers(3),
    "power_sum, long": lambda: of_powers(5, LONG / OTHER),
    "power_sum, small": lambda: of_powers(4, unit=Q(1, 2**400)),
    "power_sum, large": lambda: of_powers(64, unit=Q(2**4000)),
    "power_sum, multipliers": lambda: of_powers(3, OTHER, vertices=False),
    "infeasible": lambda: stretched(cases.infeasible()),
    "infeasible, ball": lambda: cases.infeasible("2"),
    "infeasible, box": lambda: cases.infeasible("inf"),
}

COUNTED = Path(__file__).parent / "checker_work.json"


def counted(case: Case) -> dict[str, int]:
    """Nanoseconds that are earned and spent, by the problem and by the certificate."""

    class Ledger(checker.Work):
        earned = 0

        def earn(self, nanoseconds: int) -> None:
            self.earned += nanoseconds

    work = Ledger(0)
    work.left = 1 << 60
    problem = checker.Problem(case.problem, work)
    reading, earned = (1 << 60) - work.left, work.earned
    checker.judge(problem, case.certificate, None)
    return {
        "problem earns": earned,
        "problem spends": reading,
        "certificate earns": work.earned - earned,
        "certificate spends": (1 << 60) - work.left - reading,
    }


@pytest.mark.parametrize("name", CASES)
def test_long_numbers_prove_as_much(name: str) -> None:
    case = CASES[name]()
    verdict = checker.check(case.problem, case.certificate)
    assert verdict.proved, verdict.sentences
    assert verdict.proof == case.certificate["claims"]["proof"] or case.certificate["claims"]["proof"] == "repaired"


@pytest.mark.parametrize("name", CASES)
def test_work_is_counted_as_before(name: str) -> None:
    """A release that counts in another way refuses other files.  If that is meant, write the file anew:
    `python -m tests.test_checker_work`."""
    assert counted(CASES[name]()) == json.loads(COUNTED.read_text())[name]


def test_sets_that_only_rational_ranks_can_judge() -> None:
    """One group and the free coordinate span {1, i}, and a label outside of it needs more than one: forced + 2."""
    assert dependent(7).count() == 3
    with pytest.raises(checker.Rejected, match="some groups suffice"):
        dependent(0).count()


def test_work_is_refused_before_it_is_done() -> None:
    work = checker.Work(1000)
    work.spend(2, each=250, hard=0)
    work.earn(500)
    work.spend(1, 64, 127, each=0, hard=250)  # 2 x 2 words of 64 bits
    assert work.left == 0
    with pytest.raises(checker.Rejected, match="more work than its size allows"):
        work.spend(1, each=1, hard=0)


def test_common_denominators_are_bounded() -> None:
    primes = [(1 << n) - 1 for n in (44497, 86243, 110503, 132049, 216091)]
    assert checker.vector([(1, p) for p in primes[:4]], checker.Work()).den == math.prod(primes[:4])
    with pytest.raises(checker.Rejected, match="a common denominator has more than 524288 bits"):
        checker.vector([(1, p) for p in primes], checker.Work(1 << 60))
    x = checker.Vector([1], primes[4])
    y = checker.Vector([1], math.prod(primes[:3]))
    with pytest.raises(checker.Rejected, match="a common denominator has more than 524288 bits"):
        checker.combine(Q(1), x, Q(1, primes[3] * primes[4]), y, checker.Work(1 << 60))


def test_numbers_over_one_denominator_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(1, 1 << 99), (3, 1)]  # two numbers over 100 bits
    monkeypatch.setattr(checker, "MAX_LENGTH", 200)
    assert checker.vector(pairs, checker.Work()).nums == [1, 3 << 99]
    monkeypatch.setattr(checker, "MAX_LENGTH", 199)
    with pytest.raises(checker.Rejected, match="too much memory"):
        checker.vector(pairs, checker.Work())


def test_texts_are_what_is_shown() -> None:
    assert checker.show(Q(1, 3)) == "0.333333"
    assert checker.show(Q(1 << 2000)) == "2^2001"
    assert checker.show_up(Q(1 << 2000)) == "2^2001"
    assert checker.show_up(Q(1, 4)) == "0.25"
    assert Q(float(checker.show_up(Q(2, 3)))) > Q(2, 3)
    assert text(Q(-31, 8)) == "-1f/8"


if __name__ == "__main__":
    COUNTED.write_text(json.dumps({name: counted(make()) for name, make in CASES.items()}, indent=1) + "\n")
