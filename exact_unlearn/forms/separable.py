"""Sums of functions of one coordinate each: convex, piecewise quadratic, with breakpoints anywhere.

    phi_i(x) = sum_k of  w |x - c|,  w/2 (x - c)^2,  w h_delta(x - c)

Where all centres agree and no Huber takes part, conjugates are the formulas of the elastic net.  Otherwise the
derivative of phi_i,

    D(x) = s + q x + sum over breakpoints p < x of (jump_p + bend_p (x - p)),

increases from breakpoint to breakpoint, and the place where it crosses g is found by walking through them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from exact_unlearn.forms.huber import Huber
from exact_unlearn.forms.kink import Kink
from exact_unlearn.jacobian import Array, to_float, to_rational
from exact_unlearn.vectors import Value, as_float, as_real, is_exact, quotient, sum_squares, total, without_noise

if TYPE_CHECKING:
    from exact_unlearn.forms.form import Part


class Separable:
    """The sum of some parts without a map, each of a separable term, as functions of m coordinates."""

    def __init__(self, parts: Sequence[Part], m: int, exact: bool = False) -> None:
        self.parts, self.m, self.exact = tuple(parts), m, exact

    def _vector(self, values: Any, factor: Value = 1) -> Array:
        """(m,) in the arithmetic of the sum; None is 0 of a centre, 1 of weights."""
        x = np.full(self.m, values) if np.ndim(values) == 0 else np.asarray(values)
        return to_rational(x) * Fraction(factor) if self.exact else to_float(x) * float(factor)

    @cached_property
    def walk(self) -> tuple[Array, Array, list[tuple[Array, Array, Array]]]:
        """s, q (m,), and the breakpoints: places, jumps and bends, (m,) each."""
        zero = self._vector(0)
        s, q, breaks = zero, zero, []
        for part in self.parts:
            term: Any = part.term
            w = self._vector(1 if term.weights is None else term.weights, part.factor)
            c = zero if part.centre is None else self._vector(part.centre)
            if isinstance(term, Kink):
                s = s - w
                breaks.append((c, 2 * w, zero))
            elif isinstance(term, Huber):
                delta = self._vector(term.delta)
                s = s - w * delta
                breaks += [(c - delta, zero, w), (c + delta, zero, -w)]
            else:
                q, s = q + w, s - w * c
        return s, q, breaks

    @cached_property
    def reach(self) -> tuple[Array, Array]:
        """(m,) each: below the first and above the last value of D; -inf and inf where phi is curved throughout."""
        s, q, breaks = self.walk
        high = s
        for place, jump, bend in breaks:
            high = high + jump - bend * place
        low = np.where(q > 0, -math.inf, s)
        return low, np.where(q > 0, math.inf, high)

    @property
    def curvature(self) -> Array:
        """(m,) of phi far out."""
        return self.walk[1]

    def minimiser(self, g: Array, step: float = math.inf, v: Array | None = None) -> Array:
        """argmin phi(x) - <g, x> + |x - v|^2 / (2 step), for g within `reach`; of several the one nearest 0."""
        s, q, breaks = self.walk
        if v is not None and step < math.inf:
            s, q = s - v / step, q + 1 / step
        g, places = g - s, np.array([place for place, _, _ in breaks]).reshape(len(breaks), self.m)
        order = np.argsort(places, axis=0, kind="stable")
        jumps, bends = (np.array([b[k] for b in breaks]).reshape(places.shape) for k in (1, 2))
        places, jumps, bends = (np.take_along_axis(a, order, axis=0) for a in (places, jumps, bends))
        x, last, done = self._vector(0), self._vector(0), np.zeros(self.m, dtype=bool)
        for place, jump, bend in zip(places, jumps, bends, strict=True):
            left = q * place
            here = ~done & (g < left)
            x = np.where(here, _over(g, q, place), x)
            done |= here
            at = ~done & (g <= left + jump)
            x = np.where(at, place, x)
            done |= at
            g, q, last = g - jump + bend * place, q + bend, place
        return np.where(done, x, _over(g, q, last))

    def value(self, x: Array) -> Value:
        """sum phi_i(x_i)."""
        return sum((part.value(x) for part in self.parts), start=Fraction(0) if self.exact else 0.0)

    def into_domain(self, g: Array) -> Array:
        """g, with what lies out of reach moved to the edge of it."""
        low, high = self.reach
        return np.minimum(np.maximum(g, low), high)

    def excess(self, g: Array) -> float:
        """By how much g leaves the domain of the conjugate, relative to the reach, or to g where that is 0."""
        low, high = self.reach
        out = np.maximum(np.maximum(g - high, low - g), 0)
        if not out.any():
            return 0.0
        largest = float(np.max(np.abs(g)))
        scale = np.where(np.isfinite(high), np.maximum(np.abs(high), np.abs(low)), 1.0).astype(float)
        return float(np.max(out.astype(float) / np.where(scale > 0, scale, largest)))

    def conjugate(self, g: Array, tol: float = 0.0) -> Value:
        """sum phi_i*(g_i); tol: what may be out of reach, as `excess` measures it."""
        simple = self._one_centre()
        if simple is not None:
            return simple.conjugate(g, tol)
        if self.excess(g) > tol:
            return math.inf
        g = self.into_domain(g)
        x = self.minimiser(g)
        return total(g * x) - self.value(x)

    def _one_centre(self) -> ElasticNets | None:
        """The parts as kinks and squares about one centre."""
        if any(isinstance(part.term, Huber) for part in self.parts):
            return None
        centre = self.parts[0].centre
        nowhere = np.zeros(self.m)
        centres = [nowhere if part.centre is None else part.centre for part in self.parts]
        if not all(np.array_equal(c, centres[0]) for c in centres[1:]):
            return None
        zero = self._vector(0)
        alpha, beta = zero, zero
        for part in self.parts:
            term: Any = part.term
            w = self._vector(1 if term.weights is None else term.weights, part.factor)
            alpha, beta = (alpha + w, beta) if isinstance(term, Kink) else (alpha, beta + w)
        return ElasticNets(alpha, beta, None if centre is None else self._vector(centre))


class ElasticNets:
    """phi_i(x) = alpha_i |x - c_i| + beta_i/2 (x - c_i)^2."""

    def __init__(self, alpha: Array, beta: Array, centre: Array | None) -> None:
        self.alpha, self.beta, self.centre = alpha, beta, centre

    def conjugate(self, g: Array, tol: float) -> Value:
        """<g, c> + sum max(|g| - alpha, 0)^2 / (2 beta); where beta = 0, inf unless |g| <= alpha (1 + tol)."""
        at = total(g * self.centre) if self.centre is not None else (Fraction(0) if is_exact(g) else 0.0)
        z = without_noise(g, np.asarray((self.alpha == 0) & (self.beta == 0), dtype=bool), tol)
        excess = np.maximum(np.abs(z) - self.alpha, 0 * self.alpha)
        slack = (Fraction(tol) if is_exact(g) else tol) * self.alpha
        excess = np.where((self.beta == 0) & (excess <= slack), 0 * excess, excess)
        if is_exact(z):
            return at + total(quotient(excess, self.beta) * excess) / 2
        if self.beta.size and self.beta[0] > 0 and (self.beta == self.beta[0]).all():
            return at + sum_squares(excess, 1 / (2 * self.beta[0]))
        return at + sum_squares(quotient(excess, np.sqrt(self.beta)), 0.5)


def _over(g: Array, q: Array, otherwise: Array) -> Array:
    """g / q; where q = 0, and g is at the end of its reach but for rounding, the break that is nearest."""
    flat = q == 0
    return np.where(flat, otherwise, g / np.where(flat, 1, q))


def separable(parts: Sequence[Part], g: Any) -> tuple[Separable, Array]:
    """The sum of the parts in the arithmetic of g, and g."""
    z = as_real(g)
    return Separable(parts, z.size, is_exact(z)), z


def prox(parts: Sequence[Part], v: Any, step: float) -> Array:
    """argmin step sum phi_i(x_i) + 1/2 |x - v|^2, in floats."""
    x = as_float(v)
    if step == 0:
        return x.copy()
    total_ = Separable(parts, x.size)
    return np.asarray(total_.minimiser(np.zeros(x.size), step, x))
