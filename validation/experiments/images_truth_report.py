"""The certified truth beside the image experiments: the plan, and what came out as tables and a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import codec, plots, report, sweep
from exact_unlearn.errors import ProblemError

from . import images_first_step
from .data import Images
from .images_figures import look
from .images_recipes import recipe
from .images_results import Choice, Runs, reported
from .images_rows import ERASURE, METHODS, NAMES, Row, describe
from .images_sets import data_cell, stored
from .images_tables import with_error
from .images_truth import EPOCHS, LOGITS, MARGINS, METRICS, READINGS, SEARCH, truth_cell
from .poisoning_tables import markdown

FIRST = "first-step"
"""The third table: no reading of the truth, but of a network whose parameters all move."""

TABLES = (*READINGS, FIRST)

HEADERS = {
    LOGITS: (
        "",
        "distance on test images",
        "distance of parameters",
        "gray right",
        "red right",
        "green right",
        "coloured called gray",
        "setting",
    ),
    MARGINS: ("", "cosine to the truth", "colour accuracy", "content accuracy", "setting"),
    FIRST: ("", "distance to the certified move", "cosine", "length", "retained logits move by", "setting"),
}

TITLES = {
    LOGITS: "T1, logits interpolated (label erasure): distance to the certified truth, 1 = before unlearning",
    MARGINS: "T2, hard margins (collapse): cosine to the certified truth",
    FIRST: "First step on a convolutional network (label erasure): how far from the certified projection",
}

MARKS = {
    LOGITS: {"start": "before", "truth": "certified truth"},
    MARGINS: {"start": "before", "truth": "certified truth"},
    FIRST: {"shrink": "all parameters to 0"},
}
"""Rows above the methods."""


def metrics_of(table: str) -> tuple[str, ...]:
    """What is measured."""
    return images_first_step.METRICS if table == FIRST else METRICS[table]


def search_of(table: str) -> Row:
    """Settings tried."""
    return images_first_step.SEARCH if table == FIRST else SEARCH[table]


def score(reading: str) -> Callable[[Mapping[str, Any]], Any]:
    """Less is nearer to the truth."""
    return (lambda means: -means["cosine"]) if reading == MARGINS else (lambda means: means["distance"])


@dataclass(frozen=True)
class Plan:
    """All tables on one set.  filters: per reading; retain, test: numbers of images; width: of the convolutional
    network.
    """

    images: Images
    seeds: tuple[int, ...] = (1, 2, 3)
    filters: tuple[int, int] = (60, 15)
    retain: int = 40
    test: int = 200
    width: int = 4
    quick: bool = False

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ProblemError("seeds: expected at least one")
        if self.images.classes != 10:
            raise ProblemError(f"data: expected ten classes for the ten colours, got {self.images.classes}")

    @property
    def data(self) -> sweep.Cell:
        """The images, up to a few hundred of each split."""
        return data_cell(self.images, min(1000, len(self.images.train)), min(1000, len(self.images.test)))

    def starts(self) -> list[sweep.Cell]:
        """The trained networks of the first steps, by seed."""
        return [cell.needs["initial"] for cell in self.cells(FIRST)]

    def cells(self, reading: str) -> list[sweep.Cell]:
        """By seed."""
        if reading == FIRST:
            how = replace(recipe(ERASURE, self.images.name), width=self.width, network="small", device="cpu")
            return [images_first_step.first_step_cell(seed, how, stored(self.data)) for seed in self.seeds]
        count = self.filters[READINGS.index(reading)]
        return [truth_cell(reading, seed, stored(self.data), count, self.retain, self.test) for seed in self.seeds]

    @property
    def heading(self) -> str:
        """What was run."""
        return (
            f"{self.images.name}: {self.retain} images retained, fixed integer features, {EPOCHS} full-batch epochs, "
            f"trials: {len(self.seeds)}."
        )


@dataclass(frozen=True)
class Outcome:
    """What came out.  results: per reading, the cells by seed."""

    plan: Plan
    results: Mapping[str, list[sweep.Result]]
    files: tuple[Path, ...] = ()

    def choices(self, reading: str) -> list[Choice]:
        """Every method under the setting nearest to the truth."""
        found = []
        for method in METHODS:
            metrics = {
                name: np.stack([np.array(result[method][name]) for result in self.results[reading]])
                for name in metrics_of(reading)
            }
            runs = Runs(method, "none", tuple(search_of(reading).settings(method)), metrics)
            found.append(reported(runs, score(reading)))
        return found

    def rows(self, reading: str) -> list[list[str]]:
        """Before, the truth, and the methods."""

        def cells(choice: Choice) -> list[str]:
            return [_cell(name, choice.mean(name), choice.error(name)) for name in metrics_of(reading)]

        found = []
        for mark, name in MARKS[reading].items():
            values = {
                key: np.stack([np.array(result[mark][key]) for result in self.results[reading]])
                for key in metrics_of(reading)
            }
            found.append([name, *cells(Choice(Runs(mark, "none", ({},), values), (0,) * len(self.plan.seeds))), ""])
        for choice in self.choices(reading):
            settings = "; ".join(describe(setting) for setting in choice.chosen)
            found.append([NAMES[choice.runs.method], *cells(choice), settings])
        return found

    def proof(self, reading: str) -> str:
        """What was proved, in a sentence."""
        proofs = [result["proof"] for result in self.results[reading]]
        kinds = ", ".join(dict.fromkeys(str(proof["proofs"]) for proof in proofs))
        gap = max(float(proof["gap"][0]) for proof in proofs)
        unique = "unique" if all(proof["unique"] for proof in proofs) else "not all unique"
        return (
            f"Proved for every trial: {proofs[0]['problems']} problem(s) with {proofs[0]['rows']} rows in all, proof "
            f"{kinds}, gap {gap:g}, {unique}; the independent checker agrees."
        )

    def text(self) -> str:
        """For people."""
        parts = [self.plan.heading]
        for reading in TABLES:
            table = report.table(HEADERS[reading][:-1], [row[:-1] for row in self.rows(reading)])
            parts += [TITLES[reading], table, self.proof(reading)]
        return "\n\n".join([*parts, NOTE])

    def page(self) -> str:
        """For docs/."""
        parts = [self.plan.heading]
        for reading in TABLES:
            parts += [f"{TITLES[reading]}.", markdown(HEADERS[reading], self.rows(reading)), self.proof(reading)]
        return "\n\n".join([*parts, NOTE]) + "\n"

    def tree(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schema": "exact-unlearn/images-truth",
            "version": 1,
            "quick": self.plan.quick,
            "data": {"name": self.plan.images.name, "digest": self.plan.images.digest},
            "seeds": list(self.plan.seeds),
            "readings": {
                reading: {
                    "proof": [dict(result["proof"]) for result in self.results[reading]],
                    "methods": {
                        choice.runs.method: {
                            "chosen": list(choice.chosen),
                            **{name: choice.values(name) for name in metrics_of(reading)},
                        }
                        for choice in self.choices(reading)
                    },
                    **{mark: [dict(result[mark]) for result in self.results[reading]] for mark in MARKS[reading]},
                }
                for reading in TABLES
            },
        }


NOTE = (
    "Each method is shown under the setting, of those searched, that comes nearest to the truth on these very trials: "
    "that flatters all of them."
)


def _cell(name: str, mean: float, error: float) -> str:
    if name in ("distance", "parameters", "outputs", "length"):
        return f"{mean:.2g}" if mean < 0.01 else with_error(mean, error)
    return with_error(mean, error)


def make_plan(images: Images, quick: bool = False, **fields: Any) -> Plan:
    """The plan; quick: one trial with fewer filters and images."""
    if quick:
        fields = {"seeds": (1,), "filters": (30, 12), "retain": 30, "test": 100, "quick": True, **fields}
    return Plan(images, **fields)


def run(
    plan: Plan,
    folder: Path,
    output: Path | None = None,
    jobs: int = 1,
    backend: str | None = None,
    progress: Callable[[sweep.Progress], None] | None = None,
    ready: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Compute what is missing, then write table, numbers and figure into `output` (None: nothing)."""
    sweep.run([plan.data], folder)
    sweep.run(plan.starts(), folder, jobs, backend)
    sweep.run([cell for reading in TABLES for cell in plan.cells(reading)], folder, jobs, backend, progress)
    results = {reading: [sweep.load(cell, folder) for cell in plan.cells(reading)] for reading in TABLES}
    outcome = Outcome(plan, results)
    if ready is not None:
        ready(outcome)
    if output is None:
        return outcome
    output.mkdir(parents=True, exist_ok=True)
    stem = f"truth_{plan.images.name}".replace("-", "_")
    table, numbers, figure = (output / f"{stem}.{suffix}" for suffix in ("md", "json", "png"))
    codec.write_atomically(table, outcome.page().encode())
    codec.write_atomically(numbers, report.json_text(outcome.tree()).encode())
    draw(outcome, figure)
    return replace(outcome, files=(table, numbers, figure))


def draw(outcome: Outcome, path: Path) -> None:
    """Two panels: what remains of the way to the truth, and cosine beside colour accuracy."""
    title = "How far from the certified truth each method ends"
    subtitle = f"{outcome.plan.heading} Every method under its best setting."
    with plots.figure(13.0, 5.2, title, subtitle) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.1, 1))
        places = {method: len(METHODS) - 1 - index for index, method in enumerate(METHODS)}
        for choice in outcome.choices(LOGITS):
            method = choice.runs.method
            value = max(choice.mean("distance"), 1e-16)
            style = look(method)
            left.plot([value], [places[method]], style["marker"], color=style["color"], markersize=8)
        left.axvline(1.0, color=plots.INK, linestyle=":", linewidth=1.0)
        left.set_xscale("log")
        left.set_xlim(1e-8, 5)
        left.set_yticks(list(places.values()), [NAMES[method] for method in places])
        left.set_xlabel("distance of test outputs to the truth (dotted: before unlearning)")
        left.set_title("T1, logits interpolated: label erasure")
        for choice in outcome.choices(MARGINS):
            x, y = choice.mean("cosine"), choice.mean("colour_accuracy")
            style = look(choice.runs.method)
            right.plot([x], [y], style["marker"], color=style["color"], markersize=8, label=NAMES[choice.runs.method])
        for mark, marker, name in (("start", "+", "before"), ("truth", "*", "certified truth")):
            found = [
                float(np.mean([result[mark][key][0] for result in outcome.results[MARGINS]]))
                for key in ("cosine", "colour_accuracy")
            ]
            right.plot(*[[value] for value in found], marker, color=plots.INK, markersize=12, label=name)
        right.axhline(found[1], color=plots.INK, linestyle="--", linewidth=0.8)
        right.set_xlabel("cosine to the truth")
        right.set_ylabel("colour accuracy")
        right.set_title("T2, hard margins: collapse (dashed: the truth's own accuracy)")
        right.legend(loc="lower right", ncols=2)
        plots.write_png(fig, path)
