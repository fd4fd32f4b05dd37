"""The look of the gallery's figures: that of all figures of the package."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

from exact_unlearn import plots


def apply(gallery_conf: dict[str, Any], file: str) -> None:
    """Called by sphinx-gallery before each example, after matplotlib has been reset."""
    mpl.rcParams.update(plots.STYLE)
