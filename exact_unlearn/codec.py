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
from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import interrupts
from exact_unlearn.errors import FileFormatError

MAX_BYTES = 2 << 30
"""Larger files are refused before anything is read, and archives that promise more before anything is unpacked."""

MAX_DEPTH = 64
"""Objects and lists within each other in a JSON text; readers go down by recursion."""

VERSIONS = {f"exact-unlearn/{name}": (1, 2) for name in ("problem", "solution", "certificate")}
"""Versions that can be read, of what has more than one.  2 is written only where 1 has no words for the problem."""

SUFFIXES = (".npz", ".safetensors", ".json")


def rational_text(number: Any) -> str:
    """The exact value of a float, integer or Fraction as hexadecimal text: 0.75 -> "3/4", -31 -> "-1f"."""
    value = Fraction(number)
    numerator = format(value.numerator, "x")
    return numerator if value.denominator == 1 else f"{numerator}/{value.denominator:x}"


def parse_rational(text: Any) -> Fraction:
    """The inverse of `rational_text`; FileFormatError on anything else."""
    try:
        numerator, _, denominator = (text if isinstance(text, str) else "").partition("/")
        return Fraction(int(numerator, 16), int(denominator, 16) if denominator else 1)
    except (ValueError, ZeroDivisionError):
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
    with zipfile.ZipFile(buffer, "w") as archive:  # numpy.savez before 2.1 keeps its options as arrays
        for name, array in contiguous.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def load_object(path: str | os.PathLike[str], schema: str) -> dict[str, Any]:
    """Read a tree whose "schema" is `schema`; FileFormatError (one sentence) on anything else."""
    path = Path(path)
    if _suffix(path) == ".json":
        tree, arrays = read_json(path), None
    else:
        arrays = load_arrays(path)
        if "spec" not in arrays:
            raise FileFormatError(f"{path}: holds no 'spec', so it is not a file that this package wrote")
        tree = parse_json(path, arrays["spec"].tobytes())
    require_schema(path, tree, schema)
    loaded = from_json(tree, path) if arrays is None else _insert_arrays(path, tree, arrays)
    if not isinstance(loaded, dict):
        raise FileFormatError(f"{path}: expected a JSON object with fields, got an array")
    return loaded


def require_schema(path: str | Path, tree: Any, schema: str) -> None:
    """FileFormatError unless `tree` is an object of this schema, in a version that this release knows."""
    if not isinstance(tree, dict):
        raise FileFormatError(f"{path}: expected a JSON object")
    found, version = tree.get("schema"), tree.get("version")
    if found != schema:
        raise FileFormatError(f"{path}: expected schema {schema!r}, found {str(found)[:60]!r}")
    known = VERSIONS.get(schema, (1,))
    if type(version) is not int or version not in known:
        named, these = f"version {str(version)[:60]} of {schema}", " and ".join(map(str, known))
        raise FileFormatError(f"{path}: {named} is not known to this release (it knows {these})")


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


def _tensors(content: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a .safetensors file; bfloat16, which NumPy does not have, is widened to float32, exactly."""
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    arrays = {}
    for name, entry in entries:
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
        interrupts.check()  # what was computed while one got lost is not kept
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


def read_json(path: Path) -> Any:
    """The JSON of a regular file; FileFormatError on anything else."""
    return parse_json(path, _read(path))


def parse_json(path: Path, content: bytes) -> Any:
    """The JSON of a file, at most `MAX_DEPTH` levels of it; FileFormatError on anything else."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: not valid JSON ({_first_line(error)})") from None
    level, depth = [tree], 0
    while level := [part for whole in level for part in _parts(whole)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise FileFormatError(f"{path}: nested more than {MAX_DEPTH} levels deep, which no file of ours is")
    return tree


def _parts(tree: Any) -> Iterable[Any]:
    return tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()


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


def from_json(tree: Any, source: str | os.PathLike[str] = "") -> Any:
    """The inverse of `to_json`; FileFormatError, which names `source`, on an array that is none."""
    if isinstance(tree, dict) and set(tree) == {"shape", "data"}:
        try:
            return _json_array(tree)
        except FileFormatError as error:
            raise FileFormatError(f"{source}: {error}" if str(source) else str(error)) from None
    if isinstance(tree, dict):
        return {key: from_json(value, source) for key, value in tree.items()}
    if isinstance(tree, list):
        return [from_json(value, source) for value in tree]
    return tree


_MAX_DIMENSIONS = 32


def _json_array(tree: dict[str, Any]) -> np.ndarray[Any, Any]:
    """float64 if every entry is one exactly, else Fractions."""
    shape, data = tree["shape"], tree["data"]
    if (
        not isinstance(shape, list)
        or not all(type(n) is int and 0 <= n < 2**63 for n in shape)
        or len(shape) > _MAX_DIMENSIONS
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
        if not isinstance(tree["array"], str) or tree["array"] not in arrays:
            raise FileFormatError(f"{path}: the array {str(tree['array'])[:60]!r} is missing")
        return arrays[tree["array"]]
    if isinstance(tree, dict):
        return {key: _insert_arrays(path, value, arrays) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_insert_arrays(path, value, arrays) for value in tree]
    return tree


def columns_tree(matrix: Any) -> dict[str, Any]:
    """A matrix of SciPy in compressed columns, as a tree."""
    indices, indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return {"shape": list(matrix.shape), "data": matrix.data, "indices": indices, "indptr": indptr}


def columns(tree: dict[str, Any]) -> Any:
    """The inverse of `columns_tree`; ValueError where the columns contradict each other."""
    import scipy.sparse as sp

    data = np.asarray(tree["data"], dtype=np.float64)
    indices, indptr = (np.asarray(tree[name]).astype(np.int64) for name in ("indices", "indptr"))
    matrix = sp.csc_array((data, indices, indptr), shape=tuple(tree["shape"]))
    matrix.check_format(full_check=True)
    return matrix
