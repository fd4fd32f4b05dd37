"""Diagonal networks of three or more layers: their exact problem is concave, so a vertex solves it, and all are tried.

With the predictor w = w_1 * ... * w_L the least 1/2 |theta|^2 is (L/2) sum_j |w_j|^(2/L), which is concave on every
orthant for L >= 2.  {w : X w = y} cut with an orthant is a polyhedron without a line, so a least value is attained at a
vertex: a solution whose columns of X are independent.  There are finitely many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from exact_unlearn import rational, summary
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, to_float, to_rational
from exact_unlearn.models import DiagonalNetwork
from exact_unlearn.models.layout import inputs, targets

SETS = 20_000
"""Sets of columns that are tried at most: some ten seconds."""

BITS = 400
"""Of roots: two values that agree to that many are called tied."""


@dataclass(frozen=True, eq=False, repr=False)
class DiagonalMinimum(summary.Summarised):
    """The least 1/2 |theta|^2 of a diagonal network that fits, found by trying every vertex in exact arithmetic.

    model: the network.  predictors: (t, m) Fractions, the vertices with the least value; more than one where they tie.
    lower, upper: rationals that enclose the value, 120 digits apart.  theta: (d,) floats, a network of the first
    predictor.  vertices: how many different ones there are.

    The naive twin of `certify` for `global_problem` of such a network, which has a certificate.
    """

    model: DiagonalNetwork
    predictors: Array
    lower: Fraction
    upper: Fraction
    theta: Array
    vertices: int

    @property
    def value(self) -> float:
        """1/2 |theta|^2, rounded."""
        return float(self.upper)

    def lines(self) -> summary.Lines:
        """Value and how it was found."""
        tied = "" if len(self.predictors) == 1 else f", {len(self.predictors)} of them with this value"
        return [("enumerated", f"1/2 |theta|^2 = {self.value:.15g}, the least of {self.vertices} vertices{tied}")]


def diagonal_minimum(model: DiagonalNetwork, x_retain: Any, y_retain: Any, limit: int = SETS) -> DiagonalMinimum:
    """The exact unlearning problem of a diagonal network, min 1/2 |theta|^2 subject to f(theta, X) = y, solved.

    model: depth L >= 2.  `global_problem` makes an ordinary problem of it, with a certificate; this lists all vertices
    of the least value besides, and is slower.  x_retain: (n_r, m); y_retain: (n_r,) or (n_r, 1); dependent, zero and
    repeated samples are ordinary, floats are taken as the rationals they are.  limit: on the sets of rank X columns,
    C(m, rank X).

    Raises ProblemError, one sentence, on another model, on depth 1, beyond the limit, and where nothing fits.

    >>> import exact_unlearn as xu
    >>> from exact_unlearn.models import DiagonalNetwork
    >>> xu.diagonal_minimum(DiagonalNetwork(2, depth=3), [[1.0, 2.0]], [2.0])
    <DiagonalMinimum: 1/2 |theta|^2 = 1.5, the least of 2 vertices>
    """
    if not isinstance(model, DiagonalNetwork):
        raise ProblemError(f"model: expected a DiagonalNetwork, got {type(model).__name__}")
    if model.depth == 1:
        raise ProblemError("model: a network of depth 1 is the linear model, whose problem is convex: exact_problem")
    x = inputs(x_retain, model.n_inputs, "x_retain")
    y = targets(y_retain, len(x), 1, "y_retain")[:, 0]
    X, b = to_rational(x), to_rational(y)
    if rational.solve(X, b) is None:
        raise ProblemError("y_retain: X w = y has no solution, so no diagonal network fits")
    rows = list(rational.independent_rows(X))
    sets = math.comb(model.n_inputs, len(rows))
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
        raise ProblemError(f"limit: expected an integer >= 1, got {limit!r:.80}")
    if sets > limit:
        raise ProblemError(f"x_retain: {sets} sets of columns are more than the {limit} that are tried; raise `limit`")
    every = _vertices(X[rows], b[rows])
    sums = [_quasinorm(w, model.depth, BITS) for w in every]
    smallest = min(upper for _, upper in sums)
    tied = [w for w, (lower, _) in zip(every, sums, strict=True) if lower <= smallest]
    half = Fraction(model.depth, 2)
    predictors = np.array(tied, dtype=object).reshape(len(tied), model.n_inputs)
    lowest = min(lower for lower, _ in sums)
    return DiagonalMinimum(
        model, predictors, half * lowest, half * smallest, _theta(model, to_float(predictors[0])), len(every)
    )


def _vertices(X: Array, b: Array) -> list[tuple[Fraction, ...]]:
    """All solutions of X w = b with independent columns, each once; X: (r, m) of rank r."""
    r, m = X.shape
    found: dict[tuple[Fraction, ...], None] = {}
    for columns in combinations(range(m), r):
        part = rational.solve(X[:, columns], b)
        if part is not None:
            w = [Fraction(0)] * m
            for j, value in zip(columns, part, strict=True):
                w[j] = value
            found[tuple(w)] = None
    return list(found)


def _quasinorm(w: tuple[Fraction, ...], depth: int, bits: int) -> tuple[Fraction, Fraction]:
    """Rationals that enclose sum_j |w_j|^(2/L), L = depth."""
    squares = [value * value for value in w if value]
    roots = [root(square, depth, bits) for square in squares]
    inexact = sum(power**depth != square for power, square in zip(roots, squares, strict=True))
    lower = sum(roots, start=Fraction(0))
    return lower, lower + Fraction(inexact, 1 << bits)


def root(value: Fraction, degree: int, bits: int) -> Fraction:
    """The largest multiple of 2^-bits, or an exact root, that is no larger than value^(1/degree)."""
    exact = Fraction(_integer_root(value.numerator, degree), _integer_root(value.denominator, degree))
    if exact**degree == value:
        return exact
    return Fraction(_integer_root((value.numerator << degree * bits) // value.denominator, degree), 1 << bits)


def _integer_root(value: int, degree: int) -> int:
    """floor(value^(1/degree)) of an integer >= 0, by Newton's iteration from above."""
    if value < 2:
        return value
    root = 1 << -(-value.bit_length() // degree)
    while True:
        smaller = ((degree - 1) * root + value // root ** (degree - 1)) // degree
        if smaller >= root:
            return root
        root = smaller


def _theta(model: DiagonalNetwork, w: Array) -> Array:
    """Parameters of the least norm with this predictor: every layer has |w_j|^(1/L), the first one also the signs."""
    layer = np.abs(w) ** (1 / model.depth)
    layers = [np.sign(w) * layer, *[layer] * (model.depth - 1)]
    return model.join({f"w{i}": entries for i, entries in enumerate(layers, start=1)})
