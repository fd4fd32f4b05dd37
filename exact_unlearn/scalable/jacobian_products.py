"""The Jacobian of a module as products only: J D by forward differentiation, J.T nu by reverse differentiation.

Nothing of size k d is ever stored, only what one reverse pass over the n samples keeps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from exact_unlearn.scalable.evaluation import Evaluation, take
from exact_unlearn.scalable.jacobian_core import Rows, numpy_door, products_gram, unit_rows
from exact_unlearn.scalable.running import plainly

Parameters = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TangentJacobian:
    """J of an Evaluation through jvp and vjp.  Products are computed in the precision of the evaluation,
    whatever the vector's.

    forward: how J D is made.  "jvp"; where an operation has no forward derivative, "reverse", the derivative of
    nu -> J.T nu in the direction D; where it has no second derivative either, "rows", one reverse pass per row.
    error_estimate: relative error of products as derivatives (jacobian_check.py).
    """

    evaluation: Evaluation
    reverse: Callable[[Tensor], Parameters]
    forward: str
    error_estimate: float = 0.0

    products_only = True

    @property
    def shape(self) -> tuple[int, int]:
        return self.evaluation.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.evaluation.theta.dtype

    @property
    def device(self) -> torch.device:
        return self.evaluation.theta.device

    @property
    def first_dtype(self) -> torch.dtype:
        return self.dtype

    @numpy_door
    def matvec(self, drift: Tensor) -> Tensor:
        evaluation = self.evaluation
        with evaluation.still(), plain_attention():
            product = FORWARD[self.forward](evaluation, self.reverse, evaluation.layout.split(drift.to(self.dtype)))
        return product.reshape(-1).to(drift.dtype)

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        grads = self.reverse(nu.to(self.dtype).reshape(self.evaluation.n, self.evaluation.n_outputs))
        return torch.cat([grads[name].reshape(-1) for name in self.evaluation.layout.names]).to(nu.dtype)

    @plainly
    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        return products_gram(self, weights)

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        yield slice(0, self.shape[1]), self.dense().to(dtype or self.dtype)

    def select(self, rows: Rows) -> TangentJacobian:
        """Rows by output of sample; each becomes a sample of its own with one output."""
        l, device = self.evaluation.n_outputs, self.device
        index = torch.arange(self.shape[0], device=device)[rows]
        sample, output = index // l, index % l
        choice = output[:, None] if self.evaluation.choice is None else self.evaluation.choice[sample, output][:, None]
        inputs = take(self.evaluation.inputs, sample)
        new = replace(self.evaluation, inputs=inputs, n=int(index.numel()), n_outputs=1, choice=choice)
        return replace(tangent_jacobian(new), error_estimate=self.error_estimate)

    @plainly
    def rows(self, indices: Rows) -> Tensor:
        return unit_rows(self, indices)

    @plainly
    def dense(self) -> Tensor:
        return self.rows(slice(None))

    def reduce(self, value: Tensor) -> Tensor:
        return value


def tangent_jacobian(evaluation: Evaluation) -> TangentJacobian:
    """Products with J at an evaluation; how J D can be made is found out here, once."""
    parameters = evaluation.layout.split(evaluation.theta)
    with evaluation.still(), plain_attention():
        pullback: Callable[[Tensor], tuple[Parameters]] = vjp(evaluation.call, parameters)[1]

        def reverse(nu: Tensor) -> Parameters:
            return {name: part.to_dense() if part.is_sparse else part for name, part in pullback(nu)[0].items()}

        forward = next((name for name in ("jvp", "reverse") if _works(name, evaluation, reverse)), "rows")
    return TangentJacobian(evaluation, reverse, forward)


def plain_attention() -> AbstractContextManager[None]:
    """Attention written out: the fused kernels have neither a forward derivative nor a second one."""
    context: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context


def _by_jvp(evaluation: Evaluation, reverse: Callable[[Tensor], Parameters], moves: Parameters) -> Tensor:
    product: Tensor = jvp(evaluation.call, (evaluation.layout.split(evaluation.theta),), (moves,))[1]
    return product


def _by_reverse(evaluation: Evaluation, reverse: Callable[[Tensor], Parameters], moves: Parameters) -> Tensor:
    zero = evaluation.theta.new_zeros(evaluation.n, evaluation.n_outputs)
    product: Tensor = vjp(reverse, zero)[1](moves)[0]
    return product


def _by_rows(evaluation: Evaluation, reverse: Callable[[Tensor], Parameters], moves: Parameters) -> Tensor:
    product = evaluation.theta.new_zeros(evaluation.shape[0])
    for i in range(evaluation.shape[0]):
        unit = torch.zeros_like(product)
        unit[i] = 1.0
        row = reverse(unit.reshape(evaluation.n, evaluation.n_outputs))
        product[i] = sum((row[name] * part).sum() for name, part in moves.items())
    return product


FORWARD = {"jvp": _by_jvp, "reverse": _by_reverse, "rows": _by_rows}
"""The ways to J D."""


def _works(name: str, evaluation: Evaluation, reverse: Callable[[Tensor], Parameters]) -> bool:
    """Whether J D can be made this way and is the transpose of J.T nu, tried on one random pair.

    It need not be: the reverse derivative of an embedding leaves its padding token out, the forward one does not.
    """
    parameters = evaluation.layout.split(evaluation.theta)
    generator = torch.Generator().manual_seed(0)
    drift = {name: torch.randn(part.shape, generator=generator).to(part) for name, part in parameters.items()}
    nu = torch.randn(evaluation.n, evaluation.n_outputs, generator=generator).to(evaluation.theta)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch loads its own forward rules by deprecated means
        try:
            product = FORWARD[name](evaluation, reverse, drift)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):  # what torch raises for an operation without a forward derivative
            return False
    forward = float((product * nu).sum())
    grads = reverse(nu)
    backward = sum(float((grads[name] * part).sum()) for name, part in drift.items())
    size = sum(float((grads[name] * part).abs().sum()) for name, part in drift.items())
    return abs(forward - backward) <= 1e-4 * size
