"""The harness: one process per measurement, sides interleaved, medians of what each reports.

A side is a function that takes the data of a case and returns (seconds, result): it does its own timing, so
that making the data and importing libraries are not counted, and everything else is.  Nothing is shared between
sides: libraries with thread pools of their own slow each other down by factors when they live in one process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from exact_unlearn import interrupts

PACKAGE = "exact_unlearn._validation.benchmarks"

WALL = 20.0
"""Seconds on the clock, per second of processor time allowed, after which a measurement is given up."""

LIMIT = "EXACT_UNLEARN_BENCH_LIMIT"
"""The environment variable that holds the processor time allowed, in seconds."""

Say = Callable[[str], None]


def _over(a: float, b: float) -> float:
    """a / b, nan where the clock was too coarse for b."""
    return a / b if b else math.nan


@dataclass(frozen=True)
class Side:
    """One competitor.  needs: modules without which it is listed as missing; limit: seconds of processor time after
    which it is stopped, so that a busy machine stops nobody early; once: too slow to be measured more than one time;
    only: beginnings of the labels of the cases that it takes, () for all.
    """

    name: str
    needs: tuple[str, ...] = ()
    limit: float = 300.0
    once: bool = False
    only: tuple[str, ...] = ()

    def takes(self, case: str) -> bool:
        return not self.only or case.startswith(self.only)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)


@dataclass(frozen=True)
class Bench:
    """One table.

    name: its module is bench_<name>.py, which has `run(side, case) -> dict` with "seconds" and "error".  ours:
    the side that ratios refer to.  cases: labels with the parameters that make them.  reached: an error above
    this does not count as an answer.  cuda: the sides run on a GPU, too.
    """

    name: str
    title: str
    ours: str
    sides: tuple[Side, ...]
    cases: Mapping[str, Mapping[str, Any]]
    reached: float = 1e-6
    quick: tuple[str, ...] = ()
    cuda: bool = False


@dataclass(frozen=True)
class Cell:
    """One side on one case: every measurement, or why there is none."""

    bench: str
    case: str
    side: str
    seconds: tuple[float, ...] = ()
    cpu: float = math.nan
    error: float = math.nan
    memory: float = math.nan
    read: float = math.nan
    note: str = ""
    stopped: float = math.nan

    @property
    def median(self) -> float:
        return statistics.median(self.seconds) if self.seconds else math.nan

    @property
    def spread(self) -> float:
        """Slowest over fastest: how much the machine was doing besides."""
        return _over(max(self.seconds), min(self.seconds)) if self.seconds else math.nan


@dataclass(frozen=True)
class Table:
    """All cells of one bench."""

    bench: Bench
    cells: tuple[Cell, ...] = field(default_factory=tuple)

    def cell(self, case: str, side: str) -> Cell:
        """The cell, an empty one if it was not measured."""
        mine = (cell for cell in self.cells if cell.case == case and cell.side == side)
        return next(mine, Cell(self.bench.name, case, side))

    def ratio(self, case: str, side: str) -> float:
        """How many times longer than ours; nan where one of them has no answer."""
        cell = self.cell(case, side)
        return _over(cell.median, self.cell(case, self.bench.ours).median) if self.counts(cell) else math.nan

    @property
    def unmeasured(self) -> bool:
        """Whether a number of ours is missing, though nobody stopped it."""
        mine = [cell for cell in self.cells if cell.side == self.bench.ours]
        return any(not cell.seconds and math.isnan(cell.stopped) for cell in mine)

    def counts(self, cell: Cell) -> bool:
        return bool(cell.seconds) and cell.error <= self.bench.reached

    def best_peer(self, case: str) -> tuple[str, float]:
        """The fastest peer that reached the accuracy, and its ratio; ("none", nan) if no peer did."""
        ratios = {side.name: self.ratio(case, side.name) for side in self.bench.sides if side.name != self.bench.ours}
        known = {name: ratio for name, ratio in ratios.items() if math.isfinite(ratio)}
        return min(known.items(), key=lambda item: item[1]) if known else ("none", math.nan)

    def verdict(self, case: str) -> str:
        """The best peer that reached the accuracy, and how long those that were stopped took at least."""
        name, ratio = self.best_peer(case)
        cpu = self.cell(case, self.bench.ours).cpu
        words = f"best peer that reached {self.bench.reached:.0e}: {name}"
        if math.isfinite(ratio):
            theirs = self.cell(case, name).cpu
            words += f", {ratio:.1f} times ours ({_over(theirs, cpu):.1f} in processor time)"
        halted = [cell.stopped for cell in self.cells if cell.case == case and math.isfinite(cell.stopped)]
        if not halted:
            return words
        return f"{words}; stopped at {_over(min(halted), cpu):.0f} times ours or later: {len(halted)}"

    def text(self) -> str:
        """One line per case and side."""
        words = ("ms", "ratio", "cpu", "x read", "error", "MiB", "spread")
        head = f"{'case':26} {'side':20}" + "".join(f" {word:>8}" for word in words) + "  note"
        lines = [self.bench.title, head]
        for case in self.bench.cases:
            for side in self.bench.sides:
                mine = [cell for cell in self.cells if cell.case == case and cell.side == side.name]
                lines += [self._line(cell) for cell in mine]
            if any(cell.case == case for cell in self.cells):
                lines.append(f"{case:28} {self.verdict(case)}")
        return "\n".join(lines)

    def _line(self, cell: Cell) -> str:
        ours = self.cell(cell.case, self.bench.ours)
        reads = _over(cell.median, cell.read)
        return (
            f"{cell.case:26} {cell.side:20} {1e3 * cell.median:8.1f} {_over(cell.median, ours.median):8.2f} "
            f"{_over(cell.cpu, ours.cpu):8.2f} {reads:8.1f} {cell.error:8.0e} {cell.memory:8.0f} "
            f"{cell.spread:8.2f}  {cell.note}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "bench": self.bench.name,
            "title": self.bench.title,
            "cells": [asdict(cell) | {"median": cell.median, "spread": cell.spread} for cell in self.cells],
        }


@dataclass(frozen=True)
class Timed:
    """Wall-clock and processor seconds of a call, and what it returned.  Where other work runs besides, compare
    processors.
    """

    seconds: float
    cpu: float
    result: Any


def timed(call: Callable[[], Any], wait: Callable[[], None] = lambda: None) -> Timed:
    """Run `call` once, within the processor time allowed; `wait` returns when what it started is done."""
    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    limit = os.environ.get(LIMIT)
    with _allowed(None if limit is None else math.ceil(cpu + float(limit))):
        result = call()
        wait()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu, result)


@contextmanager
def _allowed(seconds: int | None) -> Iterator[None]:
    """SIGXCPU when this process has used so many seconds of processor time since it began."""
    before = resource.getrlimit(resource.RLIMIT_CPU)
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, before)


def load(name: str) -> Any:
    """The module of a bench."""
    return importlib.import_module(f"{PACKAGE}.bench_{name}")


def synchronise(device: str) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def measure(bench: Bench, cases: Iterable[str], repeats: int, say: Say, device: str = "cpu") -> Table:
    """Run every side on every case, `repeats` times in turn; the first round warms nothing up, for processes
    are new.
    """
    cells: list[Cell] = []
    for case in cases:
        found: dict[str, list[dict[str, Any]]] = {side.name: [] for side in bench.sides}
        notes: dict[str, str] = {}
        stopped: dict[str, float] = {}
        sides = [side for side in bench.sides if side.takes(case)]
        for turn in range(repeats):
            for side in sides:
                if side.missing:
                    notes[side.name] = f"not installed: {', '.join(side.missing)}"
                elif side.name not in notes and not (side.once and turn):
                    say(f"{bench.name}: {case}, {side.name}, round {turn + 1} of {1 if side.once else repeats}")
                    answer = one(bench.name, side, {**bench.cases[case], "device": device})
                    if "failed" in answer:
                        notes[side.name] = str(answer["failed"])
                        stopped[side.name] = float(answer.get("stopped", math.nan))
                    else:
                        found[side.name].append(answer)
        cells += [
            replace(
                _cell(bench.name, case, side.name, found[side.name], notes.get(side.name, "")),
                stopped=stopped.get(side.name, math.nan),
            )
            for side in sides
        ]
    return Table(bench, tuple(cells))


def _cell(bench: str, case: str, side: str, answers: Sequence[dict[str, Any]], note: str) -> Cell:
    if not answers:
        return Cell(bench, case, side, note=note)
    return Cell(
        bench,
        case,
        side,
        tuple(float(answer["seconds"]) for answer in answers),
        statistics.median(float(answer.get("cpu", math.nan)) for answer in answers),
        max(float(answer["error"]) for answer in answers),
        max(float(answer["memory"]) for answer in answers),
        min(float(answer.get("read", math.nan)) for answer in answers),
        note or str(answers[-1].get("note", "")),
    )


def one(bench: str, side: Side, case: Mapping[str, Any]) -> dict[str, Any]:
    """One measurement in a process of its own."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", f"{PACKAGE}.worker", bench, side.name, json.dumps(dict(case)), str(side.limit)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WALL * side.limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {WALL * side.limit:g} s on the clock"}
    if done.returncode == -signal.SIGXCPU:
        return {"failed": f"stopped after {side.limit:g} s", "stopped": side.limit}
    if done.returncode == -signal.SIGINT:  # a terminal sends Ctrl-C to both of us
        raise KeyboardInterrupt
    interrupts.check()
    if done.returncode < 0:
        return {"failed": f"killed by {signal.Signals(-done.returncode).name}, perhaps for lack of memory"}
    if done.returncode:
        return {"failed": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:100]}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def draw(tables: Sequence[Table], path: Any) -> None:
    """Bars of time over ours, one panel per table, on a logarithmic axis; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(tables), figsize=(5.0 * len(tables), 4.0), squeeze=False, layout="constrained")
    for axis, table in zip(axes[0], tables, strict=True):
        cases = [case for case in table.bench.cases if any(cell.case == case for cell in table.cells)]
        sides = [side.name for side in table.bench.sides]
        for position, side in enumerate(sides):
            heights = [table.ratio(case, side) for case in cases]
            axis.bar(
                [i + 0.8 * position / len(sides) for i in range(len(cases))], heights, 0.8 / len(sides), label=side
            )
        axis.set_yscale("log")
        axis.set_xticks([i + 0.4 for i in range(len(cases))], cases, rotation=30, ha="right", fontsize=7)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_title(table.bench.title, fontsize=9)
        axis.set_ylabel("time over ours")
        axis.legend(fontsize=6)
    figure.savefig(path, dpi=150)
    plt.close(figure)
