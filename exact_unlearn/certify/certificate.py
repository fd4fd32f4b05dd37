"""What `certify` returns: bounds on an optimum, and the file that proves them to anybody."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import codec, formats, modules, pictures, report, summary
from exact_unlearn.certify.exactlin import ratio
from exact_unlearn.certify.rows import RowReport
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.problem import UnlearningProblem

SCHEMA = "exact-unlearn/certificate"
PROOFS = ("exact", "enclosure", "repaired", "infeasible", "none")


class Number(Fraction):
    """A Fraction that prints at any size; CPython refuses to write integers of more than 4300 digits.

    >>> Number(1, 3), Number(10**5000 + 1, 3 * 10**5000)
    (Fraction(1, 3), <Fraction ≈ 0.333333333333333: 5001 over 5001 digits>)
    """

    __slots__ = ()

    def __str__(self) -> str:
        return super().__str__() if self._is_printable() else self._in_short()

    def __repr__(self) -> str:
        if not self._is_printable():
            return f"<Fraction {self._in_short()}>"
        return f"Fraction({self.numerator}, {self.denominator})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, (self.numerator, self.denominator)

    def _is_printable(self) -> bool:
        limit = sys.get_int_max_str_digits()
        return not limit or max(_digits(self.numerator), _digits(self.denominator)) < limit

    def _in_short(self) -> str:
        return f"{_short(self)}: {_digits(self.numerator)} over {_digits(self.denominator)} digits"


def _digits(integer: int) -> int:
    """The decimal digits of an integer, without writing it; for huge ones it may count one too many."""
    return int(abs(integer).bit_length() * math.log10(2)) + 1


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(pictures.Drawn):
    """What is proved about a problem: lower <= optimum <= upper, and how near a point is to every minimiser.

    proof:     "exact" (the optimum itself), "enclosure" (relative gap at most 1e-30), "repaired" (a feasible point
               and the gap it has), "infeasible" (no parameters fit), "none" (nothing was proved; see `message`).
    lower, upper: exact rationals, Fractions that print at any size; for an exact root a rational enclosure of it.
               None where nothing is known.
    gap:       (upper - lower) / upper, 0/0 = 0; 0 if and only if the proof is exact.
    distance:  bound on |theta - minimiser| for every minimiser, or None.
    unique:    True if the minimiser is proved to be unique, else None.
    square:    value^2 of an exact l2 or predictor norm.
    theta:     (d,) the proved point rounded to floats, better than what any solver returned.
    rows:      how the rows of J were understood.
    message:   why this level and no higher one.

    >>> import exact_unlearn as xu
    >>> certificate = xu.certify(xu.UnlearningProblem([3, 1], [[1, 2]], xu.SquaredL2()))
    >>> certificate.lower, certificate.point.tolist()
    (Fraction(5, 2), [Fraction(1, 1), Fraction(2, 1)])
    >>> certificate.check().proved
    True
    """

    problem: UnlearningProblem | None
    proof: str
    lower: Fraction | None
    upper: Fraction | None
    gap: Fraction | None
    distance: Fraction | None
    unique: bool | None
    square: Fraction | None = None
    theta: Array | None = None
    rows: RowReport | None = None
    message: str = ""
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Number(value))

    # ------------------------------------------------------------ what it says

    def lines(self) -> summary.Lines:
        """What is proved, and why no more."""
        lines = [("proof", f"{self.proof}. {self.claim}")]
        if self.message and self.proof not in ("exact", "none"):
            lines.append(("", self.message))
        if self.gap is not None and self.proof != "infeasible":
            lines.append(("proved gap", report.small(self.gap)))
        if self.rows is not None and self.rows.kept is not None and self.rows.residual is not None:
            others = f"the others hold to within {report.small(self.rows.residual)}"
            lines.append(("proved for", f"{len(self.rows.kept)} rows; {others}"))
        if self.neurons is not None and self.problem is not None and self.problem.origin is not None:
            lines.append(("about", self.problem.origin.sentence(self.neurons)))
        return lines

    @property
    def neurons(self) -> int | None:
        """Of a problem with an origin: from so many neurons on the bounds hold for the network; lower for any number.

        None where the problem has no origin, and where no point was proved.
        """
        found = self.tree.get("claims", {}).get("neurons")
        return None if found is None else int(found)

    @property
    def claim(self) -> str:
        """One sentence."""
        return _CLAIMS[self.proof](self)

    @cached_property
    def point(self) -> Array | None:
        """(d,) the point of the proof in Fractions, of which `theta` is the rounding; None where it has none.  It is
        feasible, or, in enclosures of short numbers, next to a feasible point: by how much, the checker finds.

        ProblemError where the certificate was loaded without its problem, or contradicts it.
        """
        from exact_unlearn.certify import checker

        if "primal" not in self.tree:
            return None
        try:
            proof = checker.Proof(checker.Problem(checker.read_problem(self._about(None))), dict(self.tree))
            proof.place()
        except checker.Rejected as error:
            raise ProblemError(str(error)) from None
        return np.array([Number(n, proof.theta.den) for n in proof.theta.nums], dtype=object)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the problem, whatever file it is kept in (docs/certificate_format.md, section 2)."""
        if self.problem is None:
            return None
        text = json.dumps(codec.to_json(self.problem.to_tree()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self, problem: UnlearningProblem | None = None, tau: Any = None) -> Any:
        """The independent checker's verdict about `problem` (default: the one it was made for).

        tau: the standard, which only the caller can set.  None: only a proof about all rows as written is one.  A
        number: rows may be dropped, and labels moved, as long as theta keeps |J D - b| <= tau in every row.

        The verdict has `proved` and `sentences`.  Raises ProblemError when there is no problem at hand, or if tau is no
        finite number >= 0.
        """
        from exact_unlearn.certify import checker

        try:
            return checker.check(self._about(problem), dict(self.tree), tau)
        except checker.Rejected as error:
            raise ProblemError(str(error)) from None

    def _about(self, problem: UnlearningProblem | None) -> UnlearningProblem:
        about = self.problem if problem is None else problem
        if about is None:
            raise ProblemError("problem: this certificate was loaded alone; pass the problem that it is about")
        return about

    def shown(self) -> pictures.Shown:
        """The proved point; ProblemError where there is none, or the problem is not at hand."""
        theta = self.point if self.theta is None else self.theta
        if theta is None:
            raise ProblemError(f"plot: there is no proved point to show; the proof is {self.proof!r}")
        return self._about(None), theta, f"{self.proof}: {self.claim}"

    def write_back(self, module: Any) -> Any:
        """Copy the proved point into the trainable parameters of the torch module that the problem is about.

        Returns the module. The numbers are rounded to the precision of the parameters. Raises ProblemError, one
        sentence, where no point was proved, and on another module.
        """
        if self.theta is None:
            raise ProblemError(f"write_back: there is no proved point to write; the proof is {self.proof!r}")
        return modules.write_back(module, self.theta)

    # ------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str], embed_problem: bool = False) -> None:
        """Write the certificate as JSON (docs/certificate_format.md).  A certificate that proves nothing has nothing to
        write: ProblemError.

        embed_problem: also write the problem into it; alone it then proves something about that problem only.
        """
        if self.proof == "none":
            raise ProblemError(f"certificate: there is nothing to save, for nothing was proved ({self.message})")
        tree = dict(self.tree)
        if embed_problem:
            if self.problem is None:
                raise ProblemError("problem: this certificate was loaded alone, so there is no problem to embed")
            tree["problem"] = codec.to_json(self.problem.to_tree())
        codec.write_atomically(Path(path), (json.dumps(tree, separators=(",", ":")) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str], problem: UnlearningProblem | None = None) -> Certificate:
        """Read a certificate.  Its fields are the *claims* of the file; `check` proves them.

        FileFormatError, one sentence, on a file that is no certificate.
        """
        tree = _read(Path(path))
        claims = tree["claims"]
        if problem is None and "problem" in tree:
            problem = UnlearningProblem.from_tree(codec.from_json(tree["problem"], path), str(path))
        numbers: dict[str, Any] = {name: _optional(claims.get(name)) for name in _NUMBERS}
        proof = claims["proof"]
        if proof not in PROOFS:
            raise FileFormatError(f"{path}: unknown proof {proof[:40]!r}")
        kept = {key: value for key, value in tree.items() if key != "problem"}
        return cls(problem=problem, proof=proof, unique=claims.get("unique"), tree=kept, **numbers)


_NUMBERS = ("lower", "upper", "gap", "distance", "square")


def _optional(text: Any) -> Fraction | None:
    return None if text is None else codec.parse_rational(text)


def _read(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = codec.read_json(path)
    codec.require_schema(path, tree, SCHEMA)
    formats.require(formats.CLAIMS, tree.get("claims"), str(path), "claims")
    return tree


def _short(value: Fraction | None, rounded: Callable[[Fraction], float | None] | None = None) -> str:
    """A number as itself where it is short, and after "≈" where it is not; what lies beyond floats as a power of ten.

    rounded: print the float that this gives instead, which makes a bound of a bound.
    """
    if value is None:
        return "?"
    size = ratio(value.numerator, value.denominator)
    if value and size in (0.0, math.inf, -math.inf):
        power = round((abs(value.numerator).bit_length() - value.denominator.bit_length()) * math.log10(2))
        return f"≈ {float(value / Fraction(10) ** power):.6g}e{power:+d}"
    digits = f"{size:.15g}"
    if Fraction(digits) == value:
        return digits
    if rounded is not None:
        return f"{rounded(value):.17g}"
    if max(abs(value.numerator), value.denominator) < 10**6:
        return f"{value.numerator}/{value.denominator}"
    return f"≈ {digits}"


def _some_rows(certificate: Certificate) -> str:
    """Which rows and labels it is about, if not about all as written."""
    rows = certificate.tree.get("rows")
    if not isinstance(rows, Mapping):
        return ""
    text = f", for the {len(rows['kept'])} rows that were kept"
    return text + (", with labels that J can reach" if rows.get("rhs") else "")


def _bounds(certificate: Certificate) -> str:
    """The interval, the distance and the rows, as a clause."""
    lower, upper = _short(certificate.lower, report.rounded_down), _short(certificate.upper, report.rounded_up)
    text = f"the optimum lies in [{lower}, {upper}]"
    if certificate.distance is not None:
        size = ratio(certificate.distance.numerator, certificate.distance.denominator)
        text += f", and every minimiser within {size:.1e} of theta"
    return text + _some_rows(certificate)


def _exact(certificate: Certificate) -> str:
    only = ", at a unique minimiser" if certificate.unique else ""
    if certificate.square is not None and certificate.lower != certificate.upper:
        known = f"is the root of {_short(certificate.square)}, {_short(certificate.upper)}"
    else:
        digits = _short(certificate.upper)
        known = f"is known as a fraction, {digits}" if digits.startswith("≈") else f"is {digits}, exactly"
        if certificate.lower != certificate.upper:
            known = f"is that of theta, {digits}, a sum of roots"
    return f"The optimum {known}{only}{_some_rows(certificate)}."


_CLAIMS: dict[str, Callable[[Certificate], str]] = {
    "exact": _exact,
    "enclosure": lambda c: f"Proved to every digit: {_bounds(c)}.",
    "repaired": lambda c: f"Proved: {_bounds(c)}.",
    "infeasible": lambda _: "Proved: no parameters satisfy the constraints.",
    "none": lambda c: f"Nothing was proved: {c.message}",
}
