"""What objects say about themselves, at a prompt, in a notebook and in a shell."""

from __future__ import annotations

import html

Lines = list[tuple[str, str]]
"""Names and what is said under them; a line without a name goes on with the one above."""


class Summarised:
    """An object that says in a few lines what matters about it; the first of them is its `repr`."""

    def lines(self) -> Lines:
        """Names, and what is said under each."""
        raise TypeError(f"{type(self).__name__} says nothing about itself")

    def summary(self) -> str:
        """What matters, as aligned lines of text."""
        return as_text(self.lines())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.lines()[0][1]}>"

    def _repr_html_(self) -> str:
        """The same lines as a table, for notebooks."""
        cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in self.lines())
        return f"<table>{''.join(cells)}</table>"


def as_text(lines: Lines) -> str:
    """Aligned names and values."""
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in lines)
