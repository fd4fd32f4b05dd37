"""Complexity measures R(theta): recipes that return their form, a sum of terms of `exact_unlearn.forms`.

smooth.py      SquaredL2, ElasticNet, Huber
norms.py       L2, L1, LInf                         (weighted)
structured.py  GroupL2, PredictorNorm, NuclearNorm
mapped.py      TotalVariation, OverlappingGroups    (norms of linear maps)
counting.py    L0, ActiveNeurons                    (integer programs)
powers.py      PowerSum                             (concave on every orthant)
recipe.py      the face that is derived from a form; sums, factors, centres and maps of regularizers
named.py       groups that a model will name
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Space
from exact_unlearn.jacobian import Array
from exact_unlearn.regularizers.counting import L0, ActiveNeurons
from exact_unlearn.regularizers.mapped import OverlappingGroups, TotalVariation
from exact_unlearn.regularizers.named import NamedGroups
from exact_unlearn.regularizers.norms import L1, L2, LInf
from exact_unlearn.regularizers.powers import PowerSum
from exact_unlearn.regularizers.recipe import DERIVED, Recipe, Sum, Written, for_model, form_from_spec, own_form
from exact_unlearn.regularizers.smooth import ElasticNet, Huber, SquaredL2
from exact_unlearn.regularizers.structured import GroupL2, NuclearNorm, PredictorNorm
from exact_unlearn.vectors import require_member

__all__ = [
    "L0",
    "L1",
    "L2",
    "ActiveNeurons",
    "ElasticNet",
    "GroupL2",
    "Huber",
    "LInf",
    "NuclearNorm",
    "OverlappingGroups",
    "PowerSum",
    "PredictorNorm",
    "Recipe",
    "Regularizer",
    "SquaredL2",
    "Sum",
    "TotalVariation",
    "Written",
    "as_regularizer",
    "for_model",
    "from_spec",
    "spec_of",
]


@runtime_checkable
class Regularizer(Protocol):
    """A function R of the flat parameters theta, shape (d,), that is known by its form.

    A class with this one method works on every route: programs, proofs and files are derived from the form.  `Recipe`
    is a base class that also derives `value`, `conjugate`, sums and so on.
    """

    def form(self, space: Space) -> Form:
        """R as a sum of parts; space.size is d and space.theta_star (d,), or None where they are not known."""
        ...


def as_regularizer(regularizer: Any, theta_star: Array) -> Recipe:
    """What a problem holds: one of the measures above, or the form of a user's class.

    ProblemError, one sentence, on a class without a form, and on one that changes a formula which is derived from it.
    """
    if isinstance(regularizer, type) or not callable(getattr(regularizer, "form", None)):
        raise ProblemError(
            f"regularizer: expected an instance such as L1(), or of a class with form(space), got {regularizer!r:.80}"
        )
    kind = type(regularizer)
    member = next((base for base in kind.__mro__ if base in _MEMBERS), None)
    between = kind.__mro__[: kind.__mro__.index(member or (Recipe if issubclass(kind, Recipe) else object))]
    own = {name for base in between for name in vars(base)}
    if member is not None and "form" not in own:
        require_member("regularizer", regularizer, _MEMBERS, "an instance such as L1()")
        return regularizer  # type: ignore[no-any-return]
    changed = sorted(own & set(DERIVED)) if isinstance(regularizer, Recipe) else []
    if changed:
        raise ProblemError(
            f"regularizer: {kind.__name__} has a form and changes {', '.join(changed)}, which is derived from it; "
            "leave it out"
        )
    return own_form(regularizer, theta_star.size, theta_star)


def spec_of(regularizer: Recipe, n_parameters: int) -> dict[str, Any]:
    """{"name": ..., parameters}, of a function of so many parameters; `from_spec` inverts it."""
    if regularizer.name != "form":
        return regularizer.to_spec()
    return {"name": "form", "terms": regularizer.form(Space(n_parameters)).to_spec()}


def from_spec(spec: Mapping[str, Any]) -> Recipe:
    """The regularizer that `to_spec` described. ProblemError on unknown names, missing or superfluous fields."""
    fields = dict(spec)
    name = fields.pop("name", None)
    build = _BUILDERS.get(name) if isinstance(name, str) else None
    if build is None:
        raise ProblemError(f"regularizer: expected one of {', '.join(sorted(_BUILDERS))}, got {name!r}")
    try:
        regularizer: Recipe = build(**fields)
    except TypeError:
        raise ProblemError(f"regularizer {name!r}: does not take exactly the fields {sorted(fields)}") from None
    return regularizer


_MEMBERS = (
    L0, L1, L2, ActiveNeurons, ElasticNet, GroupL2, Huber, LInf, NamedGroups, NuclearNorm, OverlappingGroups,
    PowerSum, PredictorNorm, SquaredL2, Sum, TotalVariation, Written,
)  # fmt: skip

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
    "power_sum": PowerSum,
    "form": form_from_spec,
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
