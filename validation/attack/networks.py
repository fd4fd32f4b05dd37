"""Exact problems of random two-layer networks: non-convex descent never ends below the certified bound, and a program
written by hand has the same value.

Descent knows nothing of the convex program: it shrinks a network of random neurons that is held to the labels ever
harder, makes it fit, with the cheapest outer weights, and takes what it costs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize

import exact_unlearn as xu
from exact_unlearn.activations import Activation
from exact_unlearn.jacobian import to_rational
from tests.network_cases import by_hand

from .campaign import Outcome

TITLE = "no non-convex descent of a two-layer network ends below its certified bound; CVXPY by hand has the same value"
FULL, QUICK = 200, 2
STARTS, CORRECTIONS = 50, 6
SMOOTH = 1e-3
"""What is added to entries under the roots that stand for absolute values."""
PENALTIES = (1e3, 1e5)
ROUNDING = 1e-7
"""Of linear programs in floats."""

AGREE = 1e-7
"""Between the certified optimum and the program written by hand, relative to it or 1."""

Array = np.ndarray[Any, Any]
PHIS = {
    "relu": Activation("relu"),
    "abs": Activation("abs"),
    "leaky_relu": Activation("leaky_relu", 0.25),
}


@dataclass(frozen=True)
class Instance:
    """Samples, labels that some network has, and what is asked."""

    x: Array
    y: Array
    phi: Activation
    R: str

    @property
    def slope(self) -> float:
        return {"relu": 0.0, "abs": -1.0}.get(self.phi.name, 0.25)


def instance(seed: int, index: int) -> Instance:
    """One input and a bias with up to 7 samples, or up to 5 samples in three dimensions."""
    rng = np.random.default_rng([seed, index])
    n = int(rng.integers(2, 8 if index % 3 else 6))
    x = np.c_[rng.uniform(-2, 2, n), np.ones(n)] if index % 3 else rng.standard_normal((n, 3))
    phi = PHIS[("relu", "relu", "abs", "leaky_relu")[index % 4]]
    hidden = phi.value(x @ rng.standard_normal((x.shape[1], 6)))
    return Instance(x, hidden @ rng.standard_normal(6), phi, "path" if index % 5 == 0 else "squared")


def least_found(case: Instance, rng: np.random.Generator, starts: int) -> float:
    """The least cost of `starts` descents that end in a network that fits."""
    return min((descended(case, rng) for _ in range(starts)), default=math.inf)


def descended(case: Instance, rng: np.random.Generator) -> float:
    """What the network of one descent costs, with the best outer weights if it can; inf where it lost what it needs.

    A few Newton steps make it fit.  Rescaled neurons turn 1/2 |theta|^2 into sum |c_j| |a_j|, which is linear in |c|.
    """
    n, m = case.x.shape
    width = int(rng.integers(2 * n, 5 * n + 4))
    drawn = rng.standard_normal((width, m)) * rng.uniform(0.3, 1.5)
    fitted = np.linalg.lstsq(case.phi.value(case.x @ drawn.T), case.y)[0]
    theta = np.concatenate([fitted, drawn.reshape(-1)])  # from weights that do not fit most neurons would vanish
    for weight in PENALTIES:
        found = minimize(_objective, theta, args=(case, width, weight), jac=True, method="L-BFGS-B")
        theta = found.x
    model = xu.Perceptron(m, width, case.phi)
    for _ in range(CORRECTIONS):
        off = model.predict(theta, case.x)[:, 0] - case.y
        theta = theta - np.linalg.lstsq(model.jacobian(theta, case.x).matrix, off)[0]
    c, A = theta[:width], theta[width:].reshape(width, m)
    features = case.phi.value(case.x @ A.T)
    fits = abs(features @ c - case.y).max() <= 1e-10 * (1 + abs(case.y).max())
    sizes = np.linalg.norm(A, axis=1, ord=2 if case.R == "squared" else 1)
    best = linprog(np.r_[sizes, sizes], A_eq=np.c_[features, -features], b_eq=case.y, method="highs")
    return float(best.fun) if best.status == 0 else float(abs(c) @ sizes) if fits else math.inf


def _objective(theta: Array, case: Instance, width: int, weight: float) -> tuple[float, Array]:
    """weight/2 |f - y|^2 + 1/2 sum c_j^2 + |a_j|^2, in the norm of the measure made smooth, and its gradient."""
    c, A = theta[:width], theta[width:].reshape(width, -1)
    z = case.x @ A.T
    features, slopes = case.phi.value(z), case.phi.derivative(z)
    residual = features @ c - case.y
    on_A = weight * (residual[:, None] * slopes * c).T @ case.x
    if case.R == "squared":
        sizes, along = np.sum(A * A, axis=1), A
    else:
        smooth = np.sqrt(A * A + SMOOTH**2)
        sizes, along = smooth.sum(axis=1) ** 2, smooth.sum(axis=1, keepdims=True) * A / smooth
    gradient = np.concatenate([c + weight * features.T @ residual, (on_A + along).reshape(-1)])
    return float((c @ c + sizes.sum() + weight * residual @ residual) / 2), gradient


def _faults(case: Instance, rng: np.random.Generator, starts: int, seen: Counter[str]) -> Iterator[str]:
    problem = xu.global_problem(xu.Perceptron(case.x.shape[1], 2 * len(case.x), case.phi), case.x, case.y, case.R)
    certificate = xu.certify(problem, xu.solve(problem))
    seen[certificate.proof] += 1
    if certificate.lower is None or certificate.upper is None or not certificate.check().proved:
        yield f"nothing was proved: {certificate.message}"
        return
    lower, upper = float(certificate.lower), float(certificate.upper)
    least = least_found(case, rng, starts)
    seen["descents that reach the optimum to 1e-4"] += least <= upper * (1 + 1e-4)
    if least < lower * (1 - ROUNDING):
        yield f"descent found {least!r}, which is below the certified {lower!r}"
    value = by_hand(case.x, case.y, case.slope, case.R)
    off = max(lower - value, value - upper, 0.0) / max(1.0, upper)
    if off > AGREE:
        yield f"by hand {value!r}, certified {lower!r} to {upper!r}"
    network = xu.global_network(problem, certificate)
    if (network.model.predict(network.theta, to_rational(case.x))[:, 0] != to_rational(case.y)).any():
        yield "the network of the certificate does not fit exactly"


def run(count: int, seed: int, starts: int = STARTS) -> Outcome:
    """`count` instances; a line names the index and the seed from which `instance` makes one again."""
    failures: list[str] = []
    seen: Counter[str] = Counter()
    for index in range(count):
        rng = np.random.default_rng([seed, index, 1])
        try:
            faults = list(_faults(instance(seed, index), rng, starts, seen))
        except Exception as error:  # whatever the package lets through
            faults = [f"{type(error).__name__}: {error!s:.200}"]
        failures += [f"instance({seed}, {index}): {fault}" for fault in faults]
    return Outcome(count, tuple(failures), (", ".join(f"{number} {what}" for what, number in sorted(seen.items())),))
