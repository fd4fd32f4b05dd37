"""Explicit programs as files of standard formats.

    .mps    free MPS, with QUADOBJ for 1/2 z.T P z     LP, QP, MILP
    .qplib  the format of the QPLIB library            LP, QP, MILP
    .cbf    Conic Benchmark Format, version 3          all kinds: LP, QP, SOCP, SDP, MILP

Every float is written with the digits that read back to the same float.  Two things are computed, hence rounded: the
square roots of P, where CBF (which has no quadratic objective) takes 1/2 z.T P z as a rotated cone, and the division
of semidefinite coefficients by sqrt 2, with which `ExplicitProgram` scales them.

Columns are z0, z1, ... in the order of `ExplicitProgram` (CBF adds one at the end for a quadratic objective), so z read
from a solver's answer goes back with `program.theta(z)`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from exact_unlearn.codec import write_atomically
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.program import ExplicitProgram

FORMATS = (".mps", ".qplib", ".cbf")


def write_program(program: ExplicitProgram, path: str | os.PathLike[str]) -> None:
    """Write `program` in the format that the suffix of `path` names; the file appears complete or not at all.

    Raises ProblemError, one sentence, for another suffix and for cones that the format cannot express.

    >>> import pathlib, tempfile
    >>> import exact_unlearn as xu
    >>> from exact_unlearn.exports import write_program
    >>> program = xu.explicit_program(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "program.mps")
    ...     write_program(program, path)
    ...     print(path.read_text().splitlines()[-1])
    ENDATA
    """
    path = Path(path)
    writers = {".mps": _mps, ".qplib": _qplib, ".cbf": _cbf}
    if path.suffix.lower() not in writers:
        raise ProblemError(f"path: expected a name that ends in {', '.join(writers)}, got {path.name!r}")
    lines = writers[path.suffix.lower()](program)
    write_atomically(path, ("\n".join(lines) + "\n").encode("ascii"))


def _number(value: float) -> str:
    return repr(float(value))


def _linear(program: ExplicitProgram, suffix: str) -> None:
    if program.cones.soc or program.cones.psd:
        raise ProblemError(f"path: {suffix} has no cones, and this is {_article(program.kind)}; write .cbf")


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'LMS' else 'a'} {kind}"


def _columns(program: ExplicitProgram) -> Iterator[tuple[int, Array, Array]]:
    """(column, rows, coefficients) of A, without stored zeros."""
    A = program.A.copy()
    A.sum_duplicates()
    for j in range(A.shape[1]):
        part = slice(A.indptr[j], A.indptr[j + 1])
        rows, values = A.indices[part], A.data[part]
        yield j, rows[values != 0], values[values != 0]


def _diagonal(program: ExplicitProgram) -> Array:
    """P is diagonal in every program of this package: curvature is coordinate by coordinate."""
    diagonal = np.asarray(program.P.diagonal())
    if program.P.count_nonzero() != np.count_nonzero(diagonal):
        raise ProblemError("program: P is not diagonal, which is more than these formats are written for")
    return diagonal


# ---------------------------------------------------------------- MPS


def _mps(program: ExplicitProgram) -> Iterable[str]:
    """Rows c0 ... of A z = b and A z <= b; all columns free but the binary ones.

    The constant of the objective is the negative right-hand side of its row, the convention of all who read one.
    """
    _linear(program, ".mps")
    equations = program.cones.zero
    yield "NAME exact_unlearn"
    yield "ROWS"
    yield " N obj"
    yield from (f" {'E' if i < equations else 'L'} c{i}" for i in range(program.b.size))
    yield "COLUMNS"
    binary = set(program.integer.tolist())
    inside = False
    for j, rows, values in _columns(program):
        if (j in binary) != inside:
            inside = not inside
            yield f" MARKER{j} 'MARKER' '{'INTORG' if inside else 'INTEND'}'"
        # A column without any entry is still a column: its objective entry is written even where it is 0.
        if program.q[j] or not rows.size:
            yield f" z{j} obj {_number(program.q[j])}"
        yield from (f" z{j} c{i} {_number(value)}" for i, value in zip(rows, values, strict=True))
    if inside:
        yield " MARKER 'MARKER' 'INTEND'"
    yield "RHS"
    if program.constant:
        yield f" RHS obj {_number(-program.constant)}"
    yield from (f" RHS c{i} {_number(value)}" for i, value in enumerate(program.b) if value)
    yield "BOUNDS"
    yield from (f" {'BV' if j in binary else 'FR'} BND z{j}" for j in range(program.q.size))
    diagonal = _diagonal(program)
    if diagonal.any():
        yield "QUADOBJ"
        yield from (f" z{j} z{j} {_number(value)}" for j, value in enumerate(diagonal) if value)
    yield "ENDATA"


# ---------------------------------------------------------------- QPLIB


def _qplib(program: ExplicitProgram) -> Iterable[str]:
    """Sparse sections of (index, value) after a default; indices start at 1."""
    _linear(program, ".qplib")
    n, m, equations = program.q.size, program.b.size, program.cones.zero
    diagonal, binary = _diagonal(program), program.integer
    objective = "D" if diagonal.any() else "L"
    variables = "C" if not binary.size else ("B" if binary.size == n else "M")
    yield "exact_unlearn"
    yield f"{objective}{variables}{'L' if m else 'N'}"
    yield "minimize"
    yield f"{n} # variables"
    if m:
        yield f"{m} # constraints"
    if objective != "L":
        entries = [(j, value) for j, value in enumerate(diagonal) if value]
        yield f"{len(entries)} # nonzeros of the lower triangle of the objective's matrix"
        yield from (f"{j + 1} {j + 1} {_number(value)}" for j, value in entries)
    yield from _defaults("objective", program.q, 0.0)
    yield f"{_number(program.constant)} # constant of the objective"
    if m:
        terms = [(i, j, v) for j, rows, values in _columns(program) for i, v in zip(rows, values, strict=True)]
        yield f"{len(terms)} # nonzeros of the constraints"
        yield from (f"{i + 1} {j + 1} {_number(v)}" for i, j, v in sorted(terms, key=lambda term: term[:2]))
    yield "1e+30 # infinity"
    if m:
        left = np.where(np.arange(m) < equations, program.b, -1e30)
        yield from _defaults("left-hand side", left, -1e30)
        yield from _defaults("right-hand side", program.b, 0.0)
    if variables != "B":
        is_binary = np.isin(np.arange(n), binary)
        yield from _defaults("lower bound", np.where(is_binary, 0.0, -1e30), -1e30)
        yield from _defaults("upper bound", np.where(is_binary, 1.0, 1e30), 1e30)
    if variables == "M":
        yield "0 # default type: continuous"
        yield f"{binary.size} # other types"
        yield from (f"{j + 1} 2" for j in binary)
    for what in ("primal value", "multiplier of a constraint", "multiplier of a bound"):
        if m or what != "multiplier of a constraint":
            yield from (f"0.0 # default initial {what}", "0 # others")
    yield "0 # names of variables"
    if m:
        yield "0 # names of constraints"


def _defaults(what: str, values: Array, default: float) -> Iterator[str]:
    others = [(j, value) for j, value in enumerate(values) if value != default]
    yield f"{_number(default)} # default {what}"
    yield f"{len(others)} # others"
    yield from (f"{j + 1} {_number(value)}" for j, value in others)


# ---------------------------------------------------------------- CBF


def _cbf(program: ExplicitProgram) -> Iterable[str]:
    """s = b - A z in K, K = zero, nonnegative, second-order and semidefinite cones; binary: integer in [0, 1].

    1/2 z.T P z becomes one more variable t with 2 t 1 >= sum P_j z_j^2, a rotated cone.
    """
    n, cones, diagonal = program.q.size, program.cones, _diagonal(program)
    curved = np.flatnonzero(diagonal)
    plain = cones.zero + cones.nonneg + sum(cones.soc)
    blocks = [(name, size) for name, size in (("L=", cones.zero), ("L+", cones.nonneg)) if size]
    blocks += [("Q", size) for size in cones.soc]
    entries = [(int(i), j, -float(v)) for j, rows, vs in _columns(program) for i, v in zip(rows, vs, strict=True)]
    constants = [(i, float(value)) for i, value in enumerate(program.b) if value]
    linear = [entry for entry in entries if entry[0] < plain]
    fixed = [entry for entry in constants if entry[0] < plain]
    rows = plain
    if curved.size:
        blocks.append(("QR", curved.size + 2))
        linear.append((rows, n, 1.0))
        fixed.append((rows + 1, 1.0))
        linear += [(rows + 2 + k, int(j), math.sqrt(diagonal[j])) for k, j in enumerate(curved)]
        rows += curved.size + 2
    costs = [(j, float(value)) for j, value in enumerate(program.q) if value] + [(n, 1.0)] * bool(curved.size)
    yield from ("# exact_unlearn", "VER", "3", "", "OBJSENSE", "MIN", "")
    width = n + bool(curved.size)
    yield from ("VAR", f"{width} 1", f"F {width}", "")
    if program.integer.size:
        # A binary variable is an integer one here; that it lies in [0, 1] is among the rows of A.
        yield from ("INT", f"{program.integer.size}", *(f"{j}" for j in program.integer), "")
    if cones.psd:
        yield from ("PSDCON", f"{len(cones.psd)}", *(f"{order}" for order in cones.psd), "")
    if rows:
        yield from ("CON", f"{rows} {len(blocks)}", *(f"{name} {size}" for name, size in blocks), "")
    yield from _coordinates("OBJACOORD", costs)
    yield from ("OBJBCOORD", _number(program.constant), "")
    yield from _coordinates("ACOORD", sorted(linear))
    yield from _coordinates("BCOORD", fixed)
    places = _semidefinite_places(program, plain)
    matrices = [(*places[i][:1], j, *places[i][1:], v * _unscaled(places[i])) for i, j, v in entries if i >= plain]
    yield from _coordinates("HCOORD", sorted(matrices))
    yield from _coordinates("DCOORD", [(*places[i], v * _unscaled(places[i])) for i, v in constants if i >= plain])


Place = tuple[int, int, int]
"""Block, and row >= column of an entry of it."""


def _unscaled(place: Place) -> float:
    """Off-diagonal entries stand in A times sqrt 2."""
    return 1.0 if place[1] == place[2] else math.sqrt(0.5)


def _semidefinite_places(program: ExplicitProgram, start: int) -> dict[int, Place]:
    """Row of A -> its place: the upper triangle column by column is the lower one row by row."""
    places: dict[int, Place] = {}
    for block, order in enumerate(program.cones.psd):
        for i in range(order):
            for j in range(i + 1):
                places[start] = (block, i, j)
                start += 1
    return places


def _coordinates(keyword: str, entries: Iterable[tuple[float, ...]]) -> Iterator[str]:
    listed = list(entries)
    if listed:
        yield keyword
        yield f"{len(listed)}"
        yield from (" ".join([*(str(int(i)) for i in indices), _number(value)]) for *indices, value in listed)
        yield ""
