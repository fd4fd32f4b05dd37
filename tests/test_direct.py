"""`solve(solver="direct")`: the same program by a back end's own interface gives what CVXPY gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.program import assemble
from exact_unlearn.reference import direct
from tests.cases import TOLERANCES, drifts, instances, regularizers

CONVEX = regularizers()


def problem(name: str, **options: Any) -> xu.UnlearningProblem:
    J, theta = instances()["gaussian"]
    return xu.UnlearningProblem(theta, J, CONVEX[name], **options)


def agree(found: xu.Solution, reference: xu.Solution) -> None:
    assert found.status is reference.status is xu.Status.OPTIMAL, (found.message, reference.message)
    assert found.value == pytest.approx(reference.value, rel=TOLERANCES["value"], abs=TOLERANCES["value"])
    assert found.primal_residual() < TOLERANCES["residual"]
    assert found.dual_residual() < TOLERANCES["residual"]


@pytest.mark.parametrize("name", CONVEX)
def test_every_regularizer_and_able_back_end(name: str) -> None:
    posed = problem(name)
    reference = xu.solve(posed)
    for solver in direct.names_for(assemble(posed).program, "direct"):
        found = xu.solve(posed, solver=solver)
        agree(found, reference)
        assert found.solver.partition(":")[0] == "direct"


@pytest.mark.parametrize("penalty", drifts())
@pytest.mark.parametrize("name", ["l1", "linf", "squared l2", "group l2"])
def test_drift_penalties(name: str, penalty: str) -> None:
    posed = problem(name, drift_penalty=drifts()[penalty])
    agree(xu.solve(posed, solver="direct"), xu.solve(posed))


@pytest.mark.parametrize("instance", instances())
def test_degenerate_rows(instance: str) -> None:
    J, theta = instances()[instance]
    for R in (xu.L1(), xu.L2()):
        posed = xu.UnlearningProblem(theta, J, R)
        reference = xu.solve(posed)
        found = xu.solve(posed, solver="direct")
        assert found.status is reference.status
        assert found.value == pytest.approx(reference.value, rel=TOLERANCES["value"], abs=1e-300)


def test_rows_that_read_at_least() -> None:
    J, theta = instances()["gaussian"]
    posed = xu.UnlearningProblem(
        theta, J, xu.SquaredL2(), rhs=np.array([0.5, -1.0, 0.0, 0.25, 0.0]), at_least=np.arange(5) % 2 == 0
    )
    agree(xu.solve(posed, solver="direct"), xu.solve(posed))
    certificate = xu.certify(posed, xu.solve(posed, solver="direct:CLARABEL"))
    assert certificate.proof == "exact"


def test_what_cannot_be_is_one_sentence() -> None:
    J, theta = instances()["gaussian"]
    for solver, R, said in (
        ("direct", xu.L0(), "no back end solves a MILP directly; leave solver out"),
        ("direct:HIGHS", xu.SquaredL2(), "direct:HIGHS cannot solve a QP"),
        ("direct:OSQP", xu.L2(), "direct:OSQP cannot solve a SOCP"),
        ("direct:SCS", xu.L1(), "'direct:SCS' is not installed; direct takes"),
        ("Direct:nothing", xu.L1(), "'Direct:nothing' is not installed; direct takes"),
    ):
        with pytest.raises(ProblemError, match=said):
            xu.solve(xu.UnlearningProblem(theta, J, R), solver=solver)


def test_a_limit_of_time_is_kept_by_those_that_can() -> None:
    posed = problem("l1")
    assert xu.solve(posed, solver="direct", time_limit=100.0).status is xu.Status.OPTIMAL
    program = assemble(posed).program
    assert "direct:PIQP" not in direct.names_for(program, "direct", limited=True)
    if "direct:PIQP" in direct.names_for(program, "direct"):
        with pytest.raises(ProblemError, match="time_limit: PIQP has no time limit"):
            xu.solve(posed, solver="direct:PIQP", time_limit=100.0)


@pytest.mark.parametrize("error", [RuntimeError("factor\nis singular"), ValueError()])
def test_errors_are_the_answer(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setitem(direct.BACKENDS, "CLARABEL", ("clarabel", broken, "SOCP"))
    found = xu.solve(problem("l2"), solver="direct:CLARABEL")
    assert found.status is xu.Status.BACKEND_FAILED
    assert f"({'factor' if str(error) else 'ValueError'})" in found.message


def test_cvxpy_is_not_imported(tmp_path: Path) -> None:
    problem("l1").save(tmp_path / "p.npz")
    code = (
        "import sys; from exact_unlearn.cli import main\n"
        f"status = main(['solve', {str(tmp_path / 'p.npz')!r}, '--solver', 'direct'])\n"
        "sys.exit(status or ('cvxpy' in sys.modules and 3))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, cwd=tmp_path).returncode == 0
