"""Rows that read J_i D >= b_i, to both checkers: planted optima are proved, and what forges them is refused."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from exact_unlearn.certify import checker
from tests.certificate_cases import (
    REGULARIZERS,
    Case,
    counting,
    moved_labels,
    plant,
    predictor,
    text,
    vec,
    with_distance,
)
from tests.row_cases import contradictory, planted, resting, told_apart, with_rows
from tests.test_second_checker import asked

PLANTED = [
    *planted(tuple(REGULARIZERS)),
    *(with_rows(predictor(l, drift), "some", seed) for l in (1, 2) for drift in ("none", "box") for seed in range(3)),
    *(with_rows(counting(size, name), "inactive") for size in (0, 1) for name in ("l0", "active_neurons")),
    *(with_rows(with_distance("none", frozen), kind) for frozen in (False, True) for kind in ("mixed", "inactive")),
    *(resting(name) for name in REGULARIZERS),
    *(told_apart(seed) for seed in range(4)),
]


def both(jobs: list[tuple[Any, Any, str | None]], folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """Status and sentence or numbers of the checker, which the JavaScript checker has to share."""
    texts = [{"problem": json.dumps(p), "certificate": json.dumps(c), "tau": tau} for p, c, tau in jobs]
    found = []
    for (problem, certificate, tau), second in zip(jobs, asked(texts, folder), strict=True):
        bound = None if tau is None else checker.number(tau)
        try:
            verdict = checker.check(problem, certificate, bound)
        except checker.Rejected as error:
            found.append((2, {"sentence": str(error)}))
        else:
            status = 0 if verdict.proved else 1 if verdict.proof == "none" else 3
            found.append((status, {**vars(verdict), "sentence": " ".join(verdict.sentences)}))
            assert status == second["status"], (verdict.sentences, second)
            for key in ("lower", "upper", "distance", "residual", "robust_lower", "square"):
                own, theirs = getattr(verdict, key), second.get(key)
                assert own == (None if theirs is None else checker.number(theirs)), key
            assert verdict.unique is bool(second.get("unique"))
        assert found[-1][0] == second["status"], (found[-1], second)
    return found


def test_planted_optima_are_proved_by_both(tmp_path: Path) -> None:
    answers = both([(case.problem, case.certificate, None) for case in PLANTED], tmp_path)
    for case, (status, verdict) in zip(PLANTED, answers, strict=True):
        assert status == 0, (case.name, verdict["sentence"])
        assert verdict["proof"] == "exact", case.name
        assert case.contains(verdict["lower"], verdict["upper"]), case.name


def test_rows_that_are_known_to_be_tight_prove_uniqueness_and_distances(tmp_path: Path) -> None:
    """Where a multiplier is 0 the row says nothing about minimisers, so that a left inverse has no place there."""
    plain = with_distance("none", False)
    tight, idle = with_rows(plain, "active"), with_rows(plain, "inactive")
    answers = both([(case.problem, case.certificate, None) for case in (tight, idle)], tmp_path)
    assert all(found["unique"] and found["distance"] == 0 for _, found in answers)
    silent = copy.deepcopy(idle)
    a, k = 0, 8
    silent.certificate["distance"]["L"] = vec({a * k + 7: Fraction(1)})  # a row with a gap
    ((status, found),) = both([(silent.problem, silent.certificate, None)], tmp_path)
    assert (status, "a vector: an index has no place there" in found["sentence"]) == (1, True)


def test_what_nothing_meets_is_refuted_by_both(tmp_path: Path) -> None:
    cases = [contradictory(norm, seed) for norm in (None, "2", "inf") for seed in range(3)]
    answers = both([(case.problem, case.certificate, None) for case in cases], tmp_path)
    assert [(status, found["proof"]) for status, found in answers] == [(0, "infeasible")] * len(cases)


def test_moved_labels_leave_rows_that_read_at_least_alone(tmp_path: Path) -> None:
    cases = [with_rows(moved_labels(name, "squared", False), "inactive") for name in ("l1", "squared_l2")]
    jobs = [(case.problem, case.certificate, tau) for case in cases for tau in (None, "1/50", "1/1000")]
    answers = both(jobs, tmp_path)
    assert [status for status, _ in answers] == [3, 0, 3] * 2
    for case, (_, found) in zip([c for c in cases for _ in range(3)], answers, strict=True):
        assert found["lower"] == found["upper"] == case.value
        assert found["robust_lower"] > 0
        assert 0 < found["residual"] <= Fraction(1, 50)


def changed(case: Case, change: Any) -> tuple[Any, Any, str | None]:
    problem, certificate = copy.deepcopy(case.problem), copy.deepcopy(case.certificate)
    tau = change(problem, certificate)
    return problem, certificate, tau


def _negative(problem: Any, certificate: Any) -> None:
    nu = certificate["dual"]["nu"][0]
    nu["nums"][0] = f"-{nu['nums'][0]}"


def _added(problem: Any, certificate: Any) -> None:
    certificate["dual"]["nu"].append({"indices": [3], "nums": ["-1"], "den": "1"})


def _twice(problem: Any, certificate: Any) -> None:
    nu = certificate["dual"]["nu"]
    nu.append(copy.deepcopy(nu[0]))


def _below(problem: Any, certificate: Any) -> None:
    data = problem["rhs"]["data"]
    data[0] = text(checker.number(data[0]) + Fraction(1, 10**40))


def _kept(problem: Any, certificate: Any) -> str:
    certificate["rows"] = {"kept": [0, 1, 2], "tau": "1"}
    return "1"


def _dropped(problem: Any, certificate: Any) -> str:
    """What would be infeasible: a row that reads >= cannot be left out, whatever the tolerance."""
    _below(problem, certificate)
    certificate["rows"] = {"kept": [], "tau": "1"}
    return "1"


def _moved(problem: Any, certificate: Any) -> str:
    certificate["rows"] = {"kept": [], "tau": "1", "rhs": vec({0: Fraction(0)})}
    return "1"


def _old_certificate(problem: Any, certificate: Any) -> None:
    certificate["version"] = 1


def _old_problem(problem: Any, certificate: Any) -> None:
    problem["version"] = certificate["version"] = 1


def _no_mask(problem: Any, certificate: Any) -> None:
    """Equations then: a multiplier of any sign, but the gaps are none."""
    del problem["at_least"]


def _mask(**change: Any) -> Any:
    def apply(problem: Any, certificate: Any) -> None:
        problem["at_least"] = {**problem["at_least"], **change}

    return apply


FORGERIES: dict[str, tuple[Any, int, str]] = {
    "negative multiplier": (_negative, 1, "a multiplier of a row that reads >= is negative"),
    "negative multiplier of a row with a gap": (_added, 1, "a multiplier of a row that reads >= is negative"),
    "multiplier twice": (_twice, 1, "an index occurs twice"),
    "a row missed by very little": (_below, 1, "J D >= b fails in row 0"),
    "kept names rows that read >=": (_kept, 1, "kept: an index has no place there"),
    "rows that read >= dropped": (_dropped, 1, "J D >= b fails in row 0"),
    "label of a row that reads >= moved": (_moved, 1, "a vector: an index has no place there"),
    "certificate of version 1": (_old_certificate, 1, "it is of version 1, the problem of version 2"),
    "problem of version 1": (_old_problem, 2, "version 1 has no rows that read >="),
    "no mask": (_no_mask, 1, "J D = b fails in row 3"),
    "short mask": (_mask(shape=[2], data=["1", "1"]), 2, "expected an array of shape"),
    "mask of flags": (_mask(data=[True] * 6), 2, "expected a number, found True"),
    "mask of halves": (_mask(data=["1/2"] * 6), 2, "expected integers from 0 to 1"),
    "mask of twos": (_mask(data=["2"] * 6), 2, "expected integers from 0 to 1"),
    "nested mask": (_mask(shape=[6, 1]), 2, "expected an array of shape"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgeries_are_refused_by_both(name: str, tmp_path: Path) -> None:
    change, status, sentence = FORGERIES[name]
    case = with_rows(with_rows(plant("l1", "none", False), "active"), "inactive")
    ((found, verdict),) = both([changed(case, change)], tmp_path)
    assert found == status, verdict
    assert sentence in verdict["sentence"]


def test_a_key_that_occurs_twice_is_refused_by_both(tmp_path: Path) -> None:
    case = with_rows(plant("l1", "none", False), "active")
    problem = json.dumps(case.problem)
    twice = problem[:-1] + ', "at_least": {"shape": [3], "data": ["0", "0", "0"]}}'
    (tmp_path / "problem.json").write_text(twice)
    with pytest.raises(checker.Rejected, match="a key occurs twice in one object"):
        checker.check(tmp_path / "problem.json", case.certificate)
    (answer,) = asked([{"problem": twice, "certificate": json.dumps(case.certificate), "tau": None}], tmp_path)
    assert answer["status"] == 2
    assert "a key occurs twice in one object" in answer["sentence"]


def test_the_mask_of_the_embedded_problem_is_not_asked(tmp_path: Path) -> None:
    """A certificate about inequalities proves nothing about the equations, whatever problem it carries."""
    case = with_rows(plant("l1", "none", False), "inactive")
    carried = {**case.certificate, "problem": case.problem}
    equations = {**case.problem, "at_least": {"shape": [6], "data": ["0"] * 6}}
    answers = both([(equations, carried, None), (case.problem, carried, None)], tmp_path)
    assert [status for status, _ in answers] == [1, 0]
