"""`plot()`: what the pictures hold is what the objects hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import exact_unlearn as xu
from exact_unlearn.errors import MissingExtraError, ProblemError

PLANE = xu.UnlearningProblem([0.75, 1.5], [[1.0, 0.5]], xu.L1())
WIDE = xu.UnlearningProblem([3.0, 1.0, 2.0, 5.0], [[1.0, 2.0, 0.0, 0.0]], xu.L1(), free=[0, 1, 2])


def proved(problem: xu.UnlearningProblem) -> xu.Certificate:
    return xu.certify(problem, xu.solve(problem))


def axes() -> Any:
    return Figure().subplots()


def marks(ax: Any) -> dict[str, list[tuple[float, float]]]:
    """Label -> points, of everything that is drawn as lines with a label."""
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in ax.lines}


def test_two_parameters_are_a_plane() -> None:
    certificate = proved(PLANE)
    ax = certificate.plot(axes())
    assert marks(ax)["θ*"] == [(0.75, 1.5)]
    assert marks(ax)["θ"] == [tuple(certificate.theta)] == [(1.5, 0.0)]
    assert marks(ax)["0"] == [(0, 0)]
    assert ax.get_title(loc="left").startswith("exact: The optimum is 1.5, exactly")
    fits = [path.vertices for path in ax.collections[-1].get_paths() if len(path.vertices)]
    assert fits
    assert all(np.allclose(vertices @ [1.0, 0.5], 1.5) for vertices in fits)


def test_the_level_set_of_the_answer_touches_and_that_of_theta_star_crosses() -> None:
    for ax, size in ((xu.solve(PLANE).plot(axes()), 1.5), (PLANE.plot(axes()), 2.25)):
        levels = ax.collections[-2]
        assert levels.levels[-1] == pytest.approx(size)
        outermost = levels.get_paths()[-1].vertices
        assert np.abs(outermost).sum(axis=1) == pytest.approx(np.full(len(outermost), size), abs=0.02)


def test_what_lies_outside_a_trust_region_is_no_level_set() -> None:
    problem = xu.UnlearningProblem([3.0, 2.0], [[1.0, 0.5]], xu.L2(), xu.TrustRegion(0.5))
    ax = problem.plot(axes())
    drawn = np.concatenate([path.vertices for path in ax.collections[1].get_paths() if len(path.vertices)])
    assert np.linalg.norm(drawn - [3.0, 2.0], axis=1).max() < 0.55


def test_more_parameters_are_stems_and_zeros_are_counted() -> None:
    certificate = proved(WIDE)
    assert certificate.theta is not None
    ax = certificate.plot(axes())
    zeros = int((certificate.theta[:3] == 0).sum())
    assert zeros == 2
    assert len(marks(ax)[f"zeros of θ: {zeros} of 3"]) == zeros
    assert ax.get_xlabel() == "movable parameter (3 of 4)"
    assert [line.get_label() for line in ax.collections] == ["θ*", "θ"]
    heights = [segment[1][1] for segment in ax.collections[1].get_segments()]
    assert heights == list(certificate.theta[:3])


@pytest.mark.parametrize(
    "problem",
    [
        xu.UnlearningProblem([0.0, 0.0], [[1.0, 1.0]], xu.L2()),  # nothing but one point
        xu.UnlearningProblem([1.0, 2.0], [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]], xu.LInf()),
        xu.UnlearningProblem([1.0, 2.0], np.zeros((0, 2)), xu.SquaredL2(), xu.SquaredDrift(1.0)),
        xu.UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], xu.L0()),
        xu.UnlearningProblem([1.0, 2.0], [[1.0, 1.0]], xu.SquaredL2(), rhs=[1.0], at_least=[True]),
        xu.UnlearningProblem([1.0], [[0.0]], xu.L1()),
        xu.UnlearningProblem([1.0, 2.0, 3.0], [[1.0, 1.0, 1.0]], xu.L2() + xu.L1(), free=[0, 2]),
    ],
    ids=["zero", "rows", "no-rows", "count", "at-least", "one", "frozen"],
)
def test_degenerate_problems_have_pictures_too(problem: xu.UnlearningProblem, tmp_path: Path) -> None:
    for picture in (problem.plot(axes()), xu.solve(problem).plot(axes()), proved(problem).plot(axes())):
        picture.figure.savefig(tmp_path / "a.png")


def test_a_new_figure_comes_from_pyplot_in_the_house_style() -> None:
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    ax = PLANE.plot()
    assert ax.figure.number in pyplot.get_fignums()
    assert not ax.spines["top"].get_visible()
    pyplot.close(ax.figure)
    assert dict(mpl.rcParams) == before


def test_a_loaded_certificate_has_its_picture_again(tmp_path: Path) -> None:
    certificate = proved(PLANE)
    certificate.save(tmp_path / "a.json")
    loaded = xu.Certificate.load(tmp_path / "a.json", PLANE)
    assert loaded.theta is None
    assert marks(loaded.plot(axes()))["θ"] == [(1.5, 0.0)]
    with pytest.raises(ProblemError, match="was loaded alone"):
        xu.Certificate.load(tmp_path / "a.json").plot(axes())


def test_where_there_is_no_picture_one_sentence_says_so() -> None:
    infeasible = xu.UnlearningProblem([1.0, 1.0], [[1.0, 0.0], [1.0, 0.0]], xu.L1(), rhs=[1.0, 2.0])
    with pytest.raises(ProblemError, match="no parameters fit"):
        xu.solve(infeasible).plot(axes())
    with pytest.raises(ProblemError, match="no proved point to show; the proof is 'infeasible'"):
        proved(infeasible).plot(axes())
    with pytest.raises(ProblemError, match="ax: expected an Axes of matplotlib or None, got int"):
        PLANE.plot(3)
    with pytest.raises(ProblemError, match="no parameter of this problem may move"):
        xu.UnlearningProblem([1.0, 1.0], [[1.0, 0.0]], xu.L1(), free=[False, False]).plot(axes())


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="demo"):
        PLANE.plot()
