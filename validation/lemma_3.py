"""Lemma 3: the min-norm solution of X theta = y is the only feasible point in the row space of X."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, at_least, below, close, equal, worst_of
from .instances import Rng, float_data, fractions, integers, rational_data
from .proofs import optimum, prove

SHAPES = ((6, 4), (9, 3), (5, 5), (4, 7))


def _projection_route(rng: Rng, case: Any) -> Measurement:
    """The package solves X X^T nu = y; here the equations are orthogonalised one by one."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    found = closed_form.lemma_3_min_norm(data.x, data.y[:, 0])
    truth = naive.min_norm(data.x, data.y[:, 0], m)
    size = naive.square_norm(found.theta), naive.square_norm(truth)
    kkt = equal(data.x.T.dot(found.nu), found.theta, shown=size)
    return worst_of([equal(truth, found.theta, shown=size), kkt])


def _uniqueness(rng: Rng, case: Any) -> Measurement:
    """theta + z, z in the kernel, is feasible and not in row(X): the rank of [X; theta + z] is rank X + 1."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    theta = closed_form.lemma_3_min_norm(data.x, data.y[:, 0]).theta
    basis, _ = xu.rational.nullspace(data.x)
    z = basis.dot(integers(rng, basis.shape[1])) if basis.shape[1] else theta * 0
    outside = naive.rank([*data.x.tolist(), (theta + z).tolist()]) - naive.rank(data.x)
    inside = naive.rank([*data.x.tolist(), theta.tolist()]) - naive.rank(data.x)
    return equal([0, int(any(z))], [inside, outside], shown=(int(any(z)), outside))


def _optimality(rng: Rng, case: Any) -> Measurement:
    """The quadratic program min 1/2 |theta|^2 subject to X theta = y, solved and certified, has that value."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    model = xu.LinearModel(m)
    start = closed_form.lemma_3_min_norm(data.x, data.y[:, 0]).theta * 0
    certificate = prove(xu.exact_problem(model, start, data.x, data.y, xu.SquaredL2()))
    return optimum(certificate, naive.square_norm(naive.min_norm(data.x, data.y[:, 0], m)) / 2)


def _floats(rng: Rng, case: Any) -> Measurement:
    """Singular values in floats against the exact solution of the same floats."""
    m, n = case
    data = float_data(rng, m, n, 0)
    found = closed_form.lemma_3_min_norm(data.x, data.y[:, 0])
    truth = naive.min_norm(data.x, data.y[:, 0], m)
    tolerance = 1e-14 * float(np.linalg.cond(data.x))
    size = naive.square_norm(truth), naive.square_norm(found.theta)
    return worst_of(
        [
            close(truth.astype(float), found.theta, tolerance, shown=size),
            close(found.theta, data.x.T @ found.nu, 10 * tolerance, shown=size),
        ]
    )


def _other_norm(rng: Rng, case: Any) -> Measurement:
    """Equations a.u = b in blocks of two unknowns: the l1 norm prefers the larger |a_i|, the min-norm point a u^-2
    b uses both.
    """
    n = case
    X, y = integers(rng, n, 2 * n) * 0, fractions(rng.choice([-2, -1, 1, 2], size=n))
    for i in range(n):
        X[i, 2 * i : 2 * i + 2] = fractions(rng.permutation([1, 2, 3])[:2] * rng.choice([-1, 1], size=2))
    truth = naive.min_norm(X, y, 2 * n)
    certificate = prove(xu.exact_problem(xu.LinearModel(2 * n), truth * 0, X, y, xu.L1()))
    return below(sum(abs(truth)), certificate.upper, proof=certificate.proof)


def _inconsistent(rng: Rng, case: Any) -> Measurement:
    """X theta = y without a solution: the package refuses, and a vector z with X^T z = 0, y.z = 1 proves it right."""
    m, n = case
    X = integers(rng, n, m)
    X = np.concatenate([X, X[:1] + X[-1:]])
    y = integers(rng, n + 1)
    y[-1] = y[0] + y[n - 1] + 1
    try:
        closed_form.lemma_3_min_norm(X, y)
    except xu.ProblemError:
        refused = Fraction(1)
    else:
        refused = Fraction(0)
    z = xu.rational.inconsistency(X, y)
    proof = at_least(0, -1) if z is None else equal([*X.T.dot(z), y.dot(z)], [Fraction(0)] * m + [Fraction(1)])
    return worst_of([equal(Fraction(1), refused), proof])


RESULT = Result(
    name="Lemma 3",
    title="Minimum norm means: in the row space",
    statement=(
        r"Let $X\theta = y$ have a solution. The solution of minimal Euclidean norm is the unique feasible point "
        r"in the row space of $X$: $\theta = X^\top \nu$ for some multipliers $\nu$, and no other feasible point "
        "has that form."
    ),
    tried=(
        "Systems of small integers, under- and overdetermined, with dependent rows where there are more equations "
        "than unknowns. One side solves the normal equations by fraction-free elimination (floats: singular "
        "values), the other orthogonalises the equations by Gram-Schmidt over the rationals, or certifies the "
        "quadratic program."
    ),
    claims=(
        Claim(
            "kkt",
            r"The min-norm solution is feasible and equals $X^\top\nu$.",
            _projection_route,
            r"$\|\theta\|_2^2$",
            cases=SHAPES,
            assumptions=(r"$X\theta = y$ has a solution",),
            quick=16,
        ),
        Claim(
            "uniqueness",
            r"A feasible point outside of it, $\theta + z$ with $Xz = 0 \neq z$, does not lie in the row space.",
            _uniqueness,
            "rank of the row space with the point, minus without",
            cases=SHAPES,
            assumptions=(r"$X\theta = y$ has a solution",),
            quick=16,
        ),
        Claim(
            "optimality",
            "No feasible point has a smaller norm: the quadratic program has exactly this value.",
            _optimality,
            "optimal value",
            cases=SHAPES,
            assumptions=(r"$X\theta = y$ has a solution",),
            quick=2,
            full=50,
        ),
        Claim(
            "floats",
            "The same in floating point, for Gaussian data, multipliers included.",
            _floats,
            r"$\|\theta\|_2^2$",
            cases=((6, 4), (12, 8)),
            quick=24,
        ),
        Claim(
            "other-norm",
            (
                r"With $\|\theta\|_1$ instead of $\|\theta\|_2$ the feasible point in the row space is not the "
                "minimiser: the proved optimum is smaller than its norm."
            ),
            _other_norm,
            r"$\|\theta\|_1$",
            kind="assumption",
            cases=(1, 3),
            assumptions=("broken: the norm is not Euclidean",),
            quick=3,
        ),
        Claim(
            "inconsistent",
            (
                r"If $X\theta = y$ has no solution there is nothing to project: refused, with a proof that no "
                "solution exists."
            ),
            _inconsistent,
            "refused (1 = yes)",
            kind="assumption",
            cases=((6, 3), (3, 3)),
            assumptions=(r"broken: $X\theta = y$ has no solution",),
            quick=24,
        ),
    ),
    figure="lemma_3",
    caption=(
        r"All solutions of $X\theta = y$ (line), and the row space of $X$: they meet in one point, which is the "
        "solution nearest to 0."
    ),
)
