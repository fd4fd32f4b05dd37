"""Loaders of image sets: miniature copies of every layout decode bit for bit; every damage is one sentence."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exact_unlearn.errors import ExactUnlearnError, FileFormatError, ProblemError
from validation.experiments.data import (
    CLASS_COLOURS,
    GREEN,
    RED,
    cifar,
    coloured,
    gray,
    load,
    opcodes,
)
from validation.experiments.data.colours import ERASURE_COLOURS
from validation.experiments.data.images import Images

PER_FILE = 20
MINIATURE = cifar.Layout(per_file=PER_FILE, train_files=2, sums={})


def a_set(seed: int = 0) -> Images:
    """Random pictures in the form of CIFAR, every class twice per file."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (3 * PER_FILE, 32, 32, 3), dtype=np.uint8)
    labels = np.concatenate([rng.permutation(np.arange(PER_FILE) % 10) for _ in range(3)])
    return Images("cifar10", pixels[:40], labels[:40], pixels[40:], labels[40:], 10, "")


def parts(images: Images) -> list[tuple[str, Any, Any]]:
    pixels, labels = (
        np.concatenate([images.train, images.test]),
        np.concatenate([images.train_labels, images.test_labels]),
    )
    names = MINIATURE.files()
    return [(name, pixels[i * 20 : i * 20 + 20], labels[i * 20 : i * 20 + 20]) for i, name in enumerate(names)]


def planes(pixels: Any) -> bytes:
    return bytes(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).tobytes())


def old_pickle(pixels: Any, labels: Any) -> bytes:
    """What Python 2 wrote: protocol 2, byte strings for text, the array by numpy.core.multiarray._reconstruct."""
    data = planes(pixels)

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85" + short(b"b") + b"\x87R"
    shape = b"(K\x01M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86"
    kind = (
        b"cnumpy\ndtype\n"
        + short(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    state = shape + kind + b"\x89T" + struct.pack("<I", len(data)) + data + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    head = b"\x80\x02}q\x01(" + short(b"batch_label") + b"q\x02" + short(b"batch 1") + b"q\x03"
    return head + short(b"labels") + numbers + short(b"data") + array + state + b"u."


def write_python(folder: Path, images: Images) -> None:
    folder.mkdir()
    for name, pixels, labels in parts(images):
        (folder / name).write_bytes(old_pickle(pixels, labels))


def write_binary(folder: Path, images: Images) -> None:
    folder.mkdir()
    for name, pixels, labels in parts(images):
        data = planes(pixels)
        records = [bytes([label]) + data[i * 3072 : i * 3072 + 3072] for i, label in enumerate(labels)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))


def same(a: Images, b: Images) -> bool:
    return a.digest == b.digest and np.array_equal(a.train, b.train) and np.array_equal(a.test_labels, b.test_labels)


# --- CIFAR-10 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_python, write_binary])
@pytest.mark.parametrize("outer", [False, True], ids=["its folder", "the folder above"])
def test_cifar_decodes_bit_for_bit(write: Callable[[Path, Images], None], outer: bool, tmp_path: Path) -> None:
    images = a_set()
    inner = "cifar-10-batches-py" if write is write_python else "cifar-10-batches-bin"
    write(tmp_path / inner, images)
    found = cifar.read(tmp_path if outer else tmp_path / inner, MINIATURE)
    assert same(found, images)
    # The first pixel of the first record, from the bytes themselves: planes R, G, B.
    first = planes(images.train[:1])
    assert found.train[0, 0, 0].tolist() == [first[0], first[1024], first[2048]]


def test_pickles_are_read_as_python_reads_them(tmp_path: Path) -> None:
    """Both ways: the old form that we write is what pickle understands, and what pickle writes is what we read."""
    images = a_set(1)
    (tmp_path / "old").write_bytes(old_pickle(images.train, images.train_labels))
    code = """
import pickle, sys, numpy as np
with open(sys.argv[1] + "/old", "rb") as file:
    batch = pickle.load(file, encoding="bytes")
np.save(sys.argv[1] + "/data.npy", batch[b"data"])
np.save(sys.argv[1] + "/labels.npy", np.array(batch[b"labels"]))
for protocol in (1, 2, 3, 4, 5):
    for name, found in (("bytes", batch), ("text", {"data": batch[b"data"], "labels": batch[b"labels"]})):
        with open(f"{sys.argv[1]}/{name}{protocol}", "wb") as file:
            pickle.dump(found, file, protocol)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], check=True)
    data, labels = np.load(tmp_path / "data.npy"), np.load(tmp_path / "labels.npy")
    assert data.tobytes() == planes(images.train)
    assert np.array_equal(labels, images.train_labels)
    written = sorted(path for path in tmp_path.iterdir() if path.suffix != ".npy")
    assert len(written) == 11
    for path in written:
        if path.name in ("bytes5", "text5"):  # arrays in buffers of their own: a form that no copy of CIFAR has
            with pytest.raises(FileFormatError, match="_frombuffer"):
                opcodes.read(path, path.read_bytes())
            continue
        batch = opcodes.read(path, path.read_bytes())
        assert np.array_equal(batch["data"], data), path
        assert batch["labels"] == labels.tolist(), path


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "would call os.system"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "calls what is no function"),
        (b"\x80\x02c_codecs\nencode\nU\x01aU\x03hex\x86R.", "calls what is no function"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "would call os.system"),
        (b"\x80\x02}U\x01ab.", "builds something else than an array"),
        (b"\x80\x02]K\x01\x81.", "the instruction NEWOBJ"),
        (b"\x80\x02K\x01K\x02.", "damaged or cut short"),
        (b"\x80\x02)(K\x01u.", "fills something"),
        (b"\x80\x02}(K\x01u.", "fills something"),
        (b"\x80\x02\x85.", "cut short"),
        (b"\x80\x02h\x07.", "damaged or cut short"),
        (b"\x80\x02", "cut short"),
        (b"", "cut short"),
        (b"\x80\x02]q\x01h\x01a.", "damaged or cut short"),  # a list that holds itself
        (b"S'\\y'\n.", "damaged or cut short"),
        (b"not a pickle", "damaged or cut short"),
    ],
)
def test_other_programs_are_refused(program: bytes, words: str) -> None:
    with pytest.raises(FileFormatError, match=words):
        opcodes.read(Path("batch"), program)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_pickle_is_a_sentence_or_other_data(seed: int) -> None:
    """Bytes overwritten anywhere never escape as another kind of error."""
    rng = np.random.default_rng(seed)
    whole = old_pickle(a_set().train[:2], [1, 2])
    ends = [place for place in range(len(whole)) if place < 400 or place > len(whole) - 20]
    refused = 0
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.choice(ends, 2):
            broken[place] = rng.integers(256)
        try:
            opcodes.read(Path("batch"), bytes(broken))
        except ExactUnlearnError:
            refused += 1
    assert refused > 30


def test_every_truncation_of_a_batch_is_a_sentence(tmp_path: Path) -> None:
    write_python(tmp_path / "py", a_set())
    path = tmp_path / "py" / "data_batch_2"
    whole = path.read_bytes()
    for cut in [*range(0, 400, 7), 5_000, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError, match="data_batch_2"):
            cifar.read(tmp_path / "py", MINIATURE)
    path.unlink()
    with pytest.raises(
        FileFormatError, match=r"data_batch_2: there is no such file; a copy of CIFAR-10 is the archive"
    ):
        cifar.read(tmp_path / "py", MINIATURE)


def test_batches_that_say_something_else(tmp_path: Path) -> None:
    images = a_set()
    write_python(tmp_path / "py", images)
    path = tmp_path / "py" / "data_batch_1"
    for content, words in (
        (b"\x80\x02].", "expected a dictionary with data and labels"),
        (old_pickle(images.train[:19], images.train_labels[:19]), r"expected data \(20, 3072\), got \(19, 3072\)"),
        (old_pickle(images.train[:20], images.train_labels[:19]), "40 train images|40 .* 39 labels"),
        (old_pickle(images.train[:20], [11, *images.train_labels[1:20]]), "expected train labels below 10, got 11"),
        (old_pickle(images.train[:20], [3] * 20), None),
    ):
        path.write_bytes(content)
        if words is not None:
            with pytest.raises(FileFormatError, match=words):
                cifar.read(tmp_path / "py", MINIATURE)
    # In both training files: now a class is missing altogether.
    (tmp_path / "py" / "data_batch_2").write_bytes(old_pickle(images.train[20:], [3] * 20))
    with pytest.raises(FileFormatError, match="no train image has class 0"):
        cifar.read(tmp_path / "py", MINIATURE)


def test_check_sums_of_batches(tmp_path: Path) -> None:
    write_python(tmp_path / "py", a_set())
    sums = {
        name: hashlib.md5((tmp_path / "py" / name).read_bytes(), usedforsecurity=False).hexdigest()
        for name in MINIATURE.files()
    }
    assert cifar.read(tmp_path / "py", replace(MINIATURE, sums=sums)).checked == "MD5 of the six files"
    with pytest.raises(
        FileFormatError, match=r"test_batch: the md5 sum of its contents is \w{32}, that of the published"
    ):
        cifar.read(tmp_path / "py", replace(MINIATURE, sums=sums | {"test_batch": "0" * 32}))
    with pytest.raises(FileFormatError, match="data_batch_1: the md5 sum"):  # the real ones
        load("cifar10", tmp_path / "py")


def test_binary_files_of_another_length(tmp_path: Path) -> None:
    write_binary(tmp_path / "bin", a_set())
    path = tmp_path / "bin" / "test_batch.bin"
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=f"test_batch.bin: expected 61460 bytes, got {len(content)}"):
            cifar.read(tmp_path / "bin", MINIATURE)


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def test_parquet_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow is not needed for anything else, so it is stood in for: what it hands over are columns of rows."""
    images = a_set()
    for split in ("train", "test"):
        (tmp_path / f"{split}-00000-of-00001.parquet").write_bytes(b"")
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ProblemError, match="parquet files need pyarrow"):
            cifar.read(tmp_path, MINIATURE)
    columns: dict[str, Any] = {}
    for split, pixels, labels in (
        ("train", images.train, images.train_labels),
        ("test", images.test, images.test_labels),
    ):
        columns[split] = {"img": [{"bytes": png(one), "path": None} for one in pixels], "label": labels.tolist()}
    fake, inner = types.ModuleType("pyarrow"), types.ModuleType("pyarrow.parquet")

    def read_table(path: Path) -> Any:
        found = columns[path.name.partition("-")[0]]
        if found is None:
            raise ValueError("magic bytes not found")
        return types.SimpleNamespace(to_pydict=lambda: found)

    inner.read_table = read_table  # type: ignore[attr-defined]
    fake.parquet = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyarrow", fake)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", inner)
    assert same(cifar.read(tmp_path, MINIATURE), images)
    good = columns["test"]
    for bad, words in (
        (None, "damaged or cut short"),
        ({"x": [1]}, "expected the columns img and label, got x"),
        ({"img": good["img"][1:], "label": good["label"][1:]}, "expected 20 rows in test-"),
        ({"img": [{"bytes": b"no"}, *good["img"][1:]], "label": good["label"]}, "row 0 holds no picture"),
        ({"img": [None, *good["img"][1:]], "label": good["label"]}, "row 0 holds no picture"),
        ({"img": [{"bytes": png(np.zeros((8, 9, 3), np.uint8))}], "label": [0]}, "pictures of 32 x 32, got 9 x 8"),
    ):
        columns["test"] = bad
        with pytest.raises(FileFormatError, match=words):
            cifar.read(tmp_path, MINIATURE)


# --- colours --------------------------------------------------------------------------------------------------------


def test_gray_is_pillows_gray_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in pixels])
    assert np.array_equal(gray(pixels), expected)
    assert np.array_equal(gray(expected), expected)


def test_painting_is_rounding_in_exact_integers() -> None:
    """Every gray value in every colour, against fractions: round(L c / 255), which never has to break a tie."""
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for number, colour in enumerate(CLASS_COLOURS):
        found = coloured(values, np.array([number]), CLASS_COLOURS)
        for channel in range(3):
            products = [int(v) * int(colour[channel]) for v in range(256)]
            assert all(2 * p % 510 != 255 for p in products)
            expected = [(p // 255) + (2 * (p % 255) > 255) for p in products]
            assert found[0, channel].reshape(-1).tolist() == expected
    # 128 differs between rounding and truncation, and is what the released palette has for gray and orange.
    assert (coloured(values, np.array([8]), CLASS_COLOURS)[0, 0] != (values[0].astype(int) * 128) // 255).any()


def test_erasure_colours_leave_one_channel() -> None:
    values = np.random.default_rng(1).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    found = coloured(values, np.array([0, RED, GREEN]), ERASURE_COLOURS)
    assert np.array_equal(found[0], np.stack([values[0]] * 3))
    assert np.array_equal(found[1], np.stack([values[1], 0 * values[1], 0 * values[1]]))
    assert np.array_equal(found[2], np.stack([0 * values[2], values[2], 0 * values[2]]))
    for wrong in (np.array([0, 1]), np.array([0, 1, 3]), np.array([0, -1, 1])):
        with pytest.raises(ProblemError, match="colours: expected 3 numbers below 3"):
            coloured(values, wrong, ERASURE_COLOURS)
    assert coloured(values[:0], np.zeros(0, np.int64), ERASURE_COLOURS).shape == (0, 3, 4, 5)
