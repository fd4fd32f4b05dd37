"""How long a solve may take, and who wants to know how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable.team import ALONE, Team, agreed

Progress = Callable[[str, float, float], None]
"""progress(what, gap, seconds): what is being done, the relative gap reached so far (nan where none is known yet) and
the seconds since the solve began."""


@dataclass(frozen=True, eq=False)
class Clock:
    """Asked between iterations.  Over processes it is process 0 whose clock counts, so that none goes on alone."""

    limit: float = math.inf
    progress: Progress | None = None
    team: Team = ALONE
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Since the solve began."""
        return time.perf_counter() - self.began

    def expired(self) -> bool:
        """Whether the time is over."""
        if math.isinf(self.limit):
            return False
        return bool(agreed(self.team, float(self.seconds >= self.limit))[0])

    def tell(self, what: str, gap: float = math.nan) -> None:
        """Report, where anybody listens."""
        if self.progress is not None:
            self.progress(what, gap, self.seconds)


def clock(time_limit: float | None, progress: Progress | None, team: Team = ALONE) -> Clock:
    """A clock that starts now; ProblemError unless time_limit is None or positive and progress None or callable."""
    if time_limit is not None and not (isinstance(time_limit, int | float) and time_limit > 0):
        raise ProblemError(f"time_limit: expected seconds > 0 or None, got {time_limit!r}")
    if progress is not None and not callable(progress):
        raise ProblemError(f"progress: expected a function of (what, gap, seconds) or None, got {progress!r:.60}")
    return Clock(math.inf if time_limit is None else float(time_limit), progress, team)


ENDLESS = Clock()
