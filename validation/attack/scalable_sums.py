"""`scalable.solve` on forms without a name against certificates: sums, maps, centres, Huber, and every drift."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.regularizers import Huber, TotalVariation

from .campaign import Outcome
from .scalable_problems import compared, matrix

TITLE = "answers of scalable.solve to sums of terms, called optimal, against certificates"
FULL = 500


def run(count: int, seed: int) -> Outcome:
    return compared(draw, count, seed)


def draw(rng: np.random.Generator) -> tuple[xu.UnlearningProblem, dict[str, Any]]:
    """One to three terms, drifts, frozen coordinates, rows that read >=, moved labels, and units up to 2^+-60."""
    k, d = int(rng.integers(0, 5)), int(rng.integers(2, 13))
    kind = str(rng.choice(["plain", "plain", "plain", "conditioned", "duplicates", "unseen"]))
    J = matrix(rng, k, d, kind)
    theta = rng.standard_normal(d)
    R = _term(rng, d)
    for _ in range(int(rng.integers(0, 3))):
        R = R + _term(rng, d)
    free = rng.random(d) < 0.7 if rng.random() < 0.3 else np.ones(d, dtype=bool)
    rhs = J @ np.where(free, 0.4 * rng.standard_normal(d), 0.0) if rng.random() < 0.5 else None
    at_least = rng.random(k) < 0.4 if rng.random() < 0.15 else None
    drift = None
    for penalty in (xu.SquaredDrift(0.3), xu.L1Drift(0.2), xu.TrustRegion(1.5, math.inf), xu.TrustRegion(3.0)):
        if rng.random() < 0.15:
            drift = penalty if drift is None else drift + penalty
    unit = 2.0 ** int(rng.integers(-60, 61)) if rng.random() < 0.1 else 1.0
    moved = None if rhs is None else unit * rhs
    return xu.UnlearningProblem(unit * theta, J, R, drift, free, moved, at_least), {"gap": 1e-8}


def _term(rng: np.random.Generator, d: int) -> Any:
    w = np.where(rng.random(d) < 0.3, 0.0, rng.random(d) + 0.1) if rng.random() < 0.3 else None
    labels = np.unique(rng.integers(0, max(1, d // 2), d), return_inverse=True)[1]
    M = rng.standard_normal((int(rng.integers(1, 5)), d))
    terms: list[Any] = [
        xu.L1(w),
        xu.SquaredL2(w),
        xu.L2(w),
        xu.LInf(w),
        Huber(float(rng.choice([0.1, 1.0, 5.0])), w),
        xu.GroupL2(labels, np.where(rng.random(labels.max() + 1) < 0.2, 0.0, 1.0)),
        xu.L1().of(M),
        xu.L2().of(M),
        xu.LInf().of(M),
        TotalVariation((1, d)),
    ]
    R = float(rng.choice([0.3, 1.0, 2.0])) * terms[int(rng.integers(len(terms)))]
    return R.centred_at(rng.standard_normal(d)) if rng.random() < 0.25 else R
