"""Weighted l2, l1 and l-infinity norms.

weights: shape (d,), finite and >= 0; None means 1.  A weight 0 makes a seminorm: its dual norm is inf
wherever g does not vanish there.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    as_weights,
    indicator,
    is_exact,
    l2_prox,
    largest,
    linf_prox,
    load_cvxpy,
    matching,
    quotient,
    require_length,
    root,
    root_sum_squares,
    roots,
    soft,
    threshold,
    times,
    total,
    without_noise,
)


def _cleaned(g: Any, weights: Array | None, tol: float) -> Array:
    """g as a vector, with rounding noise on the null directions of the seminorm removed."""
    z = as_real(g)
    return z if weights is None else without_noise(z, matching(weights, z) == 0, tol)


def _bound(z: Array, tol: float) -> Any:
    """1 + tol in the arithmetic of z."""
    return 1 + Fraction(tol) if is_exact(z) else 1.0 + tol


@dataclass(frozen=True, eq=False)
class L2:
    """R(theta) = sqrt(sum_i w_i theta_i^2), a second-order cone program.  Dual norm sqrt(sum g_i^2 / w_i).

    Over every affine set it has the minimiser of SquaredL2 with the same weights (Theorem 2 for weights 1).
    """

    weights: Array | None = None

    name: ClassVar[str] = "l2"
    is_norm: ClassVar[bool] = True
    integer: ClassVar[bool] = False
    movable: ClassVar[slice | None] = None
    strictly_convex: ClassVar[bool] = False  # linear along rays

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    @property
    def unique_minimiser(self) -> bool:
        return self.weights is None or bool((self.weights > 0).all())

    def validate(self, n_parameters: int) -> None:
        if self.weights is not None:
            require_length("weights of l2", self.weights.size, n_parameters)

    def value(self, theta: Any) -> float:
        """For Fractions the float nearest to the root of the exact sum."""
        x = as_real(theta)
        if is_exact(x):
            return root(total(times(self.weights, x) * x))
        return root_sum_squares(times(roots(self.weights), x))

    def expression(self, theta: Any) -> Any:
        cp = load_cvxpy()

        return cp.norm(theta if self.weights is None else cp.multiply(roots(self.weights), theta), 2)

    def dual_norm(self, g: Any) -> float:
        z = as_real(g)
        return root(self._dual_square(z)) if is_exact(z) else self._dual_float(z)

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = _cleaned(g, self.weights, tol)
        if is_exact(z):  # decided on squares, which are rational
            return indicator(bool(self._dual_square(z) <= _bound(z, tol) ** 2))
        return indicator(self._dual_float(z) <= _bound(z, tol))

    def prox(self, v: Any, step: float) -> Array:
        return l2_prox(as_float(v), as_step(step), self.weights)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.weights}

    def _dual_square(self, z: Array) -> Value:
        return total(quotient(z, self.weights) * np.abs(z))

    def _dual_float(self, z: Array) -> float:
        return root_sum_squares(quotient(z, roots(self.weights)))


@dataclass(frozen=True, eq=False)
class L1:
    """R(theta) = sum_i w_i |theta_i|, a linear program.  Dual norm max |g_i| / w_i."""

    weights: Array | None = None

    name: ClassVar[str] = "l1"
    is_norm: ClassVar[bool] = True
    integer: ClassVar[bool] = False
    movable: ClassVar[slice | None] = None
    strictly_convex: ClassVar[bool] = False
    unique_minimiser: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    def validate(self, n_parameters: int) -> None:
        if self.weights is not None:
            require_length("weights of l1", self.weights.size, n_parameters)

    def value(self, theta: Any) -> Value:
        return total(times(self.weights, np.abs(as_real(theta))))

    def expression(self, theta: Any) -> Any:
        cp = load_cvxpy()

        return cp.norm1(theta if self.weights is None else cp.multiply(self.weights.astype(np.float64), theta))

    def dual_norm(self, g: Any) -> Value:
        return largest(quotient(as_real(g), self.weights))

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = _cleaned(g, self.weights, tol)
        return indicator(bool(self.dual_norm(z) <= _bound(z, tol)))

    def prox(self, v: Any, step: float) -> Array:
        """sign(v_i) max(|v_i| - step w_i, 0)."""
        return soft(as_float(v), threshold(as_step(step), self.weights))

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.weights}


@dataclass(frozen=True, eq=False)
class LInf:
    """R(theta) = max_i w_i |theta_i|, a linear program with minimisers that are often not unique.  Dual norm
    sum |g_i| / w_i.
    """

    weights: Array | None = None

    name: ClassVar[str] = "linf"
    is_norm: ClassVar[bool] = True
    integer: ClassVar[bool] = False
    movable: ClassVar[slice | None] = None
    strictly_convex: ClassVar[bool] = False
    unique_minimiser: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", as_weights(self.weights))

    def validate(self, n_parameters: int) -> None:
        if self.weights is not None:
            require_length("weights of linf", self.weights.size, n_parameters)

    def value(self, theta: Any) -> Value:
        return largest(times(self.weights, as_real(theta)))

    def expression(self, theta: Any) -> Any:
        cp = load_cvxpy()

        return cp.norm_inf(theta if self.weights is None else cp.multiply(self.weights.astype(np.float64), theta))

    def dual_norm(self, g: Any) -> Value:
        return total(quotient(as_real(g), self.weights))

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = _cleaned(g, self.weights, tol)
        return indicator(bool(self.dual_norm(z) <= _bound(z, tol)))

    def prox(self, v: Any, step: float) -> Array:
        """v less its projection onto the weighted l1 ball {z : sum |z_i| / w_i <= step}."""
        return linf_prox(as_float(v), as_step(step), self.weights)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.weights}
