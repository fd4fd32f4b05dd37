"""Data Poisoning, the grid: all hyper-parameters of one method at one budget from one starting point are one cell.

Settings with the same learning rate move as a stack (stacked.py).  Settings of MinNorm-OG that differ in T_GD only
are the same run up to epoch T - T_GD, so they share it: the stack is copied there and its copy goes on by plain
gradient descent.  What a cell returns does not depend on which process computes it, nor on which other cells exist.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.sweep import Cell, Result

from . import stacked
from .poisoning_start import (
    POISON,
    Recipe,
    generator,
    grid,
    reproducible,
    start_cell,
    sup_error,
)
from .stacked_projection import project

METHODS = ("retrain", "minnorm-og", "gd", "ga", "neggrad+", "ngd", "ridge", "l1-sparse")
BUDGETS = (10, 100, 1000)

MAX_STACK = 12
"""Copies per stack: as many as the processor's cache serves without loss."""

NEGLIGIBLE = 1e-10
"""A projection step of a smaller strength changes nothing that float32 can hold, and is left out."""

Setting = dict[str, float]
"""Hyper-parameters by the names that `exact_unlearn.algorithms.unlearn` gives them."""


def hyper_parameters(method: str, epochs: int) -> dict[str, list[float]]:
    """The search grid of the paper: name -> values, in the order of the cell's settings.

    learning_rate is eta; strength, decay are lambda_reg, gamma_reg; ascent is lambda_GA; noise is sigma;
    final_epochs is T_GD; project_every is T_Proj.
    """
    strengths, decays = [0.1, 1.0, 3.0], [0.3, 0.6, 0.9]
    axes: dict[str, list[float]] = {
        "learning_rate": [1e-2, 1e-3, 1e-4] if epochs <= 10 else [1e-3, 5e-4, 1e-4],
    }
    if method == "minnorm-og":
        ends: dict[int, list[float]] = {10: [1, 2, 5], 100: [25, 50], 1000: [100, 200, 500]}
        periods: dict[int, list[float]] = {10: [1, 2, 5], 100: [1, 2], 1000: [10, 50, 100]}
        axes["strength"] = [value for value in strengths if value <= 1]
        axes |= {"decay": decays, "final_epochs": ends[epochs], "project_every": periods[epochs]}
    elif method == "neggrad+":
        axes["ascent"] = [1e-3, 1e-2, 0.1, 1.0]
    elif method == "ngd":
        axes["noise"] = [0.1, 0.5, 1.0]
    elif method == "ridge":
        axes |= {"strength": strengths, "decay": decays}
    elif method == "l1-sparse":
        axes["strength"] = strengths
    return axes


def settings(axes: Mapping[str, Sequence[float]]) -> list[Setting]:
    """All combinations; the last axis runs fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def grid_cell(
    method: str, epochs: int, seed: int, recipe: Recipe, axes: Mapping[str, Sequence[float]] | None = None
) -> Cell:
    """The cell of one method, budget and seed, over `axes` (default: the grid of the paper)."""
    axes = hyper_parameters(method, epochs) if axes is None else axes
    parameters = {
        "method": method,
        "epochs": epochs,
        "seed": seed,
        "axes": [[name, list(values)] for name, values in axes.items()],
        "recipe": asdict(recipe),
    }
    steps = epochs * len(settings(axes)) * (0.6 if method == "minnorm-og" else 1)
    start = start_cell(seed, recipe)
    return Cell("data-poisoning/grid", run_cell, parameters, {"start": start}, weight=steps * recipe.width**2 / 1e6)


def run_cell(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """sup_error (n,) of each setting, and its curve on the grid, (n, 1000) float32."""
    run = Run.of(parameters, inputs["start"])
    combinations = settings(dict(parameters["axes"]))
    final = torch.empty(len(combinations), run.theta_star.numel(), dtype=run.theta_star.dtype)
    with reproducible(), torch.no_grad():
        for chosen in stacks(combinations):
            final[chosen] = run.unlearn([combinations[index] for index in chosen])
        x = grid()
        curves = stacked.predict(final, x)
        retain = (stacked.predict(final, run.x_retain) - torch.sin(run.x_retain)).double()
    return {
        "sup_error": sup_error(curves, x).double().numpy(),
        "retain_mse": retain.square().mean(1).numpy(),
        "curves": curves.numpy(),
    }


def stacks(combinations: Sequence[Setting]) -> Iterator[list[int]]:
    """Indices of settings that move together: equal learning rate and (MinNorm-OG) all ends of the same runs."""
    groups: dict[float, dict[tuple[float, ...], list[int]]] = {}
    for index, setting in enumerate(combinations):
        run = tuple(value for name, value in setting.items() if name != "final_epochs")
        groups.setdefault(setting["learning_rate"], {}).setdefault(run, []).append(index)
    for runs in groups.values():
        together = list(runs.values())
        size = math.ceil(len(together) / math.ceil(len(together) / MAX_STACK))
        for first in range(0, len(together), size):
            yield [index for run in together[first : first + size] for index in run]


@dataclass(frozen=True)
class Run:
    """One starting point, one method, one budget."""

    method: str
    epochs: int
    seed: int
    theta_star: Tensor
    x_retain: Tensor
    x_forget: Tensor

    @classmethod
    def of(cls, parameters: Mapping[str, Any], start: Result) -> Run:
        """From a cell's parameters and the result of its starting cell."""
        tensors = (torch.from_numpy(np.array(start[name])) for name in ("theta_star", "x_retain", "x_forget"))
        return cls(parameters["method"], parameters["epochs"], parameters["seed"], *tensors)

    def unlearn(self, combinations: Sequence[Setting]) -> Tensor:
        """The final parameters of settings with one learning rate, (n, d)."""
        if self.method == "minnorm-og":
            return self._minnorm_og(combinations)
        rate = combinations[0]["learning_rate"]
        walk = Walk.begin(self._first(), self.batch(combinations), rate, len(combinations))
        walk.go(0, self.epochs, self._penalty(combinations))
        return walk.stack

    def _first(self) -> Tensor:
        if self.method != "retrain":
            return self.theta_star
        width = stacked.width_of(self.theta_star.numel())
        return stacked.initial_theta(width, generator(self.seed, "retrain")).to(self.theta_star.dtype)

    def batch(self, combinations: Sequence[Any]) -> stacked.Batch:
        """The samples with their weights: +1/n_r on the retain set, minus (a multiple of) 1/n_f on the forget set."""
        n, n_retain, n_forget = len(combinations), len(self.x_retain), len(self.x_forget)
        like = self.theta_star
        y_retain, y_forget = torch.sin(self.x_retain), torch.full_like(self.x_forget, POISON)
        if self.method == "ga":
            return stacked.Batch(self.x_forget, y_forget, like.new_full((n, n_forget), -1 / n_forget))
        retain = like.new_full((n, n_retain), 1 / n_retain)
        if self.method != "neggrad+":
            return stacked.Batch(self.x_retain, y_retain, retain)
        ascent = like.new_tensor([setting["ascent"] for setting in combinations]).unsqueeze(1)
        weights = torch.cat([retain, -ascent.expand(n, n_forget) / n_forget], dim=1)
        return stacked.Batch(torch.cat([self.x_retain, self.x_forget]), torch.cat([y_retain, y_forget]), weights)

    def _penalty(self, combinations: Sequence[Setting]) -> Penalty | None:
        """What is added to the gradient: noise, or the gradient of a penalty at its current weight."""
        if self.method == "ngd":
            sigma = self.theta_star.new_tensor([setting["noise"] for setting in combinations]).unsqueeze(1)
            noise, size = generator(self.seed, "noise"), self.theta_star.numel()
            return lambda t, theta, gradient: gradient.add_(sigma * torch.randn(size, generator=noise))
        if self.method == "ridge":
            strength = torch.tensor([setting["strength"] for setting in combinations], dtype=torch.float64)
            decay = torch.tensor([setting["decay"] for setting in combinations], dtype=torch.float64)
            return lambda t, theta, gradient: gradient.addcmul_(
                theta, (2 * strength * decay**t).to(theta.dtype).unsqueeze(1)
            )
        if self.method == "l1-sparse":
            strength = self.theta_star.new_tensor([setting["strength"] for setting in combinations]).unsqueeze(1)
            return lambda t, theta, gradient: gradient.addcmul_(theta.sign(), 2 * (1 - t / self.epochs) * strength)
        return None

    def _minnorm_og(self, combinations: Sequence[Setting]) -> Tensor:
        """Runs that differ in their last T_GD epochs only are one run until the first of them leaves."""
        runs = list({_shared(setting): None for setting in combinations})
        ends = sorted({int(setting["final_epochs"]) for setting in combinations}, reverse=True)
        strength = torch.tensor([run[1] for run in runs], dtype=torch.float64)
        decay = torch.tensor([run[2] for run in runs], dtype=torch.float64)
        period = torch.tensor([int(run[3]) for run in runs])
        count = torch.zeros(len(runs))

        def step(t: int, theta: Tensor) -> None:
            now = strength * decay**count
            due = t % period == 0
            count.add_(due)
            chosen = torch.nonzero(due & (now >= NEGLIGIBLE)).squeeze(1)
            if len(chosen):
                theta[chosen] = project(theta[chosen], self.x_retain, now[chosen])

        walk = Walk.begin(self.theta_star, self.batch(runs), combinations[0]["learning_rate"], len(runs))
        results: dict[Any, Tensor] = {}
        t = 0
        for end in ends:
            walk.go(t, self.epochs - end, before=step)
            t = self.epochs - end
            branch = walk.copy()
            branch.go(t, self.epochs)
            results |= {(run, end): branch.stack[index] for index, run in enumerate(runs)}
        return torch.stack([results[_shared(setting), int(setting["final_epochs"])] for setting in combinations])


Penalty = Callable[[int, Tensor, Tensor], Any]
"""(t, theta, gradient): adds to the gradient in place."""


def _shared(setting: Setting) -> tuple[float, float, float, float]:
    """What the settings of one MinNorm-OG run have in common."""
    return setting["learning_rate"], setting["strength"], setting["decay"], setting["project_every"]


@dataclass(frozen=True)
class Walk:
    """A stack on its way, with AdamW's moments."""

    stack: Tensor
    batch: stacked.Batch
    optimizer: torch.optim.AdamW

    @classmethod
    def begin(cls, theta: Tensor, batch: stacked.Batch, learning_rate: float, copies: int) -> Walk:
        stack = theta.expand(copies, -1).clone()
        stack.grad = torch.zeros_like(stack)
        return cls(stack, batch, torch.optim.AdamW([stack], lr=learning_rate, fused=True))

    def copy(self) -> Walk:
        """The same place and moments; steps of one leave the other alone."""
        stack = self.stack.clone()
        stack.grad = torch.zeros_like(stack)
        optimizer = torch.optim.AdamW([stack], lr=self.optimizer.param_groups[0]["lr"], fused=True)
        for name, value in self.optimizer.state.get(self.stack, {}).items():
            optimizer.state[stack][name] = value.clone()
        return Walk(stack, self.batch, optimizer)

    def go(
        self,
        first: int,
        last: int,
        penalty: Penalty | None = None,
        before: Callable[[int, Tensor], None] | None = None,
        after: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        """Epochs first <= t < last: `before` may move theta; gradient, penalty and an AdamW step; then `after`."""
        assert self.stack.grad is not None
        gradient = self.stack.grad
        layers, parts = stacked.Layers.of(self.stack), stacked.Layers.of(gradient)
        for t in range(first, last):
            if before is not None:
                before(t, self.stack)
            self.batch.gradient(layers, parts)
            if penalty is not None:
                penalty(t, self.stack, gradient)
            self.optimizer.step()
            if after is not None:
                after(t, self.stack)
