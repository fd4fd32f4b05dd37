"""How the named matrices of a model lie in its flat parameter vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.jacobian import Array, dimensions, real_array, to_rational
from exact_unlearn.rational import zeros as rational_zeros


@dataclass(frozen=True)
class Layout:
    """Named matrices, one after the other, each flattened row by row (the paper's vec is column-wise).

    shapes: ((name, (rows, columns)), ...) in the order of the flat vector.
    """

    shapes: tuple[tuple[str, tuple[int, int]], ...]

    @property
    def size(self) -> int:
        """d, the number of parameters."""
        return sum(rows * columns for _, (rows, columns) in self.shapes)

    @property
    def blocks(self) -> dict[str, slice]:
        """Name -> slice of the flat vector, in its order."""
        out: dict[str, slice] = {}
        start = 0
        for name, (rows, columns) in self.shapes:
            out[name] = slice(start, start + rows * columns)
            start += rows * columns
        return out

    def split(self, theta: Array) -> dict[str, Array]:
        """Name -> matrix. `theta` may hold anything of length d, numbers or indices."""
        blocks = self.blocks
        return {name: theta[blocks[name]].reshape(shape) for name, shape in self.shapes}

    def join(self, matrices: Mapping[str, Any]) -> Array:
        """The flat vector of the named matrices, the inverse of `split`; all Fractions if one of them holds
        Fractions.

        A matrix of one row may come as a vector. Raises ProblemError on missing, unknown and misshapen
        matrices.
        """
        names = [name for name, _ in self.shapes]
        if set(matrices) != set(names):
            raise ProblemError(f"matrices: expected {', '.join(names)}, got {', '.join(map(str, matrices)) or 'none'}")
        parts = []
        for name, shape in self.shapes:
            part = real_array(name, matrices[name], dimensions(matrices[name]))
            is_only_row = shape[0] == 1 and part.shape == shape[1:]
            if part.shape != shape and not is_only_row:
                raise ProblemError(f"{name}: expected shape {shape}, got {part.shape}")
            parts.append(part.reshape(-1))
        return np.concatenate(unify(*parts))

    def indices(self) -> dict[str, Array]:
        """Name -> matrix of the positions of its entries in the flat vector."""
        return self.split(np.arange(self.size))

    def mask(self, free: Any) -> Array:
        """`free` as a boolean mask (d,): None (everything), block names, a mask, or distinct indices.

        Raises ProblemError naming what was expected.
        """
        names = [free] if isinstance(free, str) else free
        mask = np.zeros(self.size, dtype=bool)
        if free is None:
            return ~mask
        if isinstance(names, Sequence | set | frozenset) and any(isinstance(name, str) for name in names):
            return named_mask(self.blocks, names)
        array = np.asarray(list(free) if isinstance(free, set | frozenset) else free)
        if array.size == 0:
            return mask
        if array.dtype == bool and array.shape == mask.shape:
            return array.copy()
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise ProblemError(
                f"free: expected block names, a boolean mask of {self.size} entries or indices, "
                f"got an array of {array.dtype} with shape {array.shape}"
            )
        if array.min() < 0 or array.max() >= self.size or np.unique(array).size != array.size:
            raise ProblemError(f"free: expected distinct indices from 0 to {self.size - 1}, got {array.tolist()!r:.80}")
        mask[array] = True
        return mask

    def groups(self, by: str) -> Array:
        """(d,) int64 labels of groups: by "layer" (a block each) or "neuron" (a row of a block each)."""
        sizes = {"layer": [1] * len(self.shapes), "neuron": [rows for _, (rows, _) in self.shapes]}
        if by not in sizes:
            raise ProblemError(f"groups: expected one of {', '.join(sizes)} for this model, got {by!r}")
        lengths = [
            (rows * columns // parts)
            for parts, (_, (rows, columns)) in zip(sizes[by], self.shapes, strict=True)
            for _ in range(parts)
        ]
        return np.repeat(np.arange(len(lengths)), lengths)


def named_mask(blocks: Mapping[str, slice], names: Any, aliases: Mapping[str, str] | None = None) -> Array:
    """(d,) mask of the blocks that `names` name: exactly, as the part of a name before a dot ("fc" for "fc.weight"), or
    by a pattern with *, ? or [ ("fc.*").

    aliases: further names of blocks (tied parameters). Raises ProblemError on a name that names nothing.
    """
    known = {name: blocks[name] for name in blocks} | {
        alias: blocks[name] for alias, name in (aliases or {}).items() if name in blocks
    }
    mask = np.zeros(max((part.stop for part in blocks.values()), default=0), dtype=bool)
    for name in [names] if isinstance(names, str) else list(names):
        found = [
            part
            for block, part in known.items()
            if isinstance(name, str) and (block == name or block.startswith(f"{name}.") or fnmatchcase(block, name))
        ]
        if not found:
            raise ProblemError(f"free: unknown block {name!r:.80}; the model has {_some(list(blocks))}")
        for part in found:
            mask[part] = True
    return mask


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:10])}, ... ({len(names)} in all)"


# ---------------------------------------------------------------- arguments of the models


def positive_int(name: str, value: Any) -> int:
    """`value` as an int >= 1. Raises ProblemError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 1:
        raise ProblemError(f"{name}: expected an integer >= 1, got {value!r}")
    return int(value)


def parameters(theta: Any, size: int, name: str = "theta") -> Array:
    """`theta` as a flat vector of `size` finite numbers, float64 or Fractions. Raises ProblemError."""
    array = real_array(name, theta, 1)
    if array.size != size:
        raise ProblemError(f"{name}: expected {size} parameters, got {array.size}")
    return array


def inputs(x: Any, n_inputs: int, name: str = "x") -> Array:
    """`x` as a matrix (n, n_inputs) of finite numbers; a vector is refused, as it could be a row or a column."""
    if dimensions(x) == 1:
        hint = "write x[:, None] for n samples" if n_inputs == 1 else "write x[None, :] for one sample"
        raise ProblemError(f"{name}: expected shape (n, {n_inputs}), got {np.shape(x)}; {hint}")
    array = real_array(name, x, 2)
    if array.shape[1] != n_inputs:
        raise ProblemError(f"{name}: expected shape (n, {n_inputs}), got {array.shape}")
    return array


def targets(y: Any, n_samples: int, n_outputs: int, name: str = "y") -> Array:
    """`y` as a matrix (n, l) of finite numbers; (n,) is accepted when l = 1. Raises ProblemError."""
    array = real_array(name, y, 1 if dimensions(y) == 1 else 2)
    if array.shape == (n_samples,) and n_outputs == 1:
        return array[:, None]
    if array.shape != (n_samples, n_outputs):
        raise ProblemError(f"{name}: expected shape ({n_samples}, {n_outputs}), got {array.shape}")
    return array


def unify(*arrays: Array) -> tuple[Array, ...]:
    """All float64, or all Fractions if one of them holds Fractions (floats convert without rounding)."""
    if any(array.dtype == object for array in arrays):
        return tuple(array if array.dtype == object else to_rational(array) for array in arrays)
    return arrays


def zeros(shape: tuple[int, ...], like: Array) -> Array:
    """Zeros in the arithmetic of `like`."""
    return rational_zeros(shape) if like.dtype == object else np.zeros(shape)


def rank_one_rows(left: Array, right: Array) -> Array:
    """The products left[n, o, p] right[n, q] as rows: (n, l, a) and (n, b) -> (n l, a b), sample-major."""
    n, l, a = left.shape
    return (left[:, :, :, None] * right[:, None, None, :]).reshape(n * l, a * right.shape[1])
