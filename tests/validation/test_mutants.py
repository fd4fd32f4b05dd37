"""The machine that plants faults, on a toy whose surviving faults are known."""

from __future__ import annotations

import ast
import json
import os
import re
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from validation.attack import mutants
from validation.attack._mutants import OPERATORS, MutatedFile, difference
from validation.attack.mutants import ROOMS, ROOT, Room, Tally, interval, matching, shares, statement, try_room

SOURCE = """
from __future__ import annotations

from typing import Protocol

SMALL = 1e-6


class Shape(Protocol):
    def area(self, scale: float = 1.0) -> float | int: ...


def clipped(x: float, top: float = 3.0) -> float | int:
    if x > top:
        return top
    return x


def steps(n):
    done = 0
    while n > 0:
        n -= 1
        done += 1
    return done


def close(x):
    return abs(x) <= SMALL


def unused(x):
    return x + 1
"""
TESTS = """
from toy import close, clipped, steps


def test_clipped():
    assert clipped(5.0) == 3.0
    assert clipped(2.0) == 2.0


def test_steps():
    assert steps(2) == 2


def test_close():
    assert close(1e-9)
    assert not close(1.0)
"""
ROOM = Room("toy", ("toy.py",), ("tests/test_*.py",), bar=0.5)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy.py").write_text(SOURCE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_toy.py").write_text(TESTS)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n')
    monkeypatch.setattr(mutants, "EQUIVALENT", tmp_path)
    return tmp_path


def accept(folder: Path, *entries: tuple[str, str, str]) -> None:
    """Lists mutants of the toy as equivalent."""
    lines = [
        f"[[mutant]]\nfile = 'toy.py'\nfunction = '{function}'\nbefore = '{before}'\nafter = '{after}'\nreason = 'x'"
        for function, before, after in entries
    ]
    (folder / "toy.toml").write_text("\n".join(lines))


def test_the_right_faults_survive(toy: Path) -> None:
    """All faults of the toy: a loop without end is stopped, an import that fails counts, the survivors are these."""
    accept(toy, ("unused", "return x + 1", "return x - 1"))
    tally = try_room(ROOM, [MutatedFile("toy.py", toy)], 1000, 0, toy)
    survivors = {re.sub(r"^survived(, for no test runs it)?: toy.py:\d+ in ", "", line) for line in tally.survivors}
    assert survivors == {
        "clipped: if x > top:  ->  if x >= top:",
        "close: return abs(x) <= SMALL  ->  return abs(x) < SMALL",
        "<module>: SMALL = 1e-6  ->  SMALL = 0.001",
        "unused: return x + 1  ->  return x + 2",
        "unused: return x + 1  ->  return x + 0",
    }
    assert sum("no test runs it" in line for line in tally.survivors) == 2
    assert tally.equivalent == 1
    assert not tally.failures
    assert tally.tried + tally.equivalent == tally.total
    assert tally.killed == tally.total - 6 > 12


def test_a_bar_that_is_missed_and_a_wrong_excuse_are_failures(toy: Path) -> None:
    accept(toy, ("steps", "done += 1", "done -= 1"))
    line = f"toy.py:{1 + SOURCE.splitlines().index('        done += 1')}"
    tally = try_room(ROOM, [MutatedFile("toy.py", toy)], 1000, 0, toy, line)
    assert [failure.partition(":")[0] for failure in tally.failures] == ["listed as equivalent, but tests/test_toy.py"]
    (toy / "tests" / "test_toy.py").write_text("def test_nothing():\n    import toy\n")
    accept(toy)
    tally = try_room(ROOM, [MutatedFile("toy.py", toy)], 1000, 0, toy, line)
    assert tally.killed == 0
    assert "0 of 3 killed, 0.0% (bar 50%" in tally.failures[0]


def test_a_list_of_equivalent_mutants_that_has_gone_stale_stops_the_campaign(toy: Path) -> None:
    accept(
        toy,
        ("steps", "done += 1", "done += 7"),
        ("gone", "done += 1", "done -= 1"),
        ("steps", "done += 1", "done -= 1"),
    )
    tally = try_room(ROOM, [MutatedFile("toy.py", toy)], 5, 0, toy)
    assert tally.failures == [
        "toy.toml: no mutant of toy.py in steps is done += 1  ->  done += 7; remove the entry",
        "toy.toml: no mutant of toy.py in gone is done += 1  ->  done -= 1; remove the entry",
    ]
    assert tally.tried == 0


def test_tests_that_fail_anyway_kill_nothing(toy: Path) -> None:
    (toy / "tests" / "test_toy.py").write_text("def test_no():\n    assert False\n")
    tally = try_room(ROOM, [MutatedFile("toy.py", toy)], 5, 0, toy)
    assert tally.failures == ["toy: tests/test_toy.py::test_no fails without any fault"]
    assert tally.tried == 0


@pytest.mark.parametrize("name", ["LooserTolerance", "OtherExtreme", "OtherAssignment", "NotDone"])
def test_our_operators_do_what_their_examples_say(name: str, tmp_path: Path) -> None:
    for example in OPERATORS[name].examples():
        (tmp_path / "example.py").write_text(example.pre_mutation_code)
        file = MutatedFile("example.py", tmp_path)
        made = [file.mutant(place) for place in file.places if place.operator == name]
        assert [mutant.source for mutant in made if mutant is not None] == [example.post_mutation_code]


EVERYTHING = """
for i in x:
    if a + b - c * d / e**f % g // h << i >> j | k & l ^ m:
        continue
    if a == b != c < d <= e > f >= g and h or not i is j is not k:
        break
while True:
    try:
        x += -(~1e-9)
    except E:
        f(False, all(x))
"""


def test_every_operator_plants_something(tmp_path: Path) -> None:
    """An operator that finds nothing would make everything look well tested."""
    (tmp_path / "everything.py").write_text(EVERYTHING)
    file = MutatedFile("everything.py", tmp_path)
    assert {place.operator for place in file.places if file.mutant(place) is not None} == set(OPERATORS)


def test_annotations_and_protocols_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(SOURCE)
    file = MutatedFile("toy.py", tmp_path)
    made = [mutant for mutant in map(file.mutant, file.places) if mutant is not None]
    assert made
    assert all(mutant.before.count("|") == mutant.after.count("|") for mutant in made)
    assert {mutant.function for mutant in made} == {"<module>", "clipped", "steps", "close", "unused"}


def test_rooms_name_files_that_exist_and_reasons_are_given() -> None:
    for room in ROOMS:
        assert matching(room.sources, ROOT)
        assert matching(room.tests, ROOT)
        assert all(len(reason.split()) > 3 for reason in mutants.accepted_survivors(room).values())
    known = {room.name for room in ROOMS}
    assert {path.stem for path in mutants.EQUIVALENT.glob("*.toml")} <= known
    with pytest.raises(AssertionError, match="no file matches"):
        matching(["nowhere/*.py"], ROOT)


def test_samples_are_dealt_in_proportion() -> None:
    assert shares(10**6, [5, 50, 500]) == [5, 50, 500]
    assert shares(2, [5, 50, 500]) == [1, 1, 0]
    dealt = shares(111, [5, 50, 500])
    assert sum(dealt) == 111
    assert dealt == [1, 10, 100]


def test_the_interval_is_that_of_the_binomial() -> None:
    """Bounds by their definition: at the lower end as many as seen, or more, have probability 2.5 %."""
    from scipy.stats import binom

    low, high = interval(Tally(1000, killed=50, survivors=["s"] * 10))
    assert binom.sf(49, 60, low) == pytest.approx(0.025)
    assert binom.cdf(50, 60, high) == pytest.approx(0.025)
    assert interval(Tally(1000, killed=60))[1] == 1
    assert interval(Tally(1000, survivors=["s"]))[0] == 0
    assert interval(Tally(61, killed=50, survivors=["s"] * 10, equivalent=1)) == (50 / 60, 50 / 60)


def test_places_in_a_file_are_told_by_lines() -> None:
    assert difference("a\n  b\nc\n", "a\n  d\nc\n") == (2, "b", "d")
    assert difference("a\nb\nc\n", "a\npass\n") == (2, "b / c", "pass")
    text = dedent(
        """
        def f(x):
            if (x and
                    y):
                return [
                    1,
                ]
        """
    )
    tree = ast.parse(text)
    assert [statement(tree, line) for line in (2, 3, 4, 5, 6, 7)] == [(2, 2), (3, 4), (3, 4), *[(5, 7)] * 3]


def test_the_survey_is_plain_json(toy: Path) -> None:
    with mutants.Nursery(toy) as nursery:
        found = nursery.ask(do="survey", sources=["toy.py"], tests=["tests/test_toy.py"], seconds=60)
    assert json.loads(json.dumps(found)) == found
    assert found["tests"] == [f"tests/test_toy.py::test_{name}" for name in ("clipped", "steps", "close")]
    line = str(1 + SOURCE.splitlines().index("        done += 1"))
    assert found["lines"]["toy.py"][line] == [1]


def test_stopping_a_run_stops_the_tests_of_the_mutant_as_well(toy: Path) -> None:
    """Ctrl-C in the middle of a test that would sleep for an hour: nothing goes on behind the caller's back."""
    (toy / "tests" / "test_toy.py").write_text(
        "import os, time\nfrom pathlib import Path\n\ndef test_long():\n"
        "    Path('started').write_text(str(os.getpid()))\n    time.sleep(3600)\n"
    )
    nursery = mutants.Nursery(toy)
    assert nursery.process.stdin is not None
    order = {"do": "survey", "sources": ["toy.py"], "tests": ["tests/test_toy.py"], "seconds": 3600}
    nursery.process.stdin.write(json.dumps(order) + "\n")
    nursery.process.stdin.flush()
    started = toy / "started"
    while not (started.exists() and started.read_text()):
        threading.Event().wait(0.05)
    nursery.__exit__(None, None, None)
    assert any(gone(int(started.read_text())) for _ in range(200))


def gone(process: int) -> bool:
    """Whether a process is gone, which a killed one is once the system has reaped it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    threading.Event().wait(0.05)
    return False
