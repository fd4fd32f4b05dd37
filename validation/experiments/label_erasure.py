"""Multi-Class Label Erasure (Figures 2, 6 to 14; Tables 8 to 16): forget that there are colours.

Retain: every training image in gray.  Forget: floor(p_color n) images in red and as many in green, two independent
draws.  A network with two heads tells class and colour; the ground truth, trained on gray alone, calls everything gray.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .data import GRAY, GREEN, RED
from .data.colours import ERASURE_COLOURS
from .images_recipes import Recipe
from .images_rows import ERASURE
from .images_sets import Grays, Painted, draws, floor_share, sample, targets_of
from .images_training import Stage, outputs_on, right

METRICS = {
    "both_right": "gray test images with class and colour right (the figures' x axis)",
    "gray_accuracy": "gray test images with the class right (the paper's text)",
    "forget_error": "mean (P(gray) - 1)^2 over the test images in gray, red and green (the figures' y axis)",
    "forget_error_coloured": "the same over those in red and green (the paper's text)",
}
"""What is measured of every run."""


def head_sizes(classes: int) -> tuple[int, ...]:
    """Classes and three colours."""
    return classes, len(ERASURE_COLOURS)


def retain_set(grays: Grays, normal: Any) -> Painted:
    """Every image in gray."""
    return painted(grays, np.arange(len(grays)), GRAY, normal)


def forget_set(grays: Grays, p_color: float, seed: int, normal: Any) -> Painted:
    """Two draws, which may share images."""
    count = floor_share(p_color, len(grays))
    parts = [
        painted(grays, sample(len(grays), count, draws(ERASURE, purpose, seed)), colour, normal)
        for purpose, colour in (("red", RED), ("green", GREEN))
    ]
    return parts[0].joined(parts[1])


def accessible_set(grays: Grays, p_retain: float, seed: int, normal: Any) -> Painted:
    """The retained images that a method may see."""
    count = floor_share(p_retain, len(grays))
    return retain_set(grays, normal).take(sample(len(grays), count, draws(ERASURE, "accessible", seed)))


def painted(grays: Grays, index: Any, colour: int, normal: Any) -> Painted:
    """The images at `index` in one colour; targets are class and colour."""
    colours = np.full(len(index), colour)
    return Painted(grays, index, colours, targets_of(grays.labels[index], colours), ERASURE_COLOURS, normal)


def initial_stages(grays: Grays, recipe: Recipe, p_color: float, seed: int, normal: Any) -> Sequence[Stage]:
    """Retain and forget set together; the colour loss joins after the first epochs."""
    both = retain_set(grays, normal).joined(forget_set(grays, p_color, seed, normal))
    return Stage(both, recipe.first, heads=1), Stage(both, recipe.epochs)


def truth_stages(grays: Grays, recipe: Recipe, normal: Any) -> Sequence[Stage]:
    """Gray alone; both losses from the start."""
    return (Stage(retain_set(grays, normal), recipe.first + recipe.epochs),)


def measure(module: nn.Module, test: Grays, normal: Any, device: str) -> dict[str, float]:
    """METRICS of a network, on all test images in three colours."""
    everywhere = np.arange(len(test))
    errors, gray = [], None
    for colour in (GRAY, RED, GREEN):
        data = painted(test, everywhere, colour, normal)
        classes, colours = outputs_on(module, data, device)
        if colour == GRAY:
            gray = right(classes, _tensor(data.targets[0])), right(colours, _tensor(data.targets[1]))
        chance = torch.softmax(colours, dim=1)[:, GRAY]
        # what is not finite names no colour: the worst error there is
        errors.append(torch.where(torch.isfinite(chance), (chance - 1) ** 2, 1.0).numpy())
    assert gray is not None
    return {
        "both_right": float((gray[0] & gray[1]).double().mean()),
        "gray_accuracy": float(gray[0].double().mean()),
        "forget_error": float(np.concatenate(errors).mean()),
        "forget_error_coloured": float(np.concatenate(errors[1:]).mean()),
    }


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(values)
