"""Exact solution of the linear systems of optimality: K x + c = A.T y, A x = p.

Coordinates with curvature K_i > 0 are eliminated, which leaves

    [ G    g A0 ] [y]   [ g p + push ]         G = g A_+ K_+^-1 A_+.T,   push = g A_+ K_+^-1 c_+,   g = lcm(K_+),
    [ g A0.T  0 ] [x0] = [ g c0 ]

with integers.  The system may be singular and consistent: then a nonsingular principal part is solved, and the other
unknowns keep guessed values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from exact_unlearn.certify.exactlin import (
    IntMatrix,
    Rationals,
    SingularMatrixError,
    objects,
    product,
    row_basis,
    solve,
    zeros,
)
from exact_unlearn.jacobian import Array

MAX_BITS = 400_000
"""Exactness is not attempted for solutions longer than this (rows times the bits of an entry)."""


class FaceError(ArithmeticError):
    """The equations of a face contradict each other: the guess of the face was wrong."""


class TooManyDigitsError(ArithmeticError):
    """The exact solution exists, but writing it down would take too long (many distinct weights)."""


class Kkt:
    """K x + c = A_F.T y, A_F x = p for the coordinates F = `free`, to be solved for several p and c.

    A: (r, n).  curvature: (n,) integers >= 0.  guess: x (n,), y (r,) and their common exponent, for what is
    undetermined.
    """

    def __init__(
        self, A: IntMatrix, curvature: Sequence[int], free: Array, guess: tuple[Array, Array, int] | None = None
    ) -> None:
        self.A = A
        curved = np.array([curvature[i] != 0 for i in free], dtype=bool)
        self.is_flat = ~curved
        self.flat, self.curved = free[~curved], free[curved]
        self.K = [curvature[i] for i in self.curved]
        self.bend = math.lcm(1, *self.K)
        if A.shape[0] * (A.bits + self.bend.bit_length()) > MAX_BITS:
            raise TooManyDigitsError(f"{A.shape[0]} rows of {A.bits + self.bend.bit_length()} bits")
        gram = self._gram() if self.curved.size else None
        flat = A.columns(self.flat)
        if guess is None:
            x, y, bits = zeros(self.flat.size), zeros(A.shape[0]), 0
        else:
            x, y, bits = guess[0][self.flat], guess[1], guess[2]
        self.core = _Core(flat, gram, self.bend, y, x, bits)

    @property
    def determined(self) -> bool:
        """Whether the solution is unique."""
        return len(self.core.rows) == self.A.shape[0] and len(self.core.columns) == self.flat.size

    def _gram(self) -> IntMatrix:
        groups: dict[int, list[int]] = {}
        for i, k in zip(self.curved.tolist(), self.K, strict=True):
            groups.setdefault(k, []).append(i)
        total = zeros((self.A.shape[0],) * 2)
        for k, index in groups.items():
            part = self.A.columns(index)
            total = total + product(part, part.T).ints * (self.bend // k)
        return IntMatrix(total)

    def solve(
        self, p: Array, c: Array, den: int = 1, core: _Core | None = None, homogeneous: bool = False
    ) -> tuple[Rationals, Rationals]:
        """y (r,) and x on the flat free coordinates for right sides p / den (r,) and c / den (over F).

        core: a variant with further flat columns, whose right sides end c.
        """
        (found,) = (core or self.core).solve([self._right(p, c)], den, homogeneous)
        return found

    def solve_all(self, rights: Sequence[tuple[Array, Array]]) -> list[tuple[Rationals, Rationals]]:
        """`solve` for several (p, c), which together cost little more than one."""
        return self.core.solve([self._right(p, c) for p, c in rights], 1)

    def _right(self, p: Array, c: Array) -> tuple[Array, Array]:
        """The right sides of the core."""
        own, tail = c[: self.is_flat.size], c[self.is_flat.size :]
        right = p * self.bend
        if self.curved.size:
            inverse = objects([self.bend // k for k in self.K])
            right = right + self.A.columns(self.curved).apply(own[~self.is_flat] * inverse)
        return right, objects([*own[self.is_flat], *tail])

    def expand(self, y: Rationals, flat: Rationals, c: Array, den: int = 1) -> Rationals:
        """x on all of F: the flat ones as solved, the others from x = (A.T y - c / den) / K."""
        if not self.curved.size:
            return flat
        common = math.lcm(flat.den, y.den * den * self.bend)
        out = zeros(self.is_flat.size)
        if self.flat.size:
            out[self.is_flat] = flat.nums * (common // flat.den)
        inverse = objects([self.bend // k for k in self.K])
        pull = self.A.columns(self.curved).T.apply(y.nums) * den - c[~self.is_flat] * y.den
        out[~self.is_flat] = pull * inverse * (common // (y.den * den * self.bend))
        return Rationals(out, common)


class _Core:
    """[G, gA; gA.T, 0] [y; x] = [p; g c], with g = bend, for many right sides; singular but consistent systems
    included.

    A: (r, n0) flat columns; G: (r, r) or None for zero.  Undetermined unknowns take the guessed values (0 for
    homogeneous solves).
    """

    def __init__(self, A: IntMatrix, G: IntMatrix | None, bend: int, y: Array, x: Array, bits: int) -> None:
        self.A, self.G, self.bend = A, G, bend
        self.y_guess, self.x_guess, self.bits = y, x, bits
        # columns with large guesses first: they become the determined ones, and the small rest keeps its guess
        order = sorted(range(len(x)), key=lambda i: -abs(x[i]))
        basis = row_basis(A.T.rows(order)) if len(x) else []
        self.columns = [order[k] for k in basis]
        self.rows = self._choose_rows()

    def _choose_rows(self) -> list[int]:
        """Multipliers that the equations determine."""
        r, B = self.A.shape[0], self.A.columns(self.columns)
        if self.G is None:
            return row_basis(B) if self.columns else []
        if not self.columns:
            return row_basis(self.G)
        top = np.concatenate([B.T.ints, zeros((len(self.columns),) * 2)], axis=1)
        bottom = np.concatenate([self.G.ints, B.ints], axis=1)
        found = row_basis(IntMatrix(np.concatenate([top, bottom])))
        return [i - len(self.columns) for i in found if i >= len(self.columns)][:r]

    def spare_row(self, a: Array) -> int | None:
        """A row that only the further column `a` would determine, or None if all rows are determined already."""
        r = self.A.shape[0]
        if len(self.rows) == r:
            return None
        outside = [i for i in range(r) if i not in set(self.rows)]
        # any such row works if `a` is independent of what is there; prefer a large entry
        return max(outside, key=lambda i: abs(a[i]))

    def with_unit(self, row: int) -> _Core:
        """The same system with one more flat column, the unit vector of `row`."""
        unit = zeros((self.A.shape[0], 1))
        unit[row, 0] = 1
        A = IntMatrix(np.concatenate([self.A.ints, unit], axis=1))
        x = objects([*self.x_guess.tolist(), 0])
        return _Core(A, self.G, self.bend, self.y_guess, x, self.bits)

    def solve(
        self, rights: Sequence[tuple[Array, Array]], den: int, homogeneous: bool = False
    ) -> list[tuple[Rationals, Rationals]]:
        """y and x with G y + g A x = p / den, A.T y = c / den, for every (p, c).  (p carries the factor g.)

        FaceError if one of them is inconsistent.
        """
        y = zeros(self.A.shape[0]) if homogeneous else self.y_guess.copy()
        x = zeros(self.A.shape[1]) if homogeneous else self.x_guess.copy()
        one = 1 if homogeneous else 1 << self.bits
        y[self.rows], x[self.columns] = 0, 0
        scale = one * den
        # multiply every unknown by `scale`, so that the right sides are integers
        taken = self._times(y, x) * den
        pulled = (self.A.T.apply(y) if self.A.shape[1] else zeros(0)) * den
        tops = [(p * one - taken)[self.rows] for p, _ in rights]
        sides = [(c * one - pulled)[self.columns] for _, c in rights]
        try:
            solved = self._determined(tops, sides)
        except SingularMatrixError as error:
            raise FaceError("dependent equations on this face") from error
        found = []
        for (p, c), (y_rows, x_columns) in zip(rights, solved, strict=True):
            out_y = _merge(y, one, self.rows, y_rows, scale)
            out_x = _merge(x, one, self.columns, x_columns, scale)
            self._verify(out_y, out_x, p, den, c)
            found.append((out_y, out_x))
        return found

    def _times(self, y: Array, x: Array) -> Array:
        total = self.A.apply(x) * self.bend if self.A.shape[1] else zeros(self.A.shape[0])
        return total if self.G is None else total + self.G.apply(y)

    def _determined(self, tops: list[Array], sides: list[Array]) -> list[tuple[Rationals, Rationals]]:
        """The nonsingular principal part."""
        nothing = [Rationals(zeros(0), 1)] * len(tops)
        B = self.A.rows(self.rows).columns(self.columns)
        if self.G is None:
            xs = solve(B, *tops) if self.rows else nothing
            ys = solve(B.T, *sides) if self.rows else nothing
            return [(y, Rationals(x.nums, x.den * self.bend)) for y, x in zip(ys, xs, strict=True)]
        G = self.G.rows(self.rows).columns(self.rows)
        if not self.columns:
            return list(zip(solve(G, *tops), nothing, strict=True))
        n, k = len(self.columns), len(self.rows)
        big = np.concatenate(
            [
                np.concatenate([G.ints, B.ints * self.bend], axis=1),
                np.concatenate([B.T.ints * self.bend, zeros((n, n))], axis=1),
            ]
        )
        rights = [objects([*top, *(side * self.bend)]) for top, side in zip(tops, sides, strict=True)]
        return [(Rationals(z.nums[:k], z.den), Rationals(z.nums[k:], z.den)) for z in solve(IntMatrix(big), *rights)]

    def _verify(self, y: Rationals, x: Rationals, p: Array, den: int, c: Array) -> None:
        """The equations that were not solved must hold as well."""
        r, n = self.A.shape
        if len(self.rows) < r:
            others = [i for i in range(r) if i not in set(self.rows)]
            left = self.A.rows(others).apply(x.nums) * (self.bend * y.den) if n else zeros(len(others))
            if self.G is not None:
                left = left + self.G.rows(others).apply(y.nums) * x.den
            if any(left * den != p[others] * (x.den * y.den)):
                raise FaceError("no feasible point on this face")
        if len(self.columns) < n:
            others = [j for j in range(n) if j not in set(self.columns)]
            if any(self.A.columns(others).T.apply(y.nums) * den != c[others] * y.den):
                raise FaceError("no multipliers on this face")


def _merge(values: Array, one: int, index: list[int], solved: Rationals, scale: int) -> Rationals:
    """values / one, with entries `index` replaced by solved / scale."""
    den = math.lcm(one, solved.den * scale)
    nums = values * (den // one)
    if index:
        nums[index] = solved.nums * (den // (solved.den * scale))
    return Rationals(nums, den).reduced()
