"""Error estimates of `scalable.project` against rationals: the estimate is at least the true error, everywhere.

Data are drawn by dtype, weights, lam, frozen coordinates, right-hand side, conditioning, rank and cancellation (theta*
almost orthogonal to the rows, where every rounding of derived data shows), and taken through every route.  The truth is
the solution in rationals of the problem *as written*: floats are rationals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from exact_unlearn.errors import ExactUnlearnError
from exact_unlearn.jacobian import Array
from exact_unlearn.scalable import ModuleModel, RetainStream, project
from exact_unlearn.scalable.distributed import project_shard
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, ForeignJacobian
from exact_unlearn.scalable.space import ShardedRows
from exact_unlearn.scalable.team import ALONE

from .campaign import Outcome

TITLE = "error estimates of scalable.project against rationals"
FULL = 1000
QUICK = 150

ROUTES = ("auto", "eager", "choleskyqr", "tsqr", "krylov", "gram", "products", "stream", "sharded", "layers")
Matrix = list[list[Fraction]]


@dataclass(frozen=True)
class Case:
    """One l2 problem and the route to take; inputs of the linear layer whose J it is, for the route "layers"."""

    J: Array
    theta: Array
    options: dict[str, Any]
    route: str
    inputs: Array | None = None


@dataclass(frozen=True, eq=False)
class Eager(DenseTorchJacobian):
    """J whose first products are in its own precision, as if it were large."""

    @property
    def first_dtype(self) -> torch.dtype:
        return self.dtype


@dataclass(frozen=True)
class Products:
    """Only products with J, behind the NumPy protocol."""

    J: Array

    @property
    def shape(self) -> tuple[int, int]:
        return self.J.shape[0], self.J.shape[1]

    def matvec(self, drift: Array) -> Array:
        return np.asarray(self.J @ drift)

    def rmatvec(self, nu: Array) -> Array:
        return np.asarray(self.J.T @ nu)


def run(count: int, seed: int) -> Outcome:
    failures, ratios = [], []
    for i in range(count):
        try:
            case = draw(np.random.default_rng([seed, i]))
            wrong, claimed = judged(case)
        except Exception as error:  # whatever the package lets through is a finding
            failures.append(f"run(1, ...) of draw(default_rng([{seed}, {i}])): {type(error).__name__}: {error}")
            continue
        if not wrong <= claimed:
            where = f"{case.route}, J {case.J.dtype} {case.J.shape}, {', '.join(case.options) or 'plain'}"
            failures.append(f"judged(draw(default_rng([{seed}, {i}]))): error {wrong:.2e} > {claimed:.2e} ({where})")
        if wrong > 0 and math.isfinite(claimed):
            ratios.append(claimed / wrong)
    notes = (f"estimate / error: median {np.median(ratios):.0f}, least {min(ratios):.2f}",) if ratios else ()
    return Outcome(count, tuple(failures), notes)


# ---------------------------------------------------------------- cases


def draw(rng: np.random.Generator) -> Case:
    """A random case: mostly small, some rows long enough for float32 arithmetic and long sums."""
    long = rng.random() < 0.005
    k, d = (int(rng.integers(1, 3)), 10_000) if long else (int(rng.integers(1, 7)), int(rng.integers(2, 25)))
    dtype = np.dtype(rng.choice(["float32", "float64"]))
    route = "auto" if long else str(rng.choice(ROUTES))
    J = matrix(rng, k, d, str(rng.choice(PLAIN if long or route == "layers" else KINDS)))
    inputs = J.astype(dtype) if route == "layers" else None
    if inputs is not None:  # two outputs: W (2, d) and no bias, so rows are x beside zeros
        J = np.kron(inputs, np.eye(2)).reshape(2 * k, d, 2).transpose(0, 2, 1).reshape(2 * k, 2 * d)
        k, d = J.shape
    theta = rng.standard_normal(d)
    options: dict[str, Any] = {}
    if rng.random() < 0.5:  # few different weights where there are many: sums of fractions stay short
        options["weights"] = rng.choice([3.0, 7.0], d) if long else _weights(rng, d, route)
    if rng.random() < 0.4:
        options["lam"] = float(rng.choice([1e-6, 0.1, 0.3, 1.0, 1e3, 1e6]))
    if rng.random() < 0.3 and d > 2:
        free = rng.random(d) < 0.7
        options["free"] = free if free.any() else ~free
    J = J.astype(dtype)
    theta = _cancelling(rng, J.astype(float), theta, options).astype(rng.choice(["float32", "float64"]))
    if rng.random() < 0.25:
        options["rhs"] = _right(rng, J, options.get("free"))
    if options.get("rhs") is None:
        options.pop("rhs", None)
    if route == "stream":
        options.pop("rhs", None)
    if rng.random() < 0.1:
        theta = theta * np.asarray(2.0 ** int(rng.integers(-30, 30)), dtype=theta.dtype)
    return Case(J, theta, options, route, inputs)


PLAIN = ("gaussian", "signs")
KINDS = (*PLAIN, "gaussian", "conditioned", "conditioned", "duplicates", "combinations", "nearly", "scaled")


def matrix(rng: np.random.Generator, k: int, d: int, kind: str) -> Array:
    """A matrix of some rank and conditioning."""
    J = rng.standard_normal((k, d))
    if kind == "conditioned":
        left, _, right = np.linalg.svd(J, full_matrices=False)
        sigma = np.geomspace(1.0, 10.0 ** -rng.uniform(0, 13), left.shape[1])
        return np.asarray((left * sigma) @ right)
    if kind == "signs":
        return rng.choice([-1.0, 1.0], (k, d)) if rng.random() < 0.5 else np.where(rng.random((k, d)) < 0.9, 1.0, 0.25)
    if kind == "duplicates":
        return np.asarray(J[rng.integers(0, max(1, k // 2), k)] * rng.choice([0.0, 1.0, 1.0, -2.0], (k, 1)))
    if kind == "combinations":
        base = rng.integers(-9, 10, (max(1, k - 2), d)).astype(float)
        return np.asarray(rng.integers(-3, 4, (k, len(base))) @ base)
    if kind == "nearly":
        J = np.round(J[rng.integers(0, max(1, k // 2), k)] * 2**12) / 2**12
        return np.asarray(J + rng.choice([0.0, 1.0], (k, d)) * 2.0 ** -int(rng.integers(10, 40)))
    if kind == "scaled":
        return np.asarray(J * 10.0 ** rng.uniform(-9, 9, (k, 1)))
    return J


def _weights(rng: np.random.Generator, d: int, route: str) -> Array:
    kind = rng.integers(5)
    if kind == 0:
        return rng.integers(1, 10, d).astype(float)
    if kind == 1:
        return np.asarray(10.0 ** rng.uniform(-8, 8, d))
    if kind == 2 and route != "sharded":
        return np.asarray(np.where(rng.random(d) < 0.3, 0.0, rng.random(d) + 0.1))
    return np.asarray((rng.random(d) + 0.1) * 10.0 ** rng.uniform(-9, 9))


def _cancelling(rng: np.random.Generator, J: Array, theta: Array, options: dict[str, Any]) -> Array:
    """theta*, sometimes almost invisible to the rows: then theta is what cancellation leaves of it."""
    if rng.random() < 0.5:
        return theta
    w = options.get("weights", np.ones(theta.size)) + options.get("lam", 0.0)
    seen = np.linalg.lstsq(J, J @ theta, rcond=1e-9)[0] if w.min() > 0 else 0.0
    return np.asarray(theta - (1.0 - 2.0 ** -float(rng.integers(5, 45))) * seen)


def _right(rng: np.random.Generator, J: Array, free: Array | None) -> Array | None:
    """b = J D for a drift of integers, where that is exact; then dependent rows do not contradict each other."""
    drift = rng.integers(-3, 4, J.shape[1]).astype(float)
    if free is not None:
        drift = np.where(free, drift, 0.0)
    exact = _times([[Fraction(x) for x in row] for row in J.tolist()], [Fraction(x) for x in drift.tolist()])
    b = np.array([float(value) for value in exact])
    return b if [Fraction(x) for x in b.tolist()] == exact else None


# ---------------------------------------------------------------- judged


def judged(case: Case) -> tuple[float, float]:
    """(|theta - truth|, what the estimate allows), in lengths."""
    J, theta, options = _answered(case)
    found, estimate = _routed(case)
    expected = exact(J, theta, **options)
    off = [Fraction(float(a)) - b for a, b in zip(found.tolist(), expected, strict=True)]
    size = float(np.linalg.norm(found.astype(float))) or float(np.linalg.norm(theta.astype(float)))
    return _length(off), estimate * size if estimate else 0.0


def _answered(case: Case) -> tuple[Array, Array, dict[str, Any]]:
    """The problem whose answer is asked for: a stream forgets its first row."""
    keep = case.J[1:] if case.route == "stream" and len(case.J) > 1 else case.J
    return keep, case.theta, case.options


def _routed(case: Case) -> tuple[Array, float]:
    J, theta, options = case.J, case.theta, case.options
    if case.route == "stream":
        stream = RetainStream(J, theta, **options)
        result: Any = stream.delete([0]) if len(J) > 1 else stream.current
    elif case.route == "sharded":
        shard = project_shard(ShardedRows(torch.from_numpy(J), ALONE), theta, **options)
        return shard.theta.numpy(), shard.error
    elif case.route == "eager":
        result = project(Eager(torch.from_numpy(J)), theta, **options)
    elif case.inputs is not None:
        module = torch.nn.Linear(case.inputs.shape[1], 2, bias=False, dtype=torch.from_numpy(J).dtype)
        torch.nn.init.ones_(module.weight)  # the model is linear: J is the same everywhere
        model = ModuleModel(module)
        rows = model.jacobian(model.theta(), case.inputs)
        if not np.array_equal(rows.dense().numpy(), J):
            raise AssertionError("the layer has another Jacobian than it was drawn for")
        result = project(rows, theta, **options)
    elif case.route == "products":
        result = project(ForeignJacobian(Products(J.astype(float))), theta, **options)
    else:
        gram = case.route == "gram"
        try:
            result = project(J, theta, route=case.route, **options)
        except ExactUnlearnError:
            if not gram:
                raise
            result = project(J, theta, **options)  # a Gram matrix may refuse
    return np.asarray(result.theta), result.error_estimate


# ---------------------------------------------------------------- the truth


def exact(
    J: Array,
    theta: Array,
    lam: float = 0.0,
    weights: Array | None = None,
    free: Array | None = None,
    rhs: Array | None = None,
) -> list[Fraction]:
    """The answer in rationals: D = s (J.T nu - w theta*) with J s J.T nu = J s w theta* + b by elimination; where
    coordinates cost nothing, combinations of rows that do not see them first, and the shortest move of these last.
    """
    d = theta.size
    star = [Fraction(x) for x in theta.tolist()]
    w = [Fraction(1)] * d if weights is None else [Fraction(x) for x in weights.tolist()]
    moves = [True] * d if free is None else [bool(x) for x in free]
    rows = [[Fraction(x) if m else Fraction(0) for x, m in zip(row, moves, strict=True)] for row in J.tolist()]
    b = [Fraction(0)] * len(rows) if rhs is None else [Fraction(x) for x in rhs.tolist()]
    stiff = [x + Fraction(lam) for x in w]
    idle = [j for j in range(d) if moves[j] and stiff[j] == 0]
    s = [1 / t if t and m else Fraction(0) for t, m in zip(stiff, moves, strict=True)]
    q = [x * y for x, y in zip(w, star, strict=True)]
    outer, right = (rows, b) if not idle else _blind(rows, b, idle)
    drift = _shortest(outer, right, s, q)
    if idle:
        left = [x - y for x, y in zip(b, _times(rows, drift), strict=True)]
        unit = [Fraction(j in set(idle)) for j in range(d)]
        drift = [x + y for x, y in zip(drift, _shortest(rows, left, unit, [Fraction(0)] * d), strict=True)]
    return [x + y for x, y in zip(star, drift, strict=True)]


def _shortest(rows: Matrix, b: list[Fraction], s: list[Fraction], q: list[Fraction]) -> list[Fraction]:
    """D = s (J.T nu - q) with J D = b."""
    if not rows:
        return [-x * y for x, y in zip(s, q, strict=True)]
    scaled = [[x * y for x, y in zip(row, s, strict=True)] for row in rows]
    gram = [_times(rows, row) for row in scaled]
    right = [x + y for x, y in zip(_times(scaled, q), b, strict=True)]
    nu = _solved(gram, right)
    pull = _times([list(column) for column in zip(*rows, strict=True)], nu)
    return [x * (y - z) for x, y, z in zip(s, pull, q, strict=True)]


def _times(rows: Matrix, vector: list[Fraction]) -> list[Fraction]:
    """rows @ vector."""
    return [_dot(row, vector) for row in rows]


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    """Summed by denominators: where there are few different ones, all but the last sums are of integers."""
    sums: dict[int, int] = {}
    for x, y in zip(a, b, strict=True):
        if x and y:
            denominator = x.denominator * y.denominator
            sums[denominator] = sums.get(denominator, 0) + x.numerator * y.numerator
    return sum((Fraction(top, bottom) for bottom, top in sums.items()), Fraction(0))


def _solved(gram: Matrix, right: list[Fraction]) -> list[Fraction]:
    """One nu with gram nu = right, 0 on rows that depend on others; ArithmeticError if there is none."""
    k = len(right)
    table = [[*row, value] for row, value in zip(gram, right, strict=True)]
    pivots: list[int] = []
    for column in range(k):
        r = len(pivots)
        pivot = next((i for i in range(r, k) if table[i][column]), None)
        if pivot is None:
            continue
        table[r], table[pivot] = table[pivot], table[r]
        table[r] = [x / table[r][column] for x in table[r]]
        for i in range(k):
            if i != r and table[i][column]:
                factor = table[i][column]
                table[i] = [x - factor * y for x, y in zip(table[i], table[r], strict=True)]
        pivots.append(column)
    if any(row[k] for row in table[len(pivots) :]):
        raise ArithmeticError("the right-hand side contradicts itself")
    nu = [Fraction(0)] * k
    for r, column in enumerate(pivots):
        nu[column] = table[r][k]
    return nu


def _blind(rows: Matrix, b: list[Fraction], idle: list[int]) -> tuple[Matrix, list[Fraction]]:
    """Combinations of rows (and of b) that do not see the columns `idle`: elimination below."""
    table = [[*(row[j] for j in idle), *row, value] for row, value in zip(rows, b, strict=True)]
    r = 0
    for column in range(len(idle)):
        pivot = next((i for i in range(r, len(table)) if table[i][column]), None)
        if pivot is None:
            continue
        table[r], table[pivot] = table[pivot], table[r]
        for i in range(r + 1, len(table)):
            factor = table[i][column] / table[r][column]
            table[i] = [x - factor * y for x, y in zip(table[i], table[r], strict=True)]
        r += 1
    return [row[len(idle) : -1] for row in table[r:]], [row[-1] for row in table[r:]]


def _length(values: list[Fraction]) -> float:
    """The norm, rounded up a little, without underflow."""
    peak = max((abs(x) for x in values), default=Fraction(0))
    if not peak:
        return 0.0
    return float(peak) * math.sqrt(math.fsum(float(x / peak) ** 2 for x in values)) * (1.0 - 1e-12)
