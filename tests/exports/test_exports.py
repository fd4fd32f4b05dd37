"""Programs in the formats of others: read back by somebody else, they have the certified optimum."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pytest
import qpsolvers
from scipy.optimize import milp

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.exports import cvxpy_problem, qpsolvers_problem, scipy_arguments, write_program, write_vipr
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import ExplicitProgram
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers
from tests.exports.readers import read_cbf, read_qplib
from tests.exports.vipr_verifier import Refused, verify

CASES = [
    ("l1", "none", "all free"),
    ("l1 with zero weights", "l1", "some frozen"),
    ("weighted linf", "box", "some frozen"),
    ("squared l2", "none", "all free"),
    ("elastic net", "squared and l1", "some frozen"),
    ("weighted l2", "none", "some frozen"),
    ("group l2", "ball", "all free"),
    ("nuclear norm", "none", "all free"),
    ("nuclear norm of a block", "squared", "some frozen"),
]
NEAR = {"rel": 2e-6, "abs": 2e-6}
"""What other solvers reach at their defaults."""


def case(name: tuple[str, str, str]) -> tuple[UnlearningProblem, ExplicitProgram, float]:
    problem = gaussian_problem(regularizers()[name[0]], drifts()[name[1]], freezings()[name[2]])
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.upper is not None
    return problem, xu.explicit_program(problem), float(certificate.upper)


def counting() -> tuple[UnlearningProblem, ExplicitProgram, float]:
    rng = np.random.default_rng(3)
    problem = UnlearningProblem(rng.integers(1, 4, 8).astype(float), rng.integers(-2, 3, (3, 8)).astype(float), xu.L0())
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.upper == certificate.lower
    return problem, xu.explicit_program(problem), float(certificate.upper or 0)


def finite_part(problem: UnlearningProblem, theta: np.ndarray) -> float:
    """R + Rhat without the indicators of regions, whose border other solvers cross by a rounding error."""
    smooth = [term for term in problem.drifts if term.name != "trust_region"]
    moved = theta - problem.theta_star
    assert np.abs(problem.jacobian.matvec(moved) - problem.rhs).max(initial=0.0) < 1e-6
    return float(problem.regularizer.value(theta) + sum(term.value(moved) for term in smooth))


def with_highs(path: Path) -> tuple[float, np.ndarray]:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.readModel(str(path)) != highspy.HighsStatus.kError  # it warns that it drops entries below 1e-9
    highs.run()
    return highs.getInfo().objective_function_value, np.array(highs.getSolution().col_value)


@pytest.mark.parametrize("name", CASES, ids=" ".join)
def test_every_convex_program_reads_back_from_cbf(name: tuple[str, str, str], tmp_path: Path) -> None:
    problem, program, optimum = case(name)
    write_program(program, tmp_path / "program.cbf")
    copy, x = read_cbf((tmp_path / "program.cbf").read_text())
    copy.solve(solver="CLARABEL")
    assert copy.value == pytest.approx(optimum, **NEAR)
    assert finite_part(problem, program.theta(x.value[: program.q.size])) == pytest.approx(optimum, **NEAR)


@pytest.mark.parametrize("name", CASES, ids=" ".join)
def test_programs_without_cones_read_back_from_mps_and_qplib(name: tuple[str, str, str], tmp_path: Path) -> None:
    problem, program, optimum = case(name)
    for suffix in (".mps", ".qplib"):
        path = tmp_path / f"program{suffix}"
        if program.kind not in ("LP", "QP"):
            with pytest.raises(ProblemError, match=rf"{suffix} has no cones, and this is an S\w+; write .cbf"):
                write_program(program, path)
            assert not path.exists()
            continue
        write_program(program, path)
        if suffix == ".mps":
            value, z = with_highs(path)
        else:
            copy, x = read_qplib(path.read_text())
            copy.solve(solver="CLARABEL")
            value, z = copy.value, x.value
        assert value == pytest.approx(optimum, **NEAR)
        assert finite_part(problem, program.theta(z)) == pytest.approx(optimum, **NEAR)


def test_a_count_reads_back_from_every_format(tmp_path: Path) -> None:
    _, program, optimum = counting()
    for suffix, read in ((".mps", None), (".qplib", read_qplib), (".cbf", read_cbf)):
        path = tmp_path / f"program{suffix}"
        write_program(program, path)
        if read is None:
            value = with_highs(path)[0]
        else:
            copy, _ = read(path.read_text())
            copy.solve(solver="HIGHS")
            value = copy.value
        assert value == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize("name", ["no rows", "only zero rows", "zero theta", "square"])
@pytest.mark.parametrize("suffix", [".mps", ".qplib", ".cbf"])
def test_degenerate_programs_are_ordinary_ones(name: str, suffix: str, tmp_path: Path) -> None:
    """A QP without a row, columns without an entry, an objective that is 0."""
    J, theta = instances()[name]
    problem = UnlearningProblem(theta, J, xu.SquaredL2())
    program = xu.explicit_program(problem)
    optimum = float(xu.certify(problem, xu.solve(problem)).upper or 0)
    path = tmp_path / f"program{suffix}"
    write_program(program, path)
    if suffix == ".mps":
        value = with_highs(path)[0]
    else:
        copy, _ = (read_qplib if suffix == ".qplib" else read_cbf)(path.read_text())
        copy.solve(solver="CLARABEL")
        value = copy.value
    assert value == pytest.approx(optimum, **NEAR)


@pytest.mark.parametrize("name", CASES, ids=" ".join)
def test_objects_of_other_libraries(name: tuple[str, str, str]) -> None:
    problem, program, optimum = case(name)
    copy, z = cvxpy_problem(program)
    copy.solve(solver="CLARABEL")
    assert copy.value == pytest.approx(optimum, **NEAR)
    assert finite_part(problem, program.theta(z.value)) == pytest.approx(optimum, **NEAR)
    if program.kind in ("LP", "QP"):
        answer = qpsolvers.solve_problem(qpsolvers_problem(program), solver="clarabel")
        assert program.value(answer.x) == pytest.approx(optimum, **NEAR)
    else:
        with pytest.raises(ProblemError, match="qpsolvers takes LPs and QPs"):
            qpsolvers_problem(program)
    if program.kind == "LP":
        result = milp(**scipy_arguments(program))
        assert result.fun + program.constant == pytest.approx(optimum, **NEAR)
    else:
        with pytest.raises(ProblemError, match=r"scipy.optimize solves LPs and MILPs, and this is"):
            scipy_arguments(program)


def test_a_count_for_scipy_and_cvxpy() -> None:
    _, program, optimum = counting()
    assert milp(**scipy_arguments(program)).fun + program.constant == pytest.approx(optimum, abs=1e-6)
    copy, _ = cvxpy_problem(program)
    copy.solve(solver="HIGHS")
    assert copy.value == pytest.approx(optimum, abs=1e-6)


def test_an_unknown_suffix_is_one_sentence(tmp_path: Path) -> None:
    _, program, _ = case(CASES[0])
    with pytest.raises(ProblemError, match=r"ends in \.mps, \.qplib, \.cbf, got 'program.lp'"):
        write_program(program, tmp_path / "program.lp")


# ---------------------------------------------------------------- proofs


def linear_problem(seed: int) -> UnlearningProblem:
    """Random linear programs: both norms, weights that are 0, drifts, boxes, frozen coordinates, b, ties."""
    rng = np.random.default_rng(seed)
    d, k = 9, 3
    weights = rng.integers(0, 4, d) * 0.5
    R = [xu.L1(), xu.LInf(), xu.L1(weights), xu.LInf(weights)][seed % 4]
    near = xu.TrustRegion(0.7, math.inf)
    drift = [None, xu.L1Drift(0.3), near, xu.L1Drift(0.25) + xu.TrustRegion(1.5, math.inf)][seed // 4 % 4]
    theta = rng.integers(-3, 4, d).astype(float) if seed % 3 else rng.normal(size=d)
    J = rng.integers(-2, 3, (k, d)).astype(float) if seed % 2 else rng.normal(size=(k, d))
    rhs = rng.normal(size=k) * 0.2 if seed % 7 == 0 and seed % 2 == 0 else None
    return UnlearningProblem(theta, J, R, drift, np.arange(d - 2) if seed % 5 else None, rhs)


@pytest.mark.parametrize("seed", range(32))
def test_proofs_of_linear_programs_satisfy_another_checker(seed: int, tmp_path: Path) -> None:
    problem = linear_problem(seed)
    certificate = xu.certify(problem, xu.solve(problem))
    path = tmp_path / "proof.vipr"
    write_vipr(certificate, path)
    said, lower, upper = verify(path.read_text())
    if certificate.proof == "infeasible":
        assert said == "infeasible"
    else:
        assert lower == upper == certificate.upper


@pytest.mark.parametrize("seed", range(0, 32, 2))
def test_proofs_with_rows_that_read_at_least_satisfy_another_checker(seed: int, tmp_path: Path) -> None:
    plain = linear_problem(seed)
    rhs = np.random.default_rng(seed).integers(-2, 3, size=3) / 4
    problem = replace(plain, rhs=rhs, at_least=np.array([True, seed % 4 == 0, True]))
    certificate = xu.certify(problem, rows="literal")
    write_vipr(certificate, tmp_path / "proof.vipr")
    said, lower, upper = verify((tmp_path / "proof.vipr").read_text())
    assert said == "infeasible" if certificate.proof == "infeasible" else lower == upper == certificate.upper


def test_programs_with_rows_that_read_at_least_are_inequalities() -> None:
    """As SciPy, qpsolvers and CVXPY see them."""
    plain = linear_problem(1)
    problem = replace(plain, rhs=[0.5, -0.25, 0.0], at_least=[True, False, True])
    program, optimum = xu.explicit_program(problem), float(xu.certify(problem).upper)
    answer = milp(**scipy_arguments(program))
    assert answer.fun + program.constant == pytest.approx(optimum)
    posed, z = cvxpy_problem(program)
    assert posed.solve(solver="CLARABEL") == pytest.approx(optimum, rel=1e-6)
    gaps = problem.jacobian.matvec(program.theta(z.value) - problem.theta_star) - problem.rhs
    assert gaps.min() >= -1e-6
    assert abs(gaps[1]) <= 1e-6


def test_the_other_checker_refuses_what_is_changed(tmp_path: Path) -> None:
    """Any number of the proof, the point or the bound: changed by one, it must be refused."""
    problem = linear_problem(12)
    write_vipr(xu.certify(problem, xu.solve(problem)), tmp_path / "proof.vipr")
    lines = (tmp_path / "proof.vipr").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("SOL"))
    goal = next(i for i, line in enumerate(lines) if line.startswith("RTP"))
    refused = 0
    for at in (goal, start + 1, len(lines) - 1):
        tokens = lines[at].split()
        numbers = [i for i, token in enumerate(tokens) if token.lstrip("-").replace("/", "").isdigit()][1:]
        for i in numbers:
            changed = str(Fraction(tokens[i]) + 1)
            text = "\n".join([*lines[:at], " ".join([*tokens[:i], changed, *tokens[i + 1 :]]), *lines[at + 1 :]])
            if tokens[i] == "-1" and i == len(tokens) - 1:
                continue  # until when a derivation is needed: of no consequence
            if at == goal and i == 3:
                continue  # a weaker upper bound is proved as well
            with pytest.raises((Refused, StopIteration, ValueError)):
                verify(text)
            refused += 1
    assert refused > 10


def test_infeasible_problems_end_in_a_contradiction(tmp_path: Path) -> None:
    J = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])
    for problem in (
        UnlearningProblem([1.0, 1.0, 1.0], J, xu.L1(), rhs=[1.0, 3.0]),
        UnlearningProblem([1.0, 1.0, 1.0], J[:1], xu.LInf(), xu.TrustRegion(0.1, math.inf), rhs=[1.0]),
    ):
        certificate = xu.certify(problem, xu.solve(problem), rows="literal")
        assert certificate.proof == "infeasible"
        write_vipr(certificate, tmp_path / "proof.vipr")
        assert verify((tmp_path / "proof.vipr").read_text())[0] == "infeasible"


@pytest.mark.parametrize(
    ("R", "drift", "sentence"),
    [
        (xu.SquaredL2(), None, "squared_l2 makes this something else"),
        (xu.L1(), xu.SquaredDrift(0.5), "squared_drift makes this something else"),
        (xu.L1(), xu.TrustRegion(0.5), "trust_region makes this something else"),
    ],
)
def test_what_is_no_linear_program_is_refused(R: Any, drift: Any, sentence: str, tmp_path: Path) -> None:
    problem = gaussian_problem(R, drift)
    certificate = xu.certify(problem, xu.solve(problem))
    with pytest.raises(ProblemError, match=sentence if certificate.proof == "exact" else "takes exact proofs"):
        write_vipr(certificate, tmp_path / "proof.vipr")
    assert not (tmp_path / "proof.vipr").exists()


def test_long_numbers_are_written_in_full() -> None:
    """Beyond the 4300 digits at which str() gives up; against a product whose digits are known."""
    from exact_unlearn.exports.vipr import _digits

    for size in (1, 4299, 4301, 9000, 20_001):
        assert _digits(10**size - 1) == "9" * size
        assert _digits(10**size) == "1" + "0" * size
        assert _digits(-(10**size)) == "-1" + "0" * size
