"""Files without pickle: one nested object of plain values and arrays, three carriers.

An object is a tree of dicts, lists, strings, None, booleans, numbers and arrays.  In `.json` every number is
written as an exact rational ("-1f/8": hexadecimal integers) and an array as {"shape": [...], "data": [...]}; in
`.npz` and `.safetensors` the arrays are stored as arrays, bit for bit, and the tree as UTF-8 JSON in a uint8
array named "spec", with {"array": NAME} in their places.  docs/formats.md specifies both.  Files are written to
a temporary name and renamed, so a reader never sees half a file.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.errors import FileFormatError

MAX_BYTES = 2 << 30
"""Larger files are refused before anything is read, and archives that promise more before anything is unpacked."""

SUFFIXES = (".npz", ".safetensors", ".json")


def rational_text(number: Any) -> str:
    """The exact value of a float, integer or Fraction as hexadecimal text: 0.75 -> "3/4", -31 -> "-1f"."""
    value = Fraction(number)
    numerator = format(value.numerator, "x")
    return numerator if value.denominator == 1 else f"{numerator}/{value.denominator:x}"


def parse_rational(text: Any) -> Fraction:
    """The inverse of `rational_text`; FileFormatError on anything else."""
    try:
        numerator, _, denominator = text.partition("/")
        return Fraction(int(numerator, 16), int(denominator, 16) if denominator else 1)
    except (AttributeError, ValueError, ZeroDivisionError):
        raise FileFormatError(f"expected a rational number such as '-1f/8', got {str(text)[:60]!r}") from None


def number(text: Any) -> float | Fraction:
    """A stored number: a float if one represents it exactly, else a Fraction."""
    value = parse_rational(text)
    with suppress(OverflowError):
        if Fraction(float(value)) == value:
            return float(value)
    return value


def save_object(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write `tree` in the carrier that the suffix of `path` names (.npz, .safetensors, .json).

    Raises FileFormatError for another suffix, or for Fractions in a carrier of floats.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix == ".json":
        write_atomically(path, (json.dumps(to_json(tree), indent=1) + "\n").encode())
        return
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    spec = _extract_arrays(tree, "", arrays)
    arrays["spec"] = np.frombuffer(json.dumps(spec, sort_keys=True).encode(), dtype=np.uint8)
    save_arrays(path, arrays)


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write named arrays to .npz or .safetensors.  Strided arrays are made contiguous first: safetensors
    would otherwise write the bytes of the base array, silently."""
    path = Path(path)
    contiguous = {name: np.array(array, order="C") for name, array in arrays.items()}
    if _suffix(path) == ".safetensors":
        from safetensors.numpy import save

        write_atomically(path, save(contiguous))
        return
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **contiguous)
    write_atomically(path, buffer.getvalue())


def load_object(path: str | os.PathLike[str], schema: str) -> dict[str, Any]:
    """Read a tree whose "schema" is `schema`; FileFormatError (one sentence) on anything else."""
    path = Path(path)
    if _suffix(path) == ".json":
        tree = from_json(_parse_json(path, _read(path)))
    else:
        arrays = load_arrays(path)
        if "spec" not in arrays:
            raise FileFormatError(f"{path}: holds no 'spec', so it is not a file that this package wrote")
        spec = _parse_json(path, arrays["spec"].tobytes())
        tree = _insert_arrays(path, spec, arrays)
    if not isinstance(tree, dict):
        raise FileFormatError(f"{path}: expected a JSON object")
    found = tree.get("schema")
    if found != schema:
        raise FileFormatError(f"{path}: expected schema {schema!r}, found {str(found)[:60]!r}")
    if tree.get("version") != 1:
        raise FileFormatError(
            f"{path}: version {tree.get('version')!r} of {schema} is not known to this release (it knows 1)"
        )
    return tree


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of a .npz or .safetensors file, by name; FileFormatError if it is damaged."""
    path = Path(path)
    suffix, content = _suffix(path), _read(path)
    try:
        if suffix == ".safetensors":
            return _tensors(content)
        _require_archive(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise FileFormatError(f"{path}: not a readable {suffix} file ({_first_line(error)})") from None
    except Exception as error:  # safetensors raises a class of its own for every kind of damage
        if type(error).__name__ != "SafetensorError":
            raise
        raise FileFormatError(f"{path}: not a readable {suffix} file ({_first_line(error)})") from None


def _tensors(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a .safetensors file; bfloat16, which NumPy does not have, is widened to float32, exactly."""
    from safetensors import deserialize

    arrays = {}
    for name, entry in deserialize(content):  # type: ignore[no-untyped-call]
        kind = entry["dtype"]
        if kind not in _TENSOR_TYPES:
            raise ValueError(f"the array {name[:40]!r} has the type {kind}")
        array = np.frombuffer(entry["data"], dtype=_TENSOR_TYPES[kind])
        if kind == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[str(name)] = array.reshape(entry["shape"])
    return arrays


_TENSOR_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


def _require_archive(content: bytes) -> None:
    """ValueError for what is none.

    NumPy would take other files for pickles, and unpack however much an archive promises.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError("it is no zip archive")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_BYTES >> 30} GiB")


def write_atomically(path: Path, content: bytes) -> None:
    """Write all of `content` under `path`, or leave what was there.  A device or a pipe is written to, not replaced."""
    if is_special(path):
        with open(path, "wb") as stream:
            stream.write(content)
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def is_special(path: Path) -> bool:
    """Whether `path` is something to write into (/dev/null, /dev/stdout, a pipe) that no file may take the place of."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _suffix(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise FileFormatError(f"{path}: expected a name ending in {', '.join(SUFFIXES)}")
    return path.suffix


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            raise FileFormatError(f"{path}: not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise FileFormatError(f"{path}: larger than {MAX_BYTES >> 30} GiB")
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from None


def _parse_json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: not valid JSON ({_first_line(error)})") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _map(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _map(value, leaf) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_map(value, leaf) for value in tree]
    return leaf(tree)


def to_json(tree: Any) -> Any:
    def leaf(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"shape": list(value.shape), "data": [rational_text(entry) for entry in value.reshape(-1).tolist()]}
        return rational_text(value) if isinstance(value, float | Fraction) else value

    return _map(tree, leaf)


def from_json(tree: Any) -> Any:
    if isinstance(tree, dict) and set(tree) == {"shape", "data"}:
        return _json_array(tree)
    if isinstance(tree, dict):
        return {key: from_json(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [from_json(value) for value in tree]
    return tree


def _json_array(tree: dict[str, Any]) -> np.ndarray[Any, Any]:
    """float64 if every entry is one exactly, else Fractions."""
    shape, data = tree["shape"], tree["data"]
    if (
        not isinstance(shape, list)
        or not all(isinstance(n, int) and n >= 0 for n in shape)
        or not isinstance(data, list)
    ):
        raise FileFormatError("an array needs a 'shape' of non-negative integers and a list 'data'")
    values = [number(entry) for entry in data]
    exact = any(isinstance(value, Fraction) for value in values)
    out = np.empty(len(values), dtype=object if exact else np.float64)
    out[:] = [Fraction(value) for value in values] if exact else values
    if int(np.prod(shape, dtype=object)) != len(values):
        raise FileFormatError(f"an array of shape {shape} cannot have {len(values)} entries")
    return out.reshape(shape)


def _extract_arrays(tree: Any, name: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(tree, dict):
        return {key: _extract_arrays(value, f"{name}.{key}" if name else key, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_extract_arrays(value, f"{name}.{index}", arrays) for index, value in enumerate(tree)]
    if isinstance(tree, np.ndarray):
        if tree.dtype == object:
            raise FileFormatError("exact rational arrays fit into a .json file only; .npz and .safetensors hold floats")
        arrays[name] = tree
        return {"array": name}
    return rational_text(tree) if isinstance(tree, float | Fraction) else tree


def _insert_arrays(path: Path, tree: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(tree, dict) and set(tree) == {"array"}:
        if tree["array"] not in arrays:
            raise FileFormatError(f"{path}: the array {str(tree['array'])[:60]!r} is missing")
        return arrays[tree["array"]]
    if isinstance(tree, dict):
        return {key: _insert_arrays(path, value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_insert_arrays(path, value, arrays) for value in tree]
    return tree
