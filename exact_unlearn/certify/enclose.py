"""Enclosures as certificates: an approximate minimiser made feasible, its multipliers, and subgradients where
needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.enclosure import ZERO, Approximation, Smooth
from exact_unlearn.certify.encode import Tree, part, primal_tree, rational_text, vector
from exact_unlearn.certify.exactlin import Rationals, row_basis
from exact_unlearn.certify.faces import BOTTOM, FREE, HELD, TOP
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.pieces import interval_at_zero
from exact_unlearn.certify.predictor import Lifted, lift, lifted_terms
from exact_unlearn.certify.repair import into_region, vanishing_on, within_rows
from exact_unlearn.certify.search import approximate
from exact_unlearn.certify.smooth import Norm, float_guesses, program_of, smooth_terms
from exact_unlearn.certify.terms import Drift, everywhere, heaviest, kind_of, roots, scaled, seen, weights_of
from exact_unlearn.certify.whiten import Whitened, whiten
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.problem import UnlearningProblem

TIE = 1 << 200
"""A drift this many times smaller than its group is none."""

LESS = 1 - Fraction(1, 1 << 320)
"""Of subgradients in a sum that must not exceed 1."""

TIGHT = 2.0**-200
"""A row that reads >= with a slack this many times smaller than the largest parameter has none."""

CUT = 450
"""Bits of subgradients and of the left inverse that bounds distances."""


@dataclass(frozen=True)
class Enclosure:
    """theta (d,), feasible exactly, and the parts of a certificate that the checker turns into bounds."""

    theta: Rationals
    primal: Tree
    dual: Tree
    distance: Tree | None = None


def enclose(
    problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift, kept: list[int] | None
) -> Enclosure:
    """Newton's method from float solutions, on each face that they suggest.  FaceError when none of them converges."""
    if kind_of(problem) == "product":
        return _Predictor(problem, drift, kept).run()
    return _Plain(problem, image, whitened, drift).run()


class _Plain:
    """Problems in the free coordinates."""

    def __init__(self, problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift) -> None:
        self.problem, self.image, self.whitened, self.drift = problem, image, whitened, drift
        terms, self.norms = smooth_terms(problem, image, drift)
        self.program = program_of(image, terms, self.norms, drift)

    def run(self) -> Enclosure:
        found = newton(self.program, self.whitened)
        image = self.image
        start, fits = image.theta_free, self.problem.theta_star_fits
        try:
            x = into_region(placed(image, self.whitened, self.program, found), start, self.drift, fits)
        except FaceError:  # where the sphere is touched at a kink, next to nothing is too much
            x = into_region(placed(image, self.whitened, self.program, found, snap=True), start, self.drift, fits)
        theta = everywhere(image.theta, image.free, x)
        dual = self._multipliers(found)
        g = self._subgradient(found)
        if g:
            dual["g"] = vector({j: cut(v) for j, v in g.items() if v} | {j: v for j, v in g.items() if not v})
        return Enclosure(theta, primal_tree(theta, image.theta, image.free), dual, self._distance(found))

    def _multipliers(self, found: Approximation) -> Tree:
        program = self.program.pieces
        y = signed(self.image, found)
        if self.drift.cone and self.drift.box is None and not found.kappa:  # nothing may pull at what nothing penalises
            y = vanishing_on(self.image, y, np.flatnonzero(~seen(self.problem)[self.image.free]))
        nu = {row: y[k] * program.y_units[k] for k, row in enumerate(self.image.rows)}
        dual: Tree = {"nu": vector(nu)}
        if self.drift.ball is not None and found.kappa > 0:
            dual["ball"] = rational_text(cut(found.kappa * program.y_unit / program.x_unit))
        return dual

    def _subgradient(self, found: Approximation) -> dict[int, Fraction]:
        """g where the checker's z - Lambda D - mu sign(D) is not the subgradient: held coordinates and frozen ones."""
        kind = kind_of(self.problem)
        if kind not in ("root", "groups", "max"):
            return {}
        g = self._frozen_groups() if kind == "groups" else {}
        x = scaled(found.x, self.program.pieces.x_unit)
        for norm in self.norms:
            g |= self._of_norm(norm, found, x)
        if kind == "max":
            g |= self._of_ceiling(found)
        return g

    def _of_norm(self, norm: Norm, found: Approximation, x: Rationals) -> dict[int, Fraction]:
        """w v x / n on held coordinates and on the frozen part of a group; what the norm must carry where the
        group is 0.
        """
        problem, image, where = self.problem, self.image, found.face.where
        out: dict[int, Fraction] = {}
        if (where[norm.index] == ZERO).all() and not norm.frozen:
            if self.drift.cone and self.drift.box is None:
                return out  # nothing else pulls: g is z
            for i in norm.index.tolist():
                if image.theta[image.free[i]] == 0 or self._at_box(i, Fraction(0)):
                    out[int(image.free[i])] = self._carried(i, found)
            return out
        square = sum((v * x[i] ** 2 for i, v in zip(norm.index.tolist(), norm.inner, strict=True)), norm.frozen)
        length = roots(square)[1]
        for i, v in zip(norm.index.tolist(), norm.inner, strict=True):
            if where[i] == HELD or self._at_rest(i, x[i], length):
                out[int(image.free[i])] = norm.weight * v * x[i] / length
        if norm.frozen:
            inner = weights_of(problem) if kind_of(problem) == "root" else None
            for j in self._frozen_partners(norm):
                v = Fraction(1) if inner is None else inner[j]
                out[j] = norm.weight * v * image.theta[j] / length
        return out

    def _at_rest(self, i: int, value: Fraction, length: Fraction) -> bool:
        """Whether a free coordinate stays at theta* all the same: the sign of what rounding leaves of its drift says
        nothing about the pull of an l1 drift.
        """
        return bool(self.drift.mu) and abs(value - self.image.theta[self.image.free[i]]) < length / TIE

    def _frozen_partners(self, norm: Norm) -> list[int]:
        """Frozen coordinates with a share in the same norm."""
        labels = self._norms.labels(self.problem.n_parameters)
        label = labels[self.image.free[norm.index[0]]]
        return [int(j) for j in np.flatnonzero(~self.problem.free) if labels[j] == label]

    @property
    def _norms(self) -> Any:
        """The term of the groups, or of the one norm."""
        return self.problem.form.parts[0].term

    def _frozen_groups(self) -> dict[int, Fraction]:
        """w theta / |theta| on groups of which nothing moves."""
        labels = self._norms.labels(self.problem.n_parameters)
        moving = set(labels[self.image.free].tolist())
        out: dict[int, Fraction] = {}
        for label, weight in enumerate(self._norms.outer().tolist()):
            members = np.flatnonzero(labels == label).tolist()
            square = sum((self.image.theta[j] ** 2 for j in members), Fraction(0))
            if label not in moving and weight and square:
                out |= {j: Fraction(weight) * self.image.theta[j] / roots(square)[1] for j in members}
        return out

    def _at_box(self, i: int, value: Fraction) -> bool:
        """Whether a coordinate lies on the edge of its box."""
        return self.drift.box is not None and abs(value - self.image.theta[self.image.free[i]]) == self.drift.box

    def _carried(self, i: int, found: Approximation) -> Fraction:
        """z less what kinks and boxes at 0 carry."""
        program = self.program.pieces
        rest = pull(program.A.ints[:, i], found.y)
        low, high = interval_at_zero(program, i)
        # the interval belongs to the separable part alone, where the norm contributes nothing
        if high is not None and rest > high:
            return (rest - high) * program.y_unit
        if low is not None and rest < low:
            return (rest - low) * program.y_unit
        return Fraction(0)

    def _of_ceiling(self, found: Approximation) -> dict[int, Fraction]:
        """0 on held coordinates, shares at the ceiling, and what is left of its cost on the frozen coordinate that
        carries the floor.

        The shares are a little smaller than they might be, so that sum |g| / w <= 1 and the checker has no reason to
        divide by that sum: with hundreds of different weights it has ten thousands of digits.
        """
        image, program, face = self.image, self.program.pieces, found.face
        weights = weights_of(self.problem)
        held = image.free[face.where[: image.free.size] == HELD]
        g = {int(j): Fraction(0) for j in held if weights[j]}
        spent = Fraction(0)
        for i in np.flatnonzero((face.where == TOP) | (face.where == BOTTOM)).tolist():
            slope = program.slopes[i][face.slot[i]]
            assert slope is not None
            bend = program.curvature[i] * found.x[i] + found.kappa * (found.x[i] - program.theta[i])
            share = cut((pull(program.A.ints[:, i], found.y) - slope - bend) * program.y_unit * LESS)
            g[int(image.free[i])] = share
            spent += cut(abs(share) / weights[image.free[i]])
        fixed = np.flatnonzero(~self.problem.free).tolist()
        if face.held_t is None or not fixed:
            return g
        j = heaviest(weights, image.theta, fixed)
        if spent < LESS and image.theta[j]:
            g[j] = (LESS - spent) * weights[j] * (1 if image.theta[j] > 0 else -1)
        return g

    # ------------------------------------------------------------ distance

    def _distance(self, found: Approximation) -> Tree | None:
        """A left inverse of the active directions J_g x_g / |x_g|: with it the checker bounds the distance to
        every minimiser.
        """
        plain = self.drift.cone and self.drift.box is None and not found.kappa
        if kind_of(self.problem) != "groups" or not plain:
            return None
        labels = self._norms.labels(self.problem.n_parameters)
        active, columns = [], []
        x = _scaled_floats(self.image.own(found.x))
        rows, whitened = self._tight(found)
        for norm in self.norms:
            if (found.face.where[norm.index] == ZERO).all() and not norm.frozen:
                continue
            direction = x[norm.index] / (np.linalg.norm(x[norm.index]) or 1.0)
            columns.append(whitened.W[:, norm.index] @ direction)
            active.append(int(labels[self.image.free[norm.index[0]]]))
        if not active:
            return None
        inverse = np.linalg.pinv(np.array(columns).T)
        entries: dict[int, Fraction] = {}
        k = self.problem.n_constraints
        for a, row in enumerate(inverse):
            ints, unit = whitened.multipliers(row)
            for i, value in zip(rows, ints, strict=True):
                entries[a * k + i] = cut(value * unit / self.image.scales[i], 150)
        return {"active": active, "L": [part(sorted(entries), [entries[i] for i in sorted(entries)])]}

    def _tight(self, found: Approximation) -> tuple[list[int], Whitened]:
        """Independent ones of the rows in which no two minimisers differ, equations and those with a multiplier."""
        image = self.image
        if not image.at_least:
            return image.rows, self.whitened
        pairs = zip(image.rows, signed(image, found), strict=True)
        rows = [row for row, v in pairs if v > 0 or row not in image.at_least]
        A = image.A.rows(rows).columns(range(image.free.size))
        basis = row_basis(A)
        return [rows[k] for k in basis], whiten(A.rows(basis))


class _Predictor:
    """The predictor norm in the variables (A_1, W)."""

    def __init__(self, problem: UnlearningProblem, drift: Drift, kept: list[int] | None) -> None:
        self.problem, self.drift = problem, drift
        self.lifted: Lifted = lift(problem, kept)
        image = self.lifted.image
        n, width = self.lifted.n, image.free.size - self.lifted.n
        terms = lifted_terms(self.lifted, drift, squared=False)
        norm = Norm(n + np.arange(width), [Fraction(1)] * width, Fraction(1), Fraction(0))
        self.program = program_of(image, terms, [norm], drift, n)
        self.whitened = whiten(image.basis)

    def run(self) -> Enclosure:
        found = newton(self.program, self.whitened)
        lifted, program, star = self.lifted, self.program.pieces, to_rational(self.problem.theta_star)
        n, width = lifted.n, lifted.image.free.size - lifted.n
        x = placed(lifted.image, self.whitened, self.program, found)
        own = Rationals(x.nums[:n], x.den)
        own = into_region(own, list(star[lifted.coordinates]), self.drift, self.problem.theta_star_fits)
        theta = everywhere(star, lifted.coordinates, own)
        y = signed(lifted.image, found)
        nu = {row - width: y[k] * program.y_units[k] for k, row in enumerate(lifted.image.rows) if row >= width}
        dual: Tree = {"nu": vector(nu), "B": vector(self._subgradient(found))}
        if self.drift.ball is not None and found.kappa > 0:
            dual["ball"] = rational_text(cut(found.kappa * program.y_unit / program.x_unit))
        return Enclosure(theta, primal_tree(theta, star, lifted.coordinates), dual)

    def _subgradient(self, found: Approximation) -> dict[int, Fraction]:
        """B = W / |W|; where W = 0, what the norm carries of the multipliers."""
        n = self.lifted.n
        index = range(n, self.lifted.image.free.size)
        if found.face.where[n] == ZERO:
            program = self.program.pieces
            values = [pull(program.A.ints[:, i], found.y) * program.y_unit for i in index]
        else:
            square = sum((found.x[i] ** 2 for i in index), Fraction(0))
            length = roots(square)[1]
            values = [found.x[i] / length for i in index]
        return {k: cut(v) for k, v in enumerate(values) if v}


# ---------------------------------------------------------------- shared


def newton(program: Smooth, whitened: Whitened) -> Approximation:
    """From the first float solution that Newton's method takes anywhere."""
    why: Exception = FaceError("no float solution")
    for scale, guess in float_guesses(program, whitened):
        for snug in (False, True)[: 1 + guess.ball]:
            try:
                return approximate(program, whitened, scale, guess, snug)
            except (FaceError, np.linalg.LinAlgError) as error:
                why = error
    raise FaceError(str(why))


def placed(image: Image, whitened: Whitened, program: Smooth, found: Approximation, snap: bool = False) -> Rationals:
    """The approximate minimiser, moved by next to nothing so that all rows hold exactly.

    snap: coordinates that are as near to a kink or an edge are put there first, and stay.
    """
    n, pieces, room = image.free.size, program.pieces, freedom(program, found)[: image.free.size]
    x = image.own(found.x)
    if snap:
        reach = Fraction(max((abs(v) for v in x.nums.tolist()), default=0), x.den) * Fraction(TIGHT)
        near = [next((b for b in pieces.breaks[i] if abs(x[i] - b) <= reach), None) for i in range(n)]
        x = Rationals.of([x[i] if b is None else Fraction(b) for i, b in enumerate(near)])
        room = np.where([b is None for b in near], room, 0.0)
    return within_rows(image, whitened, scaled(x, pieces.x_unit), room, TIGHT, found.face.where[n:] == HELD)


def signed(image: Image, found: Approximation) -> list[Fraction]:
    """Multipliers of the independent rows; of rows that read >= with a slack, or that are 0 but for rounding, 0."""
    y, held = found.y.fractions(), (found.face.where[image.free.size :] == HELD).tolist()
    least = max(map(abs, y), default=Fraction(0)) * Fraction(TIGHT)
    idle = {row for row, tight in zip(image.at_least, held, strict=True) if not tight}
    slack = idle | {row for row, v in zip(image.rows, y, strict=True) if row in image.at_least and v < least}
    return [Fraction(0) if row in slack else v for row, v in zip(image.rows, y, strict=True)]


def freedom(program: Smooth, found: Approximation) -> Array:
    """Sizes of the coordinates that are free, less where a kink is near; 0 where one is held."""
    x = np.abs(_scaled_floats(found.x))
    free = found.face.where == FREE
    moving = (found.face.where == TOP) | (found.face.where == BOTTOM)
    return np.asarray(np.where(free, x + 1e-12 * np.max(x, initial=0.0), np.where(moving, 1e-6 * x, 0.0)))


def _scaled_floats(x: Rationals) -> Array:
    """Proportional to x, in the range of floats."""
    peak = max((abs(v) for v in x.nums.tolist()), default=0) or 1
    return np.array([v / peak for v in x.nums.tolist()])


def pull(column: Array, y: Rationals) -> Fraction:
    return Fraction(int((column * y.nums).sum()) if column.size else 0, y.den)


def cut(value: Fraction, bits: int = CUT) -> Fraction:
    """The nearest dyadic number of so many significant bits."""
    if value == 0:
        return value
    shift = bits - (abs(value.numerator).bit_length() - value.denominator.bit_length())
    return Fraction(round(value * Fraction(2) ** shift)) / Fraction(2) ** shift
