"""
Groups: whole neurons vanish
============================

A network with six outputs can do without a neuron only if all six of its output weights are 0. The ℓ1 norm sets
single weights to 0; the group norm sets whole columns to 0.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu

# %%
# The hidden layer is frozen, so the outputs are linear in the last layer: a linear model on the features of
# thirty neurons.

rng = np.random.default_rng(3)
network = xu.Perceptron(n_inputs=4, width=30, n_outputs=6)
x, y = rng.normal(size=(10, 4)), rng.normal(size=(10, 6))
theta_star = network.interpolating_parameters(x, y, rng)
features = network.features(theta_star, x)
last_layer = xu.LinearModel(n_inputs=30, n_outputs=6)
start = network.split(theta_star)["c"].reshape(-1)

# %%
# One group per neuron: its weights to the six outputs. Seven of ten samples stay.

neuron = np.tile(np.arange(30), 6)
norms = {"ℓ1": xu.L1(), "groups": xu.GroupL2(neuron)}
certificates = {}
for name, regularizer in norms.items():
    problem = xu.surrogate_problem(last_layer, start, features[:7], regularizer)
    certificates[name] = xu.certify(problem, xu.solve(problem))
    matrix = certificates[name].theta.reshape(6, 30)
    print(
        f"{name}: {np.count_nonzero(matrix)} weights and {np.count_nonzero(matrix.any(axis=0))} neurons are left.",
        certificates[name].claim,
    )

# %%
# The last layers as pictures: six rows, one per output; thirty columns, one per neuron. White is 0. Under the
# group norm columns are white from top to bottom.

figure, axes = plt.subplots(3, 1, figsize=(8, 5.6), layout="constrained")
shown = {
    "trained": start,
    **{name: certificate.theta for name, certificate in certificates.items()},
}
limit = np.abs(start).max()
for ax, (name, theta) in zip(axes, shown.items(), strict=True):
    matrix = theta.reshape(6, 30)
    ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set(xticks=[], yticks=[], ylabel="outputs")
    ax.set_title(
        f"{name}: {np.count_nonzero(matrix.any(axis=0))} of 30 neurons reach an output"
    )
    ax.grid(False)
axes[-1].set_xlabel("neurons")
plt.show()

# %%
# The value of a group norm is a sum of square roots, so the proof is an interval, thirty digits wide at most.

for certificate in certificates.values():
    assert certificate.check().proved
print(certificate.summary())
