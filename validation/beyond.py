"""Beyond the paper: findings of our own."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import diagonal, least_width, max_margin, naive, one_door, requests, same_start, subsample
from .appendix_e import outputs_of, rows_of
from .finding import Claim, Measurement, Result, at_most, differ, equal, worst_of
from .instances import (
    Data,
    Rng,
    fractions,
    integers,
    interpolating,
    planted_perceptron,
    random_groups,
    rational_data,
    taught_perceptron,
)
from .lemma_1 import instance as network_instance
from .lemma_2 import features
from .proofs import optimum, prove, same_optimum
from .retain_error import depth, error_law, exponent

NORMS = ("l1", "weighted l1", "linf", "group", "elastic net", "weighted l2", "l1, two outputs", "nuclear")


def _regularizer(rng: Rng, name: str, m: int) -> tuple[Any, int]:
    """(R, number of outputs)."""
    weights = rng.integers(1, 4, size=m).astype(float)
    return {
        "l1": lambda: (xu.L1(), 1),
        "weighted l1": lambda: (xu.L1(weights), 1),
        "linf": lambda: (xu.LInf(), 1),
        "group": lambda: (xu.GroupL2(random_groups(rng, m)), 1),
        "elastic net": lambda: (xu.ElasticNet(1.0, 0.5), 1),
        "weighted l2": lambda: (xu.SquaredL2(weights), 1),
        "l1, two outputs": lambda: (xu.L1(), 2),
        "nuclear": lambda: (xu.NuclearNorm("theta", (2, m)), 2),
    }[name]()


def _every_norm(rng: Rng, case: Any) -> Measurement:
    """Surrogate at one interpolating theta*, exact problem from labels at theta = 0: the two certified optima; for l1
    and linf also the exact problem by trying every vertex.
    """
    m = 5 if case == "nuclear" else 7
    R, l = _regularizer(rng, case, m)
    model, data = xu.LinearModel(m, l), rational_data(rng, m, 3, 2, l)
    theta = interpolating(model, data, rng)
    x, y = data.retain
    surrogate = prove(xu.surrogate_problem(model, theta, x, R))
    both = same_optimum(surrogate, prove(xu.exact_problem(model, 0 * theta, x, y, R)))
    if case == "l1":  # a third route, that no solver takes: all vertices of the exact problem
        return worst_of([both, optimum(surrogate, naive.shortest_vertices(x, y[:, 0])[0])])
    if case == "linf" and naive.rank(x) == len(x):
        return worst_of([both, optimum(surrogate, naive.least_largest(x, y[:, 0]))])
    return both


# ---------------------------------------------------------------- requests one after the other


def _projected(rng: Rng, m: int) -> tuple[Data, Any]:
    """Four retain samples, of which a second request forgets two, and one sample forgotten first."""
    while True:
        data = rational_data(rng, m, 4, 1)
        theta = interpolating(xu.LinearModel(m), data, rng)
        if naive.rank(data.x) == 5 and any(data.y[:, 0]):
            return data, theta


def _sequential(rng: Rng, case: Any) -> Measurement:
    """Forget one sample, then two more; or all three at once."""
    data, theta = _projected(rng, case)
    model = xu.LinearModel(case)
    first = closed_form.theorem_2_solution(model, theta, data.x[:4])
    second = closed_form.theorem_2_solution(model, first, data.x[:2])
    at_once = naive.min_norm(data.x[:2], data.y[:2, 0], case)
    return equal(at_once, second, shown=(naive.square_norm(at_once), naive.square_norm(second)))


def _optimal_sets(rng: Rng, case: Any) -> Measurement:
    """l1, with a minimiser that is not unique: the sets of optimal vertices after two requests and after one are
    equal, and the package's certified optimum is their norm.
    """
    m, signs = case, rng.choice([-1, 1], size=case)
    row = fractions([1, 1, 1, *rng.integers(1, 3, size=m - 3)] * signs)  # ties: several columns of the same size
    x = np.array([row, integers(rng, m)], dtype=object)
    data = Data(x, x.dot(integers(rng, m))[:, None], 1)
    theta = interpolating(xu.LinearModel(m), data, rng)
    _, after_first = naive.shortest_vertices(x, data.y[:, 0])
    start = np.array(min(after_first), dtype=object)
    direct, then = (naive.shortest_vertices(x[:1], x[:1].dot(point)) for point in (theta, start))
    certified = optimum(prove(xu.surrogate_problem(xu.LinearModel(m), start, x[:1], xu.L1())), direct[0])
    same = equal(0, len(direct[1] ^ then[1]))
    return worst_of([certified, Measurement(float(direct[0]), float(then[0]), same.deviation, "exact")])


def _independent(rng: Rng, case: Any) -> Measurement:
    """One retain set, two forget sets and two models that interpolate them: the same unlearned model."""
    m = case
    data = rational_data(rng, m, 3, 0)
    model, found = xu.LinearModel(m), []
    for count in (1, 2):
        x_forget = integers(rng, count, m)
        while naive.rank([*data.x.tolist(), *x_forget.tolist()]) < naive.rank(data.x) + count:
            x_forget = integers(rng, count, m)
        whole = Data(np.concatenate([data.x, x_forget]), np.concatenate([data.y, integers(rng, count, 1, high=9)]), 3)
        found.append(closed_form.theorem_2_solution(model, interpolating(model, whole, rng), data.x))
    return equal(found[0], found[1], shown=(naive.square_norm(found[0]), naive.square_norm(found[1])))


def _two_models(rng: Rng, m: int) -> tuple[Any, Any, Any]:
    """(retain inputs, theta*, theta*'): two models that agree on the retain data and not beyond."""
    data = rational_data(rng, m, 3, 0)
    model = xu.LinearModel(m)
    first, second = (interpolating(model, data, rng) for _ in range(2))
    while not any(first - second):
        second = interpolating(model, data, rng)
    return data.x, first, second


def _dependent_with_penalty(rng: Rng, case: Any) -> Measurement:
    """lam > 0: the unlearned models differ by lam/(1+lam) times the difference of what they knew, exactly."""
    x, first, second = _two_models(rng, case)
    lam = Fraction(int(rng.integers(1, 8)), 3)
    model = xu.LinearModel(case)
    moved = [t + closed_form.appendix_e_drift(model.jacobian(t, x), t, lam) for t in (first, second)]
    apart = moved[0] - moved[1]
    share = lam / (1 + lam)
    return worst_of(
        [
            differ(0, naive.square_norm(apart)),
            equal(share * (first - second), apart, shown=(0, naive.square_norm(apart))),
        ]
    )


def _sequential_with_penalty(rng: Rng, case: Any) -> Measurement:
    """lam > 0: two requests leave less than one, (lam/(1+lam))^2 instead of lam/(1+lam) of what the first one
    concerns.
    """
    data, theta = _projected(rng, case)
    lam = Fraction(int(rng.integers(1, 8)), 3)
    share = lam / (1 + lam)
    first = _penalised(theta, data.x[:4], lam)
    second, at_once = _penalised(first, data.x[:2], lam), _penalised(theta, data.x[:2], lam)
    outside = theta - naive.project(data.x[:4], theta)
    predicted = (share - share**2) * outside  # at once minus twice
    apart = at_once - second
    return worst_of([differ(0, naive.square_norm(apart)), equal(predicted, apart, shown=(0, naive.square_norm(apart)))])


def _penalised(theta: Any, x: Any, lam: Fraction) -> Any:
    return theta + closed_form.appendix_e_drift(x, theta, lam)


def _repeated(rng: Rng, case: Any) -> Measurement:
    """The same request k times with lam > 0: what remains is (lam/(1+lam))^k, so repetition replaces lam = 0,
    linear models.
    """
    m, times = case
    x, theta, _ = _two_models(rng, m)
    lam = Fraction(int(rng.integers(1, 8)), 3)
    moved = theta
    for _ in range(times):
        moved = _penalised(moved, x, lam)
    kept = naive.project(x, theta)
    return equal(kept + (lam / (1 + lam)) ** times * (theta - kept), moved)


def _sequential_nonlinear(rng: Rng, case: Any) -> Measurement:
    """All parameters of a perceptron move: the second request sees another J, so the order of requests matters."""
    while True:
        model, theta, data = taught_perceptron(rng, case, 3, 3, 3, 0)
        if _sets_apart(model, theta, data):
            break
    first = theta + closed_form.appendix_e_drift(rows_of(model, theta, data.x[:3]), theta)
    second = first + closed_form.appendix_e_drift(rows_of(model, first, data.x[:1]), first)
    at_once = theta + closed_form.appendix_e_drift(rows_of(model, theta, data.x[:1]), theta)
    return differ(0, naive.square_norm(second - at_once))


def _sets_apart(model: Any, theta: Any, data: Data) -> bool:
    """Whether the features and slopes are in general position: full rank, and forgetting changes something."""
    J = rows_of(model, theta, data.x[:3])
    return bool(naive.rank(J) == 3 and data.y.all() and any(theta - naive.project(J, theta)))


def _dependent_nonlinear(rng: Rng, case: Any) -> Measurement:
    """Two perceptrons with the same retain outputs: the unlearned models predict differently."""
    model, theta, data = taught_perceptron(rng, case, 3, 6, 2, 1)
    while not data.y[:2].all():
        model, theta, data = taught_perceptron(rng, case, 3, 6, 2, 1)
    x, probe = data.x[:2], integers(rng, 6, 3)
    other = model.interpolating_parameters(x, data.y[:2], rng)
    found = []
    for t in (theta, other):
        moved = t + closed_form.appendix_e_drift(rows_of(model, t, x), t)
        found.append(np.asarray(outputs_of(model, probe)(moved), dtype=object).reshape(-1))
    gap = max(zip(*found, strict=True), key=lambda pair: abs(pair[0] - pair[1]))
    return differ(*gap)


# ---------------------------------------------------------------- dead networks, and the tightness of s


def _dead_everywhere(rng: Rng, case: Any) -> Measurement:
    """Delta_C = -C and Delta_{A_1} = V (V^T V)^+ W^T: first-order change -W + W = 0, and the network is 0."""
    depth, l = case
    while True:
        network, theta, data = network_instance(rng, depth, l)
        x, y = data.retain
        if y.any():
            break
    V, W = network.first_layer_factor(theta), network.predictor(theta)
    drift = 0 * theta
    drift[network.blocks["c"]] = -theta[network.blocks["c"]]
    drift[network.blocks["A1"]] = xu.rational.pseudo_inverse(V).T.dot(W.T).reshape(-1)
    change = naive.taylor(lambda t: naive.linear_network(network.widths, t, x), theta, drift, 1)[1]
    after = naive.linear_network(network.widths, theta + drift, fractions(np.eye(network.n_inputs)))
    return worst_of([equal(0 * change, change), equal(0 * after, after), differ(naive.square_norm(y), 0)])


def _tight(rng: Rng, case: Any) -> Measurement:
    """The least number of neurons against s, by trying every support: wide teachers with small integers, and
    planted narrow ones.
    """
    name, k = case
    if k is None:
        model, theta, data = taught_perceptron(rng, name, 3, 7, int(rng.integers(1, 5)), 0)
    else:
        model, theta, data = planted_perceptron(rng, name, 3, 7, k, 4)
    phi = features(model, theta, data.x)
    s = naive.rank(phi)
    least = naive.smallest_support(phi, phi.dot(model.split(theta)["c"][0]).tolist())
    return at_most(s, least, s=s, least=least, planted=0 if k is None else k)


def _generic(rng: Rng, case: Any) -> Measurement:
    """Labels in general position need exactly s neurons."""
    model, theta, data = taught_perceptron(rng, case, 3, 7, int(rng.integers(1, 5)), 0)
    phi = features(model, theta, data.x)
    target = phi.dot(integers(rng, 7, high=10**9))
    return equal(naive.rank(phi), naive.smallest_support(phi, target.tolist()))


RESULT = Result(
    name="Beyond the paper",
    title="Findings of our own",
    statement=(
        "For linear models the constraints of surrogate and exact problem coincide, so Theorem 2 holds for every "
        r"convex $R$; with $\hat R = 0$ requests may come one after the other or at once, and the forgotten data "
        r"leave no trace. Both fail for $\lambda > 0$ and for non-linear models. There the outputs on the retain "
        r"data move, by $\sum_{k \ge 2} q_k (1+\lambda)^{-k}$ exactly: about $(1+\lambda)^{-2}$. The dead network "
        "of D.4.1 is no curiosity: every deep linear network has it, and every perceptron with a homogeneous "
        "activation. The bound $s$ of Theorem 5 is met by labels in general position. And what else is exact: "
        "retraining from the same start, maximum margin, linear, diagonal and square networks, the order of requests, "
        "constraints of a sample only, and the least width itself."
    ),
    tried="As above: rational instances, both sides by routes that share no formula.",
    claims=(
        Claim(
            "every-norm",
            "Theorem 2 for every convex $R$: surrogate and exact problem have the same certified optimum.",
            _every_norm,
            "optimal value",
            kind="ours",
            cases=NORMS,
            quick=1,
            full=40,
            assumptions=(
                "linear model",
                r"$\theta^*$ interpolates $\mathcal{D}$",
            ),
        ),
        Claim(
            "sequential",
            "Forgetting in two requests equals forgetting at once.",
            _sequential,
            r"$\|\theta\|_2^2$",
            kind="ours",
            cases=(6, 8),
            quick=24,
            assumptions=(
                "linear model",
                r"$\hat R = 0$",
            ),
        ),
        Claim(
            "optimal-sets",
            r"Where the minimiser is not unique ($\ell_1$) the optimal sets are equal.",
            _optimal_sets,
            "optimal value",
            kind="ours",
            cases=(4, 5),
            quick=2,
            full=40,
            assumptions=(
                "linear model",
                r"$\hat R = 0$",
            ),
        ),
        Claim(
            "independent",
            r"Two forget sets, two trained models, the same retain set: the same $\tilde\theta$.",
            _independent,
            r"$\|\theta\|_2^2$",
            kind="ours",
            cases=(6, 8),
            quick=24,
            assumptions=(
                "linear model",
                r"$\hat R = 0$",
            ),
        ),
        Claim(
            "sequential-penalty",
            (
                r"With $\lambda > 0$ two requests leave $(\lambda/(1+\lambda))^2$ where one leaves "
                r"$\lambda/(1+\lambda)$."
            ),
            _sequential_with_penalty,
            "squared distance",
            kind="ours",
            cases=(6, 8),
            quick=24,
            assumptions=(r"broken: $\hat R = 0$",),
        ),
        Claim(
            "independent-penalty",
            r"With $\lambda > 0$ the share $\lambda/(1+\lambda)$ of what the models knew remains.",
            _dependent_with_penalty,
            "squared distance",
            kind="ours",
            cases=(6, 8),
            quick=24,
            assumptions=(r"broken: $\hat R = 0$",),
        ),
        Claim(
            "repeated",
            (
                r"The same request $k$ times leaves $(\lambda/(1+\lambda))^k$: repetition does what $\lambda = 0$ "
                "does."
            ),
            _repeated,
            r"largest entry of $\theta$",
            kind="ours",
            cases=((6, 2), (6, 5), (8, 12)),
            quick=21,
            assumptions=("linear model",),
        ),
        Claim(
            "sequential-nonlinear",
            "A perceptron whose parameters all move: two requests are not one.",
            _sequential_nonlinear,
            "squared distance",
            kind="ours",
            cases=(
                "square",
                "relu",
            ),
            quick=2,
            full=30,
            assumptions=("broken: linear model",),
        ),
        Claim(
            "independent-nonlinear",
            "Two perceptrons with the same retain outputs are unlearned to different functions.",
            _dependent_nonlinear,
            "an output",
            kind="ours",
            cases=(
                "square",
                "relu",
            ),
            quick=2,
            full=30,
            assumptions=("broken: linear model",),
        ),
        Claim(
            "error-law",
            (
                r"The error on the retain data is $\sum_{k\ge2} q_k(1+\lambda)^{-k}$, for two layers exactly "
                r"$q_2(1+\lambda)^{-2}$."
            ),
            error_law,
            "largest error",
            kind="ours",
            cases=((2, 2), (3, 3), (4, 4), (5, 5), ("square", 3)),
            quick=3,
            full=50,
        ),
        Claim(
            "error-exponent",
            "Smooth activations: the exponent is $-2$.",
            exponent,
            r"exponent, $1 + \lambda$ from $10^3$ to $10^5$",
            kind="ours",
            cases=(
                "silu",
                "gelu",
                "tanh",
                "sigmoid",
                "softplus",
                "square",
            ),
            quick=11,
        ),
        Claim(
            "error-depth",
            r"Every depth: $(1+\lambda)^2$ times the error tends to $q_2$.",
            depth,
            r"ratio at $\lambda = 10^9$",
            kind="ours",
            cases=(2, 3, 4, 5, 6),
            quick=5,
            full=60,
        ),
        Claim(
            "dead-everywhere",
            ("Every deep linear network, with any number of outputs, has a dead solution of the relaxed problem."),
            _dead_everywhere,
            "largest output",
            kind="ours",
            cases=((2, 1), (3, 1), (5, 1), (2, 2), (3, 3)),
            quick=13,
            full=50,
            assumptions=(r"no $\hat R$, nothing frozen",),
        ),
        Claim(
            "tightness",
            "The least number of neurons over random teachers, wide and narrow, never exceeds $s$.",
            _tight,
            "neurons (at most)",
            kind="ours",
            cases=(("relu", None), ("square", None), ("leaky_relu", None), ("relu", 1), ("square", 2), ("relu", 3)),
            quick=25,
            full=100,
        ),
        Claim(
            "generic-labels",
            "Labels in general position need exactly $s$ neurons.",
            _generic,
            "neurons",
            kind="ours",
            cases=(
                "relu",
                "square",
                "leaky_relu",
            ),
            quick=21,
            full=60,
        ),
        *same_start.CLAIMS,
        *max_margin.CLAIMS,
        *one_door.CLAIMS,
        *diagonal.CLAIMS,
        *requests.CLAIMS,
        *subsample.CLAIMS,
        *least_width.CLAIMS,
    ),
    figure="beyond",
    caption=(
        r"Left: the error on the retain data against $\lambda$ for linear networks of several depths, with the "
        "slope $-2$. Right: how many random networks need $s$ neurons, or fewer, by $s$."
    ),
)
