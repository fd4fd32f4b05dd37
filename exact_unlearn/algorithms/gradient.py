"""Baselines that follow gradients of the two losses: Retrain, GD, GA, NGD, NegGrad+."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.run import PlainSteps, Run, check
from exact_unlearn.algorithms.samples import Batch
from exact_unlearn.errors import ProblemError


@dataclass(frozen=True)
class GD:
    """Descend J(theta; B_r)."""

    def begin(self, run: Run) -> PlainSteps:
        """Start."""
        return PlainSteps(run)


@dataclass(frozen=True)
class Retrain:
    """Forget theta*: a fresh initialisation, then GD.

    Every submodule that owns parameters must have torch's `reset_parameters`; frozen parameters keep their values.
    """

    def begin(self, run: Run) -> PlainSteps:
        """Draw new parameters, then start."""
        fresh = {name: p.detach().clone() for name, p in run.module.named_parameters()}
        reinitialise(run.module, run.generator)
        with torch.no_grad():
            for name, parameter in run.module.named_parameters():
                mask = run.masks.get(name)
                parameter.copy_(fresh[name] if mask is None else torch.where(mask, parameter, fresh[name]))
        return PlainSteps(run)


def reinitialise(module: nn.Module, generator: torch.Generator) -> None:
    """Call `reset_parameters` of every submodule, with torch's global generator seeded from `generator` meanwhile."""
    for name, part in module.named_modules():
        owns = any(True for _ in part.parameters(recurse=False))
        if owns and not hasattr(part, "reset_parameters"):
            kind = f"{name or 'the module'} ({type(part).__name__})"
            raise ProblemError(f"method 'retrain': {kind} has parameters but no reset_parameters()")
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in module.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()


@dataclass(frozen=True)
class GA:
    """Ascend J(theta; B_f): descend its negative."""

    def begin(self, run: Run) -> _Ascent:
        """Start."""
        return _Ascent(run)


@dataclass
class _Ascent(PlainSteps):
    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        return -self.run.loss(forget)


@dataclass(frozen=True)
class NegGradPlus:
    """Descend J(theta; B_r) - ascent * J(theta; B_f).  ascent: lambda_GA >= 0."""

    ascent: float = 0.1

    def __post_init__(self) -> None:
        check(self.ascent >= 0, "ascent", "a number >= 0", self.ascent)

    def begin(self, run: Run) -> _NegGradSteps:
        """Start."""
        return _NegGradSteps(run, self.ascent)


@dataclass
class _NegGradSteps(PlainSteps):
    ascent: float

    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        return self.run.loss(retain) - self.ascent * self.run.loss(forget)


@dataclass(frozen=True)
class NGD:
    """GD with N(0, noise^2) added to every coordinate of every gradient.  noise: sigma >= 0."""

    noise: float = 0.1

    def __post_init__(self) -> None:
        check(self.noise >= 0, "noise", "a number >= 0", self.noise)

    def begin(self, run: Run) -> _NoisySteps:
        """Start."""
        return _NoisySteps(run, self.noise)


@dataclass
class _NoisySteps(PlainSteps):
    noise: float

    def after_backward(self) -> None:
        """One draw for all coordinates, in the order of the parameters."""
        sizes = [parameter.numel() for _, parameter in self.run.parameters()]
        draw = torch.randn(sum(sizes), generator=self.run.generator)
        for (_, parameter), piece in zip(self.run.parameters(), torch.split(draw, sizes), strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.add_(piece.view_as(parameter).to(parameter), alpha=self.noise)
