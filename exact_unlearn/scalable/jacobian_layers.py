"""J of a module layer by layer: inputs and back-propagated gradients of every layer, J itself never ("ghost"
gradients).

One forward pass and one backward pass per output and head, down to the layer outputs only, give everything: the
Gram matrix, J theta = sum of <gradient, output> for linear layers, J D by running each layer with the weights
D, J.T nu by one weight-gradient pass.

What a layer's rule cannot describe is found by counting: each parameter must occur in the autograd graph
exactly as often as its layers were called.  Parameters that do not (used functionally, tied across different
kinds of layers, in layers without a rule) get dense columns from per-sample gradients, for just those
parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeGuard

import torch
from torch import Tensor

from exact_unlearn.scalable.evaluation import Evaluation, chosen, each_output
from exact_unlearn.scalable.jacobian_blocks import Block, DenseBlock, LinearGeometry, Use
from exact_unlearn.scalable.jacobian_core import Rows, TorchJacobian, numpy_door
from exact_unlearn.scalable.jacobian_rules import Call, blocks_of, eligible, is_linear, record, signature
from exact_unlearn.scalable.jacobian_samples import sample_rows
from exact_unlearn.scalable.running import explained, plainly, still

SMALL = 1 << 23
"""Entries of J up to which the layers' inputs and gradients are kept, and everything is computed, in float64 at
once.
"""


def is_small(shape: tuple[int, int]) -> bool:
    """Whether float64 costs less than finding out that float32 does not suffice."""
    return shape[0] * shape[1] < SMALL


@dataclass(frozen=True, eq=False)
class LayerJacobian:
    """J (k, d) as blocks of columns, one per parameter; parameters without a block do not influence the outputs.

    theta: where J was taken, and at_theta: J theta where it came for free.  is_wide: all arithmetic was float64,
    whatever the dtype; small blocks are stored so in any case.  error_estimate: relative error of products as
    derivatives (jacobian_check.py).
    """

    shape: tuple[int, int]
    blocks: tuple[Block, ...]
    theta: Tensor
    at_theta: Tensor | None
    error_estimate: float = 0.0
    is_wide: bool = False
    version: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "version", self.theta._version)

    @property
    def dtype(self) -> torch.dtype:
        return self.theta.dtype

    @property
    def device(self) -> torch.device:
        return self.theta.device

    @property
    def first_dtype(self) -> torch.dtype:
        return torch.float64 if self.is_wide or is_small(self.shape) else self.dtype

    @cached_property
    def covers_all(self) -> bool:
        """Whether every parameter influences the outputs; columns of the others are zero."""
        return bool(self.shape[1] == sum(block.columns.stop - block.columns.start for block in self.blocks))

    @property
    def dense_parameters(self) -> int:
        """How many of the d columns are stored densely."""
        return sum(block.columns.stop - block.columns.start for block in self.blocks if isinstance(block, DenseBlock))

    @numpy_door
    def matvec(self, drift: Tensor) -> Tensor:
        if self.at_theta is not None and self._is_theta(drift):
            return self.at_theta if self.is_wide else self.at_theta.to(drift.dtype)
        out = torch.zeros(self.shape[0], dtype=torch.float64, device=self.device)
        for block in self.blocks:
            _add_rows(out, block.rows, block.matvec(drift[block.columns]))
        return out if self.is_wide else out.to(drift.dtype)

    def _is_theta(self, vector: Tensor) -> bool:
        """Whether a vector is the theta at which J was taken, the same memory, and nobody wrote there since."""
        own = self.theta
        same = vector.data_ptr() == own.data_ptr() and vector.dtype == own.dtype and vector.stride() == own.stride()
        return same and vector._version == self.version

    @numpy_door
    def rmatvec(self, nu: Tensor) -> Tensor:
        out = nu.new_empty(self.shape[1]) if self.covers_all else nu.new_zeros(self.shape[1])
        for block in self.blocks:
            block.rmatvec(nu if block.rows is None else nu[block.rows], out[block.columns])
        return out

    @plainly
    def gram(self, weights: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        k = self.shape[0]
        out = torch.zeros(k, k, dtype=torch.float64, device=self.device)
        for block in self.blocks:
            part = _weighted_gram(block, weights, dtype or self.dtype)
            if part is None:
                continue
            if block.rows is None:
                out += part
            else:
                out[block.rows[:, None], block.rows] += part
        return out

    def column_blocks(self, dtype: torch.dtype | None = None) -> Iterator[tuple[slice, Tensor]]:
        dtype = dtype or self.dtype
        for block in self.blocks:
            for columns, piece in block.pieces(dtype):
                if block.rows is None:
                    yield columns, piece
                else:
                    whole = piece.new_zeros(self.shape[0], piece.shape[1])
                    whole[block.rows] = piece
                    yield columns, whole

    def select(self, rows: Rows) -> LayerJacobian:
        k = self.shape[0]
        wanted = torch.arange(k, device=self.device)[rows]
        blocks = []
        for block in self.blocks:
            if block.rows is None:
                blocks.append(block.select(wanted, None))
                continue
            place = torch.full((k,), -1, device=self.device)
            place[block.rows] = torch.arange(block.rows.numel(), device=self.device)
            present = place[wanted] >= 0
            if bool(present.any()):
                blocks.append(block.select(place[wanted][present], present.nonzero()[:, 0]))
        at_theta = None if self.at_theta is None else self.at_theta[wanted]
        shape = (int(wanted.numel()), self.shape[1])
        return LayerJacobian(shape, tuple(blocks), self.theta, at_theta, self.error_estimate, self.is_wide)

    @plainly
    def rows(self, indices: Rows) -> Tensor:
        part = self.select(indices)
        out = torch.zeros(part.shape, dtype=self.dtype, device=self.device)
        for columns, piece in part.column_blocks():
            out[:, columns] = piece
        return out

    @plainly
    def dense(self) -> Tensor:
        return self.rows(slice(None))

    def reduce(self, value: Tensor) -> Tensor:
        return value


def _weighted_gram(block: Block, weights: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The Gram matrix of a block; weights that are constant on it (frozen layers) leave it in its cheap form."""
    if weights is None:
        return block.gram(dtype)
    own = weights[block.columns]
    low, high = float(own.min()), float(own.max())
    if high == 0.0:
        return None
    if low == high:
        return low * block.gram(dtype)
    total: Tensor | None = None
    for columns, piece in block.pieces(dtype):
        part = ((piece * weights[columns].to(dtype)) @ piece.T).double()
        total = part if total is None else total + part
    return total


def layer_jacobian(
    seed: Evaluation, outputs: str, fallback_bytes: int | None = None, chunk: int | None = None
) -> tuple[Evaluation, Tensor, LayerJacobian | None]:
    """The evaluation, its outputs (n, l), and J by layers; None for J if dense columns would take more than
    `fallback_bytes`.

    seed: an evaluation from `begin`.  outputs: "all" or "argmax".
    """
    leaves = seed.leaves()
    calls: list[Call] = []
    hook = record(calls, seed.n)
    handles = [layer.register_forward_hook(hook) for layer in seed.module.modules() if eligible(layer)]
    try:
        with explained(), still(seed.module, quiet=False), torch.enable_grad():
            heads = seed.heads(leaves)
    finally:
        for handle in handles:
            handle.remove()
    evaluation, values = chosen(seed, heads, outputs)
    covered, uncovered = _assign(calls, leaves, values)
    itemsize = evaluation.theta.element_size()
    dense = sum(leaves[name].numel() for name in uncovered) * evaluation.shape[0] * itemsize
    if fallback_bytes is not None and dense > fallback_bytes:
        return evaluation, values.detach(), None
    calls = list({id(call): call for uses in covered.values() for call, _ in uses}.values())
    _backpropagate(list(each_output(evaluation, heads)), calls)
    calls.clear()
    heads.clear()
    fallback = sample_rows(evaluation, uncovered, chunk) if uncovered else None
    return evaluation, values.detach(), _assemble(evaluation, covered, uncovered, fallback)


def agrees(jacobian: TorchJacobian, evaluation: Evaluation) -> bool:
    """Whether J.T nu by layers is what one backward pass says, for one random nu.

    Layers that are fed (time, sample) where time happens to equal the number of samples, batches whose samples
    are coupled, and anything else that the rules misread show here.
    """
    generator = torch.Generator().manual_seed(0)
    nu = torch.randn(evaluation.shape[0], generator=generator).to(evaluation.theta)
    leaves = evaluation.leaves()
    with evaluation.still(), torch.enable_grad():
        values = evaluation.call(leaves)
        if not values.requires_grad:
            return not bool(jacobian.rmatvec(nu).any())
        grads = torch.autograd.grad((values.reshape(-1) * nu).sum(), list(leaves.values()), allow_unused=True)
    pull = jacobian.rmatvec(nu)
    expected = torch.zeros_like(pull)
    for part, grad in zip(evaluation.layout.slices, grads, strict=True):
        if grad is not None:
            expected[part] = grad.reshape(-1)
    return bool(torch.linalg.vector_norm(pull - expected) <= 1e-3 * torch.linalg.vector_norm(expected))


def _assign(
    calls: Sequence[Call], leaves: dict[str, Tensor], values: Tensor
) -> tuple[dict[str, list[tuple[Call, str]]], list[str]]:
    """Parameter name -> its calls and role, for parameters that rules cover; and the names of the others that
    are used at all.
    """
    name_of = {id(leaf): name for name, leaf in leaves.items()}
    uses: dict[str, list[tuple[Call, str]]] = {}
    for call in calls:
        for role, leaf in call.parameters:
            name = name_of.get(id(leaf))
            if name is not None:
                uses.setdefault(name, []).append((call, role))
    counts = _occurrences(values, name_of)
    covered, uncovered = {}, []
    for name in leaves:
        if not counts.get(name):
            continue
        found = uses.get(name, [])
        alike = len({signature(call, role) for call, role in found}) == 1
        if alike and len(found) == counts[name] and all(call.intact for call, _ in found):
            covered[name] = found
        else:
            uncovered.append(name)
    return covered, uncovered


def _occurrences(values: Tensor, name_of: dict[int, str]) -> dict[str, int]:
    """How often each leaf enters the autograd graph below `values`."""
    counts: dict[str, int] = {}
    stack = [values.grad_fn] if values.grad_fn is not None else []
    seen = set(stack)
    while stack:
        node = stack.pop()
        for following, _ in node.next_functions:
            if following is None:
                continue
            leaf = getattr(following, "variable", None)
            if leaf is not None:
                name = name_of.get(id(leaf))
                if name is not None:
                    counts[name] = counts.get(name, 0) + 1
            elif following not in seen:
                seen.add(following)
                stack.append(following)
    return counts


def _backpropagate(outputs: Sequence[Tensor], calls: Sequence[Call]) -> None:
    """Fill in the gradients of every call, and which rows of J they belong to: one backward pass per output,
    all samples at once.
    """
    edges = [call.edge for call in calls]
    found: list[list[Tensor | None]] = [[] for _ in calls]
    for o, output in enumerate(outputs if calls else ()):
        grads: Sequence[Tensor | None] = [None] * len(calls)
        if output.requires_grad:
            grads = torch.autograd.grad(output.sum(), edges, retain_graph=o < len(outputs) - 1, allow_unused=True)
        for parts, grad in zip(found, grads, strict=True):
            parts.append(grad)
        del grads, grad
    for call, parts in zip(calls, found, strict=True):
        active = [o for o, part in enumerate(parts) if part is not None]
        present = [part for part in parts if part is not None]
        parts.clear()
        if not active:
            continue
        call.grads = present[0] if len(present) == 1 else torch.stack(present, 1).flatten(0, 1)
        if len(active) < len(outputs):
            n, device = len(outputs[0]), outputs[0].device
            rows = torch.arange(n, device=device)[:, None] * len(outputs) + torch.tensor(active, device=device)
            call.rows = rows.reshape(-1)


def _assemble(
    evaluation: Evaluation,
    covered: dict[str, list[tuple[Call, str]]],
    uncovered: list[str],
    fallback: Tensor | None,
) -> LayerJacobian:
    """Blocks of all parameters, and J theta; activations are let go as soon as the blocks have taken what they
    need.
    """
    layout, theta = evaluation.layout, evaluation.theta
    places = dict(zip(layout.names, zip(layout.slices, layout.shapes, strict=True), strict=True))
    product = torch.zeros(evaluation.shape[0], dtype=torch.float64, device=theta.device)
    blocks: list[Block] = []
    small = is_small(evaluation.shape)
    known = set() if small else _outputs_times_gradients(covered, product)
    for name in list(covered):
        columns, shape = places[name]
        uses = _same_rows([use for use in covered.pop(name) if use[0].grads is not None], evaluation)
        if uses:
            blocks.append(blocks_of(uses, columns, shape))
    start = 0
    for name in uncovered:
        columns, _ = places[name]
        assert fallback is not None
        blocks.append(DenseBlock(columns, fallback[:, start : start + columns.stop - columns.start]))
        start += columns.stop - columns.start
    if small:
        blocks = [block.widened() for block in blocks]
        return LayerJacobian(evaluation.shape, _merged(blocks), theta, None)
    settled = {places[name][0].start for name in known}
    for block in blocks:
        if block.columns.start not in settled:
            _add_rows(product, block.rows, block.matvec(theta[block.columns]))
    return LayerJacobian(evaluation.shape, _merged(blocks), theta, product.to(theta.dtype))


def _merged(blocks: list[Block]) -> tuple[Block, ...]:
    """Narrow dense blocks with neighbouring columns put together, for every block costs a few calls."""
    out: list[Block] = []
    for block in sorted(blocks, key=lambda block: block.columns.start):
        last = out[-1] if out else None
        if not (_is_narrow(last) and _is_narrow(block)) or last.columns.stop != block.columns.start:
            out.append(block)
            continue
        columns = slice(last.columns.start, block.columns.stop)
        out[-1] = DenseBlock(columns, torch.cat([last.matrix, block.matrix], 1))
    return tuple(out)


def _is_narrow(block: Block | None) -> TypeGuard[DenseBlock]:
    return isinstance(block, DenseBlock) and block.rows is None and block.matrix.numel() < _SMALL


_SMALL = 1 << 18


def _outputs_times_gradients(covered: dict[str, list[tuple[Call, str]]], at_theta: Tensor) -> set[str]:
    """Add <gradient, output> of layers that are linear in their parameters; the names of the parameters whose
    part of J theta that is.

    Only where every parameter of the layer is covered, belongs to this layer alone, and the output was not
    overwritten.
    """
    name_of = {
        id(leaf): name
        for name, uses in covered.items()
        for call, role in uses
        for own, leaf in call.parameters
        if own == role
    }
    settled: set[str] = set()
    for uses in covered.values():
        call, role = uses[0]
        names = [name_of.get(id(leaf), "") for _, leaf in call.parameters]
        if role != "weight" or not is_linear(call.layer) or len(uses) > 1 or "" in names or call.grads is None:
            continue
        if call.output_intact and all(len(covered[other]) == 1 and covered[other][0][0] is call for other in names):
            _add_rows(at_theta, call.rows, Use(LinearGeometry(), call.outputs, call.grads).against(call.outputs))
            settled.update(names)
    return settled


def _same_rows(uses: list[tuple[Call, str]], evaluation: Evaluation) -> list[tuple[Call, str]]:
    """The calls of one parameter with gradients for the same rows of J: where heads share it unevenly, zeros
    are filled in.
    """
    rows = [call.rows for call, _ in uses]
    if all(other is None for other in rows) or len(uses) == 1:
        return uses
    if all(other is not None and rows[0] is not None and torch.equal(other, rows[0]) for other in rows):
        return uses
    out = []
    for call, role in uses:
        if call.rows is not None and call.grads is not None:
            whole = call.grads.new_zeros(evaluation.shape[0], *call.grads.shape[1:])
            whole[call.rows] = call.grads
            call = replace(call, grads=whole, rows=None)
        out.append((call, role))
    return out


def _add_rows(out: Tensor, rows: Tensor | None, part: Tensor) -> None:
    if rows is None:
        out += part
    else:
        out[rows] += part
