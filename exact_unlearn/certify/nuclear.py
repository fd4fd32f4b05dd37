"""The nuclear norm, enclosed to any number of digits.

A matrix X = P Q.T of rank r is optimal for |X|_* + Lambda/2 |D|^2 under A x = q if, with G = A.T y - Lambda D
on the matrix,

    G Q = P,      G.T P = Q,      |G|_2 <= 1,      A.T y = Lambda D elsewhere,      A x = q,

because then P.T P = Q.T Q and |X|_* = |P|_F^2 = <G, X>.  An l1 drift adds mu sign(D).  On entries that are
frozen, or held at theta* by an l1 drift or at the edge of a box, X is given and G is free.  These equations are
polynomials; they are solved by Newton's method in fixed point, with a float pseudo-inverse (P and Q may turn
together).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from exact_unlearn.certify.dense import pseudo_inverse
from exact_unlearn.certify.encode import Tree, primal_tree, rational_text, vector
from exact_unlearn.certify.exactlin import Rationals, objects, ratio, zeros
from exact_unlearn.certify.fixedpoint import BITS, ONE, aim, fix, fix_all, from_floats, largest, to_floats
from exact_unlearn.certify.image import Image
from exact_unlearn.certify.kkt import FaceError
from exact_unlearn.certify.nuclear_start import LARGE, FloatSolution
from exact_unlearn.certify.repair import into_region, make_feasible, vanishing_on
from exact_unlearn.certify.terms import Drift, everywhere
from exact_unlearn.certify.whiten import Whitened
from exact_unlearn.jacobian import Array, to_float
from exact_unlearn.problem import UnlearningProblem
from exact_unlearn.watch import tick

SAFETY = 320
"""Multipliers are shrunk by 2^-320, so that |G|_2 <= 1 holds exactly."""

STEPS, SLOW, REFRESHES = 80, 25, 3


@dataclass(frozen=True)
class NuclearProof:
    """theta (d,), feasible exactly, and the parts of a certificate."""

    theta: Rationals
    primal: Tree
    dual: Tree


def enclose_nuclear(
    problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift, start: FloatSolution
) -> NuclearProof:
    """From a float solution.  FaceError where Newton's method does not converge from it."""
    run = _Newton(problem, image, whitened, drift, start)
    try:
        run.converge()
    except FaceError:
        if not run.ball:
            raise
        run = _Newton(problem, image, whitened, drift, start)
        run.snug = True  # the constraints may leave no choice but to touch the sphere
        run.converge()
    return run.proof()


class _Newton:
    """Unknowns: P, Q, the other free coordinates, y on whitened rows, multipliers of frozen entries, kappa."""

    snug = False

    def __init__(
        self, problem: UnlearningProblem, image: Image, whitened: Whitened, drift: Drift, start: FloatSolution
    ) -> None:
        self.problem, self.image, self.whitened, self.drift = problem, image, whitened, drift
        regularizer: Any = problem.regularizer
        self.shape: tuple[int, int] = regularizer.shape
        self.indices = np.asarray(regularizer.indices)
        theta, g = (to_float(np.asarray(v)) for v in (start.theta, start.g))
        self.unit = Fraction(2) ** int(np.frexp(float(np.max(np.abs(theta), initial=0.0)) or 1.0)[1])
        self.lam, self.mu = fix(drift.lam * self.unit), fix(drift.mu)
        z = self._pullback(start.nu)
        D = theta[image.free] - to_float(image.theta[image.free]) if start.drift is None else start.drift
        values = self._held(D, z - g[image.free])
        self._divide(values)
        self.sign = objects([0 if v is not None else int(np.sign(d)) for v, d in zip(values, D, strict=True)])
        self.theta_star = fix_all([t / self.unit for t in image.theta_free])
        self.q = fix_all([image.q[i] / self.unit for i in image.rows])
        self._start(theta / float(self.unit), D / float(self.unit), z, g, start.reach)

    def _held(self, D: Array, force: Array) -> list[Fraction | None]:
        """Values of free coordinates that a kink or an edge holds; force (n,): what the drift penalties pull with."""
        drift, theta = self.drift, self.image.theta_free
        size = max(float(np.max(np.abs(D), initial=0.0)), 1e-6 * float(self.unit))
        out: list[Fraction | None] = []
        for d, pull, centre in zip(D.tolist(), (force - float(drift.lam) * D).tolist(), theta, strict=True):
            if drift.box is not None and abs(d) >= float(drift.box) * (1 - 1e-6):
                out.append(centre + (drift.box if d > 0 else -drift.box))
            elif drift.mu and abs(d) / size < 1 - abs(pull) / float(drift.mu):
                out.append(centre)
            else:
                out.append(None)
        return out

    def _divide(self, values: list[Fraction | None]) -> None:
        """Entries of the matrix that move (`inside`, at columns `column`) and that are given (`fixed`); the
        other coordinates.
        """
        image = self.image
        column = np.full(self.problem.n_parameters, -1)
        column[image.free] = np.arange(image.free.size)
        own = column[self.indices]
        moves = np.array([c >= 0 and values[c] is None for c in own], dtype=bool)
        self.column, self.own = np.where(moves, own, -1), own
        self.inside, self.fixed = np.flatnonzero(moves), np.flatnonzero(~moves)
        outside = np.setdiff1d(np.arange(image.free.size), own[own >= 0])
        self.others = np.array([c for c in outside if values[c] is None], dtype=int)
        self.given = given = {c: v for c, v in enumerate(values) if v is not None}
        self.constant = zeros(image.free.size)
        for c, v in given.items():
            self.constant[c] = fix(v / self.unit)
        fixed = [
            given[c] if c >= 0 else image.theta[j]
            for c, j in zip(own[self.fixed], self.indices[self.fixed], strict=True)
        ]
        self.frozen = fix_all([v / self.unit for v in fixed])

    def _start(self, x: Array, D: Array, z: Array, g: Array, reach: float | None) -> None:
        """Unknowns from floats; x, D: theta and the drift in units of `unit`."""
        lam, mu, ball = float(self.drift.lam * self.unit), float(self.drift.mu), self.drift.ball
        self.ball = ball is not None and bool(np.linalg.norm(D) >= float(ball / self.unit) * (1 - 1e-6))
        moving = np.concatenate([self.column[self.inside], self.others])
        kappa = 0.0
        if self.ball and np.any(D[moving]):
            rest = z[moving] - g[self.image.free][moving] - lam * D[moving] - mu * np.sign(D[moving])
            kappa = max(float(rest @ D[moving] / (D[moving] @ D[moving])), 0.0)
        G = g[self.indices].reshape(self.shape)
        U, sigma, Vt = np.linalg.svd(x[self.indices].reshape(self.shape))
        size = np.abs(np.einsum("ia,ij,aj->a", U[:, : sigma.size], G, Vt[: sigma.size]))
        against = np.full(sigma.size, float(np.max(sigma, initial=0.0)) or 1.0)
        if reach is not None:  # what D could reach by itself is measured by that
            against[sigma <= LARGE * reach / float(self.unit)] = reach / float(self.unit)
        clear = sigma / against > np.maximum(1 - size, 1e-9)
        self.rank = int(np.sum(clear)) if sigma.any() else 0
        root = np.sqrt(sigma[: self.rank])
        self.P, self.Q = from_floats(U[:, : self.rank] * root), from_floats(Vt[: self.rank].T * root)
        self.x_out = from_floats(D[self.others]) + self.theta_star[self.others]
        if reach is not None:
            self._approach(from_floats(D) + self.theta_star)
        self.y_bits = BITS + self.image.basis.bits + 16
        self.y = self._rows(z)
        self.psi = from_floats(G.reshape(-1)[self.fixed])
        self.kappa = int(Fraction(kappa) * ONE)

    def _approach(self, x: Array) -> None:
        """P and Q moved by what P Q.T misses of x on entries that move, to first order: floats of X have lost the last
        digits of a short D.
        """
        if not self.rank:
            return
        for _ in range(2):
            miss = zeros(self.indices.size)
            X = (self.P @ self.Q.T) >> BITS
            miss[self.inside] = x[self.column[self.inside]] - X.reshape(-1)[self.inside]
            miss[self.fixed] = self.frozen - X.reshape(-1)[self.fixed]
            shift = largest(miss).bit_length()
            E = to_floats(miss, shift).reshape(self.shape)
            P, Q = to_floats(self.P), to_floats(self.Q)
            right, left = np.linalg.pinv(Q.T), np.linalg.pinv(P.T)
            dP = E @ right
            dQ = (E - dP @ Q.T).T @ left
            self.P, self.Q = self.P + from_floats(dP, shift), self.Q + from_floats(dQ, shift)

    def _pullback(self, nu: Array) -> Array:
        if not self.image.free.size:
            return np.zeros(0)
        matrix = to_float(np.asarray(self.problem.free_matrix()))
        return np.asarray(matrix.T @ to_float(np.asarray(nu)))

    def _rows(self, z: Array) -> Array:
        """Multipliers of the independent integer rows with A.T y = z, fixed point."""
        fitted = np.linalg.lstsq(self.whitened.W.T, z, rcond=None)[0] if self.image.rows else np.zeros(0)
        ints, unit = self.whitened.multipliers(fitted)
        return objects([int(v * unit * (1 << self.y_bits)) for v in ints])

    # ------------------------------------------------------------ residuals

    def _state(self) -> tuple[Array, Array, Array]:
        """X (p, q), x on the free coordinates and the drift, fixed point."""
        X = (self.P @ self.Q.T) >> BITS if self.rank else zeros(self.shape)
        x = self.constant.copy()
        x[self.column[self.inside]] = X.reshape(-1)[self.inside]
        x[self.others] = self.x_out
        return X, x, np.asarray(x - self.theta_star, dtype=object)

    def _gradient(self, drift: Array) -> tuple[Array, Array]:
        """G (p, q) and A.T y - Lambda D elsewhere."""
        A = self.image.basis
        pull = A.T.apply(self.y) >> (self.y_bits - BITS) if self.y.size else zeros(drift.size)
        rest = pull - (((self.lam + self.kappa) * drift) >> BITS) - self.mu * self.sign
        G = zeros(self.indices.size)
        G[self.inside] = rest[self.column[self.inside]]
        G[self.fixed] = self.psi
        return G.reshape(self.shape), rest[self.others]

    def residual(self) -> list[Array]:
        X, x, drift = self._state()
        G, outside = self._gradient(drift)
        turn = self.rank > 0
        parts = [
            ((G @ self.Q) >> BITS) - self.P if turn else zeros(self.P.shape),
            ((G.T @ self.P) >> BITS) - self.Q if turn else zeros(self.Q.shape),
            outside,
            self.image.basis.apply(x) - self.q if self.q.size else zeros(0),
            X.reshape(-1)[self.fixed] - self.frozen,
        ]
        if self.ball:
            assert self.drift.ball is not None
            target = aim(self.drift.ball / self.unit, self.snug)
            parts.append(objects([(int((drift * drift).sum()) - target * target) >> (BITS + 1)]))
        return parts

    # ------------------------------------------------------------ Newton

    def _inverse(self) -> Array:
        """The pseudo-inverse of the derivative, column by column of unknowns."""
        P, Q = to_floats(self.P), to_floats(self.Q)
        _, _, drift = self._state()
        G, _ = self._gradient(drift)
        drift_f, G_f = to_floats(drift), to_floats(G)
        lam = ratio(self.lam + self.kappa, ONE)
        W = self.whitened.W
        columns = []
        for k in range(self._size()):
            dP, dQ, dx, dy, dpsi, dk = self._unpack(np.eye(1, self._size(), k)[0])
            dX = dP @ Q.T + P @ dQ.T
            dfree = np.zeros(W.shape[1])
            dfree[self.column[self.inside]] = dX.reshape(-1)[self.inside]
            dfree[self.others] = dx
            rest = W.T @ dy - lam * dfree - dk * drift_f
            dG = np.zeros(self.indices.size)
            dG[self.inside] = rest[self.column[self.inside]]
            dG[self.fixed] = dpsi
            dG = dG.reshape(self.shape)
            parts = [
                dG @ Q + G_f @ dQ - dP, dG.T @ P + G_f.T @ dP - dQ, rest[self.others], W @ dfree,
                dX.reshape(-1)[self.fixed],
            ]  # fmt: skip
            if self.ball:
                parts.append(np.array([drift_f @ dfree]))
            columns.append(np.concatenate([part.reshape(-1) for part in parts]))
        if not columns:
            return np.zeros((0, 0))
        return pseudo_inverse(np.array(columns).T)

    def _size(self) -> int:
        p, q = self.shape
        return int((p + q) * self.rank + self.others.size + self.whitened.W.shape[0] + self.fixed.size + self.ball)

    def _unpack(self, v: Array) -> tuple[Array, Array, Array, Array, Array, float]:
        (p, q), r = self.shape, self.rank
        ends = np.cumsum([p * r, q * r, self.others.size, self.whitened.W.shape[0], self.fixed.size])
        a, b, c, d, e, f = np.split(v, ends)
        return a.reshape(p, r), b.reshape(q, r), c, d, e, float(f[0]) if self.ball else 0.0

    def converge(self) -> None:
        """Until the residuals are rounding.  FaceError if they stop shrinking before."""
        inverse, last, refreshed = self._inverse(), None, 0
        for _ in range(STEPS):
            tick()
            parts = self.residual()
            row_bits = self.image.basis.bits
            size = max(largest(part).bit_length() - (row_bits if k == 3 else 0) for k, part in enumerate(parts))
            if size <= 30 + max(0, self.kappa.bit_length() - BITS):  # as exactly as kappa D can be written
                return
            gained = SLOW if last is None else last - size
            if gained < SLOW and refreshed < REFRESHES:
                inverse, refreshed = self._inverse(), refreshed + 1
            elif gained < 4:
                raise FaceError(f"Newton's method stops {BITS - size} bits after the point")
            last = size
            self._step(inverse, parts, size)
        raise FaceError("Newton's method does not converge")

    def _step(self, inverse: Array, parts: list[Array], shift: int) -> None:
        unit = Fraction(1, 1 << shift)
        floats = [
            self.whitened.right(part.tolist(), unit) if k == 3 else to_floats(part.reshape(-1), shift)
            for k, part in enumerate(parts)
        ]
        dP, dQ, dx, dy, dpsi, dk = self._unpack(-(inverse @ np.concatenate(floats)))
        self.P = self.P + from_floats(dP, shift)
        self.Q = self.Q + from_floats(dQ, shift)
        self.x_out = self.x_out + from_floats(dx, shift)
        self.psi = self.psi + from_floats(dpsi, shift)
        ints, y_unit = self.whitened.multipliers(dy)
        grow = y_unit * Fraction(2) ** (shift + self.y_bits - BITS)
        self.y = self.y + objects([int(v * grow) for v in ints])
        self.kappa += int(from_floats(np.array([dk]), shift)[0])

    # ------------------------------------------------------------ the proof

    def proof(self) -> NuclearProof:
        image, unit = self.image, self.unit
        _, x, drift = self._state()
        G, _ = self._gradient(drift)
        entries = [Fraction(int(v), ONE) * unit for v in x]
        near = Rationals.of([self.given.get(c, v) for c, v in enumerate(entries)])
        freedom = np.zeros(x.size)
        moving = np.concatenate([self.column[self.inside], self.others])
        freedom[moving] = np.abs(to_floats(x))[moving] + 1e-9
        point = make_feasible(image, self.whitened, near, freedom)
        point = into_region(point, image.theta_free, self.drift, not any(self.problem.rhs))
        theta = everywhere(image.theta, image.free, point)
        shrink = self._shrink(G)
        y = self._multipliers(shrink)
        if self._plain():  # nothing penalises the others, so nothing may pull at them
            y = vanishing_on(image, y, self.others)
        dual: Tree = {"nu": vector({row: v / image.scales[row] for row, v in zip(image.rows, y, strict=True)})}
        kappa = Fraction(self.kappa, ONE) / unit
        if self.ball and kappa > 0:
            dual["ball"] = rational_text(kappa)
        listed = (
            self.fixed if self._plain() else np.arange(self.indices.size)
        )  # where nothing else pulls, g must be A.T y itself
        flat = G.reshape(-1)
        g = {int(self.indices[k]): Fraction(int(flat[k]), ONE) * shrink for k in listed}
        if g:
            dual["g"] = vector(g)
        primal = primal_tree(theta, image.theta, image.free)
        if self.rank:
            primal["factors"] = [self._factor(a) for a in range(self.rank)]
        return NuclearProof(theta, primal, dual)

    def _plain(self) -> bool:
        """The norm alone, without any force of a drift penalty."""
        return self.drift.cone and self.drift.box is None and self.kappa <= 0

    def _shrink(self, G: Array) -> Fraction:
        """A factor just below 1 for which |G|_2 <= 1; more below where the float start was not strictly inside
        the dual ball.
        """
        size = float(np.linalg.norm(to_floats(G), 2)) if G.size else 0.0
        return 1 - Fraction(1, 1 << SAFETY) if size < 1 + 1e-13 else Fraction(1 / (size * (1 + 1e-13)))

    def _factor(self, a: int) -> Tree:
        u, v = ([Fraction(int(entry), ONE) for entry in side[:, a]] for side in (self.P, self.Q))
        return {"u": vector(dict(enumerate(u))), "v": vector({k: value * self.unit for k, value in enumerate(v)})}

    def _multipliers(self, shrink: Fraction) -> list[Fraction]:
        """y as rationals; shrunk where g is A.T y itself."""
        factor = shrink if self._plain() else Fraction(1)
        return [Fraction(int(v), 1 << self.y_bits) * factor for v in self.y]
