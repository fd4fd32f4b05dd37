"""Where paths end, held against routes that share nothing with them."""

from __future__ import annotations

import warnings
from itertools import pairwise, product
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import exact_unlearn as xu
from exact_unlearn.activations import Activation
from exact_unlearn.demo.measure import effect as demo_effect
from exact_unlearn.demo.scene import Size, build_scene
from exact_unlearn.jacobian import Array
from exact_unlearn.path.bent import bent
from exact_unlearn.scalable import KinkWarning

RNG = np.random.default_rng(5)
X = RNG.standard_normal((6, 3))
Y = RNG.standard_normal(6)
TANH = xu.Perceptron(3, 6, "tanh")
START = TANH.interpolating_parameters(X[:5], Y[:5], RNG, scale=0.2)


def test_the_end_is_that_of_a_constrained_optimizer() -> None:
    """SLSQP on R subject to f = y, started where the path starts and where it ends; and a penalty method, by BFGS."""
    x, y = X[:3], Y[:3]
    path = xu.unlearn_path(TANH, START, x, xu.SquaredL2(), y, steps=150, solver="scalable")

    def missed(theta: Array) -> Array:
        return np.asarray(TANH.predict(theta, x)[:, 0] - y)

    def slopes(theta: Array) -> Array:
        return np.asarray(TANH.jacobian(theta, x).matrix)

    rules = {"type": "eq", "fun": missed, "jac": slopes}
    ends = []
    options = {"maxiter": 1000, "ftol": 1e-14}
    for begin in (START, path.theta):
        found = minimize(
            lambda t: 0.5 * t @ t, begin, jac=lambda t: t, method="SLSQP", constraints=rules, options=options
        )
        assert np.max(np.abs(missed(found.x))) < 1e-8
        ends.append(found.fun)
    assert path.value == pytest.approx(ends[1], rel=1e-4)  # next to nothing was left to win where it ended
    assert path.value >= ends[1] * (1 - 1e-9)
    assert path.value <= ends[0] * (1 + 1e-4)
    weight = 1e5
    penalised = minimize(
        lambda t: 0.5 * t @ t + 0.5 * weight * missed(t) @ missed(t),
        path.theta,
        jac=lambda t: t + weight * slopes(t).T @ missed(t),
        method="BFGS",
        options={"maxiter": 3000, "gtol": 1e-6},
    )
    assert 0.5 * penalised.x @ penalised.x == pytest.approx(path.value, rel=1e-3)


@pytest.mark.parametrize("R", [xu.SquaredL2(), xu.L1()], ids=["l2", "l1"])
def test_a_model_and_its_module_walk_the_same_path(R: Any) -> None:
    """Analytic Jacobians and the reference, or automatic ones and the torch solver: two routes, one path."""

    class Twin(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = TANH.split(START)
            self.c = torch.nn.Parameter(torch.from_numpy(parts["c"]))
            self.A = torch.nn.Parameter(torch.from_numpy(parts["A"]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x @ self.A.T) @ self.c.T

    steps = 8 if isinstance(R, xu.SquaredL2) else 40  # which weights are 0 may differ on the way, not at the end
    settings: dict[str, Any] = {"x_retain": X[:3], "regularizer": R, "steps": steps, "x_forget": X[3:]}
    ours = xu.unlearn_path(TANH, START, **settings)
    theirs = xu.unlearn_path(Twin(), None, **settings)
    assert theirs.value == pytest.approx(ours.value, rel=1e-6)
    assert ours.status is theirs.status
    if isinstance(R, xu.SquaredL2):
        np.testing.assert_allclose(theirs.theta, ours.theta, rtol=0, atol=1e-6)
        assert [step.accepted for step in theirs.steps] == [step.accepted for step in ours.steps]
        assert theirs.effect.forgotten_change == pytest.approx(ours.effect.forgotten_change, rel=1e-5)
    else:
        assert ours.status is xu.PathStatus.CONVERGED


def test_on_the_network_of_the_demo() -> None:
    scene = build_scene(np.random.default_rng(3), Size())
    digits = scene.digits
    path = xu.unlearn_path(scene.model, scene.theta_star, digits.x_retain, xu.SquaredL2(), steps=12, solver="scalable")
    seen = demo_effect(digits, scene.model, path.theta)
    assert seen.interpolation_error <= 1e-12
    assert seen.retained == 1
    assert seen.relabelled >= 7
    assert path.value < 0.05 * path.start_value


# --- ReLU: the exact optimum, as a convex program over the activation patterns of one input and a bias ----------------


def relu_case(seed: int) -> tuple[Array, Array, Array]:
    """Eight samples of a sine, the fifth of them poisoned."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.sort(rng.uniform(-2, 2, 8)), np.ones(8)])
    y = np.sin(2 * x[:, 0])
    y[4] = 2.0
    return x, y, np.arange(8) != 4


def relu_optimum(x: Array, y: Array) -> tuple[float, Array, Array]:
    """The least |theta|^2/2 of all networks of relu units through these samples, and one that has it: (A, c)."""
    angles = np.sort(np.concatenate([np.arctan2(-x[:, 0], x[:, 1]) + turn for turn in (0.0, np.pi, 2 * np.pi)]))
    middles = np.column_stack([np.cos(m := (angles[1:] + angles[:-1]) / 2), np.sin(m)])
    patterns = [np.array(p) for p in sorted({tuple(row) for row in (middles @ x.T > 0).tolist()}) if any(p)]
    V, W = cp.Variable((len(patterns), 2)), cp.Variable((len(patterns), 2))
    output = sum(cp.multiply(p, x @ (V[i] - W[i])) for i, p in enumerate(patterns))
    rules = [output == y]
    for i, p in enumerate(patterns):
        signed = np.where(p, 1, -1)[:, None] * x
        rules += [signed @ V[i] >= 0, signed @ W[i] >= 0]
    least = cp.Problem(cp.Minimize(cp.sum(cp.norm(V, axis=1)) + cp.sum(cp.norm(W, axis=1))), rules)
    value = least.solve(solver="CLARABEL")
    units = [(v, sign) for part, sign in ((V.value, 1.0), (W.value, -1.0)) for v in part if np.linalg.norm(v) > 1e-7]
    roots = [np.sqrt(np.linalg.norm(v)) for v, _ in units]
    A = np.array([v / root for (v, _), root in zip(units, roots, strict=True)])
    return float(value), A, np.array([sign * root for (_, sign), root in zip(units, roots, strict=True)])


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_relu_networks_reach_the_certified_optimum_and_never_less(seed: int) -> None:
    """The poisoned optimum has its units on kinks, where J is one-sided; the labels are met all the same.

    Without the pieces that meet at a kink the paths of the seeds 1 and 3 ended 58 % and 0.9 % above the optimum.
    """
    x, y, keep = relu_case(seed)
    _, A, c = relu_optimum(x, y)
    best = relu_optimum(x[keep], y[keep])[0]
    assert seed not in (0, 2) or best == pytest.approx({0: 8.16034754, 2: 7.43838794}[seed], rel=1e-7)
    model = xu.Perceptron(2, len(c), "relu")
    theta_star = model.join({"c": c[None, :], "A": A})
    path = xu.unlearn_path(model, theta_star, x[keep], xu.SquaredL2(), y[keep], steps=60, solver="direct")
    assert np.max(np.abs(model.predict(path.theta, x[keep])[:, 0] - y[keep])) < 1e-9
    assert best * (1 - 1e-7) <= path.value <= best * (1 + 1e-5)
    assert seed not in (1, 3) or any(step.kinks for step in path.accepted)
    values = [path.start_value, *(step.value for step in path.accepted)]
    assert all(after < before for before, after in pairwise(values))


def best_of_pieces(model: xu.Perceptron, theta: Array, x: Array, y: Array, slope: float, limit: int) -> float:
    """The least R of all networks whose units have the signs and sides of theta, on either side where at a kink: in the
    vectors |c_j| a_j a convex program per choice of sides, by CVXPY.
    """
    c, A = model.split(theta).values()
    used = np.abs(c[0]) > 1e-9
    signs, A = np.sign(c[0, used]), A[used] * np.abs(c[0, used])[:, None]
    z = x @ A.T
    near = np.argwhere(np.abs(z) <= 1e-6 * np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(A, axis=1))
    assert len(near) <= limit
    found = np.inf
    for choice in product([-1.0, 1.0], repeat=len(near)):
        sides = np.where(z > 0, 1.0, -1.0)
        sides[tuple(near.T)] = choice
        V = cp.Variable(A.shape)
        slopes = np.where(sides > 0, 1.0, slope)
        output = sum(cp.multiply(signs[j] * slopes[:, j], x @ V[j]) for j in range(len(A)))
        rules = [output == y, *(cp.multiply(sides[:, j], x @ V[j]) >= 0 for j in range(len(A)))]
        value = cp.Problem(cp.Minimize(cp.sum(cp.norm(V, axis=1))), rules).solve(solver="CLARABEL")
        found = min(found, float(value))
    return found


@pytest.mark.parametrize(("activation", "slope"), [("relu", 0.0), ("leaky_relu", 0.25), ("abs", -1.0)])
def test_where_a_path_converges_no_piece_goes_further_down(activation: str, slope: float) -> None:
    """Every piece around the end is decided as a convex program of its own; some ends are kinks."""
    kinks = 0
    phi = Activation("leaky_relu", slope) if activation == "leaky_relu" else activation
    for seed in range(1 if activation == "leaky_relu" else 2):
        rng = np.random.default_rng(seed)
        x = np.column_stack([rng.uniform(-2, 2, 5), np.ones(5)])
        model = xu.Perceptron(2, 8, phi)
        y = np.abs(rng.standard_normal(5)) if activation == "abs" else rng.standard_normal(5)
        theta_star = model.interpolating_parameters(x, y, rng)
        path = xu.unlearn_path(model, theta_star, x, xu.SquaredL2(), y, steps=400, solver="direct")
        assert path.status is xu.PathStatus.CONVERGED, path.summary()
        assert path.value == pytest.approx(best_of_pieces(model, path.theta, x, y, slope, limit=7), rel=1e-5)
        z = x @ model.split(path.theta)["A"].T
        kinks += int(np.sum(np.abs(z) <= 1e-6 * np.abs(z).max()))
    assert kinks > 0 or activation == "abs"


@pytest.mark.parametrize("bias", [False, True])
def test_modules_that_bend_are_known_as_well(bias: bool) -> None:
    """The network of a seed that has its units on kinks, as a torch module; biases are the constant input."""
    x, y, keep = relu_case(1)
    _, A, c = relu_optimum(x, y)
    best = relu_optimum(x[keep], y[keep])[0]
    first, last = torch.nn.Linear(1 if bias else 2, len(c), bias=bias), torch.nn.Linear(len(c), 1, bias=False)
    module = torch.nn.Sequential(first, torch.nn.ReLU(), last).double()
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(A[:, :1] if bias else A))
        last.weight.copy_(torch.from_numpy(c[None]))
        if bias:
            first.bias.copy_(torch.from_numpy(A[:, 1]))
    inputs = torch.from_numpy(x[keep][:, :1] if bias else x[keep])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KinkWarning)
        path = xu.unlearn_path(module, None, inputs, xu.SquaredL2(), torch.from_numpy(y[keep]), steps=60)
    assert path.error < 1e-9
    assert best * (1 - 1e-7) <= path.value <= best * (1 + 1e-4)


def test_the_polynomial_of_a_module_is_that_module_and_its_jacobian_the_derivative() -> None:
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LeakyReLU(0.25), torch.nn.Linear(5, 2)).double()
    model, x = xu.scalable.ModuleModel(module), torch.randn(7, 3, generator=generator, dtype=torch.float64)
    theta = np.random.default_rng(0).standard_normal(model.n_parameters)
    network = bent(model, x)
    assert network is not None
    sides = np.where(network.inner(theta) > 0, 1.0, -1.0)
    np.testing.assert_allclose(network.outputs(theta, sides), model.predict(theta, x), atol=1e-12)
    expected = model.jacobian(torch.from_numpy(theta), x).dense().numpy()
    np.testing.assert_allclose(network.jacobian(theta, sides), expected, atol=1e-12)
    others: list[torch.nn.Module] = [
        torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)),
        torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU()),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)),
    ]
    others.append(torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)))
    others[-1][0].requires_grad_(False)  # type: ignore[index]
    assert [bent(xu.scalable.ModuleModel(other), x) for other in others] == [None] * 4
    assert bent(TANH, X) is None
