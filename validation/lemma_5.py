"""Lemma 5: from any solution on D, the min-norm solution on D_r is the projection onto the retain inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, close, differ, equal, worst_of
from .instances import Data, Rng, float_data, interpolating, rational_data

SHAPES = ((6, 2, 2), (9, 3, 3), (5, 4, 1), (4, 3, 5), (4, 0, 3), (4, 3, 0))


def _subset(rng: Rng, case: Any) -> tuple[Data, Any]:
    """Data with a random subset as retain set, and any parameters that interpolate all of it."""
    m, n_r, n_f = case
    data = rational_data(rng, m, n_r, n_f)
    order = rng.permutation(n_r + n_f)
    data = Data(data.x[order], data.y[order], n_r)
    return data, interpolating(xu.LinearModel(m), data, rng)


def _projection(rng: Rng, case: Any) -> Measurement:
    data, theta = _subset(rng, case)
    x, y = data.retain
    truth = naive.min_norm(x, y[:, 0], theta.size)
    found = closed_form.project_onto_span(x, theta)
    return equal(truth, found, shown=(naive.square_norm(truth), naive.square_norm(found)))


def _floats(rng: Rng, case: Any) -> Measurement:
    m, n_r, n_f = case
    data = float_data(rng, m, n_r, n_f)
    theta = interpolating(xu.LinearModel(m), data, rng)
    x = data.x[:n_r]
    truth = naive.project(x, theta).astype(float)
    return close(truth, closed_form.project_onto_span(x, theta), 1e-12)


def _duplicates(rng: Rng, case: Any) -> Measurement:
    """Retain rows repeated, scaled, added up, and a zero row: the span, and so the projection, stay."""
    data, theta = _subset(rng, case)
    x, y = data.retain
    more = np.concatenate([x, x[:1], 2 * x[1:2], x[:1] + x[1:2], 0 * x[:1]])
    labels = np.concatenate([y, y[:1], 2 * y[1:2], y[:1] + y[1:2], 0 * y[:1]])
    truth = naive.min_norm(more, labels[:, 0], theta.size)
    return equal(truth, closed_form.project_onto_span(more, theta))


def _not_feasible(rng: Rng, case: Any) -> Measurement:
    """theta that misses one retain label by 1: the projection misses it by exactly as much."""
    data, theta = _subset(rng, case)
    x, _ = data.retain
    x[0, 0] += 11
    theta = xu.LinearModel(theta.size).interpolating_parameters(x, x.dot(theta)[:, None], rng)
    wanted, gives = naive.dot(x[0], theta) + 1, naive.dot(x[0], closed_form.project_onto_span(x, theta))
    return worst_of([differ(wanted, gives), equal(1, wanted - gives, shown=(wanted, gives))])


RESULT = Result(
    name="Lemma 5",
    title="Forgetting is projecting",
    statement=(
        r"Let $\theta$ fit all of $\mathcal{D}$ in a linear model, in any way. Then the min-norm solution on the "
        r"retain set $\mathcal{D}_r$ is $P_{\mathcal{S}_r}\theta$, the projection onto the span of the retain "
        "inputs. No label is needed."
    ),
    tried=(
        "Integer data, random subsets as retain set (none and all included), random interpolating parameters. One "
        r"side orthogonalises the equations $X_r\theta = y_r$ (inputs and labels), the other projects $\theta$ "
        "(inputs only)."
    ),
    claims=(
        Claim(
            "projection",
            r"$P_{\mathcal{S}_r}\theta$ is the min-norm solution on the retain set.",
            _projection,
            r"$\|\theta\|_2^2$",
            cases=SHAPES,
            assumptions=(r"$\theta$ fits $\mathcal{D}$",),
            quick=11,
        ),
        Claim(
            "floats",
            "The same in floating point, for Gaussian data.",
            _floats,
            r"largest entry of $\theta$",
            cases=((8, 3, 3), (20, 8, 4)),
            quick=24,
            assumptions=(r"$\theta$ fits $\mathcal{D}$",),
        ),
        Claim(
            "dependent-rows",
            "Repeated, dependent and zero retain rows change nothing.",
            _duplicates,
            r"largest entry of $\theta$",
            kind="degenerate",
            cases=((6, 3, 2), (5, 4, 1)),
            quick=24,
            assumptions=(r"$\theta$ fits $\mathcal{D}$",),
        ),
        Claim(
            "not-feasible",
            r"Where $\theta$ misses a retain label, so does the projection, by as much.",
            _not_feasible,
            "output on a retain sample",
            kind="assumption",
            cases=((6, 2, 2), (9, 3, 3)),
            assumptions=(r"broken: $\theta$ does not fit $\mathcal{D}_r$",),
            quick=24,
        ),
    ),
    figure="lemma_5",
    caption=(
        r"Three very different solutions on $\mathcal{D}$ (dots), one retain sample: projected onto its span they "
        "all land on the min-norm solution of the retain set."
    ),
)
