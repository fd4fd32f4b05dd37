"""Smooth networks of any depth: outputs, first and second derivatives in floats.

    h_0 = x,   s_l = W_l h_{l-1},   h_l = phi_l(s_l),   f(theta, x) = h_L

A layer with a bias sees a constant 1 behind its inputs.  theta holds W_1, ..., W_L, each flattened row by row, the
weight of the constant last in its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian
from exact_unlearn.models.layout import Layout, inputs, parameters, positive_int


@dataclass(frozen=True)
class SmoothNetwork:
    """f(theta, x) of the module's docstring, with one activation for all hidden layers, or one for each.

    widths:     (m, h_1, ..., h_{L-1}, l): inputs, hidden layers, outputs.
    activation: of the hidden layers; a name of `SMOOTH`, or a sequence of L - 1 names.
    bias:       whether every layer has a bias, or a sequence of L booleans.
    output:     the activation of the last layer.

    Raises ProblemError on anything else.

    >>> network = SmoothNetwork((1, 2, 1), "square")
    >>> network.predict([1.0, 2.0, 1.0, -1.0], [[3.0]])
    array([[-27.]])
    """

    widths: tuple[int, ...]
    activation: Any = "tanh"
    bias: Any = False
    output: str = "identity"

    def __post_init__(self) -> None:
        widths = _sizes(self.widths)
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "activation", _per_layer("activation", self.activation, str, len(widths) - 2))
        object.__setattr__(self, "bias", _per_layer("bias", self.bias, bool, len(widths) - 1))
        for name in (*self.activation, self.output):
            require_smooth(name)

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.widths) - 1

    @property
    def n_inputs(self) -> int:
        """m."""
        return self.widths[0]

    @property
    def n_outputs(self) -> int:
        """l."""
        return self.widths[-1]

    @cached_property
    def layout(self) -> Layout:
        """Where the matrices lie in theta."""
        sizes = zip(self.widths[1:], self.widths, self.bias, strict=False)
        return Layout(tuple((f"W{at}", (h, m + b)) for at, (h, m, b) in enumerate(sizes, start=1)))

    @property
    def n_parameters(self) -> int:
        """d."""
        return self.layout.size

    @property
    def blocks(self) -> dict[str, slice]:
        """{"W1": ..., "W2": ...}."""
        return self.layout.blocks

    @property
    def phis(self) -> tuple[str, ...]:
        """The activations of all layers, the last included."""
        return (*self.activation, self.output)

    def predict(self, theta: Any, x: Any) -> Array:
        """f(theta, x_i) row by row: x (n, m) -> (n, l)."""
        theta, x = self._arguments(theta, x)
        outputs = x
        for W, bias, phi in self._layers(theta):
            outputs = SMOOTH[phi](_seen(outputs, bias) @ W.T)[0]
        return np.asarray(outputs)

    def jacobian(self, theta: Any, x: Any) -> DenseJacobian:
        """J of shape (n l, d), rows ordered by sample and then by output."""
        theta, x = self._arguments(theta, x)
        *_, last = self._tangents(theta, x)
        return DenseJacobian(last.D.reshape(-1, self.n_parameters))

    def is_affine_in(self, free: Any = None) -> bool:
        """Whether f is affine in the free coordinates for certain: they lie in the last layer, or none is free."""
        mask = self.layout.split(self.layout.mask(free))
        below = any(mask[name].any() for name in list(mask)[:-1])
        return not below and (self.output == "identity" or not mask[f"W{self.depth}"].any())

    def second_order(self, theta: Any, x: Any, nu: Array) -> tuple[Array, Array, Array]:
        """f (n l,), J (n l, d), and S (d, d), the sum of nu_i times the Hessian of output i.

        With lambda_l and mu_l the derivatives of nu . f with respect to h_l and s_l, S is the sum over layers of
        lambda_l phi''_l (D s_l)^T (D s_l), plus mu_l (dW_l D h_{l-1}) and its transpose.
        """
        theta, x = self._arguments(theta, x)
        layers = list(self._tangents(theta, x))
        seed = np.asarray(nu, dtype=np.float64).reshape(len(x), self.n_outputs)
        S = np.zeros((self.n_parameters, self.n_parameters))
        for at in range(self.depth - 1, -1, -1):
            now, block = layers[at], self.layout.indices()[f"W{at + 1}"]
            G = now.G.reshape(-1, self.n_parameters)
            S += G.T @ ((seed * now.d2).reshape(-1, 1) * G)
            mu = seed * now.d1
            if at:
                D = layers[at - 1].D
                cross = np.einsum("nj,nkb->jkb", mu, D).reshape(-1, self.n_parameters)
                rows = block[:, : D.shape[1]].reshape(-1)
                S[rows] += cross
                S[:, rows] += cross.T
            seed = mu @ now.W[:, : self.widths[at]]
        return layers[-1].h.reshape(-1), layers[-1].D.reshape(-1, self.n_parameters), S

    def _tangents(self, theta: Array, x: Array) -> Iterator[_Layer]:
        """Layer by layer the values and their derivatives with respect to theta."""
        outputs, D = x, np.zeros((len(x), self.n_inputs, self.n_parameters))
        for at, (W, bias, phi) in enumerate(self._layers(theta), start=1):
            before = _seen(outputs, bias)
            G = np.einsum("jk,nkb->njb", W[:, : D.shape[1]], D)
            block = self.layout.indices()[f"W{at}"]
            for j, row in enumerate(block):
                G[:, j, row] += before
            outputs, d1, d2 = SMOOTH[phi](before @ W.T)
            D = d1[:, :, None] * G
            yield _Layer(W, outputs, d1, d2, G, D)

    def _layers(self, theta: Array) -> Iterator[tuple[Array, bool, str]]:
        matrices = self.layout.split(theta).values()
        return zip(matrices, self.bias, self.phis, strict=True)

    def _arguments(self, theta: Any, x: Any) -> tuple[Array, Array]:
        theta, x = parameters(theta, self.n_parameters), inputs(x, self.n_inputs)
        return theta.astype(np.float64), x.astype(np.float64)


@dataclass(frozen=True)
class _Layer:
    """W (h, m), values h, phi', phi'' (n, h), and the derivatives G of s and D of h, (n, h, d)."""

    W: Array
    h: Array
    d1: Array
    d2: Array
    G: Array
    D: Array


def _seen(outputs: Array, bias: bool) -> Array:
    """What a layer sees of the one below: its outputs, and a constant 1 if it has a bias."""
    return np.hstack([outputs, np.ones((len(outputs), 1))]) if bias else outputs


def _sizes(widths: Any) -> tuple[int, ...]:
    """At least two integers >= 1."""
    if not isinstance(widths, Sequence | np.ndarray) or isinstance(widths, str | bytes) or len(widths) < 2:
        raise ProblemError(f"widths: expected the numbers of inputs, neurons and outputs, got {widths!r:.60}")
    return tuple(positive_int(f"widths[{at}]", width) for at, width in enumerate(widths))


def _per_layer(name: str, value: Any, kind: type, layers: int) -> tuple[Any, ...]:
    """One value for all layers, or one for each."""
    if isinstance(value, np.bool_):
        value = bool(value)
    values = [value] * layers if isinstance(value, str | bool) else value
    if not isinstance(values, Sequence) or len(values) != layers or not all(isinstance(each, kind) for each in values):
        what = {str: "a name", bool: "True or False"}[kind]
        raise ProblemError(f"{name}: expected {what}, or one for each of {layers} layers, got {value!r:.80}")
    return tuple(values)


# ---------------------------------------------------------------- activations: s -> phi, phi', phi''

Derivatives = tuple[Array, Array, Array]


def _tanh(s: Array) -> Derivatives:
    t = np.tanh(s)
    d1 = (1 - t) * (1 + t)
    return t, d1, -2 * t * d1


def _logistic(s: Array) -> tuple[Array, Array]:
    """sigma(s) and 1 - sigma(s)."""
    e = np.exp(-np.abs(s))
    small, large = e / (1 + e), 1 / (1 + e)
    return np.where(s >= 0, large, small), np.where(s >= 0, small, large)


def _sigmoid(s: Array) -> Derivatives:
    p, q = _logistic(s)
    return p, p * q, p * q * (q - p)


def _softplus(s: Array) -> Derivatives:
    p, q = _logistic(s)
    return np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))), p, p * q


def _silu(s: Array) -> Derivatives:
    p, q = _logistic(s)
    return s * p, p + s * p * q, p * q * (2 + s * (q - p))


_ERF = np.frompyfunc(math.erf, 1, 1)


def _normal(s: Array) -> tuple[Array, Array]:
    """Density and distribution function of the normal distribution."""
    clipped = np.minimum(np.abs(s), 40.0)
    return np.exp(-0.5 * clipped**2) / math.sqrt(2 * math.pi), 0.5 + 0.5 * np.asarray(_ERF(s * math.sqrt(0.5)), float)


def _gelu(s: Array) -> Derivatives:
    p, F = _normal(s)
    return s * F, F + s * p, p * (2 - s * s)


def _erf(s: Array) -> Derivatives:
    clipped = np.minimum(np.abs(s), 30.0)
    d1 = 2 / math.sqrt(math.pi) * np.exp(-(clipped**2))
    return np.asarray(_ERF(s), float), d1, -2 * s * d1


SMOOTH: dict[str, Callable[[Array], Derivatives]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "silu": _silu,
    "gelu": _gelu,
    "erf": _erf,
    "sin": lambda s: (np.sin(s), np.cos(s), -np.sin(s)),
    "square": lambda s: (s * s, 2 * s, 0 * s + 2),
    "identity": lambda s: (s + 0, 0 * s + 1, 0 * s),
}
"""Activations with three continuous derivatives, which local certificates take."""


def require_smooth(name: Any) -> None:
    """ProblemError, with the reason, for an activation that is not in `SMOOTH`."""
    if isinstance(name, str) and name in ("relu", "leaky_relu", "abs"):
        raise ProblemError(
            f"activation: {name} has a kink, and neurons that are active on the same samples can be mixed without any "
            f"change, so stationary points need not be isolated; local certificates take {', '.join(SMOOTH)}"
        )
    if not isinstance(name, str) or name not in SMOOTH:
        raise ProblemError(f"activation: expected one of {', '.join(SMOOTH)}, got {name!r:.40}")
