"""scalable.solve against the reference solver, on every regularizer, drift, freezing and instance it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import solve, solve_path
from exact_unlearn.solution import Solution, Status
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers

REGULARIZERS = {name: R for name, R in regularizers().items() if "nuclear" not in name}
DRIFTS = {name: D for name, D in drifts().items() if name in ("none", "squared", "ball")}
DRIFTS["squared and ball"] = xu.SquaredDrift(0.3) + xu.TrustRegion(0.7)
NORMS = ("l1", "linf", "group l2", "elastic net")


def agrees(found: Solution, problem: Any, tol: float = 2e-8) -> None:
    """Optimal by its own residuals, and of the value that the reference solver finds."""
    reference = xu.solve(problem)
    assert reference.status is Status.OPTIMAL
    assert found.status is Status.OPTIMAL, found.message
    assert found.primal_residual() <= 1e-8
    assert found.relative_gap() <= tol
    start = float(problem.regularizer.value(np.asarray(problem.theta_star, dtype=float)))
    assert abs(found.value - reference.value) <= tol * max(abs(reference.value), abs(start))


@pytest.mark.parametrize("free", freezings())
@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regularizer_with_every_drift_and_freezing(name: str, drift: str, free: str) -> None:
    problem = gaussian_problem(REGULARIZERS[name], DRIFTS[drift], freezings()[free])
    found = solve(problem)
    agrees(found, problem)
    assert found.dual_residual() <= 1e-8


@pytest.mark.parametrize("instance", instances())
@pytest.mark.parametrize("name", ["l2", "l1 with zero weights", "squared l2 with zero weights", *NORMS])
def test_degenerate_and_ill_conditioned_instances(name: str, instance: str) -> None:
    J, theta = instances()[instance]
    problem = xu.UnlearningProblem(theta, J, REGULARIZERS[name])
    agrees(solve(problem), problem)


@pytest.mark.parametrize("drift", ["none", "squared", "ball"])
@pytest.mark.parametrize("name", ["squared l2", "weighted l2", *NORMS])
def test_right_hand_sides(name: str, drift: str, rng: np.random.Generator) -> None:
    J, theta = instances()["gaussian"]
    problem = xu.UnlearningProblem(theta, J, REGULARIZERS[name], DRIFTS[drift], rhs=0.1 * rng.standard_normal(5))
    agrees(solve(problem), problem)


@pytest.mark.parametrize("name", ["l2", "weighted l2", *NORMS])
@pytest.mark.parametrize("lam", [0.01, 3.0])
def test_right_hand_sides_that_lengthen_theta(name: str, lam: float, rng: np.random.Generator) -> None:
    """Where theta* is not feasible the answer may be longer than it."""
    J, theta = instances()["gaussian"]
    far = 20.0 * rng.standard_normal(5)
    problem = xu.UnlearningProblem(theta, J, REGULARIZERS[name], xu.SquaredDrift(lam), rhs=far)
    agrees(solve(problem), problem)


def test_contradicting_rows_are_infeasible() -> None:
    J, theta = instances()["duplicated rows"]
    found = solve(xu.UnlearningProblem(theta, J, xu.L1(), rhs=np.arange(5.0)))
    assert found.status is Status.INFEASIBLE
    assert np.abs(found.nu @ J).max() <= 1e-10 * np.abs(found.nu).max()
    assert found.nu @ np.arange(5.0) > 0


@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(0.3), xu.SquaredDrift(20.0), xu.TrustRegion(0.4)])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_predictor_norm(drift: Any, n_outputs: int, rng: np.random.Generator) -> None:
    network = xu.LinearNetwork((6, 4, 3, n_outputs))
    theta, X = rng.standard_normal(network.n_parameters), rng.standard_normal((3, 6))
    problem = xu.surrogate_problem(network, theta, X, xu.PredictorNorm(network, theta), drift)
    found = solve(problem)
    agrees(found, problem)
    assert found.dual_residual() <= 1e-8


@pytest.mark.parametrize("drift", ["none", "squared", "ball"])
@pytest.mark.parametrize("name", NORMS)
def test_products_only_reach_the_same_value(name: str, drift: str) -> None:
    problem = gaussian_problem(REGULARIZERS[name], DRIFTS[drift])
    agrees(solve(problem, gap=1e-7, route="products"), problem, tol=2e-7)


@pytest.mark.parametrize("name", ["l2", *NORMS])
def test_float32_jacobians_answer_to_their_own_accuracy(name: str) -> None:
    problem = gaussian_problem(REGULARIZERS[name])
    found = solve(problem, dtype=torch.float32, gap=1e-5)
    assert found.status is Status.OPTIMAL
    assert abs(found.value - xu.solve(problem).value) <= 1e-5 * found.value


@pytest.mark.parametrize("name", ["l1", "linf", "group l2"])
def test_paths_give_the_answers_of_single_solves_with_less_work(name: str, rng: np.random.Generator) -> None:
    J, theta = rng.standard_normal((20, 1200)), rng.standard_normal(1200)
    R = {"l1": xu.L1(), "linf": xu.LInf(), "group l2": xu.GroupL2(np.arange(1200) // 6)}[name]
    problems = [xu.UnlearningProblem(theta, J[: 20 - i], R) for i in range(4)]
    path = list(solve_path(problems))
    alone = [solve(problem) for problem in problems]
    for warm, cold in zip(path, alone, strict=True):
        assert warm.status is Status.OPTIMAL
        assert warm.value == pytest.approx(cold.value, rel=2e-8)
    rounds = [sum(int(s.message.split()[0]) for s in part) for part in (path, alone)]
    assert rounds[0] <= rounds[1]


def test_a_missed_gap_is_said() -> None:
    found = solve(gaussian_problem(xu.GroupL2(np.arange(12) // 3)), gap=1e-300)
    assert found.status is Status.INACCURATE
    assert "asked for" in found.message


@pytest.mark.parametrize(
    ("R", "drift", "said"),
    [
        (xu.NuclearNorm(slice(0, 12), (3, 4)), None, "nuclear_norm"),
        (xu.L0(), None, "l0"),
        (xu.NuclearNorm(slice(0, 12), (3, 4)), xu.L1Drift(0.1), "nuclear_norm"),
    ],
)
def test_what_has_no_torch_solver_points_to_the_one_that_does(R: Any, drift: Any, said: str) -> None:
    with pytest.raises(ProblemError, match=f"{said}.*exact_unlearn.solve"):
        solve(gaussian_problem(R, drift))


@pytest.mark.parametrize("options", [{"gap": 0.0}, {"gap": "1e-8"}, {"route": "magic"}, {"dtype": torch.int32}])
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match=next(iter(options))):
        solve(gaussian_problem(xu.L1()), **options)


def test_problems_are_checked() -> None:
    with pytest.raises(ProblemError, match="UnlearningProblem"):
        solve(np.zeros(3))  # type: ignore[arg-type]
