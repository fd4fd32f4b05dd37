"""Exact problems of small diagonal networks of three layers or more, all their vertices in another arithmetic, and
forged certificates."""

from __future__ import annotations

import copy
import itertools
import json
import random
from dataclasses import dataclass
from fractions import Fraction as Q
from functools import cache
from typing import Any

import numpy as np
from mpmath import mp, mpf
from scipy.optimize import minimize

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.certify import checker
from tests.certificate_cases import Case, text, vec

CASES, FEW = 96, 48
"""Problems, of one campaign and of those about all kinds; each is certified once and then forged in many ways."""

DIGITS, SAME = 80, 40
"""Of the values of vertices, and of those that are called equal."""


@dataclass(frozen=True)
class Known:
    """A problem and its certificate, as JSON trees.

    vertices: all of them with their values, none where nothing fits.  least: the smallest value.  best: the vertices
    that have it.
    """

    problem: dict[str, Any]
    certificate: dict[str, Any]
    vertices: tuple[tuple[Q, ...], ...]
    least: Any
    best: tuple[tuple[Q, ...], ...]


def samples(seed: str) -> tuple[list[list[Q]], list[Q]]:
    """Small integers; samples and features that are 0, double or opposite; labels of a sparse predictor, or any."""
    rng = random.Random(f"diagonal {seed}")
    n, m = rng.randint(0, 3), rng.randint(1, 6)
    x = [[Q(rng.randint(-3, 3)) for _ in range(m)] for _ in range(n)]
    if n and rng.random() < 0.3:
        x.append([rng.choice((-2, 0, 1)) * v for v in rng.choice(x)])
    if m > 1 and rng.random() < 0.4:
        column, other, factor = rng.randrange(m), rng.randrange(m), rng.choice((-1, 0, 1, 8))
        for row in x:
            row[column] = factor * row[other]
    w = [Q(rng.choice((0, 0, 1, -1, 8, Q(1, 8), 2, -3))) for _ in range(m)]
    y = [sum(map(Q.__mul__, row, w), Q(0)) for row in x]
    if rng.random() < 0.3:
        y = [Q(rng.randint(-4, 4)) for _ in x]
    return x, y


def solved(A: list[list[Q]], q: list[Q]) -> list[Q] | None:
    """The only solution of A w = q, by elimination; None where there is none, or more than one."""
    M, c = [[*row, v] for row, v in zip(A, q, strict=True)], len(A[0]) if A else 0
    for k in range(c):
        at = next((i for i in range(k, len(M)) if M[i][k]), None)
        if at is None:
            return None
        M[k], M[at] = M[at], M[k]
        M[k] = [v / M[k][k] for v in M[k]]
        for i in range(len(M)):
            if i != k and M[i][k]:
                M[i] = [u - M[i][k] * v for u, v in zip(M[i], M[k], strict=True)]
    return None if any(row[c] for row in M[c:]) else [row[c] for row in M[:c]]


def all_vertices(x: list[list[Q]], y: list[Q], m: int) -> set[tuple[Q, ...]]:
    """Solutions with independent columns, of every size: each set of columns for itself."""
    found = set()
    for size in range(min(len(x), m) + 1):
        for columns in itertools.combinations(range(m), size):
            part = solved([[row[j] for j in columns] for row in x], y) if size else ([] if not any(y) else None)
            if part is not None:
                w = dict(zip(columns, part, strict=True))
                found.add(tuple(w.get(j, Q(0)) for j in range(m)))
    return found


def value(w: tuple[Q, ...], depth: int) -> Any:
    """L/2 sum |w_j|^(2/L) to DIGITS."""
    with mp.workdps(DIGITS):
        roots = [(mpf(v.numerator) ** 2 / mpf(v.denominator) ** 2) ** (mpf(1) / depth) for v in w if v]
        return mpf(depth) / 2 * sum(roots, mpf(0))


def near(a: Any, b: Any) -> bool:
    """Whether two values are one, as far as anybody can tell."""
    with mp.workdps(DIGITS):
        return bool(abs(a - b) <= mpf(10) ** -SAME * max(abs(a), abs(b)))


@cache
def known(number: int, depth: int) -> Known:
    """The problem of this number, proved."""
    x, y = samples(str(number))
    m = len(x[0]) if x else 1 + number % 5
    rows = np.array(x, dtype=object) if x else np.zeros((0, m))
    problem = xu.global_problem(xu.DiagonalNetwork(m, depth), rows, np.array(y, dtype=object) if x else np.zeros(0))
    found = xu.certify(problem)
    tree, proof = (json.loads(json.dumps(each)) for each in (codec.to_json(problem.to_tree()), dict(found.tree)))
    vertices = tuple(sorted(all_vertices(x, y, m)))
    least = min((value(w, depth) for w in vertices), default=None)
    return Known(tree, proof, vertices, least, tuple(w for w in vertices if near(value(w, depth), least)))


def case(seed: int) -> Case:
    """One whose optimum is a fraction, for the campaigns on all kinds of certificates."""
    own = known(seed % FEW, 3)
    claims = own.certificate["claims"]
    if not own.best or claims["lower"] != claims["upper"]:
        return case(seed + 1)
    theta = list(own.best[0]) if len(own.best) == 1 else []
    problem, certificate = copy.deepcopy(own.problem), copy.deepcopy(own.certificate)
    return Case(f"power {seed}", problem, certificate, checker.number(claims["upper"]), theta=theta)


# ---------------------------------------------------------------- forgeries


def point(w: Any) -> dict[str, Any]:
    """`primal` of a certificate."""
    return {"base": "zero", "parts": vec({j: v for j, v in enumerate(w) if v})}


def forged(own: Known, other: Known, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """(problem, certificate, whether the problem may be accepted at all)."""
    problem, certificate = copy.deepcopy(own.problem), copy.deepcopy(own.certificate)
    kind, modest = rng.randrange(9), {"proof": rng.choice(("repaired", "repaired", "enclosure", "exact"))}
    bounds = certificate["kind"] == "bounds"
    if kind == 0 and own.vertices:  # a local minimum, or one that is none
        certificate |= {"primal": point(rng.choice(own.vertices)), "claims": modest | {"unique": rng.random() < 0.5}}
    elif kind == 1 and own.vertices:
        a, b, t = rng.choice(own.vertices), rng.choice(own.vertices), Q(rng.randint(-1, 5), 4)
        certificate |= {"primal": point([u + t * (v - u) for u, v in zip(a, b, strict=True)]), "claims": modest}
    elif kind == 2:  # the answer of another depth
        certificate = copy.deepcopy(other.certificate)
        if rng.random() < 0.5:
            certificate["claims"] = modest
    elif kind == 3 and bounds:
        name, step = rng.choice(("lower", "upper")), Q(rng.choice((-1, 1)), 16 ** rng.choice((1, 20, 90, 120)))
        certificate["claims"][name] = text(checker.number(certificate["claims"][name]) + step)
    elif kind == 4 and bounds:
        certificate |= {"vertices": rng.choice((False, True, None, 1)), "claims": modest}
        n = problem["origin"]["x"]["shape"][0]
        certificate["dual"] = {"nu": vec({i: Q(rng.randint(-3, 3), rng.randint(1, 3)) for i in range(n)})}
    elif kind == 5 and bounds:
        certificate["claims"] |= rng.choice(({"unique": True}, {"distance": "0"}, {"distance": "1/8"}, {"gap": "0"}))
    elif kind == 6:
        where = rng.choice(("x", "y"))
        data = problem["origin"][where]["data"]
        if data:
            at = rng.randrange(len(data))
            data[at] = text(checker.number(data[at]) + rng.choice((-1, 1, Q(1, 2**60))))
            return problem, certificate, False
    elif kind == 7:
        for holder, key in rng.sample(((problem["regularizer"], "depth"), (problem["origin"], "widths")), 1):
            holder[key] = rng.choice((2, 3, 4, 64, 65)) if key == "depth" else [*holder[key], 1]
        same = problem["regularizer"]["depth"] + 1 == len(problem["origin"]["widths"])
        return problem, certificate, same and problem == own.problem
    return problem, certificate, True


# ---------------------------------------------------------------- the network itself


def descended(number: int, depth: int, rng: np.random.Generator) -> float | None:
    """What a network costs that a descent from random weights ends at, made to fit; None where it does not fit."""
    x, y = (np.array(part, dtype=float) for part in samples(str(number)))
    if not len(x):
        return None
    model, weight = xu.DiagonalNetwork(x.shape[1], depth), 1e4
    theta = rng.choice([-1.0, 1.0], model.n_parameters) * rng.uniform(0.3, 2.0, model.n_parameters)

    def objective(v: Any) -> tuple[float, Any]:
        off = model.predict(v, x)[:, 0] - y
        return float(v @ v + weight * off @ off) / 2, v + weight * (model.jacobian(v, x).matrix.T @ off)

    w = model.predictor(minimize(objective, theta, jac=True, method="L-BFGS-B").x).reshape(-1)
    large = np.argsort(-np.abs(w))[: np.linalg.matrix_rank(x)]
    ended = np.zeros(w.size)
    ended[large] = np.linalg.lstsq(x[:, large], y)[0]
    fits = bool(np.abs(x @ ended - y).max(initial=0.0) <= 1e-9)
    ended[np.abs(ended) < 1e-12] = 0.0
    return float(depth / 2 * (np.abs(ended) ** (2 / depth)).sum()) if fits else None
