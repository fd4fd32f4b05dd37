"""Many copies of the Data Poisoning network at once: a stack of E parameter vectors, one batched product per layer.

The network is f(x) = W3 silu(W2 silu(w1 x + b1) + b2) + b3 with widths 1-H-H-1.  Row e of `parameters` (E, d) is the
flat theta of copy e in torch's order (w1, b1, W2, b2, W3, b3; matrices row-major), d = H*H + 4*H + 1.  Gradients
are written out by hand, so that a step of a whole stack costs a dozen calls; tests compare them with automatic
differentiation, and a trajectory with the plain `exact_unlearn.algorithms.unlearn`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def network(width: int) -> nn.Sequential:
    """The network as an ordinary module, uninitialised in the sense that its values are whatever torch draws."""
    return nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))


def initial_theta(width: int, generator: torch.Generator) -> Tensor:
    """torch's default initialisation, every entry uniform on +-1/sqrt(fan in), from an explicit generator: (d,)."""
    parts = []
    for fan_in, fan_out in ((1, width), (width, width), (width, 1)):
        bound = 1 / math.sqrt(fan_in)
        for size in (fan_in * fan_out, fan_out):
            parts.append((2 * torch.rand(size, generator=generator) - 1) * bound)
    return torch.cat(parts)


@dataclass(frozen=True)
class Layers:
    """Views of a stack (E, d) as w1 (E, H, 1), b1 (E, H, 1), W2 (E, H, H), b2 (E, H, 1), W3 (E, 1, H), b3 (E, 1,
    1)."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w3: Tensor
    b3: Tensor

    @classmethod
    def of(cls, stack: Tensor) -> Layers:
        """The views; writing to them writes to `stack`."""
        width = width_of(stack.shape[1])
        shapes = ((width, 1), (width, 1), (width, width), (width, 1), (1, width), (1, 1))
        pieces = stack.split([rows * columns for rows, columns in shapes], dim=1)
        return cls(*(piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes, strict=True)))


def width_of(n_parameters: int) -> int:
    """H from d = H*H + 4*H + 1."""
    width = math.isqrt(n_parameters + 3) - 2
    if width < 1 or width * width + 4 * width + 1 != n_parameters:
        raise ValueError(f"no network 1-H-H-1 has {n_parameters} parameters")
    return width


@dataclass(frozen=True)
class Activity:
    """What a forward pass leaves behind: pre-activations z, activations a, derivatives s = silu'(z); all (E, H,
    n)."""

    z1: Tensor
    a1: Tensor
    s1: Tensor
    z2: Tensor
    a2: Tensor
    s2: Tensor
    output: Tensor  # (E, n)


def forward(layers: Layers, x: Tensor) -> Activity:
    """f of every copy at every x (n,)."""
    z1 = layers.w1 * x + layers.b1
    a1, s1 = _silu(z1)
    z2 = torch.baddbmm(layers.b2, layers.w2, a1)
    a2, s2 = _silu(z2)
    output = torch.baddbmm(layers.b3, layers.w3, a2).squeeze(1)
    return Activity(z1, a1, s1, z2, a2, s2, output)


def _silu(z: Tensor) -> tuple[Tensor, Tensor]:
    """silu(z) = z sigma(z) and its derivative sigma(z) (1 + z - silu(z))."""
    sigma = torch.sigmoid(z)
    value = z * sigma
    return value, (z - value).add_(1.0).mul_(sigma)


def predict(stack: Tensor, x: Tensor) -> Tensor:
    """f of every copy at every x: (E, n)."""
    # Copy by copy: the activations of a thousand points times a hundred copies would leave the cache, and the memory.
    return torch.cat([forward(Layers.of(theta), x).output for theta in stack.split(1)])


def backward(layers: Layers, gradient: Layers, x: Tensor, activity: Activity, weights: Tensor) -> None:
    """Write the gradient of sum_i weights[e, i] f_e(x_i) (weights held constant) into `gradient`."""
    v = weights.unsqueeze(1)
    torch.bmm(v, activity.a2.mT, out=gradient.w3)
    torch.sum(v, 2, keepdim=True, out=gradient.b3)
    d2, d1 = deltas(layers, activity, v)
    torch.bmm(d2, activity.a1.mT, out=gradient.w2)
    torch.sum(d2, 2, keepdim=True, out=gradient.b2)
    torch.bmm(d1, x.view(1, -1, 1).expand(len(d1), -1, -1), out=gradient.w1)
    torch.sum(d1, 2, keepdim=True, out=gradient.b1)


def deltas(layers: Layers, activity: Activity, v: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """Derivatives of v_i f(x_i) by z2 and by z1, both (E, H, n)."""
    d2 = activity.s2 * (layers.w3.mT * v)
    d1 = torch.bmm(layers.w2.mT, d2).mul_(activity.s1)
    return d2, d1


class Batch:
    """Points with a weight per copy: loss_e = sum_i c[e, i] (f_e(x_i) - y_i)^2.

    A mean over n points has c = 1/n; ascent has c < 0; so each loss of the experiment is one matrix c.
    """

    def __init__(self, x: Tensor, y: Tensor, c: Tensor) -> None:
        self.x, self.y, self.twice_c = x, y, 2 * c

    def gradient(self, layers: Layers, gradient: Layers) -> None:
        """Write the gradient of every copy's loss into `gradient`."""
        activity = forward(layers, self.x)
        backward(layers, gradient, self.x, activity, (activity.output - self.y).mul_(self.twice_c))
