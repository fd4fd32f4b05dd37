"""`check_jacobian` and `check_algorithm` pass for what is ours, and name the law that a wrong one breaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import exact_unlearn as xu
from exact_unlearn.algorithms.gradient import GD
from exact_unlearn.algorithms.run import PlainSteps
from exact_unlearn.algorithms.unlearn import METHODS
from exact_unlearn.jacobian import DenseJacobian
from exact_unlearn.models import DiagonalNetwork
from exact_unlearn.scalable import ModuleModel
from exact_unlearn.testing import LawError, check_algorithm, check_jacobian

MODELS = {
    "linear": xu.LinearModel(3),
    "linear network": xu.LinearNetwork((2, 3, 2)),
    "diagonal network": DiagonalNetwork(3, 2),
    **{phi: xu.Perceptron(2, 3, phi, 2) for phi in ("relu", "tanh", "gelu", "square", "abs")},
}


@pytest.mark.parametrize("name", MODELS)
def test_jacobians_of_ours(name: str) -> None:
    rng, model = np.random.default_rng(0), MODELS[name]
    check_jacobian(model, rng.standard_normal(model.n_parameters), rng.standard_normal((4, model.n_inputs)))


def test_jacobian_of_a_module() -> None:
    torch.manual_seed(0)
    model = ModuleModel(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double())
    check_jacobian(model, model.theta(), torch.randn(5, 3).double())


class Wrong:
    """A perceptron whose Jacobian is another one."""

    def __init__(self, change: Any) -> None:
        self.model, self.change = xu.Perceptron(2, 3, "tanh"), change

    def predict(self, theta: Any, x: Any) -> Any:
        return self.model.predict(theta, x)

    def jacobian(self, theta: Any, x: Any) -> Any:
        return self.change(self.model.jacobian(theta, x).matrix)


class Skewed(DenseJacobian):
    def rmatvec(self, nu: Any) -> Any:
        return super().rmatvec(nu) * 2


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (lambda J: DenseJacobian(J[:, :-1]), "its shape is not"),
        (lambda J: DenseJacobian(J * 1.001), "not the derivative"),
        (lambda J: DenseJacobian(J[::-1].copy()), "not the derivative"),
        (lambda J: DenseJacobian(np.where(np.arange(J.shape[1]) == 4, 0.0, J)), "not the derivative"),
        (Skewed, "matvec and rmatvec are not those of one matrix"),
    ],
)
def test_a_wrong_jacobian_is_named(change: Any, law: str) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(LawError, match=law):
        check_jacobian(Wrong(change), rng.standard_normal(9), rng.standard_normal((4, 2)))


def test_samples_that_see_one_another_are_named() -> None:
    class Centred(Wrong):
        def predict(self, theta: Any, x: Any) -> Any:
            return self.model.predict(theta, x) - self.model.predict(theta, x).mean(axis=0)

    model = Centred(lambda J: DenseJacobian(J - J.mean(axis=0)))
    rng = np.random.default_rng(1)
    with pytest.raises(LawError, match="the rows of sample 0 depend on the other samples"):
        check_jacobian(model, rng.standard_normal(9), rng.standard_normal((4, 2)))


@pytest.mark.parametrize("method", METHODS)
def test_algorithms_of_ours(method: str) -> None:
    check_algorithm(method)


@dataclass(frozen=True)
class Broken(GD):
    """Gradient descent with something else besides at every step."""

    what: str = "global"

    def begin(self, run: Any) -> Any:
        return BrokenSteps(run, self.what)


KEPT: list[nn.Module] = []


@dataclass
class BrokenSteps(PlainSteps):
    what: str

    def loss(self, t: int, retain: Any, forget: Any) -> Any:
        weight = next(self.run.module.parameters())
        if self.what == "global":
            torch.manual_seed(int(torch.randint(100, ())))
            KEPT.append(self.run.module)
            return self.run.loss(retain) * (1 + len(KEPT))
        if self.what == "frozen":
            with torch.no_grad():
                weight.add_(0.01)
        if self.what == "infinite":
            return self.run.loss(retain) * torch.inf
        if self.what == "mode":
            self.run.module.eval()
        return self.run.loss(retain)


@pytest.mark.parametrize(
    ("what", "law"),
    [
        ("global", "generator: the same one gave another result"),
        ("frozen", "something moved that must not"),
        ("infinite", "not one finite loss per epoch"),
        ("mode", "the result is in another mode"),
    ],
)
def test_a_broken_algorithm_is_named(what: str, law: str) -> None:
    with pytest.raises(LawError, match=law):
        check_algorithm(Broken(what=what))
