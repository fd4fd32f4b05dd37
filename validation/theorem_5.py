"""Theorem 5: after unlearning, a perceptron needs no more neurons than there are retain samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, at_least, at_most, close, differ, equal, worst_of
from .instances import Data, Rng, fractions, integers, planted_perceptron, taught_perceptron
from .lemma_2 import dead_drift, features, outputs
from .proofs import prove

RATIONAL = naive.RATIONAL_ACTIVATIONS


def active(model: xu.Perceptron, theta: Any) -> int:
    """R(theta), counted from the definition."""
    matrices = model.split(theta)
    return sum(1 for i in range(model.width) if matrices["c"][:, i].any() and matrices["A"][i].any())


def _construction(rng: Rng, case: Any) -> Measurement:
    """The constructed solution: A untouched, retain data fitted exactly, at most rank Phi active neurons."""
    name, n_r = case
    model, theta, data = taught_perceptron(rng, name, 3, 9, n_r, 2)
    x, y = data.retain
    found = closed_form.theorem_5_solution(model, theta, x)
    s = naive.rank(features(model, theta, x))
    block = model.blocks["A"]
    fitted = worst_of([equal(y, outputs(model, found, x)), equal(theta[block], found[block])])
    return worst_of([at_most(s, active(model, found)), at_most(n_r, s), fitted])


def _optimum(model: xu.Perceptron, theta: Any, data: Data) -> tuple[int, Measurement]:
    """The least number of active neurons by trying every support; and the certified optimum of the package, which
    must be the same.
    """
    x = data.retain[0]
    phi = features(model, theta, x)
    costly = [bool(a.any()) for a in model.split(theta)["A"]]
    truth = naive.smallest_support(phi, phi.dot(model.split(theta)["c"][0]).tolist(), costly)
    certificate = prove(xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model)))
    proved = equal([truth, truth], [certificate.lower, certificate.upper])
    return truth, Measurement(truth, float(certificate.upper), proved.deviation, certificate.proof)


def _bound(rng: Rng, case: Any) -> Measurement:
    """The proved optimum is at most s = rank Phi."""
    name, h, n_r = case
    model, theta, data = taught_perceptron(rng, name, 3, h, n_r, 1)
    count, proved = _optimum(model, theta, data)
    return worst_of([at_most(naive.rank(features(model, theta, data.retain[0])), count), proved])


def _planted(rng: Rng, case: Any) -> Measurement:
    """Labels made by k of the neurons: the proved optimum is at most k, which is below s."""
    name, k = case
    model, theta, data = planted_perceptron(rng, name, 3, 7, k, 4)
    while naive.rank(features(model, theta, data.x)) <= k:
        model, theta, data = planted_perceptron(rng, name, 3, 7, k, 4)
    count, proved = _optimum(model, theta, data)
    return worst_of([at_most(k, count), proved])


def _smooth(rng: Rng, case: Any) -> Measurement:
    """Every activation, features in floats taken literally: the certified optimum is at most s, the rank over the
    rationals, and trying every support finds the same.
    """
    model = xu.Perceptron(3, 6, case)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((3, 3))
    phi = fractions(model.features(theta, x))
    truth = naive.smallest_support(phi, phi.dot(fractions(model.split(theta)["c"][0])).tolist())
    certificate = prove(xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model)))
    proved = equal([truth, truth], [certificate.lower, certificate.upper], shown=(truth, certificate.upper))
    bound = at_most(naive.rank(phi), certificate.upper)
    return replace(worst_of([bound, proved]), proof=certificate.proof)


def _vertex(rng: Rng, case: Any) -> Measurement:
    """A vertex of the l1 relaxation has at most s non-zero entries; every activation, in floats."""
    model = xu.Perceptron(3, 30, case)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((6, 3))
    found = xu.solve(xu.surrogate_problem(model, theta, x, xu.L1(), free="c")).theta
    c = found[model.blocks["c"]]
    count = int((np.abs(c) > 1e-9 * np.abs(c).max()).sum())
    s = int(np.linalg.matrix_rank(features(model, theta, x).astype(float)))
    fitted = close(
        outputs(model, theta, x).astype(float), outputs(model, found, x).astype(float), 1e-9, shown=(s, count)
    )
    return worst_of([at_most(s, count, proof="none"), fitted])


def _large(rng: Rng, case: Any) -> Measurement:
    """The construction on a wide network, every activation, in floats."""
    model = xu.Perceptron(5, 120, case)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((12, 5))
    found = closed_form.theorem_5_solution(model, theta, x)
    count = active(model, found)
    s = int(np.linalg.matrix_rank(features(model, theta, x).astype(float)))
    fitted = close(
        outputs(model, theta, x).astype(float), outputs(model, found, x).astype(float), 1e-9, shown=(s, count)
    )
    return worst_of([at_most(s, count, proof="none"), fitted])


def _outputs_share(rng: Rng, case: Any) -> Measurement:
    """Several outputs share the s neurons."""
    name, l = case
    model, theta, data = taught_perceptron(rng, name, 3, 9, 3, 1, l)
    x, y = data.retain
    found = closed_form.theorem_5_solution(model, theta, x)
    s = naive.rank(features(model, theta, x))
    return worst_of(
        [at_most(s, active(model, found)), equal(y, outputs(model, found, x), shown=(s, active(model, found)))]
    )


def _dependent(rng: Rng, case: Any) -> Measurement:
    """Every retain sample twice: s counts the independent ones."""
    model, theta, data = taught_perceptron(rng, case, 3, 8, 3, 1)
    x = np.concatenate([data.x[:3], data.x[:3]])
    found = closed_form.theorem_5_solution(model, theta, x)
    s = naive.rank(features(model, theta, data.x[:3]))
    return worst_of(
        [
            at_most(s, active(model, found)),
            equal(outputs(model, theta, x), outputs(model, found, x), shown=(s, active(model, found))),
        ]
    )


def _nothing_retained(rng: Rng, case: Any) -> Measurement:
    model, theta, data = taught_perceptron(rng, case, 3, 5, 2, 0)
    empty = Data(data.x[:0], data.y[:0], 0)
    found = closed_form.theorem_5_solution(model, theta, empty.x)
    return worst_of([equal(0, active(model, found)), _optimum(model, theta, empty)[1]])


def _free_bias(rng: Rng, case: Any) -> Measurement:
    """phi(0) != 0: two equal neurons cancel and one with a_i = 0 is a constant; the optimum is 0, though the
    network is not 0.
    """
    model = xu.Perceptron(2, 3, case)
    a = rng.standard_normal(2)
    theta = model.join({"c": [[2.0, 1.0, -1.0]], "A": [[0.0, 0.0], a, a]})
    x = rng.standard_normal((4, 2))
    certificate = prove(xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model)))
    phi = np.array([[fractions(z)[()] for z in row] for row in model.features(theta, x)], dtype=object)
    truth = naive.smallest_support(phi, phi.dot(fractions([2, 1, -1])).tolist(), [False, True, True])
    counted = equal([0, 0, 0], [truth, certificate.lower, certificate.upper])
    alive = differ(0.0, float(outputs(model, theta, x)[0, 0]), margin=1e-3, proof="exact")
    return worst_of(
        [Measurement(0.0, float(certificate.upper), max(counted.deviation, alive.deviation), certificate.proof)]
    )


def _first_layer_moves(rng: Rng, case: Any) -> Measurement:
    """A may move: R = 0 neurons with J Delta = 0, which the theorem would call a solution that interpolates; it
    does not.
    """
    model, theta, data = taught_perceptron(rng, case, 3, 6, 3, 1)
    while not data.y[: data.n_retain].any():
        model, theta, data = taught_perceptron(rng, case, 3, 6, 3, 1)
    x, y = data.retain
    drift = dead_drift(model, theta)
    change = model.jacobian(theta, x).matrix.dot(drift)
    i = int(np.argmax(np.abs(y[:, 0].astype(float))))
    after = outputs(model, theta + drift, x)[i, 0]
    none = equal([0, *(0 * change)], [active(model, theta + drift), *change], shown=(y[i, 0], after))
    return worst_of([differ(y[i, 0], after), none])


def _fewer(rng: Rng, case: Any) -> Measurement:
    """Labels in general position: s - 1 neurons cannot fit them, whatever their weights; every support is tried."""
    model, theta, data = taught_perceptron(rng, case, 3, 7, 3, 0)
    phi = features(model, theta, data.x)
    while naive.rank(phi) < 3:
        model, theta, data = taught_perceptron(rng, case, 3, 7, 3, 0)
        phi = features(model, theta, data.x)
    return at_least(3, naive.smallest_support(phi, integers(rng, 3, high=10**9).tolist()))


RESULT = Result(
    name="Theorem 5",
    title="No more neurons than retain samples",
    statement=(
        r"For a perceptron that interpolates $\mathcal{D}$ let $\tilde R$ be the number of active neurons ($c_i "
        r"\neq 0$ and $a_i \neq 0$), with $A$ not allowed to move. Any solution of the surrogate interpolates "
        r"$\mathcal{D}_r$ and has at most $s = \operatorname{rank}\Phi \le n_r$ active neurons, $\Phi = "
        r"[\varphi(A^*x_i)^\top] \in \mathbb{R}^{n_r \times h}$, however wide the network was."
    ),
    tried=(
        "Small rational networks: the optimum is found by trying every support in exact arithmetic and, "
        "independently, certified by ranks; labels of wide and of planted narrow teachers. Larger ones in floats: "
        "the construction of Lemma 6 and vertices of the l1 relaxation, for every activation."
    ),
    claims=(
        Claim(
            "construction",
            (
                r"The constructed solution leaves $A$ alone, fits the retain data, and has at most $s \le n_r$ "
                "active neurons."
            ),
            _construction,
            "active neurons (at most)",
            cases=tuple((name, n) for name in RATIONAL for n in (2, 4)),
            quick=8,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "optimum",
            "The least number of neurons, proved, is at most $s$.",
            _bound,
            "active neurons (at most, needed)",
            cases=(("relu", 6, 3), ("square", 6, 3), ("leaky_relu", 7, 2), ("relu", 8, 4)),
            quick=1,
            full=25,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "optimum-smooth",
            "The same for every activation, smooth ones included, on features in floats taken literally.",
            _smooth,
            "active neurons (at most, needed)",
            cases=naive.ACTIVATIONS,
            quick=1,
            full=10,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "planted",
            "Labels made by $k < s$ of the neurons need at most $k$, proved.",
            _planted,
            "active neurons (at most, needed)",
            cases=(("relu", 1), ("relu", 2), ("square", 2), ("leaky_relu", 3)),
            quick=1,
            full=25,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "vertex",
            r"A vertex of the $\ell_1$ relaxation has at most $s$ active neurons.",
            _vertex,
            "active neurons (at most)",
            cases=naive.ACTIVATIONS,
            quick=1,
            full=20,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "wide",
            "The construction for 120 neurons and every activation, in floating point.",
            _large,
            "active neurons (at most)",
            cases=naive.ACTIVATIONS,
            quick=1,
            full=25,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "several-outputs",
            "Several outputs share the same at most $s$ neurons.",
            _outputs_share,
            "active neurons (at most)",
            kind="ours",
            cases=(("relu", 2), ("square", 3), ("leaky_relu", 2)),
            quick=21,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "dependent-rows",
            "Repeated retain samples: $s$ counts the independent ones.",
            _dependent,
            "active neurons (at most)",
            kind="degenerate",
            cases=(
                "relu",
                "square",
            ),
            quick=24,
        ),
        Claim(
            "nothing-retained",
            "$n_r = 0$: no neuron is needed.",
            _nothing_retained,
            "neurons",
            kind="degenerate",
            cases=(
                "relu",
                "square",
            ),
            quick=1,
            full=10,
        ),
        Claim(
            "free-bias",
            (
                r"$\varphi(0) \neq 0$: a neuron with $a_i = 0$ is a bias that $R$ does not count; a constant "
                "function needs 0 neurons."
            ),
            _free_bias,
            "neurons",
            kind="degenerate",
            cases=(
                "sigmoid",
                "softplus",
            ),
            quick=1,
            full=20,
        ),
        Claim(
            "first-layer-moves",
            r"If $A$ may move, 0 active neurons satisfy $J\Delta = 0$, and nothing is fitted.",
            _first_layer_moves,
            "retain output (wanted, found)",
            kind="assumption",
            cases=RATIONAL,
            quick=16,
            assumptions=("broken: $A$ does not move",),
        ),
        Claim(
            "fewer",
            "For labels in general position $s - 1$ neurons are not enough.",
            _fewer,
            "neurons (at least, needed)",
            kind="assumption",
            cases=(
                "relu",
                "square",
            ),
            quick=24,
            full=40,
            assumptions=("broken: at most $s - 1$ neurons allowed",),
        ),
    ),
    figure="theorem_5",
    caption=(
        "Random networks, one dot each: the proved least number of active neurons against $s$, the rank of the "
        "features. No dot lies above the diagonal; planted narrow teachers lie below it."
    ),
)
