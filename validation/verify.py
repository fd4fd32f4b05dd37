"""A whole run: measure, draw, write. What `exact-unlearn theorems` does, as functions."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from pathlib import Path

from exact_unlearn import interrupts
from exact_unlearn.report import table

from . import registry, report, runner
from .figures import drawing
from .finding import Finding, Result

Progress = Callable[[int, int, str], None]


def measure(
    results: Sequence[Result], full: bool, folder: Path | None, jobs: int, progress: Progress | None = None
) -> list[Finding]:
    """The findings of all claims of the results.

    folder: where the cells of the run are kept, so that it can be interrupted and taken up again.  jobs: processes.  A
    cell whose process dies, alone as well as in company, is not measured; the others are.
    """
    if jobs == 1:
        return runner.findings(results, full, folder, progress)
    place = None if folder is None else str(folder)
    with ExitStack() as stack:  # workers are ended as well when what follows a cell, its progress, fails

        def work(cells: Sequence[runner.Cell]) -> Iterator[runner.CellResult]:
            return stack.enter_context(closing(_over_processes(cells, place, jobs)))

        return runner.findings(results, full, folder, progress, work)


def _over_processes(
    cells: Sequence[runner.Cell], place: str | None, jobs: int
) -> Generator[runner.CellResult, None, None]:
    """The results in order.  When a process dies its whole pool is gone, and one of the cells in hand is to blame:
    each of them is tried again, in a process for it alone.
    """
    done = 0
    while done < len(cells):
        for outcome in _pool(cells[done:], place, jobs):
            yield outcome
            done += 1
        for cell in cells[done : done + jobs]:
            yield next(_pool([cell], place, 1), None) or runner.not_measured(cell, KILLED)
            done += 1


KILLED = "its process was killed, perhaps for lack of memory; try again, with fewer --jobs"


def _pool(cells: Sequence[runner.Cell], place: str | None, jobs: int) -> Generator[runner.CellResult, None, None]:
    """The results in order, as far as no process dies."""
    # spawned, not forked: solvers start threads, and a forked child may inherit a lock that nobody opens again
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_follow_parent) as pool:
        try:
            # not pool.map, which cancels what it leaves behind: a pool whose workers are gone stumbles over that
            interrupts.shield()
            with interrupts.held():  # the first submission starts the workers
                futures = [pool.submit(_measure_cell, cell, place) for cell in cells]
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            return
        except BaseException:
            # a pool would wait for the cells in hand, minutes perhaps, and for all that are queued behind them
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()
            raise


def _follow_parent() -> None:
    """Leave interrupts to the run, and end this worker when the run is killed; a pool alone would leave it waiting.
    Cells are written whole.
    """
    interrupts.left_to_parent()
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
        rows.append(
            (result.name, bad.verdict, str(len(own)), f"{count:,}", report.deviation_shown(bad), report.weakest(own))
        )
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
                report.deviation_shown(finding),
                proof,
                str(finding.instances),
            )
        )
    head = ("result", "claim", "kind", "verdict", "predicted", "measured", "deviation", "proof", "instances")
    return table(head, rows, left=4)


def complaints(findings: Iterable[Finding]) -> str:
    """What was contradicted and what was not measured, in a few lines; empty if all is confirmed."""
    lines = []
    for finding in findings:
        said = f" ({finding.message})" if finding.message else ""
        if finding.verdict == "contradicted":
            shown = "predicted {}, measured {}".format(*report.figures_shown(finding))
            lines.append(f"CONTRADICTED  {finding.result}, {finding.key}: {finding.statement} {shown}{said}")
        elif finding.verdict == "not measured":
            total = finding.instances + finding.unmeasured
            missing = f"{finding.unmeasured} of {total} instances"
            lines.append(f"NOT MEASURED  {finding.result}, {finding.key}: {finding.statement} {missing}{said}")
    return "\n".join(lines)
