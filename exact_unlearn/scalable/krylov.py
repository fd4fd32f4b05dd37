"""The row space of J from products with J and J.T alone.

Golub-Kahan bidiagonalisation of A = J diag(sqrt(s)), started at c, builds orthonormal U (k, j) and V with A.T U
= V L.T, L lower bidiagonal.  It is the process beneath LSQR and LSMR; because the short vectors U are kept and
reorthogonalised (k numbers each), we take CRAIG's point V L^{-1} U.T c instead of LSMR's: of all points in this
Krylov space it is the nearest to the answer.  V is never stored.

Run to the end (j = k, with fresh random directions where the process breaks down), L has the singular values of
A, so rank and conditioning are known; stopped early, only the part of the spectrum that was seen is.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from exact_unlearn.scalable.factor import RowFactor
from exact_unlearn.scalable.jacobian_core import TorchJacobian
from exact_unlearn.scalable.jacobian_views import MixedRows

_CHECK_EVERY = 8
_SAFETY = 10.0


def krylov_factor(
    jacobian: TorchJacobian,
    weights: Tensor | None,
    start: Tensor,
    tolerance: float,
    goal: float = 0.0,
    dtype: torch.dtype | None = None,
) -> RowFactor:
    """A factor of J diag(sqrt(weights)) from at most k pairs of products; all rows are scaled alike, by 1 / sigma_1.

    start: c (k,), the right-hand side to be solved for.  goal: stop as soon as the error for c is below this
    relative size, judged by ten times the residual over the smallest singular value seen; 0 means run to the
    end. A direction counts as zero below `tolerance` * sigma_1.
    """
    process = _Bidiagonalisation(jacobian, weights, dtype or jacobian.dtype)
    process.begin(start.double())
    k = jacobian.shape[0]
    while len(process.alphas) < k:
        if goal > 0.0 and len(process.alphas) % _CHECK_EVERY == 0 and process.solved(goal):
            break
        process.advance()
    return process.factor(tolerance)


def krylov_of_unit_rows(jacobian: TorchJacobian, weights: Tensor | None, start: Tensor, tolerance: float) -> RowFactor:
    """The same for rows of unit length, which k more products find: where rows count as dependent, their lengths must
    not have a say in it.
    """
    k, squares = jacobian.shape[0], []
    for i in range(k):
        unit = torch.zeros(k, dtype=jacobian.dtype, device=jacobian.device)
        unit[i] = 1.0
        row = jacobian.rmatvec(unit).double()
        squares.append(jacobian.reduce((row.square() if weights is None else weights * row.square()).sum()))
    lengths = torch.stack(squares).sqrt()
    scale = torch.where(lengths > 0, lengths.reciprocal(), 0.0)
    unit_rows = MixedRows(jacobian, torch.diag(scale))
    factor = krylov_factor(unit_rows, weights, scale * start, tolerance, dtype=torch.float64)
    return replace(factor, scale=scale * factor.scale)


class _Bidiagonalisation:
    """The state of the process: u_1 ... u_j, the bidiagonal L, and the current v."""

    def __init__(self, jacobian: TorchJacobian, weights: Tensor | None, dtype: torch.dtype) -> None:
        self.jacobian = jacobian
        self.root = None if weights is None else weights.to(dtype).sqrt()
        self.dtype = dtype
        self.left: Tensor = torch.zeros(jacobian.shape[0], 0, dtype=torch.float64, device=jacobian.device)
        self.alphas: list[float] = []
        self.betas: list[float] = []  # betas[i] couples u_i to v_{i-1}; betas[0] = 0
        self.norm = 0.0
        self.rest: Tensor | None = None
        self.generator = torch.Generator().manual_seed(0)

    def push(self, v: Tensor) -> Tensor:
        """A v, (k,) float64."""
        product = self.jacobian.matvec(v if self.root is None else v * self.root)
        return self.jacobian.reduce(product.double())

    def pull(self, u: Tensor) -> Tensor:
        """A.T u, (d,)."""
        product: Tensor = self.jacobian.rmatvec(u.to(self.dtype))
        return product if self.root is None else product * self.root

    def length(self, v: Tensor) -> float:
        return math.sqrt(float(self.jacobian.reduce(torch.linalg.vector_norm(v).double().square())))

    def begin(self, start: Tensor) -> None:
        size = float(torch.linalg.vector_norm(start))
        self.start_size = size
        self._append(start / size if size > 0 else self._fresh(), 0.0, None)

    def remainder(self) -> Tensor:
        """A v_j without its part in u_1 ... u_j, that is beta u_{j+1}; computed once per step."""
        if self.rest is None:
            v, alpha = self.v, self.alphas[-1]
            rest = self.push(v) - alpha * self.left[:, -1] if alpha > 0.0 else torch.zeros_like(self.left[:, -1])
            for _ in range(2):
                rest = rest - self.left @ (self.left.T @ rest)
            self.rest = rest
        return self.rest

    def advance(self) -> None:
        """One more u and v."""
        rest = self.remainder()
        beta = float(torch.linalg.vector_norm(rest))
        noise = 4.0 * float(torch.finfo(self.dtype).eps) * self.norm
        if beta <= noise:
            self._append(self._fresh(), 0.0, None)
        else:
            self._append(rest / beta, beta, self.v)

    def solved(self, goal: float) -> bool:
        """Whether the point for c is within `goal` of the answer, as far as the spectrum seen tells."""
        if self.alphas[0] == 0.0:
            return False
        point: list[float] = []
        value = self.start_size
        for alpha, beta in zip(self.alphas, self.betas, strict=True):
            value = value / alpha if not point else -beta * value / alpha if alpha > 0.0 else 0.0
            point.append(value)
        if self.betas.count(0.0) > 1:  # the process broke down: c is solved, the rest is about the rank
            return True
        smallest = float(torch.linalg.svdvals(self.bidiagonal())[-1])
        size = math.sqrt(sum(y * y for y in point))
        residual = float(torch.linalg.vector_norm(self.remainder())) * abs(point[-1])
        return _SAFETY * residual <= goal * smallest * size

    def bidiagonal(self) -> Tensor:
        """L, (j, j)."""
        j = len(self.alphas)
        out = torch.zeros(j, j, dtype=torch.float64)
        out.diagonal().copy_(torch.tensor(self.alphas, dtype=torch.float64))
        if j > 1:
            out.diagonal(-1).copy_(torch.tensor(self.betas[1:], dtype=torch.float64))
        return out.to(self.left.device)

    def factor(self, tolerance: float) -> RowFactor:
        k, j = self.jacobian.shape[0], len(self.alphas)
        left, sigma, _ = torch.linalg.svd(self.bidiagonal())
        left = self.left @ left
        kept = sigma > tolerance * sigma[:1]
        size = float(sigma[0]) if float(sigma[0]) > 0.0 else 1.0
        sigma = sigma / size
        whiten = left[:, kept].T / sigma[kept, None]
        null = left[:, ~kept].T if j == k else left[:, :0].T
        unseen = 0.0 if j == k or not bool(kept.any()) else 1.0 / float(sigma[kept][-1])
        scale = torch.full((k,), 1.0 / size, dtype=torch.float64, device=left.device)
        departure = 2.0 * math.sqrt(k) * float(torch.finfo(self.dtype).eps) * float(torch.linalg.vector_norm(whiten))
        coordinates = left[:, kept] * sigma[kept]
        return RowFactor(scale, whiten, coordinates, null, tolerance, departure, "krylov", unseen)

    def _append(self, u: Tensor, beta: float, v: Tensor | None) -> None:
        following = self.pull(u) if v is None else self.pull(u) - beta * v
        alpha = self.length(following)
        noise = 4.0 * float(torch.finfo(self.dtype).eps) * max(self.norm, beta)
        alpha = alpha if alpha > noise else 0.0
        self.left = torch.cat([self.left, u[:, None]], 1)
        self.alphas.append(alpha)
        self.betas.append(beta)
        self.norm = max(self.norm, math.hypot(alpha, beta))
        self.rest = None
        self.v = following / alpha if alpha > 0.0 else following

    def _fresh(self) -> Tensor:
        """A random unit vector orthogonal to all u so far."""
        u = torch.randn(self.left.shape[0], generator=self.generator, dtype=torch.float64).to(self.left.device)
        for _ in range(2):
            u = u - self.left @ (self.left.T @ u)
        unit: Tensor = u / torch.linalg.vector_norm(u)
        return unit
