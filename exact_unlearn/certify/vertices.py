"""Sums of powers below 1: the least vertex of {A x = q}, or where there are too many of them what |x|_1 says.

L/2 sum |x_j|^(2/L) is concave on every orthant, so that a solution with independent columns has the least value
(docs/certificate_format.md, section 12).  The checker tries them all by itself; what is looked for here is the one to
compare them with.
"""

from __future__ import annotations

import math
from fractions import Fraction

from exact_unlearn.certify import checker
from exact_unlearn.certify.active import Found
from exact_unlearn.certify.encode import Tree, primal_tree, vector
from exact_unlearn.certify.exact import optimum
from exact_unlearn.certify.exactlin import Rationals, objects
from exact_unlearn.certify.forms import NotExactError
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.pieces import Separable, pieces
from exact_unlearn.certify.point import UNLIMITED
from exact_unlearn.certify.terms import everywhere, scaled
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.forms import Power
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import tick

SETS = 20_000
"""Sets of columns that are tried at most: some seconds for a checker."""

BETTER = Fraction(1, 1 << 200)
"""Part of a value by which another vertex must be smaller to take its place; what is nearer is tied."""


def least_vertex(problem: UnlearningProblem, image: Image) -> Found:
    """The vertex of the least value, exactly.  NotExactError, where there are too many."""
    n, r = image.free.size, len(image.rows)
    sets = math.comb(n, r)
    if sets > SETS:
        raise NotExactError(f"{sets} sets of {r} of {n} columns are more than the {SETS} that are tried")
    rows = [[a * image.q[i].denominator for a in image.A.ints[i]] + [image.q[i].numerator] for i in image.rows]
    term = problem.form.parts[0].term
    assert isinstance(term, Power)
    work, best, rivals, least = checker.Work(UNLIMITED), Rationals(objects([0] * n), 1), None, Fraction(0)
    for number, (places, nums, den) in enumerate(checker.basic_solutions(rows, work)):
        if not number % 256:
            tick()
        if rivals is not None and rivals.excess(places, nums, den) <= least:
            continue
        values = [0] * n
        for place, value in zip(places, nums, strict=True):
            values[place] = value if den > 0 else -value
        best = Rationals(objects(values), abs(den)).reduced()
        if not any(nums):
            break
        rivals = checker.Rivals(checker.Vector(best.nums.tolist(), best.den), term.depth, work)
        least = BETTER * rivals.above / Fraction(2) ** rivals.shift
    return _at(image, best, {"nu": []})


def by_l1(image: Image, whitened: Whitened) -> Found:
    """The point of least |x|_1, and its multipliers: sum |x_j|^(2/L) >= |x|_1^(2/L)."""
    n, zero = image.free.size, Fraction(0)
    none, kinks = [zero] * n, [Fraction(1)] * n
    program = pieces(image, Separable(image.theta_free, none, kinks, none, none, [None] * n, None, zero))
    found = optimum(program, whitened)
    nu = {row: found.point.y[k] * program.y_units[k] for k, row in enumerate(image.rows)}
    return _at(image, image.own(scaled(found.point.x, program.x_unit)), {"nu": vector(nu)})


def _at(image: Image, x: Rationals, dual: Tree) -> Found:
    theta = everywhere(image.theta, image.free, x)
    return Found(theta, primal_tree(theta, image.theta, image.free), dual)
