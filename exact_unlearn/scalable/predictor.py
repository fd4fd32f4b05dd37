"""The predictor norm of a linear network, in closed form up to one root (Lemma 1, Theorem 3, with drift penalties).

With V = U S R.T (thin, rank r) and B = U.T A_1, shape (r, m), the norm is sqrt(sum_i s_i^2 |B_i|^2) and the
constraint says that X moves no B_i (or moves them by what b demands).  So B_i splits into a part that X sees,
which is fixed, and a part k_i in ker X,

    k_i = k*_i kappa tau / (s_i^2 + kappa tau),   kappa = lam + mu,

where tau is the norm itself: the root of one increasing function.  What A_1 does outside range(V) stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, ProductJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.regularizers import PredictorNorm
from exact_unlearn.rowspace import RowSpace, row_space
from exact_unlearn.scalable.claims import Raw
from exact_unlearn.scalable.radius import on_radius


@dataclass(frozen=True, eq=False)
class Split:
    """B = seen + k with k in ker X; moved: the part of `seen` that b demands.  U, s, Rt: the thin SVD of V;
    rows: of X.
    """

    U: Array
    s: Array
    Rt: Array
    rows: RowSpace
    seen: Array
    moved: Array
    hidden: Array

    def norm(self, hidden: Array) -> float:
        """tau of B = seen + hidden."""
        return float(np.linalg.norm(self.s[:, None] * (self.seen + hidden)))

    def at(self, kappa: float) -> tuple[Array, float]:
        """(k, tau) for the curvature kappa."""
        low = self.norm(0.0 * self.hidden)
        high = self.norm(self.hidden)
        if kappa == 0.0 or high <= low:
            return 0.0 * self.hidden if kappa == 0.0 else self.hidden, low if kappa == 0.0 else high
        squares, top = np.square(self.s), high

        def shrunk(tau: float) -> Array:
            return np.asarray(self.hidden * (kappa * tau / (squares + kappa * tau))[:, None])

        bottom = low
        for _ in range(200):  # tau -> norm(shrunk(tau)) is increasing and concave: bisection cannot fail
            middle = 0.5 * (bottom + top)
            if not bottom < middle < top:
                break
            bottom, top = (middle, top) if self.norm(shrunk(middle)) > middle else (bottom, middle)
        return shrunk(top), top if top > 1e-14 * high else 0.0


def solve_predictor(problem: UnlearningProblem, lam: float, radius: float) -> tuple[Raw, float]:
    """theta, nu and subgradient of the predictor norm, and mu of the trust region (radius inf for none)."""
    R, J = problem.regularizer, problem.jacobian
    if not isinstance(R, PredictorNorm) or not isinstance(J, ProductJacobian):
        raise ProblemError("regularizer: expected PredictorNorm with a ProductJacobian")
    if int(problem.free.sum()) != R.shape[0] * R.shape[1]:
        raise ProblemError(
            "free: scalable.solve moves the whole first layer under the predictor norm; for a part of it use "
            "exact_unlearn.solve"
        )
    theta_star = to_float(problem.theta_star)
    split = _split(problem, R, J, theta_star)

    def run(mu: float, _: Any) -> tuple[tuple[Array, float], float]:
        hidden, tau = split.at(lam + mu)
        return (hidden, tau), float(np.linalg.norm(split.moved + hidden - split.hidden))

    if math.isinf(radius):
        (hidden, tau), mu = run(0.0, None)[0], 0.0
    else:
        found = on_radius(run, radius, max(lam, 1.0), 1e-14)
        (hidden, tau), mu = found.state, found.mu
    change = split.moved + hidden - split.hidden
    theta = theta_star.copy()
    theta[R.block] += (split.U @ change).reshape(-1)
    kappa = lam + mu
    slope = np.square(split.s)[:, None] * (split.seen + hidden) / tau if tau > 0 else -kappa * change
    pulled = slope + kappa * change
    pulled = (pulled @ split.rows.Q.T) @ split.rows.Q
    weights = split.rows.multipliers(np.ascontiguousarray(pulled.T)) / split.s  # (n, r)
    nu = (weights @ split.Rt).reshape(-1)
    g, pull = np.zeros_like(theta), np.zeros_like(theta)
    g[R.block] = (split.U @ slope).reshape(-1)
    pull[R.block] = (split.U @ pulled).reshape(-1)
    unique = True if kappa > 0 else None
    return Raw(theta, nu, pull, g, "scalable (predictor norm)", "closed form", split.rows.report, unique), mu


def _split(problem: UnlearningProblem, R: PredictorNorm, J: ProductJacobian, theta_star: Array) -> Split:
    V, X = to_float(np.asarray(R.V)), to_float(J.X)
    U, s, Rt = np.linalg.svd(V, full_matrices=False)
    kept = s > R.range_slack * (s[0] if s.size else 1.0)
    U, s, Rt = U[:, kept], s[kept], Rt[kept]
    rows = row_space(X)
    B = U.T @ theta_star[R.block].reshape(R.shape)
    visible = (B @ rows.Q.T) @ rows.Q
    moved = np.zeros_like(B)
    rhs = to_float(problem.rhs).reshape(X.shape[0], V.shape[1])
    if rhs.any():
        demanded = (rhs @ Rt.T) / s
        moved = np.stack([rows.particular(demanded[:, i]) for i in range(s.size)]).reshape(B.shape)
        moved = (moved @ rows.Q.T) @ rows.Q
    return Split(U, s, Rt, rows, visible + moved, moved, B - visible)
