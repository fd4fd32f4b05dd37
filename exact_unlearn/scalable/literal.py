"""The rank that a stored J has as written, whatever rounding says: ranks modulo primes.

A float is an integer times a power of two, so J has residues modulo every odd prime p, and its rank modulo p never
exceeds its rank.  J R with a random R of r + 1 columns has, modulo p, rank min(rank J, r + 1) but for a chance of
about r / p; two primes are tried.  Products of residues below 2^20 are exact in float64, a few thousand at a time, so
this is one more matrix product, taken only where rows count as dependent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian
from exact_unlearn.scalable.jacobian_views import RowSubset

PRIMES = (1048573, 1048571)
"""The largest primes below 2^20."""

_WIDTH = 4096  # products of residues that float64 adds without rounding


def is_stored(jacobian: Any) -> bool:
    """Whether the entries of J are given numbers, not the result of arithmetic that could have rounded them."""
    if isinstance(jacobian, RowSubset):
        return is_stored(jacobian.inner)
    return isinstance(jacobian, DenseTorchJacobian) or bool(getattr(jacobian, "stored", False))


def exceeds_rank(jacobian: TorchJacobian, rank: int, columns: Tensor | None = None) -> bool:
    """Whether the stored J, restricted to the columns where `columns` is not 0, has a rank above `rank` as written."""
    distinct = _distinct_rows(jacobian, columns)
    return len(distinct) > rank and any(_rank(jacobian, p, rank + 1, columns, distinct) > rank for p in PRIMES)


def _distinct_rows(jacobian: TorchJacobian, columns: Tensor | None) -> list[int]:
    """One row of every kind: zero rows and exact duplicates need no arithmetic."""
    k = jacobian.shape[0]
    peaks = torch.zeros(k, dtype=torch.float64, device=jacobian.device)
    sums = torch.zeros_like(peaks)
    for _, block in _blocks(jacobian, columns):
        peaks += block.abs().amax(1)
        sums += block @ torch.linspace(0.5, 1.5, block.shape[1]).to(block)
    peaks, sums = jacobian.reduce(peaks), jacobian.reduce(sums)
    first: dict[float, int] = {}
    like = torch.tensor([first.setdefault(value, i) for i, value in enumerate(sums.tolist())], device=peaks.device)
    apart = torch.zeros_like(peaks)  # equal sums prove nothing; floats that differ have a difference
    for _, block in _blocks(jacobian, columns):
        apart += (block - block[like]).abs().amax(1)
    alone = (like == torch.arange(k, device=like.device)) | (jacobian.reduce(apart) > 0)
    return [int(i) for i in (alone & (peaks > 0)).nonzero()[:, 0]]


def _blocks(jacobian: TorchJacobian, columns: Tensor | None) -> Iterator[tuple[int, Tensor]]:
    """J piece by piece with the column number at which each piece starts, without the columns that do not count."""
    for part, block in jacobian.column_blocks(torch.float64):
        kept = block if columns is None else block[:, columns[part] != 0]
        if kept.shape[1]:
            yield part.start, kept


def _rank(jacobian: TorchJacobian, prime: int, width: int, columns: Tensor | None, rows: list[int]) -> int:
    """rank(J R) modulo `prime`, R random with `width` columns."""
    total = torch.zeros(len(rows), width, dtype=torch.float64, device=jacobian.device)
    powers = torch.tensor([pow(2, e, prime) for e in range(-1200, 1200)], dtype=torch.float64, device=total.device)
    seed = int(getattr(getattr(jacobian, "team", None), "rank", 0))
    for start, block in _blocks(jacobian, columns):
        generator = torch.Generator().manual_seed(1_000_003 * seed + start)
        for piece in torch.split(block[rows], _WIDTH, 1):
            mantissa, exponent = torch.frexp(piece)
            whole = torch.remainder(torch.ldexp(mantissa, torch.tensor(53, device=total.device)), prime)
            residues = torch.remainder(whole * powers[exponent.long() - 53 + 1200], prime)
            mix = torch.randint(0, prime, (piece.shape[1], width), generator=generator).to(total)
            total = torch.remainder(total + torch.remainder(residues @ mix, prime), prime)
    return _eliminated(torch.remainder(jacobian.reduce(total), prime).cpu().numpy().astype(np.int64), prime)


def _eliminated(matrix: Any, prime: int) -> int:
    """The rank of an integer matrix modulo `prime`, by elimination in place."""
    rank = 0
    for column in range(matrix.shape[1]):
        pivots = np.flatnonzero(matrix[rank:, column])
        if not pivots.size:
            continue
        pivot = rank + int(pivots[0])
        matrix[[rank, pivot]] = matrix[[pivot, rank]]
        matrix[rank] = matrix[rank] * pow(int(matrix[rank, column]), -1, prime) % prime
        matrix[rank + 1 :] = (matrix[rank + 1 :] - np.outer(matrix[rank + 1 :, column], matrix[rank])) % prime
        rank += 1
        if rank == matrix.shape[0]:
            break
    return rank
