"""Answers of a J stored in float32, held to the J that was given.

Rows that differ by less than float32 resolves are one row there and two in the problem; a point may then satisfy
every row to rounding and still be far from every feasible one.  How far is measured: the shortest move that satisfies
the rows of the J given, its rank decided in float64, and the value after it.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.scalable.claims import Raw
from exact_unlearn.scalable.factor import U64, default_tolerance, factors
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, as_torch_jacobian


def narrow_doubt(problem: UnlearningProblem, raw: Raw) -> float:
    """By how much the value changes on the way to the nearest feasible point; inf where that cannot be found."""
    J = as_torch_jacobian(problem.jacobian)
    if not isinstance(J, DenseTorchJacobian):
        if getattr(J, "products_only", False):
            return float(raw.doubt)
        J = DenseTorchJacobian(J.dense())
    k = J.shape[0]
    if not k:
        return 0.0
    free = torch.from_numpy(problem.free.copy()).to(J.device)
    weights = None if bool(free.all()) else free.to(torch.float64)
    gram = J.gram(weights, torch.float64)
    theta = np.where(problem.free, raw.theta, to_float(problem.theta_star))
    point, star = torch.from_numpy(theta).to(J.device), torch.from_numpy(to_float(problem.theta_star)).to(J.device)
    rhs = torch.from_numpy(to_float(problem.rhs)).to(J.device)
    lengths = gram.diagonal().clamp_min(0).sqrt()
    for factor in factors(J, weights, default_tolerance(k, torch.float64), gram):
        move = torch.zeros_like(point)
        for _ in range(4):
            left = rhs - J.matvec(torch.where(free, point + move - star, 0.0))
            move = move + torch.where(free, J.rmatvec(factor.solve(left)), 0.0)
        left = rhs - J.matvec(torch.where(free, point + move - star, 0.0))
        size = float(torch.linalg.vector_norm(point)) + float(torch.linalg.vector_norm(star))
        missing = 2.0 * factor.distance(left)
        if missing <= 1e-4 * size:
            break
    else:
        return math.inf
    moved = theta + move.cpu().numpy()
    nu = torch.from_numpy(to_float(raw.nu)).to(J.device)
    pulled = 2.0 * U64 * math.sqrt(k) * float(torch.linalg.vector_norm(nu * lengths))
    drift = float(torch.linalg.vector_norm(point - star))
    slope = float(np.linalg.norm(raw.pull))
    return abs(_value(problem, moved) - _value(problem, theta)) + pulled * drift + slope * missing


def _value(problem: UnlearningProblem, theta: Array) -> float:
    drift = theta - to_float(problem.theta_star)
    terms = (term.value(drift) for term in problem.drifts if term.name != "trust_region")
    return float(problem.regularizer.value(theta)) + float(sum(terms))
