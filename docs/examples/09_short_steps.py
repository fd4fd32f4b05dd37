"""
What linearisation costs, and how short steps repair it
=======================================================

When every layer moves, keeping the outputs to first order is not keeping them: a long step breaks what it
promised to keep. Short steps, each from where the last one ended and each proved, keep it. Real digits, a network
of sixteen neurons.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn.demo.scene import Size, build_scene

# %%
# Thirty handwritten threes and fives, six of them with the wrong label, and a network that has memorised all of
# them. The wrong ones must go.

scene = build_scene(
    np.random.default_rng(4), Size(samples=30, mislabelled=6, width=16)
)
digits, model, theta_star = scene.digits, scene.model, scene.theta_star
target = model.predict(theta_star, digits.x_retain)[:, 0]


def kept_error(theta):
    return np.abs(model.predict(theta, digits.x_retain)[:, 0] - target).max()


def fresh_accuracy(theta):
    return np.mean(
        np.sign(model.predict(theta, digits.x_fresh)[:, 0]) == digits.truth_fresh
    )


# %%
# One long step: the shortest parameters with the same outputs to first order, and nothing that holds them back.

long = xu.certify(
    xu.surrogate_problem(model, theta_star, digits.x_retain, xu.SquaredL2())
)
print(
    f"one long step: error on what stays {kept_error(long.theta):.3f}; {long.claim}"
)

# %%
# Short steps: `unlearn_path` solves a surrogate with a drift penalty where the network stands, restores the
# outputs, and begins again; it makes steps shorter or longer by what it measures. Every surrogate is proved.

path = xu.unlearn_path(
    model, theta_star, digits.x_retain, xu.SquaredL2(), steps=12, certify=True
)
assert all(step.certificate.check().proved for step in path.steps)
proofs = sorted({step.proof for step in path.steps})
print(f"short steps: error on what stays {path.error:.1e}; all proofs: {proofs}")

# %%
# The errors on what stays, before and after the outputs were restored, and R, which falls at every step.

taken = [step for step in path.steps if step.accepted]
count = range(1, len(taken) + 1)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
axes[0].semilogy(
    count,
    [step.linear_error for step in taken],
    "o-",
    color="#E69F00",
    label="short steps",
)
axes[0].semilogy(
    count,
    [step.error for step in taken],
    "s-",
    color="#0072B2",
    label="outputs restored",
)
axes[0].axhline(
    kept_error(long.theta),
    color="#D55E00",
    linestyle="dashed",
    label="one long step",
)
axes[0].set(title="Largest error on what stays", xlabel="step")
axes[0].legend()
axes[1].plot(
    [0, *count],
    [path.start_value, *(step.value for step in taken)],
    "s-",
    color="#0072B2",
)
axes[1].set(title="R of the network", xlabel="step")
plt.show()

before, after = fresh_accuracy(theta_star), fresh_accuracy(path.theta)
print(
    f"accuracy on digits that nobody trained on: {before:.2f} before, {after:.2f} after"
)

# %%
# Each single step is proved. That the end of all steps is the best end of all is proved by none of them: a
# proof is about the problem that it names.

print(path.steps[-1].certificate.summary())
