"""f(theta, x) = sum_j x_j w_1j ... w_Lj: the diagonal network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array, DenseJacobian, to_rational
from exact_unlearn.models.interpolation import interpolation_data, random_solution, require_interpolation
from exact_unlearn.models.layout import Layout, inputs, parameters, positive_int, unify


@dataclass(frozen=True)
class DiagonalNetwork:
    """f(theta, x) = <w_1 * ... * w_L, x>, products entry by entry: a linear network of diagonal matrices, one output.

    n_inputs: m; depth: L >= 1 (1 is the linear model).  theta holds w_1, ..., w_L, blocks "w1", ..., "wL", of m entries
    each.  With the predictor w = w_1 * ... * w_L the least |theta|^2 is L sum_j |w_j|^(2/L): a weighted l1 norm for two
    layers, and concave in |w| for more.

    >>> DiagonalNetwork(2, 2).predict([3.0, 1.0, 2.0, 5.0], [[1.0, 0.0], [1.0, 1.0]])
    array([[ 6.],
           [11.]])
    """

    n_inputs: int
    depth: int

    def __post_init__(self) -> None:
        for name in ("n_inputs", "depth"):
            object.__setattr__(self, name, positive_int(name, getattr(self, name)))

    @property
    def n_outputs(self) -> int:
        """1."""
        return 1

    @cached_property
    def layout(self) -> Layout:
        """Where the vectors lie in theta."""
        return Layout(tuple((f"w{i}", (1, self.n_inputs)) for i in range(1, self.depth + 1)))

    @property
    def n_parameters(self) -> int:
        """d = L m."""
        return self.layout.size

    @property
    def blocks(self) -> dict[str, slice]:
        """{"w1": ..., "w2": ..., ...}."""
        return self.layout.blocks

    def groups(self, by: str) -> Array:
        """(d,) labels of the groups "layer" or "neuron" (an input with its L weights), for group norms."""
        return np.tile(np.arange(self.n_inputs), self.depth) if by == "neuron" else self.layout.groups(by)

    def split(self, theta: Any) -> dict[str, Array]:
        """{"w1": (1, m), "w2": (1, m), ...}, copies."""
        return self.layout.split(parameters(theta, self.n_parameters).copy())

    def join(self, matrices: Mapping[str, Any]) -> Array:
        """The flat theta, the inverse of `split`."""
        return self.layout.join(matrices)

    def layer_groups(self) -> list[Array]:
        """One group of indices per layer; they partition theta."""
        return list(map(np.ravel, self.layout.indices().values()))

    def neuron_groups(self) -> list[Array]:
        """One group of indices per input, its L weights; they partition theta."""
        return list(self._layers(np.arange(self.n_parameters)).T)

    def predictor(self, theta: Any) -> Array:
        """w = w_1 * ... * w_L of shape (m,): f(theta, X) = X w."""
        return np.asarray(self._layers(parameters(theta, self.n_parameters)).prod(axis=0))

    def predict(self, theta: Any, x: Any) -> Array:
        """f(theta, x_i) row by row: x (n, m) -> (n, 1)."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        return np.asarray(x @ self.predictor(theta)[:, None])

    def jacobian(self, theta: Any, x: Any) -> DenseJacobian:
        """J of shape (n, d): d f / d w_ij = x_j times the weights of input j in the other layers."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        layers = self._layers(theta)
        others = [np.delete(layers, i, axis=0).prod(axis=0) for i in range(self.depth)]
        one = np.ones(self.n_inputs)
        if self.depth == 1:
            others = [to_rational(one) if layers.dtype == object else one]
        return DenseJacobian(np.concatenate([x * other for other in others], axis=1))

    def is_affine_in(self, free: Any = None) -> bool:
        """Whether f is affine in the free coordinates (a mask, names or indices; None for all), whatever the others
        are: where no input has two free weights.
        """
        return bool(self._layers(self.layout.mask(free)).sum(axis=0).max() <= 1)

    def affine_blocks(self) -> tuple[str, ...]:
        """The blocks that f is affine in, each one alone: all of them."""
        return tuple(self.blocks)

    def interpolating_parameters(
        self, x: Any, y: Any, rng: np.random.Generator, *, scale: float = 1.0, tolerance: float = 1e-9
    ) -> Array:
        """A random theta with f(theta, x) = y: a random predictor (as of a LinearModel), random w_2 ... w_L without
        zeros, and the w_1 that gives it.

        x: (n, m); y: (n, 1) or (n,).  scale: size of the kernel part of the predictor relative to the min-norm one, 0
        for none.  Floats interpolate to rounding; `tolerance` (relative to max |y|) only decides what counts as
        consistent.  If x or y holds Fractions, theta interpolates exactly and starts from small integers.  Raises
        ProblemError on inconsistent data, naming samples that conflict.
        """
        x, y = interpolation_data(x, y, self.n_inputs, 1, rng, scale, tolerance)
        w = require_interpolation(x, random_solution(x, y, rng, scale), y, tolerance, "the inputs")[:, 0]
        shape = self.depth - 1, self.n_inputs
        signs = rng.choice([-1, 1], size=shape)
        sizes = rng.integers(1, 4, size=shape) if x.dtype == object else rng.uniform(0.5, 2.0, size=shape)
        upper = to_rational(signs * sizes) if x.dtype == object else signs * sizes
        layers = [w / upper.prod(axis=0) if len(upper) else w, *upper]
        return self.layout.join({f"w{i}": layer for i, layer in enumerate(layers, start=1)})

    def _layers(self, theta: Array) -> Array:
        """(L, m): the weights, one layer per row."""
        return theta.reshape(self.depth, self.n_inputs)
