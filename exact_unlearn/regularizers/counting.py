"""Counts: regularizers that lead to mixed-integer programs.

Their conjugate is the indicator of {0}: a count is bounded along no direction, so Fenchel duality gives the
lower bound 0 only. Lower bounds worth having come from ranks (see `exact_unlearn.certify`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Count, Form, Space
from exact_unlearn.forms.partition import Partition, as_partition
from exact_unlearn.jacobian import Array
from exact_unlearn.regularizers.named import named_groups
from exact_unlearn.regularizers.recipe import Recipe
from exact_unlearn.vectors import as_float, as_real, as_step, require_length


@dataclass(frozen=True, eq=False, init=False)
class L0(Recipe):
    """R(theta) = number of non-zero coordinates, or of groups with a non-zero coordinate; a mixed-integer
    program.

    groups: None, or labels, index sequences or a word as for GroupL2. Raises ProblemError otherwise.

    >>> import exact_unlearn as xu
    >>> int(xu.L0().value([3.0, 0.0, -4.0]))
    2
    >>> int(xu.L0(groups=[0, 0, 1]).value([3.0, 0.0, 0.0]))
    1
    """

    partition: Partition | None

    name: ClassVar[str] = "l0"

    def __new__(cls, groups: Any = None) -> Any:
        return named_groups(cls, groups) or super().__new__(cls)

    def __init__(self, groups: Any = None) -> None:
        object.__setattr__(self, "partition", None if groups is None else as_partition(groups))

    @property
    def labels(self) -> Array | None:
        """(d,) int64, the group of each coordinate; None when each coordinate is its own group."""
        return None if self.partition is None else self.partition.labels

    def validate(self, n_parameters: int) -> None:
        if self.partition is not None:
            require_length("groups of l0", self.partition.n_parameters, n_parameters)

    def charge(self, theta_star: Any) -> Array:
        """(d,) int64: the group that pays when a coordinate is not zero."""
        return np.arange(np.size(theta_star)) if self.labels is None else self.labels

    def form(self, space: Space) -> Form:
        size = space.size if self.partition is None else self.partition.n_parameters
        return Form((Count(np.arange(size or 0) if self.labels is None else self.labels),))

    def expression(self, theta: Any) -> NoReturn:
        raise ProblemError("l0 counts coordinates: it is an integer program and has no convex expression")

    def prox(self, v: Any, step: float) -> Array:
        """Hard threshold: a group with |v_g|_2 <= sqrt(2 step) becomes 0 (on equality both 0 and v_g are
        minimisers).
        """
        x, t = as_float(v), as_step(step)
        bound = np.sqrt(2.0) * np.sqrt(t)
        if self.partition is None:
            return np.where(np.abs(x) > bound, x, 0.0)
        return np.where((self.partition.norms(x) > bound)[self.partition.labels], x, 0.0)

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "labels": self.labels}


@dataclass(frozen=True, eq=False, init=False)
class ActiveNeurons(Recipe):
    """R(theta) = #{i : column i of C != 0 and row a_i of A != 0} of a two-layer perceptron (Theorem 5, Lemma
    2).

    theta = [C (l, h); A (h, m)], row-major.  Only C may move (`movable`): then R + the freezing of A is the
    R~ of the paper, and a neuron with a_i = 0 is a bias that costs nothing.  No prox: with A frozen it is
    that of L0 on the columns of C with a_i != 0.  A mixed-integer program.

    perceptron: a Perceptron (n_inputs, width, n_outputs). Raises ProblemError on other models.

    >>> import exact_unlearn as xu
    >>> perceptron = xu.Perceptron(n_inputs=1, width=2)
    >>> int(xu.ActiveNeurons(perceptron).value([1.0, 0.0, 5.0, 7.0]))  # c = (1, 0)
    1
    """

    n_inputs: int
    width: int
    n_outputs: int

    name: ClassVar[str] = "active_neurons"

    def __init__(self, perceptron: Any) -> None:
        sizes = [getattr(perceptron, key, None) for key in ("n_inputs", "width", "n_outputs")]
        if None in sizes:
            raise ProblemError(f"perceptron: expected a Perceptron, got {perceptron!r}")
        self._set(*sizes)

    @classmethod
    def from_shape(cls, n_inputs: int, width: int, n_outputs: int) -> ActiveNeurons:
        """The same from the sizes of the perceptron."""
        self = cls.__new__(cls)
        self._set(n_inputs, width, n_outputs)
        return self

    def _set(self, *sizes: Any) -> None:
        for key, size in zip(("n_inputs", "width", "n_outputs"), sizes, strict=True):
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                raise ProblemError(f"{key} of active_neurons: expected an integer >= 1, got {size!r}")
            object.__setattr__(self, key, int(size))

    @property
    def movable(self) -> slice | None:
        return slice(0, self.n_outputs * self.width)

    def validate(self, n_parameters: int) -> None:
        require_length("theta of active_neurons", n_parameters, self.width * (self.n_outputs + self.n_inputs))

    def active(self, theta: Any) -> Array:
        """(h,) mask of the neurons that count."""
        x = as_real(theta)
        self.validate(x.size)
        cut = self.n_outputs * self.width
        outgoing = (x[:cut] != 0).reshape(self.n_outputs, self.width).any(axis=0)
        incoming = (x[cut:] != 0).reshape(self.width, self.n_inputs).any(axis=1)
        active: Array = outgoing & incoming
        return active

    def charge(self, theta_star: Any) -> Array:
        """(d,) int64: the neuron that pays when a coordinate is not zero, -1 for A and for the columns of C that
        a row a_i = 0 makes free.
        """
        x = as_real(theta_star)
        cut = self.n_outputs * self.width
        incoming = (x[cut:] != 0).reshape(self.width, self.n_inputs).any(axis=1)
        paying = np.where(incoming, np.arange(self.width), -1)
        return np.concatenate([np.tile(paying, self.n_outputs), np.full(x.size - cut, -1)])

    def form(self, space: Space) -> Form:
        """Where theta* is known: A stays, so a neuron with a_i = 0 costs nothing."""
        if space.theta_star is None:
            size = self.width * (self.n_outputs + self.n_inputs)
            return Form((Count(np.full(size, -1)),))
        self.validate(space.theta_star.size)
        return Form((Count(self.charge(space.theta_star)),))

    def expression(self, theta: Any) -> NoReturn:
        raise ProblemError("active_neurons counts neurons: it is an integer program and has no convex expression")

    def to_spec(self) -> dict[str, Any]:
        return {"name": self.name, "n_inputs": self.n_inputs, "width": self.width, "n_outputs": self.n_outputs}
