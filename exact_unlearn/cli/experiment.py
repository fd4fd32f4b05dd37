"""``exact-unlearn experiment``: the experiments of the paper, resumable at any moment, and some of our own."""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from exact_unlearn.cli import experiment_images
from exact_unlearn.cli.terminal import add_report_arguments, progress, require_folder, require_report, write_report
from exact_unlearn.errors import ProblemError, require_extra

EXPERIMENTS = {
    "data-poisoning": "Tables 1, 5, 6, 7 and Figures 1, 3, 4, 5: a sine, five poisoned samples, eight methods",
    "label-erasure": "Figures 2, 6 to 14, Tables 8 to 16: forget that images have colours; eleven methods",
    "collapse": "Tables 2, 17 to 22: forget the few images whose colour is not that of their class; eleven methods",
    "truth": "every method against the certified global optimum of small ReLU networks; ten minutes",
    "image-truth": "certified truth beside both: two readings of exact unlearning on fixed features",
    "runtime": "Table 3: seconds of an epoch of every method, as ratios to gradient descent, with 100 rows of J",
    "solver-lies": "claims of CVXPY's solvers against certified optima, as the conditioning of J grows; a minute",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of experiment."""
    listed = "; ".join(f"{name}: {purpose}" for name, purpose in EXPERIMENTS.items())
    parser.add_argument("name", metavar="NAME", choices=list(EXPERIMENTS), help=listed)
    parser.add_argument("--folder", metavar="DIR", default="experiment-output", help="results, one file per cell")
    parser.add_argument("--output", metavar="DIR", help="tables and figures (default: the folder itself)")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="minutes instead of hours; says that it is quick")
    sizes.add_argument("--full", action="store_true", help="the whole grid (the default)")
    parser.add_argument("--seeds", metavar="RANGE", help="such as 0-9 (the default) or 0,3,5")
    parser.add_argument("--budgets", metavar="LIST", help="epochs of unlearning, of 10,100,1000")
    parser.add_argument("--no-exact-view", action="store_true", help="leave out the exact surrogate solutions")
    parser.add_argument(
        "--certify",
        metavar="RANGE",
        nargs="?",
        const="",
        help="prove the exact surrogate solutions of these seeds as well (default: of the first one)",
    )
    parser.add_argument(
        "--lambdas",
        metavar="LIST",
        default="0",
        help="weights of the drift to prove them for, such as 0,9 (default: 0)",
    )
    experiment_images.add_arguments(parser)
    parser.add_argument("--jobs", metavar="N", type=int, default=-1, help="processes; -1 (the default): one per core")
    parser.add_argument("--backend", metavar="NAME", help="a joblib back end: loky (the default), dask, ray, ...")
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0, or an error is raised."""
    from exact_unlearn.cli import DONE

    needed = ("cvxpy", "scipy", "matplotlib") if options.name == "solver-lies" else ("torch", "scipy", "matplotlib")
    require_extra("experiment", *needed)
    if options.name not in experiment_images.NAMES:
        experiment_images.require_known(options)
    if options.name == "solver-lies":
        _solver_lies(options)
        return DONE
    data_poisoning = importlib.import_module("exact_unlearn._validation.experiments.data_poisoning")
    folder = require_folder("--folder", Path(options.folder))
    output = require_folder("--output", Path(options.output or options.folder))
    require_report(options)
    if options.jobs == 0 or options.jobs < -1:
        raise ProblemError(f"--jobs: expected a number of processes >= 1, or -1 for one per core, got {options.jobs}")

    def say(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    if options.name in experiment_images.NAMES:
        seeds = _numbers("--seeds", options.seeds) if options.seeds else None
        with data_poisoning.told(options.quiet, say) as tell:
            files = experiment_images.carry_out(options, seeds, folder, output, tell)
        if options.json != "-":
            print("\nwritten: " + ", ".join(str(path) for path in files))
        return DONE
    module = data_poisoning if options.name == "data-poisoning" else _truth()
    plan = _plan(options, module) if module is data_poisoning else _truth_plan(options, module)
    if plan.quick and not options.quiet:
        say("quick version: fewer seeds, a shorter training, one setting per method; not the numbers of the full one")
    with data_poisoning.told(options.quiet, say) as tell:
        outcome = module.run(
            plan,
            folder,
            output,
            options.jobs,
            options.backend,
            tell,
            ready=lambda found: write_report(options, found.text(), found.tree()),
        )
    if options.json != "-":
        print("\nwritten: " + ", ".join(str(path) for path in outcome.files))
    return DONE


def _solver_lies(options: argparse.Namespace) -> None:
    solver_lies = importlib.import_module("exact_unlearn._validation.experiments.solver_lies")
    output = require_folder("--output", Path(options.output or options.folder))
    require_report(options)

    def ready(claims: list[Any]) -> None:
        write_report(options, solver_lies.table(claims), [asdict(claim) for claim in claims])

    with progress(options.quiet, patience=0.0) as say:
        solver_lies.run(output, say, ready)


def _truth() -> Any:
    return importlib.import_module("exact_unlearn._validation.experiments.truth")


def _truth_plan(options: argparse.Namespace, truth: Any) -> Any:
    from dataclasses import replace

    for name in ("budgets", "certify"):
        if getattr(options, name) is not None:
            raise ProblemError(f"--{name}: is for data-poisoning, not for truth, where every optimum is certified")
    plan = truth.quick_plan() if options.quick else truth.Plan()
    return replace(plan, seeds=_numbers("--seeds", options.seeds)) if options.seeds else plan


def _plan(options: argparse.Namespace, data_poisoning: Any) -> Any:
    from dataclasses import replace

    plan = data_poisoning.quick_plan() if options.quick else data_poisoning.Plan()
    if options.seeds:
        plan = replace(plan, seeds=_numbers("--seeds", options.seeds))
    if options.budgets:
        plan = replace(plan, budgets=_numbers("--budgets", options.budgets))
    plan = replace(plan, exact_view=plan.exact_view and not options.no_exact_view, lambdas=_weights(options.lambdas))
    if options.certify is None:
        return plan
    if not plan.exact_view:
        raise ProblemError("--certify: there is no exact view to prove (--quick and --no-exact-view leave it out)")
    return replace(plan, certify=_numbers("--certify", options.certify) if options.certify else plan.seeds[:1])


def _weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise ProblemError(f"--lambdas: expected numbers such as 0,9, got {text!r}") from None


def _numbers(option: str, text: str) -> tuple[int, ...]:
    """ "0-3,7" -> (0, 1, 2, 3, 7)."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise ProblemError(f"{option}: expected numbers such as 0-9 or 0,3,5, got {text!r}") from None
    if not found or len(set(found)) != len(found):
        raise ProblemError(f"{option}: expected different numbers, got {text!r}")
    return tuple(found)
