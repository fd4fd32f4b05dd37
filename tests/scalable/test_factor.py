"""Factors of the row space: orthonormal as far as they say, and able to say when they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exact_unlearn.scalable import DenseTorchJacobian, choleskyqr, tsqr
from exact_unlearn.scalable.factor import U64, RowFactor, default_tolerance, factors, gram_factor, triangular_factor
from exact_unlearn.scalable.krylov import krylov_factor
from exact_unlearn.scalable.stream import without_rows
from tests.scalable.matrices import CASES, truth

RANKED = [name for name in CASES if name != "no rows"]


def given(name: str, rng: np.random.Generator) -> tuple[DenseTorchJacobian, float]:
    J = CASES[name](rng)
    return DenseTorchJacobian(torch.from_numpy(J)), default_tolerance(len(J), torch.float64)


def orthonormality(factor: RowFactor, J: torch.Tensor) -> float:
    """|Q Q.T - I| for Q = W D J, and how far Y Q is from D J."""
    unit = factor.scale[:, None] * J
    Q = factor.whiten @ unit
    eye = torch.eye(factor.rank, dtype=torch.float64)
    return max(
        float(torch.linalg.matrix_norm(Q @ Q.T - eye)),
        float(torch.linalg.matrix_norm(factor.coordinates @ Q - unit)),
    )


def condition(name: str) -> float:
    return float(name.removeprefix("cond ")) if name.startswith("cond ") else 1e3


@pytest.mark.parametrize("route", [choleskyqr, tsqr])
@pytest.mark.parametrize("name", RANKED)
def test_right_at_every_rank_and_conditioning(name: str, route: object, rng: np.random.Generator) -> None:
    J, tolerance = given(name, rng)
    factor = route(J, None, tolerance)  # type: ignore[operator]
    assert factor.rank == truth(J.matrix.numpy(), np.zeros(J.shape[1]), tolerance)[1]
    assert orthonormality(factor, J.matrix) <= 1e3 * condition(name) * U64
    assert float(torch.linalg.matrix_norm(factor.null @ (factor.scale[:, None] * J.matrix))) <= 10 * tolerance
    assert factor.null.shape[0] + factor.rank == J.shape[0]


@pytest.mark.parametrize("columns", [100, 40_000])
def test_the_error_of_a_triangle_is_no_row(columns: int, rng: np.random.Generator) -> None:
    """What QR leaves of dependent rows grows with their length, and never counts as rank."""
    half = rng.random((6, columns))  # positive: no rounding error cancels another
    J = DenseTorchJacobian(torch.from_numpy(np.concatenate([half, half, half[:1] + half[1:2]])))
    factor = tsqr(J, None, default_tolerance(13, torch.float64))
    assert factor.rank == 6
    left = factor.null @ (factor.scale[:, None] * J.matrix)
    assert float(torch.linalg.matrix_norm(left, 2)) <= 10 * default_tolerance(13, torch.float64)


@pytest.mark.parametrize("name", RANKED)
def test_gram_factors_depart_no_more_than_they_say(name: str, rng: np.random.Generator) -> None:
    J, tolerance = given(name, rng)
    for factor in factors(J, None, tolerance):
        Q = factor.whiten @ (factor.scale[:, None] * J.matrix)
        wrong = (
            torch.linalg.matrix_norm(Q @ Q.T - torch.eye(factor.rank, dtype=torch.float64), 2) if factor.rank else 0.0
        )
        assert float(wrong) <= factor.departure + 1e3 * condition(name) * U64


def test_float32_gram_is_refused_where_it_cannot_be_trusted(rng: np.random.Generator) -> None:
    easy, hard = (DenseTorchJacobian(torch.from_numpy(CASES[name](rng)).float()) for name in ("cond 30", "cond 1e6"))
    unit = 2.0**-24
    assert gram_factor(easy.gram(), 1e-6, unit, "gram32") is not None
    assert gram_factor(hard.gram(), 1e-6, unit, "gram32") is None
    assert gram_factor(hard.gram(dtype=torch.float64), 1e-6, U64, "gram64") is not None


def test_weights_turn_the_metric(rng: np.random.Generator) -> None:
    J, tolerance = given("cond 30", rng)
    weights = torch.from_numpy(rng.random(J.shape[1]))
    expected = DenseTorchJacobian(J.matrix * weights.sqrt())
    for factor in (
        choleskyqr(J, weights, tolerance),
        tsqr(J, weights, tolerance),
        next(factors(J, weights, tolerance)),
    ):
        assert orthonormality(factor, expected.matrix) <= 1e-10


def test_factor_from_triangles_of_shards(rng: np.random.Generator) -> None:
    """What a distributed TSQR ends in: the R of the stacked R of the shards."""
    J, tolerance = given("cond 1e6", rng)
    triangles = [torch.linalg.qr(part.T, mode="r").R for part in J.matrix.chunk(3, dim=1)]
    factor = triangular_factor(torch.linalg.qr(torch.cat(triangles), mode="r").R, tolerance)
    assert orthonormality(factor, J.matrix) <= 1e3 * 1e6 * U64


@pytest.mark.parametrize("name", ["cond 30", "deficient", "duplicated", "zero rows", "sparse", "tall", "all zero"])
def test_bidiagonalisation_run_to_the_end_knows_the_rank(name: str, rng: np.random.Generator) -> None:
    J, _ = given(name, rng)
    start = J.matvec(torch.from_numpy(rng.standard_normal(J.shape[1])))
    factor = krylov_factor(J, None, start, 1e-10)
    assert factor.rank == truth(J.matrix.numpy(), np.zeros(J.shape[1]), 1e-10)[1]
    assert factor.unseen == 0.0
    assert orthonormality(factor, J.matrix) <= 1e-9


@pytest.mark.parametrize("name", ["cond 30", "cond 1e6", "deficient", "duplicated", "zero rows"])
def test_deleted_rows_leave_a_factor_of_the_rest(name: str, rng: np.random.Generator) -> None:
    J, tolerance = given(name, rng)
    factor = choleskyqr(J, None, tolerance)
    kept = torch.ones(J.shape[0], dtype=torch.bool)
    for gone in ([1, 4], [0], [3, 5, 6, 7]):
        index = kept.nonzero()[:, 0]
        keep = ~torch.isin(index, torch.tensor(gone))
        kept[gone] = False
        updated = without_rows(factor, keep)
        assert updated is not None
        factor = updated
        assert orthonormality(factor, J.matrix[kept]) <= 1e4 * condition(name) * U64
        assert factor.rank == truth(J.matrix[kept].numpy(), np.zeros(J.shape[1]), tolerance)[1]
