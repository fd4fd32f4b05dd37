"""The order of requests: two samples are forgotten one after the other, in either order.

With lambda = 0 the second problem asks for the least R over all theta whose outputs are those of theta* on what is then
retained, whatever the first one was: where its minimiser is unique and J stays, the order leaves no trace.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .appendix_e import outputs_of, rows_of
from .finding import Claim, Measurement, above, equal, worst_of
from .instances import Rng, integers, interpolating, rational_data, taught_perceptron
from .proofs import exact_point

KEPT, FIRST, SECOND = [0, 1], [0, 1, 2], [0, 1, 3]
"""What stays in the end, what stays if sample 3 goes first, what stays if sample 2 does."""


def _instance(rng: Rng, kind: str) -> tuple[Any, Any, Any]:
    """(model, theta*, x of four samples) with independent gradients."""
    model: Any
    while True:
        if kind == "linear":
            model, data = xu.LinearModel(6), rational_data(rng, 6, 4, 0)
            theta = interpolating(model, data, rng)
        else:
            model, theta, data = taught_perceptron(rng, kind, 3, 3, 4, 0)
        if naive.rank(rows_of(model, theta, data.x)) == 4:
            return model, theta, data.x


def _same(rng: Rng, case: Any) -> Measurement:
    """Both orders, every step certified, J kept at theta*; and what Gram-Schmidt, or trying every vertex, says of both
    requests at once.
    """
    kind, norm = case
    while True:
        model, theta, x = _instance(rng, kind)
        J = rows_of(model, theta, x)
        if norm == "l2":
            truth = naive.project(J[KEPT], theta)
            break
        best = naive.shortest_vertices(J[KEPT], J[KEPT].dot(theta))[1]
        if len(best) == 1:
            truth = np.array([*best.pop(), None], dtype=object)[:-1]
            break
    R = xu.SquaredL2() if norm == "l2" else xu.L1()
    found = []
    for first in (FIRST, SECOND):
        between = exact_point(xu.UnlearningProblem(theta, J[first], R))
        found.append(exact_point(xu.UnlearningProblem(between, J[KEPT], R)))
    size = naive.square_norm(truth)
    return worst_of(equal(truth, point, shown=(size, naive.square_norm(point))) for point in found)


def _retaken(rng: Rng, case: Any) -> Measurement:
    """J taken again after the first request, which has turned its rows: the two orders end apart."""
    while True:
        model, theta, x = _instance(rng, case)
        kept = rows_of(model, theta, x[KEPT]).tolist()
        between = [naive.project(rows_of(model, theta, x[first]), theta) for first in (FIRST, SECOND)]
        again = [rows_of(model, point, x[KEPT]) for point in between]
        if all(naive.rank([*kept, *J.tolist()]) == 4 for J in again):
            break
    ends = [naive.project(J, point) for J, point in zip(again, between, strict=True)]
    return above(0, naive.square_norm(ends[0] - ends[1]))


def _retaken_smooth(rng: Rng, case: Any) -> Measurement:
    """The same for tanh, in floats: more than a thousandth of |theta*| apart."""
    model = xu.Perceptron(3, 5, case)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((4, 3))

    def shortest(point: Any, kept: list[int]) -> Any:
        J = naive.complex_step(lambda t: outputs_of(model, x[kept])(t)[:, 0], point)
        return np.linalg.lstsq(J, J @ point)[0]

    ends = [shortest(shortest(theta, first), KEPT) for first in (FIRST, SECOND)]
    apart = float(np.linalg.norm(ends[0] - ends[1]))
    return above(1e-3 * float(np.linalg.norm(theta)), apart, proof="none")


def _penalty(rng: Rng, case: Any) -> Measurement:
    """lam > 0: the orders end lam (1+lam)^-2 (P_1 - P_2) theta* apart, exactly."""
    _, theta, x = _instance(rng, "linear")
    ends = []
    for first in (FIRST, SECOND):
        between = theta + closed_form.appendix_e_drift(x[first], theta, case)
        ends.append(between + closed_form.appendix_e_drift(x[KEPT], between, case))
    apart = ends[0] - ends[1]
    truth = case / (1 + case) ** 2 * (naive.project(x[FIRST], theta) - naive.project(x[SECOND], theta))
    size = naive.square_norm(apart)
    return worst_of([above(0, size), equal(truth, apart, shown=(0, size))])


def _local(rng: Rng, case: Any) -> Measurement:
    """A local method, one gradient step towards the label 0 per forgotten sample: the orders end step^2 <a, b> (a b^T -
    b a^T) theta* apart, exactly.
    """
    while True:
        a, b, theta = integers(rng, 3, case)
        truth = naive.dot(a, b) / 64 * (naive.dot(b, theta) * a - naive.dot(a, theta) * b)
        if any(truth):
            break

    def step(point: Any, sample: Any) -> Any:
        return point - Fraction(1, 8) * naive.dot(sample, point) * sample

    apart = step(step(theta, b), a) - step(step(theta, a), b)
    size = naive.square_norm(apart)
    return worst_of([above(0, size), equal(truth, apart, shown=(0, size))])


CLAIMS = (
    Claim(
        "order",
        "Two requests in either order end at the same parameters, those of both at once.",
        _same,
        r"$\|\theta\|_2^2$",
        kind="ours",
        cases=(("linear", "l2"), ("linear", "l1"), ("square", "l2"), ("relu", "l2")),
        quick=2,
        full=40,
        assumptions=(r"$\hat R = 0$", "unique minimiser", r"linear model, or $J$ kept at $\theta^*$"),
    ),
    Claim(
        "order-retaken",
        "With $J$ taken again at each step of a perceptron the order matters.",
        _retaken,
        "squared distance",
        kind="assumption",
        cases=("square", "relu"),
        quick=2,
        full=30,
        assumptions=(r"broken: $J$ kept at $\theta^*$",),
    ),
    Claim(
        "order-retaken-smooth",
        "So it does with a smooth activation.",
        _retaken_smooth,
        r"distance (more than $10^{-3}\|\theta^*\|_2$)",
        kind="assumption",
        cases=("tanh", "silu"),
        quick=5,
        full=100,
        assumptions=(r"broken: $J$ kept at $\theta^*$",),
    ),
    Claim(
        "order-penalty",
        r"With $\lambda > 0$ the orders end $\lambda(1+\lambda)^{-2}(P_1 - P_2)\theta^*$ apart.",
        _penalty,
        "squared distance",
        kind="assumption",
        cases=(Fraction(1, 3), Fraction(2), Fraction(50)),
        quick=5,
        full=50,
        assumptions=(r"broken: $\hat R = 0$",),
    ),
    Claim(
        "order-local",
        "Gradient steps towards other labels, sample by sample: the order matters, by the commutator.",
        _local,
        "squared distance",
        kind="assumption",
        cases=(3, 6),
        quick=20,
        assumptions=("broken: each answer is an optimum",),
    ),
)
