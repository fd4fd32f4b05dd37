"""A problem in the units of `dyadic`, and the point from which its Newton's method starts: a float solution on
orthonormal rows.

All numbers are powers of two away from those of the problem: x = X 2^x, slopes = Y 2^y, row i of J =
J'_i 2^exponents[i], so that nu_i = Y 2^(y - exponents[i]); a ceiling is t = T 2^(x + weights).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from typing import Any

import numpy as np

from exact_unlearn.certify.cones import ConeProgram
from exact_unlearn.certify.dyadic import (
    BITS,
    BOTTOM,
    FREE,
    HIGH,
    LOW,
    NULL,
    START,
    TOP,
    ZERO,
    Point,
    Program,
    fixed,
    floats,
)
from exact_unlearn.certify.interior import FloatPoint, FloatProgram, minimise
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.rows import EPS
from exact_unlearn.certify.slices import Slices
from exact_unlearn.certify.terms import Drift, bends_of, kind_of, seen, weights_of
from exact_unlearn.jacobian import Array, DenseJacobian, to_float, to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import in_row_units

WELL = 1e9
"""Rows of a larger condition are left to exact arithmetic."""

NARROW = 16
"""A region so many bits narrower than the parameters is left to it, too."""

ENOUGH = 1e-12
"""Error of the float solution: it says which face, and Newton's method does the rest."""

ROUGH, TRIES = 1e-5, 30
"""How near to the sphere the float solution is brought, and in how many solves at most, which need not be better."""


@dataclass(frozen=True, eq=False)
class Units:
    """Exponents of two; see above.  free (n,): the coordinates."""

    x: int
    y: int
    weights: int
    free: Array


@dataclass(frozen=True, eq=False)
class Rows:
    """W (m, n): orthonormal; R with J = R^T W; unit (m, n): J in row units, and its exponents; of the rows `kept`.

    multiples: of other rows, which row they are a multiple of (None: of none, being 0), and by which factor.
    tolerance: of the numerical rank.
    """

    kept: list[int]
    multiples: dict[int, tuple[int | None, Fraction]]
    unit: Array
    exponents: Array
    W: Array
    R: Array
    tolerance: float


def rows_of(problem: UnlearningProblem) -> Rows:
    """FaceError where exact arithmetic is needed to know the rows."""
    if not isinstance(problem.jacobian, DenseJacobian) or np.asarray(problem.jacobian.matrix).dtype == object:
        raise FaceError("the jacobian is no matrix of floats")
    if problem.at_least.any():
        raise FaceError("some rows read >=")
    J = to_float(np.asarray(problem.free_matrix()))
    multiples = _multiples(J, to_rational(problem.rhs).tolist())
    kept = [i for i in range(len(J)) if i not in multiples]
    J = J[kept]
    m, n = J.shape
    if not 0 < m <= n:
        raise FaceError("there are no rows, or more than coordinates")
    unit, exponents = in_row_units(J)
    Q, R = np.linalg.qr(unit.T)
    sigma = np.linalg.svd(R, compute_uv=False)
    if not sigma[-1] * WELL > sigma[0]:
        raise FaceError("the rows are dependent, or nearly")
    W = np.ascontiguousarray(Q.T)
    W[:, ~unit.any(axis=0)] = 0.0
    return Rows(kept, multiples, unit, exponents, W, R, max(m, n) * EPS * float(sigma[0]))


def _multiples(J: Array, rhs: list[Fraction]) -> dict[int, tuple[int | None, Fraction]]:
    """Rows that are 0, or exactly a multiple of one before.  FaceError where their right-hand sides are not."""
    found: dict[int, tuple[int | None, Fraction]] = {}
    known: dict[bytes, int] = {}
    for i, row in enumerate(J):
        k, factor = None, Fraction(0)
        if row.any():
            at = int(np.argmax(np.abs(row)))
            k = known.setdefault(sha256((np.round(row / row[at], 9) + 0.0).tobytes()).digest(), i)
            if k == i:
                continue
            factor = Fraction(float(row[at])) / Fraction(float(J[k, at]))
            pairs = zip(row.tolist(), J[k].tolist(), strict=True)
            if any(Fraction(a) != factor * Fraction(b) for a, b in pairs):
                continue  # nearly one; whether the rows are independent is asked of all of them
        if rhs[i] != (factor * rhs[k] if k is not None else 0):
            raise FaceError("rows contradict each other")
        found[i] = k, factor
    return found


def _exponent(size: float) -> int:
    return int(np.frexp(size)[1]) if size else 0


def program_of(problem: UnlearningProblem, drift: Drift, rows: Rows) -> tuple[Program, Units]:
    """The problem in units of its own.  FaceError where it is none that `dyadic` knows."""
    kind, free = kind_of(problem), np.flatnonzero(problem.free)
    if kind not in ("separable", "max", "root", "groups") or drift.pinned:
        raise FaceError("this form is proved in another way")
    if drift.cone and drift.box is None and not seen(problem)[free].all():
        raise FaceError("multipliers must not pull at what nothing penalises")
    n, theta = free.size, problem.theta_star[free]
    slices = Slices(rows.unit)
    start, rhs = to_float(theta), to_float(problem.rhs)[rows.kept]
    with np.errstate(all="ignore"):
        shortest = rows.W.T @ np.linalg.solve(rows.R.T, rows.unit @ start + np.ldexp(rhs, -rows.exponents))
    typical = max(float(np.max(np.abs(start), initial=0.0)), float(np.max(np.abs(shortest), initial=0.0)))
    radii = [float(r) for r in (drift.ball, drift.box) if r is not None]
    if not 0 < typical < math.inf or min(radii, default=typical) * 2.0**NARROW < typical:
        raise FaceError("the parameters are 0, or a region is much narrower than they are")
    x = _exponent(typical)
    alpha, beta = np.zeros(n, dtype=object), np.zeros(n, dtype=object)
    group, v, w = np.full(n, -1), np.zeros(n), np.zeros(0, dtype=object)
    frozen: list[Fraction] = []
    ceiling, floor, bits = None, Fraction(0), 0
    if kind == "separable":
        alpha, beta = (_plain([own[j] for j in free]) for own in bends_of(problem))
    elif kind == "max":
        weights = weights_of(problem)
        ceiling = _plain([weights[j] for j in free])
        bits = _exponent(float(np.max(to_float(ceiling))))
        fixed_part = np.flatnonzero(~problem.free).tolist()
        floor = max((weights[j] * abs(Fraction(problem.theta_star[j])) for j in fixed_part), default=floor)
    elif kind == "root" and drift.cone and drift.ball is None:
        weights = weights_of(problem)
        beta = _plain([weights[j] for j in free])
    else:
        group, v, w, frozen = _norms(problem, free)
    steep = [float(np.max(to_float(own), initial=0.0)) for own in (alpha, w)]
    steep += [math.ldexp(float(np.max(to_float(beta), initial=0.0)) + float(drift.lam), x), float(drift.mu)]
    steep.append(math.ldexp(1.0, bits) if ceiling is not None else 0.0)
    if not 0 < max(steep) < math.inf:
        raise FaceError("nothing is penalised")
    y = _exponent(max(steep))
    star = fixed(theta, x)
    labels = fixed(_scaled(problem.rhs[rows.kept], rows), x)
    q = [a + b for a, b in zip(slices.apply(star, BITS, BITS), labels, strict=True)]
    one = np.array([1.0])
    program = Program(
        J=rows.unit,
        slices=slices,
        q=q,
        theta=star,
        alpha=fixed(alpha, y),
        beta=fixed(beta, y - x),
        lam=fixed(np.array([drift.lam], dtype=object), y - x)[0],
        mu=fixed(np.array([drift.mu], dtype=object), y)[0],
        box=None if drift.box is None else fixed(np.array([drift.box], dtype=object), x)[0],
        rho=None if drift.ball is None else fixed(np.array([drift.ball], dtype=object), x)[0],
        group=group,
        v=fixed(v),
        w=fixed(w, y),
        frozen=[math.floor(value * Fraction(2) ** (2 * (BITS - x))) for value in frozen],
        ceiling=None if ceiling is None else fixed(ceiling, bits),
        cost=fixed(one, y - bits)[0] if ceiling is not None else 0,
        floor=fixed(np.array([floor], dtype=object), x + bits)[0],
    )
    return program, Units(x, y, bits, free)


def _plain(values: list[Fraction]) -> Array:
    return np.array(values, dtype=object)


def _scaled(values: Array, rows: Rows) -> Array:
    if values.dtype != object:
        return np.asarray(np.ldexp(to_float(values), -rows.exponents))
    scaled = [Fraction(v) / Fraction(2) ** int(e) for v, e in zip(values, rows.exponents, strict=True)]
    return np.array(scaled, dtype=object)


def _norms(problem: UnlearningProblem, free: Array) -> tuple[Array, Array, Array, list[Fraction]]:
    """The norm of every free coordinate, inner weights, weights, and the squares of what is frozen."""
    term: Any = problem.form.parts[0].term
    d = problem.n_parameters
    inner = np.ones(d) if term.inner is None else term.inner
    labels, outer = np.asarray(term.labels(d)), term.outer()
    seen = np.array([bool(v) for v in inner.tolist()]) & np.array([bool(w) for w in outer.tolist()])[labels]
    names = sorted(set(labels[free][seen[free]].tolist()))
    place = np.full(len(outer), -1)
    place[names] = np.arange(len(names))
    still = np.flatnonzero(~problem.free & seen & (place[labels] >= 0)).tolist()
    frozen = [Fraction(0)] * len(names)
    for j in still:
        frozen[place[labels[j]]] += Fraction(inner[j]) * Fraction(problem.theta_star[j]) ** 2
    group = np.where(seen[free], place[labels[free]], -1)
    return group, np.where(group >= 0, inner[free], 0), outer[names], frozen


# ---------------------------------------------------------------- the float solution


def first_point(program: Program, rows: Rows) -> Point:
    """The float solution, and the face that it suggests."""
    f, n = program, program.n
    alpha, beta, mu, lam = floats(f.alpha), floats(f.beta), floats([f.mu])[0], floats([f.lam])[0]
    if not (alpha.any() or f.mu or f.box is not None or f.rho is not None or f.ceiling or f.w):
        nothing = np.zeros(n, dtype=int)
        return Point(np.full(n, FREE), nothing, nothing, [0] * n, [0] * len(f.q), [], 0, 0, False)
    base, kinds = _float_program(f, rows, alpha, beta, mu, lam)
    theta = floats(f.theta)
    if f.rho is None:
        points, kappa = minimise(base, ENOUGH), 0.0
    else:
        points, kappa = _in_ball(base, theta, floats([f.rho])[0])
    return _read(f, rows, base, points[0], kappa, kinds, theta)


def _float_program(
    f: Program, rows: Rows, alpha: Array, beta: Array, mu: float, lam: float
) -> tuple[FloatProgram, Array]:
    theta, q = floats(f.theta), floats(f.q)
    radius = math.inf if f.box is None else float(floats([f.box])[0])
    linear = -lam * theta
    near = (alpha > 0) & (np.abs(theta) < radius)
    linear = linear + np.where((alpha > 0) & ~near, alpha * np.sign(theta), 0.0)
    both = near & (theta == 0) & bool(mu)
    at_zero = np.flatnonzero(near)
    at_start = np.flatnonzero(~both) if mu else np.zeros(0, dtype=int)
    index = np.concatenate([at_zero, at_start])
    kinds = np.concatenate([np.full(at_zero.size, ZERO), np.full(at_start.size, START)])
    places = np.concatenate([np.zeros(at_zero.size), theta[at_start]])
    slopes = np.concatenate([alpha[at_zero] + np.where(both[at_zero], mu, 0.0), np.full(at_start.size, mu)])
    order = np.lexsort((places, index))
    boxed = np.arange(theta.size) if f.box is not None else np.zeros(0, dtype=int)
    extra: dict[str, Any] = {}
    if f.ceiling is not None:
        extra |= {
            "ceiling": floats(f.ceiling),
            "ceiling_cost": float(floats([f.cost])[0]),
            "floor": float(floats([f.floor])[0]),
        }
    if f.w:
        extra["cones"] = ConeProgram(
            f.group, np.sqrt(np.where(f.group >= 0, floats(f.v), 1.0)), floats(f.w),
            np.sqrt(floats(f.frozen, 2 * BITS)), np.zeros(theta.size),
        )  # fmt: skip
    base = FloatProgram(
        W=rows.W,
        q=np.linalg.solve(rows.R.T, q),
        curvature=beta + lam,
        linear=linear,
        kink_index=index[order],
        kink_at=places[order],
        kink_slope=slopes[order],
        box_index=boxed,
        box_low=theta[boxed] - radius,
        box_high=theta[boxed] + radius,
        **extra,
    )
    return base, kinds[order]


def _read(
    f: Program, rows: Rows, base: FloatProgram, point: FloatPoint, kappa: float, kinds: Array, theta: Array
) -> Point:
    """The face of a float solution."""
    x, where = point.x, np.full(f.n, FREE)
    held = np.flatnonzero(point.kink_held)
    where[base.kink_index[held]] = kinds[held]
    if f.box is not None:
        where = np.where(point.box_held > 0, HIGH, np.where(point.box_held < 0, LOW, where))
    if f.ceiling is not None:
        touching = (where == FREE) & (point.ceiling_held != 0)
        where = np.where(touching, np.where(point.ceiling_held > 0, TOP, BOTTOM), where)
    squares: Array = np.zeros(len(f.w))
    if f.w:
        inside = f.group >= 0
        squares = np.bincount(f.group[inside], (floats(f.v) * x**2)[inside], len(f.w)) + floats(f.frozen, 2 * BITS)
        null = (point.group_zero & (floats(f.frozen, 2 * BITS) == 0)) | (squares == 0)
        where = np.where(inside & null[np.where(inside, f.group, 0)], NULL, where)
    held_t = f.ceiling is not None and (point.floor_held or not ((where == TOP) | (where == BOTTOM)).any())
    nu = np.linalg.solve(rows.R, point.y)
    return Point(
        where=where,
        side=np.sign(x).astype(int),
        drifts=np.sign(x - theta).astype(int),
        x=fixed(x),
        nu=fixed(nu),
        norms=fixed(np.sqrt(squares)),
        t=fixed(np.array([point.t]))[0],
        kappa=fixed(np.array([kappa]))[0],
        ball=kappa > 0,
        held_t=bool(held_t),
    )


def _in_ball(base: FloatProgram, theta: Array, radius: float) -> tuple[list[FloatPoint], float]:
    """The multiplier kappa with |x(kappa) - theta| near the radius: 1/|x - theta| is nearly linear in kappa."""

    def solve(kappa: float) -> list[FloatPoint]:
        return minimise(replace(base, curvature=base.curvature + kappa, linear=base.linear - kappa * theta), ROUGH**2)

    def excess(points: list[FloatPoint]) -> float:
        length = float(np.linalg.norm(points[0].x - theta))
        return radius / length - 1 if length else math.inf

    points = solve(0.0)
    low, f_low = 0.0, excess(points)
    if f_low >= 0 and points[0].error < ROUGH:
        return minimise(base, ENOUGH), 0.0
    return _root(solve, excess, (low, f_low))


def _root(
    solve: Callable[[float], list[FloatPoint]], excess: Callable[[list[FloatPoint]], float], below: tuple[float, float]
) -> tuple[list[FloatPoint], float]:
    kappa, before = 1.0, below
    points = solve(kappa)
    value, low, high = excess(points), below[0], math.inf
    for _ in range(TRIES):
        if abs(value) < ROUGH:
            break
        low, high = (kappa, high) if value < 0 else (low, kappa)
        slope = (value - before[1]) / (kappa - before[0])
        guess = kappa - value / slope if slope > 0 else 0.0
        before = (kappa, value)
        kappa = guess if low < guess < high else 4 * kappa if high == math.inf else (low + high) / 2
        points = solve(kappa)
        value = excess(points)
    return points, kappa
