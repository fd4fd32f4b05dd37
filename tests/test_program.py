"""Explicit programs: solving the exported matrices with other front ends gives the same optimum."""

from __future__ import annotations

import itertools
from pathlib import Path

import clarabel
import highspy
import numpy as np
import osqp
import pytest
import scipy.sparse as sp

import exact_unlearn as xu
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import ExplicitProgram
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers

KINDS = {
    ("squared l2", "none"): "QP",
    ("elastic net", "box"): "QP",
    ("l1", "squared"): "QP",
    ("l1", "l1"): "LP",
    ("linf", "box"): "LP",
    ("l1", "ball"): "SOCP",
    ("group l2", "none"): "SOCP",
    ("l2", "squared"): "SOCP",
    ("nuclear norm", "ball"): "SDP",
}


def round_trip(program: ExplicitProgram, tmp_path: Path, suffix: str = ".npz") -> ExplicitProgram:
    program.save(tmp_path / f"program{suffix}")
    return ExplicitProgram.load(tmp_path / f"program{suffix}")


def solve_with_clarabel(program: ExplicitProgram) -> tuple[np.ndarray, np.ndarray]:
    cones = [clarabel.ZeroConeT(program.cones.zero), clarabel.NonnegativeConeT(program.cones.nonneg)]
    cones += [clarabel.SecondOrderConeT(size) for size in program.cones.soc]
    cones += [clarabel.PSDTriangleConeT(order) for order in program.cones.psd]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    upper = sp.csc_matrix(sp.triu(program.P))
    result = clarabel.DefaultSolver(upper, program.q, sp.csc_matrix(program.A), program.b, cones, settings).solve()
    return np.array(result.x), np.array(result.z)


def solve_with_osqp(program: ExplicitProgram) -> np.ndarray:
    P, q, A, lower, upper = program.osqp()
    solver = osqp.OSQP()
    solver.setup(
        sp.csc_matrix(P), q, sp.csc_matrix(A), lower, upper, verbose=False, eps_abs=1e-9, eps_rel=1e-9, max_iter=50_000
    )
    return np.array(solver.solve(raise_error=False).x)


def solve_with_highs(program: ExplicitProgram) -> np.ndarray:
    _, q, A, lower, upper = program.osqp()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = q.size, A.shape[0]
    lp.col_cost_, lp.row_lower_, lp.row_upper_ = q, lower, upper
    binary = np.isin(np.arange(q.size), program.integer)
    lp.col_lower_, lp.col_upper_ = np.where(binary, 0.0, -np.inf), np.where(binary, 1.0, np.inf)
    if binary.any():
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if flag else kinds.kContinuous for flag in binary]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = A.indptr, A.indices, A.data
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.passModel(lp)
    highs.run()
    return np.array(highs.getSolution().col_value)


@pytest.mark.parametrize(("regularizer", "drift"), KINDS)
def test_kinds(regularizer: str, drift: str) -> None:
    program = xu.explicit_program(gaussian_problem(regularizers()[regularizer], drifts()[drift]))
    assert program.kind == KINDS[regularizer, drift]
    assert program.A.shape == (program.cones.rows, program.q.size) == (program.b.size, program.P.shape[0])


@pytest.mark.parametrize(
    ("regularizer", "drift", "freezing"),
    list(itertools.product(regularizers(), drifts(), ["all free", "some frozen"])),
)
def test_exported_matrices_have_the_same_optimum_in_clarabel(
    regularizer: str, drift: str, freezing: str, tmp_path: Path
) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()[freezing])
    program = round_trip(xu.explicit_program(problem), tmp_path)
    z, y = solve_with_clarabel(program)
    solution = xu.solve(problem)
    assert abs(program.value(z) - solution.value) <= 1e-6 * max(1.0, abs(solution.value))
    # the maps back to the caller's parameters and multipliers: J.T nu = g + sum h_k with the subgradients of solve()
    drift_of_z = program.theta(z) - problem.theta_star
    assert np.abs(problem.jacobian.matvec(drift_of_z)).max() <= 1e-6
    assert (drift_of_z[~problem.free] == 0).all()
    stationarity = program.P @ z + program.q + program.A.T @ y
    assert np.abs(stationarity).max() <= 1e-5
    free = np.flatnonzero(problem.free)
    others = (stationarity - program.A[: program.cones.zero].T @ y[: program.cones.zero])[: free.size]
    assert np.allclose(problem.jacobian.rmatvec(program.nu(y))[free], others - stationarity[: free.size], atol=1e-8)


@pytest.mark.parametrize(
    "regularizer", ["squared l2", "weighted squared l2", "elastic net", "l1", "linf", "weighted linf"]
)
@pytest.mark.parametrize("drift", ["squared", "squared and l1", "box"])
def test_exported_matrices_have_the_same_optimum_in_osqp(regularizer: str, drift: str, tmp_path: Path) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()["some frozen"])
    program = round_trip(xu.explicit_program(problem), tmp_path, ".safetensors")
    value = program.value(solve_with_osqp(program))
    assert abs(value - xu.solve(problem).value) <= 1e-5 * abs(value)


@pytest.mark.parametrize("regularizer", ["l1", "weighted l1", "linf"])
@pytest.mark.parametrize("drift", ["none", "l1", "box"])
def test_exported_matrices_have_the_same_optimum_in_highs(regularizer: str, drift: str, tmp_path: Path) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()["some frozen"])
    program = round_trip(xu.explicit_program(problem), tmp_path)
    value = program.value(solve_with_highs(program))
    assert abs(value - xu.solve(problem).value) <= 1e-7 * abs(value)


def test_integer_programs_keep_their_binary_variables(tmp_path: Path) -> None:
    problem = gaussian_problem(xu.L0(np.arange(12) // 2))
    program = round_trip(xu.explicit_program(problem), tmp_path)
    assert program.kind == "MILP"
    assert program.integer.size == 6
    assert np.isfinite(program.exact_up_to)
    # six groups of two, five generic equations: three groups are needed and suffice
    assert round(program.value(solve_with_highs(program))) == 3


def test_the_value_of_the_program_is_the_objective_of_the_problem() -> None:
    problem = gaussian_problem(xu.GroupL2(np.arange(12) // 3), xu.SquaredDrift(0.3), freezings()["some frozen"])
    program = xu.explicit_program(problem)
    theta = xu.solve(problem).theta
    norms = [np.linalg.norm(theta[3 * g : 3 * g + 3]) for g in range(4)]
    z = np.concatenate([theta[problem.free], norms])
    assert program.theta(z).tolist() == theta.tolist()
    assert np.isclose(program.value(z), problem.objective(theta), rtol=1e-13)


def test_what_no_solver_should_be_shown_is_refused() -> None:
    with pytest.raises(ProblemError, match="a SOCP has cones that l <= A z <= u cannot express"):
        xu.explicit_program(gaussian_problem(xu.L2())).osqp()
    wide = np.zeros((601, 50_000), dtype=np.float64)
    with pytest.raises(ProblemError, match=r"use exact_unlearn\.scalable"):
        xu.explicit_program(UnlearningProblem(np.zeros(50_000), wide, xu.L1()))


def test_damaged_programs_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    xu.explicit_program(gaussian_problem(xu.L1())).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError):
        ExplicitProgram.load(path)
    gaussian_problem(xu.L1()).save(path)
    with pytest.raises(FileFormatError, match="expected schema 'exact-unlearn/program'"):
        ExplicitProgram.load(path)


def test_ill_conditioned_data_do_not_reach_the_solver() -> None:
    J, theta = instances()["condition 1e12"]
    program = xu.explicit_program(UnlearningProblem(theta, J, xu.L1()))
    equations = program.A[: program.cones.zero].toarray()
    assert np.linalg.cond(equations) <= 1 + 1e-12
