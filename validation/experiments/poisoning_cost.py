"""Data Poisoning, the cost: milliseconds per model and epoch beside the reference implementation, as ratios.

"Reference" is the algorithm as the paper's authors implement it: one model at a time, AdamW's default loop, and for
each projection one backward pass per sample into a dense d x n matrix, its Householder QR in float64, and every run
of the grid on its own. The grid's total is extrapolated from the costs per epoch and the numbers of epochs and
projections that each side needs.

Run it alone on a quiet machine: `python -m validation.experiments.poisoning_cost`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn import report

from . import stacked
from .poisoning_grid import BUDGETS, METHODS, NEGLIGIBLE, Walk, hyper_parameters, settings
from .poisoning_start import HALF_WIDTH, generator, reproducible
from .stacked_projection import project

WIDTH, RETAIN, STACK, SEEDS = 300, 50, 9, 10


@dataclass(frozen=True)
class Work:
    """Model epochs and projections of the whole grid, for one seed."""

    epochs: int
    projections: int


def reference_work() -> Work:
    """Every setting is a run of its own, every scheduled projection is carried out."""
    epochs = projections = 0
    for budget in BUDGETS:
        for method in METHODS:
            for setting in settings(hyper_parameters(method, budget)):
                epochs += budget
                if method == "minnorm-og":
                    projections += len(range(0, budget - int(setting["final_epochs"]), int(setting["project_every"])))
    return Work(epochs, projections)


def shared_work() -> Work:
    """Runs that differ in T_GD share their beginning; projections of a strength that float32 cannot see are left
    out."""
    epochs = projections = 0
    for budget in BUDGETS:
        for method in METHODS:
            axes = hyper_parameters(method, budget)
            if method != "minnorm-og":
                epochs += budget * len(settings(axes))
                continue
            ends = [int(end) for end in axes.pop("final_epochs")]
            for setting in settings(axes):
                epochs += budget - min(ends) + sum(ends)
                due = len(range(0, budget - min(ends), int(setting["project_every"])))
                visible = math.ceil(math.log(NEGLIGIBLE / setting["strength"]) / math.log(setting["decay"]))
                projections += min(due, visible)
    return Work(epochs, projections)


def reference_epoch(module: torch.nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One epoch of GD, one model."""
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(module(x), y).backward()
    optimizer.step()


def reference_projection(module: torch.nn.Module, x: Tensor, strength: float) -> None:
    """One projection, one model: a backward pass per sample, a dense matrix, its QR in float64."""
    parameters = list(module.parameters())
    theta = torch.cat([p.detach().reshape(-1) for p in parameters])
    jacobian = torch.empty(len(theta), len(x))
    output = module(x)
    for sample in range(len(x)):
        pieces = torch.autograd.grad(output[sample, 0], parameters, retain_graph=True)
        jacobian[:, sample] = torch.cat([piece.reshape(-1) for piece in pieces])
    q, _ = torch.linalg.qr(jacobian.double())
    flat = theta.double()
    moved = flat - strength * (flat - q @ (q.T @ flat))
    torch.nn.utils.vector_to_parameters(moved.float(), parameters)


@dataclass(frozen=True)
class Costs:
    """Milliseconds of processor time per model and epoch, and per model and projection."""

    epoch: float
    projection: float

    def grid_minutes(self, work: Work) -> float:
        """Of all seeds, on one core."""
        return SEEDS * (work.epochs * self.epoch + work.projections * self.projection) / 60_000


def measure(repetitions: int = 7, epochs: int = 40, projections: int = 3) -> tuple[Costs, Costs]:
    """Reference and ours, interleaved, medians of processor time."""
    x = (2 * torch.rand(RETAIN, generator=generator(0, "data")) - 1) * HALF_WIDTH
    theta = stacked.initial_theta(WIDTH, generator(0, "initialisation"))
    module = stacked.network(WIDTH)
    torch.nn.utils.vector_to_parameters(theta.clone(), module.parameters())
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    column, target = x.unsqueeze(1), torch.sin(x).unsqueeze(1)
    with torch.no_grad():
        weights = torch.full((STACK, RETAIN), 1 / RETAIN)
        walk = Walk.begin(theta, stacked.Batch(x, torch.sin(x), weights), 1e-4, STACK)
    strength = torch.full((STACK,), 0.01)

    def ours_projection() -> None:
        with torch.no_grad():
            walk.stack.copy_(project(walk.stack, x, strength))

    def ours_epochs() -> None:
        with torch.no_grad():
            walk.go(0, epochs)

    tasks: list[tuple[Callable[[], None], int]] = [
        (lambda: _times(epochs, lambda: reference_epoch(module, optimizer, column, target)), epochs),
        (lambda: _times(projections, lambda: reference_projection(module, column, 0.01)), projections),
        (ours_epochs, epochs * STACK),
        (ours_projection, STACK),
    ]
    with reproducible():
        rounds = [[_milliseconds(task) / count for task, count in tasks] for _ in range(repetitions + 1)][1:]
    middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
    return Costs(middle[0], middle[1]), Costs(middle[2], middle[3])


def _times(count: int, task: Callable[[], None]) -> None:
    for _ in range(count):
        task()


def _milliseconds(task: Callable[[], None]) -> float:
    began = time.process_time()
    task()
    return (time.process_time() - began) * 1e3


def table() -> str:
    """The comparison for people."""
    reference, ours = measure()
    whole, shared = reference_work(), shared_work()
    pairs: list[tuple[str, float, float]] = [
        ("epoch of GD, ms", reference.epoch, ours.epoch),
        ("projection, ms", reference.projection, ours.projection),
        (
            "epoch of MinNorm-OG with a projection, ms",
            reference.epoch + reference.projection,
            ours.epoch + ours.projection,
        ),
        ("model epochs per seed", whole.epochs, shared.epochs),
        ("projections per seed", whole.projections, shared.projections),
        ("grid of ten seeds, minutes (extrapolated)", reference.grid_minutes(whole), ours.grid_minutes(shared)),
    ]
    rows = [[name, f"{theirs:.4g}", f"{mine:.4g}", f"{theirs / mine:.1f}"] for name, theirs, mine in pairs]
    return report.table(("per model, one core", "reference", "ours", "ratio"), rows)


if __name__ == "__main__":
    print(table())
