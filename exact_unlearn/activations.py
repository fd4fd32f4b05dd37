"""Activation functions: value and derivative, stable in floats and exact on Fractions where that is possible.

Conventions: derivatives at a kink are those of torch (relu and abs: 0, leaky_relu: the slope).  The piecewise-linear
and polynomial functions (relu, leaky_relu, abs, square, identity) also take object arrays of `fractions.Fraction`
and do not round; the others raise ProblemError there.  softplus is log(1 + e^z) everywhere, where torch
replaces it by z beyond 20 (a difference below 2.1e-9).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array

# NumPy has no error function; that of the standard library is good to the last digit.
_ERFC = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True)
class Activation:
    """One scalar function phi, applied entry by entry.

    name:  one of KNOWN.
    slope: leaky_relu only, the slope on the negative side (default 1/100, exactly that on Fractions).

    Raises ProblemError on an unknown name, or a slope that is not a finite number or that the function does
    not have.
    """

    name: str
    slope: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in KNOWN:
            raise ProblemError(f"activation: expected one of {', '.join(KNOWN)}, got {self.name!r}")
        if self.name == "leaky_relu":
            object.__setattr__(self, "slope", _slope(Fraction(1, 100) if self.slope is None else self.slope))
        elif self.slope is not None:
            raise ProblemError(f"slope: {self.name} has none, got {self.slope!r}")

    @property
    def is_rational(self) -> bool:
        """Whether phi maps rationals to rationals, so that Fractions are accepted."""
        return self.name in _RATIONAL

    @property
    def is_linear(self) -> bool:
        """Whether phi(z) is a multiple of z."""
        return self.name == "identity" or self.slope == 1

    def value(self, z: Any) -> Array:
        """phi(z), the shape of z; float64, or Fractions for Fractions."""
        z = self._argument(z)
        if self.name == "leaky_relu":
            return np.asarray(np.where(z > 0, z, self._slope_for(z) * z))
        return np.asarray(_FORMULAS[self.name][0](z))

    def derivative(self, z: Any) -> Array:
        """phi'(z), the shape of z; float64, or Fractions for Fractions."""
        z = self._argument(z)
        if self.name == "leaky_relu":
            return np.asarray(np.where(z > 0, z * 0 + 1, z * 0 + self._slope_for(z)))
        return np.asarray(_FORMULAS[self.name][1](z))

    def _slope_for(self, z: Array) -> Any:
        return self.slope if z.dtype == object else float(self.slope)

    def _argument(self, z: Any) -> Array:
        array: Array = np.asarray(z)
        if array.dtype != object:
            return array.astype(np.float64, copy=False)
        if not self.is_rational:
            raise ProblemError(
                f"activation: {self.name} has no exact values on Fractions; use float64 data, or one of "
                f"{', '.join(_RATIONAL)}"
            )
        return array


def as_activation(activation: str | Activation) -> Activation:
    """The Activation of that name; an Activation is returned as it is. Raises ProblemError on an unknown name."""
    return activation if isinstance(activation, Activation) else Activation(activation)


def _slope(slope: Any) -> Fraction:
    if isinstance(slope, bool | str | bytes):
        raise ProblemError(f"slope: expected one finite number, got {slope!r}")
    try:
        return Fraction(slope)
    except (TypeError, ValueError, OverflowError):
        raise ProblemError(f"slope: expected one finite number, got {slope!r}") from None


# ---------------------------------------------------------------- formulas
# Exponentials are taken of -|z| only, so that nothing overflows and small values keep their relative accuracy.


def _relu(z: Array) -> Array:
    return np.where(z > 0, z, z * 0 + 0)  # + 0 turns -0.0 into 0.0


def _step(z: Array) -> Array:
    return np.where(z > 0, z * 0 + 1, z * 0 + 0)


def _sign(z: Array) -> Array:
    return np.where(z > 0, z * 0 + 1, np.where(z < 0, z * 0 - 1, z * 0 + 0))


def _sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def _sigmoid_derivative(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return e / np.square(1.0 + e)


def _silu(z: Array) -> Array:
    return z * _sigmoid(z)


def _silu_derivative(z: Array) -> Array:
    return np.asarray(_sigmoid(z) + z * _sigmoid_derivative(z))


def _tanh_derivative(z: Array) -> Array:
    # 1 - tanh^2 has no correct digit left once tanh rounds to 1
    return np.asarray(4.0 * _sigmoid_derivative(2.0 * np.minimum(np.abs(z), 400.0)))


def _softplus(z: Array) -> Array:
    return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))


def _normal_cdf(z: Array) -> Array:
    tail: Array = np.asarray(_ERFC(z * -math.sqrt(0.5)), dtype=np.float64)
    return 0.5 * tail


def _gelu(z: Array) -> Array:
    return z * _normal_cdf(z)


def _gelu_derivative(z: Array) -> Array:
    clipped = np.minimum(np.abs(z), 40.0)  # the density is 0 in float64 beyond 38.6, and z * z must not overflow
    return _normal_cdf(z) + z * np.exp(-0.5 * clipped * clipped) / math.sqrt(2.0 * math.pi)


_FORMULAS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (_relu, _step),
    "silu": (_silu, _silu_derivative),
    "gelu": (_gelu, _gelu_derivative),
    "tanh": (np.tanh, _tanh_derivative),
    "sigmoid": (_sigmoid, _sigmoid_derivative),
    "softplus": (_softplus, _sigmoid),
    "abs": (np.abs, _sign),
    "square": (lambda z: z * z, lambda z: z + z),
    "identity": (lambda z: z + 0, lambda z: z * 0 + 1),
}

_RATIONAL = ("relu", "leaky_relu", "abs", "square", "identity")

KNOWN = ("relu", "leaky_relu", "silu", "gelu", "tanh", "sigmoid", "softplus", "abs", "square", "identity")
"""The names that `Activation` takes."""
