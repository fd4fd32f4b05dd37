"""The columns of J that belong to weight and bias of one Linear layer, kept as its inputs and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from exact_unlearn.scalable.jacobian_blocks import Block, DenseBlock, LinearGeometry, OuterBlock, Use
from exact_unlearn.scalable.jacobian_core import wider


@dataclass(frozen=True, eq=False)
class AffineBlock:
    """Row K is the gradient d_K of its output times (a, 1), for the input a of its sample: columns d_K (x) a of the
    weight, row by row, then d_K of the bias if there is one.

    inputs: (n, p).  grads: (n h, q), h rows for each sample.  With one block for both, the Gram matrix is (d . d)(a . a
    + 1), and every product is one of matrices.
    """

    columns: slice
    inputs: Tensor
    grads: Tensor
    has_bias: bool
    rows: Tensor | None = None

    @property
    def split(self) -> int:
        """How many of the columns belong to the weight."""
        return int(self.grads.shape[1] * self.inputs.shape[1])

    @property
    def per_sample(self) -> int:
        """h."""
        return len(self.grads) // max(1, len(self.inputs))

    def gram(self, dtype: torch.dtype) -> Tensor:
        inputs, grads, h = self.inputs.to(dtype), self.grads.to(dtype), self.per_sample
        similar = inputs @ inputs.T
        if self.has_bias:
            similar += 1.0
        if h > 1:
            similar = similar.repeat_interleave(h, 0).repeat_interleave(h, 1)
        return ((grads @ grads.T).mul_(similar)).double()

    def matvec(self, part: Tensor) -> Tensor:
        dtype, split = wider(self.grads.dtype, part.dtype), self.split
        part, inputs = part.to(dtype), self.inputs.to(dtype)
        weight = part[:split].view(self.grads.shape[1], self.inputs.shape[1])
        return self.against(F.linear(inputs, weight, part[split:] if self.has_bias else None))

    def against(self, outputs: Tensor) -> Tensor:
        """<d_K, outputs of its sample>, (K,)."""
        grads = self.grads.to(outputs.dtype)
        if self.per_sample == 1:
            return (grads * outputs).sum(1)
        return torch.bmm(grads.view(len(outputs), -1, grads.shape[1]), outputs[:, :, None]).view(-1)

    def rmatvec(self, nu: Tensor, out: Tensor) -> None:
        dtype = wider(self.grads.dtype, nu.dtype)
        grads, nu, h, n = self.grads.to(dtype), nu.to(dtype), self.per_sample, len(self.inputs)
        weighted = grads * nu[:, None] if h == 1 else torch.bmm(nu.view(n, 1, h), grads.view(n, h, -1)).view(n, -1)
        split, (q, p) = self.split, (grads.shape[1], self.inputs.shape[1])
        whole = out if out.dtype == dtype else torch.empty(out.numel(), dtype=dtype, device=out.device)
        torch.mm(weighted.T, self.inputs.to(dtype), out=whole[:split].view(q, p))
        if self.has_bias:
            torch.sum(weighted, 0, out=whole[split:])
        if whole is not out:
            out.copy_(whole)

    def widened(self) -> AffineBlock:
        return AffineBlock(self.columns, self.inputs.double(), self.grads.double(), self.has_bias, self.rows)

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        for part in self._parts():
            yield from part.pieces(dtype)

    def select(self, positions: Tensor, rows: Tensor | None) -> AffineBlock:
        samples = torch.div(positions, self.per_sample, rounding_mode="floor")
        return AffineBlock(self.columns, self.inputs[samples], self.grads[positions], self.has_bias, rows)

    def _parts(self) -> list[Block]:
        """Weight and bias by themselves."""
        middle = self.columns.start + self.split
        shape = (self.grads.shape[1], self.inputs.shape[1])
        uses = (Use(LinearGeometry(), self.inputs, self.grads),)
        weight = OuterBlock(slice(self.columns.start, middle), shape, uses, self.rows)
        if not self.has_bias:
            return [weight]
        return [weight, DenseBlock(slice(middle, self.columns.stop), self.grads, self.rows)]
