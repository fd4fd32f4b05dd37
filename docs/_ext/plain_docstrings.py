"""Sphinx extension: docstrings are plain text, and are shown as such.

They are written to be read in an editor and in ``help()``, where |x| is a norm and theta* a name. To reStructuredText
the first is a substitution and the second unfinished emphasis. So outside of backticks, doctests and indented literal
blocks every such character means itself.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

# What keeps its meaning: ``literal``, `name`, :role:`text`, and a bullet at the start of a line.
_KEEP = re.compile(r"(``.+?``|(?::[\w:]+:)?`[^`]+`|^\s*\*\s)")
_SPECIAL = re.compile(r"[|*\\]|(?<=\w)_(?!\w)")


def plain(lines: list[str]) -> list[str]:
    """The same lines with every character outside of code meaning itself."""
    shown: list[str] = []
    literal_below: int | None = None  # indentation of the line that opened a literal block
    in_doctest = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() and literal_below is not None and indent <= literal_below:
            literal_below = None
        in_doctest = line.lstrip().startswith(">>>") or (in_doctest and bool(line.strip()))
        if literal_below is not None or in_doctest:
            shown.append(line)
            continue
        parts = _KEEP.split(line)
        shown.append("".join(part if index % 2 else _SPECIAL.sub(r"\\\g<0>", part) for index, part in enumerate(parts)))
        if line.rstrip().endswith("::"):
            literal_below = indent
    return shown


def _process(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Apply `plain` to every docstring that autodoc reads."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
