"""Small modules that use torch in every way that a Jacobian by layers could get wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 5, bias=False), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.silu(self.second(F.silu(self.first(x)))))


class ConvNet(nn.Module):
    """Strides, dilation, groups, padding of all kinds, in-place activations, a residual sum in place."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1, bias=norm == "none")
        self.b = nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=2)
        self.c = nn.Conv2d(4, 6, (3, 2), padding="same", padding_mode="reflect")
        self.d = nn.Conv2d(6, 6, 1, groups=6)
        self.norms = nn.ModuleList(_norm(norm, width) for width in (4, 4, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.a(x)), inplace=True)
        x = self.norms[1](self.b(x))
        x += 0.1 * x
        x = torch.tanh(self.norms[2](self.c(x)))
        return self.head(torch.sigmoid(self.d(x)).mean((2, 3)))


def _norm(kind: str, width: int) -> nn.Module:
    if kind == "group":
        return nn.GroupNorm(2, width)
    if kind == "batch":
        norm = nn.BatchNorm2d(width)
        norm.running_mean = 0.1 * torch.arange(width, dtype=torch.float32)
        norm.running_var = 0.5 + torch.rand(width)
        return norm
    return nn.Identity()


class Conv1dNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(2, 3, 3, stride=2, padding=1)
        self.b = nn.Conv1d(3, 4, 2, padding="same", padding_mode="circular", bias=False)
        self.norm = nn.LayerNorm([4, 5])
        self.head = nn.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.tanh(self.b(F.gelu(self.a(x))))).flatten(1))


class Text(nn.Module):
    """Embedding with a padding token, a linear layer along time, layer norm, and optionally a decoder tied to
    the embedding.
    """

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4, padding_idx=0)
        self.mix = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.out = nn.Linear(4, 11, bias=False)
        if tied:
            self.out.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.norm(torch.tanh(self.mix(self.embed(tokens))))).mean(1)


class TwoHeads(nn.Module):
    """Heads of a shared trunk, one of them with its own layer, returned in a dict; a parameter nothing depends
    on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(4, 5)
        self.left, self.right = nn.Linear(5, 3), nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = torch.tanh(self.trunk(x))
        return {"left": self.left(h), "more": (self.right(h), 7)}


class Repeated(nn.Module):
    """One layer called three times, once for one head only."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.head = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.step(torch.tanh(self.step(x))))
        return self.head(h), self.head(torch.tanh(self.step(h)))


class Functional(nn.Module):
    """Weights used beside the layers that own them: as a raw parameter, and through F.linear on another layer's
    weight.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4))
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(self.scale * x))
        return self.b(h) + F.linear(h, self.a.weight)


class OwnLinear(nn.Linear):
    """A subclass with another forward, as adapters have."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).square()


class TimeFirst(nn.Module):
    """A layer fed (time, sample, feature): with as many steps as samples it looks like (sample, time, feature)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(x.transpose(0, 1))).mean(0))


class OverwrittenInput(nn.Module):
    """The input of a layer whose weight is frozen is written to afterwards, which autograd does not mind."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)
        self.a.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = x.clone()
        y = self.b(self.a(h).tanh())
        h.mul_(2.0)
        return y


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x)[:, -1])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Named(nn.Module):
    """Keyword inputs, of which one is a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, *, left: Tensor, right: Tensor, power: int) -> Tensor:
        return self.layer(left * right**power)


class Counting(nn.Module):
    """A buffer that every forward pass writes to, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.layer(x)


def frozen_parts() -> nn.Module:
    module = Mlp()
    module.first.weight.requires_grad_(False)
    module.last.bias.requires_grad_(False)
    return module


def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.Tanh(), OwnLinear(3, 3), nn.Linear(3, 2))


def images(n: int) -> Tensor:
    return torch.randn(n, 2, 6, 5)


def tokens(n: int) -> Tensor:
    return torch.randint(0, 11, (n, 5))


Maker = Callable[[], nn.Module]
MODULES: dict[str, tuple[Maker, Callable[[int], Any]]] = {
    "mlp": (Mlp, lambda n: torch.randn(n, 4)),
    "conv": (lambda: ConvNet("none"), images),
    "conv group norm": (lambda: ConvNet("group"), images),
    "conv batch norm": (lambda: ConvNet("batch").eval(), images),
    "conv 1d": (Conv1dNet, lambda n: torch.randn(n, 2, 10)),
    "text": (lambda: Text(False), tokens),
    "tied text": (lambda: Text(True), tokens),
    "two heads": (TwoHeads, lambda n: torch.randn(n, 4)),
    "repeated": (Repeated, lambda n: torch.randn(n, 4)),
    "functional": (Functional, lambda n: torch.randn(n, 4)),
    "weight norm": (weight_norm, lambda n: torch.randn(n, 4)),
    "time first": (TimeFirst, lambda n: torch.randn(n, 4, 3)),
    "overwritten": (OverwrittenInput, lambda n: torch.randn(n, 4)),
    "transformer": (lambda: Transformer().eval(), lambda n: torch.randn(n, 3, 4)),
    "recurrent": (Recurrent, lambda n: torch.randn(n, 3, 3)),
    "counting": (Counting, lambda n: torch.randn(n, 4)),
    "frozen": (frozen_parts, lambda n: torch.randn(n, 4)),
    "named": (Named, lambda n: {"left": torch.randn(n, 4), "right": torch.rand(n, 4), "power": 2}),
    "batch norm 1d": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(inplace=True), nn.Linear(5, 2)).eval(),
        lambda n: torch.randn(n, 4),
    ),
}
