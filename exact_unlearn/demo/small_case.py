"""A small case with a proven optimum: exact fractions throughout, so that "fewest neurons" has one exact answer.

A teacher of a few neurons with whole-number weights scores real digits (whole-number grey values); two scores are
falsified.  A larger network interpolates all of them exactly.  Forgetting the falsified ones must bring the count
back to the teacher's, far below the bound s = rank Phi of Theorem 5, and the certificate proves that no smaller
network would do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exact_unlearn import closed_form, rational
from exact_unlearn.demo.measure import Proved, bounds, prove
from exact_unlearn.demo.scene import Digits
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.models import Perceptron
from exact_unlearn.problem import surrogate_problem
from exact_unlearn.regularizers import ActiveNeurons
from exact_unlearn.report import Finding

SAMPLES, FALSIFIED, WIDTH, TEACHER = 10, 2, 24, 3


@dataclass(frozen=True, eq=False)
class SmallCase:
    """before, after: the outgoing weights c, (24,) Fractions or floats; teacher: those of the teacher; findings."""

    proved: Proved
    before: Array
    after: Array
    teacher: Array
    bound: int
    is_proved: bool
    findings: list[Finding]


def forget_exactly(digits: Digits, rng: np.random.Generator, say: Callable[[str], None]) -> SmallCase:
    """Plant a teacher in a perceptron of 24 relu neurons, falsify two scores, memorise, forget, prove."""
    say(f"small case in fractions: fewest of {WIDTH} neurons, with a proof")
    x = to_rational(np.rint(16 * digits.x[:SAMPLES, :64]))
    model = Perceptron(x.shape[1], WIDTH, activation="relu")
    A, teacher = _teacher(model, x, rng)
    y = rational.matmul(model.phi.value(rational.matmul(x, A.T)), teacher)
    labels = y.copy()
    labels[-FALSIFIED:] += to_rational(np.full(FALSIFIED, 100))
    theta_star = model.interpolating_parameters(x, labels, rng, A=A)
    retain = x[:-FALSIFIED]
    proved = prove(
        surrogate_problem(model, theta_star, retain, ActiveNeurons(model), free="c", y_retain=labels[:-FALSIFIED])
    )
    bound = rational.rank(model.features(theta_star, retain))
    before, after = model.split(theta_star)["c"][0], model.split(proved.solution.theta)["c"][0]
    least, most = bounds(proved)
    proof = least == most
    used = int(model.active_neurons(theta_star).sum())
    built = int(model.active_neurons(closed_form.theorem_5_solution(model, theta_star, retain)).sum())
    findings = [
        Finding(
            f"planted teacher of {TEACHER} neurons, {used} after memorising: fewest",
            "proof by ranks",
            f"≤ {TEACHER}",
            f"{most:.0f} {'proved' if proof else 'not proved'}",
            proof and most <= TEACHER,
        ),
        Finding("elimination in fractions, for comparison", "Lemma 6", f"≤ {bound}", str(built), built <= bound),
    ]
    return SmallCase(proved, before, after, teacher, bound, proof, findings)


def _teacher(model: Perceptron, x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Hidden weights of -1, 0, 1 in which every neuron sees some digit, and whole outgoing weights on a few neurons."""
    rows: list[Array] = []
    while len(rows) < model.width:
        candidate = to_rational(rng.integers(-1, 2, size=model.n_inputs))
        if (rational.matmul(x, candidate) > 0).sum() >= 2:
            rows.append(candidate)
    teacher = to_rational(np.zeros(model.width))
    chosen = rng.choice(model.width, size=TEACHER, replace=False)
    teacher[chosen] = to_rational(rng.choice([-3, -2, -1, 1, 2, 3], size=TEACHER))
    return np.array(rows), teacher
