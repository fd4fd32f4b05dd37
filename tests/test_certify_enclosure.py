"""Irrational optima to sixty digits and more, against closed forms, exact optima and each other."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.problem import UnlearningProblem
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers

TO_SIXTY_DIGITS = Fraction(1, 10**60)
TO_THIRTY_DIGITS = Fraction(1, 10**30)


def root(value: Fraction, digits: int = 90) -> Fraction:
    """The square root, rounded down, by integers."""
    scale = 10**digits
    return Fraction(math.isqrt(value.numerator * scale**2 // value.denominator), scale)


def assert_encloses(certificate: Any, value: Fraction, slack: Fraction = Fraction(1, 10**80)) -> None:
    """value is known to within `slack`."""
    assert certificate.gap <= TO_SIXTY_DIGITS
    assert certificate.lower <= value + slack
    assert certificate.upper >= value - slack


@pytest.mark.parametrize("drift", ["none", "squared", "l1", "box", "squared and l1"])
def test_groups_of_one_are_l1(drift: str) -> None:
    """The enclosure of sum |theta_i| as groups of size one holds the exact l1 optimum."""
    grouped = xu.certify(gaussian_problem(xu.GroupL2(np.arange(12)), drifts()[drift]))
    exact = xu.certify(gaussian_problem(xu.L1(), drifts()[drift]))
    assert exact.proof == "exact"
    assert_encloses(grouped, exact.upper)


@pytest.mark.parametrize("free", ["all free", "some frozen"])
def test_one_group_is_l2(free: str) -> None:
    grouped = xu.certify(gaussian_problem(xu.GroupL2(np.zeros(12, dtype=int)), None, freezings()[free]))
    exact = xu.certify(gaussian_problem(xu.L2(), None, freezings()[free]))
    assert exact.proof == "exact"
    assert_encloses(grouped, root(exact.square))


@pytest.mark.parametrize("radius", [1e3, 1e12, 1e200])
@pytest.mark.parametrize("norm", [2, math.inf])
@pytest.mark.parametrize("regularizer", ["group l2", "nuclear norm", "nuclear norm of a block"])
def test_a_region_that_nothing_touches_changes_nothing(regularizer: str, norm: float, radius: float) -> None:
    alone = xu.certify(gaussian_problem(regularizers()[regularizer]))
    certificate = xu.certify(gaussian_problem(regularizers()[regularizer], xu.TrustRegion(radius, norm)))
    assert (certificate.lower, certificate.upper) == (alone.lower, alone.upper)
    assert certificate.check().proved


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("drift", [xu.L1Drift(0.5), xu.SquaredDrift(0.1) + xu.L1Drift(0.3)], ids=["l1", "both"])
def test_ties_of_an_l1_drift(seed: int, drift: Any) -> None:
    """Transport constraints and integers: many coordinates stay at theta* although nothing holds them there."""
    rng = np.random.default_rng(seed)
    J = np.vstack([np.kron(np.eye(6), np.ones(8)), np.kron(np.ones(6), np.eye(8))])
    theta = np.where(rng.random(48) < 0.4, rng.integers(1, 6, 48), 0).astype(float)
    for groups in (np.arange(48) // 4, np.arange(48) // 8):
        certificate = xu.certify(UnlearningProblem(theta, J, xu.GroupL2(groups), drift))
        assert certificate.gap <= TO_SIXTY_DIGITS
        assert certificate.check().proved


@pytest.mark.parametrize("shape", [(1, 12), (12, 1)])
@pytest.mark.parametrize("drift", ["none", "squared", "ball", "box", "l1"])
def test_the_nuclear_norm_of_a_vector_is_its_length(shape: tuple[int, int], drift: str) -> None:
    matrix = xu.certify(gaussian_problem(xu.NuclearNorm(slice(0, 12), shape), drifts()[drift]))
    vector = xu.certify(gaussian_problem(xu.L2(), drifts()[drift]))
    assert matrix.gap <= TO_SIXTY_DIGITS
    assert matrix.lower <= vector.upper
    assert vector.lower <= matrix.upper


def parts(problem: UnlearningProblem) -> tuple[Fraction, Fraction]:
    """|P theta*|^2 and |theta* - P theta*|^2, P the projection onto the rows of J."""
    exact = rational.rationals(problem.jacobian.matrix)
    theta = rational.rationals(problem.theta_star)
    p, _ = rational.project_onto_rows(exact, theta)
    return sum(v * v for v in p), sum(v * v for v in theta - p)


def test_the_smallest_norm_in_a_ball() -> None:
    """theta* - s P_perp theta* with s = rho / |P_perp theta*|: |theta|^2 = |P theta*|^2 + (|P_perp theta*| - rho)^2."""
    problem = gaussian_problem(xu.SquaredL2(), xu.TrustRegion(0.5))
    row, kernel = parts(problem)
    value = (row + (root(kernel) - Fraction(1, 2)) ** 2) / 2
    certificate = xu.certify(problem)
    assert certificate.proof == "enclosure"
    assert_encloses(certificate, value)
    assert certificate.distance <= TO_THIRTY_DIGITS
    assert certificate.unique
    norm = xu.certify(gaussian_problem(xu.L2(), xu.TrustRegion(0.5)))
    assert_encloses(norm, root(2 * value))


def test_a_slack_ball_changes_nothing() -> None:
    for name in ("squared l2", "l1", "linf", "l2", "elastic net"):
        plain = xu.certify(gaussian_problem(regularizers()[name]))
        slack = xu.certify(gaussian_problem(regularizers()[name], xu.TrustRegion(100.0)))
        assert slack.proof == "exact"
        assert slack.upper == plain.upper


def test_l2_with_a_squared_drift_solves_its_scalar_equation() -> None:
    """D = -s P_perp theta*: minimise (a + (1-s)^2 b)^(1/2) + lam s^2 b / 2 over s, here by bisection in fractions."""
    problem, lam = gaussian_problem(xu.L2(), xu.SquaredDrift(0.25)), Fraction(1, 4)
    a, b = parts(problem)
    low, high = Fraction(0), Fraction(1)
    for _ in range(300):  # the derivative -(1-s) b / (a + (1-s)^2 b)^(1/2) + lam s b increases
        s = (low + high) / 2
        rising = lam * s * root(a + (1 - s) ** 2 * b, 100) > (1 - s)
        low, high = (low, s) if rising else (s, high)
        low, high = Fraction(round(low * 2**320), 2**320), Fraction(round(high * 2**320), 2**320)
    value = root(a + (1 - low) ** 2 * b) + lam * low**2 * b / 2
    certificate = xu.certify(problem)
    assert_encloses(certificate, value)
    assert certificate.distance <= TO_THIRTY_DIGITS


@pytest.mark.parametrize("drift", ["none", "squared", "ball"])
def test_groups_come_with_a_bound_on_the_distance(drift: str) -> None:
    """To every minimiser; and the reference solver's answer lies as near as its own accuracy allows."""
    problem = gaussian_problem(xu.GroupL2(np.arange(12) // 3), drifts()[drift])
    certificate = xu.certify(problem)
    assert certificate.gap <= TO_SIXTY_DIGITS
    assert certificate.distance <= TO_THIRTY_DIGITS
    assert certificate.theta == pytest.approx(xu.solve(problem).theta, abs=1e-5)


@pytest.mark.parametrize("widths", [(6, 4, 1), (6, 5, 3), (5, 2, 3)])
@pytest.mark.parametrize("drift", ["squared", "l1", "ball", "squared and l1", "all"])
def test_the_predictor_norm_with_a_drift(widths: tuple[int, ...], drift: str) -> None:
    rng = np.random.default_rng(2)
    network = xu.LinearNetwork(widths)
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((2, widths[0]))
    problem = xu.surrogate_problem(network, theta, x, xu.PredictorNorm(network, theta), drifts()[drift])
    certificate = xu.certify(problem, rows="literal")
    assert certificate.gap <= TO_SIXTY_DIGITS, certificate.message
    assert certificate.check().proved
    assert float(certificate.upper) == pytest.approx(xu.solve(problem).value, rel=1e-6)


@pytest.mark.parametrize("name", ["squared l2", "l1", "weighted linf", "l2", "weighted group l2", "nuclear norm"])
@pytest.mark.parametrize("drift", ["ball", "all"])
def test_the_reference_solver_agrees_in_a_ball(name: str, drift: str) -> None:
    problem = gaussian_problem(regularizers()[name], drifts()[drift])
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.gap <= TO_SIXTY_DIGITS, certificate.message
    assert float(certificate.upper) == pytest.approx(xu.solve(problem).value, rel=1e-6)


def test_many_distinct_weights_are_enclosed_where_exactness_is_too_long() -> None:
    """The exact optimum has thousands of digits per weight; its enclosure is as good as one could wish."""
    from exact_unlearn.certify import kkt

    J, theta = instances()["gaussian"]
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 12)
    problem = UnlearningProblem(theta, J, xu.SquaredL2(weights))
    exact = xu.certify(problem)
    assert exact.proof == "exact"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kkt, "MAX_BITS", 1000)
        enclosed = xu.certify(problem)
    assert enclosed.proof == "enclosure"
    assert "rows of" in enclosed.message
    assert enclosed.lower <= exact.upper <= enclosed.upper
    assert enclosed.distance <= TO_THIRTY_DIGITS


def test_when_newton_fails_the_float_point_is_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    from exact_unlearn.certify import enclose
    from exact_unlearn.certify.kkt import FaceError

    def fail(*_: Any, **__: Any) -> None:
        raise FaceError("no digits today")

    for name in ("group l2", "l1", "linf", "squared l2"):
        problem = gaussian_problem(regularizers()[name], xu.TrustRegion(0.7))
        best = xu.certify(problem)
        with monkeypatch.context() as patch:
            patch.setattr(enclose, "approximate", fail)
            repaired = xu.certify(problem)
        assert repaired.proof == "repaired"
        assert "no digits today" in repaired.message
        assert repaired.check().proved
        assert repaired.gap <= Fraction(1, 10**6)
        assert repaired.lower <= best.upper
        assert best.lower <= repaired.upper
