"""Data Poisoning: MinNorm-OG in the order of Algorithm 1 (project, then descend) and of Appendix F.1.10 (the reverse).

Both at the published settings, from the networks of the full run (theta* of a seed is trained, or found in the folder).

    python -m validation.experiments.poisoning_order [--folder DIR] [--seeds 10] [--output DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn import codec, sweep
from exact_unlearn.algorithms.minnorm_og import ORDERS
from exact_unlearn.sweep import Cell, Result

from .poisoning_exact import PUBLISHED_BEST
from .poisoning_grid import BUDGETS, Run, Walk
from .poisoning_start import Recipe, grid, reproducible, start_cell, sup_error
from .poisoning_tables import Choice, figure_of, markdown
from .stacked import predict
from .stacked_projection import project

HEADER = ("T", "order", "sup error: median (central range)", "retain MSE", "seeds where it is the better one")


def order_cell(seed: int, recipe: Recipe) -> Cell:
    """The cell of one seed: all budgets, both orders."""
    parameters = {"seed": seed, "recipe": asdict(recipe)}
    return Cell("data-poisoning/order", compare, parameters, {"start": start_cell(seed, recipe)}, weight=20.0)


def compare(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """sup_error and retain_mse, (budgets, orders)."""
    errors, losses = np.empty((len(BUDGETS), 2)), np.empty((len(BUDGETS), 2))
    with reproducible(), torch.no_grad():
        for i, epochs in enumerate(BUDGETS):
            run = Run.of({**parameters, "method": "minnorm-og", "epochs": epochs}, inputs["start"])
            for j, order in enumerate(ORDERS):
                final, points = ended(run, PUBLISHED_BEST[epochs], order), grid()
                errors[i, j] = float(sup_error(predict(final, points), points))
                losses[i, j] = float((predict(final, run.x_retain) - torch.sin(run.x_retain)).square().mean())
    return {"sup_error": errors, "retain_mse": losses}


def ended(run: Run, setting: Mapping[str, float], order: str) -> Tensor:
    """theta after all epochs, (1, d)."""
    strength = float(setting["strength"])

    def step(t: int, theta: Tensor) -> None:
        nonlocal strength
        if t < run.epochs - setting["final_epochs"] and t % setting["project_every"] == 0:
            theta.copy_(project(theta, run.x_retain, theta.new_tensor([strength])))
            strength *= setting["decay"]

    walk = Walk.begin(run.theta_star, run.batch([setting]), setting["learning_rate"], 1)
    if order == ORDERS[0]:
        walk.go(0, run.epochs, before=step)
    else:
        walk.go(0, run.epochs, after=step)
    return walk.stack


def table(results: Sequence[Result]) -> str:
    """Rows: budget, order, median (central range), median of the retain MSE, on how many seeds it is better."""
    errors = np.stack([np.array(result["sup_error"]) for result in results])
    losses = np.stack([np.array(result["retain_mse"]) for result in results])
    rows = []
    for i, epochs in enumerate(BUDGETS):
        for j, order in enumerate(ORDERS):
            choice = Choice("minnorm-og", epochs, order, tuple(errors[:, i, j].tolist()), (), ())
            low, high = choice.central
            shown = f"{figure_of(choice.median)} ({figure_of(low)}, {figure_of(high)})"
            wins = int(np.sum(errors[:, i, j] < errors[:, i, 1 - j]))
            rows.append([str(epochs), order, shown, f"{np.median(losses[:, i, j]):.1e}", f"{wins} of {len(results)}"])
    return markdown(HEADER, rows) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute what is missing, print the table, and write it as order.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("experiment-output"))
    parser.add_argument("--seeds", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--output", type=Path, help="folder for order.md")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args(arguments)
    cells = [order_cell(seed, Recipe()) for seed in range(options.seeds)]
    sweep.run(cells, options.folder, options.jobs, progress=lambda p: print(p, file=sys.stderr, flush=True))
    shown = table([sweep.load(cell, options.folder) for cell in cells])
    print(shown)
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        codec.write_atomically(options.output / "order.md", shown.encode())


if __name__ == "__main__":
    main()
