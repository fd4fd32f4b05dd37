"""The columns of J that belong to one parameter, kept in the form in which they are cheapest.

    DenseBlock   the columns themselves
    OuterBlock   sum over positions t of (back-propagated gradient at t) x (input at t): Linear and convolutions
    TokenBlock   the same with one-hot inputs: Embedding

Row K of a block is row `rows[K]` of J; samples have h rows each, in order.  The Gram matrix of an OuterBlock
needs no column of J: (d1 x a1) . (d2 x a2) = (d1 . d2)(a1 . a2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends import cudnn
from torch.nn.grad import conv2d_weight

from exact_unlearn.scalable.jacobian_core import add_gram, wider

PIECE_ELEMENTS = 1 << 23
"""Largest part of the columns of one parameter that is formed at a time: small enough for its memory to be
reused.
"""


SMALL = 1 << 17
"""Entries up to which a Gram matrix is one product, without sums over chunks."""

KEPT_PATCHES = 1 << 24
"""Entries of the patches of all samples up to which they are formed once for all pieces."""

PATCH_BYTES = (1 << 21, 1 << 28)
"""Patches of a convolution formed at a time: what stays in the cache of a CPU, and what fills a GPU."""


class Block(Protocol):
    """The columns `columns` of J for the rows `rows` (None: all of them)."""

    @property
    def columns(self) -> slice:
        """Where the parameter lies in theta."""
        ...

    @property
    def rows(self) -> Tensor | None:
        """Which rows of J these are; None for all."""
        ...

    def gram(self, dtype: torch.dtype) -> Tensor:
        """Columns times columns.T, (K, K) float64, products in `dtype`."""
        ...

    def matvec(self, part: Tensor) -> Tensor:
        """Columns times a part of a drift, (K,)."""
        ...

    def rmatvec(self, nu: Tensor, out: Tensor) -> None:
        """Write columns.T times multipliers (K,) to `out`, which has the dtype of nu."""
        ...

    def widened(self) -> Block:
        """The same data in float64."""
        ...

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """The columns themselves, a few at a time, as (slice of theta, (K, width))."""
        ...

    def select(self, positions: Tensor, rows: Tensor | None) -> Block:
        """The rows at `positions`, renamed to `rows`."""
        ...


@dataclass(frozen=True, eq=False)
class DenseBlock:
    """Columns stored as they are: matrix (K, width)."""

    columns: slice
    matrix: Tensor
    rows: Tensor | None = None

    def gram(self, dtype: torch.dtype) -> Tensor:
        if self.matrix.numel() <= SMALL:
            matrix = self.matrix.to(dtype)
            return (matrix @ matrix.T).double()
        out = torch.zeros(len(self.matrix), len(self.matrix), dtype=torch.float64, device=self.matrix.device)
        add_gram(out, self.matrix, None, dtype)
        return out

    def matvec(self, part: Tensor) -> Tensor:
        dtype = wider(self.matrix.dtype, part.dtype)
        return self.matrix.to(dtype) @ part.to(dtype)

    def rmatvec(self, nu: Tensor, out: Tensor) -> None:
        dtype = wider(self.matrix.dtype, nu.dtype)
        if dtype == out.dtype:
            torch.mv(self.matrix.to(dtype).T, nu, out=out)
        else:
            out.copy_(self.matrix.T @ nu.to(dtype))

    def widened(self) -> DenseBlock:
        return DenseBlock(self.columns, self.matrix.double(), self.rows)

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        step = max(1, PIECE_ELEMENTS // max(1, len(self.matrix)))
        for start in range(0, self.matrix.shape[1], step):
            part = self.matrix[:, start : start + step].to(dtype)
            first = self.columns.start + start
            yield slice(first, first + part.shape[1]), part

    def select(self, positions: Tensor, rows: Tensor | None) -> DenseBlock:
        return DenseBlock(self.columns, self.matrix[positions], rows)


class Geometry(Protocol):
    """How a layer applies its weight: what an OuterBlock must know about it."""

    def patches(self, inputs: Tensor) -> Tensor:
        """What the weight is multiplied with: (n, groups, p, T) for inputs (n, ...)."""
        ...

    def fields(self, grads: Tensor) -> Tensor:
        """Gradients of the outputs (K, ...) as (K, groups, q, T)."""
        ...

    def apply(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """The layer without bias."""
        ...

    def pullback(self, inputs: Tensor, grads: Tensor, out: Tensor) -> None:
        """Write the gradient of <grads, apply(inputs, weight)> in the weight to `out`, which is flat."""
        ...


@dataclass(frozen=True)
class LinearGeometry:
    """y = x W.T on the last dimension."""

    def patches(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(len(inputs), 1, -1, inputs.shape[-1]).transpose(2, 3)

    def fields(self, grads: Tensor) -> Tensor:
        return grads.reshape(len(grads), 1, -1, grads.shape[-1]).transpose(2, 3)

    def apply(self, inputs: Tensor, weight: Tensor) -> Tensor:
        return F.linear(inputs, weight)

    def pullback(self, inputs: Tensor, grads: Tensor, out: Tensor) -> None:
        left, right = grads.reshape(-1, grads.shape[-1]).T, inputs.reshape(-1, inputs.shape[-1])
        if out.dtype == right.dtype:
            torch.mm(left, right, out=out.view(left.shape[0], -1))
        else:
            out.copy_((left @ right).view(-1))


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Convolutions without TF32, which cuDNN uses by default: its errors would not show in any residual."""
    if device.type != "cuda":
        return nullcontext()
    context: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
    )
    return context


@dataclass(frozen=True)
class ConvGeometry:
    """A convolution in two dimensions (one-dimensional ones have height 1); inputs are padded already where
    `padding` cannot say it.
    """

    weight_shape: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    one_dimensional: bool

    def patches(self, inputs: Tensor) -> Tensor:
        images = self._images(inputs)
        n, channels, height, width = images.shape
        (kh, kw), (dh, dw), (sh, sw) = self.weight_shape[-2:], self.dilation, self.stride
        if (kh, kw, sh, sw) == (1, 1, 1, 1) and self.padding == (0, 0):
            return images.reshape(n, self.groups, channels // self.groups, height * width)
        ph, pw = self.padding
        images = F.pad(images, (pw, pw, ph, ph)).contiguous()
        height, width = height + 2 * ph, width + 2 * pw
        rows, columns = (height - dh * (kh - 1) - 1) // sh + 1, (width - dw * (kw - 1) - 1) // sw + 1
        # Windows as a view and one copy: half the time of im2col.
        windows = images.as_strided(
            (n, channels, kh, kw, rows, columns),
            (channels * height * width, height * width, dh * width, dw, sh * width, sw),
        )
        return windows.reshape(n, self.groups, channels // self.groups * kh * kw, rows * columns)

    def fields(self, grads: Tensor) -> Tensor:
        return grads.reshape(len(grads), self.groups, grads.shape[1] // self.groups, -1)

    def apply(self, inputs: Tensor, weight: Tensor) -> Tensor:
        kernel = weight.reshape(self.weight_shape)
        with full_precision(inputs.device):
            out = F.conv2d(self._images(inputs), kernel, None, self.stride, self.padding, self.dilation, self.groups)
        return out.squeeze(2) if self.one_dimensional else out

    def pullback(self, inputs: Tensor, grads: Tensor, out: Tensor) -> None:
        images, fields = self._images(inputs), self._images(grads).contiguous()
        shape, setting = self.weight_shape, (self.stride, self.padding, self.dilation, self.groups)
        with full_precision(inputs.device):
            gradient: Tensor = conv2d_weight(images, shape, fields, *setting)  # type: ignore[no-untyped-call]
        out.copy_(gradient.reshape(-1))

    def _images(self, values: Tensor) -> Tensor:
        return values.unsqueeze(2) if self.one_dimensional else values


@dataclass(frozen=True, eq=False)
class Use:
    """One call of a layer: its input (n, ...) and the gradients of the chosen outputs in its output, (K, ...)
    with K = n h.
    """

    geometry: Geometry
    inputs: Tensor
    grads: Tensor

    @property
    def per_sample(self) -> int:
        """h."""
        return len(self.grads) // max(1, len(self.inputs))

    @property
    def is_plain(self) -> bool:
        """Whether it is a matrix product with one row per sample."""
        return isinstance(self.geometry, LinearGeometry) and self.inputs.ndim == 2

    def all_patches(self, dtype: torch.dtype) -> Tensor | None:
        """The patches of all samples, where they are few enough to be kept."""
        first = self.geometry.patches(self.inputs[:1])
        few = first.numel() * len(self.inputs) <= KEPT_PATCHES
        return self.geometry.patches(self.inputs.to(dtype)) if few else None

    def weighted(self, nu: Tensor) -> Tensor:
        """sum over the rows of a sample of nu times its gradients, (n, ...)."""
        n, h = len(self.inputs), self.per_sample
        if h == 1:
            return self.grads.to(nu.dtype) * nu.reshape(n, *[1] * (self.grads.ndim - 1))
        mixed = torch.bmm(nu.reshape(n, 1, h), self.grads.to(nu.dtype).reshape(n, h, -1))
        return mixed.reshape(n, *self.grads.shape[1:])

    def against(self, outputs: Tensor) -> Tensor:
        """<gradients of row K, outputs of its sample>, (K,)."""
        n, h = len(self.inputs), self.per_sample
        if h == 1 and outputs.ndim == 2:
            return (self.grads.to(outputs.dtype) * outputs).sum(1)
        grads = self.grads.to(outputs.dtype).reshape(n, h, -1)
        return torch.bmm(grads, outputs.reshape(n, -1, 1)).reshape(-1)


@dataclass(frozen=True, eq=False)
class OuterBlock:
    """The weight of a Linear or convolution layer, through every call of it; weight_shape (q, p, ...)."""

    columns: slice
    weight_shape: tuple[int, ...]
    uses: tuple[Use, ...]
    rows: Tensor | None = None

    @property
    def size(self) -> int:
        return int(self.columns.stop - self.columns.start)

    def gram(self, dtype: torch.dtype) -> Tensor:
        kernel, formed = self._costs
        if kernel <= formed:
            return self._kernel_gram(dtype)
        k = len(self.uses[0].grads)
        out = torch.zeros(k, k, dtype=torch.float64, device=self.uses[0].grads.device)
        patches = [use.all_patches(dtype) for use in self.uses]
        ready = [part for part in patches if part is not None and part.shape[1] == 1]
        if len(ready) == len(self.uses):
            self._add_formed_gram(out, ready)
        else:
            for _, piece in self.pieces(dtype):
                add_gram(out, piece)
        return out

    def _add_formed_gram(self, out: Tensor, patches: list[Tensor]) -> None:
        """out += columns times columns.T, with a few columns formed at a time, in any order, in one buffer."""
        n, h, q = len(patches[0]), self.uses[0].per_sample, self.weight_shape[0]
        p, k = self.size // q, n * self.uses[0].per_sample
        left = [
            use.geometry.fields(use.grads).to(part.dtype).reshape(n, h * q, -1)
            for use, part in zip(self.uses, patches, strict=True)
        ]
        step = max(1, min(p, PIECE_ELEMENTS // max(1, k * q)))
        buffer = patches[0].new_empty(k * q * step)
        for start in range(0, p, step):
            stop = min(start + step, p)
            piece = buffer[: k * q * (stop - start)].view(n, h * q, stop - start)
            for i, part in enumerate(patches):
                right = part[:, 0, start:stop].transpose(1, 2)
                if i == 0:
                    torch.bmm(left[i], right, out=piece)
                else:
                    piece.baddbmm_(left[i], right)
            add_gram(out, piece.view(k, -1))

    def matvec(self, part: Tensor) -> Tensor:
        dtype = wider(self.uses[0].grads.dtype, part.dtype)
        weight = part.to(dtype).reshape(self.weight_shape)
        parts = [use.against(use.geometry.apply(use.inputs.to(dtype), weight)) for use in self.uses]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    def rmatvec(self, nu: Tensor, out: Tensor) -> None:
        dtype = wider(self.uses[0].grads.dtype, nu.dtype)
        nu = nu.to(dtype)
        for i, use in enumerate(self.uses):
            part = out if i == 0 else torch.empty_like(out)
            use.geometry.pullback(use.inputs.to(dtype), use.weighted(nu), part)
            if i > 0:
                out += part

    def widened(self) -> OuterBlock:
        uses = tuple(Use(use.geometry, use.inputs.double(), use.grads.double()) for use in self.uses)
        return OuterBlock(self.columns, self.weight_shape, uses, self.rows)

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        q, k = self.weight_shape[0], len(self.uses[0].grads)
        width = self.size // q
        groups = self.uses[0].geometry.fields(self.uses[0].grads).shape[1]
        step = q if groups > 1 else max(1, min(q, PIECE_ELEMENTS // max(1, k * width)))
        known = [use.all_patches(dtype) if step < q else None for use in self.uses]
        for start in range(0, q, step):
            stop = min(start + step, q)
            parts = [self._formed(use, start, stop, dtype, ready) for use, ready in zip(self.uses, known, strict=True)]
            piece = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
            yield slice(self.columns.start + start * width, self.columns.start + stop * width), piece

    def select(self, positions: Tensor, rows: Tensor | None) -> OuterBlock:
        uses = []
        for use in self.uses:
            samples = torch.div(positions, use.per_sample, rounding_mode="floor")
            uses.append(Use(use.geometry, use.inputs[samples], use.grads[positions]))
        return OuterBlock(self.columns, self.weight_shape, tuple(uses), rows)

    def _formed(self, use: Use, start: int, stop: int, dtype: torch.dtype, ready: Tensor | None) -> Tensor:
        """Columns of the output channels start ... stop - 1, (K, width), for some samples at a time; ready: all
        patches, if they were formed already.
        """
        fields = use.geometry.fields(use.grads)
        k, groups, q, places = fields.shape
        n, h = len(use.inputs), use.per_sample
        fields = fields.reshape(n, h, groups, q, places)
        if groups == 1:
            fields = fields[:, :, :, start:stop]
            q = stop - start
        p = self.size // self.weight_shape[0]
        if places == 1 and groups == 1:
            patches = use.geometry.patches(use.inputs).to(dtype)
            return (fields.to(dtype) * patches.reshape(n, 1, 1, 1, p)).reshape(k, q * p)
        out = use.grads.new_empty(n, h, groups, q, p, dtype=dtype)
        step = max(1, PATCH_BYTES[use.grads.device.type == "cuda"] // (p * groups * places * dtype.itemsize + 1))
        for first in range(0, n, step):
            some = slice(first, min(first + step, n))
            patches = use.geometry.patches(use.inputs[some].to(dtype)) if ready is None else ready[some]
            if groups == 1:
                left = fields[some].to(dtype).reshape(-1, h * q, places)
                torch.bmm(left, patches[:, 0].transpose(1, 2), out=out[some].view(-1, h * q, p))
                continue
            left = fields[some].to(dtype).transpose(1, 2).reshape(-1, groups, h * q, places)
            out[some] = (left @ patches.transpose(2, 3)).reshape(-1, groups, h, q, p).transpose(1, 2)
        return out.reshape(k, groups * q * p)

    def _kernel_gram(self, dtype: torch.dtype) -> Tensor:
        """Sum over positions of (input . input)(gradient . gradient), some samples at a time."""
        if len(self.uses) == 1 and self.uses[0].is_plain:
            inputs, grads = self.uses[0].inputs.to(dtype), self.uses[0].grads.to(dtype)
            similar, h = inputs @ inputs.T, self.uses[0].per_sample
            if h > 1:
                similar = similar.repeat_interleave(h, 0).repeat_interleave(h, 1)
            return (grads @ grads.T).double() * similar
        fields = _joined([use.geometry.fields(use.grads) for use in self.uses]).to(dtype)
        patches = _joined([use.geometry.patches(use.inputs) for use in self.uses]).to(dtype)
        k, groups, q, places = fields.shape
        n, h = len(patches), self.uses[0].per_sample
        out = torch.zeros(n, h, n, h, dtype=torch.float64, device=fields.device)
        step = max(1, PIECE_ELEMENTS // max(1, k * h * places**2))
        for group in range(groups):
            inputs = patches[:, group].transpose(1, 2).reshape(n * places, -1)
            flat = fields[:, group].transpose(1, 2).reshape(k * places, q)
            for first in range(0, n, step):
                m = min(step, n - first)
                left = flat[first * h * places : (first + m) * h * places] @ flat.T
                similar = inputs[first * places : (first + m) * places] @ inputs.T
                product = left.reshape(m, h, places, n, h, places)
                product *= similar.reshape(m, 1, places, n, 1, places)
                out[first : first + m] += product.sum((2, 5))
        return out.reshape(k, k)

    @cached_property
    def _costs(self) -> tuple[float, float]:
        """Multiplications of the Gram matrix by kernels, and by forming the columns."""
        use = self.uses[0]
        k, n = len(use.grads), len(use.inputs)
        places = sum(each.grads[0].numel() for each in self.uses) // self.weight_shape[0] if k else 0
        q, p = self.weight_shape[0], self.size // max(1, self.weight_shape[0])
        groups = use.geometry.fields(use.grads).shape[1]
        kernel = float(n * places) ** 2 * p * groups + float(k * places) ** 2 * q
        formed = float(k) * places * p * q + float(k) ** 2 * p * q
        return kernel, formed


@dataclass(frozen=True, eq=False)
class TokenBlock:
    """The weight (V, D) of an Embedding, through every call of it; tokens (n, T), grads (K, T, D), padding
    tokens have gradient 0.
    """

    columns: slice
    weight_shape: tuple[int, int]
    tokens: Tensor
    grads: Tensor
    rows: Tensor | None = None

    def gram(self, dtype: torch.dtype) -> Tensor:
        k, depth = len(self.grads), self.weight_shape[1]
        out = torch.zeros(k, k, dtype=torch.float64, device=self.grads.device)
        found, renamed = torch.unique(self.tokens, return_inverse=True)
        shape = (found.numel(), depth)
        for _, piece in TokenBlock(slice(0, found.numel() * depth), shape, renamed, self.grads).pieces(dtype):
            add_gram(out, piece)
        return out

    def matvec(self, part: Tensor) -> Tensor:
        dtype = wider(self.grads.dtype, part.dtype)
        return self._use().against(F.embedding(self.tokens, part.to(dtype).reshape(self.weight_shape)))

    def rmatvec(self, nu: Tensor, out: Tensor) -> None:
        dtype = wider(self.grads.dtype, nu.dtype)
        weighted = self._use().weighted(nu.to(dtype)).reshape(-1, self.weight_shape[1]).to(out.dtype)
        out.zero_().view(self.weight_shape).index_add_(0, self.tokens.reshape(-1), weighted)

    def widened(self) -> TokenBlock:
        return TokenBlock(self.columns, self.weight_shape, self.tokens, self.grads.double(), self.rows)

    def pieces(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Only tokens that occur; runs of neighbouring ones together."""
        depth, (n, places), k = self.weight_shape[1], self.tokens.shape, len(self.grads)
        grads = self.grads.reshape(n, k // max(1, n), places, depth)
        step = max(1, PIECE_ELEMENTS // max(1, k * depth))
        for first, last in _runs(torch.unique(self.tokens), step):
            inside = (self.tokens >= first) & (self.tokens < last)
            sample, place = inside.nonzero(as_tuple=True)
            piece = grads.new_zeros(n, last - first, grads.shape[1], depth, dtype=dtype)
            piece.index_put_(
                (sample, self.tokens[sample, place] - first), grads[sample, :, place].to(dtype), accumulate=True
            )
            start = self.columns.start + first * depth
            yield slice(start, start + (last - first) * depth), piece.transpose(1, 2).reshape(k, -1)

    def select(self, positions: Tensor, rows: Tensor | None) -> TokenBlock:
        samples = torch.div(positions, self._use().per_sample, rounding_mode="floor")
        return TokenBlock(self.columns, self.weight_shape, self.tokens[samples], self.grads[positions], rows)

    def _use(self) -> Use:
        return Use(LinearGeometry(), self.tokens, self.grads)


def _joined(parts: list[Tensor]) -> Tensor:
    """Positions of several calls, one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 3)


def _runs(tokens: Tensor, longest: int) -> Iterator[tuple[int, int]]:
    """Half-open runs of consecutive integers in a sorted vector, none longer than `longest`."""
    values = tokens.tolist()
    start = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] != values[i - 1] + 1 or i - start >= longest:
            yield values[start], values[i - 1] + 1
            start = i
