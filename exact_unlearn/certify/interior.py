"""A float solver for separable piecewise linear-quadratic programs, the first guess of every exact optimum.

    minimise  sum_i [ K_i x_i^2 / 2 + c_i x_i + sum_k a_ik |x_i - b_ik| ] + c_t t
    subject to  W x = q,   lo_i <= x_i <= hi_i,   w_i |x_i| <= t,   t >= floor

(K, a, w >= 0; boxes, of which hi may be infinite, and the ceiling t are optional), with orthonormal rows W.  It is a
primal-dual interior-point method (Mehrotra, SIAM J. Optim. 2, 1992) on normal equations of the size of W: each |x - b|
is split into its positive and negative part, whose multipliers a - z and a + z stay positive.

An interior-point method, and not a simplex method, because it ends near the *strictly complementary* solutions:
whether a kink, bound or ceiling holds with equality in all solutions or only in some can then be read off, also where
the optimum is degenerate.  What is read off is checked in exact arithmetic afterwards; nothing here is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from exact_unlearn.certify.cones import ConeProgram, Cones, Scaling, Vectors
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

ITERATIONS = 100
ENOUGH = 1e-15
STAY = 0.9995
"""Fraction of the way to the boundary that a step may go."""

SOLVED, CENTRED, BACKWARD = 1e-8, 1e-2, 20
"""Where cones leave a larger error than SOLVED, the path is followed once more, and more closely."""

LARGE = 1 << 20
"""Entries of W."""

BALANCES = (1.0, 1e-2, 1e-4)
PROXIMAL = 1e-8
"""Curvature lent to coordinates that have none: a proximal term, which changes steps and not the solution."""


@dataclass(frozen=True)
class FloatProgram:
    """The program above in floats, scaled so that typical entries of x and of the multipliers are near 1.

    W: (r, n).  kink_*: one entry per kink (its coordinate, place b, slope change a > 0, and its number for the
    caller); box_*: one entry per boxed coordinate, box_high for those of `high_index` only (None: for all); ceiling:
    (n,) weights w or None.
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
    high_index: Array | None = None
    kink_slot: Array | None = None
    ceiling: Array | None = None
    ceiling_cost: float = 1.0
    floor: float = 0.0
    cones: ConeProgram | None = None
    origin: Array | None = None


@dataclass(frozen=True)
class FloatPoint:
    """An approximate solution, and which inequalities it says hold with equality.

    x: (n,).  y: (r,), with W.T y in the subdifferential.  t: the ceiling.  kink_held: x_i = b_ik.  box_held:
    -1, 0, 1 for low, none, high. ceiling_held: (n,) -1, 0, 1 for -t/w, none, t/w.  floor_held: t = floor.
    group_zero (G,).  error: largest relative residual or gap.
    """

    x: Array
    y: Array
    t: float
    kink_held: Array
    box_held: Array
    ceiling_held: Array
    floor_held: bool
    error: float
    group_zero: Array


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
    """x, y, t; the pairs [kink +, kink -, box low, box high, ceiling +, ceiling -, floor]; the cones."""

    x: Array
    y: Array
    t: float
    pairs: list[_Pairs]
    s: Vectors | None = None
    z: Vectors | None = None

    def gap(self) -> float:
        """All complementarity products together."""
        total = sum(pair.gap() for pair in self.pairs)
        if self.s is not None and self.z is not None:
            total += float(self.s.head @ self.z.head + self.s.tail @ self.z.tail)
        return total


@dataclass(frozen=True)
class _Residuals:
    """Stationarity of x (n,) and of t, W x - q (r,), and the definitions of the slacks of the pairs."""

    dual: Array
    primal: Array
    slack: list[Array]
    stationary: float


@dataclass(frozen=True)
class _Factors:
    """The Newton matrix: the x block, its coupling to t, and the normal equations."""

    omega: Array
    theta: Array
    rank_one: Array
    gamma: Array
    couple: Array
    column: Array
    own: float
    normal: Array
    scaling: Scaling | None


@dataclass(frozen=True)
class _Step:
    x: Array
    y: Array
    t: float
    pairs: list[tuple[Array, Array]]
    cones: tuple[Vectors, Vectors] | None


class _Method:
    """One solve.  Holds what does not change between iterations."""

    def __init__(self, program: FloatProgram) -> None:
        self.f = program
        self.n = program.W.shape[1]
        self.high = program.box_index if program.high_index is None else program.high_index
        self.has_ceiling = program.ceiling is not None
        ceiling = program.ceiling if program.ceiling is not None else np.zeros(self.n)
        self.c_index = np.flatnonzero(ceiling > 0)
        self.c_weight = ceiling[self.c_index]
        self.c_origin = (program.origin if program.origin is not None else np.zeros(self.n))[self.c_index]
        self.cones = None if program.cones is None else Cones(program.cones)
        self.separate = not (program.curvature > 0).any() and self.cones is None
        label = program.cones.label if program.cones is not None else np.full(self.n, -1)
        grouped = np.flatnonzero(label >= 0)
        self.order = grouped[np.argsort(label[grouped], kind="stable")]
        counts = np.bincount(label[self.order], minlength=program.cones.weight.size if program.cones is not None else 0)
        self.starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if counts.size else counts
        self.label = label

    def start(self) -> _Iterate:
        f = self.f
        x = f.W.T @ f.q
        spread = max(1.0, float(np.max(np.abs(x), initial=0.0)))
        t = 0.0
        if self.has_ceiling:
            height = float(np.max(self.c_weight * np.abs(x[self.c_index] + self.c_origin), initial=0.0))
            t = 2 * max(f.floor, height, 1e-3) + spread

        def positive(values: Array) -> Array:
            return np.maximum(values, 0.1 * spread)

        gap = x[f.kink_index] - f.kink_at
        share = f.ceiling_cost / (2 * max(1, self.c_index.size) + 1)
        shares = np.full(self.c_index.size, share)
        reach = self.c_weight * (x[self.c_index] + self.c_origin)
        pairs = [
            _Pairs(positive(gap) + 0.1, f.kink_slope.copy()),
            _Pairs(positive(-gap) + 0.1, f.kink_slope.copy()),
            _Pairs(positive(x[f.box_index] - f.box_low), np.ones(f.box_index.size)),
            _Pairs(positive(f.box_high - x[self.high]), np.ones(self.high.size)),
            _Pairs(positive(t - reach), shares),
            _Pairs(positive(t + reach), shares),
            _Pairs(np.full(int(self.has_ceiling), max(t - f.floor, 0.1)), np.full(int(self.has_ceiling), share)),
        ]
        s, z = (None, None) if self.cones is None else self.cones.start(x)
        return _Iterate(x, np.zeros(f.W.shape[0]), t, pairs, s, z)

    def residuals(self, it: _Iterate) -> _Residuals:
        f = self.f
        up, down, low, high, top, bottom, floor = it.pairs
        z = (down.z - up.z) / 2  # a - z and a + z: their half difference is the subgradient of the kink
        dual = f.curvature * it.x + f.linear - f.W.T @ it.y
        np.add.at(dual, f.kink_index, z)
        np.add.at(dual, f.box_index, -low.z)
        np.add.at(dual, self.high, high.z)
        np.add.at(dual, self.c_index, self.c_weight * (top.z - bottom.z))
        if self.cones is not None and it.z is not None:
            dual -= self.cones.scatter(it.z.tail)
        reach = self.c_weight * (it.x[self.c_index] + self.c_origin)
        slack = [
            it.x[f.kink_index] - f.kink_at - up.s + down.s,
            it.x[f.box_index] - f.box_low - low.s,
            f.box_high - it.x[self.high] - high.s,
            it.t - reach - top.s,
            it.t + reach - bottom.s,
            it.t - f.floor - floor.s,
        ]
        stationary = f.ceiling_cost - float(np.sum(top.z) + np.sum(bottom.z) + np.sum(floor.z))
        return _Residuals(dual, f.W @ it.x - f.q, slack, stationary if self.has_ceiling else 0.0)

    def factor(self, it: _Iterate) -> _Factors:
        f = self.f
        up, down, low, high, top, bottom, floor = it.pairs
        omega = up.s / up.z + down.s / down.z
        H = f.curvature.copy()
        np.add.at(H, f.kink_index, 1 / omega)
        np.add.at(H, f.box_index, low.z / low.s)
        np.add.at(H, self.high, high.z / high.s)
        scaling = None
        if self.cones is not None and it.s is not None and it.z is not None:
            scaling = Scaling(self.cones, it.s, it.z)
            H += scaling.diagonal()
        P, N = top.z / top.s, bottom.z / bottom.s
        bare, w = np.maximum(H[self.c_index], PROXIMAL), self.c_weight
        np.add.at(H, self.c_index, w**2 * (P + N))
        H = np.maximum(H, PROXIMAL)
        v, gamma = (np.zeros(self.n), np.zeros(0)) if scaling is None else scaling.rank_one(H)
        couple = np.zeros(self.n)
        couple[self.c_index] = w * (P - N)
        factors = _Factors(omega, 1 / H, v, gamma, couple, np.zeros(0), 0.0, np.zeros(0), scaling)
        # sum(P + N) - couple . couple / H, written without its cancellation
        own = np.sum(((P + N) * bare + 4 * w**2 * P * N) / (bare + w**2 * (P + N))) + np.sum(floor.z / floor.s)
        column = f.W @ self.apply(factors, couple)
        normal = _gram(f.W, factors.theta)
        if gamma.size:
            part = np.add.reduceat((f.W * (v * factors.theta))[:, self.order], self.starts, axis=1)
            normal += (part * gamma) @ part.T
        return replace(factors, column=column, own=float(own), normal=normal)

    def apply(self, fac: _Factors, u: Array) -> Array:
        """The inverse of the x block (without the border)."""
        out = fac.theta * u
        if fac.gamma.size:
            lifted = fac.theta * fac.rank_one
            sums = np.add.reduceat((lifted * u)[self.order], self.starts)
            out[self.order] += lifted[self.order] * (fac.gamma * sums)[self.label[self.order]]
        return out

    def direction(
        self, it: _Iterate, res: _Residuals, fac: _Factors, target: list[Array], cone: Vectors | None
    ) -> _Step:
        """Newton step towards complementarity products s z + (linearised change) = target."""
        f = self.f
        up, down, low, high, top, bottom, floor = it.pairs
        slack = res.slack
        kink = slack[0] - target[0] / up.z + target[1] / down.z
        rest = res.dual.copy()
        np.add.at(rest, f.kink_index, kink / fac.omega)
        np.add.at(rest, f.box_index, (low.z * slack[1] - target[2]) / low.s)
        np.add.at(rest, self.high, (target[3] - high.z * slack[2]) / high.s)
        e_top, e_bottom = (target[4] - top.z * slack[3]) / top.s, (target[5] - bottom.z * slack[4]) / bottom.s
        np.add.at(rest, self.c_index, self.c_weight * (e_top - e_bottom))
        e_floor = (target[6] - floor.z * slack[5]) / floor.s
        if fac.scaling is not None and cone is not None:
            rest += fac.scaling.right(cone)
        pulled = self.apply(fac, rest)
        right = -res.primal + f.W @ pulled
        dt = 0.0
        if self.has_ceiling:
            pull = float(np.sum(e_top) + np.sum(e_bottom) + np.sum(e_floor) - fac.couple @ pulled) - res.stationary
            solved = _solve(fac.normal, np.column_stack([right, fac.column]))
            base, by_t = solved[:, 0], solved[:, 1]
            dt = float((pull + fac.column @ base) / (fac.own + fac.column @ by_t))
            dy = base - by_t * dt
        else:
            dy = _solve(fac.normal, right)
        dx = self.apply(fac, f.W.T @ dy - rest + fac.couple * dt)
        dz = (dx[f.kink_index] + kink) / fac.omega
        changes = [((target[0] + up.s * dz) / up.z, -dz), ((target[1] - down.s * dz) / down.z, dz)]
        moves = [
            dx[f.box_index] + slack[1],
            -dx[self.high] + slack[2],
            dt - self.c_weight * dx[self.c_index] + slack[3],
            dt + self.c_weight * dx[self.c_index] + slack[4],
            np.full(floor.s.size, dt) + slack[5],
        ]
        for pair, goal, ds in zip(it.pairs[2:], target[2:], moves, strict=True):
            changes.append((ds, (goal - pair.z * ds) / pair.s))
        cones = None if fac.scaling is None or cone is None else fac.scaling.finish(dx, cone)
        return _Step(dx, dy, dt, changes, cones)


def _gram(W: Array, weights: Array) -> Array:
    """W diag(weights) W.T; of large W by the product that knows that it is symmetric, at half the cost."""
    if W.size < LARGE:
        return np.asarray((W * weights) @ W.T)
    root = W * np.sqrt(weights)
    return np.asarray(root @ root.T)


def _solve(M: Array, right: Array) -> Array:
    """M^-1 right for a nearly singular positive semidefinite M, refined once."""
    lifted = M + np.eye(M.shape[0]) * (1e-15 * float(np.max(np.diag(M), initial=1.0)))
    x = np.linalg.solve(lifted, right)
    return np.asarray(x + np.linalg.solve(lifted, right - M @ x))


@np.errstate(all="ignore")
def minimise(program: FloatProgram, enough: float = ENOUGH) -> list[FloatPoint]:
    """Solve to the accuracy that floats allow; the best iterates under several measures, most trustworthy first.

    A small gap makes the zero of each pair stand out; a small residual keeps the positive one in place.  Near the
    limit of floats one is bought with the other, so more than one balance is offered.  enough: an error at which it
    stops.  LinAlgError where the numbers are beyond the range of floats; otherwise it always returns something.
    """
    method = _Method(program)
    best = _followed(method, 0.0, enough)
    if method.cones is not None and (not best or best[1.0][0] > SOLVED):  # norms that blocked each other's way
        cautious = _followed(method, CENTRED, enough)
        if cautious and (not best or cautious[1.0][0] < best[1.0][0]):
            best = cautious
    if not best:
        raise np.linalg.LinAlgError("the numbers of the problem are beyond the range of floats")
    chosen: list[tuple[_Iterate, _Iterate]] = []
    for weight in BALANCES:
        _, it, before = best[weight]
        if not any(it is other for other, _ in chosen):
            chosen.append((it, before))
    return [_read_off(method, *each, relative, best[1.0][0]) for relative in (False, True) for each in chosen]


def _followed(method: _Method, centred: float, enough: float) -> dict[float, tuple[float, _Iterate, _Iterate]]:
    """Per balance the least error, the iterate that had it, and the one before.

    centred: no cone may come nearer to its boundary than by this share of the mean product.
    """
    program, it = method.f, method.start()
    before, stalled = it, 0
    best: dict[float, tuple[float, _Iterate, _Iterate]] = {}
    count = max(1, sum(pair.s.size for pair in it.pairs) + (method.cones.count if method.cones is not None else 0))
    for _ in range(ITERATIONS):
        tick()
        res = method.residuals(it)
        residual, relative = _errors(program, it, res)
        if not np.isfinite(residual + relative):
            break
        stalled += 1
        for weight in BALANCES:
            error = max(weight * residual, relative)
            if weight not in best or error < best[weight][0]:
                best[weight], stalled = (error, it, before), 0
        if best[1.0][0] < enough or stalled > 4:
            break
        try:
            before, it = it, _advance(method, it, res, count, centred)
        except np.linalg.LinAlgError:
            break
    return best


def _errors(f: FloatProgram, it: _Iterate, res: _Residuals) -> tuple[float, float]:
    """Largest relative residual, and the relative complementarity gap."""
    size = 1.0 + float(np.max(np.abs(it.x), initial=0.0))
    duals = [it.y, *(pair.z for pair in it.pairs), *([] if it.z is None else [it.z.head])]
    slope = max(float(np.max(np.abs(v), initial=0.0)) for v in duals) or 1.0
    worst = max(float(np.max(np.abs(res.dual), initial=0.0)) / slope, abs(res.stationary) / slope)
    for part in (res.primal, *res.slack):
        worst = max(worst, float(np.max(np.abs(part), initial=0.0)) / size)
    return worst, it.gap() / (size * slope * max(1, f.W.shape[1]))


def _advance(method: _Method, it: _Iterate, res: _Residuals, count: int, centred: float) -> _Iterate:
    """One predictor-corrector step."""
    fac = method.factor(it)
    scaling, mu = fac.scaling, it.gap() / count
    cone = None if scaling is None else scaling.target(0.0)
    step = method.direction(it, res, fac, [-pair.s * pair.z for pair in it.pairs], cone)
    primal, dual = _lengths(method, it, step)
    after = _moved(it, step, primal, dual).gap()
    centre = min(max(after / count / mu, 0.0), 1.0) ** 3 if mu > 0 else 0.0
    aim = [centre * mu - p.s * p.z - ds * dz for p, (ds, dz) in zip(it.pairs, step.pairs, strict=True)]
    cone = None if scaling is None or step.cones is None else scaling.target(centre * mu, *step.cones)
    step = method.direction(it, res, fac, aim, cone)
    primal, dual = (STAY * length if length < 1 else length for length in _lengths(method, it, step))
    new = _moved(it, step, primal, dual)
    for _ in range(BACKWARD):
        if not centred or method.cones is None or new.s is None or new.z is None:
            break
        if np.min(method.cones.least_product(new.s, new.z)) >= centred * new.gap() / count:
            break
        primal, dual = 0.8 * primal, 0.8 * dual
        new = _moved(it, step, primal, dual)
    if method.cones is not None and new.s is not None:  # what rounding adds up to is taken back
        new.s = Vectors(new.s.head, method.cones.tails(new.x))
    return new


def _moved(it: _Iterate, step: _Step, primal: float, dual: float) -> _Iterate:
    pairs = [_Pairs(p.s + primal * ds, p.z + dual * dz) for p, (ds, dz) in zip(it.pairs, step.pairs, strict=True)]
    new = _Iterate(it.x + primal * step.x, it.y + dual * step.y, it.t + primal * step.t, pairs)
    if step.cones is not None and it.s is not None and it.z is not None:
        ds, dz = step.cones
        new.s = Vectors(it.s.head + primal * ds.head, it.s.tail + primal * ds.tail)
        new.z = Vectors(it.z.head + dual * dz.head, it.z.tail + dual * dz.tail)
    return new


def _lengths(method: _Method, it: _Iterate, step: _Step) -> tuple[float, float]:
    """Longest primal and dual steps that stay inside; equal unless the program is linear."""
    lengths = [pair.longest(*change) for pair, change in zip(it.pairs, step.pairs, strict=True)]
    primal, dual = min(s for s, _ in lengths), min(z for _, z in lengths)
    if step.cones is not None and method.cones is not None and it.s is not None and it.z is not None:
        primal = min(primal, method.cones.longest(it.s, step.cones[0]))
        dual = min(dual, method.cones.longest(it.z, step.cones[1]))
    return (primal, dual) if method.separate else (min(primal, dual),) * 2


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
    box = -zero(2, f.box_index).astype(int)
    box[np.searchsorted(f.box_index, method.high)] += zero(3, method.high).astype(int)
    ceiling = np.zeros(method.n, dtype=int)
    ceiling[method.c_index] = zero(4, method.c_index, method.c_weight).astype(int) - zero(
        5, method.c_index, method.c_weight
    ).astype(int)
    floor = it.pairs[6]
    held = bool(floor.s.size and floor.s[0] < floor.z[0])
    return FloatPoint(it.x, it.y, it.t, kink, box, ceiling, held, error, _zero_groups(method, it, before, relative))


def _zero_groups(method: _Method, it: _Iterate, before: _Iterate, relative: bool) -> Array:
    """Groups whose norm is zero."""
    cones = method.cones
    if cones is None or it.s is None or it.z is None or before.s is None or before.z is None:
        return np.zeros(0, dtype=bool)
    room, old_room = cones.rest(it.z), cones.rest(before.z)
    if relative:
        return np.asarray(it.s.head * old_room < room * before.s.head)
    size = np.linalg.norm(method.f.W, axis=0)
    unit = np.sqrt(np.bincount(cones.owner[cones.moves], size[cones.index[cones.moves]] ** 2, cones.count))
    unit = np.where(unit > 0, unit, 1.0)
    return np.asarray(it.s.head * unit < room / unit)
