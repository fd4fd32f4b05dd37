"""A model, the samples that it retains, and what is to be simple: all that does not change along a path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn import modules, reference
from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Space
from exact_unlearn.jacobian import Array, DenseJacobian, Jacobian, dimensions, real_array, to_float
from exact_unlearn.problem import UnlearningProblem, surrogate_problem
from exact_unlearn.regularizers import SquaredL2
from exact_unlearn.solution import Solution

RANK = 1e-12
"""Singular values of J below this share of the largest are none, where labels are restored."""


@dataclass(frozen=True, eq=False)
class Setting:
    """f, X_retain, R and what may move.

    start: theta* (d,), floats; y: (n, l), what the retained outputs shall be; solver: see `solved`.
    """

    model: Any
    x: Any
    start: Array
    regularizer: Any
    free: Array
    y: Array
    solver: str | None

    def outputs(self, theta: Array) -> Array:
        """f(theta, X), (n, l) floats."""
        return to_float(self.model.predict(theta, self.x))

    def error(self, theta: Array) -> float:
        """max |f - y|; infinity where an output is no number."""
        worst = float(np.max(np.abs(self.outputs(theta) - self.y), initial=0.0))
        return worst if np.isfinite(worst) else np.inf

    @cached_property
    def label_scale(self) -> float:
        """max(1, max |y|), in which errors are measured."""
        return max(1.0, float(np.max(np.abs(self.y), initial=0.0)))

    @property
    def name(self) -> str:
        """R in words."""
        name: str = self.regularizer.name
        return str(self.regularizer.form(Space(self.start.size, self.start))) if name == "form" else name

    def value(self, theta: Array) -> float:
        """R(theta)."""
        return float(self.regularizer.value(theta))

    def problem(self, theta: Array, drift: Any = None) -> UnlearningProblem:
        """The surrogate at theta: the retained outputs stay what they are."""
        return surrogate_problem(self.model, theta, self.x, self.regularizer, drift, self.free)

    def solve(self, problem: UnlearningProblem) -> Solution:
        """By the solver of this path."""
        return solved(problem, self.solver)

    def shortest(self, theta: Array, movable: Array, residual: Array) -> Array:
        """The shortest D of the movable coordinates with J D = residual in the least-squares sense, (d,)."""
        jacobian: Jacobian = surrogate_problem(self.model, theta, self.x, SquaredL2(), None, self.free).jacobian
        drift = np.zeros(theta.size)
        if isinstance(jacobian, DenseJacobian):
            matrix = to_float(jacobian.matrix)[:, movable]
            drift[movable] = np.linalg.lstsq(matrix, residual, rcond=RANK)[0]
            return drift
        from exact_unlearn import scalable

        posed = UnlearningProblem(drift, jacobian, SquaredL2(), free=movable, rhs=residual)
        return to_float(scalable.solve(posed).theta)


def solved(problem: UnlearningProblem, solver: str | None) -> Solution:
    """By "scalable", a CVXPY solver, or the default of the reference."""
    if solver == "scalable":
        from exact_unlearn import scalable

        return scalable.solve(problem)
    return reference.solve(problem, solver=solver)


def solver_for(model: Any, problem: UnlearningProblem) -> str | None:
    """The torch solver for torch modules, where it takes the problem."""
    if not modules.is_module_model(model):
        return None
    from exact_unlearn.scalable.solve import drift_numbers

    try:
        drift_numbers(problem)
    except ProblemError:
        return None
    return "scalable"


def make_setting(
    model: Any, theta_star: Any, x_retain: Any, regularizer: Any, y_retain: Any, free: Any, solver: Any
) -> Setting:
    """Everything checked once; ProblemError, one sentence, on what does not fit."""
    model, x = modules.as_model(model), modules.inputs_of(x_retain, "x_retain")
    if solver is not None and not isinstance(solver, str):
        raise ProblemError(f"solver: expected 'scalable', the name of a CVXPY solver or None, got {solver!r:.60}")
    first = surrogate_problem(model, theta_star, x, regularizer, None, free)
    R = first.regularizer
    if getattr(R, "integer", False):
        raise ProblemError(
            f"regularizer: {type(R).__name__} counts, and a count does not change along short steps; "
            "take L1 or GroupL2 here, or xu.solve for one step"
        )
    if not getattr(R, "convex", True):
        raise ProblemError(
            f"regularizer: {type(R).__name__} is concave on every orthant, and short steps stay at its local minima; "
            "take L1 here, or xu.solve for one step"
        )
    solver = solver_for(model, first) if solver is None else solver
    start = to_float(first.theta_star)
    predicted = to_float(model.predict(start, x))
    y = predicted if y_retain is None else labels(y_retain, predicted)
    return Setting(model, x, start, R, first.free, y, solver)


def labels(y: Any, predicted: Array) -> Array:
    """y as an (n, l) matrix of floats like the predictions."""
    targets = to_float(real_array("y_retain", y, ndim=2 if dimensions(y) == 2 else 1))
    n, l = predicted.shape
    if targets.shape[0] != n or targets.size != n * l:
        raise ProblemError(f"y_retain: expected shape ({n}, {l}), got {targets.shape}")
    return targets.reshape(n, l)
