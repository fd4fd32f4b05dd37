"""Theorem 3: for a linear network, with only the first layer free, the surrogate solves the exact problem."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, above, below, close, differ, equal, negligible, worst_of
from .instances import Rng, float_data, fractions, integers, interpolating, network_widths, rescaled
from .lemma_1 import DEPTHS, instance
from .proofs import prove, root_optimum


def _surrogate(network: xu.LinearNetwork, theta: Any, x: Any) -> xu.UnlearningProblem:
    return xu.surrogate_problem(network, theta, x, xu.PredictorNorm(network, theta))


def _optimum(rng: Rng, case: Any) -> Measurement:
    """The certified optimum of the second-order cone program is the norm of the min-norm predictor."""
    depth, l = case
    network, theta, data = instance(rng, depth, l)
    x, y = data.retain
    return root_optimum(prove(_surrogate(network, theta, x)), naive.square_norm(naive.min_norm_matrix(x, y)))


def _bottleneck(rng: Rng, case: Any) -> Measurement:
    network, theta, data = instance(rng, case, narrow=True)
    x, y = data.retain
    return root_optimum(prove(_surrogate(network, theta, x)), naive.square_norm(naive.min_norm_matrix(x, y)))


def _predictor(rng: Rng, case: Any) -> Measurement:
    """The predictor of the solver's minimiser, Gaussian data in floats, is the exact min-norm predictor."""
    depth, l = case
    network = xu.LinearNetwork(network_widths(rng, depth, 7, l))
    data = float_data(rng, 7, 3, 2, l)
    theta = rescaled(network, interpolating(network, data, rng), rng)
    x, y = data.retain
    found = xu.solve(_surrogate(network, theta, x)).theta
    wanted = naive.min_norm_matrix(x, y).astype(float)
    return close(wanted, naive.linear_network(network.widths, found, np.eye(7)), 1e-8)


def _other_minimisers(rng: Rng, case: Any) -> Measurement:
    """A_1 + u z^T with u orthogonal to V: another point, the same predictor, so the same objective and feasibility;
    exactly.
    """
    depth, l = case
    while True:
        network, theta, data = instance(rng, depth, l)
        V = network.first_layer_factor(theta)
        u = integers(rng, len(V))
        u = u - naive.project(V.T, u)
        if any(u):
            break
    x, y = data.retain
    z = integers(rng, network.n_inputs)
    z[0] += 7
    minimiser = theta + closed_form.lemma_1_drift(network, theta, x)
    other = minimiser.copy()
    block = network.blocks[network.first_block]
    other[block] = other[block] + np.outer(u, z).reshape(-1)
    found = naive.linear_network(network.widths, other, fractions(np.eye(network.n_inputs)))
    wanted = naive.min_norm_matrix(x, y)
    size = naive.square_norm(wanted), naive.square_norm(found)
    first_order = network.jacobian(theta, x).matrix.dot(other - theta)
    return worst_of(
        [
            equal(wanted, found, shown=size),
            equal(0 * first_order, first_order, shown=size),
            differ(0, naive.square_norm(other - minimiser)),
        ]
    )


def _uniqueness(rng: Rng, case: Any) -> Measurement:
    """`unique` of the solution says True exactly if rank V = h_1."""
    widths = case
    network = xu.LinearNetwork(widths)
    data = float_data(rng, widths[0], 2, 1, widths[-1])
    theta = interpolating(network, data, rng)
    solution = xu.solve(_surrogate(network, theta, data.retain[0]))
    truth = naive.rank(network.first_layer_factor(theta)) == (widths[1] if len(widths) > 2 else widths[-1])
    said = -1 if solution.unique is None else int(solution.unique)  # to say nothing is to be wrong
    return equal(int(truth), said)


def _solver_point(rng: Rng, case: Any) -> Measurement:
    """At the solver's minimiser: every entry outside A_1 is what it was, bit for bit, and the first-order change of the
    retain outputs is rounding, compared with |J| |D|.
    """
    depth, l = case
    network = xu.LinearNetwork(network_widths(rng, depth, 7, l))
    data = float_data(rng, 7, 3, 2, l)
    theta = rescaled(network, interpolating(network, data, rng), rng)
    x = data.retain[0]
    found = xu.solve(_surrogate(network, theta, x)).theta
    outside = np.ones(theta.size, dtype=bool)
    outside[network.blocks[network.first_block]] = False
    moved = int(np.count_nonzero(found[outside] != theta[outside]))
    J = naive.complex_step(lambda t: naive.linear_network(network.widths, t, x), theta).reshape(-1, theta.size)
    scale = float((np.abs(J) @ np.abs(found - theta)).max())
    still = negligible(float(np.abs(J @ (found - theta)).max()), scale, 1e-11)
    inside = above(0.0, float(np.linalg.norm(found - theta)), proof="none")
    return worst_of([still, equal(0, moved, shown=(0, moved)), inside])


def _pipeline(rng: Rng, case: Any) -> Measurement:
    """Theorem 3, then Theorem 4: the predictor that the solver's minimiser has, spread over the layers, fits the retain
    data and has the length L rho^(2/L) of the shortest network, rho from labels alone; it is shorter than theta*.
    """
    network = xu.LinearNetwork(network_widths(rng, case, 7))
    data = float_data(rng, 7, 3, 2)
    theta = rescaled(network, interpolating(network, data, rng), rng)
    x, y = data.retain
    found = xu.solve(_surrogate(network, theta, x)).theta
    predictor = naive.linear_network(network.widths, found, np.eye(7))
    shortest = closed_form.theorem_4_parameters(network, predictor, rng)
    rho_square = float(naive.square_norm(naive.min_norm_matrix(x, y)))
    length = case * rho_square ** (1 / case)
    value = close(length, float(shortest @ shortest), 1e-7)
    fitted = close(y, naive.linear_network(network.widths, shortest, x), 1e-7, shown=(value.predicted, value.measured))
    return worst_of([value, fitted, below(float(theta @ theta), float(shortest @ shortest), proof="none")])


def _nothing_retained(rng: Rng, case: Any) -> Measurement:
    network, theta, data = instance(rng, case)
    return root_optimum(prove(_surrogate(network, theta, data.x[:0])), Fraction(0))


def _dependent(rng: Rng, case: Any) -> Measurement:
    """Retain rows repeated, added up and zero."""
    network, theta, data = instance(rng, case)
    x, y = data.retain
    more = np.concatenate([x, x[:1], 2 * x[:1], 0 * x[:1]])
    return root_optimum(prove(_surrogate(network, theta, more)), naive.square_norm(naive.min_norm_matrix(x, y)))


def _dead(rng: Rng, case: Any) -> Measurement:
    """v = 0: the network and so the labels are 0; the optimum is 0."""
    network, theta, data = instance(rng, case)
    theta[network.blocks["c"]] *= 0
    return root_optimum(prove(_surrogate(network, theta, data.retain[0])), Fraction(0))


def dead_drift(network: xu.LinearNetwork, theta: Any) -> Any:
    """Delta_c = -c and Delta_{A_1} = v w^T / |v|^2: first-order change -f + f = 0, and the network is 0 (L >= 2,
    one output).
    """
    v, w = network.first_layer_factor(theta)[:, 0], network.predictor(theta)[:, 0]
    drift = 0 * theta
    drift[network.blocks["c"]] = -theta[network.blocks["c"]]
    drift[network.blocks["A1"]] = np.outer(v, w).reshape(-1) / naive.dot(v, v)
    return drift


def _all_layers(rng: Rng, case: Any) -> Measurement:
    """Nothing frozen, no R^: J D = 0 and objective 0, from the definitions; the retain labels are missed."""
    network, theta, data = instance(rng, case)
    while not data.y[: data.n_retain].any() or not network.first_layer_factor(theta).any():
        network, theta, data = instance(rng, case)
    x, y = data.retain
    drift = dead_drift(network, theta)
    change = naive.taylor(lambda t: naive.linear_network(network.widths, t, x), theta, drift, 1)[1]
    everywhere = naive.linear_network(network.widths, theta + drift, fractions(np.eye(network.n_inputs)))
    rho, zero = naive.square_norm(naive.min_norm_matrix(x, y)), naive.square_norm(everywhere)
    return worst_of([below(rho, zero), equal([0, *(0 * change[:, 0])], [zero, *change[:, 0]], shown=(rho, zero))])


def _not_interpolating(rng: Rng, case: Any) -> Measurement:
    """True labels other than those theta* gives: the certified optimum belongs to the latter."""
    gives = wanted = Fraction(0)
    while gives == wanted:
        network, theta, data = instance(rng, case)
        x, y = data.retain
        true = y + x.dot(integers(rng, network.n_inputs))[:, None]
        gives, wanted = (
            naive.square_norm(naive.min_norm_matrix(x, y)),
            naive.square_norm(naive.min_norm_matrix(x, true)),
        )
    certificate = prove(_surrogate(network, theta, x))
    return worst_of([differ(wanted, gives, proof=certificate.proof), root_optimum(certificate, gives)])


INTERPOLATES = (r"$\theta^*$ interpolates $\mathcal{D}$", r"only $A_1$ moves")

RESULT = Result(
    name="Theorem 3",
    title="Linear networks: the surrogate is exact, if only the first layer moves",
    statement=(
        r"For an $L$-layer linear network that interpolates $\mathcal{D}$, the surrogate with $\tilde R = "
        r"\|w(\theta)\|_2$ if only $A_1$ moves, $+\infty$ otherwise, solves the exact unlearning problem. It is "
        r"the cone program $\min \|(A_1 + \Delta_{A_1})^\top v\|_2$ subject to $X_r\Delta_{A_1}^\top v = 0$. Its "
        r"minimiser is not unique when $h_1 \ge 2$, for $\Delta_{A_1}$ is free on $v^\perp$; the predictor is: "
        r"$w_r$, the min-norm predictor of $\mathcal{D}_r$."
    ),
    tried=(
        "Rational networks of 1 to 6 layers with uneven widths, bottlenecks of width 1 and up to three outputs: "
        "the certified optimum against the min-norm predictor by Gram-Schmidt; the solver's minimiser in floats; "
        "other minimisers built exactly."
    ),
    claims=(
        Claim(
            "optimum",
            r"The certified optimum is $\|w_r\|_2$.",
            _optimum,
            "optimal value",
            cases=tuple((d, 1) for d in DEPTHS),
            quick=1,
            full=30,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "bottleneck",
            "The same with a hidden layer of width 1.",
            _bottleneck,
            "optimal value",
            cases=DEPTHS[1:],
            quick=1,
            full=15,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "predictor",
            "The solver's minimiser has the predictor $w_r$, in floating point.",
            _predictor,
            "largest entry of $w$",
            cases=tuple((d, 1) for d in DEPTHS),
            quick=2,
            full=30,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "solver-point",
            r"At the solver's minimiser nothing but $A_1$ has moved, bit for bit, and $J\Delta = 0$.",
            _solver_point,
            r"largest entry of $J\Delta$",
            cases=(*((d, 1) for d in DEPTHS), (3, 2)),
            quick=2,
            full=30,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "pipeline",
            (
                r"Theorem 3, then Theorem 4: the predictor of the solver's minimiser, spread over the layers, is the "
                r"shortest network that fits: $\|\theta\|_2^2 = L\|w_r\|_2^{2/L}$."
            ),
            _pipeline,
            r"$\|\theta\|_2^2$",
            cases=DEPTHS,
            quick=2,
            full=30,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "other-minimisers",
            r"$A_1 + uz^\top$, $u \perp v$, is another minimiser with the same predictor.",
            _other_minimisers,
            r"$\|w\|_2^2$",
            cases=((2, 1), (3, 1), (5, 1), (3, 2)),
            quick=16,
            assumptions=(r"$h_1 > \operatorname{rank} V$",),
        ),
        Claim(
            "uniqueness",
            r"The minimiser is reported as unique exactly when $\operatorname{rank} V = h_1$.",
            _uniqueness,
            "unique (1 = yes)",
            cases=((5, 1), (5, 1, 1), (5, 3, 1), (5, 2, 2), (5, 3, 2, 1), (5, 2)),
            quick=1,
            full=10,
        ),
        Claim(
            "several-outputs",
            r"Several outputs: the certified optimum is $\|W_r\|_F$.",
            _optimum,
            "optimal value",
            kind="ours",
            cases=((1, 2), (2, 2), (3, 3), (4, 2)),
            quick=1,
            full=20,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "nothing-retained",
            "$n_r = 0$: the optimum is 0.",
            _nothing_retained,
            "optimal value",
            kind="degenerate",
            cases=(1, 3),
            quick=1,
            full=10,
        ),
        Claim(
            "dependent-rows",
            "Repeated, dependent and zero retain rows change nothing.",
            _dependent,
            "optimal value",
            kind="degenerate",
            cases=(2, 3),
            quick=1,
            full=20,
        ),
        Claim(
            "dead-network",
            "$v = 0$: all labels are 0 and the optimum is 0.",
            _dead,
            "optimal value",
            kind="degenerate",
            cases=(2, 4),
            quick=1,
            full=10,
        ),
        Claim(
            "all-layers",
            (
                r"With nothing frozen and no $\hat R$, $J\Delta = 0$ allows objective 0, below $\|w_r\|_2$; the "
                "network is dead and nothing is fitted."
            ),
            _all_layers,
            r"$\|w\|_2^2$ (exact solution, relaxed problem)",
            kind="assumption",
            cases=(2, 3, 4, 5, 6),
            quick=13,
            assumptions=("broken: only $A_1$ moves",),
        ),
        Claim(
            "not-interpolating",
            r"The optimum belongs to the labels that $\theta^*$ gives, whatever the true ones are.",
            _not_interpolating,
            r"$\|w\|_2^2$ (true labels, surrogate)",
            kind="assumption",
            cases=(2, 3),
            quick=1,
            full=20,
            assumptions=(r"broken: $\theta^*$ interpolates $\mathcal{D}$",),
        ),
    ),
    figure="theorem_3",
    caption=(
        r"Entries of the effective predictor: of $\theta^*$, of the min-norm solution, and of many minimisers of "
        "the surrogate whose parameters lie far apart. The parameters differ, the predictors coincide."
    ),
)
