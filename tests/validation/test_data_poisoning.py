"""Data Poisoning: the stacked loop is the plain `unlearn`, its projection the QR of J, its grid the one of the paper."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exact_unlearn.algorithms import unlearn
from validation.experiments import stacked
from validation.experiments.poisoning_grid import METHODS, Run, hyper_parameters, settings, stacks
from validation.experiments.poisoning_start import Recipe, generator, samples, sup_error, train
from validation.experiments.stacked_projection import project, project_dense

WIDTH = 12
RECIPE = Recipe(width=WIDTH, n_retain=9, n_forget=3, epochs=40)


def some_theta(seed: int, width: int = WIDTH) -> Tensor:
    return 2 * stacked.initial_theta(width, torch.Generator().manual_seed(seed)).double()


def module_of(theta: Tensor) -> nn.Module:
    module = stacked.network(stacked.width_of(len(theta))).to(theta.dtype)
    torch.nn.utils.vector_to_parameters(theta.clone(), module.parameters())
    return module


def theta_of(module: nn.Module) -> Tensor:
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach()


# --- the stack ------------------------------------------------------------------------------------------------------


def test_stack_predicts_and_differentiates_like_the_module() -> None:
    rng = torch.Generator().manual_seed(0)
    stack = torch.stack([some_theta(0), some_theta(1)])
    x, y = torch.randn(7, generator=rng).double(), torch.randn(7, generator=rng).double()
    c = torch.randn(2, 7, generator=rng).double()
    gradient = torch.full_like(stack, torch.nan)
    stacked.Batch(x, y, c).gradient(stacked.Layers.of(stack), stacked.Layers.of(gradient))
    for copy in range(2):
        module = module_of(stack[copy])
        output = module(x.unsqueeze(1)).squeeze(1)
        expected = torch.autograd.grad((c[copy] * (output - y).square()).sum(), list(module.parameters()))
        flat = torch.cat([g.reshape(-1) for g in expected])
        torch.testing.assert_close(gradient[copy], flat, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(stacked.predict(stack, x)[copy], output.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("width", "points"), [(12, 5), (6, 11)], ids=["wide", "more points than neurons"])
@pytest.mark.parametrize("repeated", [False, True], ids=["distinct", "repeated points"])
def test_projection_is_that_of_the_written_out_jacobian(width: int, points: int, repeated: bool) -> None:
    stack = torch.stack([some_theta(seed, width) for seed in range(3)])
    x = torch.linspace(-3, 3, points).double()
    if repeated:
        x[1] = x[0]
    strength = torch.tensor([0.0, 0.3, 1.0])
    moved = project(stack, x, strength)
    for copy in range(3):
        expected = project_dense(stack[copy], x, float(strength[copy]))
        torch.testing.assert_close(moved[copy], expected, rtol=0, atol=1e-9)
    assert torch.equal(moved[0], stack[0])
    assert (moved[2] - stack[2]).norm() > 0.1


# --- the stacked runs are the plain ones ----------------------------------------------------------------------------


def run_of(method: str, epochs: int) -> Run:
    data = samples(3, RECIPE)
    return Run(method, epochs, 3, some_theta(5), data.x_retain.double(), data.x_forget.double())


def plain(run: Run, setting: dict[str, float]) -> Tensor:
    """The same run by `unlearn`."""
    retain = (run.x_retain.unsqueeze(1), torch.sin(run.x_retain))
    forget = (run.x_forget.unsqueeze(1), torch.full_like(run.x_forget, 1.5))
    theta, method = run.theta_star, run.method
    if method == "retrain":
        theta, method = stacked.initial_theta(WIDTH, generator(run.seed, "retrain")).double(), "gd"
    arguments: dict[str, Any] = dict(setting)
    for name in ("final_epochs", "project_every"):
        if name in arguments:
            arguments[name] = int(arguments[name])
    unlearned, _ = unlearn(module_of(theta), retain, forget, method, epochs=run.epochs, loss="mse", **arguments)
    return theta_of(unlearned)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "ngd"])
def test_every_stacked_run_is_a_plain_run(method: str) -> None:
    run = run_of(method, 10)
    everything = settings(hyper_parameters(method, 10))
    covered = []
    for chosen in stacks(everything):
        final = run.unlearn([everything[index] for index in chosen])
        covered += chosen
        # Every plain run costs a second of autograd: the ends of each stack stand for it.
        for place in {0, len(chosen) // 2, len(chosen) - 1}:
            expected = plain(run, everything[chosen[place]])
            torch.testing.assert_close(final[place], expected, rtol=1e-8, atol=1e-9)
    assert sorted(covered) == list(range(len(everything)))


def test_noise_has_its_stated_size_and_seed() -> None:
    run = run_of("ngd", 4)
    final = run.unlearn([{"learning_rate": 1e-3, "noise": 0.1}, {"learning_rate": 1e-3, "noise": 1.0}])
    draws = generator(run.seed, "noise")
    noises = [torch.randn(run.theta_star.numel(), generator=draws) for _ in range(4)]
    for place, sigma in enumerate((0.1, 1.0)):
        module = module_of(run.theta_star)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
        for noise in noises:
            optimizer.zero_grad()
            (module(run.x_retain.unsqueeze(1)).squeeze(1) - torch.sin(run.x_retain)).square().mean().backward()
            pieces = noise.split([p.numel() for p in module.parameters()])
            for parameter, piece in zip(module.parameters(), pieces, strict=True):
                assert parameter.grad is not None
                parameter.grad += sigma * piece.view_as(parameter)
            optimizer.step()
        torch.testing.assert_close(final[place], theta_of(module), rtol=1e-7, atol=1e-8)


# --- the experiment -------------------------------------------------------------------------------------------------


def test_grid_has_as_many_settings_as_the_paper_searches() -> None:
    counts = {(m, t): len(settings(hyper_parameters(m, t))) for m in METHODS for t in (10, 100, 1000)}
    assert [counts["minnorm-og", t] for t in (10, 100, 1000)] == [162, 72, 162]
    for t in (10, 100, 1000):
        assert [counts[m, t] for m in METHODS if m != "minnorm-og"] == [3, 3, 3, 12, 9, 27, 9]


def test_samples_lie_on_the_sine_and_are_those_of_their_seed() -> None:
    data, again, other = samples(1, Recipe()), samples(1, Recipe()), samples(2, Recipe())
    assert torch.equal(data.x_retain, again.x_retain)
    assert not torch.equal(data.x_retain, other.x_retain)
    assert data.x_retain.shape == (50,)
    assert data.x_forget.shape == (5,)
    assert torch.equal(data.y_forget, torch.full((5,), 1.5))
    everything = torch.cat([samples(seed, Recipe()).x_retain for seed in range(40)])
    assert everything.abs().max() <= 5 * torch.pi
    assert everything.min() < -15.5
    assert everything.max() > 15.5


def test_training_goes_down_and_repeats_itself_byte_for_byte() -> None:
    parameters = {"seed": 0, **asdict(RECIPE)}
    first, second = train(parameters, {}), train(parameters, {})
    assert first["theta_star"].tobytes() == second["theta_star"].tobytes()
    longer = train({**parameters, "epochs": 400}, {})
    assert longer["mse"][0] < first["mse"][0]


def test_distance_from_the_sine_is_the_largest_one_and_infinite_if_not_a_number() -> None:
    x = torch.linspace(-1, 1, 5)
    curves = torch.sin(x) + torch.tensor([[0.0, 0.1, -0.3, 0, 0], [0, 0, 0, 0, torch.nan]])
    error = sup_error(curves, x)
    np.testing.assert_allclose(error[0], 0.3, rtol=1e-6)
    assert torch.isinf(error[1])
