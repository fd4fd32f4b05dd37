"""Which models are smooth networks, and how their parameters are ordered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_unlearn import modules
from exact_unlearn.activations import as_activation
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.local.network import SmoothNetwork
from exact_unlearn.models import LinearModel, LinearNetwork, Perceptron


@dataclass(frozen=True, eq=False)
class Ordered:
    """A network, and order (d,): its parameter i is number order[i] of the model."""

    network: SmoothNetwork
    order: Array

    def inward(self, theta: Array) -> Array:
        """Parameters of the model as those of the network."""
        return np.asarray(theta[self.order])

    def outward(self, theta: Array) -> Array:
        """The inverse of `inward`."""
        out = np.empty_like(theta)
        out[self.order] = theta
        return out


def as_network(model: Any) -> Ordered:
    """The smooth network that a model is: a SmoothNetwork, Perceptron, LinearModel or LinearNetwork of this package, or
    a torch Sequential of Linear layers with smooth activations between them.

    ProblemError on other models, and, with the reason, on activations that are not smooth.
    """
    if isinstance(model, SmoothNetwork):
        return Ordered(model, np.arange(model.n_parameters))
    if isinstance(model, LinearModel):
        return Ordered(SmoothNetwork((model.n_inputs, model.n_outputs)), np.arange(model.n_parameters))
    if isinstance(model, Perceptron):
        network = SmoothNetwork((model.n_inputs, model.width, model.n_outputs), as_activation(model.activation).name)
        return _from_layout(network, model)
    if isinstance(model, LinearNetwork):
        return _from_layout(SmoothNetwork(model.widths, "identity"), model)
    if modules.is_module(model):
        return _sequential(model)
    raise ProblemError(
        "model: expected a SmoothNetwork, Perceptron, LinearModel, LinearNetwork or torch Sequential, got "
        f"{model!r:.80}"
    )


def parameters_of(module: Any) -> Array:
    """The parameters of a torch module, (d,) in float64."""
    parts = [part.detach().cpu().double().numpy().reshape(-1) for part in module.parameters()]
    return np.concatenate(parts)


def _from_layout(network: SmoothNetwork, model: Any) -> Ordered:
    """Models that keep the last layer in front: the blocks "A", "A1", ... come in the order of the layers, "c" last."""
    indices = model.layout.indices()
    names = sorted((name for name in indices if name != "c"), key=lambda name: int(name[1:] or 1))
    return Ordered(network, np.concatenate([indices[name].reshape(-1) for name in (*names, "c")]))


_TORCH = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus", "SiLU": "silu", "GELU": "gelu"}
_TORCH |= {"Identity": "identity", "ReLU": "relu", "LeakyReLU": "leaky_relu"}
_PLAIN: dict[str, dict[str, Any]] = {"Softplus": {"beta": 1, "threshold": 20}, "GELU": {"approximate": "none"}}


def _sequential(module: Any) -> Ordered:
    """Linear, activation, Linear, ...; weights and biases as torch lists them."""
    parts = list(module.children()) if type(module).__name__ == "Sequential" else [module]
    widths: list[int] = []
    biases: list[bool] = []
    phis: list[str] = []
    order: list[Array] = []
    start = 0
    for part in parts:
        kind = type(part).__name__
        if kind == "Linear":
            if widths and widths[-1] != part.in_features:
                raise ProblemError(f"model: a layer of {part.in_features} inputs follows one of {widths[-1]} outputs")
            if widths and len(phis) < len(biases):
                phis.append("identity")
            h, m, bias = part.out_features, part.in_features, part.bias is not None
            weights = start + np.arange(h * m).reshape(h, m)
            more = [start + h * m + np.arange(h)[:, None]] if bias else []
            order.append(np.hstack([weights, *more]).reshape(-1))
            start += h * (m + bias)
            widths, biases = [*(widths or [m]), h], [*biases, bias]
        elif kind in _TORCH and len(phis) < len(biases):
            if any(getattr(part, key) != value for key, value in _PLAIN.get(kind, {}).items()):
                raise ProblemError(f"model: expected {kind} with its default options, got {part!r:.80}")
            phis.append(_TORCH[kind])
        else:
            raise ProblemError(
                f"model: expected a torch Sequential of Linear layers, at most one of {', '.join(_TORCH)} after each, "
                f"got {part!r:.80}"
            )
    if not widths or start != sum(part.numel() for part in module.parameters()):
        raise ProblemError("model: expected at least one Linear layer, each of them once")
    if not all(part.requires_grad for part in module.parameters()):
        raise ProblemError("model: expected that all parameters may move, but some of them are frozen")
    last = phis.pop() if len(phis) == len(biases) else "identity"
    return Ordered(SmoothNetwork(tuple(widths), tuple(phis), tuple(biases), last), np.concatenate(order))
