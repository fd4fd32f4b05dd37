"""`scalable.solve` against certificates: no answer called optimal is off, and no exception but the package's own.

Regularizers x drifts x frozen coordinates x right-hand sides x conditioning and rank x ranges of weights (1e-8 to 1e8
in one problem) x precision x route.  The optimum is what `certify` proves for the rows as written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.scalable import solve
from exact_unlearn.solution import Status

from .campaign import Outcome

TITLE = "answers of scalable.solve called optimal against certificates"
FULL = 500

ALLOWED = 1e-6
"""How far from the certified interval a value called optimal may lie, relatively (or the gap that was asked for)."""


Draw = Callable[[np.random.Generator], tuple[xu.UnlearningProblem, dict[str, Any]]]


def run(count: int, seed: int) -> Outcome:
    return compared(draw, count, seed)


def compared(draw: Draw, count: int, seed: int) -> Outcome:
    """`count` problems and options of `draw`, solved and held against what `certify` proves."""
    failures, told = [], Counter[str]()
    for i in range(count):
        problem, options = draw(np.random.default_rng([seed, i]))
        where = f"draw(default_rng([{seed}, {i}]))"
        try:
            found = solve(problem, **options)
        except ProblemError:
            told["refused"] += 1
            continue
        except Exception as error:
            failures.append(f"solve of {where}: {type(error).__name__}: {error}")
            continue
        told[found.status.value] += 1
        if found.status is not Status.OPTIMAL:
            continue
        proof = xu.certify(problem, rows="literal")
        if proof.lower is None or proof.upper is None:
            told["not certified"] += 1
            continue
        lower, upper = float(proof.lower), float(proof.upper)
        off = max(lower - found.value, found.value - upper, 0.0) / (abs(upper) or 1e-300)
        if off > max(ALLOWED, options["gap"]):
            name = f"{problem.form}, {[term.name for term in problem.drifts]}, {options}"
            failures.append(f"{where}: optimal at {found.value:.6g}, proved [{lower:.6g}, {upper:.6g}] ({name})")
    return Outcome(count, tuple(failures), (", ".join(f"{n} {word}" for word, n in told.most_common()),))


def draw(rng: np.random.Generator) -> tuple[xu.UnlearningProblem, dict[str, Any]]:
    """A random problem and the options to solve it with."""
    k, d = int(rng.integers(1, 6)), int(rng.integers(2, 16))
    kind = str(rng.choice(["plain", "plain", "conditioned", "near", "duplicates", "unseen"]))
    J = matrix(rng, k, d, kind)
    theta = rng.standard_normal(d) * (10.0 ** rng.uniform(-8, 8) if rng.random() < 0.2 else 1.0)
    R, products = _regularizer(rng, d)
    free = rng.random(d) < 0.7 if rng.random() < 0.3 else np.ones(d, dtype=bool)
    free = free if free.any() else ~free
    rhs = None
    if rng.random() < 0.2:
        rhs = J @ np.where(free, rng.standard_normal(d) * np.linalg.norm(theta) * 10.0 ** rng.uniform(-3, 1), 0.0)
        if kind == "duplicates":
            rhs[1:2] = rhs[: len(rhs[1:2])]
    narrow = rng.random() < 0.25
    route = "products" if products and rng.random() < 0.15 else "auto"
    options = {"dtype": torch.float32 if narrow else None, "gap": 1e-5 if narrow else 1e-8, "route": route}
    return xu.UnlearningProblem(theta, J, R, _drift(rng, theta), free, rhs), options


def matrix(rng: np.random.Generator, k: int, d: int, kind: str) -> Array:
    J = rng.standard_normal((k, d))
    if kind == "conditioned":
        left, _, right = np.linalg.svd(J, full_matrices=False)
        return np.asarray((left * np.geomspace(1.0, 10.0 ** -rng.uniform(0, 10), left.shape[1])) @ right)
    if kind == "near":
        J[1:2] = J[: len(J[1:2])] + 1e-9 * rng.standard_normal((len(J[1:2]), d))
    if kind == "duplicates":
        J[1:2] = J[: len(J[1:2])]
    return np.where(rng.random(d) < 0.5, 0.0, J) if kind == "unseen" else J


def _regularizer(rng: np.random.Generator, d: int) -> tuple[Any, bool]:
    """A regularizer, and whether it has a solver by products."""
    w = 10.0 ** rng.uniform(-8, 8, d) if rng.random() < 0.4 else rng.random(d) + 0.1
    w = np.where(rng.random(d) < 0.3, 0.0, w) if rng.random() < 0.15 else w
    weights = None if rng.random() < 0.3 else w
    name = str(rng.choice(["l1", "l1", "linf", "linf", "group", "l2", "squared", "elastic"]))
    if name == "elastic":
        return xu.ElasticNet(float(10.0 ** rng.uniform(-3, 3)), float(10.0 ** rng.uniform(-3, 3))), True
    if name == "group":
        labels = np.unique(rng.integers(0, max(1, d // 2), d), return_inverse=True)[1]
        return xu.GroupL2(labels, None if weights is None else w[: labels.max() + 1]), True
    table: dict[str, Any] = {"l1": xu.L1, "linf": xu.LInf, "l2": xu.L2, "squared": xu.SquaredL2}
    return table[name](weights), name in ("l1", "linf")


def _drift(rng: np.random.Generator, theta: Array) -> Any:
    size, u = float(np.linalg.norm(theta)), rng.random()
    if u < 0.2:
        return xu.SquaredDrift(float(10.0 ** rng.uniform(-6, 6)))
    if u < 0.35:
        return xu.TrustRegion(size * float(10.0 ** rng.uniform(-4, 0.5)))
    return xu.SquaredDrift(0.3) + xu.TrustRegion(size * float(10.0 ** rng.uniform(-3, 0.5))) if u < 0.42 else None
