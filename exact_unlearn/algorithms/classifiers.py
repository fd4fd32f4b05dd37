"""Baselines that speak about probabilities of classes: SCRUB, NPO, SalUn.

pi_theta is the softmax of a head; losses of several heads add up.  The teacher pi_theta* is a copy of the model at
theta* in evaluation mode that never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exact_unlearn.algorithms.losses import heads, kl, log_probabilities, total_loss, zero
from exact_unlearn.algorithms.projection import evaluation_mode
from exact_unlearn.algorithms.run import PlainSteps, Run, check, require_labels
from exact_unlearn.algorithms.samples import Batch
from exact_unlearn.errors import ProblemError


@dataclass(frozen=True)
class SCRUB:
    """Stay near the teacher on the retain set, move away from it on the forget set, in turns.

    In even epochs t, and for t >= T - final_epochs:  J(theta; B_r) + distill * KL(pi_theta* || pi_theta) on B_r;
    in the others:  -ascent * KL(pi_theta* || pi_theta) on B_f.

    distill: lambda_reg >= 0; ascent: lambda_GA >= 0; final_epochs: T_GD.

    >>> import torch
    >>> from exact_unlearn.algorithms import SCRUB, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 2), [(x[k : k + 1], torch.tensor([k])) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=SCRUB(), epochs=2)
    >>> history.method, history.steps
    (SCRUB(distill=0.1, ascent=0.1, final_epochs=0), 2)
    """

    distill: float = 0.1
    ascent: float = 0.1
    final_epochs: int = 0

    def __post_init__(self) -> None:
        check(self.distill >= 0, "distill", "a number >= 0", self.distill)
        check(self.ascent >= 0, "ascent", "a number >= 0", self.ascent)
        check(self.final_epochs >= 0, "final_epochs", "an integer >= 0", self.final_epochs)

    def begin(self, run: Run) -> _ScrubSteps:
        """Start."""
        require_labels(run, "scrub")
        return _ScrubSteps(run, self, run.teacher())


@dataclass
class _ScrubSteps(PlainSteps):
    method: SCRUB
    teacher: nn.Module

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        method, run = self.method, self.run
        if t % 2 == 0 or t >= run.epochs - method.final_epochs:
            return run.loss(retain) + method.distill * self._divergence(retain)
        return -method.ascent * self._divergence(forget)

    def _divergence(self, batch: Batch) -> Tensor:
        if not len(batch):
            return zero(self.run.module)
        with torch.no_grad():
            teacher = log_probabilities(heads(self.teacher(batch.x)))
        return kl(teacher, log_probabilities(self.run.outputs(batch)))


@dataclass(frozen=True)
class NPO:
    """Negative preference optimisation: descend (2/beta) mean_{B_f} log(1 + (pi_theta(y|x) / pi_theta*(y|x))^beta).

    The ratio is computed as a difference of log-probabilities.  beta: lambda_reg > 0.

    >>> import torch
    >>> from exact_unlearn.algorithms import NPO, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 2), [(x[k : k + 1], torch.tensor([k])) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=NPO(), epochs=2)
    >>> history.method, history.steps
    (NPO(beta=0.1), 2)
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        check(self.beta > 0, "beta", "a positive number", self.beta)

    def begin(self, run: Run) -> _NPOSteps:
        """Start."""
        require_labels(run, "npo")
        return _NPOSteps(run, self.beta, run.teacher())


@dataclass
class _NPOSteps(PlainSteps):
    beta: float
    teacher: nn.Module

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        if not len(forget):
            return zero(self.run.module)
        with torch.no_grad():
            before = _of_labels(log_probabilities(heads(self.teacher(forget.x))), forget)
        now = _of_labels(log_probabilities(self.run.outputs(forget)), forget)
        ratios = [F.softplus(self.beta * (new - old)).mean() for new, old in zip(now, before, strict=True)]
        return (2 / self.beta) * torch.stack(ratios).sum()


def _of_labels(log_pi: tuple[Tensor, ...], batch: Batch) -> list[Tensor]:
    """log pi(y | x) per head, (n,)."""
    pairs = zip(log_pi, batch.targets, strict=True)
    return [head.gather(1, target.reshape(-1, 1)).squeeze(1) for head, target in pairs]


@dataclass(frozen=True)
class SalUn:
    """Move only salient weights, towards wrong labels on the forget set.

    Coordinates whose |grad J(theta*; D_f)| lies below its median are frozen: neither gradients nor weight decay
    move them. Descend J(theta; B_r) + ascent * J(theta; B'_f), B'_f = B_f with labels drawn anew from the wrong
    classes. ascent: lambda_GA >= 0.

    >>> import torch
    >>> from exact_unlearn.algorithms import SalUn, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 2), [(x[k : k + 1], torch.tensor([k])) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=SalUn(), epochs=2)
    >>> history.method, history.steps
    (SalUn(ascent=0.1), 2)
    """

    ascent: float = 0.1

    def __post_init__(self) -> None:
        check(self.ascent >= 0, "ascent", "a number >= 0", self.ascent)

    def begin(self, run: Run) -> _SalUnSteps:
        """Find the salient weights, then start with the others frozen."""
        require_labels(run, "salun")
        return _SalUnSteps(run.restricted(salient(run)), self.ascent, _classes(run))


def _classes(run: Run) -> tuple[int, ...]:
    """Number of classes of each head."""
    source = run.forget if len(run.forget) else run.retain
    with torch.no_grad(), evaluation_mode(run.module):
        outputs = heads(run.module(source.take(torch.tensor([0])).x))
    for head in outputs:
        if head.shape[1] < 2:
            raise ProblemError("method 'salun': a head with one class has no wrong labels")
    return tuple(head.shape[1] for head in outputs)


def salient(run: Run) -> dict[str, Tensor]:
    """Masks of the free coordinates whose |grad J(theta*; D_f)| is at least the median of them all.

    With nothing to forget every gradient is 0, and so is the median: all that is free may move.
    """
    sizes: dict[str, Tensor] = {name: torch.zeros_like(p) for name, p in run.parameters()}
    everything, chunk = torch.arange(len(run.forget)), 256
    named = dict(run.parameters())
    parts = torch.split(everything, chunk) if len(everything) else ()
    with evaluation_mode(run.module):
        for part in parts:
            batch = run.forget.take(part)
            loss = total_loss(run.losses, run.module, batch) * len(batch)
            pieces = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            for name, piece in zip(named, pieces, strict=True):
                if piece is not None:
                    sizes[name] += piece / len(run.forget)
    magnitudes = torch.cat([sizes[name].abs()[mask] for name, mask in run.masks.items()])
    magnitudes, n = magnitudes.to(torch.promote_types(magnitudes.dtype, torch.float32)), len(magnitudes)
    # the mean of the middle two: `quantile` stops at 2^24 entries, and `median` takes the lower one
    threshold = (magnitudes.kthvalue((n + 1) // 2).values + magnitudes.kthvalue(n // 2 + 1).values) / 2
    return {name: mask & (sizes[name].abs() >= threshold) for name, mask in run.masks.items()}


@dataclass
class _SalUnSteps(PlainSteps):
    ascent: float
    classes: tuple[int, ...]

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        return self.run.loss(retain) + self.ascent * self.run.loss(self._mislabelled(forget))

    def _mislabelled(self, batch: Batch) -> Batch:
        """The same inputs; every label replaced by one of the other classes, all equally likely."""
        return Batch(batch.x, tuple(self._wrong(y, c) for y, c in zip(batch.targets, self.classes, strict=True)))

    def _wrong(self, labels: Tensor, classes: int) -> Tensor:
        shift = torch.randint(1, classes, labels.shape, generator=self.run.generator).to(labels)
        return (labels + shift) % classes
