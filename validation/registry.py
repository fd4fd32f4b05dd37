"""All results, in the order of docs/theory.md, and how a person names them."""

from __future__ import annotations

from collections.abc import Iterable

from exact_unlearn.errors import ProblemError

from . import (
    appendix_c,
    appendix_e,
    beyond,
    corollary_1,
    counterexample_d41,
    lemma_1,
    lemma_2,
    lemma_3,
    lemma_4,
    lemma_5,
    lemma_6,
    mutations,
    proposition_1,
    proposition_2,
    section_4_3,
    section_5_1,
    theorem_1,
    theorem_2,
    theorem_3,
    theorem_4,
    theorem_5,
)
from .finding import Result, slug

RESULTS: tuple[Result, ...] = tuple(
    module.RESULT
    for module in (
        theorem_1,
        theorem_2,
        lemma_1,
        theorem_3,
        counterexample_d41,
        theorem_4,
        lemma_2,
        theorem_5,
        proposition_1,
        corollary_1,
        section_4_3,
        lemma_3,
        lemma_4,
        lemma_5,
        lemma_6,
        proposition_2,
        appendix_c,
        appendix_e,
        section_5_1,
        beyond,
        mutations,
    )
)


def select(names: Iterable[str]) -> tuple[Result, ...]:
    """The results of these names ("Theorem 3", "theorem-3", "D.4.1", "d41", "beyond"), in their own order; all for
    no names.

    Raises ProblemError, with all names, on an unknown one.
    """
    names = list(names)
    chosen = {_find(name).name for name in names}
    return tuple(result for result in RESULTS if not names or result.name in chosen)


def _find(name: str) -> Result:
    letters = _letters(name)
    for result in RESULTS:
        if letters == _letters(result.name) or (letters and letters == slug(result.name).split("-")[0] == "beyond"):
            return result
    known = ", ".join(result.slug for result in RESULTS)
    raise ProblemError(f"name: expected one of {known}, got {name!r}")


def _letters(name: str) -> str:
    return slug(name).replace("-", "")
