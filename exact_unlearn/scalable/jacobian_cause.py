"""Why a module has no Jacobian: the questions asked when differences disagree with J, and one sentence each.

Also what is asked of a module before it is differentiated: that it is a function of the parameters that it shows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.evaluation import Evaluation, take
from exact_unlearn.scalable.jacobian_check import Comparison, Function, Steps, direction, look, precision
from exact_unlearn.scalable.jacobian_core import TorchJacobian
from exact_unlearn.scalable.running import DerivativeError

ALONE = 8
"""How many samples are run alone to find out whether samples see one another."""

NAMED = 64
"""How many parameters are moved one at a time to find those whose derivative is wrong."""


def require_function(evaluation: Evaluation, values: Tensor, theta: Tensor, frozen: dict[str, Tensor]) -> None:
    """ProblemError unless the outputs are finite, the same when asked again, and made from the parameters given;
    one more forward pass.

    values: what the forward pass before gave; theta, frozen: the parameters that are trainable and those that are
    not, copied before it.
    """
    if not bool(torch.isfinite(values).all()):
        raise ProblemError("module: its outputs on x have NaN or infinity, so there is no Jacobian")
    with evaluation.still(), torch.enable_grad():
        again = evaluation.call(evaluation.leaves())
    scale, unit = float(values.abs().max()) if values.numel() else 0.0, float(torch.finfo(values.dtype).eps)
    apart = float((again.detach() - values).abs().max()) if values.numel() else 0.0
    if not apart <= 1e3 * unit * scale and not apart <= 1e3 * unit * _reach(evaluation):
        raise ProblemError(
            "module: two runs on the same x give different outputs, so they have no Jacobian: its forward pass draws "
            "random numbers (augmentation, sampling) or keeps a state of its own; call module.eval() first"
        )
    named = dict(evaluation.module.named_parameters(remove_duplicate=False))
    written = any(not torch.equal(part, named[name].detach()) for name, part in frozen.items())
    if written or not torch.equal(theta, evaluation.theta):
        with torch.no_grad():
            for name, part in frozen.items():
                named[name].copy_(part)
        raise ProblemError(
            "module: its forward pass writes to its parameters, so theta is not what it computes with; "
            "move that out of forward()"
        )
    own = {id(parameter): name for name, parameter in named.items() if parameter.requires_grad}
    hidden = next((own[id(leaf)] for leaf in _leaves_below(again) if id(leaf) in own), None)
    if hidden is not None:
        raise ProblemError(
            f"module: it reaches {hidden} through a reference of its own (a list, a closure) and not as an attribute, "
            "so it cannot be given other parameters; use nn.ParameterList, or the attribute itself"
        )


def require_separate(evaluation: Evaluation, values: Tensor) -> None:
    """DerivativeError if the outputs of some samples in another order are not those that they have in the whole batch;
    half a forward pass.
    """
    if evaluation.n < 2:
        return
    index = torch.arange(evaluation.n - 1, -1, -2, device=values.device)
    choice = None if evaluation.choice is None else evaluation.choice[index]
    part = _attempt(
        evaluation,
        lambda: evaluation.call(evaluation.layout.split(evaluation.theta), take(evaluation.inputs, index), choice),
    )
    if part is not None and not part.numel():
        return
    allowed = 1e3 * torch.finfo(values.dtype).eps * float(values.abs().max())
    if part is not None and allowed > 0.0 and float((part - values[index]).abs().max()) <= allowed:
        return
    if part is None or not _only_cancellation(evaluation, index):
        raise DerivativeError(f"module: {_mixing(evaluation)}")


def _only_cancellation(evaluation: Evaluation, index: Tensor) -> bool:
    """Whether samples `index` differ from themselves in the whole batch by rounding only: in float64, where the module
    takes it, and measured by outputs that do not cancel.
    """
    for each in (evaluation.widened(), evaluation):
        apart = _apart(each, index)
        if apart is not None:
            least = 1e-5 if each.theta.dtype == torch.float64 else 1e-3
            return apart <= max([least, *(4.0 * torch.finfo(dtype).eps for dtype in narrower(each))])
    return False


def _apart(evaluation: Evaluation, index: Tensor | slice) -> float | None:
    """How far the outputs of samples `index` are from those that they have in the whole batch, at theta and at a point
    nearby, relative to the largest output at either; None where the module fails.
    """
    choice = None if evaluation.choice is None else evaluation.choice[index]
    off, size = 0.0, 0.0
    for theta in (evaluation.theta, _nearby(evaluation)):
        parameters = evaluation.layout.split(theta)
        whole = _attempt(evaluation, lambda: evaluation.call(parameters))  # noqa: B023
        part = _attempt(evaluation, lambda: evaluation.call(parameters, take(evaluation.inputs, index), choice))  # noqa: B023
        if whole is None or part is None:
            return None
        off = max(off, float((part - whole[index]).abs().max()))
        size = max(size, float(whole.abs().max()))
    return off / size if size else off


def _reach(evaluation: Evaluation) -> float:
    """The largest output where none cancels."""
    values = _attempt(evaluation, lambda: evaluation.call(evaluation.layout.split(_nearby(evaluation))))
    return 0.0 if values is None else float(values.abs().max())


def _nearby(evaluation: Evaluation) -> Tensor:
    """Parameters an eighth of their size away from theta: outputs that cancel at theta are there of the size of what
    they are made from.
    """
    return evaluation.theta + (direction(evaluation, 0) / 8).to(evaluation.theta.dtype)


def _leaves_below(values: Tensor) -> list[Tensor]:
    """The leaves of the autograd graph below `values`."""
    stack = [] if values.grad_fn is None else [values.grad_fn]
    seen, found = set(stack), []
    while stack:
        for following, _ in stack.pop().next_functions:
            if following is None or following in seen:
                continue
            seen.add(following)
            leaf = getattr(following, "variable", None)
            if leaf is None:
                stack.append(following)
            else:
                found.append(leaf)
    return found


def refusal(function: Function, jacobian: TorchJacobian, own: Evaluation, found: Comparison) -> DerivativeError:
    """The error that says what differences disagree with, and the way out."""
    for question in (_coupled, _lost, _coarse):
        reason = question(function, jacobian, own, found)
        if reason is not None:
            return DerivativeError(f"module: {reason}")
    if not found.wrong:
        return DerivativeError(
            "module: J.T nu is not the transpose of J D: an operation of its own has a jvp and a backward pass that "
            "are no derivatives of the same function; use operations that torch differentiates"
        )
    return DerivativeError(
        f"module: J D differs from differences of its outputs by {found.difference:.1e}, for sample {found.wrong[0]} "
        "among others: it has steps (round, argmax) at theta or a backward pass of its own that is not its derivative; "
        "use operations that torch differentiates"
    )


def _coupled(function: Function, jacobian: TorchJacobian, own: Evaluation, found: Comparison) -> str | None:
    """Samples that see one another: some are run alone."""
    if own.n < 2:
        return None
    evaluation = function.evaluation
    spread = torch.linspace(0, own.n - 1, min(own.n, ALONE)).round().int().tolist()
    for i in dict.fromkeys([*found.wrong[:2], *spread]):
        apart = _apart(evaluation, slice(i, i + 1))
        if apart is None or not apart <= (1e-6 if function.dtype == torch.float64 else 1e-3):
            return _mixing(evaluation)
    return None


def _mixing(evaluation: Evaluation) -> str:
    """What to say of samples that see one another."""
    if _second_is_batch(evaluation):
        return (
            "the outputs of a sample depend on the other samples, and its second dimension behaves like the batch: "
            "put the samples first (batch_first=True, or transpose x and the outputs)"
        )
    return (
        "the outputs of a sample depend on the other samples of the batch, so no row of J is its own; take out what "
        "mixes or ranks samples (batch statistics, capacities, sums over the batch, positions counted along it)"
    )


def _second_is_batch(evaluation: Evaluation) -> bool:
    """Whether the outputs for x[:, :1] are those for x, [:, :1]."""
    parameters = evaluation.layout.split(evaluation.theta)
    inputs = evaluation.inputs
    parts = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    if any(isinstance(part, Tensor) and (part.ndim < 2 or part.shape[1] < 2) for part in parts):
        return False
    some = (slice(None), slice(0, 1))

    def compare() -> Tensor | None:
        whole = evaluation.heads(parameters)
        part = evaluation.heads(parameters, take(inputs, some))
        if any(a.ndim < 2 or a[some].shape != b.shape for a, b in zip(whole, part, strict=True)):
            return None
        return torch.stack([(a[some] - b).abs().max() / a.abs().max() for a, b in zip(whole, part, strict=True)])

    apart = _attempt(evaluation, compare)
    return apart is not None and bool((apart <= 1e-4).all())


def _lost(function: Function, jacobian: TorchJacobian, own: Evaluation, found: Comparison) -> str | None:
    """Parameters that the outputs change with though J has zeros for them."""
    steps = Steps.of(precision(jacobian), function.dtype)
    d = direction(own, 0)
    lost = []
    for name, part in list(zip(own.layout.names, own.layout.slices, strict=True))[:NAMED]:
        only = torch.zeros_like(d)
        only[part] = d[part]
        seen = look(function, jacobian, only, (steps.first,))
        moved = seen.central()[0].abs() > 1e3 * seen.rounding(steps.unit, steps.first)
        if bool((moved & (seen.product == 0)).any()):
            lost.append(name)
    if not lost:
        return None
    names = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
    if _checkpoints(own):
        return (
            f"checkpoint(use_reentrant=True) loses the derivative in {names}, whose inputs need no gradient; "
            "use_reentrant=False keeps it"
        )
    return (
        f"its outputs change with {names}, but autograd gives 0: detach(), .data, no_grad(), a custom backward or "
        "checkpoint(use_reentrant=True) hides the derivative"
    )


def _coarse(function: Function, jacobian: TorchJacobian, own: Evaluation, found: Comparison) -> str | None:
    """Arithmetic in a lower precision than that of the parameters."""
    narrow = narrower(own)
    if not narrow:
        return None
    name = str(min(narrow, key=lambda dtype: dtype.itemsize)).removeprefix("torch.")
    return (
        f"part of its forward pass is in {name}, mixed precision below that of its parameters, and J D is off by "
        f"{found.difference:.1e}; take that out (autocast leaves float64 alone: theta.double())"
    )


def narrower(own: Evaluation) -> list[torch.dtype]:
    """The precisions below that of theta in which the forward pass computes."""
    seen = _Precisions()
    with seen, own.still(), torch.no_grad():
        own.call(own.layout.split(own.theta))
    return [dtype for dtype in seen.found if dtype.itemsize < own.theta.dtype.itemsize]


class _Precisions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers in which precisions a forward pass computes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.is_floating_point():
            self.found.add(out.dtype)
        return out


def _checkpoints(own: Evaluation) -> bool:
    """Whether reentrant checkpoints complain about inputs without gradients."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _attempt(own, lambda: own.call(own.leaves()), grad=True)
    return any("requires_grad=True" in str(each.message) for each in said)


def _attempt(evaluation: Evaluation, call: Callable[[], Tensor | None], grad: bool = False) -> Tensor | None:
    """What a forward pass gives, or None where it fails."""
    try:
        with evaluation.still(), torch.set_grad_enabled(grad):
            return call()
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError):
        return None
