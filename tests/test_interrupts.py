"""Ctrl-C: remembered, found behind other errors, repeated, and never the reason of a result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from exact_unlearn import codec, interrupts
from exact_unlearn.cli import main


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def swallowed() -> None:
    """What a library does that knows no better."""
    try:
        interrupt()
        threading.Event().wait(10)
    except BaseException:
        pass


def test_an_interrupt_that_got_lost_is_remembered(tmp_path: Path) -> None:
    with interrupts.obeyed():
        interrupts.check()
        swallowed()
        assert interrupts.pending()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            codec.write_atomically(tmp_path / "result", b"never measured")
        with pytest.raises(KeyboardInterrupt):
            interrupts.reraise(ValueError("what came of it"))
    assert list(tmp_path.iterdir()) == []
    interrupts.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_nothing_is_remembered_and_other_handlers_stay() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    interrupts.check()
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with interrupts.obeyed():
            interrupt()
        assert heard == [signal.SIGINT]
        assert not interrupts.pending()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_another_thread_is_left_alone() -> None:
    def work() -> None:
        with interrupts.obeyed():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


def test_interrupts_are_found_along_the_whole_chain() -> None:
    inner = SystemError("returned a result with an exception set")
    inner.__cause__ = KeyboardInterrupt()
    outer = ValueError()
    outer.__context__ = inner
    inner.__context__ = outer  # a circle
    assert interrupts.behind(outer)
    assert interrupts.behind(ExceptionGroup("several", [KeyError(), inner]))
    assert not interrupts.behind(ValueError())
    with pytest.raises(KeyboardInterrupt):
        interrupts.reraise(outer)
    interrupts.reraise(ValueError())


def test_a_library_with_a_handler_of_its_own_gets_none(tmp_path: Path) -> None:
    """As solvers do while they work, in C: theirs would end the solve, and Python would never hear of it."""
    code = (
        "import ctypes, os, signal\nfrom exact_unlearn import interrupts\n"
        "libc = ctypes.CDLL(None)\n"
        "theirs = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: print('lost'))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with interrupts.obeyed():\n"
        "  libc.signal(2, theirs)\n"
        "  try: os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "  except KeyboardInterrupt: print('obeyed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "obeyed\n"


def test_one_that_is_held_arrives_afterwards() -> None:
    moved: list[int] = []

    def move() -> None:
        with interrupts.held():
            interrupt()
            while not interrupts.pending():
                threading.Event().wait(0.01)
            moved.extend(range(10_000))

    with interrupts.obeyed(), pytest.raises(KeyboardInterrupt):
        move()
    assert len(moved) == 10_000


@pytest.mark.parametrize("disguise", [SystemError, ImportError, MemoryError])
def test_the_command_line_says_interrupted_whatever_a_library_made_of_it(
    disguise: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(options: object) -> int:
        swallowed()
        raise disguise("something else")

    monkeypatch.setattr("exact_unlearn.cli.crosscheck.run", work)
    assert main(["crosscheck"]) == 130
    assert capsys.readouterr().err == "exact-unlearn: interrupted\n"


def test_memory_that_ran_out_is_nobodys_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(options: object) -> int:
        raise MemoryError

    monkeypatch.setattr("exact_unlearn.cli.crosscheck.run", work)
    assert main(["crosscheck"]) == 75
    assert capsys.readouterr().err.startswith("exact-unlearn: out of memory")


def test_a_run_that_ends_well_after_losing_one_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("exact_unlearn.cli.crosscheck.run", lambda options: swallowed() or 0)
    assert main(["crosscheck"]) == 130
    assert capsys.readouterr().err == "exact-unlearn: interrupted\n"


@pytest.mark.parametrize(
    "loop",
    [
        "while True:\n  try: signal.pause()\n  except BaseException: pass",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {interrupts.WAKE})\nlibc.sleep(60)",
    ],
    ids=["python", "C"],
)
def test_a_process_that_does_not_listen_is_ended(loop: str) -> None:
    """The first loop loses every interrupt, the second is in C and cannot be reached."""
    code = (
        "import ctypes, os, signal\nfrom exact_unlearn import interrupts\n"
        "interrupts.AGAIN, interrupts.PATIENCE = (.05, .05), .2\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.sleep.restype = ctypes.c_uint\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with interrupts.obeyed():\n"
        "  try: os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "  except KeyboardInterrupt: pass\n" + "\n".join(f"  {line}" for line in loop.splitlines())
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (130, "exact-unlearn: interrupted\n")
