"""The truth: the certified optimum of a task, and the set of all predictors that attain it.

With X u >= 0 where the signs S_p are +, the convex program of docs/global_truth.md has the dual

    maximise <nu, y>   subject to   max_{u in cell p, |u| <= 1} <X.T D_p nu, u> <= 1   and the same with -nu.

A ball is strictly convex, so a maximum that is positive is attained at one u only, the projection of X.T D_p nu onto
the cell, scaled.  By complementarity every optimal network has all its neurons among these u_j: its predictor is

    f(x) = sum_j s_j t_j relu(u_j . x)   with   t >= 0,   sum_j s_j t_j relu(X u_j) = y.

So the set of optimal predictors is a polytope, which one dual vector describes; usually a point.  The distance to it is
a least-squares problem in t.  The projections are non-negative least squares that need nu only, no number of the
certificate, and are as good as nu: some 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import sweep
from exact_unlearn.errors import NotMeasuredError
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.origin import TwoLayer

from .truth_tasks import make_task

ACTIVE, SAME = 1e-5, 1e-4
"""Cells whose maximum is within ACTIVE of 1 count as attaining it; neurons that differ by SAME at most are one, which
two cells share.
"""


@dataclass(frozen=True, eq=False)
class OptimalSet:
    """The polytope of optimal predictors.

    neurons: (k, m) unit vectors u_j; signs: (k,) of +1 and -1; features: (n, k) s_j relu(X u_j); y: (n,).
    """

    neurons: Array
    signs: Array
    features: Array
    y: Array

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
        return np.asarray(self.signs * np.maximum(x @ self.neurons.T, 0.0))

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


def optimal_set(origin: TwoLayer, nu: Array) -> OptimalSet:
    """Of a problem of ReLUs under 1/2 |theta|^2, from the multipliers nu of its equations."""
    from scipy.optimize import nnls

    x, y = to_float(origin.x), to_float(origin.y)
    found: list[tuple[float, Array]] = []
    for pattern in origin.patterns:
        walls = pattern[:, None] * x
        for sign in (1.0, -1.0):
            gradient = sign * x.T @ ((pattern > 0) * nu)
            projected = gradient + walls.T @ nnls(-walls.T, gradient)[0]
            size = float(np.linalg.norm(projected))
            unit = projected / size if size > 0 else projected
            if size >= 1 - ACTIVE and not any(
                s == sign and np.allclose(u, unit, atol=SAME, rtol=0.0) for s, u in found
            ):
                found.append((sign, unit))
    signs = np.array([sign for sign, _ in found])
    neurons = np.array([u for _, u in found]).reshape(len(found), x.shape[1])
    return OptimalSet(neurons, signs, signs * np.maximum(x @ neurons.T, 0.0), y)


def optimum_cell(task: str, seed: int, width: int) -> sweep.Cell:
    """The certified optimum of what a task retains."""
    return sweep.Cell("truth/optimum", _optimum, {"task": task, "seed": seed, "width": width}, weight=10.0)


def _optimum(parameters: Mapping[str, Any], _: Mapping[str, sweep.Result]) -> sweep.Result:
    x, y = make_task(parameters["task"], parameters["seed"]).retained
    problem = xu.global_problem(xu.Perceptron(x.shape[1], parameters["width"]), x, y)
    solution = xu.solve(problem)
    certificate = xu.certify(problem, solution)
    if certificate.lower is None or certificate.upper is None or certificate.gap is None:
        raise NotMeasuredError(f"nothing was proved: {certificate.message or certificate.proof}")
    network = xu.global_network(problem, certificate)
    optimal = optimal_set(problem.origin, to_float(solution.nu)[: len(y)])
    return {
        "lower": np.array(float(certificate.lower)),
        "upper": np.array(float(certificate.upper)),
        "gap": np.array(float(certificate.gap)),
        "proof": certificate.proof,
        "neurons": network.neurons,
        "patterns": len(problem.origin.patterns),
        "nu": to_float(solution.nu)[: len(y)],
        "c": to_float(network.model.split(network.theta)["c"]),
        "A": to_float(network.model.split(network.theta)["A"]),
        "set_neurons": optimal.neurons,
        "set_signs": optimal.signs,
        "set_features": optimal.features,
        "y": y,
    }


def set_of(result: sweep.Result) -> OptimalSet:
    """The set, from the result of an `optimum_cell`."""
    return OptimalSet(result["set_neurons"], result["set_signs"], result["set_features"], result["y"])
