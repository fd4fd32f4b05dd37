"""Cases of `certificate_cases` some rows of which read J_i D >= b_i, with the optimum that they had before.

A row with a positive multiplier may read >= for nothing changes: it is tight at the optimum and stays so.  One with a
negative multiplier is turned around first.  Rows that hold anyway, with a gap or without, may be added.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tests.certificate_cases import DRIFTS, Case, Numbers, _number, array, inner, plant, text, vec

Q = Fraction


@dataclass(frozen=True)
class Row:
    """a . D = b, or >= b where `least`, with its multiplier; the row of the old problem that it was, times sign."""

    a: Numbers
    b: Fraction
    nu: Fraction = Q(0)
    least: bool = True
    was: int | None = None
    sign: int = 1

    def times(self, factor: int) -> Row:
        """The same, multiplied by a number other than 0."""
        sign = self.sign * factor
        return replace(self, a=[factor * x for x in self.a], b=factor * self.b, nu=self.nu / factor, sign=sign)


def rows_of(case: Case) -> list[Row]:
    """The rows of a case with a dense Jacobian, and their multipliers."""
    k, d = case.problem["jacobian"]["matrix"]["shape"]
    flat = [_number(x) for x in case.problem["jacobian"]["matrix"]["data"]]
    nu = _entries(case.certificate.get("dual", {"nu": []})["nu"])
    b = [_number(x) for x in case.problem["rhs"]["data"]]
    least = case.problem.get("at_least", {"data": ["0"] * k})["data"]
    return [Row(flat[i * d : (i + 1) * d], b[i], nu.get(i, Q(0)), least[i] == "1", i) for i in range(k)]


def _entries(parts: list[dict[str, Any]]) -> dict[int, Fraction]:
    return {i: Q(int(n, 16), int(p["den"], 16)) for p in parts for i, n in zip(p["indices"], p["nums"], strict=True)}


def upright(row: Row) -> Row:
    """A row that may read >=: turned around where its multiplier is negative."""
    return replace(row.times(-1) if row.nu < 0 else row, least=True)


def loose(rng: random.Random, D: Numbers, gap: Fraction) -> Row:
    """A row that the optimum meets with this gap."""
    a = [Q(rng.randint(-4, 4)) for _ in D]
    return Row(a, inner(a, D) - gap)


def _active(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    return [upright(row) for row in rows]


def _inactive(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    return [*rows, *(loose(rng, D, Q(rng.randint(1, 9), rng.randint(1, 9))) for _ in range(3))]


def _mixed(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    some = [upright(row) if rng.random() < 0.5 else row for row in rows]
    found = [*some, loose(rng, D, Q(0)), *(loose(rng, D, Q(rng.randint(1, 5), 3)) for _ in range(2))]
    rng.shuffle(found)
    return found


def _redundant(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    own = _active(rows, D, rng)
    total = Row([x + y for x, y in zip(own[0].a, own[1].a, strict=True)], own[0].b + own[1].b)
    multiple = replace(own[0].times(3), nu=Q(0), was=None)
    return [*own, total, multiple, replace(multiple, b=multiple.b - 1)]


def _duplicated(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    own = [replace(row, nu=row.nu / 2) for row in _active(rows, D, rng)]
    return [*own, *(replace(row, was=None) for row in own)]


def _two_inequalities(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    own = _active(rows, D, rng)
    return [*own, *(replace(row.times(-1), nu=Q(0), was=None) for row in own)]


def _zero(rows: list[Row], D: Numbers, rng: random.Random) -> list[Row]:
    nothing = [Q(0)] * len(D)
    return [Row(nothing, Q(0)), *_mixed(rows, D, rng), Row(nothing, Q(-1))]


KINDS: dict[str, Callable[[list[Row], Numbers, random.Random], list[Row]]] = {
    "active": _active,
    "inactive": _inactive,
    "mixed": _mixed,
    "redundant": _redundant,
    "duplicated": _duplicated,
    "two inequalities": _two_inequalities,
    "zero": _zero,
}


def with_rows(case: Case, kind: str, seed: int | str = 0) -> Case:
    """`case` with rows of this kind; version 2 of both files, and the same optimum."""
    rng = random.Random(f"rows {case.name} {kind} {seed}")
    problem, certificate = copy.deepcopy(case.problem), copy.deepcopy(case.certificate)
    start = [_number(x) for x in problem["theta_star"]["data"]]
    free = [x == "1" for x in problem["free"]["data"]]
    theta = case.theta or start
    D = [x - y if moves else Q(0) for x, y, moves in zip(theta, start, free, strict=True)]
    if problem["jacobian"]["kind"] == "product":
        _some_of_a_product(problem, certificate, rng)
    else:
        old = rows_of(case)
        new = KINDS[kind](old, D, rng)
        k, d = len(new), len(start)
        problem["jacobian"]["matrix"] = array([x for row in new for x in row.a], k, d)
        problem["rhs"], problem["at_least"] = array([row.b for row in new], k), array([Q(row.least) for row in new], k)
        if "dual" in certificate:
            certificate["dual"]["nu"] = vec({i: row.nu for i, row in enumerate(new) if row.nu})
        if "distance" in certificate:
            certificate["distance"]["L"] = vec(_moved(certificate["distance"], new, len(old)))
        if isinstance(certificate.get("rows"), dict):
            places = {row.was: i for i, row in enumerate(new) if row.was is not None}
            certificate["rows"]["kept"] = [places[i] for i in certificate["rows"]["kept"]]
            certificate["rows"]["rhs"] = vec({places[i]: x for i, x in _entries(certificate["rows"]["rhs"]).items()})
    problem["version"] = certificate["version"] = 2
    return Case(f"{kind} rows, {case.name}", problem, certificate, case.value, case.square, case.theta)


def _moved(distance: dict[str, Any], new: list[Row], old: int) -> dict[int, Fraction]:
    """The left inverse for the new rows; nothing where a row is not tight for certain."""
    places = {row.was: (i, row.sign) for i, row in enumerate(new) if row.was is not None and (row.nu or not row.least)}
    found = {}
    for at, x in _entries(distance["L"]).items():
        a, i = divmod(at, old)
        if i in places:
            found[a * len(new) + places[i][0]] = x / places[i][1]
    return found


def _some_of_a_product(problem: dict[str, Any], certificate: dict[str, Any], rng: random.Random) -> None:
    """Rows of a product cannot be turned around: those with a positive multiplier may read >=, and those without one
    may have a gap as well.
    """
    nu, b = _entries(certificate["dual"]["nu"]), [_number(x) for x in problem["rhs"]["data"]]
    least = [nu.get(i, Q(0)) >= 0 and rng.random() < 0.7 for i in range(len(b))]
    gaps = [rng.randint(0, 2) if one and not nu.get(i) else 0 for i, one in enumerate(least)]
    problem["rhs"] = array([x - gap for x, gap in zip(b, gaps, strict=True)], len(b))
    problem["at_least"] = array(map(Q, least), len(b))


def resting(name: str, seed: int | str = 0) -> Case:
    """Nothing but rows that hold with a gap at theta = 0, the minimiser of every norm: no multiplier at all."""
    case = plant(name, "none", False)
    rng = random.Random(f"resting {name} {seed}")
    D = [-_number(x) for x in case.problem["theta_star"]["data"]]
    rows = [loose(rng, D, Q(rng.randint(1, 9), 4)) for _ in range(4)]
    case.problem["jacobian"]["matrix"] = array([x for row in rows for x in row.a], 4, len(D))
    case.problem |= {"rhs": array([row.b for row in rows], 4), "at_least": array([Q(1)] * 4, 4), "version": 2}
    primal = {"base": "zero", "parts": []}
    certificate = {**case.certificate, "version": 2, "primal": primal, "dual": {"nu": []}}
    certificate["claims"] = {"proof": "exact", "lower": "0", "upper": "0"}
    return Case(f"resting {name}", case.problem, certificate, Q(0), None, [Q(0)] * len(D))


def contradictory(norm: str | None = None, seed: int | str = 0) -> Case:
    """a D >= 1 and -2 a D >= -1; or one row that no drift in the region meets."""
    case, rng = plant("l1", "none", True), random.Random(f"contradictory {norm} {seed}")
    free = [x == "1" for x in case.problem["free"]["data"]]
    row = [Q(rng.randint(-4, 4)) if moves else Q(rng.randint(-9, 9)) for moves in free]
    row[free.index(True)] = Q(rng.choice((-3, 3)))
    other = [-2 * x if moves else x for x, moves in zip(row, free, strict=True)]
    rows, nu = [Row(row, Q(1)), Row(other, Q(-1)), Row([x + 1 for x in row], Q(-50))], {0: Q(2), 1: Q(1)}
    if norm is not None:
        size = sum((abs(x) for x, moves in zip(row, free, strict=True) if moves), Q(0))
        rows, nu = [Row(row, size), Row([Q(0)] * len(row), Q(-1)), Row(other, -9 * size)], {0: Q(1)}
        case.problem["drift_penalty"] = [{"name": "trust_region", "radius": "3/4", "norm": norm}]
    case.problem["jacobian"]["matrix"] = array([x for r in rows for x in r.a], 3, len(row))
    case.problem |= {"rhs": array([r.b for r in rows], 3), "at_least": array([Q(1)] * 3, 3), "version": 2}
    head = {"schema": "exact-unlearn/certificate", "version": 2, "kind": "infeasible"}
    certificate = {**head, "dual": {"nu": vec(nu)}, "claims": {"proof": "infeasible"}}
    return Case(f"contradictory {norm} {seed}", case.problem, certificate)


def told_apart(seed: int | str = 0) -> Case:
    """Two groups are needed: x_0 + x_1 >= 1 and x_2 + x_3 >= 1 in terms of theta, and every set of one group misses one
    of them, which its vector says.  Some multiples of the rows, and a row with a gap.
    """
    rng = random.Random(f"told apart {seed}")
    d, value = 8, Q(2)
    start = [Q(rng.randint(-3, 3)) for _ in range(d)]
    theta = [Q(1), Q(0), Q(0), Q(2), *([Q(0)] * 4)]
    sides = [[0, 1], [2, 3]]
    lines = [[Q(rng.randint(1, 3)) if j in side else Q(0) for j in range(d)] for side in sides]
    rows = [Row(a, min(x for x in a if x) - inner(a, start)) for a in lines]
    rows += [
        rows[rng.randrange(2)].times(rng.randint(2, 4)),
        loose(rng, [x - y for x, y in zip(theta, start, strict=True)], Q(1)),
    ]
    k = len(rows)
    case = plant("l1", "none", False)
    case.problem |= {"theta_star": array(start, d), "free": array([Q(1)] * d, d), "version": 2}
    case.problem["jacobian"]["matrix"] = array([x for row in rows for x in row.a], k, d)
    case.problem |= {"rhs": array([row.b for row in rows], k), "at_least": array([Q(1)] * k, k)}
    case.problem["regularizer"] = {"name": "l0", "labels": array([Q(j // 2) for j in range(d)], d)}
    count = {"exhausted": 1, "apart": [vec({0: Q(1)}), vec({1: Q(rng.randint(1, 3), 2)})]}
    claims = {"proof": "exact", "lower": text(value), "upper": text(value), "gap": "0"}
    primal = {"base": "zero", "parts": vec({j: x for j, x in enumerate(theta) if x})}
    certificate = {**case.certificate, "version": 2, "primal": primal, "count": count, "claims": claims}
    del certificate["dual"]
    return Case(f"told apart {seed}", case.problem, certificate, value, None, theta)


def planted(names: tuple[str, ...], drifts: tuple[str, ...] = tuple(DRIFTS)) -> Iterator[Case]:
    """Every kind of rows on every pair of a regularizer and a sum of drift penalties, frozen or not in turn."""
    turn = 0
    for name in names:
        for drift_name in drifts:
            for kind in KINDS:
                turn += 1
                yield with_rows(plant(name, drift_name, turn % 2 == 0), kind)


__all__ = ["KINDS", "contradictory", "planted", "resting", "told_apart", "with_rows"]
