"""The summands of a problem in exact numbers, and exact values of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import Rationals, common_denominator, objects
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


def weights_of(regularizer: Any, size: int) -> list[Fraction]:
    """The weights of a weighted norm or square, 1 by default."""
    if regularizer.weights is None:
        return [Fraction(1)] * size
    return [Fraction(w) for w in regularizer.weights.tolist()]


def seen(problem: UnlearningProblem) -> Array:
    """Coordinates on which R depends."""
    regularizer: Any = problem.regularizer
    visible = np.ones(problem.n_parameters, dtype=bool)
    if regularizer.name == "nuclear_norm":
        visible[:] = False
        visible[regularizer.indices] = True
    elif regularizer.name == "group_l2":
        visible = np.asarray((regularizer.weights != 0)[regularizer.labels], dtype=bool)
    elif regularizer.name == "elastic_net":
        visible[:] = bool(regularizer.alpha or regularizer.beta)
    elif regularizer.name != "predictor_norm":
        visible = np.array([bool(w) for w in weights_of(regularizer, problem.n_parameters)])
    return visible


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


def value_of(regularizer: Any, theta: Rationals) -> Fraction:
    """R(theta) for the regularizers whose value is rational."""
    size, name = len(theta), regularizer.name
    if name == "elastic_net":
        alpha, beta = Fraction(regularizer.alpha), Fraction(regularizer.beta)
        total = Fraction(sum(abs(v) for v in theta.nums.tolist()), theta.den)
        return alpha * total + (beta / 2 * sum_squares(theta) if beta else 0)
    weights = weights_of(regularizer, size)
    if name == "squared_l2":
        return sum_squares(theta, weights) / 2
    w, den = common_denominator(weights)
    sizes = [a * abs(v) for a, v in zip(w, theta.nums.tolist(), strict=True)]
    return Fraction(sum(sizes) if name == "l1" else max(sizes, default=0), den * theta.den)


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

    regularizer: Any = problem.regularizer
    values, name = theta.fractions(), regularizer.name
    if name == "linf":
        weights = weights_of(regularizer, len(values))
        j = max(range(len(values)), key=lambda j: weights[j] * abs(values[j]), default=None)
        if j is None or not weights[j] * values[j]:
            return {}
        return {"g": vector({j: weights[j] * (1 if values[j] > 0 else -1)})}
    if name == "l2":
        weights = weights_of(regularizer, len(values))
        return {"g": vector({j: w * v for j, (w, v) in enumerate(zip(weights, values, strict=True)) if w * v})}
    if name == "group_l2":
        g: dict[int, Fraction] = {}
        for label, weight in enumerate(regularizer.weights.tolist()):
            members = np.flatnonzero(regularizer.labels == label).tolist()
            length = roots(sum((values[j] ** 2 for j in members), Fraction(0)))[1]
            if length and weight:
                g |= {j: Fraction(weight) * values[j] / length for j in members if values[j]}
        return {"g": vector(g)}
    if name == "predictor_norm":
        V = to_rational(regularizer.V)
        A = objects(values)[regularizer.block].reshape(V.shape[0], -1)
        W = (A.T @ V).reshape(-1)
        return {"B": vector({k: v for k, v in enumerate(W.tolist()) if v})}
    if name == "nuclear_norm":
        X = theta.floats()[regularizer.indices].reshape(regularizer.shape)
        U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
        keep = sigma > 1e-12 * (sigma[0] if sigma.size else 1.0)
        G = ((U[:, keep] @ Vt[keep]) * (1 - 1e-13)).reshape(-1)
        return {"g": vector({int(j): Fraction(float(v)) for j, v in zip(regularizer.indices, G, strict=True) if v})}
    return {}
