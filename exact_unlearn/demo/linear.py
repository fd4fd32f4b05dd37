"""Part 2: a linear model, for which the surrogate *is* retraining (Theorem 2), by routes that share nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exact_unlearn import closed_form
from exact_unlearn.demo.measure import Proved, Row, linear_row, prove
from exact_unlearn.demo.scene import Digits
from exact_unlearn.jacobian import Array
from exact_unlearn.models import LinearModel
from exact_unlearn.problem import exact_problem, surrogate_problem
from exact_unlearn.regularizers import L1, L2, LInf
from exact_unlearn.report import Finding, small

DESCENT_STEPS = 100_000


@dataclass(frozen=True, eq=False)
class Linear:
    """theta_star, the surrogate's answer for |theta|_2, and what retraining gives; table rows and findings."""

    model: LinearModel
    theta_star: Array
    surrogate: Proved
    retrained: Array
    rows: list[Row]
    findings: list[Finding]


def forget_with_linear_model(digits: Digits, rng: np.random.Generator, say: Callable[[str], None]) -> Linear:
    """Compare the surrogate, which sees theta* and the retain inputs, with retraining, which sees inputs and labels.

    theta* is not the least interpolating one: a random element of the kernel is added, as Theorem 2 allows.
    """
    model = LinearModel(digits.x.shape[1])
    theta_star = model.interpolating_parameters(digits.x, digits.labels, rng)
    say("linear model: surrogate from theta* and inputs, exact problem from inputs and labels")
    proved: dict[str, Proved] = {}
    findings = []
    for symbol, regularizer, other in (("ℓ2", L2(), "SCS"), ("ℓ1", L1(), "CLARABEL"), ("ℓ∞", LInf(), "CLARABEL")):
        proved[symbol] = prove(
            surrogate_problem(model, theta_star, digits.x_retain, regularizer, y_retain=digits.y_retain)
        )
        nothing = np.zeros(model.n_parameters)
        anew = prove(exact_problem(model, nothing, digits.x_retain, digits.y_retain, regularizer), solver=other)
        findings.append(_same_optimum(symbol, proved[symbol], anew))
    say(f"linear model: {DESCENT_STEPS} steps of gradient descent from zero on the retained digits")
    retrained, promised = descend_from_zero(digits.x_retain, digits.y_retain)
    theta = proved["ℓ2"].theta
    apart = float(np.linalg.norm(theta - retrained))
    projected = float(np.linalg.norm(theta - closed_form.theorem_2_solution(model, theta_star, digits.x_retain)))
    findings += [
        Finding(
            "the ℓ2 answer is the projection of θ* on the retained inputs",
            "Theorem 2",
            "0",
            small(projected),
            projected < 1e-9,
        ),
        Finding(
            "gradient descent from 0 comes as close as its rate says",
            "Proposition 2",
            f"≤ {small(promised)}",
            small(apart),
            apart <= promised,
        ),
    ]
    row = linear_row("linear model, ℓ2", digits, model, proved["ℓ2"])
    return Linear(model, theta_star, proved["ℓ2"], retrained, [row], findings)


def descend_from_zero(x: Array, y: Array, steps: int = DESCENT_STEPS) -> tuple[Array, float]:
    """Gradient descent on 1/2 |X theta - y|^2 from theta = 0 (Proposition 2), and how near it must come to its limit.

    With step 1.9 / lambda_max the error shrinks by max(0.9, 1 - 1.9 lambda_min / lambda_max) per step, lambda_min the
    least non-zero eigenvalue of X^T X; the promise is that power times the length of the limit, plus rounding.
    """
    sigma = np.linalg.svd(x, compute_uv=False)
    sigma = sigma[sigma > sigma[0] * max(x.shape) * np.finfo(np.float64).eps]
    rate = 1.9 / sigma[0] ** 2
    theta = np.zeros(x.shape[1])
    for _ in range(steps):
        theta -= rate * (x.T @ (x @ theta - y))
    shrink = max(0.9, 1.0 - 1.9 * (sigma[-1] / sigma[0]) ** 2)
    limit = closed_form.lemma_3_min_norm(x, y).theta
    return theta, float(np.linalg.norm(limit)) * (shrink**steps + 1e-12)


def _same_optimum(symbol: str, surrogate: Proved, anew: Proved) -> Finding:
    """Optimal values by two routes; both are proved, so they differ by the rounding of X theta* only."""
    value = surrogate.solution.value
    apart = abs(value - anew.solution.value) / value
    return Finding(
        f"surrogate and exact problem have one {symbol} optimum", "Theorem 2", "0", small(apart), apart < 1e-7
    )
