"""What the fields of our files may hold, as data: a reader checks a whole file against it before it uses any of it.

    PROBLEM, SOLUTION, PROGRAM, CLAIMS

are nested kinds. A kind says in words what it expects and decides whether a value is that; containers go on inside and
say where. Numbers and arrays come as `codec.load_object` hands them over: numbers still as text, arrays as arrays. What
fits its kind can still be no problem (lengths that disagree, negative weights): the constructors say so. Keys that are
not named here are ignored, as docs/certificate_format.md promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from exact_unlearn import codec
from exact_unlearn.errors import FileFormatError


class Kind(Protocol):
    """What a field may hold."""

    @property
    def words(self) -> str:
        """What is expected, as part of a sentence."""
        ...

    def faults(self, value: Any, where: str) -> Iterator[str]:
        """What is wrong with `value`, one sentence each, beginning with `where`."""
        ...


@dataclass(frozen=True)
class Leaf:
    """A value without parts."""

    words: str
    fits: Callable[[Any], bool] = field(repr=False)

    def faults(self, value: Any, where: str) -> Iterator[str]:
        if not self.fits(value):
            yield f"{where}: expected {self.words}, got {described(value)}"


@dataclass(frozen=True)
class OrNull:
    """The same or null."""

    inner: Kind

    @property
    def words(self) -> str:
        return f"{self.inner.words}, or null"

    def faults(self, value: Any, where: str) -> Iterator[str]:
        if value is None:
            return
        if isinstance(self.inner, Leaf):
            yield from Leaf(self.words, self.inner.fits).faults(value, where)
        else:
            yield from self.inner.faults(value, where)


@dataclass(frozen=True)
class ListOf:
    """A list of one kind, of `length` entries where that is fixed."""

    item: Kind
    length: int | None = None

    @property
    def words(self) -> str:
        return "a list" if self.length is None else f"a list of {self.length} entries"

    def faults(self, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list) or self.length not in (None, len(value)):
            yield f"{where}: expected {self.words}, got {described(value)}"
            return
        for index, entry in enumerate(value):
            yield from self.item.faults(entry, f"{where}[{index}]")


@dataclass(frozen=True)
class Record:
    """An object with these fields; those in `optional` may be absent."""

    fields: Mapping[str, Kind]
    optional: frozenset[str] = frozenset()
    words: str = "an object"

    def faults(self, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where}: expected {self.words}, got {described(value)}"
            return
        for name, kind in self.fields.items():
            place = f"{where}.{name}" if where else name
            if name in value:
                yield from kind.faults(value[name], place)
            elif name not in self.optional:
                yield f"{place}: missing"


@dataclass(frozen=True)
class OneOf:
    """An object whose field `key` says which of the records it is."""

    key: str
    records: Mapping[str, Record]

    @property
    def words(self) -> str:
        return f"an object with {self.key!r}, one of {', '.join(self.records)}"

    def faults(self, value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict) or self.key not in value:
            yield f"{where}: expected {self.words}, got {described(value)}"
        elif not isinstance(value[self.key], str) or value[self.key] not in self.records:
            yield f"{where}.{self.key}: expected one of {', '.join(self.records)}, got {described(value[self.key])}"
        else:
            yield from self.records[value[self.key]].faults(value, where)


def require(kind: Kind, tree: Any, source: str, where: str = "") -> None:
    """FileFormatError, one sentence that names the file and the field, unless `tree` is what `kind` says."""
    for fault in kind.faults(tree, where):
        raise FileFormatError(f"{source}: {fault}")


def described(value: Any) -> str:
    """What came, as part of a sentence."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype if value.dtype != object else 'fractions'} of shape {value.shape}"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)} entries"
    return "null" if value is None else f"{value!r:.60}"


# --- leaves -----------------------------------------------------------------------------------------------------------


def _real(value: Any, dimensions: int) -> bool:
    """Numbers that fit into a float64, or the fractions that a .json file may hold (`codec` makes no other objects)."""
    if not isinstance(value, np.ndarray) or value.ndim != dimensions:
        return False
    return value.dtype == object or (value.dtype.kind in "biuf" and value.dtype.itemsize <= 8)


def _finite(value: Any, dimensions: int) -> bool:
    return _real(value, dimensions) and (value.dtype.kind != "f" or bool(np.isfinite(value).all()))


def _whole(value: Any) -> bool:
    return _finite(value, 1) and all(abs(entry) < 2**63 and entry == int(entry) for entry in value.tolist())


def _number(value: Any) -> bool:
    try:
        codec.parse_rational(value)
    except FileFormatError:
        return False
    return True


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


VECTOR = Leaf("an array of finite real numbers in one dimension", lambda value: _finite(value, 1))
MATRIX = Leaf("an array of finite real numbers in two dimensions", lambda value: _finite(value, 2))
CLAIMED = Leaf("an array of real numbers in one dimension", lambda value: _real(value, 1))
WHOLE = Leaf("an array of whole numbers in one dimension", _whole)
MASK = Leaf(
    "an array of 0 and 1 in one dimension",
    lambda value: _finite(value, 1) and bool(np.isin(value, (0, 1)).all()),
)
NUMBER = Leaf("a number as hexadecimal text such as '-1f/8'", _number)
COUNT = Leaf("a whole number >= 0", _count)
TEXT = Leaf("text", lambda value: isinstance(value, str))
FLAG = Leaf("true or false", lambda value: isinstance(value, bool))
RANGE = ListOf(COUNT, 2)


def word(*known: str) -> Leaf:
    """One of some words."""
    return Leaf(f"one of {', '.join(known)}", lambda value: isinstance(value, str) and value in known)


# --- files ------------------------------------------------------------------------------------------------------------

_NAME = {"name": TEXT}
_WEIGHTED = Record({**_NAME, "weights": OrNull(VECTOR)}, frozenset({"weights"}))

_ROWS = Record({"rows": COUNT, "columns": COUNT, "row": WHOLE, "column": WHOLE, "value": VECTOR})
_PLACED: dict[str, Kind] = {"term": TEXT, "map": _ROWS, "centre": VECTOR, "factor": NUMBER, "weights": OrNull(VECTOR)}
_OPTIONAL = frozenset({"map", "centre", "factor", "weights", "labels", "inner"})
TERM = OneOf(
    "term",
    {
        **{name: Record(_PLACED, _OPTIONAL) for name in ("square", "kink", "max")},
        "huber": Record({**_PLACED, "delta": NUMBER}, _OPTIONAL),
        "norms": Record({**_PLACED, "labels": WHOLE, "inner": OrNull(VECTOR)}, _OPTIONAL),
        "spectral": Record({**_PLACED, "indices": WHOLE, "shape": RANGE}, _OPTIONAL),
    },
)
REGULARIZER = OneOf(
    "name",
    {
        "squared_l2": _WEIGHTED,
        "l2": _WEIGHTED,
        "l1": _WEIGHTED,
        "linf": _WEIGHTED,
        "group_l2": Record({**_NAME, "labels": WHOLE, "weights": OrNull(VECTOR)}, frozenset({"weights"})),
        "elastic_net": Record({**_NAME, "alpha": NUMBER, "beta": NUMBER}),
        "predictor_norm": Record({**_NAME, "V": MATRIX, "block": RANGE, "shape": RANGE}),
        "nuclear_norm": Record({**_NAME, "indices": WHOLE, "shape": RANGE}),
        "l0": Record({**_NAME, "labels": OrNull(WHOLE)}, frozenset({"labels"})),
        "active_neurons": Record({**_NAME, "n_inputs": COUNT, "width": COUNT, "n_outputs": COUNT}),
        "power_sum": Record({**_NAME, "depth": COUNT}),
        "form": Record({**_NAME, "terms": ListOf(TERM)}),
    },
)
DRIFT = OneOf(
    "name",
    {
        "squared_drift": Record({**_NAME, "lam": NUMBER}),
        "l1_drift": Record({**_NAME, "lam": NUMBER}),
        "trust_region": Record({**_NAME, "radius": NUMBER, "norm": word("2", "inf")}),
    },
)
JACOBIAN = OneOf(
    "kind",
    {
        "dense": Record({"kind": TEXT, "matrix": MATRIX}),
        "product": Record({"kind": TEXT, "V": MATRIX, "X": MATRIX, "block": RANGE, "n_parameters": COUNT}),
    },
)
ORIGIN = OneOf(
    "kind",
    {
        "two_layer": Record(
            {
                "kind": TEXT,
                "activation": word("relu", "leaky_relu", "abs"),
                "slope": NUMBER,
                "width": COUNT,
                "x": MATRIX,
                "y": VECTOR,
                "R": word("squared", "path"),
            }
        ),
        "predictor": Record(
            {
                "kind": TEXT,
                "model": word("linear", "linear_network", "diagonal", "square"),
                "widths": ListOf(COUNT),
                "x": MATRIX,
                "y": MATRIX,
                "R": word("squared", "path", "nuclear"),
            }
        ),
    },
)
PROBLEM = Record(
    {
        "theta_star": VECTOR,
        "jacobian": JACOBIAN,
        "rhs": VECTOR,
        "free": MASK,
        "regularizer": REGULARIZER,
        "drift_penalty": ListOf(DRIFT),
        "at_least": MASK,
        "origin": ORIGIN,
    },
    frozenset({"at_least", "origin"}),
)
SOLUTION = Record(
    {
        "problem": PROBLEM,
        "theta": VECTOR,
        "nu": VECTOR,
        "subgradient": OrNull(CLAIMED),
        "drift_subgradients": OrNull(ListOf(CLAIMED)),
        "shares": OrNull(ListOf(CLAIMED)),
        "status": word("optimal", "inaccurate", "interval", "time_limit", "infeasible", "backend_failed"),
        "solver": TEXT,
        "unique": OrNull(FLAG),
        "message": TEXT,
        "lower": OrNull(NUMBER),
        "upper": OrNull(NUMBER),
        "compile_seconds": OrNull(NUMBER),
        "solve_seconds": OrNull(NUMBER),
    },
    frozenset({"shares"}),
)
_COLUMNS = Record({"shape": RANGE, "data": VECTOR, "indices": WHOLE, "indptr": WHOLE})
PROGRAM = Record(
    {
        "P": _COLUMNS,
        "A": _COLUMNS,
        "theta_map": _COLUMNS,
        "q": VECTOR,
        "b": VECTOR,
        "theta_offset": VECTOR,
        "nu_map": MATRIX,
        "integer": WHOLE,
        "constant": NUMBER,
        "cones": Record({"zero": COUNT, "nonneg": COUNT, "soc": ListOf(COUNT), "psd": ListOf(COUNT)}),
        "exact_up_to": OrNull(NUMBER),
    }
)
CLAIMS = Record(
    {
        "proof": TEXT,
        "lower": OrNull(NUMBER),
        "upper": OrNull(NUMBER),
        "gap": OrNull(NUMBER),
        "distance": OrNull(NUMBER),
        "square": OrNull(NUMBER),
        "unique": OrNull(FLAG),
        "neurons": OrNull(COUNT),
    },
    frozenset({"lower", "upper", "gap", "distance", "square", "unique", "neurons"}),
)
