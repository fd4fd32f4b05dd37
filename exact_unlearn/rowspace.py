"""A well-conditioned description of {x : J x = J x0 + b}, accurate at every conditioning of J.

Interior-point and splitting solvers see J only through its row space, and lose it when J is ill conditioned: at
cond(J) = 1e12 their answers are several per cent wrong.  So no solver is ever shown J.  It is shown Q, an
orthonormal basis of the numerical row space, computed so that Q is right to rounding even where cond(J) * eps
is not small:

1. numerical rank r from the singular values of the rows in units of their own (tolerance max(k, d) * eps * sigma_1;
   a row times 1e-16 says the same as that row), r rows by pivoted QR;
2. r well-conditioned columns B by pivoted QR of an approximate basis;
3. X = J_B^{-1} J, iteratively refined with residuals accumulated in more than twice the working precision;
4. Q = the QR factor of X.T, whose conditioning is modest because of the choice of B.

Multipliers come back through the same factorisation: J_B.T nu = z_B, refined in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_unlearn.errors import needed_by
from exact_unlearn.jacobian import Array

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class RankReport:
    """How the numerical rank of J on the free coordinates was decided.

    rank: singular values above `tolerance` = max(k, d) * eps * sigma_1, of the rows scaled by powers of two to largest
    entries near 1: equations do not depend on their scale.  smallest_kept and largest_dropped are the singular values
    on either side of the cut (0 where there is none); rows: the indices of the rows kept.
    """

    rank: int
    shape: tuple[int, int]
    tolerance: float
    largest: float
    smallest_kept: float
    largest_dropped: float
    rows: tuple[int, ...]

    @property
    def condition(self) -> float:
        """sigma_1 / sigma_r (1 for rank 0)."""
        return self.largest / self.smallest_kept if self.rank else 1.0

    def __str__(self) -> str:
        text = f"rank {self.rank} of {self.shape[0]} x {self.shape[1]}, condition {self.condition:.1e}"
        dropped = self.shape[0] - self.rank
        return text if not dropped else f"{text}, {dropped} dependent row{'s' * (dropped > 1)} dropped"


@dataclass(frozen=True)
class RowSpace:
    """The numerical row space of J: Q has orthonormal rows and {x : Q x = c} = {x : J x = J x0 + b}.

    Q: (r, p).  report: the rank decision.  The private factors serve `particular` and `multipliers`.
    """

    Q: Array
    report: RankReport
    _matrix: Array
    _lu: tuple[Array, Array] | None
    _columns: Array
    _scale: Array

    def particular(self, rhs: Array) -> Array:
        """Some D with J D = rhs on the kept rows, shape (p,)."""
        drift = np.zeros(self.Q.shape[1])
        if self._lu is not None and np.any(rhs):
            kept = _scaled(rhs[list(self.report.rows)], self._scale)
            drift[self._columns] = _refined_solve(self._basis(), self._lu, kept[:, None])[:, 0]
        return drift

    def multipliers(self, z: Array) -> Array:
        """nu, shape (k,) or (k, c), zero on dropped rows, with J.T nu = z for z in the row space, shape (p,) or
        (p, c).
        """
        nu = np.zeros((self.report.shape[0], *z.shape[1:]))
        if self._lu is not None:
            rank = self._columns.size
            # c may be 0 (a predictor norm with V = 0), and then -1 stands for nothing
            target = z[self._columns].reshape(rank, math.prod(z.shape[1:]))
            solved = _refined_solve(np.ascontiguousarray(self._basis().T), self._lu, target, transposed=True)
            nu[list(self.report.rows)] = _scaled(solved, self._scale[:, None]).reshape(rank, *z.shape[1:])
        return nu

    def dependence(self, row: Array) -> Array:
        """Weights w on the kept rows, shape (k,), with w.T J = row for a row that depends on them."""
        return self.multipliers(row)

    def _basis(self) -> Array:
        return self._matrix[:, self._columns]


def row_space(J: Array) -> RowSpace:
    """Decompose a finite float64 matrix J of shape (k, p); any rank, any scale, k = 0 and p = 0 included."""
    k, p = J.shape
    peak = np.max(np.abs(J), initial=0.0)
    if peak == 0.0:
        report = RankReport(0, (k, p), 0.0, 0.0, 0.0, 0.0, ())
        return RowSpace(np.zeros((0, p)), report, np.zeros((0, p)), None, np.zeros(0, dtype=int), np.zeros(0))
    unit, exponents = in_row_units(J)
    sigma = load_scipy().svdvals(unit)
    tolerance = max(k, p) * EPS * sigma[0]
    rank = int((sigma > tolerance).sum())
    rows = np.arange(k) if rank == k else np.sort(load_scipy().qr(unit.T, mode="r", pivoting=True)[1][:rank])
    kept, exponents = unit[rows], exponents[rows]
    approximate = load_scipy().qr(kept.T, mode="economic")[0].T
    columns = np.sort(load_scipy().qr(approximate, mode="r", pivoting=True)[1][:rank])
    lu = load_scipy().lu_factor(kept[:, columns])
    condition = sigma[0] / sigma[rank - 1]
    Q = approximate
    if condition * EPS > 1e-14:
        Q = load_scipy().qr(_refined_solve(kept[:, columns], lu, kept).T, mode="economic")[0].T
    dropped = sigma[rank] if rank < sigma.size else 0.0
    tol, first, last, beyond = (float(s) for s in (tolerance, sigma[0], sigma[rank - 1], dropped))
    report = RankReport(rank, (k, p), tol, first, last, beyond, tuple(int(i) for i in rows))
    return RowSpace(np.ascontiguousarray(Q), report, kept, lu, columns, -exponents)


def load_scipy() -> Any:
    """scipy.linalg, when a decomposition is first asked for: who only reads and checks files needs none."""
    with needed_by("a decomposition"):
        import scipy.linalg

    return scipy.linalg


def half_spaces(J: Array, rhs: Array, start: Array) -> tuple[Array, Array, Array]:
    """(u, c, exponents): J (x - start) >= rhs as u x >= c, u = J in row units, c to twice the digits of floats."""
    unit, exponents = in_row_units(J)
    right = np.ldexp(rhs, -exponents)
    c = accurate_residual(unit, -start[:, None], right[:, None])[:, 0] if unit.size else right
    return unit, c, exponents


def in_row_units(J: Array) -> tuple[Array, Array]:
    """J with every row times a power of two, largest entries in [1/2, 1), and the exponents taken out; 0 for zero rows.

    Exact, and squares can neither overflow nor vanish.
    """
    exponents = np.frexp(np.max(np.abs(J), axis=1, initial=0.0))[1]
    return np.ldexp(J, -exponents[:, None]), exponents


def _scaled(values: Array, exponents: Array) -> Array:
    """values * 2^exponents, exact within the range of floats; what lies beyond (J of subnormal numbers) is cut off."""
    limit = float(np.finfo(np.float64).max)
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(np.ldexp(values, exponents), -limit, limit))


def _refined_solve(A: Array, lu: tuple[Array, Array], B: Array, transposed: bool = False) -> Array:
    """Solve A X = B to rounding, given lu of A (or of A.T): iterative refinement with accurate residuals.

    Converges while cond(A) * eps < 1, and stops when a correction no longer halves.
    """
    trans = 1 if transposed else 0
    X = load_scipy().lu_solve(lu, B, trans=trans)
    previous = np.inf
    for _ in range(20):
        correction = load_scipy().lu_solve(lu, accurate_residual(A, X, B), trans=trans)
        size = float(np.max(np.abs(correction), initial=0.0))
        if not size < previous / 2:
            break
        X = X + correction
        previous = size
        if size <= EPS * float(np.max(np.abs(X), initial=0.0)) / 4:
            break
    return np.asarray(X)


def accurate_residual(A: Array, X: Array, B: Array) -> Array:
    """B - A X with an error near 2^-100 of |A| |X| before the final rounding.

    Both factors are cut into slices of so few bits that every product of slices is exact in
    float64 BLAS (Ozaki, Ogita, Oishi, Rump, Numer. Algorithms 59, 2012); the exact products are added with
    compensation.
    """
    bits = (53 - max(int(np.ceil(np.log2(max(A.shape[1], 2)))), 1)) // 2
    count = -(-106 // bits)
    left, right = _slices(A, bits, count, axis=1), _slices(X, bits, count, axis=0)
    total, carry = np.array(B, dtype=np.float64), np.zeros_like(B)
    for order in range(count):
        for i in range(order + 1):
            product = left[i] @ right[order - i]
            new = total - product  # TwoSum: `carry` collects what the rounding of `new` loses
            part = new - total
            carry += (total - (new - part)) + (-product - part)
            total = new
    return np.asarray(total + carry)


def _slices(M: Array, bits: int, count: int, axis: int) -> list[Array]:
    """M as a sum of `count` matrices, each with at most `bits` bits below a common exponent per row (axis=1) or
    column.
    """
    rest, out = M, []
    exponent = np.frexp(np.max(np.abs(M), axis=axis, keepdims=True, initial=0.0))[1]
    for i in range(count):
        # adding and subtracting 1.5 * 2^(52+e) rounds to multiples of 2^e
        grid = np.ldexp(1.5, 52 + exponent - (i + 1) * bits)
        head = (rest + grid) - grid
        out.append(head)
        rest = rest - head
    return out
