"""One look for all figures: restrained, readable when printed, and safe for colour-blind readers.

Colours are those of Okabe and Ito; no information is carried by colour alone (markers and direct labels repeat it).
Figures are drawn without any display and written as PNG, the same bytes for the same data.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exact_unlearn import codec
from exact_unlearn.errors import needed_by
from exact_unlearn.jacobian import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
INK, SOFT, GREY, PALE = "#222222", "#555555", "#8A8A8A", "#E6E6E6"

STYLE: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
}
"""Settings of matplotlib that make the house style."""


@contextmanager
def figure(width: float, height: float, title: str, subtitle: str = "") -> Iterator[Figure]:
    """A figure of the house style, `width` x `height` inches, with a headline that says what to see.

    Headline and subtitle are wrapped to the width.
    Raises MissingExtraError when matplotlib is not installed.
    """
    with needed_by("a figure"):
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as NewFigure
    with mpl.rc_context(STYLE):
        fig = NewFigure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(fig)
        headline, below = textwrap.wrap(title, int(9 * width)), textwrap.wrap(subtitle, int(12.4 * width))
        under = 0.18 + 0.22 * len(headline)  # inches from the top, as are the lines
        head = under + 0.22 * max(1, len(below))
        fig.get_layout_engine().set(w_pad=0.12, h_pad=0.08, rect=(0, 0, 1, 1 - head / height))  # type: ignore[union-attr, call-arg]
        lines: Any = {"va": "top", "linespacing": 1.15}
        fig.text(0.12 / width, 1 - 0.12 / height, "\n".join(headline), fontsize=13, fontweight="bold", **lines)
        fig.text(0.12 / width, 1 - under / height, "\n".join(below), fontsize=10, color=SOFT, **lines)
        yield fig


def write_png(fig: Figure, path: Path) -> None:
    """Write the figure as PNG, all of it or nothing, without a date."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    codec.write_atomically(path, buffer.getvalue())


def show_image(ax: Axes, image: Array, limit: float | None = None) -> Any:
    """A small image: grey values, or with `limit` signed weights from -limit (blue) over 0 (white) to limit (red)."""
    if limit is None:
        shown = ax.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0)
    else:
        shown = ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(PALE)
    return shown


def stems(ax: Axes, values: Array, colour: str) -> None:
    """One thin bar per entry; zeros are small open circles on the axis, so that they can be counted."""
    at = np.arange(values.size)
    zero = values == 0
    ax.bar(at[~zero], values[~zero], width=0.62, color=colour)
    ax.plot(at[zero], np.zeros(int(zero.sum())), "o", markersize=3.2, markerfacecolor="white", markeredgecolor=GREY)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.set_xlim(-1, values.size)
    ax.grid(axis="x", visible=False)


def labelled_lines(
    ax: Axes, x: Array, series: Sequence[tuple[str, Array, str, str]], end: float, least: float = 0.07
) -> None:
    """Lines with their names at the right end instead of a legend: (name, y, colour, marker) each.

    end: where the names are written, in data coordinates; least: smallest distance between two names, in shares of
    the height, so that names of lines that end together stay readable.
    """
    for _, y, colour, marker in series:
        ax.plot(x, y, color=colour, marker=marker, clip_on=False)
    low, high = ax.get_ylim()
    order = sorted(range(len(series)), key=lambda i: float(series[i][1][-1]))
    step = least * (high - low)
    heights: list[float] = []
    for i in order:  # upwards, each name above the one before it, ...
        heights.append(max(float(series[i][1][-1]), heights[-1] + step if heights else -np.inf))
    ceiling = high - 0.4 * step
    for k in reversed(range(len(heights))):  # ... and down again from the upper edge
        heights[k] = min(heights[k], ceiling - step * (len(heights) - 1 - k))
    for i, height in zip(order, heights, strict=True):
        name, _, colour, _ = series[i]
        annotate(ax, name, (end, height), (9, 0), colour, va="center")


def annotate(
    ax: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], colour: str, **options: Any
) -> None:
    """Small text beside a point: `offset` in points; it may reach beyond the axes."""
    options = {"fontsize": 9, "annotation_clip": False} | options
    ax.annotate(text, at, xytext=offset, textcoords="offset points", color=colour, **options)
