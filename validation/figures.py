"""One figure per result: the picture that makes it click.  Linear algebra here, networks in figures_networks.py.

Every function takes the findings of its result, by key, and returns an SVG text; most draw an instance of their own.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from exact_unlearn import closed_form, rational
from exact_unlearn.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILLION, annotate, figure

from .finding import Finding
from .instances import fractions
from .proposition_2 import descend

Array = np.ndarray[Any, Any]
Findings = Mapping[str, Finding]
Draw = Callable[[Findings], str]


def svg(fig: Any) -> str:
    """The figure as SVG, with letters as paths: no font has to be there, and the same data give the same text."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "exact-unlearn"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def drawing(name: str) -> Draw:
    """The function that draws the figure of that name."""
    from . import figures_networks

    found: Draw | None = globals().get(name) or getattr(figures_networks, name, None)
    if found is None:
        raise LookupError(f"no figure {name!r}")
    return found


# ---------------------------------------------------------------- the plane


def _plane(fig: Any, low: tuple[float, float], high: tuple[float, float], place: Any = 111) -> Any:
    """Square axes through the origin, without ticks."""
    ax = fig.add_subplot(place)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    ax.axhline(0, color=GREY, linewidth=0.6)
    ax.axvline(0, color=GREY, linewidth=0.6)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _line(ax: Any, point: Array, direction: Array, colour: str, **options: Any) -> None:
    """The straight line through `point`."""
    ax.axline(tuple(point), tuple(point + direction), color=colour, **options)


def _arrow(ax: Any, start: Array, end: Array, colour: str, width: float = 1.6) -> None:
    ax.annotate(
        "",
        end,
        start,
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0},
    )


def _dot(
    ax: Any, point: Array, colour: str, text: str = "", offset: tuple[float, float] = (8, 6), **options: Any
) -> None:
    ax.plot(*point, "o", color=colour, markersize=7, zorder=5, **options)
    if text:
        annotate(ax, text, (float(point[0]), float(point[1])), offset, colour, fontsize=10)


X, Y = np.array([2.0, 1.0]), 4.0
"""One equation x.theta = 4 in the plane."""
NEAREST = X * Y / (X @ X)
KERNEL = np.array([-1.0, 2.0]) / np.sqrt(5)


def lemma_3(found: Findings) -> str:
    with figure(
        6.4,
        4.4,
        "The shortest solution is the one in the row space",
        "all solutions of 2a + b = 4, and the row space of X = (2, 1)",
    ) as fig:
        ax = _plane(fig, (-2.3, -2.0), (4.6, 3.3))
        _line(ax, NEAREST, KERNEL, BLUE)
        _line(ax, np.zeros(2), X, ORANGE, linestyle="--")
        circle = np.linspace(0, 2 * np.pi, 200)
        ax.plot(*(np.linalg.norm(NEAREST) * np.array([np.cos(circle), np.sin(circle)])), color=GREY, linewidth=0.9)
        _arrow(ax, np.zeros(2), NEAREST, VERMILLION)
        _dot(ax, NEAREST, VERMILLION, "θ = Xᵀν, the min-norm solution", (12, -4))
        for t in (-2.2, -1.2, 1.3):
            point = NEAREST + t * KERNEL
            _arrow(ax, np.zeros(2), point, GREY, 0.8)
            _dot(ax, point, BLUE)
        annotate(ax, "all solutions", (0.55, 2.9), (8, 0), BLUE, fontsize=10)
        annotate(ax, "row space", (3.6, 1.8), (0, -16), ORANGE, fontsize=10)
        annotate(ax, "all points as long as it", (-2.25, 1.95), (0, 0), GREY)
        return svg(fig)


def lemma_4(found: Findings) -> str:
    rng = np.random.default_rng(4)
    with figure(
        6.4,
        4.2,
        "One solution and the kernel give them all",
        "forty interpolating parameters, drawn without knowing the min-norm one",
    ) as fig:
        ax = _plane(fig, (-2.6, -2.0), (4.6, 3.2))
        _line(ax, np.zeros(2), KERNEL, GREY, linestyle="--")
        _line(ax, NEAREST, KERNEL, BLUE, linewidth=0.8)
        points = NEAREST + rng.normal(0, 1.3, size=(40, 1)) * KERNEL
        ax.plot(*points.T, "o", color=BLUE, markersize=5, alpha=0.7)
        start = 1.5 * KERNEL
        _arrow(ax, np.zeros(2), start, GREEN)
        _arrow(ax, NEAREST, NEAREST + start, GREEN)
        _dot(ax, NEAREST, VERMILLION, "min-norm solution", (10, -4))
        annotate(ax, "kernel of X", (0.9, -1.8), (6, 4), GREY, fontsize=10)
        annotate(ax, "z", (-0.45, 0.75), (-14, -2), GREEN, fontsize=11)
        annotate(ax, "+ z", (1.2, 1.6), (2, 8), GREEN, fontsize=11)
        return svg(fig)


def proposition_2(found: Findings) -> str:
    x, y = X[None, :], np.array([Y])
    good, large = 0.35 / (X @ X), 2.25 / (X @ X)
    with figure(6.8, 4.6, "Gradient descent walks in the row space", "iterates for the one sample 2a + b = 4") as fig:
        ax = _plane(fig, (-2.4, -2.0), (5.2, 3.6))
        _line(ax, NEAREST, KERNEL, BLUE)
        _line(ax, np.zeros(2), X, ORANGE, linestyle="--")
        for start, step, colour, steps in (
            (np.zeros(2), good, VERMILLION, 14),
            (np.array([-1.7, 1.2]), good, PURPLE, 14),
            (np.array([1.5, -0.9]), large, GREY, 9),
        ):
            path = np.array([descend(x, y, start, step, k) for k in range(steps)])
            ax.plot(*path.T, "-o", color=colour, markersize=4.5, linewidth=1.0)
        annotate(ax, "from 0: to the\nmin-norm solution", (1.6, 0.8), (14, -24), VERMILLION)
        annotate(ax, "from elsewhere: to another solution", (-1.7, 1.2), (-22, -16), PURPLE)
        annotate(ax, "step above 2/λ: away", (3.4, -0.25), (6, -14), GREY)
        annotate(ax, "all solutions", (0.42, 3.2), (6, 2), BLUE)
        return svg(fig)


def appendix_c(found: Findings) -> str:
    retain, forget = np.array([2.0, 0.4]), np.array([0.9, 1.8])
    rows, labels = np.array([retain, forget]), np.array([3.4, 3.6])
    star = np.linalg.solve(rows, labels)
    exact = retain * labels[0] / (retain @ retain)
    with figure(
        6.8, 4.4, "Zero retain loss, and still a memory", "one retained and one forgotten sample in the plane"
    ) as fig:
        ax = _plane(fig, (-0.6, -0.7), (3.6, 2.5))
        _line(ax, exact, np.array([-retain[1], retain[0]]), BLUE)
        _line(ax, star, np.array([-forget[1], forget[0]]), GREY, linestyle=":")
        for vector, text, colour in ((retain, "retain input", INK), (forget, "forget input", GREY)):
            _arrow(ax, np.zeros(2), vector / 2, colour)
            annotate(ax, text, tuple(vector / 2), (4, -14) if colour == INK else (-66, 2), colour)
        _arrow(ax, exact, star, VERMILLION, 2.2)
        text = "θ* fits both samples: gradient descent\non the retain loss does not move"
        _dot(ax, star, VERMILLION, text, (12, 8))
        _dot(ax, exact, GREEN, "θᵣ*, the exact solution", (12, -6))
        middle = tuple((exact + star) / 2)
        annotate(ax, "what θ* still\nknows about the\nforgotten sample", middle, (-8, -14), VERMILLION, ha="right")
        annotate(ax, "retain loss 0", (1.42, 2.35), (-72, -4), BLUE)
        return svg(fig)


def appendix_e(found: Findings) -> str:
    lambdas = np.array([0, 0.3, 1, 3, 9])
    star, rest = np.array([2.4, 2.0]), np.array([2.4, 0.0])
    with figure(
        8.4, 4.0, "λ says how far to go", "the drift is a share 1/(1 + λ) of the whole way to the projection"
    ) as fig:
        grid = fig.add_gridspec(1, 2, width_ratios=(1, 1.15))
        ax = _plane(fig, (-0.4, -1.0), (3.9, 2.5), grid[0])
        _line(ax, np.zeros(2), np.array([1.0, 0.0]), ORANGE, linestyle="--")
        ax.plot([star[0], rest[0]], [star[1], rest[1]], color=BLUE)
        _dot(ax, star, VERMILLION, "θ*", (8, 4))
        for lam in lambdas:
            point = rest + lam / (1 + lam) * (star - rest)
            _dot(ax, point, BLUE, f"λ = {lam:g}", (10, -4 if lam else 5))
        annotate(ax, "row space of J:\nall that the retained\noutputs depend on", (0.1, 0.0), (0, -42), ORANGE)
        curve = fig.add_subplot(grid[1])
        fine = np.geomspace(1e-2, 1e2, 200)
        curve.plot(fine, fine / (1 + fine), color=GREY, linewidth=1.0)
        curve.plot(*_remaining_shares(), "o", color=BLUE)
        curve.set(xscale="log", xlabel="λ", ylabel="share of θ* outside row(J) that remains", ylim=(0, 1.02))
        annotate(curve, "λ/(1 + λ)", (0.3, 0.23), (-54, 6), GREY)
        annotate(curve, "a tanh perceptron,\nmeasured", (2.0, 0.667), (12, -18), BLUE)
        return svg(fig)


def _remaining_shares() -> tuple[Array, Array]:
    """lam, and |part of theta* + drift outside row(J)| / |that of theta*| for a random perceptron."""
    import exact_unlearn as xu

    rng = np.random.default_rng(5)
    model = xu.Perceptron(4, 10, "tanh")
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((5, 4))
    J, lambdas = model.jacobian(theta, x), np.geomspace(1e-2, 1e2, 13)
    before = np.linalg.norm(closed_form.project_off_span(J.matrix, theta))
    moved = [theta + closed_form.appendix_e_drift(J, theta, lam) for lam in lambdas]
    return lambdas, np.array([np.linalg.norm(closed_form.project_off_span(J.matrix, t)) / before for t in moved])


# ---------------------------------------------------------------- space


def _space(fig: Any, elevation: float, azimuth: float, limit: float) -> Any:
    """Three axes without ticks, seen from above."""
    ax = fig.add_subplot(projection="3d")
    ax.view_init(elevation, azimuth)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), zlim=(-limit, limit))
    ax.set_box_aspect((1, 1, 0.85), zoom=1.5)
    ax.set_axis_off()
    return ax


def _span_patch(ax: Any, a: Array, b: Array, size: float, colour: str) -> None:
    """A parallelogram of the plane spanned by orthonormal a and b."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    corners = [size * (s * a + t * b) for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    ax.add_collection3d(Poly3DCollection([corners], facecolor=colour, edgecolor=colour, alpha=0.18))


def theorem_2(found: Findings) -> str:
    x = np.array([[1.0, 0.25, 0.15], [-0.2, 1.0, 0.3]])
    y = np.array([0.85, 0.95])
    nearest = closed_form.lemma_3_min_norm(x, y).theta
    Q = np.linalg.qr(x.T)[0]
    normal = np.cross(Q[:, 0], Q[:, 1])
    normal *= np.sign(normal[2])
    with figure(
        7.2, 4.5, "Wherever θ* lies, forgetting is one projection", "three parameters, two retained samples"
    ) as fig:
        ax = _space(fig, 20, -62, 1.35)
        _span_patch(ax, Q[:, 0], Q[:, 1], 1.1, ORANGE)
        ends = np.array([nearest - 1.3 * normal, nearest + 1.4 * normal])
        ax.plot(*ends.T, color=BLUE, linewidth=1.2)
        for row, text in zip(x, ("x₁", "x₂"), strict=True):
            ax.quiver(0, 0, 0, *row, color=INK, arrow_length_ratio=0.09, linewidth=1.4)
            ax.text(*(1.08 * row), text, color=INK, fontsize=10)
        for t, colour in ((1.25, VERMILLION), (0.8, PURPLE), (-1.0, SKY)):
            star = nearest + t * normal
            ax.quiver(*star, *(-0.9 * t * normal), color=colour, arrow_length_ratio=0.12, linewidth=2)
            ax.plot(*star[:, None], "o", color=colour, markersize=7)
            ax.text(*(star + np.array([-0.36, 0.0, 0.0])), "a θ*", color=colour, fontsize=10)
        ax.plot(*nearest[:, None], "o", color=GREEN, markersize=9)
        ax.plot(*np.array([np.zeros(3), nearest]).T, color=GREEN, linewidth=1, linestyle="--")
        ax.text(*(nearest + np.array([0.3, 0.0, 0.06])), "P θ*, the min-norm solution", color=GREEN, fontsize=10)
        ax.text(*(-0.85 * x[0] - 0.5 * x[1]), "span of the\nretain inputs", color=ORANGE, fontsize=10)
        ax.text(*(ends[1] + np.array([0.06, 0, 0.02])), "all θ that fit", color=BLUE, fontsize=10)
        return svg(fig)


def lemma_5(found: Findings) -> str:
    retain, forget = np.array([1.1, 0.3, 0.25]), np.array([0.1, 0.9, -0.5])
    rows, y = np.array([retain, forget]), np.array([1.0, 0.6])
    base = closed_form.lemma_3_min_norm(rows, y).theta
    kernel = np.cross(retain, forget)
    kernel /= np.linalg.norm(kernel)
    target = retain * y[0] / (retain @ retain)
    with figure(
        7.2,
        4.9,
        "Different models, one unlearned model",
        "one retained and one forgotten sample, three solutions that fit both",
    ) as fig:
        ax = _space(fig, 22, -58, 1.25)
        ax.plot(*np.array([-1.1 * retain, 1.25 * retain]).T, color=ORANGE, linestyle="--")
        ax.plot(*np.array([base - 1.5 * kernel, base + 1.5 * kernel]).T, color=BLUE, linewidth=1.0)
        for t, colour in ((1.35, VERMILLION), (0.3, PURPLE), (-1.2, SKY)):
            star = base + t * kernel
            ax.plot(*np.array([star, target]).T, color=colour, linestyle=":", linewidth=1.6)
            ax.plot(*star[:, None], "o", color=colour, markersize=7)
            ax.text(*(star + np.array([0.05, 0.05, 0.05])), "θ*", color=colour, fontsize=11)
        ax.plot(*target[:, None], "o", color=GREEN, markersize=9)
        ax.text(*target, "min-norm solution of the retain set   ", color=GREEN, fontsize=10, ha="right", va="bottom")
        ax.text(*(0.95 * retain + np.array([0, 0, 0.12])), " span of the retain input", color=ORANGE, fontsize=10)
        ax.text(*(base - 1.35 * kernel + np.array([0.1, 0, 0])), "all θ that fit both samples", color=BLUE, fontsize=10)
        return svg(fig)


# ---------------------------------------------------------------- elimination


def lemma_6(found: Findings) -> str:
    rng = np.random.default_rng(9)
    rows, c = fractions(rng.integers(-3, 4, size=(3, 10))), fractions(rng.choice([-3, -2, -1, 1, 2, 3], size=10))
    N, pivots = rational.nullspace(rows)
    steps = [c]
    for column, pivot in enumerate(pivots):
        steps.append(steps[-1] - steps[-1][pivot] * N[:, column])
    table = np.array(steps, dtype=float)
    with figure(
        7.2,
        4.4,
        "One entry after the other, until s are left",
        f"h = 10 entries, s = {len(c) - len(pivots)}: inner products with G stay as they are",
    ) as fig:
        ax = fig.add_subplot()
        ax.imshow(np.clip(table, -6, 6), cmap="RdBu_r", vmin=-6, vmax=6, aspect="auto")
        for i, j in itertools.product(*map(range, table.shape)):
            zero = steps[i][j] == 0
            text = "0" if zero else f"{table[i, j]:.3g}"
            colour = GREY if zero else "white" if abs(table[i, j]) > 4 else INK
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
        ax.set(xticks=range(10), xticklabels=range(1, 11), yticks=range(len(steps)), xlabel="entry")
        ax.set_yticklabels(["c", *(f"entry {p + 1} removed" for p in pivots)])
        ax.grid(False)
        return svg(fig)
