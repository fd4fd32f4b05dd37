"""sum_g w_g (sum_{i in g} q_i x_i^2)^(1/2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms.partition import Partition, as_partition
from exact_unlearn.forms.term import Term
from exact_unlearn.forms.weighted import bound, cleaned, floats
from exact_unlearn.jacobian import Array
from exact_unlearn.vectors import (
    Value,
    as_float,
    as_real,
    as_step,
    as_weights,
    indicator,
    is_exact,
    l2_prox,
    load_cvxpy,
    matching,
    quotient,
    root,
    root_sum_squares,
    roots,
    threshold,
    times,
    total,
    without_noise,
)


@dataclass(frozen=True, eq=False)
class Norms(Term):
    """f(x) = sum_g w_g |x_g|_2, or, where all of x is one group, f(x) = (sum_i q_i x_i^2)^(1/2).

    Dual norm max_g |z_g|_2 / w_g, or (sum z_i^2 / q_i)^(1/2).  q stands inside the root, so it stays rational.

    groups: labels, index sequences or a Partition of range(m); None for one group.  weights: (G,), >= 0, None for 1,
    only with groups.  inner: q (m,), >= 0, None for 1, only without groups.
    """

    groups: Any = None
    weights: Array | None = None
    inner: Array | None = None

    kind: ClassVar[str] = "norms"
    degree: ClassVar[int | None] = 1
    is_norm: ClassVar[bool] = True
    rational: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.groups is None:
            if self.weights is not None:
                raise ProblemError("weights of norms: without groups there is one norm, scaled by a factor")
            object.__setattr__(self, "inner", as_weights(self.inner, "inner"))
            return
        if self.inner is not None:
            raise ProblemError("inner of norms: expected None where there are groups")
        partition = self.groups if isinstance(self.groups, Partition) else as_partition(self.groups)
        weights = as_weights(np.ones(partition.n_groups) if self.weights is None else self.weights)
        assert weights is not None
        if weights.size != partition.n_groups:
            raise ProblemError(f"weights: expected one per group ({partition.n_groups}), got {weights.size}")
        object.__setattr__(self, "groups", partition)
        object.__setattr__(self, "weights", weights)

    @property
    def size(self) -> int | None:
        if self.groups is not None:
            return int(self.groups.n_parameters)
        return None if self.inner is None else self.inner.size

    @property
    def unique_minimiser(self) -> bool:
        """One norm: its square is strictly convex.  Of several it is usually unique, never by form alone."""
        return self.groups is None and (self.inner is None or bool((self.inner > 0).all()))

    def labels(self, m: int) -> Array:
        """(m,) int64, the group of each coordinate."""
        return np.zeros(m, dtype=np.int64) if self.groups is None else np.asarray(self.groups.labels)

    def outer(self) -> Array:
        """(G,) w_g."""
        return np.ones(1) if self.weights is None else self.weights

    def seen(self, m: int) -> Array:
        if self.groups is not None:
            return np.asarray((self.outer() != 0)[self.groups.labels], dtype=bool)
        return np.ones(m, dtype=bool) if self.inner is None else np.asarray(self.inner != 0, dtype=bool)

    def value(self, x: Any) -> float:
        """For Fractions the float nearest to the root of each exact sum."""
        v = as_real(x)
        if self.groups is None:
            if is_exact(v):
                return root(total(times(self.inner, v) * v))
            return root_sum_squares(times(roots(self.inner), v))
        norms = self.groups.norms(v)
        with np.errstate(over="ignore"):
            return float(total(matching(self.outer(), norms) * norms))

    def expression(self, x: Any) -> Any:
        """One vectorised norm per group size: thousands of groups stay one constraint each, not one atom each."""
        cp = load_cvxpy()

        if self.groups is None:
            return cp.norm(x if self.inner is None else cp.multiply(roots(self.inner), x), 2)
        parts, weights, sizes = [], self.outer().astype(np.float64), self.groups.sizes
        for size in np.unique(sizes):
            chosen = np.flatnonzero((sizes == size) & (weights > 0))
            if chosen.size == 0:
                continue
            rows = self.groups.order[self.groups.starts[chosen][:, None] + np.arange(size)]
            stacked = cp.reshape(x[rows.reshape(-1)], rows.shape, order="C")
            parts.append(weights[chosen] @ cp.norm(stacked, 2, axis=1))
        return cp.sum(cp.hstack(parts)) if parts else 0.0 * cp.sum(x)

    def dual_norm(self, g: Any) -> float:
        z = as_real(g)
        if self.groups is not None:
            return float(np.max(_ratios(self.groups.norms(z), self.outer())))
        return root(self._dual_square(z)) if is_exact(z) else self._dual_float(z)

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        """Decided on squares, which are rational, for vectors of Fractions."""
        if self.groups is None:
            z = cleaned(g, self.inner, tol)
            if is_exact(z):
                return indicator(bool(self._dual_square(z) <= bound(z, tol) ** 2))
            return indicator(self._dual_float(z) <= bound(z, tol))
        z, weights = as_real(g), self.outer()
        self.groups.require(z)
        z = without_noise(z, (weights == 0)[self.groups.labels], tol)
        if is_exact(z):
            limit = (1 + Fraction(tol)) ** 2
            pairs = zip(self.groups.squares(z), weights, strict=True)
            return indicator(all(square <= limit * Fraction(w) ** 2 for square, w in pairs))
        return indicator(self.dual_norm(z) <= 1.0 + tol)

    def prox(self, v: Any, step: float) -> Array:
        """v_g max(1 - step w_g / |v_g|, 0) group by group; with inner weights by a secular equation."""
        if self.groups is None:
            return l2_prox(as_float(v), as_step(step), self.inner)
        x = as_float(v)
        norms = self.groups.norms(x)
        shrink = threshold(as_step(step), self.outer())
        kept = norms > shrink
        factor = np.where(shrink == 0, 1.0, 0.0)
        factor[kept] = (norms[kept] - shrink[kept]) / norms[kept]
        return np.asarray(x * factor[self.groups.labels])

    def slope(self, x: Array) -> Array:
        if self.groups is None:
            size = self.value(x)
            return np.asarray(times(self.inner, x), dtype=np.float64) / size if size else np.zeros(x.size)
        lengths = self.groups.norms(x)
        factor = np.divide(floats(self.outer(), 0), lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return np.asarray(x * factor[self.groups.labels])

    def completed(self, g: Array, x: Array, frozen: Array) -> Array:
        """What g leaves of the dual ball, group by group, goes along x."""
        out, still = np.where(frozen, 0.0, g), np.where(frozen, x, 0.0)
        if self.groups is None:
            inside = math.sqrt(max(1.0 - self.dual_norm(out) ** 2, 0.0))
            return np.where(frozen, inside * self.slope(still), out)
        weights, used = floats(self.outer(), 0), self.groups.norms(out)
        rest, lengths = np.sqrt(np.maximum((weights - used) * (weights + used), 0.0)), self.groups.norms(still)
        factor = np.divide(rest, lengths, out=np.zeros_like(rest), where=lengths > 0)
        return np.where(frozen, x * factor[self.groups.labels], out)

    def epigraph(self, x_star: Array, moves: Array) -> Any:
        from exact_unlearn.forms.epigraph import one_norm, several_norms

        if self.groups is None:
            return one_norm(floats(self.inner, x_star.size), x_star, moves)
        return several_norms(self.groups, self.outer().astype(np.float64), x_star, moves)

    def to_spec(self) -> dict[str, Any]:
        if self.groups is None:
            return {"term": self.kind, "inner": self.inner}
        return {"term": self.kind, "labels": self.groups.labels, "weights": self.weights}

    def _dual_square(self, z: Array) -> Value:
        return total(quotient(z, self.inner) * np.abs(z))

    def _dual_float(self, z: Array) -> float:
        return root_sum_squares(quotient(z, roots(self.inner)))


def _ratios(norms: Array, weights: Array) -> Array:
    """norms / weights with 0/0 = 0 and x/0 = inf, in floats."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(norms == 0, 0.0, norms / weights.astype(np.float64))
