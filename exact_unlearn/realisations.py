"""The network of least R that has a given predictor: the way back from the problems of `predictors`.

Roots of rationals are rounded to `BITS` bits in all layers but one, and that one makes up for it: the predictor is met
exactly, and R to as many digits.  Singular values and eigenvectors are floats, and so is a network that needs them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn import rational
from exact_unlearn.closed_form import theorem_4_parameters
from exact_unlearn.concave import root
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.models import DiagonalNetwork, LinearModel, LinearNetwork, Perceptron
from exact_unlearn.predictors import Predictor

BITS = 200
"""Of roots."""

NOISE = 1e-9
"""Eigenvalues of a solver's matrix are taken for 0 below this part of the largest."""


def realised(origin: Predictor, point: Array, exact: bool) -> tuple[Any, Array, int]:
    """(model, theta, neurons): a network with the predictor `point` and the least R.

    point: (d,) Fractions, as `predictors` orders them; exact: whether they are proved, and not a solver's floats.  The
    model has the widths that were asked for, or the widths that it needs.  neurons: in every hidden layer.
    """
    W = point.reshape(origin.shape)
    if origin.model == "linear":
        return LinearModel(origin.widths[0], origin.widths[-1]), point, 0
    if origin.model == "diagonal":
        return *_diagonal(origin.depth, point), 0
    if origin.model == "square":
        return _squares(origin, W, exact)
    if origin.objective == "nuclear_norm":
        return _two_linear_layers(origin, W, exact)
    if origin.objective == "l2":
        return _chain(origin, W[0])
    return _paths(origin, W)


def measure(model: Any, theta: Array, R: str) -> float:
    """R(theta) of a network, by its definition."""
    if R == "squared":
        return float(sum((v * v for v in theta.tolist()), start=0) / 2)
    matrices = {name: abs(to_float(matrix)) for name, matrix in model.split(theta).items()}
    if R == "nuclear":
        return float(matrices["c"][0] @ (matrices["A"] ** 2).sum(axis=1))
    if isinstance(model, LinearNetwork | LinearModel):
        return float(model.predictor(abs(to_float(theta))).sum())
    return float(np.prod(list(matrices.values()), axis=0).sum())


def _chain(origin: Predictor, w: Array) -> tuple[LinearNetwork, Array, int]:
    """Theorem 4 with unit vectors: every layer has the one entry r ~ |w|^(1/L), the first one w / r^(L-1)."""
    network = LinearNetwork(origin.widths)
    theta = rational.zeros(network.n_parameters)
    if not w.any():
        return network, theta, 0
    L = origin.depth
    r = _root(sum((v * v for v in w.tolist()), start=Fraction(0)), 2 * L)
    matrices = network.split(theta)
    for name, matrix in matrices.items():
        matrix[0, 0] = r
        if name == network.first_block:
            matrix[0] = w / r ** (L - 1)
    return network, network.join(matrices), 1


def _paths(origin: Predictor, W: Array) -> tuple[LinearNetwork, Array, int]:
    """W in the last or the first layer, whichever needs fewer neurons, and unit matrices elsewhere: one path each."""
    (l, m), L = W.shape, origin.depth
    used = np.flatnonzero(W.any(axis=0)) if m <= l else np.flatnonzero(W.any(axis=1))
    count = len(used)
    network = _widened(origin, count)
    matrices = network.split(rational.zeros(network.n_parameters))
    ordered = [matrices[f"A{i}"] for i in range(1, L)] + [matrices["c"]]
    if L == 1:
        ordered[0][:] = W
        return network, network.join(matrices), 0
    for layer in ordered[1:-1]:
        layer[range(count), range(count)] = Fraction(1)
    if m <= l:
        ordered[0][range(count), used] = Fraction(1)
        ordered[-1][:, :count] = W[:, used]
    else:
        ordered[0][:count] = W[used]
        ordered[-1][used, range(count)] = Fraction(1)
    return network, network.join(matrices), count


def _two_linear_layers(origin: Predictor, W: Array, exact: bool) -> tuple[LinearNetwork, Array, int]:
    """C A = W with equal singular values in both: 1/2 (|A|^2 + |C|^2) is the nuclear norm."""
    values = to_float(W)
    sigma = np.linalg.svd(values, compute_uv=False)
    count = rational.rank(W) if exact else int((sigma > NOISE * sigma.max(initial=0.0)).sum())
    network = _widened(origin, count)
    if not count:
        return network, np.zeros(network.n_parameters), 0
    left, sizes, right = np.linalg.svd(values, full_matrices=False)
    kept = (left[:, :count] * sizes[:count]) @ right[:count]
    return network, theorem_4_parameters(network, kept.T), count


def _diagonal(depth: int, w: Array) -> tuple[DiagonalNetwork, Array]:
    """Every layer has roots r_j ~ |w_j|^(1/L), the first one w_j / r_j^(L-1)."""
    model = DiagonalNetwork(w.size, depth)
    roots = rational.zeros(w.size)
    roots[:] = [_root(v * v, 2 * depth) for v in w.tolist()]
    first = rational.zeros(w.size)
    first[:] = [v / r ** (depth - 1) if v else Fraction(0) for v, r in zip(w.tolist(), roots.tolist(), strict=True)]
    layers = [first, *[roots] * (depth - 1)]
    return model, model.join({f"w{i}": layer for i, layer in enumerate(layers, start=1)})


def _squares(origin: Predictor, M: Array, exact: bool) -> tuple[Perceptron, Array, int]:
    """One neuron per eigenvalue of the symmetric part of M, which has the same outputs and no larger nuclear norm."""
    symmetric = (M + M.T) / 2
    values, vectors = np.linalg.eigh(to_float(symmetric))
    order = np.argsort(-abs(values))
    count = rational.rank(symmetric) if exact else int((abs(values) > NOISE * abs(values).max()).sum())
    m, h = origin.widths[0], max(origin.widths[1], count)
    model = Perceptron(m, h, "square")
    C, A = np.zeros((1, h)), np.zeros((h, m))
    for j, k in enumerate(order[:count]):
        C[0, j], A[j] = np.sign(values[k]), np.sqrt(abs(values[k])) * vectors[:, k]
    return model, model.join({"c": C, "A": A}), count


def _widened(origin: Predictor, count: int) -> LinearNetwork:
    """The network that was asked for, with hidden layers of `count` neurons where they are narrower."""
    m, *hidden, l = origin.widths
    return LinearNetwork((m, *(max(width, count) for width in hidden), l))


def _root(value: Fraction, degree: int) -> Fraction:
    """value^(1/degree) to `BITS` significant bits, from below."""
    leading = (value.denominator.bit_length() - value.numerator.bit_length()) // degree
    return root(value, degree, BITS + max(0, leading + 1))
