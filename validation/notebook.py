"""The eight exercises as one notebook, from the exercises themselves.

    python -m validation.notebook            write docs/explain/exercises.ipynb
    python -m validation.notebook --check    compare, byte for byte; exit status 1 if it differs

Outputs are not kept: the notebook is there to be run.  Its cells are plain Python and ask nothing of a network.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from exact_unlearn.fixtures.exercises import EXERCISES, Exercise

PATH = Path(__file__).resolve().parent.parent / "docs" / "explain" / "exercises.ipynb"

INTRODUCTION = """\
# Eight exercises in forgetting

A trained model has parameters $\\theta^*$. Some samples must be forgotten, others stay; the rows of $J$ are the
gradients of the model's outputs on the samples that stay. Each exercise asks for a function. Write it where the starter
stands, run the cell, and run the cell below it: your function is graded on problems whose answers are proved.

A grade names the mistake where it is a known one, and shows the smallest problem that fails. Nothing here needs a
network connection."""

PREPARATION = """\
# Where the package is not installed yet, in a clone of the repository, first run:
# %pip install --quiet ".[solve]"
import numpy as np

from exact_unlearn.fixtures import exercise

grades = {}"""

END = """\
for name, grade in grades.items():
    print(f"{name:12} {sum(row.right for row in grade.rows):3} of {len(grade.rows)} cases right")"""


def notebook() -> dict[str, Any]:
    """The notebook, format 4.5, without outputs."""
    cells = [_text(INTRODUCTION), _code(PREPARATION)]
    for number, task in enumerate(EXERCISES.values(), start=1):
        cells += _cells(number, task)
    cells += [_text("## How did you do?"), _code(END)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    about = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": about}, "nbformat": 4, "nbformat_minor": 5}


def _cells(number: int, task: Exercise) -> list[dict[str, Any]]:
    """The task, a place to write, and the grade."""
    found = re.search(r"^def (\w+)", task.starter, re.MULTILINE)
    assert found is not None
    told = "\n".join(textwrap.wrap(task.text, 110))
    grade = f'grades["{task.name}"] = exercise("{task.name}").grade({found[1]})\ngrades["{task.name}"]'
    return [
        _text(f"## {number}. {task.title[0].upper()}{task.title[1:]}\n\n{told}"),
        _code(f"# Exercise {number}, {task.name}: your answer goes here.\n{task.starter.rstrip()}"),
        _code(grade),
    ]


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "", "metadata": {}, "source": _lines(source)}


def _code(source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": "", "metadata": {}, "outputs": []}
    return {**cell, "source": _lines(source)}


def _lines(source: str) -> list[str]:
    return source.splitlines(keepends=True)


def main(arguments: list[str]) -> int:
    """Write or compare the notebook."""
    parser = argparse.ArgumentParser(description="The exercises as a notebook.")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    options = parser.parse_args(arguments)
    text = json.dumps(notebook(), indent=1, ensure_ascii=False) + "\n"
    same = PATH.exists() and PATH.read_text(encoding="utf-8") == text
    if not same and not options.check:
        PATH.write_text(text, encoding="utf-8", newline="\n")
    print(f"{PATH.name}: {'as it is' if same else 'differs' if options.check else 'written'}")
    return 1 if options.check and not same else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
