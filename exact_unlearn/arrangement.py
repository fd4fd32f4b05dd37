"""The open cells of an arrangement of hyperplanes x_i . u = 0: all of them, with a proof that none is missing.

Each cell is a pattern of signs: +1 or -1 for every sample, 0 for samples that are 0 and so divide nothing.  The proof
is a binary tree over the other samples.  A node chooses the sign of one of them; a leaf is a pattern; a branch is cut
where the signs s chosen so far leave no u with s_i x_i . u > 0, which Gordan's theorem (1873) proves by

    lambda >= 0, not all 0,   sum_i lambda_i s_i x_i = 0 .

Duplicates, multiples, opposite samples and dependent columns need no care: they cut branches.  With r = rank X and n
samples in general position there are 2 sum_{k<r} C(n - 1, k) cells (Cover, 1965); there are never more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, to_rational

PATTERNS = 256
"""Cells that are enumerated; beyond, a convex program over them is large and a tree of them a long proof."""

Weights = dict[int, Fraction]
Gordan = dict[int, int]
"""Sample -> positive weight."""

Node = int | None | Gordan
"""Of a tree: the sample whose sign is chosen, None for a leaf, Gordan's vector where a branch is cut."""

Ints = list[int]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """All open cells.

    signs: (P, n) of +1, -1 and 0, the pattern of each leaf from left to right.  tree: its nodes from the root, each
    followed by the branch of sign +1 and then that of sign -1.
    """

    signs: Array
    tree: tuple[Node, ...]


def arrangement(x: Array, halved: bool = False, limit: int = PATTERNS) -> Arrangement:
    """The arrangement of the rows of x (n, m), floats or Fractions, which are taken as the rationals that they are.

    halved: one of every two opposite cells only, that in which the first sample that is not 0 has the sign +1.
    Raises ProblemError, one sentence, where there are more than `limit` cells.
    """
    vectors, scales = _integers(x)
    samples = [i for i, v in enumerate(vectors) if any(v)]
    first: tuple[int, ...] = ()
    level: dict[tuple[int, ...], Cone] = {first: Plane() if x.shape[1] == 2 else Cone()}
    if halved and samples:
        first = (1,)
        level = {first: level[()].cut(samples[0], vectors[samples[0]])}
    nodes: dict[tuple[int, ...], Node] = {}
    for sample in samples[len(first) :]:  # level by level, for no level has more cells than the last one
        below: dict[tuple[int, ...], Cone] = {}
        for signs, cone in level.items():
            nodes[signs] = sample
            for sign, branch in _branches(cone, sample, vectors[sample]):
                if isinstance(branch, Cone):
                    below[*signs, sign] = branch
                else:
                    nodes[*signs, sign] = _proof(branch, scales)
        level = below
        if len(level) > limit:
            raise ProblemError(
                f"x: {len(samples)} samples in {x.shape[1]} dimensions have more than {limit} patterns of signs, each "
                "of which has variables of its own in the convex program; retain fewer samples, or use fewer features"
            )
    return _read_off(nodes | dict.fromkeys(level), first, samples, len(vectors))


def _read_off(nodes: dict[tuple[int, ...], Node], first: tuple[int, ...], samples: list[int], n: int) -> Arrangement:
    """The tree whose node after these signs is nodes[signs], from the root down, + before -."""
    tree: list[Node] = []
    leaves: list[tuple[int, ...]] = []
    left = [first]
    while left:
        signs = left.pop()
        node = nodes[signs]
        tree.append(node)
        if node is None:
            leaves.append(signs)
        elif isinstance(node, int):
            left += (*signs, -1), (*signs, 1)
    found = np.zeros((len(leaves), n), dtype=np.int8)
    found[:, samples] = leaves
    return Arrangement(found, tuple(tree))


def _branches(cone: Cone, sample: int, vector: Ints) -> list[tuple[int, Cone | Weights]]:
    """What follows a node: for the signs +1 and -1 the cone that the signs span, or Gordan's vector.

    s x_i . u > 0 fails in the cell of a cone iff -s x_i lies in the cone; x_i itself adds nothing to it then.
    """
    opposite = [-entry for entry in vector]
    for sign, target in ((1, opposite), (-1, vector)):
        weights = cone.weights(target)
        if weights is not None:
            return [(sign, {**weights, sample: Fraction(1)}), (-sign, cone)]
    return [(1, cone.cut(sample, vector)), (-1, cone.cut(sample, opposite))]


# ---------------------------------------------------------------- cones


class Cone:
    """The cone that s_i x_i span, over samples i with chosen signs s; dual to the closed cell of these signs.

    generators: a sample and s_i x_i in integers, for all that are not in the cone of those before.
    """

    def __init__(self, generators: tuple[tuple[int, Ints], ...] = ()) -> None:
        self.generators = generators

    def cut(self, sample: int, vector: Ints) -> Cone:
        """With one more generator, which lies neither in the cone nor opposite to it."""
        return Cone((*self.generators, (sample, vector)))

    def weights(self, target: Ints) -> Weights | None:
        """Positive weights of generators whose sum is `target`, or None if it lies outside."""
        found = combination([vector for _, vector in self.generators], target)
        if found is None:
            return None
        return {sample: w for (sample, _), w in zip(self.generators, found, strict=True) if w}


class Plane(Cone):
    """The same for two columns, by its two walls: at most two generators, anticlockwise."""

    def cut(self, sample: int, vector: Ints) -> Plane:
        own = sample, vector
        if len(self.generators) < 2:
            other = [*self.generators, own]
            return Plane(tuple(other if len(other) < 2 or _cross(other[0][1], vector) > 0 else other[::-1]))
        first, second = self.generators
        return Plane((first, own) if _cross(first[1], vector) > 0 else (own, second))

    def weights(self, target: Ints) -> Weights | None:
        if not self.generators:
            return None
        (one, v), (two, w) = self.generators[0], self.generators[-1]
        if one == two:
            along = sum(a * b for a, b in zip(v, target, strict=True))
            return {one: Fraction(along, _square(v))} if not _cross(v, target) and along > 0 else None
        area = _cross(v, w)
        a, b = Fraction(_cross(target, w), area), Fraction(_cross(v, target), area)
        return None if a < 0 or b < 0 else {sample: x for sample, x in ((one, a), (two, b)) if x}


def combination(vectors: Sequence[Ints], target: Ints) -> list[Fraction] | None:
    """lambda >= 0 with sum lambda_j vectors[j] = target and at most rank many of them not 0; None if there is none.

    The first phase of the simplex method with Bland's rule, in integers over one denominator (Bareiss).
    """
    count, last = len(vectors), len(vectors)
    rows = [[v[r] for v in vectors] + [b] for r, b in enumerate(target)]
    rows = [[-entry for entry in row] if row[-1] < 0 else row for row in rows]
    basis = [count + r for r in range(len(rows))]  # artificial variables, whose sum is to become 0
    gain, scale = [sum(column) for column in zip(*rows, strict=True)], 1
    while gain[last] > 0:
        entering = next((j for j in range(count) if gain[j] > 0), None)
        if entering is None:
            return None
        leaving = _leaving(rows, basis, entering)
        top = rows[leaving]
        pivot, basis[leaving] = top[entering], entering
        rows = [
            row if r == leaving else [(pivot * a - row[entering] * b) // scale for a, b in zip(row, top, strict=True)]
            for r, row in enumerate(rows)
        ]
        gain = [(pivot * a - gain[entering] * b) // scale for a, b in zip(gain, top, strict=True)]
        scale = pivot
    found = [Fraction(0)] * count
    for variable, row in zip(basis, rows, strict=True):
        if variable < count:
            found[variable] = Fraction(row[last], scale)
    return found


def _leaving(rows: list[Ints], basis: Ints, entering: int) -> int:
    """The row of the least ratio, of those the one whose variable has the least index (Bland)."""
    allowed = [r for r, row in enumerate(rows) if row[entering] > 0]
    return min(allowed, key=lambda r: (Fraction(rows[r][-1], rows[r][entering]), basis[r]))


# ---------------------------------------------------------------- numbers


def _integers(x: Array) -> tuple[list[Ints], list[Fraction]]:
    """Every row times a positive number that makes it integral and short, and these numbers."""
    vectors, scales = [], []
    for row in to_rational(x).tolist():
        common = math.lcm(*(entry.denominator for entry in row))
        integers = [entry.numerator * (common // entry.denominator) for entry in row]
        divisor = math.gcd(*integers) or 1
        vectors.append([entry // divisor for entry in integers])
        scales.append(Fraction(common, divisor))
    return vectors, scales


def _proof(weights: Weights, scales: list[Fraction]) -> Gordan:
    """Gordan's vector for the samples as they are: coprime integers, by sample."""
    own = {sample: weights[sample] * scales[sample] for sample in sorted(weights)}
    common = math.lcm(*(w.denominator for w in own.values()))
    integers = {sample: int(w * common) for sample, w in own.items()}
    divisor = math.gcd(*integers.values())
    return {sample: w // divisor for sample, w in integers.items()}


def _cross(v: Ints, w: Ints) -> int:
    return v[0] * w[1] - v[1] * w[0]


def _square(v: Ints) -> int:
    return sum(entry * entry for entry in v)
