"""
Low rank after forgetting
=========================

A table of five rows and six columns has been filled in completely; some of its entries are lies. Which table is
the simplest that keeps the others? The nuclear norm, the sum of singular values, looks for a low rank, and
finds the rule behind the entries that stay.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu

# %%
# The rule is of rank 1. Eight entries are lies, and each entry is a sample: its gradient is a unit vector.

rng = np.random.default_rng(5)
rule = np.outer(rng.uniform(0.5, 2.0, size=5), rng.uniform(0.5, 2.0, size=6))
lies = rng.permutation(30)[:8]
table = rule.reshape(-1).copy()
table[lies] += rng.normal(scale=2.0, size=8)
stays = np.setdiff1d(np.arange(30), lies)
J = np.eye(30)[stays]

# %%
# The problem is a semidefinite program. The least Frobenius norm is there for comparison: it puts zeros where
# something was forgotten, which is a rule of its own, and of full rank.

R = xu.NuclearNorm(slice(0, 30), (5, 6))
certificate = xu.certify(xu.UnlearningProblem(table, J, R))
frobenius = xu.certify(xu.UnlearningProblem(table, J, xu.L2()))
print(certificate.summary())
tables = {
    "trained": table,
    "nuclear norm": certificate.theta,
    "least squares": frobenius.theta,
}
for name, theta in tables.items():
    singular = np.linalg.svd(theta.reshape(5, 6), compute_uv=False)
    distance = np.linalg.norm(theta - rule.ravel())
    print(
        f"{name:13} singular values {singular.round(3)}; distance from the rule {distance:.1e}"
    )

# %%
# The tables; crosses mark entries that were lies.

figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), layout="constrained")
for ax, (name, theta) in zip(
    axes, {"the rule": rule.ravel(), **tables}.items(), strict=True
):
    ax.imshow(theta.reshape(5, 6), cmap="viridis", vmin=0, vmax=rule.max())
    ax.plot(lies % 6, lies // 6, "x", color="white", ms=7)
    ax.set(title=name, xticks=[], yticks=[])
    ax.grid(False)
plt.show()

# %%
# The checker's verdict: bounds on the optimum, from a feasible table and from multipliers.

assert certificate.check().proved
print(*certificate.check().sentences, sep="\n")
