"""Retraining from the same initialisation: what practitioners mean by retraining is a problem about a centre.

Gradient descent on the retain loss of a linear model moves in the row space of X, so from theta_0 it tends to the
interpolating theta nearest to theta_0: R = 1/2 |theta - theta_0|^2, not 1/2 |theta|^2.
"""

from __future__ import annotations

from typing import Any

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, above, at_most, equal, worst_of
from .instances import Data, Rng, integers, interpolating, rational_data
from .proofs import exact_point
from .proposition_2 import descend, safe_step
from .section_5_1 import smallest_eigenvalue

SHAPES = ((5, 2, 2), (6, 3, 1), (8, 4, 2))
STEPS = 20


def _instance(rng: Rng, case: Any) -> tuple[Data, Any, Any]:
    """(data, theta*, theta_0): independent inputs, an initialisation that is not in their span and fits nothing."""
    m = case[0]
    while True:
        data, start = rational_data(rng, *case), integers(rng, m)
        x, y = data.retain
        if naive.rank(data.x) == len(data.x) < naive.rank([*data.x.tolist(), start.tolist()]) and any(
            x.dot(start) - y[:, 0]
        ):
            return data, interpolating(xu.LinearModel(m), data, rng), start


def _nearest(data: Data, start: Any) -> Any:
    """The point nearest to theta_0 that fits the retain data, by Gram-Schmidt."""
    x, y = data.retain
    return start + naive.min_norm(x, y[:, 0] - x.dot(start), start.size)


def _recovers(rng: Rng, case: Any) -> Measurement:
    """The surrogate about theta_0, from a theta* that knows more, certified; and the nearest point, from labels."""
    data, theta_star, start = _instance(rng, case)
    centred = xu.SquaredL2().centred_at(start)
    found = exact_point(xu.surrogate_problem(xu.LinearModel(case[0]), theta_star, data.retain[0], centred))
    truth = _nearest(data, start)
    return equal(truth, found, shown=(naive.square_norm(truth), naive.square_norm(found)))


def _descends(rng: Rng, case: Any) -> Measurement:
    """Gradient descent on the retain data from theta_0, exactly: after k steps it is as near to the surrogate's answer
    as the smallest eigenvalue of X X^T demands.
    """
    data, theta_star, start = _instance(rng, case)
    x, y = data.retain
    centred = xu.SquaredL2().centred_at(start)
    goal = exact_point(xu.surrogate_problem(xu.LinearModel(case[0]), theta_star, x, centred))
    step = safe_step(x)
    rate, theta, checks = (1 - step * smallest_eigenvalue(x)) ** 2, start, []
    bound = naive.square_norm(start - goal)
    for _ in range(STEPS):
        theta, bound = descend(x, y[:, 0], theta, step, 1), rate * bound
        checks.append(at_most(bound, naive.square_norm(theta - goal)))
    return worst_of([checks[-1], *checks])


def _misses(rng: Rng, case: Any) -> Measurement:
    """Without the centre the surrogate ends elsewhere: at P theta_0 less of what nobody has asked to change."""
    data, theta_star, start = _instance(rng, case)
    x = data.retain[0]
    found = exact_point(xu.surrogate_problem(xu.LinearModel(case[0]), theta_star, x, xu.SquaredL2()))
    apart = _nearest(data, start) - found
    return worst_of(
        [
            above(0, naive.square_norm(apart)),
            equal(start - naive.project(x, start), apart, shown=(0, naive.square_norm(apart))),
        ]
    )


CLAIMS = (
    Claim(
        "same-start",
        (
            r"Retraining from the same $\theta_0$ is $R = \frac{1}{2}\|\theta - \theta_0\|_2^2$: the surrogate with "
            "this centre recovers it."
        ),
        _recovers,
        r"$\|\theta\|_2^2$",
        kind="ours",
        cases=SHAPES,
        quick=6,
        full=60,
        assumptions=("linear model", r"$\hat R = 0$"),
    ),
    Claim(
        "same-start-descent",
        r"Gradient descent from $\theta_0$ on the retain data tends to it, as fast as $\lambda_{\min}$ demands.",
        _descends,
        f"squared distance (at most), {STEPS} steps",
        kind="ours",
        cases=SHAPES,
        quick=4,
        full=40,
        assumptions=("linear model", r"a step below $1/\lambda_{\max}$"),
    ),
    Claim(
        "same-start-centre",
        r"With $R = \|\theta\|$ the surrogate misses it by $\theta_0 - P_{\mathcal{S}_r}\theta_0$.",
        _misses,
        "squared distance",
        kind="assumption",
        cases=SHAPES,
        quick=6,
        full=60,
        assumptions=(r"broken: the centre is $\theta_0$",),
    ),
)
