"""Orthonormal rows for an integer matrix of any conditioning.

Floats lose a badly conditioned row space; so no solver is shown A.  It is shown W, float64 with nearly
orthonormal rows and the row space of A, computed by preconditioning with exact products: R of a float QR of W
is inverted, T <- R^-T T is multiplied with A over the integers, and the result is rounded once.  Each round
gains the 16 digits of a float (Rump, Ogita, Oishi), so two rounds reach condition 1e30, and rows that differ in
their last bit are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import IntMatrix, integer_rows, objects, product, ratio, zeros
from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

GOOD = 30.0
"""A condition number that floats bear: then the QR factor itself is accurate."""

ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Whitened:
    """W = T A rounded to float64, W W.T = I nearly; T is exact: row i of T is scales[i] * ints[i].

    W: (r, n).  T acts on row multipliers as nu_A = T.T nu_W and on right sides as q_W = T q.
    """

    W: Array
    T: IntMatrix
    scales: list[Fraction]

    def right(self, q: list[int], factor: Fraction) -> Array:
        """T (q * factor) rounded, (r,)."""
        values = self.T.apply(q).tolist()
        return np.array([_rounded(s * factor, v) for s, v in zip(self.scales, values, strict=True)], dtype=np.float64)

    def multipliers(self, nu: Array) -> tuple[list[int], Fraction]:
        """T.T nu exactly, as integers and one unit, for float multipliers nu (r,)."""
        if not nu.size:
            return [], Fraction(1)
        parts = [Fraction(float(v)) * s for v, s in zip(nu, self.scales, strict=True)]
        den = max((p.denominator for p in parts), default=1)  # powers of two
        common = Fraction(1, den)
        whole = [int(p / common) for p in parts]
        return [int(v) for v in self.T.T.apply(whole)], common


def _rounded(factor: Fraction, value: int) -> float:
    return ratio(factor.numerator * value, factor.denominator)


def whiten(A: IntMatrix) -> Whitened:
    """Whiten independent integer rows, (r, n) with r <= n and rank r."""
    r = A.shape[0]
    heights = [max((abs(v).bit_length() for v in row), default=0) for row in A.ints.tolist()]
    scales = [Fraction(1, 1 << height) for height in heights]
    T = IntMatrix(np.where(np.eye(r, dtype=bool), 1, zeros((r, r))))
    if r == 0:
        return Whitened(np.zeros(A.shape), T, scales)
    W = _to_floats(A.ints, scales)
    for _ in range(ROUNDS):
        tick()
        Q, R = np.linalg.qr(W.T)
        condition = np.linalg.cond(R)
        inverse = _inverse(R)
        T, scales = _multiply(inverse.T, T, scales, heights)
        if condition < GOOD:
            break
        image = product(T, A)
        # equal row lengths cost nothing and keep the next inverse moderate
        W = _to_floats(image.ints, scales)
    rows = np.ascontiguousarray(Q.T)
    rows[:, ~(A.ints != 0).any(axis=0)] = 0.0  # rounding would be taken for what the constraints see of a coordinate
    return Whitened(rows, T, scales)


def _inverse(R: Array) -> Array:
    """R^-1, with tiny pivots lifted to the rounding level so that a numerically singular R still preconditions."""
    size = np.abs(np.diag(R))
    floor = float(np.max(size)) * 1e-16
    lifted = R.copy()
    weak = size < floor
    lifted[weak, weak.nonzero()[0]] = floor
    return np.asarray(np.linalg.inv(lifted))


def _multiply(
    left: Array, T: IntMatrix, scales: list[Fraction], heights: list[int]
) -> tuple[IntMatrix, list[Fraction]]:
    """left @ diag(scales) T, exactly, then cut back to 400 bits per row.

    heights: bits of the rows that T multiplies.  Rows of A differ by hundreds of bits where entries do, and what counts
    of T[i, j] is its product with row j: so each entry loses what is 400 bits below the largest such product.
    """
    r = T.shape[0]
    exponents = [s.denominator.bit_length() - 1 if s.numerator == 1 else 1 - s.numerator.bit_length() for s in scales]
    low = max(exponents)
    ints, units = integer_rows(left)
    shifted = T.ints << objects([low - e for e in exponents])[:, None]
    result = product(ints, IntMatrix(shifted))
    out, new_scales = zeros((r, r)), []
    for i, row in enumerate(result.ints.tolist()):
        sizes = [abs(v).bit_length() + height for v, height in zip(row, heights, strict=True) if v]
        floor = max(sizes, default=0) - 400
        cuts = [max(0, floor - height) for height in heights]
        common = min(cuts)
        out[i] = [v >> cut << (cut - common) for v, cut in zip(row, cuts, strict=True)]
        new_scales.append(units[i] / Fraction(2) ** low * Fraction(2) ** common)
    return IntMatrix(out), new_scales


def _to_floats(ints: Array, scales: list[Fraction]) -> Array:
    out = np.empty(ints.shape)
    for i, (row, s) in enumerate(zip(ints.tolist(), scales, strict=True)):
        n, d = s.numerator, s.denominator
        out[i] = [v * n / d for v in row] if n != 1 else [v / d for v in row]
    return out
