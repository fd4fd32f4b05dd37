"""The numbers of *Whose truth?*: networks on a line, solved to the global optimum and certified."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction as F
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.codec import rational_text as rat

PLACES = (-3, -2, -1, 1, 2, 3)
LIE, MOVED = 3, (2, 4)
"""Which sample must go, and which two truths a reader drags."""

FIXED = {0: F(0), 1: F(1, 2), 5: F(0)}
GRID = 3
HEIGHTS = [F(k, GRID) for k in range(-GRID, GRID + 1)]
WIDTH, SEED = 12, 4

BITS = 36
"""Multipliers, and what is free in the point, are rounded to multiples of 2^-BITS."""

GAP = F(1, 10**9)


def retained_labels(first: F, second: F) -> list[F]:
    """The labels of the five samples that stay."""
    labels = {**FIXED, MOVED[0]: first, MOVED[1]: second}
    return [labels[i] for i in sorted(labels)]


def problem_of(labels: list[F]) -> xu.UnlearningProblem:
    """The exact problem of the five samples that stay, in fractions."""
    x = np.array([[F(x), F(1)] for i, x in enumerate(PLACES) if i != LIE])
    return xu.global_problem(xu.Perceptron(2, WIDTH), x, np.array(labels))


def beginning() -> list[float]:
    """c, a, b of each neuron before training: bends at equal distances, one to the left, one to the right."""
    rng, out = np.random.default_rng(SEED), []
    for neuron, bend in enumerate(np.linspace(-3.6, 3.6, WIDTH)):
        side = 1.0 if neuron % 2 else -1.0
        out += [rng.normal(scale=0.5), side, -side * bend]
    return [round(float(v), 3) for v in out]


def truth_numbers() -> dict[str, Any]:
    """What the page starts from, and the answer of every state."""
    problem = problem_of(retained_labels(HEIGHTS[0], HEIGHTS[0]))
    certificate = xu.certify(problem)
    return {
        "places": list(PLACES),
        "lie": LIE,
        "moved": list(MOVED),
        "fixed": {str(i): rat(y) for i, y in FIXED.items()},
        "width": WIDTH,
        "start": beginning(),
        "tree": certificate.tree["tree"],
        "grid": GRID,
        "bits": BITS,
        "states": [state for first in HEIGHTS for second in HEIGHTS for state in [state_of(first, second)]],
    }


def truth_states() -> list[dict[str, Any]]:
    """What the page is tested against: the package's own networks, solver and proofs, to six digits."""
    return [_measured(*state) for state in ((2, -2, 4), (0, 0, -3), (-3, 3, 6), (1, 0, 2))]


def _measured(first: int, second: int, lie: int) -> dict[str, Any]:
    labels = retained_labels(F(first, GRID), F(second, GRID))
    certificate = xu.certify(problem_of(labels))
    model, flat = xu.Perceptron(2, WIDTH), np.array(beginning()).reshape(WIDTH, 3)
    start = model.join({"c": flat[:, :1].T, "A": flat[:, 1:]})
    x, y = np.array([[float(x), 1.0] for x in PLACES]), np.array(list(map(float, labels)))
    star = _trained(model, start, x, np.insert(y, LIE, lie / GRID))
    stays = np.delete(x, LIE, axis=0)
    long = xu.solve(xu.surrogate_problem(model, star, stays, xu.SquaredL2())).theta
    anew = _trained(model, start, stays, y)
    sizes = {"star": star, "long": long, "anew": anew}
    return {
        "state": [first, second, lie],
        "optimum": _six(certificate.upper),
        "sizes": {name: _six(theta @ theta / 2) for name, theta in sizes.items()},
        "missed": _six(np.abs(model.predict(long, stays)[:, 0] - y).max()),
    }


def _trained(model: xu.Perceptron, theta: Any, x: Any, y: Any) -> Any:
    """Gradient descent, then Gauss-Newton steps by a pseudo-inverse."""
    for _ in range(400):
        theta = theta + 0.01 * model.jacobian(theta, x).rmatvec(y - model.predict(theta, x)[:, 0])
    for _ in range(60):
        missed = y - model.predict(theta, x)[:, 0]
        factor = 0.5 if np.abs(missed).max() > 0.1 else 1.0
        theta = theta + factor * np.linalg.pinv(model.jacobian(theta, x).matrix) @ missed
    return theta


def _six(value: Any) -> float:
    return float(f"{float(value):.6g}")


def state_of(first: F, second: F) -> list[Any]:
    """[multipliers times 2^BITS, [entry, number] ...]: what a certificate needs beyond the labels, and short."""
    problem = problem_of(retained_labels(first, second))
    certificate = xu.certify(problem)
    assert certificate.proof in ("exact", "enclosure"), certificate
    nu = [rat(2**BITS * _rounded(value)) for value in multipliers(problem, certificate)]
    return [nu, [[int(j), rat(v)] for j, v in short_point(problem, certificate.point)]]


def multipliers(problem: xu.UnlearningProblem, certificate: xu.Certificate) -> list[F]:
    """Those of the equations."""
    found = [F(0)] * len(problem.rhs)
    for part in certificate.tree["dual"]["nu"]:
        indices = part.get("indices", range(len(part["nums"])))
        for i, number in zip(indices, part["nums"], strict=True):
            found[i] = F(int(number, 16), int(part["den"], 16))
    return found[: len(problem.equations)]


def short_point(problem: xu.UnlearningProblem, point: Any) -> Iterator[tuple[int, F]]:
    """A point with short numbers that fits exactly: neurons whose bend is at a sample keep it there, all else is
    rounded, and as many entries as there are equations are computed from the others.
    """
    jacobian: Any = problem.jacobian
    matrix, rhs = jacobian.matrix[problem.equations], problem.rhs[problem.equations]
    tops = [F(x) for i, x in enumerate(PLACES) if i != LIE]
    columns: list[dict[int, F]] = []  # entries of the point that move together, and how much
    sizes: list[F] = []
    shared: dict[Any, int] = {}  # neurons on the wall between two cells: the first cell takes all of it
    for block in range(point.size // 2):
        a, b = point[2 * block : 2 * block + 2]
        wall = next((x for x in tops if abs(a * x + b) < F(1, 10**20) * (abs(a) + abs(b))), None)
        if not (a or b):
            continue
        if wall is None:
            columns += [{2 * block: F(1)}, {2 * block + 1: F(1)}]
            sizes += [a, b]
        elif (block % 2, wall, a > 0) in shared:
            sizes[shared[block % 2, wall, a > 0]] += a
        else:
            shared[block % 2, wall, a > 0] = len(columns)
            columns.append({2 * block: F(1), 2 * block + 1: -wall})
            sizes.append(a)
    table = np.array([[sum(row[j] * v for j, v in column.items()) for column in columns] for row in matrix])
    pivots = _pivots(table.astype(float))
    values = [_rounded(size) for size in sizes]
    others = [n for n in range(len(columns)) if n not in pivots]
    missing = rhs - sum((table[:, n] * values[n] for n in others), start=0 * rhs)
    solved = rational.min_norm(table[:, pivots], missing)
    assert solved is not None, "the neurons do not fit exactly"
    for n, value in zip(pivots, solved[0], strict=True):
        values[n] = value
    for column, value in zip(columns, values, strict=True):
        yield from ((j, v * value) for j, v in column.items())


def _pivots(table: Any) -> list[int]:
    """Columns that span all others, the largest remaining one at a time."""
    rest, chosen = table.copy(), []
    for _ in range(len(table)):
        lengths = np.linalg.norm(rest, axis=0)
        if lengths.max() < 1e-9:
            break
        chosen.append(int(np.argmax(lengths)))
        unit = rest[:, chosen[-1]] / lengths[chosen[-1]]
        rest = rest - np.outer(unit, unit @ rest)
    return sorted(chosen)


def _rounded(value: F) -> F:
    return F(round(value * 2**BITS), 2**BITS)
