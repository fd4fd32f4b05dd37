"""Forms that come to a named regularizer are solved by its solver; others are refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

import exact_unlearn as xu
from exact_unlearn import scalable
from exact_unlearn.scalable.named import comes_to_a_name
from tests.form_cases import CENTRE, FROZEN, GROUPS, MAP, THETA, WEIGHTS, J

NAMED: dict[str, Any] = {
    "a factor": 2 * xu.L1(),
    "two kinks": xu.L1(WEIGHTS) + 0.5 * xu.L1(),
    "two squares": 3 * xu.SquaredL2(WEIGHTS) + xu.SquaredL2(),
    "a kink and a square": 0.5 * xu.L1() + 2 * xu.SquaredL2(),
    "an elastic net and a kink": xu.ElasticNet(0.5, 1.0) + xu.L1(),
    "a square about a centre": xu.SquaredL2(WEIGHTS).centred_at(CENTRE),
    "a kink about a centre": xu.L1(WEIGHTS).centred_at(CENTRE),
    "groups about a centre": 2 * xu.GroupL2(GROUPS).centred_at(CENTRE),
    "a root with a factor": 3 * xu.L2(WEIGHTS),
    "a maximum about a centre": 0.5 * xu.LInf(WEIGHTS).centred_at(CENTRE),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("drift", [None, xu.SquaredDrift(0.5), xu.TrustRegion(1.0)], ids=["none", "squared", "ball"])
@pytest.mark.parametrize("free", [None, FROZEN], ids=["free", "frozen"])
def test_the_answer_is_the_proved_one(name: str, drift: Any, free: Any) -> None:
    problem = xu.UnlearningProblem(THETA, J, NAMED[name], drift, free)
    found, proved = scalable.solve(problem).require_optimal(1e-7), xu.certify(problem)
    assert found.problem is problem
    assert proved.upper is not None
    assert found.value == pytest.approx(float(proved.upper), rel=1e-7)


@pytest.mark.parametrize(
    "regularizer",
    [
        xu.L1() + xu.GroupL2(GROUPS),
        xu.L1() + xu.L1().centred_at(CENTRE),
        xu.L1().of(MAP),
        xu.Huber(1.0),
        xu.L1(WEIGHTS) + xu.SquaredL2(),
    ],
)
def test_what_has_no_name_takes_the_route_of_sums(regularizer: Any) -> None:
    problem = xu.UnlearningProblem(THETA, J, regularizer)
    assert not comes_to_a_name(problem)
    assert scalable.solve(problem).solver == "scalable (sums)"
