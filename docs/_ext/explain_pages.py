"""The pages that explain, beside the documentation: written into _static/explain of what is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from exact_unlearn import web


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        web.write_pages(Path(app.outdir) / "_static" / "explain")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages when everything else is written: Sphinx empties no folder after that."""
    app.connect("build-finished", _write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
