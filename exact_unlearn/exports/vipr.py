"""The proof of a linear program as a VIPR file, for checkers that have never heard of this package.

VIPR (Cheung, Gleixner, Steffy: Verifying Integer Programming Results, 2017; format 1.0) states a linear or integer
program in rationals, a feasible point, and derivations that end in the bound which it claims.  A linear program needs
one derivation: a combination of its constraints.  With M and F the free and the frozen coordinates and D = theta -
theta*, our linear programs are

    l1:    minimise  sum_M w_j t_j + sum_M mu s_j + fixed   subject to  t_j -+ theta_j >= 0
    linf:  minimise  t + sum_M mu s_j   subject to  t -+ w_j theta_j >= 0,  t >= w_j |theta*_j| on F,  t >= 0
    both:  J_M theta_M = J_M theta*_M + b,   s_j -+ theta_j >= -+ theta*_j,   theta*_j - r <= theta_j <= theta*_j + r

The multipliers of the certificate are those of the equations; the others follow coordinate by coordinate, from
sum of subgradients = (J^T nu)_j.  Nothing is trusted here: if the derived bound is not the value at the point, there
is no file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn.certify.certificate import Certificate
from exact_unlearn.certify.encode import entries
from exact_unlearn.codec import write_atomically
from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import to_rational
from exact_unlearn.problem import UnlearningProblem

ZERO, ONE = Fraction(0), Fraction(1)

Row = dict[str, Fraction]
"""Coefficients by the name of the variable."""


def write_vipr(certificate: Certificate, path: str | os.PathLike[str]) -> None:
    """Write what `certificate` proves of a linear program (or that it has no feasible point) as VIPR 1.0.

    Linear programs are R = l1 or linf, alone or with l1 drifts and boxes.  ProblemError, one sentence, for another
    form, for a proof that is not exact, and for a proof about some rows only: VIPR files hold the problem as written.

    >>> import pathlib, tempfile
    >>> import exact_unlearn as xu
    >>> from exact_unlearn.exports import write_vipr
    >>> certificate = xu.certify(xu.UnlearningProblem([3.0, 1.0], [[1.0, 2.0]], xu.L1()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "proof.vipr")
    ...     write_vipr(certificate, path)
    ...     print(next(line for line in path.read_text().splitlines() if line.startswith("RTP")))
    RTP range 5/2 5/2
    """
    problem = _linear(certificate)
    program = _Program.of(problem)
    if certificate.proof == "infeasible":
        lines = program.refutation(entries(certificate.tree["dual"]["nu"], range(problem.n_constraints)))
    else:
        lines = program.bounds(certificate)
    write_atomically(Path(path), ("\n".join(lines) + "\n").encode("ascii"))


def _linear(certificate: Certificate) -> UnlearningProblem:
    problem = certificate.problem
    if problem is None:
        raise ProblemError("certificate: it was loaded alone; load it together with its problem")
    if certificate.proof not in ("exact", "infeasible"):
        raise ProblemError(f"certificate: VIPR takes exact proofs, and this one is {certificate.proof!r}")
    if isinstance(certificate.tree.get("rows"), Mapping):
        raise ProblemError("certificate: it is about some rows only, and a VIPR file holds the problem as written")
    curved = [term.name for term in problem.drifts if not _is_linear(term)]
    wrong = problem.regularizer.name if problem.regularizer.name not in ("l1", "linf") else ", ".join(curved)
    if wrong:
        raise ProblemError(f"certificate: VIPR takes linear programs, and {wrong} makes this something else")
    return problem


def _is_linear(term: Any) -> bool:
    if term.name == "trust_region":
        return bool(term.norm == math.inf or term.radius == 0)
    return bool(term.name == "l1_drift" or not term.lam)


class _Draft:
    """Rows `name sense rhs coefficients` and the objective, while they are written down."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.objective: Row = {}
        self.rows: list[tuple[str, str, Fraction, Row]] = []

    def variable(self, name: str, cost: Fraction) -> None:
        """One more, at a cost."""
        self.names.append(name)
        self.objective[name] = cost

    def row(self, name: str, sense: str, rhs: Fraction, coefficients: Row) -> None:
        """One more."""
        self.rows.append((name, sense, rhs, coefficients))

    def absolute(self, name: str, cost: Fraction, theta: str, center: Fraction) -> None:
        """name >= +-(theta - center), at a cost."""
        if cost:
            self.variable(name, cost)
            self.row(f"{name}+", "G", -center, {name: ONE, theta: -ONE})
            self.row(f"{name}-", "G", center, {name: ONE, theta: ONE})

    def constant(self, value: Fraction) -> None:
        """VIPR has no constant in the objective: a variable that is 1 carries it."""
        if value:
            self.variable("one", value)
            self.row("one", "E", ONE, {"one": ONE})


@dataclass(frozen=True)
class _Program:
    """A linear program: its numbers, its rows sense rhs, by name, and where they are."""

    problem: UnlearningProblem
    mu: Fraction
    radius: Fraction | None
    free: tuple[int, ...]
    weights: list[Fraction]
    theta_star: list[Fraction]
    matrix: list[list[Fraction]]
    """J on the free coordinates, row by row."""

    @classmethod
    def of(cls, problem: UnlearningProblem) -> _Program:
        boxes = [Fraction(term.radius) for term in problem.drifts if term.name == "trust_region"]
        radius = min(boxes) if boxes else None
        free = () if radius == 0 else tuple(int(j) for j in np.flatnonzero(problem.free))
        weights = getattr(problem.regularizer, "weights", None)
        columns = {int(j): k for k, j in enumerate(np.flatnonzero(problem.free))}
        full = to_rational(problem.free_matrix())
        return cls(
            problem,
            mu=sum((Fraction(term.lam) for term in problem.drifts if term.name == "l1_drift"), start=ZERO),
            radius=radius,
            free=free,
            weights=[ONE] * problem.n_parameters if weights is None else [Fraction(w) for w in weights],
            theta_star=[Fraction(x) for x in problem.theta_star],
            matrix=[[full[i, columns[j]] for j in free] for i in range(problem.n_constraints)],
        )

    @cached_property
    def draft(self) -> _Draft:
        """The rows and the objective."""
        frozen = sorted(set(range(self.problem.n_parameters)) - set(self.free))
        draft = _Draft(f"theta{j}" for j in self.free)
        for i, coefficients in enumerate(self.matrix):
            row = {f"theta{j}": a for j, a in zip(self.free, coefficients, strict=True) if a}
            start = sum((a * self.theta_star[j] for j, a in zip(self.free, coefficients, strict=True)), start=ZERO)
            sense = "G" if self.problem.at_least[i] else "E"
            draft.row(f"r{i}", sense, start + Fraction(self.problem.rhs[i]), row)
        if self.problem.regularizer.name == "l1":
            for j in self.free:
                draft.absolute(f"t{j}", self.weights[j], f"theta{j}", ZERO)
            draft.constant(sum((self.weights[j] * abs(self.theta_star[j]) for j in frozen), start=ZERO))
        else:
            draft.variable("t", ONE)
            draft.row("t_floor", "G", ZERO, {"t": ONE})
            for j in self.free:
                if self.weights[j]:
                    draft.row(f"t{j}+", "G", ZERO, {"t": ONE, f"theta{j}": -self.weights[j]})
                    draft.row(f"t{j}-", "G", ZERO, {"t": ONE, f"theta{j}": self.weights[j]})
            for j in frozen:
                if self.weights[j] and self.theta_star[j]:
                    draft.row(f"t{j}", "G", self.weights[j] * abs(self.theta_star[j]), {"t": ONE})
        for j in self.free:
            draft.absolute(f"s{j}", self.mu, f"theta{j}", self.theta_star[j])
        if self.radius is not None:
            for j in self.free:
                draft.row(f"up{j}", "L", self.theta_star[j] + self.radius, {f"theta{j}": ONE})
                draft.row(f"down{j}", "G", self.theta_star[j] - self.radius, {f"theta{j}": ONE})
        return draft

    @cached_property
    def at(self) -> dict[str, int]:
        """Where the row of a name is."""
        return {name: k for k, (name, *_) in enumerate(self.draft.rows)}

    # ------------------------------------------------------------ proofs

    def bounds(self, certificate: Certificate) -> list[str]:
        """The file of an exact certificate."""
        theta = self._point(certificate.tree["primal"])
        solution = {name: value for name, value in self._assignment(theta).items() if value}
        costs = self.draft.objective
        value = sum((cost * solution.get(name, ZERO) for name, cost in costs.items()), start=ZERO)
        multipliers = self._multipliers(certificate.tree.get("dual", {"nu": []}), theta)
        lower, combined = self._combination(multipliers)
        if lower != value or combined != self.draft.objective:
            raise ProblemError(
                "certificate: its bound is not a combination of the rows of this linear program alone "
                f"(derived {float(lower):.17g}, attained {float(value):.17g})"
            )
        bound = _text(value)
        used = _sparse({self.at[name]: factor for name, factor in multipliers.items() if factor})
        return [
            *self._head(),
            f"RTP range {bound} {bound}",
            "SOL 1",
            f"point {self._sparse_row(solution)}",
            "DER 1",
            f"bound G {bound} OBJ {{ lin {used} }} -1",
        ]

    def refutation(self, nu: Mapping[int, Fraction]) -> list[str]:
        """The file of a Farkas vector: a combination of the rows that reads 0 >= something positive."""
        z = self._pull(nu)
        multipliers = {f"r{i}": factor for i, factor in nu.items()}
        for j, slope in zip(self.free, z, strict=True):
            if slope and self.radius is None:
                raise ProblemError("certificate: its Farkas vector is not one of this linear program")
            if slope:
                multipliers[f"up{j}" if slope > 0 else f"down{j}"] = -slope
        lower, combined = self._combination(multipliers)
        if combined or lower <= 0:
            raise ProblemError("certificate: its Farkas vector is not one of this linear program")
        used = _sparse({self.at[name]: factor for name, factor in multipliers.items() if factor})
        return [*self._head(), "RTP infeas", "SOL 0", "DER 1", f"absurd G {_text(lower)} 0 {{ lin {used} }} -1"]

    def _combination(self, multipliers: Mapping[str, Fraction]) -> tuple[Fraction, Row]:
        """sum of multiplier * row, if every multiplier has the sign that keeps >=."""
        bound, combined = ZERO, dict[str, Fraction]()
        for name, factor in multipliers.items():
            _, sense, rhs, row = self.draft.rows[self.at[name]]
            if (sense == "G" and factor < 0) or (sense == "L" and factor > 0):
                raise ProblemError("certificate: its multipliers have the wrong sign for this linear program")
            bound += factor * rhs
            for variable, coefficient in row.items():
                combined[variable] = combined.get(variable, ZERO) + factor * coefficient
        return bound, {variable: value for variable, value in combined.items() if value}

    def _multipliers(self, dual: Mapping[str, Any], theta: Mapping[int, Fraction]) -> dict[str, Fraction]:
        nu = entries(dual["nu"], range(self.problem.n_constraints))
        z = self._pull(nu)
        found: dict[str, Fraction] = {}
        if self.problem.regularizer.name == "l1":
            scale = self._split_l1(z, theta, found)
            found["one"] = self.draft.objective.get("one", ZERO)
        else:
            scale = self._split_linf(z, dual, theta, found)
        found |= {f"r{i}": scale * factor for i, factor in nu.items()}
        return {name: factor for name, factor in found.items() if factor}

    def _split_l1(self, z: list[Fraction], theta: Mapping[int, Fraction], found: dict[str, Fraction]) -> Fraction:
        """(J^T nu)_j = subgradient of w|theta_j| + subgradient of mu|D_j| + multiplier of the box; returns the scale
        of nu that a certificate without a box may need."""
        steep = [(self.weights[j] + self.mu) / abs(s) for j, s in zip(self.free, z, strict=True) if s]
        scale = min([ONE, *steep]) if self.radius is None else ONE
        for j, slope in zip(self.free, z, strict=True):
            drift = self.mu * _sign(theta[j] - self.theta_star[j])  # fixed where theta has moved, open where it has not
            own = _subgradient(theta[j], self.weights[j], scale * slope - drift)
            self._pair(found, f"t{j}", self.weights[j], own)
            self._rest(found, j, theta[j], scale * slope - own)
        return scale

    def _split_linf(
        self, z: list[Fraction], dual: Mapping[str, Any], theta: Mapping[int, Fraction], found: dict[str, Fraction]
    ) -> Fraction:
        """g of the certificate, scaled into the dual ball as docs/certificate_format.md says, gives the rows of t."""
        listed = entries(dual.get("g", []), range(self.problem.n_parameters))
        g = {j: s - self.mu * _sign(theta[j] - self.theta_star[j]) for j, s in zip(self.free, z, strict=True)}
        g = {j: x for j, x in (g | listed).items() if x and self.weights[j]}
        size = sum((abs(x) / self.weights[j] for j, x in g.items()), start=ZERO)
        inside = ONE / size if size else ONE
        rest = [abs(s - g.get(j, ZERO)) for j, s in zip(self.free, z, strict=True)]
        if not self.mu and self.radius is None:
            s, sigma = inside, inside
        elif self.radius is not None:
            s, sigma = min(ONE, inside), ONE
        else:
            s = sigma = min([ONE, inside, *(self.mu / x for x in rest if x)])
        for j, x in g.items():
            if j in theta:
                found[f"t{j}{'+' if x > 0 else '-'}"] = s * abs(x) / self.weights[j]
            elif self.theta_star[j] and (x > 0) == (self.theta_star[j] > 0):
                found[f"t{j}"] = s * abs(x) / self.weights[j]
        for j, slope in zip(self.free, z, strict=True):
            self._rest(found, j, theta[j], sigma * slope - s * g.get(j, ZERO))
        found["t_floor"] = ONE - sum((f for name, f in found.items() if name.startswith("t")), start=ZERO)
        return sigma

    def _rest(self, found: dict[str, Fraction], j: int, theta: Fraction, rest: Fraction) -> None:
        """What R leaves of (J^T nu)_j: the l1 drift takes what it can, the box the remainder."""
        drift = _subgradient(theta - self.theta_star[j], self.mu, rest)
        self._pair(found, f"s{j}", self.mu, drift)
        left = rest - drift
        if left and self.radius is not None:
            found[f"up{j}" if left > 0 else f"down{j}"] = -left

    @staticmethod
    def _pair(found: dict[str, Fraction], name: str, size: Fraction, slope: Fraction) -> None:
        if size:
            found[f"{name}+"], found[f"{name}-"] = (size + slope) / 2, (size - slope) / 2

    def _pull(self, nu: Mapping[int, Fraction]) -> list[Fraction]:
        """J^T nu on the free coordinates."""
        z = [ZERO] * len(self.free)
        for i, factor in nu.items():
            z = [x + factor * a for x, a in zip(z, self.matrix[i], strict=True)]
        return z

    def _point(self, primal: Mapping[str, Any]) -> dict[int, Fraction]:
        base = primal["base"]
        if base not in ("zero", "theta_star"):
            raise ProblemError(f"certificate: a linear program has no point on base {base!r}")
        theta = {j: ZERO if base == "zero" else self.theta_star[j] for j in self.free}
        return theta | entries(primal.get("parts", []), self.free)

    def _assignment(self, theta: Mapping[int, Fraction]) -> Row:
        """The point, with the least value of every other variable."""
        values: Row = {f"theta{j}": theta[j] for j in self.free}
        values |= {f"t{j}": abs(theta[j]) for j in self.free}
        values |= {f"s{j}": abs(theta[j] - self.theta_star[j]) for j in self.free}
        whole = [theta.get(j, x) for j, x in enumerate(self.theta_star)]
        values["t"] = max((w * abs(x) for w, x in zip(self.weights, whole, strict=True)), default=ZERO)
        values["one"] = ONE
        return {name: values[name] for name in self.draft.names}

    # ------------------------------------------------------------ text

    def _head(self) -> list[str]:
        names, rows = self.draft.names, self.draft.rows
        lines = ["VER 1.0", f"VAR {len(names)}", *names, "INT 0", "OBJ min", self._sparse_row(self.draft.objective)]
        lines.append(f"CON {len(rows)} 0")
        return lines + [f"{name} {sense} {_text(rhs)} {self._sparse_row(row)}" for name, sense, rhs, row in rows]

    def _sparse_row(self, row: Row) -> str:
        index = {name: k for k, name in enumerate(self.draft.names)}
        return _sparse({index[name]: value for name, value in row.items()})


def _sparse(entries: Mapping[int, Fraction]) -> str:
    return " ".join([str(len(entries)), *(f"{k} {_text(entries[k])}" for k in sorted(entries))])


def _text(value: Fraction) -> str:
    """Decimal digits at any size: the limit of str() on long integers is for untrusted input, which this is not."""
    top, bottom = _digits(value.numerator), _digits(value.denominator)
    return top if bottom == "1" else f"{top}/{bottom}"


def _digits(value: int) -> str:
    """Halving, so that no step meets the limit of 4300 digits nor quadratic time."""
    if value < 0:
        return "-" + _digits(-value)
    if value.bit_length() <= 10_000:
        return str(value)
    half = value.bit_length() * 3 // 20  # decimal digits of about half of it
    high, low = divmod(value, 10**half)
    return _digits(high) + _digits(low).rjust(half, "0")


def _subgradient(x: Fraction, size: Fraction, wanted: Fraction) -> Fraction:
    """The element of the subdifferential of size |.| at x that is nearest to `wanted`."""
    return size * _sign(x) if x else max(-size, min(size, wanted))


def _sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)
