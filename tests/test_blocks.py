"""Independent blocks: what is split, and that nothing but the time is different."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import blocks, scalable
from exact_unlearn.certify import blockwise, ladder

LEAST, OUTPUTS, SAMPLES, INPUTS = 4, 3, 5, 9
GROUPS = np.arange(OUTPUTS * INPUTS) % OUTPUTS * 3 + np.arange(OUTPUTS * INPUTS) // (3 * OUTPUTS)
"""Three groups of three inputs for every output."""


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LEAST", LEAST)


def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on nothing is split."""
    monkeypatch.setattr(blocks, "LEAST", 10**9)


def head(regularizer: Any, drift: Any = None, seed: int = 0, **fields: Any) -> xu.UnlearningProblem:
    """A linear head: J = X (x) I, rows sample by sample, columns input by input, in a random order."""
    rng = np.random.default_rng(seed)
    J = np.kron(rng.integers(-8, 9, (SAMPLES, INPUTS)) / 4.0, np.eye(OUTPUTS))
    theta, rhs = rng.integers(-9, 10, J.shape[1]) / 2.0, rng.integers(-3, 4, len(J)) / 1.0
    return xu.UnlearningProblem(theta, J, regularizer, drift, **{"rhs": rhs, **fields})


def mixed(seed: int = 1) -> tuple[Any, Any]:
    """Three blocks in a random order of rows and columns, and which rows belong together."""
    rng = np.random.default_rng(seed)
    J = np.zeros((15, 27))
    for at in range(3):
        J[5 * at : 5 * at + 5, 9 * at : 9 * at + 9] = rng.integers(1, 9, (5, 9))
    rows = rng.permutation(15)
    return J[rows][:, rng.permutation(27)], rows // 5


DRIFT = xu.SquaredDrift(0.5) + xu.L1Drift(0.25) + xu.TrustRegion(4.0, norm=math.inf)
OBJECTIVES: dict[str, tuple[Any, Any]] = {
    "squared": (xu.SquaredL2(), None),
    "squared, weights": (xu.SquaredL2(1.0 + np.arange(27) % 4), xu.SquaredDrift(1.0)),
    "l1": (xu.L1(), None),
    "l1, weights": (xu.L1(1.0 + np.arange(27) % 5), DRIFT),
    "elastic net": (xu.ElasticNet(0.5, 2.0), DRIFT),
    "l2": (xu.L2(), None),
    "l2, weights": (xu.L2(1.0 + np.arange(27) % 3), None),
    "groups": (xu.GroupL2(GROUPS), None),
    "groups, weights": (xu.GroupL2(GROUPS, 1.0 + np.arange(9) % 2), xu.SquaredDrift(0.5)),
}


def test_blocks_are_the_connected_components() -> None:
    J, of_rows = mixed()
    found = blocks.split(xu.UnlearningProblem(np.ones(27), J, xu.L1()))
    assert len(found) == 3
    for block in found:
        assert len(set(of_rows[block.rows].tolist())) == 1
        assert (np.asarray(block.problem.jacobian) == J[np.ix_(block.rows, block.columns)]).all()
        assert not np.delete(J[block.rows], block.columns, axis=1).any()
    assert sorted(np.concatenate([block.columns for block in found]).tolist()) == list(range(27))
    assert sorted(np.concatenate([block.rows for block in found]).tolist()) == list(range(15))


def test_small_components_share_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = xu.UnlearningProblem(np.ones(40), np.eye(40), xu.L1())
    monkeypatch.setattr(blocks, "LEAST", 16)
    assert [block.rows.size for block in blocks.split(problem)] == [16, 24]


def test_what_ties_blocks_together() -> None:
    J, _ = mixed()
    theta = np.ones(27)
    assert not blocks.split(xu.UnlearningProblem(theta, np.vstack([J, np.ones(27)]), xu.L1()))
    assert not blocks.split(xu.UnlearningProblem(theta, J, xu.GroupL2(np.zeros(27, dtype=int))))
    assert not blocks.split(xu.UnlearningProblem(theta, J, xu.LInf()))
    assert not blocks.split(xu.UnlearningProblem(theta, J, xu.L1(), xu.TrustRegion(9.0)))
    assert not blocks.split(xu.UnlearningProblem(theta, J, xu.L2(), xu.SquaredDrift(1.0)))
    assert not blocks.split(xu.UnlearningProblem(theta, J, xu.L0()))
    assert not blocks.split(xu.UnlearningProblem(theta, J, xu.L1() + xu.SquaredL2()))
    bridge = np.zeros(27)
    bridge[:9] = 1.0
    at = np.flatnonzero(bridge)
    joined = np.vstack([J, bridge])  # the same row no longer ties anything where its columns may not move
    free = np.ones(27, dtype=bool)
    free[at] = False
    assert len(blocks.split(xu.UnlearningProblem(theta, joined, xu.L1(), free=free))) == 3


@pytest.mark.parametrize("name", OBJECTIVES)
def test_solvers_say_what_they_say_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = head(*OBJECTIVES[name])
    found = [xu.solve(problem)]
    if not any(term.name in ("l1_drift", "trust_region") for term in problem.drifts):
        found.append(scalable.solve(problem))
    assert "independent blocks" in found[0].message
    whole(monkeypatch)
    naive = xu.solve(problem)
    assert "independent blocks" not in naive.message
    for solution in found:
        assert solution.is_optimal(1e-8)
        assert solution.value == pytest.approx(naive.value, rel=1e-8)
    assert found[0].rank.rank == naive.rank.rank


@pytest.mark.parametrize("name", OBJECTIVES)
def test_certificates_say_what_they_say_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = head(*OBJECTIVES[name])
    certificate = xu.certify(problem)
    assert certificate.check(problem).proved
    whole(monkeypatch)
    naive = xu.certify(problem)
    assert (certificate.proof, certificate.unique) == (naive.proof, naive.unique)
    assert certificate.rows == replace(naive.rows, tolerance=certificate.rows.tolerance)
    if naive.proof == "exact":
        assert (certificate.lower, certificate.upper, certificate.square) == (naive.lower, naive.upper, naive.square)
        if naive.unique:
            assert (certificate.point == naive.point).all()
    else:
        assert certificate.gap < Fraction(1, 10**50)
        assert certificate.lower <= naive.upper
        assert naive.lower <= certificate.upper
        assert (certificate.distance is None) == (naive.distance is None)


def test_every_block_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, sizes = head(xu.SquaredL2()), []
    attempt = ladder._Attempt.run
    monkeypatch.setattr(
        ladder._Attempt, "run", lambda self: (sizes.append(self.original.n_constraints), attempt(self))[1]
    )
    xu.certify(problem)
    assert sizes == [SAMPLES] * OUTPUTS


def test_a_point_that_is_too_long_for_the_checker_gives_way_to_short_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = head(xu.L1(), rhs=np.arange(SAMPLES * OUTPUTS) % 4 + 0.0)
    exact = xu.certify(problem)
    assert exact.proof == "exact"
    assert not blockwise.refused(exact)
    monkeypatch.setattr(blockwise, "LONG", 0)  # digits of denominators, so that some are long
    assert not blockwise.refused(exact)  # the checker bears them
    with monkeypatch.context() as impatient:
        impatient.setattr(xu.Certificate, "check", lambda _: SimpleNamespace(proved=False))
        assert blockwise.refused(exact)
    monkeypatch.setattr(ladder, "refused", lambda certificate: certificate.proof == "exact")
    short = xu.certify(problem)
    assert short.proof == "enclosure"
    assert short.lower <= exact.upper <= short.upper
    assert short.check(problem).proved
    assert xu.certify(problem, proof="exact").proof == "exact"


def test_rows_that_read_at_least_and_fractions() -> None:
    least = np.arange(SAMPLES * OUTPUTS) % 2 == 0
    problem = head(xu.SquaredL2(), at_least=least)
    assert len(blocks.split(problem)) == OUTPUTS
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.proof == "exact"
    assert certificate.check(problem).proved
    exact = head(xu.L1())
    exact = replace(exact, theta_star=np.array([Fraction(x) / 3 for x in exact.theta_star.tolist()], dtype=object))
    certificate = xu.certify(exact)
    assert certificate.proof == "exact"
    assert certificate.check(exact).proved


def test_frozen_coordinates_zero_rows_and_a_block_that_costs_nothing() -> None:
    J, of_rows = mixed()
    J = np.vstack([J, np.zeros(27)])
    theta = np.where((J[:-1][of_rows == 0] != 0).any(axis=0), 0.0, 2.0)  # the first block is at rest at 0
    for regularizer in (xu.L1(), xu.SquaredL2(), xu.L2()):
        problem = xu.UnlearningProblem(theta, J, regularizer, free=np.arange(27) % 5 > 0)
        assert len(blocks.split(problem)) == 3
        certificate = xu.certify(problem, xu.solve(problem))
        assert certificate.proof == "exact"
        assert certificate.check(problem).proved


def test_labels_that_contradict_each_other_are_judged_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = head(xu.SquaredL2())
    J = np.asarray(problem.jacobian)
    clash = xu.UnlearningProblem(
        problem.theta_star, np.vstack([J, J[:1]]), xu.SquaredL2(), rhs=np.append(problem.rhs, 9.0)
    )
    found, certificate = xu.solve(clash), xu.certify(clash)
    assert found.status is xu.Status.INFEASIBLE
    assert certificate.proof == "infeasible"
    assert certificate.check(clash).proved
    doubt = replace(clash, rhs=np.append(problem.rhs, problem.rhs[0] + 1e-12))
    with pytest.raises(xu.errors.RankAmbiguityError) as question:
        xu.certify(doubt)
    kept = xu.certify(doubt, tau=1e-9)
    whole(monkeypatch)
    with pytest.raises(xu.errors.RankAmbiguityError, match="row 15") as naive:
        xu.certify(doubt)
    assert str(question.value) == str(naive.value)
    assert kept.lower == xu.certify(doubt, tau=1e-9).lower


def test_a_time_limit_leaves_bounds() -> None:
    problem = head(xu.GroupL2(GROUPS), rhs=np.zeros(SAMPLES * OUTPUTS))
    certificate = xu.certify(problem, time_limit=1e-9)
    assert certificate.proof in ("none", "repaired")
    assert xu.solve(problem, time_limit=1e-9).status is xu.Status.TIME_LIMIT


def test_linear_heads_of_modules_are_split() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(INPUTS, OUTPUTS, dtype=torch.float64)
    problem = xu.surrogate_problem(module, None, torch.randn(SAMPLES, INPUTS, dtype=torch.float64), xu.SquaredL2())
    assert [block.columns.size for block in blocks.split(problem)] == [INPUTS + 1] * OUTPUTS
    assert xu.certify(problem).proof == "exact"
