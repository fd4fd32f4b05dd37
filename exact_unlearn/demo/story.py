"""Runs the parts of the demo in order, tells what came out, and writes tables, figures, problems and certificates."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import report
from exact_unlearn.demo.all_parameters import AllParameters, Point, forget_with_all_parameters
from exact_unlearn.demo.last_layer import LastLayer, forget_with_last_layer
from exact_unlearn.demo.linear import Linear, forget_with_linear_model
from exact_unlearn.demo.measure import Proved, Row, reference_row
from exact_unlearn.demo.scene import CLASSES, Scene, Size, build_scene
from exact_unlearn.demo.small_case import SmallCase, forget_exactly
from exact_unlearn.report import Finding

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Story:
    """Everything the demo found out.  rows: the lines of the main table; seconds: wall-clock of the computation."""

    seed: int
    scene: Scene
    last_layer: LastLayer
    small_case: SmallCase
    linear: Linear
    all_parameters: AllParameters
    rows: list[Row]
    seconds: float

    @property
    def findings(self) -> list[Finding]:
        """Predicted and measured, of all parts."""
        parts = (self.last_layer, self.small_case, self.linear, self.all_parameters)
        return [finding for part in parts for finding in part.findings]

    @property
    def holds(self) -> bool:
        """Whether everything came out as the theory says, and every answer was proved to be what it is."""
        paths = (self.all_parameters.by_lambda, self.all_parameters.by_radius, self.all_parameters.steps)
        rows = [*self.rows, *(point.row for path in paths for point in path)]
        return all(finding.holds for finding in self.findings) and all(row.proof != "none" for row in rows)

    @property
    def proved(self) -> dict[str, Proved]:
        """The answers whose problems and certificates are written out, by file name."""
        free = self.all_parameters.free
        return {
            "last-layer-l2": self.last_layer.l2,
            "last-layer-l1": self.last_layer.l1,
            "last-layer-fewest-neurons": self.last_layer.neurons,
            "small-case-fewest-neurons": self.small_case.proved,
            "linear-model-l2": self.linear.surrogate,
            "all-parameters-l2": free["½ℓ2²"],
            "all-parameters-l1": free["ℓ1"],
            "all-parameters-neuron-groups": free["neuron groups"],
        }


def run_demo(seed: int = 3, say: Say = lambda message: None, size: Size | None = None) -> Story:
    """Compute everything; `say` is told what happens next.  The same seed gives the same story on the same machine.

    Seed 3 is a typical one: what a single long step keeps of the retained digits varies, docs/demo.md says how much.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(seed)
    say("digits, and a perceptron that memorises them, wrong labels included")
    scene = build_scene(rng, size or Size())
    last_layer = forget_with_last_layer(scene, say)
    small_case = forget_exactly(scene.digits, rng, say)
    linear = forget_with_linear_model(scene.digits, rng, say)
    everything = forget_with_all_parameters(scene, say)
    rows = [
        reference_row("before: θ*", scene, scene.theta_star),
        *last_layer.rows,
        *linear.rows,
        *everything.rows,
        reference_row("trained without them", scene, scene.theta_clean),
    ]
    return Story(seed, scene, last_layer, small_case, linear, everything, rows, time.perf_counter() - began)


# ---------------------------------------------------------------- text


def story_text(story: Story) -> str:
    """What a reader sees in the terminal and in results.txt."""
    everything, wrong = story.all_parameters, int(story.scene.digits.wrong.sum())
    parts = [
        _opening(story),
        rows_table(story.rows, wrong),
        LEGEND,
        f"What the theory says, and what came out\n\n{report.findings_table(story.findings)}",
        "Everything moves: how far, and at what price",
        path_table("λ", "½ℓ2² with drift penalty λ/2 ‖Δ‖²", everything.by_lambda, wrong),
        path_table("radius", "ℓ1 with |Δᵢ| ≤ radius for every weight", everything.by_radius, wrong),
        path_table("step", "½ℓ2² in short steps, each with a new Jacobian", everything.steps, wrong),
        _moral(story),
    ]
    return "\n\n".join(parts)


def _opening(story: Story) -> str:
    digits, model = story.scene.digits, story.scene.model
    n, wrong = len(digits.x), int(digits.wrong.sum())
    return (
        f"{n} handwritten digits, {CLASSES[0]} or {CLASSES[1]}; {wrong} of them carry the wrong label. "
        f"A perceptron of {model.width} tanh neurons\n"
        f"({model.n_parameters} parameters) has memorised all {n} labels. Now it shall forget the {wrong} wrong ones, "
        "given only θ*, the\n"
        f"gradients at the {n - wrong} retained digits, and a notion of what a simple model is. "
        "No label is used to forget."
    )


LEGEND = """\
value: what is minimised, at θ* and at the answer; gap: relative width of the interval proved to hold the optimum;
moved: ‖θ − θ*‖; error: largest |f − y| on the retained digits; kept: share of them still on the right side;
relabelled: forgotten digits that now get their true label; fresh: share right among digits never trained on;
neurons: active ones, of θ* and of the answer; s: seconds to solve and certify."""


def _moral(story: Story) -> str:
    """What to learn from it, with the numbers of this run."""
    wrong = int(story.scene.digits.wrong.sum())
    last = story.last_layer.rows[0].effect
    free = [row.effect for row in story.all_parameters.rows[:3]]
    errors, kept = [effect.interpolation_error for effect in free], [effect.retained for effect in free]
    careful, steps = story.all_parameters.rows[3].effect, story.all_parameters.rows[4].effect
    clean = story.rows[-1].effect
    points = (
        f"Last layer only: nothing retained is lost, {last.relabelled} of {wrong} are relabelled. "
        "The frozen features, though, were learned from the wrong labels too.",
        "All parameters, λ = 0: each answer is the certified optimum of its linearised problem, "
        f"and yet the retained labels are off by {min(errors):.1f} to {max(errors):.1f}, "
        f"and {report.percent(min(kept))} to {report.percent(max(kept))} of the retained digits "
        "stay on the right side. What fails is the linearisation, not the solver.",
        f"All parameters, λ = 10: a short way is safe, and relabels {careful.relabelled} of {wrong}.",
        f"Short steps: {steps.relabelled} of {wrong} relabelled, "
        f"retained labels met to {steps.interpolation_error:.0e}, "
        f"{report.percent(steps.fresh)} of fresh digits right; "
        f"training without the wrong labels gives {report.percent(clean.fresh)}.",
    )
    return "\n".join(["Reading it", "", *(textwrap.fill(f"* {p}", 116, subsequent_indent="  ") for p in points)])


def rows_table(rows: list[Row], wrong: int) -> str:
    """The main table."""
    header = (
        "",
        "value\nbefore",
        "value\nafter",
        "gap",
        "proof",
        "moved",
        "error",
        "kept",
        "re-\nlabelled",
        "fresh",
        "neurons",
        "s",
    )
    start = rows[0].neurons
    return report.table(header, [_cells(row, wrong, start) for row in rows])


def _cells(row: Row, wrong: int, start: int | None) -> tuple[str, ...]:
    seen = row.effect
    interval = row.lower is not None and row.upper is not None and row.lower != row.upper and row.status == "interval"
    value = f"{float(row.lower):.0f}…{float(row.upper):.0f}" if interval else report.number(row.value)
    return (
        row.name,
        report.number(row.value_before),
        value,
        report.small(row.gap),
        row.proof or "–",
        report.number(row.moved, 3),
        report.small(seen.interpolation_error),
        report.percent(seen.retained),
        f"{seen.relabelled} of {wrong}",
        report.percent(seen.fresh),
        "–" if row.neurons is None else f"{start} → {row.neurons}",
        "–" if row.seconds is None else report.seconds(row.seconds),
    )


def path_table(varied: str, title: str, points: list[Point], wrong: int) -> str:
    """One line per point of a path."""
    header = (
        varied,
        "value",
        "‖θ‖",
        "gap",
        "proof",
        "moved",
        "error",
        "kept",
        "re-\nlabelled",
        "fresh",
        "neurons",
        "weights",
    )
    rows = []
    for point in points:
        seen, row = point.row.effect, point.row
        rows.append(
            (
                report.number(point.at),
                report.number(row.value),
                report.number(point.norm),
                report.small(row.gap),
                row.proof or "–",
                report.number(row.moved, 3),
                report.small(seen.interpolation_error),
                report.percent(seen.retained),
                f"{seen.relabelled} of {wrong}",
                report.percent(seen.fresh),
                str(row.neurons),
                str(row.weights),
            )
        )
    return f"{title}\n{report.table(header, rows, left=0)}"


# ---------------------------------------------------------------- files


def story_json(story: Story) -> dict[str, Any]:
    """The same for machines; bounds are rounded outwards, their exact values stand in the certificates."""
    everything = story.all_parameters

    def line(row: Row) -> dict[str, Any]:
        out: dict[str, Any] = report.plain(row)
        return out | {"lower": report.rounded_down(row.lower), "upper": report.rounded_up(row.upper)}

    def path(points: list[Point]) -> list[dict[str, Any]]:
        return [{"at": point.at, "norm": point.norm} | line(point.row) for point in points]

    digits = story.scene.digits
    return {
        "schema": "exact-unlearn/demo",
        "version": 1,
        "seed": story.seed,
        "samples": len(digits.x),
        "forgotten": int(digits.wrong.sum()),
        "parameters": story.scene.model.n_parameters,
        "rows": [line(row) for row in story.rows],
        "findings": [report.plain(finding) for finding in story.findings],
        "by_lambda": path(everything.by_lambda),
        "by_radius": path(everything.by_radius),
        "steps": path(everything.steps),
        "seconds": story.seconds,
    }


def write_proofs(story: Story, folder: Path) -> list[Path]:
    """Problem and certificate of every answer in `Story.proved`, for anybody to check without this package."""
    written = []
    for name, proved in story.proved.items():
        if proved.certificate.proof == "none":
            continue
        suffix = ".json" if proved.problem.is_rational else ".npz"
        written += [folder / f"{name}.problem{suffix}", folder / f"{name}.certificate.json"]
        proved.problem.save(written[-2])
        proved.certificate.save(written[-1])
    return written
