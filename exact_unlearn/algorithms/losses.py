"""Losses and outputs of models with one or several heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exact_unlearn.algorithms.samples import Batch
from exact_unlearn.errors import ProblemError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(output of a head, targets) -> mean loss over the samples."""

Rows = Literal["all", "largest"]
"""Which outputs of a head have a gradient in J: all of them, or the largest logit."""


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error; (n,) targets fit (n, 1) outputs (and are not broadcast to (n, n)).

    Class labels (n,) of a head with several outputs stand for their one-hot rows.
    """
    if is_label(target) and target.dim() == 1 and output.shape[1] > 1:
        target = F.one_hot(target.long(), output.shape[1])
    return F.mse_loss(output, target.reshape(output.shape).to(output.dtype))


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean of -log softmax(output)[target]; targets are labels (n,), or probabilities (n, l) such as one-hot rows."""
    return F.cross_entropy(output, target)


NAMED: dict[str, Loss] = {"mse": mse, "cross-entropy": cross_entropy}


def head_losses(loss: str | Loss | Sequence[str | Loss] | None, batch: Batch) -> tuple[Loss, ...]:
    """One loss per head.  None: cross-entropy for integer targets, mean squared error for others."""
    if loss is None:
        return tuple(cross_entropy if is_label(target) else mse for target in batch.targets)
    each = [loss] * len(batch.targets) if isinstance(loss, str) or callable(loss) else list(loss)
    if len(each) != len(batch.targets):
        raise ProblemError(f"loss: expected one per head ({len(batch.targets)}), got {len(each)}")
    return tuple(_named(one) for one in each)


def _named(loss: str | Loss) -> Loss:
    if not isinstance(loss, str):
        return loss
    if loss not in NAMED:
        raise ProblemError(f"loss: expected a function or one of {', '.join(sorted(NAMED))}, got {loss!r}")
    return NAMED[loss]


def is_label(target: Tensor) -> bool:
    """Whether targets are class labels."""
    return not target.is_floating_point()


def heads(output: Any) -> tuple[Tensor, ...]:
    """The outputs of a model, one (n, l) tensor per head."""
    outputs = tuple(output) if isinstance(output, list | tuple) else (output,)
    return tuple(head.unsqueeze(1) if head.dim() == 1 else head for head in outputs)


def total_loss(losses: Sequence[Loss], module: nn.Module, batch: Batch) -> Tensor:
    """J(theta; B): the losses of all heads, added up.  0 for an empty batch, with a gradient of 0."""
    if not len(batch):
        return zero(module)
    return loss_of(losses, heads(module(batch.x)), batch)


def loss_of(losses: Sequence[Loss], outputs: Sequence[Tensor], batch: Batch) -> Tensor:
    """The losses of all heads, added up, where the outputs on the batch are known."""
    if len(outputs) != len(batch.targets):
        raise ProblemError(f"targets: the model has {len(outputs)} heads, but {len(batch.targets)} were given")
    return torch.stack([loss(head, t) for loss, head, t in zip(losses, outputs, batch.targets, strict=True)]).sum()


def zero(module: nn.Module) -> Tensor:
    """A zero that depends on every parameter that can move."""
    return torch.stack([p.sum() for p in module.parameters() if p.requires_grad]).sum() * 0.0


def log_probabilities(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """log pi(. | x) of every head, (n, classes)."""
    return tuple(F.log_softmax(head, dim=1) for head in outputs)


def kl(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """KL(teacher || student) = sum_y pi_T(y) (log pi_T(y) - log pi_S(y)), mean over samples, added over heads.

    Both are log-probabilities.  A class of teacher probability 0 counts 0, not NaN, also where its logit is -inf
    because it is masked out.
    """
    return torch.stack([_divergence(t, s) for t, s in zip(teacher, student, strict=True)]).sum()


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    weights = teacher.exp()
    gaps = torch.where(weights > 0, teacher - student, 0.0)
    return (weights * gaps).sum() / len(teacher)
