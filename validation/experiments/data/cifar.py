"""CIFAR-10 in the layouts that it comes in: python (pickles), binary (records), parquet (pictures in tables)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.errors import FileFormatError, ProblemError

from . import opcodes
from .images import Images, Labels, Pixels, read_bytes, require_sum

NAME, CLASSES, SIDE = "cifar10", 10, 32
PIXELS = 3 * SIDE * SIDE

SOURCE = (
    "a copy of CIFAR-10 is the archive cifar-10-python.tar.gz or cifar-10-binary.tar.gz of the CIFAR-10 page of the "
    "University of Toronto, unpacked"
)


@dataclass(frozen=True)
class Layout:
    """What a complete copy holds: images per file, and MD5 sums of the python files."""

    per_file: int = 10_000
    train_files: int = 5
    sums: dict[str, str] = field(
        default_factory=lambda: {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        }
    )

    def files(self) -> list[str]:
        """The training batches in order, then the test batch."""
        return [f"data_batch_{number + 1}" for number in range(self.train_files)] + ["test_batch"]


PUBLISHED = Layout()


def read(folder: Path, layout: Layout = PUBLISHED) -> Images:
    """Whichever layout lies in `folder`, in its customary subfolder, or below it."""
    for inner in ("", "cifar-10-batches-py", "cifar-10-batches-bin", "plain_text", "data"):
        place = folder / inner
        if (place / "data_batch_1").exists() or (place / "test_batch").exists():
            return read_python(place, layout)
        if (place / "data_batch_1.bin").exists() or (place / "test_batch.bin").exists():
            return read_binary(place, layout)
        if place.is_dir() and any(place.glob("*.parquet")):
            return read_parquet(place, layout)
    raise ProblemError(f"{folder}: holds no data_batch_1, data_batch_1.bin or *.parquet; {SOURCE}")


def read_python(folder: Path, layout: Layout = PUBLISHED) -> Images:
    """Pickled dictionaries with data (n, 3072) uint8, planes R, G, B, and a list of labels."""
    parts = []
    for name in layout.files():
        path = folder / name
        content = read_bytes(path, SOURCE)
        require_sum(path, content, "md5", layout.sums.get(name), SOURCE)
        batch = opcodes.read(path, content)
        if not isinstance(batch, dict) or "data" not in batch or "labels" not in batch:
            raise FileFormatError(f"{path}: expected a dictionary with data and labels; {SOURCE}")
        data, labels = batch["data"], batch["labels"]
        if not isinstance(data, np.ndarray) or data.shape != (layout.per_file, PIXELS):
            shape = getattr(data, "shape", type(data).__name__)
            raise FileFormatError(f"{path}: expected data ({layout.per_file}, {PIXELS}), got {shape}; {SOURCE}")
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise FileFormatError(f"{path}: expected a list of whole numbers as labels; {SOURCE}")
        parts.append((_interleaved(data), np.array(labels, dtype=np.int64)))
    checked = "MD5 of the six files" if layout.sums else "form and sizes"
    return _images(parts, checked)


def read_binary(folder: Path, layout: Layout = PUBLISHED) -> Images:
    """Records of one byte of label and 3072 bytes of pixels, planes R, G, B."""
    parts = []
    for name in layout.files():
        path = folder / f"{name}.bin"
        content, size = read_bytes(path, SOURCE), layout.per_file * (PIXELS + 1)
        if len(content) != size:
            raise FileFormatError(f"{path}: expected {size} bytes, got {len(content)}; {SOURCE}")
        records = np.frombuffer(content, np.uint8).reshape(layout.per_file, PIXELS + 1)
        parts.append((_interleaved(records[:, 1:]), records[:, 0].astype(np.int64)))
    return _images(parts, "form and sizes (check sums are known for the python layout)")


def read_parquet(folder: Path, layout: Layout = PUBLISHED) -> Images:
    """Tables train-*.parquet and test-*.parquet with a picture (img or image, its bytes) and a label per row."""
    try:
        from pyarrow import parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ModuleNotFoundError:
        raise ProblemError(
            f"{folder}: parquet files need pyarrow (pip install pyarrow); without it, {SOURCE}"
        ) from None
    splits = []
    for split, count in (("train", layout.train_files * layout.per_file), ("test", layout.per_file)):
        paths = sorted(folder.glob(f"{split}-*.parquet"))
        if not paths:
            raise FileFormatError(f"{folder}: there is no {split}-*.parquet")
        rows = [row for path in paths for row in _rows(path, parquet)]
        if len(rows) != count:
            raise FileFormatError(f"{folder}: expected {count} rows in {split}-*.parquet, got {len(rows)}")
        splits.append((np.stack([pixels for pixels, _ in rows]), np.array([label for _, label in rows], np.int64)))
    return _images(splits, "form and sizes (check sums are known for the python layout)")


def _rows(path: Path, parquet: Any) -> list[tuple[Pixels, int]]:
    from PIL import Image, UnidentifiedImageError

    try:
        table = parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:  # what pyarrow raises on damaged files are ValueErrors
        raise FileFormatError(f"{path}: damaged or cut short ({error})") from None
    pictures = table.get("img", table.get("image"))
    labels = table.get("label", table.get("labels"))
    if pictures is None or labels is None:
        raise FileFormatError(f"{path}: expected the columns img and label, got {', '.join(table)}")
    found: list[tuple[Any, int]] = []
    for picture, label in zip(pictures, labels, strict=True):
        try:
            pixels = np.asarray(Image.open(io.BytesIO(picture["bytes"])).convert("RGB"))
        except (TypeError, KeyError, UnidentifiedImageError, OSError) as error:
            raise FileFormatError(f"{path}: row {len(found)} holds no picture ({error})") from None
        if pixels.shape != (SIDE, SIDE, 3):
            raise FileFormatError(f"{path}: expected pictures of 32 x 32, got {pixels.shape[1]} x {pixels.shape[0]}")
        found.append((pixels, int(label)))
    return found


def _interleaved(planes: Pixels) -> Pixels:
    """(n, 32, 32, 3) from (n, 3072)."""
    return np.ascontiguousarray(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _images(parts: Sequence[tuple[Pixels, Labels]], checked: str) -> Images:
    """The last part is the test split."""
    train, labels = (np.concatenate([part[index] for part in parts[:-1]]) for index in (0, 1))
    return Images(NAME, train, labels, *parts[-1], CLASSES, checked)
