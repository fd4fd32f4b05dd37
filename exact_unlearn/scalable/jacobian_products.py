"""The Jacobian of a module as products only: J D by forward differentiation, J.T nu by reverse differentiation.

Nothing of size k d is ever stored, only what one reverse pass over the n samples keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp

from exact_unlearn.scalable.evaluation import Evaluation, take
from exact_unlearn.scalable.jacobian_core import Rows, numpy_door, products_gram, unit_rows

Parameters = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TangentJacobian:
    """J of an Evaluation through jvp and vjp.  Products are computed in the precision of the evaluation,
    whatever the vector's.

    Where an operation has no forward derivative, J D is the derivative of nu -> J.T nu in the direction D
    (reverse over reverse).
    """

    evaluation: Evaluation
    reverse: Callable[[Tensor], Parameters]
    forward_mode: bool

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
        moves = evaluation.layout.split(drift.to(self.dtype))
        if self.forward_mode:
            with evaluation.still():
                product: Tensor = jvp(evaluation.call, (evaluation.layout.split(evaluation.theta),), (moves,))[1]
        else:
            zero = torch.zeros(evaluation.n, evaluation.n_outputs, dtype=self.dtype, device=self.device)
            product = vjp(self.reverse, zero)[1](moves)[0]
        return product.reshape(-1).to(drift.dtype)

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        grads = self.reverse(nu.to(self.dtype).reshape(self.evaluation.n, self.evaluation.n_outputs))
        return torch.cat([grads[name].reshape(-1) for name in self.evaluation.layout.names]).to(nu.dtype)

    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        return products_gram(self, weights)

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        yield slice(0, self.shape[1]), self.dense().to(dtype or self.dtype)

    def select(self, rows: Rows) -> TangentJacobian:
        """Rows by output of sample; each becomes a sample of its own with one output."""
        l, device = self.evaluation.n_outputs, self.device
        index = torch.arange(self.shape[0], device=device)[rows]
        sample, output = index // l, index % l
        choice = (
            output[:, None] if self.evaluation.choice is None else self.evaluation.choice[sample, output][:, None]
        )
        old = self.evaluation
        inputs = take(old.inputs, sample)
        new = Evaluation(old.module, old.layout, old.theta, inputs, int(index.numel()), 1, choice, old.constants)
        return tangent_jacobian(new)

    def rows(self, indices: Rows) -> Tensor:
        return unit_rows(self, indices)

    def dense(self) -> Tensor:
        return self.rows(slice(None))

    def reduce(self, value: Tensor) -> Tensor:
        return value


def tangent_jacobian(evaluation: Evaluation) -> TangentJacobian:
    """Products with J at an evaluation; whether forward differentiation works is found out here, once."""
    parameters = evaluation.layout.split(evaluation.theta)
    with evaluation.still():
        pullback: Callable[[Tensor], tuple[Parameters]] = vjp(evaluation.call, parameters)[1]

        def reverse(nu: Tensor) -> Parameters:
            return pullback(nu)[0]

        try:
            with torch.no_grad():
                jvp(
                    evaluation.call,
                    (parameters,),
                    ({name: torch.zeros_like(part) for name, part in parameters.items()},),
                )
            forward_mode = True
        except (RuntimeError, NotImplementedError):
            forward_mode = False
    return TangentJacobian(evaluation, reverse, forward_mode)
