"""Back to the labels: damped Gauss-Newton steps J D = y - f, the shortest that there are.

Where many units sit on their kinks, J is that of a side to which the step does not lead, and the error stops falling.
Then one block of parameters moves at a time, the last first: a network is affine in its last layer, kinks or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exact_unlearn.jacobian import Array
from exact_unlearn.path.setting import Setting

ROUNDING = 2.0**-50
"""An error of this share of the labels is left as it is."""

ZERO = 1e-9
"""Solvers leave this share of the largest entry where they mean 0."""

BLOCKS = 4
"""How many blocks are tried alone."""

HALVINGS = 6
"""How often a step that does not lower the error is halved."""


@dataclass(frozen=True, eq=False)
class Restored:
    """theta, and the largest error that is left."""

    theta: Array
    error: float


def restore(setting: Setting, theta: Array, tolerance: float, most: int) -> Restored:
    """The nearby parameters that meet the labels, after `most` steps at most.

    Coordinates that are 0 stay so, or the labels would cost what the regularizer has won; they move only where nothing
    else meets the labels to `tolerance`.
    """
    best = Restored(theta, setting.error(theta))
    for movable in _movable(setting, theta):
        found = _descend(setting, theta, movable, most)
        best = found if found.error < best.error else best
        if best.error <= tolerance:
            break
    return best


def _movable(setting: Setting, theta: Array) -> Iterator[Array]:
    """What may move, in the order in which it is tried."""
    used = setting.free & (np.abs(theta) > ZERO * np.max(np.abs(theta), initial=0.0))
    yield used
    if not (used == setting.free).all():
        yield setting.free
    blocks = list(setting.model.blocks.values())
    for block in blocks[: -1 - BLOCKS : -1] if len(blocks) > 1 else []:
        part = np.zeros_like(used)
        part[block] = setting.free[block]
        yield part


def _descend(setting: Setting, theta: Array, movable: Array, most: int) -> Restored:
    """Steps until the error is rounding, does not fall any more, or `most` are done."""
    at = Restored(theta, setting.error(theta))
    for _ in range(most if movable.any() else 0):
        if at.error <= ROUNDING * setting.label_scale or not np.isfinite(at.error):
            break
        residual = (setting.y - setting.outputs(at.theta)).reshape(-1)
        lower = _lower(setting, at, setting.shortest(at.theta, movable, residual))
        if lower is None:
            break
        at = lower
    return at


def _lower(setting: Setting, at: Restored, step: Array) -> Restored | None:
    """The first of at + step, at + step / 2, ... that lowers the error."""
    for k in range(HALVINGS + 1):
        moved = at.theta + 0.5**k * step
        error = setting.error(moved)
        if error < at.error:
            return Restored(moved, error)
    return None
