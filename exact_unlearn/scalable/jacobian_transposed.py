"""The columns of J of a linear layer that keeps its weight as (inputs, outputs): y = x W, as the Conv1D of GPT-2 does.

The same outer products as those of nn.Linear, their columns in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exact_unlearn.scalable.jacobian_blocks import PIECE_ELEMENTS, OuterBlock, Use


def is_transposed_linear(layer: nn.Module) -> bool:
    """Whether a layer looks like the Conv1D of GPT-2: that name, a weight (p, q), at most a bias (q,), nothing else.

    What the forward method does with them is not looked at: differences of the outputs tell (jacobian_check.py).
    """
    own, weight = layer._parameters, layer._parameters.get("weight")
    if type(layer).__name__ != "Conv1D" or weight is None or weight.ndim != 2 or own.keys() - {"weight", "bias"}:
        return False
    bias = own.get("bias")
    return (bias is None or bias.shape == weight.shape[1:]) and not layer._modules and not layer._buffers


@dataclass(frozen=True, eq=False)
class TransposedBlock:
    """The weight (p, q) of such a layer; inner: the block of its transpose."""

    inner: OuterBlock

    @property
    def columns(self) -> slice:
        return self.inner.columns

    @property
    def rows(self) -> Tensor | None:
        return self.inner.rows

    @property
    def size(self) -> int:
        return self.inner.size

    def gram(self, dtype: torch.dtype) -> Tensor:
        return self.inner.gram(dtype)

    def matvec(self, part: Tensor) -> Tensor:
        q, p = self.inner.weight_shape
        return self.inner.matvec(part.view(p, q).T.reshape(-1))

    def rmatvec(self, nu: Tensor, out: Tensor) -> None:
        q, p = self.inner.weight_shape
        other = torch.empty_like(out)
        self.inner.rmatvec(nu, other)
        out.view(p, q).copy_(other.view(q, p).T)

    def widened(self) -> TransposedBlock:
        return TransposedBlock(self.inner.widened())

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Some inputs at a time, each with all outputs."""
        q, p = self.inner.weight_shape
        k, start = len(self.inner.uses[0].grads), self.columns.start
        step = max(1, PIECE_ELEMENTS // max(1, k * q))
        for first in range(0, p, step):
            last = min(first + step, p)
            uses = tuple(Use(use.geometry, use.inputs[..., first:last], use.grads) for use in self.inner.uses)
            part = OuterBlock(slice(0, (last - first) * q), (q, last - first), uses)
            piece = torch.cat([columns for _, columns in part.pieces(dtype)], 1)
            yield slice(start + first * q, start + last * q), piece.view(k, q, -1).transpose(1, 2).reshape(k, -1)

    def select(self, positions: Tensor, rows: Tensor | None) -> TransposedBlock:
        return TransposedBlock(self.inner.select(positions, rows))
