"""Any torch module as a model: flat parameters in, outputs and Jacobians out, the module itself left exactly as
found.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, cast

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
    Layout,
    begin,
    cast_inputs,
    count,
    evaluate_at,
    layout_of,
)
from exact_unlearn.scalable.groups import group_labels
from exact_unlearn.scalable.jacobian_cause import narrower, refusal, require_function, require_separate
from exact_unlearn.scalable.jacobian_chain import chain_jacobian, chain_of, suits
from exact_unlearn.scalable.jacobian_check import (
    ADJOINT,
    Checked,
    Comparison,
    KinkWarning,
    adjoint,
    first_look,
    second_look,
)
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian, as_tensor
from exact_unlearn.scalable.jacobian_layers import agrees, layer_jacobian
from exact_unlearn.scalable.jacobian_products import tangent_jacobian
from exact_unlearn.scalable.jacobian_samples import loop_jacobian, sample_jacobian
from exact_unlearn.scalable.projection import Projection
from exact_unlearn.scalable.running import Inputs, differentiated, plain_arithmetic, watched

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

    >>> import torch
    >>> from exact_unlearn.scalable import ModuleModel
    >>> model = ModuleModel(torch.nn.Linear(2, 1, bias=False).double())
    >>> J = model.jacobian(model.theta(), torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    >>> J.rmatvec(torch.ones(1, dtype=torch.float64)).tolist()
    [1.0, 2.0]
    """

    module: nn.Module
    outputs: str = "all"
    input_shape: tuple[int, ...] | None = None
    layout: Layout = field(init=False)
    checked: dict[tuple[Any, ...], Checked] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", unwrapped(self.module))
        if not isinstance(self.outputs, str) or self.outputs not in ("all", "argmax"):
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
        with plain_arithmetic(point.device), watched(self.module):
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

        Once per route and shape of x, J d is compared with differences of the outputs of the whole batch
        (jacobian_check.py); the difference becomes the `error_estimate` of J.  Raises ProblemError where they
        disagree, naming the likely cause; warns with a KinkWarning of samples on a kink.
        """
        if route not in ROUTES:
            raise ProblemError(f"route: expected one of {', '.join(ROUTES)}, got {route!r}")
        point = self._theta(theta)
        with plain_arithmetic(point.device), differentiated():
            inputs = self._inputs(x, point)
            if not count(inputs):
                return DenseTorchJacobian(point.new_zeros(0, self.n_parameters))
            key = (route, point.dtype, _shapes_of(inputs), tuple(part.training for part in self.module.modules()))
            known = self.checked.get(key)
            if known is None:
                with watched(self.module):
                    known, J = self._examined(route, point, inputs, chunk)
                if known.kinks:
                    _warn_of(known.kinks)
                self.checked[key] = known
            else:
                J = self._again(known.way, route, point, inputs, chunk)
            return cast(TorchJacobian, replace(cast(Any, J), error_estimate=known.difference))

    def _again(self, way: str, route: str, point: Tensor, inputs: Inputs, chunk: int | None) -> TorchJacobian:
        """J made in a way that has been checked, and nothing besides."""
        J = self._chained(point, inputs) if way == "chain" else self._made(way, route, point, inputs, chunk)[2]
        if J is None:  # somebody has changed the module since
            return self._examined(route, point, inputs, chunk)[1]
        return J

    def _chained(self, point: Tensor, inputs: Inputs) -> TorchJacobian | None:
        """J of a chain of linear layers and activations; None for any other module."""
        links = chain_of(self.module)
        if links is None or not isinstance(inputs, Tensor) or not suits(links, inputs, self.n_parameters):
            return None
        return chain_jacobian(links, self.layout, point, inputs, self.outputs)

    def _made(
        self, way: str, route: str, point: Tensor, inputs: Inputs, chunk: int | None
    ) -> tuple[Evaluation, Tensor, TorchJacobian | None]:
        """The evaluation, its outputs, and J made one way; None for J where that would take too much memory."""
        limit = FALLBACK_BYTES if route == "auto" else None
        if way == "chain":
            evaluation, values = evaluate_at(self.module, self.layout, point, inputs, self.outputs)
            return evaluation, values, self._chained(point, inputs)
        if way == "layers":
            return layer_jacobian(begin(self.module, self.layout, point, inputs), self.outputs, limit, chunk)
        evaluation, values = evaluate_at(self.module, self.layout, point, inputs, self.outputs)
        if way == "loop":
            return evaluation, values, loop_jacobian(evaluation)
        if way == "products":
            return evaluation, values, tangent_jacobian(evaluation)
        size = evaluation.shape[0] * evaluation.shape[1] * evaluation.theta.element_size()
        dense = limit is None or size <= limit
        return evaluation, values, sample_jacobian(evaluation, chunk) if dense else None

    def _examined(self, route: str, point: Tensor, inputs: Inputs, chunk: int | None) -> tuple[Checked, TorchJacobian]:
        """J by the first of the route's ways that suits the module, and what its check found; DerivativeError where
        none is right.

        A way may be wrong about a right module (batching rules of torch itself are, for a PReLU of one weight), so the
        next one is asked; where none is right the cause is what the first showed.
        """
        refused: Exception | None = None
        own = self.module.named_parameters()
        frozen = {name: part.detach().clone() for name, part in own if not part.requires_grad}
        ways = WAYS[route]
        if route == "auto" and chain_of(self.module) is not None:
            ways = ("chain", *ways)
        for way in ways:
            evaluation, values, J = self._made(way, route, point.clone(), inputs, chunk)
            if way == ways[0]:
                require_function(evaluation, values, point, frozen)
                require_separate(evaluation, values)
            if J is None:
                continue
            if not evaluation.n_outputs:
                return Checked(way, 0.0), J
            function, found, seen = first_look(J, evaluation)
            apart = adjoint(J, evaluation, function, seen)
            if way in ("chain", "layers") and (apart > ADJOINT or (found.wrong and not agrees(J, evaluation))):
                continue  # the rules have misread the module; per-sample gradients do without them
            if found.wrong:
                found = second_look(function, J, evaluation, seen, found)
            wrong = bool(found.wrong) or apart > ADJOINT
            if wrong:
                found, wrong = self._wider(found, way, route, evaluation, chunk)
            if not wrong:
                return Checked(way, max(found.difference, apart), found.kinks), J
            refused = refused or refusal(function, J, evaluation, found)
        assert refused is not None, "the last way of every route makes J"
        raise refused

    def _wider(
        self, found: Comparison, way: str, route: str, own: Evaluation, chunk: int | None
    ) -> tuple[Comparison, bool]:
        """The verdict on J, and whether J is wrong.  It is not if it is in float32 and the same way makes the right J
        in float64: rounding is to blame (1 - tanh^2 of a saturated unit), which counts in the verdict's difference.
        """
        if own.theta.dtype == torch.float64 or narrower(own):
            return found, True
        wide = own.widened()
        try:
            evaluation, _, J = self._made(way, route, wide.theta, wide.inputs, chunk)
            if J is None:
                return found, True
            function, verdict, seen = first_look(J, evaluation)
            if verdict.wrong:
                verdict = second_look(function, J, evaluation, seen, verdict)
            if verdict.wrong or adjoint(J, evaluation, function, seen) > ADJOINT:
                return found, True
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError):  # a forward pass that insists on float32
            return found, True
        return Comparison(found.difference, (), verdict.kinks), False

    def _theta(self, theta: Any) -> Tensor:
        device = next(self.module.parameters()).device
        point = as_tensor("theta", theta).to(device)
        if point.shape != (self.n_parameters,):
            raise ProblemError(f"theta: expected {self.n_parameters} parameters, got shape {tuple(point.shape)}")
        if point.is_inference():
            point = point.clone()
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


WAYS = {
    "auto": ("layers", "samples", "products"),
    "layers": ("layers", "samples", "loop"),
    "samples": ("samples", "loop"),
    "products": ("products",),
    "loop": ("loop",),
}
"""Route -> the ways to make J, in the order in which they are tried."""


def _shapes_of(inputs: Inputs) -> tuple[Any, ...]:
    """What the check of a Jacobian is remembered by: structure, shapes and dtypes of the inputs."""
    positional = inputs if isinstance(inputs, tuple) else (inputs,)
    parts = inputs.items() if isinstance(inputs, dict) else enumerate(positional)
    return tuple(
        (name, tuple(part.shape), part.dtype) if isinstance(part, Tensor) else (name, part) for name, part in parts
    )


def _warn_of(kinks: tuple[int, ...]) -> None:
    some = ", ".join(str(i) for i in kinks[:5]) + (", ..." if len(kinks) > 5 else "")
    warnings.warn(
        f"module: {len(kinks)} of the samples ({some}) sit on a kink of the module, where its outputs have different "
        "derivatives to either side; their rows of J are those of one side",
        KinkWarning,
        stacklevel=4,
    )


def write_back(module: nn.Module, theta: Any) -> nn.Module:
    """Copy theta, (d,), or the theta of a Projection, Solution or Certificate, into the trainable parameters of
    `module`; returns the module.

    The parameters stay the same objects, and .grad is untouched; numbers are rounded to their precision.

    >>> import torch
    >>> from exact_unlearn.scalable import write_back
    >>> module = torch.nn.Linear(2, 1, bias=False)
    >>> write_back(module, [1.0, 2.0]).weight.tolist()
    [[1.0, 2.0]]
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

    ProblemError on what is no torch module.
    """
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(module, "_orig_mod"):
        module = module._orig_mod if hasattr(module, "_orig_mod") else module.module
    if not isinstance(module, nn.Module):
        raise ProblemError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise ProblemError("module: expected the Python module, got a TorchScript one, whose layers are hidden")
    return module
