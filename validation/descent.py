"""Non-convex descent from random starts: the attack on the lower bounds of Theorem 4.

Minimises |theta|_2^2 of a linear network subject to X W(theta) = Y by a quadratic penalty that grows, then makes
the point feasible and reports its |theta|_2^2.  It knows nothing of the closed form.  Floats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize

import exact_unlearn as xu

Array = np.ndarray[Any, Any]
SPARE = 20
"""Runs that may fail to become feasible."""

PENALTIES = (1e3, 1e5)
"""A small first weight lets deep networks shrink to 0, where their gradient vanishes, before they fit anything."""


def shortest_found(network: xu.LinearNetwork, x: Array, y: Array, rng: np.random.Generator, starts: int) -> float:
    """The least |theta|_2^2 of `starts` runs that became feasible, each from another random point and scale.

    Raises SolverError if too many runs lose the rank for it: what never fits says nothing about the least length.
    """
    lengths: list[float] = []
    for _ in range(starts + SPARE):
        length = feasible_length(network, trajectory(network, x, y, rng)[-1], x, y)
        lengths += [length] if math.isfinite(length) else []
        if len(lengths) == starts:
            return min(lengths)
    raise xu.SolverError(f"only {len(lengths)} of {starts + SPARE} runs of descent became feasible")


def trajectory(network: xu.LinearNetwork, x: Array, y: Array, rng: np.random.Generator) -> Array:
    """The iterates of one run, (steps, d); feasible only in the end, and nearly."""
    theta = rng.standard_normal(network.n_parameters) * rng.uniform(0.3, 1.5)
    points = [theta]
    for weight in PENALTIES:
        theta = minimize(
            _objective,
            theta,
            args=(network, x, y, weight),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 400},
            callback=lambda t: points.append(t.copy()),
        ).x
    return np.array([*points, theta])


def _layers(network: xu.LinearNetwork, theta: Array) -> list[Array]:
    parts = network.split(theta)
    return [*(parts[f"A{i}"] for i in range(1, network.depth)), parts["c"]]


def _objective(theta: Array, network: xu.LinearNetwork, x: Array, y: Array, weight: float) -> tuple[float, Array]:
    """|theta|^2 + weight |X W - Y|^2 and its gradient, by back-propagation through the product of the layers."""
    layers = _layers(network, theta)
    signals = [x]
    for layer in layers:
        signals.append(signals[-1] @ layer.T)
    residual = signals[-1] - y
    gradients: list[Array] = []
    back = 2 * weight * residual
    for layer, signal in zip(reversed(layers), reversed(signals[:-1]), strict=True):
        gradients.insert(0, back.T @ signal)
        back = back @ layer
    flat = np.concatenate([gradients[-1].reshape(-1), *(g.reshape(-1) for g in gradients[:-1])])
    return float(theta @ theta + weight * np.sum(residual**2)), 2 * theta + flat


def feasible_length(network: xu.LinearNetwork, theta: Array, x: Array, y: Array) -> float:
    """|theta|^2 after correcting the first layer so that the equations hold; inf if the upper layers have lost the
    rank for it.
    """
    layers = _layers(network, theta)
    V = np.eye(network.n_outputs)
    for layer in reversed(layers[1:]):
        V = layer.T @ V
    residual = y - x @ layers[0].T @ V
    change = np.linalg.pinv(x) @ residual @ np.linalg.pinv(V)
    first = layers[0] + change.T
    if np.max(np.abs(x @ first.T @ V - y), initial=0.0) > 1e-9 * np.max(np.abs(y), initial=0.0):
        return float("inf")
    return float(np.sum(first**2) + sum(np.sum(layer**2) for layer in layers[1:]))
