"""What `plot()` of a problem, a solution and a certificate draws.

Two movable parameters are a plane: the models that fit are a line in it, the objective has level sets, and at the
answer the two touch. More of them are stems, so that zeros can be counted.
"""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from exact_unlearn import plots, summary
from exact_unlearn.errors import ProblemError, needed_by
from exact_unlearn.jacobian import Array, to_float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Shown = tuple[Any, Array | None, str]
"""A problem, the point that is drawn as an answer to it (None: theta* alone), and what is written above."""

GRID = 81
"""Points along each side of a plane."""

TRAINED, FOUND, FITS = plots.VERMILLION, plots.BLUE, plots.INK


class Drawn(summary.Summarised):
    """An object with a picture."""

    def shown(self) -> Shown:
        """What `plot` draws; ProblemError, one sentence, where there is nothing to show."""
        raise TypeError(f"{type(self).__name__} has no picture")

    def plot(self, ax: Any = None) -> Axes:
        """The picture, as an Axes of matplotlib; ax: where to draw it, None makes a figure by pyplot.

        Where two parameters may move: the plane, theta* and theta, the line of models that fit, and the level set of
        the objective through the point that is shown, which touches the line at an optimum.  Else theta in thin bars
        before theta* in wide ones, with its zeros counted.  Raises ProblemError where there is no point to show or
        nothing may move, MissingExtraError without matplotlib.
        """
        return draw(*self.shown(), ax)


def draw(problem: Any, theta: Array | None, title: str, ax: Any = None) -> Axes:
    """The picture of `theta` (None: of theta* alone) as an answer to `problem`, in `ax` or in a new figure of pyplot.

    Raises ProblemError where `ax` is no matplotlib Axes or nothing is movable, MissingExtraError without matplotlib.
    """
    columns = np.flatnonzero(problem.free)
    if not columns.size:
        raise ProblemError("plot: no parameter of this problem may move, so there is nothing to show")
    with needed_by("plot"):
        import matplotlib as mpl
        from matplotlib import pyplot
        from matplotlib.axes import Axes as Expected
    if ax is not None and not isinstance(ax, Expected):
        raise ProblemError(f"ax: expected an Axes of matplotlib or None, got {type(ax).__name__}")
    with mpl.rc_context(plots.STYLE):
        if ax is None:
            plane = columns.size == 2
            figure, ax = pyplot.subplots(figsize=(5.2, 5.4) if plane else (7.0, 3.4))
            figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
        (_plane if columns.size == 2 else _stems)(ax, problem, columns, theta)
        ax.set_title("\n".join(textwrap.wrap(title.replace("≈ ", "≈\u00a0"), 60)), fontsize=10.5, loc="left")
    return ax  # type: ignore[no-any-return]


def _stems(ax: Axes, problem: Any, columns: Array, theta: Array | None) -> None:
    """theta* in pale bars, the answer in thin ones before them; zeros as open circles."""
    star, at = to_float(problem.theta_star)[columns], np.arange(columns.size)
    wide = max(1.0, min(8.0, 300.0 / columns.size))  # in points, of a figure seven inches wide
    ax.axhline(0.0, color=plots.GREY, linewidth=0.8)
    ax.vlines(at, 0.0, star, color=plots.PALE if theta is not None else TRAINED, linewidth=wide, label="θ*")
    if theta is not None:
        found = to_float(theta)[columns]
        ax.vlines(at, 0.0, found, color=FOUND, linewidth=max(0.6, 0.45 * wide), label="θ")
        ax.plot(at, found, linestyle="none", marker="o", markersize=min(4.0, wide), color=FOUND)
        zeros = at[found == 0]
        if zeros.size:
            name = f"zeros of θ: {zeros.size} of {columns.size}"
            ax.plot(zeros, 0.0 * zeros, "o", markersize=min(4.0, wide), mfc="white", mec=plots.GREY, label=name)
    ax.grid(axis="x", visible=False)
    ax.set_xlim(-1, columns.size)
    ax.set_xlabel(f"movable parameter ({columns.size} of {problem.n_parameters})")
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.18), ncols=3)


def _plane(ax: Axes, problem: Any, columns: Array, theta: Array | None) -> None:
    """The models that fit, the level set of the objective through the point, and the points."""
    star = to_float(problem.theta_star)[columns]
    shown = star if theta is None else to_float(theta)[columns]
    corners = np.stack([star, shown, np.zeros(2)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    half = 0.7 * (float(np.max(high - low)) or 1.0)
    centre = (low + high) / 2
    first, second = (np.linspace(c - half, c + half, GRID) for c in centre)
    X, Y = np.meshgrid(first, second)
    _level_sets(ax, problem, columns, (X, Y), shown)
    matrix, rhs = to_float(np.asarray(problem.free_matrix())), to_float(problem.rhs)
    for (a, b), bound, least in zip(matrix, rhs, problem.at_least, strict=True):
        if a or b:
            away = (a * (X - star[0]) + b * (Y - star[1]) - bound) / math.hypot(a, b)
            ax.contour(X, Y, away, levels=[0.0], colors=FITS, linewidths=1.6, linestyles="dashed" if least else "solid")
    marks = [("0", np.zeros(2), "+", plots.GREY), ("θ*", star, "X", TRAINED)]
    for name, point, mark, colour in marks + [("θ", shown, "o", FOUND)] * (theta is not None):
        ax.plot(*point, mark, color=colour, markersize=8.5, linestyle="none", label=name)
        plots.annotate(ax, name, (float(point[0]), float(point[1])), (8, 6), colour, fontsize=11)
    ax.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]), aspect="equal")
    ax.set_xlabel(f"parameter {columns[0]}")
    ax.set_ylabel(f"parameter {columns[1]}")


def _level_sets(ax: Axes, problem: Any, columns: Array, grid: tuple[Array, Array], shown: Array) -> None:
    """Where the objective is no more than at `shown`, and some sets below it."""
    start = to_float(problem.theta_star)

    regions = [term for term in problem.drifts if term.name == "trust_region"]
    prices = [term for term in problem.drifts if term.name != "trust_region"]

    def value(point: Array) -> float:
        theta = start.copy()
        theta[columns] = point
        return float(problem.regularizer.value(theta)) + sum(float(term.value(theta - start)) for term in prices)

    def inside(point: Array) -> bool:
        moved = np.zeros(start.size)
        moved[columns] = point - start[columns]
        return all(math.isfinite(term.value(moved)) for term in regions)

    if not problem.regularizer.convex:
        return  # counts are flat almost everywhere, and sums of powers have their minima at spikes
    points = np.stack([axis.ravel() for axis in grid], axis=1)
    values = np.array([value(point) if inside(point) else math.nan for point in points])
    top, least = value(shown), float(np.nanmin(values, initial=math.inf))
    if not math.isfinite(top) or top <= least:
        return  # at a minimiser there is no level set
    shared = np.ma.masked_invalid(values.reshape(grid[0].shape))
    levels = least + (top - least) * np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    ax.contourf(*grid, shared, levels=levels, colors=plots.SKY, alpha=0.16)
    ax.contour(*grid, shared, levels=levels[1:], colors=plots.SKY, linewidths=[0.7, 0.7, 0.7, 1.6])
