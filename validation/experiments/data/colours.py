"""Colours in exact integers: what a gray value is, and how an image is painted.

gray value    L = (19595 R + 38470 G + 7471 B + 32768) >> 16, which is Pillow's convert("L") to the last bit
painted       round(L c / 255) per channel: c = 255 leaves L, c = 0 gives 0 (L c / 255 never ends in .5, so rounding
              needs no rule)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError

from .images import Labels, Pixels

GRAY, RED, GREEN = 0, 1, 2
"""Colour classes of Multi-Class Label Erasure."""

ERASURE_COLOURS = np.array([(255, 255, 255), (255, 0, 0), (0, 255, 0)], dtype=np.int64)
"""By colour class: gray, red, green."""

CLASS_COLOURS = np.array(
    [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 0),
        (255, 0, 255),
        (0, 255, 255),
        (255, 128, 0),
        (128, 0, 255),
        (128, 128, 128),
        (0, 128, 128),
    ],
    dtype=np.int64,
)
"""Representation Collapse, by class: red, green, blue, yellow, magenta, cyan, orange, purple, gray, teal.

The paper says that gray is no colour of a class; its released palette holds this darker gray for class 8.
"""


def gray(pixels: Pixels) -> Pixels:
    """Gray values (n, h, w) of gray (n, h, w) or colour (n, h, w, 3) pixels."""
    if pixels.ndim == 3:
        return pixels
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    out: Pixels = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)
    return out


def coloured(values: Pixels, colours: Labels, palette: np.ndarray[Any, np.dtype[np.int64]]) -> Pixels:
    """Images (n, 3, h, w) from gray values (n, h, w), image i painted in palette[colours[i]]."""
    if colours.shape != (len(values),) or (len(colours) and not 0 <= colours.min() <= colours.max() < len(palette)):
        raise ProblemError(f"colours: expected {len(values)} numbers below {len(palette)}, got {colours.shape}")
    # A table of 256 x 3 bytes per colour: painting is a look-up, whatever the number of images.
    table = ((2 * np.arange(256)[None, None, :] * palette[:, :, None] + 255) // 510).astype(np.uint8)
    out = np.empty((len(values), 3, *values.shape[1:]), dtype=np.uint8)
    for colour in np.unique(colours):
        chosen = colours == colour
        for channel in range(3):
            out[chosen, channel] = table[colour, channel][values[chosen]]
    return out
