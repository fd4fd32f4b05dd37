"""A MinNorm-OG step beside a gradient step: what the projection costs on top of training.

    python -m validation.benchmarks.bench_step [CASE ...]

A gradient step is forward, backward and AdamW on the whole batch.  A MinNorm-OG step is the same after theta <-
theta - c P_perp theta for 50 samples of the batch, by the very code that `unlearn` runs, error estimate included.  The
perceptrons are trained for 300 steps first, which makes their J as ill conditioned as it is in practice.  Memory is
what the side added to its process.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from .harness import Bench, Side, synchronise, timed
from .worker import peak_memory

BENCH = Bench(
    name="step",
    title="A MinNorm-OG step over a gradient step, float32",
    ours="gradient step",
    sides=tuple(Side(name, ("torch",)) for name in ("gradient step", "gradient step, fused AdamW", "MinNorm-OG step")),
    cases={
        "MLP 1-300-300-1": {"kind": "mlp", "width": 300, "repeats": 200},
        "MLP 1-1000-1000-1": {"kind": "mlp", "width": 1000, "repeats": 30},
        "ResNet-18, width 16": {"kind": "resnet", "width": 16, "repeats": 3},
        "ResNet-18, width 32": {"kind": "resnet", "width": 32, "repeats": 3},
        "ResNet-18, width 64": {"kind": "resnet", "width": 64, "repeats": 2},
    },
    reached=1e-4,
    quick=("MLP 1-300-300-1", "ResNet-18, width 16"),
    cuda=True,
)

SAMPLES, BATCH, SHRINK, TRAINED = 50, 256, 0.1, 300


def resnet(width: int) -> Any:
    """ResNet-18 for 32 x 32 images with group norm and two heads (10 classes, 3 colours)."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inner: int, outer: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList(nn.GroupNorm(8, outer) for _ in range(2))
            same = stride == 1 and inner == outer
            short = [] if same else [nn.Conv2d(inner, outer, 1, stride, bias=False), nn.GroupNorm(8, outer)]
            self.short = nn.Sequential(*short)

        def forward(self, x: torch.Tensor) -> Any:
            h = self.norms[1](self.second(torch.relu(self.norms[0](self.first(x)))))
            return torch.relu(h + self.short(x))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [width, width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
            strides = (1, 1, 2, 1, 2, 1, 2, 1)
            self.stem, self.norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.GroupNorm(8, width)
            self.blocks = nn.Sequential(*map(Block, widths[:-1], widths[1:], strides))
            self.heads = nn.ModuleList(nn.Linear(8 * width, outputs) for outputs in (10, 3))

        def forward(self, x: torch.Tensor) -> Any:
            features = self.blocks(torch.relu(self.norm(self.stem(x)))).mean((2, 3))
            return tuple(head(features) for head in self.heads)

    return Net()


def network(case: Mapping[str, Any]) -> tuple[Any, Any, Callable[[Any], Any], tuple[Any, ...]]:
    """(module, inputs, loss of its outputs, which outputs of each head J is of)."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    device = torch.device(case.get("device", "cpu"))
    if case["kind"] == "mlp":
        w = case["width"]
        module = nn.Sequential(nn.Linear(1, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU(), nn.Linear(w, 1))
        x = (torch.rand(SAMPLES, 1) * 30 - 15).to(device)
        return module.to(device), x, lambda out: F.mse_loss(out, torch.sin(x)), ("all",)
    x, classes, colours = (
        torch.randn(BATCH, 3, 32, 32).to(device),
        torch.randint(0, 10, (BATCH,)).to(device),
        torch.randint(0, 3, (BATCH,)).to(device),
    )
    return (
        resnet(case["width"]).to(device),
        x,
        lambda out: F.cross_entropy(out[0], classes) + F.cross_entropy(out[1], colours),
        ("largest", "largest"),
    )


def steps(case: Mapping[str, Any]) -> tuple[dict[str, Callable[[], Any]], list[Any]]:
    """Both steps on one network, and the projections that were made."""
    import torch

    from exact_unlearn.algorithms.projection import Projector
    from exact_unlearn.algorithms.run import free_masks

    module, x, loss, rows = network(case)
    projector = Projector(module, free_masks(module, None))
    made: list[tuple[float, float]] = []

    def gradient(optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(module(x)).backward()
        optimizer.step()

    if case["kind"] == "mlp":
        training = torch.optim.AdamW(module.parameters(), lr=1e-3)
        for _ in range(TRAINED):
            gradient(training)
    plain, fused = (torch.optim.AdamW(module.parameters(), lr=1e-6, fused=how) for how in (None, True))

    def minnorm() -> None:
        made[:] = [projector.step(x[:SAMPLES], SHRINK, rows)]
        gradient(plain)

    return {
        "gradient step": lambda: gradient(plain),
        "gradient step, fused AdamW": lambda: gradient(fused),
        "MinNorm-OG step": minnorm,
    }, made


def run(side: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """One measurement for the harness: the median of a few steps after one to warm up."""
    import torch

    torch.set_num_threads(1)
    both, made = steps(case)
    before = peak_memory()
    both[side]()
    times = []
    for _ in range(int(case["repeats"])):
        done = timed(both[side], lambda: synchronise(case.get("device", "cpu")))
        times.append((done.seconds, done.cpu))
    seconds, cpu = (statistics.median(values) for values in zip(*times, strict=True))
    note = "" if not made else f"moved by {made[0][0]:.2g}"
    error = 0.0 if not made else made[0][1]
    return {"seconds": seconds, "cpu": cpu, "error": error, "memory": peak_memory() - before, "note": note}


def main() -> None:
    """Both steps in turn, in one process; processor time, because other work may run besides."""
    import torch

    torch.set_num_threads(1)
    titles = f"{'gradient ms':>12} {'fused ms':>9} {'MinNorm-OG ms':>14} {'ratio':>6} {'to fused':>9} {'estimate':>9}"
    print(f"{'case':20} {titles}")
    for name in sys.argv[1:] or BENCH.quick:
        both, made = steps(BENCH.cases[name])
        times: list[list[float]] = [[] for _ in both]
        for turn in range(int(BENCH.cases[name]["repeats"]) + 1):
            for spent, call in zip(times, both.values(), strict=True):
                start = time.process_time()
                call()
                if turn:
                    spent.append(time.process_time() - start)
        plain, fused, minnorm = (1e3 * statistics.median(spent) for spent in times)
        ratios = f"{minnorm / plain:6.2f} {minnorm / fused:9.2f}"
        print(f"{name:20} {plain:12.2f} {fused:9.2f} {minnorm:14.2f} {ratios} {made[0][1]:9.1e}")


if __name__ == "__main__":
    main()
