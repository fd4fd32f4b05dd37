"""Baselines that follow gradients of the two losses: Retrain, GD, GA, NGD, NegGrad+."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.run import PlainSteps, Run, check
from exact_unlearn.algorithms.samples import Batch
from exact_unlearn.errors import ProblemError


@dataclass(frozen=True)
class GD:
    """Descend J(theta; B_r).

    >>> import torch
    >>> from exact_unlearn.algorithms import GD, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=GD(), epochs=2)
    >>> history.method, history.steps
    (GD(), 2)
    """

    def begin(self, run: Run) -> PlainSteps:
        """Start."""
        return PlainSteps(run)


@dataclass(frozen=True)
class Retrain:
    """Forget theta*: a fresh initialisation, then GD.

    fresh: a function without arguments that makes an untrained network of the same kind, called with torch's global
    generator seeded from the run's.  None: every submodule that owns a parameter that may move is drawn anew by
    torch's `reset_parameters`, which it must have.  Frozen parameters keep their values, and so do buffers (running
    statistics) of submodules in which nothing may move.

    >>> import torch
    >>> from exact_unlearn.algorithms import Retrain, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=Retrain(), epochs=2)
    >>> history.method, history.steps
    (Retrain(fresh=None), 2)
    """

    fresh: Callable[[], nn.Module] | None = None

    def __post_init__(self) -> None:
        check(self.fresh is None or callable(self.fresh), "fresh", "a function that makes a network", self.fresh)

    def begin(self, run: Run) -> PlainSteps:
        """Draw new parameters, then start."""
        before = {name: p.detach().clone() for name, p in run.module.named_parameters()}
        if self.fresh is None:
            reinitialise(run.module, run.generator, run.masks)
        else:
            _copy_from(run.module, _made(self.fresh, run.generator), run.masks)
        with torch.no_grad():
            for name, parameter in run.module.named_parameters():
                mask = run.masks.get(name)
                parameter.copy_(before[name] if mask is None else torch.where(mask, parameter, before[name]))
        return PlainSteps(run)


def _made(fresh: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """A network of the factory, drawn from `generator`."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        made = fresh()
    if not isinstance(made, nn.Module):
        raise ProblemError(f"fresh: expected a function that returns a module, got {type(made).__name__}")
    return made


def _copy_from(module: nn.Module, made: nn.Module, free: Collection[str]) -> None:
    """Parameters of `made` into `module`, and the buffers of every submodule that holds a parameter that may move."""
    source, target = made.state_dict(), module.state_dict()
    for name, value in target.items():
        if name not in source or source[name].shape != value.shape:
            found = tuple(source[name].shape) if name in source else "none"
            raise ProblemError(f"fresh: expected a network with {name} of shape {tuple(value.shape)}, got {found}")
    everything = {name for name, _ in module.named_parameters()} <= set(free)
    with torch.no_grad():
        for name, value in target.items():
            home = name.rpartition(".")[0]
            if everything or any(moving.rpartition(".")[0] == home for moving in free):
                value.copy_(source[name])


def reinitialise(module: nn.Module, generator: torch.Generator, free: Collection[str] | None = None) -> None:
    """Call `reset_parameters` of submodules, with torch's global generator seeded from `generator` meanwhile.

    free: names of the parameters that may move; None: all.  Submodules that hold parameters, all of them frozen, are
    left alone; those that hold none (BatchNorm without weights) are reset only if nothing is frozen.  A submodule is
    reset after its own submodules, as it was when it was made.
    """
    everything = {name for name, _ in module.named_parameters()}
    moving = everything if free is None else set(free)
    parts = []
    for name, part in _children_first(module):
        prefix = f"{name}." if name else ""
        own = {prefix + key for key, _ in part.named_parameters(recurse=False)}
        held = {prefix + key for key, _ in part.named_parameters()}
        if own & moving and not hasattr(part, "reset_parameters"):
            kind = f"{name or 'the module'} ({type(part).__name__})"
            raise ProblemError(f"method 'retrain': {kind} has parameters but no reset_parameters()")
        if held & moving or (not held and moving >= everything):
            parts.append(part)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in parts:
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()


def _children_first(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every submodule by name, after those inside it."""
    for name, child in module.named_children():
        yield from _children_first(child, f"{prefix}.{name}" if prefix else name)
    yield prefix, module


@dataclass(frozen=True)
class GA:
    """Ascend J(theta; B_f): descend its negative.

    >>> import torch
    >>> from exact_unlearn.algorithms import GA, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=GA(), epochs=2)
    >>> history.method, history.steps
    (GA(), 2)
    """

    def begin(self, run: Run) -> _Ascent:
        """Start."""
        return _Ascent(run)


@dataclass
class _Ascent(PlainSteps):
    def loss(self, t: int, retain: Batch, forget: Batch) -> Tensor:
        return -self.run.loss(forget)


@dataclass(frozen=True)
class NegGradPlus:
    """Descend J(theta; B_r) - ascent * J(theta; B_f).  ascent: lambda_GA >= 0.

    >>> import torch
    >>> from exact_unlearn.algorithms import NegGradPlus, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=NegGradPlus(ascent=0.2), epochs=2)
    >>> history.method, history.steps
    (NegGradPlus(ascent=0.2), 2)
    """

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
    """GD with N(0, noise^2) added to every coordinate of every gradient.  noise: sigma >= 0.

    >>> import torch
    >>> from exact_unlearn.algorithms import NGD, unlearn
    >>> x = torch.eye(3)[:2]
    >>> net, data = torch.nn.Linear(3, 1), [(x[k : k + 1], torch.ones(1, 1)) for k in (0, 1)]
    >>> module, history = unlearn(net, data[0], data[1], method=NGD(noise=0.01), epochs=2)
    >>> history.method, history.steps
    (NGD(noise=0.01), 2)
    """

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
