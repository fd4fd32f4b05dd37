"""From what a norm solver holds, theta and multipliers, to a `Solution` with subgradients, measured by code
that no solver uses.

The sign convention is that of exact_unlearn.solution: J.T nu = g + sum h_k on the free coordinates.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import EPS
from exact_unlearn.solution import Solution, Status


@dataclass(frozen=True, eq=False)
class Raw:
    """What a solver found: theta, nu, pull = J.T nu as accurately as the solver knows it (d,), g on the free
    coordinates (or None where g = pull up to scale), a label and its story.  doubt: by how much the optimum may differ
    from what these numbers say because the row space, or theta, is known to rounding only (in units of the value).
    """

    theta: Array
    nu: Array
    pull: Array
    subgradient: Array | None
    solver: str
    story: str
    rank: Any = None
    unique: bool | None = None
    doubt: float = 0.0


def doubtful(blur: float, pull: Array, moved: Array) -> float:
    """blur |pull| |moved|, without overflow of the squares."""
    lengths = []
    for vector in (pull, moved):
        peak = float(np.max(np.abs(vector), initial=0.0))
        lengths.append(peak * float(np.linalg.norm(vector / peak)) if 0.0 < peak < math.inf else peak)
    return blur * lengths[0] * lengths[1]


def primal_residual(problem: UnlearningProblem, theta: Array) -> float:
    """max_i |J_i D - b_i| / (|J_i| (|theta| + |theta*|) + |b_i|) without a copy of J."""
    if not problem.n_constraints:
        return 0.0
    star, rhs = to_float(problem.theta_star), to_float(problem.rhs)
    drift = np.where(problem.free, theta - star, 0.0)
    size = float(np.linalg.norm(theta)) + float(np.linalg.norm(star))
    J = problem.jacobian
    if isinstance(J, DenseJacobian) and J.matrix.dtype != object:
        with warnings.catch_warnings():  # torch warns that a read-only array could be written to; it is only read
            warnings.simplefilter("ignore", UserWarning)
            lengths = torch.linalg.vector_norm(torch.from_numpy(J.matrix), dim=1).numpy()
        usable = np.isfinite(lengths)
        residual, scale = np.abs(J.matvec(drift) - rhs), lengths * size + np.abs(rhs)
        if usable.all():
            return float(np.max(np.divide(residual, scale, out=np.zeros_like(residual), where=scale > 0), initial=0.0))
    solution = Solution(problem=problem, theta=theta, nu=np.zeros(problem.n_constraints), status=Status.INACCURATE)
    return solution.primal_residual()


def claim(problem: UnlearningProblem, raw: Raw, primal: float, gap: float, seconds: tuple[float, float]) -> Solution:
    """The Solution; OPTIMAL only if `primal` (relative residual of J D = b and of the balls), the dual mismatch and the
    gap are at most `gap`, the gap relative to the optimum and with everything added that rounding may hide.
    """
    free = problem.free
    theta = np.where(free, raw.theta, to_float(problem.theta_star))
    pull, nu = np.where(free, raw.pull, 0.0), raw.nu
    lam = sum(float(term.lam) for term in problem.drifts if term.name == "squared_drift")
    region = any(term.name == "trust_region" for term in problem.drifts)
    if raw.subgradient is None:
        g, size = _into_ball(problem, pull, theta)
        pull, nu = pull / size, nu / size
    else:
        g = np.where(free, raw.subgradient, 0.0)
        if (lam or region) and problem.regularizer.is_norm:  # what lies outside the dual ball is the drift's to hold
            g = _within(problem, g)
        g = completed(problem, g, theta)
    held = np.where(free, pull - g, 0.0) if lam or region else np.zeros_like(theta)
    parts = split_drift(problem, held, np.where(free, theta - to_float(problem.theta_star), 0.0))
    solution = Solution(
        problem=problem,
        theta=theta,
        nu=nu,
        status=Status.OPTIMAL,
        solver=raw.solver,
        subgradient=g,
        drift_subgradients=parts,
        unique=raw.unique,
        rank=raw.rank,
        compile_seconds=seconds[0],
        solve_seconds=seconds[1],
        message=raw.story,
    )
    wrong = np.abs(np.where(free, pull - g - sum(parts, start=np.zeros_like(g)), 0.0))
    mismatch, scale = float(np.max(wrong, initial=0.0)), solution.dual_scale()
    error = max(primal, _beyond(solution), solution.relative_gap() + _hidden(solution, raw.doubt, wrong))
    error = max(error, mismatch / scale if mismatch else 0.0)
    if math.isfinite(error) and error <= gap:
        return solution
    return solution.with_message(Status.INACCURATE, f"{raw.story}; reached {error:.1e} where {gap:.1e} was asked for")


def _within(problem: UnlearningProblem, g: Array) -> Array:
    """g divided by its dual norm where that is finite and above 1."""
    R: Any = problem.regularizer
    size = float(R.dual_norm(g))
    return g / (size * (1.0 + 1e-15)) if 1.0 < size < math.inf else g


def _beyond(solution: Solution) -> float:
    """How far D leaves the smallest ball, relatively."""
    radius = min((float(t.radius) for t in solution.problem.drifts if t.name == "trust_region"), default=math.inf)
    return max(0.0, doubtful(1.0, solution.drift, np.ones(1)) / radius - 1.0) if 0.0 < radius < math.inf else 0.0


def _hidden(solution: Solution, doubt: float, wrong: Array) -> float:
    """What the duality gap does not show, relative to the value: rounding of its two sides, which are sums whose terms
    may cancel; `doubt`; and multipliers that miss stationarity by `wrong` (d,), for a move as long as D.
    """
    theta_star, value = to_float(solution.problem.theta_star), abs(solution.value)
    terms = float(np.abs(to_float(np.asarray(solution.subgradient))) @ np.abs(theta_star))
    terms += float(np.abs(solution.nu) @ np.abs(to_float(solution.problem.rhs)))
    total = 4.0 * EPS * terms + doubt + 2.0 * float(wrong @ np.abs(to_float(solution.drift)))
    if not (math.isfinite(total) and math.isfinite(value)):
        return math.inf
    return total / value if value else (math.inf if total else 0.0)


def split_drift(problem: UnlearningProblem, held: Array, drift: Array) -> tuple[Array, ...]:
    """h_k with sum h_k = held: lam_k D for squares, and what is left for the smallest ball (or for the squares,
    in proportion).
    """
    squares = [float(t.lam) if t.name == "squared_drift" else 0.0 for t in problem.drifts]
    balls = [float(t.radius) if t.name == "trust_region" else math.inf for t in problem.drifts]
    smallest = int(np.argmin(balls)) if balls and min(balls) < math.inf else -1
    lam, zero = sum(squares), np.zeros_like(held)
    parts = []
    for i, weight in enumerate(squares):
        if i == smallest:
            parts.append(held - lam * drift)
        elif weight and smallest >= 0:
            parts.append(weight * drift)
        else:
            parts.append(held * (weight / lam) if weight else zero)
    return tuple(parts)


def completed(problem: UnlearningProblem, g: Array, theta: Array) -> Array:
    """g on the free coordinates, with the best choice on the frozen ones: there it is a free dual variable."""
    frozen, parts = ~problem.free, problem.form.parts
    if not frozen.any() or not parts or any(part.map is not None for part in parts):
        return g
    if all(part.term.separable for part in parts):
        return np.where(frozen, problem.form.slope(theta), g)
    (part,) = parts
    factor = float(part.factor)
    return factor * part.term.completed(g / factor, part.at(theta), frozen)


def _into_ball(problem: UnlearningProblem, pull: Array, theta: Array) -> tuple[Array, float]:
    """(g, s): g = pull / s with s >= 1 just large enough for the dual ball, completed on the frozen coordinates.

    On coordinates that cost nothing g is 0; what rounding left there shows as dual residual.
    """
    R: Any = problem.regularizer
    if not R.is_norm:
        return completed(problem, pull, theta), 1.0
    g = pull - R.prox(pull, math.inf)
    excess = float(R.dual_norm(g))
    size = max(1.0, excess * (1.0 + 1e-15)) if math.isfinite(excess) else 1.0
    return completed(problem, g / size, theta), size
