"""How long work may take, and what it is doing: what every loop may ask, however deep below the caller it lies.

    with watched(seconds=10):          # a limit for everything inside
        with watched(share=0.5):       # a rung of a ladder gets half of what is left
            for step in steps:
                tick()                 # raises TimeUpError when the innermost limit has passed

A limit inside another never ends later than it.  Without any limit nothing happens.  Like `decimal.localcontext`, the
limit belongs to the running context (a thread, a task): no function passes it on, and it ends with its block.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from exact_unlearn.errors import ProblemError

Clock = Callable[[], float]
Say = Callable[[str], None]


class TimeUpError(Exception):
    """The time that a piece of work was given is over.  No ArithmeticError: nobody takes it for a failed attempt."""


def _silent(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class _Watch:
    """ends: on `clock`; infinity for no limit."""

    ends: float = math.inf
    clock: Clock = time.monotonic
    say: Say = _silent


_current: ContextVar[_Watch] = ContextVar("watch")
_NONE = _Watch()


@contextmanager
def watched(
    seconds: float | None = None, *, share: float = 1.0, clock: Clock | None = None, say: Say | None = None
) -> Iterator[None]:
    """A limit of `seconds` (None: none of its own), and of that share of what is left of the limit around it.

    clock: what time is read from, inside (default: as outside).  say: who is told what happens, likewise.
    """
    outer = _current.get(_NONE)
    chosen = outer.clock if clock is None else clock
    own = math.inf if seconds is None else chosen() + seconds
    rest = math.inf if outer.ends == math.inf else chosen() + share * (outer.ends - chosen())
    token = _current.set(_Watch(min(own, rest), chosen, outer.say if say is None else say))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def finishing() -> Iterator[None]:
    """No limit inside: for the little that has to be done when the time is up, so that what was found is not lost."""
    token = _current.set(replace(_current.get(_NONE), ends=math.inf))
    try:
        yield
    finally:
        _current.reset(token)


def require_limit(time_limit: Any) -> None:
    """ProblemError unless it is None or a positive number of seconds."""
    if time_limit is not None and not (isinstance(time_limit, int | float) and 0 < time_limit < math.inf):
        raise ProblemError(f"time_limit: expected a positive number of seconds, got {time_limit!r}")


def remaining() -> float:
    """Seconds until the limit, at least 0; infinity without one."""
    watch = _current.get(_NONE)
    return math.inf if watch.ends == math.inf else max(0.0, watch.ends - watch.clock())


def limited() -> bool:
    """Whether there is a limit at all."""
    return _current.get(_NONE).ends < math.inf


def tick(doing: str = "") -> None:
    """TimeUpError if the limit has passed; else `doing` is said, if it is anything."""
    watch = _current.get(_NONE)
    if watch.ends < math.inf and watch.clock() >= watch.ends:
        raise TimeUpError("the time is up")
    if doing:
        watch.say(doing)


def note(doing: str) -> None:
    """`doing` is said, whatever the time."""
    _current.get(_NONE).say(doing)
