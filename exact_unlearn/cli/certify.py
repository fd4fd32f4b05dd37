"""``exact-unlearn certify``: a certificate for anybody's solution."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.problems import Loaded, add_problem_arguments, load_problem
from exact_unlearn.cli.solve import LIMIT_HELP, add_proof_argument, add_row_arguments
from exact_unlearn.cli.terminal import (
    add_report_arguments,
    progress,
    require_distinct,
    require_report,
    require_writable,
    write_report,
    written_together,
)
from exact_unlearn.errors import FileFormatError
from exact_unlearn.watch import watched

if TYPE_CHECKING:
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.solution import Solution


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of certify."""
    add_problem_arguments(parser)
    parser.add_argument(
        "solution",
        metavar="SOLUTION",
        help="a solution saved by this package, or .npz or .safetensors with an array theta (d) and optionally nu (k)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="CERT",
        help="the certificate, .json (default: NAME.certificate.json for SOLUTION NAME.*, here); a raw PROBLEM is "
        "written completely beside it, for the checker",
    )
    parser.add_argument("--time-limit", metavar="SECONDS", type=float, help=LIMIT_HELP)
    add_row_arguments(parser)
    add_proof_argument(parser)
    add_tolerance_argument(parser)
    add_report_arguments(parser)


def add_tolerance_argument(parser: argparse.ArgumentParser) -> None:
    """What their point is allowed."""
    parser.add_argument(
        "--tolerance",
        metavar="EPS",
        type=float,
        default=1e-8,
        help="how much of the size of a row their point may miss it by, and of the optimum its value (1e-8)",
    )


def run(options: argparse.Namespace) -> int:
    """0: the solution is optimal, by proof; 1: it is not, or nothing was proved; errors are raised."""
    from exact_unlearn.certify import certify
    from exact_unlearn.cli import DONE, NOT_PROVED, summary
    from exact_unlearn.summary import as_text
    from exact_unlearn.verdict import judge

    loaded = load_problem(options)
    problem, source = loaded.problem, Path(options.solution)
    solution = load_solution(source, problem)
    places = _places(options, loaded, source)
    require_report(options)
    with progress(options.quiet) as say, watched(say=say):
        say(f"certifying: {problem.lines()[0][1]}")
        began = time.perf_counter()
        limit = options.time_limit
        certificate = certify(
            problem, solution, rows=options.rows, tau=options.tau, time_limit=limit, proof=options.proof
        )
        seconds = time.perf_counter() - began
        say("judging the solution")
        verdict = judge(
            problem,
            solution,
            tolerance=options.tolerance,
            rows=options.rows,
            tau=options.tau,
            certificate=certificate,
            time_limit=None if limit is None else max(limit - seconds, 1e-3),
        )
    paths = places if certificate.proof != "none" else []
    with written_together(paths) as temporary:
        contents: tuple[Any, ...] = (certificate, problem)
        for path, content in zip(temporary, contents, strict=False):
            content.save(path)
    lines = [*summary.problem_lines(loaded), ("claimed value", solution.value_text())]
    lines += certificate.lines()
    lines += verdict.lines()
    lines += [("written" if i == 0 else "", str(path)) for i, path in enumerate(paths)]
    tree: dict[str, Any] = {"schema": "exact-unlearn/certify-report", "version": 1}
    tree |= summary.certificate_tree(certificate)
    tree |= {"judgement": summary.verdict_tree(verdict)}
    tree |= {"claimed_value": solution.value, "certify_seconds": seconds, "written": [str(path) for path in paths]}
    write_report(options, as_text(lines), tree)
    return DONE if verdict.optimal else NOT_PROVED


def _places(options: argparse.Namespace, loaded: Loaded, source: Path) -> list[Path]:
    """Where the certificate goes, and for a raw problem, which says too little for a checker, the complete one."""
    stem = source.stem.removesuffix(".solution")
    output = Path(f"{stem}.certificate.json") if options.output is None else Path(options.output)
    places = [require_writable("--output", output, (".json",))]
    if loaded.is_raw:
        suffix = ".json" if loaded.problem.is_rational else ".npz"
        complete = output.with_name(f"{output.stem.removesuffix('.certificate')}.problem{suffix}")
        places.append(require_writable("--output", complete))
    require_distinct(places, [source, Path(options.problem)], options)
    return places


def load_solution(path: Path, problem: UnlearningProblem) -> Solution:
    """A saved solution, or raw arrays, taken as a claim about `problem` whatever problem it was saved with."""
    from dataclasses import replace

    import numpy as np

    from exact_unlearn import codec
    from exact_unlearn.solution import Solution, Status

    if path.is_dir():
        raise FileFormatError(f"{path}: is a directory; expected a file")
    arrays = None if path.suffix == ".json" else codec.load_arrays(path)
    if arrays is None or "spec" in arrays:
        return replace(Solution.load(path), problem=problem)
    if "theta" not in arrays:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise FileFormatError(f"{path}: the array 'theta' is missing; the file holds {held}")
    nu = arrays.get("nu", np.zeros(problem.n_constraints))
    return Solution(problem=problem, theta=arrays["theta"], nu=nu, status=Status.INACCURATE)
