"""`unlearn_path`: the labels stay, R falls, and the end agrees with optimizers that share nothing with it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn.jacobian import Array

RNG = np.random.default_rng(5)
X = RNG.standard_normal((8, 3))
Y = RNG.standard_normal(8)
TANH = xu.Perceptron(3, 10, "tanh")
START = TANH.interpolating_parameters(X, Y, RNG)
RETAIN, FORGET = X[:6], X[6:]


def error(theta: Array, x: Array = RETAIN, y: Array = Y[:6]) -> float:
    return float(np.max(np.abs(TANH.predict(theta, x)[:, 0] - y)))


REGULARIZERS: dict[str, Any] = {
    "squared_l2": xu.SquaredL2(),
    "l2": xu.L2(),
    "l1": xu.L1(),
    "neurons": xu.GroupL2("neuron"),
}


@pytest.mark.parametrize("settings", [{}, {"radius": 1.0}, {"solver": "scalable"}], ids=["lam", "radius", "torch"])
@pytest.mark.parametrize("name", REGULARIZERS)
def test_labels_stay_and_r_falls_at_every_step(name: str, settings: dict[str, Any]) -> None:
    R = REGULARIZERS[name]
    path = xu.unlearn_path(TANH, START, RETAIN, R, x_forget=FORGET, steps=15, **settings)
    assert error(path.theta) <= 1e-12
    values = [path.start_value, *(step.value for step in path.accepted)]
    assert all(after < before for before, after in pairwise(values))
    assert path.value == values[-1] < 0.6 * path.start_value
    assert path.effect.kept
    assert path.effect.forgotten_change is not None
    one = xu.solve(xu.surrogate_problem(TANH, START, RETAIN, R))
    assert error(one.theta) > 0.1  # what one step does, optimal as it is


def test_a_torch_module_that_was_merely_trained() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(30, 6, dtype=torch.float64), torch.randn(30, 1, dtype=torch.float64)
    net = torch.nn.Sequential(torch.nn.Linear(6, 24), torch.nn.Tanh(), torch.nn.Linear(24, 1)).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        loss = (net(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    assert 1e-12 < loss.item() < 1e-2  # trained, not interpolating
    problem = xu.surrogate_problem(net, None, x[:24], xu.SquaredL2())
    one = xu.solve(problem)
    assert one.effect is not None
    assert one.effect.retained_change > 1.0
    path = xu.unlearn_path(net, None, x[:24], xu.SquaredL2(), x_forget=x[24:], steps=20)
    assert path.effect.retained_change < 1e-10
    assert path.value < 0.7 * path.start_value
    to_labels = xu.unlearn_path(net, None, x[:24], xu.SquaredL2(), y[:24], steps=5)
    assert to_labels.effect.retained_error is not None
    assert to_labels.effect.retained_error < 1e-10
    before = net(x[:24]).detach()
    assert to_labels.effect.retained_change == pytest.approx(float((before - y[:24]).abs().max()), rel=1e-6)
