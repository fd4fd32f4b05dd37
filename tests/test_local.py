"""Local certificates: what they say is so, by other routes; what cannot be proved is refused with the reason."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import exact_unlearn as xu
from exact_unlearn.local import checker
from exact_unlearn.local.network import SMOOTH
from tests.local_cases import NETWORKS, certified, data

TORCH = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "erf": torch.erf,
    "sin": torch.sin,
    "square": torch.square,
    "identity": lambda s: s,
}


def torch_outputs(network: xu.SmoothNetwork, theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The same network, written by hand."""
    h, start = x, 0
    for rows, below, bias, phi in zip(network.widths[1:], network.widths, network.bias, network.phis, strict=False):
        seen = torch.cat([h, torch.ones(len(h), 1, dtype=h.dtype)], 1) if bias else h
        W = theta[start : start + rows * (below + bias)].reshape(rows, below + bias)
        h, start = TORCH[phi](seen @ W.T), start + W.numel()
    return h


# --- the network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_derivatives_are_those_of_torch(name: str) -> None:
    network, theta, x, y = data(name)
    nu = np.arange(1.0, y.size + 1)
    f, J, S = network.second_order(theta, x, nu)
    t, points = torch.tensor(theta), torch.tensor(x)

    def outputs(t: torch.Tensor) -> torch.Tensor:
        return torch_outputs(network, t, points).reshape(-1)

    assert np.allclose(f, outputs(t), atol=1e-13)
    assert np.allclose(network.predict(theta, x).reshape(-1), f, atol=0)
    assert np.allclose(J, torch.autograd.functional.jacobian(outputs, t), atol=1e-12)
    assert np.allclose(network.jacobian(theta, x).matrix, J, atol=0)
    weighted = torch.autograd.functional.hessian(lambda t: outputs(t) @ torch.tensor(nu), t)
    assert np.allclose(S, weighted, atol=1e-11)


@pytest.mark.parametrize("phi", SMOOTH)
def test_activations_far_out_are_finite(phi: str) -> None:
    with np.errstate(all="raise", under="ignore"):
        for values in SMOOTH[phi](np.array([-1e4, -50.0, 0.0, 50.0, 1e4])):
            assert np.isfinite(values).all()


def test_networks_are_models_of_surrogate_problems() -> None:
    network, theta, x, _ = data("two hidden layers")
    problem = xu.surrogate_problem(network, theta, x, xu.SquaredL2())
    assert xu.certify(problem).proof == "exact"
    affine = xu.exact_problem(network, theta, x[:2], [[0.5], [1.0]], xu.SquaredL2(), free="W3")
    fitted = network.predict(xu.solve(affine).theta, x[:2])
    assert np.allclose(fitted, [[0.5], [1.0]])
    assert not network.is_affine_in()
    assert not network.is_affine_in("W1")


# --- certificates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_every_case_is_proved_and_checked(name: str) -> None:
    certificate = certified(name)
    assert (certificate.proof, certificate.proved, certificate.strict_minimum) == ("local", False, True)
    assert certificate.upper - certificate.lower < Fraction(1, 10**60)
    assert certificate.distance < certificate.radius * Fraction(1, 10**30)
    found = certificate.check()
    assert (found.proof, found.proved, found.minimum) == ("local", False, True)
    assert (found.lower, found.upper) == certificate.value
    assert found.digest == certificate.digest
    assert "local minimum" in certificate.summary()
    assert "optimal" not in certificate.summary() + " ".join(found.sentences)


@pytest.mark.parametrize("name", NETWORKS)
def test_sequential_programming_of_scipy_lands_there(name: str) -> None:
    """From other starts, by a program that shares no line with ours: the same point, within the radius."""
    network, _, x, y = data(name)
    certificate, rng = certified(name), np.random.default_rng(0)
    for _ in range(2):
        found = minimize(
            lambda t: 0.5 * t @ t,
            certificate.theta + 1e-3 * rng.normal(size=network.n_parameters),
            jac=lambda t: t,
            constraints={
                "type": "eq",
                "fun": lambda t: network.predict(t, x).reshape(-1) - y.reshape(-1),
                "jac": lambda t: network.jacobian(t, x).matrix,
            },
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        assert np.linalg.norm(found.x - certificate.theta) < 1e-5
        assert certificate.contains(found.x)
        assert abs(found.fun - float(certificate.lower)) < 1e-8


ONE_NEURON = xu.SmoothNetwork((2, 1, 1), "tanh", (True, False))
TWO_POINTS = [[1.0, 0.5], [-0.25, 1.0]], [0.5, -0.3]


def test_penalties_and_torch_land_there() -> None:
    """L-BFGS on 1/2 |theta|^2 + c/2 |f - y|^2 ends at a distance O(1/c) from the constrained minimum."""
    x, y = map(torch.tensor, TWO_POINTS)
    certificate = xu.certify_local(ONE_NEURON, [0.5, 0.1, 0.0, 1.0], *TWO_POINTS)
    theta = torch.tensor(certificate.theta + 0.1, requires_grad=True)
    gaps = []
    for c in (1e3, 1e4, 1e5):
        method = torch.optim.LBFGS([theta], max_iter=500, tolerance_grad=1e-13, tolerance_change=0,
                                   line_search_fn="strong_wolfe")  # fmt: skip

        def loss(method: Any = method, c: float = c) -> Any:
            method.zero_grad()
            missed = torch_outputs(ONE_NEURON, theta, x.double())[:, 0] - y
            total = 0.5 * theta @ theta + 0.5 * c * (missed**2).sum()
            total.backward()
            return total

        method.step(loss)
        gaps.append(float(np.linalg.norm(theta.detach().numpy() - certificate.theta)))
    assert gaps[2] < 1e-3
    assert np.allclose([gaps[1] / gaps[0], gaps[2] / gaps[1]], 0.1, rtol=0.05)


def test_value_and_multipliers_by_another_arithmetic() -> None:
    """mpmath's Newton method on the KKT system of a network with one neuron, written as formulas."""
    x, y = TWO_POINTS
    certificate = xu.certify_local(ONE_NEURON, [0.5, 0.1, 0.0, 1.0], x, y)
    assert certificate.proof == "local"
    with mpmath.workdps(90):

        def F(a: Any, b: Any, w: Any, c: Any, p: Any, q: Any) -> list[Any]:
            s = [a * u + b * v + w for u, v in x]
            h = [mpmath.tanh(z) for z in s]
            d = [1 - z * z for z in h]
            nu = (p, q)
            pulled = [
                sum(n * c * g * row[k] for n, g, row in zip(nu, d, [(*r, 1) for r in x], strict=True)) for k in range(3)
            ]
            last = c - sum(n * z for n, z in zip(nu, h, strict=True))
            return [a - pulled[0], b - pulled[1], w - pulled[2], last, c * h[0] - y[0], c * h[1] - y[1]]

        start = [*certificate.theta.tolist(), *certificate.nu.tolist()]
        root = mpmath.findroot(F, start, tol=1e-160)
        value = sum(root[i] ** 2 for i in range(4)) / 2
        lower, upper = (mpmath.mpf(v.numerator) / v.denominator for v in certificate.value)
        assert lower <= value <= upper
        assert upper - lower < mpmath.mpf(10) ** -60
    assert np.allclose([float(root[i]) for i in range(6)], start, atol=1e-15)


def test_a_centre_and_exact_labels() -> None:
    """Retraining from given parameters; labels that are no floats."""
    network, theta, x, y = data("tanh")
    labels = np.array([[Fraction(1, 3)]] * len(y), dtype=object)
    certificate = xu.certify_local(network, theta, x, labels, centre=theta)
    assert certificate.strict_minimum
    exact = sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(certificate.theta, theta, strict=True)) / 2
    assert abs(exact - certificate.lower) < Fraction(1, 10**12)
    assert '"1/3"' in str(certificate.tree["y"]).replace("'", '"')
    assert certificate.check().proof == "local"


def test_nothing_retained_gives_the_centre() -> None:
    network, theta, _, _ = data("tanh")
    certificate = xu.certify_local(network, theta, np.zeros((0, 3)), np.zeros((0, 1)), centre=theta)
    assert certificate.strict_minimum
    assert np.array_equal(certificate.theta, theta)
    assert certificate.lower == 0
    assert certificate.upper < Fraction(1, 10**100)
    assert certificate.contains(theta)
    assert certificate.check().proof == "local"


def test_a_linear_model_has_the_closed_form() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(-3, 4, (2, 5)), rng.integers(-3, 4, 2)
    certificate = xu.certify_local(xu.LinearModel(5), np.zeros(5), x, y)
    from exact_unlearn import closed_form

    exact = closed_form.project_onto_span(x.astype(object) + Fraction(0), np.linalg.lstsq(x * 1.0, y * 1.0)[0])
    assert np.allclose(np.asarray(exact, dtype=float), certificate.theta)
    assert certificate.radius >= 1


def test_a_saddle_is_no_minimum() -> None:
    """f = c tanh(a): the fit with c = 0 is impossible, but a neuron that is off, where the gradient calls for it, is a
    saddle."""
    network = xu.SmoothNetwork((1, 2, 1), "tanh")
    rng = np.random.default_rng(0)
    alone = xu.certify_local(xu.SmoothNetwork((1, 1, 1), "tanh"), [1.0, 1.0], [[1.0]], [3.0])
    theta = np.array([alone.theta[0], 0.0, alone.theta[1], 0.0])
    certificate = xu.certify_local(network, theta, [[1.0]], [3.0])
    assert certificate.strict_minimum is False
    assert certificate.check().minimum is False
    assert "no local minimum" in certificate.summary()
    better = xu.certify_local(network, theta + 0.1 * rng.normal(size=4), [[1.0]], [3.0])
    assert better.strict_minimum
    assert better.upper < certificate.lower


def test_growth_is_seen_along_the_constraints() -> None:
    """Feasible points within the radius: what they cost more is at least growth/2 times the squared distance."""
    network, _, x, y = data("tanh")
    certificate, rng = certified("tanh"), np.random.default_rng(3)
    for _ in range(20):
        step = rng.normal(size=24)
        theta = certificate.theta + 0.9 * float(certificate.radius) * step / np.linalg.norm(step)
        for _ in range(6):
            missed = network.predict(theta, x) - y
            theta = theta - np.linalg.pinv(network.jacobian(theta, x).matrix) @ missed.reshape(-1)
        assert certificate.contains(theta)
        far = np.linalg.norm(theta - certificate.theta) ** 2
        assert 0.5 * theta @ theta - float(certificate.upper) >= 0.5 * float(certificate.growth) * far - 1e-13


# --- models of the house and of torch -------------------------------------------------------------------------------


def test_a_perceptron_keeps_its_order() -> None:
    rng = np.random.default_rng(4)
    model = xu.Perceptron(3, 5, "tanh")
    x, y = rng.normal(size=(4, 3)), 0.5 * rng.normal(size=4)
    certificate = xu.certify_local(model, rng.normal(size=20), x, y)
    assert certificate.strict_minimum
    assert np.allclose(model.predict(certificate.theta, x)[:, 0], y, atol=1e-14)
    J, nu = model.jacobian(certificate.theta, x), certificate.nu
    assert np.allclose(J.rmatvec(nu), certificate.theta, atol=1e-13)


def test_a_torch_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    x, y = torch.randn(3, 2).double(), torch.tensor([0.5, -0.5, 0.25]).double()
    certificate = xu.certify_local(module, None, x, y)
    assert certificate.strict_minimum
    torch.nn.utils.vector_to_parameters(torch.tensor(certificate.theta), module.parameters())
    assert np.allclose(module(x).detach()[:, 0], y, atol=1e-14)
    certificate.save(tmp_path / "local.json")
    again = xu.LocalCertificate.load(tmp_path / "local.json", module)
    assert np.array_equal(again.theta, certificate.theta)
    assert again.contains(certificate.theta)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)], "relu has a kink"),
        ([torch.nn.Linear(2, 2), torch.nn.Dropout(), torch.nn.Linear(2, 1)], "got Dropout"),
        ([torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Tanh()], "got Tanh"),
        ([torch.nn.Linear(2, 2), torch.nn.GELU("tanh")], "default options"),
        ([torch.nn.Linear(2, 2), torch.nn.Linear(3, 1)], "3 inputs follows one of 2"),
        ([torch.nn.Tanh()], "got Tanh"),
        ([], "at least one Linear layer"),
        ([torch.nn.Linear(2, 1).requires_grad_(False)], "frozen"),
    ],
)
def test_other_modules_are_refused(parts: list[Any], sentence: str) -> None:
    with pytest.raises(xu.ProblemError, match=sentence):
        xu.certify_local(torch.nn.Sequential(*parts), None, np.ones((1, 2)), [1.0])


# --- refusals -------------------------------------------------------------------------------------------------------


def test_kinks_are_refused() -> None:
    for name in ("relu", "leaky_relu"):
        with pytest.raises(xu.ProblemError, match="kink"):
            xu.certify_local(xu.Perceptron(1, 2, name), np.ones(4), [[1.0]], [1.0])


def refusal(network: xu.SmoothNetwork, theta: Any, x: Any, y: Any) -> str:
    certificate = xu.certify_local(network, theta, x, y)
    assert (certificate.proof, certificate.proved, certificate.value) == ("none", False, None)
    assert not certificate.contains(theta)
    assert certificate.message in certificate.summary()
    for action in (certificate.check, lambda: certificate.save("nowhere.json")):
        with pytest.raises(xu.ProblemError, match="nothing was proved"):
            action()
    return str(certificate.message)


def test_linear_layers_turn_and_are_refused() -> None:
    network = xu.SmoothNetwork((3, 3, 1), "identity")
    said = refusal(network, np.random.default_rng(0).normal(size=12), np.eye(3)[:2], [1.0, 2.0])
    assert "singular" in said
    assert "symmetry" in said
    assert "W1[" in said


def test_neurons_at_the_edge_are_refused() -> None:
    """f = c tanh(a) near 0 is c a, whose neurons turn into each other at no cost: degenerate as labels go to 0."""
    network = xu.SmoothNetwork((1, 2, 1), "tanh")
    theta = [1e-5, 0.0, 1e-5, 0.0]
    assert "singular" in refusal(network, theta, [[1.0]], [1e-10])
    assert xu.certify_local(network, [0.1, 0.0, 0.1, 0.0], [[1.0]], [1e-2]).proof == "local"


def test_repeated_samples_are_refused() -> None:
    network, theta, x, y = data("tanh")
    said = refusal(network, theta, np.vstack([x, x[:1]]), np.vstack([y, y[:1]]))
    assert "dependent" in said
    assert "0, 6" in said


def test_contradicting_samples_are_refused() -> None:
    network, theta, x, y = data("tanh")
    assert "dependent" in refusal(network, theta, np.vstack([x, x[:1]]), np.vstack([y, y[:1] + 1]))


def test_more_labels_than_parameters_are_refused() -> None:
    rng = np.random.default_rng(0)
    said = refusal(xu.SmoothNetwork((2, 1, 1), "tanh"), np.ones(3), rng.normal(size=(4, 2)), rng.normal(size=4))
    assert "4 retained outputs, but 3 parameters" in said


def test_labels_out_of_reach_are_refused() -> None:
    network = xu.SmoothNetwork((1, 2, 1), "tanh", True, "sigmoid")
    assert "no parameters that fit" in refusal(network, np.ones(7), [[1.0]], [2.0])


def test_what_leaves_the_range_of_floats_is_refused() -> None:
    network = xu.SmoothNetwork((1, 2, 2, 1), "square")
    for start in (1e60, 1e30, 1e150):
        assert "range of floats" in refusal(network, np.full(8, start), [[1.0]], [1.0])


def test_what_does_not_fit_is_named() -> None:
    network, theta, x, y = data("tanh")
    for arguments, sentence in [
        ((theta[:-1], x, y), "theta: expected 24 parameters"),
        ((theta, x[:, :2], y), "x_retain: expected shape"),
        ((theta, x, y[:-1]), "y_retain: expected shape"),
        ((theta * np.nan, x, y), "theta: expected finite"),
        ((theta, x * 1e30, y), "x_retain: expected numbers below 2\\^64"),
        ((theta, x, y, theta[:3]), "centre: expected 24 parameters"),
    ]:
        with pytest.raises(xu.ProblemError, match=sentence):
            xu.certify_local(network, *arguments)
    with pytest.raises(xu.ProblemError, match="at most 1024 parameters"):
        xu.certify_local(xu.SmoothNetwork((9, 200, 1)), np.zeros(2000), np.ones((1, 9)), [1.0])


# --- files ----------------------------------------------------------------------------------------------------------


def test_files_come_back(tmp_path: Path) -> None:
    network, _, _, _ = data("tanh")
    certificate = certified("tanh")
    certificate.save(tmp_path / "a.json")
    for again in (
        xu.LocalCertificate.load(tmp_path / "a.json"),
        xu.LocalCertificate.load(tmp_path / "a.json", network),
    ):
        assert again.tree == certificate.tree
        assert again.value == certificate.value
        assert np.array_equal(again.theta, certificate.theta)
        assert again.check() == checker.check(tmp_path / "a.json") == certificate.check()
    with pytest.raises(xu.ProblemError, match="24 parameters"):
        xu.LocalCertificate.load(tmp_path / "a.json", xu.SmoothNetwork((1, 1)))


@pytest.mark.parametrize("key", ["claims", "theta", "bits", "radius"])
def test_damaged_files_are_one_sentence(key: str, tmp_path: Path) -> None:
    from exact_unlearn import codec

    tree = dict(certified("a product").tree)
    del tree[key]
    codec.save_object(tmp_path / "a.json", tree)
    with pytest.raises(xu.FileFormatError, match=key):
        xu.LocalCertificate.load(tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"schema": "other"}')
    with pytest.raises(xu.FileFormatError, match="schema"):
        xu.LocalCertificate.load(tmp_path / "b.json")
