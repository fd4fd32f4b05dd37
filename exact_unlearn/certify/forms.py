"""Problems whose optimum is exact, as piecewise linear-quadratic programs, and their optima as proofs.

separable R      squared_l2, elastic_net, l1 with any sum of squared, l1 and box drifts
linf             the same, with a ceiling
l2               without drift or in a box: the minimiser of 1/2 sum w x^2, whose value is the square

A 2-ball that the optimum without it does not touch changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from exact_unlearn.certify.encode import Tree, part, vector, whole_part
from exact_unlearn.certify.exact import ExactOptimum, optimum
from exact_unlearn.certify.exactlin import Rationals, row_basis
from exact_unlearn.certify.faces import FREE, HELD
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.pieces import Pieces, Separable, pieces
from exact_unlearn.certify.pull import Pull
from exact_unlearn.certify.terms import (
    Drift,
    bends_of,
    difference,
    drift_of,
    everywhere,
    heaviest,
    kind_of,
    roots,
    scaled,
    seen,
    sum_squares,
    value_of,
    weights_of,
)
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.drift import DriftSum
from exact_unlearn.problem import UnlearningProblem

EXACT = ("separable", "max", "root")

WIDE = 16
"""A trust region this many times wider than theta* is left out at first."""


class NotExactError(ArithmeticError):
    """The optimum is not rational in this form (an active 2-ball, a root with a drift): enclose it instead."""


@dataclass(frozen=True)
class Proof:
    """What a certificate says: a feasible point, multipliers, and what follows.

    theta: (d,) exactly.  primal, dual: sections 4 and 5 of the format.  lower, upper: the optimum (equal unless
    it is a root). square: value^2 for l2.  unique: proved.
    """

    theta: Rationals
    primal: Tree
    dual: Tree
    lower: Fraction
    upper: Fraction
    square: Fraction | None
    unique: bool


def separable(problem: UnlearningProblem, image: Image, drift: Drift) -> Separable:
    """The objective on the free coordinates; for l2 its square, for group_l2 its drift only."""
    kind, n, free = kind_of(problem), image.free.size, image.free
    zero = [Fraction(0)] * n
    quadratic, kink, ceiling, floor = zero, zero, None, Fraction(0)
    if kind == "separable":
        kink, quadratic = ([own[i] for i in free] for own in bends_of(problem))
    elif kind != "groups":
        weights = weights_of(problem)
        own = [weights[i] for i in free]
        if kind == "max":
            ceiling = own
            fixed = np.flatnonzero(~problem.free)
            floor = max((weights[i] * abs(image.theta[i]) for i in fixed), default=floor)
        else:
            quadratic = own
    return Separable(
        theta=image.theta_free,
        quadratic=quadratic,
        kink=kink,
        lam=[drift.lam] * n,
        mu=[drift.mu] * n,
        box=[drift.box] * n,
        ceiling=ceiling,
        floor=floor,
    )


def prove(problem: UnlearningProblem, image: Image, whitened: Whitened) -> Proof:
    """The exact optimum of one of the EXACT forms, and its proof.

    Raises NotExactError where the optimum is irrational, FaceError, TooManyDigitsError or InfeasibleError as
    `optimum` does.
    """
    drift = drift_of(problem)
    if kind_of(problem) == "root" and not drift.cone:
        raise NotExactError("the 2-norm plus a drift penalty has an irrational minimiser")
    program = pieces(image, separable(problem, image, drift))
    found = optimum(program, whitened)
    x = image.own(scaled(found.point.x, program.x_unit))
    theta = everywhere(image.theta, image.free, x)
    moved = difference(theta, image.theta)
    if drift.ball is not None and sum_squares(moved) > drift.ball**2:
        raise NotExactError("the optimum touches the trust region of norm 2")
    lower = upper = value_square = None
    if kind_of(problem) == "root":
        value_square = sum_squares(theta, weights_of(problem))
        lower, upper = roots(value_square)
    else:
        lower = upper = value_of(problem, theta) + drift.value(moved)
    unique = _unique(kind_of(problem), program, image, found, drift)
    return Proof(
        theta=theta,
        primal=_primal(program, image, found, drift, kind_of(problem)),
        dual=_dual(problem, program, image, found, drift, theta),
        lower=lower,
        upper=upper,
        square=value_square,
        unique=unique or (not upper and _pinned_at_zero(problem, image, drift)),
    )


def _primal(program: Pieces, image: Image, found: ExactOptimum, drift: Drift, kind: str) -> Tree:
    """By its dual where each coordinate minimises a strictly convex function; the others explicitly."""
    x, free = image.own(found.point.x), image.free.tolist()
    derived = kind != "max" and not drift.mu and drift.box is None
    chosen = [i for i in range(len(free)) if not (derived and program.curvature[i])]
    if derived and len(chosen) < len(free):
        return {"base": "dual", "parts": _parts(program, free, x, chosen, found)}
    at_zero = sum(1 for v in x.nums.tolist() if v == 0)
    stays = [x.nums[i] * program.x_unit == image.theta[j] * x.den for i, j in enumerate(free)]
    if at_zero >= sum(stays):
        return {"base": "zero", "parts": _parts(program, free, x, [i for i in chosen if x.nums[i]], found)}
    return {"base": "theta_star", "parts": _parts(program, free, x, [i for i in chosen if not stays[i]], found)}


def _parts(program: Pieces, free: list[int], x: Rationals, chosen: list[int], found: ExactOptimum) -> list[Tree]:
    """Held coordinates have short numbers of their own; the solved ones share a denominator."""
    unit = program.x_unit
    held = [i for i in chosen if found.face.where[i] == HELD]
    solved = [i for i in chosen if found.face.where[i] != HELD]
    out = []
    if held:
        out.append(part([free[i] for i in held], [x[i] * unit for i in held]))
    if solved:
        nums = [x.nums[i] * unit.numerator for i in solved]
        out.append(whole_part([free[i] for i in solved], nums, x.den * unit.denominator))
    return out


def _dual(
    problem: UnlearningProblem, program: Pieces, image: Image, found: ExactOptimum, drift: Drift, theta: Rationals
) -> Tree:
    """Multipliers of the rows, and g where the checker's default is not the subgradient that proves optimality."""
    y = found.point.y
    nu = {row: y[k] * program.y_units[k] for k, row in enumerate(image.rows)}
    tree: Tree = {"nu": vector(nu)}
    kind = kind_of(problem)
    if kind == "root":
        weights = weights_of(problem)
        listed = np.flatnonzero(~problem.free).tolist()
        if drift.box is not None:
            listed += [int(j) for i, j in enumerate(image.free) if found.face.where[i] == HELD]
        g = {int(j): weights[j] * theta[j] for j in listed if weights[j]}
        if g:
            tree["g"] = vector(g)
    if kind == "max":
        g = _ceiling_subgradient(problem, program, image, found)
        if g:
            tree["g"] = vector(g)
    return tree


def _ceiling_subgradient(
    problem: UnlearningProblem, program: Pieces, image: Image, found: ExactOptimum
) -> dict[int, Fraction]:
    """g of linf where it is not z - lam D - mu sign(D): on held coordinates, where D = 0, and on the frozen coordinate
    that carries the floor.  Multipliers of t add up to its cost, subgradients to sum |g| / w = 1.
    """
    assert program.ceiling is not None
    weights = weights_of(problem)
    g: dict[int, Fraction] = {}
    cost, x, pulls = program.ceiling.cost, found.point.x, Pull(program.A, found.point.y)
    drift = drift_of(problem)
    for i, j in enumerate(image.free.tolist()):
        if not weights[j]:
            continue
        if found.face.where[i] == HELD:
            g[j] = found.ceiling_share.get(i, Fraction(0)) * weights[j] / cost
        elif drift.mu and x.nums[i] * program.x_unit == image.theta[j] * x.den:
            slope = program.slopes[i][found.face.slot[i]]
            assert slope is not None
            rest = pulls.exact(i) - slope - program.curvature[i] * x[i]
            g[j] = rest / (cost * program.ceiling.weights[i]) * weights[j]
    fixed = np.flatnonzero(~problem.free).tolist()
    if found.floor_share and fixed:
        j = heaviest(weights, image.theta, fixed)
        if image.theta[j]:
            g[j] = found.floor_share / cost * weights[j] * (1 if image.theta[j] > 0 else -1)
    return g


def _pinned_at_zero(problem: UnlearningProblem, image: Image, drift: Drift) -> bool:
    """Whether the value 0 belongs to one point only: everything that moves is penalised."""
    return not drift.cone or bool(seen(problem)[image.free].all())


def _unique(kind: str, program: Pieces, image: Image, found: ExactOptimum, drift: Drift) -> bool:
    """Whether coordinates that could move without cost cannot move together: full column rank of A on them."""
    face = found.face
    curved = np.array([bool(k) for k in program.curvature], dtype=bool)
    if curved[: image.free.size].all():
        return True
    if kind == "root":
        return False  # a seminorm: its ray would have to be excluded as well
    if program.ceiling is not None and drift.mu:
        return False  # other minimisers may trade the ceiling for the drift
    # at a ceiling alone the optimal t is one number, so coordinates with a multiplier there stay where they are
    loose = np.flatnonzero(((face.where == FREE) | found.ties) & ~curved)
    if loose.size > program.A.shape[0]:
        return False
    return len(row_basis(program.A.columns(loose).T)) == loose.size


def without_wide_regions(problem: UnlearningProblem) -> UnlearningProblem | None:
    """The problem without the trust regions that are far wider than theta*, or None if there are none.

    What is proved without them is proved with them if the point lies within; their radius would only set the scale to
    which the float solutions round everything else.  Exact forms do not care.
    """
    if kind_of(problem) in EXACT:
        return None
    size = sum((Fraction(t) ** 2 for t in problem.theta_star.tolist()), Fraction(0))
    narrow = tuple(
        term for term in problem.drifts if term.name != "trust_region" or Fraction(term.radius) ** 2 <= WIDE**2 * size
    )
    if len(narrow) == len(problem.drifts) or not size:
        return None
    return replace(problem, drift_penalty=DriftSum(narrow) if narrow else None)
