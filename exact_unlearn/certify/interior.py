"""A float solver for separable piecewise linear-quadratic programs, the first guess of every exact optimum.

    minimise  sum_i [ K_i x_i^2 / 2 + c_i x_i + sum_k a_ik |x_i - b_ik| ] + c_t t
    subject to  W x = q,   lo_i <= x_i <= hi_i,   w_i |x_i| <= t,   t >= floor

(K, a, w >= 0; boxes and the ceiling t are optional), with orthonormal rows W.  It is a primal-dual interior-point
method (Mehrotra, SIAM J. Optim. 2, 1992) on normal equations of the size of W: each |x - b| is split into its
positive and negative part, whose multipliers a - z and a + z stay positive.

An interior-point method, and not a simplex method, because it ends near the *strictly complementary* solutions:
whether a kink, bound or ceiling holds with equality in all solutions or only in some can then be read off, also where
the optimum is degenerate.  What is read off is checked in exact arithmetic afterwards; nothing here is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exact_unlearn.jacobian import Array

ITERATIONS = 100
BALANCES = (1.0, 1e-2, 1e-4)
PROXIMAL = 1e-8
"""Curvature lent to coordinates that have none: a proximal term, which changes steps and not the solution."""


@dataclass(frozen=True)
class FloatProgram:
    """The program above in floats, scaled so that typical entries of x and of the multipliers are near 1.

    W: (r, n).  kink_*: one entry per kink (its coordinate, place b, slope change a > 0); box_*: one entry per boxed
    coordinate; ceiling: (n,) weights w or None.
    """

    W: Array
    q: Array
    curvature: Array
    linear: Array
    kink_index: Array
    kink_at: Array
    kink_slope: Array
    box_index: Array
    box_low: Array
    box_high: Array
    ceiling: Array | None = None
    ceiling_cost: float = 1.0
    floor: float = 0.0


@dataclass(frozen=True)
class FloatPoint:
    """An approximate solution, and which inequalities it says hold with equality.

    x: (n,).  y: (r,), with W.T y in the subdifferential.  t: the ceiling.  kink_held: x_i = b_ik.  box_held: -1, 0, 1 for low, none, high.
    ceiling_held: (n,) -1, 0, 1 for -t/w, none, t/w.  floor_held: t = floor.  error: largest relative residual or gap.
    """

    x: Array
    y: Array
    t: float
    kink_held: Array
    box_held: Array
    ceiling_held: Array
    floor_held: bool
    error: float


@dataclass
class _Pairs:
    """Complementary pairs (slack s > 0, multiplier z > 0)."""

    s: Array
    z: Array

    def gap(self) -> float:
        return float(self.s @ self.z)

    def longest(self, ds: Array, dz: Array) -> tuple[float, float]:
        return _longest(self.s, ds), _longest(self.z, dz)


def _longest(values: Array, change: Array) -> float:
    """The largest step in (0, 1] that keeps `values` >= 0."""
    down = change < 0
    return min(1.0, float(np.min(values[down] / -change[down], initial=np.inf)))


@dataclass
class _Iterate:
    """x, y, t and the pairs: [kink +, kink -, box low, box high, ceiling +, ceiling -, floor]."""

    x: Array
    y: Array
    t: float
    pairs: list[_Pairs]


class _Method:
    """One solve.  Holds what does not change between iterations."""

    def __init__(self, program: FloatProgram) -> None:
        self.f = program
        n = program.W.shape[1]
        self.n = n
        has = program.ceiling is not None
        self.c_index = np.flatnonzero(program.ceiling > 0) if program.ceiling is not None else np.zeros(0, dtype=int)
        self.c_weight = program.ceiling[self.c_index] if program.ceiling is not None else np.zeros(0)
        self.has_ceiling = has
        self.linear_program = not (program.curvature > 0).any()

    def start(self) -> _Iterate:
        f = self.f
        x = f.W.T @ f.q
        spread = max(1.0, float(np.max(np.abs(x), initial=0.0)))
        t = 0.0
        if self.has_ceiling:
            t = 2 * max(f.floor, float(np.max(self.c_weight * np.abs(x[self.c_index]), initial=0.0)), 1e-3) + spread

        def positive(values: Array) -> Array:
            return np.maximum(values, 0.1 * spread)

        gap = x[f.kink_index] - f.kink_at
        pairs = [
            _Pairs(positive(gap) + 0.1, f.kink_slope.copy()),
            _Pairs(positive(-gap) + 0.1, f.kink_slope.copy()),
            _Pairs(positive(x[f.box_index] - f.box_low), np.ones(f.box_index.size)),
            _Pairs(positive(f.box_high - x[f.box_index]), np.ones(f.box_index.size)),
        ]
        count = max(1, self.c_index.size)
        share = f.ceiling_cost / (2 * count + 1)
        for sign in (1, -1):
            pairs.append(
                _Pairs(positive(t - sign * self.c_weight * x[self.c_index]), np.full(self.c_index.size, share))
            )
        size = 1 if self.has_ceiling else 0
        pairs.append(_Pairs(np.full(size, max(t - f.floor, 0.1)), np.full(size, share)))
        return _Iterate(x, np.zeros(f.W.shape[0]), t, pairs)

    def residuals(self, it: _Iterate) -> tuple[Array, Array, list[Array], float]:
        """Dual (n,), primal (r,), slack definitions, and the stationarity of t."""
        f = self.f
        up, down, low, high, top, bottom, floor = it.pairs
        z = (down.z - up.z) / 2  # a - z and a + z: their half difference is the subgradient of the kink
        dual = f.curvature * it.x + f.linear - f.W.T @ it.y
        np.add.at(dual, f.kink_index, z)
        np.add.at(dual, f.box_index, high.z - low.z)
        np.add.at(dual, self.c_index, self.c_weight * (top.z - bottom.z))
        slack = [
            it.x[f.kink_index] - f.kink_at - up.s + down.s,
            it.x[f.box_index] - f.box_low - low.s,
            f.box_high - it.x[f.box_index] - high.s,
            it.t - self.c_weight * it.x[self.c_index] - top.s,
            it.t + self.c_weight * it.x[self.c_index] - bottom.s,
            it.t - f.floor - floor.s,
        ]
        stationary = f.ceiling_cost - float(np.sum(top.z) + np.sum(bottom.z) + np.sum(floor.z))
        return dual, f.W @ it.x - f.q, slack, stationary if self.has_ceiling else 0.0

    def factor(self, it: _Iterate) -> tuple[Array, ...]:
        """Diagonal 1/H of the x block, coupling to t, curvature of t, and the normal equations."""
        f = self.f
        up, down, low, high, top, bottom, floor = it.pairs
        omega = up.s / up.z + down.s / down.z
        H = f.curvature.copy()
        np.add.at(H, f.kink_index, 1 / omega)
        np.add.at(H, f.box_index, low.z / low.s + high.z / high.s)
        P, N = top.z / top.s, bottom.z / bottom.s
        bare, w = np.maximum(H[self.c_index], PROXIMAL), self.c_weight
        np.add.at(H, self.c_index, w**2 * (P + N))
        theta = 1 / np.maximum(H, PROXIMAL)
        couple = np.zeros(self.n)
        couple[self.c_index] = w * (P - N)
        # sum(P + N) - couple . theta couple, written without its cancellation
        k = np.sum(((P + N) * bare + 4 * w**2 * P * N) / (bare + w**2 * (P + N))) + np.sum(floor.z / floor.s)
        a = f.W @ (theta * couple)
        normal = (f.W * theta) @ f.W.T
        return omega, theta, couple, a, k, normal

    def direction(
        self, it: _Iterate, res: tuple[Array, Array, list[Array], float], fac: tuple[Array, ...], target: list[Array]
    ) -> tuple[Array, Array, float, list[tuple[Array, Array]]]:
        """Newton step towards complementarity products s z + (linearised change) = target."""
        f = self.f
        up, down, low, high, top, bottom, floor = it.pairs
        dual, primal, slack, stationary = res
        omega, theta, couple, a, k, normal = fac
        kink = slack[0] - target[0] / up.z + target[1] / down.z
        rest = dual.copy()
        np.add.at(rest, f.kink_index, kink / omega)
        np.add.at(rest, f.box_index, (low.z * slack[1] - target[2]) / low.s + (target[3] - high.z * slack[2]) / high.s)
        e_top, e_bottom = (target[4] - top.z * slack[3]) / top.s, (target[5] - bottom.z * slack[4]) / bottom.s
        np.add.at(rest, self.c_index, self.c_weight * (e_top - e_bottom))
        e_floor = (target[6] - floor.z * slack[5]) / floor.s
        right = -primal + f.W @ (theta * rest)
        dt = 0.0
        if self.has_ceiling:
            pull = -(stationary - float(np.sum(e_top) + np.sum(e_bottom) + np.sum(e_floor)))
            pull -= float(couple @ (theta * rest))
            base, by_t = _solve(normal, right), _solve(normal, a)
            dt = float((pull + a @ base) / (k + a @ by_t))
            dy = base - by_t * dt
        else:
            dy = _solve(normal, right)
        dx = theta * (f.W.T @ dy + couple * dt - rest)
        dz = (dx[f.kink_index] + kink) / omega
        changes = [((target[0] + up.s * dz) / up.z, -dz), ((target[1] - down.s * dz) / down.z, dz)]
        moves = [
            dx[f.box_index] + slack[1],
            -dx[f.box_index] + slack[2],
            dt - self.c_weight * dx[self.c_index] + slack[3],
            dt + self.c_weight * dx[self.c_index] + slack[4],
            np.full(floor.s.size, dt) + slack[5],
        ]
        for pair, goal, ds in zip(it.pairs[2:], target[2:], moves, strict=True):
            changes.append((ds, (goal - pair.z * ds) / pair.s))
        return dx, dy, dt, changes


def _solve(M: Array, right: Array) -> Array:
    """M^-1 right for a nearly singular positive semidefinite M, refined once."""
    lifted = M + np.eye(M.shape[0]) * (1e-15 * float(np.max(np.diag(M), initial=1.0)))
    x = np.linalg.solve(lifted, right)
    return np.asarray(x + np.linalg.solve(lifted, right - M @ x))


def minimise(program: FloatProgram) -> list[FloatPoint]:
    """Solve to the accuracy that floats allow; the best iterates under several measures, most trustworthy first.

    A small gap makes the zero of each pair stand out; a small residual keeps the positive one in place.  Near the
    limit of floats one is bought with the other, so more than one balance is offered.  Never raises.
    """
    method = _Method(program)
    it = method.start()
    best: dict[float, tuple[float, _Iterate, _Iterate]] = {}
    before = it
    count = max(1, sum(pair.s.size for pair in it.pairs))
    stalled = 0
    with np.errstate(all="ignore"):
        for _ in range(ITERATIONS):
            res = method.residuals(it)
            gap = sum(pair.gap() for pair in it.pairs)
            residual, relative = _errors(program, it, res, gap)
            if not np.isfinite(residual + relative):
                break
            stalled += 1
            for weight in BALANCES:
                error = max(weight * residual, relative)
                if weight not in best or error < best[weight][0]:
                    best[weight], stalled = (error, it, before), 0
            if best[1.0][0] < 1e-15 or stalled > 4:
                break
            try:
                before, it = it, _advance(method, it, res, gap / count, count)
            except np.linalg.LinAlgError:
                break
    chosen: list[tuple[_Iterate, _Iterate]] = []
    for weight in BALANCES:
        _, it, before = best[weight]
        if not any(it is other for other, _ in chosen):
            chosen.append((it, before))
    return [_read_off(method, *each, relative, best[1.0][0]) for relative in (False, True) for each in chosen]


def _errors(
    f: FloatProgram, it: _Iterate, res: tuple[Array, Array, list[Array], float], gap: float
) -> tuple[float, float]:
    """Largest relative residual, and the relative complementarity gap."""
    size = 1.0 + float(np.max(np.abs(it.x), initial=0.0))
    slope = max(float(np.max(np.abs(v), initial=0.0)) for v in (it.y, *(pair.z for pair in it.pairs))) or 1.0
    worst = max(float(np.max(np.abs(res[0]), initial=0.0)) / slope, abs(res[3]) / slope)
    for part in (res[1], *res[2]):
        worst = max(worst, float(np.max(np.abs(part), initial=0.0)) / size)
    return worst, gap / (size * slope * max(1, f.W.shape[1]))


def _advance(method: _Method, it: _Iterate, res: tuple[Array, Array, list[Array], float], mu: float, count: int) -> _Iterate:
    """One predictor-corrector step."""
    fac = method.factor(it)
    aim = [-pair.s * pair.z for pair in it.pairs]
    _, _, _, changes = method.direction(it, res, fac, aim)
    primal, dual = _steps(it, changes, method.linear_program)
    after = sum(
        float((p.s + primal * ds) @ (p.z + dual * dz)) for p, (ds, dz) in zip(it.pairs, changes, strict=True)
    )
    centre = (after / count / mu) ** 3 if mu > 0 else 0.0
    aim = [centre * mu - p.s * p.z - ds * dz for p, (ds, dz) in zip(it.pairs, changes, strict=True)]
    dx, dy, dt, changes = method.direction(it, res, fac, aim)
    primal, dual = (0.9995 * step if step < 1 else step for step in _steps(it, changes, method.linear_program))
    pairs = [_Pairs(p.s + primal * ds, p.z + dual * dz) for p, (ds, dz) in zip(it.pairs, changes, strict=True)]
    return _Iterate(it.x + primal * dx, it.y + dual * dy, it.t + primal * dt, pairs)


def _steps(it: _Iterate, changes: list[tuple[Array, Array]], separate: bool) -> tuple[float, float]:
    lengths = [pair.longest(*change) for pair, change in zip(it.pairs, changes, strict=True)]
    primal, dual = min(s for s, _ in lengths), min(z for _, z in lengths)
    return (primal, dual) if separate else (min(primal, dual),) * 2


def _read_off(method: _Method, it: _Iterate, before: _Iterate, relative: bool, error: float) -> FloatPoint:
    """Which member of each pair is zero in the limit.

    relative: the one that shrank more in the last step (Tapia's indicator, free of units); otherwise the one that is
    smaller in the units of its column.
    """
    f = method.f
    unit = np.linalg.norm(f.W, axis=0)
    unit = np.where(unit > 0, unit, 1.0)

    def zero(kind: int, index: Array, weight: Array | float = 1.0) -> Array:
        pair, old = it.pairs[kind], before.pairs[kind]
        if relative:
            return np.asarray(pair.s * old.z < pair.z * old.s)
        size = unit[index] if index.size else np.ones(0)
        return np.asarray(pair.s / weight * size < pair.z * weight / size)

    kink = zero(0, f.kink_index) & zero(1, f.kink_index)
    box = zero(3, f.box_index).astype(int) - zero(2, f.box_index).astype(int)
    ceiling = np.zeros(method.n, dtype=int)
    ceiling[method.c_index] = zero(4, method.c_index, method.c_weight).astype(int) - zero(
        5, method.c_index, method.c_weight
    ).astype(int)
    floor = it.pairs[6]
    held = bool(floor.s.size and floor.s[0] < floor.z[0])
    return FloatPoint(it.x, it.y, it.t, kink, box, ceiling, held, error)
