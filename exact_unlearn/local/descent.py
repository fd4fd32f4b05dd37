"""From any parameters to a KKT point of min 1/2 |theta - centre|^2 subject to f(theta, x_i) = y_i, in floats.

Sequential quadratic programming: a step back to the constraints (normal), and a step along them in which eigenvalues
of the reduced Hessian are taken by their size, so that it descends where the problem is not convex.  Close to a point
where that Hessian is positive definite it is Newton's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exact_unlearn.jacobian import Array
from exact_unlearn.local.network import SmoothNetwork

STEPS = 400
TOLERANCE = 1e-10  # of both residuals, relative to the size of parameters and labels
RANK = 1e-10  # singular values of J below this (relative) count as zero
FLAT = 1e-3  # eigenvalues of the reduced Hessian count as at least this


@dataclass(frozen=True)
class Stationary:
    """theta (d,), nu (k,), the residual of f = y and the part of theta - centre along the constraints; steps."""

    theta: Array
    nu: Array
    missed: float
    slope: float
    steps: int


def descend(network: SmoothNetwork, x: Array, y: Array, theta: Array, centre: Array) -> Stationary:
    """A stationary point near theta, or the best that was reached; y is (k,).  Ends where a step no longer helps."""
    size = 1 + max(float(np.linalg.norm(theta)), float(np.abs(y).max(initial=0)))
    penalty, steps = 0.0, 0
    now = _Local.at(network, x, y, theta, centre)
    if now is None:
        return Stationary(theta, np.zeros_like(y), math.inf, math.inf, 0)
    while True:
        if max(now.missed, now.slope) <= TOLERANCE * size or steps == STEPS:
            break
        step = now.step()
        penalty = max(penalty, 2 * float(np.linalg.norm(now.nu)) + 0.1)
        moved = _search(network, x, y, now, step, penalty)
        if moved is None:
            break
        after = _Local.at(network, x, y, moved, centre)
        if after is None:
            break
        now, steps = after, steps + 1
    return Stationary(now.theta, now.nu, now.missed, now.slope, steps)


@dataclass(frozen=True)
class _Local:
    """Everything at one theta: r = f - y, g = theta - centre, J = U diag(s) Y^T, Z spans its kernel, H."""

    theta: Array
    r: Array
    g: Array
    nu: Array
    U: Array
    s: Array
    Y: Array
    Z: Array
    H: Array
    centre: Array

    @staticmethod
    def at(network: SmoothNetwork, x: Array, y: Array, theta: Array, centre: Array) -> _Local | None:
        """None where numbers leave the range of floats."""
        f, J, _ = network.second_order(theta, x, np.zeros_like(y))
        if not (np.isfinite(f).all() and np.isfinite(J).all()):
            return None
        g = theta - centre
        U, s, Vt = np.linalg.svd(J)
        rank = int((s > RANK * s.max(initial=0.0)).sum())
        U, s, Y, Z = U[:, :rank], s[:rank], Vt[:rank].T, Vt[rank:].T
        nu = U @ ((Y.T @ g) / s)
        S = network.second_order(theta, x, nu)[2]
        if not np.isfinite(S).all():
            return None
        return _Local(theta, f - y, g, nu, U, s, Y, Z, np.eye(theta.size) - S, centre)

    @property
    def missed(self) -> float:
        return float(np.linalg.norm(self.r))

    @property
    def slope(self) -> float:
        return float(np.linalg.norm(self.Z.T @ self.g))

    def back(self, r: Array) -> Array:
        """The least step that removes r to first order."""
        return np.asarray(-self.Y @ ((self.U.T @ r) / self.s))

    def step(self) -> Array:
        """Normal and tangential part, no longer than theta (or 1)."""
        normal = self.back(self.r)
        bends, V = np.linalg.eigh(self.Z.T @ self.H @ self.Z)
        sizes = np.maximum(np.abs(bends), FLAT * max(1.0, float(np.abs(bends).max(initial=1.0))))
        along = self.Z @ (V @ ((V.T @ (self.Z.T @ (self.g + self.H @ normal))) / sizes))
        step = normal - along
        longest = max(1.0, float(np.linalg.norm(self.theta)))
        return np.asarray(step * min(1.0, longest / max(float(np.linalg.norm(step)), 1e-300)))


def _search(network: SmoothNetwork, x: Array, y: Array, now: _Local, step: Array, penalty: float) -> Array | None:
    """theta after as much of the step as lowers 1/2 |theta - centre|^2 + penalty |f - y|, put back to the constraints
    where that helps; None if nothing lowers it."""

    def merit(theta: Array) -> float:
        gap = theta - now.centre
        return float(0.5 * gap @ gap + penalty * np.linalg.norm(network.predict(theta, x).reshape(-1) - y))

    before, share = merit(now.theta), 1.0
    fall = min(0.0, float(now.g @ step) - penalty * now.missed)
    while share > 1e-10 and fall < -1e-15 * (1 + before):
        tried = now.theta + share * step
        for theta in (tried, _restored(network, x, y, now, tried, share)):
            if merit(theta) <= before + 1e-4 * share * fall:
                return theta
        share /= 2
    return None


def _restored(network: SmoothNetwork, x: Array, y: Array, now: _Local, theta: Array, share: float) -> Array:
    """theta with what the step missed by its curvature taken back."""
    missed = network.predict(theta, x).reshape(-1) - y
    return np.asarray(theta + now.back(missed - (1 - share) * now.r))


def newton(network: SmoothNetwork, x: Array, y: Array, point: Stationary, centre: Array, steps: int = 8) -> Stationary:
    """Newton's method for both parts of the KKT system, to the last digit of floats; `point` if that is singular."""
    theta, nu = point.theta, point.nu

    def size(g: Array, r: Array) -> float:
        return float(max(np.abs(g).max(), np.abs(r).max(initial=0)))

    for _ in range(steps):
        K, g, r = system(network, x, y, theta, nu, centre)
        try:
            moved = np.linalg.solve(K, np.concatenate([-g, r]))
        except np.linalg.LinAlgError:
            return point
        tried = theta + moved[: theta.size], nu + moved[theta.size :]
        _, h, s = system(network, x, y, *tried, centre)
        if not size(h, s) < size(g, r):
            break
        theta, nu = tried
    _, g, r = system(network, x, y, theta, nu, centre)
    return Stationary(theta, nu, float(np.linalg.norm(r)), float(np.linalg.norm(g)), point.steps)


def system(
    network: SmoothNetwork, x: Array, y: Array, theta: Array, nu: Array, centre: Array
) -> tuple[Array, Array, Array]:
    """K = (H, -J^T; -J, 0), theta - centre - J^T nu, and f - y."""
    f, J, S = network.second_order(theta, x, nu)
    d, k = theta.size, y.size
    K = np.zeros((d + k, d + k))
    K[:d, :d], K[:d, d:], K[d:, :d] = np.eye(d) - S, -J.T, -J
    return K, theta - centre - J.T @ nu, f - y
