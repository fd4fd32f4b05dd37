"""Trees of sign patterns before both checkers: what is no proof any more is refused, what still is one is not."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.activations import Activation
from exact_unlearn.arrangement import Arrangement
from exact_unlearn.certify import checker
from exact_unlearn.origin import TwoLayer
from tests.certificate_cases import array
from tests.network_cases import JS, NODE

Trees = tuple[dict[str, Any], dict[str, Any]]


@cache
def _made(name: str) -> Trees:
    phi = {"abs": Activation("abs"), "leaky": Activation("leaky_relu", 0.5)}.get(name, Activation("relu"))
    x = np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 1.0], [-1.0, 1.0]])
    problem = xu.global_problem(xu.Perceptron(2, 2, phi), x, [1.0, 0.0, 3.0, 2.0], "path")
    if name == "impossible":
        problem = xu.global_problem(xu.Perceptron(2, 2, phi), x, [1.0, 1.0, 3.0, 2.0], "path")
    return _json(codec.to_json(problem.to_tree())), _json(dict(xu.certify(problem).tree))


def _json(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def made(name: str = "relu") -> Trees:
    """A problem with a sample that is 0, and its certificate."""
    return copy.deepcopy(_made(name))


def judged(problem: dict[str, Any], certificate: dict[str, Any], folder: Path) -> str:
    """The sentence of the Python checker, after both have said the same."""
    (folder / "problem.json").write_text(json.dumps(problem))
    (folder / "certificate.json").write_text(json.dumps(certificate))
    try:
        verdict = checker.check(folder / "problem.json", folder / "certificate.json")
        status, said = (0 if verdict.proved else 1), "; ".join(verdict.sentences)
    except checker.Rejected as error:
        status, said = 2, str(error)
    second = subprocess.run(
        [NODE, JS, folder / "problem.json", folder / "certificate.json"], capture_output=True, text=True, check=False
    )
    assert second.returncode == status, (said, second.stdout, second.stderr)
    return said


def gordan(weights: dict[int, int], den: str = "1") -> list[dict[str, Any]]:
    return [{"indices": list(weights), "nums": [format(w, "x") for w in weights.values()], "den": den}]


def test_the_certificates_are_proofs(tmp_path: Path) -> None:
    for name in ("relu", "abs", "leaky"):
        said = judged(*made(name), tmp_path)
        assert said.startswith("proved (exact)")
        assert "that fit 4 samples" in said
    assert "so no network of any width fits" in judged(*made("impossible"), tmp_path)


def first_vector(tree: list[Any]) -> int:
    return next(i for i, node in enumerate(tree) if isinstance(node, list))


def _replaced(tree: list[Any], at: int, *nodes: Any) -> None:
    tree[at : at + 1] = nodes


REFUSED: dict[str, tuple[Callable[[list[Any]], Any], str]] = {
    "a leaf less": (lambda tree: tree.pop(len(tree) - 1 - tree[::-1].index(None)), "the tree ends before all"),
    "a leaf more": (lambda tree: tree.append(None), "the tree goes on after its end"),
    "a leaf twice": (lambda tree: _replaced(tree, tree.index(None), None, None), "tree"),
    "no tree": (lambda tree: tree.clear(), "the tree ends before all its branches do"),
    "one leaf": (lambda tree: tree.__setitem__(slice(None), [None]), "leaves the sign of a sample open"),
    "everything cut": (
        lambda tree: tree.__setitem__(slice(None), [gordan({0: 1})]), "an index has no place there",
    ),
    "a leaf cut by a sample that is 0": (
        lambda tree: tree.__setitem__(tree.index(None), gordan({1: 1})), "an index has no place there",
    ),
    "a leaf cut by one sample": (
        lambda tree: tree.__setitem__(tree.index(None), gordan({0: 1})), "a branch is cut where cells may be",
    ),
    "a leaf cut by nothing": (lambda tree: tree.__setitem__(tree.index(None), []), "that are negative, or all 0"),
    "a leaf cut by zeros": (lambda tree: tree.__setitem__(tree.index(None), gordan({0: 0})), "or all 0"),
    "a leaf cut by negative weights": (
        lambda tree: tree.__setitem__(tree.index(None), gordan({0: 3, 2: -2, 3: -1})), "that are negative",
    ),
    "a leaf for the cut": (lambda tree: tree.__setitem__(first_vector(tree), None), "not as many parameters"),
    "a division by a sample that is 0": (lambda tree: tree.__setitem__(0, 1), "divides by a sample that is 0"),
    "a division twice": (lambda tree: tree.__setitem__(1, 0), "or twice"),
    "a sample that is not there": (lambda tree: tree.__setitem__(0, 4), "divides by a sample"),
    "a truth": (lambda tree: tree.__setitem__(tree.index(None), True), "a vector is no list"),
    "a text": (lambda tree: tree.__setitem__(0, "0"), "a vector is no list"),
    "the tree twice": (lambda tree: tree.extend(list(tree)), "the tree goes on after its end"),
    "a vector times -1": (
        lambda tree: tree[first_vector(tree)][0].__setitem__("den", "-1"), "no positive integer",
    ),
    "another weight": (
        lambda tree: tree[first_vector(tree)][0]["nums"].__setitem__(0, "7"), "a branch is cut where cells may be",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_tree_that_is_no_proof_is_refused(name: str, tmp_path: Path) -> None:
    change, sentence = REFUSED[name]
    problem, certificate = made()
    change(certificate["tree"])
    assert certificate["tree"] != made()[1]["tree"]
    assert sentence in judged(problem, certificate, tmp_path)


def test_a_certificate_without_a_tree_proves_nothing_about_a_network(tmp_path: Path) -> None:
    for name in ("relu", "impossible"):
        problem, certificate = made(name)
        del certificate["tree"]
        assert judged(problem, certificate, tmp_path) == "not proved: tree is missing"
        del problem["origin"]  # it is still one about the program
        assert judged(problem, certificate, tmp_path).startswith("proved") or "neurons" in certificate["claims"]


def test_scaled_vectors_and_another_order_of_equal_cuts_are_proofs(tmp_path: Path) -> None:
    problem, certificate = made()
    for node in certificate["tree"]:
        if isinstance(node, list):
            node[0]["nums"] = [format(9 * int(n, 16), "x") for n in node[0]["nums"]]
            node[0]["den"] = "4"
            node.append({"indices": [], "nums": [], "den": "1"})
    assert judged(problem, certificate, tmp_path).startswith("proved (exact)")


def with_cells(signs: Any, tree: list[Any]) -> Trees:
    """The program of these patterns, an honest certificate for it, and this tree."""
    x = np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 1.0], [-1.0, 1.0]])
    origin = TwoLayer("relu", None, 2, x, np.array([1.0, 0.0, 3.0, 2.0]), "path")
    origin.__dict__["cells"] = Arrangement(np.array(signs, dtype=np.int8), ())
    parts = origin.parts()
    plain = xu.UnlearningProblem(parts.theta_star, parts.matrix, xu.L1(), rhs=parts.rhs, at_least=parts.at_least)
    problem = _json(codec.to_json(plain.to_tree() | {"origin": origin.to_tree()}))
    return problem, _json(dict(xu.certify(plain).tree)) | {"tree": tree}


def test_leaves_of_empty_cells_do_no_harm(tmp_path: Path) -> None:
    """All eight sign patterns, of which two have no cell: the same value."""
    signs = [[a, 0, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)]
    tree: list[Any] = [0, 2, 3, None, None, 3, None, None, 2, 3, None, None, 3, None, None]
    problem, certificate = with_cells(signs, tree)
    assert len(made()[1]["tree"]) < len(tree) + 2
    said = judged(problem, certificate, tmp_path)
    assert said.split(",")[0] == judged(*made(), tmp_path).split(",")[0]


def test_forgotten_patterns_are_refused(tmp_path: Path) -> None:
    """Without any one of the cells: whatever vector is put in its place, and whether or not the value changes."""
    signs = [list(s) for s in TwoLayer(
        "relu", None, 2, np.array([[1.0, 1.0], [0.0, 0.0], [2.0, 1.0], [-1.0, 1.0]]), np.zeros(4), "path"
    ).cells.signs.tolist()]  # fmt: skip
    values = set()
    for at in range(len(signs)):
        tree = made()[1]["tree"]
        place = [i for i, node in enumerate(tree) if node is None][at]
        for vector in (gordan({1: 1}), gordan({0: 1}), gordan({0: 1, 2: 1, 3: 1}), []):
            problem, certificate = with_cells(signs[:at] + signs[at + 1 :], [*tree[:place], vector, *tree[place + 1 :]])
            values.add(certificate["claims"]["upper"])
            assert judged(problem, certificate, tmp_path).startswith("not proved")
    assert len(values) > 1, "forgetting some of them would have made a false claim"


PROBLEMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another label": lambda p: p["origin"]["y"]["data"].__setitem__(0, "2"),
    "another sample": lambda p: p["origin"]["x"]["data"].__setitem__(0, "3"),
    "another measure": lambda p: p["origin"].__setitem__("R", "squared"),
    "an entry of J": lambda p: p["jacobian"]["matrix"]["data"].__setitem__(0, "7"),
    "an entry of J, of a row that reads >=": lambda p: p["jacobian"]["matrix"]["data"].__setitem__(-1, "7"),
    "b": lambda p: p["rhs"]["data"].__setitem__(0, "2"),
    "b, of a row that reads >=": lambda p: p["rhs"]["data"].__setitem__(-1, "-1"),
    "which rows read >=": lambda p: p["at_least"]["data"].__setitem__(-1, "0"),
    "what is free": lambda p: p["free"]["data"].__setitem__(0, "0"),
    "theta*": lambda p: p["theta_star"]["data"].__setitem__(0, "1"),
    "weights": lambda p: p["regularizer"].__setitem__(
        "weights", array([2] * len(p["free"]["data"]), len(p["free"]["data"]))
    ),
    "R": lambda p: p.__setitem__("regularizer", {"name": "linf", "weights": None}),
    "a form": lambda p: p.__setitem__("regularizer", {"name": "form", "terms": [{"term": "kink"}]}),
    "a drift": lambda p: p["drift_penalty"].append({"name": "l1_drift", "lam": "1"}),
    "a region": lambda p: p["drift_penalty"].append({"name": "trust_region", "norm": "inf", "radius": "64"}),
    "an activation of another slope": lambda p: p["origin"].update(activation="leaky_relu", slope="1/2"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_that_is_not_the_program_of_its_origin_is_refused(name: str, tmp_path: Path) -> None:
    problem, certificate = made()
    PROBLEMS[name](problem)
    certificate["claims"] = {"proof": "repaired"}
    said = judged(problem, certificate, tmp_path)
    assert "origin" in said or "a branch is cut where cells may be" in said
    assert not said.startswith("proved")


ORIGINS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "kind": lambda o: o.__setitem__("kind", "three_layer"),
    "activation": lambda o: o.__setitem__("activation", "tanh"),
    "slope": lambda o: o.__setitem__("slope", "1"),
    "no slope": lambda o: o.pop("slope"),
    "width 0": lambda o: o.__setitem__("width", 0),
    "width of text": lambda o: o.__setitem__("width", "2"),
    "R": lambda o: o.__setitem__("R", "l2"),
    "x of one dimension": lambda o: o["x"].__setitem__("shape", [8]),
    "x without columns": lambda o: o.__setitem__("x", {"shape": [4, 0], "data": []}),
    "too few labels": lambda o: o.__setitem__("y", {"shape": [3], "data": ["1", "0", "3"]}),
    "no object": lambda o: o.clear(),
}


@pytest.mark.parametrize("name", ORIGINS)
def test_an_origin_that_makes_no_sense_makes_no_problem(name: str, tmp_path: Path) -> None:
    problem, certificate = made()
    ORIGINS[name](problem["origin"])
    assert judged(problem, certificate, tmp_path).startswith("the problem cannot be used")


def test_more_widths_are_not_claimed_than_are_proved(tmp_path: Path) -> None:
    problem, certificate = made()
    enough = certificate["claims"]["neurons"]
    for claimed in (enough + 1, None):
        certificate["claims"]["neurons"] = claimed
        assert judged(problem, certificate, tmp_path).startswith("proved")
    certificate["claims"]["neurons"] = enough - 1
    assert judged(problem, certificate, tmp_path) == "not proved: more is claimed than is proved: neurons"
    for claimed in (True, "2", -1, [2]):
        certificate["claims"]["neurons"] = claimed
        assert judged(problem, certificate, tmp_path).startswith("not proved: neurons: expected an integer")
    certificate["claims"]["neurons"] = 2
    del problem["origin"]
    assert judged(problem, certificate, tmp_path) == "not proved: more is claimed than is proved: neurons"


def test_other_rows_are_no_proof_about_the_network(tmp_path: Path) -> None:
    """Within a tau it is a proof about some samples only, which says nothing about neurons."""
    problem, certificate = made()
    certificate["rows"] = {"kept": [0, 1, 2], "tau": "1"}
    certificate["dual"] = {"nu": []}
    certificate["claims"] = {"proof": "repaired", "neurons": 3}
    assert judged(problem, certificate, tmp_path) == "not proved: more is claimed than is proved: neurons"
    del certificate["claims"]["neurons"]
    verdict = checker.check(problem, certificate, 1)
    assert verdict.proved
    assert verdict.neurons is None
    assert not any("width" in sentence for sentence in verdict.sentences)


def full_tree(n: int, depth: int = 0) -> list[int | None]:
    """All sign patterns of n samples."""
    return [None] if depth == n else [depth, *full_tree(n, depth + 1), *full_tree(n, depth + 1)]


def test_trees_cost_what_their_size_allows() -> None:
    """A tree without cuts grows with two to the number of samples; reading it is stopped before the end."""
    n = 12
    origin = {"kind": "two_layer", "activation": "relu", "slope": "0", "width": 1, "R": "path"}
    origin |= {"x": array([1] * n, n, 1), "y": array([0] * n, n)}
    assert len(checker.TwoLayer(origin, checker.Work()).patterns(full_tree(n))) == 2**n
    with pytest.raises(checker.Rejected, match="more work than its size allows"):
        checker.TwoLayer(origin, checker.Work(10**7)).patterns(full_tree(n))
