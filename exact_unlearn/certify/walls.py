"""Norms of groups where most rows read >= and hold within one group each: minimisers on the walls of cones.

    minimise  sum_g w_g |x_g|   subject to   sum_g J_g x_g = b (or >= b),   G_g x_g >= 0 for every group g.

Two-layer networks with their patterns are such programs: G_g x_g >= 0 keeps a neuron in the cell of its pattern.  For
multipliers nu of the rows that groups share, every group finds its own alpha_g >= 0, those with which

    z_g = J_g^T nu + G_g^T alpha_g

is shortest (`nonneg`).  At the optimum |z_g| <= w_g, and x_g = t_g z_g with t_g >= 0, which is 0 unless |z_g| = w_g.
A minimiser on the wall between two cells may have a part in either; the features J_g z_g of the two are the same
there, so how much lies where is not determined, and Newton's method for all groups stops before it.  Hence

1. the multipliers nu of a float solution say which groups are *tight*, |z_g| = w_g, where they point, and which walls
   they lie on, those with alpha_g > 0;
2. of these, groups are chosen whose features are independent and add up to b: all that lies on one wall goes to one
   side of it;
3. Newton's method for these groups alone, with their walls as equations, finds x and nu to hundreds of digits;
4. alpha_g follows from nu for every group, over the rationals.

Nothing is trusted: where an inequality fails the next choice is made from the multipliers at hand, and the checker
decides what the last ones prove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from exact_unlearn.certify.enclose import cut
from exact_unlearn.certify.enclosure import Guess
from exact_unlearn.certify.encode import Tree, primal_tree, vector
from exact_unlearn.certify.exactlin import IntMatrix, Rationals, integer_rows, objects, ratio
from exact_unlearn.certify.faces import Face
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.nonneg import FITS, centre, shortest, shortest_exactly, vertex
from exact_unlearn.certify.nuclear_start import whole
from exact_unlearn.certify.pieces import Separable, power_of_two, scales
from exact_unlearn.certify.repair import make_feasible
from exact_unlearn.certify.search import approximate
from exact_unlearn.certify.smooth import Norm, norms_of, program_of
from exact_unlearn.certify.terms import Drift, everywhere, scaled, seen, sum_squares
from exact_unlearn.certify.whiten import whiten
from exact_unlearn.certify.zoom import Zoom
from exact_unlearn.jacobian import Array, DenseJacobian
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import tick

DEEPER = 3
"""Of what rounding leaves, and of what it leaves of that."""

CHOICES, CHANGES = 8, 8
"""Of groups; and of the walls on which they lie, for each."""

TIGHT = (1e-6, 1e-8, 1e-4)
"""|z_g| as near to w_g as this is equal to it up to rounding; so far from 0, relatively, alpha_g is not 0."""

SLACK = 1e-5
"""Where |z_g| is smaller than w_g by so much, floats will do for alpha_g."""

NOTHING = Fraction(1, 1 << 200)
"""What is this many times smaller than its like is 0 but for rounding."""


@dataclass(frozen=True)
class Found:
    """theta (d,), feasible exactly, and the parts of a certificate.  why: what keeps it from being the best."""

    theta: Rationals
    primal: Tree
    dual: Tree
    why: str = ""


@dataclass(frozen=True, eq=False)
class Block:
    """A group: its columns (m,), its weight, and the rows that read >= 0 and have entries in it alone."""

    columns: Array
    weight: Fraction
    walls: Array


@dataclass(frozen=True, eq=False)
class Choice:
    """Groups that are not 0, x_g of each in floats; rows that are equations, walls of groups and after them shared ones
    (which of the rows are independent is decided in this order), and the multiplier of each in floats.

    held: groups whose features depend on those of the others.  How much lies there is not determined, so it stays.
    fine: x is in Fractions, for some groups are too small for floats that count in units of the others.
    """

    x: dict[int, Array]
    rows: dict[int, float]
    held: tuple[int, ...] = ()
    fine: bool = False


@dataclass(frozen=True, eq=False)
class Point:
    """x of the columns that are not 0, and multipliers of the rows of a choice.

    rest: b - J x of shared rows, where it is not 0.
    """

    choice: Choice
    x: dict[int, Fraction]
    nu: dict[int, Fraction]
    rest: dict[int, Fraction]


@dataclass(frozen=True, eq=False)
class Bound:
    """Multipliers of all rows.  excess: the largest (|z_g| / w_g)^2, less 1; over: groups where that is not nothing."""

    nu: dict[int, Fraction]
    excess: Fraction
    over: list[int]


def on_walls(problem: UnlearningProblem, image: Image, drift: Drift, kept: list[int] | None) -> Found:
    """The point and the multipliers that prove most.  FaceError where there are none, or the problem is no such.

    Where the groups that were chosen meet b but for rounding, as where b are the outputs of a network of fewer neurons,
    what is missed is another problem of this kind, and its solution, tiny, is added: cones are closed under addition.
    """
    walls, why = Walls(problem, image, drift), ""
    x = {j: Fraction(0) for j in range(image.free.size)}
    point, bound = walls.best(problem, kept)
    point, bound = walls.finer(point, bound)
    for _ in range(DEEPER):
        x |= {j: x[j] + v for j, v in point.x.items()}
        if not point.rest:
            break
        why = "the groups that are not 0 meet the right-hand side but for rounding, and what is missed is added"
        rest = [point.rest.get(row, Fraction(0)) for row in range(len(image.q))]
        point, _ = Walls(problem, replace(image, q=rest), drift).best(problem, kept)
    else:
        raise FaceError("what the chosen groups miss of the right-hand side does not become nothing")
    theta = everywhere(image.theta, image.free, Rationals.of(list(x.values())))
    return Found(theta, primal_tree(theta, image.theta, image.free), {"nu": vector(bound.nu)}, why)


class Walls:
    """A problem on the columns of its image, as blocks and shared rows.  FaceError where it is no such."""

    def __init__(self, problem: UnlearningProblem, image: Image, drift: Drift) -> None:
        self.image, self.drift, n = image, drift, image.free.size
        term: Any = problem.form.parts[0].term
        norms = norms_of(term, Fraction(1), image)
        if not drift.absent or not seen(problem)[image.free].all() or any(norm.frozen for norm in norms):
            raise FaceError("something else than the norms of whole groups is minimised")
        if not (problem.free.all() and norms and isinstance(problem.jacobian, DenseJacobian)):
            raise FaceError("some groups are frozen, or the jacobian is no matrix")
        self.A = IntMatrix(image.A.ints[:, :n])
        owner = np.full(n, -1)
        for g, norm in enumerate(norms):
            owner[norm.index] = g
        own: list[list[int]] = [[] for _ in norms]
        self.shared: list[int] = []
        for row, entries in enumerate(self.A.ints != 0):
            groups = np.unique(owner[entries])
            local = row in image.at_least and image.q[row] == 0 and groups.size == 1
            (own[groups[0]] if local else self.shared).append(row)
        self.blocks = [
            Block(norm.index, norm.weight, np.array(rows, dtype=int)) for norm, rows in zip(norms, own, strict=True)
        ]
        self.floats = np.array([
            [ratio(v * s.numerator, s.denominator) for v in row]
            for row, s in zip(self.A.ints.tolist(), image.scales, strict=True)
        ]).reshape(self.A.shape)  # fmt: skip

    def best(self, problem: UnlearningProblem, kept: list[int] | None) -> tuple[Point, Bound]:
        """Of several choices, that with the least excess."""
        if not any(self.image.q):
            return Point(Choice({}, {}), {}, {}, {}), Bound({}, Fraction(-1), [])
        floats = whole(problem, self.image, self.drift)
        nu = floats.nu if kept is None else floats.nu[kept]
        found: list[tuple[Point, Bound]] = []
        why = FaceError("no choice of groups meets the rows")
        for tight, x in product(TIGHT, (None, floats.theta[self.image.free])):
            try:
                for own in self._choices(partial(self.choice, nu, tight=tight, amounts=x)):
                    found.append(own)
                    if own[1].excess <= NOTHING:
                        return own
            except (FaceError, np.linalg.LinAlgError) as error:
                why = FaceError(str(error))
        if not found:
            raise why
        return min(found, key=lambda own: own[1].excess)

    def finer(self, point: Point, bound: Bound) -> tuple[Point, Bound]:
        """With the groups that take part for what the others miss of b; as it was where that does not succeed."""
        if point.rest and bound.excess <= NOTHING:
            with suppress(FaceError, np.linalg.LinAlgError):
                zoom = Zoom(self, point)
                for centred in (False, True):
                    with suppress(FaceError, np.linalg.LinAlgError):
                        for own in self._choices(partial(zoom.choice, centred=centred)):
                            if own[1].excess <= NOTHING:
                                return own
        return point, bound

    def _choices(self, choose: Callable[[list[int]], Choice]) -> Iterator[tuple[Point, Bound]]:
        """What choices come to.  choose: another choice, of groups that were too long before."""
        known: set[tuple[tuple[int, ...], ...]] = set()
        also: list[int] = []
        for _ in range(CHOICES):
            tick()
            choice = choose(also)
            key = tuple(choice.x), tuple(choice.rows), choice.held
            if key in known:
                return
            known.add(key)
            point = self.settled(choice)
            bound = self.bound(point)
            yield point, bound
            also = [*also, *(g for g in bound.over if g not in also)]

    # ------------------------------------------------------------ which groups, in floats

    def choice(self, nu: Array, also: list[int], tight: float, amounts: Array | None) -> Choice:
        """Tight groups whose features add up to b, for multipliers nu (k,) of the shared rows.

        amounts: None for groups with independent features, those of `also` taking the place of others; or a point (n,)
        in the midst of all minimisers, whose groups are all taken.
        """
        at_least, shared = set(self.image.at_least), self.shared
        floor = tight * float(np.max(np.abs(nu[shared]), initial=0.0))
        rows = {row: float(nu[row]) for row in shared if row not in at_least or nu[row] > floor}
        b = np.array([float(self.image.q[row] * self.image.scales[row]) for row in rows])
        alphas, zs = zip(*(self.priced(block, nu) for block in self.blocks), strict=True)
        lengths = np.array([np.linalg.norm(z) / float(block.weight) for z, block in zip(zs, self.blocks, strict=True)])
        near = np.flatnonzero(lengths >= (1 - tight) * lengths.max()).tolist()
        units = [zs[g] / (np.linalg.norm(zs[g]) or 1.0) for g in near]
        features = np.column_stack([
            self.entries(list(rows), self.blocks[g]) @ u for g, u in zip(near, units, strict=True)
        ])  # fmt: skip
        held: list[int] = []
        if amounts is None:
            sizes = vertex(features, b, [near.index(g) for g in also if g in near])
        else:
            own = np.array([np.linalg.norm(amounts[self.blocks[g].columns]) for g in near])
            sizes, held = centre(features, own)
        x = {g: t * u for g, u, t in zip(near, units, sizes.tolist(), strict=True) if t > 0}
        pairs = [pair for g in x for pair in zip(self.blocks[g].walls.tolist(), alphas[g].tolist(), strict=True)]
        floor = tight * max((a for _, a in pairs), default=0.0)
        return Choice(x, {row: a for row, a in pairs if a > floor} | rows, tuple(near[at] for at in held))

    def entries(self, rows: Sequence[int] | Array, block: Block) -> Array:
        """Of J, in floats."""
        return np.asarray(self.floats[np.asarray(rows, dtype=int)][:, block.columns])

    def priced(self, block: Block, nu: Array) -> tuple[Array, Array]:
        """alpha and z of a group."""
        own = self.floats[:, block.columns]
        c, M = own[self.shared].T @ nu[self.shared], own[block.walls].T
        alpha = shortest(M, c)
        return alpha, c + M @ alpha

    # ------------------------------------------------------------ to hundreds of digits

    def settled(self, choice: Choice) -> Point:
        """Newton's method on a choice, and on others where a row is missed or a multiplier is negative."""
        for _ in range(CHANGES):
            point = self._solved(choice)
            missed, wrong = self._missed(choice, point), self._wrong(point)
            if not missed and not wrong:
                return point
            rows = dict.fromkeys(missed, 0.0) | choice.rows
            choice = replace(choice, rows={row: v for row, v in rows.items() if row not in wrong})
        raise FaceError("which walls the groups lie on was not found out")

    def _missed(self, choice: Choice, point: Point) -> list[int]:
        """Rows that read >= and are missed."""
        concerned = [*(row for g in choice.x for row in self.blocks[g].walls.tolist()), *self.shared]
        rows = [row for row in concerned if row not in choice.rows]
        x = Rationals.of(list(point.x.values()))
        values = self.A.rows(rows).columns(list(point.x)).apply(x.nums).tolist()
        return [row for row, v in zip(rows, values, strict=True) if v < self.image.q[row] * x.den]

    def _wrong(self, point: Point) -> set[int]:
        """Rows that read >= with a multiplier below 0."""
        least = -NOTHING * max(map(abs, point.nu.values()), default=Fraction(0))
        return {row for row, v in point.nu.items() if v < least and row in self.image.at_least}

    def _solved(self, choice: Choice) -> Point:
        """Newton's method.  Where rows depend on each other, some keep the multiplier of the choice."""
        if not choice.x:
            raise FaceError("no groups add up to the right-hand side")
        part = self._part(choice)
        zero = [Fraction(0)] * part.free.size
        ends = np.cumsum([0, *(v.size for v in choice.x.values())]).tolist()
        norms = [
            Norm(np.arange(first, last), [Fraction(1)] * (last - first), self.blocks[g].weight, Fraction(0))
            for g, first, last in zip(choice.x, ends[:-1], ends[1:], strict=True)
        ]
        program = program_of(part, Separable(zero, zero, zero, zero, zero, [None] * len(zero)), norms, self.drift)
        pieces, whitened = program.pieces, whiten(part.basis)
        scale = scales(pieces, whitened, max(group.weight for group in program.groups))[0]
        more = len(choice.held)
        nu = [*([Fraction(0)] * more), *map(Fraction, choice.rows.values())]
        total = Rationals.of([v * s / scale.y / pieces.y_unit for v, s in zip(nu, part.scales, strict=True)])
        pulled = Rationals(part.A.T.apply(total.nums), total.den).floats()
        if choice.fine:
            smallest = min(max(map(abs, x)) for x in choice.x.values())
            scale = replace(scale, x=power_of_two(smallest / pieces.x_unit))
        start = objects([Fraction(v) / (scale.x * pieces.x_unit) for x in choice.x.values() for v in x.tolist()])
        nowhere = np.zeros(len(zero), dtype=int)
        guess = Guess(start, whitened.W @ pulled, 0.0, 0.0, Face(nowhere, nowhere), False, choice.fine)
        found = approximate(program, whitened, scale, guess)
        x = scaled(found.x, pieces.x_unit)
        x = make_feasible(part, whitened, x, np.abs(x.floats()))
        solved = [Fraction(0)] * len(nu)
        for k, at in enumerate(part.rows):
            solved[at] = found.y[k] * pieces.y_units[k]
        for relation, _ in part.dependencies():
            at = next(i for i, v in enumerate(relation) if v and i not in part.rows)
            solved = [v + nu[at] / relation[at] * r for v, r in zip(solved, relation, strict=True)]
        size = max(abs(v * s) for v, s in zip(part.q, part.scales, strict=True))
        columns = [int(j) for g in choice.x for j in self.blocks[g].columns]
        rest = {row: -v for row, v in zip(choice.rows, part.residuals(x)[more:], strict=True) if v}
        if any(abs(v * self.image.scales[row]) > FITS * size for row, v in rest.items()):
            raise FaceError("the groups that were chosen do not meet all rows")
        return Point(
            choice,
            dict(zip(columns, x.fractions(), strict=True)),
            dict(zip(choice.rows, map(cut, solved[more:]), strict=True)),
            rest,
        )

    def _part(self, choice: Choice) -> Image:
        """The columns of the groups; as equations what is held, and the rows of the choice."""
        rows, image = list(choice.rows), self.image
        columns = np.concatenate([self.blocks[g].columns for g in choice.x])
        A, scales = self.A.rows(rows).columns(columns).ints, [image.scales[row] for row in rows]
        q = [image.q[row] for row in rows]
        for g in choice.held:
            own, unit = integer_rows(np.concatenate([x if h == g else 0 * x for h, x in choice.x.items()])[None])
            A, scales = np.concatenate([own.ints, A]), [unit[0], *scales]
            q.insert(0, Fraction(float(choice.x[g] @ choice.x[g])) / unit[0])
        return Image(objects([Fraction(0)] * columns.size), np.arange(columns.size), IntMatrix(A), scales, q)

    # ------------------------------------------------------------ the proof

    def bound(self, point: Point) -> Bound:
        """Multipliers for the walls of every group."""
        image, at_least = self.image, set(self.image.at_least)
        nu = {row: v for row, v in point.nu.items() if row in self.shared and (v > 0 or row not in at_least)}
        floats = np.zeros(len(image.q))
        floats[list(nu)] = [float(v) for v in nu.values()]
        shared = Rationals.of([v * image.scales[row] for row, v in nu.items()])
        pulled = Rationals(self.A.rows(list(nu)).T.apply(shared.nums), shared.den)
        excess, over = Fraction(-1), list[int]()
        for g, block in enumerate(self.blocks):
            alpha, z = self.priced(block, floats)
            c = Rationals(pulled.nums[block.columns], pulled.den)
            M = self.A.rows(block.walls).columns(block.columns).T
            units = [image.scales[row] for row in block.walls.tolist()]
            own = [Fraction(a) * s for a, s in zip(alpha.tolist(), units, strict=True)]
            if np.linalg.norm(z) > (1 - SLACK) * float(block.weight):
                own = [cut(v) for v in shortest_exactly(M, c, own)]
            beta = Rationals.of(own)
            z_exact = Rationals(c.nums * beta.den + M.apply(beta.nums) * c.den, c.den * beta.den)
            length = sum_squares(z_exact) / block.weight**2 - 1
            excess, over = max(excess, length), over + [g] * (length > NOTHING)
            nu |= {row: v / s for row, v, s in zip(block.walls.tolist(), own, units, strict=True) if v}
        return Bound(nu, excess, over)
