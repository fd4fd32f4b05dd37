"""Products of a float matrix with long integers, exactly, by products of short floats.

Every float of the matrix is cut into signed digits of 16 bits, one float64 matrix per digit, and so is the vector: a
product of two digits has 30 bits, sums of 2^22 of them are exact in float64, and BLAS computes them.  (The splitting of
Ozaki, Ogita, Oishi, Rump, Numer. Algorithms 59, 2012, at fixed places.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.jacobian import Array

DIGIT = 16
HALF = 1 << (DIGIT - 1)

MOST = 26
"""Digits of the matrix: what lies further below the largest entry of its row is beyond every digit of a proof."""


class Slices:
    """A float matrix M (m, n) with |M| <= 1, as digits: M = sum_i digits[i] 2^(-16 (i + 1)), exactly.

    Vectors are integers over 2^bits; so are products, rounded down to the given bits.  FaceError if M spans too many
    magnitudes.
    """

    def __init__(self, matrix: Array) -> None:
        rest, self.digits = np.array(matrix, dtype=np.float64), list[Array]()
        self.shape = rest.shape
        while rest.any():
            if len(self.digits) == MOST:
                raise FaceError("the entries of a row of the jacobian differ by too many magnitudes")
            unit = 2.0 ** (-DIGIT * (len(self.digits) + 1))
            digit = np.rint(rest / unit)
            rest -= digit * unit
            self.digits.append(digit)

    def columns(self, index: Array) -> Slices:
        """M on some columns."""
        part = object.__new__(Slices)
        part.digits, part.shape = [digit[:, index] for digit in self.digits], (self.shape[0], len(index))
        return part

    def apply(self, values: Sequence[int], bits: int, out: int) -> list[int]:
        """M x for x = values / 2^bits, over 2^out."""
        return self._times(values, bits, out, transposed=False)

    def pull(self, values: Sequence[int], bits: int, out: int) -> list[int]:
        """M^T y."""
        return self._times(values, bits, out, transposed=True)

    def _times(self, values: Sequence[int], bits: int, out: int, transposed: bool) -> list[int]:
        digits = _digits(values)
        count = self.shape[1] if transposed else self.shape[0]
        levels = len(self.digits) + len(digits) - 1
        if not len(digits) or not self.digits:
            return [0] * count
        total = np.zeros((levels + 4, count), dtype=np.int64)
        for i, own in enumerate(self.digits):  # the digit i of M stands at the place last - i
            products = digits @ own.T if not transposed else digits @ own
            place = len(self.digits) - 1 - i
            total[place : place + len(digits)] += products.astype(np.int64)
        return _integers(total, bits + DIGIT * len(self.digits) - out)


def _digits(values: Sequence[int]) -> Array:
    """Signed digits, least significant first, (levels, n)."""
    longest = max((v.bit_length() for v in values), default=0)
    if not longest:
        return np.zeros((0, len(values)))
    levels = longest // DIGIT + 1
    bias = sum(HALF << (DIGIT * k) for k in range(levels))
    size = 2 * levels + 2
    content = b"".join([(v + bias).to_bytes(size, "little") for v in values])
    table = np.frombuffer(content, dtype="<u2").reshape(len(values), levels + 1)
    found = table.astype(np.float64)
    found[:, :levels] -= HALF
    return np.ascontiguousarray(found.T)


def _integers(digits: Array, down: int) -> list[int]:
    """sum_k digits[k] 2^(16 k) / 2^down, rounded down."""
    levels, count = digits.shape
    for k in range(levels - 1):  # carries, so that every digit has 16 bits
        carry = (digits[k] + HALF) >> DIGIT
        digits[k] -= carry << DIGIT
        digits[k + 1] += carry
    bias = sum(HALF << (DIGIT * k) for k in range(levels))
    content = (digits + HALF).astype("<u2").T.tobytes()
    size = 2 * levels
    whole = [int.from_bytes(content[at : at + size], "little") - bias for at in range(0, size * count, size)]
    return [v >> down for v in whole] if down > 0 else [v << -down for v in whole]
