"""Networks of two layers whose units bend at 0, wherever their weights lie in theta: a Perceptron or a Sequential.

    f(x) = C phi(A x + b) + d      phi(z) = z for z >= 0 and kappa z for z < 0

With a constant input for b, A is (h, m'); d is there in torch modules only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn import modules
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.models import Perceptron

SLOPES = {"relu": 0.0, "abs": -1.0}
"""kappa; that of leaky_relu is its own."""


@dataclass(frozen=True, eq=False)
class Bent:
    """x: (n, m') inputs; hidden: (h, m') and output: (l, h) where A and C lie in theta; offset: (l,), d, or None."""

    x: Array
    hidden: Array
    output: Array
    offset: Array | None
    slope: float

    @cached_property
    def lengths(self) -> Array:
        """|x_i|, (n,)."""
        return np.asarray(np.linalg.norm(self.x, axis=1))

    def slopes(self, sides: Array) -> Array:
        """phi' on these sides, (n, h)."""
        return np.where(sides > 0, 1.0, self.slope)

    def inner(self, theta: Array) -> Array:
        """a_j . x_i, (n, h)."""
        return np.asarray(self.x @ theta[self.hidden].T)

    def sizes(self, theta: Array) -> Array:
        """|a_j| |x_i|, (n, h); 0 where a unit is not used."""
        used = (theta[self.output] != 0).any(axis=0)
        return np.asarray(self.lengths[:, None] * np.linalg.norm(theta[self.hidden], axis=1) * used)

    def outputs(self, theta: Array, sides: Array) -> Array:
        """The polynomial that f is where units keep these sides, (n, l)."""
        values = (self.inner(theta) * self.slopes(sides)) @ theta[self.output].T
        return np.asarray(values if self.offset is None else values + theta[self.offset])

    def jacobian(self, theta: Array, sides: Array) -> Array:
        """Of `outputs`, (n l, d)."""
        slopes, features = self.slopes(sides), self.inner(theta) * self.slopes(sides)
        J = np.zeros((len(self.x), len(self.output), theta.size))
        for o, places in enumerate(self.output):
            J[:, o, places] = features
            J[:, o, self.hidden] = (theta[places] * slopes)[..., None] * self.x[:, None, :]
            if self.offset is not None:
                J[:, o, self.offset[o]] = 1.0
        return J.reshape(-1, theta.size)


def bent(model: Any, x: Any) -> Bent | None:
    """The network as one of these, on the inputs x; None where it is another one, or parts of it are constants."""
    if isinstance(model, Perceptron):
        if model.phi.name not in (*SLOPES, "leaky_relu"):
            return None
        index = model.layout.indices()
        samples = to_float(np.asarray(x)).reshape(-1, model.n_inputs)
        return Bent(samples, index["A"], index["c"], None, SLOPES.get(model.phi.name, float(model.phi.slope or 0.0)))
    return _sequential(model, x) if modules.is_module_model(model) else None


def _sequential(model: Any, x: Any) -> Bent | None:
    from torch import nn

    module, at = model.module, model.blocks
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward or len(module) != 3:
        return None
    parts: list[Any] = list(module.children())
    first, bend, last = parts
    plain = type(first) is nn.Linear and type(last) is nn.Linear and type(bend) in (nn.ReLU, nn.LeakyReLU)
    names = list(dict(module.named_parameters()))
    if not plain or model.outputs != "all" or list(at) != names or model.input_shape is not None:
        return None
    index = [np.arange(at[name].start, at[name].stop) for name in names]
    places = dict(zip(names, index, strict=True))
    (a, c), (h, m) = (name for name in names if name.endswith("weight")), first.weight.shape
    hidden, samples = places[a].reshape(h, m), to_float(np.asarray(x)).reshape(-1, m)
    if first.bias is not None:
        hidden = np.column_stack([hidden, places[a.replace("weight", "bias")]])
        samples = np.column_stack([samples, np.ones(len(samples))])
    offset = None if last.bias is None else places[c.replace("weight", "bias")]
    slope = float(bend.negative_slope) if isinstance(bend, nn.LeakyReLU) else 0.0
    return Bent(samples, hidden, places[c].reshape(-1, h), offset, slope)
