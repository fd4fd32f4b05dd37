"""What the reference solver does in its corners: optima of 0, time that is up, bad arguments, failing back ends."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import exact_unlearn as xu
from exact_unlearn import reference
from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import Cones, ExplicitProgram, assemble
from exact_unlearn.reference import backends, counting
from exact_unlearn.reference.backends import BackendAnswer
from exact_unlearn.reference.polish import kkt_error, polish
from exact_unlearn.solution import Status
from exact_unlearn.watch import watched
from tests.cases import gaussian_problem, regularizers

# ---------------------------------------------------------------- optima of 0

BLIND = [
    xu.SquaredL2([1, 1, 0]),
    xu.L1([1, 1, 0]),
    xu.LInf([1, 1, 0]),
    xu.L2([1, 1, 0]),
    xu.GroupL2([0, 0, 1], [1, 0]),
    xu.NuclearNorm([0, 1], (1, 2)),
]


@pytest.mark.parametrize("R", BLIND, ids=lambda R: R.name)
@pytest.mark.parametrize("theta", [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [1e6, -2e6, 5.0]])
@pytest.mark.parametrize("free", [[0, 1, 2], [1, 2]])
def test_an_intercept_that_costs_nothing_pays_for_everything(R: Any, theta: list[float], free: list[int]) -> None:
    """theta = (0, 0, q / 3) where both weights are free: optimum 0, multipliers 0."""
    start = np.array(theta)
    start[np.setdiff1d(np.arange(3), free)] = 0.0
    problem = UnlearningProblem(start, [[1.0, 2.0, 3.0]], R, free=free, rhs=[1.0])
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert solution.value <= 1e-12
    assert solution.is_optimal(1e-9)
    assert solution.theta[2] == pytest.approx((start @ [1, 2, 3] + 1) / 3, rel=1e-12)


@pytest.mark.parametrize("norm", [2, np.inf])
@pytest.mark.parametrize(("radius", "nothing"), [(3.0, True), (1.9, False)])
@pytest.mark.parametrize("R", [xu.GroupL2([0, 1, 1, 1], [10, 0]), xu.L1([10, 0, 0, 0])], ids=lambda R: R.name)
def test_what_costs_nothing_stays_within_the_regions(R: Any, radius: float, nothing: bool, norm: float) -> None:
    """theta_0 has to fall by 2, and the rest to rise by 3 in sum: 2.65 away; the shortest theta is 1732 away."""
    start = np.array([2.0, 1e3, -1e3, 1e3])
    problem = UnlearningProblem(start, [[0.5, 1.0, 1.0, 1.0]], R, xu.TrustRegion(radius, norm), rhs=[2.0])
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    assert (solution.value == 0) == nothing
    assert solution.primal_residual() <= reference.ACCURACY


# ---------------------------------------------------------------- back ends


def staircase(size: int, seed: int) -> UnlearningProblem:
    """Integer rows, each of six neighbouring columns; their orthonormal basis is dense, with entries down to 1e-17."""
    rng, k, d = np.random.default_rng(seed), size, size * 3 // 2
    J = np.zeros((k, d))
    for i, start in enumerate(np.arange(k) * (d - 6) // k):
        J[i, start : start + 6] = rng.integers(-3, 4, 6)
        J[i, start + 1] = rng.integers(1, 4)
    return UnlearningProblem(np.random.default_rng(1 + seed).integers(-5, 6, d).astype(float), J, xu.LInf())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("solver", ["HIGHS", "CLARABEL"])
def test_a_staircase_of_integers_is_solved_by_either(solver: str, seed: int) -> None:
    problem = staircase(100, seed)
    solution = xu.solve(problem, solver=solver)
    assert solution.status is Status.OPTIMAL, solution.message
    assert solution.relative_gap() <= 1e-12


@pytest.mark.parametrize("solver", ["CLARABEL", "OSQP", "HIGHS", "SCS", "ECOS"])
def test_back_ends_are_asked_for_more_than_is_promised(solver: str) -> None:
    """Their tolerances lie below the accuracy of an answer; where they stall, a rough point is better than none."""
    asked = backends._options(solver, reference.ACCURACY, math.inf, required=False)
    tolerances = {k: v for k, v in asked.items() if "tol" in k or k.startswith("eps") or "small" in k}
    assert tolerances
    for name, value in tolerances.items():
        assert 0 < value <= (1e-5 if name.startswith("reduced") else 1e-10), name
    coarse = backends._options(solver, 1e-2, math.inf, required=False)
    assert all(value <= coarse[name] <= 1e-5 for name, value in tolerances.items())


@pytest.mark.parametrize(
    ("solver", "name"),
    [("CLARABEL", "time_limit"), ("OSQP", "time_limit"), ("HIGHS", "time_limit"), ("SCS", "time_limit_secs")],
)
def test_back_ends_are_given_the_limit_of_time(solver: str, name: str) -> None:
    assert name not in backends._options(solver, 1e-9, math.inf, required=True)
    assert backends._options(solver, 1e-9, 7, required=False)[name] == 7.0


def test_a_back_end_without_a_limit_of_time_is_asked_only_without_one() -> None:
    assert backends._options("ECOS", 1e-9, math.inf, required=True)
    assert backends._options("ECOS", 1e-9, 7.0, required=False)
    with pytest.raises(ProblemError, match="ECOS has no time limit"):
        backends._options("ECOS", 1e-9, 7.0, required=True)


def test_without_any_time_no_back_end_is_asked() -> None:
    program = assemble(gaussian_problem(xu.L1())).program
    readings = itertools.count()
    with watched(0.5, clock=lambda: float(next(readings))):
        answer = backends.run(program, "HIGHS", 1e-9, None)
    assert (answer.claim, answer.z, answer.y, answer.limit) == ("not started", None, None, 0.0)
    assert answer.timed_out
    assert (answer.compile_seconds, answer.solve_seconds) == (0.0, 0.0)


def test_when_the_time_was_up_before_anything_began() -> None:
    problem = gaussian_problem(xu.L1())
    readings = itertools.count(step=1000)
    with watched(10**9, clock=lambda: float(next(readings))):
        solution = xu.solve(problem, time_limit=1.0)
    assert solution.status is Status.TIME_LIMIT
    assert "theta is" in solution.message
    assert (solution.theta == problem.theta_star).all()
    assert not solution.nu.any()


def test_a_missing_back_end_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "installed", lambda: ("SCS",))
    assert backends.default_solvers(assemble(gaussian_problem(xu.L2())).program) == ["SCS"]
    with pytest.raises(ProblemError, match="a LP needs HIGHS or CLARABEL; pip install"):
        xu.solve(gaussian_problem(xu.L1()))


@pytest.mark.parametrize(
    ("solver", "kinds"),
    [
        ("OSQP", "LP QP"),
        ("HIGHS", "LP QP MILP"),
        ("CLARABEL", "LP QP SOCP SDP"),
        ("SCS", "LP QP SOCP SDP"),
        ("ECOS", "LP QP SOCP"),
    ],
)
def test_what_back_ends_can_solve(solver: str, kinds: str) -> None:
    programs = {
        "LP": xu.L1(),
        "QP": xu.SquaredL2(),
        "SOCP": xu.L2(),
        "SDP": xu.NuclearNorm(slice(0, 12), (3, 4)),
        "MILP": xu.L0(),
    }
    for kind, R in programs.items():
        program = assemble(gaussian_problem(R)).program
        assert program.kind == kind
        if kind in kinds.split():
            assert backends.check_solver(solver.lower(), program) == solver
        else:
            with pytest.raises(ProblemError, match=f"{solver} cannot solve a {kind}; try {backends.DEFAULTS[kind][0]}"):
                backends.check_solver(solver, program)


def test_the_first_of_two_failures_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(program: Any, solver: str, *_: Any) -> BackendAnswer:
        return BackendAnswer(solver, "solver_error", None, None, 1.0, 2.0, "it broke")

    monkeypatch.setattr(backends, "run", fail)
    solution = xu.solve(gaussian_problem(xu.L1()))
    assert solution.status is Status.BACKEND_FAILED
    assert solution.solver == "HIGHS"
    assert "HIGHS said 'solver_error' (it broke)" in solution.message
    assert (solution.compile_seconds > 1.0, solution.solve_seconds) == (True, 2.0)


@pytest.mark.parametrize(
    ("claim", "seconds", "timed_out"),
    [
        ("user_limit", 8.0, True),
        ("user_limit", 7.9, False),
        ("optimal_inaccurate", 10.0, True),
        ("optimal", 10.0, False),
    ],
)
def test_what_ended_a_back_end(claim: str, seconds: float, timed_out: bool) -> None:
    assert BackendAnswer("OSQP", claim, None, None, 0.0, seconds, limit=10.0).timed_out == timed_out
    assert not BackendAnswer("OSQP", claim, None, None, 0.0, seconds).timed_out


def test_a_back_end_that_was_stopped_before_it_had_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(program: Any, solver: str, *_: Any) -> BackendAnswer:
        return BackendAnswer(solver, "user_limit", None, None, 0.0, 1.0, limit=1.0)

    monkeypatch.setattr(backends, "run", stopped)
    solution = xu.solve(gaussian_problem(xu.L1()), time_limit=60.0)
    assert solution.status is Status.TIME_LIMIT
    assert "the point that the solve started from" in solution.message


@pytest.mark.parametrize("size", [1e-3, 1.0, 3.0, 1e5])
def test_programs_in_units_near_one(size: float) -> None:
    """z = length * z', and P z + q + A.T y = 0 turns into the scaled equation times cost / length."""
    program = assemble(gaussian_problem(xu.ElasticNet(0.7, 40.0))).program
    scaled, length, cost = backends.normalised(program, size)
    assert math.frexp(length)[0] == math.frexp(cost)[0] == 0.5
    assert length / 2 <= size <= length
    largest = max(abs(scaled.P.data).max(), abs(scaled.q).max())
    assert 0.5 <= largest <= 1
    z, y = np.ones(program.q.size) * length, np.linspace(0, 1, program.b.size) * cost / length
    own = program.P @ z + program.q + program.A.T @ y
    there = scaled.P @ (z / length) + scaled.q + scaled.A.T @ (y * length / cost)
    assert np.allclose(own * length / cost, there, rtol=1e-12)
    assert np.allclose((program.b - program.A @ z) / length, scaled.b - scaled.A @ (z / length), rtol=1e-12)


def test_binary_variables_keep_their_unit() -> None:
    program = assemble(gaussian_problem(xu.L0())).program
    assert backends.normalised(program, 1e5) == (program, 1.0, 1.0)


# ---------------------------------------------------------------- what is known beside the optimum


def test_what_the_form_says_about_uniqueness() -> None:
    """A norm whose minimiser on an affine set is unique keeps it in a region, and not beside a penalty with kinks."""
    assert xu.L2().unique_minimiser
    for drift, unique in ((None, True), (xu.TrustRegion(1.0), True), (xu.L1Drift(0.1), None)):
        assert xu.solve(gaussian_problem(xu.L2(), drift)).unique is unique
    square = UnlearningProblem([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], xu.L1())
    assert xu.solve(square).unique is True  # nothing can move


@pytest.mark.parametrize(("widths", "unique"), [((4, 3, 1), False), ((4, 3, 3), True)])
def test_predictors_are_unique_where_the_upper_layers_see_everything(widths: tuple[int, ...], unique: bool) -> None:
    network, rng = xu.LinearNetwork(widths), np.random.default_rng(0)
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((2, 4))
    free = ["A1"]
    norm = xu.PredictorNorm(network, theta)
    found = xu.solve(xu.surrogate_problem(network, theta, x, norm, free=free))
    assert found.unique is unique
    everything = xu.solve(xu.surrogate_problem(network, theta, x, norm, xu.L1Drift(0.1), free=free))
    assert everything.unique is None


def test_a_predictor_with_labels_of_its_own() -> None:
    """Its Jacobian is a product, whatever the right-hand side."""
    network, rng = xu.LinearNetwork((5, 3, 2)), np.random.default_rng(3)
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((3, 5))
    problem = xu.surrogate_problem(network, theta, x, xu.PredictorNorm(network, theta), free=["A1"])
    problem = replace(problem, rhs=rng.standard_normal(6))
    solution = xu.solve(problem)
    assert solution.status is Status.OPTIMAL, solution.message
    target = x @ network.predictor(theta) + problem.rhs.reshape(3, 2)
    assert solution.value == pytest.approx(float(np.linalg.norm(np.linalg.pinv(x) @ target)), rel=1e-9)


def test_multipliers_of_tiny_parameters_are_in_the_units_of_the_caller() -> None:
    for exponent in (-500, 400):
        for R in (xu.L1(), xu.SquaredL2(), xu.GroupL2(np.arange(12) // 3)):
            usual = gaussian_problem(R, xu.TrustRegion(0.7))
            problem = UnlearningProblem(
                np.ldexp(usual.theta_star, exponent), usual.jacobian, R, xu.TrustRegion(math.ldexp(0.7, exponent))
            )
            solution = xu.solve(problem)
            assert solution.is_optimal(1e-8)
            assert solution.subgradient is not None
            assert solution.dual_value() == pytest.approx(solution.value, rel=1e-8)
            slope = exponent if R.name == "squared_l2" else 0
            before = xu.solve(usual)
            assert np.allclose(np.ldexp(solution.nu, -slope), before.nu, atol=1e-5)


# ---------------------------------------------------------------- rows that contradict or repeat one another


def test_a_contradiction_names_its_rows_and_what_would_mend_it() -> None:
    """The second row takes no part, so that its multiplier is 0 and the words are those of the row space."""
    x = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0], [1.0, 2.0, 0.0]])
    solution = xu.solve(UnlearningProblem(np.zeros(3), x, xu.L1(), rhs=[1.0, 0.0, 2.0]))
    assert solution.status is Status.INFEASIBLE
    assert "row 2 contradicts rows [0]" in solution.message
    assert "tau = 0.502 would allow for the labels nearest to the range of J" in solution.message
    assert solution.nu[1] == 0


def test_counts_go_by_rows_that_are_independent_up_to_rounding() -> None:
    """The last row is 3.1 times the first, rounded: literally independent, so that one parameter would not do."""
    rng = np.random.default_rng(2)
    J = rng.standard_normal((3, 8))
    J = np.vstack([J, 3.1 * J[:1]])
    theta = np.zeros(8)
    theta[4] = 1.0
    theta += np.linalg.svd(J)[2][-1]
    start = UnlearningProblem(theta, J, xu.L0(), rhs=J[:, 4] - np.einsum("ij,j->i", J, theta))
    solution = xu.solve(start, tau=1e-9)
    assert solution.rank is not None
    assert solution.rank.rank == 3
    assert solution.nu.shape == (4,)
    plain = xu.solve(UnlearningProblem(theta, J, xu.L0()))
    assert plain.rank is not None
    assert plain.rank.rows == solution.rank.rows
    assert plain.value == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"tau": -1.0}, "tau: expected a finite number >= 0, got -1.0"),
        ({"tau": math.inf}, "tau: expected a finite number >= 0, got inf"),
        ({"solver": 3}, "solver: expected the name of a CVXPY solver, 'direct', or None, got 3"),
    ],
)
def test_other_bad_arguments_are_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        xu.solve(gaussian_problem(xu.L1()), **arguments)


# ---------------------------------------------------------------- counts


def by_supports(problem: UnlearningProblem) -> float:
    """The least count + drift penalty over all supports, each by CVXPY; inf where none fits."""
    import cvxpy as cp

    J, start = problem.jacobian.matrix, problem.theta_star  # type: ignore[attr-defined]
    best = math.inf
    for bits in itertools.product([0.0, 1.0], repeat=start.size):
        on = np.flatnonzero(bits)
        if on.size < J.shape[0]:
            continue  # J is in general position, and so is J theta*
        x = cp.Variable(on.size)
        drift = np.eye(start.size)[:, on] @ x - start
        penalty = sum(term.expression(drift) for term in problem.drifts)
        value = cp.Problem(cp.Minimize(penalty), [J[:, on] @ x == J @ start]).solve(solver="CLARABEL")
        best = min(best, sum(bits) + float(value))
    return best


@pytest.mark.parametrize(
    "penalty", [xu.SquaredDrift(0.4), xu.L1Drift(0.3), xu.SquaredDrift(0.4) + xu.L1Drift(0.2)], ids=str
)
@pytest.mark.parametrize("seed", [0, 1])
def test_counts_with_a_drift_penalty_are_the_best_of_all_supports(penalty: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = UnlearningProblem(rng.standard_normal(5), rng.standard_normal((2, 5)), xu.L0(), penalty)
    solution = xu.solve(problem)
    assert solution.lower is not None
    assert solution.upper is not None
    best = by_supports(problem)
    assert solution.lower <= best * (1 + 1e-7)
    assert solution.value == pytest.approx(solution.upper, rel=1e-12)
    assert best * (1 - 1e-7) <= solution.value <= best * (1 + 1e-7)
    assert solution.primal_residual() <= 1e-9


def test_theta_star_itself_suggests_a_support(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every back end fails, groups of theta* are left out one after the other."""

    def fail(program: Any, solver: str, *_: Any) -> BackendAnswer:
        return BackendAnswer(solver, "solver_error", None, None, 0.0, 0.0)

    problem = gaussian_problem(xu.L0())
    with_help = xu.solve(problem)
    monkeypatch.setattr(backends, "run", fail)
    heard: list[str] = []
    with watched(say=heard.append):
        solution = xu.solve(problem)
    assert solution.value == with_help.value == 5
    assert solution.primal_residual() <= 1e-9
    assert "HIGHS said 'solver_error'; the optimum lies in" in solution.message
    steps = [f"a support without one of its groups, {i} of 12" for i in range(1, 13)]
    assert [line for line in heard if line.startswith("a support")] == steps
    assert heard[:2] == ["HIGHS solves the l1 relaxation", "HIGHS solves the integer program"]


def test_what_a_milp_can_state_of_a_drift_penalty() -> None:
    """Squares and balls are left out of it: a support is a suggestion only."""
    boxed = xu.L1Drift(0.3) + xu.TrustRegion(2.0, np.inf)
    for penalty, linear in (
        (boxed, boxed),
        (xu.SquaredDrift(0.4) + boxed + xu.TrustRegion(3.0), boxed),
        (xu.SquaredDrift(0.4) + xu.TrustRegion(3.0), None),
        (None, None),
    ):
        problem = gaussian_problem(xu.L0(), penalty)
        part = counting._linear_part(problem, assemble(problem))
        wanted = assemble(gaussian_problem(xu.L0(), linear)).program
        assert part.kind == "MILP"
        assert (part.q == wanted.q).all()
        assert (part.A != wanted.A).nnz == 0
        assert (part.b == wanted.b).all()


def test_the_relaxation_counts_paying_coordinates_by_their_size() -> None:
    """min sum |theta_i|: its optimum is that of l1 where every coordinate pays."""
    problem = gaussian_problem(xu.L0())
    assembly = assemble(problem)
    relaxation = counting._relaxation(assembly.program, counting._Support(problem, assembly))
    answer = backends.run(relaxation, "HIGHS", 1e-9, None)
    assert answer.z is not None
    assert relaxation.kind == "LP"
    l1 = xu.solve(gaussian_problem(xu.L1()))
    assert float(relaxation.q @ answer.z) == pytest.approx(l1.value, rel=1e-9)
    assert np.abs(relaxation.theta(answer.z)).sum() == pytest.approx(l1.value, rel=1e-9)


# ---------------------------------------------------------------- polishing


def test_the_error_that_polishing_goes_by() -> None:
    """Each of its five parts alone: stationarity, equations, inequalities, signs, complementarity."""
    one, nothing = sp.csc_array(np.array([[1.0]])), sp.csc_array((1, 1))
    A = sp.csc_array(np.array([[1.0], [1.0]]))
    program = ExplicitProgram(
        one, np.array([-1.0]), A, np.array([1.0, 3.0]), Cones(1, 1), np.zeros(0, dtype=np.int64), 0.0,
        one, np.zeros(1), nothing,
    )  # fmt: skip
    assert kkt_error(program, np.array([1.0]), np.array([0.0, 0.0])) == 0
    assert kkt_error(program, np.array([1.0]), np.array([0.5, 0.0])) == 0.5  # stationarity
    assert kkt_error(program, np.array([1.25]), np.array([-0.25, 0.0])) == 0.25  # the equation
    assert kkt_error(program, np.array([4.0]), np.array([-3.0, 0.0])) == 3.0  # both rows; the equation by 3
    assert kkt_error(program, np.array([1.0]), np.array([0.5, -0.5])) == 0.5  # the sign
    assert kkt_error(program, np.array([1.0]), np.array([-0.125, 0.125])) == 0.125  # y s > 0


@pytest.mark.parametrize("name", ["l1", "squared l2", "weighted linf"])
def test_polishing_takes_ten_digits_from_five(name: str) -> None:
    """From a point and multipliers off by 1e-5, in any unit; an optimum is left as it is."""
    rng = np.random.default_rng(0)
    for size in (1e-6, 1.0, 1e6):
        problem = gaussian_problem(regularizers()[name])
        problem = UnlearningProblem(problem.theta_star * size, problem.jacobian, problem.regularizer)
        program = assemble(problem).program
        answer = backends.run(program, "CLARABEL", 1e-9, None, size)
        assert answer.z is not None
        assert answer.y is not None
        z, y = (v + 1e-5 * rng.standard_normal(v.size) * np.abs(v).max() for v in (answer.z, answer.y))
        unit = abs(program.P.data).max() * size if program.P.nnz else 1.0
        errors = [kkt_error(program, *pair) / max(size, unit) for pair in ((z, y), polish(program, z, y, size))]
        assert errors[0] > 1e-7
        assert errors[1] < 1e-12


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_what_is_used_is_larger_than_rounding(size: float) -> None:
    problem = UnlearningProblem([1.0, 1.0, 1.0], [[1.0, 1.0, 1.0]], xu.L0())
    support = counting._Support(problem, assemble(problem))
    assert support.used(size * np.array([1.0, 1e-8, 1e-10])) == [0, 1]
    assert support.used(np.zeros(3)) == []


def test_groups_that_pay_whatever_happens_are_free_of_charge() -> None:
    """theta_0 is frozen and not 0, so that its group pays; theta_1 in it may be used, and fits alone."""
    R = xu.L0([2, 2, 0, 1])
    problem = UnlearningProblem([3.0, 1.0, 1.0, 1.0], [[1.0, 1.0, 1.0, 1.0]], R, free=[1, 2, 3])
    support = counting._Support(problem, assemble(problem))
    assert support.groups == [0, 1]
    assert (support.labels < 0).tolist() == [True, False, False]
    theta = support.fitted([])
    assert theta is not None
    assert np.allclose(theta, [3.0, 3.0, 0.0, 0.0])
    assert xu.solve(problem).value == 1


def test_seconds_are_those_of_the_solve() -> None:
    for R in (xu.L0(), xu.L1(), xu.L2()):
        solution = xu.solve(gaussian_problem(R))
        assert 0 < solution.solve_seconds < 1000
        assert 0 < solution.compile_seconds < 1000


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1.0, [2.0, 3.0]], [1.0, 2.0, 3.0]),
        ([2.0, [[4.0, 7.0], [[5.0, 6.0], [8.0, 9.0]]]], [2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]),
        ([[1.0, math.nan]], None),
        ([[1.0, math.inf]], None),
        ([[1.0], None], None),
        ([], []),
    ],
)
def test_multipliers_in_the_order_of_the_rows(values: list[Any], found: list[float] | None) -> None:
    """Numbers, vectors, cones of one size as [t, x]; None where one is missing or no number, or where rows lack."""
    constraints = [SimpleNamespace(dual_value=value) for value in values]
    rows = len(found) if found is not None else 2
    y = backends._multipliers(Cones(0, rows), constraints)
    assert (y is None) == (found is None)
    if y is not None:
        assert y.tolist() == found
    assert backends._multipliers(Cones(0, rows + 1), constraints) is None
