"""J of a chain of linear layers and activations, forwards and backwards without autograd, in float64.

    z_i = a_(i-1) W_i.T + b_i,   a_i = act_i(z_i),   d_i = (d_(i+1) W_(i+1)) act_i'(z_i)

Row (s, o) of J is d_i (x) a_(i-1) in W_i and d_i in b_i, with d of the last layer the unit vector of output o.  That is
a dozen operations: in a small network, all else that the route by layers has to do takes longer than they do.
Such chains are ill conditioned, too (a perceptron of one input has cond(J) of 1e5 to 1e13), and what float32 leaves of
their J is worth two or three digits of a projection: parameters, activations and gradients are float64 throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exact_unlearn.scalable.evaluation import Layout
from exact_unlearn.scalable.jacobian_affine import AffineBlock
from exact_unlearn.scalable.jacobian_blocks import Block, DenseBlock
from exact_unlearn.scalable.jacobian_layers import LayerJacobian
from exact_unlearn.scalable.running import Inputs

LARGEST = 1 << 27
"""Entries of J up to which a chain is run in float64: beyond, its weights would fill the memory that training needs."""

Value = Callable[[Tensor, Any], Tensor]
Slope = Callable[[Tensor, Tensor, Any], Tensor]
aten: Any = torch.ops.aten

ACTIVATIONS: dict[type[nn.Module], tuple[Value, Slope]] = {
    nn.Identity: (lambda z, layer: z, lambda grad, z, layer: grad),
    nn.ReLU: (lambda z, layer: z.relu(), lambda grad, z, layer: aten.threshold_backward(grad, z, 0)),
    nn.SiLU: (lambda z, layer: F.silu(z), lambda grad, z, layer: aten.silu_backward(grad, z)),
    nn.Tanh: (lambda z, layer: z.tanh(), lambda grad, z, layer: aten.tanh_backward(grad, z.tanh())),
    nn.Sigmoid: (lambda z, layer: z.sigmoid(), lambda grad, z, layer: aten.sigmoid_backward(grad, z.sigmoid())),
    nn.GELU: (
        lambda z, layer: F.gelu(z, approximate=layer.approximate),
        lambda grad, z, layer: aten.gelu_backward(grad, z, approximate=layer.approximate),
    ),
    nn.Softplus: (
        lambda z, layer: F.softplus(z, layer.beta, layer.threshold),
        lambda grad, z, layer: aten.softplus_backward(grad, z, layer.beta, layer.threshold),
    ),
    nn.LeakyReLU: (
        lambda z, layer: F.leaky_relu(z, layer.negative_slope),
        lambda grad, z, layer: aten.leaky_relu_backward(grad, z, layer.negative_slope, False),
    ),
}
"""Activation -> its value at z, and the gradient in z of a gradient in its value: the kernels that autograd calls."""

Link = tuple[str, nn.Module]


def chain_of(module: nn.Module) -> list[Link] | None:
    """The layers of a chain in order, each with its name as a prefix; None for any other module.

    Only torch's own classes, none of them used twice and nobody's hooks on them: a subclass, a parametrization or
    weight norm is never taken for what it extends.
    """
    links: list[Link] = []
    if not _collect(module, "", links):
        return None
    linear = [part for _, part in links if type(part) is nn.Linear]
    weights = {id(leaf) for part in linear for leaf in part._parameters.values() if leaf is not None}
    expected = sum(1 if part.bias is None else 2 for part in linear)
    return links if linear and len(weights) == expected else None


def _collect(part: nn.Module, prefix: str, links: list[Link]) -> bool:
    kind = type(part)
    if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
        return False
    if kind is nn.Sequential:
        return all(_collect(inner, f"{prefix}{name}.", links) for name, inner in part._modules.items() if inner)
    if (kind is not nn.Linear and kind not in ACTIVATIONS) or "forward" in part.__dict__:
        return False
    links.append((prefix, part))
    return True


def suits(links: list[Link], inputs: Inputs, size: int) -> bool:
    """Whether x is one matrix that the first linear layer takes, and J no larger than `LARGEST`.  size: d."""
    linear = [part for _, part in links if type(part) is nn.Linear]
    if not isinstance(inputs, Tensor) or inputs.ndim != 2 or inputs.shape[1] != linear[0].in_features:
        return False
    return len(inputs) * linear[-1].out_features * size <= LARGEST


@dataclass(frozen=True, eq=False)
class _Passed:
    """A layer on the way forwards: what came in and went out, and the weight and bias it had, in float64."""

    layer: nn.Module
    prefix: str
    before: Tensor
    after: Tensor
    weight: Tensor | None = None


def chain_jacobian(links: list[Link], layout: Layout, theta: Tensor, x: Tensor, outputs: str) -> LayerJacobian:
    """J of the chain at theta on the samples x (n, p); outputs: "all" or "argmax"."""
    places = dict(zip(layout.names, layout.slices, strict=True))
    wide, value = theta.double(), x.double()
    passed: list[_Passed] = []
    for prefix, layer in links:
        if isinstance(layer, nn.Linear):
            weight = _read(layer.weight, places.get(f"{prefix}weight"), wide)
            bias = None if layer.bias is None else _read(layer.bias, places.get(f"{prefix}bias"), wide)
            passed.append(_Passed(layer, prefix, value, F.linear(value, weight, bias), weight))
        else:
            passed.append(_Passed(layer, prefix, value, ACTIVATIONS[type(layer)][0](value, layer)))
        value = passed[-1].after
    grads = _units(value, outputs)
    n, rows = len(value), len(grads)
    at_theta = wide.new_zeros(rows)
    blocks: list[Block] = []
    for i, step in reversed(list(enumerate(passed))):
        if step.weight is None:
            grads = _sloped(step, grads, n)
            continue
        own = _blocks(step, grads, places)
        blocks += own
        if len(own) == 1 and isinstance(own[0], AffineBlock) and own[0].has_bias == (step.layer.bias is not None):
            at_theta += own[0].against(step.after)
        else:
            for block in own:
                at_theta += block.matvec(wide[block.columns])
        if any(before.weight is not None for before in passed[:i]):
            grads = grads @ step.weight
        else:
            break
    return LayerJacobian((rows, layout.size), tuple(reversed(blocks)), theta, at_theta, is_wide=True)


def _read(own: Tensor, place: slice | None, wide: Tensor) -> Tensor:
    """A parameter in float64: from theta where it is trainable."""
    return own.detach().double() if place is None else wide[place].view(own.shape)


def _units(values: Tensor, outputs: str) -> Tensor:
    """The gradients of the chosen outputs in all outputs, (rows, l), sample by sample."""
    n, last = values.shape
    if last == 1:
        return torch.ones_like(values)
    if outputs == "all":
        return torch.eye(last, dtype=values.dtype, device=values.device).repeat(n, 1)
    return F.one_hot(values.argmax(1), last).to(values.dtype)


def _sloped(step: _Passed, grads: Tensor, n: int) -> Tensor:
    """Gradients in the value of an activation as gradients in what came in."""
    back, z = ACTIVATIONS[type(step.layer)][1], step.before
    if len(grads) == n:
        return back(grads, z, step.layer)
    h = len(grads) // n
    return back(grads.view(n, h, -1), z[:, None].expand(n, h, -1), step.layer).reshape(len(grads), -1)


def _blocks(step: _Passed, grads: Tensor, places: dict[str, slice]) -> list[Block]:
    """The columns of a linear layer, as far as it is trainable; last ones first."""
    weight, bias = places.get(f"{step.prefix}weight"), places.get(f"{step.prefix}bias")
    if weight is None:
        return [] if bias is None else [DenseBlock(bias, grads)]
    if bias is None:
        return [AffineBlock(weight, step.before, grads, False)]
    assert weight.stop == bias.start, "torch lists the bias of a layer after its weight"
    return [AffineBlock(slice(weight.start, bias.stop), step.before, grads, True)]
