"""Exact problems that are convex in a network's predictor: linear networks, and two layers of squares.

The package proves a bound about the predictor.  Random networks that fit, with their R by its definition, attack it in
exact arithmetic; the network that the package makes has R to all digits.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu

from . import naive
from .finding import Claim, Measurement, at_least, close, equal, worst_of
from .instances import Rng, integers
from .proofs import prove


def _data(rng: Rng, n: int, m: int, l: int) -> tuple[Any, Any]:
    """Independent inputs and labels that are not 0."""
    while True:
        x, y = integers(rng, n, m), integers(rng, n, l)
        if naive.rank(x) == n and y.any():
            return x, y


def _half_square(model: Any, theta: Any) -> Fraction:
    return naive.square_norm(theta) / 2


def _products(model: Any, theta: Any) -> Fraction:
    """sum_j |c_j| |a_j|_2^2."""
    C, A = model.split(theta).values()
    pairs = zip(C[0].tolist(), A, strict=True)
    return sum((abs(c) * naive.square_norm(a) for c, a in pairs), start=Fraction(0))


def _chain(rng: Rng, case: Any) -> Measurement:
    """One output, L layers: the square of the proved optimum is that of the min-norm predictor, by Gram-Schmidt; and
    (|theta|^2 / L)^L is no less for any network that fits.
    """
    network = xu.LinearNetwork(case)
    x, y = _data(rng, 2, case[0], 1)
    square = naive.square_norm(naive.min_norm(x, y[:, 0], case[0]))
    certificate = prove(xu.global_problem(network, x, y))
    checks = [equal(square, certificate.square)]
    for _ in range(5):
        theta = network.interpolating_parameters(x, y, rng)
        checks.append(at_least(square, (naive.square_norm(theta) / network.depth) ** network.depth))
    return worst_of(checks)


def _matrix(rng: Rng, case: Any) -> Measurement:
    """Two linear layers with several outputs, and two layers of squares: no network that fits is below the bound, and
    the one that is made reaches it.
    """
    model: Any
    if case == "squares":
        model, R, size = xu.Perceptron(3, 6, "square"), "nuclear", _products
        x, y = integers(rng, 3, 3), integers(rng, 3, 1)
        while naive.rank([[a * b for a in row for b in row] for row in x.tolist()]) < 3 or not y.any():
            x, y = integers(rng, 3, 3), integers(rng, 3, 1)
    else:
        model, R, size = xu.LinearNetwork((4, 3, 2)), "squared", _half_square
        x, y = _data(rng, 2, 4, 2)
    problem = xu.global_problem(model, x, y, R)
    certificate = prove(problem)
    network = xu.global_network(problem, certificate)
    made = float(size(network.model, np.array([Fraction(v) for v in network.theta.tolist()], dtype=object)))
    others = [size(model, model.interpolating_parameters(x, y, rng)) for _ in range(5)]
    reached = close(float(certificate.upper), made, 1e-12, proof=certificate.proof)
    return worst_of([reached, *(at_least(certificate.lower, other) for other in others)])


CLAIMS = (
    Claim(
        "predictor-chain",
        r"Linear networks of $L$ layers, one output: the least $\frac{1}{2}\|\theta\|_2^2$ is $\frac{L}{2}v^{2/L}$.",
        _chain,
        r"$v^2$",
        kind="ours",
        cases=((4, 3, 1), (5, 2, 3, 1), (4, 1, 2, 1, 1)),
        quick=3,
        full=40,
    ),
    Claim(
        "predictor-matrix",
        (
            r"Two linear layers with several outputs, and two layers of squares under "
            r"$\sum_j \lvert c_j\rvert\|a_j\|_2^2$: it is the nuclear norm of the predictor."
        ),
        _matrix,
        "$R$",
        kind="ours",
        cases=("two outputs", "squares"),
        quick=3,
        full=40,
    ),
)
