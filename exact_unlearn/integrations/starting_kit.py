"""MinNorm-OG behind the face of the 2023 NeurIPS unlearning challenge's starting kit.

    unlearning(net, retain, forget, validation)      loaders of (x, y) or of {"image": x, "age_group": y}

moves `net` in place and returns it, so it can stand wherever the kit's own fine-tuning function stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import ProblemError

INPUTS, TARGETS = ("image", "pixel_values", "x", "input"), ("age_group", "label", "labels", "y", "target")


def unlearning(
    net: nn.Module,
    retain: Iterable[Any],
    forget: Iterable[Any],
    validation: Iterable[Any] | None = None,
    *,
    epochs: int = 1,
    learning_rate: float = 1e-3,
    **options: Any,
) -> nn.Module:
    """`net`, having unlearned the samples of `forget`, in place.

    retain, forget: loaders; each is read once, and its first batch gives the batch size.  validation: not used.
    epochs, learning_rate and further options: of `exact_unlearn.algorithms.unlearn` (method, strength, decay, ...).
    """
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    (kept, _), (gone, size) = _read(retain, "retain", device), _read(forget, "forget", device)
    options.setdefault("batch_size", size)
    moved, _ = unlearn(net, kept, gone, epochs=epochs, learning_rate=learning_rate, **options)
    net.load_state_dict(moved.state_dict())
    return net


def _read(loader: Iterable[Any], name: str, device: torch.device) -> tuple[tuple[Tensor, Tensor], int]:
    pairs = [_pair(batch, name) for batch in loader]
    if not pairs:
        raise ProblemError(f"{name}: the loader gives no batch")
    x, y = (torch.cat(parts).to(device) for parts in zip(*pairs, strict=True))
    return (x, y), len(pairs[0][0])


def _pair(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    """(x, y) of one batch, whichever way it is packed."""
    if isinstance(batch, Mapping):
        x = next((batch[key] for key in INPUTS if key in batch), None)
        y = next((batch[key] for key in TARGETS if key in batch), None)
    else:
        x, y = (batch[0], batch[1]) if isinstance(batch, list | tuple) and len(batch) >= 2 else (None, None)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise ProblemError(f"{name}: expected batches (x, y), or dictionaries with one of {INPUTS} and of {TARGETS}")
    return x, y
