"""Linear maps x = M theta in front of a term, kept as the entries that are not zero."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, real_array, to_rational
from exact_unlearn.vectors import as_real, is_exact


@dataclass(frozen=True, eq=False)
class Rows:
    """M (m, d) with M[row[i], column[i]] = value[i], every place once; floats or Fractions."""

    shape: tuple[int, int]
    row: Array
    column: Array
    value: Array

    def __post_init__(self) -> None:
        row, column = (np.asarray(a) for a in (self.row, self.column))
        value = real_array("map", self.value, ndim=1)
        m, d = (int(n) for n in self.shape)
        if not (row.shape == column.shape == value.shape):
            raise ProblemError("map: expected as many rows, columns and values")
        if row.size and not (row.min() >= 0 and row.max() < m and column.min() >= 0 and column.max() < d):
            raise ProblemError(f"map: an entry lies outside of {m} rows and {d} columns")
        place = row.astype(np.int64) * max(d, 1) + column
        if np.unique(place).size != place.size:
            raise ProblemError("map: an entry occurs twice")
        for name, array in (("row", row.astype(np.int64)), ("column", column.astype(np.int64)), ("value", value)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "shape", (m, d))

    @classmethod
    def of(cls, matrix: Any, name: str = "map") -> Rows:
        """From a matrix, dense or of SciPy.  ProblemError, naming it, unless it is one of finite real numbers."""
        if isinstance(matrix, Rows):
            return matrix
        if hasattr(matrix, "tocoo"):
            coo = matrix.tocoo()
            coo.sum_duplicates()
            return cls(coo.shape, coo.row, coo.col, np.asarray(coo.data, dtype=np.float64))
        dense = real_array(name, matrix, ndim=2)
        row, column = np.nonzero(dense != 0)
        return cls(dense.shape, row, column, dense[row, column])

    @classmethod
    def picking(cls, columns: Any, d: int) -> Rows:
        """Row i picks coordinate columns[i]."""
        columns = np.asarray(columns)
        return cls((columns.size, d), np.arange(columns.size), columns, np.ones(columns.size))

    def apply(self, theta: Any) -> Array:
        """M theta, (m,), in the arithmetic of theta."""
        x = as_real(theta)
        if x.size != self.shape[1]:
            raise ProblemError(f"map: it takes {self.shape[1]} parameters, got {x.size}")
        return self._sums(self.row, x[self.column], self.shape[0], x)

    def adjoint(self, g: Any) -> Array:
        """M.T g, (d,), in the arithmetic of g."""
        z = as_real(g)
        return self._sums(self.column, z[self.row], self.shape[1], z)

    def _sums(self, at: Array, entries: Array, size: int, like: Array) -> Array:
        if not is_exact(like):
            return np.bincount(at, weights=self.value.astype(np.float64) * entries, minlength=size)
        out = np.full(size, Fraction(0), dtype=object)
        np.add.at(out, at, to_rational(self.value) * entries)
        return out

    def moves(self, free: Array) -> Array:
        """(m,) mask of the rows that depend on a free coordinate."""
        mask = np.zeros(self.shape[0], dtype=bool)
        mask[self.row[free[self.column] & (self.value != 0).astype(bool)]] = True
        return mask

    def after(self, inner: Rows) -> Rows:
        """The map theta -> M (N theta)."""
        if inner.shape[0] != self.shape[1]:
            raise ProblemError(f"map: it takes {self.shape[1]} parameters, got the {inner.shape[0]} of another map")
        sums: dict[tuple[int, int], Fraction] = {}
        by_row: dict[int, list[tuple[int, Fraction]]] = {}
        for i, j, v in zip(inner.row.tolist(), inner.column.tolist(), inner.value.tolist(), strict=True):
            by_row.setdefault(i, []).append((j, Fraction(v)))
        for i, k, v in zip(self.row.tolist(), self.column.tolist(), self.value.tolist(), strict=True):
            for j, w in by_row.get(k, ()):
                sums[i, j] = sums.get((i, j), Fraction(0)) + Fraction(v) * w
        places = sorted(place for place, v in sums.items() if v)
        row, column = ([place[k] for place in places] for k in (0, 1))
        values = np.array([sums[place] for place in places], dtype=object)
        floats = values.astype(np.float64) if values.size else np.zeros(0)
        exact = all(Fraction(float(f)) == v for f, v in zip(floats, values, strict=True))
        shape = (self.shape[0], inner.shape[1])
        return Rows(shape, np.array(row, dtype=np.int64), np.array(column, dtype=np.int64), floats if exact else values)

    def sparse(self) -> Any:
        """As a SciPy array, in floats."""
        import scipy.sparse as sp

        return sp.csr_array((self.value.astype(np.float64), (self.row, self.column)), shape=self.shape)

    def to_spec(self) -> dict[str, Any]:
        """{"rows": m, "columns": d, "row", "column", "value": the entries}."""
        return {
            "rows": self.shape[0],
            "columns": self.shape[1],
            "row": self.row,
            "column": self.column,
            "value": self.value,
        }
