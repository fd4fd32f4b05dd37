"""Exact optima against independent routes: closed forms, enumeration, other starts, other solvers, no accelerator."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.certify import exactlin
from exact_unlearn.certify.forms import separable
from exact_unlearn.certify.image import image
from exact_unlearn.certify.pieces import Scale, pieces
from exact_unlearn.certify.pivot import InfeasibleError, Start, pivot, without_ceiling
from exact_unlearn.certify.terms import drift_of
from exact_unlearn.problem import UnlearningProblem
from tests.cases import drifts, freezings, gaussian_problem, instances, regularizers

EXACT = [
    "squared l2",
    "weighted squared l2",
    "l1",
    "weighted l1",
    "l1 with zero weights",
    "linf",
    "weighted linf",
    "elastic net",
]
SUMS = ["none", "squared", "l1", "box", "squared and l1"]


def rational_problem(seed: int, regularizer: Any, drift: Any = None, k: int = 3, d: int = 7) -> UnlearningProblem:
    rng = np.random.default_rng(seed)
    J = np.array([[Fraction(int(v), 7) for v in row] for row in rng.integers(-20, 21, (k, d))], dtype=object)
    theta = np.array([Fraction(int(v), 5) for v in rng.integers(-20, 21, d)], dtype=object)
    return UnlearningProblem(theta, J, regularizer, drift)


@pytest.mark.parametrize("lam", [Fraction(0), Fraction(1, 3)])
def test_appendix_e_in_fractions(lam: Fraction) -> None:
    """theta = theta* - (1 + lam)^-1 P_perp theta*, and nothing is rounded between the data and the value."""
    problem = rational_problem(1, xu.SquaredL2(), xu.SquaredDrift(lam))
    projected, _ = rational.project_onto_rows(problem.jacobian.matrix, problem.theta_star)
    step = -(problem.theta_star - projected) / (1 + lam)
    expected = problem.objective(problem.theta_star + step)
    certificate = xu.certify(problem)
    assert certificate.proof == "exact"
    assert certificate.unique
    assert certificate.lower == certificate.upper == expected
    assert certificate.theta == pytest.approx((problem.theta_star + step).astype(float), abs=1e-15)


@pytest.mark.parametrize("seed", range(4))
def test_l1_against_all_vertices(seed: int) -> None:
    """An l1 optimum is attained at a basic solution; there are few enough to try them all, in fractions."""
    problem = rational_problem(seed, xu.L1())
    J, theta = problem.jacobian.matrix, problem.theta_star
    q = rational.matmul(J, theta)
    values = []
    for columns in combinations(range(theta.size), J.shape[0]):
        x = rational.solve(J[:, columns], q)
        if x is not None:
            values.append(sum(abs(v) for v in x))
    certificate = xu.certify(problem)
    assert certificate.lower == certificate.upper == min(values)


@pytest.mark.parametrize("seed", range(4))
def test_linf_against_all_dual_vertices(seed: int) -> None:
    """max q.y over sum |J.T y| <= 1: at a vertex J.T y vanishes on k - 1 columns."""
    problem = rational_problem(seed, xu.LInf())
    J, theta = problem.jacobian.matrix, problem.theta_star
    q, best = rational.matmul(J, theta), Fraction(0)
    for columns in combinations(range(theta.size), J.shape[0] - 1):
        kernel, _ = rational.nullspace(J[:, columns].T)
        for y in kernel.T:
            size = sum(abs(v) for v in rational.matmul(J.T, y))
            best = max(best, abs(sum(q * y)) / size)
    certificate = xu.certify(problem)
    assert certificate.lower == certificate.upper == best


@pytest.mark.parametrize("drift", SUMS)
@pytest.mark.parametrize("regularizer", EXACT)
def test_the_reference_solver_agrees(regularizer: str, drift: str) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()["some frozen"])
    solution = xu.solve(problem)
    certificate = xu.certify(problem, solution)
    assert certificate.proof == "exact", certificate.message
    assert float(certificate.upper) == pytest.approx(solution.value, rel=1e-7)
    if certificate.unique:
        assert certificate.theta == pytest.approx(solution.theta, abs=1e-5)


@pytest.mark.parametrize("drift", SUMS)
@pytest.mark.parametrize("regularizer", EXACT)
def test_nothing_depends_on_the_accelerator(regularizer: str, drift: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = gaussian_problem(regularizers()[regularizer], drifts()[drift])
    fast = xu.certify(problem)
    monkeypatch.setattr(exactlin, "flint", None)
    slow = xu.certify(problem)
    assert slow.proof == "exact"
    assert slow.tree == fast.tree


def test_a_lying_solution_changes_nothing(rng: np.random.Generator) -> None:
    problem = gaussian_problem(xu.L1())
    honest = xu.certify(problem)
    lie = xu.solve(problem).__class__(
        problem=problem, theta=rng.standard_normal(12), nu=rng.standard_normal(5), status=xu.Status.OPTIMAL
    )
    assert xu.certify(problem, lie).tree == honest.tree


@pytest.mark.parametrize("name", ["gaussian", "dependent integer rows", "duplicated rows", "single row"])
@pytest.mark.parametrize("drift", ["none", "squared", "l1", "box", "squared and l1"])
@pytest.mark.parametrize("regularizer", ["l1", "squared l2 with zero weights", "linf", "weighted l1"])
def test_exact_pivoting_needs_no_good_start(name: str, drift: str, regularizer: str) -> None:
    """From a random point and random held coordinates to the optimum that certify finds."""
    J, theta = instances()[name]
    problem = UnlearningProblem(theta, J, regularizers()[regularizer], drifts()[drift])
    exact = image(problem)
    program = pieces(exact, separable(problem, exact, drift_of(problem)))
    n, rng = program.size, np.random.default_rng(5)
    if program.ceiling is not None:
        program = without_ceiling(program)
    held = [int(rng.integers(-1, len(row))) if row else -1 for row in program.breaks]
    start = Start(rng.standard_normal(program.size), np.array(held), Scale(1 / program.x_unit, 1 / program.y_unit))
    point = pivot(program, start, 2000)
    x = [v * program.x_unit for v in point.x.fractions()[:n]]
    best = xu.certify(problem).upper
    full = np.array(x, dtype=object)
    rationals = UnlearningProblem(
        np.array([Fraction(v) for v in theta.tolist()], dtype=object), problem.jacobian.matrix, problem.regularizer,
        problem.drift_penalty,
    )  # fmt: skip
    assert rationals.objective(full) == best
    assert all(v == 0 for v in rational.matmul(rationals.jacobian.matrix, full - rationals.theta_star))


def test_pivoting_proves_that_a_box_excludes_everything() -> None:
    J, theta = instances()["gaussian"]
    problem = UnlearningProblem(theta, J, xu.L1(), xu.TrustRegion(0.01, np.inf), rhs=np.ones(5))
    exact = image(problem)
    program = pieces(exact, separable(problem, exact, drift_of(problem)))
    start = Start(np.zeros(12), np.full(12, -1), Scale(1 / program.x_unit, 1 / program.y_unit))
    with pytest.raises(InfeasibleError) as caught:
        pivot(program, start, 500)
    pull = program.A.T.apply(caught.value.farkas.nums).tolist()
    reach = sum(v * (row[-1] if v > 0 else row[0]) for v, row in zip(pull, program.breaks, strict=True))
    assert sum(a * b for a, b in zip(caught.value.farkas.nums.tolist(), program.q, strict=True)) > reach


def test_uniqueness_is_claimed_only_where_it_holds() -> None:
    J, theta = instances()["gaussian"]
    assert xu.certify(UnlearningProblem(theta, J, xu.L1())).unique
    doubled = np.concatenate([J, J], axis=1)  # mass can move between equal columns
    certificate = xu.certify(UnlearningProblem(np.concatenate([theta, theta]), doubled, xu.L1()))
    assert certificate.proof == "exact"
    assert certificate.unique is None
    assert certificate.distance is None


def test_l2_is_exact_by_its_square() -> None:
    problem = rational_problem(3, xu.L2())
    projected, _ = rational.project_onto_rows(problem.jacobian.matrix, problem.theta_star)
    certificate = xu.certify(problem)
    assert certificate.square == sum(v * v for v in projected)
    assert certificate.gap == 0
    assert certificate.lower**2 <= certificate.square <= certificate.upper**2
    assert (certificate.upper - certificate.lower) / certificate.upper <= Fraction(1, 2**390)


@pytest.mark.parametrize("widths", [(6, 1), (6, 4, 1), (6, 5, 3), (5, 2, 3)])
@pytest.mark.parametrize("drift", [None, xu.TrustRegion(0.3, np.inf), xu.TrustRegion(50.0)])
def test_the_predictor_norm_is_exact_in_its_factors(widths: tuple[int, ...], drift: Any) -> None:
    """Theorem 3 with V and X as they are: the predictor is the projection of w(theta*) onto the retained inputs."""
    rng = np.random.default_rng(4)
    network, n = xu.LinearNetwork(widths), 3
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((n, widths[0]))
    regularizer = xu.PredictorNorm(network, theta)
    problem = xu.surrogate_problem(network, theta, x, regularizer, drift)
    certificate = xu.certify(problem, rows="literal")
    assert certificate.proof == "exact"
    assert certificate.check().proved
    predictor = regularizer.predictor(certificate.theta)
    if drift is None or drift.norm == 2:
        expected = np.linalg.pinv(x) @ x @ regularizer.predictor(theta)
        assert predictor == pytest.approx(expected, abs=1e-12)
    assert float(certificate.upper) == pytest.approx(float(np.linalg.norm(predictor)), rel=1e-12)


def test_polynomial_models_end_to_end_in_fractions() -> None:
    """Fraction parameters and inputs, an exact Jacobian, an exact optimum; and theta* + D interpolates exactly."""
    rng = np.random.default_rng(8)

    def fractions(*shape):
        return np.array([Fraction(int(v), 6) for v in rng.integers(-9, 10, int(np.prod(shape)))], dtype=object).reshape(
            shape
        )

    model = xu.Perceptron(3, 5, activation="square")
    theta, x = fractions(model.n_parameters), fractions(2, 3)
    y = model.predict(theta, x)
    problem = xu.surrogate_problem(model, theta, x, xu.L1(), free=["c"], y_retain=y)
    assert problem.is_rational
    certificate = xu.certify(problem)
    assert certificate.proof == "exact"
    assert certificate.check().proved
    moved = theta.copy()
    listed = {i: Fraction(int(n, 16), int(part["den"], 16)) for part in certificate.tree["primal"]["parts"]
              for i, n in zip(part["indices"], part["nums"], strict=True)}  # fmt: skip
    base = certificate.tree["primal"]["base"]
    for i in np.flatnonzero(problem.free).tolist():
        moved[i] = listed.get(i, Fraction(0) if base == "zero" else theta[i])
    assert (model.predict(moved, x) == y).all()  # the model is affine in c
    assert problem.objective(moved) == certificate.upper


@pytest.mark.parametrize("name", ["l1", "linf", "squared l2", "l2", "elastic net", "l1 with zero weights"])
def test_the_value_zero_belongs_to_one_point_if_all_is_seen(name: str) -> None:
    R = regularizers()[name]
    certificate = xu.certify(UnlearningProblem(np.ones(12), np.zeros((0, 12)), R))
    assert certificate.upper == 0
    assert certificate.unique is (None if name == "l1 with zero weights" else True)
    assert certificate.check().proved
