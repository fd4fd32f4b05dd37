"""The certified truth beside the image experiments: `exact-unlearn experiment image-truth`.

With cross-entropy the paper's definition of exact unlearning has no feasible point on data that can be separated: the
infimum 0 is not attained.  Two readings have one, and both are convex where what moves is linear in fixed features:

    logits    T1, label erasure: the outputs interpolate one-hot targets of the retained samples, with the least
              1/2 |W|^2 (Theorem 2).  J = X (x) I, so thirteen outputs are thirteen small problems with one X.
    margins   T2, collapse: the least 1/2 |W|^2 with (w_y - w_k) . phi(x) >= 1, the direction that gradient descent on
              cross-entropy tends to.

Each truth is solved and proved in rational arithmetic, the proof is checked by the independent checker, and every
method is measured against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import exact_unlearn as xu
from exact_unlearn.algorithms import unlearn
from exact_unlearn.errors import NotMeasuredError, ProblemError
from exact_unlearn.sweep import Cell, Result

from . import collapse, label_erasure
from .data import CLASS_COLOURS, GRAY, GREEN, RED
from .images_features import Matrix, features, filters, scale_for, whole_features
from .images_grid import STUDIES
from .images_rows import COLLAPSE, ERASURE, METHODS, ROWS, Row, Setting
from .images_sets import HALF, Grays, Painted, draws, first_of_each_class, grays, sample, targets_of
from .poisoning_start import reproducible

LOGITS, MARGINS = "logits", "margins"
READINGS = (LOGITS, MARGINS)

EPOCHS = 50
"""Full-batch epochs of every method."""

_SMALL: dict[str, Any] = {"ascents": (1e-2, 1e-1), "noises": (0.1,), "decays": (0.5, 1.0), "ends": (0,)}

SEARCH: dict[str, Row] = {
    LOGITS: replace(ROWS[8], epochs=EPOCHS, rates=(1e-2, 1e-4, 1e-6), strengths=(1e-3, 1e-1, 1.0), **_SMALL),
    MARGINS: replace(ROWS[22], epochs=EPOCHS, rates=(1e-1, 1e-2, 1e-3), strengths=(1e-3, 1e-1, 0.5), **_SMALL),
}
"""Settings tried, by reading; the one nearest to the truth is shown, which flatters every method."""

METRICS = {
    LOGITS: ("distance", "parameters", "gray", "red", "green", "called_gray"),
    MARGINS: ("cosine", "colour_accuracy", "content_accuracy"),
}


def truth_cell(reading: str, seed: int, data: Cell, n_filters: int, n_retain: int, n_test: int) -> Cell:
    """The cell of a reading and seed: the truth with its proof, and every method against it."""
    parameters = {"reading": reading, "seed": seed, "filters": n_filters, "retain": n_retain, "test": n_test}
    settings = {method: SEARCH[reading].settings(method) for method in METHODS}
    parameters |= {"epochs": EPOCHS, "settings": settings}
    return Cell("images/truth", measure, parameters, {"data": data}, weight=float(n_filters * n_retain))


def measure(parameters: Mapping[str, Any], inputs: Mapping[str, Result]) -> Result:
    """Metrics of theta*, of the truth and of every setting of every method, and what was proved."""
    scene = _scene(parameters, inputs["data"])
    with reproducible():
        found: dict[str, Any] = {
            "start": _arrays(scene.judge(scene.start)),
            "truth": _arrays(scene.judge(scene.truth)),
            "proof": scene.proof,
        }
        for method in METHODS:
            rows = [scene.judge(scene.unlearned(method, setting)) for setting in parameters["settings"][method]]
            found[method] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return found


def _arrays(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: np.array([value]) for name, value in values.items()}


class _Heads(nn.Module):
    """A linear map without bias, its outputs split into heads."""

    def __init__(self, weights: Matrix, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Linear(weights.shape[1], weights.shape[0], bias=False, dtype=torch.float64)
        self.sizes = sizes
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weights))

    def forward(self, x: Tensor) -> Any:
        found = torch.split(self.linear(x), list(self.sizes), dim=1)
        return found if len(found) > 1 else found[0]


class Scene:
    """Samples as features, the network before, and the truth: W of shape (outputs, p) each."""

    reading: str
    retain: Painted
    forget: Painted
    tests: dict[str, Painted]
    sizes: tuple[int, ...]
    loss: str

    def __init__(
        self, reading: str, seed: int, train: Grays, test: Grays, classes: int, n_filters: int, n: int
    ) -> None:
        self.reading, self.seed, self.classes = reading, seed, classes
        self.sizes = STUDIES[ERASURE if reading == LOGITS else COLLAPSE].head_sizes(classes)
        self.loss = "mse" if reading == LOGITS else "cross-entropy"
        build = _erasure_sets if reading == LOGITS else _collapse_sets
        self.retain, self.forget, self.tests = build(train, test, seed, n, classes)
        self.bank = filters(n_filters, train.values.shape[1], seed)
        everything = self.retain.joined(self.forget)
        self.scale = scale_for(whole_features(_pixels(everything), self.bank))
        self.x_retain, self.x_forget = (features(part, self.bank, self.scale) for part in (self.retain, self.forget))
        self.x_test = {name: features(part, self.bank, self.scale) for name, part in self.tests.items()}
        solve = self._logits if reading == LOGITS else self._margins
        self.start, _ = solve(everything, certified=reading == MARGINS)
        self.truth, self.proof = solve(self.retain, certified=True)

    def _logits(self, data: Painted, certified: bool) -> tuple[Matrix, dict[str, Any]]:
        """The least |W| with X W' = one-hot targets, output by output."""
        x = features(data, self.bank, self.scale)
        targets = np.concatenate([np.eye(k)[t] for k, t in zip(self.sizes, data.targets, strict=True)], axis=1)
        if not certified:
            found = np.linalg.lstsq(x, targets, rcond=None)[0]
            if np.abs(x @ found - targets).max() > 1e-6:
                raise ProblemError(f"filters: {len(self.bank)} are too few for {len(x)} samples to be interpolated")
            return found.T, {}
        rows, proofs = [], []
        for target in targets.T:
            problem = xu.UnlearningProblem(np.zeros(x.shape[1]), x, xu.SquaredL2(), rhs=target)
            theta, proof = _proved(problem)
            rows.append(theta)
            proofs.append(proof)
        return np.stack(rows), _together(proofs)

    def _margins(self, data: Painted, certified: bool) -> tuple[Matrix, dict[str, Any]]:
        """The least |W| with margins of 1."""
        x = features(data, self.bank, self.scale)
        theta, proof = _proved(xu.margin_problem(x, data.targets[0], classes=self.classes))
        return theta.reshape(self.classes, -1), _together([proof])

    def unlearned(self, method: str, setting: Setting) -> Matrix:
        """W after a method."""
        module = _Heads(self.start, self.sizes)
        options: dict[str, Any] = {name: int(v) if name == "final_epochs" else v for name, v in setting.items()}
        if method == "minnorm-og":
            options |= {"rows": "all", "n_perturb": len(self.retain)}
        sets = [
            (torch.from_numpy(x), tuple(torch.from_numpy(target) for target in part.targets))
            for x, part in ((self.x_retain, self.retain), (self.x_forget, self.forget))
        ]
        moved, _ = unlearn(
            module,
            sets[0],
            sets[1],
            method,
            epochs=EPOCHS,
            loss=self.loss,
            generator=draws("truth", f"unlearning {method}", self.seed),
            **options,
        )
        weight: Tensor = moved.get_parameter("linear.weight")
        return weight.detach().numpy().copy()

    def judge(self, weights: Matrix) -> dict[str, float]:
        """METRICS of the reading; what is not finite is at distance infinity."""
        if not np.isfinite(weights).all():
            worst = {"distance": np.inf, "parameters": np.inf, "cosine": -1.0}
            return {name: worst.get(name, 0.0) for name in METRICS[self.reading]}
        return self._judge_logits(weights) if self.reading == LOGITS else self._judge_margins(weights)

    def _judge_logits(self, weights: Matrix) -> dict[str, float]:
        x = np.concatenate(list(self.x_test.values()))
        found = {
            "distance": _ratio(x @ (weights - self.truth).T, x @ (self.start - self.truth).T),
            "parameters": _ratio(weights - self.truth, self.start - self.truth),
        }
        coloured = []
        for name, part in self.tests.items():
            outputs = self.x_test[name] @ weights.T
            found[name] = float((outputs[:, : self.classes].argmax(1) == part.targets[0]).mean())
            if name != "gray":
                coloured.append(outputs[:, self.classes :].argmax(1) == GRAY)
        return {**found, "called_gray": float(np.concatenate(coloured).mean())}

    def _judge_margins(self, weights: Matrix) -> dict[str, float]:
        (part,), (x,) = self.tests.values(), self.x_test.values()
        called = (x @ weights.T).argmax(1)
        size = np.linalg.norm(weights) * np.linalg.norm(self.truth)
        return {
            "cosine": float((weights * self.truth).sum() / size) if size else 0.0,
            "colour_accuracy": float((called == part.colours).mean()),
            "content_accuracy": float((called == part.targets[0]).mean()),
        }


def _ratio(a: Matrix, b: Matrix) -> float:
    return float(np.linalg.norm(a) / np.linalg.norm(b))


def _proved(problem: xu.UnlearningProblem) -> tuple[Matrix, dict[str, Any]]:
    """The exact minimiser, rounded to floats, and its proof as the independent checker sees it."""
    certificate = xu.certify(problem, xu.solve(problem), proof="exact")
    verdict = certificate.check(problem)
    point = certificate.point
    if point is None or certificate.gap is None or not verdict.proved:
        raise NotMeasuredError(f"the truth could not be proved ({certificate.proof}); another seed may do")
    gap = float(certificate.gap)
    theta: Matrix = np.array([float(value) for value in point])
    return theta, {"proof": certificate.proof, "gap": gap, "unique": bool(certificate.unique), "rows": len(problem.rhs)}


def _together(proofs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of all problems of one truth: the weakest proof, the largest gap."""
    kinds = sorted({str(proof["proof"]) for proof in proofs})
    return {
        "proofs": ", ".join(kinds),
        "problems": len(proofs),
        "rows": int(sum(proof["rows"] for proof in proofs)),
        "gap": np.array([max(proof["gap"] for proof in proofs)]),
        "unique": int(all(proof["unique"] for proof in proofs)),
    }


def _pixels(data: Painted) -> Any:
    from .data import coloured

    return coloured(data.grays.values[data.index], data.colours, data.palette)


def _scene(parameters: Mapping[str, Any], data: Result) -> Scene:
    train, test = grays(data, "train"), grays(data, "test")
    classes = int(data["classes"])
    chosen = first_of_each_class(test.labels, classes, parameters["test"])
    few = Grays(test.values[chosen], test.labels[chosen])
    arguments = parameters["seed"], train, few, classes, parameters["filters"], parameters["retain"]
    return Scene(parameters["reading"], *arguments)


def _some_of_each_class(train: Grays, classes: int, n: int, seed: int) -> Any:
    """n images in a random order, as equally many of every class as can be."""
    order = sample(len(train), len(train), draws("truth", "samples", seed))
    return order[first_of_each_class(train.labels[order], classes, n)]


def _erasure_sets(
    train: Grays, test: Grays, seed: int, n: int, classes: int
) -> tuple[Painted, Painted, dict[str, Painted]]:
    """n gray images to retain; 3 n / 10 others, half red and half green, to forget."""
    chosen = _some_of_each_class(train, classes, n + 2 * (3 * n // 20), seed)
    order = sample(len(chosen), len(chosen), draws("truth", "parts", seed))
    retain, others = chosen[order[:n]], chosen[order[n:]]
    half = len(others) // 2
    paint = label_erasure.painted
    forget = paint(train, others[:half], RED, HALF).joined(paint(train, others[half:], GREEN, HALF))
    everywhere = np.arange(len(test))
    tests = {name: paint(test, everywhere, colour, HALF) for name, colour in (("gray", 0), ("red", 1), ("green", 2))}
    return paint(train, retain, GRAY, HALF), forget, tests


def _collapse_sets(
    train: Grays, test: Grays, seed: int, n: int, classes: int
) -> tuple[Painted, Painted, dict[str, Painted]]:
    """n images in the colour of their class; n / 4 of them once more in another, to forget."""
    chosen = _some_of_each_class(train, classes, n, seed)
    labels = train.labels[chosen]
    retain = Painted(train, chosen, labels, targets_of(labels), CLASS_COLOURS, HALF)
    few = chosen[sample(n, max(1, n // 4), draws("truth", "forget", seed))]
    shift = torch.randint(1, collapse.COLOURS, (len(few),), generator=draws("truth", "colours", seed)).numpy()
    own = train.labels[few]
    forget = Painted(train, few, (own + shift) % collapse.COLOURS, targets_of(own), CLASS_COLOURS, HALF)
    index = np.repeat(np.arange(len(test)), collapse.COLOURS)
    colours = np.tile(np.arange(collapse.COLOURS), len(test))
    everything = Painted(test, index, colours, targets_of(test.labels[index]), CLASS_COLOURS, HALF)
    return retain, forget, {"all": everything}
