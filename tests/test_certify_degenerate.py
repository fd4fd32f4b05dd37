"""Degenerate input is ordinary input: every listed kind of instance, with every form, proved and checked."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.problem import UnlearningProblem
from tests.cases import drifts, freezings, instances, regularizers

RATIONAL = ("squared_l2", "elastic_net", "l1", "linf")
TO_SIXTY_DIGITS = Fraction(1, 10**60)
Instance = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def edges() -> dict[str, Instance]:
    """The kinds that certificates have to survive, beyond those of tests/cases.py; d = 12."""
    rng = np.random.default_rng(20)
    J, theta = rng.standard_normal((5, 12)), rng.standard_normal(12)
    signs = rng.integers(-1, 2, (5, 12)).astype(float)
    integer = rng.integers(-4, 5, (5, 12)).astype(float)
    short = rng.integers(-3, 4, 12).astype(float)
    columns = J.copy()
    columns[:, 6:] = J[:, :6]
    bfloat = (J.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(float)
    return {
        "degenerate signs": (signs, np.sign(theta)),
        "degenerate integers": (integer, short),
        "sparse integer theta": (integer, short * (np.arange(12) % 4 == 0)),
        "duplicated columns": (columns, theta),
        "columns of different scale": (J * np.geomspace(1e-6, 1e6, 12)[rng.permutation(12)], theta),
        "J times 1e-300": (J * 1e-300, theta),
        "J times 1e300": (J * 1e300, theta),
        "bfloat16": (bfloat, bfloat[0]),
        "constant theta": (J, np.ones(12)),
        "theta of one entry": (J, np.eye(12)[3]),
        "integer rank deficiency": (np.vstack([integer[:3], integer[0] + integer[1], 2 * integer[2]]), short),
        "a column of zeros": (J * (np.arange(12) != 4), theta),
        "identity rows": (np.eye(12)[:7], theta),
    }


def instance(name: str) -> Instance:
    return (instances() | edges())[name]


def pairings() -> Iterator[tuple[str, str, str, str]]:
    """Every instance with every regularizer; drift penalties and freezings take turns, at coprime paces."""
    turn = 0
    names, frozen = list(drifts()), list(freezings())
    for name in instances() | edges():
        for regularizer in regularizers():
            yield name, regularizer, names[turn % len(names)], frozen[(turn // 2) % len(frozen)]
            turn += 1


BEYOND_FLOATS = {("huge theta", "nuclear norm"), ("huge theta", "nuclear norm of a block")}
"""A semidefinite program in a region a billionth of theta*: no float solution to start from tells its face.
What is claimed is still proved, but it may be far from the optimum.
"""


@pytest.mark.parametrize(("name", "regularizer", "drift", "free"), list(pairings()))
def test_every_degenerate_instance_is_proved(name: str, regularizer: str, drift: str, free: str) -> None:
    J, theta = instance(name)
    problem = UnlearningProblem(theta, J, regularizers()[regularizer], drifts()[drift], freezings()[free])
    certificate = xu.certify(problem, rows="literal")
    verdict = certificate.check()
    assert verdict.proved, (certificate.message, verdict.sentences)
    assert verdict.proof == certificate.proof
    if (name, regularizer) in BEYOND_FLOATS:
        return
    assert certificate.proof in ("exact", "enclosure"), certificate.message
    assert certificate.gap <= TO_SIXTY_DIGITS
    ball = any(term.name == "trust_region" and term.norm == 2 for term in problem.drifts)
    if problem.regularizer.name in RATIONAL and not ball:
        assert certificate.proof == "exact", certificate.message


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (4, 4), (6, 4), (0, 1)])
@pytest.mark.parametrize("regularizer", [xu.SquaredL2(), xu.L1(), xu.LInf(), xu.L2(), xu.GroupL2([[0]])])
def test_tiny_problems(size: tuple[int, int], regularizer: Any) -> None:
    """m = 0, m = 1, d = 1, square, and more rows than parameters."""
    k, d = size
    rng = np.random.default_rng(k * 10 + d)
    if isinstance(regularizer, xu.GroupL2):
        regularizer = xu.GroupL2(np.arange(d) // 2)
    problem = UnlearningProblem(rng.standard_normal(d), rng.standard_normal((k, d)), regularizer)
    certificate = xu.certify(problem)
    assert certificate.proof in ("exact", "enclosure")
    assert certificate.check().proved
    if k >= d:  # only theta* itself is left
        assert certificate.theta == pytest.approx(problem.theta_star, abs=1e-15)
    if k == 0:
        assert certificate.upper == 0


@pytest.mark.parametrize("radius", [0.0, 1e-12])
@pytest.mark.parametrize("norm", [2, np.inf])
def test_a_trust_region_without_room(radius: float, norm: float) -> None:
    J, theta = instances()["gaussian"]
    for regularizer in (xu.L1(), xu.LInf(), xu.L2(), xu.GroupL2(np.arange(12) // 3)):
        certificate = xu.certify(UnlearningProblem(theta, J, regularizer, xu.TrustRegion(radius, norm)))
        assert certificate.check().proved
        assert certificate.gap <= TO_SIXTY_DIGITS
        assert float(certificate.upper) == pytest.approx(float(regularizer.value(theta)), rel=1e-10)
