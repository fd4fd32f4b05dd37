"""From the sources of a page to one HTML file.

A page must work from file://, where a browser neither imports modules nor fetches data.  So the modules are joined,
each a function of those before it that returns what the others import, and numbers stand in the page.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from string import Template

from exact_unlearn.errors import ProblemError

from .pages import PAGES

HERE = Path(__file__).resolve().parent
SHARED = ("checker/rational", "checker/problem", "checker/checker", "kit/numbers", "kit/plane", "kit/page")
PARTS = ("steps", "figures", "below", "foot")
_IMPORT = re.compile(r'^import \{ ([^}]*) \} from "([^"]*)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?:\{[^}]*\};\n)?", re.MULTILINE)


def page(name: str) -> str:
    """The HTML of one page; ProblemError for an unknown name."""
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
        css=_read("kit/kit.css"),
        links="\n".join(_link(other, other == name) for other in names),
        next=after,
        next_title=html.escape(PAGES[after].title),
        numbers=numbers,
        code=script(name),
    )


def script(name: str) -> str:
    """The JavaScript of one page, all its modules in one script."""
    modules = [*SHARED, *(f"{name}/{module}" for module in PAGES[name].modules)]
    sources = {module: _read(f"{module}.mjs") for module in modules}
    wanted: dict[str, set[str]] = {module: set() for module in modules}  # by others
    for module, source in sources.items():
        for names, path in _IMPORT.findall(source):
            wanted[_resolved(module, path)].update(names.split(", "))
    return "\n".join(_joined(module, sources[module], wanted[module]) for module in modules)


def write_pages(folder: Path) -> list[Path]:
    """Write all pages into `folder`, which is made where it is missing; they link to each other."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{name}.html" for name in PAGES]
    for path in written:
        path.write_text(page(path.stem), encoding="utf-8", newline="\n")
    return written


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _resolved(module: str, path: str) -> str:
    """The module that `module` means by a relative path."""
    return os.path.normpath(f"{os.path.dirname(module)}/{path}").replace(os.sep, "/").removesuffix(".mjs")


def _variable(module: str) -> str:
    return module.replace("/", "_")


def _joined(module: str, source: str, wanted: set[str]) -> str:
    """A module as a function that is called at once."""
    plain = _IMPORT.sub(lambda found: f"const {{ {found[1]} }} = {_variable(_resolved(module, found[2]))};\n", source)
    given = f"return {{ {', '.join(sorted(wanted))} }};\n" if wanted else ""
    return f"const {_variable(module)} = (() => {{\n{_EXPORT.sub('', plain)}{given}}})();\n"


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
