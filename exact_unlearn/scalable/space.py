"""J seen through nearly orthonormal rows: what the norm solvers work in.

Q = T J on the free coordinates, with T from a factorisation of the rows (factor.py).  For well-conditioned rows
Q is never formed: products with J and a small T do, and T only has to be good enough for a preconditioner,
since {x : Q x = c} is the same set for every invertible T.  For ill-conditioned rows products through T would
drown in rounding, and Q is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.rowspace import RankReport, row_space
from exact_unlearn.scalable.factor import (
    U64,
    RowFactor,
    default_tolerance,
    factors,
    gram_factor,
    householder_tolerance,
    triangular_factor,
)
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, Rows, TorchJacobian
from exact_unlearn.scalable.team import Team, agreed, team_of

ILL_CONDITIONED = 1e5
"""From this |T|_F on for unit-length rows, Q is formed."""

TOO_DEPENDENT = (
    "jacobian: its rows are too ill conditioned for products alone; use route='columns', or exact_unlearn.solve"
)

REFINED_ENTRIES = 4_000_000
"""Up to this size an ill-conditioned J on the CPU is decomposed with extended precision (exact_unlearn.rowspace)."""


@dataclass(frozen=True, eq=False)
class Space:
    """Q = T J (or J itself when T is None) on the columns of this shard; J is `operator`, its rows scaled by
    powers of two.

    T: (r, k).  back: (k, r), multipliers nu = back @ y of the caller's rows from y of Q.  right: c (r,), with Q
    x = c for every feasible x on the free coordinates.  inconsistency: how much of b no drift reaches,
    relatively; farkas: (k,) the combination of rows that says so.  blur: the angle by which rounding may have turned
    the row space.
    """

    operator: TorchJacobian
    T: Tensor | None
    back: Tensor
    free: Tensor
    right: Tensor
    team: Team
    report: RankReport
    inconsistency: float = 0.0
    farkas: Tensor | None = None
    blur: float = 4.0 * U64

    @property
    def rank(self) -> int:
        """r."""
        return int(self.right.numel())

    def columns(self, index: Tensor) -> Tensor:
        """Q[:, index].T, (len(index), r) float64; needs a dense operator."""
        picked = self.operator.dense().index_select(1, index).to(torch.float64).T
        return (picked if self.T is None else picked @ self.T.T).contiguous()

    def pull(self, y: Tensor) -> Tensor:
        """Q.T y, (d,); meaningless on coordinates that are not free."""
        pulled: Tensor = self.operator.rmatvec(y if self.T is None else self.T.T @ y)
        return pulled

    def product(self, x: Tensor) -> Tensor:
        """Q x, (r,), for x (d,) that is zero on coordinates that are not free."""
        local = self.team.sum(self.operator.matvec(x))
        return local if self.T is None else self.T @ local

    def nu(self, y: Tensor) -> Tensor:
        """Multipliers of the caller's rows, (k,)."""
        return self.back @ y

    def seen(self) -> Tensor | None:
        """The mask of the columns of J that are not zero, (d,); None where J has products only."""
        if not isinstance(self.operator, DenseTorchJacobian | ShardedRows) or not self.rank:
            return None
        seen = torch.zeros_like(self.free)
        for row in self.operator.dense():  # row by row: no copy of J
            seen |= row != 0
        return seen

    def mixed(self, mix: Tensor) -> Space:
        """The same space with rows mix @ Q: combinations that do not see what was eliminated."""
        T = mix if self.T is None else mix @ self.T
        return replace(self, T=T, back=self.back @ mix.T, right=mix @ self.right)

    def shortest(self, residual: Tensor) -> Tensor:
        """The shortest D (d,) on the free coordinates with Q D = residual."""
        out = torch.zeros_like(self.free, dtype=torch.float64)
        left, before = residual, torch.inf
        for _ in range(60):
            size = float(torch.linalg.vector_norm(left))
            if not size < 0.9 * before:
                break
            out = out + torch.where(self.free, self.pull(left), 0.0)
            before, left = size, residual - self.product(out)
        return out


def build_space(jacobian: TorchJacobian, theta_star: Tensor, free: Tensor, rhs: Tensor) -> Space:
    """The row space of J on the free coordinates; any rank, conditioning and scale.

    jacobian: dense, or with products only.  theta_star (d,) float64, free (d,) bool: of this shard.  rhs: (k,)
    float64.
    """
    team = team_of(jacobian)
    start = torch.where(free, theta_star, 0.0)
    weights = None if bool(free.all()) else free.to(torch.float64)
    tolerance = default_tolerance(jacobian.shape[0], jacobian.dtype)
    if jacobian.shape[0] == 0:
        empty = torch.zeros(0, 0, dtype=torch.float64, device=free.device)
        report = RankReport(0, (0, jacobian.shape[1]), 0.0, 0.0, 0.0, 0.0, ())
        return Space(jacobian, None, empty, free, empty.new_zeros(0), team, report)
    if not isinstance(jacobian, DenseTorchJacobian | ShardedRows):
        return _by_products(jacobian, weights, tolerance, start, free, rhs)
    matrix, powers = _scaled_rows(jacobian.dense(), team)
    shared: TorchJacobian = DenseTorchJacobian(matrix) if team.size == 1 else ShardedRows(matrix, team)
    rhs = rhs * powers
    factor = next(iter(factors(shared, weights, tolerance)))
    rank, size = agreed(team, factor.rank, factor.size)
    ill = size > ILL_CONDITIONED or rank != factor.rank
    if ill and team.size == 1 and matrix.device.type == "cpu" and matrix.numel() <= REFINED_ENTRIES:
        return _refined(matrix, powers, start, free, rhs, team)
    if ill:
        return _orthonormal(matrix, powers, start, free, rhs, tolerance, team)
    T = team.agree(factor.whiten * factor.scale)
    miss, farkas = _missed(factor, rhs)
    right = team.agree(T @ (team.sum(shared.matvec(start)) + rhs))
    report = factor.report(matrix.shape[1])
    return Space(shared, T, (T * powers).T, free, right, team, report, miss, farkas, 4.0 * U64 * max(size, 1.0))


def _orthonormal(
    matrix: Tensor, powers: Tensor, start: Tensor, free: Tensor, rhs: Tensor, tolerance: float, team: Team
) -> Space:
    """Q by TSQR: Householder QR on every shard, QR of the stacked triangles, and the row space read off the last one.

    J D is then as small as rounding allows for every D orthogonal to Q, at any conditioning: QR is backward stable.
    """
    local, upper = torch.linalg.qr((matrix.to(torch.float64) * free).T)
    k, small = matrix.shape[0], upper.shape[0]
    padded = upper.new_zeros(k, k)
    padded[:small] = upper
    stacked = team.gather(padded).reshape(-1, k)
    outer, top = (team.agree(part) for part in torch.linalg.qr(stacked))
    local = local @ outer[team.rank * k : team.rank * k + small]
    lengths = torch.linalg.vector_norm(top, dim=0)
    scale = torch.where(lengths > 0, 1.0 / lengths, 0.0)
    left, sigma, right_vectors = (team.agree(part) for part in torch.linalg.svd(top * scale))
    width = int(team.sum(torch.tensor(matrix.shape[1], device=matrix.device)))
    tolerance = householder_tolerance(tolerance, k, width)
    rank = int((sigma > tolerance).sum())
    Q = (local @ left[:, :rank]).T.contiguous()
    combine = scale[:, None] * right_vectors[:rank].T / sigma[:rank]  # J.T combine = Q.T, so nu = combine @ y
    factor = triangular_factor(top, tolerance)
    miss, farkas = _missed(factor, rhs)
    right = team.agree(team.sum(Q @ start) + combine.T @ rhs)
    back = combine * powers[:, None]
    blur = 4.0 * U64 * math.sqrt(k) / float(sigma[rank - 1]) if rank else 0.0
    report = factor.report(matrix.shape[1])
    return Space(ShardedRows(Q, team), None, back, free, right, team, report, miss, farkas, blur)


def _by_products(
    jacobian: TorchJacobian, weights: Tensor | None, tolerance: float, start: Tensor, free: Tensor, rhs: Tensor
) -> Space:
    """T from the Gram matrix alone: what products with J can tell."""
    team = team_of(jacobian)
    gram = jacobian.reduce(jacobian.gram(weights))
    factor = gram_factor(gram, max(tolerance, 1e-6), 2.0**-53, "products")
    if factor is None:
        raise ProblemError(TOO_DEPENDENT)
    for combination in factor.null:  # a Gram matrix cannot tell small from zero; one more product with J can
        left: Tensor = jacobian.rmatvec(torch.where(factor.scale > 0, factor.scale, 1.0) * combination)
        length = team.sum((left if weights is None else left * weights).square().sum()).sqrt()
        if float(length) > 4.0 * tolerance:
            raise ProblemError(TOO_DEPENDENT)
    T = factor.whiten * factor.scale
    miss, farkas = _missed(factor, rhs)
    right = T @ (team.sum(jacobian.matvec(start)) + rhs)
    report, blur = factor.report(jacobian.shape[1]), 4.0 * U64 * max(factor.size, 1.0)
    return Space(jacobian, T, T.T, free, right, team, report, miss, farkas, blur)


@dataclass(frozen=True, eq=False)
class ShardedRows:
    """All rows on the columns of one shard, (k, d of the shard), with the reductions of its team.

    Products are local; whoever needs those of the whole J passes them through `reduce`.
    """

    matrix: Tensor
    team: Team

    stored = True

    @property
    def local(self) -> DenseTorchJacobian:
        """The shard as a Jacobian of its own."""
        return DenseTorchJacobian(self.matrix)

    @property
    def shape(self) -> tuple[int, int]:
        return self.local.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.local.dtype

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def first_dtype(self) -> torch.dtype:
        return self.dtype

    def matvec(self, drift: Any) -> Any:
        return self.local.matvec(drift)

    def rmatvec(self, nu: Any) -> Any:
        return self.local.rmatvec(nu)

    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        return self.local.gram(weights, dtype)

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        return self.local.column_blocks(dtype)

    def select(self, rows: Rows) -> ShardedRows:
        return ShardedRows(self.matrix[rows], self.team)

    def rows(self, indices: Rows) -> Tensor:
        return self.local.rows(indices)

    def dense(self) -> Tensor:
        return self.local.dense()

    def reduce(self, value: Tensor) -> Tensor:
        return self.team.sum(value)


def _scaled_rows(matrix: Tensor, team: Team) -> tuple[Tensor, Tensor]:
    """Rows divided by a power of two near their largest entry where their squares would leave the range of
    floats, and the factors.
    """
    k = matrix.shape[0]
    powers = torch.ones(k, dtype=torch.float64, device=matrix.device)
    if not k:
        return matrix, powers
    peaks = team.max(matrix.abs().amax(1) if matrix.shape[1] else powers * 0).to(torch.float64)
    low, high = (1e-12, 1e12) if matrix.dtype == torch.float32 else (1e-100, 1e100)
    if bool(((peaks == 0) | ((peaks > low) & (peaks < high))).all()):
        return matrix, powers
    exponents = torch.tensor([math.frexp(p)[1] if p else 0 for p in peaks.tolist()])
    powers = torch.ldexp(powers, -exponents.to(matrix.device))
    half = torch.ldexp(torch.ones(k, dtype=torch.float64), -(exponents // 2)).to(matrix)
    rest = torch.ldexp(torch.ones(k, dtype=torch.float64), -(exponents - exponents // 2)).to(matrix)
    return matrix * half[:, None] * rest[:, None], powers


def _missed(factor: RowFactor, rhs: Tensor) -> tuple[float, Tensor | None]:
    """|b| on the combinations of rows that vanish, relative to |b|, and those combinations as one vector."""
    if not bool(rhs.any()) or factor.null.shape[0] == 0:
        return 0.0, None
    lengths = torch.where(factor.scale > 0, factor.scale, 1.0)
    missed = factor.null @ (lengths * rhs)
    size = float(torch.linalg.vector_norm(lengths * rhs))
    return float(torch.linalg.vector_norm(missed)) / size, lengths * (factor.null.T @ missed)


def _refined(matrix: Tensor, powers: Tensor, start: Tensor, free: Tensor, rhs: Tensor, team: Team) -> Space:
    """The space from the decomposition that the reference solver uses, accurate at every conditioning."""
    index = free.nonzero()[:, 0]
    rows = row_space(np.ascontiguousarray(matrix.double()[:, index].numpy()))
    Q = torch.zeros(rows.Q.shape[0], matrix.shape[1], dtype=torch.float64)
    Q[:, index] = torch.from_numpy(rows.Q)
    particular = rows.particular(rhs.numpy())
    right = Q @ start + torch.from_numpy(rows.Q @ particular)
    back = torch.from_numpy(rows.multipliers(rows.Q.T)) * powers[:, None]
    left = rhs - matrix.double()[:, index] @ torch.from_numpy(particular)
    size = float(torch.linalg.vector_norm(rhs))
    miss = float(torch.linalg.vector_norm(left)) / size if size else 0.0
    return Space(DenseTorchJacobian(Q), None, back, free, right, team, rows.report, miss)
