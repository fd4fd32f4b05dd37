"""What a campaign is, how campaigns are found, and how an outcome is told."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

FRACTION_IN_TESTS = 0.02
"""The part of a full run that `make test` tries, with seed 0."""


@dataclass(frozen=True)
class Outcome:
    """What came of a campaign.

    tried       how many cases were tried; a campaign that could try none has failed
    failures    one line per failed case, which says how to reproduce it alone
    notes       lines that are worth reading in any case: rates, largest errors, times
    """

    tried: int
    failures: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Campaign(Protocol):
    """A module of this folder.

    `QUICK`, where a module has it, is the count of cases in `make test`, instead of 2 % of `FULL`.
    """

    TITLE: str
    FULL: int

    def run(self, count: int, seed: int) -> Outcome: ...


def names() -> tuple[str, ...]:
    """The campaigns in this folder, in the order of their names."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(sorted(name for name in found if name != "campaign" and not name.startswith("_")))


def campaign(name: str) -> Campaign:
    """The module of one name; only the campaigns that run are imported, for some need more than others."""
    return cast(Campaign, importlib.import_module(f".{name}", __package__))


def quick_count(module: Campaign) -> int:
    """How many cases `make test` tries."""
    return int(getattr(module, "QUICK", max(1, round(FRACTION_IN_TESTS * module.FULL))))


def failed(outcome: Outcome) -> bool:
    """Whether something was found, or nothing was looked for."""
    return bool(outcome.failures) or outcome.tried == 0


def lines(outcome: Outcome) -> Iterator[str]:
    """An outcome in words."""
    yield from outcome.notes
    yield from (f"FAILED {failure}" for failure in outcome.failures)
    yield f"{outcome.tried} tried, {len(outcome.failures)} failed"
    if not outcome.tried:
        yield "nothing was tried, which proves nothing"
