"""The summands of a problem in exact numbers, and exact values of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import Rationals, common_denominator, objects
from exact_unlearn.forms import Count, Kink, Max, Norms, Power, Spectral, Square
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.problem import UnlearningProblem

ROOT_BITS = 400
"""Square roots are enclosed to 2^-400 relatively, as the checker does."""


@dataclass(frozen=True)
class Drift:
    """The sum of all drift penalties: lam/2 |D|^2 + mu |D|_1, |D|_2 <= ball, |D|_inf <= box (None: everywhere)."""

    lam: Fraction
    mu: Fraction
    ball: Fraction | None
    box: Fraction | None

    @property
    def pinned(self) -> bool:
        """Nothing may move."""
        return 0 in (self.ball, self.box)

    @property
    def cone(self) -> bool:
        """lam = mu = 0: only an indicator, or nothing."""
        return not self.lam and not self.mu

    @property
    def absent(self) -> bool:
        """No penalty and no region: every feasible point may be visited for nothing."""
        return self.cone and self.ball is None and self.box is None

    def allows(self, drift: Rationals) -> bool:
        """|D|_2 <= ball and |D|_inf <= box."""
        within = self.box is None or all(abs(v) <= self.box * drift.den for v in drift.nums.tolist())
        return within and (self.ball is None or sum_squares(drift) <= self.ball**2)

    def value(self, drift: Rationals) -> Fraction:
        """lam/2 |D|^2 + mu |D|_1."""
        total = Fraction(0)
        if self.lam:
            total += self.lam / 2 * sum_squares(drift)
        if self.mu:
            total += self.mu * Fraction(sum(abs(v) for v in drift.nums.tolist()), drift.den)
        return total


def drift_of(problem: UnlearningProblem) -> Drift:
    """The normal form of the drift penalties."""
    lam = sum((Fraction(t.lam) for t in problem.drifts if t.name == "squared_drift"), Fraction(0))
    mu = sum((Fraction(t.lam) for t in problem.drifts if t.name == "l1_drift"), Fraction(0))
    regions = [(t.norm, Fraction(t.radius)) for t in problem.drifts if t.name == "trust_region"]
    ball = min((r for norm, r in regions if norm != math.inf), default=None)
    box = min((r for norm, r in regions if norm == math.inf), default=None)
    return Drift(lam, mu, ball, box)


def kind_of(problem: UnlearningProblem) -> str:
    """What R is to a proof: "separable", "max", "root" (one norm), "groups", "product" (a norm behind the map of a
    network), "spectral", "count" or "power"; "sum" for forms of no name, whose certificates list a share for each
    part.
    """
    if problem.regularizer.name == "form":
        return "sum"
    parts = problem.form.parts
    if all(part.term.separable for part in parts):
        return "separable"
    (part,) = parts
    if isinstance(part.term, Norms):
        return "product" if part.map is not None else "root" if part.term.groups is None else "groups"
    return {Max: "max", Spectral: "spectral", Count: "count", Power: "power"}[type(part.term)]


def weights_of(problem: UnlearningProblem) -> list[Fraction]:
    """The weights of a maximum, or under a root, 1 by default."""
    term: Any = problem.form.parts[0].term
    own = term.inner if isinstance(term, Norms) else term.weights
    return [Fraction(1)] * problem.n_parameters if own is None else [Fraction(w) for w in own.tolist()]


def bends_of(problem: UnlearningProblem) -> tuple[list[Fraction], list[Fraction]]:
    """alpha and beta of a separable R = sum alpha_j |x_j| + beta_j/2 x_j^2."""
    d = problem.n_parameters
    found: dict[type, list[Fraction]] = {Kink: [Fraction(0)] * d, Square: [Fraction(0)] * d}
    for part in problem.form.parts:
        term: Any = part.term
        w = [1] * d if term.weights is None else term.weights.tolist()
        found[type(term)] = [v + Fraction(part.factor) * Fraction(x) for v, x in zip(found[type(term)], w, strict=True)]
    return found[Kink], found[Square]


def seen(problem: UnlearningProblem) -> Array:
    """Coordinates on which R depends."""
    return problem.form.seen(problem.n_parameters)


def heaviest(weights: list[Fraction], theta: Array, index: list[int]) -> int:
    """Where w_j |theta_j| is largest, among the coordinates `index`."""
    values: list[Fraction] = theta.tolist()
    return max(index, key=lambda j: weights[j] * abs(values[j]))


def sum_squares(x: Rationals, weights: list[Fraction] | None = None) -> Fraction:
    """sum w_i x_i^2."""
    squares = [v * v for v in x.nums.tolist()]
    if weights is None:
        return Fraction(sum(squares), x.den**2)
    w, den = common_denominator(weights)
    return Fraction(sum(a * b for a, b in zip(w, squares, strict=True)), den * x.den**2)


def value_of(problem: UnlearningProblem, theta: Rationals) -> Fraction:
    """R(theta) of a separable R or a maximum, whose values are rational."""
    sizes = [abs(v) for v in theta.nums.tolist()]
    if kind_of(problem) == "max":
        w, den = common_denominator(weights_of(problem))
        return Fraction(max((a * v for a, v in zip(w, sizes, strict=True)), default=0), den * theta.den)
    alpha, beta = bends_of(problem)
    w, den = common_denominator(alpha)
    linear = Fraction(sum(a * v for a, v in zip(w, sizes, strict=True)), den * theta.den)
    return linear + (sum_squares(theta, beta) / 2 if any(beta) else 0)


def roots(square: Fraction) -> tuple[Fraction, Fraction]:
    """lower <= sqrt(square) <= upper, equal for squares of rationals."""
    n, d = square.numerator, square.denominator
    a, b = math.isqrt(n), math.isqrt(d)
    if a * a == n and b * b == d:
        return Fraction(a, b), Fraction(a, b)
    shift = max(0, ROOT_BITS + (d.bit_length() - n.bit_length()) // 2)
    root = math.isqrt((n << 2 * shift) // d)
    return Fraction(root, 1 << shift), Fraction(root + 1, 1 << shift)


def everywhere(theta_star: Array, free: Array, x: Rationals) -> Rationals:
    """theta with x on the free coordinates and theta* elsewhere, over one denominator."""
    nums, den = common_denominator(theta_star.tolist())
    common = math.lcm(den, x.den)
    out = objects(nums) * (common // den)
    if free.size:
        out[free] = x.nums * (common // x.den)
    return Rationals(out, common)


def difference(theta: Rationals, theta_star: Array) -> Rationals:
    """theta - theta*."""
    nums, den = common_denominator(theta_star.tolist())
    common = math.lcm(den, theta.den)
    return Rationals(theta.nums * (common // theta.den) - objects(nums) * (common // den), common)


def scaled(x: Rationals, unit: Fraction) -> Rationals:
    """x * unit."""
    return Rationals(x.nums * unit.numerator, x.den * unit.denominator).reduced()


def nearest_floats(x: Rationals) -> Array:
    """Every entry rounded to the nearest float."""
    return np.asarray(x.floats(), dtype=np.float64)


def subgradient_at(problem: UnlearningProblem, theta: Rationals) -> dict[str, Any]:
    """{"g": ...} or {"B": ...}: a subgradient of a norm at theta, as a certificate writes it; {} where none is
    needed.
    """
    from exact_unlearn.certify.encode import vector

    values, kind, part = theta.fractions(), kind_of(problem), next(iter(problem.form.parts), None)
    term: Any = None if part is None else part.term
    if kind == "max":
        weights = weights_of(problem)
        j = max(range(len(values)), key=lambda j: weights[j] * abs(values[j]), default=None)
        if j is None or not weights[j] * values[j]:
            return {}
        return {"g": vector({j: weights[j] * (1 if values[j] > 0 else -1)})}
    if kind == "root":
        pairs = zip(weights_of(problem), values, strict=True)
        return {"g": vector({j: w * v for j, (w, v) in enumerate(pairs) if w * v})}
    if kind == "groups":
        g: dict[int, Fraction] = {}
        labels = term.labels(len(values))
        for label, weight in enumerate(term.outer().tolist()):
            members = np.flatnonzero(labels == label).tolist()
            length = roots(sum((values[j] ** 2 for j in members), Fraction(0)))[1]
            if length and weight:
                g |= {j: Fraction(weight) * values[j] / length for j in members if values[j]}
        return {"g": vector(g)}
    if kind == "product":
        regularizer: Any = problem.regularizer
        V = to_rational(regularizer.V)
        A = objects(values)[regularizer.block].reshape(V.shape[0], -1)
        W = (A.T @ V).reshape(-1)
        return {"B": vector({k: v for k, v in enumerate(W.tolist()) if v})}
    if kind == "spectral":
        X = theta.floats()[term.indices].reshape(term.shape)
        U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
        keep = sigma > 1e-12 * (sigma[0] if sigma.size else 1.0)
        G = ((U[:, keep] @ Vt[keep]) * (1 - 1e-13)).reshape(-1)
        return {"g": vector({int(j): Fraction(float(v)) for j, v in zip(term.indices, G, strict=True) if v})}
    return {}
