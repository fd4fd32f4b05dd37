"""Problems that nothing fits: Farkas vectors, found before any optimum is looked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from exact_unlearn.certify.exact import optimum
from exact_unlearn.certify.exactlin import Rationals, product, solve
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.pieces import Separable, pieces
from exact_unlearn.certify.pivot import InfeasibleError
from exact_unlearn.certify.terms import Drift, difference, scaled
from exact_unlearn.certify.whiten import Whitened

SHARES = (300, 200, 120, 80, 60, 45, 30, 20, 14, 10, 7, 5, 3, 2, 1, 0)
"""A point is moved by 2^-bits of the way to the shortest drift."""

Refutation = tuple[list[Fraction], str]
"""Multipliers of all rows, and why nothing fits."""


def nothing_fits(image: Image, drift: Drift, whitened: Callable[[], Whitened], decided: bool) -> Refutation | None:
    """Why no drift satisfies the rows within the trust regions; None if one does.

    decided: what follows finds out itself about boxes and rows that read >=.  Raises as `optimum` does.
    """
    blind = _without_entries(image)
    if blind is not None:
        return blind
    if drift.ball is not None and not drift.pinned:
        apart = _beyond_rows(image, drift.ball, whitened()) if image.at_least else _beyond(image, drift.ball)
        if apart is not None:
            return apart, "every solution lies outside the trust region"
    bounded = drift.box is not None or bool(image.at_least)
    if not bounded or drift.pinned or decided or image.start_fits:
        return None
    try:
        optimum(pieces(image, _shortest(image, drift.box)), whitened())
    except InfeasibleError as error:
        return farkas(image, error.farkas), why_nothing(image, drift)
    return None


def why_nothing(image: Image, drift: Drift) -> str:
    """What a Farkas vector of rows and boxes says in words."""
    if drift.box is not None:
        return "no solution lies within the trust region"
    return "no parameters satisfy the rows that read >= together with the others"


def farkas(image: Image, y: Rationals) -> list[Fraction]:
    """Multipliers of the integer rows as multipliers of J."""
    nu = [Fraction(0)] * len(image.q)
    for k, row in enumerate(image.rows):
        nu[row] = y[k] / image.scales[row]
    return nu


def _without_entries(image: Image) -> Refutation | None:
    """A row that reads 0 >= b with b > 0."""
    n = image.free.size
    for row in image.at_least:
        if image.q[row] > 0 and not image.A.ints[row, :n].any():
            nu = [Fraction(0)] * len(image.q)
            nu[row] = Fraction(1)
            return nu, "a row that reads >= has no entry on what may move, and asks for more than 0"
    return None


def _shortest(image: Image, box: Fraction | None) -> Separable:
    """|D|^2 / 2 in the box."""
    zero, n = Fraction(0), image.free.size
    return Separable(
        theta=image.theta_free,
        quadratic=[zero] * n,
        kink=[zero] * n,
        lam=[Fraction(1)] * n,
        mu=[zero] * n,
        box=[box] * n,
    )


def towards_shortest(image: Image, drift: Drift, whitened: Whitened, x: Rationals) -> Rationals:
    """x (n,), which satisfies all rows, moved towards the point of the shortest drift until it lies in the regions.

    Where b is not 0 that point takes the place of theta*.  FaceError if it is not inside itself; else as `optimum`.
    """
    program = pieces(image, _shortest(image, drift.box))
    inner = image.own(scaled(optimum(program, whitened).point.x, program.x_unit))
    den = math.lcm(inner.den, x.den)
    start, steps = inner.nums * (den // inner.den), x.nums * (den // x.den) - inner.nums * (den // inner.den)
    for bits in SHARES:
        one = 1 << bits
        moved = Rationals(start * one + steps * (one - 1), den * one).reduced()
        if drift.allows(difference(moved, image.theta[image.free])):
            return moved
    raise FaceError("the shortest drift lies on the edge of the trust region, and the point outside of it")


def _beyond_rows(image: Image, radius: Fraction, whitened: Whitened) -> list[Fraction] | None:
    """Multipliers of the shortest drift D, if it is longer than that: J.T nu = D, and <nu, b> = |D|^2; or a Farkas
    vector where there is no drift at all.
    """
    program = pieces(image, _shortest(image, None))
    try:
        found = optimum(program, whitened)
    except InfeasibleError as error:
        return farkas(image, error.farkas)
    x = image.own(found.point.x)
    moved = [x[i] * program.x_unit - theta for i, theta in enumerate(image.theta_free)]
    if sum((v * v for v in moved), Fraction(0)) <= radius**2:
        return None
    y = {row: found.point.y[k] * program.y_units[k] for k, row in enumerate(image.rows)}
    return [y.get(row, Fraction(0)) for row in range(len(image.q))]


def _beyond(image: Image, radius: Fraction) -> list[Fraction] | None:
    """Multipliers that prove |D| > radius for every solution: those of the shortest one; None if it is no
    longer than that.
    """
    start = Rationals.of(image.theta_free)
    shift = [-v for v in image.residuals(start, image.rows)]
    if not any(shift):
        return None
    right = Rationals.of(shift)
    weights = solve(product(image.basis, image.basis.T), right.nums)[0]
    square = (
        sum((a * Fraction(int(b), weights.den) for a, b in zip(shift, weights.nums, strict=True)), Fraction(0))
        / right.den
    )
    return None if square <= radius**2 else farkas(image, weights)
