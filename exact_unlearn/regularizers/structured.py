"""Norms of groups and of matrices inside theta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Norms, Part, Rows, Space, Spectral
from exact_unlearn.forms.partition import Partition, as_partition
from exact_unlearn.jacobian import Array, dimensions, real_array
from exact_unlearn.regularizers.named import named_groups
from exact_unlearn.regularizers.recipe import Recipe
from exact_unlearn.vectors import (
    as_float,
    as_real,
    as_step,
    as_weights,
    indicator,
    is_exact,
    l2_prox,
    load_cvxpy,
    power_of_two,
    require_length,
    root_sum_squares,
    without_noise,
)


@dataclass(frozen=True, eq=False, init=False)
class GroupL2(Recipe):
    """R(theta) = sum_g w_g |theta_g|_2, a second-order cone program.  Dual norm max_g |z_g|_2 / w_g.

    groups: index sequences or a 1-D integer label array (label g = group g); they must partition range(d). Where
    `surrogate_problem` is given a model, also "layer", "neuron", "filter" or "head", whatever of them the model has.
    weights: shape (G,), finite and >= 0; None means 1.  Raises ProblemError otherwise.

    >>> import exact_unlearn as xu
    >>> xu.GroupL2([0, 0, 1]).value([3.0, 4.0, -2.0])
    7.0
    """

    partition: Partition
    weights: Array
    """(G,)"""

    name: ClassVar[str] = "group_l2"

    def __new__(cls, groups: Any = None, weights: Any = None) -> Any:
        return named_groups(cls, groups, weights) or super().__new__(cls)

    def __init__(self, groups: Any, weights: Any = None) -> None:
        partition = as_partition(groups)
        checked = as_weights(np.ones(partition.n_groups) if weights is None else weights)
        assert checked is not None
        if checked.size != partition.n_groups:
            raise ProblemError(
                f"weights of group_l2: expected one per group ({partition.n_groups}), got {checked.size}"
            )
        object.__setattr__(self, "partition", partition)
        object.__setattr__(self, "weights", checked)

    @property
    def labels(self) -> Array:
        """(d,) int64, the group of each coordinate."""
        return self.partition.labels

    def validate(self, n_parameters: int) -> None:
        require_length("groups of group_l2", self.partition.n_parameters, n_parameters)

    def form(self, space: Space) -> Form:
        return Form((Norms(self.partition, self.weights),))

    def to_spec(self) -> dict[str, Any]:
        """{"name": ..., "labels": ..., "weights": ...}."""
        return {"name": self.name, "labels": self.labels, "weights": self.weights}


@dataclass(frozen=True, eq=False, init=False)
class PredictorNorm(Recipe):
    """R(theta) = |w(theta)| of a linear network of which only A_1 moves (Lemma 1, Theorem 3), a second-order
    cone program.

    w(theta) = A_1.T V with V = A_2.T ... A_{L-1}.T C.T frozen at theta_star, shape (h_1, l); R is its
    Frobenius norm (the Euclidean norm for one output).  For L = 1 the moving block is "c" itself and V the
    identity.  The minimiser is not unique when h_1 > rank V, the predictor is: A_1 is free on the orthogonal
    complement of range(V).

    network: a LinearNetwork; theta_star: (d,).  Raises ProblemError on other models and
    lengths. Dual norm of a matrix G on the block: min |B|_F over G = V B.T, inf when G does not lie in
    range(V) or g does not vanish off the block.  Floats lie in a subspace only up to rounding, so "in
    range(V)" means up to `range_slack`.

    >>> import exact_unlearn as xu
    >>> network = xu.LinearNetwork((2, 1, 1))  # w = c a
    >>> theta = network.join({"A1": [[3.0, 4.0]], "c": [[2.0]]})
    >>> float(xu.PredictorNorm(network, theta).value(theta))
    10.0
    """

    V: Array
    """(h_1, l)"""
    block: slice
    """The coordinates of A_1 in theta."""
    shape: tuple[int, int]
    """(h_1, m), row-major."""

    name: ClassVar[str] = "predictor_norm"

    def __init__(self, network: Any, theta_star: Any) -> None:
        if not hasattr(network, "first_layer_factor") or isinstance(network, type):
            raise ProblemError(f"network: expected a LinearNetwork, got {network!r}")
        theta = real_array("theta_star", theta_star, ndim=1)
        require_length("theta_star", theta.size, network.n_parameters)
        V = network.first_layer_factor(theta)
        self._set(V, network.blocks[network.first_block], (V.shape[0], network.n_inputs))

    @classmethod
    def from_product(cls, V: Any, block: slice, shape: Any) -> PredictorNorm:
        """The same from its parts: V (h_1, l), the slice of A_1 in theta, and (h_1, m)."""
        self = cls.__new__(cls)
        self._set(V, block, shape)
        return self

    def _set(self, V: Any, block: slice, shape: Any) -> None:
        V = real_array("V", V, ndim=2)
        rows, columns = _matrix_shape(shape)
        if V.shape[0] != rows:
            raise ProblemError(
                f"V of predictor_norm: expected {rows} rows for a first layer of shape {(rows, columns)}, got {V.shape}"
            )
        if not isinstance(block, slice) or block.step not in (None, 1) or block.start is None or block.stop is None:
            raise ProblemError(f"block of predictor_norm: expected slice(start, stop), got {block!r}")
        if block.start < 0 or block.stop - block.start != rows * columns:
            raise ProblemError(
                f"block of predictor_norm: expected {rows * columns} coordinates for shape {(rows, columns)}, "
                f"got {block}"
            )
        object.__setattr__(self, "V", V)
        object.__setattr__(self, "block", block)
        object.__setattr__(self, "shape", (rows, columns))

    @property
    def movable(self) -> slice | None:
        return self.block

    @property
    def has_conjugate(self) -> bool:
        return True

    @property
    def range_slack(self) -> float:
        """Relative size below which singular values of V, and the part of G outside range(V), are rounding."""
        return 8.0 * float(max(*self.V.shape, self.shape[1]) * np.finfo(np.float64).eps)

    def validate(self, n_parameters: int) -> None:
        if self.block.stop > n_parameters:
            raise ProblemError(f"block of predictor_norm: {self.block} does not lie within {n_parameters} parameters")

    def form(self, space: Space) -> Form:
        """The norm of W with W[o m + j] = sum_p V[p, o] A_1[p, j]."""
        (h, m), outputs = self.shape, self.V.shape[1]
        o, p, j = (a.reshape(-1) for a in np.meshgrid(range(outputs), range(h), range(m), indexing="ij"))
        d = self.block.stop if space.size is None else space.size
        rows = Rows((outputs * m, d), o * m + j, self.block.start + p * m + j, self.V[p, o])
        return Form((Part(Norms(), rows),))

    def predictor(self, theta: Any) -> Array:
        """w(theta) = A_1.T V, shape (m, l)."""
        A, V = self._matrix(as_real(theta)), self.V
        if is_exact(A) != is_exact(V):
            A, V = as_float(A), as_float(V)
        predictor: Array = A.T @ V
        return predictor

    def value(self, theta: Any) -> float:
        A, V = self._matrix(as_real(theta)), self.V
        if is_exact(A) and is_exact(V):
            return root_sum_squares((A.T @ V).reshape(-1))
        A, V = as_float(A), as_float(V)
        a, s = power_of_two(A), power_of_two(V)
        return root_sum_squares(((A / a).T @ (V / s)).reshape(-1)) * a * s

    def expression(self, theta: Any) -> Any:
        cp = load_cvxpy()

        first = cp.reshape(theta[self.block], self.shape, order="C")
        return cp.norm(first.T @ as_float(self.V), "fro")

    def dual_norm(self, g: Any) -> float:
        return self._dual(as_float(g), self.range_slack)

    def _dual(self, z: Array, slack: float) -> float:
        """The dual norm, with the part of G outside range(V) ignored up to `slack` relative to G."""
        G = self._matrix(z)
        if np.any(z[: self.block.start]) or np.any(z[self.block.stop :]):
            return math.inf
        size = root_sum_squares(G.reshape(-1))
        if size == 0:
            return 0.0
        U, sigma = self._factors()
        inside = U.T @ (G / size)
        outside = G / size - U @ inside
        if root_sum_squares(outside.reshape(-1)) > slack:
            return math.inf
        return root_sum_squares((inside / sigma[:, None]).reshape(-1)) * size

    def conjugate(self, g: Any, tol: float = 0.0) -> float:
        z = as_float(g)
        elsewhere = np.ones(z.size, dtype=bool)
        elsewhere[self.block] = False
        slack = max(tol, self.range_slack)
        return indicator(self._dual(without_noise(z, elsewhere, tol), slack) <= 1.0 + tol)

    def prox(self, v: Any, step: float) -> Array:
        """In the left singular basis of V the norm is a weighted l2 norm with weights sigma^2; the rest of
        A_1 stays.
        """
        x = as_float(v).copy()
        A = self._matrix(x)
        U, sigma = self._factors()
        t = as_step(step)
        if sigma.size == 0 or t == 0:
            return x
        part = U.T @ A
        weights = np.repeat(np.square(sigma / sigma[0]), self.shape[1])
        moved = l2_prox(part.reshape(-1), t * float(sigma[0]), weights).reshape(part.shape)
        x[self.block] = (A + U @ (moved - part)).reshape(-1)
        return x

    def to_spec(self) -> dict[str, Any]:
        block = [self.block.start, self.block.stop]
        return {"name": self.name, "V": self.V, "block": block, "shape": list(self.shape)}

    def _matrix(self, x: Array) -> Array:
        self.validate(x.size)
        return x[self.block].reshape(self.shape)

    def _factors(self) -> tuple[Array, Array]:
        """Left singular vectors (h_1, r) and singular values (r,) of V, r = its numerical rank (0 for V = 0)."""
        U, sigma, _ = np.linalg.svd(as_float(self.V), full_matrices=False)
        kept = sigma > self.range_slack * sigma[0]
        return U[:, kept], sigma[kept]


@dataclass(frozen=True, eq=False)
class NuclearNorm(Recipe):
    """R(theta) = sum of the singular values of theta[block] as a matrix of `shape` (row-major), a
    semidefinite program.

    block: the name of a block (resolved by `resolve`, which the problem constructors call), a slice with
    explicit ends, or indices.  Dual norm: the spectral norm of g on the block, inf when g does not vanish
    elsewhere. Raises ProblemError on overlapping indices or when block and shape disagree.

    >>> import exact_unlearn as xu
    >>> xu.NuclearNorm(slice(0, 4), (2, 2)).value([3.0, 0.0, 0.0, 4.0])
    7.0
    """

    block: Any
    shape: tuple[int, int]

    name: ClassVar[str] = "nuclear_norm"

    def __post_init__(self) -> None:
        shape = _matrix_shape(self.shape)
        object.__setattr__(self, "shape", shape)
        if isinstance(self.block, str):
            return
        indices = _indices(self.block)
        if indices.size != shape[0] * shape[1]:
            raise ProblemError(
                f"block of nuclear_norm: expected {shape[0] * shape[1]} coordinates for shape {shape}, "
                f"got {indices.size}"
            )
        indices.setflags(write=False)
        object.__setattr__(self, "block", indices)

    def resolve(self, blocks: Mapping[str, slice]) -> NuclearNorm:
        """The same norm with a named block replaced by its coordinates. ProblemError on an unknown name."""
        if not isinstance(self.block, str):
            return self
        if self.block not in blocks:
            raise ProblemError(f"block of nuclear_norm: expected one of {', '.join(blocks)}, got {self.block!r}")
        return NuclearNorm(blocks[self.block], self.shape)

    @property
    def resolved(self) -> bool:
        return not isinstance(self.block, str)

    def for_model(self, model: Any) -> NuclearNorm:
        return self.resolve(model.blocks)

    @property
    def indices(self) -> Array:
        """(p q,) coordinates of the matrix entries, row-major. ProblemError while the block is only a name."""
        if isinstance(self.block, str):
            raise ProblemError(
                f"block of nuclear_norm: {self.block!r} names a block of a model; "
                "without a model give a slice or indices"
            )
        indices: Array = self.block
        return indices

    def validate(self, n_parameters: int) -> None:
        if self.indices.max() >= n_parameters:
            raise ProblemError(
                f"block of nuclear_norm: coordinate {self.indices.max()} does not exist in {n_parameters} parameters"
            )

    def form(self, space: Space) -> Form:
        return Form((Spectral(self.indices, self.shape),))

    def to_spec(self) -> dict[str, Any]:
        """{"name": ..., "indices": ..., "shape": ...}."""
        return {"name": self.name, "indices": self.indices, "shape": list(self.shape)}


def _matrix_shape(shape: Any) -> tuple[int, int]:
    try:
        rows, columns = shape
        if not all(isinstance(side, (int, np.integer)) and side > 0 for side in (rows, columns)):
            raise ValueError
    except (TypeError, ValueError):
        raise ProblemError(f"shape: expected two positive integers (rows, columns), got {shape!r}") from None
    return int(rows), int(columns)


def _indices(block: Any) -> Array:
    """Distinct coordinates >= 0 from a slice with explicit ends or an integer sequence."""
    if isinstance(block, slice):
        if block.stop is None or block.stop < 0 or (block.start or 0) < 0:
            raise ProblemError(f"block of nuclear_norm: expected a slice with explicit ends >= 0, got {block!r}")
        return np.arange(block.start or 0, block.stop, block.step or 1)
    array = np.asarray(block if dimensions(block) == 1 else [])
    if array.size == 0 or array.dtype.kind not in "iu":
        raise ProblemError(f"block of nuclear_norm: expected a block name, a slice or integer indices, got {block!r}")
    if array.min() < 0 or np.unique(array).size != array.size:
        raise ProblemError("block of nuclear_norm: expected distinct indices >= 0")
    return array.astype(np.int64)
