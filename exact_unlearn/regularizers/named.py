"""Groups that are still a word: those of a model that is not known yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Form, Space
from exact_unlearn.regularizers.recipe import Recipe

GROUPINGS = ("layer", "neuron", "filter", "head")


@dataclass(frozen=True)
class NamedGroups(Recipe):
    """A group norm or count whose groups are still a word: "layer", "neuron", "filter" or "head" of a model.

    build: the regularizer's class; by: the word; weights: as for the class. `surrogate_problem` asks the model; without
    a model there are no such groups, and every use is a ProblemError.
    """

    build: Any
    by: str
    weights: Any = None

    def for_model(self, model: Any) -> Any:
        """The regularizer with the groups of `model`. ProblemError if it has none of that kind."""
        if not hasattr(model, "groups"):
            raise ProblemError(f"groups: {type(model).__name__} has no groups called {self.by!r}; pass labels")
        labels = model.groups(self.by)
        return self.build(labels) if self.weights is None else self.build(labels, self.weights)

    @property
    def resolved(self) -> bool:
        return False

    def form(self, space: Space) -> Form:
        raise ProblemError(
            f"groups: {self.by!r} are groups of a model; use surrogate_problem(model, ...), or pass integer labels"
        )


def named_groups(build: Any, groups: Any, weights: Any = None) -> NamedGroups | None:
    """NamedGroups if `groups` is one of the words for groups, else None. ProblemError on other words."""
    if not isinstance(groups, str):
        return None
    if groups not in GROUPINGS:
        raise ProblemError(f"groups: expected labels, index sequences or one of {', '.join(GROUPINGS)}, got {groups!r}")
    return NamedGroups(build, groups, weights)
