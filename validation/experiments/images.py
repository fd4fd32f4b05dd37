"""The two image experiments: `exact-unlearn experiment label-erasure` and `exact-unlearn experiment collapse`.

data/                 copies of image sets, read and checked
images_sets.py        painted images; the data as a cell
images_networks.py    ResNets and a small network
images_training.py    SGD, evaluation
images_recipes.py     how networks are trained, by set
images_rows.py        the grids and the numbers of the paper
label_erasure.py, collapse.py    sets and metrics of either experiment
images_grid.py        cells
images_results.py, images_tables.py, images_figures.py    what came out
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import codec, sweep
from exact_unlearn.algorithms.buffers import POLICIES
from exact_unlearn.errors import ProblemError

from . import images_figures, images_tables
from .data import Images
from .images_grid import FORWARD_ONLY, STUDIES, run_cells, shares, start_cell
from .images_recipes import Recipe, recipe
from .images_results import Runs
from .images_rows import CODES_VALUES, COLLAPSE, METHODS, Row, Setting, row
from .images_sets import data_cell, stored
from .images_tables import Marks
from .poisoning_tables import markdown

QUICK_TABLE = {"label-erasure": 8, "collapse": 22}
"""The row that is run where none is named."""

WEIGHTS = "images/weights"


@dataclass(frozen=True)
class Plan:
    """What to run: one row of the paper's grids on one set.  buffers: policies, each with all methods."""

    row: Row
    images: Images
    recipe: Recipe
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    buffers: tuple[str, ...] = ("as-used",)
    methods: tuple[str, ...] = METHODS
    quick: bool = False
    extra: tuple[tuple[str, str], ...] = ()
    weights: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ProblemError("seeds: expected at least one")
        for policy in self.buffers:
            if policy not in POLICIES:
                raise ProblemError(f"buffers: expected some of {', '.join(POLICIES)}, got {policy!r}")
        for method in self.methods:
            if method not in METHODS:
                raise ProblemError(f"methods: expected some of {', '.join(METHODS)}, got {method!r}")
        if self.recipe.pretrained and self.weights is None:
            raise ProblemError(
                "weights: this set's network starts from ImageNet's; name a file of torchvision's state with --weights"
            )
        STUDIES[self.row.experiment].head_sizes(self.images.classes)
        sizes = self.study_sizes()
        if min(sizes.values()) < 1:
            raise ProblemError(f"data: {sizes} samples are too few for shares of {shares(self.row, self.recipe)}")

    def study_sizes(self) -> dict[str, int]:
        """How many images the shares are."""
        n = min(len(self.images.train), self.recipe.n_train or len(self.images.train))
        p_color, p_retain = shares(self.row, self.recipe)
        per_class = n // self.images.classes if self.row.experiment == COLLAPSE else n
        return {"coloured": int(p_color * per_class + 1e-9), "accessible": int(p_retain * n + 1e-9)}

    @property
    def data(self) -> sweep.Cell:
        """The cell of the images, which only this process can compute."""
        return data_cell(self.images, self.recipe.n_train, self.recipe.n_test)

    @property
    def inputs(self) -> list[sweep.Cell]:
        """Cells that only this process can compute."""
        found = [self.data]
        if self.weights is not None and self.recipe.pretrained:
            found.append(_weights_cell(self.weights))
        return found

    def _needs(self) -> dict[str, sweep.Cell]:
        names = ("data", "weights")
        return {name: stored(cell) for name, cell in zip(names, self.inputs, strict=False)}

    def starts(self, kind: str) -> list[sweep.Cell]:
        """Networks by seed; kind: "initial" or "truth"."""
        p_color, _ = shares(self.row, self.recipe)
        needs = self._needs()
        return [start_cell(kind, self.row.experiment, p_color, seed, self.recipe, needs) for seed in self.seeds]

    def runs(self, method: str, buffers: str) -> list[list[sweep.Cell]]:
        """Per seed, the cells of a method."""
        data = self._needs()["data"]
        return [
            run_cells(self.row, method, seed, buffers, self.recipe, {"data": data, "initial": start}, dict(self.extra))
            for seed, start in zip(self.seeds, self.starts("initial"), strict=True)
        ]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """(method, buffers) in the order of the tables."""
        found = [(FORWARD_ONLY, "both-batches")]
        return found + [(method, policy) for policy in self.buffers for method in self.methods]

    def cells(self) -> list[sweep.Cell]:
        """All cells but the images."""
        found = self.starts("initial") + self.starts("truth")
        for seed in range(len(self.seeds)):  # seed by seed, so that a run cut short has whole trials
            for method, policy in self.kinds:
                found += self.runs(method, policy)[seed]
        return found

    @property
    def heading(self) -> str:
        """What was run, in a sentence."""
        p_color, p_retain = shares(self.row, self.recipe)
        n = min(len(self.images.train), self.recipe.n_train or len(self.images.train))
        network = f"{self.recipe.network} of width {self.recipe.width}"
        return (
            f"{self.images.name}, {n} training images, {network}; grid of Table {self.row.table}"
            f"{', shortened' if self.quick else ''}: T = {self.row.epochs}, p_color {p_color:g}, p_retain {p_retain:g}."
        )


def _weights_cell(weights: Mapping[str, Any]) -> sweep.Cell:
    import hashlib

    state = {name: np.asarray(value) for name, value in weights.items()}
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}{state[name].dtype}{state[name].shape}".encode() + state[name].tobytes())
    return sweep.Cell(WEIGHTS, lambda _, __: {"state": state}, {"digest": digest.hexdigest()})


def make_plan(
    experiment: str,
    images: Images,
    table: int | None = None,
    quick: bool = False,
    width: int | None = None,
    network: str | None = None,
    device: str = "cpu",
    **fields: Any,
) -> Plan:
    """The plan of a row (None: Table 8 or 22) on a set; quick: fewer trials and a grid of few settings."""
    found = row(QUICK_TABLE[experiment] if table is None else table, experiment)
    how = recipe(experiment, images.name)
    how = replace(how, device=device, width=width or how.width, network=network or how.network)
    if quick:
        found = shortened(found)
        fields.setdefault("seeds", (1, 2))
    return Plan(found, images, how, quick=quick, **fields)


def shortened(full: Row) -> Row:
    """The same row with a grid of few settings."""
    return replace(
        full,
        rates=full.rates[:2],
        strengths=full.strengths[1::2],
        ends=full.ends[:1],
        decays=full.decays[1:2],
        ascents=full.ascents[1:],
        noises=full.noises[:1],
    )


@dataclass(frozen=True)
class Outcome:
    """What came out."""

    plan: Plan
    computed: int
    found: tuple[Runs, ...]
    marks: Marks
    files: tuple[Path, ...] = ()

    @property
    def published(self) -> bool:
        """Whether the paper prints numbers of this row."""
        return self.plan.row.experiment == COLLAPSE

    def text(self) -> str:
        """For people."""
        return "\n\n".join([*self._head(), images_tables.as_text(*self._arguments())])

    def page(self) -> str:
        """The same for docs/, settings included."""
        row, runs, marks, published = self._arguments()
        rows = images_tables.rows_of(row, runs, marks, published)
        table = markdown(images_tables.header_of(row), rows)
        return "\n\n".join([*self._head(), table, *images_tables.remarks(row, runs)]) + "\n"

    def tree(self) -> dict[str, Any]:
        """For machines."""
        plan = self.plan
        return {
            "schema": f"exact-unlearn/{plan.row.experiment}",
            "version": 1,
            "quick": plan.quick,
            "table": plan.row.table,
            "data": {"name": plan.images.name, "digest": plan.images.digest, "checked": plan.images.checked},
            "seeds": list(plan.seeds),
            "recipe": vars(plan.recipe),
            "extra": dict(plan.extra),
            **images_tables.as_tree(plan.row, self.found, self.marks),
        }

    def _arguments(self) -> tuple[Row, tuple[Runs, ...], Marks, bool]:
        return self.plan.row, self.found, self.marks, self.published

    def _head(self) -> list[str]:
        plan, found = self.plan, []
        if plan.quick:
            found.append("QUICK VERSION: it shows how the experiment works; its numbers are not those of the paper.")
        found.append(f"{plan.heading} {len(plan.seeds)} trials. Images: {plan.images.checked}.")
        if plan.extra:
            found.append("MinNorm-OG with " + ", ".join(f"{name} {value}" for name, value in plan.extra) + ".")
        if not plan.quick and plan.row.table in CODES_VALUES:
            found.append(f"The grid is that of the text; {CODES_VALUES[plan.row.table]}.")
        return found


def run(
    plan: Plan,
    folder: Path,
    output: Path | None = None,
    jobs: int = 1,
    backend: str | None = None,
    progress: Callable[[sweep.Progress], None] | None = None,
    ready: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Compute whatever is missing in `folder`, then write table, numbers and figure into `output` (None: nothing).

    ready: called with the outcome as soon as it is known, before anything is drawn.
    """
    computed = sweep.run(plan.inputs, folder)
    computed += sweep.run(plan.cells(), folder, jobs, backend, progress)
    found = tuple(collect(plan, method, policy, folder) for method, policy in plan.kinds)
    outcome = Outcome(plan, computed, found, {kind: _mark(plan, kind, folder) for kind in images_tables.MARK_NAMES})
    if ready is not None:
        ready(outcome)
    if output is None:
        return outcome
    output.mkdir(parents=True, exist_ok=True)
    stem = f"{plan.row.experiment}_{plan.images.name}_table_{plan.row.table}".replace("-", "_")
    table, figure, numbers = (output / f"{stem}.{suffix}" for suffix in ("md", "png", "json"))
    codec.write_atomically(table, outcome.page().encode())
    codec.write_atomically(numbers, _numbers(outcome).encode())
    if plan.row.experiment == COLLAPSE:
        images_figures.draw_collapse(plan.row, found, outcome.marks, plan.heading, outcome.published, figure)
    else:
        images_figures.draw_erasure(plan.row, found, outcome.marks, plan.heading, figure)
    return replace(outcome, files=(table, numbers, figure))


def _numbers(outcome: Outcome) -> str:
    from exact_unlearn import report

    return report.json_text(outcome.tree())


def collect(plan: Plan, method: str, policy: str, folder: Path) -> Runs:
    """All runs of a method under a policy, from the result files."""
    per_seed = [[sweep.load(cell, folder) for cell in cells] for cells in plan.runs(method, policy)]
    names = images_tables.metrics_of(plan.row)
    metrics = {
        name: np.stack([np.concatenate([result[name] for result in results]) for results in per_seed]) for name in names
    }
    forward_only: list[Setting] = [{"learning_rate": 0.0}]
    combinations = forward_only if method == FORWARD_ONLY else plan.row.settings(method)
    return Runs(method, policy, tuple(combinations), metrics)


def _mark(plan: Plan, kind: str, folder: Path) -> dict[str, Any]:
    results: Sequence[sweep.Result] = [sweep.load(cell, folder) for cell in plan.starts(kind)]
    return {
        name: np.array([float(result[name][0]) for result in results]) for name in images_tables.metrics_of(plan.row)
    }
