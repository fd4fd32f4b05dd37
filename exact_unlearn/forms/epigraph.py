"""Epigraphs of terms: what a solver sees of them.  In floats, on SciPy's sparse arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from exact_unlearn.errors import needed_by
from exact_unlearn.forms.partition import Partition
from exact_unlearn.jacobian import Array

with needed_by("exact_unlearn.program"):
    import scipy.sparse as sp


class Block(NamedTuple):
    """Rows b - E x - F t in cones of one kind: "nonneg", "soc" or "psd".

    E: (r, m); F: (r, n_aux); b: (r,); sizes: rows of each cone, None for one cone of all r.
    """

    cone: str
    E: sp.csr_array
    F: sp.csr_array
    b: Array
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Epigraph:
    """cost.T t + 1/2 t.T diag(bend) t + 1/2 x.T diag(curvature) x + constant, with the rows of `blocks`.

    cost, bend: (n_aux,); curvature: (m,) or None; binary: whether t is; limit: how large |x_i| may be before a binary
    program cuts it off.
    """

    blocks: list[Block] = field(default_factory=list)
    cost: Array = field(default_factory=lambda: np.zeros(0))
    bend: Array | None = None
    curvature: Array | None = None
    constant: float = 0.0
    binary: bool = False
    limit: float = math.inf


def pick(columns: Array, values: Array, m: int) -> sp.csr_array:
    """The matrix with rows values[r] * e_{columns[r]}."""
    return sp.csr_array((values, (np.arange(columns.size), columns)), shape=(columns.size, m))


def absolute_values(m: int, where: Array, weights: Array) -> Epigraph:
    """sum weights_i |x_i| over i in `where`: t >= +-x."""
    E, F, zero = pick(where, np.ones(where.size), m), sp.csr_array(-sp.eye_array(where.size)), np.zeros(where.size)
    return Epigraph([Block("nonneg", E, F, zero), Block("nonneg", sp.csr_array(-E), F, zero)], weights[where])


def huber(weights: Array, delta: float) -> Epigraph:
    """sum w_i min over s of 1/2 s^2 + delta |x_i - s|: t >= +-(x - s); the auxiliary variables are (s, t)."""
    m, where = weights.size, np.flatnonzero(weights > 0)
    n = where.size
    E, w, zero = pick(where, np.ones(n), m), weights[where], np.zeros(n)
    eye = sp.eye_array(n)
    up, down = sp.hstack([-eye, -eye], format="csr"), sp.hstack([eye, -eye], format="csr")
    blocks = [Block("nonneg", E, sp.csr_array(up), zero), Block("nonneg", sp.csr_array(-E), sp.csr_array(down), zero)]
    return Epigraph(blocks, np.concatenate([zero, delta * w]), np.concatenate([w, zero]))


def ceiling(w: Array, x_star: Array, moves: Array) -> Epigraph:
    """max w_i |x_i|: unit t >= w_i |x_i|; of the entries that stay only the largest can matter.

    unit: 1, or the largest weight where that is far from 1: t then has the size of x, as solvers like it.
    """
    m = x_star.size
    peak = float(np.max(w, initial=0.0)) or 1.0
    unit = 1.0 if 2.0**-10 < peak < 2.0**10 else peak
    w, where = w / unit, np.flatnonzero(moves & (w > 0))
    frozen = np.where(moves, 0.0, w * np.abs(x_star))
    if frozen.any():
        where = np.append(where, int(np.argmax(frozen)))
    E, F = pick(where, w[where], m), sp.csr_array(-np.ones((where.size, 1)))
    zero = np.zeros(where.size)
    floor = Block(
        "nonneg", sp.csr_array((1, m)), sp.csr_array([[-1.0]]), np.zeros(1)
    )  # t >= 0 when nothing else bounds it
    return Epigraph([Block("nonneg", E, F, zero), Block("nonneg", sp.csr_array(-E), F, zero), floor], np.full(1, unit))


def _entries(where: Array, scale: Array, x_star: Array, moves: Array) -> tuple[Array, Array, Array, int]:
    """(row, column, value) of the entries, and the number, of rows whose norm at x is |scale * x| over `where`: one per
    entry that moves, one for all others together.
    """
    moving, still = where[moves[where]], where[~moves[where]]
    own = np.arange(moving.size), moving, scale[moving]
    constant = scale[still] * x_star[still]
    peak = np.max(np.abs(constant), initial=0.0)
    if not peak:
        return *own, moving.size
    unit = (constant / peak) / np.linalg.norm(constant / peak)
    shared = np.full(still.size, moving.size), still, unit * scale[still]
    row, column, value = map(np.concatenate, zip(own, shared, strict=True))
    return row, column, value, moving.size + 1


def _cones(wholes: list[Array], scale: Array, x_star: Array, moves: Array) -> Block:
    """(t_g, rows of the group) in a second-order cone, group after group."""
    m, entries, sizes, at = x_star.size, [], [], 0
    for where in wholes:
        row, column, value, n_rows = _entries(where, scale, x_star, moves)
        entries.append((row + at + 1, column, -value))
        sizes.append(n_rows + 1)
        at += n_rows + 1
    row, column, value = map(np.concatenate, zip(*entries, strict=True)) if entries else (np.zeros(0, dtype=int),) * 3
    heads = np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, dtype=int)
    E = sp.csr_array((value, (row, column)), shape=(at, m))
    F = sp.csr_array((-np.ones(heads.size), (heads, np.arange(heads.size))), shape=(at, heads.size))
    return Block("soc", E, F, np.zeros(at), tuple(sizes))


def one_norm(w: Array, x_star: Array, moves: Array) -> Epigraph:
    """(sum w_i x_i^2)^(1/2)."""
    return Epigraph([_cones([np.flatnonzero(w > 0)], np.sqrt(w), x_star, moves)], np.ones(1))


def several_norms(groups: Partition, weights: Array, x_star: Array, moves: Array) -> Epigraph:
    """sum w_g |x_g|."""
    members = np.split(groups.order, groups.starts[1:])
    counted = np.flatnonzero(weights > 0)
    return Epigraph([_cones([members[g] for g in counted], np.ones(x_star.size), x_star, moves)], weights[counted])


def nuclear(indices: Array, shape: tuple[int, int], m: int) -> Epigraph:
    """min 1/2 (tr W_1 + tr W_2) subject to [[W_1, X], [X.T, W_2]] positive semidefinite."""
    p, q = shape
    n = p + q
    row, column = triangle(n)
    places = indices.reshape(p, q)
    scale = np.where(row == column, 1.0, math.sqrt(2.0))
    cross = (row < p) & (column >= p)
    at = np.arange(row.size)
    E = sp.csr_array((-scale[cross], (at[cross], places[row[cross], column[cross] - p])), shape=(row.size, m))
    inner = np.flatnonzero(~cross)
    F = sp.csr_array((-scale[inner], (inner, np.arange(inner.size))), shape=(row.size, inner.size))
    cost = np.where(row == column, 0.5, 0.0)[inner]
    return Epigraph([Block("psd", E, F, np.zeros(row.size))], cost)


def triangle(n: int) -> tuple[Array, Array]:
    """Row and column of each entry of the upper triangle, column by column."""
    column = np.repeat(np.arange(n), np.arange(1, n + 1))
    row = np.concatenate([np.arange(j + 1) for j in range(n)]) if n else np.zeros(0, dtype=int)
    return row, column


def counting(labels: Array, x_star: Array, moves: Array) -> Epigraph:
    """Number of groups in use: |x_i| <= M b_g with binary b_g; labels: -1 for entries that cost nothing.

    M is ten times the largest entry of x_star; `exact_up_to` reports it, and nobody may trust the optimum of
    such a program without a proof (docs/certificates.md): solve() refits, and certify() proves without M.
    """
    m = x_star.size
    where = np.flatnonzero(moves & (labels >= 0))
    groups, column = np.unique(labels[where], return_inverse=True)
    frozen = {int(g) for g in labels[~moves & (x_star != 0) & (labels >= 0)]}
    paid = np.array([int(g) in frozen for g in groups], dtype=bool)
    M = 10.0 * float(np.max(np.abs(x_star), initial=0.0)) or 1.0
    E = pick(where, np.ones(where.size), m)
    F = sp.csr_array((np.full(where.size, -M), (np.arange(where.size), column)), shape=(where.size, groups.size))
    zero = np.zeros(where.size)
    unit = sp.csr_array(sp.eye_array(groups.size))
    nothing = sp.csr_array((groups.size, m))
    box = [
        Block("nonneg", nothing, unit, np.ones(groups.size)),
        Block("nonneg", nothing, sp.csr_array(-unit), np.where(paid, -1.0, 0.0)),
    ]
    constant = float(len(frozen - {int(g) for g in groups}))
    blocks = [Block("nonneg", E, F, zero), Block("nonneg", sp.csr_array(-E), F, zero), *box]
    return Epigraph(blocks, np.ones(groups.size), constant=constant, binary=True, limit=M)


def in_box(radius: float, moves: Array) -> Epigraph:
    """|x_i| <= radius."""
    where = np.flatnonzero(moves)
    E, none = pick(where, np.ones(where.size), moves.size), sp.csr_array((where.size, 0))
    edge = np.full(where.size, radius)
    return Epigraph([Block("nonneg", E, none, edge), Block("nonneg", sp.csr_array(-E), none, edge)])


def in_ball(radius: float, moves: Array) -> Epigraph:
    """|x|_2 <= radius."""
    where = np.flatnonzero(moves)
    rows = sp.vstack([sp.csr_array((1, moves.size)), -pick(where, np.ones(where.size), moves.size)], format="csr")
    b = np.concatenate([[radius], np.zeros(where.size)])
    return Epigraph([Block("soc", sp.csr_array(rows), sp.csr_array((where.size + 1, 0)), b)])
