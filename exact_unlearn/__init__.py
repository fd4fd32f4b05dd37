"""Ground truth for machine unlearning, by certified convex optimization.

Given a trained model, its retain data and a complexity measure R, write the first-order surrogate

.. math:: \\min_\\Delta\\; R(\\theta^* + \\Delta) + \\hat R(\\Delta) \\quad\\text{subject to}\\quad J\\Delta = 0

as an explicit program, solve it, and prove the answer.

Importing the package is cheap: each public name below loads its module when it is first used, so neither cvxpy nor
torch is imported by a program that only reads problems or checks certificates.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Module -> public names. The TYPE_CHECKING block repeats it for type checkers and editors, which do not execute
# `__getattr__`; tests/test_project.py compares the two.
_PUBLIC: dict[str, tuple[str, ...]] = {
    "drift": ("L1Drift", "SquaredDrift", "TrustRegion"),
    "errors": (
        "ExactUnlearnError",
        "FileFormatError",
        "InterpolationWarning",
        "ProblemError",
        "RankAmbiguityError",
        "SolverError",
    ),
    "models": ("LinearModel", "LinearNetwork", "Perceptron"),
    "problem": ("UnlearningProblem", "exact_problem", "surrogate_problem"),
    "program": ("ExplicitProgram", "explicit_program"),
    "reference": ("solve",),
    "regularizers": (
        "ActiveNeurons",
        "ElasticNet",
        "GroupL2",
        "L0",
        "L1",
        "L2",
        "LInf",
        "NuclearNorm",
        "PredictorNorm",
        "SquaredL2",
    ),
    "solution": ("Solution", "Status"),
}

# Sub-packages that are themselves public names. `certify` is both a room and a verb: its module is callable.
_SUBPACKAGES = ("certify",)

_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted([*_HOME, *_SUBPACKAGES, "__version__"])

if TYPE_CHECKING:
    from exact_unlearn.drift import L1Drift, SquaredDrift, TrustRegion
    from exact_unlearn.errors import (
        ExactUnlearnError,
        FileFormatError,
        InterpolationWarning,
        ProblemError,
        RankAmbiguityError,
        SolverError,
    )
    from exact_unlearn.models import LinearModel, LinearNetwork, Perceptron
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
        LInf,
        NuclearNorm,
        PredictorNorm,
        SquaredL2,
    )
    from exact_unlearn.solution import Solution, Status


def __getattr__(name: str) -> Any:
    """Load the module behind a public name on first use (PEP 562)."""
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
