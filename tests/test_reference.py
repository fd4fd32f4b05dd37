"""solve() against independent truths: exact rational optima, CVXPY's own route, a second back end."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.errors import ProblemError, SolverError
from exact_unlearn.jacobian import to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.reference import backends
from exact_unlearn.reference.backends import BackendAnswer
from exact_unlearn.solution import Solution, Status
from tests.cases import TOLERANCES, drifts, freezings, gaussian_problem, instances, regularizers

EVERY_COMBINATION = list(itertools.product(regularizers(), drifts(), freezings()))


def by_cvxpy_expressions(problem: UnlearningProblem) -> float:
    """The optimum by CVXPY's own canonicalisation of the regularizer's expression and the raw J.

    No code of ours but the expressions, and another formulation of every cone.
    """
    free = np.flatnonzero(problem.free)
    move = cp.Variable(max(free.size, 1))
    pick = np.zeros((problem.n_parameters, max(free.size, 1)))
    pick[free, np.arange(free.size)] = 1.0
    drift = pick @ move
    objective = problem.regularizer.expression(problem.theta_star + drift)
    constraints = [problem.jacobian.matrix @ drift == problem.rhs]  # type: ignore[attr-defined]
    for term in problem.drifts:
        if term.name == "trust_region":
            constraints.append(term.constraint(drift))
        else:
            objective = objective + term.expression(drift)
    program = cp.Problem(cp.Minimize(objective), constraints)
    return float(program.solve(solver="CLARABEL"))


@pytest.mark.parametrize(("regularizer", "drift", "freezing"), EVERY_COMBINATION)
def test_every_combination_agrees_with_cvxpy_and_with_its_own_residuals(
    regularizer: str, drift: str, freezing: str
) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()[freezing])
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert solution.is_optimal(TOLERANCES["residual"])
    scale = max(1.0, float(problem.regularizer.value(problem.theta_star)))
    assert abs(solution.value - by_cvxpy_expressions(problem)) <= TOLERANCES["another formulation"] * scale
    assert (solution.drift[~problem.free] == 0).all()


@pytest.mark.parametrize("name", instances())
@pytest.mark.parametrize("regularizer", regularizers())
def test_degenerate_instances(name: str, regularizer: str) -> None:
    J, theta = instances()[name]
    problem = UnlearningProblem(theta, J, regularizers()[regularizer])
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert max(solution.primal_residual(), solution.relative_gap()) <= TOLERANCES["residual"]
    # nu is rounded to floats: that alone leaves cond(J) * eps in J.T nu
    assert solution.rank is not None
    assert solution.dual_residual() <= max(TOLERANCES["residual"], 100 * solution.rank.condition * 2e-16)


@pytest.mark.parametrize("radius", [1e3, 1e12, 1e200])
@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize("regularizer", regularizers())
def test_a_region_that_nothing_touches_changes_nothing(regularizer: str, norm: float, radius: float) -> None:
    """The radius must not become the scale to which a back end rounds everything else."""
    drift = xu.SquaredDrift(0.3) + xu.TrustRegion(radius, norm) + xu.L1Drift(0.1)
    problem = gaussian_problem(regularizers()[regularizer], drift)
    without = xu.solve(gaussian_problem(regularizers()[regularizer], xu.SquaredDrift(0.3) + xu.L1Drift(0.1)))
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert solution.problem is problem
    assert solution.value == pytest.approx(without.value, rel=TOLERANCES["value"])
    assert solution.is_optimal(TOLERANCES["residual"])
    assert [part.shape for part in solution.drift_subgradients or ()] == [(12,)] * 3


@pytest.mark.parametrize("exponent", [-1050, -500, 500])
@pytest.mark.parametrize("regularizer", sorted(regularizers().keys() - {"elastic net"}))  # a sum of two powers of u
def test_parameters_of_any_size(regularizer: str, exponent: int) -> None:
    """theta* and radius times u: the same answer times u."""
    J, theta = instances()["gaussian"]
    R = regularizers()[regularizer]
    usual = xu.solve(UnlearningProblem(theta, J, R, xu.TrustRegion(0.7)))
    problem = UnlearningProblem(np.ldexp(theta, exponent), J, R, xu.TrustRegion(math.ldexp(0.7, exponent)))
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    rounding = 2.0 ** max(-1074 - exponent, -1074)  # of subnormal numbers
    close = TOLERANCES["theta of a SOCP"] * float(np.max(np.abs(usual.theta))) + 2 * rounding
    assert np.max(np.abs(np.ldexp(solution.theta, -exponent) - usual.theta)) <= close


@pytest.mark.parametrize("regularizer", ["weighted l1", "weighted linf", "weighted squared l2", "weighted group l2"])
@pytest.mark.parametrize("factor", [1e-8, 1e8])
@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(0.3), xu.TrustRegion(0.2, np.inf)])
def test_weights_of_any_size(regularizer: str, factor: float, drift: Any) -> None:
    R = regularizers()[regularizer]
    heavy = type(R)(R.labels, factor * R.weights) if regularizer == "weighted group l2" else type(R)(factor * R.weights)
    problem = gaussian_problem(heavy, drift)
    optimum = float(xu.certify(problem).upper or 0)
    assert xu.solve(problem).value == pytest.approx(optimum, rel=TOLERANCES["value"])


@pytest.mark.parametrize("regularizer", ["l1", "linf", "l1 with zero weights"])
def test_a_small_curvature_decides(regularizer: str) -> None:
    """Among the optima of a degenerate LP, the one nearest to theta*."""
    J, theta = instances()["gaussian"]
    problem = UnlearningProblem(theta, J[:, [0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7]], regularizers()[regularizer])
    problem = replace(problem, drift_penalty=xu.SquaredDrift(1e-6))
    certificate = xu.certify(problem)
    assert certificate.theta is not None
    assert np.max(np.abs(xu.solve(problem).theta - certificate.theta)) <= TOLERANCES["theta of a QP or LP"]


def test_a_large_curvature_hardly_lets_anything_move() -> None:
    """D loses its digits in theta* + D, and lam D with it; the multipliers know it better."""
    for regularizer in ("squared l2", "l1", "elastic net"):
        solution = xu.solve(gaussian_problem(regularizers()[regularizer], xu.SquaredDrift(1e8)))
        assert solution.status is Status.OPTIMAL, solution.message


@pytest.mark.parametrize("freezing", freezings())
def test_a_region_far_wider_than_what_does_not_move(freezing: str) -> None:
    J, theta = instances()["gaussian"]
    drift = xu.SquaredDrift(0.1) + xu.TrustRegion(1e-12) + xu.TrustRegion(1e-12, np.inf)
    problem = UnlearningProblem(np.ldexp(theta, -1030), J, xu.LInf(), drift, freezings()[freezing])
    assert xu.solve(problem).status is Status.OPTIMAL


def test_multipliers_beyond_floats_are_cut_off() -> None:
    J, theta = instances()["gaussian"]
    solution = xu.solve(UnlearningProblem(theta, J * 1e-310, xu.SquaredL2()))
    assert solution.status is Status.OPTIMAL, solution.message
    assert np.isfinite(solution.nu).all()


@pytest.mark.parametrize("regularizer", [*regularizers(), "l0"])
@pytest.mark.parametrize("region", [xu.TrustRegion(1.0), xu.TrustRegion(1.0, np.inf), xu.TrustRegion(0.0)])
def test_regions_that_no_solution_reaches_come_with_a_farkas_vector(regularizer: str, region: Any) -> None:
    J, theta = instances()["gaussian"]
    R = xu.L0() if regularizer == "l0" else regularizers()[regularizer]
    problem = UnlearningProblem(theta, J, R, region, rhs=np.full(5, 50.0))
    solution = xu.solve(problem)
    assert solution.status is Status.INFEASIBLE
    pull, radius = J.T @ solution.nu, region.radius
    reach = radius * (np.abs(pull).sum() if region.norm == np.inf else np.linalg.norm(pull))
    assert solution.nu @ problem.rhs > reach


@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize("regularizer", [*regularizers(), "l0"])
def test_a_region_of_radius_zero_is_theta_star(regularizer: str, norm: float) -> None:
    R = xu.L0() if regularizer == "l0" else regularizers()[regularizer]
    solution = xu.solve(gaussian_problem(R, xu.L1Drift(0.1) + xu.TrustRegion(0.0, norm)))
    assert solution.status is Status.OPTIMAL
    assert not solution.drift.any()
    assert solution.is_optimal(TOLERANCES["residual"])


def test_nothing_moves_where_r_is_zero_already() -> None:
    solution = xu.solve(gaussian_problem(xu.ElasticNet(0.0, 0.0), xu.SquaredDrift(0.3) + xu.TrustRegion(1.0)))
    assert solution.status is Status.OPTIMAL
    assert not solution.drift.any()


def mixed() -> list[tuple[str, str, str, str]]:
    """Every degenerate instance with every drift penalty; regularizers and freezings take turns."""
    turns = itertools.cycle(itertools.product(regularizers(), ["all free", "some frozen"]))
    names = [name for name in instances() if name != "huge theta"]  # floats of 1e12 cannot resolve a radius of 0.2
    return [(name, drift, *next(turns)) for _ in range(3) for name in names for drift in drifts()]


@pytest.mark.parametrize(("name", "drift", "regularizer", "freezing"), mixed())
def test_degenerate_instances_with_drift_penalties(name: str, drift: str, regularizer: str, freezing: str) -> None:
    J, theta = instances()[name]
    solution = xu.solve(
        UnlearningProblem(theta, J, regularizers()[regularizer], drifts()[drift], freezings()[freezing])
    )
    assert solution.status is Status.OPTIMAL, solution.message
    assert max(solution.primal_residual(), solution.relative_gap()) <= TOLERANCES["residual"]


@pytest.mark.parametrize("name", instances())
@pytest.mark.parametrize("lam", [0.0, 0.25, 4.0])
def test_squared_l2_is_appendix_e_in_exact_arithmetic(name: str, lam: float) -> None:
    J, theta = instances()[name]
    drift = xu.SquaredDrift(lam) if lam else None
    solution = xu.solve(UnlearningProblem(theta, J, xu.SquaredL2(), drift))
    exact_theta = to_rational(np.asarray(theta, dtype=float))
    onto, _ = rational.project_onto_rows(to_rational(np.asarray(J, dtype=float)), exact_theta)
    truth = exact_theta - (exact_theta - onto) / (1 + Fraction(lam))
    error = np.abs(to_rational(solution.theta) - truth).astype(float).max()
    assert error <= TOLERANCES["theta of a QP or LP"] * max(1e-300, np.abs(exact_theta).max())


def exact_l1_optimum(J: np.ndarray[Any, Any], theta: np.ndarray[Any, Any]) -> Fraction:
    """min |x|_1 subject to J x = J theta: the best of all basic solutions, in Fractions."""
    matrix = to_rational(J)
    target = rational.matmul(matrix, to_rational(theta)[:, None])
    best = None
    for columns in itertools.combinations(range(J.shape[1]), J.shape[0]):
        solution = rational.solve(matrix[:, list(columns)], target)
        if solution is not None and rational.rank(matrix[:, list(columns)]) == J.shape[0]:
            value = sum((abs(v) for v in solution.reshape(-1)), start=Fraction(0))
            best = value if best is None else min(best, value)
    assert best is not None
    return best


@pytest.mark.parametrize("seed", range(4))
def test_l1_against_all_vertices_in_exact_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    J, theta = rng.standard_normal((3, 8)), rng.standard_normal(8)
    solution = xu.solve(UnlearningProblem(theta, J, xu.L1()))
    assert abs(Fraction(solution.value) - exact_l1_optimum(J, theta)) <= Fraction(TOLERANCES["value"])


@pytest.mark.parametrize("regularizer", ["l1", "squared l2", "group l2", "linf", "nuclear norm"])
@pytest.mark.parametrize("drift", ["none", "squared", "box"])
def test_two_back_ends_agree_also_in_the_signs_of_multipliers(regularizer: str, drift: str) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()["some frozen"])
    other = "SCS" if regularizer == "nuclear norm" else "ECOS"
    first, second = xu.solve(problem, solver="CLARABEL"), xu.solve(problem, solver=other)
    assert {first.solver, second.solver} == {"CLARABEL", other}
    assert abs(first.value - second.value) <= 1e-7 * first.value
    if problem.regularizer.strictly_convex or any(term.strictly_convex for term in problem.drifts):
        assert np.allclose(first.theta, second.theta, atol=1e-5)
    # the gap is a function of (theta, nu, g, h): a flipped sign of nu would show in the dual residual
    assert max(first.dual_residual(), second.dual_residual()) <= 1e-6


def test_multipliers_refer_to_the_rows_of_the_caller() -> None:
    J, theta = instances()["rows of different scale"]
    solution = xu.solve(UnlearningProblem(theta, J, xu.SquaredL2()))
    assert np.allclose(J.T @ solution.nu, solution.theta, atol=1e-9)  # stationarity: theta = J.T nu


def test_frozen_coordinates_are_not_a_constant_of_a_norm() -> None:
    """Mixing J theta* with the dual norm of the free part alone would "prove" false bounds."""
    J = np.array([[1.0, 1.0, 0.0]])
    problem = UnlearningProblem(np.array([2.0, 0.0, 3.0]), J, xu.L2(), free=[0, 1])
    solution = xu.solve(problem)
    assert math.isclose(solution.value, math.sqrt(1 + 1 + 9), rel_tol=1e-9)
    assert solution.is_optimal(1e-9)


def test_what_is_known_about_uniqueness() -> None:
    assert xu.solve(gaussian_problem(xu.SquaredL2())).unique is True
    assert xu.solve(gaussian_problem(xu.L1(), xu.SquaredDrift(1.0))).unique is True
    assert xu.solve(gaussian_problem(xu.L1())).unique is None
    network = xu.LinearNetwork((4, 3, 1))
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(network.n_parameters)
    norm = xu.PredictorNorm(network, theta)
    assert xu.solve(xu.surrogate_problem(network, theta, rng.standard_normal((2, 4)), norm)).unique is False


def test_the_predictor_norm_is_theorem_3() -> None:
    rng = np.random.default_rng(1)
    network = xu.LinearNetwork((6, 3, 2, 2))
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((3, 6))
    solution = xu.solve(xu.surrogate_problem(network, theta, x, xu.PredictorNorm(network, theta)))
    projected = np.linalg.pinv(x) @ x @ network.predictor(theta)
    assert np.allclose(network.predictor(solution.theta), projected, atol=1e-6)
    assert solution.is_optimal(1e-9)


def test_conflicting_duplicates_come_with_a_farkas_vector() -> None:
    model = xu.LinearModel(3)
    x = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0], [1.0, 2.0, 0.0]])
    problem = xu.exact_problem(model, np.zeros(3), x, np.array([1.0, 0.0, 2.0]), xu.SquaredL2())
    solution = xu.solve(problem)
    assert solution.status is Status.INFEASIBLE
    assert np.abs(x.T @ solution.nu).max() <= 1e-12
    assert solution.nu @ problem.rhs > 0.5
    assert not solution.is_optimal()
    with pytest.raises(SolverError, match="infeasible"):
        solution.require_optimal()


def test_consistent_duplicates_are_no_conflict() -> None:
    model = xu.LinearModel(3)
    x = np.array([[1.0, 2.0, 0.0], [0.1, 1.0, 1.0], [1.0, 2.0, 0.0], [1.1, 3.0, 1.0]])
    y = x @ np.array([0.3, -0.7, 0.1])
    solution = xu.solve(xu.exact_problem(model, np.ones(3), x, y, xu.SquaredL2()))
    assert solution.status is Status.OPTIMAL
    assert np.allclose(x @ solution.theta, y, atol=1e-12)


def test_a_trust_region_too_small_for_the_data_is_infeasible() -> None:
    J = np.array([[1.0, 0.0]])
    problem = UnlearningProblem(np.zeros(2), J, xu.SquaredL2(), xu.TrustRegion(0.5), rhs=np.array([1.0]))
    assert xu.solve(problem).status is Status.INFEASIBLE


@pytest.mark.parametrize("claim", ["infeasible", "unbounded", "solver_error"])
def test_a_back_end_that_denies_the_feasible_point_is_reported_as_such(
    claim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(program: Any, solver: str, *_: Any) -> BackendAnswer:
        return BackendAnswer(solver, claim, None, None, 0.0, 0.0)

    monkeypatch.setattr(backends, "run", lie)
    problem = gaussian_problem(xu.L1())
    solution = xu.solve(problem)
    assert solution.status is Status.BACKEND_FAILED
    assert claim in solution.message
    assert (solution.theta == problem.theta_star).all()


def test_a_wrong_answer_called_optimal_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(program: Any, solver: str, *_: Any) -> BackendAnswer:
        return BackendAnswer(solver, "optimal", np.ones(program.q.size), np.ones(program.b.size), 0.0, 0.0)

    monkeypatch.setattr(backends, "run", lie)
    solution = xu.solve(gaussian_problem(xu.GroupL2(np.arange(12) // 3)))
    assert solution.status is Status.INACCURATE
    assert "'optimal'" in solution.message


def test_counts_are_honest() -> None:
    rng = np.random.default_rng(3)
    J = rng.integers(-4, 5, (4, 10)).astype(float)
    sparse = np.zeros(10)
    sparse[[2, 7]] = [1.0, -2.0]
    kernel = rational.nullspace(J)[0].T
    theta = to_rational(sparse) + sum(
        int(c) * row for c, row in zip(rng.integers(-3, 4, len(kernel)), kernel, strict=True)
    )
    planted = UnlearningProblem(theta * 2**4, to_rational(J), xu.L0())
    solution = xu.solve(planted)
    assert solution.status is Status.OPTIMAL
    assert solution.value == solution.lower == solution.upper == 2
    assert set(np.flatnonzero(solution.theta)) == {2, 7}


def test_a_time_limit_is_respected_and_said() -> None:
    rng = np.random.default_rng(5)
    problem = UnlearningProblem(rng.standard_normal(120), rng.standard_normal((12, 120)), xu.L0())
    solution = xu.solve(problem, time_limit=0.5)
    assert solution.lower is not None
    assert solution.upper is not None
    assert solution.lower <= solution.upper == solution.value <= 12
    assert f"[{solution.lower:g}, {solution.upper:g}]" in solution.message


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"solver": "NONESUCH"}, "not installed"),
        ({"solver": "OSQP"}, "OSQP cannot solve a SOCP"),
        ({"accuracy": 0.0}, "accuracy: expected a positive number"),
        ({"accuracy": "high"}, "accuracy: expected a positive number"),
        ({"time_limit": -1}, "time_limit: expected a positive number"),
        ({"time_limit": 1.0, "solver": "ECOS"}, "ECOS has no time limit"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence) as caught:
        xu.solve(gaussian_problem(xu.GroupL2(np.arange(12) // 3)), **arguments)
    assert "\n" not in str(caught.value)


def test_solve_takes_problems_only() -> None:
    with pytest.raises(ProblemError, match="expected an UnlearningProblem"):
        xu.solve(np.eye(3))  # type: ignore[arg-type]


def test_solutions_are_the_same_every_time() -> None:
    first, second = (xu.solve(gaussian_problem(xu.LInf(), xu.SquaredDrift(0.1))) for _ in range(2))
    assert first.theta.tobytes() == second.theta.tobytes()
    assert isinstance(first, Solution)
