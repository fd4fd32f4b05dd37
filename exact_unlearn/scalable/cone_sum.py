"""Several functions of the same coordinates at once, and several blocks of coordinates side by side.

On one coordinate the terms of a sum act in parallel: their multipliers add up, and so do their stiffnesses h in
Newton's equations dz = h dx + r.  A group norm adds a matrix per group, a multiple of the identity and a line, which
leaves

    H = D + S (1/k0 I + (1/k1 - 1/k0) u u.T) S      group by group,   D = sum of h,  S = diag(sqrt q),  |u| = 1

and H^-1 is a sum of non-negative terms, so nothing cancels however flat the cone has become.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from exact_unlearn.scalable.cone_groups import Groups
from exact_unlearn.scalable.cone_groups import Step as GroupStep
from exact_unlearn.scalable.interior import ConeModel, Kept, ratio_step

NOISE = 1e-6
"""Slopes below this part of the steepest one are not told apart from it."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Changes of two slacks and of their multipliers."""

    u: Tensor
    v: Tensor
    zu: Tensor
    zv: Tensor


class Piece(Protocol):
    """A function of one coordinate each, on all coordinates of a block: z is its slope there, (n,)."""

    def multipliers(self) -> Tensor:
        """z."""
        ...

    def size(self) -> Tensor: ...

    def complementarity(self) -> Tensor: ...

    def value(self) -> Tensor: ...

    def steepest(self) -> Tensor:
        """What z is to be compared with, (n,)."""
        ...

    def stiffness(self) -> Tensor:
        """h >= 0, (n,)."""
        ...

    def offset(self, target: float, before: Any) -> Tensor:
        """r, (n,), for products of slack and multiplier that are to become `target`."""
        ...

    def direction(self, dx: Tensor) -> Any: ...

    def reach(self, direction: Any) -> Tensor: ...

    def complementarity_after(self, direction: Any, step: float) -> Tensor: ...

    def move(self, direction: Any, step: float) -> None: ...

    def kept(self) -> Any: ...

    def restore(self, kept: Any) -> None: ...


class Slacks(Kept):
    """Two slacks u, v > 0 per coordinate with multipliers zu, zv > 0: what kinks and boxes share."""

    u: Tensor
    v: Tensor
    zu: Tensor
    zv: Tensor
    cu: Tensor
    cv: Tensor

    def size(self) -> Tensor:
        return self.u.new_tensor(2.0 * self.u.numel())

    def complementarity(self) -> Tensor:
        return self.u @ self.zu + self.v @ self.zv

    def aim(self, target: float, before: Pair | None) -> None:
        """What the products lack."""
        self.cu, self.cv = target - self.u * self.zu, target - self.v * self.zv
        if before is not None:
            self.cu, self.cv = self.cu - before.u * before.zu, self.cv - before.v * before.zv

    def reach(self, d: Pair) -> Tensor:
        primal = torch.minimum(ratio_step(self.u, d.u), ratio_step(self.v, d.v))
        return torch.minimum(primal, torch.minimum(ratio_step(self.zu, d.zu), ratio_step(self.zv, d.zv)))

    def complementarity_after(self, d: Pair, step: float) -> Tensor:
        left = (self.u + step * d.u) @ (self.zu + step * d.zu)
        return left + (self.v + step * d.v) @ (self.zv + step * d.zv)

    def move(self, d: Pair, step: float) -> None:
        self.u, self.v = self.u + step * d.u, self.v + step * d.v
        self.zu, self.zv = self.zu + step * d.zu, self.zv + step * d.zv


class Kinks(Slacks):
    """w |x - c|, or with `delta` Huber's w h_delta(x - c), on the coordinates with w > 0.

    x - c = u - v (+ a, on which Huber's square w/2 a^2 lies); multipliers b - z, b + z of the slacks with the bound
    b = w, or w delta.  weights, centre, x: (n,).  width: how far u + v starts above |x - c|.
    """

    def __init__(self, weights: Tensor, centre: Tensor, x: Tensor, width: float, delta: float | None = None) -> None:
        self.index = weights.nonzero()[:, 0]
        self.n, self.w = weights.numel(), weights[self.index]
        self.bound = self.w if delta is None else self.w * delta
        moved = (x - centre)[self.index]
        self.u, self.v = moved.clamp_min(0) + width, (-moved).clamp_min(0) + width
        self.zu, self.zv = self.bound.clone(), self.bound.clone()
        self.soft = None if delta is None else self.w.reciprocal()  # how far a gives way to a slope of 1
        self.cu = self.cv = self.h = self.r = self.w.new_zeros(0)

    def _spread(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.n).index_copy_(0, self.index, values)

    def _slope(self) -> Tensor:
        return 0.5 * (self.zv - self.zu)

    def multipliers(self) -> Tensor:
        return self._spread(self._slope())

    def steepest(self) -> Tensor:
        return self._spread(self.bound)

    def value(self) -> Tensor:
        value = self.bound @ (self.u + self.v)
        return value if self.soft is None else value + 0.5 * (self.soft @ self._slope().square())

    def stiffness(self) -> Tensor:
        """z gives way by u / zu + v / zv, and by 1 / w more under Huber's square."""
        both = self.u * self.zv + self.v * self.zu
        if self.soft is not None:
            both = both + self.soft * self.zu * self.zv
        self.h = self.zu * self.zv / both
        return self._spread(self.h)

    def offset(self, target: float, before: Pair | None) -> Tensor:
        self.aim(target, before)
        self.r = -self.h * (self.cu / self.zu - self.cv / self.zv)
        return self._spread(self.r)

    def direction(self, dx: Tensor) -> Pair:
        dz = self.h * dx[self.index] + self.r
        return Pair((self.cu + self.u * dz) / self.zu, (self.cv - self.v * dz) / self.zv, -dz, dz)


class Box(Slacks):
    """|x - c| <= radius, with slacks radius -+ (x - c); x starts at c.  slope: the multipliers to start from."""

    def __init__(self, radius: float, like: Tensor, slope: float) -> None:
        self.radius = radius
        self.u, self.v = torch.full_like(like, radius), torch.full_like(like, radius)
        self.zu, self.zv = torch.full_like(like, slope), torch.full_like(like, slope)
        self.cu = self.cv = like.new_zeros(0)

    def multipliers(self) -> Tensor:
        return self.zu - self.zv

    def steepest(self) -> Tensor:
        return self.zu + self.zv

    def value(self) -> Tensor:
        return self.u.new_zeros(())

    def stiffness(self) -> Tensor:
        return self.zu / self.u + self.zv / self.v

    def offset(self, target: float, before: Pair | None) -> Tensor:
        self.aim(target, before)
        return self.cu / self.u - self.cv / self.v

    def direction(self, dx: Tensor) -> Pair:
        return Pair(-dx, dx, (self.cu + self.zu * dx) / self.u, (self.cv - self.zv * dx) / self.v)


class Squares(Kept):
    """w/2 (x - c)^2."""

    def __init__(self, weights: Tensor, centre: Tensor, x: Tensor) -> None:
        self.w, self.moved, self.pulled = weights, x - centre, weights * centre.abs()

    def multipliers(self) -> Tensor:
        return self.w * self.moved

    def steepest(self) -> Tensor:
        return self.multipliers().abs() + self.pulled

    def size(self) -> Tensor:
        return self.w.new_zeros(())

    def complementarity(self) -> Tensor:
        return self.w.new_zeros(())

    def value(self) -> Tensor:
        return 0.5 * (self.w @ self.moved.square())

    def stiffness(self) -> Tensor:
        return self.w

    def offset(self, target: float, before: Tensor | None) -> Tensor:
        return torch.zeros_like(self.w)

    def direction(self, dx: Tensor) -> Tensor:
        return dx

    def reach(self, direction: Tensor) -> Tensor:
        return self.w.new_ones(())

    def complementarity_after(self, direction: Tensor, step: float) -> Tensor:
        return self.w.new_zeros(())

    def move(self, direction: Tensor, step: float) -> None:
        self.moved = self.moved + step * direction


@dataclass(frozen=True, eq=False)
class Norm:
    """A group norm of part of the coordinates: index (p,) sorted by group, root (p,) = sqrt of the inner weights, used
    (G,) the caller's numbers of the groups.
    """

    groups: Groups
    index: Tensor
    root: Tensor
    used: Tensor


@dataclass(frozen=True, eq=False)
class MixedStep:
    """Directions of x, of the pieces and of the norm."""

    x: Tensor
    pieces: list[Any]
    norm: GroupStep | None


class Mixed:
    """Pieces and at most one group norm on the same coordinates.

    columns: A.T (n, m).  x: (n,) where all of them start; none of them costs nothing.
    """

    coupled = True

    def __init__(self, columns: Tensor, x: Tensor, pieces: Sequence[Piece], norm: Norm | None = None) -> None:
        self.columns, self.x, self.pieces, self.norm = columns, x, tuple(pieces), norm
        empty = columns.new_zeros(0)
        self.rd = self.e = self.soft = self.line = self.share = self.reduced = empty

    # ------------------------------------------------------------ sums over pieces and the norm

    def _each(self) -> list[Any]:
        return [*self.pieces, *([self.norm.groups] if self.norm else [])]

    def size(self) -> Tensor:
        return sum((one.size() for one in self._each()), start=self.x.new_zeros(()))

    def complementarity(self) -> Tensor:
        return sum((one.complementarity() for one in self._each()), start=self.x.new_zeros(()))

    def value(self) -> Tensor:
        return sum((one.value() for one in self._each()), start=self.x.new_zeros(()))

    def point(self) -> Tensor:
        return self.x

    def norm_multipliers(self) -> Tensor:
        """z of the norm, (n,)."""
        out = torch.zeros_like(self.x)
        return out if self.norm is None else out.index_copy_(0, self.norm.index, self.norm.root * self.norm.groups.z)

    def multipliers(self) -> Tensor:
        return sum((piece.multipliers() for piece in self.pieces), start=self.norm_multipliers())

    def dual_error(self, pull: Tensor) -> Tensor:
        if not pull.numel():
            return self.x.new_zeros(())
        size = sum((piece.steepest() for piece in self.pieces), start=pull.abs())
        if self.norm is not None:
            heavy = self.norm.root * self.norm.groups.segments.spread(self.norm.groups.w)
            size = size.index_add(0, self.norm.index, heavy)
        size = size.clamp_min(NOISE * size.max())  # where all slopes are 0 there is nothing but rounding to compare
        return ((pull - self.multipliers()).abs() / size.clamp_min(1e-300)).max()

    # ------------------------------------------------------------ Newton's equations

    def prepare(self, pull: Tensor) -> Tensor:
        self.rd = pull - self.multipliers()
        stiff = sum((piece.stiffness() for piece in self.pieces), start=torch.zeros_like(self.x))
        if self.norm is None:
            self.soft = stiff.clamp_min(1e-300).reciprocal()
            return self.columns.T @ (self.columns * self.soft[:, None])
        g, index, root = self.norm.groups, self.norm.index, self.norm.root
        g.prepare(g.z)
        spread, square = g.segments.spread, root.square()
        across, along = spread(g.k0.reciprocal()), spread(g.k1.reciprocal())
        total = stiff.index_add(0, index, square * across)
        self.soft = total.clamp_min(1e-300).reciprocal()
        soft = self.soft[index]
        # 1 + (1/k1 - 1/k0) u.T S E S u, written as a sum of what is positive
        rest = g.segments.sum(g.unit.square() * soft * (stiff[index] + square * along))
        live = g.length > 0
        self.share = torch.where(live, (g.k0.reciprocal() - g.k1.reciprocal()) / rest.clamp_min(1e-300), 0.0)
        self.line = soft * root * g.unit
        combined = g.segments.sum(self.columns[index] * self.line[:, None])
        left = self.columns.T @ (self.columns * self.soft[:, None])
        return left + combined.T @ (combined * self.share[:, None])

    def _soften(self, v: Tensor) -> Tensor:
        """H^-1 v."""
        out = self.soft * v
        if self.norm is None:
            return out
        g, index = self.norm.groups, self.norm.index
        along = self.share * g.segments.sum(self.line * v[index])
        return out.index_add(0, index, g.segments.spread(along) * self.line)

    def _stiffen(self, v: Tensor) -> Tensor:
        """K^-1 v of the norm, in its own coordinates."""
        assert self.norm is not None
        g = self.norm.groups
        return g.split(g.k0.reciprocal(), g.k1.reciprocal(), v)

    def right_side(self, target: float, before: MixedStep | None, wanted: None = None) -> Tensor:
        steps = [None] * len(self.pieces) if before is None else before.pieces
        self.e = self.rd.clone()
        for piece, step in zip(self.pieces, steps, strict=True):
            self.e = self.e - piece.offset(target, step)
        if self.norm is not None:
            self.norm.groups.right_side(target, None if before is None else before.norm)
            held = self.norm.root * self._stiffen(self.norm.groups.reduced)
            self.e = self.e.index_add(0, self.norm.index, held)
        return self.columns.T @ self._soften(self.e)

    def centring(self, direction: MixedStep, primal: float, dual: float, target: float) -> None:
        """None: the corrector keeps products central enough."""

    def direction(self, push: Tensor) -> MixedStep:
        dx = self._soften(push + self.e)
        steps = [piece.direction(dx) for piece in self.pieces]
        if self.norm is None:
            return MixedStep(dx, steps, None)
        return MixedStep(dx, steps, self.norm.groups.followed(self.norm.root * dx[self.norm.index]))

    def reach(self, direction: MixedStep) -> Tensor:
        least = self.x.new_ones(())
        for piece, step in zip(self.pieces, direction.pieces, strict=True):
            least = torch.minimum(least, piece.reach(step))
        if self.norm is not None:
            least = torch.minimum(least, self.norm.groups.reach(direction.norm).min())  # type: ignore[arg-type]
        return torch.stack([least, least])

    def complementarity_after(self, direction: MixedStep, primal: float, dual: float) -> Tensor:
        found = self.x.new_zeros(())
        for piece, step in zip(self.pieces, direction.pieces, strict=True):
            found = found + piece.complementarity_after(step, primal)
        if self.norm is not None and direction.norm is not None:
            found = found + self.norm.groups.complementarity_after(direction.norm, primal, primal)
        return found

    def move(self, direction: MixedStep, primal: float, dual: float) -> None:
        self.x = self.x + primal * direction.x
        for piece, step in zip(self.pieces, direction.pieces, strict=True):
            piece.move(step, primal)
        if self.norm is not None and direction.norm is not None:
            self.norm.groups.move(direction.norm, primal, primal)

    def kept(self) -> Any:
        return self.x, [one.kept() for one in self._each()]

    def restore(self, kept: Any) -> None:
        self.x = kept[0]
        for one, own in zip(self._each(), kept[1], strict=True):
            one.restore(own)


class SideBySide:
    """Blocks of coordinates with a model each, one step for all of them."""

    coupled = True

    def __init__(self, blocks: Sequence[ConeModel]) -> None:
        self.blocks = tuple(blocks)
        self.columns = torch.cat([block.columns for block in self.blocks])
        self.sizes = [block.columns.shape[0] for block in self.blocks]

    def _sum(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts)).sum(0)

    def size(self) -> Tensor:
        return self._sum([block.size() for block in self.blocks])

    def complementarity(self) -> Tensor:
        return self._sum([block.complementarity() for block in self.blocks])

    def value(self) -> Tensor:
        return self._sum([block.value() for block in self.blocks])

    def point(self) -> Tensor:
        return torch.cat([block.point() for block in self.blocks])

    def dual_error(self, pull: Tensor) -> Tensor:
        parts = zip(self.blocks, pull.split(self.sizes), strict=True)  # type: ignore[no-untyped-call]
        return torch.stack([block.dual_error(part) for block, part in parts]).max()

    def prepare(self, pull: Tensor) -> Tensor:
        parts = zip(self.blocks, pull.split(self.sizes), strict=True)  # type: ignore[no-untyped-call]
        return self._sum([block.prepare(part) for block, part in parts])

    def right_side(self, target: float, before: list[Any] | None, wanted: None = None) -> Tensor:
        steps = [None] * len(self.blocks) if before is None else before
        return self._sum([b.right_side(target, step) for b, step in zip(self.blocks, steps, strict=True)])

    def centring(self, direction: Any, primal: float, dual: float, target: float) -> None:
        """None: as `Mixed`."""

    def direction(self, push: Tensor) -> list[Any]:
        parts = zip(self.blocks, push.split(self.sizes), strict=True)  # type: ignore[no-untyped-call]
        return [block.direction(part) for block, part in parts]

    def reach(self, direction: list[Any]) -> Tensor:
        parts = [block.reach(step) for block, step in zip(self.blocks, direction, strict=True)]
        return torch.stack(parts).amin(0)

    def complementarity_after(self, direction: list[Any], primal: float, dual: float) -> Tensor:
        parts = zip(self.blocks, direction, strict=True)
        return self._sum([block.complementarity_after(step, primal, dual) for block, step in parts])

    def move(self, direction: list[Any], primal: float, dual: float) -> None:
        for block, step in zip(self.blocks, direction, strict=True):
            block.move(step, primal, dual)

    def kept(self) -> Any:
        return [block.kept() for block in self.blocks]

    def restore(self, kept: Any) -> None:
        for block, own in zip(self.blocks, kept, strict=True):
            block.restore(own)
