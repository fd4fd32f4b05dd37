"""One process of a distributed solve: started by test_distributed.py, writes what it found.

python shard_worker.py RANK SIZE STORE OUT
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

import exact_unlearn as xu
from exact_unlearn.scalable import distributed as sharded

D, ROWS, GROUP = 840, 6, 5
FEW = ("l1", "group", "weighted l2")


def data(condition: float = 1.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(J, theta*), the same in every process and in the test."""
    rng = np.random.default_rng(5)
    J = rng.standard_normal((ROWS, D))
    if condition > 1.0:
        left, _, right = np.linalg.svd(J, full_matrices=False)
        J = (left * np.geomspace(1.0, 1.0 / condition, ROWS)) @ right
    return J, rng.standard_normal(D)


def cases(columns: slice) -> dict[str, tuple[Any, Any]]:
    """Regularizers and drifts on some columns; labels count from 0 on every shard."""
    labels = np.arange(columns.stop - columns.start) // GROUP
    weights = np.linspace(0.5, 2.0, D)[columns]
    return {
        "l1": (xu.L1(), None),
        "weighted linf": (xu.LInf(weights), None),
        "group": (xu.GroupL2(labels), xu.SquaredDrift(0.2)),
        "elastic net": (xu.ElasticNet(1.0, 0.5), None),
        "weighted l2": (xu.L2(weights), None),
        "squared in a ball": (xu.SquaredL2(), xu.TrustRegion(5.0)),
    }


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()


def network_inputs() -> torch.Tensor:
    return torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(4, 3)


def fsdp(found: dict[str, Any]) -> None:
    """J theta and the projection of an FSDP2 module: numbers that do not depend on the order of the shards."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    module = network()
    fully_shard(module, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    J = sharded.sharded_jacobian(module, network_inputs())
    theta = sharded.flatten(sharded.local_parameters(module))
    result = sharded.project_shard(J, theta)
    found["fsdp product"] = J.team.sum(J.matvec(theta)).numpy()
    found["fsdp nu"] = result.nu.numpy()
    found["fsdp length"] = float(J.team.sum(result.theta.square().sum()))
    sharded.write_shards(module, result.theta)
    found["fsdp outputs"] = module(network_inputs()).detach().numpy()


def main() -> None:
    rank, size, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    columns = sharded.column_range(D // GROUP, rank, size)
    columns = slice(columns.start * GROUP, columns.stop * GROUP)
    J, theta = data()
    shard = sharded.shard_rows(J[:, columns])
    found: dict[str, Any] = {}
    for name, (R, drift) in cases(columns).items():
        if size > 2 and name not in FEW:  # every collective of four processes waits for two cores
            continue
        answer = sharded.solve_shard(shard, theta[columns], R, drift, gap=1e-11)
        found[name] = answer.gathered().numpy()
        found[f"value of {name}"] = answer.value
        found[f"nu of {name}"] = answer.nu.numpy()
    hard, _ = data(1e7)
    ill = sharded.shard_rows(hard[:, columns])
    result = sharded.project_shard(ill, theta[columns])
    found["ill"] = sharded.gather_shards(result.theta, ill.team).numpy()
    mask = np.arange(D)[columns] % 4 != 0
    part = sharded.project_shard(shard, theta[columns], lam=0.5, free=mask, rhs=np.full(ROWS, 0.1))
    found["frozen"] = sharded.gather_shards(part.theta, shard.team).numpy()
    dtensor(J, found)
    if size == 2:
        fsdp(found)
    if rank == 0:
        np.savez(out, **found)
    sharded.leave()


def dtensor(J: np.ndarray[Any, Any], found: dict[str, Any]) -> None:
    """A DTensor sharded along its columns is taken as it is."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    shard = sharded.shard_rows(distribute_tensor(torch.from_numpy(J), mesh, [Shard(1)]))
    found["gram"] = shard.reduce(shard.gram()).numpy()


if __name__ == "__main__":
    main()
