"""Proofs of sums, centres, Huber and maps: what is proved, by the checker alone, and that nobody fools it."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.certify import checker
from exact_unlearn.forms import Form, Huber, Kink, Max, Norms, Part, Rows, Square
from exact_unlearn.regularizers import Written
from tests.cases import TOLERANCES
from tests.form_cases import CASES, CENTRE, DRIFTS, THETA, D, J, problem, value_by_hand

GAP = Fraction(1, 10**60)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])
def test_the_optimum_is_proved_and_is_that_of_a_program_by_hand(name: str, drift: str, frozen: bool) -> None:
    stated = problem(name, drift, frozen)
    found = xu.certify(stated)
    assert found.proof == ("enclosure" if drift == "ball" else CASES[name].proof)
    assert found.gap is not None
    assert found.gap <= (0 if found.proof == "exact" else GAP)
    verdict = found.check()
    assert (verdict.proved, verdict.proof) == (True, found.proof)
    expected = value_by_hand(name, drift, frozen, "CLARABEL")
    assert float(found.upper or 0) == pytest.approx(expected, rel=TOLERANCES["another formulation"])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_files_are_proofs_on_their_own(name: str, suffix: str, tmp_path: Path) -> None:
    stated = problem(name, "l1 + squared", True)
    files = [tmp_path / f"problem{suffix}", tmp_path / "certificate.json"]
    stated.save(files[0])
    xu.certify(stated).save(files[1])
    assert json.loads(files[1].read_text())["version"] == 2
    run = subprocess.run([sys.executable, "-I", "-S", checker.__file__, *files], capture_output=True, text=True)
    assert (run.returncode, run.stdout[:7]) == (0, "proved "), run.stdout
    loaded = xu.Certificate.load(files[1], xu.UnlearningProblem.load(files[0]))
    assert loaded.check().proved
    other = xu.UnlearningProblem(
        THETA, J, stated.regularizer + 2.0**-40 * xu.L1(), DRIFTS["l1 + squared"][0], stated.free
    )
    assert not loaded.check(other).proved or loaded.proof != "exact"


def test_a_solution_is_proved_as_it_is_where_nothing_better_can_be() -> None:
    stated = xu.UnlearningProblem(THETA, J, xu.NuclearNorm(slice(0, 12), (3, 4)) + 0.5 * xu.L1())
    solved = xu.solve(stated)
    found = xu.certify(stated, solved)
    assert found.proof == "repaired"
    assert (found.gap or 1) < Fraction(1, 10**8)
    assert found.check().proved
    alone = xu.certify(stated)
    assert (alone.proof, alone.lower) == ("repaired", 0)
    assert "matrix norm in a sum" in alone.message


@pytest.mark.parametrize("name", ["l1 + group", "huber", "total variation", "l2 + linf"])
def test_rational_problems_and_those_where_nothing_moves(name: str) -> None:
    stated = problem(name, "box", True)
    exact = xu.UnlearningProblem([Fraction(v) for v in THETA], J, stated.regularizer, DRIFTS["box"][0], stated.free)
    assert xu.certify(exact).upper == pytest.approx(xu.certify(stated).upper)
    still = xu.UnlearningProblem(THETA, J, stated.regularizer, DRIFTS["box"][0], free=[])
    found = xu.certify(still)
    assert (found.proof, found.unique, found.check().proved) == ("exact", True, True)
    assert float(found.upper or 0) == pytest.approx(float(stated.regularizer.value(THETA)), rel=1e-14)


def test_labels_and_contradictions_are_those_of_any_problem() -> None:
    rhs = J @ np.random.default_rng(5).standard_normal(D)
    R = xu.L1() + xu.Huber(0.5).centred_at(CENTRE)
    found = xu.certify(xu.UnlearningProblem(THETA, J, R, rhs=rhs))
    assert (found.proof, found.check().proved) == ("exact", True)
    twice = np.vstack([J, J[:1]])
    clash = xu.UnlearningProblem(THETA, twice, R, rhs=np.append(rhs, rhs[0] + 1))
    assert xu.certify(clash, rows="literal").proof == "infeasible"
    near = xu.UnlearningProblem(THETA, np.vstack([J, 3.1 * J[:1]]), R)
    kept = xu.certify(near, tau=1e-6)
    assert kept.check(tau=1e-6).proved


# ---------------------------------------------------------------- soundness


def drawn(rng: random.Random) -> xu.UnlearningProblem:
    """A small problem of whole numbers with a random form."""
    d, k = rng.randint(2, 5), rng.randint(1, 2)

    def numbers(n: int, least: int = -3) -> np.ndarray[Any, Any]:
        return np.array([rng.randint(least, 3) for _ in range(n)], dtype=float)

    parts = []
    for _ in range(rng.randint(1, 3)):
        m = rng.choice([None, rng.randint(1, 4)])
        size = d if m is None else m
        rows = None if m is None else Rows.of(numbers(m * d).reshape(m, d))
        weights = rng.choice([None, numbers(size, 0)])
        groups = np.unique([rng.randint(0, 2) for _ in range(size)], return_inverse=True)[1]
        term = rng.choice(
            [Square(weights), Kink(weights), Max(weights), Huber(0.5, weights), Norms(inner=weights), Norms(groups)]
        )
        centre = rng.choice([None, numbers(size)])
        parts.append(Part(term, rows, centre, rng.choice([1, 2, Fraction(1, 3)])))
    drifts: list[Any] = [None, xu.SquaredDrift(1.0), xu.L1Drift(0.5), xu.TrustRegion(1.0), xu.TrustRegion(0.5, np.inf)]
    free = np.array([rng.random() < 0.8 for _ in range(d)])
    return xu.UnlearningProblem(
        numbers(d), numbers(k * d).reshape(k, d), Written(Form(tuple(parts))), rng.choice(drifts), free
    )


def forged(rng: random.Random, stated: xu.UnlearningProblem) -> dict[str, Any]:
    """theta* as the point, and multipliers and shares that nobody computed."""

    def vec(n: int) -> list[Any]:
        chosen = sorted(rng.sample(range(n), rng.randint(0, n)))
        if not chosen:
            return []
        nums = [format(rng.randint(-9, 9), "x") for _ in chosen]
        return [{"indices": chosen, "nums": nums, "den": format(rng.randint(1, 6), "x")}]

    others = [part for part in stated.form.parts if part.map is not None or not part.term.separable]
    sizes = [stated.n_parameters if part.map is None else part.map.shape[0] for part in others]
    dual: dict[str, Any] = {"nu": vec(stated.n_constraints), "shares": [vec(size) for size in sizes]}
    if any(term.name == "trust_region" and term.norm == 2 for term in stated.drifts) and rng.random() < 0.5:
        dual["ball"] = "1/2"
    primal = {"base": "theta_star", "parts": []}
    claims = {"proof": "repaired"}
    return {
        "schema": "exact-unlearn/certificate", "version": 2, "kind": "bounds", "primal": primal, "dual": dual,
        "claims": claims,
    }  # fmt: skip


def test_no_multipliers_prove_more_than_is_true() -> None:
    """Bounds from random multipliers lie below the optimum, which a proof of another origin encloses."""
    rng, judged, tight = random.Random(11), 0, 0
    for _ in range(120):
        stated = drawn(rng)
        best = xu.certify(stated, rows="literal")
        assert best.proof in ("exact", "enclosure", "repaired"), (stated.form.to_spec(), best.message)
        assert best.check().proved
        tight += best.proof != "repaired"
        for _ in range(8):
            verdict = checker.check(stated, forged(rng, stated))
            if verdict.proof == "none":
                assert "nu is larger" in verdict.sentences[0] or "absorb" in verdict.sentences[0], verdict.sentences
                continue
            judged += 1
            assert verdict.lower is not None
            assert verdict.upper is not None
            assert verdict.lower <= best.upper
            assert best.lower <= verdict.upper
    assert judged > 700
    assert tight > 100


def mutations(tree: Any, rng: random.Random) -> Any:
    """The tree with one number, list or name somewhere replaced."""
    tree = copy.deepcopy(tree)
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            if key in ("schema", "version", "claims", "kind"):
                continue
            places.append((node, key))
            if isinstance(child, (dict, list)):
                visit(child)

    visit(tree)
    node, key = rng.choice(places)
    value = node[key]
    if isinstance(value, str):
        node[key] = rng.choice(["0", "1", "-1", "ffff", "1/3", value + "1", "zero", "theta_star", "dual"])
    elif isinstance(value, int):
        node[key] = rng.choice([value + 1, value - 1, -1, 1 << 40, 0])
    elif isinstance(value, list):
        rng.choice([value.clear, value.reverse, lambda: value.extend(value[:1])])()
    else:
        node[key] = rng.choice([[], None, {}, "1"])
    return tree


@pytest.mark.parametrize("name", CASES)
def test_a_mutant_proves_nothing_false(name: str) -> None:
    """A certificate with a random change is refused, or its bounds still enclose the optimum."""
    rng, stated = random.Random(name), problem(name, "box", True)
    found = xu.certify(stated)
    tree = dict(found.tree)
    assert found.lower is not None
    assert found.upper is not None
    for _ in range(60):
        mutant = mutations(tree, rng)
        verdict = checker.check(stated, mutant)
        if verdict.proof != "none":
            assert verdict.lower <= found.upper
            assert found.lower <= verdict.upper


BAD_TERMS: list[tuple[dict[str, Any], str]] = [
    ({"term": "sorted"}, "unknown term"),
    ({"term": "kink", "factor": "0"}, "a factor is not positive"),
    ({"term": "kink", "factor": "-1"}, "expected a number that is at least 0"),
    ({"term": "huber"}, "delta is missing"),
    ({"term": "huber", "delta": "0"}, "delta is not positive"),
    ({"term": "kink", "weights": {"shape": [1], "data": ["1"]}}, "expected an array of shape"),
    ({"term": "kink", "centre": {"shape": [1], "data": ["1"]}}, "expected an array of shape"),
    ({"term": "norms", "weights": {"shape": [1], "data": ["1"]}}, "norms without labels have no weights"),
    ({"term": "norms", "labels": {"shape": [12], "data": [0] * 12}, "inner": {"shape": [12], "data": [1] * 12}},
     "norms with labels have no inner weights"),
    ({"term": "norms", "labels": {"shape": [12], "data": [12] * 12}}, "expected integers from 0 to 11"),
    ({"term": "spectral", "shape": [2, 2], "indices": {"shape": [4], "data": [0, 1, 1, 2]}}, "occurs twice"),
    ({"term": "kink", "map": {"rows": 1, "columns": 11, "row": {"shape": [0], "data": []}}}, "columns: expected"),
    ({"term": "kink", "map": {"rows": 1, "columns": 12, "row": {"shape": [2], "data": [0, 0]},
      "column": {"shape": [2], "data": [3, 3]}, "value": {"shape": [2], "data": ["1", "1"]}}}, "occurs twice"),
    ({"term": "kink", "map": {"rows": 1, "columns": 12, "row": {"shape": [1], "data": [1]},
      "column": {"shape": [1], "data": [3]}, "value": {"shape": [1], "data": ["1"]}}}, "expected integers from 0"),
    ({"term": "kink", "map": {"rows": 1, "columns": 12, "row": {"shape": [1], "data": [0]},
      "column": {"shape": [1], "data": [12]}, "value": {"shape": [1], "data": ["1"]}}}, "expected integers from 0"),
]  # fmt: skip


@pytest.mark.parametrize(("term", "sentence"), BAD_TERMS)
def test_terms_that_are_none_are_refused_where_they_are_read(term: dict[str, Any], sentence: str) -> None:
    tree = codec.to_json(problem("huber").to_tree())
    tree["regularizer"] = {"name": "form", "terms": [term]}
    with pytest.raises(checker.Rejected, match=sentence):
        checker.check(tree, dict(xu.certify(problem("huber")).tree))


def test_version_1_has_no_forms_and_shares_are_counted() -> None:
    stated = problem("l1 + group")
    tree, certificate = codec.to_json(stated.to_tree()), dict(xu.certify(stated).tree)
    with pytest.raises(checker.Rejected, match="unknown regularizer"):
        checker.check({**tree, "version": 1}, certificate)
    dual = {**certificate["dual"], "shares": certificate["dual"]["shares"] * 2}
    verdict = checker.check(tree, {**certificate, "dual": dual})
    assert "one share for every part" in verdict.sentences[0]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("drift", ["none", "l1 + squared"])
def test_rows_that_read_at_least_are_rows_of_forms_too(name: str, drift: str) -> None:
    rhs, mask = np.random.default_rng(2).standard_normal(5), np.array([True, True, False, True, True])
    stated = xu.UnlearningProblem(THETA, J, CASES[name].regularizer, DRIFTS[drift][0], rhs=rhs, at_least=mask)
    theta = cp.Variable(D)
    moved = J @ (theta - THETA)
    objective = CASES[name].by_hand(theta) + DRIFTS[drift][1](theta - THETA)
    by_hand = cp.Problem(cp.Minimize(objective), [moved[mask] >= rhs[mask], moved[~mask] == rhs[~mask]])
    expected = by_hand.solve(solver="CLARABEL")
    found = xu.certify(stated)
    assert found.proof == CASES[name].proof
    assert found.check().proved
    assert float(found.upper or 0) == pytest.approx(expected, rel=TOLERANCES["another formulation"])
    assert xu.solve(stated).is_optimal()
