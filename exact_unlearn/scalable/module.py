"""Any torch module as a model: flat parameters in, outputs and Jacobians out, the module itself left exactly as
found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.models.layout import named_mask
from exact_unlearn.scalable.batches import inputs_of
from exact_unlearn.scalable.evaluation import (
    Evaluation,
    Inputs,
    Layout,
    begin,
    cast_inputs,
    count,
    evaluate_at,
    layout_of,
    take,
)
from exact_unlearn.scalable.groups import group_labels
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian, as_tensor
from exact_unlearn.scalable.jacobian_layers import agrees, layer_jacobian
from exact_unlearn.scalable.jacobian_products import tangent_jacobian
from exact_unlearn.scalable.jacobian_samples import loop_jacobian, sample_jacobian
from exact_unlearn.scalable.projection import Projection

ROUTES = ("auto", "layers", "samples", "products", "loop")

FALLBACK_BYTES = 1 << 32
"""Largest dense part of J that route "auto" stores for parameters of layers it has no rule for; beyond,
products only.
"""


@dataclass(frozen=True, eq=False)
class ModuleModel:
    """f(theta, x) for a torch module; theta holds its trainable parameters in the order of named_parameters,
    flattened row by row.

    outputs: "all" gives one row of J per output of every head; "argmax" one per head, the largest logit, its
    index held fixed at the theta where J is taken.  Modules may return a tensor or any nesting of tuples, lists
    and dicts of heads. input_shape: shape of one sample where x comes flattened as (n, m), as
    `surrogate_problem` passes it.

    Parameters with requires_grad=False are constants, shared ones occur once.  Parameters, buffers, train/eval
    mode, .grad and random states are left as found.  Dropout in train mode is refused; BatchNorm in train mode
    uses its running statistics (and warns), because per-sample gradients do not exist otherwise.  Raises
    ProblemError on arguments that do not fit.
    """

    module: nn.Module
    outputs: str = "all"
    input_shape: tuple[int, ...] | None = None
    layout: Layout = field(init=False)
    verified: set[int] = field(init=False, default_factory=set, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", unwrapped(self.module))
        if self.outputs not in ("all", "argmax"):
            raise ProblemError(f"outputs: expected 'all' or 'argmax', got {self.outputs!r}")
        layout = layout_of(self.module)
        if not layout.size:
            raise ProblemError("module: expected at least one parameter with requires_grad=True")
        object.__setattr__(self, "layout", layout)

    @property
    def n_parameters(self) -> int:
        """d."""
        return self.layout.size

    @property
    def blocks(self) -> dict[str, slice]:
        """Parameter name -> its slice of theta."""
        return dict(zip(self.layout.names, self.layout.slices, strict=True))

    @property
    def n_inputs(self) -> int:
        """m, the length of a flattened sample: from input_shape, or from the first linear layer."""
        if self.input_shape is not None:
            return math.prod(self.input_shape)
        for part in self.module.modules():
            if isinstance(part, nn.Linear):
                return part.in_features
            if next(part.parameters(recurse=False), None) is not None:
                break
        raise ProblemError("input_shape: needed for this module, whose first layer is not linear")

    @property
    def n_outputs(self) -> int:
        """l, the rows of J per sample, found by one run on a sample of zeros."""
        theta = self.theta()
        inputs = self._inputs(torch.zeros(1, self.n_inputs), theta)
        return evaluate_at(self.module, self.layout, theta, inputs, self.outputs)[0].n_outputs

    @property
    def aliases(self) -> dict[str, str]:
        """Further names of parameters that are tied: name -> the name by which `blocks` lists it."""
        own = {id(parameter): name for name, parameter in self.module.named_parameters()}
        every = self.module.named_parameters(remove_duplicate=False)
        return {name: own[id(parameter)] for name, parameter in every if own[id(parameter)] != name}

    def groups(self, by: str) -> Array:
        """(d,) labels of the groups "layer", "neuron", "filter" or "head" (groups.py), for group norms."""
        return group_labels(self.module, self.layout, by)

    def theta(self) -> Tensor:
        """The module's present parameters, (d,), a copy."""
        known = dict(self.module.named_parameters())
        return torch.cat([known[name].detach().reshape(-1) for name in self.layout.names])

    def mask(self, names: Any) -> Tensor:
        """A boolean mask (d,) of the parameters called `names`, lying in submodules called so, or matching a pattern
        such as "fc.*".
        """
        return torch.from_numpy(named_mask(self.blocks, names, self.aliases))

    def is_affine_in(self, mask: Any) -> bool:
        """False: that a module is affine in some of its parameters is not something that can be read off it."""
        return False

    def predict(self, theta: Any, x: Any) -> Any:
        """f(theta, x), (n, l): the outputs of all heads side by side, or the largest logit of each; arrays in,
        array out.
        """
        point = self._theta(theta)
        inputs = self._inputs(x, point)
        if not count(inputs):
            values = point.new_zeros(0, self.n_outputs)
        else:
            values = evaluate_at(self.module, self.layout, point, inputs, self.outputs)[1]
        return values if isinstance(theta, Tensor) else values.cpu().double().numpy()

    def jacobian(self, theta: Any, x: Any, route: str = "auto", chunk: int | None = None) -> TorchJacobian:
        """J (n l, d) at theta, rows ordered by sample and then by output; arithmetic in the precision of theta.

        route: "layers" (activations and back-propagated gradients; J is never formed), "samples" (dense,
        `chunk` samples at a time), "products" (jvp and vjp only), "loop" (dense, one backward pass per row: the
        naive twin), or "auto".
        """
        if route not in ROUTES:
            raise ProblemError(f"route: expected one of {', '.join(ROUTES)}, got {route!r}")
        point = self._theta(theta)
        inputs = self._inputs(x, point)
        if not count(inputs):
            return DenseTorchJacobian(point.new_zeros(0, self.n_parameters))
        if route in ("auto", "layers"):
            return self._by_layers(begin(self.module, self.layout, point, inputs), route, chunk)
        evaluation, values = evaluate_at(self.module, self.layout, point, inputs, self.outputs)
        if route == "loop":
            return loop_jacobian(evaluation)
        if route == "samples":
            return sample_jacobian(evaluation, chunk)
        self._require_independence(evaluation, values)
        return tangent_jacobian(evaluation)

    def _by_layers(self, seed: Evaluation, route: str, chunk: int | None) -> TorchJacobian:
        """The layer-wise Jacobian, checked once per batch size; per-sample gradients for a module that it
        misreads.
        """
        limit = FALLBACK_BYTES if route == "auto" else None
        evaluation, values, layers = layer_jacobian(seed, self.outputs, limit, chunk)
        self._require_independence(evaluation, values)
        if layers is not None and evaluation.n not in self.verified:
            if not agrees(layers, evaluation):
                layers = None
            else:
                self.verified.add(evaluation.n)
        if layers is not None:
            return layers
        entries = evaluation.shape[0] * evaluation.shape[1] * evaluation.theta.element_size()
        dense = route == "layers" or entries <= FALLBACK_BYTES
        return sample_jacobian(evaluation, chunk) if dense else tangent_jacobian(evaluation)

    def _theta(self, theta: Any) -> Tensor:
        device = next(self.module.parameters()).device
        point = as_tensor("theta", theta).to(device)
        if point.shape != (self.n_parameters,):
            raise ProblemError(f"theta: expected {self.n_parameters} parameters, got shape {tuple(point.shape)}")
        return point if point.dtype in (torch.float32, torch.float64) else point.double()

    def inputs(self, x: Any, name: str = "x") -> Inputs:
        """x as the module takes it, in double precision: the inputs of a DataLoader, tensors of arrays; checked."""
        try:
            return self._inputs(x, self.theta().double())
        except ProblemError as error:
            said = str(error)
            raise ProblemError(f"{name}{said[1:]}" if said.startswith("x:") else said) from None

    def _inputs(self, x: Any, theta: Tensor) -> Inputs:
        inputs = cast_inputs(inputs_of(x) if isinstance(x, DataLoader) else x, theta.dtype, theta.device)
        if (
            self.input_shape is None
            or not isinstance(inputs, Tensor)
            or tuple(inputs.shape[1:]) == tuple(self.input_shape)
        ):
            return inputs
        if inputs.shape[1:].numel() != math.prod(self.input_shape):
            raise ProblemError(
                f"x: expected samples of shape {tuple(self.input_shape)}, got shape {tuple(inputs.shape)}"
            )
        return inputs.reshape(inputs.shape[0], *self.input_shape)

    def _require_independence(self, evaluation: Evaluation, values: Tensor) -> None:
        """ProblemError if the outputs of a sample change when the others are left out; asked once per batch
        size.
        """
        if evaluation.n in self.verified or evaluation.n < 2:
            return
        if not bool(torch.isfinite(values).all()):
            raise ProblemError("module: its outputs on x have NaN or infinity, so there is no Jacobian")
        first = take(evaluation.inputs, slice(0, 1))
        choice = None if evaluation.choice is None else evaluation.choice[:1]
        with evaluation.still(), torch.no_grad():
            alone = evaluation.call(evaluation.layout.split(evaluation.theta), first, choice)
        scale = float(values.abs().max())
        if not float((alone - values[:1]).abs().max()) <= 1e-3 * scale:
            raise ProblemError(
                "module: the outputs of a sample depend on the other samples of the batch; "
                "use route='loop' or 'samples'"
            )


def write_back(module: nn.Module, theta: Any) -> nn.Module:
    """Copy theta, (d,), or the theta of a Projection, Solution or Certificate, into the trainable parameters of
    `module`; returns the module.

    The parameters stay the same objects, and .grad is untouched; numbers are rounded to their precision.
    """
    layout = layout_of(unwrapped(module))
    found = theta if isinstance(theta, Tensor | np.ndarray) else getattr(theta, "theta", theta)
    if found is None or callable(found):
        raise ProblemError(f"theta: expected {layout.size} numbers or an answer that holds them, got {theta!r:.60}")
    values = as_tensor("theta", found)
    if values.shape != (layout.size,):
        raise ProblemError(f"theta: expected {layout.size} parameters, got shape {tuple(values.shape)}")
    if not isinstance(theta, Projection) and not bool(torch.isfinite(values).all()):
        raise ProblemError("theta: expected finite numbers, got NaN or infinity")
    known = dict(unwrapped(module).named_parameters())
    with torch.no_grad():
        for name, part in layout.split(values).items():
            known[name].copy_(part)
    return module


def unwrapped(module: Any) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel and torch.compile, whose names it lends.

    ProblemError on what is no torch module, and on one whose parameters are spread over processes.
    """
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        module = module._orig_mod if hasattr(module, "_orig_mod") else module.module
    if not isinstance(module, nn.Module):
        raise ProblemError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise ProblemError("module: expected the Python module, got a TorchScript one, whose layers are hidden")
    for name, parameter in module.named_parameters():
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            raise ProblemError(f"module: {name} is spread over processes; use exact_unlearn.scalable.distributed")
    return module
