"""Data Poisoning (Tables 1, 5, 6, 7; Figures 1, 3, 4, 5): `exact-unlearn experiment data-poisoning`.

A small network is trained on 50 samples of a sine and 5 poisoned ones; MinNorm-OG and seven others unlearn the five
within T epochs, over the whole grid of hyper-parameters, for ten seeds; and the surrogate is solved exactly at the same
networks.

    poisoning_start.py      samples and theta*
    poisoning_grid.py       the grid as cells: stacks of networks
    poisoning_exact.py      the exact view
    poisoning_tables.py     selection and tables
    poisoning_figures.py    one figure per budget, one of the exact view
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exact_unlearn import codec, interrupts, report, sweep
from exact_unlearn.errors import ProblemError

from . import poisoning_exact, poisoning_figures, poisoning_tables
from .poisoning_certified import CERTIFIED_HEADER, certified_cell, certified_row, certified_texts
from .poisoning_exact import PUBLISHED_BEST
from .poisoning_grid import BUDGETS, METHODS, grid_cell
from .poisoning_start import Recipe
from .poisoning_tables import Choice

Axes = Mapping[tuple[str, int], Mapping[str, Sequence[float]]]

QUICK_EPOCHS = 8_000
"""Training epochs of the quick version; the paper has 100 000."""


@dataclass(frozen=True)
class Plan:
    """What to run.  axes: hyper-parameters to search, by (method, budget); None: the grid of the paper.

    certify: seeds whose exact surrogate solutions are proved, for theta* as trained and polished and each of `lambdas`,
    the weights of the squared drift (a minute and a half of processor time each).
    """

    seeds: tuple[int, ...] = tuple(range(10))
    budgets: tuple[int, ...] = BUDGETS
    recipe: Recipe = field(default_factory=Recipe)
    axes: Axes | None = None
    exact_view: bool = True
    certify: tuple[int, ...] = ()
    lambdas: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ProblemError("seeds: expected at least one")
        for seed in self.certify:
            if seed not in self.seeds:
                raise ProblemError(f"certify: expected some of the seeds {', '.join(map(str, self.seeds))}, got {seed}")
        for lam in self.lambdas:
            if not 0 <= lam < float("inf"):
                raise ProblemError(f"lambdas: expected finite numbers >= 0, got {lam}")
        for budget in self.budgets:
            if budget not in BUDGETS:
                raise ProblemError(f"budgets: expected some of {', '.join(map(str, BUDGETS))}, got {budget}")

    @property
    def quick(self) -> bool:
        """Whether this is not the experiment of the paper."""
        return self.recipe != Recipe() or self.axes is not None

    def cells(self) -> list[sweep.Cell]:
        """All cells, seed by seed, so that a run cut short has whole seeds."""
        found = []
        for seed in self.seeds:
            for epochs in self.budgets:
                for method in METHODS:
                    own = None if self.axes is None else self.axes[method, epochs]
                    found.append(grid_cell(method, epochs, seed, self.recipe, own))
        if self.exact_view:
            found += [poisoning_exact.exact_cell(seed, self.recipe) for seed in self.seeds]
        return found + self.certified()

    def certified(self) -> list[sweep.Cell]:
        """The cells with proofs."""
        if not self.exact_view:
            return []
        kinds = [(variant, lam) for variant in poisoning_exact.VARIANTS for lam in self.lambdas]
        return [certified_cell(seed, self.recipe, *kind) for seed in self.certify for kind in kinds]


def quick_plan() -> Plan:
    """Three seeds, a shorter training, one setting per method: published best for MinNorm-OG, ours for the others."""
    axes: dict[tuple[str, int], dict[str, list[float]]] = {}
    for epochs in BUDGETS:
        for method in METHODS:
            setting = PUBLISHED_BEST[epochs] if method == "minnorm-og" else FULL_BEST[epochs][method]
            axes[method, epochs] = {name: [value] for name, value in setting.items()}
    return Plan(tuple(range(3)), BUDGETS, Recipe(epochs=QUICK_EPOCHS), axes, exact_view=False)


FULL_BEST: dict[int, dict[str, dict[str, float]]] = {
    10: {
        "retrain": {"learning_rate": 0.0001},
        "gd": {"learning_rate": 0.001},
        "ga": {"learning_rate": 0.0001},
        "neggrad+": {"learning_rate": 0.001, "ascent": 0.001},
        "ngd": {"learning_rate": 0.0001, "noise": 0.1},
        "ridge": {"learning_rate": 0.01, "strength": 3.0, "decay": 0.6},
        "l1-sparse": {"learning_rate": 0.0001, "strength": 0.1},
    },
    100: {
        "retrain": {"learning_rate": 0.0001},
        "gd": {"learning_rate": 0.001},
        "ga": {"learning_rate": 0.0001},
        "neggrad+": {"learning_rate": 0.001, "ascent": 0.001},
        "ngd": {"learning_rate": 0.0001, "noise": 0.1},
        "ridge": {"learning_rate": 0.001, "strength": 3.0, "decay": 0.9},
        "l1-sparse": {"learning_rate": 0.001, "strength": 0.1},
    },
    1000: {
        "retrain": {"learning_rate": 0.0001},
        "gd": {"learning_rate": 0.001},
        "ga": {"learning_rate": 0.0001},
        "neggrad+": {"learning_rate": 0.001, "ascent": 0.001},
        "ngd": {"learning_rate": 0.001, "noise": 0.5},
        "ridge": {"learning_rate": 0.0005, "strength": 3.0, "decay": 0.9},
        "l1-sparse": {"learning_rate": 0.001, "strength": 3.0},
    },
}
"""Best settings of the full run (docs/results/data_poisoning), by budget and method."""


@dataclass(frozen=True)
class Outcome:
    """What came out: Table 5 and 6 under both selections, the exact view, and the files written."""

    plan: Plan
    computed: int
    reported: tuple[Choice, ...]
    held_out: tuple[Choice, ...]
    exact: Mapping[str, Any] | None
    files: tuple[Path, ...]

    def text(self) -> str:
        """For people."""
        parts = []
        if self.plan.quick:
            parts.append(QUICK_NOTE.format(seeds=len(self.plan.seeds), epochs=self.plan.recipe.epochs))
        parts.append(poisoning_tables.as_text(self.reported))
        if not self.plan.quick:
            rows = poisoning_tables.table_5(self.held_out)
            head = "The same with hyper-parameters chosen on other seeds than those reported:"
            parts.append(head + "\n\n" + report.table(poisoning_tables.TABLE_5_HEADER, rows, left=2))
            gaps = poisoning_tables.edge_gaps(self.plan.seeds, self.plan.recipe)
            listed = ", ".join(f"{gap:.2f}" for gap in gaps)
            head = f"Errors and where samples lie. Largest stretch without one at an end, by seed: {listed}"
            rows = poisoning_tables.edge_rows(self.reported, gaps)
            parts.append(head + "\n\n" + report.table(poisoning_tables.EDGE_HEADER, rows, left=2))
        if self.exact is not None:
            parts.append(poisoning_exact_text(self.exact))
        return "\n\n".join(parts)

    def tree(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schema": "exact-unlearn/data-poisoning",
            "version": 1,
            "quick": self.plan.quick,
            "seeds": list(self.plan.seeds),
            "training_epochs": self.plan.recipe.epochs,
            "reported": poisoning_tables.as_tree(self.reported),
            "held_out": poisoning_tables.as_tree(self.held_out),
            "exact_view": self.exact,
        }


QUICK_NOTE = (
    "QUICK VERSION: {seeds} seeds, {epochs} training epochs instead of 100 000, one setting per method instead of the "
    "grid.\nIt shows how the experiment works; its numbers are not those of the paper."
)


def poisoning_exact_text(exact: Mapping[str, Any]) -> str:
    """The exact view as a table."""
    rows = [[row["what"], row["trained"], row["polished"]] for row in exact["rows"]]
    head = "The exact surrogate at theta* (medians over the seeds):"
    text = head + "\n\n" + report.table(("", "as trained", "polished"), rows, left=1)
    for row in exact.get("certified", ()):
        text += (
            f"\ncertified, seed {row['seed']}, {row['variant']}, lam = {row['lam']:g}: value in [{row['lower']!r}, "
            f"{row['upper']!r}], proof {row['proof']}, gap {row['gap']:g}; our point {row['disagreement']:.1e} |D| off"
        )
    return text


def run(
    plan: Plan,
    folder: Path,
    output: Path | None = None,
    jobs: int = 1,
    backend: str | None = None,
    progress: Callable[[sweep.Progress], None] | None = None,
    ready: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Compute whatever is missing in `folder`, then write tables and figures into `output` (None: write nothing).

    ready: called with the outcome as soon as it is known, before anything is drawn.
    """
    computed = sweep.run(plan.cells(), folder, jobs, backend, progress)
    errors = poisoning_tables.collect(folder, plan.seeds, plan.budgets, plan.recipe, plan.axes)
    reported = tuple(one.reported() for one in errors)
    held_out = tuple(one.held_out() for one in errors) if not plan.quick else ()
    exact = poisoning_exact.summary(plan.seeds, plan.recipe, folder) if plan.exact_view else None
    if exact is not None and plan.certify:
        exact["certified"] = [certified_row(cell, sweep.load(cell, folder)) for cell in plan.certified()]
    outcome = Outcome(plan, computed, reported, held_out, exact, ())
    if ready is not None:
        ready(outcome)
    if output is None:
        return outcome
    output.mkdir(parents=True, exist_ok=True)
    files = list(_write_tables(outcome, errors, output))
    files += poisoning_figures.draw_all(reported, plan.seeds, plan.recipe, folder, output, plan.axes)
    if plan.exact_view:
        files.append(poisoning_figures.draw_exact(plan.seeds, plan.recipe, folder, output))
    return Outcome(plan, computed, reported, held_out, exact, tuple(files))


def _write_tables(outcome: Outcome, errors: Sequence[poisoning_tables.Errors], output: Path) -> Iterator[Path]:
    five, six = output / "table_5.md", output / "table_6.md"
    headers = poisoning_tables.TABLE_5_HEADER, poisoning_tables.TABLE_6_HEADER
    note = f"{QUICK_NOTE.format(seeds=len(outcome.plan.seeds), epochs=outcome.plan.recipe.epochs)}\n\n"
    text = note if outcome.plan.quick else ""
    text += poisoning_tables.markdown(headers[0], poisoning_tables.table_5(outcome.reported))
    if outcome.held_out:
        text += "\n\nHyper-parameters chosen on other seeds than those reported:\n\n"
        text += poisoning_tables.markdown(headers[0], poisoning_tables.table_5(outcome.held_out))
        gaps = poisoning_tables.edge_gaps(outcome.plan.seeds, outcome.plan.recipe)
        listed = ", ".join(f"{gap:.2f}" for gap in gaps)
        text += f"\n\nLargest stretch without a retain sample at an end, by seed: {listed}.\n\n"
        rows = poisoning_tables.edge_rows(outcome.reported, gaps)
        text += poisoning_tables.markdown(poisoning_tables.EDGE_HEADER, rows)
    codec.write_atomically(five, (text + "\n").encode())
    text = poisoning_tables.markdown(headers[1], poisoning_tables.table_6(outcome.reported))
    codec.write_atomically(six, (text + "\n").encode())
    yield from (five, six)
    if outcome.exact is not None:
        rows = [[row["what"], row["trained"], row["polished"]] for row in outcome.exact["rows"]]
        text = poisoning_tables.markdown(("median over the seeds", "as trained", "polished"), rows)
        text += "\n\n" + poisoning_tables.markdown(
            poisoning_exact.SEED_HEADER, poisoning_exact.seed_rows(outcome.exact)
        )
        codec.write_atomically(output / "exact.md", (text + "\n").encode())
        yield output / "exact.md"
    if outcome.exact is not None and outcome.exact.get("certified"):
        text = poisoning_tables.markdown(CERTIFIED_HEADER, map(certified_texts, outcome.exact["certified"]))
        codec.write_atomically(output / "certified.md", (text + "\n").encode())
        yield output / "certified.md"
    everything = output / "errors.json"
    codec.write_atomically(everything, _errors_text(outcome.plan.seeds, errors).encode())
    yield everything


def _errors_text(seeds: Sequence[int], errors: Sequence[poisoning_tables.Errors]) -> str:
    """Every sup error in four digits, a line per method and budget; the exact values are in the cells."""
    lines = []
    for one in errors:
        values = [[_rounded(value) for value in row] for row in one.values]
        axes = {name: sorted({setting[name] for setting in one.combinations}) for name in one.combinations[0]}
        head = {"epochs": one.epochs, "method": one.method, "axes": axes}
        settings = [list(setting.values()) for setting in one.combinations]
        lines.append(json.dumps({**head, "settings": settings, "sup_error": values}, separators=(",", ":")))
    body = ",\n".join(lines)
    return f'{{"schema":"exact-unlearn/data-poisoning-errors","version":1,"seeds":{list(seeds)},"grid":[\n{body}\n]}}\n'


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if value < float("inf") else None


@contextmanager
def told(quiet: bool, say: Callable[[str], None], every: float = 10.0) -> Iterator[Callable[[sweep.Progress], None]]:
    """A progress function that says where the run stands, at most once in `every` seconds and at the end."""
    last = -every

    def tell(progress: sweep.Progress) -> None:
        nonlocal last
        now = time.monotonic()
        interrupts.check()
        if not quiet and (now - last >= every or progress.done == progress.total):
            last = now
            say(str(progress))

    yield tell
