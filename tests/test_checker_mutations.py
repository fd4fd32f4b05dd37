"""Ten thousand damaged and forged certificates: none proves anything false, crashes, hangs, or eats the memory."""

from __future__ import annotations

import copy
import json
import random
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import pytest

from exact_unlearn.certify import checker
from tests import certificate_cases as cases
from tests.certificate_cases import Case, text

ALL = list(cases.planted())
PER_CASE = 60
HUGE = "f" * 65536
LONG = "f" * 3000
STRINGS = [
    "",
    "-",
    "0",
    "1",
    "-1",
    "1/0",
    "0/1",
    "1/-1",
    "0x1f",
    "1_0",
    " 1",
    "1.5",
    "nan",
    "é",
    "F",
    LONG,
    "1/" + LONG,
    HUGE + "f",
]
WORDS = [
    "zero",
    "theta_star",
    "dual",
    "bounds",
    "infeasible",
    "exact",
    "enclosure",
    "repaired",
    "none",
    "literal",
    "l1",
]
THINGS: list[Any] = [None, True, False, 0, -1, 10**30, "", [], {}, [[]], {"indices": [0]}, [1, 2], 1.5]


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def mutate_leaf(leaf: Any, rng: random.Random) -> Any:
    if isinstance(leaf, bool) or leaf is None:
        return rng.choice(THINGS)
    if isinstance(leaf, int):
        return rng.choice(
            [leaf + 1, leaf - 1, -leaf, 2 * leaf, leaf + 10**30, bool(leaf), str(leaf), float(leaf), None]
        )
    if not isinstance(leaf, str) or not checker.HEX.fullmatch(leaf):
        return rng.choice([*WORDS, *STRINGS, *THINGS])
    x = checker.number(leaf)
    changed = rng.choice(
        [-x, x + 1, x - 1, 2 * x, x / 2, x * x, Q(0), Q(1), x + Q(1, 10**40), x * 16**40, x / 16**40, 1 / x if x else x]
    )
    return rng.choice([text(changed)] * 5 + [rng.choice(STRINGS)])


def mutate_node(node: Any, rng: random.Random) -> Any:
    if isinstance(node, dict) and node:
        key = rng.choice(sorted(node))
        kind = rng.randrange(5)
        if kind == 0:
            del node[key]
        elif kind == 1:
            node[key + "s"] = node.pop(key)
        elif kind == 2:
            node[rng.choice(sorted(node))] = copy.deepcopy(node[key])
        elif kind == 3:
            node[key] = rng.choice(THINGS)
        else:
            node[rng.choice(["ball", "g", "B", "count", "distance", "rows", "factors"])] = copy.deepcopy(node[key])
    elif isinstance(node, list) and node:
        at, other, kind = rng.randrange(len(node)), rng.randrange(len(node)), rng.randrange(6)
        if kind == 0:
            del node[at]
        elif kind == 1:
            node.insert(at, copy.deepcopy(node[other]))
        elif kind == 2:
            node[at], node[other] = node[other], node[at]
        elif kind == 3:
            node[at] = rng.choice(THINGS)
        elif kind == 4:
            node *= 50
        else:
            node.clear()
    else:
        return rng.choice(THINGS)
    return node


def forge(tree: dict[str, Any], rng: random.Random) -> None:
    """A whole that fits together: multipliers scaled, a claim strengthened, rows dropped, a ball added, counts
    raised.
    """
    kind = rng.randrange(7)
    if kind == 0:
        tree["claims"] = {
            "proof": "exact",
            rng.choice(["lower", "upper", "gap", "distance"]): text(Q(rng.randint(-50, 50), 3)),
        }
    elif kind == 1 and "dual" in tree:
        factor = rng.choice([Q(1, 2), Q(101, 100), Q(2), Q(-1), Q(10**9)])
        for part in tree["dual"]["nu"]:
            part["nums"] = [text(checker.number(x) * factor) for x in part["nums"]]
        tree["claims"] = {"proof": "repaired"}
    elif kind == 2 and "dual" in tree:
        tree["dual"].pop(rng.choice(sorted(tree["dual"])))
        tree["claims"] = {"proof": "repaired"}
    elif kind == 3:
        tree["rows"] = {"kept": rng.sample(range(3), rng.randint(0, 3)), "tau": text(Q(rng.randint(0, 3)))}
    elif kind == 4 and "dual" in tree:
        tree["dual"]["ball"] = text(Q(rng.randint(-2, 5), 2))
        tree["claims"] = {"proof": "repaired"}
    elif kind == 5:
        tree["count"] = {"exhausted": rng.randint(-2, 9)}
        tree["claims"] = {"proof": "repaired", "unique": True}
    elif "parts" in tree["primal"]:
        tree["primal"]["base"] = rng.choice(["zero", "dual", "theta_star"])
        tree["primal"]["parts"] = tree["primal"]["parts"][: rng.randint(0, 2)]
        tree["claims"] = {"proof": "repaired"}


def mutant(case: Case, rng: random.Random) -> dict[str, Any]:
    tree: Any = copy.deepcopy(case.certificate)
    if rng.random() < 0.25:
        forge(tree, rng)
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        path = rng.choice([p for p in paths(tree) if p])
        parent = tree
        for key in path[:-1]:
            parent = parent[key]
        child = parent[path[-1]]
        change = mutate_node if isinstance(child, dict | list) else mutate_leaf
        parent[path[-1]] = change(child, rng)
    if rng.random() < 0.3:
        tree["claims"] = {"proof": "repaired"}  # so that the numbers below decide, not the claims
    return dict(tree)


def false_statement(case: Case, verdict: checker.Verdict, certificate: dict[str, Any]) -> str:
    """What the verdict says that is not so; "" if it is all true."""
    if not verdict.proved:
        return ""
    if verdict.lower is None or verdict.upper is None:
        return "infeasible"
    if not case.contains(verdict.lower, verdict.upper):
        return "bounds"
    if verdict.proof == "exact" and case.value is not None and verdict.upper != case.value:
        return "exact"
    if verdict.square is not None and verdict.square not in (case.square, case.value and case.value**2):
        return "square"
    if verdict.distance is not None:  # the planted point is one of the minimisers
        proof = checker.Proof(checker.Problem(case.problem), certificate)
        proof.place()
        theta = [Q(n, proof.theta.den) for n in proof.theta.nums]
        true = sum(((x - y) ** 2 for x, y in zip(theta, case.theta, strict=True)), Q(0))
        if true > verdict.distance**2:
            return "distance"
    return ""


@pytest.mark.parametrize("part", range(8))
def test_no_mutant_proves_anything_false(part: int) -> None:
    rng, proved, count = random.Random(part), 0, 0
    for case in ALL[part::8]:
        for _ in range(PER_CASE):
            certificate = mutant(case, rng)
            verdict = checker.check(case.problem, certificate)
            count += 1
            proved += verdict.proved
            assert isinstance(verdict, checker.Verdict)
            assert all(len(sentence) < 1000 for sentence in verdict.sentences)
            assert not false_statement(case, verdict, certificate), json.dumps(certificate)[:2000]
    assert 0 < proved < count / 2


def test_there_are_more_than_ten_thousand() -> None:
    assert len(ALL) * PER_CASE + len(ALL) * 6 + 400 >= 10_000


def test_certificates_of_other_problems() -> None:
    """Each certificate against six other problems: mostly refused, and true where it is not."""
    rng, refused = random.Random(1), 0
    for case in ALL:
        for other in rng.sample(ALL, 6):
            for certificate in (case.certificate, {**case.certificate, "claims": {"proof": "repaired"}}):
                verdict = checker.check(other.problem, certificate)
                refused += not verdict.proved
                assert not false_statement(other, verdict, certificate), (case.name, other.name)
    assert refused > len(ALL)


def damaged(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    data = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        at = rng.randrange(len(data))
        if kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + rng.randrange(9)]
        elif kind == 3:
            data[at:at] = bytes(data[at : at + 40])
        else:
            data[at:at] = rng.choice([b"[", b"{", b'"', b",", b"1e9", b"NaN", b"\x00", b"9" * 50])
    return bytes(data)


def test_damaged_certificate_files(tmp_path: Path) -> None:
    rng, path = random.Random(2), tmp_path / "c.json"
    for case in ALL[::4]:
        for _ in range(10):
            path.write_bytes(damaged(json.dumps(case.certificate).encode(), rng))
            verdict = checker.check(case.problem, path)
            if verdict.proved:
                assert not false_statement(case, verdict, json.loads(path.read_bytes()))


@pytest.mark.parametrize("suffix", ["json", "npz", "safetensors"])
def test_damaged_problem_files_are_one_sentence(tmp_path: Path, suffix: str) -> None:
    import numpy as np

    import exact_unlearn as xu

    rng = random.Random(3)
    J = np.random.default_rng(0).integers(-9, 9, (2, 5)).astype(float)
    problem = xu.UnlearningProblem(np.arange(5.0), J, xu.GroupL2([[0, 1], [2, 3, 4]]), xu.L1Drift(1.0))
    problem.save(tmp_path / f"p.{suffix}")
    content, path = (tmp_path / f"p.{suffix}").read_bytes(), tmp_path / f"damaged.{suffix}"
    nothing = {"schema": "exact-unlearn/certificate", "version": 1, "kind": "bounds", "claims": {"proof": "repaired"}}
    for _ in range(150):
        path.write_bytes(damaged(content, rng))
        try:
            verdict = checker.check(path, {**nothing, "primal": {"base": "theta_star", "parts": []}})
        except checker.Rejected as error:
            assert "\n" not in str(error)[:50]  # noqa: PT017 - either outcome is fine, if it is clean
        else:
            assert isinstance(verdict, checker.Verdict)


# ---------------------------------------------------------------- bombs


def limited(*arguments: Any) -> tuple[int, str]:
    """The checker alone, in 3 GB of address space and a minute of processor."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

    command = [sys.executable, "-I", "-S", checker.__file__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout


def bomb(change: Callable[[dict[str, Any]], None]) -> str:
    tree = copy.deepcopy(cases.plant("l1", "squared", False).certificate)
    change(tree)
    return json.dumps(tree)


def many_denominators(tree: dict[str, Any]) -> None:
    tree["primal"]["parts"] = [{"indices": [j], "nums": ["1"], "den": HUGE[:-j] + "1" * j} for j in range(1, 9)]


def long_everything(tree: dict[str, Any]) -> None:
    tree["primal"]["parts"] = [{"nums": [HUGE] * 9, "den": HUGE[1:]}]
    tree["dual"]["nu"] = [{"nums": [HUGE] * 3, "den": HUGE[2:]}]
    tree["dual"]["ball"] = HUGE


BOMBS = {
    "deep list": lambda: "[" * 500_000,
    "deep object": lambda: '{"a":' * 500_000,
    "deep certificate": lambda: bomb(lambda t: t).replace('"bounds"', "[" * 200_000),
    "long integer": lambda: bomb(lambda t: t["dual"]["nu"][0]["indices"].append(0)).replace("0]", "9" * 100_000 + "]"),
    "huge exponent": lambda: bomb(lambda t: t).replace('"version": 1', '"version": 1e999999999'),
    "over-long number": lambda: bomb(lambda t: t["dual"].update(ball=HUGE + "0")),
    "long numbers": lambda: bomb(long_everything),
    "many denominators": lambda: bomb(many_denominators),
    "many parts": lambda: bomb(lambda t: t["dual"].update(nu=[{"indices": [], "nums": [], "den": "1"}] * 200_000)),
    "many indices": lambda: bomb(
        lambda t: t["dual"].update(nu=[{"indices": [10**9] * 10**6, "nums": ["1"] * 10**6, "den": "1"}])
    ),
    "a million strings": lambda: bomb(lambda t: t.update(comment=["x"] * 1_000_000)),
    "duplicate keys": lambda: bomb(lambda t: t)[:-1] + ', "kind": "infeasible"}',
    "too large": lambda: " " * ((64 << 20) + 1),
}


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_bombs_are_refused(tmp_path: Path, name: str) -> None:
    problem, certificate = tmp_path / "p.json", tmp_path / "c.json"
    problem.write_text(json.dumps(cases.plant("l1", "squared", False).problem))
    certificate.write_text(BOMBS[name]())
    status, said = limited(problem, certificate)
    assert status == (0 if name in ("a million strings", "many parts") and "proved (exact)" in said else 1), said


def test_bombs_in_problem_files(tmp_path: Path) -> None:
    certificate = tmp_path / "c.json"
    certificate.write_text(json.dumps(cases.plant("l1", "squared", False).certificate))
    zipped = tmp_path / "zip.npz"
    with (
        zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("spec.npy", "w", force_zip64=True) as file,
    ):
        for _ in range(700):
            file.write(bytes(1 << 20))  # 700 MiB of zeros in less than one
    liar = tmp_path / "liar.safetensors"
    header = json.dumps({"spec": {"dtype": "U8", "shape": [1 << 50], "data_offsets": [0, 1 << 50]}}).encode()
    liar.write_bytes(struct.pack("<Q", len(header)) + header + b"x")
    endless = tmp_path / "endless.safetensors"
    endless.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    fractions = tmp_path / "fractions.json"
    problem = cases.plant("l1", "squared", False).problem
    data = [f"1/{(1 << 240_000) + 2 * j + 1:x}" for j in range(9 * 200)]
    problem["jacobian"]["matrix"] = {"shape": [3, 600], "data": data[:1800]}
    fractions.write_text(json.dumps(problem))
    for path in (zipped, liar, endless, fractions):
        assert limited(path, certificate)[0] == 2
