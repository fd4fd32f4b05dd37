"""Exact unlearning problems of networks that are convex after a change of variables, and the way back to the network.

    minimise R(theta)   subject to   f(theta, x_i) = y_i on the retained samples        (paper eq. 4)

over *all* parameters, not to first order about some theta*: the global optimum, which can be proved.  Two layers with a
positively homogeneous activation and one output: Pilanci and Ergen (2020, arXiv 2002.10553); `origin.TwoLayer` has the
program.  docs/global_truth.md says what else is convex, and what is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn import codec, rational, summary
from exact_unlearn.certify import Certificate
from exact_unlearn.certify.terms import roots
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, DenseJacobian, to_float, to_rational
from exact_unlearn.models import DiagonalNetwork, LinearModel, LinearNetwork, Perceptron
from exact_unlearn.models.layout import inputs, targets
from exact_unlearn.origin import TwoLayer
from exact_unlearn.predictors import Predictor
from exact_unlearn.problem import UnlearningProblem, require_problem
from exact_unlearn.realisations import measure, realised
from exact_unlearn.regularizers import L1, L2, GroupL2, NuclearNorm, PowerSum, SquaredL2
from exact_unlearn.solution import Solution


def global_problem(model: Any, x_retain: Any, y_retain: Any, regularizer: str = "squared") -> UnlearningProblem:
    """The exact problem min R(theta) subject to f(theta, X) = y over all theta, as one that can be solved and proved.

    model: a Perceptron with relu, leaky_relu or abs and one output, whose width says which network is asked about; or
    with square; a LinearModel, a LinearNetwork or a DiagonalNetwork.  x_retain: (n_r, m), a bias being a constant
    column; y_retain: (n_r,) or (n_r, l).  regularizer: "squared" is 1/2 |theta|^2 (one output, or two linear layers);
    "path" the sum over all paths of products of |weights|, sum_j |c_j| |a_j|_1 of a Perceptron, whose program is
    linear; "nuclear" is sum_j |c_j| |a_j|_2^2, of square only.

    The problem has the network as its `origin`.  Its optimum is that of every network with at least as many neurons as
    some solution has non-zero blocks, and n_r always suffice; of narrower ones it is a lower bound.  `network_value` of
    the problem turns its optimum into R of the network (the identity but for three linear layers or more), and
    `global_network` makes the network of a solution.  Solve, certify, save and check it like any other.

    All are convex but one: 1/2 |theta|^2 of a DiagonalNetwork of three layers or more is concave on every orthant, and
    proved by its vertices.  ProblemError, one sentence, for what is neither, and for too many sign patterns.

    >>> import exact_unlearn as xu
    >>> x, y = [[-1.0, 1.0], [0.0, 1.0], [1.0, 1.0]], [1.0, 0.0, 1.0]  # the second input is the bias
    >>> xu.global_problem(xu.Perceptron(2, 4), x, y, "path")
    <UnlearningProblem: l1; 33 constraints (30 of them >=), 20 parameters>
    """
    for kind, door in DOORS.items():
        if isinstance(model, kind):
            return door(model, x_retain, y_retain, regularizer)
    known = ", ".join(kind.__name__ for kind in DOORS)
    raise ProblemError(f"model: expected one of {known}, whose exact problems are convex, got {type(model).__name__}")


def _perceptron(model: Perceptron, x_retain: Any, y_retain: Any, regularizer: str) -> UnlearningProblem:
    if model.phi.name == "square" and model.n_outputs == 1:
        return _about_predictor("square", (model.n_inputs, model.width, 1), x_retain, y_retain, regularizer)
    if model.n_outputs != 1:
        raise ProblemError(
            f"model: the exact problem of two layers is convex for one output only, and the model has {model.n_outputs}"
        )
    if model.phi.name not in ("relu", "leaky_relu", "abs"):
        raise ProblemError(
            "model: the exact problem of two layers is convex for relu, leaky_relu and abs, which are positively "
            f"homogeneous, and not for {model.phi.name}"
        )
    x = inputs(x_retain, model.n_inputs, "x_retain")
    y = targets(y_retain, len(x), 1, "y_retain")[:, 0]
    origin = TwoLayer(model.phi.name, model.phi.slope, model.width, x, y, regularizer)
    parts = origin.parts()
    measure = GroupL2(parts.labels) if origin.R == "squared" else L1()
    J = DenseJacobian(parts.matrix)
    return UnlearningProblem(parts.theta_star, J, measure, rhs=parts.rhs, at_least=parts.at_least, origin=origin)


def _about_predictor(
    model: str, widths: tuple[int, ...], x_retain: Any, y_retain: Any, regularizer: str
) -> UnlearningProblem:
    x = inputs(x_retain, widths[0], "x_retain")
    y = targets(y_retain, len(x), widths[-1], "y_retain")
    origin = Predictor(model, widths, x, y, regularizer)
    start, matrix, rhs = origin.parts()
    objectives: dict[str, Callable[[], Any]] = {
        "squared_l2": SquaredL2,
        "l2": L2,
        "l1": L1,
        "nuclear_norm": lambda: NuclearNorm(slice(0, start.size), origin.shape),
        "power_sum": lambda: PowerSum(origin.depth),
    }
    objective = objectives[str(origin.objective)]()
    return UnlearningProblem(start, DenseJacobian(matrix), objective, rhs=rhs, origin=origin)


def _linear(model: LinearModel, x_retain: Any, y_retain: Any, regularizer: str) -> UnlearningProblem:
    return _about_predictor("linear", (model.n_inputs, model.n_outputs), x_retain, y_retain, regularizer)


def _linear_network(model: LinearNetwork, x_retain: Any, y_retain: Any, regularizer: str) -> UnlearningProblem:
    return _about_predictor("linear_network", model.widths, x_retain, y_retain, regularizer)


def _diagonal(model: DiagonalNetwork, x_retain: Any, y_retain: Any, regularizer: str) -> UnlearningProblem:
    return _about_predictor("diagonal", (model.n_inputs,) * model.depth + (1,), x_retain, y_retain, regularizer)


DOORS: dict[type, Callable[[Any, Any, Any, str], UnlearningProblem]] = {
    Perceptron: _perceptron,
    LinearModel: _linear,
    LinearNetwork: _linear_network,
    DiagonalNetwork: _diagonal,
}
"""Class of models -> what makes its convex problem."""


# ---------------------------------------------------------------- the way back


@dataclass(frozen=True, eq=False, repr=False)
class Network(summary.Summarised):
    """The network of a solution of a convex problem.

    model: of the widths asked for, or of `neurons` where that is larger.  theta: (d,) floats; Fractions of a
    certificate, with which the network interpolates exactly (floats where it takes eigenvectors or singular vectors).
    neurons: how many it needs in a hidden layer.  value: R(theta).  attained: whether the widths asked for are enough
    for them; if not, the value of the convex problem is a lower bound at these widths, and whether it is attained there
    is not known.
    """

    model: Any
    theta: Array
    neurons: int
    value: float
    attained: bool

    def lines(self) -> summary.Lines:
        """Neurons and value."""
        hidden = f"{self.neurons} neurons, " if self.neurons else ""  # of a predictor without any, or of 0
        found = [("network", f"{hidden}R(theta) = {self.value:.12g}")]
        if not self.attained:
            found.append(("", "wider than was asked for; at that width the value is a lower bound"))
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights as floats, one array per block of the model, to .npz or .safetensors: c (h,) and A (h, m)
        of a Perceptron with one output.
        """
        weights = self.model.split(to_float(self.theta))
        codec.save_arrays(path, {name: M[0] if name == "c" and len(M) == 1 else M for name, M in weights.items()})


def global_network(problem: UnlearningProblem, found: Solution | Certificate) -> Network:
    """The network of a solution (floats) or of a certificate (Fractions), pruned to at most n_r neurons.

    A block v_p is a neuron with a = v_p / s and c = s, w_p one with c = -s; s is sqrt |v_p|, so that 1/2 (c^2 + |a|^2)
    = |v_p| (any s gives the same function and the same path norm).  More than rank many feature columns phi(X v_p)
    depend on each other: along a null vector, in the direction that does not raise the cost, one of them becomes 0.
    ProblemError for a problem that has no origin, and for a claim or a proof without a point.

    >>> import exact_unlearn as xu
    >>> problem = xu.global_problem(xu.Perceptron(2, 4), [[-1.0, 1.0], [1.0, 1.0]], [0.0, 1.0], "path")
    >>> network = xu.global_network(problem, xu.certify(problem))
    >>> network.neurons, network.attained, network.model.predict(network.theta, [[-1, 1], [1, 1]])[:, 0].tolist()
    (1, True, [Fraction(0, 1), Fraction(1, 1)])
    """
    require_problem(problem)
    if problem.origin is None:
        raise ProblemError("problem: it has no origin, so it stands for no network (see global_problem)")
    if not isinstance(found, Solution | Certificate):
        raise ProblemError(f"found: expected a Solution or a Certificate, got {type(found).__name__}")
    point = found.theta if isinstance(found, Solution) else found.point
    if point is None or (isinstance(found, Solution) and not np.isfinite(to_float(point)).all()):
        raise ProblemError("found: it has no point, so there is no network to make")
    if point.size != problem.n_parameters:
        raise ProblemError(f"found: it has {point.size} parameters, the problem {problem.n_parameters}")
    exact, origin = isinstance(found, Certificate), problem.origin
    if isinstance(origin, TwoLayer):
        return _two_layers(origin, to_rational(point), exact)
    network, theta, neurons = realised(origin, to_rational(point), exact)
    value = measure(network, theta, origin.R)
    attained = min(origin.widths[1:-1], default=neurons) >= neurons or origin.model == "diagonal"
    return Network(network, theta if exact else to_float(theta), neurons, value, attained)


def _two_layers(origin: TwoLayer, point: Array, exact: bool) -> Network:
    m = origin.x.shape[1]
    blocks = [(v, 1 - 2 * (b % 2)) for b, v in enumerate(point.reshape(-1, m)) if v.any()]
    sizes = [size(origin, v) for v, _ in blocks]
    phi, x = origin.phi, to_rational(origin.x)
    features = [sign * phi.value(rational.matmul(x, v)) for v, sign in blocks]
    scales = pruned(features, sizes)
    kept = [(t * v, sign) for (v, sign), t in zip(blocks, scales, strict=True) if t]
    width = max(origin.width, len(kept))
    C, A = rational.zeros((1, width)), rational.zeros((width, m))
    for j, (v, sign) in enumerate(kept):
        s = roots(size(origin, v))[0]
        C[0, j], A[j] = sign * s, v / s
    model = Perceptron(m, width, phi)
    theta = model.join({"c": C, "A": A})
    value = float(sum((size(origin, v) for v, _ in kept), Fraction(0)))
    return Network(model, theta if exact else to_float(theta), len(kept), value, origin.width >= len(kept))


def size(origin: TwoLayer, v: Array) -> Fraction:
    """|v| in the norm of R, 2-norms from below, to hundreds of bits."""
    if origin.R == "path":
        return sum(map(abs, v.tolist()), Fraction(0))
    return roots(sum((entry**2 for entry in v.tolist()), Fraction(0)))[0]


def pruned(columns: list[Array], costs: list[Fraction]) -> list[Fraction]:
    """t >= 0 with sum t_j columns[j] = sum columns[j] and <costs, t> <= sum costs, at most rank many of them not 0.

    Columns enter a basis, the most expensive first; one that depends on it is pushed to 0, or grows until another
    vanishes, whichever costs less.  All in Fractions, so that nothing is lost.
    """
    basis: list[int] = []
    t = [Fraction(1)] * len(columns)
    for j in sorted(range(len(columns)), key=lambda j: -costs[j]):
        if not columns[j].any():
            t[j] = Fraction(0)
            continue
        z = rational.solve(np.array([columns[b] for b in basis], dtype=object).T, columns[j]) if basis else None
        if z is None:
            basis.append(j)
            continue
        _push(j, basis, list(z), t, costs)
    return t


def _push(j: int, basis: list[int], z: list[Fraction], t: list[Fraction], costs: list[Fraction]) -> None:
    """columns[j] = sum z_b columns[b], so t_j + s and t_b - s z_b fit for every s: as far as that is not dearer."""
    rate = costs[j] - sum((w * costs[b] for w, b in zip(z, basis, strict=True)), Fraction(0))
    if rate >= 0 or all(w <= 0 for w in z):
        bounds = [(t[j], j), *((t[b] / -w, b) for w, b in zip(z, basis, strict=True) if w < 0)]
        step, first = min(bounds)
        step = -step
    else:
        step, first = min((t[b] / w, b) for w, b in zip(z, basis, strict=True) if w > 0)
    t[j] += step
    for w, b in zip(z, basis, strict=True):
        t[b] -= step * w
    if first != j:
        basis[basis.index(first)] = j
