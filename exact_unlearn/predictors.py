"""Exact problems of networks that are linear in x, or in x x^T, as problems about their predictor.

The network of a predictor W is known in closed form, and so is the least R among all networks that have it.  What is
left is to choose W, and that is convex (once concave, which a few vertices decide):

    network               R           least R of a predictor               the problem, subject to X W = Y
    linear                squared     1/2 |W|_F^2                          itself
    linear network        squared     (L/2) |w|^(2/L), one output          min |w|_2 (Theorem 4; L = 1: as above)
      of two layers       squared     |W|_*, several outputs               nuclear norm
    diagonal network      squared     |w|_1, two layers                    min |w|_1
                                      (L/2) sum |w_j|^(2/L), more          the same, concave on every orthant
    linear, diagonal      path        sum |W_jo|, every depth              min |W|_1
    squares, two layers   nuclear     |M|_*, M = sum_j c_j a_j a_j^T       nuclear norm, rows vec(x x^T)

The path norm is the sum over all paths from an input to an output of the product of |weights|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, real_array, to_rational

MODELS = {
    "linear": "linear models",
    "linear_network": "linear networks",
    "diagonal": "diagonal networks",
    "square": "two layers of squares",
}
MEASURES = {"squared": "1/2 |theta|^2", "path": "path norm", "nuclear": "sum_j |c_j| |a_j|_2^2"}
"""R, by name."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """The exact problem of a network, min R(theta) subject to f(theta, X) = Y, as one about its predictor.

    model: "linear", "linear_network", "diagonal" or "square".  widths: (m, h_1, ..., l); (m, ..., m, 1) of a diagonal
    network, one m per layer; (m, h, 1) of squares.  x: (n, m); y: (n, l) or (n,); both float64 or both Fractions.  R:
    "squared" (1/2 |theta|^2), "path", or "nuclear" (sum_j |c_j| |a_j|_2^2, of squares only).

    The parameters of the problem are W^T row by row, (l, m), or M, (m, m); theta* = 0; row i l + o holds x_i in the
    block of output o, or x_i x_i^T.  ProblemError where the problem is neither convex nor concave.
    """

    model: str
    widths: tuple[int, ...]
    x: Array
    y: Array
    R: str

    kind: ClassVar[str] = "predictor"
    cells: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ProblemError(f"model: expected one of {', '.join(MODELS)}, got {self.model!r:.60}")
        if not isinstance(self.R, str) or self.R not in MEASURES:
            raise ProblemError(f"regularizer: expected one of {', '.join(MEASURES)}, got {self.R!r:.60}")
        widths = tuple(self.widths)
        if len(widths) < 2 or any(type(width) is not int or width < 1 for width in widths):
            raise ProblemError(f"widths: expected two or more integers >= 1, got {widths!r:.60}")
        m, l, depth = widths[0], widths[-1], len(widths) - 1
        fitting = {
            "linear": depth == 1,
            "linear_network": True,
            "diagonal": widths == (m,) * depth + (1,),
            "square": depth == 2 and l == 1,
        }
        if not fitting[self.model]:
            raise ProblemError(f"widths: {widths!r:.60} are not those of {MODELS[self.model]}")
        x, y = real_array("x", self.x, 2), np.asarray(self.y)
        y = real_array("y", y[:, None] if y.ndim == 1 else y, 2)
        if x.shape[1] != m or y.shape != (len(x), l):
            raise ProblemError(f"y: expected shape ({len(x)}, {l}) for x of shape {x.shape}, got {y.shape}")
        if object in (x.dtype, y.dtype):
            x, y = to_rational(x), to_rational(y)
        for name, value in (("widths", widths), ("x", x), ("y", y)):
            object.__setattr__(self, name, value)
        if self.objective is None:
            raise ProblemError(self._reason())

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.widths) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Of the parameters of the convex problem as a matrix."""
        return (self.widths[0] if self.model == "square" else self.widths[-1]), self.widths[0]

    @property
    def objective(self) -> str | None:
        """The regularizer of the problem, by its name in files; None where there is no such problem."""
        if (self.R == "nuclear") != (self.model == "square"):
            return None
        if self.R != "squared":
            return "l1" if self.R == "path" else "nuclear_norm"
        if self.depth == 1:
            return "squared_l2"
        if self.model == "diagonal":
            return "l1" if self.depth == 2 else "power_sum"
        if self.widths[-1] == 1:
            return "l2"
        return "nuclear_norm" if self.depth == 2 else None

    def _reason(self) -> str:
        """Why there is no convex problem."""
        if self.model == "square":
            return (
                f"regularizer: for two layers of squares {MEASURES['nuclear']} is convex in the predictor ('nuclear'), "
                f"and {MEASURES.get(self.R, self.R)} is not"
            )
        if self.R == "nuclear":
            return f"regularizer: 'nuclear' is about two layers of squares; {MODELS[self.model]} have squared and path"
        return (
            f"model: 1/2 |theta|^2 of {self.depth} linear layers with {self.widths[-1]} outputs is not convex in the "
            "predictor; it is for one output, or two layers"
        )

    # ------------------------------------------------------------ the program

    def parts(self) -> tuple[Array, Array, Array]:
        """theta* = 0, J and b; in floats where they hold every entry exactly, else in Fractions."""
        x, y = self.x, self.y
        if self.model == "square":
            matrix = _products(x)
            if matrix.dtype == object and y.dtype != object:
                y = to_rational(y)
        else:
            (n, m), l = x.shape, y.shape[1]
            rows = np.full((n, l, l, m), Fraction(0) if x.dtype == object else 0.0, dtype=x.dtype)
            for o in range(l):
                rows[:, o, o] = x
            matrix = rows.reshape(n * l, l * m)
        start = np.full(matrix.shape[1], Fraction(0) if matrix.dtype == object else 0.0, dtype=matrix.dtype)
        return start, matrix, y.reshape(-1)

    def require(self, problem: Any) -> None:
        """ProblemError unless `problem` is the program of this origin, to the last bit."""
        start, matrix, rhs = self.parts()
        pairs = {
            "theta_star": (problem.theta_star, start),
            "jacobian": (np.asarray(problem.jacobian), matrix),
            "rhs": (problem.rhs, rhs),
            "at_least": (problem.at_least, np.zeros(rhs.size, dtype=bool)),
            "free": (problem.free, np.ones(start.size, dtype=bool)),
        }
        for name, (given, made) in pairs.items():
            if given.shape != made.shape or (to_rational(given) != to_rational(made)).any():
                raise ProblemError(f"{name}: it is not that of the origin, which was changed or belongs elsewhere")
        if problem.drifts:
            raise ProblemError("drift_penalty: a problem with an origin has none")
        spec = problem.regularizer.to_spec()
        fits, weights = spec.get("name") == self.objective, spec.get("weights")
        if fits and self.objective == "power_sum":
            fits = spec["depth"] == self.depth
        if fits and self.objective == "nuclear_norm":
            whole = np.array_equal(spec["indices"], np.arange(start.size))
            fits = whole and tuple(int(size) for size in spec["shape"]) == self.shape
        if not fits or (weights is not None and any(w != 1 for w in weights)):
            raise ProblemError(f"regularizer: it is not that of the origin, {self.objective}")

    # ------------------------------------------------------------ what it says

    def network_value(self, value: Any) -> Any:
        """R of the best network, of a value v of the convex problem: (L/2) v^(2/L) for `l2`, else v itself."""
        if self.objective != "l2" or self.depth == 2:
            return value
        return self.depth / 2 * float(value) ** (2 / self.depth)

    @property
    def words(self) -> str:
        """The networks that the problem is about."""
        if self.model not in ("linear_network", "diagonal"):
            return MODELS[self.model]
        return f"{MODELS[self.model]} of {self.depth} layer{'s' * (self.depth > 1)}"

    @property
    def title(self) -> str:
        """The network that is asked about."""
        return f"{self.words}, widths {'-'.join(map(str, self.widths))}"

    def neurons(self, theta: Array | None = None) -> int:
        """How many neurons in every hidden layer are enough; 0 where there is nothing to choose."""
        m, l = self.widths[0], self.widths[-1]
        return {"linear": 0, "diagonal": 0, "linear_network": min(m, l), "square": m}[self.model]

    def sentence(self, neurons: int) -> str:
        """For which widths a proof is one about the optimum."""
        text = f"the least {MEASURES[self.R]} of {self.words} that fit {len(self.x)} samples"
        if self.objective == "l2" and self.depth > 2:
            text += f" is {self.depth}/2 v^(2/{self.depth}) of this optimum v"
        if not neurons:
            return text
        if min(self.widths[1:-1], default=neurons) < neurons:
            return f"at these widths a lower bound of {text}; their optimum from {neurons} neurons per layer on"
        return f"{text}, at every width of {neurons} neurons or more"

    # ------------------------------------------------------------ files

    def to_tree(self) -> dict[str, Any]:
        """The object `origin` of docs/formats.md."""
        return {
            "kind": self.kind,
            "model": self.model,
            "widths": list(self.widths),
            "x": self.x,
            "y": self.y,
            "R": self.R,
        }

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Predictor:
        """The inverse of `to_tree`."""
        return cls(tree["model"], tuple(tree["widths"]), tree["x"], tree["y"], tree["R"])


def _products(x: Array) -> Array:
    """vec(x_i x_i^T) as rows, in floats where these are exact."""
    n, m = x.shape
    with np.errstate(all="ignore"):
        rows = (x[:, :, None] * x[:, None, :]).reshape(n, m * m)
    if x.dtype == object:
        return rows
    exact = to_rational(x)
    truth = (exact[:, :, None] * exact[:, None, :]).reshape(n, m * m)
    return rows + 0.0 if np.isfinite(rows).all() and (to_rational(rows) == truth).all() else truth
