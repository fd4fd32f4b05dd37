"""Forgeries that somebody designed: each is refused, or says only what is true, by two programs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import Certificate, checker
from exact_unlearn.errors import ProblemError
from tests import certificate_cases as cases
from tests.certificate_cases import array, text, vec
from tests.test_second_checker import asked

Tree = dict[str, Any]
HEAD: Tree = {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds"}


def problem(
    start: list[Any],
    J: list[list[Any]],
    regularizer: Tree | None = None,
    b: Any = None,
    free: Any = None,
    drift: Any = (),
) -> Tree:
    """A problem by hand; l1 without weights, b = 0 and everything free if nothing else is said."""
    d, k = len(start), len(J)
    return {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array(start, d),
        "jacobian": {"kind": "dense", "matrix": array([x for row in J for x in row], k, d)},
        "rhs": array(b or [0] * k, k),
        "free": array(free or [1] * d, d),
        "regularizer": regularizer or {"name": "l1", "weights": None},
        "drift_penalty": list(drift),
    }


def claim(theta: dict[int, Any], nu: dict[int, Any] | None = None, proof: str = "repaired", **more: Any) -> Tree:
    """A certificate by hand."""
    primal = {"base": "zero", "parts": vec({j: Q(x) for j, x in theta.items()})}
    return {**HEAD, "primal": primal, "dual": {"nu": vec(nu or {})}, "claims": {"proof": proof}, **more}


def statuses(about: Tree | None, certificate: Tree, folder: Path, tau: Any = None) -> set[int]:
    """The exit status, of both programs."""
    verdict = checker.check(about, certificate, tau)
    mine = 0 if verdict.proved else 1 if verdict.proof == "none" else 3
    job = {"problem": None if about is None else json.dumps(about), "certificate": json.dumps(certificate)}
    (other,) = asked([job | {"tau": None if tau is None else text(Q(tau))}], folder)
    return {mine, other["status"]}


def test_a_negative_row_number(tmp_path: Path) -> None:
    """theta* = 1, J = 2^-30: only D = 0 is feasible and the optimum is 1; row -1 would be kept and not checked."""
    about = problem([1], [[Q(1, 1 << 30)]])
    for row in (-1, 1, True, "0", None, 10**9):
        rows = {"kept": [row], "tau": "1/f4240"}
        forged = {**HEAD, "rows": rows, "primal": {"base": "zero", "parts": vec({0: Q(62)})}}
        forged |= {"dual": {"nu": [{"indices": [row], "nums": ["40000000"], "den": "1"}]}, "claims": {"proof": "exact"}}
        assert statuses(about, forged, tmp_path, 1e-6) == {1}, row
        assert statuses(about, forged | {"dual": {"nu": []}, "claims": {"proof": "repaired"}}, tmp_path) == {1}, row


@pytest.mark.parametrize("kept", [[0, 0], [0, 1, 2, 3], [-3], [0.0], "012", {"0": 1}, None, [[0]], [False]])
def test_other_rows_that_are_no_rows(kept: Any) -> None:
    case = cases.plant("l1", "squared", False)
    assert checker.check(case.problem, case.certificate).proved
    forged = {**case.certificate, "rows": {"kept": kept, "tau": "0"}}
    assert checker.check(case.problem, forged, 10**9).proof == "none"


def test_the_judged_party_does_not_choose_the_standard(tmp_path: Path) -> None:
    """Every row dropped, a tolerance as large as can be: a proof of nothing, until somebody accepts it."""
    about = problem([3, 1], [[1, 0]])  # the optimum is 3
    forged = claim({}, proof="exact", rows={"kept": [], "tau": "f" * 60})
    assert statuses(about, forged, tmp_path) == {3}
    assert statuses(about, forged, tmp_path, 10**9) == {3}
    verdict = checker.check(about, forged)
    assert verdict.residual == 3
    assert "give it to accept" in verdict.sentences[-1]
    modest = claim({}, proof="exact", rows={"kept": [], "tau": "0"})
    assert statuses(about, modest, tmp_path, 2) == {3}  # the residual counts, whatever it calls tau
    assert statuses(about, modest, tmp_path, 3) == {0}
    assert checker.check(about, modest, 3).robust_lower == 0


def test_the_tolerance_that_is_named_is_accepted() -> None:
    """A third is no float: what the sentence says is rounded up, so that it can be given back."""
    about = problem([Q(1, 3), 1], [[1, 0]])
    verdict = checker.check(about, claim({}, rows={"kept": [], "tau": "0"}))
    (tau,) = (s.split("tau = ")[1].split(":")[0] for s in verdict.sentences if s.startswith("proved for tau"))
    assert float(tau) >= Q(1, 3) > Q(float(tau)) - Q(1, 10**15)
    assert checker.check(about, claim({}, rows={"kept": [], "tau": "0"}), float(tau)).proved


MOVED = problem([0, 0], [[1, 1], [1, 1]], b=[Q(1, 8), Q(1, 4)])


def moved(label: Q = Q(3, 16), **rows: Any) -> Tree:
    """x_0 + x_1 = 1/8 and 1/4 contradict each other; both as 3/16 they do not, and the optimum is 3/16."""
    about = {"kept": [0, 1], "tau": "1/10", "rhs": vec({0: label, 1: label})}
    return claim({0: Q(3, 16)}, {0: Q(1)}, "exact", rows=about | rows)


def test_moved_labels(tmp_path: Path) -> None:
    for tau, status in ((None, 3), (0, 3), (Q(1, 17), 3), (Q(1, 16), 0), (1, 0)):
        assert statuses(MOVED, moved(), tmp_path, tau) == {status}, tau
    verdict = checker.check(MOVED, moved(), Q(1, 16))
    assert verdict.lower == verdict.upper == Q(3, 16)
    assert verdict.residual == Q(1, 16)
    assert verdict.robust_lower == Q(1, 16)  # 3/16 - (3/16 - 1/8) - 1/16; and x_0 + x_1 = 3/16 is the only such sum
    assert "2 labels moved" in verdict.sentences[1]
    assert statuses(MOVED, moved(tau="1"), tmp_path, Q(1, 2)) == {3}  # its own tau is larger than what is accepted
    assert statuses(MOVED, moved(Q(1, 4)), tmp_path, 1) == {1}  # J D is another


@pytest.mark.parametrize("rhs", [vec({2: Q(0)}), vec({-1: Q(0)}), {}, "0", None, [{"nums": ["3"], "den": "8"}], [None]])
def test_labels_that_have_no_place(rhs: Any, tmp_path: Path) -> None:
    assert statuses(MOVED, moved(rhs=rhs), tmp_path, 1) == {1}


def test_a_moved_label_counts_even_where_its_row_is_dropped(tmp_path: Path) -> None:
    about = problem([1, 0], [[1, 0], [0, 1]])
    rows = {"kept": [0], "tau": "0", "rhs": vec({1: Q(5)})}
    forged = claim({0: Q(1)}, {0: Q(1)}, "exact", rows=rows)
    assert statuses(about, forged, tmp_path, 4) == {3}
    assert checker.check(about, forged, 5).residual == 5


def test_a_bound_from_moved_labels_that_the_literal_problem_does_not_have() -> None:
    """b-hat pulls the bound up by as much as it is off: the robust bound takes that back, also where it is clipped."""
    about = problem([1, 1], [[1, 1]], b=[0])
    rows = {"kept": [0], "tau": "1", "rhs": vec({0: Q(1)})}
    verdict = checker.check(about, claim({0: 2, 1: 1}, {0: Q(1)}, "exact", rows=rows), 1)
    assert verdict.proved
    assert verdict.lower == 3
    assert verdict.robust_lower == 1  # x_0 + x_1 may be 1
    worthless = claim({0: 2, 1: 1}, {0: Q(-1)}, rows={"kept": [0], "tau": "1", "rhs": vec({0: Q(1)})})
    verdict = checker.check(about, worthless, 1)
    assert verdict.lower == 0
    assert verdict.robust_lower == 0  # -3 + 1 - 1, and not 0 + 1 - 1


def test_rows_as_written_need_no_tolerance(tmp_path: Path) -> None:
    """All rows are kept, and the labels that are listed are those of the problem."""
    case = cases.plant("l1", "squared", False)
    labels = [checker.number(x) for x in case.problem["rhs"]["data"]]
    rows = {"kept": [2, 0, 1], "tau": "5", "rhs": vec({1: labels[1]})}
    assert statuses(case.problem, {**case.certificate, "rows": rows}, tmp_path) == {0}
    assert checker.check(case.problem, {**case.certificate, "rows": rows}).residual is None


def test_a_refutation_says_by_how_much(tmp_path: Path) -> None:
    """x = 0 and x = 1: some row is missed by 1/2 at least.  Within 1/2 there is no contradiction."""
    about = problem([0], [[1], [1]], b=[0, 1])
    forged = {**HEAD, "kind": "infeasible", "dual": {"nu": vec({0: Q(-1), 1: Q(1)})}, "claims": {"proof": "infeasible"}}
    assert statuses(about, forged, tmp_path) == {0}
    assert checker.check(about, forged).residual == Q(1, 2)
    assert statuses(about, forged, tmp_path, Q(49, 100)) == {0}
    for tau in (Q(1, 2), 1):
        assert statuses(about, forged, tmp_path, tau) == {3}
    for more in ({"lower": "5"}, {"upper": "5"}, {"gap": "0"}, {"unique": True}, {"distance": "0"}, {"square": "0"}):
        assert statuses(about, {**forged, "claims": {"proof": "infeasible", **more}}, tmp_path) == {1}
    for proof in ("exact", "repaired", None, 1):
        assert statuses(about, {**forged, "claims": {"proof": proof}}, tmp_path) == {1}
    labels = {"kept": [0, 1], "tau": "1", "rhs": vec({1: Q(2)})}
    assert statuses(about, {**forged, "rows": labels}, tmp_path) == {1}
    for nu in ({0: Q(1), 1: Q(-1)}, {0: Q(-1), 1: Q(2)}, {}, {1: Q(0)}):
        assert statuses(about, {**forged, "dual": {"nu": vec(nu)}}, tmp_path) == {1}


@pytest.mark.parametrize(("norm", "reach"), [("2", 5), ("inf", 7)])
def test_a_refutation_within_a_region_is_sharp(norm: str, reach: int, tmp_path: Path) -> None:
    """3 D_0 - 4 D_1 is at most 5 where |D|_2 <= 1 and at most 7 where |D|_inf <= 1, whichever region is the tighter."""
    nu = {"nu": vec({0: Q(1)})}
    forged = {**HEAD, "kind": "infeasible", "dual": nu, "claims": {"proof": "infeasible"}}
    for radius in (Q(1), Q(1, 2)):
        wide = {"name": "trust_region", "norm": "inf" if norm == "2" else "2", "radius": "64"}
        drift = [{"name": "trust_region", "norm": norm, "radius": text(radius)}, wide]
        for more, status in ((Q(0), 1), (Q(1, 1000), 0)):
            about = problem([1, 1], [[3, -4]], b=[reach * radius + more], drift=drift)
            assert statuses(about, forged, tmp_path) == {status}, more


DESIGNED: dict[str, Callable[[], tuple[Tree, Tree]]] = {
    "a hidden frozen coordinate": lambda: (
        problem([5, 1], [[1, 1]], free=[0, 1]), claim({0: Q(0), 1: Q(1)}, {0: Q(1)})),
    "nothing free, another point": lambda: (problem([5], [[1]], free=[0]), claim({0: Q(0)})),
    "nothing free, b not 0": lambda: (problem([5], [[1]], b=[1], free=[0]), claim({})),
    "no rows, a multiplier": lambda: (problem([5], []), claim({0: Q(5)}, {0: Q(1)})),
    "a coordinate beyond the last": lambda: (problem([5], [[1]]), claim({0: Q(5), 1: Q(-5)}, {0: Q(1)})),
    "a coordinate twice": lambda: (
        problem([5], [[1]]),
        claim({}, {0: Q(1)}) | {"primal": {"base": "zero", "parts": [*vec({0: Q(5)}), *vec({0: Q(0)})]}}),
    "a negative denominator": lambda: (
        problem([5], [[1]]),
        claim({}, {0: Q(1)}) | {"primal": {"base": "zero", "parts": [{"indices": [0], "nums": ["-5"], "den": "-1"}]}}),
    "a multiplier of a ball that is none": lambda: (
        problem([5], [[1]]), claim({0: Q(5)}) | {"dual": {"nu": [], "ball": "1"}}),
    "a negative multiplier of a ball": lambda: (
        problem([5], [], drift=[{"name": "trust_region", "norm": "2", "radius": "1"}]),
        claim({0: Q(5)}) | {"dual": {"nu": [], "ball": "-1"}}),
    "a negative weight": lambda: (
        problem([5, 5], [], {"name": "l1", "weights": array([1, -1], 2)}), claim({0: Q(0), 1: Q(5)})),
    "a negative drift": lambda: (problem([5], [], drift=[{"name": "l1_drift", "lam": "-1"}]), claim({0: Q(9)})),
    "a negative radius": lambda: (
        problem([5], [], drift=[{"name": "trust_region", "norm": "2", "radius": "-1"}]), claim({0: Q(5)})),
    "a mask that is no mask": lambda: (problem([5], [[1]], free=[2]), claim({0: Q(5)})),
    "a group beyond the last": lambda: (
        problem([5], [[1]], {"name": "group_l2", "labels": array([1], 1), "weights": None}), claim({0: Q(5)})),
    "a negative group": lambda: (
        problem([5, 1], [[1, 1]], {"name": "l0", "labels": array([-1, 0], 2)}), claim({0: Q(6)})),
    "a coordinate of a matrix twice": lambda: (
        problem([5, 1], [[1, 1]], {"name": "nuclear_norm", "indices": array([0, 0], 2), "shape": [1, 2]}),
        claim({0: Q(6)})),
    "a count of more than there is": lambda: (
        problem([5, 1], [[1, 1]], {"name": "l0", "labels": None}), claim({0: Q(6)}) | {"count": {"exhausted": 2}}),
    "a count of as many as needed": lambda: (
        problem([5, 1], [[1, 1]], {"name": "l0", "labels": None}), claim({0: Q(6)}) | {"count": {"exhausted": 1}}),
    "a count that is no count": lambda: (
        problem([5, 1], [[1, 1]], {"name": "l0", "labels": None}), claim({0: Q(6)}) | {"count": {"exhausted": True}}),
    "infeasible, though feasible": lambda: (
        problem([5], [[1]]), {**claim({}, {0: Q(1)}, "infeasible"), "kind": "infeasible"}),
    "a distance of no groups": lambda: (
        problem([5], [[1]]), claim({0: Q(5)}, {0: Q(1)}) | {"distance": {"active": [], "L": []}}),
}  # fmt: skip


def test_designed_forgeries_are_refused_by_both(tmp_path: Path) -> None:
    jobs = []
    for name, make in DESIGNED.items():
        about, forged = make()
        jobs.append({"problem": json.dumps(about), "certificate": json.dumps(forged), "tau": "f"})
        try:
            assert checker.check(about, forged, 15).proof == "none", name
        except checker.Rejected:
            continue
    answers = asked(jobs, tmp_path)
    assert [a["status"] for a in answers if a["status"] not in (1, 2)] == [], list(zip(DESIGNED, answers, strict=True))


def test_an_embedded_problem_never_stands_in_for_the_callers(tmp_path: Path) -> None:
    easy, hard = problem([0], []), problem([7], [[1]])
    trivial = claim({}, proof="exact") | {"problem": easy}
    assert statuses(None, trivial, tmp_path) == {3}
    assert statuses(easy, trivial, tmp_path) == {0}
    assert statuses(hard, trivial, tmp_path) == {1}
    assert statuses(None, claim({}, proof="exact"), tmp_path) == {1}
    assert statuses(None, trivial | {"problem": trivial}, tmp_path) == {1}


# ---------------------------------------------------------------- the package's own door


def test_certificate_check_takes_the_standard_from_the_caller(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    J = rng.standard_normal((4, 9))
    J[3] = J[0] + J[1]
    about = xu.UnlearningProblem(rng.standard_normal(9), J, xu.L1())
    certificate = xu.certify(about, tau=1e-9)
    assert not certificate.check().proved
    assert certificate.check(tau=1e-9).proved
    assert certificate.check(about, 1e-9).proved
    assert certificate.check(tau=0).proof == "exact"
    certificate.save(tmp_path / "c.json")
    assert not Certificate.load(tmp_path / "c.json", about).check().proved
    for wrong in (-1, float("nan"), float("inf"), "much", True):
        with pytest.raises(ProblemError, match="tau: expected a finite number"):
            certificate.check(tau=wrong)
    forged = copy.copy(dict(certificate.tree))
    forged["rows"] = {"kept": [], "tau": "f" * 50}
    forged["dual"], forged["claims"] = {"nu": []}, {"proof": "repaired"}
    (tmp_path / "f.json").write_text(json.dumps(forged))
    assert not Certificate.load(tmp_path / "f.json", about).check().proved
