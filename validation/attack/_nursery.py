"""Runs tests with a mutant in place of a module, without starting a new interpreter for each.

Importing NumPy, CVXPY and their like takes longer than most tests that kill a mutant.  So this program
imports, once, what the tests import from outside of the package, and forks for every mutant: the child imports the
package anew, with the mutant where its file would be, and runs pytest.  Nothing is ever written into the source tree.

It reads one order per line from standard input and writes one answer per line to standard output, both JSON:

    {"do": "survey", "sources": [...], "tests": [...]}    which tests run which lines, and how long they take
    {"do": "try", "module": ..., "source": ..., "tests": [...], "first": [...], "limits": {...}, "seconds": ...}

`python -m validation.attack._nursery` starts in the folder above the package.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
from hypothesis import Phase, settings

MEMORY = 8 << 30
"""Bytes of data that a child may hold: a mutant that allocates without end is stopped, not the machine."""

QUIET = ["-q", "-x", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist"]
WARNING = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
"""Options of pytest; the warning would say that modules were imported before their assertions could be rewritten."""


class Instead(importlib.machinery.SourceFileLoader, importlib.abc.MetaPathFinder):  # type: ignore[misc]
    """Imports one module from a text, as if it stood in the module's file."""

    def __init__(self, module: str, source: str) -> None:
        found = importlib.util.find_spec(module.partition(".")[0])
        assert found is not None
        assert found.origin is not None
        folder = Path(found.origin).parent
        inside = folder.joinpath(*module.split(".")[1:])
        self.package = inside.is_dir()
        super().__init__(module, str(inside / "__init__.py" if self.package else inside.with_suffix(".py")))
        self.source = source

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        places = [str(Path(self.path).parent)] if self.package else None
        return importlib.util.spec_from_file_location(
            fullname, self.path, loader=self, submodule_search_locations=places
        )

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class Course:
    """A pytest plugin: tests in a given order, each within its limit of processor time; the first failure is told.

    A mutant may loop for ever, in Python or in C, so the limit is a signal that ends the process.
    """

    def __init__(self, first: Sequence[str] = (), limits: dict[str, float] | None = None) -> None:
        self.rank = {test: i for i, test in enumerate(first)}
        self.limits = limits or {}
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.say: Callable[[str], None] = lambda test: None
        self.trace: Lines | None = None

    def pytest_collection(self) -> None:
        # conftest.py has chosen its profile by now, and no test has been decorated yet.  Shrinking a failing example
        # would take minutes, and nobody reads it.
        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.rank.get(item.nodeid, len(self.rank)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.say(item.nodeid)
        if self.limits:
            signal.setitimer(signal.ITIMER_PROF, self.limits.get(item.nodeid, max(self.limits.values())))
        if self.trace is not None:
            self.trace.test = item.nodeid
        started = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)


class Lines:
    """Which tests run which lines of some files; what runs before the first test runs for all of them: ""."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.files = {str(Path(source).resolve()): source for source in sources}
        self.test = ""
        self.found: dict[str, dict[int, set[str]]] = {source: {} for source in sources}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        source = self.files.get(frame.f_code.co_filename)
        if source is None:
            return None
        lines = self.found[source]

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            lines.setdefault(frame.f_lineno, set()).add(self.test)
            return local

        return local(frame, event, argument)


def survey(sources: Sequence[str], tests: Sequence[str]) -> dict[str, Any]:
    """Runs the tests as they are. Tests in a list `tests`, seconds, failures, and per line the tests that run it."""
    course, trace = Course(), Lines(sources)
    course.trace = trace
    sys.settrace(trace)
    status = pytest.main([*QUIET, *WARNING, *tests], plugins=[course])
    sys.settrace(None)
    number = {test: i for i, test in enumerate(course.seconds)} | {"": -1}
    lines = {
        source: {line: sorted(number[test] for test in who) for line, who in found.items()}
        for source, found in trace.found.items()
    }
    modules = [name for name in sys.modules if not is_here(name)]
    return {
        "status": int(status),
        "failed": course.failed,
        "tests": list(course.seconds),
        "seconds": list(course.seconds.values()),
        "lines": lines,
        "modules": modules,
    }


def attempt(
    module: str, source: str, tests: Sequence[str], first: Sequence[str], limits: dict[str, float], say: Any
) -> dict[str, Any]:
    """Runs the tests with `source` as `module`."""
    course = Course(first, limits)
    course.say = say
    sys.meta_path.insert(0, Instead(module, source))
    try:
        # Now, because pytest puts a finder of its own before ours.
        importlib.import_module(module)
    except Exception:  # a module with a fault in it may raise anything when it is imported
        return {"status": int(pytest.ExitCode.INTERRUPTED), "failed": []}
    status = pytest.main([*QUIET, *WARNING, *tests], plugins=[course])
    return {"status": int(status), "failed": course.failed}


# ---------------------------------------------------------------- processes


def in_child(work: Callable[[Any], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What `work(say)` returns in a forked process; after `seconds`, or if it dies, {"died": signal, "test": last}."""
    with tempfile.TemporaryDirectory() as folder:
        answer, last = Path(folder, "answer"), Path(folder, "last")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
                quiet = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(quiet, stream)
                answer.write_text(json.dumps(work(last.write_text)))
                code = 0
            finally:
                os._exit(code)
        try:
            status = wait(child, seconds)
        finally:
            # Whatever the tests started belongs to the child's session; also where this process is stopped.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
        if answer.exists() and status == 0:
            return dict(json.loads(answer.read_text()))
        return {"died": status, "test": last.read_text() if last.exists() else ""}


def wait(child: int, seconds: float) -> int:
    """The wait status of a child, which is killed after `seconds`."""
    deadline = time.monotonic() + seconds
    pause, clock = 0.002, threading.Event()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        clock.wait(pause)
        pause = min(0.1, 1.5 * pause)


def is_here(module: str) -> bool:
    """Whether a module comes from the folder under test, so that it must not be imported before the fork."""
    top = module.partition(".")[0]
    return Path(top).is_dir() or Path(f"{top}.py").is_file()


def warm(modules: Sequence[str]) -> None:
    """Imports before the fork what the tests import anyway; what cannot be imported alone is left to them."""
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _surveyed(order: dict[str, Any], say: Any) -> dict[str, Any]:
    return survey(order["sources"], order["tests"])


def _attempted(fields: dict[str, Any], say: Any) -> dict[str, Any]:
    return attempt(**fields, say=say)


def serve() -> None:
    """Orders from standard input, answers to what was standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for line in sys.stdin:
        order = json.loads(line)
        seconds = order["seconds"]
        if order["do"] == "survey":
            answer = in_child(partial(_surveyed, order), seconds)
            warm(answer.pop("modules", ()))
        else:
            fields = {name: order[name] for name in ("module", "source", "tests", "first", "limits")}
            answer = in_child(partial(_attempted, fields), seconds)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    serve()
