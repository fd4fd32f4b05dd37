"""Part 1: only the last layer moves.  The model is affine in it, so the surrogate loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exact_unlearn import closed_form
from exact_unlearn.demo.measure import Proved, Row, active_neurons, bounds, prove, row
from exact_unlearn.demo.scene import Scene
from exact_unlearn.jacobian import Array
from exact_unlearn.problem import exact_problem, surrogate_problem
from exact_unlearn.regularizers import L1, L2, ActiveNeurons
from exact_unlearn.report import Finding, small

MILP_SECONDS = 1.0
"""For the fewest neurons branch and bound would run for days; a moment shows what it finds."""


@dataclass(frozen=True, eq=False)
class LastLayer:
    """Answers by regularizer, table rows and findings; bound: s = rank Phi of Theorem 5."""

    l2: Proved
    l1: Proved
    neurons: Proved
    bound: int
    rows: list[Row]
    findings: list[Finding]


def forget_with_last_layer(scene: Scene, say: Callable[[str], None]) -> LastLayer:
    """Forget by moving c only, for R = |c|_2, |c|_1 and the number of active neurons."""
    digits, model, theta_star = scene.digits, scene.model, scene.theta_star
    on_c = np.zeros(model.n_parameters)
    on_c[model.blocks["c"]] = 1.0  # A cannot move, so its norm would only be a constant in the value

    def surrogate(regularizer: L1 | L2 | ActiveNeurons, time_limit: float | None = None) -> Proved:
        problem = surrogate_problem(model, theta_star, digits.x_retain, regularizer, free="c", y_retain=digits.y_retain)
        return prove(problem, time_limit=time_limit)

    say("last layer, ℓ2 norm (SOCP)")
    l2 = surrogate(L2(on_c))
    say("last layer, ℓ1 norm (LP)")
    l1 = surrogate(L1(on_c))
    say(f"last layer, fewest neurons (MILP, stopped after {MILP_SECONDS:g} s)")
    neurons = surrogate(ActiveNeurons(model), MILP_SECONDS)
    bound = int(np.linalg.matrix_rank(model.features(theta_star, digits.x_retain)))
    rows = [
        row("last layer, ℓ2", scene, l2),
        row("last layer, ℓ1", scene, l1),
        row("last layer, fewest neurons", scene, neurons),
    ]
    say("last layer: exact problem by another back end, closed forms")
    return LastLayer(l2, l1, neurons, bound, rows, _findings(scene, l2, l1, neurons, bound, on_c, rows))


def _findings(
    scene: Scene, l2: Proved, l1: Proved, neurons: Proved, bound: int, on_c: Array, rows: list[Row]
) -> list[Finding]:
    digits, model, theta_star = scene.digits, scene.model, scene.theta_star
    error = max(r.effect.interpolation_error for r in rows)
    anew = prove(
        exact_problem(model, theta_star, digits.x_retain, digits.y_retain, L1(on_c), free="c"), solver="CLARABEL"
    )
    apart = abs(anew.solution.value - l1.solution.value) / l1.solution.value
    features = model.features(theta_star, digits.x_retain)
    least = closed_form.lemma_3_min_norm(features, digits.y_retain).theta
    c = model.split(l2.theta)["c"][0]
    distance = float(np.linalg.norm(c - least))
    sparse = theta_star.copy()
    sparse[model.blocks["c"]] += closed_form.lemma_6_sparse_drift(model.split(theta_star)["c"][0], features)
    built, kept = active_neurons(scene, sparse), active_neurons(scene, l1.theta)
    lower, upper = bounds(neurons)
    return [
        Finding("moving c alone keeps the retained labels", "affine in c", "0", small(error), error < 1e-9),
        Finding("the surrogate is the exact problem: same ℓ1 value", "affine in c", "0", small(apart), apart < 1e-9),
        Finding("the least ℓ2 answer is Φ⁺y", "Lemma 3", "0", small(distance), distance < 1e-9),
        Finding("an ℓ1 vertex keeps at most s = rank Φ neurons", "Theorem 5", f"≤ {bound}", str(kept), kept <= bound),
        Finding("so does the construction by elimination", "Lemma 6", f"≤ {bound}", str(built), built <= bound),
        Finding(
            "the fewest neurons are at most s",
            "Theorem 5",
            f"≤ {bound}",
            f"{upper:.0f} proved" if lower == upper else f"{lower:.0f} to {upper:.0f} proved",
            upper <= bound,
        ),
    ]
