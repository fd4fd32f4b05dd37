"""Forged local certificates are refused, or what the checker says of them is true, by another arithmetic."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from exact_unlearn.local import checker

from ._local_bombs import BOMBS
from ._local_forge import CASES, forgery, original
from ._local_truth import lie
from .campaign import Outcome

TITLE = "forged local certificates are refused, or say something true; costly ones end within ten seconds"
FULL = 10_000
QUICK = 200
SECONDS = 10


def judged(content: bytes, seed: str) -> tuple[str, str]:
    """What the checker says ("local" or "none"), and what of it is not so."""
    try:
        tree = checker.parse(content)
    except checker.Rejected:
        return "none", ""
    found = checker.check(tree)
    if found.proof == "none":
        wrong = "" if len(found.sentences) == 1 and found.sentences[0].startswith("not proved: ") else "no sentence"
        return "none", wrong
    if found.proved or found.lower is None:
        return "local", "it is called proved"
    return "local", lie(tree, found, np.random.default_rng(random.Random(seed).randrange(1 << 32)))


def busy(name: str, folder: Path) -> tuple[str, float]:
    """A costly file to the checker as a process of its own: what went wrong, and the time."""
    content = BOMBS[name]()
    path = folder / "local.json"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-I", "-S", str(checker.__file__), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_limited)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    if seconds > SECONDS:
        return f"{name}, {len(content)} bytes: busy for {seconds:.1f} s", seconds
    if run.returncode != 1 or len(run.stdout.strip().splitlines()) != 1:
        return f"{name}: status {run.returncode}: {(run.stdout + run.stderr)[:300]}", seconds
    return "", seconds


def _limited() -> None:
    """Three times as long as is allowed."""
    resource.setrlimit(resource.RLIMIT_CPU, (3 * SECONDS, 3 * SECONDS))


def run(count: int, seed: int) -> Outcome:
    """`count` random forgeries; the costly files in proportion; and that the originals are true."""
    failures = [f"original {name}: {wrong}" for name in CASES if (wrong := judged_original(name))]
    answers = Counter[str]()
    for i in range(count):
        done, content = forgery(f"{seed}.{i}")
        proof, wrong = judged(content, f"{seed}.{i}")
        answers[proof] += 1
        if wrong:
            failures.append(f"_local_forge.forgery('{seed}.{i}'): {done}: {wrong}")
    slowest = Counter[str]()
    names = sorted(BOMBS)[:: max(1, round(FULL / count))]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            wrong, seconds = busy(name, Path(folder))
            failures += [wrong] * bool(wrong)
            slowest[name] = round(1000 * seconds)
    worst = ", ".join(f"{name} {ms / 1000:.1f} s" for name, ms in slowest.most_common(2))
    notes = (
        f"{answers['none']} refused, {answers['local']} accepted and true of what they are about",
        f"{len(names)} costly files of at most 1 MB; the longest: {worst}",
    )
    return Outcome(count + len(names), tuple(failures), notes)


def judged_original(name: str) -> str:
    """What is not so about a certificate as it was made."""
    proof, wrong = judged(json.dumps(original(name)).encode(), name)
    return wrong or "refused" * (proof == "none")
