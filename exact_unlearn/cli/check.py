"""``exact-unlearn check``: the independent checker, which is a program of its own (certify/checker.py)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from exact_unlearn.cli import local
from exact_unlearn.cli.terminal import require_report, write_report
from exact_unlearn.errors import FileFormatError

if TYPE_CHECKING:
    from exact_unlearn.certify import checker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of check."""
    parser.add_argument("problem", metavar="PROBLEM", help="the complete problem, as you have it")
    parser.add_argument(
        "certificate",
        metavar="CERTIFICATE",
        nargs="?",
        help="what claims to prove something about it; alone it must embed its problem, and proves nothing about yours",
    )
    parser.add_argument(
        "--tau",
        metavar="T",
        type=float,
        help="accept a proof about other rows or labels, if its point keeps |J D - b| <= T in every row as written",
    )
    parser.add_argument("--json", metavar="FILE", help="write the verdict for machines as well; - for standard output")
    local.add_network_arguments(
        parser.add_argument_group("local certificates", "PROBLEM is the data of `local`, or CERTIFICATE stands alone.")
    )


def run(options: argparse.Namespace) -> int:
    """0 only for a proof about PROBLEM; 1: no proof; 3: a proof, but about the embedded problem or some rows only; 4: a
    local statement is proved."""
    from exact_unlearn.certify import checker
    from exact_unlearn.cli import DONE, NOT_PROVED, PROVED_OTHER

    alone = options.certificate is None
    paths = [options.problem] if alone else [options.problem, options.certificate]
    for path in map(Path, paths):
        if not path.is_file():
            raise FileFormatError(f"{path}: {'is a directory' if path.is_dir() else 'no such file'}")
    require_report(options)
    if local.is_local(Path(paths[-1])):
        return _local(options, None if alone else Path(paths[0]), Path(paths[-1]))
    try:
        verdict = checker.check(None if alone else paths[0], paths[-1], options.tau)
    except checker.Rejected as error:
        raise FileFormatError(str(error) if str(error).startswith("tau: ") else f"{paths[0]}: {error}") from None
    if options.json is None:
        print(*verdict.sentences, sep="\n")
    else:
        write_report(options, "\n".join(verdict.sentences), _tree(verdict))
    return DONE if verdict.proved else NOT_PROVED if verdict.proof == "none" else PROVED_OTHER


def _local(options: argparse.Namespace, data: Path | None, certificate: Path) -> int:
    """The verdict on a local certificate, by the checker of its own."""
    from exact_unlearn.cli import LOCAL, NOT_PROVED

    found = local.verdict_about(options, data, certificate)
    if options.json is None:
        print(*found.sentences, sep="\n")
    else:
        write_report(options, "\n".join(found.sentences), local.verdict_tree(found))
    return NOT_PROVED if found.proof == "none" else LOCAL


def _tree(verdict: checker.Verdict) -> dict[str, object]:
    """The verdict for machines, bounds rounded outwards."""
    from exact_unlearn.report import rounded_down, rounded_up

    return {
        "schema": "exact-unlearn/check-report",
        "version": 1,
        "proved": verdict.proved,
        "sentences": list(verdict.sentences),
        "proof": verdict.proof,
        "lower": rounded_down(verdict.lower),
        "upper": rounded_up(verdict.upper),
        "gap": rounded_up(verdict.gap),
        "distance": rounded_up(verdict.distance),
        "unique": verdict.unique,
        "residual": (rounded_down if verdict.proof == "infeasible" else rounded_up)(verdict.residual),
        "robust_lower": rounded_down(verdict.robust_lower),
        "neurons": verdict.neurons,
    }
