"""Drift penalties against CVXPY, bracketing, rational arithmetic, and the laws of convex analysis."""

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

from exact_unlearn.drift import DriftPenalty, DriftSum, L1Drift, SquaredDrift, TrustRegion, drift_terms, from_spec
from exact_unlearn.errors import ProblemError

D = 5
GAP = 1e-8
"""The default of Clarabel."""

SINGLE = {
    "squared": SquaredDrift(0.7),
    "squared 0": SquaredDrift(0),
    "l1": L1Drift(0.4),
    "l1 0": L1Drift(0),
    "ball": TrustRegion(1.5),
    "box": TrustRegion(0.8, norm=math.inf),
    "point": TrustRegion(0.0),
    "point box": TrustRegion(0.0, "inf"),
}
SUMS = {
    "squared + l1": SquaredDrift(0.7) + L1Drift(0.4),
    "squared + ball": SquaredDrift(0.7) + TrustRegion(1.0),
    "l1 + ball": L1Drift(0.3) + TrustRegion(1.0),
    "l1 + box": L1Drift(0.3) + TrustRegion(0.5, "inf"),
    "ball + box": TrustRegion(1.0) + TrustRegion(0.6, "inf"),
    "two balls": TrustRegion(1.0) + TrustRegion(0.3),
    "two squares": SquaredDrift(0.2) + SquaredDrift(0.3),
    "everything": SquaredDrift(0.5) + L1Drift(0.2) + TrustRegion(1.0) + TrustRegion(0.55, "inf"),
    "inactive regions": SquaredDrift(0.5) + TrustRegion(1e6) + TrustRegion(1e7, "inf"),
    "nothing": SquaredDrift(0) + L1Drift(0),
    "point in a box": TrustRegion(0.0) + TrustRegion(1.0, "inf") + SquaredDrift(1),
}
ALL = SINGLE | SUMS


def cases(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("P", [pytest.param(P, id=name) for name, P in table.items()])


def fractions(*values: Any) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = [Fraction(value) for value in values]
    return out


vectors = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
steps = st.floats(1e-3, 1e3)


@cases(ALL)
def test_face_and_round_trip(P, rng):
    assert isinstance(P, DriftPenalty)
    assert from_spec(P.to_spec()) == P
    assert P.value(np.zeros(D)) == 0
    for term in drift_terms(P):
        assert term.to_spec()["name"] in {"squared_drift", "l1_drift", "trust_region"}
        assert from_spec(term.to_spec()) == term


@cases(ALL)
def test_expression_has_the_value_of_value(P, rng):
    drift = cp.Variable(D)
    expression = P.expression(drift)
    assert expression.is_convex()
    for x in (0.1 * rng.standard_normal(D), 10 * rng.standard_normal(D), np.zeros(D)):
        drift.value = x
        assert float(expression.value) == pytest.approx(float(P.value(x)), rel=1e-14)


@pytest.mark.parametrize("P", [TrustRegion(0.9), TrustRegion(0.3, "inf")])
def test_the_constraint_is_the_region(P, rng):
    drift = cp.Variable(D)
    v = rng.standard_normal(D)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(drift - v)), [P.constraint(drift)])
    problem.solve(solver=cp.CLARABEL)
    np.testing.assert_allclose(P.prox(v, 1.0), drift.value, atol=1e-5)


@cases({name: P for name, P in ALL.items() if name not in {"squared 0", "l1 0", "l1", "nothing"}})
def test_conjugates_are_suprema(P, rng):
    for h in (rng.standard_normal(D), 0.2 * rng.standard_normal(D), np.zeros(D)):
        drift = cp.Variable(D)
        terms = drift_terms(P)
        cost = sum(term.expression(drift) for term in terms if not isinstance(term, TrustRegion))
        regions = [term.constraint(drift) for term in terms if isinstance(term, TrustRegion)]
        problem = cp.Problem(cp.Maximize(h @ drift - cost), regions)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=GAP, tol_gap_rel=GAP)
        assert P.conjugate(h) == pytest.approx(problem.value, rel=10 * GAP, abs=10 * GAP)


def test_conjugates_that_are_indicators():
    h = np.array([0.5, -0.2, 0.0])
    assert SquaredDrift(0).conjugate(np.zeros(3)) == 0
    assert SquaredDrift(0).conjugate(h) == math.inf
    for P in (L1Drift(0.5), L1Drift(0.25) + L1Drift(0.25), L1Drift(0.5) + SquaredDrift(0)):
        assert P.conjugate(h) == 0
        assert P.conjugate(h * (1 + 1e-9)) == math.inf
        assert P.conjugate(h * (1 + 1e-9), tol=1e-8) == 0
    assert L1Drift(0).conjugate(np.zeros(3)) == 0
    assert L1Drift(0).conjugate(h, tol=0.5) == math.inf
    assert L1Drift(0.5).dual_norm(h) == 1
    assert L1Drift(0).dual_norm(h) == math.inf
    assert L1Drift(0).dual_norm(0 * h) == 0


@cases(ALL)
@given(x=vectors, v=vectors, step=steps)
def test_fenchel_young_and_moreau(P, x, v, step):
    """P(x) + P*(h) >= <h, x>, with equality at p = prox(v, step) and h = (v - p) / step."""
    p = P.prox(v, step)
    h = (v - p) / step
    size = float(np.abs(v).max()) / step
    conjugate = float(P.conjugate(h, tol=1e-9 + 1e-12 * size))
    if any(isinstance(term, SquaredDrift) and term.lam == 0 for term in drift_terms(P)):
        np.testing.assert_array_equal(h if len(drift_terms(P)) == 1 else 0, 0)
    assert conjugate < math.inf
    assert float(P.value(p)) < math.inf
    assert float(P.value(x)) + conjugate >= float(h @ x) * (1 - 1e-12) - 1e-9 * (1 + size) ** 2
    both = float(P.value(p)) + conjugate
    assert both == pytest.approx(float(h @ p), rel=1e-9, abs=1e-11 * (1 + size * float(np.abs(v).max())))


@cases(ALL)
@given(v=vectors, step=steps, seed=st.integers(0, 2**32 - 1))
def test_no_perturbation_beats_the_prox(P, v, step, seed):
    def objective(x: np.ndarray) -> float:
        return step * float(P.value(x)) + 0.5 * float(np.sum((x - v) ** 2))

    p = P.prox(v, step)
    best = objective(p)
    assert best < math.inf
    generator = np.random.default_rng(seed)
    for size in (1e-6, 1e-3, 1.0, 30.0):
        trial = p + size * generator.standard_normal(D) * (generator.random(D) < 0.5)
        assert objective(trial) >= best - 1e-12 * (1 + best)
        pulled = trial * min(1.0, float(np.linalg.norm(p)) / float(np.linalg.norm(trial) + 1e-300))
        assert objective(pulled) >= best - 1e-12 * (1 + best)


@cases(SUMS)
@pytest.mark.parametrize("step", [0.2, 1.5])
def test_prox_of_sums_agrees_with_cvxpy(P, step, rng):
    v = 2 * rng.standard_normal(D)
    drift = cp.Variable(D)
    terms = drift_terms(P)
    cost = sum(term.expression(drift) for term in terms if not isinstance(term, TrustRegion))
    regions = [term.constraint(drift) for term in terms if isinstance(term, TrustRegion)]
    problem = cp.Problem(cp.Minimize(step * cost + 0.5 * cp.sum_squares(drift - v)), regions)
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=GAP, tol_gap_rel=GAP)
    p = P.prox(v, step)
    smooth = sum(float(term.value(p)) for term in terms if not isinstance(term, TrustRegion))
    assert step * smooth + 0.5 * np.sum((p - v) ** 2) == pytest.approx(problem.value, abs=20 * GAP)
    np.testing.assert_allclose(p, drift.value, atol=3 * math.sqrt(20 * GAP))  # strong convexity with modulus 1


@pytest.mark.parametrize(("ball", "box"), list(itertools.product([1e-150, 1.0, 1e150], [1e-150, 0.5, 1e150])))
def test_ball_and_box_at_extreme_scales(ball, box):
    v = np.array([3e150, -1.0, 2e-150, 0.0, -4e150])
    P = TrustRegion(ball) + TrustRegion(box, "inf")
    p = P.prox(v, 1.0)
    assert P.value(p) == 0
    assert (p * v >= 0).all()
    assert np.isfinite(P.conjugate(v / 1e150))
    assert np.abs(p).max() >= 0.7 * min(box, ball / math.sqrt(2)) or np.abs(p).max() >= 0.6 * ball


@given(z=vectors, ball=st.floats(0.01, 100), box=st.floats(0.01, 100))
def test_projection_onto_ball_and_box_by_bisection(z, ball, box):
    """The projection is clip(z / (1 + mu)) for the least mu >= 0 that lies in the ball; mu found by bisection."""
    lower, upper = 0.0, 1e8
    for _ in range(200):
        mu = (lower + upper) / 2
        outside = np.linalg.norm(np.clip(z / (1 + mu), -box, box)) > ball
        lower, upper = (mu, upper) if outside else (lower, mu)
    clipped = np.clip(z, -box, box)
    expected = clipped if np.linalg.norm(clipped) <= ball else np.clip(z / (1 + upper), -box, box)
    np.testing.assert_allclose((TrustRegion(ball) + TrustRegion(box, "inf")).prox(z, 1.0), expected, atol=2e-7)


@given(v=vectors, radius=st.floats(1e-6, 50), scale=st.sampled_from([1e-150, 1.0, 1e150]))
def test_projections_satisfy_the_literal_constraint(v, radius, scale):
    """Not up to rounding: value(prox(v)) is 0, so a projected drift is never called infeasible."""
    for norm in (2, "inf"):
        P = TrustRegion(radius * scale, norm)
        p = P.prox(v * scale, 1.0)
        assert P.value(p) == 0
        if P.value(v * scale) == 0:
            np.testing.assert_array_equal(p, v * scale)
        else:
            size = np.linalg.norm(p / scale, 2 if norm == 2 else np.inf)
            assert size == pytest.approx(radius, rel=1e-14)


@pytest.mark.parametrize("norm", [2, "inf"])
def test_a_rational_radius_is_rounded_towards_the_region(norm):
    """1/10 is less than the float 0.1, so projecting onto 0.1 would leave the region."""
    tenth = TrustRegion(Fraction(1, 10), norm)
    assert tenth.value(fractions(0.1)) == math.inf
    assert tenth.value(fractions(*tenth.prox([5.0], 1.0))) == 0
    assert (tenth + TrustRegion(1)).prox([5.0], 1.0)[0] < 0.1


@cases(ALL)
def test_ends_of_the_step(P, rng):
    v = rng.standard_normal(D)
    copy = v.copy()
    regions = [term for term in drift_terms(P) if isinstance(term, TrustRegion)]
    if not regions:
        np.testing.assert_array_equal(P.prox(v, 0.0), v)
    at_zero, limit = P.prox(v, 0.0), P.prox(v, math.inf)
    assert P.value(at_zero) < math.inf
    assert P.value(limit) == 0
    np.testing.assert_allclose(limit, P.prox(v, 1e15), atol=1e-13)
    at_zero += 1
    limit += 1
    np.testing.assert_array_equal(v, copy)
    for bad in (-1.0, math.nan, "a", None):
        with pytest.raises(ProblemError, match="step"):
            P.prox(v, bad)


def test_fractions_are_exact():
    x = fractions("1/3", -2, "5/7", 0, "1/10")
    assert SquaredDrift(Fraction(1, 3)).value(x) == sum(a * a for a in x) / 6
    assert SquaredDrift(0.5).conjugate(x) == sum(a * a for a in x)
    assert L1Drift(0.5).value(x) == sum(abs(a) for a in x) / 2
    assert TrustRegion(0.5, "inf").conjugate(x) == sum(abs(a) for a in x) / 2
    ball = TrustRegion(Fraction(5, 7))
    assert ball.value(fractions("3/7", "4/7")) == 0
    assert ball.value(fractions("3/7", Fraction(4, 7) + Fraction(1, 10**40))) == math.inf
    assert ball.value(fractions("3/7", Fraction(4, 7) + Fraction(1, 10**40)), tol=1e-30) == 0
    assert L1Drift(1).conjugate(fractions(1, -1)) == 0
    assert L1Drift(1).conjugate(fractions(1, -1 - Fraction(1, 10**40))) == math.inf
    total = SquaredDrift(Fraction(1, 3)) + L1Drift(1)
    assert total.value(x) == SquaredDrift(Fraction(1, 3)).value(x) + L1Drift(1).value(x)
    for P in (SquaredDrift(0.3), L1Drift(0.3), total, TrustRegion(3)):
        assert isinstance(P.value(x), Fraction)


@cases(ALL)
def test_fractions_agree_with_floats(P, rng):
    x, h = 0.1 * rng.standard_normal(D), 0.1 * rng.standard_normal(D)
    assert float(P.value(fractions(*x))) == pytest.approx(float(P.value(x)), rel=1e-14)
    assert float(P.conjugate(fractions(*h))) == pytest.approx(float(P.conjugate(h)), rel=1e-13)


def test_squares_overflow_only_when_the_result_does():
    assert SquaredDrift(1e-100).value([1e200]) == pytest.approx(5e299, rel=1e-14)
    assert SquaredDrift(1e100).conjugate([1e200]) == pytest.approx(5e299, rel=1e-14)
    assert SquaredDrift(1).value([1e200]) == math.inf
    assert TrustRegion(2.0).conjugate([3e150, 4e150]) == pytest.approx(1e151, rel=1e-14)
    assert TrustRegion(5e-150).value([3e-150, 4e-150], tol=1e-15) == 0
    assert TrustRegion(4.9e-150).value([3e-150, 4e-150]) == math.inf


def test_sums_are_flat():
    a, b, c = SquaredDrift(1), L1Drift(2), TrustRegion(3)
    assert (a + b + c).terms == (a + (b + c)).terms == (a, b, c)
    assert drift_terms(a + b) == (a, b)
    assert drift_terms(a) == (a,)
    assert drift_terms(None) == ()
    assert a + None == a == None + a
    assert sum([a, b, c]) == a + b + c
    assert (a + b).strictly_convex
    assert not (b + c).strictly_convex
    assert not SquaredDrift(0).strictly_convex
    assert DriftSum([a, b]) == a + b
    assert TrustRegion(1, "inf") == TrustRegion(1.0, math.inf)
    assert TrustRegion(1, np.inf).norm == math.inf


@pytest.mark.parametrize("make", [SquaredDrift, L1Drift, TrustRegion])
@pytest.mark.parametrize("number", [-1, math.nan, math.inf, "1", None, 1j, [1, 2], True])
def test_bad_numbers(make, number):
    with pytest.raises(ProblemError, match=r"(lam|radius) of .*: expected one finite number >= 0, got") as caught:
        make(number)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("norm", [3, 1, "two", "1", None, math.nan, [2], np.array([2, 3]), True])
def test_bad_norm(norm):
    with pytest.raises(ProblemError, match="norm of trust_region: expected 2 or inf"):
        TrustRegion(1, norm)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"name": "cubic"},
        {"name": ["l1_drift"]},
        {"name": "l1_drift"},
        {"name": "l1_drift", "lam": 1, "mu": 2},
        {"name": "drift_sum"},
    ],
)
def test_bad_spec(spec):
    with pytest.raises(ProblemError, match="drift_penalty"):
        from_spec(spec)


def test_bad_terms():
    with pytest.raises(ProblemError, match="drift_penalty"):
        drift_terms(0.5)
    with pytest.raises(ProblemError, match="terms"):
        DriftSum((1.0,))
    with pytest.raises(TypeError):
        SquaredDrift(1) + 1
    for P in ALL.values():
        with pytest.raises(ProblemError, match="real"):
            P.value(np.ones(3) * 1j)
