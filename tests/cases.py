"""Problems as data: what the tests of problems, programs, solvers and certificates have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.problem import UnlearningProblem

TOLERANCES = {
    "value": 1e-9,
    "theta of a QP or LP": 1e-9,
    "theta of a SOCP": 1e-5,
    "residual": 1e-9,
    "another formulation": 2e-7,  # CVXPY's own canonicalisation of the raw problem, Clarabel at its defaults
}


def conditioned(rows: int, columns: int, condition: float, seed: int = 0) -> np.ndarray[Any, Any]:
    """A random matrix with singular values spread geometrically from 1 to 1 / condition."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((rows, rows)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, rows)))[0]
    return left @ np.diag(np.geomspace(1.0, 1.0 / condition, rows)) @ right.T


def instances() -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """(J, theta*) by name; degenerate ones are normal ones."""
    rng = np.random.default_rng(7)
    J, theta = rng.standard_normal((5, 12)), rng.standard_normal(12)
    kernel = theta - np.linalg.pinv(J) @ (J @ theta)
    integer = rng.integers(-3, 4, (4, 12)).astype(float)
    return {
        "gaussian": (J, theta),
        "duplicated rows": (J[[0, 1, 2, 1, 0]], theta),
        "dependent integer rows": (np.vstack([integer, integer[0] - 2 * integer[1]]), theta),
        "zero row": (np.vstack([J[:3], np.zeros(12)]), theta),
        "only zero rows": (np.zeros((2, 12)), theta),
        "single row": (J[:1], theta),
        "no rows": (np.zeros((0, 12)), theta),
        "square": (rng.standard_normal((12, 12)), theta),
        "more rows than columns": (rng.standard_normal((15, 12)), theta),
        "zero theta": (J, np.zeros(12)),
        "theta in the row space": (J, J.T @ rng.standard_normal(5)),
        "theta in the kernel": (J, kernel),
        "huge J": (J * 2.0**500, theta),
        "tiny J": (J * 2.0**-500, theta),
        "huge theta": (J, theta * 2.0**40),
        "rows of different scale": (J * np.array([1e6, 1, 1e-6, 1e3, 1e-3])[:, None], theta),
        "condition 1e6": (conditioned(5, 12, 1e6), theta),
        "condition 1e10": (conditioned(5, 12, 1e10), theta),
        "condition 1e12": (conditioned(5, 12, 1e12), theta),
        "float32": (J.astype(np.float32), theta.astype(np.float32)),
    }


def regularizers(d: int = 12) -> dict[str, Any]:
    """Every convex regularizer that fits a flat theta of length d (a multiple of 4, at least 12)."""
    rng = np.random.default_rng(11)
    weights = rng.uniform(0.2, 2.0, d)
    holes = np.where(np.arange(d) % 5 == 0, 0.0, weights)
    return {
        "squared l2": xu.SquaredL2(),
        "weighted squared l2": xu.SquaredL2(weights),
        "squared l2 with zero weights": xu.SquaredL2(holes),
        "l2": xu.L2(),
        "weighted l2": xu.L2(weights),
        "l1": xu.L1(),
        "weighted l1": xu.L1(weights),
        "l1 with zero weights": xu.L1(holes),
        "linf": xu.LInf(),
        "weighted linf": xu.LInf(weights),
        "group l2": xu.GroupL2(np.arange(d) // 3),
        "weighted group l2": xu.GroupL2(np.arange(d) // 3, rng.uniform(0.5, 2.0, d // 3)),
        "elastic net": xu.ElasticNet(1.0, 0.5),
        "nuclear norm": xu.NuclearNorm(slice(0, d), (3, d // 3)),
        "nuclear norm of a block": xu.NuclearNorm(slice(2, 8), (2, 3)),
    }


def drifts() -> dict[str, Any]:
    """Every drift penalty, and sums."""
    return {
        "none": None,
        "squared": xu.SquaredDrift(0.3),
        "l1": xu.L1Drift(0.2),
        "ball": xu.TrustRegion(0.7),
        "box": xu.TrustRegion(0.2, norm=np.inf),
        "squared and l1": xu.SquaredDrift(0.3) + xu.L1Drift(0.2),
        "all": xu.SquaredDrift(0.1) + xu.L1Drift(0.1) + xu.TrustRegion(0.8) + xu.TrustRegion(0.4, norm=np.inf),
    }


def freezings(d: int = 12) -> dict[str, Any]:
    """Which coordinates may move."""
    return {"all free": None, "some frozen": np.arange(d) % 3 != 1, "none free": np.zeros(d, dtype=bool)}


def gaussian_problem(regularizer: Any, drift: Any = None, free: Any = None) -> UnlearningProblem:
    J, theta = instances()["gaussian"]
    return UnlearningProblem(theta, J, regularizer, drift, free)
