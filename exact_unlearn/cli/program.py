"""``exact-unlearn program``: the matrices that a solver sees, for authors of other solvers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from exact_unlearn.cli.problems import add_problem_arguments, load_problem
from exact_unlearn.cli.terminal import (
    add_report_arguments,
    require_distinct,
    require_report,
    require_writable,
    write_report,
    written_together,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of program."""
    add_problem_arguments(parser)
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the program, .npz or .safetensors")
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0, or an error is raised."""
    from exact_unlearn.cli import DONE, summary
    from exact_unlearn.program import explicit_program

    loaded = load_problem(options)
    output = require_writable("--output", Path(options.output), (".npz", ".safetensors"))
    require_report(options)
    require_distinct([output], [Path(options.problem)], options)
    program = explicit_program(loaded.problem)
    with written_together([output]) as (temporary,):
        program.save(temporary)
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
    write_report(options, summary.as_text(lines), tree)
    return DONE
