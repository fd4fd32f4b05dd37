"""CONTRIBUTING.md: its code runs, its files and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_and_names_files_that_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from exact_unlearn.scalable import jacobian_rules

    monkeypatch.setattr(jacobian_rules, "RULES", jacobian_rules.RULES.copy())
    (code,) = re.findall(r"^```python\n(.*?)^```", RECIPES[name], re.MULTILINE | re.DOTALL)
    assert "assert " in code
    recipe = types.ModuleType("recipe")
    monkeypatch.setitem(sys.modules, "recipe", recipe)  # where dataclasses look
    exec(compile(code, f"CONTRIBUTING.md: {name}", "exec"), vars(recipe))
    files = re.findall(r"`((?:exact_unlearn|tests|validation|docs)/[^`]*)`", RECIPES[name])
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_there_are_five_recipes() -> None:
    assert len(RECIPES) == 5


def made(target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)


def test_its_commands_are_targets() -> None:
    for command in ("test", "lint", "types", "docs", "attack"):
        assert made(command).returncode == 0
    assert "tests/test_cli_errors.py" in made("test-cli").stdout
    assert "tests/scalable" in made("test-scalable").stdout
    assert "there is no room nonsense" in made("test-nonsense").stderr  # and not: all of them
