"""The runtime of one epoch (Table 3), as ratios to gradient descent: `exact-unlearn experiment runtime`.

Every method makes one epoch on random images: as many forget batches as `batches`, each paired with a retain batch,
and for MinNorm-OG 50 samples x 2 heads = 100 rows of J that are really formed.  The paper's 1.16 for MinNorm-OG has
none: with 200 classes its released code takes 50 // (classes in the batch, about 184) = 0 samples per class.

Methods take turns, `rounds` times after one round that is not counted, and medians are compared, so that a busy machine
slows all of them alike.  Peak memory comes from a process per method on the CPU, and from torch's own count on a GPU.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from exact_unlearn import codec, report
from exact_unlearn.algorithms import unlearn
from exact_unlearn.algorithms.buffers import Buffers
from exact_unlearn.errors import NotMeasuredError, ProblemError

from .images_grid import kinks_expected
from .images_networks import NETWORKS, network
from .images_rows import METHODS, NAMES
from .poisoning_tables import markdown

PUBLISHED_SECONDS = {
    "retrain": 0.90,
    "minnorm-og": 0.78,
    "gd": 0.67,
    "ga": 0.68,
    "neggrad+": 0.74,
    "ngd": 0.69,
    "ridge": 0.68,
    "l1-sparse": 0.69,
    "scrub": 0.96,
    "npo": 0.94,
    "salun": 1.09,
}
"""Table 3: seconds per epoch, ResNet-50 on Tiny ImageNet, one H200, data loading from memory included."""

PUBLISHED_RATIOS = {
    "retrain": 1.34,
    "minnorm-og": 1.16,
    "gd": 1.00,
    "ga": 1.01,
    "neggrad+": 1.10,
    "ngd": 1.03,
    "ridge": 1.01,
    "l1-sparse": 1.03,
    "scrub": 1.43,
    "npo": 1.40,
    "salun": 1.63,
}
"""The same as ratios to GD, as printed."""

SETTINGS: dict[str, dict[str, float]] = {
    "minnorm-og": {"strength": 0.1, "decay": 0.3},
    "neggrad+": {"ascent": 1e-3},
    "ngd": {"noise": 0.1},
    "ridge": {"strength": 0.1, "decay": 0.3},
    "l1-sparse": {"strength": 0.1},
    "scrub": {"distill": 0.1, "ascent": 1e-3},
    "npo": {"beta": 0.1},
    "salun": {"ascent": 1e-3},
}
"""The paper's hyper-parameters of Table 3 (learning rate 1e-5, T_GD 0, T_Proj 1, n_pert 50)."""


@dataclass(frozen=True)
class Plan:
    """What is timed."""

    network: str = "resnet18"
    width: int = 16
    stem: str = "small"
    classes: int = 10
    side: int = 32
    batch: int = 256
    batches: int = 4
    n_perturb: int = 50
    rounds: int = 5
    device: str = "cpu"
    buffers: Buffers = "as-used"
    methods: tuple[str, ...] = METHODS
    memory: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "classes", "side", "batch", "batches", "n_perturb", "rounds"):
            if getattr(self, name) < 1:
                raise ProblemError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.network not in NETWORKS:
            raise ProblemError(f"network: expected one of {', '.join(NETWORKS)}, got {self.network!r}")
        for method in self.methods:
            if method not in METHODS:
                raise ProblemError(f"methods: expected some of {', '.join(METHODS)}, got {method!r}")
        if "gd" not in self.methods:
            raise ProblemError("methods: expected gd among them, since times are ratios to it")

    @property
    def heads(self) -> tuple[int, int]:
        """Classes and colours."""
        return self.classes, 3


QUICK: dict[str, Any] = {"width": 4, "side": 16, "batch": 64, "batches": 1, "rounds": 2, "memory": False}
PAPER: dict[str, Any] = {
    "network": "resnet50",
    "width": 64,
    "stem": "large",
    "classes": 200,
    "side": 64,
    "batch": 512,
    "batches": 4,
}
"""Table 3's own sizes, for a GPU."""


@dataclass(frozen=True)
class Bench:
    """Network and samples, made once."""

    plan: Plan
    module: nn.Module = field(repr=False)
    retain: Any = field(repr=False)
    forget: Any = field(repr=False)

    @classmethod
    def of(cls, plan: Plan) -> Bench:
        """Random images and labels; every draw from one generator."""
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = network(plan.network, plan.width, plan.stem, plan.heads).to(plan.device).train()

        def samples(count: int) -> Any:
            x = torch.randn(count, 3, plan.side, plan.side, generator=generator).to(plan.device)
            return x, tuple(torch.randint(k, (count,), generator=generator).to(plan.device) for k in plan.heads)

        return cls(plan, module, samples(plan.batch), samples(plan.batch * plan.batches))

    def epoch(self, method: str) -> tuple[float, int]:
        """Seconds of one epoch (processor time on a CPU, so that others' work does not count), and rows of J."""
        plan = self.plan
        options: dict[str, Any] = dict(SETTINGS.get(method, {}))
        extra: dict[str, Any] = {"n_perturb": plan.n_perturb} if method == "minnorm-og" else {}
        if method == "retrain":
            extra["fresh"] = lambda: network(plan.network, plan.width, plan.stem, plan.heads).to(plan.device)
        clock = time.process_time if plan.device == "cpu" else time.perf_counter
        self._wait()
        start = clock()
        with kinks_expected():
            _, history = unlearn(
                self.module,
                self.retain,
                self.forget,
                method,
                epochs=1,
                learning_rate=1e-5,
                batch_size=plan.batch,
                buffers=plan.buffers,
                **options,
                **extra,
            )
        self._wait()
        seconds = clock() - start
        rows = len(plan.heads) * min(plan.n_perturb, plan.batch) if history.projections else 0
        return seconds, rows

    def _wait(self) -> None:
        if self.plan.device == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Outcome:
    """seconds: (rounds,) by method; rows: of J per projection; memory: bytes at the peak, above an idle process."""

    plan: Plan
    seconds: Mapping[str, Any]
    rows: Mapping[str, int]
    memory: Mapping[str, int]
    files: tuple[Path, ...] = ()

    def ratio(self, method: str) -> float:
        """Median over the rounds of the ratio to GD in the same round."""
        return float(np.median(np.asarray(self.seconds[method]) / np.asarray(self.seconds["gd"])))

    def table(self) -> list[list[str]]:
        """A line per method."""
        found = []
        for method in self.plan.methods:
            ratios = np.asarray(self.seconds[method]) / np.asarray(self.seconds["gd"])
            peak = f"{self.memory[method] / 2**20:.0f}" if method in self.memory else ""
            found.append(
                [
                    NAMES[method],
                    f"{np.median(self.seconds[method]):.3g}",
                    f"{self.ratio(method):.2f}",
                    f"{ratios.min():.2f}–{ratios.max():.2f}",
                    f"{PUBLISHED_RATIOS[method]:.2f}",
                    str(self.rows[method]) if method == "minnorm-og" else "",
                    peak,
                ]
            )
        return found

    def heading(self) -> str:
        """What was timed."""
        plan = self.plan
        clock = "processor time" if plan.device == "cpu" else "seconds"
        return (
            f"{plan.network} of width {plan.width}, {plan.classes} classes and 3 colours, images of {plan.side} "
            f"pixels, {plan.batches} batch(es) of {plan.batch}, {plan.device}, buffers {plan.buffers}; {clock}, "
            f"medians of {plan.rounds} rounds in turns."
        )

    def text(self) -> str:
        """For people."""
        return "\n\n".join([self.heading(), report.table(HEADER, self.table()), NOTE])

    def page(self) -> str:
        """For docs/."""
        return "\n\n".join([self.heading(), markdown(HEADER, self.table()), NOTE]) + "\n"

    def tree(self) -> dict[str, Any]:
        """For machines."""
        return {
            "schema": "exact-unlearn/runtime",
            "version": 1,
            "plan": asdict(self.plan),
            "seconds": dict(self.seconds),
            "ratios": {method: self.ratio(method) for method in self.plan.methods},
            "published_ratios": {method: PUBLISHED_RATIOS[method] for method in self.plan.methods},
            "rows": dict(self.rows),
            "peak_bytes": dict(self.memory),
        }


HEADER = ("method", "seconds", "ratio to GD", "over rounds", "published", "rows of J", "peak MiB")

NOTE = (
    "The published ratio of MinNorm-OG is that of an empty J: with 200 classes the released code takes 50 // 184 = 0 "
    "samples per class. Published times include colouring and normalising the images; ours start from tensors."
)


def make_plan(quick: bool = False, **fields: Any) -> Plan:
    """On a GPU the paper's sizes; on a CPU a ResNet-18 of width 16; quick: a small one."""
    base = dict(QUICK) if quick else dict(PAPER) if fields.get("device") == "cuda" else {}
    return Plan(**(base | fields))


def run(
    plan: Plan,
    output: Path | None = None,
    say: Callable[[str], None] | None = None,
    ready: Callable[[Outcome], None] | None = None,
) -> Outcome:
    """Time every method, then write table and numbers into `output` (None: nothing)."""
    tell = say or (lambda _: None)
    bench = Bench.of(plan)
    seconds: dict[str, list[float]] = {method: [] for method in plan.methods}
    rows: dict[str, int] = {}
    for turn in range(plan.rounds + 1):
        for method in plan.methods:
            tell(f"round {turn} of {plan.rounds}: {NAMES[method]}")
            taken, rows[method] = bench.epoch(method)
            if turn:  # the first round warms up
                seconds[method].append(taken)
    memory = {}
    for method in plan.methods if plan.memory else ():
        tell(f"memory: {NAMES[method]}")
        memory[method] = peak_memory(plan, method, bench)
    outcome = Outcome(plan, {method: np.array(values) for method, values in seconds.items()}, rows, memory)
    if ready is not None:
        ready(outcome)
    if output is None:
        return outcome
    output.mkdir(parents=True, exist_ok=True)
    stem = f"runtime_{plan.network}_{plan.width}_{plan.device}"
    table, numbers = (output / f"{stem}.{suffix}" for suffix in ("md", "json"))
    codec.write_atomically(table, outcome.page().encode())
    codec.write_atomically(numbers, report.json_text(outcome.tree()).encode())
    return Outcome(plan, outcome.seconds, rows, memory, (table, numbers))


def peak_memory(plan: Plan, method: str, bench: Bench) -> int:
    """Bytes that one epoch needs beyond network and samples."""
    if plan.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        bench.epoch(method)
        return int(torch.cuda.max_memory_allocated() - before)
    code = "import sys; from importlib import import_module; import_module(sys.argv[1]).tell_peak(*sys.argv[2:])"
    command = [sys.executable, "-c", code, __name__, method, *(f"{k}={v}" for k, v in _sizes(plan).items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMeasuredError(f"the process that measures memory failed: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])


def tell_peak(method: str, *sizes: str) -> None:
    """Print by how many bytes one epoch raises the peak of this process."""
    fields: dict[str, Any] = {}
    for size in sizes:
        name, _, value = size.partition("=")
        fields[name] = int(value) if value.isdigit() else value
    bench = Bench.of(Plan(**fields))
    before = peak_of_this_process()
    bench.epoch(method)
    print(peak_of_this_process() - before)


def peak_of_this_process() -> int:
    """Most bytes that this process has held at a time.  Linux hands ru_maxrss of the parent down, so VmHWM is read."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _sizes(plan: Plan) -> dict[str, Any]:
    left_out = ("methods", "memory", "device", "rounds")
    return {name: value for name, value in asdict(plan).items() if name not in left_out}
