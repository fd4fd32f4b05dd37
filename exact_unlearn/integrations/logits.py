"""Rows of J for models whose inputs are dictionaries: gradients of largest logits, of samples or of tokens.

A row is grad_theta of the largest logit (its index held fixed) of one sample of a classifier, or of one token of a
language model; a regression head contributes its output.  They are the rows that MinNorm-OG's projection needs
(Algorithm 1 of the paper).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms.projection import evaluation_mode
from exact_unlearn.algorithms.samples import balanced_indices
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import project

ENTRY_LIMIT = 1 << 31
"""Entries of J that are held at a time, at most: rows times parameters that may move."""

STEPS = {True: (2.0**-17, 2.0**-25, 2.0**-9), False: (2.0**-8, 2.0**-12, 2.0**-5)}
"""h, in units of the parameters, of float64 models and of others."""

CEILING = {True: 0.02, False: 0.25}
"""How far J d may be from the differences, relatively, likewise: kinks, and the rounding of saturated models."""

IGNORED = -100
"""The label of tokens that carry no loss, as everywhere in Hugging Face's models."""


def project_away(
    model: nn.Module, inputs: Mapping[str, Any], strength: float, count: int, generator: torch.Generator
) -> dict[str, float]:
    """theta <- theta - strength * P_perp(theta) in place, P_perp orthogonal to `count` rows drawn from `inputs`.

    theta are the parameters with requires_grad.  Returns {"distance": |change|, "rows": how many, "rank"}.  Raises
    ProblemError, one sentence, for sharded parameters, an input without logits, a J that does not fit in memory, and
    gradients that are not those of the outputs: J d is held against differences of two forward passes of all inputs,
    except in half precision, where differences resolve nothing.
    """
    moving = [p for p in model.parameters() if p.requires_grad]
    if not moving:
        raise ProblemError("model: no parameter has requires_grad, so nothing can move")
    _require_whole(moving)
    with evaluation_mode(model), torch.enable_grad():
        logits = _logits(model, inputs)
        picks = _picks(model, inputs, logits, count, generator)
        jacobian = _gradients(logits[picks], moving)
        _require_derivatives(jacobian, moving, _padding(model), lambda: _logits(model, inputs)[picks])
    theta = torch.cat([p.detach().reshape(-1).double() for p in moving])
    found = project(jacobian, theta)
    with torch.no_grad():
        for parameter, change in zip(moving, torch.split(found.drift, [p.numel() for p in moving]), strict=True):
            parameter.copy_(parameter.double() + strength * change.reshape(parameter.shape))
    distance = strength * float(found.drift.norm())
    return {"distance": distance, "rows": float(len(jacobian)), "rank": float(found.rank)}


def _require_whole(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        if not parameter.numel() or type(parameter.data).__name__ == "DTensor":
            raise ProblemError(
                "model: its parameters are sharded over processes (FSDP, DeepSpeed ZeRO-3), and the projection needs "
                "them whole; use exact_unlearn.scalable.distributed, or data parallelism with whole parameters"
            )


def _logits(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """What the model says about all inputs, with a graph."""
    outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() not in (2, 3):
        raise ProblemError("model: expected outputs with logits, (samples, classes) or (samples, tokens, words)")
    return logits


def _picks(
    model: nn.Module, inputs: Mapping[str, Any], logits: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Indices of r largest logits: of r samples, or of r tokens that carry a label."""
    labels = inputs.get("labels")
    places: tuple[Tensor, ...]
    if logits.dim() == 2:
        size = min(count, len(logits))
        if isinstance(labels, Tensor) and not labels.is_floating_point() and labels.dim() == 1 and size:
            places = (balanced_indices(labels, size, generator).to(logits.device),)
        else:
            places = (torch.randperm(len(logits), generator=generator)[:size].to(logits.device),)
    else:
        found = torch.nonzero(_labelled(model, inputs, logits), as_tuple=False)
        order = torch.randperm(len(found), generator=generator)[:count].to(found.device)
        places = (found[order, 0], found[order, 1])
    return (*places, logits.detach()[places].argmax(1))


def _require_derivatives(
    jacobian: Tensor, parameters: list[nn.Parameter], still: Mapping[int, int], values: Callable[[], Tensor]
) -> None:
    """J d beside (f(theta + h d) - f(theta - h d)) / 2h for one random d, of the best of three h.

    still: the row of an embedding that is a constant, by the identity of its parameter.  Parameters are put back.
    """
    if not len(jacobian) or any(p.dtype in (torch.float16, torch.bfloat16) for p in parameters):
        return
    generator = torch.Generator().manual_seed(0)
    steps = []
    for p in parameters:
        size = float(p.detach().double().square().mean().sqrt()) or 1.0
        step = (torch.randn(p.shape, generator=generator, dtype=torch.float64) * size).to(p.device)
        if id(p) in still:
            step[still[id(p)]] = 0.0
        steps.append(step)
    product = jacobian @ torch.cat([step.reshape(-1) for step in steps])
    before = [p.detach().clone() for p in parameters]
    double = all(p.dtype == torch.float64 for p in parameters)
    off = math.inf
    for h in STEPS[double]:
        sides = []
        try:
            with torch.no_grad():
                for sign in (h, -h):
                    for p, start, step in zip(parameters, before, steps, strict=True):
                        p.copy_(start.double() + sign * step)
                    sides.append(values().double())
        finally:
            with torch.no_grad():
                for p, start in zip(parameters, before, strict=True):
                    p.copy_(start)
        slope = (sides[0] - sides[1]) / (2 * h)
        size = max(float(slope.norm()), float(product.norm()))
        off = min(off, float((slope - product).norm()) / size if size else 0.0)
        if off <= CEILING[double]:
            return
    raise ProblemError(
        f"model: the gradients of its largest logits are not the derivatives of its outputs, {off:.0%} off; checkpoints"
        " (use_reentrant=True), a detached part, or randomness in evaluation mode may be to blame"
    )


def _padding(model: nn.Module) -> dict[int, int]:
    """Rows of embeddings that stand for padding: by torch's convention they are constants."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Embedding | nn.EmbeddingBag)]
    return {id(layer.weight): layer.padding_idx for layer in layers if layer.padding_idx is not None}


def _labelled(model: nn.Module, inputs: Mapping[str, Any], logits: Tensor) -> Tensor:
    """Which tokens carry a loss, (samples, tokens); causal models predict the label one place later."""
    labels, mask = inputs.get("labels"), inputs.get("attention_mask")
    places = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    if labels is not None and labels.shape == places.shape:
        places = labels.to(places.device) != IGNORED
        if _is_causal(model):
            places = torch.cat([places[:, 1:], torch.zeros_like(places[:, :1])], dim=1)
    elif mask is not None and mask.shape == places.shape:
        places = mask.to(places.device) != 0
    return places


def _is_causal(model: nn.Module) -> bool:
    names = {type(part).__name__ for part in model.modules()}
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def _gradients(values: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """(r, d) in float64: all rows in one vectorised pass where the model's operations allow it, else one by one."""
    size = sum(p.numel() for p in parameters)
    if len(values) * size > ENTRY_LIMIT:
        raise ProblemError(
            f"n_perturb: {len(values)} rows of {size} parameters are more than the {ENTRY_LIMIT} entries that are held "
            "at a time; take fewer rows, or freeze parameters (requires_grad_(False))"
        )
    if not len(values):
        return values.new_zeros(0, size, dtype=torch.float64)
    unit = torch.eye(len(values), dtype=values.dtype, device=values.device)
    pieces: Any
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that are looped over inside
            pieces = torch.autograd.grad(
                values, parameters, unit, retain_graph=True, allow_unused=True, is_grads_batched=True
            )
    except RuntimeError:  # an operation whose backward pass cannot be vectorised
        rows = [torch.autograd.grad(v, parameters, retain_graph=True, allow_unused=True) for v in values]
        columns: list[Any] = list(zip(*rows, strict=True))
        pieces = tuple(None if c[0] is None else torch.stack(c) for c in columns)
    r = len(values)
    parts = [
        torch.zeros(r, p.numel(), dtype=torch.float64, device=values.device) if g is None else g.reshape(r, -1).double()
        for g, p in zip(pieces, parameters, strict=True)
    ]
    return torch.cat(parts, dim=1)
