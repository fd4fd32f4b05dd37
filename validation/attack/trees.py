"""No forged tree of sign patterns proves anything false about a network, to either checker.

What is accepted must be true of the exact problem of the network: no pattern of a cell is missing, the optimum lies
within the bounds, and as many neurons are enough as are said to be.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction as Q
from typing import Any

from exact_unlearn.certify import checker

from . import _trees
from ._forge import Answer, Forgery, changed, forge, judged_by_both
from .campaign import Outcome

TITLE = "forged trees of sign patterns, multipliers and points prove nothing false about a network, to either checker"
FULL = 5_000
BATCH, ALIKE = 1_000, 30


@dataclass(frozen=True)
class Job:
    """Two texts, and what is known about the network that they are about."""

    forgery: Forgery
    known: _trees.Known


def job(seed: str) -> Job:
    """The forgery of this seed, "0.17" being the 17th of the run 0; neighbours are about the same samples."""
    rng, (run, index) = random.Random(f"trees {seed}"), map(int, seed.split("."))
    number, R = (run + index // ALIKE) % _trees.CASES, rng.choice(("squared", "path"))
    known = _trees.known(number, R)
    problem, certificate = copy.deepcopy(known.problem), copy.deepcopy(known.certificate)
    kind, n = rng.randrange(8), problem["origin"]["x"]["shape"][0]
    if kind < 4:
        certificate["tree"] = _trees.forged_tree(certificate["tree"], rng, n)
    elif kind < 6:
        found = _trees.forgotten(number, R, rng.randrange(3) if R == "path" else 0)
        if found is not None:
            problem, certificate, place = copy.deepcopy(found)
            if rng.random() < 0.8:
                certificate["tree"][place] = _trees.made_up(rng, n)
            else:
                certificate["tree"] = _trees.forged_tree(certificate["tree"], rng, n)
            certificate["claims"] = {"proof": "repaired" if certificate["kind"] == "bounds" else "infeasible"}
    elif kind == 6:
        forge(certificate, rng)
    changed(certificate, rng, rng.choice((0, 0, 0, 1)) if kind < 6 else 1)
    if rng.random() < 0.4 and isinstance(certificate.get("claims"), dict):
        certificate["claims"]["neurons"] = rng.randint(0, 4)
    return Job(Forgery(f"trees {seed}", json.dumps(problem), _written(certificate), None, None), known)


def _written(tree: Any) -> str:
    """JSON; the texts that JSON cannot hold are another campaign's."""
    return json.dumps(tree).replace("\\u0001", "")


def lie(job: Job, answer: Answer) -> str:
    """What is accepted and not so; "" if it is all true."""
    if answer.status != 0:
        return ""
    known, certificate = job.known, json.loads(job.forgery.certificate)
    origin = checker.parse(job.forgery.problem.encode())["origin"]
    live = sorted({i for signs in known.patterns for i, s in enumerate(signs) if s})
    said = _trees.leaves(certificate["tree"], live, origin["slope"] == "-1")
    missing = [s for s in known.patterns if tuple((i, v) for i, v in enumerate(s) if v) not in said]
    if missing:
        return f"the pattern {missing[0]} is missing"
    if answer.proof == "infeasible":
        return "" if known.low is None else "there are networks that fit"
    if known.low is None or known.high is None:
        return "there is no network that fits"
    if answer.numbers["lower"] > known.high or answer.numbers["upper"] < known.low:
        return "the optimum lies outside the bounds"
    if answer.numbers["neurons"] < min(_blocks(job, certificate), known.live):
        return "more neurons are needed"
    return ""


def _blocks(job: Job, certificate: Any) -> int:
    """Blocks that are not 0 at the point of a certificate, which lists what is not."""
    m = json.loads(job.forgery.problem)["origin"]["x"]["shape"][1]
    listed: set[int] = set()
    for part in certificate["primal"]["parts"]:
        places = part.get("indices", range(len(part["nums"])))
        listed |= {j // m for j, text in zip(places, part["nums"], strict=True) if Q(int(text, 16))}
    return len(listed)


def run(count: int, seed: int) -> Outcome:
    """`count` forgeries, each judged by both checkers, which must agree."""
    failures: list[str] = []
    counts: Counter[str] = Counter()
    for at in range(0, count, BATCH):
        names = [f"{seed}.{i}" for i in range(at, min(at + BATCH, count))]
        failures += judged_by_both({f"job({name!r})": job(name) for name in names}, lie, counts)
    return Outcome(count, tuple(failures), (", ".join(f"{name}: {n}" for name, n in sorted(counts.items())),))
