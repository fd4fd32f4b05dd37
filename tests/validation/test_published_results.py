"""docs/data_poisoning.md says what the committed results say: no number was typed or has gone stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from validation.experiments import poisoning_rules, poisoning_tables
from validation.experiments.poisoning_tables import Choice

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = DOCS / "results" / "data_poisoning"
PAGE = (DOCS / "data_poisoning.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "report.json").read_text())
    return found


def choices(tree: dict[str, Any], selection: str) -> list[Choice]:
    """The cells of Table 5 as they were computed."""
    return [
        Choice(
            row["method"],
            row["epochs"],
            row["selection"],
            tuple(row["errors"]),
            tuple(row["settings"]),
            tuple(row["retain_mse"]),
        )
        for row in tree[selection]
    ]


@pytest.mark.parametrize("selection", ["reported", "held_out"])
def test_table_5_is_that_of_the_report(tree: dict[str, Any], selection: str) -> None:
    rows = poisoning_tables.table_5(choices(tree, selection))
    table = poisoning_tables.markdown(poisoning_tables.TABLE_5_HEADER, rows)
    assert len(rows) == 24
    assert table in PAGE
    assert table in (RESULTS / "table_5.md").read_text(encoding="utf-8")


def test_table_6_is_that_of_the_report(tree: dict[str, Any]) -> None:
    rows = poisoning_tables.table_6(choices(tree, "reported"))
    table = poisoning_tables.markdown(poisoning_tables.TABLE_6_HEADER, rows)
    assert table in PAGE
    assert table in (RESULTS / "table_6.md").read_text(encoding="utf-8")


def test_the_bars_are_met_as_the_page_says(tree: dict[str, Any]) -> None:
    reported = choices(tree, "reported")
    inside = [choice.verdict == "inside" for choice in reported]
    assert f"Of the 24 cells {sum(inside)} lie in the published central range" in PAGE
    assert all(choice.verdict == "inside" for choice in reported if choice.method == "minnorm-og")
    for epochs in (100, 1000):
        assert poisoning_tables.best_of_all(reported, epochs) == "minnorm-og"


def test_errors_are_those_behind_the_medians(tree: dict[str, Any]) -> None:
    grid = json.loads((RESULTS / "errors.json").read_text())["grid"]
    assert sum(len(one["settings"]) for one in grid) == 594
    for one, choice in zip(grid, choices(tree, "reported"), strict=True):
        assert (one["method"], one["epochs"]) == (choice.method, choice.epochs)
        values = np.array([[np.inf if v is None else v for v in row] for row in one["sup_error"]])
        assert len(values) == 10
        medians = np.median(values, axis=0)
        place = one["settings"].index(list(choice.chosen[0].values()))
        assert medians[place] == pytest.approx(choice.median, rel=1e-3)
        assert medians.min() == pytest.approx(choice.median, rel=1e-3)


def test_exact_view_and_proofs_are_those_of_the_report(tree: dict[str, Any]) -> None:
    rows = [[row["what"], row["trained"], row["polished"]] for row in tree["exact_view"]["rows"]]
    table = poisoning_tables.markdown(("median over the seeds", "as trained", "polished"), rows)
    assert table in PAGE
    assert table in (RESULTS / "exact.md").read_text(encoding="utf-8")
    for row in tree["exact_view"]["certified"]:
        assert row["proof"] == "exact"
        assert row["gap"] == 0
        assert f"{row['lower']:.12g}" in PAGE


def test_both_rules_are_computed_from_the_errors() -> None:
    grids = poisoning_rules.read(RESULTS / "errors.json")
    text = poisoning_rules.text(grids)
    assert text == (RESULTS / "rules.md").read_text(encoding="utf-8")
    for table in text.strip().split("\n\n"):
        assert table in PAGE
    assert [poisoning_rules.best(grids, epochs, "mean")[0] for epochs in (10, 100, 1000)] == [
        "retrain",
        "retrain",
        "l1-sparse",
    ]
    assert [poisoning_rules.best(grids, epochs, "median")[0] for epochs in (100, 1000)] == ["minnorm-og"] * 2
    by_mean = {(grid.method, grid.epochs): grid.at(grid.least("mean")) for grid in grids}
    assert f"{sum(choice.verdict == 'inside' for choice in by_mean.values())} of the 24 cells lie in" in PAGE
    assert f"{by_mean['minnorm-og', 1000].median:.2f}" == "1.36"
    published = {grid.epochs: grid for grid in grids if grid.method == "minnorm-og"}
    medians = [f"{published[epochs].at(published[epochs].published).median:.2f}" for epochs in (10, 100, 1000)]
    assert "{}, {} and {}".format(*medians) in PAGE


def test_published_settings_lie_in_the_grid() -> None:
    for grid in poisoning_rules.read(RESULTS / "errors.json"):
        assert grid.published is not None or (grid.method, grid.epochs) == ("l1-sparse", 10)


@pytest.mark.parametrize("name", ["retrain.md", "certified.md", "order.md"])
def test_further_tables_are_shown_as_they_were_written(name: str) -> None:
    table = (RESULTS / name).read_text(encoding="utf-8").split("\n\n")[0].strip()
    assert table in PAGE
