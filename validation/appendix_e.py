"""Appendix E: the closed form for the squared norm and a squared drift penalty."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, below, close, differ, equal, worst_of
from .instances import Rng, fractions, integers, rational_data, taught_perceptron
from .lemma_1 import instance as network_instance
from .proofs import optimum, prove

LAMBDAS = (Fraction(0), Fraction(1, 3), Fraction(2), Fraction(50))
MODELS = ("linear", "network", "relu", "square")


def model_instance(rng: Rng, kind: str) -> tuple[Any, Any, Any]:
    """(model, theta*, retain inputs), rational."""
    if kind == "linear":
        data = rational_data(rng, 6, 3, 2)
        model = xu.LinearModel(6)
        return model, model.interpolating_parameters(data.x, data.y, rng), data.retain[0]
    if kind == "network":
        network, theta, data = network_instance(rng, 3)
        return network, theta, data.retain[0]
    perceptron, theta, data = taught_perceptron(rng, kind, 3, 4, 3, 1)
    return perceptron, theta, data.retain[0]


def outputs_of(model: Any, x: Any) -> Any:
    """f(., x) from the definition of the model, as a function of theta."""
    if isinstance(model, xu.LinearModel):
        return lambda t: x.dot(t)
    if isinstance(model, xu.LinearNetwork):
        return lambda t: naive.linear_network(model.widths, t, x)
    phi = naive.activation(str(model.activation))
    return lambda t: naive.perceptron(model.n_inputs, model.width, model.n_outputs, phi, t, x)


def rows_of(model: Any, theta: Any, x: Any) -> Any:
    """J at theta, by definition."""
    return naive.gradient(outputs_of(model, x), theta).reshape(-1, theta.size)


def _closed_form(rng: Rng, case: Any) -> Measurement:
    """The drift against Gram-Schmidt on derivatives by definition; and J drift = 0."""
    kind, lam = case
    model, theta, x = model_instance(rng, kind)
    drift = closed_form.appendix_e_drift(model.jacobian(theta, x), theta, lam)
    J = rows_of(model, theta, x)
    truth = (naive.project(J, theta) - theta) / (1 + lam)
    return worst_of([equal(truth, drift), equal(fractions(np.zeros(len(J))), J.dot(drift), shown=(truth[0], drift[0]))])


def _optimality(rng: Rng, case: Any) -> Measurement:
    """The certified optimum of the program is the objective at the closed form, as written and as the problem says."""
    kind, lam = case
    model, theta, x = model_instance(rng, kind)
    drift = closed_form.appendix_e_drift(model.jacobian(theta, x), theta, lam)
    value = (naive.square_norm(theta + drift) + lam * naive.square_norm(drift)) / 2
    problem = xu.surrogate_problem(model, theta, x, xu.SquaredL2(), xu.SquaredDrift(lam))
    return worst_of([optimum(prove(problem), value), equal(value, problem.objective(theta + drift))])


def _activations(rng: Rng, case: Any) -> Measurement:
    """Every activation in floats: J by complex steps, the projection exact on these floats."""
    model = xu.Perceptron(3, 4, case)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((3, 3))
    phi = naive.activation(case)
    J = naive.complex_step(lambda t: naive.perceptron(3, 4, 1, phi, t, x), theta).reshape(-1, theta.size)
    truth = (naive.project(J, theta).astype(float) - theta) / 1.5
    found = closed_form.appendix_e_drift(model.jacobian(theta, x), theta, 0.5)
    return close(truth, found, 1e-13 * float(np.linalg.cond(J)) if naive.rank(J) == len(J) else 1e-9)


def _full_rank(rng: Rng, case: Any) -> Measurement:
    """rank J = d: nothing but drift 0 is feasible."""
    model = xu.LinearModel(case)
    data = rational_data(rng, case, case + 2, 0)
    while naive.rank(data.x) < case:
        data = rational_data(rng, case, case + 2, 0)
    theta = model.interpolating_parameters(data.x, data.y, rng)
    drift = closed_form.appendix_e_drift(model.jacobian(theta, data.x), theta)
    certificate = prove(xu.surrogate_problem(model, theta, data.x, xu.SquaredL2()))
    return worst_of([equal(0 * drift, drift), optimum(certificate, naive.square_norm(theta) / 2)])


def _many_rows(rng: Rng, case: Any) -> Measurement:
    """More rows than parameters but rank J < d: repeated samples do not pin the parameters down."""
    model = xu.LinearModel(4)
    x = integers(rng, 2, 4)
    x[0, 0] += 7
    x = np.concatenate([x, x, 3 * x])
    theta = integers(rng, 4)
    while not any(theta - naive.project(x, theta)):
        theta = integers(rng, 4)
    drift = closed_form.appendix_e_drift(model.jacobian(theta, x), theta)
    return worst_of([equal(naive.project(x, theta) - theta, drift), differ(0, naive.square_norm(drift))])


def _nothing_retained(rng: Rng, case: Any) -> Measurement:
    """n_r = 0: drift = -theta* / (1 + lam), all the way to 0 for lam = 0."""
    theta = integers(rng, 5)
    drift = closed_form.appendix_e_drift(fractions(np.zeros((0, 5))), theta, case)
    return equal(-theta / (1 + case), drift)


def _norm_not_squared(rng: Rng, case: Any) -> Measurement:
    """R = |theta|_2 with the same penalty, one parameter kept, one free: the closed form is not optimal.

    J = [1, 0], theta* = (p, q): minimise |(p, q + d)| + lam/2 d^2.  The derivative at the closed form d = -q/(1+lam) is
    (q + d) / |(p, q + d)| + lam d, which is 0 only if |(p, q + d)| = 1.
    """
    lam, p = case, Fraction(2)
    q = Fraction(int(rng.integers(2, 9)))
    theta = np.array([p, q], dtype=object)
    drift = closed_form.appendix_e_drift(fractions([[1, 0]]), theta, lam)
    problem = xu.UnlearningProblem(theta, fractions([[1, 0]]), xu.L2(), xu.SquaredDrift(lam))
    certificate = prove(problem)
    claimed = float(naive.square_norm(theta + drift)) ** 0.5 + float(lam * naive.square_norm(drift)) / 2
    return below(claimed, float(certificate.upper), margin=1e-6, proof=certificate.proof)


RESULT = Result(
    name="Appendix E",
    title="The closed form behind MinNorm-OG",
    statement=(
        r"For $\|\theta^* + \Delta\|_2^2 + \lambda\|\Delta\|_2^2$, $\lambda \ge 0$, subject to $J\Delta = 0$, the "
        r"unique minimiser is $\tilde\Delta = -(1+\lambda)^{-1} P_{\mathcal{G}^\perp}\theta^*$ with $\mathcal{G} = "
        r"\operatorname{row}(J)$: the part of the parameters that no retained output depends on shrinks, all at "
        r"once for $\lambda = 0$."
    ),
    tried=(
        r"Linear models, deep linear networks, relu and square perceptrons in rational arithmetic, $\lambda$ from "
        "0 to 50; $J$ by derivatives from the definition, the projection by Gram-Schmidt; the optimal value by a "
        "certified quadratic program. Every activation in floats."
    ),
    claims=(
        Claim(
            "closed-form",
            (
                r"$\tilde\Delta$ is $-(1+\lambda)^{-1}P_{\mathcal{G}^\perp}\theta^*$ with $J$ and $P$ from their "
                "definitions."
            ),
            _closed_form,
            r"largest entry of $\tilde\Delta$",
            cases=tuple((kind, lam) for kind in MODELS for lam in LAMBDAS),
            quick=4,
            full=40,
        ),
        Claim(
            "optimality",
            "The certified optimum of the quadratic program is the objective at the closed form.",
            _optimality,
            "optimal value",
            cases=tuple((kind, lam) for kind in MODELS for lam in LAMBDAS[:3]),
            quick=1,
            full=20,
        ),
        Claim(
            "every-activation",
            "The same in floating point for every activation.",
            _activations,
            r"largest entry of $\tilde\Delta$",
            cases=naive.ACTIVATIONS,
            quick=7,
            full=50,
        ),
        Claim(
            "full-rank",
            r"$\operatorname{rank} J = d$: only $\Delta = 0$ is feasible.",
            _full_rank,
            "optimal value",
            kind="degenerate",
            cases=(2, 4),
            quick=2,
            full=30,
        ),
        Claim(
            "many-rows",
            r"More rows than parameters, but $\operatorname{rank} J < d$: the drift is not 0.",
            _many_rows,
            r"largest entry of $\tilde\Delta$",
            kind="degenerate",
            quick=24,
        ),
        Claim(
            "nothing-retained",
            r"$n_r = 0$: $\tilde\Delta = -\theta^*/(1+\lambda)$.",
            _nothing_retained,
            r"largest entry of $\tilde\Delta$",
            kind="degenerate",
            cases=LAMBDAS,
            quick=16,
        ),
        Claim(
            "not-squared",
            (
                r"With $\|\theta\|_2$ instead of $\|\theta\|_2^2$ and $\lambda > 0$ the closed form is not the "
                "minimiser: the proved optimum is smaller."
            ),
            _norm_not_squared,
            "objective (closed form, proved optimum)",
            kind="assumption",
            cases=(
                Fraction(1, 3),
                Fraction(2),
            ),
            quick=2,
            full=20,
            assumptions=("broken: $R$ is not squared",),
        ),
    ),
    figure="appendix_e",
    caption=(
        r"One model, every $\lambda$: $\tilde\theta$ moves on a straight line from $\theta^*$ to the projection, "
        r"and the part outside $\operatorname{row}(J)$ falls as $\lambda/(1+\lambda)$."
    ),
)
