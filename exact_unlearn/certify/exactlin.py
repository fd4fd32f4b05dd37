"""Exact linear algebra over the integers, fast enough for hundreds of rows.

An integer matrix is cut into signed digits of 21 bits, one float64 matrix per digit, so that every product of digit
matrices is exact in float64 BLAS.  Linear systems are solved by Dixon's p-adic lifting (Numer. Math. 40, 1982): invert
A once modulo a small prime, gain the digits of the solution one by one, and recognise the rational numbers from
their remainders.  Conditioning plays no role anywhere.

python-flint, when installed, takes over `solve`; the results are the same integers.  Nothing here has a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array
from exact_unlearn.watch import tick

flint: Any
"""python-flint, or None: an accelerator only."""
try:
    import flint
except ImportError:
    flint = None

DIGIT_BITS = 21
"""Digits lie in [-2^20, 2^20]: a product of two has 40 bits, so sums of up to 2^13 of them are exact in float64."""

CHUNK = 1 << 13

LONG = 500
"""Bits from which on reducing integers one by one is cheaper than cutting them into digits."""


class SingularMatrixError(ArithmeticError):
    """The matrix has no inverse over the rationals."""


# ---------------------------------------------------------------- integer matrices


@dataclass(frozen=True, eq=False)
class IntMatrix:
    """A matrix of Python integers, shape (k, n), with its digits at hand.

    ints: object array.  digits: float64 arrays D_0, D_1, ... with ints = sum D_l 2^(21 l), |D_l| <= 2^20.
    """

    ints: Array
    _digits: tuple[Array, ...] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.ints.shape
        return rows, columns

    @cached_property
    def digits(self) -> tuple[Array, ...]:
        return self._digits if self._digits is not None else tuple(split(self.ints))

    @cached_property
    def bits(self) -> int:
        """Bit length of the largest entry."""
        return max((abs(v).bit_length() for v in self.ints.ravel().tolist()), default=0)

    @property
    def T(self) -> IntMatrix:
        return IntMatrix(self.ints.T, tuple(digit.T for digit in self.digits))

    def columns(self, index: Any) -> IntMatrix:
        return IntMatrix(self.ints[:, index], tuple(digit[:, index] for digit in self.digits))

    def rows(self, index: Any) -> IntMatrix:
        return IntMatrix(self.ints[index], tuple(digit[index] for digit in self.digits))

    def mod(self, p: int) -> Array:
        """Representatives of smallest modulus, float64; p < 2^25."""
        if self._digits is None and "digits" not in self.__dict__ and self.bits > LONG:
            return np.asarray(centred((self.ints % p).astype(np.float64), p))
        total = np.zeros(self.shape)
        for level, digit in enumerate(self.digits):
            total += centred(digit, p) * centred(np.float64(pow(2, DIGIT_BITS * level, p)), p)
            total = centred(total, p)
        return total

    def apply(self, vector: Sequence[int] | Array) -> Array:
        """ints @ vector for big integers, shape (k,)."""
        values = np.array(vector, dtype=object).reshape(-1)
        if not values.size:
            return zeros(self.shape[0])
        bits = max(abs(v).bit_length() for v in values.tolist())
        if flint is not None and bits > 2000 and self.ints.size > 4000:
            column = flint.fmpz_mat(values.size, 1, values.tolist())
            return objects([int(v) for v in (self._flint * column).entries()])
        return np.asarray(self.ints @ values, dtype=object)

    @cached_property
    def _flint(self) -> Any:
        return flint.fmpz_mat(*self.shape, self.ints.ravel().tolist())


def zeros(shape: int | tuple[int, ...]) -> Array:
    """Python zeros: np.zeros(dtype=object) holds them too, but says so less clearly."""
    return np.full(shape, 0, dtype=object)


def objects(values: Sequence[Any]) -> Array:
    """A one-dimensional object array of `values` (np.array would turn small integers into int64)."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def split(values: Array) -> list[Array]:
    """Signed 21-bit digits of an array of integers, least significant first, each an exact float64 array."""
    work = np.asarray(values, dtype=object)
    bits = max((abs(v).bit_length() for v in work.ravel().tolist()), default=0)
    half, mask = 1 << (DIGIT_BITS - 1), (1 << DIGIT_BITS) - 1
    out: list[Array] = []
    while not out or bits > 0:
        if bits < 62 and work.dtype == object:
            work = work.astype(np.int64)
        digit = ((work + half) & mask) - half
        out.append(digit.astype(np.float64))
        work = (work - digit) >> DIGIT_BITS
        bits -= DIGIT_BITS - 1  # the sign of a digit may carry one more bit upwards
    return out


def product(A: IntMatrix, B: IntMatrix) -> IntMatrix:
    """A B exactly, by exact float64 products of digits."""
    inner = A.shape[1]
    total = zeros((A.shape[0], B.shape[1]))
    for start in range(0, inner, CHUNK):
        part = slice(start, start + CHUNK)
        for order in range(len(A.digits) + len(B.digits) - 1):
            layer = np.zeros(total.shape, dtype=np.int64)
            for i in range(max(0, order - len(B.digits) + 1), min(order, len(A.digits) - 1) + 1):
                layer += (A.digits[i][:, part] @ B.digits[order - i][part]).astype(np.int64)
            total += layer.astype(object) << (DIGIT_BITS * order)
    return IntMatrix(total)


def integer_rows(matrix: Array) -> tuple[IntMatrix, list[Fraction]]:
    """Integers M and scales s > 0 with matrix[i] = s[i] * M[i] exactly, row by row.

    matrix: (k, n) float64 (every float is a dyadic rational) or Fractions.  The gcd of each row is 1 up to
    powers of two for floats, 1 for Fractions.
    """
    if matrix.dtype == object:
        return _integer_rows_of_fractions(matrix)
    mantissa, exponent = np.frexp(matrix)
    digits = np.ldexp(mantissa, 53).astype(np.int64)
    low = np.where(digits != 0, digits & -digits, 1).astype(np.float64)
    trailing = np.frexp(low)[1] - 1
    lowest = np.where(digits != 0, exponent.astype(np.int64) - 53 + trailing, np.iinfo(np.int64).max)
    base = np.min(lowest, axis=1, initial=np.iinfo(np.int64).max)
    base[base == np.iinfo(np.int64).max] = 0
    shift = np.where(digits != 0, lowest - base[:, None], 0)
    odd = digits >> trailing
    ints = odd.astype(object) << shift.astype(object) if matrix.size else zeros(matrix.shape)
    scales = [Fraction(2) ** int(e) for e in base]
    return IntMatrix(ints), scales


def _integer_rows_of_fractions(matrix: Array) -> tuple[IntMatrix, list[Fraction]]:
    ints, scales = zeros(matrix.shape), []
    for i, row in enumerate(matrix.tolist()):
        common = math.lcm(*(entry.denominator for entry in row))
        values = [entry.numerator * (common // entry.denominator) for entry in row]
        divisor = math.gcd(*values) or 1
        ints[i] = [value // divisor for value in values]
        scales.append(Fraction(divisor, common))
    return IntMatrix(ints), scales


def common_denominator(values: Sequence[Fraction]) -> tuple[list[int], int]:
    """Integers n and d > 0 with values[i] = n[i] / d."""
    common = math.lcm(*(value.denominator for value in values))
    return [value.numerator * (common // value.denominator) for value in values], common


# ---------------------------------------------------------------- modulo a prime


def centred(values: Any, p: int) -> Any:
    """Representatives in [-p/2, p/2] of integers held in float64 (exact below 2^52)."""
    return values - np.rint(values * (1.0 / p)) * p


@lru_cache(maxsize=64)
def prime_below(bound: int) -> int:
    """The largest prime smaller than `bound`."""
    candidate = bound - 1
    while any(candidate % q == 0 for q in range(2, math.isqrt(candidate) + 1)):
        candidate -= 1
    return candidate


def primes(size: int) -> Any:
    """Primes, descending, so small that a product of `size` pairs of residues is exact in float64."""
    bound = 1 << min(24, (55 - max(size, 2).bit_length()) // 2)
    while True:
        bound = prime_below(bound)
        yield bound


def row_basis(A: IntMatrix) -> list[int]:
    """Indices of linearly independent rows of A: a basis of its row space over the rationals.

    Independence is proved (a rank modulo p never exceeds the rational rank); that the other rows depend on these
    holds unless three primes all divide certain minors, which nothing downstream takes on trust.
    """
    best: list[int] = []
    generator = primes(max(A.shape[1], 1))
    for _ in range(3):
        p = next(generator)
        residues = A.mod(p)
        width = min(A.shape) + 8
        if A.shape[1] > width:  # random combinations of columns keep the rank, and are cheaper to eliminate
            mixer = np.random.default_rng(p).integers(-(p // 2), p // 2, (A.shape[1], width)).astype(np.float64)
            residues = mod_product(residues, mixer, p)
        found = _independent_rows_mod(residues, p)
        if len(found) > len(best):
            best = found
        if len(best) == min(A.shape):
            break
    return best


def mod_product(A: Array, B: Array, p: int) -> Array:
    """A @ B modulo p for float64 residues."""
    total = np.zeros((A.shape[0], B.shape[1]))
    step = max(1, (1 << 54) // (p * p))
    for start in range(0, A.shape[1], step):
        total = centred(total + centred(A[:, start : start + step] @ B[start : start + step], p), p)
    return total


def _independent_rows_mod(M: Array, p: int) -> list[int]:
    """Rows that are no combination of the rows before them, modulo p."""
    rest = M.T.copy()
    found: list[int] = []
    for j in range(rest.shape[1]):
        top = len(found)
        if top == rest.shape[0]:
            break
        candidates = np.flatnonzero(rest[top:, j])
        if not candidates.size:
            continue
        pivot = top + int(candidates[0])
        rest[[top, pivot]] = rest[[pivot, top]]
        rest[top, j:] = centred(rest[top, j:] * centred(float(pow(int(rest[top, j]), -1, p)), p), p)
        below = top + 1 + np.flatnonzero(rest[top + 1 :, j])
        rest[below, j:] = centred(rest[below, j:] - np.outer(rest[below, j], rest[top, j:]), p)
        found.append(j)
    return found


def rank(A: IntMatrix) -> int:
    """The rational rank (a proved lower bound of it that is wrong with negligible probability)."""
    return len(row_basis(A))


def inverse_mod(M: Array, p: int) -> Array | None:
    """The inverse of a square residue matrix modulo p, or None if it is singular there.  Gauss-Jordan in place."""
    n = M.shape[0]
    work, order = M.copy(), np.arange(n)
    for k in range(n):
        candidates = np.flatnonzero(work[k:, k])
        if not candidates.size:
            return None
        pivot = k + int(candidates[0])
        if pivot != k:
            work[[k, pivot]] = work[[pivot, k]]
            order[[k, pivot]] = order[[pivot, k]]
        factor = centred(float(pow(int(work[k, k]), -1, p)), p)
        work[k, k] = 1.0
        work[k] = centred(work[k] * factor, p)
        column = work[:, k].copy()
        column[k] = 0.0
        work[:, k] = np.where(np.arange(n) == k, work[:, k], 0.0)
        work -= np.outer(column, work[k])
        work = centred(work, p)
    inverse = np.empty_like(work)
    inverse[:, order] = work
    return inverse


# ---------------------------------------------------------------- solving


@dataclass(frozen=True)
class Rationals:
    """A vector of rationals over one positive denominator: entry i is nums[i] / den."""

    nums: Array
    den: int

    def __len__(self) -> int:
        return int(self.nums.size)

    def __getitem__(self, i: int) -> Fraction:
        return Fraction(self.nums[i], self.den)

    def fractions(self) -> list[Fraction]:
        return [Fraction(n, self.den) for n in self.nums.tolist()]

    def floats(self) -> Array:
        return np.array([ratio(n, self.den) for n in self.nums.tolist()])

    def reduced(self) -> Rationals:
        divisor = math.gcd(self.den, *self.nums.tolist())
        return (
            self
            if divisor == 1
            else Rationals(objects([n // divisor for n in self.nums.tolist()]), self.den // divisor)
        )

    @classmethod
    def of(cls, values: Sequence[Fraction]) -> Rationals:
        nums, den = common_denominator(list(values))
        return cls(objects(nums), den)


def ratio(numerator: int, denominator: int) -> float:
    """numerator / denominator rounded to nearest, for integers of any size; 0 or infinity beyond the range of
    floats.
    """
    try:
        return numerator / denominator
    except OverflowError:
        return math.inf if (numerator > 0) == (denominator > 0) else -math.inf


def solve(A: IntMatrix, *right: Sequence[int] | Array) -> list[Rationals]:
    """X with A X = right side, one Rationals per right side.  Raises SingularMatrixError."""
    n = A.shape[0]
    B = np.empty((n, len(right)), dtype=object)
    for j, column in enumerate(right):
        B[:, j] = list(column)
    if not B.any():
        return [Rationals(zeros(n), 1) for _ in right]
    if flint is not None:
        return _solve_flint(A, B)
    return Dixon(A).solve(B)


def _solve_flint(A: IntMatrix, B: Array) -> list[Rationals]:
    n, count = B.shape
    try:
        X = A._flint.solve(flint.fmpz_mat(n, count, B.ravel().tolist()))
    except ZeroDivisionError:
        raise SingularMatrixError("singular matrix") from None
    numerators, denominator = X.numer_denom()
    values = objects([int(v) for v in numerators.entries()]).reshape(n, count)
    return [Rationals(values[:, j], int(denominator)).reduced() for j in range(count)]


class Dixon:
    """p-adic solver for one nonsingular integer matrix and any number of right sides."""

    def __init__(self, A: IntMatrix) -> None:
        self.A = A
        generator = primes(A.shape[0])
        for _ in range(4):
            self.p: int = next(generator)
            inverse = inverse_mod(A.mod(self.p), self.p)
            if inverse is not None:
                self.inverse = inverse
                return
        raise SingularMatrixError("singular modulo four primes")

    def solve(self, B: Array) -> list[Rationals]:
        """A X = B for an object matrix B, (n, count).

        Digits of X are lifted in growing batches; after each, a solution is read off and accepted only if
        |A num - B den| is provably below the modulus, so that the congruence is an equality.
        """
        n = self.A.shape[0]
        half = DIGIT_BITS - 1
        bits_B = max((abs(v).bit_length() for v in B.ravel().tolist()), default=0)
        limit = 2 * n * (self.A.bits + n.bit_length()) + 2 * bits_B + 64
        residual, digits, steps, batch = B.copy(), [], 0, 8
        while True:
            for _ in range(batch):
                tick()
                digit = centred(self.inverse @ self._residues(residual), self.p)
                digits.append(digit.astype(np.int64))
                residual = (residual - self._times(digit)) // self.p
            steps += batch
            modulus = self.p**steps
            found = _recognise(_join(digits, self.p), modulus)
            if found is not None and self._fits(found, bits_B, modulus):
                return found
            if steps * (self.p.bit_length() - 1) > limit + half:
                raise SingularMatrixError("no rational solution within Hadamard's bound")
            batch = steps if steps < 64 else steps // 2

    def _residues(self, residual: Array) -> Array:
        return np.asarray(centred((residual % self.p).astype(np.float64), self.p))

    def _times(self, digit: Array) -> Array:
        """A @ digit exactly, as integers; |digit| <= p/2 <= 2^23, and p was chosen so that the sums are exact."""
        total = zeros(digit.shape)
        for level, layer in enumerate(self.A.digits):
            total += (layer @ digit).astype(np.int64).astype(object) << (DIGIT_BITS * level)
        return total

    def _fits(self, found: list[Rationals], bits_B: int, modulus: int) -> bool:
        n = self.A.shape[0]
        for x in found:
            size = max(abs(v).bit_length() for v in x.nums.tolist())
            left = self.A.bits + size + n.bit_length()
            if max(left, bits_B + x.den.bit_length()) + 2 >= modulus.bit_length():
                return False
        return True


def _join(digits: list[Array], p: int) -> Array:
    """sum digits[k] p^k, by pairwise combination so that big integers meet big integers."""
    level = [digit.astype(object) for digit in digits]
    base = p
    while len(level) > 1:
        level = [level[i] + level[i + 1] * base if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        base *= base
    return level[0]


def _recognise(X: Array, modulus: int) -> list[Rationals] | None:
    """Columns of X modulo `modulus` as rationals with one denominator each; None when the modulus is too small."""
    out = []
    for j in range(X.shape[1]):
        den, nums = 1, []
        bound = math.isqrt(modulus) >> 2
        for value in X[:, j].tolist():
            scaled = _symmetric(value * den, modulus)
            if abs(scaled) <= bound:
                nums.append((scaled, den))
                continue
            pair = rational_reconstruction(value * den, modulus)
            if pair is None:
                return None
            den *= pair[1]
            nums.append((pair[0], den))
        values = objects([n * (den // d) for n, d in nums])
        out.append(Rationals(values, den).reduced())
    return out


def _symmetric(value: int, modulus: int) -> int:
    value %= modulus
    return value - modulus if 2 * value > modulus else value


def rational_reconstruction(value: int, modulus: int) -> tuple[int, int] | None:
    """The (n, d), d > 0, with n = value d modulo `modulus` and |n|, d < sqrt(modulus) / 4; None if there is none."""
    bound = math.isqrt(modulus) >> 2
    r0, r1, s0, s1 = modulus, value % modulus, 0, 1
    while r1 > bound:
        quotient = r0 // r1
        r0, r1 = r1, r0 - quotient * r1
        s0, s1 = s1, s0 - quotient * s1
    if s1 < 0:
        r1, s1 = -r1, -s1
    return (r1, s1) if 0 < s1 <= bound and math.gcd(r1, s1) == 1 else None
