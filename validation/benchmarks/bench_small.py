"""Small problems, where overhead is everything: `xu.solve`, the same without CVXPY, `scalable.solve`, a hand-written
CVXPY call, and rivals by their own interfaces.

What is timed: the median of `REPEATS` calls after one to warm up, each from (J, theta*) as arrays to a solution; ours
include validation, an orthonormal basis of the rows, multipliers in the caller's rows, polishing and residuals.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.jacobian import Array

from . import peers
from .bench_norms import regularizer
from .harness import Bench, Side
from .rivals import RIVALS
from .worker import peak_memory

REPEATS = 9

HAND = {"l1": "HIGHS", "linf": "HIGHS", "group": "CLARABEL", "squared l2": "OSQP"}
"""The back end that `xu.solve` asks first, for the call by hand."""

OURS = ("xu.solve", "xu.solve, direct", "scalable.solve")


def _cases() -> dict[str, dict[str, Any]]:
    sizes = ((20, 200), (50, 300))
    return {
        f"{norm} ({m}, {d})": {"norm": norm, "rows": m, "columns": d}
        for m, d in sizes
        for norm in ("l1", "group", "linf", "squared l2")
    }


BENCH = Bench(
    name="small",
    title="Small problems, float64",
    ours="xu.solve",
    sides=(
        Side("xu.solve", ("cvxpy",)),
        Side("xu.solve, direct", ("clarabel", "highspy", "osqp")),
        Side("scalable.solve", ("torch",)),
        Side("by hand, CVXPY", ("cvxpy", "clarabel", "highspy", "osqp")),
        *(Side(name, rival.needs, only=rival.norms) for name, rival in RIVALS.items()),
    ),
    cases=_cases(),
    reached=1e-6,
)


def run(side: str, case: dict[str, Any]) -> dict[str, Any]:
    """One measurement."""
    norm, rng, before = case["norm"], np.random.default_rng(0), peak_memory()
    J, theta = rng.standard_normal((case["rows"], case["columns"])), rng.standard_normal(case["columns"])
    R = xu.SquaredL2() if norm == "squared l2" else regularizer(norm, 10, theta.size)
    call = _call(side, norm, J, theta, R)
    times: list[tuple[float, float]] = []
    for turn in range(REPEATS + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        x = call()
        if turn:
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
    seconds, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    memory = peak_memory() - before
    best = xu.solve(xu.UnlearningProblem(theta, J, R), solver="direct", accuracy=1e-10)
    error = peers.error_of(norm, 10, J, theta, x, best.value)
    return {"seconds": seconds, "cpu": cpu, "error": error, "memory": memory}


def _call(side: str, norm: str, J: Array, theta: Array, R: Any) -> Callable[[], Array]:
    if side in OURS:
        return partial(_ours, side, J, theta, R)
    if side == "by hand, CVXPY":
        return partial(_by_hand, norm, J, theta)
    rival = RIVALS[side]
    return lambda: rival.call(norm, 10, J, J @ theta)


def _ours(side: str, J: Array, theta: Array, R: Any) -> Array:
    problem = xu.UnlearningProblem(theta, J, R)
    if side == "scalable.solve":
        from exact_unlearn.scalable import solve

        return np.asarray(solve(problem).theta)
    return xu.solve(problem, solver="direct" if side.endswith("direct") else None).theta


def _by_hand(norm: str, J: Array, theta: Array) -> Array:
    return np.asarray(peers.solve_primal(HAND[norm], norm, 10, J, theta).result)
