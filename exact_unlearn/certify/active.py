"""The nuclear norm where some rows read >=: through problems with equations only.

Rows that are tight at the optimum are equations there, and the others are not missed.  Which ones they are is guessed:
those to which a float solution gives multipliers; then the row that the optimum misses most is added, and those whose
multipliers are negative are dropped.  Nothing is trusted: the checker decides what the last certificate proves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from exact_unlearn.certify import checker
from exact_unlearn.certify.certificate import Certificate
from exact_unlearn.certify.encode import Tree, vector
from exact_unlearn.certify.exactlin import Rationals
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.jacobian import Array, DenseJacobian
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution
from exact_unlearn.watch import tick

ROUNDS = 40
"""Sets of tight rows that are tried."""

NOTHING = Fraction(1, 1 << 160)
"""A multiplier this many times smaller than the largest is 0."""


@dataclass(frozen=True)
class Found:
    """theta (d,), feasible exactly, and the parts of a certificate."""

    theta: Rationals
    primal: Tree
    dual: Tree


def by_tight_rows(
    problem: UnlearningProblem,
    image: Image,
    kept: list[int] | None,
    multipliers: Array | None,
    solution: Solution | None,
    proved: Callable[[UnlearningProblem, Solution | None], Certificate],
) -> Found:
    """From `proved`, which takes problems with equations only.  FaceError if no set of tight rows is the right one.

    multipliers: of a float solution, (k,), or None.
    """
    rows = list(range(problem.n_constraints)) if kept is None else kept
    equations = [k for k in range(len(rows)) if k not in image.at_least]
    tight = _suggested(image, rows, multipliers)
    seen: set[frozenset[int]] = set()
    while tight not in seen and len(seen) < ROUNDS:
        tick()
        seen.add(tight)
        chosen = sorted([*equations, *tight])
        posed = _posed(problem, [rows[k] for k in chosen])
        found = proved(posed, None if solution is None else _claim(posed, solution, [rows[k] for k in chosen]))
        if found.tree.get("kind") != "bounds":
            raise FaceError(f"equations in the place of rows that read >= are not proved: {found.message}")
        theta, nu = _read(posed, found)
        excess = image.residuals(Rationals.of([theta[j] for j in image.free]), list(image.at_least))
        missed = {row: value for row, value in zip(image.at_least, excess, strict=True) if value < 0}
        least = -max(map(abs, nu.values()), default=Fraction(0)) * NOTHING
        wrong = {k for at, k in enumerate(chosen) if k in tight and nu.get(at, Fraction(0)) < least}
        if not missed and not wrong:
            signed = {k: v if k in equations else max(v, Fraction(0)) for k, v in _places(nu, chosen).items()}
            dual = {**found.tree.get("dual", {}), "nu": vector({k: v for k, v in signed.items() if v})}
            return Found(Rationals.of(theta), found.tree["primal"], dual)
        most = min(missed, key=lambda row: (missed[row], row)) if missed else None
        tight = frozenset(tight - wrong) | ({most} if most is not None else set())
    raise FaceError("which of the rows that read >= are tight was not found out")


def _places(nu: dict[int, Fraction], chosen: list[int]) -> dict[int, Fraction]:
    return {chosen[at]: v for at, v in nu.items()}


def _suggested(image: Image, rows: list[int], nu: Array | None) -> frozenset[int]:
    """The rows that read >= to which the float solution gives multipliers worth the name."""
    if nu is None:
        return frozenset()
    floor = 1e-6 * float(np.max(np.abs(nu), initial=0.0))
    return frozenset(k for k in image.at_least if nu[rows[k]] > floor)


def _posed(problem: UnlearningProblem, rows: list[int]) -> UnlearningProblem:
    """The problem with these rows only, all of them equations."""
    everything = replace(problem, free=np.ones(problem.n_parameters, dtype=bool))
    matrix: Array = np.asarray(everything.free_matrix())[rows]
    return replace(problem, jacobian=DenseJacobian(matrix), rhs=problem.rhs[rows], at_least=None, origin=None)


def _claim(posed: UnlearningProblem, solution: Solution, rows: list[int]) -> Solution:
    return replace(solution, problem=posed, nu=solution.nu[rows])


def _read(posed: UnlearningProblem, found: Certificate) -> tuple[list[Fraction], dict[int, Fraction]]:
    """The point and the multipliers of a certificate, exactly."""
    proof = checker.Proof(checker.Problem(checker.read_problem(posed)), found.tree)
    proof.place()
    theta = [Fraction(n, proof.theta.den) for n in proof.theta.nums]
    return theta, {i: Fraction(n, proof.nu_den) for i, n in proof.nu.items()}
