"""Laws that a regularizer must keep, as checks to be run in anybody's tests.

    from exact_unlearn.testing import check_regularizer

    def test_mine():
        check_regularizer(Mine(), n_parameters=12)

The package asks the same of every regularizer of its own.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify import certify
from exact_unlearn.errors import ExactUnlearnError, ProblemError
from exact_unlearn.forms import Summand
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.program import explicit_program
from exact_unlearn.reference import solve
from exact_unlearn.reference.backends import default_solvers, run

SIZES = (1e-3, 1.0, 1e3)
"""Of points and steps: a kink is met by small ones."""

CLOSE = 1e-9
"""Relatively: what floats may make of an equality of formulas."""

SOLVED = 1e-6
"""What a back end may leave of one."""


class LawError(ExactUnlearnError, AssertionError):
    """A regularizer breaks a law; the sentence says which, and where."""


def check_regularizer(regularizer: Any, n_parameters: int, seed: int = 0) -> None:
    """Nothing, if R keeps the laws below on random points and a random problem; LawError, one sentence, if not.

    * convexity: R((x + y) / 2) <= (R(x) + R(y)) / 2, and R >= 0
    * one value: floats and Fractions agree, and R(s x) = |s| R(x) where R says that it is a norm
    * Fenchel and Young: f(x) + f*(g) >= <g, x> for every summand f of the form
    * Moreau, and subgradients at kinks: with x = prox(v, t), g = (v - x) / t is a subgradient, so equality holds there
    * the epigraph: the explicit program at a fixed theta has the value R(theta)
    * `solve` and `certify` agree: the value of the one lies between the proved bounds of the other, and the checker
      proves them

    Counts are asked for the last two only.  n_parameters: d, on which R must be defined.  Raises ProblemError where R
    has no form, or none that fits.
    """
    rng = np.random.default_rng(seed)
    J: Any = rng.integers(-4, 5, (max(1, n_parameters // 3), n_parameters)).astype(float)
    theta = rng.integers(-8, 9, n_parameters) / 4
    problem = UnlearningProblem(theta, J, regularizer)
    R = problem.regularizer
    if not R.integer:
        _convexity(R, rng, n_parameters)
        _values(R, theta)
        for number, summand in enumerate(problem.form.summands):
            _fenchel(summand, number, rng, n_parameters)
        _epigraph(R, theta)
    _solved(problem)


def _require(truth: bool, law: str, *found: Any) -> None:
    if not truth:
        raise LawError(f"{law}; found {', '.join(f'{value!r:.80}' for value in found)}")


def _near(a: float, b: float, slack: float, scale: float = 0.0) -> bool:
    return abs(a - b) <= slack * max(abs(a), abs(b), scale)


def _convexity(R: Any, rng: np.random.Generator, d: int) -> None:
    for size in SIZES:
        x, y = size * rng.standard_normal(d), size * rng.standard_normal(d)
        ends, middle = (float(R.value(x)) + float(R.value(y))) / 2, float(R.value((x + y) / 2))
        _require(0 <= middle <= ends * (1 + CLOSE), "value: R is not convex and >= 0", middle, ends)


def _values(R: Any, theta: Array) -> None:
    value, exact = float(R.value(theta)), R.value(to_rational(theta))
    _require(_near(value, float(exact), CLOSE), "value: floats and Fractions disagree", value, float(exact))
    if R.is_norm:
        minus = float(R.value(-Fraction(3, 2) * to_rational(theta)))
        _require(_near(1.5 * value, minus, CLOSE), "is_norm: R(s x) is not |s| R(x)", 1.5 * value, minus)


def _fenchel(summand: Summand, number: int, rng: np.random.Generator, d: int) -> None:
    m, parts = summand.size(d), summand.parts

    def value(x: Array) -> float:
        return sum(float(part.times(x)) for part in parts)

    for size in SIZES:
        x, g = size * rng.standard_normal(m), summand.into_domain(size * rng.standard_normal(m))
        total, pairing = value(x) + float(summand.conjugate(g, CLOSE)), float(g @ x)
        law = f"conjugate of summand {number}: f(x) + f*(g) < <g, x>"
        _require(total >= pairing - CLOSE * max(abs(pairing), total if total < math.inf else 0.0), law, total, pairing)
        for step in SIZES:
            v = size * rng.standard_normal(m)
            x = summand.prox(v, step)
            g = (v - x) / step
            total, pairing = value(x) + float(summand.conjugate(g, 1e-7)), float(g @ x)
            scale = float(np.linalg.norm(g)) * float(np.linalg.norm(v)) + value(x)
            law = f"prox of summand {number}: (v - prox(v, t)) / t is no subgradient at prox(v, t), t = {step}"
            _require(_near(total, pairing, 1e-6, scale), law, total, pairing)


def _epigraph(R: Any, theta: Array) -> None:
    """With J the identity theta cannot move, and the least value of the program is R(theta)."""
    identity: Any = np.eye(theta.size)
    program = explicit_program(UnlearningProblem(theta, identity, R))
    answer = run(program, default_solvers(program)[0], SOLVED, None, float(np.max(np.abs(theta), initial=0.0)))
    _require(answer.z is not None, "epigraph: the explicit program has no answer", answer.claim)
    found, value = program.value(np.asarray(answer.z)), float(R.value(theta))
    _require(_near(found, value, SOLVED, 1.0), "epigraph: the explicit program has another value than R", found, value)


def _solved(problem: UnlearningProblem) -> None:
    solution = solve(problem)
    certificate = certify(problem, solution)
    _require(certificate.proof in ("exact", "enclosure", "repaired"), "certify: nothing is proved", certificate.message)
    _require(bool(certificate.check().proved), "certify: the checker does not prove the certificate", certificate.proof)
    low, high = certificate.lower, certificate.upper
    assert low is not None
    assert high is not None
    value, slack = Fraction(solution.value), Fraction(SOLVED)
    inside = low * (1 - slack) <= value <= high * (1 + slack)
    _require(inside, "solve: its value is not between the proved bounds", float(low), solution.value, float(high))
    _scalable(problem, low, high)


def _scalable(problem: UnlearningProblem, low: Fraction, high: Fraction) -> None:
    """The torch solver, where it is installed and takes this regularizer."""
    try:
        from exact_unlearn import scalable

        found = scalable.solve(problem)
    except ImportError:
        return
    except ProblemError as error:
        _require("regularizer" in str(error), "scalable.solve: it refuses for another reason", str(error))
        return
    value, slack = Fraction(found.value), Fraction(SOLVED)
    inside = low * (1 - slack) <= value <= high * (1 + slack)
    _require(inside, "scalable.solve: its value is not between the proved bounds", float(low), found.value, float(high))


__all__ = ["LawError", "check_regularizer"]
