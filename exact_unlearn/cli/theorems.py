"""``exact-unlearn theorems``: numerical verification of the paper's results, with proofs, figures and a report."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from exact_unlearn.cli.terminal import add_report_arguments, progress, require_folder, require_report, write_report
from exact_unlearn.errors import ProblemError, require_extra

EXTRAS = ("cvxpy", "matplotlib", "scipy")
VERIFICATIONS = "exact_unlearn._validation"

PAUSE = 10.0
"""Seconds after which progress is told again while the same claim is measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of theorems."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help='results such as theorem-3, lemma-6, d41, "Appendix E", beyond (default: all)',
    )
    parser.add_argument(
        "--full", action="store_true", help="thousands of instances; may be interrupted and taken up again"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="theorems-output",
        help="folder for report.html, report.md, figures and the cells of the run (default: theorems-output)",
    )
    parser.add_argument("-j", "--jobs", metavar="N", type=int, help="processes (default: 1, with --full one per core)")
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0: every claim is confirmed; 1: at least one is contradicted; 75: none is, but one was not measured."""
    from exact_unlearn.cli import DONE, NOT_MEASURED, NOT_PROVED

    require_extra("theorems", *EXTRAS)
    # Matrices here are small: threads inside one product only get in each other's way.  Before NumPy is loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    jobs = (os.cpu_count() or 1) if options.jobs is None and options.full else options.jobs or 1
    if options.jobs is not None and options.jobs < 1:
        raise ProblemError(f"--jobs: expected a number of processes >= 1, got {options.jobs}")
    folder = require_folder("--output", Path(options.output))
    require_report(options)
    results = _load("registry").select(options.names)
    verify, report = _load("verify"), _load("report")

    with progress(options.quiet) as say:
        told, when = "", 0.0

        def tell(done: int, total: int, label: str) -> None:
            nonlocal told, when
            now = time.monotonic()
            if label != told or now - when > PAUSE or done == total:
                told, when = label, now
                say(f"{done} of {total} cells: {label}")

        findings = verify.measure(results, options.full, folder / "cells", jobs, tell)
    page = report.Report(results, findings, {}, options.full)
    lines = verify.details(findings) if options.names else verify.summary(results, findings)
    parts = [lines, page.headline, verify.complaints(findings)]
    write_report(options, "\n\n".join(part for part in parts if part), [finding.to_json() for finding in findings])
    with progress(options.quiet) as say:
        page = replace(page, figures=verify.draw(results, findings, say))
        pages = report.write(page, folder)
    if options.json != "-":
        print(f"\nReport: {pages[0]} (the same in Markdown: {pages[1].name})")
        if pages[0].name != "report.html":
            print(f"{folder / 'report.html'} says more and stays as it is.")
    return NOT_PROVED if page.contradicted else NOT_MEASURED if page.not_measured else DONE


def _load(name: str) -> Any:
    """A module of the verifications, which are no part of the package: in a checkout they lie beside it."""
    return import_module(f"{VERIFICATIONS}.{name}")
