"""What a solver claims, and the residuals by which the claim is measured without asking the solver.

Sign convention, the same for every solver: the Lagrangian is F(D) - nu.T (J D - b), so at an optimum

    J.T nu = g + h_1 + ... + h_K   on the free coordinates,   g in dR(theta), h_k in dRhat_k(D),

and by Fenchel duality every (nu, g, h) with that equation proves

    R(theta) + Rhat(D) >= <g, theta*> + <nu, b> - R*(g) - sum_k Rhat_k*(h_k)   for every feasible theta.

On frozen coordinates g is a free dual variable (h plays no role there, for D = 0).  Rows that read J_i D >= b_i have
nu_i >= 0, and nu_i (J_i D - b_i) = 0 at an optimum: positive multipliers pull D into them.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn import codec, formats, modules, pictures, report, summary
from exact_unlearn.effects import Effect, measure
from exact_unlearn.errors import FileFormatError, ProblemError, SolverError
from exact_unlearn.jacobian import Array, DenseJacobian, real_array, to_float
from exact_unlearn.problem import UnlearningProblem, require_problem
from exact_unlearn.rowspace import accurate_residual, in_row_units
from exact_unlearn.vectors import power_of_two

SCHEMA = "exact-unlearn/solution"

DOMAIN_SLACK = 1e-9
"""g and h_k may leave the domains of the conjugates by this much, relatively; more shows in `dual_residual`."""

CANCELLED = 1e-5
"""A dual value this much smaller than its terms has lost digits that it needs."""


class Status(Enum):
    """How a solve ended.  `advice` says what to try.

    >>> import exact_unlearn as xu
    >>> xu.Status.INTERVAL.advice
    'Integer program: the optimum lies in [lower, upper] but was not proved; allow more time, or pass fewer groups.'
    """

    OPTIMAL = "optimal"
    INACCURATE = "inaccurate"
    INTERVAL = "interval"
    TIME_LIMIT = "time_limit"
    INFEASIBLE = "infeasible"
    BACKEND_FAILED = "backend_failed"

    @property
    def advice(self) -> str:
        """One sentence: what the status means and what to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.OPTIMAL: (
        "Solved to the requested accuracy by the solution's own residuals; certify() makes the claim a proof."
    ),
    Status.INACCURATE: (
        "The residuals miss the requested accuracy; try another solver, a looser accuracy, or certify(), which "
        "improves the point."
    ),
    Status.INTERVAL: (
        "Integer program: the optimum lies in [lower, upper] but was not proved; allow more time, or pass fewer groups."
    ),
    Status.TIME_LIMIT: (
        "The time limit ended the solve; theta is feasible only as far as primal_residual() says; allow more time."
    ),
    Status.INFEASIBLE: (
        "No parameters fit the retained data; nu is a Farkas vector that names the conflicting rows (nu.b > 0 = J.T nu "
        "on free coordinates, or nu.b is more than <J.T nu, D> reaches within the trust regions)."
    ),
    Status.BACKEND_FAILED: (
        "The back end failed or contradicted itself (theta* is feasible for every surrogate); try another solver "
        "by name."
    ),
}


@dataclass(frozen=True, eq=False, repr=False)
class Solution(pictures.Drawn):
    """A claimed optimum: parameters, multipliers, and how they were obtained.

    theta: (d,).  nu: (k,), one per row of the caller's J.  subgradient: g (d,) or None; drift_subgradients: h_k
    (d,), one per summand of the drift penalty.  shares: where R* is no formula (a sum, a map), one subgradient per
    summand of the form, in the space of its map, that add up to g; else None.  lower, upper: bounds on the optimum of
    an integer program.  rank: the RankReport of the solve.  unique: True or False where known, else None.  Seconds are
    wall-clock.

    >>> import exact_unlearn as xu
    >>> solution = xu.solve(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L2()))
    >>> solution.is_optimal(1e-9), solution.primal_residual() < 1e-12
    (True, True)
    """

    problem: UnlearningProblem
    theta: Array
    nu: Array
    status: Status
    solver: str = "caller"
    subgradient: Array | None = None
    drift_subgradients: tuple[Array, ...] | None = None
    shares: tuple[Array, ...] | None = None
    lower: float | None = None
    upper: float | None = None
    unique: bool | None = None
    rank: Any = None
    compile_seconds: float = 0.0
    solve_seconds: float = 0.0
    message: str = ""

    def __post_init__(self) -> None:
        require_problem(self.problem)
        if not isinstance(self.status, Status):
            raise ProblemError(f"status: expected a Status, got {self.status!r:.60}")
        for name, size in (("theta", self.problem.n_parameters), ("nu", self.problem.n_constraints)):
            array = real_array(name, getattr(self, name), ndim=1)
            if array.size != size:
                raise ProblemError(f"{name}: expected {size} entries for this problem, got {array.size}")
            object.__setattr__(self, name, array)
        summands, shares = self.problem.form.summands, self.shares
        if shares is not None:
            sizes = [summand.size(self.problem.n_parameters) for summand in summands]
            if [np.shape(share) for share in shares] != [(size,) for size in sizes]:
                raise ProblemError(f"shares: expected vectors of {sizes} numbers, one per summand of the regularizer")
        parts = () if self.subgradient is None else (self.subgradient,)
        forces = self.drift_subgradients
        if forces is not None and len(forces) != len(self.problem.drifts):
            raise ProblemError(
                f"drift_subgradients: expected {len(self.problem.drifts)}, one per summand of the drift penalty, got "
                f"{len(forces)}"
            )
        for part in (*parts, *(forces or ())):
            if np.shape(part) != (self.problem.n_parameters,) or np.asarray(part).dtype.kind not in "biufO":
                raise ProblemError(
                    f"subgradient: expected vectors of {self.problem.n_parameters} real numbers, got {part!r:.60}"
                )

    def lines(self) -> summary.Lines:
        """The claim, measured, and what it does to the network where that is known."""
        return self.claim_lines() if self.effect is None else [*self.claim_lines(), *self.effect.lines()]

    def claim_lines(self) -> summary.Lines:
        """The claim, measured."""
        claim = f"{self.status.value} ({self.solver}). {self.message} {self.advice}".replace("  ", " ")
        lines = [("status", claim), ("value", self.value_text())]
        if self.status is Status.INFEASIBLE:  # no parameters are claimed, so there are none to measure
            return [*lines, ("rows", str(self.rank))]
        if not self.problem.free.all():
            lines.append(("", self._frozen_part()))
        if not self.problem.regularizer.convex:
            lower = "unknown" if self.lower is None else f"{self.lower:g}"
            lines.append(("interval", f"{lower} to {self.value:g}"))
            lines.append(("primal residual", report.small(self.primal_residual())))
        else:
            lines.append(("primal residual", report.small(self.primal_residual())))
            lines.append(("dual residual", report.small(self.dual_residual())))
            lines.append(("relative gap", report.small(self.relative_gap())))
        if self.rank is not None:
            lines.append(("rows", str(self.rank)))
        return [*lines, ("unique", {True: "yes", False: "no", None: "not known from the form"}[self.unique])]

    @cached_property
    def effect(self) -> Effect | None:
        """What the answer does to the retained outputs of the network; None where that is not known."""
        if self.problem.outputs is None or self.status is Status.INFEASIBLE:
            return None
        with suppress(ProblemError):  # the module may have been changed since, and say so
            return measure(self.problem.outputs, self.problem.theta_star, self.theta)
        return None

    def __repr__(self) -> str:
        return f"<Solution: {self.status.value} ({self.solver}), value {self.value_text()}>"

    def shown(self) -> pictures.Shown:
        """theta; ProblemError where the claim is that no parameters fit."""
        if self.status is Status.INFEASIBLE:
            raise ProblemError("plot: the claim is that no parameters fit, so there is no point to show")
        return self.problem, self.theta, repr(self).strip("<>")

    def value_text(self) -> str:
        """R + Rhat in twelve digits, or why it is no number."""
        if self.status is Status.INFEASIBLE:
            return "none: the claim is that no parameters fit"
        return f"{self.value:.12g}" if math.isfinite(self.value) else "beyond the range of floats"

    def _frozen_part(self) -> str:
        """How much of the value is R of the frozen coordinates alone, which no answer can change."""
        frozen = self.problem.theta_star.copy()
        frozen[self.problem.free] = 0
        return f"of it {float(self.problem.regularizer.value(frozen)):.12g} is R with every free coordinate at 0"

    @property
    def drift(self) -> Array:
        """D = theta - theta*, (d,)."""
        return np.asarray(self.theta - self._theta_star)

    @property
    def value(self) -> float:
        """R(theta) + Rhat(D), recomputed from theta.  A trust region counts by its residual, not as infinity.

        Infinity where the claim is that no parameters fit, for theta is no answer then, and where the value lies beyond
        the range of floats.
        """
        if self.status is Status.INFEASIBLE:
            return math.inf
        drift = self.drift
        value = self.problem.regularizer.value(self.theta)
        for term in self.problem.drifts:
            value += 0.0 if term.name == "trust_region" else term.value(drift)
        return float(value)

    @property
    def advice(self) -> str:
        """What the status means for the caller."""
        return self.status.advice

    def primal_residual(self) -> float:
        """How far theta is from feasible, relatively: the largest of

        |J_i D - b_i| / (|J_i| (|theta| + |theta*|) + |b_i|) over rows i (max(0, b_i - J_i D) above the
        line where row i reads >=), |D_j| / |theta*| over frozen coordinates j (norms 2 and max), and max(0, |D| /
        radius - 1) over trust regions (|D| / |theta*| where the radius is 0).
        """
        problem, drift = self.problem, to_float(self.drift)
        size = _norm(to_float(self.theta)) + _norm(to_float(self._theta_star))
        worst = _ratio(float(np.max(np.abs(drift[~problem.free]), initial=0.0)), size)
        if problem.n_constraints:
            movable = np.where(problem.free, drift, 0.0)
            residual, scale = _row_residuals(problem, movable, size)
            worst = max(worst, *(_ratio(r, s) for r, s in zip(residual, scale, strict=True)))
        for term in problem.drifts:
            if term.name == "trust_region":
                length = float(np.max(np.abs(drift), initial=0.0)) if term.norm == math.inf else _norm(drift)
                excess = max(0.0, length - float(term.radius))
                worst = max(worst, _ratio(excess, float(term.radius) or size))
        return worst

    def dual_residual(self) -> float:
        """How far (nu, g, h) is from dual feasible: the larger of

        max |J.T nu - g - sum h_k| over free coordinates / max(|J.T nu|, |g|, |h_k|, R(theta*) / |theta*|) in
        max norms, and the relative amount by which g or an h_k leaves the domain of its conjugate (dual norm
        minus 1 for norms), or a multiplier of a row that reads >= is negative (|nu_i| |J_i| over the same maximum).
        inf when no subgradients were claimed.
        """
        if self.subgradient is None or self.drift_subgradients is None:
            return math.inf
        parts = [to_float(self.subgradient), *map(to_float, self.drift_subgradients)]
        pullback = to_float(self.problem.jacobian.rmatvec(self._floats(self.nu)))
        mismatch = np.abs(pullback - sum(parts[1:], start=parts[0]))[self.problem.free]
        scale = max(self.dual_scale(), float(np.max(np.abs(pullback), initial=0.0)))
        worst = max(_ratio(float(np.max(mismatch, initial=0.0)), scale), self.negative_pull(scale))
        for term, part in zip(self.problem.drifts, parts[1:], strict=True):
            worst = max(worst, _domain_excess(term, part))
        if self.shares is None:
            return max(worst, _domain_excess(self.problem.regularizer, parts[0]))
        summands = self.problem.form.summands
        shares = [to_float(share) for share in self.shares]
        apart = parts[0] - sum(summand.pull(share) for summand, share in zip(summands, shares, strict=True))
        worst = max(worst, _ratio(float(np.max(np.abs(apart))), scale))
        return max(worst, *(summand.excess(share) for summand, share in zip(summands, shares, strict=True)))

    def negative_pull(self, scale: float) -> float:
        """By how much multipliers of rows that read >= are negative: their pulls, relative to `scale`; of rows without
        entries, which pull at nothing, relative to the largest multiplier.
        """
        nu = np.where(self.problem.at_least, np.maximum(-to_float(self.nu), 0.0), 0.0)
        rows = np.flatnonzero(nu)
        if not rows.size:
            return 0.0
        matrix = to_float(np.asarray(self.problem.free_matrix()))[rows]
        peaks, largest = np.max(np.abs(matrix), axis=1, initial=0.0), float(np.max(np.abs(to_float(self.nu))))
        pairs = ((p * n, scale) if p else (n, largest) for p, n in zip(peaks.tolist(), nu[rows].tolist(), strict=True))
        return max(_ratio(part, whole) for part, whole in pairs)

    def dual_scale(self) -> float:
        """The size of the slopes of this problem: max(|g|, |h_k|, R(theta*) / |theta*|) in max norms.

        The last of them tells rounding from substance where every multiplier is tiny.
        """
        parts = [] if self.subgradient is None else [self.subgradient, *(self.drift_subgradients or ())]
        scale = max((float(np.max(np.abs(to_float(part)), initial=0.0)) for part in parts), default=0.0)
        start = to_float(self.problem.theta_star)
        if not start.any():
            return scale
        return max(scale, float(self.problem.regularizer.value(start)) / float(np.max(np.abs(start))))

    def dual_value(self) -> float:
        """<g, theta*> + <nu, b> - R*(g) - sum_k Rhat_k*(h_k), with conjugates evaluated DOMAIN_SLACK outside
        their domains.
        """
        if self.subgradient is None or self.drift_subgradients is None:
            return -math.inf
        problem = self.problem
        pairs = (self.subgradient, problem.theta_star), (self.nu, problem.rhs)
        terms = sum(_dot(np.abs(to_float(a)), np.abs(to_float(b))) for a, b in pairs)
        conjugates = self._conjugate()
        for term, part in zip(problem.drifts, self.drift_subgradients, strict=True):
            conjugates += term.conjugate(np.where(problem.free, to_float(part), 0.0), tol=DOMAIN_SLACK)
        total = sum(_dot(a, b) for a, b in pairs) - conjugates
        if abs(total) <= CANCELLED * terms and math.isfinite(conjugates):
            total = self._pairing() - conjugates
        return float(total)

    def _conjugate(self) -> float:
        """R*(g), or for shares the sum of their conjugates, which is no less."""
        if self.shares is None:
            return float(self.problem.regularizer.conjugate(to_float(np.asarray(self.subgradient)), tol=DOMAIN_SLACK))
        pairs = zip(self.problem.form.summands, self.shares, strict=True)
        return sum(float(summand.conjugate(to_float(share), tol=DOMAIN_SLACK)) for summand, share in pairs)

    def _pairing(self) -> float:
        """<g, theta*> + <nu, b> where the two cancel: <nu, q> + <g, theta*>_F - sum <h_k, theta*>_M, with
        q = J theta*_M + b to twice the digits of floats.  That is the same where J.T nu = g + sum h_k on M, and
        `dual_residual` tells how far this fails.
        """
        problem, free = self.problem, self.problem.free
        start, g = to_float(problem.theta_star), to_float(np.asarray(self.subgradient))
        J, exponents = in_row_units(to_float(np.asarray(problem.free_matrix())))
        unit = power_of_two(start)
        scaled = np.ldexp(to_float(problem.rhs) / unit, -exponents)
        q = accurate_residual(J, -(start[free] / unit)[:, None], scaled[:, None])[:, 0]
        total = _dot(np.ldexp(to_float(self.nu), exponents), q) * unit
        total += _dot(np.where(free, 0.0, g), start)
        return total - sum(_dot(np.where(free, to_float(h), 0.0), start) for h in self.drift_subgradients or ())

    def duality_gap(self) -> float:
        """value - dual_value for convex programs, value - lower for counts and sums of powers (absolute).

        It contains nu_i (J_i D - b_i) of every row that reads >=, what is left of complementarity.  Read it together
        with `dual_residual`; only a Certificate accounts for every rounding.
        """
        if not self.problem.regularizer.convex:
            return math.inf if self.lower is None else self.value - self.lower
        return self.value - self.dual_value()

    def relative_gap(self) -> float:
        """|duality_gap| / max(|value|, |dual value|), 0/0 = 0: relative to the optimum, which lies between the two.

        Infinity where the value lies beyond the range of floats.
        """
        if self.problem.regularizer.integer:
            return self.duality_gap()
        value = self.value
        dual = self.dual_value() if self.problem.regularizer.convex else value - self.duality_gap()
        if not (math.isfinite(value) and math.isfinite(dual)):
            return math.inf
        return _ratio(abs(value - dual), max(abs(value), abs(dual)))

    def is_optimal(self, tol: float = 1e-8) -> bool:
        """primal_residual, dual_residual and relative_gap are all at most `tol`.  (Integer programs: feasible
        and lower == value.  Sums of powers: there is no dual residual.)
        """
        if self.status in (Status.INFEASIBLE, Status.BACKEND_FAILED):
            return False
        if self.problem.regularizer.integer:
            return self.primal_residual() <= tol and self.duality_gap() <= 0
        if not self.problem.regularizer.convex:
            return max(self.primal_residual(), self.relative_gap()) <= tol
        return max(self.primal_residual(), self.dual_residual(), self.relative_gap()) <= tol

    def require_optimal(self, tol: float = 1e-8) -> Solution:
        """Itself, or SolverError with the status, the residuals and the advice."""
        if not self.is_optimal(tol):
            raise SolverError(
                f"{self.solver}: {self.status.value} (primal {self.primal_residual():.1e}, "
                f"dual {self.dual_residual():.1e}, gap {self.duality_gap():.1e}). {self.message} {self.advice}"
            )
        return self

    def write_back(self, module: Any) -> Any:
        """Copy theta into the trainable parameters of the torch module that the problem is about; returns the module.

        The numbers are rounded to the precision of the parameters. Raises SolverError where there is nothing to write,
        and ProblemError, one sentence, on another module.
        """
        if self.status in (Status.INFEASIBLE, Status.BACKEND_FAILED):
            raise SolverError(f"write_back: there is no answer to write, for the status is {self.status.value}")
        return modules.write_back(module, self.theta)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the solution *and its problem* to .npz, .safetensors or .json, without pickle."""
        tree: dict[str, Any] = {"schema": SCHEMA, "version": self.problem.version}
        tree["problem"] = self.problem.to_tree()
        tree |= {"theta": self.theta, "nu": self.nu, "status": self.status.value, "solver": self.solver}
        tree |= {"subgradient": self.subgradient, "unique": self.unique, "message": self.message}
        tree |= {} if self.shares is None else {"shares": list(self.shares)}
        tree["drift_subgradients"] = None if self.drift_subgradients is None else list(self.drift_subgradients)
        tree |= {name: _finite(getattr(self, name)) for name in _SCALARS}
        codec.save_object(path, tree)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Solution:
        """Read what `save` wrote; FileFormatError, one sentence, on a damaged or foreign file."""
        tree = codec.load_object(path, SCHEMA)
        formats.require(formats.SOLUTION, tree, str(path))
        try:
            scalars = {name: None if tree[name] is None else float(codec.number(tree[name])) for name in _SCALARS}
            drifts = tree["drift_subgradients"]
            return cls(
                problem=UnlearningProblem.from_tree(tree["problem"], str(path)),
                theta=tree["theta"],
                nu=tree["nu"],
                status=Status(tree["status"]),
                solver=str(tree["solver"]),
                subgradient=tree["subgradient"],
                drift_subgradients=None if drifts is None else tuple(drifts),
                shares=None if tree.get("shares") is None else tuple(tree["shares"]),
                unique=tree["unique"],
                message=str(tree["message"]),
                lower=scalars["lower"],
                upper=scalars["upper"],
                compile_seconds=scalars["compile_seconds"] or 0.0,
                solve_seconds=scalars["solve_seconds"] or 0.0,
            )
        except (ProblemError, OverflowError) as error:
            raise FileFormatError(f"{path}: {error}") from None

    def with_message(self, status: Status, message: str) -> Solution:
        """A copy with another status and message."""
        return replace(self, status=status, message=message)

    @property
    def _theta_star(self) -> Array:
        return self._floats(self.problem.theta_star)

    def _floats(self, array: Array) -> Array:
        """Floats unless the solution itself is exact, so that Fractions and floats do not mix."""
        return array if self.theta.dtype == object else to_float(array)


_SCALARS = ("lower", "upper", "compile_seconds", "solve_seconds")


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _norm(vector: Array) -> float:
    """Euclidean norm without overflow or underflow of the squares."""
    peak = float(np.max(np.abs(vector), initial=0.0))
    return peak * float(np.linalg.norm(vector / peak)) if peak else 0.0


def _ratio(part: float, whole: float) -> float:
    """part / whole with 0/0 = 0; a positive part of nothing is infinitely wrong."""
    return 0.0 if part == 0 else (part / whole if whole else math.inf)


def _dot(a: Array, b: Array) -> float:
    """<a, b>, scaled so that products of huge and tiny numbers neither overflow nor vanish, summed with fsum."""
    x, y = to_float(a), to_float(b)
    sx, sy = np.max(np.abs(x), initial=0.0), np.max(np.abs(y), initial=0.0)
    if not sx or not sy:
        return 0.0
    return math.fsum(((x / sx) * (y / sy)).tolist()) * float(sx) * float(sy)


def _row_residuals(problem: UnlearningProblem, drift: Array, size: float) -> tuple[list[float], list[float]]:
    """|J_i D - b_i| and its scale per row.  Without explicit rows, all rows share the largest scale."""
    rhs, at_least = to_float(problem.rhs), problem.at_least

    def missed(excess: Array) -> list[float]:
        return np.where(at_least, np.maximum(-excess, 0.0), np.abs(excess)).tolist()  # type: ignore[no-any-return]

    if isinstance(problem.jacobian, DenseJacobian):
        J = to_float(problem.jacobian.matrix)
        peaks = np.max(np.abs(J), axis=1, initial=0.0)
        units = J / np.where(peaks > 0, peaks, 1.0)[:, None]
        excess = units @ drift - rhs / np.where(peaks > 0, peaks, 1.0)
        scale = np.linalg.norm(units, axis=1) * size + np.abs(rhs) / np.where(peaks > 0, peaks, 1.0)
        return missed(excess), scale.tolist()
    product = to_float(problem.jacobian.matvec(drift))
    start = to_float(problem.jacobian.matvec(np.where(problem.free, to_float(problem.theta_star), 0.0)))
    scale = max(
        float(np.max(np.abs(start), initial=0.0)),
        float(np.max(np.abs(rhs), initial=0.0)),
        float(np.max(np.abs(product - start), initial=0.0)),
    )
    return missed(product - rhs), [scale] * rhs.size


def _domain_excess(term: Any, part: Array) -> float:
    """How far `part` lies outside the domain of the conjugate of `term`, relatively."""
    if math.isfinite(term.conjugate(part, tol=0.0)):
        return 0.0
    if not getattr(term, "is_norm", False):
        return math.inf
    return max(0.0, float(term.dual_norm(part)) - 1.0)
