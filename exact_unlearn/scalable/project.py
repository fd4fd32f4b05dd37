"""The l2 problem at the size of real networks: Gram matrix, Cholesky, refinement, and an error estimate that
decides.

    minimise  1/2 sum w_j theta_j^2 + lam/2 |D|^2   subject to   J D = b,   D = 0 on frozen coordinates

`project(J, theta)` with nothing else is theta -> P_row(J) theta.  Every answer carries an a-posteriori estimate
of its error (refine.py); where the estimate misses the goal, the next of

    products in float32 -> products in float64      (what the residuals say is noise)
    gram32 -> gram64 -> choleskyqr                  (what the factor cannot resolve)

is tried, and Golub-Kahan (krylov.py) where J offers products only.  The estimate has the last word, also where
it is large.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.factor import (
    MAX_DEPARTURE,
    U32,
    U64,
    RowFactor,
    choleskyqr,
    cleaned,
    default_tolerance,
    factors,
    mixed_gram,
    tsqr,
)
from exact_unlearn.scalable.jacobian_core import (
    DenseTorchJacobian,
    TorchJacobian,
    as_tensor,
    as_torch_jacobian,
    error_estimate,
    products_gram,
    wider,
)
from exact_unlearn.scalable.jacobian_views import MixedRows
from exact_unlearn.scalable.krylov import krylov_factor, krylov_of_unit_rows
from exact_unlearn.scalable.literal import exceeds_rank, is_stored
from exact_unlearn.scalable.projection import Projection
from exact_unlearn.scalable.quadratic import Quadratic, quadratic
from exact_unlearn.scalable.refine import Measured, Task, refine
from exact_unlearn.scalable.running import plainly

ROUTES = ("auto", "gram", "choleskyqr", "tsqr", "krylov")

GOALS = {torch.float32: 8e-6, torch.float64: 1e-12}
"""Relative errors that `project` aims at by default, by the dtype of the result."""


@plainly
def project(
    jacobian: Any,
    theta: Any,
    *,
    lam: float = 0.0,
    weights: Any = None,
    free: Any = None,
    rhs: Any = None,
    rank_tolerance: float | None = None,
    goal: float | None = None,
    route: str = "auto",
) -> Projection:
    """The point nearest 0 that fits what J retains: theta -> P_row(J) theta, and its relatives with lam,
    weights, frozen blocks, rhs.

    jacobian: (k, d) tensor or array, `Jacobian` or `TorchJacobian`.  theta: (d,) tensor (same device) or array.
    lam, weights, free, rhs: see the formula of this module; free is a mask or indices of the coordinates that
    may move. rank_tolerance: a combination of unit-length rows, itself of unit length, counts as zero when no
    longer than this; default 2 sqrt(k) eps.  goal: relative error to aim at, default by dtype (`GOALS`); given one, the
    Krylov route stops there and assumes that the singular values it has not seen are no smaller than those it has.
    route: "auto", or the one of `ROUTES` to insist on.

    Returns a Projection: tensors in, tensors out; arrays in, arrays out.  Raises ProblemError on arguments that
    do not fit, on NaN and infinities.

    >>> from exact_unlearn.scalable import project
    >>> project([[1.0, 2.0]], [3.0, 1.0]).theta.round(12).tolist()
    [1.0, 2.0]
    """
    started = time.perf_counter()
    asked = ask(jacobian, theta, lam, weights, free, rhs, rank_tolerance, goal, route)
    costless = asked.data.seminorm()
    if costless is None:
        result = solve_quadratic(asked.jacobian, asked.data, asked.plan)
    else:
        result = solve_seminorm(asked.jacobian, asked.data, costless, asked.plan)
    return asked.answer(result, time.perf_counter() - started)


@dataclass(frozen=True)
class Plan:
    """How exact an answer is wanted and by which route; `declared`: the caller chose the rank tolerance; `early`: and
    the goal, so that Krylov may stop there; `scale`: a length that errors may be relative to if theta is shorter.
    """

    tolerance: float
    declared: bool
    goal: float
    route: str
    early: bool = False
    scale: float = 0.0


@dataclass(frozen=True, eq=False)
class Asked:
    """The arguments of `project`, checked, with theta* and b divided by 2^shift where their squares would leave
    the range of floats.
    """

    jacobian: TorchJacobian
    data: Quadratic
    original: Quadratic
    plan: Plan
    shift: int
    as_arrays: bool

    def answer(self, result: Projection, seconds: float) -> Projection:
        """The result in the units and the array type of the caller."""
        result = result.scaled(self.shift) if self.shift else result
        error = max(result.error_estimate, error_estimate(self.jacobian), self._inherited(result))
        result = replace(result, problem=(self.jacobian, self.original), seconds=seconds, error_estimate=error)
        return result.to_numpy() if self.as_arrays else result

    def _inherited(self, result: Projection) -> float:
        """What the error of J as a derivative makes of the answer, relatively: rows of unit length that are wrong by
        epsilon turn their span by up to epsilon / sigma_min.

        In float32, differences of the outputs measure that error; in float64 it is below what they resolve.
        """
        wrong, own = error_estimate(self.jacobian), self.jacobian
        resolved = _RESOLVED if own.dtype == torch.float64 or getattr(own, "is_wide", False) else 0.0
        if wrong <= resolved or result.factor is None or not result.rank:
            return 0.0
        return result.error_estimate + wrong * result.factor.size


_RESOLVED = 1e-6


def ask(
    jacobian: Any,
    theta: Any,
    lam: float = 0.0,
    weights: Any = None,
    free: Any = None,
    rhs: Any = None,
    rank_tolerance: float | None = None,
    goal: float | None = None,
    route: str = "auto",
) -> Asked:
    """Check the arguments of `project`; ProblemError names the one that does not fit."""
    if route not in ROUTES:
        raise ProblemError(f"route: expected one of {', '.join(ROUTES)}, got {route!r}")
    for name, value in (("rank_tolerance", rank_tolerance), ("goal", goal)):
        if value is not None and not 0 <= value < math.inf:
            raise ProblemError(f"{name}: expected a finite number >= 0, got {value!r}")
    J = as_torch_jacobian(jacobian)
    point = _point(theta, J)
    original = quadratic(point, J.shape[0], lam, weights, free, rhs)
    shift = _exponent(point, original.rhs)
    data = original
    if shift:
        scaled = None if original.rhs is None else _ldexp(original.rhs, -shift)
        data = replace(original, theta_star=_ldexp(point, -shift), rhs=scaled)
    tolerance = default_tolerance(J.shape[0], J.dtype) if rank_tolerance is None else float(rank_tolerance)
    aim = GOALS[point.dtype] if goal is None else float(goal)
    plan = Plan(tolerance, rank_tolerance is not None, aim, route, goal is not None)
    return Asked(J, data, original, plan, shift, not isinstance(theta, Tensor))


def solve_quadratic(jacobian: TorchJacobian, data: Quadratic, plan: Plan) -> Projection:
    """The l2 problem whose free coordinates all cost something, by the first route whose error estimate is
    content.
    """
    task = Task(jacobian, data)
    if jacobian.shape[0] == 0:
        return finished(task, None, None, plan, ())
    first = _first_equations(task, plan)
    if first.exponents is not None:
        return _rescaled(jacobian, data, plan, first.exponents)
    doubled = jacobian.first_dtype == torch.float64 or data.theta_star.dtype == torch.float64
    dtype = torch.float64 if doubled else torch.float32
    best: Measured | None = None
    chosen: RowFactor | None = None
    steps = []
    for factor in _ladder(task, plan, first):
        if not factor.route.startswith("gram32"):
            dtype = torch.float64  # rows that a float32 Gram matrix cannot tell apart amplify float32 products as much
        found, dtype = refine(task, factor, first.right_side, dtype, plan.goal, plan.scale)
        steps.append(f"{factor.route}/{str(found.pull.dtype).removeprefix('torch.')}")
        if best is None or found.error < best.error:
            best, chosen = found, factor
        if best.error <= plan.goal * max(best.size, plan.scale) or best.row_error <= 4.0 * best.noise:
            break
    if best is None:
        raise ProblemError(
            f"route: {plan.route!r} cannot resolve this jacobian (dependent or ill-conditioned rows); use 'auto'"
        )
    return finished(task, chosen, best, plan, tuple(steps))


@dataclass(frozen=True, eq=False)
class First:
    """What the first look at J gives: its Gram matrix with products in `dtype` (None for the Krylov route), the
    right-hand side, and exponents of the rows if their squares leave the range of floats."""

    gram: Tensor | None
    dtype: torch.dtype
    right_side: Tensor
    exponents: list[int] | None = None


def _ladder(task: Task, plan: Plan, first: First) -> Iterator[RowFactor]:
    J, weights = task.jacobian, task.data.metric
    if first.gram is None:
        if plan.early:
            factor = krylov_factor(J, weights, first.right_side, plan.tolerance, plan.goal)
            if factor.departure <= MAX_DEPARTURE:
                yield factor
        factor = krylov_factor(J, weights, first.right_side, plan.tolerance)
        if factor.departure > MAX_DEPARTURE and J.dtype == torch.float32:
            factor = krylov_factor(J, weights, first.right_side, plan.tolerance, dtype=torch.float64)
        if factor.null.shape[0]:
            factor = krylov_of_unit_rows(J, weights, first.right_side, plan.tolerance)
        yield replace(factor, departure=min(factor.departure, MAX_DEPARTURE))
    elif plan.route == "choleskyqr":
        yield choleskyqr(J, weights, plan.tolerance)
    elif plan.route == "tsqr":
        yield tsqr(J, weights, plan.tolerance)
    else:
        for factor in factors(J, weights, plan.tolerance, first.gram, first.dtype):
            if plan.route == "auto" or factor.route.startswith("gram"):
                yield factor


def _first_equations(task: Task, plan: Plan) -> First:
    """The first Gram matrix and right-hand side, with NaN, infinities and rows of extreme length caught."""
    J, dtype = task.jacobian, task.jacobian.first_dtype
    if plan.route == "krylov" or (plan.route == "auto" and getattr(J, "products_only", False)):
        right_side = task.right_side(torch.float64)
        _require_finite(right_side)
        return First(None, torch.float64, right_side)
    gram, right_side = task.normal_equations(dtype)
    squares, (low, high) = gram.diagonal(), _SQUARES[dtype]
    if bool(((squares >= low) & (squares <= high)).all()) and bool(torch.isfinite(right_side).all()):
        return First(gram, dtype, right_side)
    if isinstance(J, DenseTorchJacobian) and J.shape[1]:
        peaks = J.matrix.abs().amax(1)
        _require_finite(peaks)
        exponents = [math.frexp(peak)[1] for peak in peaks.tolist()]
        if any(abs(exponent) > _EXPONENTS[dtype] for exponent in exponents):
            return First(gram, dtype, right_side, exponents)
    elif dtype == torch.float32:  # squares may have underflowed; zero rows are recognised in float64
        dtype = torch.float64
        gram, right_side = task.normal_equations(dtype)
    _require_finite(gram)
    _require_finite(right_side)
    return First(gram, dtype, right_side)


_SQUARES = {torch.float32: (1e-25, 1e30), torch.float64: (1e-250, 1e280)}
_EXPONENTS = {torch.float32: 32, torch.float64: 400}


def _require_finite(values: Tensor) -> None:
    bad = (~torch.isfinite(values.reshape(values.shape[0], -1)).all(1)).nonzero()
    if bad.numel():
        raise ProblemError(f"jacobian: expected finite numbers, row {int(bad[0, 0])} has NaN, infinity or overflows")


def _rescaled(jacobian: TorchJacobian, data: Quadratic, plan: Plan, exponents: list[int]) -> Projection:
    """The same problem with every row divided by a power of two, which is exact and changes only nu."""
    rows = DenseTorchJacobian(_ldexp(jacobian.dense(), [-e for e in exponents]))
    rhs = None if data.rhs is None else _ldexp(data.rhs, [-e for e in exponents])
    result = solve_quadratic(rows, replace(data, rhs=rhs), plan)
    factor = (
        None
        if result.factor is None
        else replace(result.factor, scale=_ldexp(result.factor.scale, [-e for e in exponents]))
    )
    return replace(result, nu=_ldexp(result.nu, [-e for e in exponents]), factor=factor)


def solve_seminorm(jacobian: TorchJacobian, data: Quadratic, costless: Tensor, plan: Plan) -> Projection:
    """The l2 problem with free coordinates Z that cost nothing (weight 0, lam = 0).

    J_Z.T nu must vanish, so the rows are replaced by orthonormal ones, and these turned into combinations that do not
    see Z and others that do.  The former decide the other coordinates; Z takes up what the latter leave, with the
    shortest possible move (it is not unique).
    """
    star = data.theta_star
    free = torch.ones_like(costless) if data.free is None else data.free
    wide = replace(data, theta_star=star.double())
    whole = choleskyqr(jacobian, free.double(), plan.tolerance)
    blind, seeing, dim = _split_rows(jacobian, whole, costless.double())
    right = torch.zeros(jacobian.shape[0], dtype=torch.float64, device=star.device) if data.rhs is None else data.rhs
    declared = replace(plan, declared=True)
    outer = solve_quadratic(MixedRows(jacobian, blind), replace(wide, rhs=blind @ right), declared)
    left = seeing @ (right - jacobian.reduce(jacobian.matvec(outer.drift)))
    zeros = torch.zeros_like(wide.theta_star)
    inner_data = Quadratic(zeros, 0.0, None, costless, left, costless.double(), 1.0)
    inner = solve_quadratic(MixedRows(jacobian, seeing), inner_data, declared)
    theta = torch.where(costless, wide.theta_star, outer.theta) + inner.drift
    size = float(torch.linalg.vector_norm(theta))
    move = float(torch.linalg.vector_norm(inner.drift))
    wrong = _blurred(jacobian, data, blind, outer) * outer.error_estimate * float(torch.linalg.vector_norm(outer.theta))
    if outer.factor is not None:
        hidden = 32.0 * U64 * math.sqrt(jacobian.shape[0]) * whole.size * move
        wrong += data.stretch * outer.factor.size * float(outer.factor.scale.max()) * hidden if outer.rank else 0.0
    seen = inner.error_estimate * float(torch.linalg.vector_norm(inner.theta))
    error = wrong * (1.0 + dim) + dim * (seen + 32.0 * U64 * math.sqrt(jacobian.shape[0]) * whole.size * move)
    error += size * (U32 if star.dtype == torch.float32 else U64)
    literal = is_stored(jacobian) and not plan.declared
    unsure = literal and (exceeds_rank(jacobian, whole.rank, free) or exceeds_rank(jacobian, seeing.shape[0], costless))
    ambiguity = math.inf if unsure else 0.0
    return replace(
        outer,
        theta=theta.to(star.dtype),
        theta_star=star,
        late_drift=lambda: (outer.drift + inner.drift).to(star.dtype),
        nu=blind.T @ outer.nu,
        rank=whole.rank,
        factor=None,
        error_estimate=(error / size if size else error) + ambiguity,
        ambiguity=ambiguity,
        inconsistency=max(_unreached(whole, data.rhs), outer.inconsistency),
        steps=outer.steps + inner.steps,
    )


def _split_rows(jacobian: TorchJacobian, whole: RowFactor, costless: Tensor) -> tuple[Tensor, Tensor, float]:
    """Combinations of rows that do not see the costless columns (r', k), those that do, and how dim the dimmest of the
    latter sees them: 1 / the length of its part there, all of them being orthonormal.

    A second round turns what the first Gram matrix could not resolve, as in `choleskyqr`.
    """
    mix = whole.whiten * whole.scale
    every = torch.arange(mix.shape[1], device=mix.device)
    for _ in range(2):
        squares, turn = torch.linalg.eigh(mixed_gram(jacobian, mix, every, costless))
        small = squares <= 1e-6 * squares[-1:].clamp_min(0)
        mix = turn.T @ mix
        if bool(small.any()):
            some = mixed_gram(jacobian, mix[small], every, costless)
            mix[small] = torch.linalg.eigh(some)[1].T @ mix[small]
    lengths = mixed_gram(jacobian, mix, every, costless).diagonal().clamp_min(0).sqrt()
    seen = lengths > 16.0 * U64 * math.sqrt(mix.shape[1]) * whole.size
    return mix[~seen], mix[seen], 1.0 / float(lengths[seen].min()) if bool(seen.any()) else 0.0


def _blurred(jacobian: TorchJacobian, data: Quadratic, mix: Tensor, outer: Projection) -> float:
    """How much longer the rows are than the combinations of them that were used, at most: rounding is in proportion to
    the former."""
    if outer.factor is None or not outer.rank:
        return 1.0
    squares = torch.zeros(jacobian.shape[0], dtype=torch.float64, device=mix.device)
    for columns, block in jacobian.column_blocks(torch.float64):
        squares += block.square() @ (torch.ones_like(block[0]) if data.metric is None else data.metric[columns])
    sizes = mix.abs() @ jacobian.reduce(squares).sqrt()
    return max(1.0, float((sizes * outer.factor.scale).max()))


def finished(
    task: Task, factor: RowFactor | None, best: Measured | None, plan: Plan, steps: tuple[str, ...]
) -> Projection:
    """The result in the caller's precision, with what the estimate does not cover added to it."""
    data = task.data
    star = data.theta_star
    if factor is None or best is None:  # no rows: nothing is retained
        pull = torch.zeros_like(star)
        nu = torch.zeros(0, dtype=torch.float64, device=star.device)
        return Projection(data.point(pull), star, nu, 0, 0.0, late_drift=lambda: data.drift(pull), steps=steps)
    ambiguity = 0.0 if plan.declared else _ambiguity(task, factor, best)
    size = best.size or task.length(star)
    error = math.hypot(best.error, ambiguity, data.stretch * factor.turned * task.target_length)
    return Projection(
        theta=data.point(best.pull).to(star.dtype),
        theta_star=star,
        nu=best.nu,
        rank=factor.rank,
        error_estimate=error / size if size else 0.0,
        ambiguity=ambiguity / size if size else 0.0,
        inconsistency=_inconsistency(task, factor),
        late_drift=lambda: data.drift(best.pull).to(star.dtype),
        steps=steps,
        factor=factor,
    )


def _ambiguity(task: Task, factor: RowFactor, best: Measured) -> float:
    """How far theta would move if the combinations of rows that count as zero, but are not, were kept.

    Zero up to rounding is not zero: rows as written still constrain theta.  Entries that are given numbers have a rank
    as written (literal.py); where it is the rank found, nothing would move.  Else the combinations N are looked at:
    theta would move by |(N N.T)^(-1/2) N D|, as far as their lengths stand out of rounding, and where they do not by
    anything up to |D| (without limit if b is not 0).
    """
    J, data = task.jacobian, task.data
    count, floor = factor.null.shape[0], 8.0 * U64 * math.sqrt(factor.scale.numel())
    if count == 0:
        return 0.0
    given = is_stored(J)
    if not given and factor.tolerance <= 4.0 * floor:
        return 0.0  # entries that are themselves rounded say no more than this
    if given and not exceeds_rank(J, factor.rank, data.metric):
        return 0.0
    scale = torch.where(factor.scale > 0, factor.scale, 0.0)
    index = torch.arange(scale.numel(), device=scale.device)
    weights = data.metric if data.metric is None else data.metric.double()
    products = getattr(J, "products_only", False)
    if not products:
        factor = cleaned(J, weights, factor)
    null = factor.null * scale
    gram = products_gram(MixedRows(J, null), weights) if products else mixed_gram(J, null, index, weights)
    squares, turn = torch.linalg.eigh(gram)
    residual = best.residual if best.pull.dtype == torch.float64 else None
    residual = task.sweep(best.nu, torch.float64)[1] if residual is None else residual
    missed = (turn.T @ (factor.null @ (scale * residual))).abs()
    clear = squares.clamp_min(0).sqrt() > 100.0 * floor
    moved = float(torch.linalg.vector_norm((missed + floor * task.target_length)[clear] / squares[clear].sqrt()))
    if given and not bool(clear.all()):
        moved = math.inf
    limit = task.target_length if data.rhs is None else math.inf
    return data.stretch * min(1.1 * moved, limit)


def _inconsistency(task: Task, factor: RowFactor) -> float:
    """|b - J D| on the combinations of rows that vanish, relative to |b|: not 0 where no D fits b."""
    return _unreached(factor, task.data.rhs)


def _unreached(factor: RowFactor, rhs: Tensor | None) -> float:
    if rhs is None or factor.null.shape[0] == 0:
        return 0.0
    lengths = torch.where(factor.scale > 0, factor.scale, 1.0)
    size = float(torch.linalg.vector_norm(lengths * rhs))
    return float(torch.linalg.vector_norm(factor.null @ (lengths * rhs))) / size if size else 0.0


def _point(theta: Any, jacobian: TorchJacobian) -> Tensor:
    """theta as a tensor beside J, in the wider of the two precisions."""
    point = as_tensor("theta", theta)
    if isinstance(theta, Tensor) and theta.device != jacobian.device:
        raise ProblemError(f"theta: expected a tensor on {jacobian.device}, where the jacobian is, got {theta.device}")
    point = point.to(jacobian.device)
    if point.ndim != 1 or point.numel() != jacobian.shape[1]:
        raise ProblemError(
            f"theta: expected {jacobian.shape[1]} entries, one per column of the jacobian, "
            f"got shape {tuple(point.shape)}"
        )
    return point.to(wider(jacobian.dtype, point.dtype if point.is_floating_point() else torch.float64))


def _exponent(theta: Tensor, rhs: Tensor | None) -> int:
    """A power of two to divide theta* and b by where their squares would leave the range of floats, else 0."""
    low, high = _LENGTHS[theta.dtype]
    peak = 0.0
    for name, part in (("theta", theta), ("rhs", rhs)):
        if part is None or not part.numel() or low < float(torch.linalg.vector_norm(part)) < high:
            continue  # one cheap pass in all ordinary cases
        smallest, largest = (float(end) for end in torch.aminmax(part))
        if not (math.isfinite(smallest) and math.isfinite(largest)):
            raise ProblemError(f"{name}: expected finite numbers, got NaN or infinity")
        peak = max(peak, -smallest, largest)
    exponent = math.frexp(peak)[1]
    return exponent if abs(exponent) > _EXPONENTS[theta.dtype] // 2 else 0


_LENGTHS = {torch.float32: (1e-6, 1e12), torch.float64: (1e-60, 1e120)}


def _ldexp(values: Tensor, exponents: int | list[int]) -> Tensor:
    """values * 2^exponents, per row where there are several; in two steps, so that neither power overflows."""
    if isinstance(exponents, int):
        return values * math.ldexp(1.0, exponents // 2) * math.ldexp(1.0, exponents - exponents // 2)
    shape = (-1,) + (1,) * (values.ndim - 1)
    for part in ([e // 2 for e in exponents], [e - e // 2 for e in exponents]):
        powers = torch.tensor([math.ldexp(1.0, e) for e in part], dtype=torch.float64)
        values = values * powers.to(values).reshape(shape)
    return values
