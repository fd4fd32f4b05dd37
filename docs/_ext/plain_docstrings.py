"""Sphinx extension: docstrings are plain text, and are shown as such.

They are written to be read in an editor and in ``help()``, where |x| is a norm, theta* a name, an indented block a
formula, and ``name: text`` the description of an argument. To reStructuredText these are a substitution, unfinished
emphasis, a quotation and an accident. Here they become what they mean.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

# What keeps its meaning: ``literal``, `name`, :role:`text` and *emphasis*.
_KEEP = re.compile(r"(``.+?``|(?::[\w:]+:)?`[^`]+`|(?<![\w*])\*\w[\w -]*\w\*(?![\w*]))")
_SPECIAL = re.compile(r"[|*\\]|(?<=\w)_(?!\w)")
_FIELD = re.compile(r"((?:[a-z]\w*|[A-Z])(?:, (?:[a-z]\w*|[A-Z]))*):\s+(.*)")
_ITEM = re.compile(r"(?:[*-]|\d+\.)\s")


def plain(lines: list[str]) -> list[str]:
    """The docstring (without common indentation) as reStructuredText that shows it as it was meant."""
    shown: list[str] = []
    in_literal = False
    for paragraph in _paragraphs(lines):
        if not paragraph[0].strip():
            shown += paragraph
            continue
        if paragraph[0].startswith(" "):
            shown += paragraph if in_literal else [".. code-block:: text", "", *paragraph]
            in_literal = True
            continue
        in_literal = paragraph[-1].rstrip().endswith("::")
        if paragraph[0].startswith(">>>"):
            shown += paragraph
        elif _ITEM.match(paragraph[0]):
            shown += _items(paragraph)
        elif _FIELD.match(paragraph[0]):
            shown += _fields(paragraph)
        else:
            shown += [_escaped(line.strip()) for line in paragraph]
    return shown


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines with text, and of lines without; text that goes on after a formula starts anew."""
    for _, group in itertools.groupby(lines, key=lambda line: bool(line.strip())):
        paragraph = list(group)
        formula = list(itertools.takewhile(lambda line: line.startswith(" "), paragraph))
        if 0 < len(formula) < len(paragraph):
            yield from (formula, [""], paragraph[len(formula) :])
        else:
            yield paragraph


def _items(paragraph: list[str]) -> Iterator[str]:
    """A list; further lines belong to the item above them, however they are indented."""
    width = 0
    for line in paragraph:
        if match := _ITEM.match(line):
            width = match.end()
            yield match[0] + _escaped(line[width:])
        else:
            yield " " * width + _escaped(line.strip())


def _fields(paragraph: list[str]) -> Iterator[str]:
    """A list of described names; further lines belong to the name above them."""
    for line in paragraph:
        match = _FIELD.match(line)
        yield f"* ``{match[1]}``: {_escaped(match[2])}" if match else f"  {_escaped(line.strip())}"


def _escaped(text: str) -> str:
    parts = _KEEP.split(text)
    return "".join(part if index % 2 else _SPECIAL.sub(r"\\\g<0>", part) for index, part in enumerate(parts))


def _process(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Apply `plain` to every docstring that autodoc reads."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
