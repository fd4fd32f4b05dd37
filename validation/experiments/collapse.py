"""Representation Collapse (Tables 2, 17, 18 to 22): retained images have the colour of their class.

Retain: every training image in the colour of its class.  Forget: of every class floor(p n) random images, each once
more in a random colour of the nine others.  The network was taught to read the content; the simplest network that fits
what is retained reads the colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from exact_unlearn.errors import ProblemError

from .data import CLASS_COLOURS
from .images_recipes import Recipe
from .images_rows import COLLAPSE
from .images_sets import Grays, Painted, draws, floor_share, sample, targets_of
from .images_training import Stage, outputs_on, right

COLOURS = len(CLASS_COLOURS)
WHITE = np.array([(255, 255, 255)], dtype=np.int64)
"""The one colour of the warm start, which leaves gray values as they are."""

METRICS = {
    "colour_accuracy": "test images in all ten colours, called by their colour",
    "content_accuracy": "test images in all ten colours, called by their class",
}
"""What is measured of every run; the first is selected on."""


def head_sizes(classes: int) -> tuple[int, ...]:
    """One head; there are ten colours for ten classes."""
    if classes != COLOURS:
        raise ProblemError(f"data: expected ten classes for the ten colours, got {classes}")
    return (classes,)


def retain_set(grays: Grays, normal: Any) -> Painted:
    """Every image in the colour of its class."""
    targets = targets_of(grays.labels)
    return Painted(grays, np.arange(len(grays)), targets[0], targets, CLASS_COLOURS, normal)


def forget_set(grays: Grays, p_color: float, seed: int, normal: Any) -> Painted:
    """Copies in a colour of another class; they keep the label of their content."""
    chosen = []
    for label in range(COLOURS):
        members = np.flatnonzero(grays.labels == label)
        count = floor_share(p_color, len(members))
        chosen.append(members[sample(len(members), count, draws(COLLAPSE, f"class {label}", seed))])
    index = np.concatenate(chosen)
    shift = torch.randint(1, COLOURS, (len(index),), generator=draws(COLLAPSE, "colours", seed)).numpy()
    colours = (grays.labels[index] + shift) % COLOURS
    return Painted(grays, index, colours, targets_of(grays.labels[index]), CLASS_COLOURS, normal)


def accessible_set(grays: Grays, p_retain: float, seed: int, normal: Any) -> Painted:
    """The retained images that a method may see."""
    count = floor_share(p_retain, len(grays))
    return retain_set(grays, normal).take(sample(len(grays), count, draws(COLLAPSE, "accessible", seed)))


def initial_stages(grays: Grays, recipe: Recipe, p_color: float, seed: int, normal: Any) -> Sequence[Stage]:
    """First in gray; then retain and forget set with the few off-colour copies weighted up."""
    everything = np.arange(len(grays))
    plain = Painted(grays, everything, 0 * everything, targets_of(grays.labels), WHITE, normal)
    retain, forget = retain_set(grays, normal), forget_set(grays, p_color, seed, normal)
    low, high = recipe.ratio / (1 + recipe.ratio), 1 / (1 + recipe.ratio)
    weights = torch.tensor([low] * len(retain) + [high] * len(forget))
    return Stage(plain, recipe.first), Stage(retain.joined(forget), recipe.epochs, weights)


def truth_stages(grays: Grays, recipe: Recipe, normal: Any) -> Sequence[Stage]:
    """The retain set alone, every sample with the small weight."""
    retain = retain_set(grays, normal)
    weights = torch.full((len(retain),), recipe.ratio / (1 + recipe.ratio))
    return (Stage(retain, recipe.epochs, weights),)


def measure(module: nn.Module, test: Grays, normal: Any, device: str) -> dict[str, float]:
    """METRICS of a network, on every test image in every colour."""
    index, everywhere = np.arange(len(test)), 0.0
    content = 0.0
    for colour in range(COLOURS):
        colours = np.full(len(test), colour)
        data = Painted(test, index, colours, targets_of(test.labels), CLASS_COLOURS, normal)
        (outputs,) = outputs_on(module, data, device)
        everywhere += float(right(outputs, torch.from_numpy(colours)).double().mean()) / COLOURS
        content += float(right(outputs, torch.from_numpy(data.targets[0])).double().mean()) / COLOURS
    return {"colour_accuracy": everywhere, "content_accuracy": content}
