"""The scene: handwritten digits, some with the wrong label, and a perceptron that has memorised all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exact_unlearn.errors import ProblemError, needed_by
from exact_unlearn.jacobian import Array
from exact_unlearn.models import Perceptron

CLASSES = (3, 5)
"""The digits that the model tells apart: output -1 means a 3, output +1 a 5."""


@dataclass(frozen=True)
class Size:
    """How many digits, how many of them with the wrong label (both even), and how many neurons."""

    samples: int = 40
    mislabelled: int = 8
    width: int = 48


@dataclass(frozen=True, eq=False)
class Digits:
    """n digits with labels, some wrong, and further digits of the same kinds that nobody has trained on.

    x: (n, 65) 64 grey values in [0, 1] and a constant 1, which serves as the bias; truth, labels: (n,) of -1 and +1;
    wrong: (n,) mask of truth != labels.  The wrong ones are to be forgotten, the others retained.
    """

    x: Array
    truth: Array
    labels: Array
    x_fresh: Array
    truth_fresh: Array

    @property
    def wrong(self) -> Array:
        return np.asarray(self.labels != self.truth)

    @property
    def x_retain(self) -> Array:
        return np.asarray(self.x[~self.wrong])

    @property
    def y_retain(self) -> Array:
        return np.asarray(self.labels[~self.wrong])

    @property
    def x_forget(self) -> Array:
        return np.asarray(self.x[self.wrong])

    @property
    def truth_forget(self) -> Array:
        return np.asarray(self.truth[self.wrong])


@dataclass(frozen=True, eq=False)
class Scene:
    """The digits, and a model whose parameters theta_star interpolate all labels, the wrong ones included."""

    digits: Digits
    model: Perceptron
    theta_star: Array
    theta_clean: Array
    """The same start trained on the retained digits only: what forgetting is compared with."""


def draw_digits(rng: np.random.Generator, size: Size) -> Digits:
    """Half 3s, half 5s from scikit-learn's digits in random order, the same number of wrong labels on either side."""
    with needed_by("the demo"):
        from sklearn.datasets import load_digits

    source = load_digits()
    kept = np.isin(source.target, CLASSES)
    x = np.column_stack([source.data[kept] / 16.0, np.ones(int(kept.sum()))])
    truth = np.where(source.target[kept] == CLASSES[1], 1.0, -1.0)
    order = rng.permutation(truth.size)
    sides = [order[truth[order] == side] for side in (-1.0, 1.0)]
    used = np.concatenate([side[: size.samples // 2] for side in sides])
    wrong = np.concatenate([side[: size.mislabelled // 2] for side in sides])
    used = rng.permutation(used)
    labels = np.where(np.isin(used, wrong), -truth[used], truth[used])
    fresh = np.setdiff1d(order, used)
    return Digits(x[used], truth[used], labels, x[fresh], truth[fresh])


def build_scene(rng: np.random.Generator, size: Size) -> Scene:
    """Draw the digits and train: once on everything, once, from the same start, on the retained digits only."""
    digits = draw_digits(rng, size)
    model = Perceptron(digits.x.shape[1], size.width, activation="tanh")
    first = rng.standard_normal((size.width, model.n_inputs)) * (2.0 / np.sqrt(model.n_inputs))
    start = model.join({"c": rng.standard_normal((1, size.width)) / np.sqrt(size.width), "A": first})
    theta_star = train(model, start, digits.x, digits.labels)
    return Scene(digits, model, theta_star, train(model, start, digits.x_retain, digits.y_retain))


def train(model: Perceptron, theta: Array, x: Array, y: Array, steps: int = 500, rate: float = 2e-3) -> Array:
    """Gradient descent on the squared loss, then Gauss-Newton steps until the labels are met to rounding.

    Gradient descent alone would interpolate after far more steps; the theory needs interpolation, not a way to it.
    Raises ProblemError if the residual does not fall to rounding.
    """
    for _ in range(steps):
        theta = theta - rate * model.jacobian(theta, x).rmatvec(model.predict(theta, x)[:, 0] - y)
    return interpolate(model, theta, x, y)


def interpolate(model: Perceptron, theta: Array, x: Array, y: Array) -> Array:
    """The nearby parameters that Gauss-Newton reaches: theta + J^+ (y - f) again and again, half a step while far."""
    best, best_error = theta, np.inf
    for _ in range(60):
        residual = y - model.predict(theta, x)[:, 0]
        error = float(np.max(np.abs(residual)))
        if error < best_error:
            best, best_error = theta, error
        elif best_error < 1e-12:
            break
        J = model.jacobian(theta, x).matrix
        step = J.T @ np.linalg.solve(J @ J.T, residual)
        theta = theta + (0.5 if error > 0.1 else 1.0) * step
    if not best_error < 1e-10:
        raise ProblemError(f"seed: training left an error of {best_error:.1e}; choose another seed")
    return best
