"""Corollary 1: a perceptron after unlearning is as narrow as its retain data."""

from __future__ import annotations

from typing import Any

import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

from . import naive
from .finding import Claim, Measurement, Result, at_most, close, differ, equal, worst_of
from .instances import Rng, fractions, integers, taught_perceptron

RATIONAL = naive.RATIONAL_ACTIVATIONS
BIASED = ("sigmoid", "softplus")


def _narrow_outputs(phi: Any, C: Any, A: Any, x: Any, bias: Any) -> Any:
    """sum over the non-zero rows only, plus the constant `bias`: what a narrow network computes."""
    kept = [i for i in range(len(A)) if A[i].any()]
    out = []
    for row in x:
        hidden = [phi(naive.dot(A[i], row)) for i in kept]
        out.append(
            [sum((C[o, i] * z for i, z in zip(kept, hidden, strict=True)), start=bias[o]) for o in range(len(C))]
        )
    return np.array(out, dtype=object)


def _end_to_end(rng: Rng, case: Any) -> Measurement:
    """theta* -> Theorem 5 -> Proposition 1: a network of at most rank Phi rows, evaluated on them alone, fits the
    retain data.
    """
    name, l = case
    model, theta, data = taught_perceptron(rng, name, 3, 9, 3, 2, l)
    x, y = data.retain
    matrices = model.split(closed_form.corollary_1_solution(model, theta, x))
    phi = naive.activation(name)
    A = model.split(theta)["A"]
    features = np.array([[phi(naive.dot(a, row)) for a in A] for row in x], dtype=object)
    s = naive.rank(features)
    rows = int(matrices["A"].any(axis=1).sum())
    fitted = _narrow_outputs(phi, matrices["c"], matrices["A"], x, fractions(np.zeros(l)))
    return worst_of(
        [at_most(s, rows), at_most(s, int(matrices["c"].any(axis=0).sum())), equal(y, fitted, shown=(s, rows))]
    )


def _at_minimiser(rng: Rng, case: Any) -> Measurement:
    """Proposition 1 at the solver's minimiser of Theorem 5, in floats: R stays, counted from the definition, exactly R
    rows are left, R <= s, and these rows alone fit the retain data.
    """
    model, theta, data = taught_perceptron(rng, case, 3, 6, 3, 1)
    x, y = data.retain
    found = xu.solve(xu.surrogate_problem(model, theta, x, xu.ActiveNeurons(model))).theta
    before, after = model.split(found), model.split(closed_form.proposition_1_prune(model, found))
    counts = [
        sum(1 for i in range(model.width) if parts["c"][:, i].any() and parts["A"][i].any())
        for parts in (before, after)
    ]
    rows = int(after["A"].any(axis=1).sum())
    phi, A = naive.activation(case), model.split(theta)["A"]
    s = naive.rank(np.array([[phi(naive.dot(a, row)) for a in A] for row in x], dtype=object))
    fitted = _narrow_outputs(phi, after["c"], after["A"], x.astype(float), np.zeros(1)).astype(float)
    return worst_of(
        [
            equal([counts[0], counts[0]], [counts[1], rows], shown=(counts[0], rows)),
            at_most(s, rows),
            close(y.astype(float), fitted, 1e-9, shown=(counts[0], rows)),
        ]
    )


def _every_activation(rng: Rng, case: Any) -> Measurement:
    """The same in floats; neurons with a_i = 0 are a bias, so rows and bias together make the function."""
    model = xu.Perceptron(3, 20, case)
    x = rng.standard_normal((6, 3))
    theta = rng.standard_normal(model.n_parameters)
    y = model.predict(theta, x)[:4]
    after = model.split(closed_form.corollary_1_solution(model, theta, x[:4]))
    rows = int(after["A"].any(axis=1).sum())
    phi = naive.activation(case)
    fitted = _narrow_outputs(phi, after["c"], after["A"], x[:4], np.zeros(1)).astype(float)
    return worst_of([at_most(4, rows, proof="none"), close(y, fitted, 1e-9, shown=(4, rows))])


def _bias(rng: Rng, case: Any) -> tuple[Any, Any, Any, xu.Perceptron]:
    """A pruned network with a row a_i = 0 that carries c_i phi(0), and a point x."""
    model = xu.Perceptron(2, 6, case)
    A = rng.standard_normal((6, 2))
    A[0] = 0.0
    C = rng.uniform(1, 2, size=(1, 6))
    C[0, 3:] = 0.0
    theta = closed_form.proposition_1_prune(model, model.join({"c": C, "A": A}))
    return theta, model.split(theta), rng.standard_normal((1, 2)), model


def _keeps_bias(rng: Rng, case: Any) -> Measurement:
    theta, after, x, _ = _bias(rng, case)
    phi = naive.activation(case)
    bias = [sum(after["c"][0, i] * phi(0.0) for i in range(6) if not after["A"][i].any())]
    truth = naive.perceptron(2, 6, 1, phi, theta, x)
    return close(truth, _narrow_outputs(phi, after["c"], after["A"], x, bias).astype(float), 1e-14)


def _loses_bias(rng: Rng, case: Any) -> Measurement:
    theta, after, x, _ = _bias(rng, case)
    phi = naive.activation(case)
    truth = naive.perceptron(2, 6, 1, phi, theta, x)
    return differ(
        float(_narrow_outputs(phi, after["c"], after["A"], x, [0.0])[0, 0]), float(truth[0, 0]), 1e-6, proof="none"
    )


def _nothing_retained(rng: Rng, case: Any) -> Measurement:
    """n_r = 0: no neuron is needed."""
    model = xu.Perceptron(3, 5, case)
    theta = integers(rng, model.n_parameters)
    after = closed_form.corollary_1_solution(model, theta, fractions(np.zeros((0, 3))))
    return equal(0, sum(1 for value in after if value))


RESULT = Result(
    name="Corollary 1",
    title="The unlearned perceptron, made narrow",
    statement=(
        "Proposition 1, applied to the solution of Theorem 5, keeps its guarantees: the retain data are fitted, "
        r"at most $s = \operatorname{rank}\Phi \le n_r$ neurons are active, and now $A$ has at most $s$ non-zero "
        r"rows, so the feature map itself is narrow. Ours: with several outputs at most $\operatorname{rank}\Phi$ "
        r"columns of $C$ are non-zero; where $\varphi(0) \neq 0$ the rows that are 0 keep $\sum_{a_i = 0} "
        r"c_i\varphi(0)$ as a bias."
    ),
    tried=(
        "Rational networks with the labels they give, unlearned and pruned end to end; then only the non-zero "
        "rows are evaluated, from the definition, and compared with the labels. Every activation in floats."
    ),
    claims=(
        Claim(
            "end-to-end",
            "At most $s$ non-zero rows, and these rows alone fit the retain data exactly.",
            _end_to_end,
            "non-zero rows (at most)",
            cases=tuple((name, 1) for name in RATIONAL),
            quick=16,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "minimiser",
            r"At the solver's minimiser: $R(\tilde\theta) = R(\hat\theta) \le s$, and exactly $R$ rows are left.",
            _at_minimiser,
            r"active neurons of $\tilde\theta$, rows of $\hat A$",
            cases=RATIONAL,
            quick=1,
            full=20,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "several-outputs",
            r"With several outputs at most $\operatorname{rank}\Phi$ neurons, shared by all outputs.",
            _end_to_end,
            "non-zero rows (at most)",
            kind="ours",
            cases=(("relu", 2), ("square", 3)),
            quick=24,
            assumptions=("$A$ does not move",),
        ),
        Claim(
            "every-activation",
            "The same in floating point for every activation.",
            _every_activation,
            "non-zero rows (at most)",
            cases=naive.ACTIVATIONS,
            quick=7,
            assumptions=(
                "$A$ does not move",
                r"no $a_i = 0$ in $\theta^*$",
            ),
        ),
        Claim(
            "bias",
            (
                r"$\varphi(0) \neq 0$: the function is the non-zero rows plus the bias $\sum_{a_i=0} "
                r"c_i\varphi(0)$."
            ),
            _keeps_bias,
            "output",
            kind="degenerate",
            cases=BIASED,
            quick=24,
        ),
        Claim(
            "bias-dropped",
            "Dropping the rows that are 0 without keeping that bias changes the function.",
            _loses_bias,
            "output",
            kind="assumption",
            cases=BIASED,
            assumptions=(r"broken: $\varphi(0) = 0$",),
            quick=24,
        ),
        Claim(
            "nothing-retained",
            "$n_r = 0$: nothing needs to be fitted, and no neuron is left.",
            _nothing_retained,
            "non-zero parameters in c and A",
            kind="degenerate",
            cases=(
                "relu",
                "square",
            ),
            quick=24,
        ),
    ),
    figure="corollary_1",
    caption="Weights before and after: of the wide network only as many rows are left as there are retain samples.",
)
