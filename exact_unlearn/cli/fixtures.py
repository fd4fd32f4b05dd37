"""``exact-unlearn fixtures``: golden cases; generate, verify, list, export."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.terminal import (
    add_report_arguments,
    progress,
    require_folder,
    require_report,
    write_report,
)
from exact_unlearn.errors import ProblemError

if TYPE_CHECKING:
    from exact_unlearn.fixtures.case import Case, Fixtures

FILTERS = ("kind", "model", "regularizer", "drift", "freezing", "result", "flag", "bug")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The four actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    made = _action(actions, "generate", "write the cases anew; the same bytes on every machine", _generate)
    made.add_argument("-o", "--output", metavar="DIR", help="the folder to write (default: fixtures-VERSION)")
    made.add_argument(
        "--check", action="store_true", help="write nothing; compare with DIR (default: what ships with the package)"
    )
    verified = _action(actions, "verify", "recompute every hash and every proof, standard library only", _verify)
    verified.add_argument("folder", nargs="?", metavar="DIR", help="default: what ships with the package")
    shown = _action(actions, "list", "one line per case", _list)
    _add_filters(shown)
    written = _action(actions, "export", "the cases for other programs", _export)
    written.add_argument("--format", choices=("json", "npz", "mat", "safetensors"), required=True)
    written.add_argument("-o", "--output", metavar="DIR", required=True, help="a new or empty folder")
    written.add_argument("--folder", metavar="DIR", help="the fixtures to export (default: what ships)")


def run(options: argparse.Namespace) -> int:
    """0 done; 1 fixtures that are damaged, or differ."""
    require_report(options)
    return int(options.act(options))


def _action(actions: Any, name: str, purpose: str, act: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--version",
        choices=("v1", "v2"),
        default="v1",
        help="which cases, where no DIR is named: v1 (the default), or what v2 adds to it, networks decided over all "
        "their parameters",
    )
    add_report_arguments(parser)
    parser.set_defaults(act=act)
    return parser


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", metavar="DIR", help="default: what ships with the package")
    parser.add_argument("--level", type=int, metavar="N", help="1, 2 or 3, up to this one")
    parser.add_argument("--kind", choices=("valid", "acceptable", "invalid", "trajectory"))
    for name in FILTERS[1:]:
        what = "drift penalty" if name == "drift" else name
        parser.add_argument(f"--{name}", metavar="WORD", help=f"only cases with this {what}")
    parser.add_argument("--word", metavar="WORD", help="only ids that contain WORD")


def _generate(options: argparse.Namespace) -> int:
    from exact_unlearn.cli import DONE, NOT_PROVED
    from exact_unlearn.fixtures.case import data_folder
    from exact_unlearn.fixtures.generate import differences, generate, require_replaceable

    if options.check:
        folder = data_folder(options.version) if options.output is None else Path(options.output)
        with progress(options.quiet) as say:
            found = differences(folder, say, options.version)
        text = "\n".join(found) or f"{folder}: every byte as generated"
        write_report(options, text, {"folder": str(folder), "differences": found})
        return NOT_PROVED if found else DONE
    folder = require_folder("--output", Path(options.output or f"fixtures-{options.version}"))
    require_replaceable(folder)
    with progress(options.quiet) as say:
        count = generate(folder, say, options.version)
    write_report(options, f"{folder}: {count} cases", {"folder": str(folder), "cases": count})
    return DONE


def _verify(options: argparse.Namespace) -> int:
    from exact_unlearn.cli import DONE, NOT_PROVED
    from exact_unlearn.fixtures.verification import verify

    with progress(options.quiet) as say:
        found = verify(options.folder, say, options.version)
    tree = {
        "schema": "exact-unlearn/fixtures-verification",
        "version": 1,
        "passed": found.passed,
        "released": found.released,
        "digest": found.digest,
        "cases": found.cases,
        "proofs": found.proofs,
        "refused": found.refused,
        "failures": list(found.failures),
    }
    write_report(options, "\n".join([*found.failures, found.sentence]), tree)
    return DONE if found.passed else NOT_PROVED


def _list(options: argparse.Namespace) -> int:
    from exact_unlearn.cli import DONE
    from exact_unlearn.fixtures.case import load

    cases = [case for case in load(options.folder, options.version) if _fits(case, options)]
    if not cases:
        raise ProblemError("no case fits these filters; `exact-unlearn fixtures list` shows all of them")
    width = max(len(case.id) for case in cases)
    lines = [f"{case.id:{width}}  {case.kind:10}  {case.level}  {', '.join(case.flags) or '-'}" for case in cases]
    head = f"{'case':{width}}  {'kind':10}  level and flags"
    entries = [
        {
            "id": case.id,
            "kind": case.kind,
            "level": case.level,
            "flags": list(case.flags),
            "model": dict(case.model),
            "regularizer": case.regularizer,
            "drift_penalty": list(case.drift_penalty),
            "freezing": case.freezing,
            "result": case.result,
            "unique": case.unique,
            "condition": case.condition,
            "of": case.of,
            "bug": case.bug,
            "made": case.made,
        }
        for case in cases
    ]
    text = "\n".join([head, *lines, f"{len(cases)} case{'s' * (len(cases) != 1)}"])
    write_report(options, text, {"schema": "exact-unlearn/fixtures-list", "version": 1, "cases": entries})
    return DONE


def _fits(case: Case, options: argparse.Namespace) -> bool:
    """Whether a case passes all filters."""
    have = {
        "kind": (case.kind,),
        "model": (case.model["class"],),
        "regularizer": (case.regularizer,),
        "drift": case.drift_penalty or ("none",),
        "freezing": (case.freezing,),
        "result": (case.result,),
        "flag": case.flags,
        "bug": (case.bug,),
    }
    fits = all(getattr(options, name) in (None, *have[name]) for name in FILTERS)
    return fits and (options.level is None or case.level <= options.level) and (options.word or "") in case.id


def _export(options: argparse.Namespace) -> int:
    from exact_unlearn.cli import DONE
    from exact_unlearn.fixtures.case import load
    from exact_unlearn.fixtures.export import export

    folder = require_folder("--output", Path(options.output))
    fixtures: Fixtures = load(options.folder, options.version)
    with progress(options.quiet) as say:
        count = export(fixtures, folder, options.format, say)
    tree = {"folder": str(folder), "format": options.format, "cases": len(fixtures), "files": count}
    write_report(options, f"{folder}: {len(fixtures)} cases in {count} files", tree)
    return DONE
