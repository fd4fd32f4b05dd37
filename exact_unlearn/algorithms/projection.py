"""MinNorm-OG's projection step: theta <- theta - strength * P_perp(theta).

P_perp projects onto the orthogonal complement of span{g_i}, g_i = grad f(theta, x_i) one row per sample and output.
It is the minimiser of |theta + D|^2 + lam |D|^2 subject to J D = 0 with strength = 1/(1 + lam) (Appendix E of the
paper).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from exact_unlearn.algorithms.losses import Rows, heads
from exact_unlearn.algorithms.run import Run
from exact_unlearn.scalable import ModuleModel, project

CHUNK_ENTRIES = 1 << 24
"""How many entries of J are made at a time where it is written out."""


@dataclass
class Projector:
    """The projection step of one run: it remembers what `ModuleModel` has learned about the module.

    Gradients are those of the module in evaluation mode: with batch statistics a sample has no gradient of its own.
    """

    run: Run
    models: dict[Rows, ModuleModel] = field(default_factory=dict)

    def step(self, x: Tensor, strength: float, rows: tuple[Rows, ...]) -> float:
        """Move the free coordinates of run.module; returns the distance moved."""
        run = self.run
        before = run.flat()
        if len(x) and len(set(rows)) == 1:
            drift = self._drift(x, rows[0])
        else:
            # Heads of both kinds at once (or no sample at all): J is written out.
            drift = _projection(gradients(run, x, rows), before, 1.0) - before.double()
        step = strength * drift
        run.assign(before.to(step.dtype) + step)
        return float(step.norm())

    def _drift(self, x: Tensor, rows: Rows) -> Tensor:
        """-P_perp(theta) on the free coordinates, J never formed where the layers allow it."""
        run = self.run
        model = self.models.setdefault(rows, ModuleModel(run.module, "argmax" if rows == "largest" else "all"))
        with evaluation_mode(run.module):
            theta = model.theta()
            jacobian = model.jacobian(theta, x)
        free = torch.cat([run.masks[name].reshape(-1) for name in model.layout.names])
        partial = not bool(free.all())
        drift: Tensor = project(jacobian, theta, free=free if partial else None).drift
        return drift[free] if partial else drift


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode meanwhile, each put back as it was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def gradients(run: Run, x: Tensor, rows: tuple[Rows, ...]) -> Tensor:
    """J at the current parameters, restricted to the free coordinates: one row per sample and chosen output."""
    if not len(x):
        return run.flat().new_empty(0, len(run.flat()))
    module = run.module
    with evaluation_mode(module):
        parameters = {name: p.detach() for name, p in run.parameters()}
        fixed = {name: p.detach() for name, p in module.named_parameters() if name not in parameters}
        fixed |= {name: buffer.detach() for name, buffer in module.named_buffers()}
        choice = _largest(module, x, rows)

        def scalars(moving: dict[str, Tensor], sample: Tensor, chosen: tuple[Tensor, ...]) -> Tensor:
            outputs = heads(functional_call(module, {**fixed, **moving}, (sample.unsqueeze(0),)))
            return torch.cat([head[0][index] for head, index in zip(outputs, chosen, strict=True)])

        size = sum(p.numel() for p in parameters.values())
        chunk = max(1, CHUNK_ENTRIES // max(size, 1))
        per_sample = vmap(jacrev(scalars), in_dims=(None, 0, 0), randomness="same")
        parts = zip(torch.split(x, chunk), *(torch.split(c, chunk) for c in choice), strict=True)
        blocks = [_rows(run, per_sample(parameters, part, tuple(rest))) for part, *rest in parts]
    return torch.cat(blocks)


def _largest(module: nn.Module, x: Tensor, rows: tuple[Rows, ...]) -> tuple[Tensor, ...]:
    """Indices (n, r) of the outputs that count, per head, held fixed while differentiating."""
    with torch.no_grad():
        outputs = heads(module(x))
    picks = []
    for head, which in zip(outputs, rows, strict=True):
        every = torch.arange(head.shape[1], device=head.device).expand(len(head), -1)
        picks.append(head.argmax(1, keepdim=True) if which == "largest" else every)
    return tuple(picks)


def _rows(run: Run, tree: dict[str, Tensor]) -> Tensor:
    """(n, r, *shape) per parameter -> (n r, free coordinates)."""
    pieces = [tree[name].flatten(0, 1)[:, run.masks[name]] for name, _ in run.parameters()]
    return torch.cat(pieces, dim=1)


def _projection(jacobian: Tensor, theta: Tensor, strength: float) -> Tensor:
    """theta - strength * P_perp(theta), in float64."""
    theta = theta.double()
    q, r = torch.linalg.qr(jacobian.double().T)
    u, s, _ = torch.linalg.svd(r)
    tolerance = max(jacobian.shape) * torch.finfo(jacobian.dtype).eps
    basis = q @ u[:, s > tolerance * s[:1]]
    within: Tensor = basis @ (basis.T @ theta)
    return theta - strength * (theta - within)
