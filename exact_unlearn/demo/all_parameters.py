"""Part 3: everything moves.  The surrogate is then a linearisation only; how far one goes decides what it is worth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from exact_unlearn import closed_form
from exact_unlearn.demo.measure import PROOFS, Proved, Row, effect, nonzero, prove, reference_row, row
from exact_unlearn.demo.scene import Scene
from exact_unlearn.drift import DriftPenalty, SquaredDrift, TrustRegion
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.path import unlearn_path
from exact_unlearn.problem import UnlearningProblem, surrogate_problem
from exact_unlearn.regularizers import L1, GroupL2, Regularizer, SquaredL2
from exact_unlearn.report import Finding, small
from exact_unlearn.watch import watched

LAMBDAS = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.0)
RADII = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
STEPS = 16


@dataclass(frozen=True, eq=False)
class Point:
    """One point of a path: the parameter that was varied (lambda, radius, number of the step), and a table row.

    lost: of a short step, what its surrogate lost of the retained labels before they were restored.
    """

    at: float
    row: Row
    theta: Array
    norm: float
    lost: float = 0.0


@dataclass(frozen=True, eq=False)
class AllParameters:
    """Unpenalised answers per regularizer, the two paths, the re-linearised steps; table rows and findings."""

    free: dict[str, Proved]
    by_lambda: list[Point]
    by_radius: list[Point]
    steps: list[Point]
    rows: list[Row]
    findings: list[Finding]


def forget_with_all_parameters(scene: Scene, say: Callable[[str], None]) -> AllParameters:
    """One linearisation without and with a drift penalty, then several linearisations in a row."""
    neurons = GroupL2(scene.model.neuron_groups())
    free = {}
    for symbol, name, R in (("½ℓ2²", "QP", SquaredL2()), ("ℓ1", "LP", L1()), ("neuron groups", "SOCP", neurons)):
        say(f"all parameters, {symbol}, no drift penalty ({name}, {scene.model.n_parameters} variables)")
        free[symbol] = prove(_surrogate(scene, R))
    by_lambda = []
    for at, lam in enumerate(LAMBDAS, start=1):
        say(f"all parameters, ½ℓ2², path over λ ({at} of {len(LAMBDAS)})")
        proved = free["½ℓ2²"] if lam == 0 else prove(_surrogate(scene, SquaredL2(), SquaredDrift(lam)))
        by_lambda.append(_point(lam, scene, proved, f"all, ½ℓ2², λ = {lam:g}"))
    by_radius = []
    for at, radius in enumerate(RADII, start=1):
        say(f"all parameters, ℓ1, path over the radius ({at} of {len(RADII)})")
        proved = prove(_surrogate(scene, L1(), TrustRegion(radius, math.inf)))
        by_radius.append(_point(radius, scene, proved, f"all, ℓ1, radius {radius:g}"))
    by_radius.append(_point(np.inf, scene, free["ℓ1"], "all, ℓ1, no radius"))
    steps = relinearised_steps(scene, say)
    rows = [row(f"all, {symbol}, λ = 0", scene, proved) for symbol, proved in free.items()]
    careful = next(point for point in by_lambda if point.at == 10.0)
    rows += [careful.row, steps[-1].row]
    return AllParameters(free, by_lambda, by_radius, steps, rows, _findings(scene, free, by_lambda, steps))


def relinearised_steps(scene: Scene, say: Callable[[str], None]) -> list[Point]:
    """Short steps by `unlearn_path`, one point per step that was taken.

    No label is used: the retained outputs stay what they are at theta*.  What was proved is each single surrogate, so
    the rows have no bounds; distance, gap and proof are those of the whole way.
    """
    model, start = scene.model, scene.theta_star
    began = time.perf_counter()
    with watched(say=say):
        path = unlearn_path(model, start, scene.digits.x_retain, SquaredL2(), steps=STEPS, certify=True)
    seconds = time.perf_counter() - began
    surrogates = [step.solution for step in path.steps if step.solution is not None]
    reached = [*(to_float(solution.problem.theta_star) for solution in surrogates[1:]), path.theta]
    points: list[Point] = []
    for k, (step, theta) in enumerate(zip(path.steps, reached, strict=True), start=1):
        if not step.accepted:
            continue
        so_far = path.steps[:k]
        line = replace(
            reference_row(f"all, ½ℓ2², {len(path.accepted)} short steps", scene, theta),
            value_before=path.start_value,
            value=step.value,
            gap=max(before.gap or 0.0 for before in so_far),
            proof=max((str(before.proof) for before in so_far), key=PROOFS.index),
            status=path.status.value,
            solver=surrogates[k - 1].solver,
            seconds=seconds,
        )
        points.append(Point(len(points) + 1, line, theta, float(np.linalg.norm(theta)), step.linear_error))
    return points


def _surrogate(scene: Scene, regularizer: Regularizer, drift: DriftPenalty | None = None) -> UnlearningProblem:
    digits = scene.digits
    return surrogate_problem(
        scene.model, scene.theta_star, digits.x_retain, regularizer, drift, y_retain=digits.y_retain
    )


def _point(at: float, scene: Scene, proved: Proved, name: str) -> Point:
    theta = proved.theta
    return Point(at, row(name, scene, proved), theta, float(np.linalg.norm(theta)))


def _findings(scene: Scene, free: dict[str, Proved], by_lambda: list[Point], steps: list[Point]) -> list[Finding]:
    J = scene.model.jacobian(scene.theta_star, scene.digits.x_retain).matrix
    start = scene.theta_star
    formula = [closed_form.appendix_e_drift(J, start, point.at) for point in by_lambda]
    off = max(float(np.linalg.norm(p.theta - start - D)) for p, D in zip(by_lambda, formula, strict=True))
    short = [point.row for point in by_lambda if point.at >= 30]
    moved, error = [row.moved for row in short], [row.effect.interpolation_error for row in short]
    slope = float(np.polyfit(np.log(moved), np.log(error), 1)[0])
    lost = max(effect(scene.digits, scene.model, proved.theta).interpolation_error for proved in free.values())
    rank, kept = int(np.linalg.matrix_rank(J)), nonzero(free["ℓ1"].theta)
    landed = steps[-1].row.effect.interpolation_error
    return [
        Finding("along λ, Δ = −P⊥θ*/(1+λ)", "Appendix E", "0", small(off), off < 1e-8),
        Finding("short moves lose labels in second order: slope", "Taylor", "2", f"{slope:.2f}", abs(slope - 2) < 0.2),
        Finding("an ℓ1 vertex keeps at most rank J weights", "linear program", f"≤ {rank}", str(kept), kept <= rank),
        Finding(
            "λ = 0 goes too far: largest |f − y| on retained digits", "no bound", "> 0.1", f"{lost:.2f}", lost > 0.1
        ),
        Finding("short steps keep the retained labels", "Newton", "0", small(landed), landed < 1e-12),
    ]
