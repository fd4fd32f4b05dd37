"""
Fewer neurons, proved
=====================

How few neurons are enough for what stays? The ℓ1 norm of the output weights gives few, the construction of
Theorem 5 gives at most as many as there are retained samples, and counting gives the least number there is,
with a proof that none fewer will do.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form
from exact_unlearn.rational import rationals

# %%
# Fourteen neurons on a line. What stays are six samples of a curve that two of them can draw; with two lies the
# network has used all of them. All numbers are fractions: a count sees the last bit, and labels that are off by
# a rounding error need more neurons.

places = rationals([-3.0, -2.0, -0.5, 0.5, 2.0, 3.0, -1.25, 1.25])
curve = np.maximum(places + 1, 0) - np.maximum(places - 1, 0)
labels = np.where(
    np.arange(8) < 6, curve, rationals([0, 0, 0, 0, 0, 0, 1.5, -1.5])
)[:, None]
inputs = np.stack([places, rationals(np.ones(8))], axis=1)
retain = slice(0, 6)

bends = rationals(
    [
        -3.5,
        -2.5,
        -1.75,
        -1.5,
        -1.0,
        -0.75,
        -0.25,
        0.0,
        0.25,
        0.75,
        1.0,
        1.5,
        1.75,
        2.5,
    ]
)
sides = np.where(np.arange(14) % 3 == 2, -1, 1)
weights = np.stack([rationals(sides), -sides * bends], axis=1)
model = xu.Perceptron(n_inputs=2, width=14)
theta_star = model.interpolating_parameters(
    inputs, labels, np.random.default_rng(1), A=weights
)
print(
    "active neurons of the trained network:", model.active_neurons(theta_star).sum()
)

# %%
# Three ways to need fewer. `ActiveNeurons` counts: its proof is a search through sets of neurons, and for each
# set that does not fit the certificate holds the reason.

answers = {}
for name, regularizer in {"ℓ1": xu.L1(), "count": xu.ActiveNeurons(model)}.items():
    problem = xu.surrogate_problem(
        model, theta_star, inputs[retain], regularizer, free="c"
    )
    certificate = xu.certify(problem, xu.solve(problem))
    answers[name] = certificate.point
    assert certificate.check().proved
    print(
        f"{name}: {model.active_neurons(certificate.point).sum()} neurons. {certificate.claim}"
    )
answers["Theorem 5"] = closed_form.theorem_5_solution(
    model, theta_star, inputs[retain]
)
print("Theorem 5:", model.active_neurons(answers["Theorem 5"]).sum(), "neurons.")

# %%
# One bar per neuron, at its bend. Neurons that nothing needs are exactly 0.

figure, axes = plt.subplots(
    4, 1, figsize=(7, 6.4), sharex=True, layout="constrained"
)
for ax, (name, theta) in zip(
    axes, {"trained": theta_star, **answers}.items(), strict=True
):
    output = model.split(theta)["c"][0].astype(float)
    at = bends.astype(float)
    ax.vlines(
        at,
        0,
        output,
        color="#0072B2" if name != "trained" else "#D55E00",
        linewidth=4,
    )
    silent = at[output == 0]
    ax.plot(silent, np.zeros_like(silent), "o", mfc="white", mec="#8A8A8A", ms=4)
    ax.axhline(0, color="#8A8A8A", linewidth=0.8)
    ax.set_title(f"{name}: {np.count_nonzero(output)} active neurons")
axes[-1].set_xlabel("where the neuron bends")
plt.show()

# %%
# The last proof once more, in the checker's words.

print(*certificate.check().sentences, sep="\n")
