"""The row space of J, factored in the k dimensions of its rows: right at every rank and conditioning.

Rows are first brought to unit length (D = diag(1 / |row|)), for the length of a constraint means nothing.  A
factor then holds

    W (r, k)   with W D J an orthonormal basis of the row space,
    Y (k, r)   with D J = Y W D J,

so that (J J.T)^+ = D W.T W D, and d appears only in products with J.  Three ways to get there, each with the
range where it is right, and each saying when it is not (`departure`, an estimate of |W D J J.T D W.T - I|):

    Gram        one Gram matrix and Cholesky; needs cond(J)^2 * u << 1, u the unit roundoff of the products
    CholeskyQR  rotate the rows by the eigenvectors of their Gram matrix, bring them to unit length, take the Gram
                matrix again: every round resolves another 1/sqrt(u) of the spectrum, so two suffice for any
                conditioning.  No random sketch is involved, which would lose rank on sparse rows.
    TSQR        Householder QR of blocks of J.T, the naive twin; slower, and accurate to cond(J) * u

Weights s_j >= 0 on the columns turn every J J.T into J diag(s) J.T.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from exact_unlearn.rowspace import RankReport
from exact_unlearn.scalable.jacobian_core import TorchJacobian
from exact_unlearn.scalable.running import plainly

U32 = float(torch.finfo(torch.float32).eps) / 2
U64 = float(torch.finfo(torch.float64).eps) / 2

MAX_DEPARTURE = 0.25
"""A factor that departs more than this from orthonormality is not used: its residuals would not measure errors."""


@dataclass(frozen=True, eq=False)
class RowFactor:
    """D J = Y Q with Q = W D J orthonormal; everything float64 and of size k.

    scale: (k,) the diagonal of D, 0 for zero rows.  whiten: W (r, k).  coordinates: Y (k, r).  null: (k - r,
    k), unit combinations of the unit-length rows that are numerically zero.  tolerance: how short such a
    combination had to be.  unseen: 0 for a whole factor; where only a part of the row space was explored, 1 /
    the smallest singular value seen there, assumed of the rest.  turned: by how much noise of a Gram matrix may have
    turned the span, in radians, where directions just above the tolerance meet those just below.

    >>> from exact_unlearn.scalable import RowFactor, project
    >>> factor = project([[1.0, 2.0], [2.0, 4.0]], [3.0, 1.0]).factor
    >>> isinstance(factor, RowFactor), factor.rank
    (True, 1)
    """

    scale: Tensor
    whiten: Tensor
    coordinates: Tensor
    null: Tensor
    tolerance: float
    departure: float
    route: str
    unseen: float = 0.0
    turned: float = 0.0

    @property
    def rank(self) -> int:
        """r, the numerical rank."""
        return int(self.whiten.shape[0])

    @cached_property
    def size(self) -> float:
        """|W|_F, at least 1 / sigma_min of the unit-length rows: how much W amplifies noise."""
        missing = self.scale.numel() - self.rank if self.unseen else 0
        return math.hypot(float(torch.linalg.vector_norm(self.whiten)), self.unseen * math.sqrt(missing))

    @cached_property
    def lengths(self) -> Tensor:
        """|row_i| = 1 / D_ii, 0 for zero rows."""
        return torch.where(self.scale > 0, self.scale.reciprocal(), 0.0)

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of the unit-length rows on the kept space, descending, (r,)."""
        return torch.linalg.svdvals(self.coordinates) if self.rank else self.scale.new_zeros(0)

    @property
    def is_triangular(self) -> bool:
        """Whether Y is lower triangular, as Cholesky leaves it."""
        return not bool(torch.triu(self.coordinates, 1).any())

    @property
    def condition(self) -> float:
        """sigma_1 / sigma_r of the unit-length rows (1 for rank 0)."""
        sigma = self.singular_values
        return float(sigma[0] / sigma[-1]) if self.rank else 1.0

    def whitened(self, residual: Tensor) -> Tensor:
        """W D residual, (r,): a residual of J D = b in orthonormal coordinates of the row space."""
        return self.whiten @ (self.scale * residual)

    def distance(self, residual: Tensor) -> float:
        """The length in parameter space of what a residual of J D = b leaves out: |(J J.T)^(-1/2) residual|."""
        inside = self.whitened(residual)
        length = float(torch.linalg.vector_norm(inside))
        if not self.unseen:
            return length
        outside = self.scale * residual - self.coordinates @ inside
        return math.hypot(length, self.unseen * float(torch.linalg.vector_norm(outside)))

    def pulled_length(self, nu: Tensor) -> float:
        """|J.T nu|, from the coordinates of the rows."""
        return float(torch.linalg.vector_norm(self.coordinates.T @ (self.lengths * nu)))

    def solve(self, residual: Tensor) -> Tensor:
        """(J J.T)^+ residual, (k,)."""
        return self.scale * (self.whiten.T @ self.whitened(residual))

    def report(self, n_columns: int) -> RankReport:
        """The rank decision in the words of the reference solver; the rows kept are the first that span the row
        space.
        """
        k = int(self.scale.numel())
        sigma = self.singular_values
        kept = (float(sigma[0]), float(sigma[-1])) if self.rank else (0.0, 0.0)
        rows = tuple(range(k)) if self.rank == k else _pivots(self.coordinates)
        return RankReport(self.rank, (k, n_columns), self.tolerance, kept[0], kept[1], 0.0, rows)


def _pivots(coordinates: Tensor) -> tuple[int, ...]:
    """Indices of r rows that span the row space: QR with column pivoting on Y.T, greedily the longest remainder."""
    rest = coordinates.clone()
    chosen: list[int] = []
    for _ in range(coordinates.shape[1]):
        lengths = torch.linalg.vector_norm(rest, dim=1)
        lengths[chosen] = -1.0
        best = int(lengths.argmax())
        chosen.append(best)
        direction = rest[best] / lengths[best].clamp_min(math.ulp(0.0))
        rest = rest - torch.outer(rest @ direction, direction)
    return tuple(sorted(chosen))


def default_tolerance(n_rows: int, dtype: torch.dtype) -> float:
    """2 sqrt(k) eps of the data: rounding every entry of J moves a unit combination of unit rows by less than
    this.
    """
    return 2.0 * math.sqrt(max(n_rows, 1)) * float(torch.finfo(dtype).eps)


def householder_tolerance(tolerance: float, n_rows: int, n_columns: int) -> float:
    """`tolerance`, but no less than 2 sqrt(max(k, d)) eps: below, singular values of a triangle R of J.T = Q R are the
    backward error of the QR.

    Dependent unit rows leave up to 0.4 sqrt(d) eps in R (measured for d from 1e2 to 1e6; sums of d rounded terms),
    and how much of it depends on the kernel that made R.
    """
    return max(tolerance, 2.0 * math.sqrt(max(n_rows, n_columns, 1)) * float(torch.finfo(torch.float64).eps))


def factors(
    jacobian: TorchJacobian,
    weights: Tensor | None,
    tolerance: float,
    gram: Tensor | None = None,
    gram_dtype: torch.dtype = torch.float64,
) -> Iterator[RowFactor]:
    """Factors of diag(1/|row|) J diag(sqrt(weights)), each better and dearer than the one before.

    gram: the Gram matrix if it is known already, with products in `gram_dtype`.  A factor that cannot be
    trusted is passed over.
    """
    dtype = gram_dtype if gram is not None else jacobian.first_dtype
    if gram is None:
        gram = jacobian.reduce(jacobian.gram(weights, dtype))
    if dtype == torch.float32:
        factor = gram_factor(gram, tolerance, float32_unit(gram.device), "gram32")
        if factor is not None:
            yield factor
        gram = jacobian.reduce(jacobian.gram(weights, torch.float64))
    factor = gram_factor(gram, tolerance, U64, "gram64")
    if factor is not None:
        yield factor
    yield choleskyqr(jacobian, weights, tolerance, gram)


def float32_unit(device: torch.device) -> float:
    """The unit roundoff of float32 matrix products as torch is configured: TF32 and bfloat16 shortcuts count."""
    precision = torch.get_float32_matmul_precision()
    if precision == "medium":
        return 2.0**-8
    if precision == "high" or (device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32):
        return 2.0**-11
    return U32


def gram_factor(gram: Tensor, tolerance: float, unit: float, route: str) -> RowFactor | None:
    """The factor from one Gram matrix whose entries are known to `unit` relative to |row_i| |row_j|; None if it
    cannot be trusted.

    Cholesky where the rows are independent enough; else, where tolerance^2 stands out of the noise of the Gram
    matrix, its eigenvectors with eigenvalues above tolerance^2.
    """
    lengths = gram.diagonal()
    live = lengths > 0
    if not bool(live.all()):
        return _embedded(gram_factor(gram[live][:, live], tolerance, unit, route), live)
    k = int(lengths.numel())
    scale = lengths.rsqrt()
    unit_gram = scale[:, None] * gram * scale
    lower, info = torch.linalg.cholesky_ex(unit_gram)
    noise = 2.0 * math.sqrt(k) * unit
    if int(info) == 0:
        whiten = torch.linalg.solve_triangular(lower, _identity(gram), upper=False)
        size = float(torch.linalg.vector_norm(whiten))
        if noise * size**2 <= MAX_DEPARTURE and size * tolerance < 1.0:
            return RowFactor(scale, whiten, lower, gram[:0], tolerance, noise * size**2, route)
    if tolerance**2 < 16.0 * k * unit:
        return None
    values, vectors = torch.linalg.eigh(unit_gram)
    first = int((values < tolerance**2).sum())  # eigenvalues ascend
    root, kept = values[first:].sqrt(), vectors[:, first:]
    whiten = (kept / root).T
    departure = noise * float(torch.linalg.vector_norm(whiten)) ** 2
    if departure > MAX_DEPARTURE:
        return None
    null, turned = vectors[:, :first].T, _turned(values[first:], values[:first], noise)
    return RowFactor(scale, whiten, kept * root, null, tolerance, departure, f"{route}-eigen", turned=turned)


def _turned(kept: Tensor, lost: Tensor, noise: float) -> float:
    """How far the span of kept eigenvectors is turned by noise of the matrix: eigenvector j mixes into r by up to
    noise / (lambda_r - lambda_j), and the rows that they combine have lengths sqrt(lambda).
    """
    if not lost.numel():
        return 0.0
    mixed = noise / (kept[:, None] - lost).clamp_min(noise)
    return float(torch.linalg.vector_norm(mixed * (lost.clamp_min(noise) / kept[:, None]).sqrt()))


@plainly
def choleskyqr(
    jacobian: TorchJacobian, weights: Tensor | None, tolerance: float, gram: Tensor | None = None
) -> RowFactor:
    """The factor by repeated Gram matrices, float64; right to cond(J) * u at any rank.

    gram: J diag(weights) J.T in float64, if known.  A combination of unit rows, of unit length itself, counts
    as zero when no longer than `tolerance`.

    >>> from exact_unlearn.scalable import as_torch_jacobian, choleskyqr
    >>> J = as_torch_jacobian([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]])
    >>> choleskyqr(J, None, tolerance=1e-10).rank
    2
    """
    if gram is None:
        gram = jacobian.reduce(jacobian.gram(weights, torch.float64))
    live = gram.diagonal() > 0
    index = live.nonzero()[:, 0]
    scale = gram.diagonal()[live].rsqrt()
    k = int(index.numel())
    _, vectors = torch.linalg.eigh(scale[:, None] * gram[live][:, live] * scale)
    mix = vectors.T
    lost: list[Tensor] = [mix[:0]]
    lower, departure = mix.new_zeros(0, 0), 0.0
    for _ in range(6):
        mixed = mixed_gram(jacobian, mix * scale, index, weights)
        lengths = mixed.diagonal().clamp_min(0).sqrt()
        kept = lengths > tolerance * torch.linalg.vector_norm(mix, dim=1)
        lost.append(mix[~kept])
        lengths = lengths[kept]
        mix = mix[kept] / lengths[:, None]
        mixed = mixed[kept][:, kept] / lengths[:, None] / lengths
        lower, info = torch.linalg.cholesky_ex(mixed)
        if int(info) == 0:
            basis = torch.linalg.solve_triangular(lower, _identity(mixed), upper=False)
            departure = 2.0 * math.sqrt(max(k, 1)) * U64 * float(torch.linalg.vector_norm(basis)) ** 2
            if departure <= 1e-2:
                whiten = basis @ mix  # orthonormal rows; a row of W longer than 1 / tolerance stands on noise
                left, amplification, _ = torch.linalg.svd(whiten, full_matrices=False)
                if not bool((amplification * tolerance >= 1.0).any()):
                    break
                mix = left.T @ whiten
                continue
        _, vectors = torch.linalg.eigh(mixed)
        mix = vectors.T @ mix
    null = torch.linalg.qr(torch.cat(lost).T).Q.T
    whiten = torch.linalg.solve_triangular(lower, mix, upper=False)
    whiten = whiten - (whiten @ null.T) @ null
    basis, upper = torch.linalg.qr(whiten.T)  # Y is the pseudo-inverse of W; QR does not mind rows of unequal length
    coordinates = torch.linalg.solve_triangular(upper, basis.T, upper=True).T
    factor = RowFactor(scale, whiten, coordinates, null, tolerance, departure, "choleskyqr")
    return factor if k == live.numel() else _whole(factor, live)


def mixed_gram(jacobian: TorchJacobian, mix: Tensor, index: Tensor, weights: Tensor | None) -> Tensor:
    """(M J) diag(weights) (M J).T in float64 with M J formed block by block, so that what is left of cancelling
    rows is seen.

    mix: M (r, len(index)), acting on the rows `index` of J.
    """
    out = torch.zeros(mix.shape[0], mix.shape[0], dtype=torch.float64, device=mix.device)
    every = index.numel() == jacobian.shape[0]
    for columns, block in jacobian.column_blocks(torch.float64):
        rows = mix @ (block if every else block[index])
        out += rows @ (rows if weights is None else rows * weights[columns]).T
    return jacobian.reduce(out)


@plainly
def tsqr(jacobian: TorchJacobian, weights: Tensor | None, tolerance: float) -> RowFactor:
    """The factor by Householder QR of blocks of J.T, one after the other: the naive twin of `choleskyqr`.

    Its rank is decided at `householder_tolerance`.

    >>> from exact_unlearn.scalable import as_torch_jacobian, tsqr
    >>> J = as_torch_jacobian([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]])
    >>> tsqr(J, None, tolerance=1e-10).rank
    2
    """
    k, d = jacobian.shape
    upper = torch.zeros(0, k, dtype=torch.float64, device=jacobian.device)
    for columns, block in jacobian.column_blocks(torch.float64):
        rows = block if weights is None else block * weights[columns].to(torch.float64).sqrt()
        upper = torch.linalg.qr(torch.cat([upper, rows.T]), mode="r").R
    return cleaned(jacobian, weights, triangular_factor(upper, householder_tolerance(tolerance, k, d)))


def cleaned(jacobian: TorchJacobian, weights: Tensor | None, factor: RowFactor) -> RowFactor:
    """The factor with what the error of R left of the row space in its null combinations taken out, by one sweep."""
    if factor.null.shape[0] == 0:
        return factor
    cross = torch.zeros_like(factor.null)
    for columns, block in jacobian.column_blocks(torch.float64):
        rows = (factor.null * factor.scale) @ block
        cross += (rows if weights is None else rows * weights[columns]) @ (factor.scale[:, None] * block).T
    left = factor.null - cross @ factor.whiten.T @ factor.whiten
    return replace(factor, null=torch.linalg.qr(left.T).Q.T)


def triangular_factor(upper: Tensor, tolerance: float) -> RowFactor:
    """The factor from R, (any, k), with J.T = Q R: distributed solvers gather the R of every shard and end here.

    tolerance: from `householder_tolerance`, for R knows nothing smaller.
    """
    lengths = torch.linalg.vector_norm(upper, dim=0)
    scale = torch.where(lengths > 0, 1.0 / lengths, 0.0)
    left, sigma, _ = torch.linalg.svd((upper * scale).T, full_matrices=True)
    rank = int((sigma > tolerance).sum())
    whiten = left[:, :rank].T / sigma[:rank, None]
    departure = 2.0 * math.sqrt(max(upper.shape[1], 1)) * U64 * float(torch.linalg.vector_norm(whiten))
    return RowFactor(scale, whiten, left[:, :rank] * sigma[:rank], left[:, rank:].T, tolerance, departure, "tsqr")


def _embedded(factor: RowFactor | None, live: Tensor) -> RowFactor | None:
    return None if factor is None else _whole(factor, live)


def _whole(factor: RowFactor, live: Tensor) -> RowFactor:
    """A factor of the rows `live`, for all rows; the others are zero."""
    k = int(live.numel())
    dead = (~live).nonzero()[:, 0]

    def spread(part: Tensor) -> Tensor:
        out = part.new_zeros(*part.shape[:-1], k)
        out[..., live] = part
        return out

    null = torch.cat([spread(factor.null), _identity(factor.scale.new_zeros(k, k))[dead]])
    coordinates = spread(factor.coordinates.T).T
    return RowFactor(
        spread(factor.scale),
        spread(factor.whiten),
        coordinates,
        null,
        factor.tolerance,
        factor.departure,
        factor.route,
    )


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
