"""Masks of a problem: which coordinates may move, and which rows read >=."""

from __future__ import annotations

from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array


def free_mask(free: Any, d: int, regularizer: Any) -> Array:
    """The coordinates that may move, (d,) bool, read-only, from a mask, indices, or None for all that R allows."""
    movable = regularizer.movable or slice(0, d)
    allowed = np.zeros(d, dtype=bool)
    allowed[movable] = True
    if free is None:
        mask = allowed
    else:
        mask = _mask_from(free, d)
        if (mask & ~allowed).any():
            outside = int(np.flatnonzero(mask & ~allowed)[0])
            raise ProblemError(
                f"free: {type(regularizer).__name__} is stated for moves of the coordinates {movable.start} to "
                f"{movable.stop - 1} only, but coordinate {outside} is free as well"
            )
    mask.setflags(write=False)
    return mask


def row_mask(at_least: Any, k: int) -> Array:
    """The rows that read >=, (k,) bool, read-only."""
    mask = np.zeros(k, dtype=bool) if at_least is None else _booleans(at_least)
    if mask.dtype != bool or mask.shape != (k,):
        raise ProblemError(
            f"at_least: expected a boolean mask of {k} entries, one per row of the jacobian, got {mask.dtype} of shape "
            f"{mask.shape}"
        )
    mask = mask.copy()
    mask.setflags(write=False)
    return mask


def output_mask(at_least: Any, k: int, n: int | None) -> Array | None:
    """A mask of outputs, or of samples, as one of the k rows.

    n: the number of samples, or None where it is not known (inputs that a torch module takes apart itself): then every
    output has its own entry.
    """
    if at_least is None:
        return None
    mask = _booleans(at_least)
    of_samples = n is not None and mask.shape == (n,)
    of_outputs = mask.size == k and mask.ndim <= 2 and (n is None or mask.shape[:1] == (n,))
    if mask.dtype != bool or not (of_samples or of_outputs):
        expected = f"{k} entries, one per output" if n is None else f"shape ({n},) or ({n}, {k // max(n, 1)})"
        raise ProblemError(
            f"at_least: expected a boolean mask of {expected} of the retained samples, got {mask.dtype} of shape "
            f"{mask.shape}"
        )
    return mask.reshape(-1) if of_outputs else np.repeat(mask, k // max(mask.size, 1))


def _mask_from(free: Any, d: int) -> Array:
    if isinstance(free, slice):
        free = np.arange(d)[free]
    try:
        array = np.asarray(free)
    except ValueError:
        raise ProblemError(f"free: expected a mask, indices or block names, got {free!r:.80}") from None
    if array.size == 0:
        return np.zeros(d, dtype=bool)
    if array.ndim != 1:
        raise ProblemError(f"free: expected a mask or indices in one dimension, got shape {array.shape}")
    if array.dtype == bool:
        if array.size != d:
            raise ProblemError(f"free: expected a mask of {d} entries, got {array.size}")
        return array.copy()
    if array.dtype.kind not in "iu":
        raise ProblemError(f"free: expected a boolean mask, integer indices or block names, got {free!r:.80}")
    if array.min() < 0 or array.max() >= d or np.unique(array).size != array.size:
        raise ProblemError(f"free: expected distinct indices from 0 to {d - 1}, got {array.tolist()!r:.80}")
    mask = np.zeros(d, dtype=bool)
    mask[array] = True
    return mask


def _booleans(values: Any) -> Array:
    """`values` as an array; of no entries as booleans, for an empty list has no type of its own."""
    if isinstance(values, np.ma.MaskedArray):
        raise ProblemError("at_least: expected every entry, got a masked array")
    try:
        mask = np.asarray(values)
    except ValueError:
        raise ProblemError(f"at_least: expected a boolean mask, got {values!r:.80}") from None
    return mask if mask.size else mask.astype(bool)
