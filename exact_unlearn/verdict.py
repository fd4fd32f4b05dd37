"""`judge`: what is true of anybody's point, whoever found it and however.

A certificate says where the optimum lies; it says nothing about a point that somebody claims.  Here their point is
measured exactly, floats being the rationals that they are, and compared with what is proved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn import summary
from exact_unlearn.certify import checker, point
from exact_unlearn.certify.certificate import Certificate
from exact_unlearn.certify.encode import vector
from exact_unlearn.certify.exactlin import ratio
from exact_unlearn.certify.ladder import certify
from exact_unlearn.certify.rows import is_tolerance
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, real_array, to_rational
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.solution import Solution, Status
from exact_unlearn.watch import remaining, require_limit, watched

TOLERANCE = 1e-8
"""Default part of the size of a row by which it may be missed, and part of the optimum by which a value may be off."""

OPTIMAL = "optimal"
NOT_OPTIMAL = "feasible but not optimal"
INFEASIBLE = "infeasible"
IMPOSSIBLE = "claims more than is possible"
UNDECIDED = "undecided"
NOTHING = "nothing to be optimal"
OUTCOMES = (OPTIMAL, NOT_OPTIMAL, INFEASIBLE, IMPOSSIBLE, UNDECIDED, NOTHING)

ZERO = Fraction(0)


@dataclass(frozen=True, eq=False, repr=False)
class Verdict(summary.Summarised):
    """What is true of a point, to within a stated tolerance; every number is exact, or a bound on the side named.

    outcome:   "optimal"; "feasible but not optimal"; "infeasible"; "claims more than is possible" (feasible to within
               the tolerance, with a value that no feasible point has; or a claimed bound that is refuted); "undecided"
               (feasible, but the certified interval is too wide to tell); "nothing to be optimal" (proved: no
               parameters fit the problem).
    tolerance: of feasibility, relative to the size of each row, |J_i| (|theta| + |theta*|) + |b_i|, and of values,
               relative to the optimum (to R(theta*) where the optimum is 0, and to that times the tolerance where the
               optimum is less).
    residual:  the largest |J_i D - b_i|, rows as written (max(0, b_i - J_i D) where they read >=); row: where.
    violation: the largest violation relative to its size, from above: of rows, frozen coordinates, trust regions.
               0 if and only if theta is feasible exactly.
    frozen:    frozen coordinates that are not those of theta*; any of them makes a point infeasible.
    least, most: the value R + Rhat of the point from below and from above.
    excess:    how far the value lies above the certified interval, or below it (negative), relative as above; None
               where nothing was proved.
    distance:  the distance of theta to the minimiser (to some minimiser, where there are several) is at most this;
               apart: and at least this.  None and 0 where nothing is known.
    nu_lower:  the lower bound of the optimum that the caller's multipliers prove, alone; None where none were given.
    certificate: what is proved about the problem.
    sentences: all of this for people.

    >>> import exact_unlearn as xu
    >>> verdict = xu.judge(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()), [3.0, 1.0])
    >>> verdict.optimal, verdict.feasible, verdict.violation == 0, float(verdict.excess)
    (False, True, True, 0.6)
    """

    outcome: str
    tolerance: Fraction
    certificate: Certificate
    sentences: tuple[str, ...]
    residual: Fraction = ZERO
    row: int | None = None
    violation: Fraction = ZERO
    frozen: tuple[int, ...] = ()
    least: Fraction | None = None
    most: Fraction | None = None
    excess: Fraction | None = None
    distance: Fraction | None = None
    apart: Fraction = ZERO
    nu_lower: Fraction | None = None

    @property
    def optimal(self) -> bool:
        """Whether the point is feasible and optimal, to within the tolerance, by proof."""
        return self.outcome == OPTIMAL

    @property
    def feasible(self) -> bool:
        """Whether the point is feasible to within the tolerance."""
        return self.outcome in (OPTIMAL, NOT_OPTIMAL, IMPOSSIBLE, UNDECIDED)

    def lines(self) -> summary.Lines:
        """What is true of the point."""
        head, *rest = self.sentences
        return [("their point", head), *(("", sentence) for sentence in rest)]

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def judge(
    problem: UnlearningProblem,
    theta: Any,
    nu: Any = None,
    *,
    tolerance: float = TOLERANCE,
    rows: str | None = None,
    tau: Any = None,
    certificate: Certificate | None = None,
    time_limit: float | None = None,
) -> Verdict:
    """What is true of `theta` as an answer to `problem`.

    theta: (d,) floats or Fractions, taken as the rationals that they are; or a Solution, whose claims (multipliers,
    bounds, that no parameters fit) are judged as well.  nu: (k,) multipliers of J D = b, or None.  tolerance: see
    `Verdict`; 0 asks for exactness, which floats seldom have where J D = b has to hold.  rows, tau: as in `certify`,
    where rounding makes a difference between the rows as written and as meant; with tau a point is feasible where it
    misses no row by more than tau.  certificate: one made before, about the same reading of the problem; it is checked.
    time_limit: seconds, for the proof and for what the multipliers prove; the point is measured whatever the time, and
    the outcome is "undecided" where too little was proved by then.

    Raises ProblemError on what is no vector of d finite numbers, RankAmbiguityError where `certify` does.

    >>> import exact_unlearn as xu
    >>> problem = xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1())
    >>> xu.judge(problem, [3.0, 1.0]).outcome, xu.judge(problem, [0.0, 2.5]).outcome
    ('feasible but not optimal', 'optimal')
    """
    if not isinstance(problem, UnlearningProblem):
        raise ProblemError(f"problem: expected an UnlearningProblem, got {type(problem).__name__}")
    if not is_tolerance(tolerance):
        raise ProblemError(f"tolerance: expected a finite number >= 0, got {tolerance!r}")
    claim = theta if isinstance(theta, Solution) else None
    found = _vector("theta", theta if claim is None else claim.theta, problem.n_parameters)
    given = nu if claim is None or nu is not None else claim.nu
    multipliers = None if given is None else _vector("nu", given, problem.n_constraints)
    require_limit(time_limit)
    with watched(time_limit):
        proved = certificate
        if proved is None:
            start = np.zeros(problem.n_constraints) if multipliers is None else multipliers
            solution = claim or Solution(problem, found, start, Status.INACCURATE)
            method = "auto" if tolerance else "exact"  # 0 is below every enclosure
            proved = certify(problem, solution, rows=rows, tau=tau, proof=method)
        given_nu = multipliers is not None and (claim is None or nu is not None or multipliers.any())
        own = multipliers if given_nu else None
        return _Judge(problem, found, own, Fraction(tolerance), tau, proved, claim).verdict()


class _Judge:
    """One call of `judge`."""

    def __init__(
        self,
        problem: UnlearningProblem,
        theta: Array,
        nu: Array | None,
        tolerance: Fraction,
        tau: Any,
        certificate: Certificate,
        claim: Solution | None,
    ) -> None:
        self.nu, self.tolerance, self.claim, self.certificate = nu, tolerance, claim, certificate
        self.tau = None if tau is None else Fraction(tau)
        self.problem, self.read = problem, point.read(problem)
        self.theta, self.start = _fractions(theta), _fractions(problem.theta_star)
        self.checked = certificate.check(problem, tau=tau) if certificate.proof != "none" else None
        self.why = certificate.message
        if self.checked is not None and not self.checked.proved:
            self.why = " ".join(self.checked.sentences)
            if self.checked.proof == "none":
                raise ProblemError(f"certificate: it does not prove what it claims: {self.why}")
            self.checked = None  # proved, but not to the caller's standard

    def verdict(self) -> Verdict:
        measured = self._measured()
        if self.certificate.proof == "infeasible" and self.checked is not None:
            return self._nothing(measured)
        fields, sentences = dict(measured), [measured.pop("text")]
        fields.pop("text")
        least, most = self._values()
        fields |= {"least": least, "most": most}
        bounds = None if self.checked is None else (self.checked.lower, self.checked.upper)
        if bounds is not None:
            fields |= self._compared(least, most, *bounds)
            fields |= self._distances()
            fields["nu_lower"] = self._proved_by(self.nu)
        sentences += self._about_value(fields, bounds)
        refuted = list(self._refuted_claims(bounds))
        outcome = self._outcome(fields, bounds, bool(refuted))
        head = f"{outcome}, to within {_few(self.tolerance)}" if self.tolerance else f"{outcome}, exactly"
        return Verdict(outcome, self.tolerance, self.certificate, (head, *sentences, *refuted), **fields)

    # ------------------------------------------------------------ feasibility

    def _measured(self) -> dict[str, Any]:
        """residual, row, violation, frozen; and a sentence."""
        read = self.read
        reach = point.length(self.theta)[0] + point.length(self.start)[0]
        residuals = point.residuals(read, self.theta)
        worst, violation, text = None, ZERO, "feasible exactly"
        for i, (found, size) in enumerate(zip(residuals, point.sizes(read, reach), strict=True)):
            share = abs(found) / size if size else Fraction(found != 0)
            if share > violation:
                violation = share
                sense = ">=" if self.problem.at_least[i] else "="
                text = f"row {i} of J D {sense} b is missed by {_few(abs(found))}, {_few(share)} of its size"
        if residuals:
            worst = max(range(len(residuals)), key=lambda i: abs(residuals[i]))
        drift = [x - y for x, y in zip(self.theta, self.start, strict=True)]
        for extent, radius in self._regions(drift):
            share = (extent - radius) / (radius or reach or 1)
            if share > violation:
                violation = share
                text = f"the drift leaves the trust region by {_few(extent - radius)}, {_few(share)} of its radius"
        free = self.problem.free
        frozen = tuple(int(j) for j in np.flatnonzero(~free) if drift[int(j)])
        if frozen:
            j = max(frozen, key=lambda at: abs(drift[at]))
            violation = max(violation, abs(drift[j]) / (max(map(abs, self.start)) or abs(drift[j])))
            text = f"{len(frozen)} frozen coordinates moved, coordinate {j} by {_few(drift[j])}"
        residual = ZERO if worst is None else abs(residuals[worst])
        return {
            "residual": residual,
            "row": worst if residual else None,
            "violation": violation,
            "frozen": frozen,
            "text": text,
        }

    def _regions(self, drift: list[Fraction]) -> Iterator[tuple[Fraction, Fraction]]:
        """Lengths from above, with the radii that they exceed."""
        if self.read.rho is not None and point.dot(drift, drift) > self.read.rho**2:
            yield point.length(drift)[1], self.read.rho
        if self.read.box is not None:
            yield max(map(abs, drift), default=ZERO), self.read.box

    def _fits(self, fields: dict[str, Any]) -> bool:
        """Feasible, to within the tolerance, or tau."""
        if fields["frozen"]:
            return False
        if self.tau is None or fields["violation"] <= self.tolerance:
            return bool(fields["violation"] <= self.tolerance)
        drift = [x - y for x, y in zip(self.theta, self.start, strict=True)]
        inside = all(extent <= radius * (1 + self.tolerance) for extent, radius in self._regions(drift))
        return inside and bool(fields["residual"] <= self.tau)

    # ------------------------------------------------------------ values

    def _values(self) -> tuple[Fraction, Fraction]:
        """R + Rhat from below and from above.

        Of a count, entries below the tolerance are 0: from above, where they are small beside theta; from below, also
        where all of theta is small beside theta*.
        """
        own = max(map(abs, self.theta), default=ZERO)
        largest = max(map(abs, self.start), default=own)
        low = point.regularizer(self.read, self.theta, nuclear, self.tolerance * max(own, largest))[0]
        high = point.regularizer(self.read, self.theta, nuclear, self.tolerance * own)[1]
        penalty = point.penalty(self.read, self.theta)
        return low + penalty, high + penalty

    def _scale(self, upper: Fraction) -> Fraction:
        """An optimum far below what theta* costs, which rounding of J alone may make of 0, is measured by that."""
        start = point.regularizer(self.read, self.start, nuclear)[1]
        return max(upper, self.tolerance * start) if upper else start or Fraction(1)

    def _compared(self, least: Fraction, most: Fraction, lower: Fraction, upper: Fraction) -> dict[str, Any]:
        scale = self._scale(upper)
        above, below = least - upper, most - self._floor(lower)
        return {"excess": above / scale if above > 0 else below / scale if below < 0 else ZERO}

    def _floor(self, lower: Fraction) -> Fraction:
        """What no point has less than that is feasible in the sense of tau."""
        robust = self.checked.robust_lower if self.tau is not None and self.checked is not None else None
        return lower if robust is None else Fraction(min(lower, robust))

    def _outcome(self, fields: dict[str, Any], bounds: Any, refuted: bool) -> str:
        if not self._fits(fields):
            return INFEASIBLE
        if bounds is None:
            return IMPOSSIBLE if refuted else UNDECIDED
        lower, upper = bounds
        slack = self.tolerance * self._scale(upper)
        if refuted or fields["most"] < self._floor(lower) - slack:
            return IMPOSSIBLE
        if fields["least"] > upper + slack:
            return NOT_OPTIMAL
        return OPTIMAL if fields["most"] <= lower + slack else UNDECIDED

    def _proved_point(self) -> list[Fraction]:
        """The feasible point of the certificate, (d,)."""
        proof = checker.Proof(self.read, self.certificate.tree)
        proof.place()
        return [Fraction(n, proof.theta.den) for n in proof.theta.nums]

    def _distances(self) -> dict[str, Any]:
        """From theta to the proved point and on to every minimiser."""
        here = [x - y for x, y in zip(self.theta, self._proved_point(), strict=True)]
        near, far = point.length(here)
        assert self.checked is not None
        radius = self.checked.distance
        if radius is not None:
            return {"distance": far + radius, "apart": max(near - radius, ZERO)}
        return {"distance": far if self.checked.proof == "exact" else None, "apart": ZERO}

    # ------------------------------------------------------------ claims

    def _proved_by(self, nu: Array | None) -> Fraction | None:
        """The lower bound that these multipliers prove, as they are or with what the certificate adds to its own."""
        if nu is None or self.read.name in checker.COUNTS:
            return None
        entries = {i: v for i, v in enumerate(_fractions(nu)) if v}
        tree = {
            key: value for key, value in self.certificate.tree.items() if key not in ("distance", "count", "vertices")
        }
        own = dict(tree.get("dual", {}))
        best: Fraction | None = None
        if not remaining():
            return None
        for extra in ({}, {k: own[k] for k in own if k == "ball"}, {k: own[k] for k in own if k not in ("nu", "B")}):
            dual = {**extra, "nu": vector(entries)}
            primal = tree["primal"]
            if primal.get("base") == "dual":  # the point that follows from the certificate's own multipliers
                found = self._proved_point()
                placed = {j: found[j] for j in self.read.free}
                primal = {"base": "zero", "parts": vector({j: v for j, v in placed.items() if v})}
            draft = {**tree, "primal": primal, "dual": dual, "claims": {"proof": "repaired"}}
            lower = checker.check(self.problem, draft, self.tau).lower
            if lower is not None and (best is None or lower > best):
                best = lower
        return best

    def _refuted_claims(self, bounds: Any) -> Iterator[str]:
        """Claims of a Solution that the certificate contradicts."""
        if self.claim is None or bounds is None:
            return
        lower, upper = bounds
        slack = self.tolerance * self._scale(upper)
        if self.claim.status is Status.INFEASIBLE:
            yield "it claims that no parameters fit, but the certificate holds some that do"
        if self.claim.lower is not None and Fraction(self.claim.lower) > upper + slack:
            yield f"it claims that the optimum is at least {self.claim.lower:g}, more than is possible"
        if self.claim.upper is not None and Fraction(self.claim.upper) < lower - slack:
            yield f"it claims that the optimum is at most {self.claim.upper:g}, less than is possible"

    def _nothing(self, measured: dict[str, Any]) -> Verdict:
        text = measured.pop("text")
        sentences = [f"{NOTHING}: it is proved that no parameters satisfy the constraints", text]
        if self.claim is not None and self.claim.status is Status.INFEASIBLE:
            sentences.append("it claims so itself, which is right")
        if self.nu is not None and self.nu.any():
            dual = {"nu": vector({i: v for i, v in enumerate(_fractions(self.nu)) if v})}
            tree = {**self.certificate.tree, "kind": "infeasible", "dual": dual, "claims": {"proof": "infeasible"}}
            tree.pop("rows", None)
            good = checker.check(self.problem, tree).proof == "infeasible"
            word = "are a proof of that" if good else "are no proof of that, as they are written"
            sentences.append(f"the multipliers {word}")
        return Verdict(NOTHING, self.tolerance, self.certificate, tuple(sentences), **measured)

    def _about_value(self, fields: dict[str, Any], bounds: Any) -> Iterator[str]:
        value = f"R + Rhat is {_digits(fields['most'])}"
        if bounds is None:
            yield f"{value}; about the optimum nothing was proved: {self.why}"
            return
        lower, upper = bounds
        exact = self.certificate.proof == "exact"
        optimum = f"the optimum {_digits(upper)}" if exact else f"the optimum in [{_digits(lower)}, {_digits(upper)}]"
        excess = fields["excess"]
        where = f"{_few(abs(excess))} {'above' if excess > 0 else 'below'}" if excess else "at" if exact else "within"
        yield f"{value}, {where} {optimum}"
        if fields["distance"] is not None:
            which = "the minimiser" if self.certificate.unique else "a minimiser"
            yield f"theta is within {_few(fields['distance'])} of {which}"
        if fields["nu_lower"] is not None:
            short = (lower - fields["nu_lower"]) / self._scale(upper)
            enough = "the multipliers prove" if short <= self.tolerance else "the multipliers prove too little, only"
            yield f"{enough} that the optimum is at least {_digits(fields['nu_lower'])}"


def nuclear(entries: Sequence[Fraction], p: int, q: int) -> point.Interval:
    """The nuclear norm of a (p, q) matrix: |X| <= sum |u| |v| + what the float singular vectors u, v leave of X, and
    |X| >= <G, X> / |G| for G = sum u v.T / (|u| |v|), whose spectral norm is bounded by |G.T G - I|.
    """
    if not entries or not any(entries):
        return ZERO, ZERO
    peak = max(map(abs, entries))
    unit = Fraction(2) ** (peak.numerator.bit_length() - peak.denominator.bit_length())
    X = np.array([ratio((x / unit).numerator, (x / unit).denominator) for x in entries]).reshape(p, q)
    U, sigma, Vt = np.linalg.svd(X if p >= q else X.T, full_matrices=False)
    tall = entries if p >= q else [entries[i * q + c] for c in range(q) for i in range(p)]
    rows, columns = max(p, q), min(p, q)
    left, right = to_rational(U * sigma), to_rational(Vt)
    scaled = np.array([x / unit for x in tall], dtype=object).reshape(rows, columns)
    rest = scaled - left @ right
    pairs = zip(left.T.tolist(), right.tolist(), strict=True)
    above = sum((point.length(u)[1] * point.length(v)[1] for u, v in pairs), ZERO)
    above += sum((point.length(column)[1] for column in rest.T.tolist()), ZERO)
    G = to_rational(U) @ right
    excess = (G.T @ G - to_rational(np.eye(columns))).reshape(-1).tolist()
    norm = checker.roots(1 + point.length(excess)[1])[1]
    below = sum((a * b for a, b in zip(G.reshape(-1), scaled.reshape(-1), strict=True)), ZERO) / norm
    return max(below, ZERO) * unit, above * unit


def _vector(name: str, values: Any, size: int) -> Array:
    for step in ("detach", "cpu", "numpy"):
        values = getattr(values, step)() if hasattr(values, step) else values
    array = real_array(name, values, ndim=1)
    if array.size != size:
        raise ProblemError(f"{name}: expected {size} entries for this problem, got {array.size}")
    return array


def _fractions(array: Array) -> list[Fraction]:
    return [Fraction(x) for x in to_rational(array).tolist()]


def _few(value: Fraction) -> str:
    """Two digits, and a plain 0 only for exactly 0."""
    size = ratio(value.numerator, value.denominator)
    return f"{size:.1e}" if size and math.isfinite(size) else "0" if not value else f"2^{_bits(value)}"


def _digits(value: Fraction) -> str:
    size = ratio(value.numerator, value.denominator)
    return f"{size:.12g}" if math.isfinite(size) else f"{'-' if value < 0 else ''}2^{_bits(value)}"


def _bits(value: Fraction) -> int:
    """Its size as a power of two, for what lies beyond floats."""
    return abs(value.numerator).bit_length() - value.denominator.bit_length()
