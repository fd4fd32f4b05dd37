"""What lies beside the groups of `walls` where these meet the right-hand side b but for rounding.

Let x_g, g in C, meet b but for a rest of the size epsilon.  The optimum has x_g + epsilon d_g there, and groups
epsilon x_h besides; to first order in epsilon these are a program of size 1,

    minimise  sum_C w_g <u_g, d_g> + sum_h w_h |x_h|   subject to   sum_C J_g d_g + sum_h J_h x_h = rest / epsilon,
              G_g d_g >= 0 on the walls on which x_g lies,   G_h x_h >= 0,

with u_g = x_g / |x_g|.  C has both groups that meet at a wall, for d_g may leave it on either side.  The float solution
says on which side, and which groups h take part; Newton's method goes on from there.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from exact_unlearn.certify.dense import range_basis
from exact_unlearn.certify.exactlin import objects
from exact_unlearn.certify.nonneg import FITS, centre, vertex
from exact_unlearn.certify.nuclear_start import conic
from exact_unlearn.jacobian import Array

if TYPE_CHECKING:
    from exact_unlearn.certify.walls import Choice, Point, Walls

TIGHT = 1e-6
"""As in `walls`."""

APART = 1e-3
"""What must be left of a feature beside those of C, relatively, for it to be one of its own."""


class Zoom:
    """The program above, for a point that misses some of the right-hand side."""

    def __init__(self, walls: Walls, point: Point) -> None:
        self.walls, self.point = walls, point
        sizes = {row: v * walls.image.scales[row] for row, v in point.rest.items()}
        self.epsilon = max(map(abs, sizes.values()))
        self.rows = [row for row in walls.shared if row in point.choice.rows]
        self.rest = np.array([float(sizes.get(row, 0) / self.epsilon) for row in self.rows])
        self.x = {g: objects([point.x[int(j)] for j in walls.blocks[g].columns]) for g in point.choice.x}
        self.units = {g: _unit(x) for g, x in self.x.items()}
        self.sides = self._sides()
        self.own = {h: g for g, sides in self.sides.items() for h in sides}
        """Groups of C, and on whose side each is."""
        self.near = {h: self._near(h, self.units[g]) for h, g in self.own.items()}
        self.d, self.nu, self.multipliers = self._solved()  # d of C, and x of the others

    def _features(self, g: int) -> Array:
        return self.walls.entries(self.rows, self.walls.blocks[g])

    def _sides(self) -> dict[int, list[int]]:
        """Each group that was chosen, and the tight ones that point the same way and have the same features there."""
        walls, found = self.walls, {g: [g] for g in self.x}
        nu = np.array([float(self.point.nu.get(row, 0)) for row in range(len(walls.floats))])
        for h, block in enumerate(walls.blocks):
            z = walls.priced(block, nu)[1] / float(block.weight)
            for g, unit in self.units.items():
                if h in self.x or z.shape != unit.shape or np.linalg.norm(z - unit) > TIGHT:
                    continue
                own = self._features(g) @ unit
                if np.linalg.norm(self._features(h) @ unit - own) <= TIGHT * np.linalg.norm(own):
                    found[g].append(h)
        return found

    def _near(self, g: int, unit: Array) -> list[int]:
        """The walls of a group on which a direction lies."""
        rows = self.walls.blocks[g].walls
        own = self.walls.entries(rows, self.walls.blocks[g])
        return [int(row) for row in rows[np.abs(own @ unit) <= FITS * np.linalg.norm(own, axis=1)]]

    # ------------------------------------------------------------ the float solution

    def _solved(self) -> tuple[Array, Array, dict[int, float]]:
        """d (n,) and nu (k,) of the shared rows, and the multipliers of the walls of C."""
        floats, blocks = self.walls.floats, self.walls.blocks
        n, others = floats.shape[1], [h for h in range(len(blocks)) if h not in self.own]
        cost = np.concatenate([np.zeros(n), [float(blocks[h].weight) for h in others]])
        for h, g in self.own.items():
            cost[blocks[h].columns] = float(blocks[h].weight) * self.units[g]
        near = [row for rows in self.near.values() for row in rows]
        least = [*near, *(row for h in others for row in blocks[h].walls.tolist())]
        rows = np.concatenate([floats[self.rows], -floats[least]])
        parts = [np.concatenate([rows, np.zeros((len(rows), len(others)))], axis=1)]
        for k, h in enumerate(others):
            columns = [n + k, *blocks[h].columns.tolist()]
            parts.append(-np.eye(cost.size)[columns])
        A = np.concatenate(parts)
        b = np.concatenate([self.rest, np.zeros(len(A) - self.rest.size)])
        sizes = tuple(1 + blocks[h].columns.size for h in others)
        z, y = conic(np.zeros((cost.size, cost.size)), cost, A, b, (len(self.rows), len(least), sizes, ()))
        nu = np.zeros(len(floats))
        nu[self.rows] = -y[: len(self.rows)]
        first = len(self.rows)
        return z[:n], nu, dict(zip(near, y[first : first + len(near)].tolist(), strict=True))

    # ------------------------------------------------------------ what is made of it

    def choice(self, also: list[int], centred: bool) -> Choice:
        """Of all groups that take part, x_g in Fractions.  also, centred: as in `walls`."""
        from exact_unlearn.certify.walls import Choice

        walls, d, nu, multipliers = self.walls, self.d, self.nu, self.multipliers
        peak = max(multipliers.values(), default=0.0)
        held = {row: v for row, v in multipliers.items() if v > TIGHT * peak and v > abs(float(walls.floats[row] @ d))}
        place = {}
        for g, sides in self.sides.items():
            leaves = [h for h in sides if any(row not in held for row in self.near[h])]
            place[leaves[0] if leaves else g] = self.x[g]
        rows = {row: held[row] for h in place for row in self.near[h] if row in held}
        bases = [_within(walls.entries([row for row in self.near[h] if row in held], walls.blocks[h])) for h in place]
        bent = np.column_stack([self._features(h) @ basis for h, basis in zip(place, bases, strict=True)])
        taken, held_too = self._taken(bent, nu, also, centred)
        rest = self.rest - sum((self._features(h) @ x for h, (x, _) in taken.items()), np.zeros(self.rest.size))
        moves = np.split(np.linalg.lstsq(bent, rest, rcond=1e-10)[0], np.cumsum([b.shape[1] for b in bases])[:-1])
        for h, basis, move in zip(list(place), bases, moves, strict=True):
            place[h] = place[h] + self._tiny(basis @ move)
        for h, (x, alpha) in taken.items():
            place[h] = self._tiny(x)
            pairs = zip(walls.blocks[h].walls.tolist(), alpha.tolist(), strict=True)
            rows |= {row: a for row, a in pairs if a > TIGHT * float(alpha.max())}
        return Choice(place, rows | {row: float(nu[row]) for row in self.rows}, held_too, fine=True)

    def _tiny(self, values: Array) -> Array:
        return objects([self.epsilon * Fraction(v) for v in values.tolist()])

    def _taken(
        self, bent: Array, nu: Array, also: list[int], centred: bool
    ) -> tuple[dict[int, tuple[Array, Array]], tuple[int, ...]]:
        """x_h and alpha_h of tight groups whose features are independent of each other and of those of C."""
        walls, span = self.walls, range_basis(bent)
        units, alphas, own = {}, {}, {}
        for h, block in enumerate(walls.blocks):
            alpha, z = walls.priced(block, nu)
            length = float(np.linalg.norm(z))
            if h in self.own or length < (1 - TIGHT) * float(block.weight):
                continue
            feature = self._features(h) @ z / length
            rest = feature - span @ (span.T @ feature)
            if np.linalg.norm(rest) > APART * np.linalg.norm(feature):
                units[h], alphas[h], own[h] = z / length, alpha, rest
        rest = self.rest - span @ (span.T @ self.rest)
        if not own or np.linalg.norm(rest) <= FITS * np.linalg.norm(self.rest):
            return {}, ()
        near, features = list(own), np.column_stack(list(own.values()))
        held: list[int] = []
        if centred:
            sizes = np.array([np.linalg.norm(self.d[walls.blocks[h].columns]) for h in near])
            t, held = centre(features, sizes)
        else:
            t = vertex(features, rest, [near.index(g) for g in also if g in own])
        return {h: (v * units[h], alphas[h]) for h, v in zip(near, t.tolist(), strict=True) if v > 0}, tuple(
            near[at] for at in held
        )


def _unit(x: Array) -> Array:
    """x / |x| of Fractions, in floats."""
    peak = max(map(abs, x))
    rounded = np.array([float(v / peak) for v in x])
    return np.asarray(rounded / np.linalg.norm(rounded))


def _within(walls: Array) -> Array:
    """An orthonormal basis of what stays on the walls, (m, n)."""
    _, s, Vt = np.linalg.svd(walls)
    return np.asarray(Vt[int(np.sum(s > 1e-10 * s[0])) if s.size else 0 :].T)
