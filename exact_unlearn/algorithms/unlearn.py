"""One plain function: `unlearn(module, retain, forget, method="minnorm-og")`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.buffers import POLICIES, Buffers, kept, restore, snapshot
from exact_unlearn.algorithms.classifiers import NPO, SCRUB, SalUn
from exact_unlearn.algorithms.gradient import GA, GD, NGD, NegGradPlus, Retrain
from exact_unlearn.algorithms.losses import Loss, head_losses
from exact_unlearn.algorithms.minnorm_og import MinNormOG
from exact_unlearn.algorithms.penalised import L1Sparse, Ridge
from exact_unlearn.algorithms.projection import evaluation_mode
from exact_unlearn.algorithms.run import History, Method, Run, Steps, check, free_masks
from exact_unlearn.algorithms.samples import Samples, accessible, pairs
from exact_unlearn.errors import ProblemError

METHODS: dict[str, type[Any]] = {
    "minnorm-og": MinNormOG,
    "retrain": Retrain,
    "gd": GD,
    "ga": GA,
    "ngd": NGD,
    "neggrad+": NegGradPlus,
    "ridge": Ridge,
    "l1-sparse": L1Sparse,
    "scrub": SCRUB,
    "npo": NPO,
    "salun": SalUn,
}


def unlearn(
    module: nn.Module,
    retain: Any,
    forget: Any,
    method: str | Method = "minnorm-og",
    free: Any = None,
    *,
    epochs: int = 10,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    batch_size: int | None = None,
    loss: str | Loss | Sequence[str | Loss] | None = None,
    generator: torch.Generator | None = None,
    buffers: Buffers = "as-used",
    retain_share: float | None = None,
    progress: Callable[[int, float], None] | None = None,
    measure: Callable[[nn.Module], Any] | None = None,
    **hyper_parameters: Any,
) -> tuple[nn.Module, History]:
    """A copy of `module` that has unlearned `forget`, and what happened; the module itself is left as it was.

    retain, forget: (x, y) tensors, y one per head, or torch Datasets of (x, y).
    method: one of METHODS with its hyper-parameters as keywords (`strength=0.1`), or an instance such as
    MinNormOG(strength=0.1). free: what may move: None (all that requires a gradient), names of parameters or
    submodules (* allowed), or a boolean mask (d,).  Whatever is not free is not moved by weight decay either.
    epochs: T; learning_rate, weight_decay: of AdamW, torch's defaults otherwise. batch_size: of forget and retain
    batches alike; None: all samples at every step. loss: "mse", "cross-entropy", a function (output, target) ->
    mean, or one per head; None: by the type of the targets. generator: of all draws (batches, noise, subsets,
    labels, dropout); None: a generator seeded with 0.
    buffers: what happens to running statistics in training mode: "frozen", "as-used" (by the batches that the loss
    needs) or "both-batches" (by every retain and forget batch, as the paper's code does).
    retain_share: p_retain in (0, 1]: the method may use a random floor(p n) of the n retain samples; None: all.
    progress: called with (epochs done, mean loss) after each. measure: called with the module, in evaluation mode,
    before the first step and after every epoch; what it returns is in the history.

    The copy keeps the module's training or evaluation mode while it is trained.  Raises ProblemError on arguments
    that do not fit.

    >>> import torch
    >>> from exact_unlearn.algorithms import unlearn
    >>> net, x = torch.nn.Linear(3, 1), torch.eye(3)
    >>> module, history = unlearn(net, (x[:2], torch.ones(2, 1)), (x[2:], torch.ones(1, 1)), method="gd", epochs=3)
    >>> history.epochs, len(history.loss)
    (3, 3)
    """
    check(isinstance(epochs, int) and epochs >= 0, "epochs", "an integer >= 0", epochs)
    check(0 <= learning_rate < math.inf, "learning_rate", "a number >= 0", learning_rate)
    check(0 <= weight_decay < math.inf, "weight_decay", "a number >= 0", weight_decay)
    check(buffers in POLICIES, "buffers", f"one of {', '.join(POLICIES)}", buffers)
    check(retain_share is None or 0 < retain_share <= 1, "retain_share", "a number in (0, 1] or None", retain_share)
    chosen = _method(method, hyper_parameters)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    # Dropout and the like draw from torch's global generator: it is seeded for this run and put back afterwards.
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        run = _prepare(module, retain, forget, loss, epochs, generator, free, retain_share)
        steps = chosen.begin(run)
        watch = _Watch(run.module, progress, measure)
        with kept(run.module, buffers):
            losses, count = _descend(steps, batch_size, learning_rate, weight_decay, buffers, watch)
    result = run.module
    for parameter, original in zip(result.parameters(), module.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
        parameter.grad = None
    records = tuple(getattr(steps, "records", ()))
    return result, History(chosen, epochs, count, tuple(losses), records, tuple(watch.measures), buffers)


@dataclass
class _Watch:
    """What the caller wants to know while the method runs."""

    module: nn.Module
    progress: Callable[[int, float], None] | None
    measure: Callable[[nn.Module], Any] | None
    measures: list[Any] = field(default_factory=list)

    def look(self) -> None:
        """Measure the module in evaluation mode; neither its modes nor the run's draws notice."""
        if self.measure is not None:
            with torch.random.fork_rng(), torch.no_grad(), evaluation_mode(self.module):
                self.measures.append(self.measure(self.module))

    def tell(self, epochs: int, loss: float) -> None:
        """After an epoch."""
        self.look()
        if self.progress is not None:
            self.progress(epochs, loss)


def _method(method: str | Method, hyper_parameters: dict[str, Any]) -> Method:
    if not isinstance(method, str):
        if hyper_parameters:
            raise ProblemError(f"unknown argument {next(iter(hyper_parameters))!r}: {method!r} has its own already")
        return method
    if method not in METHODS:
        raise ProblemError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    kind = METHODS[method]
    known = [field.name for field in fields(kind)]
    for name in hyper_parameters:
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has no hyper-parameters"
            raise ProblemError(f"unknown argument {name!r}: method {method!r} {has}")
    instance: Method = kind(**hyper_parameters)
    return instance


def _prepare(
    module: nn.Module,
    retain: Any,
    forget: Any,
    loss: Any,
    epochs: int,
    generator: torch.Generator,
    free: Any,
    retain_share: float | None = None,
) -> Run:
    retain, forget = Samples(retain, "retain"), Samples(forget, "forget")
    if retain_share is not None:
        retain = accessible(retain, retain_share, generator)
    if not len(retain) and not len(forget):
        raise ProblemError("retain and forget are both empty")
    example = (retain if len(retain) else forget).take(torch.tensor([0]))
    masks = free_masks(module, free)
    if not masks:
        raise ProblemError("free: no parameter may move")
    if any(parameter.dtype == torch.float16 for name, parameter in module.named_parameters() if name in masks):
        raise ProblemError("module: in float16 AdamW's epsilon is 0 and its steps are NaN; use bfloat16 or float32")
    moving = copy.deepcopy(module)
    for name, parameter in moving.named_parameters():
        parameter.requires_grad_(name in masks)
        parameter.grad = None
    start = {name: p.detach().clone() for name, p in moving.named_parameters()}
    return Run(moving, retain, forget, head_losses(loss, example), epochs, generator, masks, start)


def _descend(
    steps: Steps,
    batch_size: int | None,
    learning_rate: float,
    weight_decay: float,
    buffers: Buffers,
    watch: _Watch,
) -> tuple[list[float], int]:
    run = steps.run
    named = dict(run.parameters())
    partly = {name: (mask, named[name].detach().clone()) for name, mask in run.masks.items() if not bool(mask.all())}
    optimizer = torch.optim.AdamW(list(named.values()), lr=learning_rate, weight_decay=weight_decay)
    saved = snapshot(run.module, buffers)
    history, count = [], 0
    watch.look()
    for t, epoch in enumerate(pairs(run.retain, run.forget, batch_size, run.epochs, run.generator)):
        total, batches = 0.0, 0
        for retain, forget in epoch:
            run.forwarded.clear()
            steps.before(t, retain)
            if buffers == "both-batches":
                for batch in filter(len, (retain, forget)):
                    run.outputs(batch)
            optimizer.zero_grad()
            loss = steps.loss(t, retain, forget)
            torch.autograd.backward(loss)
            steps.after_backward()
            optimizer.step()
            _restore(named, partly)
            restore(saved)
            steps.after_step()
            total, batches = total + float(loss.detach()), batches + 1
        count += batches
        history.append(total / max(batches, 1))
        watch.tell(t + 1, history[-1])
    run.forwarded.clear()
    return history, count


def _restore(named: dict[str, nn.Parameter], partly: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Put frozen entries of partly free parameters back: weight decay and moments must not move them."""
    with torch.no_grad():
        for name, (mask, original) in partly.items():
            named[name].copy_(torch.where(mask, named[name], original))
