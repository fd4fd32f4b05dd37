"""Parameters that interpolate given data, for every model class: f(theta, x_i) = y_i for all i.

One idea serves all of them: f is linear in one of its layers, f = M Z with M known once the other layers are
drawn (M = X for linear models, M = phi(X A^T) for a perceptron), so draw everything at random and correct
that layer by a solution of M Z = Y - M Z_0. The correction has minimal norm in floats.  On Fractions it is a
basic solution, because that keeps the digits few.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from exact_unlearn import rational
from exact_unlearn.activations import Activation
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.models.layout import inputs, targets, unify, zeros
from exact_unlearn.vectors import as_number

ATTEMPTS = 20
"""Draws before giving up; all but the first are needed with probability 0 in floats, rarely with small integers."""


def interpolation_data(
    x: Any, y: Any, n_inputs: int, n_outputs: int, rng: Any, scale: Any, tolerance: Any
) -> tuple[Array, Array]:
    """x (n, m) and y (n, l) in one arithmetic. Raises ProblemError, also on samples that contradict each other."""
    if not isinstance(rng, np.random.Generator):
        raise ProblemError(f"rng: expected a numpy.random.Generator, got {rng!r:.80}")
    as_number("scale", scale)
    as_number("tolerance", tolerance)
    x = inputs(x, n_inputs)
    x, y = unify(x, targets(y, len(x), n_outputs))
    slack = 0.0 if y.dtype == object else tolerance * np.max(np.abs(y), initial=0.0)
    first: dict[tuple[Any, ...], int] = {}
    for i, row in enumerate(x.tolist()):
        j = first.setdefault(tuple(row), i)
        if (np.abs(y[i] - y[j]) > slack).any():
            raise ProblemError(
                f"y: samples {j} and {i} have equal inputs but different outputs, which no model interpolates"
            )
    return x, y


def random_solution(M: Array, Y: Array, rng: np.random.Generator, scale: float) -> Array | None:
    """A random Z with M Z = Y: a random start and the least correction. None where Fractions have no solution.

    Floats are solved in the least-squares sense; `require_interpolation` is the judge of both.
    M: (n, p); Y: (n, l); Z: (p, l).  scale: size of the kernel part of Z relative to the min-norm solution (0: none).
    """
    start = _random_start(M, Y, (M.shape[1], Y.shape[1]), rng, scale)
    change = _correction(M, Y - _product(M, start), rng, scale)
    if change is None:
        return None
    Z = start + change
    return Z if M.dtype == object else Z + _least_squares(M, Y - M @ Z)


def require_interpolation(M: Array, Z: Array | None, Y: Array, tolerance: float, matrix: str) -> Array:
    """Z if M Z = Y up to `tolerance` * max |Y| or to the rounding of the product (exactly, for Fractions).

    Raises ProblemError otherwise, with the rank of M, which `matrix` names.
    """
    rational_data = M.dtype == object
    if Z is not None and (rational_data or Y.size == 0):
        return Z  # Fractions solve exactly or not at all
    if Z is None:
        rank, left = rational.rank(M), "no exact solution exists"
    else:
        residual = float(np.max(np.abs(M @ Z - Y)))
        rounding = 100 * np.finfo(np.float64).eps * float(np.max(np.abs(M) @ np.abs(Z)))
        if residual <= tolerance * float(np.max(np.abs(Y))) + rounding:
            return Z
        rank, left = int(np.linalg.matrix_rank(M)), f"the least residual is {residual:.3g}"
    raise ProblemError(f"y: no interpolating parameters found, {left}; {matrix} have rank {rank} for {len(M)} samples")


def network_layers(
    widths: Sequence[int], x: Array, y: Array, rng: np.random.Generator, scale: float, tolerance: float
) -> list[Array]:
    """Layers M_1, ..., M_L (M_L = C) of a linear network with X M_1^T ... M_L^T = Y, all random but for one correction.

    That of M_1.  With several outputs and a layer narrower than them, C is first aimed at the row space of Y.
    """
    upper, V = _upper_layers(widths, y, rng, tolerance)
    first = _random_start(x, y, (widths[0], widths[1]), rng, scale)  # M_1^T
    for _ in range(1 if x.dtype == object else 2):  # the second pass removes what the first one rounds
        change = _correction(x, y - _product(_product(x, first), V), rng, scale)
        change = require_interpolation(x, change, y[:0], tolerance, "the inputs")
        lifted = _correction(V.T, change.T, rng, scale)
        assert lifted is not None, "the row space of V contains that of Y, so of every residual"
        first = first + lifted.T
    require_interpolation(x, _product(first, V), y, tolerance, "the inputs")
    return [first.T, *upper]


def hidden_weights(shape: tuple[int, int], x: Array, rng: np.random.Generator) -> Array:
    """A random first layer of a perceptron whose pre-activations are of size 1; small integers if x holds Fractions."""
    if x.dtype == object:
        return to_rational(rng.integers(-3, 4, size=shape))
    return np.asarray(rng.standard_normal(shape) / (np.sqrt(shape[1]) * _size(x)))


def output_weights(
    A: Array, x: Array, y: Array, phi: Activation, rng: np.random.Generator, scale: float, tolerance: float
) -> Array:
    """Random C of shape (l, h) with phi(X A^T) C^T = Y. Raises ProblemError, with the rank of phi, if there is none."""
    M = phi.value(_product(x, A.T))
    Z = random_solution(M, y, rng, scale)
    return require_interpolation(M, Z, y, tolerance, f"the features of the {A.shape[0]} neurons").T


# ---------------------------------------------------------------- parts


def _upper_layers(
    widths: Sequence[int], y: Array, rng: np.random.Generator, tolerance: float
) -> tuple[list[Array], Array]:
    """Random M_2, ..., M_L, and V = M_2^T ... M_L^T of shape (h_1, l), whose row space contains that of Y."""
    narrow, l = min(widths[1:-1]), widths[-1]
    basis = _row_basis(y, tolerance) if narrow < l else y[:0]
    if len(basis) > narrow:
        raise ProblemError(
            f"y: the outputs have rank {len(basis)}, but a layer of width {narrow} passes at most rank {narrow}"
        )
    for _ in range(ATTEMPTS):
        layers = [_random_layer((b, a), y, rng) for a, b in pairwise(widths[1:])]
        M = _identity(widths[1], y)
        for layer in layers[:-1]:
            M = _product(layer, M)
        if len(basis):
            T = _product(M, _random_layer((widths[1], len(basis)), y, rng))
            aim = _correction(T.T, (basis.T - _product(layers[-1], T)).T, rng, 1.0)
            if aim is None:
                continue  # these small integers made T lose rank
            layers[-1] = layers[-1] + aim.T
        V = _product(layers[-1], M).T
        if V.dtype == object:
            if rational.rank(V) == min(narrow, l):
                return layers, V
            continue
        sigma = np.linalg.svd(V, compute_uv=False)
        if sigma[min(narrow, l) - 1] > 1e-8 * sigma[0]:
            layers[-1] = layers[-1] / sigma[0]
            return layers, V / sigma[0]
    raise ProblemError(f"widths: {ATTEMPTS} random networks of widths {tuple(widths)} were all singular")


def _random_layer(shape: tuple[int, int], like: Array, rng: np.random.Generator) -> Array:
    """A well conditioned random matrix: rows (or columns) nearly orthonormal, or non-zero integers from -3 to 3."""
    if like.dtype == object:
        return to_rational(rng.choice([-3, -2, -1, 1, 2, 3], size=shape))
    tall = rng.standard_normal((max(shape), min(shape)))
    Q = np.linalg.qr(tall)[0] * rng.uniform(0.5, 1.5, size=min(shape))
    return Q if shape[0] >= shape[1] else Q.T


def _random_start(M: Array, Y: Array, shape: tuple[int, int], rng: np.random.Generator, scale: float) -> Array:
    """Random entries as large as those of the min-norm solution of M Z = Y times `scale`; integers for Fractions."""
    if scale == 0:
        return zeros(shape, M)
    if M.dtype == object:
        return to_rational(rng.integers(-3, 4, size=shape))
    return float(scale) * _size(_least_squares(M, Y)) * rng.standard_normal(shape)


def _size(values: Array) -> float:
    """The root of the mean square of float entries; 1 if there is nothing to measure."""
    top = float(np.max(np.abs(values), initial=0.0))
    return top * float(np.sqrt(np.mean(np.square(values / top)))) if top else 1.0


def _correction(M: Array, Y: Array, rng: np.random.Generator, scale: float) -> Array | None:
    """Z with M Z = Y; None where Fractions have no solution, floats are solved in the least-squares sense."""
    if M.dtype != object:
        return _least_squares(M, Y)
    if scale == 0:
        pair = rational.min_norm(M, Y)
        return None if pair is None else pair[0]
    order = rng.permutation(M.shape[1])  # or the first columns would always be the basis
    basic = rational.solve(M[:, order], Y)
    return None if basic is None else basic[np.argsort(order)]


def _least_squares(M: Array, Y: Array) -> Array:
    return np.asarray(np.linalg.lstsq(M, Y, rcond=None)[0]) if M.size else np.zeros((M.shape[1], Y.shape[1]))


def _row_basis(Y: Array, tolerance: float) -> Array:
    """Independent rows that span the rows of Y, (r, l)."""
    if Y.dtype == object:
        return np.asarray(Y[list(rational.independent_rows(Y))])
    _, sigma, Vt = np.linalg.svd(Y, full_matrices=False)
    return np.asarray(Vt[sigma > tolerance * sigma.max(initial=0.0)])


def _identity(size: int, like: Array) -> Array:
    return rational.identity(size) if like.dtype == object else np.eye(size)


def _product(A: Array, B: Array) -> Array:
    return rational.matmul(A, B) if A.dtype == object else np.asarray(A @ B)
