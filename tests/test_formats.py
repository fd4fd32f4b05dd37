"""Bad values in every field of every file format, generated from the formats' own schema: one sentence each.

A value that its field cannot hold must be refused by a sentence that names the file and the field. One that it can
hold may still be wrong beside the others; then the sentence names the file. Nothing else may happen.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec, formats
from exact_unlearn.errors import FileFormatError
from exact_unlearn.formats import Kind, ListOf, OneOf, OrNull, Record
from exact_unlearn.models import LinearNetwork

D, K = 6, 2
THETA, ROWS = np.arange(1.0, D + 1), np.eye(K, D)
GROUPS = [[0, 1], [2, 3], [4, 5]]

BAD: list[Any] = [
    None, True, -1, 3, 2**70, 1.5, math.nan, "", "a", "1", "l1", "-1f/0", [], ["x"], [[1]], [3, 2], [None, None],
    {}, {"name": "l1"}, {"name": {}}, {"kind": ["dense"]}, {"array": "a"}, {"array": {}},
    {"shape": [1], "data": ["1"]}, {"shape": [2], "data": ["x", "y"]}, {"shape": [-1], "data": []},
    {"shape": "a", "data": []}, {"shape": [1] * 40, "data": ["1"]}, "1" + "0" * 300,
    {"shape": [D], "data": ["1/2"] * D}, {"shape": [True], "data": [None]},
    {"shape": [D], "data": ["1" + "0" * 300] * D}, {"shape": [0], "data": []}, {"shape": [], "data": ["1"]},
]  # fmt: skip


def problems() -> dict[str, xu.UnlearningProblem]:
    """Each regularizer, each drift penalty, each Jacobian."""
    network = LinearNetwork((2, 2, 1))
    theta = np.arange(1.0, network.n_parameters + 1)
    inputs = np.ones((1, 2))
    predictor = xu.surrogate_problem(network, theta, inputs, xu.PredictorNorm(network, theta))
    drifts = xu.SquaredDrift(0.5) + xu.L1Drift(0.25) + xu.TrustRegion(9.0) + xu.TrustRegion(8.0, norm="inf")
    perceptron = xu.Perceptron(2, 2)
    counted = xu.ActiveNeurons(perceptron)
    kinds = {
        "squared_l2": xu.SquaredL2(THETA), "l2": xu.L2(THETA), "l1": xu.L1(THETA), "linf": xu.LInf(THETA),
        "group_l2": xu.GroupL2(GROUPS, [1.0, 2.0, 3.0]), "elastic_net": xu.ElasticNet(0.5, 0.25), "l0": xu.L0(GROUPS),
        "nuclear_norm": xu.NuclearNorm(slice(0, 4), (2, 2)), "active_neurons": counted,
    }  # fmt: skip
    made = {name: xu.UnlearningProblem(THETA, ROWS, regularizer) for name, regularizer in kinds.items()}
    return made | {"predictor_norm": predictor, "drifts": xu.UnlearningProblem(THETA, ROWS, xu.L1(), drifts)}


def places(kind: Kind, tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Kind]]:
    """Every field of `tree` that `kind` describes, itself included, with what it may hold."""
    yield at, kind
    if isinstance(kind, OrNull):
        if tree is not None:
            yield from places(kind.inner, tree, at)
    elif isinstance(kind, OneOf):
        yield from places(kind.records[tree[kind.key]], tree, at)
    elif isinstance(kind, Record):
        for name, inner in kind.fields.items():
            if name in tree:
                yield from places(inner, tree[name], (*at, name))
    elif isinstance(kind, ListOf):
        for index, entry in enumerate(tree):
            yield from places(kind.item, entry, (*at, index))


def changed(tree: Any, at: tuple[Any, ...], value: Any) -> Any:
    """A copy of `tree` with one field replaced."""
    if not at:
        return value
    out = copy.deepcopy(tree)
    inner = out
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = value
    return out


def fits(kind: Kind, value: Any) -> bool:
    """Whether the field can hold the value once it has been read."""
    try:
        return not list(kind.faults(codec.from_json(value), "x"))
    except FileFormatError:
        return False


def attack(path: Path, tree: Any, kind: Kind, load: Callable[[Path], Any], under: tuple[Any, ...] = ()) -> int:
    """Write every change of `tree` to `path` and load it; how many were refused."""
    refused = 0
    inner = tree
    for step in under:
        inner = inner[step]
    seen = set()
    for at, expected in places(kind, codec.from_json(inner)):
        for value in BAD:
            case = (at, repr(value))
            if case in seen:
                continue
            seen.add(case)
            path.write_text(json.dumps(changed(tree, (*under, *at), value)))
            said = complaint(load, path)
            assert said or fits(expected, value), (at, value)
            refused += bool(said)
    return refused


def complaint(load: Callable[[Path], Any], path: Path) -> str:
    """The one sentence by which a file is refused, without the name of the file; "" if it is accepted."""
    try:
        load(path)
        return ""
    except FileFormatError as error:
        said = str(error)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert len(said) < 600 + len(str(path))
    return said.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", problems())
def test_a_bad_field_of_a_problem_is_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    problems()[name].save(path)
    tree = json.loads(path.read_text())
    assert attack(path, tree, formats.PROBLEM, xu.UnlearningProblem.load) > 100


def test_a_bad_field_of_a_solution_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    xu.solve(problems()["drifts"]).save(path)
    tree = json.loads(path.read_text())
    own = Record({name: kind for name, kind in formats.SOLUTION.fields.items() if name != "problem"})
    assert attack(path, tree, own, xu.Solution.load) > 100


def test_a_bad_claim_of_a_certificate_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    xu.certify(problems()["l1"]).save(path, embed_problem=True)
    tree = json.loads(path.read_text())
    assert attack(path, tree, formats.CLAIMS, xu.Certificate.load, ("claims",)) > 50
    for value in BAD:
        path.write_text(json.dumps(tree | {"problem": value}))
        assert complaint(xu.Certificate.load, path)


def test_a_bad_field_of_a_program_is_one_sentence(tmp_path: Path) -> None:
    """Programs are kept as arrays: in the text every value goes, in the arrays the wrong types, shapes and numbers."""
    path = tmp_path / "e.npz"
    xu.explicit_program(problems()["drifts"]).save(path)
    arrays = codec.load_arrays(path)
    spec = json.loads(arrays["spec"].tobytes())
    tree = codec.load_object(path, "exact-unlearn/program")
    wrong = [np.array(["a"]), np.zeros((2, 2, 2)), np.full(3, np.nan), np.zeros(3, complex), np.zeros(99), -np.ones(4)]
    for at, kind in places(formats.PROGRAM, tree):
        for value in BAD[::2] if at else BAD[:1]:
            text = json.dumps(changed(spec, at, value)).encode()
            codec.save_arrays(path, arrays | {"spec": np.frombuffer(text, np.uint8)})
            assert complaint(xu.ExplicitProgram.load, path) or fits(kind, value)
        name = ".".join(map(str, at))
        for array in wrong if name in arrays else []:
            np.savez(path, **(arrays | {name: array}))
            complaint(xu.ExplicitProgram.load, path)  # a sentence or an answer, nothing else


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("regularizer", "l1", "regularizer: expected an object with 'name'"),
        ("drift_penalty", ["x"], r"drift_penalty\[0\]: expected an object with 'name'"),
        ("schema", {"a": 1}, "expected schema"),
        ("schema", {"shape": [2], "data": ["1", "2"]}, "expected schema"),
        ("version", True, "version True"),
        ("version", {"shape": [2], "data": ["1", "2"]}, "version"),
        ("free", ["x", "y"], "free: expected an array of 0 and 1"),
        ("free", {"shape": [D], "data": ["1/2"] * D}, "free: expected an array of 0 and 1"),
        ("jacobian", {"kind": "sparse"}, r"jacobian\.kind: expected one of dense, product, got 'sparse'"),
    ],
)
def test_the_sentence_says_what_was_expected_and_what_came(
    field: str, value: Any, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "p.json"
    problems()["l1"].save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(FileFormatError, match=rf"p\.json: {sentence}"):
        xu.UnlearningProblem.load(path)


def test_the_page_names_every_field() -> None:
    """docs/formats.md and the schema are about the same files."""
    page = (Path(__file__).parent.parent / "docs" / "formats.md").read_text()
    for kind in (formats.PROBLEM, formats.SOLUTION, formats.PROGRAM):
        for name in kind.fields:
            assert f'"{name}"' in page
    for variants in (formats.REGULARIZER, formats.DRIFT, formats.JACOBIAN):
        for name, record in variants.records.items():
            assert f'"{name}"' in page
            assert all(f'"{part}"' in page for part in record.fields)
