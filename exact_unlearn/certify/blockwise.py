"""The proof of a problem from those of its independent blocks (exact_unlearn.blocks).

What is written is an ordinary certificate of the whole problem: only its numbers were computed block by block, and the
point and the multipliers are those of the blocks side by side.  Where all blocks are exact so is the whole, with the
sum of their optima (or of their squares, for a Euclidean norm); otherwise the checker says what the whole proves.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import Any

from exact_unlearn.blocks import ROOT, Block, separates, split, together
from exact_unlearn.certify.certificate import SCHEMA, Certificate
from exact_unlearn.certify.encode import Tree, rational_text, vector
from exact_unlearn.certify.judged import judged
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.rows import RowReport
from exact_unlearn.certify.terms import roots
from exact_unlearn.errors import RankAmbiguityError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution
from exact_unlearn.watch import TimeUpError, tick, watched

LONG = 40
"""Hexadecimal digits."""

Prove = Callable[[UnlearningProblem, Solution | None], Certificate]


def by_blocks(problem: UnlearningProblem, solution: Solution | None, prove: Prove) -> Certificate | None:
    """The certificate of the whole from `prove` of each block; None where there is one block only, or where some block
    leaves a question that is to be answered about the whole: no proof, no parameters that fit, ranks in doubt.
    """
    blocks = split(problem)
    found: list[Certificate] = []
    for block in blocks:
        tick(f"block {len(found) + 1} of {len(blocks)}")
        try:
            with watched(share=1.0 / (len(blocks) - len(found))):
                found.append(prove(block.problem, block.of(solution)))
        except (RankAmbiguityError, TimeUpError):
            return None
        if found[-1].proof in ("none", "infeasible") or found[-1].theta is None:
            return None
    if not found:
        return None
    tree = {"kind": "bounds", "primal": _primal(problem, blocks, found), "dual": _dual(blocks, found)}
    root = separates(problem) == ROOT
    exact = all(one.proof == "exact" and (root or one.lower == one.upper) for one in found)
    if exact and all(one.upper for one in found):  # a block that costs nothing may prove less beside others
        return _exact(problem, blocks, found, tree)
    if root:
        return None  # multipliers of roots add up where they are those of squares, which exact proofs have
    try:
        return _judged(problem, blocks, found, tree)
    except FaceError:
        return None


def refused(certificate: Certificate) -> bool:
    """Whether the checker has no patience for an exact point whose blocks have long denominators of their own.

    It brings them to a common one, which may be as long as all of them together.
    """
    parts = certificate.tree.get("primal", {}).get("parts", ())
    long = {part["den"] for part in parts if len(part["den"]) > LONG}
    return certificate.proof == "exact" and len(long) > 1 and not certificate.check().proved


def _exact(problem: UnlearningProblem, blocks: tuple[Block, ...], found: list[Certificate], tree: Tree) -> Certificate:
    square = None
    if separates(problem) == ROOT:
        square = sum((Fraction(one.square or 0) for one in found), Fraction(0))
        lower, upper = roots(square)
    else:
        lower = upper = sum((Fraction(one.upper or 0) for one in found), Fraction(0))
    zero, unique = Fraction(0), all(one.unique for one in found) or None
    claims: Tree = {"proof": "exact", "lower": rational_text(lower), "upper": rational_text(upper), "gap": "0"}
    claims |= {"unique": unique, "distance": "0" if unique else None}
    claims |= {} if square is None else {"square": rational_text(square)}
    numbers: dict[str, Any] = {"lower": lower, "upper": upper, "gap": zero, "square": square}
    numbers |= {"distance": zero if unique else None, "unique": unique}
    return _certificate(problem, blocks, found, {**tree, "claims": claims}, "exact", numbers)


def _judged(problem: UnlearningProblem, blocks: tuple[Block, ...], found: list[Certificate], tree: Tree) -> Certificate:
    """As the checker judges it: with the bound on distances that the blocks have, if it holds for the whole."""
    distances = [one.tree.get("distance") for one in found]
    head = {"schema": SCHEMA, "version": problem.version}
    if any(distances):
        longer = {**tree, "distance": _distance(problem, blocks, distances)}
        with suppress(FaceError):  # the bounds stand without it
            proof, claims, numbers = judged(problem, {**head, **longer})
            return _certificate(problem, blocks, found, {**longer, "claims": claims}, proof, numbers)
    proof, claims, numbers = judged(problem, {**head, **tree})
    return _certificate(problem, blocks, found, {**tree, "claims": claims}, proof, numbers)


def _certificate(
    problem: UnlearningProblem,
    blocks: tuple[Block, ...],
    found: list[Certificate],
    tree: Tree,
    proof: str,
    numbers: dict[str, Any],
) -> Certificate:
    reports = [one.rows for one in found if one.rows is not None]
    rows = RowReport(
        sum(one.rational_rank for one in reports),
        sum(one.numerical_rank for one in reports),
        max(one.tolerance for one in reports),
    )
    points = [one.theta for one in found if one.theta is not None]
    return Certificate(
        problem=problem,
        proof=proof,
        theta=together(problem.n_parameters, [block.columns for block in blocks], points),
        rows=rows,
        message="; ".join(dict.fromkeys(one.message for one in found if one.message)),
        tree={"schema": SCHEMA, "version": problem.version, **tree},
        **numbers,
    )


# ---------------------------------------------------------------- what a certificate says, in the places of the whole


def _primal(problem: UnlearningProblem, blocks: tuple[Block, ...], found: list[Certificate]) -> Tree:
    """One base for all: the rule of the multipliers where some block uses it, else what most blocks use.

    Blocks of another base list what theirs leaves unsaid.
    """
    bases = [one.tree["primal"]["base"] for one in found]
    base = "dual" if "dual" in bases else max(dict.fromkeys(bases), key=bases.count)
    parts: list[Tree] = []
    for block, one in zip(blocks, found, strict=True):
        primal, free = one.tree["primal"], block.problem.free.nonzero()[0].tolist()
        own = [{**part, "indices": part.get("indices", free)} for part in primal["parts"]]
        if primal["base"] != base:
            listed = {index for part in own for index in part["indices"]}
            start = block.problem.theta_star if primal["base"] == "theta_star" else 0 * block.problem.theta_star
            own += vector({j: Fraction(start[j]) for j in free if j not in listed})
        parts += _moved(own, block.columns.tolist())
    return {"base": base, "parts": parts}


def _dual(blocks: tuple[Block, ...], found: list[Certificate]) -> Tree:
    tree: Tree = {"nu": []}
    for block, one in zip(blocks, found, strict=True):
        dual = one.tree.get("dual", {})
        tree["nu"] += _moved(dual.get("nu", []), block.rows.tolist())
        if "g" in dual:
            tree["g"] = tree.get("g", []) + _moved(dual["g"], block.columns.tolist())
    return tree


def _distance(problem: UnlearningProblem, blocks: tuple[Block, ...], distances: list[Any]) -> Tree:
    """Active groups in the names of the whole, and the left inverses side by side."""
    names: Any = problem.form.parts[0].term
    labels, k = names.labels(problem.n_parameters), problem.n_constraints
    active: list[int] = []
    parts: list[Tree] = []
    for block, distance in zip(blocks, distances, strict=True):
        if distance is None:
            continue
        own = sorted(set(labels[block.columns].tolist()))
        rows, width, above = block.rows.tolist(), block.rows.size, len(active)
        active += [int(own[label]) for label in distance["active"]]
        size = width * len(distance["active"])
        places = [(above + at // width) * k + rows[at % width] for at in range(size)]
        parts += _moved(distance["L"], places)
    return {"active": active, "L": parts}


def _moved(parts: list[Any], places: list[int]) -> list[Tree]:
    """A VEC with its indices mapped; a part that lists all entries in order lists them."""
    return [{**part, "indices": [places[i] for i in part.get("indices", range(len(places)))]} for part in parts]
