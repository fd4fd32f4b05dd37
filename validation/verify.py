"""A whole run: measure, draw, write. What `exact-unlearn theorems` does, as functions."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from exact_unlearn.errors import ExactUnlearnError
from exact_unlearn.report import small, table

from . import registry, report, runner
from .figures import drawing
from .finding import Finding, Result

Progress = Callable[[int, int, str], None]


def measure(
    results: Sequence[Result], full: bool, folder: Path | None, jobs: int, progress: Progress | None = None
) -> list[Finding]:
    """The findings of all claims of the results.

    folder: where the cells of the run are kept, so that it can be interrupted and taken up again.  jobs: processes.
    """
    if jobs == 1:
        return runner.findings(results, full, folder, progress)
    # spawned, not forked: solvers start threads, and a forked child may inherit a lock that nobody opens again
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_follow_parent) as pool:

        def work(cells: Sequence[runner.Cell]) -> Iterator[runner.CellResult]:
            place = None if folder is None else str(folder)
            # not pool.map, which cancels what it leaves behind: a pool whose workers are gone stumbles over that
            with _interrupts_held():  # the first submission starts the workers
                futures = [pool.submit(_measure_cell, cell, place) for cell in cells]
            return (future.result() for future in futures)

        try:
            return runner.findings(results, full, folder, progress, work)
        except BrokenProcessPool:
            raise ExactUnlearnError(
                "a worker process was killed, perhaps for lack of memory; run the same command again, with fewer "
                "--jobs: finished cells are kept"
            ) from None
        except BaseException:
            # a pool would wait for the cells in hand, minutes perhaps, and for all that are queued behind them
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()
            raise


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and never reaches the processes started here, which inherit that: one that is still
    importing would answer with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
    """Leave interrupts to the run, and end this worker when the run is killed; a pool alone would leave it waiting.
    Cells are written whole.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "workers are started by a run"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _measure_cell(cell: runner.Cell, folder: str | None) -> runner.CellResult:
    """One cell in a process of its own, found by its names."""
    claim = runner.claim_of(registry.RESULTS, cell)
    return runner.load_or_measure(claim, cell, None if folder is None else Path(folder))


def draw(results: Sequence[Result], findings: Sequence[Finding], say: Callable[[str], None]) -> dict[str, str]:
    """SVG text of each result's figure, by slug."""
    drawn = {}
    for result in results:
        if result.figure:
            say(f"figure of {result.name}")
            own = {finding.key: finding for finding in findings if finding.result == result.name}
            drawn[result.slug] = drawing(result.figure)(own)
    return drawn


def summary(results: Sequence[Result], findings: Sequence[Finding]) -> str:
    """One line per result."""
    rows = []
    for result in results:
        own = [finding for finding in findings if finding.result == result.name]
        bad = report.worst(own)
        count = sum(finding.instances for finding in own)
        rows.append((result.name, bad.verdict, str(len(own)), f"{count:,}", small(bad.deviation), report.weakest(own)))
    return table(("result", "verdict", "claims", "instances", "worst deviation", "proof"), rows, left=2)


def details(findings: Sequence[Finding]) -> str:
    """One line per claim."""
    rows = []
    for finding in findings:
        predicted, measured = report.figures_shown(finding)
        proof = report.PROOF_WORDS[finding.proof]
        rows.append(
            (
                finding.result,
                finding.key,
                finding.kind,
                finding.verdict,
                predicted,
                measured,
                small(finding.deviation),
                proof,
                str(finding.instances),
            )
        )
    head = ("result", "claim", "kind", "verdict", "predicted", "measured", "deviation", "proof", "instances")
    return table(head, rows, left=4)


def complaints(findings: Iterable[Finding]) -> str:
    """What was contradicted, in a few lines; empty if nothing was."""
    lines = []
    for finding in findings:
        if finding.verdict == "contradicted":
            said = f" ({finding.message})" if finding.message else ""
            shown = "predicted {}, measured {}".format(*report.figures_shown(finding))
            lines.append(f"CONTRADICTED  {finding.result}, {finding.key}: {finding.statement} {shown}{said}")
    return "\n".join(lines)
