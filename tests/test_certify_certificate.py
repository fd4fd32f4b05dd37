"""What a certificate says and saves, in whatever order things are imported."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.certify import Certificate, checker
from exact_unlearn.errors import FileFormatError, ProblemError
from tests.cases import drifts, gaussian_problem, regularizers


def test_claims_are_sentences() -> None:
    exact = xu.certify(gaussian_problem(xu.L1()))
    assert exact.claim == f"The optimum is known as a fraction, ≈ {float(exact.upper):.15g}, at a unique minimiser."
    enclosed = xu.certify(gaussian_problem(xu.GroupL2(np.arange(12) // 3)))
    assert enclosed.claim.startswith("Proved to every digit: the optimum lies in [")
    assert "every minimiser within" in enclosed.claim


@pytest.mark.parametrize(
    "regularizer", [xu.L1(), xu.L2(), xu.GroupL2(np.arange(12) // 3), xu.L0()], ids=lambda r: r.name
)
def test_certificates_survive_their_files(tmp_path: Path, regularizer: Any) -> None:
    problem = gaussian_problem(regularizer)
    certificate = xu.certify(problem)
    certificate.save(tmp_path / "c.json")
    loaded = Certificate.load(tmp_path / "c.json", problem)
    for name in ("proof", "lower", "upper", "gap", "square", "distance", "unique"):
        assert getattr(loaded, name) == getattr(certificate, name), name
    assert loaded.tree == certificate.tree
    assert loaded.check().proved
    problem.save(tmp_path / "p.npz")
    assert checker.main([str(tmp_path / "p.npz"), str(tmp_path / "c.json")]) == 0


@pytest.mark.parametrize("name", ["l2", "l1", "group l2", "nuclear norm", "squared l2"])
@pytest.mark.parametrize("drift", ["none", "ball", "all"])
def test_what_is_proved_never_depends_on_the_solution(name: str, drift: str) -> None:
    """Neither a random point, nor huge multipliers, nor subgradients of nothing do any harm."""
    problem = gaussian_problem(regularizers()[name], drifts()[drift])
    alone, rng = xu.certify(problem), np.random.default_rng(0)
    d, k = problem.n_parameters, problem.n_constraints
    for theta, nu, g in (
        (rng.standard_normal(d), rng.standard_normal(k), rng.standard_normal(d)),
        (1e300 * rng.standard_normal(d), 1e300 * rng.standard_normal(k), np.full(d, np.nan)),
        (problem.theta_star, np.zeros(k), np.full(d, 1e308)),
        (np.zeros(d), np.zeros(k), None),
    ):
        certificate = xu.certify(problem, xu.Solution(problem, theta, nu, xu.Status.INACCURATE, subgradient=g))
        assert certificate.proof == alone.proof
        assert certificate.lower <= alone.upper
        assert alone.lower <= certificate.upper
        assert certificate.check().proved


def test_a_certificate_proves_nothing_about_another_problem(tmp_path: Path) -> None:
    certificate = xu.certify(gaussian_problem(xu.L1()))
    other = gaussian_problem(xu.L1(np.full(12, 1.5)))
    assert not certificate.check(other).proved
    certificate.save(tmp_path / "c.json")
    with pytest.raises(ProblemError, match="loaded alone"):
        Certificate.load(tmp_path / "c.json").check()


def test_an_embedded_problem_is_named_by_its_digest(tmp_path: Path) -> None:
    certificate = xu.certify(gaussian_problem(xu.L1()))
    certificate.save(tmp_path / "c.json", embed_problem=True)
    assert checker.main([str(tmp_path / "c.json")]) == 3
    assert certificate.digest in " ".join(checker.check(None, tmp_path / "c.json").sentences)
    alone = Certificate.load(tmp_path / "c.json")
    assert alone.digest == certificate.digest
    assert alone.check().proved


def test_the_digest_is_that_of_the_problem_not_of_its_file(tmp_path: Path) -> None:
    problem = gaussian_problem(xu.L1(), xu.SquaredDrift(0.5))
    digests = {xu.certify(problem).digest}
    for suffix in (".json", ".npz", ".safetensors"):
        problem.save(tmp_path / f"p{suffix}")
        digests.add(xu.certify(xu.UnlearningProblem.load(tmp_path / f"p{suffix}")).digest)
    assert len(digests) == 1
    assert xu.certify(gaussian_problem(xu.L1())).digest not in digests


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema": "exact-unlearn/certificate", "version": 2, "claims": {}}',
        b"\xff\xfe",
        b"{" * 5000,
        b'{"schema": "exact-unlearn/certificate", "version": 1, "claims": {"proof": "sure"}}',
        b'{"schema": "exact-unlearn/certificate", "version": 1, "claims": {"proof": "exact", "lower": "1/0"}}',
    ],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(FileFormatError):
        Certificate.load(tmp_path / "c.json")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        Certificate.load(tmp_path / "nowhere.json")


def test_nothing_proved_is_nothing_to_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exact_unlearn.certify import ladder

    monkeypatch.setattr(ladder._Attempt, "_rungs", lambda self: [])
    certificate = xu.certify(gaussian_problem(xu.L1()))
    assert certificate.proof == "none"
    assert certificate.upper is None
    with pytest.raises(ProblemError, match="nothing was proved"):
        certificate.save(tmp_path / "c.json")


def test_the_ladder_says_why_it_stepped_down() -> None:
    certificate = xu.certify(gaussian_problem(xu.L2(), xu.SquaredDrift(0.1)))
    assert certificate.proof == "enclosure"
    assert "irrational minimiser" in certificate.message
    tight = xu.certify(gaussian_problem(xu.L1(), xu.TrustRegion(0.3)))
    assert "touches the trust region" in tight.message


@pytest.mark.parametrize("wrong", [None, "problem", np.eye(3)])
def test_only_problems_are_certified(wrong: Any) -> None:
    with pytest.raises(ProblemError, match="problem: expected an UnlearningProblem"):
        xu.certify(wrong)


def test_only_solutions_may_help() -> None:
    with pytest.raises(ProblemError, match="solution: expected a Solution"):
        xu.certify(gaussian_problem(xu.L1()), np.zeros(12))


def test_theta_is_the_proved_point_in_floats() -> None:
    problem = gaussian_problem(xu.L1())
    certificate = xu.certify(problem)
    assert certificate.theta.dtype == np.float64
    assert float(problem.objective(certificate.theta)) == pytest.approx(float(certificate.upper), rel=1e-15)
    assert np.max(np.abs(problem.jacobian.matvec(certificate.theta - problem.theta_star))) < 1e-14


def test_claims_in_the_file_are_the_certificates_own() -> None:
    certificate = xu.certify(gaussian_problem(xu.SquaredL2()))
    claims = json.loads(json.dumps(dict(certificate.tree)))["claims"]
    assert claims["proof"] == "exact"
    numerator, _, denominator = claims["upper"].partition("/")
    assert Fraction(int(numerator, 16), int(denominator or "1", 16)) == certificate.upper
