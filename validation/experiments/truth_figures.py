"""The truth, the pictures: where every method ends, and what its predictor looks like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import exact_unlearn as xu
from exact_unlearn import plots, sweep

from .truth_methods import METHODS, Size, applies, method_cell, settings
from .truth_optimum import optimum_cell
from .truth_tables import Row, Table, words
from .truth_tasks import make_task

LOOKS = {
    "line-poison": (plots.BLUE, "o"),
    "line-class": (plots.SKY, "v"),
    "plane-poison": (plots.VERMILLION, "s"),
    "plane-class": (plots.ORANGE, "D"),
    "digits-poison": (plots.GREEN, "^"),
    "digits-class": (plots.PURPLE, "P"),
}
FLOOR = 1e-3
"""Smaller excesses and distances are drawn here."""

PANELS = ("nothing", "surrogate", "path l2", "path l1", "minnorm-og", "gd", "ridge", "l1-sparse")


def labels(tables: Sequence[Table]) -> list[str]:
    """The lines of the figure: every method once, the surrogate for every weight, best and worst of several starts."""
    rows = [row for table in tables for row in table.rows]
    return list(dict.fromkeys(label(row) for row in sorted(rows, key=lambda row: METHODS.index(row.method))))


def label(row: Row) -> str:
    """Its line."""
    return f"{row.method}, {row.setting}" if row.method == "surrogate" or " of " in row.setting else row.method


def points(tables: Sequence[Table]) -> dict[str, dict[str, tuple[float, float]]]:
    """By line and task: the median of R / R0 - 1 after restoring the labels, and of the distance as returned."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for table in tables:
        for row in table.rows:
            pair = float(np.median(row.restored["value"] - 1)), float(np.median(row.returned["distance"]))
            found.setdefault(label(row), {})[table.task] = pair
    return found


def draw_places(tables: Sequence[Table], path: Path) -> None:
    """Two panels with a line per method and a marker per task."""
    found = points(tables)
    names = labels(tables)
    seeds = max(len(table.seeds) for table in tables)
    title = "Exact unlearning, proved: how far every method is from the global optimum"
    subtitle = (
        f"Medians over {seeds} seeds. Left: how much larger R is than the certified optimum, labels restored (right "
        f"end: 100 and more, or not at all). Right: distance of the predictor to the optimal ones, as returned; 1 is "
        f"that of θ*. Values below {FLOOR:g} are drawn there."
    )
    with plots.figure(12.0, 8.6, title, subtitle) as fig:
        left, right = fig.subplots(1, 2, sharey=True)
        for task, (colour, marker) in LOOKS.items():
            mine = [(line, found[name][task]) for line, name in enumerate(names) if task in found[name]]
            if not mine:
                continue
            shift = 0.11 * (list(LOOKS).index(task) - 2.5)
            heights = [line + shift for line, _ in mine]
            for ax, which, ceiling in ((left, 0, 100.0), (right, 1, 100.0)):
                x = [min(max(pair[which], FLOOR), ceiling) for _, pair in mine]
                ax.plot(x, heights, marker, color=colour, label=task, markersize=5)
        for ax, words_ in ((left, "R / R0 − 1"), (right, "distance / distance of θ*")):
            ax.set_xscale("log")
            ax.set_xlim(FLOOR / 1.5, 150)
            ax.set_xlabel(words_)
            ax.set_yticks(range(len(names)), names)
        right.axvline(1.0, color=plots.INK, linewidth=0.9, linestyle=":")
        left.invert_yaxis()
        handles, texts = left.get_legend_handles_labels()
        fig.legend(handles, texts, loc="outside lower center", ncols=len(texts))
        plots.write_png(fig, path)


def draw_predictors(table: Table, methods: Sequence[str], size: Size, folder: Path, path: Path) -> None:
    """One seed of a task on the line: every panel has the certified optimum in grey and a method in colour."""
    seed = table.seeds[0]
    task = make_task(table.task, seed)
    optimum = sweep.load(optimum_cell(table.task, seed, size.width), folder)
    model = xu.Perceptron(task.x.shape[1], optimum["c"].shape[1])
    best = model.predict(model.join({"c": optimum["c"], "A": optimum["A"]}), task.fresh)[:, 0]
    shown = {row.method: row for row in reversed(table.rows)}
    panels = [m for m in PANELS if m in methods and m in shown and applies(m, task)]
    title = f"What is left of the forgotten samples: {table.task}, seed {seed}"
    subtitle = (
        "Grey: the predictor of the certified global optimum. Colour: the method, as returned. Dots: retained, "
        "crosses: forgotten. Numbers: R / R0 of the network, in brackets where it misses a label."
    )
    with plots.figure(12.5, 6.0, title, subtitle) as fig:
        axes = fig.subplots(2, 4, sharex=True, sharey=True).reshape(-1)
        for ax, method in zip(axes, panels, strict=False):
            row = shown[method]
            own = settings(method, size)
            at = next(k for k, setting in enumerate(own) if words(setting) == row.setting)
            curve = sweep.load(method_cell(method, table.task, seed, size), folder)["curves"][at]
            ax.plot(task.fresh[:, 0], best, color=plots.GREY, linewidth=4, alpha=0.45)
            ax.plot(task.fresh[:, 0], curve, color=plots.VERMILLION if "path" in method else plots.BLUE)
            ax.plot(task.x[~task.forget, 0], task.y[~task.forget], "o", color=plots.INK, markersize=4)
            ax.plot(task.x[task.forget, 0], task.y[task.forget], "x", color=plots.INK, markeredgewidth=1.6)
            ratio = f"{row.returned['value'][0]:.3g}"
            ax.set_title(f"{label(row)}: {ratio if row.feasible[0] else f'({ratio})'}")
            ax.set_ylim(-2.6, 2.6)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        plots.write_png(fig, path)
