"""``exact-unlearn audit``: anybody's unlearning function against certified answers."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable
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
    from exact_unlearn.fixtures.audit.attempt import Outcome
    from exact_unlearn.fixtures.audit.card import ReportCard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of audit."""
    parser.add_argument(
        "target",
        nargs="?",
        metavar="FUNCTION",
        help="MODULE:FUNCTION, FILE.py:FUNCTION or NOTEBOOK.ipynb:FUNCTION, also a class",
    )
    parser.add_argument("--root", metavar="DIR", help="where packages are looked for (default: the current folder)")
    parser.add_argument(
        "--methods", choices=["ours"], help="audit MinNorm-OG and its ten baselines instead of a FUNCTION"
    )
    parser.add_argument(
        "--adapter",
        metavar="NAME",
        help="the shape of the function (default: read off its signature), or FILE.py:WRAP, which makes it one",
    )
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="a hyper-parameter, such as lr=0.1")
    parser.add_argument(
        "--arg", action="append", metavar="NAME=VALUE", help="an argument that no shape knows; @teacher, @model, ..."
    )
    parser.add_argument("--device", choices=["cpu"], help='run code that says "cuda" on the CPU')
    parser.add_argument("--dtype", choices=["float64", "float32"], help="float32: all cases in float32")
    parser.add_argument(
        "-r", "--regularizer", metavar="NAME", help="what it claims to minimise: l2, l1, linf (default: found out)"
    )
    parser.add_argument(
        "--global",
        dest="globally",
        choices=["squared", "path"],
        help="it claims the least R over all networks of two layers that meet the labels: these then count",
    )
    targets = parser.add_mutually_exclusive_group()
    for option, kind, text in (
        ("--classification", "labels", "labels as targets (default: as the shape has it)"),
        ("--regression", "numbers", "numbers, also for the challenge's shape"),
        ("--tokens", "tokens", "sequences of tokens: input_ids, attention_mask, labels"),
    ):
        targets.add_argument(option, dest="targets", action="store_const", const=kind, help=text)
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
    if card.advice:
        raise ProblemError(card.advice)
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
    from exact_unlearn.fixtures.audit import settings
    from exact_unlearn.fixtures.audit.advice import advised
    from exact_unlearn.fixtures.audit.check import require_claim
    from exact_unlearn.fixtures.audit.grade import make_card
    from exact_unlearn.fixtures.audit.plan import make_plan
    from exact_unlearn.fixtures.audit.worker import Target, Workers

    wraps = options.adapter is not None and ":" in options.adapter
    function = Target(options.target, options.root, options.adapter if wraps else None, options.device).load()
    wrap, root = _absolute(options.adapter) if wraps else None, options.root and os.path.abspath(options.root)
    target = Target(_absolute(options.target), root, wrap, options.device)
    arguments: dict[str, Any] = {
        "adapter": None if wraps else options.adapter,
        "seed": _seed(options),
        "quick": options.quick,
        "targets": options.targets,
        "dtype": options.dtype,
        "device": options.device,
        "settings": settings.Settings(settings.parse("--set", options.set), settings.parse("--arg", options.arg)),
        "live_only": options.live_only,
        "cases": options.case,
    }
    plan = make_plan(function, **arguments)
    arguments["seed"] = plan.seed
    require_claim(plan, options.globally, "--global")

    def tried(count: int, changed: dict[str, Any], tell: Callable[[int], None]) -> list[Outcome]:
        """The outcomes of the first cases, with some arguments changed."""
        again = dataclasses.replace(target, device=changed.get("device", target.device))
        return Workers(again, arguments | changed, options.timeout).run(count, tell)

    with progress(options.quiet) as say:
        count = len(plan.trials)

        def tell(index: int) -> None:
            if index % max(1, count // 10) == 0:
                say(f"{plan.trials[index].name} ({index + 1} of {count})")

        outcomes = tried(count, {}, tell)
        say("grading")
        card = make_card(plan, outcomes, options.regularizer, options.target, options.globally)
        return advised(card, plan, outcomes, lambda changed: tried(1, changed, lambda index: None))


def _absolute(target: str) -> str:
    """FILE.py:NAME with the whole path, for processes that work elsewhere."""
    place, colon, name = target.rpartition(":")
    return f"{os.path.abspath(place)}:{name}" if colon and place.endswith((".py", ".ipynb")) else target


def _ours(options: argparse.Namespace) -> int:
    from exact_unlearn import report
    from exact_unlearn.cli import DONE
    from exact_unlearn.fixtures.audit import ours

    if any(given is not None for given in (options.html, options.adapter, options.regularizer, options.globally)):
        raise ProblemError("--methods ours takes no --html, --adapter, --regularizer and --global")
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
