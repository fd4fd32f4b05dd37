"""Training from scratch (SGD with momentum, steps of the learning rate) and evaluation, batch by batch."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exact_unlearn import interrupts
from exact_unlearn.algorithms.losses import heads

from .images_sets import Painted


@dataclass(frozen=True)
class Schedule:
    """SGD: rate * factor^(number of `drops` passed), momentum, weight decay, batch size; the last batch is kept."""

    rate: float
    drops: tuple[int, ...]
    factor: float
    weight_decay: float
    batch_size: int
    momentum: float = 0.9

    def at(self, epoch: int) -> float:
        """The learning rate of an epoch."""
        return self.rate * self.factor ** sum(epoch >= drop for drop in self.drops)


@dataclass(frozen=True)
class Stage:
    """Some epochs on one set.

    weights: (m,) of the samples, None: 1; the mean of the weighted losses divides by the number of samples.
    heads: how many heads have a loss (the first ones); None: all.
    """

    data: Painted
    epochs: int
    weights: Tensor | None = None
    heads: int | None = None


def fit(
    module: nn.Module,
    stages: Sequence[Stage],
    schedule: Schedule,
    generator: torch.Generator,
    device: str = "cpu",
    augment: bool = False,
) -> None:
    """Train in place: one optimiser and one count of epochs run through all stages."""
    module.to(device).train()
    optimizer = torch.optim.SGD(
        module.parameters(), lr=schedule.rate, momentum=schedule.momentum, weight_decay=schedule.weight_decay
    )
    epoch = 0
    for stage in stages:
        for _ in range(stage.epochs):
            interrupts.check()
            optimizer.param_groups[0]["lr"] = schedule.at(epoch)
            for chosen in torch.split(torch.randperm(len(stage.data), generator=generator), schedule.batch_size):
                x, targets = stage.data.batch(chosen.numpy())
                x = augmented(x, generator) if augment else x
                weights = None if stage.weights is None else stage.weights[chosen].to(device)
                outputs = heads(module(x.to(device)))
                used = list(zip(outputs, targets, strict=True))[: stage.heads]
                loss = torch.stack([_mean(head, target.to(device), weights) for head, target in used]).sum()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            epoch += 1


def _mean(output: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    each = F.cross_entropy(output, target, reduction="none")
    return (each if weights is None else weights * each).mean()


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random resized crops of 70 to 100 % of the area, sides 3:4 to 4:3, and flips, each sample its own."""
    n, _, height, width = x.shape
    area = torch.empty(n).uniform_(0.7, 1.0, generator=generator)
    ratio = torch.exp(torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator))
    shares = [(area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)]  # of width and height
    flips = 1 - 2 * (torch.rand(n, generator=generator) < 0.5).float()
    affine = torch.zeros(n, 2, 3)
    for axis, share in enumerate(shares):
        affine[:, axis, axis] = share * (flips if axis == 0 else 1.0)
        affine[:, axis, 2] = (1 - share) * (2 * torch.rand(n, generator=generator) - 1)
    places = F.affine_grid(affine, [n, 3, height, width], align_corners=False)
    return F.grid_sample(x, places, mode="bilinear", padding_mode="border", align_corners=False)


def keep_memory() -> bool:
    """Let this process keep what it frees; whether the C library can.

    What a layer says of 1000 images takes 50 MB.  glibc hands blocks of that size back to the system at once and gets
    zeroed pages for the next batch, which takes twice as long as the convolutions themselves.  No result changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Parameters of mallopt(3)."""


def outputs_on(module: nn.Module, data: Painted, device: str = "cpu", batch_size: int = 1000) -> tuple[Tensor, ...]:
    """What every head says about every member of a set, in evaluation mode; the module's mode is put back."""
    was = module.training
    module.eval()
    parts = []
    with torch.no_grad():
        for chosen in torch.split(torch.arange(len(data)), batch_size):
            x, _ = data.batch(chosen.numpy())
            parts.append([head.double().cpu() for head in heads(module(x.to(device)))])
    module.train(was)
    return tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Whether the largest output is the target's; what is not finite is wrong."""
    return (outputs.argmax(1) == targets) & torch.isfinite(outputs).all(1)
