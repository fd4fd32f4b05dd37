"""Tiny ImageNet as its archive unpacks; nothing on disk is moved or changed.

train/<wnid>/images/<wnid>_<k>.JPEG; val/images/val_<k>.JPEG with val/val_annotations.txt (file, wnid, four numbers of
a box, separated by tabs); wnids.txt.  The class of an image is the rank of its wnid in sorted order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exact_unlearn.errors import FileFormatError, ProblemError

from .images import Images, Labels, Pixels, read_bytes

NAME, SIDE = "tiny-imagenet", 64
SOURCE = "a copy of Tiny ImageNet is the archive tiny-imagenet-200.zip of Stanford's course CS231n, unpacked"


@dataclass(frozen=True)
class Layout:
    """What a complete copy holds: classes, training images per class, validation images, pixels a side."""

    classes: int = 200
    per_class: int = 500
    validation: int = 10_000
    side: int = SIDE


PUBLISHED = Layout()


def read(folder: Path, layout: Layout = PUBLISHED) -> Images:
    """The folder tiny-imagenet-200, or the one that holds it; its validation images are the test split."""
    root = next((place for place in (folder, folder / "tiny-imagenet-200") if (place / "wnids.txt").exists()), None)
    if root is None:
        raise ProblemError(f"{folder}: holds no wnids.txt; {SOURCE}")
    names = sorted(_text(root / "wnids.txt").split())
    if len(names) != layout.classes or len(set(names)) != len(names):
        raise FileFormatError(f"{root / 'wnids.txt'}: expected {layout.classes} different names, got {len(names)}")
    rank = {name: place for place, name in enumerate(names)}
    train, labels = _train(root, rank, layout)
    test, test_labels = _validation(root, rank, layout)
    checked = "form and counts (no check sum of the contents is known)"
    return Images(NAME, train, labels, test, test_labels, layout.classes, checked)


def _train(root: Path, rank: dict[str, int], layout: Layout) -> tuple[Pixels, Labels]:
    pictures = []
    for name in rank:
        home = root / "train" / name / "images"
        files = sorted(home.glob("*.JPEG"), key=lambda path: (len(path.name), path.name))
        if len(files) != layout.per_class:
            raise FileFormatError(f"{home}: expected {layout.per_class} images *.JPEG, got {len(files)}; {SOURCE}")
        pictures += [_picture(path, layout.side) for path in files]
    return np.stack(pictures), np.repeat(np.arange(len(rank)), layout.per_class)


def _validation(root: Path, rank: dict[str, int], layout: Layout) -> tuple[Pixels, Labels]:
    listing = root / "val" / "val_annotations.txt"
    lines = _text(listing).splitlines()
    if len(lines) != layout.validation:
        raise FileFormatError(f"{listing}: expected {layout.validation} lines, got {len(lines)}; {SOURCE}")
    pictures, labels = [], []
    for number, line in enumerate(lines, start=1):
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if name not in rank or Path(file).name != file:
            raise FileFormatError(f"{listing}: line {number} is no file with a class of wnids.txt; {SOURCE}")
        pictures.append(_picture(root / "val" / "images" / file, layout.side))
        labels.append(rank[name])
    return np.stack(pictures), np.array(labels, dtype=np.int64)


def _text(path: Path) -> str:
    return read_bytes(path, SOURCE).decode("utf-8", errors="replace")


def _picture(path: Path, side: int) -> Pixels:
    """(side, side, 3); a gray JPEG has three equal channels."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        pixels = np.asarray(Image.open(io.BytesIO(read_bytes(path, SOURCE))).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise FileFormatError(f"{path}: no JPEG, or cut short ({error}); {SOURCE}") from None
    if pixels.shape != (side, side, 3):
        raise FileFormatError(f"{path}: expected {side} x {side} pixels, got {pixels.shape[1]} x {pixels.shape[0]}")
    return pixels
