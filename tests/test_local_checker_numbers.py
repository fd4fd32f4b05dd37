"""The checker of local certificates, number by number: a certificate by hand, errors and work as they are counted."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.local import checker
from validation.attack._local_bombs import local

FREE = 1 << 62
ERRORS = {
    "tanh": (65, 56, 349, 326, 70),
    "sigmoid": (6, 7, 50, 64, 9),
    "softplus": (84, 250, 1518, 1246, 70),
    "silu": (175, 813, 6471, 3963, 156),
    "gelu": (141, 744, 9705, 3529, 118),
    "erf": (92, 84, 428, 483, 98),
    "sin": (64, 139, 1944, 797, 70),
    "square": (2797059, 5241602, 33864180, 25155459, 2313433),
    "identity": (84, 78, 518, 521, 70),
}
BY_HAND = [
    ("54da52005d203f1f", "400000000000000000000000000000000000000"),
    ("5ffffffffffffffffffffffd", "800000000000000000000000"),
    (
        "100000000000000000000002a6d29002e901f8f82000001c20000000000000a5c3207c603947b9f81",
        "200000000000000000000000000000000000000000000000000000000000000000000000000000000",
    ),
]
VARIATION = {
    "tanh": ("2.98935202583", "50.9681505888"),
    "sigmoid": ("0.349998603568", "1.46894725006"),
    "softplus": ("48.2781479784", "553.244241778"),
    "silu": ("327.546810825", "7388.97070351"),
    "gelu": ("321.217889482", "10347.9496765"),
    "erf": ("3.43845739619", "63.7521912885"),
    "sin": ("55.2577426978", "921.884507223"),
    "square": ("4278726.56638", "27734516.0595"),
    "identity": ("10.3601837456", "3.26683332908"),
}
WORK = {
    "by hand": 871988,
    "tanh": 7017076,
    "sigmoid": 6950260,
    "softplus": 8628772,
    "silu": 7051108,
    "gelu": 14027716,
    "erf": 11241668,
    "sin": 7489348,
    "square": 5874196,
    "identity": 5807380,
}


# --- by hand --------------------------------------------------------------------------------------------------------


def by_hand() -> dict[str, Any]:
    """f = theta x with x = y = 1: theta = nu = 1, K = (1, -1; -1, 0), whose inverse is (0, -1; -1, -1)."""
    one = format(1 << 96, "x")
    return {
        "schema": "exact-unlearn/local-certificate",
        "version": 1,
        "network": {"inputs": 1, "layers": [{"width": 1, "activation": "identity", "bias": False}]},
        "x": {"shape": [1, 1], "data": ["1"]},
        "y": {"shape": [1, 1], "data": ["1"]},
        "centre": ["0"],
        "bits": 96,
        "theta": [one],
        "nu": [one],
        "radius": "10",
        "nu_radius": "10",
        "inverse": {"bits": 0, "rows": [["0"], ["-1", "-1"]]},
        "minimum": {"rho": "0", "sigma": "3/4", "bits": 1, "factor": [["1"]]},
        "claims": {
            "proof": "local",
            "lower": "1/4",
            "upper": "1",
            "distance": "1/1000",
            "growth": "1/2",
            "minimum": True,
        },
    }


def test_a_certificate_by_hand() -> None:
    found = checker.check(by_hand())
    assert (found.proof, found.minimum, found.radius) == ("local", True, 16)
    page = (Path(__file__).parent.parent / "docs" / "local_certificates.md").read_text()
    (shown,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert json.loads(shown) == by_hand()
    tiny = Q(1, 1 << 80)
    assert Q(1, 2) - tiny < found.lower <= Q(1, 2) <= found.upper < Q(1, 2) + tiny
    assert Q(3, 4) - tiny < found.growth <= Q(3, 4)
    assert found.distance < tiny


def test_the_other_root_of_a_product_is_seen_as_another_point() -> None:
    """f = c a with x = 1, y = 1: minima at (1, 1) and (-1, -1), and no ball that holds both is accepted."""
    certificate = xu.certify_local(xu.SmoothNetwork((1, 1, 1), "identity"), [1.2, 0.9], [[1.0]], [1.0])
    assert np.allclose(certificate.theta, [1.0, 1.0])
    assert float(certificate.lower) == pytest.approx(1.0, abs=1e-15)
    assert certificate.radius < 2 * np.sqrt(2)
    tree = {**dict(certificate.tree), "claims": {"proof": "local"}}
    for radius in ("2", "3", "a"):
        assert checker.check({**tree, "radius": radius, "nu_radius": radius}).proof == "none"


def spent(tree: Any) -> int:
    """The work that checking costs, to the last unit, or until it is refused."""
    work = checker.Work(FREE)
    with suppress(checker.Rejected):
        checker.judge(checker.parse(json.dumps(tree).encode()), work)
    return FREE - work.left


def test_work_is_counted_as_the_page_says() -> None:
    """Sums that only change with the rules for counting: files whose numbers no producer makes."""
    unit = format(1 << 96, "x")
    assert spent(by_hand()) == WORK["by hand"]
    for phi in checker.ACTIVATIONS:
        assert spent(local([2, 3, 2, 1], 2, phi, theta=unit)) == WORK[phi]
    assert checker.check(local([2, 3, 2, 1], 2, theta=unit)).proof == "none"


def test_work_is_granted_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    granted: list[int] = []

    class Counted(checker.Work):
        def __init__(self, left: int) -> None:
            granted.append(left)
            super().__init__(left)

    monkeypatch.setattr(checker, "Work", Counted)
    tree = by_hand()
    assert checker.check(tree).proof == "local"
    assert granted == [4_000_000_000 + 3_500 * len(json.dumps(tree))]


def errors(phi: str) -> tuple[int, ...]:
    """Of outputs, derivatives, and the Hessian, in units, where every number is 1."""
    problem = checker.Problem(local([2, 3, 2, 1], 2, phi))
    values = checker.Evaluation(problem, [1 << 96] * problem.d, 1, 96, checker.Work(FREE))
    F, first, second = checker.equations(problem, [1 << 96] * problem.d, [1 << 96] * 2, 96, checker.Work(FREE))
    hessian = values.hessian([1 << 96] * 2, 1)
    assert len(F) == problem.d + 2
    units = math.ceil(first * (1 << 96)), math.ceil(second * (1 << 96))
    return values.outputs.err, values.jacobian.err, hessian.err, *units


def test_errors_are_counted_as_written() -> None:
    """A rule for errors that changed is seen here first, whether it became wrong or only wasteful."""
    assert {phi: errors(phi) for phi in checker.ACTIVATIONS} == ERRORS
    found = checker.check(by_hand())
    assert [found.distance, found.growth, found.upper] == [Q(int(a, 16), int(b, 16)) for a, b in BY_HAND]
    grid = checker.Grid(100)
    assert grid.at(90, checker.Ball(1 << 100, 2047)) == (1 << 90, 3)
    assert grid.at(101, checker.Ball(3, 1)) == (6, 2)
    assert grid.scaled(3, checker.Ball(10, 4), 2) == (15, 8)
    assert grid.times(checker.Ball(1 << 100, 4), checker.Ball(1 << 99, 8)) == (1 << 99, 12)
    assert grid.over(checker.Ball(1 << 100, 0), checker.Ball(1 << 101, 0)) == (1 << 99, 2)
    assert grid.root(checker.Ball(1 << 100, 0)) == (1 << 100, 1)


def test_variation_and_contraction_of_small_files() -> None:
    """beta and tau of the file in which every number is 1, as decimals; the bound of 1 / sigma."""
    for phi, (beta, tau) in VARIATION.items():
        tree = local([2, 3, 2, 1], 2, phi, theta=format(1 << 96, "x"))
        problem = checker.Problem(tree)
        point = checker.Point(tree, problem)
        values = checker.Evaluation(problem, point.theta, 1, 96, checker.Work(FREE))
        found = checker.vary(problem, point, values, Q(1, 8), checker.Work(FREE))
        assert [f"{float(each):.12g}" for each in found] == [beta, tau]


def made(H: list[list[int]], J: list[list[int]], **more: Any) -> checker.Linear:
    """With entries in ones, and no errors."""
    wide = [[[entry << 96 for entry in row] for row in matrix] for matrix in (H, J)]
    parts: dict[str, Any] = {"h_off": Q(0), "j_off": Q(0), "a": (Q(0),) * 3, "z": (Q(0),) * 4}
    return checker.Linear(*wide, **(parts | more))


@pytest.mark.parametrize(
    ("inverse", "off_h", "off_j", "bends"),
    [
        (1, 0.99, 0, True), (1, 1.01, 0, False), (1, 0, 0.39, True), (1, 0, 0.393, False), (1, 0.1, 0.332, True),
        (1, 0.1, 0.334, False), (2, 0, 0.195, True), (2, 0, 0.197, False),
    ],
)  # fmt: skip
def test_saddles_are_weighed_as_written(inverse: int, off_h: float, off_j: float, bends: bool) -> None:
    """H = diag(-1, 1), J = (0, 1), v along the first axis: -1 + h + 2 w (1 + h) + (sqrt 2 + h) w^2, w = inverse j."""
    lin = made([[-1, 0], [0, 1]], [[0, 1]])
    for v in (["1", "0"], ["-a", "0"]):
        found = checker.bends_down(v, lin, Q(inverse), Q(off_h), Q(off_j), checker.Work(FREE))
        assert found is bends
    assert not checker.bends_down(["0", "1"], lin, Q(1), Q(0), Q(0), checker.Work(FREE))


def test_contraction_is_weighed_as_written() -> None:
    lin = made([[1]], [[1]], a=(Q(2), Q(3), Q(5)), z=(Q(1, 7), Q(1, 11), Q(1, 13), Q(1, 17)))
    h, j, r, s = Q(1, 64), Q(1, 128), Q(3), Q(5)
    q11, q12 = Q(1, 7) + 2 * h + 3 * j, Q(1, 11) + 2 * j
    q21, q22 = Q(1, 13) + 3 * h + 5 * j, Q(1, 17) + 3 * j
    kappa, inverse = checker.contraction(lin, h, j, r, s)
    assert kappa == max(q11 + q12 * 5 / 3, q21 * 3 / 5 + q22)
    assert inverse == 3 / (1 - q22)
    kappa, _ = checker.contraction(lin, h, j, Q(9), Q(1))
    assert kappa == max(q11 + q12 / 9, q21 * 9 + q22)
    assert checker.contraction(lin, h, Q(1), r, s)[1] == 0


def test_definiteness_is_weighed_as_written() -> None:
    """H = diag(1, -2), J = (0, 1), rho = 4: M = diag(1, 2); L L^T = diag(1/4, 1) + ..."""
    lin = made([[1, 0], [0, -2]], [[0, 1]])
    problem = checker.Problem(local([2, 1], 1))
    node = {"rho": "4", "sigma": "3/4", "bits": 1, "factor": [["1"], ["0", "2"]]}
    mu, rho = checker.definite(node, problem, lin, checker.Work(FREE))
    assert rho == 4
    assert abs(mu - (Q(3, 4) - Q(1, 4))) < Q(1, 1 << 60)  # M - sigma I - L L^T = diag(0, 1/4)
    node["factor"] = [["1"], ["1", "2"]]  # L L^T = (1/4, 1/4; 1/4, 5/4): off by (0, -1/4; -1/4, 0)
    mu, _ = checker.definite(node, problem, lin, checker.Work(FREE))
    assert abs(float(mu) - (0.75 - np.sqrt(2) / 4)) < 1e-12


def test_growth_through_a_layer_is_weighed_as_written() -> None:
    """Rational numbers, of which the only root is that of 3^2 + 4^2."""
    phi = checker.ACTIVATIONS["tanh"]
    layer = checker.Layer(0, 1, 1, False, phi)
    below = checker.Growth(Q(2), Q(1, 8), Q(1, 16))
    found = checker.grow(layer, below, Q(2), Q(3), Q(1, 4), Q(1, 8), Q(1, 100))
    s1, s2, s3 = Q(5), 2 + 2 * Q(1, 8), Q(1155, 1000) * Q(1, 8) + 2 * Q(1, 16)
    slope, bend = Q(1, 4) + Q(77, 100) * s1 / 100, Q(1, 8) + 2 * s1 / 100
    exact = slope * s1, bend * s1**2 + slope * s2, 2 * s1**3 + 3 * bend * s1 * s2 + slope * s3
    for each, bound in zip(exact, found, strict=True):
        assert each <= bound < each * (1 + Q(1, 1 << 50))
    capped = checker.grow(layer, below, Q(2), Q(3), Q(1), Q(3, 4), Q(1))
    assert capped.first < 5 * (1 + Q(1, 1 << 50))
    assert capped.second < (Q(77, 100) * 25 + s2) * (1 + Q(1, 1 << 50))


def test_bounds_of_derivatives_are_those_of_the_page() -> None:
    page = (Path(__file__).parent.parent / "docs" / "local_certificates.md").read_text()
    rows = re.findall(r"^\| (\w+) \| ([\w./]+) \| ([\d./]+) \| ([\d./]+) \|", page, re.MULTILINE)
    stated = {name: tuple(None if text == "none" else Q(text) for text in bounds) for name, *bounds in rows}
    assert stated == {name: tuple(phi[1:]) for name, phi in checker.ACTIVATIONS.items()}
