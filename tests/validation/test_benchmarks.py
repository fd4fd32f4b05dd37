"""Tables of measurements say what was measured; nothing here depends on a clock."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_unlearn._validation.benchmarks import harness, peers, registry
from exact_unlearn._validation.benchmarks.harness import Bench, Cell, Side, Table
from exact_unlearn._validation.benchmarks.rivals import RIVALS

import exact_unlearn as xu
from exact_unlearn.cli import main
from exact_unlearn.errors import ProblemError

SIDES = (Side("ours"), Side("fast but wrong"), Side("peer"), Side("absent", ("no_such_module",)))
BENCH = Bench("norms", "A table", "ours", SIDES, {"a": {}})


def table() -> Table:
    return Table(
        BENCH,
        (
            Cell("norms", "a", "ours", (1.0, 2.0, 3.0), cpu=2.0, error=1e-9, memory=1.0, read=0.5),
            Cell("norms", "a", "fast but wrong", (0.1,), cpu=0.1, error=1e-2, memory=1.0),
            Cell("norms", "a", "peer", (20.0,), cpu=30.0, error=1e-8, memory=1.0),
            Cell("norms", "a", "absent", note="not installed: no_such_module"),
        ),
    )


def test_ratios_are_of_medians_and_wrong_answers_do_not_count() -> None:
    found = table()
    assert found.ratio("a", "peer") == 10.0
    assert math.isnan(found.ratio("a", "fast but wrong"))
    assert found.best_peer("a") == ("peer", 10.0)
    assert found.cell("a", "ours").spread == 3.0


def test_missing_peers_are_listed() -> None:
    assert BENCH.sides[-1].missing == ("no_such_module",)
    assert "not installed: no_such_module" in table().text()
    assert "peer, 10.0 times ours" in table().text()


def test_peers_that_were_stopped_took_at_least_so_long() -> None:
    late = Cell("norms", "a", "peer", note="stopped after 30 s", stopped=30.0)
    found = Table(BENCH, (table().cells[0], late))
    assert found.verdict("a") == "best peer that reached 1e-06: none; stopped at 15 times ours or later: 1"
    assert table().verdict("a") == "best peer that reached 1e-06: peer, 10.0 times ours (15.0 in processor time)"


@pytest.mark.parametrize(("name", "norm"), [(name, norm) for name, rival in RIVALS.items() for norm in rival.norms])
def test_rivals_reach_the_optimum_that_they_are_timed_for(name: str, norm: str) -> None:
    rng = np.random.default_rng(5)
    J, theta = rng.standard_normal((6, 40)), rng.standard_normal(40)
    R = {"l1": xu.L1(), "linf": xu.LInf(), "group": xu.GroupL2(np.arange(40) // 10), "squared l2": xu.SquaredL2()}[norm]
    best = xu.solve(xu.UnlearningProblem(theta, J, R))
    x = RIVALS[name].call(norm, 10, J, J @ theta)
    assert peers.error_of(norm, 10, J, theta, x, best.value) < 1e-7


def test_sides_are_asked_for_the_cases_that_they_take() -> None:
    side = Side("a", only=("l1", "linf"))
    assert [side.takes(case) for case in ("l1 (2, 3)", "linf", "group (2, 3)")] == [True, True, False]
    assert Side("b").takes("anything")


def test_sides_limits_and_devices_are_chosen() -> None:
    some = registry.narrowed(BENCH, ["peer"], 5.0)
    assert [(side.name, side.limit) for side in some.sides] == [("ours", 5.0), ("peer", 5.0)]
    assert registry.narrowed(BENCH, None, None) == BENCH
    assert registry.on_device([BENCH], "cpu", chosen=True) == [BENCH]


def test_a_gpu_that_is_not_there_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    able = dataclasses.replace(BENCH, cuda=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ProblemError, match="finds no CUDA device"):
        registry.on_device([able], "cuda", chosen=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert registry.on_device([able, BENCH], "cuda", chosen=False) == [able]
    with pytest.raises(ProblemError, match="norms compares on the CPU only"):
        registry.on_device([able, BENCH], "cuda", chosen=True)


def test_no_peer_at_all() -> None:
    alone = Table(BENCH, table().cells[:1] + table().cells[3:])
    assert alone.best_peer("a")[0] == "none"


def test_every_bench_is_complete() -> None:
    for name, bench in registry.every().items():
        assert bench.name == name
        assert bench.ours in {side.name for side in bench.sides}
        assert set(bench.quick) <= set(bench.cases)
        assert callable(harness.load(name).run)
        assert registry.cases(bench, None, True) == list(bench.cases)
    with pytest.raises(ProblemError, match="bench"):
        registry.select(["nothing"])


def test_errors_see_values_and_constraints() -> None:
    J, theta = np.eye(2, 4), np.array([1.0, -2.0, 3.0, 4.0])
    optimum = np.array([1.0, -2.0, 0.0, 0.0])
    assert peers.error_of("l1", 2, J, theta, optimum, 3.0) == 0.0
    assert peers.error_of("l1", 2, J, theta, theta, 3.0) == pytest.approx(7 / 3)
    assert peers.error_of("l1", 2, J, theta, np.array([2.0, -1.0, 0.0, 0.0]), 3.0) > 0.1
    assert peers.norm_value("group", 2, theta) == pytest.approx(math.sqrt(5) + 5)
    assert peers.norm_value("linf", 2, theta) == 4.0


def fake_measure(bench: Bench, cases: list[str], *_: object) -> Table:
    return Table(bench, tuple(Cell(bench.name, case, bench.ours, (1.0,), 1.0, 0.0, 1.0, 1.0) for case in cases))


def test_the_verb_makes_its_folder_and_prints_before_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[Path] = []

    def draw(tables: list[Table], path: Path) -> None:
        assert "Norms to a relative gap" in capsys.readouterr().out
        assert path.parent.is_dir()
        drawn.append(path)

    monkeypatch.setattr(harness, "measure", fake_measure)
    monkeypatch.setattr(harness, "draw", draw)
    folder = tmp_path / "not" / "there"
    assert main(["bench", "norms", "-o", str(folder), "--quiet"]) == 0
    assert drawn == [folder / "benchmarks.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["-o", "file/sub"], "is a file"), (["--json", "no/where.json"], "no directory"), (["--case", "xyz"], "no case")],
)
def test_outputs_are_checked_before_anything_is_measured(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(harness, "measure", lambda *_: pytest.fail("it measured first"))
    assert main(["bench", "norms", *arguments, "--quiet"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_number_of_ours_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(bench: Bench, cases: list[str], *_: object) -> Table:
        return Table(bench, (Cell(bench.name, cases[0], bench.ours, note="killed by SIGKILL"),))

    monkeypatch.setattr(harness, "measure", killed)
    assert main(["bench", "norms", "--quiet"]) == 75
    assert "killed by SIGKILL" in capsys.readouterr().out
    late = Cell("norms", "a", "ours", note="stopped after 30 s", stopped=30.0)
    assert not Table(BENCH, (late,)).unmeasured, "what is slow is a finding"
