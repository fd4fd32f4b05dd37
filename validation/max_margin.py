"""Maximum margin: which samples of a classifier may be forgotten without any change.

min 1/2 |theta|^2 with margins of 1 is what retraining on separable data tends to.  A sample whose multiplier is 0 in
some optimal dual holds nothing: without it theta still satisfies the optimality conditions.  That is so where the
problem is convex, in theta or, for networks that are wide enough, after a change of variables; a narrow network may
prefer another optimum, elsewhere, that this sample forbade.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any, Literal

import numpy as np

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, below, equal, worst_of
from .instances import Rng, fractions, integers
from .proofs import exactly

KINDS = ("two classes", "with a bias", "three classes", "copies")
SLOPES = (Fraction(1, 2), Fraction(1, 5))
"""Of leaky relu, left of 0."""


def _rows(x: Any, y: Any, kind: str) -> Any:
    """The rows that must be at least 1, by definition: y_i x_i, or x_i at its own class and -x_i at another one."""
    if kind == "with a bias":
        x = np.concatenate([x, fractions(np.ones((len(x), 1)))], axis=1)
    if kind != "three classes":
        return y[:, None] * x
    return np.array(
        [
            [((k == label) - (k == other)) * value for k in range(3) for value in features]
            for features, label in zip(x.tolist(), y.tolist(), strict=True)
            for other in sorted({0, 1, 2} - {label})
        ],
        dtype=object,
    )


def _separable(rng: Rng, kind: str) -> tuple[Any, Any, Any, list[Fraction]]:
    """(x, y, theta, multipliers added up per sample) of data with a margin, where some sample has no multiplier; of two
    copies one has none.
    """
    while True:
        if kind == "three classes":
            x, y = integers(rng, 4, 2), np.array([0, 1, 2, int(rng.integers(3))])
        else:
            x, y = integers(rng, 5, 3), rng.choice([-1, 1], size=5)
        if kind == "copies":
            x[1], y[1] = x[0], y[0]
        solved = naive.widest_margin(_rows(x, y, kind))
        if solved is None:
            continue
        theta, nu = solved
        per_sample = len(nu) // len(x)
        each = [sum(nu[i * per_sample : (i + 1) * per_sample], start=Fraction(0)) for i in range(len(x))]
        if not all(each) and any(each) and (kind != "copies" or each[0] + each[1] > 0):
            return x, y, theta, each


def _certified(x: Any, y: Any, kind: str) -> Any:
    bias: Literal["penalized", "none"] = "penalized" if kind == "with a bias" else "none"
    return exactly(xu.margin_problem(x, y, bias, classes=3 if kind == "three classes" else None))


def _forgotten(rng: Rng, case: Any) -> Measurement:
    """theta on all data by trying every set of tight rows; the certified point after all samples without a multiplier
    are gone, and after one of them is.
    """
    x, y, theta, nu = _separable(rng, case)
    held = [i for i, value in enumerate(nu) if value]
    gone = int(rng.choice([i for i, value in enumerate(nu) if not value]))
    one = [i for i in range(len(x)) if i != gone]
    size = naive.square_norm(theta)
    found = [_certified(x[kept], y[kept], case).point for kept in (held, one)]
    return worst_of(equal(theta, point, shown=(size, naive.square_norm(point))) for point in found)


def _support(rng: Rng, case: Any) -> Measurement:
    """A sample whose multiplier is positive, in the only dual that there is: without it the optimum is smaller."""
    while True:
        x, y, theta, nu = _separable(rng, case)
        rows = _rows(x, y, case)
        tight = [row for row in rows.tolist() if naive.dot(row, theta) == 1]
        if naive.rank(tight) == len(tight):
            break
    kept = np.arange(len(x)) != int(rng.choice([i for i, value in enumerate(nu) if value]))
    return below(naive.square_norm(theta) / 2, _certified(x[kept], y[kept], case).upper)


# ---------------------------------------------------------------- networks, one input and no bias


def _outputs(t: Any, slope: Fraction) -> Any:
    """f at the samples of the four neurons with |c| |a| = 1: c = a = 1, c = -a = -1, ...; (n, 4)."""
    shapes = [(c, a) for a in (1, -1) for c in (1, -1)]
    return np.array([[c * (a * s if a * s > 0 else slope * a * s) for c, a in shapes] for s in t], dtype=object)


def _one_neuron(rows: Any) -> Fraction | None:
    """The least 1/2 |theta|^2 = |c| |a| of one neuron with all margins; rows: y_i times `_outputs`."""
    sizes = [1 / min(column) for column in rows.T.tolist() if min(column) > 0]
    return min(sizes, default=None)


def _sides(rng: Rng) -> tuple[Any, Any]:
    """Distinct samples on both sides of 0, labelled by their side, often farther away on one of them."""
    places = rng.choice(np.arange(1, 13), size=6, replace=False).tolist()
    t = fractions([*places[:3], *(-place for place in places[3:])])
    t[3:] *= Fraction(7) ** int(rng.integers(-1, 2))
    return t, np.array([1, 1, 1, -1, -1, -1])


def _wide(rng: Rng, case: Any) -> Measurement:
    """Wide enough, the least 1/2 |theta|^2 is the least sum of |c| |a| over the four neurons there are: a linear
    program, by its vertices.  Certified, it is the same without a sample that has a gap at some optimum.
    """
    while True:
        t, y = _sides(rng)
        rows = y[:, None] * _outputs(t, case)
        points = naive.vertices(rows, [Fraction(1)] * len(t))
        best = min(sum(point) for point in points)
        optimal = next(point for point in points if sum(point) == best)
        loose = [i for i, row in enumerate(rows.tolist()) if naive.dot(row, optimal) > 1]
        near = [i for i in loose if abs(t[i]) in (min(t[t > 0]), min(-t[t < 0]))]
        if near:  # the nearest of its side, so that it could matter
            break
    kept = np.arange(len(t)) != near[0]
    sides = np.concatenate([rows[kept], fractions(np.eye(4))])
    rhs = fractions([1] * int(kept.sum()) + [0] * 4)
    every = np.ones(len(rhs), dtype=bool)
    problem = xu.UnlearningProblem(fractions(np.zeros(4)), sides, xu.L1(), rhs=rhs, at_least=every)
    return equal(best, exactly(problem).upper)


def _narrow(rng: Rng, case: Any) -> Measurement:
    """One neuron: a sample with a gap at the only optimum is forgotten, and another neuron is shorter."""
    while True:
        t, y = _sides(rng)
        rows = y[:, None] * _outputs(t, case)
        before = _one_neuron(rows)
        assert before is not None, "the neurons with c a > 0 have all margins if they are long enough"
        for gone in range(len(t)):
            after = _one_neuron(np.delete(rows, gone, axis=0))
            best = [column for column in rows.T.tolist() if min(column) * before == 1]
            if len(best) == 1 and best[0][gone] * before > 1 and after is not None and after < before:
                return below(before, after)


def _deep(rng: Rng, case: Any) -> Measurement:
    """A diagonal network of that many layers, two inputs: the least sum of |w_j|^(2/L) over the corners that rows and
    axes make.  A sample with a gap at all best corners is forgotten, and another corner is smaller.
    """
    while True:
        rows = rng.integers(-6, 7, size=(5, 2)).astype(float)
        found = _corners(rows, case)
        if not found:
            continue
        before = min(found)[0]
        best = [corner for size, corner in found if size <= before * (1 + 1e-9)]
        for gone in range(len(rows)):
            after = min(_corners(np.delete(rows, gone, axis=0), case))[0]
            if all(rows[gone] @ corner > 1 + 1e-9 for corner in best) and after < before * (1 - 1e-6):
                return below(before, after, margin=1e-6, proof="none")


def _corners(rows: Any, depth: int) -> list[tuple[float, tuple[float, float]]]:
    """(size, w) where two of the lines rows.w = 1, w_1 = 0 and w_2 = 0 meet and all rows are at least 1."""
    lines = [*((*row, 1.0) for row in rows.tolist()), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    found = []
    for (a, b, p), (c, d, q) in combinations(lines, 2):
        determinant = a * d - b * c
        if determinant:
            w = (p * d - b * q) / determinant, (a * q - p * c) / determinant
            if min(rows @ w) >= 1 - 1e-12:
                found.append((depth / 2 * sum(abs(v) ** (2 / depth) for v in w), w))
    return found


CLAIMS = (
    Claim(
        "margin-forgotten",
        r"Maximum margin: samples whose multiplier is $0$ in some optimal dual may be forgotten; $\theta$ stays.",
        _forgotten,
        r"$\|\theta\|_2^2$",
        kind="ours",
        cases=KINDS,
        quick=3,
        full=30,
        assumptions=(r"model linear in $\theta$",),
    ),
    Claim(
        "margin-support",
        "Without a sample whose multiplier is positive the optimum is smaller.",
        _support,
        r"$\frac{1}{2}\|\theta\|_2^2$ (with it, without)",
        kind="assumption",
        cases=KINDS[:3],
        quick=3,
        full=30,
        assumptions=("broken: the multiplier is $0$",),
    ),
    Claim(
        "margin-wide",
        "Maximum margin of a wide leaky relu network, one input: so it is there.",
        _wide,
        r"$\frac{1}{2}\|\theta\|_2^2$",
        kind="ours",
        cases=SLOPES,
        quick=3,
        full=40,
        assumptions=("two layers, wide enough",),
    ),
    Claim(
        "margin-narrow",
        "One neuron jumps to another optimum when a sample is forgotten that had a gap.",
        _narrow,
        r"$\frac{1}{2}\|\theta\|_2^2$ (with it, without)",
        kind="assumption",
        cases=SLOPES,
        quick=10,
        full=60,
        assumptions=("broken: wide enough",),
    ),
    Claim(
        "margin-deep",
        "So does a diagonal network of three or more layers.",
        _deep,
        r"$\frac{1}{2}\|\theta\|_2^2$ (with it, without)",
        kind="assumption",
        cases=(3, 6),
        quick=3,
        full=30,
        assumptions=("broken: convex after a change of variables",),
    ),
)
