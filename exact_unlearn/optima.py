"""How far a network is from the certified optimum of its exact problem, and from all predictors that attain it.

With X u >= 0 where the signs S_p are +, the convex program of docs/global_truth.md has the dual

    maximise <nu, y>   subject to   max_{u in cell p, |u| <= 1} <X.T D_p nu, u> <= 1   and the same with -nu.

A ball is strictly convex, so a maximum that is positive is attained at one u only, the projection of X.T D_p nu onto
the cell, scaled.  By complementarity every optimal network has all its neurons among these u_j: its predictor is

    f(x) = sum_j s_j t_j phi(u_j . x)   with   t >= 0,   sum_j s_j t_j phi(X u_j) = y.

So the set of optimal predictors is a polytope, which one dual vector describes; usually a point.  The distance to it is
a least-squares problem in t.  The projections are non-negative least squares that need nu only, no number of the
certificate, and are as good as nu: some 1e-6 where a solver found it.  A box is not strictly convex, so that for the
path norm no such set is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.models import Perceptron
from exact_unlearn.origin import TwoLayer

ACTIVE, SAME = 1e-5, 1e-4
"""Cells whose maximum is within ACTIVE of 1 count as attaining it; neurons that differ by SAME at most are one, which
two cells share.
"""

FEASIBLE = 1e-6
"""Largest error of a network that counts as meeting the labels, in units of max(1, max |y|)."""

NUMBERS = ("error", "value", "balanced", "distance")
"""max |f - y| on the retained samples; R; sum |c_j| |a_j|, which is the least R of all rescalings of the neurons;
distance of the predictor to the set of optimal ones, root mean square over fresh inputs.
"""


@dataclass(frozen=True, eq=False)
class OptimalSet:
    """The polytope of optimal predictors.

    neurons: (k, m) unit vectors u_j; signs: (k,) of +1 and -1; features: (n, k) s_j phi(X u_j); y: (n,); slope: of phi
    below 0.
    """

    neurons: Array
    signs: Array
    features: Array
    y: Array
    slope: float = 0.0

    @cached_property
    def unique(self) -> bool:
        """Whether the polytope is one predictor, found on random x: opposite neurons may trade linear functions, which
        sum up to nothing, so that t is not unique and the predictor is.
        """
        _, sizes, directions = np.linalg.svd(self.features)
        kernel = directions[int((sizes > SAME).sum()) :].T
        probes = np.random.default_rng(0).standard_normal((200, self.neurons.shape[1]))
        return bool(np.abs(self.values(probes) @ kernel).max(initial=0.0) <= 10 * SAME)

    def values(self, x: Array) -> Array:
        """(N, k): what the neurons say at x, so that values(x) @ t is a predictor."""
        return np.asarray(self.signs * phi(x @ self.neurons.T, self.slope))

    def weights(self) -> Array:
        """The t of least length that fits; it is that of the predictor where this is unique."""
        return np.asarray(np.linalg.lstsq(self.features, self.y, rcond=SAME / 10)[0])

    def nearest(self, x: Array, predicted: Array) -> Array:
        """t of the optimal predictor that is nearest to `predicted` (N,) at x."""
        if self.unique:
            return self.weights()
        import cvxpy as cp

        t = cp.Variable(len(self.signs), nonneg=True)
        slack = np.max(np.abs(self.features @ self.weights() - self.y))
        rows = [cp.abs(self.features @ t - self.y) <= 10 * slack + 1e-9]
        made = cp.Problem(cp.Minimize(cp.sum_squares(self.values(x) @ t - predicted)), rows)
        made.solve(solver="CLARABEL")
        return np.asarray(t.value)

    def distance(self, x: Array, predicted: Array) -> float:
        """Root mean square over x of the difference to the nearest optimal predictor; infinity off the numbers."""
        if not np.isfinite(predicted).all():
            return float("inf")
        difference = self.values(x) @ self.nearest(x, predicted) - predicted
        return float(np.sqrt(np.mean(difference**2)))


def phi(z: Array, slope: float) -> Array:
    """z above 0, slope * z below."""
    return np.asarray(np.where(z >= 0, z, slope * z))


def optimal_set(origin: TwoLayer, nu: Array) -> OptimalSet:
    """Of a problem of two layers under 1/2 |theta|^2, from the multipliers nu of its equations."""
    from scipy.optimize import nnls

    x, y, slope = to_float(origin.x), to_float(origin.y), float(origin.slope)
    found: list[tuple[float, Array]] = []
    for pattern in origin.patterns:
        walls = pattern[:, None] * x
        for sign in (1.0, -1.0):
            gradient = sign * x.T @ (np.where(pattern > 0, 1.0, slope) * nu)
            projected = gradient + walls.T @ nnls(-walls.T, gradient)[0]
            size = float(np.linalg.norm(projected))
            unit = projected / size if size > 0 else projected
            if size >= 1 - ACTIVE and not any(
                s == sign and np.allclose(u, unit, atol=SAME, rtol=0.0) for s, u in found
            ):
                found.append((sign, unit))
    signs = np.array([sign for sign, _ in found])
    neurons = np.array([u for _, u in found]).reshape(len(found), x.shape[1])
    return OptimalSet(neurons, signs, signs * phi(x @ neurons.T, slope), y, slope)


def measured(
    model: Perceptron, theta: Array | None, x: Array, y: Array, R: str, optimal: OptimalSet | None, fresh: Array
) -> dict[str, float]:
    """NUMBERS of a network with one output; infinity where there is none.

    R: "squared" or "path", as in `global_problem`; optimal: None where no set is known, and the distance infinite.
    """
    if theta is None or not np.isfinite(theta).all():
        return dict.fromkeys(NUMBERS, float("inf"))
    c, A = model.split(theta).values()
    balanced = float(np.abs(c[0]) @ np.linalg.norm(A, ord=2 if R == "squared" else 1, axis=1))
    predicted: Any = model.predict(theta, fresh)[:, 0]
    return {
        "error": float(np.max(np.abs(model.predict(theta, x)[:, 0] - y), initial=0.0)),
        "value": float(theta @ theta / 2) if R == "squared" else balanced,
        "balanced": balanced,
        "distance": float("inf") if optimal is None else optimal.distance(fresh, predicted),
    }
