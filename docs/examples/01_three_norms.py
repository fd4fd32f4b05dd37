"""
Forget one point: three norms, three answers, three proofs
==========================================================

A line :math:`f(x) = a + b x` has memorised two samples, and one of them must be forgotten. Every line through
the sample that stays is a perfect model of what is left. Which of them should we take? The simplest one; and
what "simple" means is a choice: three norms of the two weights give three answers.
"""

from fractions import Fraction as F

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu

# %%
# The data are fractions, so that nothing is rounded anywhere. The trained weights are the line through both
# samples.

x_stays, y_stays = F(1, 2), F(13, 10)
x_goes, y_goes = F(-6, 5), F(-9, 10)
slope = (y_stays - y_goes) / (x_stays - x_goes)
theta_star = np.array([y_stays - slope * x_stays, slope])
jacobian = np.array([[F(1), x_stays]])  # the gradient of f at the sample that stays
print("trained weights:", *theta_star)

# %%
# One problem for each norm: the smallest :math:`\theta` with :math:`J(\theta - \theta^*) = 0`. The solver
# claims an answer, and `certify` proves it.

norms = {"ℓ2": xu.L2(), "ℓ1": xu.L1(), "ℓ∞": xu.LInf()}
certificates = {}
for name, regularizer in norms.items():
    problem = xu.UnlearningProblem(theta_star, jacobian, regularizer)
    certificates[name] = xu.certify(problem, xu.solve(problem))
    print(
        f"{name}: the point is ({', '.join(map(str, certificates[name].point))}).",
        certificates[name].claim,
    )

# %%
# The picture of a proof: the black line holds all models that fit, and the blue shape all points that are as
# small as the answer. They touch and do not cross, so no point of the line is smaller. The shape touches the
# line with a corner under ℓ1 and under ℓ∞, and with its round side under ℓ2.

figure, axes = plt.subplots(1, 3, figsize=(11, 4.6), layout="constrained")
for ax, (name, certificate) in zip(axes, certificates.items(), strict=True):
    certificate.plot(ax)
    ax.set_title(f"{name}: ({', '.join(map(str, certificate.point))})")
plt.show()

# %%
# The last word has the independent checker, which reads the problem and the certificate and trusts no solver.

for name, certificate in certificates.items():
    verdict = certificate.check()
    assert verdict.proved
    print(f"{name}:", *verdict.sentences)
