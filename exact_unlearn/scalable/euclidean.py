"""l2 norms at scale: everything is a projection with the right curvature.

At an optimum of sqrt(sum w theta^2) + (lam + mu)/2 |D|^2 with value tau of the norm, multiplying by tau gives
the optimum of 1/2 sum w theta^2 + tau (lam + mu)/2 |D|^2, and that is a projection (project.py).  tau and the
multiplier mu of a trust region are roots of functions of one variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exact_unlearn.scalable.clock import ENDLESS, Clock
from exact_unlearn.scalable.factor import default_tolerance
from exact_unlearn.scalable.jacobian_core import TorchJacobian
from exact_unlearn.scalable.project import project
from exact_unlearn.scalable.radius import on_radius
from exact_unlearn.scalable.team import Team, team_of, total


@dataclass(frozen=True, eq=False)
class Projected:
    """What a projection has to tell: theta, D, nu, how much of b is out of reach, its error, its rank report."""

    theta: Tensor
    drift: Tensor
    nu: Tensor
    inconsistency: float
    error: float
    rank: Any = None


def one_process(jacobian: TorchJacobian, theta: Tensor, **options: Any) -> Projected:
    """`project` where one process holds every parameter; the rank is decided, not estimated."""
    tolerance = default_tolerance(jacobian.shape[0], jacobian.dtype)
    result = project(jacobian, theta, rank_tolerance=tolerance, **options)
    rank = None if result.factor is None else result.factor.report(theta.numel())
    return Projected(result.theta, result.drift, result.nu, result.inconsistency, result.error_estimate, rank)


@dataclass(frozen=True, eq=False)
class Euclidean:
    """1/2 sum w theta^2 (square) or its root, on J D = b.  weights (d,) or None; free (d,) bool; rhs (k,) or None."""

    jacobian: TorchJacobian
    theta_star: Tensor
    weights: Tensor | None
    free: Tensor
    rhs: Tensor | None
    square: bool
    projector: Callable[..., Projected] = one_process

    @property
    def team(self) -> Team:
        return team_of(self.jacobian)

    def norm(self, theta: Tensor) -> float:
        """sqrt(sum w theta^2) over all shards."""
        squares = theta.square() if self.weights is None else self.weights * theta.square()
        return math.sqrt(total(self.team, squares))

    def at(self, lam: float) -> Projected:
        """The projection with curvature lam."""
        every = not total(self.team, (~self.free).to(torch.float64))
        return self.projector(
            self.jacobian,
            self.theta_star,
            lam=lam,
            weights=self.weights,
            free=None if every else self.free,
            rhs=self.rhs,
        )


Line = tuple[Tensor, Tensor, float, float, Any]


@dataclass(frozen=True, eq=False)
class Found:
    """theta, nu with J.T nu = g + (lam + mu) D, mu, and the norm tau that g = w theta / tau was divided by (1
    for squares).
    """

    theta: Tensor
    nu: Tensor
    mu: float
    tau: float
    inconsistency: float
    error: float
    rank: Any


def solve_euclidean(task: Euclidean, lam: float, radius: float, clock: Clock = ENDLESS) -> Found:
    """The minimiser with squared drift lam and trust region |D| <= radius (inf for none)."""
    path = _path(task)

    def run(mu: float, _: Any) -> tuple[tuple[Any, float], float]:
        projection, tau = _with_norm(task, path, lam + mu)
        drift = torch.where(task.free, projection[0] - task.theta_star, 0.0)
        return (projection, tau), math.sqrt(total(task.team, drift.square()))

    if math.isinf(radius):
        (projection, tau), _length = run(0.0, None)
        mu = 0.0
    else:
        found = on_radius(run, radius, max(lam, 1.0), 1e-14, clock=clock)
        (projection, tau), mu = found.state, found.mu
    theta, nu, inconsistency, error, rank = projection
    if not task.square and tau == 0.0:  # theta = 0 where w > 0: any subgradient that fits will do
        drift = torch.where(task.free, theta - task.theta_star, 0.0)
        every = not total(task.team, (~task.free).to(torch.float64))
        nu = task.projector(task.jacobian, (lam + mu) * drift, free=None if every else task.free).nu
    else:
        nu = nu / tau
    return Found(theta, nu, mu, tau, inconsistency, error, rank)


def _path(task: Euclidean) -> Callable[[float], Line]:
    """lam -> (theta, nu, inconsistency, error estimate, rank); for weights 1 all of them are on one line, and
    two projections fix it.
    """

    def one(lam: float) -> Line:
        result = task.at(lam)
        theta = result.theta
        if task.weights is not None and lam == 0.0:  # coordinates that cost nothing know their drift only
            theta = torch.where(task.weights > 0, theta, task.theta_star + result.drift)
        return theta, result.nu, result.inconsistency, result.error, result.rank

    if task.weights is not None:
        return one
    theta0, nu0, inconsistency, error, rank = one(0.0)
    if task.rhs is None or not bool(task.rhs.any()):

        def scaled(lam: float) -> Line:
            share = lam / (1.0 + lam)
            theta = theta0 if lam == 0 else torch.where(task.free, theta0 + share * (task.theta_star - theta0), theta0)
            return theta, nu0, inconsistency, error, rank

        return scaled
    return one


def _with_norm(task: Euclidean, path: Callable[[float], Line], lam: float) -> tuple[Line, float]:
    """The projection with curvature tau lam where tau is the norm of its theta; tau = 1 for the square."""
    if task.square:
        return path(lam), 1.0
    first = path(0.0)
    low = task.norm(first[0])
    high = task.norm(torch.where(task.free, task.theta_star, first[0]))
    shifted = task.rhs is not None and bool(task.rhs.any())
    if lam == 0.0 or (high <= low and not shifted) or math.isinf(low):
        return first, low if low > 1e-14 * high else 0.0

    def excess(tau: float) -> tuple[float, Line]:
        state = path(lam * tau)
        return task.norm(state[0]) - tau, state

    if shifted:  # theta* is not feasible then: what is nearest to it may well be longer than it is
        high = max(low, high) or 1.0
        while high < 1e300 / max(lam, 1.0) and excess(high)[0] > 0.0:
            high *= 2.0
    return _root(excess, low, high, first)


def _root(excess: Callable[[float], tuple[float, Any]], low: float, high: float, first: Any) -> tuple[Any, float]:
    """tau in [low, high] with norm(theta(tau)) = tau: the largest root, by the Illinois rule; tau = 0 if
    nothing else is.
    """
    f_low, f_high = excess(low)[0], excess(high)[0]
    if low <= 1e-14 * high:  # the norm may vanish: is there a root above 0?
        probe = 1e-12 * high
        value, state = excess(probe)
        if value <= 0:
            return first, 0.0
        low, f_low = probe, value
    tau, state, side = low, first, 0
    for _ in range(100):
        gap = f_low - f_high
        tau = (low * -f_high + high * f_low) / gap if gap > 0 else 0.5 * (low + high)
        value, state = excess(tau)
        if abs(value) <= 1e-15 * high or high - low <= 1e-15 * high:
            break
        if value > 0:
            f_high = 0.5 * f_high if side == 1 else f_high
            low, f_low, side = tau, value, 1
        else:
            f_low = 0.5 * f_low if side == -1 else f_low
            high, f_high, side = tau, value, -1
    return state, tau
