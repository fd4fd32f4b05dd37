"""Polishing: solve the KKT equations on the active set that a back end has found.

A splitting method stops at 1e-4, an interior-point method at 1e-8; the active set is right long before.  With
it the optimum of a QP or LP is the solution of one linear system, here solved with a small regularisation that
iterative refinement removes again (the idea of OSQP's polish step, Stellato et al., Math. Prog. Comp. 12, 2020,
section 5, used after every back end).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.program import ExplicitProgram
from exact_unlearn.reference.backends import normalised
from exact_unlearn.solution import Solution
from exact_unlearn.vectors import largest

REGULARISATIONS = (1e-8, 1e-13)
"""The second is for curvatures near or below the first, with which refinement converges slowly or not at all."""

ROUNDS = 4
REFINEMENTS = 12

ROUNDING, NEGLIGIBLE = 2.0**-51, 2.0**-40
"""Corrections beside the point: below the first nothing is gained; refinement that stalls above the second failed."""

LEFTOVER, UNIT = 2.0**-80, 2.0**-52
"""Of the largest entry of theta, and of what a row adds up: rounding."""


def kkt_error(program: ExplicitProgram, z: Array, y: Array) -> float:
    """The largest violation of stationarity, feasibility and complementarity of a QP or LP, absolutely."""
    s = program.b - program.A @ z
    zero = program.cones.zero
    inequality, multipliers = s[zero:], y[zero:]
    stationarity = program.P @ z + program.q + program.A.T @ y
    parts = (
        stationarity,
        s[:zero],
        np.minimum(inequality, 0),
        np.minimum(multipliers, 0),
        np.minimum(inequality, multipliers),
    )
    return float(max(map(largest, parts)))


def polish(program: ExplicitProgram, z: Array, y: Array, length: float = 1.0) -> tuple[Array, Array]:
    """(z, y) improved on its active set; returned unchanged if nothing better is found.  length: the size of theta.

    It works in units in which parameters and slopes are near 1, for regularisation and errors are absolute.
    """
    scaled, length, cost = normalised(program, length)
    z, y = _polished(scaled, z / length, y * (length / cost))
    return z * length, y * (cost / length)


def _polished(program: ExplicitProgram, z: Array, y: Array) -> tuple[Array, Array]:
    """Inequality i counts as active when y_i > s_i.  After a solve the set is read off again, a few times, and the best
    point by `kkt_error` is kept: a wrong guess can cost time, never accuracy.
    """
    best, best_error = (z, y), kkt_error(program, z, y)
    zero = program.cones.zero
    seen: set[bytes] = set()
    for _ in range(ROUNDS):
        s = program.b - program.A @ z
        active = np.concatenate([np.ones(zero, dtype=bool), y[zero:] > s[zero:]])
        if active.tobytes() in seen or best_error == 0.0:
            break
        seen.add(active.tobytes())
        step = _newton(program, z, y, active)
        if step is None:
            break
        z, y = step
        error = kkt_error(program, z, np.concatenate([y[:zero], np.maximum(y[zero:], 0.0)]))
        if error < best_error:
            best, best_error = (z, np.concatenate([y[:zero], np.maximum(y[zero:], 0.0)])), error
    return best


def _newton(program: ExplicitProgram, z: Array, y: Array, active: Array) -> tuple[Array, Array] | None:
    """The point nearest (z, y) with stationarity and A_active z = b_active, or None if no factorisation succeeds."""
    rows = sp.csr_array(program.A)[np.flatnonzero(active)]
    n, m = z.size, int(active.sum())
    if not program.P.nnz and m == n:
        vertex = _vertex(program, rows, z, y, active)
        if vertex is not None:
            return vertex
    K = sp.block_array([[program.P, rows.T], [rows, None]], format="csc")
    signs = sp.block_diag([sp.eye_array(n), -sp.eye_array(m)])
    target = np.concatenate([-program.q, program.b[active]])
    point, solved = np.concatenate([z, y[active]]), False
    for size in REGULARISATIONS:
        factor = _factor(sp.csc_matrix(K + size * signs))
        if factor is not None:
            (point, converged), solved = _refined(K, factor.solve, target, point), True
            if converged:
                break
    multipliers = np.zeros_like(y)
    multipliers[active] = point[n:]
    return (point[:n], multipliers) if solved else None


def _vertex(program: ExplicitProgram, rows: Any, z: Array, y: Array, active: Array) -> tuple[Array, Array] | None:
    """`_newton` where the active rows A_a of an LP are as many as its variables: A_a z = b_a and A_a.T y_a = -q.

    Two systems of half the size with one sparse factor, against an indefinite one that fills in; None where A_a is
    singular.
    """
    factor = _factor(sp.csc_matrix(rows))
    if factor is None:
        return None
    point, met = _refined(rows, factor.solve, program.b[active], z)
    own, balanced = _refined(rows.T, partial(factor.solve, trans="T"), -program.q, y[active])
    if not (met and balanced):
        return None
    multipliers = np.zeros_like(y)
    multipliers[active] = own
    return point, multipliers


def _factor(K: Any) -> Any:
    """A sparse LU factor of K, None where SciPy finds it singular."""
    try:
        return splu(K)
    except RuntimeError:
        return None


def _refined(K: Any, solve: Callable[[Array], Array], target: Array, start: Array) -> tuple[Array, bool]:
    """`start` moved towards K x = target by iterative refinement, and whether it got there; `start` where it cannot."""
    point, last = start, math.inf
    for _ in range(REFINEMENTS):
        correction = solve(target - K @ point)
        if not np.isfinite(correction).all():
            return start, False
        point = point + correction
        moved = float(largest(correction))
        if moved <= ROUNDING * largest(point) or moved > last / 2:
            break
        last = moved
    return point, moved <= NEGLIGIBLE * largest(point)


def complementary(program: Any, z: Array, y: Array, star: Array) -> Array:
    """y with 0 for rows that read >= and are met with a gap, as far as floats can tell."""
    rows = slice(program.cones.zero, program.nu_map.shape[1])
    gaps, size = (program.b - program.A @ z)[rows], largest(star)
    most = largest(y[: rows.stop])
    out = y.copy()
    out[rows] = np.where(y[rows] * (size or 1.0) < gaps * most, 0.0, y[rows])
    return out


def cleaned(found: Solution) -> Solution:
    """The same with zeros where theta is 0 but for what polishing left, if that is rounding in every row."""
    J, size = found.problem.jacobian, np.abs(found.theta)
    small = (size <= LEFTOVER * largest(size)) & found.problem.free & (size > 0)
    if not small.any() or not isinstance(J, DenseJacobian):
        return found
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        entries = np.abs(to_float(J.matrix))
        nothing = bool((entries[:, small] @ size[small] <= UNIT * (entries[:, ~small] @ size[~small])).all())
    return replace(found, theta=np.where(small, 0.0, found.theta)) if nothing else found
