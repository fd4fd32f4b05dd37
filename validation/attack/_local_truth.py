"""What is true of the statement of a local certificate, by arithmetic that shares no line with its checker.

Outputs and gradients are written with mpmath, by reverse differentiation; only the direction of Newton's steps comes
from floats, which decides how fast, not where, they end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction as Q
from typing import Any

import mpmath
import numpy as np

import exact_unlearn as xu
from exact_unlearn.local.descent import system

PREC = 600

PHI: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (mpmath.tanh, lambda s: mpmath.sech(s) ** 2),
    "sigmoid": (lambda s: 1 / (1 + mpmath.exp(-s)), lambda s: 1 / (2 + mpmath.exp(s) + mpmath.exp(-s))),
    "softplus": (lambda s: mpmath.log(1 + mpmath.exp(s)), lambda s: 1 / (1 + mpmath.exp(-s))),
    "silu": (
        lambda s: s / (1 + mpmath.exp(-s)),
        lambda s: 1 / (1 + mpmath.exp(-s)) + s / (2 + mpmath.exp(s) + mpmath.exp(-s)),
    ),
    "gelu": (lambda s: s * mpmath.ncdf(s), lambda s: mpmath.ncdf(s) + s * mpmath.npdf(s)),
    "erf": (mpmath.erf, lambda s: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-s * s)),
    "sin": (mpmath.sin, mpmath.cos),
    "square": (lambda s: s * s, lambda s: 2 * s),
    "identity": (lambda s: s, lambda s: mpmath.mpf(1)),
}


def real(x: Q) -> Any:
    """A fraction in mpmath's precision."""
    return mpmath.mpf(x.numerator) / x.denominator


def rationals(texts: Sequence[str]) -> list[Q]:
    """Of "-1f/8"."""
    parts = (text.split("/") for text in texts)
    return [Q(int(above, 16), int(below[0], 16) if below else 1) for above, *below in parts]


@dataclass(frozen=True)
class Statement:
    """Network, data, centre, and the point of a file."""

    network: xu.SmoothNetwork
    x: list[list[Q]]
    y: list[Q]
    centre: list[Q]
    theta: list[Q]
    nu: list[Q]

    @staticmethod
    def of(tree: Any) -> Statement:
        """Read in another way than the checker does."""
        layers = tree["network"]["layers"]
        network = xu.SmoothNetwork(
            (tree["network"]["inputs"], *(layer["width"] for layer in layers)),
            tuple(layer["activation"] for layer in layers[:-1]),
            tuple(layer["bias"] for layer in layers),
            layers[-1]["activation"],
        )
        flat, m = rationals(tree["x"]["data"]), network.n_inputs
        scale = 1 << tree["bits"]
        theta, nu = ([Q(int(text, 16), scale) for text in tree[name]] for name in ("theta", "nu"))
        x = [flat[i * m : (i + 1) * m] for i in range(tree["x"]["shape"][0])]
        return Statement(network, x, rationals(tree["y"]["data"]), rationals(tree["centre"]), theta, nu)

    def equations(self, z: list[Any]) -> list[Any]:
        """theta - centre - J^T nu and f - y, in mpmath."""
        d, network = len(self.theta), self.network
        theta, nu = z[:d], z[d:]
        gradient, missed = [t - real(c) for t, c in zip(theta, self.centre, strict=True)], []
        for i, sample in enumerate(self.x):
            h, kept, start = [real(v) for v in sample], [], 0
            for width, bias, phi in zip(network.widths[1:], network.bias, network.phis, strict=True):
                seen = [*h, mpmath.mpf(1)] if bias else h
                rows = [theta[start + j * len(seen) : start + (j + 1) * len(seen)] for j in range(width)]
                s = [mpmath.fdot(row, seen) for row in rows]
                kept.append((start, seen, rows, [PHI[phi][1](v) for v in s], bias))
                h, start = [PHI[phi][0](v) for v in s], start + width * len(seen)
            labels = self.y[i * network.n_outputs : (i + 1) * network.n_outputs]
            missed += [a - real(b) for a, b in zip(h, labels, strict=True)]
            seed = nu[i * network.n_outputs : (i + 1) * network.n_outputs]
            for start, seen, rows, slopes, bias in reversed(kept):
                mu = [a * b for a, b in zip(seed, slopes, strict=True)]
                for j, each in enumerate(mu):
                    for c, value in enumerate(seen):
                        gradient[start + j * len(seen) + c] -= each * value
                seed = [mpmath.fdot(mu, [row[c] for row in rows]) for c in range(len(seen) - bias)]
        return gradient + missed

    def floats(self) -> tuple[Any, ...]:
        """x, y, centre, theta, nu."""
        x = np.array([[float(v) for v in row] for row in self.x]).reshape(len(self.x), self.network.n_inputs)
        return (x, *(np.array([float(v) for v in part]) for part in (self.y, self.centre, self.theta, self.nu)))

    def derivative(self, theta: Any, nu: Any) -> Any:
        """The derivative of `equations` in floats."""
        x, y, centre, _, _ = self.floats()
        K, _, _ = system(self.network, x, y, theta, nu, centre)
        K[len(theta) :] *= -1
        return K

    def solved(self) -> list[Any] | None:
        """The KKT pair that Newton's steps from the point lead to, to all digits; None if they lead nowhere."""
        _, _, _, theta, nu = self.floats()
        inverse = np.linalg.inv(self.derivative(theta, nu))
        with mpmath.workprec(PREC):
            z = [real(v) for v in (*self.theta, *self.nu)]
            for _ in range(60):
                F = self.equations(z)
                size = max(map(abs, F))
                if size < mpmath.mpf(2) ** (60 - PREC):
                    return z
                if size > 1e6:
                    return None
                scale = mpmath.mpf(2) ** math.floor(mpmath.log(size, 2))
                step = inverse @ np.array([float(v / scale) for v in F])
                z = [a - scale * mpmath.mpf(float(b)) for a, b in zip(z, step, strict=True)]
        return None


def lie(tree: Any, found: Any, rng: np.random.Generator) -> str:
    """What a checker says of a file and is not so; "" if all of it is true."""
    statement = Statement.of(tree)
    z, d = statement.solved(), len(statement.theta)
    if z is None:
        return "there is no KKT point nearby"
    with mpmath.workprec(PREC):
        away = [a - real(b) for a, b in zip(z, (*statement.theta, *statement.nu), strict=True)]
        far, far_nu = mpmath.norm(away[:d]), mpmath.norm(away[d:]) if d < len(z) else 0
        value = sum(((a - real(c)) ** 2 for a, c in zip(z, statement.centre, strict=False)), mpmath.mpf(0)) / 2
        slack = mpmath.mpf(2) ** (120 - PREC)
        if far > real(found.distance) + slack or found.distance > found.radius:
            return "the KKT point is farther away"
        if far_nu > real(found.nu_radius):
            return "the multipliers are farther away"
        if not real(found.lower) - slack <= value <= real(found.upper) + slack:
            return "the value lies outside the bounds"
    theta, nu = np.array([float(v) for v in z[:d]]), np.array([float(v) for v in z[d:]])
    return _minimum(statement, theta, nu, found, rng) or _another(statement, theta, nu, found, rng)


def _minimum(statement: Statement, theta: Any, nu: Any, found: Any, rng: np.random.Generator) -> str:
    """What is wrong about the minimum."""
    K = statement.derivative(theta, nu)
    H, J = K[: len(theta), : len(theta)], K[len(theta) :, : len(theta)]
    Z = np.linalg.svd(J)[2][len(nu) :].T if len(nu) else np.eye(len(theta))
    bends = np.linalg.eigvalsh(Z.T @ H @ Z) if Z.shape[1] else np.array([np.inf])
    if found.minimum is True and not 0 < float(found.growth) <= bends[0] + 1e-9:
        return "it is no minimum, or values grow less"
    if found.minimum is False and bends[0] >= 0:
        return "it is a minimum"
    if found.minimum is not True or not Z.shape[1]:
        return ""
    x, y, centre, _, _ = statement.floats()
    r, value = float(found.radius), 0.5 * float((theta - centre) @ (theta - centre))
    for _ in range(2):  # networks that fit, within the radius
        step = Z @ rng.normal(size=Z.shape[1])
        near = theta + 0.9 * r * step / np.linalg.norm(step)
        for _ in range(5):
            missed = statement.network.predict(near, x).reshape(-1) - y
            near = near - np.linalg.pinv(statement.network.jacobian(near, x).matrix) @ missed
        gap = np.linalg.norm(near - theta)
        if gap <= r and 0.5 * (near - centre) @ (near - centre) < value + 0.49 * float(found.growth) * gap**2 - 1e-11:
            return "a network that fits, within the radius, is smaller"
    return ""


def _another(statement: Statement, theta: Any, nu: Any, found: Any, rng: np.random.Generator) -> str:
    """Whether Newton's method, from elsewhere in the ball, finds another KKT pair in it."""
    x, y, centre, _, _ = statement.floats()
    r, s, d = float(found.radius), float(found.nu_radius), len(theta)
    for _ in range(2):
        u, v = rng.normal(size=d), rng.normal(size=len(nu))
        t, n = theta + 0.9 * r * u / np.linalg.norm(u), nu + 0.9 * s * v / max(float(np.linalg.norm(v)), 1e-300)
        for _ in range(12):
            K, g, missed = system(statement.network, x, y, t, n, centre)
            try:
                step = np.linalg.solve(K, np.concatenate([-g, missed]))
            except np.linalg.LinAlgError:
                break
            t, n = t + step[:d], n + step[d:]
        else:
            size = np.linalg.norm(t - theta)
            if 1e-6 * r + 1e-9 < size < 0.99 * r and np.linalg.norm(n - nu) < 0.99 * s and np.linalg.norm(step) < 1e-10:
                return "there is another KKT pair in the ball"
    return ""
