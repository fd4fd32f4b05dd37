"""Multipliers of an l2 problem, refined until an error estimate that the factorisation had no part in is content.

The error of J.T nu has a part in the row space, which the residual r = b - J D shows: |(J J.T)^(-1/2) r|; and
parts that no residual shows, which are modelled and added: the noise of r itself (measured on a few rows
against float64), and the rounding of J.T nu, which grows with |nu_i| |row_i|, that is with the cancellation
that an ill-conditioned J forces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from exact_unlearn.scalable.factor import U32, U64, RowFactor, float32_unit
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian, add_lower, chunk_width, mirror
from exact_unlearn.scalable.quadratic import Quadratic

_SAMPLE_ROWS = 5
_SAFETY = 4.0
_LEFT = 10.0
_MARGIN = 1.5  # W itself is known to rounding only
DOT = 6.0
"""Rounding of one entry of a residual in units of |row| |v|: products, and sums over WIDTH columns at a time."""
DERIVED = 4.0
"""The same for s and q, where there are weights."""
COHERENT = 40.0
"""The same where all terms have one sign, which only b can ask for: measured up to 36, for a million equal terms."""
_MAX_STEPS = 30
WIDTH = 2048
"""Columns whose products are summed at once in float64 on a CPU, at most: short sums round less."""
FEW = 4
"""Rows for which products are summed pairwise instead, since a chunk of theirs would be long."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Multipliers, J.T nu, and how far the theta that follows, of length `size`, is from the answer (lengths in
    parameter space).  residual: None where it was not computed.
    """

    nu: Tensor
    pull: Tensor
    residual: Tensor | None
    row_error: float
    noise: float
    size: float

    @property
    def error(self) -> float:
        """The estimate: what the residual still shows, and what it cannot show."""
        return self.row_error + self.noise


@dataclass(frozen=True, eq=False)
class Task:
    """One l2 problem with its operator: what refinement needs at hand."""

    jacobian: TorchJacobian
    data: Quadratic
    known: dict[torch.dtype, Tensor] = field(default_factory=dict)

    def right_side(self, dtype: torch.dtype) -> Tensor:
        """c = J (s q) + b / shrink, (k,) float64, with products in `dtype`; computed once per precision."""
        if dtype not in self.known:
            target = self.data.scaled(self.data.target)  # theta* itself where nothing changes: J theta* may be known
            if not getattr(self.jacobian, "is_wide", False):
                target = target.to(dtype)
            self.known[dtype] = self._with_rhs(self.jacobian.reduce(self.jacobian.matvec(target).double()))
        return self.known[dtype]

    def normal_equations(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """J diag(s) J.T and c; in one sweep over a dense J."""
        J, data = self.jacobian, self.data
        if not isinstance(J, DenseTorchJacobian) or data.metric is not None:
            return J.reduce(J.gram(data.metric, dtype)), self.right_side(dtype)
        k, d = J.shape
        gram = torch.zeros(k, k, dtype=torch.float64, device=J.device)
        product = gram.new_zeros(k)
        target, width = data.target.to(dtype), _width(k, dtype, J.device)
        for start in range(0, d, width):
            chunk = J.matrix[:, start : start + width].to(dtype)
            add_lower(gram, chunk, chunk)
            product += chunk @ target[start : start + width]
        mirror(gram)
        return gram, self._with_rhs(product)

    def sweep(self, nu: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """J.T nu in `dtype` and the residual b / shrink - J (s (J.T nu - q)), float64."""
        J, data = self.jacobian, self.data
        if not isinstance(J, DenseTorchJacobian):
            pull = J.rmatvec(nu.to(dtype))
            product = J.reduce(J.matvec(data.scaled(pull).to(dtype)).double())
            return pull, self.right_side(dtype) - product
        k, d = J.shape
        width = _width(k, dtype, J.device)
        target = data.target if data.weights is not None else data.target.to(dtype)
        pull, working = torch.empty(d, dtype=dtype, device=J.device), nu.to(dtype)
        product = torch.zeros(k, dtype=torch.float64, device=J.device)
        for start in range(0, d, width):
            columns = slice(start, min(start + width, d))
            chunk = J.matrix[:, columns].to(dtype)
            torch.mv(chunk.T, working, out=pull[columns])
            moved = target[columns] - pull[columns]
            moved = moved if data.metric is None else (moved * data.metric[columns]).to(dtype)
            product += chunk @ moved if k > FEW else (chunk * moved).sum(1)
        return pull, self._with_rhs(product)

    def product_noise(self, pull: Tensor, residual: Tensor, factor: RowFactor, nu: Tensor) -> float:
        """How noisy the residual is per row of unit length in the metric.

        In float64 by a model of rounding; in float32 also the root mean square over a few rows, recomputed in float64
        from data that were never rounded.
        """
        data, moved = self.data, self.target_length
        if data.rhs is not None or not isinstance(self.jacobian, DenseTorchJacobian):  # else |J.T nu - q| <= |q|
            moved += factor.pulled_length(nu)
        model = (DOT if data.weights is None else DOT + DERIVED) * U64 * moved
        if data.rhs is not None:
            model += COHERENT * U64 * float(torch.linalg.vector_norm(factor.scale * data.rhs)) / data.shrink
        if pull.dtype == torch.float64:
            return model
        k = self.jacobian.shape[0]
        some = slice(0, k, (k // _SAMPLE_ROWS) | 1)  # an odd step, for kernels treat rows in groups of 4 or 8
        rows = self.jacobian.select(some)
        exact = rows.reduce(wide_product(rows, self.data.scaled(self.data.target.double() - pull.double())))
        exact = exact if self.data.rhs is None else exact + self.data.rhs[some] / self.data.shrink
        wrong = factor.scale[some] * (residual[some] - exact)
        return _SAFETY * float(wrong.square().mean().sqrt()) + model

    @cached_property
    def target_length(self) -> float:
        """|sqrt(metric) q|: how long what J must see is, in the metric."""
        data = self.data
        if data.weights is None or data.metric is None:
            return self.length(data.scaled(data.theta_star))
        return self.length(data.metric.sqrt() * data.target)

    def length(self, vector: Tensor) -> float:
        """Euclidean norm over all shards."""
        return math.sqrt(float(self.jacobian.reduce(torch.linalg.vector_norm(vector).double().square())))

    def _with_rhs(self, product: Tensor) -> Tensor:
        return product if self.data.rhs is None else product + self.data.rhs / self.data.shrink


def _width(n_rows: int, dtype: torch.dtype, device: torch.device) -> int:
    """Columns per chunk of a sweep."""
    width = chunk_width(n_rows, dtype, device)
    return min(width, WIDTH) if device.type == "cpu" and dtype == torch.float64 and n_rows > FEW else width


def wide_product(jacobian: TorchJacobian, vector: Tensor) -> Tensor:
    """J @ vector in float64 for a float32 vector, which a dense J does not need as a whole."""
    if not isinstance(jacobian, DenseTorchJacobian):
        product: Tensor = jacobian.matvec(vector.double())
        return product
    out = torch.zeros(jacobian.shape[0], dtype=torch.float64, device=jacobian.device)
    for columns, block in jacobian.column_blocks(torch.float64):
        out += block @ vector[columns].double()
    return out


def measure(task: Task, factor: RowFactor, nu: Tensor, dtype: torch.dtype) -> Measured:
    """J.T nu and what is known about its error, in lengths of parameter space.

    With t = 1 / s the exact D of these multipliers is s (J.T nu - q), and the answer differs from it by
    |sqrt(t) (D - D')| = |(J s J.T)^(-1/2) (b - J D)|: `seen`, up to the noise of that residual.  What rounding did to
    J.T nu across the row space, and to theta as it was computed and stored, comes on top.
    """
    data = task.data
    pull, residual = task.sweep(nu, dtype)
    unit = U64 if dtype == torch.float64 else float32_unit(nu.device)
    rounding = 2.0 * unit * math.sqrt(nu.numel()) * float(torch.linalg.vector_norm(nu * factor.lengths))
    seen = _MARGIN * factor.distance(residual) / (1.0 - factor.departure)
    unseen = math.hypot(factor.size * task.product_noise(pull, residual, factor, nu), rounding)
    computed = data.point(pull)
    size = task.length(computed)
    rounded = size * (U32 if data.theta_star.dtype == torch.float32 else U64)
    if data.metric is not None or data.shrink != 1.0:  # theta = s (J.T nu + lam theta*), whose two terms may cancel
        share = data.lam * data.stretch**2 / (data.shrink if data.weights is None else 1.0)
        terms = size + 2.0 * min(share, 1.0) * task.length(data.theta_star)
        rounded += 4.0 * (U64 if computed.dtype == torch.float64 else U32) * terms
    stretch = data.stretch
    return Measured(nu, pull, residual, stretch * seen, stretch * unseen + rounded, size)


def corrected(task: Task, factor: RowFactor, found: Measured) -> Measured:
    """The next correction without its residual, which is what the factor leaves of the last one (`left`): for a factor
    whose first solution was as good as that promises.
    """
    assert found.residual is not None, "a correction is not corrected again"
    nu = found.nu + factor.solve(found.residual)
    pull = task.jacobian.rmatvec(nu.to(found.pull.dtype))
    return replace(found, nu=nu, pull=pull, residual=None, row_error=left(factor) * found.row_error)


def left(factor: RowFactor) -> float:
    """How much of a residual one correction leaves: |I - (J J.T) (J J.T)^+| in the row space, with a safety."""
    return _LEFT * max(factor.departure, U64)


def refine(
    task: Task, factor: RowFactor, right_side: Tensor, dtype: torch.dtype, goal: float, scale: float = 0.0
) -> tuple[Measured, torch.dtype]:
    """nu with J diag(s) J.T nu = right_side by corrections through `factor`, as well as the factor and the
    arithmetic allow.

    Products go over to float64 where the noise of float32 is what keeps the error above `goal`, relative to theta or
    to `scale` if that is longer.  Returns the best multipliers seen and the arithmetic they were last measured in.
    """
    nu = factor.solve(right_side)
    best: Measured | None = None
    before = math.inf
    for _ in range(_MAX_STEPS):
        found = measure(task, factor, nu, dtype)
        if best is None or found.error < best.error:
            best = found
        aim, rest = goal * max(best.size, scale), left(factor)
        if best.error <= aim:
            break
        if best.row_error <= rest * best.size and rest * best.row_error + best.noise <= aim:
            best = corrected(task, factor, best)
            break
        if dtype == torch.float32 and found.row_error <= 2.0 * found.noise:
            dtype, before = torch.float64, math.inf
            continue
        if found.row_error <= 0.05 * found.noise or not found.row_error < before / 2:
            break
        before = found.row_error
        assert found.residual is not None
        nu = nu + factor.solve(found.residual)
    assert best is not None
    return best, dtype
