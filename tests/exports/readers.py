"""Readers of QPLIB and CBF files for the tests, written from the formats' descriptions; both end in a CVXPY problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cvxpy as cp
import numpy as np


def read_qplib(text: str) -> tuple[Any, Any]:
    """(problem, x) of the subset LCL, DCL, LML, LBL and their unconstrained forms."""
    lines = iter([line.split("#")[0].split() for line in text.splitlines()])
    next(lines)
    kind = next(lines)[0]
    assert next(lines) == ["minimize"]
    n = int(next(lines)[0])
    m = int(next(lines)[0]) if kind[2] != "N" else 0
    P = np.zeros((n, n))
    if kind[0] != "L":
        for i, j, value in _entries(lines, 2):
            P[i, j] = P[j, i] = value
    q = _vector(lines, n)
    constant = float(next(lines)[0])
    A = np.zeros((m, n))
    if m:
        for i, j, value in _entries(lines, 2):
            A[i, j] = value
    infinity = float(next(lines)[0])
    lower, upper = (_vector(lines, m), _vector(lines, m)) if m else (np.zeros(0), np.zeros(0))
    low, high = (_vector(lines, n), _vector(lines, n)) if kind[1] != "B" else (np.zeros(n), np.ones(n))
    types = _vector(lines, n) if kind[1] == "M" else np.full(n, 2.0 if kind[1] == "B" else 0.0)
    for size in (n, m, n) if m else (n, n):
        _vector(lines, size)
    assert [next(lines)[0] for _ in range(2 if m else 1)] == ["0"] * (2 if m else 1)
    assert next(lines, None) is None
    x = cp.Variable(n)
    rows = A @ x if m else None
    whole = np.flatnonzero(types)
    constraints = [x[whole] == cp.Variable(whole.size, boolean=True)] if whole.size else []
    constraints += [rows[i] >= lower[i] for i in range(m) if lower[i] > -infinity]
    constraints += [rows[i] <= upper[i] for i in range(m) if upper[i] < infinity]
    constraints += [x[j] >= low[j] for j in range(n) if low[j] > -infinity]
    constraints += [x[j] <= high[j] for j in range(n) if high[j] < infinity]
    curvature = 0.5 * cp.quad_form(x, cp.psd_wrap(P)) if P.any() else 0.0
    return cp.Problem(cp.Minimize(q @ x + constant + curvature), constraints), x


def _entries(lines: Iterator[list[str]], indices: int) -> Iterator[tuple[Any, ...]]:
    for _ in range(int(next(lines)[0])):
        *where, value = next(lines)
        assert len(where) == indices
        yield (*(int(i) - 1 for i in where), float(value))


def _vector(lines: Iterator[list[str]], n: int) -> Any:
    values = np.full(n, float(next(lines)[0]))
    for j, value in _entries(lines, 1):
        values[j] = value
    return values


def read_cbf(text: str) -> tuple[Any, Any]:
    """(problem, x) of version 3 with scalar variables and the cones F, L=, L+, Q, QR and PSDCON."""
    lines = iter([line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")])
    parts: dict[str, Any] = {}
    for (keyword,) in lines:
        if keyword in ("VER", "OBJSENSE", "OBJBCOORD"):
            parts[keyword] = next(lines)[0]
        elif keyword in ("VAR", "CON"):
            size, count = map(int, next(lines))
            parts[keyword] = size, [(name, int(width)) for name, width in (next(lines) for _ in range(count))]
        else:
            parts[keyword] = [next(lines) for _ in range(int(next(lines)[0]))]
    assert (parts["VER"], parts["OBJSENSE"]) == ("3", "MIN")
    n, domain = parts["VAR"]
    assert domain == [("F", n)]
    x = cp.Variable(n)
    whole = [int(j) for (j,) in parts.get("INT", [])]
    m, cones = parts.get("CON", (0, []))
    A, b, c = np.zeros((m, n)), np.zeros(m), np.zeros(n)
    for i, j, value in parts.get("ACOORD", []):
        A[int(i), int(j)] = float(value)
    for i, value in parts.get("BCOORD", []):
        b[int(i)] = float(value)
    for j, value in parts.get("OBJACOORD", []):
        c[int(j)] = float(value)
    constraints: list[Any] = [x[whole] == cp.Variable(len(whole), integer=True)] if whole else []
    at = 0
    for name, width in cones:
        g = A[at : at + width] @ x + b[at : at + width]
        at += width
        if name == "QR":  # 2 g_0 g_1 >= |g_2 ...|^2
            constraints.append(cp.SOC(g[0] + g[1], cp.hstack([g[0] - g[1], np.sqrt(2) * g[2:]])))
        else:
            made = {"L=": lambda g: g == 0, "L+": lambda g: g >= 0, "Q": lambda g: cp.SOC(g[0], g[1:])}
            constraints.append(made[name](g))
    assert at == m
    orders = [int(order) for (order,) in parts.get("PSDCON", [])]
    H = [np.zeros((order * order, n)) for order in orders]
    D = [np.zeros((order, order)) for order in orders]
    for block, j, row, column, value in parts.get("HCOORD", []):
        k, r, s = int(block), int(row), int(column)
        assert r >= s
        H[k][r * orders[k] + s, int(j)] = H[k][s * orders[k] + r, int(j)] = float(value)
    for block, row, column, value in parts.get("DCOORD", []):
        D[int(block)][int(row), int(column)] = D[int(block)][int(column), int(row)] = float(value)
    for order, matrix, constant in zip(orders, H, D, strict=True):
        constraints.append(cp.reshape(matrix @ x, (order, order), order="C") + constant >> 0)
    return cp.Problem(cp.Minimize(c @ x + float(parts["OBJBCOORD"])), constraints), x
