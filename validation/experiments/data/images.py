"""What a loader returns: pixels and classes of two splits, checked once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.errors import FileFormatError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Labels = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Images:
    """Two splits of one set.

    train, test: (n, h, w) gray or (n, h, w, 3) colour, uint8.  train_labels, test_labels: (n,) int64 below `classes`;
    every class occurs in both splits.  checked: what the copy was compared with, for people.
    """

    name: str
    train: Pixels
    train_labels: Labels
    test: Pixels
    test_labels: Labels
    classes: int
    checked: str

    def __post_init__(self) -> None:
        for split, pixels, labels in (
            ("train", self.train, self.train_labels),
            ("test", self.test, self.test_labels),
        ):
            if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[3:] not in ((), (3,)):
                raise FileFormatError(
                    f"{self.name}: expected {split} pixels as bytes, got {pixels.dtype} {pixels.shape}"
                )
            if labels.shape != (len(pixels),):
                raise FileFormatError(f"{self.name}: {len(pixels)} {split} images but {len(labels)} labels")
            wrong = labels[(labels < 0) | (labels >= self.classes)]
            if len(wrong):
                raise FileFormatError(f"{self.name}: expected {split} labels below {self.classes}, got {int(wrong[0])}")
            missing = np.flatnonzero(np.bincount(labels, minlength=self.classes) == 0)
            if len(missing):
                raise FileFormatError(f"{self.name}: no {split} image has class {int(missing[0])}")
        if self.train.shape[1:] != self.test.shape[1:]:
            raise FileFormatError(
                f"{self.name}: train images are {self.train.shape[1:]}, test images {self.test.shape[1:]}"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the decoded contents: the same for every layout that holds the same images."""
        found = hashlib.sha256()
        for array in (self.train, self.train_labels, self.test, self.test_labels):
            found.update(f"{array.dtype.str}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def read_bytes(path: Path, source: str) -> bytes:
    """The file's bytes; FileFormatError, with where to get a copy, if it is not there or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; {source}") from None
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror}); {source}") from None


def require_sum(path: Path, content: bytes, algorithm: str, expected: str | None, source: str) -> None:
    """FileFormatError unless `content` has this check sum (None: not known, nothing is compared)."""
    if expected is None:
        return
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise FileFormatError(
            f"{path}: the {algorithm} sum of its contents is {found}, that of the published file {expected}; {source}"
        )
