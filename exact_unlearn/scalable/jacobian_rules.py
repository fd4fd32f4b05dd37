"""Which layers have a rule, what is recorded when they are called, and the blocks of J that follow.

A rule needs the layer's own forward method, its own parameters and nobody's hooks in between; everything else
is left to per-sample gradients.  So subclasses with another forward, parametrizations and weight norm are never
taken for what they extend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from exact_unlearn.scalable.jacobian_blocks import (
    Block,
    ConvGeometry,
    DenseBlock,
    Geometry,
    LinearGeometry,
    OuterBlock,
    TokenBlock,
    Use,
)
from exact_unlearn.scalable.jacobian_transposed import TransposedBlock, is_transposed_linear

DENSE_RATIO = 4.0
"""Columns of a layer are formed at once when they take at most this many times the memory of its inputs and
gradients.
"""


@dataclass(eq=False)
class Call:
    """One call of a layer with a rule: its parameters by role, its input and output with their version
    counters, where its gradient arises.

    statistics: running mean and variance of a BatchNorm.  grads: (K, ...) once the backward passes are done,
    and the rows of J that they belong to (None: all).
    """

    layer: nn.Module
    parameters: tuple[tuple[str, Tensor], ...]
    inputs: Tensor
    outputs: Tensor
    edge: GradientEdge
    versions: tuple[int, int]
    statistics: tuple[Tensor | None, Tensor | None]
    grads: Tensor | None = None
    rows: Tensor | None = None

    @property
    def intact(self) -> bool:
        """Nobody wrote to the input after the call."""
        return self.inputs._version == self.versions[0]

    @property
    def output_intact(self) -> bool:
        """Nobody wrote to the output after the call, as an in-place activation would."""
        return self.outputs._version == self.versions[1]


def eligible(layer: nn.Module) -> bool:
    """Whether a rule may stand for this layer."""
    kind = next((kind for kind in RULES if isinstance(layer, kind)), None)
    ours = is_transposed_linear(layer) if kind is None else type(layer).forward is kind.forward
    if not ours or "forward" in vars(layer):
        return False
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    if any(hooks) or not any(parameter.requires_grad for parameter in layer.parameters(recurse=False)):
        return False
    if isinstance(layer, nn.Embedding):
        return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
    return "weight" in layer._parameters


def rule_of(layer: nn.Module) -> Callable[[Call], Any]:
    """The rule of an eligible layer."""
    return next((rule for kind, rule in RULES.items() if isinstance(layer, kind)), _transposed_use)


def record(calls: list[Call], n: int) -> Callable[[nn.Module, Any, Any], None]:
    """A forward hook that appends to `calls`; calls it cannot describe, n samples along the first dimension
    missing say, are left out.
    """

    def hook(layer: nn.Module, inputs: Any, outputs: Any) -> None:
        if (
            len(inputs) != 1
            or not isinstance(inputs[0], Tensor)
            or not isinstance(outputs, Tensor)
            or not outputs.requires_grad
        ):
            return
        if inputs[0].ndim == 0 or outputs.ndim == 0 or inputs[0].shape[0] != n or outputs.shape[0] != n:
            return
        own = [(role, getattr(layer, role, None)) for role in ("weight", "bias")]
        calls.append(
            Call(
                layer,
                tuple((role, leaf) for role, leaf in own if isinstance(leaf, Tensor)),
                inputs[0].detach(),
                outputs.detach(),
                get_gradient_edge(outputs),
                (inputs[0]._version, outputs._version),
                (getattr(layer, "running_mean", None), getattr(layer, "running_var", None)),
            )
        )

    return hook


def blocks_of(calls: list[tuple[Call, str]], columns: slice, shape: torch.Size) -> Block:
    """The columns of one parameter from all calls that used it, each with the parameter's role: "weight" or
    "bias".
    """
    first, role = calls[0]
    rows = first.rows
    if role == "bias":
        return DenseBlock(columns, _sum([_bias_columns(call) for call, _ in calls]), rows)
    rule = rule_of(first.layer)
    if rule is _norm_columns:
        return DenseBlock(columns, _sum([_norm_columns(call) for call, _ in calls]), rows)
    if rule is _tokens:
        tokens = torch.cat([_tokens(call)[0] for call, _ in calls], 1)
        grads = torch.cat([_tokens(call)[1] for call, _ in calls], 1)
        return TokenBlock(columns, (int(shape[0]), int(shape[1])), tokens, grads, rows)
    uses = tuple(rule(call) for call, _ in calls)
    block: OuterBlock | TransposedBlock
    if rule is _transposed_use:
        block = TransposedBlock(OuterBlock(columns, (int(shape[1]), int(shape[0])), uses, rows))
    else:
        block = OuterBlock(columns, tuple(shape), uses, rows)
    memory = sum(use.inputs.numel() + use.grads.numel() for use in uses)
    if len(uses[0].grads) * block.size <= DENSE_RATIO * memory:
        pieces = [piece for _, piece in block.pieces(uses[0].grads.dtype)]
        return DenseBlock(columns, pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1), rows)
    return block


def is_linear(layer: nn.Module) -> bool:
    """Whether the layer's output is linear in its parameters and cheap to form: then <gradient, output> is its
    part of J theta.
    """
    return isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding) or is_transposed_linear(layer)


def signature(call: Call, role: str) -> tuple[Any, ...]:
    """Calls with the same signature can share one block."""
    rule = rule_of(call.layer)
    same = () if role == "bias" or rule is not _conv_use else (_conv_geometry(cast(nn.Conv2d, call.layer)),)
    return (role, rule.__name__, *same)


def _sum(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _grads(call: Call) -> Tensor:
    assert call.grads is not None
    return call.grads


def _linear_use(call: Call) -> Use:
    return Use(LinearGeometry(), call.inputs, _grads(call))


def _transposed_use(call: Call) -> Use:
    return Use(LinearGeometry(), call.inputs, _grads(call))


def _conv_geometry(layer: Any) -> ConvGeometry:
    flat = isinstance(layer, nn.Conv1d)
    padded = isinstance(layer.padding, str) or layer.padding_mode != "zeros"

    def pair(values: tuple[int, ...], missing: int) -> tuple[int, int]:
        return (missing, values[0]) if flat else (values[0], values[1])

    weight = layer._parameters["weight"]
    shape = (*weight.shape[:2], 1, weight.shape[2]) if flat else tuple(weight.shape)
    padding = (0, 0) if padded else pair(layer.padding, 0)
    return ConvGeometry(shape, pair(layer.stride, 1), padding, pair(layer.dilation, 1), layer.groups, flat)


def _conv_use(call: Call) -> Use:
    layer: Any = call.layer
    inputs = call.inputs
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        inputs = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    return Use(cast(Geometry, _conv_geometry(layer)), inputs, _grads(call))


def _tokens(call: Call) -> tuple[Tensor, Tensor]:
    """Tokens (n, T) and gradients (K, T, D), zero at the padding token."""
    layer = cast(nn.Embedding, call.layer)
    tokens = call.inputs.reshape(len(call.inputs), -1).long()
    grads = _grads(call).reshape(len(_grads(call)), -1, layer.embedding_dim)
    if layer.padding_idx is not None:
        padding = (tokens == layer.padding_idx).repeat_interleave(len(grads) // max(1, len(tokens)), 0)
        grads = grads.masked_fill(padding[:, :, None], 0.0)
    return tokens, grads


def _norm_columns(call: Call) -> Tensor:
    """Gradients of the outputs times normalised inputs, summed over positions, (K, weights)."""
    layer: Any = call.layer
    inputs, grads = call.inputs, _grads(call)
    n, k = len(inputs), len(grads)
    if isinstance(layer, nn.LayerNorm):
        normal = F.layer_norm(inputs, layer.normalized_shape, None, None, layer.eps)
        width = next(leaf.numel() for role, leaf in call.parameters if role == "weight")
        return (grads.reshape(n, k // max(1, n), -1, width) * normal.reshape(n, 1, -1, width)).sum(2).reshape(k, width)
    if isinstance(layer, nn.GroupNorm):
        normal = F.group_norm(inputs, layer.num_groups, None, None, layer.eps)
    else:
        normal = F.batch_norm(inputs, *call.statistics, None, None, False, 0.0, layer.eps)
    channels = inputs.shape[1]
    return (
        (grads.reshape(n, k // max(1, n), channels, -1) * normal.reshape(n, 1, channels, -1))
        .sum(3)
        .reshape(k, channels)
    )


def _bias_columns(call: Call) -> Tensor:
    """Gradients of the outputs summed over positions, (K, biases)."""
    grads, layer = _grads(call), call.layer
    k = len(grads)
    if isinstance(layer, nn.Linear | nn.LayerNorm) or is_transposed_linear(layer):
        width = next(leaf.numel() for role, leaf in call.parameters if role == "bias")
        return grads.reshape(k, -1) if grads.numel() == k * width else grads.reshape(k, -1, width).sum(1)
    return grads.reshape(k, grads.shape[1], -1).sum(2)


RULES: dict[Any, Callable[[Call], Any]] = {
    nn.Linear: _linear_use,
    nn.Conv1d: _conv_use,
    nn.Conv2d: _conv_use,
    nn.Embedding: _tokens,
    nn.LayerNorm: _norm_columns,
    nn.GroupNorm: _norm_columns,
    nn.BatchNorm1d: _norm_columns,
    nn.BatchNorm2d: _norm_columns,
    nn.BatchNorm3d: _norm_columns,
}
"""Layer class -> what its calls become; beside them stands the Conv1D of GPT-2 (`rule_of`).

Weights of normalisations and all biases are small and kept as columns.
"""
