"""Regularizers with a quadratic part: the QP rows of the table."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_number,
    as_real,
    as_step,
    as_weights,
    indicator,
    is_exact,
    largest,
    load_cvxpy,
    matching,
    quotient,
    require_length,
    roots,
    soft,
    sum_squares,
    threshold,
    times,
    total,
    without_noise,
)


@dataclass(frozen=True, eq=False)
class SquaredL2:
    """R(theta) = 1/2 sum_i w_i theta_i^2, a QP (Appendix E is its closed form for weights 1 and a squared
    drift).

    weights: shape (d,), finite and >= 0; None means 1.  R*(g) = 1/2 sum g_i^2 / w_i, inf where g_i != 0 =
    w_i. Raises ProblemError on any other weights.
    """

    weights: Array | None = None

    name: ClassVar[str] = "squared_l2"
    is_norm: ClassVar[bool] = False
    integer: ClassVar[bool] = False
    movable: ClassVar[slice | None] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    @property
    def strictly_convex(self) -> bool:
        return self.weights is None or bool((self.weights > 0).all())

    @property
    def unique_minimiser(self) -> bool:
        return self.strictly_convex

    def validate(self, n_parameters: int) -> None:
        if self.weights is not None:
            require_length("weights of squared_l2", self.weights.size, n_parameters)

    def value(self, theta: Any) -> Value:
        x = as_real(theta)
        if is_exact(x):
            return total(times(self.weights, x) * x) / 2
        return sum_squares(times(roots(self.weights), x), 0.5)

    def expression(self, theta: Any) -> Any:
        cp = load_cvxpy()

        scaled = theta if self.weights is None else cp.multiply(roots(self.weights), theta)
        return 0.5 * cp.sum_squares(scaled)

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """1/2 sum g_i^2 / w_i; `tol` lets g_i differ from 0 where w_i = 0."""
        z = as_real(g)
        if self.weights is None:
            return sum_squares(z, Fraction(1, 2))
        w = matching(self.weights, z)
        z = without_noise(z, w == 0, tol)
        if is_exact(z):
            return total(quotient(z, w) * abs(z)) / 2
        return sum_squares(quotient(z, np.sqrt(w)), 0.5)

    def prox(self, v: Any, step: float) -> Array:
        """v_i / (1 + step w_i)."""
        point: Array = as_float(v) / (1.0 + threshold(as_step(step), self.weights))
        return point

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.weights}


@dataclass(frozen=True, eq=False)
class ElasticNet:
    """R(theta) = alpha |theta|_1 + beta/2 |theta|_2^2, a QP; alpha, beta >= 0.

    R*(g) = sum max(|g_i| - alpha, 0)^2 / (2 beta); for beta = 0 the indicator of |g|_inf <= alpha.
    Raises ProblemError unless both are finite numbers >= 0.
    """

    alpha: Value
    beta: Value

    name: ClassVar[str] = "elastic_net"
    integer: ClassVar[bool] = False
    movable: ClassVar[slice | None] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", as_number("alpha", self.alpha))
        object.__setattr__(self, "beta", as_number("beta", self.beta))

    @property
    def is_norm(self) -> bool:
        return self.beta == 0

    @property
    def strictly_convex(self) -> bool:
        return self.beta > 0

    @property
    def unique_minimiser(self) -> bool:
        return self.strictly_convex

    def validate(self, n_parameters: int) -> None:
        """Any length fits."""

    def value(self, theta: Any) -> Value:
        x = as_real(theta)
        alpha, beta = self._numbers(x)
        linear: Value = alpha * total(np.abs(x))
        return linear + sum_squares(x, beta / 2)

    def expression(self, theta: Any) -> Any:
        cp = load_cvxpy()

        return float(self.alpha) * cp.norm1(theta) + 0.5 * float(self.beta) * cp.sum_squares(theta)

    def dual_norm(self, g: Any) -> Value:
        """|g|_inf / alpha when beta = 0; otherwise ProblemError, since R is no norm then."""
        z = as_real(g)
        if self.beta > 0:
            raise ProblemError("elastic_net: a dual norm exists only for beta = 0")
        return largest(quotient(z, np.full(z.shape, self._numbers(z)[0])))

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """`tol` counts only for beta = 0: |g|_inf <= alpha (1 + tol)."""
        z = as_real(g)
        alpha, beta = self._numbers(z)
        if beta == 0:
            slack = Fraction(tol) if is_exact(z) else tol
            return indicator(bool(largest(z) <= alpha * (1 + slack)))
        excess = np.maximum(np.abs(z) - alpha, 0 * alpha)
        return sum_squares(excess, 1 / (2 * beta))

    def prox(self, v: Any, step: float) -> Array:
        """sign(v) max(|v| - step alpha, 0) / (1 + step beta)."""
        t = as_step(step)
        shrink, scale = (t * float(p) if p else 0.0 for p in (self.alpha, self.beta))
        return soft(as_float(v), shrink) / (1.0 + scale)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "alpha": self.alpha, "beta": self.beta}

    def _numbers(self, x: Array) -> tuple[Any, Any]:
        """alpha and beta in the arithmetic of x."""
        kind = Fraction if is_exact(x) else float
        return kind(self.alpha), kind(self.beta)
