"""MinNorm-OG's projection step: theta <- theta - strength * P_perp(theta).

P_perp projects onto the orthogonal complement of span{g_i}, g_i = grad f(theta, x_i) one row per sample and output.
It is the minimiser of |theta + D|^2 + lam |D|^2 subject to J D = 0 with strength = 1/(1 + lam) (Appendix E of the
paper).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.losses import Rows, heads
from exact_unlearn.algorithms.run import Run
from exact_unlearn.scalable import DenseTorchJacobian, ModuleModel, TorchJacobian, project
from exact_unlearn.scalable.jacobian_core import error_estimate


@dataclass
class Projector:
    """The projection step of one run: it remembers what `ModuleModel` has learned about the module, such as that J
    agrees with differences of its outputs.

    Gradients are those of the module in evaluation mode: with batch statistics a sample has no gradient of its own.
    """

    run: Run
    models: dict[tuple[Rows, ...], tuple[ModuleModel, ...]] = field(default_factory=dict)

    def step(self, x: Tensor, strength: float, rows: tuple[Rows, ...]) -> tuple[float, float]:
        """Move the free coordinates of run.module; returns the distance moved, and the estimated error of the
        projection relative to theta.
        """
        run = self.run
        before = run.flat()
        drift, error = self._drift(x, rows) if len(x) else (-before, 0.0)
        step = strength * drift
        run.assign(before.to(step.dtype) + step)
        return float(step.norm()), error

    def _drift(self, x: Tensor, rows: tuple[Rows, ...]) -> tuple[Tensor, float]:
        """-P_perp(theta) on the free coordinates, and its error; J never formed where the layers allow it and all
        heads are of one kind.
        """
        run = self.run
        if rows not in self.models:
            self.models[rows] = _models(run.module, rows)
        models = self.models[rows]
        with evaluation_mode(run.module):
            theta = models[0].theta()
            parts = [model.jacobian(theta, x) for model in models]
        free = torch.cat([run.masks[name].reshape(-1) for name in ModuleModel(run.module).layout.names])
        partial = not bool(free.all())
        found = project(_stacked(parts), theta, free=free if partial else None)
        drift: Tensor = found.drift
        return drift[free] if partial else drift, float(found.error_estimate)


class _Head(nn.Module):
    """One of the heads of a module, with the module's own parameters in their order."""

    def __init__(self, module: nn.Module, index: int) -> None:
        super().__init__()
        self.module, self.index = module, index

    def forward(self, x: Tensor) -> Tensor:
        return heads(self.module(x))[self.index]


def _models(module: nn.Module, rows: tuple[Rows, ...]) -> tuple[ModuleModel, ...]:
    """One model for all heads, or one for each where they are not of one kind."""
    outputs = ["argmax" if which == "largest" else "all" for which in rows]
    if len(set(outputs)) == 1:
        return (ModuleModel(module, outputs[0]),)
    return tuple(ModuleModel(_Head(module, i), kind) for i, kind in enumerate(outputs))


def _stacked(parts: list[TorchJacobian]) -> TorchJacobian:
    """The rows of all of them, stored if there are several."""
    if len(parts) == 1:
        return parts[0]
    return DenseTorchJacobian(torch.cat([part.dense() for part in parts]), max(map(error_estimate, parts)))


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode meanwhile, each put back as it was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
