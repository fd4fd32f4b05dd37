"""Where MinNorm-OG's projection step is the exact unlearning solution, and where it is not.

The step: lambda_reg = 1, one full retain batch, n_pert >= n_r, all outputs, before any AdamW step (its
learning rate 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import exact_unlearn as xu
from exact_unlearn import closed_form
from exact_unlearn.algorithms import unlearn

INPUTS, RETAINED, FORGOTTEN = 7, 4, 2


class LinearLayers(nn.Module):
    """f(x) = C A_{L-1} ... A_1 x with the parameters in the order of xu.LinearNetwork: c, A1, ..., A_{L-1}."""

    def __init__(self, network: Any, theta: Any) -> None:
        super().__init__()
        for name, matrix in network.split(theta).items():
            self.register_parameter(name, nn.Parameter(torch.from_numpy(np.array(matrix, dtype=np.float64))))
        self.depth = network.depth

    def forward(self, x: Tensor) -> Tensor:
        for layer in range(1, self.depth):
            x = x @ getattr(self, f"A{layer}").T
        return x @ self.c.T


class TwoLayers(nn.Module):
    """f(x) = C phi(A x) with the parameters in the order of xu.Perceptron: c, A."""

    def __init__(self, perceptron: Any, theta: Any, phi: Any) -> None:
        super().__init__()
        blocks = perceptron.split(theta)
        self.c = nn.Parameter(torch.from_numpy(np.array(blocks["c"])))
        self.A = nn.Parameter(torch.from_numpy(np.array(blocks["A"])))
        self.phi = phi

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.phi(x @ self.A.T) @ self.c.T
        return out


def step(module: nn.Module, x: Any, y: Any, free: Any = None, **more: Any) -> Any:
    """theta after the projection step (and, with a learning rate, after one AdamW step)."""
    data = (torch.from_numpy(x), torch.from_numpy(y))
    more = {"learning_rate": 0.0, "epochs": 1} | more
    unlearned, _ = unlearn(module, data, (data[0][:1], data[1][:1]), free=free, loss="mse", strength=1.0, **more)
    return torch.nn.utils.parameters_to_vector(unlearned.parameters()).detach().numpy()


def exact(problem: Any) -> Any:
    """The exact solution, certified: its value is proved to within 1e-9 of the optimum."""
    solution = xu.solve(problem)
    assert solution.is_optimal(1e-9)
    certificate = xu.certify(problem, solution)
    assert certificate.proof in ("exact", "enclosure")
    assert float(certificate.gap) <= 1e-9
    return solution.theta


@pytest.fixture
def x(rng: np.random.Generator) -> Any:
    return rng.normal(size=(RETAINED, INPUTS))


@pytest.mark.parametrize("outputs", [1, 3])
def test_linear_model_parameters(rng: np.random.Generator, x: Any, outputs: int) -> None:
    model = xu.LinearModel(INPUTS, outputs)
    theta_star = rng.normal(size=model.n_parameters)
    y = model.predict(theta_star, x)
    module = nn.Linear(INPUTS, outputs, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(theta_star.reshape(outputs, INPUTS)))
    expected = exact(xu.exact_problem(model, theta_star, x, y, xu.SquaredL2()))
    found = step(module, x, y)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert np.linalg.norm(found - theta_star) > 0.1


@pytest.mark.parametrize("repeated", [False, True], ids=["independent", "dependent rows"])
@pytest.mark.parametrize("widths", [(INPUTS, 3, 1), (INPUTS, 4, 3, 2)], ids=str)
def test_linear_network_predictor_if_only_the_first_layer_moves(
    rng: np.random.Generator, x: Any, widths: tuple[int, ...], repeated: bool
) -> None:
    if repeated:
        x[3] = 2 * x[0] - x[1]
    network = xu.LinearNetwork(widths)
    theta_star = rng.normal(size=network.n_parameters)
    y = network.predict(theta_star, x)
    found = step(LinearLayers(network, theta_star), x, y, free=["A1"])
    expected = theta_star + closed_form.lemma_1_drift(network, theta_star, x)
    np.testing.assert_allclose(network.predictor(found), network.predictor(expected), rtol=0, atol=1e-9)
    np.testing.assert_allclose(network.predict(found, x), y, rtol=0, atol=1e-9)
    # The exact solution is the smallest predictor that fits: certified as a problem in the predictor alone.
    linear = xu.LinearModel(INPUTS, widths[-1])
    independent = x[:3] if repeated else x
    problem = xu.exact_problem(
        linear, np.asarray(network.predictor(theta_star)).T.reshape(-1), independent, y[: len(independent)], xu.L2()
    )
    smallest = exact(problem).reshape(widths[-1], INPUTS)
    np.testing.assert_allclose(np.asarray(network.predictor(found)).T.reshape(widths[-1], -1), smallest, atol=1e-7)


def test_linear_network_is_not_exact_if_all_layers_move(rng: np.random.Generator, x: Any) -> None:
    network = xu.LinearNetwork((INPUTS, 3, 1))
    theta_star = rng.normal(size=network.n_parameters)
    y = network.predict(theta_star, x)
    found = step(LinearLayers(network, theta_star), x, y)
    drift = found - theta_star
    # To first order nothing retained moves; but the model is not linear in all its layers.
    np.testing.assert_allclose(network.jacobian(theta_star, x).matvec(drift), 0, atol=1e-9)
    assert np.abs(network.predict(found, x) - y).max() > 1e-2
    exact_predictor = closed_form.project_onto_span(x, network.predictor(theta_star))
    assert np.abs(network.predictor(found) - exact_predictor).max() > 1e-2


@pytest.mark.parametrize(("activation", "phi"), [("relu", torch.relu), ("tanh", torch.tanh), ("silu", nn.SiLU())])
def test_perceptron_with_the_last_layer_free_is_least_norm_and_not_theorem_5(
    rng: np.random.Generator, x: Any, activation: str, phi: Any
) -> None:
    width = 12
    perceptron = xu.Perceptron(INPUTS, width, activation)
    theta_star = rng.normal(size=perceptron.n_parameters)
    y = perceptron.predict(theta_star, x)
    module = TwoLayers(perceptron, theta_star, phi)
    found = step(module, x, y, free=["c"])
    # R counts the free coordinates only: the others are constant.
    expected = exact(xu.exact_problem(perceptron, theta_star, x, y, xu.SquaredL2(), free=["c"]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(perceptron.predict(found, x), y, rtol=0, atol=1e-9)
    # Theorem 5 counts neurons: at most rank(features) are needed, the least-norm solution keeps them all.
    sparse = closed_form.theorem_5_solution(perceptron, theta_star, x)
    counts = [int(np.sum(perceptron.active_neurons(theta))) for theta in (found, sparse)]
    assert counts[0] > RETAINED >= counts[1]


@pytest.mark.parametrize("n_perturb", [2, RETAINED, 50])
def test_fewer_perturbed_samples_than_retained_are_not_exact(rng: np.random.Generator, x: Any, n_perturb: int) -> None:
    model = xu.LinearModel(INPUTS)
    theta_star = rng.normal(size=INPUTS)
    module = nn.Linear(INPUTS, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(theta_star[None]))
    found = step(module, x, model.predict(theta_star, x), n_perturb=n_perturb)
    expected = closed_form.theorem_2_solution(model, theta_star, x)
    error = np.abs(found - expected).max()
    assert error < 1e-9 if n_perturb >= RETAINED else error > 1e-2


def test_adamw_pulls_away_from_the_exact_solution(rng: np.random.Generator, x: Any) -> None:
    """There the retain gradient is 0 up to rounding; weight decay moves theta, and so does rounding over epsilon."""
    model = xu.LinearModel(INPUTS)
    theta_star, rate = rng.normal(size=INPUTS), 1e-2
    y = model.predict(theta_star, x)
    module = nn.Linear(INPUTS, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(theta_star[None]))
    expected = closed_form.theorem_2_solution(model, theta_star, x)
    still = step(module, x, y, learning_rate=rate, weight_decay=0.0)
    decayed = step(module, x, y, learning_rate=rate, weight_decay=0.1)
    # Gradients of 1e-15 over epsilon = 1e-8: far from still in units of rounding, small in units of theta.
    assert np.abs(still - expected).max() < rate * 1e-5
    np.testing.assert_allclose(decayed, (1 - rate * 0.1) * expected, rtol=0, atol=rate * 1e-5)
    assert np.abs(model.predict(decayed, x) - y).max() > 1e-4


def test_in_single_precision_rounding_is_worth_a_full_step_of_adamw() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(9, 20, generator=draws)
    module = nn.Linear(20, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.randn(1, 20, generator=draws))
    moved = []
    for dtype in (torch.float32, torch.float64):
        model, inputs = module.to(dtype), x.to(dtype)
        y, rate = model(inputs).detach(), 1e-3
        at = [step(model, inputs.numpy(), y.numpy(), learning_rate=r, weight_decay=0.0) for r in (0.0, rate)]
        moved.append(np.abs(at[1] - at[0]).max() / rate)
    assert moved[0] > 0.5
    assert moved[1] < 1e-5
