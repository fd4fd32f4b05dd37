"""The least width itself, one input and a bias, first layer free: by trying every set of shapes, and certified.

On the samples x_1 < ... < x_n a neuron c relu(a x + b) has one of 4 (n - 1) + 2 shapes: its kink lies in one of the
intervals, it is active on the right or on the left of it, and c has a sign; or it is active on all samples.  Neurons of
one shape form a cone with two edges, those with a kink at either end of the interval (for the last kind: x - x_1 and
x_n - x); their sums are again of that shape, so one neuron per shape is enough.  So the least width is the least number
of shapes whose edges have a combination without negative weights that gives the labels.  No affine part is given away.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, above, at_least, at_most, equal, worst_of
from .instances import Rng, fractions
from .proofs import exactly
from .section_4_3 import kinks, narrowest, samples, zigzag


def shapes(x: Any) -> list[list[Any]]:
    """The edges of every shape, by their values on the samples; edges that are 0 there are left out."""
    phi = naive.activation("relu")
    pairs = []
    for left, right in pairwise(x):
        pairs.append([[phi(t - place) for t in x] for place in (left, right)])
        pairs.append([[phi(place - t) for t in x] for place in (left, right)])
    pairs.append([[t - x[0] for t in x], [x[-1] - t for t in x]])
    return [[[s * v for v in edge] for edge in pair if any(edge)] for pair in pairs for s in (1, -1)]


def least_width(x: Any, y: Any) -> int:
    """The least number of neurons, by trying every set of shapes, from the smallest."""
    every = shapes(x)
    for size in range(len(x) + 1):
        for chosen in combinations(every, size):
            if naive.in_cone([edge for pair in chosen for edge in pair], y):
                return size
    raise AssertionError("n neurons fit n samples")


def _labels(rng: Rng, n: int) -> tuple[Any, Any]:
    """Samples with labels that zigzag, or with any."""
    x, y = (zigzag if rng.integers(2) else samples)(rng, n)
    return x, y


def _width(rng: Rng, case: Any) -> Measurement:
    """The least number of shapes against the narrowest network of the integer program, which fits exactly, and against
    the number of kinks: K, K + 1 or K + 2, and at most n_r.
    """
    x, y = _labels(rng, case)
    least, found, bound = least_width(x, y), len(narrowest(x, y)), kinks(x, y)
    return worst_of([equal(least, found), at_least(bound, least), at_most(min(bound + 2, case), least)])


def _certified(rng: Rng, case: Any) -> Measurement:
    """As a count of groups of weights >= 0, proved by a Farkas vector for every set of groups that does not fit."""
    x, y = _labels(rng, case)
    every = shapes(x)
    G = np.array([edge for pair in every for edge in pair], dtype=object).T
    shape_of = [i for i, pair in enumerate(every) for _ in pair]
    n, d = G.shape
    J, rhs = np.concatenate([G, fractions(np.eye(d))]), np.concatenate([y, fractions(np.zeros(d))])
    zero = fractions(np.zeros(d))
    problem = xu.UnlearningProblem(zero, J, xu.L0(np.array(shape_of)), rhs=rhs, at_least=np.arange(n + d) >= n)
    return equal(least_width(x, y), exactly(problem).upper)


def _one_kink_each(rng: Rng, case: Any) -> Measurement:
    """Counted in kinks alone, the affine part for nothing, some sets would need fewer neurons than they do."""
    x, y = zigzag(rng, case)
    return above(kinks(x, y), least_width(x, y))


CLAIMS = (
    Claim(
        "true-width",
        (
            "The least width with $A$ free, one input and a bias, by trying every set of shapes: what the integer "
            "program finds, between $K$ and $K + 2$, at most $n_r$."
        ),
        _width,
        "neurons",
        kind="ours",
        cases=(3, 4, 5),
        quick=3,
        full=25,
    ),
    Claim(
        "true-width-certified",
        "As a count of groups it is certified.",
        _certified,
        "neurons",
        kind="ours",
        cases=(3,),
        quick=2,
        full=25,
    ),
    Claim(
        "true-width-affine",
        "The affine part is not for nothing: labels that zigzag need more neurons than kinks.",
        _one_kink_each,
        "kinks, neurons",
        kind="assumption",
        cases=(3, 4),
        quick=5,
        full=50,
        assumptions=("broken: a network may have an affine part besides",),
    ),
)
