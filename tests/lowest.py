"""Requirements at the lowest versions that pyproject.toml allows: `python tests/lowest.py EXTRA...` prints them.

`make lowest` installs these and runs the tests that they suffice for (`python tests/lowest.py --tests`), before a
release: a bound that nobody has tried is a guess.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
TOOLS = ("ecos", "hypothesis", "pytest", "sympy")


OTHERS = re.compile("torch|sklearn|matplotlib|cli")
"""What tests of other rooms mention."""


def suffice(file: Path) -> bool:
    """Whether what is installed here is all that a file of tests, and the helpers which it imports, need."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
    helpers = [file.parent / f"{name.removeprefix('tests.')}.py" for name in names if name.startswith("tests.")]
    tops = {name.partition(".")[0] for name in names} - {"tests", "exact_unlearn"}
    return all(importlib.util.find_spec(top) for top in tops) and all(map(suffice, helpers))


def tests() -> list[str]:
    """The files of tests that can be run here and are about the NumPy side."""
    files = sorted(Path("tests").glob("test_*.py"))
    return [str(file) for file in files if not OTHERS.search(file.read_text(encoding="utf-8")) and suffice(file)]


def lowest(extras: list[str]) -> list[str]:
    """`name==version` for every requirement of the package with these extras, and for the tools of its tests."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    wanted, done = list(project["dependencies"]), set()
    while extras:
        extra = extras.pop()
        if extra in done:
            continue
        done.add(extra)
        for line in optional[extra]:
            inner = re.match(r"exact-unlearn\[(.*)\]", line)
            if inner:
                extras += inner[1].split(",")
            else:
                wanted.append(line)
    tools = [*optional["test"], *optional["benchmarks"]]
    wanted += [line for line in tools if re.split(r"[^\w-]", line)[0] in TOOLS]
    pins = {}
    for line in wanted:
        found = re.match(r"([\w-]+)>=([\w.]+)", line)
        assert found, f"{line}: no lower bound"
        pins[found[1]] = found[2]
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


if __name__ == "__main__":
    if sys.argv[1:] == ["--tests"]:
        print("\n".join(tests()))
    else:
        print("\n".join(lowest(sys.argv[1:] or ["solve"])))
