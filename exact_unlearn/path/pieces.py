"""Kinks of a two-layer network: the pieces that meet at a point, each a smooth problem with rows that keep its sides.

f = C phi(A x) with phi(z) = z above 0 and kappa z below is a polynomial in theta as long as every unit j stays on its
side s_ij of every sample i.  Near theta a *piece* is a choice of sides where a_j . x_i = 0 (up to rounding); elsewhere
the sides are those of theta.  Its surrogate has the Jacobian of these sides and the rows

    s_ij x_i . (a_j + d_j) >= 0,

which hold exactly what the linearisation assumes.  Two pieces differ by some flipped sides.  With nu the multipliers of
the outputs and alpha_ij >= 0 those of the rows, the row that reads the other way would have the multiplier

    alpha'_ij = - alpha_ij - (1 - kappa) nu_i . c_j,

so where this is negative R falls beyond the kink, to first order.  Where it is for no kink, the same nu is right for
all pieces, so that theta is as stationary on each of them as on its own; else some are tried, the most promising first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain, combinations, islice
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.models import Perceptron
from exact_unlearn.path.restore import restore
from exact_unlearn.path.setting import RANK, Setting
from exact_unlearn.path.tried import RESTORING, Tried, judged, stationarity, tried
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution

BENDS = ("relu", "leaky_relu", "abs")

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
    """sides: (n, h) of +1 and -1, the sides of the units at the retained samples."""

    sides: Array

    @cached_property
    def samples(self) -> Array:
        """X, (n, m) floats."""
        return samples_of(self)

    @property
    def slopes(self) -> Array:
        """phi' on these sides, (n, h)."""
        return np.where(self.sides > 0, 1.0, slope_below(self.model))

    def outputs(self, theta: Array) -> Array:
        """The polynomial that f is on this piece, (n, l)."""
        blocks = self.model.split(theta)
        return to_float((self.samples @ blocks["A"].T * self.slopes) @ blocks["c"].T)

    def jacobian(self, theta: Array) -> Array:
        """Of `outputs`, (n l, d)."""
        c, A = (to_float(v) for v in self.model.split(theta).values())
        n, (l, h) = len(self.samples), c.shape
        on_C = np.zeros((n, l, l, h))
        on_C[:, np.arange(l), np.arange(l)] = (self.samples @ A.T * self.slopes)[:, None]
        on_A = (c * self.slopes[:, None])[..., None] * self.samples[:, None, None, :]
        return np.concatenate([on_C.reshape(n * l, l * h), on_A.reshape(n * l, A.size)], axis=1)

    def kept(self, theta: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        """Rows that keep sides, (k, d), and what they are at theta; (samples, units) that they belong to."""
        z, size = inner(self, theta)
        far = np.where(size > 0, np.abs(z) / np.where(size > 0, size, 1.0), np.inf)
        chosen = np.sort(np.argsort(far, axis=None, kind="stable")[: max(1, ENTRIES // theta.size)])
        i, j = np.unravel_index(chosen[np.isfinite(far.reshape(-1)[chosen])], z.shape)
        rows = np.zeros((len(i), theta.size))
        m, first = self.model.n_inputs, self.model.blocks["A"].start
        for k in range(m):
            rows[np.arange(len(i)), first + j * m + k] = self.sides[i, j] * self.samples[i, k]
        return rows, self.sides[i, j] * z[i, j], (i, j)

    def problem(self, theta: Array, drift: Any = None) -> UnlearningProblem:
        """The surrogate, with rows that keep the sides."""
        J, (rows, values, _) = self.jacobian(theta), self.kept(theta)
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
        _, size = inner(self, theta)
        held = np.abs(values) <= NEAR * size[i, j]
        matrix = np.concatenate([self.jacobian(theta), rows[held]])[:, movable]
        drift = np.zeros(theta.size)
        goal = np.concatenate([residual, -values[held]])
        drift[movable] = np.linalg.lstsq(matrix, goal, rcond=RANK)[0]
        return drift

    def gains(self, solution: Solution) -> Array:
        """-alpha'_ij at an answer of `problem`, (n, h): where it is positive R falls on the other side of the kink."""
        theta, nu = to_float(solution.problem.theta_star), to_float(solution.nu)
        i, j = self.kept(theta)[2]
        outputs = nu[: nu.size - len(i)].reshape(len(self.samples), self.model.n_outputs)
        found = (1.0 - slope_below(self.model)) * (outputs @ to_float(self.model.split(theta)["c"]))
        found[i, j] += nu[nu.size - len(i) :]
        floor = ROUNDING * float(np.max(np.abs(nu), initial=0.0) * np.max(np.abs(theta), initial=0.0))
        return np.asarray(np.where(np.abs(found) > floor, found, 0.0))


def bends(setting: Setting) -> bool:
    """Whether the model is one whose pieces are known."""
    return isinstance(setting.model, Perceptron) and setting.model.phi.name in BENDS


def slope_below(model: Perceptron) -> float:
    """kappa."""
    return {"relu": 0.0, "abs": -1.0}.get(model.phi.name, float(model.phi.slope or 0.0))


def inner(setting: Setting, theta: Array) -> tuple[Array, Array]:
    """a_j . x_i and |a_j| |x_i|, the latter 0 where a unit is not used, both (n, h)."""
    c, A = (to_float(v) for v in setting.model.split(theta).values())
    x = samples_of(setting)
    return x @ A.T, np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(A, axis=1) * (c != 0).any(axis=0)


def samples_of(setting: Setting) -> Array:
    """X, (n, m) floats."""
    return to_float(np.asarray(setting.x))


@dataclass(frozen=True, eq=False)
class Around:
    """The pieces that meet at a point.  best: the surrogate that lowered R most of those that were tried, if any did.

    kinks: how many there are; stationarity: of all pieces, infinity where R falls beyond some kink.
    """

    best: Tried | None
    kinks: int
    stationarity: float


def around(setting: Setting, theta: Array, drift: Any, tolerance: float, fair: float) -> Around:
    """Try the pieces that meet at theta, the most promising first, until one leaves the share `fair` of its promise."""
    z, size = inner(setting, theta)
    moving = setting.free[setting.model.blocks["A"]].reshape(z.shape[1], -1).any(axis=1)
    near = (np.abs(z) <= NEAR * size) & (size > 0) & moving
    sides = np.where(z > 0, 1.0, -1.0)
    own = Piece(**{f.name: getattr(setting, f.name) for f in fields(setting)}, sides=sides)
    first = _tried(setting, own, theta, drift, tolerance)
    kinks = _kinks(own.samples, near)
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


def _kinks(x: Array, near: Array) -> list[Array]:
    """(n, h) masks: a unit at the kinks of some samples, where these are multiples of each other they are one."""
    length = np.linalg.norm(x, axis=1)
    units = x / np.where(length > 0, length, 1.0)[:, None]
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
