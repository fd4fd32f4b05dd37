"""Drift penalties R^(drift): what it costs to move away from theta_star.

They have the face of a regularizer, in the drift, and add up with `+`:

>>> SquaredDrift(0.5) + TrustRegion(2.0, norm="inf")
DriftSum(terms=(SquaredDrift(lam=0.5), TrustRegion(radius=2.0, norm=inf)))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Ball, Box, Form, Kink, Part, Space, Square
from exact_unlearn.forms.regions import onto_ball, rounded_down
from exact_unlearn.jacobian import Array, dimensions
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_number,
    as_real,
    as_step,
    indicator,
    is_exact,
    largest,
    require_member,
    root_sum_squares,
    soft,
    sum_squares,
)


@runtime_checkable
class DriftPenalty(Protocol):
    """A convex function of the drift, shape (d,), with value 0 at drift 0.

    `prox(v, step)` is argmin_x step * R^(x) + 1/2 |x - v|^2 in floats, step in [0, inf].
    """

    @property
    def is_norm(self) -> bool:
        """A norm (of which `dual_norm` exists)."""
        ...

    @property
    def strictly_convex(self) -> bool:
        """The minimiser is unique whatever the regularizer."""
        ...

    def value(self, drift: Any) -> Value: ...

    def expression(self, drift: Any) -> Any:
        """The penalty as a CVXPY expression; a trust region is an indicator, `constraint` gives it as a
        constraint.
        """
        ...

    def conjugate(self, h: Any, tol: float = 0.0) -> Value:
        """sup <h, drift> - R^(drift); `tol` is the relative slack of membership, 0 means an exact comparison."""
        ...

    def prox(self, v: Any, step: float) -> Array: ...

    def to_spec(self) -> dict[str, Any]: ...


class _Recipe:
    """A drift penalty that is one part of a form, about theta*: what follows is derived from it."""

    def form(self, space: Space) -> Form:
        """As a function of theta on `space`; without theta* as a function of the drift."""
        raise ProblemError(f"drift_penalty: {type(self).__name__} has no form(space)")

    def _of(self, drift: Any) -> Form:
        return self.form(Space(int(drift.shape[0])))

    def __add__(self, other: Any) -> Any:
        return _add(self, other)

    __radd__ = __add__

    @property
    def strictly_convex(self) -> bool:
        return self.form(Space()).strictly_convex

    def value(self, drift: Any) -> Value:
        x = as_real(drift)
        return self._of(x).value(x)

    def expression(self, drift: Any) -> Any:
        return self._of(drift).expression(drift)

    def conjugate(self, h: Any, tol: float = 0.0) -> Value:
        z = as_real(h)
        return self._of(z).conjugate(z, tol)

    def prox(self, v: Any, step: float) -> Array:
        x = as_float(v)
        return self._of(x).prox(x, as_step(step))


@dataclass(frozen=True)
class SquaredDrift(_Recipe):
    """lam/2 |drift|_2^2 (the lambda of Appendix E).  Conjugate |h|_2^2 / (2 lam); for lam = 0 the indicator
    of {0}.

    Raises ProblemError unless lam is a finite number >= 0.

    >>> import exact_unlearn as xu
    >>> xu.SquaredDrift(2.0).value([3.0, -4.0])
    25.0
    """

    lam: Value

    name: ClassVar[str] = "squared_drift"
    is_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", as_number("lam of squared_drift", self.lam))

    def form(self, space: Space) -> Form:
        return Form((Part(Square(), centre=space.theta_star, factor=self.lam),))

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "lam": self.lam}


@dataclass(frozen=True)
class L1Drift(_Recipe):
    """lam |drift|_1.  Conjugate: the indicator of |h|_inf <= lam.  Raises ProblemError unless lam is finite
    and >= 0.

    >>> import exact_unlearn as xu
    >>> xu.L1Drift(2.0).value([3.0, -4.0])
    14.0
    """

    lam: Value

    name: ClassVar[str] = "l1_drift"
    is_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", as_number("lam of l1_drift", self.lam))

    def form(self, space: Space) -> Form:
        return Form((Part(Kink(), centre=space.theta_star, factor=self.lam),))

    def dual_norm(self, h: Any) -> Value:
        """max |h_i| / lam; inf for h != 0 = lam."""
        z = as_real(h)
        return self._of(z).dual_norm(z)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "lam": self.lam}


@dataclass(frozen=True)
class TrustRegion(_Recipe):
    """The indicator of |drift| <= radius, norm 2 (a second-order cone) or inf (a box).

    Conjugate: radius |h|_2, or radius |h|_1 for the box.  radius = 0 allows drift 0 only.  norm: 2, inf or
    "inf". Raises ProblemError on other norms and unless the radius is finite and >= 0.

    >>> import exact_unlearn as xu
    >>> xu.TrustRegion(5.0).value([3.0, -4.0]), xu.TrustRegion(3.0, norm=float("inf")).value([3.0, -4.0])
    (0.0, inf)
    >>> near = xu.SquaredDrift(0.1) + xu.TrustRegion(5.0)  # penalties add up
    """

    radius: Value
    norm: Any = 2

    name: ClassVar[str] = "trust_region"
    is_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", as_number("radius of trust_region", self.radius))
        norm: Any = self.norm
        known = dimensions(norm) == 0 and (norm in ("2", "inf") or norm in (2, math.inf))
        if not known:
            raise ProblemError(f"norm of trust_region: expected 2 or inf, got {norm!r}")
        object.__setattr__(self, "norm", float(norm))

    @property
    def region(self) -> Ball | Box:
        """The term."""
        return Box(self.radius) if self.norm == math.inf else Ball(self.radius)

    def form(self, space: Space) -> Form:
        return Form((Part(self.region, centre=space.theta_star),))

    def value(self, drift: Any, tol: float = 0.0) -> Value:
        """0 inside, inf outside; inside means |drift| <= radius (1 + tol)."""
        return self.region.value(drift, tol)

    def constraint(self, drift: Any) -> Any:
        """|drift| <= radius as a CVXPY constraint."""
        return self.region.constraint(drift)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "radius": self.radius, "norm": "inf" if self.norm == math.inf else "2"}


Term = SquaredDrift | L1Drift | TrustRegion
_TERMS = (SquaredDrift, L1Drift, TrustRegion)


@dataclass(frozen=True)
class DriftSum:
    """A sum of drift penalties: lam/2 |x|_2^2 + mu |x|_1 inside the smallest ball and box.

    Its conjugate is the infimal convolution of the conjugates, inf sum R^_k*(h_k) over sum h_k = h, in closed
    form up to a finite search.
    """

    terms: tuple[Term, ...]

    name: ClassVar[str] = "drift_sum"
    is_norm: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        for term in self.terms:
            require_member("terms", term, _TERMS, "SquaredDrift, L1Drift or TrustRegion")

    def __add__(self, other: Any) -> Any:
        return _add(self, other)

    __radd__ = __add__

    @property
    def strictly_convex(self) -> bool:
        return any(term.strictly_convex for term in self.terms)

    def value(self, drift: Any) -> Value:
        x = as_real(drift)
        return sum((term.value(x) for term in self.terms), start=_number(0, x))

    def expression(self, drift: Any) -> Any:
        return sum(term.expression(drift) for term in self.terms)

    def conjugate(self, h: Any, tol: float = 0.0) -> float:
        """<z, x> - lam/2 |x|^2 at the best x, with z = h after subtracting mu |.|_1: sign(h) max(|h| - mu,
        0).

        tol: relative slack of |h|_inf <= mu where nothing else bounds the drift.
        """
        lam, mu, ball, box = self._normal_form()
        z = soft(as_float(h), mu)
        if lam == 0 and math.isinf(ball) and math.isinf(box):
            return indicator(bool(largest(as_float(h)) <= mu * (1 + tol)))
        x = _best_point(np.abs(z), lam, ball, box)
        gain = float(np.abs(z) @ x)
        return gain - 0.5 * lam * float(sum_squares(x))

    def prox(self, v: Any, step: float) -> Array:
        """Shrink by step mu, divide by 1 + step lam, keep within ball and box: all four in one step."""
        lam, mu, ball, box = self._normal_form()
        t = as_step(step)
        x = as_float(v)
        z = soft(x, _product(t, mu))
        return np.sign(z) * _best_point(np.abs(z), 1.0 + _product(t, lam), ball, box)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "terms": [term.to_spec() for term in self.terms]}

    def _normal_form(self) -> tuple[float, float, float, float]:
        """(lam, mu, radius of the ball, half width of the box), inf for no ball or box."""
        lam = sum(float(term.lam) for term in self.terms if isinstance(term, SquaredDrift))
        mu = sum(float(term.lam) for term in self.terms if isinstance(term, L1Drift))
        regions = [term for term in self.terms if isinstance(term, TrustRegion)]
        ball = min((rounded_down(term.radius) for term in regions if term.norm == 2), default=math.inf)
        box = min((rounded_down(term.radius) for term in regions if term.norm == math.inf), default=math.inf)
        return lam, mu, ball, box


def drift_terms(penalty: Any) -> tuple[Term, ...]:
    """The summands of a drift penalty; () for None. ProblemError on anything else."""
    if penalty is None:
        return ()
    if isinstance(penalty, DriftSum):
        return penalty.terms
    require_member("drift_penalty", penalty, _TERMS, "SquaredDrift, L1Drift, TrustRegion, a sum of them or None")
    return (penalty,)


def from_spec(spec: Mapping[str, Any]) -> Term | DriftSum:
    """The drift penalty that `to_spec` described. ProblemError on unknown names, missing or superfluous
    fields.
    """
    fields = dict(spec)
    name = fields.pop("name", None)
    try:
        match name:
            case "squared_drift":
                return SquaredDrift(**fields)
            case "l1_drift":
                return L1Drift(**fields)
            case "trust_region":
                return TrustRegion(**fields)
            case "drift_sum":
                return DriftSum(
                    tuple(term for part in fields.pop("terms") for term in drift_terms(from_spec(part))), **fields
                )
    except (TypeError, KeyError):
        raise ProblemError(f"drift_penalty {name!r}: does not take exactly the fields {sorted(fields)}") from None
    raise ProblemError(f"drift_penalty: expected one of squared_drift, l1_drift, trust_region, got {name!r}")


def _add(left: Any, right: Any) -> Any:
    if right is None or (isinstance(right, int) and right == 0):  # where sum() starts
        return left
    if not isinstance(right, Term | DriftSum):
        return NotImplemented
    return DriftSum(drift_terms(left) + drift_terms(right))


def _number(x: Any, like: Array) -> Any:
    """x in the arithmetic of `like`."""
    return Fraction(x) if is_exact(like) else float(x)


def _product(step: float, lam: Value) -> float:
    """step * lam with inf * 0 = 0."""
    return step * float(lam) if lam else 0.0


def _best_point(z: Array, curvature: float, ball: float, box: float) -> Array:
    """argmax <z, x> - curvature/2 |x|^2 over 0 <= x <= box, |x|_2 <= ball, for z >= 0.

    x = min(box, s z) with s = 1/curvature if that fits into the ball, else the s that makes |x|_2 = ball.
    The clipped set grows until it is stable.  Where z = 0 also x = 0.
    """
    if ball == 0 or box == 0 or not z.any():
        return np.zeros_like(z)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        x = np.where(z > 0, np.minimum(z / curvature, box), 0.0)
    if root_sum_squares(x) <= ball:
        return x
    unit, width = z / float(z.max()), box / ball
    clipped = np.zeros(z.shape, dtype=bool)
    while True:
        left = 1.0 - width * width * int(clipped.sum()) if clipped.any() else 1.0
        rest = root_sum_squares(unit[~clipped])
        s = math.sqrt(max(left, 0.0)) / rest if rest > 0 else math.inf
        grown = clipped | (s * unit > width)
        if grown.sum() == clipped.sum():
            break
        clipped = grown
    out = np.where(clipped, width, 0.0)
    out[~clipped] = s * unit[~clipped]
    return np.minimum(onto_ball(out * ball, ball), box)  # box / ball * ball may round up
