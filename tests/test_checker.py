"""The checker proves what was planted, refuses what is false, and means the same problem in every file."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import struct
import subprocess
import sys
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import checker
from tests import certificate_cases as cases
from tests.certificate_cases import Case, array, inner, text, vec

CHECKER = Path(checker.__file__)
ALL = list(cases.planted())


def proved(case: Case, **changes: Any) -> checker.Verdict:
    return checker.check(case.problem, {**case.certificate, **changes})


def parsed(node: dict[str, Any]) -> list[Q]:
    return [checker.number(x) for x in node["data"]]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_planted_optima_are_proved(case: Case) -> None:
    verdict = proved(case)
    assert verdict.proved, verdict.sentences
    assert verdict.proof == "exact"
    assert verdict.gap == 0
    if case.value is not None:
        assert verdict.lower == verdict.upper == case.value
    else:
        assert case.square is not None
        assert verdict.square == case.square
        assert verdict.lower**2 <= case.square <= verdict.upper**2
        assert verdict.upper - verdict.lower <= verdict.upper / 10**100


@pytest.mark.parametrize("case", ALL[::7], ids=lambda case: case.name)
def test_claims_are_compared_and_never_used(case: Case) -> None:
    """Too much is refused, each claim on its own; too little is accepted; wild claims change no number."""
    own = proved(case)
    tiny = Q(1, 10**200)
    for key, wrong in (
        ("lower", own.upper + tiny),
        ("upper", own.lower - tiny),
        ("gap", -tiny),
        ("distance", -tiny),
        ("square", Q(-1)),
    ):
        verdict = proved(case, claims={"proof": "exact", key: text(wrong)})
        assert not verdict.proved, key
    if not own.unique:
        assert not proved(case, claims={"proof": "exact", "unique": True}).proved
    modest = {
        "proof": "repaired",
        "lower": "-5",
        "upper": text(own.upper + 1),
        "gap": "7",
        "unique": None,
        "distance": None,
    }
    verdict = proved(case, claims=modest)
    assert (verdict.lower, verdict.upper, verdict.gap, verdict.proof) == (own.lower, own.upper, own.gap, "exact")


@pytest.mark.parametrize("case", ALL[::3], ids=lambda case: case.name)
def test_a_moved_point_or_multiplier_is_noticed(case: Case) -> None:
    """No part of a certificate is decoration: a changed number is refused, or the bounds still hold the optimum."""
    noticed = 0
    for path in (("primal", "parts"), ("dual", "nu"), ("dual", "g")):
        parts = case.certificate.get(path[0], {}).get(path[1])
        for part in range(len(parts or [])):
            changed = copy.deepcopy(case.certificate)
            target = changed[path[0]][path[1]][part]
            target["nums"][0] = format(int(target["nums"][0], 16) * 3 + 1, "x")
            verdict = checker.check(case.problem, changed)
            noticed += not verdict.proved
            if verdict.proved:
                assert case.contains(verdict.lower, verdict.upper)
    assert noticed


def test_the_frozen_part_of_a_norm_is_no_constant() -> None:
    """|theta|_2 over (free, frozen): J theta* and a dual norm over the free part alone would claim a false bound."""
    problem = {
        "schema": "exact-unlearn/problem",
        "version": 1,
        "theta_star": array([Q(3), Q(1), Q(2)], 3),
        "jacobian": {"kind": "dense", "matrix": array([Q(1), Q(1), Q(7)], 1, 3)},
        "rhs": array([Q(0)], 1),
        "free": array([Q(1), Q(1), Q(0)], 3),
        "regularizer": {"name": "l2", "weights": None},
        "drift_penalty": [],
    }
    optimum = Q(2 * 2 + 2 * 2 + 2 * 2)  # theta = (2, 2, 2)
    certificate: dict[str, Any] = {
        "schema": "exact-unlearn/certificate",
        "version": 1,
        "kind": "bounds",
        "primal": {"base": "zero", "parts": vec({0: Q(2), 1: Q(2)})},
        "dual": {"nu": vec({0: Q(2)}), "g": vec({2: Q(2)})},
        "claims": {"proof": "exact", "square": text(optimum)},
    }
    assert checker.check(problem, certificate).square == optimum
    del certificate["dual"]["g"]  # forget the frozen coordinate
    certificate["claims"] = {"proof": "repaired"}
    verdict = checker.check(problem, certificate)
    assert verdict.proved
    assert verdict.lower**2 <= optimum == 12
    assert verdict.lower**2 < 9  # what the free part alone is worth


@pytest.mark.parametrize("suffix", ["json", "npz", "safetensors"])
@pytest.mark.parametrize("regularizer", [xu.L1(), xu.GroupL2([[0, 1], [2, 3]], [0.5, 2.0]), xu.L0([[0, 1], [2], [3]])])
def test_three_carriers_hold_one_problem(tmp_path: Path, suffix: str, regularizer: Any) -> None:
    J = np.array([[0.1, -2.0, 1e-300, 3.0], [1e17, 0.5, 7.0, -0.25]])
    drift = xu.SquaredDrift(0.1) + xu.TrustRegion(3.0, "inf")
    problem = xu.UnlearningProblem(
        np.array([0.3, -1.7, 5e-324, 2.5]), J, regularizer, drift, free=[0, 1, 3], rhs=np.array([0.1, 0.0])
    )
    problem.save(tmp_path / f"problem.{suffix}")
    found = checker.Problem(checker.read_problem(tmp_path / f"problem.{suffix}"))
    assert found.start == [Q(x) for x in (0.3, -1.7, 5e-324, 2.5)]
    assert [[Q(x, den) for x in row] for row, den in found.rows] == [[Q(x) for x in row] for row in J[:, [0, 1, 3]]]
    assert (found.lam, found.box, found.rho, found.free) == (Q(0.1), 3, None, [0, 1, 3])
    assert found.rhs == [Q(0.1), 0]


def safetensors(path: Path, arrays: dict[str, tuple[str, list[int], bytes]]) -> None:
    header, content = {}, b""
    for name, (kind, shape, raw) in arrays.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(content), len(content) + len(raw)]}
        content += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32", "F64"])
def test_narrow_floats_are_read_exactly(tmp_path: Path, kind: str) -> None:
    values = [1.5, -0.0078125, 96.0, 0.0]  # representable in all four
    pack = {"F16": "<4e", "F32": "<4f", "F64": "<4d"}
    raw = struct.pack("<4f", *values)
    raw = b"".join(raw[i + 2 : i + 4] for i in range(0, 16, 4)) if kind == "BF16" else struct.pack(pack[kind], *values)
    spec = cases.plant("l1", "none", False).problem | {
        "theta_star": {"array": "theta_star"},
        "jacobian": {"kind": "dense", "matrix": {"array": "J"}},
        "rhs": array([Q(0)], 1),
        "free": array([Q(1)] * 4, 4),
        "regularizer": {"name": "l1", "weights": None},
    }
    content = json.dumps(spec).encode()
    arrays = {"theta_star": (kind, [4], raw), "J": (kind, [1, 4], raw), "spec": ("U8", [len(content)], content)}
    safetensors(tmp_path / "p.safetensors", arrays)
    problem = checker.Problem(checker.read_problem(tmp_path / "p.safetensors"))
    assert problem.start == [Q(x) for x in values]
    assert [Q(x, problem.rows[0][1]) for x in problem.rows[0][0]] == [Q(x) for x in values]


def test_float16_and_float32_in_npz(tmp_path: Path) -> None:
    for dtype in (np.float16, np.float32):
        spec = cases.plant("l1", "none", False).problem | {
            "theta_star": {"array": "t"},
            "jacobian": {"kind": "dense", "matrix": {"array": "J"}},
            "rhs": array([Q(0)], 1),
            "free": {"array": "free"},
            "regularizer": {"name": "l1", "weights": None},
        }
        theta = np.array([0.1, 3e-8, -7], dtype=dtype)
        stored = np.frombuffer(json.dumps(spec).encode(), dtype=np.uint8)
        np.savez_compressed(tmp_path / "p.npz", t=theta, J=theta[None], free=np.array([True, True, False]), spec=stored)
        problem = checker.Problem(checker.read_problem(tmp_path / "p.npz"))
        assert problem.start == [Q(float(x)) for x in theta]
        assert problem.free == [0, 1]


def run(*arguments: Any) -> tuple[int, str]:
    command = [sys.executable, "-I", "-S", str(CHECKER), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr + result.stdout
    return result.returncode, result.stdout


def test_exit_statuses(tmp_path: Path) -> None:
    case, other = cases.plant("l1", "squared", False), cases.plant("l1", "squared", True)
    for name, tree in (("p", case.problem), ("q", other.problem), ("c", case.certificate)):
        (tmp_path / f"{name}.json").write_text(json.dumps(tree))
    status, said = run(tmp_path / "p.json", tmp_path / "c.json")
    assert status == 0
    assert said.startswith("proved (exact)")
    assert run(tmp_path / "q.json", tmp_path / "c.json")[0] == 1
    assert run(tmp_path / "missing.json", tmp_path / "c.json")[0] == 2
    assert run(tmp_path / "c.json", tmp_path / "c.json")[0] == 2
    assert run()[0] == 2
    assert run(tmp_path / "c.json")[0] == 1  # embeds nothing
    (tmp_path / "e.json").write_text(json.dumps({**case.certificate, "problem": case.problem}))
    status, said = run(tmp_path / "e.json")
    assert status == 3
    canonical = json.dumps(case.problem, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode()).hexdigest() in said
    assert "embedded" in said
    assert run(tmp_path / "q.json", tmp_path / "e.json")[0] == 1  # the caller's problem counts, not the embedded one


def test_dropped_rows_are_no_proof_without_a_tolerance() -> None:
    """Whoever makes a certificate could drop every row; the caller says what may be dropped."""
    case = cases.plant("l1", "squared", False)
    rows = {"kept": [0, 1, 2], "tau": text(Q(1, 1000))}
    J = case.problem["jacobian"]["matrix"]
    moved = [x - y for x, y in zip(case.theta, parsed(case.problem["theta_star"]), strict=True)]
    at = next(j for j, x in enumerate(moved) if x)
    extra = parsed(J)[:9]
    extra[at] += Q(1, 10**6)  # a fourth row, almost the first
    problem = copy.deepcopy(case.problem)
    problem["jacobian"]["matrix"] = array([*parsed(J), *extra], 4, 9)
    problem["rhs"] = array([*parsed(case.problem["rhs"]), inner(parsed(J)[:9], moved)], 4)
    assert not checker.check(problem, case.certificate).proved
    certificate = {**case.certificate, "rows": rows}
    verdict = checker.check(problem, certificate)
    assert not verdict.proved
    assert verdict.proof == "exact"
    assert verdict.residual == abs(moved[at]) / 10**6
    assert not checker.check(problem, certificate, tau=Q(1, 10**9)).proved
    verdict = checker.check(problem, certificate, tau=Q(1, 100))
    assert verdict.proved
    nu = sum(abs(Q(int(n, 16), int(part["den"], 16))) for part in case.certificate["dual"]["nu"] for n in part["nums"])
    assert verdict.robust_lower == max(Q(0), case.value - Q(1, 100) * nu)
    everything_dropped = {**certificate, "rows": {"kept": [], "tau": "0"}, "dual": {"nu": []}}
    assert not checker.check(problem, everything_dropped, tau=Q(1, 100)).proved


def test_infeasible_problems() -> None:
    case = cases.infeasible()
    assert checker.check(case.problem, case.certificate).proof == "infeasible"
    wrong = copy.deepcopy(case.certificate)
    wrong["dual"]["nu"][0]["nums"][0] = "2"
    assert not checker.check(case.problem, wrong).proved
    consistent = copy.deepcopy(case.problem)
    consistent["rhs"] = array([Q(0), Q(1), Q(1)], 3)
    assert not checker.check(consistent, case.certificate).proved


@pytest.mark.parametrize(
    ("norm", "radius", "reached"),
    [("2", Q(1, 5), False), ("2", Q(1, 4), True), ("inf", Q(1, 7), False), ("inf", Q(1, 6), True)],
)
def test_regions_that_the_constraints_do_not_meet(norm: str, radius: Q, reached: bool) -> None:
    """3 D_0 + 3 D_1 = 1: the shortest D has norm 1/(3 sqrt 2) = 0.2357, the flattest 1/6."""
    problem = cases.plant("l1", "none", False).problem | {
        "theta_star": array([Q(1), Q(1)], 2),
        "jacobian": {"kind": "dense", "matrix": array([Q(3), Q(3)], 1, 2)},
        "rhs": array([Q(1)], 1),
        "free": array([Q(1), Q(1)], 2),
        "regularizer": {"name": "l1", "weights": None},
        "drift_penalty": [{"name": "trust_region", "radius": text(radius), "norm": norm}],
    }
    certificate = {**cases.infeasible().certificate, "dual": {"nu": vec({0: Q(1)})}}
    assert checker.check(problem, certificate).proved == (not reached)


@pytest.mark.parametrize("case", [c for c in ALL if c.name.endswith(" x none")], ids=lambda case: case.name)
def test_where_nothing_is_free_theta_star_is_the_only_point(case: Case) -> None:
    """Its value is the optimum: exactly, except for the nuclear norm, of which only an upper bound is computed."""
    d = len(case.problem["theta_star"]["data"])
    k = len(case.problem["rhs"]["data"])
    problem = case.problem | {"free": array([Q(0)] * d, d), "rhs": array([Q(0)] * k, k)}
    problem["theta_star"] = array([Q(j % 3 + 1) for j in range(d)], d)
    primal = {"base": "theta_star", "parts": []}
    certificate = {**case.certificate, "primal": primal, "dual": {"nu": []}, "claims": {"proof": "repaired"}}
    verdict = checker.check(problem, {key: value for key, value in certificate.items() if key != "count"})
    assert verdict.proved
    assert verdict.unique == ("l0" not in case.name and "neurons" not in case.name)
    assert (verdict.proof == "exact") == ("nuclear" not in case.name)
    if "nuclear" in case.name:  # of ((2, 3), (1, 2), (3, 1)), whose squared singular values have sum 28 and product 75
        assert verdict.lower**2 <= 28 + 2 * Q(75**0.5) <= verdict.upper**2


def strongly_convex() -> list[Case]:
    return [c for c in ALL if "squared" in c.name.split(" x ")[1:] or c.name.startswith("squared_l2 x none")]


@pytest.mark.parametrize("case", strongly_convex(), ids=lambda case: case.name)
def test_the_distance_bound_holds(case: Case) -> None:
    """A feasible point next to the known minimiser: the bound is at least its true distance, and not absurd."""
    problem = checker.Problem(case.problem)
    kernel = null_vector([[Q(x, den) for x in row] for row, den in problem.rows])
    step = Q(1, 10**6)
    theta = list(case.theta)
    for at, j in enumerate(problem.free):
        theta[j] += step * kernel[at]
    certificate = copy.deepcopy(case.certificate)
    certificate["primal"]["parts"] = vec({j: theta[j] for j in problem.free})
    certificate["claims"] = {"proof": "repaired"}
    verdict = checker.check(case.problem, certificate)
    assert verdict.proved
    true = math.sqrt(sum((x - y) ** 2 for x, y in zip(theta, case.theta, strict=True)))
    assert verdict.unique
    assert true <= float(verdict.distance)
    assert case.contains(verdict.lower, verdict.upper)


def null_vector(rows: list[list[Q]]) -> list[Q]:
    """A non-zero kernel vector, by Gauss-Jordan elimination."""
    rows, pivots = [row[:] for row in rows], []
    for c in range(len(rows[0])):
        found = next((r for r in range(len(pivots), len(rows)) if rows[r][c]), None)
        if found is None:
            continue
        rows[len(pivots)], rows[found] = rows[found], rows[len(pivots)]
        top = rows[len(pivots)] = [x / rows[len(pivots)][c] for x in rows[len(pivots)]]
        rows = [
            row if r == len(pivots) else [x - row[c] * y for x, y in zip(row, top, strict=True)]
            for r, row in enumerate(rows)
        ]
        pivots.append(c)
    loose = next(c for c in range(len(rows[0])) if c not in pivots)
    return [Q(1) if c == loose else -rows[pivots.index(c)][loose] if c in pivots else Q(0) for c in range(len(rows[0]))]
