"""
MinNorm-OG beside its baselines on a small sine
===============================================

A network has learned a sine, and three samples that are none. The paper's method and seven baselines get the
same thirty epochs to forget them; what they leave of the sine, and of the lies, is drawn. The projection at the
heart of the method is then held against a certificate.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import exact_unlearn as xu
from exact_unlearn.algorithms import METHODS, unlearn

# %%
# Twelve samples of a sine and three lies, fitted closely.

torch.manual_seed(0)
x = torch.linspace(-3, 3, 15, dtype=torch.float64)[:, None]
lies = [3, 7, 11]
y = torch.sin(2 * x)
y[lies] = torch.tensor([[1.5], [1.5], [-1.5]], dtype=torch.float64)
stays = [k for k in range(15) if k not in lies]
net = nn.Sequential(nn.Linear(1, 60), nn.Tanh(), nn.Linear(60, 1)).double()
with torch.no_grad():
    net[0].weight *= 1.5
    net[0].bias.uniform_(-4, 4)
optimizer = torch.optim.LBFGS(
    net.parameters(),
    max_iter=1500,
    tolerance_grad=1e-12,
    tolerance_change=0,
    line_search_fn="strong_wolfe",
)


def loss():
    optimizer.zero_grad()
    value = (net(x) - y).square().mean()
    value.backward()
    return value


optimizer.step(loss)
print(f"training loss: {loss().item():.1e}")

# %%
# Every method with its own defaults, thirty epochs each.

grid = torch.linspace(-3, 3, 200, dtype=torch.float64)[:, None]
retain, forget = (x[stays], y[stays]), (x[lies], y[lies])
regression = [
    name for name in METHODS if name not in ("scrub", "npo", "salun")
]  # those three want classes
curves, errors = {"trained": net(grid).detach()}, {}
for name in regression:
    module, history = unlearn(
        net, retain, forget, method=name, epochs=30, learning_rate=3e-3
    )
    curves[name] = module(grid).detach()
    errors[name] = [
        (module(x[part]) - torch.sin(2 * x[part])).abs().mean().item()
        for part in (stays, lies)
    ]
    print(
        f"{name:11} mean distance from the sine: on what stays {errors[name][0]:.3f}, at the lies {errors[name][1]:.3f}"
    )

# %%
# The curves. Small circles stay, crosses must go.

figure, axes = plt.subplots(
    3, 3, figsize=(10, 7.5), sharex=True, sharey=True, layout="constrained"
)
for ax in axes.ravel()[len(curves) :]:
    ax.axis("off")
for ax, (name, curve) in zip(axes.ravel(), curves.items(), strict=False):
    ax.plot(grid[:, 0], torch.sin(2 * grid[:, 0]), color="#8A8A8A", linewidth=1)
    ax.plot(
        grid[:, 0], curve[:, 0], color="#D55E00" if name == "trained" else "#0072B2"
    )
    ax.plot(x[stays, 0], y[stays, 0], "o", mfc="white", mec="black", ms=4)
    ax.plot(x[lies, 0], y[lies, 0], "kx", ms=7)
    ax.set(title=name, ylim=(-2.2, 2.2))
plt.show()

# %%
# One projection of MinNorm-OG at full strength, with a learning rate of 0, is the least-norm surrogate. Where
# only the last layer moves the package certifies that surrogate, and `judge` compares.

step, history = unlearn(
    net, retain, forget, free="2.*", epochs=1, learning_rate=0.0, strength=1.0
)
problem = xu.surrogate_problem(net, None, x[stays], xu.SquaredL2(), free="2.*")
certificate = xu.certify(problem)
theta = torch.nn.utils.parameters_to_vector(step.parameters()).detach().numpy()
verdict = xu.judge(problem, theta, certificate=certificate)
assert certificate.check().proved
print(verdict)
assert verdict.feasible
