"""How far is every method from the exact answer?  `exact-unlearn experiment truth`.

Small two-layer ReLU networks have learnt a few samples too many.  The global optimum of the exact unlearning problem,
min 1/2 |theta|^2 subject to f(theta, x) = y on the retained samples, is computed and certified for every task and seed
(docs/global_truth.md); then the surrogate, paths of short surrogates, MinNorm-OG, ten baselines and training anew are
measured against it: do they keep the labels, how large is R, how far is the predictor from the optimal ones?

    truth_tasks.py      samples, networks, theta*
    truth_optimum.py    certified optima, and all predictors that attain them
    truth_methods.py    the methods as cells
    truth_tables.py     medians and ranges over seeds
    truth_figures.py    two pictures
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from exact_unlearn import codec, report, sweep
from exact_unlearn.errors import ProblemError

from . import truth_figures
from .poisoning_tables import markdown
from .truth_methods import METHODS, Size, applies, method_cell
from .truth_optimum import optimum_cell
from .truth_tables import HEADER, Table, collect, line_of
from .truth_tasks import TASKS, make_task


@dataclass(frozen=True)
class Plan:
    """What to run."""

    tasks: tuple[str, ...] = tuple(TASKS)
    seeds: tuple[int, ...] = tuple(range(3))
    methods: tuple[str, ...] = METHODS
    size: Size = field(default_factory=Size)

    def __post_init__(self) -> None:
        if not self.seeds or not self.tasks:
            raise ProblemError("seeds: expected at least one, and at least one task")
        for name, given, known in (("tasks", self.tasks, tuple(TASKS)), ("methods", self.methods, METHODS)):
            for one in given:
                if one not in known:
                    raise ProblemError(f"{name}: expected some of {', '.join(known)}, got {one!r:.60}")
        if "nothing" not in self.methods:
            raise ProblemError("methods: expected 'nothing' among them, which is the unit of distances")

    @property
    def quick(self) -> bool:
        """Whether this is less than the committed results."""
        return self != replace(Plan(), seeds=self.seeds)

    def cells(self) -> list[sweep.Cell]:
        """All cells, seed by seed."""
        found = []
        for seed in self.seeds:
            for task in self.tasks:
                made = make_task(task, seed)
                found.append(optimum_cell(task, seed, self.size.width))
                found += [method_cell(m, task, seed, self.size) for m in self.methods if applies(m, made)]
        return found


def quick_plan() -> Plan:
    """Two tasks, two seeds, every method under one setting with a third of the epochs, in half a minute."""
    size = Size(epochs=100, steps=60, starts=1, axes="first")
    return Plan(("line-poison", "line-class"), (0, 1), METHODS, size)


QUICK_NOTE = (
    "QUICK VERSION: two tasks, few seeds, one setting per method and a third of the epochs. The optima are proved all "
    "the same; how the methods do is a matter of the full version."
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out."""

    plan: Plan
    computed: int
    tables: tuple[Table, ...]
    files: tuple[Path, ...] = ()

    def text(self) -> str:
        """For people."""
        parts = [QUICK_NOTE] if self.plan.quick else []
        for table in self.tables:
            body = report.table(HEADER, [row.texts() for row in table.rows], left=2)
            parts.append(f"{table.task}: {heading(table.tree())}\n\n{body}")
        return "\n\n".join(parts)

    def tree(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schema": "exact-unlearn/truth",
            "version": 1,
            "quick": self.plan.quick,
            "size": vars(self.plan.size),
            "tasks": [table.tree() for table in self.tables],
        }


def heading(tree: Mapping[str, Any]) -> str:
    """What a table is about, and what was proved; of `Table.tree`."""
    optima = tree["optima"]
    what = " ".join((TASKS[tree["task"]].__doc__ or "").split())
    values = ", ".join(f"{optimum['upper']:.9g}" for optimum in optima)
    text = f"{what} Certified optima R0 of the seeds: {values}; largest relative gap "
    text += f"{max(optimum['gap'] for optimum in optima):.0e}. Networks below the certified bound: "
    return text + f"{tree['below_the_bound']} of {sum(len(row['feasible']) for row in tree['tried'])}."


def run(
    plan: Plan,
    folder: Path,
    output: Path | None = None,
    jobs: int = 1,
    backend: str | None = None,
    progress: Callable[[sweep.Progress], None] | None = None,
    ready: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Compute whatever is missing in `folder`, then write table.md, truth.json and figures into `output`.

    ready: called with the outcome before anything is drawn.
    """
    computed = sweep.run(plan.cells(), folder, jobs, backend, progress)
    tables = tuple(collect(task, plan.seeds, plan.methods, plan.size, folder) for task in plan.tasks)
    outcome = Outcome(plan, computed, tables)
    if ready is not None:
        ready(outcome)
    if output is None:
        return outcome
    output.mkdir(parents=True, exist_ok=True)
    texts = {"table.md": tables_text(outcome.tree()), "truth.json": json.dumps(outcome.tree()) + "\n"}
    for name, text in texts.items():
        codec.write_atomically(output / name, text.encode())
    files = [output / name for name in texts]
    files.append(output / "figure.png")
    truth_figures.draw_places(tables, files[-1])
    for table in tables:
        if table.task.startswith("line"):
            files.append(output / f"figure_{table.task}.png")
            truth_figures.draw_predictors(table, plan.methods, plan.size, folder, files[-1])
    return replace(outcome, files=tuple(files))


def tables_text(tree: Mapping[str, Any]) -> str:
    """Markdown, of `Outcome.tree`."""
    parts = [f"{QUICK_NOTE}\n"] if tree["quick"] else []
    for task in tree["tasks"]:
        body = markdown(HEADER, map(line_of, task["rows"]))
        parts.append(f"### {task['task']}\n\n{heading(task)}\n\n{body}\n")
    return "\n".join(parts)
