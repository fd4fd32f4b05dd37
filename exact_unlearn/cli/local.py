"""``exact-unlearn local``: what is true near one point of a smooth network, as a file that proves it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.terminal import (
    add_report_arguments,
    progress,
    require_distinct,
    require_report,
    require_writable,
    write_report,
    written_together,
)
from exact_unlearn.errors import FileFormatError, ProblemError

if TYPE_CHECKING:
    from exact_unlearn.jacobian import Array
    from exact_unlearn.local import LocalCertificate, SmoothNetwork
    from exact_unlearn.local.checker import Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of local."""
    parser.add_argument(
        "data",
        metavar="DATA",
        help=".npz or .safetensors with x (n, m), y (n, l), theta (d), layer by layer, each row by row, a bias last in "
        "its row; and optionally centre (d), widths and bias",
    )
    add_network_arguments(parser)
    parser.add_argument(
        "-o", "--output", metavar="CERT", help="the certificate, .json (default: NAME.local.json for DATA NAME.*, here)"
    )
    add_report_arguments(parser)


def add_network_arguments(parser: argparse._ActionsContainer) -> None:
    """What a file of arrays leaves open."""
    parser.add_argument("--widths", metavar="MxHx...xL", help="inputs, hidden neurons, outputs (default: array widths)")
    parser.add_argument("--activation", metavar="NAME", help="of the hidden layers, commas between several (tanh)")
    parser.add_argument("--bias", action="store_true", help="every layer has a bias (default: array bias, or none)")


def run(options: argparse.Namespace) -> int:
    """4: a local statement is proved; 1: nothing is; errors are raised."""
    from exact_unlearn.cli import LOCAL, NOT_PROVED
    from exact_unlearn.local import certify_local
    from exact_unlearn.summary import as_text

    source = Path(options.data)
    network, arrays = load_data(options, source)
    if "theta" not in arrays:
        raise FileFormatError(f"{source}: the array 'theta' is missing; the file holds {', '.join(sorted(arrays))}")
    output = Path(f"{source.stem}.local.json") if options.output is None else Path(options.output)
    place = require_writable("--output", output, (".json",))
    require_distinct([place], [source], options)
    require_report(options)
    with progress(options.quiet) as say:
        say(f"certifying: {network.n_parameters} parameters, {len(arrays['x'])} retained samples")
        certificate = certify_local(network, arrays["theta"], arrays["x"], arrays["y"], arrays.get("centre"))
    proved = certificate.proof == "local"
    paths = [place] if proved else []
    with written_together(paths) as temporary:
        for path in temporary:
            certificate.save(path)
    lines = [*certificate.lines(), *(("written", str(path)) for path in paths)]
    tree = {"schema": "exact-unlearn/local-report", "version": 1, **_certificate_tree(certificate)}
    write_report(options, as_text(lines), tree | {"written": [str(path) for path in paths]})
    return LOCAL if proved else NOT_PROVED


def load_data(options: argparse.Namespace, path: Path) -> tuple[SmoothNetwork, dict[str, Array]]:
    """The network and the arrays of a file; FileFormatError or ProblemError, one sentence, otherwise."""
    import numpy as np

    from exact_unlearn import codec
    from exact_unlearn.local import SmoothNetwork

    if path.is_dir():
        raise FileFormatError(f"{path}: is a directory; expected a file")
    arrays = codec.load_arrays(path) if path.suffix != ".json" else {}
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise FileFormatError(f"{path}: the array {missing[0]!r} is missing; the file holds {held}")
    widths = options.widths
    if widths is None:
        if "widths" not in arrays:
            raise ProblemError("--widths: expected inputs, neurons and outputs, such as 6x24x1, or an array widths")
        widths = np.atleast_1d(arrays["widths"]).tolist()
    else:
        try:
            widths = [int(part) for part in str(widths).split("x")]
        except ValueError:
            raise ProblemError(f"--widths: expected numbers such as 6x24x1, got {widths!r}") from None
    bias = options.bias or bool(np.any(arrays.get("bias", False)))
    names = (options.activation or "tanh").split(",")
    return SmoothNetwork(widths, names[0] if len(names) == 1 else names, bias), arrays


def is_local(path: Path) -> bool:
    """Whether a file says that it is a local certificate."""
    import json

    from exact_unlearn.local import checker

    if path.suffix != ".json" or path.stat().st_size > checker.MAX_BYTES:
        return False
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and tree.get("schema") == checker.SCHEMA


def verdict_about(options: argparse.Namespace, data: Path | None, certificate: Path) -> Verdict:
    """The checker's verdict; about DATA, if it is given: the file must be about these numbers, to the last bit."""
    from dataclasses import replace

    from exact_unlearn.local import checker
    from exact_unlearn.local.models import as_network
    from exact_unlearn.local.produce import Task

    found = checker.check(certificate)
    if data is None or found.proof == "none":
        return found
    network, arrays = load_data(options, data)
    task = Task.of(as_network(network), arrays["x"], arrays["y"], arrays.get("centre"))
    if checker.digest(task.statement()) != found.digest:
        other = f"not proved: the certificate is about another network, or other data than {data}"
        return checker.Verdict(False, (other,))
    *said, last = found.sentences
    return replace(found, sentences=(*said, last.partition(";")[0] + f"; network and data are those of {data}"))


def verdict_tree(found: Verdict) -> dict[str, Any]:
    """The verdict for machines, bounds rounded outwards."""
    from exact_unlearn.report import rounded_down, rounded_up

    return {
        "schema": "exact-unlearn/local-check-report",
        "version": 1,
        "proved": found.proved,
        "sentences": list(found.sentences),
        "proof": found.proof,
        "lower": rounded_down(found.lower),
        "upper": rounded_up(found.upper),
        "distance": rounded_up(found.distance),
        "radius": rounded_down(found.radius),
        "nu_radius": rounded_down(found.nu_radius),
        "minimum": found.minimum,
        "growth": rounded_down(found.growth),
        "digest": found.digest,
    }


def _certificate_tree(certificate: LocalCertificate) -> dict[str, Any]:
    """The certificate for machines."""
    from exact_unlearn.report import rounded_down, rounded_up

    return {
        "proof": certificate.proof,
        "proved": certificate.proved,
        "message": certificate.message,
        "lower": rounded_down(certificate.lower),
        "upper": rounded_up(certificate.upper),
        "distance": rounded_up(certificate.distance),
        "radius": rounded_down(certificate.radius),
        "nu_radius": rounded_down(certificate.nu_radius),
        "strict_minimum": certificate.strict_minimum,
        "growth": rounded_down(certificate.growth),
        "moved": certificate.moved,
    }
