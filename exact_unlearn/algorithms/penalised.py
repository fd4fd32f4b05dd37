"""Baselines that add a penalty on theta: Ridge and l1-Sparse.

The penalty is that of all of theta: frozen parameters add a constant to the objective and nothing to its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from exact_unlearn.algorithms.run import PlainSteps, Run, check
from exact_unlearn.algorithms.samples import Batch


@dataclass(frozen=True)
class Ridge:
    """Descend J(theta; B_r) + strength_k |theta|_2^2, strength_k = strength * decay^k after k batches.

    strength: lambda_reg >= 0; decay: gamma_reg in [0, 1].

    >>> import torch
    >>> from exact_unlearn.algorithms import Ridge, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=Ridge(strength=0.2), epochs=2)
    >>> history.method, history.steps
    (Ridge(strength=0.2, decay=0.9), 2)
    """

    strength: float = 0.1
    decay: float = 0.9

    def __post_init__(self) -> None:
        check(self.strength >= 0, "strength", "a number >= 0", self.strength)
        check(0 <= self.decay <= 1, "decay", "a number in [0, 1]", self.decay)

    def begin(self, run: Run) -> _RidgeSteps:
        """Start."""
        return _RidgeSteps(run, self.strength, self.decay)


@dataclass
class _RidgeSteps(PlainSteps):
    strength: float
    decay: float

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        squares = torch.stack([p.square().sum() for p in self.run.module.parameters()]).sum()
        return self.run.loss(retain) + self.strength * squares

    def after_step(self) -> None:
        self.strength *= self.decay


@dataclass(frozen=True)
class L1Sparse:
    """Descend J(theta; B_r) + 2 (1 - t/T) strength |theta|_1: full weight in epoch 0, 2 strength / T in epoch T - 1.

    strength: lambda_reg >= 0.

    >>> import torch
    >>> from exact_unlearn.algorithms import L1Sparse, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=L1Sparse(strength=0.2), epochs=2)
    >>> history.method, history.steps
    (L1Sparse(strength=0.2), 2)
    """

    strength: float = 0.1

    def __post_init__(self) -> None:
        check(self.strength >= 0, "strength", "a number >= 0", self.strength)

    def begin(self, run: Run) -> _L1Steps:
        """Start."""
        return _L1Steps(run, self.strength)


@dataclass
class _L1Steps(PlainSteps):
    strength: float

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        lengths = torch.stack([p.abs().sum() for p in self.run.module.parameters()]).sum()
        return self.run.loss(retain) + 2 * (1 - t / self.run.epochs) * self.strength * lengths
