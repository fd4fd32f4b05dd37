"""All benches by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from exact_unlearn.errors import ProblemError

from . import harness
from .harness import Bench

NAMES = ("small", "certificates", "norms", "network", "step", "distributed", "projection")


def every() -> dict[str, Bench]:
    """The benches whose module is there."""
    known = [name for name in NAMES if find_spec(f"{harness.PACKAGE}.bench_{name}") is not None]
    found = {name: getattr(harness.load(name), "BENCH", None) for name in known}
    return {name: bench for name, bench in found.items() if bench is not None}


def select(names: Sequence[str]) -> list[Bench]:
    """Those asked for, all of them by default; ProblemError names an unknown one."""
    known = every()
    for name in names:
        if name not in known:
            raise ProblemError(f"bench: expected one of {', '.join(known)}, got {name!r}")
    return [known[name] for name in (names or known)]


def cases(bench: Bench, words: Sequence[str] | None, full: bool) -> list[str]:
    """The cases to run: those that contain a word, else all or the quick ones."""
    if words:
        return [case for case in bench.cases if any(word in case for word in words)]
    return list(bench.cases) if full or not bench.quick else list(bench.quick)


def narrowed(bench: Bench, words: Sequence[str] | None, limit: float | None) -> Bench:
    """The bench with ours and the sides that contain a word, each stopped after `limit` seconds of processor time."""
    sides = [s for s in bench.sides if not words or s.name == bench.ours or any(word in s.name for word in words)]
    return replace(bench, sides=tuple(s if limit is None else replace(s, limit=limit) for s in sides))


def on_device(benches: Sequence[Bench], device: str, chosen: bool) -> list[Bench]:
    """The benches that run on `device`; ProblemError where there is none, or a chosen one does not run there."""
    if device == "cpu":
        return list(benches)
    import torch

    if not torch.cuda.is_available():
        raise ProblemError("--device cuda: torch finds no CUDA device on this machine")
    able = [bench for bench in benches if bench.cuda]
    if chosen and len(able) < len(benches):
        names = ", ".join(bench.name for bench in benches if not bench.cuda)
        raise ProblemError(f"--device cuda: {names} compares on the CPU only")
    return able


def described(bench: Bench) -> str:
    """Title, cases and sides, with what is missing."""
    lines = [f"{bench.name}: {bench.title}{' (also with --device cuda)' if bench.cuda else ''}"]
    lines += [f"  case  {case}{'  (quick)' if case in bench.quick else ''}" for case in bench.cases]
    for side in bench.sides:
        lines.append(f"  side  {side.name}{'  not installed: ' + ', '.join(side.missing) if side.missing else ''}")
    return "\n".join(lines)
