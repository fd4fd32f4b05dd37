"""The checker of local certificates, part by part, against another arithmetic; and what it refuses, by sentence."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.local import checker
from tests.local_cases import NETWORKS, certified, data
from validation.attack._local_forge import original
from validation.attack._local_truth import PHI

POINTS = [0, 1e-30, -1e-9, 0.3, -0.7, 1, -1, 2.5, -6.0, 9, 16.5, -20, 27.0, -40, 100.25, -1e4, 3e9]
FREE = 1 << 62


def ball(value: Any, bits: int) -> Any:
    return value * mpmath.mpf(2) ** bits


def holds(found: checker.Ball, value: Any, bits: int) -> bool:
    return bool(abs(ball(value, bits) - found.mid) <= found.err)


# --- balls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [136, 296])
@pytest.mark.parametrize("name", checker.ACTIVATIONS)
def test_activations_contain_the_truth(name: str, bits: int) -> None:
    """phi, phi' and phi'' by mpmath, the derivatives by its own numerical differentiation as well."""
    grid = checker.Grid(bits)
    with mpmath.workprec(2 * bits + 300):
        value, slope = PHI[name]
        for point in POINTS:
            mid = int(mpmath.floor(ball(mpmath.mpf(point), bits)))
            s = mpmath.mpf(mid) / mpmath.mpf(2) ** bits
            three = checker.ACTIVATIONS[name].three(grid, checker.Ball(mid, 0))
            assert holds(three[0], value(s), bits)
            assert holds(three[1], slope(s), bits)
            assert max(each.err for each in three[:2]) < 1 << 36
            if abs(point) < 50:
                step = mpmath.mpf(2) ** -(bits // 2)
                bend = (slope(s + step) - slope(s - step)) / (2 * step)
                assert abs(ball(bend, bits) - three[2].mid) <= three[2].err + ball(10 * step**2, bits)


@pytest.mark.parametrize("name", checker.ACTIVATIONS)
def test_bounds_of_derivatives_are_bounds(name: str) -> None:
    """On a fine grid, by differences of phi' from mpmath; and no bound is five times too large."""
    phi, slope = checker.ACTIVATIONS[name], PHI[name][1]
    with mpmath.workprec(120):
        points = [mpmath.mpf(i) / 32 for i in range(-320, 321)]
        step = mpmath.mpf(2) ** -30
        first = [abs(slope(s)) for s in points]
        second = [abs(slope(s + step) - slope(s - step)) / (2 * step) for s in points]
        third = [abs(slope(s + step) - 2 * slope(s) + slope(s - step)) / step**2 for s in points]
    for bound, values in ((phi.slope, first), (phi.bend, second), (phi.third, third)):
        if bound is not None:
            assert max(values) <= float(bound) + 1e-9
            assert float(bound) <= 5 * float(max(values)) + 1e-9


def test_roots_quotients_and_pi_contain_the_truth() -> None:
    grid = checker.Grid(200)
    with mpmath.workprec(600):
        assert holds(checker.pi(200), mpmath.pi, 200)
        for a, b in ((3, 7), (-3, 7), (3, -7), (10**9, 3)):
            balls = [checker.Ball(n << 190, 5) for n in (a, b)]
            for off in (-5, 0, 5):
                exact = [mpmath.mpf((n << 190) + off) / mpmath.mpf(2) ** 200 for n in (a, b)]
                assert holds(grid.over(*balls), exact[0] / exact[1], 200)
                assert holds(grid.times(*balls), exact[0] * exact[1], 200)
                if a > 0:
                    assert holds(grid.root(balls[0]), mpmath.sqrt(exact[0]), 200)
    with pytest.raises(checker.Rejected, match="may be zero"):
        grid.over(grid.one, checker.Ball(3, 3))
    with pytest.raises(checker.Rejected, match="may be negative"):
        grid.root(checker.Ball(3, 3))


def test_rounding_up_rounds_up() -> None:
    for x in (Q(1, 3), Q(10**40, 3**90), Q(3**200, 7**20), Q(0), Q(5)):
        assert x <= checker.up(x) <= x * (1 + Q(1, 1 << 60))
        assert checker.root_up(x) ** 2 >= x
        assert checker.root_up(x) ** 2 <= x * (1 + Q(1, 1 << 60))


# --- evaluate and vary ----------------------------------------------------------------------------------------------


def evaluated(name: str) -> tuple[checker.Problem, checker.Point, checker.Evaluation]:
    tree = dict(certified(name).tree)
    problem = checker.Problem(tree)
    point = checker.Point(tree, problem)
    coarse = [entry >> point.bits - checker.COARSE for entry in point.theta]
    return problem, point, checker.Evaluation(problem, coarse, 1, checker.COARSE, checker.Work(FREE))


@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_are_those_of_the_network(name: str) -> None:
    problem, point, values = evaluated(name)
    network, _, x, _ = data(name)
    theta = np.array([float(Q(t, 1 << point.bits)) for t in point.theta])
    nu = np.array([float(Q(t, 1 << point.bits)) for t in point.nu])
    f, J, S = network.second_order(theta, x, nu)
    coarse = values.hessian([entry >> point.bits - checker.COARSE for entry in point.nu], 1)
    for table, truth in ((values.outputs, f[None, :]), (values.jacobian, J), (coarse, S)):
        found = np.array([[float(Q(entry, 1 << checker.COARSE)) for entry in row] for row in table.rows])
        assert found.shape == truth.shape
        assert np.abs(found - truth).max() < 1e-12
        assert table.err < 1 << 24
    assert problem.k == len(nu)


@pytest.mark.parametrize("name", ["tanh", "two hidden layers", "softplus, two outputs"])
def test_errors_of_evaluation_are_bounds(name: str) -> None:
    """The same at twice the bits lies within the errors."""
    problem, point, values = evaluated(name)
    fine = checker.Evaluation(problem, point.theta, 0, point.bits, checker.Work(FREE))
    nu = [entry >> point.bits - checker.COARSE for entry in point.nu]
    pairs = (
        (values.outputs, fine.outputs),
        (values.jacobian, fine.jacobian),
        (values.hessian(nu, 1), fine.hessian(point.nu, 0)),
    )
    shift = point.bits - checker.COARSE
    for coarse, exact in pairs:
        for row, other in zip(coarse.rows, exact.rows, strict=True):
            for a, b in zip(row, other, strict=True):
                assert abs((a << shift) - b) <= (coarse.err << shift) + exact.err


@pytest.mark.parametrize("name", NETWORKS)
def test_variation_is_bounded(name: str) -> None:
    """J and the Hessians at random points of a ball of .1 differ by no more than beta and tau say."""
    problem, point, values = evaluated(name)
    network, _, x, _ = data(name)
    r = 0.1
    beta, tau = map(float, checker.vary(problem, point, values, Q(r), checker.Work(FREE)))
    theta = np.array([float(Q(t, 1 << point.bits)) for t in point.theta])
    nu = np.array([float(Q(t, 1 << point.bits)) for t in point.nu])
    _, J, S = network.second_order(theta, x, nu)
    rng = np.random.default_rng(1)
    for _ in range(10):
        step = rng.normal(size=len(theta))
        step *= r / np.linalg.norm(step)
        _, K, T = network.second_order(theta + step, x, nu)
        assert np.linalg.norm(K - J, 2) <= beta * r + 1e-9
        assert np.linalg.norm(T - S, 2) <= tau * r + 1e-9
        delta = rng.normal(size=len(nu))
        other = network.second_order(theta + step, x, delta)[2]
        assert np.linalg.norm(other, 2) <= beta * np.linalg.norm(delta) + 1e-9


def test_spectral_norms_are_bounds() -> None:
    rng = np.random.default_rng(2)
    for shape in ((1, 1), (3, 7), (7, 3), (0, 4)):
        B = rng.integers(-100, 100, shape)
        bound = float(checker.spectral(B.tolist(), 0, checker.Work(FREE)))
        truth = np.linalg.norm(B, 2) if B.size else 0.0
        assert truth <= bound * (1 + 1e-12)
        assert bound <= 1.8 * truth + 1


# --- refusals -------------------------------------------------------------------------------------------------------


def changed(action: Callable[[Any], Any], name: str = "tanh") -> str:
    """The only sentence about the file of a case after a change."""
    tree = copy.deepcopy(original(name))
    action(tree)
    found = checker.check(tree)
    assert (found.proof, found.proved, len(found.sentences)) == ("none", False, 1)
    return found.sentences[0]


def more(key: str, index: int, units: int) -> Callable[[Any], None]:
    def action(tree: Any) -> None:
        tree[key][index] = format(int(tree[key][index], 16) + units, "x")

    return action


def put(key: str, value: Any, *inner: Any) -> Callable[[Any], None]:
    def action(tree: Any) -> None:
        node = tree
        for part in inner:
            node = node[part]
        node[key] = value

    return action


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (more("theta", 3, 1 << 200), "more is claimed than proved"),
        (more("theta", 3, 1 << 247), "leaves the ball|no contraction"),
        (more("nu", 0, 1 << 254), "leaves the ball|no contraction"),
        (put("radius", "1"), "no contraction"),
        (put("nu_radius", "1000"), "no contraction"),
        (put("nu_radius", "1/ffffffffffff"), "no contraction"),
        (put("radius", "0"), "expected positive numbers"),
        (put("lower", "64", "claims"), "more is claimed than proved: lower"),
        (put("upper", "1/100", "claims"), "more is claimed than proved: upper"),
        (put("distance", "0", "claims"), "more is claimed than proved: distance"),
        (put("growth", "1", "claims"), "more is claimed than proved: growth"),
        (put("minimum", False, "claims"), "more is claimed than is proved: minimum"),
        (put("minimum", 1, "claims"), "minimum is true, false or null"),
        (put("proof", "exact", "claims"), "expected the proof 'local'"),
        (put("minimum", None), "more is claimed than is proved: minimum"),
        (put("sigma", "1", "minimum"), "more is claimed"),
        (put("rho", "0", "minimum"), "more is claimed"),
        (put("sigma", "-1", "minimum"), "out of range"),
        (put("sigma", "0", "minimum"), "out of range"),
        (put("rho", "-1", "minimum"), "out of range"),
        (put("rho", format(1 << 64, "x"), "minimum"), "out of range"),
        (put("bits", 97, "minimum"), "bits: expected an integer from 0 to 96"),
        (put("bits", 1025, "inverse"), "bits: expected an integer from 0 to 1024"),
        (put("bits", 1025), "bits: expected an integer from 96 to 1024"),
        (put("layers", [{"width": 1, "activation": "tanh", "bias": False}] * 17, "network"), "expected 1 to 16"),
        (put("inputs", 1025, "network"), "inputs: expected an integer from 1 to 1024"),
        (put("inputs", 0, "network"), "inputs: expected an integer from 1 to 1024"),
        (put("width", 0, "network", "layers", 1), "width: expected an integer from 1 to 1024"),
        (put("width", 200, "network", "layers", 1), "more than 1024 parameters and constraints"),
        (put("shape", [1025, 3], "x"), "n: expected an integer from 0 to 1024"),
        (put("theta", [format(1 << 320, "x")] * 24), "is 2\\^64 or larger"),
        (put("theta", [format((1 << 320) - 1, "x")] * 24), "no contraction"),
        (put("nu", [format(1 << 320, "x")] * 6), "is 2\\^64 or larger"),
        (put("centre", [format(1 << 64, "x")] * 24), "a number is 2\\^64 or larger"),
        (put("centre", ["1" + "0" * 512] * 24), "centre: expected a number as a text"),
        (put("activation", "sigmoid", "network", "layers", 0), "ball"),
        (put("activation", "relu", "network", "layers", 0), "not smooth: 'relu'"),
        (put("bias", 1, "network", "layers", 0), "true or false"),
        (put("bias", True, "network", "layers", 0), "centre: expected a list of 30"),
        (put("width", 7, "network", "layers", 0), "centre: expected a list of 28"),
        (put("inputs", True, "network"), "inputs: expected an integer"),
        (put("layers", [], "network"), "layers: expected 1 to 16"),
        (put("bits", 95), "bits: expected an integer from 96"),
        (put("bits", 255), "ball"),
        (put("theta", ["0"] * 24), "no contraction"),
        (put("theta", ["0"] * 23), "theta: expected a list of 24"),
        (put("theta", [0] * 24), "theta: expected an integer as a text"),
        (put("theta", ["1/2"] * 24), "theta: expected an integer as a text"),
        (put("theta", ["f" * 200] * 24), "is 2\\^64 or larger"),
        (put("centre", ["1/0"] * 24), "a denominator is zero"),
        (put("centre", ["f" * 17] * 24), "a number is 2\\^64 or larger"),
        (put("shape", [6, 4], "x"), "x: expected the shape \\[6, 3\\]"),
        (put("shape", [6], "x"), "x.shape: expected a list of 2"),
        (put("data", ["1"] * 5, "y"), "y.data: expected a list of 6"),
        (put("rows", [["0"]], "inverse"), "inverse: expected a list of 30"),
        (put("schema", "exact-unlearn/certificate"), "expected exact-unlearn/local-certificate"),
        (put("version", 2), "version 1"),
        (put("claims", []), "claims: expected an object"),
        (put("deep", json.loads("[" * 40 + "]" * 40)), "nested too deeply"),
        (put("float", 0.5), "a number is written as 0.5"),
    ],
)
def test_changes_are_refused(action: Callable[[Any], None], sentence: str) -> None:
    said = changed(action)
    assert said.startswith("not proved: ")
    assert re.search(sentence, said), said


def test_an_inverse_of_something_else_is_refused() -> None:
    def action(tree: Any) -> None:
        tree["inverse"]["rows"] = [["0"] * (a + 1) for a in range(30)]

    assert "no contraction" in changed(action)


def test_no_saddle_is_a_minimum_and_no_minimum_a_saddle() -> None:
    saddle, minimum = original("saddle"), original("tanh")
    assert checker.check(saddle).minimum is False
    assert "minimum" in changed(_called_a_saddle)
    assert "direction: expected a list of 4" in changed(put("saddle", ["1"]), "saddle")
    assert "more is claimed than is proved: minimum" in changed(put("saddle", ["0"] * 4), "saddle")
    assert checker.check(minimum).minimum is True


def _called_a_saddle(tree: Any) -> None:
    del tree["minimum"]
    tree["saddle"] = ["1"] * 24
    tree["claims"] |= {"minimum": False, "growth": None}


def test_weaker_claims_are_fair() -> None:
    tree = copy.deepcopy(original("tanh"))
    tree["claims"] = {"proof": "local", "lower": "0", "upper": "64", "distance": "1", "minimum": None, "growth": "0"}
    assert checker.check(tree).proof == "local"
    tree["remark"] = ["unknown keys mean nothing"]
    assert checker.check(tree).proof == "local"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "no JSON file"),
        (b"\xff", "no text"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b'{"a": NaN}', "written as NaN"),
        (b'{"a": 12345678901234567890}', "out of range"),
        (b"[]", "expected an object"),
    ],
)
def test_texts_are_refused(text: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text)
    found = checker.check(tmp_path / "a.json")
    assert sentence in found.sentences[0]
    assert "no file" in checker.check(tmp_path / "b.json").sentences[0]
    assert "no file" in checker.check(tmp_path).sentences[0]


def test_work_is_bounded_by_size() -> None:
    with pytest.raises(checker.Rejected, match="more work than its size allows"):
        checker.judge(json.loads(json.dumps(original("tanh"))), checker.Work(10**6))


def test_it_runs_alone_with_statuses_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    certified("tanh").save(path)
    command = [sys.executable, "-I", "-S", str(checker.__file__)]

    def status(*arguments: str) -> tuple[int, str]:
        run = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert run.stderr == ""
        return run.returncode, run.stdout

    assert status(str(path))[0] == 4
    assert "strict local minimum" in status(str(path))[1]
    tree = copy.deepcopy(original("tanh"))
    more("theta", 0, 1 << 254)(tree)
    path.write_text(json.dumps(tree))
    assert status(str(path)) == (1, checker.check(path).sentences[0] + "\n")
    assert status()[0] == status("--help")[0] == status("missing.json")[0] == 2


def test_the_command_in_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certified("a product").save(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{}")
    assert checker.main([str(tmp_path / "a.json")]) == 4
    assert "strict local minimum" in capsys.readouterr().out
    assert checker.main([str(tmp_path / "b.json")]) == 1
    assert capsys.readouterr().out == "not proved: the key 'schema' is missing\n"
    for wrong in ([], ["--help"], ["a.json", "b.json"]):
        assert checker.main(wrong) == 2
        assert "usage" in capsys.readouterr().out
    assert checker.main([str(tmp_path / "c.json")]) == 2
    assert "no such file" in capsys.readouterr().out


def test_what_is_said_to_people() -> None:
    def said(**changes: Any) -> str:
        parts = {"lower": Q(1, 2), "upper": Q(1), "distance": Q(1, 4), "radius": Q(3), "nu_radius": Q(2)}
        return "\n".join(checker.sentences(checker.Verdict(False, (), "local", **parts, digest="d1", **changes)))

    assert "within 3 of theta, with multipliers within 2 of nu; it is within 0.25" in said()
    assert "0.5 <= 1/2 |theta - centre|^2 <= 1, an interval of width 0.5" in said()
    assert "is not proved" in said()
    assert "strict local minimum" in said(minimum=True)
    assert "it is no local minimum" in said(minimum=False)
    assert "SHA-256 d1" in said()
    assert checker.show(Q(10) ** 400) == "2^1329"
    assert checker.show(Q(1, 10**400)) == "0"
    assert checker.show(Q(2, 3)) == "0.666667"


def test_the_radius_is_not_far_from_the_largest() -> None:
    """Four times the radius is no contraction any more, so the producer left little on the table."""
    for name in ("tanh", "two hidden layers"):
        certificate = certified(name)
        tree = copy.deepcopy(original(name))
        tree["radius"] = f"{4 * certificate.radius.numerator:x}/{certificate.radius.denominator:x}"
        found = checker.check({**tree, "claims": {"proof": "local"}})
        assert found.minimum is not True


def test_the_perceptron_of_the_issue() -> None:
    """6-24-1 with a bias column, 24 samples: 192 parameters, proved with a strict minimum."""
    rng = np.random.default_rng(0)
    x = np.hstack([rng.normal(size=(24, 6)), np.ones((24, 1))])
    certificate = xu.certify_local(xu.Perceptron(7, 24, "tanh"), rng.normal(size=192) * 0.5, x, rng.normal(size=24))
    assert certificate.strict_minimum
    assert certificate.check().minimum is True
    assert certificate.upper - certificate.lower < Q(1, 10**60)
