"""What the verbs share: progress on stderr, and several output files written together or not at all."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from exact_unlearn import interrupts
from exact_unlearn.errors import ProblemError

Say = Callable[[str], None]

PAUSE = 0.5
"""Seconds between two messages, at least: a reader sees where the work is, not every case of four hundred."""


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """--json and --quiet."""
    parser.add_argument("--json", metavar="FILE", help="write the report for machines as well; - for standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


@contextmanager
def progress(quiet: bool, patience: float = 2.0) -> Iterator[Say]:
    """A function that tells on stderr what happens next, with the seconds since now.

    What is over before `patience` seconds have passed is not worth a word; after them every message appears at once,
    unless another follows within a fraction of a second.
    """
    began = time.perf_counter()
    spoke = began + patience - PAUSE
    pending: threading.Timer | None = None

    def show(message: str) -> None:
        nonlocal spoke
        spoke = time.perf_counter()
        print(f"[{spoke - began:5.1f} s] {message}", file=sys.stderr, flush=True)

    def say(message: str) -> None:
        nonlocal pending
        interrupts.check()
        if pending is not None:
            pending.cancel()
        wait = spoke + PAUSE - time.perf_counter()
        if quiet or wait <= 0:
            pending = None
            if not quiet:
                show(message)
            return
        pending = threading.Timer(wait, show, (message,))
        pending.daemon = True
        pending.start()

    try:
        yield say
    finally:
        if pending is not None:
            pending.cancel()


def require_writable(option: str, path: Path, suffixes: Sequence[str] = ()) -> Path:
    """`path`, if a file can be written there, as far as one can tell beforehand: before the work, not after it."""
    from exact_unlearn.codec import is_special  # not at import: verbs choose the threads of NumPy first

    if suffixes and path.suffix not in suffixes:
        raise ProblemError(f"{option}: expected a name ending in {', '.join(suffixes)}, got {str(path)!r}")
    if path.is_dir():
        raise ProblemError(f"{option}: {path} is a directory; expected the name of a file")
    if is_special(path):
        return path
    _probe(option, path.parent)
    return path


def require_distinct(outputs: Sequence[Path], inputs: Sequence[Path], options: argparse.Namespace) -> None:
    """ProblemError if two outputs, the file of --json among them, have one name, or one of them is an input."""
    reports = [] if options.json in (None, "-") else [Path(options.json)]
    seen: set[Path] = set()
    for path in [*outputs, *reports]:
        if path.resolve() in seen:
            raise ProblemError(f"--output: two files would have one name, {path}; choose another")
        seen.add(path.resolve())
    for path in inputs:
        if path.resolve() in seen:
            raise ProblemError(f"--output: {path}, which is an input, would be overwritten; choose another name")


def require_folder(option: str, folder: Path) -> Path:
    """`folder`, if it is one or can become one; nothing is made yet."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ProblemError(f"{option}: {nearest} is a file; expected a folder")
    _probe(option, nearest)
    return folder


def _probe(option: str, folder: Path) -> None:
    """Permissions tell too little (read-only media, quotas, administrators), so a nameless file is written."""
    if not folder.is_dir():
        raise ProblemError(f"{option}: there is no directory {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise ProblemError(f"{option}: the directory {folder} cannot be written to ({error.strerror})") from None


@contextmanager
def written_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Names to write to instead of `paths`; all files move to their places when everything has been written.

    If anything fails before, nothing is left behind and what was there stays.
    """
    with ExitStack() as stack:
        homes = {path.parent for path in paths}
        made = {home: tempfile.TemporaryDirectory(prefix=".exact-unlearn-", dir=home) for home in homes}
        folders = {home: Path(stack.enter_context(draft)) for home, draft in made.items()}
        temporary = [folders[path.parent] / path.name for path in paths]
        yield temporary
        interrupts.check()
        with interrupts.held():
            for source, target in zip(temporary, paths, strict=True):
                os.replace(source, target)


def write_report(options: argparse.Namespace, text: str, tree: Any) -> None:
    """The readable report on standard output (the one for machines, if --json - says so), and that of --json FILE."""
    from exact_unlearn import report

    interrupts.check()
    print(text if options.json != "-" else report.json_text(tree).rstrip())
    if options.json not in (None, "-"):
        report.write_text(Path(options.json), report.json_text(tree))


def require_report(options: argparse.Namespace) -> None:
    """ProblemError if the file of --json cannot be written."""
    if options.json not in (None, "-"):
        require_writable("--json", Path(options.json))
