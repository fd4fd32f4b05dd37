"""ModuleModel leaves the module as it was found, refuses what has no Jacobian, and fits everything that takes a
model.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exact_unlearn import SquaredL2, surrogate_problem
from exact_unlearn.errors import ProblemError
from exact_unlearn.scalable import FrozenStatisticsWarning, ModuleModel, project, write_back
from tests.scalable.modules import MODULES, Mlp, TwoHeads

ROUTES = ("auto", "layers", "samples", "products", "loop")


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Everything about a module that a computation could disturb."""
    return {
        "state": {name: value.clone() for name, value in module.state_dict().items()},
        "identity": [id(p) for p in module.parameters()] + [id(b) for b in module.buffers()],
        "grads": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in module.parameters()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "training": [part.training for part in module.modules()],
        "hooks": [len(part._forward_hooks) for part in module.modules()],
        "attributes": [sorted(vars(part)) for part in module.modules()],
        "random": torch.get_rng_state(),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["conv batch norm", "two heads", "tied text", "frozen", "transformer", "counting"])
def test_left_exactly_as_found(name: str, route: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODULES[name]
    module, x = make(), inputs(4)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = snapshot(module)
    model = ModuleModel(module)
    J = model.jacobian(model.theta(), x, route=route)
    write = project(J, model.theta())
    assert write.theta.shape == (model.n_parameters,)
    model.predict(model.theta(), x)
    assert same(snapshot(module), before)


@pytest.mark.parametrize("route", ROUTES)
def test_left_exactly_as_found_after_an_exception(route: str) -> None:
    class Fragile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.layer(x))
            if h.shape[-1] == 3:
                raise RuntimeError("broken on purpose")
            return h

    module = Fragile()
    before = snapshot(module)
    model = ModuleModel(module)
    with pytest.warns(FrozenStatisticsWarning), pytest.raises(RuntimeError, match="on purpose"):
        model.jacobian(model.theta(), torch.randn(4, 4), route=route)
    before["random"] = torch.get_rng_state()  # torch.randn above moved it
    assert same(snapshot(module), before)


@pytest.mark.parametrize("route", ROUTES)
def test_dropout_is_refused_by_name(route: str) -> None:
    model = ModuleModel(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 1)))
    with pytest.raises(ProblemError, match=r"module: 1 applies dropout in train mode.*eval\(\)"):
        model.jacobian(model.theta(), torch.randn(3, 4), route=route)
    model.module.eval()
    assert model.jacobian(model.theta(), torch.randn(3, 4), route=route).shape == (3, 25)


@pytest.mark.parametrize(
    "make", [lambda: nn.GRU(3, 3, 2, dropout=0.5), lambda: nn.MultiheadAttention(4, 2, dropout=0.5)]
)
def test_dropout_hidden_in_other_layers_is_refused(make: Any) -> None:
    with pytest.raises(ProblemError, match="dropout in train mode"):
        ModuleModel(make()).predict(ModuleModel(make()).theta(), torch.randn(2, 4, 3))


@pytest.mark.parametrize("route", ROUTES)
def test_random_numbers_are_noticed_and_put_back(route: str) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + torch.randn(1)

    model = ModuleModel(Noisy())
    x = torch.randn(3, 4)
    before = torch.get_rng_state()
    with pytest.raises(ProblemError, match="random numbers"):
        model.jacobian(model.theta(), x, route=route)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("route", ROUTES)
def test_batch_norm_in_train_mode_uses_its_statistics_and_says_so(route: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))
    module[1].running_var.fill_(2.0)
    x = torch.randn(6, 4)
    evaluated = ModuleModel(copy.deepcopy(module).eval())
    model = ModuleModel(module.train())
    theta = model.theta().double()
    with pytest.warns(FrozenStatisticsWarning, match="running statistics"):
        J = model.jacobian(theta, x, route=route)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = evaluated.jacobian(theta, x, route="loop").dense()
        torch.testing.assert_close(J.dense(), expected)
        torch.testing.assert_close(J.matvec(theta), expected @ theta)
    assert module[1].training
    assert int(module[1].num_batches_tracked) == 0


def test_batch_norm_without_statistics_is_refused() -> None:
    model = ModuleModel(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False)).eval())
    with pytest.raises(ProblemError, match="no running statistics"):
        model.predict(model.theta(), torch.randn(3, 4))


@pytest.mark.parametrize("route", ["auto", "layers", "products"])
def test_samples_that_see_one_another_are_refused(route: str) -> None:
    class Coupled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.layer(x)
            return h - h.mean(0)

    model = ModuleModel(Coupled())
    with pytest.raises(ProblemError, match="depend on the other samples"):
        model.jacobian(model.theta(), torch.randn(3, 4), route=route)


def test_layout_follows_named_parameters() -> None:
    model = ModuleModel(TwoHeads())
    named = dict(model.module.named_parameters())
    assert list(model.blocks) == list(named)
    theta = model.theta()
    for name, part in model.blocks.items():
        assert torch.equal(theta[part].view_as(named[name]), named[name].detach())
    assert model.mask("right")[model.blocks["right.2.bias"]].all()
    assert int(model.mask(["trunk.weight", "left.bias"]).sum()) == 23
    with pytest.raises(ProblemError, match="unknown block 'write'"):
        model.mask("write")


def test_tied_and_frozen_parameters_occur_once_and_never() -> None:
    tied, frozen = MODULES["tied text"][0](), MODULES["frozen"][0]()
    assert "out.weight" not in ModuleModel(tied).blocks
    assert list(ModuleModel(frozen).blocks) == ["first.bias", "second.weight", "last.weight"]


def test_write_back_is_one_call() -> None:
    torch.manual_seed(0)
    module, x = Mlp(), torch.randn(3, 4)
    model = ModuleModel(module)
    parameters = list(module.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    result = project(model.jacobian(model.theta(), x), model.theta())
    assert write_back(module, result) is module
    assert torch.equal(model.theta(), result.theta)
    assert all(a is b for a, b in zip(module.parameters(), parameters, strict=True))
    assert torch.equal(parameters[0].grad, torch.ones_like(parameters[0]))
    write_back(module, np.zeros(model.n_parameters))
    assert not model.theta().any()
    with pytest.raises(ProblemError, match=r"theta: expected .* parameters"):
        write_back(module, torch.zeros(3))


def test_everything_forgotten() -> None:
    """No retain samples: no rows, and the nearest point to 0 is 0."""
    model = ModuleModel(Mlp())
    J = model.jacobian(model.theta(), torch.zeros(0, 4))
    assert J.shape == (0, model.n_parameters)
    assert model.predict(model.theta(), torch.zeros(0, 4)).shape == (0, 2)
    assert not project(J, model.theta()).theta.any()


def test_a_model_for_surrogate_problems() -> None:
    """Arrays all the way: float64 parameters make a float64 Jacobian, whatever the module holds."""
    torch.manual_seed(0)
    model = ModuleModel(Mlp())
    assert (model.n_inputs, model.n_outputs) == (4, 2)
    theta, x = model.theta().double().numpy(), np.random.default_rng(0).standard_normal((5, 4))
    problem = surrogate_problem(model, theta, x, SquaredL2(), free="second.weight", y_retain=model.predict(theta, x))
    assert int(problem.free.sum()) == 30
    result = project(problem.jacobian, theta, free=problem.free)
    assert result.solution(problem).is_optimal(1e-12)
    expected = model.jacobian(torch.tensor(theta), torch.tensor(x), route="loop").dense()[:, problem.free].numpy()
    np.testing.assert_allclose(problem.free_matrix(), expected, atol=1e-14)


def test_flat_images_through_input_shape() -> None:
    torch.manual_seed(0)
    make, inputs = MODULES["conv"]
    model, x = ModuleModel(make(), input_shape=(2, 6, 5)), inputs(3)
    assert model.n_inputs == 60
    theta = model.theta()
    torch.testing.assert_close(model.predict(theta, x.flatten(1)), model.predict(theta, x))
    with pytest.raises(ProblemError, match="input_shape"):
        _ = ModuleModel(make()).n_inputs


UNEQUAL = {"left": torch.zeros(2, 4), "right": torch.zeros(3, 4), "power": 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ModuleModel(torch.relu), "module: expected a torch.nn.Module"),
        (lambda: ModuleModel(Mlp(), outputs="max"), "outputs: expected"),
        (lambda: ModuleModel(nn.ReLU()), "at least one parameter"),
        (lambda: ModuleModel(Mlp()).jacobian(torch.zeros(3), torch.zeros(1, 4)), "theta: expected"),
        (lambda: ModuleModel(Mlp()).jacobian(ModuleModel(Mlp()).theta(), torch.zeros(1, 4), route="qr"), "route"),
        (lambda: ModuleModel(Mlp()).predict(ModuleModel(Mlp()).theta(), torch.tensor(1.0)), "x: expected"),
        (lambda: ModuleModel(MODULES["named"][0]()).predict(torch.zeros(10), UNEQUAL), "x: expected"),
    ],
)  # fmt: skip
def test_careless_arguments(call: Any, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        call()
