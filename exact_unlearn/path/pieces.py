"""Kinks of a two-layer network: the pieces that meet at a point, each a smooth problem with rows that keep its sides.

f = C phi(A x) (bent.py) with phi(z) = z above 0 and kappa z below is a polynomial in theta as long as every unit j
stays on its side s_ij of every sample i.  Near theta a *piece* is a choice of sides where a_j . x_i = 0 (up to
rounding); elsewhere the sides are those of theta.  Its surrogate has the Jacobian of these sides and the rows

    s_ij x_i . (a_j + d_j) >= 0,

which hold exactly what the linearisation assumes.  Two pieces differ by some flipped sides.  With nu the multipliers of
the outputs and alpha_ij >= 0 those of the rows, the row that reads the other way would have the multiplier

    alpha'_ij = - alpha_ij - (1 - kappa) nu_i . c_j,

so where this is negative R falls beyond the kink, to first order.  Where it is for no kink, the same nu is right for
all pieces, so that theta is as stationary on each of them as on its own; else some are tried, the most promising first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import chain, combinations, islice
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.path.bent import Bent
from exact_unlearn.path.restore import restore
from exact_unlearn.path.setting import RANK, Setting
from exact_unlearn.path.tried import RESTORING, Tried, judged, stationarity, tried
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution

NEAR = 1e-7
"""A unit is at a sample's kink where |a . x| is at most this times |a| |x|."""

ENTRIES = 200_000
"""Of the rows that keep sides, those of the nearest kinks; crossing others costs labels, which is measured."""

PIECES = 32
"""How many are tried at a point, beside that of the point."""

PARALLEL = 1e-12
"""Samples are multiples of each other if the cosine between them is this near to 1 or -1."""

ROUNDING = 1e-6
"""Multipliers are known to this share of the largest."""


@dataclass(frozen=True, eq=False)
class Piece(Setting):
    """network: on the retained samples; sides: (n, h) of +1 and -1, those of its units."""

    network: Bent
    sides: Array

    def outputs(self, theta: Array) -> Array:
        """The polynomial that f is on this piece, (n, l)."""
        return self.network.outputs(theta, self.sides)

    def kept(self, theta: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        """Rows that keep sides, (k, d), and what they are at theta; (samples, units) that they belong to."""
        z, size = self.network.inner(theta), self.network.sizes(theta)
        far = np.where(size > 0, np.abs(z) / np.where(size > 0, size, 1.0), np.inf)
        chosen = np.sort(np.argsort(far, axis=None, kind="stable")[: max(1, ENTRIES // theta.size)])
        i, j = np.unravel_index(chosen[np.isfinite(far.reshape(-1)[chosen])], z.shape)
        rows = np.zeros((len(i), theta.size))
        rows[np.arange(len(i))[:, None], self.network.hidden[j]] = self.sides[i, j, None] * self.network.x[i]
        return rows, self.sides[i, j] * z[i, j], (i, j)

    def problem(self, theta: Array, drift: Any = None) -> UnlearningProblem:
        """The surrogate, with rows that keep the sides."""
        J, (rows, values, _) = self.network.jacobian(theta, self.sides), self.kept(theta)
        k = len(J) + len(rows)
        return UnlearningProblem(
            theta,
            DenseJacobian(np.concatenate([J, rows])),
            self.regularizer,
            drift,
            free=self.free,
            rhs=np.concatenate([np.zeros(len(J)), -values]),
            at_least=np.arange(k) >= len(J),
        )

    def shortest(self, theta: Array, movable: Array, residual: Array) -> Array:
        """As in `Setting`, the units that are at a kink staying there."""
        rows, values, (i, j) = self.kept(theta)
        held = np.abs(values) <= NEAR * self.network.sizes(theta)[i, j]
        matrix = np.concatenate([self.network.jacobian(theta, self.sides), rows[held]])[:, movable]
        drift = np.zeros(theta.size)
        goal = np.concatenate([residual, -values[held]])
        drift[movable] = np.linalg.lstsq(matrix, goal, rcond=RANK)[0]
        return drift

    def gains(self, solution: Solution) -> Array:
        """-alpha'_ij at an answer of `problem`, (n, h): where it is positive R falls on the other side of the kink."""
        theta, nu, network = to_float(solution.problem.theta_star), to_float(solution.nu), self.network
        i, j = self.kept(theta)[2]
        outputs = nu[: nu.size - len(i)].reshape(len(network.x), len(network.output))
        found = (1.0 - network.slope) * (outputs @ theta[network.output])
        found[i, j] += nu[nu.size - len(i) :]
        floor = ROUNDING * float(np.max(np.abs(nu), initial=0.0) * np.max(np.abs(theta), initial=0.0))
        return np.asarray(np.where(np.abs(found) > floor, found, 0.0))


@dataclass(frozen=True, eq=False)
class Around:
    """The pieces that meet at a point.  best: the surrogate that lowered R most of those that were tried, if any did.

    kinks: how many there are; stationarity: of all pieces, infinity where R falls beyond some kink.
    """

    best: Tried | None
    kinks: int
    stationarity: float


def around(setting: Setting, network: Bent, theta: Array, drift: Any, tolerance: float, fair: float) -> Around:
    """Try the pieces that meet at theta, the most promising first, until one leaves the share `fair` of its promise."""
    z, size = network.inner(theta), network.sizes(theta)
    near = (np.abs(z) <= NEAR * size) & (size > 0) & setting.free[network.hidden].any(axis=1)
    sides = np.where(z > 0, 1.0, -1.0)
    own = Piece(**{f.name: getattr(setting, f.name) for f in fields(setting)}, network=network, sides=sides)
    first = _tried(setting, own, theta, drift, tolerance)
    kinks = _kinks(network, near)
    gains = own.gains(first.solution)
    falls = [float(np.sum(gains[mask] * size[mask])) for mask in kinks]
    order = sorted(range(len(kinks)), key=lambda k: -falls[k])
    falling = tuple(k for k in order if falls[k] > 0)
    left, best = stationarity(first.solution, setting), None if first.refusal else first
    if not falling:
        return Around(best, len(kinks), left)
    others = (some for count in range(1, len(order) + 1) for some in combinations(order, count) if some != falling)
    for flipped in islice(chain([falling], others), PIECES):
        if best is not None and best.gain >= fair:
            break
        other = np.where(np.any([kinks[k] for k in flipped], axis=0), -sides, sides)
        found = _tried(setting, replace(own, sides=other), theta, drift, tolerance)
        left = max(left, stationarity(found.solution, setting))
        if not found.refusal and (best is None or found.value < best.value):
            best = found
    return Around(best, len(kinks), left if best is None and 2 ** len(kinks) <= PIECES else np.inf)


def _kinks(network: Bent, near: Array) -> list[Array]:
    """(n, h) masks: a unit at the kinks of some samples; where these are multiples of each other they are one."""
    units = network.x / np.where(network.lengths > 0, network.lengths, 1.0)[:, None]
    found = []
    for j in np.flatnonzero(near.any(axis=0)):
        rest = near[:, j].copy()
        while rest.any():
            same = rest & (np.abs(units @ units[np.flatnonzero(rest)[0]]) >= 1 - PARALLEL)
            mask = np.zeros_like(near)
            mask[same, j] = True
            found.append(mask)
            rest &= ~same
    return found


def _tried(setting: Setting, piece: Piece, theta: Array, drift: Any, tolerance: float) -> Tried:
    """The surrogate of a piece, its labels restored on the piece, and judged by the network itself."""
    found = tried(piece, piece.problem(theta, drift), tolerance)
    if found.idle:
        return found
    restored = restore(setting, found.restored.theta, tolerance, RESTORING)
    return judged(replace(found, restored=restored, value=setting.value(restored.theta)), tolerance)
