"""Lemma 1: a drift of the first layer alone that unlearns a linear network."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, close, differ, equal, worst_of
from .instances import (
    Data,
    Rng,
    float_data,
    fractions,
    integers,
    interpolating,
    network_widths,
    rational_data,
    rescaled,
)

DEPTHS = (1, 2, 3, 4, 5, 6)


def instance(rng: Rng, depth: int, l: int = 1, narrow: bool = False) -> tuple[xu.LinearNetwork, Any, Data]:
    """A rational linear network of uneven widths that interpolates more samples than are retained."""
    m = int(rng.integers(3, 6)) + l - 1
    network = xu.LinearNetwork(network_widths(rng, depth, m, l, narrow))
    data = rational_data(rng, m, int(rng.integers(1, m - 1)), 1, l)
    return network, interpolating(network, data, rng), data


def _solves(network: xu.LinearNetwork, theta: Any, drift: Any, data: Data) -> Measurement:
    """From the definitions: first-order change 0, retain data fitted, predictor = min-norm predictor, only A_1
    moved.
    """
    x, y = data.retain
    change = naive.taylor(lambda t: naive.linear_network(network.widths, t, x), theta, drift, 1)[1]
    outputs = naive.linear_network(network.widths, theta + drift, x)
    wanted = naive.min_norm_matrix(x, y)
    found = naive.linear_network(network.widths, theta + drift, fractions(np.eye(network.n_inputs)))
    rest = np.ones(theta.size, dtype=bool)
    rest[network.blocks[network.first_block]] = False
    size = naive.square_norm(wanted), naive.square_norm(found)
    return worst_of(
        [
            equal(wanted, found, shown=size),
            equal(0 * change, change, shown=size),
            equal(y, outputs, shown=size),
            equal(0 * drift[rest], drift[rest], shown=size),
        ]
    )


def _closed_form(rng: Rng, case: Any) -> Measurement:
    network, theta, data = instance(rng, case)
    return _solves(network, theta, closed_form.lemma_1_drift(network, theta, data.retain[0]), data)


def _bottleneck(rng: Rng, case: Any) -> Measurement:
    network, theta, data = instance(rng, case, narrow=True)
    return _solves(network, theta, closed_form.lemma_1_drift(network, theta, data.retain[0]), data)


def _outputs(rng: Rng, case: Any) -> Measurement:
    depth, l = case
    network, theta, data = instance(rng, depth, l)
    return _solves(network, theta, closed_form.lemma_1_drift(network, theta, data.retain[0]), data)


def _floats(rng: Rng, case: Any) -> Measurement:
    """Gaussian data in floats; the truth is the exact min-norm predictor of the same floats."""
    network = xu.LinearNetwork(network_widths(rng, case, 8))
    data = float_data(rng, 8, 3, 3)
    theta = rescaled(network, interpolating(network, data, rng), rng)
    x, y = data.retain
    moved = theta + closed_form.lemma_1_drift(network, theta, x)
    wanted = naive.min_norm_matrix(x, y).astype(float)
    return close(wanted, naive.linear_network(network.widths, moved, np.eye(8)), 1e-11)


def _dead(rng: Rng, case: Any) -> Measurement:
    """v = 0, or w = 0 with v != 0: the network is 0 everywhere, so are the labels; the drift must be 0, not 0/0."""
    depth, what = case
    network, theta, data = instance(rng, depth)
    while not network.first_layer_factor(theta).any():
        network, theta, data = instance(rng, depth)
    if what == "v":
        theta[network.blocks["c"]] *= 0
    else:  # every row of A_1 loses what v sees of it
        v, first = network.first_layer_factor(theta)[:, 0], network.split(theta)["A1"]
        change = np.outer(v, v.dot(first)) / naive.dot(v, v)
        theta[network.blocks["A1"]] = (first - change).reshape(-1)
    drift = closed_form.lemma_1_drift(network, theta, data.retain[0])
    return worst_of([equal(0 * drift, drift), _solves(network, theta, drift, Data(data.x, 0 * data.y, data.n_retain))])


def _first_order_all(rng: Rng, case: Any) -> Measurement:
    """J has a column for every parameter of every layer; the analytic J agrees with derivatives by definition."""
    network, theta, data = instance(rng, case)
    x = data.x
    truth = naive.gradient(lambda t: naive.linear_network(network.widths, t, x), theta).reshape(-1, theta.size)
    return equal(truth, network.jacobian(theta, x).matrix)


def _not_interpolating(rng: Rng, case: Any) -> Measurement:
    """theta* misses one retain label by 1: then so does theta* + drift, which fits the outputs of theta* instead."""
    network, theta, data = instance(rng, case)
    x, y = data.retain
    drift = closed_form.lemma_1_drift(network, theta, x)
    wanted, gives = y[0, 0] + 1, naive.linear_network(network.widths, theta + drift, x)[0, 0]
    return worst_of([differ(wanted, gives), equal(1, wanted - gives, shown=(wanted, gives))])


def _all_layers(rng: Rng, case: Any) -> Measurement:
    """A random drift of all layers with J drift = 0, large enough for the higher orders to show.

    f(theta* + t drift) is a polynomial of degree L in t without linear term, so one of t = 1, ..., L changes the
    output if the quadratic term is not 0.
    """
    while True:
        network, theta, data = instance(rng, case)
        x, y = data.retain
        direction = integers(rng, theta.size)
        J = naive.gradient(lambda t: naive.linear_network(network.widths, t, x), theta).reshape(-1, theta.size)  # noqa: B023
        drift = direction - naive.project(J, direction)
        second = naive.taylor(lambda t: naive.linear_network(network.widths, t, x), theta, drift, 2)[2]  # noqa: B023
        if second.any():
            break
    i = int(np.argmax(np.abs(second[:, 0].astype(float))))
    outputs = [naive.linear_network(network.widths, theta + t * drift, x)[i, 0] for t in range(1, case + 1)]
    return differ(y[i, 0], max(outputs, key=lambda f: abs(f - y[i, 0])))


RESULT = Result(
    name="Lemma 1",
    title="Unlearning a linear network through its first layer",
    statement=(
        r"A linear network $f(\theta, x) = c^\top A_{L-1}\cdots A_1 x = w(\theta)^\top x$ interpolates "
        r"$\mathcal{D}$; let $v = A_2^\top\cdots A_{L-1}^\top c$. The drift $\tilde\Delta_{A_1} = -\|v\|_2^{-2}\, "
        r"v\, (P_{\mathcal{S}_r^\perp} w(\theta^*))^\top$, all other blocks 0, satisfies $J\tilde\Delta = 0$, and "
        r"$\theta^* + \tilde\Delta$ is an exact unlearning solution for $R = \|w(\theta)\|_2$: its predictor is "
        r"$P_{\mathcal{S}_r} w(\theta^*)$. With several outputs (ours), $W = A_1^\top V$: $\tilde\Delta_{A_1} = -V "
        r"(V^\top V)^+ (P_{\mathcal{S}_r^\perp} W)^\top$."
    ),
    tried=(
        "Rational networks of 1 to 6 layers with uneven widths, bottlenecks of width 1, up to three outputs. The "
        "drift is inserted into the definition of the network: derivatives by truncated power series, outputs by "
        "matrix products, the min-norm predictor by Gram-Schmidt."
    ),
    claims=(
        Claim(
            "closed-form",
            ("First-order feasible, fits the retain data, and has the min-norm predictor; only the first layer moves."),
            _closed_form,
            r"$\|w\|_2^2$",
            cases=DEPTHS,
            assumptions=(
                r"$\theta^*$ interpolates $\mathcal{D}$",
                r"$v \neq 0$",
            ),
            quick=11,
        ),
        Claim(
            "bottleneck",
            "The same with a hidden layer of width 1.",
            _bottleneck,
            r"$\|w\|_2^2$",
            cases=DEPTHS[1:],
            quick=13,
            assumptions=(
                r"$\theta^*$ interpolates $\mathcal{D}$",
                r"$v \neq 0$",
            ),
        ),
        Claim(
            "floats",
            "The same in floating point, for Gaussian data.",
            _floats,
            "largest entry of $w$",
            cases=DEPTHS,
            quick=11,
        ),
        Claim(
            "jacobian",
            "The Jacobian of the network agrees with derivatives by definition.",
            _first_order_all,
            "largest derivative",
            cases=DEPTHS,
            quick=2,
            full=30,
        ),
        Claim(
            "several-outputs",
            (
                r"$\tilde\Delta_{A_1} = -V (V^\top V)^+ (P_{\mathcal{S}_r^\perp} W)^\top$ does the same for "
                "several outputs."
            ),
            _outputs,
            r"$\|W\|_F^2$",
            kind="ours",
            cases=((1, 2), (2, 2), (3, 3), (4, 2)),
            quick=16,
        ),
        Claim(
            "dead-network",
            "$v = 0$, or $w = 0$ with $v \\neq 0$: all labels are 0, and the drift is 0.",
            _dead,
            "drift",
            kind="degenerate",
            cases=tuple((depth, what) for depth in (2, 3, 5) for what in "vw"),
            quick=11,
        ),
        Claim(
            "not-interpolating",
            r"Where $\theta^*$ misses a retain label, $\theta^* + \tilde\Delta$ misses it as well, by as much.",
            _not_interpolating,
            "output on a retain sample",
            kind="assumption",
            cases=(2, 4),
            assumptions=(r"broken: $\theta^*$ does not interpolate",),
            quick=24,
        ),
        Claim(
            "all-layers",
            "A drift of all layers with no first-order change is not enough: outputs on the retain set change.",
            _all_layers,
            "output on a retain sample",
            kind="assumption",
            cases=(2, 3, 4),
            assumptions=("broken: all layers move",),
            quick=21,
        ),
    ),
    figure="lemma_1",
    caption=(
        "The weights of $A_1$ before and after, and the effective predictor: whatever the hidden layers look "
        r"like, $w$ falls onto $\mathcal{S}_r$, while the outputs on the retain inputs stay."
    ),
)
