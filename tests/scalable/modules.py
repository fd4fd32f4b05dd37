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


class Built(nn.Module):
    """A module from its parts and its forward pass."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.run(self, *inputs, **named)


class Conv1D(nn.Module):
    """A linear layer as GPT-2 has it: the weight is (inputs, outputs)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) / nx**0.5), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


class Gpt(nn.Module):
    """GPT-2 in small: learned positions, causal attention, Conv1D, a head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(11, 4), nn.Embedding(5, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(3))
        self.attend, self.project, self.up, self.down = Conv1D(12, 4), Conv1D(4, 4), Conv1D(8, 4), Conv1D(4, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        parts = self.attend(self.norms[0](h)).view(*h.shape[:2], 3, 2, 2).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        h = h + self.project(mixed.transpose(1, 2).reshape(h.shape))
        h = h + self.down(F.gelu(self.up(self.norms[1](h)), approximate="tanh"))
        return self.norms[2](h)[:, -1] @ self.wte.weight.T


class Rotary(nn.Module):
    """Rotations by a complex buffer, and a cache that every forward pass writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.seen = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), []
        self.register_buffer("turn", torch.polar(torch.ones(3, 2), torch.arange(6.0).view(3, 2) / 5))

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        turned = [
            torch.view_as_real(torch.view_as_complex(h(x).view(*x.shape[:2], 2, 2)) * self.turn).flatten(2)
            for h in (self.q, self.k)
        ]
        return (turned[0] @ turned[1].transpose(1, 2)).softmax(2)[:, 0] * len(self.seen)


def experts(module: Any, x: Tensor) -> Tensor:
    weights = module.gate(x).softmax(1)
    return sum(weights[:, i : i + 1] * torch.tanh(expert(x)) for i, expert in enumerate(module.experts))


def recurrent_cells(module: Any, x: Tensor) -> Tensor:
    h = torch.zeros(len(x), 3)
    for step in x.unbind(1):
        h = module.cell(step, h)
    return h


def in_place(module: Any, x: Tensor) -> Tensor:
    x -= 0.5
    x /= 2
    return module.a(x)


def adapter(module: Any, x: Tensor) -> Tensor:
    return module.base(x) + 0.5 * module.up(module.down(x))


def without_base(module: Built) -> Built:
    module.base.requires_grad_(False)
    nn.init.zeros_(module.up.weight)
    return module


def images3(module: Any, x: Tensor) -> Tensor:
    return module.head(F.avg_pool3d(F.gelu(module.a(x)), 2).flatten(1))


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
    "lstm": (
        lambda: Built(lambda s, x: s.b(s.a(x)[0][:, -1]), a=nn.LSTM(3, 2, batch_first=True), b=nn.Linear(2, 1)),
        lambda n: torch.randn(n, 3, 3),
    ),
    "cells": (lambda: Built(recurrent_cells, cell=nn.GRUCell(3, 3)), lambda n: torch.randn(n, 3, 3)),
    "attention": (
        lambda: Built(lambda s, x: s.a(x, x, x)[0].mean(1), a=nn.MultiheadAttention(4, 2, batch_first=True)),
        lambda n: torch.randn(n, 3, 4),
    ),
    "transposed convolutions": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), nn.ELU(), nn.Conv2d(4, 1, 5), nn.Flatten()
        ),
        lambda n: torch.randn(n, 2, 3, 3),
    ),
    "conv 3d": (
        lambda: Built(images3, a=nn.Conv3d(1, 2, 3, padding=1), head=nn.Linear(16, 2)),
        lambda n: torch.randn(n, 1, 4, 4, 4),
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 2, padding=1, padding_mode="replicate"),
            nn.MaxPool2d(2),
            nn.InstanceNorm2d(3, affine=True),
            nn.PReLU(3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        images,
    ),
    "bilinear": (
        lambda: Built(lambda s, x: s.b(x, torch.sin(x)), b=nn.Bilinear(4, 4, 2)),
        lambda n: torch.randn(n, 4),
    ),
    "experts": (
        lambda: Built(experts, gate=nn.Linear(4, 2), experts=nn.ModuleList(nn.Linear(4, 3) for _ in range(2))),
        lambda n: torch.randn(n, 4),
    ),
    "einsum": (
        lambda: Built(
            lambda s, x: torch.einsum("nti,ijk,ntk->nj", x, s.w, torch.cos(x)), w=nn.Parameter(torch.randn(3, 2, 3))
        ),
        lambda n: torch.randn(n, 4, 3),
    ),
    "gpt": (Gpt, lambda n: torch.randint(0, 11, (n, 5))),
    "rotary": (Rotary, lambda n: torch.randn(n, 3, 4)),
    "adapter": (
        lambda: without_base(
            Built(adapter, base=nn.Linear(4, 3), down=nn.Linear(4, 2, bias=False), up=nn.Linear(2, 3, bias=False))
        ),
        lambda n: torch.randn(n, 4),
    ),
    "embedding bag": (
        lambda: nn.Sequential(nn.EmbeddingBag(11, 4, mode="mean"), nn.Tanh(), nn.Linear(4, 2)),
        tokens,
    ),
    "sparse embedding": (
        lambda: Built(lambda s, t: s.b(s.e(t).tanh().sum(1)), e=nn.Embedding(11, 4, sparse=True), b=nn.Linear(4, 2)),
        tokens,
    ),
    "squeezed": (
        lambda: Built(lambda s, x: s.b(torch.tanh(s.a(x))).squeeze(), a=nn.Linear(4, 3), b=nn.Linear(3, 1)),
        lambda n: torch.randn(n, 4),
    ),
    "in place": (lambda: Built(in_place, a=nn.Linear(4, 2)), lambda n: torch.randn(n, 4)),
    "compiled": (lambda: torch.compile(Mlp(), backend="eager"), lambda n: torch.randn(n, 4)),
    "orthogonal": (
        lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Softplus(), nn.Linear(4, 2)),
        lambda n: torch.randn(n, 4),
    ),
    "spectral norm": (
        lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 2)).eval(),
        lambda n: torch.randn(n, 4),
    ),
    "batch norm 1d": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(inplace=True), nn.Linear(5, 2)).eval(),
        lambda n: torch.randn(n, 4),
    ),
}
