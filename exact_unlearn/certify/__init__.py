"""Certificates: what can be *proved* about a solution, by whomever it was claimed.

The room is also the verb: ``exact_unlearn.certify(problem, solution)`` proves, and
``from exact_unlearn.certify import checker`` enters the room. Importing a sub-package binds its *module* onto the
parent package, whatever was there before, so a function of the same name would work or not depending on who imported
what first. Hence the module itself can be called, and there is only one object named ``exact_unlearn.certify``.

Nothing here is imported by the checker, which is one file of standard library and runs alone::

    python -I -S exact_unlearn/certify/checker.py PROBLEM CERTIFICATE
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from exact_unlearn.errors import needed_by

if TYPE_CHECKING:
    from exact_unlearn.certify.certificate import Certificate
    from exact_unlearn.certify.ladder import certify
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.solution import Solution

_HOME = {"Certificate": "certificate", "certify": "ladder"}

__all__ = ["Certificate", "certify"]


def __getattr__(name: str) -> Any:
    """Load the producer on first use; checking alone never needs it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needed_by(f"{__name__}.{name}"):
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


class _CallableModule(ModuleType):
    """A module that can be called like the function it is named after."""

    def __call__(
        self,
        problem: UnlearningProblem,
        solution: Solution | None = None,
        rows: str | None = None,
        tau: float | None = None,
        time_limit: float | None = None,
        proof: str = "auto",
    ) -> Certificate:
        """Certify ``problem``; see :func:`exact_unlearn.certify.ladder.certify`."""
        with needed_by("exact_unlearn.certify"):
            from exact_unlearn.certify.ladder import certify

            return certify(problem, solution, rows=rows, tau=tau, time_limit=time_limit, proof=proof)


sys.modules[__name__].__class__ = _CallableModule
