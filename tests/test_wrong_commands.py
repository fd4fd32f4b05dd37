"""Some hundreds of wrong commands, made from the options that each verb explains: one sentence, never a traceback.

Values are wrong for most options and right for some; then the command does its work, on a problem of six parameters.
Verbs whose work is long get only what is refused before it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import cli

SHORT = {
    "solve": ["solve", "in.npz", "-r", "l1", "--no-certify"],
    "global": ["global", "samples.npz", "-r", "path", "--no-certify"],
    "certify": ["certify", "in.npz", "theta.npz", "-r", "l1"],
    "check": ["check", "whole.json", "proof.json"],
    "local": ["local", "network.npz"],
    "program": ["program", "in.npz", "-r", "l1", "-o", "out.npz"],
}
"""Verbs that end at once whatever they are told, with a command that is right."""

VALUES = ["", "x", "nan", "-1", "1e400", "nowhere/x.json", "folder.npz", "in.npz", "text.npz", "0:6:2x2", "é\n"]
FILES = [
    "", "missing.npz", "folder.npz", "text.npz", "empty.json", "deep.json", "in.npz", "whole.json", "proof.json",
    "x.txt", "theta.npz", "fields.json", "numbers.json", "none.npz",
]  # fmt: skip


OTHERS: list[list[str]] = [
    [], ["--version", "x", "y"], [""], ["--"], ["-"], ["solve"], ["--json"], ["nothing", "solve"], ["\0"],
    ["experiment", "data"], ["experiment", "data-poisoning", "--jobs", "0"],
    ["experiment", "data-poisoning", "--jobs", "x"],
    ["experiment", "data-poisoning", "--seeds", "a-b"], ["experiment", "data-poisoning", "--seeds", "3,3"],
    ["experiment", "data-poisoning", "--folder", "text.npz"], ["theorems", "theorem-99"], ["theorems", "--jobs", "0"],
    ["theorems", "-o", "text.npz"], ["fixtures"], ["fixtures", "burn"], ["fixtures", "list", "--level", "x"],
    ["fixtures", "export"], ["fixtures", "export", "--format", "xls", "-o", "x"],
    ["fixtures", "list", "--kind", "odd"], ["audit"], ["audit", "nowhere.py:f"], ["audit", "whole.json:f"],
    ["audit", "f"], ["audit", "os:path"], ["audit", "os:nix"],
    ["audit", "os:rename", "--set", "lr"], ["audit", "os:rename", "--arg", "=3"],
    ["audit", "os:rename", "--root", "no"],
    ["audit", "os:rename", "--adapter", "a.py:f"], ["audit", "os:rename", "--adapter", "os:nix"],
    ["audit", "os:rename", "--dtype", "float16"], ["audit", "os:rename", "--device", "cuda"],
    ["audit", "os:rename", "--tokens", "--regression"], ["audit", "nowhere.ipynb:f"], ["audit", "x.txt:f"],
    ["audit", "os:rename", "--set", "a=1", "--set", "a=2"], ["audit", "os:rename", "--adapter", "os:getcwd"],
    ["audit", "a.py:f", "--timeout", "-1"], ["audit", "a.py:f", "--seed", "-1"], ["audit", "--methods", "theirs"],
    ["crosscheck", "no-such-problem"], ["bench", "no-such-table"], ["bench", "--repeats", "0"],
    ["bench", "--limit", "-1"], ["bench", "norms", "--case", "no-such-case"],
    ["demo", "--seed", "-1"], ["demo", "-o", "text.npz"], ["demo", "x"],
]  # fmt: skip
"""Mistakes that verbs with long work refuse before it."""


def options_of(verb: str) -> list[argparse.Action]:
    """What the verb's own parser knows, except for the help."""
    parser = cli._parser(verb)
    actions = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in actions.choices[verb]._actions if not isinstance(action, argparse._HelpAction)]


def generated() -> Iterator[list[str]]:
    """Wrong values of every option, wrong files in every place, and lines that are wrong whatever the verb."""
    for verb, right in SHORT.items():
        for action in options_of(verb):
            if not action.option_strings or action.option_strings[-1] in ("--debug", "--module", "--retain"):
                continue
            name = action.option_strings[-1]
            if action.nargs == 0:
                yield [*right, f"{name}=1"]
                continue
            yield [*right, name]
            for value in VALUES:
                yield [*right, f"{name}={value}"]
        files = [index for index, word in enumerate(right) if word.endswith((".npz", ".json"))]
        places = [index for index in files if right[index - 1] != "-o"]
        for place in places:
            for file in FILES:
                yield [*right[:place], file, *right[place + 1 :]]
            yield right[:place]
        yield [*right, "too", "many", "words"]
    for verb in cli.VERBS:
        yield [verb, "--no-such-option"]
        yield [verb, "--json"]
        yield [verb, "--jso", "x.json"]
        yield [verb, "--json", "nowhere/x.json", "--no-such-option"]
        yield [verb[:-1]]
        yield [verb.upper()]
    yield from OTHERS


def test_hundreds_of_wrong_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    d = 6
    problem = xu.UnlearningProblem(np.ones(d), np.eye(2, d), xu.L1())
    problem.save("whole.json")
    xu.certify(problem).save("proof.json")
    np.savez("in.npz", theta_star=np.ones(d), jacobian=np.eye(2, d))
    np.savez("samples.npz", x=np.eye(2), y=np.ones(2))
    np.savez("theta.npz", theta=np.ones(d))
    np.savez("network.npz", x=np.eye(2), y=np.ones(2), theta=np.ones(d), widths=[2, 2, 1])
    np.savez("none.npz", theta_star=np.zeros(0), jacobian=np.zeros((0, 0)), theta=np.zeros(0))
    Path("folder.npz").mkdir()
    Path("text.npz").write_text("no archive")
    Path("empty.json").write_text("")
    Path("deep.json").write_text("[" * 900 + "]" * 900)
    fields = json.loads(Path("whole.json").read_text())
    Path("fields.json").write_text(json.dumps(fields | {"regularizer": "l1", "free": ["x", "y"]}))
    Path("numbers.json").write_text(json.dumps(fields | {"theta_star": {"shape": [6], "data": ["1"] * 5 + ["one"]}}))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    wrong, seen = 0, 0
    for words in generated():
        seen += 1
        status = cli.main(words)
        shown = capsys.readouterr()
        assert status in (0, 1, 2, 3, 4), (words, status, shown.err)
        assert "Traceback" not in shown.err + shown.out, words
        if status == 2:
            wrong += 1
            said = [line for line in shown.err.splitlines() if not line.startswith("[")]
            assert len(said) == 1, (words, said)
            assert said[0].startswith("exact-unlearn: "), words
            assert len(said[0]) < 1200, words
            assert shown.out == "", words
        for name, content in kept.items():  # an output may replace what is no input of its command
            if Path(name).read_bytes() != content:
                assert status != 2, (words, name)
                Path(name).write_bytes(content)
    assert wrong >= 200, (wrong, seen)
