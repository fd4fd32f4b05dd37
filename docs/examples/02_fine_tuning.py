"""
Why fine-tuning cannot forget
=============================

Training further on the retained samples is the first idea that everybody has. It changes nothing: where the
model fits, its error is 0, and so is the gradient of every loss that is least there. This is Theorem 1 of the
paper, and here it is seen to the last bit. Ascent on the forgotten samples starts with a gradient of 0 as well.
"""

from fractions import Fraction as F

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn.rational import rationals

# %%
# A network of twelve ReLU neurons on a line interpolates seven samples. Five of them stay; the two lies at
# :math:`x = -1` and :math:`x = 2` must go. All numbers are fractions.

places = [F(-3), F(-2), F(0), F(1), F(3), F(-1), F(2)]
inputs = np.array([[place, F(1)] for place in places])  # a constant input is a bias
labels = np.array([[F(1, 2) * place] for place in places[:5]] + [[F(2)], [F(-2)]])
retain, forget = slice(0, 5), slice(5, 7)

model = xu.Perceptron(n_inputs=2, width=12)
bends = [F(k, 2) for k in (-7, -5, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6)]
weights = rationals(
    [[1, -bend] if k % 2 else [-1, bend] for k, bend in enumerate(bends)]
)
rng = np.random.default_rng(0)
theta_star = model.interpolating_parameters(inputs, labels, rng, A=weights)
assert (model.predict(theta_star, inputs) == labels).all()


# %%
# The gradient of the squared loss is :math:`J^\top (f - y)`. Here it is, on both parts of the data.


def loss_gradient(theta, part):
    residual = model.predict(theta, inputs[part]) - labels[part]
    return model.jacobian(theta, inputs[part]).matrix.T @ residual[:, 0]


print(
    "largest entry of the gradient, retained samples: ",
    max(abs(loss_gradient(theta_star, retain))),
)
print(
    "largest entry of the gradient, forgotten samples:",
    max(abs(loss_gradient(theta_star, forget))),
)

# %%
# So a thousand steps of gradient descent on the retained samples are a thousand steps on the spot.

theta = theta_star
for _ in range(1000):
    step = loss_gradient(theta, retain)
    if not step.any():
        break
    theta = theta - F(1, 100) * step
assert (theta == theta_star).all()

# %%
# The exact answer is somewhere else: the smallest output weights that fit what stays, proved. `judge` measures
# how far the trained model is from it, from below.

problem = xu.surrogate_problem(
    model, theta_star, inputs[retain], xu.SquaredL2(), free="c"
)
certificate = xu.certify(problem, xu.solve(problem))
verdict = xu.judge(problem, theta_star, certificate=certificate)
print(certificate.claim)
print(
    f"The trained model is {verdict.outcome}, and at least {float(verdict.apart):.4f} away from the answer."
)

# %%
# The curve of the trained model goes through the lies, and so does every curve that descent can reach from it.
# The answer does not know the lies.

grid = np.linspace(-3.4, 3.4, 400)
points = np.stack([grid, np.ones(400)], axis=1)
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
ax.plot(
    grid,
    model.predict(theta_star.astype(float), points),
    color="#D55E00",
    label="trained, and after descent",
)
ax.plot(
    grid,
    model.predict(certificate.theta, points),
    color="#0072B2",
    label="least ℓ2 answer",
)
ax.plot(
    *zip(
        *[
            (x[0], y[0])
            for x, y in zip(inputs[retain], labels[retain], strict=True)
        ],
        strict=True,
    ),
    "ko",
    label="stays",
)
ax.plot(
    *zip(
        *[
            (x[0], y[0])
            for x, y in zip(inputs[forget], labels[forget], strict=True)
        ],
        strict=True,
    ),
    "kx",
    ms=9,
    label="must go",
)
ax.set(xlabel="x", ylabel="output")
ax.legend(ncols=2)
plt.show()

# %%
# The proof, checked.

assert certificate.check().proved
print(*certificate.check().sentences)
