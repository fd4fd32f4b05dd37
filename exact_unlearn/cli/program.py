"""``exact-unlearn program``: the matrices that a solver sees, for other solvers; and proofs, for other checkers.

The suffix of the output chooses: .npz and .safetensors are read back by `ExplicitProgram.load`, .mps, .qplib and .cbf
by other solvers, and .vipr holds the proof of a linear program, taken from --certificate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.problems import add_problem_arguments, load_problem
from exact_unlearn.cli.terminal import (
    add_report_arguments,
    require_distinct,
    require_report,
    require_writable,
    write_report,
    written_together,
)
from exact_unlearn.errors import ProblemError

if TYPE_CHECKING:
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.program import ExplicitProgram


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of program."""
    add_problem_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="the program: .npz or .safetensors, .mps or .qplib (no cones), .cbf; with --certificate a proof: .vipr",
    )
    parser.add_argument("--certificate", metavar="FILE", help="the certificate whose proof a .vipr file is to hold")
    add_report_arguments(parser)


SUFFIXES = (".npz", ".safetensors", ".mps", ".qplib", ".cbf", ".vipr")


def run(options: argparse.Namespace) -> int:
    """0, or an error is raised."""
    from exact_unlearn.cli import DONE, summary
    from exact_unlearn.program import explicit_program
    from exact_unlearn.summary import as_text

    output = require_writable("--output", Path(options.output), SUFFIXES)
    if (output.suffix == ".vipr") != (options.certificate is not None):
        raise ProblemError("--certificate: a .vipr file holds the proof of a certificate, other files hold none")
    loaded = load_problem(options)
    require_report(options)
    inputs = [Path(name) for name in (options.problem, options.certificate) if name is not None]
    require_distinct([output], inputs, options)
    program = explicit_program(loaded.problem)
    with written_together([output]) as (temporary,):
        _write(program, loaded.problem, options.certificate, temporary)
    cones = program.cones
    sizes: dict[str, Any] = {
        "kind": program.kind,
        "variables": int(program.q.size),
        "rows": int(program.b.size),
        "entries": int(program.A.nnz),
        "equations": cones.zero,
        "inequalities": cones.nonneg,
        "second_order_cones": len(cones.soc),
        "semidefinite_cones": len(cones.psd),
        "binary_variables": int(program.integer.size),
    }
    lines = summary.problem_lines(loaded)
    lines += [(name.replace("_", " "), str(value)) for name, value in sizes.items() if value != 0]
    lines.append(("written", str(output)))
    tree = {"schema": "exact-unlearn/program-report", "version": 1} | sizes | {"written": [str(output)]}
    write_report(options, as_text(lines), tree)
    return DONE


def _write(program: ExplicitProgram, problem: UnlearningProblem, certificate: str | None, path: Path) -> None:
    if certificate is not None:
        from exact_unlearn.certify import Certificate
        from exact_unlearn.exports import write_vipr

        write_vipr(Certificate.load(certificate, problem), path)
    elif path.suffix in (".npz", ".safetensors"):
        program.save(path)
    else:
        from exact_unlearn.exports import write_program

        write_program(program, path)
