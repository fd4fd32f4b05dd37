"""Lemma 4: the solutions of X theta = y are the min-norm solution plus the kernel of X."""

from __future__ import annotations

from typing import Any

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, at_least, differ, equal
from .instances import Rng, integers, rational_data, rational_vector

SHAPES = ((6, 4), (9, 3), (5, 5), (4, 7), (5, 0))


def _kernel_stays(rng: Rng, case: Any) -> Measurement:
    """theta_min + z is feasible for random z in the kernel."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    theta = closed_form.lemma_3_min_norm(data.x, data.y[:, 0]).theta
    basis, _ = xu.rational.nullspace(data.x)
    z = basis.dot(rational_vector(rng, basis.shape[1])) if basis.shape[1] else theta * 0
    outputs = [naive.dot(row, theta + z) for row in data.x]
    return equal(data.y[:, 0], outputs)


def _nothing_else(rng: Rng, case: Any) -> Measurement:
    """Any interpolating theta, minus theta_min, is orthogonal to every row, and theta_min is orthogonal to that
    difference.
    """
    m, n = case
    data = rational_data(rng, m, n, 0)
    start = closed_form.lemma_3_min_norm(data.x, data.y[:, 0]).theta
    theta = xu.LinearModel(m).interpolating_parameters(data.x, data.y, rng)
    z = theta - start
    return equal([0] * (n + 1), [*(naive.dot(row, z) for row in data.x), naive.dot(start, z)])


def _dimension(rng: Rng, case: Any) -> Measurement:
    """The kernel has dimension m - rank X, by two routes to the rank."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    basis, _ = xu.rational.nullspace(data.x)
    return equal(m - naive.rank(data.x), naive.rank(basis.T))


def _other_direction(rng: Rng, case: Any) -> Measurement:
    """theta_min + z + r, z in the kernel and r != 0 in the row space: some output is no longer y."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    while not data.x.any():
        data = rational_data(rng, m, n, 0)
    theta = closed_form.lemma_3_min_norm(data.x, data.y[:, 0]).theta
    basis, _ = xu.rational.nullspace(data.x)
    z = basis.dot(rational_vector(rng, basis.shape[1])) if basis.shape[1] else theta * 0
    r = theta * 0
    while not r.any():
        r = integers(rng, n).dot(data.x)
    changed = sum(1 for row, label in zip(data.x, data.y[:, 0], strict=True) if naive.dot(row, theta + z + r) != label)
    return at_least(1, changed)


def _inconsistent(rng: Rng, case: Any) -> Measurement:
    """Without a solution the set is empty, but the least-squares point plus the kernel is not: its residual is
    proved > 0.
    """
    m, n = case
    X = integers(rng, n, m)
    X[0, 0] += 7
    X = X[[*range(n), 0]]
    y = integers(rng, n + 1)
    y[-1] = y[0] + 1
    z = xu.rational.inconsistency(X, y)
    # z.y = 1 and X^T z = 0, so |X theta - y| >= 1/|z| for every theta
    return differ(0, 0 if z is None or any(X.T.dot(z)) else naive.dot(z, y) ** 2 / naive.square_norm(z))


RESULT = Result(
    name="Lemma 4",
    title="All solutions: one of them, plus the kernel",
    statement=(
        r"If $X\theta = y$ has a solution, then $\{\theta : X\theta = y\} = \theta_{\min} + \ker X$, where "
        r"$\theta_{\min}$ is the min-norm solution: an affine set whose directions change no output."
    ),
    tried=(
        "Integer systems of all shapes, without equations as well. Random rational kernel directions are added; "
        "random interpolating parameters, found without the min-norm solution, are compared with it."
    ),
    claims=(
        Claim(
            "kernel-stays",
            r"$\theta_{\min} + z$ solves the system for every kernel direction $z$.",
            _kernel_stays,
            "largest output",
            cases=SHAPES,
            assumptions=(r"$X\theta = y$ has a solution",),
            quick=13,
        ),
        Claim(
            "nothing-else",
            r"Every solution differs from $\theta_{\min}$ by a kernel direction, orthogonal to $\theta_{\min}$.",
            _nothing_else,
            "inner products",
            cases=SHAPES,
            assumptions=(r"$X\theta = y$ has a solution",),
            quick=13,
        ),
        Claim(
            "dimension",
            r"The kernel has dimension $m - \operatorname{rank} X$.",
            _dimension,
            "dimension",
            cases=SHAPES,
            quick=13,
        ),
        Claim(
            "other-direction",
            "A direction outside the kernel leaves the set of solutions.",
            _other_direction,
            "outputs changed (at least)",
            kind="assumption",
            cases=SHAPES[:4],
            assumptions=(r"broken: $z \notin \ker X$",),
            quick=16,
        ),
        Claim(
            "inconsistent",
            ("For contradictory equations the set is empty, although the least-squares point plus the kernel is not."),
            _inconsistent,
            "least squared residual",
            kind="assumption",
            cases=SHAPES[:2],
            assumptions=(r"broken: $X\theta = y$ has no solution",),
            quick=24,
        ),
    ),
    figure="lemma_4",
    caption=(
        r"Random solutions of one equation in the plane: all lie on one line, $\theta_{\min}$ plus the kernel of "
        "$X$."
    ),
)
