"""``exact-unlearn experiment`` on images: label-erasure, collapse, image-truth, runtime; their options and plans."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exact_unlearn import interrupts
from exact_unlearn.cli.terminal import progress as told
from exact_unlearn.cli.terminal import write_report
from exact_unlearn.errors import FileFormatError, ProblemError, require_extra

GRIDS = (
    "data",
    "data_path",
    "table",
    "buffers",
    "methods",
    "network",
    "width",
    "device",
    "weights",
    "rows",
    "order",
    "seeds",
    "backend",
)
NAMES: dict[str, tuple[str, ...]] = {
    "label-erasure": GRIDS,
    "collapse": GRIDS,
    "image-truth": ("data", "data_path", "seeds", "backend"),
    "runtime": ("buffers", "methods", "network", "width", "device"),
}
"""Experiments on images, and the options that each of them understands."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the image experiments."""
    group = parser.add_argument_group("experiments on images")
    group.add_argument(
        "--data",
        metavar="NAME",
        help="cifar10, tiny-imagenet, fashion-mnist (the default), idx, mnist5k, digits (the default of --quick)",
    )
    group.add_argument("--data-path", metavar="DIR", help="where a copy of the images lies; nothing is downloaded")
    group.add_argument("--table", metavar="N", type=int, help="the row of the paper's grids: 8 to 16, or 18 to 22")
    group.add_argument(
        "--buffers",
        metavar="LIST",
        help="running statistics: some of frozen, as-used, both-batches (the default: as-used; with --quick all)",
    )
    group.add_argument("--methods", metavar="LIST", help="some of the eleven, such as gd,minnorm-og")
    group.add_argument("--network", metavar="NAME", help="small, resnet18 or resnet50 (default: by the images)")
    group.add_argument("--width", metavar="N", type=int, help="of the first layer (default: by the images)")
    group.add_argument("--device", metavar="NAME", help="cpu (the default) or cuda")
    group.add_argument("--weights", metavar="FILE", help="state of torchvision's pretrained ResNet-50 (tiny-imagenet)")
    group.add_argument("--rows", choices=["largest", "all"], help="of MinNorm-OG: which logits have a gradient in J")
    group.add_argument("--order", metavar="NAME", help="of MinNorm-OG: project-descend or descend-project")


def require_known(options: argparse.Namespace) -> None:
    """ProblemError if an option was given to an experiment that does not understand it."""
    known = NAMES.get(options.name, ("seeds", "backend"))
    for name in GRIDS:
        if name not in known and getattr(options, name) is not None:
            others = ", ".join(other for other, mine in NAMES.items() if name in mine)
            raise ProblemError(f"--{name.replace('_', '-')}: is for {others}, not for {options.name}")


def carry_out(
    options: argparse.Namespace,
    seeds: tuple[int, ...] | None,
    folder: Path,
    output: Path,
    progress: Callable[[Any], None],
) -> tuple[Path, ...]:
    """The files that were written."""
    for name, other in (("budgets", options.budgets), ("certify", options.certify)):
        if other is not None:
            raise ProblemError(f"--{name}: is for data-poisoning, not for {options.name}")
    require_known(options)

    def ready(found: Any) -> None:
        write_report(options, found.text(), found.tree())

    if options.name == "runtime":
        return _runtime(options, output, ready)
    if options.name == "image-truth":
        module = importlib.import_module("exact_unlearn._validation.experiments.images_truth_report")
        require_extra("experiment image-truth", "cvxpy")
        fields = {} if seeds is None else {"seeds": seeds}
        plan = module.make_plan(_copy(options, "digits"), options.quick, **fields)
    else:
        module = importlib.import_module("exact_unlearn._validation.experiments.images")
        plan = _plan(options, seeds, module)
    files: tuple[Path, ...] = module.run(plan, folder, output, options.jobs, options.backend, progress, ready).files
    return files


def _copy(options: argparse.Namespace, default: str) -> Any:
    data = importlib.import_module("exact_unlearn._validation.experiments.data")
    return data.load(options.data or default, options.data_path)


def _runtime(options: argparse.Namespace, output: Path, ready: Callable[[Any], None]) -> tuple[Path, ...]:
    runtime = importlib.import_module("exact_unlearn._validation.experiments.runtime")
    given = {name: getattr(options, name) for name in ("network", "width") if getattr(options, name) is not None}
    if options.methods is not None:
        given["methods"] = _words("--methods", options.methods)
    if options.buffers is not None:
        if options.buffers not in ("frozen", "as-used", "both-batches"):
            raise ProblemError(f"--buffers: expected one of frozen, as-used, both-batches, got {options.buffers!r}")
        given["buffers"] = options.buffers
    plan = runtime.make_plan(options.quick, device=device(options.device), **given)
    with told(options.quiet, patience=0.0) as say:
        files: tuple[Path, ...] = runtime.run(plan, output, say, ready).files
    return files


def _plan(options: argparse.Namespace, seeds: tuple[int, ...] | None, images: Any) -> Any:
    buffers = options.buffers or ("frozen,as-used,both-batches" if options.quick else "as-used")
    fields: dict[str, Any] = {"buffers": _words("--buffers", buffers), "device": device(options.device)}
    if seeds is not None:
        fields["seeds"] = seeds
    if options.methods is not None:
        fields["methods"] = _words("--methods", options.methods)
    if options.weights is not None:
        fields["weights"] = _weights(Path(options.weights))
    extra = {name: getattr(options, name) for name in ("rows", "order") if getattr(options, name) is not None}
    if extra.get("order", "project-descend") not in ("project-descend", "descend-project"):
        raise ProblemError(f"--order: expected project-descend or descend-project, got {extra['order']!r}")
    for name in ("table", "width"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ProblemError(f"--{name}: expected a positive number, got {getattr(options, name)}")
    copy = _copy(options, "digits" if options.quick else "fashion-mnist")
    return images.make_plan(
        options.name,
        copy,
        options.table,
        options.quick,
        options.width,
        options.network,
        extra=tuple(sorted(extra.items())),
        **fields,
    )


def device(name: str | None) -> str:
    """The device of that name, if torch has it."""
    import torch

    if name not in (None, "cpu", "cuda"):
        raise ProblemError(f"--device: expected cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ProblemError("--device: torch finds no CUDA device here")
    return name or "cpu"


def _words(option: str, text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(","))
    if not all(found) or len(set(found)) != len(found):
        raise ProblemError(f"{option}: expected different names, got {text!r}")
    return found


def _weights(path: Path) -> dict[str, Any]:
    """A state of torchvision, from a .safetensors file or one that torch wrote; no code in it is run."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): value.numpy() for name, value in state.items()}
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # torch and safetensors raise what they like on files of other kinds
        interrupts.reraise(error)
        raise FileFormatError(f"{path}: expected a state of parameters, got something else") from error
