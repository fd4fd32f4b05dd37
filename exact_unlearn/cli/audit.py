"""``exact-unlearn audit``: anybody's unlearning function against certified answers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.terminal import (
    Say,
    add_report_arguments,
    progress,
    require_folder,
    require_report,
    require_writable,
    write_report,
)
from exact_unlearn.errors import ProblemError, require_extra

if TYPE_CHECKING:
    from exact_unlearn.fixtures.audit.card import ReportCard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of audit."""
    parser.add_argument(
        "target", nargs="?", metavar="FUNCTION", help="MODULE:FUNCTION or FILE.py:FUNCTION, also a Trainer class"
    )
    parser.add_argument(
        "--methods", choices=["ours"], help="audit MinNorm-OG and its ten baselines instead of a FUNCTION"
    )
    parser.add_argument("--adapter", metavar="NAME", help="the shape of the function (default: read off its signature)")
    parser.add_argument(
        "-r", "--regularizer", metavar="NAME", help="what it claims to minimise: l2, l1, linf (default: found out)"
    )
    parser.add_argument(
        "--classification", action="store_true", default=None, help="labels instead of numbers as targets"
    )
    parser.add_argument(
        "--regression", dest="classification", action="store_false", help="numbers, also for the challenge's shape"
    )
    parser.add_argument("--seed", metavar="N", default="0", help='of the live problems; "fresh" draws one (default: 0)')
    parser.add_argument("--quick", action="store_true", help="small live problems only")
    parser.add_argument("--case", action="append", metavar="WORD", help="only cases whose names contain WORD")
    parser.add_argument("--live-only", action="store_true", help="no fixtures")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="per case (default: 60)")
    parser.add_argument("--every", action="store_true", help="also list fixtures that were answered exactly")
    parser.add_argument("--html", metavar="FILE", help="write the report card as a page as well")
    parser.add_argument("-o", "--output", metavar="DIR", help="with --methods: folder for table.md and audit.json")
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0: exact on all that it claims; 1: not; 75: right where it was measured, which is not everywhere."""
    from exact_unlearn.cli import DONE, NOT_MEASURED, NOT_PROVED

    require_extra("audit", "scipy", "torch")
    if (options.target is None) == (options.methods is None):
        raise ProblemError("name a FUNCTION as MODULE:FUNCTION or FILE.py:FUNCTION, or say --methods ours, not both")
    if not options.timeout > 0:
        raise ProblemError(f"--timeout: expected a number of seconds > 0, got {options.timeout}")
    require_report(options)
    if options.html is not None:
        require_writable("--html", Path(options.html), (".html", ".htm"))
    if options.methods is not None:
        return _ours(options)
    card = _audit(options)
    if options.html is not None:
        from exact_unlearn import report

        report.write_text(Path(options.html), card.html())
    write_report(options, card.text(options.every), card.to_json())
    return DONE if card.exact else NOT_MEASURED if card.not_measured else NOT_PROVED


def _seed(options: argparse.Namespace) -> int | None:
    if options.seed == "fresh":
        return None
    try:
        seed = int(options.seed)
    except ValueError:
        seed = -1
    if seed < 0:
        raise ProblemError(f"--seed: expected a number >= 0 or fresh, got {options.seed!r}")
    return seed


def _audit(options: argparse.Namespace) -> ReportCard:
    from exact_unlearn.fixtures.audit.check import make_card, make_plan
    from exact_unlearn.fixtures.audit.worker import Workers, load_function

    function = load_function(options.target)
    settings: dict[str, Any] = {
        "adapter": options.adapter,
        "seed": _seed(options),
        "quick": options.quick,
        "classification": options.classification,
        "live_only": options.live_only,
        "cases": options.case,
    }
    plan = make_plan(function, **settings)
    with progress(options.quiet) as say:
        count = len(plan.trials)

        def tell(index: int) -> None:
            if index % max(1, count // 10) == 0:
                say(f"{plan.trials[index].name} ({index + 1} of {count})")

        workers = Workers(_absolute(options.target), settings | {"seed": plan.seed}, options.timeout)
        outcomes = workers.run(count, tell)
        say("grading")
        return make_card(plan, outcomes, options.regularizer, options.target)


def _absolute(target: str) -> str:
    """FILE.py:NAME with the whole path, for processes that work elsewhere."""
    place, colon, name = target.rpartition(":")
    return f"{os.path.abspath(place)}:{name}" if colon and place.endswith(".py") else target


def _ours(options: argparse.Namespace) -> int:
    from exact_unlearn import report
    from exact_unlearn.cli import DONE
    from exact_unlearn.fixtures.audit import ours

    if options.html is not None or options.adapter is not None or options.regularizer is not None:
        raise ProblemError("--methods ours takes no --html, --adapter and --regularizer")
    folder = None if options.output is None else require_folder("--output", Path(options.output))
    with progress(options.quiet) as say:
        cards = _cards(options, say)
    text, tree = ours.table(cards), ours.to_json(cards)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        report.write_text(folder / "table.md", text + "\n")
        report.write_text(folder / "audit.json", report.json_text(tree))
    write_report(options, text, tree)
    return DONE


def _cards(options: argparse.Namespace, say: Say) -> list[Any]:
    from exact_unlearn.fixtures.audit import ours

    return ours.audit_methods(_seed(options), options.quick, options.live_only, say)
