"""Deletion streams: the retain set shrinks by batches, and its factorisation follows instead of being computed
again.

With unit-length rows D J = Y Q (factor.py), deleting rows of J deletes rows of Y and leaves Q alone.  So
everything happens in r <= k dimensions: the upper triangular R with Y.T = H R is made triangular again by a QR
of its trailing columns (orthogonal transformations only, hence no growth of errors), and z = Q theta* turns
along.  One request costs O((k - j)^3) for the first deleted position j, and one sweep over J for theta and the
error estimate; a fresh Gram matrix would cost k^2 d.

Row spaces shrink along: row(J_2) lies in row(J_1), so P_2 theta* = P_2 P_1 theta*, and a stream equals the
projection from scratch.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.factor import U64, RowFactor
from exact_unlearn.scalable.jacobian_views import RowSubset, row_subset
from exact_unlearn.scalable.project import ask, finished, solve_quadratic, solve_seminorm
from exact_unlearn.scalable.projection import Projection
from exact_unlearn.scalable.refine import Task, refine
from exact_unlearn.scalable.running import plainly


class RetainStream:
    """The projection for a retain set that only shrinks.

    jacobian, theta, lam, weights, free, rank_tolerance, goal: as for `project`.  rows_per_sample: l, for
    `delete_samples`.

    >>> import torch
    >>> stream = RetainStream(torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    >>> stream.delete([1]).theta.tolist()
    [1.0, 0.0, 1.0]
    """

    @plainly
    def __init__(
        self,
        jacobian: Any,
        theta: Any,
        *,
        lam: float = 0.0,
        weights: Any = None,
        free: Any = None,
        rank_tolerance: float | None = None,
        goal: float | None = None,
        rows_per_sample: int = 1,
    ) -> None:
        self._asked = ask(jacobian, theta, lam, weights, free, None, rank_tolerance, goal)
        k = self._asked.jacobian.shape[0]
        if rows_per_sample < 1 or k % rows_per_sample:
            raise ProblemError(
                f"rows_per_sample: expected a divisor of the {k} rows of the jacobian, got {rows_per_sample}"
            )
        self._rows_per_sample = rows_per_sample
        self._rows = torch.arange(k, device=self._asked.jacobian.device)
        self._jacobian = self._asked.jacobian
        self._position = self._rows.clone()  # of every retained row within self._jacobian
        self._right_sides: dict[torch.dtype, Tensor] = {}
        self.refactored = 0
        self._factor: RowFactor | None = None
        self._dtype = torch.float64
        self.current = self._from_scratch(time.perf_counter())

    @property
    def retained(self) -> Tensor:
        """Row numbers, in the numbering of the jacobian given at first, that are still there."""
        return self._rows

    def delete_samples(self, samples: Any) -> Projection:
        """Forget whole samples: rows i l ... i l + l - 1 of each."""
        chosen = torch.as_tensor(samples, device=self._rows.device).reshape(-1)
        l = self._rows_per_sample
        return self.delete((chosen[:, None] * l + torch.arange(l, device=chosen.device)).reshape(-1))

    @plainly
    def delete(self, rows: Any) -> Projection:
        """Forget rows of J, by their number in the jacobian given at first; the projection for those that are
        left.
        """
        started = time.perf_counter()
        gone = torch.as_tensor(rows, device=self._rows.device).reshape(-1)
        keep = ~torch.isin(self._rows, gone)
        if gone.is_floating_point() or int((~keep).sum()) != torch.unique(gone).numel():
            raise ProblemError(f"rows: expected numbers of rows that are still retained, got {gone.tolist()!r:.80}")
        task = self._restricted(keep)
        factor = None if self._factor is None else without_rows(self._factor, keep)
        if factor is None or task.jacobian.shape[0] == 0:
            self.refactored += task.jacobian.shape[0] > 0
            self.current = self._from_scratch(started)
            return self.current
        self._factor = factor
        dtype = self._dtype
        goal = self._asked.plan.goal
        best, self._dtype = refine(task, factor, task.right_side(dtype), dtype, goal)
        if best.error > goal * best.size and best.row_error > 4.0 * best.noise:
            self.refactored += 1
            self.current = self._from_scratch(started)
            return self.current
        steps = (f"{factor.route}/{str(best.pull.dtype).removeprefix('torch.')}",)
        result = finished(task, factor, best, self._asked.plan, steps)
        self.current = self._answer(result, started)
        return self.current

    def _restricted(self, keep: Tensor) -> Task:
        """The task of the rows that are kept; memory is given back once half of the rows are gone."""
        self._rows, self._position = self._rows[keep], self._position[keep]
        self._right_sides = {dtype: side[keep] for dtype, side in self._right_sides.items()}
        if 2 * self._rows.numel() < self._jacobian.shape[0]:
            self._jacobian = RowSubset(self._jacobian, self._position).compact()
            self._position = torch.arange(self._rows.numel(), device=self._rows.device)
        return self._task()

    def _task(self) -> Task:
        whole = self._rows.numel() == self._jacobian.shape[0]
        J = self._jacobian if whole else row_subset(self._jacobian, self._position)
        return Task(J, self._asked.data, self._right_sides)

    def _from_scratch(self, started: float) -> Projection:
        self._right_sides = {}
        task, plan = self._task(), self._asked.plan
        costless = task.data.seminorm()
        if costless is None:
            result = solve_quadratic(task.jacobian, task.data, plan)
        else:
            result = solve_seminorm(task.jacobian, task.data, costless, plan)
        self._factor = result.factor
        self._dtype = torch.float32 if result.route.endswith("float32") else torch.float64
        return self._answer(result, started)

    def _answer(self, result: Projection, started: float) -> Projection:
        asked = replace(self._asked, jacobian=self._task().jacobian)
        return asked.answer(result, time.perf_counter() - started)


def without_rows(factor: RowFactor, keep: Tensor) -> RowFactor | None:
    """The factor of the kept rows from the factor of all of them, in the r dimensions of the row space.

    None where combinations of rows that counted as zero could make a difference now, or rounding could:
    rank-deficient rows are only followed while it is clear which of their singular values are zero.
    """
    coordinates, scale = factor.coordinates[keep], factor.scale[keep]
    k = int(scale.numel())
    if factor.null.shape[0] or factor.unseen:
        return _without_dependent_rows(factor, coordinates, scale)
    first = int((~keep).nonzero()[0, 0]) if k < keep.numel() else k
    upper = coordinates.T.contiguous()
    if not factor.is_triangular:
        upper = torch.linalg.qr(upper, mode="r").R
    elif first < k:  # columns before the first deleted one are triangular already
        tail = torch.linalg.qr(upper[first:, first:], mode="r").R
        upper = torch.cat([upper[:first], torch.cat([tail.new_zeros(k - first, first), tail], 1)])
    upper = upper[:k]
    whiten = torch.linalg.solve_triangular(upper.T, torch.eye(k).to(upper), upper=False)
    return RowFactor(scale, whiten, upper.T, factor.null[:, :k], factor.tolerance, factor.departure, "update")


def _without_dependent_rows(factor: RowFactor, coordinates: Tensor, scale: Tensor) -> RowFactor | None:
    """The same for dependent rows, by an SVD of their coordinates."""
    left, sigma, _ = torch.linalg.svd(coordinates, full_matrices=True)
    noise = 64.0 * U64 * math.sqrt(factor.scale.numel())
    unclear = (sigma > noise) & (sigma <= max(1e3 * noise, 2.0 * factor.tolerance))
    if bool(unclear.any()) or factor.unseen:
        return None
    rank = int((sigma > noise).sum())
    whiten = left[:, :rank].T / sigma[:rank, None]
    null = left[:, rank:].T
    departure = max(factor.departure, 2.0 * math.sqrt(scale.numel()) * U64 * float(torch.linalg.vector_norm(whiten)))
    return RowFactor(scale, whiten, left[:, :rank] * sigma[:rank], null, factor.tolerance, departure, "update")
