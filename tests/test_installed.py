"""From an install: what a bare one says about what it lacks, and every shell block of the documentation."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import exact_unlearn as xu
from exact_unlearn import cli

from .installed import ROOT, Installed, build_wheel

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install .`"""
    return Installed(tmp_path_factory.mktemp("bare") / "env", wheel)


# --- a bare install ---------------------------------------------------------------------------------------------------

WITHOUT_EXTRAS = {
    # verb -> a command line, the exit status, the extra that is named (or none)
    "demo": (["demo"], 2, "demo"),
    "explain": (["explain", "--print", "-o", "pages"], 0, None),
    "solve": (["solve", "in.npz", "-r", "l1"], 2, "solve"),
    "certify": (["certify", "in.npz", "-r", "l1", "theta.npz"], 0, None),
    "check": (["check", "whole.json", "proof.json"], 0, None),
    "program": (["program", "in.npz", "-r", "l1", "-o", "p.npz"], 2, "solve"),
    "theorems": (["theorems"], 2, "demo"),
    "experiment": (["experiment", "solver-lies"], 2, "demo"),
    "fixtures": (["fixtures", "list", "--level", "1"], 0, None),
    "audit": (["audit", "code.py:unlearn"], 2, "solve,torch"),
    "crosscheck": (["crosscheck"], 2, "solve,torch"),
    "bench": (["bench", "--list"], 2, "torch"),
}


def test_every_verb_of_a_bare_install_works_or_names_the_extra(bare: Installed, tmp_path: Path) -> None:
    """The rest of the verbs, which this table does not know, must behave alike: no traceback, one sentence."""
    import numpy as np

    np.savez(tmp_path / "in.npz", theta_star=np.ones(3), jacobian=np.ones((1, 3)))
    np.savez(tmp_path / "theta.npz", theta=np.ones(3))
    problem = xu.UnlearningProblem(np.ones(3), np.ones((1, 3)), xu.L1())
    problem.save(tmp_path / "whole.json")
    xu.certify(problem).save(tmp_path / "proof.json")
    more = [["solve", "--module", "net.py:make", "--retain", "in.npz", "-r", "l1"], ["experiment", "data-poisoning"]]
    others = [[verb] for verb in cli.VERBS if verb not in WITHOUT_EXTRAS]
    rows = [row for verb, row in WITHOUT_EXTRAS.items() if verb in cli.VERBS]
    answers = bare.run([*(words for words, _, _ in rows), *more, *others], tmp_path)
    for (words, status, extra), (found, _, said) in zip(rows, answers, strict=False):
        assert found == status, (words, said)
        if extra is not None:
            assert re.fullmatch(rf"exact-unlearn: .* needs .*pip install 'exact-unlearn\[.*{extra}.*\]'\n", said), said
    for found, _, said in answers[len(rows) :]:
        assert found in (0, 2), said
        assert "internal error" not in said
        assert said.count("\n") <= 1


def test_every_function_of_a_bare_install_names_the_extra(bare: Installed, tmp_path: Path) -> None:
    """A public name is there, or says what is missing; rooms that are imported by hand say it too."""
    rooms = ["scalable", "scalable.module", "algorithms", "reference", "program", "fixtures.check_unlearner"]
    out = bare.script(
        f"""
import importlib, json
import exact_unlearn as xu
said = {{}}
for name in [*xu.__all__, *xu._ROOMS]:
    try:
        getattr(xu, name)
        said[name] = ""
    except xu.MissingExtraError as error:
        said[name] = str(error)
for name in {rooms!r}:
    try:
        place, _, leaf = name.rpartition(".")
        if leaf == "check_unlearner":
            getattr(importlib.import_module("exact_unlearn.fixtures"), leaf)
        else:
            importlib.import_module(f"exact_unlearn.{{name}}")
        said[f"room {{name}}"] = ""
    except xu.MissingExtraError as error:
        said[f"room {{name}}"] = str(error)
for name, call in {{
    "expression()": lambda: xu.L1().expression(1),
    "write_back()": lambda: importlib.import_module("exact_unlearn.modules").write_back(None, None),
}}.items():
    try:
        call()
        said[name] = ""
    except xu.MissingExtraError as error:
        said[name] = str(error)
print(json.dumps(said))
""",
        tmp_path,
    )
    said = json.loads(out)
    needs = {name for name, sentence in said.items() if sentence}
    assert {"solve", "explicit_program", "ExplicitProgram", "scalable", "algorithms", "room scalable.module"} <= needs
    assert {"expression()", "write_back()", "room program", "room fixtures.check_unlearner"} <= needs
    assert not {"UnlearningProblem", "L1", "Solution", "Certificate", "Perceptron", "closed_form"} & needs
    for name in needs:
        assert re.search(r" needs [a-z, ]+; install it with: pip install 'exact-unlearn\[(solve|torch)\]'$", said[name])


# --- the shell blocks of the documentation ----------------------------------------------------------------------------

NOT_RUN = {
    # how a command begins -> why it is not run here
    "make ": "works on the checkout itself; the targets exist (test_docs.py), and CI runs them",
    "pip install ": "needs the network; that it names a place and extras which exist is checked below",
    "exact-unlearn bench norms": "minutes; tests/validation/test_benchmarks.py runs each table on its quickest case",
    "exact-unlearn bench step": "needs a GPU; without one it is one sentence (tests/validation/test_benchmarks.py)",
    "exact-unlearn crosscheck": "minutes; tests/test_crosscheck.py climbs the ladder",
    "exact-unlearn demo": "a minute; tests/test_demo.py runs it",
    "exact-unlearn check demo-output": "reads what the demo has written; tests/test_demo.py checks these files",
    "exact-unlearn fixtures verify": "ten seconds; tests/fixtures/test_verification.py verifies",
    "exact-unlearn fixtures generate": "half a minute each; tests/fixtures/test_generation.py generates",
    "exact-unlearn audit": "minutes; tests/fixtures/test_audit.py audits functions of every shape",
    "exact-unlearn experiment": "minutes to hours; tests/validation/test_experiment_verb.py runs small ones",
    "exact-unlearn theorems": "minutes; tests/validation/test_report.py runs some",
    "python -m validation": "a campaign of hours; tests/validation/test_attack.py runs every one of them at 2 %",
    "torchrun ": "starts several processes; tests/scalable/test_launch.py starts such",
}


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of the fenced blocks of a page."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """The command lines of a page's shell blocks, without comments."""
    return [line for line, _ in commands_and_statuses(path)]


def commands_and_statuses(path: Path) -> list[tuple[str, int]]:
    """Command lines, and the exit status that a comment beside them announces (0 where none does)."""
    shell = [text for language, text in blocks(path) if language in ("shell", "bash", "sh", "console")]
    lines = "\n".join(shell).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        announced = re.search(r"#.*exit status (\d)", line)
        found.append((re.sub(r"\s+#.*|^#.*", "", line).strip(), int(announced[1]) if announced else 0))
    return [(line, status) for line, status in found if line]


def saving(path: Path) -> list[str]:
    """The Python blocks of a page that write files."""
    return [text for language, text in blocks(path) if language == "python" and "np.savez(" in text]


def test_every_shell_block_runs_from_an_install(wheel: Path, tmp_path: Path) -> None:
    """Page by page, each in a folder of its own, after the page's Python blocks that write the files; where it has
    none, the file is the one of the page on the command line.
    """
    installed = Installed(tmp_path / "env", wheel, ["solve", "torch", "exact"])
    ran, mine = 0, saving(ROOT / "docs" / "cli.md")
    for path in PAGES:
        announced = dict(commands_and_statuses(path))
        lines = [line for line in announced if not line.startswith(tuple(NOT_RUN))]
        unknown = [line for line in lines if not line.startswith("exact-unlearn ")]
        assert not unknown, f"{path.name}: {unknown[0]!r} is neither run nor has a reason in NOT_RUN"
        if not lines:
            continue
        folder = tmp_path / path.stem
        folder.mkdir()
        written = saving(path)
        installed.script("\n".join(written or mine), folder)
        words = [shlex.split(line)[1:] for line in lines]
        for line, (status, _, said) in zip(lines, installed.run(words, folder), strict=True):
            assert status == announced[line], f"{path.name}: {line}: {said}"
            ran += 1
    assert ran >= 8


def test_reasons_are_used_and_install_lines_name_what_exists() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    every = [line for path in PAGES for line in commands(path)]
    for line in every:
        if line.startswith("pip install "):
            ours = [word for word in shlex.split(line)[2:] if word.startswith((".", "exact-unlearn"))]
            assert ours, line
            for word in ours:
                assert not word.startswith("exact-unlearn"), f"{line}: the package is in no index"
                named = re.search(r"\[(.*)\]$", word)
                assert set(named[1].split(",") if named else ()) <= extras, line
