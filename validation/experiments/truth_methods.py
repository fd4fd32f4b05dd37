"""The truth, the methods: whatever is said to unlearn, and what became of the network.

Every method starts at the same theta*, except those that train anew, and gets the retained samples, those to be
forgotten, and nothing else.  A cell is one method on one task and seed, with all its settings.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import exact_unlearn as xu
from exact_unlearn import optima, sweep
from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import InterpolationWarning
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.optima import NUMBERS
from exact_unlearn.scalable.jacobian_check import KinkWarning

from .truth_optimum import optimum_cell, set_of
from .truth_tasks import (
    TRAINING,
    Task,
    make_task,
    module_of,
    network,
    parameters_of,
    restored,
    start_cell,
    tensors,
    trained,
)

Setting = Mapping[str, float]


@dataclass(frozen=True)
class Size:
    """How much the methods may do.  width: of the networks; training: epochs that make theta*; epochs: of a baseline;
    steps: of a path; starts: networks that are trained anew; axes: settings of the baselines, all that there are or
    the first of each.
    """

    width: int = 30
    training: int = TRAINING
    epochs: int = 300
    steps: int = 60
    starts: int = 3
    axes: str = "all"


LAMBDAS = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Weights of the squared drift, of one surrogate."""

SOLVER = "direct"
"""Of the surrogates of a path: many small ones, for which CVXPY takes longer than its back end."""

MEASURES: dict[str, Callable[[xu.Perceptron], Any]] = {
    "path l2": lambda model: xu.SquaredL2(),
    "path l1": lambda model: xu.L1(),
    "path group": lambda model: xu.GroupL2(model.groups("neuron")),
}

RATES = (1e-2, 1e-3)
BASELINES: dict[str, dict[str, Sequence[float]]] = {
    "minnorm-og": {"learning_rate": RATES, "strength": (0.1, 0.03), "decay": (0.99,), "final_epochs": (100,)},
    "retrain": {"learning_rate": RATES},
    "gd": {"learning_rate": RATES},
    "ga": {"learning_rate": (1e-3, 1e-4)},
    "ngd": {"learning_rate": RATES, "noise": (0.1,)},
    "neggrad+": {"learning_rate": RATES, "ascent": (0.1, 0.01)},
    "ridge": {"learning_rate": RATES, "strength": (0.1, 0.01), "decay": (0.99,)},
    "l1-sparse": {"learning_rate": RATES, "strength": (0.01, 0.001)},
    "scrub": {"learning_rate": RATES, "distill": (0.1,), "ascent": (0.1,), "final_epochs": (100,)},
    "npo": {"learning_rate": (1e-3, 1e-4), "beta": (0.1, 1.0)},
    "salun": {"learning_rate": RATES, "ascent": (0.1,)},
}
"""MinNorm-OG and the ten baselines; their settings are all combinations."""

OF_CLASSES = ("scrub", "npo", "salun")
"""They speak about probabilities of classes."""

STARTED = ("retrained", "retrained, path l2")
METHODS = ("nothing", "surrogate", *MEASURES, *BASELINES, *STARTED)


def applies(method: str, task: Task) -> bool:
    """Whether the method can be asked."""
    return task.codes is not None or method not in OF_CLASSES


def settings(method: str, size: Size) -> list[Setting]:
    """What is tried, in order."""
    if method == "surrogate":
        return [{"lam": lam} for lam in LAMBDAS]
    if method in STARTED:
        return [{"start": float(start)} for start in range(1, size.starts + 1)]
    axes = BASELINES.get(method, {})
    found: list[Setting] = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return found if size.axes == "all" else found[:1]


# ---------------------------------------------------------------- answers


def answers(method: str, task: Task, theta_star: Array, seed: int, size: Size) -> list[Array]:
    """theta of every setting, as the method returns it."""
    return [_answer(method, setting, task, theta_star, seed, size) for setting in settings(method, size)]


def _answer(method: str, setting: Setting, task: Task, theta_star: Array, seed: int, size: Size) -> Array:
    x, y = task.retained
    model = xu.Perceptron(x.shape[1], size.width)
    if method == "nothing":
        return theta_star
    if method == "surrogate":
        drift = xu.SquaredDrift(setting["lam"]) if setting["lam"] else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterpolationWarning)
            return to_float(xu.solve(xu.surrogate_problem(model, theta_star, x, xu.SquaredL2(), drift)).theta)
    if method in MEASURES:
        return np.asarray(
            xu.unlearn_path(model, theta_star, x, MEASURES[method](model), y, steps=size.steps, solver=SOLVER).theta
        )
    if method in STARTED:
        theta = trained(x, y, size.width, size.training, seed, int(setting["start"]))
        if method == "retrained":
            return theta
        return np.asarray(xu.unlearn_path(model, theta, x, xu.SquaredL2(), y, steps=size.steps, solver=SOLVER).theta)
    return _baseline(method, setting, task, theta_star, seed, size)


def _baseline(method: str, setting: Setting, task: Task, theta_star: Array, seed: int, size: Size) -> Array:
    """By exact_unlearn.algorithms; the squared loss of f against the labels is J everywhere."""
    m = task.x.shape[1]
    module = module_of(theta_star, m)
    retain = tensors(*task.retained)
    forget = tensors(task.x[task.forget], task.y[task.forget])
    values: dict[str, Any] = dict(setting)
    if "final_epochs" in values:
        values["final_epochs"] = min(int(values["final_epochs"]), size.epochs // 3)
    if method == "retrain":
        fresh = torch.Generator().manual_seed(1000 * seed)
        values["fresh"] = lambda: network(m, size.width, fresh)
    if method in OF_CLASSES:
        coded = Coded(module, task.codes or ())
        retain, forget = ((inputs, coded.classes(labels)) for inputs, labels in (retain, forget))
        found, _ = unlearn(coded, retain, forget, method, epochs=size.epochs, loss=coded.squared_loss, **values)
        return parameters_of(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KinkWarning)  # where neurons of the optimum have their kinks: at samples
        found, _ = unlearn(module, retain, forget, method, epochs=size.epochs, loss="mse", **values)
    return parameters_of(found)


class Coded(nn.Module):
    """A network with one output as a classifier: log pi_k = t_k f - t_k^2 / 2 + const, so that the class whose code
    t_k is nearest to f is the most likely one.
    """

    def __init__(self, module: nn.Module, codes: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, classes) logits."""
        codes: Any = self.codes
        logits: Tensor = self.module(x) * codes - codes**2 / 2
        return logits

    def classes(self, labels: Tensor) -> Tensor:
        """Positions of the labels (n, 1) among the codes, (n,) integers."""
        codes: Any = self.codes
        return torch.argmin((labels - codes).abs(), dim=1)

    def squared_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        """mean (f - t)^2, f being what the logits were made of."""
        codes: Any = self.codes
        rise = codes[-1] - codes[0]
        f = (logits[:, -1] - logits[:, 0] + (codes[-1] ** 2 - codes[0] ** 2) / 2) / rise
        loss: Tensor = ((f - codes[classes]) ** 2).mean()
        return loss


# ---------------------------------------------------------------- what became of it


def measured(theta: Array | None, task: Task, optimal: Any) -> dict[str, float]:
    """NUMBERS of a network; infinity where there is none."""
    x, y = task.retained
    m = x.shape[1]
    model = xu.Perceptron(m, 1 if theta is None else theta.size // (m + 1))
    return optima.measured(model, theta, x, y, "squared", optimal, task.fresh)


def method_cell(method: str, task: str, seed: int, size: Size) -> sweep.Cell:
    """One method, with all its settings, on one task."""
    parameters = {"method": method, "task": task, "seed": seed, "size": vars(size)}
    needs = {
        "start": start_cell(task, seed, size.width, size.training),
        "optimum": optimum_cell(task, seed, size.width),
    }
    return sweep.Cell("truth/method", _method, parameters, needs)


def _method(parameters: Mapping[str, Any], inputs: Mapping[str, sweep.Result]) -> sweep.Result:
    """(settings, len(NUMBERS)) as returned and with the labels restored, and the predictions at the fresh inputs."""
    task, size = make_task(parameters["task"], parameters["seed"]), Size(**parameters["size"])
    optimal = set_of(inputs["optimum"])
    theta_star = np.array(inputs["start"]["theta_star"])
    found = answers(parameters["method"], task, theta_star, parameters["seed"], size)
    repaired = [restored(theta, *task.retained) for theta in found]
    result: dict[str, Any] = {}
    for name, thetas in (("returned", found), ("restored", repaired)):
        rows = [measured(theta, task, optimal) for theta in thetas]
        result[name] = np.array([[row[number] for number in NUMBERS] for row in rows])
    model = xu.Perceptron(task.x.shape[1], size.width)
    result["curves"] = np.array([model.predict(theta, task.fresh)[:, 0] for theta in found])
    return result
