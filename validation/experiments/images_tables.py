"""The image experiments as tables: what the methods reach, under which buffers, beside what the paper prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exact_unlearn import report

from . import collapse, label_erasure
from .images_grid import FORWARD_ONLY
from .images_results import Choice, Runs, distance, held_out, pareto_front, rank_correlation, reported, standard_error
from .images_rows import COLLAPSE, METHODS, NAMES, ONCE_PRINTED, PUBLISHED, Row, describe

Marks = Mapping[str, Mapping[str, Any]]
"""Of the initial network and the ground truth: metric -> (seeds,)."""

MARK_NAMES = {"initial": "initial network", "truth": "ground truth (trained without)"}


def erasure_score(means: Mapping[str, Any]) -> Any:
    """Distance from (1, 0) in the plane of the figures."""
    return distance(means["both_right"], means["forget_error"])


def collapse_score(means: Mapping[str, Any]) -> Any:
    """Less is more colour accuracy."""
    return -means["colour_accuracy"]


def score_of(row: Row) -> Any:
    """What hyper-parameters are chosen by."""
    return collapse_score if row.experiment == COLLAPSE else erasure_score


def metrics_of(row: Row) -> Mapping[str, str]:
    """Names and meanings."""
    return collapse.METRICS if row.experiment == COLLAPSE else label_erasure.METRICS


def with_error(mean: float, error: float, scale: float = 1.0, digits: int = 3) -> str:
    """ "mean ± s.e."; without the latter where there is one trial."""
    if not math.isfinite(mean):
        return "–"
    text = f"{scale * mean:.{digits}f}"
    return text if not math.isfinite(error) else f"{text} ± {scale * error:.{digits}f}"


ERASURE_HEADER = (
    "buffers",
    "method",
    "both right",
    "forget error",
    "distance to (1, 0)",
    "on other seeds",
    "class right",
    "error, coloured",
    "on front",
    "chosen",
)

COLLAPSE_HEADER = (
    "buffers",
    "method",
    "colour accuracy, %",
    "on other seeds",
    "published",
    "content accuracy, %",
    "chosen",
)


def rows_of(row: Row, runs: Sequence[Runs], marks: Marks, published: bool) -> list[list[str]]:
    """The table of a row, marks first."""
    build = _collapse_row if row.experiment == COLLAPSE else _erasure_row
    return [_mark_row(row, kind, marks[kind]) for kind in MARK_NAMES] + [
        build(row, found, held_out(found, score_of(row)), published) for found in runs
    ]


def header_of(row: Row) -> tuple[str, ...]:
    """Of the same table."""
    return COLLAPSE_HEADER if row.experiment == COLLAPSE else ERASURE_HEADER


def _mark_row(row: Row, kind: str, values: Mapping[str, Any]) -> list[str]:
    def of(name: str, scale: float = 1.0, digits: int = 3) -> str:
        found = np.asarray(values[name])
        return with_error(float(found.mean()), float(standard_error(found[:, None])[0]), scale, digits)

    if row.experiment == COLLAPSE:
        return ["", MARK_NAMES[kind], of("colour_accuracy", 100, 1), "", "", of("content_accuracy", 100, 1), ""]
    away = erasure_score({name: np.asarray(values[name]).mean() for name in ("both_right", "forget_error")})
    cells = [of("both_right"), of("forget_error"), f"{float(away):.3f}", "", of("gray_accuracy")]
    return ["", MARK_NAMES[kind], *cells, of("forget_error_coloured"), "", ""]


def name_of(method: str) -> str:
    """Of a method, or of what is none."""
    return "forward passes only" if method == FORWARD_ONLY else NAMES[method]


def _away(choice: Choice) -> float:
    return float(erasure_score({name: choice.mean(name) for name in ("both_right", "forget_error")}))


def _erasure_row(row: Row, runs: Runs, other: Choice | None, published: bool) -> list[str]:
    choice = reported(runs, erasure_score)
    front = pareto_front(runs.mean("both_right"), runs.mean("forget_error"))
    cells = [
        with_error(choice.mean("both_right"), choice.error("both_right")),
        with_error(choice.mean("forget_error"), choice.error("forget_error")),
        f"{_away(choice):.3f}",
        "" if other is None else f"{_away(other):.3f}",
        with_error(choice.mean("gray_accuracy"), choice.error("gray_accuracy")),
        with_error(choice.mean("forget_error_coloured"), choice.error("forget_error_coloured")),
        f"{len(front)} of {len(runs.combinations)}",
    ]
    return [runs.buffers, name_of(runs.method), *cells, _settings(choice)]


def _collapse_row(row: Row, runs: Runs, other: Choice | None, published: bool) -> list[str]:
    choice = reported(runs, collapse_score)
    theirs = PUBLISHED[row.table].get(runs.method) if published else None
    name = "colour_accuracy"
    return [
        runs.buffers,
        name_of(runs.method),
        with_error(choice.mean(name), choice.error(name), 100, 1),
        "" if other is None else with_error(other.mean(name), other.error(name), 100, 1),
        "" if theirs is None else f"{theirs[0]:.1f} ± {theirs[1]:.1f}",
        with_error(choice.mean("content_accuracy"), choice.error("content_accuracy"), 100, 1),
        _settings(choice),
    ]


def _settings(choice: Choice) -> str:
    return "" if choice.runs.method == FORWARD_ONLY else "; ".join(describe(setting) for setting in choice.chosen)


def remarks(row: Row, runs: Sequence[Runs]) -> list[str]:
    """Sentences below the table."""
    found = []
    methods = [one for one in runs if one.method in METHODS]
    for policy in dict.fromkeys(one.buffers for one in methods):
        mine = [one for one in methods if one.buffers == policy]
        choices = [reported(one, score_of(row)) for one in mine]
        if row.experiment == COLLAPSE:
            ours = [choice.mean("colour_accuracy") for choice in choices]
            theirs = [PUBLISHED[row.table][one.method][0] for one in mine]
            value = rank_correlation(ours, theirs)
            shown = f"{value:.2f}" if math.isfinite(value) else "not defined"
            found.append(f"Rank correlation with the published row, buffers {policy}: {shown} (methods: {len(mine)}).")
        else:
            best = min(choices, key=_away)
            found.append(f"Nearest to (1, 0), buffers {policy}: {name_of(best.runs.method)}, at {_away(best):.3f}.")
    if row.table in ONCE_PRINTED:
        found.append(
            f"Published are the numbers of Table 17; Table 2 of the paper prints {ONCE_PRINTED[row.table]} for Ridge, "
            "which repeats GD's."
        )
    found.append(
        "Hyper-parameters are chosen on the trials that are reported, as in the paper, which flatters every method; "
        '"on other seeds" chooses for the trials of either parity on those of the other.'
    )
    return found


def as_text(row: Row, runs: Sequence[Runs], marks: Marks, published: bool) -> str:
    """For a terminal: the settings would make the lines too long, and are in the file."""
    header, rows = header_of(row), rows_of(row, runs, marks, published)
    table = report.table(header[:-1], [line[:-1] for line in rows], left=2)
    return table + "\n\n" + "\n".join(remarks(row, runs))


def as_tree(row: Row, runs: Sequence[Runs], marks: Marks) -> dict[str, Any]:
    """For machines: every mean and standard error, fronts, and choices."""
    names = list(metrics_of(row))
    found: list[dict[str, Any]] = []
    for one in runs:
        choice, other = reported(one, score_of(row)), held_out(one, score_of(row))
        entry: dict[str, Any] = {
            "method": one.method,
            "buffers": one.buffers,
            "settings": list(one.combinations),
            "mean": {name: one.mean(name) for name in names},
            "standard_error": {name: one.error(name) for name in names},
            "chosen": list(choice.chosen),
            "reported": {name: choice.values(name) for name in names},
            "held_out": None if other is None else {name: other.values(name) for name in names},
        }
        if row.experiment != COLLAPSE:
            entry["front"] = pareto_front(one.mean("both_right"), one.mean("forget_error"))
        found.append(entry)
    return {"marks": {kind: dict(values) for kind, values in marks.items()}, "runs": found}
