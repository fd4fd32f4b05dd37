"""MinNorm-OG's projection step: theta <- theta - strength * P_perp(theta).

P_perp projects onto the orthogonal complement of span{g_i}, g_i = grad f(theta, x_i) one row per sample and output.
It is the minimiser of |theta + D|^2 + lam |D|^2 subject to J D = 0 with strength = 1/(1 + lam) (Appendix E of the
paper).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from exact_unlearn.algorithms.losses import Rows, heads
from exact_unlearn.algorithms.run import Run

CHUNK_ENTRIES = 1 << 24
"""How many entries of J are made at a time."""


def project_step(run: Run, x: Tensor, strength: float, rows: tuple[Rows, ...]) -> float:
    """Move the free coordinates of run.module; returns the distance moved.

    Gradients are those of the module in evaluation mode: with batch statistics a sample has no gradient of its own.
    """
    before = run.flat()
    jacobian = gradients(run, x, rows)
    after = _projection(jacobian, before, strength)
    run.assign(after)
    return float((after - before.to(after.dtype)).norm())


def gradients(run: Run, x: Tensor, rows: tuple[Rows, ...]) -> Tensor:
    """J at the current parameters, restricted to the free coordinates: one row per sample and chosen output."""
    if not len(x):
        return run.flat().new_empty(0, len(run.flat()))
    module, training = run.module, run.module.training
    module.eval()
    try:
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
        blocks = [
            _rows(run, per_sample(parameters, part, pick))
            for part, *rest in zip(torch.split(x, chunk), *(torch.split(c, chunk) for c in choice), strict=True)
            for pick in (tuple(rest),)
        ]
    finally:
        module.train(training)
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
