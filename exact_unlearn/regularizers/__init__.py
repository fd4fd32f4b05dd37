"""Complexity measures R(theta): the rows of the table "explicit programs" (theory, section 3).

Each is a frozen value with one small face, the protocol `Regularizer`.  A regularizer knows formulas only;
which program it leads to is decided in `exact_unlearn.program`, and what is proved with its conjugate in
`exact_unlearn.certify`.

    smooth.py      SquaredL2, ElasticNet
    norms.py       L2, L1, LInf                         (weighted)
    structured.py  GroupL2, PredictorNorm, NuclearNorm
    counting.py    L0, ActiveNeurons                    (integer programs)
    partition.py   groups of coordinates
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.regularizers.counting import L0, ActiveNeurons
from exact_unlearn.regularizers.norms import L1, L2, LInf
from exact_unlearn.regularizers.partition import NamedGroups
from exact_unlearn.regularizers.smooth import ElasticNet, SquaredL2
from exact_unlearn.regularizers.structured import GroupL2, NuclearNorm, PredictorNorm
from exact_unlearn.vectors import Value, require_member

__all__ = [
    "L0",
    "L1",
    "L2",
    "ActiveNeurons",
    "ElasticNet",
    "GroupL2",
    "LInf",
    "NuclearNorm",
    "PredictorNorm",
    "Regularizer",
    "SquaredL2",
    "from_spec",
    "require_regularizer",
]


@runtime_checkable
class Regularizer(Protocol):
    """A convex (or, when `integer`, counting) function R of the flat parameters theta, shape (d,).

    Where they exist there are also `dual_norm(g)` (every class with `is_norm`) and `prox(v, step)`, that is
    argmin_x step * R(x) + 1/2 |x - v|^2 in floats, for step in [0, inf].  prox(v, inf) is the minimiser of R nearest v,
    so for a convex R here g - prox(g, inf) is g without the null directions of R, where R* would be inf.
    """

    name: ClassVar[str]
    """The name in files and on the command line."""

    @property
    def is_norm(self) -> bool:
        """A norm or seminorm: R(s theta) = |s| R(theta), and R* is the indicator of {g : dual_norm(g) <= 1}."""
        ...

    @property
    def strictly_convex(self) -> bool:
        """R is strictly convex, so the minimiser is unique whatever drift penalty is added."""
        ...

    @property
    def unique_minimiser(self) -> bool:
        """R has at most one minimiser over every convex set: unique when the drift penalty is an indicator or
        absent.

        True for every strictly convex R and for the weighted l2 norm, whose square is strictly convex.
        """
        ...

    @property
    def integer(self) -> bool:
        """R counts; its program has integer variables and `expression` raises."""
        ...

    @property
    def movable(self) -> slice | None:
        """The only coordinates that may move (a block), or None for all."""
        ...

    def validate(self, n_parameters: int) -> None:
        """ProblemError unless R fits theta of length `n_parameters`."""
        ...

    def value(self, theta: Any) -> Value:
        """R(theta): a float, or an exact Fraction for object vectors of Fractions where R is rational."""
        ...

    def expression(self, theta: Any) -> Any:
        """R as a CVXPY expression of the affine CVXPY expression `theta`, shape (d,)."""
        ...

    def conjugate(self, g: Any, tol: float = 0.0) -> Value:
        """R*(g) = sup <g, theta> - R(theta), inf outside its domain.

        tol: relative slack of membership: dual_norm(g) <= 1 + tol, and |g_i| <= tol max |g| where g must
        vanish. With tol = 0 nothing is forgiven, and vectors of
        Fractions are decided in the rationals (not by the predictor and nuclear norms: they need singular values).
        """
        ...

    def to_spec(self) -> dict[str, Any]:
        """{"name": ..., parameters}: numbers, and arrays as arrays; `from_spec` inverts it."""
        ...


def require_regularizer(regularizer: Any) -> None:
    """ProblemError, one sentence, unless it is one of the measures above, with its formulas as they are."""
    require_member("regularizer", regularizer, (*_MEMBERS, NamedGroups), "an instance such as L1()")


def from_spec(spec: Mapping[str, Any]) -> Regularizer:
    """The regularizer that `to_spec` described. ProblemError on unknown names, missing or superfluous fields."""
    fields = dict(spec)
    name = fields.pop("name", None)
    build = _BUILDERS.get(name) if isinstance(name, str) else None
    if build is None:
        raise ProblemError(f"regularizer: expected one of {', '.join(sorted(_BUILDERS))}, got {name!r}")
    try:
        regularizer: Regularizer = build(**fields)
    except TypeError:
        raise ProblemError(f"regularizer {name!r}: does not take exactly the fields {sorted(fields)}") from None
    return regularizer


_MEMBERS = (L0, L1, L2, ActiveNeurons, ElasticNet, GroupL2, LInf, NuclearNorm, PredictorNorm, SquaredL2)

_BUILDERS: dict[str, Any] = {
    "squared_l2": SquaredL2,
    "l2": L2,
    "l1": L1,
    "linf": LInf,
    "elastic_net": ElasticNet,
    "group_l2": lambda labels, weights=None: GroupL2(_as_integers(labels), weights),
    "predictor_norm": lambda V, block, shape: PredictorNorm.from_product(V, _as_slice(block), shape),
    "nuclear_norm": lambda indices, shape: NuclearNorm(_as_integers(indices), shape),
    "l0": lambda labels=None: L0(_as_integers(labels)),
    "active_neurons": lambda n_inputs, width, n_outputs: ActiveNeurons.from_shape(n_inputs, width, n_outputs),
}


def _as_integers(array: Any) -> Any:
    """Whole floats as integers, since a rational file knows one kind of number; anything else as it came."""
    floats = isinstance(array, np.ndarray) and array.dtype == np.float64
    return array.astype(np.int64) if floats and bool((array == np.rint(array)).all()) else array


def _as_slice(block: Any) -> slice:
    try:
        start, stop = (int(end) for end in block)
    except (TypeError, ValueError):
        raise ProblemError(f"block: expected [start, stop], got {block!r}") from None
    return slice(start, stop)
