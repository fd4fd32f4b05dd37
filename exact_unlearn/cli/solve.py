"""``exact-unlearn solve``: a problem file in; solution, complete problem and certificate out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.modules import WrittenBack, add_module_arguments, load_module_problem
from exact_unlearn.cli.problems import Loaded, add_problem_arguments, load_problem
from exact_unlearn.cli.terminal import (
    add_report_arguments,
    progress,
    require_distinct,
    require_report,
    require_writable,
    write_report,
    written_together,
)
from exact_unlearn.errors import RankAmbiguityError
from exact_unlearn.watch import watched

if TYPE_CHECKING:
    from exact_unlearn.certify import Certificate
    from exact_unlearn.convexity import Network
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.solution import Solution


SOON = 1e-3
"""Seconds for a proof when all time is over: what needs none, such as the bounds of theta* itself, is still said."""

LIMIT_HELP = "stop after so long, with the best answer and the best bounds until then"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of solve."""
    add_problem_arguments(parser, optional=True)
    add_module_arguments(parser)
    add_answer_arguments(parser, "PROBLEM", "the complete problem and the certificate")


def add_answer_arguments(parser: argparse.ArgumentParser, source: str, beside: str) -> None:
    """The options that `answer` reads.  source: what -o is named after by default; beside: what else is written."""
    parser.add_argument(
        "--solver",
        metavar="NAME",
        help="an installed CVXPY solver, or direct for a back end's own interface (default: by class of program)",
    )
    parser.add_argument("--accuracy", metavar="EPS", type=float, help="residuals of an answer called optimal (1e-9)")
    parser.add_argument("--time-limit", metavar="SECONDS", type=float, help=LIMIT_HELP)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=f"the solution, .npz, .safetensors or .json (default: NAME.solution.npz for {source} NAME.*, here); "
        f"{beside} are written beside it",
    )
    parser.add_argument("--no-certify", action="store_true", help="claim only, prove nothing")
    add_row_arguments(parser)
    add_proof_argument(parser)
    add_report_arguments(parser)


def add_row_arguments(parser: argparse.ArgumentParser) -> None:
    """How rows that nearly depend on each other, or contradict each other by rounding, are meant; asked when it
    matters.
    """
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--rows", choices=["literal"], help="certify the rows as they are written, to the last bit")
    rows.add_argument(
        "--tau", metavar="T", type=float, help="certify independent rows, labels moved by T at most, all rows within T"
    )


def add_proof_argument(parser: argparse.ArgumentParser) -> None:
    """How it is proved."""
    parser.add_argument(
        "--proof",
        choices=["auto", "exact", "enclosure"],
        default="auto",
        help="over the rationals, or to 60 digits by short numbers at a small part of the cost; auto: exact while that "
        "is cheap (default)",
    )


def run(options: argparse.Namespace) -> int:
    """0: bounds are proved (or claimed optimal with --no-certify); 1: not, or no parameters fit; errors are raised."""
    return answer(options, _loaded(options), options.proof)


def answer(options: argparse.Namespace, loaded: Loaded, proof: str = "auto") -> int:
    """Solve, prove, write and report; the exit status of `run`."""
    from exact_unlearn import report
    from exact_unlearn.cli import DONE, NOT_PROVED, summary
    from exact_unlearn.solution import Status
    from exact_unlearn.summary import as_text

    problem = loaded.problem
    places = _Places(options, loaded)
    certificate: Certificate | None = None
    ambiguity, seconds = "", None
    with progress(options.quiet) as say, watched(say=say):
        say(f"solving: {problem.lines()[0][1]}")
        limit, began = options.time_limit, time.perf_counter()
        share = limit if limit is None or options.no_certify else limit / 2  # the other half is for the proof
        limits = {"accuracy": options.accuracy, "time_limit": share, "tau": options.tau}
        solution = _solved(problem, options.solver, limits)
        if not options.no_certify:
            from exact_unlearn.certify import certify

            say("certifying")
            left = None if limit is None else max(limit - (time.perf_counter() - began), SOON)
            began = time.perf_counter()
            try:
                certificate = certify(
                    problem, solution, rows=options.rows, tau=options.tau, time_limit=left, proof=proof
                )
            except RankAmbiguityError as error:
                ambiguity = str(error)
            seconds = time.perf_counter() - began
        say("looking at the outputs")
        seen = loaded.effect(solution, penalty=limit is None)
    network = summary.network_of(problem, solution, certificate)
    written = places.write(problem, solution, certificate, network)
    lines = [*summary.problem_lines(loaded), *solution.claim_lines(), *(seen.lines() if seen else [])]
    if ambiguity:
        lines.append(("proof", f"none yet: {ambiguity}"))
    if certificate is not None:
        lines += certificate.lines()
    lines += [] if network is None else network.lines()
    lines.append(summary.time_line(solution, seconds))
    lines += [("written" if i == 0 else "", str(path)) for i, path in enumerate(written)]
    tree: dict[str, Any] = {"schema": "exact-unlearn/solve-report", "version": 1} | summary.solution_tree(solution)
    tree["effect"] = None if seen is None else report.plain(seen)
    tree["certificate"] = None if certificate is None else summary.certificate_tree(certificate)
    tree |= {} if network is None else {"network": summary.network_tree(network)}
    tree |= {"ambiguity": ambiguity or None, "certify_seconds": seconds, "written": [str(path) for path in written]}
    write_report(options, as_text(lines), tree)
    if options.no_certify:
        return DONE if solution.status is Status.OPTIMAL else NOT_PROVED
    proved = certificate is not None and certificate.proof not in ("none", "infeasible")
    return DONE if proved else NOT_PROVED


def _loaded(options: argparse.Namespace) -> Loaded:
    """The problem of a file, or of a module."""
    from exact_unlearn.cli import UsageError

    if options.module is not None:
        if options.problem is not None:
            raise UsageError("name a PROBLEM or a --module, not both (see exact-unlearn solve --help)")
        return load_module_problem(options)
    for option in ("retain", "forget", "write_back"):
        if getattr(options, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')}: belongs to --module (see exact-unlearn solve --help)")
    if options.problem is None:
        raise UsageError("the following arguments are required: PROBLEM, or --module (see exact-unlearn solve --help)")
    return load_problem(options)


def _solved(problem: UnlearningProblem, solver: str | None, limits: dict[str, Any]) -> Solution:
    """By the reference solver; where J is too large to be written out, by the torch solver."""
    from exact_unlearn.program import ENTRY_LIMIT
    from exact_unlearn.reference import solve

    if problem.n_constraints * int(problem.free.sum()) <= ENTRY_LIMIT or solver is not None:
        return solve(problem, solver=solver, **limits)
    from exact_unlearn import scalable

    return scalable.solve(problem)


class _Places:
    """Where solve writes, checked before it works."""

    def __init__(self, options: argparse.Namespace, loaded: Loaded) -> None:
        problem, source = loaded.problem, Path(options.problem or f"{getattr(loaded, 'stem', '')}.npz")
        suffix = ".json" if problem.is_rational else ".npz"
        output = Path(f"{_name(source.stem)}.solution{suffix}") if options.output is None else Path(options.output)
        suffixes = (".json",) if problem.is_rational else (".npz", ".safetensors", ".json")
        self.module = getattr(loaded, "module", None)
        self.solution = require_writable("--output", output, suffixes)
        stem = _name(output.stem)
        self.problem = require_writable("--output", output.with_name(f"{stem}.problem{output.suffix}"))
        self.certificate = require_writable("--output", output.with_name(f"{stem}.certificate.json"))
        require_report(options)
        self.weights = None if options.write_back is None else Path(options.write_back)
        if self.weights is not None:
            require_writable("--write-back", self.weights, (".safetensors",))
        self.network = output.with_name(f"{stem}.network.npz") if problem.origin is not None else None
        # a complete problem that already stands where its copy would go needs none
        self.copies_problem = loaded.is_raw or source.resolve() != self.problem.resolve()
        outputs = [self.solution, self.certificate, *([self.problem] if self.copies_problem else [])]
        outputs += [path for path in (self.weights, self.network) if path is not None]
        inputs = [source]
        if options.module is not None:
            given = (options.retain, options.weights, options.forget)
            inputs = [Path(name) for name in given if name is not None]
        require_distinct(outputs, inputs, options)

    def write(
        self,
        problem: UnlearningProblem,
        solution: Solution,
        certificate: Certificate | None,
        network: Network | None = None,
    ) -> list[Path]:
        """All files or none.  A problem that already stands where its copy would go is left as it is."""
        copies: list[tuple[Path, Any]] = [(self.solution, solution)]
        if self.copies_problem:
            copies.append((self.problem, problem))
        if certificate is not None and certificate.proof != "none":
            copies.append((self.certificate, certificate))
        if self.weights is not None:
            proved = None if certificate is None else certificate.theta
            copies.append((self.weights, WrittenBack(self.module, solution.theta if proved is None else proved)))
        if self.network is not None and network is not None:
            copies.append((self.network, network))
        paths = [path for path, _ in copies]
        with written_together(paths) as temporary:
            for path, (_, content) in zip(temporary, copies, strict=True):
                content.save(path)
        return paths


def _name(stem: str) -> str:
    """NAME of NAME.problem, NAME.solution and plain NAME."""
    return stem.removesuffix(".problem").removesuffix(".solution")
