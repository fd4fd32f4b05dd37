"""From the sources of a page to one HTML file.

A page must work from file://, where a browser neither imports modules nor fetches data.  So the modules are joined,
each a function that returns what others import, and numbers stand in the page.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Set
from pathlib import Path
from string import Template

from exact_unlearn.errors import ProblemError

from .pages import PAGES

HERE = Path(__file__).resolve().parent
PARTS = ("steps", "figures", "below", "foot")
SPECIAL = {
    "checker/near": "a point nearby",
    "checker/origin": "networks",
    "checker/vertices": "concave measures",
}
"""Modules of the checker for proofs that most pages never show, and what these are about: left out, they refuse."""

_IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]*)";\n', re.MULTILINE)
_GIVEN = re.compile(r"^export (?:class|const|function\*?) (\w+)", re.MULTILINE)
_EXPORT = re.compile(r"^export (?:\{[^}]*\};\n)?", re.MULTILINE)


def page(name: str) -> str:
    """The HTML of one page; ProblemError for an unknown name.

    >>> from exact_unlearn import web
    >>> "https://" in web.page("shadow")
    False
    """
    if name not in PAGES:
        raise ProblemError(f"page: expected one of {', '.join(PAGES)}, got {name!r}")
    found, names = PAGES[name], list(PAGES)
    after = names[(names.index(name) + 1) % len(names)]
    numbers = ""
    if found.numbers:
        text = (HERE / name / "numbers.json").read_text(encoding="utf-8").strip()
        numbers = f'<script type="application/json" id="numbers">\n{text}\n</script>\n'
    return Template(_read("kit/page.html")).substitute(
        _parts(name),
        title=html.escape(found.title),
        lead=html.escape(found.lead),
        css=_dense(_read("kit/kit.css")),
        links="\n".join(_link(other, other == name) for other in names),
        next=after,
        next_title=html.escape(PAGES[after].title),
        numbers=numbers,
        code=script(name),
    )


def script(name: str) -> str:
    """The JavaScript of one page: its module `page`, after all that it imports.

    >>> from exact_unlearn import web
    >>> "import {" in web.script("shadow")
    False
    """
    sources: dict[str, str] = {}
    _collect(f"{name}/page", sources, set(), SPECIAL.keys() - set(PAGES[name].proofs))
    wanted: dict[str, set[str]] = {module: set() for module in sources}  # of a module by others
    for module, source in sources.items():
        for names, path in _IMPORT.findall(source):
            wanted[_resolved(module, path)].update(_words(names))
    joined, ready = [], set[str]()
    for module, source in sources.items():
        text = source if module.startswith("checker/") else _dense(source)  # the checker is to be read in the page
        joined.append(_joined(module, text, sorted(wanted[module]), ready))
        ready.add(module)
    return "\n".join(joined)


def write_pages(folder: Path) -> list[Path]:
    """Write all pages into `folder`, which is made where it is missing; they link to each other.

    >>> import pathlib, tempfile
    >>> from exact_unlearn import web
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(web.write_pages(pathlib.Path(folder))) == len(web.PAGES)
    True
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.html" for name in PAGES]
    for path in written:
        path.write_text(page(path.stem), encoding="utf-8", newline="\n")
    return written


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _dense(text: str) -> str:
    """Without indentation, which is a twentieth of a page."""
    return re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)


def _collect(module: str, sources: dict[str, str], begun: set[str], absent: Set[str]) -> None:
    """Into `sources`, the module after all that it imports; modules may import one another in a circle.

    absent: modules in whose place stand functions that refuse.
    """
    if module in begun:
        return
    begun.add(module)
    source = _read(f"{module}.mjs")
    if module in absent:
        refusal = f'throw new Error("the checker of this page takes no proofs about {SPECIAL[module]}");'
        source = "".join(f"export function {given}() {{ {refusal} }}\n" for given in _GIVEN.findall(source))
    for _, path in _IMPORT.findall(source):
        _collect(_resolved(module, path), sources, begun, absent)
    sources[module] = source


def _resolved(module: str, path: str) -> str:
    """The module that `module` means by a relative path."""
    return os.path.normpath(f"{os.path.dirname(module)}/{path}").replace(os.sep, "/").removesuffix(".mjs")


def _words(names: str) -> list[str]:
    return re.findall(r"[\w$]+", names)


def _joined(module: str, source: str, given: list[str], ready: set[str]) -> str:
    """A module as a function that is called at once.

    What it imports from modules that are not ready, which import it as well, can only be functions to be called later.
    """

    def taken(found: re.Match[str]) -> str:
        other = _resolved(module, found[2])
        if other in ready:
            return f"const {{{found[1]}}} = {_variable(other)};\n"
        return "".join(f"const {name} = (...all) => {_variable(other)}.{name}(...all);\n" for name in _words(found[1]))

    plain = _EXPORT.sub("", _IMPORT.sub(taken, source))
    back = f"return {{ {', '.join(given)} }};\n" if given else ""
    return f"const {_variable(module)} = (() => {{\n{plain}{back}}})();\n"


def _variable(module: str) -> str:
    return module.replace("/", "_")


def _link(name: str, here: bool) -> str:
    mark = ' aria-current="page"' if here else ""
    return f'<a href="{name}.html"{mark}>{html.escape(PAGES[name].title)}</a>'


def _parts(name: str) -> dict[str, str]:
    """The text of a page, by the marks <!-- steps -->, <!-- figures -->, <!-- below -->, <!-- foot --> in it."""
    pieces = re.split(r"<!-- (\w+) -->\n", _read(f"{name}/text.html"))
    parts = dict(zip(pieces[1::2], (piece.strip() for piece in pieces[2::2]), strict=True))
    parts = {part: parts.get(part, "") for part in PARTS}
    proof = re.search(r"<!-- proof: (.*?) -->", parts["below"], re.DOTALL)
    if proof is not None:
        box = Template(_read("kit/proof.html")).substitute(about=proof[1])
        parts["below"] = parts["below"].replace(proof[0], box)
    return parts
