"""No forged certificate of a concave problem proves anything false to either checker, and no descent is below one.

What is accepted must be true of all vertices, which another elimination and another arithmetic know: the least value
lies within the bounds, a minimiser that is called unique is the only one, and where nothing fits there is none.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction as Q

import numpy as np
from mpmath import mp, mpf

from exact_unlearn.certify import checker

from . import _vertices
from ._forge import Answer, Forgery, changed, forge, judged_by_both
from .campaign import Outcome

TITLE = "forged certificates of concave problems prove nothing false, to either checker; no descent ends below a bound"
FULL = 5_000
BATCH, ALIKE, DEPTHS = 1_000, 20, (3, 4, 5, 8)
ROUNDING = 1e-7


@dataclass(frozen=True)
class Job:
    """Two texts, what is known about their problem, and whether it may be accepted at all."""

    forgery: Forgery
    known: _vertices.Known
    usable: bool


def job(seed: str) -> Job:
    """The forgery of this seed, "0.17" being the 17th of the run 0; neighbours are about the same samples."""
    rng, (run, index) = random.Random(f"vertices {seed}"), map(int, seed.split("."))
    number, depth = (run + index // ALIKE) % _vertices.CASES, rng.choice(DEPTHS)
    known, other = (_vertices.known(number, each) for each in (depth, rng.choice(DEPTHS)))
    problem, certificate, usable = _vertices.forged(known, other, rng)
    if rng.random() < 0.2:
        forge(certificate, rng)
    changed(certificate, rng, rng.choice((0, 0, 1)))
    first, second = (json.dumps(each).replace("\\u0001", "") for each in (problem, certificate))
    return Job(Forgery(f"vertices {seed}", first, second, None, None), known, usable)


def lie(job: Job, answer: Answer) -> str:
    """What is accepted and not so; "" if it is all true."""
    if answer.status != 0:
        return ""
    known, found = job.known, answer.numbers
    if not job.usable:
        return "the problem is not that of its origin"
    if answer.proof == "infeasible":
        return "there are networks that fit" if known.vertices else ""
    if known.least is None:
        return "there is no network that fits"
    with mp.workdps(_vertices.DIGITS):
        low, high = (mpf(found[key].numerator) / found[key].denominator for key in ("lower", "upper"))
        width = known.least * mpf(10) ** -60
        if low > known.least + width or high < known.least - width:
            return "the optimum lies outside the bounds"
        if answer.proof == "exact" and high - low > width:
            return "it is not exact"
    if answer.unique and len(known.best) > 1:
        return "there are several minimisers"
    if "distance" in found and max(_distances(job)) > found["distance"] ** 2:
        return "a minimiser is farther away"
    return ""


def _distances(job: Job) -> list[Q]:
    """Squares, from the point of the certificate to every minimiser."""
    proof = checker.Proof(checker.Problem(job.known.problem), json.loads(job.forgery.certificate))
    proof.place()
    theta = [Q(n, proof.theta.den) for n in proof.theta.nums]
    return [sum(((u - v) ** 2 for u, v in zip(theta, w, strict=True)), Q(0)) for w in job.known.best]


def _below(number: int, depth: int, seed: int, reached: Counter[str]) -> str:
    """A descent that ends below the certified bound."""
    known = _vertices.known(number, depth)
    cost = _vertices.descended(number, depth, np.random.default_rng([seed, number, depth]))
    if cost is None:
        return ""
    reached["descents that fit"] += 1
    lower = float(checker.number(known.certificate["claims"]["lower"])) if known.best else float("inf")
    reached["that end at the optimum"] += cost <= lower * (1 + 1e-6)
    below = cost < lower * (1 - ROUNDING)
    return f"_vertices.descended({number}, {depth}): {cost!r} is below the certified {lower!r}" if below else ""


def run(count: int, seed: int) -> Outcome:
    """`count` forgeries, each judged by both checkers, which must agree; and a descent for every tenth."""
    failures: list[str] = []
    counts: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    for at in range(0, count, BATCH):
        names = [f"{seed}.{i}" for i in range(at, min(at + BATCH, count))]
        failures += judged_by_both({f"job({name!r})": job(name) for name in names}, lie, counts)
    for i in range(0, count, 10):
        told = _below((seed + i // 10) % _vertices.CASES, DEPTHS[i // 10 % len(DEPTHS)], seed + i, reached)
        failures += [told] * bool(told)
    notes = (", ".join(f"{name}: {n}" for name, n in sorted(c.items())) for c in (counts, reached))
    return Outcome(count, tuple(failures), tuple(notes))
