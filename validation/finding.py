"""What a verification says: claims that can be measured, and findings.

A *claim* is one sentence with its assumptions and a way to put it to the test: `measure(rng, case)` builds one random
instance, obtains what the claim predicts and what is true by two routes that do not share the formula under test, and
returns both with their deviation.  A *finding* is a claim after many instances.

A deviation is 0 exactly if the two sides agree in exact arithmetic.  A claim with tolerance 0 is verified, not
approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

Number = Any
"""A float, an integer or a Fraction: bounds and measurements of either kind are compared exactly."""
Kind = Literal["claim", "assumption", "degenerate", "ours"]
Verdict = Literal["confirmed", "contradicted", "not measured"]

VERDICTS: tuple[Verdict, ...] = ("confirmed", "not measured", "contradicted")
"""From good to bad."""

KINDS: dict[Kind, str] = {
    "claim": "claim of the paper",
    "assumption": "an assumption broken: the conclusion must fail",
    "degenerate": "degenerate data",
    "ours": "ours, beyond the paper",
}

PROOFS = ("exact", "enclosure", "repaired", "none")
"""From best to worst: equality over the rationals; a rigorous interval; a rigorous but loose bound; floats compared."""


@dataclass(frozen=True)
class Measurement:
    """One instance: what was predicted, what was measured, how far they are apart.

    deviation >= 0, and at most `tolerance` (the rounding of the route in floats; 0 for exact routes) if the claim
    holds. predicted, measured: the figures shown for the worst instance. series: numbers that a figure wants to show.
    """

    predicted: float
    measured: float
    deviation: float
    proof: str
    tolerance: float = 0.0
    series: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.proof not in PROOFS:
            raise ValueError(f"proof: expected one of {', '.join(PROOFS)}, got {self.proof!r}")
        if not self.deviation >= 0:
            raise ValueError(f"deviation: expected a number >= 0, got {self.deviation!r}")

    @property
    def holds(self) -> bool:
        """Whether this instance agrees with the claim."""
        return self.deviation <= self.tolerance

    @property
    def badness(self) -> tuple[bool, float]:
        """The order of instances from good to bad: first those that agree, then by deviation."""
        return not self.holds, self.deviation

    @property
    def interest(self) -> tuple[bool, float, bool]:
        """The order of instances to show: the worst, and of equally good ones not one where everything is 0."""
        return *self.badness, bool(self.predicted or self.measured)


Measure = Callable[[np.random.Generator, Any], Measurement]


@dataclass(frozen=True)
class Claim:
    """One sentence that can be measured.

    key: short name, unique within its result, used in file names.  statement: plain text with $formulas$.  quantity:
    what the numbers `predicted` and `measured` are.
    cases: parameters handed to `measure`, one after the other; quick, full: instances per case in either run.
    """

    key: str
    statement: str
    measure: Measure
    quantity: str
    kind: Kind = "claim"
    assumptions: tuple[str, ...] = ()
    cases: tuple[Any, ...] = (None,)
    quick: int = 3
    full: int = 100


@dataclass(frozen=True)
class Result:
    """A result of the paper, or our section: its statement, and the claims that put it to the test.

    name: as in docs/theory.md ("Theorem 3", "D.4.1").  statement, tried, caption: a paragraph each, with $formulas$.
    figure: the name of a function of validation.figures.
    """

    name: str
    title: str
    statement: str
    tried: str
    claims: tuple[Claim, ...]
    figure: str
    caption: str

    @property
    def slug(self) -> str:
        """The name as it is written in files and on the command line: "theorem-3"."""
        return slug(self.name)


@dataclass(frozen=True)
class Finding:
    """A claim after all its instances. predicted, measured, deviation and proof are those of the worst instance that
    was measured (proof: the weakest of all; nan if there is none).

    instances: how many were measured.  unmeasured: how many could not be, message: why.  One that was measured and
    disagrees contradicts the claim; otherwise one that was not measured leaves it open.
    """

    result: str
    key: str
    kind: Kind
    statement: str
    quantity: str
    assumptions: tuple[str, ...]
    verdict: Verdict
    predicted: float
    measured: float
    deviation: float
    tolerance: float
    proof: str
    instances: int
    unmeasured: int = 0
    message: str = ""
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON; an infinite or undefined number becomes null, since JSON has none."""
        numbers = {name: _finite(getattr(self, name)) for name in ("predicted", "measured", "deviation", "tolerance")}
        return {
            "result": self.result,
            "claim": self.statement,
            "verdict": self.verdict,
            "predicted": numbers["predicted"],
            "measured": numbers["measured"],
            "deviation": numbers["deviation"],
            "proof": self.proof,
            "instances": self.instances,
            "unmeasured": self.unmeasured,
            "key": self.key,
            "kind": self.kind,
            "quantity": self.quantity,
            "assumptions": list(self.assumptions),
            "tolerance": numbers["tolerance"],
            "message": self.message,
        }


def slug(name: str) -> str:
    """Letters and digits of a name, lower case, runs of anything else as one hyphen: "D.4.1" -> "d-4-1"."""
    words = "".join(character if character.isalnum() else " " for character in name.lower()).split()
    return "-".join(words)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- measuring


def difference(a: Any, b: Any) -> float:
    """max |a - b| over arrays or numbers, relative to max(|a|, |b|) for floats; exact for Fractions, where only
    equality gives 0 (a tiny difference never underflows to it).
    """
    left, right = np.asarray(a, dtype=object).reshape(-1), np.asarray(b, dtype=object).reshape(-1)
    if left.size != right.size:
        return math.inf
    gaps = [abs(x - y) for x, y in zip(left.tolist(), right.tolist(), strict=True)]
    size = max((abs(v) for v in (*left.tolist(), *right.tolist())), default=0)
    gap = max(gaps, default=0)
    if gap == 0:
        return 0.0
    if gap != gap or size == math.inf:
        return math.inf
    return max(as_float(gap / size), 5e-324)


def as_float(value: Number) -> float:
    """The nearest float; infinite if there is none."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def equal(predicted: Any, measured: Any, shown: tuple[Number, Number] | None = None, **series: float) -> Measurement:
    """A measurement of an equality in exact arithmetic.

    shown: the two figures to report (default: the entries themselves if they are single numbers, else their largest).
    """
    pair = shown or (_largest(predicted), _largest(measured))
    return Measurement(as_float(pair[0]), as_float(pair[1]), difference(predicted, measured), "exact", 0.0, series)


def close(
    predicted: Any,
    measured: Any,
    tolerance: float,
    proof: str = "none",
    shown: tuple[Number, Number] | None = None,
    **series: float,
) -> Measurement:
    """A measurement of an equality up to a relative `tolerance`."""
    pair = shown or (_largest(predicted), _largest(measured))
    return Measurement(as_float(pair[0]), as_float(pair[1]), difference(predicted, measured), proof, tolerance, series)


def at_most(
    bound: Number, measured: Number, tolerance: float = 0.0, proof: str = "exact", **series: float
) -> Measurement:
    """A measurement of measured <= bound; the deviation is the relative excess."""
    excess = max(measured - bound, 0)
    size = max(abs(bound), abs(measured))
    deviation = max(as_float(excess / size), 5e-324) if excess else 0.0
    return Measurement(as_float(bound), as_float(measured), deviation, proof, tolerance, series)


def at_least(
    bound: Number, measured: Number, tolerance: float = 0.0, proof: str = "exact", **series: float
) -> Measurement:
    """A measurement of measured >= bound; the deviation is the relative shortfall."""
    shortfall = max(bound - measured, 0)
    size = max(abs(bound), abs(measured))
    deviation = max(as_float(shortfall / size), 5e-324) if shortfall else 0.0
    return Measurement(as_float(bound), as_float(measured), deviation, proof, tolerance, series)


def below(bound: Number, measured: Number, margin: float = 0.0, proof: str = "exact", **series: float) -> Measurement:
    """A measurement of measured < bound, by more than `margin`, relatively: what happens when an assumption is missing,
    where the statement says to which side.

    The deviation is 0 if so, and says how much is missing if not.
    """
    shortfall, size = bound - measured, max(abs(bound), abs(measured))
    gap = as_float(shortfall / size) if shortfall > 0 else 0.0
    gap = max(gap, 5e-324) if shortfall > 0 else gap
    missing = 0.0 if gap > margin else 1.0 - gap / margin if margin else 1.0
    return Measurement(as_float(bound), as_float(measured), missing, proof, 0.0, series)


def above(bound: Number, measured: Number, margin: float = 0.0, proof: str = "exact", **series: float) -> Measurement:
    """A measurement of measured > bound, by more than `margin`, relatively."""
    mirrored = below(-bound, -measured, margin, proof, **series)
    return replace(mirrored, predicted=as_float(bound), measured=as_float(measured))


def negligible(value: float, scale: float, tolerance: float, proof: str = "none", **series: float) -> Measurement:
    """A measurement of "this float is rounding": |value| / scale is at most `tolerance`; 0/0 = 0."""
    size = abs(float(value))
    return Measurement(
        0.0, size, size / scale if size and scale else 0.0 if not size else math.inf, proof, tolerance, series
    )


def differ(claimed: Number, truth: Number, margin: float = 0.0, proof: str = "exact", **series: float) -> Measurement:
    """A measurement of a conclusion that fails: what it would say, and what is true, differ by more than `margin`,
    relatively.

    The deviation is 0 if they do, and says how much is missing if they do not.
    """
    gap = difference(claimed, truth)
    missing = 0.0 if gap > margin else 1.0 - gap / margin if margin else 1.0
    return Measurement(as_float(claimed), as_float(truth), missing, proof, 0.0, series)


def worst_of(measurements: Iterable[Measurement]) -> Measurement:
    """One measurement for several statements about one instance: the worst deviation, the weakest proof.

    It shows the figures of the first statement, or of the worst one if that does not hold.
    """
    several = list(measurements)
    worst = max(several, key=lambda m: m.badness)
    shown = several[0] if worst.holds else worst
    weakest = max((m.proof for m in several), key=PROOFS.index)
    series = {name: value for m in several for name, value in m.series.items()}
    return Measurement(shown.predicted, shown.measured, worst.deviation, weakest, worst.tolerance, series)


def _largest(values: Any) -> Number:
    entries = np.asarray(values, dtype=object).reshape(-1).tolist()
    number: Number = max(entries, key=abs, default=0)
    return number
