"""Everything that the checker reads is checked where it is read: index, count, length, sign, shape, kind of file."""

from __future__ import annotations

import copy
import json
import math
import struct
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import checker
from exact_unlearn.certify.checker import Rejected, Work
from tests import certificate_cases as cases
from tests.certificate_cases import array, vec

Tree = dict[str, Any]
L1 = cases.plant("l1", "all", True)  # every drift penalty, frozen coordinates
CASES = {
    "l1": L1,
    "group_l2": cases.with_distance("none", False),
    "nuclear_norm": cases.plant("nuclear_norm", "none", False),
    "predictor_norm": cases.predictor(2),
    "l0": cases.counting(1),
    "active_neurons": cases.counting(1, "active_neurons"),
    "elastic_net": cases.plant("elastic_net", "none", False),
    "infeasible": cases.infeasible(),
}


def put(tree: Tree, path: str, value: Any) -> Tree:
    """A copy with something else at `a.b.0`; `...` removes it."""
    changed: Any = copy.deepcopy(tree)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    node = changed
    for key in parents:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return dict(changed)


def test_the_cases_as_they_are() -> None:
    for name, case in CASES.items():
        assert checker.check(case.problem, case.certificate).proved, name


PROBLEMS: list[tuple[str, str, Any, str]] = [
    ("l1", "schema", "exact-unlearn/certificate", "it is not a problem: expected the schema 'exact-unlearn/problem'"),
    ("l1", "schema", ..., "found None"),
    ("l1", "version", 3, "not version 1 or 2"),
    ("l1", "at_least", 0, "version 1 has no rows that read >="),
    ("l1", "version", True, "not version 1"),
    ("l1", "version", "1", "not version 1"),
    ("l1", "theta_star", ..., "theta_star is missing"),
    ("l1", "theta_star.shape", [3, 3], "expected an array of shape"),
    ("l1", "theta_star.shape", [8], "expected an array of shape"),
    ("l1", "theta_star.shape", [-9], "shape: expected an integer from 0"),
    ("l1", "theta_star.shape", [True], "shape: expected an integer from 0"),
    ("l1", "theta_star.shape", "9", "shape is no list"),
    ("l1", "theta_star.data", {"0": "1"}, "data is no list"),
    ("l1", "theta_star.data.0", True, "expected a number, found True"),
    ("l1", "theta_star.data.0", None, "expected a number, found None"),
    ("l1", "theta_star.data.0", ["1"], "expected a number, found list"),
    ("l1", "theta_star.data.0", "1.5", "expected a number such as"),
    ("l1", "theta_star.data.0", "1/0", "a denominator is zero"),
    ("l1", "theta_star.data.0", "1/-8", "expected a number such as"),
    ("l1", "theta_star.data.0", "F", "expected a number such as"),
    ("l1", "theta_star.data.0", "\u0661", "expected a number such as"),
    ("l1", "theta_star.data.0", "1\n", "expected a number such as"),
    ("l1", "theta_star.data.0", "f" * 65537, "expected a number such as"),
    ("l1", "theta_star.data.0", math.inf, "a number is not finite"),
    ("l1", "theta_star.data.0", math.nan, "a number is not finite"),
    ("l1", "rhs.shape", [4], "expected an array of shape"),
    ("l1", "rhs", [], "expected an object with shape"),
    ("l1", "free.data.0", "2", "expected integers from 0 to 1"),
    ("l1", "free.data.0", "1/2", "expected integers from 0 to 1"),
    ("l1", "free.data.0", "-1", "expected integers from 0 to 1"),
    ("l1", "free.shape", [10], "expected an array of shape"),
    ("l1", "jacobian.kind", "sparse", "unknown kind of jacobian"),
    ("l1", "jacobian.kind", ["dense"], "unknown kind of jacobian"),
    ("l1", "jacobian.matrix.shape", [9, 3], "expected an array of shape"),
    ("l1", "jacobian.matrix.data.0", "x", "expected a number such as"),
    ("l1", "drift_penalty", {}, "drift_penalty is no list"),
    ("l1", "drift_penalty.0.name", "huber", "unknown drift penalty, found 'huber'"),
    ("l1", "drift_penalty.0.name", ["l1_drift"], "unknown drift penalty"),
    ("l1", "drift_penalty.0.lam", "-1", "at least 0"),
    ("l1", "drift_penalty.2.lam", "-1/8", "at least 0"),
    ("l1", "drift_penalty.3.radius", "-1", "at least 0"),
    ("l1", "drift_penalty.3.norm", "1", "unknown norm, found '1'"),
    ("l1", "drift_penalty.3.norm", 2, "unknown norm, found int"),
    ("l1", "regularizer.name", "l3", "unknown regularizer, found 'l3'"),
    ("l1", "regularizer.name", ["l1"], "unknown regularizer"),
    ("l1", "regularizer.weights.data.0", "-1", "at least 0"),
    ("l1", "regularizer.weights.shape", [8], "expected an array of shape"),
    ("elastic_net", "regularizer.alpha", "-1", "at least 0"),
    ("elastic_net", "regularizer.beta", "-1", "at least 0"),
    ("elastic_net", "regularizer.beta", ..., "beta is missing"),
    ("group_l2", "regularizer.labels.data.0", "-1", "expected integers from 0 to 8"),
    ("group_l2", "regularizer.labels.data.0", "9", "expected integers from 0 to 8"),
    ("group_l2", "regularizer.labels", ..., "labels is missing"),
    ("group_l2", "regularizer.weights.data.0", "-1", "at least 0"),
    ("group_l2", "regularizer.weights.shape", [3], "expected an array of shape"),
    ("nuclear_norm", "regularizer.shape", [6], "shape: expected 2 integers"),
    ("nuclear_norm", "regularizer.shape", [2, 2], "expected an array of shape"),
    ("nuclear_norm", "regularizer.indices.data.0", "2", "indices: an index occurs twice"),
    ("nuclear_norm", "regularizer.indices.data.0", "9", "expected integers from 0 to 8"),
    ("predictor_norm", "regularizer.shape", [2, 3], "the block of the predictor norm does not fit"),
    ("predictor_norm", "regularizer.block", [2, 10], "the block of the predictor norm does not fit"),
    ("predictor_norm", "regularizer.block", [-7, 2], "block: expected an integer from 0 to 12"),
    ("predictor_norm", "regularizer.block", [4, 13], "block: expected an integer from 0 to 12"),
    ("predictor_norm", "regularizer.block", [2], "block: expected 2 integers"),
    ("predictor_norm", "jacobian.block", [3, 11], "the factors of the jacobian do not fit"),
    ("predictor_norm", "jacobian.block", [4, 13], "block: expected an integer from 0 to 12"),
    ("predictor_norm", "jacobian.n_parameters", 13, "n_parameters: expected an integer from 12 to 12"),
    ("predictor_norm", "jacobian.V.shape", [2, 3], "the factors of the jacobian do not fit"),
    ("predictor_norm", "rhs", array([0] * 3, 3), "the factors of the jacobian do not fit"),
    ("l0", "regularizer.labels.data.0", "-1", "expected integers from 0 to"),
    ("active_neurons", "regularizer.width", 4, "the regularizer does not fit"),
    ("active_neurons", "regularizer.width", -5, "width: expected an integer from 0"),
    ("active_neurons", "regularizer.n_inputs", ..., "n_inputs is missing"),
    ("active_neurons", "free.data.14", "1", "the regularizer does not fit, or more than C is free"),
]


@pytest.mark.parametrize(("name", "path", "value", "sentence"), PROBLEMS)
def test_problems_are_checked_where_they_are_read(name: str, path: str, value: Any, sentence: str) -> None:
    case = CASES[name]
    with pytest.raises(Rejected) as caught:
        checker.check(put(case.problem, path, value), case.certificate)
    assert str(caught.value).startswith("the problem cannot be used: ")
    assert sentence in str(caught.value)


CERTIFICATES: list[tuple[str, str, Any, str]] = [
    ("l1", "schema", "exact-unlearn/problem", "it is not a certificate: expected the schema"),
    ("l1", "version", True, "not version 1"),
    ("l1", "version", 2, "it is of version 2, the problem of version 1"),
    ("l1", "kind", ..., "kind is missing"),
    ("l1", "kind", "bound", "unknown kind, found 'bound'"),
    ("l1", "claims", ..., "claims is missing"),
    ("l1", "claims", [], "claims is no object"),
    ("l1", "claims.proof", ..., "proof is missing"),
    ("l1", "claims.proof", "perfect", "unknown proof, found 'perfect'"),
    ("l1", "claims.proof", "infeasible", "unknown proof"),
    ("l1", "claims.lower", 5, "lower: expected a text such as"),
    ("l1", "claims.gap", False, "gap: expected a text such as"),
    ("l1", "claims.unique", "yes", "unique is true, false or null"),
    ("l1", "claims.unique", 1, "unique is true, false or null"),
    ("l1", "claims.unique", 0, "unique is true, false or null"),
    ("l1", "claims.square", "1", "more is claimed than is proved: square"),
    ("l1", "primal", ..., "primal is missing"),
    ("l1", "primal", [], "primal is no object"),
    ("l1", "primal.base", ..., "base is missing"),
    ("l1", "primal.base", "one", "this base does not apply, found 'one'"),
    ("l1", "primal.base", "dual", "this base does not apply"),
    ("l1", "primal.parts", ..., "parts is missing"),
    ("l1", "primal.parts", {}, "a vector is no list"),
    ("l1", "primal.parts.0", [], "expected an object with den"),
    ("l1", "primal.parts.0.den", ..., "den is missing"),
    ("l1", "primal.parts.0.den", "0", "no positive integer"),
    ("l1", "primal.parts.0.den", "-1", "no positive integer"),
    ("l1", "primal.parts.0.den", "1/2", "no positive integer"),
    ("l1", "primal.parts.0.den", 1, "expected a number such as"),
    ("l1", "primal.parts.0.nums", ..., "nums is missing"),
    ("l1", "primal.parts.0.nums", "1", "nums is no list"),
    ("l1", "primal.parts.0.nums.0", "1/2", "the numerators of a vector are integers"),
    ("l1", "primal.parts.0.nums.0", 1, "expected a number such as"),
    ("l1", "primal.parts.0.nums.0", ..., "not as many numbers as indices"),
    ("l1", "primal.parts.0.nums", ["1"] * 99, "not as many numbers as indices"),
    ("l1", "primal.parts.0.indices", None, "a vector is no list"),
    ("l1", "primal.parts.0.indices.0", -1, "an index has no place there"),
    ("l1", "primal.parts.0.indices.0", 9, "an index has no place there"),
    ("l1", "primal.parts.0.indices.0", True, "an index has no place there"),
    ("l1", "primal.parts.0.indices.0", "0", "an index has no place there"),
    ("l1", "dual", None, "dual is no object"),
    ("l1", "dual.nu", ..., "nu is missing"),
    ("l1", "dual.nu.0.indices.0", 3, "an index has no place there"),
    ("l1", "dual.nu.0.indices.0", -1, "an index has no place there"),
    ("l1", "dual.ball", "-1", "at least 0"),
    ("l1", "dual.ball", 3, "ball: expected a text such as"),
    ("l1", "dual.ball", None, "ball: expected a text such as"),
    ("l1", "rows", {"kept": [0, 1, 2]}, "tau is missing"),
    ("l1", "rows", {"tau": "0"}, "kept is missing"),
    ("l1", "rows", None, "expected an object with kept"),
    ("l1", "rows", "all", "expected an object with kept"),
    ("l1", "rows", {"kept": [0, 1, 2], "tau": "-1"}, "at least 0"),
    ("l1", "rows", {"kept": [0, 1, 2], "tau": 1}, "tau: expected a text such as"),
    ("l1", "rows", {"kept": [0, 1], "tau": "1"}, "an index has no place there"),  # nu is about all three
    ("elastic_net", "dual.ball", "1", "a multiplier for a trust region that is not there"),
    ("l1", "distance", {"active": [], "L": []}, "only groups have such a distance"),
    ("group_l2", "distance", [], "expected an object with active"),
    ("group_l2", "distance", {"active": [0, 1], "L": []}, "a group may be active that is not listed as such"),
    ("group_l2", "distance.active", [0, 1, 4], "active: an index has no place there"),
    ("group_l2", "distance.active", [0, 1, -1], "active: an index has no place there"),
    ("group_l2", "distance.active", [0, 1, 1], "active: an index occurs twice"),
    ("group_l2", "distance.active", [0, 1, 3.0], "active: an index has no place there"),
    ("group_l2", "distance.L", [], "L is no left inverse"),
    ("group_l2", "distance.L.0.indices.0", 15, "an index has no place there"),
    ("nuclear_norm", "primal.factors", {}, "factors is no list"),
    ("nuclear_norm", "primal.factors.0", ["u"], "expected an object with u"),
    ("nuclear_norm", "primal.factors.0.v", ..., "v is missing"),
    ("nuclear_norm", "primal.factors.0.u", vec({3: Q(0)}), "an index has no place there"),
    ("nuclear_norm", "primal.factors.0.v", vec({2: Q(0)}), "an index has no place there"),
    ("nuclear_norm", "dual.g", vec({9: Q(0)}), "an index has no place there"),
    ("predictor_norm", "dual.B", vec({6: Q(0)}), "an index has no place there"),
    ("l0", "count", 1, "expected an object with exhausted"),
    ("l0", "count.exhausted", 5, "exhausted: expected an integer from -1 to 4"),
    ("l0", "count.exhausted", -2, "exhausted: expected an integer from -1 to 4"),
    ("l0", "count.exhausted", "1", "exhausted: expected an integer from -1 to 4"),
    ("l0", "count.exhausted", True, "exhausted: expected an integer from -1 to 4"),
    ("l0", "count.exhausted", 2, "some groups suffice"),
    ("infeasible", "claims.proof", "exact", "something else is claimed than that nothing fits"),
    ("infeasible", "claims.lower", "1", "more is claimed than that nothing fits"),
    ("infeasible", "dual.nu", vec({1: Q(1)}), "no Farkas vector: J^T nu is not 0"),
    ("infeasible", "dual.nu", vec({1: Q(1), 2: Q(-1)}), "no Farkas vector: <nu, b> is not above"),
    ("infeasible", "dual.nu", [], "no Farkas vector: <nu, b> is not above"),
]


@pytest.mark.parametrize(("name", "path", "value", "sentence"), CERTIFICATES)
def test_certificates_are_checked_where_they_are_read(name: str, path: str, value: Any, sentence: str) -> None:
    case = CASES[name]
    verdict = checker.check(case.problem, put(case.certificate, path, value), 10**6)
    assert (verdict.proved, verdict.proof) == (False, "none")
    assert verdict.sentences[0].startswith("not proved: ")
    assert sentence in verdict.sentences[0]


@pytest.mark.parametrize("name", CASES)
def test_what_is_unknown_or_null_is_ignored(name: str) -> None:
    case = CASES[name]
    claims = {**case.certificate["claims"], "unique": None, "distance": None, "mood": [1], "problem": 3}
    certificate = {**case.certificate, "claims": claims, "comment": {"a": [None, True]}, "rows": "literal"}
    assert checker.check({**case.problem, "extra": [[]]}, certificate).proved


def test_numbers_in_memory() -> None:
    """Floats, integers and Fractions are what they are; in files they are texts."""
    texts = (("-1f/8", Q(-31, 8)), ("-0", Q(0)), ("008", Q(8)))
    for value, number in ((0.1, Q(0.1)), (3, Q(3)), (Q(1, 3), Q(1, 3)), *texts):
        assert checker.number(value) == number
    for value in (True, None, [], "é", "", "-", "0x1"):
        with pytest.raises(Rejected):
            checker.number(value)
    assert checker.number("1", 1) == 1
    with pytest.raises(Rejected, match="at least 1"):
        checker.number("ff/100", 1)


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is no JSON file"),
        (b"{", "it is no JSON file"),
        (b"{} {}", "it is no JSON file"),
        (b"\xff\xfe{}", "it is no text"),
        (b"\xef\xbb\xbf{}", "it is no JSON file"),
        (b"PK\x03\x04", "it is no JSON file"),
        (b'{"a": 1.0}', "a number is written as 1.0"),
        (b'{"a": 1e3}', "a number is written as 1e3"),
        (b'{"a": NaN}', "a number is written as NaN"),
        (b'{"a": -Infinity}', "a number is written as -Infinity"),
        (b'{"a": 1, "a": 1}', "a key occurs twice"),
        (b'{"a": 1, "\\u0061": 1}', "a key occurs twice"),
        (b'{"a": {"b": 1, "b": 2}}', "a key occurs twice"),
        (b"[9007199254740992]", "an integer is out of range"),
        (b"[-9007199254740992]", "an integer is out of range"),
        (b"[" + b"9" * 5000 + b"]", "an integer is out of range"),
        (b"[" * 66 + b"]" * 66, "nested too deeply"),
        (b'{"a":' * 66 + b"1" + b"}" * 66, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(Rejected, match=sentence):
        checker.parse(content)


def test_json_that_is_read() -> None:
    assert checker.parse(b' {"a": [1, -0, "x", null, true], "b": {}}\n') == {"a": [1, 0, "x", None, True], "b": {}}
    assert checker.parse(b"[9007199254740991, -9007199254740991]") == [2**53 - 1, 1 - 2**53]
    deepest: Any = checker.parse(b"[" * 65 + b"]" * 65)
    for _ in range(64):
        (deepest,) = deepest
    assert deepest == []


# ---------------------------------------------------------------- files


def test_the_wrong_kind_of_file_is_one_sentence(tmp_path: Path) -> None:
    """Of both files, in the order in which they are given, and exchanged."""
    rng = np.random.default_rng(0)
    problem = xu.UnlearningProblem(rng.standard_normal(4), rng.standard_normal((2, 4)), xu.L1())
    solution = xu.solve(problem)
    good, proof = tmp_path / "good.json", tmp_path / "proof.json"
    problem.save(good)
    problem.save(tmp_path / "p.npz")
    problem.save(tmp_path / "p.safetensors")
    xu.certify(problem, solution).save(proof)
    solution.save(tmp_path / "solution.npz")
    np.savez(tmp_path / "raw.npz", theta_star=np.ones(2))
    np.savez(tmp_path / "objects.npz", spec=np.array([{}], dtype=object))
    (tmp_path / "folder.json").mkdir()
    contents = {"empty.json": b"", "list.json": b"[]", "text.json": b"hello", "number.json": b"3"}
    contents |= {"null.json": b"null", "object.json": b"{}"}
    contents |= {"binary.json": bytes(range(256)), "empty.npz": b""}
    contents["junk.npz"] = b"PK\x03\x04" + b"x" * 90
    contents |= {"short.safetensors": b"\x08", "long.safetensors": b"\xff" * 64, "problem.txt": good.read_bytes()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert checker.main([str(good), str(proof)]) == 0
    for path in sorted({*tmp_path.iterdir(), tmp_path / "missing.json"}):
        if path != proof:
            verdict = checker.check(good, path)
            assert verdict.proof == "none"
            _one_sentence(verdict.sentences)
            _one_sentence(checker.check(None, path).sentences)
        if path.stem not in ("good", "p"):
            with pytest.raises(Rejected) as caught:
                checker.check(path, proof)
            _one_sentence([str(caught.value)])


def _one_sentence(sentences: Any) -> None:
    (sentence,) = sentences
    assert "\n" not in sentence
    assert len(sentence) < 400
    for noise in ("Error", "Traceback", "damaged"):
        assert noise not in sentence, sentence


def safetensors(path: Path, header: Tree, body: bytes, size: int | None = None) -> Path:
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if size is None else size) + raw + body)
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data_offsets": [0, 1 << 20]}, "data_offsets: expected an integer"),
        ({"data_offsets": [0, 25]}, "arrays overlap"),
        ({"data_offsets": [-8, 16]}, "data_offsets: expected an integer"),
        ({"data_offsets": [16, 8]}, "arrays overlap"),
        ({"data_offsets": [0]}, "data_offsets: expected 2 integers"),
        ({"data_offsets": [0, 16]}, "not as many bytes as its shape says"),
        ({"shape": [2]}, "not as many bytes as its shape says"),
        ({"shape": [-3]}, "shape: expected an integer"),
        ({"shape": [1 << 52]}, "not as many bytes as its shape says"),
        ({"dtype": "F8"}, "an array has the type F8"),
        ({"dtype": "F32"}, "not as many bytes as its shape says"),
        ({"dtype": "I64"}, ""),
        ({"dtype": "F64"}, ""),
    ],
)
def test_arrays_that_are_not_what_they_say(tmp_path: Path, change: Tree, sentence: str) -> None:
    spec = {**CASES["elastic_net"].problem, "theta_star": {"array": "t"}, "free": array([1] * 3, 3)}
    spec |= {"rhs": array([], 0), "jacobian": {"kind": "dense", "matrix": array([], 0, 3)}}
    text = json.dumps(spec).encode()
    header = {"t": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]} | change, "__metadata__": {"a": "b"}}
    header["spec"] = {"dtype": "U8", "shape": [len(text)], "data_offsets": [24, 24 + len(text)]}
    path = safetensors(tmp_path / "p.safetensors", header, struct.pack("<3d", 1, 2, 3) + text)
    if not sentence:
        assert len(checker.Problem(checker.read_problem(path)).start) == 3
        return
    with pytest.raises(Rejected, match=sentence):
        checker.check(path, {})
    header["spec"]["data_offsets"] = [0, 24 + len(text)]
    with pytest.raises(Rejected, match=r"overlap|expected|bytes"):
        checker.check(safetensors(tmp_path / "p.safetensors", header, struct.pack("<3d", 1, 2, 3) + text), {})


def test_arrays_that_are_missing_or_are_no_arrays(tmp_path: Path) -> None:
    spec = json.dumps({**L1.problem, "theta_star": {"array": "x"}}).encode()
    stored = np.frombuffer(spec, dtype=np.uint8)
    cases: list[tuple[Tree, str]] = [
        ({"spec": stored}, "there is no such array, found 'x'"),
        ({"x": np.ones(9)}, "holds no spec"),
        ({"x": np.ones((3, 9), order="F").T, "spec": stored}, "expected an array of shape"),
        ({"x": np.asfortranarray(np.ones((3, 3))), "spec": stored}, "no array of real numbers in row-major order"),
        ({"x": np.ones(9, dtype=complex), "spec": stored}, "no array of real numbers"),
        ({"x": np.ones(9, dtype=np.int16), "spec": stored}, "an array has the type i2"),
        ({"x": np.ones(9, dtype=">f8"), "spec": stored}, "no array of real numbers"),
        ({"x": np.array(["a"] * 9), "spec": stored}, "an array has the type|no array of real numbers"),
        ({"x": np.ones(9), "spec": stored.astype(float)}, "its spec is no text"),
    ]
    for arrays, sentence in cases:
        np.savez(tmp_path / "p.npz", **arrays)
        with pytest.raises(Rejected, match=sentence):
            checker.check(tmp_path / "p.npz", L1.certificate)
    theta = np.array([float(checker.number(x)) for x in L1.problem["theta_star"]["data"]])
    np.savez(tmp_path / "p.npz", x=theta, spec=stored)
    assert checker.check(tmp_path / "p.npz", L1.certificate).proof in ("exact", "none")


def test_booleans_in_files_are_integers_and_booleans_in_trees_are_none(tmp_path: Path) -> None:
    spec = {**L1.problem, "free": {"array": "free"}}
    mask = np.array([x == "1" for x in L1.problem["free"]["data"]])
    np.savez(tmp_path / "p.npz", free=mask, spec=np.frombuffer(json.dumps(spec).encode(), dtype=np.uint8))
    assert checker.check(tmp_path / "p.npz", L1.certificate).proved
    with pytest.raises(Rejected, match="expected a number, found True"):
        checker.check({**L1.problem, "free": {"shape": [9], "data": mask.tolist()}}, L1.certificate)


def test_arguments_of_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, tree in (("p", L1.problem), ("c", L1.certificate)):
        (tmp_path / f"{name}.json").write_text(json.dumps(tree))
    pair = [str(tmp_path / "p.json"), str(tmp_path / "c.json")]
    for more in ([], ["--tau", "0"], ["--tau=1e-3"]):
        assert checker.main([*pair, *more]) == 0
    capsys.readouterr()
    for wrong, said in (
        ([*pair, "--tau"], "--tau needs a number"),
        ([*pair, "--tau", "much"], "--tau needs a number"),
        ([*pair, "--tau=nan"], "tau: expected a finite number"),
        ([*pair, "--tau", "-1"], "tau: expected a finite number"),
        ([*pair, "--tau", "inf"], "tau: expected a finite number"),
        ([*pair, "--help"], "usage"),
        ([*pair, pair[0]], "usage"),
        ([], "usage"),
    ):
        assert checker.main(wrong) == 2
        assert said in capsys.readouterr().out


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(L1.certificate))
    monkeypatch.setattr(checker, "MAX_BYTES", path.stat().st_size)
    assert checker.check(L1.problem, path).proved
    monkeypatch.setattr(checker, "MAX_BYTES", path.stat().st_size - 1)
    assert "is larger than" in checker.check(L1.problem, path).sentences[0]


# ---------------------------------------------------------------- what it costs


@pytest.mark.parametrize("name", CASES)
def test_every_routine_counts_its_work(name: str) -> None:
    """With a nanosecond less than is needed the same file is refused, and so is one whose numbers are much longer."""
    case = CASES[name]
    problem = checker.Problem(case.problem, Work(1 << 60))
    before = problem.work.left
    checker.judge(problem, case.certificate, None)
    assert problem.work.left < before + checker.PER_DIGIT * len(json.dumps(case.certificate))
    with pytest.raises(Rejected, match="more work"):
        checker.Problem(case.problem, Work(-(10**7)))


def test_a_file_earns_no_more_than_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it unpacks into."""
    for name, tree in (("p", L1.problem), ("c", L1.certificate)):
        (tmp_path / f"{name}.json").write_text(json.dumps(tree))
    pair = tmp_path / "p.json", tmp_path / "c.json"
    monkeypatch.setattr(checker, "BASE", 0)
    monkeypatch.setattr(Work.__init__, "__defaults__", (0, 1 << 62))
    assert checker.check(*pair).proved
    monkeypatch.setattr(checker, "PER_BYTE", 10)
    with pytest.raises(Rejected, match="more work than its size allows"):
        checker.check(*pair)
    work = Work(5, 7)
    work.earn(4)
    assert (work.left, work.most) == (9, 3)
    work.earn(4)
    assert (work.left, work.most) == (12, 0)
