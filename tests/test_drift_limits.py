"""Where drift penalties turn from finite to infinite, and how near their projections stay to the boundary."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from exact_unlearn.drift import DriftSum, L1Drift, SquaredDrift, TrustRegion, drift_terms, from_spec
from exact_unlearn.errors import ProblemError

EPS = float(np.finfo(float).eps)


def vector(values: Any, exact: bool) -> np.ndarray:
    if not exact:
        return np.array(values, dtype=float)
    out = np.empty(len(values), dtype=object)
    out[:] = [Fraction(value) for value in values]
    return out


exact_and_float = pytest.mark.parametrize("exact", [False, True])


@exact_and_float
@pytest.mark.parametrize("norm", [2, "inf"])
@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_a_region_ends_at_its_radius_times_one_plus_the_tolerance(norm: Any, tol: float, exact: bool) -> None:
    region = TrustRegion(5.0, norm)
    unit = vector([3, 4] if norm == 2 else [5, -2], exact)
    assert region.value(unit, tol) == 0
    for factor, inside in ((1 + 0.9 * tol, True), (1 + 1.1 * tol + 1e-9, False), (-1 - 0.9 * tol, True)):
        assert (region.value(unit * (Fraction(factor) if exact else factor), tol) == 0) == inside
    assert TrustRegion(0.0, norm).value(0 * unit) == 0
    assert TrustRegion(0.0, norm).value(unit) == math.inf
    assert isinstance(region.value(unit), Fraction if exact else float)


@exact_and_float
@pytest.mark.parametrize("P", [L1Drift(0.5), L1Drift(0.25) + L1Drift(0.25)])
@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_the_dual_ball_ends_at_lam_times_one_plus_the_tolerance(P: Any, tol: float, exact: bool) -> None:
    """The largest entry decides, whatever its sign and place."""
    for factor, inside in ((0.999, True), (1 + 0.9 * tol, True), (1 + 1.1 * tol + 1e-9, False)):
        for sign in (1, -1):
            for at in range(3):
                h = [0.1, -0.2, 0.0]
                h[at] = sign * 0.5 * factor
                assert (P.conjugate(vector(h, exact), tol) == 0) == inside


def test_dual_norms_are_exact_on_fractions() -> None:
    h = vector(["1/3", "-2/7", 0], True)
    found = L1Drift(Fraction(2, 5)).dual_norm(h)
    assert found == Fraction(5, 6)
    assert isinstance(found, Fraction)
    assert L1Drift(0).dual_norm(h) == math.inf
    assert L1Drift(0).dual_norm(0 * h) == 0
    assert L1Drift(0.5).dual_norm(np.zeros(0)) == 0
    for h, expected in (([1.0, -0.5], 2.0), ([0.0, -1.0], 2.0), ([1e-300], 2e-300), ([-3.0, 3.0], 6.0)):
        assert L1Drift(0.5).dual_norm(h) == expected


@exact_and_float
@pytest.mark.parametrize("lam", [0.0, 1e-300, 2.0])
def test_a_square_of_weight_0_allows_no_force(lam: float, exact: bool) -> None:
    """lam = 0 has the indicator of {0}; any other lam, however small, a finite conjugate |h|^2 / (2 lam)."""
    square = SquaredDrift(lam)
    assert square.conjugate(vector([0, 0], exact)) == 0
    assert square.strictly_convex == (lam > 0)
    for h in ([1e-200, 0], [0, -1e-200]):
        found = square.conjugate(vector(h, exact), tol=0.5)
        expected = Fraction(1e-200) ** 2 / (2 * Fraction(lam)) if lam else math.inf
        assert float(found) == pytest.approx(float(expected), rel=1e-12, abs=1e-320)


def test_values_by_hand() -> None:
    x = [3.0, -4.0]
    assert SquaredDrift(0.5).value(x) == 0.25 * 25
    assert L1Drift(0.5).value(x) == 3.5
    total = SquaredDrift(0.5) + L1Drift(0.5) + TrustRegion(5.0)
    assert total.value(x) == 6.25 + 3.5
    assert (total + TrustRegion(3.5, "inf")).value(x) == math.inf
    assert (total + TrustRegion(4.9)).value(x) == math.inf


def test_conjugates_by_hand() -> None:
    """sup <h, x> - lam/2 |x|^2 - mu |x|_1 inside a ball or a box, where it is one line on paper."""
    h = np.array([3.0, -1.5, 0.5])
    soft = np.array([2.0, 0.5, 0.0])  # |h| less mu = 1
    assert (SquaredDrift(2.0) + L1Drift(1.0)).conjugate(h) == pytest.approx((soft @ soft) / 4)
    assert (L1Drift(1.0) + TrustRegion(2.0)).conjugate(h) == pytest.approx(2 * np.linalg.norm(soft))
    assert (L1Drift(1.0) + TrustRegion(2.0, "inf")).conjugate(h) == pytest.approx(2 * soft.sum())
    # the square alone would go to (1, .25, 0); the box stops the first at .5
    both = SquaredDrift(2.0) + L1Drift(1.0) + TrustRegion(0.5, "inf")
    assert both.conjugate(h) == pytest.approx(2 * 0.5 - 0.25 + 0.5**2 / 4)
    assert TrustRegion(2.0).conjugate(h) == pytest.approx(2 * np.linalg.norm(h))
    assert TrustRegion(2.0, "inf").conjugate(h) == pytest.approx(2 * 5.0)
    assert (TrustRegion(2.0) + TrustRegion(3.0)).conjugate(h) == pytest.approx(2 * np.linalg.norm(h))
    assert (TrustRegion(0.0) + SquaredDrift(1.0)).conjugate(h) == 0.0


def test_proximal_points_by_hand() -> None:
    v = np.array([3.0, -1.5, 0.5])
    np.testing.assert_allclose(SquaredDrift(2.0).prox(v, 0.25), v / 1.5)
    np.testing.assert_allclose(L1Drift(2.0).prox(v, 0.5), [2.0, -0.5, 0.0])
    total = SquaredDrift(2.0) + L1Drift(2.0)
    np.testing.assert_allclose(total.prox(v, 0.5), np.array([2.0, -0.5, 0.0]) / 2)
    np.testing.assert_allclose((total + TrustRegion(0.5, "inf")).prox(v, 0.5), [0.5, -0.25, 0.0])
    np.testing.assert_allclose((L1Drift(2.0) + TrustRegion(0.1)).prox(v, 0.5), 0.1 * np.array([4, -1, 0]) / 17**0.5)
    # both regions bind: one entry is cut by the box, the others share what the ball leaves
    both = TrustRegion(1.0) + TrustRegion(0.8, "inf")
    np.testing.assert_allclose(both.prox([9.0, 3.0, -4.0], 1.0), [0.8, 0.6 * 0.6, -0.6 * 0.8], rtol=1e-14)
    np.testing.assert_allclose(both.prox([9.0, 9.0, 0.0], 1.0), [0.5**0.5, 0.5**0.5, 0.0], rtol=1e-14)
    wide = TrustRegion(1.0) + TrustRegion(0.5, "inf")
    np.testing.assert_allclose(wide.prox([9.0, 9.0, 9.0], 1.0), [0.5, 0.5, 0.5], rtol=1e-14)
    np.testing.assert_allclose(wide.prox([9.0, -8.0, 0.1], 1.0), [0.5, -0.5, 0.1], rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_projections_lie_inside_by_no_more_than_rounding(scale: float) -> None:
    """On |x| <= r literally, and nowhere farther inside than a few units in the last place."""
    rng = np.random.default_rng(1)
    for n in (1, 2, 3, 10, 100):
        for _ in range(60):
            v, radius = scale * rng.standard_normal(n), scale * rng.uniform(0.01, 0.5) / 10
            for P in (TrustRegion(radius), TrustRegion(radius) + TrustRegion(10 * radius, "inf")):
                p = P.prox(v, 1.0)
                if np.linalg.norm(v / scale) <= radius / scale:
                    continue
                assert P.value(p) == 0
                assert np.linalg.norm(p / scale) >= radius / scale * (1 - 8 * EPS)
                np.testing.assert_allclose(
                    p / scale, v / scale * (radius / np.linalg.norm(v / scale) / scale), rtol=1e-14
                )


@pytest.mark.parametrize("size", [1e-200, 1e-3, 1.0, 1e200])
def test_ball_and_box_know_no_scale_of_what_is_projected(size: float) -> None:
    both = TrustRegion(1.0) + TrustRegion(0.8, "inf")
    v = 10 * max(size, 1.0) * np.array([0.9, 0.3, -0.4])
    np.testing.assert_allclose(both.prox(v, 1.0), [0.8, 0.36, -0.48], rtol=1e-14)
    np.testing.assert_allclose(
        both.prox(min(size, 0.1) * np.array([0.9, 0.3, -0.4]), 1.0) / min(size, 0.1), [0.9, 0.3, -0.4]
    )


def test_boxes_whose_corners_touch_the_ball() -> None:
    """n entries at the box fill the ball up to rounding, from inside or outside; what is left for others is nothing."""
    rng = np.random.default_rng(0)
    for n in range(1, 40):
        for off in (-4, -1, 0, 1, 4):
            box = rng.uniform(0.1, 1.0)
            ball = box * math.sqrt(n) * (1 + off * EPS)
            v = np.concatenate([100 * (1 + rng.random(n)), 1e-7 * rng.random(3), np.zeros(2)])
            both = TrustRegion(ball) + TrustRegion(box, "inf")
            p = both.prox(v, 1.0)
            assert both.value(p) == 0
            np.testing.assert_allclose(p[:n], box, rtol=1e-12)
            assert (p[n:] >= 0).all()
            assert p[n:].max() < 1e-6
            assert both.conjugate(v) == pytest.approx(box * v[:n].sum(), rel=1e-9)


def test_points_on_the_boundary_stay_where_they_are() -> None:
    on_ball, on_box = np.array([3.0, 4.0]), np.array([5.0, -5.0])
    assert TrustRegion(5.0).prox(on_ball, 1.0).tolist() == on_ball.tolist()
    assert TrustRegion(5.0, "inf").prox(on_box, 1.0).tolist() == on_box.tolist()
    assert (TrustRegion(5.0) + TrustRegion(4.0, "inf")).prox(on_ball, 1.0).tolist() == on_ball.tolist()
    assert TrustRegion(0.0).prox(on_ball, 1.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("norm", [2, "inf"])
def test_radii_between_two_floats_are_rounded_down_by_one(norm: Any) -> None:
    low = 0.1
    high = math.nextafter(low, 1.0)
    between = (Fraction(low) + Fraction(high)) / 2
    for radius, expected in ((between, low), (Fraction(low), low), (between + Fraction(1, 10**30), low)):
        found = TrustRegion(radius, norm).prox(np.array([7.0, 0.0]), 1.0)
        assert found.tolist() == [expected, 0.0]
        assert (TrustRegion(radius, norm) + L1Drift(0.0)).prox(np.array([7.0, 0.0]), 1.0).tolist() == [expected, 0.0]


# ---------------------------------------------------------------- sums and specifications


def test_what_kind_of_function_each_is() -> None:
    square, absolute, region = SquaredDrift(1.0), L1Drift(1.0), TrustRegion(1.0)
    assert [P.is_norm for P in (square, absolute, region, square + absolute)] == [False, True, False, False]
    assert [P.strictly_convex for P in (square, absolute, region)] == [True, False, False]
    assert (absolute + square).strictly_convex
    assert (absolute + square + region).strictly_convex
    assert not (absolute + region).strictly_convex
    assert not (absolute + SquaredDrift(0.0)).strictly_convex
    assert [P.name for P in (square, absolute, region, square + region)] == [
        "squared_drift",
        "l1_drift",
        "trust_region",
        "drift_sum",
    ]


def test_sums_start_from_zero_and_nothing_else() -> None:
    square = SquaredDrift(1.0)
    assert sum([square]) is square
    assert 0 + square is square
    for wrong in (1, 0.0, 2.5, "0"):
        with pytest.raises(TypeError):
            square + wrong
    both = square + L1Drift(1.0)
    assert (both + both).terms == both.terms * 2
    assert drift_terms(both) is both.terms


def test_nested_specifications_come_back_flat() -> None:
    total = SquaredDrift(0.5) + L1Drift(Fraction(1, 3)) + TrustRegion(2.0, "inf")
    spec = total.to_spec()
    assert [part["name"] for part in spec["terms"]] == ["squared_drift", "l1_drift", "trust_region"]
    nested = {"name": "drift_sum", "terms": [spec, SquaredDrift(1.0).to_spec()]}
    assert from_spec(nested) == DriftSum((*total.terms, SquaredDrift(1.0)))
    assert spec["terms"][2] == {"name": "trust_region", "radius": 2.0, "norm": "inf"}
    assert TrustRegion(2.0).to_spec()["norm"] == "2"
    for wrong in ({"name": "drift_sum", "terms": [], "lam": 1}, {"name": "trust_region", "radius": 1, "width": 2}):
        with pytest.raises(ProblemError, match=rf"drift_penalty '{wrong['name']}': does not take exactly the fields"):
            from_spec(wrong)
    for unknown in ({}, {"name": "l2_drift", "lam": 1}):
        with pytest.raises(ProblemError, match="drift_penalty: expected one of"):
            from_spec(unknown)
    given = {"name": "l1_drift", "lam": 0.5}
    from_spec(given)
    assert given == {"name": "l1_drift", "lam": 0.5}


@pytest.mark.parametrize("P", [SquaredDrift(1.0), L1Drift(1.0), TrustRegion(1.0), SquaredDrift(1.0) + L1Drift(1.0)])
def test_penalties_are_frozen_values(P: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        P.__setattr__(dataclasses.fields(P)[0].name, 7)
    assert dataclasses.replace(P) == P
    assert len({P, dataclasses.replace(P)}) == 1
