"""Two checkers that share nothing but a page: same exit status, same proof, same numbers, on forged files."""

from __future__ import annotations

from collections import Counter

from ._forge import KINDS, Forgery, forgery, javascript_answers, python_answer
from .campaign import Outcome

TITLE = "the Python and the JavaScript checker agree on forged and damaged certificates and problems"
FULL = 10_000 * len(KINDS)
QUICK = 60 * len(KINDS)
BATCH = 2_000


def compared(jobs: list[Forgery]) -> tuple[list[str], Counter[str]]:
    """Where the two differ, and how often what was answered."""
    failures, counts = [], Counter[str]()
    for job, second in zip(jobs, javascript_answers(jobs), strict=True):
        first = python_answer(job)
        counts[f"status {first.status}"] += 1
        if first.differs(second):
            failures.append(f"_forge.forgery({_arguments(job)}): Python {first!r}; JavaScript {second!r}"[:1500])
    return failures, counts


def _arguments(job: Forgery) -> str:
    kind, seed = job.name.rsplit(" ", 1)
    return f"{kind!r}, {seed!r}, True"


def run(count: int, seed: int) -> Outcome:
    """`count` forgeries, equally many of every kind."""
    jobs = [(KINDS[i % len(KINDS)], f"{seed}.{i // len(KINDS)}") for i in range(count)]
    failures: list[str] = []
    counts = Counter[str]()
    for at in range(0, count, BATCH):
        found, more = compared([forgery(kind, name, True) for kind, name in jobs[at : at + BATCH]])
        failures += found
        counts += more
    return Outcome(count, tuple(failures), (", ".join(f"{name}: {n}" for name, n in sorted(counts.items())),))
