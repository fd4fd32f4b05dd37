"""Activations against torch, against 50-digit arithmetic in the tails, and exact on Fractions."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr

from exact_unlearn.activations import KNOWN, Activation, as_activation
from exact_unlearn.errors import ProblemError

RATIONAL = ("relu", "leaky_relu", "abs", "square", "identity")
TRANSCENDENTAL = ("silu", "gelu", "tanh", "sigmoid", "softplus")
TORCH = {
    "relu": torch.nn.functional.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "abs": torch.abs,
    "square": torch.square,
    "identity": lambda z: z * 1,
}


def torch_value_and_derivative(name: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = TORCH[name](t)
    (derivative,) = torch.autograd.grad(value.sum(), t)
    return value.detach().numpy(), derivative.numpy()


def test_every_known_name_is_compared() -> None:
    assert set(KNOWN) == set(TORCH) == set(RATIONAL) | set(TRANSCENDENTAL)


@pytest.mark.parametrize("name", KNOWN)
def test_value_and_derivative_are_those_of_torch(name: str, rng: np.random.Generator) -> None:
    z = np.concatenate([[0.0, -0.0, 1.0, -1.0, 19.0, -19.0], 4 * rng.standard_normal(2000)])
    value, derivative = torch_value_and_derivative(name, z)
    np.testing.assert_allclose(Activation(name).value(z), value, rtol=4e-15, atol=4e-15)
    np.testing.assert_allclose(Activation(name).derivative(z), derivative, rtol=4e-15, atol=4e-15)


@pytest.mark.parametrize("name", KNOWN)
def test_derivative_at_zero_is_that_of_torch(name: str) -> None:
    _, derivative = torch_value_and_derivative(name, np.zeros(1))
    assert Activation(name).derivative(np.zeros(1))[0] == derivative[0]


@pytest.mark.parametrize("name", KNOWN)
def test_derivative_is_the_slope_of_the_value(name: str) -> None:
    z = np.linspace(-6, 6, 240)  # an even number: 0 is not among them
    slope = (Activation(name).value(z + 1e-6) - Activation(name).value(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(Activation(name).derivative(z), slope, rtol=0, atol=2e-8)


def precise(name: str, z: float) -> tuple[Decimal, Decimal]:
    """Value and derivative from the textbook formulas in 400 digits, where cancellation does no harm."""
    with localcontext() as context:
        context.prec = 400
        x = Decimal(z)
        e = (-x).exp()
        s = 1 / (1 + e)
        t = 2 / (1 + (-2 * x).exp()) - 1
        return {
            "sigmoid": (s, s * (1 - s)),
            "silu": (x * s, s + x * s * (1 - s)),
            "tanh": (t, 1 - t * t),
            "softplus": ((1 + x.exp()).ln(), s),
        }[name]


@pytest.mark.parametrize("name", ["sigmoid", "silu", "tanh", "softplus"])
@pytest.mark.parametrize("z", [-300.0, -40.0, -21.0, -3.0, -1e-9, 1e-9, 0.7, 17.5, 40.0, 300.0])
def test_tails_keep_their_relative_accuracy(name: str, z: float) -> None:
    value, derivative = precise(name, z)
    phi = Activation(name)
    assert abs(Decimal(float(phi.value(z))) / value - 1) < Decimal("4e-15")
    assert abs(Decimal(float(phi.derivative(z))) / derivative - 1) < Decimal("4e-15")


@pytest.mark.parametrize("z", [-30.0, -12.0, -5.0, -0.3, 0.3, 5.0, 12.0])
def test_gelu_tail(z: float) -> None:
    cdf, density = np.exp(log_ndtr(z)), np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    assert Activation("gelu").value(z) == pytest.approx(z * cdf, rel=1e-12)
    assert Activation("gelu").derivative(z) == pytest.approx(cdf + z * density, rel=1e-12)


@pytest.mark.parametrize("name", KNOWN)
def test_nothing_overflows(name: str) -> None:
    huge = 1e150 if name == "square" else 1e300
    z = np.array([-huge, -1e4, 1e4, huge])  # warnings are errors here
    assert np.isfinite(Activation(name).value(z)).all()
    assert np.isfinite(Activation(name).derivative(z)).all()


@pytest.mark.parametrize("name", RATIONAL)
@given(z=st.fractions(max_denominator=1000))
def test_fractions_are_exact(name: str, z: Fraction) -> None:
    phi = Activation(name)
    slope = Fraction(1, 100)
    expected = {
        "relu": (max(z, Fraction(0)), Fraction(z > 0)),
        "abs": (abs(z), Fraction((z > 0) - (z < 0))),
        "leaky_relu": (z if z > 0 else z * slope, Fraction(1) if z > 0 else slope),
        "square": (z * z, 2 * z),
        "identity": (z, Fraction(1)),
    }[name]
    argument = np.array([z], dtype=object)
    value, derivative = phi.value(argument)[0], phi.derivative(argument)[0]
    assert isinstance(value, Fraction)
    assert isinstance(derivative, Fraction)
    assert (value, derivative) == expected
    assert phi.value(float(z)) == pytest.approx(float(value), rel=1e-14)
    assert phi.derivative(float(z)) == pytest.approx(float(derivative), rel=1e-14)


@pytest.mark.parametrize("name", TRANSCENDENTAL)
def test_transcendental_activations_refuse_fractions(name: str) -> None:
    for method in (Activation(name).value, Activation(name).derivative):
        with pytest.raises(ProblemError, match=f"activation: {name} has no exact values on Fractions.*relu, leaky"):
            method(np.array([Fraction(1, 2)]))


def test_slope_of_leaky_relu() -> None:
    steep = Activation("leaky_relu", slope=0.25)
    assert steep.slope == Fraction(1, 4)
    assert steep.value([-8.0, 8.0]).tolist() == [-2.0, 8.0]
    assert steep.derivative([-8.0, 0.0, 8.0]).tolist() == [0.25, 0.25, 1.0]
    assert Activation("leaky_relu", slope=1).is_linear
    assert not steep.is_linear
    assert Activation("leaky_relu") == Activation("leaky_relu", slope=Fraction(1, 100))


def test_linear_activations_are_named_as_such() -> None:
    assert [name for name in KNOWN if Activation(name).is_linear] == ["identity"]
    assert [name for name in KNOWN if Activation(name).is_rational] == list(RATIONAL)


def test_relu_of_a_negative_number_is_plain_zero() -> None:
    assert not np.signbit(Activation("relu").value([-1.0])).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("swish",), "activation: expected one of relu, leaky_relu, silu.*identity, got 'swish'"),
        ((None,), "activation: expected one of .* got None"),
        ((["relu"],), "activation: expected one of .* got \\['relu'\\]"),
        (("relu", 0.1), "slope: relu has none, got 0.1"),
        (("leaky_relu", float("nan")), "slope: expected one finite number, got nan"),
        (("leaky_relu", float("inf")), "slope: expected one finite number, got inf"),
        (("leaky_relu", "1/3"), "slope: expected one finite number, got '1/3'"),
        (("leaky_relu", 1j), "slope: expected one finite number, got 1j"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Activation(*arguments)  # type: ignore[arg-type]


def test_an_activation_passes_through() -> None:
    phi = Activation("leaky_relu", 0.5)
    assert as_activation(phi) is phi
    assert as_activation("tanh") == Activation("tanh")
