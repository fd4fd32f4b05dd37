"""From cells to numbers: means over trials, Pareto fronts, settings chosen on reported and on other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .images_rows import Setting

Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Runs:
    """All runs of one method under one policy for buffers.  metrics: name -> (seeds, settings)."""

    method: str
    buffers: str
    combinations: tuple[Setting, ...]
    metrics: Mapping[str, Values]

    @property
    def seeds(self) -> int:
        """Number of trials."""
        return len(next(iter(self.metrics.values())))

    def mean(self, name: str) -> Values:
        """Over the trials, (settings,)."""
        found: Values = self.metrics[name].mean(axis=0)
        return found

    def error(self, name: str) -> Values:
        """Standard errors of the means, (settings,): s.d. (ddof 1) / sqrt(trials); NaN for one trial."""
        return standard_error(self.metrics[name])


def standard_error(values: Values) -> Values:
    """Along the first axis."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    found: Values = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return found


def pareto_front(x: Values, y: Values) -> list[int]:
    """Indices of the front, from the largest x down: a point stays if its y is strictly below all before it.

    x is to be large, y to be small.  Of equal x the least y comes first; NaN is never on a front.
    """
    order = sorted((i for i in range(len(x)) if np.isfinite(x[i]) and np.isfinite(y[i])), key=lambda i: (-x[i], y[i]))
    front: list[int] = []
    least = np.inf
    for index in order:
        if y[index] < least:
            front.append(index)
            least = y[index]
    return front


@dataclass(frozen=True)
class Choice:
    """A setting chosen by a score (less is better), and what it scores where it is reported.

    picks: per trial, the index of its setting (one and the same where the choice was made on the reported trials).
    """

    runs: Runs
    picks: tuple[int, ...]

    def values(self, name: str) -> Values:
        """The metric of every trial under its setting."""
        found: Values = np.array([self.runs.metrics[name][seed, pick] for seed, pick in enumerate(self.picks)])
        return found

    def mean(self, name: str) -> float:
        """Over the trials."""
        return float(self.values(name).mean())

    def error(self, name: str) -> float:
        """Its standard error."""
        return float(standard_error(self.values(name)[:, None])[0])

    @property
    def chosen(self) -> tuple[Setting, ...]:
        """The settings that occur."""
        return tuple(self.runs.combinations[pick] for pick in dict.fromkeys(self.picks))


def distance(x: Values, y: Values) -> Values:
    """From (1, 0)."""
    found: Values = np.hypot(1 - x, y)
    return found


def reported(runs: Runs, score: Any) -> Choice:
    """The setting with the least score of means over all trials, which are also those reported, as the paper does.

    score: (means by metric) -> (settings,).
    """
    pick = _best(runs, range(runs.seeds), score)
    return Choice(runs, (pick,) * runs.seeds)


def held_out(runs: Runs, score: Any) -> Choice | None:
    """Every trial under the setting that is best on the trials of the other parity; None for a single trial."""
    if runs.seeds < 2:
        return None
    even, odd = range(0, runs.seeds, 2), range(1, runs.seeds, 2)
    rivals = _best(runs, odd, score), _best(runs, even, score)
    return Choice(runs, tuple(rivals[seed % 2] for seed in range(runs.seeds)))


def _best(runs: Runs, seeds: Sequence[int], score: Any) -> int:
    means = {name: values[list(seeds)].mean(axis=0) for name, values in runs.metrics.items()}
    scores = np.where(np.isfinite(found := score(means)), found, np.inf)
    return int(np.argmin(scores))


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, with mean ranks for ties; NaN where one of them is constant."""
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Values) -> Values:
    found: Values = np.array([(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values])
    return found
