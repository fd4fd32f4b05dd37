"""Cases of `certificate_cases` and `row_cases` with a point that misses the rows, and a proof that one is near.

Everything is coarse on purpose: with few digits a bound that forgets something is wrong by much.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from exact_unlearn.certify import checker
from tests import certificate_cases as cases
from tests import row_cases
from tests.certificate_cases import Case, Numbers, inner, text, vec

Q = Fraction
KINDS = ("squared_l2", "elastic_net", "l1", "linf", "l2", "group_l2")


def draw(rng: random.Random) -> Case:
    """A case with an exact certificate, to which a near one exists as a rule."""
    if rng.random() < 0.2:
        return vertex(rng)
    name, seed, frozen = rng.choice(KINDS), rng.randrange(10**6), rng.random() < 0.4
    case = cases.plant(name, rng.choice(tuple(cases.DRIFTS)), frozen, seed)
    if rng.random() < 0.4:
        return row_cases.with_rows(case, rng.choice(tuple(row_cases.KINDS)), seed)
    return with_dependent(case, rng) if rng.random() < 0.3 else case


def vertex(rng: random.Random, k: int = 3, d: int = 9) -> Case:
    """An l1 norm whose optimum, at most k coordinates of it other than 0, is as a rule the only one.

    Weights of other coordinates are hardly above what the multipliers pull with, now and then, or no more than that.
    """
    J = [[Q(rng.randint(-4, 4)) for _ in range(d)] for _ in range(k)]
    nu = [Q(rng.randint(-4, 4), 2) for _ in range(k)]
    z = [inner(nu, [row[j] for row in J]) for j in range(d)]
    active = set(rng.sample([j for j in range(d) if z[j]], min(k, sum(map(bool, z)))))
    spare = [Q(1), Q(1, 1 << rng.randrange(20)), Q(0)]
    w = [abs(x) if j in active else abs(x) + rng.choice(spare[: 2 + (rng.random() < 0.2)]) for j, x in enumerate(z)]
    theta = [Q(rng.randint(1, 9), 3) * (1 if z[j] > 0 else -1) if j in active else Q(0) for j in range(d)]
    start = [Q(rng.randint(-3, 3)) for _ in range(d)]
    drift = [x - y for x, y in zip(theta, start, strict=True)]
    value = sum((a * abs(x) for a, x in zip(w, theta, strict=True)), Q(0))
    problem = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": cases.array(start, d),
        "jacobian": {"kind": "dense", "matrix": cases.array([x for row in J for x in row], k, d)},
        "rhs": cases.array([inner(row, drift) for row in J], k),
        "free": cases.array([Q(1)] * d, d),
        "regularizer": {"name": "l1", "weights": cases.array(w, d)},
        "drift_penalty": [],
    }
    certificate = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "bounds",
        "primal": {"base": "zero", "parts": vec({j: x for j, x in enumerate(theta) if x})},
        "dual": {"nu": vec({i: x for i, x in enumerate(nu) if x})},
        "claims": {"proof": "exact"},
    }
    return Case("l1, a vertex", problem, certificate, value, None, theta)


def with_dependent(case: Case, rng: random.Random) -> Case:
    """One more equation, which follows from the others: a multiple, a sum, or nothing at all."""
    rows, problem = row_cases.rows_of(case), copy.deepcopy(case.problem)
    factors = [Q(rng.randint(-3, 3), rng.choice((1, 2, 3))) * (rng.random() < 0.6) for _ in rows]
    d = len(rows[0].a)
    a = [sum((f * row.a[j] for f, row in zip(factors, rows, strict=True)), Q(0)) for j in range(d)]
    b = sum((f * row.b for f, row in zip(factors, rows, strict=True)), Q(0))
    every = [*(x for row in rows for x in row.a), *a]
    problem["jacobian"]["matrix"] = cases.array(every, len(rows) + 1, d)
    problem["rhs"] = cases.array([*(row.b for row in rows), b], len(rows) + 1)
    return replace(case, name=f"{case.name}, dependent", problem=problem)


def nearby(case: Case, rng: random.Random, digits: int, width: int) -> Case | None:
    """The case with a near certificate that claims what the checker finds; None where it proves nothing."""
    rows = row_cases.rows_of(case)
    start = [checker.number(x) for x in case.problem["theta_star"]["data"]]
    mask = case.problem["free"]["data"]
    free = [j for j, x in enumerate(mask) if x == "1"]
    boxes = [term["radius"] for term in case.problem["drift_penalty"] if term.get("norm") == "inf"]
    box = min(map(checker.number, boxes), default=None)
    theta, D = case.theta, [x - y for x, y in zip(case.theta, start, strict=True)]
    inside = [j for j in free if box is None or abs(D[j]) < box]
    tight = [i for i, row in enumerate(rows) if not row.least or inner(row.a, D) == row.b]
    rng.shuffle(inside)
    if rng.random() < 0.5:  # what is not 0 first, as at a vertex
        inside.sort(key=lambda j: theta[j] == 0)
    found = _basis([[rows[i].a[j] for j in inside] for i in tight])
    own = [tight[k] for k, _ in found]
    columns = [inside[c] for _, c in found]
    if any(not rows[i].least for i in tight if i not in own) and rng.random() < 0.1:
        return None
    near: dict[str, Any] = {"rows": own, "columns": columns, "digits": digits, "width": width}
    implied = [_implied(rows, own, i, free) for i, row in enumerate(rows) if not row.least and i not in own]
    if any(item is None for item in implied):
        return None
    if implied:
        near["implied"] = implied
    written = _inverse([[rows[i].a[j] for j in columns] for i in own], [rows[i] for i in own], free, width)
    if written is None:
        return None
    near["scale"], near["inverse"] = written
    unit = Q(1, 1 << digits)
    moved = {j: theta[j] // unit * unit + rng.choice((0, 1, -1)) * unit for j in free}
    for j in free:  # what is held stays
        if j not in inside or theta[j] in (0, start[j]):
            moved[j] = theta[j]
    certificate = copy.deepcopy(case.certificate)
    certificate["primal"] = {
        "base": "zero",
        "parts": vec({j: x for j, x in moved.items() if x or start[j]}),
        "near": near,
    }
    certificate["claims"] = {"proof": "repaired"}
    verdict = checker.check(case.problem, certificate)
    if verdict.proof == "none":
        return None
    claims: dict[str, Any] = {"proof": verdict.proof, "unique": verdict.unique}
    claims |= {name: text(getattr(verdict, name)) for name in ("lower", "upper", "gap")}
    claims["distance"] = None if verdict.distance is None else text(verdict.distance)
    certificate["claims"] = claims
    return replace(case, name=f"{case.name}, near", certificate=certificate)


def _basis(matrix: Sequence[Numbers]) -> list[tuple[int, int]]:
    """Pivots (row, column) of Gaussian elimination."""
    left, found = [list(row) for row in matrix], list[tuple[int, int]]()
    for k, row in enumerate(left):
        c = next((c for c, x in enumerate(row) if x), None)
        if c is None:
            continue
        found.append((k, c))
        for other in left[k + 1 :]:
            f = other[c] / row[c]
            other[:] = [x - f * y for x, y in zip(other, row, strict=True)]
    return found


def solved(matrix: Sequence[Numbers], right: Sequence[Numbers]) -> list[Numbers] | None:
    """X with matrix X = right; None if the matrix, square, is singular."""
    n = len(matrix)
    rows = [[*a, *b] for a, b in zip(matrix, right, strict=True)]
    for k in range(n):
        p = next((i for i in range(k, n) if rows[i][k]), None)
        if p is None:
            return None
        rows[k], rows[p] = rows[p], rows[k]
        rows[k] = [x / rows[k][k] for x in rows[k]]
        rows = [
            row if i == k else [x - row[k] * y for x, y in zip(row, rows[k], strict=True)] for i, row in enumerate(rows)
        ]
    return [row[n:] for row in rows]


def _implied(rows: list[row_cases.Row], own: list[int], i: int, free: list[int]) -> dict[str, Any] | None:
    """Row i as a combination of others."""
    pivots = _basis([[rows[k].a[j] for j in free] for k in own])
    places = [free[c] for _, c in pivots]
    square = [[rows[k].a[j] for k in own] for j in places]
    found = solved(square, [[rows[i].a[j]] for j in places]) if len(places) == len(own) else None
    if found is None:
        return None
    return {"row": i, "of": vec({k: x[0] for k, x in zip(own, found, strict=True) if x[0]})}


def _inverse(C: list[Numbers], rows: list[row_cases.Row], free: list[int], width: int) -> tuple[int, list[str]] | None:
    """scale and inverse of section 4.1, by Fractions."""
    r = len(C)
    if not r:
        return 0, []
    dens = [checker.common([row.a[j] for j in free], checker.Work(1 << 60)).den for row in rows]
    N = [[int(x * den) for x in row] for row, den in zip(C, dens, strict=True)]
    rho = [max(x.bit_length() for x in row) for row in N]
    gamma = [max(N[a][b].bit_length() - rho[a] for a in range(r) if N[a][b]) for b in range(r)]
    S = [[Q(N[a][b]) / Q(2) ** (rho[a] + gamma[b]) for b in range(r)] for a in range(r)]
    L = solved(S, [[Q(a == b) for b in range(r)] for a in range(r)])
    if L is None:
        return None
    largest = max(abs(x) for row in L for x in row)
    scale = 8 * width - 2
    while scale > 0 and largest * 2**scale >= 2 ** (8 * width - 1) - 1:
        scale -= 1
    half = 1 << (8 * width - 1)
    if largest * 2**scale >= half - 1:
        return None
    return scale, ["".join(format(round(x * 2**scale) + half, f"0{2 * width}x") for x in row) for row in L]
