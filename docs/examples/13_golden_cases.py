"""
Golden cases in your test suite: a wrong projection is named
============================================================

Some three hundred problems with certified answers ship with the package as plain files. A test that uses them
needs three lines, and where it fails it says what is wrong, in numbers, and which known mistake it looks like.
"""

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn.fixtures import exercise, judge, load

# %%
# The task: among all :math:`\theta` with :math:`J(\theta - \theta^*) = 0` the shortest. Three attempts; the
# first is right.


def right(theta_star, J):
    return np.linalg.lstsq(J, J @ theta_star)[0]


def wrong_space(theta_star, J):
    return theta_star - np.linalg.lstsq(J, J @ theta_star)[0]


def half_a_step(theta_star, J):
    return (theta_star + right(theta_star, J)) / 2


# %%
# `exercise` grades a function on all cases of a kind, without a test framework. In pytest the fixture
# `golden_case` does the same, one test per case.

task = exercise("least-l2")
grades = {
    attempt.__name__: task.grade(attempt)
    for attempt in (right, wrong_space, half_a_step)
}
for name, grade in grades.items():
    print(
        f"{name}: {sum(row.right for row in grade.rows)} of {len(grade.rows)} cases right."
    )
    if grade.hint:
        print("   Hint:", grade.hint)

# %%
# Correct digits, case by case. A wrong space has none; half a step, about as many as luck gives.

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
marks = {
    "right": ("o", "#0072B2"),
    "wrong_space": ("X", "#D55E00"),
    "half_a_step": ("s", "#E69F00"),
}
for name, grade in grades.items():
    mark, colour = marks[name]
    ax.plot(
        [row.digits for row in grade.rows],
        mark,
        color=colour,
        label=name.replace("_", " "),
    )
ax.set(
    xlabel="golden case, the smallest first",
    ylabel="correct digits",
    ylim=(-0.8, 17),
)
ax.set_xticks([])
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %%
# One case alone: it knows its answer, and it knows the name of this mistake.

case = load().case("perceptron-relu-l2-none")
problem = case.problem()
J = problem.jacobian.matrix[:, problem.free]
answer = case.numpy("theta_star")
answer[problem.free] = wrong_space(answer[problem.free], J)
print("accepted:", judge(case, answer).accepted, "-", judge(case, answer).bug)
assert judge(case, case.numpy("expected.theta")).accepted
assert grades["right"].passed
assert not grades["wrong_space"].passed

# %%
# Why the answers can be trusted: each case brings a certificate, which `exact-unlearn fixtures verify` proves
# again in seconds, with the standard library only. Here this one case is proved anew.

certificate = xu.certify(problem)
assert certificate.check().proved
assert judge(case, certificate.theta).accepted
print(*certificate.check().sentences)
