"""Sphinx extension: writes the API pages from the package as it is, so that none is missing and none is stale.

Public names only. Each has a page: what its docstring says, an example that runs, and the programs of the gallery
that use it. `docs/api/index.md` lists them with the first line of what each says about itself.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import exact_unlearn as xu

ROOMS = {
    "exact_unlearn": "Everything under `import exact_unlearn as xu`; each name loads its module when it is first used.",
    "exact_unlearn.scalable": "The torch solver: Jacobians of modules, projections, norm problems.",
    "exact_unlearn.algorithms": "MinNorm-OG and ten baselines on torch modules.",
    "exact_unlearn.fixtures": "Golden cases, exercises, and the audit of unlearning functions.",
    "exact_unlearn.exports": "Programs and proofs in the formats of others.",
    "exact_unlearn.testing": "Laws that a regularizer of one's own must keep.",
    "exact_unlearn.web": "The pages that explain.",
}
"""Module -> what it is for. Their public names are those of `__all__`."""

CHAPTERS = {
    "problem": "Problems",
    "reference": "Answers",
    "solution": "Answers",
    "certify": "Proofs",
    "verdict": "Proofs",
    "program": "What a solver sees",
    "effects": "What answers do to networks",
    "path": "What answers do to networks",
    "margins": "Problems",
    "convexity": "Exact problems of networks",
    "concave": "Exact problems of networks",
    "local": "Exact problems of networks",
    "regularizers": "Regularizers",
    "drift": "Drift penalties",
    "models": "Models",
    "closed_form": "Formulas",
    "errors": "Errors and warnings",
}
"""Room of the package -> the heading under which its public names stand."""

PAGE = """\
# {name}

```{{eval-rst}}
.. {directive}:: {target}
{options}
.. minigallery:: {reference}
   :add-heading: Examples using {said}
```
"""


def public_names(module: str) -> list[str]:
    """The public names of a module."""
    return [name for name in importlib.import_module(module).__all__ if not name.startswith("__")]


def find(name: str) -> Any:
    """What a dotted public name stands for; `certify`, a room that can be called, is its verb."""
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(module), attribute)
    if isinstance(value, ModuleType) and callable(value):
        return importlib.import_module(f"{value.__name__}.ladder").certify
    return value


def page_name(module: str, name: str) -> str:
    """A file name that no other page has, not even where upper and lower case are the same."""
    alike = [other for other in public_names(module) if other.lower() == name.lower()]
    return f"{module}.{name}{'-function' if len(alike) > 1 and not inspect.isclass(find(f'{module}.{name}')) else ''}"


def short(module: str, name: str) -> str:
    """The name as it is written: `xu.L1`, `scalable.project`."""
    return f"xu.{name}" if module == "exact_unlearn" else f"{module.removeprefix('exact_unlearn.')}.{name}"


def first_line(value: Any) -> str:
    """What something says about itself first, for a table; nothing where it cannot speak."""
    if not callable(value) and not inspect.ismodule(value):
        return "a constant"
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ").replace("|", r"\|")


def name_page(module: str, name: str) -> str:
    """The page of one name."""
    value = find(f"{module}.{name}")
    options = ""
    if inspect.ismodule(value):
        directive, target = "automodule", value.__name__
    elif inspect.isclass(value):
        directive, target = "autoclass", f"{module}.{name}"
        if not issubclass(value, Exception):
            options = "   :inherited-members: Protocol, Enum\n"
    elif callable(value):
        directive, target = "autofunction", f"{value.__module__}.{value.__qualname__}"
    else:
        directive, target = "autodata", f"{module}.{name}"
    # Sphinx knows headings by their letters in lower case, and a class may have the name of a function in upper case.
    said = f"{short(module, name)}()" if directive == "autofunction" else short(module, name)
    texts = {"name": short(module, name), "said": said, "reference": f"{module}.{name}"}
    return PAGE.format(directive=directive, target=target, options=options, **texts)


def chapters(module: str) -> dict[str, list[str]]:
    """Heading -> names; only the front door has more than one."""
    found: dict[str, list[str]] = dict.fromkeys(CHAPTERS.values()) if module == "exact_unlearn" else {}  # type: ignore[arg-type]
    for name in public_names(module):
        home = xu._HOME.get(name, name) if module == "exact_unlearn" else module
        heading = CHAPTERS.get(home, home.removeprefix("exact_unlearn."))
        found[heading] = [*(found.get(heading) or []), name]
    return {heading: names for heading, names in found.items() if names}


def index_page() -> str:
    """All names, by module and chapter."""
    parts = ["# API\n"]
    for module, about in ROOMS.items():
        parts.append(f"## {'xu' if module == 'exact_unlearn' else module}\n\n{about}\n")
        for heading, names in chapters(module).items():
            if module == "exact_unlearn":
                parts.append(f"### {heading}\n")
            rows = [
                f"| [{short(module, name)}]({page_name(module, name)}.md) | {first_line(find(f'{module}.{name}'))} |"
                for name in names
            ]
            parts.append("\n".join(["| name | what it is |", "|---|---|", *rows]) + "\n")
        pages = "\n".join(f"{short(module, name)} <{page_name(module, name)}>" for name in sorted(public_names(module)))
        parts.append(f"```{{toctree}}\n:hidden:\n\n{pages}\n```\n")
    return "\n".join(parts)


def write_pages(folder: Path) -> None:
    """Make `folder` hold the index and the pages, and nothing else; pages that are right are not touched."""
    pages = {
        f"{page_name(module, name)}.md": name_page(module, name) for module in ROOMS for name in public_names(module)
    }
    pages["index.md"] = index_page()
    folder.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in folder.iterdir()} - pages.keys():
        (folder / stale).unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _generate(app: Sphinx) -> None:
    write_pages(Path(app.srcdir) / "api")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for sources."""
    app.connect("builder-inited", _generate)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
