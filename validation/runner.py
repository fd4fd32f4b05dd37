"""Run claims on random instances: cells that can be resumed, findings made of cells.

A *cell* is a batch of instances of one claim and one case.  Each writes one JSON file, whole or not at all, so an
interrupted run goes on where it stopped.  The file holds a digest of all sources, so a cell that was measured by other
code is measured again.  Instance i of a case has its own seed: results depend neither on order nor on batches.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import exact_unlearn
from exact_unlearn import interrupts
from exact_unlearn.report import write_text

from .finding import PROOFS, Claim, Finding, Measurement, Result, Verdict

SCHEMA = "exact-unlearn/theorem-cell"
BATCH = 25


@dataclass(frozen=True)
class Cell:
    """Instances first, ..., first + count - 1 of one case of one claim."""

    result: str
    claim: str
    case: int
    first: int
    count: int

    @property
    def name(self) -> str:
        """Unique, and fit for a file name."""
        return f"{self.result}.{self.claim}.{self.case}.{self.first}-{self.first + self.count - 1}"


@dataclass(frozen=True)
class CellResult:
    """The worst measurement of a cell (None: nothing could be measured), the weakest proof, and all values of each
    series; count instances were measured, `unmeasured` were not, message: why the first of these.
    """

    worst: Measurement | None
    proof: str
    count: int
    series: dict[str, list[float]] = field(default_factory=dict)
    unmeasured: int = 0
    message: str = ""


def plan(results: Iterable[Result], full: bool) -> list[Cell]:
    """The cells of a run, in the order of the report."""
    cells = []
    for result in results:
        for claim in result.claims:
            total = claim.full if full else claim.quick
            for case in range(len(claim.cases)):
                for first in range(0, total, BATCH):
                    cells.append(Cell(result.slug, claim.key, case, first, min(BATCH, total - first)))
    return cells


def claim_of(results: Iterable[Result], cell: Cell) -> Claim:
    """The claim that a cell measures."""
    result = next(result for result in results if result.slug == cell.result)
    return next(claim for claim in result.claims if claim.key == cell.claim)


def generator(cell: Cell, instance: int) -> np.random.Generator:
    """The generator of one instance."""
    return np.random.default_rng([zlib.crc32(f"{cell.result}.{cell.claim}".encode()), cell.case, instance])


def measure_cell(claim: Claim, cell: Cell) -> CellResult:
    """Measure every instance of the cell.

    An exception is no measurement: memory that ran out, a solver that proved nothing, or a mistake of ours neither
    confirms nor contradicts a claim.  Its text is kept and the other instances still run.  An interrupt ends all of it,
    whatever has become of it on its way here.
    """
    measurements, message = [], ""
    for i in range(cell.first, cell.first + cell.count):
        try:
            measurement = claim.measure(generator(cell, i), claim.cases[cell.case])
            interrupts.check()
            measurements.append(measurement)
        except Exception as error:
            interrupts.reraise(error)
            message = message or f"case {cell.case}, instance {i}: {type(error).__name__}: {error}"
    series: dict[str, list[float]] = {}
    for measurement in measurements:
        for name, value in measurement.series.items():
            series.setdefault(name, []).append(float(value))
    worst = max(measurements, key=lambda m: m.interest, default=None)
    proof, done = _weakest(m.proof for m in measurements), len(measurements)
    return CellResult(worst, proof, done, series, cell.count - done, message)


def not_measured(cell: Cell, why: str) -> CellResult:
    """The result of a cell of which nothing was measured."""
    return CellResult(None, "none", 0, {}, cell.count, f"case {cell.case}: {why}")


def load_or_measure(claim: Claim, cell: Cell, folder: Path | None) -> CellResult:
    """The stored result of the cell if it was measured by this very code, else a fresh one, stored in one step; it is
    stored only if every instance was measured.
    """
    path = None if folder is None else folder / f"{cell.name}.json"
    if path is not None:
        stored = _read(path)
        if stored is not None:
            return stored
    result = measure_cell(claim, cell)
    if path is not None and not result.unmeasured:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(_to_json(result)))
    return result


def summarise(result: Result, claim: Claim, cells: Sequence[CellResult]) -> Finding:
    """The finding of one claim from all its cells."""
    worst = max((cell.worst for cell in cells if cell.worst is not None), key=lambda m: m.interest, default=None)
    unmeasured = sum(cell.unmeasured for cell in cells)
    if worst is not None and not worst.holds:
        verdict: Verdict = "contradicted"
    else:
        verdict = "not measured" if unmeasured or worst is None else "confirmed"
    shown = worst or Measurement(math.nan, math.nan, math.inf, "none")
    series: dict[str, list[float]] = {}
    for cell in cells:
        for name, values in cell.series.items():
            series.setdefault(name, []).extend(values)
    return Finding(
        result=result.name,
        key=claim.key,
        kind=claim.kind,
        statement=claim.statement,
        quantity=claim.quantity,
        assumptions=claim.assumptions,
        verdict=verdict,
        predicted=shown.predicted,
        measured=shown.measured,
        deviation=shown.deviation,
        tolerance=shown.tolerance,
        proof=_weakest(cell.proof for cell in cells),
        instances=sum(cell.count for cell in cells),
        unmeasured=unmeasured,
        message=next((cell.message for cell in cells if cell.message), ""),
        series={name: tuple(values) for name, values in series.items()},
    )


def findings(
    results: Sequence[Result],
    full: bool = False,
    folder: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    work: Callable[[Sequence[Cell]], Iterable[CellResult]] | None = None,
) -> list[Finding]:
    """Measure all claims of the results.

    folder: where cells are kept.  progress(done, total, label) is called after every cell.  work: measures cells in
    order (for a pool of processes); default: one after the other, here.
    """
    cells = plan(results, full)
    done = (load_or_measure(claim_of(results, cell), cell, folder) for cell in cells) if work is None else work(cells)
    measured: dict[tuple[str, str], list[CellResult]] = {}
    for i, (cell, outcome) in enumerate(zip(cells, done, strict=True), start=1):
        measured.setdefault((cell.result, cell.claim), []).append(outcome)
        if progress is not None:
            progress(i, len(cells), f"{cell.result} {cell.claim}")
    return [
        summarise(result, claim, measured[result.slug, claim.key])
        for result in results
        for claim in result.claims
        if (result.slug, claim.key) in measured
    ]


@cache
def source_digest() -> str:
    """SHA-256 over the sources of the package and of these verifications."""
    digest = hashlib.sha256()
    for root in (Path(exact_unlearn.__file__).parent, Path(__file__).parent):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _weakest(proofs: Iterable[str]) -> str:
    return max(proofs, key=PROOFS.index, default="none")


def _to_json(result: CellResult) -> dict[str, Any]:
    worst = result.worst
    assert worst is not None, "only cells that were measured are stored"
    return {
        "schema": SCHEMA,
        "sources": source_digest(),
        "worst": {
            name: repr(float(getattr(worst, name))) for name in ("predicted", "measured", "deviation", "tolerance")
        },
        "worst_proof": worst.proof,
        "proof": result.proof,
        "count": result.count,
        "series": {name: [repr(value) for value in values] for name, values in result.series.items()},
    }


def _read(path: Path) -> CellResult | None:
    """A stored cell; None if there is none, if it is damaged, or if other code measured it."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["schema"] != SCHEMA or stored["sources"] != source_digest():
            return None
        numbers: dict[str, Any] = {name: float(v) for name, v in stored["worst"].items()}
        worst = Measurement(proof=stored["worst_proof"], **numbers)
        series = {name: [float(v) for v in values] for name, values in stored["series"].items()}
        return CellResult(worst, stored["proof"], int(stored["count"]), series)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
