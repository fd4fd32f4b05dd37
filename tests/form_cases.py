"""Sums, centres, Huber and maps: each written twice, as a regularizer and by hand for CVXPY."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np

import exact_unlearn as xu
from exact_unlearn.forms import Form, Kink, Part, Square
from exact_unlearn.regularizers import Huber, OverlappingGroups, TotalVariation

D, ROWS = 12, 5
_RNG = np.random.default_rng(3)
J, THETA = _RNG.standard_normal((ROWS, D)), _RNG.standard_normal(D)
CENTRE, WEIGHTS, MAP = _RNG.standard_normal(D), _RNG.uniform(0.5, 2.0, D), _RNG.standard_normal((7, D))
GROUPS = np.arange(D) // 3
OVERLAPPING = [[0, 1, 2], [2, 3, 4, 5], [5, 6, 7, 8, 9, 10, 11, 0]]
FROZEN = np.ones(D, dtype=bool)
FROZEN[[1, 7]] = False


class Ridge:
    """A class of a user: no base class, one method.  sum w |theta| + 2 |theta - c|^2."""

    def form(self, space: Any) -> Form:
        return Form((Kink(WEIGHTS), Part(Square(), centre=CENTRE, factor=4)))


def _grid(theta: Any) -> Any:
    return cp.reshape(theta, (3, 4), order="C")


def _groups(x: Any) -> Any:
    return sum(cp.norm(x[g == GROUPS]) for g in range(4))


def _isotropic(theta: Any) -> Any:
    down = [(i, j) for i in range(3) for j in range(4)]
    parts = []
    for i, j in down:
        near = [theta[a * 4 + b] - theta[i * 4 + j] for a, b in ((i + 1, j), (i, j + 1)) if a < 3 and b < 4]
        parts += [cp.norm(cp.hstack(near))] if near else []
    return sum(parts)


@dataclass(frozen=True)
class Case:
    """R, its value as a CVXPY expression, and what its proofs can be: "exact", or "enclosure" for roots."""

    regularizer: Any
    by_hand: Callable[[Any], Any]
    proof: str


CASES = {
    "l1 + group": Case(xu.L1() + 2 * xu.GroupL2(GROUPS), lambda t: cp.norm1(t) + 2 * _groups(t), "enclosure"),
    "l1 about a centre": Case(
        xu.L1(WEIGHTS).centred_at(CENTRE), lambda t: cp.norm1(cp.multiply(WEIGHTS, t - CENTRE)), "exact"
    ),
    "square about a centre + l1": Case(
        xu.SquaredL2(WEIGHTS).centred_at(CENTRE) + xu.L1(),
        lambda t: 0.5 * cp.sum_squares(cp.multiply(np.sqrt(WEIGHTS), t - CENTRE)) + cp.norm1(t),
        "exact",
    ),
    "huber": Case(Huber(0.3, WEIGHTS), lambda t: 0.5 * cp.sum(cp.multiply(WEIGHTS, cp.huber(t, 0.3))), "exact"),
    "huber about a centre + l1": Case(
        Huber(0.3).centred_at(CENTRE) + xu.L1(), lambda t: cp.sum(cp.huber(t - CENTRE, 0.3)) / 2 + cp.norm1(t), "exact"
    ),
    "total variation": Case(
        TotalVariation((3, 4)),
        lambda t: cp.sum(cp.abs(cp.diff(_grid(t), axis=0))) + cp.sum(cp.abs(cp.diff(_grid(t), axis=1))),
        "exact",
    ),
    "isotropic total variation": Case(
        TotalVariation((3, 4), isotropic=True) + 0.5 * xu.SquaredL2(),
        lambda t: _isotropic(t) + 0.25 * cp.sum_squares(t),
        "enclosure",
    ),
    "overlapping groups": Case(
        OverlappingGroups(OVERLAPPING, [1.0, 2.0, 0.5]),
        lambda t: sum(w * cp.norm(t[g]) for w, g in zip((1.0, 2.0, 0.5), OVERLAPPING, strict=True)),
        "enclosure",
    ),
    "l2 + linf": Case(xu.L2() + xu.LInf(), lambda t: cp.norm(t) + cp.norm_inf(t), "enclosure"),
    "square of a map + l1": Case(
        xu.SquaredL2().of(MAP) + xu.L1(), lambda t: 0.5 * cp.sum_squares(MAP @ t) + cp.norm1(t), "exact"
    ),
    "group about a centre": Case(xu.GroupL2(GROUPS).centred_at(CENTRE), lambda t: _groups(t - CENTRE), "enclosure"),
    "a user's class": Case(
        Ridge(), lambda t: cp.norm1(cp.multiply(WEIGHTS, t)) + 2 * cp.sum_squares(t - CENTRE), "exact"
    ),
}
DRIFTS: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], list[Any]]]] = {
    "none": (None, lambda D: 0.0, lambda D: []),
    "l1 + squared": (
        xu.L1Drift(0.2) + xu.SquaredDrift(0.5), lambda D: 0.2 * cp.norm1(D) + 0.25 * cp.sum_squares(D), lambda D: []
    ),
    "ball": (xu.TrustRegion(0.6), lambda D: 0.0, lambda D: [cp.norm(D) <= 0.6]),
    "box": (xu.TrustRegion(0.25, np.inf), lambda D: 0.0, lambda D: [cp.norm_inf(D) <= 0.25]),
}  # fmt: skip


def problem(case: str, drift: str = "none", frozen: bool = False) -> xu.UnlearningProblem:
    return xu.UnlearningProblem(THETA, J, CASES[case].regularizer, DRIFTS[drift][0], FROZEN if frozen else None)


def value_by_hand(case: str, drift: str, frozen: bool, solver: str) -> float:
    """The optimum of the same problem, written for CVXPY without any of our code."""
    theta = cp.Variable(D)
    _, penalty, region = DRIFTS[drift]
    constraints = [J @ (theta - THETA) == 0, *region(theta - THETA)]
    constraints += [theta[[1, 7]] == THETA[[1, 7]]] if frozen else []
    by_hand = cp.Problem(cp.Minimize(CASES[case].by_hand(theta) + penalty(theta - THETA)), constraints)
    options: dict[str, Any] = {"eps_abs": 1e-9, "eps_rel": 1e-9, "max_iters": 100_000} if solver == "SCS" else {}
    return float(by_hand.solve(solver=solver, **options))
