"""The convex problem of two-layer networks, proved to the last digit: families of samples, and what was reached.

Families are ordinary samples (one input and a bias; clouds of rank 2 and 3) and those that make programs degenerate:
outputs of smaller networks, exactly and in floats, integers, grids, samples that are repeated, opposite or 0, columns
that depend on each other, no outputs but 0.  The truth is checked from two sides: the checker verifies the bounds, and
the network that comes out interpolates in fractions, at a value between them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import rational
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.problem import UnlearningProblem

from .campaign import Outcome

TITLE = "two-layer networks: the exact problem is proved to 60 digits, for ordinary and for degenerate samples"
FULL = 780
QUICK = 11

PROVED, ROUNDED = Fraction(1, 10**60), Fraction(1, 10**9)
"""Relative gaps: of every proof, and where outputs are those of a smaller network but for rounding."""

SECONDS = 20.0, 5.0
"""Processor time for a proof, and for its check.  Looked at in larger runs only: no test takes the time."""

ACTIVATIONS = ("relu", "relu", "leaky_relu", "abs")


def run(count: int, seed: int) -> Outcome:
    """`count` instances; a line names the family, the index and the seed from which `instance` makes one again."""
    failures: list[str] = []
    told: dict[str, list[_Told]] = defaultdict(list)
    for index in range(count):
        family = list(FAMILIES)[index % len(FAMILIES)]
        name = f"instance({family!r}, {index // len(FAMILIES)}, {seed})"
        try:
            problem = instance(family, index // len(FAMILIES), seed)
            found, faults = _tried(problem, family)
            told[family].append(found)
        except Exception as error:  # whatever the package lets through
            faults = [f"{type(error).__name__}: {error!s:.200}"]
        if count > QUICK:
            pairs = zip(("proof", "check"), found.seconds, SECONDS, strict=True)
            faults += [f"the {what} took {spent:.1f} s" for what, spent, limit in pairs if spent > limit]
        failures += [f"{name}: {fault}" for fault in faults]
    return Outcome(count, tuple(failures), tuple(_notes(told)))


# ---------------------------------------------------------------- samples


def _line(rng: Any) -> tuple[Array, Array]:
    """One input and a bias, 4 to 12 samples, outputs at random or of a sine with a poisoned label."""
    n = int(rng.integers(4, 13))
    x = np.column_stack([np.sort(rng.uniform(-2, 2, n)), np.ones(n)])
    smooth = np.sin(2 * x[:, 0])
    smooth[n // 2] = 2.0
    return x, smooth if rng.random() < 0.5 else rng.standard_normal(n)


def _cloud(rng: Any) -> tuple[Array, Array]:
    """2 or 3 inputs, 3 to 8 samples."""
    n, m = int(rng.integers(3, 9)), int(rng.integers(2, 4))
    return rng.standard_normal((n, m)), rng.standard_normal(n)


def _eight(rng: Any) -> tuple[Array, Array]:
    """8 samples of rank 3: 58 patterns."""
    return np.column_stack([rng.uniform(-1, 1, (8, 2)), np.ones(8)]), rng.standard_normal(8)


def _integers(rng: Any) -> tuple[Array, Array]:
    n, m = int(rng.integers(2, 9)), int(rng.integers(2, 4))
    x = np.unique(rng.integers(-2, 3, (n, m)), axis=0).astype(float)
    return x, rng.integers(-2, 3, len(x)).astype(float)


def _grid(rng: Any) -> tuple[Array, Array]:
    n = int(rng.integers(3, 11))
    return np.column_stack([np.arange(n) - n // 2, np.ones(n)]).astype(float), rng.integers(-2, 3, n).astype(float)


def _repeated(rng: Any) -> tuple[Array, Array]:
    """The first sample twice, two opposite samples, and one that is 0."""
    n = int(rng.integers(2, 5))
    x, y = rng.standard_normal((n, 2)), rng.standard_normal(n)
    return np.vstack([x, x[:1], -x[:2], 0 * x[:1]]), np.concatenate([y, y[:1], y[:2], [0.0]])


def _deficient(rng: Any) -> tuple[Array, Array]:
    """Three columns of rank 2."""
    base = rng.integers(-8, 9, (int(rng.integers(3, 7)), 2)) / 4
    return np.column_stack([base, base @ [1, 2]]), rng.standard_normal(len(base)) * base.any(axis=1)


def _nothing(rng: Any) -> tuple[Array, Array]:
    """No outputs but 0, or one that is not; at times one sample only."""
    n = int(rng.integers(1, 5))
    return rng.standard_normal((n, 2)), (np.arange(n) == 0) * float(rng.integers(0, 2))


def _taught(rng: Any, exactly: bool) -> Callable[[Any], tuple[Array, Array]]:
    """Outputs of two neurons, for the activation at hand: without rounding, or rounded."""
    n = int(rng.integers(4, 11))
    if exactly:
        x, A, c = np.unique(rng.integers(-16, 17, n)) / 8, rng.integers(-4, 5, (2, 2)) / 4, rng.integers(-3, 4, 2)
    else:
        x, A, c = np.sort(rng.uniform(-2, 2, n)), rng.standard_normal((2, 2)), rng.standard_normal(2)
    samples = np.column_stack([x, np.ones(x.size)])
    if exactly:
        samples, A, c = to_rational(samples), to_rational(A), to_rational(c)
    return lambda phi: (samples, phi.value(samples @ A.T) @ c)


FAMILIES: dict[str, Callable[[Any], Any]] = {
    "line": _line,
    "cloud": _cloud,
    "integers": _integers,
    "grid": _grid,
    "repeated": _repeated,
    "deficient": _deficient,
    "nothing": _nothing,
    "taught": lambda rng: _taught(rng, exactly=True),
    "taught, rounded": lambda rng: _taught(rng, exactly=False),
    "path: line": _line,
    "path: integers": _integers,
    "eight": _eight,
    "path: eight": _eight,
}
"""Of samples; "path" is the path norm, whose program is linear.  (Rounded outputs are a known limit there:
docs/global_truth.md.)
"""


def instance(family: str, index: int, seed: int = 0) -> UnlearningProblem:
    """One problem."""
    rng = np.random.default_rng([seed, index, list(FAMILIES).index(family)])
    activation = str(rng.choice(ACTIVATIONS))
    made = FAMILIES[family](rng)
    probe = xu.Perceptron(2, 1, activation)
    x, y = made(probe.phi) if callable(made) else made
    model = xu.Perceptron(x.shape[1], len(x), activation)
    return xu.global_problem(model, x, y, regularizer="path" if family.startswith("path") else "squared")


# ---------------------------------------------------------------- what is asked of each


@dataclass(frozen=True)
class _Told:
    """proof: its level.  gap: relative.  seconds: of processor time, for the proof and for the check.  why: as told."""

    proof: str
    gap: Fraction
    seconds: tuple[float, float]
    why: str


def _tried(problem: UnlearningProblem, family: str) -> tuple[_Told, list[str]]:
    """What came of a problem, and what is wrong with that."""
    times = [time.process_time()]
    certificate = xu.certify(problem)
    times.append(time.process_time())
    verdict = certificate.check()
    times.append(time.process_time())
    gap = certificate.gap or Fraction(0)
    found = _Told(certificate.proof, gap, (times[1] - times[0], times[2] - times[1]), certificate.message)
    faults = []
    if not verdict.proved:
        faults.append(f"not proved: {verdict.sentences[0]:.100}")
    elif certificate.proof != "infeasible":
        faults += _network(problem, certificate)
    if family.startswith("path"):
        faults += [f"the gap of a linear program is {float(gap):.1e}"] * (gap != 0)
    elif gap > PROVED:
        excused = family == "taught, rounded" and gap <= ROUNDED and bool(certificate.message)
        faults += [f"the gap is {float(gap):.1e}: {certificate.message:.100}"] * (not excused)
    return found, faults


def _network(problem: UnlearningProblem, certificate: xu.Certificate) -> Iterator[str]:
    """The network interpolates, exactly, and its value lies between the bounds."""
    origin: Any = problem.origin
    network = xu.global_network(problem, certificate)
    x, y = to_rational(origin.x), to_rational(origin.y)
    weights = network.model.split(network.theta)
    outputs = rational.matmul(origin.phi.value(rational.matmul(x, weights["A"].T)), weights["c"].T)[:, 0]
    if any(outputs != y):
        yield "the network does not interpolate"
    if network.neurons > len(x):
        yield f"{network.neurons} neurons for {len(x)} samples"
    lower, upper = certificate.lower or Fraction(0), certificate.upper or Fraction(0)
    value = Fraction(network.value)
    if not lower * (1 - Fraction(1, 10**12)) <= value <= upper * (1 + Fraction(1, 10**12)):
        yield f"the network costs {network.value}, not from {float(lower)} to {float(upper)}"


def _notes(told: dict[str, list[_Told]]) -> Iterator[str]:
    for family, found in told.items():
        levels = Counter(one.proof for one in found)
        kept = sum(one.proof == "infeasible" or one.gap <= PROVED for one in found)
        slowest = [max(one.seconds[k] for one in found) for k in (0, 1)]
        worst = float(max(one.gap for one in found))
        text = ", ".join(f"{number} {level}" for level, number in sorted(levels.items()))
        yield f"{family}: {kept} of {len(found)} to 60 digits ({text}); worst gap {worst:.0e}"
        yield f"{family}: at most {slowest[0]:.1f} s to prove and {slowest[1]:.1f} s to check, of processor time"
        yield from (f"{family}: {number} times: {why}" for why, number in Counter(
            one.why for one in found if one.gap > PROVED).items())  # fmt: skip
