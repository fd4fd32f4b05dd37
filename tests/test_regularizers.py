"""Every regularizer against routes of its own: CVXPY, brute force, rational arithmetic, laws of convex analysis."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from exact_unlearn.errors import ProblemError
from exact_unlearn.models import LinearModel, LinearNetwork, Perceptron
from exact_unlearn.regularizers import (
    L0,
    L1,
    L2,
    ActiveNeurons,
    ElasticNet,
    GroupL2,
    LInf,
    NuclearNorm,
    PredictorNorm,
    Regularizer,
    SquaredL2,
    from_spec,
)

D = 6
WEIGHTS = [0.5, 2.0, 1.0, 0.25, 3.0, 1.5]
HOLES = [0.5, 0.0, 1.0, 0.0, 3.0, 1.5]
V_TALL = [[1.0, 0.5], [-2.0, 1.0], [0.25, 3.0]]
"""h_1 = 3 neurons, l = 2 outputs; with m = 2 inputs A_1 has the 6 coordinates."""

NORMS = {
    "l2": L2(),
    "l2 weighted": L2(WEIGHTS),
    "l2 seminorm": L2(HOLES),
    "l1": L1(),
    "l1 weighted": L1(WEIGHTS),
    "l1 seminorm": L1(HOLES),
    "linf": LInf(),
    "linf weighted": LInf(WEIGHTS),
    "linf seminorm": LInf(HOLES),
    "group": GroupL2([0, 1, 0, 2, 2, 2]),
    "group weighted": GroupL2([[5, 0], [1, 2], [3, 4]], [0.5, 2.0, 1.5]),
    "group seminorm": GroupL2([[5, 0], [1, 2, 3], [4]], [0.0, 2.0, 1.5]),
    "predictor": PredictorNorm.from_product(V_TALL, slice(0, 6), (3, 2)),
    "predictor, one output": PredictorNorm.from_product([[1.0], [-2.0]], slice(1, 5), (2, 2)),
    "predictor, singular V": PredictorNorm.from_product([[1.0, 2.0], [2.0, 4.0]], slice(2, 6), (2, 2)),
    "nuclear": NuclearNorm(slice(0, 6), (2, 3)),
    "nuclear block": NuclearNorm([5, 0, 2, 3], (2, 2)),
}
SMOOTH = {
    "squared": SquaredL2(),
    "squared weighted": SquaredL2(WEIGHTS),
    "squared seminorm": SquaredL2(HOLES),
    "elastic": ElasticNet(0.7, 1.3),
    "elastic without l1": ElasticNet(0.0, 2.0),
    "elastic without l2": ElasticNet(0.4, 0.0),
}
COUNTS = {
    "l0": L0(),
    "l0 groups": L0([0, 1, 0, 2, 2, 2]),
    "neurons": ActiveNeurons.from_shape(1, 2, 2),
}
CONVEX = NORMS | SMOOTH
ALL = CONVEX | COUNTS
GAP = 1e-8
"""The default of Clarabel; asked for 1e-9 it calls some of these second-order cone programs inaccurate."""
EPS = float(np.finfo(float).eps)


def cases(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("R", [pytest.param(R, id=name) for name, R in table.items()])


def cvxpy_minimum(objective: cp.Expression, constraints: list[Any] | None = None) -> float:
    problem = cp.Problem(cp.Minimize(objective), constraints or [])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=GAP, tol_gap_rel=GAP, tol_feas=GAP)
    return float(problem.value)


def prox_objective(R: Any, x: np.ndarray, v: np.ndarray, step: float) -> float:
    return step * float(R.value(x)) + 0.5 * float(np.sum((x - v) ** 2))


def fractions(*values: Any) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = [Fraction(value) for value in values]
    return out


vectors = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
wild = st.lists(
    st.builds(lambda m, e: m * 10.0**e, st.floats(-1, 1, allow_subnormal=False), st.integers(-150, 150)),
    min_size=D,
    max_size=D,
).map(np.array)
steps = st.floats(1e-3, 1e3)


# ---------------------------------------------------------------- face


@cases(ALL)
def test_protocol_and_round_trip(R, rng):
    assert isinstance(R, Regularizer)
    R.validate(D)
    spec = R.to_spec()
    assert spec["name"] == R.name
    again = from_spec(spec)
    for _ in range(5):
        x = rng.integers(-1, 2, D) * rng.standard_normal(D)
        assert again.value(x) == R.value(x)
    assert again.movable == R.movable
    assert (again.is_norm, again.integer, again.unique_minimiser) == (R.is_norm, R.integer, R.unique_minimiser)


@cases(ALL)
def test_specs_survive_the_floats_of_rational_files(R, rng):
    """A .json file knows one kind of number, so integer arrays come back as whole floats."""
    spec = {key: value.astype(float) if isinstance(value, np.ndarray) else value for key, value in R.to_spec().items()}
    x = rng.standard_normal(D)
    assert from_spec(spec).value(x) == R.value(x)


@cases(CONVEX)
def test_expression_has_the_value_of_value(R, rng):
    theta = cp.Variable(D)
    expression = R.expression(theta)
    assert expression.is_convex()
    assert expression.shape == ()
    for x in (rng.standard_normal(D), np.zeros(D), rng.integers(-2, 3, D).astype(float)):
        theta.value = x
        assert float(expression.value) == pytest.approx(float(R.value(x)), rel=1e-14, abs=1e-15)


@cases(COUNTS)
def test_counts_have_no_expression(R):
    with pytest.raises(ProblemError, match="integer program"):
        R.expression(cp.Variable(D))


@cases(ALL)
def test_narrow_and_integer_input(R):
    x = np.array([1, 0, -2, 3, 0, 1])
    assert float(R.value(x)) == float(R.value(x.astype(np.float32))) == float(R.value(x.astype(float)))
    assert float(R.value(x.tolist())) == float(R.value(x.astype(float)))


# ---------------------------------------------------------------- norms


@cases(NORMS)
@given(x=vectors, s=st.floats(-1e3, 1e3), y=vectors)
def test_norm_axioms(R, x, s, y):
    size = R.value(x)
    assert size >= 0
    assert R.value(s * x) == pytest.approx(abs(s) * size, rel=1e-12, abs=1e-300)
    assert R.value(x + y) <= (R.value(x) + R.value(y)) * (1 + 1e-12) + 1e-12 * np.abs(x - y).max()


@cases(NORMS)
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_extreme_scales(R, scale, rng):
    """Squares of 1e150 overflow and those of 1e-150 underflow; values, dual norms and proxes must not notice."""
    x, g, v = rng.standard_normal(D), dual_vector(R, rng), rng.standard_normal(D)
    assert R.value(scale * x) == pytest.approx(scale * R.value(x), rel=1e-13)
    assert R.dual_norm(scale * g) == pytest.approx(scale * R.dual_norm(g), rel=1e-12)
    np.testing.assert_allclose(R.prox(scale * v, scale * 0.3), scale * R.prox(v, 0.3), rtol=1e-12, atol=1e-13 * scale)


def dual_vector(R: Any, rng: np.random.Generator) -> np.ndarray:
    """A random g with finite dual norm: a gradient of <g, .> that vanishes on the null directions of R."""
    v = rng.standard_normal(D)
    return v - R.prox(v, math.inf)  # prox at step inf projects onto the null directions


@cases(NORMS)
def test_dual_norm_is_the_largest_inner_product(R, rng):
    for _ in range(2):
        g = dual_vector(R, rng)
        theta = cp.Variable(D)
        best = -cvxpy_minimum(-(g @ theta), [R.expression(theta) <= 1])
        assert R.dual_norm(g) == pytest.approx(best, rel=1e-7)


@pytest.mark.parametrize(
    ("case", "null"),
    [
        ("l2 seminorm", 1),
        ("l1 seminorm", 3),
        ("linf seminorm", 1),
        ("group seminorm", 5),
        ("nuclear block", 4),
        ("predictor, one output", 0),
    ],
)
def test_seminorms_are_infinite_on_their_null_directions(case, null, rng):
    R = NORMS[case]
    g = dual_vector(R, rng)
    g /= 2 * R.dual_norm(g)
    g[null] = 0
    assert R.dual_norm(g) == pytest.approx(0.5)
    assert R.conjugate(g) == 0
    g[null] = 1e-300
    assert R.dual_norm(g) == math.inf
    assert R.conjugate(g) == math.inf
    g[null] = 1e-12
    assert R.conjugate(g, tol=1e-9) == 0
    assert R.conjugate(g, tol=1e-14) == math.inf
    assert R.dual_norm(np.eye(D)[null]) == math.inf
    assert R.conjugate(np.eye(D)[null], tol=0.1) == math.inf


@cases(NORMS)
def test_dual_ball_membership_has_the_stated_slack(R, rng):
    g = dual_vector(R, rng)
    g = g / R.dual_norm(g)
    assert R.conjugate(g * (1 - 1e-12)) == 0
    assert R.conjugate(g * (1 + 1e-9)) == math.inf
    assert R.conjugate(g * (1 + 1e-9), tol=1e-8) == 0
    assert R.conjugate(g * (1 + 1e-7), tol=1e-8) == math.inf


# ---------------------------------------------------------------- conjugates


@pytest.mark.parametrize("R", [SquaredL2(), SquaredL2(WEIGHTS), ElasticNet(0.7, 1.3), ElasticNet(0.0, 2.0)])
def test_smooth_conjugates_are_suprema(R, rng):
    for g in (rng.standard_normal(D), 3 * rng.standard_normal(D), np.zeros(D)):
        theta = cp.Variable(D)
        assert R.conjugate(g) == pytest.approx(-cvxpy_minimum(R.expression(theta) - g @ theta), rel=1e-8, abs=1e-9)


def test_conjugates_are_infinite_outside_their_domain():
    assert SquaredL2(HOLES).conjugate(np.eye(D)[1]) == math.inf
    assert SquaredL2(HOLES).conjugate([1, 1e-12, 0, 0, 0, 0], tol=1e-9) == pytest.approx(1.0)
    assert ElasticNet(0.4, 0).conjugate(np.full(D, 0.4)) == 0
    assert ElasticNet(0.4, 0).conjugate(np.full(D, 0.41)) == math.inf
    assert ElasticNet(0.4, 0).conjugate(np.full(D, 0.41), tol=0.1) == 0
    for R in COUNTS.values():
        assert R.conjugate(np.zeros(D)) == 0
        assert R.conjugate(np.eye(D)[0] * 1e-200) == math.inf


@cases(CONVEX)
def test_null_directions_are_what_the_endless_prox_keeps(R, rng):
    """g - prox(g, inf) lies in the domain of R* (up to scale), and is g itself when R has no null directions."""
    g = rng.standard_normal(D)
    cleaned = g - R.prox(g, math.inf)
    assert R.conjugate(1e-3 * cleaned) < math.inf
    if math.isfinite(R.conjugate(1e-3 * g)):
        np.testing.assert_allclose(cleaned, g, rtol=0, atol=1e-15)


@cases(CONVEX)
@given(x=vectors, v=vectors, step=steps)
def test_fenchel_young(R, x, v, step):
    """R(x) + R*(g) >= <g, x>, with equality at p = prox(v, step), whose subgradient is g = (v - p) / step.

    The equality is Moreau's identity in disguise: v - p = step g lies in the scaled dual ball and is aligned with p.
    """
    p = R.prox(v, step)
    g = (v - p) / step
    g = g * (1 - 1e-13)  # rounding in the subtraction may leave the dual ball
    size = float(np.abs(v).max()) / step
    g[np.abs(g) <= 8 * EPS * size] = 0.0
    conjugate = float(R.conjugate(g, tol=1e-9 + 1e-14 * float(np.abs(v).max())))
    assert conjugate < math.inf
    slack = 1e-10 * (1 + abs(float(R.value(x))) + abs(float(g @ x)) + size**2 + conjugate)
    assert float(R.value(x)) + conjugate >= float(g @ x) - slack
    both = float(R.value(p)) + conjugate
    assert both == pytest.approx(float(g @ p), rel=1e-9, abs=1e-10 * (1 + size * float(np.abs(v).max())))


# ---------------------------------------------------------------- proximal maps


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


# ---------------------------------------------------------------- exact arithmetic


def test_fractions_give_exact_values():
    x = fractions("1/3", -2, "5/7", 0, "1/10", -3)
    w = fractions(*WEIGHTS)
    assert SquaredL2().value(x) == sum(a * a for a in x) / 2
    assert SquaredL2(WEIGHTS).value(x) == sum(b * a * a for a, b in zip(x, w, strict=True)) / 2
    assert L1(WEIGHTS).value(x) == sum(b * abs(a) for a, b in zip(x, w, strict=True))
    assert LInf(WEIGHTS).value(x) == max(b * abs(a) for a, b in zip(x, w, strict=True))
    assert ElasticNet(0.5, Fraction(1, 3)).value(x) == sum(abs(a) for a in x) / 2 + sum(a * a for a in x) / 6
    assert L0().value(x) == 5
    assert L0([0, 1, 0, 2, 2, 2]).value(fractions(0, 0, "1/9", 0, 0, 0)) == 1
    assert ActiveNeurons.from_shape(1, 2, 2).value(x) == 2
    for R in (SquaredL2(WEIGHTS), L1(), LInf(), ElasticNet(1, 1), L0(), ActiveNeurons.from_shape(1, 2, 2)):
        assert isinstance(R.value(x), Fraction)


@cases(ALL)
def test_fractions_agree_with_floats(R, rng):
    x = rng.standard_normal(D)
    assert float(R.value(fractions(*x))) == pytest.approx(float(R.value(x)), rel=1e-14)
    g = rng.standard_normal(D)
    if R.is_norm:
        assert float(R.dual_norm(fractions(*g))) == pytest.approx(float(R.dual_norm(g)), rel=1e-14)
    assert float(R.conjugate(fractions(*g))) == pytest.approx(float(R.conjugate(g)), rel=1e-13)


def test_elastic_net_without_its_square_is_a_norm():
    R = ElasticNet(0.4, 0)
    assert R.is_norm
    assert not ElasticNet(0.4, 1).is_norm
    assert R.dual_norm([0.2, -0.8]) == 2
    assert R.dual_norm(fractions("1/5", 0)) == Fraction(1, 5) / Fraction(0.4)
    assert ElasticNet(0, 0).dual_norm([1e-300]) == math.inf
    assert ElasticNet(0, 0).dual_norm([0.0]) == 0
    with pytest.raises(ProblemError, match="beta = 0"):
        ElasticNet(0.4, 1).dual_norm([0.2])


def test_fraction_weights_are_not_rounded():
    third = fractions("1/3", "1/3", 1)
    assert L1(third).value(fractions(1, 1, 0)) == Fraction(2, 3)
    assert L1(third).dual_norm(fractions("1/3", "-1/3", "1/2")) == 1
    assert L1(third).conjugate(fractions("1/3", "-1/3", 1)) == 0
    assert L1(third).value(np.ones(3)) == pytest.approx(5 / 3)
    assert from_spec(L1(third).to_spec()).value(fractions(1, 1, 0)) == Fraction(2, 3)


@pytest.mark.parametrize(
    ("R", "boundary"),
    [
        (L2(), ("3/5", "4/5", 0)),
        (L2([4, 1, 1]), ("6/5", "4/5", 0)),
        (L1(), (1, -1, "1/2")),
        (LInf(), ("1/3", "-1/3", "1/3")),
        (GroupL2([0, 0, 1], [1, 2]), ("3/5", "-4/5", 2)),
        (ElasticNet(1, 0), (1, -1, 1)),
    ],
)
def test_dual_balls_are_decided_exactly(R, boundary):
    g = fractions(*boundary)
    assert R.conjugate(g) == 0
    assert R.conjugate(g * (1 + Fraction(1, 10**40))) == math.inf
    assert R.conjugate(g * (1 + Fraction(1, 10**40)), tol=1e-30) == 0
    assert R.conjugate(g * (1 + Fraction(9, 100)), tol=0.1) == 0
    assert R.conjugate(g * (1 + Fraction(11, 100)), tol=0.1) == math.inf


def test_roots_of_fractions_beyond_the_range_of_floats():
    huge = Fraction(10) ** 200
    assert L2().value(fractions(3, 4) * huge) == pytest.approx(5e200, rel=1e-15)
    assert L2().value(fractions(3, 4) / huge**1) == pytest.approx(5e-200, rel=1e-15)
    assert GroupL2([0, 0]).value(fractions(3, 4) * huge) == pytest.approx(5e200, rel=1e-15)
    assert L2().value(fractions(3, 4) * huge**2) == math.inf


# ---------------------------------------------------------------- extreme floats


def test_squares_overflow_only_when_the_result_does():
    assert SquaredL2().value([1e160, 0]) == math.inf
    assert SquaredL2([1e-100, 1]).value([1e160, 0]) == pytest.approx(5e219, rel=1e-14)
    assert SquaredL2().value([1e-160, 0]) == 5e-321
    assert SquaredL2([1e100, 1]).conjugate([1e200, 0]) == pytest.approx(5e299, rel=1e-14)
    assert ElasticNet(0, 1e-100).value([1e160]) == pytest.approx(5e219, rel=1e-14)
    assert ElasticNet(0, 1e100).conjugate([1e200]) == pytest.approx(5e299, rel=1e-14)


def test_groups_are_scaled_one_by_one():
    x = np.array([3e150, 3e-150, 4e150, 4e-150])
    norms = GroupL2([0, 1, 0, 1]).partition.norms(x)
    np.testing.assert_allclose(norms, [5e150, 5e-150], rtol=1e-15)


@pytest.mark.parametrize("R", [L2([1e-300, 1e300, 1]), L1([1e-300, 1e300, 1]), LInf([1e-150, 1e150, 1])])
def test_extreme_weights(R):
    v = np.array([1.0, -1.0, 0.5])
    p = R.prox(v, 1.0)
    assert np.isfinite(p).all()
    assert R.dual_norm(v - p) <= 1 + 1e-12


# ---------------------------------------------------------------- structure


@pytest.mark.parametrize("widths", [(4, 3), (4, 5, 1), (4, 3, 2), (3, 4, 2, 1), (3, 4, 5, 2), (2, 3, 2, 3, 2)])
def test_predictor_norm_of_a_network(widths, rng):
    network = LinearNetwork(widths)
    theta = rng.standard_normal(network.n_parameters)
    R = PredictorNorm(network, theta)
    W = network.predict(theta, np.eye(widths[0]))  # (m, l): the predictor, read off the unit inputs
    assert R.value(theta) == pytest.approx(np.linalg.norm(W), rel=1e-13)
    np.testing.assert_allclose(R.predictor(theta), W, atol=1e-13)
    assert R.movable == network.blocks["A1" if len(widths) > 2 else "c"]
    exact = PredictorNorm(network, fractions(*theta))
    assert exact.value(fractions(*theta)) == pytest.approx(R.value(theta), rel=1e-14)
    again = from_spec(R.to_spec())
    assert again.value(theta) == R.value(theta)


def test_predictor_norm_does_not_see_the_complement_of_v(rng):
    network = LinearNetwork((3, 4, 2, 1))
    theta = rng.standard_normal(network.n_parameters)
    R = PredictorNorm(network, theta)
    u = np.linalg.svd(R.V.T)[2][-1]
    moved = theta.copy()
    moved[R.block] += np.outer(u, rng.standard_normal(3)).reshape(-1)
    assert R.value(moved) == pytest.approx(R.value(theta), rel=1e-13)


@pytest.mark.parametrize("widths", [(4, 6, 1), (4, 6, 2), (4, 2, 3), (3, 8, 5, 2)])
def test_gradients_from_the_product_jacobian_lie_in_the_range(widths, rng):
    """J^T nu = V B^T has dual norm |B|_F when V has full column rank, though rounding moves it off range(V)."""
    network = LinearNetwork(widths)
    theta = rng.standard_normal(network.n_parameters)
    x = rng.standard_normal((7, widths[0]))
    R = PredictorNorm(network, theta)
    nu = rng.standard_normal(7 * widths[-1])
    dual = R.dual_norm(network.product_jacobian(theta, x).rmatvec(nu))
    B = nu.reshape(7, -1).T @ x  # (l, m)
    if R.V.shape[0] >= R.V.shape[1]:
        assert dual == pytest.approx(np.linalg.norm(B), rel=1e-11)
    assert dual <= np.linalg.norm(B) * (1 + 1e-11)


def test_predictor_norm_zero_v():
    R = PredictorNorm.from_product(np.zeros((3, 2)), slice(0, 6), (3, 2))
    assert R.value(np.ones(D)) == 0
    assert R.dual_norm(np.zeros(D)) == 0
    assert R.dual_norm(np.ones(D)) == math.inf
    np.testing.assert_array_equal(R.prox(np.arange(6.0), 2.0), np.arange(6.0))


@pytest.mark.parametrize("scale", [1e-200, 1e-150, 1e150, 1e200])
def test_predictor_norm_with_extreme_factors(scale, rng):
    """R scales with V, so scale * R at 1/scale of the step is the same prox."""
    V, A = rng.standard_normal((3, 2)), rng.standard_normal(D)
    plain = PredictorNorm.from_product(V, slice(0, 6), (3, 2))
    scaled = PredictorNorm.from_product(V * scale, slice(0, 6), (3, 2))
    assert scaled.value(A / scale) == pytest.approx(plain.value(A), rel=1e-13)
    np.testing.assert_allclose(scaled.prox(A, 0.4 / scale), plain.prox(A, 0.4), atol=1e-13)
    g = plain.V @ rng.standard_normal((2, 2))
    assert scaled.dual_norm(g.reshape(-1)) == pytest.approx(plain.dual_norm(g.reshape(-1)) / scale, rel=1e-12)


def test_nuclear_norm_of_a_named_block(rng):
    network = LinearNetwork((3, 2, 1))
    theta = rng.standard_normal(network.n_parameters)
    named = NuclearNorm("A1", (2, 3))
    with pytest.raises(ProblemError, match="names a block"):
        named.validate(network.n_parameters)
    R = named.resolve(network.blocks)
    A = theta[network.blocks["A1"]].reshape(2, 3)
    assert R.value(theta) == pytest.approx(np.linalg.norm(A, "nuc"), rel=1e-14)
    assert R.resolve(network.blocks) is R
    with pytest.raises(ProblemError, match="'A7'"):
        NuclearNorm("A7", (2, 3)).resolve(network.blocks)


def test_active_neurons_count_both_sides():
    perceptron = Perceptron(2, 3, activation="relu", n_outputs=2)
    R = ActiveNeurons(perceptron)
    C = [[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]
    A = [[0.0, 1.0], [5.0, 0.0], [0.0, 0.0]]  # neuron 1 has no outgoing, neuron 2 no incoming weight
    theta = np.concatenate([np.ravel(C), np.ravel(A)])
    np.testing.assert_array_equal(R.active(theta), [True, False, False])
    assert R.value(theta) == 1
    assert R.movable == perceptron.blocks["c"]


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_labels_and_index_sets_are_the_same_groups(labels):
    labels = np.unique(labels, return_inverse=True)[1]
    sets = [np.flatnonzero(labels == g).tolist() for g in range(labels.max() + 1)]
    x = np.arange(1.0, labels.size + 1)
    expected = sum(math.sqrt(sum(x[i] ** 2 for i in group)) for group in sets)
    for groups in (labels, labels.tolist(), sets, [np.array(group) for group in sets], tuple(map(tuple, sets))):
        assert GroupL2(groups).value(x) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_array_equal(GroupL2(groups).labels, labels)


def test_equal_index_sets_given_as_a_matrix():
    assert GroupL2(np.array([[0, 1], [2, 3]])).labels.tolist() == [0, 0, 1, 1]


def test_uniqueness_flags():
    for R in (SquaredL2(), SquaredL2(WEIGHTS), ElasticNet(1, 1)):
        assert R.strictly_convex
        assert R.unique_minimiser
    assert L2(WEIGHTS).unique_minimiser
    assert not L2().strictly_convex
    for R in (L2(HOLES), SquaredL2(HOLES), ElasticNet(1, 0), L1(), LInf(), NORMS["group"], NORMS["nuclear"], L0()):
        assert not R.unique_minimiser
        assert not R.strictly_convex


def test_weights_are_copied_and_frozen():
    weights = np.array(WEIGHTS)
    R = L1(weights)
    weights[0] = 100
    assert R.value(np.eye(D)[0]) == 0.5
    with pytest.raises(ValueError, match="read-only"):
        R.weights[0] = 1


# ---------------------------------------------------------------- bad input

WEIGHT_TAKERS = [SquaredL2, L2, L1, LInf, lambda w: GroupL2([0, 1, 2], w)]


@pytest.mark.parametrize("make", WEIGHT_TAKERS)
@pytest.mark.parametrize(
    "weights",
    [
        [1, math.nan, 1],
        [1, math.inf, 1],
        [1, -1, 1],
        [1j, 1, 1],
        [[1, 1, 1]],
        1.0,
        "abc",
        ["a", "b", "c"],
        [[1], [1, 2], []],
    ],
)
def test_bad_weights(make, weights):
    with pytest.raises(ProblemError, match="weights") as caught:
        make(weights)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 1], [1, 2]], "overlap"),
        ([[0, 1], []], "empty"),
        ([[0, 1], [3]], "no group"),
        ([[0, -1], [1]], ">= 0"),
        ([0, 2, 2], "empty"),
        ([0, -1, 1], ">= 0"),
        ([0, 1, 17], "17"),
        ([0.0, 1.0], "integers"),
        ([True, False], "integers"),
        ([[0.5], [1]], "integers"),
        ([[[0, 1]], [[2, 3]]], "integers"),
        ([[0, 1], 2], "integers"),
        (["ab", "cd"], "integers"),
        ("0,1", "groups"),
        ([], "groups"),
        (3, "groups"),
    ],
)
@pytest.mark.parametrize("make", [GroupL2, L0])
def test_bad_groups(make, groups, message):
    with pytest.raises(ProblemError, match=message) as caught:
        make(groups)
    assert "groups" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(-1, 0), (1, -1), (math.nan, 1), (1, math.inf), ("1", 1), (1j, 1), ([1], 1), (None, 1)]
)
def test_bad_elastic_net(alpha, beta):
    with pytest.raises(ProblemError, match=r"alpha|beta"):
        ElasticNet(alpha, beta)


@pytest.mark.parametrize(
    "R",
    [
        SquaredL2([1, 1]),
        L2([1, 1]),
        L1([1, 1]),
        LInf([1, 1]),
        GroupL2([0, 1]),
        L0([0, 1]),
        ActiveNeurons.from_shape(2, 2, 2),
    ],
)
def test_wrong_length(R):
    with pytest.raises(ProblemError, match=r"expected (5|8)"):
        R.validate(5)
    with pytest.raises(ProblemError):
        R.value(np.ones(5))


@pytest.mark.parametrize(
    "R", [NuclearNorm(slice(2, 6), (2, 2)), PredictorNorm.from_product([[1.0]], slice(2, 6), (1, 4))]
)
def test_block_beyond_the_parameters(R):
    with pytest.raises(ProblemError, match="5 parameters"):
        R.validate(5)
    with pytest.raises(ProblemError, match="5 parameters"):
        R.value(np.ones(5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: NuclearNorm(slice(0, 5), (2, 3)),
        lambda: NuclearNorm(slice(None, None), (2, 3)),
        lambda: NuclearNorm([0, 0, 1, 2], (2, 2)),
        lambda: NuclearNorm([0.0, 1.0], (1, 2)),
        lambda: NuclearNorm([-1, 0], (1, 2)),
        lambda: NuclearNorm(slice(0, 4), (2, 0)),
        lambda: NuclearNorm(slice(0, 4), 4),
        lambda: NuclearNorm(slice(0, 4), "ab"),
        lambda: PredictorNorm(LinearModel(3), np.zeros(3)),
        lambda: PredictorNorm(LinearNetwork((3, 2, 1)), np.zeros(3)),
        lambda: PredictorNorm(LinearNetwork((3, 2, 1)), np.full(8, math.nan)),
        lambda: PredictorNorm.from_product([[1.0], [2.0]], slice(0, 6), (3, 2)),
        lambda: PredictorNorm.from_product([[1.0]], slice(0, 6), (1, 2)),
        lambda: PredictorNorm.from_product([[math.inf]], slice(0, 2), (1, 2)),
        lambda: PredictorNorm.from_product([[1.0]], "A1", (1, 2)),
        lambda: ActiveNeurons(LinearModel(3)),
        lambda: ActiveNeurons.from_shape(0, 1, 1),
        lambda: ActiveNeurons.from_shape(1.5, 1, 1),
    ],
)
def test_bad_structure(make):
    with pytest.raises(ProblemError) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"name": "l3"},
        {"name": 1},
        {"name": ["l1"]},
        {"name": "l1", "weight": None},
        {"name": "elastic_net", "alpha": 1},
        {"name": "predictor_norm", "V": [[1.0]], "block": 3, "shape": [1, 2]},
        {"name": "group_l2", "labels": np.array([0.5, 1.0])},
    ],
)
def test_bad_spec(spec):
    with pytest.raises(ProblemError) as caught:
        from_spec(spec)
    assert "\n" not in str(caught.value)


@cases(ALL)
def test_complex_and_text_vectors_are_refused(R):
    for bad in (np.ones(D) * 1j, ["a"] * D):
        with pytest.raises(ProblemError, match="real"):
            R.value(bad)
