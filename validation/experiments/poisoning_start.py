"""Data Poisoning, the beginning: the samples of a seed, and the network trained on all of them.

Per seed: 50 retain samples (x, sin x) and 5 forget samples (x, 1.5), x uniform on [-5 pi, 5 pi].  theta* is what
AdamW (learning rate 1e-3, torch's defaults otherwise) has reached after 100 000 full-batch epochs on the mean
squared error of all 55.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from exact_unlearn.sweep import Cell, Result

from . import stacked

HALF_WIDTH = 5 * math.pi
"""The samples and the test grid lie in [-5 pi, 5 pi]."""

POISON = 1.5
"""The label of every forget sample."""


@dataclass(frozen=True)
class Recipe:
    """How theta* is made; the defaults are the paper's."""

    width: int = 300
    n_retain: int = 50
    n_forget: int = 5
    epochs: int = 100_000
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Samples:
    """Inputs and labels of one seed, float32."""

    x_retain: Tensor
    y_retain: Tensor
    x_forget: Tensor
    y_forget: Tensor


def generator(seed: int, purpose: str) -> torch.Generator:
    """An independent random stream per seed and purpose ("data", "initialisation", "noise", ...)."""
    digest = hashlib.sha256(f"data-poisoning/{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def samples(seed: int, recipe: Recipe) -> Samples:
    """The samples of one seed."""
    x = (2 * torch.rand(recipe.n_retain + recipe.n_forget, generator=generator(seed, "data")) - 1) * HALF_WIDTH
    x_retain, x_forget = x[: recipe.n_retain], x[recipe.n_retain :]
    return Samples(x_retain, torch.sin(x_retain), x_forget, torch.full_like(x_forget, POISON))


def grid(n_points: int = 1000) -> Tensor:
    """The points at which the distance from the sine is measured."""
    return torch.linspace(-HALF_WIDTH, HALF_WIDTH, n_points)


def sup_error(curves: Tensor, x: Tensor) -> Tensor:
    """max_x |f(x) - sin x| over the grid, per curve; infinite where a value is not finite."""
    error = (curves - torch.sin(x)).abs().amax(-1)
    return torch.where(torch.isfinite(error), error, torch.full_like(error, math.inf))


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Run torch on one thread, with numbers below 1e-38 flushed to zero.

    One thread, because how a product is split over threads would show in its last bits.  Flushed, because a neuron
    with z = -90 has a sigmoid of 1e-39, and products of such numbers take 3 to 5 times as long (measured).
    """
    threads = torch.get_num_threads()
    flushed = float(torch.tensor([1e-30]) * 1e-10) == 0.0
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def start_cell(seed: int, recipe: Recipe) -> Cell:
    """The cell that trains theta* of one seed."""
    parameters = {"seed": seed, **asdict(recipe)}
    return Cell("data-poisoning/start", train, parameters, weight=recipe.epochs * recipe.width**2 / 1e6)


def train(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """theta* (d,) float32, its mean squared error on all samples, and the samples."""
    del inputs
    fields = dict(parameters)
    seed = fields.pop("seed")
    recipe = Recipe(**fields)
    data = samples(seed, recipe)
    x, y = torch.cat([data.x_retain, data.x_forget]), torch.cat([data.y_retain, data.y_forget])
    theta = stacked.initial_theta(recipe.width, generator(seed, "initialisation")).unsqueeze(0)
    batch = stacked.Batch(x, y, torch.full((1, len(x)), 1 / len(x)))
    with reproducible(), torch.no_grad():
        descend(theta, batch, recipe.epochs, recipe.learning_rate)
        residual = stacked.predict(theta, x)[0] - y
    return {
        "theta_star": theta[0].numpy(),
        "mse": residual.double().square().mean().reshape(1).numpy(),
        "x_retain": data.x_retain.numpy(),
        "x_forget": data.x_forget.numpy(),
    }


def descend(stack: Tensor, batch: stacked.Batch, epochs: int, learning_rate: float) -> None:
    """Plain AdamW on the batch's loss, in place."""
    stack.grad = torch.zeros_like(stack)
    layers, gradient = stacked.Layers.of(stack), stacked.Layers.of(stack.grad)
    optimizer = torch.optim.AdamW([stack], lr=learning_rate, fused=True)
    for _ in range(epochs):
        batch.gradient(layers, gradient)
        optimizer.step()
    stack.grad = None
