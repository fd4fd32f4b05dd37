"""
Linear networks: the predictor counts, and balance makes it short
=================================================================

A linear network computes :math:`f(x) = w(\\theta)^\\top x` with a product of matrices :math:`w(\\theta)`. Which
norm should be small, that of the predictor or that of all the parameters? For the predictor the answer is a
projection of one layer (Lemma 1, Theorem 3); for the parameters it is the same predictor, factored in balance
(Theorem 4).
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn import closed_form

# %%
# Three layers of widths 6, 5 and 4, and nine samples in ten dimensions, two of which must go.

rng = np.random.default_rng(2)
network = xu.LinearNetwork((10, 6, 5, 4, 1))
x, y = rng.normal(size=(9, 10)), rng.normal(size=(9, 1))
theta_star = network.interpolating_parameters(x, y, rng)
retain = slice(0, 7)

# %%
# The norm of the predictor, with the first layer moving: a second-order cone program, solved and proved. Lemma
# 1 writes the answer down; the predictors agree.

problem = xu.surrogate_problem(
    network, theta_star, x[retain], xu.PredictorNorm(network, theta_star)
)
certificate = xu.certify(problem, xu.solve(problem))
by_formula = theta_star + closed_form.lemma_1_drift(network, theta_star, x[retain])
predictor = network.predictor(certificate.theta)[:, 0]
assert np.allclose(predictor, network.predictor(by_formula)[:, 0], atol=1e-10)
print(certificate.claim)

# %%
# It is the predictor that training from nothing would find: the shortest that fits what stays (Theorem 3).

retrained = np.linalg.lstsq(x[retain], y[retain, 0])[0]
print(
    f"distance to the shortest predictor that fits: {np.linalg.norm(predictor - retrained):.1e}"
)

# %%
# Theorem 4 factors this predictor with the least norm of all parameters, and the value has a formula. Every
# layer then has the same length: balance.

balanced = closed_form.theorem_4_parameters(network, predictor, rng)
least = closed_form.theorem_4_value(predictor, network.depth)
for name, theta in {
    "trained": theta_star,
    "Lemma 1": by_formula,
    "balanced": balanced,
}.items():
    print(f"squared norm of all parameters, {name}: {theta @ theta:.6f}")
print(f"The formula of Theorem 4 says: {least:.6f}")
assert np.isclose(balanced @ balanced, least)
assert np.allclose(network.predict(balanced, x[retain]), y[retain], atol=1e-9)


# %%
# Layer by layer: the trained network, the answer of Lemma 1, and the balanced one.


def layer_norms(theta):
    return [np.linalg.norm(matrix) for matrix in network.split(theta).values()]


names = list(network.split(theta_star))
figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for shift, (label, theta, colour) in enumerate(
    [
        ("trained", theta_star, "#D55E00"),
        ("Lemma 1", by_formula, "#56B4E9"),
        ("balanced", balanced, "#0072B2"),
    ]
):
    ax.bar(
        np.arange(len(names)) + 0.26 * (shift - 1),
        layer_norms(theta),
        width=0.24,
        label=label,
        color=colour,
    )
ax.set_xticks(range(len(names)), names)
ax.set(xlabel="layer", ylabel="norm of the layer")
ax.legend()
plt.show()

# %%
# The proof, checked.

assert certificate.check().proved
print(*certificate.check().sentences, sep="\n")
