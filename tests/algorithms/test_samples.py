"""Batches that ask for more than there is."""

from __future__ import annotations

import itertools

import pytest
import torch

from exact_unlearn.algorithms.samples import Samples, pairs, subset
from exact_unlearn.errors import ProblemError


def batches(retain: int, forget: int, size: int | None, epochs: int = 4) -> list[list[tuple[list[float], list[float]]]]:
    """Per epoch, the retained and the forgotten samples of every pair."""
    x, z = torch.arange(float(retain)), torch.arange(float(forget))
    draws = torch.Generator().manual_seed(3)
    made = pairs(Samples((x, x), "retain"), Samples((z, z), "forget"), size, epochs, draws)
    return [[(kept.x.tolist(), gone.x.tolist()) for kept, gone in epoch] for epoch in made]


@pytest.mark.parametrize("size", [4, 5, 7, 100])
def test_a_retain_batch_is_never_longer_than_the_retain_set(size: int) -> None:
    """Three retained samples beside batches of four to seven: the passes over them go on from batch to batch."""
    used: list[float] = []
    for epoch in batches(3, 7, size):
        assert sorted(itertools.chain.from_iterable(gone for _, gone in epoch)) == list(range(7))
        for kept, gone in epoch:
            assert len(kept) == min(3, len(gone))
            used += kept
    assert all(sorted(used[at : at + 3]) == [0, 1, 2] for at in range(0, len(used) - 2, 3))


def test_without_retained_samples_the_retain_batches_are_empty() -> None:
    assert all(kept == [] for epoch in batches(0, 5, 2) for kept, _ in epoch)


def test_no_batch_size_is_one_pair_of_everything_in_order() -> None:
    assert batches(3, 5, None, epochs=2) == [[([0.0, 1.0, 2.0], [0.0, 1.0, 2.0, 3.0, 4.0])]] * 2
    for wrong in (0, -1):
        with pytest.raises(ProblemError, match="batch_size: expected a positive integer or None"):
            batches(3, 5, wrong)
    assert len(batches(3, 5, 1)[0]) == 5


@pytest.mark.parametrize("count", [1, 5, 6, 7])
def test_subsets_take_each_sample_once(count: int) -> None:
    x = torch.arange(6.0)
    taken = subset(Samples((x, x), "retain").all(), count, False, torch.Generator().manual_seed(0)).x.tolist()
    assert len(taken) == len(set(taken)) == min(count, 6)
