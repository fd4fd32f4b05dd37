"""Ctrl-C, obeyed even where it gets lost.

Python turns SIGINT into KeyboardInterrupt in the main thread, wherever that is at the moment.  There it can get lost:
solvers put handlers of their own in its place while they work, and end as if at a limit; C code that calls back into
Python drops an exception, or replaces it by another (a SystemError that a `Fraction` "returned a result with an
exception set", an ImportError of an extension half loaded).  Whoever then goes on, or takes that for a result, records
what was never measured.  So the interrupt is taken where nobody else can, and remembered:

* `obeyed` has a thread wait for it, remember it, raise it in the main thread, again and again, and end a process that
  does not listen; SIGINT itself is blocked meanwhile, also in processes started from here: their parent ends them;
* `check` raises it once more; it stands before everything that is written or told;
* `reraise` stands where errors become results, and finds it along `__cause__` and `__context__`.

Outside of `obeyed`, as in programs that use this package as a library, nothing is remembered, signals are left alone.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

STATUS = 130
"""The exit status of a process that was interrupted."""

AGAIN = (1.0, 2.0)
"""Seconds after which an interrupt that had no effect is raised again."""

PATIENCE = 5.0
"""Seconds after the last repetition until the process is ended without asking: it is in C code that never looks up."""

WAKE: int = signal.SIGRTMAX - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGINT
"""What raises the interrupt in the main thread: a signal that no library takes for itself, where there is one."""

_arrived, _held, _waiting = threading.Event(), threading.Event(), threading.Event()


def pending() -> bool:
    """Whether an interrupt has arrived since `obeyed` began."""
    return _arrived.is_set()


def check() -> None:
    """Raise KeyboardInterrupt if one has arrived, though somebody swallowed it."""
    if pending():
        raise KeyboardInterrupt


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that it was raised from or while handling, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__context__, one.__cause__]
            if isinstance(one, BaseExceptionGroup):
                waiting += one.exceptions


def behind(error: BaseException) -> bool:
    """Whether an interrupt is the reason for this error, or has arrived meanwhile."""
    return pending() or any(isinstance(one, KeyboardInterrupt) for one in chain(error))


def reraise(error: BaseException) -> None:
    """KeyboardInterrupt if that is what is behind the error: then it says nothing about what was being computed."""
    if behind(error):
        raise KeyboardInterrupt from error


def starved(error: BaseException) -> bool:
    """Whether memory that ran out is the reason for this error."""
    return any(isinstance(one, MemoryError) for one in chain(error))


@contextmanager
def obeyed() -> Iterator[None]:
    """Remember interrupts meanwhile, and insist on them.  Nothing is changed outside the main thread, or where the
    program around has a handler of its own.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    over = threading.Event()

    def arrive(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and not _arrived.is_set():  # by way of a thread that is older than the watch
            # not threading.Thread, whose locks the interrupted code may hold
            _thread.start_new_thread(_insist, (over, AGAIN))
        _arrived.set()
        if not _held.is_set():
            raise KeyboardInterrupt

    _arrived.clear()
    signal.signal(signal.SIGINT, arrive)
    before = signal.signal(WAKE, arrive)
    watch = threading.Thread(target=_watch, args=(over,), daemon=True)
    if WAKE != signal.SIGINT:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        watch.start()
        _waiting.set()
    try:
        yield
    finally:
        _held.set()  # nothing is raised from here on
        _waiting.clear()
        over.set()
        if WAKE != signal.SIGINT:
            if watch.is_alive():
                signal.pthread_kill(watch.ident or 0, signal.SIGINT)
                watch.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            signal.signal(WAKE, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _arrived.clear()
        _held.clear()


def _watch(over: threading.Event) -> None:
    """Wait for the first interrupt."""
    signal.sigwait({signal.SIGINT})
    if not over.is_set():
        _arrived.set()
        _insist(over, (0.0, *AGAIN))


def _insist(over: threading.Event, waits: Sequence[float]) -> None:
    """Raise the interrupt again and again, and end the process in the end; files appear whole or not at all."""
    for wait in waits:
        if over.wait(wait):
            return
        if WAKE == signal.SIGINT:
            _thread.interrupt_main()
        else:  # unlike that, this also ends a system call that the main thread waits in
            signal.pthread_kill(threading.main_thread().ident or 0, WAKE)
    if over.wait(PATIENCE):
        return
    sys.stderr.write("exact-unlearn: interrupted\n")
    sys.stderr.flush()
    os._exit(STATUS)


@contextmanager
def held() -> Iterator[None]:
    """Ctrl-C waits meanwhile: several files move together, or processes start.  Those inherit that and never see it:
    one that is still importing would answer with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _held.set()  # the system may hand the signal to another thread
    try:
        yield
    finally:
        _held.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    check()


def shield() -> None:
    """Block SIGINT again, while it is waited for: the resource trackers of multiprocessing and loky, once started, let
    it through, and processes started afterwards would answer with a traceback.
    """
    if _waiting.is_set() and threading.current_thread() is threading.main_thread():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def left_to_parent() -> None:
    """In a worker process: ignore Ctrl-C, which a terminal sends to everybody; the run ends its workers."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
