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

FITS = 1e-7
"""Features of groups that are chosen add up to b but for this."""

ALIKE = 1e-3
"""Features that combinations of others equal but for this may depend on them: directions are less certain than b."""


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
        return np.asarray(-(pulls * current.den + (gram @ current.nums) * c.den))

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


def vertex(features: Array, b: Array, also: list[int]) -> Array:
    """Sizes >= 0 of features (r, n) that add up to b, independent ones; those of `also` take the place of others."""
    sizes = shortest(features, -b, FITS)
    for at in (at for at in also if not sizes[at]):
        others = np.flatnonzero(sizes > 0)
        share, rest = _combination(features[:, others], features[:, at])
        if rest > ALIKE or not (share > ALIKE).any():
            continue
        ends = np.where(share > ALIKE, sizes[others] / np.where(share > ALIKE, share, 1.0), np.inf)
        sizes[at] = float(ends.min())
        sizes[others] -= sizes[at] * share
        sizes[others[np.argmin(ends)]] = 0.0
    return sizes


def centre(features: Array, sizes: Array) -> tuple[Array, list[int]]:
    """Sizes with all that belongs to one feature in one place, and which features depend on larger ones."""
    sizes, lengths = sizes.copy(), np.linalg.norm(features, axis=0)
    kept: list[int] = []
    held: list[int] = []
    for at in np.argsort(-sizes * lengths, kind="stable").tolist():
        unit = features[:, at] / (lengths[at] or 1.0)
        same = [k for k in (*kept, *held) if np.linalg.norm(features[:, k] / lengths[k] - unit) <= ALIKE]
        if same:
            sizes[same[0]] += sizes[at] * lengths[at] / lengths[same[0]]
            sizes[at] = 0.0
        elif sizes[at] * lengths[at] <= ALIKE * float(np.max(sizes * lengths)):
            sizes[at] = 0.0
        else:
            (held if kept and _combination(features[:, kept], unit)[1] <= ALIKE else kept).append(at)
    return sizes, held


def _combination(columns: Array, column: Array) -> tuple[Array, float]:
    """Coefficients of the columns that give the column, nearly, and what is left of it, relatively."""
    share = np.linalg.lstsq(columns, column, rcond=1e-10)[0]
    return share, float(np.linalg.norm(columns @ share - column)) / (float(np.linalg.norm(column)) or 1.0)
