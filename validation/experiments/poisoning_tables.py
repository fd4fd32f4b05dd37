"""Data Poisoning, the numbers: which hyper-parameters win, by how much, beside what the paper prints.

The error of a run is sup |f(theta, x) - sin x| over [-5 pi, 5 pi].  Per method and budget the setting with the
least median over the seeds is chosen.  The paper chooses on the seeds that it reports ("reported"); so that the
choice does not flatter the number, "held out" chooses for each half of the seeds on the other half.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import report, sweep

from .poisoning_grid import METHODS, Setting, grid_cell, hyper_parameters, settings
from .poisoning_start import HALF_WIDTH, Recipe, samples

NAMES = {
    "retrain": "Retrain",
    "minnorm-og": "MinNorm-OG",
    "gd": "GD",
    "ga": "GA",
    "neggrad+": "NGP",
    "ngd": "NGD",
    "ridge": "Ridge",
    "l1-sparse": "l1-Sparse",
}

PUBLISHED: dict[int, dict[str, tuple[float, float, float]]] = {
    10: {
        "retrain": (1.50, 1.34, 1.85),
        "minnorm-og": (1.50, 1.45, 2.96),
        "gd": (3.23, 2.52, 6.65),
        "ga": (2.56, 2.19, 3.45),
        "neggrad+": (2.50, 2.20, 3.94),
        "ngd": (2.73, 2.26, 7.23),
        "ridge": (2.27, 1.90, 3.02),
        "l1-sparse": (3.28, 2.52, 3.62),
    },
    100: {
        "retrain": (1.36, 1.27, 1.44),
        "minnorm-og": (1.08, 1.00, 1.63),
        "gd": (2.76, 2.48, 3.54),
        "ga": (23.8, 18.1, 30.0),
        "neggrad+": (2.62, 2.31, 7.87),
        "ngd": (2.85, 2.47, 3.57),
        "ridge": (2.13, 1.75, 3.12),
        "l1-sparse": (1.79, 1.54, 2.48),
    },
    1000: {
        "retrain": (1.17, 1.08, 1.26),
        "minnorm-og": (0.63, 0.42, 0.96),
        "gd": (2.61, 2.39, 3.38),
        "ga": (1400.0, 1025.0, 1869.0),
        "neggrad+": (2.75, 2.07, 9.80),
        "ngd": (2.45, 1.96, 3.67),
        "ridge": (1.96, 1.61, 3.84),
        "l1-sparse": (1.37, 1.19, 1.55),
    },
}
"""Table 5 of the paper (Table 1 is its part): median and central range."""

SYMBOLS = {
    "learning_rate": "η",
    "strength": "λ_reg",
    "decay": "γ_reg",
    "ascent": "λ_GA",
    "noise": "σ",
    "final_epochs": "T_GD",
    "project_every": "T_Proj",
}


@dataclass(frozen=True)
class Choice:
    """One cell of Table 5: errors and retain losses (one per seed) under the chosen setting or settings."""

    method: str
    epochs: int
    selection: str
    errors: tuple[float, ...]
    chosen: tuple[Setting, ...]
    retain_mse: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the seeds."""
        return float(np.median(self.errors))

    @property
    def central(self) -> tuple[float, float]:
        """Smallest and largest error once a fifth of the seeds is dropped at each end (two of ten)."""
        ordered, drop = sorted(self.errors), len(self.errors) // 5
        return ordered[drop], ordered[len(ordered) - 1 - drop]

    @property
    def verdict(self) -> str:
        """How the median lies to the published central range: "inside", or whether the two ranges still overlap."""
        if self.epochs not in PUBLISHED:
            return ""
        _, low, high = PUBLISHED[self.epochs][self.method]
        if low <= self.median <= high:
            return "inside"
        side = "below" if self.median < low else "above"
        mine = self.central
        return f"{side}, ranges {'overlap' if mine[0] <= high and low <= mine[1] else 'apart'}"


@dataclass(frozen=True)
class Errors:
    """All errors of one method at one budget, and its mean squared errors on the retain set: (seeds, settings)."""

    method: str
    epochs: int
    combinations: tuple[Setting, ...]
    values: np.ndarray[Any, np.dtype[np.float64]]
    retain_mse: np.ndarray[Any, np.dtype[np.float64]]

    def best(self, seeds: Sequence[int]) -> int:
        """The setting with the least median over these seeds (positions); the first of equals."""
        return int(np.argmin(np.median(self.values[list(seeds)], axis=0)))

    def reported(self) -> Choice:
        """Chosen on the seeds that are reported, as the paper does."""
        best = self.best(range(len(self.values)))
        return self._choice("reported", [best] * len(self.values))

    def held_out(self) -> Choice:
        """For each seed the setting that is best on the half of the seeds that it does not belong to."""
        even, odd = range(0, len(self.values), 2), range(1, len(self.values), 2)
        rivals = self.best(odd or even), self.best(even)
        return self._choice("held out", [rivals[seed % 2] for seed in range(len(self.values))])

    def _choice(self, selection: str, picks: list[int]) -> Choice:
        errors = tuple(float(self.values[seed, pick]) for seed, pick in enumerate(picks))
        losses = tuple(float(self.retain_mse[seed, pick]) for seed, pick in enumerate(picks))
        chosen = tuple(self.combinations[pick] for pick in dict.fromkeys(picks))
        return Choice(self.method, self.epochs, selection, errors, chosen, losses)


def collect(
    folder: Path,
    seeds: Sequence[int],
    budgets: Sequence[int],
    recipe: Recipe,
    axes: Mapping[tuple[str, int], Mapping[str, Sequence[float]]] | None = None,
) -> list[Errors]:
    """The errors of all methods and budgets from the result files."""
    found = []
    for epochs in budgets:
        for method in METHODS:
            mine = hyper_parameters(method, epochs) if axes is None else axes[method, epochs]
            cells = [grid_cell(method, epochs, seed, recipe, mine) for seed in seeds]
            results = [sweep.load(cell, folder) for cell in cells]
            values, losses = (np.stack([result[name] for result in results]) for name in ("sup_error", "retain_mse"))
            found.append(Errors(method, epochs, tuple(settings(mine)), values, losses))
    return found


def edge_gaps(seeds: Sequence[int], recipe: Recipe) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Per seed the larger of the two stretches at the ends of [-5 pi, 5 pi] that hold no retain sample.

    There every method extrapolates.  P(gap > g) = 2 (1 - g/w)^n - (1 - 2g/w)^n for n samples on a length w.
    """
    found = [samples(seed, recipe).x_retain.double() for seed in seeds]
    return np.array([max(float(x.min()) + HALF_WIDTH, HALF_WIDTH - float(x.max())) for x in found])


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of the ranks (no ties expected)."""
    ranks = [np.argsort(np.argsort(np.asarray(values))) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def edge_rows(choices: Sequence[Choice], gaps: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[str]]:
    """Rows: budget, method, rank correlation of errors and edge gaps, median over the seeds with the smaller gaps."""
    small = gaps <= np.median(gaps)
    rows = []
    for choice in choices:
        errors = np.array(choice.errors)
        correlation = f"{rank_correlation(gaps.tolist(), choice.errors):.2f}"
        rows.append([str(choice.epochs), NAMES[choice.method], correlation, figure_of(float(np.median(errors[small])))])
    return rows


EDGE_HEADER = ("T", "method", "rank correlation with the edge gap", "median of the seeds with small gaps")


def figure_of(value: float) -> str:
    """Three significant digits, as the paper prints them."""
    if not math.isfinite(value):
        return "∞"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def describe(setting: Setting) -> str:
    """A setting in the symbols of the paper."""
    return ", ".join(f"{SYMBOLS[name]} {value:g}" for name, value in setting.items())


def table_5(choices: Sequence[Choice]) -> list[list[str]]:
    """Rows: budget, method, ours, published, verdict, median of the mean squared error on the retain set."""
    rows = []
    for choice in choices:
        low, high = choice.central
        published = PUBLISHED.get(choice.epochs, {}).get(choice.method)
        theirs = "" if published is None else f"{_triple(*published)}"
        ours, loss = _triple(choice.median, low, high), f"{np.median(choice.retain_mse):.1e}"
        rows.append([str(choice.epochs), NAMES[choice.method], ours, theirs, choice.verdict, loss])
    return rows


def _triple(median: float, low: float, high: float) -> str:
    return f"{figure_of(median)} ({figure_of(low)}, {figure_of(high)})"


def table_6(choices: Sequence[Choice]) -> list[list[str]]:
    """Rows: budget, method, chosen settings."""
    return [
        [str(choice.epochs), NAMES[choice.method], "; ".join(describe(setting) for setting in choice.chosen)]
        for choice in choices
    ]


TABLE_5_HEADER = ("T", "method", "sup error: median (central range)", "published", "our median", "retain MSE")
TABLE_6_HEADER = ("T", "method", "chosen")


def as_text(choices: Sequence[Choice]) -> str:
    """Both tables for a terminal."""
    five = report.table(TABLE_5_HEADER, table_5(choices), left=2)
    return five + "\n\n" + report.table(TABLE_6_HEADER, table_6(choices), left=3)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for docs/; bars inside an entry (norms) are escaped, since they would end it."""
    lines = [[entry.replace("|", r"\|") for entry in line] for line in (header, *rows)]
    texts = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "---|" * len(header), *texts[1:]])


def best_of_all(choices: Sequence[Choice], epochs: int) -> str:
    """The method with the least median at this budget."""
    mine = [choice for choice in choices if choice.epochs == epochs]
    return min(mine, key=lambda choice: choice.median).method


def as_tree(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """For --json."""
    tree = []
    for choice in choices:
        low, high = choice.central
        published = PUBLISHED.get(choice.epochs, {}).get(choice.method)
        tree.append(
            {
                "epochs": choice.epochs,
                "method": choice.method,
                "selection": choice.selection,
                "median": choice.median,
                "central_range": [low, high],
                "errors": list(choice.errors),
                "retain_mse": list(choice.retain_mse),
                "settings": list(choice.chosen),
                "published": None if published is None else list(published),
                "verdict": choice.verdict,
            }
        )
    return tree
