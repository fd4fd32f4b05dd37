"""`exact-unlearn experiment`: what it prints, writes and refuses; the experiment itself in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exact_unlearn._validation.experiments import data_poisoning  # the name that the verb uses
from exact_unlearn._validation.experiments.poisoning_grid import METHODS, hyper_parameters
from exact_unlearn._validation.experiments.poisoning_start import Recipe

from exact_unlearn.cli import main

TINY = data_poisoning.Plan(
    (0, 1, 2),
    (10,),
    Recipe(width=6, n_retain=5, n_forget=2, epochs=20),
    {(m, 10): {name: values[:1] for name, values in hyper_parameters(m, 10).items()} for m in METHODS},
    exact_view=False,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_poisoning, "quick_plan", lambda: TINY)


def test_quick_run_says_so_and_writes_tables_figures_and_json(tmp_path: Path, capsys: Any) -> None:
    folder, report = tmp_path / "run", tmp_path / "report.json"
    command = ["experiment", "data-poisoning", "--quick", "--folder", str(folder), "--jobs", "1"]
    assert main([*command, "--json", str(report)]) == 0
    told = capsys.readouterr()
    assert "QUICK VERSION: 3 seeds, 20 training epochs" in told.out
    assert "quick version" in told.err
    assert "27 of 27 cells" in told.err
    names = {path.name for path in folder.iterdir() if path.suffix != ".npz"}
    assert names == {"locks", "table_5.md", "table_6.md", "errors.json", "figure_T10.png"}
    assert "QUICK VERSION" in (folder / "table_5.md").read_text()
    tree = json.loads(report.read_text())
    assert tree["quick"] is True
    assert tree["seeds"] == [0, 1, 2]
    # Again, elsewhere: the same report, nothing computed, nothing said.
    assert main([*command, "--quiet", "--output", str(tmp_path / "tables"), "--json", "-"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == tree
    assert told.err == ""


def test_seeds_and_budgets_are_chosen(tmp_path: Path, capsys: Any) -> None:
    command = ["experiment", "data-poisoning", "--quick", "--folder", str(tmp_path), "--jobs", "1", "--quiet"]
    assert main([*command, "--seeds", "1-2,5", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [1, 2, 5]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["magic"], "invalid choice: 'magic'"),
        (["data-poisoning", "--seeds", "a"], "--seeds: expected numbers such as 0-9 or 0,3,5, got 'a'"),
        (["data-poisoning", "--seeds", "1,1"], "--seeds: expected different numbers"),
        (["data-poisoning", "--budgets", "7"], "budgets: expected some of 10, 100, 1000, got 7"),
        (["data-poisoning", "--folder", __file__], "--folder"),
        (["data-poisoning", "--jobs", "0"], "--jobs: expected a number of processes >= 1, or -1"),
        (["data-poisoning", "--certify", "11"], "certify: expected some of the seeds 0, 1, 2, "),
        (["data-poisoning", "--certify", "--lambdas", "many"], "--lambdas: expected numbers such as 0,9, got 'many'"),
        (["data-poisoning", "--certify", "--lambdas=-1"], "lambdas: expected finite numbers >= 0, got -1.0"),
        (["data-poisoning", "--quick", "--certify"], "--certify: there is no exact view to prove"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], words: str, capsys: Any) -> None:
    assert main(["experiment", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
