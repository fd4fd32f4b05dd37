"""Jacobians of the retained outputs, as linear maps from parameters to constraints.

Row i*l + o of J holds the gradient of output o at retain sample i with respect to the flat parameter
vector.  Everything downstream needs three things of J: its shape, J @ drift and J.T @ nu.  How J is stored
is the business of the classes here; a new storage only has to follow the `Jacobian` protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from exact_unlearn.errors import ProblemError

Array = NDArray[Any]

DENSE_LIMIT = 200_000_000
"""Largest number of entries (1.6 GB in float64) that a dense Jacobian of the reference solver may have."""


@runtime_checkable
class Jacobian(Protocol):
    """A linear map R^d -> R^k."""

    @property
    def shape(self) -> tuple[int, int]:
        """(k, d): constraints, parameters."""
        ...

    def matvec(self, drift: Array) -> Array:
        """J @ drift, shape (k,), for a drift of shape (d,)."""
        ...

    def rmatvec(self, nu: Array) -> Array:
        """J.T @ nu, shape (d,), for multipliers of shape (k,)."""
        ...


@dataclass(frozen=True, eq=False)
class DenseJacobian:
    """J stored entry by entry.

    matrix: shape (k, d), float64, or an object array of `fractions.Fraction` for exact rational models.
    Narrower floats are widened exactly.  Raises ProblemError on anything but a finite real matrix.
    """

    matrix: Array

    def __post_init__(self) -> None:
        matrix = real_array("jacobian", self.matrix, ndim=2)
        if matrix.size > DENSE_LIMIT:
            raise ProblemError(
                f"jacobian: {matrix.shape[0]} x {matrix.shape[1]} entries are more than the {DENSE_LIMIT} that the "
                "reference solver takes; use exact_unlearn.scalable, which needs products with J only"
            )
        object.__setattr__(self, "matrix", matrix)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.matrix.shape
        return rows, columns

    def matvec(self, drift: Array) -> Array:
        return np.asarray(self.matrix @ drift)

    def rmatvec(self, nu: Array) -> Array:
        return np.asarray(self.matrix.T @ nu)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """J itself, so that np.asarray(problem.jacobian) is the matrix."""
        return np.array(self.matrix, dtype=dtype)


@dataclass(frozen=True, eq=False)
class ProductJacobian:
    """J of a linear network of which only the first layer moves, kept as the product it is.

    f(theta, x) = V.T A_1 x with V = A_2.T ... A_{L-1}.T C.T, so row i*l + o is the outer product of V[:, o] and
    X[i] on the coordinates of A_1 (row-major, shape (h_1, m)) and is never used elsewhere, since nothing else
    may move. The entries of that outer product are not representable in floating point; rounding them destroys
    the structure (the literal optimum of the predictor norm becomes 0), which is why the factors are stored.

    V: (h_1, l); X: (n, m) retain inputs; block: the slice of A_1 in theta; n_parameters: d.
    """

    V: Array
    X: Array
    block: slice
    n_parameters: int

    def __post_init__(self) -> None:
        V = real_array("V", self.V, ndim=2)
        X = real_array("X", self.X, ndim=2)
        if (V.dtype == object) != (X.dtype == object):
            V, X = to_rational(V), to_rational(X)
        size = V.shape[0] * X.shape[1]
        if self.block.start is None or self.block.stop is None or self.block.stop - self.block.start != size:
            raise ProblemError(
                f"block: expected a slice of {size} coordinates for V {V.shape} and X {X.shape}, got {self.block}"
            )
        if not 0 <= self.block.start <= self.block.stop <= self.n_parameters:
            raise ProblemError(f"block: {self.block} does not lie within {self.n_parameters} parameters")
        object.__setattr__(self, "V", V)
        object.__setattr__(self, "X", X)

    @property
    def shape(self) -> tuple[int, int]:
        return self.X.shape[0] * self.V.shape[1], self.n_parameters

    def matvec(self, drift: Array) -> Array:
        """The outputs X drift_{A_1}.T V, shape (n*l,), sample-major."""
        first = drift[self.block].reshape(self.V.shape[0], self.X.shape[1])
        return np.asarray(self.X @ (first.T @ self.V)).reshape(-1)

    def rmatvec(self, nu: Array) -> Array:
        """V nu.T X on the block (nu as an (n, l) matrix), zero elsewhere."""
        out = np.zeros(self.n_parameters, dtype=np.result_type(self.V, nu))
        if out.dtype == object:
            out[:] = Fraction(0)
        out[self.block] = (self.V @ (nu.reshape(self.X.shape[0], self.V.shape[1]).T @ self.X)).reshape(-1)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """J entry by entry, to look at: in floats the outer products are rounded."""
        one = np.array(Fraction(1) if self.V.dtype == object else 1.0)
        rows = [self.rmatvec(np.where(np.arange(self.shape[0]) == i, one, 0 * one)) for i in range(self.shape[0])]
        return np.array(rows, dtype=dtype).reshape(self.shape)


def as_jacobian(jacobian: Any) -> Jacobian:
    """`jacobian` itself if it follows the protocol, else a DenseJacobian of the given matrix."""
    if not isinstance(jacobian, np.ndarray) and isinstance(jacobian, Jacobian):
        return jacobian
    return DenseJacobian(jacobian)


def dimensions(values: Any) -> int:
    """How many dimensions `values` has as an array; -1 for what is ragged and so is none."""
    try:
        return int(np.ndim(values))
    except (TypeError, ValueError):
        return -1


def real_array(name: str, values: Any, ndim: int) -> Array:
    """`values` as a contiguous finite real array: float64, or object if it holds Fractions.

    Booleans, integers and narrower floats are widened exactly (an integer beyond 2^53 becomes a Fraction).
    Raises ProblemError, naming the argument, on complex, non-numeric, ragged, NaN or infinite input.
    """
    if callable(values):
        raise ProblemError(f"{name}: expected an array, got {values!r:.60}, which has to be called first")
    if hasattr(values, "detach"):  # a torch tensor, taken without importing torch
        values = values.detach().cpu()
        values = values.double().numpy() if values.is_floating_point() else values.numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ProblemError(f"{name}: expected an array of {ndim} dimensions, got something ragged ({error})") from None
    if np.ma.is_masked(values):
        raise ProblemError(f"{name}: expected every entry, got a masked array of which some are hidden")
    if array.ndim != ndim:
        raise ProblemError(f"{name}: expected {ndim} dimension{'s' * (ndim != 1)}, got shape {array.shape}")
    if array.dtype == object:
        return _rational_array(name, array)
    if array.dtype.kind in "iu" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > 2**53:
        return to_rational(array)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ProblemError(f"{name}: expected real numbers (float64 or narrower), got dtype {array.dtype}")
    array = np.array(array, dtype=np.float64, order="C")
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ProblemError(
            f"{name}: expected finite numbers, got {array[where]} at index {where if ndim > 1 else where[0]}"
        )
    array.setflags(write=False)
    return array


def _rational_array(name: str, array: Array) -> Array:
    flat = []
    for entry in array.reshape(-1):
        try:
            flat.append(entry if isinstance(entry, Fraction) else Fraction(entry))
        except (TypeError, ValueError, OverflowError):
            raise ProblemError(f"{name}: expected rational or real numbers, got {entry!r}") from None
    out: Array = np.empty(array.shape, dtype=object)
    out.reshape(-1)[:] = flat
    out.setflags(write=False)
    return out


def to_rational(array: Array) -> Array:
    """The same numbers as Fractions; floats are dyadic rationals, so nothing is rounded."""
    out = np.empty(array.size, dtype=object)
    out[:] = [entry if isinstance(entry, Fraction) else Fraction(entry) for entry in array.reshape(-1).tolist()]
    return out.reshape(array.shape)


def to_float(array: Array) -> Array:
    """The nearest float64 numbers."""
    return array.astype(np.float64) if array.dtype == object else np.asarray(array, dtype=np.float64)


def tree_of(jacobian: Jacobian) -> dict[str, Any]:
    """What files hold of it; ProblemError beyond DENSE_LIMIT."""
    if isinstance(jacobian, DenseJacobian):
        return {"kind": "dense", "matrix": jacobian.matrix}
    if isinstance(jacobian, ProductJacobian):
        block = [jacobian.block.start, jacobian.block.stop]
        n = jacobian.n_parameters
        return {"kind": "product", "V": jacobian.V, "X": jacobian.X, "block": block, "n_parameters": n}
    k, d = jacobian.shape
    if k * d > DENSE_LIMIT:
        raise ProblemError(
            f"jacobian: {k} x {d} entries are more than the {DENSE_LIMIT} that a file or a proof about it holds; "
            "freeze what does not move with requires_grad_(False), so that it is no part of theta; or retain less"
        )
    return {"kind": "dense", "matrix": rows_of(jacobian, np.arange(d), np.dtype(np.float64))}


def rows_of(jacobian: Jacobian, columns: Array, dtype: np.dtype[Any]) -> Array:
    """J on some columns, written out by products with unit vectors: the same entries whoever asks."""
    k = jacobian.shape[0]
    rows = np.empty((k, columns.size), dtype=dtype)
    unit = to_rational(np.zeros(k)) if dtype == np.dtype(object) else np.zeros(k)
    for i in range(k):
        unit[i] += 1
        rows[i] = np.asarray(jacobian.rmatvec(unit))[columns]
        unit[i] -= 1
    return rows


def from_tree(tree: Mapping[str, Any]) -> Jacobian:
    """The inverse of `tree_of`."""
    if tree["kind"] == "dense":
        return DenseJacobian(tree["matrix"])
    return ProductJacobian(tree["V"], tree["X"], slice(*tree["block"]), tree["n_parameters"])
