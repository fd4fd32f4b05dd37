"""Two and four processes with gloo give the answer of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import project, solve
from exact_unlearn.scalable.distributed import column_range, shard_rows
from exact_unlearn.scalable.launch import run_together
from tests.scalable import shard_worker

WORKER = Path(shard_worker.__file__)


def run(size: int, folder: Path) -> dict[str, Any]:
    """Start `size` processes, wait for all of them, read what the first one wrote."""
    arguments = [str(size), str(folder / "store"), str(folder / "found.npz")]
    run_together([[sys.executable, str(WORKER), str(rank), *arguments] for rank in range(size)], timeout=240.0)
    with np.load(folder / "found.npz") as file:
        return dict(file)


@pytest.fixture(scope="module", params=[2, 4])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(request.param, tmp_path_factory.mktemp("shards"))


def test_norms(found: dict[str, Any]) -> None:
    J, theta = shard_worker.data()
    for name, (R, drift) in shard_worker.cases(slice(0, shard_worker.D)).items():
        if name not in found:
            assert name not in shard_worker.FEW
            continue
        alone = solve(xu.UnlearningProblem(theta, J, R, drift), gap=1e-11)
        assert float(found[f"value of {name}"]) == pytest.approx(alone.value, rel=1e-10), name
        # A gap of 1e-11 determines theta to its square root; where the solver is a projection, to rounding.
        tol = 1e-12 if "l2" in name or "squared" in name else 2e-5
        assert np.abs(found[name] - alone.theta).max() <= tol * np.abs(alone.theta).max(), name
        assert np.abs(J @ (found[name] - theta)).max() <= 1e-10 * np.abs(J).max() * np.abs(theta).sum(), name


def test_projection_of_ill_conditioned_rows_by_tsqr(found: dict[str, Any]) -> None:
    J, theta = shard_worker.data(1e7)
    basis = np.linalg.svd(J, full_matrices=False)[2]
    assert np.abs(found["ill"] - basis.T @ (basis @ theta)).max() <= 1e-8


def test_projection_with_frozen_parameters_and_right_hand_side(found: dict[str, Any]) -> None:
    J, theta = shard_worker.data()
    free = np.arange(shard_worker.D) % 4 != 0
    alone = project(J, theta, lam=0.5, free=free, rhs=np.full(shard_worker.ROWS, 0.1))
    assert np.abs(found["frozen"] - alone.theta).max() <= 1e-12 * np.abs(alone.theta).max()
    assert (found["frozen"][~free] == theta[~free]).all()


def test_dtensors_are_taken_as_they_are(found: dict[str, Any]) -> None:
    J, _ = shard_worker.data()
    assert np.abs(found["gram"] - J @ J.T).max() <= 1e-12 * np.abs(J @ J.T).max()


def test_fsdp_modules(found: dict[str, Any]) -> None:
    if "fsdp nu" not in found:
        return  # two processes only
    module, inputs = shard_worker.network(), shard_worker.network_inputs()
    parameters = list(module.parameters())
    rows = []
    for sample in inputs:
        for output in range(2):
            grads = torch.autograd.grad(module(sample)[output], parameters)
            rows.append(torch.cat([grad.reshape(-1) for grad in grads]))
    J = torch.stack(rows)
    theta = torch.cat([p.detach().reshape(-1) for p in parameters])
    alone = project(J, theta)
    assert np.abs(found["fsdp product"] - (J @ theta).numpy()).max() <= 1e-12
    assert float(found["fsdp length"]) == pytest.approx(float(alone.theta.square().sum()), rel=1e-10)
    torch.nn.utils.vector_to_parameters(alone.theta, parameters)
    assert np.abs(found["fsdp outputs"] - module(inputs).detach().numpy()).max() <= 1e-9


def test_columns_are_dealt_out_once() -> None:
    for size in (1, 2, 3, 7):
        ranges = [column_range(10, rank, size) for rank in range(size)]
        assert [i for part in ranges for i in range(part.start, part.stop)] == list(range(10))


def test_a_shard_is_a_matrix() -> None:
    with pytest.raises(ProblemError, match="matrix"):
        shard_rows(np.zeros(3))
