"""The norm problems as a user of CVXPY writes them, and how far an answer is from the optimum."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array

from .harness import Timed, timed

SETTINGS: dict[str, dict[str, Any]] = {
    "CLARABEL": {"tol_gap_abs": 1e-8, "tol_gap_rel": 1e-8, "tol_feas": 1e-8},
    "ECOS": {"abstol": 1e-8, "reltol": 1e-8, "feastol": 1e-8},
    "SCS": {"eps_abs": 1e-8, "eps_rel": 1e-8, "max_iters": 200_000},
    "HIGHS": {},
    "OSQP": {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iter": 20_000},
}
"""A relative gap of 1e-8 in the words of each solver."""


def norm_expression(norm: str, group: int, x: Any) -> Any:
    import cvxpy as cp

    if norm == "l1":
        return cp.norm1(x)
    if norm == "linf":
        return cp.norm_inf(x)
    if norm == "squared l2":
        return cp.sum_squares(x) / 2
    return cp.sum(cp.norm(cp.reshape(x, (x.size // group, group), order="C"), 2, axis=1))


def solve_primal(solver: str, norm: str, group: int, J: Array, theta: Array) -> Timed:
    """min R(x) subject to J x = J theta; compiling and solving, x."""
    import cvxpy as cp

    def call() -> Array:
        x = cp.Variable(theta.size)
        problem = cp.Problem(cp.Minimize(norm_expression(norm, group, x)), [J @ x == J @ theta])
        problem.solve(solver=solver, **SETTINGS[solver])
        return _answer(x.value)

    return timed(call)


def solve_dual(solver: str, norm: str, J: Array, theta: Array) -> Timed:
    """max <J theta, nu> subject to |J.T nu| <= 1 in the dual norm, x from the multipliers (l1 only: |J.T nu| <=
    1 entrywise).
    """
    import cvxpy as cp

    def call() -> Array:
        nu = cp.Variable(J.shape[0])
        pull = J.T @ nu
        upper, lower = pull <= 1.0, pull >= -1.0
        cp.Problem(cp.Maximize((J @ theta) @ nu), [upper, lower]).solve(solver=solver, **SETTINGS[solver])
        return np.asarray(np.abs(_answer(upper.dual_value)) - np.abs(_answer(lower.dual_value)))

    return timed(call)


def _answer(value: Any) -> Array:
    if value is None:
        raise SystemExit("the solver gave no point")
    return np.asarray(value, dtype=np.float64)


def norm_value(norm: str, group: int, x: Array) -> float:
    if norm == "l1":
        return float(np.abs(x).sum())
    if norm == "linf":
        return float(np.abs(x).max())
    if norm == "squared l2":
        return float(x @ x) / 2
    return float(np.linalg.norm(x.reshape(-1, group), axis=1).sum())


def error_of(norm: str, group: int, J: Array, theta: Array, x: Array, optimum: float) -> float:
    """The larger of |R(x) - optimum| / optimum and max_i |J_i (x - theta*)| / (|J_i| (|x| + |theta*|)).

    Measured at the point as it came: on ill-conditioned rows a projection would hide what a solver left out.
    """
    size = float(np.linalg.norm(x) + np.linalg.norm(theta))
    residual = np.abs(J @ (x - theta)) / (np.linalg.norm(J, axis=1) * size)
    return max(abs(norm_value(norm, group, x) - optimum) / optimum, float(residual.max()))


def read_seconds(J: Array) -> float:
    """One pass over J, the quickest of five: no method that looks at every entry is faster."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        J.sum()
        times.append(time.perf_counter() - began)
    return min(times)
