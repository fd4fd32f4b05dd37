"""Corners of the checker, each with a verdict that one wrong sign, limit or factor would change."""

from __future__ import annotations

from fractions import Fraction as Q
from typing import Any

import pytest

from exact_unlearn.certify import checker
from tests.certificate_cases import array, vec
from tests.test_checker_forgeries import HEAD, Tree, claim, problem


def verdict(about: Tree, certificate: Tree, **claims: Any) -> checker.Verdict:
    return checker.check(about, {**certificate, "claims": {**certificate["claims"], **claims}})


@pytest.mark.parametrize(
    ("alpha", "beta", "unique"), [("1", "1", True), ("0", "1", True), ("1", "0", True), ("0", "0", False)]
)
def test_what_nothing_sees_has_many_minimisers(alpha: str, beta: str, unique: bool) -> None:
    """theta = 0 costs nothing, but so does every theta where alpha = beta = 0."""
    about = problem([1, -1], [[1, 1]], {"name": "elastic_net", "alpha": alpha, "beta": beta})
    certificate = claim({}, proof="exact")
    assert verdict(about, certificate).proved
    assert verdict(about, certificate, unique=True).proved == unique
    assert verdict(about, certificate, distance="0").proved == unique
    assert verdict(about, certificate).unique == unique


@pytest.mark.parametrize("name", ["nuclear_norm", "l1", "l2"])
def test_a_ball_of_radius_0_takes_any_multiplier(name: str) -> None:
    """kappa / 2 (rho^2 - |D|^2) = 0: it costs nothing where nothing moves."""
    spec: Tree = {"name": name, "weights": None}
    if name == "nuclear_norm":
        spec = {"name": name, "indices": array([0, 1, 2, 3], 4), "shape": [2, 2]}
    region = {"name": "trust_region", "radius": "0", "norm": "2"}
    about = problem([3, 0, 0, 4], [[1, 1, 1, 1]], spec, drift=[region])
    plain = {**HEAD, "primal": {"base": "theta_star", "parts": []}, "claims": {"proof": "repaired"}}
    plain["dual"] = {"nu": [], "g": vec({0: Q(1), 3: Q(1)})}
    without = checker.check(about, plain)
    for kappa in ("1", "ff"):
        found = checker.check(about, {**plain, "dual": plain["dual"] | {"ball": kappa}})
        assert (found.lower, found.upper) == (without.lower, without.upper)
        assert found.proved


def test_shapes_that_are_refused_are_told_in_part() -> None:
    """Nine lengths of them, however many there are."""
    about = problem([1, 2], [[1, 1]])
    about["rhs"] = {"shape": [1] * 12, "data": ["0"]}
    with pytest.raises(checker.Rejected, match=r"expected an array of shape \(None,\), found \[(1, ){8}1\]$"):
        checker.check(about, claim({}))


@pytest.mark.parametrize(("levels", "read"), [(62, True), (63, False)])
def test_objects_are_read_to_their_depth(levels: int, read: bool) -> None:
    """A problem, its comment and what is in it: 64 levels, the text at the bottom being the last."""
    deepest: Any = "bottom"
    for _ in range(levels):
        deepest = {"in": deepest}
    about = problem([1], [[1]]) | {"comment": deepest}
    if read:
        assert checker.check(about, claim({0: 1}, {0: 1}, "exact")).proved
    else:
        with pytest.raises(checker.Rejected, match="nested too deeply"):
            checker.check(about, claim({0: 1}, {0: 1}, "exact"))
