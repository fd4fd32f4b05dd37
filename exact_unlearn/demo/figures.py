"""The pictures of parts 1 and 2, and the list of all; docs/demo.md says how to read each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exact_unlearn.demo.measure import ACTIVE, bounds
from exact_unlearn.demo.path_figures import WIDTH, draw_lambda_path, draw_steps, draw_trust_region
from exact_unlearn.demo.scene import CLASSES
from exact_unlearn.demo.story import Story
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SKY,
    SOFT,
    VERMILLION,
    figure,
    show_image,
    stems,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_figures(story: Story, folder: Path, say: Callable[[str], None] = lambda message: None) -> list[Path]:
    """Draw everything into `folder`, and name what was written."""
    drawings: dict[str, Callable[[Story, Path], None]] = {
        "1-digits.png": draw_digits,
        "2-active-neurons.png": draw_neurons,
        "3-small-case.png": draw_small_case,
        "4-linear-retraining.png": draw_linear,
        "5-lambda-path.png": draw_lambda_path,
        "6-trust-region.png": draw_trust_region,
        "7-short-steps.png": draw_steps,
    }
    for name, draw in drawings.items():
        say(f"figure {name}")
        draw(story, folder / name)
    return [folder / name for name in drawings]


# ---------------------------------------------------------------- the forgotten digits


def draw_digits(story: Story, path: Path) -> None:
    """The forgotten digits, and what the model says about each before and after."""
    digits = story.scene.digits
    order = np.argsort(digits.truth_forget, kind="stable")
    x, truth = digits.x_forget[order], digits.truth_forget[order]
    title = f"The {len(x)} mislabelled digits: what the model says before and after forgetting"
    subtitle = "A point that leaves its wrong label and crosses the line in the middle now has its true label."
    with figure(WIDTH, 6.0, title, subtitle) as fig:
        grid = fig.add_gridspec(2, len(x), height_ratios=(1.0, 4.2))
        for i, side in enumerate(truth > 0):
            ax = fig.add_subplot(grid[0, i])
            show_image(ax, x[i, :64].reshape(8, 8))
            ax.set_title(f"is {CLASSES[int(side)]}\nlabel {CLASSES[1 - int(side)]}", fontsize=10, loc="center")
        ax = fig.add_subplot(grid[1, :])
        _draw_outputs(story, ax, x)
        handles = ax.get_legend_handles_labels()
        fig.legend(*handles, loc="outside lower center", ncols=2, handletextpad=0.3, columnspacing=1.6)
        write_png(fig, path)


def _draw_outputs(story: Story, ax: Axes, x: Array) -> None:
    answers = (
        ("before (θ*)", story.scene.theta_star, INK, "o"),
        ("last layer, ℓ2", story.last_layer.l2.theta, BLUE, "s"),
        ("last layer, ℓ1", story.last_layer.l1.theta, SKY, "D"),
        ("all parameters, short steps", story.all_parameters.steps[-1].theta, VERMILLION, "^"),
        ("trained without them", story.scene.theta_clean, GREY, "x"),
    )
    outputs = [story.scene.model.predict(theta, x)[:, 0] for _, theta, _, _ in answers]
    limit = 1.3 * max(1.0, float(np.max(np.abs(outputs))))
    at = np.arange(len(x))
    ax.axhspan(0.0, limit, color=ORANGE, alpha=0.07, linewidth=0)
    ax.axhspan(-limit, 0.0, color=BLUE, alpha=0.07, linewidth=0)
    ax.axhline(0.0, color=GREY, linewidth=1.0)
    for k, ((name, _, colour, marker), f) in enumerate(zip(answers, outputs, strict=True)):
        edge = 1.6 if marker == "x" else 0.0
        ax.plot(at + 0.13 * (k - 2), f, marker, color=colour, label=name, markersize=6.5, markeredgewidth=edge)
    ways = np.array([at - 0.26, at + 0.13]), np.array([outputs[0], outputs[3]])
    ax.plot(*ways, color=VERMILLION, linewidth=0.8, alpha=0.5, zorder=1)
    ax.set(xlim=(-0.6, len(x) - 0.4), ylim=(-limit, limit), ylabel="output f(θ, x)", xticks=[], yticks=[-1, 0, 1])
    ax.text(-0.55, limit * 0.96, f"model says {CLASSES[1]}", va="top", color="#9A6A00", fontsize=10)
    ax.text(-0.55, -limit * 0.96, f"model says {CLASSES[0]}", va="bottom", color=BLUE, fontsize=10)


# ---------------------------------------------------------------- part 1


def draw_neurons(story: Story, path: Path) -> None:
    """Outgoing weights before and after, and how many neurons are left, with what is proved about the fewest."""
    title = "How many neurons does it take?"
    subtitle = "Their outgoing weights c when only the last layer moves. Open circles are zeros."
    with figure(WIDTH, 7.6, title, subtitle) as fig:
        grid = fig.add_gridspec(4, 1, height_ratios=(1.0, 1.0, 1.0, 1.35))
        first = fig.add_subplot(grid[0])
        _draw_weights(story, [first, *(fig.add_subplot(grid[i], sharex=first, sharey=first) for i in (1, 2))])
        _draw_counts(story, fig.add_subplot(grid[3]))
        write_png(fig, path)


def _draw_weights(story: Story, axes: Sequence[Axes]) -> None:
    part, model = story.last_layer, story.scene.model
    before, l2, l1 = (_weights(story, theta) for theta in (story.scene.theta_star, part.l2.theta, part.l1.theta))
    order = np.argsort(-np.abs(before), kind="stable")
    l2_norms, l1_norms = ([float(np.linalg.norm(c, p)) for c in (before, l2, l1)] for p in (2, 1))
    panels = (
        (f"before: {model.width} neurons, ‖c‖₂ = {l2_norms[0]:.2f}, ‖c‖₁ = {l1_norms[0]:.1f}", before, INK),
        (f"least ℓ2 norm: {np.count_nonzero(l2)} neurons, ‖c‖₂ = {l2_norms[1]:.2f}", l2, BLUE),
        (f"least ℓ1 norm: {np.count_nonzero(l1)} neurons, ‖c‖₁ = {l1_norms[2]:.1f}", l1, VERMILLION),
    )
    for ax, (title, c, colour) in zip(axes, panels, strict=True):
        stems(ax, c[order], colour)
        ax.set(title=title, ylabel="weight")
        ax.tick_params(labelbottom=ax is axes[-1])
    axes[-1].set_xlabel("neuron, in the order of its weight before")


def _draw_counts(story: Story, ax: Axes) -> None:
    part, width = story.last_layer, story.scene.model.width
    lower, upper = bounds(part.neurons)
    answers = ((story.scene.theta_star, INK), (part.l2.theta, BLUE), (part.l1.theta, VERMILLION))
    for y, (theta, colour) in enumerate(answers):
        used = int(np.count_nonzero(_weights(story, theta)))
        ax.barh(y, used, height=0.55, color=colour)
        ax.text(used + 0.6, y, str(used), va="center")
    ax.barh(3, lower, height=0.55, color=GREEN)
    ax.barh(3, upper - lower, left=lower, height=0.55, color="white", edgecolor=GREEN, hatch="////", linewidth=1.0)
    ax.text(upper + 0.6, 3, f"{lower:.0f} to {upper:.0f} proved", va="center")
    ax.axvline(part.bound, color=GREY, linestyle="--", linewidth=1.0)
    note = f"Theorem 5: s = rank Φ = {part.bound} suffice "
    ax.text(part.bound, -0.65, note, color=SOFT, ha="right", va="center")
    ax.set(yticks=range(4), yticklabels=["before", "least ℓ2", "least ℓ1", "fewest"])
    ax.set(xlim=(0, width * 1.12), ylim=(3.6, -1.1), title="active neurons, and what is proved")
    ax.grid(axis="y", visible=False)


def draw_small_case(story: Story, path: Path) -> None:
    """Outgoing weights before and after of the case whose fewest neurons are known exactly."""
    small = story.small_case
    before, after, teacher = (_cleaned(to_float(c)) for c in (small.before, small.after, small.teacher))
    proof = "proved least" if small.is_proved else "not proved"
    counts = [int(np.count_nonzero(c)) for c in (before, after, teacher)]
    title = f"The whole truth of a small case: {counts[1]} neurons are left"
    subtitle = (
        f"{counts[2]} neurons made the scores, {counts[0]} had memorised two false ones. Exact fractions; "
        f"Theorem 5 promises at most s = rank Φ = {small.bound}."
    )
    with figure(WIDTH, 4.3, title, subtitle) as fig:
        upper, lower = fig.subplots(2, 1, sharex=True)
        stems(upper, before, INK)
        upper.set(title=f"before: {counts[0]} neurons", ylabel="weight")
        stems(lower, after, GREEN)
        lower.set(title=f"after: {counts[1]} neurons, {proof}", ylabel="weight", xlabel="neuron")
        write_png(fig, path)


def _weights(story: Story, theta: Array) -> Array:
    """The outgoing weights c, with zeros where they are zero up to rounding."""
    return _cleaned(story.scene.model.split(theta)["c"][0])


def _cleaned(c: Array) -> Array:
    return np.where(np.abs(c) > ACTIVE * np.max(np.abs(c), initial=0.0), c, 0.0)


# ---------------------------------------------------------------- part 2


def draw_linear(story: Story, path: Path) -> None:
    """Weights of the linear model as images on one scale, and coordinate by coordinate."""
    part = story.linear
    theta, retrained = part.surrogate.theta, part.retrained
    title = "Theorem 2: for a linear model, forgetting is retraining"
    subtitle = (
        "Linear model, ℓ2. The surrogate sees θ* and the retained inputs, never a label; "
        "retraining sees inputs and labels, never θ*."
    )
    limit = float(np.max(np.abs([theta[:64], retrained[:64]])))
    pictures = (("θ*: all labels", part.theta_star), ("surrogate", theta), ("retrained", retrained))
    with figure(WIDTH, 6.4, title, subtitle) as fig:
        grid = fig.add_gridspec(2, len(pictures), height_ratios=(1.0, 1.6))
        axes = [fig.add_subplot(grid[0, i]) for i in range(len(pictures))]
        for ax, (name, weights) in zip(axes, pictures, strict=True):
            shown = show_image(ax, weights[:64].reshape(8, 8), limit)
            ax.set_title(name, loc="center")
        bar = fig.colorbar(shown, ax=axes, extend="both", shrink=0.8, aspect=12)
        bar.set_label("pixel weight")
        bar.outline.set_visible(False)
        ax = fig.add_subplot(grid[1, :])
        limit *= 1.25
        ax.plot([-limit, limit], [-limit, limit], color=GREY, linewidth=0.8)
        inside = int(np.sum(np.abs(part.theta_star) <= limit))
        star = f"θ* ({part.theta_star.size - inside} of {part.theta_star.size} lie outside)"
        ax.plot(retrained, part.theta_star, "x", color=INK, markersize=5.5, label=star)
        ax.plot(retrained, theta, "o", color=BLUE, markersize=5, label="surrogate")
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="weight after retraining", ylabel="weight")
        ax.locator_params(nbins=5)
        ax.set_title(f"weight by weight: largest difference {np.max(np.abs(theta - retrained)):.0e}")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, handletextpad=0.2)
        write_png(fig, path)
