"""The truth, the table: every method beside the certified optimum, over seeds.

R is 1/2 |theta|^2, R0 its certified optimum.  R / R0 means something only for networks that meet the labels: for others
it may lie below 1.  So every network is measured twice: as it was returned, and after its labels were restored by the
nearest parameters that meet them (`truth_tasks.restored`), where R / R0 >= 1 is proved.  Distances are in units of the
one at theta*: 1 is as far from the optimal predictors as before, 0 is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import sweep
from exact_unlearn.jacobian import Array
from exact_unlearn.optima import FEASIBLE, NUMBERS

from .truth_methods import STARTED, Setting, Size, applies, method_cell, settings
from .truth_optimum import optimum_cell, set_of
from .truth_tasks import make_task

SYMBOLS = {"lam": "λ", "learning_rate": "η", "strength": "λ_reg", "decay": "γ", "noise": "σ", "ascent": "λ_GA"}
SYMBOLS |= {"distill": "λ_KL", "beta": "β", "final_epochs": "T_GD"}

HEADER = (
    "method",
    "setting",
    "feasible",
    "error",
    "R/R0",
    "restored",
    "R/R0, restored",
    "balanced",
    "distance",
    "distance, restored",
)


@dataclass(frozen=True, eq=False)
class Row:
    """One method under one setting, or the best or worst of several starts.

    returned, restored: by number (`NUMBERS`), one entry per seed; value and balanced in units of R0, distance in units
    of that of theta*.  scale: of the labels, per seed.
    """

    method: str
    setting: str
    returned: Mapping[str, Array]
    restored: Mapping[str, Array]
    feasible: Array

    def texts(self) -> tuple[str, ...]:
        """A line of the table."""
        return line_of(self.tree())

    def tree(self) -> dict[str, Any]:
        """For machines: every number of every seed in six digits, null for infinity."""
        kinds = {"returned": self.returned, "restored": self.restored}
        found = {kind: {name: [_finite(v) for v in values[name]] for name in NUMBERS} for kind, values in kinds.items()}
        return {"method": self.method, "setting": self.setting, "feasible": [bool(v) for v in self.feasible], **found}


def line_of(tree: Mapping[str, Any]) -> tuple[str, ...]:
    """A line of the table, from `Row.tree`."""
    feasible, returned, restored = tree["feasible"], tree["returned"], tree["restored"]
    n, fit = len(feasible), sum(feasible)
    ratio = spread(returned["value"])
    return (
        tree["method"],
        tree["setting"],
        f"{fit}/{n}",
        brief(float(np.median([math.inf if v is None else v for v in returned["error"]]))),
        ratio if fit == n else f"({ratio})",
        f"{sum(v is not None for v in restored['value'])}/{n}",
        spread(restored["value"]),
        spread(restored["balanced"]),
        spread(returned["distance"]),
        spread(restored["distance"]),
    )


@dataclass(frozen=True, eq=False)
class Table:
    """One task: its certified optima, one per seed, and the rows that are shown; tried: rows of all settings."""

    task: str
    seeds: tuple[int, ...]
    optima: tuple[Mapping[str, Any], ...]
    rows: tuple[Row, ...]
    tried: tuple[Row, ...]

    @property
    def below(self) -> int:
        """How many restored networks have a smaller R than the certified lower bound: none, or something is wrong."""
        ratios = np.array([float(optimum["lower"]) / float(optimum["upper"]) for optimum in self.optima])
        slack = ratios * (1 - 1e-8)  # their labels are met to rounding, not exactly
        return int(sum((row.restored["balanced"] < slack).sum() for row in self.tried))

    def tree(self) -> dict[str, Any]:
        """For machines."""
        return {
            "task": self.task,
            "seeds": list(self.seeds),
            "optima": [
                {
                    "lower": float(optimum["lower"]),
                    "upper": float(optimum["upper"]),
                    "gap": float(optimum["gap"]),
                    "proof": optimum["proof"],
                    "neurons": int(optimum["neurons"]),
                    "patterns": int(optimum["patterns"]),
                    "unique": set_of(optimum).unique,
                }
                for optimum in self.optima
            ],
            "rows": [row.tree() for row in self.rows],
            "tried": [row.tree() for row in self.tried],
            "below_the_bound": self.below,
        }


def collect(task: str, seeds: Sequence[int], methods: Sequence[str], size: Size, folder: Path) -> Table:
    """The table of a task from the result files in `folder`."""
    optima = tuple(sweep.load(optimum_cell(task, seed, size.width), folder) for seed in seeds)
    upper = np.array([float(optimum["upper"]) for optimum in optima])
    scale = np.array([max(1.0, float(np.abs(optimum["y"]).max())) for optimum in optima])
    asked = [method for method in methods if applies(method, make_task(task, seeds[0]))]
    results = {m: [sweep.load(method_cell(m, task, seed, size), folder) for seed in seeds] for m in asked}
    before = np.array([float(r["returned"][0][NUMBERS.index("distance")]) for r in results["nothing"]])

    def row(method: str, setting: str, picks: Sequence[int]) -> Row:
        found = {}
        for kind in ("returned", "restored"):
            raw = np.array([r[kind][pick] for r, pick in zip(results[method], picks, strict=True)])
            numbers = dict(zip(NUMBERS, raw.T, strict=True))
            found[kind] = {
                "error": numbers["error"],
                "value": numbers["value"] / upper,
                "balanced": numbers["balanced"] / upper,
                "distance": numbers["distance"] / before,
            }
        feasible = found["returned"]["error"] <= FEASIBLE * scale
        return Row(method, setting, found["returned"], found["restored"], feasible)

    rows: list[Row] = []
    tried: list[Row] = []
    for method in asked:
        own = settings(method, size)
        every = [row(method, words(setting), [k] * len(seeds)) for k, setting in enumerate(own)]
        tried += every
        if method in STARTED:
            at = NUMBERS.index("value")
            orders = [np.argsort(r["returned"][:, at], kind="stable") for r in results[method]]
            for place, name in ((0, "best"), (-1, "worst"))[: len(own)]:
                rows.append(row(method, f"{name} of {len(own)}", [int(order[place]) for order in orders]))
        elif method == "surrogate":
            rows += every
        else:
            rows.append(min(every, key=lambda one: _middle(one.returned["distance"])))
    return Table(task, tuple(seeds), optima, tuple(rows), tuple(tried))


def words(setting: Setting) -> str:
    """A setting in symbols."""
    return ", ".join(f"{SYMBOLS.get(name, name)} {value:g}" for name, value in setting.items())


def spread(values: Sequence[float | None]) -> str:
    """Median and range, over those that are numbers; "∞" where none is."""
    finite = [value for value in values if value is not None]
    if not finite:
        return "∞"
    middle, least, most = brief(float(np.median(finite))), brief(min(finite)), brief(max(finite))
    return middle if least == most else f"{middle} [{least}, {most}]"


def brief(value: float) -> str:
    """A number in few digits: rounding is 0."""
    if not math.isfinite(value):
        return "∞"
    if abs(value) < 1e-12:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        places = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{places}f}"
    mantissa, _, power = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(power)}"


def _middle(values: Array) -> float:
    return float(np.median(values))


def _finite(value: Any) -> float | None:
    """Six digits, which machines agree on."""
    return float(f"{float(value):.6g}") if math.isfinite(value) else None
