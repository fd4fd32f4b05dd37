"""Proposition 2: gradient descent from 0 on the squared loss converges to the min-norm interpolator."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from . import naive
from .finding import Claim, Measurement, Result, above, at_most, below, close, differ, equal, worst_of
from .instances import Rng, float_data, fractions, integers, rational_data, unit_vector

STEPS = 30


def descend(x: Any, y: Any, start: Any, step: Any, steps: int) -> Any:
    """theta <- theta - step X^T (X theta - y), `steps` times; in the arithmetic of the data."""
    theta = start
    for _ in range(steps):
        theta = theta - step * x.T.dot(x.dot(theta) - y)
    return theta


def safe_step(x: Any) -> Fraction:
    """1 / trace(X X^T) <= 1 / lambda_max, a rational step below 2 / lambda_max."""
    return 1 / naive.square_norm(x)


def _row_space(rng: Rng, case: Any) -> Measurement:
    """Every iterate lies in the row space, exactly: adding it as a row does not raise the rank."""
    m, n = case
    data = rational_data(rng, m, n, 0)
    x, y = data.x, data.y[:, 0]
    theta, outside = np.array([Fraction(0)] * m, dtype=object), 0
    for _ in range(6):
        theta = descend(x, y, theta, safe_step(x), 1)
        outside = max(outside, naive.rank([*x.tolist(), theta.tolist()]) - naive.rank(x))
    return equal(0, outside)


def _error_shrinks(rng: Rng, case: Any) -> Measurement:
    """|theta_k - theta_min|^2 falls at every step, exactly, and after k steps is at most (1 - step lambda)^2k
    |theta_min|^2.

    lambda: a rational number below the smallest non-zero eigenvalue of X X^T, by the power bound det / trace^(r-1).
    """
    m, n = case
    data = rational_data(rng, m, n, 0)
    basis = [i for i in range(n) if naive.rank(data.x[: i + 1]) > naive.rank(data.x[:i])]
    x, y = data.x[basis], data.y[basis, 0]
    goal = naive.min_norm(x, y, m)
    theta, step = goal * 0, safe_step(x)
    # the Gram-Schmidt vectors q have prod |q|^2 = det X X^T, the product of the eigenvalues; each is at most the trace
    determinant = Fraction(1)
    for q in naive.gram_schmidt(x)[0]:
        determinant *= naive.dot(q, q)
    smallest = determinant / naive.square_norm(x) ** (len(basis) - 1)
    checks, error = [], naive.square_norm(goal)
    bound = error
    for _ in range(STEPS):
        theta = descend(x, y, theta, step, 1)
        bound = bound * (1 - step * smallest) ** 2
        now = naive.square_norm(theta - goal)
        checks += [at_most(error, now), at_most(bound, now)]
        error = now
    return worst_of(checks)


def _longer_step(rng: Rng, case: Any) -> Measurement:
    """Steps between 1 and 2 over lambda_max: rows s_i u_i with rational orthonormal u_i, so the eigenvalues s_i^2 are
    known and every error is prod (1 - step s_i^2), exactly; it falls at every step, with alternating sign at the top.
    """
    u = unit_vector(rng, 4)
    frame = np.array([u, [-u[1], u[0], -u[3], u[2]]], dtype=object)
    sizes = fractions(rng.choice([1, 2, 3, 4], size=2, replace=False))
    x, factor = sizes[:, None] * frame, Fraction(int(rng.integers(5, 10)), 5)  # 1 to 9/5
    step = factor / max(sizes) ** 2
    y = integers(rng, 2)
    while not y.all():
        y = integers(rng, 2)
    goal = naive.min_norm(x, y, 4)
    theta, checks = goal * 0, []
    last = naive.square_norm(goal)
    for k in range(1, 13):
        theta = descend(x, y, theta, step, 1)
        predicted = sum(
            ((1 - step * s * s) ** k * naive.dot(goal, v)) ** 2 for s, v in zip(sizes, frame.tolist(), strict=True)
        )
        now = naive.square_norm(theta - goal)
        checks += [equal(predicted, now), below(last, now)]
        last = now
    rate = max(abs(1 - step * s * s) for s in sizes)
    return worst_of([at_most(rate**24 * naive.square_norm(goal), last), *checks])


def _limit(rng: Rng, case: Any) -> Measurement:
    """In floats with a step of 1 / lambda_max the iteration ends at the min-norm solution, exact by Gram-Schmidt."""
    m, n = case
    data = float_data(rng, m, n, 0)
    x, y = data.x, data.y[:, 0]
    eigenvalues = np.linalg.eigvalsh(x @ x.T)
    rounds = int(40 * eigenvalues[-1] / eigenvalues[0])
    theta = descend(x, y, np.zeros(m), 1 / eigenvalues[-1], min(rounds, 20000))
    truth = naive.min_norm(x, y, m).astype(float)
    rest = (1 - eigenvalues[0] / eigenvalues[-1]) ** min(rounds, 20000)
    return close(truth, theta, 1e-12 * float(eigenvalues[-1] / eigenvalues[0]) + 10 * rest)


def _dependent(rng: Rng, case: Any) -> Measurement:
    """Repeated rows: the limit is the same; the error of k steps is that of the eigenvectors, none of them lost."""
    m, n = case
    data = float_data(rng, m, n, 0)
    x, y = (
        np.concatenate([data.x, data.x[:1], 2 * data.x[:1]]),
        np.concatenate([data.y, data.y[:1], 2 * data.y[:1]])[:, 0],
    )
    eigenvalues = np.linalg.eigvalsh(x @ x.T)[2:]
    steps = min(int(40 * eigenvalues[-1] / eigenvalues[0]), 20000)
    theta = descend(x, y, np.zeros(m), 1 / eigenvalues[-1], steps)
    truth = naive.min_norm(data.x, data.y[:, 0], m).astype(float)
    rest = (1 - eigenvalues[0] / eigenvalues[-1]) ** steps
    return close(truth, theta, 1e-12 * float(eigenvalues[-1] / eigenvalues[0]) + 10 * rest)


def _large_step(rng: Rng, case: Any) -> Measurement:
    """One sample and a step of 3 / lambda_max: the error doubles at every step, exactly."""
    x = integers(rng, 1, 4)
    x[0, 0] = Fraction(5)
    y = fractions([2])
    goal = naive.min_norm(x, y, 4)
    theta = descend(x, y, goal * 0, 3 / naive.square_norm(x), 8)
    grown = naive.square_norm(theta - goal) / naive.square_norm(goal)
    return worst_of([equal(4**8, grown), above(1, grown)])


def _other_start(rng: Rng, case: Any) -> Measurement:
    """A start outside the row space keeps its part there: the limit is theta_min + P_perp theta_0."""
    m, n = case
    data = float_data(rng, m, n, 0)
    x, y = data.x, data.y[:, 0]
    start = rng.standard_normal(m)
    eigenvalues = np.linalg.eigvalsh(x @ x.T)
    steps = min(int(40 * eigenvalues[-1] / eigenvalues[0]), 20000)
    theta = descend(x, y, start, 1 / eigenvalues[-1], steps)
    minimal, kept = naive.min_norm(x, y, m), fractions(start) - naive.project(x, start)
    size = float(naive.square_norm(minimal)) ** 0.5, float(np.linalg.norm(theta))
    rest = (1 - eigenvalues[0] / eigenvalues[-1]) ** steps
    limit = close(
        (minimal + kept).astype(float), theta, 1e-12 * float(eigenvalues[-1] / eigenvalues[0]) + 10 * rest, shown=size
    )
    return worst_of([limit, above(*size, margin=1e-6, proof="none")])


def _inconsistent(rng: Rng, case: Any) -> Measurement:
    """One input with two labels: the limit is the min-norm solution for their mean and misses both, exactly after
    one step.
    """
    a = integers(rng, 1, 4)
    a[0, 0] = Fraction(3)
    x, y = np.concatenate([a, a]), fractions([1, 2])
    theta = descend(x, y, a[0] * 0, 1 / naive.square_norm(x), 1)
    return worst_of([differ(1, naive.dot(a[0], theta)), equal(Fraction(3, 2), naive.dot(a[0], theta))])


SHAPES = ((5, 3), (7, 2), (4, 4), (3, 5))
FLOATS = ((12, 3), (20, 5))

RESULT = Result(
    name="Proposition 2",
    title="Gradient descent finds the min-norm interpolator",
    statement=(
        r"Let $X\theta = y$ have a solution. Gradient descent from $\theta_0 = 0$ on $\frac{1}{2}\|X\theta - "
        r"y\|_2^2$ with a step below $2/\lambda_{\max}(X^\top X)$ stays in the row space of $X$ and converges to "
        "the min-norm interpolator."
    ),
    tried=(
        "Integer data iterated in rational arithmetic (rank of the iterate with the data; the error against a "
        "rational bound of its rate), and Gaussian data in floats until the error of the slowest direction is "
        "below rounding."
    ),
    claims=(
        Claim(
            "row-space",
            "Every iterate lies in the row space, exactly.",
            _row_space,
            "rank gained",
            cases=SHAPES,
            quick=16,
            assumptions=("start at 0",),
        ),
        Claim(
            "error",
            (
                "The distance to the min-norm solution falls at every step, at least as fast as the smallest "
                "eigenvalue says."
            ),
            _error_shrinks,
            r"$\|\theta_k - \theta_{\min}\|_2^2$ (at most)",
            cases=((4, 2), (3, 3), (5, 2)),
            quick=21,
            full=40,
            assumptions=(
                "start at 0",
                r"step below $2/\lambda_{\max}$",
                r"$X\theta = y$ has a solution",
            ),
        ),
        Claim(
            "longer-step",
            (
                r"Steps between $1/\lambda_{\max}$ and $2/\lambda_{\max}$ converge as well: known eigenvalues, and the "
                "error of every step predicted exactly."
            ),
            _longer_step,
            r"$\|\theta_{12} - \theta_{\min}\|_2^2$ (at most)",
            quick=24,
            full=60,
            assumptions=("start at 0", r"step below $2/\lambda_{\max}$"),
        ),
        Claim(
            "limit",
            "In floating point the iteration ends at the min-norm solution.",
            _limit,
            r"largest entry of $\theta$",
            cases=FLOATS,
            quick=24,
            full=50,
            assumptions=(
                "start at 0",
                r"step below $2/\lambda_{\max}$",
                r"$X\theta = y$ has a solution",
            ),
        ),
        Claim(
            "dependent-rows",
            "Repeated rows change the path but not the limit.",
            _dependent,
            r"largest entry of $\theta$",
            kind="degenerate",
            cases=FLOATS,
            quick=24,
            full=50,
        ),
        Claim(
            "large-step",
            r"With the step $3/\lambda_{\max}$ the error doubles at every step.",
            _large_step,
            "growth of the squared error in 8 steps",
            kind="assumption",
            quick=24,
            assumptions=(r"broken: step above $2/\lambda_{\max}$",),
        ),
        Claim(
            "other-start",
            (
                r"From $\theta_0$ outside the row space the limit is $\theta_{\min} + P_\perp\theta_0$, longer "
                "than necessary."
            ),
            _other_start,
            r"$\|\theta\|_2$ (min-norm, limit)",
            kind="assumption",
            cases=FLOATS,
            quick=24,
            full=50,
            assumptions=("broken: start outside the row space",),
        ),
        Claim(
            "inconsistent",
            "Two labels for one input: the limit fits neither.",
            _inconsistent,
            "output",
            kind="assumption",
            quick=24,
            assumptions=(r"broken: $X\theta = y$ has no solution",),
        ),
    ),
    figure="proposition_2",
    caption=(
        "Iterates in the plane, for one sample: from 0 they walk along its direction to the nearest solution; "
        "from elsewhere they walk in parallel to another one; with too large a step they leave."
    ),
)
