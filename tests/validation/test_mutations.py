"""A verification is worth something only if a wrong formula contradicts it: each, broken on purpose, is noticed."""

from __future__ import annotations

import pytest
from exact_unlearn._validation.mutations import MUTANTS, Mutant

from exact_unlearn import closed_form
from exact_unlearn._validation import mutations, registry


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.result.slug}: {mutant.what}")
def test_noticed(mutant: Mutant) -> None:
    assert mutations.noticed_by(mutant) is not None


def test_every_result_has_a_mutant() -> None:
    tested = {mutant.result.name for mutant in MUTANTS}
    assert tested == {result.name for result in registry.RESULTS} - {"Self-check"}


def test_the_original_returns() -> None:
    before = closed_form.project_onto_span
    mutant = next(m for m in MUTANTS if m.name == "project_onto_span")

    def fail() -> None:
        with mutations.applied(mutant):
            assert closed_form.project_onto_span is not before
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert closed_form.project_onto_span is before


def test_an_unbroken_formula_is_not_noticed() -> None:
    """The claims do not contradict whatever they are given: the identity is no mutant."""
    for result in (registry.select(["lemma-1"])[0], registry.select(["lemma-6"])[0]):
        assert mutations.noticed_by(Mutant(result, "nothing", closed_form, "project_onto_span", lambda f: f)) is None
