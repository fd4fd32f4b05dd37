"""The l2 problem in the coordinates in which it is a projection.

    minimise  1/2 sum w_j theta_j^2 + lam/2 |D|^2   subject to   J D = b,   D = 0 on frozen coordinates

has, with s_j = 1 / (w_j + lam) on free coordinates and 0 on frozen ones, q = w theta* and c = J (s q) + b,

    D = s (J.T nu - q),   theta = s (lam theta* + J.T nu) on free coordinates,   J diag(s) J.T nu = c,

and J.T nu = w theta + lam D there, the sign convention of Solution.  With w = 1, lam = 0 and b = 0, theta is
the projection of theta* onto the row space of J (Lemma 5), and for w = 1 and b = 0 any lam only scales the
drift by 1 / (1 + lam) (Appendix E).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.jacobian_core import as_tensor


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The data of one l2 problem, checked.

    theta_star: (d,).  weights: w (d,) float64 or None for 1.  free: boolean mask (d,) or None for all.  rhs: b (k,)
    float64 or None for 0.  metric and shrink: s = shrink * metric, where metric (d,) is None for 1, the mask of the
    free coordinates (in the precision of theta*), or, with weights, s itself in float64 (then shrink is 1): what is
    derived from the data is never rounded to float32, for neither an answer nor its estimate would notice.
    """

    theta_star: Tensor
    lam: float
    weights: Tensor | None
    free: Tensor | None
    rhs: Tensor | None
    metric: Tensor | None
    shrink: float

    @property
    def target(self) -> Tensor:
        """q = w theta*: theta* itself for weights 1, else float64."""
        return self.theta_star if self.weights is None else self.weights * self.theta_star

    def scaled(self, vector: Tensor) -> Tensor:
        """metric * vector, without the constant, which is applied last; float64 where there are weights."""
        return vector if self.metric is None else self.metric * vector

    def drift(self, pull: Tensor) -> Tensor:
        """D = s (J.T nu - q) for pull = J.T nu, in the precision of pull, or better."""
        moved = self.scaled(pull - (self.theta_star.to(pull.dtype) if self.weights is None else self.target))
        return moved if self.shrink == 1.0 else moved.mul_(self.shrink)

    def point(self, pull: Tensor) -> Tensor:
        """theta, without the cancellation that theta* + D suffers where the drift nearly cancels theta*; in the
        precision of pull, or better.
        """
        if self.lam == 0.0 and self.metric is None:
            return pull
        star = self.theta_star.to(pull.dtype)
        moved = self.scaled(pull if self.lam == 0.0 else torch.add(pull, star, alpha=self.lam))
        moved = moved if self.shrink == 1.0 else self.shrink * moved
        return moved if self.free is None else torch.where(self.free, moved, star.to(moved.dtype))

    @property
    def stretch(self) -> float:
        """What a length in the metric, |v / sqrt(metric)|, becomes in parameter space at most."""
        if self.metric is None or self.weights is None or not self.metric.numel():
            return self.shrink
        return math.sqrt(float(self.metric.max()))

    def seminorm(self) -> Tensor | None:
        """The mask of free coordinates that cost nothing (w + lam = 0), or None if there are none."""
        if self.lam > 0.0 or self.weights is None:
            return None
        costless = self.weights == 0
        costless = costless if self.free is None else costless & self.free
        return costless if bool(costless.any()) else None


def quadratic(
    theta_star: Tensor,
    n_rows: int,
    lam: float = 0.0,
    weights: Any = None,
    free: Any = None,
    rhs: Any = None,
) -> Quadratic:
    """Check the arguments of an l2 problem; ProblemError names the one that does not fit.

    free: boolean mask (d,), indices, or None.  theta_star is a floating-point tensor (d,); everything follows
    its dtype and device.
    """
    if theta_star.ndim != 1:
        raise ProblemError(f"theta: expected a vector (d,), got shape {tuple(theta_star.shape)}")
    if not (isinstance(lam, int | float) and 0 <= lam < math.inf):
        raise ProblemError(f"lam: expected a finite number >= 0, got {lam!r}")
    lam = float(lam)
    mask = _mask(free, theta_star)
    if weights is not None:
        weights = _vector("weights", weights, theta_star.numel(), theta_star, torch.float64)
        if bool((weights < 0).any()):
            raise ProblemError(f"weights: expected numbers >= 0, got {float(weights.min())}")
    if rhs is not None:
        rhs = _vector("rhs", rhs, n_rows, theta_star, torch.float64)
        rhs = rhs if bool((rhs != 0).any()) else None
    if weights is None:
        metric = None if mask is None else mask.to(theta_star.dtype)
        return Quadratic(theta_star, lam, None, mask, rhs, metric, 1.0 / (1.0 + lam))
    stiffness = weights + lam
    metric = stiffness.reciprocal().clamp_max(torch.finfo(torch.float64).max)
    metric = torch.where(stiffness > 0, metric, 0.0)  # coordinates that cost nothing are eliminated first
    metric = metric if mask is None else metric * mask
    return Quadratic(theta_star, lam, weights, mask, rhs, metric, 1.0)


def _vector(name: str, values: Any, size: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    vector = as_tensor(name, values).to(like.device, dtype or like.dtype)
    if vector.shape != (size,):
        raise ProblemError(f"{name}: expected {size} entries, got shape {tuple(vector.shape)}")
    if not bool(torch.isfinite(vector).all()):
        raise ProblemError(f"{name}: expected finite numbers, got NaN or infinity")
    return vector


def _mask(free: Any, theta_star: Tensor) -> Tensor | None:
    """A boolean mask of the free coordinates; None when all of them are."""
    if free is None:
        return None
    d = theta_star.numel()
    given = torch.arange(d)[free] if isinstance(free, slice) else as_tensor("free", free)
    given = given.to(theta_star.device)
    if given.dtype == torch.bool:
        if given.shape != (d,):
            raise ProblemError(f"free: expected a mask of {d} entries, got shape {tuple(given.shape)}")
        mask = given
    elif given.numel() == 0:
        mask = torch.zeros(d, dtype=torch.bool, device=theta_star.device)
    else:
        if given.ndim != 1 or given.is_floating_point() or int(given.min()) < 0 or int(given.max()) >= d:
            raise ProblemError(f"free: expected a boolean mask or indices from 0 to {d - 1}, got {free!r:.80}")
        mask = torch.zeros(d, dtype=torch.bool, device=theta_star.device)
        mask[given] = True
    return None if bool(mask.all()) else mask
