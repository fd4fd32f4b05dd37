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

from .stacked import Layers, deltas, forward, predict, width_of

RANK_TOLERANCE = 1e-12
"""Singular values of J below this fraction of the largest are rounding."""


def project(stack: Tensor, x: Tensor, strength: Tensor) -> Tensor:
    """theta - strength * P_perp(theta) for every copy, P_perp onto the complement of span{grad f(theta, x_i)}.

    stack (E, d), x (n,), strength (E,); computed in float64, returned in the dtype of `stack`.
    """
    return surrogate_step(stack, x, strength, None)


def surrogate_step(
    stack: Tensor, x: Tensor, strength: Tensor, rhs: Tensor | None, damping: Tensor | None = None
) -> Tensor:
    """theta + D with the minimiser D of |theta + D|^2 + lam |D|^2 subject to J D = rhs, strength = 1/(1 + lam).

    rhs (E, n), or None for 0.  D = -strength P_perp(theta) + pinv(J) rhs, whatever lam: pinv(J) rhs lies in row(J).
    damping (E,): mu of Levenberg and Marquardt, J^T (J J^T + mu I)^-1 rhs instead of pinv(J) rhs.
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

    def expanded(coordinates: Tensor) -> Tensor:
        """From the coordinates of the bases back to parameters."""
        part = Layers.of(coordinates)
        pieces = (q1 @ part.w1, q1 @ part.b1, q2 @ part.w2 @ qa.mT, q2 @ part.b2, part.w3 @ q3.mT, part.b3)
        return torch.cat([piece.flatten(1) for piece in pieces], dim=1)

    part, push = _onto_range(gradients, small, rhs, damping)
    within = expanded(part)
    moved = torch.lerp(theta, within, strength.double().unsqueeze(1))
    return (moved if push is None else moved + expanded(push)).to(stack.dtype)


def _onto_range(columns: Tensor, v: Tensor, rhs: Tensor | None, damping: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """v (E, p, 1) projected onto the range of columns (E, p, n), and pinv(columns.T) rhs; the rank is decided first."""
    q, r = torch.linalg.qr(columns)
    u, s, vh = torch.linalg.svd(r)
    keep = s > RANK_TOLERANCE * s[:, :1]
    basis = q @ u
    within = basis @ (keep.unsqueeze(2) * (basis.mT @ v))
    if rhs is None:
        return within.squeeze(2), None
    mu = 0.0 if damping is None else damping.double().unsqueeze(1)
    inverse = torch.where(keep, s / (s.square() + mu), 0.0).unsqueeze(2)
    return within.squeeze(2), (basis @ (inverse * (vh @ rhs.double().unsqueeze(2)))).squeeze(2)


def interpolate(stack: Tensor, x: Tensor, y: Tensor, iterations: int, goal: float = 1e-12) -> Tensor:
    """Gauss-Newton with Levenberg and Marquardt's damping, copy by copy: f(theta, x_i) = y_i up to `goal`, nearby.

    An iteration is kept by the copies whose residual it lowers; their mu falls by 10, that of the others rises by 10.
    """
    theta, still = stack.double(), torch.zeros(len(stack))
    x, y = x.double(), y.double()
    residual = y - predict(theta, x)
    mu = residual.square().mean(1)
    for _ in range(iterations):
        if bool((residual.abs().amax(1) <= goal).all()):
            break
        trial = surrogate_step(theta, x, still, residual, mu)
        after = y - predict(trial, x)
        better = after.norm(dim=1) < residual.norm(dim=1)
        theta = torch.where(better.unsqueeze(1), trial, theta)
        residual = torch.where(better.unsqueeze(1), after, residual)
        mu = torch.where(better, mu / 10, mu * 10).clamp(1e-30, 1e10)
    return theta


def dense_jacobian(theta: Tensor, x: Tensor) -> Tensor:
    """J of one copy by automatic differentiation, float64 (n, d)."""
    from torch.func import functional_call, jacrev

    from .stacked import network

    module = network(width_of(len(theta))).double()
    shapes = {name: p.shape for name, p in module.named_parameters()}

    def outputs(flat: Tensor) -> Tensor:
        pieces = flat.split([shape.numel() for shape in shapes.values()])
        parameters = {name: piece.view(shapes[name]) for name, piece in zip(shapes, pieces, strict=True)}
        out: Tensor = functional_call(module, parameters, (x.double().unsqueeze(1),))
        return out.squeeze(1)

    jacobian: Tensor = jacrev(outputs)(theta.double())
    return jacobian


def project_dense(theta: Tensor, x: Tensor, strength: float) -> Tensor:
    """`project` of one copy with J written out and factorised: (d,)."""
    flat = theta.double()
    _, s, vh = torch.linalg.svd(dense_jacobian(theta, x), full_matrices=False)
    basis = vh[s > RANK_TOLERANCE * s[0]]
    moved: Tensor = flat - strength * (flat - basis.T @ (basis @ flat))
    return moved.to(theta.dtype)
