"""Lemma 6: inside c + G^perp there is a vector with at most dim G non-zero entries."""

from __future__ import annotations

from typing import Any

import numpy as np

from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, at_least, at_most, equal, negligible, worst_of
from .instances import Rng, fractions, integers, rational_vector

SHAPES = ((5, 2), (8, 3), (6, 6), (4, 7), (5, 0), (9, 4))


def _exact(rng: Rng, case: Any) -> Measurement:
    h, k = case
    rows, c = integers(rng, k, h), rational_vector(rng, h)
    drift = closed_form.lemma_6_sparse_drift(c, rows)
    orthogonal = equal([0] * k, [naive.dot(row, drift) for row in rows])
    return worst_of([at_most(naive.rank(rows), int(np.count_nonzero(c + drift))), orthogonal])


def _dependent(rng: Rng, case: Any) -> Measurement:
    """Rows of low rank: the bound is the rank, not the number of rows."""
    h, k, r = case
    rows, c = integers(rng, k, r).dot(integers(rng, r, h)), rational_vector(rng, h)
    drift = closed_form.lemma_6_sparse_drift(c, rows)
    orthogonal = equal([0] * k, [naive.dot(row, drift) for row in rows])
    return worst_of([at_most(naive.rank(rows), int(np.count_nonzero(c + drift))), orthogonal])


def _outputs(rng: Rng, case: Any) -> Measurement:
    """Several vectors at once share their zeros: at most dim G columns are not zero."""
    h, k, l = case
    rows, C = integers(rng, k, h), integers(rng, l, h, high=9)
    drift = closed_form.lemma_6_sparse_drift(C, rows)
    orthogonal = equal(fractions(np.zeros((l, k))), drift.dot(rows.T))
    return worst_of([at_most(naive.rank(rows), int((C + drift).any(axis=0).sum())), orthogonal])


def _floats(rng: Rng, case: Any) -> Measurement:
    h, k = case
    rows, c = rng.standard_normal((k, h)), rng.standard_normal(h)
    drift = closed_form.lemma_6_sparse_drift(c, rows)
    count = at_most(k, int(np.count_nonzero(c + drift)), proof="none")
    residual = float(np.abs(rows @ drift).max(initial=0.0))
    return worst_of([count, negligible(residual, float(np.abs(rows).sum(axis=1).max() * np.abs(drift).max()), 1e-13)])


def _sharp(rng: Rng, case: Any) -> Measurement:
    """Vandermonde rows, any s columns of which are independent, and c with large random entries: every support is
    tried.
    """
    h, s = case
    rows = fractions([[(j + 1) ** i for j in range(h)] for i in range(s)])
    target = rows.dot(fractions(rng.integers(1, 10**9, size=h)))
    return at_least(s, naive.smallest_support(rows, target))


RESULT = Result(
    name="Lemma 6",
    title="Sparse points in every affine set",
    statement=(
        r"For $c \in \mathbb{R}^h$ and a subspace $\mathcal{G}$ of dimension $s$ there is $\Delta_c \in "
        r"\mathcal{G}^\perp$ such that $c + \Delta_c$ has at most $s$ non-zero entries. Constructive: bring a "
        r"basis of $\mathcal{G}^\perp$ to reduced column echelon form and use each column to remove the entry of "
        "$c$ at its pivot."
    ),
    tried=(
        "Subspaces spanned by random integer rows: independent, dependent, all of the space, none of it. The "
        "drift is checked from the definition: inner products with the rows, and the entries that are not zero "
        "are counted."
    ),
    claims=(
        Claim(
            "exact",
            r"$\Delta_c \perp \mathcal{G}$ and $\|c + \Delta_c\|_0 \le s$, in rational arithmetic.",
            _exact,
            "non-zero entries (at most)",
            cases=SHAPES,
            assumptions=(r"$\mathcal{G}$ has dimension $s$",),
            quick=11,
        ),
        Claim(
            "floats",
            "The same in floating point, with exact zeros.",
            _floats,
            "non-zero entries (at most)",
            cases=((8, 3), (40, 12), (6, 6)),
            quick=21,
        ),
        Claim(
            "dependent-rows",
            "Dependent rows: the bound is the rank, not the number of rows.",
            _dependent,
            "non-zero entries (at most)",
            kind="degenerate",
            cases=((7, 5, 2), (6, 6, 3)),
            quick=24,
        ),
        Claim(
            "several-outputs",
            r"Several vectors share their zeros: a matrix $C + \Delta_C$ with at most $s$ non-zero columns.",
            _outputs,
            "non-zero columns (at most)",
            kind="ours",
            cases=((8, 3, 2), (7, 4, 3)),
            quick=24,
        ),
        Claim(
            "sharp",
            (
                "The bound cannot be lowered to $s - 1$: for vectors in general position every support of that "
                "size fails."
            ),
            _sharp,
            "non-zero entries (at least, needed)",
            kind="assumption",
            cases=((6, 3), (7, 4)),
            assumptions=("broken: at most $s - 1$ entries allowed",),
            quick=24,
            full=40,
        ),
    ),
    figure="lemma_6",
    caption=(
        "Each column of the echelon form removes one entry of $c$ (rows: after each step). What remains fits into "
        r"$s$ entries, and all inner products with $\mathcal{G}$ are what they were."
    ),
)
