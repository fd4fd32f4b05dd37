"""MinNorm-OG's projection for a stack of networks, as accurate as a QR factorisation of J and as cheap as small ones.

The gradient of f(x_i) by a layer's matrix is an outer product d_i a_i^T of a back-propagated and a forward vector,
so the n gradients lie in span{q q'^T} for orthonormal bases Q of {d_i} and Q' of {a_i}.  In these coordinates a
layer of H x H entries becomes one of k x k, k = min(H, n), exactly (multiplication with Q is an isometry), and so J
with d = H^2 + 4H + 1 columns becomes the Jacobian C of a network of width k.  A QR factorisation of C^T costs 2 n^2
(k^2 + 4k + 1) operations instead of 2 n^2 d and, other than the Gram matrix J J^T, does not square the condition
number (J of a trained network here has cond 3e5 to 1.5e8).  An SVD of its n x n factor decides the rank, so
dependent gradients are no exception.

`project_dense` is the naive twin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from validation.experiments.stacked import Layers, deltas, forward, width_of

RANK_TOLERANCE = 1e-12
"""Singular values of J below this fraction of the largest are rounding."""


def project(stack: Tensor, x: Tensor, strength: Tensor) -> Tensor:
    """theta - strength * P_perp(theta) for every copy, P_perp onto the complement of span{grad f(theta, x_i)}.

    stack (E, d), x (n,), strength (E,); computed in float64, returned in the dtype of `stack`.
    """
    theta = stack.double()
    layers = Layers.of(theta)
    activity = forward(layers, x.double())
    d2, d1 = deltas(layers, activity)
    q1, r1 = torch.linalg.qr(d1)
    q2, r2 = torch.linalg.qr(d2)
    qa, ra = torch.linalg.qr(activity.a1)
    q3, r3 = torch.linalg.qr(activity.a2)
    outer = torch.einsum("epn,eqn->epqn", r2, ra).flatten(1, 2)
    gradients = torch.cat([r1 * x.double(), r1, outer, r2, r3, torch.ones_like(r3[:, :1])], dim=1)
    small = torch.cat(
        [
            q1.mT @ layers.w1,
            q1.mT @ layers.b1,
            (q2.mT @ layers.w2 @ qa).flatten(1).unsqueeze(2),
            q2.mT @ layers.b2,
            (layers.w3 @ q3).mT,
            layers.b3,
        ],
        dim=1,
    )
    part = Layers.of(_onto_range(gradients, small).squeeze(2))
    within = torch.cat(
        [
            (q1 @ part.w1).flatten(1),
            (q1 @ part.b1).flatten(1),
            (q2 @ part.w2 @ qa.mT).flatten(1),
            (q2 @ part.b2).flatten(1),
            (part.w3 @ q3.mT).flatten(1),
            part.b3.flatten(1),
        ],
        dim=1,
    )
    return torch.lerp(theta, within, strength.double().unsqueeze(1)).to(stack.dtype)


def _onto_range(columns: Tensor, v: Tensor) -> Tensor:
    """Project v (E, p, 1) onto the range of columns (E, p, n), with a decision about the rank."""
    q, r = torch.linalg.qr(columns)
    u, s, _ = torch.linalg.svd(r)
    keep = s > RANK_TOLERANCE * s[:, :1]
    basis = q @ u
    return basis @ (keep.unsqueeze(2) * (basis.mT @ v))


def project_dense(theta: Tensor, x: Tensor, strength: float) -> Tensor:
    """The same for one copy with J written out and factorised: (d,)."""
    from torch.func import functional_call, jacrev

    from validation.experiments.stacked import network

    module = network(width_of(len(theta))).double()
    sizes = [(name, p.shape) for name, p in module.named_parameters()]

    def outputs(flat: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for _, shape in sizes])
        parameters = {name: piece.view(shape) for (name, shape), piece in zip(sizes, pieces, strict=True)}
        out: Tensor = functional_call(module, parameters, (x.double().unsqueeze(1),))
        return out.squeeze(1)

    flat = theta.double()
    jacobian = jacrev(outputs)(flat)
    u, s, vh = torch.linalg.svd(jacobian, full_matrices=False)
    del u
    basis = vh[s > RANK_TOLERANCE * s[0]]
    return (flat - strength * (flat - basis.T @ (basis @ flat))).to(theta.dtype)
