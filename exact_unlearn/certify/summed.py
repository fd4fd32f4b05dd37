"""Proofs of forms: the exact optimum, its enclosure, or the best of the float points, of the lifted program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.enclose import cut, newton, placed, pull, signed
from exact_unlearn.certify.enclosure import ZERO, Approximation, Smooth
from exact_unlearn.certify.exactlin import Rationals
from exact_unlearn.certify.faces import HELD
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.lifted import Found, Lift
from exact_unlearn.certify.pieces import interval_at_zero
from exact_unlearn.certify.repair import dyadic, into_box, into_region, vanishing_on, within_rows
from exact_unlearn.certify.smooth import Norm, float_guesses, program_of
from exact_unlearn.certify.terms import roots
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.solution import Solution

TIGHT = 1e-9
"""Relative slack below which a row that reads >= counts as an equation."""

TIE = 1 << 200
"""A drift this many times smaller than its group is none."""


def enclosed(lift: Lift) -> Found:
    """Newton's method from float solutions.  FaceError where none of them converges."""
    if lift.blind:
        raise FaceError(f"{lift.blind} in a sum has no enclosure")
    program = program_of(lift.image, lift.terms, lift.norms, lift.drift, lift.n)
    found = newton(program, lift.whitened)
    pieces, image = program.pieces, lift.image
    kappa = Fraction(0)
    if lift.drift.ball is not None and found.kappa > 0:
        kappa = cut(found.kappa * pieces.y_unit / pieces.x_unit)
    y = vanishing_on(image, signed(image, found), lift.unseen(kappa))
    multipliers = {row: y[k] * pieces.y_units[k] for k, row in enumerate(image.rows)}
    own = _given(lift, program, found, kappa)
    at = next((k for k, part in enumerate(lift.others) if part.term is lift.carrier), 0)
    try:
        x = _inside(lift, program, found)
    except FaceError:  # where the sphere is touched at a kink, next to nothing is too much
        x = _inside(lift, program, found, snap=True)
    return Found(x, multipliers, kappa, {at: own})


def _inside(lift: Lift, program: Smooth, found: Approximation, snap: bool = False) -> Rationals:
    """The free coordinates of theta where all rows hold exactly, shrunk into the trust regions."""
    x = placed(lift.image, lift.whitened, program, found, snap)
    return into_region(Rationals(x.nums[: lift.n], x.den), lift.base.theta_free, lift.drift, lift.base.start_fits)


# ---------------------------------------------------------------- g of the norms that stay in place


def _given(lift: Lift, program: Smooth, found: Approximation, kappa: Fraction) -> dict[int, Fraction]:
    """g where it is not what the checker takes by itself: at kinks, at zero groups, and on frozen coordinates."""
    if lift.carrier is None:
        return {}
    own = [norm for norm in lift.norms if norm.index[0] < lift.n]
    out = _frozen(lift, own, found, program)
    free = lift.base.free
    for norm in own:
        if (found.face.where[norm.index] == ZERO).all() and not norm.frozen:
            pairs = ((i, _carried(lift, program, found, i, kappa)) for i in norm.index.tolist())
            out |= {int(free[i]): value for i, value in pairs if value is not None}
            continue
        length = _length(norm, found, program)
        for i, v in zip(norm.index.tolist(), norm.inner, strict=True):
            x = found.x[i] * program.pieces.x_unit
            rests = bool(lift.drift.mu) and abs(x - lift.base.theta[free[i]]) < length / TIE
            if found.face.where[i] == HELD or rests:
                out[int(free[i])] = norm.weight * v * x / length
    return {j: cut(value) for j, value in out.items()}


def _length(norm: Norm, found: Approximation, program: Smooth) -> Fraction:
    unit = program.pieces.x_unit
    pairs = zip(norm.index.tolist(), norm.inner, strict=True)
    return roots(sum((v * (found.x[i] * unit) ** 2 for i, v in pairs), norm.frozen))[1]


def _carried(lift: Lift, program: Smooth, found: Approximation, i: int, kappa: Fraction) -> Fraction | None:
    """What kinks and boxes at 0 leave to the norm; None where they leave all but a slope, as the checker takes it."""
    pieces = program.pieces
    low, high = interval_at_zero(pieces, i)
    if low is not None and low == high:
        return None
    theta: Fraction = lift.base.theta[lift.base.free[i]]
    rest: Fraction = pull(pieces.A.ints[:, i], found.y) * pieces.y_unit + kappa * theta
    if high is not None and rest > high * pieces.y_unit:
        return rest - high * pieces.y_unit
    if low is not None and rest < low * pieces.y_unit:
        return rest - low * pieces.y_unit
    return Fraction(0)


def _frozen(lift: Lift, norms: list[Norm], found: Approximation, program: Smooth) -> dict[int, Fraction]:
    """w q theta / |theta_g| on frozen coordinates, in groups that move and in others."""
    term, problem, theta = lift.carrier, lift.problem, lift.base.theta
    assert term is not None
    d = problem.n_parameters
    labels, outer = term.labels(d), term.outer().tolist()
    inner = [Fraction(1)] * d if term.inner is None else [Fraction(q) for q in term.inner.tolist()]
    part = next(part for part in lift.others if part.term is term)
    lengths = {int(labels[lift.base.free[norm.index[0]]]): _length(norm, found, program) for norm in norms}
    still = np.ones(d, dtype=bool)
    still[lift.base.free] = False
    out: dict[int, Fraction] = {}
    for j in np.flatnonzero(still).tolist():
        g = int(labels[j])
        if g not in lengths:
            members = np.flatnonzero(labels == g).tolist()
            lengths[g] = roots(sum((inner[k] * theta[k] ** 2 for k in members), Fraction(0)))[1]
        if outer[g] and lengths[g] and theta[j]:
            out[j] = Fraction(part.factor) * Fraction(outer[g]) * inner[j] * theta[j] / lengths[g]
    return out


# ---------------------------------------------------------------- float points


def candidates(
    lift: Lift, image: Image, whitened: Whitened, solution: Solution | None, kept: list[int] | None
) -> Iterator[Found]:
    """The caller's solution made feasible, with its shares; and the first float solution of our own."""
    if solution is not None and (solution.shares is not None or not lift.others):
        with suppress(FaceError):
            yield from _offered(lift, image, whitened, solution, kept)
    if lift.blind:
        return
    program = program_of(lift.image, lift.terms, lift.norms, lift.drift, lift.n)
    scale, guess = next(float_guesses(program, lift.whitened))
    pieces = program.pieces
    x = guess.x * float(scale.x * pieces.x_unit)
    if scale.shifted:
        x = x + np.array([float(t * pieces.x_unit) for t in pieces.theta])
    ints, unit = lift.whitened.multipliers(guess.y)
    y = {row: ints[k] * unit * scale.y * pieces.y_units[k] for k, row in enumerate(lift.image.rows)}
    kappa = Fraction(guess.kappa) * scale.y / scale.x * pieces.y_unit / pieces.x_unit
    yield from _repaired(lift, image, whitened, x[: lift.n], y, [max(kappa, Fraction(0))])


def _offered(
    lift: Lift, image: Image, whitened: Whitened, solution: Solution, kept: list[int] | None
) -> Iterator[Found]:
    x, nu = to_float(solution.theta)[image.free], solution.nu if kept is None else solution.nu[kept]
    y = {row: Fraction(v) for row, v in enumerate(nu.tolist())}
    given: dict[int, dict[int, Fraction]] = {}
    for k, (share, values) in enumerate(zip(lift.shares, _own_shares(lift, solution), strict=True)):
        if share is None:
            given[k] = {j: Fraction(float(v)) for j, v in enumerate(values)}
        else:
            y |= {row: Fraction(float(v)) for row, v in zip(share, values, strict=True)}
    found = next(_repaired(lift, image, whitened, x, y, _ball(lift, solution)))
    yield replace(found, given=given)
    yield found  # what a share leaves to rounding has nowhere to go where nothing else absorbs it


def _own_shares(lift: Lift, solution: Solution) -> list[Array]:
    """The shares of what is not separable, in the order of a certificate."""
    if not lift.others:
        return []
    summands = lift.problem.form.summands
    pairs = zip(summands, solution.shares or (), strict=True)
    return [to_float(share) for summand, share in pairs if summand.parts and summand.parts[0] in lift.others]


def _ball(lift: Lift, solution: Solution) -> list[Fraction]:
    """The multiplier of the ball: the size of its force over the radius."""
    forces, drifts = solution.drift_subgradients, lift.problem.drifts
    if lift.drift.ball is None or forces is None or len(forces) != len(drifts):
        return [Fraction(0)]
    pairs = zip(drifts, forces, strict=True)
    own = [force for term, force in pairs if term.name == "trust_region" and term.norm == 2]
    size = sum(float(np.linalg.norm(to_float(force))) for force in own)
    return [Fraction(size) / lift.drift.ball]


def _repaired(
    lift: Lift, image: Image, whitened: Whitened, x: Array, y: dict[int, Fraction], kappas: list[Fraction]
) -> Iterator[Found]:
    """A float point made feasible, and multipliers that pull at nothing which nothing penalises."""
    point, held = into_box(dyadic(x), image.theta_free, lift.drift)
    room = np.where(held, 0.0, np.abs(x) + 1e-12 * np.max(np.abs(x), initial=0.0))
    feasible = within_rows(image, whitened, point, np.asarray(room), TIGHT)
    feasible = into_region(feasible, image.theta_free, lift.drift, image.start_fits)
    y = {row: max(v, Fraction(0)) if row in image.at_least else v for row, v in y.items()}
    for kappa in kappas:
        unseen, scales = lift.unseen(kappa), lift.image.scales
        multipliers = dict(y)
        if unseen.size:
            rows = lift.image.rows
            own = [y.get(row, Fraction(0)) * scales[row] for row in rows]
            multipliers = {
                row: v / scales[row] for row, v in zip(rows, vanishing_on(lift.image, own, unseen), strict=True)
            }
        yield Found(feasible, multipliers, kappa)
