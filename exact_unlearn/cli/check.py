"""``exact-unlearn check``: the independent checker, which is a program of its own (certify/checker.py)."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of check."""
    parser.add_argument("problem", metavar="PROBLEM", help="the complete problem, as you have it")
    parser.add_argument(
        "certificate",
        metavar="CERTIFICATE",
        nargs="?",
        help="what claims to prove something about it; alone it must embed its problem, and proves nothing about yours",
    )
    parser.add_argument("--tau", metavar="T", help="accept a proof for independent rows, the others to within T")


def run(options: argparse.Namespace) -> int:
    """The checker's own exit status: 0 only for a proof."""
    from exact_unlearn.certify import checker

    arguments = [options.problem] if options.certificate is None else [options.problem, options.certificate]
    return int(checker.main(arguments if options.tau is None else [*arguments, "--tau", options.tau]))
