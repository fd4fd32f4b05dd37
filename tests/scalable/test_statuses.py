"""A status is never better than what can be bounded; the certified point; time limits; columns that no row sees."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import polish, solve
from exact_unlearn.solution import Solution, Status
from validation.attack.projections import Products

NORMS: dict[str, Any] = {
    "l1": xu.L1(),
    "linf": xu.LInf(),
    "group l2": xu.GroupL2(np.arange(30) // 3),
    "elastic net": xu.ElasticNet(1.0, 0.5),
    "l2": xu.L2(),
    "squared l2": xu.SquaredL2(),
}


@pytest.mark.parametrize("name", NORMS)
def test_rows_that_float32_cannot_tell_apart_are_no_optimum(name: str, rng: np.random.Generator) -> None:
    """1e-9 apart: the point satisfies every row to 1e-9 and is nowhere near a feasible one."""
    J, theta = rng.standard_normal((4, 30)), rng.standard_normal(30)
    J[1] = J[0] + 1e-9 * rng.standard_normal(30)
    problem = xu.UnlearningProblem(theta, J, NORMS[name])
    narrow, wide = solve(problem, dtype=torch.float32, gap=1e-5), solve(problem)
    assert wide.status is Status.OPTIMAL
    assert abs(narrow.value - wide.value) > 1e-4 * wide.value
    assert narrow.status is Status.INACCURATE


@pytest.mark.parametrize("name", NORMS)
def test_optima_far_below_theta_star_are_in_units_of_their_own(name: str, rng: np.random.Generator) -> None:
    J, theta = rng.standard_normal((3, 30)), rng.standard_normal(30)
    hidden = theta - (1.0 - 1e-13) * np.linalg.lstsq(J, J @ theta, rcond=None)[0]
    problem = xu.UnlearningProblem(hidden, J, NORMS[name])
    found, proof = solve(problem), xu.certify(problem)
    assert proof.lower is not None
    assert found.status is Status.OPTIMAL
    assert found.value == pytest.approx(float(proof.lower), rel=1e-8)
    held = xu.UnlearningProblem(hidden, J, NORMS[name], xu.SquaredDrift(1e-18))  # here theta* cannot be taken out
    found, proof = solve(held), xu.certify(held)
    assert proof.lower is not None
    off = abs(found.value - float(proof.lower)) / float(proof.lower)
    assert found.status is Status.INACCURATE or off <= 1e-8


@pytest.mark.parametrize(("name", "drift"), [("l1", None), ("linf", None), ("l1", xu.TrustRegion(0.5)), ("l2", None)])
def test_polished_answers_are_the_certified_point(name: str, drift: Any, rng: np.random.Generator) -> None:
    problem = xu.UnlearningProblem(rng.standard_normal(30), rng.standard_normal((3, 30)), NORMS[name], drift)
    found = solve(problem, gap=1e-13, polish="exact", time_limit=600.0)
    assert found.status is Status.OPTIMAL
    assert found.message.startswith("certified")
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= found.value * (1 + 1e-14)
    assert found.value <= found.upper * (1 + 1e-14)
    assert found.upper - found.lower <= 1e-14 * found.upper
    assert found.primal_residual() <= 1e-15


def test_a_proof_that_does_not_end_gives_up_nothing(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Where only [0, twice the value] is proved, the answer in floats stays what it is, and says so."""
    problem = xu.UnlearningProblem(rng.standard_normal(30), rng.standard_normal((3, 30)), NORMS["l1"])
    plain = solve(problem)

    def weak(about: xu.UnlearningProblem, solution: Solution, **_: Any) -> Any:
        proof = xu.certify(about, solution)
        return replace(proof, proof="repaired", lower=Fraction(0), theta=2.0 * solution.theta)

    monkeypatch.setattr(polish, "certify", weak)
    found = solve(problem, polish="exact")
    assert found.status is Status.OPTIMAL
    assert "not polished" in found.message
    np.testing.assert_array_equal(found.theta, plain.theta)
    rough = solve(problem, gap=1e-300, polish="exact")  # nothing to fall back on
    assert rough.status is Status.INACCURATE
    assert rough.lower == 0.0


def test_polish_is_refused_where_it_cannot_be() -> None:
    J, theta = np.array([[1.0, 1.0, 0.0], [1.0, 1.0 + 2.0**-52, 0.0]]), np.ones(3)
    with pytest.raises(ProblemError, match="polish: certify would ask first"):
        solve(xu.UnlearningProblem(theta, J, xu.L1()), polish="exact")
    with pytest.raises(ProblemError, match="expected 'exact' or None"):
        solve(xu.UnlearningProblem(theta, J, xu.L1()), polish="fine")
    with pytest.raises(ProblemError, match="into rationals"):
        solve(xu.UnlearningProblem(np.ones(250_000), np.ones((9, 250_000)), xu.L1()), polish="exact")
    with pytest.raises(ProblemError, match="only has products"):
        solve(xu.UnlearningProblem(theta, Products(J), xu.L1()), polish="exact")


def test_time_limits_end_the_solve_with_the_answer_so_far(rng: np.random.Generator) -> None:
    told: list[tuple[str, float, float]] = []
    problem = xu.UnlearningProblem(
        rng.standard_normal(4000), rng.standard_normal((20, 4000)), xu.LInf(), xu.SquaredDrift(0.1)
    )
    found = solve(problem, time_limit=1e-9, progress=lambda what, gap, seconds: told.append((what, gap, seconds)))
    assert found.status is Status.TIME_LIMIT
    assert "time limit" in found.message
    assert told
    assert [seconds for _, _, seconds in told] == sorted(seconds for _, _, seconds in told)
    full: list[str] = []
    assert solve(problem, time_limit=1e9, progress=lambda what, *_: full.append(what)).status is Status.OPTIMAL
    assert len(full) > len(told)
    for route in ("columns", "products"):
        early = solve(xu.UnlearningProblem(problem.theta_star, problem.jacobian, xu.L1()), route=route, time_limit=1e-9)
        assert early.status is Status.TIME_LIMIT


@pytest.mark.parametrize("options", [{"time_limit": 0.0}, {"time_limit": "1"}, {"progress": 3}])
def test_bad_clocks_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match=next(iter(options))):
        solve(xu.UnlearningProblem(np.ones(2), np.ones((1, 2)), xu.L1()), **options)


@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(0.3), xu.TrustRegion(4.0)])
@pytest.mark.parametrize("name", ["l1", "linf", "group l2", "elastic net"])
def test_columns_that_no_row_sees(name: str, drift: Any, rng: np.random.Generator) -> None:
    J, theta = rng.standard_normal((4, 30)), rng.standard_normal(30)
    J[:, rng.permutation(30)[:17]] = 0.0
    problem = xu.UnlearningProblem(theta, J, NORMS[name], drift)
    found = solve(problem)
    proof = xu.certify(problem, found)
    assert proof.lower is not None
    assert found.status is Status.OPTIMAL
    assert found.value == pytest.approx(float(proof.lower), rel=2e-8)
    if drift is None and name != "linf":
        assert not found.theta[(J == 0).all(0)].any()
    if drift is None and name == "linf":
        unseen = (J == 0).all(0)
        np.testing.assert_array_equal(found.theta[unseen], np.clip(theta[unseen], -found.value, found.value))


@pytest.mark.parametrize("route", ["columns", "products"])
@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(1.0)])
@pytest.mark.parametrize("R", [xu.ElasticNet(1.0, 1.0), xu.SquaredL2(), xu.L1(), xu.L2(), xu.LInf()])
def test_what_leaves_the_range_of_floats_is_not_optimal(R: Any, drift: Any, route: str) -> None:
    found = solve(xu.UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], R, drift, rhs=[1e200]), route=route)
    with np.errstate(over="ignore"):
        assert np.isfinite(found.value) or found.status is Status.INACCURATE


def test_weights_of_all_sizes_in_one_problem() -> None:
    """1e-8 to 1e8: optimal is within 1e-6 of what is proved, or is not called so."""
    optimal = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        weights = 10.0 ** rng.uniform(-8, 8, 10)
        R = (xu.L1, xu.LInf, xu.SquaredL2)[seed % 3](weights)
        problem = xu.UnlearningProblem(rng.standard_normal(10), rng.standard_normal((3, 10)), R)
        found, proof = solve(problem), xu.certify(problem)
        assert proof.lower is not None
        if found.status is Status.OPTIMAL:
            optimal += 1
            assert found.value == pytest.approx(float(proof.lower), rel=1e-6)
    assert optimal >= 6
