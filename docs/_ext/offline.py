"""Check that built pages ask no outside host for anything.

    python docs/_ext/offline.py docs/_build

Links that a reader may click are fine. Whatever a browser loads by itself is not: scripts, style sheets, fonts, images,
frames, and what style sheets import. Prints each finding and exits with status 1 if there is any.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# Relations of <link> that are statements about the page and are never fetched.
_STATEMENTS = {"alternate", "author", "canonical", "help", "index", "license", "next", "prev", "search", "top", "up"}
_LOADING = {"data", "poster", "src", "srcset", "xlink:href"}
_OUTSIDE = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_CSS_REFERENCE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""", re.IGNORECASE)


def css_references(css: str) -> list[str]:
    """Outside addresses that a style sheet loads."""
    rules = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    found = [first or second for first, second in _CSS_REFERENCE.findall(rules)]
    return [reference for reference in found if _OUTSIDE.match(reference)]


class _Page(HTMLParser):
    """Collects the outside addresses that one page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        for name in _LOADING & values.keys():
            candidates = values[name].split(",") if name == "srcset" else [values[name]]
            self.found += [candidate.strip() for candidate in candidates if _OUTSIDE.match(candidate)]
        is_statement = tag == "link" and set(values.get("rel", "").split()) <= _STATEMENTS
        if tag in {"image", "link", "use"} and not is_statement and _OUTSIDE.match(values.get("href", "")):
            self.found.append(values["href"])
        self.found += css_references(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found += css_references(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def html_references(html: str) -> list[str]:
    """Outside addresses that a page loads by itself."""
    page = _Page()
    page.feed(html)
    page.close()
    return page.found


def outside_references(folder: Path) -> Iterator[tuple[Path, str]]:
    """(file, address) for everything under `folder` that would be asked of an outside host."""
    for path in sorted(folder.rglob("*")):
        finder = {".html": html_references, ".svg": html_references, ".css": css_references}.get(path.suffix)
        if finder is not None:
            yield from ((path, address) for address in finder(path.read_text(encoding="utf-8")))


def main(folder: str) -> int:
    """Exit status 0 only if there are pages and none of them asks an outside host."""
    root = Path(folder)
    pages = len(list(root.rglob("*.html")))
    findings = list(outside_references(root))
    for path, address in findings:
        print(f"{path}: asks for {address}", file=sys.stderr)
    print(f"{pages} pages, {len(findings)} requests to outside hosts")
    return 0 if pages and not findings else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
