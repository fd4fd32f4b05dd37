"""Absolute values in halves: another program with the same answers, multipliers included, for a simplex method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import exact_unlearn as xu
from exact_unlearn.program import Cones, ExplicitProgram, explicit_program
from exact_unlearn.reference import backends
from exact_unlearn.reference.halves import halves

RNG = np.random.default_rng(5)
D = 24
J: Any
J, STAR = RNG.standard_normal((5, D)), RNG.standard_normal(D)
FREE = np.arange(D) >= 3

CASES: dict[str, tuple[Any, Any, int]] = {
    "l1": (xu.L1(), None, 21),
    "weights": (xu.L1(RNG.random(D) + 0.1), None, 21),
    "zero weights": (xu.L1(np.where(np.arange(D) % 3, 1.0, 0.0)), None, 14),
    "centre": (xu.L1().centred_at(RNG.standard_normal(D)), None, 21),
    "two absolute values of one parameter": (xu.L1(), xu.L1Drift(0.3), 21),
    "a box": (xu.L1(), xu.TrustRegion(1.0, np.inf), 21),
    "one level for all": (xu.LInf(), None, 0),
    "a level and a drift": (xu.LInf(), xu.L1Drift(0.1), 21),
}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_that_of_the_program_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    regularizer, penalty, count = CASES[name]
    problem = xu.UnlearningProblem(STAR, J, regularizer, penalty, free=FREE)
    found = halves(explicit_program(problem))
    assert (0 if found is None else found.count) == count
    ours = xu.solve(problem, solver="HIGHS")
    monkeypatch.setattr(backends, "halves", lambda program: None)
    plain = xu.solve(problem, solver="HIGHS")
    assert ours.is_optimal(1e-9)
    assert plain.is_optimal(1e-9)
    assert ours.value == pytest.approx(plain.value, rel=1e-11)
    if name != "zero weights":  # which leave the minimiser open
        np.testing.assert_allclose(ours.theta, plain.theta, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_points_and_multipliers_go_back_exactly(name: str) -> None:
    """Whatever w is: the same objective, the same rows, bounds for the others; whatever y are left: those of the pairs
    make their two columns stationary.
    """
    regularizer, penalty, _ = CASES[name]
    program = explicit_program(xu.UnlearningProblem(STAR, J, regularizer, penalty, free=FREE))
    found = halves(program)
    assert found is not None
    w, y = RNG.standard_normal(found.program.q.size), 0.01 * RNG.standard_normal(found.program.b.size)
    z, whole = found.point(w), found.multipliers(y)
    up, down, theta, t, _, _ = found.pairs
    slack = program.b - program.A @ z
    np.testing.assert_allclose(slack[found.kept], found.program.b - found.program.A @ w, atol=1e-12)
    np.testing.assert_allclose(slack[down], 2.0 * w[: found.count], atol=1e-12)
    np.testing.assert_allclose(slack[up], 2.0 * w[found.count : 2 * found.count], atol=1e-12)
    assert program.q @ z - found.program.q @ w == pytest.approx(program.q @ found.point(0.0 * w), abs=1e-12)
    slope = program.q + program.A.T @ whole
    np.testing.assert_allclose(whole[found.kept], y)
    assert (whole[[*up, *down]] >= 0).all()
    inside = (whole[up] > 0) & (whole[down] > 0)
    np.testing.assert_allclose(slope[theta][inside], 0.0, atol=1e-12)
    np.testing.assert_allclose(slope[t][inside], 0.0, atol=1e-12)


def test_what_only_looks_like_a_pair_stays_as_it_is() -> None:
    """t in a third row, rows of unlike factors, a row of three variables, equations, quadratic programs."""

    def program(A: Any, zero: int = 0) -> ExplicitProgram:
        A = np.array(A, dtype=float)
        n, m = A.shape[1], A.shape[0]
        P, theta_map, binary = sp.csc_array((n, n)), sp.csc_array(np.eye(n)), np.zeros(0, dtype=np.int64)
        cones = Cones(zero, m - zero)
        return ExplicitProgram(
            P, np.ones(n), sp.csc_array(A), np.zeros(m), cones, binary, 0.0, theta_map, np.zeros(n), np.zeros((0, zero))
        )

    assert halves(program([[1, -1], [-1, -1]])) is not None
    assert halves(program([[1, -1], [-1, -1], [0, -1]])) is None
    assert halves(program([[1, -1], [-2, -1]])) is None
    assert halves(program([[1, -1], [1, -1]])) is None
    assert halves(program([[1, 1], [-1, 1]])) is None
    assert halves(program([[1, -1, 1], [-1, -1, 0]])) is None
    assert halves(program([[1, -1], [-1, -1]], zero=2)) is None
    assert halves(program([[1, -1], [-1, -1]], zero=1)) is None
    assert halves(explicit_program(xu.UnlearningProblem(STAR, J, xu.ElasticNet(1.0, 1.0)))) is None
    assert halves(explicit_program(xu.UnlearningProblem(STAR, J, xu.GroupL2(np.arange(D) // 3)))) is None
