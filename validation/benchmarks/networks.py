"""Networks whose Jacobians benchmarks are run on."""

from __future__ import annotations

import numpy as np

from exact_unlearn.jacobian import Array


def trained_mlp(width: int = 300, samples: int = 50, epochs: int = 1000) -> tuple[Array, Array]:
    """(J, theta*) of an MLP 1 - width - width - 1 with SiLU, trained on sin: rows are gradients of the output,
    ill conditioned.
    """
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)
    ).double()
    x = (2.0 * torch.rand(samples, 1, dtype=torch.float64) - 1.0) * 5.0 * torch.pi
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        optimizer.zero_grad()
        (net(x) - x.sin()).square().mean().backward()
        optimizer.step()
    parameters = list(net.parameters())
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(net(x[i : i + 1]).sum(), parameters)])
        for i in range(samples)
    ]
    theta = torch.cat([p.detach().reshape(-1) for p in parameters])
    return np.ascontiguousarray(torch.stack(rows).numpy()), theta.numpy().copy()
