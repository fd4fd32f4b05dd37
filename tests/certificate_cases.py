"""Problems with a known exact optimum, and certificates for them, made by hand: no solver takes part.

Optimality conditions are turned around.  Choose the drift D, a subgradient h of the drift penalty at D and a
subgradient g of R at theta; then the first row of J is z = g + h less multiples of the other rows, so that J^T
nu = z; theta* = theta - D and b = J D. Every number is rational, so the optimum (or its square) is a rational
number that is known before anything is checked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Q = Fraction
Numbers = list[Fraction]


def text(x: Fraction | int) -> str:
    x = Q(x)
    return f"{x.numerator:x}" + (f"/{x.denominator:x}" if x.denominator > 1 else "")


def _number(written: str) -> Fraction:
    above, _, below = written.partition("/")
    return Q(int(above, 16), int(below or "1", 16))


def array(values: Any, *shape: int) -> dict[str, Any]:
    return {"shape": list(shape), "data": [text(x) for x in values]}


def vec(values: dict[int, Fraction]) -> list[dict[str, Any]]:
    """A VEC with one part per denominator, to exercise several parts."""
    by_den: dict[int, list[int]] = {}
    for j, x in values.items():
        by_den.setdefault(x.denominator, []).append(j)
    return [
        {"indices": js, "nums": [format(values[j].numerator, "x") for j in js], "den": format(den, "x")}
        for den, js in by_den.items()
    ]


def inner(a: Numbers, b: Numbers) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Q(0))


@dataclass
class Case:
    """A problem and a certificate as JSON trees; `value` or `square` (its square) is the optimum."""

    name: str
    problem: dict[str, Any]
    certificate: dict[str, Any]
    value: Fraction | None = None
    square: Fraction | None = None
    theta: Numbers = field(default_factory=list)

    def contains(self, lower: Fraction, upper: Fraction) -> bool:
        """Whether the optimum lies in [lower, upper]."""
        if self.square is not None:
            return max(lower, 0) ** 2 <= self.square <= upper**2 and upper >= 0
        assert self.value is not None
        return lower <= self.value <= upper


@dataclass(frozen=True)
class Drift:
    """lam/2 |D|^2 + mu |D|_1 in a box and in a ball whose multiplier is kappa (0: the ball is slack)."""

    lam: Fraction = Q(0)
    mu: Fraction = Q(0)
    box: Fraction | None = None
    ball: bool = False
    kappa: Fraction = Q(0)

    def specs(self, radius: Fraction) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        if self.lam:  # two summands that add up
            out += [
                {"name": "squared_drift", "lam": text(self.lam / 3)},
                {"name": "squared_drift", "lam": text(self.lam * 2 / 3)},
            ]
        if self.mu:
            out.append({"name": "l1_drift", "lam": text(self.mu)})
        if self.box is not None:
            out += [{"name": "trust_region", "radius": text(r), "norm": "inf"} for r in (self.box + 1, self.box)]
        if self.ball:
            out.append({"name": "trust_region", "radius": text(radius), "norm": "2"})
        return out

    def subgradient(self, D: Fraction, rng: random.Random) -> Fraction:
        if D == 0:
            return self.mu * Q(rng.randint(-3, 3), 4)
        h = (self.lam + self.kappa) * D + self.mu * (1 if D > 0 else -1)
        if self.box is not None and abs(D) == self.box:
            h += rng.randint(0, 2) * (1 if D > 0 else -1)
        return h

    def value(self, D: Numbers) -> Fraction:
        return self.lam / 2 * inner(D, D) + self.mu * sum((abs(x) for x in D), Q(0))


DRIFTS = {
    "none": Drift(),
    "squared": Drift(lam=Q(3, 2)),
    "l1": Drift(mu=Q(1, 2)),
    "box": Drift(box=Q(2)),
    "squared+l1": Drift(lam=Q(1, 4), mu=Q(1, 3)),
    "squared+box": Drift(lam=Q(1), box=Q(2)),
    "l1+box": Drift(mu=Q(2), box=Q(2)),
    "all": Drift(lam=Q(1, 2), mu=Q(1), box=Q(2), ball=True, kappa=Q(3)),
    "slack ball": Drift(ball=True),
    "ball": Drift(ball=True, kappa=Q(5, 4)),
}

PATTERN = [Q(2), Q(-2), Q(0), Q(1), Q(0), Q(0), Q(0), Q(0), Q(0)]  # |D|_2 = 3, |D|_inf = 2


@dataclass
class Plan:
    """What a regularizer needs to be planted: its SPEC, theta, g, and how its value is known."""

    spec: dict[str, Any]
    theta: Numbers
    g: Numbers
    value: Fraction | None = None
    square: Fraction | None = None
    listed: bool = True  # g is listed in the certificate, on the coordinates `seen` (None: all)
    seen: range | None = None
    factors: list[dict[str, Any]] | None = None


def _weights(g: Numbers) -> dict[str, Any]:
    return array(g, len(g))


def squared_l2(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    w = [Q(rng.randint(1, 5), rng.choice((1, 2))) for _ in g]
    theta = [x / a for x, a in zip(g, w, strict=True)]
    value = sum((a * x * x / 2 for a, x in zip(w, theta, strict=True)), Q(0))
    return Plan({"name": "squared_l2", "weights": _weights(w)}, theta, g, value, listed=False)


def elastic_net(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    alpha, beta = Q(2), Q(3, 2)
    theta = [(x - alpha if x > alpha else x + alpha if x < -alpha else Q(0)) / beta for x in g]
    value = sum((alpha * abs(x) + beta * x * x / 2 for x in theta), Q(0))
    return Plan({"name": "elastic_net", "alpha": text(alpha), "beta": text(beta)}, theta, g, value, listed=False)


def l1(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    active = [x != 0 and rng.random() < 0.6 for x in g]
    w = [abs(x) if a else abs(x) + 1 for x, a in zip(g, active, strict=True)]
    theta = [Q(rng.randint(1, 4)) * (1 if x > 0 else -1) if a else Q(0) for x, a in zip(g, active, strict=True)]
    value = sum((a * abs(x) for a, x in zip(w, theta, strict=True)), Q(0))
    return Plan({"name": "l1", "weights": _weights(w)}, theta, g, value, listed=False)


def linf(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    w = [Q(rng.randint(1, 3)) for _ in g]
    scale = sum((abs(x) / a for x, a in zip(g, w, strict=True)), Q(0)) or Q(1)
    w, t = [a * scale for a in w], Q(rng.randint(1, 5))
    theta = [t / a * ((x > 0) - (x < 0)) if x else t / a * Q(rng.randint(-1, 1), 2) for x, a in zip(g, w, strict=True)]
    return Plan({"name": "linf", "weights": _weights(w)}, theta, g, t if any(g) else None)


def l2(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    w = [Q(rng.randint(1, 3)) for _ in g]
    scale = sum((x * x / a for x, a in zip(g, w, strict=True)), Q(0))
    w, t = [a * scale for a in w], Q(rng.randint(1, 5), 2)
    return Plan({"name": "l2", "weights": _weights(w)}, [t * x / a for x, a in zip(g, w, strict=True)], g, t, t * t)


def l2_irrational(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    """Unit weights: the value is a square root; only where the scale of g is free."""
    return Plan({"name": "l2", "weights": None}, list(g), g, None, inner(g, g))


TRIPLES = [[Q(3), Q(4)], [Q(1), Q(2), Q(2)], [Q(2), Q(3), Q(6)], [Q(7)]]
LENGTHS = [Q(5), Q(3), Q(7), Q(7)]


def group_l2(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    """Groups 0, 1, 3 are parallel to g; group 2 is 0 inside its dual ball."""
    labels = [group for group, triple in enumerate(TRIPLES) for _ in triple]
    own = [x for triple in TRIPLES for x in triple]
    weights = [LENGTHS[0], LENGTHS[1], LENGTHS[2] + 1, LENGTHS[3]]
    scale = [Q(2), Q(1, 3), Q(0), Q(1)]
    theta = [scale[label] * x for label, x in zip(labels, own, strict=True)]
    value = sum((w * s * n for w, s, n in zip(weights, scale, LENGTHS, strict=True)), Q(0))
    spec = {"name": "group_l2", "labels": array(map(Q, labels), 9), "weights": array(weights, 4)}
    return Plan(spec, theta, own, value)


LEFT = [[Q(2, 3), Q(-1, 3), Q(2, 3)], [Q(2, 3), Q(2, 3), Q(-1, 3)], [Q(-1, 3), Q(2, 3), Q(2, 3)]]
RIGHT = [[Q(3, 5), Q(4, 5)], [Q(-4, 5), Q(3, 5)]]


def nuclear_norm(g: Numbers, D: Numbers, rng: random.Random) -> Plan:
    """A (3, 2) matrix of rank 1 on coordinates 1..6, singular vectors LEFT[0], RIGHT[0]; G has singular values
    1 and 1/2.
    """
    G = [LEFT[0][r] * RIGHT[0][c] + LEFT[1][r] * RIGHT[1][c] / 2 for r in range(3) for c in range(2)]
    X = [7 * LEFT[0][r] * RIGHT[0][c] for r in range(3) for c in range(2)]
    factor = {"u": vec({r: 7 * LEFT[0][r] for r in range(3)}), "v": vec(dict(enumerate(RIGHT[0])))}
    theta, own = [Q(5), *X, Q(-2), Q(1)], [Q(0), *G, Q(0), Q(0)]
    spec = {"name": "nuclear_norm", "indices": array(map(Q, range(1, 7)), 6), "shape": [3, 2]}
    return Plan(spec, theta, own, Q(7), seen=range(1, 7), factors=[factor])


REGULARIZERS: dict[str, Callable[[Numbers, Numbers, random.Random], Plan]] = {
    f.__name__: f for f in (squared_l2, elastic_net, l1, linf, l2, group_l2, nuclear_norm)
}


def plant(name: str, drift_name: str, frozen: bool, seed: int = 0, k: int = 3) -> Case:
    """The case `name` x `drift_name`, with three coordinates frozen or none; d = 9, k rows."""
    make = l2_irrational if name == "l2_irrational" else REGULARIZERS[name]
    rng, drift, d = random.Random(f"{name} {drift_name} {frozen} {seed}"), DRIFTS[drift_name], 9
    D = PATTERN[:]
    rng.shuffle(D)
    held = set(rng.sample([j for j in range(d) if D[j] == 0], 3)) if frozen else set()
    h = [Q(0) if j in held else drift.subgradient(D[j], rng) for j in range(d)]
    plan = make([Q(rng.randint(-6, 6)) for _ in range(d)], D, rng)
    g = plan.g
    z = [a + b for a, b in zip(g, h, strict=True)]
    nu = [Q(1), *(Q(rng.randint(-3, 3), 2) for _ in range(k - 1))]
    J = [[Q(rng.randint(-4, 4)) for _ in range(d)] for _ in range(k)]
    J[0] = [x - sum((nu[i] * J[i][j] for i in range(1, k)), Q(0)) for j, x in enumerate(z)]
    for j in held:  # anything may stand in a frozen column
        J[0][j] += rng.randint(-9, 9)
    start = [x - y for x, y in zip(plan.theta, D, strict=True)]
    radius = Q(3) if drift.kappa else Q(4)
    problem = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array(start, d),
        "jacobian": {"kind": "dense", "matrix": array([x for row in J for x in row], k, d)},
        "rhs": array([inner(row, D) for row in J], k),
        "free": array([Q(j not in held) for j in range(d)], d),
        "regularizer": plan.spec,
        "drift_penalty": drift.specs(radius),
    }
    primal: dict[str, Any] = {"base": "zero", "parts": vec({j: plan.theta[j] for j in range(d) if j not in held})}
    if plan.factors:
        primal["factors"] = plan.factors
    dual: dict[str, Any] = {"nu": vec({i: x for i, x in enumerate(nu) if x})}
    if plan.listed:
        dual["g"] = vec({j: x for j, x in enumerate(g) if plan.seen is None or j in plan.seen})
    if drift.kappa:
        dual["ball"] = text(drift.kappa)
    value = None if plan.value is None else plan.value + drift.value(D)
    square = plan.square if value is None else None
    claims: dict[str, Any] = {"proof": "exact", "gap": "0"}
    if value is not None:
        claims |= {"lower": text(value), "upper": text(value)}
    if plan.square is not None and not drift.value(D):
        claims["square"] = text(plan.square)
    certificate = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "bounds",
        "primal": primal,
        "dual": dual,
        "claims": claims,
    }
    return Case(
        f"{name} x {drift_name}{' x frozen' if frozen else ''}", problem, certificate, value, square, plan.theta
    )


def predictor(l: int, drift_name: str = "none", seed: int = 0) -> Case:
    """The predictor norm: A = (h, m) with A^T V = c B, V = [I; S], block in the middle of theta."""
    rng, drift, n, m, h = random.Random(f"predictor {l} {drift_name} {seed}"), DRIFTS[drift_name], 2, 3, l + 1
    d, first = h * m + 3, 2
    X = [[Q(rng.randint(-3, 3)) for _ in range(m)] for _ in range(n)]
    N = [[Q(rng.randint(-2, 2)) for _ in range(l)] for _ in range(n)]
    V = [[Q(a == o) for o in range(l)] for a in range(l)] + [[Q(rng.randint(1, 2)) for _ in range(l)]]
    B = [[sum((X[i][c] * N[i][o] for i in range(n)), Q(0)) for o in range(l)] for c in range(m)]
    extra = [Q(rng.randint(-3, 3)) for _ in range(m)]
    A = [[2 * B[c][a] - V[l][a] * extra[c] for c in range(m)] for a in range(l)] + [extra]
    D = [[-V[l][a] for _ in range(m)] for a in range(l)] + [[Q(1)] * m]  # V^T D = 0, so J D = 0
    if drift_name == "box":
        D = [[x * 2 / max(abs(y) for row in D for y in row) for x in row] for row in D]
    flat = [x for row in A for x in row]
    theta = [Q(5), Q(-1), *flat, Q(2)]
    start = [
        x - (D[(j - first) // m][(j - first) % m] if first <= j < first + h * m else 0) for j, x in enumerate(theta)
    ]
    square = 4 * sum((x * x for row in B for x in row), Q(0))
    problem = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array(start, d),
        "jacobian": {
            "kind": "product",
            "V": array([x for row in V for x in row], h, l),
            "X": array([x for row in X for x in row], n, m),
            "block": [first, first + h * m],
            "n_parameters": d,
        },
        "rhs": array([Q(0)] * (n * l), n * l),
        "free": array([Q(first <= j < first + h * m) for j in range(d)], d),
        "regularizer": {
            "name": "predictor_norm",
            "V": array([x for row in V for x in row], h, l),
            "block": [first, first + h * m],
            "shape": [h, m],
        },
        "drift_penalty": drift.specs(Q(100)),
    }
    dual = {
        "nu": vec({i * l + o: N[i][o] for i in range(n) for o in range(l) if N[i][o]}),
        "B": vec({c * l + o: B[c][o] for c in range(m) for o in range(l) if B[c][o]}),
    }
    certificate = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "bounds",
        "primal": {"base": "theta_star", "parts": vec({first + i: x for i, x in enumerate(flat)})},
        "dual": dual,
        "claims": {"proof": "exact", "square": text(square), "gap": "0"},
    }
    return Case(f"predictor_norm, {l} outputs x {drift_name}", problem, certificate, square=square, theta=theta)


def counting(size: int, name: str = "l0", seed: int = 0, drift_name: str = "none") -> Case:
    """Counts: q needs `size` + 1 generic groups of two coordinates; ActiveNeurons with a dead neuron and a
    forced one.
    """
    rng, k = random.Random(f"count {size} {name} {seed}"), 2 * size + 3
    width = size + 4
    d = 2 * width
    J = [[Q(rng.randint(-9, 9)) for _ in range(d)] for _ in range(k)]
    theta = [Q(0)] * d
    for g in range(size + 1):
        theta[2 * g], theta[2 * g + 1] = Q(rng.randint(1, 5)), Q(rng.randint(1, 5))
    drift = DRIFTS[drift_name]
    spec: dict[str, Any] = {"name": "l0", "labels": array([Q(j // 2) for j in range(d)], d)}
    if name == "active_neurons":  # theta = [C (2, width); A (width, 1)]: neuron i owns coordinates i and width + i
        order = [2 * (j % width) + j // width for j in range(d)]
        J = [[row[j] for j in order] + [Q(rng.randint(-9, 9)) for _ in range(width)] for row in J]
        theta = [theta[j] for j in order] + [Q(1)] * width
        spec = {"name": "active_neurons", "n_inputs": 1, "width": width, "n_outputs": 2}
    free = [True] * d + [False] * (len(theta) - d)
    problem = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array(theta, len(theta)),
        "jacobian": {"kind": "dense", "matrix": array([x for row in J for x in row], k, len(theta))},
        "rhs": array([Q(0)] * k, k),
        "free": array(map(Q, free), len(theta)),
        "regularizer": spec,
        "drift_penalty": drift.specs(Q(4)),
    }
    value = Q(size + 1)
    certificate = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "bounds",
        "primal": {"base": "zero", "parts": vec({j: x for j, x in enumerate(theta[:d]) if x})},
        "count": {"exhausted": size},
        "claims": {"proof": "exact", "lower": text(value), "upper": text(value), "gap": "0"},
    }
    return Case(f"{name}, {size + 1} groups x {drift_name}", problem, certificate, value, theta=theta)


def infeasible(norm: str | None = None, seed: int = 0) -> Case:
    """Two rows that contradict each other; or a region, of this norm, that the constraints do not meet."""
    case = plant("l1", "none", True, seed)
    data = case.problem["jacobian"]["matrix"]["data"]
    data[9:18] = data[18:27]
    nu = {1: Q(-1), 2: Q(1)}
    case.problem["rhs"] = array([Q(0), Q(1), Q(2)], 3)
    if norm is not None:
        free = [x == "1" for x in case.problem["free"]["data"]]
        row = [_number(x) for x in data[18:27]]
        size = sum(abs(x) for x, moves in zip(row, free, strict=True) if moves)  # at least the Euclidean norm
        case.problem["rhs"] = array([Q(0), size, size], 3)
        case.problem["drift_penalty"] = [{"name": "trust_region", "radius": "3/4", "norm": norm}]
        nu = {2: Q(1)}
    certificate = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "infeasible",
        "dual": {"nu": vec(nu)},
        "claims": {"proof": "infeasible"},
    }
    return Case("infeasible", case.problem, certificate)


def moved_labels(name: str, drift_name: str, frozen: bool, seed: int = 0) -> Case:
    """The labels as written are off by 1/100 at most from those that the certificate is about: `value` is that of the
    moved problem.  A fourth row repeats the first with another label."""
    case = plant(name, drift_name, frozen, seed)
    rng, matrix = random.Random(f"labels {name} {drift_name} {frozen} {seed}"), case.problem["jacobian"]["matrix"]
    labels = [_number(x) for x in case.problem["rhs"]["data"]]
    moved = [b + Q(rng.randint(-9, 9), 900) for b in labels]
    case.problem["jacobian"]["matrix"] = {"shape": [4, 9], "data": [*matrix["data"], *matrix["data"][:9]]}
    case.problem["rhs"] = array([*moved, labels[0] + Q(1, 100)], 4)
    rows = {"kept": [0, 1, 2], "tau": text(Q(1, 100)), "rhs": vec(dict(enumerate(labels)))}
    if rng.random() < 0.5:
        rows = {"kept": [0, 1, 2, 3], "tau": text(Q(1, 100)), "rhs": vec(dict(enumerate([*labels, labels[0]])))}
    case.certificate["rows"] = rows
    return Case(f"moved labels, {case.name}", case.problem, case.certificate, case.value, case.square, case.theta)


def with_distance(drift_name: str, frozen: bool, seed: int = 0) -> Case:
    """Groups with a left inverse that proves uniqueness."""
    case = plant("group_l2", drift_name, frozen, seed, k=5)
    active, own = [0, 1, 3], [x for triple in TRIPLES for x in triple]
    data = case.problem["jacobian"]["matrix"]["data"]
    flat = [_number(x) for x in data]
    labels = [group for group, triple in enumerate(TRIPLES) for _ in triple]
    free = [x == "1" for x in case.problem["free"]["data"]]
    members = {g: [j for j in range(9) if labels[j] == g and free[j]] for g in active}
    columns = [
        [sum((flat[i * 9 + j] * own[j] for j in members[g]), Q(0)) / LENGTHS[g] for i in range(5)] for g in active
    ]
    inverse = left_inverse(columns)
    if inverse is not None:
        case.certificate["distance"] = {"active": active, "L": vec(dict(enumerate(inverse)))}
    return case


def left_inverse(columns: list[Numbers]) -> Numbers | None:
    """(C^T C)^-1 C^T, row-major; None if the columns are dependent."""
    n = len(columns)
    gram = [[inner(a, b) for b in columns] + [Q(i == j) for j in range(n)] for i, a in enumerate(columns)]
    for c in range(n):
        at = next((i for i in range(c, n) if gram[i][c]), None)
        if at is None:
            return None
        gram[c], gram[at] = gram[at], gram[c]
        gram[c] = [x / gram[c][c] for x in gram[c]]
        gram = [
            row if i == c else [x - row[c] * y for x, y in zip(row, gram[c], strict=True)] for i, row in enumerate(gram)
        ]
    return [
        sum((gram[i][n + j] * columns[j][t] for j in range(n)), Q(0)) for i in range(n) for t in range(len(columns[0]))
    ]


def planted() -> Iterator[Case]:
    """Every regularizer with every sum of drift penalties, frozen coordinates or not; all exact."""
    for name in REGULARIZERS:
        for drift_name in DRIFTS:
            for frozen in (False, True):
                yield plant(name, drift_name, frozen)
    for drift_name in ("none", "box", "slack ball"):
        for frozen in (False, True):
            yield plant("l2_irrational", drift_name, frozen)
    for l in (1, 2):
        for drift_name in ("none", "slack ball", "box"):
            yield predictor(l, drift_name)
    for name in ("l0", "active_neurons"):
        for size in (0, 1, 2):
            yield counting(size, name)
