"""Running a torch module without leaving a trace: parameters and buffers replaced, everything else put back.

A forward pass may write to its inputs, to buffers, to attributes (counters, caches, lists), to random
generators.  `run` gives it copies of the first two and puts attributes back after every call, so that every call sees
the module as it was found; `still` puts back what several calls share.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from exact_unlearn.errors import ExactUnlearnError, ProblemError

P = ParamSpec("P")
T = TypeVar("T")

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]
"""One tensor, positional tensors or named tensors; the first dimension of each counts the samples."""


class ForwardError(ProblemError, RuntimeError):
    """The module's forward pass failed on what it was given; `__cause__` is what it raised."""


class DerivativeError(ProblemError, RuntimeError):
    """torch cannot differentiate the module, or what it calls the derivative is none; `__cause__` is what it raised."""


class FrozenStatisticsWarning(UserWarning):
    """BatchNorm was in train mode, where samples are coupled; its running statistics were used instead.

    >>> from exact_unlearn.scalable import FrozenStatisticsWarning
    >>> issubclass(FrozenStatisticsWarning, UserWarning)
    True
    """


def run(module: nn.Module, state: Mapping[str, Tensor], inputs: Inputs, dtype: torch.dtype) -> Any:
    """module(inputs) with parameters and buffers replaced by `state`, on copies of the inputs; the module gets its
    own attributes back, also on exceptions.

    dtype: that of new tensors which the forward pass makes without saying of which (torch.zeros(3)), and of
    floating-point tensors that the module keeps in plain attributes.
    """
    inputs = map_tensors(inputs, torch.clone)
    positional = () if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    with _attributes_kept(module, dtype), _new_tensors(dtype), _eager():
        return functional_call(
            module, dict(state), positional, inputs if isinstance(inputs, dict) else None, tie_weights=True
        )


def map_tensors(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """The same structure with every tensor changed."""

    def one(part: Any) -> Any:
        return change(part) if isinstance(part, Tensor) else part

    if isinstance(inputs, dict):
        return {name: one(part) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(one(part) for part in inputs)
    return cast(Tensor, one(inputs))


def as_floating(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Floating-point tensors in `dtype`, complex ones in the complex precision that goes with it, others as they
    are.
    """
    if tensor.is_complex():
        return tensor.to(torch.complex128 if dtype == torch.float64 else torch.complex64)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def explained() -> Iterator[None]:
    """A forward pass that cannot take its inputs ends in a ForwardError; for the first run, outside all transforms."""
    try:
        yield
    except _ERRORS as error:
        if isinstance(error, ExactUnlearnError | torch.OutOfMemoryError):
            raise
        raise ForwardError(f"module: its forward pass on x fails: {_first_line(error)}") from error


@contextmanager
def differentiated() -> Iterator[None]:
    """What torch raises while it differentiates ends in a DerivativeError."""
    try:
        yield
    except (*_ERRORS, NotImplementedError, AttributeError, Warning) as error:
        if isinstance(error, ExactUnlearnError | torch.OutOfMemoryError | FrozenStatisticsWarning):
            raise
        reason = _first_line(error)
        known = next((said for words, said in _REASONS.items() if words in reason), reason)
        raise DerivativeError(f"module: torch cannot differentiate it on x: {known}") from error


_REENTRANT = "checkpoint(use_reentrant=True) only knows .backward(); use_reentrant=False knows all derivatives"

_REASONS = {
    "use_reentrant=True": _REENTRANT,
    "Checkpointing is not compatible": _REENTRANT,
    "setup_context": (
        "route 'products' needs functional transforms, which an autograd.Function of the old style does not know "
        "(checkpoint(use_reentrant=True) is one); use route='auto'"
    ),
    "saved tensor hooks": "route 'products' does not go with checkpoint() or saved-tensor hooks; use route='auto'",
}
"""What torch says of constructs that are common, and what to do about them."""


_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, KeyError)
"""What layers raise on inputs that do not fit them: forward passes are other people's code, and differ."""


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def still(module: nn.Module, quiet: bool = True) -> Iterator[None]:
    """Run the module as a deterministic function of one sample at a time; restore what that changes.

    Dropout in train mode is refused.  BatchNorm in train mode uses its running statistics, with a
    FrozenStatisticsWarning unless `quiet`.  Whatever draws random numbers from torch is refused after the fact, and
    its generators are put back.  Embeddings give dense gradients meanwhile.
    """
    frozen, sparse = _to_freeze(module)
    if frozen and not quiet:
        warnings.warn(
            f"BatchNorm in train mode couples the samples ({', '.join(name for name, _ in frozen[:3])}"
            f"{', ...' if len(frozen) > 3 else ''}); per-sample gradients use the running statistics instead",
            FrozenStatisticsWarning,
            stacklevel=4,
        )
    before = _random_state()
    for _, part in frozen:
        part.training = False
    for part in sparse:
        setattr(part, "sparse", False)  # noqa: B010
    try:
        yield
    finally:
        for _, part in frozen:
            part.training = True
        for part in sparse:
            setattr(part, "sparse", True)  # noqa: B010
        drawn = not _same_random_state(before)
        if drawn:
            torch.set_rng_state(before[0])
            if before[1]:
                torch.cuda.set_rng_state_all(before[1])
    if drawn:
        raise ProblemError(
            "module: its forward pass draws random numbers, so its outputs have no Jacobian; call module.eval() first"
        )


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []


def _same_random_state(before: tuple[Tensor, list[Tensor]]) -> bool:
    if not torch.equal(before[0], torch.get_rng_state()):
        return False
    return not before[1] or all(
        torch.equal(a, b) for a, b in zip(before[1], torch.cuda.get_rng_state_all(), strict=True)
    )


@contextmanager
def watched(module: nn.Module) -> Iterator[None]:
    """Around the runs that find out what a module is: generators that torch does not know as its own (Python's,
    NumPy's, those that the module keeps) are put back, and what reentrant checkpoints warn of is left to the check.
    """
    found = [value for part in module.modules() for value in vars(part).values()]
    kept = [(each, each.get_state()) for each in found if type(each) is torch.Generator]
    drawn = [(each.bit_generator, each.bit_generator.state) for each in found if type(each) is np.random.Generator]
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "None of the inputs have requires_grad", UserWarning)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        for generator, state in kept:
            generator.set_state(state)
        for bits, position in drawn:
            bits.state = position


def _to_freeze(module: nn.Module) -> tuple[list[tuple[str, nn.Module]], list[nn.Module]]:
    """BatchNorm layers in train mode, and embeddings with sparse gradients; ProblemError on what cannot be made
    deterministic, and on what writes to its parameters.
    """
    frozen: list[tuple[str, nn.Module]] = []
    sparse: list[nn.Module] = []
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm):
            if part.running_mean is None:
                raise ProblemError(
                    f"module: {name or 'BatchNorm'} keeps no running statistics, "
                    "so the samples of a batch cannot be separated"
                )
            if part.training:
                frozen.append((name, part))
        elif isinstance(part, nn.Embedding | nn.EmbeddingBag):
            if part.max_norm is not None:
                raise ProblemError(
                    f"module: {name or type(part).__name__} has max_norm, which rewrites its weights during the "
                    "forward pass; scale them once and set max_norm=None"
                )
            if part.sparse:
                sparse.append(part)
        elif part.training and _drops(part):
            raise ProblemError(
                f"module: {name or type(part).__name__} applies dropout in train mode, "
                "so the outputs are random and have no Jacobian; call module.eval() first"
            )
    return frozen, sparse


def _drops(part: nn.Module) -> bool:
    if isinstance(part, _DropoutNd):
        return part.p > 0
    if isinstance(part, nn.RNNBase):
        return part.dropout > 0 and part.num_layers > 1
    return isinstance(part, nn.MultiheadAttention) and part.dropout > 0


_FRAMEWORK = frozenset(vars(nn.Module()))
"""Attributes that every module has; parameters, buffers and submodules among them."""

_TABLES = ("_parameters", "_buffers", "_modules")


@contextmanager
def _attributes_kept(module: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Give the submodules copies of what they keep in plain attributes; put their attributes back, the contents of
    lists, dicts and sets among them.
    """
    undo: list[tuple[Callable[[Any, Any], None], Any, Any]] = []
    for part in module.modules():
        own = vars(part)
        undo.append((_replace, own, own.copy()))
        undo.extend((_replace, own[name], own[name].copy()) for name in _TABLES)
        if len(own) == len(_FRAMEWORK):
            continue
        for name in own.keys() - _FRAMEWORK:
            value = own[name]
            if type(value) is Tensor:
                own[name] = _copied(value, dtype)
            elif type(value) in _COPIED:
                undo.append((_COPIED[type(value)], value, value.copy()))
                if type(value) is not set:
                    for key in value if type(value) is dict else range(len(value)):
                        if type(value[key]) is Tensor:
                            value[key] = _copied(value[key], dtype)
    try:
        yield
    finally:
        for restore, target, content in reversed(undo):
            restore(target, content)


def _copied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy that may be written to; what has a history in autograd stays what it is."""
    return as_floating(tensor.detach(), dtype).clone() if tensor.is_leaf else tensor


def _replace(table: dict[str, Any], content: dict[str, Any]) -> None:
    """The content of a dict put back, in its order; nothing is done where nothing changed."""
    if len(table) == len(content) and all(table.get(name, table) is value for name, value in content.items()):
        return
    table.clear()
    table.update(content)


def _replace_list(values: Any, content: Any) -> None:
    if len(values) != len(content) or any(a is not b for a, b in zip(values, content, strict=True)):
        values.clear()
        values.extend(content)


def _replace_set(values: set[Any], content: set[Any]) -> None:
    if values != content:
        values.clear()
        values.update(content)


_COPIED: dict[type, Callable[[Any, Any], None]] = {
    dict: _replace,
    list: _replace_list,
    deque: _replace_list,
    set: _replace_set,
}


def _new_tensors(dtype: torch.dtype) -> AbstractContextManager[None]:
    return nullcontext() if torch.get_default_dtype() == dtype else _default_dtype(dtype)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _eager() -> AbstractContextManager[Any]:
    """Compiled modules run as they are written: compiled code cannot be transformed."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def plain_arithmetic(device: torch.device | None = None) -> Iterator[None]:
    """No autocast (on `device`, or on any) and no inference mode, whatever the caller has switched on around us."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda") if device is None else (device.type,):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def plainly(function: Callable[P, T]) -> Callable[P, T]:
    """The function under `plain_arithmetic`: Gram matrices in bfloat16 would have three digits."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with plain_arithmetic():
            return function(*args, **kwargs)

    return called
