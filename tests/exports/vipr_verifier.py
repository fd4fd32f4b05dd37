"""A second reader of VIPR 1.0 files, written from the format's description alone: standard library, no line of ours.

Only what a linear program needs is known: no integers, derivations by `lin`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction

Vector = dict[int, Fraction]
Constraint = tuple[str, Fraction, Vector]


class Refused(AssertionError):
    """Why the file proves nothing."""


def verify(text: str) -> tuple[str, Fraction | None, Fraction | None]:
    """("range", lower, upper) or ("infeasible", None, None); Refused, if that is not proved."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return _verified(text)
    finally:
        sys.set_int_max_str_digits(limit)


def _verified(text: str) -> tuple[str, Fraction | None, Fraction | None]:
    tokens = iter(text.split())
    expect(tokens, "VER", "1.0", "VAR")
    names = [next(tokens) for _ in range(int(next(tokens)))]
    require(len(set(names)) == len(names), "two variables of one name")
    expect(tokens, "INT", "0", "OBJ", "min")
    objective = vector(tokens, len(names))
    expect(tokens, "CON")
    count = int(next(tokens))
    next(tokens)  # how many of them are bounds: of no consequence
    rows = [constraint(tokens, len(names), objective) for _ in range(count)]
    expect(tokens, "RTP")
    goal = next(tokens)
    low, high = (Fraction(next(tokens)), Fraction(next(tokens))) if goal == "range" else (None, None)
    require(goal in ("range", "infeas"), "unknown relation to prove")
    expect(tokens, "SOL")
    points = [(next(tokens), vector(tokens, len(names))) for _ in range(int(next(tokens)))]
    for _, point in points:
        for sense, rhs, row in rows:
            require(holds(sense, dot(row, point), rhs), "a point violates a constraint")
    expect(tokens, "DER")
    for _ in range(int(next(tokens))):
        claim = constraint(tokens, len(names), objective)
        derive(tokens, rows, claim)
        rows.append(claim)
    require(next(tokens, None) is None, "something follows the last derivation")
    sense, rhs, row = rows[-1]
    if goal == "infeas":
        require(not row and not holds(sense, Fraction(0), rhs), "the last derivation is no contradiction")
        return "infeasible", None, None
    assert low is not None
    assert high is not None
    require(sense in "GE" and row == objective and rhs >= low, "the last derivation does not reach the bound")
    require(any(dot(objective, point) <= high for _, point in points), "no point reaches the bound")
    return "range", low, high


def constraint(tokens: Iterator[str], n: int, objective: Vector) -> Constraint:
    next(tokens)  # its name
    sense, rhs = next(tokens), Fraction(next(tokens))
    require(sense in ("E", "L", "G"), "unknown sense")
    return sense, rhs, vector(tokens, n, objective)


def vector(tokens: Iterator[str], n: int, objective: Vector | None = None) -> Vector:
    first = next(tokens)
    if first == "OBJ" and objective is not None:
        return objective
    entries = [(int(next(tokens)), Fraction(next(tokens))) for _ in range(int(first))]
    require(len({index for index, _ in entries}) == len(entries), "an index twice")
    require(all(0 <= index < n for index, _ in entries), "an index out of range")
    return {index: value for index, value in entries if value}


def derive(tokens: Iterator[str], rows: list[Constraint], claim: Constraint) -> None:
    """`lin`: a combination whose multipliers all keep the sense of the claim; it must dominate the claim."""
    expect(tokens, "{", "lin")
    used = vector(tokens, len(rows))
    expect(tokens, "}")
    next(tokens)  # until when it is needed
    sense, rhs, row = claim
    require(sense == "G", "only >= is derived here")
    total, bound = dict[int, Fraction](), Fraction(0)
    for index, factor in used.items():
        kind, own, coefficients = rows[index]
        require(kind == "E" or (factor > 0) == (kind == "G"), "a multiplier of the wrong sign")
        bound += factor * own
        for j, value in coefficients.items():
            total[j] = total.get(j, Fraction(0)) + factor * value
    total = {j: value for j, value in total.items() if value}
    require(total == row and bound >= rhs, "the combination is not the claim")


def holds(sense: str, left: Fraction, right: Fraction) -> bool:
    return left == right if sense == "E" else (left >= right if sense == "G" else left <= right)


def dot(a: Vector, b: Vector) -> Fraction:
    return sum((value * b[index] for index, value in a.items() if index in b), start=Fraction(0))


def expect(tokens: Iterator[str], *words: str) -> None:
    for word in words:
        require(next(tokens, None) == word, f"expected {word}")


def require(truth: bool, sentence: str) -> None:
    if not truth:
        raise Refused(sentence)
