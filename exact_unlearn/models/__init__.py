"""Model classes as pure functions of a flat parameter vector theta (NumPy only).

Every model knows its shape (`n_parameters`, `n_inputs`, `n_outputs`, `blocks`) and computes `predict(theta,
x)` and the analytic `jacobian(theta, x)` of its outputs.  Arithmetic follows the data: float64, or exact on
object arrays of `fractions.Fraction` (linear models and networks of linear layers always; perceptrons with relu,
leaky_relu, abs, square or identity).

`Model` is what the problem layer asks of a model; a class of your own needs no more.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from exact_unlearn.jacobian import Array, Jacobian
from exact_unlearn.models.diagonal import DiagonalNetwork
from exact_unlearn.models.layout import Layout
from exact_unlearn.models.linear import LinearModel
from exact_unlearn.models.network import LinearNetwork
from exact_unlearn.models.perceptron import Perceptron

__all__ = ["DiagonalNetwork", "Layout", "LinearModel", "LinearNetwork", "Model", "Perceptron"]


@runtime_checkable
class Model(Protocol):
    """Pure functions of a flat theta; n samples, m inputs, l outputs, d parameters."""

    @property
    def n_parameters(self) -> int:
        """d."""
        ...

    @property
    def n_inputs(self) -> int:
        """m."""
        ...

    @property
    def n_outputs(self) -> int:
        """l."""
        ...

    @property
    def blocks(self) -> dict[str, slice]:
        """Name -> slice of theta."""
        ...

    def predict(self, theta: Any, x: Any) -> Array:
        """f(theta, x_i) row by row: (n, m) -> (n, l)."""
        ...

    def jacobian(self, theta: Any, x: Any) -> Jacobian:
        """The map R^d -> R^(n l) whose row i l + o is the gradient of output o at sample i."""
        ...

    def is_affine_in(self, free: Any = None) -> bool:
        """Whether f is affine in the free coordinates, which is what makes the exact problem a convex program."""
        ...
