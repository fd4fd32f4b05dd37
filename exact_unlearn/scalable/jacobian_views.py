"""Jacobians derived from another one: some of its rows, or combinations of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn.scalable.jacobian_core import (
    DenseTorchJacobian,
    Rows,
    TorchJacobian,
    error_estimate,
    numpy_door,
    unit_rows,
    wider,
)
from exact_unlearn.scalable.running import plainly


@dataclass(frozen=True, eq=False)
class MixedRows:
    """M J for a short matrix M (r, k) in float64: J seen through combinations of its rows."""

    inner: TorchJacobian
    mix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.mix.shape[0]), self.inner.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def error_estimate(self) -> float:
        return error_estimate(self.inner)

    @property
    def first_dtype(self) -> torch.dtype:
        return torch.float64

    @numpy_door
    def matvec(self, drift: Tensor) -> Tensor:
        product: Tensor = self.inner.matvec(drift)
        return (self.mix @ product.double()).to(wider(product.dtype, drift.dtype))

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        product: Tensor = self.inner.rmatvec((self.mix.T @ nu.double()).to(nu.dtype))
        return product

    @plainly
    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        out = torch.zeros(self.shape[0], self.shape[0], dtype=torch.float64, device=self.device)
        for columns, rows in self.column_blocks(torch.float64):  # mixed first: combinations of rows may cancel
            out += (rows if weights is None else rows * weights[columns]) @ rows.T
        return out

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        for columns, block in self.inner.column_blocks(torch.float64):
            yield columns, (self.mix @ block).to(dtype or self.dtype)

    def select(self, rows: Rows) -> MixedRows:
        return MixedRows(self.inner, self.mix[rows])

    @plainly
    def rows(self, indices: Rows) -> Tensor:
        return unit_rows(self.select(indices), slice(None))

    @plainly
    def dense(self) -> Tensor:
        return self.rows(slice(None))

    def reduce(self, value: Tensor) -> Tensor:
        return self.inner.reduce(value)


def row_subset(jacobian: TorchJacobian, indices: Tensor) -> TorchJacobian:
    """Some rows of J without copying it: products pad with zeros, so nothing but the index changes as the set
    shrinks.
    """
    if isinstance(jacobian, RowSubset):
        return RowSubset(jacobian.inner, jacobian.indices[indices])
    return RowSubset(jacobian, indices)


@dataclass(frozen=True, eq=False)
class RowSubset:
    """The rows `indices` (distinct, (r,)) of another Jacobian."""

    inner: TorchJacobian
    indices: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.indices.numel()), self.inner.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def error_estimate(self) -> float:
        return error_estimate(self.inner)

    @property
    def first_dtype(self) -> torch.dtype:
        return self.inner.first_dtype

    @numpy_door
    def matvec(self, drift: Tensor) -> Tensor:
        product: Tensor = self.inner.matvec(drift)
        return product[self.indices]

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        padded = nu.new_zeros(self.inner.shape[0])
        padded[self.indices] = nu
        product: Tensor = self.inner.rmatvec(padded)
        return product

    @plainly
    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        return self.inner.gram(weights, dtype)[self.indices][:, self.indices]

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        for columns, block in self.inner.column_blocks(dtype):
            yield columns, block[self.indices]

    def select(self, rows: Rows) -> TorchJacobian:
        return self.inner.select(self.indices[rows])

    @plainly
    def rows(self, indices: Rows) -> Tensor:
        return self.inner.rows(self.indices[indices])

    @plainly
    def dense(self) -> Tensor:
        return self.rows(slice(None))

    def compact(self) -> TorchJacobian:
        """The same rows without the others in memory."""
        if isinstance(self.inner, DenseTorchJacobian):
            return self.inner.select(self.indices)
        return self.inner.select(self.indices)

    def reduce(self, value: Tensor) -> Tensor:
        return self.inner.reduce(value)
