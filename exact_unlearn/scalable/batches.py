"""The inputs of a DataLoader, all of them, as one tensor (or tuple, or dict) of samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from exact_unlearn.errors import ProblemError

LABELS = ("labels", "label")
"""Entries of batches that are dictionaries and go to the loss, not to the network."""


def inputs_of(loader: DataLoader[Any], name: str = "x") -> Any:
    """The inputs of every batch, one after the other, in the order in which the loader gives them.

    A batch is a tensor of inputs; (inputs, labels), of which the labels are left out; or a dictionary, whose entries
    `labels` and `label` are. Inputs may be a tensor, a tuple or a dictionary of tensors. Raises ProblemError on other
    batches, and on a loader that leaves out samples (`drop_last`): a retained sample would then count for nothing.
    """
    if loader.drop_last and _incomplete(loader):
        raise ProblemError(f"{name}: the DataLoader leaves out samples; make it with drop_last=False")
    parts = [_inputs(batch, name) for batch in loader]
    if not parts:
        raise ProblemError(f"{name}: the DataLoader gives no batches; to retain nothing pass a tensor of 0 samples")
    return _joined(parts, name)


def _incomplete(loader: DataLoader[Any]) -> bool:
    """Whether a last, smaller batch would be dropped; yes where that cannot be known."""
    try:
        return loader.batch_size is None or len(loader.sampler) % loader.batch_size != 0  # type: ignore[arg-type]
    except TypeError:
        return True


def _inputs(batch: Any, name: str) -> Any:
    if isinstance(batch, Tensor):
        return batch
    if isinstance(batch, dict):
        return {key: value for key, value in batch.items() if key not in LABELS}
    if isinstance(batch, tuple | list) and len(batch) == 1:
        return batch[0]
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs = batch[0]
        return tuple(inputs) if isinstance(inputs, list) else inputs
    came = f"{len(batch)} entries" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
    raise ProblemError(
        f"{name}: expected batches of inputs, of (inputs, labels) or of dictionaries, got {came}; "
        "pass the inputs themselves as a tensor, a tuple or a dictionary"
    )


def _joined(parts: list[Any], name: str) -> Any:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _joined([part.get(key) for part in parts], name) for key in first}
    if isinstance(first, tuple):
        return tuple(_joined([part[i] for part in parts], name) for i in range(len(first)))
    if not all(isinstance(part, Tensor) for part in parts):
        raise ProblemError(f"{name}: expected batches of tensors, got a {type(first).__name__}")
    shapes = {tuple(part.shape[1:]) for part in parts}
    if len(shapes) > 1:
        raise ProblemError(
            f"{name}: samples of different shapes in different batches, {sorted(shapes)[0]} and {sorted(shapes)[1]}; "
            "pad them to one shape"
        )
    return torch.cat(parts)
