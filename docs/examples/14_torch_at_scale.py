"""
A torch module at scale
=======================

The reference solver writes J down; the torch solver needs products with it only, and stays right where
gradients nearly depend on one another. Here a network of some twenty thousand parameters forgets, and two
routes that share no solver are compared.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import exact_unlearn as xu
from exact_unlearn import scalable

# %%
# A network in double precision, forty samples on which it says what it says; thirty-two of them stay.

torch.manual_seed(0)
net = nn.Sequential(
    nn.Linear(20, 150), nn.Tanh(), nn.Linear(150, 120), nn.Tanh(), nn.Linear(120, 1)
).double()
x = torch.randn(40, 20, dtype=torch.float64)
model = scalable.ModuleModel(net)
theta_star = model.theta().numpy()
rows = model.jacobian(model.theta(), x[:32])
print(f"{rows.shape[1]} parameters, {rows.shape[0]} gradients")

# %%
# The projection onto the span of the retained gradients is the shortest :math:`\theta` with the same outputs to
# first order. The solver bounds its own error.

answer = scalable.project(rows, theta_star)
print(
    f"moved by {np.linalg.norm(answer.theta - theta_star):.4f}; error at most {answer.error_estimate:.1e}"
)

# %%
# The same by a dense factorisation, the usual way where all rows fit into memory.

matrix = np.array([np.asarray(rows.rmatvec(row)) for row in np.eye(32)])
basis = np.linalg.svd(matrix, full_matrices=False)[2]
dense = basis.T @ (basis @ theta_star)
print(
    f"distance between the two routes: {np.linalg.norm(dense - answer.theta):.1e}"
)

# %%
# What moves where: the share of each layer in the squared length of the step.

step = answer.theta - theta_star
names, shares, start = [], [], 0
for name, parameter in net.named_parameters():
    part = step[start : start + parameter.numel()]
    names.append(name)
    shares.append(float(part @ part) / float(step @ step))
    start += parameter.numel()
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.barh(range(len(names)), shares, color="#0072B2")
ax.set_yticks(range(len(names)), names)
ax.invert_yaxis()
ax.set_xlabel("share of the squared step")
plt.show()

# %%
# A proof in exact arithmetic is for smaller problems: here the last layer and eight samples. The torch solver's
# answer is judged by it.

problem = xu.surrogate_problem(net, None, x[:8], xu.SquaredL2(), free="4.*")
certificate = xu.certify(problem)
verdict = xu.judge(problem, scalable.solve(problem).theta, certificate=certificate)
assert certificate.check().proved
assert verdict.optimal
print(verdict)
