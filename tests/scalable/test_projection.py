"""The l2 problem at scale, against an SVD in float64, closed forms, and the residuals of `Solution`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from exact_unlearn import LinearNetwork, SquaredDrift, SquaredL2, Status, UnlearningProblem
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import DenseTorchJacobian, project
from exact_unlearn.scalable.factor import choleskyqr, default_tolerance
from exact_unlearn.scalable.quadratic import quadratic
from exact_unlearn.scalable.refine import Task
from tests.scalable.matrices import CASES, D, conditioned, relative, truth, with_spectrum
from validation.attack.projections import exact

DTYPES = {"float32": torch.float32, "float64": torch.float64}

# What the project promises where the rows are well enough conditioned for it.
BARS = {"float32": 1e-5, "float64": 1e-11}
EASY = ("cond 1", "cond 30", "cond 1e3", "gaussian", "duplicated", "zero rows", "sparse", "scaled rows", "positive")


def instance(name: str, dtype: str, rng: np.random.Generator) -> tuple[Any, Any, float]:
    J = CASES[name](rng).astype(dtype)
    theta = rng.standard_normal(J.shape[1]).astype(dtype)
    return J, theta, default_tolerance(len(J), DTYPES[dtype])


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("name", CASES)
def test_never_wrong_without_saying_so(name: str, dtype: str, rng: np.random.Generator) -> None:
    J, theta, tolerance = instance(name, dtype, rng)
    expected, rank = truth(J, theta, tolerance)
    result = project(J, theta)
    assert result.rank == rank
    assert relative(result.theta, expected) <= result.error_estimate + 1e-15
    wrong = np.linalg.norm(result.drift - (expected - theta))
    assert wrong <= result.error_estimate * np.linalg.norm(expected) + np.finfo(dtype).eps * np.linalg.norm(theta)


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("name", EASY)
def test_accurate_and_sure_of_it(name: str, dtype: str, rng: np.random.Generator) -> None:
    J, theta, tolerance = instance(name, dtype, rng)
    result = project(J, theta)
    assert relative(result.theta, truth(J, theta, tolerance)[0]) <= BARS[dtype]
    assert result.error_estimate <= BARS[dtype]
    assert result.ambiguity == 0.0


@pytest.mark.parametrize("name", ["cond 1e6", "cond 1e10"])
def test_ill_conditioned_float64_reaches_what_rounding_allows(name: str, rng: np.random.Generator) -> None:
    J, theta, tolerance = instance(name, "float64", rng)
    result = project(J, theta)
    assert relative(result.theta, truth(J, theta, tolerance)[0]) <= 10 * float(name.removeprefix("cond ")) * 2.0**-53
    assert result.error_estimate <= 1e4 * float(name.removeprefix("cond ")) * 2.0**-53


@pytest.mark.parametrize("route", ["choleskyqr", "tsqr", "krylov"])
@pytest.mark.parametrize("name", ["cond 30", "cond 1e6", "deficient", "duplicated", "zero rows", "sparse"])
def test_routes_agree(name: str, route: str, rng: np.random.Generator) -> None:
    J, theta, _ = instance(name, "float64", rng)
    one, other = project(J, theta), project(J, theta, route=route)
    assert other.route.startswith(route)
    assert other.rank == one.rank
    assert relative(other.theta, one.theta) <= one.error_estimate + other.error_estimate


def test_escalation_takes_the_steps_that_it_needs(rng: np.random.Generator) -> None:
    theta = rng.standard_normal(20000).astype(np.float32)
    easy = conditioned(rng, 40, 2.0, 20000)
    assert project(easy.astype(np.float32), theta).steps == ("gram32/float32",)
    assert project(easy, theta.astype(np.float64)).steps == ("gram64/float64",)
    hard = conditioned(rng, 40, 1e9, 20000)
    assert project(hard, theta.astype(np.float64)).steps[-1] == "choleskyqr/float64"
    with pytest.raises(ProblemError, match="cannot resolve"):
        project(hard, theta.astype(np.float64), route="gram")


def test_float32_deficiency_by_rounding_is_flagged(rng: np.random.Generator) -> None:
    """Rounding a rank-deficient matrix to float32 gives it full rank, literally; the two readings differ, and
    we say so.
    """
    J = CASES["deficient"](rng).astype(np.float32)
    theta = rng.standard_normal(D).astype(np.float32)
    result = project(J, theta)
    literal = truth(J, theta, 1e-14)[0]
    assert result.rank == 12
    assert relative(result.theta, literal) > 0.1
    assert relative(result.theta, literal) <= result.error_estimate
    assert result.ambiguity > 0.1
    declared = project(J, theta, rank_tolerance=1e-5)
    assert declared.error_estimate <= 1e-5
    assert relative(declared.theta, truth(J, theta, 1e-5)[0]) <= 1e-5
    exact = project(J.astype(np.float64), theta.astype(np.float64))
    assert exact.rank == 30
    assert relative(exact.theta, literal) <= exact.error_estimate <= 1e-6


def weighted_truth(J: Any, theta: Any, w: Any, lam: float, free: Any, b: Any) -> Any:
    """The KKT system solved densely by least squares: stiffness on free coordinates, J D = b."""
    index = np.flatnonzero(free)
    A, stiff, q = J[:, index], (w + lam)[index], (w * theta)[index]
    kkt = np.block([[np.diag(stiff), -A.T], [A, np.zeros((len(J), len(J)))]])
    step = np.linalg.lstsq(kkt, np.concatenate([-q, b]), rcond=None)[0][: index.size]
    out = theta.copy()
    out[index] += step
    return out


@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_lam_weights_frozen_blocks_and_right_sides(
    lam: float, weighted: bool, frozen: bool, shifted: bool, rng: np.random.Generator
) -> None:
    J, theta = rng.standard_normal((8, 60)), rng.standard_normal(60)
    w = rng.random(60) + 0.1 if weighted else None
    free = rng.random(60) < 0.6 if frozen else None
    b = rng.standard_normal(8) if shifted else None
    result = project(J, theta, lam=lam, weights=w, free=free, rhs=b)
    everything = np.ones(60)
    expected = weighted_truth(
        J,
        theta,
        everything if w is None else w,
        lam,
        everything > 0 if free is None else free,
        np.zeros(8) if b is None else b,
    )
    assert relative(result.theta, expected) <= 1e-12
    np.testing.assert_allclose(result.theta - theta, result.drift, atol=1e-12)
    if free is not None:
        np.testing.assert_array_equal(result.theta[~free], theta[~free])
        np.testing.assert_array_equal(result.drift[~free], 0.0)
    assert result.solution().is_optimal(1e-9)


def test_appendix_e(rng: np.random.Generator) -> None:
    """The drift with lam is the drift without, divided by 1 + lam."""
    J, theta = rng.standard_normal((6, 80)), rng.standard_normal(80)
    plain, damped = project(J, theta), project(J, theta, lam=3.0)
    np.testing.assert_allclose(damped.drift, plain.drift / 4.0, rtol=1e-12)


def test_a_huge_lam_keeps_the_small_drift_accurate(rng: np.random.Generator) -> None:
    J, theta = rng.standard_normal((6, 80)).astype(np.float32), rng.standard_normal(80).astype(np.float32)
    plain = project(J.astype(np.float64), theta.astype(np.float64))
    damped = project(J, theta, lam=1e6)
    assert relative(damped.drift * (1 + 1e6), plain.drift) <= 1e-5


@pytest.mark.parametrize("costless", [3, 5, 30])
def test_coordinates_that_cost_nothing(costless: int, rng: np.random.Generator) -> None:
    """Weight 0 and lam = 0: fewer, as many, or more of them than rows; the value is that of the weights' limit
    to 0.
    """
    J, theta, w = rng.standard_normal((5, 40)), rng.standard_normal(40), rng.random(40) + 0.5
    w[:costless] = 0.0
    result = project(J, theta, weights=w, free=np.arange(38))
    almost = project(J, theta, weights=np.where(w == 0, 1e-9, w), free=np.arange(38))
    assert np.linalg.norm(J @ result.drift) <= 1e-10
    np.testing.assert_array_equal(result.drift[38:], 0.0)
    value = SquaredL2(w).value
    assert value(result.theta) <= value(almost.theta) + 1e-6
    solution = result.solution()
    assert solution.is_optimal(1e-7)
    assert solution.unique is False


def test_a_right_side_that_nothing_fits_is_infeasible(rng: np.random.Generator) -> None:
    J = rng.standard_normal((3, 20))
    J = np.vstack([J, J[0]])
    theta, b = rng.standard_normal(20), np.array([1.0, 0.0, 0.0, 2.0])
    result = project(J, theta, rhs=b)
    solution = result.solution()
    assert solution.status is Status.INFEASIBLE
    assert np.linalg.norm(J.T @ solution.nu) <= 1e-10 * np.linalg.norm(solution.nu)
    assert solution.nu @ b > 0
    assert project(J, theta, rhs=np.array([1.0, 0.0, 0.0, 1.0])).solution().status is Status.OPTIMAL


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_scales_of_rows_and_parameters(scale: float, rng: np.random.Generator) -> None:
    J, theta = conditioned(rng, 10, 5.0, 100), rng.standard_normal(100)
    expected = truth(J, theta, 1e-14)[0]
    J[::2] *= scale
    assert relative(project(J, theta).theta, expected) <= 1e-13
    assert relative(project(J, theta * scale).theta / scale, expected) <= 1e-13
    if 1e-30 <= scale <= 1e30:
        single = project(J.astype(np.float32), theta.astype(np.float32))
        assert relative(single.theta, expected) <= 1e-5


def test_certified_like_any_other(rng: np.random.Generator) -> None:
    """Multipliers pass the residual checks of Solution, in float64 even where the projection ran in float32."""
    J, theta = rng.standard_normal((12, 300)), rng.standard_normal(300)
    problem = UnlearningProblem(theta, J, SquaredL2(), SquaredDrift(0.5))
    for dtype in (np.float32, np.float64):
        solution = project(J.astype(dtype), theta.astype(dtype), lam=0.5).solution(
            problem if dtype is np.float64 else None
        )
        assert solution.status is Status.OPTIMAL
        assert solution.is_optimal(1e-6 if dtype is np.float32 else 1e-12)
        assert solution.rank.rank == 12


def test_rank_report_names_rows_that_span(rng: np.random.Generator) -> None:
    J = CASES["duplicated"](rng)
    report = project(J, rng.standard_normal(D)).solution().rank
    assert report.rank == len(report.rows) == 15
    assert np.linalg.matrix_rank(J[list(report.rows)]) == 15


def test_any_jacobian_of_the_numpy_side(rng: np.random.Generator) -> None:
    """Products only: a linear network's J, never stored."""
    network = LinearNetwork((7, 3, 2))
    theta, x = rng.standard_normal(network.n_parameters), rng.standard_normal((4, 7))
    implicit = network.product_jacobian(theta, x)
    dense = np.array([implicit.rmatvec(row) for row in np.eye(8)])
    result = project(implicit, theta)
    assert result.route.startswith("krylov")
    assert relative(result.theta, truth(dense, theta, 1e-13)[0]) <= 1e-12


def test_krylov_stops_early_and_knows_what_it_has_not_seen(rng: np.random.Generator) -> None:
    J, theta = with_spectrum(rng, np.linspace(1.0, 2.0, 120)), rng.standard_normal(D)
    result = project(J, theta, route="krylov", goal=1e-8)
    assert result.rank < 120
    assert relative(result.theta, truth(J, theta, 1e-12)[0]) <= result.error_estimate <= 1e-8


def test_reduced_precision_products_are_noticed(rng: np.random.Generator) -> None:
    """With bfloat16 or TF32 allowed in float32 products, the estimate asks for float64."""
    J, theta = conditioned(rng, 40, 50.0, 20000).astype(np.float32), rng.standard_normal(20000).astype(np.float32)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        result = project(J, theta)
    finally:
        torch.set_float32_matmul_precision(before)
    assert relative(result.theta, truth(J, theta, 1e-6)[0]) <= 1e-5
    assert result.steps[-1] == "gram64/float64"


@pytest.mark.parametrize("name", ["gaussian", "cond 30", "positive", "scaled rows"])
def test_the_noise_of_float32_residuals_is_measured(name: str, rng: np.random.Generator) -> None:
    """What a few sampled rows say about the noise of all residuals, against all of them in float64."""
    J, theta = (torch.from_numpy(part.astype(np.float32)) for part in (CASES[name](rng), rng.standard_normal(D)))
    task = Task(DenseTorchJacobian(J), quadratic(theta, len(J)))
    scale = 1.0 / torch.linalg.vector_norm(J.double(), dim=1)
    nu = torch.from_numpy(rng.standard_normal(len(J))) * scale
    pull, residual = task.sweep(nu, torch.float32)
    exact = J.double() @ (theta.double() - pull.double())
    noise = torch.linalg.vector_norm(scale * (residual - exact)) / len(J) ** 0.5
    factor = choleskyqr(task.jacobian, None, 1e-6)
    assert float(noise) <= task.product_noise(pull, residual, factor, nu) <= 100 * float(noise)


@pytest.mark.parametrize("d", [2, 100_000])
def test_what_is_derived_from_the_data_is_not_rounded(d: int) -> None:
    """Weights 3 and 7 beside theta* that the one row hardly sees: 1/3 in float32 was 1.6 % of the answer, unnoticed."""
    theta = np.tile(np.array([1.0, -1.0 + 2.0**-20], dtype=np.float32), d // 2)
    weights = np.tile(np.array([3.0, 7.0], dtype=np.float32), d // 2)
    result = project(np.ones((1, d), dtype=np.float32), theta, weights=weights)
    expected = 2.0**-20 / (1 / 3 + 1 / 7) / weights.astype(float)
    assert relative(result.theta, expected) <= result.error_estimate <= 1e-6


def test_rows_that_differ_in_the_last_bit_are_two_rows_as_written() -> None:
    """They count as one, and the estimate says that the problem as written has another answer."""
    J, theta = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-52]]), np.array([2.0, 1.0])
    result = project(J, theta)
    assert result.rank == 1
    assert np.linalg.norm(result.theta - theta) <= result.error_estimate * np.linalg.norm(result.theta)
    assert project(J, theta, rank_tolerance=1e-15).error_estimate <= 1e-14
    for same in (J[:1].repeat(2, axis=0), np.array([[1.0, 2.0], [3.0, -1.0], [11.0, 1.0]])):
        assert project(same, theta).ambiguity == 0.0  # dependent as written: duplicates, and 2 r1 + 3 r2


def test_the_estimate_is_no_excuse(rng: np.random.Generator) -> None:
    """Where nothing is hard it stays within a factor of a thousand of the true error (30 in the median)."""
    ratios = []
    for _ in range(20):
        J, theta = rng.integers(-9, 10, (6, 40)).astype(float), rng.standard_normal(40)
        weights = rng.integers(1, 9, 40).astype(float)
        result = project(J, theta, weights=weights)
        off = [float(a - Fraction(b)) for a, b in zip(exact(J, theta, weights=weights), result.theta, strict=True)]
        ratios.append(result.error_estimate * np.linalg.norm(result.theta) / np.linalg.norm(off))
    assert min(ratios) >= 1.0
    assert np.median(ratios) <= 1e3


def test_costless_coordinates_start_from_theta_star(rng: np.random.Generator) -> None:
    """theta and drift tell one story there too: the shortest move from theta* that the rows ask for."""
    J, theta, w = rng.standard_normal((3, 12)), rng.standard_normal(12), np.ones(12)
    w[:2] = 0.0
    result = project(J, theta, weights=w)
    np.testing.assert_allclose(result.theta - theta, result.drift, atol=1e-13)
    assert np.abs(J @ (result.theta - theta)).max() <= 1e-12


@pytest.mark.parametrize("kind", ["tensor", "array", "list"])
def test_what_goes_in_comes_out(kind: str) -> None:
    J, theta = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 2.0, 4.0]
    convert: Any = {"tensor": torch.tensor, "array": np.array, "list": list}[kind]
    result = project(convert(J), convert(theta))
    expected = torch.Tensor if kind == "tensor" else np.ndarray
    assert all(isinstance(part, expected) for part in (result.theta, result.drift, result.nu))
    np.testing.assert_allclose(np.asarray(result.theta), [0.0, 3.0, 3.0], atol=1e-6)
    np.testing.assert_allclose(np.asarray(result.drift), [-1.0, 1.0, -1.0], atol=1e-6)


def test_inputs_are_never_written_to(rng: np.random.Generator) -> None:
    J, theta = rng.standard_normal((5, 50)), rng.standard_normal(50)
    J.setflags(write=False)
    theta.setflags(write=False)
    kept = J.copy(), theta.copy()
    project(J, theta, lam=0.1, weights=np.ones(50), free=np.arange(40))
    np.testing.assert_array_equal(J, kept[0])
    np.testing.assert_array_equal(theta, kept[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jacobian": np.full((2, 3), np.nan)}, "jacobian: expected finite"),
        ({"jacobian": np.array([[1.0, np.inf, 0.0]])}, "jacobian: expected finite"),
        ({"jacobian": np.zeros(3)}, "jacobian: expected a real matrix"),
        ({"jacobian": np.zeros((2, 3), dtype=complex)}, "jacobian: expected real"),
        ({"jacobian": "J"}, "jacobian"),
        ({"theta": np.array([1.0, np.nan, 0.0])}, "theta: expected finite"),
        ({"theta": np.ones(4)}, "theta: expected 3 entries"),
        ({"lam": -1.0}, "lam"),
        ({"lam": np.inf}, "lam"),
        ({"weights": [1.0, -1.0, 1.0]}, "weights"),
        ({"weights": [1.0, 1.0]}, "weights"),
        ({"free": [0, 7]}, "free"),
        ({"free": [True, False]}, "free"),
        ({"rhs": [1.0, 2.0, 3.0]}, "rhs"),
        ({"route": "qr"}, "route"),
        ({"rank_tolerance": -1.0}, "rank_tolerance"),
        ({"goal": np.nan}, "goal"),
    ],
)
def test_careless_arguments(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"jacobian": np.ones((2, 3)), "theta": np.ones(3)}
    arguments = good | change
    with pytest.raises(ProblemError, match=message):
        project(arguments.pop("jacobian"), arguments.pop("theta"), **arguments)
