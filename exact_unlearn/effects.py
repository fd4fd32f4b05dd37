"""What an answer does to the network that it is about: an optimal answer of a linearised problem may destroy it.

J D = 0 keeps the retained outputs of the *linearisation*; those of the network move by |f(theta, X) - f(theta*, X)|
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exact_unlearn import report, summary
from exact_unlearn.jacobian import Array, to_float

Outputs = Callable[[Array], Array]
"""theta (d,) -> the outputs of the network on fixed samples, (n, l)."""

TOLERANCE = 0.01
"""Retained outputs count as kept while they move by no more than this share of the largest of them."""

GRID, HALVINGS = 32, 30
"""Points between theta* and theta at which outputs are looked at, and how often the first that failed is halved."""


@dataclass(frozen=True, repr=False)
class Effect(summary.Summarised):
    """What the network says at theta, compared with theta*.

    retained_change: max |f(theta, x) - f(theta*, x)| over the retained samples and outputs; retained_error: max
    |f(theta, x) - y| over them, where labels are known; forgotten_change: the same as the first over the forgotten
    samples, where they are known.  tolerance: what the retained outputs may move by.  holds_until: the largest t in
    [0, 1] for which they keep to it along theta* + s (theta - theta*), s <= t, as far as a grid of 32 points tells; 1
    where they do all the way.  lam: the weight of a SquaredDrift that would have kept them, or None where it was not
    asked for.

    >>> import numpy as np
    >>> import exact_unlearn as xu
    >>> model = xu.Perceptron(n_inputs=2, width=3, activation="tanh")
    >>> theta_star = np.linspace(-1.0, 1.0, model.n_parameters)
    >>> x = np.array([[1.0, 0.5], [-0.5, 1.0]])
    >>> report = xu.effect(model, theta_star, theta_star, x)
    >>> report.retained_change, report.holds_until
    (0.0, 1.0)
    """

    retained_change: float
    tolerance: float
    holds_until: float
    retained_error: float | None = None
    forgotten_change: float | None = None
    lam: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the retained outputs have moved by no more than the tolerance."""
        return self.retained_change <= self.tolerance

    def lines(self) -> summary.Lines:
        """In words."""
        verdict = "kept" if self.kept else "not kept"
        moved = f"outputs move by up to {report.number(self.retained_change, 3)}"
        lines = [("effect", f"retained {moved}: {verdict} (tolerance {report.number(self.tolerance, 3)})")]
        if self.retained_error is not None:
            lines.append(("", f"retained labels are missed by up to {report.number(self.retained_error, 3)}"))
        if self.forgotten_change is not None:
            lines.append(("", f"forgotten outputs move by up to {report.number(self.forgotten_change, 3)}"))
        if self.holds_until < 1:
            lines.append(("", f"along theta* + t D the linearisation holds until t = {self.holds_until:.3g}"))
        if not self.kept and self.lam is not None:
            lines.append(("", f"SquaredDrift({self.lam:.3g}) would have kept them"))
        return lines


def tolerance_of(outputs: Array) -> float:
    """TOLERANCE of the largest output; TOLERANCE itself where there is none, or it is 0."""
    return TOLERANCE * (float(np.max(np.abs(outputs), initial=0.0)) or 1.0)


def change(after: Array, before: Array) -> float:
    """max |after - before|, infinity where something overflowed."""
    apart = float(np.max(np.abs(after - before), initial=0.0))
    return apart if np.isfinite(apart) else float("inf")


@np.errstate(over="ignore", invalid="ignore")
def measure(
    retained: Outputs,
    theta_star: Array,
    theta: Array,
    y: Array | None = None,
    forgotten: Outputs | None = None,
    tolerance: float | None = None,
) -> Effect:
    """The effect of going from theta* to theta, both (d,); y: (n, l) labels of the retained samples."""
    start, end = to_float(theta_star), to_float(theta)
    before, after = to_float(retained(start)), to_float(retained(end))
    allowed = tolerance_of(before) if tolerance is None else tolerance
    return Effect(
        retained_change=change(after, before),
        tolerance=allowed,
        holds_until=_holds_until(retained, start, end, before, allowed),
        retained_error=None if y is None else change(after, to_float(y)),
        forgotten_change=None if forgotten is None else change(to_float(forgotten(end)), to_float(forgotten(start))),
    )


def _holds_until(retained: Outputs, start: Array, end: Array, before: Array, allowed: float) -> float:
    """The largest t up to which the outputs on the way stay within `allowed`, or 1."""

    def fails(t: float) -> bool:
        return change(to_float(retained(start + t * (end - start))), before) > allowed

    if not before.size:
        return 1.0
    failed = next((i for i in range(1, GRID + 1) if fails(i / GRID)), None)
    if failed is None:
        return 1.0
    low, high = (failed - 1) / GRID, failed / GRID
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if fails(middle) else (middle, high)
    return low
