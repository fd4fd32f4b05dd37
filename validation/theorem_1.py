"""Theorem 1: methods that follow loss gradients do nothing to a model that interpolates."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .appendix_e import model_instance, outputs_of
from .finding import Claim, Measurement, Result, above, at_least, close, differ, equal, negligible, worst_of
from .instances import Rng, integers, positive_semidefinite, rational_vector
from .lemma_1 import instance as network_instance
from .proofs import optimum, prove

# ---------------------------------------------------------------- losses l(f, y) as functions of r = f - y


def _squared(r: Any) -> Any:
    return r * r / 2


def _power(p: Fraction) -> Callable[[Any], Any]:
    """|r|^p; for a series only at r = 0, where the first-order term is 0 since p > 1, or for an even p."""

    def loss(r: Any) -> Any:
        if p == 4:
            return r * r * r * r
        if not isinstance(r, naive.Series):
            return abs(float(r)) ** float(p)
        value, slope = r.a[0], r.a[1]
        if value == 0:
            return naive.Series([value, 0 * slope])
        return naive.Series(
            [
                abs(float(value)) ** float(p),
                float(p) * abs(float(value)) ** float(p - 1) * math.copysign(1.0, value) * float(slope),
            ]
        )

    return loss


def _huber(r: Any) -> Any:
    value = r.a[0] if isinstance(r, naive.Series) else r
    if abs(value) <= 1:
        return r * r / 2
    return (r if value > 0 else -r) - Fraction(1, 2)


LOSSES: dict[str, Callable[[Any], Any]] = {
    "squared": _squared,
    "power 3/2": _power(Fraction(3, 2)),
    "power 4": _power(Fraction(4)),
    "huber": _huber,
}


def loss_gradient(model: Any, theta: Any, x: Any, y: Any, loss: Callable[[Any], Any]) -> Any:
    """The gradient of sum_i loss(f(theta, x_i) - y_i), by power series from the definitions."""
    f = outputs_of(model, x)

    def total(t: Any) -> Any:
        residuals = np.asarray(f(t), dtype=object).reshape(-1) - y.reshape(-1)
        return np.array([sum(loss(r) for r in residuals.tolist()), None], dtype=object)[:1]

    return naive.gradient(total, theta)[0]


def _samples(rng: Rng, kind: str) -> tuple[Any, Any, Any, Any]:
    """(model, theta*, (x_r, y_r), (x_f, y_f)) with f(theta*, x) = y everywhere: labels by definition."""
    model, theta, x = model_instance(rng, kind)
    x_forget = integers(rng, 2, model.n_inputs)
    labels = [np.asarray(outputs_of(model, part)(theta), dtype=object).reshape(-1) for part in (x, x_forget)]
    return model, theta, (x, labels[0]), (x_forget, labels[1])


def update(theta: Any, g_r: Any, g_f: Any, P_r: Any, P_f: Any, noise: Any) -> Any:
    """theta - P_r g_r + P_f g_f + noise: the family of methods that the theorem is about."""
    return theta - P_r.dot(g_r) + P_f.dot(g_f) + noise


# ---------------------------------------------------------------- claims


def _nothing_happens(rng: Rng, case: Any) -> Measurement:
    """Random positive semidefinite P_r, P_f and noise: the method returns theta* + noise, exactly."""
    kind, loss = case
    model, theta, retain, forget = _samples(rng, kind)
    d = theta.size
    g_r, g_f = (loss_gradient(model, theta, part[0], part[1], LOSSES[loss]) for part in (retain, forget))
    noise = rational_vector(rng, d)
    out = update(theta, g_r, g_f, positive_semidefinite(rng, d), positive_semidefinite(rng, d), noise)
    return equal(theta + noise, out, shown=(naive.square_norm(noise), naive.square_norm(out - theta)))


def _depths(rng: Rng, case: Any) -> Measurement:
    """Linear networks of L layers, uneven widths, bottlenecks, one output or several: the method returns theta* +
    noise.

    theta* comes from the package's solve for the labels, and is no better than any other that interpolates.
    """
    depth, l, narrow, loss = case
    network, theta, data = network_instance(rng, depth, l, narrow)
    d = theta.size
    g_r, g_f = (loss_gradient(network, theta, part[0], part[1], LOSSES[loss]) for part in (data.retain, data.forget))
    noise = rational_vector(rng, d)
    out = update(theta, g_r, g_f, positive_semidefinite(rng, d), positive_semidefinite(rng, d), noise)
    return equal(theta + noise, out, shown=(naive.square_norm(noise), naive.square_norm(out - theta)))


def _deep_model(theta: Any, x: Any) -> Any:
    """A model of neither class: (b . (A x + a)^2)^2 + d . x, squares entry by entry, h = 3 hidden units; (n,)."""
    m, h = x.shape[1], 3
    A, a, b, d = theta[: h * m].reshape(h, m), theta[h * m : h * m + h], theta[h * m + h : -m], theta[-m:]
    out = []
    for row in x:
        inner = sum((w * (z * z) for w, z in zip(b, A.dot(row) + a, strict=True)), start=0 * b[0])
        out.append(inner * inner + d.dot(row))
    return np.array([*out, None], dtype=object)[:-1]


def _any_model(rng: Rng, case: Any) -> Measurement:
    """A deeper model with biases and a skip connection: the gradient of the loss is 0, that of the outputs is not."""
    x = integers(rng, 4, 2)
    x[0, 0] += 7
    theta = integers(rng, 14)
    y = _deep_model(theta, x)

    def total(t: Any) -> Any:
        return np.array([sum(LOSSES[case](r) for r in (_deep_model(t, x) - y).tolist()), None], dtype=object)[:1]

    outputs = naive.gradient(lambda t: _deep_model(t, x), theta)
    zero = naive.square_norm(naive.gradient(total, theta))
    return worst_of([equal(0, zero), differ(0, naive.square_norm(outputs))])


def _influence(rng: Rng, case: Any) -> Measurement:
    """Influence functions: P_f = H^+ or (H + delta I)^-1 with the Hessian H = J^T J of the retain loss, which is
    singular.

    At an interpolating point the Hessian of the squared and of the Huber loss is J^T J, for the residuals are 0.
    """
    kind, loss, damping = case
    model, theta, retain, forget = _samples(rng, kind)
    rows = naive.gradient(lambda t: np.asarray(outputs_of(model, retain[0])(t), dtype=object).reshape(-1), theta)
    H = rows.T.dot(rows)
    d = theta.size
    singular = naive.rank(rows)
    if damping:
        P = xu.rational.solve(H + damping * xu.rational.identity(d), xu.rational.identity(d))
    else:
        P = xu.rational.pseudo_inverse(H)
    g_r, g_f = (loss_gradient(model, theta, part[0], part[1], LOSSES[loss]) for part in (retain, forget))
    out = update(theta, g_r, g_f, 0 * H, P, 0 * theta)
    alive = differ(0, naive.square_norm(P))
    return worst_of([equal(theta, out, shown=(0, naive.square_norm(out - theta))), at_least(1, d - singular), alive])


def _hessian(rng: Rng, case: Any) -> Measurement:
    """The second derivative of the squared and of the Huber loss along random directions is |J u|^2 at an
    interpolating point.
    """
    kind, loss = case
    model, theta, (x, y), _ = _samples(rng, kind)
    u = integers(rng, theta.size)
    f = outputs_of(model, x)

    def total(t: Any) -> Any:
        residuals = np.asarray(f(t), dtype=object).reshape(-1) - y
        return np.array([sum(LOSSES[loss](r) for r in residuals.tolist()), None], dtype=object)[:1]

    second = 2 * naive.taylor(total, theta, u, 2)[2][0]
    return equal(naive.square_norm(model.jacobian(theta, x).matrix.dot(u)), second)


def _floats(rng: Rng, case: Any) -> Measurement:
    """Every activation in floats: J^T l'(f - y) of the package at interpolating parameters is rounding, compared
    with J^T |y|.
    """
    model = xu.Perceptron(6, 12, case)
    x, y = rng.standard_normal((5, 6)), rng.standard_normal((5, 1))
    theta = model.interpolating_parameters(x, y, rng)
    residual = (model.predict(theta, x) - y).reshape(-1)
    J = model.jacobian(theta, x).matrix
    return negligible(float(np.abs(J.T @ residual).max()), float(np.abs(J.T @ y.reshape(-1)).max()), 1e-10)


def _distance_linear(rng: Rng, case: Any) -> Measurement:
    """The exact solution is elsewhere: |theta_r - theta*|^2 = |theta*|^2 - |theta_r|^2 > 0, the optimum certified."""
    model, theta, (x, y), _ = _samples(rng, "linear")
    while not any(theta - naive.project(x, theta)):
        model, theta, (x, y), _ = _samples(rng, "linear")
    exact = naive.min_norm(x, y, theta.size)
    certified = optimum(prove(xu.exact_problem(model, theta, x, y, xu.SquaredL2())), naive.square_norm(exact) / 2)
    distance = naive.square_norm(theta - exact)
    return worst_of(
        [
            above(0, distance),
            equal(naive.square_norm(theta) - naive.square_norm(exact), distance, shown=(0, distance)),
            certified,
        ]
    )


def _distance(rng: Rng, case: Any) -> Measurement:
    """Other models, R = |theta|_2: a feasible point shorter than theta*. Every exact solution is at most as long,
    so it lies at least |theta*| - |theta'| > 0 away.

    Networks: the drift of Lemma 1.  Perceptrons: c projected onto the span of the features.
    """
    while True:
        model, theta, (x, y), _ = _samples(rng, case)
        if case == "network":
            shorter = theta + closed_form.lemma_1_drift(model, theta, x)
        else:
            parts = model.split(theta)
            shorter = model.join({"c": naive.project(model.features(theta, x), parts["c"][0]), "A": parts["A"]})
        if not np.array_equal(shorter, theta):
            break
    fitted = equal(y, np.asarray(outputs_of(model, x)(shorter), dtype=object).reshape(-1))
    long, short = naive.square_norm(theta), naive.square_norm(shorter)
    bound = (long - short) / (2 * (math.isqrt(math.ceil(long)) + 1))  # <= |theta*| - |theta'|
    positive = Measurement(0.0, float(bound), 0.0 if bound > 0 else 1.0, "exact")
    return worst_of([positive, Measurement(0.0, float(bound), fitted.deviation, "exact")])


def _not_interpolating(rng: Rng, case: Any) -> Measurement:
    """One label is off by 1: the update is not 0, and it is that of J^T r with the package's J."""
    while True:
        model, theta, (x, y), _ = _samples(rng, case)
        y = y.copy()
        y[0] += 1
        g = loss_gradient(model, theta, x, y, _squared)
        if any(g):
            break
    residual = np.array([Fraction(-1), *[Fraction(0)] * (len(y) - 1)], dtype=object)
    analytic = model.jacobian(theta, x).matrix.T.dot(residual)
    size = naive.square_norm(g)
    return worst_of([differ(0, size), equal(g, analytic, shown=(0, size))])


def _other_loss(rng: Rng, case: Any) -> Measurement:
    """A loss that is not least at f = y moves an interpolating theta*."""
    model, theta, (x, y), _ = _samples(rng, "linear")
    while not any(theta) or not any(y.dot(x)):
        model, theta, (x, y), _ = _samples(rng, "linear")
    if case == "shifted":  # (f - y - 1)^2 / 2 has the slope -1 at f = y
        g = loss_gradient(model, theta, x, y, lambda r: _squared(r - 1))
        size = naive.square_norm(g)
        return worst_of([above(0, size), equal(-x.sum(axis=0), g, shown=(0, size))])
    # log(1 + exp(-y f)) falls for ever; at f = y its slope is -y / (1 + exp(y^2)), and theta* is where f = y
    size = max(abs(value) for value in y)
    theta, y = theta / size, y / size  # larger outputs have slopes below rounding
    labels, inputs = y.astype(float), x.astype(float)

    def total(t: Any) -> Any:
        return np.array([np.sum(np.log1p(np.exp(-labels * inputs.dot(t))))])

    g = naive.complex_step(total, theta.astype(float))[0]
    predicted = (-labels / (1 + np.exp(labels**2))).dot(inputs)
    moved = float(g @ g)
    return worst_of([above(0.0, moved, proof="none"), close(predicted, g, 1e-11, shown=(0.0, moved))])


def _zero_one(rng: Rng, case: Any) -> Measurement:
    """The 0-1 loss 1[f y <= 0] of a classifier with labels y = f(theta*, x) != 0 is constant near theta*: difference
    quotients along every coordinate, both ways, are 0, exactly, once the step is small; so the method returns theta* +
    noise.  (A step as large as the parameters does change it, for some model.)
    """
    while True:
        model, theta, (x, y), (x_f, y_f) = _samples(rng, case)
        if y.all() and y_f.all():
            break

    def errors(inputs: Any, labels: Any, t: Any) -> int:
        f = np.asarray(outputs_of(model, inputs)(t), dtype=object).reshape(-1)
        return sum(1 for value, label in zip(f, labels, strict=True) if value * label <= 0)

    step, gradients = Fraction(1, 2**30), []
    for inputs, labels in ((x, y), (x_f, y_f)):
        at = errors(inputs, labels, theta)
        quotients = []
        for j in range(theta.size):
            unit = np.array([Fraction(int(i == j)) for i in range(theta.size)], dtype=object)
            both = [(errors(inputs, labels, theta + s * step * unit) - at) / (s * step) for s in (1, -1)]
            quotients.append(max(both, key=abs))
        gradients.append(np.array([*quotients, None], dtype=object)[:-1])
    noise = rational_vector(rng, theta.size)
    P = [positive_semidefinite(rng, theta.size) for _ in range(2)]
    out = update(theta, gradients[0], gradients[1], P[0], P[1], noise)
    return worst_of(
        [
            equal(theta + noise, out, shown=(naive.square_norm(noise), naive.square_norm(out - theta))),
            equal(0, errors(x, y, theta) + errors(x_f, y_f, theta)),
            above(0, errors(x, y, -theta) + errors(x, y, 0 * theta)),
        ]
    )


def _absolute(rng: Rng, case: Any) -> Measurement:
    """p = 1: at r = 0 every number in [-1, 1] is a subgradient; the choice 1 moves theta*, so p > 1 is needed."""
    while True:
        model, theta, (x, _), _ = _samples(rng, case)
        rows = naive.gradient(lambda t: np.asarray(outputs_of(model, x)(t), dtype=object).reshape(-1), theta)  # noqa: B023
        step = rows.sum(axis=0)
        if any(step):
            return differ(0, naive.square_norm(step))


MODELS = ("linear", "network", "relu", "square")

RESULT = Result(
    name="Theorem 1",
    title="Loss gradients cannot unlearn",
    statement=(
        r"If $\theta^*$ interpolates $\mathcal{D}$ and the sample loss is minimised by $f = y$, then every "
        r"loss-gradient method, $\theta^* - P_r\nabla\mathcal{J}(\theta^*; \mathcal{D}_r) + "
        r"P_f\nabla\mathcal{J}(\theta^*; \mathcal{D}_f) + \xi$ with $P_r, P_f \succeq 0$ and $\mathbb{E}\,\xi = "
        r"0$, returns $\theta^* + \xi$: descent, ascent, their mixtures, and influence functions change nothing, "
        "while the exact solution is somewhere else."
    ),
    tried=(
        "Linear models, linear networks of up to 6 layers, relu and square perceptrons and a deeper model in rational "
        "arithmetic, with squared, Huber and power losses; gradients of the whole loss by power series from the "
        "definitions; random positive semidefinite preconditioners and noise; influence functions with the "
        "pseudo-inverse and the damped Hessian. Distances to the exact solution are certified."
    ),
    claims=(
        Claim(
            "nothing-happens",
            r"Random $P_r, P_f \succeq 0$ and noise $\xi$: the method returns $\theta^* + \xi$, exactly.",
            _nothing_happens,
            "squared length of the step (noise, method)",
            cases=tuple((kind, loss) for kind in MODELS for loss in LOSSES),
            quick=2,
            full=40,
            assumptions=(
                r"$\theta^*$ interpolates $\mathcal{D}$",
                "the loss is least at $f = y$",
            ),
        ),
        Claim(
            "depths",
            r"Linear networks of 1 to 6 layers, with bottlenecks of width 1, and (ours) several outputs: the same.",
            _depths,
            "squared length of the step (noise, method)",
            cases=(
                *((depth, 1, False, "squared") for depth in range(1, 7)),
                *((depth, 1, True, "huber") for depth in range(2, 7)),
                *((depth, 2, False, "power 4") for depth in (1, 2, 3)),
            ),
            quick=2,
            full=30,
            assumptions=(
                r"$\theta^*$ interpolates $\mathcal{D}$",
                "the loss is least at $f = y$",
            ),
        ),
        Claim(
            "zero-one",
            (
                "The 0-1 loss of a classifier: its difference quotients at $\\theta^*$ are 0 in every direction, and "
                r"the method returns $\theta^* + \xi$."
            ),
            _zero_one,
            "squared length of the step (noise, method)",
            cases=MODELS,
            quick=2,
            full=40,
            assumptions=(r"$\theta^*$ classifies $\mathcal{D}$ without an output 0",),
        ),
        Claim(
            "any-model",
            "A model of another class, three layers with biases and a skip connection: the gradient is 0, exactly.",
            _any_model,
            "squared length of the gradient",
            cases=tuple(LOSSES),
            quick=6,
            full=50,
            assumptions=(
                r"$\theta^*$ interpolates $\mathcal{D}$",
                "the loss is least at $f = y$",
            ),
        ),
        Claim(
            "influence",
            ("Influence functions: the Hessian is singular; with its pseudo-inverse, or damped, they change nothing."),
            _influence,
            "squared length of the step",
            cases=(
                ("linear", "squared", 0),
                ("network", "huber", 0),
                ("relu", "squared", Fraction(1, 10)),
                ("square", "huber", Fraction(1)),
            ),
            quick=2,
            full=20,
            assumptions=(
                r"$\theta^*$ interpolates $\mathcal{D}$",
                "more parameters than samples",
            ),
        ),
        Claim(
            "hessian",
            (
                r"At an interpolating point the Hessian of the squared and of the Huber loss is $J^\top J$: second "
                "derivatives along random directions."
            ),
            _hessian,
            "second derivative",
            cases=tuple((kind, loss) for kind in MODELS for loss in ("squared", "huber")),
            quick=8,
            full=50,
            assumptions=(r"$\theta^*$ interpolates $\mathcal{D}$",),
        ),
        Claim(
            "every-activation",
            "Every activation in floating point: gradients are rounding.",
            _floats,
            "largest entry of the gradient",
            cases=naive.ACTIVATIONS,
            quick=7,
            assumptions=(r"$\theta^*$ interpolates $\mathcal{D}$",),
        ),
        Claim(
            "distance",
            r"Linear model, $R = \|\theta\|_2$: the exact solution is at a certified distance greater than 0.",
            _distance_linear,
            "squared distance (method, exact solution)",
            quick=4,
            full=60,
        ),
        Claim(
            "distance-other",
            "Networks and perceptrons: every exact solution is at least this far away.",
            _distance,
            "distance (method, at least)",
            cases=(
                "network",
                "relu",
                "square",
            ),
            quick=21,
        ),
        Claim(
            "not-interpolating",
            r"One label off by 1: the gradient is not 0. It equals $J^\top r$ with the analytic $J$.",
            _not_interpolating,
            "squared length of the gradient",
            kind="assumption",
            cases=MODELS,
            quick=4,
            assumptions=(r"broken: $\theta^*$ interpolates $\mathcal{D}$",),
        ),
        Claim(
            "other-loss",
            r"A loss that is not least at $f = y$ (shifted squares; logistic) moves $\theta^*$.",
            _other_loss,
            "squared length of the gradient",
            kind="assumption",
            cases=(
                "shifted",
                "logistic",
            ),
            quick=24,
            assumptions=("broken: the loss is least at $f = y$",),
        ),
        Claim(
            "absolute",
            r"The absolute loss ($p = 1$) has subgradients at $r = 0$ that move $\theta^*$.",
            _absolute,
            "squared length of a subgradient",
            kind="assumption",
            cases=(
                "linear",
                "relu",
            ),
            quick=24,
            assumptions=("broken: the loss is differentiable at $f = y$",),
        ),
    ),
    figure="theorem_1",
    caption=(
        "Distance to a shorter solution on the retain data (dashed line: 0) over 200 steps of descent, ascent and "
        r"their difference. Where $\theta^*$ interpolates none of them moves at all; where it does not, they wander "
        "off, but not there."
    ),
)
