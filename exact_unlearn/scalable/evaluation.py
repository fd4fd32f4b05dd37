"""A torch module as a pure function of its flat trainable parameters, evaluated without leaving a trace.

`Evaluation` freezes one point of that function: parameters, inputs, buffers, and which outputs are meant.  The
routes to the Jacobian all start from it, so they differentiate the same function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.running import Inputs, as_floating, explained, map_tensors, run, still


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the trainable parameters of a module lie in theta: names, shapes and slices, in the order of
    named_parameters.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    slices: tuple[slice, ...]

    @property
    def size(self) -> int:
        """d."""
        return self.slices[-1].stop if self.slices else 0

    def split(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of theta, one per parameter."""
        return {
            name: theta[part].view(shape)
            for name, shape, part in zip(self.names, self.shapes, self.slices, strict=True)
        }


def layout_of(module: nn.Module) -> Layout:
    """The layout of the parameters of `module` that require a gradient; a shared parameter is listed once.

    Raises ProblemError on parameters that are not plain real arrays of this process: lazy ones, those on the meta
    device, complex ones, those sharded over processes.
    """
    names, shapes, slices, start = [], [], [], 0
    for name, parameter in module.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ProblemError(f"module: {name} has no shape yet; run the module on a sample once")
        if parameter.is_meta:
            raise ProblemError(f"module: {name} is on the meta device, which holds no numbers; see Module.to_empty")
        if hasattr(parameter, "device_mesh"):
            raise ProblemError(
                f"module: {name} is spread over processes (a DTensor, as FSDP2 makes); "
                "use scalable.distributed.sharded_jacobian"
            )
        if parameter.is_complex():
            raise ProblemError(
                f"module: {name}: expected real numbers, got dtype {parameter.dtype}; "
                "keep real and imaginary parts as real parameters (torch.view_as_real)"
            )
        if parameter.requires_grad:
            names.append(name)
            shapes.append(parameter.shape)
            slices.append(slice(start, start + parameter.numel()))
            start += parameter.numel()
    return Layout(tuple(names), tuple(shapes), tuple(slices))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """f(., x) around one theta.

    module, layout, theta (d,), inputs as above with n samples; choice: (n, l) indices into the flattened
    outputs of each sample, held fixed, or None for all of them; n_outputs: l; width: how many outputs a sample has
    in all.  constants: parameters that are
    not trainable; buffers: as they were found, copied for every run, for a forward pass may write to them.
    """

    module: nn.Module
    layout: Layout
    theta: Tensor
    inputs: Inputs
    n: int
    n_outputs: int
    width: int
    choice: Tensor | None
    constants: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        """(n l, d) of the Jacobian; row i l + o is output o of sample i."""
        return self.n * self.n_outputs, self.layout.size

    def leaves(self) -> dict[str, Tensor]:
        """The parameters as views of theta that autograd treats as leaves."""
        return {name: part.detach().requires_grad_() for name, part in self.layout.split(self.theta).items()}

    def call(
        self, parameters: Mapping[str, Tensor], inputs: Inputs | None = None, choice: Tensor | None = None
    ) -> Tensor:
        """The chosen outputs, (n, l); run it inside `still`.  Inputs and choice default to the evaluation's own."""
        if inputs is None:
            inputs, choice = self.inputs, self.choice
        flat = _side_by_side(self.heads(parameters, inputs), count(inputs))
        if flat.shape[1] != self.width:
            raise ProblemError(
                f"module: a batch of {self.n} samples has {self.width} outputs per sample, a batch of {len(flat)} has "
                f"{flat.shape[1]}: the samples do not lie along the first dimension of x and of the outputs, or the "
                "outputs of a sample depend on the other samples"
            )
        return flat if choice is None else flat.gather(1, choice)

    def heads(self, parameters: Mapping[str, Tensor], inputs: Inputs | None = None) -> list[Tensor]:
        """The tensors that the module returns, each (n, ...); run it inside `still`."""
        inputs = self.inputs if inputs is None else inputs
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        state = {**self.constants, **buffers, **parameters}
        return head_list(run(self.module, state, inputs, self.theta.dtype), count(inputs))

    def still(self) -> Any:
        """The context in which the module may be run."""
        return still(self.module, quiet=True)

    def widened(self) -> Evaluation:
        """The same point of the same function in float64."""
        wide = torch.float64
        return replace(
            self,
            theta=self.theta.to(wide),
            inputs=map_tensors(self.inputs, lambda part: as_floating(part, wide)),
            constants={name: as_floating(part, wide) for name, part in self.constants.items()},
            buffers={name: as_floating(part, wide) for name, part in self.buffers.items()},
        )


def begin(module: nn.Module, layout: Layout, theta: Tensor, inputs: Inputs) -> Evaluation:
    """An evaluation whose outputs have not been looked at yet (n_outputs = 0)."""
    buffers = {name: as_floating(buffer.detach(), theta.dtype).clone() for name, buffer in module.named_buffers()}
    constants = _constants(module, layout, theta)
    return Evaluation(module, layout, theta, inputs, count(inputs), 0, 0, None, constants, buffers)


def evaluate_at(
    module: nn.Module, layout: Layout, theta: Tensor, inputs: Inputs, outputs: str
) -> tuple[Evaluation, Tensor]:
    """The evaluation at theta and its outputs, (n, l); n > 0.  outputs: "all", or "argmax" for the largest
    logit of each head.
    """
    seed = begin(module, layout, theta, inputs)
    with explained(), still(module, quiet=False), torch.no_grad():
        return chosen(seed, seed.heads(layout.split(theta)), outputs)


def chosen(seed: Evaluation, heads: list[Tensor], outputs: str) -> tuple[Evaluation, Tensor]:
    """The evaluation that knows which outputs are meant, and their values."""
    flat = _side_by_side(heads, seed.n)
    choice = None if outputs == "all" else _largest(heads, seed.n)
    values = flat if choice is None else flat.gather(1, choice)
    return replace(seed, n_outputs=int(values.shape[1]), width=int(flat.shape[1]), choice=choice), values


def _constants(module: nn.Module, layout: Layout, theta: Tensor) -> dict[str, Tensor]:
    """Frozen parameters in the precision of theta."""
    trainable = set(layout.names)
    named = module.named_parameters()
    return {name: as_floating(part.detach(), theta.dtype) for name, part in named if name not in trainable}


def cast_inputs(inputs: Any, dtype: torch.dtype, device: torch.device) -> Inputs:
    """Inputs as tensors on `device`, floating-point ones in `dtype`; ProblemError unless all have the same
    number of samples.
    """

    def one(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        try:
            tensor = value if isinstance(value, Tensor) else torch.tensor(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise ProblemError(f"x: expected tensors or arrays of numbers, got {value!r:.60}") from None
        return as_floating(tensor.detach(), dtype).to(device)

    cast_: Inputs
    if isinstance(inputs, dict):
        cast_ = {name: one(value) for name, value in inputs.items()}
    elif isinstance(inputs, tuple | list) and inputs and not isinstance(inputs[0], int | float | list | tuple):
        cast_ = tuple(one(value) for value in inputs)
    else:
        cast_ = cast(Tensor, one(inputs))
    counts = {int(part.shape[0]) if part.ndim else -1 for part in _tensors(cast_)}
    if len(counts) != 1 or -1 in counts:
        raise ProblemError(
            f"x: expected tensors with one entry per sample along the first dimension, got {_shapes(cast_)}"
        )
    return cast_


def take(inputs: Inputs, which: Any) -> Inputs:
    """Some of the samples."""
    return map_tensors(inputs, lambda part: part[which])


def _tensors(inputs: Inputs) -> list[Tensor]:
    parts: Sequence[Any] = (
        list(inputs.values()) if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else [inputs]
    )
    return [part for part in parts if isinstance(part, Tensor)]


def count(inputs: Inputs) -> int:
    """n, the number of samples."""
    return int(_tensors(inputs)[0].shape[0])


def _shapes(inputs: Inputs) -> str:
    return ", ".join(str(tuple(part.shape)) for part in _tensors(inputs)) or "none"


def head_list(out: Any, n: int) -> list[Tensor]:
    """The floating-point tensors in whatever a module returned, each (n, ...); ProblemError if there is none.

    Whatever a batch of one sample returns belongs to that sample, so `squeeze()` may have taken its dimension away.
    """
    heads: list[Tensor] = []
    _collect(out, heads)
    if not heads:
        raise ProblemError(f"module: expected outputs with floating-point tensors, got {type(out).__name__}")
    if n == 1:
        return [head if head.ndim and head.shape[0] == 1 else head[None] for head in heads]
    for head in heads:
        if head.ndim == 0 or head.shape[0] != n:
            what = f"shape {tuple(head.shape)}" + ("" if head.ndim else ", one number for all of them (a loss?)")
            raise ProblemError(f"module: expected outputs with one row for each of {n} samples, got {what}")
    return heads


def _collect(out: Any, heads: list[Tensor]) -> None:
    if isinstance(out, Tensor):
        if out.is_complex():
            raise ProblemError(
                "module: expected real floating-point outputs, got complex ones; return their real and imaginary "
                "parts (torch.view_as_real)"
            )
        if out.is_floating_point():
            heads.append(out)
    elif isinstance(out, Mapping):
        for part in out.values():
            _collect(part, heads)
    elif isinstance(out, tuple | list):
        for part in out:
            _collect(part, heads)


def _side_by_side(heads: list[Tensor], n: int) -> Tensor:
    """All heads in one matrix, (n, L)."""
    return heads[0].reshape(n, -1) if len(heads) == 1 else torch.cat([head.reshape(n, -1) for head in heads], 1)


def each_output(evaluation: Evaluation, heads: list[Tensor]) -> Iterator[Tensor]:
    """The chosen outputs one by one, (n,), each taken from its own head: going through all heads side by side would
    send zero gradients down the others.
    """
    if evaluation.choice is None:
        for head in heads:
            flat = head.reshape(evaluation.n, -1)
            yield from (flat[:, i] for i in range(flat.shape[1]))
        return
    first, o = 0, 0
    for head in heads:
        flat = head.reshape(evaluation.n, -1)
        last = first + flat.shape[1]
        while o < evaluation.n_outputs and first <= int(evaluation.choice[0, o]) < last:
            yield flat.gather(1, evaluation.choice[:, o : o + 1] - first)[:, 0]
            o += 1
        first = last


def _largest(heads: list[Tensor], n: int) -> Tensor:
    """The index, among all outputs of a sample, of the largest logit of each head; logits lie along the last
    dimension.
    """
    chosen, offset = [], 0
    for head in heads:
        logits = head.reshape(n, -1, head.shape[-1] if head.ndim > 1 else 1)
        places, classes = logits.shape[1:]
        start = offset + classes * torch.arange(places, device=head.device)
        chosen.append(logits.argmax(2) + start)
        offset += places * classes
    return torch.cat(chosen, 1)
