"""Groups of coordinates: a partition of range(m), kept as one label per coordinate."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, dimensions
from exact_unlearn.vectors import is_exact, root


@dataclass(frozen=True, eq=False)
class Partition:
    """G groups that cover every coordinate once.

    labels: (d,) int64, group of each coordinate, every label of 0..G-1 in use.
    """

    labels: Array
    order: Array = field(init=False)
    """(d,) coordinates sorted by group."""
    starts: Array = field(init=False)
    """(G,) where each group starts in `order`."""

    def __post_init__(self) -> None:
        counts = np.bincount(self.labels)
        self.labels.setflags(write=False)
        object.__setattr__(self, "order", np.argsort(self.labels, kind="stable"))
        object.__setattr__(self, "starts", np.concatenate([[0], np.cumsum(counts)[:-1]]))

    @property
    def n_parameters(self) -> int:
        return int(self.labels.size)

    @property
    def n_groups(self) -> int:
        return int(self.starts.size)

    @property
    def sizes(self) -> Array:
        """(G,) number of coordinates of each group."""
        sizes: Array = np.diff(self.starts, append=self.labels.size)
        return sizes

    def norms(self, x: Array) -> Array:
        """(G,) Euclidean norm of each group, in floats, scaled group by group against overflow."""
        self.require(x)
        if is_exact(x):
            return np.array([root(square) for square in self.squares(x)], dtype=np.float64)
        sorted_x = x[self.order]
        size = np.maximum.reduceat(np.abs(sorted_x), self.starts)
        usable = (size > 0) & np.isfinite(size)
        scale = np.ldexp(1.0, np.frexp(np.where(usable, size, 1.0))[1] - 1)
        scaled = sorted_x / np.repeat(scale, self.sizes)
        with np.errstate(over="ignore"):
            norms: Array = scale * np.sqrt(np.add.reduceat(np.square(scaled), self.starts))
        return norms

    def squares(self, x: Array) -> list[Fraction]:
        """The exact sum of squares of each group of a vector of Fractions."""
        self.require(x)
        sums = [Fraction(0)] * self.n_groups
        for label, entry in zip(self.labels.tolist(), x, strict=True):
            sums[label] += entry * entry
        return sums

    def nonzero(self, x: Array) -> int:
        """How many groups have a non-zero coordinate."""
        self.require(x)
        return int(np.unique(self.labels[(x != 0).astype(bool)]).size)

    def require(self, x: Array) -> None:
        if x.shape != self.labels.shape:
            raise ProblemError(f"groups: they cover {self.n_parameters} coordinates, got a vector of shape {x.shape}")


def as_partition(groups: Any) -> Partition:
    """A Partition from labels or from index sets.

    groups: either a one-dimensional integer array of labels (entry i = group of coordinate i, labels 0..G-1
    all in use), or a sequence of index sequences that together hold each of 0..d-1 once.  Raises ProblemError
    on anything else: overlapping or empty groups, coordinates in no group, indices out of range,
    non-integers.
    """
    sized = groups.ndim > 0 if isinstance(groups, np.ndarray) else hasattr(groups, "__len__")
    if isinstance(groups, (str, bytes, dict, set)) or not sized or len(groups) == 0:
        raise ProblemError(f"groups: expected integer labels or index sequences, got {groups!r}")
    if all(dimensions(entry) == 0 and not isinstance(entry, (str, bytes)) for entry in groups):
        return Partition(_check_labels(_integers("groups (labels)", groups)))
    return Partition(_labels_of([_integers(f"groups[{g}]", group) for g, group in enumerate(groups)]))


def as_indices(groups: Any) -> tuple[Array, ...]:
    """Groups that may overlap, each as distinct coordinates >= 0. ProblemError on anything else, and on no groups."""
    if isinstance(groups, (str, bytes, dict, set)) or not hasattr(groups, "__len__") or len(groups) == 0:
        raise ProblemError(f"groups: expected index sequences, got {groups!r:.60}")
    found = []
    for g, group in enumerate(groups):
        if dimensions(group) == 0:
            raise ProblemError(f"groups[{g}]: expected a sequence of integers, got {group!r:.60}")
        indices = _integers(f"groups[{g}]", group)
        if indices.min() < 0 or np.unique(indices).size != indices.size:
            raise ProblemError(f"groups[{g}]: expected distinct coordinates >= 0, got {indices.tolist()!r:.60}")
        indices.setflags(write=False)
        found.append(indices)
    return tuple(found)


def _integers(name: str, values: Any) -> Array:
    """A one-dimensional int64 array. ProblemError on floats, booleans, text, nesting."""
    try:
        array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values)
    except (TypeError, ValueError):
        raise ProblemError(f"{name}: expected a sequence of integers, got {values!r}") from None
    if array.size == 0:
        raise ProblemError(f"{name}: expected at least one coordinate, got an empty group")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ProblemError(f"{name}: expected a sequence of integers, got dtype {array.dtype}, shape {array.shape}")
    return array.astype(np.int64)


def _check_labels(labels: Array) -> Array:
    if labels.min() < 0:
        raise ProblemError(f"groups: expected labels >= 0, got {labels.min()} at coordinate {labels.argmin()}")
    if labels.max() >= labels.size:
        raise ProblemError(
            f"groups: expected labels 0..G-1 without gaps, got {labels.max()} for {labels.size} coordinates"
        )
    empty = np.flatnonzero(np.bincount(labels) == 0)
    if empty.size:
        raise ProblemError(f"groups: expected labels 0..{labels.max()} all in use, but group {empty[0]} is empty")
    return labels


def _labels_of(groups: list[Array]) -> Array:
    indices = np.concatenate(groups)
    if indices.min() < 0:
        raise ProblemError(f"groups: expected coordinates >= 0, got {indices.min()}")
    distinct, counts = np.unique(indices, return_counts=True)
    if (counts > 1).any():
        raise ProblemError(
            f"groups: they must not overlap, but coordinate {distinct[counts > 1][0]} is in {counts.max()} places"
        )
    if distinct[-1] >= distinct.size:
        missing = int(np.flatnonzero(distinct != np.arange(distinct.size))[0])
        raise ProblemError(
            f"groups: they must cover all coordinates, but {missing} is in no group (largest index {distinct[-1]})"
        )
    labels = np.empty(distinct.size, dtype=np.int64)
    for g, group in enumerate(groups):
        labels[group] = g
    return labels
