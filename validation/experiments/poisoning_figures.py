"""Data Poisoning, the pictures: a figure per budget, a panel per method, each curve beside the sine it should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exact_unlearn import plots, sweep

from . import stacked
from .poisoning_exact import STEP_STRENGTHS, STRENGTHS, exact_cell
from .poisoning_grid import grid_cell, settings
from .poisoning_start import Recipe, grid, samples, start_cell
from .poisoning_tables import NAMES, PUBLISHED, Choice, figure_of

LIMIT = 2.6
"""Curves are cut off at this height; the title of a panel says how far they go."""


def typical_seed(choices: Sequence[Choice]) -> int:
    """Position of the seed for which MinNorm-OG's error is nearest to its median, in ratio."""
    (ours,) = (choice for choice in choices if choice.method == "minnorm-og")
    return int(np.argmin(np.abs(np.log(np.array(ours.errors) / ours.median))))


def draw(
    choices: Sequence[Choice], curves: dict[str, Any], seed: int, recipe: Recipe, theta_star: Any, path: Path
) -> None:
    """Write the figure of one budget.  curves: by method, the curve of this seed under its chosen setting."""
    x = grid().numpy()
    data = {name: values.numpy() for name, values in vars(samples(seed, recipe)).items()}
    before = stacked.predict(torch.from_numpy(np.array(theta_star))[None], grid())[0].numpy()
    epochs = choices[0].epochs
    title = f"Data Poisoning: what is left of the poison after {epochs} epochs"
    subtitle = (
        f"Seed {seed}. Dots: retained, crosses: to be forgotten. Grey: sin x, the right answer. Dotted: before. "
        "Colour: after. Number: sup |f − sin| [median of all seeds; published]."
    )
    with plots.figure(13.0, 6.2, title, subtitle) as fig:
        panels = fig.subplots(2, 4, sharex=True, sharey=True).reshape(-1)
        for ax, choice in zip(panels, choices, strict=True):
            curve = np.array(curves[choice.method])
            ours = choice.method == "minnorm-og"
            colour = plots.VERMILLION if ours else plots.BLUE
            ax.plot(x, np.sin(x), color=plots.GREY, linewidth=3.2, alpha=0.45)
            ax.plot(x, np.clip(before, -LIMIT * 2, LIMIT * 2), color=plots.INK, linewidth=0.9, linestyle=":")
            ax.plot(x, np.clip(curve, -LIMIT * 2, LIMIT * 2), color=colour, linewidth=1.7)
            ax.plot(data["x_retain"], data["y_retain"], "o", color=plots.INK, markersize=2.4, zorder=4)
            ax.plot(data["x_forget"], data["y_forget"], "x", color=plots.INK, markersize=6, markeredgewidth=1.5)
            if np.abs(curve).min() > LIMIT:
                ax.text(0, -1.9, "the curve lies beyond the frame", ha="center", color=colour)
            mine = float(np.abs(curve - np.sin(x)).max())
            theirs = PUBLISHED.get(epochs, {}).get(choice.method)
            note = f"[{figure_of(choice.median)}{'' if theirs is None else '; ' + figure_of(theirs[0])}]"
            weight = "bold" if ours else "normal"
            ax.set_title(f"{NAMES[choice.method]}  {figure_of(mine)} {note}", fontweight=weight)
            ax.set_ylim(-LIMIT, LIMIT)
            ax.set_yticks([-2, -1, 0, 1, 2])
            ax.set_xticks([-5 * np.pi, 0, 5 * np.pi], ["−5π", "0", "5π"])
        plots.write_png(fig, path)


def draw_all(
    choices: Sequence[Choice], seeds: Sequence[int], recipe: Recipe, folder: Path, output: Path, axes: Any = None
) -> list[Path]:
    """One file per budget, from the result files in `folder`."""
    paths = []
    for epochs in dict.fromkeys(choice.epochs for choice in choices):
        mine = [choice for choice in choices if choice.epochs == epochs]
        seed = seeds[typical_seed(mine)]
        curves = {}
        for choice in mine:
            own = None if axes is None else axes[choice.method, epochs]
            cell = grid_cell(choice.method, epochs, seed, recipe, own)
            index = settings(dict(cell.parameters["axes"])).index(choice.chosen[0])
            curves[choice.method] = sweep.load(cell, folder)["curves"][index]
        theta_star = sweep.load(start_cell(seed, recipe), folder)["theta_star"]
        paths.append(output / f"figure_T{epochs}.png")
        draw(mine, curves, seed, recipe, theta_star, paths[-1])
    return paths


def draw_exact(seeds: Sequence[int], recipe: Recipe, folder: Path, output: Path) -> Path:
    """The exact view: along the surrogate's path, and step by step beside MinNorm-OG; medians over the seeds."""
    results = [sweep.load(exact_cell(seed, recipe), folder) for seed in seeds]

    def median(variant: str, *names: str) -> Any:
        found = []
        for result in results:
            value: Any = result[variant]
            for name in names:
                value = value[name]
            found.append(np.array(value, dtype=float))
        return np.median(found, axis=0)

    title = "Data Poisoning, the exact view: one linearisation does not reach the sine, many restored ones do"
    subtitle = (
        f"Medians over {len(seeds)} seeds. Left: one surrogate solution. Right: many, plain (JΔ = 0) or restored (to "
        "the retained labels after each)."
    )
    with plots.figure(13.0, 5.4, title, subtitle) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
        strengths = np.array(STRENGTHS[1:])
        for variant, marker, style in (("trained", "o", "-"), ("polished", "s", "--")):
            for name, colour in (("residual", plots.BLUE), ("sup_error", plots.VERMILLION)):
                values = median(variant, "path", name)[1:]
                what = "retain residual max |f − y|" if name == "residual" else "sup |f − sin|"
                left.plot(strengths, values, style, marker=marker, color=colour, label=f"{what}, {variant}")
        left.set_xscale("log")
        left.set_yscale("log")
        left.set_xlabel("s = 1/(1+λ): share of the way to P(θ*)   (trust region: radius / |P⊥θ*|)")
        left.set_title("θ* − s·P⊥(θ*): the surrogate’s minimiser for each λ and radius")
        left.set_ylim(top=90)
        left.legend(loc="upper left")
        for kind, style in (("plain", ":"), ("restored", "-")):
            for place, colour in enumerate((plots.SKY, plots.GREEN, plots.PURPLE)):
                values = median("trained", kind, "sup_error")[:, place]
                lam = 1 / STEP_STRENGTHS[place] - 1
                right.plot(values, style, color=colour, label=f"{kind} steps, λ = {lam:.3g}")
        epochs = median("minnorm-og", "epoch")
        ours = "MinNorm-OG, published setting"
        right.plot(epochs, median("minnorm-og", "sup_error"), color=plots.VERMILLION, linewidth=2.2, label=ours)
        right.set_xscale("symlog", linthresh=10)
        right.set_xlim(0, 1000)
        right.set_xticks([0, 5, 10, 30, 60, 100, 300, 1000], ["0", "5", "10", "30", "60", "100", "300", "1000"])
        right.set_ylim(0, 6)
        right.set_xlabel("surrogate steps, or epochs of MinNorm-OG")
        right.set_title("sup |f − sin| from θ* as trained")
        right.legend(loc="upper right", ncols=2)
        path = output / "figure_exact.png"
        plots.write_png(fig, path)
    return path
