"""Whatever a user may hold can be copied, and so sent to another process, and still answers the same.

Copies are made by the protocol that processes use to send objects (`__reduce_ex__`); no bytes are loaded here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import exact_unlearn as xu

PERCEPTRON = xu.Perceptron(2, 2, "tanh")
NETWORK = xu.LinearNetwork((2, 2, 1))
NETWORK_NORM = xu.PredictorNorm(NETWORK, np.ones(NETWORK.n_parameters))
REGULARIZERS: list[Any] = [
    xu.SquaredL2([1, 2, 3, 4, 5, 6]), xu.ElasticNet(0.5, 2.0), xu.L1(), xu.LInf(), xu.L2(),
    xu.GroupL2([0, 0, 1, 1, 2, 2]), xu.GroupL2([0, 0, 1, 1, 2, 2], [1, 2, 3]), xu.NuclearNorm(slice(0, 6), (2, 3)),
    xu.L0(), xu.L0([0, 0, 1, 1, 2, 2]), xu.ActiveNeurons(PERCEPTRON), NETWORK_NORM,
]  # fmt: skip
DRIFTS = [xu.SquaredDrift(2.0), xu.L1Drift(0.25), xu.TrustRegion(2.0), xu.TrustRegion(2.0, "inf")]
COPIES: tuple[Callable[[Any], Any], ...] = (copy.copy, copy.deepcopy)
THETA = np.array([1.0, -2.0, 3.0, -4.0, 5.0, -6.0])


def name(thing: object) -> str:
    return type(thing).__name__


@pytest.mark.parametrize("again", COPIES, ids=("copy", "deepcopy"))
@pytest.mark.parametrize("R", REGULARIZERS, ids=name)
def test_regularizer(R: Any, again: Callable[[Any], Any]) -> None:
    assert type(again(R)) is type(R)
    assert repr(again(R).to_spec()) == repr(R.to_spec())
    assert again(R).value(THETA) == R.value(THETA) > 0


@pytest.mark.parametrize("again", COPIES, ids=("copy", "deepcopy"))
@pytest.mark.parametrize("drift", DRIFTS, ids=name)
def test_drift(drift: Any, again: Callable[[Any], Any]) -> None:
    assert again(drift).to_spec() == drift.to_spec()


@pytest.mark.parametrize("again", COPIES, ids=("copy", "deepcopy"))
@pytest.mark.parametrize("R", [xu.L1(), xu.GroupL2([0, 0, 1, 1, 2, 2])], ids=name)
def test_problem_solution_and_certificate(R: Any, again: Callable[[Any], Any]) -> None:
    problem = xu.UnlearningProblem(THETA, np.ones((1, 6)), R, drift_penalty=xu.SquaredDrift(1.0))
    solution = xu.solve(problem)
    certificate = xu.certify(problem, solution)
    other = again(problem)
    assert np.array_equal(xu.solve(other).theta, solution.theta)
    assert np.array_equal(again(solution).theta, solution.theta)
    assert again(certificate).check(other).proved
    assert again(certificate).lower == certificate.lower


@pytest.mark.parametrize("again", COPIES, ids=("copy", "deepcopy"))
def test_named_groups_are_still_to_be_named(again: Callable[[Any], Any]) -> None:
    named = xu.GroupL2("neuron", 2.0)
    assert type(again(named)) is type(named)
    assert again(named) == named


def test_groups_are_asked_for() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'groups'"):
        xu.GroupL2()  # type: ignore[call-arg]
