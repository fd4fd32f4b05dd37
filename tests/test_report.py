"""Tables for people, JSON for machines, and bounds that stay bounds."""

from __future__ import annotations

import json
import math
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact_unlearn import plots, report
from exact_unlearn.report import Finding


def test_columns_line_up() -> None:
    text = report.table(("name", "two\nlines", "x"), [("ℓ1", "1", "−2.5"), ("a longer one", "10", "")])
    assert text.splitlines() == [
        "                two",
        "name          lines     x",
        "────────────  ─────  ────",
        "ℓ1                1  −2.5",
        "a longer one     10",
    ]


def test_wide_characters_take_two_columns() -> None:
    text = report.table(("a", "b"), [("日本", "1"), ("abcd", "2")])
    first, second = text.splitlines()[2:]
    assert first.endswith("1")
    assert second.endswith("2")
    assert len(first) == len(second) - 2


def test_findings_say_whether_they_hold() -> None:
    findings = [Finding("a", "Theorem 2", "0", "1e-15", True), Finding("b", "Lemma 3", "0", "0.5", False)]
    lines = report.findings_table(findings).splitlines()
    assert lines[-2].endswith("holds")
    assert lines[-1].endswith("FAILS")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.0, "0"), (3.21e-9, "3.2e-09"), (math.inf, "∞"), (Fraction(1, 10**400), "<1e-300")],
)
def test_only_nothing_is_zero(value: Any, text: str) -> None:
    assert report.small(value) == text


def test_numbers() -> None:
    assert [report.number(x) for x in (12.3456, 1e-9, None, math.inf, -math.inf, math.nan)] == [
        "12.35",
        "1e-09",
        "–",
        "∞",
        "-∞",
        "nan",
    ]
    assert report.percent(0.975) == "98 %"
    assert [report.seconds(x) for x in (0.123, 12.34)] == ["0.12", "12.3"]


@given(st.fractions())
def test_bounds_stay_bounds_and_are_next_to_the_truth(value: Fraction) -> None:
    low, high = report.rounded_down(value), report.rounded_up(value)
    assert low is not None
    assert high is not None
    assert Fraction(low) <= value <= Fraction(high)
    assert high == low or high == math.nextafter(low, math.inf)
    assert (low == high) == (Fraction(low) == value)


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, math.nan, Fraction(10) ** 400, -(Fraction(10) ** 400)])
def test_bounds_beyond_the_floats_are_none(value: Any) -> None:
    assert report.rounded_down(value) is None
    assert report.rounded_up(value) is None


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    x: float
    many: tuple[Any, ...]


def test_machines_get_plain_finite_values(tmp_path: Path) -> None:
    inner = Inner(math.nan, (np.float64(2.5), np.array([1.0, np.inf]), Fraction(1, 4), Fraction(10) ** 400))
    tree = {"a": inner, 3: [Colour.RED, True, None, "ℓ"], "n": np.int64(7)}
    report.write_text(tmp_path / "x.json", report.json_text(tree))
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": {"x": None, "many": [2.5, [1.0, None], 0.25, None]},
        "3": ["red", True, None, "ℓ"],
        "n": 7,
    }
    assert "ℓ" in text


# --- plots ------------------------------------------------------------------------------------------------------------


def test_pictures_are_the_same_bytes_and_change_no_settings(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    for name in ("a.png", "b.png"):
        with plots.figure(4, 3, "Title", "subtitle") as fig:
            plots.stems(fig.subplots(), np.array([1.0, 0.0, -2.0]), plots.BLUE)
            plots.write_png(fig, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(mpl.rcParams) == before


def test_zeros_are_marked_one_by_one() -> None:
    with plots.figure(4, 3, "Title") as fig:
        ax = fig.subplots()
        plots.stems(ax, np.array([1.0, 0.0, -2.0, 0.0]), plots.BLUE)
        assert len(ax.patches) == 2
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 3])


@pytest.mark.parametrize("ends", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.0, 0.01, 0.9), (1.0, 0.99, 0.98)])
def test_names_of_lines_do_not_overlap_and_stay_inside(ends: tuple[float, ...]) -> None:
    with plots.figure(4, 3, "Title") as fig:
        ax = fig.subplots()
        ax.set_ylim(0, 1)
        series = [(str(i), np.array([0.3, end]), plots.BLUE, "o") for i, end in enumerate(ends)]
        plots.labelled_lines(ax, np.arange(2), series, 1.0, least=0.1)
        heights = sorted(float(text.xy[1]) for text in ax.texts)
        assert min(np.diff(heights)) >= 0.1 - 1e-12
        assert heights[-1] <= 1.0
        order = sorted(ax.texts, key=lambda text: text.xy[1])
        named = [ends[int(text.get_text())] for text in order]
        assert named == sorted(named)


def test_devices_and_pipes_are_written_to_not_replaced(tmp_path: Path) -> None:
    """As root, --json /dev/stdout would otherwise put a file in the place of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        report.write_text(pipe, "words\n")
        assert read.result() == "words\n"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    report.write_text(Path(os.devnull), "words\n")
    assert not Path(os.devnull).is_file()
