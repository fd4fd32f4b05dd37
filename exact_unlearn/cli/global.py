"""``exact-unlearn global``: samples in; the least network that fits them, over all parameters, with a proof."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.cli.problems import Loaded
from exact_unlearn.cli.solve import add_answer_arguments, answer
from exact_unlearn.errors import FileFormatError, ProblemError

if TYPE_CHECKING:
    from exact_unlearn.jacobian import Array

KEYS = ("x", "y", "activation", "slope", "width", "regularizer", "diagonal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of global."""
    parser.add_argument(
        "problem",
        metavar="DATA",
        help=".npz or .safetensors with the retained samples, arrays x (n, m) and y (n); a bias is a constant column "
        "of x. An .npz may also hold activation, slope, width, regularizer and diagonal, which options override.",
    )
    parser.add_argument("--activation", metavar="NAME", help="relu (default), leaky_relu, abs or square")
    parser.add_argument("--slope", metavar="NUMBER", help="of leaky_relu below 0, as 0.25 or 1/100 (default 1/100)")
    parser.add_argument("--width", metavar="NEURONS", type=int, help="of the network (default: one neuron per sample)")
    parser.add_argument(
        "--diagonal",
        metavar="LAYERS",
        type=int,
        help="a diagonal network of so many layers, sum_j (w_1 * ... * w_L)_j x_j, in the place of two layers",
    )
    parser.add_argument(
        "-r",
        "--regularizer",
        metavar="NAME",
        help="squared (default), which is 1/2 |theta|^2; path, the sum of |c_j| |a_j|_1; or nuclear, the sum of "
        "|c_j| |a_j|_2^2, for square",
    )
    add_answer_arguments(parser, "DATA", "the convex problem, the certificate and the weights of the network")
    parser.set_defaults(module=None, write_back=None, retain=None, weights=None)


def run(options: argparse.Namespace) -> int:
    """0: the optimum is proved (or claimed with --no-certify); 1: not, or no network fits; errors are raised."""
    return answer(options, _loaded(options))


def _loaded(options: argparse.Namespace) -> Loaded:
    """The convex problem of the samples."""
    from exact_unlearn import codec
    from exact_unlearn.activations import Activation
    from exact_unlearn.convexity import global_problem
    from exact_unlearn.jacobian import real_array
    from exact_unlearn.models import DiagonalNetwork, Perceptron

    path = Path(options.problem)
    if path.is_dir():
        raise FileFormatError(f"{path}: is a directory; expected a file")
    arrays = codec.load_arrays(path)
    for name in ("x", "y"):
        if name not in arrays:
            held = ", ".join(sorted(arrays)) or "nothing"
            raise FileFormatError(f"{path}: the array {name!r} is missing; the file holds {held}")
    given = {key: _given(options, arrays, key, path) for key in KEYS[2:]}
    x = real_array("x", arrays["x"], 2)
    unknown = tuple(sorted(set(arrays) - set(KEYS)))
    measure = given["regularizer"] or "squared"
    if given["diagonal"] is not None:
        others = [key for key in ("activation", "slope", "width") if given[key] is not None]
        if others:
            raise ProblemError(f"diagonal: a diagonal network has no {', '.join(others)}")
        network = DiagonalNetwork(max(x.shape[1], 1), given["diagonal"])
        return Loaded(global_problem(network, x, arrays["y"], measure), True, unknown)
    slope = None if given["slope"] is None else _slope(given["slope"])
    width = max(len(x), 1) if given["width"] is None else given["width"]
    activation = Activation(given["activation"] or "relu", slope)
    problem = global_problem(Perceptron(max(x.shape[1], 1), width, activation), x, arrays["y"], measure)
    return Loaded(problem, True, unknown)


def _given(options: argparse.Namespace, arrays: dict[str, Array], key: str, path: Path) -> Any:
    """What the option says, else what the file does: one text or number."""
    option = getattr(options, key)
    if option is not None or key not in arrays:
        return option
    if arrays[key].size != 1:
        raise FileFormatError(f"{path}: {key}: expected one text or number, got an array of shape {arrays[key].shape}")
    return arrays[key].reshape(-1)[0].item()


def _slope(value: Any) -> Fraction:
    try:
        return Fraction(value)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise ProblemError(f"slope: expected a number such as 0.25 or 1/100, got {value!r:.60}") from None
