"""Fixed-point numbers: integers over 2^BITS in object arrays, and floats that see their last significant digits.

Newton's method needs residuals to hundreds of digits, but corrections to a dozen only: a residual is read in
units of its largest entry, 2^(shift - BITS), and the correction is written back in the same units.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import objects, ratio
from exact_unlearn.jacobian import Array

BITS = 400
ONE = 1 << BITS

MARGIN = 60
"""Points are aimed so many bits above the last digit inside a ball, so that an exact repair keeps them inside."""

_MANTISSA = 60


def fix(value: Fraction) -> int:
    """value * 2^BITS, rounded down."""
    return (value.numerator << BITS) // value.denominator


def fix_all(values: list[Fraction]) -> Array:
    return objects([fix(value) for value in values])


def aim(radius: Fraction, snug: bool) -> int:
    """The radius to aim at: a little less, or exactly (`snug`) where nothing less is feasible."""
    exact = fix(radius)
    return exact if snug else exact - (exact >> (BITS - MARGIN))


def from_floats(values: Array, shift: int = BITS) -> Array:
    """Floats in units of 2^(shift - BITS) as fixed point, of the same shape."""
    whole = [int(v) for v in np.rint(np.ldexp(values.reshape(-1), _MANTISSA)).tolist()]
    up = shift - _MANTISSA
    return objects([v << up if up >= 0 else v >> -up for v in whole]).reshape(values.shape)


def to_floats(values: Array, shift: int = BITS) -> Array:
    """Fixed point as floats in units of 2^(shift - BITS), of the same shape."""
    flat = [ratio(int(v), 1 << shift) for v in values.reshape(-1).tolist()]
    return np.array(flat, dtype=np.float64).reshape(values.shape)


def largest(values: Array) -> int:
    """The largest absolute value."""
    return max((abs(int(v)) for v in values.reshape(-1).tolist()), default=0)
