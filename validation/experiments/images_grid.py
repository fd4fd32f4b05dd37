"""The image experiments as cells: trained networks once per seed, then every method, learning rate and seed by itself.

A killed run loses at most the settings of one learning rate.  Results hold no path and no clock; on one kind of
processor they are the same to the last byte, however often the run was interrupted.
"""

from __future__ import annotations

import contextlib
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from exact_unlearn.algorithms import unlearn
from exact_unlearn.scalable import KinkWarning
from exact_unlearn.sweep import Cell, Result

from . import collapse, label_erasure
from .images_networks import load_backbone, network, state_of
from .images_recipes import Recipe
from .images_rows import COLLAPSE, ERASURE, Row, Setting, settings
from .images_sets import draws, grays, normal_of
from .images_training import fit, keep_memory
from .poisoning_start import reproducible

STUDIES: dict[str, types.ModuleType] = {ERASURE: label_erasure, COLLAPSE: collapse}

FORWARD_ONLY = "forward-only"
"""No method: batches of both kinds are forwarded in training mode, and nothing else happens (learning rate 0)."""


def shares(row: Row, recipe: Recipe) -> tuple[float, float]:
    """p_color and p_retain: the row's, unless the recipe has its own."""
    return (
        row.p_color if recipe.p_color is None else recipe.p_color,
        row.p_retain if recipe.p_retain is None else recipe.p_retain,
    )


def start_cell(
    kind: str, experiment: str, p_color: float, seed: int, recipe: Recipe, needs: Mapping[str, Cell]
) -> Cell:
    """The cell that trains the initial network ("initial") or the ground truth ("truth") of a seed."""
    parameters = {"kind": kind, "experiment": experiment, "seed": seed, "recipe": _json(recipe)}
    if kind == "initial":
        parameters["p_color"] = p_color
    count = recipe.n_train or 50_000
    epochs = recipe.first + recipe.epochs
    return Cell("images/start", train, parameters, dict(needs), weight=max(1.0, epochs * count / 2e3))


def train(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """The state of the trained network, and what it is worth."""
    experiment, seed, recipe = parameters["experiment"], parameters["seed"], recipe_of(parameters)
    study, data = STUDIES[experiment], inputs["data"]
    images, test, normal = grays(data, "train"), grays(data, "test"), normal_of(data)
    if parameters["kind"] == "initial":
        stages = study.initial_stages(images, recipe, parameters["p_color"], seed, normal)
    else:
        stages = study.truth_stages(images, recipe, normal)
    purpose = parameters["kind"]
    keep_memory()
    with reproducible():
        module = fresh(recipe, study.head_sizes(int(data["classes"])), draws(experiment, f"{purpose} network", seed))
        if recipe.pretrained:
            load_backbone(module, inputs["weights"]["state"])
        fit(module, stages, recipe.schedule, draws(experiment, f"{purpose} order", seed), recipe.device, recipe.augment)
        found = study.measure(module, test, normal, recipe.device)
    return {"state": state_of(module), **{name: np.array([value]) for name, value in found.items()}}


def fresh(recipe: Recipe, heads: Sequence[int], generator: torch.Generator) -> nn.Module:
    """An untrained network drawn from `generator`."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return network(recipe.network, recipe.width, recipe.stem, heads)


def run_cells(
    row: Row, method: str, seed: int, buffers: str, recipe: Recipe, needs: Mapping[str, Cell], extra: Mapping[str, Any]
) -> list[Cell]:
    """The cells of one method and seed, one per learning rate, in the order of row.settings(method).

    extra: further arguments of MinNorm-OG (rows, order).
    """
    p_color, p_retain = shares(row, recipe)
    axes = {"learning_rate": (0.0,)} if method == FORWARD_ONLY else row.axes(method)
    found = []
    for rate in axes["learning_rate"]:
        own = {**axes, "learning_rate": (rate,)}
        parameters = {
            "experiment": row.experiment,
            "method": method,
            "epochs": row.epochs,
            "seed": seed,
            "p_color": p_color,
            "p_retain": p_retain,
            "buffers": "both-batches" if method == FORWARD_ONLY else buffers,
            "axes": [[name, list(values)] for name, values in own.items()],
            "extra": dict(extra) if method == "minnorm-og" else {},
            "recipe": _json(recipe),
        }
        count = len(settings(own)) * (2.0 if method in ("minnorm-og", "scrub") else 1.0)
        found.append(Cell("images/grid", run_cell, parameters, dict(needs), weight=count * row.epochs))
    return found


def run_cell(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """Every metric of every setting, (settings,) each."""
    experiment, seed, recipe = parameters["experiment"], parameters["seed"], recipe_of(parameters)
    study, data = STUDIES[experiment], inputs["data"]
    images, test, normal = grays(data, "train"), grays(data, "test"), normal_of(data)
    sizes = study.head_sizes(int(data["classes"]))
    retain = study.accessible_set(images, parameters["p_retain"], seed, normal).all()
    forget = study.forget_set(images, parameters["p_color"], seed, normal).all()
    device = recipe.device
    pairs = [(x.to(device), tuple(target.to(device) for target in targets)) for x, targets in (retain, forget)]
    found: dict[str, list[float]] = {name: [] for name in study.METRICS}
    keep_memory()
    with reproducible():
        start = fresh(recipe, sizes, torch.Generator())
        start.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in inputs["initial"]["state"].items()})
        start.to(device).train()
        for setting in settings(dict(parameters["axes"])):
            with kinks_expected():
                module = _unlearned(start, pairs[0], pairs[1], parameters, setting, recipe, sizes)
            for name, value in study.measure(module, test, normal, device).items():
                found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def _unlearned(
    start: nn.Module,
    retain: Any,
    forget: Any,
    parameters: Mapping[str, Any],
    setting: Setting,
    recipe: Recipe,
    sizes: Sequence[int],
) -> nn.Module:
    method = parameters["method"]
    options: dict[str, Any] = {**setting, **parameters["extra"]}
    if method == FORWARD_ONLY:
        method = "gd"
    elif method == "retrain":
        options["fresh"] = lambda: network(recipe.network, recipe.width, recipe.stem, sizes).to(recipe.device)
    if "final_epochs" in options:
        options["final_epochs"] = int(options["final_epochs"])
    module, _ = unlearn(
        start,
        retain,
        forget,
        method,
        epochs=parameters["epochs"],
        batch_size=recipe.unlearn_batch,
        buffers=parameters["buffers"],
        generator=draws(parameters["experiment"], f"unlearning {method}", parameters["seed"]),
        **options,
    )
    return module


@contextlib.contextmanager
def kinks_expected() -> Iterator[None]:
    """No warning about samples on a kink of a ReLU: pictures with black channels sit on many, and J is right there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KinkWarning)
        yield


def recipe_of(parameters: Mapping[str, Any]) -> Recipe:
    """The recipe of a cell."""
    fields = dict(parameters["recipe"])
    fields["drops"] = tuple(fields["drops"])
    return Recipe(**fields)


def _json(recipe: Recipe) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
