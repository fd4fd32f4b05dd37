"""Independent parts of a problem: where J is block diagonal once rows and columns are put in order, and R is a sum over
the blocks, the problem is as many smaller ones.

A linear head of l outputs on fixed features X has J = X (x) I: l problems with the one small X.  Rows and columns are
the two sides of a graph with an edge for every entry that is not 0 (and columns of one group are tied together); the
blocks are its connected components, so the split is exact, whatever J came from.

R separates where it is a sum of functions of single coordinates, or of norms of groups, and the drift penalties are
squares, absolute values and boxes.  A single norm does not, nor does a largest entry, nor a Euclidean ball; but the
minimiser of a Euclidean norm alone is that of its square, which does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from exact_unlearn import regularizers
from exact_unlearn.forms import Norms
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.rowspace import RankReport
from exact_unlearn.solution import Solution, Status

LEAST = 32
"""Rows that are worth a problem of their own: smaller components share one."""

SUM, ROOT = "sum", "root"


@dataclass(frozen=True, eq=False)
class Block:
    """A problem on some rows and columns of another, as increasing indices."""

    problem: UnlearningProblem
    rows: Array
    columns: Array

    def of(self, solution: Solution | None) -> Solution | None:
        """What a solution of the whole says about this block."""
        if solution is None:
            return None
        g, forces = solution.subgradient, solution.drift_subgradients
        return Solution(
            problem=self.problem,
            theta=solution.theta[self.columns],
            nu=solution.nu[self.rows],
            status=solution.status,
            solver=solution.solver,
            subgradient=None if g is None else g[self.columns],
            drift_subgradients=None if forces is None else tuple(force[self.columns] for force in forces),
        )


def separates(problem: UnlearningProblem) -> str | None:
    """SUM where the objective is a sum over coordinates or groups; ROOT for a Euclidean norm alone, of which the square
    is; else None.
    """
    drifts, parts = problem.drifts, problem.form.parts
    if problem.regularizer.name == "form" or problem.origin is not None:
        return None
    if any(term.name == "trust_region" and (term.norm != math.inf or not term.radius) for term in drifts):
        return None
    if all(part.term.separable and part.map is None for part in parts):
        return SUM
    if len(parts) != 1 or not isinstance(parts[0].term, Norms) or parts[0].map is not None:
        return None
    if parts[0].term.groups is not None:
        return SUM
    return None if drifts else ROOT


def split(problem: UnlearningProblem) -> tuple[Block, ...]:
    """The blocks of a problem, of LEAST rows or more each; none where there is only one.

    Coordinates in no row, frozen ones, and rows without a free entry go with the first block.
    """
    if problem.n_constraints < 2 * LEAST or not isinstance(problem.jacobian, DenseJacobian) or not separates(problem):
        return ()
    labels, of_rows = _components(problem, problem.jacobian.matrix)
    sizes = np.bincount(of_rows[of_rows >= 0], minlength=labels.size)
    place, count, filled = np.zeros(labels.size, dtype=np.int64), 0, 0
    for label in np.flatnonzero(sizes).tolist():
        if filled >= LEAST:
            count, filled = count + 1, 0
        place[label] = count
        filled += int(sizes[label])
    if count and filled < LEAST:
        place[place == count] = count - 1
        count -= 1
    if not count:
        return ()
    columns, rows = place[labels], np.where(of_rows < 0, 0, place[of_rows])
    return tuple(_block(problem, np.flatnonzero(rows == at), np.flatnonzero(columns == at)) for at in range(count + 1))


def _components(problem: UnlearningProblem, matrix: Array) -> tuple[Array, Array]:
    """The component of every column (d,) and of every row (k,), -1 for rows without a free entry."""
    k, d = matrix.shape
    labels = _tied(problem)
    reached = np.unique(labels[problem.free & (matrix != 0).any(axis=0)]).size
    firsts = np.full(k, -1, dtype=np.int64)
    for i in range(k):
        columns = np.flatnonzero(problem.free & (matrix[i] != 0))
        if not columns.size:
            continue
        firsts[i] = columns[0]
        met = np.zeros(d, dtype=bool)
        met[labels[columns]] = True
        many = int(met.sum())
        if many > 1 and reached > 1:
            labels = np.where(met[labels], labels[columns[0]], labels)
            reached -= many - 1
        if reached <= 1:
            return labels, np.full(k, labels[columns[0]])
    return labels, np.where(firsts < 0, -1, labels[firsts])


def _tied(problem: UnlearningProblem) -> Array:
    """(d,) equal numbers below d for coordinates that R ties together."""
    for part in problem.form.parts:
        if isinstance(part.term, Norms) and part.term.groups is not None:
            return np.asarray(part.term.groups.labels, dtype=np.int64)
    return np.arange(problem.n_parameters)


def _block(problem: UnlearningProblem, rows: Array, columns: Array) -> Block:
    assert isinstance(problem.jacobian, DenseJacobian)
    own = UnlearningProblem(
        theta_star=problem.theta_star[columns],
        jacobian=DenseJacobian(problem.jacobian.matrix[np.ix_(rows, columns)]),
        regularizer=_restricted(problem, columns),
        drift_penalty=problem.drift_penalty,
        free=problem.free[columns],
        rhs=problem.rhs[rows],
        at_least=problem.at_least[rows],
    )
    return Block(own, rows, columns)


def _restricted(problem: UnlearningProblem, columns: Array) -> Any:
    """R of the others' zeros: its weights and groups on these coordinates."""
    spec = regularizers.spec_of(problem.regularizer, problem.n_parameters)
    if "labels" in spec:
        chosen, labels = np.unique(spec["labels"][columns], return_inverse=True)
        spec |= {"labels": labels, "weights": spec["weights"][chosen]}
    elif spec.get("weights") is not None:
        spec["weights"] = spec["weights"][columns]
    return regularizers.from_spec(spec)


def solved(
    problem: UnlearningProblem,
    solve: Callable[[UnlearningProblem, Solution | None], Solution],
    tolerance: float,
    start: Solution | None = None,
) -> Solution | None:
    """The answers of all blocks as one, if every block has one and together they are optimal to `tolerance`, or if time
    ended; else None, and the problem is to be solved as a whole.

    solve: (block, what `start` says about it) -> its answer.
    """
    found: list[Solution] = []
    blocks = split(problem) if separates(problem) == SUM else ()
    for block in blocks:
        one = solve(block.problem, block.of(start))
        if one.status not in (Status.OPTIMAL, Status.TIME_LIMIT):
            return None
        found.append(one)
    if not found:
        return None
    whole = _joined(problem, blocks, found)
    return whole if whole.status is Status.TIME_LIMIT or whole.is_optimal(tolerance) else None


def _joined(problem: UnlearningProblem, blocks: tuple[Block, ...], found: list[Solution]) -> Solution:
    d, k = problem.n_parameters, problem.n_constraints
    columns, rows = [block.columns for block in blocks], [block.rows for block in blocks]
    forces = [one.drift_subgradients for one in found]
    late = [one for one in found if one.status is Status.TIME_LIMIT]
    said = dict.fromkeys(one.message for one in late or found if one.message)
    return Solution(
        problem=problem,
        theta=together(d, columns, [one.theta for one in found]),
        nu=together(k, rows, [one.nu for one in found]),
        status=Status.TIME_LIMIT if late else Status.OPTIMAL,
        solver=found[0].solver,
        subgradient=_all(d, columns, [one.subgradient for one in found]),
        drift_subgradients=None
        if any(parts is None for parts in forces)
        else tuple(together(d, columns, list(parts)) for parts in zip(*forces, strict=True)),
        unique=_every([one.unique for one in found]),
        rank=_ranks(problem, blocks, [one.rank for one in found]),
        compile_seconds=sum(one.compile_seconds for one in found),
        solve_seconds=sum(one.solve_seconds for one in found),
        message="; ".join([f"{len(blocks)} independent blocks", *list(said)[:1]]),
    )


def together(size: int, places: list[Array], parts: list[Array]) -> Array:
    """Vectors of the blocks as one of the whole, (size,)."""
    out = np.zeros(size) if all(part.dtype != object for part in parts) else np.zeros(size, dtype=object)
    for where, part in zip(places, parts, strict=True):
        out[where] = part
    return out


def _all(size: int, places: list[Array], parts: list[Array | None]) -> Array | None:
    known = [part for part in parts if part is not None]
    return together(size, places, known) if len(known) == len(parts) else None


def _every(claims: list[bool | None]) -> bool | None:
    """Unique where every block is, not where some block is not."""
    if any(claim is False for claim in claims):
        return False
    return True if all(claims) else None


def _ranks(problem: UnlearningProblem, blocks: tuple[Block, ...], reports: list[Any]) -> Any:
    """The decisions of the blocks as one; None where a solver made none."""
    if not all(isinstance(report, RankReport) for report in reports):
        return None
    kept = [block.rows[list(one.rows)].tolist() for block, one in zip(blocks, reports, strict=True)]
    some = [one for one in reports if one.rank]
    return RankReport(
        rank=sum(one.rank for one in reports),
        shape=(problem.n_constraints, int(problem.free.sum())),
        tolerance=max(one.tolerance for one in reports),
        largest=max(one.largest for one in reports),
        smallest_kept=min((one.smallest_kept for one in some), default=0.0),
        largest_dropped=max(one.largest_dropped for one in reports),
        rows=tuple(sorted(row for rows in kept for row in rows)),
    )


def of_root(problem: UnlearningProblem, square: Solution) -> Solution:
    """The answer for a Euclidean norm from that for half its square: one minimiser, and multipliers over its length."""
    length = math.sqrt(2.0 * square.value)
    share = 1.0 / length if length else 0.0
    g = square.subgradient
    return replace(
        square, problem=problem, nu=to_float(square.nu) * share, subgradient=None if g is None else to_float(g) * share
    )
