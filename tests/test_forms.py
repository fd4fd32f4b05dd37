"""Forms: values, conjugates and programs of sums, centres, Huber and maps, against code that shares nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import exact_unlearn as xu
from exact_unlearn.errors import ProblemError
from exact_unlearn.forms import Count, Form, Kink, Norms, Part, Rows, Space, Square, Term
from exact_unlearn.forms import Huber as HuberTerm
from exact_unlearn.jacobian import to_rational
from exact_unlearn.regularizers import Huber, OverlappingGroups, Recipe, TotalVariation, from_spec, spec_of
from tests.cases import TOLERANCES
from tests.form_cases import CASES, CENTRE, DRIFTS, THETA, D, J, problem, value_by_hand

NAMES = pytest.mark.parametrize("name", CASES)


@NAMES
@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])
def test_solve_finds_the_optimum_of_a_program_written_by_hand(name: str, drift: str, frozen: bool) -> None:
    found = xu.solve(problem(name, drift, frozen)).require_optimal()
    expected = value_by_hand(name, drift, frozen, "CLARABEL")
    assert found.value == pytest.approx(expected, rel=TOLERANCES["another formulation"])


@NAMES
def test_a_second_back_end_agrees(name: str) -> None:
    ours = xu.solve(problem(name, "l1 + squared"), solver="SCS" if CASES[name].proof == "enclosure" else "CLARABEL")
    assert ours.value == pytest.approx(value_by_hand(name, "l1 + squared", False, "SCS"), rel=1e-6)


@NAMES
def test_the_expression_has_the_value_of_the_value(name: str) -> None:
    R, theta = problem(name).regularizer, cp.Variable(D)
    expression, by_hand = R.expression(theta), CASES[name].by_hand(theta)
    for seed in range(3):
        theta.value = np.random.default_rng(seed).standard_normal(D)
        for other in (expression, by_hand):
            assert float(R.value(theta.value)) == pytest.approx(float(other.value), rel=1e-13)


@NAMES
def test_values_of_fractions_are_those_of_floats(name: str) -> None:
    R, x = problem(name).regularizer, np.round(8 * THETA) / 8
    exact = R.value(to_rational(x))
    assert float(exact) == pytest.approx(float(R.value(x)), rel=1e-13)
    assert isinstance(exact, Fraction) == all(part.term.rational for part in R.form(Space(D)).parts)


@NAMES
@pytest.mark.parametrize("suffix", [".npz", ".json", ".safetensors"])
def test_files_hold_the_form(name: str, suffix: str, tmp_path: Path) -> None:
    stated = problem(name, "box", True)
    stated.save(tmp_path / f"p{suffix}")
    again = xu.UnlearningProblem.load(tmp_path / f"p{suffix}")
    assert again.version == stated.version == 2
    assert again.regularizer.value(CENTRE / 3) == stated.regularizer.value(CENTRE / 3)
    solved = xu.solve(stated)
    solved.save(tmp_path / f"s{suffix}")
    loaded = xu.Solution.load(tmp_path / f"s{suffix}")
    assert loaded.is_optimal()
    assert (loaded.dual_value(), loaded.dual_residual()) == (solved.dual_value(), solved.dual_residual())


@NAMES
def test_the_dual_value_is_a_lower_bound_and_notices_wrong_shares(name: str) -> None:
    found = xu.solve(problem(name, "l1 + squared"))
    if found.shares is None:
        return
    from dataclasses import replace

    bad = replace(found, shares=tuple(share * 1.5 for share in found.shares))
    assert bad.dual_residual() > 1e-3


def test_sums_are_flat_and_keep_their_factors_exactly() -> None:
    R = 3 * (xu.L1() + 0.5 * (xu.L2() + xu.LInf()))
    assert [part.factor for part in R.form(Space(D)).parts] == [3, 1.5, 1.5]
    third = Fraction(1, 3) * xu.L1()
    assert third.form(Space(D)).parts[0].factor == Fraction(1, 3)
    assert sum([xu.L1(), xu.L2()]).value(THETA) == xu.L1().value(THETA) + xu.L2().value(THETA)


def test_a_centre_of_a_centre_and_a_map_of_a_map() -> None:
    twice = xu.L1().centred_at(CENTRE).centred_at(THETA)
    assert float(twice.value(CENTRE + 2 * THETA)) == pytest.approx(float(np.abs(THETA).sum()))
    M, N = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    x = np.arange(4.0)
    assert xu.L2().of(M).of(N).value(x) == pytest.approx(float(np.linalg.norm(M @ N @ x)))
    c = np.ones(3)
    assert xu.L1().of(M).centred_at(c).value(c + 1.0) == np.abs(M.sum(axis=1)).sum()
    assert xu.L1().centred_at(c[:2]).of(M).value(c) == np.abs(M.sum(axis=1) - 1).sum()


def test_total_variation_and_overlapping_groups_by_hand() -> None:
    assert TotalVariation(4).value([1.0, 1.0, 3.0, 2.0]) == 3.0
    assert TotalVariation((2, 2)).value([1.0, -2.0, 0.0, 3.0]) == 12.0
    assert TotalVariation((2, 2), isotropic=True).value([0.0, 3.0, 4.0, 0.0]) == pytest.approx(5.0 + 3.0 + 4.0)
    assert TotalVariation((1, 1)).value([7.0]) == 0.0
    assert OverlappingGroups([[0, 1], [1, 2]], [1.0, 2.0]).value([3.0, 4.0, 3.0]) == 15.0


@pytest.mark.parametrize("exact", [False, True])
def test_conjugates_of_separable_sums_are_suprema(exact: bool) -> None:
    """<g, x> - R(x) over a grid that contains every kink never exceeds R*(g), and comes near it."""
    R = xu.L1([1.0]) + Huber(0.5).centred_at([0.25]) + 2 * xu.SquaredL2().centred_at([-1.0]) + xu.L1().centred_at([1.0])
    grid = np.arange(-64, 65) / 16
    for slope in np.arange(-24, 25) / 4:
        g = to_rational(np.array([slope])) if exact else np.array([slope])
        best = max(Fraction(float(slope)) * Fraction(float(x)) - R.value(to_rational(np.array([x]))) for x in grid)
        star = R.conjugate(g)
        assert isinstance(star, Fraction) == exact
        assert best <= star <= best + Fraction(1, 64)


def test_conjugates_are_infinite_beyond_the_slopes() -> None:
    R = xu.L1() + Huber(0.5).centred_at([1.0])
    assert R.conjugate(np.array([1.5])) < math.inf
    assert R.conjugate(np.array([1.500001])) == math.inf
    assert R.conjugate(np.array([1.500001]), tol=1e-5) < math.inf
    assert R.conjugate(to_rational(np.array([1.5]))) == Fraction(5, 8)
    assert Huber(0.5).conjugate([0.5]) == 0.125
    assert Huber(0.5).conjugate([0.6]) == math.inf


@pytest.mark.parametrize("step", [0.0, 0.3, 5.0])
def test_proxes_of_separable_sums_minimise(step: float) -> None:
    R = xu.L1() + Huber(0.5).centred_at(CENTRE) + 2 * xu.SquaredL2().centred_at(THETA)
    v = np.linspace(-3, 3, D)
    x = R.prox(v, step)

    def objective(z: Any) -> float:
        return step * float(R.value(z)) + 0.5 * float(np.sum((z - v) ** 2))

    for j in range(D):
        for move in (1e-4, -1e-4):
            assert objective(x) <= objective(x + move * np.eye(D)[j]) + 1e-15


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: xu.L1() + xu.L0(), "counts and powers are proved by enumeration, which knows no sums"),
        (lambda: xu.L0().centred_at(CENTRE), "counts and powers are proved by enumeration, which knows no maps"),
        (lambda: 0 * xu.L1(), "factor: expected a number > 0, got 0"),
        (lambda: -1 * xu.L1(), "factor: expected one finite number >= 0, got -1"),
        (lambda: xu.L1() * math.nan, "factor: expected one finite number >= 0, got nan"),
        (lambda: xu.L1().centred_at([math.inf]), "centre: expected finite numbers"),
        (lambda: xu.L1().of(np.ones(3)), "matrix: expected 2 dimensions"),
        (lambda: xu.L1().of(np.ones((3, 4))).of(np.ones((5, 2))), "map: expected 5 columns, one per parameter, got 4"),
        (lambda: xu.UnlearningProblem(THETA, J, xu.L1().of(np.ones((3, 4)))), "map: expected 12 columns, one per"),
        (lambda: xu.UnlearningProblem(THETA, J, xu.L1().centred_at([1.0])), "centre: expected 12 entries"),
        (lambda: xu.UnlearningProblem(THETA, J, TotalVariation((3, 3))), "grid of total variation: expected 12"),
        (lambda: xu.UnlearningProblem(THETA, J, OverlappingGroups([[0, 12]])), "coordinate 12 does not exist in 12"),
        (lambda: Huber(0.0), "delta: expected a finite number > 0, got 0"),
        (lambda: TotalVariation((3, 0)), "shape: expected whole numbers >= 1"),
        (lambda: OverlappingGroups([[0, 0]]), r"groups\[0\]: expected distinct coordinates"),
        (lambda: OverlappingGroups([]), "groups: expected index sequences"),
        (lambda: (xu.L1() + xu.L2()).conjugate(THETA), "that of a sum is no formula"),
        (lambda: (xu.L1() + xu.L2()).prox(THETA, 1.0), "that of a sum or behind a map is no formula"),
        (lambda: Form((Part(Count(np.arange(3)), factor=2), )), "counts and powers are proved by enumeration"),
        (lambda: Form((lambda x: x,)), "form: expected terms and parts"),
        (lambda: Norms(None, weights=[1.0]), "weights of norms: without groups there is one norm"),
        (lambda: Rows((2, 2), [0, 0], [1, 1], [1.0, 2.0]), "map: an entry occurs twice"),
        (lambda: from_spec({"name": "form", "terms": [{"term": "sorted"}]}), "term: expected one of square, kink"),
        (lambda: from_spec({"name": "form", "terms": [{"term": "kink", "bend": 1}]}), "does not take exactly"),
    ],
)  # fmt: skip
def test_what_no_form_can_be_is_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value)


class NoForm(Recipe):
    """A recipe that forgot it."""


class Contradicting(Recipe):
    def form(self, space: Space) -> Form:
        return Form((Kink(),))

    def value(self, theta: Any) -> float:
        return 7.0


class Wrong:
    def form(self, space: Space) -> Any:
        return [Kink()]


class Halved(xu.L1):
    """A subclass of a member with a form of its own is a class of its own, not the member."""

    def form(self, space: Space) -> Form:
        return Form((Part(Kink(), factor=Fraction(1, 2)),))


@pytest.mark.parametrize(
    ("regularizer", "sentence"),
    [
        (NoForm(), r"NoForm has no form\(space\)"),
        (Contradicting(), "Contradicting has a form and changes value, which is derived from it"),
        (Wrong(), r"form\(space\) of Wrong has to return an exact_unlearn.forms.Form"),
        (object(), r"expected an instance such as L1\(\), or of a class with form\(space\)"),
        (xu.L1, r"expected an instance such as L1\(\)"),
    ],
)
def test_classes_without_a_form_are_refused(regularizer: Any, sentence: str) -> None:
    with pytest.raises(ProblemError, match=sentence):
        xu.UnlearningProblem(THETA, J, regularizer)


def test_a_subclass_with_a_form_of_its_own_is_stated_by_it() -> None:
    stated = xu.UnlearningProblem(THETA, J, Halved())
    assert stated.regularizer.value(THETA) == pytest.approx(np.abs(THETA).sum() / 2)
    assert stated.to_tree()["regularizer"]["terms"][0]["factor"] == Fraction(1, 2)


def test_groups_of_a_model_may_stand_in_a_sum() -> None:
    model = xu.LinearNetwork((3, 4, 1))
    theta = np.random.default_rng(0).standard_normal(model.n_parameters)
    x = np.random.default_rng(1).standard_normal((2, 3))
    stated = xu.surrogate_problem(model, theta, x, xu.L1() + xu.GroupL2("layer"))
    groups = xu.GroupL2(model.groups("layer"))
    assert stated.regularizer.value(theta) == pytest.approx(float(xu.L1().value(theta) + groups.value(theta)))
    with pytest.raises(ProblemError, match="'layer' are groups of a model"):
        xu.UnlearningProblem(THETA, J, xu.L1() + xu.GroupL2("layer"))


def test_specs_name_the_parts() -> None:
    R = xu.SquaredL2().of(np.eye(D)[:2]).centred_at(CENTRE)
    spec = spec_of(R, D)
    assert spec["name"] == "form"
    again = from_spec(spec)
    assert again.value(THETA) == R.value(THETA)
    assert [type(part.term) for part in again.form(Space(D)).parts] == [Square]
    assert HuberTerm(1.0).to_spec() == {"term": "huber", "delta": 1.0, "weights": None}


def test_slopes_at_the_end_of_the_reach_belong_to_the_last_break() -> None:
    """There the maximum is attained from the last break on, and rounding decides on which side g is."""
    R = xu.L1() + Huber(0.5).centred_at(np.array([0.125, -0.535, 7.0]))
    x = np.array([159.5, 80.0, 9.0])
    g = np.array([1.5, 1.5, 1.5])
    assert float(R.value(x)) + float(R.conjugate(g)) == pytest.approx(float(g @ x), rel=1e-14)
    assert float(R.value(-x)) + float(R.conjugate(-g)) == pytest.approx(float(g @ x), rel=1e-14)


def test_what_a_term_lacks_is_called_by_its_name() -> None:
    class Nothing(Term):
        kind = "nothing"

    calls: dict[str, Callable[[], Any]] = {
        "seen": lambda: Nothing().seen(2), "value": lambda: Nothing().value([1.0]),
        "expression": lambda: Nothing().expression(None), "conjugate": lambda: Nothing().conjugate([1.0]),
        "prox": lambda: Nothing().prox([1.0], 1.0), "dual_norm": lambda: Nothing().dual_norm([1.0]),
        "epigraph": lambda: Nothing().epigraph(np.zeros(1), np.ones(1, dtype=bool)),
        "to_spec": lambda: Nothing().to_spec(),
    }  # fmt: skip
    for name, call in calls.items():
        with pytest.raises(ProblemError, match=f"the term 'nothing' has no {name}$"):
            call()


@pytest.mark.parametrize(
    "regularizer",
    [
        xu.L1([1.0, 0.0, 2.0, 1.0]),
        xu.SquaredL2([1.0, 0.0, 2.0, 1.0]),
        xu.Huber(0.5),
        xu.L2([1.0, 0.0, 2.0, 1.0]),
        xu.GroupL2([0, 1, 0, 1], [2.0, 0.5]),
        xu.LInf([1.0, 3.0, 2.0, 1.0]),
        2 * xu.L1().of([[1, -1, 0, 0], [0, 0, 1, -1]]) + xu.GroupL2([0, 0, 1, 1]).centred_at([1, 0, 0, 2]),
    ],
    ids=str,
)
def test_a_slope_supports_the_form_everywhere(regularizer: Any) -> None:
    """R(y) >= R(x) + <g, y - x>, at kinks too; and what is completed on frozen entries bounds no less than before."""
    rng = np.random.default_rng(5)
    form = regularizer.form(Space(4))
    for x in (np.zeros(4), np.array([1.0, 0.0, -2.0, 0.5]), rng.normal(size=4)):
        g = form.slope(x)
        for _ in range(20):
            y = x + rng.normal(size=4) * rng.choice([1e-3, 1.0, 1e3])
            assert form.value(y) >= form.value(x) + g @ (y - x) - 1e-12 * (1 + abs(form.value(y)))
    for part in (part for part in form.parts if part.map is None and part.term.is_norm):
        x, frozen = rng.normal(size=4), np.array([False, True, False, True])
        moving = 0.3 * part.term.slope(x)
        full = part.term.completed(moving, x, frozen)
        assert (full == moving)[~frozen].all()
        assert part.term.dual_norm(full) <= 1 + 1e-12
        assert full @ x >= np.where(frozen, 0.0, moving) @ x
