"""One surrogate, its answer, and what is left of it once the labels are restored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from exact_unlearn.certify import certify
from exact_unlearn.errors import RankAmbiguityError
from exact_unlearn.jacobian import to_float
from exact_unlearn.path.restore import Restored, restore
from exact_unlearn.path.setting import Setting
from exact_unlearn.path.trace import Step
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution, Status
from exact_unlearn.watch import TimeUpError

NOTHING = 2.0**-50
"""A promised gain of this share of R is rounding."""

RESTORING = 12
"""Gauss-Newton steps after a surrogate."""

DOUBLINGS = 7
"""How often a step that was taken is made twice as long."""


@dataclass(frozen=True, eq=False)
class Tried:
    """before, promised, value: R where the surrogate begins, of its answer, and after the labels are restored.

    lost: max |f - y| of its answer; refusal: why it is not to be taken, "" if it is.
    """

    solution: Solution
    restored: Restored
    before: float
    promised: float
    value: float
    lost: float
    refusal: str

    @property
    def gain(self) -> float:
        """The share of the promised gain that was left, 0 for what is not to be taken."""
        return 0.0 if self.refusal else (self.before - self.value) / (self.before - self.promised)

    @property
    def idle(self) -> bool:
        """Whether it promised nothing."""
        return not self.promised < self.before * (1 - NOTHING)

    def step(self, at: float, left: float, midway: bool, refusal: str, prove: bool, kinks: int = 0) -> Step:
        """For the trace."""
        start = to_float(self.solution.problem.theta_star)
        return Step(
            accepted=not refusal,
            value=self.value,
            promised=self.promised,
            moved=float(np.linalg.norm(self.restored.theta - start)),
            linear_error=self.lost,
            error=self.restored.error,
            stationarity=left,
            at=at,
            midway=midway,
            kinks=kinks,
            note=refusal,
            **(_proof(self.solution) if prove else {}),
        )


def tried(setting: Setting, problem: UnlearningProblem, tolerance: float) -> Tried:
    """Solve it, restore the labels, and look at R."""
    start = to_float(problem.theta_star)
    solution = setting.solve(problem)
    if solution.status is Status.TIME_LIMIT:
        raise TimeUpError("the time is up")
    linear = to_float(solution.theta)
    before, promised = setting.value(start), setting.value(linear)
    found = Tried(solution, Restored(linear, setting.error(linear)), before, promised, promised, 0.0, "")
    found = replace(found, lost=found.restored.error)
    if found.idle:
        return replace(found, refusal=f"nothing was promised ({solution.status.value})")
    restored = restore(setting, linear, tolerance, RESTORING)
    return judged(replace(found, restored=restored, value=setting.value(restored.theta)), tolerance)


def judged(found: Tried, tolerance: float) -> Tried:
    """Refused if the labels are not met, or R is not lower."""
    reason = "" if found.value < found.before else "R rose"
    if not found.restored.error <= tolerance:
        reason = f"the labels stay {found.restored.error:.2g} away"
    return replace(found, refusal=reason)


def in_the_middle(setting: Setting, first: Tried, tolerance: float) -> Tried:
    """The same surrogate with the Jacobian halfway to the answer of the `first`.

    f(theta + D) - f(theta) = J(theta + D/2) D + O(|D|^3), and where units crossed their kinks on the way, it is more
    often that of the side to which the step leads.
    """
    problem = first.solution.problem
    middle = to_float(problem.theta_star) + 0.5 * to_float(first.solution.drift)
    return tried(setting, replace(problem, jacobian=setting.problem(middle).jacobian), tolerance)


def further(setting: Setting, taken: Tried, tolerance: float) -> Tried:
    """Twice as far along the same line, and twice again, while R falls and the labels can be met.

    The surrogate sees no curvature but that of R, and is too careful along the floor of a valley.
    """
    start = to_float(taken.solution.problem.theta_star)
    drift = taken.restored.theta - start
    for k in range(1, DOUBLINGS + 1):
        restored = restore(setting, start + 2**k * drift, tolerance, RESTORING)
        value = setting.value(restored.theta)
        if not (restored.error <= tolerance and value < taken.value):
            break
        taken = replace(taken, restored=restored, value=value)
    return taken


def stationarity(solution: Solution, setting: Setting) -> float:
    """|h| / |g| + |D| / |theta| (walk.py), in units of theta* where theta or g vanish; infinity without multipliers."""
    if solution.subgradient is None or solution.drift_subgradients is None:
        return math.inf
    size = float(np.linalg.norm(setting.start))
    slope = setting.value(setting.start) / size if size else 0.0
    movable = setting.free
    force = sum(map(to_float, solution.drift_subgradients), start=np.zeros(movable.size))
    h = float(np.linalg.norm(force[movable]))
    g = max(float(np.linalg.norm(to_float(solution.subgradient)[movable])), slope)
    length = max(float(np.linalg.norm(to_float(solution.theta))), size)
    moved = float(np.linalg.norm(to_float(solution.drift)))
    return (h / g if h else 0.0) + (moved / length if length else 0.0)


def _proof(solution: Solution) -> dict[str, Any]:
    """Solution, certificate, and what it proves."""
    try:
        certificate = certify(solution.problem, solution)
    except RankAmbiguityError:
        return {"proof": "none", "solution": solution}
    gap = None if certificate.gap is None else float(certificate.gap)
    return {"proof": certificate.proof, "gap": gap, "solution": solution, "certificate": certificate}
