"""The parameter dimension over processes: what the reductions cost, and that the answer stays.

One process against two and four gloo processes on this machine, which share its cores: the ratio shows
overhead, not speed-up; on machines of their own every product with J takes 1 / processes of the time.  Timed: a
projection of (rows, columns) by Gram matrix, and one by TSQR (`ill`), by the slowest process, without the start
of processes.  Error: |J D| and <D, theta> relatively, both 0 for a projection.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array

from .harness import PACKAGE, Bench, Side, timed

BENCH = Bench(
    name="distributed",
    title="Projection, columns of J over processes (gloo, one machine)",
    ours="one process",
    sides=(Side("one process", ("torch",)), Side("two processes", ("torch",)), Side("four processes", ("torch",))),
    cases={
        "Gram (50, 200000)": {"rows": 50, "columns": 200_000, "condition": 1.0},
        "Gram (200, 50000)": {"rows": 200, "columns": 50_000, "condition": 1.0},
        "TSQR (50, 200000)": {"rows": 50, "columns": 200_000, "condition": 1e8},
    },
    quick=("Gram (200, 50000)", "TSQR (50, 200000)"),
)

SIZES = {"one process": 1, "two processes": 2, "four processes": 4}


def data(case: dict[str, Any], columns: slice) -> tuple[Array, Array]:
    """(J, theta*) on some columns: column blocks have seeds of their own, so that no process makes more than
    its part.
    """
    block, scale = 10_000, np.geomspace(1.0, 1.0 / case["condition"], case["rows"])
    left = np.linalg.qr(np.random.default_rng(1).standard_normal((case["rows"], case["rows"])))[0]
    parts, thetas = [], []
    for start in range(columns.start - columns.start % block, columns.stop, block):
        rng = np.random.default_rng(1000 + start)
        inside = slice(max(columns.start - start, 0), min(columns.stop - start, block))
        parts.append(rng.standard_normal((case["rows"], block))[:, inside])
        thetas.append(rng.standard_normal(block)[inside])
    return left @ (scale[:, None] * np.concatenate(parts, axis=1)), np.concatenate(thetas)


def run(side: str, case: dict[str, Any]) -> dict[str, Any]:
    """One measurement: start the processes, take the slowest."""
    size = SIZES[side]
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", f"{PACKAGE}.bench_distributed", name, str(size)]
        command += [str(case[key]) for key in ("rows", "columns", "condition")]
        started = [
            subprocess.Popen([*command, str(rank)], env=os.environ | {"OMP_NUM_THREADS": "1"}) for rank in range(size)
        ]
        statuses = [process.wait() for process in started]
        if any(statuses):
            raise SystemExit("a process failed")
        found = [np.load(Path(name) / f"{rank}.npy") for rank in range(size)]
    seconds, cpu, error, memory = np.max(found, axis=0).tolist()
    return {"seconds": seconds, "cpu": cpu, "error": error, "memory": memory}


def work(folder: Path, size: int, case: dict[str, Any], rank: int) -> None:
    """One process: its columns, three projections, the median of the times, and the error of its part."""
    import torch
    import torch.distributed as dist

    from exact_unlearn.scalable.distributed import column_range, leave, project_shard, shard_rows

    from .worker import peak_memory

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=size)
    columns = column_range(case["columns"], rank, size)
    J, theta = data(case, columns)
    shard, before = shard_rows(J), peak_memory()
    runs = [timed(lambda: project_shard(shard, theta)) for _ in range(3)]
    memory = peak_memory() - before
    best = sorted(runs, key=lambda run: run.seconds)[1]
    moved = best.result
    # P theta leaves J theta as it is and is orthogonal to what was removed: two numbers that need no second solver
    residual = shard.team.sum(shard.matvec(moved.drift))
    cross = float(shard.team.sum(moved.drift @ moved.theta)) / float(shard.team.sum(moved.theta.square().sum()))
    size_of = float(shard.team.sum(shard.matvec(torch.from_numpy(theta))).norm())
    error = max(abs(cross), float(residual.norm()) / size_of)
    np.save(folder / f"{rank}.npy", np.array([best.seconds, best.cpu, error, memory]))
    leave()


if __name__ == "__main__":
    rows, columns_, condition = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    options = {"rows": rows, "columns": columns_, "condition": condition}
    work(Path(sys.argv[1]), int(sys.argv[2]), options, int(sys.argv[6]))
