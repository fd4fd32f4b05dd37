"""``exact-unlearn bench``: side by side with peers, as ratios, each measurement in a process of its own."""

from __future__ import annotations

import argparse
import math
from importlib import import_module
from pathlib import Path
from typing import Any

from exact_unlearn.cli.terminal import add_report_arguments, progress, require_folder, require_report, write_report
from exact_unlearn.errors import ProblemError, require_extra

PACKAGE = "exact_unlearn._validation.benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of bench."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="tables, for example norms (default: all; see --list)")
    parser.add_argument("--case", action="append", metavar="WORD", help="only cases whose labels contain WORD")
    parser.add_argument(
        "--full", action="store_true", help="all cases; the large ones keep slow peers busy for an hour"
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds over all sides (default: 3)")
    parser.add_argument("--side", action="append", metavar="WORD", help="only ours and sides whose names contain WORD")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="processor time after which a side is stopped")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where torch computes (default: cpu); see --list"
    )
    parser.add_argument("--list", action="store_true", help="show tables, cases, sides and missing peers, and stop")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for figures (needs matplotlib)")
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0: what is slow is a finding, no failure; 75: a measurement of ours is missing; errors are raised."""
    from exact_unlearn.cli import DONE, NOT_MEASURED

    require_extra("bench", "scipy", "torch")
    if options.repeats < 1:
        raise ProblemError(f"--repeats: expected a number >= 1, got {options.repeats}")
    if options.limit is not None and not 0 < options.limit < math.inf:
        raise ProblemError(f"--limit: expected a number of seconds > 0, got {options.limit}")
    registry, harness = import_module(f"{PACKAGE}.registry"), import_module(f"{PACKAGE}.harness")
    benches = registry.select(options.names)
    if options.list:
        print("\n\n".join(registry.described(bench) for bench in benches))
        return DONE
    benches = [registry.narrowed(bench, options.side, options.limit) for bench in benches]
    benches = registry.on_device(benches, options.device, chosen=bool(options.names))
    require_report(options)
    folder = None if options.output is None else require_folder("--output", Path(options.output))
    if folder is not None:
        require_extra("--output", "matplotlib")
    if not any(registry.cases(bench, options.case, options.full) for bench in benches):
        raise ProblemError(f"--case: no case contains one of {options.case}")
    tables: list[Any] = []
    with progress(options.quiet) as say:
        for bench in benches:
            cases = registry.cases(bench, options.case, options.full)
            if cases:
                tables.append(harness.measure(bench, cases, options.repeats, say, options.device))
    write_report(options, "\n\n".join(table.text() for table in tables), [table.to_json() for table in tables])
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        harness.draw(tables, folder / "benchmarks.png")
    return NOT_MEASURED if any(table.unmeasured for table in tables) else DONE
