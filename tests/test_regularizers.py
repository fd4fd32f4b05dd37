"""Values, dual norms and conjugates against CVXPY, rational arithmetic and the laws of convex analysis."""

from __future__ import annotations

import math
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact_unlearn.errors import ProblemError
from exact_unlearn.regularizers import (
    L0,
    L1,
    L2,
    ActiveNeurons,
    ElasticNet,
    GroupL2,
    LInf,
    Regularizer,
    SquaredL2,
    from_spec,
)
from tests.regularizer_cases import (
    ALL,
    CONVEX,
    COUNTS,
    EPS,
    HOLES,
    NORMS,
    WEIGHTS,
    D,
    cases,
    cvxpy_minimum,
    dual_vector,
    fractions,
    steps,
    vectors,
)


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
