"""Faults planted one at a time in our own code: does a test of the room fail?

A *mutant* is a source file with one small fault (`_mutants.py`).  It is killed if one of the room's own tests fails,
cannot be collected, or runs into its limit of processor time; it survives if all of them pass.  What survives shows
what the tests do not notice, or means the same as the file: such mutants are listed in `equivalent/ROOM.toml` with the
reason, and count for neither side.  A full run takes hours; `--scale` draws a sample, and the counts are then an
estimate.

    python -m validation.attack.mutants drift --count 60 --seed 1                  a sample of one room
    python -m validation.attack.mutants drift --line exact_unlearn/drift.py:120    every mutant of a line
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .campaign import Outcome

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).parent / "equivalent"

TITLE = "faults planted in our own code that no test of the room notices"
FULL = 5_000  # more than there are, so that a full run tries every one
QUICK = 1  # tests/validation/test_mutants.py tests the machine; a room's tests take long


@dataclass(frozen=True)
class Room:
    """Files under test and the tests that answer for them, as patterns from the root; the part that must be killed."""

    name: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]
    bar: float = 0.85


ROOMS = (  # those with the quickest tests first
    Room(
        "problem",
        ("exact_unlearn/problem.py", "exact_unlearn/masks.py"),
        ("tests/test_problem*.py", "tests/test_modules.py", "tests/test_at_least_problem.py"),
    ),
    Room("closed_form", ("exact_unlearn/closed_form.py",), ("tests/test_closed_form*.py",)),
    Room("program", ("exact_unlearn/program.py",), ("tests/test_program*.py",)),
    Room("drift", ("exact_unlearn/drift.py",), ("tests/test_drift*.py",)),
    Room(
        "regularizers",
        ("exact_unlearn/regularizers/*.py",),
        ("tests/test_regularizers*.py", "tests/test_structured*.py", "tests/test_prox*.py"),
    ),
    Room("reference", ("exact_unlearn/reference/*.py",), ("tests/test_reference*.py", "tests/test_labels.py")),
    Room(
        "forms",
        ("exact_unlearn/forms/*.py",),
        ("tests/test_forms.py", "tests/test_laws.py", "tests/test_regularizers*.py"),
    ),
    Room(
        "checker",
        ("exact_unlearn/certify/checker.py",),
        ("tests/test_checker*.py", "tests/test_certify_forms.py", "tests/test_at_least_checker.py"),
        bar=0.95,
    ),
    Room("local", ("exact_unlearn/local/checker.py",), ("tests/test_local_checker*.py", "tests/test_local.py")),
)


@dataclass
class Tally:
    """What came of the mutants of a room."""

    total: int
    killed: int = 0
    survivors: list[str] = field(default_factory=list)
    equivalent: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Mutants that count: those that are not known to mean the same."""
        return self.killed + len(self.survivors)


def run(count: int, seed: int) -> Outcome:
    """Tries `count` mutants: a sample of every room in proportion to its size, or all if there are no more."""
    rooms = [(room, mutated_files(room, ROOT)) for room in ROOMS]
    dealt = shares(count, [sum(len(file.places) for file in files) for _, files in rooms])
    chosen = [(room, files, share) for (room, files), share in zip(rooms, dealt, strict=True) if share]
    # The work is done by processes of their own, so that threads are enough to run the rooms side by side.
    with ThreadPoolExecutor(min(len(chosen), os.cpu_count() or 1)) as pool:
        tallies = list(pool.map(lambda job: try_room(job[0], job[1], job[2], seed, ROOT), chosen))
    tried, failures, notes = 0, [], []
    for (room, _, _), tally in zip(chosen, tallies, strict=True):
        tried += tally.tried + tally.equivalent
        notes += [in_words(room, tally), *tally.survivors]
        failures += tally.failures
    return Outcome(tried, tuple(failures), tuple(notes))


def shares(count: int, sizes: Sequence[int]) -> list[int]:
    """`count` dealt out in proportion to the sizes, never more than a size, at least one each as far as it reaches."""
    total = sum(sizes)
    if count >= total:
        return list(sizes)
    if count < len(sizes):
        return [int(i < count) for i in range(len(sizes))]
    dealt = [max(1, count * size // total) for size in sizes]
    for i in sorted(range(len(sizes)), key=lambda i: dealt[i] / sizes[i]):
        if sum(dealt) < count:
            dealt[i] += 1
    return dealt


def mutated_files(room: Room, root: Path) -> list[Any]:
    """The files of a room, ready to be mutated."""
    from ._mutants import MutatedFile  # the library, which is in the extra `attack`

    return [MutatedFile(path, root) for path in matching(room.sources, root)]


def matching(patterns: Sequence[str], root: Path) -> list[str]:
    """Files from the root, sorted; a pattern that matches none is a mistake."""
    found: list[str] = []
    for pattern in patterns:
        paths = sorted(str(path.relative_to(root)) for path in root.glob(pattern))
        assert paths, f"no file matches {pattern}"
        found += paths
    return found


def try_room(room: Room, files: Sequence[Any], count: int, seed: int, root: Path, line: str = "") -> Tally:
    """Tries a sample of the mutants of a room, or those of one line `file:number`."""
    places = [(file, place) for file in files for place in file.places if line in ("", f"{file.file}:{place.line}")]
    if not line:
        random.Random(f"{room.name} {seed}").shuffle(places)
    tally = Tally(len(places))
    accepted = accepted_survivors(room)
    tally.failures += stale(room, files, accepted)
    if tally.failures:
        return tally
    with Nursery(root) as nursery:
        tests = Tests(nursery, matching(room.sources, root), matching(room.tests, root))
        tally.failures += [f"{room.name}: {test} fails without any fault" for test in tests.failing(files[0])]
        if tally.failures:
            return tally
        for file, place in places:
            if tally.tried + tally.equivalent >= count:
                break
            mutant = file.mutant(place)
            if mutant is None:
                tally.total -= 1
            else:
                record(tally, mutant, tests.killer(mutant, file), tests.reached(mutant, file), mutant.key in accepted)
    if interval(tally)[1] < room.bar:
        tally.failures.append(f"{in_words(room, tally)}; python -m validation.attack.mutants {room.name} --seed {seed}")
    return tally


def record(tally: Tally, mutant: Any, killer: str | None, reached: bool, accepted: bool) -> None:
    """Counts one mutant."""
    if accepted:
        tally.equivalent += 1
        if killer is not None:
            tally.failures.append(f"listed as equivalent, but {killer} kills it: {mutant}")
    elif killer is not None:
        tally.killed += 1
    else:
        tally.survivors.append(("survived: " if reached else "survived, for no test runs it: ") + str(mutant))
        # Long runs tell what they find.
        print(f"{tally.killed} of {tally.tried} killed; {tally.survivors[-1]}", file=sys.stderr, flush=True)


def interval(tally: Tally) -> tuple[float, float]:
    """Where the part that all mutants of the room would show lies, with 95 % confidence (Clopper and Pearson).

    Where every mutant was tried it is the part that was killed.
    """
    n, k = tally.tried, tally.killed
    if n + tally.equivalent >= tally.total:
        return (k / n, k / n) if n else (1.0, 1.0)
    from scipy.special import betaincinv

    low = float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0
    return low, float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0


def in_words(room: Room, tally: Tally) -> str:
    """One line."""
    low, high = interval(tally)
    part = f"{tally.killed / tally.tried:.1%}" if tally.tried else "none"
    sampled = "all tried" if low == high else f"95 % interval {low:.1%} to {high:.1%}; {tally.total} in all"
    same = f", {tally.equivalent} equivalent" if tally.equivalent else ""
    return f"{room.name}: {tally.killed} of {tally.tried} killed, {part} (bar {room.bar:.0%}; {sampled}){same}"


# ---------------------------------------------------------------- survivors that mean the same

Key = tuple[str, str, str, str]


def accepted_survivors(room: Room) -> dict[Key, str]:
    """(file, function, line before, line after) -> the reason why the mutant means the same as the file."""
    path = EQUIVALENT / f"{room.name}.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", []) if path.exists() else []
    return {(e["file"], e["function"], e["before"], e["after"]): e["reason"] for e in entries}


def stale(room: Room, files: Sequence[Any], accepted: dict[Key, str]) -> Iterator[str]:
    """Entries that no mutant of today has."""
    by_name = {file.file: file for file in files}
    for key in accepted:
        file, function, before, after = key
        possible = by_name[file].mutants_at(function, before) if file in by_name else []
        if key not in {mutant.key for mutant in possible}:
            yield f"{room.name}.toml: no mutant of {file} in {function} is {before}  ->  {after}; remove the entry"


# ---------------------------------------------------------------- the tests of a room


class Nursery:
    """The process that forks for every mutant (`_nursery.py`)."""

    def __init__(self, root: Path) -> None:
        # The program lies in this package; the code under test in `root`, which may be elsewhere (in a test).
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(root), str(ROOT)))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "validation.attack._nursery"],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """One order and its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the nursery died with status {self.process.wait()}")
        return dict(json.loads(line))

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.process.terminate()
        self.process.communicate()


class Tests:
    """The tests of some sources: which of them run which lines, and which one kills a mutant."""

    def __init__(self, nursery: Nursery, sources: Sequence[str], tests: Sequence[str]) -> None:
        self.nursery, self.files = nursery, tests
        found = nursery.ask(do="survey", sources=sources, tests=tests, seconds=3600)
        if "died" in found:
            raise RuntimeError(f"the tests died with status {found['died']} in {found['test']}")
        self.seconds: dict[str, float] = dict(zip(found["tests"], found["seconds"], strict=True))
        self.lines: dict[str, dict[str, list[int]]] = found["lines"]
        self.failed: list[str] = found["failed"] or ([] if found["status"] == 0 else ["the collection of its tests"])
        # A test hangs if it takes ten times the processor time that it took while it was traced.
        self.limits = {test: 2 + 10 * seconds for test, seconds in self.seconds.items()}

    def failing(self, file: Any) -> list[str]:
        """Tests that fail without a fault: as they stand, or in the order and by the machine of the mutants."""
        if self.failed:
            return self.failed
        killer = self.verdict(file.file, file.source, range(len(self.seconds)))
        return [killer] if killer else []

    def who_runs(self, mutant: Any, file: Any) -> set[int]:
        """Numbers of the tests that run the statement in which the fault lies; -1 for the import."""
        first, last = statement(file.tree, mutant.line)
        return {test for line in range(first, last + 1) for test in self.lines[mutant.file].get(str(line), ())}

    def reached(self, mutant: Any, file: Any) -> bool:
        """Whether any test, or the import, runs the statement."""
        return bool(self.who_runs(mutant, file))

    def killer(self, mutant: Any, file: Any) -> str | None:
        """The test that kills a mutant, or None."""
        running = self.who_runs(mutant, file)
        return self.verdict(mutant.file, mutant.source, running) if running else None

    def verdict(self, file: str, source: str, running: Collection[int]) -> str | None:
        """The first test that fails with `source` in place of `file`: those `running` it first, quick ones first."""
        names = list(self.seconds)
        order = sorted(range(len(names)), key=lambda i: (i not in running, self.seconds[names[i]]))
        answer = self.nursery.ask(
            do="try",
            module=file.removesuffix(".py").removesuffix("/__init__").replace("/", "."),
            source=source,
            tests=self.files,
            first=[names[i] for i in order],
            limits=self.limits,
            seconds=120 + 20 * sum(self.seconds.values()),
        )
        if "died" in answer:
            return f"{answer['test'] or 'the import'} (stopped by signal {answer['died'] & 127})"
        if answer["status"] == 5:
            raise RuntimeError(f"no tests were collected from {', '.join(self.files)}")
        return None if answer["status"] == 0 else (answer["failed"] or ["the import"])[0]


def statement(tree: ast.AST, line: int) -> tuple[int, int]:
    """First and last line of the innermost statement around a line; of a compound one, its header."""
    headers = [(line, line)]
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1 if body else node.end_lineno or 0)
            if node.lineno <= line <= last:
                headers.append((node.lineno, last))
    return max(headers[1:], default=headers[0])


# ---------------------------------------------------------------- one room


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of one room."""
    parser = argparse.ArgumentParser(prog="python -m validation.attack.mutants", description=TITLE)
    parser.add_argument("room", choices=[room.name for room in ROOMS])
    parser.add_argument("--count", type=int, default=FULL, help="how many mutants to try (default all)")
    parser.add_argument("--seed", type=int, default=0, help="another sample")
    parser.add_argument("--line", default="", metavar="FILE:LINE", help="only the mutants of a line")
    options = parser.parse_args(arguments)
    (room,) = (room for room in ROOMS if room.name == options.room)
    tally = try_room(room, mutated_files(room, ROOT), options.count, options.seed, ROOT, options.line)
    for text in [*tally.survivors, *tally.failures, in_words(room, tally)]:
        print(text)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
