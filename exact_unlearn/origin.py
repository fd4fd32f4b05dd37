"""Where a convex problem comes from that stands for an exact, non-convex one: enough to make it again, and to check it.

A problem with an `origin` is not only the program that it states: it has the value of

    minimise R(theta)   subject to   f(theta, x_i) = y_i on the retained samples

over all networks f of a class.  docs/global_truth.md says why; `exact_unlearn.convexity` makes such problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from exact_unlearn import codec
from exact_unlearn.activations import Activation
from exact_unlearn.arrangement import PATTERNS, Arrangement, arrangement
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, real_array, to_rational
from exact_unlearn.predictors import Predictor

SLOPES = {"relu": Fraction(0), "abs": Fraction(-1)}
"""phi(z) for z < 0 is this multiple of z; leaky_relu has a slope of its own."""

ENTRIES = 5_000_000
"""Of the matrix of a convex program, 40 MB."""

MEASURES = {"squared": "1/2 |theta|^2", "path": "sum_j |c_j| |a_j|_1"}
"""R of two layers, by name."""


@dataclass(frozen=True)
class Parts:
    """The arrays of a convex problem. labels: the group of each coordinate."""

    theta_star: Array
    matrix: Array
    rhs: Array
    at_least: Array
    labels: Array


@dataclass(frozen=True, eq=False)
class TwoLayer:
    """f(theta, x) = sum_j c_j phi(a_j . x), phi(z) = z for z >= 0 and slope * z for z < 0, one output.

    activation: "relu", "leaky_relu" or "abs".  slope: of phi below 0 (None: that of the activation's name).  width: of
    the network that is asked about.  x: (n, m) retained inputs; y: (n,) or (n, 1) outputs, both float64 or both
    Fractions.  R: "squared" is 1/2 |theta|^2, "path" is sum_j |c_j| |a_j|_1.

    The problem has two blocks v_p and w_p of m coordinates for each sign pattern S_p of the open cells of the
    arrangement x_i . u = 0.  With D_p = 1 where S_p = 1 and slope where S_p = -1,

        minimise sum_p |v_p| + |w_p|   subject to   sum_p D_p X (v_p - w_p) = y,   S_p X v_p >= 0,   S_p X w_p >= 0,

    norms being those of R: 2-norms for 1/2 |theta|^2, 1-norms for the path norm.  A block is the sum c a of neurons
    whose a lies in the closure of the cell, c > 0 in v_p and c < 0 in w_p.  Patterns without a block: that of no
    positive sign where slope = 0, whose neurons do nothing; and one of every two opposite ones where slope = -1.
    """

    activation: str
    slope: Any
    width: int
    x: Array
    y: Array
    R: str

    kind: ClassVar[str] = "two_layer"

    def __post_init__(self) -> None:
        if self.activation not in (*SLOPES, "leaky_relu"):
            raise ProblemError(f"activation: expected one of relu, leaky_relu, abs, got {self.activation!r:.60}")
        own = SLOPES.get(self.activation)
        slope = own if self.slope is None and own is not None else Activation("leaky_relu", self.slope).slope
        if own is not None and slope != own:
            raise ProblemError(f"slope: {self.activation} has the slope {own} below 0, got {self.slope!r}")
        if isinstance(self.width, bool) or not isinstance(self.width, int | np.integer) or self.width < 1:
            raise ProblemError(f"width: expected an integer >= 1, got {self.width!r}")
        if not isinstance(self.R, str) or self.R not in MEASURES:
            raise ProblemError(f"regularizer: expected one of {', '.join(MEASURES)}, got {self.R!r:.60}")
        x, y = real_array("x", self.x, 2), np.asarray(self.y)
        y = real_array("y", y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, 1)
        if x.shape[1] == 0 or y.size != len(x):
            raise ProblemError(f"y: expected one output for each of {len(x)} samples of x, got shape {y.shape}")
        if object in (x.dtype, y.dtype):
            x, y = to_rational(x), to_rational(y)
        for name, value in (("slope", slope), ("width", int(self.width)), ("x", x), ("y", y)):
            object.__setattr__(self, name, value)

    @property
    def phi(self) -> Activation:
        """The activation function."""
        return Activation(self.activation, self.slope if self.activation == "leaky_relu" else None)

    # ------------------------------------------------------------ the program

    @cached_property
    def cells(self) -> Arrangement:
        """The patterns and the tree that proves them complete; ProblemError beyond `PATTERNS` of them."""
        return arrangement(self.x, halved=self.slope == -1, limit=PATTERNS)

    @property
    def patterns(self) -> Array:
        """(P, n) the signs S_p of the patterns that have blocks, 0 at samples that are 0."""
        signs = self.cells.signs
        useful = (signs > 0).any(axis=1) | ~(signs != 0).any(axis=1) | (self.slope != 0)
        found: Array = signs[useful]
        return found

    def parts(self) -> Parts:
        """theta* = 0; blocks v_1, w_1, v_2, w_2, ...; the equations, one per sample; then, block by block, a row
        S_p x_i . v_p >= 0 for each sample that is not 0.

        In floats where they hold every slope x_ij exactly, else in Fractions.
        """
        patterns, (n, m) = self.patterns, self.x.shape
        x, below = _scaled(self.x, self.slope)
        zero = Fraction(0) if x.dtype == object else 0.0
        d, used = 2 * len(patterns) * m, np.flatnonzero((patterns[0] != 0) if len(patterns) else np.zeros(n, bool))
        k = n + d // m * used.size
        if k * d > ENTRIES:
            raise ProblemError(
                f"x: the convex program of {len(patterns)} patterns of signs has {k} rows and {d} variables, more than "
                f"{ENTRIES} entries; retain fewer samples, or use fewer features"
            )
        matrix = np.full((k, d), zero, dtype=x.dtype)
        at = n
        for p, signs in enumerate(patterns):
            for block, direction in ((2 * p, 1), (2 * p + 1, -1)):
                columns = slice(block * m, (block + 1) * m)
                matrix[:n, columns] = direction * np.where((signs > 0)[:, None], x, below)
                matrix[at : at + used.size, columns] = signs[used, None].astype(int) * x[used]
                at += used.size
        matrix += zero  # -0.0 becomes 0.0
        rhs = np.full(len(matrix), zero, dtype=x.dtype)
        rhs[:n] = to_rational(self.y) if x.dtype == object else self.y
        at_least = np.arange(len(matrix)) >= n
        start = np.full(d, zero, dtype=x.dtype)
        return Parts(start, matrix, rhs, at_least, np.repeat(np.arange(d // m), m))

    def require(self, problem: Any) -> None:
        """ProblemError unless `problem` is the program of this origin, to the last bit."""
        own = self.parts()
        pairs = {
            "theta_star": (problem.theta_star, own.theta_star),
            "jacobian": (np.asarray(problem.jacobian), own.matrix),
            "rhs": (problem.rhs, own.rhs),
            "at_least": (problem.at_least, own.at_least),
            "free": (problem.free, np.ones(own.theta_star.size, dtype=bool)),
        }
        for name, (given, made) in pairs.items():
            if given.dtype != made.dtype:  # floats beside Fractions that are floats
                given, made = to_rational(given), to_rational(made)
            if given.shape != made.shape or (given != made).any():
                raise ProblemError(f"{name}: it is not that of the origin, which was changed or belongs elsewhere")
        if problem.drifts:
            raise ProblemError("drift_penalty: a problem with an origin has none")
        spec = problem.regularizer.to_spec()
        name, weights = spec.get("name"), spec.get("weights")
        grouped = name == "group_l2" and np.array_equal(spec["labels"], own.labels)
        fits = grouped if self.R == "squared" else name == "l1"
        if not fits or (weights is not None and any(w != 1 for w in weights)):
            raise ProblemError(f"regularizer: it is not that of the origin, {MEASURES[self.R]}")

    # ------------------------------------------------------------ what it says

    def network_value(self, value: Any) -> Any:
        """R of the network, of a value of the convex problem: the same."""
        return value

    @property
    def words(self) -> str:
        """The networks that the problem is about."""
        return f"two layers of {self.activation}"

    @property
    def title(self) -> str:
        """The network that is asked about."""
        return f"{self.words}, width {self.width}"

    def neurons(self, theta: Array) -> int:
        """How many neurons are enough for a point of the convex problem, which `convexity.global_network` may prune."""
        blocks = np.count_nonzero((theta.reshape(-1, self.x.shape[1]) != 0).any(axis=1))
        return min(int(blocks), int((self.x != 0).any(axis=1).sum()))

    def sentence(self, neurons: int) -> str:
        """For which widths a proof is one about the optimum."""
        text = f"the least {MEASURES[self.R]} of {self.words} that fit {len(self.x)} samples"
        if self.width < neurons:
            return f"at the width {self.width} a lower bound of {text}; their optimum from {neurons} neurons on"
        return f"{text}, at every width of {neurons} neurons or more"

    # ------------------------------------------------------------ files

    def to_tree(self) -> dict[str, Any]:
        """The object `origin` of docs/formats.md."""
        tree = {"kind": self.kind, "activation": self.activation, "slope": self.slope, "width": self.width}
        return tree | {"x": self.x, "y": self.y, "R": self.R}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> TwoLayer:
        """The inverse of `to_tree`."""
        slope = codec.parse_rational(tree["slope"])
        return cls(tree["activation"], slope, tree["width"], tree["x"], tree["y"], tree["R"])


def _scaled(x: Array, slope: Fraction) -> tuple[Array, Array]:
    """x and slope * x, in floats where these are exact."""
    if x.dtype == object:
        return x, slope * x
    products = float(slope) * x
    with np.errstate(all="ignore"):
        exact = Fraction(float(slope)) == slope and np.isfinite(products).all()
    if exact and (to_rational(products) == slope * to_rational(x)).all():
        return x, products + 0.0
    return to_rational(x), slope * to_rational(x)


ORIGINS: dict[str, Any] = {TwoLayer.kind: TwoLayer, Predictor.kind: Predictor}
"""Kinds of origins that files know."""


def require_kind(origin: Any) -> None:
    """ProblemError unless `origin` is None or one of `ORIGINS`."""
    if origin is not None and type(origin) not in ORIGINS.values():
        raise ProblemError(f"origin: expected one of exact_unlearn.origin or None, got {type(origin).__name__}")


def from_tree(tree: Mapping[str, Any]) -> Any:
    """The origin of a file; ProblemError on one that does not fit."""
    return ORIGINS[tree["kind"]].from_tree(tree)
