"""Diagonal networks: two layers make the exact problem a linear program, more make it concave.

f = <w_1 * ... * w_L, x> with the predictor w = w_1 * ... * w_L has |theta|^2 >= L sum_j |w_j|^(2/L), the inequality of
arithmetic and geometric means input by input, with equality where all layers are equally large.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, at_least, below, close, worst_of
from .instances import Rng, fractions, integers
from .proofs import exactly, optimum

ROUNDING = 1e-12
"""Of sums of a few powers in floats."""


def _data(rng: Rng, n: int, m: int) -> tuple[Any, Any]:
    """Independent rows and labels that are not 0."""
    while True:
        x = integers(rng, n, m)
        y = x.dot(integers(rng, m))
        if naive.rank(x) == n and any(y):
            return x, y


def _half_square(theta: Any) -> Fraction:
    return naive.square_norm(theta) / 2


def _fitting(rng: Rng, depth: int, x: Any, y: Any) -> Any:
    """A random rational network that fits."""
    return xu.DiagonalNetwork(x.shape[1], depth).interpolating_parameters(x, y, rng)


def _vertices(x: Any, y: Any) -> list[Any]:
    """All solutions with len(x) columns at most, by Gram-Schmidt; x of full rank."""
    n, m = x.shape
    found = []
    for columns in combinations(range(m), n):
        if naive.rank(x[:, columns]) == n:
            w = fractions(np.zeros(m))
            w[list(columns)] = naive.min_norm(x[:, columns], y, n)
            found.append(w)
    return found


def _size(w: Any, depth: int) -> float:
    """(L/2) sum_j |w_j|^(2/L)."""
    return float(depth / 2 * sum(abs(float(v)) ** (2 / depth) for v in w))


def _two(rng: Rng, case: Any) -> Measurement:
    """min |w|_1 by trying every vertex, certified as a linear program; and no network that fits is smaller."""
    x, y = _data(rng, *case)
    least = naive.shortest_vertices(x, y)[0]
    proved = optimum(exactly(xu.global_problem(xu.DiagonalNetwork(x.shape[1], 2), x, y)), least)
    return worst_of([proved, *(at_least(least, _half_square(_fitting(rng, 2, x, y))) for _ in range(5))])


def _deep(rng: Rng, case: Any) -> Measurement:
    """The certified optimum against all vertices by Gram-Schmidt, in floats; and no network that fits is smaller."""
    depth, *shape = case
    x, y = _data(rng, *shape)
    found = exactly(xu.global_problem(xu.DiagonalNetwork(x.shape[1], depth), x, y))
    truth = min(_size(w, depth) for w in _vertices(x, y))
    others = (at_least(found.upper, _half_square(_fitting(rng, depth, x, y))) for _ in range(5))
    return worst_of([close(truth, float(found.upper), ROUNDING, proof="none"), *others])


def _another(rng: Rng, case: Any) -> Measurement:
    """Where the shortest w in l1 is not the best for more layers: its network is larger than the optimum."""
    depth, *shape = case
    while True:
        x, y = _data(rng, *shape)
        shortest = [np.array(w, dtype=object) for w in naive.shortest_vertices(x, y)[1]]
        every = min(_size(w, depth) for w in _vertices(x, y))
        if all(_size(w, depth) > every * (1 + 1e-6) for w in shortest):
            break
    found = exactly(xu.global_problem(xu.DiagonalNetwork(x.shape[1], depth), x, y))
    return below(min(_size(w, depth) for w in shortest), float(found.upper), margin=1e-9, proof="exact")


CLAIMS = (
    Claim(
        "diagonal-two",
        r"Diagonal networks of two layers: the least $\frac{1}{2}\|\theta\|_2^2$ is $\min\|w\|_1$, a linear program.",
        _two,
        r"$\frac{1}{2}\|\theta\|_2^2$",
        kind="ours",
        cases=((2, 5), (3, 6)),
        quick=4,
        full=50,
    ),
    Claim(
        "diagonal-deep",
        (
            r"More layers: it is $\min \frac{L}{2}\sum_j \lvert w_j\rvert^{2/L}$, concave, and a solution whose "
            "columns are independent attains it."
        ),
        _deep,
        r"$\frac{1}{2}\|\theta\|_2^2$",
        kind="ours",
        cases=((3, 2, 5), (4, 3, 6), (6, 2, 6)),
        quick=4,
        full=50,
    ),
    Claim(
        "diagonal-another",
        r"For more layers the shortest $w$ in $\ell_1$ need not be the best.",
        _another,
        r"$\frac{1}{2}\|\theta\|_2^2$ (of the $\ell_1$ solution, least)",
        kind="assumption",
        cases=((3, 2, 5), (6, 3, 6)),
        quick=3,
        full=30,
        assumptions=("broken: two layers",),
    ),
)
