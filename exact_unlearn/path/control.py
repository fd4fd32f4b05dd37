"""How far the next step may go: the weight of a squared drift, or the radius of a ball, that follows what is measured.

What a step loses is of second order in its length, so a step that lost e of the labels would have lost BAND if it had
been sqrt(BAND / e) times as long; and a step that won much less than its linearisation promised was too long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from exact_unlearn.drift import SquaredDrift, TrustRegion

BAND = 0.1
"""The share of the labels that a step may lose before they are restored."""

LONGEST, SHORTEST = 2.0, 0.25
"""How much longer or shorter the next step may be than this one."""

GOOD, POOR = 0.75, 0.25
"""Shares of the promised gain: from the first on steps may become longer, below the second they become shorter."""

LEAPS = (0.03, 0.1, 0.3, 1.0)
"""Shares of the natural length at which a path that is stuck looks once more, beyond the kink where it may sit."""

STUCK = 1e10
"""Steps so many times shorter than natural ones lead nowhere."""


@dataclass(frozen=True)
class Control:
    """kind: "lam" or "radius"; at: its present value; unit: R(theta*) in units of lengths squared, 2 R / |theta*|^2 (1
    for SquaredL2), or for a radius |theta*|.
    """

    kind: str
    at: float
    unit: float

    @property
    def drift(self) -> SquaredDrift | TrustRegion:
        """The drift penalty of the next step."""
        return SquaredDrift(self.at) if self.kind == "lam" else TrustRegion(self.at)

    @property
    def stuck(self) -> bool:
        """Whether the steps have become so short that none will do."""
        return self.at > STUCK * self.unit if self.kind == "lam" else self.at < self.unit / STUCK

    def leaping(self, share: float) -> Control:
        """Steps of this share of the natural length, however short they have become."""
        return replace(self, at=self.unit * share if self.kind == "radius" else self.unit / share - self.unit)

    def after(self, lost: float, gain: float) -> Control:
        """The next one, after an accepted step: lost, in units of the labels; gain, as a share of the promised one."""
        factor = LONGEST if lost == 0 else min(LONGEST, max(SHORTEST, math.sqrt(BAND / lost)))
        if gain < GOOD:
            factor = min(factor, 1.0)
        return self.stretched(min(factor, 0.5) if gain < POOR else factor)

    def refused(self, lost: float) -> Control:
        """The next one, after a step that was not taken."""
        wanted = math.sqrt(BAND / lost) if 0 < lost < math.inf else SHORTEST
        return self.stretched(min(0.5, max(SHORTEST, wanted)))

    def stretched(self, factor: float) -> Control:
        """Steps `factor` times as long: proportional to the radius, or to 1 / (unit + lam)."""
        if self.kind == "radius":
            return replace(self, at=min(self.at * factor, STUCK * self.unit))
        lam = (self.unit + self.at) / factor - self.unit
        return replace(self, at=max(lam, min(self.at, 1e-3 * self.unit)))
