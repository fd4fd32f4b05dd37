"""Wrong arguments of every public function: the sentence names the argument, and no exception but ours comes out.

Each call is right but for one argument, which is of another type, NaN, of another shape, None, negative, or text.
Either the value happens to be one that the function takes, or a sentence says what is wrong.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import scalable

D, K = 6, 2
THETA, J = np.arange(1.0, D + 1), np.eye(K, D)
NET = xu.LinearNetwork((2, 2, 1))
NET_THETA = np.arange(1.0, NET.n_parameters + 1)
X, Y = np.array([[1.0, 2.0]]), np.array([1.0])
PROBLEM = xu.UnlearningProblem(THETA, J, xu.L1())
SOLUTION = xu.solve(PROBLEM)
SMOOTH = xu.SmoothNetwork((2, 2, 1))
NETWORK = xu.global_problem(xu.Perceptron(2, 2), X, Y, "path")
MODULE = torch.nn.Linear(2, 1).double()

BAD: dict[str, Any] = {
    "None": None, "text": "l7", "nan": float("nan"), "infinity": float("inf"), "negative": -1, "negative float": -1.5,
    "a list of nan": [float("nan")] * D, "a short list": [1.0], "a matrix": np.ones((3, 3)), "complex": np.ones(D) * 1j,
    "texts": ["a"] * D, "ragged": [[1.0], [1.0, 2.0]], "dict": {}, "object": object(), "a class": xu.L1, "bool": True,
    "function": len, "empty": [], "nested": [[[1.0]]], "negative array": -np.ones(D), "fraction": Fraction(1, 3),
    "huge": 10**400, "bytes": b"x", "set": {1.5}, "a tensor": torch.full((D,), torch.nan), "zero": 0,
}  # fmt: skip

CALLS: dict[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "LinearModel": (xu.LinearModel, {"n_inputs": 2, "n_outputs": 1}),
    "LinearNetwork": (xu.LinearNetwork, {"widths": (2, 2, 1)}),
    "Perceptron": (xu.Perceptron, {"n_inputs": 2, "width": 2, "activation": "relu", "n_outputs": 1}),
    "DiagonalNetwork": (xu.DiagonalNetwork, {"n_inputs": 2, "depth": 2}),
    "diagonal_minimum": (
        xu.diagonal_minimum,
        {"model": xu.DiagonalNetwork(2, 3), "x_retain": X, "y_retain": Y, "limit": 100},
    ),
    "SquaredL2": (xu.SquaredL2, {"weights": THETA}),
    "L2": (xu.L2, {"weights": THETA}),
    "L1": (xu.L1, {"weights": THETA}),
    "LInf": (xu.LInf, {"weights": THETA}),
    "ElasticNet": (xu.ElasticNet, {"alpha": 1.0, "beta": 1.0}),
    "GroupL2": (xu.GroupL2, {"groups": [[0, 1, 2], [3, 4, 5]], "weights": [1.0, 1.0]}),
    "Huber": (xu.Huber, {"delta": 1.0, "weights": THETA}),
    "OverlappingGroups": (xu.OverlappingGroups, {"groups": [[0, 1, 2], [2, 3, 4, 5]], "weights": [1.0, 1.0]}),
    "TotalVariation": (xu.TotalVariation, {"shape": (2, 3), "isotropic": False}),
    "PowerSum": (xu.PowerSum, {"depth": 3}),
    "factors": (xu.L1().__mul__, {"factor": 2.0}),
    "centres": (xu.L1().centred_at, {"centre": THETA}),
    "maps": (xu.L1().of, {"matrix": J}),
    "NuclearNorm": (xu.NuclearNorm, {"block": slice(0, 4), "shape": (2, 2)}),
    "PredictorNorm": (xu.PredictorNorm, {"network": NET, "theta_star": NET_THETA}),
    "L0": (xu.L0, {"groups": [[0, 1, 2], [3, 4, 5]]}),
    "ActiveNeurons": (xu.ActiveNeurons, {"perceptron": xu.Perceptron(2, 2)}),
    "SquaredDrift": (xu.SquaredDrift, {"lam": 1.0}),
    "L1Drift": (xu.L1Drift, {"lam": 1.0}),
    "TrustRegion": (xu.TrustRegion, {"radius": 1.0, "norm": 2}),
    "UnlearningProblem": (
        xu.UnlearningProblem,
        {"theta_star": THETA, "jacobian": J, "regularizer": xu.L1(), "drift_penalty": xu.SquaredDrift(1.0),
         "free": np.ones(D, bool), "rhs": np.zeros(K)},
    ),
    "surrogate_problem": (
        xu.surrogate_problem,
        {"model": NET, "theta_star": NET_THETA, "x_retain": X, "regularizer": xu.L1(), "drift_penalty": xu.L1Drift(1.0),
         "free": "c", "y_retain": Y},
    ),
    "surrogate_problem of a module": (
        xu.surrogate_problem,
        {"model": MODULE, "theta_star": None, "x_retain": X, "regularizer": xu.L1(), "drift_penalty": None,
         "free": "weight", "y_retain": Y},
    ),
    "margin_problem": (
        xu.margin_problem,
        {"features": np.array([[1.0, 2.0], [0.0, 1.0]]), "labels": [1, -1], "bias": "none", "model": None,
         "theta_star": np.ones(2), "regularizer": xu.SquaredL2(), "drift_penalty": None, "free": None, "classes": None},
    ),
    "exact_problem": (
        xu.exact_problem,
        {"model": NET, "theta_star": NET_THETA, "x_retain": X, "y_retain": Y, "regularizer": xu.L2(), "free": "c"},
    ),
    "global_problem": (
        xu.global_problem,
        {"model": xu.Perceptron(2, 2), "x_retain": X, "y_retain": Y, "regularizer": "path"},
    ),
    "global_network": (xu.global_network, {"problem": NETWORK, "found": xu.certify(NETWORK)}),
    "solve": (xu.solve, {"problem": PROBLEM, "solver": "HIGHS", "accuracy": 1e-9, "time_limit": 10.0}),
    "judge": (xu.judge, {"problem": PROBLEM, "theta": THETA, "nu": np.zeros(K)}),
    "explicit_program": (xu.explicit_program, {"problem": PROBLEM}),
    "certify": (xu.certify, {"problem": PROBLEM, "solution": SOLUTION, "rows": None, "tau": None}),
    "SmoothNetwork": (
        xu.SmoothNetwork,
        {"widths": (2, 2, 1), "activation": "tanh", "bias": False, "output": "identity"},
    ),
    "certify_local": (
        xu.certify_local,
        {"model": SMOOTH, "theta": np.ones(6), "x_retain": X, "y_retain": Y, "centre": np.zeros(6)},
    ),
    "Solution": (
        xu.Solution,
        {"problem": PROBLEM, "theta": THETA, "nu": np.zeros(K), "status": xu.Status.OPTIMAL},
    ),
    "unlearn_path": (
        xu.unlearn_path,
        {"model": NET, "theta_star": NET_THETA, "x_retain": X, "regularizer": xu.SquaredL2(), "y_retain": None,
         "x_forget": X, "free": "c", "radius": None, "lam": 1.0, "steps": 1, "tol": 1e-6, "keep": 1e-9, "solver": None,
         "certify": False, "time_limit": 5.0, "resume": None},
    ),
    "effect": (
        xu.effect,
        {"model": NET, "problem_or_theta_star": NET_THETA, "solution": NET_THETA + 1.0, "x_retain": X, "x_forget": X,
         "y_retain": Y, "tolerance": 0.1},
    ),
    "scalable.ModuleModel": (scalable.ModuleModel, {"module": MODULE, "outputs": "all", "input_shape": None}),
    "scalable.write_back": (scalable.write_back, {"module": torch.nn.Linear(2, 1), "theta": np.ones(3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_named(name: str) -> None:
    function, right = CALLS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xu.InterpolationWarning)
        function(**right)
        refused = 0
        for argument in right:
            for kind, value in BAD.items():
                try:
                    function(**{**right, argument: value})
                    continue
                except xu.ExactUnlearnError as error:
                    said = str(error)
                refused += 1
                assert "\n" not in said, (argument, kind, said)
                assert len(said) < 600, (argument, kind, said)
                assert any(word in said for word in (argument, *ALSO.get(argument, ()))), (argument, kind, said)
    assert refused >= 10


ALSO = {
    "model": ("module",), "theta_star": ("theta",), "x_retain": ("module", "x:", "y_retain"), "free": ("block",),
    "problem_or_theta_star": ("theta_star",),
    "groups": ("labels", "coordinate"), "drift_penalty": ("drift",), "perceptron": ("active_neurons",),
    "output": ("activation",),
    "weights": ("weight",), "block": ("indices",), "alpha": ("elastic_net",), "beta": ("elastic_net",),
}  # fmt: skip
"""Other words by which a sentence may call an argument: that of the part of it which is wrong."""


def test_every_public_function_is_attacked() -> None:
    """Whatever is public and takes arguments is in the table, or is a type that nobody makes by hand."""
    made_by_us = {
        "Certificate", "Effect", "ExplicitProgram", "LocalCertificate", "Path", "PathStatus", "Status", "Verdict",
    }  # fmt: skip
    public = {name: getattr(xu, name) for name in xu.__all__}
    errors = {name for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)}
    rooms = {name for name, value in public.items() if inspect.ismodule(value) and name != "certify"}
    asked = {name for name, value in public.items() if callable(value)} - made_by_us - errors - rooms
    assert asked <= {name.split(" ")[0] for name in CALLS}
