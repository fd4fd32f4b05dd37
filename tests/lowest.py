"""Requirements at the lowest versions that pyproject.toml allows: `python tests/lowest.py EXTRA...` prints them.

`make lowest` installs these and runs the tests that they suffice for, before a release: a bound that nobody has tried
is a guess.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
TOOLS = ("ecos", "hypothesis", "pytest", "sympy")


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
    print("\n".join(lowest(sys.argv[1:] or ["solve"])))
