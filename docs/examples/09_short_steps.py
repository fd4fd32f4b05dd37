"""
What linearisation costs, and how short steps repair it
=======================================================

When every layer moves, keeping the outputs to first order is not keeping them: a long step breaks what it
promised to keep. Twelve short steps, each from where the last one ended and each proved, keep it. Real digits,
a network of sixteen neurons.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn.demo.scene import Size, build_scene

# %%
# Thirty handwritten threes and fives, six of them with the wrong label, and a network that has memorised all of
# them. The wrong ones must go.

scene = build_scene(np.random.default_rng(4), Size(samples=30, mislabelled=6, width=16))
digits, model, theta_star = scene.digits, scene.model, scene.theta_star
target = model.predict(theta_star, digits.x_retain)[:, 0]


def kept_error(theta):
    return np.abs(model.predict(theta, digits.x_retain)[:, 0] - target).max()


def fresh_accuracy(theta):
    return np.mean(np.sign(model.predict(theta, digits.x_fresh)[:, 0]) == digits.truth_fresh)


# %%
# One long step: the shortest parameters with the same outputs to first order, and nothing that holds them back.

long = xu.certify(xu.surrogate_problem(model, theta_star, digits.x_retain, xu.SquaredL2()))
print(f"one long step: error on what stays {kept_error(long.theta):.3f}; {long.claim}")

# %%
# Short steps: each has a drift penalty, and its right-hand side asks back what earlier steps have lost. The
# last three hardly move; they only restore the outputs.

theta, errors, accuracies, proofs = theta_star, [], [], []
for lam in [3.0] * 9 + [1e8] * 3:
    lost = target - model.predict(theta, digits.x_retain)[:, 0]
    jacobian = model.jacobian(theta, digits.x_retain)
    step = xu.UnlearningProblem(theta, jacobian, xu.SquaredL2(), xu.SquaredDrift(lam), rhs=lost)
    certificate = xu.certify(step)
    assert certificate.check().proved
    proofs.append(certificate.proof)
    theta = certificate.theta
    errors.append(kept_error(theta))
    accuracies.append(fresh_accuracy(theta))
print(f"twelve short steps: error on what stays {errors[-1]:.1e}; proofs: {', '.join(proofs)}")

# %%
# The error on what stays, step by step, and the accuracy on digits that nobody trained on: the wrong labels
# have gone.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
axes[0].semilogy(range(1, 13), errors, "o-", color="#0072B2", label="short steps")
axes[0].axhline(kept_error(long.theta), color="#D55E00", linestyle="dashed", label="one long step")
axes[0].set(title="Largest error on what stays", xlabel="step")
axes[0].legend()
axes[1].plot(range(13), [fresh_accuracy(theta_star), *accuracies], "o-", color="#0072B2", label="short steps")
axes[1].axhline(fresh_accuracy(long.theta), color="#D55E00", linestyle="dashed", label="one long step")
axes[1].set(title="Accuracy on fresh digits", xlabel="step")
axes[1].legend()
plt.show()

# %%
# Each single step is proved. That the end of all steps is the best end of all is proved by none of them: a
# proof is about the problem that it names.

print(certificate.summary())
