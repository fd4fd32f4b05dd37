"""f(theta, x) = C phi(A x): the two-layer perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.activations import Activation, as_activation
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian, real_array
from exact_unlearn.models.interpolation import ATTEMPTS, hidden_weights, interpolation_data, output_weights
from exact_unlearn.models.layout import Layout, inputs, parameters, positive_int, rank_one_rows, unify, zeros


@dataclass(frozen=True)
class Perceptron:
    """f(theta, x) = C phi(A x) with A of shape (h, m) and C of shape (l, h).

    n_inputs: m; width: h; activation: a name (see exact_unlearn.activations.KNOWN) or an Activation;
    n_outputs: l. theta holds C first, then A, each flattened row by row; blocks "c" and "A".  There are no
    biases: append a constant input for them.  Fractions work with relu, leaky_relu, abs, square and identity.

    >>> perceptron = Perceptron(1, 2)
    >>> perceptron.predict(perceptron.join({"c": [[1.0, 1.0]], "A": [[1.0], [-1.0]]}), [[3.0], [-2.0]])
    array([[3.],
           [2.]])
    """

    n_inputs: int
    width: int
    activation: str | Activation = "relu"
    n_outputs: int = 1

    def __post_init__(self) -> None:
        for name in ("n_inputs", "width", "n_outputs"):
            object.__setattr__(self, name, positive_int(name, getattr(self, name)))
        as_activation(self.activation)

    @cached_property
    def phi(self) -> Activation:
        """The activation function."""
        return as_activation(self.activation)

    @cached_property
    def layout(self) -> Layout:
        """Where the matrices lie in theta."""
        return Layout((("c", (self.n_outputs, self.width)), ("A", (self.width, self.n_inputs))))

    @property
    def n_parameters(self) -> int:
        """d = h (l + m)."""
        return self.layout.size

    @property
    def blocks(self) -> dict[str, slice]:
        """{"c": ..., "A": ...}."""
        return self.layout.blocks

    def groups(self, by: str) -> Array:
        """(d,) labels of the groups "layer" or "neuron", for group norms."""
        return self.layout.groups(by)

    def split(self, theta: Any) -> dict[str, Array]:
        """{"c": (l, h), "A": (h, m)}, copies."""
        return self.layout.split(parameters(theta, self.n_parameters).copy())

    def join(self, matrices: Mapping[str, Any]) -> Array:
        """The flat theta, the inverse of `split`."""
        return self.layout.join(matrices)

    def layer_groups(self) -> list[Array]:
        """One group of indices per layer, C and A; they partition theta."""
        return list(map(np.ravel, self.layout.indices().values()))

    def neuron_groups(self) -> list[Array]:
        """One group of indices per neuron i, its column C[:, i] and its row A[i, :]; they partition theta."""
        index = self.layout.indices()
        return [np.concatenate(pair) for pair in zip(index["c"].T, index["A"], strict=True)]

    def active_neurons(self, theta: Any) -> Array:
        """Mask (h,) of the neurons whose column of C and row of A are both non-zero; R of Theorem 5 counts them."""
        matrices = self.split(theta)
        return np.asarray((matrices["c"] != 0).any(axis=0) & (matrices["A"] != 0).any(axis=1), dtype=bool)

    def features(self, theta: Any, x: Any) -> Array:
        """Phi = phi(X A^T) of shape (n, h), row i the features of sample i."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        return self.phi.value(x @ self.layout.split(theta)["A"].T)

    def predict(self, theta: Any, x: Any) -> Array:
        """f(theta, x_i) row by row: x (n, m) -> (n, l)."""
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        return np.asarray(self.features(theta, x) @ self.layout.split(theta)["c"].T)

    def jacobian(self, theta: Any, x: Any) -> DenseJacobian:
        """J of shape (n l, d), rows ordered by sample and then by output.

        d f_o / d C[o] = phi(A x); d f_o / d A = (C[o] * phi'(A x)) outer x.  At a kink phi' is that of torch.
        """
        theta, x = unify(parameters(theta, self.n_parameters), inputs(x, self.n_inputs))
        matrices = self.layout.split(theta)
        n, l = len(x), self.n_outputs
        Z = x @ matrices["A"].T
        on_C = zeros((n, l, l, self.width), Z)
        for o in range(l):
            on_C[:, o, o] = self.phi.value(Z)
        on_A = rank_one_rows(matrices["c"] * self.phi.derivative(Z)[:, None, :], x)
        return DenseJacobian(np.concatenate([on_C.reshape(n * l, l * self.width), on_A], axis=1))

    def is_affine_in(self, free: Any = None) -> bool:
        """Whether f is affine in the free coordinates (a mask, names or indices; None for all), whatever the
        others are.

        So it is when A is frozen; if phi is linear, also when no neuron has free weights on both its sides.
        """
        mask = self.layout.split(self.layout.mask(free))
        if not self.phi.is_linear:
            return not mask["A"].any()
        return not (mask["c"].any(axis=0) & mask["A"].any(axis=1)).any()

    def affine_blocks(self) -> tuple[str, ...]:
        """The blocks that f is affine in, each one alone."""
        return ("c", "A") if self.phi.is_linear else ("c",)

    def interpolating_parameters(
        self,
        x: Any,
        y: Any,
        rng: np.random.Generator,
        *,
        A: Any = None,
        scale: float = 1.0,
        tolerance: float = 1e-9,
    ) -> Array:
        """A random theta with f(theta, x) = y: random A, then C from phi(X A^T) C^T = Y.

        x: (n, m); y: (n, l) or (n,) when l = 1.  A: the hidden layer (h, m) to keep, None for a random one
        with pre-activations of size 1.  scale: size of the kernel part of C relative to the min-norm
        solution, 0 for none.  Floats interpolate to rounding; `tolerance` (relative to max |y|) only decides
        what counts as consistent.  If x or y holds Fractions, theta interpolates exactly and starts from
        small integers. Raises ProblemError on samples that conflict, and when the features have too low a
        rank for the outputs (more neurons help).
        """
        x, y = interpolation_data(x, y, self.n_inputs, self.n_outputs, rng, scale, tolerance)
        if A is not None:
            A = real_array("A", A, 2)
            if A.shape != (self.width, self.n_inputs):
                raise ProblemError(f"A: expected shape {(self.width, self.n_inputs)}, got {A.shape}")
            x, y, A = unify(x, y, A)
            C = output_weights(A, x, y, self.phi, rng, scale, tolerance)
            return self.layout.join({"c": C, "A": A})
        for attempt in range(ATTEMPTS):
            drawn = hidden_weights((self.width, self.n_inputs), x, rng)
            try:
                C = output_weights(drawn, x, y, self.phi, rng, scale, tolerance)
                break
            except ProblemError:
                if attempt == ATTEMPTS - 1:
                    raise
        return self.layout.join({"c": C, "A": drawn})
