"""Measurements, cells and findings: what counts as agreement, and what survives an interruption."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact_unlearn._validation.finding import Claim, Measurement, Result, at_least, at_most, close, differ, equal

from exact_unlearn._validation import finding, proofs, registry, runner, verify
from exact_unlearn.errors import ProblemError, SolverError

TINY = Fraction(1, 10**400)


def test_equality_is_exact() -> None:
    assert equal(Fraction(1, 3), Fraction(1, 3)).holds
    assert not equal(Fraction(1), 1 + TINY).holds, "a difference below the range of floats is still a difference"
    assert not equal([1, 2], [1, 2, 3]).holds
    assert not equal(1.0, math.nan).holds
    assert not equal(math.inf, 1.0).holds


def test_closeness_is_relative() -> None:
    assert close([1e-8], [1e-8 * (1 + 1e-12)], 1e-9).holds
    assert not close([1e-8], [1.1e-8], 1e-9).holds
    assert close([0.0], [0.0], 0.0).holds


def test_bounds() -> None:
    assert at_most(3, 3).holds
    assert not at_most(3, 3 + TINY).holds
    assert at_least(3, 4).holds
    assert not at_least(Fraction(3), Fraction(3) - TINY).holds
    assert at_most(0, 0).holds


def test_a_failing_conclusion_must_really_differ() -> None:
    assert differ(1, 2).holds
    assert not differ(1, 1).holds
    assert not differ(1.0, 1.0 + 1e-9, margin=1e-6).holds
    assert differ(1.0, 1.1, margin=1e-6).holds


def test_one_sided_statements_have_one_side() -> None:
    assert finding.below(2, 1).holds
    assert not finding.below(1, 1).holds
    assert not finding.below(1, 2).holds, "on the other side"
    assert finding.above(1, 1 + TINY).holds
    assert not finding.above(1, 1 - TINY).holds
    assert not finding.above(1.0, 1.0 + 1e-9, margin=1e-6).holds
    assert not finding.above(1.0, math.nan).holds
    shown = finding.above(1, 3)
    assert (shown.predicted, shown.measured) == (1.0, 3.0)


def test_rounding_is_told_from_substance() -> None:
    assert finding.negligible(1e-14, 1.0, 1e-12).holds
    assert not finding.negligible(1e-3, 1.0, 1e-12).holds
    assert not finding.negligible(1e-300, 0.0, 1e-12).holds
    assert finding.negligible(0.0, 0.0, 0.0).holds


def test_the_worst_of_several() -> None:
    several = finding.worst_of([equal(1, 1), close(1.0, 2.0, 1e-3), at_least(1, 2, proof="enclosure")])
    assert not several.holds
    assert several.proof == "none"
    assert several.measured == 2.0


def test_of_equally_good_instances_one_that_shows_something() -> None:
    def shown(rng: np.random.Generator, case: Any) -> Measurement:
        return equal(case, case) if case < 3 else close(float(case), case + 1e-13, 1e-9)

    def worst(*cases: int) -> float:
        claim = Claim("k", "s", shown, "q", cases=cases)
        cells = [runner.measure_cell(claim, runner.Cell("r", "k", i, 0, 1)) for i in range(len(cases))]
        return runner.summarise(GOOD, claim, cells).measured

    assert worst(0, 0) == 0
    assert worst(0, 2, 1) == 2
    assert worst(0, 2, 7, 0) == 7 + 1e-13


@pytest.mark.parametrize("bad", [{"proof": "certain"}, {"deviation": -1.0}, {"deviation": math.nan}])
def test_measurements_refuse_nonsense(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Measurement(**({"predicted": 0.0, "measured": 0.0, "deviation": 0.0, "proof": "exact"} | bad))


class FakeCertificate:
    def __init__(self, lower: Any, upper: Any, proof: str) -> None:
        self.lower, self.upper, self.proof = Fraction(lower), Fraction(upper), proof


def test_certificates_are_compared_with_predictions() -> None:
    exact, wide = FakeCertificate(2, 2, "exact"), FakeCertificate(1, 3, "enclosure")
    narrow = FakeCertificate(2, Fraction(2) + Fraction(1, 10**20), "enclosure")
    assert proofs.optimum(exact, Fraction(2)).holds
    assert not proofs.optimum(exact, 2 + TINY).holds
    assert not proofs.optimum(wide, Fraction(2)).holds, "an interval that contains everything confirms nothing"
    assert proofs.optimum(narrow, Fraction(2)).holds
    assert not proofs.optimum(narrow, Fraction(3)).holds
    assert proofs.root_optimum(exact, Fraction(4)).holds
    assert not proofs.root_optimum(exact, Fraction(5)).holds
    assert proofs.same_optimum(exact, narrow).holds
    assert not proofs.same_optimum(exact, FakeCertificate(3, 3, "exact")).holds
    assert not proofs.same_optimum(wide, wide).holds


# ---------------------------------------------------------------- cells

CALLS: list[int] = []


def measured(rng: np.random.Generator, case: Any) -> Measurement:
    CALLS.append(case)
    value = float(rng.uniform())
    return Measurement(value, value, 0.0, "exact", series={"value": value})


def broken(rng: np.random.Generator, case: Any) -> Measurement:
    if case:
        raise ZeroDivisionError("by v")
    return equal(1, 1)


GOOD = Result(
    "Test 1", "t", "s", "t", (Claim("good", "It holds.", measured, "value", cases=(0, 1), quick=3, full=30),), "", ""
)
BAD = Result("Test 2", "t", "s", "t", (Claim("bad", "It holds.", broken, "value", cases=(0, 1), quick=2),), "", "")


def test_a_run_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    CALLS.clear()
    (first,) = runner.findings([GOOD], folder=tmp_path)
    assert len(CALLS) == 6
    assert first.instances == 6
    assert len(list(tmp_path.glob("*.json"))) == 2
    (again,) = runner.findings([GOOD], folder=tmp_path)
    assert len(CALLS) == 6, "nothing is measured twice"
    assert again == first
    next(tmp_path.glob("*.1.*.json")).write_text('{"schema": "exact-unlearn/theorem-cell", "sou')  # a torn file
    (third,) = runner.findings([GOOD], folder=tmp_path)
    assert len(CALLS) == 9
    assert third == first
    assert not list(tmp_path.glob("*.partial"))


def test_cells_of_other_code_are_measured_again(tmp_path: Path) -> None:
    runner.findings([GOOD], folder=tmp_path)
    for path in tmp_path.glob("*.json"):
        stored = json.loads(path.read_text())
        path.write_text(json.dumps(stored | {"sources": "0" * 64}))
    CALLS.clear()
    runner.findings([GOOD], folder=tmp_path)
    assert len(CALLS) == 6


def test_instances_do_not_depend_on_batches() -> None:
    (quick,) = runner.findings([GOOD])
    (full,) = runner.findings([GOOD], full=True)
    assert full.instances == 60
    assert full.series["value"][:3] == quick.series["value"][:3]
    assert len(set(full.series["value"])) == 60


def test_an_exception_is_no_measurement_and_its_text_is_kept(tmp_path: Path) -> None:
    (found,) = runner.findings([BAD], folder=tmp_path)
    assert found.verdict == "not measured"
    assert found.message == "case 1, instance 0: ZeroDivisionError: by v"
    assert (found.instances, found.unmeasured) == (2, 2)
    assert "NOT MEASURED  Test 2, bad: It holds. 2 of 4 instances (case 1, " in verify.complaints([found])
    assert [path.name for path in tmp_path.iterdir()] == ["test-2.bad.0.0-1.json"], "only what was measured is stored"


@pytest.mark.parametrize("error", [MemoryError, RecursionError, SystemError, SolverError])
def test_a_claim_of_which_nothing_was_measured_is_open(error: type[Exception]) -> None:
    def fail(rng: np.random.Generator, case: Any) -> Measurement:
        raise error("no more")

    result = replace(GOOD, claims=(replace(GOOD.claims[0], measure=fail),))
    (found,) = runner.findings([result])
    assert found.verdict == "not measured"
    assert found.instances == 0
    assert math.isnan(found.predicted)
    assert found.to_json()["deviation"] is None
    assert error.__name__ in found.message


def test_a_contradiction_is_one_whatever_else_was_not_measured() -> None:
    def some(rng: np.random.Generator, case: Any) -> Measurement:
        if case:
            raise MemoryError
        return equal(1, 2)

    (found,) = runner.findings([replace(BAD, claims=(replace(BAD.claims[0], measure=some),))])
    assert found.verdict == "contradicted"
    assert found.unmeasured == 2


def lost(*, how: str) -> None:
    """Raise what C code makes of an interrupt."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        if how == "cause":
            raise SystemError("returned a result with an exception set") from error
        raise SystemError("returned a result with an exception set")  # noqa: B904 - that is what is tested


@pytest.mark.parametrize("how", ["cause", "context"])
def test_an_interrupt_in_disguise_ends_the_run(how: str, tmp_path: Path) -> None:
    def interrupted(rng: np.random.Generator, case: Any) -> Measurement:
        if case:
            lost(how=how)
        return equal(1, 1)

    result = replace(BAD, claims=(replace(BAD.claims[0], measure=interrupted),))
    with pytest.raises(KeyboardInterrupt):
        runner.findings([result], folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test-2.bad.0.0-1.json"]


def test_progress_counts_cells() -> None:
    seen: list[tuple[int, int, str]] = []
    runner.findings([GOOD, BAD], progress=lambda *args: seen.append(args))
    assert [done for done, _, _ in seen] == [1, 2, 3, 4]
    assert {total for _, total, _ in seen} == {4}
    assert seen[0][2] == "test-1 good"


def test_workers_and_one_process_agree(tmp_path: Path) -> None:
    results = registry.select(["lemma-4"])
    alone = verify.measure(results, False, None, 1)
    assert verify.measure(results, False, tmp_path, 2) == alone


# ---------------------------------------------------------------- registry


def test_all_fourteen_results_are_there() -> None:
    names = [result.name for result in registry.RESULTS]
    paper = [f"Theorem {i}" for i in range(1, 6)] + [f"Lemma {i}" for i in range(1, 7)]
    paper += ["Proposition 1", "Proposition 2", "Corollary 1", "D.4.1", "Appendix C", "Appendix E"]
    paper += ["Section 4.3", "Section 5.1"]
    assert set(names) == {*paper, "Beyond the paper", "Self-check"}
    assert len(set(names)) == len(names)


def test_every_result_has_a_broken_assumption() -> None:
    for result in registry.RESULTS:
        if result.name not in ("Beyond the paper", "Self-check"):
            assert any(claim.kind == "assumption" for claim in result.claims), result.name
        keys = [claim.key for claim in result.claims]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Theorem 3", "Theorem 3"),
        ("theorem-3", "Theorem 3"),
        ("theorem_3", "Theorem 3"),
        ("d41", "D.4.1"),
        ("D.4.1", "D.4.1"),
        ("appendix e", "Appendix E"),
        ("beyond", "Beyond the paper"),
        ("self-check", "Self-check"),
    ],
)
def test_results_are_found_by_what_people_write(said: str, meant: str) -> None:
    assert [result.name for result in registry.select([said])] == [meant]


def test_unknown_names_are_told() -> None:
    with pytest.raises(ProblemError, match=r"expected one of theorem-1, .*, got 'theorem 9'"):
        registry.select(["theorem 9"])
    assert registry.select([]) == registry.RESULTS
