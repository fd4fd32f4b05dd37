"""Exact problems of small two-layer networks, and forged trees of sign patterns, multipliers and points.

Whoever forges knows the format: leaves are left out, doubled and exchanged, Gordan's vectors made up, and, worst of
all, the program is that of fewer patterns, with an honest certificate for it and a tree that pretends to be complete.
"""

from __future__ import annotations

import copy
import json
import random
from dataclasses import dataclass, replace
from fractions import Fraction as Q
from functools import cache
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import codec
from exact_unlearn.activations import Activation
from exact_unlearn.arrangement import Arrangement
from exact_unlearn.certify import checker
from exact_unlearn.jacobian import to_rational
from exact_unlearn.origin import TwoLayer
from tests.certificate_cases import Case, text, vec

CASES, FEW = 64, 24
"""Problems, of one campaign and of those about all kinds; each is certified once and then forged in many ways."""

PHIS = (Activation("relu"), Activation("abs"), Activation("leaky_relu", 0.25), Activation("leaky_relu", Q(-1, 3)))


@dataclass(frozen=True)
class Known:
    """A problem with an origin and its certificate, as JSON trees.

    low, high: bounds of the optimum, equal of linear programs, None where no network fits.  patterns: sign patterns of
    random directions, every one of which is that of a cell.  live: samples that are not 0.
    """

    problem: dict[str, Any]
    certificate: dict[str, Any]
    low: Q | None
    high: Q | None
    patterns: frozenset[tuple[int, ...]]
    live: int


def samples(seed: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], Activation]:
    """Small integers, with samples that are 0, doubled or opposite; labels of a network, or any."""
    rng = random.Random(f"samples {seed}")
    m, phi = rng.choice((1, 2, 2, 3)), rng.choice(PHIS)
    n = rng.randint(1, 3 if m < 3 else 2)  # two more may follow, and problems stay small
    x = [[rng.randint(-2, 2) for _ in range(m)] for _ in range(n)]
    if rng.random() < 0.3:
        x.append([0] * m)
    if rng.random() < 0.3:
        x.append([rng.choice((-2, -1, 1, 2)) * v for v in rng.choice(x)])
    X = to_rational(np.array(x, dtype=float))
    weights = to_rational(np.array([[rng.randint(-2, 2) for _ in range(m)] for _ in range(3)], dtype=float))
    y = phi.value(X @ weights.T) @ to_rational(np.array([1.0, -1.0, 2.0]))
    if rng.random() < 0.2:
        y = to_rational(np.array([float(rng.randint(-2, 2)) for _ in x]))
    return X, y, phi


@cache
def known(seed: int, R: str) -> Known:
    """The problem of this number, proved."""
    X, y, phi = samples(str(seed))
    width = random.Random(seed).randint(1, 5)
    problem = xu.global_problem(xu.Perceptron(X.shape[1], width, phi), X, y, R)
    found = xu.certify(problem)
    tree, certificate = (json.loads(json.dumps(each)) for each in (codec.to_json(problem.to_tree()), dict(found.tree)))
    live = int(X.any(axis=1).sum())
    return Known(tree, certificate, found.lower, found.upper, cells(X, problem.origin.slope), live)


def cells(X: Any, slope: Q | None) -> frozenset[tuple[int, ...]]:
    """Patterns of directions that lie on no hyperplane; of slope -1 those with + at the first live sample."""
    rng = np.random.default_rng(0)
    directions = rng.integers(-40, 41, (600, X.shape[1]))
    x = X.astype(float)
    signs = np.sign(directions @ x.T).astype(int)
    signs = signs[(signs[:, x.any(axis=1)] != 0).all(axis=1)]
    found = {tuple(row) for row in signs.tolist()}
    if slope == -1:
        found = {s if next((v for v in s if v), 1) > 0 else tuple(-v for v in s) for s in found}
    return frozenset(found)


def case(seed: int) -> Case:
    """One of a path norm, whose optimum is a fraction, for the campaigns on all kinds of certificates."""
    own = known(seed % FEW, "path")
    problem, certificate, theta = copy.deepcopy(own.problem), copy.deepcopy(own.certificate), []
    if own.high is not None and own.low == own.high:  # its point is a minimiser, and the only one where one is claimed
        proof = checker.Proof(checker.Problem(problem), certificate)
        proof.place()
        theta = [Q(n, proof.theta.den) for n in proof.theta.nums]
    return Case(f"global {seed}", problem, certificate, own.high, theta=theta)


# ---------------------------------------------------------------- trees


def leaves(tree: Any, live: list[int], halved: bool) -> set[tuple[tuple[int, int], ...]]:
    """What the leaves of a tree say, read as far as it can be, by somebody who trusts every cut."""
    found, left = set(), [{live[0]: 1} if halved and live else {}]
    for node in tree:
        if not left:
            break
        signs = left.pop()
        if node is None:
            found.add(tuple(sorted(signs.items())))
        elif isinstance(node, int) and not isinstance(node, bool):
            left += {**signs, node: -1}, {**signs, node: 1}
    return found


def made_up(rng: random.Random, n: int) -> Any:
    """A vector that looks like Gordan's."""
    places = rng.sample(range(n), rng.randint(1, n))
    kind = rng.randrange(6)
    if kind == 0:
        return []
    if kind == 1:
        return vec({rng.choice(places): Q(1)})  # e_i, at a sample that is 0 perhaps
    if kind == 2:
        return vec(dict.fromkeys(places, Q(0)))
    if kind == 3:
        return vec({i: Q(rng.choice((-2, -1, 1, 2))) for i in places})
    if kind == 4:
        return [{"indices": places, "nums": ["1"] * len(places), "den": rng.choice(("-1", "0", "1/2", "1"))}]
    return vec({i: Q(rng.randint(1, 3), rng.randint(1, 3)) for i in places})


def forged_tree(tree: list[Any], rng: random.Random, n: int) -> list[Any]:
    """Another tree, some of them proofs as well."""
    tree, kind = copy.deepcopy(tree), rng.randrange(11)
    at = rng.randrange(len(tree))
    vectors = [i for i, node in enumerate(tree) if isinstance(node, list)]
    if kind == 0:
        del tree[at]
    elif kind == 1:
        tree.insert(at, copy.deepcopy(rng.choice(tree)))
    elif kind == 2:
        other = rng.randrange(len(tree))
        tree[at], tree[other] = tree[other], tree[at]
    elif kind == 3:
        tree[at] = made_up(rng, n)
    elif kind == 4:
        tree[at] = None
    elif kind == 5:
        tree[at] = rng.randint(-1, n)
    elif kind == 6 and vectors:  # scaled: as good as before, if the factor is positive
        tree[rng.choice(vectors)] = _scaled(tree[rng.choice(vectors)], rng.choice((Q(2), Q(1, 3), Q(-1), Q(0), Q(1))))
    elif kind == 7:
        return tree[:at]
    elif kind == 8:
        return [*tree, *tree]
    elif kind == 9:
        return rng.choice(([], [None], [made_up(rng, n)], [None, None], tree[::-1]))
    else:
        tree[at : at + 1] = [rng.randrange(n), made_up(rng, n), copy.deepcopy(tree[at])]
    return tree


def _scaled(vector: Any, factor: Q) -> Any:
    """A vector times a factor."""
    nums = [[text(int(x, 16) * factor.numerator) for x in part["nums"]] for part in vector]
    dens = [text(int(part["den"], 16) * factor.denominator) for part in vector]
    return [part | {"nums": own, "den": den} for part, own, den in zip(vector, nums, dens, strict=True)]


@cache
def forgotten(seed: int, R: str, at: int) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """The program without the blocks of one leaf, an honest certificate for it, and the place of the leaf in the tree.

    None where nothing is left, or nothing was proved.
    """
    X, y, phi = samples(str(seed))
    whole = xu.global_problem(xu.Perceptron(X.shape[1], 2, phi), X, y, R)
    origin = whole.origin
    count = len(origin.cells.signs)
    if count < 2:
        return None
    signs = np.delete(origin.cells.signs, at % count, axis=0)
    fewer = TwoLayer(origin.activation, origin.slope, origin.width, origin.x, origin.y, origin.R)
    fewer.__dict__["cells"] = Arrangement(signs, origin.cells.tree)
    if not len(fewer.patterns):
        return None
    parts = fewer.parts()
    measure = xu.GroupL2(parts.labels) if R == "squared" else xu.L1()
    plain = xu.UnlearningProblem(parts.theta_star, parts.matrix, measure, rhs=parts.rhs, at_least=parts.at_least)
    found = xu.certify(plain)
    if found.proof == "none":
        return None
    tree = codec.to_json(replace(plain, origin=origin).to_tree())
    nodes = copy.deepcopy(known(seed, R).certificate["tree"])
    place = [i for i, node in enumerate(nodes) if node is None][at % count]
    certificate = json.loads(json.dumps(found.tree)) | {"tree": nodes}
    return json.loads(json.dumps(tree)), json.loads(json.dumps(certificate)), place
