"""Every claim of every result, on one instance per case: confirmed, by the proof it promises."""

from __future__ import annotations

import pytest
from exact_unlearn._validation.finding import Claim, Result

from exact_unlearn._validation import registry, runner

CLAIMS = [
    pytest.param(result, claim, id=f"{result.slug}-{claim.key}")
    for result in registry.RESULTS
    for claim in result.claims
    if result.name != "Self-check"  # test_mutations.py
]


@pytest.mark.parametrize(("result", "claim"), CLAIMS)
def test_confirmed(result: Result, claim: Claim) -> None:
    cells = [runner.Cell(result.slug, claim.key, case, 0, 1) for case in range(len(claim.cases))]
    found = runner.summarise(result, claim, [runner.measure_cell(claim, cell) for cell in cells])
    assert found.message == ""
    assert found.verdict == "confirmed", (
        f"predicted {found.predicted!r}, measured {found.measured!r}, off by {found.deviation}"
    )
    if found.proof == "exact":
        assert found.deviation == 0.0
        assert found.tolerance == 0.0
