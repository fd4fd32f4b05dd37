"""Least squares over multipliers that are not negative: the shortest vector c + M a with a >= 0.

Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23): columns enter one by one where they shorten the
vector, and leave where their multipliers would become negative.  In floats to find out which columns take part, and
over the rationals from there, where the method ends because nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.exactlin import IntMatrix, Rationals, SingularMatrixError, objects, solve
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.jacobian import Array

STEPS = 100
"""Columns that enter, per column of M."""


def shortest(M: Array, c: Array, least: float = 1e-12) -> Array:
    """a (n,) in floats.  least: what a column must gain to enter, relative to its length and |c|."""
    lengths = np.linalg.norm(M, axis=0)
    unit = M / np.where(lengths > 0, lengths, 1.0)
    size = float(np.linalg.norm(c)) or 1.0

    def fitted(chosen: list[int]) -> Array:
        return np.asarray(np.linalg.lstsq(unit[:, chosen], -c, rcond=None)[0])

    def gains(a: Array) -> Array:
        return np.asarray(np.where(lengths > 0, -(unit.T @ (c + unit @ a)), -np.inf))

    a = _lawson_hanson(fitted, gains, np.zeros(M.shape[1]), least * size)
    return np.asarray(a / np.where(lengths > 0, lengths, 1.0))


def shortest_exactly(M: IntMatrix, c: Rationals, guess: list[Fraction]) -> list[Fraction]:
    """a (n,) as rationals.  guess (n,): where the method starts, >= 0.

    FaceError where the columns of the guess depend on each other.
    """
    gram, pulls = M.T.ints @ M.ints, M.T.apply(c.nums)

    def fitted(chosen: list[int]) -> Array:
        try:
            found = solve(IntMatrix(gram[np.ix_(chosen, chosen)]), -pulls[chosen])[0]
        except SingularMatrixError as error:
            raise FaceError("multipliers that depend on each other") from error
        return objects([v / c.den for v in found.fractions()])

    def gains(a: Array) -> Array:
        current = Rationals.of(a.tolist())
        return -(pulls * current.den + (gram @ current.nums) * c.den)

    return [Fraction(v) for v in _lawson_hanson(fitted, gains, objects(guess), 0).tolist()]


def _lawson_hanson(
    fitted: Callable[[list[int]], Array], gains: Callable[[Array], Array], a: Array, least: Any
) -> Array:
    """fitted: the best multipliers of the chosen columns alone.  gains: half of what a unit of each column gains."""
    chosen, entering = np.flatnonzero(a > 0).tolist(), -1
    for _ in range(STEPS * (a.size + 1)):
        while chosen:  # to the best multipliers, or until one of them vanishes on the way
            best = fitted(chosen)
            ends = {j: a[j] / (a[j] - b) if a[j] else a[j] for j, b in zip(chosen, best, strict=True) if b <= 0}
            if not ends:
                a[chosen] = best
                break
            way = min(ends.values())
            if entering in ends and not way:  # rounding
                a[entering] = way
                return a
            a[chosen] = a[chosen] + way * (best - a[chosen])
            for j, end in ends.items():
                if end <= way:
                    a[j] = end * 0
            chosen = [j for j in chosen if a[j] > 0]
        gain = gains(a)
        gain[chosen] = gain[chosen] * 0
        if not gain.size or max(gain) <= least:
            return a
        entering = int(np.argmax(gain))
        chosen = sorted([*chosen, entering])
    raise FaceError("no multipliers were found that are not negative")
