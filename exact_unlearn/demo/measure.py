"""What was proved about an answer, and what the answer does to the digits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_unlearn.certify import Certificate, certify
from exact_unlearn.demo.scene import Digits, Scene
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.reference import solve
from exact_unlearn.report import rounded_down, rounded_up
from exact_unlearn.solution import Solution

ACTIVE = 1e-9
"""A weight counts as zero below this share of the largest one of its layer."""


PROOFS = ("exact", "enclosure", "repaired", "infeasible", "none")
"""What a certificate may prove, strongest first."""


@dataclass(frozen=True, eq=False)
class Proved:
    """A problem, its claimed solution and what could be proved, with the time that either took."""

    problem: UnlearningProblem
    solution: Solution
    certificate: Certificate
    solve_seconds: float
    certify_seconds: float

    @property
    def theta(self) -> Array:
        """The claimed minimiser, floats."""
        return to_float(self.solution.theta)


def bounds(proved: Proved) -> tuple[float, float]:
    """The proved interval, rounded outwards; infinite where nothing is known."""
    low, high = rounded_down(proved.certificate.lower), rounded_up(proved.certificate.upper)
    return -np.inf if low is None else low, np.inf if high is None else high


def prove(problem: UnlearningProblem, solver: str | None = None, time_limit: float | None = None) -> Proved:
    """Solve and certify.  The numerical rank of these problems is their literal one, so nothing is ambiguous."""
    began = time.perf_counter()
    solution = solve(problem, solver=solver, time_limit=time_limit)
    between = time.perf_counter()
    certificate = certify(problem, solution)
    return Proved(problem, solution, certificate, between - began, time.perf_counter() - between)


@dataclass(frozen=True)
class Effect:
    """What a model says about the digits.

    interpolation_error: max |f - y| over the retained digits, and retained: the share of them with the right sign.
    relabelled: how many of the forgotten digits now get their true label; fresh: the share of right answers on
    digits that nobody has trained on.
    """

    interpolation_error: float
    retained: float
    relabelled: int
    fresh: float


def effect(digits: Digits, model: Any, theta: Array) -> Effect:
    """Measure `model` with parameters `theta`."""

    def outputs(x: Array) -> Array:
        return np.asarray(model.predict(theta, x)[:, 0])

    kept = outputs(digits.x_retain)
    return Effect(
        interpolation_error=float(np.max(np.abs(kept - digits.y_retain))),
        retained=float(np.mean(kept * digits.y_retain > 0)),
        relabelled=int(np.sum(outputs(digits.x_forget) * digits.truth_forget > 0)),
        fresh=float(np.mean(outputs(digits.x_fresh) * digits.truth_fresh > 0)),
    )


@dataclass(frozen=True)
class Row:
    """One line of the demo's table; `None` where a column has no meaning.

    neurons: active ones; weights: parameters that are not zero (up to rounding, both).
    """

    name: str
    effect: Effect
    moved: float
    neurons: int | None = None
    weights: int | None = None
    value_before: float | None = None
    value: float | None = None
    lower: Any = None
    upper: Any = None
    gap: float | None = None
    proof: str | None = None
    status: str | None = None
    solver: str | None = None
    seconds: float | None = None


def row(name: str, scene: Scene, proved: Proved) -> Row:
    """The line of a proved answer for the perceptron."""
    return _row(name, scene.digits, scene.model, proved, active_neurons(scene, proved.theta))


def linear_row(name: str, digits: Digits, model: Any, proved: Proved) -> Row:
    """The line of a proved answer for a model without neurons."""
    return _row(name, digits, model, proved, None)


def reference_row(name: str, scene: Scene, theta: Array, seconds: float | None = None) -> Row:
    """The line of parameters that come from no problem: where we start, and training anew."""
    moved = float(np.linalg.norm(theta - scene.theta_star))
    seen, neurons = effect(scene.digits, scene.model, theta), active_neurons(scene, theta)
    return Row(name, seen, moved, neurons, nonzero(theta), seconds=seconds)


def nonzero(theta: Array) -> int:
    """Entries that are not zero up to rounding."""
    return int(np.sum(np.abs(theta) > ACTIVE * np.max(np.abs(theta), initial=0.0)))


def active_neurons(scene: Scene, theta: Array) -> int:
    """Neurons with an outgoing and an incoming weight that are not zero up to rounding."""
    blocks = scene.model.split(theta)
    used = [np.abs(block) > ACTIVE * np.max(np.abs(block), initial=0.0) for block in (blocks["c"], blocks["A"])]
    return int(np.sum(used[0].any(axis=0) & used[1].any(axis=1)))


def _row(name: str, digits: Digits, model: Any, proved: Proved, neurons: int | None) -> Row:
    problem, certificate = proved.problem, proved.certificate
    return Row(
        name=name,
        effect=effect(digits, model, proved.theta),
        moved=float(np.linalg.norm(to_float(proved.solution.drift))),
        neurons=neurons,
        weights=nonzero(proved.theta),
        value_before=float(problem.objective(problem.theta_star)),
        value=proved.solution.value,
        lower=certificate.lower,
        upper=certificate.upper,
        gap=None if certificate.gap is None else float(certificate.gap),
        proof=certificate.proof,
        status=proved.solution.status.value,
        solver=proved.solution.solver,
        seconds=proved.solve_seconds + proved.certify_seconds,
    )
