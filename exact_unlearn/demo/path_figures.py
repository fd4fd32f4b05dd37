"""The pictures of part 3: everything moves; how far, and at what price."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exact_unlearn.demo.all_parameters import Point
from exact_unlearn.demo.measure import Effect
from exact_unlearn.demo.story import Story
from exact_unlearn.jacobian import Array
from exact_unlearn.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PURPLE,
    SOFT,
    VERMILLION,
    annotate,
    figure,
    labelled_lines,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 6.4
"""Inches. Panels stand below one another, so that the letters can be read where a page is as narrow as a hand."""


def draw_lambda_path(story: Story, path: Path) -> None:
    """Interpolation error and what the model says, along the drift penalty lambda."""
    points = story.all_parameters.by_lambda
    title = "One linearisation: the further it goes, the more it forgets, and the more it loses"
    subtitle = (
        "½‖θ‖² + λ/2 ‖Δ‖², all parameters free. Every point is the certified optimum of its problem: "
        "what loses labels is the linearisation."
    )
    with figure(WIDTH, 6.8, title, subtitle) as fig:
        upper, lower = fig.subplots(2, 1)
        _draw_error(upper, points)
        for point in points[::2]:
            at = (point.row.moved, point.row.effect.interpolation_error)
            annotate(upper, f"λ = {point.at:g}", at, (7, -9), SOFT)
        _draw_shares(lower, story, points, "penalty λ: the weaker, the further it moves →")
        write_png(fig, path)


def draw_trust_region(story: Story, path: Path) -> None:
    """The same for the l1 norm in a box around theta*."""
    points = story.all_parameters.by_radius
    title = "A trust region says how far; the labels are lost in second order all the same"
    subtitle = (
        "‖θ‖₁ with every weight within the radius of where it was, all parameters free. The last point is unbounded."
    )
    with figure(WIDTH, 8.6, title, subtitle) as fig:
        upper, middle, lower = fig.subplots(3, 1)
        _draw_error(upper, points)
        moved = [point.row.moved for point in points]
        weights = [float(point.row.weights or 0) for point in points]
        middle.semilogy(moved, weights, "o-", color=PURPLE)
        middle.set(xlabel="distance moved ‖Δ‖", ylabel="weights that are not zero", title="complexity")
        middle.set_ylim(10, 4 * weights[0])
        annotate(middle, f"{weights[0]:.0f}", (moved[0], weights[0]), (0, 8), INK, ha="left")
        annotate(middle, f"{weights[-1]:.0f}", (moved[-1], weights[-1]), (-8, 0), INK, ha="right", va="center")
        _draw_shares(lower, story, points, "radius: the larger, the further it moves →")
        write_png(fig, path)


def draw_steps(story: Story, path: Path) -> None:
    """Re-linearised steps: norm, error, what the model says."""
    points = story.all_parameters.steps
    start, clean = story.rows[0].effect, story.rows[-1].effect
    effects = [start, *(point.row.effect for point in points)]
    k = np.arange(len(effects))
    norms = [float(np.linalg.norm(story.scene.theta_star)), *(point.norm for point in points)]
    single = story.all_parameters.by_lambda[-1].row.effect.interpolation_error
    title = "Short steps go the whole way and keep every label"
    subtitle = (
        "Each step starts from a new Jacobian; what its surrogate loses of the labels is restored before the next one."
    )
    with figure(WIDTH, 8.4, title, subtitle) as fig:
        upper, middle, lower = fig.subplots(3, 1, sharex=True)
        upper.plot(k, norms, "o-", color=PURPLE)
        upper.set(ylabel="‖θ‖", ylim=(0, None), title="complexity")
        middle.semilogy(k[1:], [max(point.lost, 1e-16) for point in points], "s--", color=VERMILLION)
        middle.text(1.0, 3.0 * max(points[0].lost, 1e-16), "of the surrogate", color=VERMILLION, va="bottom")
        middle.semilogy(k, [max(effect.interpolation_error, 1e-16) for effect in effects], "o-", color=INK)
        middle.text(1.0, 1e-14, "restored", color=INK, va="bottom")
        middle.axhline(single, color=GREY, linestyle="--", linewidth=1.0)
        middle.text(k[-1], single * 1.6, "one step, λ = 0", ha="right", va="bottom", color=SOFT)
        middle.set(ylabel="largest |f − y|", ylim=(1e-17, 300 * single))
        middle.set_title("interpolation error on the retained digits")
        lower.axhline(clean.fresh, color=GREEN, linestyle="--", linewidth=1.0)
        note = "dashed: fresh digits, had the wrong\nlabels never been trained on"
        lower.text(float(k[-1]), 0.04, note, color=GREEN, ha="right")
        _share_lines(lower, story, k, effects)
        lower.set_xlabel("step")
        lower.set_xticks(k[:: max(1, len(k) // 5)])
        write_png(fig, path)


def _draw_error(ax: Axes, points: list[Point]) -> None:
    """Interpolation error over the distance moved, double logarithmic, with the second-order law as a guide."""
    moved = np.array([point.row.moved for point in points])
    error = np.array([point.row.effect.interpolation_error for point in points])
    ax.loglog(moved, error, "o-", color=INK)
    law = error[0] * (moved / moved[0]) ** 2
    ax.loglog(moved[[0, -1]], law[[0, -1]], "--", color=GREY, linewidth=1.0)
    ax.text(moved[-1], law[-1], "∝ ‖Δ‖² ", ha="right", va="bottom", color=SOFT)
    ax.set_ylim(bottom=error[0] / 8)
    ax.set(xlabel="distance moved ‖Δ‖", ylabel="largest |f − y|", title="interpolation error on the retained digits")


def _draw_shares(ax: Axes, story: Story, points: list[Point], name: str) -> None:
    """Kept, relabelled and fresh shares, point by point."""
    at = np.arange(len(points))
    _share_lines(ax, story, at, [point.row.effect for point in points])
    ax.set_xticks(at, ["∞" if np.isinf(point.at) else f"{point.at:g}" for point in points])
    ax.set_xlabel(name)


def _share_lines(ax: Axes, story: Story, x: Array, effects: list[Effect]) -> None:
    wrong = int(story.scene.digits.wrong.sum())
    series = (
        ("retained: right", np.array([e.retained for e in effects]), BLUE, "s"),
        ("fresh: right", np.array([e.fresh for e in effects]), GREEN, "D"),
        ("forgotten: true label", np.array([e.relabelled / wrong for e in effects]), VERMILLION, "^"),
    )
    ax.set_ylim(0, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.set_title("what the model says")
    labelled_lines(ax, x, series, float(x[-1]))
