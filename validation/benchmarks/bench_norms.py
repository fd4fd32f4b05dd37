"""l1, group and largest-entry norms to a relative gap of 1e-8: scalable.solve against solvers behind CVXPY.

What is timed: from (J, theta*) as arrays to a solution with multipliers, setup included.  Error: the larger of
the relative distance of the value from the optimum (ours at gap 1e-11, whose lower bound is a dual value) and the
relative residual of the constraints, at the point as it came.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.jacobian import Array

from . import peers
from .harness import Bench, Side, Timed, timed
from .rivals import RIVALS
from .worker import peak_memory

SOLVERS = ("CLARABEL", "ECOS", "SCS", "HIGHS")


def _cases() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for d in (5_000, 50_000):
        for norm in ("l1", "group", "linf"):
            table[f"{norm} (100, {d})"] = {"norm": norm, "rows": 100, "columns": d, "kind": "gaussian"}
    for norm in ("l1", "group", "linf"):
        table[f"{norm} network"] = {"norm": norm, "rows": 50, "columns": 0, "kind": "network"}
    return table


def _sides() -> tuple[Side, ...]:
    slow = partial(Side, limit=240.0, once=True)
    return (
        Side("scalable.solve", ("torch",)),
        slow("ECOS", ("cvxpy", "ecos")),
        slow("SCS", ("cvxpy", "scs")),
        slow("CLARABEL", ("cvxpy", "clarabel")),
        slow("HIGHS", ("cvxpy", "highspy"), only=("l1", "linf")),
        slow("HIGHS, dual form", ("cvxpy", "highspy"), only=("l1",)),
        Side("SPGL1", ("spgl1",)),
        *(slow(name, rival.needs, only=rival.norms) for name, rival in RIVALS.items() if name != "Cholesky"),
    )


BENCH = Bench(
    name="norms",
    title="Norms to a relative gap of 1e-8, float64",
    ours="scalable.solve",
    sides=_sides(),
    cases=_cases(),
    reached=1e-6,
    quick=("l1 (100, 5000)", "group (100, 5000)", "linf (100, 5000)"),
)


def data(case: dict[str, Any]) -> tuple[Array, Array, int]:
    """(J, theta*, size of a group)."""
    if case["kind"] == "network":
        from .networks import trained_mlp

        J, theta = trained_mlp(epochs=1000)
        return J, theta, 301 if theta.size % 301 == 0 else 1
    rng = np.random.default_rng(0)
    return rng.standard_normal((case["rows"], case["columns"])), rng.standard_normal(case["columns"]), 10


def regularizer(norm: str, group: int, d: int) -> Any:
    return {"l1": xu.L1, "linf": xu.LInf}[norm]() if norm != "group" else xu.GroupL2(np.arange(d) // group)


def run(side: str, case: dict[str, Any]) -> dict[str, Any]:
    """One measurement."""
    J, theta, group = data(case)
    norm, before = case["norm"], peak_memory()
    if side == "scalable.solve":
        done = _ours(J, theta, regularizer(norm, group, theta.size))
    elif side == "HIGHS, dual form":
        done = peers.solve_dual("HIGHS", norm, J, theta)
    elif side in RIVALS:
        few = slice(0, max(20, 2 * group))
        RIVALS[side].call(norm, group, J[:3, few], J[:3, few] @ theta[few])  # imports are not counted, nor for ours
        done = timed(lambda: RIVALS[side].call(norm, group, J, J @ theta))
    else:
        done = peers.solve_primal(side, norm, group, J, theta)
    memory = peak_memory() - before
    from exact_unlearn.scalable import solve

    best = solve(xu.UnlearningProblem(theta, J, regularizer(norm, group, theta.size)), gap=1e-11)
    x, note = done.result if side == "scalable.solve" else (done.result, "")
    error = peers.error_of(norm, group, J, theta, x, best.value)
    numbers = {"seconds": done.seconds, "cpu": done.cpu, "error": error, "memory": memory}
    return numbers | {"read": peers.read_seconds(J), "note": note}


def _ours(J: Array, theta: Array, R: Any) -> Timed:
    """Warm once on a small problem, so that the lazy start of libraries is not counted (nor is it for peers)."""
    from exact_unlearn.scalable import solve

    def call() -> tuple[Array, str]:
        solution = solve(xu.UnlearningProblem(theta, J, R))
        return np.asarray(solution.theta), f"{solution.status.value}, {solution.message}"

    solve(xu.UnlearningProblem(theta[:20], J[:3, :20], xu.L1()))
    return timed(call)
