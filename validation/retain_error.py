"""How far is theta* + drift from interpolating?  The error on the retain data of models that are not linear.

Moving along the drift for lam = 0, D_0 = -P_perp theta*, by s = 1/(1+lam) (Appendix E), the outputs are a series in
s whose linear term is 0, since J D_0 = 0.  So the error is sum_k>=2 q_k s^k: about (1+lam)^-2.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .appendix_e import outputs_of, rows_of
from .finding import Measurement, close, equal, worst_of
from .instances import Rng, taught_perceptron
from .lemma_1 import instance as network_instance

EXPONENT = 2e-4
"""Allowed in a measured exponent, relatively: rounding of errors near 1e-10."""


def interpolation_series(model: Any, theta: Any, x: Any, order: int) -> list[Any]:
    """Coefficients of f(theta* + s D_0, x) in s, where D_0 = -P_perp theta* is the drift for lam = 0; then s =
    1/(1+lam).
    """
    J = rows_of(model, theta, x)
    drift = naive.project(J, theta) - theta
    return naive.taylor(lambda t: np.asarray(outputs_of(model, x)(t), dtype=object).reshape(-1), theta, drift, order)


def error_law(rng: Rng, case: Any) -> Measurement:
    """Exactly: the error at lam is sum_k>=2 q_k (1+lam)^-k, q_k the Taylor coefficients along the drift; no linear
    term.
    """
    kind, order = case
    model, theta, x = _nonlinear(rng, kind)
    q = interpolation_series(model, theta, x, order)
    lam = Fraction(int(rng.integers(0, 12)), 4)
    moved = theta + closed_form.appendix_e_drift(model.jacobian(theta, x), theta, lam)
    f = outputs_of(model, x)
    error = np.asarray(f(moved), dtype=object).reshape(-1) - np.asarray(f(theta), dtype=object).reshape(-1)
    predicted = sum(q[k] / (1 + lam) ** k for k in range(2, order + 1))
    return worst_of(
        [equal(predicted, error), equal(0 * q[1], q[1], shown=(max(predicted, key=abs), max(error, key=abs)))]
    )


def _nonlinear(rng: Rng, kind: Any) -> tuple[Any, Any, Any]:
    if isinstance(kind, int):
        while True:
            network, theta, data = network_instance(rng, kind)
            if data.y[: data.n_retain].all():
                return network, theta, data.retain[0]
    model, theta, data = taught_perceptron(rng, kind, 3, 4, 3, 0)
    return model, theta, data.x


def exponent(rng: Rng, case: Any) -> Measurement:
    """Every smooth activation, floats: the exponent of the error of one sample between s = 1/(1+lam) and s/10 is
    -2 + a s + O(s^2); from two neighbouring decades, the term a s is eliminated.
    """
    model = xu.Perceptron(3, 8, case)
    theta, x = rng.standard_normal(model.n_parameters), rng.standard_normal((4, 3))
    J, before = model.jacobian(theta, x), model.predict(theta, x)
    errors = []
    for s in (1e-1, 1e-3, 1e-4, 1e-5):
        moved = theta + closed_form.appendix_e_drift(J, theta, 1 / s - 1)
        errors.append(np.abs(model.predict(moved, x) - before)[:, 0])
    i = int(np.argmax(errors[1]))
    first, second = (math.log10(errors[k + 1][i] / errors[k][i]) for k in (1, 2))
    return close(-2.0, second + (second - first) / 9, EXPONENT, error=float(errors[0].max()))


def depth(rng: Rng, case: Any) -> Measurement:
    """Linear networks of depth L: the coefficient of (1+lam)^-2 dominates for large lam, whatever the depth:
    exponent -2, exactly in the limit.  The relative error at lam = 0 is kept for the figure.
    """
    while True:
        network, theta, data = network_instance(rng, case)
        x = data.retain[0]
        q = interpolation_series(network, theta, x, case)
        if data.y[: data.n_retain].any() and q[2].any():
            break
    i = int(np.argmax(np.abs(q[2].astype(float))))
    lam = Fraction(10**9)
    moved = theta + closed_form.appendix_e_drift(network.jacobian(theta, x), theta, lam)
    f = outputs_of(network, x)
    error = (np.asarray(f(moved), dtype=object) - np.asarray(f(theta), dtype=object)).reshape(-1)[i]
    scaled = error * (1 + lam) ** 2 / q[2][i]
    size = max(abs(value) for value in data.y[: data.n_retain, 0])
    at_zero = max(abs(sum(q[k][j] for k in range(2, case + 1))) for j in range(len(x)))
    return close(1, scaled, 1e-6, proof="enclosure", depth=case, error=float(at_zero / size))
