"""Subsampled constraints: what Algorithm 1 does to retained outputs that are not among its n_pert rows.

The surrogate of a sample S of the rows keeps these outputs to first order.  Another one changes by
-<g - P_S g, theta* - P_S theta*>, g its gradient and P_S the projection onto the span of the sample's: it stays if the
sample spans g, and else in general moves.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .appendix_e import rows_of
from .finding import Claim, Measurement, above, at_most, equal, worst_of
from .instances import Rng, fractions, integers, taught_perceptron
from .proofs import exact_point

MODELS = ("linear", "square", "relu")


def _instance(rng: Rng, kind: str, copies: int = 0) -> tuple[Any, Any]:
    """(theta*, J) with 5 rows, `copies` of which are combinations of the others; theta* in general position."""
    while True:
        if kind == "linear":
            theta, J = integers(rng, 8, high=10**6), integers(rng, 5, 8)
        else:
            model, theta, data = taught_perceptron(rng, kind, 3, 3, 5, 0)
            matrices, sizes = model.split(theta), fractions(rng.integers(1, 1000, size=3)) / 100
            theta = model.join({"c": matrices["c"], "A": sizes[:, None] * matrices["A"]})
            J = rows_of(model, theta, data.x)
        for row in range(copies):
            J[row] = J[4] if row else J[3] - 2 * J[4]
        if naive.rank(J) == 5 - copies and _changes(theta, J, []).all():
            return theta, J


def _changes(theta: Any, J: Any, chosen: Any) -> Any:
    """J Delta for the closed form of the surrogate of the chosen rows, lambda = 0."""
    return J.dot(closed_form.appendix_e_drift(J[list(chosen)], theta))


def _change(rng: Rng, case: Any) -> Measurement:
    """The certified surrogate of three rows: the changes of the others by the formula, and never more than the product
    of two distances; the largest is shown.
    """
    theta, J = _instance(rng, case)
    chosen = rng.permutation(5)[:3]
    drift = exact_point(xu.UnlearningProblem(theta, J[chosen], xu.SquaredL2())) - theta
    change = J.dot(drift)
    beside = [row - naive.project(J[chosen], row) for row in J]
    lost = theta - naive.project(J[chosen], theta)
    truth = fractions([-naive.dot(g, lost) for g in beside])
    shown = max(truth, key=abs), max(change, key=abs)
    bounds = [naive.square_norm(g) * naive.square_norm(lost) for g in beside]
    limits = [at_most(bound, value**2) for bound, value in zip(bounds, change, strict=True)]
    return worst_of([equal(truth, change, shown=shown), *limits])


def _enough(rng: Rng, case: Any) -> Measurement:
    """Rows are added in random order until no retained output moves: that is when they have the rank of J."""
    kind, copies = case
    theta, J = _instance(rng, kind, copies)
    order = rng.permutation(5)
    wanted = next(k for k in range(6) if naive.rank(J[order[:k]].tolist()) == naive.rank(J))
    found = next(k for k in range(6) if not _changes(theta, J, order[:k]).any())
    return equal(wanted, found)


def _any_sample(rng: Rng, case: Any) -> Measurement:
    """How many rows suffice whichever they are: the least k such that all k rows have the rank of J."""
    kind, copies = case
    theta, J = _instance(rng, kind, copies)
    full = naive.rank(J)
    wanted = min(k for k in range(6) if all(naive.rank(J[list(s)].tolist()) == full for s in combinations(range(5), k)))
    found = min(k for k in range(6) if not any(_changes(theta, J, s).any() for s in combinations(range(5), k)))
    return equal(wanted, found)


def _too_few(rng: Rng, case: Any) -> Measurement:
    """One row less than the rank: some retained output moves, whichever rows they are."""
    theta, J = _instance(rng, case)
    least = min(max(abs(value) for value in _changes(theta, J, s)) for s in combinations(range(5), 4))
    return above(0, least)


CLAIMS = (
    Claim(
        "subsample-change",
        (
            r"Rows $S$ of $J$ only: a retained output beside them changes by "
            r"$-\langle g - P_S g,\, \theta^* - P_S\theta^*\rangle$."
        ),
        _change,
        "largest change",
        kind="ours",
        cases=MODELS,
        quick=4,
        full=40,
        assumptions=(r"to first order, $\lambda = 0$",),
    ),
    Claim(
        "subsample-enough",
        "No retained output changes as soon as the sampled rows have the rank of $J$, and not before.",
        _enough,
        "rows",
        kind="ours",
        cases=(("linear", 0), ("linear", 2), ("square", 0), ("relu", 1)),
        quick=5,
        full=50,
        assumptions=(r"$\theta^*$ in general position",),
    ),
    Claim(
        "subsample-any",
        "So many rows suffice whichever they are: the least $k$ such that any $k$ rows have the rank of $J$.",
        _any_sample,
        "rows",
        kind="ours",
        cases=(("linear", 0), ("linear", 2), ("relu", 1)),
        quick=3,
        full=25,
        assumptions=(r"$\theta^*$ in general position",),
    ),
    Claim(
        "subsample-few",
        "One row less than the rank of $J$: a retained output changes, whichever rows they are.",
        _too_few,
        "largest change, of the best rows",
        kind="assumption",
        cases=MODELS,
        quick=4,
        full=40,
        assumptions=("broken: the rows have the rank of $J$", r"$\theta^*$ in general position"),
    ),
)
