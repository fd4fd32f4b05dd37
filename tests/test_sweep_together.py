"""Several runs in one folder, and what a run says about the time that is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exact_unlearn import sweep
from exact_unlearn.codec import save_object
from exact_unlearn.errors import FileFormatError

ROOT = Path(__file__).resolve().parent.parent


def counted(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    """Leaves a line behind for every call."""
    with open(parameters["log"], "a") as log:
        log.write("called\n")
    return {"value": np.array([1.0])}


def cell(log: Path, weight: float = 1.0, **parameters: Any) -> sweep.Cell:
    return sweep.Cell("counted", counted, {"log": str(log), **parameters}, weight=weight)


HOLDER = """
import fcntl, sys, time
from pathlib import Path
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
Path(sys.argv[2]).rename(sys.argv[3])
"""


def test_a_run_waits_for_what_another_one_computes_and_does_not_compute_it_again(tmp_path: Path) -> None:
    """The other run holds the lock of the first cell; it lets go, with the result written, once the second is done."""
    log, folder = tmp_path / "log", tmp_path / "results"
    first, second = cell(log, n=1), cell(log, n=2)
    (folder / "locks").mkdir(parents=True)
    sweep.run([first], tmp_path / "elsewhere")  # what the other run is going to write
    log.unlink()
    ready = first.path(tmp_path / "elsewhere")
    command = [sys.executable, "-c", HOLDER, str(folder / "locks" / first.key), str(ready), str(first.path(folder))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        told: list[int] = []

        def progress(state: sweep.Progress) -> None:
            told.append(state.done)
            if state.done == 1:
                other.stdin.write("go\n")  # type: ignore[union-attr]
                other.stdin.flush()  # type: ignore[union-attr]

        assert sweep.run([first, second], folder, progress=progress) == 1
    assert told == [0, 1, 2]
    assert log.read_text() == "called\n"
    assert sweep.is_present(first, folder)


def test_a_result_that_appears_before_the_lock_is_taken_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the folder and the lock another run may have finished: looked at again under the lock."""
    log = tmp_path / "log"
    one = cell(log)
    (tmp_path / "locks").mkdir()
    answers = iter([False, True])
    monkeypatch.setattr(sweep, "is_present", lambda cell, folder: next(answers))
    assert sweep.execute(one, tmp_path, block=False) == "present"
    assert not log.exists()


def test_the_time_left_goes_by_weight_and_by_what_was_computed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elapsed times weight left over weight done since the start; what was found in the folder took no time."""
    log = tmp_path / "log"
    works = [cell(log, weight=w, n=n) for n, w in enumerate([100.0, 2.0, 6.0, 2.0])]
    sweep.run(works[:1], tmp_path)
    clock = iter([50.0, 50.0, 54.0, 66.0, 70.0])  # the start; then at every word of progress
    monkeypatch.setattr(sweep.time, "monotonic", lambda: next(clock))
    told: list[sweep.Progress] = []
    sweep.run(works, tmp_path, progress=told.append)
    assert [(p.done, p.total) for p in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [p.remaining_seconds for p in told] == [None, 4.0 * 8 / 2, 16.0 * 2 / 8, 0.0]
    assert str(told[1]) == "2 of 4 cells, about 0 min 16 s left"
    assert str(told[0]) == "1 of 4 cells"
    assert str(sweep.Progress(1, 3, 3599.6)) == "1 of 3 cells, about 60 min 00 s left"


def base(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    return {"value": np.array([float(parameters["n"])])}


def total(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    return {"value": sum((inputs[name]["value"] for name in sorted(inputs)), np.zeros(1))}


def test_needs_of_needs_come_first_in_any_order_and_are_shared(tmp_path: Path) -> None:
    """A diamond with a long and a short way to its top, given upside down: four cells, each once."""
    low = sweep.Cell("base", base, {"n": 3})
    left = sweep.Cell("total", total, {"side": "left"}, {"a": low})
    right = sweep.Cell("total", total, {"side": "right"}, {"a": left, "b": low})
    top = sweep.Cell("total", total, {"side": "top"}, {"a": right, "b": left, "c": low})
    assert sweep.run([top, low, top], tmp_path) == 4
    assert float(sweep.load(top, tmp_path)["value"][0]) == 6 + 3 + 3
    assert sweep.run([], tmp_path) == 0
    # a cell whose needs have changed is another cell, though its own parameters are the same
    other = sweep.Cell("total", total, {"side": "left"}, {"a": sweep.Cell("base", base, {"n": 4})})
    assert other.key != left.key
    assert sweep.run([other], tmp_path) == 2


def test_names_are_for_people_and_keys_for_certainty(tmp_path: Path) -> None:
    one = sweep.Cell("a/b", base, {"n": 1})
    assert one.path(tmp_path).parent == tmp_path
    assert one.path(tmp_path).name.startswith("a-b-")
    assert one.key[:24] in one.path(tmp_path).name
    # canonical text: the order of a dictionary is no part of a cell, the order of a list is
    assert sweep.canonical({"b": [1, 2], "a": None}) == '{"a":null,"b":[1,2]}'
    assert sweep.Cell("p", base, {"a": [1, 2]}).key != sweep.Cell("p", base, {"a": [2, 1]}).key
    with pytest.raises(ValueError, match=r"Out of range|not JSON"):
        sweep.canonical(float("inf"))


def test_a_missing_result_is_told_without_advice_to_delete_it(tmp_path: Path) -> None:
    one = sweep.Cell("base", base, {"n": 1})
    with pytest.raises(FileFormatError) as absent:
        sweep.load(one, tmp_path)
    assert "delete" not in str(absent.value)
    tree = {"schema": sweep.SCHEMA, "version": 1, "cell": sweep.canonical(one.description) + " ", "result": {}}
    save_object(one.path(tmp_path), tree)
    with pytest.raises(FileFormatError, match="another cell than its name says; delete it"):
        sweep.load(one, tmp_path)


def test_a_cell_that_fails_lets_go_of_its_lock(tmp_path: Path) -> None:
    """Another process may then try at once; the failed run leaves no result."""

    def fail(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
        raise RuntimeError("no")

    one = sweep.Cell("fail", fail, {})
    with pytest.raises(RuntimeError, match="no"):
        sweep.run([one], tmp_path)
    script = (
        "import fcntl, sys; file = open(sys.argv[1], 'a');"
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); print('mine')"
    )
    lock = str(tmp_path / "locks" / one.key)
    said = subprocess.run([sys.executable, "-c", script, lock], capture_output=True, text=True, check=True)
    assert said.stdout == "mine\n"
    assert not list(tmp_path.glob("*.npz"))
    assert os.listdir(tmp_path) == ["locks"]
