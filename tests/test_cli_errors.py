"""Mistakes on the command line: one sentence, an exit status, nothing half written, never a traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import cli

D, K = 6, 2
ONES, ROWS = np.ones(D), np.eye(K, D)
GOOD: dict[str, Any] = {"theta_star": ONES, "jacobian": ROWS}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_sentence(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if not line.startswith("[")]  # progress of a slow machine
    assert len(lines) == 1, shown.err
    assert lines[0].startswith("exact-unlearn: ")
    for word in words:
        assert word in lines[0]


NAN, COMPLEX = np.full(D, np.nan), np.ones(D, dtype=complex)
BAD_ARRAYS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    # arrays over GOOD (None removes one), options, words of the sentence
    "nan": ({"theta_star": NAN}, ["-r", "l1"], ["theta_star", "finite"]),
    "infinity": ({"jacobian": np.full((K, D), np.inf)}, ["-r", "l1"], ["jacobian", "finite"]),
    "complex": ({"theta_star": COMPLEX}, ["-r", "l1"], ["theta_star", "complex"]),
    "text": ({"theta_star": np.array(["a"] * D)}, ["-r", "l1"], ["theta_star"]),
    "matrix for a vector": ({"theta_star": np.ones((D, 1))}, ["-r", "l1"], ["theta_star"]),
    "number for a vector": ({"theta_star": np.float64(3)}, ["-r", "l1"], ["theta_star"]),
    "vector for a matrix": ({"jacobian": ONES}, ["-r", "l1"], ["jacobian"]),
    "columns": ({"jacobian": np.ones((K, D + 1))}, ["-r", "l1"], ["jacobian", "columns"]),
    "right-hand side": ({"rhs": np.ones(K + 1)}, ["-r", "l1"], ["rhs"]),
    "no theta_star": ({"theta_star": None}, ["-r", "l1"], ["theta_star", "missing", "jacobian"]),
    "no jacobian": ({"jacobian": None}, ["-r", "l1"], ["jacobian", "missing"]),
    "no regularizer": ({}, [], ["-r", "squared-l2"]),
    "unknown regularizer": ({}, ["-r", "l3"], ["-r", "l3", "group-l2"]),
    "predictor norm": ({}, ["-r", "predictor-norm"], ["predictor-norm", "surrogate_problem"]),
    "no groups": ({}, ["-r", "group-l2"], ["--groups", "missing"]),
    "group without members": ({"groups": np.array([0, 0, 0, 2, 2, 2])}, ["-r", "group-l2"], ["group 1 is empty"]),
    "too few labels": ({"groups": np.zeros(3, dtype=int)}, ["-r", "group-l2"], ["groups"]),
    "groups of floats": ({"groups": np.zeros(D)}, ["-r", "group-l2"], ["groups", "integers"]),
    "overlapping groups": ({"groups": np.array([[0, 1], [1, 2]])}, ["-r", "group-l2"], ["overlap"]),
    "group weights": ({"groups": np.zeros(D, int), "weights": ONES}, ["-r", "group-l2"], ["weights", "one per group"]),
    "negative weights": ({"weights": -ONES}, ["-r", "l1"], ["weights"]),
    "weights by a wrong name": ({}, ["-r", "l1", "--weights", "w"], ["--weights", "'w'", "missing"]),
    "mask of floats": ({"frozen": ONES}, ["-r", "l1"], ["frozen", "mask"]),
    "short mask": ({"frozen": np.ones(3, dtype=bool)}, ["-r", "l1"], ["frozen", "mask of 6"]),
    "index out of range": ({"frozen": np.array([6])}, ["-r", "l1"], ["frozen", "0 to 5"]),
    "index twice": ({"free": np.array([3, 3])}, ["-r", "l1"], ["free", "distinct"]),
    "free and frozen": ({"free": np.array([3]), "frozen": np.array([2])}, ["-r", "l1"], ["free", "frozen"]),
    "foreign option": ({}, ["-r", "l1", "--alpha", "1"], ["--alpha", "elastic-net"]),
    "missing option": ({}, ["-r", "elastic-net", "--alpha", "1"], ["--beta"]),
    "no number": ({}, ["-r", "elastic-net", "--alpha", "one"], ["--alpha", "one"]),
    "negative elastic net": ({}, ["-r", "elastic-net", "--alpha", "-1", "--beta", "1"], ["alpha"]),
    "block": ({}, ["-r", "nuclear-norm", "--block", "0-6"], ["--block", "0-6"]),
    "block and shape": ({}, ["-r", "nuclear-norm", "--block", "0:6:2x2"], ["block", "4"]),
    "block outside": ({}, ["-r", "nuclear-norm", "--block", "2:8:2x3"], ["block"]),
    "perceptron": ({}, ["-r", "active-neurons", "--perceptron", "2x2x2"], ["active_neurons", "8"]),
    "drift": ({}, ["-r", "l1", "--drift", "square:1"], ["--drift", "square:1"]),
    "drift without a number": ({}, ["-r", "l1", "--drift", "squared"], ["--drift", "squared"]),
    "negative drift": ({}, ["-r", "l1", "--drift", "squared:-1"], ["squared_drift"]),
    "infinite radius": ({}, ["-r", "l1", "--drift", "trust:inf"], ["trust_region"]),
    "unknown solver": ({}, ["-r", "l1", "--solver", "gurobbi"], ["solver", "gurobbi"]),
    "solver of another class": ({}, ["-r", "l2", "--solver", "HIGHS"], ["solver", "HIGHS", "SOCP"]),
    "accuracy": ({}, ["-r", "l1", "--accuracy", "0"], ["accuracy"]),
    "time limit": ({}, ["-r", "l1", "--time-limit", "nan"], ["time_limit"]),
    "suffix of the output": ({}, ["-r", "l1", "-o", "out.txt"], ["--output", ".npz"]),
    "output is a folder": ({}, ["-r", "l1", "-o", "folder.npz"], ["--output", "directory"]),
    "output in no folder": ({}, ["-r", "l1", "-o", "nowhere/out.npz"], ["--output", "nowhere"]),
    "output is the input": ({}, ["-r", "l1", "-o", "in.npz"], ["--output", "in.npz"]),
    "output is called problem": ({}, ["-r", "l1", "-o", "x.problem.npz"], ["--output", "one name"]),
    "output is the report": ({}, ["-r", "l1", "-o", "x.json", "--json", "x.json"], ["--output", "one name"]),
    "report is the input": ({}, ["-r", "l1", "--json", "in.npz"], ["--output", "in.npz", "overwritten"]),
    "report in no folder": ({}, ["-r", "l1", "--json", "nowhere/out.json"], ["--json", "nowhere"]),
    "unknown option": ({}, ["-r", "l1", "--fast"], ["--fast"]),
    "shortened option": ({}, ["-r", "l1", "--quie"], ["--quie"]),
    "both row options": ({}, ["-r", "l1", "--rows", "literal", "--tau", "1"], ["--tau", "--rows"]),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_mistake_is_one_sentence_and_leaves_no_trace(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, options, words = BAD_ARRAYS[case]
    data = {name: array for name, array in (GOOD | changes).items() if array is not None}
    np.savez(folder / "in.npz", **data)
    (folder / "folder.npz").mkdir()
    before = everything_in(folder)
    assert cli.main(["solve", "in.npz", *options]) == 2
    one_sentence(capsys, *words)
    assert everything_in(folder) == before


def test_files_that_are_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "good.npz", **GOOD)
    whole = (folder / "good.npz").read_bytes()
    problem = xu.UnlearningProblem(**GOOD, regularizer=xu.L1())
    problem.save("complete.safetensors")
    complete = (folder / "complete.safetensors").read_bytes()
    np.savez(folder / "objects.npz", theta_star=np.array([None, {}]), jacobian=ROWS)
    damaged = {
        "empty.npz": b"",
        "half.npz": whole[: len(whole) // 2],
        "text.npz": b"theta_star = 1",
        "half.safetensors": complete[: len(complete) // 2],
        "header.safetensors": b"\xff" * 64,
        "empty.json": b"",
        "list.json": b"[1, 2]",
        "other.json": b'{"schema": "something else"}',
        "deep.json": b"[" * 100_000,
        "newer.json": b'{"schema": "exact-unlearn/problem", "version": 2}',
    }
    for name, content in damaged.items():
        (folder / name).write_bytes(content)
    before = everything_in(folder)
    for name in [*damaged, "objects.npz", "missing.npz", "missing.json", "no-suffix", "."]:
        assert cli.main(["solve", name]) == 2, name
        one_sentence(capsys, name)
    assert everything_in(folder) == before


def test_a_complete_problem_takes_no_raw_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xu.UnlearningProblem(**GOOD, regularizer=xu.L1()).save("mine.npz")
    for words in (["-r", "l1"], ["--drift", "squared:1"], ["--frozen", "frozen"], ["--alpha", "1"]):
        assert cli.main(["solve", "mine.npz", *words]) == 2
        one_sentence(capsys, "complete problem")


def test_a_raw_file_is_not_replaced_by_its_complete_form(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.problem.npz", **GOOD)
    before = everything_in(folder)
    assert cli.main(["solve", "x.problem.npz", "-r", "l1"]) == 2
    one_sentence(capsys, "x.problem.npz", "overwritten")
    assert everything_in(folder) == before


def test_no_verb_overwrites_what_it_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "a.problem.npz", **GOOD)
    np.savez(folder / "a.npz", theta=ONES)
    before = everything_in(folder)
    for words in (
        ["certify", "a.problem.npz", "-r", "l1", "a.npz"],
        ["certify", "a.problem.npz", "-r", "l1", "a.npz", "-o", "b.json", "--json", "a.npz"],
        ["program", "a.problem.npz", "-r", "l1", "-o", "a.problem.npz"],
        ["program", "a.problem.npz", "-r", "l1", "-o", "b.npz", "--json", "b.npz"],
    ):
        assert cli.main(words) == 2
        one_sentence(capsys, "--output", "name")
    assert everything_in(folder) == before


def test_solutions_that_do_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xu.UnlearningProblem(**GOOD, regularizer=xu.L1()).save("mine.npz")
    np.savez(folder / "short.npz", theta=np.ones(3))
    np.savez(folder / "nan.npz", theta=np.full(D, np.nan))
    np.savez(folder / "nothing.npz", x=np.ones(D))
    np.savez(folder / "nu.npz", theta=ONES, nu=np.ones(5))
    sentences = {"short.npz": "6 entries", "nan.npz": "finite", "nothing.npz": "'theta' is missing", "nu.npz": "nu"}
    before = everything_in(folder)
    for name, words in sentences.items():
        assert cli.main(["certify", "mine.npz", name]) == 2
        one_sentence(capsys, words)
    assert cli.main(["certify", "mine.npz", "mine.npz"]) == 2
    one_sentence(capsys, "exact-unlearn/solution")
    assert everything_in(folder) == before


def test_files_that_the_checker_cannot_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "raw.npz", **GOOD)
    xu.UnlearningProblem(**GOOD, regularizer=xu.L1()).save("mine.npz")
    (folder / "empty.json").write_text("{}")
    for words in (["nix.npz", "empty.json"], ["mine.npz", "nix.json"], ["."], ["raw.npz", "empty.json"]):
        assert cli.main(["check", *words]) == 2
        one_sentence(capsys, words[0] if words[0] != "mine.npz" else words[1])
    assert cli.main(["check", "mine.npz", "empty.json"]) == 1
    assert capsys.readouterr().out.startswith("not proved")


@pytest.mark.parametrize(
    "words", [[], ["slove", "x"], ["solve"], ["certify", "x.npz"], ["program", "x.npz"], ["demo", "x"]]
)
def test_incomplete_command_lines(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    one_sentence(capsys, "--help")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "-1"], "--seed"),
        (["--seed", "one"], "--seed"),
        (["--output", "file"], "--output"),
        (["--output", "file/below"], "--output"),
        (["--json", "nowhere/x.json"], "--json"),
    ],
)
def test_mistakes_of_the_demo(words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert cli.main(["demo", *words]) == 2
    one_sentence(capsys, said)
    assert list(everything_in(folder)) == [str(folder / "file")]
    assert not (folder / "demo-output").exists()


def test_media_that_take_no_files(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    np.savez(folder / "in.npz", **GOOD)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    for words in (["solve", "in.npz", "-r", "l1"], ["program", "in.npz", "-r", "l1", "-o", "p.npz"], ["demo"]):
        assert cli.main(words) == 2
        one_sentence(capsys, "--output", "Read-only file system")


def test_three_files_or_none(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the last of three files is written."""

    def fail(self: Any, path: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    np.savez(folder / "in.npz", **GOOD)
    (folder / "in.solution.npz").write_bytes(b"an older one")
    before = everything_in(folder)
    monkeypatch.setattr(xu.UnlearningProblem, "save", fail)
    assert cli.main(["solve", "in.npz", "-r", "l1", "--no-certify"]) == 2
    one_sentence(capsys, "No space left on device")
    assert everything_in(folder) == before


def test_a_mistake_of_ours_is_told_as_such(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: Any) -> Any:
        raise ZeroDivisionError("surprise")

    np.savez(folder / "in.npz", **GOOD)
    monkeypatch.setattr("exact_unlearn.cli.solve.load_problem", fail)
    assert cli.main(["solve", "in.npz", "-r", "l1"]) == 70
    one_sentence(capsys, "internal error", "ZeroDivisionError", "surprise", "--debug")
    with pytest.raises(ZeroDivisionError):
        cli.main(["solve", "in.npz", "-r", "l1", "--debug"])


# --- processes --------------------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "exact_unlearn"]


def test_the_module_is_the_command(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(xu.__file__).parent.parent)}
    shown = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, env=environment, check=True)
    assert shown.stdout == f"exact-unlearn {xu.__version__}\n"
    result = subprocess.run(
        [*COMMAND, "solve", "nix.npz"], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 2
    assert result.stderr == "exact-unlearn: nix.npz: cannot be read (No such file or directory)\n"


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    """The pipe is closed before the report is written."""
    np.savez(folder / "in.npz", **GOOD)
    environment = os.environ | {"PYTHONPATH": str(Path(xu.__file__).parent.parent)}
    words = [*COMMAND, "solve", "in.npz", "-r", "squared-l2", "--no-certify", "--quiet"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 141
    assert said == b""


def test_a_closed_standard_output_is_no_error(folder: Path) -> None:
    np.savez(folder / "in.npz", **GOOD)
    environment = os.environ | {"PYTHONPATH": str(Path(xu.__file__).parent.parent)}
    words = [*COMMAND, "solve", "in.npz", "-r", "squared-l2", "--no-certify", "--quiet"]
    shell = ["/bin/sh", "-c", 'exec "$@" >&-', "sh"]
    result = subprocess.run([*shell, *words], stderr=subprocess.PIPE, env=environment, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (folder / "in.solution.npz").exists()


def test_an_interrupt_is_one_line_and_leaves_nothing(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(xu.__file__).parent.parent)}
    words = [*COMMAND, "demo"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        first = process.stderr.readline()  # progress is visible, and the work has begun
        process.send_signal(signal.SIGINT)
        out, said = process.communicate()
    assert first.startswith(b"[")
    assert process.returncode == 130
    assert out == b""
    assert said.splitlines()[-1] == b"exact-unlearn: interrupted"
    assert b"Traceback" not in said
    assert everything_in(folder) == {}


def test_a_terminal_without_our_letters(folder: Path) -> None:
    np.savez(folder / "in.npz", **GOOD)
    environment = os.environ | {"PYTHONPATH": str(Path(xu.__file__).parent.parent), "PYTHONIOENCODING": "ascii"}
    words = [*COMMAND, "solve", "in.npz", "-r", "l\N{SUBSCRIPT TWO}"]
    result = subprocess.run(words, capture_output=True, env=environment, check=False)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("regularizer", ["squared-l2", "l2", "l1", "linf", "l0"])
def test_problems_without_parameters_are_solved(folder: Path, regularizer: str, rows: int) -> None:
    """Nothing can move, which is optimal, and proved."""
    np.savez("none.npz", theta_star=np.zeros(0), jacobian=np.zeros((rows, 0)))
    assert cli.main(["solve", "none.npz", "-r", regularizer, "--quiet"]) == 0
    assert cli.main(["check", "none.problem.npz", "none.certificate.json"]) == 0
    assert cli.main(["judge", "none.problem.npz", "none.solution.npz", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "cannot be read"),
        ("", "not valid JSON"),
        ('{"schema": "exact-unlearn/certificate", "version": 1}', "found 'exact-unlearn/certificate'"),
    ],
)
def test_what_is_no_problem_is_told_before_options_that_problems_do_not_take(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str | None, word: str
) -> None:
    if content is not None:
        Path("p.json").write_text(content)
    assert cli.main(["solve", "p.json", "-r", "l1", "--quiet"]) == 2
    one_sentence(capsys, "p.json", word)


def test_of_a_sum_the_unknown_summand_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mine.npz", theta_star=[1.0, 2.0], jacobian=[[1.0, 1.0]])
    assert cli.main(["solve", str(tmp_path / "mine.npz"), "-r", "l1+owl"]) == 2
    assert capsys.readouterr().err.endswith("got 'owl'\n")
