"""J as the norm solvers take it: entry by entry where that fits, else its products."""

from __future__ import annotations

from typing import Any

import torch

from exact_unlearn.errors import ProblemError
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.scalable.jacobian_core import DenseTorchJacobian, TorchJacobian, as_torch_jacobian
from exact_unlearn.scalable.pdhg import Products

DENSE_ENTRIES = 500_000_000
"""Largest number of entries of J that a norm solver stores; beyond, it works with products."""


def stored(problem: UnlearningProblem, device: Any, dtype: torch.dtype | None, route: str) -> TorchJacobian:
    """J in torch: dense where its entries fit, else as it came."""
    J = as_torch_jacobian(problem.jacobian)
    k, d = J.shape
    if dtype not in (None, torch.float32, torch.float64):
        raise ProblemError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
    if route == "products" or (route == "auto" and k * d > DENSE_ENTRIES and not isinstance(J, DenseTorchJacobian)):
        return Products(J)
    device = _device(device)
    matrix = J.dense()
    stored = matrix.to(device=device or J.device, dtype=dtype or J.dtype)
    if stored.dtype != matrix.dtype and k * d:
        before, after = matrix.abs().amax(1), stored.abs().amax(1)
        if not bool(torch.isfinite(after).all()) or bool((before.to(after.device).gt(0) & (after < 1e-30)).any()):
            raise ProblemError("dtype: a row of the jacobian leaves the range of float32; use torch.float64")
    return DenseTorchJacobian(stored)


def _device(device: Any) -> torch.device | None:
    """The device asked for (None: where the Jacobian is); ProblemError where torch finds none."""
    if device is None:
        return None
    try:
        known = torch.device(device)
        torch.zeros((), device=known)
    except (RuntimeError, TypeError, AssertionError):
        raise ProblemError(f"device: torch finds no device {str(device)!r} on this machine") from None
    if known.type == "meta":
        raise ProblemError("device: expected one that computes, got the meta device")
    return known
