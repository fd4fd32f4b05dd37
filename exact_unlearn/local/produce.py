"""Local certificates: near a point of a smooth network there is exactly one KKT point, and what it is.

Nothing here is trusted: the file that is written is read again by the checker before anything is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.codec import rational_text
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.local import checker
from exact_unlearn.local.certificate import LocalCertificate
from exact_unlearn.local.descent import Stationary, descend, newton, system
from exact_unlearn.local.models import Ordered, as_network, parameters_of
from exact_unlearn.local.network import SmoothNetwork
from exact_unlearn.models.layout import inputs, parameters, targets
from exact_unlearn.modules import is_module

BITS = 256  # of theta and nu, and so of the enclosure
SINGULAR = 1e-9  # singular values of J, and eigenvalues of the reduced Hessian, below this (relative) count as zero
ROOM = Fraction(9, 10)  # the contraction factor that radii aim at
FREE = 1 << 62  # work that the producer grants itself


def certify_local(model: Any, theta: Any, x_retain: Any, y_retain: Any, centre: Any = None) -> LocalCertificate:
    """Prove that near theta there is exactly one KKT point of

        minimise  1/2 |theta - centre|^2   subject to   f(theta, x_i) = y_i,

    enclose it and its value, and prove that it is a strict local minimum, or that it is none.

    model:     SmoothNetwork, Perceptron, LinearModel, LinearNetwork, or a torch Sequential of Linear layers with smooth
               activations (theta None: its own parameters).
    theta:     (d,) parameters, as the model orders them.  It need not be stationary: SQP steps lead to a point that is,
               and `moved` says how far it was.
    x_retain:  (n, m); y_retain: (n, l), or (n,) when l = 1; floats, or Fractions that are meant exactly.
    centre:    (d,), None for 0.

    The answer's `proof` is "local", or "none" with the reason in `message`: no point that fits was found, the samples
    give dependent rows of J, or the KKT system is singular (symmetries, degenerate neurons).  `proved` is False in any
    case: other networks, farther away, may be better.  Raises ProblemError on activations that are not smooth, and on
    arguments that do not fit.

    >>> import exact_unlearn as xu
    >>> model = xu.Perceptron(n_inputs=1, width=1, activation="tanh")
    >>> certificate = xu.certify_local(model, [1.0, 0.5], [[1.0]], [0.5])
    >>> certificate.proof, certificate.strict_minimum
    ('local', True)
    """
    ordered = as_network(model)
    if theta is None and is_module(model):
        theta = parameters_of(model)
    task = Task.of(ordered, x_retain, y_retain, centre)
    given = ordered.inward(to_float(parameters(theta, task.d)))
    if task.k > task.d:
        crowd = f"the rows of J are dependent: {task.k} retained outputs, but {task.d} parameters"
        return LocalCertificate.refused(model, ordered.outward(given), crowd)
    point = task.stationary(given)
    obstacle = task.obstacle(point)
    tree = obstacle or task.tree(point)
    if isinstance(tree, str):
        return LocalCertificate.refused(model, ordered.outward(point.theta), tree)
    return LocalCertificate.of_tree(tree, model, float(np.linalg.norm(point.theta - given)))


@dataclass(frozen=True, eq=False)
class Task:
    """The problem, exactly as it goes into the file (x, y, centre) and rounded to floats (the others)."""

    ordered: Ordered
    x: Array
    y: Array
    centre: Array
    inputs: Array
    labels: Array
    middle: Array

    @staticmethod
    def of(ordered: Ordered, x: Any, y: Any, centre: Any) -> Task:
        network = ordered.network
        x = inputs(x, network.n_inputs, "x_retain")
        y = targets(y, len(x), network.n_outputs, "y_retain")
        centre = (
            np.zeros(network.n_parameters) if centre is None else parameters(centre, network.n_parameters, "centre")
        )
        centre = ordered.inward(centre)
        for name, array in (("x_retain", x), ("y_retain", y), ("centre", centre)):
            if any(abs(entry) >= 1 << checker.MAX_WHOLE for entry in array.flat):
                raise ProblemError(f"{name}: expected numbers below 2^{checker.MAX_WHOLE} in size")
        size = network.n_parameters + y.size
        if size > checker.MAX_SIZE or network.depth > checker.MAX_LAYERS:
            raise ProblemError(
                f"model: expected at most {checker.MAX_SIZE} parameters and retained outputs together and "
                f"{checker.MAX_LAYERS} layers, got {size} and {network.depth}"
            )
        return Task(ordered, x, y, centre, to_float(x), to_float(y).reshape(-1), to_float(centre))

    @property
    def network(self) -> SmoothNetwork:
        return self.ordered.network

    @property
    def d(self) -> int:
        return self.network.n_parameters

    @property
    def k(self) -> int:
        return int(self.labels.size)

    def stationary(self, theta: Array) -> Stationary:
        """A KKT point in floats, to the last digit where that system is not singular."""
        about = self.network, self.inputs, self.labels
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
            found = descend(*about, theta, self.middle)
            return newton(*about, found, self.middle) if math.isfinite(found.missed) else found

    def system(self, point: Stationary) -> tuple[Array, Array, Array]:
        """K, and both residuals."""
        return system(self.network, self.inputs, self.labels, point.theta, point.nu, self.middle)

    def obstacle(self, point: Stationary) -> str:
        """Why nothing can be proved about the point, one sentence; "" if nothing is in the way."""
        with np.errstate(over="ignore", invalid="ignore"):
            K, _, _ = self.system(point)
        if not (math.isfinite(point.missed) and np.isfinite(K).all()):
            return "numbers leave the range of floats at theta, or where the descent from it leads"
        H, J = K[: self.d, : self.d], -K[self.d :, : self.d]
        U, sizes, Vt = np.linalg.svd(J)
        if self.k and sizes[-1] <= SINGULAR * sizes[0]:
            rows = _heavy(U[:, -1])
            which = ", ".join(f"{row // self.network.n_outputs}" for row in rows)
            return f"the rows of J are dependent, those of retained samples {which} among them; leave out what repeats"
        if point.missed > 1e-8 * (1 + float(np.linalg.norm(self.labels))):
            return f"no parameters that fit were found from theta: the best ones miss the labels by {point.missed:.1e}"
        if point.slope > 1e-6 * (1 + float(np.linalg.norm(point.theta))):
            return f"no stationary point was found from theta: {point.slope:.1e} of the gradient is left"
        Z = Vt[self.k :].T
        bends, V = np.linalg.eigh(Z.T @ H @ Z)
        least = int(np.argmin(np.abs(bends))) if bends.size else 0
        if bends.size and abs(bends[least]) <= SINGULAR * max(1.0, float(np.abs(bends).max())):
            named = ", ".join(self._name(at) for at in _heavy(Z @ V[:, least]))
            return (
                "the KKT system is singular: parameters can move with no change of labels and value to second order, "
                f"{named} among them (a symmetry, as between neurons of linear layers, or degenerate neurons)"
            )
        return ""

    def _name(self, at: int) -> str:
        """W2[0, 3] for a number in theta."""
        for name, block in self.network.layout.indices().items():
            if block[0, 0] <= at <= block[-1, -1]:
                row, column = divmod(at - int(block[0, 0]), block.shape[1])
                return f"{name}[{row}, {column}]"
        raise IndexError(at)

    # ------------------------------------------------------------ the file

    def tree(self, point: Stationary) -> dict[str, Any] | str:
        """The certificate as it is written, or why there is none."""
        K, _, _ = self.system(point)
        tree = self.statement()
        tree |= self._point(point, np.linalg.inv(K))
        tree |= self._bends(K)
        radii = _radii(tree)
        if radii is None and tree.pop("minimum", None) is not None:
            radii = _radii(tree)
        if radii is None:
            return "Newton's map is no contraction in any ball around the point: the KKT system is too nearly singular"
        tree |= {"radius": rational_text(radii[0]), "nu_radius": rational_text(radii[1])}
        return tree

    def statement(self) -> dict[str, Any]:
        """What the certificate is about."""
        network, (n, m) = self.network, self.x.shape
        layers = zip(network.widths[1:], network.phis, network.bias, strict=True)
        return {
            "schema": checker.SCHEMA,
            "version": 1,
            "network": {
                "inputs": m,
                "layers": [{"width": h, "activation": phi, "bias": bias} for h, phi, bias in layers],
            },
            "x": {"shape": [n, m], "data": _texts(self.x)},
            "y": {"shape": [n, network.n_outputs], "data": _texts(self.y)},
            "centre": _texts(self.centre),
        }

    def _point(self, point: Stationary, A: Array) -> dict[str, Any]:
        """theta and nu to all bits, by Newton's method with the inverse in floats and residuals in integers."""
        problem = checker.Problem(self.statement())
        z = [Fraction(entry) for entry in (*point.theta.tolist(), *point.nu.tolist())]
        inverse = _scaled(A, 60)
        units: list[int] = []
        for bits in (BITS // 2, BITS):
            units = [checker.floor(entry, bits) for entry in z]
            last = math.inf
            for _ in range(40):
                F, _, _ = checker.equations(problem, units[: self.d], units[self.d :], bits, checker.Work(FREE))
                step = [sum(map(int.__mul__, row, F)) >> 60 for row in inverse]
                largest = max(map(abs, step))
                if not largest < last:
                    break
                units, last = [a - b for a, b in zip(units, step, strict=True)], largest
            z = [Fraction(entry, 1 << bits) for entry in units]
        # |I - A K| is to be far below 1, whatever A is rounded to
        K = np.linalg.inv(A)
        fine = max(16, 12 + math.ceil(math.log2(len(A) * float(np.linalg.norm(K)))))
        rows = [[format(entry, "x") for entry in row[: i + 1]] for i, row in enumerate(_scaled((A + A.T) / 2, fine))]
        return {
            "bits": BITS,
            "theta": [format(entry, "x") for entry in units[: self.d]],
            "nu": [format(entry, "x") for entry in units[self.d :]],
            "inverse": {"bits": fine, "rows": rows},
        }

    def _bends(self, K: Array) -> dict[str, Any]:
        """What proves a minimum, or that there is none."""
        H, J = K[: self.d, : self.d], -K[self.d :, : self.d]
        Z = np.linalg.svd(J)[2][self.k :].T
        bends, V = np.linalg.eigh(Z.T @ H @ Z)
        if bends.size and bends[0] < 0:
            return {"saddle": [format(entry, "x") for entry in _scaled((Z @ V[:, :1]).T, 60)[0]]}
        bent = float(bends[0]) if bends.size else 1.0
        found = (0.0, 0)
        for power in range(0, 60, 2):  # H + rho J^T J has the least eigenvalue `bent` or nearly, if rho is large
            found = max(found, (float(np.linalg.eigvalsh(H + 2.0**power * J.T @ J)[0]), -power))
            if found[0] >= 0.8 * bent:
                break
        least, power = found[0], -found[1]
        if least <= 0:
            return {}
        sigma = Fraction(0.99 * least)
        try:
            L = np.linalg.cholesky(H + 2.0**power * J.T @ J - float(sigma) * np.eye(self.d))
        except np.linalg.LinAlgError:  # rounding is larger than the least eigenvalue
            return {}
        fine = min(checker.COARSE, max(16, 10 + math.ceil(math.log2(self.d * float(np.linalg.norm(L)) / least))))
        rows = [[format(entry, "x") for entry in row[: i + 1]] for i, row in enumerate(_scaled(L, fine))]
        rho = format(1 << power, "x")
        return {"minimum": {"rho": rho, "sigma": rational_text(sigma), "bits": fine, "factor": rows}}


def _radii(tree: dict[str, Any]) -> tuple[Fraction, Fraction] | None:
    """The largest radius, up to a fifth, for which the checker's bounds give a contraction (and a minimum, if the file
    says why it is one), and a radius of multipliers that goes with it."""
    work = checker.Work(FREE)
    problem = checker.Problem(tree)
    point = checker.Point(tree | {"radius": "1", "nu_radius": "1"}, problem)
    coarse = [entry >> point.bits - checker.COARSE for entry in point.theta]
    values = checker.Evaluation(problem, coarse, 1, checker.COARSE, work)
    lin = checker.linear(problem, point, values, work)
    bent = checker.definite(tree["minimum"], problem, lin, work) if "minimum" in tree else None

    def second(r: Fraction) -> Fraction | None:
        beta, tau = checker.vary(problem, point, values, r, work)
        off_j = beta * r + lin.j_off
        if bent is not None and bent[0] / 4 > bent[0] - bent[1] * off_j**2 - tau * r - lin.h_off:
            return None
        found = None
        for power in range(-10, 21):
            s = r * Fraction(2) ** power
            kappa, _ = checker.contraction(lin, beta * s + tau * r + lin.h_off, off_j, r, s)
            if kappa <= ROOM and (found is None or kappa < found[0]):
                found = (kappa, s)
        return None if found is None else found[1]

    low, high, best = -240, 8, None  # quarters of powers of two
    while low <= high:
        middle = (low + high) // 2
        r = Fraction(f"{2 ** (middle / 4):.2g}")
        s = second(r)
        low, high = (middle + 1, high) if s is not None else (low, middle - 1)
        best = best if s is None else (r, s)
    return best


def _heavy(v: Array) -> list[int]:
    """Where a vector is large: up to four places, in their order."""
    order = np.argsort(-np.abs(v), kind="stable")[:4]
    return sorted(int(at) for at in order if abs(v[at]) > 0.1 * abs(v[order[0]]))


def _texts(array: Array) -> list[str]:
    return [rational_text(entry) for entry in array.reshape(-1).tolist()]


def _scaled(matrix: Array, bits: int) -> list[list[int]]:
    """Integers in units of 2^-bits."""
    return [[round(math.ldexp(entry, bits)) for entry in row] for row in matrix.tolist()]
