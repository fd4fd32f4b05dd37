"""The command line ``exact-unlearn``: one module per verb, loaded when the verb is asked for.

A new verb is a line in `VERBS` and a module of that name beside this file with

    add_arguments(parser)       its options
    run(options) -> int         its work; the result is the exit status

Exit status: 0 done (and proved, where something was to be proved), 1 not proved, 2 a mistake of the caller, told in one
sentence, 3 (check only) proved for another problem than the caller's, 4 (local, check) a local statement is proved, 70
a mistake of ours, 75 not measured (something came between: try again), 130 interrupted, 141 the reader of the output
went away.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from exact_unlearn import __version__, interrupts
from exact_unlearn.errors import ExactUnlearnError, NotMeasuredError, needed_by

PROGRAM = "exact-unlearn"

VERBS = {
    "demo": "the main job on real data, end to end: a network forgets mislabelled digits",
    "explain": "pages that explain, in a browser: why forgetting is not fitting, and what a proof is",
    "solve": "solve a problem file; write solution, complete problem and certificate",
    "global": "the least network that fits the retained samples, over all parameters, with a proof",
    "certify": "prove what the optimum is, and how good a solution is, whoever found it",
    "judge": "what is true of anybody's solution: feasible, optimal, or claiming more than is possible",
    "local": "near one point of a smooth network: the only KKT point, its value, whether it is a minimum",
    "check": "the independent checker's verdict on a certificate",
    "program": "write the explicit QP, LP, SOCP, SDP or MILP of a problem",
    "theorems": "verify the results of the paper numerically, with proofs, figures and a report",
    "experiment": "the experiments of the paper, resumable; data-poisoning in full or --quick",
    "fixtures": "golden cases with certified answers; generate, verify, list, export",
    "audit": "anybody's unlearning function against certified answers; a report card",
    "crosscheck": "closed form, CVXPY, torch and processes on one table of problems, judged by certificates",
    "bench": "side by side with peers, as ratios, each in a process of its own",
}

DONE, NOT_PROVED, USAGE, PROVED_OTHER, LOCAL = 0, 1, 2, 3, 4
INTERNAL, NOT_MEASURED, INTERRUPTED, BROKEN_PIPE = 70, 75, interrupts.STATUS, 141


class UsageError(ExactUnlearnError):
    """The command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence, told by `main` like any other."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of the process) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with interrupts.obeyed():
            return _guarded(arguments)
    except KeyboardInterrupt:  # between the lines of the handlers below
        return _complain("interrupted", INTERRUPTED)


def _guarded(arguments: list[str]) -> int:
    """The exit status; every error has become one sentence, and an interrupt is one whatever it was turned into."""
    try:
        _tolerate_narrow_terminals()
        status = _run(arguments)
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
        interrupts.check()
        return status
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except Exception as error:
        if interrupts.behind(error):
            return _complain("interrupted", INTERRUPTED)
        return _failure(error, arguments)


def _failure(failure: Exception, arguments: list[str]) -> int:
    """The exit status of an error, told in one sentence."""
    try:
        raise failure
    except NotMeasuredError as error:
        return _complain(str(error), NOT_MEASURED)
    except ExactUnlearnError as error:
        return _complain(str(error), USAGE)
    except BrokenPipeError:
        # what is still in the buffer would raise again when Python closes the stream at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror or error}", USAGE)
    except MemoryError:
        return _complain("out of memory; the problem is too large for this machine", NOT_MEASURED)
    except Exception as error:
        if "--debug" in arguments:
            raise
        kind = type(error).__name__
        return _complain(f"internal error, {kind}: {error}; please report it with the output of --debug", INTERNAL)


def _run(arguments: list[str]) -> int:
    parser = _parser(next((word for word in arguments if word in VERBS), None))
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    if options.verb is None:
        raise UsageError(f"name a verb, one of {', '.join(VERBS)} (see {PROGRAM} --help)")
    with needed_by(options.verb):
        return int(options.run(options))


def _parser(chosen: str | None) -> Parser:
    """All verbs by name, and the options of the chosen one only: the others stay unloaded."""
    parser = Parser(
        prog=PROGRAM,
        description="Ground truth for machine unlearning, by certified convex optimization.",
        epilog=f"{PROGRAM} VERB --help shows the options of a verb.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", parser_class=Parser)
    for name, purpose in VERBS.items():
        sub = verbs.add_parser(name, help=purpose, description=_sentence(purpose), allow_abbrev=False)
        sub.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
        if name == chosen:
            module = importlib.import_module(f"{__name__}.{name}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _complain(sentence: str, status: int) -> int:
    """One line on stderr, whatever the message was broken into."""
    print(f"{PROGRAM}: {' '.join(sentence.split())}", file=sys.stderr)
    return status


def _tolerate_narrow_terminals() -> None:
    """A terminal that has no λ shows a question mark; that is no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
