"""Appendix C: a minimiser of the retain loss can still know the forgotten data."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import naive
from .finding import Claim, Measurement, Result, differ, equal, worst_of
from .instances import Data, Rng, rational_data
from .proposition_2 import descend, safe_step

SHAPES = ((6, 2, 2), (9, 3, 3), (5, 3, 1))


def _instance(rng: Rng, case: Any) -> tuple[Data, Any]:
    """Data whose forget set has directions of its own and labels that the retain set does not imply; min-norm
    theta*.
    """
    while True:
        data = rational_data(rng, *case)
        theta = naive.min_norm(data.x, data.y[:, 0], case[0])
        if any(theta - naive.project(data.retain[0], theta)):
            return data, theta


def leak(data: Data, theta: Any) -> Any:
    """The part of theta in span(D) that is orthogonal to span(D_r)."""
    inside = naive.project(data.x, theta)
    return inside - naive.project(data.retain[0], inside)


def _stationary(rng: Rng, case: Any) -> Measurement:
    """theta* has retain loss 0 and gradient 0: 50 steps of gradient descent on the retain loss move it by exactly 0."""
    data, theta = _instance(rng, case)
    x, y = data.retain
    residual = x.dot(theta) - y[:, 0]
    after = descend(x, y[:, 0], theta, safe_step(x), 50)
    return worst_of(
        [
            equal(0 * residual, residual, shown=(0, naive.square_norm(residual))),
            equal(theta, after, shown=(0, naive.square_norm(after - theta))),
        ]
    )


def _leaks(rng: Rng, case: Any) -> Measurement:
    """The leak is not 0, and it is all of the difference to the exact solution: |theta*|^2 - |theta_r|^2, by
    Pythagoras.
    """
    data, theta = _instance(rng, case)
    x, y = data.retain
    rest = naive.square_norm(leak(data, theta))
    exact = naive.min_norm(x, y[:, 0], case[0])
    excess = naive.square_norm(theta) - naive.square_norm(exact)
    return worst_of([differ(0, rest), equal(excess, rest)])


def _reveals(rng: Rng, case: Any) -> Measurement:
    """The outputs on forgotten inputs are still the forgotten labels; those of the exact solution are not."""
    data, theta = _instance(rng, case)
    x, y = data.forget
    exact = naive.min_norm(data.retain[0], data.retain[1][:, 0], case[0])
    kept, cleared = x.dot(theta), x.dot(exact)
    worst = int(np.argmax(np.abs((kept - cleared).astype(float))))
    return worst_of([differ(cleared[worst], kept[worst]), equal(y[:, 0], kept, shown=(cleared[worst], kept[worst]))])


def _implied_labels(rng: Rng, case: Any) -> Measurement:
    """Forget labels that the exact solution predicts anyway: theta* is the exact solution, nothing leaks."""
    data, _ = _instance(rng, case)
    exact = naive.min_norm(data.retain[0], data.retain[1][:, 0], case[0])
    data = Data(data.x, data.x.dot(exact)[:, None], data.n_retain)
    theta = naive.min_norm(data.x, data.y[:, 0], case[0])
    return equal(0, naive.square_norm(leak(data, theta)))


def _same_span(rng: Rng, case: Any) -> Measurement:
    """Forget inputs inside the span of the retain inputs: nothing leaks either."""
    m, n_r, n_f = case
    data = rational_data(rng, m, n_r, 0)
    mix = rng.integers(-2, 3, size=(n_f, n_r)).astype(object)
    whole = Data(np.concatenate([data.x, mix.dot(data.x)]), np.concatenate([data.y, mix.dot(data.y)]), n_r)
    theta = naive.min_norm(whole.x, whole.y[:, 0], m)
    return equal(0, naive.square_norm(leak(whole, theta)))


RESULT = Result(
    name="Appendix C",
    title="Zero retain loss is not forgetting",
    statement=(
        r"In a linear model let $\theta^*$ be the min-norm interpolator of $\mathcal{D}$. Its retain loss is 0, so "
        r"it minimises the retain loss, and gradient descent on it does not move. But $\theta^*$ still has a "
        r"component in $\mathcal{S} \cap \mathcal{S}_r^\perp$, the directions that only the forgotten inputs have, "
        "unless the exact solution happens to predict the forgotten labels."
    ),
    tried=r"Integer data in rational arithmetic; gradient descent on the retain loss really runs, from $\theta^*$.",
    claims=(
        Claim(
            "stationary",
            r"$\theta^*$ has retain loss 0; gradient descent on it moves $\theta^*$ by exactly 0.",
            _stationary,
            "squared change",
            cases=SHAPES,
            quick=21,
            assumptions=(r"$\theta^*$ interpolates",),
        ),
        Claim(
            "leak",
            (
                r"The component in $\mathcal{S} \cap \mathcal{S}_r^\perp$ is not 0; its square is "
                r"$\|\theta^*\|_2^2 - \|\theta_r^*\|_2^2$."
            ),
            _leaks,
            "squared norm of the leak",
            cases=SHAPES,
            quick=21,
            assumptions=("the retain data do not imply the forget labels",),
        ),
        Claim(
            "outputs",
            "On forgotten inputs it still returns the forgotten labels; the exact solution does not.",
            _reveals,
            r"forget output ($\theta_r^*$, $\theta^*$)",
            cases=SHAPES,
            quick=21,
            assumptions=("the retain data do not imply the forget labels",),
        ),
        Claim(
            "implied-labels",
            "Forget labels that the exact solution predicts anyway leave no trace.",
            _implied_labels,
            "squared norm of the leak",
            kind="assumption",
            cases=SHAPES,
            quick=21,
            assumptions=("broken: the retain data imply the forget labels",),
        ),
        Claim(
            "same-span",
            "Neither do forget inputs in the span of the retain inputs.",
            _same_span,
            "squared norm of the leak",
            kind="assumption",
            cases=SHAPES[:2],
            quick=24,
            assumptions=("broken: the forget inputs have a direction of their own",),
        ),
    ),
    figure="appendix_c",
    caption=(
        r"Gradient descent on the retain loss from $\theta^*$ stays where it is; the exact solution is elsewhere. "
        "The arrow between them is what the model still knows about the forgotten sample."
    ),
)
