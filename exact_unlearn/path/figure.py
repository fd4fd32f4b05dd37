"""The picture of a path: how simple the model becomes, and what every step loses and gets back."""

from __future__ import annotations

import os
from pathlib import Path as File
from typing import TYPE_CHECKING

import numpy as np

from exact_unlearn import report
from exact_unlearn.plots import GREY, INK, PURPLE, SOFT, VERMILLION, annotate, figure, write_png

if TYPE_CHECKING:
    from exact_unlearn.path.trace import Path, Step

FLOOR = 1e-17
"""Where errors of 0 are drawn."""

WIDTH, HEIGHT = 6.4, 8.4


def draw_path(path: Path, file: str | os.PathLike[str]) -> None:
    """R, the retained error before and after the labels are restored, and the control, along the steps."""
    title = f"Unlearning in {len(path.accepted)} steps: {path.status.value.replace('_', ' ')}"
    subtitle = (
        "Every step is a surrogate at the point where it begins; what it loses of the retained labels is restored "
        "before R is looked at. Crosses: steps that were refused."
    )
    taken = [(k, step) for k, step in enumerate(path.steps, start=1) if step.accepted]
    refused = [(k, step) for k, step in enumerate(path.steps, start=1) if not step.accepted]
    with figure(WIDTH, HEIGHT, title, subtitle) as fig:
        upper, middle, lower = fig.subplots(3, 1, sharex=True)
        at = [0, *(k for k, _ in taken)]
        values = [path.start_value, *(step.value for _, step in taken)]
        upper.plot(at, values, "o-", color=PURPLE)
        upper.set(ylabel="R(θ)", title=f"complexity: {report.number(values[0])} to {report.number(values[-1])}")
        middle.semilogy(*_errors(taken, "linear_error"), "s--", color=VERMILLION, label="of the linearised answer")
        middle.semilogy(*_errors(taken, "error"), "o-", color=INK, label="labels restored")
        middle.semilogy(*_errors(refused, "linear_error"), "x", color=GREY, label="refused")
        middle.set(ylabel="largest |f − y|", title="interpolation error on the retained samples")
        middle.legend(loc="best")
        everything = list(enumerate(path.steps, start=1))
        name = "drift penalty λ" if path.kind == "lam" else "radius"
        lower.semilogy([k for k, _ in everything], [max(step.at, FLOOR) for _, step in everything], "-", color=SOFT)
        for chosen, marker, colour in ((taken, "o", SOFT), (refused, "x", GREY)):
            lower.semilogy([k for k, _ in chosen], [max(step.at, FLOOR) for _, step in chosen], marker, color=colour)
        lower.set(ylabel=name, xlabel="step", title="how far a step may go")
        if not path.steps:
            annotate(lower, "no step was tried", (0.0, 1.0), (0, 0), SOFT)
        write_png(fig, File(file))


def _errors(steps: list[tuple[int, Step]], name: str) -> tuple[list[int], list[float]]:
    """Numbers of steps, and their errors where they are finite."""
    shown = [(k, getattr(step, name)) for k, step in steps if np.isfinite(getattr(step, name))]
    return [k for k, _ in shown], [max(error, FLOOR) for _, error in shown]
