"""Small problems of smooth networks, by the name of what is particular about them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.jacobian import Array

NETWORKS: dict[str, tuple[xu.SmoothNetwork, int]] = {
    "tanh": (xu.SmoothNetwork((3, 6, 1), "tanh"), 6),
    "two hidden layers": (xu.SmoothNetwork((2, 4, 3, 1), ("tanh", "sigmoid"), True), 5),
    "softplus, two outputs": (xu.SmoothNetwork((2, 5, 2), "softplus", True), 3),
    "silu": (xu.SmoothNetwork((3, 5, 1), "silu", True), 4),
    "gelu": (xu.SmoothNetwork((3, 5, 1), "gelu", True), 4),
    "erf": (xu.SmoothNetwork((3, 5, 1), "erf", True), 4),
    "sin": (xu.SmoothNetwork((3, 5, 1), "sin", (True, False)), 4),
    "square": (xu.SmoothNetwork((3, 6, 1), "square"), 4),
    "curved output": (xu.SmoothNetwork((3, 4, 1), "tanh", True, "softplus"), 3),
    "linear": (xu.SmoothNetwork((4, 2)), 3),
    "a product": (xu.SmoothNetwork((3, 1, 1), "identity"), 2),
}
"""Networks, and how many samples they have to fit."""


def data(name: str) -> tuple[xu.SmoothNetwork, Array, Array, Array]:
    """The network, a starting point that fits nothing, inputs and labels."""
    network, n = NETWORKS[name]
    rng = np.random.default_rng([len(name), n])
    x, y = rng.normal(size=(n, network.n_inputs)), rng.normal(size=(n, network.n_outputs))
    labels = np.abs(y) + 0.1 if network.output == "softplus" else 0.5 * y
    return network, 0.5 * rng.normal(size=network.n_parameters), x, labels


@cache
def certified(name: str) -> Any:
    """Its certificate; the theta of one case is always the same."""
    network, theta, x, y = data(name)
    return xu.certify_local(network, theta, x, y)
