"""Certificates: what it takes to produce and to check them, by form, size and kind of proof, and how long they are.

What is timed: `certify` from a problem in memory, without a solution; and the independent checker on the two files,
from reading them to the verdict.  The error is the relative gap that the checker finds.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn.certify import checker

from .harness import Bench, Side, timed
from .worker import peak_memory

FORMS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "squared l2": lambda d: (xu.SquaredL2(), None),
    "elastic net": lambda d: (xu.ElasticNet(1.0, 0.5), None),
    "l1": lambda d: (xu.L1(), None),
    "l1 + lam": lambda d: (xu.L1(), xu.SquaredDrift(0.5)),
    "l1 + mu": lambda d: (xu.L1(), xu.L1Drift(0.5)),
    "l1, box": lambda d: (xu.L1(), xu.TrustRegion(0.7, np.inf)),
    "l1, ball": lambda d: (xu.L1(), xu.TrustRegion(0.19 * math.sqrt(d))),
    "linf": lambda d: (xu.LInf(), None),
    "linf + lam": lambda d: (xu.LInf(), xu.SquaredDrift(0.01)),
    "l2": lambda d: (xu.L2(), None),
    "l2 + lam": lambda d: (xu.L2(), xu.SquaredDrift(0.01)),
    "group": lambda d: (xu.GroupL2(np.arange(d) // 5), None),
    "group, ball": lambda d: (xu.GroupL2(np.arange(d) // 5), xu.TrustRegion(0.8 * math.sqrt(d))),
}

LARGE = ("squared l2", "l1", "linf", "group")
LARGEST = ("squared l2", "l1")


def _cases() -> dict[str, dict[str, Any]]:
    sizes = ((100, 1000, tuple(FORMS)), (300, 3000, LARGE), (1000, 10000, LARGEST))
    return {f"({m}, {d}) {form}": {"form": form, "rows": m, "columns": d} for m, d, forms in sizes for form in forms}


CASES = _cases()
EXACT = ("(100,", "(300,")

BENCH = Bench(
    name="certificates",
    title="Certificates, Gaussian J, float64",
    ours="enclosure, produce",
    sides=(
        Side("enclosure, produce"),
        Side("enclosure, check"),
        Side("exact, produce", only=EXACT),
        Side("exact, check", only=EXACT),
    ),
    cases=CASES,
    reached=1e-30,
    quick=tuple(case for case in CASES if case.startswith("(100,")),
)


def problem_of(case: dict[str, Any]) -> xu.UnlearningProblem:
    """The problem of a case."""
    rng, d = np.random.default_rng(0), case["columns"]
    J, theta = rng.standard_normal((case["rows"], d)), rng.standard_normal(d)
    return xu.UnlearningProblem(theta, J, *FORMS[case["form"]](d))


def run(side: str, case: dict[str, Any]) -> dict[str, Any]:
    """One measurement."""
    method, act = side.split(", ")
    problem = problem_of(case)
    xu.certify(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()), proof=method)  # imports are not counted
    before = peak_memory()
    found = timed(partial(xu.certify, problem, proof=method))
    certificate = found.result
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "problem.npz"), Path(folder, "certificate.json")
        problem.save(paths[0])
        certificate.save(paths[1])
        size = paths[1].stat().st_size
        if act == "check":
            before = peak_memory()
            found = timed(lambda: checker.check(*paths))
            certificate = found.result
    gap = certificate.gap if act == "produce" or certificate.proved else Fraction(1)
    note = f"{certificate.proof}, {size / 1e6:.3f} MB, {found.cpu:.3f} s of a processor"
    memory = peak_memory() - before
    return {"seconds": found.seconds, "cpu": found.cpu, "error": float(gap), "memory": memory, "note": note}
