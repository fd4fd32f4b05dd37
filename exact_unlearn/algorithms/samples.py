"""Samples, batches and draws: what an unlearning run reads, in an order that its generator alone decides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, default_collate

from exact_unlearn.errors import ProblemError


@dataclass(frozen=True)
class Batch:
    """Inputs (n, ...) and one target tensor per head of the model."""

    x: Tensor
    targets: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: Tensor) -> Batch:
        """The samples at `indices`."""
        return Batch(self.x[indices], tuple(target[indices] for target in self.targets))


class Samples:
    """A set of samples: (x, y) tensors, y one tensor or one per head, or any torch Dataset that yields (x, y).

    A Dataset is read sample by sample as batches ask for it, so it need not fit into memory.
    """

    def __init__(self, source: Any, name: str) -> None:
        self._batch: Batch | None = None
        self._dataset: Dataset[Any] | None = None
        if isinstance(source, Dataset):
            self._dataset = source
            self._size = len(cast(Any, source))
            return
        try:
            x, y = source
        except (TypeError, ValueError):
            raise ProblemError(f"{name}: expected (x, y) or a torch Dataset, got {type(source).__name__}") from None
        self._batch = _batch(x, y)
        self._size = len(self._batch)
        for target in self._batch.targets:
            if len(target) != self._size:
                raise ProblemError(f"{name}: {self._size} inputs but {len(target)} targets")

    def __len__(self) -> int:
        return self._size

    def take(self, indices: Tensor) -> Batch:
        """The samples at `indices` (a vector of int64 on the CPU)."""
        if self._batch is not None:
            return self._batch.take(indices.to(self._batch.x.device))
        dataset = cast(Any, self._dataset)
        x, y = default_collate([dataset[index] for index in indices.tolist()])
        return _batch(x, y)

    def subset(self, indices: Tensor) -> Samples:
        """The samples at `indices` as a set of their own."""
        if self._batch is not None:
            batch = self.take(indices)
            return Samples((batch.x, batch.targets), "samples")
        return Samples(Subset(cast(Any, self._dataset), indices.tolist()), "samples")

    def all(self) -> Batch:
        """Every sample, in order."""
        return self._batch if self._batch is not None else self.take(torch.arange(self._size))


def _batch(x: Any, y: Any) -> Batch:
    targets = tuple(y) if isinstance(y, list | tuple) else (y,)
    return Batch(torch.as_tensor(x), tuple(torch.as_tensor(target) for target in targets))


def pairs(
    retain: Samples, forget: Samples, batch_size: int | None, epochs: int, generator: torch.Generator
) -> Iterator[Iterator[tuple[Batch, Batch]]]:
    """For every epoch, its pairs (retain batch, forget batch).

    One epoch is one pass over the forget batches in a random order, each paired with a retain batch of equal size;
    the retain batches cycle through the retain set, reshuffled whenever it is used up, and go on from epoch to
    epoch.  With batch_size None an epoch is one pair of all samples.
    """
    if batch_size is None:
        everything = retain.all(), forget.all()
        for _ in range(epochs):
            yield iter((everything,))
        return
    if batch_size < 1:
        raise ProblemError(f"batch_size: expected a positive integer or None, got {batch_size!r}")
    if not len(forget):
        raise ProblemError("forget: an epoch is a pass over the forget batches, and there are none")
    cycle = _Cycle(len(retain), generator)
    for _ in range(epochs):
        order = torch.randperm(len(forget), generator=generator)
        yield ((retain.take(cycle.next(len(some))), forget.take(some)) for some in torch.split(order, batch_size))


class _Cycle:
    """Endless shuffled passes over range(size)."""

    def __init__(self, size: int, generator: torch.Generator) -> None:
        self._size, self._generator = size, generator
        self._rest = torch.empty(0, dtype=torch.int64)

    def next(self, count: int) -> Tensor:
        """The next `count` indices; at most `size`, so that no batch repeats a sample more often than the passes
        do."""
        count = min(count, self._size)
        while len(self._rest) < count:
            self._rest = torch.cat([self._rest, torch.randperm(self._size, generator=self._generator)])
        chosen, self._rest = self._rest[:count], self._rest[count:]
        return chosen


def accessible(samples: Samples, share: float, generator: torch.Generator) -> Samples:
    """floor(share * n) samples, drawn without replacement; the products of decimals such as .29 * 100 are meant."""
    count = math.floor(round(share * len(samples), 9))
    if len(samples) and not count:
        raise ProblemError(f"retain_share: {share} of {len(samples)} samples are none")
    return samples.subset(torch.randperm(len(samples), generator=generator)[:count])


def subset(batch: Batch, count: int, balanced: bool, generator: torch.Generator) -> Batch:
    """At most `count` samples of the batch, without replacement; class-balanced in the first head if asked."""
    if count >= len(batch):
        return batch
    if balanced:
        return batch.take(balanced_indices(batch.targets[0], count, generator))
    return batch.take(torch.randperm(len(batch), generator=generator)[:count])


def balanced_indices(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices whose classes are as equally frequent as the supply allows: never fewer, never none.

    Classes take turns in a random order, each giving a random sample of its own that is left: with more classes
    than `count`, `count` random classes give one each.
    """
    if count < 1:
        raise ProblemError(f"number of samples: expected a positive integer, got {count!r}")
    labels = labels.reshape(len(labels), -1)[:, 0].cpu()
    queues: list[Sequence[int]] = []
    for label in sorted(set(labels.tolist())):
        members = torch.nonzero(labels == label).squeeze(1)
        queues.append(members[torch.randperm(len(members), generator=generator)].tolist())
    turns = [queues[place] for place in torch.randperm(len(queues), generator=generator).tolist()]
    rounds = range(max(len(queue) for queue in turns))
    dealt = [queue[turn] for turn in rounds for queue in turns if turn < len(queue)]
    return torch.tensor(dealt[:count])
