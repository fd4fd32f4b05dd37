"""MinNorm-OG's projection step: theta <- theta - strength * P_perp(theta).

P_perp projects onto the orthogonal complement of span{g_i}, g_i = grad f(theta, x_i) one row per sample and output.
It is the minimiser of |theta + D|^2 + lam |D|^2 subject to J D = 0 with strength = 1/(1 + lam) (Appendix E of the
paper).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.losses import Rows, heads
from exact_unlearn.scalable import DenseTorchJacobian, ModuleModel, TorchJacobian
from exact_unlearn.scalable.evaluation import Layout
from exact_unlearn.scalable.factor import default_tolerance
from exact_unlearn.scalable.jacobian_core import error_estimate
from exact_unlearn.scalable.project import ask, solve_quadratic
from exact_unlearn.scalable.running import plainly


@dataclass
class Projector:
    """The projection step on one module: it remembers what `ModuleModel` has learned about the module, such as that J
    agrees with differences of its outputs.

    masks: which entries of each named parameter may move.  Gradients are those of the module in evaluation mode: with
    batch statistics a sample has no gradient of its own.  What counts as their span is declared: combinations of
    gradients of unit length that are longer than what rounding of the parameters makes of them (`default_tolerance`).
    """

    module: nn.Module
    masks: dict[str, Tensor]
    models: dict[tuple[Rows, ...], tuple[ModuleModel, ...]] = field(default_factory=dict)

    def step(self, x: Tensor, strength: float, rows: tuple[Rows, ...]) -> tuple[float, float]:
        """Move the free coordinates; returns the distance moved, and the estimated error of the projection relative to
        theta.
        """
        if rows not in self.models:
            self.models[rows] = _models(self.module, rows)
        layout = self._layout
        named = dict(self.module.named_parameters())
        theta = torch.cat([named[name].detach().reshape(-1) for name in layout.names])
        target, error = self.projected(theta, x, rows)
        with torch.no_grad():
            for name, part in layout.split(target).items():
                move(named[name], part, strength)
        return strength * float(torch.linalg.vector_norm(target - theta)), error

    @plainly
    def projected(self, theta: Tensor, x: Tensor, rows: tuple[Rows, ...]) -> tuple[Tensor, float]:
        """theta without P_perp(theta) on the free coordinates, and its error; J never formed where the layers allow it
        and all heads are of one kind.
        """
        models, free = self.models[rows], self._free
        if not len(x):
            return torch.zeros_like(theta) if free is None else torch.where(free, 0.0, theta), 0.0
        with evaluation_mode(self.module):
            jacobian = _stacked([model.jacobian(theta, x) for model in models])
        tolerance = default_tolerance(jacobian.shape[0], jacobian.dtype)
        started, length = time.perf_counter(), float(torch.linalg.vector_norm(theta))
        asked = ask(jacobian, theta, free=free, rank_tolerance=tolerance)
        # The step is as long as theta, however short P theta is: so far its errors count.
        found = solve_quadratic(asked.jacobian, asked.data, replace(asked.plan, scale=math.ldexp(length, -asked.shift)))
        found = asked.answer(found, time.perf_counter() - started)
        size = float(torch.linalg.vector_norm(found.theta))
        return found.theta, float(found.error_estimate) * size / length if length else 0.0

    @cached_property
    def _layout(self) -> Layout:
        return ModuleModel(self.module).layout

    @cached_property
    def _free(self) -> Tensor | None:
        """Which entries of theta may move; None for all of them."""
        free = torch.cat([self.masks[name].reshape(-1) for name in self._layout.names])
        return None if bool(free.all()) else free


def move(parameter: Tensor, target: Tensor, strength: float) -> None:
    """parameter <- parameter + strength (target - parameter), in place, in the precision of the target."""
    if parameter.dtype == target.dtype:
        parameter.lerp_(target, strength)
    else:
        parameter.copy_(torch.lerp(parameter.to(target.dtype), target, strength))


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
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
