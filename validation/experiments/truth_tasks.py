"""The truth, the tasks: a few samples, some of them to be forgotten, and a network that has learnt them all.

Two layers of ReLUs with one output; the last input is the constant 1, whose weights are the biases.  Every task is a
pure function of its seed.  Classes are told apart by codes: f(theta, x) is to be the code of x's class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import exact_unlearn as xu
from exact_unlearn import sweep
from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import ProblemError, needed_by
from exact_unlearn.jacobian import Array

TRAINING, RATE = 500, 3e-3
"""Epochs of AdamW that make theta*, and its learning rate: so few and so small that no interval between two samples has
lost its neurons, or the labels could not be met any more.
"""

ATTEMPTS = 20
"""Draws of a start, until one meets its labels."""

MET = 1e-9
"""Labels are met where max |f - y| is at most this times max(1, max |y|)."""


@dataclass(frozen=True, eq=False)
class Task:
    """x: (n, m) inputs with the constant column; y: (n,) labels; forget: (n,) mask; fresh: (N, m) inputs on which
    predictors are compared; codes: of the classes, in increasing order, where the labels are classes.
    """

    x: Array
    y: Array
    forget: Array
    fresh: Array
    codes: tuple[float, ...] | None = None

    @property
    def retained(self) -> tuple[Array, Array]:
        """(n_r, m) and (n_r,)."""
        return self.x[~self.forget], self.y[~self.forget]


def with_bias(x: Array) -> Array:
    """One more column, of ones."""
    return np.column_stack([x, np.ones(len(x))])


# ---------------------------------------------------------------- the tasks


def line_poison(rng: np.random.Generator) -> Task:
    """Eight samples of sin 2x on [-2, 2], one of them with the label 2 instead."""
    x = np.linspace(-2, 2, 8) + rng.uniform(-0.2, 0.2, 8)
    y, forget = np.sin(2 * x), np.arange(8) == rng.integers(1, 7)
    y[forget] = 2.0
    return Task(with_bias(x[:, None]), y, forget, with_bias(np.linspace(-2.3, 2.3, 401)[:, None]))


def line_class(rng: np.random.Generator) -> Task:
    """Three classes of three samples side by side on a line, with the codes -1, 1 and 0; the middle one is to go."""
    x = np.repeat([-1.5, 0.0, 1.5], 3) + np.tile([-0.3, 0.0, 0.3], 3) + rng.uniform(-0.1, 0.1, 9)
    y = np.repeat([-1.0, 1.0, 0.0], 3)
    return Task(with_bias(x[:, None]), y, y == 1.0, with_bias(np.linspace(-2.3, 2.3, 401)[:, None]), (-1.0, 0.0, 1.0))


def plane_poison(rng: np.random.Generator) -> Task:
    """Seven samples on either side of a parabola, with the labels -1 and 1, one of them wrong."""
    drawn = rng.standard_normal((7 + 400, 2))
    x, y = with_bias(drawn), np.where(drawn[:7, 0] + drawn[:7, 1] ** 2 > 0.5, 1.0, -1.0)
    forget = np.arange(7) == rng.integers(7)
    y[forget] *= -1
    return Task(x[:7], y, forget, x[7:], (-1.0, 1.0))


def plane_class(rng: np.random.Generator) -> Task:
    """Three classes of three samples around the corners of a triangle, codes -1, 0 and 1; that of 1 is to go."""
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi / 3 * np.arange(3)
    corners = 1.5 * np.column_stack([np.cos(angles), np.sin(angles)])
    drawn = corners[np.arange(9 + 400) % 3] + 0.5 * rng.standard_normal((9 + 400, 2))
    y = np.tile([-1.0, 0.0, 1.0], 3)
    return Task(with_bias(drawn[:9]), y, y == 1.0, with_bias(drawn[9:]), (-1.0, 0.0, 1.0))


def digits_poison(rng: np.random.Generator) -> Task:
    """Seven real digits, 3s (-1) and 5s (1), as their first two principal components; one label is wrong."""
    x, classes = _digits((3, 5))
    order = rng.permutation(len(x))
    used = np.concatenate([order[classes[order] == k][:size] for k, size in ((0, 4), (1, 3))])
    y, forget = np.array([-1.0, 1.0])[classes[used]], np.arange(7) == rng.integers(7)
    y[forget] *= -1
    return Task(with_bias(x[used]), y, forget, with_bias(np.delete(x, used, axis=0)), (-1.0, 1.0))


def digits_class(rng: np.random.Generator) -> Task:
    """Nine real digits, 3s (-1), 5s (0) and 8s (1), as their first two principal components; the 8s are to go."""
    x, classes = _digits((3, 5, 8))
    order = rng.permutation(len(x))
    used = np.concatenate([order[classes[order] == k][:3] for k in range(3)])
    y = np.array([-1.0, 0.0, 1.0])[classes[used]]
    fresh = np.delete(x, used, axis=0)
    return Task(with_bias(x[used]), y, y == 1.0, with_bias(fresh), (-1.0, 0.0, 1.0))


def _digits(kinds: tuple[int, ...]) -> tuple[Array, Array]:
    """Principal components of scikit-learn's digits of these kinds, in units of the first one's deviation; 0, 1, ..."""
    with needed_by("the experiment on digits"):
        from sklearn.datasets import load_digits

    source = load_digits()
    kept = np.isin(source.target, kinds)
    images = source.data[kept] - source.data[kept].mean(axis=0)
    _, _, directions = np.linalg.svd(images, full_matrices=False)
    signs = np.sign(directions[np.arange(2), np.argmax(np.abs(directions[:2]), axis=1)])
    projected = images @ (signs[:, None] * directions[:2]).T
    return np.asarray(projected / projected[:, 0].std()), np.searchsorted(kinds, source.target[kept])


TASKS: dict[str, Callable[[np.random.Generator], Task]] = {
    "line-poison": line_poison,
    "line-class": line_class,
    "plane-poison": plane_poison,
    "plane-class": plane_class,
    "digits-poison": digits_poison,
    "digits-class": digits_class,
}


def make_task(name: str, seed: int) -> Task:
    """The task of this name and seed."""
    return TASKS[name](np.random.default_rng([list(TASKS).index(name), seed]))


# ---------------------------------------------------------------- networks


def network(m: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """An untrained Perceptron as a module: N(0, 1) hidden weights, N(0, 1/width) output weights, in double."""
    module = nn.Sequential(nn.Linear(m, width, bias=False), nn.ReLU(), nn.Linear(width, 1, bias=False)).double()
    with torch.no_grad():
        for layer, deviation in ((module[0], 1.0), (module[2], width**-0.5)):
            weight: Any = layer.weight
            weight.copy_(deviation * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return module


def parameters_of(module: nn.Module) -> Array:
    """theta of the Perceptron: C, then A."""
    hidden, output = (p.detach().numpy() for p in module.parameters())
    return np.concatenate([output.ravel(), hidden.ravel()])


def module_of(theta: Array, m: int) -> nn.Sequential:
    """The inverse of `parameters_of`."""
    width = theta.size // (m + 1)
    module = network(m, width, torch.Generator())
    with torch.no_grad():
        for layer, values in ((module[0], theta[width:].reshape(width, m)), (module[2], theta[None, :width])):
            weight: Any = layer.weight
            weight.copy_(torch.from_numpy(values.copy()))
    return module


def tensors(x: Array, y: Array) -> tuple[Tensor, Tensor]:
    """(n, m) and (n, 1)."""
    return torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y))[:, None]


def trained(x: Array, y: Array, width: int, epochs: int, seed: int, start: int) -> Array:
    """theta of a fresh network trained on x, y by AdamW, its labels then met: see `restored`.

    The first of ATTEMPTS draws whose labels are met; ProblemError where there is none.
    """
    nothing = tensors(x[:0], y[:0])
    for attempt in range(ATTEMPTS):
        generator = torch.Generator().manual_seed(10_000 * seed + 100 * start + attempt)
        fresh = network(x.shape[1], width, generator)
        module, _ = unlearn(fresh, tensors(x, y), nothing, "gd", epochs=epochs, learning_rate=RATE, weight_decay=0.0)
        theta = restored(parameters_of(module), x, y)
        if theta is not None:
            return theta
    raise ProblemError(f"y: none of {ATTEMPTS} trained networks of width {width} meets the labels")


def restored(theta: Array, x: Array, y: Array) -> Array | None:
    """Nearby parameters that meet the labels: all move, or C alone where that does not do; None where neither does."""
    if not np.isfinite(theta).all():
        return None
    model = xu.Perceptron(x.shape[1], theta.size // (x.shape[1] + 1))
    for free in (None, ["c"]):
        path = xu.unlearn_path(model, theta, x, xu.SquaredL2(), y, free=free, steps=0)
        if path.error <= MET * max(1.0, float(np.max(np.abs(y)))):
            return np.asarray(path.theta)
    return None


def start_cell(task: str, seed: int, width: int, epochs: int = TRAINING) -> sweep.Cell:
    """theta* of a task."""
    return sweep.Cell("truth/start", _start, {"task": task, "seed": seed, "width": width, "epochs": epochs})


def _start(parameters: Mapping[str, Any], _: Mapping[str, sweep.Result]) -> sweep.Result:
    task = make_task(parameters["task"], parameters["seed"])
    theta = trained(task.x, task.y, parameters["width"], parameters["epochs"], parameters["seed"], 0)
    return {"theta_star": theta}
