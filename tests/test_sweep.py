"""Cells: each is computed once, found again by content, and survives a kill at any moment."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest

from exact_unlearn import sweep
from exact_unlearn.errors import FileFormatError, ProblemError

ROOT = Path(__file__).resolve().parent.parent


def square(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    return {"value": np.array([parameters["x"] ** 2.0])}


def add_one(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    return {"value": inputs["base"]["value"] + parameters["step"]}


def refuse(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    raise ValueError("no")


def cells(count: int) -> list[sweep.Cell]:
    bases = [sweep.Cell("square", square, {"x": x}) for x in range(count)]
    return [sweep.Cell("add", add_one, {"step": 1.0}, {"base": base}) for base in bases]


def test_needs_come_first_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    assert sweep.run(cells(3), tmp_path) == 6
    assert [float(sweep.load(cell, tmp_path)["value"][0]) for cell in cells(3)] == [1.0, 2.0, 5.0]
    assert sweep.run(cells(3), tmp_path) == 0
    assert sweep.run(cells(4), tmp_path) == 2


def test_keys_tell_apart_whatever_determines_the_result() -> None:
    base = sweep.Cell("square", square, {"x": 1})
    keys = [
        base.key,
        sweep.Cell("square", square, {"x": 2}).key,
        sweep.Cell("square/2", square, {"x": 1}).key,
        sweep.Cell("add", add_one, {"step": 1.0}, {"base": base}).key,
        sweep.Cell("add", add_one, {"step": 1.0}, {"base": sweep.Cell("square", square, {"x": 2})}).key,
    ]
    assert len(set(keys)) == len(keys)
    assert sweep.Cell("square", square, {"x": 1}, weight=5.0).key == base.key
    assert sweep.Cell("p", square, {"a": 1, "b": 2}).key == sweep.Cell("p", square, {"b": 2, "a": 1}).key


def test_progress_counts_what_was_found_and_extrapolates(tmp_path: Path) -> None:
    sweep.run(cells(1), tmp_path)
    told: list[sweep.Progress] = []
    sweep.run(cells(3), tmp_path, progress=told.append)
    assert [p.done for p in told] == [2, 3, 4, 5, 6]
    assert all(p.total == 6 for p in told)
    assert told[0].remaining_seconds is None
    assert told[-1].remaining_seconds == 0
    assert str(told[-1]) == "6 of 6 cells"
    assert str(sweep.Progress(1, 4, 75.2)) == "1 of 4 cells, about 1 min 15 s left"


def test_failure_is_told_and_finished_cells_stay(tmp_path: Path) -> None:
    bad = sweep.Cell("refuse", refuse, {})
    with pytest.raises(ValueError, match="no"):
        sweep.run([*cells(2), bad, sweep.Cell("after", add_one, {"step": 1.0}, {"base": bad})], tmp_path)
    assert not sweep.is_present(bad, tmp_path)
    assert sweep.run(cells(2), tmp_path) == 2  # the squares were there


def test_files_of_other_cells_and_damaged_files_are_refused(tmp_path: Path) -> None:
    one, two = (sweep.Cell("square", square, {"x": x}) for x in (1, 2))
    sweep.run([one, two], tmp_path)
    two.path(tmp_path).write_bytes(one.path(tmp_path).read_bytes())
    with pytest.raises(FileFormatError, match="another cell than its name says; delete it, and the next run"):
        sweep.load(two, tmp_path)
    one.path(tmp_path).write_bytes(one.path(tmp_path).read_bytes()[:-30])
    with pytest.raises(FileFormatError, match="delete it"):
        sweep.load(one, tmp_path)
    with pytest.raises(FileFormatError):
        sweep.load(sweep.Cell("square", square, {"x": 3}), tmp_path)


def test_a_cell_that_another_process_computes_is_left_to_it(tmp_path: Path) -> None:
    cell = cells(1)[0].needs["base"]
    (tmp_path / "locks").mkdir()
    script = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('locked', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "locks" / cell.key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert sweep.execute(cell, tmp_path, block=False) == "busy"
        holder.kill()
    # The dead hold no locks.
    assert sweep.execute(cell, tmp_path, block=False) == "computed"
    assert sweep.execute(cell, tmp_path, block=False) == "present"


@pytest.mark.parametrize("parameters", [{"x": np.zeros(2)}, {"x": float("nan")}, {"x": {1, 2}}])
def test_parameters_are_plain_json(parameters: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match=r"parameters of cell 'p': expected plain JSON"):
        sweep.Cell("p", square, parameters)


def test_weights_are_positive() -> None:
    with pytest.raises(ProblemError, match="weight"):
        sweep.Cell("p", square, {}, weight=0.0)


# --- killed ---------------------------------------------------------------------------------------------------------

SCRIPT = '''
import os, sys
import numpy as np
from exact_unlearn import sweep

def work(parameters, inputs):
    """Something deterministic that takes a while; every start leaves a line."""
    with open(os.environ["STARTED"], "a") as log:
        log.write(f"{parameters['name']}\\n")
    start = inputs["base"]["matrix"] if "base" in inputs else np.eye(60) + parameters["seed"] / 1000
    matrix = start
    for _ in range(300):
        matrix = np.linalg.qr(matrix + np.sin(start))[0]
    return {"matrix": matrix}

bases = [sweep.Cell("base", work, {"name": f"base {s}", "seed": s}) for s in range(4)]
cells = [sweep.Cell("work", work, {"name": f"work {s} {k}", "seed": s, "k": k}, {"base": bases[s]}) for s in range(4)
         for k in range(3)]
sweep.run(cells, sys.argv[1], jobs=int(sys.argv[2]), progress=lambda p: print(p.done, flush=True))
'''


def start_run(folder: Path, log: Path, script: Path, jobs: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "STARTED": str(log), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(folder), str(jobs)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def names_of(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.npz")}


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_three_times_the_results_are_byte_identical_and_no_finished_cell_ran_again(
    tmp_path: Path, jobs: int
) -> None:
    script, quiet, killed = tmp_path / "script.py", tmp_path / "quiet", tmp_path / "killed"
    script.write_text(SCRIPT)
    with start_run(quiet, tmp_path / "quiet.log", script, jobs) as process:
        process.communicate()
    assert process.returncode == 0
    assert Counter((tmp_path / "quiet.log").read_text().split("\n")[:-1]).most_common(1)[0][1] == 1

    log, draw = tmp_path / "killed.log", random.Random(jobs)
    log.touch()
    for moment in sorted(draw.sample(range(1, 15), 3)):
        with start_run(killed, log, script, jobs) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= moment:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        assert not [p for p in killed.glob("*.npz") if p.stat().st_size == 0]
    with start_run(killed, log, script, jobs) as process:
        process.communicate()
    assert process.returncode == 0

    assert names_of(killed) == names_of(quiet)
    assert len(names_of(killed)) == 16
    for path in quiet.glob("*.npz"):
        assert path.read_bytes() == (killed / path.name).read_bytes(), path.name
    starts = Counter(log.read_text().split("\n")[:-1])
    assert len(starts) == 16
    # Only what was in flight at a kill may have started again: at most `jobs` cells per kill.
    assert sum(starts.values()) <= 16 + 3 * jobs


def test_other_back_ends_run_the_same_cells(tmp_path: Path) -> None:
    sweep.run(cells(3), tmp_path / "here")
    assert sweep.run(cells(3), tmp_path / "threads", jobs=2, backend="threading") == 6
    for path in (tmp_path / "here").glob("*.npz"):
        assert path.read_bytes() == (tmp_path / "threads" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "module"), [("nonsense", None), ("dask", "distributed"), ("ray", "ray")], ids=["unknown", "dask", "ray"]
)
def test_a_back_end_that_is_not_there_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str | None
) -> None:
    if module is not None:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ProblemError, match=f"backend: '{name}' cannot be used here"):
        sweep.run(cells(2), tmp_path, jobs=2, backend=name)


def test_dask_gets_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib takes part only if a client exists; the one in use, that of the environment, or a local one."""
    made: list[tuple[object, ...]] = []

    class Client:
        def __init__(self, address: str | None = None, **options: int) -> None:
            made.append((address, options))

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            made.append(("closed",))

    def nobody() -> None:
        raise ValueError("No global client found")

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client, get_client=nobody))
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    monkeypatch.setattr(joblib, "parallel_config", lambda backend: contextlib.nullcontext())
    assert sweep.run([sweep.Cell("square", square, {"x": 2})], tmp_path, jobs=2, backend="dask") == 1
    assert made == [(None, {"n_workers": 2, "threads_per_worker": 1}), ("closed",)]
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://somewhere:8786")
    assert sweep.run([sweep.Cell("square", square, {"x": 3})], tmp_path, jobs=2, backend="dask") == 1
    assert made[2] == ("tcp://somewhere:8786", {})
