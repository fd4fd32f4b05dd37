"""Sets of painted images: gray values once, and for every member of a set which image, which colour, which targets.

Both experiments paint the same gray images over and over; a set holds indices, and pictures are made batch by batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.sweep import Cell, Result

from .data import Images, coloured, gray
from .data.images import Labels, Pixels

NORMAL = {
    "tiny-imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and deviation per channel of values in [0, 1], after painting; (.5, .5) for all other sets."""

HALF = ((0.5,) * 3, (0.5,) * 3)


@dataclass(frozen=True)
class Grays:
    """Gray values (n, h, w) and classes of one split."""

    values: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Painted:
    """Images of a split in colours.  index, colours: (m,); targets: per head (m,); palette: (colours, 3)."""

    grays: Grays
    index: Labels
    colours: Labels
    targets: tuple[Labels, ...]
    palette: Any
    normal: tuple[tuple[float, ...], tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, chosen: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Normalised pictures (k, 3, h, w) float32 and targets of the members `chosen`."""
        pixels = coloured(self.grays.values[self.index[chosen]], self.colours[chosen], self.palette)
        mean, deviation = (torch.tensor(part).reshape(1, 3, 1, 1) for part in self.normal)
        x = (torch.from_numpy(pixels).float() / 255 - mean) / deviation
        return x, tuple(torch.from_numpy(target[chosen]) for target in self.targets)

    def all(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Every member."""
        return self.batch(slice(None))

    def take(self, chosen: Any) -> Painted:
        """The members `chosen` as a set of their own."""
        targets = tuple(target[chosen] for target in self.targets)
        return Painted(self.grays, self.index[chosen], self.colours[chosen], targets, self.palette, self.normal)

    def joined(self, other: Painted) -> Painted:
        """Both, of the same images."""
        pairs = zip(self.targets, other.targets, strict=True)
        targets = tuple(np.concatenate(pair) for pair in pairs)
        index, colours = np.concatenate([self.index, other.index]), np.concatenate([self.colours, other.colours])
        return Painted(self.grays, index, colours, targets, self.palette, self.normal)


def draws(experiment: str, purpose: str, seed: int) -> torch.Generator:
    """An independent random stream per experiment, purpose and seed."""
    digest = hashlib.sha256(f"{experiment}/{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def sample(size: int, count: int, generator: torch.Generator) -> Labels:
    """`count` different numbers below `size`."""
    found: Labels = torch.randperm(size, generator=generator)[:count].numpy()
    return found


def floor_share(share: float, size: int) -> int:
    """floor(share * size) of the decimal that is written: .29 of 100 is 29."""
    return int(np.floor(round(share * size, 9)))


# --- from a copy to a cell ------------------------------------------------------------------------------------------


def data_cell(images: Images, n_train: int | None, n_test: int | None) -> Cell:
    """The cell that holds the gray values of a set, so that workers need no copy of their own.

    Where the images lie is no part of what is computed; their contents are.
    """
    splits = {"train": (images.train, images.train_labels, n_train), "test": (images.test, images.test_labels, n_test)}
    parameters = {"data": images.name, "digest": images.digest, "n_train": n_train, "n_test": n_test}

    def unpack(_: Mapping[str, Any], __: Mapping[str, Result]) -> Result:
        found: dict[str, Any] = {"classes": images.classes, "name": images.name}
        for split, (pixels, labels, count) in splits.items():
            chosen = first_of_each_class(labels, images.classes, count)
            found[split] = {"values": gray(pixels[chosen]), "labels": labels[chosen]}
        return found

    return Cell("images/data", unpack, parameters)


def stored(cell: Cell) -> Cell:
    """The same cell for other processes, which read its file and could not compute it."""
    return Cell(cell.name, _not_here, cell.parameters)


def _not_here(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    raise ProblemError(f"the images of {parameters['data']} are not in the folder; run the experiment again")


def first_of_each_class(labels: Labels, classes: int, count: int | None) -> Labels:
    """Positions of the first images of every class, as equally many as make `count`, in their order; None: all."""
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    each, extra = divmod(count, classes)
    parts = [np.flatnonzero(labels == label)[: each + (label < extra)] for label in range(classes)]
    found: Labels = np.sort(np.concatenate(parts))
    return found


def grays(result: Result, split: str) -> Grays:
    """One split of a data cell."""
    part = result[split]
    return Grays(np.array(part["values"]), np.array(part["labels"]))


def normal_of(result: Result) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How pictures of this set are normalised."""
    return NORMAL.get(str(result["name"]), HALF)


def targets_of(*targets: Sequence[int] | Labels) -> tuple[Labels, ...]:
    """Labels per head as int64."""
    return tuple(np.asarray(target, dtype=np.int64) for target in targets)
