"""IDX folders: MNIST, Fashion-MNIST and whatever else comes in their four files, gzipped or not.

An IDX file is four bytes (0, 0, type, number of dimensions), one big-endian 32-bit size per dimension, then the
entries; type 8 is uint8.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.errors import FileFormatError

from .images import Images, Pixels, read_bytes, require_sum

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

FASHION_MNIST = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the uncompressed files: distributions compress them anew, so sums of the .gz files differ."""


def read(folder: Path, name: str, sums: Mapping[str, str] | None, source: str) -> Images:
    """All four files; sums: SHA-256 of the uncompressed contents, None where nothing is known to compare with."""
    splits: list[Any] = []
    for images, labels in FILES.values():
        pixels = _array(folder, images, 3, sums, source)
        classes = _array(folder, labels, 1, sums, source).astype(np.int64)
        splits += [pixels, classes]
    n_classes = int(max(splits[1].max(initial=0), splits[3].max(initial=0))) + 1
    checked = "SHA-256 of the four files' contents" if sums else "form and sizes (no check sum is known)"
    return Images(name, splits[0], splits[1], splits[2], splits[3], n_classes, checked)


def _array(folder: Path, name: str, dimensions: int, sums: Mapping[str, str] | None, source: str) -> Pixels:
    path = next((found for found in _places(folder, name) if found.exists()), folder / name)
    content = read_bytes(path, source)
    if path.suffix == ".gz" or content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise FileFormatError(f"{path}: damaged or cut short ({error}); {source}") from None
    array = parse(path, content, dimensions, source)
    require_sum(path, content, "sha256", sums[name] if sums else None, source)
    return array


def _places(folder: Path, name: str) -> list[Path]:
    dotted = name.replace("-idx", ".idx")  # as some programs unpack it
    return [folder / name, folder / f"{name}.gz", folder / dotted, folder / f"{dotted}.gz"]


def parse(path: Path, content: bytes, dimensions: int, source: str) -> Pixels:
    """The array of an IDX file of bytes with this number of dimensions."""
    magic, head = bytes((0, 0, 8, dimensions)), 4 + 4 * dimensions
    if content[:4] != magic:
        raise FileFormatError(f"{path}: expected to begin with {magic.hex()}, got {content[:4].hex()}; {source}")
    if len(content) < head:
        raise FileFormatError(f"{path}: cut short within its sizes; {source}")
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    size = 1
    for extent in shape:
        size *= extent
    if len(content) - head != size:
        raise FileFormatError(f"{path}: its sizes {shape} need {size} bytes, it has {len(content) - head}; {source}")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
