"""Numbers and vectors as certificates write them (docs/certificate_format.md, section 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from exact_unlearn.certify.exactlin import Rationals, common_denominator
from exact_unlearn.codec import parse_rational, rational_text
from exact_unlearn.jacobian import Array

Tree = dict[str, Any]


def vector(entries: Mapping[int, Fraction] | Iterable[tuple[int, Fraction]]) -> list[Tree]:
    """A VEC: the entries grouped by the size of their denominator, so that short numbers stay short."""
    pairs = sorted(entries.items() if isinstance(entries, Mapping) else entries)
    short = [(i, v) for i, v in pairs if v.denominator.bit_length() <= SHORT]
    long = [(i, v) for i, v in pairs if v.denominator.bit_length() > SHORT]
    return [part([i for i, _ in group], [v for _, v in group]) for group in (short, long) if group]


def entries(parts: Iterable[Mapping[str, Any]], everything: Iterable[int]) -> dict[int, Fraction]:
    """What a VEC lists, of a certificate that was checked; everything: the indices of a part that names none.

    A listed 0 is not the same as no entry.
    """
    found: dict[int, Fraction] = {}
    for group in parts:
        den = parse_rational(group["den"])
        for index, text in zip(group.get("indices", everything), group["nums"], strict=True):
            found[int(index)] = parse_rational(text) / den
    return found


def part(indices: list[int], values: list[Fraction]) -> Tree:
    """One part over a common denominator."""
    nums, den = common_denominator(values)
    return {"indices": indices, "nums": [format(n, "x") for n in nums], "den": format(den, "x")}


def whole_part(indices: list[int], nums: list[int], den: int) -> Tree:
    """One part whose denominator is known."""
    return {"indices": indices, "nums": [format(n, "x") for n in nums], "den": format(den, "x")}


def primal_tree(theta: Rationals, theta_star: Array, free: Array) -> Tree:
    """A feasible point: the entries that are not 0, or not theta*, whichever are fewer."""
    columns = [int(j) for j in free]
    values = {j: theta[j] for j in columns}
    moved = {j: v for j, v in values.items() if v != theta_star[j]}
    present = {j: v for j, v in values.items() if v}
    if len(moved) < len(present):
        return {"base": "theta_star", "parts": vector(moved)}
    return {"base": "zero", "parts": vector(present)}


SHORT = 2200
"""Bits: denominators of floats are shorter (2^1074)."""

__all__ = ["Tree", "entries", "part", "primal_tree", "rational_text", "vector", "whole_part"]
