"""A problem from a file: complete ones as they were saved, raw arrays with the options that complete them."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exact_unlearn.errors import FileFormatError, ProblemError

if TYPE_CHECKING:
    from exact_unlearn.effects import Effect
    from exact_unlearn.jacobian import Array
    from exact_unlearn.problem import UnlearningProblem
    from exact_unlearn.solution import Solution

REGULARIZERS = (
    "squared-l2",
    "l2",
    "l1",
    "linf",
    "group-l2",
    "elastic-net",
    "huber",
    "total-variation",
    "nuclear-norm",
    "l0",
    "active-neurons",
)
WEIGHTED = ("squared-l2", "l2", "l1", "linf", "group-l2", "huber")
SUMS = "NAME + NAME, each of them NAME or NUMBER*NAME, such as l1+2*group-l2"
DRIFTS = "squared:LAMBDA, l1:LAMBDA, trust:RADIUS or trust-inf:RADIUS"

_RAW_OPTIONS = (
    "regularizer", "centre", "alpha", "beta", "delta", "grid", "groups", "weights", "block", "perceptron", "drift",
    "free", "frozen",
)  # fmt: skip


def add_problem_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """PROBLEM, which is `optional` where a verb knows another source, and the options that say what a raw file leaves
    open.
    """
    parser.add_argument(
        "problem",
        metavar="PROBLEM",
        nargs="?" if optional else None,
        help=".npz or .safetensors with arrays theta_star (d) and jacobian (k, d), or a complete problem saved by this "
        "package (.npz, .safetensors, .json)",
    )
    raw = parser.add_argument_group(
        "raw files",
        "A raw file holds theta_star and jacobian, and optionally rhs (k), at_least (a mask (k): those rows read "
        "J D >= rhs, not J D = rhs), groups (label of each parameter), weights, and frozen or free (a mask, or "
        "indices). KEY names such an array when it is called otherwise. "
        "A complete problem takes none of these options.",
    )
    raw.add_argument("-r", "--regularizer", metavar="NAME", help=f"{', '.join(REGULARIZERS)}; a sum is written {SUMS}")
    raw.add_argument("--centre", metavar="KEY", help="what to be near (d): R(theta - centre) instead of R(theta)")
    raw.add_argument("--drift", metavar="KIND:NUMBER", action="append", help=f"{DRIFTS}; repeat it for a sum")
    raw.add_argument(
        "--weights", metavar="KEY", help=f"weights of {', '.join(WEIGHTED)} (default: weights, if present)"
    )
    raw.add_argument("--groups", metavar="KEY", help="groups of group-l2 (default: groups), or of l0 (default: none)")
    raw.add_argument("--frozen", metavar="KEY", help="what must not move (default: frozen, if present)")
    raw.add_argument("--free", metavar="KEY", help="what may move (default: free, if present)")
    raw.add_argument("--alpha", metavar="NUMBER", type=float, help="of elastic-net: alpha |theta|_1 + ...")
    raw.add_argument("--beta", metavar="NUMBER", type=float, help="of elastic-net: ... + beta/2 |theta|^2")
    raw.add_argument("--delta", metavar="NUMBER", type=float, help="of huber: where squares become absolute values")
    raw.add_argument("--grid", metavar="AxB", help="of total-variation: the sides of the grid, such as 28x28")
    raw.add_argument("--block", metavar="START:STOP:PxQ", help="of nuclear-norm: theta[START:STOP] as a P x Q matrix")
    raw.add_argument("--perceptron", metavar="INPUTSxWIDTHxOUTPUTS", help="of active-neurons: the network's shape")


@dataclass(frozen=True)
class Loaded:
    """A problem; whether its file was raw, and which arrays of it nothing asked for."""

    problem: UnlearningProblem
    is_raw: bool = False
    unused: tuple[str, ...] = ()

    def effect(self, solution: Solution, penalty: bool) -> Effect | None:
        """What an answer does to the network; None, for a file does not know it."""
        return solution.effect


def load_problem(options: argparse.Namespace) -> Loaded:
    """The problem that the options describe; ProblemError or FileFormatError, one sentence, otherwise."""
    from exact_unlearn import codec
    from exact_unlearn.problem import UnlearningProblem

    path = Path(options.problem)
    if path.is_dir():
        raise FileFormatError(f"{path}: is a directory; expected a file")
    arrays = None if path.suffix == ".json" else codec.load_arrays(path)
    if arrays is not None and "spec" not in arrays:
        return build_problem(arrays, options, path)
    problem = UnlearningProblem.load(path)
    given = [name for name in _RAW_OPTIONS if getattr(options, name) is not None]
    if given:
        raise ProblemError(f"--{given[0]}: {path} is a complete problem, which states everything itself; leave it out")
    return Loaded(problem)


def build_problem(arrays: Mapping[str, Array], options: argparse.Namespace, path: Path) -> Loaded:
    """The problem of a raw file."""
    from exact_unlearn.jacobian import as_jacobian
    from exact_unlearn.problem import UnlearningProblem

    raw = _Raw(arrays, path)
    theta_star, jacobian = raw.required("theta_star"), raw.required("jacobian")
    if options.regularizer is None:
        raise ProblemError(f"-r: {path} holds raw arrays, so name the regularizer, one of {', '.join(REGULARIZERS)}")
    regularizer = _regularizer(options, raw)
    free = _free(options, raw, theta_star.shape[0] if theta_star.ndim else 0)
    rhs = raw.optional("rhs")
    J, at_least = as_jacobian(jacobian), raw.optional("at_least")
    mask = None if at_least is None else _flags("at_least", at_least, J.shape[0])
    problem = UnlearningProblem(theta_star, J, regularizer, drift_of(options.drift), free, rhs, mask)
    return Loaded(problem, True, tuple(sorted(set(arrays) - raw.used)))


class _Raw:
    """The arrays of a raw file, and which of them were used."""

    def __init__(self, arrays: Mapping[str, Array], path: Path) -> None:
        self.arrays, self.path = arrays, path
        self.used: set[str] = set()

    def required(self, name: str, option: str = "") -> Array:
        if name not in self.arrays:
            held = ", ".join(sorted(self.arrays)) or "nothing"
            raise FileFormatError(f"{option}{self.path}: the array {name!r} is missing; the file holds {held}")
        self.used.add(name)
        return self.arrays[name]

    def optional(self, name: str, key: str | None = None, option: str = "") -> Array | None:
        """The array `key` that an option asks for, else the one called `name` if there is one."""
        if key is not None:
            return self.required(key, f"{option}: ")
        return self.required(name) if name in self.arrays else None


def regularizer_of(options: argparse.Namespace, arrays: Mapping[str, Array], path: Path) -> Any:
    """The regularizer that the options name; its arrays are looked up in `arrays`, the content of `path`."""
    return _regularizer(options, _Raw(arrays, path))


def _regularizer(options: argparse.Namespace, raw: _Raw) -> Any:
    summands = [_factored(text) for text in options.regularizer.split("+")]
    names = [name for _, name in summands]
    for name in names:
        _require_known(name)
    _refuse_foreign_options(options, names)
    found = [_single(options, raw, name, len(names) > 1) for name in names]
    total = sum(R if factor == 1 else factor * R for (factor, _), R in zip(summands, found, strict=True))
    centre = None if options.centre is None else raw.required(options.centre, "--centre: ")
    return total if centre is None else total.centred_at(centre)


def _factored(text: str) -> tuple[float, str]:
    """2.0 and "l1" of "2*l1"."""
    number, star, name = text.strip().rpartition("*")
    try:
        factor = float(number) if star else 1.0
    except ValueError:
        raise ProblemError(f"-r: expected {SUMS}, got {text!r}") from None
    return factor, name.strip().lower().replace("_", "-")


def _require_known(name: str) -> None:
    if name == "predictor-norm":
        raise ProblemError(
            "-r: predictor-norm needs the jacobian as the product it is, which a raw file cannot hold; "
            "use surrogate_problem and UnlearningProblem.save"
        )
    if name not in REGULARIZERS:
        raise ProblemError(f"-r: expected one of {', '.join(REGULARIZERS)}, got {name!r}")


def _single(options: argparse.Namespace, raw: _Raw, name: str, summed: bool) -> Any:
    """One regularizer; in a sum weights are those that --weights names, and only one summand may take them."""
    from exact_unlearn import regularizers as R

    if name in WEIGHTED:
        named = options.weights is not None or not summed
        weights = raw.optional("weights", options.weights, "--weights") if named else None
        if name == "huber":
            return R.Huber(_needed(options, name, "delta"), weights)
        if name == "group-l2":
            return R.GroupL2(raw.required(options.groups or "groups", "--groups: "), weights)
        return {"squared-l2": R.SquaredL2, "l2": R.L2, "l1": R.L1, "linf": R.LInf}[name](weights)
    if name == "elastic-net":
        return R.ElasticNet(_needed(options, name, "alpha"), _needed(options, name, "beta"))
    if name == "total-variation":
        text = _needed(options, name, "grid")
        if re.fullmatch(r"\d+(x\d+)*", text) is None:
            raise ProblemError(f"--grid: expected AxB, such as 28x28, or one length, got {text!r}")
        return R.TotalVariation([int(side) for side in text.split("x")])
    if name == "nuclear-norm":
        start, stop, rows, columns = _numbers(options, name, "block", r"(\d+):(\d+):(\d+)x(\d+)")
        return R.NuclearNorm(slice(start, stop), (rows, columns))
    if name == "active-neurons":
        return R.ActiveNeurons.from_shape(*_numbers(options, name, "perceptron", r"(\d+)x(\d+)x(\d+)"))
    return R.L0(None if options.groups is None else raw.required(options.groups, "--groups: "))


_OWN_OPTIONS = {
    "alpha": ("elastic-net",),
    "beta": ("elastic-net",),
    "delta": ("huber",),
    "grid": ("total-variation",),
    "block": ("nuclear-norm",),
    "perceptron": ("active-neurons",),
    "weights": WEIGHTED,
    "groups": ("group-l2", "l0"),
}


def _refuse_foreign_options(options: argparse.Namespace, names: list[str]) -> None:
    for option, owners in _OWN_OPTIONS.items():
        if getattr(options, option) is not None and not set(names) & set(owners):
            raise ProblemError(f"--{option}: belongs to {', '.join(owners)}, not to {' + '.join(names)}")
    takers = [name for name in names if name in WEIGHTED]
    if options.weights is not None and len(takers) > 1:
        raise ProblemError(f"--weights: {' and '.join(takers)} both take weights; a sum with weights is made in Python")


def _needed(options: argparse.Namespace, name: str, option: str) -> Any:
    value = getattr(options, option)
    if value is None:
        raise ProblemError(f"--{option}: {name} needs it")
    return value


def _numbers(options: argparse.Namespace, name: str, option: str, pattern: str) -> list[int]:
    text = _needed(options, name, option)
    match = re.fullmatch(pattern, text)
    if match is None:
        shape = {"block": "START:STOP:PxQ, such as 0:12:3x4", "perceptron": "INPUTSxWIDTHxOUTPUTS, such as 64x80x1"}
        raise ProblemError(f"--{option}: expected {shape[option]}, got {text!r}")
    return [int(group) for group in match.groups()]


def drift_of(texts: list[str] | None) -> Any:
    """The sum of what --drift names; None for nothing."""
    from exact_unlearn.drift import DriftSum, L1Drift, SquaredDrift, Term, TrustRegion

    terms: list[Term] = []
    for text in texts or ():
        kind, colon, number = text.partition(":")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not colon or math.isnan(value):
            raise ProblemError(f"--drift: expected {DRIFTS}, got {text!r}")
        match kind:
            case "squared":
                terms.append(SquaredDrift(value))
            case "l1":
                terms.append(L1Drift(value))
            case "trust":
                terms.append(TrustRegion(value))
            case "trust-inf":
                terms.append(TrustRegion(value, norm=math.inf))
            case _:
                raise ProblemError(f"--drift: expected {DRIFTS}, got {text!r}")
    return DriftSum(tuple(terms)) if terms else None


def _free(options: argparse.Namespace, raw: _Raw, d: int) -> Any:
    frozen = raw.optional("frozen", options.frozen, "--frozen") if options.free is None or options.frozen else None
    free = raw.optional("free", options.free, "--free") if options.frozen is None or options.free else None
    if frozen is not None and free is not None:
        raise ProblemError(f"--free: {raw.path} says both what is free and what is frozen; name one of them")
    if frozen is not None:
        return ~_mask("frozen", frozen, d)
    return None if free is None else _mask("free", free, d)


def _flags(name: str, array: Array, n: int) -> Array:
    """A boolean mask (n,) from booleans, or from whole numbers 0 and 1."""
    import numpy as np

    if array.shape != (n,) or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise ProblemError(f"{name}: expected {n} of 0 and 1, one per row, got {array.dtype} of shape {array.shape}")
    return array.astype(bool)


def _mask(name: str, array: Array, d: int) -> Array:
    """A boolean mask (d,) from a mask or distinct indices.

    Whole numbers 0 and 1, d of them, are a mask as well: for d > 2 they cannot be distinct indices.
    """
    import numpy as np

    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise ProblemError(f"{name}: expected a mask or indices, got an array of {array.dtype} of shape {array.shape}")
    looks_like_mask = array.size == d > 2 and bool(np.isin(array, (0, 1)).all())
    if array.dtype == bool or looks_like_mask:
        if array.size != d:
            raise ProblemError(f"{name}: expected a mask of {d} entries, got {array.size}")
        return array.astype(bool)
    if array.size and (array.min() < 0 or array.max() >= d or np.unique(array).size != array.size):
        raise ProblemError(f"{name}: expected distinct indices from 0 to {d - 1}, got {array.tolist()!r:.60}")
    mask = np.zeros(d, dtype=bool)
    mask[array.astype(np.int64)] = True
    return mask
