"""Problems with norms of groups or an active 2-ball: their float solution, and their enclosure as a proof.

group_l2, and l2 and predictor_norm with a drift penalty, have norms; a 2-ball adds to any convex form the
curvature of a multiplier kappa, found where |x(kappa) - theta*| meets the radius.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.cones import ConeProgram
from exact_unlearn.certify.enclosure import ZERO, Group, Guess, Smooth
from exact_unlearn.certify.exact import first_face
from exact_unlearn.certify.exactlin import ratio
from exact_unlearn.certify.forms import separable
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.interior import FloatPoint, FloatProgram, minimise
from exact_unlearn.certify.pieces import FAR, Pieces, Scale, Separable, float_program, pieces, scales
from exact_unlearn.certify.terms import Drift, kind_of
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.forms import Norms
from exact_unlearn.jacobian import Array
from exact_unlearn.problem import UnlearningProblem

SEARCH = 40
"""Solves, at most, in search of the multiplier of the ball."""

UNBOUNDED = 1e-6
"""A float solution with a larger error is none: without the ball the program has no minimum that floats can see."""

NEAR = 1e-8
"""Relative distance from the radius at which Newton's method takes over."""


@dataclass(frozen=True)
class Norm:
    """weight * (sum v_j x_j^2 + frozen)^(1/2) in the units of theta, over columns `index`."""

    index: Array
    inner: list[Fraction]
    weight: Fraction
    frozen: Fraction


def smooth_terms(problem: UnlearningProblem, image: Image, drift: Drift) -> tuple[Separable, list[Norm]]:
    """The objective as a separable part and norms of groups, on the columns of the image."""
    terms = separable(problem, image, drift)
    if kind_of(problem) not in ("root", "groups"):
        return terms, []
    term: Any = problem.form.parts[0].term
    return replace(terms, quadratic=[Fraction(0)] * image.free.size), norms_of(term, Fraction(1), image)


def norms_of(term: Norms, factor: Fraction, image: Image) -> list[Norm]:
    """The groups of norms of theta itself, on the columns of the image."""
    d = image.theta.size
    inner = [Fraction(1)] * d if term.inner is None else [Fraction(w) for w in term.inner.tolist()]
    labels, outer = term.labels(d), [factor * Fraction(w) for w in term.outer().tolist()]
    column = np.full(d, -1)
    column[image.free] = np.arange(image.free.size)
    norms = []
    for g, weight in enumerate(outer):
        members = [int(j) for j in np.flatnonzero(labels == g) if inner[j]]
        own = [j for j in members if column[j] >= 0]
        if weight and own:
            fixed = sum((inner[j] * image.theta[j] ** 2 for j in members if column[j] < 0), Fraction(0))
            norms.append(Norm(column[own], [inner[j] for j in own], weight, fixed))
    return norms


def program_of(image: Image, terms: Separable, norms: list[Norm], drift: Drift, drifting: int | None = None) -> Smooth:
    """In the integer units of the separable part.  drifting: how many of the first columns the drift measures (all)."""
    program = pieces(image, terms)
    unit = program.x_unit
    groups = [Group(n.index, n.inner, n.weight / program.y_unit, n.frozen / unit**2) for n in norms]
    measured = np.zeros(program.size)
    measured[: image.free.size if drifting is None else drifting] = 1.0
    radii = [radius / unit for radius in (drift.ball, drift.box) if radius is not None]
    if norms and drift.lam and image.start_fits:
        # lam |D| is at most the slope of the norms: a steep square keeps D as short as a small ball would
        radii.append(sum((n.weight * max([Fraction(1), *n.inner]) for n in norms), Fraction(0)) / drift.lam / unit)
    ball = None if drift.ball is None else drift.ball / unit
    return Smooth(program, groups, ball, measured, min(radii, default=None))


def float_guesses(program: Smooth, whitened: Whitened) -> Iterator[tuple[Scale, Guess]]:
    """Float solutions on whitened rows, and the faces they suggest; most trustworthy first."""
    steep = max((g.weight for g in program.groups), default=Fraction(0))
    for scale in scales(program.pieces, whitened, steep, program.reach):
        base = float_program(program.pieces, whitened, scale)
        theta = np.array([ratio(t * scale.x.denominator, scale.x.numerator) for t in program.pieces.theta])
        origin = theta if scale.shifted else np.zeros(theta.size)
        base, near = _with_groups(base, program.groups, scale, origin)
        points, kappa = minimise(base), 0.0
        if program.radius is not None:
            centre = theta - origin
            points, kappa = _in_ball(base, centre, program.drifting, float(program.radius / scale.x), points)
        for point in points:
            yield scale, _guess(program, base, point, kappa, scale, near)


def _with_groups(
    base: FloatProgram, groups: list[Group], scale: Scale, origin: Array
) -> tuple[FloatProgram, list[Group]]:
    """The program with its norms, and those of them that are not linear as far as floats can see."""
    near: list[Group] = []
    linear = base.linear.copy()
    label, inner = np.full(origin.size, -1), np.ones(origin.size)
    for group in groups:
        v = np.array([float(value) for value in group.inner])
        start = origin[group.index]
        length = float(np.sqrt(np.sum(v * start**2) + float(group.frozen / scale.x**2)))
        if length > FAR:  # so far from 0, in units of the ball, that its gradient is constant there
            linear[group.index] += float(group.weight / scale.y) * v * start / length
        else:
            label[group.index], inner[group.index] = len(near), np.sqrt(v)
            near.append(group)
    if not near:
        return replace(base, linear=linear), near
    weight = np.array([float(g.weight / scale.y) for g in near])
    frozen = np.sqrt([float(g.frozen / scale.x**2) for g in near])
    return replace(base, linear=linear, cones=ConeProgram(label, inner, weight, frozen, origin)), near


def _guess(
    program: Smooth, base: FloatProgram, point: FloatPoint, kappa: float, scale: Scale, near: list[Group]
) -> Guess:
    face = first_face(program.pieces, base, point, scale)
    for group, zero in zip(near, point.group_zero, strict=True):
        if zero and not group.frozen:
            face.where[group.index] = ZERO
    return Guess(point.x, point.y, point.t, kappa, face, kappa > 0)


def _in_ball(
    base: FloatProgram, theta: Array, drifting: Array, radius: float, points: list[FloatPoint]
) -> tuple[list[FloatPoint], float]:
    """The multiplier kappa with |x(kappa) - theta| = radius: 1/|x - theta| is nearly linear in kappa."""

    def solve(kappa: float) -> list[FloatPoint]:
        force = kappa * drifting
        return minimise(replace(base, curvature=base.curvature + force, linear=base.linear - force * theta))

    def excess(candidates: list[FloatPoint]) -> float:
        length = float(np.linalg.norm((candidates[0].x - theta) * drifting))
        return radius / length - 1 if length else np.inf

    low, f_low = 0.0, excess(points) if points[0].error < UNBOUNDED else -1.0
    if f_low >= -NEAR:
        return points, 0.0
    kappa, points = _bracket(solve, excess)
    high, value, before = kappa, excess(points), (low, f_low)
    for _ in range(SEARCH):
        if abs(value) < NEAR or high - low < 1e-12 * high:
            break
        slope = (value - before[1]) / (kappa - before[0])
        before = (kappa, value)
        guess = kappa - value / slope if slope > 0 else 0.0
        kappa = guess if low < guess < high else (low + high) / 2
        points = solve(kappa)
        value = excess(points)
        low, high = (kappa, high) if value < 0 else (low, kappa)
    return points, kappa


def _bracket(
    solve: Callable[[float], list[FloatPoint]], excess: Callable[[list[FloatPoint]], float]
) -> tuple[float, list[FloatPoint]]:
    """A multiplier so large that the solution is inside the ball."""
    kappa = 1.0
    for _ in range(60):
        points = solve(kappa)
        if excess(points) >= 0:
            break
        kappa *= 4
    return kappa, points


__all__ = ["Norm", "Pieces", "float_guesses", "program_of", "smooth_terms"]
