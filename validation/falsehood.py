"""False statements, made from true ones: a claim that would also be confirmed if it were false is worthless.

A formula broken on purpose (mutations.py) asks whether the code under test is watched.  A *falsehood* leaves the code
alone and breaks the claim: it says another number, drops an assumption, or says the opposite, in words of its own, and
the same instances must contradict it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .finding import Claim, Measurement, Result, at_least, at_most, equal
from .runner import BATCH, Cell, measure_cell

Breaker = Callable[[Any], Any]
Break = tuple[Any, str, Breaker]
"""(owner, name, breaker): `breaker(original)` takes the place of `owner.name`, or of `owner[name]` of a dictionary."""


@contextmanager
def broken(owner: Any, name: str, breaker: Breaker) -> Iterator[None]:
    """One name replaced; whatever happens, the original returns."""
    is_dict = isinstance(owner, dict)
    original = owner[name] if is_dict else getattr(owner, name)
    put = owner.__setitem__ if is_dict else lambda key, value: setattr(owner, key, value)
    put(name, breaker(original))
    try:
        yield
    finally:
        put(name, original)


@dataclass(frozen=True)
class Falsehood:
    """A false neighbour of one claim: what it says, and what makes the claim say it."""

    result: Result
    claim: str
    says: str
    breaks: tuple[Break, ...]

    @property
    def of(self) -> Claim:
        """The true claim."""
        return next(claim for claim in self.result.claims if claim.key == self.claim)

    def contradicted(self, instances: int = 4) -> bool:
        """Whether some instance contradicts it.  That something crashes, or is not measured, contradicts nothing."""
        claim = self.of
        with ExitStack() as stack:
            for one in self.breaks:
                stack.enter_context(broken(*one))
            for case in range(len(claim.cases)):
                cell = Cell(self.result.slug, claim.key, case, 0, min(instances, claim.quick, BATCH))
                worst = measure_cell(claim, cell).worst
                if worst is not None and not worst.holds:
                    return True
        return False


def of(module: Any, **falsehoods: tuple[str, *tuple[Break, ...]]) -> tuple[Falsehood, ...]:
    """The falsehoods of a module's result, by key of its claims, written with _ for -."""
    return tuple(
        Falsehood(module.RESULT, key.replace("_", "-"), says, tuple(breaks))
        for key, (says, *breaks) in falsehoods.items()
    )


# ---------------------------------------------------------------- ways to be false


def says(module: Any, relation: str, change: Callable[[Any], Any], argument: int = 0) -> Break:
    """Every statement of this relation in the module predicts something else, in the place `argument`."""

    def breaker(original: Any) -> Any:
        def statement(*arguments: Any, **options: Any) -> Any:
            changed = [*arguments]
            changed[argument] = change(changed[argument])
            return original(*changed, **options)

        return statement

    return module, relation, breaker


def denies(module: Any, relation: str) -> Break:
    """Every statement of this relation in the module says the opposite."""
    opposites: dict[str, Callable[..., Measurement]] = {
        "differ": equal,
        "above": at_most,
        "below": at_least,
        "at_least": at_most,
        "at_most": at_least,
    }
    opposite = opposites[relation]

    def breaker(original: Any) -> Any:
        def statement(predicted: Any, measured: Any, *rest: Any, **options: Any) -> Any:
            return replace(opposite(predicted, measured), proof=original(predicted, measured, *rest, **options).proof)

        return statement

    return module, relation, breaker


def each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same for a number, an array, or a list of numbers."""
    return lambda value: [change(entry) for entry in value] if isinstance(value, list) else change(value)


doubled, halved = each(lambda value: value * 2), each(lambda value: value / 2)
one_more, one_less = each(lambda value: value + 1), each(lambda value: value - 1)


def slightly_more(value: Any) -> Any:
    """A thousandth more; of arrays and numbers in floats."""
    return [1.001 * float(entry) for entry in value] if isinstance(value, list) else value * 1.001
