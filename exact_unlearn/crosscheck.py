"""The cross-check ladder: every route to an answer, on one table of problems, judged by certificates.

    closed form  <->  CVXPY, two back ends  <->  torch: columns, products, float32  <->  torch over two processes

For each problem a certificate (checked by the independent checker) encloses the optimum in [lower, upper].  A
route is right on it when its point is feasible and its value lies in that interval, up to a tolerance that
depends on the route, its precision and the conditioning of J (`TOLERANCES`), and on nothing else.  No route is
compared with another one that could be wrong in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form, interrupts
from exact_unlearn.errors import (
    ExactUnlearnError,
    NotMeasuredError,
    ProblemError,
    RankAmbiguityError,
    SolverError,
)
from exact_unlearn.jacobian import Array, DenseJacobian, to_float
from exact_unlearn.problem import UnlearningProblem

Say = Callable[[str], None]

EPS64, EPS32 = 2.0**-52, 2.0**-23


@dataclass(frozen=True)
class Tolerance:
    """base + slope * eps * condition: what a route may be off by, relative to max(|optimum|, R(theta*)); no
    more than 0.01.
    """

    base: float
    slope: float
    eps: float

    def at(self, condition: float) -> float:
        return self.base + self.slope * self.eps * condition

    def applies(self, condition: float) -> bool:
        """Whether the route promises anything at this conditioning."""
        return self.at(condition) <= 0.01


TOLERANCES = {
    "closed form": Tolerance(1e-12, 16.0, EPS64),
    "cvxpy": Tolerance(1e-8, 0.0, EPS64),  # the reference solver works in an orthonormal basis of the rows
    "cvxpy, second back end": Tolerance(1e-6, 0.0, EPS64),
    "torch": Tolerance(2e-8, 0.0, EPS64),
    "torch, products": Tolerance(2e-6, 64.0, EPS64),  # refuses rows that a Gram matrix cannot resolve
    "torch, float32": Tolerance(2e-5, 256.0, EPS32),
    "torch, two processes": Tolerance(2e-8, 64.0, EPS64),
}
"""One row per route."""


@dataclass(frozen=True)
class Rung:
    """One route on one problem.

    error: how far value or feasibility is outside what is proved, relatively (nan when there is no answer).
    verdict: "right", "wrong", "not proved" (the certificate says nothing), "refused" (the route does not take
    this problem), "beyond precision", "not measured" (memory ran out, a process was killed).
    """

    case: str
    route: str
    verdict: str
    error: float
    tolerance: float
    proof: str
    message: str = ""


@dataclass(frozen=True)
class Ladder:
    """All rungs; `certified` counts problems whose optimum is proved, `problems` all of them."""

    rungs: tuple[Rung, ...]
    problems: int
    certified: int

    @property
    def right(self) -> bool:
        """Every problem is certified and every route that applies is right."""
        return self.certified == self.problems and all(
            rung.verdict in ("right", "refused", "beyond precision") for rung in self.rungs
        )

    @property
    def not_measured(self) -> bool:
        """Whether nothing is wrong or unproved, but some rung could not be measured."""
        verdicts = {rung.verdict for rung in self.rungs}
        return self.certified == self.problems and "not measured" in verdicts and not verdicts & {"wrong", "not proved"}

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "exact-unlearn/crosscheck",
            "version": 1,
            "problems": self.problems,
            "certified": self.certified,
            "right": self.right,
            "rungs": [{**rung.__dict__, "error": _finite(rung.error)} for rung in self.rungs],
        }

    def text(self) -> str:
        """One line per route, then every rung that is not right."""
        lines = [f"{'route':24} {'right':>5} {'wrong':>5} {'unproved':>8} {'refused':>7} {'worst error':>12}"]
        for route in TOLERANCES:
            mine = [rung for rung in self.rungs if rung.route == route]
            if not mine:
                continue
            count = {word: sum(rung.verdict == word for rung in mine) for word in VERDICTS}
            worst = max((rung.error for rung in mine if rung.verdict in ("right", "wrong")), default=0.0)
            other = count["refused"] + count["beyond precision"]
            lines.append(
                f"{route:24} {count['right']:5} {count['wrong']:5} {count['not proved']:8} {other:7} {worst:12.1e}"
            )
        lines.append(f"{self.certified} of {self.problems} problems certified")
        for rung in self.rungs:
            if rung.verdict in ("wrong", "not proved", "not measured"):
                lines.append(
                    f"{rung.verdict}: {rung.route} on {rung.case}: error {rung.error:.1e} {rung.message}".rstrip()
                )
        return "\n".join(lines)


VERDICTS = ("right", "wrong", "not proved", "refused", "beyond precision", "not measured")


def crosscheck(cases: Iterable[str] | None = None, processes: bool = True, say: Say | None = None) -> Ladder:
    """Climb the ladder on the problems of `problems()` whose names contain one of `cases` (default: all of them).

    processes: also solve over two gloo processes.  say: told what happens next.  Raises ProblemError when no
    name matches.
    """
    wanted = None if cases is None else list(cases)
    table = {name: p for name, p in problems().items() if wanted is None or any(word in name for word in wanted)}
    if not table:
        raise ProblemError(f"cases: no problem's name contains one of {wanted}")
    say = say or _silent
    sharded = _over_processes(table, say) if processes else {}
    rungs: list[Rung] = []
    certified = 0
    for number, (name, problem) in enumerate(table.items(), 1):
        say(f"{number} of {len(table)}: {name}")
        bounds = proved(problem)
        certified += bounds is not None
        rungs += [climb(name, route, problem, bounds, solver) for route, solver in _routes(problem).items()]
        if name in sharded:
            rungs.append(climb(name, "torch, two processes", problem, bounds, sharded[name]))
    return Ladder(tuple(rungs), len(table), certified)


def climb(
    name: str,
    route: str,
    problem: UnlearningProblem,
    bounds: Bounds | None,
    solver: Callable[[UnlearningProblem], Array],
) -> Rung:
    """One rung: run the route, judge its point."""
    tolerance, condition = TOLERANCES[route], conditioning(problem)
    allowed, proof = tolerance.at(condition), "none" if bounds is None else bounds.proof
    if not tolerance.applies(condition):
        return Rung(name, route, "beyond precision", math.nan, allowed, proof, f"condition {condition:.0e}")
    try:
        theta = solver(problem)
    except ProblemError as error:
        interrupts.reraise(error)
        return Rung(name, route, "refused", math.nan, allowed, proof, str(error))
    except (ExactUnlearnError, MemoryError, RecursionError) as error:
        interrupts.reraise(error)
        if isinstance(error, NotMeasuredError | MemoryError | RecursionError) or interrupts.starved(error):
            return Rung(name, route, "not measured", math.nan, allowed, proof, f"{type(error).__name__}: {error}")
        return Rung(name, route, "wrong", math.inf, allowed, proof, str(error))
    if bounds is None:
        return Rung(name, route, "not proved", math.nan, allowed, proof)
    off = judge(problem, theta, bounds)
    return Rung(name, route, "right" if off <= allowed else "wrong", off, allowed, proof)


@dataclass(frozen=True)
class Bounds:
    """What a certificate proves, checked by the checker: floats nearest to the rationals."""

    lower: float
    upper: float
    proof: str


def proved(problem: UnlearningProblem) -> Bounds | None:
    """The enclosure of the optimum that the independent checker accepts, None if there is none within 1e-9."""
    try:
        certificate = xu.certify(problem)
    except RankAmbiguityError:
        certificate = xu.certify(problem, rows="literal")
    if certificate.lower is None or certificate.upper is None or not certificate.check().proved:
        return None
    if certificate.gap is None or certificate.gap > 1e-9:
        return None
    return Bounds(float(certificate.lower), float(certificate.upper), certificate.proof)


def judge(problem: UnlearningProblem, theta: Array, bounds: Bounds) -> float:
    """The larger of the primal residual and the distance of the value from [lower, upper], relatively."""
    claim = xu.Solution(problem, theta, np.zeros(problem.n_constraints), xu.Status.OPTIMAL)
    scale = max(abs(bounds.upper), abs(float(problem.regularizer.value(to_float(problem.theta_star)))))
    outside = max(bounds.lower - claim.value, claim.value - bounds.upper, 0.0)
    return max(claim.primal_residual(), outside / scale if outside else 0.0)


def conditioning(problem: UnlearningProblem) -> float:
    """sigma_1 / sigma_r of the rows of J brought to unit length, r the numerical rank; 1 for rank 0."""
    J = to_float(problem.free_matrix())
    peaks = np.max(np.abs(J), axis=1, initial=0.0, keepdims=True)
    J = np.divide(J, peaks, out=np.zeros_like(J), where=peaks > 0)
    lengths = np.linalg.norm(J, axis=1, keepdims=True)
    sigma = np.linalg.svd(np.divide(J, lengths, out=np.zeros_like(J), where=lengths > 0), compute_uv=False)
    kept = sigma[sigma > max(J.shape) * EPS64 * sigma[0]] if sigma.size else sigma
    return float(kept[0] / kept[-1]) if kept.size else 1.0


def _routes(problem: UnlearningProblem) -> dict[str, Callable[[UnlearningProblem], Array]]:
    """What is tried on one process; a route that raises ProblemError does not take the problem."""
    routes: dict[str, Callable[[UnlearningProblem], Array]] = {
        "cvxpy": lambda p: xu.solve(p).theta,
        "cvxpy, second back end": lambda p: xu.solve(p, solver="CLARABEL").theta,
        "torch": lambda p: _torch(p).theta,
        "torch, float32": lambda p: _torch(p, dtype="float32", gap=1e-5).theta,
    }
    if problem.regularizer.name in ("l1", "linf", "group_l2", "elastic_net"):
        routes["torch, products"] = lambda p: _torch(p, gap=1e-6, route="products").theta
    if _has_closed_form(problem):
        routes = {"closed form": _closed_form} | routes
    return routes


def _torch(problem: UnlearningProblem, dtype: str | None = None, gap: float = 1e-8, route: str = "auto") -> Any:
    import torch

    from exact_unlearn.scalable import solve

    return solve(problem, dtype=None if dtype is None else getattr(torch, dtype), gap=gap, route=route)


def _has_closed_form(problem: UnlearningProblem) -> bool:
    """l2 with weights 1: Theorem 2 and Appendix E, when nothing is frozen and b = 0."""
    R = problem.regularizer
    plain = R.name in ("squared_l2", "l2") and R.weights is None and bool(problem.free.all())
    drifts = [term.name for term in problem.drifts]
    allowed = drifts == [] or (drifts == ["squared_drift"] and R.name == "squared_l2")
    return plain and allowed and not to_float(problem.rhs).any() and not problem.at_least.any()


def _closed_form(problem: UnlearningProblem) -> Array:
    assert isinstance(problem.jacobian, DenseJacobian)
    lam = float(problem.drifts[0].lam) if problem.drifts else 0.0
    star = to_float(problem.theta_star)
    return np.asarray(star + closed_form.appendix_e_drift(to_float(problem.jacobian.matrix), star, lam))


def _over_processes(table: dict[str, UnlearningProblem], say: Say) -> dict[str, Callable[[UnlearningProblem], Array]]:
    """For every problem that the sharded solvers take, the answer from one start of two processes; where those do not
    end well, a route that raises NotMeasuredError.
    """
    from exact_unlearn.scalable.launch import solve_with_processes

    chosen = {
        name: problem
        for name, problem in table.items()
        if problem.regularizer.name in ("l1", "linf", "group_l2", "elastic_net", "l2", "squared_l2")
        and isinstance(problem.jacobian, DenseJacobian)
        and not _zero_weights(problem)
        and not problem.at_least.any()
        and all(term.name == "squared_drift" or getattr(term, "norm", 0) == 2 for term in problem.drifts)
        and np.max(np.abs(to_float(problem.jacobian.matrix)), initial=0.0) < 1e100
    }
    say(f"two processes on {len(chosen)} problems")
    try:
        answers = solve_with_processes(list(chosen.values())) if chosen else []
    except SolverError as error:
        interrupts.reraise(error)
        return dict.fromkeys(chosen, partial(_lost, str(error)))
    return {name: partial(_known, answer.theta) for name, answer in zip(chosen, answers, strict=True)}


def _lost(why: str, _: UnlearningProblem) -> Array:
    """A route that was tried before, and did not come to an end."""
    raise NotMeasuredError(why)


def _zero_weights(problem: UnlearningProblem) -> bool:
    weights = getattr(problem.regularizer, "weights", None)
    return weights is not None and bool((to_float(np.asarray(weights)) == 0).any())


def _known(theta: Array, _: UnlearningProblem) -> Array:
    """A route that was run before."""
    return theta


def _silent(_: str) -> None:
    """Tell nobody."""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- the table


def problems() -> dict[str, UnlearningProblem]:
    """The table: every regularizer on a plain instance with every drift and freezing, with labels and with rows that
    read >=, and every norm on every degenerate one.
    """
    table: dict[str, UnlearningProblem] = {}
    plain = instances()["gaussian"]
    J = DenseJacobian(plain[0])
    for name, R in regularizers(12).items():
        for drift_name, drift in _drifts().items():
            table[f"{name}, {drift_name}"] = UnlearningProblem(plain[1], J, R, drift)
        frozen = np.arange(12) % 3 != 1
        table[f"{name}, some frozen"] = UnlearningProblem(plain[1], J, R, None, frozen)
        labels, least = np.linspace(-0.2, 0.2, 5), np.arange(5) % 2 == 0
        table[f"{name}, b not 0"] = UnlearningProblem(plain[1], J, R, None, None, labels)
        table[f"{name}, some rows >="] = UnlearningProblem(plain[1], J, R, None, None, labels, least)
    for instance, (rows, theta) in instances().items():
        for name in ("squared l2", "l2", "l1", "linf", "group l2", "elastic net"):
            table.setdefault(
                f"{name}, {instance}", UnlearningProblem(theta, DenseJacobian(rows), regularizers(12)[name])
            )
    return table | _structured()


def regularizers(d: int) -> dict[str, Any]:
    """The convex regularizers on d coordinates, d a multiple of 3."""
    weights = np.linspace(0.25, 2.0, d)
    return {
        "squared l2": xu.SquaredL2(),
        "weighted squared l2": xu.SquaredL2(weights),
        "l2": xu.L2(),
        "l1": xu.L1(),
        "weighted l1": xu.L1(weights),
        "l1 with zero weights": xu.L1(np.where(np.arange(d) % 5 == 0, 0.0, weights)),
        "linf": xu.LInf(),
        "weighted linf": xu.LInf(weights),
        "group l2": xu.GroupL2(np.arange(d) // 3),
        "elastic net": xu.ElasticNet(1.0, 0.5),
    }


def _drifts() -> dict[str, Any]:
    return {
        "no drift penalty": None,
        "squared drift": xu.SquaredDrift(0.25),
        "ball": xu.TrustRegion(0.75),
        "squared drift in a ball": xu.SquaredDrift(0.25) + xu.TrustRegion(0.75),
    }


def instances() -> dict[str, tuple[Array, Array]]:
    """(J, theta*) with 12 parameters; degenerate ones are normal ones."""
    rng = np.random.default_rng(20)
    J, theta = rng.standard_normal((5, 12)), rng.standard_normal(12)
    integer = rng.integers(-3, 4, (4, 12)).astype(float)
    return {
        "gaussian": (J, theta),
        "duplicated rows": (J[[0, 1, 2, 1, 0]], theta),
        "dependent integer rows": (np.vstack([integer, integer[0] - 2.0 * integer[1]]), theta),
        "zero row": (np.vstack([J[:3], np.zeros((1, 12))]), theta),
        "only zero rows": (np.zeros((2, 12)), theta),
        "single row": (J[:1], theta),
        "no rows": (np.zeros((0, 12)), theta),
        "square": (rng.standard_normal((12, 12)), theta),
        "zero theta": (J, np.zeros(12)),
        "theta in the row space": (J, J.T @ rng.standard_normal(5)),
        "duplicated columns": (np.repeat(J[:, :6], 2, axis=1), theta),
        "huge rows": (J * 2.0**300, theta),
        "tiny rows": (J * 2.0**-300, theta),
        "rows of different scale": (J * np.array([1e6, 1.0, 1e-6, 1e3, 1e-3])[:, None], theta),
        "condition 1e3": (_conditioned(1e3), theta),
        "condition 1e6": (_conditioned(1e6), theta),
        "condition 1e10": (_conditioned(1e10), theta),
    }


def _conditioned(condition: float) -> Array:
    rng = np.random.default_rng(21)
    left = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    right = np.linalg.qr(rng.standard_normal((12, 5)))[0]
    return np.asarray((left * np.geomspace(1.0, 1.0 / condition, 5)) @ right.T)


def _structured() -> dict[str, UnlearningProblem]:
    """Linear networks under the predictor norm, one and two outputs."""
    table = {}
    for outputs in (1, 2):
        rng = np.random.default_rng(22)
        network = xu.LinearNetwork((5, 4, outputs))
        theta, X = rng.standard_normal(network.n_parameters), rng.standard_normal((3, 5))
        y = network.predict(theta, X)
        for name, drift in _drifts().items():
            R = xu.PredictorNorm(network, theta)
            problem = xu.surrogate_problem(network, theta, X, R, drift, y_retain=y)
            table[f"predictor norm, {outputs} output{'s' * (outputs > 1)}, {name}"] = problem
    return table


def names(cases: Sequence[str] = ()) -> list[str]:
    """The names of the table that contain one of `cases` (default: all)."""
    return [name for name in problems() if not cases or any(word in name for word in cases)]
