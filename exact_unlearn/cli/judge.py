"""``exact-unlearn judge``: what is true of anybody's solution; nothing is written but the report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from exact_unlearn.cli.certify import add_tolerance_argument, load_solution
from exact_unlearn.cli.problems import add_problem_arguments, load_problem
from exact_unlearn.cli.solve import LIMIT_HELP, add_row_arguments
from exact_unlearn.cli.terminal import add_report_arguments, progress, require_report, write_report
from exact_unlearn.watch import watched


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of judge."""
    add_problem_arguments(parser)
    parser.add_argument(
        "solution",
        metavar="SOLUTION",
        help="a solution saved by this package, or .npz or .safetensors with an array theta (d) and optionally nu (k)",
    )
    add_tolerance_argument(parser)
    add_row_arguments(parser)
    parser.add_argument("--time-limit", metavar="SECONDS", type=float, help=LIMIT_HELP)
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0: the solution is optimal, by proof; 1: anything else is true of it; errors are raised."""
    from exact_unlearn.cli import DONE, NOT_PROVED, summary
    from exact_unlearn.summary import as_text
    from exact_unlearn.verdict import judge

    loaded = load_problem(options)
    solution = load_solution(Path(options.solution), loaded.problem)
    require_report(options)
    with progress(options.quiet) as say, watched(say=say):
        say(f"judging: {loaded.problem.lines()[0][1]}")
        verdict = judge(
            loaded.problem,
            solution,
            tolerance=options.tolerance,
            rows=options.rows,
            tau=options.tau,
            time_limit=options.time_limit,
        )
    lines = [*summary.problem_lines(loaded), *verdict.lines()]
    lines += verdict.certificate.lines()
    tree: dict[str, Any] = {"schema": "exact-unlearn/judge-report", "version": 1}
    tree |= {"judgement": summary.verdict_tree(verdict)}
    tree |= {"certificate": summary.certificate_tree(verdict.certificate)}
    write_report(options, as_text(lines), tree)
    return DONE if verdict.optimal else NOT_PROVED
