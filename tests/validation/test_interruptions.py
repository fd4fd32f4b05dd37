"""A run of the theorems may end at any moment: by Ctrl-C, by SIGKILL, by a full disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from exact_unlearn._validation.finding import equal

from exact_unlearn._validation import registry, runner, verify

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
"""Seconds after which a run that should have ended counts as hanging."""


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    """A full run with two workers, in a process group of its own, that has measured some cells already."""
    command = [sys.executable, "-m", "exact_unlearn", "theorems", "theorem-5", "--full", "--output", str(folder)]
    process = subprocess.Popen(
        [*command, "--jobs", "2", *options], cwd=ROOT, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob("cells/*.json"))) < 3:
        assert time.monotonic() < deadline
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended with status {process.wait(0.05)}: {process.stderr and process.stderr.read()}")
    return process


def group_is_gone(group: int) -> bool:
    """Whether no process of the group is left after some patience."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        os.sched_yield()
    return False


@pytest.mark.parametrize("everybody", [False, True], ids=["the run alone", "its workers as well"])
def test_an_interrupt_ends_run_and_workers_with_one_sentence(tmp_path: Path, everybody: bool) -> None:
    process = started(tmp_path, "--quiet")
    (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert said == "exact-unlearn: interrupted\n"
    assert process.returncode == 130
    assert group_is_gone(process.pid)


def test_a_killed_run_leaves_whole_cells_and_no_workers(tmp_path: Path) -> None:
    process = started(tmp_path, "--quiet")
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert group_is_gone(process.pid)
    cells = sorted((tmp_path / "cells").glob("*.json"))
    assert len(cells) >= 3
    results = registry.select(["theorem-5"])
    planned = {f"{cell.name}.json": cell for cell in runner.plan(results, full=True)}
    for path in cells[:4]:  # what another run would measure, and takes from here
        cell = planned[path.name]
        assert runner.load_or_measure(runner.claim_of(results, cell), cell, tmp_path / "cells") == runner.measure_cell(
            runner.claim_of(results, cell), cell
        )
        assert json.loads(path.read_text())["count"] == cell.count


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        runner.findings(registry.select(["d41"]), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_when_workers_are_killed_and_finds_the_same(tmp_path: Path) -> None:
    killed: list[int] = []
    others = {worker.pid for worker in multiprocessing.active_children()}  # of tests before this one

    def kill(done: int, *_: object) -> None:
        if done == 1 or (done == 5 and len(killed) == 1):
            killed.append(done)
            for worker in multiprocessing.active_children():
                if worker.pid not in others:
                    worker.kill()

    results = registry.select(["lemma-4"])
    found = verify.measure(results, False, tmp_path, 2, kill)
    assert killed == [1, 5]
    assert found == verify.measure(results, False, None, 1)


def test_a_cell_whose_process_always_dies_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell after the second kills its process, also alone; a pool that yields nothing more stands for that."""
    plan = runner.plan(registry.select(["lemma-4"]), full=False)[:6]
    tried = []

    def pool(cells: Sequence[runner.Cell], place: str | None, jobs: int) -> Iterator[runner.CellResult]:
        tried.append(len(cells))
        for cell in cells:
            if cell == plan[2]:
                return
            yield runner.CellResult(equal(1, 1), "exact", cell.count)

    monkeypatch.setattr(verify, "_pool", pool)
    found = list(verify._over_processes(plan, None, 2))
    assert tried == [6, 1, 1, 2], "all, then each of the two in hand alone, then the rest"
    assert [outcome.unmeasured == 0 for outcome in found] == [True, True, False, True, True, True]
    assert "was killed" in found[2].message
