"""Fixed features in exact integers: random filters, ReLU, sums over quarters of the picture, a constant.

Pixels are whole numbers below 256 and filters have entries -2 to 2, so every feature is a whole number that float64
holds exactly; a power of two scales all of them to about 1.  What moves on top of them is linear, so both readings of
exact unlearning are convex problems.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .data.images import Pixels
from .images_sets import Painted

Matrix = np.ndarray[Any, np.dtype[np.float64]]

PARTS = 4
"""Quarters of the picture: each filter gives a feature per quarter."""


def filters(count: int, side: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(count, 3, s, s) with entries -2 to 2; s = 5 for pictures of 16 pixels and more, 3 for smaller ones."""
    size = 5 if side >= 16 else 3
    return np.random.default_rng(seed).integers(-2, 3, (count, 3, size, size))


def whole_features(pixels: Pixels, bank: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(n, 4 count + 1) whole numbers from pictures (n, 3, h, w); the last one is the constant 1."""
    size = bank.shape[2]
    stride = 2 if size == 5 else 1
    views = np.lib.stride_tricks.sliding_window_view(pixels, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    n, _, height, width = views.shape[:4]
    flat = views.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, -1).astype(np.float64)
    # products of whole numbers far below 2^53 are exact in floats, in whatever order they are added
    found = np.maximum(flat @ bank.reshape(len(bank), -1).T.astype(np.float64), 0).reshape(n, height, width, -1)
    halves = [(slice(None, extent // 2), slice(extent // 2, None)) for extent in (height, width)]
    sums = [found[:, rows, columns].sum((1, 2)) for rows in halves[0] for columns in halves[1]]
    return np.concatenate([*sums, np.ones((n, 1))], axis=1).astype(np.int64)


def features(data: Painted, bank: np.ndarray[Any, np.dtype[np.int64]], scale: float) -> Matrix:
    """The features of a set times `scale`, a power of two; the constant stays 1."""
    from .data import coloured

    whole = whole_features(coloured(data.grays.values[data.index], data.colours, data.palette), bank)
    found: Matrix = whole.astype(np.float64) * scale
    found[:, -1] = 1.0
    return found


def scale_for(whole: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """The power of two that brings the largest feature to between 1/2 and 1."""
    return float(2.0 ** -int(whole[:, :-1].max(initial=1)).bit_length())
