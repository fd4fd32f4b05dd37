"""Random instances: rational data of small integers, models that interpolate them, data with planted structure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu

from . import naive

Array = np.ndarray[Any, Any]
Rng = np.random.Generator


def fractions(values: Any) -> Array:
    """The same numbers as an object array of Fractions."""
    array = np.asarray(values)
    out = np.empty(array.size, dtype=object)
    out[:] = [Fraction(v) for v in array.reshape(-1).tolist()]
    return out.reshape(array.shape)


def integers(rng: Rng, *shape: int, high: int = 3) -> Array:
    """Fractions that are whole numbers from -high to high."""
    return fractions(rng.integers(-high, high + 1, size=shape))


def rational_vector(rng: Rng, size: int) -> Array:
    """Fractions p/q with |p| <= 9 and 1 <= q <= 5."""
    p, q = rng.integers(-9, 10, size=size), rng.integers(1, 6, size=size)
    return np.array([Fraction(int(a), int(b)) for a, b in zip(p, q, strict=True)] + [None], dtype=object)[:-1]


def unit_vector(rng: Rng, size: int) -> Array:
    """A rational unit vector: the inverse stereographic projection of a rational point."""
    if size == 1:
        return fractions([1])
    p = rational_vector(rng, size - 1)
    s = sum(x * x for x in p)
    return np.array([*(2 * x / (s + 1) for x in p), (s - 1) / (s + 1)], dtype=object)


@dataclass(frozen=True, eq=False)
class Data:
    """x (n, m), y (n, l); the first n_retain samples are retained, the others forgotten."""

    x: Array
    y: Array
    n_retain: int

    @property
    def retain(self) -> tuple[Array, Array]:
        return self.x[: self.n_retain], self.y[: self.n_retain]

    @property
    def forget(self) -> tuple[Array, Array]:
        return self.x[self.n_retain :], self.y[self.n_retain :]


def rational_data(rng: Rng, m: int, n_retain: int, n_forget: int, l: int = 1) -> Data:
    """Integer data that something linear interpolates: independent inputs if n <= m, else labels made by a teacher."""
    n = n_retain + n_forget
    x = integers(rng, n, m)
    while n <= m and len(np.unique(x.astype(float), axis=0)) < n:
        x = integers(rng, n, m)
    return Data(x, x.dot(rational_vector(rng, m * l).reshape(m, l)), n_retain)


def free_labels(rng: Rng, m: int, n_retain: int, n_forget: int, l: int = 1) -> Data:
    """Distinct integer inputs with arbitrary integer labels; only models that are wide enough interpolate them."""
    n = n_retain + n_forget
    x = integers(rng, n, m)
    while len({tuple(row) for row in x.tolist()}) < n or any(not any(row) for row in x.tolist()):
        x = integers(rng, n, m)
    return Data(x, integers(rng, n, l), n_retain)


def float_data(rng: Rng, m: int, n_retain: int, n_forget: int, l: int = 1) -> Data:
    """Gaussian inputs and labels, rounded to multiples of 1/64 so that exact arithmetic on them stays short."""
    n = n_retain + n_forget
    x, y = rng.standard_normal((n, m)), rng.standard_normal((n, l))
    return Data(np.round(64 * x) / 64, np.round(64 * y) / 64, n_retain)


def interpolating(model: Any, data: Data, rng: Rng) -> Array:
    """Random parameters with f(theta, x) = y on all data, checked: exactly for Fractions."""
    theta: Array = model.interpolating_parameters(data.x, data.y, rng)
    return theta


def network_widths(rng: Rng, depth: int, m: int, l: int = 1, narrow: bool = False) -> tuple[int, ...]:
    """Uneven widths of `depth` layers; narrow: one hidden layer has width l."""
    hidden = [int(h) for h in rng.integers(max(1, l), 5, size=depth - 1)]
    if narrow and hidden:
        hidden[int(rng.integers(len(hidden)))] = l
    return (m, *hidden, l)


def rescaled(network: xu.LinearNetwork, theta: Array, rng: Rng) -> Array:
    """The same function with A_1 divided and C multiplied by a random power of two, not 1; exact in floats.

    `interpolating_parameters` gives V the norm 1 in floats, which would hide a forgotten |v|^-2.
    """
    if network.depth == 1:
        return theta
    matrices, factor = network.split(theta), 2.0 ** int(rng.choice([-3, -2, -1, 1, 2, 3]))
    return network.join({**matrices, "c": factor * matrices["c"], "A1": matrices["A1"] / factor})


def random_groups(rng: Rng, size: int) -> list[list[int]]:
    """A random partition of range(size) into groups of 1 to 3."""
    order, groups = rng.permutation(size).tolist(), []
    while order:
        count = int(rng.integers(1, 4))
        groups.append(order[:count])
        order = order[count:]
    return groups


def positive_semidefinite(rng: Rng, size: int) -> Array:
    """B B^T with a rational B of random rank: positive semidefinite, often singular."""
    B = integers(rng, size, int(rng.integers(1, size + 1)), high=2)
    square: Array = B.dot(B.T)
    return square


def planted_perceptron(rng: Rng, phi: str, m: int, h: int, k: int, n: int) -> tuple[xu.Perceptron, Array, Data]:
    """A wide perceptron that interpolates the labels of a teacher that uses k of its neurons; all of it rational.

    theta* = teacher + a kernel direction of the features, so that all h neurons are active at theta*.
    """
    model = xu.Perceptron(m, h, phi)
    while True:
        data = free_labels(rng, m, n, 0)
        A = integers(rng, h, m)
        teacher = fractions(np.zeros(h))
        teacher[rng.permutation(h)[:k]] = fractions(rng.choice([-2, -1, 1, 2], size=k))
        features = model.features(model.join({"c": teacher, "A": A}), data.x)
        y = features.dot(teacher)[:, None]
        try:
            theta = model.interpolating_parameters(data.x, y, rng, A=A)
        except xu.ProblemError:
            continue
        if A.any(axis=1).all() and model.split(theta)["c"].all():
            return model, theta, Data(data.x, y, n)


def taught_perceptron(
    rng: Rng, phi: str, m: int, h: int, n_retain: int, n_forget: int, l: int = 1
) -> tuple[xu.Perceptron, Array, Data]:
    """Random integer parameters, all neurons active, and the labels they give: interpolation by construction."""
    model = xu.Perceptron(m, h, phi, l)
    x = free_labels(rng, m, n_retain, n_forget).x
    C, A = integers(rng, l, h, high=2), integers(rng, h, m, high=2)
    while not (C.any(axis=0).all() and A.any(axis=1).all()):
        C, A = integers(rng, l, h, high=2), integers(rng, h, m, high=2)
    theta = model.join({"c": C, "A": A})
    return model, theta, Data(x, naive.perceptron(m, h, l, naive.activation(phi), theta, x), n_retain)
