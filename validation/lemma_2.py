"""Lemma 2: with the first layer frozen, the first-order problem of a perceptron is the exact one."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, Result, close, differ, equal, worst_of
from .instances import Rng, fractions, rational_vector, taught_perceptron

RATIONAL = naive.RATIONAL_ACTIVATIONS
DEGREE = {"relu": 1, "leaky_relu": 1, "abs": 1, "identity": 1, "square": 2}


def features(model: xu.Perceptron, theta: Any, x: Any) -> Any:
    """Phi from the definition, (n, h)."""
    phi, A = naive.activation(str(model.activation)), model.split(theta)["A"]
    entries = [phi(naive.dot(a, row)) for row in x for a in A]
    return np.array([*entries, None], dtype=object)[:-1].reshape(len(x), len(A))


def outputs(model: xu.Perceptron, theta: Any, x: Any) -> Any:
    """f from the definition, (n, l)."""
    phi = naive.activation(str(model.activation))
    return naive.perceptron(model.n_inputs, model.width, model.n_outputs, phi, theta, x)


def dead_drift(model: xu.Perceptron, theta: Any) -> Any:
    """Delta_C = -C, Delta_A = A / k for phi homogeneous of degree k: phi'(z) z = k phi(z), so J Delta = -f + f = 0
    everywhere.
    """
    matrices = model.split(theta)
    return model.join({"c": -matrices["c"], "A": matrices["A"] / DEGREE[str(model.activation)]})


def _feasible_interpolates(rng: Rng, case: Any) -> Measurement:
    """Random points of the surrogate's feasible set (J from the package, kernel of its columns for c) fit the
    retain labels.
    """
    name, l = case
    model, theta, data = taught_perceptron(rng, name, 3, 7, 3, 2, l)
    x, y = data.retain
    free = model.blocks["c"]
    basis, _ = xu.rational.nullspace(model.jacobian(theta, x).matrix[:, free])
    moved = theta.copy()
    moved[free] = moved[free] + basis.dot(rational_vector(rng, basis.shape[1]))
    return worst_of([equal(y, outputs(model, moved, x)), differ(0, naive.square_norm(moved - theta))])


def _only_those(rng: Rng, case: Any) -> Measurement:
    """Conversely, any c that fits the retain labels is feasible: J (theta - theta*) = 0."""
    model, theta, data = taught_perceptron(rng, case, 3, 7, 3, 2)
    x, y = data.retain
    phi = features(model, theta, x)
    basis, _ = xu.rational.nullspace(phi)
    other = model.split(theta)["c"][0] + basis.dot(rational_vector(rng, basis.shape[1]))
    drift = model.join({"c": other, "A": model.split(theta)["A"]}) - theta
    change = model.jacobian(theta, x).matrix.dot(drift)
    return equal(0 * change, change, shown=(y[0, 0], phi.dot(other)[0]))


def _solution(rng: Rng, case: Any) -> Measurement:
    """The solution that the integer program returns interpolates the retain data."""
    model, theta, data = taught_perceptron(rng, case, 3, 6, 3, 1)
    x, y = data.retain
    found = xu.solve(xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model))).theta
    return close(y.astype(float), outputs(model, found, x.astype(float)), 1e-9)


def _jacobian(rng: Rng, case: Any) -> Measurement:
    """The analytic J against derivatives by definition: all parameters, two outputs."""
    model, theta, data = taught_perceptron(rng, case, 3, 4, 3, 0, 2)
    truth = naive.gradient(lambda t: outputs(model, t, data.x), theta).reshape(-1, theta.size)
    return equal(truth, model.jacobian(theta, data.x).matrix)


def _jacobian_floats(rng: Rng, case: Any) -> Measurement:
    model = xu.Perceptron(3, 5, case, 2)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((4, 3))
    truth = naive.complex_step(lambda t: outputs(model, t, x), theta).reshape(-1, theta.size)
    return close(truth, model.jacobian(theta, x).matrix, 1e-14)


def _moving_first_layer(rng: Rng, case: Any) -> Measurement:
    """A may move: J Delta = 0, exactly, yet the retain outputs are all 0."""
    model, theta, data = taught_perceptron(rng, case, 3, 6, 3, 1)
    while not data.y[: data.n_retain].any():
        model, theta, data = taught_perceptron(rng, case, 3, 6, 3, 1)
    x, y = data.retain
    drift = dead_drift(model, theta)
    change = naive.taylor(lambda t: outputs(model, t, x), theta, drift, 1)[1]
    i = int(np.argmax(np.abs(y[:, 0].astype(float))))
    after = outputs(model, theta + drift, x)
    return worst_of(
        [
            differ(y[i, 0], after[i, 0]),
            equal(fractions(np.zeros(len(x))), change.reshape(-1), shown=(y[i, 0], after[i, 0])),
        ]
    )


RESULT = Result(
    name="Lemma 2",
    title="A perceptron with its first layer frozen is linear",
    statement=(
        r"For a perceptron $f = c^\top\varphi(Ax)$ that interpolates $\mathcal{D}$, let only $c$ move. Then "
        r"$J\Delta = 0$ reads $\Phi(c - c^*) = 0$, $\Phi = [\varphi(A^*x_i)^\top]$: the feasible points of the "
        "surrogate are exactly the $c$ that fit the retain data, so any solution of it interpolates "
        r"$\mathcal{D}_r$."
    ),
    tried=(
        "Rational perceptrons with the labels they give. Random feasible points are built from the kernel of the "
        "package's Jacobian and inserted into the definition of the network, and the other way round."
    ),
    claims=(
        Claim(
            "feasible-fits",
            "Every feasible point of the surrogate fits the retain data, exactly.",
            _feasible_interpolates,
            "largest output",
            cases=(*((name, 1) for name in RATIONAL), ("relu", 2)),
            quick=13,
            assumptions=(
                "only $c$ moves",
                r"$\theta^*$ interpolates $\mathcal{D}$",
            ),
        ),
        Claim(
            "fits-feasible",
            "Every $c$ that fits the retain data is feasible.",
            _only_those,
            "an output",
            cases=RATIONAL,
            quick=16,
            assumptions=(
                "only $c$ moves",
                r"$\theta^*$ interpolates $\mathcal{D}$",
            ),
        ),
        Claim(
            "solution",
            "The solution of the integer program fits the retain data.",
            _solution,
            "largest output",
            cases=RATIONAL,
            quick=1,
            full=20,
            assumptions=(
                "only $c$ moves",
                r"$\theta^*$ interpolates $\mathcal{D}$",
            ),
        ),
        Claim(
            "jacobian",
            "The Jacobian of the perceptron agrees with derivatives by definition.",
            _jacobian,
            "largest derivative",
            cases=RATIONAL,
            quick=3,
            full=50,
        ),
        Claim(
            "jacobian-floats",
            "The same in floating point for every activation, by complex steps.",
            _jacobian_floats,
            "largest derivative",
            cases=naive.ACTIVATIONS,
            quick=7,
        ),
        Claim(
            "first-layer-moves",
            (
                r"If $A$ may move, $\Delta_c = -c$, $\Delta_A = A/k$ ($\varphi$ homogeneous of degree $k$) "
                r"satisfies $J\Delta = 0$ and kills the network: nothing is fitted."
            ),
            _moving_first_layer,
            "retain output (wanted, found)",
            kind="assumption",
            cases=RATIONAL,
            quick=16,
            assumptions=("broken: $A$ does not move",),
        ),
    ),
    figure="lemma_2",
    caption=(
        r"A relu network with three retained samples. Moving $c$ alone inside $J\Delta = 0$ changes the function "
        r"elsewhere but never at the samples; moving $A$ as well, with $J\Delta = 0$ just the same, can end in the "
        "zero function."
    ),
)
