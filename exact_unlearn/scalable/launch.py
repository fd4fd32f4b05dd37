"""Solve problems with several gloo processes on this machine: what the cross-check and small machines need.

Real jobs call `distributed.solve_shard` from their own processes (torchrun).  Here the problems travel through
files, every process takes its columns, and theta comes back whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from exact_unlearn.errors import ProblemError, SolverError
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem, require_equations
from exact_unlearn.regularizers import L1, L2, GroupL2, LInf, SquaredL2


@dataclass(frozen=True, eq=False)
class Whole:
    """theta (d,) and nu (k,) of one problem, put together from all processes."""

    theta: Array
    nu: Array
    gap: float


def shard_indices(problem: UnlearningProblem, size: int) -> list[Array]:
    """The coordinates of each process, as even as whole groups allow."""
    d = problem.n_parameters
    labels = problem.regularizer.labels if isinstance(problem.regularizer, GroupL2) else np.arange(d)
    owner = (np.arange(labels.max() + 1) * size) // (labels.max() + 1)
    return [np.flatnonzero(owner[labels] == rank) for rank in range(size)]


def restricted(regularizer: Any, index: Array) -> Any:
    """The regularizer on some coordinates (whole groups)."""
    if isinstance(regularizer, GroupL2):
        kept, labels = np.unique(regularizer.labels[index], return_inverse=True)
        return GroupL2(labels, to_float(np.asarray(regularizer.weights))[kept])
    if isinstance(regularizer, L1 | L2 | LInf | SquaredL2):
        weights = regularizer.weights
        return type(regularizer)(None if weights is None else to_float(np.asarray(weights))[index])
    return regularizer


def solve_with_processes(
    problems: Sequence[UnlearningProblem], size: int = 2, gap: float = 1e-8, timeout: float = 600.0
) -> list[Whole]:
    """Solve dense problems with `size` processes, one after the other, the processes started once.

    Raises SolverError with the last lines of a process that failed, ProblemError for a Jacobian that is not dense.
    """
    for problem in problems:
        require_equations(problem, "the solve on several processes")
        if not isinstance(problem.jacobian, DenseJacobian):
            raise ProblemError("jacobian: only dense problems are handed to processes through files")
    with tempfile.TemporaryDirectory(prefix="exact-unlearn-") as name:
        folder = Path(name)
        for i, problem in enumerate(problems):
            problem.save(folder / f"problem{i}.npz")
        arguments = [name, str(len(problems)), str(size), repr(gap)]
        command = [sys.executable, "-m", "exact_unlearn.scalable.launch", *arguments]
        run_together([[*command, str(rank)] for rank in range(size)], timeout)
        return [_read(folder / f"answer{i}.npz") for i in range(len(problems))]


def run_together(commands: Sequence[Sequence[str]], timeout: float) -> None:
    """Run processes that wait for one another, one thread each, until all have ended well.

    Raises SolverError with the last words of those that have not, or after `timeout` seconds; the others, who
    would wait for them, are ended.
    """
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}  # names of machines need not resolve
    environment = loopback | os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="exact-unlearn-") as name:
        logs = [Path(name) / f"stderr{rank}.txt" for rank in range(len(commands))]
        started = []
        try:
            for command, log in zip(commands, logs, strict=True):
                with log.open("wb") as file:
                    started.append(subprocess.Popen(command, env=environment, stderr=file))
            failed = _failures(started, timeout)
        finally:
            for process in started:
                process.kill()
                process.wait()
        if failed:
            raise SolverError("; ".join(_last_words(rank, started[rank], logs[rank]) for rank in failed))


def _last_words(rank: int, process: subprocess.Popen[bytes], log: Path) -> str:
    words = " ".join(log.read_text(encoding="utf-8", errors="replace").split())
    return f"process {rank} failed with status {process.returncode}: {words[-400:]}"


def _failures(started: Sequence[subprocess.Popen[bytes]], timeout: float) -> list[int]:
    """Wait until all have ended well, or some have not: the first, and who fell with it before we looked."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        failed = [rank for rank, process in enumerate(started) if process.poll()]
        running = [process for process in started if process.poll() is None]
        if failed or not running:
            return failed
        with suppress(subprocess.TimeoutExpired):
            running[0].wait(0.05)
    raise SolverError(f"{len(started)} processes did not finish within {timeout:g} s")


def _read(path: Path) -> Whole:
    with np.load(path) as file:
        return Whole(file["theta"], file["nu"], float(file["gap"]))


def work(folder: Path, count: int, size: int, gap: float, rank: int) -> None:
    """What one process does."""
    import torch
    import torch.distributed as dist

    from exact_unlearn.scalable.distributed import shard_rows, solve_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=size)
    for i in range(count):
        problem = UnlearningProblem.load(folder / f"problem{i}.npz")
        parts = shard_indices(problem, size)
        mine = parts[rank]
        penalty = sum(problem.drifts[1:], start=problem.drifts[0]) if problem.drifts else None
        answer = solve_shard(
            shard_rows(_columns(problem, mine)),
            to_float(problem.theta_star)[mine],
            restricted(problem.regularizer, mine),
            penalty,
            problem.free[mine],
            to_float(problem.rhs),
            gap,
        )
        theta = np.empty(problem.n_parameters)
        theta[np.concatenate(parts)] = answer.gathered().numpy()
        if rank == 0:
            np.savez(folder / f"answer{i}.npz", theta=theta, nu=answer.nu.numpy(), gap=answer.gap)


def _columns(problem: UnlearningProblem, index: Array) -> Array:
    assert isinstance(problem.jacobian, DenseJacobian)
    return np.ascontiguousarray(to_float(problem.jacobian.matrix)[:, index])


def main(arguments: Sequence[str]) -> NoReturn:
    """Do the work of one process and leave; a failure is told and ends the process at once, unfinalised as `leave`."""
    from exact_unlearn.scalable.distributed import leave

    folder, count, size, gap, rank = arguments
    try:
        work(Path(folder), int(count), int(size), float(gap), int(rank))
    except Exception:  # the end of this process: whatever it was, its parent has to be told at once
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    leave()


if __name__ == "__main__":
    main(sys.argv[1:])
