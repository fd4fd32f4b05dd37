"""Chains of linear layers and activations: J without autograd is the J of the naive loop, and says when it is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils._python_dispatch import TorchDispatchMode

from exact_unlearn.algorithms.projection import Projector
from exact_unlearn.algorithms.run import free_masks
from exact_unlearn.scalable import ModuleModel, project
from exact_unlearn.scalable.factor import default_tolerance
from exact_unlearn.scalable.jacobian_chain import ACTIVATIONS, chain_of


def chain(activation: nn.Module, outputs: int, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(7, 5, bias=bias), copy.deepcopy(activation))
    return nn.Sequential(nn.Linear(3, 7), activation, inner, nn.Linear(5, outputs, bias=bias))


def way(model: ModuleModel) -> str:
    return next(iter(model.checked.values())).way


@pytest.mark.parametrize("outputs", ["all", "argmax"])
@pytest.mark.parametrize("kind", list(ACTIVATIONS))
def test_every_part_of_j_is_that_of_the_loop(kind: type[nn.Module], outputs: str) -> None:
    for bias, width in ((True, 3), (False, 1)):
        model, x = ModuleModel(chain(kind(), width, bias), outputs), torch.randn(6, 3)
        theta = model.theta()
        J = model.jacobian(theta, x)
        assert way(model) == "chain"
        exact = model.jacobian(theta.double(), x.double(), route="loop").dense()
        v, nu, rows = torch.randn(J.shape[1]).double(), torch.randn(J.shape[0]).double(), torch.tensor([4, 1])
        formed = torch.cat([piece for _, piece in J.column_blocks(torch.float64)], 1)
        for found, expected in (
            (J.matvec(v), exact @ v),
            (J.matvec(theta), exact @ theta.double()),
            (J.rmatvec(nu), exact.T @ nu),
            (J.gram(dtype=torch.float64), exact @ exact.T),
            (J.gram(v.square(), torch.float64), exact * v.square() @ exact.T),
            (J.select(rows).matvec(v), (exact @ v)[rows]),
            (formed, exact),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", [("0.weight", "0.bias"), ("0.bias",), ("2.0.weight",), ("3.weight", "3.bias")])
def test_frozen_parameters_have_no_columns(frozen: tuple[str, ...]) -> None:
    module, x = chain(nn.Tanh(), 2), torch.randn(5, 3)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    model = ModuleModel(module)
    J = model.jacobian(model.theta(), x)
    exact = model.jacobian(model.theta().double(), x.double(), route="loop").dense()
    assert way(model) == "chain"
    assert J.shape == exact.shape
    torch.testing.assert_close(J.rmatvec(torch.eye(10).double()[3]), exact[3], rtol=1e-12, atol=1e-12)
    theta = model.theta()
    torch.testing.assert_close(J.matvec(theta).double(), exact @ theta.double(), rtol=1e-5, atol=1e-5)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2.0 * super().forward(x)


def tied() -> nn.Module:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.Tanh(), layer)


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    module[1].register_forward_hook(lambda layer, x, out: 3.0 * out)
    return module


def replaced() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    module[1].forward = lambda x: x.sin()
    return module


@pytest.mark.parametrize(
    "make",
    [
        tied,
        hooked,
        replaced,
        lambda: nn.Sequential(Doubled(3, 3), nn.Tanh()),
        lambda: nn.Sequential(spectral_norm(nn.Linear(3, 3))).eval(),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)),
        lambda: nn.Sequential(nn.Tanh()),
    ],
)
def test_what_is_no_chain_is_not_taken_for_one(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module = make()
    assert chain_of(module) is None
    if next(module.parameters(), None) is not None:
        model, x = ModuleModel(module.double()), torch.randn(4, 3).double()
        J = model.jacobian(model.theta(), x)
        assert way(model) != "chain"
        torch.testing.assert_close(J.dense(), model.jacobian(model.theta(), x, route="loop").dense())


def test_a_chain_that_has_become_something_else_is_looked_at_again() -> None:
    module, x = chain(nn.Tanh(), 1).double(), torch.randn(4, 3).double()
    model = ModuleModel(module)
    before = model.jacobian(model.theta(), x).dense()
    module[0].register_forward_hook(lambda layer, inputs, out: 2.0 * out)
    after = model.jacobian(model.theta(), x).dense()
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, model.jacobian(model.theta(), x, route="loop").dense())


def test_a_theta_that_was_written_to_is_not_the_one_whose_product_is_known() -> None:
    model, x = ModuleModel(chain(nn.Tanh(), 1)), torch.randn(4, 3)
    model.jacobian(model.theta(), x)  # from now on J is taken at the very tensor that is given
    theta = model.theta()
    J = model.jacobian(theta, x)
    expected = J.matvec(theta.double())
    torch.testing.assert_close(J.matvec(theta), expected, rtol=1e-12, atol=1e-12)
    theta.mul_(2.0)
    torch.testing.assert_close(J.matvec(theta), 2.0 * expected, rtol=1e-12, atol=1e-12)


def perceptron(width: int, seed: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
    return module, torch.rand(30, 1) * 30 - 15


@pytest.mark.parametrize("route", ["auto", "layers", "samples"])
def test_the_estimate_covers_what_float32_makes_of_an_ill_conditioned_j(route: str) -> None:
    """cond(J) is 1e13; the truth is the SVD of a float64 J, cut off at the tolerance that was declared."""
    for seed in range(3):
        module, x = perceptron(30, seed)
        model = ModuleModel(module)
        theta, tolerance = model.theta(), default_tolerance(30, torch.float32)
        exact = model.jacobian(theta.double(), x.double(), route="loop").dense()
        _, sigma, right = torch.linalg.svd(exact / exact.norm(dim=1, keepdim=True), full_matrices=False)
        kept = right[sigma > tolerance]
        truth = kept.T @ (kept @ theta.double())
        found = project(model.jacobian(theta, x, route=route), theta, rank_tolerance=tolerance)
        error = float((found.theta - truth).norm() / truth.norm())
        assert found.rank == len(kept)
        assert error <= found.error_estimate <= 1.0
        assert error <= 2e-5 or route != "auto"


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


def test_a_step_on_a_chain_is_a_few_operations() -> None:
    """The move is c (P theta - theta) to five digits, by no more than 200 operations that compute (views are free)."""
    module, x = perceptron(30, 0)
    for _ in range(2):
        before = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        model, projector = ModuleModel(copy.deepcopy(module).double()), Projector(module, free_masks(module, None))
        exact = model.jacobian(before.double(), x.double(), route="loop").dense()
        _, sigma, right = torch.linalg.svd(exact / exact.norm(dim=1, keepdim=True), full_matrices=False)
        kept = right[sigma > default_tolerance(30, torch.float32)]
        move = 0.25 * (kept.T @ (kept @ before.double()) - before.double())
        distance, _ = projector.step(x, 0.25, ("all",))
        moved = torch.nn.utils.parameters_to_vector(module.parameters()).detach().double() - before.double()
        assert float((moved - move).norm() / move.norm()) <= 1e-5
        assert distance == pytest.approx(float(move.norm()), rel=1e-4)
        with _Counted() as counted:
            projector.step(x, 0.25, ("all",))
        assert counted.operations <= 200
