"""A.T y with big multipliers: approximately for all coordinates, exactly for those that need it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from exact_unlearn.certify.exactlin import IntMatrix, Rationals, objects, zeros

GUARD_BITS = 192
"""Multipliers are cut to this many bits; the error is bounded, and ties are decided with all digits."""


class Pull:
    """A.T y: approximately for all coordinates, exactly for those that need it."""

    def __init__(self, A: IntMatrix, y: Rationals) -> None:
        self.A, self.y = A, y
        size = max((abs(v).bit_length() for v in y.nums.tolist()), default=0) - y.den.bit_length()
        self.shift = max(GUARD_BITS - size, 8)
        cut = objects([(v << self.shift) // y.den for v in y.nums.tolist()])
        self.values = A.T.apply(cut) if A.shape[0] else zeros(A.shape[1])
        # every entry of `cut` is off by less than 1
        self.error = np.abs(A.ints).sum(axis=0) if A.shape[0] else zeros(A.shape[1])
        self._known: dict[int, Fraction] = {}

    def exact(self, i: int) -> Fraction:
        if i not in self._known:
            column = self.A.ints[:, i]
            self._known[i] = Fraction(int((column * self.y.nums).sum()) if column.size else 0, self.y.den)
        return self._known[i]

    def compare(self, index: list[int], bounds: list[int | None], sign: int) -> list[int]:
        """The sign of sign * (pull_i - bound_i); 1 where there is no bound."""
        known = [(i, b) for i, b in zip(index, bounds, strict=True) if b is not None]
        decided = iter(self.compare_ratios([i for i, _ in known], [(b, 1) for _, b in known], [sign] * len(known)))
        return [1 if b is None else next(decided) for b in bounds]

    def compare_ratios(self, index: list[int], bounds: list[tuple[int, int]], signs: list[int]) -> list[int]:
        """The sign of signs_i * (pull_i - numerator_i / denominator_i)."""
        out = []
        for i, (num, den), sign in zip(index, bounds, signs, strict=True):
            difference = self.values[i] - ((num << self.shift) // den)
            if abs(difference) <= self.error[i] + 1:
                exact = self.exact(i) - Fraction(num, den)
                out.append(sign * ((exact > 0) - (exact < 0)))
            else:
                out.append(sign if difference > 0 else -sign)
        return out
