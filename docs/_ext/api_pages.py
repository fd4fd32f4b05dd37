"""Sphinx extension: writes the API pages from the package as it is, so that none is missing and none is stale.

`docs/api/index.md` lists the public names with the first line of what each says about itself; beside it lies one page
per module.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

INDEX = """\
# API

Everything under `import exact_unlearn as xu`; each name loads its module when it is first used.

| name | what it is |
|---|---|
{rows}

## Modules

```{{toctree}}
:maxdepth: 1

{pages}
```
"""

PAGE = """\
# {module}

```{{eval-rst}}
.. automodule:: {module}
```
"""


def module_names(package: str = "exact_unlearn") -> Iterator[str]:
    """The package and all modules below it; private ones and the command's entry point are left out."""

    def fail(name: str) -> None:  # walk_packages would pass over a package that cannot be imported
        raise ImportError(f"cannot import {name}")

    yield package
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.", onerror=fail):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield found.name


def public_rows(package: str = "exact_unlearn") -> Iterator[str]:
    """One table row per public name: the name, linked to where it is explained, and its first line."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if name.startswith("__"):
            continue
        home = value.__name__ if inspect.ismodule(value) else f"{value.__module__}.{value.__qualname__}"
        first = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ").replace("|", r"\|")
        yield f"| {{py:obj}}`xu.{name} <{home}>` | {first} |"


def write_pages(folder: Path, package: str = "exact_unlearn") -> None:
    """Make `folder` hold the index and the module pages, and nothing else; pages that are right are not touched."""
    modules = list(module_names(package))
    entries = [f"{module.removeprefix(package + '.')} <{module}>" for module in modules]
    pages = {f"{module}.md": PAGE.format(module=module) for module in modules}
    pages["index.md"] = INDEX.format(rows="\n".join(public_rows(package)), pages="\n".join(entries))
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
