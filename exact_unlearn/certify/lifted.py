"""Sums, centres and maps: a program in more variables, of which every proof is one of the form.

    minimise  sum_j phi_j(theta_j) + sum_k f_k(M_k theta - c_k) + Rhat(D)   subject to   J D = b

becomes a separable program with norms of disjoint groups by variables u_k and rows u_k - M_k theta = -c_k.  A Huber
term is a square and a kink that share an entry: x = s + v costs 1/2 s^2 + delta |v| at best.  The first norms without
a map or centre stay where they are.

The multipliers of the rows of u_k are a subgradient g_k of f_k there, and J^T nu - sum M_k^T g_k is what phi and Rhat
carry: exactly the numbers that a certificate of version 2 lists (docs/certificate_format.md, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from exact_unlearn.certify.encode import Tree, primal_tree, rational_text, vector
from exact_unlearn.certify.exact import optimum
from exact_unlearn.certify.exactlin import IntMatrix, Rationals, integer_rows, zeros
from exact_unlearn.certify.forms import NotExactError
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.pieces import Separable, pieces
from exact_unlearn.certify.smooth import Norm, norms_of
from exact_unlearn.certify.terms import Drift, everywhere, scaled, sum_squares
from exact_unlearn.certify.whiten import Whitened, whiten
from exact_unlearn.forms import Huber, Max, Norms, Part, Rows, Spectral, Square
from exact_unlearn.jacobian import Array, to_rational
from exact_unlearn.problem import UnlearningProblem

ZERO = Fraction(0)


@dataclass(frozen=True)
class Found:
    """A point and multipliers in all variables, exactly: x (columns), y per row of the lifted image, kappa of the
    ball; given: of parts that stay in place, by their number, what is known of g."""

    x: Rationals
    y: dict[int, Fraction]
    kappa: Fraction = ZERO
    given: dict[int, dict[int, Fraction]] = field(default_factory=dict)


@dataclass
class _Columns:
    """What the variables cost so far, one entry per column."""

    quadratic: list[Fraction] = field(default_factory=list)
    tilt: list[Fraction] = field(default_factory=list)
    kinks: list[list[tuple[Fraction, Fraction]]] = field(default_factory=list)
    ceiling: list[Fraction] = field(default_factory=list)

    def add(self, m: int) -> slice:
        """m more columns that cost nothing yet."""
        at = len(self.quadratic)
        self.quadratic += [ZERO] * m
        self.tilt += [ZERO] * m
        self.kinks += [[] for _ in range(m)]
        self.ceiling += [ZERO] * m
        return slice(at, at + m)


class Lift:
    """The program of a problem in lifted variables; columns 0..n-1 are the free coordinates."""

    def __init__(self, problem: UnlearningProblem, image: Image, drift: Drift) -> None:
        self.problem, self.base, self.drift, self.n = problem, image, drift, image.free.size
        self.columns = _Columns()
        self.columns.add(self.n)
        self.norms: list[Norm] = []
        self.carrier: Norms | None = None
        self.others = [part for part in problem.form.parts if not _bends(part)]
        """What needs a g of its own, in the order in which a certificate lists them."""
        self.shares: list[range | None] = []
        """Of each of them, the lifted rows whose multipliers are its g; None for what stays in place."""
        self.blind = ""
        """What this program knows nothing of, in words: matrix norms, and maxima but the first."""
        self._blocks: list[tuple[Rows, Array, list[int]]] = []
        self._rows, self._hubers = len(image.q), np.zeros(self.n, dtype=bool)
        place = np.full(problem.n_parameters, -1)
        place[image.free] = np.arange(self.n)
        for part in problem.form.parts:
            if _bends(part):
                self._bend(part, place)
        for part in self.others:
            self.shares.append(self._other(part))
        self.image = self._lifted_image()

    # ------------------------------------------------------------ parts

    def _bend(self, part: Part, place: Array) -> None:
        """A separable part without a map: on the coordinates themselves, a Huber through a sum of two variables."""
        term: Any = part.term
        w, c = _numbers(part, self.problem.n_parameters)
        if isinstance(term, Huber):
            chosen = [j for j in self.base.free.tolist() if w[j]]
            self._hubers[place[chosen]] = True
            self._huber(term, [w[j] for j in chosen], Rows.picking(chosen, self.problem.n_parameters), c[chosen])
            return
        for j in self.base.free.tolist():
            self._place(int(place[j]), term, w[j], c[j])

    def _place(self, i: int, term: Any, w: Fraction, c: Fraction) -> None:
        if isinstance(term, Square):
            self.columns.quadratic[i] += w
            self.columns.tilt[i] -= w * c
        elif w:
            self.columns.kinks[i].append((c, w))

    def _huber(self, term: Huber, w: list[Fraction], rows: Rows, c: Array) -> range:
        """1/2 s^2 w + delta w |v| with s + v = M theta - c."""
        m = len(w)
        s, v = self.columns.add(m), self.columns.add(m)
        for i, weight in enumerate(w):
            self.columns.quadratic[s.start + i] += weight
            if weight:
                self.columns.kinks[v.start + i].append((ZERO, weight * Fraction(term.delta)))
        return self._block(rows, c, [s.start, v.start])

    def _other(self, part: Part) -> range | None:
        """A part with a map, or one that is not separable."""
        term: Any = part.term
        d = self.problem.n_parameters
        if isinstance(term, Spectral) or (isinstance(term, Max) and any(self.columns.ceiling)):
            self.blind = "a matrix norm" if isinstance(term, Spectral) else "a second maximum"
            return None
        if isinstance(term, Norms) and part.map is None and part.centre is None and self.carrier is None:
            self.carrier = term
            self.norms += norms_of(term, Fraction(part.factor), self.base)
            return None
        rows = Rows.picking(range(d), d) if part.map is None else part.map
        w, c = _numbers(part, rows.shape[0])
        if isinstance(term, Huber):
            return self._huber(term, w, rows, c)
        u = self.columns.add(rows.shape[0])
        if isinstance(term, Norms):
            self._groups(term, Fraction(part.factor), u)
        elif isinstance(term, Max):
            self.columns.ceiling[u] = w
        else:
            for i in range(rows.shape[0]):
                self._place(u.start + i, term, w[i], ZERO)
        return self._block(rows, c, [u.start])

    def _groups(self, term: Norms, factor: Fraction, u: slice) -> None:
        m = u.stop - u.start
        labels, outer = term.labels(m), term.outer().tolist()
        inner = [Fraction(1)] * m if term.inner is None else [Fraction(q) for q in term.inner.tolist()]
        for g, weight in enumerate(outer):
            own = [i for i in np.flatnonzero(labels == g).tolist() if inner[i]]
            if weight and own:
                index = np.array(own) + u.start
                self.norms.append(Norm(index, [inner[i] for i in own], factor * Fraction(weight), ZERO))

    def _block(self, rows: Rows, c: Array, starts: list[int]) -> range:
        """Rows sum of the variables - M theta = -c."""
        self._blocks.append((rows, c, starts))
        found = range(self._rows, self._rows + rows.shape[0])
        self._rows = found.stop
        return found

    # ------------------------------------------------------------ the program

    def _lifted_image(self) -> Image:
        """The rows of J on the first columns, then those of the new variables, over the integers."""
        base, total = self.base, len(self.columns.quadratic)
        slacks = base.A.shape[1] - self.n  # of rows that read >=; they stay the last columns
        theta = to_rational(self.problem.theta_star)
        ints, scales, q = [zeros((len(base.q), total + slacks))], list(base.scales), list(base.q)
        ints[0][:, : self.n], ints[0][:, total:] = base.A.ints[:, : self.n], base.A.ints[:, self.n :]
        point = np.full(total, ZERO, dtype=object)
        point[: self.n] = theta[base.free]
        place = np.full(self.problem.n_parameters, -1)
        place[base.free] = np.arange(self.n)
        for rows, c, starts in self._blocks:
            m = rows.shape[0]
            matrix = np.full((m, total), ZERO, dtype=object)
            fixed = -to_rational(np.asarray(c)) if m else np.zeros(0, dtype=object)
            entries = zip(rows.row.tolist(), rows.column.tolist(), rows.value.tolist(), strict=True)
            for i, j, value in entries:
                if place[j] >= 0:
                    matrix[i, place[j]] -= Fraction(value)
                else:
                    fixed[i] += Fraction(value) * theta[j]
            for start in starts:
                matrix[np.arange(m), start + np.arange(m)] = Fraction(1)
            point[starts[0] : starts[0] + m] = [
                fixed[i] - sum((matrix[i, k] * point[k] for k in range(self.n) if matrix[i, k]), ZERO) for i in range(m)
            ]
            whole, own = integer_rows(matrix)
            ints.append(np.concatenate([whole.ints, zeros((m, slacks))], axis=1))
            scales += own
            q += [fixed[i] / own[i] for i in range(m)]
        return Image(point, np.arange(total), IntMatrix(np.concatenate(ints)), scales, q, base.at_least)

    @property
    def terms(self) -> Separable:
        """The separable part."""
        more = len(self.columns.quadratic) - self.n
        drift, none = self.drift, [ZERO] * more
        return Separable(
            theta=self.image.theta_free,
            quadratic=self.columns.quadratic,
            kink=[ZERO] * (self.n + more),
            lam=[drift.lam] * self.n + none,
            mu=[drift.mu] * self.n + none,
            box=[drift.box] * self.n + [None] * more,
            ceiling=self.columns.ceiling if any(self.columns.ceiling) else None,
            tilt=self.columns.tilt,
            kinks=self.columns.kinks,
        )

    def unseen(self, kappa: Fraction) -> Array:
        """Free coordinates that nothing but rows sees: what pulls at them must vanish exactly."""
        if not self.drift.cone or self.drift.box is not None or kappa:
            return np.zeros(0, dtype=np.int64)
        held = self._hubers.copy()
        for norm in self.norms:
            held[norm.index[norm.index < self.n]] = True
        columns = zip(self.columns.quadratic, self.columns.kinks, strict=True)
        plain = np.array([not q and not k for q, k in columns][: self.n], dtype=bool)
        return np.flatnonzero(plain & ~held)

    # ------------------------------------------------------------ proofs

    @cached_property
    def whitened(self) -> Whitened:
        return whiten(self.image.basis)

    def trees(self, found: Found) -> tuple[Rationals, Tree, Tree]:
        """theta (d,) and the `primal` and `dual` of a certificate."""
        x = Rationals(found.x.nums[: self.n], found.x.den)
        theta = everywhere(self.base.theta, self.base.free, x)
        rows = len(self.base.q)
        dual: Tree = {"nu": vector({row: v for row, v in found.y.items() if row < rows and v})}
        shares = []
        for k, share in enumerate(self.shares):
            if share is None:
                shares.append(vector(found.given.get(k, {})))
            else:  # of a part without a map, what is not listed is no zero
                pairs = ((i, found.y.get(row, ZERO)) for i, row in enumerate(share))
                shares.append(vector({i: v for i, v in pairs if v or self.others[k].map is None}))
        if shares:
            dual["shares"] = shares
        if found.kappa:
            dual["ball"] = rational_text(found.kappa)
        primal = primal_tree(theta, self.base.theta, self.base.free)
        matrices = [part for part in self.others if isinstance(part.term, Spectral)]
        if matrices:
            primal["factors"] = [factors(part, theta) for part in matrices]
        return theta, primal, dual


def exact(lift: Lift) -> Found:
    """The exact optimum, where nothing has a root.  Raises NotExactError, and what `optimum` raises."""
    if lift.blind:
        raise NotExactError(f"{lift.blind} in a sum has no proof beyond a float solution: pass one")
    if lift.norms:
        raise NotExactError("norms in a sum have an irrational minimiser")
    program = pieces(lift.image, lift.terms)
    found = optimum(program, lift.whitened)
    x = scaled(found.point.x, program.x_unit)
    own = Rationals(x.nums[: lift.n], x.den)
    if lift.drift.ball is not None and _length_squared(own, lift.base.theta_free) > lift.drift.ball**2:
        raise NotExactError("the optimum touches the trust region of norm 2")
    y = {row: found.point.y[k] * program.y_units[k] for k, row in enumerate(lift.image.rows)}
    return Found(x, y)


def _bends(part: Part) -> bool:
    """Whether it is one function per coordinate."""
    return part.map is None and part.term.separable


def _numbers(part: Part, m: int) -> tuple[list[Fraction], Array]:
    """Weights with the factor, and the centre, exactly."""
    weights = getattr(part.term, "weights", None)
    if isinstance(part.term, Norms) or weights is None:
        w = [Fraction(part.factor)] * m
    else:
        w = [Fraction(part.factor) * Fraction(v) for v in weights.tolist()]
    c = np.full(m, ZERO, dtype=object) if part.centre is None else to_rational(part.centre)
    return w, c


def factors(part: Part, theta: Rationals) -> list[Tree]:
    """Singular vectors in floats of the matrix of a part at theta: the checker adds what they leave of it."""
    term: Any = part.term
    x = part.at(theta.floats())
    U, sigma, Vt = np.linalg.svd(x[term.indices].reshape(term.shape), full_matrices=False)
    root = np.sqrt(sigma)
    sides = [(U[:, a] * root[a], Vt[a] * root[a]) for a in np.flatnonzero(sigma > 0)]
    return [{"u": _floats(u), "v": _floats(v)} for u, v in sides]


def _floats(values: Array) -> list[Tree]:
    return vector({k: Fraction(float(v)) for k, v in enumerate(values) if v})


def _length_squared(x: Rationals, start: list[Fraction]) -> Fraction:
    moved = Rationals.of([a - b for a, b in zip(x.fractions(), start, strict=True)])
    return sum_squares(moved)
