"""Data Poisoning, Retrain on many seeds: is the difference to the published medians one of luck?

Retraining needs no theta*, so hundreds of seeds are affordable where the grid has ten.  Per seed: the retain samples,
a fresh initialisation, and every learning rate of the grid; the runs of T = 10 and 100 are the beginnings of that of
T = 1000.  Groups of ten seeds, each with the learning rate that is best on them, then stand for other choices of the
ten: how often does their median lie in the published central range?  At T = 10 other initialisations as well.

    python -m validation.experiments.poisoning_retrain --folder DIR --output docs/results/data_poisoning
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn import codec, sweep
from exact_unlearn.sweep import Cell, Result

from . import stacked
from .poisoning_grid import BUDGETS, Walk, hyper_parameters
from .poisoning_start import Recipe, generator, grid, reproducible, samples, sup_error
from .poisoning_tables import PUBLISHED, edge_gaps, figure_of, markdown, rank_correlation

FIRST, COUNT, GROUP = 1000, 200, 10
"""Seeds 1000, ..., 1199: none of those of the grid."""

Bound = Callable[[int, int], float]

INITIALISATIONS: dict[str, tuple[Bound, float]] = {
    "torch's default": (lambda fan_in, fan_out: 1 / math.sqrt(fan_in), 1.0),
    "torch's default, biases 0": (lambda fan_in, fan_out: 1 / math.sqrt(fan_in), 0.0),
    "Glorot, biases 0": (lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out)), 0.0),
    "He, biases 0": (lambda fan_in, fan_out: math.sqrt(6 / fan_in), 0.0),
}
"""Weights are uniform between minus and plus this bound of (fan in, fan out); biases are torch's times a factor."""


def retrain_cell(seed: int, recipe: Recipe) -> Cell:
    """The cell of one seed."""
    return Cell("data-poisoning/retrain", retrain, {"seed": seed, "recipe": asdict(recipe)}, weight=3.0)


def retrain(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """sup errors: "10", "100", "1000" with one entry per learning rate; "initialisations" at T = 10, (kinds, rates)."""
    del inputs
    seed, recipe = parameters["seed"], Recipe(**parameters["recipe"])
    x = samples(seed, recipe).x_retain
    start = stacked.initial_theta(recipe.width, generator(seed, "retrain"))
    rates = {budget: hyper_parameters("retrain", budget)["learning_rate"] for budget in BUDGETS}
    errors: dict[str, list[float]] = {str(budget): [] for budget in BUDGETS}
    with reproducible(), torch.no_grad():
        for rate in sorted({rate for some in rates.values() for rate in some}):
            mine = [budget for budget in BUDGETS if rate in rates[budget]]
            for budget, error in zip(mine, _errors_along(start, x, rate, mine), strict=True):
                errors[str(budget)].append(error)
        first = BUDGETS[0]
        others = [
            [_errors_along(_scaled(start, *factors), x, rate, [first])[0] for rate in sorted(rates[first])]
            for factors in INITIALISATIONS.values()
        ]
    return {**{name: np.array(values) for name, values in errors.items()}, "initialisations": np.array(others)}


def _errors_along(start: Tensor, x: Tensor, rate: float, budgets: Sequence[int]) -> list[float]:
    """The sup error after each of `budgets` epochs of one run."""
    batch = stacked.Batch(x, torch.sin(x), torch.full((1, len(x)), 1 / len(x)))
    walk, found, done = Walk.begin(start, batch, rate, 1), [], 0
    for budget in budgets:
        walk.go(done, budget)
        done = budget
        found.append(float(sup_error(stacked.predict(walk.stack, grid()), grid())[0]))
    return found


def _scaled(theta: Tensor, bound: Bound, biases: float) -> Tensor:
    """torch's initialisation, stretched to the bounds of another one."""
    out = theta.clone().unsqueeze(0)
    layers = stacked.Layers.of(out)
    width = stacked.width_of(len(theta))
    for weights, fans in ((layers.w1, (1, width)), (layers.w2, (width, width)), (layers.w3, (width, 1))):
        weights.mul_(bound(*fans) * math.sqrt(fans[0]))
    for bias in (layers.b1, layers.b2, layers.b3):
        bias.mul_(biases)
    return out[0]


def group_medians(errors: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """errors (seeds, rates) -> the least median over the rates of each group of ten seeds."""
    groups = errors[: len(errors) // GROUP * GROUP].reshape(-1, GROUP, errors.shape[1])
    return np.asarray(np.median(groups, axis=1).min(axis=1))


def rows_of(name: str, budget: int, errors: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    """One line: all seeds under their best rate, the medians of groups of ten, and where the published range is."""
    _, low, high = PUBLISHED[budget]["retrain"]
    best = errors[:, int(np.argmin(np.median(errors, axis=0)))]
    medians = group_medians(errors)
    inside = int(np.sum((medians >= low) & (medians <= high)))
    span = f"{figure_of(medians.min())} to {figure_of(medians.max())}"
    quartiles = ", ".join(figure_of(float(q)) for q in np.quantile(best, (0.2, 0.8)))
    median = f"{figure_of(float(np.median(best)))} ({quartiles})"
    return [str(budget), name, median, span, f"{inside} of {len(medians)}", f"{figure_of(low)} to {figure_of(high)}"]


HEADER = (
    "T",
    "initialisation",
    "all seeds: median (20 %, 80 %)",
    "medians of groups of ten",
    "groups inside the published range",
    "published range",
)


def table(seeds: Sequence[int], recipe: Recipe, folder: Path) -> str:
    """The table of docs/data_poisoning.md, and the rank correlation of errors and edge gaps."""
    results = [sweep.load(retrain_cell(seed, recipe), folder) for seed in seeds]
    first, *others = INITIALISATIONS
    found = {budget: np.stack([np.array(result[str(budget)]) for result in results]) for budget in BUDGETS}
    rows = [rows_of(first, budget, errors) for budget, errors in found.items()]
    tried = np.stack([np.array(result["initialisations"]) for result in results])
    rows += [rows_of(name, BUDGETS[0], tried[:, place]) for place, name in enumerate(others, start=1)]
    last = found[BUDGETS[-1]]
    best = last[:, int(np.argmin(np.median(last, axis=0)))]
    correlation = rank_correlation(edge_gaps(seeds, recipe).tolist(), best.tolist())
    note = f"{len(results)} seeds. Rank correlation of edge gap and error at T = {BUDGETS[-1]}: {correlation:.2f}."
    return f"{markdown(HEADER, rows)}\n\n{note}\n"


def main() -> None:
    """Compute what is missing, print the table and write it as retrain.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("experiment-output"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    seeds, recipe = range(FIRST, FIRST + options.count), Recipe()
    cells = [retrain_cell(seed, recipe) for seed in seeds]
    sweep.run(cells, options.folder, options.jobs, progress=lambda p: print(p, file=sys.stderr, flush=True))
    text = table(seeds, recipe, options.folder)
    print(text)
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        codec.write_atomically(options.output / "retrain.md", text.encode())


if __name__ == "__main__":
    main()
