"""What an answer does to the outputs of its network, and the drift penalty that would have kept them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from exact_unlearn import effects, modules
from exact_unlearn.drift import DriftSum, SquaredDrift
from exact_unlearn.effects import Effect
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, real_array, to_float
from exact_unlearn.path.setting import labels, solved, solver_for
from exact_unlearn.path.trace import Path
from exact_unlearn.path.walk import outputs_at
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.vectors import as_number

SOLVES = 12
"""Surrogates that are solved at most to find the weight of a drift penalty."""

CLOSE = 1.1
"""The weight is known when it is within this factor."""


def effect(
    model: Any,
    problem_or_theta_star: Any,
    solution: Any,
    x_retain: Any,
    x_forget: Any = None,
    *,
    y_retain: Any = None,
    tolerance: float | None = None,
    penalty: bool = True,
) -> Effect:
    """What going from theta* to an answer does to the outputs of `model`.

    problem_or_theta_star: the problem that the answer is of, or theta* (d,), or None for the present parameters of a
    torch module.  solution: a Solution, a Certificate, a Path, or theta (d,).  tolerance: by how much retained outputs
    may move, default 1 % of the largest of them.  Where the problem is known and they moved by more, the least weight
    lam of a SquaredDrift, added to the problem, that would have kept them is looked for: from a formula for SquaredL2
    with squared drifts, else by some solves (to 10 %, on the safe side).  penalty=False spares them.

    Raises ProblemError, one sentence, on arguments that do not fit.

    >>> import numpy as np
    >>> import exact_unlearn as xu
    >>> model = xu.Perceptron(n_inputs=2, width=3, activation="tanh")
    >>> theta_star = np.linspace(-1.0, 1.0, model.n_parameters)
    >>> x = np.array([[1.0, 0.5], [-0.5, 1.0]])
    >>> problem = xu.surrogate_problem(model, theta_star, x, xu.SquaredL2())
    >>> report = xu.effect(model, problem, xu.solve(problem), x)
    >>> report.retained_change > 0.01, report.lam > 0  # to first order only, and what would have kept them
    (True, True)
    """
    model = modules.as_model(model)
    if not all(hasattr(model, name) for name in ("n_parameters", "predict")):
        raise ProblemError(f"model: expected one of exact_unlearn.models or a torch module, got {type(model).__name__}")
    allowed = None if tolerance is None else float(as_number("tolerance", tolerance))
    problem = problem_or_theta_star if isinstance(problem_or_theta_star, UnlearningProblem) else None
    given = problem.theta_star if problem is not None else problem_or_theta_star
    if given is None and modules.is_module_model(model):
        given = model.theta()
    start = _parameters("theta_star", given, model)
    end = _parameters("solution", getattr(solution, "theta", solution), model)
    retained = outputs_at(model, x_retain, "x_retain")
    forgotten = None if x_forget is None else outputs_at(model, x_forget, "x_forget")
    y = None if y_retain is None else labels(y_retain, retained(start))
    seen = effects.measure(retained, start, end, y, forgotten, allowed)
    if (
        problem is None
        or seen.kept
        or not penalty
        or isinstance(solution, Path)
        or not getattr(problem.regularizer, "convex", True)
    ):
        return seen
    return replace(seen, lam=_keeping(problem, seen, retained, solver_for(model, problem)))


def _parameters(name: str, value: Any, model: Any) -> Array:
    if value is None or callable(value):
        raise ProblemError(f"{name}: expected {model.n_parameters} parameters, got {value!r:.60}")
    theta = to_float(real_array(name, value, ndim=1))
    if theta.size != model.n_parameters:
        raise ProblemError(f"{name}: expected {model.n_parameters} parameters, got {theta.size}")
    return theta


def _keeping(problem: UnlearningProblem, seen: Effect, retained: effects.Outputs, solver: str | None) -> float | None:
    """The least lam whose SquaredDrift keeps the retained outputs, or None where `SOLVES` were not enough."""
    R, drifts = problem.regularizer, problem.drifts
    plain = R.name == "squared_l2" and R.weights is None and all(d.name == "squared_drift" for d in drifts)
    if plain and not problem.rhs.any():  # D is proportional to 1 / (1 + lam), so the way to theta holds the answer
        present = 1.0 + sum(float(d.lam) for d in drifts)
        return present / seen.holds_until - present if seen.holds_until > 0 else None
    before = retained(to_float(problem.theta_star))

    def kept(lam: float) -> bool:
        posed = replace(problem, drift_penalty=DriftSum((*drifts, SquaredDrift(lam))))
        return effects.change(retained(to_float(solved(posed, solver).theta)), before) <= seen.tolerance

    start = to_float(problem.theta_star)
    lam = 2.0 * float(R.value(start)) / (float(start @ start) or 1.0) or 1.0
    low, high, factor = 0.0, math.inf, 10.0
    for _ in range(SOLVES):
        if kept(lam):
            high = lam
        else:
            low = lam
        if high <= CLOSE * low:
            break
        lam = low * factor if high == math.inf else high / factor if low == 0 else math.sqrt(low * high)
    return None if high == math.inf else high
