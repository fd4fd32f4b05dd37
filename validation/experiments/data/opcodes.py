"""Pickles read without unpickling: a small machine for the handful of instructions that CIFAR's batches consist of.

A pickle is a program, and running a stranger's program is no way to read pictures.  `pickletools.genops` only names
its instructions; what is understood here can build dictionaries, lists, tuples, strings, numbers and arrays of
bytes, and nothing else.
"""

from __future__ import annotations

import pickletools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.errors import FileFormatError

_MARK = object()

_DAMAGE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError, Warning)

_RECONSTRUCT = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_NAMES = {*_RECONSTRUCT, ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}


class _Array:
    """numpy.ndarray under construction."""

    value: Any = None


class _Type:
    """numpy.dtype under construction: its code, such as "u1"."""

    def __init__(self, code: str) -> None:
        self.code = code


def read(path: Path, content: bytes) -> Any:
    """What the pickle describes; FileFormatError if it is cut short or says anything else than such data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # about strings that no copy holds
            return _run(content)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except _DAMAGE as error:
        raise FileFormatError(f"{path}: damaged or cut short ({type(error).__name__}: {error})") from None


def _run(content: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            (result,) = stack
            return _plain(result)
        if name in _LITERALS:
            stack.append(_LITERALS[name])
        elif name in _CONSTANTS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(_named(argument, stack))
        elif name in _BUILDERS:
            _BUILDERS[name](stack)
        else:
            raise FileFormatError(f"a pickle with the instruction {name}, which data like these do not need")
    raise FileFormatError("cut short: its end is missing")


_LITERALS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONSTANTS = {
    "BININT",
    "BININT1",
    "BININT2",
    "INT",
    "LONG1",
    "SHORT_BINSTRING",
    "BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BINUNICODE",
    "SHORT_BINUNICODE",
}


def _named(argument: Any, stack: list[Any]) -> tuple[str, str]:
    if argument is None:  # STACK_GLOBAL
        name, module = stack.pop(), stack.pop()
    else:
        module, _, name = argument.partition(" ")
    if (module, name) not in _NAMES:
        raise FileFormatError(f"a pickle that would call {module}.{name}; it is not read")
    return module, name


def _after_mark(stack: list[Any]) -> list[Any]:
    start = max(place for place, entry in enumerate(stack) if entry is _MARK)
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _fill(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
        return
    if not isinstance(target, dict) or len(items) % 2:
        raise FileFormatError("a pickle that fills something that is no list and no dictionary")
    target.update(zip(items[::2], items[1::2], strict=True))


def _set_items(stack: list[Any]) -> None:
    items = _after_mark(stack)
    _fill(stack[-1], items)


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _fill(stack[-1], [key, value])


def _append(stack: list[Any]) -> None:
    value = stack.pop()
    _fill(stack[-1], [value])


def _take(count: int) -> Any:
    def build(stack: list[Any]) -> None:
        if len(stack) < count:
            raise FileFormatError("cut short")
        items = tuple(stack[-count:])
        del stack[-count:]
        stack.append(items)

    return build


def _reduce(stack: list[Any]) -> None:
    arguments, function = stack.pop(), stack.pop()
    if function in _RECONSTRUCT:
        stack.append(_Array())
    elif function == ("numpy", "dtype"):
        stack.append(_Type(_text(arguments[0])))
    elif function == ("_codecs", "encode") and arguments[1] == "latin1":
        stack.append(arguments[0].encode("latin-1"))
    else:
        raise FileFormatError("a pickle that calls what is no function; it is not read")


def _build(stack: list[Any]) -> None:
    state, target = stack.pop(), stack[-1]
    if isinstance(target, _Type):
        return  # byte order and the like: bytes have none
    if not isinstance(target, _Array):
        raise FileFormatError("a pickle that builds something else than an array")
    _, shape, dtype, fortran, data = state
    if not isinstance(dtype, _Type) or dtype.code not in ("u1", "|u1"):
        raise FileFormatError("expected an array of uint8")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    flat = np.frombuffer(raw, np.uint8)
    target.value = flat.reshape(shape, order="F" if fortran else "C")


_BUILDERS: dict[str, Any] = {
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "DICT": lambda stack: stack.append(dict(zip(*[iter(_after_mark(stack))] * 2, strict=True))),
    "LIST": lambda stack: stack.append(_after_mark(stack)),
    "TUPLE": lambda stack: stack.append(tuple(_after_mark(stack))),
    "TUPLE1": _take(1),
    "TUPLE2": _take(2),
    "TUPLE3": _take(3),
    "SETITEMS": _set_items,
    "SETITEM": _set_item,
    "APPENDS": _set_items,
    "APPEND": _append,
    "REDUCE": _reduce,
    "BUILD": _build,
    "POP": lambda stack: stack.pop(),
}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """Arrays for what builds them, text for keys of either kind of string."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_text(key) if isinstance(key, str | bytes) else key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value
