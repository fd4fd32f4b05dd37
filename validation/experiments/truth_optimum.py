"""The truth: the certified optimum of a task as a cell, and the set of all predictors that attain it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import sweep
from exact_unlearn.errors import NotMeasuredError
from exact_unlearn.jacobian import to_float
from exact_unlearn.optima import OptimalSet, optimal_set

from .truth_tasks import make_task


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
