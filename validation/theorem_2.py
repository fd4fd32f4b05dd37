"""Theorem 2: for a linear model the surrogate solves the exact unlearning problem."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, above, below, close, differ, difference, equal, worst_of
from .instances import Data, Rng, float_data, interpolating, rational_data
from .proofs import optimum, prove, root_optimum

SHAPES = ((6, 3, 2), (9, 4, 3), (5, 4, 1), (4, 5, 2))


def _instance(rng: Rng, case: Any, l: int = 1) -> tuple[xu.LinearModel, Data, Any]:
    """A rational linear model and any parameters that interpolate; not the min-norm ones."""
    m, n_r, n_f = case
    model = xu.LinearModel(m, l)
    while True:
        data = rational_data(rng, m, n_r, n_f, l)
        theta = interpolating(model, data, rng)
        if any(theta[:m] - naive.project(data.x, theta[:m])) or naive.rank(data.x) == m:
            return model, data, theta


def _projection(rng: Rng, case: Any) -> Measurement:
    """P_{S_r} theta* (inputs only) against the min-norm solution of the retain equations (inputs and labels)."""
    model, data, theta = _instance(rng, case)
    x, y = data.retain
    truth = naive.min_norm(x, y[:, 0], model.n_inputs)
    found = closed_form.theorem_2_solution(model, theta, x)
    return equal(truth, found, shown=(naive.square_norm(truth), naive.square_norm(found)))


def _surrogate(rng: Rng, case: Any) -> Measurement:
    """The certified optimum of the surrogate is the least squared norm of a solution of the exact problem; so is
    that of |theta|_2.
    """
    model, data, theta = _instance(rng, case)
    x, y = data.retain
    square = naive.square_norm(naive.min_norm(x, y[:, 0], model.n_inputs))
    half = optimum(prove(xu.surrogate_problem(model, theta, x, xu.SquaredL2())), square / 2)
    return worst_of([half, root_optimum(prove(xu.surrogate_problem(model, theta, x, xu.L2())), square)])


def _floats(rng: Rng, case: Any) -> Measurement:
    """The package's projection in floats, of inputs whose directions differ in size by up to 10^case and theta* with a
    part of ordinary size along each of them; the truth is exact on these floats.
    """
    m, n = 12, 5
    model = xu.LinearModel(m)
    x = np.round(64 * rng.standard_normal((n, m))) / 64
    scales = 2.0 ** np.round(np.linspace(0, -case * math.log2(10), n))
    mix = np.round(8 * rng.standard_normal((n, n))) / 8 + 2 * np.eye(n)
    rows = mix @ (scales[:, None] * x)  # every row has all directions, most of them faintly
    theta = rng.standard_normal(m)
    truth = naive.project(rows, theta)
    coarse = naive.project(x[:-1], theta)  # what is left when the faintest direction is lost
    tolerance = 1e-14 * float(np.linalg.cond(rows))
    lost = above(tolerance, difference(truth, coarse), proof="none")
    size = naive.square_norm(truth)
    found = closed_form.theorem_2_solution(model, theta, rows)
    return worst_of([close(truth.astype(float), found, tolerance, shown=(size, naive.square_norm(found))), lost])


def _minimiser(rng: Rng, case: Any) -> Measurement:
    """The solver's own minimiser, in floats, is the exact solution."""
    m, n_r, n_f = case
    model, data = xu.LinearModel(m), float_data(rng, m, n_r, n_f)
    theta = interpolating(model, data, rng)
    x, y = data.retain
    found = xu.solve(xu.surrogate_problem(model, theta, x, xu.SquaredL2())).theta
    return close(naive.min_norm(x, y[:, 0], m).astype(float), found, 1e-12)


def _outputs(rng: Rng, case: Any) -> Measurement:
    """Several outputs: every row of Theta is projected."""
    model, data, theta = _instance(rng, case, 2)
    x, y = data.retain
    truth = naive.min_norm_matrix(x, y).T.reshape(-1)
    square = naive.square_norm(truth)
    certified = optimum(prove(xu.surrogate_problem(model, theta, x, xu.SquaredL2())), square / 2)
    return worst_of(
        [certified, equal(truth, closed_form.theorem_2_solution(model, theta, x), shown=(square / 2, square / 2))]
    )


def _nothing_retained(rng: Rng, case: Any) -> Measurement:
    """n_r = 0: the least norm is 0."""
    model, data, theta = _instance(rng, (5, 0, 3))
    x = data.retain[0]
    certified = optimum(prove(xu.surrogate_problem(model, theta, x, xu.SquaredL2())), Fraction(0))
    return worst_of([certified, equal(0 * theta, closed_form.theorem_2_solution(model, theta, x))])


def _nothing_forgotten(rng: Rng, case: Any) -> Measurement:
    """n_f = 0: theta* is still projected, and becomes the min-norm interpolator."""
    model, data, theta = _instance(rng, (6, 3, 0))
    found = closed_form.theorem_2_solution(model, theta, data.x)
    moved = below(naive.square_norm(theta), naive.square_norm(found))
    return worst_of(
        [equal(naive.min_norm(data.x, data.y[:, 0], 6), found, shown=(moved.predicted, moved.measured)), moved]
    )


def _dependent(rng: Rng, case: Any) -> Measurement:
    """Retain rows repeated, added up and zero: the optimum of the surrogate stays."""
    model, data, theta = _instance(rng, (6, 3, 2))
    x, y = data.retain
    more = np.concatenate([x, x[:1], x[:1] + x[1:2], 0 * x[:1]])
    square = naive.square_norm(naive.min_norm(x, y[:, 0], 6))
    return optimum(prove(xu.surrogate_problem(model, theta, more, xu.SquaredL2())), square / 2)


def _no_freedom(rng: Rng, case: Any) -> Measurement:
    """rank X_r = m: theta* is the only feasible point."""
    model, data, theta = _instance(rng, (3, 5, 1))
    while naive.rank(data.retain[0]) < 3:
        model, data, theta = _instance(rng, (3, 5, 1))
    found = closed_form.theorem_2_solution(model, theta, data.retain[0])
    certified = optimum(
        prove(xu.surrogate_problem(model, theta, data.retain[0], xu.SquaredL2())), naive.square_norm(theta) / 2
    )
    return worst_of([certified, equal(theta, found)])


def _warns(rng: Rng, case: Any) -> Measurement:
    """theta* that does not interpolate: reported, and the surrogate is solved all the same, with the labels that
    theta* gives.
    """
    model, data, theta = _instance(rng, (6, 3, 2))
    x, y = data.retain
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        problem = xu.surrogate_problem(model, theta, x, xu.SquaredL2(), y_retain=y + 1)
    said = sum(1 for w in seen if issubclass(w.category, xu.InterpolationWarning))
    square = naive.square_norm(naive.min_norm(x, y[:, 0], 6))
    return worst_of([optimum(prove(problem), square / 2), equal(1, said)])


def _not_interpolating(rng: Rng, case: Any) -> Measurement:
    """theta* misses the first retain label by 1: the surrogate's solution misses it by exactly 1, so it solves
    another problem.
    """
    model, data, theta = _instance(rng, case)
    x = data.retain[0]
    while not x[0].any():
        model, data, theta = _instance(rng, case)
        x = data.retain[0]
    found = closed_form.theorem_2_solution(model, theta, x)
    wanted, gives = data.y[0, 0] + 1, naive.dot(x[0], found)
    return worst_of([differ(wanted, gives), equal(1, wanted - gives, shown=(wanted, gives))])


def _with_penalty(rng: Rng, case: Any) -> Measurement:
    """R^ = lam/2 |D|^2: the minimiser keeps lam/(1+lam) of what should go, so its norm is too large, by exactly
    that much.
    """
    model, data, theta = _instance(rng, case)
    x, y = data.retain
    lam = Fraction(int(rng.integers(1, 6)), 2)
    exact = naive.min_norm(x, y[:, 0], model.n_inputs)
    rest = theta - exact
    found = theta + closed_form.appendix_e_drift(model.jacobian(theta, x), theta, lam)
    excess = naive.square_norm(found) - naive.square_norm(exact)
    shown = naive.square_norm(exact), naive.square_norm(found)
    return worst_of([above(*shown), equal((lam / (1 + lam)) ** 2 * naive.square_norm(rest), excess, shown=shown)])


INTERPOLATES = (r"$\theta^*$ interpolates $\mathcal{D}$", r"$\hat R = 0$")

RESULT = Result(
    name="Theorem 2",
    title="Linear models: the surrogate is exact",
    statement=(
        r"For a linear model $f = \theta^\top x$ with $R = \|\theta\|_2$ and $\hat R = 0$, the surrogate problem "
        r"solves the exact unlearning problem from any interpolating $\theta^*$, not only the min-norm one: "
        r"$\tilde\theta = P_{\mathcal{S}_r}\theta^*$, the projection onto the span of the retain inputs."
    ),
    tried=(
        "Integer data with random interpolating parameters that are not the min-norm ones. The surrogate, which "
        r"sees $\theta^*$ and the retain inputs, is solved and certified; the exact problem, which sees retain "
        "inputs and labels, is solved by orthogonalising its equations. Other norms: see the last section."
    ),
    claims=(
        Claim(
            "projection",
            r"$P_{\mathcal{S}_r}\theta^*$ is the min-norm solution on the retain set.",
            _projection,
            r"$\|\theta\|_2^2$",
            cases=SHAPES,
            quick=16,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "surrogate",
            "The certified optimum of the surrogate is that of the exact problem.",
            _surrogate,
            "optimal value",
            cases=SHAPES,
            quick=1,
            full=30,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "minimiser",
            "The solver's minimiser is the exact solution, in floating point.",
            _minimiser,
            r"largest entry of $\theta$",
            cases=((20, 6, 4), (40, 12, 6)),
            quick=2,
            full=30,
            assumptions=INTERPOLATES,
        ),
        Claim(
            "floats",
            (
                r"$P_{\mathcal{S}_r}\theta^*$ in floating point, where the directions of the inputs differ in size by "
                r"factors up to $10^8$: none of them is lost."
            ),
            _floats,
            r"$\|\theta\|_2^2$",
            cases=(0, 3, 6, 8),
            quick=8,
            full=50,
        ),
        Claim(
            "several-outputs",
            "Several outputs: every row is projected.",
            _outputs,
            "optimal value",
            kind="ours",
            cases=SHAPES[:2],
            quick=2,
            full=30,
        ),
        Claim(
            "nothing-retained",
            r"$n_r = 0$: $\tilde\theta = 0$.",
            _nothing_retained,
            "optimal value",
            kind="degenerate",
            quick=2,
            full=20,
        ),
        Claim(
            "nothing-forgotten",
            r"$n_f = 0$: $\theta^*$ is still projected.",
            _nothing_forgotten,
            r"$\|\theta\|_2^2$ (before, after)",
            kind="degenerate",
            quick=24,
        ),
        Claim(
            "dependent-rows",
            "Repeated, dependent and zero retain rows change nothing.",
            _dependent,
            "optimal value",
            kind="degenerate",
            quick=3,
            full=30,
        ),
        Claim(
            "no-freedom",
            r"$\operatorname{rank} X_r = m$: $\theta^*$ is the only feasible point.",
            _no_freedom,
            "optimal value",
            kind="degenerate",
            quick=2,
            full=20,
        ),
        Claim(
            "warned",
            (
                r"A $\theta^*$ that does not interpolate is reported, and the surrogate is solved for the labels "
                "that it gives."
            ),
            _warns,
            "optimal value",
            kind="degenerate",
            quick=2,
            full=20,
        ),
        Claim(
            "not-interpolating",
            r"Where $\theta^*$ misses a retain label, so does $\tilde\theta$, by as much.",
            _not_interpolating,
            "retain output (wanted, found)",
            kind="assumption",
            cases=SHAPES[:3],
            quick=21,
            assumptions=(r"broken: $\theta^*$ interpolates $\mathcal{D}$",),
        ),
        Claim(
            "with-penalty",
            (
                r"With $\hat R = \frac{\lambda}{2}\|\Delta\|_2^2$ the part to be forgotten shrinks by "
                r"$\lambda/(1+\lambda)$ only."
            ),
            _with_penalty,
            r"$\|\theta\|_2^2$ (exact solution, surrogate)",
            kind="assumption",
            cases=SHAPES[:2],
            quick=24,
            assumptions=(r"broken: $\hat R = 0$",),
        ),
    ),
    figure="theorem_2",
    caption=(
        r"Three parameters, two retained samples: all $\theta$ that fit them form a line. Wherever $\theta^*$ lies "
        r"on it, its projection onto the plane $\mathcal{S}_r$ spanned by the retain inputs is the same point, the "
        "min-norm solution."
    ),
)
