"""The verdicts on solvers are decided by proofs, and a false claim is called one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exact_unlearn.cli import main
from validation.experiments import solver_lies
from validation.experiments.solver_lies import OURS, Claim


def test_solve_is_right_where_its_peers_claim_to_be(tmp_path: Path) -> None:
    claims = solver_lies.measure([1e2, 1e10], ["CLARABEL", "HIGHS"])
    assert {claim.proof for claim in claims} == {"exact", "enclosure"}
    ours = [claim for claim in claims if claim.solver == OURS]
    assert all(claim.verdict == "holds" and (claim.error or 0) <= 1e-9 for claim in ours)
    assert all(claim.verdict == "holds" for claim in claims if claim.condition == 1e2 and claim.value is not None)
    assert any(claim.verdict == "lie" for claim in claims)
    solver_lies.draw(claims, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("status", "value", "verdict"),
    [
        ("optimal", 1.0, "holds"),
        ("optimal_inaccurate", 1.0 + 1e-7, "holds"),
        ("optimal", 1.1, "lie"),
        ("infeasible", None, "lie"),
        ("unbounded", None, "lie"),
        ("optimal_inaccurate", 1.1, "admitted"),
        ("user_limit", 1.1, "admitted"),
        ("failed", None, "admitted"),
    ],
)
def test_verdicts(status: str, value: float | None, verdict: str) -> None:
    claim = solver_lies._judged("l1", 1e4, "PEER", status, value, 1.0, "exact")
    assert claim.verdict == verdict
    assert ("**" in solver_lies.table([claim])) == (verdict == "lie")


def test_the_committed_table_is_that_of_the_committed_numbers() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs" / "results" / "solver_lies"
    claims = [Claim(**tree) for tree in json.loads((folder / "solver_lies.json").read_text())]
    assert solver_lies.table(claims) == (folder / "solver_lies.md").read_text()


def test_the_verb_refuses_a_file_for_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["experiment", "solver-lies", "--output", str(tmp_path / "file")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
