"""Groups of a module's parameters by what they belong to: a layer, a neuron, a filter of a convolution, a head.

Every parameter lies in exactly one group. What has no part of the kind asked for (a normalisation under "neuron", say)
is a group per layer, so that a group norm is a norm of all of theta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.scalable.evaluation import Layout

Parts = Iterator[tuple[Any, str, Tensor]]
"""(the layer, the name of its parameter, for each entry of that parameter the number of its part or -1)."""


def group_labels(module: nn.Module, layout: Layout, by: str) -> Array:
    """(d,) int64 labels 0 ... G - 1, the group of every entry of theta, numbered as they first appear.

    by: "layer" (the parameters that one layer holds itself), "neuron" (a row of a linear layer with its bias), "filter"
    (an output channel of a convolution with its bias), "head" (of attention: queries, keys, values and what leaves the
    head). Raises ProblemError on other words, and where the module has nothing of the kind.
    """
    if by not in _PARTS:
        raise ProblemError(f"groups: expected one of {', '.join(_PARTS)}, got {by!r}")
    where = dict(zip(layout.names, layout.slices, strict=True))
    canonical = {id(parameter): name for name, parameter in module.named_parameters() if name in where}
    owners = {id(part): index for index, part in enumerate(module.modules())}
    keys = np.full((layout.size, 3), -1, dtype=np.int64)  # kind of group, layer, number within it
    for layer in module.modules():
        for parameter in layer.parameters(recurse=False):
            name = canonical.get(id(parameter))
            if name is not None and keys[where[name].start, 0] < 0:
                keys[where[name]] = (0, owners[id(layer)], 0)
    found = False
    for layer, attribute, numbers in _PARTS[by](module):
        owner, _, leaf = attribute.rpartition(".")
        found_there = getattr(layer.get_submodule(owner), leaf, None)
        name = canonical.get(id(found_there))
        if name is None or found_there is None:
            continue
        flat = numbers.expand(found_there.shape).reshape(-1).numpy()
        inside = flat >= 0
        block = keys[where[name]]
        block[inside] = np.column_stack([np.ones_like(flat), np.full_like(flat, owners[id(layer)]), flat])[inside]
        found = True
    if not found and by != "layer":
        raise ProblemError(f"groups: {by!r} are asked for, but no trainable parameter belongs to one")
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    labels: Array = rank[inverse.reshape(-1)]
    return labels


def _no_parts(module: nn.Module) -> Parts:
    return iter(())


def _neurons(module: nn.Module) -> Parts:
    layer: Any
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            units = torch.arange(layer.out_features)
            yield layer, "weight", units[:, None]
            yield layer, "bias", units
        elif _is_conv1d(layer):
            units = torch.arange(layer.weight.shape[1])
            yield layer, "weight", units[None, :]
            yield layer, "bias", units


def _filters(module: nn.Module) -> Parts:
    for layer in module.modules():
        if not isinstance(layer, _ConvNd):
            continue
        channels = torch.arange(layer.out_channels)
        if isinstance(layer, _ConvTransposeNd):  # weight (in, out / groups, ...): inputs of one group share its outputs
            rows = torch.arange(layer.in_channels) // (layer.in_channels // layer.groups)
            width = layer.out_channels // layer.groups
            numbers = rows[:, None] * width + torch.arange(width)[None, :]
        else:
            numbers = channels[:, None]
        yield layer, "weight", numbers.reshape(*numbers.shape, *[1] * (layer.weight.ndim - numbers.ndim))
        yield layer, "bias", channels


def _heads(module: nn.Module) -> Parts:
    layer: Any
    for layer in module.modules():
        if isinstance(layer, nn.MultiheadAttention):
            heads = _by_head(layer.embed_dim, layer.num_heads)
            yield layer, "in_proj_weight", heads.repeat(3)[:, None]
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                yield layer, name, heads[:, None]
            yield layer, "in_proj_bias", heads.repeat(3)
            yield layer, "out_proj.weight", heads[None, :]
        elif all(isinstance(getattr(layer, name, None), nn.Linear) for name in ("query", "key", "value")):
            count: Any = getattr(layer, "num_attention_heads", None)
            for name in ("query", "key", "value") if isinstance(count, int) else ():
                heads = _by_head(layer.get_submodule(name).out_features, count)
                yield layer, f"{name}.weight", heads[:, None]
                yield layer, f"{name}.bias", heads
        elif _is_conv1d(getattr(layer, "c_attn", None)) and isinstance(getattr(layer, "num_heads", None), int):
            heads = _by_head(layer.c_attn.weight.shape[0], layer.num_heads)
            yield layer, "c_attn.weight", heads.repeat(3)[None, :]
            yield layer, "c_attn.bias", heads.repeat(3)
            yield layer, "c_proj.weight", heads[:, None]


def _by_head(width: int, count: int) -> Tensor:
    return torch.arange(width) // (width // count)


def _is_conv1d(layer: object) -> bool:
    """The transposed linear layer of GPT-2 in Hugging Face's library, whose weight is (inputs, outputs)."""
    weight = getattr(layer, "weight", None)
    return type(layer).__name__ == "Conv1D" and isinstance(weight, Tensor) and weight.ndim == 2


_PARTS: dict[str, Callable[[nn.Module], Parts]] = {
    "layer": _no_parts,
    "neuron": _neurons,
    "filter": _filters,
    "head": _heads,
}
