"""The image sets of the experiments: read from copies that are there already, checked, decoded; nothing is downloaded.

    from validation.experiments.data import load
    images = load("fashion-mnist")                      # where Debian's package puts it
    images = load("cifar10", "cifar-10-batches-py")     # the path of a copy

Files are read by what their formats say: pickles without unpickling (opcodes.py), IDX and CIFAR's records as bytes,
JPEG and PNG by Pillow.  Whatever is missing, cut short or altered is one sentence.
"""

from __future__ import annotations

from .colours import CLASS_COLOURS, GRAY, GREEN, RED, coloured, gray
from .copies import DATA, load
from .images import Images

__all__ = ["CLASS_COLOURS", "DATA", "GRAY", "GREEN", "RED", "Images", "coloured", "gray", "load"]
