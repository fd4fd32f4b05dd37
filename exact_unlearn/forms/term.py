"""What every term has: its face, and the answers that most of them share."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import Value, require_length


class Term:
    """A function f of a vector x, shape (m,), of which the parts of a form are made; one of a closed set.

    kind:      its name in files.
    degree:    f(s x) = s^degree f(x) for s > 0; None if no such number exists.
    convex:    False for counts and powers, which have no conjugate worth the name.
    is_norm:   a norm or seminorm; f* is then the indicator of dual_norm(g) <= 1.
    separable: a sum of functions of one coordinate each, so that its conjugate and those of sums are closed formulas.
    rational:  values at Fractions are Fractions, and optima over the rationals are rational: proofs can be exact.
    """

    kind: ClassVar[str]
    degree: ClassVar[int | None] = None
    convex: ClassVar[bool] = True
    is_norm: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    rational: ClassVar[bool] = True

    @property
    def size(self) -> int | None:
        """The length of x where the data of the term fix it."""
        return None

    @property
    def strictly_convex(self) -> bool:
        """f is strictly convex."""
        return False

    @property
    def unique_minimiser(self) -> bool:
        """f has at most one minimiser over every convex set."""
        return self.strictly_convex

    def require(self, m: int) -> None:
        """ProblemError unless f is a function of m numbers."""
        if self.size is not None:
            require_length(f"the term {self.kind!r}", self.size, m)

    def seen(self, m: int) -> Array:
        """(m,) mask of the coordinates on which f depends."""
        raise self._without("seen")

    def value(self, x: Any) -> Value:
        """f(x); an exact Fraction for vectors of Fractions where f is rational."""
        raise self._without("value")

    def times(self, factor: Any, x: Array) -> Value:
        """factor f(x), where overflow of f(x) is no reason for it to overflow."""
        value = self.value(x)
        return factor * value if isinstance(value, Fraction) else float(factor) * value

    def expression(self, x: Any) -> Any:
        """f as a CVXPY expression of the affine CVXPY expression x."""
        raise self._without("expression")

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """f*(g) = sup <g, x> - f(x); tol: relative slack of membership in its domain, 0 for none."""
        raise self._without("conjugate")

    def conjugate_times(self, factor: Any, g: Array, tol: float) -> Value:
        """(factor f)*(g) = factor f*(g / factor), where overflow of g / factor is no reason for it to overflow."""
        value = self.conjugate(g / factor, tol)
        return value * (Fraction(factor) if isinstance(value, Fraction) else float(factor))

    def prox(self, v: Any, step: float) -> Array:
        """argmin_x step f(x) + 1/2 |x - v|^2 in floats, step in [0, inf]; of several minimisers one."""
        raise self._without("prox")

    def slope(self, x: Array) -> Array:
        """One subgradient at x, (m,) floats: where there are several, one that is 0 at the kink."""
        raise self._without("slope")

    def completed(self, g: Array, x: Array, frozen: Array) -> Array:
        """g where x may move, and on the entries that are frozen the best choice beside it, where it is free to choose:
        the one that makes <g, x> - f*(g) largest.
        """
        return np.where(frozen, self.slope(x), g)

    def dual_norm(self, g: Any) -> Value:
        """sup <g, x> over f(x) <= 1, where f is a norm."""
        raise self._without("dual_norm")

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        """f as an `Epigraph` of `exact_unlearn.forms.epigraph`, in floats.

        x_star: (m,), where the problem starts; moves: (m,) mask of the entries that can differ from x_star.
        """
        raise self._without("epigraph")

    def in_unit(self, exponent: int) -> tuple[Term, int]:
        """(h, p) with f(2^exponent x) = 2^(p exponent) h(x)."""
        assert self.degree is not None
        return self, self.degree

    def to_spec(self) -> dict[str, Any]:
        """{"term": kind, parameters}; `term_from_spec` inverts it."""
        raise self._without("to_spec")

    def _without(self, what: str) -> ProblemError:
        return ProblemError(f"the term {self.kind!r} has no {what}")
