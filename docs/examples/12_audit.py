"""
Your unlearning function under audit
====================================

Does a function that calls itself unlearning unlearn? `check_unlearner` hands it networks whose exact answers
are certified, and writes a report card. Three candidates are put to the test: one does nothing, one trains
further, and one projects.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import exact_unlearn as xu
from exact_unlearn.fixtures import check_unlearner

# %%
# The candidates have the shape that such functions usually have. The third is right for networks that are
# linear in what moves: it removes from the parameters all that the retained gradients do not need.


def does_nothing(net, retain_loader, forget_loader, val_loader):
    return net


def trains_further(net, retain_loader, forget_loader, val_loader):
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], lr=0.05
    )
    for _ in range(20):
        for inputs, targets in retain_loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
    return net


def projects(net, retain_loader, forget_loader, val_loader):
    moving = [p for p in net.parameters() if p.requires_grad]
    rows = []
    for inputs, _ in retain_loader:
        for output in net(inputs).reshape(-1):
            gradients = torch.autograd.grad(output, moving, retain_graph=True)
            rows.append(
                torch.cat([g.reshape(-1) for g in gradients]).double().numpy()
            )
    theta = torch.cat([p.detach().reshape(-1) for p in moving]).double().numpy()
    projected = (
        theta
        if not rows
        else np.linalg.pinv(np.array(rows)) @ (np.array(rows) @ theta)
    )
    torch.nn.utils.vector_to_parameters(
        torch.tensor(projected, dtype=moving[0].dtype), moving
    )
    return net


# %%
# A quick audit of each, on fresh tasks only.

cards = {
    f.__name__: check_unlearner(f, quick=True, live_only=True)
    for f in (does_nothing, trains_further, projects)
}
for name, card in cards.items():
    print(f"{name}: {card.grade}")
    if card.traps:
        print("   looks like:", ", ".join(card.traps))

# %%
# Correct digits of each answer, task by task. Tasks in single precision have fewer to give.

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
marks = {
    "does_nothing": ("X", "#D55E00"),
    "trains_further": ("s", "#E69F00"),
    "projects": ("o", "#0072B2"),
}
for name, card in cards.items():
    mark, colour = marks[name]
    ax.plot(
        [row.digits for row in card.claimed],
        mark,
        color=colour,
        label=name.replace("_", " "),
    )
ax.set_xticks(
    range(len(card.claimed)),
    [row.id for row in card.claimed],
    rotation=25,
    ha="right",
    fontsize=8,
)
ax.set(ylabel="correct digits", ylim=(-0.8, 17))
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %%
# On a network with two layers the exact problem itself can be decided over all parameters. So the card also says
# how far a result is from the answer, with the labels that it keeps. None of the three claims that, so it does
# not count. `projects` takes the one long step that is right to first order only; many short ones, with the
# labels restored after each, are another matter.


def many_steps(module, retain, forget):
    path = xu.unlearn_path(module, None, retain[0], xu.SquaredL2(), steps=60)
    return xu.scalable.write_back(module, path.theta)


networks = ["two-layer-relu-squared-4-samples", "two-layer-leaky-relu-squared-4"]
for function, settings in (
    (projects, {"targets": "numbers"}),
    (many_steps, {"globally": "squared"}),
):
    card = check_unlearner(function, cases=networks, **settings)
    print(function.__name__)
    for row in card.networks:
        found = row.decided
        labels = "kept" if found.kept else f"missed by {found.error:.2g}"
        print(f"   labels {labels}; R / bound {found.ratio:.6f}", row.trap or "")
    if card.claimed:
        print("  ", card.grade)
        assert max(row.decided.ratio for row in card.networks) < 1.001

# %%
# What stands behind a card: a certified answer to each task. One such task, by hand.

torch.manual_seed(0)
net = torch.nn.Linear(12, 1, bias=False).double()
x = torch.randn(5, 12, dtype=torch.float64)
problem = xu.surrogate_problem(net, None, x, xu.L2())
certificate = xu.certify(problem)
projects(net, [(x, net(x).detach())], [], [])
verdict = xu.judge(
    problem, net.weight.detach().numpy().reshape(-1), certificate=certificate
)
assert certificate.check().proved
assert verdict.optimal
print(verdict)
