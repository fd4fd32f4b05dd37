"""``exact-unlearn crosscheck``: closed form, CVXPY, torch and processes on one table of problems, judged by
certificates.
"""

from __future__ import annotations

import argparse

from exact_unlearn.cli.terminal import add_report_arguments, progress, require_report, write_report
from exact_unlearn.errors import require_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of crosscheck."""
    parser.add_argument("cases", nargs="*", metavar="CASE", help="only problems whose names contain one of these words")
    parser.add_argument("--no-processes", action="store_true", help="leave out the route over two processes")
    parser.add_argument("--list", action="store_true", help="show the names of the problems and stop")
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0: every problem is certified and every route is right; 1: not so; 75: as far as it was measured."""
    from exact_unlearn.cli import DONE, NOT_MEASURED, NOT_PROVED

    require_extra("crosscheck", "cvxpy", "torch")
    from exact_unlearn import crosscheck

    require_report(options)
    if options.list:
        print("\n".join(crosscheck.names(options.cases)))
        return DONE
    with progress(options.quiet) as say:
        ladder = crosscheck.crosscheck(options.cases or None, not options.no_processes, say)
    write_report(options, ladder.text(), ladder.to_json())
    return DONE if ladder.right else NOT_MEASURED if ladder.not_measured else NOT_PROVED
