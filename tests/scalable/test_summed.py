"""Forms without a name on the torch side, and drifts that the named routes do not know: held to certified optima."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import exact_unlearn as xu
from exact_unlearn import scalable
from exact_unlearn.errors import ProblemError
from exact_unlearn.regularizers import Huber, OverlappingGroups, TotalVariation
from exact_unlearn.scalable import interior
from exact_unlearn.scalable.cone_groups import Groups, Segments
from exact_unlearn.scalable.cone_sum import Box, Kinks, Mixed, Norm, Squares

D = 12
LABELS = np.arange(D) // 3
CENTRE = np.linspace(-1, 1, D)

SUMS: dict[str, tuple[Any, Any]] = {
    "l1 + groups": (xu.L1() + xu.GroupL2(LABELS), None),
    "huber": (Huber(0.3), None),
    "huber + l1 about a centre": (Huber(0.3) + 2 * xu.L1().centred_at(CENTRE), None),
    "l1 + linf": (xu.L1() + xu.LInf(), None),
    "l2 + weighted l1": (xu.L2() + 0.3 * xu.L1(np.arange(D) % 3), xu.SquaredDrift(0.1)),
    "total variation": (TotalVariation((3, 4)), None),
    "total variation + l1": (TotalVariation((3, 4)) + xu.L1(), None),
    "overlapping groups": (OverlappingGroups([range(6), range(4, 9), range(7, 12)]), None),
    "groups of a map": (xu.GroupL2([0, 0, 1, 1]).of(np.vander(CENTRE[:4], D)) + xu.SquaredL2(), None),
    "linf of a map": (xu.LInf().of(np.vander(CENTRE[:4], D)) + xu.L1(), None),
    "two partitions": (xu.GroupL2(LABELS) + xu.GroupL2(np.arange(D) % 3), None),
    "l1, l1 drift": (xu.L1(), xu.L1Drift(0.5)),
    "squares, box": (xu.SquaredL2(), xu.TrustRegion(1.5, math.inf)),
    "groups, box and l1 drift": (xu.GroupL2(LABELS), xu.TrustRegion(2.5, math.inf) + xu.L1Drift(0.2)),
    "linf, l1 drift and squares": (xu.LInf(), xu.L1Drift(0.01) + xu.SquaredDrift(0.02)),
    "l1 + groups, ball": (xu.L1() + xu.GroupL2(LABELS), xu.TrustRegion(2.5)),
}


def problem_of(name: str, frozen: bool = False, seed: int = 3) -> xu.UnlearningProblem:
    """Four rows and moved labels that a small drift meets."""
    rng = np.random.default_rng(seed)
    J = rng.integers(-3, 4, size=(4, D)).astype(float)
    free = np.ones(D, dtype=bool)
    if frozen:
        free[[1, 4, 5]] = False
    R, drift = SUMS[name]
    moved = J @ np.where(free, rng.integers(-2, 3, size=D) / 8, 0.0)
    return xu.UnlearningProblem(rng.integers(-8, 9, size=D) / 4, J, R, drift, free, moved)


@pytest.mark.parametrize("frozen", [False, True], ids=["all free", "some frozen"])
@pytest.mark.parametrize("name", SUMS)
def test_the_answer_is_the_certified_one(name: str, frozen: bool) -> None:
    problem = problem_of(name, frozen)
    found = scalable.solve(problem)
    assert (found.status, found.solver) == (xu.Status.OPTIMAL, "scalable (sums)"), found.message
    assert found.is_optimal(1e-8)
    certificate = xu.certify(problem)
    assert certificate.lower is not None
    assert certificate.upper is not None
    assert certificate.check(problem).proved
    size = float(certificate.upper)
    assert float(certificate.lower) - 2e-8 * size <= found.value <= size * (1 + 2e-8)
    proved = xu.certify(problem, found)  # its multipliers lead to a proof as narrow as any
    assert proved.gap is not None
    assert proved.gap <= 1e-9


def test_dependent_rows_and_units_change_nothing() -> None:
    problem = problem_of("l1 + groups")
    J, b = np.asarray(problem.jacobian.matrix), np.asarray(problem.rhs)
    twice = xu.UnlearningProblem(
        problem.theta_star * 2.0**40, np.vstack([J, 3 * J[:1]]), problem.regularizer, None, None,
        np.append(b, 3 * b[0]) * 2.0**40,
    )  # fmt: skip
    plain, again = scalable.solve(problem), scalable.solve(twice)
    assert again.status is xu.Status.OPTIMAL
    assert again.value == pytest.approx(plain.value * 2.0**40, rel=1e-8)


def test_rows_that_read_at_least() -> None:
    rng = np.random.default_rng(5)
    J = rng.normal(size=(5, D))
    R = Huber(0.5) + xu.L1()
    problem = xu.UnlearningProblem(rng.normal(size=D), J, R, None, None, None, [True, False, True, False, True])
    found = scalable.solve(problem)
    assert found.status is xu.Status.OPTIMAL
    certificate = xu.certify(problem)
    assert certificate.upper is not None
    assert found.value == pytest.approx(float(certificate.upper), rel=1e-8)


def test_rows_that_contradict_are_refused_with_a_farkas_vector() -> None:
    problem = problem_of("huber")
    J = np.asarray(problem.jacobian.matrix)
    wrong = xu.UnlearningProblem(
        problem.theta_star, np.vstack([J, J[:1]]), Huber(0.3), None, None, np.append(problem.rhs, problem.rhs[0] + 1)
    )
    found = scalable.solve(wrong)
    assert found.status is xu.Status.INFEASIBLE
    assert found.nu @ wrong.rhs > 0
    assert np.abs(wrong.jacobian.rmatvec(found.nu)).max() < 1e-10


@pytest.mark.parametrize("name", ["l1 + groups", "huber", "total variation + l1"])
def test_where_nothing_is_asked_the_answer_is_0(name: str) -> None:
    R, _ = SUMS[name]
    found = scalable.solve(xu.UnlearningProblem(np.ones(D), np.zeros((0, D)), R))
    assert (found.status, found.value) == (xu.Status.OPTIMAL, 0.0)
    assert not found.theta.any()


def test_a_norm_that_something_frozen_keeps_awake() -> None:
    free = np.arange(D) != 1
    R = xu.L1() + xu.GroupL2(LABELS)
    problem = xu.UnlearningProblem(np.ones(D), np.zeros((0, D)), R, None, free)
    found = scalable.solve(problem)
    assert found.is_optimal(1e-12)
    assert found.theta.tolist() == np.where(free, 0.0, 1.0).tolist()


@pytest.mark.parametrize(
    ("R", "options", "sentence"),
    [
        (xu.NuclearNorm(np.arange(D), (3, 4)) + xu.L1(), {}, "takes every convex form but nuclear norms, got"),
        (Huber(0.3), {"route": "products"}, "sums of terms need the entries of J"),
        (xu.L0(), {}, "scalable.solve takes .*, got l0; use"),
    ],
)
def test_what_is_not_taken_is_refused_in_one_sentence(R: Any, options: dict[str, Any], sentence: str) -> None:
    problem = xu.UnlearningProblem(np.ones(D), np.ones((1, D)), R)
    with pytest.raises(ProblemError, match=sentence):
        scalable.solve(problem, **options)


def test_maps_with_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exact_unlearn.scalable.summed.ENTRIES", 100)
    with pytest.raises(ProblemError, match="needs 17 rows of its own, too many"):
        scalable.solve(problem_of("total variation"))


def test_a_clock_that_has_run_out_is_said() -> None:
    found = scalable.solve(problem_of("l1 + groups"), time_limit=1e-9)
    assert found.status is xu.Status.TIME_LIMIT


def test_polished_answers_are_certified_ones() -> None:
    found = scalable.solve(problem_of("huber + l1 about a centre"), polish="exact")
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= found.value <= found.upper * (1 + 1e-15)


def test_files_keep_the_shares(tmp_path: Any) -> None:
    found = scalable.solve(problem_of("l1 + groups"))
    found.save(tmp_path / "s.npz")
    again = xu.Solution.load(tmp_path / "s.npz")
    assert again.relative_gap() == found.relative_gap()


# ---------------------------------------------------------------- Newton's equations, piece by piece


def _mixed(rng: np.random.Generator, with_norm: bool) -> Mixed:
    n, m = 6, 3

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=shape))

    x = draw(n)
    pieces = [
        Kinks(draw(n).abs(), draw(n), x, 0.7),
        Kinks(draw(n).abs() + 0.1, draw(n), x, 0.5, 0.4),
        Squares(draw(n).abs(), draw(n), x),
        Box(2.0, x, 0.3),
    ]
    norm = None
    if with_norm:
        index = torch.tensor([0, 2, 3, 5])
        root, moved = draw(4).abs() + 0.5, 0.0 * draw(4)
        segments = Segments.of(torch.tensor([0, 0, 1, 1]), 2)
        groups = Groups(
            torch.zeros(4, 0, dtype=torch.float64), segments, draw(2).abs() + 1, torch.tensor([0.0, 0.6]).double(), 0.0,
            moved, root * x[index], 0.2 * draw(4), 0.4,
        )  # fmt: skip
        norm = Norm(groups, index, root, torch.arange(2))
    return Mixed(draw(n, m), x, pieces, norm)


@pytest.mark.parametrize("with_norm", [False, True])
def test_a_step_solves_the_linearised_equations(with_norm: bool) -> None:
    """A dx is what was asked for, and the multipliers follow: after a full step stationarity holds to rounding."""
    rng = np.random.default_rng(11)
    model = _mixed(rng, with_norm)
    y = torch.from_numpy(rng.normal(size=3))
    normal = model.prepare(model.columns @ y)
    asked = torch.from_numpy(rng.normal(size=3))
    dy = torch.linalg.solve(normal, asked - model.right_side(0.1, None))
    step = model.direction(model.columns @ dy)
    torch.testing.assert_close(model.columns.T @ step.x, asked)
    kept = model.kept()
    short = 1e-3  # multipliers are linear in the step, so any length tells
    before = model.columns @ y - model.multipliers()
    model.move(step, short, short)
    after = model.columns @ (y + short * dy) - model.multipliers()
    torch.testing.assert_close(after, (1 - short) * before)
    model.restore(kept)
    torch.testing.assert_close(model.columns @ y - model.multipliers(), before)


def test_no_step_leaves_the_cones() -> None:
    rng = np.random.default_rng(12)
    for with_norm in (False, True):
        model = _mixed(rng, with_norm)
        model.prepare(model.columns @ torch.zeros(3, dtype=torch.float64))
        model.right_side(0.0, None)
        step = model.direction(torch.from_numpy(rng.normal(size=6)) * 10)
        length = 0.999 * float(model.reach(step).min())
        assert 0 < length < 1
        model.move(step, length, length)
        kinks: list[Any] = [piece for piece in model.pieces if not isinstance(piece, Squares)]
        assert min(float(t.min()) for k in kinks for t in (k.u, k.v, k.zu, k.zv)) > 0


def test_an_own_class_with_a_form() -> None:
    class Both:
        """|x|_1 + Huber, written by a user."""

        def form(self, space: Any) -> Any:
            return (xu.L1() + Huber(0.2)).form(space)

    problem = xu.UnlearningProblem(np.linspace(-1, 2, D), np.vander(CENTRE[:3], D), Both())
    found, sure = scalable.solve(problem), xu.solve(problem)
    assert found.status is xu.Status.OPTIMAL
    assert found.value == pytest.approx(sure.value, rel=1e-8)


def test_the_interior_point_keeps_the_best_iterate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends on a worse point returns the better one before it, blocks and all."""
    reach: Callable[..., tuple[float, float]] = interior._reach
    calls = []

    def stumbling(*arguments: Any) -> tuple[float, float]:
        calls.append(1)
        return (1.0, 1.0) if len(calls) == 12 else reach(*arguments)

    monkeypatch.setattr(interior, "_reach", stumbling)
    found = scalable.solve(problem_of("l1 + groups"))
    assert np.isfinite(found.theta).all()
    assert found.primal_residual() < 1e-12
