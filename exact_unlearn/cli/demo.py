"""``exact-unlearn demo``: the main job on real data, end to end."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from exact_unlearn import interrupts
from exact_unlearn.cli.terminal import add_report_arguments, progress, require_folder, require_report, write_report
from exact_unlearn.errors import ProblemError, require_extra

if TYPE_CHECKING:
    from exact_unlearn.demo import Story

EXTRAS = ("cvxpy", "matplotlib", "scipy", "sklearn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of demo."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="demo-output",
        help="folder for figures, tables, problems and certificates (default: demo-output)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=3, help="which digits, which mistakes, which start (default: 3)"
    )
    add_report_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """0: everything was proved and every finding holds; 1: not; errors are raised."""
    require_extra("demo", *EXTRAS)
    # Matrices here are small: threads inside one product only get in each other's way.  Before NumPy is loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if options.seed < 0:
        raise ProblemError(f"--seed: expected a whole number >= 0, got {options.seed}")
    folder = require_folder("--output", Path(options.output))
    require_report(options)

    from exact_unlearn.cli import DONE, NOT_PROVED
    from exact_unlearn.demo import run_demo
    from exact_unlearn.demo.story import story_json, story_text

    with progress(options.quiet, patience=0.0) as say:
        story = run_demo(options.seed, say)
        written = _write(story, folder, say)
        say("done")
    where = f"Written to {folder}: {', '.join(str(path) for path in written if len(path.parts) == 1)}."
    proof = [str(folder / path) for path in written if path.parent.name == "proofs"][:2]
    check = f"See why it works: exact-unlearn explain\nCheck a proof yourself: exact-unlearn check {' '.join(proof)}"
    write_report(options, f"{story_text(story)}\n\n{where}\n{check}", story_json(story))
    return DONE if story.holds else NOT_PROVED


def _write(story: Story, folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Everything into `folder`, once all of it exists; the names relative to it, in the order of writing."""
    from exact_unlearn import report
    from exact_unlearn.demo.figures import write_figures
    from exact_unlearn.demo.story import story_json, story_text, write_proofs

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exact-unlearn-", dir=folder) as made:
        drafts = Path(made)
        (drafts / "proofs").mkdir()
        written = write_figures(story, drafts, say)
        say("problems and certificates")
        written += write_proofs(story, drafts / "proofs")
        for name, text in (
            ("results.txt", story_text(story) + "\n"),
            ("results.json", report.json_text(story_json(story))),
        ):
            report.write_text(drafts / name, text)
            written.append(drafts / name)
        names = [path.relative_to(drafts) for path in written]
        (folder / "proofs").mkdir(exist_ok=True)
        interrupts.check()
        with interrupts.held():
            for place in names:
                os.replace(drafts / place, folder / place)
    return names
