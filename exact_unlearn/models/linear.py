"""f(theta, x) = Theta x: the linear model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.jacobian import Array, DenseJacobian
from exact_unlearn.models.interpolation import interpolation_data, random_solution, require_interpolation
from exact_unlearn.models.layout import Layout, inputs, parameters, positive_int, unify, zeros


@dataclass(frozen=True)
class LinearModel:
    """f(theta, x) = Theta x with theta = vec(Theta), Theta of shape (l, m) flattened row by row.

    n_inputs: m; n_outputs: l.  One block, "theta".  J holds the inputs themselves, so the surrogate problem
    *is* the exact one (Theorem 2).

    >>> LinearModel(2).predict([3.0, 4.0], [[1.0, 0.0], [1.0, 1.0]])
    array([[3.],
           [7.]])
    """

    n_inputs: int
    n_outputs: int = 1

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_outputs"):
            object.__setattr__(self, name, positive_int(name, getattr(self, name)))

    @cached_property
    def layout(self) -> Layout:
        """Where the matrix lies in theta."""
        return Layout((("theta", (self.n_outputs, self.n_inputs)),))

    @property
    def n_parameters(self) -> int:
        """d = l m."""
        return self.layout.size

    @property
    def blocks(self) -> dict[str, slice]:
        """{"theta": all of it}."""
        return self.layout.blocks

    def groups(self, by: str) -> Array:
        """(d,) labels of the groups "layer" or "neuron", for group norms."""
        return self.layout.groups(by)

    def split(self, theta: Any) -> dict[str, Array]:
        """{"theta": (l, m)}, a copy."""
        return self.layout.split(parameters(theta, self.n_parameters).copy())

    def join(self, matrices: Mapping[str, Any]) -> Array:
        """The flat theta, the inverse of `split`."""
        return self.layout.join(matrices)

    def layer_groups(self) -> list[Array]:
        """One group of indices: everything is one layer."""
        return list(map(np.ravel, self.layout.indices().values()))

    def neuron_groups(self) -> list[Array]:
        """One group per input, its weights to all outputs: there are no hidden neurons, so inputs take their place."""
        return list(self.layout.indices()["theta"].T)

    def predictor(self, theta: Any) -> Array:
        """W of shape (m, l) with f(theta, X) = X W."""
        return self.split(theta)["theta"].T

    def predict(self, theta: Any, x: Any) -> Array:
        """f(theta, x_i) row by row: x (n, m) -> (n, l)."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        return np.asarray(x @ self.predictor(theta))

    def jacobian(self, theta: Any, x: Any) -> DenseJacobian:
        """J of shape (n l, d), rows ordered by sample and then by output; it does not depend on theta."""
        _, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        n, m, l = len(x), self.n_inputs, self.n_outputs
        rows = zeros((n, l, l, m), x)
        for o in range(l):
            rows[:, o, o] = x
        return DenseJacobian(rows.reshape(n * l, l * m))

    def is_affine_in(self, free: Any = None) -> bool:
        """Whether f is affine in the free coordinates (a mask, names or indices; None for all): always."""
        self.layout.mask(free)
        return True

    def affine_blocks(self) -> tuple[str, ...]:
        """The blocks that f is affine in, each one alone."""
        return ("theta",)

    def interpolating_parameters(
        self, x: Any, y: Any, rng: np.random.Generator, *, scale: float = 1.0, tolerance: float = 1e-9
    ) -> Array:
        """A random theta with f(theta, x) = y: the min-norm solution plus a random element of the kernel
        (Lemma 4).

        x: (n, m); y: (n, l) or (n,) when l = 1.  scale: size of the kernel part relative to the min-norm
        solution, 0 for none. Floats interpolate to rounding; `tolerance` (relative to max |y|) only decides
        what counts as consistent. If x or y holds Fractions, theta interpolates exactly: a basic solution
        around random integers, min-norm if scale = 0. Raises ProblemError on inconsistent data, naming
        samples that conflict.
        """
        x, y = interpolation_data(x, y, self.n_inputs, self.n_outputs, rng, scale, tolerance)
        W = require_interpolation(x, random_solution(x, y, rng, scale), y, tolerance, "the inputs")
        return self.layout.join({"theta": W.T})
