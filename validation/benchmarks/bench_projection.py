"""The projection at scale beside the reference projection: speed as a ratio, accuracy against an SVD, deletion
streams.

    python -m validation.benchmarks.bench_projection [--quick] [--threads 1] [--device cpu] [--clock cpu]
        [--json FILE]

runs all of it interleaved in one process (both sides are torch, so neither slows the other's threads down);
`exact-unlearn bench projection` runs the speed table with every side in a process of its own.

Reference: a dense float64 Householder QR of J.T, theta - Q Q.T theta, as the paper's code projects.  Ours:
`project` with everything it does by default, the error estimate included.  Plain: Gram matrix, Cholesky factor and one
step of refinement in the precision of J, five lines of torch, which say nothing about their error and are wrong
where J is ill-conditioned.  All get J as a float32 matrix.  `x read` is the time over one pass over J.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .harness import Bench, Side

if TYPE_CHECKING:
    from torch import Tensor

BENCH = Bench(
    name="projection",
    title="Projection onto the rows of an explicit J, float32",
    ours="project",
    sides=(Side("project", ("torch",)), Side("reference", ("torch",)), Side("plain", ("torch",))),
    cases={
        "50 x 1e3": {"m": 50, "d": 1000, "repeats": 15},
        "50 x 1e5": {"m": 50, "d": 100_000, "repeats": 7},
        "500 x 1e5": {"m": 500, "d": 100_000, "repeats": 3},
        "50 x 1e6": {"m": 50, "d": 1_000_000, "repeats": 3},
        "200 x 1e6": {"m": 200, "d": 1_000_000, "repeats": 1},
    },
    reached=1e-5,
    quick=("50 x 1e5", "50 x 1e6"),
    cuda=True,
)


def run(side: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """One measurement for the harness: the median of a few calls after one to warm up."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device(case.get("device", "cpu"))
    J, theta = torch.randn(case["m"], case["d"]).to(device), torch.randn(case["d"]).to(device)
    answer: list[Tensor] = []
    call = {
        "project": lambda: answer.append(_ours(J, theta)),
        "reference": lambda: answer.append(reference(J, theta)),
        "plain": lambda: answer.append(plain(J, theta)),
    }[side]
    cpu = time.process_time()
    seconds = interleaved({side: call}, int(case["repeats"]))[side]
    cpu = (time.process_time() - cpu) / (int(case["repeats"]) + 1)
    basis = torch.linalg.qr(J.T.double()).Q
    truth = basis @ (basis.T @ theta.double())
    error = float(torch.linalg.vector_norm(answer[-1].double() - truth) / torch.linalg.vector_norm(truth))
    return {"seconds": seconds, "cpu": cpu, "error": error, "read": read(J)}


def reference(J: Tensor, theta: Tensor) -> Tensor:
    """P_row(J) theta through an unpivoted float64 QR: theta - (theta - Q Q.T theta)."""
    import torch

    basis = torch.linalg.qr(J.T.double()).Q
    found: Tensor = (basis @ (basis.T @ theta.double())).to(theta.dtype)
    return found


def plain(J: Tensor, theta: Tensor) -> Tensor:
    """J.T (J J.T)^-1 J theta by a Cholesky factor of the Gram matrix and one step of refinement."""
    import torch

    factor, q = torch.linalg.cholesky(J @ J.T), J @ theta
    x = J.T @ torch.cholesky_solve(q[:, None], factor)[:, 0]
    return x + J.T @ torch.cholesky_solve((q - J @ x)[:, None], factor)[:, 0]


def _ours(J: Tensor, theta: Tensor) -> Tensor:
    from exact_unlearn.scalable import project

    found: Tensor = project(J, theta).theta
    return found


Clock = Callable[[], float]


def interleaved(
    sides: Mapping[str, Callable[[], Any]], repeats: int, clock: Clock = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each side, run in turn so that whatever else the machine does hits all of them alike."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        call()
    for _ in range(repeats):
        for name, call in sides.items():
            start = clock()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def read(J: Tensor, clock: Clock = time.perf_counter) -> float:
    """One pass over J, seconds: no method that looks at every entry is faster."""
    return interleaved({"read": lambda: J.sum()}, 5, clock)["read"]


def speed(names: Sequence[str], device: Any, clock: Clock = time.perf_counter) -> list[dict[str, Any]]:
    """One row per size: ratios to ours and multiple of one read of J, all sides interleaved."""
    import torch

    from exact_unlearn.scalable import project

    rows = []
    for name in names:
        case = BENCH.cases[name]
        J, theta = torch.randn(case["m"], case["d"], device=device), torch.randn(case["d"], device=device)
        calls = {
            "reference": lambda J=J, t=theta: reference(J, t),
            "plain": lambda J=J, t=theta: plain(J, t),
            "ours": lambda J=J, t=theta: project(J, t),
        }
        found, result = interleaved(calls, 2 * case["repeats"] + 1, clock), project(J, theta)
        rows.append(
            {
                "J": name,
                "reference ms": 1e3 * found["reference"],
                "ours ms": 1e3 * found["ours"],
                "reference / ours": found["reference"] / found["ours"],
                "plain / ours": found["plain"] / found["ours"],
                "x read": found["ours"] / read(J, clock),
                "estimate": result.error_estimate,
                "route": result.route,
            }
        )
    return rows


def matrices(m: int, d: int) -> dict[str, Tensor]:
    """Every conditioning and rank, in float64."""
    import torch

    left = torch.linalg.qr(torch.randn(m, m).double()).Q
    right = torch.linalg.qr(torch.randn(d, m).double()).Q
    exponents = {"cond 1": 0, "cond 1e3": 3, "cond 1e6": 6, "cond 1e10": 10}
    out = {name: (left * torch.logspace(0, -e, m).double()) @ right.T for name, e in exponents.items()}
    spectrum = torch.linspace(1.0, 0.1, m).double()
    spectrum[m // 2 :] = 0.0
    half = torch.randn(m // 2, d).double()
    out["rank m/2"] = (left * spectrum) @ right.T
    out["duplicated"] = torch.cat([half, half])
    out["zero rows"] = torch.cat([half, torch.zeros_like(half)])
    return out


def accuracy(m: int, d: int, device: Any) -> list[dict[str, Any]]:
    """Relative error of ours and of the reference, with the estimate, in both precisions."""
    import torch

    from exact_unlearn.scalable import project
    from exact_unlearn.scalable.factor import default_tolerance

    rows = []
    for name, exact in matrices(m, d).items():
        for dtype in (torch.float32, torch.float64):
            J, theta = exact.to(device, dtype), torch.randn(d, device=device, dtype=dtype)
            result = project(J, theta)
            lengths = torch.linalg.vector_norm(J.double(), dim=1, keepdim=True)
            _, sigma, right = torch.linalg.svd(J.double() / lengths.clamp_min(1e-300), full_matrices=False)
            basis = right[sigma > default_tolerance(m, dtype)]
            truth = basis.T @ (basis @ theta.double())
            size = torch.linalg.vector_norm(truth)
            rows.append(
                {
                    "J": name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "rank": result.rank,
                    "error": float(torch.linalg.vector_norm(result.theta.double() - truth) / size),
                    "estimate": result.error_estimate,
                    "of it ambiguity": result.ambiguity,
                    "reference error": float(torch.linalg.vector_norm(reference(J, theta).double() - truth) / size),
                    "steps": " > ".join(result.steps),
                }
            )
    return rows


def streams(m: int, d: int, batch: int, device: Any) -> list[dict[str, Any]]:
    """A deletion request answered by the update and from scratch, float32."""
    import torch

    from exact_unlearn.scalable import RetainStream, project

    J, theta = torch.randn(m, d, device=device), torch.randn(d, device=device)
    stream = RetainStream(J, theta)

    def update() -> None:
        gone = torch.randperm(stream.retained.numel())[:batch].to(device)
        stream.delete(stream.retained[gone])

    found = interleaved({"update": update, "scratch": lambda: project(J[stream.retained], theta)}, 5)
    fresh = project(J[stream.retained], theta)
    gap = torch.linalg.vector_norm(stream.current.theta - fresh.theta) / torch.linalg.vector_norm(fresh.theta)
    row = {
        "J": f"{m} x {d}",
        "batch": batch,
        "update ms": 1e3 * found["update"],
        "scratch ms": 1e3 * found["scratch"],
    }
    return [
        row | {"ratio": found["scratch"] / found["update"], "difference": float(gap), "refactored": stream.refactored}
    ]


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same keys, aligned."""
    head = list(rows[0])
    cells = [head, *([_text(row[key]) for key in head] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only two sizes, no accuracy, no streams")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: processor time, for busy machines and one thread"
    )
    parser.add_argument("--json", help="also write the tables here")
    options = parser.parse_args()
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        parser.error("--device: torch finds no CUDA device on this machine")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    sizes = BENCH.quick if options.quick else list(BENCH.cases)
    tables = {"Projection, float32": speed(sizes, device, clock)}
    if not options.quick:
        tables["Accuracy against an SVD in float64 at the numerical rank"] = accuracy(50, 20_000, device)
        tables["Deletion streams: a fresh projection / an update"] = streams(500, 50_000, 10, device)
    for title, rows in tables.items():
        show(title, rows)
    if options.json:
        Path(options.json).write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
