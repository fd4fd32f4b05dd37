"""Proposition 1: neurons that reach no output can be erased."""

from __future__ import annotations

from typing import Any

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, close, differ, equal, worst_of
from .instances import Rng, fractions, integers


def _parameters(rng: Rng, model: xu.Perceptron) -> tuple[Any, Any]:
    """C (l, h) with zero columns, A (h, m) with zero rows, integers."""
    C, A = integers(rng, model.n_outputs, model.width), integers(rng, model.width, model.n_inputs)
    C[:, rng.permutation(model.width)[: model.width // 2]] *= 0
    A[int(rng.integers(model.width))] *= 0
    return C, A


def _outputs(model: xu.Perceptron, theta: Any, x: Any) -> Any:
    phi = naive.activation(str(model.activation))
    return naive.perceptron(model.n_inputs, model.width, model.n_outputs, phi, theta, x)


def _function(rng: Rng, case: Any) -> Measurement:
    """The pruned network is the same function, at random rational points."""
    model = xu.Perceptron(3, 7, case)
    C, A = _parameters(rng, model)
    theta, x = model.join({"c": C, "A": A}), integers(rng, 8, 3, high=9)
    pruned = closed_form.proposition_1_prune(model, theta)
    return equal(_outputs(model, theta, x), _outputs(model, pruned, x))


def _counts(rng: Rng, case: Any) -> Measurement:
    """R stays, counted from the definition; the rows left are exactly R, and each of them was there before."""
    model = xu.Perceptron(3, 7, "relu", case)
    C, A = _parameters(rng, model)
    active = sum(1 for i in range(7) if C[:, i].any() and A[i].any())
    after = model.split(closed_form.proposition_1_prune(model, model.join({"c": C, "A": A})))
    rows = [i for i in range(7) if after["A"][i].any()]
    still = sum(1 for i in range(7) if after["c"][:, i].any() and after["A"][i].any())
    kept = equal(A[rows], after["A"][rows], shown=(active, len(rows)))
    return worst_of([equal([active, active], [len(rows), still], shown=(active, len(rows))), kept])


def _floats(rng: Rng, case: Any) -> Measurement:
    """Every activation in floats, against the definition; a neuron with weight 0 contributes exactly 0 before and
    after.
    """
    model = xu.Perceptron(3, 9, case, 2)
    C, A = (part.astype(float) * rng.standard_normal() for part in _parameters(rng, model))
    theta, x = model.join({"c": C, "A": A}), rng.standard_normal((8, 3))
    pruned = closed_form.proposition_1_prune(model, theta)
    return close(_outputs(model, theta, x), _outputs(model, pruned, x), 0.0)


def _active_row(rng: Rng, case: Any) -> Measurement:
    """Zeroing the row of an active neuron changes the function: f(x) differs where phi(a.x) does from phi(0)."""
    model = xu.Perceptron(3, 7, case)
    C, A = _parameters(rng, model)
    C[0, 0], A[0] = 2, fractions([1, 2, 3])
    x = fractions([[1, 1, 1]])
    theta = model.join({"c": C, "A": A})
    A[0] *= 0
    erased = model.join({"c": C, "A": A})
    return differ(_outputs(model, theta, x)[0, 0], _outputs(model, erased, x)[0, 0])


RATIONAL = naive.RATIONAL_ACTIVATIONS

RESULT = Result(
    name="Proposition 1",
    title="Silent neurons can be erased",
    statement=(
        r"In a perceptron $f = c^\top\varphi(Ax)$, setting the row $a_i$ to 0 wherever $c_i = 0$ changes neither "
        "the function $f$ nor the number $R$ of active neurons, and leaves at most $R$ non-zero rows in $A$."
    ),
    tried=(
        "Integer networks with silent neurons and zero rows; every activation; functions are compared by the "
        "definition of the network."
    ),
    claims=(
        Claim(
            "function",
            "The function stays the same, exactly.",
            _function,
            "largest output",
            cases=RATIONAL,
            quick=16,
        ),
        Claim(
            "counts",
            "$R$ stays, and exactly $R$ rows of $A$ are left, as they were.",
            _counts,
            "rows of A",
            cases=(1, 2),
            quick=24,
        ),
        Claim(
            "every-activation",
            "The same for every activation and two outputs in floating point, bit for bit.",
            _floats,
            "largest output",
            cases=naive.ACTIVATIONS,
            quick=7,
        ),
        Claim(
            "active-row",
            "Erasing the row of an active neuron changes the function.",
            _active_row,
            "output at one point",
            kind="assumption",
            cases=RATIONAL,
            assumptions=(r"broken: $c_i \neq 0$",),
            quick=16,
        ),
    ),
    figure="proposition_1",
    caption="The weights $A$ and $c$ before and after, and the function: the erased rows never reached it.",
)
