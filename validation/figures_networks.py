"""Figures of results about networks; see figures.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form
from exact_unlearn.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    annotate,
    figure,
    show_image,
    stems,
)

from . import naive
from .descent import feasible_length, trajectory
from .figures import Findings, svg
from .instances import Data, fractions, planted_perceptron, rational_data, taught_perceptron
from .lemma_2 import dead_drift, features
from .retain_error import interpolation_series
from .theorem_4 import float_instance

Array = np.ndarray[Any, Any]

# ---------------------------------------------------------------- loss gradients


def theorem_1(found: Findings) -> str:
    rng = np.random.default_rng(1)
    model = xu.Perceptron(4, 30, "tanh")
    x, y = rng.standard_normal((8, 4)), rng.standard_normal((8, 1))
    star = model.interpolating_parameters(x, y, rng)
    fitted = model.predict(star, x)  # these labels are fitted to the last bit
    other = fitted.copy()
    other += 0.5 * rng.standard_normal((8, 1))
    exact = star.copy()
    exact[model.blocks["c"]] = closed_form.project_onto_span(model.features(star, x[:6]), star[model.blocks["c"]])
    distance = float(np.linalg.norm(star - exact))
    with figure(
        8.6,
        3.9,
        "Gradients of the loss do not forget",
        "distance to a shorter solution on the retain data, 200 steps of three methods on a tanh perceptron",
    ) as fig:
        axes = fig.subplots(1, 2, sharey=True)
        for ax, labels, title in ((axes[0], fitted, "θ* interpolates"), (axes[1], other, "θ* does not interpolate")):
            for name, signs, colour, marker in (
                ("descent on retain", (1, 0), BLUE, "o"),
                ("ascent on forget", (0, -1), VERMILLION, "s"),
                ("both (NegGrad+)", (1, -1), PURPLE, "^"),
            ):
                ax.plot(
                    *_walk(model, star, exact, x, labels, signs),
                    color=colour,
                    marker=marker,
                    markevery=25,
                    label=name,
                    markersize=5,
                )
            ax.axhline(0.0, color=GREEN, linestyle="--")
            ax.set(title=title, xlabel="step", ylim=(-0.08 * distance, 2 * distance), xlim=(0, 200))
        annotate(axes[0], "the shortest c that fits the retain data", (4, 0.0), (0, 5), GREEN)
        axes[0].set_ylabel("distance to it")
        axes[0].legend(loc="upper right")
        return svg(fig)


def _walk(model: Any, start: Array, goal: Array, x: Array, y: Array, signs: tuple[int, int]) -> tuple[Array, Array]:
    """Distances to `goal` over 200 gradient steps: sign for the six retain samples, sign for the two others."""
    weights = np.array([signs[0]] * 6 + [signs[1]] * 2)
    theta, out = start.copy(), [float(np.linalg.norm(start - goal))]
    for _ in range(200):
        residual = (model.predict(theta, x) - y).reshape(-1) * weights
        step = 0.004 * model.jacobian(theta, x).matrix.T @ residual
        theta = theta - np.clip(step, -0.05, 0.05)
        out.append(float(np.linalg.norm(theta - goal)))
    return np.arange(201), np.array(out)


# ---------------------------------------------------------------- linear networks


def _network() -> tuple[xu.LinearNetwork, Array, Data]:
    rng = np.random.default_rng(3)
    network = xu.LinearNetwork((8, 4, 3, 1))
    data = Data(rng.standard_normal((5, 8)), rng.standard_normal((5, 1)), 3)
    return network, network.interpolating_parameters(data.x, data.y, rng), data


def lemma_1(found: Findings) -> str:
    network, theta, data = _network()
    moved = theta + closed_form.lemma_1_drift(network, theta, data.retain[0])
    first = [network.split(t)["A1"] for t in (theta, moved)]
    limit = float(np.abs(first).max())
    with figure(
        8.8,
        4.4,
        "One layer moves, the predictor falls onto the retain span",
        "a network with layers 8–4–3–1; three of five samples are retained",
    ) as fig:
        axes = fig.subplot_mosaic([["a", "w"], ["b", "w"], ["c", "w"]], width_ratios=(1, 1.25))
        for key, matrix, title in (
            ("a", first[0], "A₁ of θ*"),
            ("b", first[1] - first[0], "drift: of rank one"),
            ("c", first[1], "A₁ after"),
        ):
            show_image(axes[key], matrix, limit)
            axes[key].set_title(title)
        ax, at = axes["w"], np.arange(8)
        x_retain, y_retain = data.retain
        truth = closed_form.lemma_3_min_norm(x_retain, y_retain[:, 0]).theta
        ax.bar(at - 0.2, network.predictor(theta)[:, 0], 0.36, color=GREY, label="w(θ*)")
        ax.bar(at + 0.2, network.predictor(moved)[:, 0], 0.36, color=BLUE, label="w after")
        ax.plot(
            at + 0.2,
            truth,
            "_",
            color=VERMILLION,
            markersize=15,
            markeredgewidth=2,
            label="min-norm solution on the retain set",
        )
        ax.set(title="effective predictor", xlabel="input", xticks=at, xticklabels=at + 1)
        ax.legend(loc="best")
        return svg(fig)


def theorem_3(found: Findings) -> str:
    rng = np.random.default_rng(13)
    network, theta, data = _network()
    minimiser = theta + closed_form.lemma_1_drift(network, theta, data.retain[0])
    block, v = network.blocks["A1"], network.first_layer_factor(theta)[:, 0]
    solved = xu.solve(xu.surrogate_problem(network, theta, data.retain[0], xu.PredictorNorm(network, theta))).theta
    many = [minimiser, solved]
    for _ in range(5):
        u = rng.standard_normal(4)
        other = minimiser.copy()
        other[block] += np.outer(u - v * (u @ v) / (v @ v), 0.5 * rng.standard_normal(8)).reshape(-1)
        many.append(other)
    colours = (VERMILLION, INK, BLUE, SKY, GREEN, PURPLE, ORANGE)
    with figure(
        8.8, 3.9, "Many minimisers, one predictor", "seven minimisers of the surrogate of a network with layers 8–4–3–1"
    ) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.35, 1))
        for t, colour in zip(many, colours, strict=True):
            left.plot(t[block], "o", color=colour, markersize=4)
            right.plot(network.predictor(t)[:, 0], "o-", color=colour, markersize=6, linewidth=1)
        right.plot(network.predictor(theta)[:, 0], "x--", color=GREY, linewidth=1)
        left.set(title="entries of A₁: all different", xlabel="parameter", xticks=[0, 8, 16, 24, 32])
        right.set(
            title="entries of w: all the same",
            xlabel="input",
            xticks=range(8),
            xticklabels=range(1, 9),
        )
        i = int(np.argmax(np.abs(network.predictor(theta) - network.predictor(minimiser))))
        annotate(right, "w(θ*)", (i, float(network.predictor(theta)[i, 0])), (6, 4), GREY)
        return svg(fig)


def counterexample_d41(found: Findings) -> str:
    example = closed_form.counterexample_d41()
    restrained = closed_form.lemma_1_drift(example.network, example.theta_star, example.x_retain)
    panels = (("θ*", 0 * example.drift), ("only A may move", restrained), ("everything may move", example.drift))
    with figure(
        8.8,
        4.1,
        "The dead network",
        "D.4.1: e₁ and e₂ carry the label 1, e₁ is retained; thick lines are weights 1, red ones −1",
    ) as fig:
        for ax, (title, drift) in zip(fig.subplots(1, 3), panels, strict=True):
            theta = example.theta_star + drift
            _draw_network(ax, example.network.split(theta))
            out = example.network.predict(theta, fractions(np.eye(3)))[:, 0]
            verdict = "fits the retain sample" if out[0] == 1 else "f = 0 everywhere: the retain sample is lost"
            ax.set_title(title)
            norm = sum(value**2 for value in out)
            ax.text(
                0.5,
                -0.16,
                f"f(e₁) = {out[0]},  f(e₂) = {out[1]},  ‖w‖² = {norm}\n{verdict}",
                ha="center",
                va="top",
                fontsize=9,
                color=GREEN if out[0] == 1 else VERMILLION,
                transform=ax.transAxes,
            )
        return svg(fig)


def _draw_network(ax: Any, matrices: dict[str, Array]) -> None:
    """Nodes 3-3-1, a line per weight that is not 0."""
    columns = [[(0.0, 2.0 - i) for i in range(3)], [(1.0, 2.0 - i) for i in range(3)], [(2.0, 1.0)]]
    for layer, matrix in enumerate((matrices["A1"], matrices["c"])):
        for i, j in np.argwhere(matrix != 0):
            (x0, y0), (x1, y1) = columns[layer][j], columns[layer + 1][i]
            colour = BLUE if matrix[i, j] > 0 else VERMILLION
            ax.plot([x0, x1], [y0, y1], color=colour, linewidth=2.4 * float(abs(matrix[i, j])), zorder=1)
    for column, names in zip(columns, (("x₁", "x₂", "x₃"), ("", "", ""), ("f",)), strict=True):
        for (x, y), name in zip(column, names, strict=True):
            ax.plot(x, y, "o", markersize=19, markerfacecolor="white", markeredgecolor=INK, zorder=2)
            ax.text(x, y, name, ha="center", va="center", fontsize=9, zorder=3)
    ax.set(xlim=(-0.4, 2.4), ylim=(-0.5, 2.5))
    ax.set_axis_off()


def theorem_4(found: Findings) -> str:
    with figure(
        8.4, 4.2, "Nothing is shorter than Lρ²ᐟᴸ", "non-convex descent from random starts; every iterate made feasible"
    ) as fig:
        for ax, depth, colour in zip(fig.subplots(1, 2, sharey=True), (3, 6), (BLUE, PURPLE), strict=True):
            for seed in range(7):
                rng = np.random.default_rng([depth, seed])
                network, x, y, W = float_instance(rng, depth)
                ratio = _lengths(network, x, y, rng) / closed_form.theorem_4_value(W, depth)
                ax.plot(np.arange(1, ratio.size + 1), ratio, color=colour, linewidth=1.0, alpha=0.7)
            ax.axhspan(0.5, 1.0, color=GREEN, alpha=0.12, linewidth=0)
            ax.axhline(1.0, color=GREEN, zorder=0)
            ax.set(
                xscale="log",
                yscale="log",
                ylim=(0.5, 300),
                xlabel="iteration",
                title=f"{depth} layers, 7 networks",
                xlim=(1, 1000),
            )
            annotate(ax, "excluded by convex lower bounds", (1.3, 0.66), (0, 0), GREEN)
        fig.axes[0].set_ylabel("‖θ‖² / Lρ²ᐟᴸ")
        return svg(fig)


def _lengths(network: xu.LinearNetwork, x: Array, y: Array, rng: np.random.Generator) -> Array:
    """|theta|^2 along one run of descent, each point made feasible; beyond the first 30, every tenth only, then
    held.
    """
    points = trajectory(network, x, y, rng)
    at = [i for i in range(len(points)) if i < 30 or i % 10 == 0 or i == len(points) - 1]
    return np.interp(np.arange(len(points)), at, [feasible_length(network, points[i], x, y) for i in at])


# ---------------------------------------------------------------- perceptrons


def lemma_2(found: Findings) -> str:
    rng = np.random.default_rng(12)
    model = xu.Perceptron(2, 14, "relu")

    def lift(t: Array) -> Array:
        return np.stack([t, np.ones_like(t)], axis=1)

    A = np.stack([rng.choice([-1.0, 1.0], 14), rng.uniform(-2, 2, 14)], axis=1)
    theta = model.join({"c": 0.6 * rng.standard_normal((1, 14)), "A": A})
    points, t = np.array([-1.4, 0.1, 1.5]), np.linspace(-2.2, 2.2, 400)

    def f(parameters: Array, at: Array) -> Array:
        outputs: Array = model.predict(parameters, lift(at))[:, 0]
        return outputs

    with figure(
        7.6,
        4.2,
        "Moving c inside JΔ = 0 never touches the retained outputs",
        "a relu network of one input; dots: retained samples",
    ) as fig:
        ax = fig.add_subplot()
        for k, colour in enumerate((SKY, PURPLE, ORANGE)):
            c = closed_form.project_off_span(model.features(theta, lift(points)), rng.standard_normal(14))
            moved = theta.copy()
            moved[model.blocks["c"]] += 0.7 * c
            ax.plot(t, f(moved, t), color=colour, linewidth=1.1, label="only c moved, JΔ = 0" if k == 0 else None)
        ax.plot(t, f(theta, t), color=INK, label="θ*")
        ax.plot(
            t,
            f(theta + dead_drift(model, theta), t),
            color=VERMILLION,
            linestyle="--",
            label="A moved as well, JΔ = 0: dead",
        )
        ax.plot(points, f(theta, points), "o", color=INK, markersize=8, zorder=5)
        ax.set(xlabel="input", ylabel="f")
        ax.legend(loc="best")
        return svg(fig)


def theorem_5(found: Findings) -> str:
    pairs = _supports()
    with figure(
        6.8,
        4.6,
        "Never more neurons than retained samples",
        "the least number of active neurons, proved by trying every support",
    ) as fig:
        ax = fig.add_subplot()
        rng = np.random.default_rng(0)
        ax.plot([0.4, 4.6], [0.4, 4.6], color=GREY, linewidth=1.0)
        for planted, colour, marker, text in (
            (0, BLUE, "o", "labels of a wide network"),
            (1, ORANGE, "^", "labels of a planted narrow one"),
        ):
            chosen = np.array([(s, k) for s, k, p in pairs if bool(p) == bool(planted)], dtype=float)
            jitter = rng.uniform(-0.16, 0.16, chosen.shape)
            ax.plot(*(chosen + jitter).T, marker, color=colour, alpha=0.6, linestyle="", markersize=5, label=text)
        annotate(ax, "s: the bound", (4.25, 4.25), (-66, 6), GREY)
        ax.set(
            xlabel="s = rank Φ",
            ylabel="active neurons needed, of 7",
            xticks=range(1, 5),
            yticks=range(5),
            xlim=(0.5, 4.6),
            ylim=(-0.3, 4.7),
        )
        ax.legend(loc="lower right")
        return svg(fig)


def _supports() -> list[tuple[int, int, int]]:
    """(s, least number of neurons, planted width or 0) for 150 random perceptrons of width 7, in exact arithmetic."""
    rng, out = np.random.default_rng(55), []
    for i in range(150):
        phi, planted = ("relu", "square", "leaky_relu")[i % 3], (i % 5 == 4) * (1 + i // 5 % 3)
        if planted:
            model, theta, data = planted_perceptron(rng, phi, 3, 7, planted, 4)
        else:
            model, theta, data = taught_perceptron(rng, phi, 3, 7, 1 + i % 5, 0)
        Phi = features(model, theta, data.x)
        target = Phi.dot(model.split(theta)["c"][0])
        out.append((naive.rank(Phi), naive.smallest_support(Phi, target.tolist()), planted))
    return out


def _pruned(width: int, retained: int, seed: int) -> tuple[xu.Perceptron, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    model = xu.Perceptron(6, width, "relu")
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((retained, 6))
    return model, theta, closed_form.theorem_5_solution(model, theta, x), x


def proposition_1(found: Findings) -> str:
    model, _, sparse, _ = _pruned(16, 6, 2)
    pruned = closed_form.proposition_1_prune(model, sparse)
    rng = np.random.default_rng(21)
    start, direction, t = rng.standard_normal(6), rng.standard_normal(6), np.linspace(-3, 3, 200)
    line = start + t[:, None] * direction
    with figure(
        8.6,
        4.4,
        "Rows that reach no output can go",
        "A of a network whose c has 6 non-zero entries, before and after; and its function along a line",
    ) as fig:
        axes = fig.subplot_mosaic(
            [["before", "f"], ["c", "f"], ["after", "f"]], width_ratios=(1.2, 1), height_ratios=(1, 0.5, 1)
        )
        limit = float(np.abs(model.split(sparse)["A"]).max())
        for key, parameters, title in (("before", sparse, "Aᵀ before"), ("after", pruned, "Aᵀ after")):
            show_image(axes[key], model.split(parameters)["A"].T, limit)
            axes[key].set(title=title, aspect="auto")
        stems(axes["c"], model.split(sparse)["c"][0], BLUE)
        axes["c"].set(title="c", xticks=[], xlim=(-0.5, 15.5))
        axes["f"].plot(t, model.predict(sparse, line), color=GREY, linewidth=5, alpha=0.5, label="before")
        axes["f"].plot(t, model.predict(pruned, line), color=BLUE, linestyle="--", label="after")
        axes["f"].set(title="f along a line", xlabel="t")
        axes["f"].legend()
        return svg(fig)


def corollary_1(found: Findings) -> str:
    model, theta, _, x = _pruned(48, 8, 4)
    after = closed_form.corollary_1_solution(model, theta, x)
    rows = int(model.split(after)["A"].any(axis=1).sum())
    with figure(
        8.6,
        4.0,
        f"48 neurons before, {rows} after",
        "a relu network and 8 retained samples; each column is a neuron: its row of A, and its weight in c",
    ) as fig:
        axes = fig.subplots(4, 1, height_ratios=(2, 1, 2, 1))
        limit = float(np.abs(model.split(theta)["A"]).max())
        for top, parameters, title in (
            (0, theta, "θ*"),
            (2, after, f"after forgetting: {rows} neurons fit the {len(x)} retained samples"),
        ):
            show_image(axes[top], model.split(parameters)["A"].T, limit)
            axes[top].set_aspect("auto")
            axes[top].set_title(title)
            stems(axes[top + 1], model.split(parameters)["c"][0], BLUE)
            axes[top + 1].set(xticks=[], yticks=[], xlim=(-0.5, 47.5))
        return svg(fig)


# ---------------------------------------------------------------- beyond


def beyond(found: Findings) -> str:
    lambdas = np.geomspace(0.1, 1000, 17)
    with figure(
        8.8,
        4.2,
        "Beyond the paper",
        "how far retained outputs move in deep networks; how many neurons random labels need",
    ) as fig:
        left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
        for depth, colour, marker in zip((2, 3, 4, 5, 6), (BLUE, SKY, GREEN, ORANGE, VERMILLION), "os^Dv", strict=True):
            q, size = _coefficients(depth)
            errors = [
                float(np.abs(sum(q[k] / (1 + lam) ** k for k in range(2, depth + 1))).max()) / size for lam in lambdas
            ]
            left.plot(
                1 + lambdas, errors, color=colour, marker=marker, markersize=4, linewidth=1.2, label=f"L = {depth}"
            )
        guide = np.array([30.0, 1000.0])
        left.plot(guide, 3 * (guide / 30) ** -2.0, color=INK, linewidth=1.0, linestyle=":")
        annotate(left, "slope −2", (170, 0.1), (10, 8), INK)
        left.set(xscale="log", yscale="log", xlabel="1 + λ", ylabel="largest relative error on retain data")
        left.legend(loc="lower left")
        _histogram(right, _measured_supports(found))
        return svg(fig)


def _measured_supports(found: Findings) -> list[tuple[int, int, int]]:
    """(s, least number of neurons, planted width or 0) of all instances of the run; of a few fresh ones without it."""
    if "tightness" not in found:
        return _supports()
    series = found["tightness"].series
    return [(int(s), int(k), int(p)) for s, k, p in zip(*(series[n] for n in ("s", "least", "planted")), strict=True)]


def _histogram(ax: Any, triples: list[tuple[int, int, int]]) -> None:
    """How many instances need s, s - 1, ... neurons: a bar per s, wide teachers; one more for planted narrow ones."""
    groups = [(str(s), [k - s for a, k, p in triples if a == s and not p]) for s in range(1, 5)]
    groups.append(("4, planted", [k - s for s, k, p in triples if s == 4 and p]))
    bottom = np.zeros(len(groups))
    for missing, colour in ((0, BLUE), (-1, SKY), (-2, ORANGE), (-3, VERMILLION)):
        counts = np.array([values.count(missing) for _, values in groups], dtype=float)
        text = f"s − {-missing}" if missing else "s"
        ax.bar(range(len(groups)), counts, 0.62, bottom=bottom, color=colour, label=text)
        bottom += counts
    ax.set(
        xticks=range(len(groups)),
        xticklabels=[name for name, _ in groups],
        xlabel="s = rank Φ",
        ylabel="networks",
        ylim=(0, 1.35 * bottom.max()),
    )
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left", ncols=2, title="neurons needed", title_fontsize=9)


def _coefficients(depth: int) -> tuple[list[Array], float]:
    """Taylor coefficients of the retain outputs of one linear network along the drift (floats), and the size of its
    labels.
    """
    rng = np.random.default_rng(60)
    network = xu.LinearNetwork((5, *([3] * (depth - 1)), 1))
    data = rational_data(rng, 5, 2, 1)
    theta = network.interpolating_parameters(data.x, data.y, rng)
    q = interpolation_series(network, theta, data.retain[0], depth)
    return [part.astype(float) for part in q], float(np.abs(data.retain[1].astype(float)).max())
