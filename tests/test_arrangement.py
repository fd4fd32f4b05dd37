"""Cells of arrangements: counted by Cover's formula, found by random directions, proved complete by a naive reader."""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest

from exact_unlearn import arrangement as room
from exact_unlearn.arrangement import Arrangement, Cone, Plane, arrangement, combination
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import to_rational


def leaves(x: Any, tree: tuple[room.Node, ...], halved: bool = False) -> list[dict[int, int]]:
    """The leaves of a tree, whose every step is verified from the definition, recursively and in Fractions."""
    X, nodes = to_rational(np.asarray(x)), list(tree)
    live = [i for i in range(len(X)) if X[i].any()]

    def read(signs: dict[int, int]) -> list[dict[int, int]]:
        node = nodes.pop(0)
        if node is None:
            assert sorted(signs) == live
            return [signs]
        if isinstance(node, dict):
            assert node.keys() <= signs.keys()
            assert all(type(w) is int and w > 0 for w in node.values())
            assert not sum(w * signs[i] * X[i] for i, w in node.items()).any()
            return []
        assert node in live
        assert node not in signs
        return read({**signs, node: 1}) + read({**signs, node: -1})

    found = read({live[0]: 1} if halved and live else {})
    assert not nodes
    return found


def signs_of(x: Any, cells: Arrangement, halved: bool = False) -> set[tuple[int, ...]]:
    """The patterns of an arrangement, which are those of its tree in the same order, each once."""
    found = [tuple(row) for row in cells.signs.tolist()]
    assert found == [tuple(s.get(i, 0) for i in range(len(x))) for s in leaves(x, cells.tree, halved)]
    assert len(set(found)) == len(found)
    return set(found)


def cover(n: int, m: int) -> int:
    return 2 * sum(comb(n - 1, k) for k in range(m))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (4, 1), (8, 2), (20, 2), (5, 3), (8, 3), (6, 4), (3, 5)])
def test_general_position_has_as_many_cells_as_cover_says(n: int, m: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal((n, m))
    assert len(signs_of(x, arrangement(x))) == cover(n, m)
    half = arrangement(x, halved=True)
    assert len(signs_of(x, half, halved=True)) == cover(n, m) // 2
    assert (half.signs[:, 0] == 1).all()


@pytest.mark.parametrize("seed", range(12))
def test_degenerate_arrangements_have_the_cells_that_directions_find(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    x = rng.integers(-1, 2, (n, m))
    if seed % 3 == 0:
        x[:, -1] = x[:, 0]  # dependent columns
    directions = np.r_[rng.standard_normal((20_000, m)), rng.integers(-9, 10, (500, m)) + 1e-3]
    expected = {tuple(row) for row in np.sign(directions @ x.T).astype(int).tolist()}
    expected = {p for p in expected if all(s or not x[i].any() for i, s in enumerate(p))}
    assert signs_of(x, arrangement(x.astype(float))) == expected


def test_two_columns_and_any_number_of_columns_agree(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [rng.integers(-2, 3, (10, 2)).astype(float) for _ in range(10)]
    by_walls = [arrangement(x) for x in drawn]
    monkeypatch.setattr(room, "Plane", Cone)
    for x, cells in zip(drawn, by_walls, strict=True):
        general = arrangement(x)
        assert (general.signs == cells.signs).all()
        leaves(x, general.tree)


@pytest.mark.parametrize("x", [np.zeros((0, 2)), np.zeros((3, 2))])
def test_without_hyperplanes_there_is_one_cell(x: np.ndarray) -> None:
    for halved in (False, True):
        cells = arrangement(x, halved)
        assert cells.tree == (None,)
        assert cells.signs.tolist() == [[0] * len(x)]


def test_floats_are_the_rationals_that_they_are() -> None:
    """Three rows that depend up to rounding have 6 cells or 8; as written these have 8, whatever a tolerance says."""
    x = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 2.0**-1000]])
    assert len(signs_of(x, arrangement(x))) == 8
    x[2, 2] = 0
    assert len(signs_of(x, arrangement(x))) == 6
    thirds = np.array([[Fraction(1, 3), Fraction(2, 3)], [Fraction(1), Fraction(2)]], dtype=object)
    assert len(signs_of(thirds, arrangement(thirds))) == 2


def test_too_many_cells_are_one_sentence(rng: np.random.Generator) -> None:
    x = rng.standard_normal((8, 3))
    assert len(arrangement(x, limit=58).signs) == 58
    with pytest.raises(ProblemError, match="x: 8 samples in 3 dimensions have more than 57 patterns of signs"):
        arrangement(x, limit=57)
    with pytest.raises(ProblemError, match="more than 256 patterns"):
        arrangement(rng.standard_normal((60, 20)))


def test_combinations_are_found_if_there_are_any(rng: np.random.Generator) -> None:
    for _ in range(200):
        m, n = int(rng.integers(1, 5)), int(rng.integers(0, 6))
        vectors = rng.integers(-2, 3, (n, m)).tolist()
        weights = rng.integers(0, 3, n)
        target = (weights @ np.array(vectors, dtype=int).reshape(n, m)).tolist()
        found = combination(vectors, target)
        assert found is not None
        assert all(w >= 0 for w in found)
        assert sum(w > 0 for w in found) <= m
        assert [sum(w * v[r] for w, v in zip(found, vectors, strict=True)) for r in range(m)] == target
    assert combination([[1, 0], [0, 1]], [1, -1]) is None
    assert combination([], [0, 0]) == []
    assert combination([], [1]) is None


def test_cones_of_a_plane_keep_two_walls() -> None:
    cone = Plane().cut(0, [1, 0]).cut(1, [1, 1]).cut(2, [0, -1])
    assert [sample for sample, _ in cone.generators] == [2, 1]
    assert cone.weights([1, 0]) == {2: 1, 1: 1}
    assert cone.weights([-1, 0]) is None
    assert Plane().weights([1, 0]) is None
