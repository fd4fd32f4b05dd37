"""The image experiments as figures: Pareto fronts with and without standard errors; accuracies beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import plots

from .images_grid import FORWARD_ONLY
from .images_results import Runs, pareto_front, reported
from .images_rows import METHODS, NAMES, PUBLISHED, Row
from .images_tables import Marks, collapse_score

COLOURS = (plots.BLUE, plots.VERMILLION, plots.GREEN, plots.PURPLE, plots.ORANGE, plots.SKY, plots.GREY)
MARKERS = ("s", "o", "v", "^", "D", "<", ">", "P", "X", "h", "*")


def look(method: str) -> dict[str, Any]:
    """Colour and marker of a method; MinNorm-OG stands out."""
    place = METHODS.index(method)
    ours = method == "minnorm-og"
    others = [colour for colour in COLOURS if colour != plots.VERMILLION]
    colour = plots.VERMILLION if ours else others[place % len(others)]
    return {"color": colour, "marker": MARKERS[place], "linewidth": 2.2 if ours else 1.2, "zorder": 5 if ours else 3}


def draw_erasure(row: Row, runs: Sequence[Runs], marks: Marks, heading: str, path: Path) -> None:
    """A line of two panels per policy for buffers: fronts, and fronts with standard errors."""
    policies = list(dict.fromkeys(one.buffers for one in runs if one.method in METHODS))
    title = f"Label erasure, T = {row.epochs}: which colours are forgotten, and what is left of the classes"
    subtitle = (
        f"{heading} Pareto fronts of means over {runs[0].seeds} trial(s); bars are standard errors. The best corner is "
        "right below. ★: trained without colours; +: before; ×: after forward passes alone."
    )
    height = 0.9 + 4.3 * len(policies)
    with plots.figure(13.0, height, title, subtitle) as fig:
        panels = fig.subplots(len(policies), 2, sharex=True, sharey=True, squeeze=False)
        for line, policy in zip(panels, policies, strict=True):
            for ax, bars in zip(line, (False, True), strict=True):
                for one in runs:
                    if one.buffers == policy and one.method in METHODS:
                        _front(ax, one, bars)
                _marks(ax, runs, marks)
                ax.set_title(f"buffers {policy}" + (", with standard errors" if bars else ""))
                ax.set_xlim(-0.03, 1.03)
                ax.set_ylim(-0.05, 0.8)
            line[0].set_ylabel("forget error")
        for ax in panels[-1]:
            ax.set_xlabel("retain quality: class and colour right on gray test images")
        panels[0, 0].legend(loc="upper left", ncols=2)
        plots.write_png(fig, path)


def _front(ax: Any, runs: Runs, bars: bool) -> None:
    x, y = runs.mean("both_right"), runs.mean("forget_error")
    front = pareto_front(x, y)
    style = look(runs.method)
    if not bars:
        ax.plot(x[front], y[front], label=NAMES[runs.method], **style)
        return
    errors = runs.error("both_right")[front], runs.error("forget_error")[front]
    ax.errorbar(x[front], y[front], errors[1], errors[0], elinewidth=0.8, capsize=1.5, **style)


def _marks(ax: Any, runs: Sequence[Runs], marks: Marks) -> None:
    for kind, marker in (("truth", "*"), ("initial", "+")):
        x, y = (float(np.mean(marks[kind][name])) for name in ("both_right", "forget_error"))
        ax.plot([x], [y], marker, color=plots.INK, markersize=11, markeredgewidth=1.6, zorder=6)
    for one in runs:
        if one.method == FORWARD_ONLY:
            ax.plot(one.mean("both_right"), one.mean("forget_error"), "x", color=plots.INK, markersize=8, zorder=6)


def draw_collapse(row: Row, runs: Sequence[Runs], marks: Marks, heading: str, published: bool, path: Path) -> None:
    """A panel per policy: colour accuracy of every method with its standard error, and the published one."""
    policies = list(dict.fromkeys(one.buffers for one in runs if one.method in METHODS))
    title = f"Representation Collapse, T = {row.epochs}: how many test images are called by their colour"
    shown = f" Crosses: Table 17 of the paper ({100 * row.p_retain:g} % of CIFAR-10, ResNet-18)." if published else ""
    subtitle = f"{heading} Means and standard errors of {runs[0].seeds} trial(s) under the best setting.{shown}"
    with plots.figure(5.2 + 4.0 * len(policies), 5.0, title, subtitle) as fig:
        panels = fig.subplots(1, len(policies), sharey=True, squeeze=False)[0]
        places = {method: len(METHODS) - 1 - index for index, method in enumerate(METHODS)}
        for ax, policy in zip(panels, policies, strict=True):
            for one in runs:
                if one.buffers != policy or one.method not in METHODS:
                    continue
                choice, y = reported(one, collapse_score), places[one.method]
                style = look(one.method)
                mean, error = 100 * choice.mean("colour_accuracy"), 100 * choice.error("colour_accuracy")
                bars = None if np.isnan(error) else [error]
                ax.errorbar([mean], [y], xerr=bars, fmt=style["marker"], color=style["color"], capsize=3, markersize=7)
                if published:
                    theirs = PUBLISHED[row.table][one.method][0]
                    ax.plot([theirs], [y], "x", color=plots.SOFT, markersize=7, markeredgewidth=1.4)
            for kind, line in (("initial", ":"), ("truth", "--")):
                value = 100 * float(np.mean(marks[kind]["colour_accuracy"]))
                ax.axvline(value, color=plots.INK, linestyle=line, linewidth=1.0)
            ax.set_xlim(0, 102)
            ax.set_title(f"buffers {policy}")
            ax.set_xlabel("colour accuracy, % (dotted: before; dashed: trained without)")
        panels[0].set_yticks(list(places.values()), [NAMES[method] for method in places])
        plots.write_png(fig, path)
