"""Data Poisoning, the exact view: what the first-order surrogate says at the poisoned networks, step by step.

At theta*, with J from the 50 retain samples (50 x 91 201), the surrogate

    minimise 1/2 |theta* + D|^2 + lam/2 |D|^2  [or |D| <= radius]   subject to   J D = 0

has the solution D = -s P_perp(theta*), s = 1/(1 + lam), or min(1, radius / |P_perp(theta*)|): one path for both drift
penalties, so lam and radius are two names for s.  Along it this cell measures how far theta moves, what interpolation
error the linearisation leaves, and how far the curve is from the sine.  It does so

* at theta* as trained, where the published recipe leaves a mean squared error of 4e-4 to 1e-1, and
* at theta* polished by Gauss-Newton towards interpolation, which is what the theory assumes.

Then the surrogate is solved again and again, J anew at each point: *plain* steps only shrink (J D = 0, as the
surrogate says);
*restored* steps go back to f(theta, x) = sin x on the retain set after each (J D = y - f, by damped Gauss-Newton),
so that every iterate interpolates.  Beside them: MinNorm-OG under its best published setting, epoch by epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn import sweep
from exact_unlearn.sweep import Cell, Result

from .poisoning_grid import Run, Walk
from .poisoning_start import HALF_WIDTH, Recipe, grid, reproducible, samples, start_cell, sup_error
from .stacked import predict
from .stacked_projection import dense_jacobian, interpolate, project, surrogate_step

VARIANTS = ("trained", "polished")

STRENGTHS = (0.0, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
"""s = 1/(1 + lam) along the path of one surrogate solution."""

STEP_STRENGTHS = (0.01, 0.03, 0.1)
"""s of each of many surrogate steps."""

STEPS = 60
RESTORING = 10
"""Gauss-Newton iterations after each restored step, at most."""

POLISHING = 1000
"""Gauss-Newton iterations for the polished theta*, at most."""

PUBLISHED_BEST = {
    10: {"learning_rate": 1e-3, "strength": 0.1, "decay": 0.9, "final_epochs": 2, "project_every": 1},
    100: {"learning_rate": 1e-3, "strength": 0.1, "decay": 0.9, "final_epochs": 50, "project_every": 2},
    1000: {"learning_rate": 1e-3, "strength": 0.1, "decay": 0.9, "final_epochs": 500, "project_every": 10},
}
"""MinNorm-OG's best hyper-parameters as published."""


def exact_cell(seed: int, recipe: Recipe, steps: int = STEPS, polishing: int = POLISHING) -> Cell:
    """The cell of one seed."""
    parameters = {"seed": seed, "recipe": asdict(recipe), "steps": steps, "polishing": polishing}
    weight = (steps * RESTORING + polishing) * recipe.width**2 / 3e4
    return Cell("data-poisoning/exact", view, parameters, {"start": start_cell(seed, recipe)}, weight=weight)


def view(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """All measurements of one seed; see `measure_path`, `walk_surrogate`, `walk_minnorm`."""
    data = samples(parameters["seed"], Recipe(**parameters["recipe"]))
    x = torch.cat([data.x_retain, data.x_forget]).double()
    y = torch.cat([data.y_retain, data.y_forget]).double()
    retain = slice(0, len(data.x_retain))
    with reproducible(), torch.no_grad():
        trained = torch.from_numpy(np.array(inputs["start"]["theta_star"])).double().unsqueeze(0)
        polished = interpolate(trained, x, y, parameters["polishing"])
        result: dict[str, Any] = {"minnorm-og": walk_minnorm(parameters, inputs["start"])}
        for name, theta in zip(VARIANTS, (trained, polished), strict=True):
            result[name] = {
                "theta_star": theta[0].numpy(),
                "residual": _largest(predict(theta, x) - y).numpy(),
                "path": measure_path(theta, x[retain], y[retain]),
                "plain": walk_surrogate(theta, x[retain], y[retain], parameters["steps"], 0),
                "restored": walk_surrogate(theta, x[retain], y[retain], parameters["steps"], RESTORING),
            }
    return result


def _largest(values: Tensor) -> Tensor:
    return values.abs().amax(-1)


def measure_path(theta: Tensor, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Along D = -s P_perp(theta*), s in STRENGTHS: drift |D|, retain residual max |f - y|, sup error; and cond J."""
    direction = surrogate_step(theta, x, torch.ones(1), None) - theta
    points = theta + torch.tensor(STRENGTHS).double().unsqueeze(1) * direction
    values = torch.linalg.svdvals(dense_jacobian(theta[0], x))
    return {
        "drift": (points - theta).norm(dim=1).numpy(),
        "norm": points.norm(dim=1).numpy(),
        "residual": _largest(predict(points, x) - y).numpy(),
        "sup_error": sup_error(predict(points, grid().double()), grid().double()).numpy(),
        "singular_values": values.numpy(),
    }


def walk_surrogate(theta: Tensor, x: Tensor, y: Tensor, steps: int, restoring: int) -> dict[str, Any]:
    """Surrogate steps of each of STEP_STRENGTHS, J anew at each: sup error, retain residual and |theta| after 0, 1,
    ... steps."""
    strengths = torch.tensor(STEP_STRENGTHS)
    stack, points = theta.expand(len(strengths), -1).clone(), grid().double()
    rows = []
    for step in range(steps + 1):
        if step:
            stack = surrogate_step(stack, x, strengths, None)
            if restoring:
                stack = interpolate(stack, x, y, restoring, 1e-8)
        measured = sup_error(predict(stack, points), points), _largest(predict(stack, x) - y), stack.norm(dim=1)
        rows.append(torch.stack(measured))
    table = torch.stack(rows)
    return {name: table[:, k].numpy() for k, name in enumerate(("sup_error", "residual", "norm"))}


def walk_minnorm(parameters: Mapping[str, Any], start: Result) -> dict[str, Any]:
    """MinNorm-OG under its best published setting for T = 1000: the same three numbers after epoch 0, 1, 2, ...,
    thinned."""
    setting = PUBLISHED_BEST[1000]
    run = Run.of({**parameters, "method": "minnorm-og", "epochs": 1000}, start)
    walk = Walk.begin(run.theta_star, run.batch([setting]), setting["learning_rate"], 1)
    seen = sorted({*range(20), *range(20, 100, 5), *range(100, 1001, 20)})
    points, strength, rows, t = grid(), setting["strength"], [], 0

    def before(epoch: int, theta: Tensor) -> None:
        nonlocal strength
        if epoch < 1000 - setting["final_epochs"] and epoch % setting["project_every"] == 0:
            theta.copy_(project(theta, run.x_retain, torch.tensor([strength])))
            strength *= setting["decay"]

    for epoch in seen:
        walk.go(t, epoch, before=before)
        t = epoch
        residual = _largest(predict(walk.stack, run.x_retain) - torch.sin(run.x_retain))
        sup = sup_error(predict(walk.stack, points), points)
        rows.append(torch.cat([sup, residual, walk.stack.norm(dim=1)]).double())
    table = torch.stack(rows)
    names = ("sup_error", "residual", "norm")
    return {"epoch": np.array(seen)} | {name: table[:, k].numpy() for k, name in enumerate(names)}


def _entry(kind: str, name: str, at: Any, one: Mapping[str, Any]) -> float:
    return float(one[kind][name][at])


def _least(kind: str, name: str, column: int, one: Mapping[str, Any]) -> float:
    return float(one[kind][name][:, column].min())


def summary(seeds: Sequence[int], recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Medians over the seeds as a table of texts, and what differs from seed to seed as numbers."""
    results = [sweep.load(exact_cell(seed, recipe), folder) for seed in seeds]
    starts = [sweep.load(start_cell(seed, recipe), folder) for seed in seeds]
    both = {name: [result[name] for result in results] for name in VARIANTS}
    rows: list[dict[str, str]] = []

    def add(what: str, measure: Callable[[Mapping[str, Any]], float]) -> None:
        texts = {name: f"{np.median([measure(one) for one in both[name]]):.3g}" for name in VARIANTS}
        rows.append({"what": what, **texts})

    add("largest residual at theta*, all 55 samples", lambda one: float(one["residual"][0]))
    add("cond J", lambda one: float(one["path"]["singular_values"][0] / one["path"]["singular_values"][-1]))
    add("|theta*|", lambda one: float(one["path"]["norm"][0]))
    add("|D| of the surrogate solution, lam = 0", lambda one: float(one["path"]["drift"][-1]))
    for place, s in enumerate(STRENGTHS):
        name = f"lam = {1 / s - 1:.3g}" if s else "D = 0"
        add(f"{name}: largest retain residual", partial(_entry, "path", "residual", place))
        add(f"{name}: sup error", partial(_entry, "path", "sup_error", place))
    for kind in ("plain", "restored"):
        for place, s in enumerate(STEP_STRENGTHS):
            lam = f"lam = {1 / s - 1:.3g}"
            last = len(results[0]["trained"][kind]["sup_error"]) - 1
            name = f"{kind} steps, {lam}"
            add(f"{name}: sup error after {last}", partial(_entry, kind, "sup_error", (-1, place)))
            add(f"{name}: least sup error", partial(_least, kind, "sup_error", place))
            add(f"{name}: retain residual after {last}", partial(_entry, kind, "residual", (-1, place)))
    ends = [float(result["minnorm-og"]["sup_error"][-1]) for result in results]
    rows.append({"what": "MinNorm-OG, 1000 epochs: sup error", "trained": f"{np.median(ends):.3g}", "polished": ""})
    told = {}
    for name in VARIANTS:
        steps = [_steps_to(one["restored"]["sup_error"], 1.0) for one in both[name]]
        reached = [value for value in steps if value is not None]
        told[name] = f"{len(reached)} of {len(seeds)}" + (f", median {np.median(reached):g}" if reached else "")
    rows.append({"what": "restored steps: seeds that reach sup error 1, and after how many", **told})
    return {
        "rows": rows,
        "seeds": [_one_seed(seed, recipe, *pair) for seed, *pair in zip(seeds, starts, results, strict=True)],
    }


SEED_HEADER = (
    "seed",
    "training MSE",
    "residual at theta*: trained",
    "polished",
    "nearest retained to a poisoned sample",
    "edge gap",
    "sup error after restored steps, trained: " + ", ".join(f"λ = {1 / s - 1:.3g}" for s in STEP_STRENGTHS),
    "MinNorm-OG",
)


def _one_seed(seed: int, recipe: Recipe, start: Result, result: Result) -> dict[str, Any]:
    """What differs from seed to seed: where its samples lie, how well theta* fits them, where the steps end."""
    x_retain, x_forget = (np.sort(np.array(start[name], dtype=float)) for name in ("x_retain", "x_forget"))
    edges = x_retain[0] + HALF_WIDTH, HALF_WIDTH - x_retain[-1]
    return {
        "seed": seed,
        "training_mse": float(start["mse"][0]),
        "residual": {name: float(result[name]["residual"][0]) for name in VARIANTS},
        "nearest": float(np.abs(x_retain[:, None] - x_forget).min()),
        "edge_gap": float(max(edges)),
        "restored": [float(value) for value in result["trained"]["restored"]["sup_error"][-1]],
        "minnorm-og": float(result["minnorm-og"]["sup_error"][-1]),
    }


def seed_rows(exact: Mapping[str, Any]) -> list[list[str]]:
    """The table of SEED_HEADER."""
    return [
        [
            str(one["seed"]),
            f"{one['training_mse']:.1e}",
            *(f"{one['residual'][name]:.2g}" for name in VARIANTS),
            f"{one['nearest']:.3f}",
            f"{one['edge_gap']:.2f}",
            ", ".join(f"{value:.2f}" for value in one["restored"]),
            f"{one['minnorm-og']:.2f}",
        ]
        for one in exact["seeds"]
    ]


def _steps_to(errors: Any, level: float) -> int | None:
    """The least number of steps after which one of the strengths is at `level` or below."""
    reached = np.nonzero(np.asarray(errors).min(axis=1) <= level)[0]
    return int(reached[0]) if len(reached) else None
