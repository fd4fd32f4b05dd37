"""Batches that ask for more than there is, and a projection off gradients that depend on one another."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from exact_unlearn import rational
from exact_unlearn.algorithms.projection import _projection
from exact_unlearn.algorithms.samples import Samples, pairs, subset
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import to_float, to_rational


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


@pytest.mark.parametrize("strength", [1.0, 0.25])
@pytest.mark.parametrize("case", ["independent", "duplicated", "dependent", "zero row", "only zeros", "wide", "none"])
def test_the_written_out_projection_knows_the_rank(case: str, strength: float) -> None:
    """Against rationals: noise of dependent gradients must not become directions that are kept."""
    rng = np.random.default_rng(4)
    base = rng.integers(-3, 4, (3, 8)).astype(float)
    rows = {
        "independent": base,
        "duplicated": np.concatenate([base, base, base[:1]]),
        "dependent": np.concatenate([base, base[:1] - 2 * base[1:2], base[1:2] / 3]),
        "zero row": np.concatenate([base, np.zeros((1, 8))]),
        "only zeros": np.zeros((2, 8)),
        "wide": np.concatenate([rng.integers(-3, 4, (8, 8)).astype(float), base]),
        "none": base[:0],
    }[case]
    theta = rng.standard_normal(8)
    within = rational.project_onto_rows(to_rational(rows), to_rational(theta))[0]
    s = Fraction(strength)
    expected = to_float(to_rational(theta) * (1 - s) + within * s)
    found = _projection(torch.tensor(rows), torch.tensor(theta), strength)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
