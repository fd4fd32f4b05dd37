"""D.4.1: without a drift penalty, or frozen blocks, the relaxed problem of a deep linear network has dead solutions."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, differ, equal, worst_of
from .instances import Rng, fractions
from .proofs import prove, root_optimum

SIZES = (3, 4, 6, 8)


def _outputs(example: Any, theta: Any, x: Any) -> Any:
    return naive.linear_network(example.network.widths, theta, x)


def _as_stated(rng: Rng, case: Any) -> Measurement:
    """The entries, written down once more: c = e_1 + e_2, A = I; Delta_c = -e_3, Delta_A = e_3 e_1^T - e_2 e_2^T -
    e_3 e_3^T.
    """
    example = closed_form.counterexample_d41(case)
    c, A, dc, dA = (np.zeros(shape, dtype=int) for shape in (case, (case, case), case, (case, case)))
    c[[0, 1]], dc[2], dA[2, 0], dA[1, 1], dA[2, 2] = 1, -1, 1, -1, -1
    A[range(case), range(case)] = 1
    stated = [np.concatenate([vector, matrix.reshape(-1)]) for vector, matrix in ((c, A), (dc, dA))]
    return equal(np.concatenate(stated), np.concatenate([example.theta_star, example.drift]))


def _interpolates(rng: Rng, case: Any) -> Measurement:
    example = closed_form.counterexample_d41(case)
    return equal(example.y, _outputs(example, example.theta_star, example.x))


def _feasible(rng: Rng, case: Any) -> Measurement:
    """J drift = 0, from the derivative of the retain outputs along the drift, by definition; the drift is not 0."""
    example = closed_form.counterexample_d41(case)
    change = naive.taylor(lambda t: _outputs(example, t, example.x_retain), example.theta_star, example.drift, 1)[1]
    moved = differ(0, naive.square_norm(example.drift))
    return worst_of([equal(0 * change, change, shown=(0, max(abs(change.reshape(-1))))), moved])


def _attains_zero(rng: Rng, case: Any) -> Measurement:
    """The objective |w|_2 is 0, the least it can be: the network is dead on every unit vector."""
    example = closed_form.counterexample_d41(case)
    everywhere = _outputs(example, example.theta_star + example.drift, fractions(np.eye(case)))
    return equal(0, naive.square_norm(everywhere))


def _misses(rng: Rng, case: Any) -> Measurement:
    """The retain label is 1, the network says 0."""
    example = closed_form.counterexample_d41(case)
    return differ(example.y_retain[0, 0], _outputs(example, example.theta_star + example.drift, example.x_retain)[0, 0])


def _with_penalty(rng: Rng, case: Any) -> Measurement:
    """Only A_1 may move: the optimum of the surrogate is 1, proved, which is the norm of the exact solution e_1."""
    example = closed_form.counterexample_d41(case)
    norm = xu.PredictorNorm(example.network, example.theta_star)
    certificate = prove(xu.surrogate_problem(example.network, example.theta_star, example.x_retain, norm))
    exact = naive.square_norm(naive.min_norm_matrix(example.x_retain, example.y_retain))
    return worst_of([root_optimum(certificate, exact), equal(1, exact)])


RESULT = Result(
    name="D.4.1",
    title="The dead network: why drift must be restrained",
    statement=(
        r"Let $m \ge 3$, $c = e_1 + e_2$, $A = I_m$, $\mathcal{D} = \{(e_1, 1), (e_2, 1)\}$ and $\mathcal{D}_r = "
        r"\{(e_1, 1)\}$. The drift $\Delta_c = -e_3$, $\Delta_A = e_3e_1^\top - e_2e_2^\top - e_3e_3^\top$ "
        r"satisfies $J\Delta = 0$ and brings $\|w\|_2$ to 0, its least value; but the network is then 0 everywhere "
        r"and does not fit $\mathcal{D}_r$. So Theorem 3 is false without a drift penalty."
    ),
    tried=(
        "The counterexample itself for several m, in rational arithmetic, from the definitions; with the "
        "restriction to the first layer the optimum is certified."
    ),
    claims=(
        Claim(
            "as-stated",
            "The numbers are those of the paper.",
            _as_stated,
            "largest entry",
            cases=SIZES,
            quick=1,
            full=1,
        ),
        Claim(
            "interpolates",
            r"$\theta^*$ fits all of $\mathcal{D}$.",
            _interpolates,
            "largest output",
            cases=SIZES,
            quick=1,
            full=1,
        ),
        Claim(
            "feasible",
            r"$J\Delta = 0$, with $\Delta \neq 0$.",
            _feasible,
            "first-order change",
            cases=SIZES,
            quick=1,
            full=1,
        ),
        Claim(
            "objective",
            r"$\|w(\theta^* + \Delta)\|_2 = 0$.",
            _attains_zero,
            r"$\|w\|_2^2$",
            cases=SIZES,
            quick=1,
            full=1,
        ),
        Claim(
            "misses",
            "The retain sample is no longer fitted: the conclusion of Theorem 3 fails.",
            _misses,
            "retain output (wanted, found)",
            kind="assumption",
            cases=SIZES,
            quick=1,
            full=1,
            assumptions=(r"broken: no $\hat R$",),
        ),
        Claim(
            "restrained",
            "With the drift restricted to $A_1$ the optimum is 1, the norm of the exact solution.",
            _with_penalty,
            "optimal value",
            cases=SIZES,
            quick=1,
            full=1,
            assumptions=("only $A_1$ moves",),
        ),
    ),
    figure="counterexample_d41",
    caption=(
        "The network before, and after two solutions of the first-order problem: the restrained one keeps the "
        "retain sample, the free one is dead."
    ),
)
