"""A torch module as a pure function of its flat trainable parameters, evaluated without leaving a trace.

`Evaluation` freezes one point of that function: parameters, inputs, buffers, and which outputs are meant.  The
routes to the Jacobian all start from it, so they differentiate the same function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import UninitializedParameter

from exact_unlearn.errors import ExactUnlearnError, ProblemError

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]
"""One tensor, positional tensors or named tensors; the first dimension of each counts the samples."""


class ForwardError(ProblemError, RuntimeError):
    """The module's forward pass failed on what it was given; `__cause__` is what it raised."""


class FrozenStatisticsWarning(UserWarning):
    """BatchNorm was in train mode, where samples are coupled; its running statistics were used instead."""


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

    Raises ProblemError on parameters without numbers: lazy ones, and those on the meta device.
    """
    names, shapes, slices, start = [], [], [], 0
    for name, parameter in module.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ProblemError(f"module: {name} has no shape yet; run the module on a sample once")
        if parameter.is_meta:
            raise ProblemError(f"module: {name} is on the meta device, which holds no numbers; see Module.to_empty")
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
    outputs of each sample, held fixed, or None for all of them; n_outputs: l.  constants: parameters that are
    not trainable; buffers: as they were found, copied for every run, for a forward pass may write to them.
    """

    module: nn.Module
    layout: Layout
    theta: Tensor
    inputs: Inputs
    n: int
    n_outputs: int
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
        return flat if choice is None else flat.gather(1, choice)

    def heads(self, parameters: Mapping[str, Tensor], inputs: Inputs | None = None) -> list[Tensor]:
        """The tensors that the module returns, each (n, ...); run it inside `still`."""
        inputs = self.inputs if inputs is None else inputs
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        return head_list(run(self.module, {**self.constants, **buffers, **parameters}, inputs), count(inputs))

    def still(self) -> Any:
        """The context in which the module may be run."""
        return still(self.module, quiet=True)


def begin(module: nn.Module, layout: Layout, theta: Tensor, inputs: Inputs) -> Evaluation:
    """An evaluation whose outputs have not been looked at yet (n_outputs = 0)."""
    buffers = {name: _as(buffer.detach(), theta.dtype).clone() for name, buffer in module.named_buffers()}
    constants = _constants(module, layout, theta)
    return Evaluation(module, layout, theta, inputs, count(inputs), 0, None, constants, buffers)


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
    return replace(seed, n_outputs=int(values.shape[1]), choice=choice), values


def run(module: nn.Module, state: Mapping[str, Tensor], inputs: Inputs) -> Any:
    """module(inputs) with parameters and buffers replaced by `state`; the module gets its own back, also on
    exceptions.
    """
    positional = () if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    return functional_call(
        module, dict(state), positional, inputs if isinstance(inputs, dict) else None, tie_weights=True
    )


@contextmanager
def explained() -> Iterator[None]:
    """A forward pass that cannot take its inputs ends in a ForwardError; for the first run, outside all transforms."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
        if isinstance(error, ExactUnlearnError | torch.OutOfMemoryError):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ForwardError(f"module: its forward pass on x fails: {reason}") from error


@contextmanager
def still(module: nn.Module, quiet: bool = True) -> Iterator[None]:
    """Run the module as a deterministic function of one sample at a time; restore what that changes.

    Dropout in train mode is refused.  BatchNorm in train mode uses its running statistics, with a
    FrozenStatisticsWarning unless `quiet`.  Whatever draws random numbers is refused after the fact, and the
    generators are put back.
    """
    frozen = _to_freeze(module)
    if frozen and not quiet:
        warnings.warn(
            f"BatchNorm in train mode couples the samples ({', '.join(name for name, _ in frozen[:3])}"
            f"{', ...' if len(frozen) > 3 else ''}); per-sample gradients use the running statistics instead",
            FrozenStatisticsWarning,
            stacklevel=4,
        )
    cuda = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    before = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []
    for _, part in frozen:
        part.training = False
    try:
        yield
    finally:
        for _, part in frozen:
            part.training = True
    after = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []
    if not torch.equal(before[0], after[0]) or any(
        not torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True)
    ):
        torch.set_rng_state(before[0])
        if cuda:
            torch.cuda.set_rng_state_all(before[1])
        raise ProblemError(
            "module: its forward pass draws random numbers, so its outputs have no Jacobian; call module.eval() first"
        )


def _to_freeze(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """BatchNorm layers in train mode; ProblemError on what cannot be made deterministic."""
    frozen: list[tuple[str, nn.Module]] = []
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm):
            if part.running_mean is None:
                raise ProblemError(
                    f"module: {name or 'BatchNorm'} keeps no running statistics, "
                    "so the samples of a batch cannot be separated"
                )
            if part.training:
                frozen.append((name, part))
        elif part.training and _drops(part):
            raise ProblemError(
                f"module: {name or type(part).__name__} applies dropout in train mode, "
                "so the outputs are random and have no Jacobian; call module.eval() first"
            )
    return frozen


def _drops(part: nn.Module) -> bool:
    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, nn.RNNBase):
        return part.dropout > 0 and part.num_layers > 1
    return isinstance(part, nn.MultiheadAttention) and part.dropout > 0


def _constants(module: nn.Module, layout: Layout, theta: Tensor) -> dict[str, Tensor]:
    """Frozen parameters in the precision of theta."""
    trainable = set(layout.names)
    named = module.named_parameters()
    return {name: _as(part.detach(), theta.dtype) for name, part in named if name not in trainable}


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def cast_inputs(inputs: Any, dtype: torch.dtype, device: torch.device) -> Inputs:
    """Inputs as tensors on `device`, floating-point ones in `dtype`; ProblemError unless all have the same
    number of samples.
    """

    def one(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        tensor = torch.as_tensor(value) if isinstance(value, Tensor) else torch.tensor(value)
        return _as(tensor.detach(), dtype).to(device)

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


def map_tensors(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The same structure with every tensor changed."""

    def one(part: Any) -> Any:
        return change(part) if isinstance(part, Tensor) else part

    if isinstance(inputs, dict):
        return {name: one(part) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(one(part) for part in inputs)
    return cast(Tensor, one(inputs))


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
    """The floating-point tensors in whatever a module returned, each with n rows; ProblemError if there is none."""
    heads: list[Tensor] = []
    _collect(out, heads)
    if not heads:
        raise ProblemError(f"module: expected outputs with floating-point tensors, got {type(out).__name__}")
    for head in heads:
        if head.ndim == 0 or head.shape[0] != n:
            raise ProblemError(
                f"module: expected outputs with one row for each of {n} samples, got shape {tuple(head.shape)}"
            )
    return heads


def _collect(out: Any, heads: list[Tensor]) -> None:
    if isinstance(out, Tensor):
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
