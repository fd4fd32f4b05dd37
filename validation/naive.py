"""The other side: textbook algorithms that share no code with `exact_unlearn`.

A verification is worth something only if its two sides are independent.  The package solves by elimination, singular
values and interior points; here projections come from Gram-Schmidt over the rationals, derivatives from arithmetic on
truncated power series, function values from the definition, optimal counts from trying every support.  Slow, and
meant to be read.

Arrays are NumPy object arrays of Fractions unless said otherwise.
"""

from __future__ import annotations

import cmath
import copy
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import erf

Array = np.ndarray[Any, Any]
Vector = list[Fraction]

# ---------------------------------------------------------------- linear algebra


def dot(a: Iterable[Any], b: Iterable[Any]) -> Any:
    """Sum of products; 0 for empty vectors."""
    return sum((x * y for x, y in zip(a, b, strict=True)), start=Fraction(0))


def gram_schmidt(rows: Iterable[Iterable[Any]], rhs: Iterable[Any] | None = None) -> tuple[list[Vector], Vector, bool]:
    """Orthogonal vectors q with the span of `rows`, the values t that q.theta must take if rows.theta = rhs, and
    whether these equations have a solution.
    """
    rows = [[Fraction(v) for v in row] for row in rows]
    values = [Fraction(0)] * len(rows) if rhs is None else [Fraction(v) for v in rhs]
    basis: list[Vector] = []
    targets: Vector = []
    consistent = True
    for row, value in zip(rows, values, strict=True):
        q, t = list(row), value
        for b, s in zip(basis, targets, strict=True):
            factor = dot(q, b) / dot(b, b)
            q, t = [x - factor * y for x, y in zip(q, b, strict=True)], t - factor * s
        if any(q):
            basis.append(q)
            targets.append(t)
        elif t != 0:
            consistent = False
    return basis, targets, consistent


def rank(rows: Iterable[Iterable[Any]]) -> int:
    """Rank over the rationals; floats are taken literally."""
    return len(gram_schmidt(rows)[0])


def project(rows: Iterable[Iterable[Any]], vector: Iterable[Any]) -> Array:
    """The Euclidean projection of `vector` onto the span of `rows`."""
    vector = [Fraction(v) for v in vector]
    out = [Fraction(0)] * len(vector)
    for q in gram_schmidt(rows)[0]:
        factor = dot(q, vector) / dot(q, q)
        out = [x + factor * y for x, y in zip(out, q, strict=True)]
    return np.array(out, dtype=object)


def min_norm(rows: Iterable[Iterable[Any]], rhs: Iterable[Any], size: int) -> Array:
    """The point of least Euclidean norm with rows.theta = rhs, by orthogonalising the equations; ValueError if there
    is none.
    """
    basis, targets, consistent = gram_schmidt(rows, rhs)
    if not consistent:
        raise ValueError("the equations have no solution")
    out = [Fraction(0)] * size
    for q, t in zip(basis, targets, strict=True):
        out = [x + t / dot(q, q) * y for x, y in zip(out, q, strict=True)]
    return np.array(out, dtype=object)


def min_norm_matrix(X: Array, Y: Array) -> Array:
    """W of shape (m, l) of least Frobenius norm with X W = Y, column by column."""
    return np.array([min_norm(X, Y[:, o], X.shape[1]) for o in range(Y.shape[1])], dtype=object).T


def square_norm(values: Any) -> Fraction:
    """The exact sum of squares of all entries."""
    entries = [Fraction(v) for v in np.asarray(values, dtype=object).reshape(-1).tolist()]
    return Fraction(dot(entries, entries))


def smallest_support(columns: Array, target: Iterable[Any], costly: Sequence[bool] | None = None) -> int:
    """The least number of costly columns whose span, with all columns that cost nothing, contains `target`.

    Tries every support, from the smallest, in exact arithmetic.  columns: (n, h).
    """
    h = columns.shape[1]
    paid = [j for j in range(h) if costly is None or costly[j]]
    given = [columns[:, j].tolist() for j in range(h) if j not in paid]
    target = list(target)
    for size in range(len(paid) + 1):
        for chosen in combinations(paid, size):
            span = given + [columns[:, j].tolist() for j in chosen]
            if rank([*span, target]) == rank(span):
                return size
    raise ValueError("target is not in the span of the columns")


def shortest_vertices(rows: Array, rhs: Iterable[Any]) -> tuple[Fraction, set[tuple[Fraction, ...]]]:
    """The least l1 norm of a point with rows.theta = rhs, and all vertices that attain it: their convex hull is the
    optimal set.

    Tries every set of columns.  rows: (n, d).
    """
    d, r = rows.shape[1], rank(rows)
    best: tuple[Fraction, set[tuple[Fraction, ...]]] | None = None
    for chosen in combinations(range(d), r):
        columns = rows[:, list(chosen)]
        if rank(columns.T.tolist()) < r:
            continue
        part = min_norm(columns, rhs, r)  # the columns are independent, so this is the only solution
        point = [Fraction(0)] * d
        for j, value in zip(chosen, part, strict=True):
            point[j] = value
        length = sum((abs(v) for v in point), start=Fraction(0))
        if best is None or length < best[0]:
            best = (length, set())
        if length == best[0]:
            best[1].add(tuple(point))
    assert best is not None, "a matrix has a basis of columns"
    return best


def least_largest(rows: Array, rhs: Iterable[Any]) -> Fraction:
    """The least |theta|_inf with rows.theta = rhs: max of rhs.nu / |rows^T nu|_1, over the nu that are orthogonal to
    n - 1 independent columns (the vertices of the dual).  rows: (n, d) of rank n.
    """
    n, d = rows.shape
    best = Fraction(0)
    for chosen in combinations(range(d), n - 1):
        columns = rows[:, list(chosen)].T.tolist()
        if rank(columns) < n - 1:
            continue
        for unit in np.eye(n, dtype=int).tolist():
            nu = [Fraction(a) - b for a, b in zip(unit, project(columns, unit).tolist(), strict=True)]
            if any(nu):
                length = sum((abs(dot(column, nu)) for column in rows.T.tolist()), start=Fraction(0))
                best = max(best, abs(dot(rhs, nu)) / length)
                break
    return best


def widest_margin(rows: Array) -> tuple[Array, Vector] | None:
    """The shortest theta with rows.theta >= 1, and multipliers nu >= 0 with theta = rows^T nu that are 0 wherever there
    is a gap, positive on independent rows; None if no theta fits.

    Tries every set of tight rows: one that gives both is optimal, and where something fits one of them does.
    """
    n, d = rows.shape
    for size in range(min(n, d) + 1):
        for tight in combinations(range(n), size):
            chosen = rows[list(tight)].tolist()
            if rank(chosen) < size:
                continue
            theta = min_norm(chosen, [Fraction(1)] * size, d)
            if any(dot(row, theta) < 1 for row in rows):
                continue
            columns = [[row[j] for row in chosen] for j in range(d)]
            part = min_norm(columns, theta, size)
            if all(value > 0 for value in part):
                nu = [Fraction(0)] * n
                for i, value in zip(tight, part, strict=True):
                    nu[i] = value
                return theta, nu
    return None


def vertices(rows: Array, rhs: Iterable[Any]) -> list[Vector]:
    """All vertices of {theta >= 0, rows.theta >= rhs}, by making as many of these inequalities tight as there are
    unknowns.
    """
    d = rows.shape[1]
    every = [*rows.tolist(), *[[Fraction(int(i == j)) for j in range(d)] for i in range(d)]]
    bounds = [*rhs, *[Fraction(0)] * d]
    found: list[Vector] = []
    for chosen in combinations(range(len(every)), d):
        tight = [every[i] for i in chosen]
        if rank(tight) == d:
            point = min_norm(tight, [bounds[i] for i in chosen], d)
            if all(dot(row, point) >= b for row, b in zip(every, bounds, strict=True)):
                found.append(point.tolist())
    return found


def in_cone(edges: Sequence[Sequence[Any]], target: Sequence[Any]) -> bool:
    """Whether `target` is a combination of `edges` with weights >= 0.

    Phase 1 of the simplex method: what is missing, one unit vector per entry, is driven out, always by the first edge
    that reduces the sum of it and against the first row that stops it (Bland), so that it ends.
    """
    signs = [1 if value >= 0 else -1 for value in target]
    columns = [[sign * Fraction(v) for sign, v in zip(signs, edge, strict=True)] for edge in edges]
    table = [[column[i] for column in columns] + [abs(Fraction(value))] for i, value in enumerate(target)]
    basis = [len(columns) + i for i in range(len(table))]  # names of what is missing
    missing = [sum((row[j] for row in table), start=Fraction(0)) for j in range(len(columns) + 1)]
    while missing[-1] > 0:
        enters = next((j for j, gain in enumerate(missing[:-1]) if gain > 0), None)
        if enters is None:
            return False
        limits = [(row[-1] / row[enters], basis[i], i) for i, row in enumerate(table) if row[enters] > 0]
        _, _, leaves = min(limits)
        pivot = [value / table[leaves][enters] for value in table[leaves]]
        table = [
            pivot if i == leaves else [a - row[enters] * b for a, b in zip(row, pivot, strict=True)]
            for i, row in enumerate(table)
        ]
        missing = [a - missing[enters] * b for a, b in zip(missing, pivot, strict=True)]
        basis[leaves] = enters
    return True


# ---------------------------------------------------------------- power series


class Series:
    """a_0 + a_1 t + ... + a_k t^k, all arithmetic truncated after order k: derivatives along a line, by definition.

    Coefficients may be Fractions or floats.
    """

    __slots__ = ("a",)

    def __init__(self, coefficients: Sequence[Any]) -> None:
        self.a = tuple(coefficients)

    def __add__(self, other: Any) -> Series:
        b = self._lift(other)
        return Series([x + y for x, y in zip(self.a, b, strict=True)])

    __radd__ = __add__

    def __mul__(self, other: Any) -> Series:
        if not isinstance(other, Series):
            return Series([x * other for x in self.a])
        order = len(self.a)
        return Series(
            [sum((self.a[i] * other.a[k - i] for i in range(k + 1)), start=0 * self.a[0]) for k in range(order)]
        )

    __rmul__ = __mul__

    def __neg__(self) -> Series:
        return Series([-x for x in self.a])

    def __sub__(self, other: Any) -> Series:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Series:
        return self.__neg__().__add__(other)

    def __truediv__(self, number: Any) -> Series:
        return Series([x / number for x in self.a])

    def _lift(self, other: Any) -> tuple[Any, ...]:
        return other.a if isinstance(other, Series) else (other, *(0 * x for x in self.a[1:]))


def along(start: Array, direction: Array, order: int) -> Array:
    """The object array of the series start + t direction."""
    pairs = zip(start.tolist(), direction.tolist(), strict=True)
    tail = [start[0] * 0] * (order - 1)
    return np.array([Series([a, b, *tail]) for a, b in pairs] + [None], dtype=object)[:-1]


def taylor(function: Callable[[Array], Any], start: Array, direction: Array, order: int) -> list[Array]:
    """Coefficients of function(start + t direction) in t, order by order."""
    out = np.asarray(function(along(start, direction, order)), dtype=object)
    flat = [entry.a if isinstance(entry, Series) else (entry,) + (0,) * order for entry in out.reshape(-1).tolist()]
    return [np.array([a[k] for a in flat] + [None], dtype=object)[:-1].reshape(out.shape) for k in range(order + 1)]


def gradient(function: Callable[[Array], Any], start: Array) -> Array:
    """Partial derivatives of a function of a flat vector: shape of the value + (d,)."""
    unit = np.zeros(start.size, dtype=object)
    columns = []
    for j in range(start.size):
        unit[j] = 1
        columns.append(taylor(function, start, unit * (start * 0 + 1), 1)[1])
        unit[j] = 0
    return np.stack(columns, axis=-1)


# ---------------------------------------------------------------- models, from their definitions


def linear_network(widths: Sequence[int], theta: Array, x: Array) -> Array:
    """f = c A_{L-1} ... A_1 x with theta = [c; A_1; ...; A_{L-1}], row-major: (n, l)."""
    m, *hidden, l = widths
    shapes = [(l, widths[-2]), *zip(hidden, [m, *hidden][:-1], strict=True)]
    at, matrices = 0, []
    for rows, columns in shapes:
        matrices.append(theta[at : at + rows * columns].reshape(rows, columns))
        at += rows * columns
    signal = x.T
    for matrix in [*matrices[1:], matrices[0]]:
        signal = matrix.dot(signal)
    return signal.T


def perceptron(m: int, h: int, l: int, phi: Callable[[Any], Any], theta: Array, x: Array) -> Array:
    """f = C phi(A x) with theta = [C; A], row-major: (n, l)."""
    C, A = theta[: l * h].reshape(l, h), theta[l * h :].reshape(h, m)
    hidden = A.dot(x.T)
    outputs: Array = C.dot(np.array([[phi(z) for z in row] for row in hidden], dtype=hidden.dtype)).T
    return outputs


def activation(name: str) -> Callable[[Any], Any]:
    """phi on one number: a Fraction or Series (those of `RATIONAL_ACTIVATIONS`), a float or a complex number."""
    return _ACTIVATIONS[name]


def _real(z: Any) -> Any:
    """The number whose sign decides at a kink."""
    return z.a[0] if isinstance(z, Series) else z.real if isinstance(z, complex) else z


def _leaky_relu(z: Any) -> Any:
    if _real(z) > 0:
        return z
    return z * (0.01 if isinstance(z, complex | float) else Fraction(1, 100))


def _smooth(function: Callable[[complex], complex]) -> Callable[[Any], Any]:
    """An analytic function on floats and complex numbers."""

    def phi(z: Any) -> Any:
        value = complex(function(complex(z)))
        return value if isinstance(z, complex) else value.real

    return phi


def _logistic(z: complex) -> complex:
    return 1 / (1 + cmath.exp(-z))


_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": lambda z: z if _real(z) > 0 else z * 0,
    "leaky_relu": _leaky_relu,
    "abs": lambda z: z if _real(z) > 0 else -z if _real(z) < 0 else z * 0,
    "square": lambda z: z * z,
    "identity": lambda z: z,
    "silu": _smooth(lambda z: z * _logistic(z)),
    "sigmoid": _smooth(_logistic),
    "tanh": _smooth(cmath.tanh),
    "softplus": _smooth(lambda z: cmath.log(1 + cmath.exp(z))),
    "gelu": _smooth(lambda z: z * (1 + erf(z / math.sqrt(2))) / 2),
}

RATIONAL_ACTIVATIONS = ("relu", "leaky_relu", "abs", "square", "identity")
ACTIVATIONS = tuple(_ACTIVATIONS)


def complex_step(function: Callable[[Array], Array], theta: Array, step: float = 1e-30) -> Array:
    """Partial derivatives of an analytic function in floats, to rounding: Im f(theta + i h e_j) / h."""
    columns = []
    for j in range(theta.size):
        moved = theta.astype(complex)
        moved[j] += 1j * step
        columns.append(np.imag(function(moved)) / step)
    return np.stack(columns, axis=-1)


# ---------------------------------------------------------------- torch modules, run forwards only


def whole_batch_slope(module: Any, x: Any, direction: Any, step: float) -> Any:
    """(f(theta + h D) - f(theta - h D)) / 2h for the outputs f of a torch module on the whole batch, sample by sample:
    the derivative of what the module itself computes, with no differentiation in it.

    direction: one tensor per trainable parameter.  Module and inputs are copied for every call.
    """
    import torch

    values = []
    for sign in (1, -1):
        moved, inputs = copy.deepcopy((module, x))
        parameters = [parameter for parameter in moved.parameters() if parameter.requires_grad]
        with torch.no_grad():
            for parameter, part in zip(parameters, direction, strict=True):
                parameter += sign * step * part
            out = moved(**inputs) if isinstance(inputs, dict) else moved(inputs)
        values.append(torch.cat([head.reshape(_samples(x), -1) for head in _heads(out)], 1).reshape(-1))
    return (values[0] - values[1]) / (2 * step)


def _samples(x: Any) -> int:
    return len(next(iter(x.values())) if isinstance(x, dict) else x)


def _heads(out: Any) -> list[Any]:
    """The tensors that a module returned, in any nesting."""
    parts = list(out.values()) if isinstance(out, dict) else list(out) if isinstance(out, tuple | list) else None
    if parts is None:
        return [out] if hasattr(out, "reshape") else []
    return [head for part in parts for head in _heads(part)]
