"""
The price of staying near
=========================

A drift penalty asks the answer to stay near the trained weights. It also keeps a part of what was to be
forgotten: with the squared penalty exactly the share :math:`\\lambda / (1 + \\lambda)`. Two more penalties have
other prices.
"""

from fractions import Fraction as F

import matplotlib.pyplot as plt
import numpy as np

import exact_unlearn as xu
from exact_unlearn.rational import pseudo_inverse, rationals

# %%
# A linear model of eight weights, four samples, the last of which must go. The trained weights are affine in
# its label, and we ask how far the answer's output at that sample follows the label. In fractions, so that the
# share is no estimate.

rng = np.random.default_rng(0)
x = rationals(rng.integers(-3, 4, size=(4, 8)))
labels = rationals([1, -1, 2, 0])


def share_that_stays(lam):
    outputs = []
    for lie in (F(0), F(1)):
        theta_star = pseudo_inverse(x) @ (labels + rationals([0, 0, 0, 1]) * lie)
        problem = xu.UnlearningProblem(
            theta_star, x[:3], xu.SquaredL2(), xu.SquaredDrift(lam) if lam else None
        )
        outputs.append(x[3] @ xu.certify(problem, xu.solve(problem)).point)
    return outputs[1] - outputs[0]


nothing = share_that_stays(0)
penalties = [F(1, 9), F(1, 3), F(1), F(3), F(9)]
shares = [share_that_stays(lam) for lam in penalties]
for lam, share in zip(penalties, shares, strict=True):
    print(f"λ = {lam}: the output follows the lie with the share {share}")
    assert share == lam / (1 + lam)
assert nothing == 0

# %%
# The other two penalties, on a larger model: the ℓ1 drift moves few weights, and a trust region moves them all
# by at most a radius.

rng = np.random.default_rng(1)
J, theta_star = rng.normal(size=(10, 40)), rng.normal(size=40)
weights_of_drift, radii = (
    [0.0, 0.2, 0.4, 0.6, 0.8, 0.95],
    [0.2, 0.5, 1.0, 2.0, 4.0, 8.0],
)
moved, values = [], []
for weight in weights_of_drift:
    problem = xu.UnlearningProblem(
        theta_star, J, xu.L1(), xu.L1Drift(weight) if weight else None
    )
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.check().proved
    moved.append(int(np.count_nonzero(certificate.theta != theta_star)))
for radius in radii:
    problem = xu.UnlearningProblem(theta_star, J, xu.L1(), xu.TrustRegion(radius))
    certificate = xu.certify(problem, xu.solve(problem))
    assert certificate.check().proved
    values.append(float(certificate.upper))

# %%
# Three prices: what is kept of the lie, how many weights move, and what simplicity is reached.

figure, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
axes[0].plot(
    [float(lam) for lam in penalties],
    [float(share) for share in shares],
    "o",
    color="#D55E00",
)
curve = np.linspace(0, 9, 200)
axes[0].plot(curve, curve / (1 + curve), color="#D55E00")
axes[0].set(
    title="Squared drift: kept of the lie",
    xlabel="λ",
    ylabel="share, and λ/(1 + λ)",
)
axes[1].plot(weights_of_drift, moved, "o-", color="#0072B2")
axes[1].set(title="ℓ1 drift: weights that move, of 40", xlabel="λ", ylim=(0, 42))
axes[2].plot(radii, values, "o-", color="#009E73")
axes[2].axhline(np.abs(theta_star).sum(), color="#8A8A8A", linestyle="dashed")
axes[2].set(title="Trust region: ℓ1 norm (dashed: trained)", xlabel="radius")
plt.show()

# %%
# The last of these proofs, as the checker tells it.

print(*certificate.check().sentences, sep="\n")
