"""Back to the labels: damped Gauss-Newton steps J D = y - f, the shortest that there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exact_unlearn.jacobian import Array
from exact_unlearn.path.setting import Setting

ROUNDING = 2.0**-50
"""An error of this share of the labels is left as it is."""

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
    used = setting.free & (theta != 0)
    found = _descend(setting, theta, used, most)
    if found.error <= tolerance or bool((used == setting.free).all()):
        return found
    other = _descend(setting, theta, setting.free, most)
    return other if other.error < found.error else found


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
