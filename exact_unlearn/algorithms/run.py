"""One unlearning run: the model that moves, what may move, and the face that every method shows to the loop."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.buffers import Buffers
from exact_unlearn.algorithms.losses import Loss, heads, loss_of, zero
from exact_unlearn.algorithms.samples import Batch, Samples
from exact_unlearn.errors import ProblemError


@dataclass(frozen=True)
class Run:
    """What a method works with.

    module: the copy that moves.  start: theta*, parameter by parameter.  masks: which entries of each named
    parameter may move; parameters without any are not in it, and need no gradient.
    """

    module: nn.Module
    retain: Samples
    forget: Samples
    losses: tuple[Loss, ...]
    epochs: int
    generator: torch.Generator
    masks: dict[str, Tensor]
    start: dict[str, Tensor]
    forwarded: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = field(default_factory=dict, repr=False)

    def loss(self, batch: Batch) -> Tensor:
        """J(theta; B), for a batch of the present step."""
        if not len(batch):
            return zero(self.module)
        return loss_of(self.losses, self.outputs(batch), batch)

    def outputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What the heads say about the batch, (n, l) each.  A batch is forwarded once a step, however many terms of a
        loss speak about it: running statistics see it once, too.
        """
        known = self.forwarded.get(id(batch.x))
        if known is None or known[0] is not batch.x:
            known = self.forwarded[id(batch.x)] = batch.x, heads(self.module(batch.x))
        return known[1]

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that may move, by name."""
        for name, parameter in self.module.named_parameters():
            if name in self.masks:
                yield name, parameter

    def restricted(self, masks: dict[str, Tensor]) -> Run:
        """The same run with fewer coordinates free."""
        return replace(self, masks=masks)

    def teacher(self) -> nn.Module:
        """pi_theta*: a copy of the model at the start, in evaluation mode, that nothing trains."""
        teacher = copy.deepcopy(self.module).eval().requires_grad_(False)
        with torch.no_grad():
            for name, parameter in teacher.named_parameters():
                parameter.copy_(self.start[name])
        return teacher


class Steps(Protocol):
    """A method under way: called by the loop in this order for every pair of batches."""

    run: Run

    def before(self, t: int, retain: Batch) -> None:
        """Move the parameters, if the method does, before the forward pass."""
        ...

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        """What this step descends."""
        ...

    def after_backward(self) -> None:
        """Change the gradients."""
        ...

    def after_step(self) -> None:
        """Advance the schedules."""
        ...


@dataclass
class PlainSteps:
    """Steps that do nothing but descend J(theta; B_r); other methods override what differs."""

    run: Run

    def before(self, t: int, retain: Batch) -> None:
        """Nothing."""

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        """J(theta; B_r)."""
        return self.run.loss(retain)

    def after_backward(self) -> None:
        """Nothing."""

    def after_step(self) -> None:
        """Nothing."""


class Method(Protocol):
    """Hyper-parameters of a method, under names of its own.

    >>> from exact_unlearn.algorithms import GD, Method
    >>> method: Method = GD()
    >>> method
    GD()
    """

    def begin(self, run: Run) -> Steps:
        """Check the data, and start."""
        ...


@dataclass(frozen=True)
class History:
    """What happened.

    method: its hyper-parameters; loss: the mean of the steps' objectives per epoch; steps: AdamW steps taken;
    projections: one record {"step", "epoch", "strength", "distance", "error"} per projection of MinNorm-OG, distance =
    ||theta after - theta before||_2, error = the estimated error of P_perp(theta), relative to ||theta||_2: rounding,
    and how far J is from differences of the module's outputs; measures: what `measure` returned before the first
    step and after every epoch (T + 1 values), empty without it; buffers: the policy for running statistics.

    >>> import torch
    >>> from exact_unlearn.algorithms import unlearn
    >>> x, y = torch.eye(3), torch.ones(3, 1)
    >>> _, history = unlearn(torch.nn.Linear(3, 1), (x[:2], y[:2]), (x[2:], y[2:]), epochs=2, strength=0.5)
    >>> [round(record["strength"], 6) for record in history.projections]
    [0.5, 0.45]
    """

    method: Method
    epochs: int
    steps: int
    loss: tuple[float, ...]
    projections: tuple[dict[str, float], ...] = field(default=())
    measures: tuple[Any, ...] = field(default=())
    buffers: Buffers = "as-used"


def free_masks(module: nn.Module, free: Any) -> dict[str, Tensor]:
    """Which entries of which parameters may move.

    free: None (all that require a gradient); names of parameters or of submodules, with * allowed; or a boolean
    mask of length d in the order of module.parameters().
    """
    named = dict(module.named_parameters())
    if free is None:
        chosen = {name: p.requires_grad for name, p in named.items()}
        return {name: torch.ones_like(named[name], dtype=torch.bool) for name, on in chosen.items() if on}
    if isinstance(free, Tensor) or (hasattr(free, "dtype") and hasattr(free, "shape")):
        return _from_flat(named, torch.as_tensor(free))
    patterns = [free] if isinstance(free, str) else list(free)
    masks: dict[str, Tensor] = {}
    for pattern in patterns:
        hits = _matching(named, pattern)
        if not hits:
            raise ProblemError(f"free: no parameter is called {pattern!r}; there are {', '.join(named)}")
        masks |= {name: torch.ones_like(named[name], dtype=torch.bool) for name in hits}
    return {name: masks[name] for name in named if name in masks}


def _matching(names: Iterable[str], pattern: Any) -> list[str]:
    return [n for n in names if fnmatch.fnmatchcase(n, str(pattern)) or n.startswith(f"{pattern}.")]


def _from_flat(named: dict[str, nn.Parameter], flat: Tensor) -> dict[str, Tensor]:
    size = sum(p.numel() for p in named.values())
    if flat.dtype != torch.bool or flat.shape != (size,):
        raise ProblemError(f"free: expected names or a boolean mask of shape ({size},), got {tuple(flat.shape)}")
    pieces = torch.split(flat, [p.numel() for p in named.values()])
    masks = {name: m.reshape(p.shape).to(p.device) for (name, p), m in zip(named.items(), pieces, strict=True)}
    return {name: mask for name, mask in masks.items() if bool(mask.any())}


def check(condition: bool, name: str, expected: str, got: Any) -> None:
    """Raise ProblemError unless a hyper-parameter is what it should be."""
    if not condition:
        raise ProblemError(f"{name}: expected {expected}, got {got!r}")


def require_labels(run: Run, method: str) -> None:
    """Some methods speak about probabilities of classes."""
    sources: Sequence[Samples] = (run.retain, run.forget)
    for source in sources:
        if len(source) and any(t.is_floating_point() for t in source.take(torch.tensor([0])).targets):
            raise ProblemError(f"method {method!r} is for classifiers: targets must be integer class labels")
