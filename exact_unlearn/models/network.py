"""f(theta, x) = C A_{L-1} ... A_1 x: the deep linear network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian, ProductJacobian, dimensions, to_rational
from exact_unlearn.models.interpolation import (
    interpolation_data,
    network_layers,
    random_solution,
    require_interpolation,
)
from exact_unlearn.models.layout import Layout, inputs, parameters, positive_int, rank_one_rows, unify


@dataclass(frozen=True)
class LinearNetwork:
    """f(theta, x) = C A_{L-1} ... A_1 x with A_i of shape (h_i, h_{i-1}), h_0 = m, and C of shape (l,
    h_{L-1}).

    widths: (m, h_1, ..., h_{L-1}, l), so L = len(widths) - 1 layers; L = 1 is the linear model. theta holds C
    first, then A_1, ..., A_{L-1} (the order of the paper), each flattened row by row; blocks "c", "A1", ...,
    "A{L-1}". The effective predictor is W = A_1^T ... A_{L-1}^T C^T = A_1^T V of shape (m, l), f = W^T x.

    >>> network = LinearNetwork((2, 1, 1))
    >>> network.predict(network.join({"c": [[2.0]], "A1": [[1.0, 3.0]]}), [[1.0, 1.0]])
    array([[8.]])
    """

    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        given: Any = self.widths
        if not isinstance(given, list | tuple | np.ndarray) or dimensions(given) != 1 or len(given) < 2:
            raise ProblemError(f"widths: expected (n_inputs, hidden widths ..., n_outputs), got {given!r}")
        widths = tuple(positive_int(f"widths[{i}]", width) for i, width in enumerate(given))
        object.__setattr__(self, "widths", widths)

    @cached_property
    def layout(self) -> Layout:
        """Where the matrices lie in theta."""
        hidden = [(f"A{i}", (self.widths[i], self.widths[i - 1])) for i in range(1, self.depth)]
        return Layout((("c", (self.widths[-1], self.widths[-2])), *hidden))

    @property
    def depth(self) -> int:
        """L, the number of layers (matrices)."""
        return len(self.widths) - 1

    @property
    def n_inputs(self) -> int:
        """m."""
        return self.widths[0]

    @property
    def n_outputs(self) -> int:
        """l."""
        return self.widths[-1]

    @property
    def n_parameters(self) -> int:
        """d, the sum over layers of h_i h_{i-1}."""
        return self.layout.size

    @property
    def blocks(self) -> dict[str, slice]:
        """{"c": ..., "A1": ..., ...} in the order of theta."""
        return self.layout.blocks

    def groups(self, by: str) -> Array:
        """(d,) labels of the groups "layer" or "neuron", for group norms."""
        return self.layout.groups(by)

    @property
    def first_block(self) -> str:
        """The name of the matrix next to the input: "A1", or "c" when L = 1."""
        return "A1" if self.depth > 1 else "c"

    def split(self, theta: Any) -> dict[str, Array]:
        """Matrices by name, copies: {"c": (l, h_{L-1}), "A1": (h_1, m), ...}."""
        return self.layout.split(parameters(theta, self.n_parameters).copy())

    def join(self, matrices: Mapping[str, Any]) -> Array:
        """The flat theta, the inverse of `split`."""
        return self.layout.join(matrices)

    def layer_groups(self) -> list[Array]:
        """One group of indices per layer, in the order of theta; they partition it."""
        return list(map(np.ravel, self.layout.indices().values()))

    def neuron_groups(self, layer: int | None = None) -> list[Array]:
        """Groups of indices, one per hidden neuron.

        None: a partition of theta, as GroupL2 needs it: every hidden neuron with its incoming weights, those
        of the last hidden layer also with their outgoing weights in C (for L = 2 the groups of a perceptron;
        for L = 1 one per input). layer i in 1..L-1: neuron j of that layer with all its weights, A_i[j, :]
        and A_{i+1}[:, j] (or C[:, j]); a partition of theta only if L = 2.
        """
        matrices = self._in_order(self.layout.indices())
        if layer is None:
            incoming = [row for matrix in matrices[:-2] for row in matrix]
            last: list[Array] = list(matrices[-1].T)
            if self.depth > 1:
                last = [np.concatenate(pair) for pair in zip(last, matrices[-2], strict=True)]
            return last + incoming
        if isinstance(layer, bool) or not isinstance(layer, int | np.integer) or not 1 <= layer < self.depth:
            raise ProblemError(f"layer: expected a hidden layer from 1 to {self.depth - 1}, got {layer!r}")
        return [np.concatenate(pair) for pair in zip(matrices[layer].T, matrices[layer - 1], strict=True)]

    def predictor(self, theta: Any) -> Array:
        """W = A_1^T V of shape (m, l): f(theta, X) = X W."""
        theta = parameters(theta, self.n_parameters)
        first = self.layout.split(theta)[self.first_block]
        return np.asarray(first.T @ self.first_layer_factor(theta))

    def first_layer_factor(self, theta: Any) -> Array:
        """V = A_2^T ... A_{L-1}^T C^T of shape (h_1, l), the gradient of f in A_1 x; the unit matrix when L = 1."""
        return self._backward(self._layers(parameters(theta, self.n_parameters)))[0].T

    def predict(self, theta: Any, x: Any) -> Array:
        """f(theta, x_i) row by row: x (n, m) -> (n, l)."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        return self._forward(self._layers(theta), x)[-1]

    def jacobian(self, theta: Any, x: Any) -> DenseJacobian:
        """J of shape (n l, d), rows ordered by sample and then by output.

        d f_o / d A_i = B_i[o] outer (A_{i-1} ... A_1 x) with B_i = C A_{L-1} ... A_{i+1}; for C itself B is
        the unit matrix.
        """
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        layers = self._layers(theta)
        parts = [
            rank_one_rows(np.broadcast_to(B, (len(x), *B.shape)), H)
            for B, H in zip(self._backward(layers), self._forward(layers, x)[:-1], strict=True)
        ]
        return DenseJacobian(np.concatenate([parts[-1], *parts[:-1]], axis=1))

    def product_jacobian(self, theta: Any, x: Any) -> ProductJacobian:
        """J on the first layer only, kept as the product of V and X: what PredictorNorm needs (Theorem 3)."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        return ProductJacobian(self.first_layer_factor(theta), x, self.blocks[self.first_block], self.n_parameters)

    def is_affine_in(self, free: Any = None) -> bool:
        """Whether f is affine in the free coordinates (a mask, names or indices; None for all), whatever the
        others are.

        f is a sum over paths from input to output of the products of their weights, so it is affine if and
        only if no path meets two free weights; in particular when only one layer is free.
        """
        most = np.zeros(self.n_inputs, dtype=np.int64)
        for M in self._layers(self.layout.mask(free)):
            most = (most + M).max(axis=1)  # the most free weights on a path that ends in each neuron
        return bool(most.max() <= 1)

    def affine_blocks(self) -> tuple[str, ...]:
        """The blocks that f is affine in, each one alone: all of them."""
        return tuple(self.blocks)

    def interpolating_parameters(
        self, x: Any, y: Any, rng: np.random.Generator, *, scale: float = 1.0, tolerance: float = 1e-9
    ) -> Array:
        """A random theta with f(theta, x) = y: random layers, then an exact solve for A_1.

        x: (n, m); y: (n, l) or (n,) when l = 1.  scale: size of the random part of A_1 relative to the solve,
        0 for none (W is then the min-norm predictor).  The upper layers are nearly orthogonal and V has norm
        1.  Bottlenecks down to width 1 are fine as long as the outputs have no higher rank.  Floats
        interpolate to rounding; `tolerance` (relative to max |y|) only decides what counts as consistent.  If
        x or y holds Fractions, theta interpolates exactly and starts from small integers. Raises ProblemError
        on inconsistent data, naming samples that conflict, and on outputs of too high a rank.
        """
        x, y = interpolation_data(x, y, self.n_inputs, self.n_outputs, rng, scale, tolerance)
        if self.depth == 1:
            W = require_interpolation(x, random_solution(x, y, rng, scale), y, tolerance, "the inputs")
            return self.layout.join({"c": W.T})
        *hidden, C = network_layers(self.widths, x, y, rng, scale, tolerance)
        return self.layout.join({"c": C} | {f"A{i}": A for i, A in enumerate(hidden, start=1)})

    def _in_order(self, matrices: Mapping[str, Array]) -> list[Array]:
        """[A_1, ..., A_{L-1}, C], from the input to the output."""
        return [*(matrices[f"A{i}"] for i in range(1, self.depth)), matrices["c"]]

    def _layers(self, theta: Array) -> list[Array]:
        return self._in_order(self.layout.split(theta))

    def _forward(self, layers: list[Array], x: Array) -> list[Array]:
        """Activations [X, X A_1^T, ..., f]."""
        out = [x]
        for M in layers:
            out.append(out[-1] @ M.T)
        return out

    def _backward(self, layers: list[Array]) -> list[Array]:
        """[d f / d (A_1 x), ..., d f / d (C ...)]: B_L = I, B_i = B_{i+1} M_{i+1}, each of shape (l, h_i)."""
        unit = np.eye(self.n_outputs)
        out = [to_rational(unit) if layers[0].dtype == object else unit]
        for M in reversed(layers[1:]):
            out.insert(0, out[0] @ M)
        return out
