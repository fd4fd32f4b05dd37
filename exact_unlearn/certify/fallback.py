"""The last rung but one: a float point made feasible, float multipliers as they are, and whatever gap the
checker finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from exact_unlearn.certify.encode import Tree, primal_tree, rational_text, vector
from exact_unlearn.certify.exactlin import Rationals
from exact_unlearn.certify.feasible import towards_shortest
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.nuclear_start import Start, at_rest, starts
from exact_unlearn.certify.predictor import lift, lifted_terms
from exact_unlearn.certify.repair import dyadic, from_inside, into_box, into_region, vanishing_on, within_rows
from exact_unlearn.certify.smooth import Norm, float_guesses, program_of, smooth_terms
from exact_unlearn.certify.terms import Drift, bends_of, difference, everywhere, kind_of, seen, weights_of
from exact_unlearn.certify.whiten import Whitened, whiten
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution

TIGHT = 1e-9
"""A row that reads >= with a slack this many times smaller than the largest parameter is taken to have none."""


@dataclass(frozen=True)
class Candidate:
    """A float point on the free coordinates, multipliers of all rows, and of the ball (None: what fits the others);
    perhaps g (d,) of the norm.
    """

    x: Array
    nu: list[Fraction]
    kappa: Fraction | None
    g: Array | None = None


@dataclass(frozen=True)
class Repaired:
    """theta (d,), feasible exactly, and the parts of a certificate."""

    theta: Rationals
    primal: Tree
    dual: Tree


def candidates(
    problem: UnlearningProblem,
    solution: Solution | None,
    image: Image,
    whitened: Whitened,
    drift: Drift,
    kept: list[int] | None,
) -> Iterator[Candidate]:
    """The caller's solution, and our own."""
    yield from offered(solution, image, drift, kept)
    kind = kind_of(problem)
    if kind == "spectral":
        yield from _of_matrix(problem, image, whitened, drift, kept)
    elif kind == "product":
        yield _of_predictor(problem, drift, kept)
    else:
        terms, norms = smooth_terms(problem, image, drift)
        yield _of_program(image, whitened, program_of(image, terms, norms, drift))


def offered(solution: Solution | None, image: Image, drift: Drift, kept: list[int] | None) -> Iterator[Candidate]:
    """What the caller's solution offers."""
    if solution is None:
        return
    nu = solution.nu if kept is None else solution.nu[kept]
    g = None if solution.subgradient is None else to_float(solution.subgradient)
    g = g if g is not None and np.isfinite(g).all() else None
    x, multipliers = to_float(solution.theta)[image.free], [Fraction(v) for v in nu.tolist()]
    for own in (None,) if g is None else (g, None):
        for kappa in (Fraction(0),) if drift.ball is None else (None, Fraction(0)):
            yield Candidate(x, multipliers, kappa, own)


def _of_matrix(
    problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift, kept: list[int] | None
) -> Iterator[Candidate]:
    """theta* itself, and interior-point solutions if there are any."""
    own = [] if image.at_least else starts(problem, image, whitened, drift, kept)  # these take equations
    finders: list[Start] = [partial(at_rest, problem), *own]
    for find in finders:
        with suppress(FaceError):
            start = find()
            nu = start.nu if kept is None else start.nu[kept]
            yield Candidate(start.theta[image.free], [Fraction(float(v)) for v in nu], None, start.g)


def _of_predictor(problem: UnlearningProblem, drift: Drift, kept: list[int] | None) -> Candidate:
    lifted = lift(problem, kept)
    image, n = lifted.image, lifted.n
    width = image.free.size - n
    norm = Norm(n + np.arange(width), [Fraction(1)] * width, Fraction(1), Fraction(0))
    program = program_of(image, lifted_terms(lifted, drift, squared=False), [norm], drift, n)
    found = _of_program(image, whiten(image.basis), program)
    return Candidate(found.x[:n], found.nu[width:], found.kappa)


def _of_program(image: Image, whitened: Whitened, program: Any) -> Candidate:
    scale, guess = next(float_guesses(program, whitened))
    pieces, n = program.pieces, image.free.size
    x = guess.x[:n] * float(scale.x * pieces.x_unit)
    if scale.shifted:
        x = x + np.array([float(t * pieces.x_unit) for t in pieces.theta[:n]])
    ints, unit = whitened.multipliers(guess.y)
    nu = [Fraction(0)] * len(image.q)
    for k, row in enumerate(image.rows):
        nu[row] = ints[k] * unit * scale.y * pieces.y_units[k]
    kappa = Fraction(guess.kappa) * scale.y / scale.x * pieces.y_unit / pieces.x_unit
    return Candidate(x, nu, kappa)


def repaired(
    problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift, candidate: Candidate
) -> Repaired:
    """The candidate made feasible.  FaceError where that is impossible near it."""
    point, held = into_box(dyadic(candidate.x), image.theta_free, drift)
    freedom = np.where(held, 0.0, np.abs(candidate.x) + 1e-12 * np.max(np.abs(candidate.x), initial=0.0))
    try:
        x = within_rows(image, whitened, point, np.asarray(freedom), TIGHT)
    except FaceError:
        x = from_inside(image, whitened, point, np.asarray(freedom))
    try:
        x = into_region(x, image.theta_free, drift, problem.theta_star_fits)
    except FaceError:
        if not image.at_least:
            raise
        x = towards_shortest(image, drift, whitened, x)
    return proposed(problem, image, drift, candidate, x)


def proposed(problem: UnlearningProblem, image: Image, drift: Drift, candidate: Candidate, x: Rationals) -> Repaired:
    """A feasible x, with the multipliers of the candidate."""
    theta = everywhere(image.theta, image.free, x)
    kappa = Fraction(0)
    if drift.ball is not None:
        found = candidate.kappa
        kappa = _ball_multiplier(problem, image, drift, candidate, x) if found is None else max(found, kappa)
    nu = _admissible(problem, image, drift, candidate.nu, kappa)
    dual: Tree = {"nu": vector({i: v for i, v in enumerate(nu) if v})}
    if kappa:
        dual["ball"] = rational_text(kappa)
    g = _subgradient(problem, image, drift, nu, kappa, x, candidate.g)
    if g:
        dual["g"] = vector(g)
    primal = primal_tree(theta, image.theta, image.free)
    if kind_of(problem) == "spectral":
        primal["factors"] = factors(problem, theta)
    return Repaired(theta, primal, dual)


def factors(problem: UnlearningProblem, theta: Rationals) -> list[Tree]:
    """Singular vectors in floats: the checker adds what they leave of the matrix."""
    regularizer: Any = problem.regularizer
    X = theta.floats()[regularizer.indices].reshape(regularizer.shape)
    U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
    root = np.sqrt(sigma)
    sides = [(U[:, a] * root[a], Vt[a] * root[a]) for a in np.flatnonzero(sigma > 0)]
    return [{"u": _floats(u), "v": _floats(v)} for u, v in sides]


def _floats(values: Array) -> list[Tree]:
    return vector({k: Fraction(float(v)) for k, v in enumerate(values) if v})


def _admissible(
    problem: UnlearningProblem, image: Image, drift: Drift, nu: list[Fraction], kappa: Fraction
) -> list[Fraction]:
    """Multipliers whose lower bound is not minus infinity: not negative where rows read >=, zero on what nothing
    penalises, and in the dual ball of a spectral norm.
    """
    regularizer: Any = problem.regularizer
    if image.at_least:
        nu = [max(v, Fraction(0)) if row in image.at_least else v for row, v in enumerate(nu)]
    if drift.cone and drift.box is None and not kappa:
        unseen = np.flatnonzero(~seen(problem)[image.free])
        if unseen.size:
            y = [nu[row] * image.scales[row] for row in image.rows]
            nu = [Fraction(0)] * len(nu)
            for row, value in zip(image.rows, vanishing_on(image, y, unseen), strict=True):
                nu[row] = value / image.scales[row]
    if kind_of(problem) == "spectral" and drift.cone and drift.box is None and not kappa:
        z = _pullback(image, nu)
        G = np.zeros(problem.n_parameters)
        G[image.free] = z
        size = float(np.linalg.norm(G[regularizer.indices].reshape(regularizer.shape), 2))
        if size > 1 - 1e-12:
            nu = [v * Fraction((1 - 1e-12) / size) for v in nu]
    return nu


def _pullback(image: Image, nu: list[Fraction]) -> Array:
    """J.T nu on the free coordinates, in floats."""
    current = Rationals.of([v * s for v, s in zip(nu, image.scales, strict=True)])
    if not nu:
        return np.zeros(image.free.size)
    return image.own(Rationals(image.A.T.apply(current.nums), current.den)).floats()


def _ball_multiplier(
    problem: UnlearningProblem, image: Image, drift: Drift, candidate: Candidate, x: Rationals
) -> Fraction:
    """kappa >= 0 for which z = g + (lam + kappa) D + mu sign(D) fits best.

    With g at hand the lower bound is g.theta* + nu.b - rho |z - g| (its l1 part taken off), whatever D is: kappa =
    |z - g| / rho - lam.  Otherwise the gradient of R at x says what z is worth, where R and the drift have one.
    """
    assert drift.ball is not None
    z, lam, mu, rho = _pullback(image, candidate.nu), float(drift.lam), float(drift.mu), float(drift.ball)
    theta = everywhere(image.theta, image.free, x)
    D = difference(theta, image.theta).floats()[image.free]
    if candidate.g is not None:
        force = z - candidate.g[image.free]
        force = np.sign(force) * np.maximum(np.abs(force) - mu, 0.0)
        return Fraction(max(float(np.linalg.norm(force / rho)) - lam, 0.0))
    g, smooth = _gradient(problem, theta)
    if not smooth.any():  # but g.theta = R(theta) for every subgradient of a norm
        x_free = theta.floats()[image.free]
        excess = float((z - lam * D - mu * np.sign(D)) @ x_free) - float(problem.regularizer.value(theta.floats()))
        kappa = excess / (float(D @ x_free) or math.inf)
        return Fraction(kappa) if 0 < kappa < math.inf else Fraction(0)
    moves = smooth[image.free] & (D != 0)
    if drift.box is not None:
        moves &= np.abs(D) < float(drift.box) * (1 - 1e-9)
    size = float(np.max(np.abs(D), initial=0.0)) or 1.0
    unit = D[moves] / size
    rest = z[moves] - g[image.free][moves] - lam * D[moves] - mu * np.sign(D[moves])
    kappa = float(rest @ unit) / (float(unit @ unit) or 1.0) / size
    return Fraction(kappa) if 0 < kappa < math.inf else Fraction(0)


def _gradient(problem: UnlearningProblem, theta: Rationals) -> tuple[Array, Array]:
    """The gradient of R at theta (d,), and on which coordinates there is one."""
    x, kind, part = theta.floats(), kind_of(problem), next(iter(problem.form.parts), None)
    size = float(np.max(np.abs(x), initial=0.0)) or 1.0
    term: Any = None if part is None else part.term
    if kind == "separable":
        alpha, beta = (np.array([float(v) for v in own]) for own in bends_of(problem))
        return alpha * np.sign(x) + beta * x, (x != 0) | (alpha == 0)
    if kind == "root":
        weights = np.array([float(w) for w in weights_of(problem)])
        length = math.sqrt(float(np.sum(weights * (x / size) ** 2))) or 1.0
        return np.asarray(weights * (x / size) / length), np.full(x.size, bool(x.any()))
    if kind == "groups":
        labels, outer = term.labels(x.size), term.outer().astype(float)
        lengths = np.sqrt(np.bincount(labels, (x / size) ** 2, outer.size))[labels]
        return outer[labels] * (x / size) / np.where(lengths > 0, lengths, 1.0), lengths > 0
    if kind == "spectral":
        X = x[term.indices].reshape(term.shape)
        sigma = np.linalg.svd(X, compute_uv=False)
        full = sigma[-1] > 1e-6 * sigma[0]
        return at_rest(replace(problem, theta_star=x)).g, np.full(x.size, bool(full))
    return np.zeros(x.size), np.zeros(x.size, dtype=bool)


def _subgradient(
    problem: UnlearningProblem,
    image: Image,
    drift: Drift,
    nu: list[Fraction],
    kappa: Fraction,
    x: Rationals,
    given: Array | None,
) -> dict[int, Fraction]:
    """Of a norm, where the drift does not move: what the kinks cannot carry; 0 on the edge of the box."""
    regularizer: Any = problem.regularizer
    alone = drift.cone and drift.box is None and not kappa
    if kind_of(problem) == "spectral" and not alone:
        if given is None:  # what is left for the norm, put into the dual ball: no rounding error ends outside
            D = difference(everywhere(image.theta, image.free, x), image.theta).floats()
            given = -float(drift.lam + kappa) * D - float(drift.mu) * np.sign(D)
            given[image.free] += _pullback(image, nu)
        G = given[regularizer.indices].reshape(regularizer.shape)
        G = G / max(1.0, float(np.linalg.norm(G, 2)) * (1 + 1e-13))
        return {int(j): Fraction(float(v)) for j, v in zip(regularizer.indices, G.reshape(-1), strict=True)}
    if alone or kind_of(problem) not in ("root", "max", "groups"):
        return {}
    still = all(a == b for a, b in zip(x.fractions(), image.theta_free, strict=True))
    if not (drift.mu or drift.box is not None or (still and given is not None)):
        return {}  # the checker takes z - (lam + kappa) D, which is nearer to a subgradient than its floats
    z, visible = _pullback(image, nu), seen(problem)
    if given is not None:
        return {int(j): Fraction(float(given[j])) for j in np.flatnonzero(visible)}
    out: dict[int, Fraction] = {}
    for i, j in enumerate(image.free.tolist()):
        step = x[i] - image.theta[j]
        if not visible[j]:
            continue
        if drift.box is not None and abs(step) == drift.box:
            out[j] = Fraction(0)
        elif step == 0:
            out[j] = Fraction(float(np.sign(z[i]) * max(abs(z[i]) - float(drift.mu), 0.0)))
    return out
