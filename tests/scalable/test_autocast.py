"""What the caller has switched on around us (autocast, inference mode) changes no digit of an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from exact_unlearn import L1, L2, SquaredDrift, UnlearningProblem
from exact_unlearn.algorithms import unlearn
from exact_unlearn.scalable import (
    DenseTorchJacobian,
    ModuleModel,
    RetainStream,
    choleskyqr,
    project,
    solve,
    tsqr,
)
from exact_unlearn.scalable.distributed import project_shard, shard_rows, solve_shard


def small(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    return torch.randn(20, 200, generator=draws).to(dtype), torch.randn(200, generator=draws).to(dtype)


def large(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Large enough for Gram matrices in float32."""
    draws = torch.Generator().manual_seed(3)
    return torch.randn(300, 2000, generator=draws).to(dtype), torch.randn(2000, generator=draws).to(dtype)


def of_layers(J: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Gram matrix, rows and dense form of the Jacobian of a module."""
    torch.manual_seed(0)
    model = ModuleModel(torch.nn.Sequential(torch.nn.Linear(200, 30), torch.nn.Tanh(), torch.nn.Linear(30, 2)))
    made = model.jacobian(model.theta().to(J.dtype), J)
    return torch.cat([made.gram().reshape(-1), made.rows(torch.tensor([3])).reshape(-1), made.dense().reshape(-1)])


def streamed(J: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    stream = RetainStream(J, theta)
    return torch.stack([stream.current.theta, stream.delete([1, 5]).theta, stream.delete_samples([0]).theta])


def solved(regularizer: Any, drift: Any = None, **options: Any) -> Callable[..., Any]:
    def call(J: torch.Tensor, theta: torch.Tensor) -> Any:
        problem = UnlearningProblem(theta.double().numpy(), J.double().numpy(), regularizer, drift)
        return torch.from_numpy(solve(problem, dtype=J.dtype, gap=1e-4, **options).theta)

    return call


def trained(J: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """The projection of MinNorm-OG, without the training steps, which are the caller's to cast."""
    torch.manual_seed(0)
    module = torch.nn.Linear(200, 1).to(J.dtype)
    samples = (J, J.new_zeros(20, 1))
    moved, _ = unlearn(module, samples, samples, epochs=1, learning_rate=0.0, strength=1.0)
    return moved.weight.detach()


ENTRIES: dict[str, Callable[..., Any]] = {
    "project": lambda J, theta: project(J, theta).theta,
    "weights": lambda J, theta: project(J, theta, weights=theta.abs() + 1, lam=0.5).theta,
    "krylov": lambda J, theta: project(J, theta, route="krylov").theta,
    "tsqr": lambda J, theta: tsqr(DenseTorchJacobian(J), None, 1e-6).coordinates,
    "choleskyqr": lambda J, theta: choleskyqr(DenseTorchJacobian(J), None, 1e-6).coordinates,
    "stream": streamed,
    "L1": solved(L1()),
    "L1 by products": solved(L1(), route="products"),
    "L1 with a drift": solved(L1(), SquaredDrift(0.5)),
    "L2": solved(L2(), SquaredDrift(0.5)),
    "layers": of_layers,
    "unlearn": trained,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ENTRIES)
def test_autocast_and_inference_mode_change_no_digit(name: str, dtype: torch.dtype) -> None:
    entry = ENTRIES[name]
    data = large if name in ("project", "weights", "stream", "choleskyqr", "tsqr") else small
    expected = entry(*data(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(entry(*data(dtype)), expected)
    if name != "unlearn":  # training needs gradients
        with torch.inference_mode():
            assert torch.equal(entry(*data(dtype)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_changes_no_digit_of_shards(dtype: torch.dtype) -> None:
    J, theta = small(dtype)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:

        def both() -> tuple[torch.Tensor, torch.Tensor]:
            rows = shard_rows(J)
            return project_shard(rows, theta).theta, solve_shard(rows, theta, L1(), gap=1e-4).theta

        expected = both()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = both()
    finally:
        dist.destroy_process_group()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
