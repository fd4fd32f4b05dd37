"""Ground truth for machine unlearning, by certified convex optimization.

Given a trained model with parameters theta*, its retain data and a complexity measure R, write the first-order
surrogate

    minimise  R(theta* + D) + Rhat(D)   subject to   J D = 0   (and only some blocks of theta may move)

as an explicit program, solve it, and prove the answer.

Importing the package is cheap: each public name below loads its module when it is first used, so neither cvxpy nor
torch is imported by a program that only reads problems or checks certificates.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "L0",
    "L1",
    "L2",
    "ActiveNeurons",
    "Certificate",
    "DiagonalNetwork",
    "Effect",
    "ElasticNet",
    "ExactUnlearnError",
    "ExplicitProgram",
    "FileFormatError",
    "GroupL2",
    "Huber",
    "InterpolationWarning",
    "L1Drift",
    "LInf",
    "LinearModel",
    "LinearNetwork",
    "LocalCertificate",
    "MissingExtraError",
    "NuclearNorm",
    "OverlappingGroups",
    "Path",
    "PathStatus",
    "Perceptron",
    "PowerSum",
    "PredictorNorm",
    "ProblemError",
    "RankAmbiguityError",
    "SmoothNetwork",
    "Solution",
    "SolverError",
    "SquaredDrift",
    "SquaredL2",
    "Status",
    "TotalVariation",
    "TrustRegion",
    "UnlearningProblem",
    "Verdict",
    "__version__",
    "certify",
    "certify_local",
    "closed_form",
    "diagonal_minimum",
    "effect",
    "exact_problem",
    "explicit_program",
    "global_network",
    "global_problem",
    "judge",
    "margin_problem",
    "solve",
    "surrogate_problem",
    "unlearn_path",
]

# Module -> its public names. __all__ and the TYPE_CHECKING block repeat them for editors and type checkers, which do
# not run `__getattr__`; tests/test_project.py compares the three.
_PUBLIC = {
    "certify": "Certificate",
    "concave": "diagonal_minimum",
    "convexity": "global_network global_problem",
    "drift": "L1Drift SquaredDrift TrustRegion",
    "effects": "Effect",
    "errors": "ExactUnlearnError FileFormatError InterpolationWarning MissingExtraError ProblemError "
    "RankAmbiguityError SolverError",
    "local": "LocalCertificate SmoothNetwork certify_local",
    "margins": "margin_problem",
    "models": "DiagonalNetwork LinearModel LinearNetwork Perceptron",
    "path": "Path PathStatus effect unlearn_path",
    "problem": "UnlearningProblem exact_problem surrogate_problem",
    "program": "ExplicitProgram explicit_program",
    "reference": "solve",
    "regularizers": "L0 L1 L2 ActiveNeurons ElasticNet GroupL2 Huber LInf NuclearNorm OverlappingGroups PowerSum "
    "PredictorNorm SquaredL2 TotalVariation",
    "solution": "Solution Status",
    "verdict": "Verdict judge",
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names.split()}

# Rooms that are public names themselves. `certify` is also a verb: its module can be called. The two that need torch
# are not in __all__, which has to work without it.
_ROOMS = ("algorithms", "certify", "closed_form", "scalable")

if TYPE_CHECKING:
    from exact_unlearn import closed_form
    from exact_unlearn.certify import Certificate, certify
    from exact_unlearn.concave import diagonal_minimum
    from exact_unlearn.convexity import global_network, global_problem
    from exact_unlearn.drift import L1Drift, SquaredDrift, TrustRegion
    from exact_unlearn.effects import Effect
    from exact_unlearn.errors import (
        ExactUnlearnError,
        FileFormatError,
        InterpolationWarning,
        MissingExtraError,
        ProblemError,
        RankAmbiguityError,
        SolverError,
    )
    from exact_unlearn.local import LocalCertificate, SmoothNetwork, certify_local
    from exact_unlearn.margins import margin_problem
    from exact_unlearn.models import DiagonalNetwork, LinearModel, LinearNetwork, Perceptron
    from exact_unlearn.path import Path, PathStatus, effect, unlearn_path
    from exact_unlearn.problem import UnlearningProblem, exact_problem, surrogate_problem
    from exact_unlearn.program import ExplicitProgram, explicit_program
    from exact_unlearn.reference import solve
    from exact_unlearn.regularizers import (
        L0,
        L1,
        L2,
        ActiveNeurons,
        ElasticNet,
        GroupL2,
        Huber,
        LInf,
        NuclearNorm,
        OverlappingGroups,
        PowerSum,
        PredictorNorm,
        SquaredL2,
        TotalVariation,
    )
    from exact_unlearn.solution import Solution, Status
    from exact_unlearn.verdict import Verdict, judge


def __getattr__(name: str) -> Any:
    """Load the module behind a public name on first use (PEP 562)."""
    from exact_unlearn.errors import needed_by

    with needed_by(f"{__name__}.{name}"):
        if name in _ROOMS:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
