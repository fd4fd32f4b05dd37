"""Section 5.1: ridge regression tends to the min-norm answer as its weight vanishes; Newton and influence steps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn import rational

from . import naive
from .appendix_c import _instance as leaking
from .finding import Claim, Measurement, Result, above, at_most, close, equal, worst_of
from .instances import Rng, integers, rational_data

SHAPES = ((6, 3, 2), (8, 4, 2), (5, 3, 1))
ROOTS = (Fraction(1), Fraction(1, 10), Fraction(1, 1000))
"""Square roots of the weights: 1, 1e-2, 1e-6."""


def ridge(x: Any, y: Any, lam: Fraction | int) -> Any:
    """theta(lam) = X^T (X X^T + lam I)^-1 y, the minimiser of 1/2 |X theta - y|^2 + lam/2 |theta|^2."""
    gram = x.dot(x.T) + lam * rational.identity(len(x))
    return x.T.dot(rational.solve(gram, y))


def newton_removal(theta: Any, x: Any, y: Any, lam: Fraction) -> Any:
    """One Newton step on the ridge loss of the data that stay, from the minimiser on all data."""
    H = x.T.dot(x) + lam * rational.identity(theta.size)
    return theta - rational.solve(H, x.T.dot(x.dot(theta) - y) + lam * theta)


def influence_removal(theta: Any, x: Any, x_forget: Any, y_forget: Any, lam: Fraction) -> Any:
    """The same to first order: the Hessian of all data, the gradient of the forgotten ones."""
    H = x.T.dot(x) + lam * rational.identity(theta.size)
    return theta + rational.solve(H, x_forget.T.dot(x_forget.dot(theta) - y_forget))


def _truth(x: Any, y: Any, root: Fraction) -> Any:
    """The same minimiser without its formula: the theta part of the shortest (theta, r) with X theta + root r = y."""
    wide = np.concatenate([x, root * rational.identity(len(x))], axis=1)
    return naive.min_norm(wide, y, wide.shape[1])[: x.shape[1]]


def smallest_eigenvalue(x: Any) -> Fraction:
    """A rational number below the smallest non-zero eigenvalue of X X^T: product over trace^(r-1)."""
    product, basis = Fraction(1), naive.gram_schmidt(x)[0]
    for q in basis:
        product *= naive.dot(q, q)
    return product / naive.square_norm(x) ** (len(basis) - 1)


def _independent(rng: Rng, case: Any) -> tuple[Any, Any, Any]:
    """(data, x, y of the retain set) with independent inputs and a label that is not 0."""
    while True:
        data = rational_data(rng, *case)
        x, y = data.retain[0], data.retain[1][:, 0]
        if naive.rank(data.x) == len(data.x) and any(y):
            return data, x, y


def _minimises(rng: Rng, case: Any) -> Measurement:
    """The formula against the augmented min-norm problem, for every weight."""
    shape, root = case
    data = rational_data(rng, *shape)
    x, y = data.x, data.y[:, 0]
    truth, found = _truth(x, y, root), ridge(x, y, root**2)
    return equal(truth, found, shown=(naive.square_norm(truth), naive.square_norm(found)))


def _linear(rng: Rng, case: Any) -> Measurement:
    """|theta(lam) - theta_min| <= lam |(X^T X)^+ theta_min| for every lam, and equal to it in the limit."""
    _, x, y = _independent(rng, case)
    goal = naive.min_norm(x, y, x.shape[1])
    slope = naive.square_norm(x.T.dot(rational.solve(x.dot(x.T), rational.solve(x.dot(x.T), y))))
    small = smallest_eigenvalue(x) / 10**9
    sizes = [naive.square_norm(ridge(x, y, lam) - goal) / lam**2 for lam in (1, Fraction(1, 100), small)]
    return worst_of([close(slope, sizes[-1], 1e-8, proof="enclosure"), *(at_most(slope, size) for size in sizes)])


def _newton(rng: Rng, case: Any) -> Measurement:
    """From the ridge answer on D, one Newton step on D_r's loss is the ridge answer on D_r, exactly, for every lam."""
    shape, root = case
    data, x, y = _independent(rng, shape)
    theta = _truth(data.x, data.y[:, 0], root)
    truth, found = _truth(x, y, root), newton_removal(theta, x, y, root**2)
    return equal(truth, found, shown=(naive.square_norm(truth), naive.square_norm(found)))


def _unlearns(rng: Rng, case: Any) -> Measurement:
    """So it tends to the exact solution P_{S_r} theta*, theta* the min-norm interpolator of D, linearly in lam."""
    data, x, y = _independent(rng, case)
    exact = naive.project(x, naive.min_norm(data.x, data.y[:, 0], case[0]))
    slope = naive.square_norm(x.T.dot(rational.solve(x.dot(x.T), rational.solve(x.dot(x.T), y))))
    checks = []
    for root in ROOTS:
        found = newton_removal(_truth(data.x, data.y[:, 0], root), x, y, root**2)
        checks.append(at_most(root**4 * slope, naive.square_norm(found - exact)))
    return worst_of([checks[-1], *checks])


def _influence(rng: Rng, case: Any) -> Measurement:
    """The influence function with D's Hessian moves less and less as lam vanishes, and what was to go stays: at lam =
    1e-24 at most a billionth of the way.
    """
    data, theta_star = leaking(rng, case)
    x, y = data.retain
    while naive.rank(data.x) < len(data.x):
        data, theta_star = leaking(rng, case)
        x, y = data.retain
    exact = naive.min_norm(x, y[:, 0], case[0])
    x_f, y_f = data.forget
    theta = _truth(data.x, data.y[:, 0], Fraction(1, 10**12))
    moved = influence_removal(theta, data.x, x_f, y_f[:, 0], Fraction(1, 10**24)) - theta_star
    way = naive.square_norm(theta_star - exact)
    return worst_of([at_most(way / 10**18, naive.square_norm(moved)), above(0, way)])


def _dependent(rng: Rng, case: Any) -> Measurement:
    """Repeated rows: the Gram matrix is singular, theta(lam) is not; the limit is the same min-norm solution."""
    _, x, y = _independent(rng, case)
    more, labels = np.concatenate([x, x[:1], 2 * x[:1]]), np.concatenate([y, y[:1], 2 * y[:1]])
    goal = naive.min_norm(x, y, x.shape[1])
    lam = smallest_eigenvalue(x) / 10**9
    gap = naive.square_norm(ridge(more, labels, lam) - goal)
    return at_most(naive.square_norm(goal) / 10**18, gap)


def _fixed(rng: Rng, case: Any) -> Measurement:
    """lam = 1: the ridge answer is not the min-norm one, and misses the labels."""
    _, x, y = _independent(rng, case)
    found = ridge(x, y, Fraction(1))
    goal = naive.min_norm(x, y, x.shape[1])
    return worst_of([above(0, naive.square_norm(found - goal)), above(0, naive.square_norm(x.dot(found) - y))])


def _inconsistent(rng: Rng, case: Any) -> Measurement:
    """One input with two labels: the limit is the min-norm solution for their mean, so no label is fitted."""
    a = integers(rng, 1, 4)
    a[0, 0] = Fraction(3)
    x, y = np.concatenate([a, a]), np.array([Fraction(1), Fraction(2)], dtype=object)
    lam = Fraction(1, 10**20)
    output = naive.dot(a[0], ridge(x, y, lam))
    return worst_of([close(Fraction(3, 2), output, 1e-15, proof="enclosure"), above(1, output), above(output, 2)])


RESULT = Result(
    name="Section 5.1",
    title="Ridge regression, and what becomes of it without its weight",
    statement=(
        r"The ridge answer $\theta(\lambda) = X^\top(XX^\top + \lambda I)^{-1}y$ tends to the min-norm solution as "
        r"$\lambda \to 0$, linearly. A Newton step on the retain loss turns the answer on $\mathcal{D}$ into that on "
        r"$\mathcal{D}_r$ for every $\lambda$, so in the limit it unlearns exactly; the influence function, with the "
        r"Hessian of $\mathcal{D}$, tends to doing nothing."
    ),
    tried=(
        "Integer data in rational arithmetic. The ridge answer by its formula, and without it as a part of the "
        r"shortest solution of $X\theta + \sqrt\lambda\, r = y$ by Gram-Schmidt; weights down to $10^{-24}$."
    ),
    claims=(
        Claim(
            "minimiser",
            r"The formula is the $\theta$ part of the shortest $(\theta, r)$ with $X\theta + \sqrt\lambda\,r = y$.",
            _minimises,
            r"$\|\theta\|_2^2$",
            cases=tuple((shape, root) for shape in SHAPES[:2] for root in ROOTS),
            quick=4,
            full=40,
        ),
        Claim(
            "limit",
            (
                r"$\|\theta(\lambda) - \theta_{\min}\|_2 \le \lambda\|(X^\top X)^+\theta_{\min}\|_2$, with equality in "
                "the limit."
            ),
            _linear,
            r"$\|\theta(\lambda) - \theta_{\min}\|_2^2 / \lambda^2$",
            cases=SHAPES,
            quick=4,
            full=50,
            assumptions=(r"$X\theta = y$ has a solution",),
        ),
        Claim(
            "newton",
            r"One Newton step from the answer on $\mathcal{D}$ is the answer on $\mathcal{D}_r$, exactly.",
            _newton,
            r"$\|\theta\|_2^2$",
            cases=tuple((shape, root) for shape in SHAPES[:2] for root in ROOTS),
            quick=3,
            full=30,
        ),
        Claim(
            "unlearns",
            r"It tends to $P_{\mathcal{S}_r}\theta^*$, linearly in $\lambda$.",
            _unlearns,
            r"squared distance (at most), $\lambda = 10^{-6}$",
            cases=SHAPES,
            quick=3,
            full=40,
            assumptions=(r"$\theta^*$ is the min-norm interpolator of $\mathcal{D}$",),
        ),
        Claim(
            "influence",
            "The influence function tends to doing nothing, while the exact solution is elsewhere.",
            _influence,
            r"squared change (at most), $\lambda = 10^{-24}$",
            cases=SHAPES,
            quick=3,
            full=40,
            assumptions=("the retain data do not imply the forget labels",),
        ),
        Claim(
            "dependent-rows",
            "Repeated rows change nothing in the limit, though the Gram matrix is singular.",
            _dependent,
            "squared distance (at most)",
            kind="degenerate",
            cases=SHAPES[:2],
            quick=4,
            full=40,
        ),
        Claim(
            "weight-stays",
            r"With $\lambda = 1$ the ridge answer is not the min-norm one and misses the labels.",
            _fixed,
            "squared distance",
            kind="assumption",
            cases=SHAPES,
            quick=4,
            full=40,
            assumptions=(r"broken: $\lambda \to 0$",),
        ),
        Claim(
            "inconsistent",
            "Two labels for one input: the limit fits their mean, and neither of them.",
            _inconsistent,
            "output",
            kind="assumption",
            quick=8,
            full=40,
            assumptions=(r"broken: $X\theta = y$ has a solution",),
        ),
    ),
    figure="",
    caption="",
)
