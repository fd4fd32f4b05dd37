"""A form: the objective as data, a sum of parts factor * f(M theta - c) with terms f of the closed set.

value       sum of factor f(M theta - c)
conjugate   of a sum there is no formula in general; but <M.T g_1 + M.T g_2 + ..., theta> <= R(theta) + sum of f_k*'s,
            so one g_k per summand bounds it from below
summands    what needs a g_k of its own: all separable parts without a map together, and every other part
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms.count import Count
from exact_unlearn.forms.huber import Huber
from exact_unlearn.forms.kink import Kink
from exact_unlearn.forms.largest import Max
from exact_unlearn.forms.maps import Rows
from exact_unlearn.forms.norms import Norms
from exact_unlearn.forms.separable import prox, separable
from exact_unlearn.forms.spectral import Spectral
from exact_unlearn.forms.square import Square
from exact_unlearn.forms.term import Term
from exact_unlearn.jacobian import Array, real_array, to_float, to_rational
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_number,
    as_real,
    as_step,
    exact_product,
    indicator,
    is_exact,
    require_length,
    total,
)


@dataclass(frozen=True)
class Space:
    """Where a form lives: d parameters, and theta* where it is known."""

    size: int | None = None
    theta_star: Array | None = None

    @classmethod
    def of(cls, theta: Any) -> Space:
        """Of a point at which something is evaluated."""
        x = as_real(theta)
        return cls(x.size, x)


@dataclass(frozen=True, eq=False)
class Part:
    """factor * f(M theta - c).  map: M, None for the identity; centre: c (m,), None for 0; factor: a number > 0."""

    term: Term
    map: Rows | None = None
    centre: Array | None = None
    factor: Value = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.term, Term):
            raise ProblemError(f"term: expected one of exact_unlearn.forms, got {self.term!r:.60}")
        if type(self.factor) is not float:
            object.__setattr__(self, "factor", as_number("factor", self.factor))
        if self.centre is not None:
            centre = real_array("centre", self.centre, ndim=1)
            centre.setflags(write=False)
            object.__setattr__(self, "centre", centre if (centre != 0).any() else None)
        if self.map is not None:
            self.term.require(self.map.shape[0])

    def require(self, d: int) -> None:
        """ProblemError unless it is a function of d parameters."""
        if self.map is not None and self.map.shape[1] != d:
            raise ProblemError(f"map: expected {d} columns, one per parameter, got {self.map.shape[1]}")
        m = d if self.map is None else self.map.shape[0]
        self.term.require(m)
        if self.centre is not None:
            require_length("centre", self.centre.size, m)

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else f"{float(self.factor):g} "
        behind = "" if self.map is None else " of a map"
        return f"{factor}{self.term.kind}{behind}" + ("" if self.centre is None else " about a centre")

    def image(self, theta: Any) -> Array:
        """M theta."""
        return as_real(theta) if self.map is None else self.map.apply(theta)

    def at(self, theta: Any) -> Array:
        """x = M theta - c, in the arithmetic of theta."""
        x = self.image(theta)
        if self.centre is None:
            return x
        return x - (to_rational(self.centre) if is_exact(x) else to_float(self.centre))

    def pull(self, g: Array) -> Array:
        """M.T g, (d,)."""
        return g if self.map is None else self.map.adjoint(g)

    def number(self, like: Array) -> Any:
        """The factor in the arithmetic of `like`."""
        return Fraction(self.factor) if is_exact(like) else float(self.factor)

    def value(self, theta: Any) -> Value:
        x = self.at(theta)
        return self.term.value(x) if self.factor == 1 else self.term.times(self.number(x), x)

    def times(self, x: Array) -> Value:
        """factor f(x - c), of x in the space of the map."""
        y = x if self.centre is None else x - (to_rational(self.centre) if is_exact(x) else to_float(self.centre))
        return self.term.times(self.number(y), y)

    def expression(self, theta: Any) -> Any:
        x = theta if self.map is None else self.map.sparse() @ theta
        term = self.term.expression(x if self.centre is None else x - to_float(self.centre))
        return term if self.factor == 1 else float(self.factor) * term

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """Of g (m,): sup <g, x> - factor f(x - c) = <g, c> + factor f*(g / factor)."""
        z = as_real(g)
        one = self.factor == 1
        value = self.term.conjugate(z, tol) if one else self.term.conjugate_times(self.number(z), z, tol)
        if self.centre is None:
            return value
        return value + total(z * (to_rational(self.centre) if is_exact(z) else to_float(self.centre)))

    def dual_norm(self, g: Any) -> Value:
        """f°(g) / factor, of g (m,)."""
        z = as_real(g)
        return self.term.dual_norm(z if self.factor == 1 else z / self.number(z))

    def prox(self, v: Any, step: float) -> Array:
        """Without a map: c + prox of step * factor * f at v - c."""
        t = as_step(step) * float(self.factor)
        if self.centre is None:
            return self.term.prox(v, t)
        return to_float(self.centre) + self.term.prox(as_float(v) - to_float(self.centre), t)

    def in_unit(self, exponent: int) -> tuple[Part, int]:
        """(part, p) with this(2^exponent t) = 2^(p exponent) part(t)."""
        term, degree = self.term.in_unit(exponent)
        centre = None if self.centre is None else to_rational(self.centre) / Fraction(2) ** exponent
        return replace(self, term=term, centre=centre), degree

    def to_spec(self) -> dict[str, Any]:
        """The part as a TERM of docs/certificate_format.md: what says nothing is left out."""
        spec = self.term.to_spec()
        if self.map is not None:
            spec["map"] = self.map.to_spec()
        if self.centre is not None:
            spec["centre"] = self.centre
        if self.factor != 1:
            spec["factor"] = self.factor
        return spec


@dataclass(frozen=True, eq=False)
class Summand:
    """Parts that share one g: separable ones without a map, or one part of any kind."""

    parts: tuple[Part, ...]

    @property
    def map(self) -> Rows | None:
        return self.parts[0].map if self.parts else None

    @property
    def is_norm(self) -> bool:
        """One norm about 0."""
        return len(self.parts) == 1 and self.parts[0].term.is_norm and self.parts[0].centre is None

    def size(self, d: int) -> int:
        return d if self.map is None else self.map.shape[0]

    def image(self, theta: Array) -> Array:
        return self.parts[0].image(theta) if self.parts else theta

    def pull(self, g: Array) -> Array:
        return self.parts[0].pull(g) if self.parts else g

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """The conjugate at g, in the space of the map."""
        if not self.parts:
            return indicator(not np.any(as_real(g) != 0))
        if len(self.parts) == 1:
            return self.parts[0].conjugate(g, tol)
        both, z = separable(self.parts, g)
        return both.conjugate(z, tol)

    def prox(self, v: Any, step: float) -> Array:
        """argmin step f(x) + 1/2 |x - v|^2, in the space of the map."""
        if len(self.parts) > 1:
            return prox(self.parts, v, as_step(step))
        return self.parts[0].prox(v, step) if self.parts else as_float(v).copy()

    def into_domain(self, g: Array) -> Array:
        """g cleaned of rounding: nothing where a seminorm is blind, and scaled or moved into the domain of the
        conjugate."""
        if len(self.parts) == 1 and self.parts[0].term.is_norm:
            part = self.parts[0]
            g = g - part.term.prox(g, math.inf)  # the nearest minimiser of a seminorm: the component in its null space
            excess = float(part.dual_norm(g))
            return g / (excess * (1 + 1e-15)) if 1.0 < excess < math.inf else g
        if not self.parts or not self.parts[0].term.separable:
            return g
        return separable(self.parts, g)[0].into_domain(g)

    def excess(self, g: Array) -> float:
        """How far g lies outside the domain of the conjugate, relatively."""
        if math.isfinite(self.conjugate(g)):
            return 0.0
        if self.parts and self.parts[0].term.separable and not self.is_norm:
            return separable(self.parts, g)[0].excess(g)
        return max(0.0, float(self.parts[0].dual_norm(g)) - 1.0) if self.is_norm else math.inf


@dataclass(frozen=True, eq=False, init=False)
class Form:
    """R(theta) = sum of its parts; a term alone stands for the part that is this term."""

    parts: tuple[Part, ...]

    def __init__(self, parts: Iterable[Any] = ()) -> None:
        parts = tuple(Part(part) if isinstance(part, Term) else part for part in parts)
        for part in parts:
            if not isinstance(part, Part):
                raise ProblemError(f"form: expected terms and parts of exact_unlearn.forms, got {part!r:.60}")
        parts = tuple(part for part in parts if part.factor != 0)
        if len(parts) > 1 and not all(part.term.convex for part in parts):
            raise ProblemError("form: counts and powers are proved by enumeration, which knows no sums; use one alone")
        if any(not part.term.convex and (part.map or part.centre is not None or part.factor != 1) for part in parts):
            raise ProblemError(
                "form: counts and powers are proved by enumeration, which knows no maps, centres and factors"
            )
        object.__setattr__(self, "parts", parts)

    def __str__(self) -> str:
        """Its parts by name, for people."""
        return " + ".join(str(part) for part in self.parts) or "0"

    # ------------------------------------------------------------ making forms of forms

    def __add__(self, other: Form) -> Form:
        return Form(self.parts + other.parts)

    def scaled(self, factor: Value) -> Form:
        """factor * R."""
        return Form(tuple(replace(part, factor=exact_product(part.factor, factor)) for part in self.parts))

    def centred(self, centre: Array) -> Form:
        """theta -> R(theta - centre)."""
        return Form(tuple(replace(part, centre=_moved(part, centre)) for part in self.parts))

    def composed(self, rows: Rows) -> Form:
        """theta -> R(M theta)."""
        for part in self.parts:
            part.require(rows.shape[0])
        return Form(tuple(replace(p, map=rows if p.map is None else p.map.after(rows)) for p in self.parts))

    # ------------------------------------------------------------ what it is

    @cached_property
    def summands(self) -> tuple[Summand, ...]:
        """Separable parts without a map first and together, then every other part."""
        joint = tuple(part for part in self.parts if part.term.separable and part.map is None)
        others = tuple(part for part in self.parts if part not in joint)
        return tuple(
            Summand(parts) for parts in ((joint,) if joint or not others else ()) + tuple((p,) for p in others)
        )

    @property
    def plain(self) -> bool:
        """One summand without a map: the subgradient of R is its g."""
        return len(self.summands) == 1 and self.summands[0].map is None

    @property
    def convex(self) -> bool:
        return all(part.term.convex for part in self.parts)

    @property
    def integer(self) -> bool:
        return any(isinstance(part.term, Count) for part in self.parts)

    @property
    def is_norm(self) -> bool:
        """A norm or seminorm: every part is one, about 0."""
        return all(part.term.is_norm and part.centre is None for part in self.parts)

    @property
    def strictly_convex(self) -> bool:
        return any(part.term.strictly_convex and part.map is None for part in self.parts)

    @property
    def unique_minimiser(self) -> bool:
        """At most one minimiser over every convex set."""
        alone = len(self.parts) == 1 and self.parts[0].map is None and self.parts[0].term.unique_minimiser
        return self.strictly_convex or alone

    def require(self, d: int) -> None:
        """ProblemError unless it is a function of d parameters."""
        for part in self.parts:
            part.require(d)

    def seen(self, d: int) -> Array:
        """(d,) mask of the parameters on which R depends."""
        mask = np.zeros(d, dtype=bool)
        for part in self.parts:
            if part.map is None:
                mask |= part.term.seen(d)
            else:
                rows = part.term.seen(part.map.shape[0])[part.map.row]
                mask[part.map.column[rows & (part.map.value != 0).astype(bool)]] = True
        return mask

    # ------------------------------------------------------------ formulas

    def value(self, theta: Any) -> Value:
        """R(theta), exact for vectors of Fractions where every part is rational."""
        x = as_real(theta)
        values = [part.value(x) for part in self.parts]
        if not values:
            return Fraction(0) if is_exact(x) else 0.0
        return values[0] if len(values) == 1 else sum(values[1:], start=values[0])

    def expression(self, theta: Any) -> Any:
        """As a CVXPY expression."""
        terms = [part.expression(theta) for part in self.parts]
        return sum(terms[1:], start=terms[0]) if terms else 0.0 * theta[0]

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """R*(g) where it is a formula: one summand without a map.  ProblemError for other sums."""
        if not self.plain:
            raise ProblemError("conjugate: that of a sum is no formula; each summand of the form has its own")
        return self.summands[0].conjugate(g, tol)

    def dual_norm(self, g: Any) -> Value:
        """R°(g) where R is one norm, without a map.  ProblemError otherwise."""
        if not (self.plain and self.is_norm and len(self.parts) <= 1):
            raise ProblemError("dual_norm: it is a formula of a single norm only")
        z = as_real(g)
        return self.parts[0].dual_norm(z) if self.parts else (math.inf if np.any(z != 0) else 0.0)

    def prox(self, v: Any, step: float) -> Array:
        """argmin step R(x) + 1/2 |x - v|^2, where R is one summand without a map.  ProblemError otherwise."""
        if not self.plain:
            raise ProblemError("prox: that of a sum or behind a map is no formula")
        return self.summands[0].prox(v, step)

    def slope(self, theta: Array) -> Array:
        """One subgradient at theta (d,), floats: where there are several, one that is 0 at the kinks."""
        slopes = (part.pull(float(part.factor) * part.term.slope(part.at(theta))) for part in self.parts)
        return np.asarray(sum(slopes, start=np.zeros(theta.size)))

    def in_unit(self, exponent: int) -> tuple[Form, int]:
        """(form, p) with R(2^exponent t) = 2^(p exponent) form(t); p is the largest degree of a part."""
        scaled = [part.in_unit(exponent) for part in self.parts]
        top = max((degree for _, degree in scaled), default=1)
        unit = Fraction(2) ** exponent
        parts = (part if p == top else replace(part, factor=part.factor * unit ** (p - top)) for part, p in scaled)
        return Form(tuple(parts)), top

    def to_spec(self) -> list[dict[str, Any]]:
        """The parts as TERMs."""
        return [part.to_spec() for part in self.parts]


def _moved(part: Part, centre: Array) -> Array:
    """The centre of theta -> part(theta - centre)."""
    step = part.image(centre)
    if part.centre is None:
        return step
    total_ = to_rational(part.centre) + to_rational(step)
    near = to_float(total_)
    return near if (to_rational(near) == total_).all() else total_


_TERMS = {"square": Square, "kink": Kink, "huber": Huber, "max": Max}


def part_from_spec(spec: Mapping[str, Any]) -> Part:
    """The part that `to_spec` described. ProblemError on unknown terms, missing or superfluous fields."""
    fields = dict(spec)
    kind = fields.pop("term", None)
    rows, centre, factor = fields.pop("map", None), fields.pop("centre", None), fields.pop("factor", 1)
    factor = as_number("factor", factor)
    if factor == 0:
        raise ProblemError("factor: expected a number > 0, got 0")
    try:
        if kind in _TERMS:
            term: Term = _TERMS[kind](**fields)
        elif kind == "norms":
            term = Norms(fields.pop("labels", None), **fields)
        elif kind == "spectral":
            term = Spectral(np.asarray(fields.pop("indices")).astype(np.int64), tuple(fields.pop("shape")), **fields)
        else:
            raise ProblemError(f"term: expected one of {', '.join((*_TERMS, 'norms', 'spectral'))}, got {kind!r}")
        return Part(term, None if rows is None else _rows_from_spec(rows), centre, factor)
    except (TypeError, KeyError):
        raise ProblemError(f"term {kind!r}: does not take exactly the fields {sorted(fields)}") from None


def _rows_from_spec(spec: Mapping[str, Any]) -> Rows:
    return Rows((spec["rows"], spec["columns"]), spec["row"], spec["column"], spec["value"])
