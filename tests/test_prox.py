"""Proximal maps against CVXPY, bracketing, brute force, rational arithmetic and random perturbations."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from exact_unlearn.errors import ProblemError
from exact_unlearn.regularizers import (
    L0,
    L1,
    L2,
    GroupL2,
    LInf,
)
from tests.regularizer_cases import (
    CONVEX,
    EPS,
    GAP,
    WEIGHTS,
    D,
    cases,
    cvxpy_minimum,
    prox_objective,
    steps,
    vectors,
    wild,
)


@cases(CONVEX)
@pytest.mark.parametrize("step", [0.1, 1.0])
def test_prox_agrees_with_cvxpy(R, step, rng):
    v = 2 * rng.standard_normal(D)
    theta = cp.Variable(D)
    cvxpy_minimum(step * R.expression(theta) + 0.5 * cp.sum_squares(theta - v))
    p, x = R.prox(v, step), theta.value
    gap = prox_objective(R, x, v, step) - prox_objective(R, p, v, step)
    assert -1e-14 <= gap <= 10 * GAP
    assert 0.5 * np.sum((p - x) ** 2) <= gap + 1e-14  # the objective is strongly convex with modulus 1


@cases(CONVEX)
@given(v=vectors, step=steps, seed=st.integers(0, 2**32 - 1))
def test_no_perturbation_beats_the_prox(R, v, step, seed):
    p = R.prox(v, step)
    best = prox_objective(R, p, v, step)
    generator = np.random.default_rng(seed)
    for size in (1e-6, 1e-3, 1.0, 30.0):
        trial = p + size * generator.standard_normal(D) * (generator.random(D) < 0.5)
        assert prox_objective(R, trial, v, step) >= best - 1e-12 * (1 + best)
    for trial in (v, np.zeros(D), R.prox(v, 0.5 * step), np.where(np.abs(p) < 1e-3, 0, p)):
        assert prox_objective(R, trial, v, step) >= best - 1e-12 * (1 + best)


@cases(CONVEX | {"l0": L0(), "l0 groups": L0([0, 1, 0, 2, 2, 2])})
def test_prox_at_the_ends_of_the_step(R, rng):
    v = rng.standard_normal(D)
    np.testing.assert_array_equal(R.prox(v, 0.0), v)
    limit = R.prox(v, math.inf)
    assert R.value(limit) <= 1e-14
    np.testing.assert_allclose(limit, R.prox(v, 1e14), atol=1e-12)
    for step in (0.0, 0.5, math.inf):
        assert R.value(R.prox(np.zeros(D), step)) == 0
    with pytest.raises(ProblemError, match="step"):
        R.prox(v, -1.0)
    with pytest.raises(ProblemError, match="step"):
        R.prox(v, math.nan)


@cases(CONVEX | {"l0": L0(), "l0 groups": L0([0, 1, 0, 2, 2, 2])})
def test_prox_leaves_its_argument_alone(R, rng):
    v = rng.standard_normal(D)
    copy = v.copy()
    for step in (0.0, 0.7, math.inf):
        out = R.prox(v, step)
        out += 1
        np.testing.assert_array_equal(v, copy)


@pytest.mark.parametrize("R", [L0(), L0([0, 1, 0, 2, 2, 2])])
@given(v=vectors, step=steps)
def test_hard_threshold_against_all_supports(R, v, step):
    labels = np.arange(D) if R.labels is None else R.labels
    best = min(
        prox_objective(R, np.where(np.isin(labels, kept), v, 0.0), v, step)
        for size in range(D + 1)
        for kept in itertools.combinations(range(labels.max() + 1), size)
    )
    assert prox_objective(R, R.prox(v, step), v, step) == pytest.approx(best, rel=1e-12, abs=1e-12)


@given(v=wild, step=st.builds(lambda m, e: m * 10.0**e, st.floats(0.1, 1), st.integers(-150, 150)))
def test_projections_onto_wild_dual_balls(v, step):
    """Coordinates from 1e-150 to 1e150 side by side: the part that the prox removes lies in the dual ball."""
    for R in (L2(), L1(), LInf(), L2(WEIGHTS), L1(WEIGHTS), LInf(WEIGHTS), GroupL2([0, 1, 0, 2, 2, 2])):
        p = R.prox(v, step)
        assert np.isfinite(p).all()
        assert (np.abs(p) <= np.abs(v)).all()
        assert (p * np.sign(v) >= 0).all()
        rounding = 8 * EPS * float(np.abs(v).max()) * R.dual_norm(np.ones(D))
        assert R.dual_norm(v - p) <= step * (1 + 1e-12) + rounding


def test_secular_equation_against_bracketing(rng):
    for _ in range(200):
        w = 10.0 ** rng.uniform(-6, 6, 20)
        v = 10.0 ** rng.uniform(-4, 4, 20) * rng.choice([-1, 1], 20)
        step = L2(w).dual_norm(v) * 10.0 ** rng.uniform(-6, 0)
        p = L2(w).prox(v, step)
        rho = L2(w).value(p)

        def psi(log_rho, w=w, v=v, step=step):
            return float(np.sum(w * v**2 / (math.exp(log_rho) + step * w) ** 2)) - 1

        reference = math.exp(brentq(psi, math.log(rho) - 1, math.log(rho) + 1, xtol=1e-15, rtol=4 * EPS))
        assert rho == pytest.approx(reference, rel=1e-9)
        np.testing.assert_allclose(p, v * reference / (reference + step * w), rtol=1e-9)


@given(v=vectors, step=steps, weights=st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0]), min_size=D, max_size=D))
def test_linf_prox_against_a_scan_of_breakpoints(v, step, weights):
    """The level t solves sum (|v_i| - t/w_i)_+ / w_i = step: here every breakpoint is tried, in rationals."""
    w = [Fraction(a) for a in weights]
    size = [abs(Fraction(a)) for a in v]
    budget = Fraction(step)
    used = [i for i in range(D) if w[i] > 0]
    level = Fraction(0)
    if used and sum(size[i] / w[i] for i in used) > budget:
        for bound in sorted({w[i] * size[i] for i in used} | {Fraction(0)}):
            clipped = [i for i in used if w[i] * size[i] > bound]
            if not clipped:
                break
            t = (sum(size[i] / w[i] for i in clipped) - budget) / sum(1 / w[i] ** 2 for i in clipped)
            if t >= bound and all(w[i] * size[i] > t for i in clipped):
                level = t
                break
    expected = [float(min(size[i], level / w[i]) if w[i] > 0 else size[i]) for i in range(D)]
    scale = max(1.0, float(np.abs(v).max()))
    np.testing.assert_allclose(np.abs(LInf(weights).prox(v, step)), expected, rtol=0, atol=1e-13 * scale)
