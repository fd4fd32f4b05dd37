"""Section 4.3: how many relu neurons fit a retain set if the first layer is free, in one dimension with a bias.

f(x) = sum_i c_i relu(a_i x + b_i) is piecewise linear, with at most one kink per neuron.  On samples x_1 < ... < x_n
let D_i be the second differences, slope_i+1 - slope_i.  Where D_i > 0 some kink in (x_i-1, x_i+1) bends upwards; one
kink between x_i and x_i+1 can serve D_i and D_i+1 if both have its sign, and no kink serves more.  So a run of r second
differences of one sign needs ceil(r/2) kinks of its own: their sum K is a lower bound for every network, and K kinks
suffice for the function.  Its affine part costs at most two neurons more.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, Result, at_least, at_most, below, equal, worst_of
from .instances import Rng, fractions, integers

BOUND = 1e4
"""On the weights of a neuron in the integer program; it can only make the width found larger, never wrong."""


def kinks(x: Any, y: Any) -> int:
    """K: the least number of kinks of a piecewise linear function through the samples, x ascending."""
    slopes = [(b - a) / (d - c) for a, b, c, d in zip(y, y[1:], x, x[1:], strict=False)]
    signs = [(b > a) - (b < a) for a, b in pairwise(slopes)]
    count, run = 0, 0
    for before, sign in zip([0, *signs], [*signs, 0], strict=True):
        if before != sign:
            count, run = count + (run + 1) // 2, 0
        run += sign != 0
    return count


def _evaluate(neurons: Any, x: Any) -> list[Fraction]:
    """f from its definition; neurons: (c, a, b)."""
    phi = naive.activation("relu")
    return [sum((c * phi(a * t + b) for c, a, b in neurons), start=Fraction(0)) for t in x]


def interpolant(x: Any, y: Any) -> list[tuple[Any, Any, Any]]:
    """A network of at most K + 2 neurons through the samples, written down: one hinge per kink, and two neurons whose
    kinks lie left of all samples for the affine part.
    """
    slopes = [(y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(len(x) - 1)]
    bends = [slopes[i + 1] - slopes[i] for i in range(len(slopes) - 1)]  # at x[i + 1]
    neurons, i = [], 0
    while i < len(bends):
        if bends[i] == 0:
            i += 1
        elif i + 1 < len(bends) and bends[i] * bends[i + 1] > 0:  # one kink, where the lines on both sides meet
            weight = bends[i] + bends[i + 1]
            place = (bends[i] * x[i + 1] + bends[i + 1] * x[i + 2]) / weight
            neurons.append((weight, Fraction(1), -place))
            i += 2
        else:
            neurons.append((bends[i], Fraction(1), -x[i + 1]))
            i += 1
    left = x[0] - 1  # y_1 + m (x - x_1) = m (x - left) + (y_1 - m) * 1
    affine = [(slopes[0], Fraction(1), -left), (y[0] - slopes[0], Fraction(0), Fraction(1))]
    return neurons + [neuron for neuron in affine if neuron[0]]


def narrowest(x: Any, y: Any) -> list[tuple[Any, Any, Any]]:
    """A network through the samples as narrow as an integer program finds it, in rationals.

    On the samples a neuron is affine where it is active: on those right of its kink, left of it, or on all.  Two
    neurons with the same active samples and the same sign of c are one.  So: fewest pairs (active set, sign), each with
    its affine function, >= 0 on the active samples and <= 0 on the next one.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    n = len(x)
    sets = [(range(j, n), j - 1) for j in range(n)] + [(range(j), j) for j in range(1, n)]
    shapes = [(active, beyond, sign) for active, beyond in sets for sign in (1, -1)]
    count, t = len(shapes), x.astype(float)
    fit, limits, sides = np.zeros((n, 3 * count)), [], []  # unknowns: slopes, intercepts, switches
    for k, (active, beyond, sign) in enumerate(shapes):
        for i in active:
            fit[i, k], fit[i, count + k] = sign * t[i], sign
        places = [(i, 1.0) for i in ({active[0], active[-1]})] + ([(beyond, -1.0)] if 0 <= beyond < n else [])
        for i, side in places:
            row = np.zeros(3 * count)
            row[k], row[count + k] = side * t[i], side
            limits.append(row)
        for offset in (0, count):
            for side in (1.0, -1.0):
                row = np.zeros(3 * count)
                row[offset + k], row[2 * count + k] = -side, BOUND
                sides.append(row)
    cost = np.concatenate([np.zeros(2 * count), np.ones(count)])
    free, switch = np.full(2 * count, BOUND), np.ones(count)
    found = milp(
        cost,
        options={"presolve": False},
        integrality=np.concatenate([np.zeros(2 * count), switch]),
        bounds=Bounds(np.concatenate([-free, 0 * switch]), np.concatenate([free, switch])),
        constraints=[
            LinearConstraint(fit, y.astype(float), y.astype(float)),
            LinearConstraint(np.array(limits + sides), 0.0, np.inf),
        ],
    )
    if not found.success:
        raise xu.SolverError(f"the integer program of the least width failed: {found.message}")
    chosen = [k for k in range(count) if found.x[2 * count + k] > 0.5]
    return _rational([shapes[k] for k in chosen], found.x[chosen], found.x[[count + k for k in chosen]], x, y)


def _rational(shapes: Any, slopes: Any, intercepts: Any, x: Any, y: Any) -> list[tuple[Any, Any, Any]]:
    """The float answer made exact: the nearest point on the equations, kinks that lie on a sample kept there."""
    width, rows, rhs = len(shapes), [], []
    start = fractions(np.round(np.concatenate([slopes, intercepts]) * 2.0**30) / 2.0**30)

    def row(k: int, i: int, sign: int) -> list[Fraction]:
        entries = [Fraction(0)] * (2 * width)
        entries[k], entries[width + k] = sign * x[i], Fraction(sign)
        return entries

    for i in range(len(x)):
        terms = [row(k, i, sign) for k, (active, _, sign) in enumerate(shapes) if i in active]
        rows.append(
            [sum(column, start=Fraction(0)) for column in zip(*terms, strict=True)] or [Fraction(0)] * 2 * width
        )
        rhs.append(y[i])
    for k, (active, beyond, _) in enumerate(shapes):
        for i in {active[0], active[-1], *([beyond] if 0 <= beyond < len(x) else [])}:
            if abs(naive.dot(row(k, i, 1), start)) < Fraction(1, 10**5):
                rows.append(row(k, i, 1))
                rhs.append(Fraction(0))
    gap = [b - naive.dot(r, start) for r, b in zip(rows, rhs, strict=True)]
    change = naive.min_norm(rows, gap, 2 * width)
    if change is None:
        raise xu.SolverError("the answer of the integer program could not be made exact")
    point = start + change
    return [(Fraction(shapes[k][2]), point[k], point[width + k]) for k in range(width)]


def samples(rng: Rng, n: int) -> tuple[Any, Any]:
    """Ascending integers, and integer labels."""
    x = fractions(np.sort(rng.choice(np.arange(-8, 9), size=n, replace=False)))
    return x, integers(rng, n, high=6)


def zigzag(rng: Rng, n: int) -> tuple[Any, Any]:
    """Labels that go up and down: all second differences alternate in sign."""
    x, y = samples(rng, n)
    return x, fractions([(-1) ** i * int(v) for i, v in enumerate(rng.integers(1, 7, size=n))]) + 0 * y


def _construction(rng: Rng, case: Any) -> Measurement:
    """The network written down has at most K + 2 neurons and fits, exactly."""
    x, y = samples(rng, case)
    found = interpolant(x, y)
    return worst_of([at_most(kinks(x, y) + 2, len(found)), equal(y, _evaluate(found, x), shown=(len(found),) * 2)])


def _lower_bound(rng: Rng, case: Any) -> Measurement:
    """Attack on the lower bound: the outputs of random networks of `width` neurons never have K > width."""
    width, n = case
    x = samples(rng, n)[0]
    neurons = [tuple(Fraction(int(v)) for v in rng.integers(-5, 6, size=3)) for _ in range(width)]
    return at_most(width, kinks(x, _evaluate(neurons, x)))


def _least(rng: Rng, case: Any) -> Measurement:
    """The integer program's network fits exactly and has K, K + 1 or K + 2 neurons: the least width lies between."""
    x, y = samples(rng, case)
    found, bound = narrowest(x, y), kinks(x, y)
    shown = bound, len(found)
    fits = equal(y, _evaluate(found, x), shown=shown)
    return worst_of([at_least(*shown), at_most(bound + 2, len(found)), fits])


def _needed(rng: Rng, case: Any) -> Measurement:
    """Labels that zigzag: K = n_r - 2, so no network with fewer neurons fits, wherever its kinks are."""
    x, y = zigzag(rng, case)
    return worst_of([at_least(case - 2, kinks(x, y)), at_most(case, len(interpolant(x, y)))])


def _against_s(rng: Rng, case: Any) -> Measurement:
    """Width with A free <= least number of neurons with A = A* (every support tried) <= s = rank Phi <= n_r."""
    n, h = case
    x = samples(rng, n)[0]
    A = integers(rng, h, 2, high=5)
    model, inputs = xu.Perceptron(2, h, "relu"), np.array([[t, Fraction(1)] for t in x], dtype=object)
    phi = model.features(model.join({"c": fractions(np.zeros(h)), "A": A}), inputs)
    y = phi.dot(integers(rng, h))
    found = narrowest(x, y)
    frozen, s = naive.smallest_support(phi, y.tolist()), naive.rank(phi)
    fits = equal(y, _evaluate(found, x), shown=(frozen, len(found)))
    return worst_of([at_most(frozen, len(found)), at_most(s, frozen), at_most(n, s), fits])


def _planted(rng: Rng, case: Any) -> Measurement:
    """Labels of a network of k neurons need no more than k."""
    k, n = case
    x = samples(rng, n)[0]
    neurons = [tuple(Fraction(int(v)) for v in rng.choice([-3, -2, -1, 1, 2, 3], size=3)) for _ in range(k)]
    y = np.array([*_evaluate(neurons, x), None], dtype=object)[:-1]
    found = narrowest(x, y)
    return worst_of([at_most(k, len(found)), equal(y, _evaluate(found, x), shown=(k, len(found)))])


def _straight(rng: Rng, case: Any) -> Measurement:
    """Samples on a line: no kink is needed, and at most two neurons are; labels 0 need none."""
    x = samples(rng, case)[0]
    slope, start = integers(rng, 2)
    y = slope * x + start
    found = narrowest(x, y)
    none = narrowest(x, 0 * y)
    return worst_of([equal(0, kinks(x, y)), at_most(2, len(found)), equal(0, len(none)), equal(y, _evaluate(found, x))])


def _convex(rng: Rng, case: Any) -> Measurement:
    """Labels on a convex curve: about half as many neurons do."""
    x = samples(rng, case)[0]
    y = x * x + integers(rng, 1)[0] * x + integers(rng, 1)[0]
    found = interpolant(x, y)
    return worst_of([below(case - 2, len(found)), equal(y, _evaluate(found, x), shown=(case - 2, len(found)))])


RESULT = Result(
    name="Section 4.3",
    title="How narrow a network can be if its first layer is free",
    statement=(
        r"Theorem 5 keeps $A$ and needs at most $s \le n_r$ neurons. With $A$ free, one input and a bias, a relu "
        "network that fits needs a kink of its own for every change of sign among the second differences of the "
        r"labels: some sets need $n_r - 2$ neurons, as Section 4.3 says. Ours: the least number of kinks is "
        r"$K = \sum\lceil r/2\rceil$ over the runs of $r$ second differences of one sign, and the least width lies "
        "between $K$ and $K + 2$."
    ),
    tried=(
        "Integer samples in rational arithmetic: a network that is written down; the narrowest one that an integer "
        "program over the intervals between samples finds, its answer made exact; and random networks as an attack on "
        "the bound."
    ),
    claims=(
        Claim(
            "construction",
            "The network that is written down has at most $K + 2$ neurons and fits.",
            _construction,
            "neurons",
            cases=(2, 5, 9),
            quick=8,
            full=60,
        ),
        Claim(
            "lower-bound",
            "A network of $h$ neurons never produces labels with $K > h$.",
            _lower_bound,
            "neurons (at least), K",
            cases=((1, 6), (2, 8), (3, 10), (5, 14)),
            quick=16,
        ),
        Claim(
            "least-width",
            "The narrowest network found fits exactly and has between $K$ and $K + 2$ neurons.",
            _least,
            "K, neurons",
            kind="ours",
            cases=(4, 5, 6),
            quick=2,
            full=25,
        ),
        Claim(
            "needed",
            r"Labels that zigzag need $n_r - 2$ neurons, whatever $A$ is; $n_r$ always suffice.",
            _needed,
            "neurons (at least), K",
            cases=(3, 5, 8, 12),
            quick=8,
            full=50,
        ),
        Claim(
            "against-s",
            r"With $A$ free no more neurons are needed than with $A = A^*$, and those are at most $s \le n_r$.",
            _against_s,
            "neurons (A kept, A free)",
            cases=((4, 6), (5, 7)),
            quick=2,
            full=25,
        ),
        Claim(
            "planted",
            "Labels of a network of $k$ neurons need at most $k$.",
            _planted,
            "neurons (at most)",
            cases=((1, 5), (2, 6)),
            quick=2,
            full=25,
        ),
        Claim(
            "straight",
            "Samples on a line need no kink and at most two neurons; labels 0 need none.",
            _straight,
            "K",
            kind="degenerate",
            cases=(3, 6),
            quick=2,
            full=20,
        ),
        Claim(
            "convex",
            "Labels on a convex curve: fewer than $n_r - 2$ neurons suffice.",
            _convex,
            "neurons ($n_r - 2$, used)",
            kind="assumption",
            cases=(8, 11),
            quick=8,
            full=50,
            assumptions=("broken: the second differences change sign",),
        ),
    ),
    figure="",
    caption="",
)
