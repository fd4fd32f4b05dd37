"""Jacobians as torch operators: the protocol, the dense one, and the door through which NumPy comes in.

Solvers of this package see J only through `TorchJacobian`.  Where J is stored, whether it is stored at all, and
whether its columns are spread over processes is the business of the classes that follow the protocol:

    DenseTorchJacobian   every entry (this file)
    LayerJacobian        activations and back-propagated gradients, never J itself (jacobian_layers.py)
    TangentJacobian      products only, by forward and reverse differentiation (jacobian_products.py)

At the NumPy door (`matvec`, `rmatvec` with arrays) all of them follow `exact_unlearn.jacobian.Jacobian`, so
each can stand in an UnlearningProblem.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import DenseJacobian, Jacobian, to_float
from exact_unlearn.scalable.running import plain_arithmetic, plainly

Rows = slice | Tensor
"""Which rows of J: a slice, or a vector of distinct indices."""

CHUNK_BYTES = {"cpu": 1 << 20, "cuda": 1 << 28}
"""How much of J is worked on at once: what a core keeps in its cache, and what fills a GPU."""


@runtime_checkable
class TorchJacobian(Protocol):
    """A linear map R^d -> R^k on torch tensors, its parameter dimension possibly sharded.

    Arithmetic is that of the wider of J and the vector it meets: a float64 vector makes float64 products of
    float32 data, each of which is then exact.  Tensors must live on `device`.  NumPy vectors are accepted by
    `matvec` and `rmatvec`, which then compute in float64 and return NumPy vectors.

    >>> from exact_unlearn.scalable import TorchJacobian, as_torch_jacobian
    >>> isinstance(as_torch_jacobian([[1.0, 2.0]]), TorchJacobian)
    True
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(k, d): constraints, parameters (of this shard)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the data, float32 or float64."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the data are."""
        ...

    @property
    def first_dtype(self) -> torch.dtype:
        """The arithmetic of a first attempt: float32 where float64 would cost noticeably more."""
        ...

    def matvec(self, drift: Any) -> Any:
        """J @ drift, (k,)."""
        ...

    def rmatvec(self, nu: Any) -> Any:
        """J.T @ nu, (d,)."""
        ...

    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """J diag(weights) J.T in float64, (k, k); `dtype` is that of the products, default the data's own."""
        ...

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        """J piece by piece as (columns, (k, width)); columns that never appear are zero."""
        ...

    def select(self, rows: Rows) -> TorchJacobian:
        """The Jacobian of some of the rows only."""
        ...

    def rows(self, indices: Rows) -> Tensor:
        """Some rows, dense: (len(indices), d)."""
        ...

    def dense(self) -> Tensor:
        """All of J, (k, d)."""
        ...

    def reduce(self, value: Tensor) -> Tensor:
        """Sum of `value` over the shards of the parameter dimension; `value` itself when there is one shard."""
        ...


def numpy_door(method: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Any], Any]:
    """Let a product with a tensor also take a NumPy vector: float64 in, float64 out.  The caller's autocast and
    inference mode are off meanwhile.
    """

    @functools.wraps(method)
    def product(self: Any, vector: Any) -> Any:
        if torch.is_inference_mode_enabled() or torch.is_autocast_enabled(self.device.type):
            with plain_arithmetic(self.device):
                return product(self, vector.clone() if isinstance(vector, Tensor) else vector)
        if isinstance(vector, Tensor):
            return method(self, vector)
        inner = torch.from_numpy(np.array(vector, dtype=np.float64)).to(self.device)
        return method(self, inner).to("cpu", torch.float64).numpy()

    return product


def wider(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    """float64 if one of the two is, else float32."""
    return torch.float64 if torch.float64 in (a, b) else torch.float32


def chunk_width(n_rows: int, dtype: torch.dtype, device: torch.device) -> int:
    """Columns per chunk, so that a chunk of `n_rows` rows fits the cache (or fills the GPU)."""
    budget = CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"])
    return max(256, budget // (max(n_rows, 1) * dtype.itemsize) // 64 * 64)


def add_gram(out: Tensor, rows: Tensor, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> None:
    """out += rows diag(weights) rows.T: products in `dtype`, sums over chunks of columns in float64.

    The float64 sums keep the error of float32 products near one unit roundoff however long the rows are.
    """
    dtype = dtype or rows.dtype
    width = chunk_width(rows.shape[0], dtype, rows.device)
    for start in range(0, rows.shape[1], width):
        chunk = rows[:, start : start + width].to(dtype)
        add_lower(out, chunk, chunk if weights is None else chunk * weights[start : start + width].to(dtype))
    mirror(out)


def add_lower(out: Tensor, chunk: Tensor, other: Tensor) -> None:
    """out += other @ chunk.T, which is symmetric, in panels of rows on and below the diagonal; see `mirror`."""
    k, panel = chunk.shape[0], _panel(chunk)
    for top in range(0, k, panel):
        bottom = min(top + panel, k)
        out[top:bottom, :bottom] += other[top:bottom] @ chunk[:bottom].T


def mirror(out: Tensor) -> None:
    """Copy what lies below the diagonal of a symmetric matrix to above it."""
    out.copy_(torch.tril(out) + torch.tril(out, -1).T)


def _panel(chunk: Tensor) -> int:
    """Rows per panel: a multiple of the 48 that AVX-512 kernels like best; one panel on GPUs."""
    k = chunk.shape[0]
    return max(k, 1) if chunk.device.type != "cpu" else 48 if k < 256 else 96


@dataclass(frozen=True, eq=False)
class DenseTorchJacobian:
    """J stored entry by entry: matrix (k, d), float32 or float64, on any device.

    Narrower floats are widened, integers become float64.  error_estimate: relative error of the entries as
    derivatives (jacobian_check.py), 0 where they are data.  Raises ProblemError on anything but a real matrix.

    >>> import torch
    >>> from exact_unlearn.scalable import DenseTorchJacobian
    >>> J = DenseTorchJacobian(torch.tensor([[1.0, 2.0]]))
    >>> J.shape, J.matvec([3.0, 1.0]).tolist()
    ((1, 2), [5.0])
    """

    matrix: Tensor
    error_estimate: float = 0.0

    def __post_init__(self) -> None:
        matrix = self.matrix
        if not isinstance(matrix, Tensor) or matrix.ndim != 2 or matrix.is_complex():
            raise ProblemError(f"jacobian: expected a real matrix (k, d), got {_describe(matrix)}")
        matrix = matrix.detach()
        if matrix.dtype not in (torch.float32, torch.float64):
            matrix = matrix.to(torch.float32 if matrix.is_floating_point() else torch.float64)
        object.__setattr__(self, "matrix", matrix)

    @property
    def shape(self) -> tuple[int, int]:
        k, d = self.matrix.shape
        return k, d

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def first_dtype(self) -> torch.dtype:
        return torch.float64 if self.matrix.numel() < _SMALL else self.dtype

    @numpy_door
    def matvec(self, drift: Tensor) -> Tensor:
        if wider(self.dtype, drift.dtype) == self.dtype:
            return self.matrix @ drift.to(self.dtype)
        out = drift.new_zeros(self.shape[0])
        for columns, block in self.column_blocks(drift.dtype):
            out += block @ drift[columns]
        return out

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        if wider(self.dtype, nu.dtype) == self.dtype:
            return self.matrix.T @ nu.to(self.dtype)
        out = nu.new_empty(self.shape[1])
        for columns, block in self.column_blocks(nu.dtype):
            torch.mv(block.T, nu, out=out[columns])
        return out

    @plainly
    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        k = self.shape[0]
        out = torch.zeros(k, k, dtype=torch.float64, device=self.device)
        add_gram(out, self.matrix, weights, dtype)
        return out

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        k, d = self.shape
        width = chunk_width(k, dtype or self.dtype, self.device)
        for start in range(0, d, width):
            columns = slice(start, min(start + width, d))
            yield columns, self.matrix[:, columns].to(dtype or self.dtype)

    def select(self, rows: Rows) -> DenseTorchJacobian:
        return DenseTorchJacobian(self.matrix[rows], self.error_estimate)

    @plainly
    def rows(self, indices: Rows) -> Tensor:
        return self.matrix[indices]

    @plainly
    def dense(self) -> Tensor:
        return self.matrix

    def reduce(self, value: Tensor) -> Tensor:
        return value


_SMALL = 1 << 19


@dataclass(frozen=True, eq=False)
class ForeignJacobian:
    """A `Jacobian` of the NumPy side that offers products only, as a torch operator on the CPU in float64."""

    inner: Jacobian

    products_only = True

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def first_dtype(self) -> torch.dtype:
        return torch.float64

    @numpy_door
    def matvec(self, drift: Tensor) -> Tensor:
        return torch.as_tensor(to_float(np.asarray(self.inner.matvec(drift.double().numpy()))))

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        return torch.as_tensor(to_float(np.asarray(self.inner.rmatvec(nu.double().numpy()))))

    @plainly
    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        return products_gram(self, weights)

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        yield slice(0, self.shape[1]), self.dense()

    def select(self, rows: Rows) -> TorchJacobian:
        return DenseTorchJacobian(self.rows(rows))

    @plainly
    def rows(self, indices: Rows) -> Tensor:
        return unit_rows(self, indices)

    @plainly
    def dense(self) -> Tensor:
        return self.rows(slice(None))

    def reduce(self, value: Tensor) -> Tensor:
        return value


def error_estimate(jacobian: object) -> float:
    """How far J is from the derivative that it stands for, relatively; 0 for J that are data."""
    return float(getattr(jacobian, "error_estimate", 0.0))


def unit_rows(jacobian: TorchJacobian, indices: Rows) -> Tensor:
    """Rows of J as products J.T e_i, one at a time: what an operator without entries can do."""
    wanted = torch.arange(jacobian.shape[0])[indices if isinstance(indices, slice) else indices.cpu()].tolist()
    out = torch.empty(len(wanted), jacobian.shape[1], dtype=jacobian.dtype, device=jacobian.device)
    unit = torch.zeros(jacobian.shape[0], dtype=jacobian.dtype, device=jacobian.device)
    for position, i in enumerate(wanted):
        unit[i] = 1.0
        out[position] = jacobian.rmatvec(unit)
        unit[i] = 0.0
    return out


def products_gram(jacobian: TorchJacobian, weights: Tensor | None = None) -> Tensor:
    """J diag(weights) J.T by k pairs of products; J itself is never stored."""
    k = jacobian.shape[0]
    out = torch.zeros(k, k, dtype=torch.float64, device=jacobian.device)
    unit = torch.zeros(k, dtype=jacobian.dtype, device=jacobian.device)
    for i in range(k):
        unit[i] = 1.0
        row = jacobian.rmatvec(unit)
        out[:, i] = jacobian.matvec(row if weights is None else row * weights.to(row.dtype))
        unit[i] = 0.0
    return (out + out.T) / 2


def as_tensor(name: str, values: Any, device: torch.device | None = None) -> Tensor:
    """`values` as a detached real tensor; arrays are shared where possible and never written to."""
    if isinstance(values, Tensor):
        tensor = values.detach()
    else:
        try:
            array = np.asarray(values)
            array = to_float(array) if array.dtype == object else array
        except (TypeError, ValueError, OverflowError):
            raise ProblemError(f"{name}: expected real numbers, got {type(values).__name__}") from None
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise ProblemError(f"{name}: expected real numbers (float64 or narrower), got dtype {array.dtype}")
        if any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
            array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
        with warnings.catch_warnings():  # torch warns that read-only arrays could be written to; we only read
            warnings.simplefilter("ignore", UserWarning)
            tensor = torch.from_numpy(array)
    if tensor.is_complex():
        raise ProblemError(f"{name}: expected real numbers, got dtype {tensor.dtype}")
    if tensor.is_meta or tensor.layout != torch.strided:
        what = "a tensor on the meta device" if tensor.is_meta else f"layout {tensor.layout}"
        raise ProblemError(f"{name}: expected a dense tensor with numbers in it, got {what}")
    return tensor if device is None else tensor.to(device)


def as_torch_jacobian(jacobian: Any) -> TorchJacobian:
    """A matrix (tensor or array), a Jacobian of the NumPy side or a TorchJacobian, as a TorchJacobian.

    >>> from exact_unlearn.scalable import as_torch_jacobian
    >>> as_torch_jacobian([[1.0, 2.0]]).rmatvec([3.0]).tolist()
    [3.0, 6.0]
    """
    if isinstance(jacobian, DenseJacobian):
        return DenseTorchJacobian(as_tensor("jacobian", jacobian.matrix))
    if not isinstance(jacobian, Tensor | np.ndarray):
        if hasattr(
            jacobian, "column_blocks"
        ):  # isinstance would look at every member of the protocol, which takes longer than the products
            return cast(TorchJacobian, jacobian)
        if isinstance(jacobian, Jacobian):
            return ForeignJacobian(jacobian)
    try:
        return DenseTorchJacobian(as_tensor("jacobian", jacobian))
    except (TypeError, ValueError) as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError(f"jacobian: expected a matrix (k, d) or a Jacobian, got {_describe(jacobian)}") from None


def _describe(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    return type(value).__name__
