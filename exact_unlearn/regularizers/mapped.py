"""Norms of linear maps of theta: differences of neighbours, and groups that overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Kink, Norms, Part, Rows, Space
from exact_unlearn.forms.partition import as_indices
from exact_unlearn.jacobian import Array, dimensions
from exact_unlearn.regularizers.recipe import Recipe
from exact_unlearn.vectors import as_weights, require_length


@dataclass(frozen=True, eq=False, init=False)
class TotalVariation(Recipe):
    """R(theta) = sum over neighbours i, j of a grid of |theta_i - theta_j|, a linear program.

    isotropic: instead sum_i (sum_a (theta_{i + e_a} - theta_i)^2)^(1/2) over the grid points i and its axes a, a
    second-order cone program that does not prefer the axes.  shape: of the grid, row-major; a whole number d is a chain
    (fused differences).  Raises ProblemError unless its sides are whole numbers >= 1.

    >>> TotalVariation(4).value([1.0, 1.0, 3.0, 2.0])
    3.0
    """

    shape: tuple[int, ...]
    isotropic: bool

    def __init__(self, shape: Any, isotropic: bool = False) -> None:
        sides = (shape,) if dimensions(shape) == 0 else tuple(shape) if dimensions(shape) == 1 else ()
        whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 1 for n in sides)
        if not whole or not sides:
            raise ProblemError(f"shape: expected whole numbers >= 1, the sides of a grid, got {shape!r:.60}")
        if not isinstance(isotropic, (bool, np.bool_)):
            raise ProblemError(f"isotropic: expected True or False, got {isotropic!r:.60}")
        object.__setattr__(self, "shape", tuple(int(n) for n in sides))
        object.__setattr__(self, "isotropic", bool(isotropic))

    def validate(self, n_parameters: int) -> None:
        require_length("the grid of total variation", math.prod(self.shape), n_parameters)

    def form(self, space: Space) -> Form:
        points = np.arange(math.prod(self.shape)).reshape(self.shape)
        low = [np.delete(points, -1, axis=a).reshape(-1) for a in range(points.ndim)]
        high = [np.delete(points, 0, axis=a).reshape(-1) for a in range(points.ndim)]
        left, right = np.concatenate(low), np.concatenate(high)
        order = np.argsort(left, kind="stable")
        left, right, m = left[order], right[order], left.size
        signs = np.concatenate([-np.ones(m), np.ones(m)])
        rows = Rows((m, points.size), np.tile(np.arange(m), 2), np.concatenate([left, right]), signs)
        if not self.isotropic or not m:
            return Form((Part(Kink(), rows),))
        return Form((Part(Norms(np.unique(left, return_inverse=True)[1].astype(np.int64)), rows),))


@dataclass(frozen=True, eq=False, init=False)
class OverlappingGroups(Recipe):
    """R(theta) = sum_g w_g |theta_g|_2 over groups that may share coordinates, a second-order cone program.

    groups: index sequences, each of distinct coordinates; a coordinate in none of them costs nothing.  weights: shape
    (G,), finite and >= 0; None means 1.  Raises ProblemError otherwise.

    >>> OverlappingGroups([[0, 1], [1, 2]]).value([3.0, 4.0, 3.0])
    10.0
    """

    groups: tuple[Array, ...]
    weights: Array

    def __init__(self, groups: Any, weights: Any = None) -> None:
        found = as_indices(groups)
        checked = as_weights(np.ones(len(found)) if weights is None else weights)
        assert checked is not None
        if checked.size != len(found):
            raise ProblemError(f"weights: expected one per group ({len(found)}), got {checked.size}")
        object.__setattr__(self, "groups", found)
        object.__setattr__(self, "weights", checked)

    def validate(self, n_parameters: int) -> None:
        last = max(int(group.max()) for group in self.groups)
        if last >= n_parameters:
            raise ProblemError(f"groups: coordinate {last} does not exist in {n_parameters} parameters")

    def form(self, space: Space) -> Form:
        columns = np.concatenate(self.groups)
        labels = np.repeat(np.arange(len(self.groups)), [group.size for group in self.groups])
        d = int(columns.max()) + 1 if space.size is None else space.size
        return Form((Part(Norms(labels, self.weights), Rows.picking(columns, d)),))
