"""The exact integer image of a problem, and how its rows depend on each other.

Every float is a dyadic rational, so a problem in floats has one exact meaning; here it is, on the free coordinates M:

    s_i A_i x_M = s_i q_i    for every row i,      q = A theta*_M + rhs / s

with integer rows A_i and rational scales s_i > 0.  Frozen coordinates stay at theta*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from exact_unlearn.certify.exactlin import (
    IntMatrix,
    Rationals,
    common_denominator,
    integer_rows,
    row_basis,
    solve,
    zeros,
)
from exact_unlearn.jacobian import Array, ProductJacobian, to_rational
from exact_unlearn.problem import UnlearningProblem


@dataclass(frozen=True, eq=False)
class Image:
    """minimise F(x) subject to A x = q, with integers A (k, n) and rationals q (k,), on the n free coordinates.

    theta: (d,) Fractions, theta* everywhere.  free: (n,) positions of the free coordinates.  scales: row i of J
    is scales[i] * A[i].  at_least: rows that read >=; each has a slack, a further coordinate of at least 0
    with one entry -2^e in A, so that A [x, slacks] = q for all rows.
    """

    theta: Array
    free: Array
    A: IntMatrix
    scales: list[Fraction]
    q: list[Fraction]
    at_least: tuple[int, ...] = ()

    @property
    def theta_free(self) -> list[Fraction]:
        return list(self.theta[self.free])

    def own(self, x: Rationals) -> Rationals:
        """x without the slacks."""
        return Rationals(x.nums[: self.free.size], x.den)

    def with_slacks(self, x: Rationals) -> Rationals:
        """x on the free coordinates, and what makes equations of the rows that read >=."""
        if not self.at_least:
            return x
        excess = self.residuals(x, list(self.at_least))
        units = [-int(self.A.ints[row, self.free.size + k]) for k, row in enumerate(self.at_least)]
        slacks = Rationals.of([value / unit for value, unit in zip(excess, units, strict=True)])
        den = math.lcm(x.den, slacks.den)
        return Rationals(np.concatenate([x.nums * (den // x.den), slacks.nums * (den // slacks.den)]), den)

    @property
    def start_fits(self) -> bool:
        """Whether theta* satisfies all rows."""
        excess = self.residuals(Rationals.of(self.theta_free))
        return not any(v < 0 if row in self.at_least else v != 0 for row, v in enumerate(excess))

    @cached_property
    def rows(self) -> list[int]:
        """Linearly independent rows of A: those with a slack, which no other row has, and of the equations a basis."""
        equations = sorted(set(range(len(self.q))) - set(self.at_least))
        return sorted([*self.at_least, *(equations[k] for k in row_basis(self.A.rows(equations)))])

    @cached_property
    def basis(self) -> IntMatrix:
        """A on those rows."""
        return self.A.rows(self.rows)

    def residuals(self, x: Rationals, rows: list[int] | None = None) -> list[Fraction]:
        """A x - q on `rows` (default: all), slacks being 0 where x has none."""
        chosen = list(range(len(self.q))) if rows is None else rows
        A = self.A.rows(chosen)
        values = (A if len(x) == A.shape[1] else A.columns(range(len(x)))).apply(x.nums)
        return [Fraction(value, x.den) - self.q[i] for value, i in zip(values.tolist(), chosen, strict=True)]

    def dependencies(self) -> list[tuple[list[Fraction], Fraction]]:
        """For every dependent row i, nu with nu_i = +-1 and J.T nu = 0 on the free coordinates, and <nu, b> >= 0.

        Where the latter is positive, nu is a Farkas vector: it proves that no parameters fit, for the row is a
        combination of the independent ones, and its right side is not.
        """
        dependent = [i for i in range(len(self.q)) if i not in set(self.rows)]
        if not dependent:
            return []
        columns = row_basis(self.basis.T)
        square = self.basis.columns(columns).T
        weights = solve(square, *(self.A.ints[i, columns] for i in dependent))
        found = []
        for i, w in zip(dependent, weights, strict=True):
            excess = self.q[i] - sum((w[j] * self.q[row] for j, row in enumerate(self.rows)), Fraction(0))
            nu = [Fraction(0)] * len(self.q)
            sign = 1 if excess >= 0 else -1
            nu[i] = Fraction(sign)
            for j, row in enumerate(self.rows):
                nu[row] = -sign * w[j] * self.scales[i] / self.scales[row]
            found.append((nu, abs(excess) * self.scales[i]))
        return found


def image(problem: UnlearningProblem, rows: list[int] | None = None, pinned: bool = False) -> Image:
    """The exact image of a problem; `rows` keeps some of its constraints only, `pinned` lets nothing move."""
    rhs = to_rational(problem.rhs)
    chosen = list(range(rhs.size)) if rows is None else rows
    free = np.flatnonzero(problem.free & (not pinned))
    if isinstance(problem.jacobian, ProductJacobian):
        A, scales = product_rows(problem.jacobian, free, chosen)
    else:
        A, scales = integer_rows(np.asarray(problem.free_matrix())[chosen][:, [] if pinned else slice(None)])
    theta = to_rational(problem.theta_star)
    q = right_side(A, scales, theta[free], list(rhs[chosen]))
    at_least = tuple(np.flatnonzero(problem.at_least[chosen]).tolist())
    return Image(theta, free, slack_columns(A, at_least), scales, q, at_least)


def slack_columns(A: IntMatrix, at_least: tuple[int, ...]) -> IntMatrix:
    """A with one more column per row that reads >=: minus a power of two of the size of its largest entry."""
    if not at_least:
        return A
    more = zeros((A.shape[0], len(at_least)))
    for k, row in enumerate(at_least):
        more[row, k] = -(1 << max((abs(v) for v in A.ints[row].tolist()), default=0).bit_length())
    return IntMatrix(np.concatenate([A.ints, more], axis=1))


def product_rows(jacobian: ProductJacobian, free: Array, rows: list[int]) -> tuple[IntMatrix, list[Fraction]]:
    """Rows V[:, o] x X[i] of a product, multiplied out without rounding."""
    outputs = jacobian.V.shape[1]
    V, v_scales = integer_rows(np.ascontiguousarray(jacobian.V.T))
    X, x_scales = integer_rows(jacobian.X)
    within = (free >= jacobian.block.start) & (free < jacobian.block.stop)
    unit, entry = np.divmod(np.where(within, free - jacobian.block.start, 0), jacobian.X.shape[1])
    ints = zeros((len(rows), free.size))
    for k, row in enumerate(rows):
        i, o = divmod(row, outputs)
        ints[k] = np.where(within, V.ints[o, unit] * X.ints[i, entry], 0)
    return IntMatrix(ints), [x_scales[row // outputs] * v_scales[row % outputs] for row in rows]


def right_side(A: IntMatrix, scales: list[Fraction], theta: Array, rhs: list[Fraction]) -> list[Fraction]:
    """q = A theta* + rhs / s."""
    nums, den = common_denominator(list(theta))
    values = A.apply(nums).tolist() if nums else [0] * A.shape[0]
    return [Fraction(v, den) + b / s for v, b, s in zip(values, rhs, scales, strict=True)]
