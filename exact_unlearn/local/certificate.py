"""What `certify_local` returns: one KKT point, enclosed, and the file that proves it to anybody."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from exact_unlearn import codec, report, summary
from exact_unlearn.errors import FileFormatError, ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.local import checker
from exact_unlearn.local.models import as_network
from exact_unlearn.models.layout import parameters


@dataclass(frozen=True, eq=False, repr=False)
class LocalCertificate(summary.Summarised):
    """What is proved near one point of a smooth network; nothing about points farther away.

    proof:     "local", or "none" (see `message`).
    lower, upper: exact rationals that enclose 1/2 |theta - centre|^2 at the KKT point; `value` is the pair.
    theta, nu: (d,), (k,) the point rounded to floats, as the model orders it; the KKT point is within `distance` of
               the numbers of the file.
    radius, nu_radius: no other KKT pair is as near to it, in parameters and multipliers.
    strict_minimum: True: every other network that fits and is within `radius` is larger; False: it is no local
               minimum; None: neither is proved.
    growth:    where it is a minimum, values exceed its own by at least growth/2 times the squared distance from it.
    moved:     how far theta is from the one that was given to `certify_local`; None of a file.

    >>> import exact_unlearn as xu
    >>> found = xu.certify_local(xu.Perceptron(1, 1, activation="tanh"), [1.0, 0.5], [[1.0]], [0.5])
    >>> found.lower <= found.upper, float(found.distance) < 1e-9
    (True, True)
    """

    proof: str
    theta: Array
    model: Any = None
    nu: Array | None = None
    lower: Fraction | None = None
    upper: Fraction | None = None
    distance: Fraction | None = None
    radius: Fraction | None = None
    nu_radius: Fraction | None = None
    strict_minimum: bool | None = None
    growth: Fraction | None = None
    moved: float | None = None
    message: str = ""
    tree: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @staticmethod
    def refused(model: Any, theta: Array, message: str) -> LocalCertificate:
        """Nothing was proved, and why."""
        return LocalCertificate(proof="none", theta=theta, model=model, message=message)

    @staticmethod
    def of_tree(tree: Mapping[str, Any], model: Any = None, moved: float | None = None) -> LocalCertificate:
        """The certificate that a file without claims holds, if the checker finds that it proves something."""
        bare = {**tree, "claims": {"proof": "local"}}
        found = checker.check(bare)
        if found.proof == "none":
            theta, _ = _floats(bare, model)
            return LocalCertificate.refused(model, theta, found.sentences[0].removeprefix("not proved: "))
        numbers = {name: getattr(found, name) for name in _CLAIMED}
        texts = {name: None if number is None else codec.rational_text(number) for name, number in numbers.items()}
        claims = {"proof": "local", "minimum": found.minimum, **texts}
        return LocalCertificate._read({**tree, "claims": claims}, model, moved)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Any = None) -> LocalCertificate:
        """Read a certificate.  Its fields are the *claims* of the file; `check` proves them.

        model: theta comes in its order; None: layer by layer, each row by row.  FileFormatError, one sentence, on a
        file that is none; ProblemError on a model that the file is not about.
        """
        tree = codec.read_json(Path(path))
        codec.require_schema(Path(path), tree, checker.SCHEMA)
        try:
            return cls._read(tree, model, None)
        except checker.Rejected as error:
            raise FileFormatError(f"{path}: {error}") from None

    @classmethod
    def _read(cls, tree: Mapping[str, Any], model: Any, moved: float | None) -> LocalCertificate:
        theta, nu = _floats(tree, model)
        claims = checker.mapping(checker.member(tree, "claims"))
        numbers = {
            name: None if claims.get(name) is None else checker.rational(claims[name], name) for name in _CLAIMED
        }
        radii = {name: checker.rational(checker.member(tree, name), name) for name in ("radius", "nu_radius")}
        minimum = claims.get("minimum")
        if claims.get("proof") != "local" or not (minimum is None or type(minimum) is bool):
            raise checker.Rejected("claims: expected the proof 'local', and a minimum that is true, false or null")
        about: dict[str, Any] = {**numbers, **radii}
        return cls(
            proof="local",
            theta=theta,
            model=model,
            nu=nu,
            strict_minimum=minimum,
            moved=moved,
            tree=dict(tree),
            **about,
        )

    # ------------------------------------------------------------ what it says

    @property
    def proved(self) -> bool:
        """False: that no network farther away is better is not proved, so nothing here is a proof of optimality."""
        return False

    @property
    def value(self) -> tuple[Fraction, Fraction] | None:
        """lower <= 1/2 |theta - centre|^2 <= upper at the KKT point; None where nothing was proved."""
        return None if self.lower is None or self.upper is None else (self.lower, self.upper)

    def contains(self, theta: Any) -> bool:
        """Whether theta, as the model orders it, lies within `radius` of the point of the file; decided exactly."""
        if self.radius is None:
            return False
        point, _ = _point(self.tree, self.model)
        theta = parameters(theta, len(point))
        return sum((Fraction(a) - b) ** 2 for a, b in zip(theta.tolist(), point, strict=True)) <= self.radius**2

    def lines(self) -> summary.Lines:
        """What is proved, and why no more."""
        if self.proof == "none":
            return [("proof", f"none. Nothing was proved: {self.message}")]
        assert self.radius is not None
        assert self.distance is not None
        assert self.nu_radius is not None
        kind = {True: "a strict local minimum", False: "no local minimum", None: "perhaps a local minimum"}
        lines = [
            ("proof", f"local. One KKT point is within {report.number(self.radius)} of theta: "
             f"{kind[self.strict_minimum]}; nothing is said of others."),
            ("value", f"{report.number(self.lower, 15)}, up to {report.small(self.upper - self.lower)}"
             if self.lower is not None and self.upper is not None else "not claimed"),
            ("distance", f"{report.small(self.distance)} at most, from theta to the KKT point"),
            ("multipliers", f"within {report.number(self.nu_radius)} of nu"),
        ]  # fmt: skip
        if self.growth is not None:
            lines.append(("growth", f"{report.number(self.growth)}: values grow by half of it times squared distances"))
        if self.moved is not None:
            lines.append(("moved", f"{report.small(self.moved)} from the given parameters"))
        return lines

    @property
    def digest(self) -> str | None:
        """SHA-256 of network, data and centre; None where nothing was proved."""
        return checker.digest(self.tree) if self.tree else None

    def check(self) -> checker.Verdict:
        """The independent checker's verdict: `proof` is "local" or "none"; ProblemError where nothing was proved."""
        if not self.tree:
            raise ProblemError(f"certificate: there is nothing to check, for nothing was proved ({self.message})")
        return checker.check(dict(self.tree))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON (docs/local_certificates.md).  ProblemError where nothing was proved."""
        if not self.tree:
            raise ProblemError(f"certificate: there is nothing to save, for nothing was proved ({self.message})")
        codec.write_atomically(Path(path), (json.dumps(dict(self.tree), separators=(",", ":")) + "\n").encode())


_CLAIMED = ("lower", "upper", "distance", "growth")


def _point(tree: Mapping[str, Any], model: Any) -> tuple[list[Fraction], list[Fraction]]:
    """theta and nu of a file as fractions, theta as the model orders it."""
    bits = checker.whole(tree, "bits", checker.MIN_BITS, checker.MAX_BITS)
    theta, nu = (
        [Fraction(checker.integer(text, name), 1 << bits) for text in checker.member(tree, name)]
        for name in ("theta", "nu")
    )
    if model is None:
        return theta, nu
    ordered = as_network(model)
    if len(ordered.order) != len(theta):
        raise ProblemError(
            f"model: expected one of {len(theta)} parameters, which the file is about, got {model!r:.80}"
        )
    placed = dict(zip(ordered.order.tolist(), theta, strict=True))
    return [placed[at] for at in range(len(theta))], nu


def _floats(tree: Mapping[str, Any], model: Any) -> tuple[Array, Array]:
    theta, nu = _point(tree, model)
    return np.array([float(entry) for entry in theta]), np.array([float(entry) for entry in nu])
