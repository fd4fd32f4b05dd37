"""Ctrl-C at random moments: the command stops within seconds, exits 130 with one sentence and leaves no process behind;
nothing that it was still measuring is on disk.

One attempt alone: python -c "from validation.attack.interrupts import attempt; print(attempt(17, seed=0))"
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exact_unlearn import codec, sweep
from exact_unlearn.errors import FileFormatError

from .campaign import Outcome

# Under the name by which worker processes import them.
registry = importlib.import_module("exact_unlearn._validation.registry")
runner = importlib.import_module("exact_unlearn._validation.runner")

TITLE = "Ctrl-C at random moments over theorems, experiment, bench, audit, crosscheck and fixtures"
FULL = 100

ROOT = Path(__file__).resolve().parents[2]

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("theorems", "theorem-1", "lemma-1", "theorem-3", "--full", "-o", "out", "--jobs", "1"),
    ("crosscheck", "--json", "report.json"),
    ("experiment", "data-poisoning", "--quick", "--folder", "out", "--jobs", "1", "--json", "report.json"),
    ("fixtures", "generate", "-o", "out"),
    ("audit", "--methods", "ours", "-o", "out", "--json", "report.json"),
    ("bench", "norms", "-o", "out", "--json", "report.json"),
    ("theorems", "theorem-5", "lemma-6", "appendix-e", "--full", "-o", "out", "--jobs", "2"),
    ("experiment", "data-poisoning", "--quick", "--folder", "out", "--jobs", "2", "--json", "report.json"),
    ("audit", "forgetful.py:forget", "--json", "report.json", "--html", "report.html"),
    ("experiment", "solver-lies", "--output", "out", "--json", "report.json"),
)

LATEST = 14.0
"""Seconds after its start until which a command is interrupted: loading torch and CVXPY is a part of the story."""

PATIENCE = 30.0
"""Seconds in which it must have stopped, on a busy machine; the largest and the median are told."""

VICTIM = """
def forget(module, retain, forget):
    return module
"""


@dataclass(frozen=True)
class Attempt:
    """What one interrupted command did: faults, the seconds until it was gone, and whether it had begun at all."""

    faults: tuple[str, ...]
    seconds: float
    began: bool
    what: str


def run(count: int, seed: int) -> Outcome:
    """Interrupts, `count` of them, over all commands in turn."""
    attempts = [attempt(i, seed) for i in range(count)]
    lines = [
        f"attempt {i} of seed {seed} ({one.what}): {'; '.join(one.faults)}"
        for i, one in enumerate(attempts)
        if one.faults
    ]
    seconds = sorted(one.seconds for one in attempts)
    early = sum(not one.began for one in attempts)
    return Outcome(
        count,
        tuple(lines),
        (
            f"seconds until it was gone: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}",
            f"{early} of {count} came before Python had loaded the command (which then ends by the signal itself)",
        ),
    )


def attempt(index: int, seed: int) -> Attempt:
    """Start a command, interrupt it, look at what it did; earlier if it was over before that."""
    rng = np.random.default_rng([seed, index])
    command = COMMANDS[index % len(COMMANDS)]
    delay, everybody = float(rng.uniform(0.05, LATEST)), bool(rng.integers(2))
    while True:
        with tempfile.TemporaryDirectory(prefix="interrupts-") as name:
            found = _interrupted(command, Path(name), delay, everybody, rng)
        if found is not None:
            return found
        delay /= 2


def _interrupted(
    command: Sequence[str], folder: Path, delay: float, everybody: bool, rng: np.random.Generator
) -> Attempt | None:
    """None if the command was over before."""
    (folder / "forgetful.py").write_text(VICTIM)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    process = subprocess.Popen(
        [sys.executable, "-m", "exact_unlearn", *command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # a shell starts what it leaves in the background with interrupts ignored, and that is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.communicate()), daemon=True)
    reader.start()
    reader.join(delay)
    if process.poll() is not None:
        return None
    with suppress(ProcessLookupError):
        (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
    sent = time.monotonic()
    reader.join(PATIENCE)
    seconds = time.monotonic() - sent
    faults = [] if not reader.is_alive() else [f"still there after {PATIENCE:g} s"]
    left = not _group_ends(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    reader.join()
    began = process.returncode != -signal.SIGINT
    if left and not faults:
        faults.append("it leaves processes behind")
    if began and process.returncode != 130:
        faults.append(f"exit status {process.returncode}")
    if began and "exact-unlearn: interrupted" not in said[1].splitlines():  # libraries may warn after it
        faults.append(f"it ends with {said[1][-300:]!r}")
    if began and "Traceback" in said[1]:
        faults.append(f"a traceback: {said[1][:600]!r}")
    faults += _remains(folder, rng)
    what = f"{' '.join(command)}, after {delay:.2f} s, to {'the whole group' if everybody else 'the command alone'}"
    return Attempt(tuple(faults), seconds, began, what)


def _group_ends(group: int) -> bool:
    """Whether no process of the group is left after some patience."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        threading.Event().wait(0.05)
    return False


def _remains(folder: Path, rng: np.random.Generator) -> list[str]:
    """Faults of what lies in the folder: only whole cells may, and they hold what was measured."""
    faults = []
    results = {f"{cell.name}.json": cell for cell in runner.plan(registry.RESULTS, full=True)}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    known = [path for path in files if path.parent.name == "cells"]
    for path in files:
        place = path.relative_to(folder).as_posix()
        if path.suffix == ".npz" and path.parent.name == "out":
            with_fault = _unreadable(path)
            faults += [f"{place}: {with_fault}"] if with_fault else []
        elif path not in known and path.name != "forgetful.py" and path.parent.name not in ("locks", "__pycache__"):
            faults.append(f"{place} was written")
    for path in rng.permutation(np.array(known, dtype=object))[:1] if known else ():
        cell = results[path.name]
        claim = runner.claim_of(registry.RESULTS, cell)
        if runner.load_or_measure(claim, cell, path.parent) != runner.measure_cell(claim, cell):
            faults.append(f"{path.name} holds what was not measured")
    return faults


def _unreadable(path: Path) -> str:
    try:
        codec.load_object(path, sweep.SCHEMA)
    except FileFormatError as error:
        return str(error)
    return ""
