"""
The surrogate is retraining: two routes that share nothing
==========================================================

For a linear model and the Euclidean norm, the surrogate problem has the same answer as training again from
nothing on what stays (Theorem 2). One route starts at the trained weights and never sees a label; the other
starts at 0 and sees nothing but the retained labels. They meet.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu

# %%
# Thirty weights, twelve samples, three of which must go. The trained weights are any that fit, not only the
# smallest.

rng = np.random.default_rng(0)
x, y = rng.normal(size=(12, 30)), rng.normal(size=12)
retain = slice(0, 9)
model = xu.LinearModel(n_inputs=30)
theta_star = model.interpolating_parameters(x, y[:, None], rng)

# %%
# The first route: from the trained weights, by the surrogate problem.

problem = xu.surrogate_problem(model, theta_star, x[retain], xu.L2())
certificate = xu.certify(problem, xu.solve(problem))
print(certificate.summary())

# %%
# The second route: gradient descent from 0 on the retained samples. We note how far each step is from the
# answer of the first route, and from the trained weights.

theta = np.zeros(30)
rate = 1 / np.linalg.norm(x[retain], 2) ** 2
away, from_trained = [], []
for _ in range(400):
    theta = theta - rate * x[retain].T @ (x[retain] @ theta - y[retain])
    away.append(np.linalg.norm(theta - certificate.theta))
    from_trained.append(np.linalg.norm(theta - theta_star))

# %%
# The distance to the proved point falls until only rounding is left.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.semilogy(away, color="#0072B2", label="to the answer from the trained weights")
ax.semilogy(
    from_trained,
    color="#D55E00",
    linestyle="dashed",
    label="to the trained weights",
)
ax.set(xlabel="step of retraining from 0", ylabel="distance")
ax.legend()
plt.show()

# %%
# Both are judged by exact arithmetic: retraining is optimal to within a part in a hundred million, the default
# tolerance.

verdict = xu.judge(problem, theta, certificate=certificate)
assert certificate.check().proved
assert verdict.optimal
print(verdict)
