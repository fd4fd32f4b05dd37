"""Nothing that takes a problem reads rows that read >= as equations: it takes them, or refuses in one sentence."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import crosscheck, exports, scalable
from exact_unlearn.cli import main
from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem

J = np.array([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, -1.0, 3.0]])
THETA, RHS = np.array([1.0, -1.0, 2.0, 0.5]), np.array([-4.0, 0.5])


def problem(regularizer: Any, mask: Any = (True, False), **more: Any) -> UnlearningProblem:
    """The first row holds anyway as >=, and costs something as an equation."""
    return UnlearningProblem(THETA, J, regularizer, rhs=RHS, at_least=np.array(mask), **more)


REGULARIZERS: list[Any] = [
    xu.SquaredL2(), xu.L2(), xu.L1(), xu.LInf(), xu.GroupL2([[0, 1], [2, 3]]), xu.ElasticNet(0.5, 1.0),
    xu.NuclearNorm(slice(0, 4), (2, 2)), xu.L0(),
]  # fmt: skip


def takers(module: Any) -> set[str]:
    """Public functions of a module with an argument `problem` or `problems`."""
    found = set()
    for name in module.__all__:
        thing = getattr(module, name)
        thing = type(thing).__call__ if inspect.ismodule(thing) and callable(thing) else thing
        if inspect.isroutine(thing) and {"problem", "problems"} & set(inspect.signature(thing).parameters):
            found.add(name)
    return found


def test_these_are_all_public_functions_that_take_a_problem() -> None:
    """A new one belongs into a test of this file.  `global_network` has one of its own: tests/test_convexity.py."""
    assert takers(xu) == {"certify", "explicit_program", "global_network", "judge", "solve"}
    assert takers(scalable) == {"solve", "solve_path"}
    assert takers(exports) == set()  # programs and certificates


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda R: R.name)
def test_values_are_those_of_inequalities(regularizer: Any) -> None:
    """With equations every one of these would be larger, for the first row is missed by the optimum without it."""
    plain, found = problem(regularizer, (False, False)), problem(regularizer)
    equations = xu.certify(plain).upper
    certificate = xu.certify(found)
    assert certificate.upper is not None
    assert equations is not None
    assert certificate.upper < equations or regularizer.name == "l0"
    assert certificate.check().proved
    optimum = float(certificate.upper)
    assert xu.solve(found).value == pytest.approx(optimum, rel=1e-7)
    assert xu.judge(found, xu.solve(found)).outcome == "optimal"
    assert not certificate.check(plain).proved
    program = xu.explicit_program(found)
    assert (program.cones.zero, program.b[1]) == (1, pytest.approx(2**-2 * (-J[0] @ THETA - RHS[0])))
    if regularizer.name in ("nuclear_norm", "l0"):
        with pytest.raises(ProblemError, match="regularizer: scalable"):
            scalable.solve(found)
        return
    assert scalable.solve(found).value == pytest.approx(optimum, rel=1e-6)
    assert next(scalable.solve_path([found])).value == pytest.approx(optimum, rel=1e-6)
    bounds = crosscheck.proved(found)
    assert bounds is not None
    assert bounds.upper == pytest.approx(optimum)
    for name, route in crosscheck._routes(found).items():
        assert crosscheck.judge(found, route(found), bounds) < 1e-5, name


def test_commands_read_the_mask(tmp_path: Path) -> None:
    raw, saved = tmp_path / "raw.npz", tmp_path / "saved.json"
    np.savez(raw, theta_star=THETA, jacobian=J, rhs=RHS, at_least=np.array([1, 0]))
    problem(xu.L1()).save(saved)
    optimum, out = float(xu.certify(problem(xu.L1())).upper or 0), str(tmp_path / "out.npz")
    report = tmp_path / "report.json"
    for source in ([str(raw), "-r", "l1"], [str(saved)]):
        assert main(["solve", *source, "-o", out, "--json", str(report), "--quiet"]) == 0
        assert json.loads(report.read_text())["value"] == pytest.approx(optimum)
        proof = str(tmp_path / "out.certificate.json")
        assert main(["check", str(saved), proof]) == 0
        assert main(["judge", *source[:1], out, *source[1:], "--quiet"]) == 0
        assert main(["certify", *source[:1], out, *source[1:], "-o", str(tmp_path / "c.json"), "--quiet"]) == 0
        assert main(["check", str(saved), str(tmp_path / "c.json")]) == 0
        assert main(["program", *source, "-o", str(tmp_path / "p.mps")]) == 0
        assert " L c1" in (tmp_path / "p.mps").read_text()


@pytest.mark.parametrize("mask", [np.array([1.0, 0.0]), np.array([1, 2]), np.array([True]), np.array([[1, 0]])])
def test_a_mask_that_is_none_is_one_sentence(mask: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "raw.npz", theta_star=THETA, jacobian=J, rhs=RHS, at_least=mask)
    assert main(["solve", str(tmp_path / "raw.npz"), "-r", "l1"]) == 2
    said = capsys.readouterr().err
    assert "at_least: expected 2 of 0 and 1, one per row" in said
    assert said.count("\n") == 1
