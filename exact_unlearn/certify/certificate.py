"""What `certify` returns: bounds on an optimum, and the file that proves them to anybody."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from exact_unlearn import codec, formats, modules
from exact_unlearn.certify.exactlin import ratio
from exact_unlearn.certify.rows import RowReport
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.problem import UnlearningProblem

SCHEMA = "exact-unlearn/certificate"
PROOFS = ("exact", "enclosure", "repaired", "infeasible", "none")


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved about a problem: lower <= optimum <= upper, and how near a point is to every minimiser.

    proof:     "exact" (the optimum itself), "enclosure" (relative gap at most 1e-30), "repaired" (a feasible point
               and the gap it has), "infeasible" (no parameters fit), "none" (nothing was proved; see `message`).
    lower, upper: exact rationals; for an exact root a rational enclosure of it.  None where nothing is known.
    gap:       (upper - lower) / upper, 0/0 = 0; 0 if and only if the proof is exact.
    distance:  bound on |theta - minimiser| for every minimiser, or None.
    unique:    True if the minimiser is proved to be unique, else None.
    square:    value^2 of an exact l2 or predictor norm.
    theta:     (d,) the proved feasible point rounded to floats, better than what any solver returned.
    rows:      how the rows of J were understood.
    message:   why this level and no higher one.
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

    # ------------------------------------------------------------ what it says

    @property
    def claim(self) -> str:
        """One sentence."""
        return _CLAIMS[self.proof](self)

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

        about = self.problem if problem is None else problem
        if about is None:
            raise ProblemError("problem: this certificate was loaded alone; pass the problem that it is about")
        try:
            return checker.check(about, dict(self.tree), tau)
        except checker.Rejected as error:
            raise ProblemError(str(error)) from None

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


def _short(value: Fraction | None) -> str:
    """All digits of a float; what lies beyond floats as a power of ten."""
    if value is None:
        return "?"
    size = ratio(value.numerator, value.denominator)
    if value and size in (0.0, math.inf, -math.inf):
        power = round((abs(value.numerator).bit_length() - value.denominator.bit_length()) * math.log10(2))
        return f"{float(value / Fraction(10) ** power):.6g}e{power:+d}"
    return f"{size:.17g}"


def _some_rows(certificate: Certificate) -> str:
    """Which rows and labels it is about, if not about all as written."""
    rows = certificate.tree.get("rows")
    if not isinstance(rows, Mapping):
        return ""
    text = f", for the {len(rows['kept'])} rows that were kept"
    return text + (", with labels that J can reach" if rows.get("rhs") else "")


def _bounds(certificate: Certificate) -> str:
    """The interval, the distance and the rows, as a clause."""
    text = f"the optimum lies in [{_short(certificate.lower)}, {_short(certificate.upper)}]"
    if certificate.distance is not None:
        size = ratio(certificate.distance.numerator, certificate.distance.denominator)
        text += f", and every minimiser within {size:.1e} of theta"
    return text + _some_rows(certificate)


def _exact(certificate: Certificate) -> str:
    only = ", at a unique minimiser" if certificate.unique else ""
    return f"The optimum is {_short(certificate.upper)}, exactly{only}{_some_rows(certificate)}."


_CLAIMS: dict[str, Callable[[Certificate], str]] = {
    "exact": _exact,
    "enclosure": lambda c: f"Proved to every digit: {_bounds(c)}.",
    "repaired": lambda c: f"Proved: {_bounds(c)}.",
    "infeasible": lambda _: "Proved: no parameters satisfy the constraints.",
    "none": lambda c: f"Nothing was proved: {c.message}",
}
