"""One small instance of every regularizer, all on theta of length D, and the helpers of their tests."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import strategies as st

from exact_unlearn.regularizers import (
    L0,
    L1,
    L2,
    ActiveNeurons,
    ElasticNet,
    GroupL2,
    LInf,
    NuclearNorm,
    PredictorNorm,
    SquaredL2,
)

D = 6
WEIGHTS = [0.5, 2.0, 1.0, 0.25, 3.0, 1.5]
HOLES = [0.5, 0.0, 1.0, 0.0, 3.0, 1.5]
V_TALL = [[1.0, 0.5], [-2.0, 1.0], [0.25, 3.0]]
"""h_1 = 3 neurons, l = 2 outputs; with m = 2 inputs A_1 has the 6 coordinates."""

NORMS = {
    "l2": L2(),
    "l2 weighted": L2(WEIGHTS),
    "l2 seminorm": L2(HOLES),
    "l1": L1(),
    "l1 weighted": L1(WEIGHTS),
    "l1 seminorm": L1(HOLES),
    "linf": LInf(),
    "linf weighted": LInf(WEIGHTS),
    "linf seminorm": LInf(HOLES),
    "group": GroupL2([0, 1, 0, 2, 2, 2]),
    "group weighted": GroupL2([[5, 0], [1, 2], [3, 4]], [0.5, 2.0, 1.5]),
    "group seminorm": GroupL2([[5, 0], [1, 2, 3], [4]], [0.0, 2.0, 1.5]),
    "predictor": PredictorNorm.from_product(V_TALL, slice(0, 6), (3, 2)),
    "predictor, one output": PredictorNorm.from_product([[1.0], [-2.0]], slice(1, 5), (2, 2)),
    "predictor, singular V": PredictorNorm.from_product([[1.0, 2.0], [2.0, 4.0]], slice(2, 6), (2, 2)),
    "nuclear": NuclearNorm(slice(0, 6), (2, 3)),
    "nuclear block": NuclearNorm([5, 0, 2, 3], (2, 2)),
}
SMOOTH = {
    "squared": SquaredL2(),
    "squared weighted": SquaredL2(WEIGHTS),
    "squared seminorm": SquaredL2(HOLES),
    "elastic": ElasticNet(0.7, 1.3),
    "elastic without l1": ElasticNet(0.0, 2.0),
    "elastic without l2": ElasticNet(0.4, 0.0),
}
COUNTS = {
    "l0": L0(),
    "l0 groups": L0([0, 1, 0, 2, 2, 2]),
    "neurons": ActiveNeurons.from_shape(1, 2, 2),
}
CONVEX = NORMS | SMOOTH
ALL = CONVEX | COUNTS
GAP = 1e-8
"""The default of Clarabel; asked for 1e-9 it calls some of these second-order cone programs inaccurate."""
EPS = float(np.finfo(float).eps)


def cases(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("R", [pytest.param(R, id=name) for name, R in table.items()])


def cvxpy_minimum(objective: cp.Expression, constraints: list[Any] | None = None) -> float:
    problem = cp.Problem(cp.Minimize(objective), constraints or [])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=GAP, tol_gap_rel=GAP, tol_feas=GAP)
    return float(problem.value)


def prox_objective(R: Any, x: np.ndarray, v: np.ndarray, step: float) -> float:
    return step * float(R.value(x)) + 0.5 * float(np.sum((x - v) ** 2))


def fractions(*values: Any) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = [Fraction(value) for value in values]
    return out


vectors = st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=D, max_size=D).map(np.array)
wild = st.lists(
    st.builds(lambda m, e: m * 10.0**e, st.floats(-1, 1, allow_subnormal=False), st.integers(-150, 150)),
    min_size=D,
    max_size=D,
).map(np.array)
steps = st.floats(1e-3, 1e3)


def dual_vector(R: Any, rng: np.random.Generator) -> np.ndarray:
    """A random g with finite dual norm: a gradient of <g, .> that vanishes on the null directions of R."""
    v = rng.standard_normal(D)
    return v - R.prox(v, math.inf)  # prox at step inf projects onto the null directions
