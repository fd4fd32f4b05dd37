"""Solve, certify, and compare what is proved with what was predicted."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import exact_unlearn as xu

from .finding import Measurement, as_float, difference

WIDTH = 1e-9
"""An enclosure decides only if it is narrower than this, relatively."""


def prove(problem: xu.UnlearningProblem) -> Any:
    """The certificate of the reference solver's answer; rows are taken as they are written.

    Raises SolverError when nothing was proved, with the reason: a claim is neither confirmed nor contradicted by that.
    """
    certificate = xu.certify(problem, xu.solve(problem), rows="literal", proof="exact")
    if certificate.lower is None or certificate.upper is None:
        raise xu.SolverError(f"certify proved nothing about this problem: {certificate.message or certificate.proof}")
    return certificate


def exact_point(problem: xu.UnlearningProblem) -> Any:
    """The certified optimum as a point in Fractions; SolverError where the proof is not exact."""
    return exactly(problem).point


def exactly(problem: xu.UnlearningProblem) -> Any:
    """The certificate, whose proof is exact; SolverError otherwise."""
    certificate = xu.certify(problem, proof="exact")
    if certificate.proof != "exact":
        raise xu.SolverError(f"expected an exact proof, got {certificate.proof}: {certificate.message}")
    return certificate


def optimum(certificate: Any, predicted: Fraction) -> Measurement:
    """A measurement of "the optimal value is `predicted`", a rational number.

    If the certificate is exact, lower = upper is the optimum; otherwise the prediction must lie in [lower, upper], and
    the interval must be narrow.
    """
    lower, upper = certificate.lower, certificate.upper
    if certificate.proof == "exact" and lower == upper:
        return Measurement(as_float(predicted), as_float(upper), difference(predicted, upper), "exact")
    return _enclosed(certificate, predicted, lower, upper)


def root_optimum(certificate: Any, predicted_square: Fraction) -> Measurement:
    """A measurement of "the optimal value is the square root of this rational number", decided on squares."""
    return _enclosed(certificate, predicted_square, max(certificate.lower, 0) ** 2, certificate.upper**2, root=True)


def _enclosed(
    certificate: Any, predicted: Fraction, lower: Fraction, upper: Fraction, root: bool = False
) -> Measurement:
    outside = max(lower - predicted, predicted - upper, Fraction(0))
    width = (upper - lower) / max(abs(upper), abs(lower)) if upper != lower else 0
    size = max(abs(predicted), abs(upper))
    deviation = as_float(outside / size) if outside else 0.0
    if width > WIDTH:  # an interval that contains everything confirms nothing
        deviation = max(deviation, as_float(width))
    shown = (as_float(predicted) ** 0.5, as_float(upper) ** 0.5) if root else (as_float(predicted), as_float(upper))
    return Measurement(shown[0], shown[1], deviation, certificate.proof)


def same_optimum(first: Any, second: Any) -> Measurement:
    """A measurement of "these two problems have the same optimal value": equal if both are exact, else overlapping
    intervals.
    """
    if all(c.proof == "exact" and c.lower == c.upper for c in (first, second)):
        return Measurement(
            as_float(first.upper), as_float(second.upper), difference(first.upper, second.upper), "exact"
        )
    apart = max(first.lower - second.upper, second.lower - first.upper, Fraction(0))
    size = max(abs(first.upper), abs(second.upper), abs(first.lower), abs(second.lower))
    widths = [(c.upper - c.lower) / size if c.upper != c.lower else 0 for c in (first, second)]
    deviation = as_float(apart / size) if apart else 0.0
    if max(widths) > WIDTH:
        deviation = max(deviation, as_float(max(widths)))
    order = ("exact", "enclosure", "repaired", "none")
    proof = max((first.proof, second.proof), key=order.index)
    return Measurement(as_float(first.upper), as_float(second.upper), deviation, proof)
