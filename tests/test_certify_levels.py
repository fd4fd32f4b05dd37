"""What is proved about every form with every drift: the level, whether uniqueness, whether a distance.

A producer that is wrong proves nothing false, for the checker decides; but it proves *less*: that is seen here only.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import exact_unlearn as xu
from tests.cases import drifts, freezings, gaussian_problem, regularizers

ALWAYS_EXACT = {
    "squared l2", "weighted squared l2", "squared l2 with zero weights", "l1", "weighted l1", "l1 with zero weights",
    "linf", "weighted linf", "elastic net",
}  # fmt: skip
EXACT_ALONE = {"l2", "weighted l2"}
WITH_A_BALL = {"ball", "all"}
GAP = Fraction(1, 10**60)


def level(name: str, drift: str, ball: bool) -> str:
    """ball: whether the optimum touches it."""
    if drift in WITH_A_BALL and ball:
        return "enclosure"
    if name in ALWAYS_EXACT or (name in EXACT_ALONE and drift in ("none", "box", "ball")):
        return "exact"
    return "enclosure"


@pytest.mark.parametrize("free", ["all free", "some frozen"])
@pytest.mark.parametrize("drift", sorted(drifts()))
@pytest.mark.parametrize("name", sorted(regularizers()))
def test_the_level_of_every_form(name: str, drift: str, free: str) -> None:
    problem = gaussian_problem(regularizers()[name], drifts()[drift], freezings()[free])
    certificate = xu.certify(problem)
    moved = float(np.linalg.norm(certificate.theta - problem.theta_star))
    radius = {"ball": 0.7, "all": 0.8}.get(drift, np.inf)
    expected = level(name, drift, moved > radius * (1 - 1e-9)) if certificate.upper else "exact"  # 0 is no root
    assert certificate.proof == expected
    assert certificate.gap <= (0 if certificate.proof == "exact" else GAP)


@pytest.mark.parametrize("drift", ["squared", "squared and l1", "all"])
@pytest.mark.parametrize("name", sorted(regularizers()))
def test_a_squared_drift_makes_every_minimiser_unique_and_near(name: str, drift: str) -> None:
    certificate = xu.certify(gaussian_problem(regularizers()[name], drifts()[drift]))
    assert certificate.unique
    assert certificate.distance <= Fraction(1, 10**30)


@pytest.mark.parametrize("name", ["group l2", "weighted group l2"])
def test_groups_alone_have_a_distance(name: str) -> None:
    certificate = xu.certify(gaussian_problem(regularizers()[name]))
    assert certificate.distance <= Fraction(1, 10**30)


def test_coordinates_that_no_constraint_sees() -> None:
    """Their columns are zero exactly, in floats too: rounding noise there was once taken for a constraint."""
    rng = np.random.default_rng(1418)
    J = rng.normal(size=(3, 12))
    J[:, [0, 3, 6]] = 0
    drift = xu.SquaredDrift(3.0) + xu.L1Drift(0.5)
    for seed in range(4):
        theta = np.random.default_rng(seed).normal(size=12)
        certificate = xu.certify(xu.UnlearningProblem(theta, J, xu.GroupL2(np.arange(12) // 3), drift))
        assert certificate.proof == "enclosure"
        assert certificate.gap <= GAP
