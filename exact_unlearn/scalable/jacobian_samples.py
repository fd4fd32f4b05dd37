"""Jacobians row by row: chunked per-sample gradients by torch.func, and the loop of backward passes that is
their naive twin.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.evaluation import Evaluation, take
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian
from exact_unlearn.scalable.running import Inputs, map_tensors

CHUNK_ROWS_BYTES = 1 << 28
"""How many bytes of gradients are in flight at once, beyond the result itself."""


def sample_jacobian(evaluation: Evaluation, chunk: int | None = None) -> DenseTorchJacobian:
    """J (n l, d) by vectorised per-sample gradients, `chunk` samples at a time (chosen by memory when None)."""
    return DenseTorchJacobian(sample_rows(evaluation, evaluation.layout.names, chunk))


def loop_jacobian(evaluation: Evaluation) -> DenseTorchJacobian:
    """J (n l, d) by one backward pass per sample and output: slow, and right for every module that autograd can
    handle.
    """
    return DenseTorchJacobian(loop_rows(evaluation, evaluation.layout.names))


def sample_rows(evaluation: Evaluation, names: Sequence[str], chunk: int | None = None) -> Tensor:
    """The columns of J that belong to the parameters `names`, dense, in the order of the names.

    Modules with operations that vmap does not know are differentiated by `loop_rows` instead.
    """
    leaves = evaluation.layout.split(evaluation.theta)
    moving = {name: leaves[name] for name in names}
    width = sum(part.numel() for part in moving.values())
    out = evaluation.theta.new_empty(evaluation.shape[0], width)
    if not names or not evaluation.n:
        return out
    if chunk is None:
        chunk = max(1, CHUNK_ROWS_BYTES // max(1, evaluation.n_outputs * width * out.element_size()))

    def one(part: dict[str, Tensor], inputs: Inputs, choice: Tensor | None) -> Tensor:
        single = map_tensors(inputs, lambda tensor: tensor[None])
        return evaluation.call({**leaves, **part}, single, None if choice is None else choice[None])[0]

    choice = evaluation.choice
    rows = vmap(jacrev(one), in_dims=(None, _dims(evaluation.inputs), None if choice is None else 0))
    l = evaluation.n_outputs
    with evaluation.still():
        for start in range(0, evaluation.n, chunk):
            part = slice(start, min(start + chunk, evaluation.n))
            inputs = take(evaluation.inputs, part)
            try:
                with warnings.catch_warnings():  # operations without a batching rule are slower, not wrong
                    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                    grads = rows(moving, inputs, None if choice is None else choice[part])
            except (RuntimeError, NotImplementedError) as error:  # of operations that vmap does not know
                if start == 0 and not isinstance(error, torch.OutOfMemoryError):
                    return loop_rows(evaluation, names)
                raise
            flat = [grads[name].reshape((part.stop - part.start) * l, -1) for name in names]
            torch.cat(flat, 1, out=out[part.start * l : part.stop * l])
    return out


def loop_rows(evaluation: Evaluation, names: Sequence[str]) -> Tensor:
    """The naive twin of `sample_rows`."""
    leaves = evaluation.leaves()
    moving = [leaves[name] for name in names]
    out = evaluation.theta.new_zeros(evaluation.shape[0], sum(part.numel() for part in moving))
    l = evaluation.n_outputs
    with evaluation.still(), torch.enable_grad():
        for i in range(evaluation.n):
            one = slice(i, i + 1)
            values = evaluation.call(
                leaves, take(evaluation.inputs, one), None if evaluation.choice is None else evaluation.choice[one]
            )
            if not values.requires_grad:
                continue
            for o in range(l):
                grads = torch.autograd.grad(values[0, o], moving, retain_graph=o < l - 1, allow_unused=True)
                flat = [
                    torch.zeros_like(part) if grad is None else grad.to_dense() if grad.is_sparse else grad
                    for part, grad in zip(moving, grads, strict=True)
                ]
                out[i * l + o] = torch.cat([part.reshape(-1) for part in flat])
    return out


def _dims(inputs: Inputs) -> object:
    """in_dims of vmap: 0 for tensors, None for the rest."""
    if isinstance(inputs, dict):
        return {name: 0 if isinstance(part, Tensor) else None for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(0 if isinstance(part, Tensor) else None for part in inputs)
    if not isinstance(inputs, Tensor):
        raise ProblemError(f"x: expected tensors, got {type(inputs).__name__}")
    return 0
