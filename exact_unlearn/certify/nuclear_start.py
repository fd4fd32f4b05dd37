"""Where Newton's method for the nuclear norm starts: float solutions of the problem, or of what it is near theta*.

Where a small region or a steep penalty keeps D = rho u far shorter than theta*, floats that count from 0 see nothing of
u.  With theta* = U S V.T, and S large (index 1) or not (index 2) against rho,

    |theta* + rho u|_* = tr S_1 + rho <U_1 V_1.T, u> + rho |S_2 / rho + U_2.T u V_2|_* + O(rho^2 / S_1),

which is a program of size 1 in u.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import Rationals, common_denominator
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.terms import Drift
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.drift import L1Drift, SquaredDrift, TrustRegion
from exact_unlearn.jacobian import Array, as_jacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import limited, remaining, tick

NEAR = 0.02
"""D is short where it is not longer than this, in units of theta*."""

LARGE = 1e5
"""Singular values so many times longer than D change by what is linear in it."""


@dataclass(frozen=True)
class FloatSolution:
    """theta (d,), multipliers nu (k,), and g (d,) in the subdifferential of the norm.

    drift: D on the free coordinates, where theta - theta* has lost its digits; reach: the length it is counted in.
    """

    theta: Array
    nu: Array
    g: Array
    drift: Array | None = None
    reach: float | None = None


Start = Callable[[], FloatSolution]


def starts(
    problem: UnlearningProblem,
    image: Image,
    whitened: Whitened,
    drift: Drift,
    kept: list[int] | None,
    solution: Any = None,
) -> list[Start]:
    """Where to start, most promising first; each raises FaceError where there is no such float solution.

    kept: which rows of the problem the image has, None for all.  solution: of anybody, or None.
    """
    if not image.free.size:
        return [partial(at_rest, problem)]
    found: list[Start] = [partial(_offered, solution)] if solution is not None else []
    found.append(partial(whole, problem, image, drift))
    reach = _reach(problem, drift)
    if reach < NEAR * float(np.max(np.abs(to_float(problem.theta_star)), initial=0.0)):
        found.insert(0, partial(_within_reach, problem, image, whitened, drift, kept, reach))
    return found


def _offered(solution: Any) -> FloatSolution:
    """The caller's solution, if it knows its subgradients."""
    if solution.subgradient is None or not np.isfinite(to_float(solution.subgradient)).all():
        raise FaceError("the solution offers no finite subgradient")
    return FloatSolution(solution.theta, solution.nu, solution.subgradient)


def whole(problem: UnlearningProblem, image: Image, drift: Drift) -> FloatSolution:
    """An interior-point solution in units in which typical parameters are near 1."""
    scaled, size = _normalised(problem, image, drift)
    found = _of_program(scaled)
    return FloatSolution(found.theta * size, found.nu, found.g)


def _reach(problem: UnlearningProblem, drift: Drift) -> float:
    """No |D| is longer; infinity if nothing keeps it short.  (Subgradients of the norm are at most sqrt(rank) long.)"""
    regularizer: Any = problem.regularizer
    bounds = [float(radius) for radius in (drift.ball, drift.box) if radius is not None]
    if drift.lam and not problem.rhs.any():
        bounds.append(2 * math.sqrt(min(regularizer.shape)) / max(float(drift.lam), 1e-300))
    return min(bounds, default=math.inf)


def _within_reach(
    problem: UnlearningProblem,
    image: Image,
    whitened: Whitened,
    drift: Drift,
    kept: list[int] | None,
    reach: float,
) -> FloatSolution:
    """The program of u = D / reach in the formula above."""
    regularizer: Any = problem.regularizer
    star = to_float(problem.theta_star)
    U, sigma, Vt = np.linalg.svd(star[regularizer.indices].reshape(regularizer.shape))
    k = int(np.sum(sigma > LARGE * reach))
    small = _Small(U[:, k:], Vt[k:], sigma[k:] / reach)
    g = np.zeros(star.size)
    g[regularizer.indices] = (U[:, :k] @ Vt[:k]).reshape(-1)
    column = np.full(star.size, -1)
    column[image.free] = np.arange(image.free.size)
    own = column[regularizer.indices]
    shift = [-v for v in image.residuals(Rationals.of(image.theta_free), image.rows)]
    whole, den = common_denominator(shift)
    right = whitened.right(whole, 1 / (den * Fraction(reach)))
    u, y, inner = _solved_near(small, g[image.free], own, whitened.W, right, drift, reach)
    g[regularizer.indices] += (U[:, k:] @ inner @ Vt[k:]).reshape(-1)
    theta = star.copy()
    theta[image.free] += reach * u
    ints, scale = whitened.multipliers(y)
    nu = np.zeros(problem.n_constraints)
    for value, row in zip(ints, image.rows, strict=True):
        nu[row if kept is None else kept[row]] = float(value * scale / image.scales[row])
    return FloatSolution(theta, nu, g, reach * u, reach)


@dataclass(frozen=True)
class _Small:
    """The part of a matrix in which theta* is no longer than what it may move by: U (p, a), Vt (b, q), S (min,)."""

    U: Array
    Vt: Array
    sigma: Array


def _solved_near(
    small: _Small, slope: Array, own: Array, W: Array, right: Array, drift: Drift, reach: float
) -> tuple[Array, Array, Array]:
    """u (n,), multipliers of W u = right, and the subgradient of the small part.

    slope (n,): of the large part.  own: the column of each entry of the matrix, -1 for frozen ones.  Variables are
    [u, upper triangles of the blocks X and Y, s] with [[X, B], [B.T, Y]] >= 0, B = S + U.T u V, and |u| <= s.
    """
    n, (a, b) = slope.size, (small.U.shape[1], small.Vt.shape[0])
    order, kinks, boxes = a + b, n if drift.mu else 0, n if drift.box is not None else 0
    upper = [(i, j) for j in range(order) for i in range(j + 1)]
    blocks = [k for k, (i, j) in enumerate(upper) if (i < a) == (j < a)]
    width = n + len(blocks) + kinks
    cone, start = np.zeros((len(upper), width)), np.zeros(len(upper))
    for at, k in enumerate(blocks):
        cone[k, n + at] = 1.0 if upper[k][0] == upper[k][1] else math.sqrt(2.0)
    across = [k for k, (i, j) in enumerate(upper) if i < a <= j]
    moves = own >= 0
    for k in across:
        i, j = upper[k][0], upper[k][1] - a
        cone[k, own[moves]] = math.sqrt(2.0) * np.outer(small.U[:, i], small.Vt[j]).reshape(-1)[moves]
        start[k] = math.sqrt(2.0) * small.sigma[i] if i == j else 0.0
    cost = np.zeros(width)
    cost[:n] = slope
    cost[[n + at for at, k in enumerate(blocks) if upper[k][0] == upper[k][1]]] = 0.5
    cost[n + len(blocks) :] = float(drift.mu)
    bend = np.zeros(width)
    bend[:n] = float(drift.lam) * reach
    unit, ends = np.eye(n, width), np.eye(n, width, n + len(blocks)) if kinks else np.zeros((0, width))
    edge = np.full(boxes, 0.0 if drift.box is None else float(drift.box) / reach)
    sides, sizes = [right], []
    rows = [np.hstack([W, np.zeros((W.shape[0], width - n))])]
    for sign in (1.0, -1.0):
        if kinks:
            rows.append(sign * unit - ends)
            sides.append(np.zeros(n))
        if boxes:
            rows.append(sign * unit)
            sides.append(edge)
    if drift.ball is not None:
        rows.append(np.vstack([np.zeros(width), -unit]))
        sides.append(np.concatenate([[float(drift.ball) / reach], np.zeros(n)]))
        sizes = [n + 1]
    rows.append(-cone)
    sides.append(start)
    cones = W.shape[0], 2 * (kinks + boxes), tuple(sizes), (order,) if order else ()
    z, y = conic(np.diag(bend), cost, np.vstack(rows), np.concatenate(sides), cones)
    inner = np.zeros((a, b))
    last = y[y.size - len(upper) :]
    for k in across:
        inner[upper[k][0], upper[k][1] - a] = -math.sqrt(2.0) * last[k]
    return z[:n], -y[: W.shape[0]], inner


def _normalised(problem: UnlearningProblem, image: Image, drift: Drift) -> tuple[UnlearningProblem, float]:
    """The problem divided by the size of its parameters; without a drift penalty theta* itself does not matter."""
    theta, rhs = to_float(problem.theta_star), to_float(problem.rhs)
    whole = len(image.q) == problem.n_constraints
    if whole and drift.cone and drift.ball is None and drift.box is None:
        right = [value * scale for value, scale in zip(image.q, image.scales, strict=True)]
        rhs, theta = np.array([float(v) for v in right]), np.where(problem.free, 0.0, theta)
        matrix = to_float(np.asarray(problem.free_matrix()))
        shortest = np.linalg.lstsq(matrix, rhs, rcond=None)[0] if matrix.size else np.zeros(0)
        size = max(float(np.max(np.abs(v), initial=0.0)) for v in (theta, shortest))
    else:
        size = float(np.max(np.abs(theta), initial=0.0))
    size = float(np.ldexp(1.0, int(np.frexp(size)[1]))) if size else 1.0
    terms: list[Any] = []
    if drift.lam:
        terms.append(SquaredDrift(float(drift.lam) * size))
    if drift.mu:
        terms.append(L1Drift(float(drift.mu)))
    for radius, norm in ((drift.ball, 2.0), (drift.box, math.inf)):
        if radius is not None:
            terms.append(TrustRegion(float(radius) / size, norm))
    penalty = sum(terms[1:], start=terms[0]) if terms else None
    jacobian = to_float(np.asarray(problem.jacobian.matrix))  # type: ignore[attr-defined]
    scaled = UnlearningProblem(
        theta / size, as_jacobian(jacobian), problem.regularizer, penalty, problem.free, rhs / size, problem.at_least
    )
    return scaled, size


def at_rest(problem: UnlearningProblem) -> FloatSolution:
    """theta* itself, where nothing may move, with U V.T of its singular vectors."""
    regularizer: Any = problem.regularizer
    theta = to_float(problem.theta_star)
    U, sigma, Vt = np.linalg.svd(theta[regularizer.indices].reshape(regularizer.shape), full_matrices=False)
    keep = sigma > 1e-9 * (float(sigma[0]) if sigma.size else 1.0)
    g = np.zeros(theta.size)
    g[regularizer.indices] = (U[:, keep] @ Vt[keep]).reshape(-1)
    return FloatSolution(theta, np.zeros(problem.n_constraints), g)


def _of_program(problem: UnlearningProblem) -> FloatSolution:
    """The explicit program of a problem, solved."""
    try:
        from exact_unlearn.program import assemble
    except ImportError:
        raise FaceError(_WITHOUT) from None
    assembly = assemble(problem)
    program, cones = assembly.program, assembly.program.cones
    z, y = conic(program.P, program.q, program.A, program.b, (cones.zero, cones.nonneg, cones.soc, cones.psd))
    theta = program.theta(z)
    return FloatSolution(theta, program.nu(y), assembly.subgradients(theta, y)[0])


_Sizes = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""Rows in the zero cone and the non-negative one, of each second-order cone, and orders of matrices."""

_WITHOUT = "a float solution to start from takes clarabel"


def conic(P: Any, q: Array, A: Any, b: Array, cones: _Sizes) -> tuple[Array, Array]:
    """z and y of an explicit program.  FaceError without clarabel, or where it fails."""
    try:
        import clarabel
        import scipy.sparse as sp
    except ImportError:
        raise FaceError(_WITHOUT) from None
    zero, nonneg, round_cones, matrices = cones
    kinds = [clarabel.ZeroConeT(zero), clarabel.NonnegativeConeT(nonneg)]
    kinds += [clarabel.SecondOrderConeT(n) for n in round_cones] + [clarabel.PSDTriangleConeT(n) for n in matrices]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    if limited():
        settings.time_limit = remaining()
    solver = clarabel.DefaultSolver(sp.csc_matrix(sp.triu(P)), q, sp.csc_matrix(A), b, kinds, settings)
    try:
        answer = solver.solve()
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic of its Rust code is no Exception
            raise
        raise FaceError("clarabel failed on the float program") from None
    tick()
    z, y = np.array(answer.x), np.array(answer.z)
    if not (np.isfinite(z).all() and np.isfinite(y).all()):
        raise FaceError("clarabel returned no point")
    return z, y
