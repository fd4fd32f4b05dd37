"""Running statistics while a method runs: a policy, not an accident.

BatchNorm in training mode normalises by the batch and lets it move the running statistics, which are what the network
is judged by in evaluation mode.  A forward pass alone, without any gradient, thus changes the model: a method that
forwards the forget batch moves its statistics towards it, whatever its loss says.  What happens is said by one word:

    "frozen"        modules with running statistics are in evaluation mode, and no buffer changes: what is descended is
                    the model that is returned, and only parameters move
    "as-used"       training mode; statistics follow the batches that the method's own loss needs, each once a step
    "both-batches"  training mode; every step forwards retain and forget batch, in this order, whatever the loss
                    needs, as the released code of the paper does

Modules in evaluation mode have nothing that moves, and the three are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Buffers = Literal["frozen", "as-used", "both-batches"]
POLICIES = ("frozen", "as-used", "both-batches")


@contextmanager
def kept(module: nn.Module, policy: Buffers) -> Iterator[None]:
    """With "frozen", modules with running statistics are in evaluation mode meanwhile."""
    still = [part for part in module.modules() if _has_statistics(part) and part.training]
    if policy != "frozen":
        still = []
    for part in still:
        part.training = False
    try:
        yield
    finally:
        for part in still:
            part.training = True


def _has_statistics(part: nn.Module) -> bool:
    return isinstance(getattr(part, "running_mean", None), Tensor)


def snapshot(module: nn.Module, policy: Buffers) -> list[tuple[Tensor, Tensor]]:
    """Buffers beside their values, if they are to be put back after every step: others than running statistics (the
    vectors of spectral normalisation, for one) change in a forward pass as well.
    """
    return [(buffer, buffer.clone()) for buffer in module.buffers()] if policy == "frozen" else []


def restore(saved: list[tuple[Tensor, Tensor]]) -> None:
    """Put the buffers back."""
    with torch.no_grad():
        for buffer, value in saved:
            buffer.copy_(value)
